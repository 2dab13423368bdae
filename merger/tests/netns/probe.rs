//! `merger probe` on a namespace in which one port answers and one does not.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Output},
    thread,
};

use super::{check, pod::Pod};

const PAGE: &str = "# TYPE m gauge\nm{a=\"1\"} 7\n";

fn probe(pod: &Pod, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
    command.args(["probe", "--pid", &pod.pid().to_string()]).args(arguments);
    command.output().expect("the program was built")
}

/// Listens inside, and answers with a page of text whoever asks.
fn serve(pod: &Pod) -> u16 {
    let (listener, address) = pod.listen("127.0.0.1:0");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let n = stream.read(&mut [0; 4096]).unwrap();
            assert_ne!(n, 0, "a request comes");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address.port()
}

#[test]
fn what_answers_is_merged_and_what_does_not_is_named() {
    check("probe::what_answers_is_merged_and_what_does_not_is_named", async || {
        let pod = Pod::new();
        let (good, (_held, silent)) = (serve(&pod), pod.listen("127.0.0.1:0"));
        let silent = silent.port();
        let Output { status, stdout, stderr } = probe(&pod, &["--timeout", "3s"]);
        let (page, said) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        let merged =
            format!("# TYPE m gauge\nm{{a=\"1\",endpoint=\"{good}\"}} 7\n# HELP merger_source_up ");
        assert!(page.starts_with(&merged), "{page}{said}");
        assert!(status.success());
        let said: Vec<_> = said.lines().collect();
        let waiting = format!("merger: still waiting for port {silent}, at most 3s each");
        assert_eq!(said[0], waiting, "{said:?}");
        let [_, missing] = said[..] else { panic!("{said:?}") };
        assert!(missing.starts_with(&format!("merger: port {silent}, /metrics: ")), "{missing}");
    });
}

#[test]
fn a_namespace_in_which_nothing_answers_is_a_failure() {
    check("probe::a_namespace_in_which_nothing_answers_is_a_failure", async || {
        let pod = Pod::new();
        let listed = probe(&pod, &["--list"]);
        assert_eq!(listed.status.code(), Some(1));
        assert_eq!(listed.stderr, b"merger: nothing listens in this namespace\n");
        let (_held, address) = pod.listen("127.0.0.1:0");
        let probed = probe(&pod, &["--timeout", "100ms"]);
        let said = String::from_utf8(probed.stderr).unwrap();
        assert_eq!((probed.status.code(), &probed.stdout[..]), (Some(1), &b""[..]), "{said}");
        assert!(said.ends_with("merger: no port answered with metrics\n"), "{said}");
        let listed = probe(&pod, &["--list", "--json"]);
        let line = format!("{{\"address\":\"127.0.0.1\",\"port\":{}", address.port());
        assert!(listed.status.success() && listed.stdout.starts_with(line.as_bytes()));
    });
}
