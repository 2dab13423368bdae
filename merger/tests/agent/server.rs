//! The server's paths, whatever the sources do.

use std::time::Duration;

use super::{
    application::{Application, exposition},
    sound,
    world::{self, Agent, mk_source},
};

#[tokio::test]
async fn discovery_names_each_pod_once_with_its_path() {
    let app = sound();
    let agent = Agent::start(vec![mk_source("app", "1", app.address)]).await;
    let found: serde_json::Value = agent.get("/sd").await.json();
    let labels = serde_json::json!({
        "__metrics_path__": "/pods/ns/pod/metrics",
        "__meta_merger_namespace": "ns",
        "__meta_merger_node": "node",
        "__meta_merger_pod": "pod",
        "__meta_merger_pod_uid": "uid",
        "namespace": "ns",
        "node": "node",
        "pod": "pod",
    });
    let target = agent.address.to_string();
    assert_eq!(found, serde_json::json!([{ "targets": [target], "labels": labels }]));
}

#[tokio::test]
async fn discovery_gives_the_address_that_the_reader_used() {
    let agent = Agent::start(vec![mk_source("app", "1", sound().address)]).await;
    let found =
        agent.raw("GET /sd HTTP/1.1\r\nhost: node-1:15990\r\nconnection: close\r\n\r\n").await;
    assert_eq!(found.json::<serde_json::Value>()[0]["targets"][0], "node-1:15990");
}

#[tokio::test]
async fn what_the_agent_believes_is_json() {
    let app = sound();
    let agent = Agent::start(vec![mk_source("app", "1", app.address)]).await;
    let all: serde_json::Value = agent.get("/api/pods").await.json();
    let one: serde_json::Value = agent.get("/api/pods/ns/pod").await.json();
    assert_eq!(all[0], one);
    assert_eq!(one["sources"][0]["state"], "ready");
    assert_eq!(one["sources"][0]["addresses"][0], app.address.to_string());
    assert_eq!(one["sources"][0]["reason"], "the annotation prometheus.io/port");
}

#[tokio::test]
async fn why_a_source_is_not_on_the_page_is_told_beside_it() {
    let (app, mut closed) = (sound(), mk_source("bad", "1", Application::closed().address));
    closed.path = "/other".to_owned();
    let sources = vec![mk_source("app", "1", app.address), closed];
    let agent = Agent::start(sources).await;
    let failures = async || -> Vec<serde_json::Value> {
        let pod: serde_json::Value = agent.get("/api/pods/ns/pod").await.json();
        pod["sources"].as_array().unwrap().iter().map(|source| source["failure"].clone()).collect()
    };
    assert_eq!(failures().await, [serde_json::Value::Null, serde_json::Value::Null]);
    agent.get("/pods/ns/pod/metrics").await;
    let failures = failures().await;
    assert!(failures[0].is_null());
    assert!(failures[1].as_str().unwrap().ends_with("Connection refused (os error 111)"));
}

#[tokio::test]
async fn a_container_that_is_not_known_cannot_be_claimed() {
    let app = Application::answers(exposition("m{container=\"sibling\"} 1\n"));
    let page = Agent::start(vec![mk_source("", "1", app.address)]).await;
    let page = page.get("/pods/ns/pod/metrics").await;
    page.has("m{exported_container=\"sibling\",endpoint=\"1\"} 1");
    page.has("merger_source_up{endpoint=\"1\"} 1");
}

#[tokio::test]
async fn a_pod_that_is_not_here_is_not_found() {
    let agent = Agent::start(vec![]).await;
    for path in ["/pods/ns/other/metrics", "/api/pods/ns/other"] {
        let answer = agent.get(path).await;
        assert_eq!(answer.status, 404);
        assert_eq!(
            answer.body,
            "no pod ns/other on this node; /api/pods lists those that are here\n"
        );
    }
}

#[tokio::test]
async fn a_pod_without_sources_has_no_page_and_is_not_discovered() {
    let agent = Agent::start(vec![]).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    assert_eq!(page.status, 404);
    assert_eq!(
        page.body,
        "ns/pod: nothing is to be scraped\n  does not ask to be scraped: set prometheus.io/scrape to \"true\"\n"
    );
    assert_eq!(agent.get("/sd").await.body, "[]");
}

#[tokio::test]
async fn a_pod_in_doubt_is_unavailable_and_discovered() {
    let app = sound();
    let source = mk_source("app", "1", app.address);
    let agent = Agent::start_in(world::Namespace::Contested, vec![source]).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    assert_eq!(page.status, 503);
    let reason = "pod uid other has its sandbox in the same network namespace";
    assert_eq!(page.body, format!("ns/pod: {reason}\n"));
    let one: serde_json::Value = agent.get("/api/pods/ns/pod").await.json();
    let all: serde_json::Value = agent.get("/api/pods").await.json();
    for told in [&one, &all[0]] {
        assert_eq!((&told["unclear"], &told["netns"]), (&reason.into(), &serde_json::Value::Null));
    }
    assert_eq!(agent.get("/sd").await.json::<Vec<serde_json::Value>>().len(), 1);
    assert_eq!(app.n_requests(), 0);
}

#[tokio::test]
async fn readiness_names_what_is_awaited() {
    let agent = Agent::start(vec![]).await;
    let latch = agent.readiness.await_for("pods and listeners");
    let waiting = agent.get("/ready").await;
    assert_eq!((waiting.status, &*waiting.body), (503, "still waiting for: pods and listeners\n"));
    assert_eq!(agent.get("/live").await.status, 200);
    drop(latch);
    assert_eq!(agent.get("/ready").await.status, 200);
}

#[tokio::test]
async fn before_the_pods_are_known_none_is_denied() {
    let agent = Agent::start_unready().await;
    for path in ["/sd", "/api/pods", "/api/pods/ns/pod", "/pods/ns/pod/metrics", "/metrics/pods"] {
        let answer = agent.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(
            answer.body,
            "pods and listeners are not known yet; /ready says what is awaited\n"
        );
    }
    assert_eq!(agent.get("/live").await.status, 200);
}

#[tokio::test]
async fn other_paths_and_methods_are_told_what_there_is() {
    let agent = Agent::start(vec![]).await;
    for path in ["/nothing", "/pods/ns/pod", "/pods/ns/pod/metrics/", "/metrics/x", "//", "/sd/"] {
        let answer = agent.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        answer.has("  /sd                               Prometheus HTTP service discovery");
    }
    let post = agent.raw("POST /sd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn the_drain_lets_a_request_under_way_end() {
    let app = Application::answers_late(exposition("m 1\n"), Duration::from_millis(300));
    let agent = Agent::start(vec![mk_source("app", "1", app.address)]).await;
    let page = agent.get("/pods/ns/pod/metrics");
    let drain = async {
        app.asked().await;
        agent.drain();
    };
    let (page, ()) = futures_util::future::join(page, drain).await;
    page.has("m{container=\"app\",endpoint=\"1\"} 1");
    agent.ended().await;
}
