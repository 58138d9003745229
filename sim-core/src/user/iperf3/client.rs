//! The client: run_iperf_client. It does what the server's states ask for.

use super::options::Options;
use super::report::Report;
use super::{COOKIE_SIZE, Intake, Taken, length, length_of, number, send, state};
use crate::base::Time;
use crate::base::rng::Purpose;
use crate::base::time::{MS, SEC, US};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Fd, PollFd, Ret, SockOpt, SocketKind};
use std::net::{Ipv4Addr, SocketAddrV4};

/// It looks for other things to do after so many blocks.
const BLOCKS_AT_ONCE: u32 = 10;
/// From the connection to the cookie.
const COOKIE_NS: u64 = 5 * MS;
/// From a state to what it asks for.
const WORK_NS: u64 = 100 * US;

#[derive(Clone)]
pub(super) struct Client {
    o: Options,
    server: SocketAddrV4,
    at: At,
    control: Fd,
    stream: Fd,
    cookie: String,
    intake: Intake,
    report: Report,
    /// It sends.
    running: bool,
    sent: u64,
    /// Bytes of the block and blocks that are left before it looks for other things.
    block: usize,
    blocks: u32,
    ended: Time,
    /// What the server received, and in how many nanoseconds.
    received: (u64, u64),
}

/// The call that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    Connect,
    NoDelay,
    /// A send whose successor is the wait for the next state.
    LastSend,
    Wait,
    State,
    ParamLength,
    StreamSocket,
    StreamConnect,
    StreamCookie,
    StreamName,
    NonBlock,
    Block,
    Blocking,
    ResultLength,
    Result,
    TheirLength,
    Theirs,
    CloseStream,
    Done,
    CloseControl,
}

impl Client {
    pub(super) fn new(o: Options, addr: Ipv4Addr) -> Self {
        let server = SocketAddrV4::new(addr, o.port);
        Client {
            o,
            server,
            at: At::Start,
            control: Fd(0),
            stream: Fd(0),
            cookie: String::new(),
            intake: Intake::default(),
            report: Report::default(),
            running: false,
            sent: 0,
            block: 0,
            blocks: 0,
            ended: Time(0),
            received: (0, 0),
        }
    }

    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    fn fail(&mut self, message: &str, env: &mut Env<'_>) -> Call {
        env.console.err(format!("iperf3: error - {message}\n"));
        self.call(At::CloseControl, Call::Exit(1))
    }

    /// Thirty-six characters (make_cookie).
    fn make_cookie(env: &Env<'_>) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
        let draw = |n| env.prf.below(Purpose::IperfCookie, &[u64::from(env.pid.0), env.now.0, n], LETTERS.len() as u64);
        let letters = (0..COOKIE_SIZE as u64 - 1).map(|n| char::from(LETTERS[draw(n) as usize]));
        letters.chain(['\0']).collect()
    }

    /// Waits for the server's next state; while it runs, for room in the stream and for the next time too.
    fn wait(&mut self, env: &Env<'_>) -> Call {
        let mut fds = vec![PollFd::read(self.control)];
        let mut due = None;
        if self.running {
            fds.push(PollFd::write(self.stream));
            due = [self.report.due(), self.end()].into_iter().flatten().min();
        }
        let timeout_ns = due.map(|t| t.0.saturating_sub(env.now.0));
        self.call(At::Wait, Call::Poll { fds, timeout_ns })
    }

    /// When the time is out, if it goes by time.
    fn end(&self) -> Option<Time> {
        (self.o.bytes == 0).then(|| self.report.started() + self.o.seconds * SEC)
    }

    fn is_done(&self, now: Time) -> bool {
        match self.end() {
            Some(end) => now >= end,
            None => self.sent >= self.o.bytes,
        }
    }

    /// What goes on in a loop while it runs.
    fn go_on(&mut self, writable: bool, env: &mut Env<'_>) -> Call {
        if self.running {
            if self.is_done(env.now) {
                return self.finish(env);
            }
            if self.report.due().is_some_and(|t| t <= env.now) {
                self.report.interval(env.now, self.sent, env.console);
            }
            if writable {
                self.blocks = BLOCKS_AT_ONCE;
                return self.send_block();
            }
        }
        self.wait(env)
    }

    /// iperf_tcp_send: what is left of a block, or a new one.
    fn send_block(&mut self) -> Call {
        if self.block == 0 {
            self.block = self.o.block;
        }
        // The pattern of --repeating-payload, where the real program takes random bytes.
        let data: Vec<u8> = (b'0'..=b'9').cycle().take(self.block).collect();
        self.call(At::Block, send(self.stream, data))
    }

    fn block_sent(&mut self, n: usize, env: &mut Env<'_>) -> Call {
        self.sent += n as u64;
        self.block = self.block.saturating_sub(n);
        if self.block == 0 {
            self.blocks = self.blocks.saturating_sub(1);
            if self.blocks == 0 || self.is_done(env.now) {
                return self.go_on(false, env);
            }
        }
        self.send_block()
    }

    fn finish(&mut self, env: &mut Env<'_>) -> Call {
        (self.running, self.ended) = (false, env.now);
        self.report.interval(env.now, self.sent, env.console);
        self.call(At::Blocking, Call::SetSockOpt { fd: self.stream, opt: SockOpt::NonBlock(false) })
    }

    /// A state that the server announces.
    fn state(&mut self, state: u8, env: &mut Env<'_>) -> Call {
        env.spent_ns += WORK_NS;
        match state {
            state::PARAM_EXCHANGE => {
                let json = self.parameters();
                self.call(At::ParamLength, send(self.control, length_of(&json)))
            }
            state::CREATE_STREAMS => self.call(At::StreamSocket, Call::Socket(SocketKind::Tcp)),
            state::TEST_START => {
                self.report = Report::new(env.now, self.o.interval_ms * MS);
                self.wait(env)
            }
            state::TEST_RUNNING => {
                self.running = true;
                self.call(At::NonBlock, Call::SetSockOpt { fd: self.stream, opt: SockOpt::NonBlock(true) })
            }
            state::EXCHANGE_RESULTS => {
                let json = self.results(env);
                self.call(At::ResultLength, send(self.control, length_of(&json)))
            }
            state::DISPLAY_RESULTS => self.call(At::CloseStream, Call::Close { fd: self.stream }),
            state::SERVER_TERMINATE => self.fail("the server has terminated", env),
            state::ACCESS_DENIED => self.fail("the server is busy running a test. try again later", env),
            _ => self.fail("received an unknown control message (ensure other side is iperf3 and not iperf)", env),
        }
    }

    fn parameters(&self) -> String {
        let Options { bytes, block, .. } = self.o;
        let seconds = if bytes == 0 { self.o.seconds } else { 0 };
        format!(
            "{{\"tcp\":true,\"omit\":0,\"time\":{seconds},\"num\":{bytes},\"blockcount\":0,\"parallel\":1,\
             \"len\":{block},\"pacing_timer\":1000,\"client_version\":\"3.12\"}}"
        )
    }

    fn results(&self, env: &Env<'_>) -> String {
        let congestion = show::sysctl(env.spaces, env.ns, "net.ipv4.tcp_congestion_control");
        let end = seconds(self.ended - self.report.started());
        results(congestion.as_deref().unwrap_or("cubic"), self.sent, &end)
    }

    fn summary(&mut self, env: &mut Env<'_>) {
        let took = self.ended - self.report.started();
        Report::summary(Some((self.sent, took)), self.received, env.console);
        env.console.out("\niperf Done.\n");
    }

    /// Something was read from the control connection.
    fn taken(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let bytes = match self.intake.returned(self.control, ret) {
            Taken::More(call) => return call,
            Taken::All(bytes) => bytes,
            Taken::End => return self.fail("control socket has closed unexpectedly", env),
            Taken::Failed(e) => return self.fail(&format!("unable to receive control message: {e}"), env),
        };
        match self.at {
            At::State => self.state(bytes.first().copied().unwrap_or_default(), env),
            At::TheirLength => match length(&bytes) {
                Some(size) => {
                    let call = self.intake.read(self.control, size);
                    self.call(At::Theirs, call)
                }
                None => self.fail("unable to receive results", env),
            },
            _ => {
                let ns = number::<f64>(&bytes, "end_time").map_or(0, |s| (s * SEC as f64) as u64);
                self.received = (number(&bytes, "bytes").unwrap_or(0), ns);
                self.wait(env)
            }
        }
    }
}

/// The JSON text of a side's results.
pub(super) fn results(congestion: &str, bytes: u64, end: &str) -> String {
    format!(
        "{{\"cpu_util_total\":0,\"cpu_util_user\":0,\"cpu_util_system\":0,\
         \"sender_has_retransmits\":18446744073709551615,\"congestion_used\":\"{congestion}\",\
         \"streams\":[{{\"id\":1,\"bytes\":{bytes},\"retransmits\":18446744073709551615,\"jitter\":0,\"errors\":0,\
         \"packets\":0,\"start_time\":0,\"end_time\":{end}}}]}}"
    )
}

/// Seconds with six decimals.
pub(super) fn seconds(ns: u64) -> String {
    format!("{}.{:06}", ns / SEC, ns % SEC / 1000)
}

impl Program for Client {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.at, ret) {
            (At::Start, _) => self.call(At::Socket, Call::Socket(SocketKind::Tcp)),
            (At::Socket | At::Connect, Ret::Err(e)) => self.fail(&format!("unable to connect to server: {e}"), env),
            (At::StreamSocket | At::StreamConnect, Ret::Err(e)) => {
                self.fail(&format!("unable to connect stream: {e}"), env)
            }
            (At::Socket, Ret::Fd(fd)) => {
                self.control = fd;
                self.call(At::Connect, Call::Connect { fd, addr: self.server })
            }
            (At::Connect, _) => {
                env.console.out(format!("Connecting to host {}, port {}\n", self.o.host, self.o.port));
                env.spent_ns += COOKIE_NS;
                self.call(At::NoDelay, Call::SetSockOpt { fd: self.control, opt: SockOpt::NoDelay(true) })
            }
            (At::NoDelay, _) => {
                self.cookie = Client::make_cookie(env);
                self.call(At::LastSend, send(self.control, self.cookie.as_bytes()))
            }
            (At::Wait, Ret::Poll(ready)) => {
                if ready.first().is_some_and(|r| r.any()) {
                    let call = self.intake.read(self.control, 1);
                    return self.call(At::State, call);
                }
                self.go_on(ready.get(1).is_some_and(|r| r.any()), env)
            }
            (At::State | At::TheirLength | At::Theirs, ret) => self.taken(ret, env),
            (At::ParamLength, Ret::Sent(_)) => self.call(At::LastSend, send(self.control, self.parameters())),
            (At::StreamSocket, Ret::Fd(fd)) => {
                self.stream = fd;
                self.call(At::StreamConnect, Call::Connect { fd, addr: self.server })
            }
            (At::StreamConnect, _) => self.call(At::StreamCookie, send(self.stream, self.cookie.as_bytes())),
            (At::StreamCookie, _) => self.call(At::StreamName, Call::SockName { fd: self.stream }),
            (At::StreamName, Ret::Addr(local)) => {
                Report::head(local, self.server, env.console);
                self.wait(env)
            }
            (At::NonBlock, _) => self.go_on(true, env),
            (At::Block, Ret::Sent(n)) => self.block_sent(n, env),
            // Differs: it asks again for each of the blocks that are left.
            (At::Block, Ret::Err(Errno::EAGAIN | Errno::EINTR)) => self.go_on(false, env),
            (At::Block, Ret::Err(e)) => self.fail(&format!("unable to write to stream socket: {e}"), env),
            (At::Blocking, _) => self.call(At::LastSend, send(self.control, [state::TEST_END])),
            (At::ResultLength, Ret::Sent(_)) => self.call(At::Result, send(self.control, self.results(env))),
            (At::Result, _) => {
                let call = self.intake.read(self.control, 4);
                self.call(At::TheirLength, call)
            }
            (At::CloseStream, _) => self.call(At::Done, send(self.control, [state::IPERF_DONE])),
            (At::Done, _) => self.call(At::CloseControl, Call::Close { fd: self.control }),
            (At::CloseControl, _) => {
                self.summary(env);
                Call::Exit(0)
            }
            (At::LastSend | At::ParamLength | At::ResultLength, Ret::Err(e)) => {
                self.fail(&format!("unable to send control message: {e}"), env)
            }
            _ => self.wait(env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
