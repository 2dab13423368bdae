//! A sidecar's agent that serves its own metrics, the proxy's and the application's as one page, beside the
//! proxy and the application themselves.

use std::collections::BTreeSet;

use merger::{
    exposition::{Escaping, Format, Output},
    merge::{self, Limits},
    target::Source,
};

use super::{
    application::{Application, answer},
    world::{self, Agent, mk_source},
};

/// A page of pilot-agent, of which Envoy and the application have their parts.
const PAGE: &str = include_str!("../../testdata/scrapes/pilot-agent-merged.prom");

const FORMATS: [(Format, &str); 4] = [
    (Format::Text, "text/plain; version=0.0.4"),
    (Format::Text1, "text/plain; version=1.0.0"),
    (Format::OpenMetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    (
        Format::Protobuf,
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    ),
];

/// The first lines of `PAGE` that are about names which begin so.
fn part(prefixes: &[&str], n_lines: usize) -> String {
    let is_of = |line: &&str| {
        let name = ["# HELP ", "# TYPE "].iter().find_map(|word| line.strip_prefix(word));
        prefixes.iter().any(|prefix| name.unwrap_or(line).starts_with(prefix))
    };
    PAGE.split_inclusive('\n').filter(is_of).take(n_lines).collect()
}

/// What answers with this page of text in this format.
fn answering((format, content_type): (Format, &str), text: &str) -> Application {
    let source =
        merge::Source { labels: &[], format: Format::Text, body: text.as_bytes(), only: None };
    let output = Output { format, escaping: Escaping::AllowUtf8 };
    let body = merge::merge(&[source], &Limits::default(), output).body;
    let head = format!("content-type: {content_type}\r\n");
    Application::answers(answer("200 OK", &head, body))
}

/// The samples of a page of text but for merger's own, without values.
fn series(page: &world::Answer) -> Vec<&str> {
    let lines = page.body.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter(|line| !line.starts_with("merger_"));
    lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// The sources of a pod whose agent, proxy and application answer in this format.
fn pod(agent: &Application, proxy: &Application, app: &Application) -> [Source; 3] {
    let mut own = mk_source("istio-proxy", "15020", agent.address);
    own.only = Some("istio_agent_".to_owned());
    [mk_source("cart", "9100", app.address), own, mk_source("istio-proxy", "15090", proxy.address)]
}

#[tokio::test]
async fn each_part_of_a_merged_page_is_there_once() {
    let (agent, proxy) = (part(&["istio_agent_"], usize::MAX), part(&["envoy_"], 100));
    let app = part(&["go_", "node_"], usize::MAX);
    for format in FORMATS {
        let merged = answering(format, &[&*agent, &proxy, &app].concat());
        let (proxy, app) = (answering(format, &proxy), answering(format, &app));
        let agent = Agent::start_three(pod(&merged, &proxy, &app)).await;
        let page = agent.get("/pods/ns/pod/metrics").await;
        let series = series(&page);
        let distinct: BTreeSet<_> = series.iter().collect();
        assert_eq!(distinct.len(), series.len());
        for line in &series {
            let is_agents = line.starts_with("istio_agent_");
            assert_eq!(line.contains("endpoint=\"15020\""), is_agents, "{format:?}: {line}");
            assert_eq!(line.contains("endpoint=\"15090\""), line.starts_with("envoy_"), "{line}");
        }
        let n = |prefix: &str| series.iter().filter(|line| line.starts_with(prefix)).count();
        // As many as the page has lines that are not of a comment.
        let n_of = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(n("istio_agent_"), 48, "{format:?}");
        assert_eq!(n("envoy_"), n_of(&part(&["envoy_"], 100)));
        assert_eq!(series.len(), 48 + n("envoy_") + 33 + 6, "{format:?}");
        for endpoint in ["9100", "15020", "15090"] {
            let container = if endpoint == "9100" { "cart" } else { "istio-proxy" };
            let labels = format!("container=\"{container}\",endpoint=\"{endpoint}\"");
            page.has(&format!("merger_source_up{{{labels}}} 1"));
        }
        page.has("merger_source_samples{container=\"istio-proxy\",endpoint=\"15020\"} 48");
        assert!(agent.pages.problems().counts().is_empty(), "{format:?}");
        assert!(agent.pages.limits_hit().counts().is_empty(), "{format:?}");
        for application in [&merged, &proxy, &app] {
            assert_eq!(application.n_requests(), 1);
        }
    }
}

#[tokio::test]
async fn what_others_say_on_the_page_of_an_agent_has_no_limits_and_no_problems() {
    // More samples than a source may have, and nothing of it in order.
    let lines = "envoy_x{a=\"b\" 1\n".repeat(200) + &"envoy_x 1\n".repeat(200);
    let merged = format!("# TYPE istio_agent_x counter\nistio_agent_x 1\n{lines}\n\0\n");
    let merged = Application::answers(super::exposition(&merged));
    let mut own = mk_source("istio-proxy", "15020", merged.address);
    let whole = Agent::start(vec![own.clone()]).await;
    assert_eq!(whole.get("/pods/ns/pod/metrics").await.status, 503);
    assert!(!whole.pages.problems().counts().is_empty());

    own.only = Some("istio_agent_".to_owned());
    let agent = Agent::start(vec![own]).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    assert_eq!(series(&page), ["istio_agent_x{container=\"istio-proxy\",endpoint=\"15020\"}"]);
    page.has("merger_source_samples{container=\"istio-proxy\",endpoint=\"15020\"} 1");
    assert!(agent.pages.problems().counts().is_empty());
    let belief = agent.get("/api/pods/ns/pod").await;
    assert!(belief.body.contains("\"only\":\"istio_agent_\""), "{}", belief.body);
}

#[tokio::test]
async fn the_body_of_an_agents_page_has_its_limit() {
    let merged = format!("istio_agent_x 1\n{}", "# of Envoy\n".repeat(6000));
    let merged = Application::answers(super::exposition(&merged));
    let mut own = mk_source("bad", "1", merged.address);
    own.only = Some("istio_agent_".to_owned());
    let page = Agent::start(vec![own]).await.get("/pods/ns/pod/metrics").await;
    let reason = super::failure_of(&page);
    assert!(reason.contains("65536"), "{reason}");
}
