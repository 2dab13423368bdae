//! The broker: answers the agent, and tells it when to look again. One thread, one loop.
//!
//! It parses nothing that a pod wrote but what the kernel hands on, names and paths, and of the
//! agent no more than [`protocol::Request`]. It never waits for the agent: one that does not take
//! its answers is done with.

use std::{
    io, mem,
    net::TcpStream,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{
    cause::chain,
    netns::{Identity, Netns},
    node::{
        Connect, ConnectError, Error, Options,
        agenda::Agenda,
        channel,
        counters::{Atomics, add},
        dial::{begin, caller, try_loopback},
        footprint,
        hints::Hints,
        inquiries::{Inquiries, Inquiry},
        owner::Owners,
        parcel,
        policy::{self, Permit, Reach, Refusal},
        protocol::{self, Hello, LONGEST_REQUEST, Reply, Request, TooMany, Wish},
        rung,
        sight::{Sight, Step},
        toll::{self, Toll},
        watcher::Watcher,
    },
};

/// The state of the privileged side.
pub(crate) struct Broker {
    sight: Sight,
    hints: Hints,
    agenda: Agenda,
    inquiries: Inquiries,
    toll: Toll,
    counters: Arc<Atomics>,
    /// Who watches the pods, where that is to be a process.
    watcher: Option<Watcher>,
    /// Whether this agent was given a snapshot.
    has_shown: bool,
    /// Where connections may go.
    reach: Reach,
    /// When there is a step to be taken, if nobody asks for anything then.
    step: Instant,
}

/// Why the broker has stopped answering this agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The agent has closed its end, or has ended.
    #[error("the agent is gone")]
    Gone,
    /// It said what no agent says.
    #[error("the agent sends what is no request")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It asks for more at once than any agent does.
    #[error(transparent)]
    Greedy(#[from] TooMany),
    /// It does not take its answers, or the socket fails.
    #[error("the agent cannot be answered")]
    Unanswered(#[source] io::Error),
}

/// Where a signal is heard, and what is then to be done.
pub(crate) trait Signals {
    /// Readable when there was a signal.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Takes it. True where the agent is to be told to stop.
    fn take(&mut self) -> bool;
}

// === impl Broker ===

impl Broker {
    /// Tries all that will be needed: to enter a namespace, to read the processes, and the rungs.
    pub(crate) fn open(options: Options) -> Result<Self, Error> {
        let reach = Reach { host: options.host_network, strangers: options.strangers };
        let here = enter();
        let identity = options.identity.or_else(|| here.as_ref().ok().copied());
        let identity = identity.unwrap_or(Identity::Cookie);
        let rung::Opened { source, hints, rung, fallback } = rung::open(options, identity)?;
        // What the rung lacks is told first: it is more of the same.
        here?;
        try_loopback().map_err(Error::Loopback)?;
        policy::admit(caller())?;
        let counters = Arc::new(Atomics::default());
        let hello = Hello::new(rung, fallback.as_deref());
        let sight = Sight::new(source, hello, identity, options, Arc::clone(&counters))?;
        let step = Instant::now();
        let agenda = Agenda::new(step, options.look_every);
        let (inquiries, toll, has_shown) = (Inquiries::default(), Toll::default(), false);
        let watcher = options.apart.watcher.then(Watcher::default);
        Ok(Self {
            sight,
            hints,
            agenda,
            inquiries,
            toll,
            counters,
            watcher,
            has_shown,
            reach,
            step,
        })
    }

    pub(crate) fn hello(&self) -> &Hello {
        self.sight.hello()
    }

    /// Whether the agent that was served last had looked at the node: it had begun its work.
    pub(crate) fn has_shown(&self) -> bool {
        self.has_shown
    }

    /// Answers an agent until it is gone.
    pub(crate) fn serve(
        &mut self,
        agent: &OwnedFd,
        mut signals: Option<&mut dyn Signals>,
    ) -> Ended {
        self.agenda.begin_again();
        self.inquiries.begin_again();
        self.has_shown = false;
        let hello = Reply::Hello(self.hello().clone());
        let mut ended = tell(agent, &hello, None).err();
        while ended.is_none() {
            ended = self.turn(agent, &mut signals).err();
        }
        ended.unwrap_or(Ended::Gone)
    }

    /// Waits for something to happen, and does what follows.
    fn turn(
        &mut self,
        agent: &OwnedFd,
        signals: &mut Option<&mut dyn Signals>,
    ) -> Result<(), Ended> {
        let [is_asked, is_hinted, is_signalled] =
            self.wait(agent, signals.as_deref()).map_err(Ended::Unanswered)?;
        if is_signalled && signals.as_mut().is_some_and(|signals| signals.take()) {
            tell(agent, &Reply::Stop, None)?;
        }
        if is_hinted {
            self.agenda.hint(Instant::now());
        }
        if is_asked {
            self.answer(agent)?;
        }
        if self.agenda.call(Instant::now()) {
            let changed = self.hints.clear();
            add(&self.counters.changes, u64::try_from(changed.len()).unwrap_or(u64::MAX));
            self.sight.changed(changed);
            tell(agent, &Reply::Look, None)?;
        }
        match self.inquiries.take(Instant::now()) {
            asked if asked.is_empty() => {}
            asked => self.inquire(agent, &asked)?,
        }
        match self.agenda.take_asked(Instant::now()) {
            asked if !asked.is_empty() => self.show(agent, &asked)?,
            _ if is_asked || is_hinted || is_signalled || Instant::now() < self.step => {}
            _ => self.step = self.step(),
        }
        Ok(())
    }

    /// Does a little of what is done while nobody asks for anything, and says when there is more of it.
    fn step(&mut self) -> Instant {
        match self.sight.step(self.agenda.is_awaited(Instant::now())) {
            Step::At(at) => at,
            Step::More => Instant::now(),
            Step::Look => {
                self.agenda.hint(Instant::now());
                Instant::now()
            }
        }
    }

    /// Whether there is a request, a hint that would be new, and a signal.
    fn wait(&self, agent: &OwnedFd, signals: Option<&dyn Signals>) -> io::Result<[bool; 3]> {
        let hints = self.hints.descriptor().filter(|_| self.agenda.wants_hints());
        let signals = signals.map(Signals::descriptor);
        let awaited = [Some(agent.as_fd()), hints, signals];
        let mut polled: Vec<PollFd<'_>> = awaited
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        let now = Instant::now();
        let next = [self.agenda.next(now), self.inquiries.next(now)];
        let next = next.into_iter().flatten().fold(self.step, Instant::min);
        let left = Timespec::try_from(next.saturating_duration_since(now)).ok();
        match poll(&mut polled, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
        Ok(awaited.map(|awaited| awaited.is_some() && ready.next().unwrap_or_default()))
    }

    fn answer(&mut self, agent: &OwnedFd) -> Result<(), Ended> {
        let mut buffer = [0; LONGEST_REQUEST];
        let bytes = match channel::receive_bytes(agent, &mut buffer) {
            Ok(Some(received)) => received.bytes,
            Ok(None) => return Err(Ended::Gone),
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                    io::ErrorKind::InvalidData => Err(Ended::Malformed(error.into())),
                    _ => Err(Ended::Unanswered(error)),
                };
            }
        };
        let Request { id, wish } =
            Request::read(bytes).map_err(|error| Ended::Malformed(error.into()))?;
        match wish {
            Wish::Snapshot => Ok(self.agenda.ask(id)?),
            Wish::Pods => self.watch(agent, id),
            Wish::Connect { netns, address, owner } => {
                let connect = Connect { netns, address, owner };
                self.hear(agent, Inquiry { id, connect, begins: true })
            }
            Wish::Confirm { netns, address, owner } => {
                let connect = Connect { netns, address, owner };
                self.hear(agent, Inquiry { id, connect, begins: false })
            }
        }
    }

    fn watch(&mut self, agent: &OwnedFd, id: u64) -> Result<(), Ended> {
        let started = match &mut self.watcher {
            Some(watcher) => watcher.start(Instant::now()),
            None => Err(io::Error::other("the agent is to find them itself")),
        };
        match started {
            Ok(end) => tell(agent, &Reply::Watched { id }, Some(end.as_fd())),
            Err(error) => {
                let why = protocol::shortened(&chain(&error));
                tell(agent, &Reply::Unwatched { id, why }, None)
            }
        }
    }

    /// Answers at once, unless it is to be looked first whose the listener is.
    fn hear(&mut self, agent: &OwnedFd, inquiry: Inquiry) -> Result<(), Ended> {
        match inquiry.connect.owner {
            Some(_) => Ok(self.inquiries.ask(inquiry)?),
            None => self.reply(agent, inquiry, &Owners::unknown()),
        }
    }

    /// Looks whose the listeners of the host are, and answers all who have asked by then.
    fn inquire(&mut self, agent: &OwnedFd, asked: &[Inquiry]) -> Result<(), Ended> {
        let start = Instant::now();
        // Who is refused anyway is not looked for.
        let may_be = |inquiry: &&Inquiry| self.admit(inquiry.connect).is_ok();
        let addresses: Vec<_> =
            asked.iter().filter(may_be).map(|inquiry| inquiry.connect.address).collect();
        let host = self.sight.open(self.sight.known().host);
        let owners = match host.ok().filter(|_| !addresses.is_empty()) {
            Some(host) => Owners::look(&host, &addresses, self.sight.processes()),
            None => Owners::unknown(),
        };
        self.inquiries.looked(Instant::now(), start.elapsed());
        asked.iter().try_for_each(|&inquiry| self.reply(agent, inquiry, &owners))
    }

    fn reply(&mut self, agent: &OwnedFd, inquiry: Inquiry, owners: &Owners) -> Result<(), Ended> {
        let Inquiry { id, connect, begins } = inquiry;
        let done = if begins {
            self.connect(connect, owners).map(Some)
        } else {
            self.confirm(connect, owners).map(|()| None)
        };
        match done {
            Ok(Some(stream)) => tell(agent, &Reply::Connected { id }, Some(stream.as_fd())),
            Ok(None) => tell(agent, &Reply::Confirmed { id }, None),
            Err(error) => tell(agent, &Reply::Unconnected { id, why: error.into() }, None),
        }
    }

    /// Takes a snapshot and sends it to all who have asked for one by then: in a file, since it may be
    /// larger than any message.
    fn show(&mut self, agent: &OwnedFd, asked: &[u64]) -> Result<(), Ended> {
        let before = self.hello().clone();
        let snapshot = self.sight.snapshot();
        if *self.hello() != before {
            tell(agent, &Reply::Hello(self.hello().clone()), None)?;
        }
        self.counters.last().into_iter().for_each(|look| self.agenda.looked(look));
        let written = snapshot.map_err(|error| chain(&error)).and_then(|snapshot| {
            let bytes = protocol::to_bytes(&snapshot);
            parcel::packed("merger-snapshot", &bytes).map_err(|error| chain(&error))
        });
        if written.is_ok() && !mem::replace(&mut self.has_shown, true) {
            // What began this agent is not needed before the next.
            footprint::forget_start();
        }
        asked.iter().try_for_each(|&id| match &written {
            Ok(file) => {
                let reply = Reply::Snapshot { id, counters: self.counters.load() };
                tell(agent, &reply, Some(file.as_fd()))
            }
            Err(why) => {
                let (why, counters) = (protocol::shortened(why), self.counters.load());
                tell(agent, &Reply::Unseen { id, why, counters }, None)
            }
        })
    }

    /// What is paid for is all that is done in the namespace, by whose rules that may take long.
    fn connect(&mut self, request: Connect, owners: &Owners) -> Result<TcpStream, ConnectError> {
        self.toll.admit(request.netns, Instant::now())?;
        let before = toll::paid();
        let begun = self.begin(request, owners);
        let took = toll::paid().saturating_sub(before);
        if begun.is_ok() {
            self.toll.begun(took);
        }
        self.toll.took(request.netns, Instant::now(), took);
        begun
    }

    fn begin(&self, request: Connect, owners: &Owners) -> Result<TcpStream, ConnectError> {
        let (netns, permit) = self.permit(request, owners)?;
        if let Permit::OwnAddress(ip) = permit
            && !netns.owns(ip).map_err(ConnectError::Connect)?
        {
            return Err(Refusal::Foreign(ip).into());
        }
        let begun = netns.within(|| Ok(begin(request.netns, request.address)));
        begun.map_err(ConnectError::Namespace)?
    }

    /// Whether it may still be begun, in that very namespace. Of a connection its socket tells that, and
    /// whose the address is was asked when it was begun: nothing runs here by a pod's rules.
    fn confirm(&self, request: Connect, owners: &Owners) -> Result<(), ConnectError> {
        let Connect { netns, .. } = request;
        let (opened, _) = self.permit(request, owners)?;
        // The process that led here may have changed its namespace since the sweep. Below 5.14 it has
        // been compared already.
        let is_meant =
            netns.is_made() || opened.cookie().map_err(ConnectError::Namespace)? == netns;
        if is_meant { Ok(()) } else { Err(ConnectError::Gone(netns)) }
    }

    /// Whether it may be begun now, in which namespace, and on what condition.
    fn permit(&self, request: Connect, owners: &Owners) -> Result<(Netns, Permit), ConnectError> {
        let admitted = self.admit(request)?;
        if let Some(owner) = request.owner {
            owners.check(request.address, owner)?;
        }
        Ok(admitted)
    }

    /// The same, whoever holds the listener.
    fn admit(&self, request: Connect) -> Result<(Netns, Permit), ConnectError> {
        let known = self.sight.known();
        let permit = policy::permit(request, known, caller(), self.reach)?;
        Ok((self.sight.open(request.netns)?, permit))
    }
}

/// Tries to enter a namespace, which all else is for.
pub(crate) fn enter() -> Result<Identity, Error> {
    Identity::here().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Error::NoRight(error),
        _ => Error::Namespaces(error),
    })
}

fn tell(agent: &OwnedFd, reply: &Reply, along: Option<BorrowedFd<'_>>) -> Result<(), Ended> {
    channel::send(agent, &reply.to_bytes(), along).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ended::Gone,
        _ => Ended::Unanswered(error),
    })
}
