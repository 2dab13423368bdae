//! The page of all pods.

use std::time::Duration;

use super::{
    application::{Application, exposition},
    sound,
    world::{Agent, Namespace, mk_source},
};

/// A page of about `kib` KiB, of which `m` is one sample.
fn large(kib: usize) -> Vec<u8> {
    let line = format!("# {}\n", "x".repeat(1021));
    exposition(&format!("m 1\n{}", line.repeat(kib)))
}

/// An agent of pods named `a`, `b` and so on, each with one source.
async fn agent_of(applications: &[&Application], page_bytes: usize) -> Agent {
    let names = ["a", "b", "c", "d"];
    let pods = names.into_iter().zip(applications).map(|(name, application)| {
        (name, Namespace::Own, vec![mk_source("app", "1", application.address)])
    });
    Agent::start_pods(pods.collect(), page_bytes).await
}

#[tokio::test]
async fn all_pods_are_on_one_page_in_the_order_of_their_names() {
    let first = Application::answers(exposition("# TYPE m counter\nm 1\n"));
    let second = Application::answers_late(
        exposition("# TYPE m counter\nm{pod=\"c\",namespace=\"kube-system\"} 2\n"),
        Duration::from_millis(100),
    );
    let source = |application: &Application| vec![mk_source("app", "1", application.address)];
    let pods = vec![
        ("z", Namespace::Own, source(&first)),
        ("b", Namespace::Own, source(&second)),
        ("silent", Namespace::Own, vec![]),
    ];
    let page = Agent::start_pods(pods, 1 << 20).await.get("/metrics/pods").await;
    assert_eq!(page.status, 200);
    let expected = "\
# TYPE m counter
m{exported_pod=\"c\",exported_namespace=\"kube-system\",namespace=\"ns\",pod=\"b\",container=\"app\",endpoint=\"1\"} 2
m{namespace=\"ns\",pod=\"z\",container=\"app\",endpoint=\"1\"} 1
# HELP merger_source_up Whether the source gave a whole exposition.
# TYPE merger_source_up gauge
merger_source_up{namespace=\"ns\",pod=\"b\",container=\"app\",endpoint=\"1\"} 1
merger_source_up{namespace=\"ns\",pod=\"z\",container=\"app\",endpoint=\"1\"} 1
";
    let found = page.body.get(..expected.len()).unwrap_or(&page.body);
    let mut labels: Vec<&str> = found.lines().nth(1).unwrap().split(['{', ',', '}']).collect();
    labels.sort_unstable();
    let mut wanted: Vec<&str> = expected.lines().nth(1).unwrap().split(['{', ',', '}']).collect();
    wanted.sort_unstable();
    assert_eq!(labels, wanted, "the order of two labels that clash is the merge's");
    let rest = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rest(found), rest(expected));
}

#[tokio::test]
async fn the_page_of_all_pods_is_in_the_readers_format() {
    let app = sound();
    let agent = agent_of(&[&app], 1 << 20).await;
    let accept = "accept: application/openmetrics-text;version=1.0.0\r\n";
    let page = agent.get_with("/metrics/pods", accept).await;
    let content_type =
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
    assert_eq!((page.header("content-type"), page.header("vary")), (content_type, "accept"));
    assert!(app.request().contains("accept: application/openmetrics-text;version=1.0.0;"));
}

#[tokio::test]
async fn a_pod_that_fails_costs_itself() {
    let (good, closed) = (sound(), Application::closed());
    let agent = agent_of(&[&closed, &good], 1 << 20).await;
    let page = agent.get("/metrics/pods").await;
    assert_eq!(page.status, 200);
    page.has("merger_source_up{namespace=\"ns\",pod=\"a\",container=\"app\",endpoint=\"1\"} 0");
    page.has("m{namespace=\"ns\",pod=\"b\",container=\"app\",endpoint=\"1\"} 1");
    let told: serde_json::Value = agent.get("/api/pods/ns/a").await.json();
    assert!(told["sources"][0]["failure"].as_str().unwrap().contains("Connection refused"));
}

#[tokio::test]
async fn a_page_of_which_nothing_is_left_is_unavailable() {
    let (closed, hangs) = (Application::closed(), Application::hangs());
    let page = agent_of(&[&closed, &hangs], 1 << 20).await.get("/metrics/pods").await;
    assert_eq!(page.status, 503);
    page.has("every source failed");
    // Of the reader's second it has what is left when its turn comes.
    let late = "  ns/b app/1: no whole answer within ";
    assert!(page.body.lines().any(|line| line.starts_with(late)), "{}", page.body);
}

#[tokio::test]
async fn a_node_without_sources_has_an_empty_page() {
    let agent = Agent::start_pods(vec![("a", Namespace::Own, vec![])], 1 << 20).await;
    let page = agent.get("/metrics/pods").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.body.lines().filter(|line| !line.starts_with('#')).count(), 0, "{}", page.body);
}

#[tokio::test]
async fn a_pod_in_doubt_is_down_and_one_that_has_not_begun_is_not_there() {
    let app = sound();
    let source = || vec![mk_source("app", "1", app.address)];
    let pods = vec![
        ("a", Namespace::Contested, source()),
        ("b", Namespace::NotBegun, source()),
        ("c", Namespace::Own, source()),
    ];
    let agent = Agent::start_pods(pods, 1 << 20).await;
    let page = agent.get("/metrics/pods").await;
    page.has("merger_source_up{namespace=\"ns\",pod=\"a\",container=\"app\",endpoint=\"1\"} 0");
    page.has("merger_source_up{namespace=\"ns\",pod=\"c\",container=\"app\",endpoint=\"1\"} 1");
    assert!(!page.body.contains("pod=\"b\""), "{}", page.body);
    assert_eq!(app.n_requests(), 1);
    let told: serde_json::Value = agent.get("/api/pods/ns/a").await.json();
    let reason = "pod uid other has its sandbox in the same network namespace";
    assert_eq!(told["sources"][0]["failure"], reason);
}

#[tokio::test]
async fn pods_beyond_the_memory_are_down_whoever_answers_first() {
    let slow = Application::answers_late(large(20), Duration::from_millis(200));
    let [second, third] = [20, 20].map(|kib| Application::answers(large(kib)));
    // A body counts twice: as it is, and as a part of the page.
    let agent = agent_of(&[&slow, &second, &third], 100 << 10).await;
    let page = agent.get("/metrics/pods").await;
    assert_eq!(page.status, 200);
    for (pod, up) in [("a", 1), ("b", 1), ("c", 0)] {
        let labels = format!("namespace=\"ns\",pod=\"{pod}\",container=\"app\",endpoint=\"1\"");
        page.has(&format!("merger_source_up{{{labels}}} {up}"));
        assert_eq!(page.body.lines().any(|line| line == format!("m{{{labels}}} 1")), up == 1);
    }
    let told: serde_json::Value = agent.get("/api/pods/ns/c").await.json();
    assert_eq!(
        told["sources"][0]["failure"],
        "the page of all pods has no room left in its 102400 bytes: read the page of this pod, or \
         raise --max-page-bytes"
    );
    let counts: Vec<_> = agent.pages.limits_hit().counts().into_iter().collect();
    assert_eq!(counts, [("page", 1)]);
}

#[tokio::test]
async fn a_limit_that_not_one_pod_fits_leaves_nothing() {
    let page = agent_of(&[&sound()], 1).await.get("/metrics/pods").await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("no room left in its 1 bytes"), "{}", page.body);
}

#[tokio::test]
async fn a_page_that_comes_out_larger_than_it_was_estimated_is_made_with_fewer_pods() {
    // The strict spelling of an unknown escape has three bytes instead of two.
    let value = r"\d".repeat(1000);
    let body = (0..10).fold(String::new(), |body, n| body + &format!("m{{a=\"{n}{value}\"}} 1\n"));
    let apps = [(); 2].map(|()| Application::answers(exposition(&body)));
    let limit = 90 << 10;
    let page = agent_of(&[&apps[0], &apps[1]], limit).await.get("/metrics/pods").await;
    assert_eq!(page.status, 200);
    page.has("merger_source_up{namespace=\"ns\",pod=\"a\",container=\"app\",endpoint=\"1\"} 1");
    page.has("merger_source_up{namespace=\"ns\",pod=\"b\",container=\"app\",endpoint=\"1\"} 0");
    assert!(4 * body.len() < limit && 5 * body.len() > limit, "it had to be tried");
    assert!(body.len() + page.body.len() <= limit);
}

#[tokio::test]
async fn pods_that_hang_take_no_time_from_the_others() {
    let (hangs, good) = (Application::hangs(), sound());
    let names: Vec<String> = (0..70).map(|n| format!("a{n:02}")).collect();
    let mut pods: Vec<(&str, Namespace, Vec<_>)> = names
        .iter()
        .map(|name| (name.as_str(), Namespace::Own, vec![mk_source("app", "1", hangs.address)]))
        .collect();
    pods.push(("z", Namespace::Own, vec![mk_source("app", "1", good.address)]));
    let page = Agent::start_pods(pods, 1 << 20).await.get("/metrics/pods").await;
    page.has("m{namespace=\"ns\",pod=\"z\",container=\"app\",endpoint=\"1\"} 1");
    page.has("merger_source_up{namespace=\"ns\",pod=\"a69\",container=\"app\",endpoint=\"1\"} 0");
}

#[tokio::test]
async fn two_readers_get_the_page_one_after_the_other() {
    let app = Application::answers_late(exposition("m 1\n"), Duration::from_millis(100));
    let agent = agent_of(&[&app], 1 << 20).await;
    let (first, second) =
        futures_util::future::join(agent.get("/metrics/pods"), agent.get("/metrics/pods")).await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(app.n_requests(), 2, "the second begins when the first has its page");
}

#[tokio::test]
async fn a_reader_that_waits_too_long_for_another_is_told_so() {
    let hangs = Application::hangs();
    let agent = agent_of(&[&hangs], 1 << 20).await;
    let first = agent.get("/metrics/pods");
    let second = async {
        hangs.asked().await;
        let hurry = "x-prometheus-scrape-timeout-seconds: 0.4\r\n";
        agent.get_with("/metrics/pods", hurry).await
    };
    let (_, second) = futures_util::future::join(first, second).await;
    assert_eq!(second.status, 503);
    assert!(second.body.starts_with("another reader is being given the page"), "{}", second.body);
}
