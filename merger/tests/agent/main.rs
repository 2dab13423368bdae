//! The agent in one process: applications of every manner on loopback, the real scraper, the real
//! server. Only the entry into a namespace is replaced, by a plain connection, so no right is needed.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use merger::target::{Refusal, State};

use self::{
    application::{Application, answer, exposition},
    world::{Agent, mk_source},
};

mod application;
mod formats;
mod node;
mod own;
mod secrets;
mod server;
mod world;

/// An application whose page holds one sample.
fn sound() -> Application {
    Application::answers(exposition("m 1\n"))
}

/// Scrapes `application` beside a sound one, and finds the reason why it is not on the page.
#[track_caller]
fn failure_of(page: &world::Answer) -> &str {
    assert_eq!(page.status, 503, "{}", page.body);
    page.body.lines().find_map(|line| line.strip_prefix("  bad/1: ")).expect(&page.body)
}

/// An application that fails: alone it gives 503 with the reason; beside another it costs itself.
async fn check_failure(application: Application, reason: &str) {
    let bad = || vec![mk_source("bad", "1", application.address)];
    let alone = Agent::start(bad()).await.get("/pods/ns/pod/metrics").await;
    assert_eq!(failure_of(&alone), reason);

    let good = sound();
    let both = [bad(), vec![mk_source("good", "2", good.address)]].concat();
    let page = Agent::start(both).await.get("/pods/ns/pod/metrics").await;
    assert_eq!(page.status, 200);
    page.has("m{container=\"good\",endpoint=\"2\"} 1");
    page.has("merger_source_up{container=\"bad\",endpoint=\"1\"} 0");
    page.has("merger_source_up{container=\"good\",endpoint=\"2\"} 1");
}

#[tokio::test]
async fn two_sources_make_one_page() {
    let app = Application::answers(exposition("# TYPE m counter\nm{a=\"b\"} 1\n"));
    let proxy = Application::answers(exposition("# TYPE m counter\nm 2\nup 3\n"));
    let sources =
        vec![mk_source("app", "8080", app.address), mk_source("proxy", "stats", proxy.address)];
    let page = Agent::start(sources).await.get("/pods/ns/pod/metrics").await;
    assert_eq!(page.status, 200);
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    assert_eq!((page.header("content-type"), page.header("vary")), (content_type, "accept"));
    let expected = "\
# TYPE m counter
m{a=\"b\",container=\"app\",endpoint=\"8080\"} 1
m{container=\"proxy\",endpoint=\"stats\"} 2
up{container=\"proxy\",endpoint=\"stats\"} 3
# HELP merger_source_up Whether the source gave a whole exposition.
# TYPE merger_source_up gauge
merger_source_up{container=\"app\",endpoint=\"8080\"} 1
merger_source_up{container=\"proxy\",endpoint=\"stats\"} 1
";
    assert_eq!(&page.body[..expected.len()], expected);
    page.has("merger_source_samples{container=\"app\",endpoint=\"8080\"} 1");
    page.has("merger_source_samples{container=\"proxy\",endpoint=\"stats\"} 2");
}

#[tokio::test]
async fn a_source_does_not_speak_for_the_page() {
    let lies = "# TYPE merger_source_up counter\nmerger_source_up 0\nmerger_source_up 0 7\nm 1\n";
    let app = Application::answers(exposition(lies));
    let agent = Agent::start(vec![mk_source("app", "8080", app.address)]).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    let expected = "\
m{container=\"app\",endpoint=\"8080\"} 1
# HELP merger_source_up Whether the source gave a whole exposition.
# TYPE merger_source_up gauge
merger_source_up{container=\"app\",endpoint=\"8080\"} 1
# HELP merger_source_scrape_duration_seconds";
    assert_eq!(&page.body[..expected.len()], expected);
    page.has("merger_source_samples{container=\"app\",endpoint=\"8080\"} 1");
}

#[tokio::test]
async fn a_source_is_asked_as_prometheus_asks() {
    let app = sound();
    let mut source = mk_source("app", "1", app.address);
    source.path = "/stats?usedonly".to_owned();
    let agent = Agent::start(vec![source]).await;
    agent.get_with("/pods/ns/pod/metrics", "x-prometheus-scrape-timeout-seconds: 1.2\r\n").await;
    let request = app.request();
    let lines: Vec<&str> = request.lines().collect();
    assert_eq!(lines[0], "GET /stats?usedonly HTTP/1.1");
    assert!(lines.contains(&&*format!("host: {}", app.address)), "{request}");
    assert!(lines.iter().any(|line| line.starts_with("accept: text/plain;version=1.0.0;")));
    assert!(lines.contains(&"accept-encoding: gzip"), "{request}");
    assert!(lines.contains(&"x-prometheus-scrape-timeout-seconds: 0.7"), "{request}");
}

#[tokio::test]
async fn a_port_that_refuses_costs_itself() {
    let application = Application::closed();
    let reason =
        format!("cannot connect to {}: Connection refused (os error 111)", application.address);
    check_failure(application, &reason).await;
}

#[tokio::test]
async fn an_application_that_hangs_costs_itself() {
    check_failure(Application::hangs(), "no whole answer within 1s").await;
}

#[tokio::test]
async fn an_application_that_drips_is_cut_off_at_the_deadline() {
    check_failure(Application::drips(exposition("m 1\n")), "no whole answer within 1s").await;
}

#[tokio::test]
async fn a_status_but_200_costs_the_source() {
    check_failure(
        Application::answers(answer("500 Internal Server Error", "", "m 1\n")),
        "answered with HTTP status 500 Internal Server Error",
    )
    .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = sound();
    let location = format!("location: http://{}/metrics\r\n", elsewhere.address);
    let application = Application::answers(answer("302 Found", &location, ""));
    check_failure(application, "answered with HTTP status 302 Found").await;
    assert_eq!(elsewhere.n_requests(), 0);
}

#[tokio::test]
async fn html_is_no_exposition() {
    let page = "<!doctype html><title>login</title>";
    for content_type in ["content-type: text/html\r\n", "content-type: text/plain\r\n", ""] {
        check_failure(
            Application::answers(answer("200 OK", content_type, page)),
            "answered with an HTML page, but only Prometheus text, OpenMetrics and delimited \
             protobuf are read; check the path",
        )
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_is_no_short_page() {
    let truncated = "the connection closed before the end of the answer";
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nm 1\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nm 1\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nm 1\nm{a=\"b\"} 2",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nm 1\nm 12",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ] {
        check_failure(Application::answers(answer.into()), truncated).await;
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole_where_its_last_line_is() {
    let app = Application::answers("HTTP/1.0 200 OK\r\n\r\nm 1\n".into());
    let agent = Agent::start(vec![mk_source("app", "1", app.address)]).await;
    agent.get("/pods/ns/pod/metrics").await.has("m{container=\"app\",endpoint=\"1\"} 1");
}

#[tokio::test]
async fn a_compressed_body_is_read() {
    let body = application::gzip(b"m 1\n");
    let app = Application::answers(answer("200 OK", "content-encoding: gzip\r\n", &body));
    let agent = Agent::start(vec![mk_source("app", "1", app.address)]).await;
    agent.get("/pods/ns/pod/metrics").await.has("m{container=\"app\",endpoint=\"1\"} 1");
}

#[tokio::test]
async fn a_compressed_body_that_ends_early_is_no_short_page() {
    let whole = application::gzip(b"m 1\nm{a=\"b\"} 2\n");
    for kept in 0..whole.len() {
        let gzip = "content-encoding: gzip\r\n";
        let application = Application::answers(answer("200 OK", gzip, &whole[..kept]));
        let agent = Agent::start(vec![mk_source("bad", "1", application.address)]).await;
        let page = agent.get("/pods/ns/pod/metrics").await;
        let reason = failure_of(&page);
        // Where only the checksum is cut, it is a wrong one.
        let truncated = reason == "the connection closed before the end of the answer";
        assert!(truncated || reason.contains("checksum"), "{kept}: {reason}");
    }
}

#[tokio::test]
async fn a_broken_compressed_body_costs_the_source() {
    let mut body = application::gzip(b"m 1\n");
    body[12] ^= 0xff;
    let application = Application::answers(answer("200 OK", "content-encoding: gzip\r\n", &body));
    let agent = Agent::start(vec![mk_source("bad", "1", application.address)]).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    assert!(failure_of(&page).starts_with("body cannot be decompressed: "), "{}", page.body);
}

#[tokio::test]
async fn a_compression_that_was_not_offered_is_named() {
    let application = Application::answers(answer("200 OK", "content-encoding: zstd\r\n", "x"));
    check_failure(application, "compressed as \"zstd\", which was not offered").await;
}

#[tokio::test]
async fn a_bomb_is_cut_off_at_the_decompressed_size() {
    let bomb = application::gzip(&vec![b'\n'; 8 << 20]);
    assert!(bomb.len() < 10_000);
    let application = Application::answers(answer("200 OK", "content-encoding: gzip\r\n", &bomb));
    check_failure(application, "body larger than 65536 bytes").await;
}

#[tokio::test]
async fn a_body_past_the_limit_costs_the_source() {
    let body = "# comment\n".repeat(7000);
    check_failure(Application::answers(exposition(&body)), "body larger than 65536 bytes").await;
}

#[tokio::test]
async fn interim_answers_without_end_are_cut_off() {
    let endless = Application::repeats("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
    check_failure(endless, "body larger than 65536 bytes").await;
}

#[tokio::test]
async fn what_is_no_http_costs_the_source() {
    let application = Application::answers("SSH-2.0-OpenSSH_9.2\r\n".into());
    let agent = Agent::start(vec![mk_source("bad", "1", application.address)]).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    assert!(failure_of(&page).starts_with("no valid HTTP: "), "{}", page.body);
}

#[tokio::test]
async fn a_source_with_too_many_samples_costs_itself() {
    let body = (0..101).fold(String::new(), |body, n| body + &format!("m{n} 1\n"));
    let application = Application::answers(exposition(&body));
    check_failure(application, "line 101: more than 100 samples").await;
}

#[tokio::test]
async fn an_application_behind_tls_is_read_whatever_its_certificate() {
    let app = Application::answers_by_tls(exposition("m 1\n"));
    let mut source = mk_source("app", "1", app.address);
    source.scheme = merger::target::Scheme::Https;
    let agent = Agent::start(vec![source]).await;
    agent.get("/pods/ns/pod/metrics").await.has("m{container=\"app\",endpoint=\"1\"} 1");
}

#[tokio::test]
async fn https_to_a_port_without_tls_is_told_so() {
    let application = sound();
    let mut source = mk_source("bad", "1", application.address);
    source.scheme = merger::target::Scheme::Https;
    let page = Agent::start(vec![source]).await.get("/pods/ns/pod/metrics").await;
    let reason = failure_of(&page);
    assert!(reason.starts_with("no TLS handshake: does the port speak https?"), "{reason}");
}

#[tokio::test]
async fn not_a_byte_is_sent_in_another_namespace() {
    let app = sound();
    let source = mk_source("bad", "1", app.address);
    let agent = Agent::start_in(world::Namespace::Another, vec![source]).await;
    let page = agent.get("/pods/ns/pod/metrics").await;
    let reason = failure_of(&page);
    assert!(reason.starts_with("the connection is in the network namespace "), "{reason}");
    assert_eq!(app.n_requests(), 0);
}

#[tokio::test]
async fn a_port_that_does_not_listen_yet_is_down_and_no_error_of_the_page() {
    let app = sound();
    let mut pending = mk_source("late", "2", app.address);
    pending.state = State::Pending;
    let sources = vec![mk_source("app", "1", app.address), pending];
    let page = Agent::start(sources).await.get("/pods/ns/pod/metrics").await;
    page.has("merger_source_up{container=\"app\",endpoint=\"1\"} 1");
    page.has("merger_source_up{container=\"late\",endpoint=\"2\"} 0");
}

#[tokio::test]
async fn what_is_not_to_be_asked_is_not_asked() {
    let app = sound();
    let mut refused = mk_source("bad", "1", app.address);
    refused.state = State::Refused(Refusal::ForeignHolder { pid: 7, pod_uid: None });
    let page = Agent::start(vec![refused]).await.get("/pods/ns/pod/metrics").await;
    let reason = "the socket is held by process 7, which is not of this pod: ask for a port that its \
                  own containers alone hold";
    assert_eq!(failure_of(&page), reason);
    assert_eq!(app.n_requests(), 0);
}

#[tokio::test]
async fn a_body_is_not_used_where_the_hosts_listener_changed_hands_meanwhile() {
    let app = sound();
    let owned_by = |uid: &str| {
        let mut source = mk_source("bad", "1", app.address);
        source.owner = uid.parse().ok();
        vec![source]
    };
    let page = Agent::start(owned_by("kept")).await.get("/pods/ns/pod/metrics").await;
    page.has("m{container=\"bad\",endpoint=\"1\"} 1");
    let agent = Agent::start(owned_by("sold")).await;
    let reason = "the listener changed hands during the scrape: process 7 holds the socket in the \
                  host's namespace, and is not of this pod";
    assert_eq!(failure_of(&agent.get("/pods/ns/pod/metrics").await), reason);
    assert_eq!(app.n_requests(), 2);
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_refuses() {
    let (closed, app) = (Application::closed(), sound());
    let mut source = mk_source("app", "1", app.address);
    source.state = State::Ready(vec![closed.address, app.address]);
    let agent = Agent::start(vec![source]).await;
    agent.get("/pods/ns/pod/metrics").await.has("m{container=\"app\",endpoint=\"1\"} 1");
}

#[tokio::test]
async fn readers_at_one_time_share_one_scrape() {
    let app = Application::answers_late(exposition("m 1\n"), Duration::from_millis(200));
    let agent = Agent::start(vec![mk_source("app", "1", app.address)]).await;
    let pages = futures_util::future::join_all((0..8).map(|_| agent.get("/pods/ns/pod/metrics")));
    for page in pages.await {
        page.has("m{container=\"app\",endpoint=\"1\"} 1");
    }
    assert_eq!(app.n_requests(), 1);
    agent.get("/pods/ns/pod/metrics").await;
    assert_eq!(app.n_requests(), 2, "a scrape that has ended is not served again");
}

#[tokio::test]
async fn a_reader_in_a_hurry_does_not_end_the_scrape_of_another() {
    let app = Application::answers_late(exposition("m 1\n"), Duration::from_millis(400));
    let agent = Agent::start(vec![mk_source("bad", "1", app.address)]).await;
    let hurried =
        agent.get_with("/pods/ns/pod/metrics", "x-prometheus-scrape-timeout-seconds: 0.2\r\n");
    let (hurried, patient) =
        futures_util::future::join(hurried, agent.get("/pods/ns/pod/metrics")).await;
    assert_eq!(failure_of(&hurried), "no whole answer within 100ms");
    patient.has("m{container=\"bad\",endpoint=\"1\"} 1");
    assert_eq!(app.n_requests(), 1);
}

#[tokio::test]
async fn memory_in_flight_is_bounded_for_the_sources_of_a_pod_together() {
    let page = exposition(&"# comment\n".repeat(6000));
    let apps: Vec<Application> = (0..4)
        .map(|_| Application::answers_late(page.clone(), Duration::from_millis(100)))
        .collect();
    let sources = apps.iter().enumerate();
    let sources = sources.map(|(n, app)| mk_source("bad", &n.to_string(), app.address)).collect();
    let page = Agent::start(sources).await.get("/pods/ns/pod/metrics").await;
    let up = |state: &str| {
        page.body
            .lines()
            .filter(|line| line.starts_with("merger_source_up{") && line.ends_with(state))
            .count()
    };
    assert_eq!((up(" 1"), up(" 0")), (2, 2), "{}", page.body);
}
