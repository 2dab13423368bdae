//! What each mesh's sidecar exposes: profiles, as data.
//!
//! Those that are known stand in `mesh/profiles.yaml`; a user's own have the same form and go first.

use std::{collections::BTreeMap, num::NonZeroU16, sync::LazyLock};

use serde::Deserialize;

use super::{Container, annotations};

/// A sidecar's own metrics, and the ports of its pod that are not an application's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The mesh, for people.
    pub mesh: String,
    /// The name that the mesh's injector gives the sidecar's container.
    pub container: String,
    /// The name of a port that the container has to declare.
    #[serde(default)]
    pub declares: Option<String>,
    /// Its pages, the one that is preferred first: of what stands on two of them, one is read.
    #[serde(default)]
    pub pages: Vec<Page>,
    /// What its injector writes over the pod's `prometheus.io/port` and `prometheus.io/path`.
    #[serde(default)]
    pub injected: Option<Injected>,
    /// The annotation that asks for the sidecar.
    #[serde(default)]
    pub asked_by: Option<String>,
    /// The annotation that declines its metrics by `false`.
    #[serde(default)]
    pub switch: Option<String>,
    /// The ports of the proxy and its agent. Nobody may ask for them as an application's: some are
    /// for administration, and some repeat what is read already.
    #[serde(default)]
    pub reserved: Vec<u16>,
    /// The annotations by which a pod moves such ports.
    #[serde(default)]
    pub reserved_by: Vec<String>,
    /// The annotation that its injector leaves on pods whose proxy takes what is sent to the pod's own address
    /// from within.
    #[serde(default)]
    pub intercepts_own_address_with: Option<String>,
    /// The annotation that has it do so, where it lists a network of loopback.
    #[serde(default)]
    pub intercepts_own_address_by: Option<String>,
    /// Whether the settings have its pages read for what is their own.
    #[serde(skip)]
    pub takes_own: bool,
}

/// A page of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Whose metrics these are.
    pub of: Part,
    /// The port.
    pub port: NonZeroU16,
    /// Path and query, as in an annotation.
    pub path: String,
    /// The annotation by which a pod moves the port.
    #[serde(default)]
    pub port_annotation: Option<String>,
    /// The annotation by which a pod moves the path.
    #[serde(default)]
    pub path_annotation: Option<String>,
    /// Whether it is expected.
    #[serde(default)]
    pub when: When,
    /// Whose metrics stand there as well.
    #[serde(default)]
    pub repeats: Vec<Repeat>,
    /// What the names of the families begin with that are `of`'s own, and stand nowhere else: an
    /// identifier that ends in an underscore. Where the page would be left out for what it `repeats`, and
    /// the settings say so, it is read for these.
    #[serde(default)]
    pub own: Option<String>,
    /// What is asked for by annotations whose names begin so stands there as well, or in its place what the
    /// mesh is told elsewhere.
    #[serde(default)]
    pub holds: Option<String>,
}

/// Whose metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The proxy's.
    Proxy,
    /// Those of the program that looks after the proxy.
    Agent,
    /// The application's.
    Application,
}

/// Whether a page is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// It is, and pending until it listens.
    #[default]
    Always,
    /// Only where it listens: it depends on settings that the pod does not show.
    Listening,
}

/// What stands on a page as well.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// Whose metrics.
    pub what: Part,
    /// `name=value` of an annotation, or of a variable of the sidecar's environment, by which it does
    /// not: a name with a `/` is an annotation's.
    #[serde(default)]
    pub unless: Option<String>,
}

/// What an injector writes over a pod's annotations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injected {
    /// Of `prometheus.io/port`.
    pub port: NonZeroU16,
    /// Of `prometheus.io/path`.
    pub path: String,
    /// The annotation by which a pod moves the port.
    #[serde(default)]
    pub port_annotation: Option<String>,
    /// The annotation by which a pod moves the path.
    #[serde(default)]
    pub path_annotation: Option<String>,
}

/// The profiles that count, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meshes(Vec<Profile>);

/// Why a profile cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mesh \"{mesh}\": {field} is \"{value}\": {expected}")]
pub struct Error {
    mesh: String,
    field: &'static str,
    value: String,
    expected: &'static str,
}

/// The variables of a sidecar's environment of which anything is read.
pub const ENVIRONMENT: [&str; 2] = [annotations::istio::ORIGINALS, "PILOT_AGENT_MERGE_ENVOY_STATS"];

static KNOWN: LazyLock<Meshes> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "it depends on nothing that is not compiled in")]
    Meshes(
        serde_saphyr::from_str(include_str!("mesh/profiles.yaml"))
            .expect("the table that is compiled in is one that a test has read"),
    )
});

/// What may be asked at `port` by somebody who does not know the pod: the page of Istio's proxy,
/// nothing on its other ports. `None` where it is no port of Istio's.
#[must_use]
pub fn page_of_port(port: NonZeroU16) -> Option<Option<&'static str>> {
    let profile = KNOWN.0.iter().find(|profile| profile.mesh == "istio")?;
    let is_proxys = |page: &&Page| page.of == Part::Proxy && page.port == port;
    let page = profile.pages.iter().find(is_proxys).map(|page| page.path.as_str());
    profile.reserved.contains(&port.get()).then_some(page)
}

// === impl Meshes ===

impl Meshes {
    /// Those of `own`, and the known ones behind them. The proxies of a mesh in `queries` are asked with
    /// that query, as Envoy by `usedonly` for only what was used; a page that repeats theirs goes behind them.
    /// Of a mesh in `agents` a page that repeats what is read elsewhere is read for what is its own.
    pub fn with(
        own: Vec<Profile>,
        queries: &BTreeMap<String, String>,
        agents: &[String],
    ) -> Result<Self, Error> {
        let mut profiles: Vec<Profile> = own.into_iter().chain(KNOWN.0.iter().cloned()).collect();
        for (mesh, query) in queries {
            for profile in of_mesh(&mut profiles, mesh, ("query", query))? {
                // Whatever else has the proxy's metrics asks for them without the query.
                profile.pages.sort_by_key(|page| page.of != Part::Proxy);
                for page in profile.pages.iter_mut().filter(|page| page.of == Part::Proxy) {
                    page.path.push(if page.path.contains('?') { '&' } else { '?' });
                    page.path.push_str(query);
                }
            }
        }
        for mesh in agents {
            let ours = of_mesh(&mut profiles, mesh, ("mesh_agents", mesh))?;
            if ours.iter().flat_map(|profile| &profile.pages).all(|page| page.own.is_none()) {
                let expected = "no page of its sidecar says what is its own";
                return Err(Error::new(mesh, "mesh_agents", mesh, expected));
            }
            for profile in ours {
                profile.takes_own = true;
            }
        }
        profiles.iter().try_for_each(Profile::check)?;
        Ok(Self(profiles))
    }

    /// The profile of a sidecar, or `None` where `container` is the application's.
    #[must_use]
    pub fn profile(&self, container: &Container) -> Option<&Profile> {
        let declares = |name| container.ports.iter().any(|port| port.name.as_ref() == Some(name));
        self.0.iter().find(|profile| {
            profile.container == container.name && profile.declares.as_ref().is_none_or(declares)
        })
    }

    /// All of them.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter()
    }
}

impl Default for Meshes {
    fn default() -> Self {
        KNOWN.clone()
    }
}

/// The profiles of a mesh, of which a field of the settings says something.
fn of_mesh<'p>(
    profiles: &'p mut [Profile],
    mesh: &str,
    (field, said): (&'static str, &str),
) -> Result<Vec<&'p mut Profile>, Error> {
    let ours: Vec<_> = profiles.iter_mut().filter(|profile| profile.mesh == mesh).collect();
    if ours.is_empty() {
        return Err(Error::new(mesh, field, said, "there is no mesh of that name"));
    }
    Ok(ours)
}

// === impl Profile ===

impl Profile {
    /// Whether the proxy takes what is sent to the pod's own address from within, for a pod with these
    /// annotations.
    pub(super) fn intercepts(&self, pod: &BTreeMap<String, String>) -> bool {
        let listed = self.intercepts_own_address_by.as_ref().and_then(|name| pod.get(name));
        let mut networks = listed.into_iter().flat_map(|listed| listed.split(',')).map(str::trim);
        let is_loopback =
            |network: &str| network.starts_with("127.") || network.starts_with("::1/");
        let is_said = |name: &String| pod.contains_key(name);
        self.intercepts_own_address_with.as_ref().is_some_and(is_said) || networks.any(is_loopback)
    }

    /// Whether it can be followed: what is compiled in is held to it by a test, what a user adds at the
    /// start.
    fn check(&self) -> Result<(), Error> {
        let error = |field, value, expected| Err(Error::new(&self.mesh, field, value, expected));
        if self.mesh.is_empty() || self.container.is_empty() {
            let expected = "name the mesh, and the container that is its sidecar";
            return error("container", &self.container, expected);
        }
        if self.reserved.contains(&0) {
            return error("reserved", "0", "a port is from 1 to 65535");
        }
        for page in &self.pages {
            if annotations::path(&page.path).as_ref() != Some(&page.path) {
                return error("path", &page.path, "a path is like /metrics, in a URL's ASCII");
            }
            if let Some(own) = page.own.as_ref().filter(|own| !is_beginning(own)) {
                let expected = "a beginning of names is like istio_agent_, with its underscore";
                return error("own", own, expected);
            }
            for name in page.repeats.iter().filter_map(|repeat| repeat.unless.as_deref()) {
                let name = name.split_once('=').map_or("", |(name, _)| name);
                if !ENVIRONMENT.contains(&name) && !annotations::is_read(name) {
                    return error("unless", name, "merger reads no such annotation or variable");
                }
            }
        }
        let of_pages =
            self.pages.iter().flat_map(|page| [&page.port_annotation, &page.path_annotation]);
        let injected = self.injected.iter().flat_map(|i| [&i.port_annotation, &i.path_annotation]);
        let intercepts = [&self.intercepts_own_address_with, &self.intercepts_own_address_by];
        let of_all = [&self.asked_by, &self.switch].into_iter().chain(intercepts);
        let names = of_pages.chain(injected).chain(of_all).flatten();
        let names = names.chain(&self.reserved_by);
        match { names }.find(|name| !annotations::is_read(name)) {
            Some(name) => error("annotation", name, "merger reads no annotation of that name"),
            None => Ok(()),
        }
    }
}

/// Whether names of families can begin so. With the underscore it is the whole of a word, and the beginning
/// of what the family is called in each format.
fn is_beginning(text: &str) -> bool {
    let is_of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    text.ends_with('_')
        && text.bytes().all(is_of_name)
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

// === impl Error ===

impl Error {
    fn new(mesh: &str, field: &'static str, value: &str, expected: &'static str) -> Self {
        let (mesh, value) = (annotations::shortened(mesh), annotations::shortened(value));
        Self { mesh, field, value, expected }
    }
}

#[cfg(test)]
mod tests;
