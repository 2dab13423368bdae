//! One of `podMetricsEndpoints` as it is written, to what travels with the pods that it is asked of.

use serde::{Deserialize, de::IgnoredAny};

use super::bounded::{Entries, Listed};
use crate::{
    pods::object::null_is_unset,
    target::monitor::{Endpoint, Port, Unmet},
};

/// Names in a query, and values of each. With more the query is longer than the 1024 bytes that are sent.
const MAX_PARAMS: usize = 512;

/// Relabelings that are looked at.
const MAX_RELABELINGS: usize = 64;

/// The bytes of a text that are kept: longer than any that can be followed, so that it is still known.
const MAX_TEXT: usize = 1100;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct EndpointSpec {
    port: Option<String>,
    port_number: Option<i64>,
    target_port: Option<NumberOrName>,
    path: Option<String>,
    scheme: Option<String>,
    params: Entries<Listed<String, MAX_PARAMS>, MAX_PARAMS>,
    #[serde(deserialize_with = "null_is_unset")]
    authorization: Authorization,
    basic_auth: Option<IgnoredAny>,
    oauth2: Option<IgnoredAny>,
    #[serde(deserialize_with = "null_is_unset")]
    bearer_token_secret: SecretKey,
    #[serde(deserialize_with = "null_is_unset")]
    tls_config: TlsConfig,
    relabelings: Listed<Relabeling, MAX_RELABELINGS>,
}

/// Before there was `portNumber` this was both.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NumberOrName {
    Number(i64),
    Name(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Authorization {
    credentials: Option<IgnoredAny>,
}

/// Clients write it with empty fields where it is not set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecretKey {
    #[serde(deserialize_with = "null_is_unset")]
    name: String,
    #[serde(deserialize_with = "null_is_unset")]
    key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TlsConfig {
    /// Clients write `{}` where it is not set.
    #[serde(deserialize_with = "null_is_unset")]
    cert: Certificate,
    key_secret: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Certificate {
    secret: Option<IgnoredAny>,
    config_map: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Relabeling {
    #[serde(deserialize_with = "null_is_unset")]
    action: String,
    #[serde(deserialize_with = "null_is_unset")]
    target_label: String,
    replacement: Option<String>,
}

// === impl EndpointSpec ===

impl EndpointSpec {
    /// What is used of it, as an endpoint of this `monitor`.
    pub(super) fn into_endpoint(self, monitor: &str) -> Endpoint {
        let unmet = self.unmet();
        let chooses = self.relabelings.kept.iter().any(Relabeling::chooses);
        let Self { port, port_number, target_port, path, scheme, params, .. } = self;
        let port = match (port.filter(|name| !name.is_empty()), port_number, target_port) {
            (Some(name), _, _) => Port::Name(cut(name)),
            (None, Some(number), _) | (None, None, Some(NumberOrName::Number(number))) => {
                Port::Number(number)
            }
            (None, None, Some(NumberOrName::Name(name))) if !name.is_empty() => {
                Port::Name(cut(name))
            }
            (None, None, _) => Port::Each,
        };
        let params = params.kept.into_iter().map(|(name, values)| {
            (cut(name), values.kept.into_iter().map(cut).collect::<Vec<String>>())
        });
        Endpoint {
            monitor: monitor.to_owned(),
            port,
            path: cut(path.unwrap_or_default()),
            scheme: cut(scheme.unwrap_or_default()),
            params: params.collect(),
            unmet,
            chooses,
        }
    }

    fn unmet(&self) -> Option<Unmet> {
        let is_set = |key: &SecretKey| !key.name.is_empty() || !key.key.is_empty();
        let TlsConfig { cert: Certificate { secret, config_map }, key_secret } = &self.tls_config;
        let Listed { kept: relabelings, left_out } = &self.relabelings;
        let has_certificate = secret.is_some() || config_map.is_some() || key_secret.is_some();
        [
            (self.authorization.credentials.is_some(), Unmet::Authorization),
            (self.basic_auth.is_some(), Unmet::BasicAuth),
            (self.oauth2.is_some(), Unmet::OAuth2),
            (is_set(&self.bearer_token_secret), Unmet::BearerTokenSecret),
            (has_certificate, Unmet::ClientCertificate),
            (*left_out > 0 || relabelings.iter().any(Relabeling::writes), Unmet::Relabelings),
        ]
        .into_iter()
        .find_map(|(is_asked, unmet)| is_asked.then_some(unmet))
    }
}

// === impl Relabeling ===

impl Relabeling {
    /// Whether it decides which targets there are: `action` is written in either case.
    fn chooses(&self) -> bool {
        let action = self.action.to_ascii_lowercase();
        matches!(action.as_str(), "keep" | "drop" | "keepequal" | "dropequal")
    }

    /// Whether it makes another request of a target, or may do so. What a `labelmap` names by nothing but parts
    /// of names of other labels does not: those that say which pod it is name labels and annotations
    /// of it, which begin with a letter or a digit.
    fn writes(&self) -> bool {
        if self.action.eq_ignore_ascii_case("labelmap") {
            let name = self.replacement.as_deref().unwrap_or("$1");
            return !name.starts_with('$') && may_be_of_request(name);
        }
        may_be_of_request(&self.target_label)
    }
}

/// Whether a label of this name says what is asked of a target. From a `$` on it is whatever a regular
/// expression has matched.
fn may_be_of_request(name: &str) -> bool {
    const LABELS: [&str; 4] = ["__address__", "__scheme__", "__metrics_path__", "__param_"];
    let (said, is_open) = match name.split_once('$') {
        Some((said, _)) => (said, true),
        None => (name, false),
    };
    LABELS.iter().any(|label| said.starts_with(label) || (is_open && label.starts_with(said)))
}

/// The bytes that an endpoint takes in memory.
pub(super) fn kept(endpoint: &Endpoint) -> usize {
    let Endpoint { monitor, port, path, scheme, params, unmet: _, chooses: _ } = endpoint;
    let port = match port {
        Port::Name(name) => name.len(),
        Port::Each | Port::Number(_) => 0,
    };
    let texts = params.iter().flat_map(|(name, values)| std::iter::once(name).chain(values));
    let params: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
    size_of::<Endpoint>() + monitor.len() + port + path.len() + scheme.len() + params
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.shrink_to_fit();
    }
    text
}
