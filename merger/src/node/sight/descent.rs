//! What becomes of the first rung where its walk takes too long: the second's way, for a while.
//!
//! A walk costs in proportion to all open files, and processes that share a table have it walked once
//! for each: any pod can make it take seconds, and nothing is answered meanwhile. So it is ended then,
//! and the listeners are known as on the second rung, whose parts are there, or where the kernel does
//! not answer that, by `/proc`, for good. After a while a walk is tried again.

use std::{mem, time::Instant};

use super::{Sight, files::payer_of, memory::Memory, walked::Walked};
use crate::{
    cause::chain,
    listeners::{Rows, Rung, ebpf},
    netns::Identity,
    node::{
        Error, Walks,
        protocol::Hello,
        rung::{Source, Unproven, prove_sock_diag, prove_walk},
        table::Standing,
    },
};

/// That another way is in use than at the start.
pub(super) struct Descent {
    /// What was in use then.
    from: Hello,
    /// When it is tried again.
    again: Instant,
    /// Whether a walk has shown that walks see what they are to see.
    is_proven: bool,
}

/// What a walk over open files has found, by the cookies that the namespaces have here.
pub(super) struct Walk {
    /// The listeners, and who holds them.
    pub(super) rows: Rows,
    /// The sockets of the namespaces that are looked at.
    pub(super) walked: Walked,
    /// Whether all namespaces have a cookie here.
    pub(super) all_named: bool,
}

// === impl Descent ===

impl Descent {
    /// Where the first walk of all took too long already: then there are the parts for it, and they
    /// are not in use.
    pub(super) fn at_start(source: &Source, walks: Walks) -> Option<Self> {
        let Source::EbpfSockDiag(sockets) = source else { return None };
        let again = Instant::now() + walks.again;
        let from = Hello::new(Rung::Ebpf, None);
        sockets.has_walk().then_some(Self { from, again, is_proven: false })
    }
}

// === impl Sight ===

impl Sight {
    /// Walks over all open files. Nothing where it took too long: another way is in use then.
    pub(super) fn walk(&mut self) -> Result<Option<Walk>, Error> {
        let Source::Ebpf(sockets) = &mut self.source else { return Ok(None) };
        let table = &self.table;
        let processes = &table.processes;
        let are_numbers = processes.numbers().is_some();
        let (mut rows, mut all_named) = (Rows::sharing(self.rows), true);
        let mut walked = Walked::of_at_most(self.sockets);
        let end = sockets.snapshot(|mut row, inode| {
            row.netns = processes.cookie_of_key(row.netns);
            if are_numbers && !row.netns.is_made() {
                all_named = false;
            } else if table.standing(row.netns) != Standing::Other {
                rows.push(row, || payer_of(processes, row.held_by));
                // The sockets of others are compared with nothing.
                if table.looked_at.contains(&row.netns) {
                    walked.add(row.netns, inode);
                }
            }
        });
        match end {
            Ok(()) => {
                walked.crowded().for_each(|netns| rows.cut(netns));
                self.ascended();
                Ok(Some(Walk { rows, walked, all_named }))
            }
            Err(error @ ebpf::Error::Deadline { .. }) => {
                self.descend(&error);
                Ok(None)
            }
            Err(error) => Err(Error::kernel(error)),
        }
    }

    fn descend(&mut self, error: &ebpf::Error) {
        let again = Instant::now() + self.walks.again;
        let (source, rung) = match (mem::replace(&mut self.source, Source::Proc), prove_sock_diag())
        {
            (Source::Ebpf(sockets), Ok(())) => (Source::EbpfSockDiag(sockets), Rung::EbpfSockDiag),
            _ => (Source::Proc, Rung::Proc),
        };
        self.exchange(source);
        let fallback = format!("{}: {}", Rung::Ebpf, chain(error));
        tracing::warn!(%rung, reason = fallback, "a better rung is not in use any more");
        let from = mem::replace(&mut self.hello, Hello::new(rung, Some(&fallback)));
        let from = self.descent.take().map_or(from, |descent| descent.from);
        self.descent = Some(Descent { from, again, is_proven: true });
    }

    /// Puts the walk in the place of the second rung's way, if it is time to try it again.
    pub(super) fn try_ascent(&mut self) {
        if self.descent.as_ref().is_none_or(|descent| Instant::now() < descent.again) {
            return;
        }
        if !self.is_proven() {
            return;
        }
        match mem::replace(&mut self.source, Source::Proc) {
            Source::EbpfSockDiag(sockets) => self.exchange(Source::Ebpf(sockets)),
            other => self.source = other,
        }
    }

    /// Whether walks are of use here; one that could not show it at the start is taken again. If it cannot
    /// now, the next is tried after the same while.
    fn is_proven(&mut self) -> bool {
        let (Some(descent), Source::EbpfSockDiag(sockets)) = (&mut self.descent, &mut self.source)
        else {
            return true;
        };
        if descent.is_proven {
            return true;
        }
        let are_numbers = self.table.processes.numbers().is_some();
        let identity = if are_numbers { Identity::Inode } else { Identity::Cookie };
        let reason = match prove_walk(sockets, identity) {
            Ok(()) => {
                descent.is_proven = true;
                return true;
            }
            Err(Unproven::Slow(error)) => chain(&error),
            Err(Unproven::Blind(reason)) => reason,
        };
        descent.again = Instant::now() + self.walks.again;
        let fallback = format!("{}: {reason}", Rung::Ebpf);
        self.hello = Hello::new(self.hello.rung, Some(&fallback));
        false
    }

    /// A walk was not too long.
    fn ascended(&mut self) {
        if let Some(Descent { from, .. }) = self.descent.take() {
            tracing::info!(rung = %from.rung, "the better rung is in use again");
            self.hello = from;
        }
    }

    /// What was read by one way is none of the other's.
    fn exchange(&mut self, source: Source) {
        self.looks.are_told = source.is_told();
        self.source = source;
        self.memory = Memory::default();
        self.walked = Walked::default();
        self.unasked.clear();
        self.waiting.clear();
        self.marks.add_all(Instant::now());
    }
}
