//! Mirrors net/core/neighbour.c with the parts of net/ipv4/arp.c that belong to an entry: who is behind an address, and
//! how sure we are of it. Read RFC 4861 section 7.3 and RFC 1122 section 2.3.2 before editing.
//!
//! Differs: garbage collection by gc_thresh1 and gc_thresh2 is not modelled; gc_thresh3 is, as [`GC_THRESH3`].

use super::arp;
use super::cx::{Continuation, Cx, Timer};
use super::dev::xmit;
use super::frame::Frame;
use super::ip::icmp;
use super::netlink::NudState;
use super::netns::NetNs;
use super::timer::{HZ, TimerId, before_eq, ms_to_jiffies};
use super::trace::{DropReason, Fate, Flow, What};
use crate::base::rng::Purpose;
use crate::base::{FrameId, IfIndex, Mac};
use crate::wire::{ETH_HLEN, ETH_P_IP, put_ethernet};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow::Break;

/// gc_thresh3: more entries than this are not made.
pub const GC_THRESH3: usize = 1024;
/// As many frames wait for one neighbour at most, whatever their size; the queue's own limit is unres_qlen_bytes.
const ARP_QUEUE_MAX: usize = 4096;

/// struct neigh_parms: one device's settings. Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's own names: Documentation/networking/ip-sysctl.rst")]
pub struct NeighParms {
    pub base_reachable_ms: u64,
    pub delay_probe_ms: u64,
    pub retrans_ms: u64,
    pub mcast_probes: u64,
    pub ucast_probes: u64,
    pub app_probes: u64,
    pub mcast_reprobes: u64,
    pub gc_stale_ms: u64,
    pub queue_len_bytes: u64,
    pub locktime_ms: u64,
    pub proxy_delay_ms: u64,
    pub proxy_qlen: u64,
}

impl Default for NeighParms {
    /// arp_tbl.parms
    fn default() -> Self {
        NeighParms {
            base_reachable_ms: 30_000,
            delay_probe_ms: 5_000,
            retrans_ms: 1_000,
            mcast_probes: 3,
            ucast_probes: 3,
            app_probes: 0,
            mcast_reprobes: 0,
            gc_stale_ms: 60_000,
            queue_len_bytes: 212_992,
            locktime_ms: 1_000,
            proxy_delay_ms: 800,
            proxy_qlen: 64,
        }
    }
}

/// Which neighbour: a device and an address behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighKey {
    /// The device.
    pub dev: IfIndex,
    /// The address.
    pub addr: IpAddr,
}

impl NeighKey {
    /// An IPv4 neighbour.
    pub fn v4(dev: IfIndex, addr: Ipv4Addr) -> Self {
        NeighKey { dev, addr: IpAddr::V4(addr) }
    }

    fn ipv4(self) -> Ipv4Addr {
        match self.addr {
            IpAddr::V4(a) => a,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }
}

impl Ord for NeighKey {
    /// As numbers: neighbours are looked up on every packet's way.
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |key: &NeighKey| match key.addr {
            IpAddr::V4(a) => (key.dev.0, false, a.to_bits().into()),
            IpAddr::V6(a) => (key.dev.0, true, a.to_bits()),
        };
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for NeighKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The neighbours of one namespace (arp_tbl, as far as this namespace sees it).
#[derive(Clone, Debug, Default)]
pub struct NeighTable {
    entries: BTreeMap<NeighKey, Neigh>,
    pub(in crate::kernel) proxy: arp::ProxyQueue,
}

/// struct neighbour. Times in jiffies.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Neigh {
    pub state: NudState,
    pub ha: Mac,
    pub used: u64,
    pub confirmed: u64,
    pub updated: u64,
    pub probes: u64,
    /// neigh->hh: the cached link-layer header exists.
    pub hh: bool,
    timer: Option<TimerId>,
    queue: VecDeque<Frame>,
    queue_bytes: u64,
}

impl NudState {
    /// NUD_VALID: the hardware address can be used.
    pub fn is_valid(self) -> bool {
        use NudState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
        matches!(self, Permanent | Noarp | Reachable | Probe | Stale | Delay)
    }

    /// NUD_CONNECTED: it can be used without a doubt.
    pub fn is_connected(self) -> bool {
        matches!(self, NudState::Permanent | NudState::Noarp | NudState::Reachable)
    }

    /// NUD_IN_TIMER: its timer runs.
    fn is_in_timer(self) -> bool {
        matches!(self, NudState::Incomplete | NudState::Reachable | NudState::Delay | NudState::Probe)
    }

    /// As `ip neigh` prints it.
    pub fn label(self) -> &'static str {
        match self {
            NudState::None => "NONE",
            NudState::Incomplete => "INCOMPLETE",
            NudState::Reachable => "REACHABLE",
            NudState::Stale => "STALE",
            NudState::Delay => "DELAY",
            NudState::Probe => "PROBE",
            NudState::Failed => "FAILED",
            NudState::Noarp => "NOARP",
            NudState::Permanent => "PERMANENT",
        }
    }
}

/// NEIGH_UPDATE_F_*
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::kernel) struct UpdateFlags {
    /// A different hardware address replaces the known one.
    pub override_: bool,
    /// The user asks for it.
    pub admin: bool,
}

impl NeighTable {
    pub(in crate::kernel) fn get(&self, key: NeighKey) -> Option<&Neigh> {
        self.entries.get(&key)
    }

    /// All entries, by device and address.
    pub(in crate::kernel) fn iter(&self) -> impl Iterator<Item = (&NeighKey, &Neigh)> {
        self.entries.iter()
    }

    /// A frame waits for a neighbour.
    pub(in crate::kernel) fn queues(&self, frame: FrameId) -> bool {
        self.entries.values().any(|n| n.queue.iter().any(|f| f.id == frame))
    }

    /// Frames that wait for an answer.
    pub fn waiting(&self) -> usize {
        self.entries.values().map(|n| n.queue.len()).sum::<usize>() + self.proxy.len()
    }

    /// __neigh_create
    pub(in crate::kernel) fn create(&mut self, key: NeighKey, parms: &NeighParms, now: u64) -> Option<&mut Neigh> {
        if self.entries.len() >= GC_THRESH3 && !self.entries.contains_key(&key) {
            return None;
        }
        Some(self.entries.entry(key).or_insert_with(|| Neigh {
            state: NudState::None,
            ha: Mac::ZERO,
            used: now,
            confirmed: now.wrapping_sub(ms_to_jiffies(parms.base_reachable_ms) << 1),
            updated: now,
            probes: 0,
            hh: false,
            timer: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
        }))
    }
}

/// neigh_output: sends an IPv4 packet to its next hop, now or when the neighbour has answered.
pub(in crate::kernel) fn output(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    next_hop: Ipv4Addr,
    mut f: Frame,
) -> Flow {
    let key = NeighKey::v4(dev, next_hop);
    f.dev = dev;
    let n = match ns.neigh.entries.get_mut(&key) {
        Some(n) => n,
        None => match create(ns, cx, key) {
            Some(n) => n,
            None => return cx.kill(f, DropReason::NeighCreateFail),
        },
    };
    if f.confirm {
        // sock_confirm_neigh
        n.confirmed = cx.jiffies();
    }
    let (state, ha, hh) = (n.state, n.ha, n.hh);
    if cx.steps {
        let lladdr = state.is_valid() && ns.dev(dev).is_some_and(|d| d.ipip().is_none());
        cx.step(&f, dev, What::Neigh { addr: next_hop, state, lladdr: lladdr.then_some(ha) });
    }
    if state.is_connected() && hh {
        return send(ns, cx, key, ha, f);
    }
    resolve_output(ns, cx, key, f)
}

/// A new entry, as arp_constructor makes it.
fn create<'a>(ns: &'a mut NetNs, cx: &Cx<'_>, key: NeighKey) -> Option<&'a mut Neigh> {
    let addr = key.ipv4();
    let d = ns.dev(key.dev)?;
    let (parms, mac) = (d.neigh, d.mac);
    let noarp = d.noarp || matches!(d.kind, super::dev::DevKind::Loopback);
    let kind = ns.fib.addr_type(addr, Some(key.dev));
    let n = ns.neigh.create(key, &parms, cx.jiffies())?;
    if addr.is_multicast() {
        let [_, b, c, e] = addr.octets();
        (n.state, n.ha) = (NudState::Noarp, Mac([0x01, 0x00, 0x5e, b & 0x7f, c, e]));
    } else if noarp {
        (n.state, n.ha) = (NudState::Noarp, mac);
    } else if kind == super::netlink::RouteType::Broadcast {
        (n.state, n.ha) = (NudState::Noarp, Mac::BROADCAST);
    }
    Some(n)
}

/// neigh_resolve_output with neigh_event_send: the frame goes if the neighbour's address can be used, and waits
/// otherwise.
fn resolve_output(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey, f: Frame) -> Flow {
    let parms = ns.dev(key.dev).map(|d| d.neigh);
    let Some((parms, n)) = parms.zip(ns.neigh.entries.get_mut(&key)) else {
        return cx.kill(f, DropReason::NeighDead);
    };
    let Some(probe_now) = n.start(cx, key, &parms) else { return cx.kill(f, DropReason::NeighFailed) };
    if n.state != NudState::Incomplete {
        n.hh = true;
        let ha = n.ha;
        return send(ns, cx, key, ha, f);
    }
    cx.step(&f, key.dev, What::NeighWait { addr: key.ipv4() });
    n.enqueue(cx, &parms, f);
    if probe_now {
        probe(ns, cx, key);
    }
    Break(Fate::Queued)
}

/// dev_hard_header and dev_queue_xmit: to `to`, or without a link-layer header where the device has none.
fn send(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey, to: Mac, mut f: Frame) -> Flow {
    let Some(d) = ns.dev(key.dev) else { return cx.kill(f, DropReason::DevReady) };
    if d.ipip().is_some() {
        f.push_mac(0);
        f.next_hop = Some(key.ipv4());
    } else {
        put_ethernet(f.push_mac(ETH_HLEN), to, d.mac, ETH_P_IP);
    }
    xmit(ns, cx, key.dev, f)
}

/// The hardware address of a neighbour can be used.
pub(in crate::kernel) fn valid(ns: &NetNs, key: NeighKey) -> bool {
    ns.neigh.get(key).is_some_and(|n| n.state.is_valid())
}

/// neigh_event_send without a frame: somebody will want to send.
pub(in crate::kernel) fn resolve(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey) {
    let known = ns.neigh.entries.contains_key(&key) || create(ns, cx, key).is_some();
    let parms = ns.dev(key.dev).map(|d| d.neigh).filter(|_| known);
    let probe_now = parms.zip(ns.neigh.entries.get_mut(&key)).and_then(|(parms, n)| n.start(cx, key, &parms));
    if probe_now == Some(true) {
        probe(ns, cx, key);
    }
}

fn retrans(parms: &NeighParms) -> u64 {
    ms_to_jiffies(parms.retrans_ms).max(HZ / 100)
}

impl Neigh {
    /// Somebody wants to send: the state in which the neighbour is from now on, and whether it has to be asked at once.
    /// None if it cannot be asked.
    fn start(&mut self, cx: &mut Cx<'_>, key: NeighKey, parms: &NeighParms) -> Option<bool> {
        let now = cx.jiffies();
        self.used = now;
        match self.state {
            NudState::Stale => {
                self.stop_timer(cx);
                (self.state, self.updated) = (NudState::Delay, now);
                self.start_timer(cx, key, ms_to_jiffies(parms.delay_probe_ms));
            }
            NudState::None | NudState::Failed => {
                if parms.mcast_probes + parms.app_probes == 0 {
                    (self.state, self.updated) = (NudState::Failed, now);
                    return None;
                }
                self.stop_timer(cx);
                (self.probes, self.state, self.updated) = (parms.ucast_probes, NudState::Incomplete, now);
                self.start_timer(cx, key, retrans(parms));
                return Some(true);
            }
            _ => {}
        }
        Some(false)
    }

    fn enqueue(&mut self, cx: &mut Cx<'_>, parms: &NeighParms, f: Frame) {
        while self.queue_bytes + u64::from(f.truesize) > parms.queue_len_bytes || self.queue.len() >= ARP_QUEUE_MAX {
            let Some(oldest) = self.dequeue() else { break };
            let _ = cx.kill(oldest, DropReason::NeighQueueFull);
        }
        self.queue_bytes += u64::from(f.truesize);
        self.queue.push_back(f);
    }

    fn dequeue(&mut self) -> Option<Frame> {
        let f = self.queue.pop_front()?;
        self.queue_bytes -= u64::from(f.truesize);
        Some(f)
    }

    fn start_timer(&mut self, cx: &mut Cx<'_>, key: NeighKey, after: u64) {
        self.timer = Some(cx.arm(after, Timer::Neigh(cx.ns, key)));
    }

    fn stop_timer(&mut self, cx: &mut Cx<'_>) {
        if let Some(id) = self.timer.take() {
            cx.cpu.timers.cancel(id);
        }
    }
}

/// neigh_probe: asks once more, on behalf of the newest waiting frame.
fn probe(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey) {
    let newest = ns.neigh.get(key).and_then(|n| n.queue.back());
    let on_behalf = newest.map(|f| (f.id, super::ip::source(f.l3())));
    arp::solicit(ns, cx, key, on_behalf);
    if let Some(n) = ns.neigh.entries.get_mut(&key) {
        n.probes += 1;
    }
}

/// neigh_timer_handler
pub(in crate::kernel) fn timer(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey) {
    let now = cx.jiffies();
    let reachable = reachable_time(ns, cx, key.dev);
    let Some(parms) = ns.dev(key.dev).map(|d| d.neigh) else { return };
    let Some(n) = ns.neigh.entries.get_mut(&key) else { return };
    n.timer = None;
    if !n.state.is_in_timer() {
        return;
    }
    let delay_probe = ms_to_jiffies(parms.delay_probe_ms);
    let mut next = now + HZ;
    match n.state {
        NudState::Reachable => {
            if before_eq(now, n.confirmed.wrapping_add(reachable)) {
                next = n.confirmed.wrapping_add(reachable);
            } else if before_eq(now, n.used.wrapping_add(delay_probe)) {
                (n.state, n.updated) = (NudState::Delay, now);
                next = now + delay_probe;
            } else {
                (n.state, n.updated) = (NudState::Stale, now);
            }
        }
        NudState::Delay if before_eq(now, n.confirmed.wrapping_add(delay_probe)) => {
            (n.state, n.updated) = (NudState::Reachable, now);
            next = n.confirmed.wrapping_add(reachable);
        }
        NudState::Delay => {
            (n.state, n.updated, n.probes) = (NudState::Probe, now, 0);
            next = now + retrans(&parms);
        }
        _ => next = now + retrans(&parms),
    }
    let asking = matches!(n.state, NudState::Incomplete | NudState::Probe);
    if asking && n.probes >= max_probes(n.state, &parms) {
        (n.state, n.updated) = (NudState::Failed, now);
        return invalidate(ns, cx, key);
    }
    if n.state.is_in_timer() {
        let after = next.wrapping_sub(now);
        n.start_timer(cx, key, if (after as i64) < (HZ / 100) as i64 { HZ / 100 } else { after });
    }
    if asking {
        probe(ns, cx, key);
    }
}

/// neigh_max_probes
fn max_probes(state: NudState, parms: &NeighParms) -> u64 {
    let rest = if state == NudState::Probe { parms.mcast_reprobes } else { parms.mcast_probes };
    parms.ucast_probes + parms.app_probes + rest
}

/// neigh_rand_reach_time: half to one and a half of the base, drawn anew for each device every 300 seconds
/// (neigh_periodic_work).
fn reachable_time(ns: &NetNs, cx: &Cx<'_>, dev: IfIndex) -> u64 {
    let Some(d) = ns.dev(dev) else { return 0 };
    let base = ms_to_jiffies(d.neigh.base_reachable_ms);
    let epoch = cx.now().0 / (300 * crate::base::time::SEC);
    let input = [cx.salt(), u64::from(dev.0), epoch];
    base / 2 + cx.prf.below(Purpose::ReachableTime, &input, base)
}

/// neigh_invalidate: nobody answered; whoever waits is told.
fn invalidate(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey) {
    while let Some(f) = ns.neigh.entries.get_mut(&key).filter(|n| n.state == NudState::Failed).and_then(Neigh::dequeue)
    {
        // arp_error_report: ipv4_link_failure
        icmp::send_host_unreachable(ns, cx, &f);
        let _ = cx.kill(f, DropReason::NeighFailed);
    }
}

/// neigh_update: what we heard of a neighbour, from ARP or from the user. `cause` is the frame that told.
pub(in crate::kernel) fn update(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    key: NeighKey,
    lladdr: Option<Mac>,
    state: NudState,
    flags: UpdateFlags,
    cause: Option<&Frame>,
) {
    let now = cx.jiffies();
    let reachable = reachable_time(ns, cx, key.dev);
    let Some(base) = ns.dev(key.dev).map(|d| ms_to_jiffies(d.neigh.base_reachable_ms)) else { return };
    let Some(n) = ns.neigh.entries.get_mut(&key) else { return };
    let (old, mut new) = (n.state, state);
    if !flags.admin && matches!(old, NudState::Noarp | NudState::Permanent) {
        return;
    }
    if !new.is_valid() {
        n.stop_timer(cx);
        n.state = new;
        if matches!(old, NudState::Incomplete | NudState::Probe) && new == NudState::Failed {
            invalidate(ns, cx, key);
        }
        return;
    }
    let ha = lladdr.unwrap_or(n.ha);
    if new.is_connected() {
        n.confirmed = now;
    }
    if old.is_valid() {
        if ha != n.ha && !flags.override_ {
            return;
        }
        if ha == n.ha && new == NudState::Stale && !flags.admin {
            new = old;
        }
    }
    if new != old || ha != n.ha {
        n.updated = now;
    }
    if new != old {
        n.stop_timer(cx);
        if new == NudState::Probe {
            n.probes = 0;
        }
        if new.is_in_timer() {
            n.start_timer(cx, key, if new == NudState::Reachable { reachable } else { 0 });
        }
        n.state = new;
    }
    if ha != n.ha {
        n.ha = ha;
        if !new.is_connected() {
            n.confirmed = now.wrapping_sub(base << 1);
        }
    }
    if let Some(f) = cause.filter(|_| new != old || lladdr.is_some()) {
        cx.step(f, key.dev, What::NeighUpdate { addr: key.ipv4(), state: new, lladdr: ha });
    }
    if !old.is_valid() {
        flush_queue(ns, cx, key);
    }
}

/// neigh_update_process_arp_queue: the neighbour is known, and what waits for it goes out, in order. In process context
/// one packet is received and answered before the next goes (write_unlock_bh).
pub(in crate::kernel) fn flush_queue(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey) {
    while let Some(f) = ns.neigh.entries.get_mut(&key).filter(|n| n.state.is_valid()).and_then(Neigh::dequeue) {
        let _ = resolve_output(ns, cx, key, f);
        if cx.in_process() {
            return cx.defer(Continuation::Neigh(cx.ns, key));
        }
    }
}

/// neigh_event_ns: somebody asked for us and thereby told who it is. False if the table is full.
pub(in crate::kernel) fn event_ns(ns: &mut NetNs, cx: &mut Cx<'_>, key: NeighKey, lladdr: Mac, f: &Frame) -> bool {
    let Some(parms) = ns.dev(key.dev).map(|d| d.neigh) else { return false };
    if ns.neigh.create(key, &parms, cx.jiffies()).is_none() {
        return false;
    }
    let flags = UpdateFlags { override_: true, admin: false };
    update(ns, cx, key, Some(lladdr), NudState::Stale, flags, Some(f));
    true
}

/// Removes the entries that `which` picks, with what waits in them (neigh_flush_dev, neigh_del).
pub(in crate::kernel) fn remove(ns: &mut NetNs, cx: &mut Cx<'_>, mut which: impl FnMut(&NeighKey, &Neigh) -> bool) {
    let gone: Vec<NeighKey> = ns.neigh.entries.iter().filter(|(k, n)| which(k, n)).map(|(k, _)| *k).collect();
    for key in gone {
        let Some(mut n) = ns.neigh.entries.remove(&key) else { continue };
        n.stop_timer(cx);
        while let Some(f) = n.dequeue() {
            let _ = cx.kill(f, DropReason::NeighDead);
        }
    }
}
