//! One look at the runtime: who is there now, and what is new of it.
//!
//! Each look asks for two lists, and once more for each sandbox and each container that is new: what is
//! said of those never changes, and no id is given twice. So it is kept until they are gone.

use std::collections::{HashMap, HashSet};

use super::{
    api,
    client::{Client, Error},
    facts::{self, Kept, Listed, Sandbox},
};
use crate::pods::{Known, Problem};

/// Of more pods than this the last ones by the id of their sandbox are left out. Kubernetes promises 110
/// on a node.
const MAX_PODS: usize = 2048;

/// The same of containers.
const MAX_CONTAINERS: usize = 8192;

/// What is kept from one look to the next, by id.
#[derive(Default)]
pub(super) struct Memory {
    sandboxes: HashMap<String, Sandbox>,
    containers: HashMap<String, Kept>,
}

// === impl Memory ===

impl Memory {
    /// Looks who is there. May be dropped in the middle: what has been heard until then is kept.
    pub(super) async fn look(&mut self, client: &mut Client) -> Result<Known, Error> {
        let mut live = live_containers(client).await?;
        let mut ready = match ready_sandboxes(client).await {
            // Pods can fill this list by their annotations. Those without a container are then not known.
            Err(error) if error.is_too_large() => {
                live.iter().map(|container| container.pod_sandbox_id.clone()).collect()
            }
            listed => listed?,
        };
        let mut problems = vec![];
        shorten(&mut ready, MAX_PODS, "pods", &mut problems);
        let by_id: HashSet<&str> = ready.iter().map(String::as_str).collect();
        live.retain(|container| by_id.contains(container.pod_sandbox_id.as_str()));
        live.sort_by(|a, b| a.id.cmp(&b.id));
        if live.len() > MAX_CONTAINERS {
            problems.push(too_many(MAX_CONTAINERS, "containers"));
            live.truncate(MAX_CONTAINERS);
        }
        self.forget_all_but(&by_id, &live);
        for id in &ready {
            self.hear_of_sandbox(client, id, &mut problems).await?;
        }
        // The bytes of each sandbox's containers: those that are known, and then those that are new.
        let mut n_bytes: HashMap<&str, usize> = HashMap::new();
        for one in &live {
            let known = self.containers.get(&one.id).map_or(0, Kept::n_bytes);
            *n_bytes.entry(&one.pod_sandbox_id).or_default() += known;
        }
        for one in &live {
            let n_others = n_bytes.entry(&one.pod_sandbox_id).or_default();
            *n_others += self.hear_of_container(client, one, *n_others, &mut problems).await?;
        }
        let Self { sandboxes, containers } = self;
        let sandboxes = sandboxes.iter().map(|(id, sandbox)| (id.as_str(), sandbox));
        let listed = live.iter().filter_map(|one| {
            let (sandbox, created_at) = (one.pod_sandbox_id.as_str(), one.created_at);
            Some(Listed { sandbox, created_at, kept: containers.get(&one.id)? })
        });
        Ok(facts::known(sandboxes, listed, problems))
    }

    fn forget_all_but(&mut self, ready: &HashSet<&str>, live: &[api::Container]) {
        let live: HashSet<&str> = live.iter().map(|container| container.id.as_str()).collect();
        self.sandboxes.retain(|id, _| ready.contains(id.as_str()));
        self.containers.retain(|id, _| live.contains(id.as_str()));
    }

    async fn hear_of_sandbox(
        &mut self,
        client: &mut Client,
        id: &str,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Error> {
        if self.sandboxes.contains_key(id) {
            return Ok(());
        }
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned() };
        let asked = client.call(api::POD_SANDBOX_STATUS, request).await;
        if let Some(sandbox) = of_one(asked, facts::sandbox, || facts::place(id), problems)? {
            self.sandboxes.insert(id.to_owned(), sandbox);
        }
        Ok(())
    }

    /// The bytes of it, where it is new.
    async fn hear_of_container(
        &mut self,
        client: &mut Client,
        listed: &api::Container,
        n_others: usize,
        problems: &mut Vec<Problem>,
    ) -> Result<usize, Error> {
        let id = &listed.id;
        if self.containers.contains_key(id) {
            return Ok(0);
        }
        let request = api::ContainerStatusRequest { container_id: id.clone(), verbose: true };
        let asked = client.call(api::CONTAINER_STATUS, request).await;
        let place = || {
            let sandbox = facts::place(&listed.pod_sandbox_id);
            format!("container {} of {sandbox}", facts::shown(id))
        };
        let read = |said| facts::container(id, said, n_others);
        let Some(kept) = of_one(asked, read, place, problems)? else { return Ok(0) };
        let n_bytes = kept.n_bytes();
        self.containers.insert(id.clone(), kept);
        Ok(n_bytes)
    }
}

/// What was said of one, if anything. Its faults are its own, and those of the connection everybody's.
fn of_one<A, T>(
    asked: Result<A, Error>,
    read: impl FnOnce(A) -> Result<T, String>,
    place: impl FnOnce() -> String,
    problems: &mut Vec<Problem>,
) -> Result<Option<T>, Error> {
    let read = match asked {
        Ok(said) => read(said),
        // It was there a moment ago.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) if error.is_of_one() => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    Ok(read.map_err(|what| problems.push(Problem { place: place(), what })).ok())
}

async fn live_containers(client: &mut Client) -> Result<Vec<api::Container>, Error> {
    let request = api::ListContainersRequest {};
    let listed: api::ListContainersResponse = client.call(api::LIST_CONTAINERS, request).await?;
    Ok(listed.containers.into_iter().filter(facts::is_live).collect())
}

async fn ready_sandboxes(client: &mut Client) -> Result<Vec<String>, Error> {
    let state = Some(api::StateValue { state: api::SANDBOX_READY });
    let filter = Some(api::PodSandboxFilter { state });
    let request = api::ListPodSandboxRequest { filter };
    let listed: api::ListPodSandboxResponse = client.call(api::LIST_POD_SANDBOX, request).await?;
    Ok(listed.items.into_iter().map(|sandbox| sandbox.id).collect())
}

/// Sorts ids and leaves each once, and of more than `max` the first.
fn shorten(ids: &mut Vec<String>, max: usize, what: &str, problems: &mut Vec<Problem>) {
    ids.sort();
    ids.dedup();
    if ids.len() > max {
        problems.push(too_many(max, what));
        ids.truncate(max);
    }
}

fn too_many(max: usize, what: &str) -> Problem {
    let place = "the container runtime".to_owned();
    Problem { place, what: format!("has more than {max} {what}: the others are left out") }
}
