//! Scripts in the manner of packetdrill (<https://github.com/google/packetdrill>): one TCP, and at the other end of
//! its wire the test, which makes every segment by hand and looks at every segment that comes.
//! `tests/oracles/drill.py` runs the same scripts against a real kernel.
//!
//! The host is 192.0.2.1 and serves port 8080; the peer is 192.0.2.2 and its port 1234, or 1234 + N where a segment
//! says `@N`. One line is one event; a word `+SECONDS` in front of it says how long after the event before.
//!
//! ```text
//! # A comment names the rule and what Linux chooses.
//! run sysctl -w net.ipv4.tcp_syncookies=0   a command in the host's namespace
//! listen 5                                  socket, bind, listen
//! < S 0:0(0) win 65535 <mss 1000,sackOK>    the peer sends; a window that is left out is 65535
//! > S. 0:0(0) ack 1 win 64240 <mss 1460>    the host sends; what is left out is not looked at, `*` is any number
//! accept = EAGAIN                           a call on the last connection, with what it returns
//! < icmp frag_needed 1000 seq 1             an ICMP error about the last segment, its sequence number changed
//! nothing for 100ms                         the host is silent
//! sleep 1s                                  it may send, and what it sends is expected later
//! accepted <mss 1000,sackOK,TS 100 0>       a connection to the host, of 50 ms; `connected` is one from it
//! ```
//!
//! Calls: `socket`, `bind PORT`, `connect [PORT]`, `listen BACKLOG`, `accept`, `send BYTES`, `recv BYTES`,
//! `shutdown read|write|both`, `close`, `error` (`SO_ERROR`), `poll`, `set OPTION VALUE`; none waits. Only `close
//! waits` does, until the script says `returns`. `listener` in front of a call means the listening socket, which
//! `listener prepare` makes.
//!
//! Sequence numbers of both sides are relative to the first SYN. Flags are those of packetdrill, E for ECE, W for CWR
//! and A for AE; in front of them may stand the ECN bits of the IP header: `[noecn]`, `[ect0]`, `[ect1]`, `[ce]`. A
//! timestamp `*` that is echoed is the host's last. Times are taken as the kernel's timer wheel can keep them, which
//! depends on its phase.

mod calls;
mod segment;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sim_core::base::{IfIndex, Mac, NsId, Time};
use sim_core::engine::{Config, Env, Program, Stopped, World};
use sim_core::kernel::netlink::Request;
use sim_core::kernel::syscall::{Call, Fd, Ret, SendTo, SockOpt, SocketKind};
use sim_core::kernel::trace::{self, DevName, DropReason, Fate, Mute, Sink, Step, What};
use sim_core::lab::{self, Action};

use segment::{Came, Isns};

const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOST_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const HOST_PORT: u16 = 8080;
const PEER_PORT: u16 = 1234;
const ETH0: IfIndex = IfIndex(2);
const ETHERTYPE_IP: u16 = 0x800;
const MS: u64 = 1_000_000;
/// How exactly a segment's time is known while one is waited for.
const TICK_NS: u64 = MS / 10;
/// How long a call may take.
const CALL_TICKS: u64 = 20;
/// What a measured time may be wrong by, besides the wheel.
const SLACK_NS: u64 = 20 * MS;
/// A packet socket that is not read at once would lose frames.
const TAP_BUFFER: u32 = 4 << 20;

const SET_UP: [&str; 6] = [
    "ip netns add peer",
    "ip link set lo up",
    "ip link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns peer",
    "ip link set eth0 up",
    "ip addr add 192.0.2.1/24 dev eth0",
    "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent",
];

/// Every script of tests/tcp, in order of their names.
///
/// # Panics
/// The folder is not there: the checkout is not whole.
#[must_use]
pub fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tcp");
    let entries = fs::read_dir(folder).expect("tests/tcp").map(|e| e.expect("an entry").path());
    let mut all: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
    all.sort();
    all
}

/// Runs a script; why frames were lost in it.
///
/// # Errors
/// Where it fails: file, line, what was expected and what came.
pub fn run(path: &Path) -> Result<Vec<DropReason>, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut drill = Drill::new()?;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            drill.line(line).map_err(|e| format!("{}:{}: {line}\n    {e}", path.display(), number + 1))?;
        }
    }
    drill.take_in();
    drill.nothing_came().map_err(|e| format!("{}: at the end: {e}", path.display()))?;
    Ok(drill.lost.0)
}

/// Listens for frames that are lost.
#[derive(Default)]
struct Lost(Vec<DropReason>);

impl Sink for Lost {
    fn step(&mut self, step: &Step) {
        if let What::Ended(Fate::Dropped(reason)) = step.what {
            self.0.push(reason);
        }
    }
    fn tap(&mut self, _: &trace::Tap<'_>) {}
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
    fn hears_taps(&self) -> bool {
        false
    }
}

type Shared<T> = Arc<Mutex<T>>;

fn locked<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A script that runs.
struct Drill {
    world: World,
    host: NsId,
    peer: NsId,
    /// What the peer's packet socket received.
    tap: Shared<Vec<(Time, Vec<u8>)>>,
    /// What of it no line expected yet.
    came: Vec<(Time, Vec<u8>)>,
    /// When the last event was.
    now: Time,
    isns: BTreeMap<u16, Isns>,
    /// The ports of the peer and of the host, where the host chose them.
    ports: BTreeMap<u16, (u16, u16)>,
    last_packet: Vec<u8>,
    conn: Option<Fd>,
    listener: Option<Fd>,
    /// What a call that waits has returned, and when.
    waiting: Option<Shared<Option<(Time, Ret)>>>,
    lost: Lost,
}

impl Drill {
    fn new() -> Result<Self, String> {
        let mut world = World::new(Config::default());
        world
            .configure(NsId::default(), &Request::NetnsAdd { name: "host".to_owned() }, &mut Mute)
            .map_err(|e| format!("{e:?}"))?;
        let host = world.namespace("host").ok_or("no namespace")?;
        for line in SET_UP {
            command(&mut world, host, line)?;
        }
        let peer = world.namespace("peer").ok_or("no namespace")?;
        command(&mut world, peer, "ip link set eth0 up")?;
        let tap: Shared<_> = Arc::default();
        let listener = Tap { fd: Fd(0), frames: tap.clone(), ready: false };
        world.spawn(peer, Box::new(listener), Time(0)).ok_or("no place for a process")?;
        let (isns, ports) = Default::default();
        let (came, last_packet) = (vec![], vec![]);
        let (now, conn, listener, waiting, lost) = (Time(0), None, None, None, Lost::default());
        let mut drill =
            Drill { world, host, peer, tap, came, now, isns, ports, last_packet, conn, listener, waiting, lost };
        drill.run_to(Time(MS))?;
        drill.now = Time(MS);
        Ok(drill)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (after_ns, line) = match line.strip_prefix('+') {
            Some(rest) => {
                let (seconds, line) = rest.split_once(' ').ok_or("nothing behind the time")?;
                (Some(seconds_ns(seconds)?), line.trim())
            }
            None => (None, line),
        };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == ">" {
            return self.expect(rest, after_ns.unwrap_or(0));
        }
        if word == "returns" {
            return self.returns(after_ns.unwrap_or(0));
        }
        let until = self.now + after_ns.unwrap_or(0);
        self.run_to(until)?;
        self.now = until;
        match word {
            "<" => self.inject(rest),
            "nothing" => {
                let until = self.now + duration_ns(rest.trim_start_matches("for "))?;
                self.run_to(until)?;
                self.now = until;
                self.nothing_came()
            }
            "sleep" => {
                let until = self.now + duration_ns(rest)?;
                self.now = until;
                self.run_to(until)
            }
            "run" => command(&mut self.world, self.host, rest),
            "accepted" | "connected" => self.establish(word, rest),
            "close" if rest == "waits" => self.close_waits(),
            _ => {
                let (call, want) = line.split_once(" = ").unwrap_or((line, ""));
                let (got, want) = (self.call(call)?, want.trim());
                let fits = if want.is_empty() { !got.starts_with('E') } else { got == want };
                if fits { Ok(()) } else { Err(format!("expected {want}, got {got}")) }
            }
        }
    }

    fn establish(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let options = rest.trim_matches(['<', '>']);
        let options = if options.is_empty() { "mss 1000,sackOK,nop,nop,nop,wscale 7" } else { options };
        let stamp = if options.contains("TS") { " <nop,nop,TS 100 *>" } else { "" };
        let lines = if word == "accepted" {
            let syn = format!("< S 0:0(0) <{options}>");
            let ack = format!("+0.05 < . 1:1(0) ack 1{stamp}");
            ["listen 5".to_owned(), syn, "> S. 0:0(0) ack 1".to_owned(), ack, "accept".to_owned()]
        } else {
            let options = options.replace("TS 100 0", "TS 100 *");
            let answer = format!("+0.05 < S. 0:0(0) ack 1 <{options}>");
            let [socket, connect] = ["socket", "connect = EINPROGRESS"].map(str::to_owned);
            [socket, connect, "> S 0:0(0)".to_owned(), answer, "> . 1:1(0) ack 1".to_owned()]
        };
        lines.iter().try_for_each(|line| self.line(line))
    }

    fn inject(&mut self, text: &str) -> Result<(), String> {
        let packet = if let Some(error) = text.strip_prefix("icmp ") {
            let isn = self.isns.get(&0).and_then(|i| i.host).unwrap_or(0);
            segment::icmp(error, &self.last_packet, isn)?
        } else {
            let (tag, text) = tagged(text)?;
            let ports = self.ports.get(&tag).copied().unwrap_or((PEER_PORT + tag, HOST_PORT));
            segment::build(text, ports, self.isns.get(&tag).copied().unwrap_or_default())?
        };
        self.execute(self.peer, &[Call::Socket(SocketKind::Packet { ethertype: ETHERTYPE_IP })], |fd| Call::Send {
            fd,
            to: Some(SendTo::Link { dev: ETH0, mac: HOST_MAC }),
            data: packet.clone(),
        })
        .map(|_| ())
    }

    fn expect(&mut self, text: &str, after_ns: u64) -> Result<(), String> {
        let due = self.now + after_ns;
        let slack = SLACK_NS + granularity_ns(after_ns);
        let (first, last) = (Time(due.0.saturating_sub(slack)), due + slack);
        let mut until = first;
        loop {
            self.run_to(until)?;
            if !self.came.is_empty() || until >= last {
                break;
            }
            until = (until + TICK_NS).max(self.world.now() + TICK_NS);
        }
        if self.came.is_empty() {
            return Err("nothing came".to_owned());
        }
        let (at, packet) = self.came.remove(0);
        let (tag, text) = tagged(text)?;
        let (came, ports) = segment::read(&packet)?;
        if came.is_syn() && !came.is_ack() {
            self.ports.insert(tag, (ports.1, ports.0));
        }
        let isns = self.isns.entry(tag).or_default();
        isns.learn(&came);
        self.last_packet = packet;
        let shown = format!("+{:.3} > {}", (at - self.now) as f64 / 1e9, came.show(*isns));
        let peer_port = self.ports.get(&tag).map_or(PEER_PORT + tag, |p| p.0);
        if ports.1 != peer_port {
            return Err(format!("to port {}, not {peer_port}: {shown}", ports.1));
        }
        if at < first {
            return Err(format!("too early: {shown}"));
        }
        self.now = at;
        came.matches(text, *isns).map_err(|what| format!("{what}: {shown}"))
    }

    /// close(2) of the connection begins.
    fn close_waits(&mut self) -> Result<(), String> {
        let call = Call::Close { fd: self.conn.take().ok_or("no such socket")? };
        let ret: Shared<_> = Arc::default();
        let caller = Caller { call: Some(call), ret: ret.clone(), stays: false };
        let at = self.world.now().max(self.now);
        self.world.spawn(self.host, Box::new(caller), at).ok_or("no place for a process")?;
        self.run_to(at + CALL_TICKS * TICK_NS)?;
        if locked(&ret).is_some() {
            return Err("it has returned already".to_owned());
        }
        self.waiting = Some(ret);
        Ok(())
    }

    /// The call that waits returns, so long after the event before.
    fn returns(&mut self, after_ns: u64) -> Result<(), String> {
        let waiting = self.waiting.take().ok_or("no call waits")?;
        let slack = SLACK_NS + granularity_ns(after_ns);
        let due = self.now + after_ns;
        let mut until = self.now;
        while locked(&waiting).is_none() && until < due + slack {
            until += TICK_NS;
            self.run_to(until)?;
        }
        let Some((at, ret)) = locked(&waiting).take() else { return Err("it still waits".to_owned()) };
        if at.0 + slack < due.0 {
            return Err(format!("too early: +{:.3} returns", (at - self.now) as f64 / 1e9));
        }
        self.now = at;
        if ret == Ret::Done { Ok(()) } else { Err(format!("it returned {ret:?}")) }
    }

    fn nothing_came(&self) -> Result<(), String> {
        let Some((at, packet)) = self.came.first() else { return Ok(()) };
        let (came, _): (Came, _) = segment::read(packet)?;
        let isns = self.isns.get(&0).copied().unwrap_or_default();
        Err(format!("unexpected at {at:?}: > {}", came.show(isns)))
    }

    /// Lets time go on until then.
    fn run_to(&mut self, until: Time) -> Result<(), String> {
        while let Stopped::Exit(machine, pid) = self.world.run(until, &mut self.lost).map_err(|e| format!("{e:?}"))? {
            let ns = if machine == self.host.machine() { self.host } else { self.peer };
            self.world.reap(ns, pid);
        }
        self.take_in();
        Ok(())
    }

    /// What the tap has, IPv4 of TCP from the host.
    fn take_in(&mut self) {
        let frames = std::mem::take(&mut *locked(&self.tap));
        self.came.extend(frames.into_iter().filter(|(_, p)| p.len() > 20 && p[9] == 6 && p[12..16] == HOST.octets()));
    }

    /// Calls of processes of their own: the first, then what is to be done with the descriptor that it gives. Returns
    /// what the last returned.
    fn execute(&mut self, ns: NsId, first: &[Call], then: impl Fn(Fd) -> Call) -> Result<Ret, String> {
        let mut ret = Ret::Done;
        let mut fd = Fd(0);
        for call in first {
            ret = self.one(ns, call.clone(), false)?;
            if let Ret::Fd(new) = ret {
                fd = new;
            }
        }
        if !first.is_empty() {
            ret = self.one(ns, then(fd), false)?;
            self.one(ns, Call::Close { fd }, false)?;
        }
        Ok(ret)
    }

    /// One system call of a process of its own, which ends with it unless it `stays`: then what it opened stays, too.
    fn one(&mut self, ns: NsId, call: Call, stays: bool) -> Result<Ret, String> {
        let ret: Shared<Option<(Time, Ret)>> = Arc::default();
        let stays = stays || matches!(call, Call::Socket(_) | Call::Accept { .. });
        let caller = Caller { call: Some(call), ret: ret.clone(), stays };
        let at = self.world.now().max(self.now);
        self.world.spawn(ns, Box::new(caller), at).ok_or("no place for a process")?;
        for tick in 1..=CALL_TICKS {
            self.run_to(at + tick * TICK_NS)?;
            if let Some((_, ret)) = locked(&ret).take() {
                return Ok(ret);
            }
        }
        Err("the call waits".to_owned())
    }
}

/// `@3 S 0:0(0)`: whose segment it is.
fn tagged(text: &str) -> Result<(u16, &str), String> {
    let Some(rest) = text.strip_prefix('@') else { return Ok((0, text)) };
    let (tag, text) = rest.split_once(' ').ok_or("nothing behind @")?;
    Ok((tag.parse().map_err(|_| format!("no number: {tag}"))?, text))
}

/// The granularity of the timer wheel's level for a timer of that length (kernel/time/timer.c).
fn granularity_ns(timer_ns: u64) -> u64 {
    let (mut granularity, mut reach) = (4 * MS, 252 * MS);
    while timer_ns >= reach {
        (granularity, reach) = (granularity * 8, reach * 8);
    }
    granularity
}

fn seconds_ns(text: &str) -> Result<u64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("no time: {text}"))?;
    Ok((seconds * 1e9) as u64)
}

fn duration_ns(text: &str) -> Result<u64, String> {
    let text = text.trim();
    match text.strip_suffix("ms") {
        Some(n) => seconds_ns(n).map(|ns| ns / 1000),
        None => seconds_ns(text.trim_end_matches('s')),
    }
}

fn command(world: &mut World, ns: NsId, line: &str) -> Result<(), String> {
    let requests = match lab::parse(line).map(|c| c.action) {
        Ok(Action::Requests(r)) => r.requests,
        Ok(Action::Sysctl(s)) => {
            let set = |v: lab::Variable| Request::Sysctl { name: v.name, value: v.value.unwrap_or_default() };
            s.variables.into_iter().map(set).collect()
        }
        other => return Err(format!("{line}: {other:?}")),
    };
    for request in &requests {
        world.configure(ns, request, &mut Mute).map_err(|e| format!("{line}: {e:?}"))?;
    }
    Ok(())
}

/// The peer's packet socket.
#[derive(Clone)]
struct Tap {
    fd: Fd,
    frames: Shared<Vec<(Time, Vec<u8>)>>,
    ready: bool,
}

impl Program for Tap {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => return Call::Socket(SocketKind::Packet { ethertype: ETHERTYPE_IP }),
            Ret::Fd(fd) => self.fd = fd,
            Ret::Message(m) => locked(&self.frames).push((m.at, m.data)),
            _ => {}
        }
        if !self.ready {
            self.ready = true;
            return Call::SetSockOpt { fd: self.fd, opt: SockOpt::RecvBuf(TAP_BUFFER) };
        }
        Call::Recv { fd: self.fd, size: 65_535, dontwait: false, errqueue: false }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// A process that makes one call.
#[derive(Clone)]
struct Caller {
    call: Option<Call>,
    ret: Shared<Option<(Time, Ret)>>,
    stays: bool,
}

impl Program for Caller {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if let Some(call) = self.call.take() {
            return call;
        }
        if ret != Ret::Start && locked(&self.ret).is_none() {
            *locked(&self.ret) = Some((env.now, ret));
        }
        if self.stays { Call::Poll { fds: vec![], timeout_ns: None } } else { Call::Exit(0) }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
