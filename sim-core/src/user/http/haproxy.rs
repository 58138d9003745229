//! `haproxy [PORT [ssl NAMES]] [FILE]`: HAProxy 2.6.12 in mode http whose backend has no server, as a Kubernetes router
//! without a route for the host: each request is answered with the `errorfile` for 503, or HAProxy's own, and the
//! connection is closed.
//!
//! Differs: HAProxy closes its socket at once when it has shut it down, and what the client still sends is answered
//! with a RST. The HAProxy 2.2 of a router was seen to wait for the client's end (`timeout client-fin`), and so does
//! this one.

use super::listen::Listen;
use super::secure::{Secure, Style, Turn};
use crate::base::files::{Content, Found};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, Shutdown, SockOpt, SocketKind};
use crate::user::tls;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

const DEFAULT_PORT: u16 = 80;
/// Its backlog: maxconn.
const BACKLOG: u32 = 4096;
/// As many connections at once; who comes then waits in the backlog.
const MAX_CONNECTIONS: usize = 4096;
/// tune.bufsize: a request's head is no longer, and so much is read at once.
const BUFFER: usize = 16_384;
/// What it computes for a request, as measured. Nanoseconds.
const REQUEST_COST_NS: u64 = 60_000;
/// The answer to what is no request.
const BAD_REQUEST: &str = "HTTP/1.1 400 Bad request\r\ncontent-length: 90\r\ncache-control: no-cache\r\n\
    content-type: text/html\r\nconnection: close\r\n\r\n<html><body><h1>400 Bad request</h1>\n\
    Your browser sent an invalid request.\n</body></html>\n";
/// The answer without a file.
const NO_SERVER: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 107\r\ncache-control: no-cache\r\n\
    content-type: text/html\r\nconnection: close\r\n\r\n<html><body><h1>503 Service Unavailable</h1>\n\
    No server is available to handle this request.\n</body></html>\n";

/// The server.
#[derive(Clone, Debug)]
pub struct HaProxy {
    listen: Listen,
    /// errorfile 503
    file: Option<String>,
    tls: Option<tls::Server>,
    at: At,
    listener: Fd,
    connections: BTreeMap<Fd, Connection>,
    accepted: u64,
    events: VecDeque<(Fd, Ready)>,
    asked: Vec<Fd>,
}

/// What the last system call was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    NonBlock,
    ReuseAddr,
    Bind,
    Listen,
    Poll,
    Accept,
    NoDelay(Fd),
    /// A connection's own.
    Connection(Fd),
    Close,
}

/// A client's connection.
#[derive(Clone, Debug)]
struct Connection {
    state: State,
    secure: Option<Secure>,
    /// What has come of a request.
    head: Vec<u8>,
    /// What is to be sent.
    out: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Reads a request.
    Request,
    Answer,
    /// The stream ends: with TLS, a close_notify first.
    Shutdown,
    /// Waits for the client's end.
    Fin,
}

/// Reads the words behind the name.
pub(in crate::user) fn parse(words: &[Word]) -> Result<HaProxy, SyntaxError> {
    let hint = "write `haproxy PORT`, `haproxy PORT FILE` or `haproxy PORT ssl NAME,NAME FILE`";
    let (listen, words) = Listen::parse("haproxy", words, DEFAULT_PORT).map_err(|e| e.hint(hint))?;
    let file = match words {
        [] => None,
        [word] if word.text.starts_with('/') => Some(word.text.clone()),
        [word] => {
            let message = format!("haproxy: the file {} is no absolute path", word.text);
            return Err(SyntaxError::at(word, message).hint(hint));
        }
        [_, word, ..] => return Err(SyntaxError::at(word, "haproxy: takes a port and a file").hint(hint)),
    };
    Ok(HaProxy {
        listen,
        file,
        tls: None,
        at: At::Start,
        listener: Fd(0),
        connections: BTreeMap::new(),
        accepted: 0,
        events: VecDeque::new(),
        asked: Vec::new(),
    })
}

impl HaProxy {
    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    /// The way to listen(2).
    fn start(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        let port = self.listen.port;
        if let Ret::Err(e) = ret {
            let what = if self.at == At::Bind { "cannot bind socket" } else { "cannot create listening socket" };
            env.console.err(format!("[ALERT] Binding for proxy: {what} ({e}) [0.0.0.0:{port}]\n"));
            return Call::Exit(1);
        }
        let fd = self.listener;
        match self.at {
            At::Start => {
                if let Some(names) = &self.listen.names {
                    match tls::Server::named(names, &[], env) {
                        Ok(server) => self.tls = Some(server),
                        Err(failure) => {
                            env.console.err(format!("[ALERT] unable to load certificate: {}\n", failure.text()));
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
                let fd = self.listener;
                self.call(At::NonBlock, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) })
            }
            At::NonBlock => self.call(At::ReuseAddr, Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) }),
            At::ReuseAddr => {
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
                self.call(At::Bind, Call::Bind { fd, addr })
            }
            At::Bind => self.call(At::Listen, Call::Listen { fd, backlog: BACKLOG }),
            _ => self.poll(),
        }
    }

    /// Whoever has something to do; then waits.
    fn next(&mut self, env: &mut Env<'_>) -> Call {
        while let Some((fd, _)) = self.events.pop_front() {
            if fd == self.listener {
                return self.call(At::Accept, Call::Accept { fd, nonblock: true });
            }
            if self.connections.contains_key(&fd) {
                return self.go_on(fd, env);
            }
        }
        self.poll()
    }

    fn poll(&mut self) -> Call {
        let room = self.connections.len() < MAX_CONNECTIONS;
        let listener = room.then(|| PollFd::read(self.listener));
        let wants = |(fd, c): (&Fd, &Connection)| match c.state {
            State::Request if c.secure.as_ref().is_some_and(Secure::is_blocked) => PollFd::write(*fd),
            State::Request | State::Fin => PollFd::read(*fd),
            State::Answer | State::Shutdown => PollFd::write(*fd),
        };
        let fds: Vec<PollFd> = listener.into_iter().chain(self.connections.iter().map(wants)).collect();
        self.asked = fds.iter().map(|f| f.fd).collect();
        self.call(At::Poll, Call::Poll { fds, timeout_ns: None })
    }

    /// What a connection does in its state.
    fn go_on(&mut self, fd: Fd, env: &mut Env<'_>) -> Call {
        let Some(c) = self.connections.get_mut(&fd) else { return self.next(env) };
        let recv = Call::Recv { fd, size: BUFFER, dontwait: false, errqueue: false };
        let turn = match (c.state, &mut c.secure) {
            (State::Request, Some(secure)) => secure.recv(fd, BUFFER),
            (State::Answer, Some(secure)) => secure.send(fd, &c.out, true),
            (State::Shutdown, Some(secure)) => secure.leave(fd),
            (State::Request | State::Fin, _) => Turn::Call(recv),
            (State::Answer, None) => Turn::Call(Call::Send { fd, to: None, data: c.out.clone() }),
            (State::Shutdown, None) => Turn::Call(Call::Shutdown { fd, how: Shutdown::Write }),
        };
        self.turn(fd, turn, env)
    }

    fn turn(&mut self, fd: Fd, turn: Turn, env: &mut Env<'_>) -> Call {
        match turn {
            Turn::Call(call) => self.call(At::Connection(fd), call),
            Turn::Return(ret) => self.returned(fd, &ret, env),
            Turn::NoTls(_) => self.close(fd),
            Turn::Left => {
                if let Some(c) = self.connections.get_mut(&fd) {
                    c.secure = None;
                }
                self.go_on(fd, env)
            }
        }
    }

    /// What a connection asked for is there.
    fn returned(&mut self, fd: Fd, ret: &Ret, env: &mut Env<'_>) -> Call {
        let Some(c) = self.connections.get_mut(&fd) else { return self.next(env) };
        match (c.state, ret) {
            (_, Ret::Err(Errno::EAGAIN)) => return self.next(env),
            (State::Request, Ret::Data(data)) => {
                c.head.extend(data);
                let Some(answer) = answer(&c.head, self.file.as_deref(), env) else { return self.go_on(fd, env) };
                env.spent_ns += REQUEST_COST_NS;
                (c.out, c.state) = (answer, State::Answer);
            }
            (State::Answer, Ret::Sent(n)) => {
                c.out.drain(..(*n).min(c.out.len()));
                if c.out.is_empty() {
                    c.state = State::Shutdown;
                }
            }
            (State::Shutdown, Ret::Done) => {
                c.state = State::Fin;
                return self.next(env);
            }
            (State::Fin, Ret::Data(_)) => {}
            _ => return self.close(fd),
        }
        self.go_on(fd, env)
    }

    fn close(&mut self, fd: Fd) -> Call {
        self.connections.remove(&fd);
        self.call(At::Close, Call::Close { fd })
    }
}

impl Program for HaProxy {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match self.at {
            At::Start | At::Socket | At::NonBlock | At::ReuseAddr | At::Bind | At::Listen => self.start(&ret, env),
            At::Poll => {
                if let Ret::Poll(ready) = ret {
                    let told = self.asked.iter().copied().zip(ready);
                    self.events = told.filter(|(_, r)| r.any()).collect();
                }
                self.next(env)
            }
            At::Accept => match ret {
                Ret::Accepted { fd, .. } => {
                    self.accepted += 1;
                    let number = self.accepted;
                    let secure = self.tls.as_ref().and_then(|t| Secure::new(t, Style::Records, number, env));
                    let connection = Connection { state: State::Request, secure, head: vec![], out: vec![] };
                    self.connections.insert(fd, connection);
                    self.call(At::NoDelay(fd), Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) })
                }
                _ => self.next(env),
            },
            // It looks at once whether the client has sent something.
            At::NoDelay(fd) => self.go_on(fd, env),
            At::Connection(fd) => match self.connections.get_mut(&fd).and_then(|c| c.secure.as_mut()) {
                Some(secure) => {
                    let turn = secure.returned(fd, ret, env);
                    self.turn(fd, turn, env)
                }
                None => self.returned(fd, &ret, env),
            },
            At::Close => self.next(env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// The answer to what has come; none before the head is complete.
fn answer(head: &[u8], file: Option<&str>, env: &Env<'_>) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; 101];
    match httparse::Request::new(&mut fields).parse(head) {
        Ok(httparse::Status::Partial) if head.len() < BUFFER => None,
        Ok(httparse::Status::Complete(_)) => Some(match file.map(|path| env.files.find(path)) {
            Some(Found::File(file)) => match &file.content {
                Content::Text(text) => rewritten(text).into_bytes(),
                Content::Fill { .. } => NO_SERVER.as_bytes().to_vec(),
            },
            _ => NO_SERVER.as_bytes().to_vec(),
        }),
        _ => Some(BAD_REQUEST.as_bytes().to_vec()),
    }
}

/// An errorfile as it is sent: names of fields in small letters, no `Connection` (HTX).
fn rewritten(file: &str) -> String {
    let lines = file.replace("\r\n", "\n");
    let (head, body) = lines.split_once("\n\n").unwrap_or((&lines, ""));
    let mut head = head.lines();
    let mut text = format!("{}\r\n", head.next().unwrap_or_default());
    for (name, value) in head.filter_map(|line| line.split_once(':')) {
        if !name.eq_ignore_ascii_case("connection") {
            text += &format!("{}:{value}\r\n", name.to_ascii_lowercase());
        }
    }
    text + "\r\n" + body
}
