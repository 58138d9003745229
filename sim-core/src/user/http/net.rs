//! A stand-in for kernel and network, for tests: programs that talk over streams to each other, on one machine.

use crate::base::{Files, NsId, Pid, Prf, Salt, Time};
use crate::engine::process::{Console, Env, Program, Tasks};
use crate::engine::{Config, World};
use crate::kernel::errno::Errno;
use crate::kernel::netlink::Request;
use crate::kernel::netns::Spaces;
use crate::kernel::printk::KernelLog;
use crate::kernel::syscall::{Call, Fd, Ready, Ret, Shutdown, SockOpt};
use crate::kernel::trace::Mute;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What a system call takes. Nanoseconds.
const CALL_NS: u64 = 1_000;
/// No test needs more.
const MAX_CALLS: usize = 200_000;
/// 2026-11-21T15:28:59Z
pub(super) const EPOCH_S: u64 = 1_795_274_939;

/// The streams and the programs at their ends.
pub(super) struct Net {
    spaces: Spaces,
    ns: NsId,
    /// What programs read.
    pub files: Files,
    now: Time,
    programs: Vec<Process>,
    sockets: BTreeMap<u32, Socket>,
    /// What a stream holds before a send has to wait.
    pub room: usize,
    /// A connect to such an address is never answered.
    pub black_hole: Option<Ipv4Addr>,
}

struct Process {
    program: Box<dyn Program>,
    console: Console,
    /// What it waits in, and how long.
    waits: Option<(Call, Option<Time>)>,
    ret: Ret,
    calls: Vec<(Time, String)>,
    code: Option<i32>,
}

#[derive(Default)]
struct Socket {
    owner: usize,
    nonblock: bool,
    local: u16,
    listening: bool,
    queue: VecDeque<u32>,
    peer: Option<u32>,
    peer_addr: Option<SocketAddrV4>,
    inbox: VecDeque<u8>,
    /// The peer has ended its direction.
    eof: bool,
    reset: bool,
    error: Option<Errno>,
    closed: bool,
}

impl Net {
    pub(super) fn new() -> Self {
        let mut world = World::new(Config::default());
        world.configure(NsId::default(), &Request::NetnsAdd { name: "a".into() }, &mut Mute).unwrap();
        let ns = world.namespace("a").unwrap();
        Net {
            spaces: world.machine(ns).spaces().clone(),
            ns,
            files: Files::default(),
            now: Time(0),
            programs: vec![],
            sockets: BTreeMap::new(),
            room: usize::MAX,
            black_hole: None,
        }
    }

    /// Starts a program; its number.
    pub(super) fn spawn(&mut self, program: Box<dyn Program>) -> usize {
        let (console, ret) = (Console::default(), Ret::Start);
        self.programs.push(Process { program, console, waits: None, ret, calls: vec![], code: None });
        self.programs.len() - 1
    }

    /// Starts a server, and lets it wait for its first client.
    pub(super) fn serve(&mut self, program: Box<dyn Program>) {
        self.spawn(program);
        self.run_all();
    }

    /// Runs until a program has ended; what it printed and its exit status.
    pub(super) fn run(&mut self, wanted: usize) -> (String, i32) {
        for _ in 0..MAX_CALLS {
            if let Some(code) = self.programs[wanted].code {
                return (self.text(wanted), code);
            }
            let runnable = (0..self.programs.len()).rev().find(|n| self.ready(*n));
            match runnable {
                Some(n) => self.step(n),
                None => {
                    let ends = self.programs.iter().filter_map(|p| p.waits.as_ref()?.1);
                    self.now = ends.min().expect("all wait for ever");
                }
            }
        }
        panic!("does not end: {:?}", self.programs[wanted].calls.last());
    }

    /// Lets all that can go on go on, without time.
    pub(super) fn run_all(&mut self) {
        while let Some(n) = (0..self.programs.len()).rev().find(|n| self.ready(*n)) {
            self.step(n);
        }
    }

    pub(super) fn text(&self, n: usize) -> String {
        self.programs[n].console.all()
    }

    /// What a program called, without time.
    pub(super) fn calls(&self, n: usize) -> Vec<String> {
        self.programs[n].calls.iter().map(|(_, c)| c.clone()).collect()
    }

    /// When it made the calls that begin so, in milliseconds.
    pub(super) fn times_ms(&self, n: usize, name: &str) -> Vec<u64> {
        self.programs[n].calls.iter().filter(|(_, c)| c.starts_with(name)).map(|(t, _)| t.0 / 1_000_000).collect()
    }

    /// It can go on: what it waited for is there, or its time is out.
    fn ready(&mut self, n: usize) -> bool {
        if self.programs[n].code.is_some() {
            return false;
        }
        let Some((call, end)) = self.programs[n].waits.clone() else { return true };
        let late = end.is_some_and(|t| t <= self.now);
        match self.call(n, &call) {
            Some(ret) => self.programs[n].ret = ret,
            None if late => self.programs[n].ret = Ret::Poll(vec![]),
            None => return false,
        }
        self.programs[n].waits = None;
        true
    }

    fn step(&mut self, n: usize) {
        self.now += CALL_NS;
        let p = &mut self.programs[n];
        let prf = Prf::new(1);
        let mut env = Env {
            now: self.now,
            epoch_ns: EPOCH_S * 1_000_000_000,
            pid: Pid(7),
            ns: self.ns,
            alarmed: false,
            interrupted: false,
            spaces: &self.spaces,
            tasks: &Tasks::new(),
            log: &KernelLog::default(),
            files: &self.files,
            prf: &prf,
            salt: Salt::place(0),
            spent_ns: 0,
            secrets: &mut String::new(),
            proxied: &mut vec![],
            console: &mut p.console,
        };
        let call = p.program.step(std::mem::replace(&mut p.ret, Ret::Done), &mut env);
        self.now += env.spent_ns;
        p.program = p.program.boxed_clone();
        p.calls.push((self.now, written(&call)));
        if let Call::Exit(code) = call {
            p.code = Some(code);
            return;
        }
        match self.call(n, &call) {
            Some(ret) => self.programs[n].ret = ret,
            None => {
                let end = match call {
                    Call::Poll { timeout_ns, .. } => timeout_ns.map(|ns| self.now + ns),
                    _ => None,
                };
                self.programs[n].waits = Some((call, end));
            }
        }
    }

    fn call(&mut self, n: usize, call: &Call) -> Option<Ret> {
        Some(match call {
            Call::Socket(_) => {
                let fd = self.sockets.len() as u32 + 3;
                self.sockets.insert(fd, Socket { owner: n, local: 40_000 + fd as u16, ..Socket::default() });
                Ret::Fd(Fd(fd))
            }
            Call::Bind { fd, addr } => {
                self.sock(*fd).local = addr.port();
                Ret::Done
            }
            Call::Listen { fd, .. } => {
                self.sock(*fd).listening = true;
                Ret::Done
            }
            Call::SetSockOpt { fd, opt } => {
                if let SockOpt::NonBlock(on) = opt {
                    self.sock(*fd).nonblock = *on;
                }
                Ret::Done
            }
            Call::Connect { fd, addr } => self.connect(*fd, *addr),
            Call::Accept { fd, nonblock } => match self.sock(*fd).queue.pop_front() {
                Some(new) => {
                    let s = self.sock(Fd(new));
                    s.nonblock = *nonblock;
                    Ret::Accepted { fd: Fd(new), from: s.peer_addr.unwrap() }
                }
                None => return self.blocks(*fd),
            },
            Call::SockName { fd } => Ret::Addr(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.sock(*fd).local)),
            Call::PeerName { fd } => Ret::Addr(self.sock(*fd).peer_addr.unwrap()),
            Call::SocketError { fd } => Ret::SocketError(self.sock(*fd).error.take()),
            Call::Send { fd, data, .. } => return self.send(*fd, data),
            Call::Recv { fd, size, .. } => {
                let s = self.sock(*fd);
                if s.reset {
                    s.reset = false;
                    Ret::Err(Errno::ECONNRESET)
                } else if !s.inbox.is_empty() {
                    let n = s.inbox.len().min(*size);
                    Ret::Data(s.inbox.drain(..n).collect())
                } else if s.eof {
                    Ret::Eof
                } else {
                    return self.blocks(*fd);
                }
            }
            Call::Shutdown { fd, how } => {
                if *how != Shutdown::Read {
                    self.end(*fd, false);
                }
                Ret::Done
            }
            Call::Close { fd } => {
                let unread = !self.sock(*fd).inbox.is_empty();
                self.end(*fd, unread);
                self.sock(*fd).closed = true;
                Ret::Done
            }
            Call::Poll { fds, timeout_ns } => {
                let ready: Vec<Ready> = fds.iter().map(|f| self.poll(f.fd, f.read, f.write)).collect();
                if !ready.iter().any(|r| r.any()) {
                    return (*timeout_ns == Some(0)).then(|| Ret::Poll(vec![]));
                }
                Ret::Poll(ready)
            }
            other => panic!("no such call here: {other:?}"),
        })
    }

    fn sock(&mut self, fd: Fd) -> &mut Socket {
        let s = self.sockets.get_mut(&fd.0).expect("a socket");
        assert!(!s.closed, "{fd:?} is closed");
        s
    }

    fn blocks(&mut self, fd: Fd) -> Option<Ret> {
        self.sock(fd).nonblock.then_some(Ret::Err(Errno::EAGAIN))
    }

    fn connect(&mut self, fd: Fd, addr: SocketAddrV4) -> Ret {
        if self.black_hole == Some(*addr.ip()) {
            return Ret::Err(Errno::EINPROGRESS);
        }
        let listener = self.sockets.iter().find(|(_, s)| s.listening && s.local == addr.port());
        let Some((&listener, at)) = listener else {
            self.sock(fd).error = Some(Errno::ECONNREFUSED);
            return Ret::Err(Errno::EINPROGRESS);
        };
        let (owner, new) = (at.owner, self.sockets.len() as u32 + 3);
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.sock(fd).local);
        let (peer, peer_addr) = (Some(fd.0), Some(from));
        self.sockets.insert(new, Socket { owner, local: addr.port(), peer, peer_addr, ..Socket::default() });
        let s = self.sock(fd);
        (s.peer, s.peer_addr) = (Some(new), Some(addr));
        self.sock(Fd(listener)).queue.push_back(new);
        Ret::Err(Errno::EINPROGRESS)
    }

    fn send(&mut self, fd: Fd, data: &[u8]) -> Option<Ret> {
        let room = self.room;
        let peer = self.sock(fd).peer.and_then(|p| self.sockets.get_mut(&p)).expect("a peer");
        if peer.closed {
            return Some(Ret::Err(Errno::EPIPE));
        }
        let n = room.saturating_sub(peer.inbox.len()).min(data.len());
        if n == 0 && !data.is_empty() {
            return self.blocks(fd);
        }
        peer.inbox.extend(&data[..n]);
        Some(Ret::Sent(n))
    }

    fn end(&mut self, fd: Fd, reset: bool) {
        if let Some(peer) = self.sock(fd).peer.and_then(|p| self.sockets.get_mut(&p)) {
            peer.eof = true;
            peer.reset |= reset;
        }
    }

    fn poll(&mut self, fd: Fd, read: bool, write: bool) -> Ready {
        let room = self.room;
        let s = self.sock(fd);
        let error = s.error.is_some() || s.reset;
        let readable = !s.inbox.is_empty() || s.eof || !s.queue.is_empty() || error;
        let peer = s.peer.and_then(|p| self.sockets.get(&p));
        let writable = error || peer.is_some_and(|p| p.inbox.len() < room);
        Ready { read: read && readable, write: write && writable, error, hangup: error }
    }
}

fn written(call: &Call) -> String {
    match call {
        Call::Send { fd, data, .. } => format!("Send({}, {})", fd.0, data.len()),
        Call::Recv { fd, size, .. } => format!("Recv({}, {size})", fd.0),
        Call::Poll { fds, timeout_ns } => {
            let fds: Vec<String> = fds
                .iter()
                .map(|f| {
                    let what = match (f.read, f.write) {
                        (true, true) => "rw",
                        (true, false) => "r",
                        _ => "w",
                    };
                    format!("{}{what}", f.fd.0)
                })
                .collect();
            format!("Poll({}, {})", fds.join(" "), timeout_ns.map_or(-1, |ns| (ns / 1_000_000) as i64))
        }
        Call::SetSockOpt { fd, opt } => format!("SetSockOpt({}, {opt:?})", fd.0),
        Call::Connect { fd, addr } => format!("Connect({}, {addr})", fd.0),
        Call::Bind { fd, addr } => format!("Bind({}, {addr})", fd.0),
        Call::Listen { fd, backlog } => format!("Listen({}, {backlog})", fd.0),
        Call::Accept { fd, .. } => format!("Accept({})", fd.0),
        Call::SockName { fd } => format!("SockName({})", fd.0),
        Call::PeerName { fd } => format!("PeerName({})", fd.0),
        Call::SocketError { fd } => format!("SocketError({})", fd.0),
        Call::Shutdown { fd, how } => format!("Shutdown({}, {how:?})", fd.0),
        Call::Close { fd } => format!("Close({})", fd.0),
        call => format!("{call:?}"),
    }
}

/// A program that accepts one connection after the other and plays its part in each: bytes to send, `None` to read
/// once, and the end.
#[derive(Clone)]
pub(super) struct Fixed {
    port: u16,
    parts: Vec<Part>,
    at: usize,
    fds: (Fd, Fd),
}

/// What [`Fixed`] does with a connection.
#[derive(Clone)]
pub(super) enum Part {
    Recv,
    Send(&'static str),
    Sleep(u64),
    Close,
}

impl Fixed {
    pub(super) fn new(port: u16, parts: &[Part]) -> Box<Self> {
        Box::new(Fixed { port, parts: parts.to_vec(), at: 0, fds: (Fd(0), Fd(0)) })
    }
}

impl Program for Fixed {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        let at = self.at;
        self.at += 1;
        match ret {
            Ret::Fd(fd) => self.fds.0 = fd,
            Ret::Accepted { fd, .. } => self.fds.1 = fd,
            _ => {}
        }
        let (listener, fd) = self.fds;
        match at {
            0 => Call::Socket(crate::kernel::syscall::SocketKind::Tcp),
            1 => Call::Bind { fd: listener, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port) },
            2 => Call::Listen { fd: listener, backlog: 5 },
            3 => Call::Accept { fd: listener, nonblock: false },
            n => match self.parts.get(n - 4) {
                Some(Part::Recv) => Call::Recv { fd, size: 1000, dontwait: false, errqueue: false },
                Some(Part::Send(text)) => Call::Send { fd, to: None, data: text.as_bytes().to_vec() },
                Some(Part::Sleep(ns)) => Call::Poll { fds: vec![], timeout_ns: Some(*ns) },
                Some(Part::Close) => Call::Close { fd },
                None => {
                    self.at = 4;
                    Call::Accept { fd: listener, nonblock: false }
                }
            },
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
