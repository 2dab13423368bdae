//! Whose a listener is, whatever a pod does with its cgroups.

use std::collections::HashMap;

use merger::identity::{self, cgroup_path};

use super::{cgroup::Root, find, hostile, pids, pod::Pod, start, world};

const UID: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81";
const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";

#[tokio::test]
async fn whatever_a_pod_names_below_its_cgroup_its_listeners_are_its_own() {
    let _alone = world::alone().await;
    let root = Root::new(usize::MAX);
    let (mut pod, other) = (Pod::new(), Pod::new());
    let container = root.container(UID, ID);
    container.join(pod.pid());
    root.container(hostile::OTHER, ID).join(other.pid());
    let names = hostile::cgroups();
    assert!(names.len() >= 100);
    let netns = pod.netns();
    let held: Vec<_> = names
        .iter()
        .map(|name| {
            let (listener, bound) = pod.listen("127.0.0.1:0");
            let holder = netns.within(|| Ok(pod.hand_over(listener))).unwrap();
            container.child(name).join(holder);
            (name.escape_ascii().to_string(), bound, holder)
        })
        .collect();
    drop(netns);

    let (node, _changes) = start();
    let snapshot = node.snapshot().await.unwrap();
    let mut found = identity::namespaces(&snapshot.processes, snapshot.host);
    found.retain(|uid, _| [UID, hostile::OTHER].contains(&uid.as_str()));
    let expected = [(UID, pod.cookie), (hostile::OTHER, other.cookie)];
    assert_eq!(found, HashMap::from(expected.map(|(uid, netns)| (uid.to_owned(), Ok(netns)))));
    let mut n_untold = 0;
    for (name, bound, holder) in held {
        let listener = find(&snapshot, pod.cookie, bound).expect(&name);
        assert_eq!(pids(listener), [holder].into(), "{name}");
        let cgroup = &listener.holders[0].cgroup;
        let uid = cgroup_path::owner(cgroup).map(|owner| owner.pod_uid);
        // Of a path that is too long some kernels tell the beginning, and others nothing of the process.
        // Then it is nobody's, and not asked.
        n_untold += usize::from(uid.is_none() && cgroup.is_empty());
        assert!(uid.as_deref() == Some(UID) || cgroup.is_empty(), "{name}: {cgroup}");
    }
    assert!(n_untold <= 1, "one path is longer than 4095 bytes, not {n_untold}");
}
