//! Tables of a few processes, and what becomes of them.

use super::*;

const HOST: u64 = 1;
const POD: u64 = 2;

const UID: &str = "-0000-0000-0000-000000000000";

fn mk_process(pid: u32, netns: u64, pod: char) -> Process {
    let cgroup = format!("/kubepods/pod{}/c{pid}", pod.to_string().repeat(8) + UID).into();
    Process { pid, started: u64::from(pid), netns: Cookie(netns), cgroup }
}

fn held(pid: u32) -> Held {
    Held { started: u64::from(pid), pid }
}

fn holder(pid: u32, netns: u64) -> Holder {
    (held(pid), Cookie(netns))
}

/// Process 1 is the host's, 10 and 11 are pod a's, 20 is pod b's.
fn swept() -> Vec<Process> {
    vec![
        mk_process(1, HOST, 'f'),
        mk_process(10, POD, 'a'),
        mk_process(11, POD, 'a'),
        mk_process(20, 3, 'b'),
    ]
}

fn mk_table(processes: Vec<Process>) -> Table {
    let processes = processes.into_iter().collect();
    Table::new(processes, Cookie(HOST), HashSet::new(), Reach::default())
}

/// The table of [`swept`] meets one holder, when those processes are as they are in `now`.
#[track_caller]
fn check(new: Holder, now: &[Process], expected: Result<&[u32], ()>) {
    let mut table = mk_table(swept());
    let suspects = table.suspects(&[new]);
    let seen = now.iter().filter(|process| suspects.contains(&process.pid)).cloned().collect();
    let enough = table.learn(&[new], &seen);
    assert_eq!((enough, table.has_seen(new)), (expected.is_ok(), expected.is_ok()), "{new:?}");
    if let Ok(expected) = expected {
        let within = table.processes.within(new.1);
        let pids: Vec<u32> = within.iter().map(|process| process.pid).collect();
        assert_eq!(pids, expected, "{new:?}");
    }
}

fn with(process: Process) -> Vec<Process> {
    let mut now = swept();
    now.retain(|old| old.pid != process.pid);
    now.push(process);
    now
}

#[test]
fn a_young_process_of_a_known_namespace_needs_no_sweep() {
    check(holder(12, POD), &with(mk_process(12, POD, 'a')), Ok(&[10, 11, 12]));
}

#[test]
fn a_new_namespace_needs_one_whosever_the_holder_is() {
    check(holder(12, 9), &with(mk_process(12, 9, 'a')), Err(()));
    check(holder(11, 9), &swept(), Err(()));
    check(holder(12, POD), &with(mk_process(12, 9, 'a')), Err(()));
}

#[test]
fn a_new_pod_needs_one() {
    check(holder(12, POD), &with(mk_process(12, POD, 'c')), Err(()));
}

#[test]
fn so_does_an_oldest_process_that_is_not_as_it_was() {
    check(holder(11, POD), &with(mk_process(10, POD, 'b')), Err(()));
    check(holder(11, POD), &with(mk_process(10, 3, 'a')), Err(()));
    check(holder(11, POD), &swept()[2..], Err(()));
    check(holder(10, POD), &with(mk_process(10, POD, 'b')), Err(()));
}

#[test]
fn a_process_that_moved_is_known_where_it_is() {
    check(holder(11, 3), &with(mk_process(11, 3, 'a')), Ok(&[11, 20]));
    check(holder(21, POD), &with(mk_process(21, POD, 'b')), Ok(&[10, 11, 21]));
}

#[test]
fn a_namespace_whose_oldest_process_moved_away_needs_one() {
    let mut table = mk_table(swept());
    let now: Processes = with(mk_process(10, 3, 'a')).into_iter().collect();
    assert!(!table.learn(&[holder(10, 3)], &now));
    assert!(!table.learn(&[holder(11, POD)], &now));
}

#[test]
fn a_namespace_is_a_pods_while_its_oldest_process_is() {
    let of_node = |netns| Process { cgroup: "/init.scope".into(), ..mk_process(1, netns, 'f') };
    let mut table = mk_table(with(of_node(HOST)));
    assert_eq!(table.known.pods, HashSet::from([Cookie(POD), Cookie(3)]));
    // One of the node's was there before any pod, and is in the namespace of one now.
    let now: Processes = with(of_node(3)).into_iter().collect();
    assert!(table.learn(&[holder(1, 3)], &now));
    assert_eq!(table.known.pods, HashSet::from([Cookie(POD)]));
}

#[test]
fn of_a_pod_that_makes_namespaces_only_its_own_is_looked_at() {
    const NESTED: u64 = 2000;
    let mut now = swept();
    let nested = (0..NESTED).map(|n| mk_process(100 + u32::try_from(n).unwrap(), 100 + n, 'a'));
    now.extend(nested);
    let table = mk_table(now);
    assert_eq!(table.looked_at, HashSet::from([Cookie(POD), Cookie(3)]));
    assert_eq!(table.known.pods, table.looked_at);
    assert_eq!(table.known.netns.len(), 3 + usize::try_from(NESTED).unwrap());
    let standing = |netns| table.standing(Cookie(netns));
    let [looked_at, other, unknown] = [POD, 100, 99].map(standing);
    assert_eq!([looked_at, other], [Standing::LookedAt, Standing::Other]);
    assert_eq!([unknown, standing(HOST)], [Standing::Unknown, Standing::Other]);
    // However many of them changed, one process says whether that is anything.
    let said = (100..100 + NESTED).filter_map(|netns| table.witness(Cookie(netns)));
    assert_eq!(said.collect::<HashSet<_>>(), HashSet::from([held(10)]));
    assert_eq!(table.witness(Cookie(HOST)), None);
}

#[test]
fn the_hosts_is_looked_at_where_it_is_wanted_and_all_where_strangers_are() {
    let looked_at = |reach| {
        let mut now = swept();
        now.push(mk_process(30, 9, 'a'));
        let processes = now.into_iter().collect();
        Table::new(processes, Cookie(HOST), HashSet::new(), reach).looked_at
    };
    let wanted = |netns: &[u64]| netns.iter().copied().map(Cookie).collect::<HashSet<_>>();
    assert_eq!(looked_at(Reach { host: false, strangers: false }), wanted(&[POD, 3]));
    assert_eq!(looked_at(Reach { host: true, strangers: false }), wanted(&[HOST, POD, 3]));
    assert_eq!(looked_at(Reach { host: false, strangers: true }), wanted(&[HOST, POD, 3, 9]));
}

/// Whether a namespace that is not looked at may be a pod's own by what its processes are now.
#[track_caller]
fn check_changed(found: &[Process], netns: u64, now: &[Process], expected: bool) {
    let table = mk_table(swept().into_iter().chain(found.iter().cloned()).collect());
    let netns = Cookie(netns);
    assert_eq!(table.standing(netns), Standing::Other);
    let said: Vec<_> = table.witness(netns).map(|held| (netns, held)).into_iter().collect();
    let now = now.iter().cloned().collect();
    assert_eq!(!table.not_as_found(&said, &now).is_empty(), expected);
}

#[test]
fn a_pods_first_process_may_enter_its_cgroup_late() {
    let starting = Process { cgroup: "/".into(), ..mk_process(30, 9, 'c') };
    let found = std::slice::from_ref(&starting);
    check_changed(found, 9, found, false);
    check_changed(found, 9, &[mk_process(30, 9, 'c')], true);
    // Whoever made the namespace has ended, and left it to another.
    check_changed(found, 9, &[mk_process(31, 9, 'c')], true);
}

#[test]
fn a_pods_first_process_may_end_or_move_and_leave_it_another_namespace() {
    let helper = mk_process(30, HOST, 'c');
    let mut helper = vec![Process { cgroup: pod_c(), ..helper }];
    let found = [helper[0].clone(), Process { cgroup: pod_c(), ..mk_process(31, 9, 'c') }];
    check_changed(&found, 9, &helper, false);
    check_changed(&found, 9, &[], true);
    helper[0].netns = Cookie(9);
    check_changed(&found, 9, &helper, true);
}

fn pod_c() -> std::sync::Arc<str> {
    mk_process(30, 9, 'c').cgroup
}

#[test]
fn a_namespace_whose_oldest_process_is_nobodys_changes_nothing() {
    let untold = Process { cgroup: "".into(), ..mk_process(30, 9, 'c') };
    check_changed(&[untold], 9, &[mk_process(30, 9, 'c')], false);
}

#[test]
fn a_holder_that_makes_another_process_the_sandbox_needs_a_sweep() {
    // It was of the node and is of the pod now, and is older than the pod.
    let of_node = Process { cgroup: "/init.scope".into(), ..mk_process(5, POD, 'a') };
    let mut table = mk_table(with(of_node));
    let now = with(mk_process(5, 3, 'b'));
    assert!(!table.learn(&[holder(5, 3)], &now.into_iter().collect()));
    // The sandbox itself has moved, and holds another's listener.
    check(holder(10, 3), &with(mk_process(10, 3, 'a')), Err(()));
}

#[test]
fn a_holder_that_has_ended_is_no_process_any_more() {
    let mut now = swept();
    now.remove(2);
    check(holder(11, POD), &now, Ok(&[10]));
    check(holder(12, POD), &swept(), Ok(&[10, 11]));
}

#[test]
fn a_holder_that_cannot_be_looked_into_has_not_ended() {
    let mut table = mk_table(swept());
    let now: Processes = swept().into_iter().collect();
    assert!(table.learn(&[holder(12, POD)], &now.clone().hiding(12)));
    assert!(table.processes.is_hidden(12));
    // One that nobody may look into any more may be in another namespace by now.
    let now: Processes = swept().into_iter().filter(|process| process.pid != 10).collect();
    assert!(!table.learn(&[holder(11, POD)], &now.hiding(10)));
    assert!(table.learn(&[holder(12, POD)], &swept().into_iter().collect()));
    assert!(!table.processes.is_hidden(12));
}

#[test]
fn a_holder_that_stopped_listening_is_looked_at_again() {
    let seen = HashSet::from([holder(10, POD), holder(11, POD)]);
    let mut table = Table { seen: seen.clone(), ..mk_table(swept()) };
    assert_eq!(table.unknown(&seen), []);
    assert_eq!(table.unknown(&HashSet::from([holder(10, POD)])), []);
    assert_eq!(table.unknown(&seen), [holder(11, POD)]);
}
