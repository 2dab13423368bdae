//! What `PodMonitor`s ask of a pod, as it travels with the pod, and what can be followed of it.
//!
//! Which of them select the pod is found out by whoever reads them, who sees the labels; here is what
//! their endpoints say. They are written by whoever may make such objects, and are hostile until checked:
//! the same checks as for an annotation. Source: `PodMetricsEndpoint` in
//! `pkg/apis/monitoring/v1/podmonitor_types.go` of prometheus-operator/prometheus-operator.

use std::{collections::BTreeMap, fmt, num::NonZeroU16, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Scheme,
    annotations::{self, At, Malformed},
};

/// Of more endpoints that are asked of one pod the last ones are not read.
pub const MAX_ENDPOINTS: usize = 32;

/// The endpoints that all `PodMonitor`s together ask of a pod: first those of its own namespace, in the order
/// of their names, then those of others, in turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitored {
    /// At most [`MAX_ENDPOINTS`].
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How many more there are.
    pub left_out: usize,
}

/// One of a `PodMonitor`'s `podMetricsEndpoints`, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Namespace and name of the `PodMonitor`, with a `/` between.
    pub monitor: String,
    /// Which of the pod's ports.
    pub port: Port,
    /// The path; empty where it is not said.
    pub path: String,
    /// The scheme; empty where it is not said.
    pub scheme: String,
    /// The parameters of the query.
    pub params: BTreeMap<String, Vec<String>>,
    /// What it takes to read it that merger does not do.
    pub unmet: Option<Unmet>,
    /// Whether its relabelings keep some targets and drop others.
    pub chooses: bool,
}

/// Which of a pod's declared ports an endpoint is at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Port {
    /// Each of them: it does not say.
    #[default]
    Each,
    /// By name: `port`.
    Name(String),
    /// By number: `portNumber`.
    Number(i64),
}

/// A field by which an endpoint asks for what merger does not do, and without which it would be refused,
/// or another page read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmet {
    /// Credentials.
    Authorization,
    /// The same, by user and password.
    BasicAuth,
    /// The same, from somebody who gives out tokens.
    OAuth2,
    /// The same, as it was written before.
    BearerTokenSecret,
    /// A certificate of the client's own.
    ClientCertificate,
    /// Relabelings that write another address, scheme, path or parameter.
    Relabelings,
}

/// What of a `PodMonitor` is not done, or not as it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The `PodMonitor`, as [`Endpoint::shown_monitor`] tells it.
    pub monitor: String,
    /// What it is.
    pub what: What,
}

/// What an endpoint asks for that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A field that cannot be followed, so that it is not read.
    Field {
        /// Its name.
        field: &'static str,
        /// Its value, shortened and escaped.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// It is not read, for want of this.
    Unmet(Unmet),
    /// Relabelings would keep or drop the pod, and are not followed: it names its port, and is read.
    Chooses,
    /// The same, and it names no port, and is not read.
    ChoosesPort,
    /// It names no port, and no container declares one.
    NoPort,
    /// It names a port by a number that no container declares.
    Undeclared(NonZeroU16),
}

// === impl Endpoint ===

impl Endpoint {
    /// The `PodMonitor`, escaped.
    #[must_use]
    pub fn shown_monitor(&self) -> String {
        annotations::shown_object(&self.monitor)
    }

    /// The namespace of the `PodMonitor`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.monitor.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The port that it names; none where it names none.
    pub fn at(&self) -> Result<Option<At>, Remark> {
        match &self.port {
            Port::Each => Ok(None),
            Port::Name(name) => match At::read(name) {
                Some(at @ At::Name(_)) => Ok(Some(at)),
                _ => {
                    Err(self.fault("port", name, "the name of a port, as a container declares it"))
                }
            },
            Port::Number(number) => {
                let port = u16::try_from(*number).ok().and_then(NonZeroU16::new);
                let port = port.ok_or_else(|| {
                    self.fault("portNumber", &number.to_string(), "a port from 1 to 65535")
                });
                port.map(|port| Some(At::Number(port)))
            }
        }
    }

    /// Its scheme, `http` where it says none. The API takes either spelling.
    pub fn scheme(&self) -> Result<Scheme, Remark> {
        match self.scheme.to_ascii_lowercase().as_str() {
            "" => Ok(Scheme::Http),
            scheme => annotations::scheme(scheme)
                .ok_or_else(|| self.fault("scheme", &self.scheme, "\"http\" or \"https\"")),
        }
    }

    /// Path and query, checked.
    pub fn page(&self) -> Result<String, Remark> {
        let path = annotations::page_of(("path", &self.path));
        let mut path = path.map_err(|Malformed { value, expected, .. }| {
            self.remark(What::Field { field: "path", value, expected })
        })?;
        for (name, values) in &self.params {
            for value in values {
                path.push(if path.contains('?') { '&' } else { '?' });
                annotations::escape_into(&mut path, name);
                path.push('=');
                annotations::escape_into(&mut path, value);
                if path.len() > annotations::MAX_PATH {
                    let expected = "short enough: path and parameters are up to 1024 bytes";
                    return Err(self.fault("params", &format!("{name}={value}"), expected));
                }
            }
        }
        Ok(path)
    }

    /// What of it is not done.
    #[must_use]
    pub fn remark(&self, what: What) -> Remark {
        Remark { monitor: self.shown_monitor(), what }
    }

    fn fault(&self, field: &'static str, value: &str, expected: &'static str) -> Remark {
        self.remark(What::Field { field, value: annotations::shortened(value), expected })
    }
}

// === impl Unmet ===

impl Unmet {
    /// Whether a Secret that the pod names is good for it.
    #[must_use]
    pub fn has_remedy(self) -> bool {
        match self {
            Self::Authorization | Self::BasicAuth | Self::BearerTokenSecret => true,
            Self::OAuth2 | Self::ClientCertificate | Self::Relabelings => false,
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = match self {
            Self::Authorization => "authorization",
            Self::BasicAuth => "basicAuth",
            Self::OAuth2 => "oauth2",
            Self::BearerTokenSecret => "bearerTokenSecret",
            Self::ClientCertificate => "a client's certificate in tlsConfig",
            Self::Relabelings => {
                return f.write_str(
                    "its relabelings write another address, scheme, path or parameter, which is not \
                     followed, so it is not read: say them by portNumber, scheme, path and params",
                );
            }
        };
        let instead = if self.has_remedy() {
            "or ask for this page by merger.io/endpoints with merger.io/secret, "
        } else {
            ""
        };
        write!(
            f,
            "asks by {credentials}, which is not sent, so it is not read: have the page answer without \
             on 127.0.0.1, {instead}or leave it to Prometheus"
        )
    }
}

// === impl Remark ===

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { monitor, what } = self;
        write!(f, "PodMonitor {monitor}: {what}")
    }
}

// === impl What ===

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field, value, expected } => {
                write!(f, "{field} \"{value}\" is not {expected}")
            }
            Self::Unmet(unmet) => unmet.fmt(f),
            Self::Chooses => f.write_str(
                "its relabelings keep or drop targets, which is not followed: it is read of each pod that \
                 its selector selects",
            ),
            Self::ChoosesPort => f.write_str(
                "names no port, and its relabelings, which are not followed, keep or drop some, so it is \
                 not read: name the port by port or portNumber",
            ),
            Self::NoPort => f.write_str("names no port, and no container declares one"),
            Self::Undeclared(port) => write!(
                f,
                "no container declares port {port}, so it is no target of the operator's: declare it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_endpoint() -> Endpoint {
        Endpoint { monitor: "shop/cart".to_owned(), ..Endpoint::default() }
    }

    #[track_caller]
    fn check_page(path: &str, params: &[(&str, &[&str])], expected: Result<&str, &str>) {
        let params = params.iter().map(|(name, values)| {
            ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
        });
        let endpoint =
            Endpoint { path: path.to_owned(), params: params.collect(), ..mk_endpoint() };
        let found = endpoint.page().map_err(|fault| fault.to_string());
        let found = found.as_deref().map_err(String::as_str);
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{found}"),
            _ => assert_eq!(found, expected),
        }
    }

    #[test]
    fn a_path_is_checked_as_that_of_an_annotation() {
        check_page("", &[], Ok("/metrics"));
        check_page("stats", &[], Ok("/stats"));
        check_page("/m?x=1", &[("y", &["2"])], Ok("/m?x=1&y=2"));
        let bad =
            "PodMonitor shop/cart: path \"/m HTTP/1.1\\r\\nX: y\" is not a path like /metrics";
        check_page("/m HTTP/1.1\r\nX: y", &[], Err(bad));
        let command = "PodMonitor shop/cart: path \"/quitquitquit\" is not a page of metrics";
        check_page("/quitquitquit", &[], Err(command));
        check_page("/a/../b", &[], Err("PodMonitor shop/cart: path \"/a/../b\" is not a path"));
    }

    #[test]
    fn parameters_are_escaped_and_bounded() {
        check_page(
            "/m",
            &[("b\r\n", &["x y", "&z="]), ("a", &["", "1"])],
            Ok("/m?a=&a=1&b%0D%0A=x%20y&b%0D%0A=%26z%3D"),
        );
        check_page("/m", &[("a", &[])], Ok("/m"));
        let long = "x".repeat(2000);
        check_page("/m", &[("a", &[&long])], Err("PodMonitor shop/cart: params \"a=xxxxxx"));
    }

    #[test]
    fn ports_and_schemes_are_those_that_there_are() {
        let at = |port| Endpoint { port, ..mk_endpoint() }.at().map_err(|fault| fault.to_string());
        assert_eq!(at(Port::Each), Ok(None));
        assert_eq!(at(Port::Name("http-m".to_owned())), Ok(Some(At::Name("http-m".to_owned()))));
        assert_eq!(at(Port::Number(9100)), Ok(NonZeroU16::new(9100).map(At::Number)));
        for number in [0, -1, 65536, i64::MAX] {
            let fault = at(Port::Number(number)).unwrap_err();
            assert!(fault.contains(&format!("portNumber \"{number}\" is not")), "{fault}");
        }
        // The operator has it for a regular expression.
        for name in ["metrics|http", "9100", "", "Metrics", "a name\r\n"] {
            let fault = at(Port::Name(name.to_owned())).unwrap_err();
            assert!(fault.starts_with("PodMonitor shop/cart: port \""), "{fault}");
        }
        let scheme =
            |scheme: &str| Endpoint { scheme: scheme.to_owned(), ..mk_endpoint() }.scheme().ok();
        assert_eq!(scheme(""), Some(Scheme::Http));
        assert_eq!(scheme("HTTPS"), Some(Scheme::Https));
        assert_eq!(scheme("ftp"), None);
    }
}
