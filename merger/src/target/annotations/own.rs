//! `merger.io/…`: what no other set can say.
//!
//! `merger.io/endpoints` lists endpoints, each with its scheme: `http://:8080/metrics,
//! https://:8443/admin`. `<container>.merger.io/endpoints` lists those of one container, which is known
//! before anything listens. `merger.io/probe` asks to be probed, or not to be. `merger.io/secret` is read in
//! `secret.rs`.

use std::collections::BTreeMap;

use super::{
    At, Endpoint, MAX_ENDPOINTS,
    value::{self, Malformed},
};
use crate::target::{Scheme, note::Note};

const DOMAIN: &str = "merger.io/";
const ENDPOINTS: &str = "endpoints";
const SECRET: &str = "secret";
const PROBE: &str = "merger.io/probe";

/// The endpoints of the pod and of its containers.
pub(super) fn endpoints(
    annotations: &BTreeMap<String, String>,
    containers: &[&str],
    notes: &mut Vec<Note>,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (annotation, listed) in super::entries(annotations) {
        let Some((before, what)) = annotation.split_once(DOMAIN) else { continue };
        let container = before.strip_suffix('.');
        match (container, what) {
            (None, ENDPOINTS) if before.is_empty() => {}
            (Some(container), ENDPOINTS) if containers.contains(&container) => {}
            (None, SECRET) if before.is_empty() => continue,
            (Some(container), SECRET) if containers.contains(&container) => continue,
            (Some(container), ENDPOINTS | SECRET) => {
                let container = value::shortened(container);
                let annotation = value::shown_name(annotation);
                notes.push(Note::UnknownContainer { annotation, container });
                continue;
            }
            _ if annotation == PROBE => continue,
            // Another's domain may end like ours: `notmerger.io/endpoints`.
            (None, _) if !before.is_empty() => continue,
            _ => {
                notes.push(Note::UnknownAnnotation(value::shown_name(annotation)));
                continue;
            }
        }
        let Some(listed) = super::noted(super::short((annotation, listed)), notes) else {
            continue;
        };
        super::note_rest(annotation, listed.split(',').count(), notes);
        let listed = listed.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty());
        let read = listed.take(MAX_ENDPOINTS).map(|text| read(annotation, text, container));
        endpoints.extend(super::kept(read, notes));
    }
    endpoints
}

/// Whether the pod says that it may be probed, or that it may not.
pub(super) fn probe(annotations: &BTreeMap<String, String>, notes: &mut Vec<Note>) -> Option<bool> {
    super::noted(super::find(annotations, PROBE).map(value::truth_of).transpose(), notes).flatten()
}

/// `[http://|https://]:port[/path]`, with a number or a name for the port.
fn read(annotation: &str, text: &str, container: Option<&str>) -> Result<Endpoint, Malformed> {
    let expected = "http://:8080/metrics or https://:8443/metrics, with a port's number or name";
    let malformed = || Malformed::new(annotation, text, expected);
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (value::scheme(scheme).ok_or_else(malformed)?, rest),
        None => (Scheme::Http, text),
    };
    let rest = rest.strip_prefix(':').ok_or_else(malformed)?;
    let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let at = At::read(port).ok_or_else(malformed)?;
    let path = value::page_of((annotation, path))?;
    let container = container.map(str::to_owned);
    Ok(Endpoint { container, ..Endpoint::new(at, scheme, path, annotation) })
}
