//! `io.opentelemetry.discovery.metrics[.<port>]/{enabled,scraper,config}`.
//!
//! What is said for a port goes before what is said for the pod, one annotation at a time. What is
//! said for the pod is said for each port that its containers declare. The scraper has to be one of
//! Prometheus: other receivers speak the protocols of databases. Source:
//! `receiver/receivercreator/discovery.go` of opentelemetry-collector-contrib, and the settings of
//! `receiver/simpleprometheusreceiver`.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

use serde::Deserialize;

use super::{
    Endpoint, MAX_ENDPOINTS,
    value::{self, Entry, Malformed},
};
use crate::target::{Scheme, note::Note};

/// What the names of these annotations begin with.
pub const PREFIX: &str = "io.opentelemetry.discovery.metrics";

/// The settings of a scraper that say what is asked. Where it is asked is not theirs to say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    metrics_path: Option<String>,
    params: BTreeMap<String, String>,
    tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tls {
    insecure: bool,
}

/// One endpoint for each port that is enabled; `declared` are those of the pod's applications.
pub(super) fn endpoints(
    annotations: &BTreeMap<String, String>,
    declared: impl Iterator<Item = NonZeroU16>,
    notes: &mut Vec<Note>,
) -> Vec<Endpoint> {
    let mut ports = BTreeSet::new();
    for entry in super::entries(annotations) {
        let port = entry.0.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.'));
        let Some((port, _)) = port.and_then(|rest| rest.split_once('/')) else { continue };
        let expected = "for a port: its name has none from 1 to 65535, in digits";
        let port = value::port(port).ok_or_else(|| Malformed::new(entry.0, entry.1, expected));
        ports.extend(super::noted(port, notes));
    }
    if super::find(annotations, &format!("{PREFIX}/enabled")).is_some() {
        ports.extend(declared);
    }
    super::note_rest(PREFIX, ports.len(), notes);
    let read = ports.into_iter().take(MAX_ENDPOINTS).map(|port| endpoint(annotations, port));
    super::kept(read.filter_map(Result::transpose), notes)
}

fn endpoint(
    annotations: &BTreeMap<String, String>,
    port: NonZeroU16,
) -> Result<Option<Endpoint>, Malformed> {
    let said = |what: &str| {
        let of_port = super::find(annotations, &format!("{PREFIX}.{port}/{what}"));
        of_port.or_else(|| super::find(annotations, &format!("{PREFIX}/{what}")))
    };
    let Some(enabled) = said("enabled") else { return Ok(None) };
    if !value::truth_of(enabled)? {
        return Ok(None);
    }
    let expected = "a scraper of Prometheus' formats: prometheus_simple, or prometheus";
    let missing = format!("{PREFIX}.{port}/scraper");
    let scraper = said("scraper").unwrap_or((&missing, ""));
    let is_known =
        |scraper: &str| matches!(scraper, "prometheus_simple" | "prometheus").then_some(());
    value::parse(scraper, is_known, expected)?;
    let (scheme, path) =
        said("config").map_or(Ok((Scheme::Http, "/metrics".to_owned())), config)?;
    Ok(Some(Endpoint::new(port, scheme, path, enabled.0)))
}

fn config(entry: Entry<'_>) -> Result<(Scheme, String), Malformed> {
    let settings: Settings = serde_saphyr::from_str(super::short(entry)?).map_err(|_| {
        let expected = "settings of prometheus_simple in YAML: metrics_path, params, tls";
        Malformed::new(entry.0, entry.1, expected)
    })?;
    let Settings { metrics_path, params, tls } = settings;
    let mut path = value::page_of((entry.0, metrics_path.as_deref().unwrap_or("/metrics")))?;
    for (name, value) in &params {
        path.push(if path.contains('?') { '&' } else { '?' });
        value::escape_into(&mut path, name);
        path.push('=');
        value::escape_into(&mut path, value);
    }
    let path = value::page_of((entry.0, &path))?;
    let is_plain = tls.is_none_or(|tls| tls.insecure);
    Ok((if is_plain { Scheme::Http } else { Scheme::Https }, path))
}
