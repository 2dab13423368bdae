//! A node of pods that are as large as an API server lets anybody make them, and the memory of each of
//! merger's processes with them.
#![expect(clippy::print_stdout, reason = "what it took is the result")]

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
};

use super::{
    namespace::is_guest,
    running::{Running, directory, until},
    watcher::Server,
    world,
};

/// More pods than a node has. What they take is no matter of kernels: in a guest a few show that it holds.
const MANY: usize = 500;
const IN_A_GUEST: usize = 40;

/// What the API server takes of the annotations of one object: `TotalAnnotationSizeLimitB` in
/// `staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go` of kubernetes/kubernetes.
const ANNOTATIONS: usize = 256 << 10;

/// What is promised of each process is 64 MiB. A quarter is left to the program: one that is released has
/// less in memory, one that is tested more, however few its pods.
const OWN: usize = 48 << 20;

/// Pods on a page, as merger asks for them.
const PAGE: usize = 16;

const SPEC: &str = r#"{"nodeName":"n1","containers":[{"name":"app"}]}"#;

/// JSON of the pod of this number. A quarter of its annotations is one value that is read, a quarter one that
/// is not, and half is many small ones, each wrong in its own way.
fn hostile(n: usize) -> String {
    let mut annotations = format!(
        r#""prometheus.io/scrape":"true","prometheus.istio.io/scrape-targets":"{}","example.com/padding":"{}""#,
        "8080,".repeat(ANNOTATIONS / 20),
        "x".repeat(ANNOTATIONS / 4),
    );
    let mut n_bytes = 0;
    for at in 0.. {
        let (name, value) = (format!("merger.io/{at}"), format!("http://:{n}{at}//host"));
        n_bytes += name.len() + value.len();
        if n_bytes > ANNOTATIONS / 2 - 100 {
            break;
        }
        write!(annotations, r#","{name}":"{value}""#).unwrap();
    }
    let (namespace, uid) = (n % 20, uid(n));
    let metadata = format!(
        r#""name":"pod-{n:03}","namespace":"ns-{namespace}","uid":"{uid}","resourceVersion":"5""#
    );
    // A watch has a line for each event.
    format!(
        r#"{{"metadata":{{{metadata},"annotations":{{{annotations}}}}},"spec":{SPEC},"status":{{"phase":"Running"}}}}"#
    )
}

fn uid(n: usize) -> String {
    format!("6d657267-6572-4000-a000-{n:012}")
}

/// A page of the list of all, which the number of its first pod is the continuation of.
fn page(first: usize, n_pods: usize) -> String {
    let last = (first + PAGE).min(n_pods);
    let next = if last < n_pods { format!(r#","continue":"{last}""#) } else { String::new() };
    let items: Vec<String> = (first..last).map(hostile).collect();
    format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"7"{next}}},"items":[{}]}}"#,
        items.join(",")
    )
}

/// The most memory that a process had at once, in bytes, and how much of what it has is of files.
fn most_and_of_files(pid: u32) -> (usize, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    (kib("VmHWM:") << 10, kib("RssFile:") << 10)
}

#[test]
fn each_process_is_below_its_promise_with_pods_that_are_as_large_as_they_may_be() {
    world::here(async || {
        let n_pods = if is_guest() { IN_A_GUEST } else { MANY };
        let (server, place) =
            (Server::start_paged(move |first| page(first, n_pods), ""), directory());
        let flags =
            [format!("--kubeconfig={}", server.kubeconfig(&place)), "--node-name=n1".into()];
        let flags = flags.each_ref().map(String::as_str);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let running = Running::start_source(free.unwrap(), "kube", &flags, Stdio::null());
        until("it is ready", || running.is_ready());
        let known = running.get("/api/pods").unwrap();
        assert!((0..n_pods).all(|n| known.contains(&uid(n))), "{} bytes", known.len());
        assert!(known.contains("has more than 32 KiB of annotations"));

        // With each change all are told of, and for a moment the agent has those from before as well.
        let gone = format!("{{\"type\":\"DELETED\",\"object\":{}}}\n", hostile(0));
        until("it is watched", || server.say(&gone) > 0);
        until("one is gone", || !running.get("/api/pods/ns-0/pod-000").unwrap().contains(&uid(0)));

        let child = |name| running.child(name).unwrap();
        let processes = [
            ("broker", running.broker()),
            ("agent", child("merger-agent")),
            ("watcher", child("merger-watcher")),
        ];
        let measured = processes.map(|(who, pid)| (who, most_and_of_files(pid)));
        for (who, (most, of_files)) in measured {
            let [most, of_files] = [most, of_files].map(|bytes| (bytes * 10) >> 20);
            println!(
                "{n_pods} pods with 256 KiB of annotations, {who}: at most {}.{} MiB, of which {}.{} MiB \
                 are the program",
                most / 10,
                most % 10,
                of_files / 10,
                of_files % 10
            );
        }
        for (who, (most, of_files)) in measured {
            assert!(most - of_files < OWN, "{who}: {most} bytes, of which {of_files} of files");
        }
    });
}
