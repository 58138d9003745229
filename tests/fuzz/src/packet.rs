//! Frames out of a pod's veth into a bridge, its node and another pod: a packet socket sends whatever it is told. Their
//! bytes are the input's:
//!
//! ```text
//! flags (1) · Ethertype (2) · length (1) · what follows the Ethernet header (length)
//! ```
//!
//! again and again. The flags choose whose address the frame goes to, how long the sender waits before it, and whether
//! its checksums are put right, without which nothing would get past them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;

use sim_core::base::{IfIndex, Mac, NsId, Time};
use sim_core::engine::{Config, Env, Limits, Program, World};
use sim_core::kernel::netlink::Request;
use sim_core::kernel::syscall::{Call, Fd, Ret, SendTo, SockOpt, SocketKind};
use sim_core::kernel::trace::Mute;
use sim_core::lab::{self, Action};
use sim_core::wire::checksum;

/// A lab is stopped after this much.
const LIMITS: Limits = Limits { chain_frames: 2_000, frames: 20_000, events: 20_000 };
/// Frames of an input that are sent.
const MAX_FRAMES: usize = 32;
/// System calls of a listener.
const MAX_CALLS: u32 = 200;
/// How long the lab goes on after the last frame, in simulated time: fragments and neighbours are given up by then.
const AFTER_NS: u64 = 40_000_000_000;

/// eth0 of every pod comes after lo.
const ETH0: IfIndex = IfIndex(2);
/// Bits 0 and 1 of the flags.
const DESTINATIONS: [Mac; 4] =
    [Mac::BROADCAST, Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 4]), Mac([1, 0, 0x5e, 0, 0, 1])];
/// Bits 2 and 3 of the flags, in nanoseconds.
const WAITS: [u64; 4] = [0, 0, 1_000_000, 1_500_000_000];
/// A flag: the checksums of IPv4, and of ICMP or UDP behind it, are put right.
const GOOD_CHECKSUMS: u8 = 0x10;

/// The sender p1 and the listener p2 on a bridge, which has a second network behind p2.
const SET_UP: [(&str, &str); 18] = [
    ("node", "ip netns add p1"),
    ("node", "ip netns add p2"),
    ("node", "sysctl -w net.ipv4.ip_forward=1"),
    ("node", "ip link add br0 address 02:00:00:00:00:01 type bridge"),
    ("node", "ip link add v1 address 02:00:00:00:00:02 type veth peer name eth0 address 02:00:00:00:00:03 netns p1"),
    ("node", "ip link add v2 address 02:00:00:00:00:05 type veth peer name eth0 address 02:00:00:00:00:04 netns p2"),
    ("node", "ip link set v1 master br0 up"),
    ("node", "ip link set v2 master br0 up mtu 600"),
    ("node", "ip link set br0 up"),
    ("node", "ip addr add 10.0.0.1/24 dev br0"),
    ("node", "ip route add 10.9.0.0/16 via 10.0.0.3"),
    ("node", "sysctl -w net.ipv4.ping_group_range=\"0 100\""),
    ("p1", "ip link set eth0 up"),
    ("p1", "ip addr add 10.0.0.2/24 dev eth0"),
    ("p2", "sysctl -w net.ipv4.ping_group_range=\"0 100\""),
    ("p2", "ip link set eth0 up mtu 600"),
    ("p2", "ip addr add 10.0.0.3/24 dev eth0"),
    ("p2", "ip addr add 10.9.0.1/16 dev eth0"),
];

static LAB: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::new(Config { limits: LIMITS, ..Config::default() });
    let mut ask = |ns: Option<NsId>, request: &Request| {
        world.configure(ns.unwrap_or_default(), request, &mut Mute).expect("a request that Linux accepts");
        ["node", "p1", "p2"].map(|name| world.namespace(name))
    };
    let mut spaces = ask(None, &Request::NetnsAdd { name: "node".to_owned() });
    for (name, line) in SET_UP {
        let here = ["node", "p1", "p2"].iter().position(|n| *n == name).and_then(|at| spaces[at]);
        match lab::parse(line).map(|c| c.action) {
            Ok(Action::Requests(r)) => r.requests.iter().for_each(|r| spaces = ask(here, r)),
            Ok(Action::Sysctl(s)) => {
                for v in s.variables {
                    spaces = ask(here, &Request::Sysctl { name: v.name, value: v.value.unwrap_or_default() });
                }
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    for ns in spaces.into_iter().flatten() {
        for (kind, port) in [(SocketKind::Udp, 53), (SocketKind::Ping, 7), (SocketKind::Raw { protocol: 1 }, 0)] {
            world.spawn(ns, Box::new(Listener { kind, port, fd: Fd(0), calls: 0 }), Time(0)).expect("a process");
        }
    }
    world.run(Time(1_000_000), &mut Mute).expect("nothing that is endless");
    world
});

/// Sends the frames and waits for what they cause.
pub(crate) fn run(input: &[u8]) {
    let mut world = LAB.clone();
    let p1 = world.namespace("p1").expect("it was made");
    let sender = Sender { frames: frames(input), next: 0, fd: Fd(0), slept: false };
    world.spawn(p1, Box::new(sender), Time(0)).expect("a place for a process");
    let until = Time(world.machine(p1).now().0 + AFTER_NS);
    while let Ok(sim_core::engine::Stopped::Exit(..)) = world.run(until, &mut Mute) {}
    for machine in world.machines() {
        let (made, ended, waiting) = machine.balance();
        assert_eq!(made, ended + waiting as u64, "a frame is lost");
    }
}

/// A frame that is to be sent.
#[derive(Clone)]
struct Planned {
    to: Mac,
    wait_ns: u64,
    ethertype: u16,
    data: Vec<u8>,
}

fn frames(input: &[u8]) -> Vec<Planned> {
    let (mut frames, mut rest) = (vec![], input);
    while let [flags, high, low, len, behind @ ..] = rest {
        let (data, next) = behind.split_at(usize::from(*len).min(behind.len()));
        let ethertype = u16::from_be_bytes([*high, *low]);
        let mut data = data.to_vec();
        if flags & GOOD_CHECKSUMS != 0 {
            put_right(&mut data);
        }
        let (to, wait_ns) = (DESTINATIONS[usize::from(flags & 3)], WAITS[usize::from(flags >> 2 & 3)]);
        frames.push(Planned { to, wait_ns, ethertype, data });
        rest = next;
        if frames.len() == MAX_FRAMES {
            break;
        }
    }
    frames
}

/// Puts the checksums of an IPv4 packet right.
fn put_right(data: &mut [u8]) {
    let Some(header) = data.first().map(|first| usize::from(first & 15) * 4).filter(|h| (20..=data.len()).contains(h))
    else {
        return;
    };
    let end = usize::from(u16::from_be_bytes([data[2], data[3]])).clamp(header, data.len());
    data[10..12].fill(0);
    let sum = checksum(&data[..header]);
    data[10..12].copy_from_slice(&sum.to_be_bytes());
    let at = match data[9] {
        1 => 2,
        // No checksum.
        17 => 6,
        _ => return,
    };
    let protocol = data[9];
    let payload = &mut data[header..end];
    if let Some(field) = payload.get_mut(at..at + 2) {
        field.fill(0);
        if protocol == 1 {
            let sum = checksum(payload);
            payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// Sends frames by a packet socket. A packet socket's Ethertype is fixed: each frame gets its own.
#[derive(Clone)]
struct Sender {
    frames: Vec<Planned>,
    next: usize,
    fd: Fd,
    slept: bool,
}

impl Program for Sender {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        let Some(frame) = self.frames.get(self.next) else { return Call::Exit(0) };
        match ret {
            Ret::Fd(fd) => {
                self.fd = fd;
                let to = SendTo::Link { dev: ETH0, mac: frame.to };
                Call::Send { fd, to: Some(to), data: frame.data.clone() }
            }
            // Sent, or refused.
            Ret::Sent(_) | Ret::Err(_) => {
                self.next += 1;
                self.slept = false;
                Call::Close { fd: self.fd }
            }
            _ if !self.slept && frame.wait_ns > 0 => {
                self.slept = true;
                Call::Sleep { ns: frame.wait_ns }
            }
            _ => Call::Socket(SocketKind::Packet { ethertype: frame.ethertype }),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Reads whatever comes, errors too, and answers datagrams.
#[derive(Clone)]
struct Listener {
    kind: SocketKind,
    port: u16,
    fd: Fd,
    calls: u32,
}

impl Program for Listener {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Call::Exit(0);
        }
        match ret {
            Ret::Start => Call::Socket(self.kind),
            Ret::Fd(fd) => {
                self.fd = fd;
                Call::SetSockOpt { fd, opt: SockOpt::RecvErr(true) }
            }
            Ret::Done if self.calls == 3 => {
                let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port);
                Call::Bind { fd: self.fd, addr: any }
            }
            Ret::Message(m) => match m.from {
                sim_core::kernel::syscall::From::Ip(from) if self.kind == SocketKind::Udp => {
                    Call::Send { fd: self.fd, to: Some(SendTo::Ip(from)), data: m.data }
                }
                _ => self.receive(false),
            },
            Ret::Err(_) => self.receive(true),
            _ => self.receive(false),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Listener {
    fn receive(&self, errqueue: bool) -> Call {
        // An error queue that is empty is an error too: the next call waits for data.
        Call::Recv { fd: self.fd, size: 65_535, dontwait: false, errqueue: errqueue && self.calls.is_multiple_of(2) }
    }
}
