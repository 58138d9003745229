//! The `script` program of scenario files: system calls one after the other, as a short Python program makes them. It
//! goes on after an error and prints a line about it; what it received is a line too.
//!
//! A script has one socket in use at a time, as a variable of a program holds one: a new one closes the old. Sockets
//! with names are variables of their own. What waits does it as Python's socket does (Modules/socketmodule.c,
//! sock_call_ex): a socket with a time-out never waits in the call itself, poll(2) goes before it.

mod step;
#[cfg(test)]
mod tests;

pub use step::{Name, Opt, OptValue, Payload, Protocol, Step, Until};

use crate::base::time::US;
use crate::base::{IfIndex, Time};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Fd, From, PollFd, Ret, SendTo, SockOpt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a call takes of the CPU unless the script says something else: a method of Python's socket.
pub const DEFAULT_COST_NS: u64 = 100 * US;
/// The most that recv takes if the script does not say.
pub const DEFAULT_RECV_SIZE: usize = 65_535;

/// A script that runs.
#[derive(Clone)]
pub struct Scripted {
    /// Where it is: the lines of the script, and of the repeats inside each other.
    blocks: Vec<Block>,
    /// The line whose call was made.
    current: Option<Step>,
    /// The sockets by name.
    sockets: BTreeMap<Name, Sock>,
    /// The name of the one in use; empty for the one without a name.
    name: Name,
    /// The socket that was told to listen last.
    listener: Option<Sock>,
    cost_ns: u64,
    /// When the line that polls gives up.
    deadline: Time,
    /// Bytes that the line has sent or received.
    done: usize,
}

#[derive(Clone)]
struct Block {
    lines: Arc<[Step]>,
    next: usize,
    /// So often again.
    again: u64,
}

/// No descriptor is zero: a call on a socket that is not there is EBADF.
const NONE: Sock = Sock { fd: Fd(0), timeout_ns: None, listens: false };

#[derive(Clone, Copy)]
struct Sock {
    fd: Fd,
    timeout_ns: Option<u64>,
    listens: bool,
}

impl Scripted {
    /// The script at its first line.
    pub fn new(lines: Arc<[Step]>) -> Self {
        Scripted {
            blocks: vec![Block { lines, next: 0, again: 0 }],
            current: None,
            sockets: BTreeMap::new(),
            name: Name::default(),
            listener: None,
            cost_ns: DEFAULT_COST_NS,
            deadline: Time(0),
            done: 0,
        }
    }

    /// The next line that is a call, and the call; exit at the end.
    fn go_on(&mut self, env: &mut Env<'_>) -> Call {
        self.current = None;
        while let Some(line) = self.advance() {
            match line {
                Step::Cost(ns) => self.cost_ns = ns,
                Step::Use(name) => self.name = name,
                Step::Repeat(times, lines) => self.blocks.push(Block { lines, next: 0, again: times - 1 }),
                line => {
                    self.done = 0;
                    match self.begin(&line, env) {
                        Ok(call) => {
                            self.current = Some(line);
                            return call;
                        }
                        Err(e) => self.failed(&line, e, env),
                    }
                }
            }
        }
        Call::Exit(0)
    }

    fn advance(&mut self) -> Option<Step> {
        while let Some(block) = self.blocks.last_mut() {
            if let Some(line) = block.lines.get(block.next) {
                block.next += 1;
                return Some(line.clone());
            }
            match block.again.checked_sub(1) {
                Some(left) => (block.again, block.next) = (left, 0),
                None => {
                    self.blocks.pop();
                }
            }
        }
        None
    }

    /// The first call of a line, or of one more round of it.
    fn begin(&mut self, line: &Step, env: &mut Env<'_>) -> Result<Call, Errno> {
        env.spent_ns = self.cost_ns;
        self.deadline = env.now + self.cost_ns + self.timeout_ns(line).unwrap_or(0);
        // connect polls behind its call.
        if !matches!(line, Step::Connect(_))
            && let Some(ns @ 1..) = self.timeout_ns(line)
        {
            return Ok(self.poll(line, ns));
        }
        self.call(line, env)
    }

    fn call(&self, line: &Step, env: &Env<'_>) -> Result<Call, Errno> {
        let fd = self.sock().fd;
        Ok(match line {
            Step::Socket { protocol, .. } => Call::Socket((*protocol).into()),
            Step::SetSockOpt(opt) => Call::SetSockOpt { fd, opt: option(&opt.value, env)? },
            Step::SetTimeout(ns) => Call::SetSockOpt { fd, opt: SockOpt::NonBlock(ns.is_some()) },
            Step::Bind(addr) => Call::Bind { fd, addr: *addr },
            Step::BindDev(name) => Call::BindDev { fd, dev: device(name, env)? },
            Step::Connect(addr) => Call::Connect { fd, addr: *addr },
            Step::Listen(backlog) => Call::Listen { fd, backlog: *backlog },
            Step::Accept { .. } => Call::Accept { fd: self.accepting().fd, nonblock: false },
            Step::Send { payload, to } => Call::Send { fd, to: to.map(SendTo::Ip), data: payload.rest(self.done) },
            Step::Recv { size, errqueue, .. } => {
                let dontwait = self.timeout_ns(line).is_some() || *errqueue;
                Call::Recv { fd, size: *size, dontwait, errqueue: *errqueue }
            }
            Step::Shutdown(how) => Call::Shutdown { fd, how: *how },
            Step::Close => Call::Close { fd },
            Step::Sleep(ns) => Call::Sleep { ns: *ns },
            Step::Use(_) | Step::Repeat(..) | Step::Cost(_) => return Err(Errno::EINVAL),
        })
    }

    /// How long the line polls; zero for a call that does not wait, none for one that waits by itself.
    fn timeout_ns(&self, line: &Step) -> Option<u64> {
        match line {
            Step::Recv { errqueue: true, .. } => None,
            Step::Recv { timeout_ns, .. } => timeout_ns.or(self.sock().timeout_ns),
            // Zero, too: accept(2) has no MSG_DONTWAIT.
            Step::Accept { timeout_ns: Some(ns), .. } => Some((*ns).max(1)),
            Step::Accept { .. } => self.accepting().timeout_ns,
            Step::Connect(_) | Step::Send { .. } => self.sock().timeout_ns,
            _ => None,
        }
    }

    fn poll(&self, line: &Step, ns: u64) -> Call {
        let fd = match line {
            Step::Recv { .. } => PollFd::read(self.sock().fd),
            Step::Accept { .. } => PollFd::read(self.accepting().fd),
            _ => PollFd::write(self.sock().fd),
        };
        Call::Poll { fds: vec![fd], timeout_ns: Some(ns) }
    }

    /// The socket in use.
    fn sock(&self) -> Sock {
        self.sockets.get(&self.name).copied().unwrap_or(NONE)
    }

    /// The socket that accept is about.
    fn accepting(&self) -> Sock {
        let sock = self.sock();
        if sock.listens { sock } else { self.listener.unwrap_or(sock) }
    }

    /// What a call of `line` returned. Some: the next call of the same line.
    fn returned(&mut self, line: &Step, ret: Ret, env: &mut Env<'_>) -> Option<Call> {
        let waits = self.timeout_ns(line).is_some_and(|ns| ns > 0);
        match ret {
            Ret::Fd(fd) => return self.holds(line, fd),
            Ret::Accepted { fd, from } => {
                let close = self.holds(line, fd);
                self.say(&format!("accept: from {from}"), env);
                return close;
            }
            Ret::Poll(ready) if ready.is_empty() => self.timed_out(line, env),
            Ret::Poll(_) if matches!(line, Step::Connect(_)) => return Some(Call::SocketError { fd: self.sock().fd }),
            Ret::Poll(_) => return self.call(line, env).ok(),
            Ret::Err(Errno::EINPROGRESS) if waits => {
                let ns = self.timeout_ns(line).unwrap_or(0);
                self.deadline = env.now + ns;
                return Some(self.poll(line, ns));
            }
            // Awake for nothing: as Python does, it waits for the rest of its time.
            Ret::Err(Errno::EAGAIN) if waits => return self.poll_again(line, env),
            Ret::Err(e) | Ret::SocketError(Some(e)) => self.failed(line, e, env),
            Ret::Sent(n) => return self.sent(line, n, env),
            Ret::Data(data) => return self.received(line, data.len(), "", env),
            Ret::Eof => return self.received(line, 0, "", env),
            Ret::Message(m) => {
                let from = if let From::Ip(addr) = m.from { format!(" from {addr}") } else { String::new() };
                return self.received(line, m.data.len(), &from, env);
            }
            Ret::Error(e) => {
                let from = if e.local { "local".to_owned() } else { format!("from {}", e.offender) };
                let ((kind, code), info, len) = (e.icmp, e.info, e.data.len());
                let text = format!("{} {from} type {kind} code {code} info {info} data {len}", e.errno.name());
                self.say(&format!("recv errqueue: {text}"), env);
            }
            _ => self.took_effect(line),
        }
        None
    }

    /// A new socket takes the place of the one of its name, which is closed; one that listens is still needed.
    fn holds(&mut self, line: &Step, fd: Fd) -> Option<Call> {
        let (Step::Socket { name, .. } | Step::Accept { name, .. }) = line else { return None };
        self.name = name.clone().unwrap_or_default();
        let old = self.sockets.insert(self.name.clone(), Sock { fd, ..NONE }).unwrap_or(NONE);
        let kept = matches!(line, Step::Accept { .. }) && self.listener.is_some_and(|l| l.fd == old.fd);
        (old.fd != NONE.fd && !kept).then(|| self.forget(old))
    }

    fn forget(&mut self, sock: Sock) -> Call {
        self.listener = self.listener.filter(|l| l.fd != sock.fd);
        Call::Close { fd: sock.fd }
    }

    /// A call that returns nothing but zero.
    fn took_effect(&mut self, line: &Step) {
        let sock = self.sock();
        let Some(held) = self.sockets.get_mut(&self.name) else { return };
        match line {
            Step::SetTimeout(ns) => held.timeout_ns = *ns,
            Step::Listen(_) => held.listens = true,
            Step::Close => *held = NONE,
            _ => return,
        }
        let now = *held;
        match line {
            Step::Listen(_) => self.listener = Some(now),
            _ => self.listener = self.listener.map(|l| if l.fd == sock.fd { now } else { l }),
        }
        self.listener = self.listener.filter(|l| l.fd != NONE.fd);
    }

    fn sent(&mut self, line: &Step, n: usize, env: &mut Env<'_>) -> Option<Call> {
        let Step::Send { payload, .. } = line else { return None };
        self.done += n;
        if self.done >= payload.len() || n == 0 {
            return None;
        }
        // As sendall: the time is that of the whole.
        match self.timeout_ns(line) {
            Some(1..) => self.poll_again(line, env),
            _ => self.call(line, env).ok(),
        }
    }

    /// Waits for the rest of the time.
    fn poll_again(&mut self, line: &Step, env: &mut Env<'_>) -> Option<Call> {
        if self.deadline <= env.now {
            self.timed_out(line, env);
            return None;
        }
        Some(self.poll(line, self.deadline - env.now))
    }

    fn received(&mut self, line: &Step, n: usize, from: &str, env: &mut Env<'_>) -> Option<Call> {
        let Step::Recv { size, until, .. } = line else { return None };
        let n = n.min(*size);
        self.done += n;
        let enough = match until {
            Until::Once => true,
            Until::Total(all) => self.done as u64 >= *all,
            Until::End => false,
        };
        if !enough && n > 0 {
            return self.begin(line, env).ok();
        }
        self.say(&format!("recv: {} bytes{from}", self.done), env);
        None
    }

    fn timed_out(&mut self, line: &Step, env: &mut Env<'_>) {
        self.say_received(line, env);
        self.say(&format!("{line}: timed out"), env);
    }

    fn failed(&mut self, line: &Step, e: Errno, env: &mut Env<'_>) {
        self.say_received(line, env);
        self.say(&format!("{line}: {} ({e})", e.name()), env);
    }

    /// What came before it failed.
    fn say_received(&mut self, line: &Step, env: &mut Env<'_>) {
        if matches!(line, Step::Recv { .. }) && self.done > 0 {
            self.say(&format!("recv: {} bytes", self.done), env);
        }
    }

    fn say(&self, text: &str, env: &mut Env<'_>) {
        let name = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
        env.console.out(format!("{name}{text}\n"));
    }
}

impl Program for Scripted {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if let Some(line) = self.current.take()
            && let Some(call) = self.returned(&line, ret, env)
        {
            self.current = Some(line);
            return call;
        }
        self.go_on(env)
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

fn option(value: &OptValue, env: &Env<'_>) -> Result<SockOpt, Errno> {
    match value {
        OptValue::Plain(opt) => Ok(*opt),
        OptValue::BindToDevice(name) => device(name, env).map(SockOpt::BindToDevice),
    }
}

fn device(name: &str, env: &Env<'_>) -> Result<IfIndex, Errno> {
    let link = show::links(env.spaces, env.ns, env.now).into_iter().find(|l| l.name == *name);
    link.map(|l| l.index).ok_or(Errno::ENODEV)
}
