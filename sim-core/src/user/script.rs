//! A stand-in for kernel and network, for tests: programs run against it to their end; what they call and print is
//! kept.

use crate::base::words::Word;
use crate::base::{Files, IfIndex, Mac, NsId, Pid, Prf, Salt, Time};
use crate::engine::process::{Console, Env, Tasks};
use crate::engine::{Config, World};
use crate::kernel::errno::Errno;
use crate::kernel::netlink::{Addr, LinkAdd, LinkChange, LinkKind, Request};
use crate::kernel::netns::Spaces;
use crate::kernel::printk::KernelLog;
use crate::kernel::syscall::{Call, Fd, From, Message, QueuedError, Ready, Ret, SendTo, SockOpt, SocketKind};
use crate::kernel::trace::Mute;
use crate::wire::checksum;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What a system call takes. Nanoseconds.
pub(super) const CALL_NS: u64 = 1_000;
/// No test needs more.
const MAX_CALLS: usize = 20_000;
/// The hardware address of eth0.
pub(super) const OWN_MAC: Mac = Mac([0x0a, 0xaa, 0, 0, 0, 2]);
pub(super) const EPOCH_S: u64 = 1_795_253_606;

/// A command line's words, by spaces.
pub(super) fn words(line: &str) -> Vec<Word> {
    let mut at = 0;
    let mut words = Vec::new();
    for text in line.split(' ') {
        if !text.is_empty() {
            words.push(Word { text: text.to_owned(), span: at..at + text.len() });
        }
        at += text.len() + 1;
    }
    words
}

/// Something that reaches the socket.
#[derive(Clone)]
pub(super) enum Arrival {
    Message(Message),
    Error(QueuedError),
    /// The socket's error alone.
    Failure(Errno),
}

/// What sending the nth datagram (from 1) does: what arrives how many microseconds later, or an error and what the
/// error queue holds then.
pub(super) type Answer = Box<dyn FnMut(usize, &[u8], SendTo) -> Sent>;
type Sent = Result<Vec<(u64, Arrival)>, (Errno, Vec<QueuedError>)>;

pub(super) struct Script {
    pub answer: Answer,
    /// Calls to refuse, by the beginning of how they are written down; once each.
    pub refuse: Vec<(&'static str, Errno)>,
    /// What getsockname(2) says.
    pub source: Ipv4Addr,
    spaces: Spaces,
    ns: NsId,
    now: Time,
    alarm: Option<Time>,
    recv_timeout_ns: u64,
    icmp_filter: u32,
    echo_filter: Option<u16>,
    sent: usize,
    arriving: BTreeMap<(Time, usize), Arrival>,
    inbox: VecDeque<Message>,
    errors: VecDeque<QueuedError>,
    error: Option<Errno>,
}

/// How a program went.
pub(super) struct Done {
    /// Both streams.
    pub text: String,
    pub code: i32,
    /// Time in microseconds and call.
    pub calls: Vec<(u64, String)>,
}

impl Done {
    /// The calls that begin with one of `names`.
    pub(super) fn calls(&self, names: &[&str]) -> Vec<&str> {
        let wanted = |c: &&str| names.iter().any(|n| c.starts_with(n));
        self.calls.iter().map(|(_, c)| c.as_str()).filter(wanted).collect()
    }

    /// When the calls that begin with `name` were made, in whole milliseconds.
    pub(super) fn times_ms(&self, name: &str) -> Vec<u64> {
        self.calls.iter().filter(|(_, c)| c.starts_with(name)).map(|(t, _)| t / 1000).collect()
    }
}

impl Script {
    /// Nothing answers. There are lo and eth0 with 10.8.0.2/24; `change` may change eth0.
    pub(super) fn with_link(change: Option<LinkChange>) -> Self {
        let mut world = World::new(Config::default());
        world.configure(NsId::default(), &Request::NetnsAdd { name: "a".into() }, &mut Mute).unwrap();
        let ns = world.namespace("a").unwrap();
        let kind = LinkKind::Veth { peer: None };
        let (name, address) = (Some("eth0".into()), Some(OWN_MAC));
        let link = LinkAdd { name, address, mtu: None, netns: None, master: None, up: true, kind };
        let local = "10.8.0.2/24".parse().unwrap();
        let addr = Addr { dev: "eth0".into(), local, peer: None, broadcast: None, scope: None, label: None };
        let lo = Request::LinkSet { dev: "lo".into(), changes: vec![LinkChange::Up(true)] };
        let changes = Request::LinkSet { dev: "eth0".into(), changes: change.into_iter().collect() };
        for request in [lo, Request::LinkAdd(link), Request::AddrAdd(addr), changes] {
            world.configure(ns, &request, &mut Mute).unwrap();
        }
        Script {
            answer: Box::new(|_, _, _| Ok(vec![])),
            refuse: vec![("Socket(Ping)", Errno::EACCES)],
            source: [10, 8, 0, 2].into(),
            spaces: world.machine(ns).spaces().clone(),
            ns,
            now: Time(0),
            alarm: None,
            recv_timeout_ns: 0,
            icmp_filter: 0,
            echo_filter: None,
            sent: 0,
            arriving: BTreeMap::new(),
            inbox: VecDeque::new(),
            errors: VecDeque::new(),
            error: None,
        }
    }

    pub(super) fn new() -> Self {
        Script::with_link(None)
    }

    pub(super) fn answering(answer: Answer) -> Self {
        Script { answer, ..Script::new() }
    }

    /// The socket gets this error then.
    pub(super) fn fail_at(&mut self, at: Time, errno: Errno) {
        self.arriving.insert((at, 0), Arrival::Failure(errno));
    }

    /// Runs a command line to its end.
    pub(super) fn run(mut self, line: &str) -> Done {
        let mut program = super::parse(&words(line)).unwrap();
        let (mut console, mut calls, mut ret) = (Console::default(), Vec::new(), Ret::Start);
        let (prf, files) = (Prf::new(1), Files::default());
        for _ in 0..MAX_CALLS {
            self.now += CALL_NS;
            let alarmed = self.alarm.take_if(|at| *at <= self.now).is_some();
            let mut env = Env {
                now: self.now,
                epoch_ns: EPOCH_S * 1_000_000_000,
                pid: Pid(0x1_2345),
                ns: self.ns,
                alarmed: alarmed || ret == Ret::Err(Errno::EINTR),
                interrupted: false,
                spaces: &self.spaces,
                prf: &prf,
                salt: Salt::place(0),
                tasks: &Tasks::new(),
                log: &KernelLog::default(),
                files: &files,
                spent_ns: 0,
                secrets: &mut String::new(),
                proxied: &mut vec![],
                console: &mut console,
            };
            let call = program.step(ret, &mut env);
            // A copy must go on from the same point.
            program = program.boxed_clone();
            calls.push((self.now.0 / 1000, written(&call)));
            if let Call::Exit(code) = call {
                return Done { text: console.all(), code, calls };
            }
            ret = self.call(&call);
        }
        panic!("{line} does not end: {}", console.all());
    }

    fn call(&mut self, call: &Call) -> Ret {
        let name = written(call);
        if let Some(at) = self.refuse.iter().position(|(n, _)| name.starts_with(n)) {
            return Ret::Err(self.refuse.remove(at).1);
        }
        match call {
            Call::Socket(kind) => Ret::Fd(Fd(if *kind == SocketKind::Udp { 5 } else { 3 })),
            Call::SockName { .. } => Ret::Addr(SocketAddrV4::new(self.source, 0)),
            Call::SetSockOpt { opt, .. } => {
                match opt {
                    SockOpt::RecvTimeout(ns) => self.recv_timeout_ns = *ns,
                    SockOpt::IcmpFilter(mask) => self.icmp_filter = *mask,
                    SockOpt::EchoFilter(ident) => self.echo_filter = Some(*ident),
                    _ => {}
                }
                Ret::Done
            }
            Call::Alarm { ns } => {
                self.alarm = (*ns > 0).then_some(self.now + *ns);
                Ret::Done
            }
            Call::Send { to, data, .. } => self.send(to.unwrap(), data),
            Call::Recv { errqueue: true, .. } => self.recv_error(),
            Call::Recv { dontwait, .. } => {
                let timeout = (self.recv_timeout_ns > 0).then_some(self.recv_timeout_ns);
                self.wait(timeout, *dontwait);
                self.recv()
            }
            Call::Poll { timeout_ns, .. } => {
                self.wait(*timeout_ns, false);
                let error = self.error.is_some() || !self.errors.is_empty();
                if self.interrupted() {
                    return Ret::Err(Errno::EINTR);
                }
                let ready = Ready { read: !self.inbox.is_empty(), error, ..Ready::default() };
                Ret::Poll(ready.any().then_some(ready).into_iter().collect())
            }
            _ => Ret::Done,
        }
    }

    fn send(&mut self, to: SendTo, data: &[u8]) -> Ret {
        self.sent += 1;
        match (self.answer)(self.sent, data, to) {
            Ok(arrivals) => {
                for (us, arrival) in arrivals {
                    let n = self.arriving.len();
                    self.arriving.insert((self.now + us * 1000, n), arrival);
                }
                Ret::Sent(data.len())
            }
            Err((e, queued)) => {
                self.errors.extend(queued);
                Ret::Err(e)
            }
        }
    }

    /// Lets time go by until there is something for the socket, or an alarm.
    fn wait(&mut self, timeout_ns: Option<u64>, dontwait: bool) {
        let end = timeout_ns.map(|ns| self.now + ns);
        loop {
            while let Some(first) = self.arriving.first_entry()
                && first.key().0 <= self.now
            {
                let ((at, _), arrival) = first.remove_entry();
                self.arrive(at, arrival);
            }
            let some = self.error.is_some() || !self.inbox.is_empty() || !self.errors.is_empty();
            if some || dontwait || self.interrupted() || end.is_some_and(|t| t <= self.now) {
                return;
            }
            let next = self.arriving.keys().next().map(|k| k.0);
            self.now = [next, end, self.alarm].into_iter().flatten().min().expect("waits for ever");
        }
    }

    fn interrupted(&self) -> bool {
        self.alarm.is_some_and(|t| t <= self.now)
    }

    fn arrive(&mut self, at: Time, arrival: Arrival) {
        match arrival {
            Arrival::Message(mut m) => {
                m.at = at;
                let kept_away = matches!(m.from, From::Ip(_)) && m.data.len() >= 28 && {
                    let icmp = &m.data[20..];
                    let foreign = |id: u16| icmp[0] == 0 && icmp[4..6] != id.to_be_bytes();
                    icmp[0] < 32 && self.icmp_filter & 1 << icmp[0] != 0 || self.echo_filter.is_some_and(foreign)
                };
                if !kept_away {
                    self.inbox.push_back(m);
                }
            }
            Arrival::Error(e) => {
                self.error = Some(e.errno);
                self.errors.push_back(e);
            }
            Arrival::Failure(e) => self.error = Some(e),
        }
    }

    fn recv(&mut self) -> Ret {
        if let Some(e) = self.error.take() {
            return Ret::Err(e);
        }
        match self.inbox.pop_front() {
            Some(m) => Ret::Message(m),
            None if self.interrupted() => {
                self.alarm = None;
                Ret::Err(Errno::EINTR)
            }
            None => Ret::Err(Errno::EAGAIN),
        }
    }

    fn recv_error(&mut self) -> Ret {
        let Some(e) = self.errors.pop_front() else { return Ret::Err(Errno::EAGAIN) };
        self.error = self.errors.front().filter(|e| !e.local).map(|e| e.errno);
        Ret::Error(e)
    }
}

/// A call as tests write it.
pub(super) fn written(call: &Call) -> String {
    match call {
        Call::Send { data, .. } => format!("Send({})", data.len()),
        Call::Recv { errqueue: true, .. } => "Recv(ERRQUEUE)".to_owned(),
        Call::Recv { dontwait: true, .. } => "Recv(DONTWAIT)".to_owned(),
        Call::Recv { .. } => "Recv".to_owned(),
        Call::Poll { timeout_ns, .. } => format!("Poll({})", timeout_ns.map_or(-1, |ns| (ns / 1_000_000) as i64)),
        Call::Alarm { ns } => format!("Alarm({})", ns / 1000),
        Call::SetSockOpt { fd, opt } => format!("SetSockOpt({}, {opt:?})", fd.0),
        Call::Connect { fd, addr } => format!("Connect({}, {})", fd.0, addr.ip()),
        Call::SockName { fd } => format!("SockName({})", fd.0),
        Call::Bind { fd, addr } => format!("Bind({}, {})", fd.0, addr.ip()),
        Call::BindDev { fd, dev } => format!("BindDev({}, {dev})", fd.0),
        call => format!("{call:?}"),
    }
}

/// An ICMP message in an IPv4 packet, as a raw socket gets it.
pub(super) fn icmp(from: [u8; 4], ttl: u8, mut message: Vec<u8>) -> Arrival {
    if message[2..4] == [0, 0] {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let mut data = vec![0x45, 0, 0, 0, 0, 0, 0, 0, ttl, 1, 0, 0];
    data.extend(from);
    data.extend([10, 8, 0, 2]);
    data.extend(message);
    Arrival::Message(Message { data, from: From::Ip(SocketAddrV4::new(from.into(), 0)), at: Time(0), ttl })
}

/// The reply to an echo request.
pub(super) fn echo(from: [u8; 4], ttl: u8, request: &[u8]) -> Arrival {
    let mut reply = request.to_vec();
    reply[0] = 0;
    reply[2..4].fill(0);
    icmp(from, ttl, reply)
}

/// An ARP packet, as a packet socket gets it.
pub(super) fn arp(from: Mac, broadcast: bool, packet: crate::wire::arp::Arp) -> Arrival {
    let mut data = vec![0; crate::wire::arp::ARP_LEN];
    packet.write(&mut data);
    Arrival::Message(Message { data, from: From::Link { mac: from, broadcast }, at: Time(0), ttl: 0 })
}

/// The index of eth0.
pub(super) const ETH0: IfIndex = IfIndex(3);
