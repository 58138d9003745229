//! The `script` program of scenario files: system calls one after the other, as a short Python program makes them. It
//! goes on after an error and prints a line about it; what it received is a line too.
//!
//! A script has one socket at a time, as a variable of a program holds one: a new one closes the old.

use crate::base::Time;
use crate::base::time::US;
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Fd, From, PollFd, Ret, SendTo, Shutdown, SockOpt, SocketKind};
use std::fmt;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// What a call takes of the CPU unless the script says something else: a method of Python's socket.
pub const DEFAULT_COST_NS: u64 = 100 * US;
/// The most that recv takes if the script does not say.
pub const DEFAULT_RECV_SIZE: usize = 65_535;

/// A line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// socket(2): a UDP socket.
    Socket,
    /// setsockopt(2)
    SetSockOpt(Opt),
    /// bind(2)
    Bind(SocketAddrV4),
    /// connect(2)
    Connect(SocketAddrV4),
    /// send(2), or sendto(2) with an address.
    Send {
        /// Bytes of the payload.
        size: usize,
        /// What it is made of.
        byte: u8,
        /// Left out on a connected socket.
        to: Option<SocketAddrV4>,
    },
    /// recv(2)
    Recv {
        /// Polls for so many nanoseconds first; zero does not wait at all. Without it, it waits in recv(2).
        timeout_ns: Option<u64>,
        /// What is longer is cut.
        size: usize,
        /// MSG_ERRQUEUE: an ICMP error of a socket with IP_RECVERR; never waits.
        errqueue: bool,
    },
    /// shutdown(2)
    Shutdown(Shutdown),
    /// close(2)
    Close,
    /// nanosleep(2)
    Sleep(u64),
    /// The lines so many times.
    Repeat(u64, Arc<[Step]>),
    /// From here on a call takes so many nanoseconds of the CPU before it is made.
    Cost(u64),
}

/// An option with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opt {
    /// As the script has it: `ip ttl 1`.
    pub text: String,
    /// What is set.
    pub value: OptValue,
}

/// What a script can set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptValue {
    /// An option by number.
    Plain(SockOpt),
    /// SO_BINDTODEVICE, which takes a name.
    BindToDevice(String),
}

impl Step {
    /// How many lines are run when all is repeated as it says.
    pub fn count(&self) -> u64 {
        match self {
            Step::Repeat(times, body) => {
                let once = body.iter().fold(0, |n: u64, s| n.saturating_add(s.count()));
                times.saturating_mul(once.saturating_add(1))
            }
            _ => 1,
        }
    }
}

impl fmt::Display for Step {
    /// The call as it stands in front of its error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Socket => f.write_str("socket udp"),
            Step::SetSockOpt(opt) => write!(f, "setsockopt {}", opt.text),
            Step::Bind(addr) => write!(f, "bind {addr}"),
            Step::Connect(addr) => write!(f, "connect {addr}"),
            Step::Send { to: Some(to), .. } => write!(f, "send to {to}"),
            Step::Send { .. } => f.write_str("send"),
            Step::Recv { errqueue: true, .. } => f.write_str("recv errqueue"),
            Step::Recv { .. } => f.write_str("recv"),
            Step::Shutdown(Shutdown::Read) => f.write_str("shutdown read"),
            Step::Shutdown(Shutdown::Write) => f.write_str("shutdown write"),
            Step::Shutdown(Shutdown::Both) => f.write_str("shutdown both"),
            Step::Close => f.write_str("close"),
            Step::Sleep(_) => f.write_str("sleep"),
            Step::Repeat(..) => f.write_str("repeat"),
            Step::Cost(_) => f.write_str("cost"),
        }
    }
}

/// A script that runs.
#[derive(Clone)]
pub struct Scripted {
    /// Where it is: the lines of the script, and of the repeats inside each other.
    blocks: Vec<Block>,
    /// The line whose call was made.
    current: Option<Step>,
    /// No descriptor is zero: a call on a socket that is not there is EBADF.
    sock: Fd,
    cost_ns: u64,
    /// When the recv that polls gives up.
    deadline: Time,
}

#[derive(Clone)]
struct Block {
    lines: Arc<[Step]>,
    next: usize,
    /// So often again.
    again: u64,
}

impl Scripted {
    /// The script at its first line.
    pub fn new(lines: Arc<[Step]>) -> Self {
        let blocks = vec![Block { lines, next: 0, again: 0 }];
        Scripted { blocks, current: None, sock: Fd(0), cost_ns: DEFAULT_COST_NS, deadline: Time(0) }
    }

    /// The next line that is a call, and the call; exit at the end.
    fn go_on(&mut self, env: &mut Env<'_>) -> Call {
        self.current = None;
        while let Some(line) = self.advance() {
            match line {
                Step::Cost(ns) => self.cost_ns = ns,
                Step::Repeat(times, lines) => self.blocks.push(Block { lines, next: 0, again: times - 1 }),
                line => match self.call(&line, env) {
                    Ok(call) => {
                        self.current = Some(line);
                        env.spent_ns = self.cost_ns;
                        return call;
                    }
                    Err(e) => failed(&line, e, env),
                },
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

    fn call(&mut self, line: &Step, env: &Env<'_>) -> Result<Call, Errno> {
        let fd = self.sock;
        Ok(match line {
            Step::Socket => Call::Socket(SocketKind::Udp),
            Step::SetSockOpt(opt) => Call::SetSockOpt { fd, opt: option(&opt.value, env)? },
            Step::Bind(addr) => Call::Bind { fd, addr: *addr },
            Step::Connect(addr) => Call::Connect { fd, addr: *addr },
            Step::Send { size, byte, to } => Call::Send { fd, to: to.map(SendTo::Ip), data: vec![*byte; *size] },
            Step::Recv { timeout_ns: Some(ns @ 1..), errqueue: false, .. } => {
                self.deadline = env.now + *ns;
                Call::Poll { fds: vec![PollFd::read(fd)], timeout_ns: Some(*ns) }
            }
            Step::Recv { timeout_ns, errqueue, size } => {
                let dontwait = timeout_ns.is_some() || *errqueue;
                Call::Recv { fd, size: *size, dontwait, errqueue: *errqueue }
            }
            Step::Shutdown(how) => Call::Shutdown { fd, how: *how },
            Step::Close => Call::Close { fd },
            Step::Sleep(ns) => Call::Sleep { ns: *ns },
            Step::Repeat(..) | Step::Cost(_) => return Err(Errno::EINVAL),
        })
    }

    /// What a call of `line` returned. Some: the next call of the same line.
    fn returned(&mut self, line: &Step, ret: Ret, env: &mut Env<'_>) -> Option<Call> {
        let polls = matches!(line, Step::Recv { timeout_ns: Some(1..), errqueue: false, .. });
        match ret {
            Ret::Fd(fd) => {
                let old = std::mem::replace(&mut self.sock, fd);
                return (old != Fd(0)).then_some(Call::Close { fd: old });
            }
            Ret::Poll(ready) if ready.is_empty() => env.console.out("recv: timed out\n"),
            Ret::Poll(_) => {
                let size = if let Step::Recv { size, .. } = line { *size } else { DEFAULT_RECV_SIZE };
                return Some(Call::Recv { fd: self.sock, size, dontwait: true, errqueue: false });
            }
            // Awake for nothing: as Python does, it waits for the rest of its time.
            Ret::Err(Errno::EAGAIN) if polls && self.deadline <= env.now => env.console.out("recv: timed out\n"),
            Ret::Err(Errno::EAGAIN) if polls => {
                let fds = vec![PollFd::read(self.sock)];
                return Some(Call::Poll { fds, timeout_ns: Some(self.deadline - env.now) });
            }
            Ret::Err(e) => failed(line, e, env),
            Ret::Message(m) => {
                let size = if let Step::Recv { size, .. } = line { *size } else { DEFAULT_RECV_SIZE };
                let from = if let From::Ip(addr) = m.from { format!(" from {addr}") } else { String::new() };
                env.console.out(format!("recv: {} bytes{from}\n", m.data.len().min(size)));
            }
            Ret::Eof => env.console.out("recv: 0 bytes\n"),
            Ret::Error(e) => {
                let from = if e.local { "local".to_owned() } else { format!("from {}", e.offender) };
                let ((kind, code), info, len) = (e.icmp, e.info, e.data.len());
                let text = format!("{} {from} type {kind} code {code} info {info} data {len}", e.errno.name());
                env.console.out(format!("recv errqueue: {text}\n"));
            }
            _ => {}
        }
        if *line == Step::Close {
            self.sock = Fd(0);
        }
        None
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
        OptValue::BindToDevice(name) => {
            let link = show::links(env.spaces, env.ns, env.now).into_iter().find(|l| l.name == *name);
            link.map(|l| SockOpt::BindToDevice(l.index)).ok_or(Errno::ENODEV)
        }
    }
}

fn failed(line: &Step, e: Errno, env: &mut Env<'_>) {
    env.console.out(format!("{line}: {} ({e})\n", e.name()));
}
