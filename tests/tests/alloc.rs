//! A warm datapath allocates nothing: frames come from the CPU's pool, queues keep their room.
//!
//! Programs are user space and may allocate. The ones here have all their payloads before the counting starts, so that
//! whatever is counted is the datapath's or the engine's.

use podhop_benches::paths;
use podhop_benches::rules::{UDP_PORT, cluster_ip};
use podhop_tests::scenarios;
use sim_core::base::time::SEC;
use sim_core::base::{IfIndex, Mac, NsId, Time};
use sim_core::engine::{Config, Env, LinkSpec, Plug, Program, Stopped, World};
use sim_core::kernel::netlink::{Addr, LinkAdd, LinkChange, LinkKind, LinkPeer, Request};
use sim_core::kernel::profile::Profile;
use sim_core::kernel::syscall::{Call, Fd, Ret, SendTo, SockOpt, SocketKind};
use sim_core::kernel::trace::{DevName, Mute, Sink, Step, Tap};
use sim_core::scenario::{self, Disk};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::Ipv4Addr;

/// Datagrams before the counting, and as many during it.
const DATAGRAMS: usize = 1_000;
/// An Ethertype for local experiments (IEEE 802): no protocol of the kernel takes it.
const ETH_P_EXPERIMENT: u16 = 0x88b5;

/// The system's allocator; counts what the calling thread asks of it.
struct Counting;

thread_local! {
    // By thread: the test harness allocates in others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nobody who would ask.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

#[allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; every call goes to the system's allocator unchanged")]
// SAFETY: all methods hand their arguments to `System`, which upholds the contract of the trait.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `at` came from `System`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_ping_allocates_nothing() {
    let mut lab = Lab::new(2);
    let to = SendTo::Ip(std::net::SocketAddrV4::new(Lab::address(1), 0));
    let sender = Sender::new(SocketKind::Raw { protocol: 1 }, to, &echo_request());
    let counted = lab.run(sender);
    // The request and its reply: out of the pod, in and out of the bridge, into the pod.
    assert_eq!(counted, Counted { taps: 8 * DATAGRAMS, allocations: 0 });
}

#[test]
fn a_warm_flood_allocates_nothing_however_many_ports() {
    for receivers in [1, 3, 7] {
        let mut lab = Lab::new(1 + receivers);
        let to = SendTo::Link { dev: IfIndex(2), mac: Mac::BROADCAST };
        let sender = Sender::new(SocketKind::Packet { ethertype: ETH_P_EXPERIMENT }, to, &[7; 64]);
        let counted = lab.run(sender);
        // Out of the pod and into the bridge, up to its host, and at each receiver out of the bridge and into the pod.
        assert_eq!(counted, Counted { taps: (3 + 2 * receivers) * DATAGRAMS, allocations: 0 }, "{receivers} receivers");
    }
}

#[test]
fn a_warm_service_allocates_nothing() {
    let world = podhop_benches::lab::Lab::new(&paths::cluster(10)).world;
    let ns = |name| world.namespace(name).expect("it was made above");
    let (first, receiver) = (ns(paths::POD1), ns(paths::POD2));
    let mut lab = Lab { world, first };
    lab.world.spawn(receiver, Box::new(Holder(UDP_PORT)), Time(0)).expect("a place for a process");
    let to = SendTo::Ip(std::net::SocketAddrV4::new(cluster_ip(4), UDP_PORT));
    let counted = lab.run(Sender::new(SocketKind::Udp, to, &[7; 64]));
    // Two nodes with connection tracking, rules, and translation on the first.
    assert_eq!(counted, Counted { taps: 8 * DATAGRAMS, allocations: 0 });
}

#[test]
fn a_warm_program_allocates_nothing() {
    // eth0, lxc…, cilium_vxlan and ens4 of both nodes, and two ports of the switch between them.
    let counted = by_programs("cilium-vxlan", ("pod/wrk-1/", "pod/wrk-2/"), Ipv4Addr::new(10, 105, 134, 33));
    assert_eq!(counted, Counted { taps: 10 * DATAGRAMS, allocations: 0 });
    // Where programs route: eth0 and the sender's lxc…, and eth0 of both nodes with the switch.
    for (receiver, address, taps) in [("near", [10, 0, 1, 4], 3), ("far", [10, 0, 2, 3], 7)] {
        let pods = ("pod/default/client", &*format!("pod/default/{receiver}"));
        let counted = by_programs("cilium-host-routing", pods, address.into());
        assert_eq!(counted, Counted { taps: taps * DATAGRAMS, allocations: 0 }, "{receiver}");
    }
}

/// Datagrams from one pod of a lesson to another, on a connection that all maps know.
fn by_programs(lesson: &str, (sender, receiver): (&str, &str), to: Ipv4Addr) -> Counted {
    let path = scenarios::root().join(format!("scenarios/articles/{lesson}/scenario.yaml"));
    let (_, plan) = scenario::load(&Disk, &path, None).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let world = scenario::build(&plan, &mut Mute).expect("its set-up succeeds");
    let pod = |owner: &str| {
        let pod = plan.namespaces.iter().find(|n| n.name.starts_with(owner)).expect("there is one");
        world.namespace(&pod.netns).expect("it was made")
    };
    let (first, receiver) = (pod(sender), pod(receiver));
    let mut lab = Lab { world, first };
    lab.world.spawn(receiver, Box::new(Holder(9999)), Time(0)).expect("a place for a process");
    let to = SendTo::Ip(std::net::SocketAddrV4::new(to, 9999));
    lab.run(Sender { port: Some(4000), ..Sender::new(SocketKind::Udp, to, &[7; 64]) })
}

#[test]
fn a_warm_link_allocates_nothing() {
    // Requests only go one way, but replies come back; with a filter on neither side. A lossy link takes some.
    for loss_ppm in [0, 300_000] {
        let mut lab = Lab::linked(&LinkSpec { rate_bps: 1_000_000_000, queue: 4, loss_ppm, ..LinkSpec::default() });
        let to = SendTo::Ip(std::net::SocketAddrV4::new(Lab::address(1), 0));
        let counted = lab.run(Sender::new(SocketKind::Raw { protocol: 1 }, to, &echo_request()));
        assert_eq!(counted.allocations, 0);
        assert!(counted.taps > 2 * DATAGRAMS, "{}", counted.taps);
    }
}

#[test]
fn a_warm_link_in_one_direction_allocates_nothing() {
    let mut lab = Lab::linked(&LinkSpec::default());
    let to = SendTo::Link { dev: IfIndex(2), mac: Mac::BROADCAST };
    let counted = lab.run(Sender::new(SocketKind::Packet { ethertype: ETH_P_EXPERIMENT }, to, &[7; 64]));
    assert_eq!(counted.allocations, 0);
}

#[test]
fn allocations_are_counted() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

/// What happened while the second half of the datagrams was on its way.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    taps: usize,
    allocations: u64,
}

/// A bridge in namespace `node` with one veth for each pod.
struct Lab {
    world: World,
    first: NsId,
}

impl Lab {
    fn new(pods: usize) -> Self {
        let mut world = World::new(Config::default());
        let mut ask = |ns: &str, request: Request| {
            let ns = world.namespace(ns).unwrap_or_default();
            world.configure(ns, &request, &mut Mute).expect("a request that Linux accepts");
        };
        ask("", Request::NetnsAdd { name: "node".into() });
        ask("node", link("br0", LinkKind::Bridge(vec![])));
        ask("node", up("br0"));
        for n in 0..pods {
            let (pod, port) = (format!("p{n}"), format!("veth{n}"));
            ask("", Request::NetnsAdd { name: pod.clone() });
            let peer = LinkPeer { name: Some("eth0".into()), netns: Some(pod.clone()), ..LinkPeer::default() };
            ask("node", link(&port, LinkKind::Veth { peer: Some(Box::new(peer)) }));
            let changes = vec![LinkChange::Master(Some("br0".into())), LinkChange::Up(true)];
            ask("node", Request::LinkSet { dev: port, changes });
            // eth0 gets index 2 in every pod, after lo.
            ask(&pod, up("eth0"));
            ask(&pod, address(Self::address(n)));
        }
        let first = world.namespace("p0").expect("it was made above");
        Lab { world, first }
    }

    /// Two machines and a link.
    fn linked(spec: &LinkSpec) -> Self {
        let mut world = World::new(Config::default());
        let there = world.add_machine("there", Profile::default()).expect("a second one");
        let homes = [NsId::default(), NsId::new(there, 0)];
        for (n, home) in homes.into_iter().enumerate() {
            let name = format!("p{n}");
            world.configure(home, &Request::NetnsAdd { name }, &mut Mute).expect("a new namespace");
        }
        world.connect(homes.map(|ns| Plug { ns, name: "eth0", vf: None }), spec, &mut Mute).expect("a link");
        for (n, home) in homes.into_iter().enumerate() {
            for request in [up("eth0"), address(Self::address(n))] {
                world.configure(home, &request, &mut Mute).expect("a request that Linux accepts");
            }
        }
        Lab { world, first: NsId::default() }
    }

    fn address(pod: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, 2 + u8::try_from(pod).expect("a few pods"))
    }

    /// Sends [`DATAGRAMS`] to warm up and as many more, which are counted.
    fn run(&mut self, sender: Sender) -> Counted {
        self.send(sender.clone(), &mut Taps(0));
        let mut taps = Taps(0);
        let allocations = self.send(sender, &mut taps);
        Counted { taps: taps.0, allocations }
    }

    /// Runs one sender to its end; the allocations between its first datagram and its last.
    fn send(&mut self, sender: Sender, taps: &mut Taps) -> u64 {
        let pid = self.world.spawn(self.first, Box::new(sender), Time(0)).expect("a place for a process");
        let stopped = self.world.run(Time(u64::MAX), taps).expect("no limit is hit");
        assert_eq!(stopped, Stopped::Exit(self.first.machine(), pid));
        let done = self.world.reap(self.first, pid).expect("it has ended");
        u64::try_from(done.code).expect("the sender's count of allocations")
    }
}

fn link(name: &str, kind: LinkKind) -> Request {
    let name = Some(name.into());
    Request::LinkAdd(LinkAdd { name, address: None, mtu: None, netns: None, master: None, up: false, kind })
}

fn up(dev: &str) -> Request {
    Request::LinkSet { dev: dev.into(), changes: vec![LinkChange::Up(true)] }
}

fn address(addr: Ipv4Addr) -> Request {
    let local = format!("{addr}/24").parse().expect("an address with its prefix length");
    Request::AddrAdd(Addr { dev: "eth0".into(), local, peer: None, broadcast: None, scope: None, label: None })
}

/// An ICMP echo request of 64 bytes, with its checksum.
fn echo_request() -> Vec<u8> {
    let mut message = vec![0; 64];
    message[..8].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
    let sum = sim_core::wire::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Sends its payloads one after the other and exits with the number of allocations in between.
#[derive(Clone)]
struct Sender {
    kind: SocketKind,
    to: SendTo,
    payloads: Vec<Vec<u8>>,
    /// The own port, if it is to be the same each time.
    port: Option<u16>,
    fd: Fd,
    before: u64,
}

impl Sender {
    fn new(kind: SocketKind, to: SendTo, payload: &[u8]) -> Self {
        Sender { kind, to, payloads: vec![payload.to_vec(); DATAGRAMS], port: None, fd: Fd(0), before: 0 }
    }
}

impl Program for Sender {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => return Call::Socket(self.kind),
            Ret::Fd(fd) => {
                self.fd = fd;
                // Nobody reads the answers: a socket that queued them would allocate.
                return Call::SetSockOpt { fd, opt: SockOpt::IcmpFilter(u32::MAX) };
            }
            Ret::Done => {
                if let Some(port) = self.port.take() {
                    let addr = std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
                    return Call::Bind { fd: self.fd, addr };
                }
            }
            // The first datagram of a flow makes its connection.
            Ret::Sent(64) if self.payloads.len() == DATAGRAMS - 1 => self.before = ALLOCATIONS.get(),
            Ret::Sent(64) => {}
            other => panic!("{other:?}"),
        }
        match self.payloads.pop() {
            Some(data) => Call::Send { fd: self.fd, to: Some(self.to), data },
            None => Call::Exit(i32::try_from(ALLOCATIONS.get() - self.before).expect("few allocations")),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Has a UDP port and does not read: a full socket drops what comes, and allocates nothing.
#[derive(Clone)]
struct Holder(u16);

impl Program for Holder {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => Call::Socket(SocketKind::Udp),
            Ret::Fd(fd) => Call::Bind { fd, addr: std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.0) },
            _ => Call::Sleep { ns: 3_600 * SEC },
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Counts taps.
struct Taps(usize);

impl Sink for Taps {
    fn step(&mut self, _: &Step) {}
    fn tap(&mut self, _: &Tap<'_>) {
        self.0 += 1;
    }
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
}
