//! ping(8) of iputils 20221126.
//!
//! It waits for replies in recvmsg(2) with SO_RCVTIMEO while a whole interval is left, else in poll(2) for the rest;
//! what else has come is taken without waiting. A request needs an interval of whole milliseconds as tokens. After the
//! last request an itimer ends the waiting, by EINTR.

pub(super) mod options;
mod reply;
mod setup;
mod stats;
mod wire;

use crate::base::Time;
use crate::base::time::{MS, SEC, US};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, QueuedError, Ret, SendTo, SockOpt};
use crate::wire::be16;
use options::Options;
use reply::Whose;
use setup::Setup;
use stats::Stats;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

/// It never waits shorter than this for an answer. Milliseconds.
const MIN_INTERVAL_MS: i64 = 10;
/// How long a busy device's queue is waited for at once. Milliseconds.
const MAX_BUSY_MS: i64 = 500;
/// Its buffer for what it receives, in bytes: no datagram is longer.
const RECV_SIZE: usize = 65_535;

/// A run of ping.
#[derive(Clone)]
pub(super) struct Ping {
    o: Options,
    payload: Vec<u8>,
    plan: VecDeque<Setup>,
    at: At,
    /// The socket that sends; a raw one, or a ping socket where the group may have one.
    sock: Fd,
    raw: bool,
    probe: Fd,
    probe_broadcast: bool,
    dst: Ipv4Addr,
    source: Ipv4Addr,
    /// The echo id; a ping socket's is the kernel's.
    ident: u16,
    stats: Stats,
    started: Time,
    /// When the last request was due.
    last: Option<Time>,
    /// Milliseconds that may be spent on requests besides those since `last`.
    tokens: i64,
    /// Sends in a row that found no room.
    busy: i64,
    /// What the itimer was set to after the last request; zero before.
    linger_us: u64,
    /// SIGALRM came.
    exiting: bool,
    /// poll(2) said POLLERR.
    poll_error: bool,
    echo_filter: bool,
    /// Receive times are taken from the clock: a time stamp was in the future.
    own_clock: bool,
}

/// What the last system call was for.
#[derive(Clone)]
enum At {
    Start,
    Setup(Setup),
    Send,
    /// The error queue, after a send failed.
    SendError(Errno),
    /// The filter, before this error is reported.
    Narrow(QueuedError, Then),
    /// The itimer; then to wait so many milliseconds.
    Linger(i64),
    Poll,
    Receive,
    /// The error queue, after a receive failed.
    ReceiveError(Errno),
    EchoFilter,
}

/// Where the error queue was read.
#[derive(Clone, Copy)]
enum Then {
    Received,
    SendFailed(Errno),
}

impl Program for Ping {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        // sigexit of iputils: SIGALRM and SIGINT.
        self.exiting |= env.alarmed || env.interrupted;
        match std::mem::replace(&mut self.at, At::Start) {
            At::Start => self.start(env),
            At::Setup(step) => self.prepared(step, &ret, env),
            At::Send => self.sent(&ret, env),
            At::SendError(errno) => self.after_error(ret, Then::SendFailed(errno), env),
            At::Narrow(error, then) => self.report(&error, then, env),
            At::Linger(wait_ms) => self.proceed(wait_ms, env),
            At::Poll => self.polled(&ret, env),
            At::Receive => self.received(&ret, env),
            At::ReceiveError(errno) => self.receive_error(ret, errno, env),
            At::EchoFilter => self.after_receive(env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Ping {
    pub(super) fn new(o: Options) -> Self {
        Ping {
            payload: wire::payload(&o),
            plan: setup::plan(&o),
            at: At::Start,
            sock: Fd(0),
            raw: false,
            probe: Fd(0),
            probe_broadcast: false,
            dst: o.dst,
            source: o.source.unwrap_or(Ipv4Addr::UNSPECIFIED),
            ident: u16::MAX,
            stats: Stats::new(),
            started: Time(0),
            last: None,
            tokens: 0,
            busy: 0,
            linger_us: 0,
            exiting: false,
            poll_error: false,
            echo_filter: false,
            own_clock: false,
            o,
        }
    }

    /// The head of the main loop.
    fn round(&mut self, env: &mut Env<'_>) -> Call {
        let heard = self.stats.received + self.stats.errors;
        let enough = self.o.count.is_some_and(|n| heard >= n);
        if self.exiting || enough || self.o.deadline_s > 0 && self.stats.errors > 0 {
            return self.finish(env);
        }
        self.send_if_due(env)
    }

    fn all_sent(&self) -> bool {
        self.o.deadline_s == 0 && self.o.count.is_some_and(|n| self.stats.transmitted >= n)
    }

    fn send_if_due(&mut self, env: &mut Env<'_>) -> Call {
        if self.exiting || self.all_sent() {
            return self.schedule(1000, env);
        }
        let interval = self.o.interval_ms;
        match self.last {
            None => self.tokens = interval * (self.o.preload - 1),
            Some(last) => {
                let elapsed = whole_ms(env.now, last);
                if interval == 0 && elapsed < MIN_INTERVAL_MS && self.stats.in_flight() >= self.o.preload {
                    return self.schedule(MIN_INTERVAL_MS - elapsed, env);
                }
                let tokens = (elapsed + self.tokens).min(interval * self.o.preload);
                if tokens < interval {
                    return self.schedule(interval - tokens, env);
                }
                self.tokens = tokens - interval;
            }
        }
        self.last = Some(env.now);
        let before = self.stats.last_seq();
        if self.o.outstanding && self.stats.transmitted > 0 && !self.stats.is_answered(before) {
            env.console.out(format!("{}no answer yet for icmp_seq={before}\n", self.stamp(env)));
        }
        self.send(env)
    }

    fn send(&mut self, env: &Env<'_>) -> Call {
        let seq = self.stats.next_seq();
        self.stats.forget(seq);
        let data = wire::request(&self.payload, self.ident, seq, time_of_day_us(env, env.now));
        self.at = At::Send;
        Call::Send { fd: self.sock, to: Some(SendTo::Ip(SocketAddrV4::new(self.dst, 0))), data }
    }

    fn sent(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        match *ret {
            Ret::Err(e @ (Errno::ENOBUFS | Errno::ENOMEM)) => {
                self.tokens = 0;
                let wait = (self.o.interval_ms / 2).clamp(MIN_INTERVAL_MS, MAX_BUSY_MS);
                self.busy += 1;
                if self.busy * wait < self.o.linger_ms { self.schedule(wait, env) } else { self.give_up(Some(e), env) }
            }
            Ret::Err(Errno::EAGAIN) => {
                self.tokens += self.o.interval_ms;
                self.schedule(MIN_INTERVAL_MS, env)
            }
            Ret::Err(e) => self.read_errors(At::SendError(e)),
            _ => {
                self.busy = 0;
                self.stats.advance();
                self.schedule(self.o.interval_ms - self.tokens, env)
            }
        }
    }

    /// A request that could not be sent counts as one that was.
    fn give_up(&mut self, say: Option<Errno>, env: &mut Env<'_>) -> Call {
        self.stats.advance();
        if let Some(e) = say.filter(|_| !self.o.quiet) {
            env.console.err(format!("ping: sendmsg: {e}\n"));
        }
        self.tokens = 0;
        self.schedule(self.min_interval_ms(), env)
    }

    /// After the last request: until when to wait. Then waits, up to `wait_ms`.
    fn schedule(&mut self, wait_ms: i64, env: &mut Env<'_>) -> Call {
        if !self.all_sent() || self.linger_us > 0 {
            return self.proceed(wait_ms, env);
        }
        self.linger_us = match self.stats.received {
            0 => self.o.linger_ms.unsigned_abs() * 1000,
            _ => (2 * self.stats.max).max(self.o.interval_ms.unsigned_abs() * 1000),
        };
        self.at = At::Linger(wait_ms.max((self.linger_us / 1000) as i64));
        Call::Alarm { ns: self.linger_us * US }
    }

    fn proceed(&mut self, wait_ms: i64, env: &mut Env<'_>) -> Call {
        if wait_ms <= 0 {
            return self.send_if_due(env);
        }
        self.poll_error = false;
        if wait_ms >= self.min_interval_ms() {
            return self.receive(false);
        }
        let awaited = self.stats.in_flight() != 0;
        if wait_ms <= MIN_INTERVAL_MS && !awaited {
            // Too short to wait for nothing: it looks, and looks again.
            return self.receive(true);
        }
        if self.o.interval_ms == 0 {
            return self.receive(false);
        }
        self.at = At::Poll;
        let ns = wait_ms.max(MIN_INTERVAL_MS).unsigned_abs() * MS;
        Call::Poll { fds: vec![PollFd::read(self.sock)], timeout_ns: Some(ns) }
    }

    fn polled(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        match ret {
            Ret::Poll(ready) if !ready.is_empty() => {
                self.poll_error = ready[0].error;
                self.receive(true)
            }
            _ => self.round(env),
        }
    }

    fn receive(&mut self, dontwait: bool) -> Call {
        self.at = At::Receive;
        Call::Recv { fd: self.sock, size: RECV_SIZE, dontwait, errqueue: false }
    }

    fn received(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        match ret {
            Ret::Message(message) => match self.parse(message, env) {
                Whose::Ours => self.after_receive(env),
                Whose::NotOurs => self.keep_away(env),
            },
            Ret::Err(Errno::EINTR) => self.round(env),
            Ret::Err(Errno::EAGAIN) if !self.poll_error => self.round(env),
            Ret::Err(e) => {
                self.poll_error = false;
                self.read_errors(At::ReceiveError(*e))
            }
            _ => self.round(env),
        }
    }

    /// More may have come, if something is awaited.
    fn after_receive(&mut self, env: &mut Env<'_>) -> Call {
        if self.stats.in_flight() == 0 { self.round(env) } else { self.receive(true) }
    }

    /// A raw socket sees the replies to other programs too: from the first one on, a filter keeps them away.
    fn keep_away(&mut self, env: &mut Env<'_>) -> Call {
        if !self.raw || self.echo_filter {
            return self.after_receive(env);
        }
        self.echo_filter = true;
        self.at = At::EchoFilter;
        Call::SetSockOpt { fd: self.sock, opt: SockOpt::EchoFilter(self.ident) }
    }

    fn read_errors(&mut self, at: At) -> Call {
        self.at = at;
        Call::Recv { fd: self.sock, size: RECV_SIZE, dontwait: true, errqueue: true }
    }

    fn receive_error(&mut self, ret: Ret, errno: Errno, env: &mut Env<'_>) -> Call {
        if let Ret::Err(e) = ret
            && e != Errno::EAGAIN
            && e != Errno::EINTR
        {
            env.console.err(format!("ping: recvmsg: {errno}\n"));
            return self.round(env);
        }
        self.after_error(ret, Then::Received, env)
    }

    /// Goes on with what the error queue held.
    fn after_error(&mut self, ret: Ret, then: Then, env: &mut Env<'_>) -> Call {
        match (ret, then) {
            (Ret::Error(error), _) if error.local => {
                self.report_local(&error, env);
                self.handled(then, None, env)
            }
            (Ret::Error(error), _) if self.is_about_us(&error) => {
                self.stats.acknowledge(be16(&error.data, 6));
                self.stats.errors += 1;
                if !self.raw {
                    return self.report(&error, then, env);
                }
                self.at = At::Narrow(error, then);
                self.narrow_filter()
            }
            (Ret::Error(_), Then::Received) => self.keep_away(env),
            // Another program's error stood in the way: once more.
            (Ret::Error(_), Then::SendFailed(_)) => self.send(env),
            // An empty queue: what sendto said is not told either.
            _ => self.handled(then, None, env),
        }
    }

    fn handled(&mut self, then: Then, say: Option<Errno>, env: &mut Env<'_>) -> Call {
        match then {
            Then::Received => self.after_receive(env),
            Then::SendFailed(_) => self.give_up(say, env),
        }
    }

    fn is_about_us(&self, error: &QueuedError) -> bool {
        error.data.len() >= wire::ICMP_HLEN && error.data[0] == wire::ECHO && self.is_ours(be16(&error.data, 4))
    }

    fn is_ours(&self, ident: u16) -> bool {
        !self.raw || ident == self.ident
    }

    fn report_local(&mut self, error: &QueuedError, env: &mut Env<'_>) {
        if self.o.quiet {
            return;
        }
        let text = match error.errno {
            Errno::EMSGSIZE => format!("message too long, mtu={}", error.info),
            e => e.to_string(),
        };
        env.console.err(format!("ping: local error: {text}\n"));
        self.stats.errors += 1;
    }

    fn report(&mut self, error: &QueuedError, then: Then, env: &mut Env<'_>) -> Call {
        if !self.o.quiet {
            let text = wire::describe(error.icmp.0, error.icmp.1, error.info);
            let seq = be16(&error.data, 6);
            env.console.out(format!("{}From {} icmp_seq={seq} {text}\n", self.stamp(env), error.offender));
        }
        let say = match then {
            Then::Received => None,
            Then::SendFailed(e) => Some(e),
        };
        self.handled(then, say, env)
    }

    fn finish(&mut self, env: &mut Env<'_>) -> Call {
        let last = self.last.unwrap_or(self.started);
        let spaced = self.o.interval_ms > 0;
        env.console.out(self.stats.summary(&self.o.host, self.timing(), spaced, self.started, last));
        let received = self.stats.received;
        let short = self.o.deadline_s > 0 && self.o.count.is_some_and(|n| received < n);
        Call::Exit(i32::from(received == 0 || short))
    }

    /// The requests carry time stamps.
    fn timing(&self) -> bool {
        self.o.size >= wire::STAMP_LEN
    }

    /// The interval, but not shorter than ping can wait.
    fn min_interval_ms(&self) -> i64 {
        self.o.interval_ms.max(MIN_INTERVAL_MS)
    }

    /// -D
    fn stamp(&self, env: &Env<'_>) -> String {
        if !self.o.timestamps {
            return String::new();
        }
        let us = time_of_day_us(env, env.now);
        format!("[{}.{:06}] ", us / 1_000_000, us % 1_000_000)
    }
}

/// gettimeofday(2) at `t`, in microseconds.
fn time_of_day_us(env: &Env<'_>, t: Time) -> u64 {
    env.epoch_ns.saturating_add(t.0) / US
}

/// Whole milliseconds between two times as ping counts them: whole seconds apart, and their fractions apart, cut
/// towards zero. So 0.7 s to 1.6999 s is a second.
fn whole_ms(later: Time, earlier: Time) -> i64 {
    let split = |t: Time| ((t.0 / SEC) as i64, (t.0 % SEC) as i64);
    let ((s1, n1), (s0, n0)) = (split(later), split(earlier));
    (s1 - s0) * 1000 + (n1 - n0) / MS as i64
}

#[cfg(test)]
mod tests;
