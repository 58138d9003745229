//! struct net: the state of one network namespace, and the namespaces of one kernel.

use super::bpf::Maps;
use super::conntrack::{Conntrack, CtCx, Gc};
use super::cx::{Continuation, Cpu, Cx, Timer};
use super::dev::bridge::{self, Port};
use super::dev::{Dev, DevKind, VethPeer, ipip};
use super::fib::Fib;
use super::ip::Ipv4;
use super::ip::ident::IpIds;
use super::neigh::{self, NeighTable};
use super::netfilter::Iptables;
use super::profile::Profile;
use super::socket::Sockets;
use super::sysctl::Sysctl;
use super::timer::Jiffies;
use crate::base::{FrameId, IfIndex, NsId, Time};
use std::collections::BTreeMap;

/// The loopback device of every namespace.
pub const LOOPBACK: IfIndex = IfIndex(1);
/// As many devices one namespace may have had; indices are never reused.
pub const MAX_IFINDEX: u32 = 1 << 20;
/// As many namespaces one kernel may have had.
pub const MAX_NAMESPACES: usize = 1 << 16;

/// One network namespace.
#[derive(Clone, Debug)]
pub struct NetNs {
    pub(in crate::kernel) id: NsId,
    clock: Jiffies,
    /// The clock in ticks when this namespace last began to do something.
    pub(in crate::kernel) now: u64,
    /// The generation of routes at that moment; none while it is configured, which can change where routes lead.
    rt_genid: Option<u64>,
    pub(in crate::kernel) devs: Devs,
    /// netns_ids: the other namespaces that devices here are linked to, numbered in order.
    nsids: Vec<NsId>,
    pub(in crate::kernel) sysctl: Sysctl,
    pub(in crate::kernel) fib: Fib,
    pub(in crate::kernel) neigh: NeighTable,
    pub(in crate::kernel) sockets: Sockets,
    pub(in crate::kernel) ip_ids: IpIds,
    pub(in crate::kernel) ipv4: Ipv4,
    pub(in crate::kernel) ct: Conntrack,
    pub(in crate::kernel) iptables: Iptables,
    pub(in crate::kernel) ipip: ipip::Tunnels,
    /// Maps of eBPF programs.
    pub(in crate::kernel) bpf: Maps,
}

/// The devices of one namespace, by index; an index is never reused.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Devs(Vec<Option<Box<Dev>>>);

impl Devs {
    pub(in crate::kernel) fn get(&self, index: IfIndex) -> Option<&Dev> {
        self.0.get(index.0 as usize)?.as_deref()
    }

    fn iter(&self) -> impl Iterator<Item = &Dev> {
        self.0.iter().filter_map(|d| d.as_deref())
    }

    pub(in crate::kernel) fn by_name(&self, name: &str) -> Option<IfIndex> {
        self.iter().find(|d| d.name == name).map(|d| d.index)
    }

    fn get_mut(&mut self, index: IfIndex) -> Option<&mut Dev> {
        self.0.get_mut(index.0 as usize)?.as_deref_mut()
    }
}

impl NetNs {
    fn new(id: NsId, clock: Jiffies, profile: Profile) -> Self {
        NetNs {
            id,
            clock,
            now: 0,
            rt_genid: None,
            devs: Devs(vec![None]),
            nsids: Vec::new(),
            sysctl: Sysctl::default(),
            fib: Fib::default(),
            neigh: NeighTable::default(),
            sockets: Sockets::new(profile),
            ip_ids: IpIds::default(),
            ipv4: Ipv4::default(),
            ct: Conntrack::default(),
            iptables: Iptables::default(),
            ipip: ipip::Tunnels::default(),
            bpf: Maps::default(),
        }
    }

    /// The generation of routes that may be remembered, of which an exception makes a new one; none if they may not.
    pub(in crate::kernel) fn rt_genid(&self) -> Option<u64> {
        self.rt_genid.map(|genid| genid + self.ipv4.exceptions.genid)
    }

    /// A frame that was sent has not left: it waits for a neighbour, or for a nic to be free.
    pub(in crate::kernel) fn still_queues(&self, frame: FrameId) -> bool {
        self.neigh.queues(frame) || self.devs().any(|d| matches!(&d.kind, DevKind::Nic(nic) if nic.queues(frame)))
    }

    /// Frames that wait in its queues.
    fn waiting(&self) -> usize {
        self.neigh.waiting() + self.ipv4.frags.waiting() + self.sockets.tcp.waiting()
    }

    /// The kernel's clock in ticks at `t`.
    pub(in crate::kernel) fn jiffies(&self, t: Time) -> u64 {
        self.clock.at(t)
    }

    pub(in crate::kernel) fn dev(&self, index: IfIndex) -> Option<&Dev> {
        self.devs.get(index)
    }

    pub(in crate::kernel) fn dev_mut(&mut self, index: IfIndex) -> Option<&mut Dev> {
        self.devs.get_mut(index)
    }

    /// The device's settings as a bridge port.
    pub(in crate::kernel) fn port(&self, index: IfIndex) -> Option<&Port> {
        self.dev(index)?.port.as_deref()
    }

    /// peernet2id: the id by which this namespace knows another.
    pub(in crate::kernel) fn nsid(&self, other: NsId) -> Option<u32> {
        self.nsids.iter().position(|id| *id == other).map(|at| at as u32)
    }

    /// peernet2id_alloc: a device here is linked to one over there.
    pub(in crate::kernel) fn know(&mut self, other: NsId) {
        if other != self.id && self.nsid(other).is_none() {
            self.nsids.push(other);
        }
    }

    /// All devices, by index.
    pub(in crate::kernel) fn devs(&self) -> impl Iterator<Item = &Dev> {
        self.devs.iter()
    }

    pub(in crate::kernel) fn devs_mut(&mut self) -> impl Iterator<Item = &mut Dev> {
        self.devs.0.iter_mut().filter_map(|d| d.as_deref_mut())
    }

    /// __dev_get_by_name
    pub fn dev_by_name(&self, name: &str) -> Option<IfIndex> {
        self.devs.by_name(name)
    }

    /// The index that the next device gets (dev_index_reserve).
    pub(in crate::kernel) fn next_index(&self) -> IfIndex {
        IfIndex(self.devs.0.len() as u32)
    }

    /// Puts a device in place, at its index.
    pub(in crate::kernel) fn insert(&mut self, dev: Dev) {
        let at = dev.index.0 as usize;
        if self.devs.0.len() <= at {
            self.devs.0.resize(at + 1, None);
        }
        self.fib.rules.attach(&dev.name, dev.index);
        self.devs.0[at] = Some(Box::new(dev));
    }

    /// Takes a device out; its index stays used.
    pub(in crate::kernel) fn take(&mut self, index: IfIndex) -> Option<Dev> {
        self.fib.rules.detach(index);
        self.devs.0.get_mut(index.0 as usize)?.take().map(|d| *d)
    }
}

/// The namespaces of one kernel. The doors take all of them, since a request may touch two.
#[derive(Clone, Debug, Default)]
pub struct Spaces {
    profile: Profile,
    spaces: Vec<Space>,
    /// Those that exist, by name.
    names: BTreeMap<String, NsId>,
    /// The module ipip is loaded: each namespace has its fallback device.
    pub(in crate::kernel) ipip: bool,
    /// Where a socket listens to connection tracking.
    listening: Vec<NsId>,
    /// Where each physical nic is, by its number.
    pub(in crate::kernel) nics: Vec<(NsId, IfIndex)>,
}

#[derive(Clone, Debug)]
struct Space {
    name: String,
    /// init_net: the machine's own, for which there is no file in /run/netns.
    own: bool,
    /// Deleted ones keep their place: ids are never reused.
    ns: NetNs,
    gone: bool,
}

impl Spaces {
    /// No namespaces yet, of a kernel of that kind.
    pub fn new(profile: Profile) -> Self {
        Spaces { profile, ..Spaces::default() }
    }

    /// The namespace with this id.
    ///
    /// # Panics
    /// If it belongs to another kernel: a bug of the caller's.
    pub fn get(&self, id: NsId) -> &NetNs {
        &self.spaces[id.index()].ns
    }

    /// The namespace that runs now, with its clock set.
    pub(in crate::kernel) fn enter(&mut self, cx: &mut Cx<'_>, id: NsId) -> &mut NetNs {
        cx.ns = id;
        let ns = self.get_mut(id);
        ns.now = cx.jiffies();
        ns.rt_genid = Some(cx.cpu.rt_genid);
        ns
    }

    /// The namespace with this id, to be configured.
    pub(in crate::kernel) fn get_mut(&mut self, id: NsId) -> &mut NetNs {
        let ns = &mut self.spaces[id.index()].ns;
        ns.rt_genid = None;
        ns
    }

    /// The id of the namespace called `name`.
    pub fn by_name(&self, name: &str) -> Option<NsId> {
        self.names.get(name).copied()
    }

    /// What a namespace is called here.
    pub fn name(&self, id: NsId) -> &str {
        &self.spaces[id.index()].name
    }

    /// The name of its file in /run/netns; the machine's own namespace has none.
    pub(in crate::kernel) fn file(&self, id: NsId) -> Option<&str> {
        let space = &self.spaces[id.index()];
        (!space.own && !space.gone).then_some(space.name.as_str())
    }

    /// All namespaces that exist, in order of creation.
    pub fn iter(&self) -> impl Iterator<Item = (NsId, &str)> {
        self.spaces.iter().filter(|s| !s.gone).map(|s| (s.ns.id, s.name.as_str()))
    }

    /// A new namespace with a loopback device that is down; none if there are [`MAX_NAMESPACES`].
    pub(in crate::kernel) fn create(&mut self, cx: &mut Cx<'_>, name: &str) -> Option<NsId> {
        if self.spaces.len() >= MAX_NAMESPACES {
            return None;
        }
        let id = NsId::new(cx.ns.machine(), self.spaces.len());
        cx.cpu.add_namespace(id, name);
        let mut ns = NetNs::new(id, cx.cpu.clock(), self.profile);
        ns.insert(super::netlink::loopback(&ns));
        cx.sink.namespace(id, name);
        if let Some(lo) = ns.dev(LOOPBACK) {
            cx.sink.device(&lo.describe(id));
        }
        if self.ipip {
            super::netlink::fallback_tunnel(&mut ns, cx);
        }
        self.names.insert(name.to_owned(), id);
        self.spaces.push(Space { name: name.to_owned(), own: false, ns, gone: false });
        Some(id)
    }

    /// Says that a namespace is the machine's own.
    pub(in crate::kernel) fn set_own(&mut self, id: NsId) {
        self.spaces[id.index()].own = true;
    }

    /// Marks a namespace as deleted; its devices have gone already.
    pub(in crate::kernel) fn delete(&mut self, id: NsId) {
        let space = &mut self.spaces[id.index()];
        space.gone = true;
        self.names.remove(&space.name);
    }

    /// A frame's turn: the receive path of its device runs in its namespace.
    pub fn receive(&mut self, cx: &mut Cx<'_>, rx: super::cx::Rx) {
        let _ = super::dev::receive(self.enter(cx, rx.ns), cx, rx.dev, rx.frame);
    }

    /// A frame's turn goes on at a device of another namespace.
    #[inline(never)]
    pub fn another_round(&mut self, cx: &mut Cx<'_>, rx: super::cx::Rx) {
        let _ = super::dev::another_round(self.enter(cx, rx.ns), cx, rx.dev, rx.frame);
    }

    /// The turn of a device whose frames are polled.
    #[inline(never)]
    pub fn poll(&mut self, cx: &mut Cx<'_>, ns: NsId, dev: IfIndex) {
        super::dev::gro::poll(self.enter(cx, ns), cx, dev);
    }

    /// From now on the events of connection tracking in `ns` are told at the end of each chain.
    pub(in crate::kernel) fn listen(&mut self, ns: NsId) {
        self.get_mut(ns).ct.listen(true);
        if !self.listening.contains(&ns) {
            self.listening.push(ns);
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_>) {
        let mut listening = std::mem::take(&mut self.listening);
        listening.retain(|ns| super::socket::netlink::multicast(self.get_mut(*ns), cx));
        self.listening = listening;
    }

    /// A work queue's turn, after a chain: link watch. Whether there was something to do. Who listens to connection
    /// tracking hears what the chain changed.
    pub fn work(&mut self, cx: &mut Cx<'_>) -> bool {
        self.tell(cx);
        let Some((ns, dev)) = cx.cpu.linkwatch.pop_front() else { return false };
        cx.ns = ns;
        cx.cpu.rt_genid += 1;
        super::dev::linkwatch(self.get_mut(ns), cx, dev);
        true
    }

    /// A timer of the kernel's fired; [`Timer::Process`] is the caller's own.
    pub fn timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        match timer {
            Timer::Neigh(ns, key) => {
                neigh::timer(self.enter(cx, ns), cx, key);
            }
            Timer::FdbGc(ns, br) => {
                bridge::gc(self.enter(cx, ns), cx, br);
            }
            Timer::VxlanAge(ns, dev) => super::dev::vxlan::cleanup(self.enter(cx, ns), cx, dev),
            Timer::ArpProxy(ns, dev) => {
                super::arp::proxy_timer(self.enter(cx, ns), cx, dev);
            }
            Timer::Frag(ns, key) => {
                super::ip::frag::expire(self.enter(cx, ns), cx, key);
            }
            Timer::ConntrackGc => self.conntrack_gc(cx),
            Timer::Tcp(of) => super::socket::tcp::expire(self.enter(cx, of.ns), cx, of.sock, of.which),
            Timer::Process(_) => {}
        }
    }

    /// Connections whose last frame has ended are let go of. To be called after each stage that ran.
    pub fn settle(&mut self, cpu: &mut Cpu) {
        for (ns, nfct) in cpu.released.drain(..) {
            self.get_mut(ns).ct.put(nfct);
        }
    }

    /// gc_worker: a round through the connections of all namespaces.
    fn conntrack_gc(&mut self, cx: &mut Cx<'_>) {
        let mut gc = Gc::begin();
        for space in self.spaces.iter_mut().filter(|s| !s.gone) {
            cx.ns = space.ns.id;
            gc.scan(&mut space.ns.ct, &CtCx::of(cx));
        }
        cx.arm(gc.finish(), Timer::ConntrackGc);
    }

    /// ctnetlink_dump_table: who lists the connections of one namespace comes by those of all, and deletes what has
    /// expired.
    pub(in crate::kernel) fn conntrack_dump(&mut self, cx: &mut Cx<'_>) {
        let here = cx.ns;
        for space in self.spaces.iter_mut().filter(|s| !s.gone) {
            cx.ns = space.ns.id;
            space.ns.ct.evict_expired(&CtCx::of(cx));
        }
        cx.ns = here;
    }

    /// Goes on with a system call after what its first part sent was received.
    pub fn go_on(&mut self, cx: &mut Cx<'_>, rest: Continuation) {
        match rest {
            Continuation::Fragments(rest) => {
                let _ = super::ip::frag::go_on(self.enter(cx, rest.ns), cx, rest);
            }
            Continuation::Neigh(ns, key) => neigh::flush_queue(self.enter(cx, ns), cx, key),
            Continuation::Tcp(ns, sock) => super::socket::tcp::go_on(self.enter(cx, ns), cx, sock),
        }
    }

    /// Frames that wait in queues of the namespaces: for neighbours, for proxied answers, for other fragments, for
    /// nics to be free.
    pub fn waiting(&self) -> usize {
        let in_spaces: usize = self.spaces.iter().map(|s| s.ns.waiting()).sum();
        in_spaces + self.nics_waiting()
    }

    /// The other end of a veth pair.
    pub(in crate::kernel) fn peer(&self, ns: NsId, dev: IfIndex) -> Option<(NsId, IfIndex)> {
        match self.get(ns).dev(dev)?.kind {
            DevKind::Veth(VethPeer { ns, dev, .. }) => Some((ns, dev)),
            _ => None,
        }
    }
}
