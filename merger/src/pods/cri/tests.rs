//! The source against a scripted runtime: a server of HTTP/2 that answers what a test lays down.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::task::JoinSet;

use super::*;
use crate::{pods::Known, target::Pod};

/// `ContainerState`.
const EXITED: i32 = 2;

/// A runtime, as a test lays it down.
#[derive(Default)]
struct Script {
    /// By id: name, uid, annotations.
    sandboxes: HashMap<String, (String, String, HashMap<String, String>)>,
    /// By id: sandbox, name, state.
    containers: HashMap<String, (String, String, i32)>,
    /// Methods that have another answer: a status of gRPC, or none at all.
    refused: HashMap<&'static str, Option<u32>>,
    /// The methods that were called.
    calls: Vec<String>,
    /// Whether nobody listens.
    is_gone: bool,
    n_connections: usize,
}

/// What tests and server share, and the connections that live.
#[derive(Clone, Default)]
struct Double {
    script: Arc<Mutex<Script>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

// === impl Double ===

impl Double {
    fn with(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn add(&self, n: usize, annotations: &[(&str, &str)]) {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let pod = (format!("pod-{n:03}"), format!("uid-{n}"), annotations.collect());
        let container = (format!("s{n}"), "app".to_owned(), api::CONTAINER_RUNNING);
        self.with(|script| {
            script.sandboxes.insert(format!("s{n}"), pod);
            script.containers.insert(format!("c{n}"), container);
        });
    }

    /// Lets a method have a status of gRPC as its answer, or none at all.
    fn refuse(&self, method: &'static str, status: Option<u32>) {
        self.with(|script| assert_eq!(script.refused.insert(method, status), None));
    }

    /// Ends every connection, and takes no other while `is_gone`.
    fn cut(&self, is_gone: bool) {
        self.with(|script| script.is_gone = is_gone);
        self.connections.lock().unwrap().abort_all();
    }

    fn calls(&self) -> Vec<String> {
        let mut calls = vec![];
        self.with(|script| calls = std::mem::take(&mut script.calls));
        calls
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let mut is_gone = false;
        self.with(|script| {
            script.n_connections += 1;
            is_gone = script.is_gone;
        });
        if is_gone {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, server) = UnixStream::pair()?;
        let this = self.clone();
        let service = service_fn(move |request| this.clone().answer(request));
        self.connections.lock().unwrap().spawn(async move {
            let serving = http2::Builder::new(TokioExecutor::new());
            let _ = serving.serve_connection(TokioIo::new(server), service).await;
        });
        Ok(client)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let called = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        // Five bytes before it say how long it is.
        let body = body.unwrap_or_default().slice(5..);
        let mut refused = None;
        self.with(|script| {
            script.calls.push(called.rsplit('/').next().unwrap_or_default().to_owned());
            refused = script.refused.get(called.as_str()).copied();
        });
        match refused {
            Some(None) => std::future::pending().await,
            Some(Some(status)) => return Ok(trailers(status).body(Full::default()).unwrap()),
            None => {}
        }
        let mut answer = None;
        self.with(|script| answer = script.answer(&called, body));
        let Some(answer) = answer else { return Ok(trailers(5).body(Full::default()).unwrap()) };
        let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
        let body = [&[0][..], &length, &answer].concat();
        Ok(trailers(0).body(Full::new(body.into())).unwrap())
    }
}

/// A client takes the status from the head as well.
fn trailers(status: u32) -> hyper::http::response::Builder {
    let head = Response::builder().header("content-type", "application/grpc");
    head.header("grpc-status", status).header("grpc-message", "as scripted")
}

// === impl Script ===

impl Script {
    fn answer(&self, called: &str, body: Bytes) -> Option<Vec<u8>> {
        match called {
            api::LIST_POD_SANDBOX => Some(self.list_sandboxes()),
            api::LIST_CONTAINERS => {
                let of = |(id, (sandbox, _, state)): (&String, &(String, String, i32))| {
                    let (id, pod_sandbox_id, state) = (id.clone(), sandbox.clone(), *state);
                    api::Container { id, pod_sandbox_id, state, created_at: 1 }
                };
                let containers = self.containers.iter().map(of).collect();
                Some(api::ListContainersResponse { containers }.encode_to_vec())
            }
            api::POD_SANDBOX_STATUS => {
                let id = api::PodSandboxStatusRequest::decode(body).ok()?.pod_sandbox_id;
                let (name, uid, annotations) = self.sandboxes.get(&id)?.clone();
                let metadata = api::PodSandboxMetadata { name, uid, namespace: "ns".to_owned() };
                let annotations = annotations.into_iter().collect();
                let (metadata, created_at) = (Some(metadata), 1);
                let status = Some(api::PodSandboxStatus { metadata, created_at, annotations });
                Some(api::PodSandboxStatusResponse { status }.encode_to_vec())
            }
            _ => {
                let id = api::ContainerStatusRequest::decode(body).ok()?.container_id;
                let (_, name, _) = self.containers.get(&id)?.clone();
                let metadata = Some(api::ContainerMetadata { name });
                let status = Some(api::ContainerStatus { metadata, ..Default::default() });
                let info = HashMap::new();
                Some(api::ContainerStatusResponse { status, info }.encode_to_vec())
            }
        }
    }

    /// With their annotations, as a runtime does.
    fn list_sandboxes(&self) -> Vec<u8> {
        #[derive(Clone, PartialEq, Message)]
        struct Listed {
            #[prost(message, repeated, tag = "1")]
            items: Vec<Item>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Item {
            #[prost(string, tag = "1")]
            id: String,
            #[prost(map = "string, string", tag = "6")]
            annotations: HashMap<String, String>,
        }
        let sandboxes = self.sandboxes.iter();
        let items = sandboxes.map(|(id, (_, _, annotations))| Item {
            id: id.clone(),
            annotations: annotations.clone(),
        });
        Listed { items: items.collect() }.encode_to_vec()
    }
}

/// Looks at the double while `body` runs.
async fn while_watching(double: &Double, body: impl AsyncFnOnce(Reader)) {
    let this = double.clone();
    let (reader, looks) = watch(move || std::future::ready(this.connect()));
    let looks = tokio::spawn(looks);
    body(reader).await;
    // Every reader is gone.
    time::timeout(Duration::from_mins(1), looks).await.unwrap().unwrap();
}

async fn next(reader: &mut Reader) -> Arc<Known> {
    reader.changed().await.unwrap();
    reader.borrow_and_update().clone().unwrap()
}

async fn next_names(reader: &mut Reader) -> Vec<String> {
    let known = next(reader).await;
    names(&known)
}

fn names(known: &Known) -> Vec<String> {
    known.pods.iter().map(|pod: &Arc<Pod>| pod.name.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_new_is_asked_once_and_what_is_gone_is_forgotten() {
    let double = Double::default();
    double.add(1, &[("prometheus.io/scrape", "true")]);
    while_watching(&double, async |mut reader| {
        let known = next(&mut reader).await;
        assert_eq!(names(&known), ["pod-001"]);
        assert_eq!(known.pods[0].containers[0].name, "app");
        assert_eq!(known.pods[0].annotations["prometheus.io/scrape"], "true");
        let lists = ["ListContainers", "ListPodSandbox"];
        assert_eq!(double.calls(), [lists[0], lists[1], "PodSandboxStatus", "ContainerStatus"]);

        time::sleep(PACE + Duration::from_millis(10)).await;
        assert_eq!(double.calls(), lists, "nothing is new");
        assert!(!reader.has_changed().unwrap());

        double.add(2, &[]);
        assert_eq!(next_names(&mut reader).await, ["pod-001", "pod-002"]);
        double.with(|script| script.containers.get_mut("c1").unwrap().2 = EXITED);
        assert_eq!(next(&mut reader).await.pods[0].containers, []);
        double.with(|script| assert!(script.sandboxes.remove("s1").is_some()));
        assert_eq!(next_names(&mut reader).await, ["pod-002"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_gone_keeps_its_pods_and_is_found_again() {
    let double = Double::default();
    double.add(1, &[]);
    while_watching(&double, async |mut reader| {
        next(&mut reader).await;
        double.cut(true);
        time::sleep(Duration::from_mins(10)).await;
        assert_eq!(names(reader.borrow().as_deref().unwrap()), ["pod-001"]);
        let mut n_tried = 0;
        double.with(|script| n_tried = std::mem::take(&mut script.n_connections));
        assert!((50..80).contains(&n_tried), "{n_tried} in ten minutes");
        double.add(2, &[]);
        double.calls();
        double.cut(false);
        assert_eq!(next_names(&mut reader).await, ["pod-001", "pod-002"]);
        let asked = double.calls().into_iter().filter(|call| call == "PodSandboxStatus").count();
        assert_eq!(asked, 1, "what was known of the first is kept");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_is_given_up_and_asked_again() {
    let double = Double::default();
    double.add(1, &[]);
    double.refuse(api::LIST_POD_SANDBOX, None);
    while_watching(&double, async |mut reader| {
        time::sleep(Duration::from_mins(1)).await;
        assert!(reader.borrow().is_none(), "the first look is not complete");
        double.with(|script| script.refused.clear());
        assert_eq!(next_names(&mut reader).await, ["pod-001"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_costs_itself() {
    const INTERNAL: u32 = 13;
    let double = Double::default();
    double.add(1, &[]);
    double.refuse(api::CONTAINER_STATUS, Some(INTERNAL));
    while_watching(&double, async |mut reader| {
        let known = next(&mut reader).await;
        assert_eq!(
            (names(&known), known.pods[0].containers.len()),
            (vec!["pod-001".to_owned()], 0)
        );
        let expected = "container c1 of pod sandbox s1: the container runtime refuses \
                        /runtime.v1.RuntimeService/ContainerStatus: Internal: as scripted";
        assert_eq!(known.problems[0].to_string(), expected);
        double.with(|script| script.refused.clear());
        assert_eq!(next(&mut reader).await.pods[0].containers.len(), 1, "it is asked again");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_before_it_is_asked_for_is_no_problem() {
    const NOT_FOUND: u32 = 5;
    let double = Double::default();
    double.add(1, &[]);
    double.refuse(api::POD_SANDBOX_STATUS, Some(NOT_FOUND));
    while_watching(&double, async |mut reader| {
        let known = next(&mut reader).await;
        assert_eq!(*known, Known::default());
    })
    .await;
}

/// 125 MiB of annotations, of which kubelets let one pod have 256 KiB.
#[tokio::test(start_paused = true)]
async fn five_hundred_pods_that_fill_the_list_are_found_by_their_containers() {
    let double = Double::default();
    let filling = "x".repeat(256 << 10);
    for n in 0..500 {
        double.add(n, &[("merger.io/endpoints", &filling)]);
    }
    while_watching(&double, async |mut reader| {
        let known = next(&mut reader).await;
        assert_eq!((known.pods.len(), known.problems.len()), (500, 0));
        let annotations = known.pods.iter().flat_map(|pod| &pod.annotations);
        let n_bytes: usize = annotations.map(|(name, value)| name.len() + value.len()).sum();
        assert!(n_bytes < 500 * 4200, "{n_bytes}");
    })
    .await;
}

#[tokio::test]
async fn a_runtime_without_the_interface_is_told_what_to_look_at() {
    const UNIMPLEMENTED: u32 = 12;
    let double = Double::default();
    double.refuse(api::LIST_CONTAINERS, Some(UNIMPLEMENTED));
    let mut client = Client::new(double.connect().unwrap()).await.unwrap();
    let error = Memory::default().look(&mut client).await.unwrap_err().to_string();
    assert!(error.contains("\"cri\" in disabled_plugins"), "{error}");
}

#[tokio::test]
async fn a_closed_connection_is_no_refusal() {
    let double = Double::default();
    let mut client = Client::new(double.connect().unwrap()).await.unwrap();
    assert_eq!(Memory::default().look(&mut client).await.unwrap(), Known::default());
    double.cut(true);
    let error = Memory::default().look(&mut client).await.unwrap_err();
    assert!(matches!(error, client::Error::Closed(_)), "{error}");
}
