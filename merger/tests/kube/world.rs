//! A source of pods before its double: what it publishes, and what it says in the log.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use merger::pods::{
    Known, Reader,
    kube::{self, Access, List, Monitors, Query},
};
use tokio::{task::JoinSet, time};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::double::{Double, Step};

/// All of it, in one thread of a paused clock, which goes on when nobody has anything else to do.
pub(crate) struct World {
    pub(crate) double: Double,
    pub(crate) reader: Reader,
    /// Each list of pods that was published and was another one than before.
    history: Arc<Mutex<Vec<Vec<String>>>>,
    log: Log,
    _tasks: JoinSet<()>,
    _log: DefaultGuard,
    _kubeconfig: tempfile::NamedTempFile,
}

/// The lines of merger's own log, from info up.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

// === impl World ===

impl World {
    pub(crate) async fn start(list: List, script: Vec<Step>) -> Self {
        Self::before(Double::start(script).await, list)
    }

    /// One that asks for `PodMonitor`s as well.
    pub(crate) async fn start_monitored(list: List, script: Vec<Step>) -> Self {
        let double = Double::start(script).await;
        let cluster = format!("server: 'http://{}'", double.address);
        Self::asking(double, list, Monitors::Watched, &cluster, "{}", &[])
    }

    /// A source that finds the double by a kubeconfig, over plain HTTP.
    pub(crate) fn before(double: Double, list: List) -> Self {
        let cluster = format!("server: 'http://{}'", double.address);
        Self::with(double, list, &cluster, "{}")
    }

    /// `cluster` and `user` are what the kubeconfig says of both.
    pub(crate) fn with(double: Double, list: List, cluster: &str, user: &str) -> Self {
        Self::asking(double, list, Monitors::Ignored, cluster, user, &[])
    }

    /// One that reads Secrets as well, of these namespaces.
    pub(crate) fn with_secrets(
        double: Double,
        list: List,
        cluster: &str,
        user: &str,
        namespaces: &[&str],
    ) -> Self {
        Self::asking(double, list, Monitors::Ignored, cluster, user, namespaces)
    }

    fn asking(
        double: Double,
        list: List,
        monitors: Monitors,
        cluster: &str,
        user: &str,
        namespaces: &[&str],
    ) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(kubeconfig(cluster, user).as_bytes()).unwrap();
        let access = Access::Kubeconfig(Some(file.path().to_owned()));
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("merger=info")
            .with_writer(log.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let query = Query { node_name: "n1".to_owned(), list, monitors };
        let (mut reader, run) = kube::watch(access.clone(), query).unwrap();
        let history = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(run);
        if !namespaces.is_empty() {
            let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            let (known, run) = kube::secrets::beside(access, namespaces, reader);
            tasks.spawn(run);
            reader = known;
        }
        tasks.spawn(observe(reader.clone(), Arc::clone(&history)));
        Self { double, reader, history, log, _tasks: tasks, _log: guard, _kubeconfig: file }
    }

    /// Lets so much time pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Each list that was published.
    pub(crate) fn published(&self) -> Vec<Vec<String>> {
        self.history.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn check_published(&self, expected: &[&[&str]]) {
        let published = self.published();
        println!("published");
        for pods in &published {
            println!("  {}", pods.join(", "));
        }
        assert_eq!(published, expected);
    }

    /// The lines of the log are these, to the dot.
    #[track_caller]
    pub(crate) fn check_log(&self, expected: &[&str]) {
        assert_eq!(self.log(), expected);
    }

    /// The lines of merger's own log.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.log.0.lock().unwrap();
        str::from_utf8(&log).unwrap().lines().map(|line| line.trim_start().to_owned()).collect()
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        self.reader.borrow().clone().expect("a list was published")
    }
}

pub(crate) fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
         users: [{{name: u, user: {user}}}]\n"
    )
}

/// Name and the beginning of the uid of each pod, with a mark those that ended, and the monitors behind
/// `<` that ask for an endpoint of it.
fn shown(known: &Known) -> Vec<String> {
    let pods = known.pods.iter().map(|pod| {
        let uid = pod.uid.split('-').next().unwrap();
        let monitored = pod.monitored.endpoints.iter();
        let monitored: Vec<String> = monitored.map(|e| format!(" <{}", e.monitor)).collect();
        let monitored = monitored.concat();
        format!("{} {uid}{}{monitored}", pod.name, if pod.ended { " ended" } else { "" })
    });
    pods.collect()
}

async fn observe(mut reader: Reader, history: Arc<Mutex<Vec<Vec<String>>>>) {
    while reader.changed().await.is_ok() {
        let known = reader.borrow_and_update().clone().unwrap();
        let (mut history, shown) = (history.lock().unwrap(), shown(&known));
        // Something else may be another thing.
        if history.last() != Some(&shown) {
            history.push(shown);
        }
    }
}

// === impl Log ===

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
