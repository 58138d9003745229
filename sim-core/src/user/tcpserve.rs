//! Servers of streams: `slowd PORT` and `tcpecho PORT`. They run until the run ends and serve all connections side by
//! side, as a program with a thread for each: each connection waits for itself.
//!
//! `slowd` reads lines of a delay in seconds and a size, and sends so many bytes after that delay, the next line after
//! that: what an application does that takes its time. Its sockets have TCP_NODELAY. `tcpecho` sends back what it gets.
//! Both close a connection when its peer has ended the stream and all is answered.

use crate::base::Time;
use crate::base::time::US;
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, SockOpt, SocketKind};
use std::net::{Ipv4Addr, SocketAddrV4};

/// As many connections are open at once; more wait to be accepted.
pub const MAX_CONNECTIONS: usize = 1024;
/// A line of slowd that is longer than this is none.
const MAX_LINE: usize = 1 << 20;
/// slowd sends so many bytes for a line at most.
const MAX_ANSWER: usize = 1 << 24;
/// listen(2) of both.
const BACKLOG: u32 = 16;
/// From accept to a thread that serves the connection.
const THREAD_NS: u64 = 100 * US;
/// From the return of a call to the next one.
const WORK_NS: u64 = 20 * US;

/// What a server does with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Service {
    /// slowd
    Slow,
    /// tcpecho
    Echo,
}

/// The server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpServer {
    service: Service,
    port: u16,
    at: At,
    listener: Fd,
    connections: Vec<Connection>,
}

/// The call that was made; of which connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    ReuseAddr,
    Bind,
    Listen,
    NonBlock,
    Poll,
    Accept,
    NoDelay(usize),
    Recv(usize),
    Send(usize),
    Close,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Connection {
    fd: Fd,
    input: Vec<u8>,
    /// What is to be sent.
    output: Output,
    /// It sleeps until then.
    wakes: Option<Time>,
    /// Nothing more comes.
    eof: bool,
    /// The last call would have waited: poll tells when it is worth another.
    blocked: bool,
    /// TCP_NODELAY is set, or not wanted.
    ready: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Output {
    Bytes(Vec<u8>),
    /// So many times `x`.
    Size(usize),
}

/// What a connection does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    NoDelay,
    Read,
    Write,
    Sleep(Time),
    Close,
}

/// Reads the words behind the name.
pub(super) fn parse(name: &Word, words: &[Word], service: Service) -> Result<TcpServer, SyntaxError> {
    let port = super::args::port(name, words)?;
    Ok(TcpServer { service, port, at: At::Start, listener: Fd(0), connections: vec![] })
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::Slow => "slowd",
            Service::Echo => "tcpecho",
        }
    }

    fn recv_size(self) -> usize {
        match self {
            // io.DEFAULT_BUFFER_SIZE of Python's makefile.
            Service::Slow => 8192,
            Service::Echo => 65_536,
        }
    }
}

impl TcpServer {
    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    /// The next call of the first connection that can go on; poll if none can.
    fn serve(&mut self, env: &mut Env<'_>) -> Call {
        for n in 0..self.connections.len() {
            let connection = &mut self.connections[n];
            let next = connection.next(self.service, env.now);
            if connection.blocked {
                continue;
            }
            let fd = connection.fd;
            env.spent_ns = if next == Next::NoDelay { THREAD_NS } else { WORK_NS };
            match next {
                Next::NoDelay => {
                    return self.call(At::NoDelay(n), Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) });
                }
                Next::Read => {
                    let size = self.service.recv_size();
                    return self.call(At::Recv(n), Call::Recv { fd, size, dontwait: true, errqueue: false });
                }
                Next::Write => {
                    let data = self.connections[n].output.bytes();
                    return self.call(At::Send(n), Call::Send { fd, to: None, data });
                }
                Next::Sleep(_) => {}
                Next::Close => {
                    self.connections.remove(n);
                    return self.call(At::Close, Call::Close { fd });
                }
            }
        }
        env.spent_ns = 0;
        self.poll(env.now)
    }

    fn poll(&mut self, now: Time) -> Call {
        let (mut fds, mut wakes) = (vec![], None::<Time>);
        if self.connections.len() < MAX_CONNECTIONS {
            fds.push(PollFd::read(self.listener));
        }
        for connection in &mut self.connections {
            match connection.next(self.service, now) {
                Next::Sleep(at) => wakes = Some(wakes.map_or(at, |w| w.min(at))),
                Next::Write => fds.push(PollFd::write(connection.fd)),
                _ => fds.push(PollFd::read(connection.fd)),
            }
        }
        self.call(At::Poll, Call::Poll { fds, timeout_ns: wakes.map(|at| at - now) })
    }

    /// poll has returned: who is ready goes on.
    fn polled(&mut self, ready: &[Ready], env: &mut Env<'_>) -> Call {
        let mut ready = ready.iter().copied();
        let listener = self.connections.len() < MAX_CONNECTIONS && ready.next().is_some_and(Ready::any);
        for connection in self.connections.iter_mut().filter(|c| c.wakes.is_none()) {
            connection.blocked = !ready.next().is_some_and(Ready::any);
        }
        if listener {
            return self.call(At::Accept, Call::Accept { fd: self.listener, nonblock: true });
        }
        self.serve(env)
    }

    /// Before the first client: the calls one after the other.
    fn start(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let fd = self.listener;
        match (self.at, ret) {
            (_, Ret::Err(e)) => {
                env.console.err(format!("{} {}: {e}\n", self.service.name(), self.port));
                Call::Exit(1)
            }
            (At::Socket, Ret::Fd(fd)) => {
                self.listener = fd;
                self.call(At::ReuseAddr, Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) })
            }
            (At::ReuseAddr, _) => {
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port);
                self.call(At::Bind, Call::Bind { fd, addr })
            }
            (At::Bind, _) => self.call(At::Listen, Call::Listen { fd, backlog: BACKLOG }),
            (At::Listen, _) => self.call(At::NonBlock, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) }),
            _ => self.call(At::Socket, Call::Socket(SocketKind::Tcp)),
        }
    }
}

impl Connection {
    /// What is next; a line that was received is taken, a sleep that is over ends.
    fn next(&mut self, service: Service, now: Time) -> Next {
        if !self.ready {
            return Next::NoDelay;
        }
        if let Some(at) = self.wakes {
            if at > now {
                return Next::Sleep(at);
            }
            self.wakes = None;
        }
        if self.output.len() > 0 {
            return Next::Write;
        }
        match service {
            Service::Echo if !self.input.is_empty() => {
                self.output = Output::Bytes(std::mem::take(&mut self.input));
                Next::Write
            }
            Service::Echo => {
                if self.eof {
                    Next::Close
                } else {
                    Next::Read
                }
            }
            Service::Slow => self.next_line(now),
        }
    }

    fn next_line(&mut self, now: Time) -> Next {
        loop {
            match self.line() {
                Line::None if self.eof => return Next::Close,
                Line::None => return Next::Read,
                Line::Bad => return Next::Close,
                Line::Answer { delay_ns: 0, size: 0 } => {}
                Line::Answer { delay_ns, size } => {
                    (self.output, self.blocked) = (Output::Size(size), false);
                    if delay_ns == 0 {
                        return Next::Write;
                    }
                    self.wakes = Some(now + delay_ns);
                    return Next::Sleep(now + delay_ns);
                }
            }
        }
    }

    /// Takes the next line of the input: a delay and a size.
    fn line(&mut self) -> Line {
        let end = self.input.iter().position(|b| *b == b'\n');
        let end = match end {
            Some(end) => end,
            None if self.input.len() > MAX_LINE => return Line::Bad,
            None if self.eof && !self.input.is_empty() => self.input.len(),
            None => return Line::None,
        };
        let line: Vec<u8> = self.input.drain(..(end + 1).min(self.input.len())).collect();
        let text = String::from_utf8_lossy(&line);
        let mut words = text.split_ascii_whitespace();
        match (words.next().and_then(seconds), words.next().and_then(|w| w.parse().ok()), words.next()) {
            (Some(delay_ns), Some(size), None) if size <= MAX_ANSWER => Line::Answer { delay_ns, size },
            _ => Line::Bad,
        }
    }
}

/// A line that slowd has read.
enum Line {
    /// Not yet there.
    None,
    Bad,
    Answer {
        delay_ns: u64,
        size: usize,
    },
}

/// A number of seconds with up to nine decimals, in nanoseconds.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() > 6 || fraction.len() > 9 || whole.len() + fraction.len() == 0
    {
        return None;
    }
    format!("0{whole}{fraction:0<9}").parse().ok()
}

impl Output {
    fn len(&self) -> usize {
        match self {
            Output::Bytes(bytes) => bytes.len(),
            Output::Size(size) => *size,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Output::Bytes(bytes) => bytes.clone(),
            Output::Size(size) => vec![b'x'; *size],
        }
    }

    fn sent(&mut self, n: usize) {
        match self {
            Output::Bytes(bytes) => drop(bytes.drain(..n.min(bytes.len()))),
            Output::Size(size) => *size -= n.min(*size),
        }
    }
}

impl Program for TcpServer {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.at, ret) {
            (At::Start | At::Socket | At::ReuseAddr | At::Bind | At::Listen, ret) => return self.start(ret, env),
            (At::Poll, Ret::Poll(ready)) => return self.polled(&ready, env),
            (At::Accept, Ret::Accepted { fd, .. }) => {
                let (output, ready) = (Output::Size(0), self.service == Service::Echo);
                let input = vec![];
                self.connections.push(Connection { fd, input, output, wakes: None, eof: false, blocked: false, ready });
            }
            (At::NoDelay(n), _) => self.connections[n].ready = true,
            (At::Recv(n) | At::Send(n), Ret::Err(Errno::EAGAIN)) => self.connections[n].blocked = true,
            (At::Recv(n), Ret::Data(data)) => self.connections[n].input.extend(data),
            (At::Recv(n), Ret::Eof) => self.connections[n].eof = true,
            (At::Send(n), Ret::Sent(sent)) => self.connections[n].output.sent(sent),
            // A connection that is broken.
            (At::Recv(n) | At::Send(n), Ret::Err(_)) => {
                let Connection { fd, .. } = self.connections.remove(n);
                return self.call(At::Close, Call::Close { fd });
            }
            _ => {}
        }
        self.serve(env)
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::script::words;
    use crate::user::stream::{Done, follow};

    const START: &str = "
        socket(tcp) = 3
        setsockopt(3, ReuseAddr(true)) = 0
        bind(3, 0.0.0.0:9000) = 0
        listen(3, 16) = 0
        nonblock(3, 1) = 0
    ";

    fn run(line: &str, log: &str) -> Done {
        let server = crate::user::parse_server(&words(line)).unwrap();
        follow(server.into_program(), log)
    }

    #[test]
    fn slowd_answers_line_by_line() {
        let log = r#"
            poll(3r, -1) = r
            accept(3, nonblock) = 4 from 10.0.0.1:4000
            setsockopt(4, NoDelay(true)) = 0
            recv(4, 8192) = "0 100\n0.3 100\n0"
            send(4, 100) = 100
            +300 poll(3r, 300) = 0
            send(4, 100) = 100
            recv(4, 8192) = EAGAIN
            poll(3r 4r, -1) = - r
            recv(4, 8192) = " 5\n"
            send(4, 5) = 3
            send(4, 2) = EAGAIN
            poll(3r 4w, -1) = - w
            send(4, 2) = 2
            recv(4, 8192) = "0 1"
            recv(4, 8192) = 0
            send(4, 1) = 1
            close(4) = 0
            poll(3r, -1) = r
        "#;
        assert_eq!(
            run("slowd 9000", &format!("{START}{log}accept(3, nonblock) = EAGAIN\npoll(3r, -1) = r")).code,
            None
        );
    }

    #[test]
    fn slowd_serves_side_by_side() {
        let log = r#"
            poll(3r, -1) = r
            accept(3, nonblock) = 4 from 10.0.0.1:4000
            setsockopt(4, NoDelay(true)) = 0
            recv(4, 8192) = "1 7\n"
            +100 poll(3r, 1000) = r
            accept(3, nonblock) = 5 from 10.0.0.1:4001
            setsockopt(5, NoDelay(true)) = 0
            recv(5, 8192) = "0.2 8\nx\n"
            +200 poll(3r, 200) = 0
            send(5, 8) = 8
            close(5) = 0
            +700 poll(3r, 700) = 0
            send(4, 7) = ECONNRESET
            close(4) = 0
        "#;
        assert_eq!(run("slowd 9000", &format!("{START}{log}")).code, None);
    }

    #[test]
    fn tcpecho_sends_back() {
        let log = r#"
            poll(3r, -1) = r
            accept(3, nonblock) = 4 from 10.0.0.1:4000
            recv(4, 65536) = EAGAIN
            poll(3r 4r, -1) = - r
            recv(4, 65536) = "hello"
            send(4, "hello") = 2
            send(4, "llo") = 3
            recv(4, 65536) = 0
            close(4) = 0
        "#;
        assert_eq!(run("tcpecho 9000", &format!("{START}{log}")).code, None);
    }

    #[test]
    fn a_port_that_is_taken() {
        let start = START.replace("bind(3, 0.0.0.0:9000) = 0", "bind(3, 0.0.0.0:9000) = EADDRINUSE");
        let log: String = start.lines().take(4).fold(String::new(), |log, l| log + l + "\n");
        let done = run("slowd 9000", &log);
        assert_eq!((done.text.as_str(), done.code), ("slowd 9000: Address already in use\n", Some(1)));
    }

    #[test]
    fn delays() {
        for (text, want) in [
            ("0.3", Some(300_000_000)),
            ("2", Some(2_000_000_000)),
            (".5", Some(500_000_000)),
            ("0.02", Some(20_000_000)),
            ("1e3", None),
            ("-1", None),
            ("", None),
            (".", None),
            ("9999999", None),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
    }
}
