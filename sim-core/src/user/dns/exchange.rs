//! One question, or A and AAAA of one name, to the name servers (`__res_context_send`, res_send.c of glibc 2.36): who
//! is asked when, how long is waited, which answers count.

use super::conf::{MAX_SERVERS, ResolvConf};
use super::message::{HEADER_LEN, Message, PORT, flag, rcode};
use crate::base::Time;
use crate::base::rng::Purpose;
use crate::base::time::{MS, SEC, US};
use crate::engine::process::Env;
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, SockOpt, SocketKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// What the resolver computes between two system calls.
const COST_NS: u64 = 4 * US;
/// The buffer for the first answer; a longer datagram is cut.
const ANSWER_SIZE: usize = 2048;
/// MAXPACKET: what a second answer may have.
const MAX_PACKET: usize = 65_536;
/// PACKETSZ: a longer query goes over TCP.
const PACKET_SIZE: usize = 512;

/// What a process remembers from one exchange to the next (`_res`).
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub conf: Arc<ResolvConf>,
    single_request: bool,
    single_request_reopen: bool,
    /// The server that is asked first, with `rotate`.
    offset: Option<u64>,
    /// Ids drawn so far.
    ids: u64,
}

impl Memory {
    pub(super) fn new(conf: Arc<ResolvConf>) -> Self {
        let single_request_reopen = conf.single_request_reopen;
        let single_request = conf.single_request || single_request_reopen;
        Memory { conf, single_request, single_request_reopen, offset: None, ids: 0 }
    }

    /// A random id for a query (`__res_context_mkquery`).
    pub(super) fn id(&mut self, env: &Env<'_>) -> u16 {
        self.ids += 1;
        draw(env, Purpose::DnsId, self.ids) as u16
    }

    /// The number of the server that is asked first (`nameserver_offset`).
    fn first_server(&mut self, env: &Env<'_>) -> usize {
        let count = self.conf.servers.len();
        if count <= 1 || !self.conf.rotate {
            return 0;
        }
        let offset = self.offset.unwrap_or_else(|| draw(env, Purpose::DnsRotate, 0) >> 1);
        self.offset = Some(offset + 1);
        (offset % count as u64) as usize
    }
}

/// A draw that belongs to the process.
pub(super) fn draw(env: &Env<'_>, purpose: Purpose, n: u64) -> u64 {
    env.prf.draw(purpose, &[env.salt.word(), u64::from(env.pid.0), n])
}

/// How an exchange ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// One good answer or two, as they came.
    Answers(Vec<Message>),
    /// Nobody gave a good one.
    Failed {
        /// Nobody was there at all (ECONNREFUSED instead of ETIMEDOUT).
        refused: bool,
        /// The response code of the last answer that was put first, good or bad; NOERROR without one.
        rcode: u16,
    },
}

/// What comes next.
pub(super) enum Step {
    Call(Call),
    Done(Outcome),
}

/// An exchange under way.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// One or two.
    queries: Vec<Message>,
    attempt: u32,
    /// How many servers were asked in this attempt.
    shift: usize,
    first: usize,
    sockets: [Option<Fd>; MAX_SERVERS],
    /// The connection.
    stream: Option<Fd>,
    /// Over TCP from now on (`v_circuit`).
    vc: bool,
    /// The connection was reset once.
    reset: bool,
    got_somewhere: bool,
    rcode: u16,
    round: Round,
    at: At,
}

/// Since the queries were sent to one server.
#[derive(Clone, Debug, Default)]
struct Round {
    finish: Time,
    timeout_ns: u64,
    recompute: bool,
    written: usize,
    /// For each query.
    received: [bool; 2],
    answers: Vec<Message>,
    /// What poll looks for.
    read: bool,
    write: bool,
    /// Bytes of the stream that belong to the message that comes.
    bytes: Vec<u8>,
    got_before: bool,
}

#[derive(Clone, Debug)]
enum At {
    Start,
    Socket,
    RecvErr,
    Connect,
    /// poll(POLLOUT) that does not wait.
    Look,
    Poll,
    /// The first of both in one sendmmsg(2).
    SendFirst,
    SendSecond,
    Send,
    Recv,
    Closing(Then),
    VcSocket,
    VcConnect,
    VcSend,
    VcRecv,
}

/// What is done when the sockets are closed.
#[derive(Clone, Debug)]
enum Then {
    NextServer,
    /// The same server again, with another socket.
    Reopen,
    /// The same server, over TCP.
    Stream,
    Done(Outcome),
}

impl Exchange {
    /// Sends `queries`, which are one or two.
    pub(super) fn new(queries: Vec<Message>) -> Self {
        Exchange {
            queries,
            attempt: 0,
            shift: 0,
            first: 0,
            sockets: [None; MAX_SERVERS],
            stream: None,
            vc: false,
            reset: false,
            got_somewhere: false,
            rcode: rcode::NOERROR,
            round: Round::default(),
            at: At::Start,
        }
    }

    /// Takes in what the last call returned; the next one, or the end.
    pub(super) fn step(&mut self, ret: Ret, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        env.spent_ns += COST_NS;
        match std::mem::replace(&mut self.at, At::Start) {
            At::Start => {
                self.vc = memory.conf.use_vc || self.queries.iter().any(|q| q.write(false).len() > PACKET_SIZE);
                self.first = memory.first_server(env);
                self.server(memory, env)
            }
            At::Socket => match ret {
                Ret::Fd(fd) => {
                    self.sockets[self.ns(memory)] = Some(fd);
                    self.call(At::RecvErr, Call::SetSockOpt { fd, opt: SockOpt::RecvErr(true) })
                }
                // No server is tried after that.
                _ => self.close(Then::Done(self.failed()), memory, env),
            },
            At::RecvErr => match self.socket(memory) {
                Some(fd) => self.call(At::Connect, Call::Connect { fd, addr: self.address(memory) }),
                None => self.close(Then::NextServer, memory, env),
            },
            At::Connect => match ret {
                Ret::Err(_) => self.close(Then::NextServer, memory, env),
                _ if self.round.written > 0 => self.wait(memory, env),
                _ => self.begin(memory, env),
            },
            At::Look => match ret {
                Ret::Poll(ready) if ready.is_empty() => self.poll(memory, env),
                ret => self.polled(ret, memory, env),
            },
            At::Poll => {
                self.round.recompute = true;
                self.polled(ret, memory, env)
            }
            At::SendFirst => match ret {
                Ret::Sent(_) => self.send(At::SendSecond, 1, memory, env),
                ret => self.not_sent(&ret, memory, env),
            },
            At::SendSecond => {
                // sendmmsg(2) says how many were sent; the error of the second is forgotten.
                let both = matches!(ret, Ret::Sent(_));
                self.round.written = if both { 2 } else { 1 };
                (self.round.read, self.round.write) = (true, !both);
                self.wait(memory, env)
            }
            At::Send => match ret {
                Ret::Sent(_) => {
                    let last = self.round.written > 0 || self.queries.len() == 1 || memory.single_request;
                    self.round.written += 1;
                    (self.round.read, self.round.write) = (true, !last);
                    self.wait(memory, env)
                }
                ret => self.not_sent(&ret, memory, env),
            },
            At::Recv => self.received(ret, memory, env),
            At::Closing(then) => self.close(then, memory, env),
            at => self.stream_step(&at, ret, memory, env),
        }
    }

    fn call(&mut self, at: At, call: Call) -> Step {
        self.at = at;
        Step::Call(call)
    }

    /// The number of the server that is asked.
    fn ns(&self, memory: &Memory) -> usize {
        (self.shift + self.first) % memory.conf.servers.len().max(1)
    }

    fn socket(&self, memory: &Memory) -> Option<Fd> {
        self.sockets[self.ns(memory)]
    }

    fn address(&self, memory: &Memory) -> SocketAddrV4 {
        let server = memory.conf.servers.get(self.ns(memory)).copied().unwrap_or(Ipv4Addr::LOCALHOST);
        SocketAddrV4::new(server, PORT)
    }

    fn failed(&self) -> Outcome {
        Outcome::Failed { refused: !self.vc && !self.got_somewhere, rcode: self.rcode }
    }

    /// Asks the server whose turn it is.
    fn server(&mut self, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        if self.attempt >= memory.conf.attempts {
            return self.close(Then::Done(self.failed()), memory, env);
        }
        if self.vc {
            self.attempt = memory.conf.attempts.saturating_sub(1);
            return self.call(At::VcSocket, Call::Socket(SocketKind::Tcp));
        }
        self.round = Round { got_before: self.got_somewhere, ..Round::default() };
        match self.socket(memory) {
            Some(_) => self.begin(memory, env),
            None => self.call(At::Socket, Call::Socket(SocketKind::Udp)),
        }
    }

    fn next_server(&mut self, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        self.shift += 1;
        if self.shift >= memory.conf.servers.len() {
            (self.shift, self.attempt) = (0, self.attempt + 1);
        }
        self.server(memory, env)
    }

    /// `retry:` of send_dg: all from the beginning on the same socket.
    fn begin(&mut self, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        let (ns, count) = (self.ns(memory) as u32, memory.conf.servers.len() as u32);
        let mut seconds = memory.conf.timeout_s.saturating_mul(1 << ns);
        if ns > 0 {
            seconds /= count.max(1);
        }
        let timeout_ns = u64::from(seconds.max(1)) * SEC;
        self.round = Round {
            finish: env.now + timeout_ns,
            timeout_ns,
            received: [false, self.queries.len() == 1],
            write: true,
            got_before: self.round.got_before,
            ..Round::default()
        };
        self.wait(memory, env)
    }

    /// `wait:` of send_dg.
    fn wait(&mut self, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        if self.round.recompute {
            if self.round.finish <= env.now {
                return self.close(Then::NextServer, memory, env);
            }
            self.round.timeout_ns = self.round.finish - env.now;
            self.round.recompute = false;
        }
        if self.round.written == 0 { self.poll_for(At::Look, 0, memory, env) } else { self.poll(memory, env) }
    }

    fn poll(&mut self, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        // poll(2) takes milliseconds.
        self.poll_for(At::Poll, self.round.timeout_ns / MS * MS, memory, env)
    }

    fn poll_for(&mut self, at: At, timeout_ns: u64, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        let Some(fd) = self.socket(memory) else { return self.close(Then::NextServer, memory, env) };
        let fds = vec![PollFd { fd, read: self.round.read, write: self.round.write }];
        self.call(at, Call::Poll { fds, timeout_ns: Some(timeout_ns) })
    }

    fn polled(&mut self, ret: Ret, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        let ready = match ret {
            Ret::Poll(ready) => ready.first().copied().unwrap_or_default(),
            Ret::Err(Errno::EINTR) => {
                self.round.recompute = true;
                return self.wait(memory, env);
            }
            _ => return self.close(Then::NextServer, memory, env),
        };
        if ready == Ready::default() {
            return self.timed_out(memory, env);
        }
        if ready.write && self.round.write {
            return if self.round.written == 0 && self.queries.len() == 2 && !memory.single_request {
                self.send(At::SendFirst, 0, memory, env)
            } else {
                self.send(At::Send, self.round.written.min(1), memory, env)
            };
        }
        match (ready.read, self.socket(memory)) {
            (true, Some(fd)) => {
                let size =
                    if self.round.received == [false, self.queries.len() == 1] { ANSWER_SIZE } else { MAX_PACKET };
                self.call(At::Recv, Call::Recv { fd, size, dontwait: true, errqueue: false })
            }
            // An ICMP error came.
            _ => self.close(Then::NextServer, memory, env),
        }
    }

    fn timed_out(&mut self, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        if self.round.answers.is_empty() || self.queries.len() == 1 {
            self.got_somewhere = true;
            // The socket stays open: an answer may still come.
            return self.next_server(memory, env);
        }
        // One of two answers came: there are servers that do not bear two questions at once.
        if !memory.single_request {
            memory.single_request = true;
            self.got_somewhere = self.round.got_before;
            return self.begin(memory, env);
        }
        if !memory.single_request_reopen {
            memory.single_request_reopen = true;
            self.got_somewhere = self.round.got_before;
            self.round.written = 0;
            return self.close(Then::Reopen, memory, env);
        }
        let answers = std::mem::take(&mut self.round.answers);
        self.close(Then::Done(Outcome::Answers(answers)), memory, env)
    }

    fn send(&mut self, at: At, query: usize, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        match (self.socket(memory), self.queries.get(query)) {
            (Some(fd), Some(q)) => {
                let data = q.write(false);
                self.call(at, Call::Send { fd, to: None, data })
            }
            _ => self.close(Then::NextServer, memory, env),
        }
    }

    fn not_sent(&mut self, ret: &Ret, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        if let Ret::Err(Errno::EINTR | Errno::EAGAIN) = ret {
            self.round.recompute = true;
            return self.wait(memory, env);
        }
        self.close(Then::NextServer, memory, env)
    }

    fn received(&mut self, ret: Ret, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        let data = match ret {
            Ret::Message(m) => m.data,
            Ret::Err(Errno::EINTR | Errno::EAGAIN) => {
                self.round.recompute = true;
                return self.wait(memory, env);
            }
            _ => return self.close(Then::NextServer, memory, env),
        };
        if data.is_empty() {
            return self.close(Then::NextServer, memory, env);
        }
        self.got_somewhere = true;
        if data.len() < HEADER_LEN {
            return self.close(Then::NextServer, memory, env);
        }
        // Differs: a message that has the right question and ends in nonsense is passed over, too.
        let answer = Message::parse(&data);
        let matching = answer.as_ref().and_then(|a| self.matching(a));
        let (Some(answer), Some(query)) = (answer, matching) else {
            self.round.recompute = true;
            return self.wait(memory, env);
        };
        self.answered(answer, query, memory, env)
    }

    /// Which query this is an answer to.
    fn matching(&self, answer: &Message) -> Option<usize> {
        let waits =
            |(n, q): &(usize, &Message)| !self.round.received[*n] && q.id == answer.id && answer.same_question(q);
        self.queries.iter().enumerate().rev().find(waits).map(|(n, _)| n)
    }

    fn answered(&mut self, answer: Message, query: usize, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        let two = self.queries.len() == 2;
        let other_came = two && (self.round.received[0] || self.round.received[1]);
        if !other_came {
            self.rcode = answer.rcode();
        }
        let bad = matches!(answer.rcode(), rcode::SERVFAIL | rcode::NOTIMP | rcode::REFUSED);
        let lame = answer.rcode() == rcode::NOERROR
            && answer.answers.is_empty()
            && answer.flags & (flag::AA | flag::RA) == 0
            && answer.additional_count() == 0;
        if bad || lame {
            if !two {
                return self.close(Then::NextServer, memory, env);
            }
            if other_came {
                return match std::mem::take(&mut self.round.answers) {
                    none if none.is_empty() => self.next_server(memory, env),
                    answers => self.close(Then::Done(Outcome::Answers(answers)), memory, env),
                };
            }
            // There may be a good answer to the other question.
            self.round.received[query] = true;
            return self.wait(memory, env);
        }
        if answer.flags & flag::TC != 0 {
            self.vc = true;
            return self.close(Then::Stream, memory, env);
        }
        self.round.received[query] = true;
        self.round.answers.push(answer);
        if self.round.received == [true, true] {
            let answers = std::mem::take(&mut self.round.answers);
            return self.close(Then::Done(Outcome::Answers(answers)), memory, env);
        }
        if memory.single_request {
            (self.round.read, self.round.write) = (false, true);
            if memory.single_request_reopen {
                return self.close(Then::Reopen, memory, env);
            }
        }
        self.wait(memory, env)
    }

    /// `send_vc`: both queries in one write, the answers with their lengths in front.
    fn stream_step(&mut self, at: &At, ret: Ret, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        match (at, ret) {
            (At::VcSocket, Ret::Fd(fd)) => {
                self.stream = Some(fd);
                self.call(At::VcConnect, Call::Connect { fd, addr: self.address(memory) })
            }
            (At::VcSocket, _) => self.close(Then::Done(self.failed()), memory, env),
            (At::VcConnect, Ret::Done) => {
                let mut data = vec![];
                for q in &self.queries {
                    let bytes = q.write(false);
                    data.extend((bytes.len() as u16).to_be_bytes());
                    data.extend(bytes);
                }
                self.round = Round { received: [false, self.queries.len() == 1], ..Round::default() };
                match self.stream {
                    Some(fd) => self.call(At::VcSend, Call::Send { fd, to: None, data }),
                    None => self.close(Then::NextServer, memory, env),
                }
            }
            (At::VcSend, Ret::Sent(_)) => self.read_stream(memory, env),
            (At::VcRecv, Ret::Data(data)) => self.stream_data(&data, memory, env),
            (At::VcRecv, Ret::Err(Errno::EINTR)) => self.read_stream(memory, env),
            // A server that was started again resets the connection: it gets another chance.
            (At::VcRecv, Ret::Err(Errno::ECONNRESET)) if self.round.bytes.len() < 2 && !self.reset => {
                self.reset = true;
                self.close(Then::Stream, memory, env)
            }
            _ => self.close(Then::NextServer, memory, env),
        }
    }

    /// First the length, then as many bytes.
    fn read_stream(&mut self, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        let Some(fd) = self.stream else { return self.close(Then::NextServer, memory, env) };
        let have = self.round.bytes.len();
        let size = match self.round.bytes.first_chunk() {
            None => 2 - have,
            Some(&length) => (2 + usize::from(u16::from_be_bytes(length))).saturating_sub(have).max(1),
        };
        self.call(At::VcRecv, Call::Recv { fd, size, dontwait: false, errqueue: false })
    }

    fn stream_data(&mut self, data: &[u8], memory: &mut Memory, env: &mut Env<'_>) -> Step {
        self.round.bytes.extend(data);
        let Some(&length) = self.round.bytes.first_chunk() else { return self.read_stream(memory, env) };
        let length = usize::from(u16::from_be_bytes(length));
        if length < HEADER_LEN {
            return self.close(Then::NextServer, memory, env);
        }
        if self.round.bytes.len() < 2 + length {
            return self.read_stream(memory, env);
        }
        let bytes = std::mem::take(&mut self.round.bytes);
        let Some(answer) = Message::parse(&bytes[2..]) else {
            return self.close(Then::NextServer, memory, env);
        };
        let waits = |(n, q): &(usize, &Message)| !self.round.received[*n] && q.id == answer.id;
        let Some(query) = self.queries.iter().enumerate().find(waits).map(|(n, _)| n) else {
            return self.read_stream(memory, env);
        };
        self.round.received[query] = true;
        if self.round.answers.is_empty() {
            self.rcode = answer.rcode();
        }
        self.round.answers.push(answer);
        if self.round.received != [true, true] {
            return self.read_stream(memory, env);
        }
        let answers = std::mem::take(&mut self.round.answers);
        self.close(Then::Done(Outcome::Answers(answers)), memory, env)
    }

    /// `__res_iclose`, and what comes then.
    fn close(&mut self, then: Then, memory: &mut Memory, env: &mut Env<'_>) -> Step {
        if let Some(fd) = self.next_socket() {
            return self.call(At::Closing(then), Call::Close { fd });
        }
        match then {
            Then::NextServer => self.next_server(memory, env),
            Then::Reopen => self.call(At::Socket, Call::Socket(SocketKind::Udp)),
            Then::Stream => self.call(At::VcSocket, Call::Socket(SocketKind::Tcp)),
            Then::Done(outcome) => Step::Done(outcome),
        }
    }

    fn next_socket(&mut self) -> Option<Fd> {
        self.stream.take().or_else(|| self.sockets.iter_mut().find_map(Option::take))
    }
}
