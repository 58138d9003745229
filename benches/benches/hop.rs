//! What it costs to carry a frame across an interface: pings between two pods on one bridge, warm.
//!
//! A ping crosses eight interfaces (out of a pod, in and out of the bridge, into a pod, and back): criterion's
//! throughput counts those, so its `elem/s` are interfaces a second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sim_core::base::{MachineId, NsId, Time};
use sim_core::engine::{Config, Env, Limits, Program, Stopped, World};
use sim_core::kernel::netlink::{Addr, LinkAdd, LinkChange, LinkKind, LinkPeer, Request};
use sim_core::kernel::syscall::{Call, Fd, Ret, SendTo, SockOpt, SocketKind};
use sim_core::kernel::trace::{DevName, Mute, Sink, Step, Tap};
use std::net::SocketAddrV4;

/// Pings in one measured run.
const PINGS: u16 = 1_000;
/// Interfaces that a ping and its answer cross.
const INTERFACES: u64 = 8;

fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop");
    group.throughput(Throughput::Elements(u64::from(PINGS) * INTERFACES));
    let (mut world, pod) = two_pods();
    run(&mut world, pod, &mut Mute);
    group.bench_function("mute", |b| b.iter(|| run(&mut world, pod, &mut Mute)));
    group.bench_function("counting", |b| {
        b.iter(|| {
            let mut counts = Counts::default();
            run(&mut world, pod, &mut counts);
            // Once in a while neighbours ask for each other again.
            assert!(counts.taps >= u64::from(PINGS) * INTERFACES);
            counts.bytes
        });
    });
    group.finish();
}

/// One program that sends all pings, from its start to its end.
fn run(world: &mut World, pod: NsId, sink: &mut dyn Sink) {
    let pid = world.spawn(pod, Box::new(Pinger::new()), Time(0)).expect("a place for a process");
    let stopped = world.run(Time(u64::MAX), sink).expect("no limit is hit");
    assert_eq!(stopped, Stopped::Exit(MachineId(0), pid));
    world.reap(pod, pid).expect("it has ended");
}

/// Bridge br0 in `node`; pods p1 (10.0.0.1) and p2 (10.0.0.2) at its ports.
fn two_pods() -> (World, NsId) {
    let limits = Limits { frames: u64::MAX, events: u64::MAX, ..Limits::default() };
    let mut world = World::new(Config { limits, ..Config::default() });
    let mut ask = |ns: &str, request: Request| {
        let ns = world.namespace(ns).unwrap_or_default();
        world.configure(ns, &request, &mut Mute).expect("a request that Linux accepts");
    };
    ask("", Request::NetnsAdd { name: "node".into() });
    ask("node", link("br0", LinkKind::Bridge(vec![])));
    ask("node", set("br0", vec![LinkChange::Up(true)]));
    for (pod, port, addr) in [("p1", "veth1", "10.0.0.1/24"), ("p2", "veth2", "10.0.0.2/24")] {
        ask("", Request::NetnsAdd { name: pod.into() });
        let peer = LinkPeer { name: Some("eth0".into()), netns: Some(pod.into()), ..LinkPeer::default() };
        ask("node", link(port, LinkKind::Veth { peer: Some(Box::new(peer)) }));
        ask("node", set(port, vec![LinkChange::Master(Some("br0".into())), LinkChange::Up(true)]));
        ask(pod, set("eth0", vec![LinkChange::Up(true)]));
        let local = addr.parse().expect("an address with its prefix length");
        let (dev, label) = ("eth0".into(), None);
        ask(pod, Request::AddrAdd(Addr { dev, local, peer: None, broadcast: None, scope: None, label }));
    }
    let pod = world.namespace("p1").expect("it was made above");
    (world, pod)
}

fn link(name: &str, kind: LinkKind) -> Request {
    let name = Some(name.into());
    Request::LinkAdd(LinkAdd { name, address: None, mtu: None, netns: None, master: None, up: false, kind })
}

fn set(dev: &str, changes: Vec<LinkChange>) -> Request {
    Request::LinkSet { dev: dev.into(), changes }
}

/// Sends echo requests as fast as it gets the CPU; the kernels answer, nobody reads.
#[derive(Clone)]
struct Pinger {
    request: Vec<u8>,
    left: u16,
    fd: Fd,
}

impl Pinger {
    fn new() -> Self {
        let mut request = vec![0; 64];
        request[..8].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let sum = sim_core::wire::checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
        Pinger { request, left: PINGS, fd: Fd(0) }
    }
}

impl Program for Pinger {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => return Call::Socket(SocketKind::Raw { protocol: 1 }),
            Ret::Fd(fd) => {
                self.fd = fd;
                return Call::SetSockOpt { fd, opt: SockOpt::IcmpFilter(u32::MAX) };
            }
            Ret::Done | Ret::Sent(_) => {}
            other => panic!("{other:?}"),
        }
        if self.left == 0 {
            return Call::Exit(0);
        }
        self.left -= 1;
        Call::Send {
            fd: self.fd,
            to: Some(SendTo::Ip(SocketAddrV4::new([10, 0, 0, 2].into(), 0))),
            data: self.request.clone(),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// A listener that does as little as one can.
#[derive(Default)]
struct Counts {
    taps: u64,
    bytes: usize,
}

impl Sink for Counts {
    fn step(&mut self, _: &Step) {}
    fn tap(&mut self, tap: &Tap<'_>) {
        self.taps += 1;
        self.bytes += tap.bytes.len();
    }
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
}

criterion_group!(benches, hop);
criterion_main!(benches);
