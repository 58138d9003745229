//! `nginx [PORT [ssl NAMES]] [ROOT]`: a worker of nginx 1.22.1 that serves files, with nginx's own settings where
//! nothing is said: sendfile off, keepalive_timeout 75 s, no log of requests. Port and root stand for `listen` and
//! `root` of its configuration; with `ssl` it speaks TLS 1.3, and its certificate is for NAMES, with commas between
//! them.
//!
//! Differs: epoll tells of events in the order in which they came; here the sockets come in the order of their numbers.

mod connection;
mod request;
mod response;

use crate::base::time::{MS, SEC};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, SockOpt, SocketKind};
use crate::user::http::listen::Listen;
use crate::user::http::secure::{Secure, Style, Turn};
use crate::user::tls;
use connection::{Connection, Next};
use response::Site;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// NGX_LISTEN_BACKLOG
const BACKLOG: u32 = 511;
/// worker_connections: a connection above it is closed at once.
const MAX_CONNECTIONS: usize = 512;
/// Its compiled-in prefix in Debian, with the default of `root`.
const DEFAULT_ROOT: &str = "/usr/share/nginx/html";
const DEFAULT_PORT: u16 = 80;
/// The protocols that it knows, the best first (NGX_HTTP_ALPN_PROTOS).
const ALPN: [&str; 3] = ["http/1.1", "http/1.0", "http/0.9"];
/// What it computes: between epoll_wait and accept4, for a request, to end one. Measured with strace -r.
const ACCEPT_COST_NS: u64 = 10_000;
const REQUEST_COST_NS: u64 = 60_000;
const END_COST_NS: u64 = 5_000;

/// The server.
#[derive(Clone, Debug)]
pub struct Nginx {
    listen: Listen,
    root: String,
    at: At,
    listener: Fd,
    connections: BTreeMap<Fd, Connection>,
    /// Its certificate, once it has started.
    tls: Option<tls::Server>,
    secure: BTreeMap<Fd, Tls>,
    /// Connections accepted so far.
    accepted: u64,
    /// What poll told and nobody has looked at yet.
    events: VecDeque<(Fd, Ready)>,
    /// What poll was asked.
    asked: Vec<Fd>,
    /// ngx_current_msec: the time when poll returned, in milliseconds.
    now_ms: u64,
}

/// The TLS of a connection, and how the connection ends when the client was told.
#[derive(Clone, Debug)]
struct Tls {
    secure: Secure,
    then: Next,
}

/// What the last system call was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    ReuseAddr,
    NonBlock,
    Bind,
    Listen,
    Poll,
    Accept,
    /// A connection's own.
    Connection(Fd),
    Close,
}

/// Reads the words behind the name.
pub(in crate::user) fn parse(words: &[Word]) -> Result<Nginx, SyntaxError> {
    let hint = "write `nginx`, `nginx PORT`, `nginx PORT ROOT` or `nginx PORT ssl NAME,NAME ROOT`";
    let (listen, words) = Listen::parse("nginx", words, DEFAULT_PORT).map_err(|e| e.hint(hint))?;
    let root = match words {
        [] => DEFAULT_ROOT,
        [word] if word.text.starts_with('/') => word.text.trim_end_matches('/'),
        [word] => {
            let message = format!("nginx: the root {} is no absolute path", word.text);
            return Err(SyntaxError::at(word, message).hint(hint));
        }
        [_, word, ..] => return Err(SyntaxError::at(word, "nginx: takes a port and a root").hint(hint)),
    };
    Ok(Nginx {
        listen,
        root: root.to_owned(),
        at: At::Start,
        listener: Fd(0),
        connections: BTreeMap::new(),
        tls: None,
        secure: BTreeMap::new(),
        accepted: 0,
        events: VecDeque::new(),
        asked: Vec::new(),
        now_ms: 0,
    })
}

impl Nginx {
    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    /// The way to listen(2); then waits for the first client.
    fn start(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        if let Ret::Err(e) = ret {
            let what = match self.at {
                At::Bind => format!("bind() to 0.0.0.0:{} failed", self.listen.port),
                At::Listen => format!("listen() to 0.0.0.0:{}, backlog {BACKLOG} failed", self.listen.port),
                _ => format!("socket() 0.0.0.0:{} failed", self.listen.port),
            };
            env.console.err(format!("nginx: [emerg] {what} ({}: {e})\n", e.number()));
            return Call::Exit(1);
        }
        let fd = self.listener;
        match self.at {
            At::Start => {
                if let Some(names) = &self.listen.names {
                    match tls::Server::named(names, &ALPN, env) {
                        Ok(server) => self.tls = Some(server),
                        Err(failure) => {
                            env.console.err(format!("nginx: [emerg] cannot load certificate: {}\n", failure.text()));
                            return Call::Exit(1);
                        }
                    }
                }
                self.call(At::Socket, Call::Socket(SocketKind::Tcp))
            }
            At::Socket => {
                if let Ret::Fd(fd) = ret {
                    self.listener = *fd;
                }
                let (fd, opt) = (self.listener, SockOpt::ReuseAddr(true));
                self.call(At::ReuseAddr, Call::SetSockOpt { fd, opt })
            }
            At::ReuseAddr => self.call(At::NonBlock, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) }),
            At::NonBlock => {
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.listen.port);
                self.call(At::Bind, Call::Bind { fd, addr })
            }
            At::Bind => self.call(At::Listen, Call::Listen { fd, backlog: BACKLOG }),
            _ => self.poll(),
        }
    }

    /// The next event; if there is none, what timed out; then waits.
    fn next(&mut self, env: &mut Env<'_>) -> Call {
        while let Some((fd, ready)) = self.events.pop_front() {
            if fd == self.listener {
                env.spent_ns = ACCEPT_COST_NS;
                return self.call(At::Accept, Call::Accept { fd, nonblock: true });
            }
            if let Some(tls) = self.secure.get_mut(&fd).filter(|tls| tls.secure.is_blocked()) {
                let turn = tls.secure.resume(fd);
                return self.turn(fd, turn, env);
            }
            let next = self.connections.get_mut(&fd).and_then(|c| c.ready(ready));
            if let Some(next) = next {
                return self.go_on(fd, next, env);
            }
        }
        let late = self.connections.iter().filter(|(_, c)| c.timer_ms.is_some_and(|t| t <= self.now_ms));
        if let Some((fd, _)) = late.min_by_key(|(_, c)| c.timer_ms) {
            let fd = *fd;
            return self.go_on(fd, Next::Close, env);
        }
        self.poll()
    }

    /// epoll_wait(2), until something happens or the first timer is due.
    fn poll(&mut self) -> Call {
        let listener = [PollFd::read(self.listener)];
        let wants = |(fd, c): (&Fd, &Connection)| match self.secure.get(fd) {
            Some(tls) if tls.secure.is_blocked() => PollFd::write(*fd),
            _ => c.wants(*fd),
        };
        let fds: Vec<PollFd> = listener.into_iter().chain(self.connections.iter().map(wants)).collect();
        self.asked = fds.iter().map(|f| f.fd).collect();
        let first = self.connections.values().filter_map(|c| c.timer_ms).min();
        let timeout_ns = first.map(|t| t.saturating_sub(self.now_ms) * MS);
        self.call(At::Poll, Call::Poll { fds, timeout_ns })
    }

    fn polled(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        self.now_ms = env.now.0 / MS;
        if let Ret::Poll(ready) = ret {
            self.events = self.asked.iter().copied().zip(ready.iter().copied()).filter(|(_, r)| r.any()).collect();
        }
        self.next(env)
    }

    fn accepted(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        match *ret {
            Ret::Accepted { fd, .. } if self.connections.len() >= MAX_CONNECTIONS => {
                self.call(At::Close, Call::Close { fd })
            }
            Ret::Accepted { fd, .. } => {
                self.accepted += 1;
                let mut connection = Connection::new(self.now_ms);
                let secure = self.tls.as_ref().and_then(|t| Secure::new(t, Style::ReadAhead, self.accepted, env));
                if let Some(secure) = secure {
                    connection.nodelay = true;
                    self.secure.insert(fd, Tls { secure, then: Next::Wait });
                }
                self.connections.insert(fd, connection);
                self.next(env)
            }
            _ => self.next(env),
        }
    }

    /// A connection's call, or its end, or the next event.
    fn go_on(&mut self, fd: Fd, next: Next, env: &mut Env<'_>) -> Call {
        match next {
            Next::Answer => {
                let site = Site {
                    files: env.files,
                    root: &self.root,
                    scheme: if self.secure.contains_key(&fd) { "https" } else { "http" },
                    port: self.listen.port,
                    now_s: (env.epoch_ns + env.now.0) / SEC,
                };
                env.spent_ns += REQUEST_COST_NS;
                let next = self.connections.get_mut(&fd).map_or(Next::Wait, |c| c.answer(&site));
                self.go_on(fd, next, env)
            }
            Next::Wait => self.next(env),
            next => match self.secure.get_mut(&fd) {
                None => self.perform(fd, next, env),
                Some(tls) => {
                    let turn = match next {
                        Next::Recv(size) => tls.secure.recv(fd, size),
                        Next::Send(data) => {
                            let last = self.connections.get(&fd).is_none_or(Connection::is_last);
                            tls.secure.send(fd, &data, last)
                        }
                        next => {
                            tls.then = next;
                            tls.secure.leave(fd)
                        }
                    };
                    self.turn(fd, turn, env)
                }
            },
        }
    }

    /// What came of TLS.
    fn turn(&mut self, fd: Fd, turn: Turn, env: &mut Env<'_>) -> Call {
        match turn {
            Turn::Call(call) => self.call(At::Connection(fd), call),
            Turn::Return(ret) => self.returned(fd, ret, env),
            Turn::NoTls(data) => {
                self.secure.remove(&fd);
                if let Some(c) = self.connections.get_mut(&fd) {
                    c.misdirected = true;
                }
                self.returned(fd, Ret::Data(data), env)
            }
            Turn::Left => {
                let then = self.secure.remove(&fd).map_or(Next::Close, |tls| tls.then);
                self.perform(fd, then, env)
            }
        }
    }

    /// What a connection asked for is there.
    fn returned(&mut self, fd: Fd, ret: Ret, env: &mut Env<'_>) -> Call {
        let now_ms = self.now_ms;
        let next = match (self.connections.get_mut(&fd), ret) {
            (None, _) => Next::Wait,
            (Some(c), Ret::Err(Errno::EAGAIN)) => c.blocked(now_ms),
            (Some(_), Ret::Err(_)) => {
                // Nobody is there to be told.
                self.secure.remove(&fd);
                Next::Close
            }
            (Some(c), ret) => c.returned(ret, now_ms),
        };
        self.go_on(fd, next, env)
    }

    /// The system call that a connection makes.
    fn perform(&mut self, fd: Fd, next: Next, env: &mut Env<'_>) -> Call {
        let at = At::Connection(fd);
        match next {
            Next::Answer | Next::Wait => self.next(env),
            Next::Recv(size) => self.call(at, Call::Recv { fd, size, dontwait: false, errqueue: false }),
            Next::Send(data) => self.call(at, Call::Send { fd, to: None, data }),
            Next::NoDelay => self.call(at, Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) }),
            Next::Shutdown => {
                env.spent_ns += END_COST_NS;
                self.call(at, Call::Shutdown { fd, how: crate::kernel::syscall::Shutdown::Write })
            }
            Next::Close => {
                env.spent_ns += END_COST_NS;
                self.connections.remove(&fd);
                self.call(At::Close, Call::Close { fd })
            }
        }
    }
}

impl Program for Nginx {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match self.at {
            At::Start | At::Socket | At::ReuseAddr | At::NonBlock | At::Bind | At::Listen => self.start(&ret, env),
            At::Poll => self.polled(&ret, env),
            At::Accept => self.accepted(&ret, env),
            At::Close => self.next(env),
            At::Connection(fd) => match self.secure.get_mut(&fd) {
                Some(tls) => {
                    let turn = tls.secure.returned(fd, ret, env);
                    self.turn(fd, turn, env)
                }
                None => self.returned(fd, ret, env),
            },
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
