//! The program: listeners, system calls one after the other, events from poll(2), timers.

use super::agent::Agent;
use super::balance::Balancer;
use super::config::{Bootstrap, Config, HEALTH_PORT, INBOUND_MARK, INBOUND_PORT, OUTBOUND_PORT, STATS_PORT};
use super::conn::{Conn, End, Id, Next, READ_SIZE, Read};
use super::downstream::{Down, Mode, Side, Tls};
use super::exchange::{Exchange, ExchangeId};
use super::pool::{Pool, Target, Up};
use super::random::Random;
use crate::base::rng::Purpose;
use crate::base::time::US;
use crate::base::{Prf, Time};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, SockOpt, SocketKind};
use crate::kernel::trace::{Connection, Proxied};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// tcp_backlog_size: what Envoy asks for, which the kernel cuts to net.core.somaxconn.
const BACKLOG: u32 = 4096;
/// As many connections at once, of both kinds; who comes then waits in the backlog.
const MAX_CONNECTIONS: usize = 8192;
/// How many bytes it reads before it looks at them.
const READ_LIMIT: usize = 1 << 20;
/// What it computes for a new connection. Nanoseconds.
const ACCEPT_COST_NS: u64 = 40 * US;
/// Where it listens, and for whom.
const LISTENERS: [(Side, u16); 5] = [
    (Side::Outbound, OUTBOUND_PORT),
    (Side::Inbound, INBOUND_PORT),
    (Side::Health, HEALTH_PORT),
    (Side::Stats, STATS_PORT),
    (Side::Agent, super::agent::STATUS_PORT),
];

/// The proxy.
#[derive(Clone, Debug)]
pub struct Envoy {
    pub(super) bootstrap: Bootstrap,
    /// What it works by; none before istiod has told it anything.
    pub(super) config: Option<Config>,
    pub(super) tls: Option<Tls>,
    at: At,
    /// System calls to come.
    calls: VecDeque<(At, Call)>,
    events: VecDeque<(Source, Ready)>,
    asked: Vec<Source>,
    listeners: Vec<(Side, Fd)>,
    next_id: Id,
    pub(super) conns: BTreeMap<Id, Conn>,
    /// Connections that have something to send, perhaps.
    dirty: BTreeSet<Id>,
    /// Downstreams whose next request may have come with the last.
    again: BTreeSet<Id>,
    pub(super) downs: BTreeMap<Id, Down>,
    pub(super) ups: BTreeMap<Id, Up>,
    pub(super) pools: BTreeMap<Target, Pool>,
    pub(super) balancers: BTreeMap<(u32, String), Balancer>,
    pub(super) exchanges: BTreeMap<ExchangeId, Exchange>,
    pub(super) agent: Agent,
    pub(super) random: Random,
    /// What is being looked at.
    pub(super) reading: Option<Read>,
    /// Which bytes it writes because of which.
    edges: Vec<Proxied>,
}

/// What the last system call was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    Start,
    /// Of the listener that comes next.
    ListenSocket,
    Bind,
    Poll,
    Accept(Side, Fd),
    /// getsockname(2) and SO_ORIGINAL_DST of one that was accepted.
    LocalName(Id),
    OriginalDst(Id),
    Socket(Id),
    /// bind(2), connect(2) or SO_ERROR of one of ours.
    Connect(Id),
    Connected(Id),
    /// getsockname(2) of one of ours.
    UpstreamName(Id),
    Recv(Id),
    Send(Id),
    /// Whatever it returns.
    Quiet,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Listener(Side, Fd),
    Conn(Id),
}

impl Envoy {
    /// A proxy that has not started. It runs as uid and gid 1337, whom istio-init's rules let pass.
    pub fn new(bootstrap: Bootstrap) -> Self {
        let config = bootstrap.config.clone();
        Envoy {
            agent: Agent::new(bootstrap.discovery.is_some()),
            bootstrap,
            config,
            tls: None,
            at: At::Start,
            calls: VecDeque::new(),
            events: VecDeque::new(),
            asked: Vec::new(),
            listeners: Vec::new(),
            next_id: 0,
            conns: BTreeMap::new(),
            dirty: BTreeSet::new(),
            again: BTreeSet::new(),
            downs: BTreeMap::new(),
            ups: BTreeMap::new(),
            pools: BTreeMap::new(),
            balancers: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            // Nobody draws before it has started, with the scenario's seed.
            random: Random::new(&Prf::new(0), Purpose::EnvoyRandom, &[]),
            reading: None,
            edges: Vec::new(),
        }
    }

    /// What it is told now; none before istiod has told it anything.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Puts a system call behind those that wait.
    pub(super) fn call(&mut self, at: At, call: Call) {
        self.calls.push_back((at, call));
    }

    /// A connection may have something to send.
    pub(super) fn touch(&mut self, id: Id) {
        self.dirty.insert(id);
    }

    /// A downstream's next request may have come with the last.
    pub(super) fn look_again(&mut self, id: Id) {
        self.again.insert(id);
    }

    /// A number that was not given yet.
    pub(super) fn number(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }

    /// Closes a connection when all is sent.
    pub(super) fn close(&mut self, id: Id, how: End) {
        if let Some(conn) = self.conns.get_mut(&id).filter(|c| !c.is_ending()) {
            conn.end = how;
            if conn.fd.is_none() {
                // socket(2) has not returned: At::Socket closes it.
                return;
            }
            self.dirty.insert(id);
        }
    }

    /// socket(2), and what follows to connect(2).
    pub(super) fn connect(&mut self) -> Id {
        let id = self.number();
        self.conns.insert(id, Conn::default());
        self.call(At::Socket(id), Call::Socket(SocketKind::Tcp));
        id
    }

    fn start(&mut self, env: &mut Env<'_>) {
        let whose = [env.salt.word(), u64::from(env.pid.0)];
        self.random = Random::new(env.prf, Purpose::EnvoyRandom, &whose);
        match Tls::new(&self.bootstrap.node.identity, env) {
            Ok(tls) => self.tls = Some(tls),
            Err(failure) => {
                env.console.err(format!("error\tfailed to generate workload certificate: {}\n", failure.text()));
                return self.call(At::Quiet, Call::Exit(1));
            }
        }
        self.call(At::ListenSocket, Call::Socket(SocketKind::Tcp));
    }

    /// The next listener has a socket.
    fn listen(&mut self, fd: Fd, env: &mut Env<'_>) {
        let (side, port) = LISTENERS[self.listeners.len()];
        self.listeners.push((side, fd));
        self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) });
        self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) });
        if self.bootstrap.transparent && matches!(side, Side::Outbound | Side::Inbound) {
            self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::Transparent(true) });
        }
        self.call(At::Bind, Call::Bind { fd, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port) });
        self.call(At::Bind, Call::Listen { fd, backlog: BACKLOG });
        if self.listeners.len() < LISTENERS.len() {
            self.call(At::ListenSocket, Call::Socket(SocketKind::Tcp));
        } else {
            self.agent_connect(env);
        }
    }

    /// A system call has returned.
    fn returned(&mut self, at: At, ret: Ret, env: &mut Env<'_>) {
        match (at, ret) {
            (At::Start, _) => self.start(env),
            (At::ListenSocket, Ret::Fd(fd)) => self.listen(fd, env),
            (At::ListenSocket | At::Bind, Ret::Err(e)) => {
                let port = LISTENERS[self.listeners.len().saturating_sub(1)].1;
                env.console.err(format!("error\tcannot bind '0.0.0.0:{port}': {e}\n"));
                self.calls.clear();
                self.call(At::Quiet, Call::Exit(1));
            }
            (At::Poll, Ret::Poll(ready)) => {
                let told = self.asked.iter().copied().zip(ready);
                self.events = told.filter(|(_, ready)| ready.any()).collect();
            }
            (At::Accept(side, listener), Ret::Accepted { fd, from }) => {
                env.spent_ns += ACCEPT_COST_NS;
                self.accepted(side, fd, from, env);
                // Until there is no more.
                self.call(At::Accept(side, listener), Call::Accept { fd: listener, nonblock: true });
            }
            (At::LocalName(id), Ret::Addr(addr)) => self.accepted_at(id, addr),
            (At::OriginalDst(id), Ret::Addr(addr)) => self.meant_for(id, Some(addr), env),
            (At::OriginalDst(id), _) => self.meant_for(id, None, env),
            (At::Socket(id), Ret::Fd(fd)) => self.has_socket(id, fd),
            (At::Socket(id), Ret::Err(_)) => {
                self.broken(id, env);
                self.conns.remove(&id);
            }
            (At::Connect(id), Ret::Err(e)) if e != Errno::EINPROGRESS => self.broken(id, env),
            (At::Connect(id), Ret::Done) if self.conns.get(&id).is_some_and(|c| !c.open) => {}
            (At::Connected(id), Ret::SocketError(None)) => self.connected(id),
            (At::Connected(id), _) => self.broken(id, env),
            (At::UpstreamName(id), Ret::Addr(addr)) => {
                if let (Some(up), Some(conn)) = (self.ups.get_mut(&id), self.conns.get_mut(&id)) {
                    up.local = Some(addr);
                    conn.name = Some(Connection { peer: up.target.address, names: [addr; 2] });
                    self.up_connected(id, env);
                }
            }
            (At::Recv(id), ret) => self.received(id, ret, env),
            (At::Send(id), ret) => self.sent(id, &ret, env),
            _ => {}
        }
    }

    fn has_socket(&mut self, id: Id, fd: Fd) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.fd = Some(fd);
        if conn.is_ending() {
            self.dirty.insert(id);
            return;
        }
        let Some((bind, to)) = self.destination(id) else { return };
        self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) });
        if self.ups.get(&id).is_some_and(|up| up.target.source.is_some()) {
            self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::Mark(INBOUND_MARK) });
            self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::Transparent(true) });
        }
        if let Some(from) = bind {
            self.call(At::Connect(id), Call::Bind { fd, addr: SocketAddrV4::new(from, 0) });
        }
        self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) });
        self.call(At::Connect(id), Call::Connect { fd, addr: to });
    }

    fn connected(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(&id).filter(|c| !c.is_ending()) else { return };
        conn.open = true;
        if let Some(fd) = conn.fd {
            self.call(At::UpstreamName(id), Call::SockName { fd });
        }
        self.touch(id);
    }

    /// recv(2) has returned: more is read until there is none.
    fn received(&mut self, id: Id, ret: Ret, env: &mut Env<'_>) {
        let Some(conn) = self.conns.get_mut(&id).filter(|c| !c.is_ending()) else { return };
        match ret {
            Ret::Data(data) => {
                let result = conn.receive(&data, env);
                let (full, fd) = (conn.input.len() > READ_LIMIT, conn.fd);
                self.touch(id);
                match (result, fd) {
                    (Err(failure), _) => self.tls_failed(id, &failure, env),
                    (Ok(()), Some(fd)) if !full && !data.is_empty() => {
                        self.call(At::Recv(id), Call::Recv { fd, size: READ_SIZE, dontwait: true, errqueue: false });
                    }
                    _ => self.read(id, env),
                }
            }
            Ret::Err(Errno::EAGAIN) => self.read(id, env),
            Ret::Eof => {
                conn.eof = true;
                self.read(id, env);
            }
            _ => self.broken(id, env),
        }
    }

    fn sent(&mut self, id: Id, ret: &Ret, env: &mut Env<'_>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match ret {
            Ret::Sent(n) => conn.sent(Some(*n)),
            Ret::Err(Errno::EAGAIN) => conn.sent(None),
            _ => {
                conn.sent(Some(0));
                return self.broken(id, env);
            }
        }
        self.touch(id);
    }

    /// What has come is looked at.
    fn read(&mut self, id: Id, env: &mut Env<'_>) {
        if self.downs.contains_key(&id) {
            self.down_read(id, env);
        } else if self.ups.contains_key(&id) {
            self.up_read(id, env);
        } else {
            self.agent_read(id, env);
        }
    }

    /// A connection is over: reset, or never made.
    fn broken(&mut self, id: Id, env: &mut Env<'_>) {
        self.close(id, End::Close);
        if let Some(conn) = self.conns.get_mut(&id) {
            // Nothing is left to say.
            conn.open = false;
        }
        self.lost(id, None, env);
    }

    /// TLS has failed: the alert leaves, if there is one, and the connection ends.
    pub(super) fn tls_failed(&mut self, id: Id, failure: &crate::user::tls::Failure, env: &mut Env<'_>) {
        self.close(id, End::Close);
        self.lost(id, Some(failure), env);
    }

    fn lost(&mut self, id: Id, failure: Option<&crate::user::tls::Failure>, env: &mut Env<'_>) {
        if self.downs.contains_key(&id) {
            self.down_lost(id, env);
        } else if self.ups.contains_key(&id) {
            self.up_lost(id, failure, env);
        } else {
            self.agent_lost(id, env);
        }
    }

    /// Writes of those that have something to send.
    fn settle(&mut self) {
        while let Some(id) = self.dirty.pop_first() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let next = conn.next();
            self.edges.append(&mut conn.edges);
            match next {
                Some(Next::Call(call)) => {
                    let at = if matches!(call, Call::Send { .. }) { At::Send(id) } else { At::Quiet };
                    self.call(at, call);
                }
                Some(Next::Close(calls)) => {
                    self.conns.remove(&id);
                    for call in calls {
                        self.call(At::Quiet, call);
                    }
                }
                None => {}
            }
        }
    }

    fn event(&mut self, source: Source, ready: Ready) {
        match source {
            Source::Listener(side, fd) => self.call(At::Accept(side, fd), Call::Accept { fd, nonblock: true }),
            Source::Conn(id) => {
                let Some(conn) = self.conns.get_mut(&id).filter(|c| !c.is_ending() || c.open) else { return };
                let Some(fd) = conn.fd else { return };
                if !conn.open {
                    return self.call(At::Connected(id), Call::SocketError { fd });
                }
                if ready.write {
                    conn.writable();
                }
                let ending = conn.is_ending();
                self.touch(id);
                if !ending && (ready.read || ready.error || ready.hangup) {
                    self.call(At::Recv(id), Call::Recv { fd, size: READ_SIZE, dontwait: true, errqueue: false });
                }
            }
        }
    }

    /// poll(2), until something happens or the first timer is due.
    fn poll(&mut self, now: Time) -> Call {
        let room = self.conns.len() < MAX_CONNECTIONS;
        let listeners = self.listeners.iter().filter(|_| room);
        let mut fds: Vec<PollFd> = listeners.clone().map(|(_, fd)| PollFd::read(*fd)).collect();
        let mut asked: Vec<Source> = listeners.map(|(side, fd)| Source::Listener(*side, *fd)).collect();
        for (id, conn) in &self.conns {
            if let Some(fd) = conn.wants(!self.is_paused(*id)) {
                fds.push(fd);
                asked.push(Source::Conn(*id));
            }
        }
        self.asked = asked;
        self.at = At::Poll;
        let timeout_ns = self.first_timer().map(|due| due.0.saturating_sub(now.0));
        Call::Poll { fds, timeout_ns }
    }

    /// Nothing is read of who has sent more than is looked at, or whose other end has too much to send.
    fn is_paused(&self, id: Id) -> bool {
        if self.conns.get(&id).is_some_and(|c| c.input.len() > READ_LIMIT) {
            return true;
        }
        let others = match (self.downs.get(&id), self.ups.get(&id)) {
            (Some(down), _) => down.others(self),
            (_, Some(up)) => up.others(self),
            _ => vec![],
        };
        let waits = self.downs.get(&id).into_iter().flat_map(|d| d.streams.values());
        if waits.filter_map(|x| self.exchanges.get(x)).any(|x| x.unsent() > READ_LIMIT) {
            return true;
        }
        others.iter().any(|other| self.is_full(*other))
    }

    /// It has more to send than it should, in its socket's way or its peer's windows.
    fn is_full(&self, id: Id) -> bool {
        let codec = match self.downs.get(&id).map(|d| &d.mode) {
            Some(Mode::Http(codec)) => Some(codec),
            _ => self.ups.get(&id).and_then(|up| up.codec.as_ref()),
        };
        self.conns.get(&id).is_some_and(Conn::is_full) || codec.is_some_and(|codec| codec.waiting() > READ_LIMIT)
    }

    /// When something is due.
    fn first_timer(&self) -> Option<Time> {
        let downs = self.downs.values().filter_map(|d| d.timer);
        let ups = self.ups.values().filter_map(|u| u.timer);
        let exchanges = self.exchanges.values().filter_map(|x| x.retry_at);
        downs.chain(ups).chain(exchanges).chain(self.agent.timer).min()
    }

    /// Does what is due; whether there was anything.
    fn timers(&mut self, env: &mut Env<'_>) -> bool {
        let due = |timer: Option<Time>| timer.is_some_and(|t| t <= env.now);
        if due(self.agent.timer) {
            self.agent.timer = None;
            self.agent_connect(env);
        } else if let Some(id) = self.exchanges.iter().find(|(_, x)| due(x.retry_at)).map(|(id, _)| *id) {
            self.retry(id, env);
        } else if let Some(id) = self.ups.iter().find(|(_, u)| due(u.timer)).map(|(id, _)| *id) {
            self.up_timer(id, env);
        } else if let Some(id) = self.downs.iter().find(|(_, d)| due(d.timer)).map(|(id, _)| *id) {
            self.close(id, End::Close);
            self.down_lost(id, env);
        } else {
            return false;
        }
        true
    }
}

impl Program for Envoy {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let at = std::mem::replace(&mut self.at, At::Quiet);
        self.returned(at, ret, env);
        loop {
            self.settle();
            if let Some((at, call)) = self.calls.pop_front() {
                self.at = at;
                env.proxied.append(&mut self.edges);
                return call;
            }
            if let Some(id) = self.again.pop_first() {
                self.read(id, env);
            } else if let Some((source, ready)) = self.events.pop_front() {
                self.event(source, ready);
            } else if !self.timers(env) {
                return self.poll(env.now);
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
