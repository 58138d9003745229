//! curl 7.88.1, for http and https: options, texts and exit statuses, and the system calls in their order: a connect
//! that does not wait, poll with the time-outs of its timers (happy eyeballs after 200 ms among them), a look at the
//! socket before each recv, connections that are kept for the next URL. Standard output is a terminal, so there is no
//! progress meter.

mod names;
mod options;
mod request;
mod resolve;
mod response;
mod secure;
mod show;
mod transfer;
mod url;
mod write_out;

use crate::base::Time;
use crate::base::time::{MS, US};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ret, SockOpt};
use crate::user::dns::resolver::Resolver;
use crate::user::tls;
use options::Options;
use request::Request;
use response::Response;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use url::{Scheme, Url};
use write_out::Facts;

/// --buffer of its tool: what one recv asks for.
const RECV_SIZE: usize = 102_400;
/// CURL_HET_DEFAULT: when another address would be tried. Nanoseconds.
const HAPPY_EYEBALLS_NS: u64 = 200 * MS;
/// It never sleeps longer than this. Nanoseconds.
const MAX_WAIT_NS: u64 = 1000 * MS;
/// DEFAULT_CONNECT_TIMEOUT, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 300_000;
/// A body shorter than this goes with the head.
const MAX_INITIAL_POST: usize = 64 * 1024;
/// What it computes, as measured, besides its system calls: when a connection is there, when bytes have come, between
/// two transfers. Nanoseconds.
const CONNECTED_COST_NS: u64 = 300_000;
const RECEIVED_COST_NS: u64 = 100_000;
const NEXT_COST_NS: u64 = 60_000;

/// Reads the words behind the name.
pub(in crate::user) fn parse(name: &Word, words: &[Word]) -> Result<Curl, SyntaxError> {
    let o = options::parse(name, words)?;
    Ok(Curl {
        o: Arc::new(o),
        at: At::Start,
        target: 0,
        transfer: None,
        connections: vec![],
        made: 0,
        names: vec![],
        resolver: None,
        tls: None,
        code: 0,
    })
}

/// A run of curl.
#[derive(Clone)]
pub struct Curl {
    o: Arc<Options>,
    at: At,
    /// Which URL comes next.
    target: usize,
    transfer: Option<Box<Transfer>>,
    /// Those that are open.
    connections: Vec<Connection>,
    /// Connections made so far: the number of the next one.
    made: u32,
    /// Names that were looked up.
    names: Vec<(String, VecDeque<Ipv4Addr>)>,
    /// What looked them up.
    resolver: Option<Resolver>,
    /// Whom it trusts, once that is known.
    tls: Option<tls::Client>,
    /// The exit status of the last transfer.
    code: i32,
}

/// What the last system call was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    /// An old connection: does it still stand?
    Alive,
    CloseDead,
    /// A name is looked up.
    Resolve,
    Socket,
    /// The socket's options, one after the other.
    Option(usize),
    Connect,
    ConnectWait,
    ConnectLook,
    ConnectError,
    /// Who is who, which it asks several times.
    Name(usize),
    /// TLS shakes hands.
    HandshakeSend,
    HandshakeWait,
    HandshakeRecv,
    Send,
    Wait,
    Look,
    Recv,
    /// TLS says good-bye.
    Leave,
    /// The connection is closed; then the transfer ends, or is tried again, or follows a redirect.
    Close,
    CloseAll,
}

/// A connection that stands.
#[derive(Clone, Debug)]
struct Connection {
    number: u32,
    fd: Fd,
    scheme: Scheme,
    host: String,
    port: u16,
    addr: SocketAddrV4,
    local: Option<SocketAddrV4>,
    session: Option<tls::Session>,
    leaving: Leaving,
}

impl Connection {
    fn new(number: u32, url: &Url) -> Self {
        Connection {
            number,
            fd: Fd(0),
            scheme: url.scheme,
            host: url.host.clone(),
            port: url.port,
            addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, url.port),
            local: None,
            session: None,
            leaving: Leaving::No,
        }
    }
}

/// How far a connection with TLS is on its way to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    No,
    Looked,
}

/// The work for one URL.
#[derive(Clone, Debug)]
struct Transfer {
    url: Url,
    request: Request,
    discard: bool,
    /// When it began, and the request after the last redirect.
    started: Time,
    single: Time,
    facts: Facts,
    connection: Connection,
    resolver: Option<Resolver>,
    /// Addresses that were not tried yet, and when the last one was.
    addresses: VecDeque<Ipv4Addr>,
    tried: Time,
    /// The connection stood before.
    reused: bool,
    /// When curl looks up from its sleep: pending timers.
    timers: Vec<Time>,
    /// What is to be sent.
    out: Vec<u8>,
    /// What is to be sent after it.
    more: Vec<u8>,
    response: Response,
    retries: u32,
    /// What goes on when the connection is closed.
    after: After,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum After {
    End(i32, String),
    Retry,
    NextAddress,
    Redirect(Url),
}

impl Program for Curl {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match self.at {
            At::Start => {
                self.warn(env);
                self.next_target(env)
            }
            At::CloseAll => self.close_all(),
            at => {
                let Some(mut t) = self.transfer.take() else { return Call::Exit(self.code) };
                let call = self.returned(at, ret, &mut t, env);
                match call {
                    Some(call) => {
                        self.transfer = Some(t);
                        call
                    }
                    None => self.next_target(env),
                }
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Curl {
    fn call(&mut self, at: At, call: Call) -> Option<Call> {
        self.at = at;
        Some(call)
    }

    /// Begins with the next URL that leads to a system call; then closes what is open.
    fn next_target(&mut self, env: &mut Env<'_>) -> Call {
        while let Some(target) = self.o.clone().targets.get(self.target) {
            let number = self.target;
            self.target += 1;
            env.spent_ns += NEXT_COST_NS;
            let facts = Facts { url: target.text.clone(), url_number: number, ..Facts::default() };
            let url = match &target.url {
                Ok(url) => url.clone(),
                Err(e) => {
                    let facts =
                        Facts { exit: e.code, error: e.message.clone(), effective_url: target.text.clone(), ..facts };
                    self.report(&facts, env);
                    continue;
                }
            };
            let request = Request::new(&self.o);
            let none = Connection::new(0, &url);
            let mut t = Box::new(Transfer {
                url,
                request,
                discard: target.discard,
                started: env.now,
                single: env.now,
                facts,
                connection: none,
                resolver: None,
                addresses: VecDeque::new(),
                tried: env.now,
                reused: false,
                timers: self.o.max_time_ms.map(|ms| env.now + ms * MS).into_iter().collect(),
                out: vec![],
                more: vec![],
                response: Response::default(),
                retries: 0,
                after: After::Retry,
            });
            if let Some(call) = self.begin(&mut t, env) {
                self.transfer = Some(t);
                return call;
            }
        }
        self.close_all()
    }

    fn close_all(&mut self) -> Call {
        if self.connections.is_empty() {
            return Call::Exit(self.code);
        }
        self.at = At::CloseAll;
        let call = self.connections[0].leave();
        if matches!(call, Call::Close { .. }) {
            self.connections.remove(0);
        }
        call
    }

    /// A request begins: over a connection that stands, or a new one.
    fn begin(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        t.single = env.now;
        t.response = Response::new(t.request.method == "HEAD" && self.o.head);
        t.facts.effective_url = t.url.text();
        t.facts.method = t.request.method.clone();
        let same = |c: &Connection| c.scheme == t.url.scheme && c.port == t.url.port;
        let fits = |c: &Connection| same(c) && c.host.eq_ignore_ascii_case(&t.url.host);
        if let Some(at) = self.connections.iter().position(fits) {
            t.connection = self.connections.remove(at);
            let fds = vec![PollFd::read(t.connection.fd)];
            return self.call(At::Alive, Call::Poll { fds, timeout_ns: Some(0) });
        }
        self.connect(t, env)
    }

    /// A system call of the transfer returned; none when the transfer is over.
    fn returned(&mut self, at: At, ret: Ret, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let fd = t.connection.fd;
        match (at, ret) {
            (At::Alive, Ret::Poll(ready)) if ready.iter().any(|r| r.any()) => {
                self.info(&format!("Connection {} seems to be dead!", t.connection.number), env);
                self.info(&format!("Closing connection {}", t.connection.number), env);
                self.call(At::CloseDead, Call::Close { fd })
            }
            (At::Alive, _) => {
                t.reused = true;
                t.facts.name_us = since(t.started, env.now);
                t.facts.connected_us = t.facts.name_us;
                show::reused(&self.o, &t.connection, env.console);
                self.send(t, env)
            }
            (At::CloseDead, _) => self.connect(t, env),
            (At::Resolve, ret) => self.resolving(ret, t, env),
            (At::Socket, Ret::Fd(fd)) => {
                t.connection.fd = fd;
                self.option(0, t, env)
            }
            (At::Option(n), _) => self.option(n + 1, t, env),
            (at @ (At::Connect | At::ConnectWait | At::ConnectLook | At::ConnectError), ret) => {
                self.connecting(at, &ret, t, env)
            }
            (At::Name(n), ret) => {
                if let (0, Ret::Addr(local)) = (n, ret) {
                    t.connection.local = Some(local);
                }
                self.named(n + 1, t, env)
            }
            (At::HandshakeSend | At::HandshakeWait | At::HandshakeRecv, ret) => self.handshaking(at, ret, t, env),
            (At::Send | At::Wait | At::Look | At::Recv, ret) => self.transferring(at, ret, t, env),
            (At::Leave, _) => self.leave(t, env),
            (At::Close, _) => self.closed(t, env),
            // No socket.
            _ => self.not_connected(t, 7, "Couldn't connect to server", env),
        }
    }

    /// A call on the way to a connection returned.
    fn connecting(&mut self, at: At, ret: &Ret, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let fd = t.connection.fd;
        match (at, ret) {
            (At::Connect, Ret::Err(e)) if *e != Errno::EINPROGRESS => {
                self.info(&format!("Immediate connect fail for {}: {e}", t.connection.addr.ip()), env);
                self.not_connected(t, 7, "Couldn't connect to server", env)
            }
            (At::Connect, _) => self.wait(At::ConnectWait, t, env),
            (At::ConnectWait, _) => {
                t.timers.retain(|timer| *timer > env.now);
                if let Some(ms) = self.late(t, env) {
                    return self.close(t, After::End(28, format!("Connection timed out after {ms} milliseconds")), env);
                }
                self.call(At::ConnectLook, Call::Poll { fds: vec![PollFd::write(fd)], timeout_ns: Some(0) })
            }
            (At::ConnectLook, Ret::Poll(ready)) if ready.iter().any(|r| r.any()) => {
                self.call(At::ConnectError, Call::SocketError { fd })
            }
            (At::ConnectLook, _) => {
                let limit = self.connect_timeout_ms();
                let (since_start, since_try) = (since(t.single, env.now) / 1000, since(t.tried, env.now) / 1000);
                if since_start >= limit || !t.addresses.is_empty() && since_try >= self.share_ms(t) {
                    if since_start >= limit {
                        t.addresses.clear();
                    }
                    return self.not_connected(t, 28, "Timeout was reached", env);
                }
                self.wait(At::ConnectWait, t, env)
            }
            (At::ConnectError, Ret::SocketError(Some(e))) => {
                let addr = t.connection.addr;
                self.info(&format!("connect to {} port {} failed: {e}", addr.ip(), addr.port()), env);
                let code = if *e == Errno::ETIMEDOUT { 28 } else { 7 };
                self.not_connected(t, code, "Couldn't connect to server", env)
            }
            _ => {
                t.facts.connected_us = since(t.started, env.now);
                t.facts.connects += 1;
                self.name(0, t)
            }
        }
    }

    /// The socket's options, O_NONBLOCK last; then connect.
    fn option(&mut self, n: usize, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let keepalive = !self.o.no_keepalive;
        let all = [
            (SockOpt::NoDelay(true), !self.o.no_nodelay),
            (SockOpt::KeepAlive(true), keepalive),
            (SockOpt::KeepIdle(60), keepalive),
            (SockOpt::KeepInterval(60), keepalive),
            (SockOpt::NonBlock(true), true),
        ];
        let (fd, addr) = (t.connection.fd, t.connection.addr);
        match all.into_iter().filter(|(_, wanted)| *wanted).nth(n) {
            Some((opt, _)) => self.call(At::Option(n), Call::SetSockOpt { fd, opt }),
            None => {
                self.info(&format!("  Trying {}:{}...", addr.ip(), addr.port()), env);
                t.timers.push(env.now + HAPPY_EYEBALLS_NS);
                t.timers.extend(self.o.connect_timeout_ms.map(|ms| t.single + ms * MS));
                if !t.addresses.is_empty() {
                    t.timers.push(t.tried + self.share_ms(t) * MS);
                }
                self.call(At::Connect, Call::Connect { fd, addr })
            }
        }
    }

    fn connect_timeout_ms(&self) -> u64 {
        self.o.connect_timeout_ms.unwrap_or(CONNECT_TIMEOUT_MS)
    }

    /// How long an address is tried that others follow: half of what was left when it was begun with.
    fn share_ms(&self, t: &Transfer) -> u64 {
        self.connect_timeout_ms().saturating_sub(since(t.single, t.tried) / 1000).div_ceil(2)
    }

    /// So many times it has asked who is who: what comes next.
    fn named(&mut self, asked: usize, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let secure = t.url.scheme == Scheme::Https;
        if asked == if secure { NAMES_BEFORE_TLS } else { NAMES } {
            show::connected(&self.o, &t.connection, env.console);
            env.spent_ns += CONNECTED_COST_NS;
            return if secure { self.secure(t, env) } else { self.send(t, env) };
        }
        if asked == NAMES_WITH_TLS {
            return self.send(t, env);
        }
        self.name(asked, t)
    }

    /// Asks for an end of the connection: its own, the peer's, and so on in turn.
    fn name(&mut self, n: usize, t: &Transfer) -> Option<Call> {
        let fd = t.connection.fd;
        let call = if n % 2 == 1 { Call::PeerName { fd } } else { Call::SockName { fd } };
        self.call(At::Name(n), call)
    }

    /// Sleeps until the socket is ready or the first timer is due, a second at most.
    fn wait(&mut self, at: At, t: &Transfer, env: &Env<'_>) -> Option<Call> {
        let fd = t.connection.fd;
        let sending = at == At::ConnectWait || !t.out.is_empty();
        let reading = at == At::Wait || at == At::HandshakeWait && !sending;
        let fds = vec![PollFd { fd, read: reading, write: sending }];
        let next = t.timers.iter().min().map(|timer| match *timer - env.now {
            0 => 0,
            // Whole milliseconds, and not the last one again and again.
            ns => (ns / MS).max(1) * MS,
        });
        self.call(at, Call::Poll { fds, timeout_ns: Some(next.unwrap_or(MAX_WAIT_NS).min(MAX_WAIT_NS)) })
    }

    /// Milliseconds since the request began, if --max-time is over.
    fn late(&self, t: &Transfer, env: &Env<'_>) -> Option<u64> {
        let limit = self.o.max_time_ms?;
        (since(t.started, env.now) / 1000 >= limit).then(|| since(t.single, env.now) / 1000)
    }

    fn info(&self, text: &str, env: &mut Env<'_>) {
        if self.o.verbose {
            env.console.err(format!("* {text}\n"));
        }
    }

    /// What it has to say about its options.
    fn warn(&self, env: &mut Env<'_>) {
        show::method(&self.o, env.console);
    }
}

/// How often it asks who is who when it is connected; with TLS, before the handshake and in all.
const NAMES: usize = 5;
const NAMES_BEFORE_TLS: usize = 3;
const NAMES_WITH_TLS: usize = 7;

/// Microseconds.
fn since(then: Time, now: Time) -> u64 {
    (now - then) / US
}
