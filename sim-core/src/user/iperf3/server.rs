//! The server: iperf_run_server, one test after the other.

use super::client::{results, seconds};
use super::options::Options;
use super::report::Report;
use super::{COOKIE_SIZE, Intake, Taken, length, length_of, number, send, state};
use crate::base::Time;
use crate::base::time::{MS, US};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, SockOpt, SocketKind};
use std::net::{Ipv4Addr, SocketAddrV4};

/// listen(2): as many as the kernel allows.
const BACKLOG: u32 = i32::MAX as u32;
/// From a message to its answer.
const WORK_NS: u64 = 50 * US;
/// From the stream's cookie to the start of the test.
const STREAM_NS: u64 = 500 * US;
const RULE: &str = "-----------------------------------------------------------\n";

#[derive(Clone)]
pub(super) struct Server {
    o: Options,
    at: At,
    listener: Fd,
    /// The test's connections; no descriptor is zero.
    control: Fd,
    stream: Fd,
    stream_peer: Option<SocketAddrV4>,
    /// A client that came while a test runs.
    denied: Fd,
    cookie: Vec<u8>,
    intake: Intake,
    report: Report,
    /// What one read of the stream takes, and what is left of it.
    block: usize,
    left: usize,
    received: u64,
    ended: Time,
    running: bool,
    stream_open: bool,
    tests: u64,
}

/// The call that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    ReuseAddr,
    Bind,
    Listen,
    Wait,
    Accept,
    Denial,
    Denied,
    NoDelay,
    Cookie,
    ParamExchange,
    ParamLength,
    Params,
    StreamCookie,
    NonBlock,
    StreamName,
    TestStart,
    /// A send whose successor is the wait for what comes next.
    LastSend,
    State,
    Block,
    StreamClosed,
    Exchange,
    ResultLength,
    TheirResult,
    OurLength,
    OurResult,
    Closing(u8),
}

impl Server {
    pub(super) fn new(o: Options) -> Self {
        let none = Fd(0);
        Server {
            o,
            at: At::Start,
            listener: none,
            control: none,
            stream: none,
            stream_peer: None,
            denied: none,
            cookie: vec![],
            intake: Intake::default(),
            report: Report::default(),
            block: 0,
            left: 0,
            received: 0,
            ended: Time(0),
            running: false,
            stream_open: false,
            tests: 0,
        }
    }

    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    fn take(&mut self, at: At, fd: Fd, size: usize) -> Call {
        let call = self.intake.read(fd, size);
        self.call(at, call)
    }

    fn wait(&mut self, env: &Env<'_>) -> Call {
        let mut fds = vec![PollFd::read(self.listener)];
        if self.control != Fd(0) {
            fds.push(PollFd::read(self.control));
        }
        let mut timeout_ns = None;
        if self.running {
            if self.stream_open {
                fds.push(PollFd::read(self.stream));
            }
            timeout_ns = self.report.due().map(|t| t.0.saturating_sub(env.now.0));
        }
        self.call(At::Wait, Call::Poll { fds, timeout_ns })
    }

    fn waited(&mut self, ready: &[Ready], env: &mut Env<'_>) -> Call {
        if self.running && self.report.due().is_some_and(|t| t <= env.now) {
            self.report.interval(env.now, self.received, env.console);
        }
        let is = |n: usize| ready.get(n).is_some_and(|r| r.any());
        if is(0) {
            return self.call(At::Accept, Call::Accept { fd: self.listener, nonblock: false });
        }
        if is(1) {
            return self.take(At::State, self.control, 1);
        }
        if is(2) {
            self.left = self.block;
            return self.read_block();
        }
        self.wait(env)
    }

    fn read_block(&mut self) -> Call {
        self.call(At::Block, Call::Recv { fd: self.stream, size: self.left, dontwait: true, errqueue: false })
    }

    /// A client, its stream, or one who comes while a test runs.
    fn accepted(&mut self, fd: Fd, from: SocketAddrV4, env: &mut Env<'_>) -> Call {
        env.spent_ns += WORK_NS;
        if self.control == Fd(0) {
            self.control = fd;
            env.console.out(format!("Accepted connection from {}, port {}\n", from.ip(), from.port()));
            return self.call(At::NoDelay, Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) });
        }
        if self.stream == Fd(0) && self.block > 0 {
            (self.stream, self.stream_peer) = (fd, Some(from));
            return self.take(At::StreamCookie, fd, COOKIE_SIZE);
        }
        self.denied = fd;
        self.call(At::Denial, send(fd, [state::ACCESS_DENIED]))
    }

    /// Something was read from the control connection, or the stream's cookie.
    fn taken(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let fd = if self.at == At::StreamCookie { self.stream } else { self.control };
        let bytes = match self.intake.returned(fd, ret) {
            Taken::More(call) => return call,
            Taken::All(bytes) => bytes,
            Taken::End => return self.give_up("the client has unexpectedly closed the connection", env),
            Taken::Failed(e) => return self.give_up(&format!("unable to receive control message: {e}"), env),
        };
        env.spent_ns += WORK_NS;
        match self.at {
            At::Cookie => {
                self.cookie = bytes;
                self.call(At::ParamExchange, send(self.control, [state::PARAM_EXCHANGE]))
            }
            At::ParamLength | At::ResultLength => match length(&bytes) {
                Some(size) => {
                    let next = if self.at == At::ParamLength { At::Params } else { At::TheirResult };
                    self.take(next, self.control, size)
                }
                None => self.give_up("unable to receive parameters from client", env),
            },
            At::Params => {
                self.block = number(&bytes, "len").unwrap_or(0).clamp(1, 1 << 20);
                self.call(At::LastSend, send(self.control, [state::CREATE_STREAMS]))
            }
            At::StreamCookie if bytes != self.cookie => self.give_up("unable to accept stream connection", env),
            At::StreamCookie => {
                env.spent_ns += STREAM_NS;
                self.call(At::NonBlock, Call::SetSockOpt { fd: self.stream, opt: SockOpt::NonBlock(true) })
            }
            At::TheirResult => {
                let json = self.results(env);
                self.call(At::OurLength, send(self.control, length_of(&json)))
            }
            _ => self.state(bytes.first().copied().unwrap_or_default(), env),
        }
    }

    fn state(&mut self, state: u8, env: &mut Env<'_>) -> Call {
        match state {
            state::TEST_END if self.running => {
                (self.running, self.ended) = (false, env.now);
                self.report.interval(env.now, self.received, env.console);
                self.call(At::StreamClosed, Call::Close { fd: self.stream })
            }
            state::IPERF_DONE => {
                Report::summary(None, (self.received, self.ended - self.report.started()), env.console);
                self.call(At::Closing(1), Call::Close { fd: self.control })
            }
            _ => self.give_up("the client has terminated", env),
        }
    }

    fn results(&self, env: &Env<'_>) -> String {
        let congestion = show::sysctl(env.spaces, env.ns, "net.ipv4.tcp_congestion_control");
        let end = seconds(self.ended - self.report.started());
        results(congestion.as_deref().unwrap_or("cubic"), self.received, &end)
    }

    /// The test ends here; the next one may come.
    fn give_up(&mut self, message: &str, env: &mut Env<'_>) -> Call {
        env.console.err(format!("iperf3: error - {message}\n"));
        self.running = false;
        self.call(At::Closing(0), Call::Close { fd: self.stream })
    }

    /// Closes what is open of the test, and begins anew.
    fn closed(&mut self, n: u8, env: &mut Env<'_>) -> Call {
        match n {
            0 => self.call(At::Closing(1), Call::Close { fd: self.control }),
            1 => self.call(At::Closing(2), Call::Close { fd: self.listener }),
            _ if self.o.one_off => Call::Exit(0),
            _ => {
                let tests = self.tests;
                *self = Server { tests, ..Server::new(self.o.clone()) };
                self.start(Ret::Start, env)
            }
        }
    }

    fn start(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let fd = self.listener;
        match (self.at, ret) {
            (_, Ret::Err(e)) => {
                env.console.err(format!("iperf3: error - unable to start listener for connections: {e}\n"));
                env.console.err("iperf3: exiting\n");
                Call::Exit(1)
            }
            (At::Socket, Ret::Fd(fd)) => {
                self.listener = fd;
                self.call(At::ReuseAddr, Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) })
            }
            (At::ReuseAddr, _) => {
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.o.port);
                self.call(At::Bind, Call::Bind { fd, addr })
            }
            (At::Bind, _) => self.call(At::Listen, Call::Listen { fd, backlog: BACKLOG }),
            (At::Listen, _) => {
                self.tests += 1;
                let (port, test) = (self.o.port, self.tests);
                env.console.out(format!("{RULE}Server listening on {port} (test #{test})\n{RULE}"));
                self.wait(env)
            }
            _ => self.call(At::Socket, Call::Socket(SocketKind::Tcp)),
        }
    }

    fn block_read(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match ret {
            Ret::Data(data) => {
                self.received += data.len() as u64;
                self.left = self.left.saturating_sub(data.len());
                if self.left > 0 { self.read_block() } else { self.wait(env) }
            }
            Ret::Err(Errno::EAGAIN | Errno::EINTR) => self.wait(env),
            _ => {
                self.stream_open = false;
                self.wait(env)
            }
        }
    }
}

impl Program for Server {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if env.interrupted {
            return Call::Exit(1);
        }
        match (self.at, ret) {
            (At::Start | At::Socket | At::ReuseAddr | At::Bind | At::Listen, ret) => self.start(ret, env),
            (At::Wait, Ret::Poll(ready)) => self.waited(&ready, env),
            (At::Accept, Ret::Accepted { fd, from }) => self.accepted(fd, from, env),
            (At::NoDelay, _) => self.take(At::Cookie, self.control, COOKIE_SIZE),
            (At::ParamExchange, Ret::Sent(_)) => self.take(At::ParamLength, self.control, 4),
            (
                At::Cookie
                | At::ParamLength
                | At::Params
                | At::StreamCookie
                | At::State
                | At::ResultLength
                | At::TheirResult,
                ret,
            ) => self.taken(ret, env),
            (At::NonBlock, _) => self.call(At::StreamName, Call::SockName { fd: self.stream }),
            (At::StreamName, ret) => {
                if let (Ret::Addr(local), Some(peer)) = (ret, self.stream_peer) {
                    Report::head(local, peer, env.console);
                }
                self.call(At::TestStart, send(self.control, [state::TEST_START]))
            }
            (At::TestStart, Ret::Sent(_)) => {
                self.report = Report::new(env.now, self.o.interval_ms * MS);
                (self.running, self.stream_open) = (true, true);
                self.call(At::LastSend, send(self.control, [state::TEST_RUNNING]))
            }
            (At::Block, ret) => self.block_read(ret, env),
            (At::StreamClosed, _) => self.call(At::Exchange, send(self.control, [state::EXCHANGE_RESULTS])),
            (At::Exchange, Ret::Sent(_)) => self.take(At::ResultLength, self.control, 4),
            (At::OurLength, Ret::Sent(_)) => self.call(At::OurResult, send(self.control, self.results(env))),
            (At::OurResult, Ret::Sent(_)) => self.call(At::LastSend, send(self.control, [state::DISPLAY_RESULTS])),
            (At::Closing(n), _) => self.closed(n, env),
            (At::Denial, _) => self.call(At::Denied, Call::Close { fd: self.denied }),
            (At::Denied, _) => self.wait(env),
            (_, Ret::Err(e)) => self.give_up(&format!("unable to send control message: {e}"), env),
            _ => self.wait(env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
