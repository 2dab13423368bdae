//! The system calls that agent and watcher may make. Everything else fails with `EPERM`, as a right that
//! is missing does. ARCHITECTURE.md has the lists for readers.
//!
//! The agent has those of a server that reads files and speaks over sockets that it was given. It makes no
//! socket but a pair that speaks with itself, leads none elsewhere, hands none on, and sets no option of
//! one: a socket that was born in a pod would take it along, and one that lingers would keep whoever closes
//! it last, be it the broker. Its own server listens before the filter is there. A watcher was in no pod,
//! and may make connections. Neither starts a program, enters a namespace, traces anybody, writes a file or
//! makes memory executable.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

use self::calls::{
    Bits, CALLS, CHOICES, CONNECTING, CONNECTING_CHOICES, Call, Choice, NOT_BLOCKING, OLD_CALLS,
};

mod calls;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No filter can be made for this machine.
    #[error("the filter cannot be made")]
    Filter(#[from] BackendError),
    /// The kernel does not take it.
    #[error("the kernel does not take the filter")]
    Kernel(#[from] seccompiler::Error),
}

/// Whose calls a filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The agent's.
    Agent,
    /// The watcher's: those of the agent, and what makes connections.
    Watcher,
}

/// Confines the calling thread, and those that it starts, for as long as they live.
pub fn apply(filter: Filter) -> Result<(), Error> {
    // A thread is made by clone3 first, whose arguments no filter can see. Where there is no such
    // call the C library takes clone.
    let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = || BTreeMap::from([(libc::SYS_clone3, vec![])]);
    apply_filter(&compiled(clone3(), SeccompAction::Allow, missing)?)?;
    // This one comes last, since it lets nobody add another. Of two refusals the kernel would give
    // that of the later filter, so it has none for clone3.
    let mut rules = filter.rules()?;
    rules.append(&mut clone3());
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    apply_filter(&compiled(rules, refuse, SeccompAction::Allow)?)?;
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

// === impl Filter ===

impl Filter {
    /// The names of all calls that are allowed, without what is asked of their arguments.
    #[must_use]
    pub fn allowed(self) -> Vec<&'static str> {
        let plain = self.calls().map(|(name, ..)| name);
        let names = plain.chain(self.choices().map(|(name, ..)| name));
        names.map(|name| name.strip_prefix("SYS_").unwrap_or(name)).chain(["tgkill"]).collect()
    }

    fn calls(self) -> impl Iterator<Item = &'static Call> {
        let more = if self == Self::Watcher { CONNECTING } else { &[] };
        CALLS.iter().chain(OLD_CALLS).chain(more)
    }

    fn choices(self) -> impl Iterator<Item = &'static Choice> {
        let more = if self == Self::Watcher { CONNECTING_CHOICES } else { &[] };
        CHOICES.iter().chain(more)
    }

    fn rules(self) -> Result<Rules, BackendError> {
        let mut rules = Rules::new();
        for (_, number, all) in self.calls() {
            let rule = if all.is_empty() { vec![] } else { vec![rule(all)?] };
            rules.insert(*number, rule);
        }
        // To abort a program sends itself a signal; this user may be somebody else's, too.
        let own = Bits { argument: 0, mask: u64::MAX, value: u64::from(std::process::id()) };
        rules.insert(libc::SYS_tgkill, vec![rule(&[own])?]);
        for (_, number, argument, values) in self.choices() {
            let is = |&value| Bits { argument: *argument, mask: u64::from(u32::MAX), value };
            let alternatives = values.iter().map(|value| rule(&[is(value)]));
            rules.insert(*number, alternatives.collect::<Result<_, _>>()?);
        }
        if self == Self::Watcher {
            rules.entry(libc::SYS_fcntl).or_default().push(rule(NOT_BLOCKING)?);
        }
        Ok(rules)
    }
}

/// All of these have to be so.
fn rule(all: &[Bits]) -> Result<SeccompRule, BackendError> {
    let condition = |&Bits { argument, mask, value }: &Bits| {
        let (length, operator) = (SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask));
        SeccompCondition::new(argument, length, operator, value)
    };
    SeccompRule::new(all.iter().map(condition).collect::<Result<_, _>>()?)
}

/// What is done with a call that no rule is about, and with one that one is.
fn compiled(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let machine = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, matched, machine)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_must_not_be_is_not_in_the_list() {
        let [agent, watcher] = [Filter::Agent, Filter::Watcher].map(Filter::allowed);
        for name in ["socket", "connect", "setsockopt", "sendmsg", "sendmmsg"] {
            assert!(!agent.contains(&name), "{name}");
        }
        for name in [
            "setns",
            "unshare",
            "bpf",
            "ptrace",
            "execve",
            "execveat",
            "clone3",
            "kill",
            "mount",
            "open_by_handle_at",
            "process_vm_readv",
            "perf_event_open",
            "io_uring_setup",
            "keyctl",
            "bind",
            "listen",
            "init_module",
            "finit_module",
            "pidfd_getfd",
            "setuid",
            "capset",
            "chmod",
            "unlink",
        ] {
            assert!(!agent.contains(&name) && !watcher.contains(&name), "{name}");
        }
    }

    #[test]
    fn each_call_stands_once() {
        for filter in [Filter::Agent, Filter::Watcher] {
            let mut allowed = filter.allowed();
            let n = allowed.len();
            allowed.sort_unstable();
            allowed.dedup();
            assert_eq!(allowed.len(), n);
            assert_eq!(filter.rules().unwrap().len(), n);
        }
    }

    #[test]
    fn the_architecture_lists_the_calls() {
        let told = |mark: &str| {
            let (_, rest) = include_str!("../../../ARCHITECTURE.md").split_once(mark).expect(mark);
            let (list, _) = rest.split_once("<!-- end -->").expect("the list has an end");
            list.split('`').skip(1).step_by(2).collect::<BTreeSet<_>>()
        };
        let [agent, watcher] = [Filter::Agent, Filter::Watcher].map(Filter::allowed);
        let told_of_agent = told("<!-- seccomp -->");
        assert_eq!(told_of_agent, agent.into_iter().collect());
        let both = &told_of_agent | &told("<!-- seccomp of the watcher -->");
        assert_eq!(both, watcher.into_iter().collect());
    }
}
