//! `tcpproxy PORT[/SOURCE]…`: a transparent proxy in the role of a mesh's sidecar. A stream that rules have redirected
//! to one of its ports goes on to where it was sent (SO_ORIGINAL_DST), from the port's source address if it has one, as
//! soon as its first bytes are there; an end of it goes on, too. It runs until the run ends.
//!
//! It is a program of Python's asyncio, whose order of calls it has (selector_events.py, streams.py of Python 3.11;
//! read by strace of such a proxy): what happened is turned into callbacks, and what callbacks call for runs in the
//! next turn of the loop.
//!
//! Differs: asyncio looks what is ready before each turn; here it looks when there is nothing else to do.

mod end;
#[cfg(test)]
mod tests;

use crate::base::time::US;
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, Shutdown, SockOpt, SocketKind};
use end::End;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// It carries so many streams at once; more wait to be accepted.
pub const MAX_STREAMS: usize = 1024;
/// It listens on so many ports.
pub const MAX_PORTS: usize = 16;
/// listen(2) of asyncio's servers.
const BACKLOG: u32 = 100;
/// max_size of selector_events.py: a recv asks for so many bytes.
const RECV_SIZE: usize = 256 << 10;
/// What a pump reads at once, and streams.py's limit.
const LIMIT: usize = 64 << 10;
/// From the return of a call to the next one.
const WORK_NS: u64 = 30 * US;

/// The proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpProxy {
    listeners: Vec<Listener>,
    at: At,
    /// Callbacks, in their order.
    ready: VecDeque<Callback>,
    /// What poll(2) was asked about.
    polled: Vec<Callback>,
    streams: BTreeMap<u32, Stream>,
    last: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Listener {
    port: u16,
    source: Option<Ipv4Addr>,
    fd: Fd,
}

/// The two ends of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Upstream,
}
use Side::{Client, Upstream};

impl Side {
    fn other(self) -> Side {
        match self {
            Client => Upstream,
            Upstream => Client,
        }
    }
}

/// What the loop runs, of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Callback {
    /// A listener has connections.
    Accept(usize),
    /// The transport of a new connection is made.
    Setup(u32),
    /// It reads, and its handler begins.
    Begin(u32),
    /// The handler goes on.
    Handler(u32),
    /// What was read from that end is carried to the other.
    Pump(u32, Side),
    /// That pump has ended.
    PumpEnded(u32),
    /// Connect has ended: it is not watched any more.
    ConnectEnded(u32),
    /// The transport of the upstream connection is made: it reads.
    Made(u32),
    Readable(u32, Side),
    Writable(u32, Side),
    /// The end of a transport, by an error or by us.
    Lost(u32, Side, bool),
}

/// The call that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket(usize),
    ReuseAddr(usize),
    Bind(usize),
    Listen(usize),
    NonBlock(usize),
    Poll,
    Accept(usize),
    ClientNoDelay(u32),
    OriginalDst(u32),
    UpSocket(u32),
    UpNonBlock(u32),
    UpBind(u32),
    Connect(u32),
    ConnectError(u32),
    UpNoDelay(u32),
    First(u32),
    Recv(u32, Side),
    /// A pump's send to that end.
    Send(u32, Side),
    /// What was left over.
    Flush(u32, Side),
    Shutdown,
    /// Of a connection that was not made.
    CloseFailed(u32, Errno),
    Close,
}

/// How far a handler has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begin,
    /// It waits for the first bytes.
    First,
    Connect(Option<Errno>),
    /// The transport is being made.
    Making,
    /// Both pumps run; so many have ended.
    Pumps(u8),
    Ended,
}

/// A stream that is carried.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stream {
    peer: SocketAddrV4,
    source: Option<Ipv4Addr>,
    dst: SocketAddrV4,
    stage: Stage,
    /// The upstream socket waits for its connect to end.
    connecting: bool,
    client: End,
    upstream: End,
}

impl Stream {
    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Client => &mut self.client,
            Upstream => &mut self.upstream,
        }
    }
}

/// Reads the words behind the name.
pub(super) fn parse(name: &Word, words: &[Word]) -> Result<TcpProxy, SyntaxError> {
    if words.is_empty() || words.len() > MAX_PORTS {
        let text = format!("tcpproxy: from one to {MAX_PORTS} ports are needed");
        return Err(SyntaxError::at(name, text).hint("write `tcpproxy 15001 15006/127.0.0.6`"));
    }
    let listener = |word: &Word| {
        let (port, source) = word.text.split_once('/').map_or((&*word.text, None), |(port, ip)| (port, Some(ip)));
        let bad = || SyntaxError::at(word, format!("tcpproxy: bad port \"{}\"", word.text));
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let source = source.map(|ip| ip.parse().map_err(|_| bad())).transpose()?;
        Ok(Listener { port, source, fd: Fd(0) })
    };
    Ok(TcpProxy {
        listeners: words.iter().map(listener).collect::<Result<_, SyntaxError>>()?,
        at: At::Start,
        ready: VecDeque::new(),
        polled: vec![],
        streams: BTreeMap::new(),
        last: 0,
    })
}

impl TcpProxy {
    fn call(&mut self, at: At, call: Call) -> Option<Call> {
        self.at = at;
        Some(call)
    }

    /// call_soon
    fn soon(&mut self, callback: Callback) {
        self.ready.push_back(callback);
    }

    /// Before the first client: the servers one after the other.
    fn start(&mut self, ret: Ret, env: &mut Env<'_>) -> Option<Call> {
        let listener = |n: usize| &self.listeners[n];
        let (at, call) = match (self.at, ret) {
            (At::Socket(n) | At::ReuseAddr(n) | At::Bind(n) | At::Listen(n), Ret::Err(e)) => {
                env.console.err(format!("tcpproxy {}: {e}\n", listener(n).port));
                return Some(Call::Exit(1));
            }
            (At::Socket(n), Ret::Fd(fd)) => {
                self.listeners[n].fd = fd;
                (At::ReuseAddr(n), Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) })
            }
            (At::ReuseAddr(n), _) => {
                let Listener { fd, port, .. } = *listener(n);
                (At::Bind(n), Call::Bind { fd, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port) })
            }
            (At::Bind(n), _) => (At::Listen(n), Call::Listen { fd: listener(n).fd, backlog: BACKLOG }),
            (At::Listen(n), _) => {
                (At::NonBlock(n), Call::SetSockOpt { fd: listener(n).fd, opt: SockOpt::NonBlock(true) })
            }
            (At::NonBlock(n), _) if n + 1 == self.listeners.len() => return None,
            (At::NonBlock(n), _) => (At::Socket(n + 1), Call::Socket(SocketKind::Tcp)),
            _ => (At::Socket(0), Call::Socket(SocketKind::Tcp)),
        };
        self.call(at, call)
    }

    /// There is nothing else to do: it waits until something is ready.
    fn select(&mut self) -> Call {
        let (mut fds, mut polled) = (vec![], vec![]);
        let mut watch = |fd, callback| {
            fds.push(fd);
            polled.push(callback);
        };
        if self.streams.len() < MAX_STREAMS {
            for (n, listener) in self.listeners.iter().enumerate() {
                watch(PollFd::read(listener.fd), Callback::Accept(n));
            }
        }
        for (id, stream) in &self.streams {
            for (side, end) in [(Client, &stream.client), (Upstream, &stream.upstream)] {
                if end.reading {
                    watch(PollFd::read(end.fd), Callback::Readable(*id, side));
                }
                if end.writing {
                    watch(PollFd::write(end.fd), Callback::Writable(*id, side));
                }
            }
        }
        self.polled = polled;
        self.at = At::Poll;
        Call::Poll { fds, timeout_ns: None }
    }

    /// select has told: the callbacks.
    fn selected(&mut self, ready: &[Ready]) {
        let polled = std::mem::take(&mut self.polled);
        let events = polled.into_iter().zip(ready).filter(|(_, ready)| ready.any());
        self.ready.extend(events.map(|(callback, _)| callback));
    }

    /// One callback, up to its first call.
    fn run(&mut self, callback: Callback) -> Option<Call> {
        match callback {
            Callback::Accept(n) => self.call(At::Accept(n), Call::Accept { fd: self.listeners[n].fd, nonblock: true }),
            Callback::Setup(id) => {
                let fd = self.streams.get(&id)?.client.fd;
                self.call(At::ClientNoDelay(id), Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) })
            }
            Callback::Begin(id) => {
                self.streams.get_mut(&id)?.client.reading = true;
                self.soon(Callback::Handler(id));
                None
            }
            Callback::Handler(id) => self.handler(id),
            Callback::Pump(id, side) => self.pump(id, side),
            Callback::PumpEnded(id) => {
                let stage = &mut self.streams.get_mut(&id)?.stage;
                let Stage::Pumps(ended) = stage else { return None };
                *ended += 1;
                if *ended == 2 {
                    self.soon(Callback::Handler(id));
                }
                None
            }
            Callback::ConnectEnded(id) => {
                let stream = self.streams.get_mut(&id)?;
                (stream.connecting, stream.upstream.writing) = (false, false);
                None
            }
            Callback::Made(id) => {
                self.streams.get_mut(&id)?.upstream.reading = true;
                self.soon(Callback::Handler(id));
                None
            }
            Callback::Readable(id, side) => {
                let end = self.streams.get_mut(&id)?.end(side);
                let (fd, size) = (end.fd, RECV_SIZE);
                if !end.reading {
                    return None;
                }
                self.call(At::Recv(id, side), Call::Recv { fd, size, dontwait: true, errqueue: false })
            }
            Callback::Writable(id, side) => {
                let stream = self.streams.get_mut(&id)?;
                let (connecting, end) = (stream.connecting, stream.end(side));
                let (fd, data) = (end.fd, end.out.clone());
                match () {
                    () if connecting && side == Upstream => self.call(At::ConnectError(id), Call::SocketError { fd }),
                    () if end.writing => self.call(At::Flush(id, side), Call::Send { fd, to: None, data }),
                    () => None,
                }
            }
            Callback::Lost(id, side, by_error) => self.lost(id, side, by_error),
        }
    }

    /// The handler of a stream, up to where it waits.
    fn handler(&mut self, id: u32) -> Option<Call> {
        let stream = self.streams.get_mut(&id)?;
        match stream.stage {
            Stage::Begin => {
                let fd = stream.client.fd;
                self.call(At::OriginalDst(id), Call::OriginalDst { fd })
            }
            Stage::First => self.first(id),
            Stage::Connect(None) => {
                let fd = stream.upstream.fd;
                self.call(At::UpNoDelay(id), Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) })
            }
            Stage::Connect(Some(e)) => {
                let fd = stream.upstream.fd;
                self.call(At::CloseFailed(id, e), Call::Close { fd })
            }
            Stage::Making => {
                let data = stream.client.take(LIMIT);
                let fd = stream.upstream.fd;
                stream.upstream.out.clone_from(&data);
                self.call(At::First(id), Call::Send { fd, to: None, data })
            }
            Stage::Pumps(_) => {
                stream.stage = Stage::Ended;
                self.close(id, Upstream);
                self.close(id, Client);
                None
            }
            Stage::Ended => None,
        }
    }

    /// `first = await r.read(65536)`
    fn first(&mut self, id: u32) -> Option<Call> {
        let stream = self.streams.get_mut(&id)?;
        stream.stage = Stage::First;
        if !stream.client.input.is_empty() {
            return self.call(At::UpSocket(id), Call::Socket(SocketKind::Tcp));
        }
        if stream.client.failed {
            stream.stage = Stage::Ended;
            self.forget(id);
        } else if stream.client.eof {
            stream.stage = Stage::Ended;
            self.close(id, Client);
        } else {
            stream.client.waiting = true;
        }
        None
    }

    /// From one end to the other, up to where it waits.
    fn pump(&mut self, id: u32, from: Side) -> Option<Call> {
        let stream = self.streams.get_mut(&id)?;
        let to = stream.end(from.other());
        if to.lost || to.closed {
            return self.pump_ended(id, from);
        }
        if to.paused {
            to.drains = true;
            return None;
        }
        let end = stream.end(from);
        if end.input.is_empty() || end.failed {
            if end.eof || end.failed {
                return self.pump_ended(id, from);
            }
            end.waiting = true;
            return None;
        }
        let data = end.take(LIMIT);
        self.write(id, from.other(), data)
    }

    /// The other end is told that there is no more.
    fn pump_ended(&mut self, id: u32, from: Side) -> Option<Call> {
        self.soon(Callback::PumpEnded(id));
        let end = self.streams.get_mut(&id)?.end(from.other());
        if end.closing || end.lost || std::mem::replace(&mut end.ends, true) || !end.out.is_empty() {
            return None;
        }
        let fd = end.fd;
        self.call(At::Shutdown, Call::Shutdown { fd, how: Shutdown::Write })
    }

    /// A transport's write: what the socket does not take waits.
    fn write(&mut self, id: u32, to: Side, data: Vec<u8>) -> Option<Call> {
        let end = self.streams.get_mut(&id)?.end(to);
        let fd = end.fd;
        if !end.out.is_empty() {
            end.keep(&data);
            return self.pump(id, to.other());
        }
        end.out.clone_from(&data);
        self.call(At::Send(id, to), Call::Send { fd, to: None, data })
    }

    /// A transport's close: nothing more is read, and what waits is still written.
    fn close(&mut self, id: u32, side: Side) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let end = stream.end(side);
        if std::mem::replace(&mut end.closing, true) || end.lost {
            return;
        }
        end.reading = false;
        if end.out.is_empty() {
            self.fail(id, side, false);
        }
    }

    /// A transport's end comes next turn.
    fn fail(&mut self, id: u32, side: Side, by_error: bool) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let end = stream.end(side);
        if std::mem::replace(&mut end.lost, true) {
            return;
        }
        (end.reading, end.writing) = (false, false);
        end.out.clear();
        self.soon(Callback::Lost(id, side, by_error));
    }

    /// connection_lost
    fn lost(&mut self, id: u32, side: Side, by_error: bool) -> Option<Call> {
        let end = self.streams.get_mut(&id)?.end(side);
        let fd = end.fd;
        (end.closed, end.failed) = (true, end.failed || by_error);
        let (waits, drains) = (std::mem::take(&mut end.waiting), std::mem::take(&mut end.drains));
        if waits {
            self.wake(id, side);
        }
        if drains {
            self.soon(Callback::Pump(id, side.other()));
        }
        self.forget(id);
        self.call(At::Close, Call::Close { fd })
    }

    /// A stream whose handler has ended and whose sockets are closed is gone.
    fn forget(&mut self, id: u32) {
        let gone = |s: &Stream| s.stage == Stage::Ended && s.client.closed && (s.upstream.closed || s.upstream.unused);
        if self.streams.get(&id).is_some_and(gone) {
            self.streams.remove(&id);
        }
    }

    /// Who reads from that end goes on.
    fn wake(&mut self, id: u32, side: Side) {
        let Some(stream) = self.streams.get(&id) else { return };
        let first = stream.stage == Stage::First;
        self.soon(if first { Callback::Handler(id) } else { Callback::Pump(id, side) });
    }
}

/// What calls have returned.
impl TcpProxy {
    fn returned(&mut self, ret: Ret, env: &mut Env<'_>) -> Option<Call> {
        match self.at {
            At::Start | At::Socket(_) | At::ReuseAddr(_) | At::Bind(_) | At::Listen(_) | At::NonBlock(_) => {
                self.start(ret, env)
            }
            At::Poll => {
                if let Ret::Poll(ready) = ret {
                    self.selected(&ready);
                }
                None
            }
            At::Accept(n) => self.accepted(n, &ret),
            At::ClientNoDelay(id) => {
                self.soon(Callback::Begin(id));
                None
            }
            At::OriginalDst(id) => self.destination(id, &ret, env),
            At::UpSocket(id) | At::UpNonBlock(id) | At::UpBind(id) | At::Connect(id) | At::ConnectError(id) => {
                self.connecting(id, &ret)
            }
            At::UpNoDelay(id) => {
                self.streams.get_mut(&id)?.stage = Stage::Making;
                self.soon(Callback::Made(id));
                None
            }
            At::CloseFailed(id, e) => {
                let stream = self.streams.get_mut(&id)?;
                stream.stage = Stage::Ended;
                (stream.upstream.closed, stream.upstream.unused) = (true, true);
                let (ip, port) = (stream.dst.ip(), stream.dst.port());
                let why = format!("[Errno {}] Connect call failed ('{ip}', {port})", e.number());
                env.console.out(format!("upstream {ip} {port} {why}\n"));
                self.close(id, Client);
                self.forget(id);
                None
            }
            At::First(id) => {
                self.sent(id, Upstream, &ret);
                self.streams.get_mut(&id)?.stage = Stage::Pumps(0);
                self.soon(Callback::Pump(id, Client));
                self.soon(Callback::Pump(id, Upstream));
                None
            }
            At::Recv(id, side) => self.received(id, side, ret),
            At::Send(id, to) => {
                self.sent(id, to, &ret);
                match self.streams.get_mut(&id)?.end(to).lost {
                    // drain waits a turn for a transport that ends.
                    true => {
                        self.soon(Callback::Pump(id, to.other()));
                        None
                    }
                    false => self.pump(id, to.other()),
                }
            }
            At::Flush(id, side) => self.flushed(id, side, &ret),
            At::Shutdown | At::Close => None,
        }
    }

    /// A connection; then the next one, until there is none.
    fn accepted(&mut self, n: usize, ret: &Ret) -> Option<Call> {
        let Ret::Accepted { fd, from } = ret else { return None };
        self.last += 1;
        let stream = Stream {
            peer: *from,
            source: self.listeners[n].source,
            dst: *from,
            stage: Stage::Begin,
            connecting: false,
            client: End::new(*fd),
            upstream: End::unused(),
        };
        self.streams.insert(self.last, stream);
        self.soon(Callback::Setup(self.last));
        if self.streams.len() < MAX_STREAMS { self.run(Callback::Accept(n)) } else { None }
    }

    fn destination(&mut self, id: u32, ret: &Ret, env: &mut Env<'_>) -> Option<Call> {
        let stream = self.streams.get_mut(&id)?;
        let Ret::Addr(dst) = ret else {
            // The handler is gone, the connection stays.
            stream.stage = Stage::Ended;
            return None;
        };
        stream.dst = *dst;
        let (peer, dst) = (stream.peer, stream.dst);
        let text = format!("accept ('{}', {}) -> {} {}\n", peer.ip(), peer.port(), dst.ip(), dst.port());
        env.console.out(text);
        self.first(id)
    }

    /// sock_connect: one call after the other.
    fn connecting(&mut self, id: u32, ret: &Ret) -> Option<Call> {
        let stream = self.streams.get_mut(&id)?;
        let (fd, source, dst) = (stream.upstream.fd, stream.source, stream.dst);
        let (at, call) = match (self.at, ret) {
            (At::UpSocket(_), Ret::Fd(fd)) => {
                stream.upstream = End::new(*fd);
                (At::UpNonBlock(id), Call::SetSockOpt { fd: *fd, opt: SockOpt::NonBlock(true) })
            }
            (At::Connect(_), Ret::Err(Errno::EINPROGRESS)) => {
                (stream.connecting, stream.upstream.writing) = (true, true);
                return None;
            }
            (At::ConnectError(_), Ret::SocketError(result)) => {
                stream.stage = Stage::Connect(*result);
                self.soon(Callback::ConnectEnded(id));
                self.soon(Callback::Handler(id));
                return None;
            }
            (_, Ret::Err(e)) => {
                stream.stage = Stage::Connect(Some(*e));
                return self.handler(id);
            }
            (At::UpNonBlock(_), _) if source.is_some() => {
                let addr = SocketAddrV4::new(source.unwrap_or(Ipv4Addr::UNSPECIFIED), 0);
                (At::UpBind(id), Call::Bind { fd, addr })
            }
            (At::UpNonBlock(_) | At::UpBind(_), _) => (At::Connect(id), Call::Connect { fd, addr: dst }),
            _ => {
                stream.stage = Stage::Connect(None);
                return self.handler(id);
            }
        };
        self.call(at, call)
    }

    /// A transport has read.
    fn received(&mut self, id: u32, side: Side, ret: Ret) -> Option<Call> {
        let end = self.streams.get_mut(&id)?.end(side);
        match ret {
            Ret::Data(data) => end.feed(&data),
            Ret::Eof => (end.eof, end.reading) = (true, false),
            Ret::Err(Errno::EAGAIN) => return None,
            _ => {
                self.fail(id, side, true);
                return None;
            }
        }
        if std::mem::take(&mut end.waiting) {
            self.wake(id, side);
        }
        None
    }

    /// A transport has sent; the rest waits until there is room.
    fn sent(&mut self, id: u32, to: Side, ret: &Ret) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match ret {
            Ret::Sent(n) => stream.end(to).sent(*n),
            Ret::Err(Errno::EAGAIN) => stream.end(to).sent(0),
            _ => self.fail(id, to, true),
        }
    }

    fn flushed(&mut self, id: u32, side: Side, ret: &Ret) -> Option<Call> {
        self.sent(id, side, ret);
        let end = self.streams.get_mut(&id)?.end(side);
        let (fd, empty, closing, ends) = (end.fd, end.out.is_empty(), end.closing, end.ends);
        if end.lost {
            return None;
        }
        if !end.paused && std::mem::take(&mut end.drains) {
            self.soon(Callback::Pump(id, side.other()));
        }
        match (empty, closing, ends) {
            (true, true, _) => {
                self.fail(id, side, false);
                None
            }
            (true, false, true) => self.call(At::Shutdown, Call::Shutdown { fd, how: Shutdown::Write }),
            _ => None,
        }
    }
}

impl Program for TcpProxy {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let mut call = self.returned(ret, env);
        loop {
            if let Some(call) = call {
                env.spent_ns = WORK_NS;
                return call;
            }
            let Some(callback) = self.ready.pop_front() else { return self.select() };
            call = self.run(callback);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
