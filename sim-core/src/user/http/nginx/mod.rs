//! `nginx [PORT] [ROOT]`: a worker of nginx 1.22.1 that serves files, with nginx's own settings where nothing is said:
//! sendfile off, keepalive_timeout 75 s, no log of requests. Port and root stand for `listen` and `root` of its
//! configuration.
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
/// What it computes: between epoll_wait and accept4, for a request, to end one. Measured with strace -r.
const ACCEPT_COST_NS: u64 = 10_000;
const REQUEST_COST_NS: u64 = 60_000;
const END_COST_NS: u64 = 5_000;

/// The server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nginx {
    port: u16,
    root: String,
    at: At,
    listener: Fd,
    connections: BTreeMap<Fd, Connection>,
    /// What poll told and nobody has looked at yet.
    events: VecDeque<(Fd, Ready)>,
    /// What poll was asked.
    asked: Vec<Fd>,
    /// ngx_current_msec: the time when poll returned, in milliseconds.
    now_ms: u64,
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
    let (mut port, mut root) = (DEFAULT_PORT, DEFAULT_ROOT.to_owned());
    let hint = "write `nginx`, `nginx PORT` or `nginx PORT ROOT`";
    for (n, word) in words.iter().enumerate() {
        let text = word.text.as_str();
        match n {
            0 => match text.parse::<u16>() {
                Ok(number) if number > 0 && text.bytes().all(|b| b.is_ascii_digit()) => port = number,
                _ => return Err(SyntaxError::at(word, format!("nginx: {text} is not a port")).hint(hint)),
            },
            1 if text.starts_with('/') => root = text.trim_end_matches('/').to_owned(),
            1 => return Err(SyntaxError::at(word, format!("nginx: the root {text} is no absolute path")).hint(hint)),
            _ => return Err(SyntaxError::at(word, "nginx: takes a port and a root").hint(hint)),
        }
    }
    Ok(Nginx {
        port,
        root,
        at: At::Start,
        listener: Fd(0),
        connections: BTreeMap::new(),
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
                At::Bind => format!("bind() to 0.0.0.0:{} failed", self.port),
                At::Listen => format!("listen() to 0.0.0.0:{}, backlog {BACKLOG} failed", self.port),
                _ => format!("socket() 0.0.0.0:{} failed", self.port),
            };
            env.console.err(format!("nginx: [emerg] {what} ({}: {e})\n", e.number()));
            return Call::Exit(1);
        }
        let fd = self.listener;
        match self.at {
            At::Start => self.call(At::Socket, Call::Socket(SocketKind::Tcp)),
            At::Socket => {
                if let Ret::Fd(fd) = ret {
                    self.listener = *fd;
                }
                let (fd, opt) = (self.listener, SockOpt::ReuseAddr(true));
                self.call(At::ReuseAddr, Call::SetSockOpt { fd, opt })
            }
            At::ReuseAddr => self.call(At::NonBlock, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) }),
            At::NonBlock => {
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port);
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
        let fds: Vec<PollFd> =
            listener.into_iter().chain(self.connections.iter().map(|(fd, c)| c.wants(*fd))).collect();
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
                self.connections.insert(fd, Connection::new(self.now_ms));
                self.next(env)
            }
            _ => self.next(env),
        }
    }

    /// A connection's call, or its end, or the next event.
    fn go_on(&mut self, fd: Fd, next: Next, env: &mut Env<'_>) -> Call {
        let at = At::Connection(fd);
        match next {
            Next::Answer => {
                let site = Site {
                    files: env.files,
                    root: &self.root,
                    port: self.port,
                    now_s: (env.epoch_ns + env.now.0) / SEC,
                };
                env.spent_ns += REQUEST_COST_NS;
                let next = self.connections.get_mut(&fd).map_or(Next::Wait, |c| c.answer(&site));
                self.go_on(fd, next, env)
            }
            Next::Wait => self.next(env),
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
            At::Connection(fd) => {
                let now_ms = self.now_ms;
                let next = match (self.connections.get_mut(&fd), ret) {
                    (None, _) => Next::Wait,
                    (Some(c), Ret::Err(Errno::EAGAIN)) => c.blocked(now_ms),
                    (Some(_), Ret::Err(_)) => Next::Close,
                    (Some(c), ret) => c.returned(ret, now_ms),
                };
                self.go_on(fd, next, env)
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
