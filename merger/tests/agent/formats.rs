//! What a source is asked for, what it gives, and what the reader gets.

use std::time::Duration;

use super::{
    application::{Application, answer, exposition},
    failure_of,
    world::{self, Agent, mk_source},
};

const DELIMITED: &str = "application/vnd.google.protobuf; \
                         proto=io.prometheus.client.MetricFamily; encoding=delimited";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The gauge `m` with the value 1.
const MESSAGE: &[u8] = b"\x12\x0a\x01m\x18\x01\x22\x0b\x12\x09\x09\x00\x00\x00\x00\x00\x00\xf0\x3f";

/// What the source declares and says, under `m`.
fn declared(content_type: &str, body: &[u8]) -> Application {
    Application::answers(answer("200 OK", &format!("content-type: {content_type}\r\n"), body))
}

/// The page of `application` for a reader with this Accept header.
async fn page(application: &Application, accept: &str) -> world::Answer {
    let agent = Agent::start(vec![mk_source("app", "1", application.address)]).await;
    agent.get_with("/pods/ns/pod/metrics", &format!("accept: {accept}\r\n")).await
}

/// A source that declares and says this is read; its sample `m` is on a page of text.
async fn check_read(content_type: &str, body: &[u8]) {
    let page = page(&declared(content_type, body), "text/plain").await;
    page.has("m{container=\"app\",endpoint=\"1\"} 1");
    page.has("merger_source_up{container=\"app\",endpoint=\"1\"} 1");
}

/// The Accept header by which a source is asked for a reader with this one.
async fn asked(accept: &str) -> String {
    let app = Application::answers(exposition("m 1\n"));
    page(&app, accept).await;
    let request = app.request();
    let line = request.lines().find_map(|line| line.strip_prefix("accept: "));
    line.expect("every request has one").to_owned()
}

#[tokio::test]
async fn a_source_is_asked_for_what_the_reader_wants() {
    for (accept, first) in [
        ("*/*".to_owned(), "text/plain;version=1.0.0;"),
        ("text/plain;version=0.0.4".to_owned(), "text/plain;version=1.0.0;"),
        (OPENMETRICS.to_owned(), "application/openmetrics-text;version=1.0.0;"),
        (DELIMITED.to_owned(), "application/vnd.google.protobuf;"),
    ] {
        let asked = asked(&accept).await;
        assert!(asked.starts_with(first), "{accept}: {asked}");
    }
}

#[tokio::test]
async fn readers_of_different_formats_do_not_share_a_scrape() {
    let app = Application::answers_late(exposition("m 1\n"), Duration::from_millis(300));
    let agent = Agent::start(vec![mk_source("app", "1", app.address)]).await;
    let text = ["*/*", "text/plain;version=0.0.4", "text/plain;version=1.0.0"];
    let readers = [&text[..], &[DELIMITED, DELIMITED]].concat();
    let headers: Vec<String> =
        readers.iter().map(|accept| format!("accept: {accept}\r\n")).collect();
    let pages = headers.iter().map(|header| agent.get_with("/pods/ns/pod/metrics", header));
    for page in futures_util::future::join_all(pages).await {
        assert_eq!(page.status, 200, "{}", page.body);
    }
    assert_eq!(app.n_requests(), 2);
}

#[tokio::test]
async fn a_page_tells_its_format() {
    let app = Application::answers(exposition("m 1\n"));
    for accept in ["", "*/*", "text/html,*/*;q=0.8", "application/json"] {
        let page = page(&app, accept).await;
        let text = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        assert_eq!(page.header("content-type"), text, "{accept}");
    }
    for (accept, escaping) in [
        ("text/plain; version=1.0.0; charset=utf-8", "allow-utf-8"),
        (OPENMETRICS, "underscores"),
        (DELIMITED, "dots"),
    ] {
        let page = page(&app, &format!("{accept}; escaping={escaping}")).await;
        assert_eq!(page.header("content-type"), format!("{accept}; escaping={escaping}"));
        assert_eq!(page.header("vary"), "accept");
    }
}

#[tokio::test]
async fn two_accept_headers_are_one() {
    let app = Application::answers(exposition("m 1\n"));
    let page = page(&app, &format!("application/json\r\naccept: {OPENMETRICS}")).await;
    assert!(page.header("content-type").starts_with(OPENMETRICS));
}

#[tokio::test]
async fn a_page_of_openmetrics_ends_with_its_last_line() {
    let page = page(&Application::answers(exposition("m 1\n")), OPENMETRICS).await;
    assert!(page.body.ends_with("\n# EOF\n"), "{}", page.body);
    page.has("m{container=\"app\",endpoint=\"1\"} 1");
    page.has("merger_source_up{container=\"app\",endpoint=\"1\"} 1");
}

#[tokio::test]
async fn a_page_of_protobuf_is_messages() {
    let page = page(&declared(DELIMITED, MESSAGE), DELIMITED).await;
    // The first family: its length, then its name.
    assert_eq!(page.bytes.get(1..4), Some(&b"\x0a\x01m"[..]), "{:?}", page.body);
    assert!(page.body.contains("merger_source_up"));
}

#[tokio::test]
async fn the_agents_own_metrics_are_in_the_readers_format() {
    let agent = Agent::start(vec![]).await;
    let text = agent.get("/metrics").await;
    assert_eq!(text.body, "# TYPE own_total counter\nown_total 1\n");
    let header = format!("accept: {OPENMETRICS}\r\n");
    let openmetrics = agent.get_with("/metrics", &header).await;
    assert!(openmetrics.header("content-type").starts_with(OPENMETRICS));
    assert_eq!(openmetrics.body, "# TYPE own counter\nown_total 1\n# EOF\n");
}

#[tokio::test]
async fn a_source_is_read_in_the_format_that_it_declares() {
    check_read("text/plain; version=0.0.4", b"# TYPE m gauge\nm 1\n").await;
    check_read("text/plain; version=1.0.0", b"# TYPE m gauge\nm 1\n").await;
    check_read(OPENMETRICS, b"# TYPE m gauge\nm 1\n# EOF\n").await;
    check_read(DELIMITED, MESSAGE).await;
}

#[tokio::test]
async fn a_source_that_declares_the_wrong_format_is_read_as_what_it_is() {
    check_read("text/plain", b"# TYPE m gauge\nm 1\n# EOF\n").await;
    check_read("application/octet-stream", b"# TYPE m gauge\nm 1\n").await;
    check_read(DELIMITED, b"# TYPE m gauge\nm 1\n").await;
    check_read("text/plain", MESSAGE).await;
    check_read("", MESSAGE).await;
}

#[tokio::test]
async fn a_body_whose_end_is_missing_costs_the_source_and_is_counted_as_that() {
    let openmetrics = declared(OPENMETRICS, b"# TYPE m gauge\nm 1\n");
    let protobuf = declared(DELIMITED, &MESSAGE[..MESSAGE.len() - 3]);
    let sources =
        vec![mk_source("a", "1", openmetrics.address), mk_source("b", "1", protobuf.address)];
    let agent = Agent::start(sources).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    assert_eq!(page.status, 503, "{}", page.body);
    page.has("  a/1: the last line is not `# EOF`: the page was cut off");
    page.has("  b/1: the message at byte 0 is cut off");
    let counts: Vec<_> = agent.pages.cut_off().counts().into_iter().collect();
    assert_eq!(counts, [("cut_off", 1), ("no_eof", 1)]);
    assert!(agent.pages.limits_hit().counts().is_empty());
}

#[tokio::test]
async fn protobuf_that_ends_with_the_connection_needs_no_last_line() {
    let head = format!("HTTP/1.0 200 OK\r\ncontent-type: {DELIMITED}\r\n\r\n");
    let whole = Application::answers([head.as_bytes(), MESSAGE].concat());
    page(&whole, "*/*").await.has("m{container=\"app\",endpoint=\"1\"} 1");

    let agent_of = async |application: &Application| {
        Agent::start(vec![mk_source("bad", "1", application.address)]).await
    };
    let empty = agent_of(&Application::answers(head.clone().into_bytes())).await;
    let reason = "the connection closed before the end of the answer";
    assert_eq!(failure_of(&empty.get("/pods/ns/pod/metrics").await), reason);
}
