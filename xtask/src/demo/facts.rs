//! The facts that the demo shows, each looked up on the running node.

use std::{
    io::Write as _,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{Services, http, mesh, node::OUTSIDE, pod::CART};
use crate::{screen, shell};

/// One line of the table.
struct Fact<'a> {
    what: &'static str,
    expected: &'static str,
    /// How long after the start it may take to become true.
    patience: Duration,
    /// What came: `Ok` if it is what was expected.
    look: Box<dyn Fn() -> anyhow::Result<String> + 'a>,
}

/// Prometheus needs about 12 s to discover the pods and to read them, on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Shows each fact as soon as it is known; whether all of them hold.
///
/// `go_on` is asked again and again; its error ends the showing.
pub(super) fn show(
    services: &Services,
    mut go_on: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let start = Instant::now();
    let facts = [from_outside(), from_merger(services), from_prometheus(services)];
    let facts: Vec<Fact<'_>> = facts.into_iter().flatten().collect();
    screen::line(&format!("       {}", row("FACT", "EXPECTED", "FOUND")));
    let mut n_holding = 0;
    for fact in &facts {
        let came = fact.settle(start + fact.patience, &mut go_on)?;
        n_holding += usize::from(came.is_ok());
        fact.tell(&came);
    }
    screen::line("");
    let seconds = start.elapsed().as_secs();
    screen::step(&format!("{n_holding} of {} facts hold, after {seconds} s", facts.len()));
    Ok(n_holding == facts.len())
}

fn row(what: &str, expected: &str, found: &str) -> String {
    format!("{what:<58} {expected:<18} {found}")
}

/// What the mesh does to those who come without it, and with it: from the first moment.
fn from_outside<'a>() -> Vec<Fact<'a>> {
    let [plain, admin] =
        [9100, 15000].map(|port| format!("http://{}:{port}/metrics", CART.address));
    let [ca, pem, key] = ["ca.pem", "client.pem", "client.key"].map(mesh::certificate);
    let resolve = format!("{}:9100:{}", mesh::HOST, CART.address);
    let tls = format!("https://{}:9100/metrics", mesh::HOST);
    let anonymous = {
        let tls = tls.clone();
        // In TLS 1.3 the client writes before it is refused, and what it then reads is a race.
        let options =
            ["--tls-max", "1.2", "--cacert", &ca, "--resolve", &resolve].map(str::to_owned);
        move || {
            let options = options.each_ref().map(String::as_str);
            refused(&options, &tls, "handshake failure")
        }
    };
    let facts = vec![
        fact("plaintext from outside to cart:9100", "connection reset", move || reset(&plain)),
        fact("plaintext from outside to cart:15000", "connection reset", move || reset(&admin)),
        fact("TLS without a certificate to cart:9100", "handshake failure", anonymous),
        fact("mTLS from outside to cart:9100", "HTTP 200", move || {
            let options = ["--resolve", &resolve, "--cacert", &ca, "--cert", &pem, "--key", &key];
            let page = http::get_inside(OUTSIDE, &options, &tls)?.success()?;
            Ok(format!("HTTP 200, {} samples", samples(&page).count()))
        }),
    ];
    facts.into_iter().map(|fact| Fact { patience: Duration::ZERO, ..fact }).collect()
}

/// The same pods through merger.
fn from_merger(services: &Services) -> Vec<Fact<'_>> {
    vec![
        fact("merger's page of cart", "series of both", || {
            from_containers(services, "cart", ["cart", "istio-proxy"])
        }),
        fact("promtool check metrics of that page", "no error", || check_metrics(services)),
        fact("prometheus-parse of that page and of its sources", "as many samples", || {
            read_by_another(services)
        }),
        fact("merger's page of multi", "series of both", || {
            from_containers(services, "multi", ["web", "worker"])
        }),
    ]
}

/// What Prometheus has stored.
fn from_prometheus(services: &Services) -> Vec<Fact<'_>> {
    [
        (r#"up{pod="cart"}"#, "1"),
        (r#"up{pod="multi"}"#, "1"),
        (r#"up{pod="dead"}"#, "1"),
        (r#"count(node_uname_info{pod="cart",container="cart"})"#, "1"),
        (r#"envoy_server_live{pod="cart",container="istio-proxy"}"#, "1"),
        (r#"count(node_uname_info{pod="multi"})"#, "2"),
        (r#"merger_source_up{pod="dead",container="istio-proxy"}"#, "1"),
        (r#"merger_source_up{pod="dead",container="app"}"#, "0"),
    ]
    .into_iter()
    .map(|(query, value)| fact(query, value, move || stored(services, query, value)))
    .collect()
}

fn reset(url: &str) -> anyhow::Result<String> {
    refused(&[], url, "Connection reset by peer")
}

/// Asks from outside for what must not be answered, and why.
fn refused(options: &[&str], url: &str, reason: &str) -> anyhow::Result<String> {
    match http::get_inside(OUTSIDE, options, url) {
        Ok(answer) => bail!("it answered: HTTP {}", answer.status),
        Err(error) if error.to_string().contains(reason) => Ok(reason.to_owned()),
        Err(error) => Err(error),
    }
}

fn page(services: &Services, pod: &str) -> anyhow::Result<String> {
    http::get(&format!("http://{}/pods/shop/{pod}/metrics", services.merger))?.success()
}

/// Counts the series of each container; none of one of them is a failure.
fn from_containers(
    services: &Services,
    pod: &str,
    containers: [&str; 2],
) -> anyhow::Result<String> {
    let page = page(services, pod)?;
    let of = |container: &str| {
        let label = format!("container=\"{container}\"");
        let own = |line: &&str| line.contains(&label) && !line.starts_with("merger_source_");
        samples(&page).filter(own).count()
    };
    let counts = containers.map(|container| (container, of(container)));
    let came = counts.map(|(container, n)| format!("{n} from {container}")).join(", ");
    ensure!(counts.iter().all(|(_, n)| *n > 0), "{came}");
    Ok(came)
}

fn check_metrics(services: &Services) -> anyhow::Result<String> {
    let page = page(services, "cart")?;
    let mut promtool = shell::command(["promtool", "check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool")?;
    // It reads all before it says anything, so neither side waits for the other.
    promtool.stdin.take().context("promtool has an input")?.write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok("no error, no remark".to_owned()),
        // Source: `lintErrExitCode` in prometheus, cmd/promtool/main.go.
        Some(3) => Ok(format!("no error, {} remarks on names", said.lines().count())),
        _ => bail!("{}", said.lines().next().unwrap_or("no reason given")),
    }
}

/// Counts with a reader that is not ours: the page has as many samples as its two sources.
fn read_by_another(services: &Services) -> anyhow::Result<String> {
    let inside = CART.netns();
    let source = |url| http::get_inside(&inside, &[], url)?.success();
    let sources = [
        source("http://127.0.0.1:9100/metrics")?,
        source("http://127.0.0.1:15090/stats/prometheus")?,
    ];
    let page = page(services, "cart")?;
    let own = page.lines().filter(|line| line.starts_with("merger_source_")).count();
    let [app, proxy] = sources.map(|source| n_samples(&source));
    let (app, proxy, all) = (app?, proxy?, n_samples(&page)? - own);
    let came = format!("{app} + {proxy} and {all}");
    ensure!(app > 0 && proxy > 0 && app + proxy == all, "{came}");
    Ok(came)
}

/// prometheus-parse drops a sample whose braces are empty, as Envoy writes them: without them it
/// says the same.
fn n_samples(page: &str) -> anyhow::Result<usize> {
    let lines = page.lines().map(|line| Ok(line.replace("{} ", " ")));
    Ok(prometheus_parse::Scrape::parse(lines)?.samples.len())
}

fn stored(services: &Services, query: &str, expected: &str) -> anyhow::Result<String> {
    let url = format!("http://{}/api/v1/query", services.prometheus);
    let asked = format!("query={query}");
    let answer = http::get_with(&["--get", "--data-urlencode", &asked], &url)?.success()?;
    let value = only_value(&answer)?;
    ensure!(value == expected, "{value}");
    Ok(value)
}

/// The value of the one series in an answer of Prometheus.
fn only_value(answer: &str) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_str(answer).context("no JSON from Prometheus")?;
    let result = answer.pointer("/data/result").and_then(Value::as_array).context("no result")?;
    ensure!(!result.is_empty(), "no series yet");
    ensure!(result.len() == 1, "{} series", result.len());
    let value = result[0].pointer("/value/1").and_then(Value::as_str).context("no value")?;
    Ok(value.to_owned())
}

fn samples(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn fact<'a>(
    what: &'static str,
    expected: &'static str,
    look: impl Fn() -> anyhow::Result<String> + 'a,
) -> Fact<'a> {
    Fact { what, expected, patience: PATIENCE, look: Box::new(look) }
}

// === impl Fact ===

impl Fact<'_> {
    /// Looks until it holds or the time is over; fails only where `go_on` does.
    fn settle(
        &self,
        deadline: Instant,
        go_on: &mut impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Result<String, String>> {
        loop {
            go_on()?;
            match (self.look)() {
                Ok(came) => return Ok(Ok(came)),
                Err(error) if Instant::now() > deadline => return Ok(Err(format!("{error:#}"))),
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn tell(&self, came: &Result<String, String>) {
        let Self { what, expected, patience: _, look: _ } = self;
        let (good, came) = match came {
            Ok(came) => (true, came),
            Err(came) => (false, came),
        };
        screen::verdict(good, &row(what, expected, came));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(result: &str, expected: Result<&str, &str>) {
        let answer = format!(r#"{{"status":"success","data":{{"result":{result}}}}}"#);
        let came = only_value(&answer).map_err(|error| error.to_string());
        assert_eq!(came.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn the_value_of_one_series_is_its_second_element() {
        check(r#"[{"metric":{},"value":[1700000000.1,"0"]}]"#, Ok("0"));
    }

    #[test]
    fn no_series_and_two_series_are_no_value() {
        check("[]", Err("no series yet"));
        let one = r#"{"metric":{},"value":[1,"0"]}"#;
        check(&format!("[{one},{one}]"), Err("2 series"));
    }
}
