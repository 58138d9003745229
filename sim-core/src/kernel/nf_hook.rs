//! Mirrors nf_hook_slow of net/netfilter/core.c with what is registered at the hooks of IPv4: defragmentation, the
//! tables, connection tracking and NAT, in the order of their priorities (include/uapi/linux/netfilter_ipv4.h).

use super::conntrack::nat::{self, Manip, NatStep, Range};
use super::conntrack::{
    self, Conntrack, CtCx, CtInfo, Dir, Nfct, Tuple, Verdict as CtVerdict, nf_conntrack_confirm, nf_conntrack_in,
};
use super::cx::Cx;
use super::dev::br_netfilter::NfBridge;
use super::dev::{ARPHRD_ETHER, ARPHRD_LOOPBACK, pass};
use super::errno::Errno;
use super::fib::Fib;
use super::frame::Frame;
use super::ip::{frag, route};
use super::netfilter::eval::{Verdict, walk};
use super::netfilter::hook::{Hook, Op, TableName};
use super::netfilter::packet::{AddrType, Connection, Ct, IfName, Packet, Receiver, Surroundings, Tracked};
use super::netfilter::targets::{Log, Nat, NatKind};
use super::netlink::{RouteType, Scope};
use super::netns::{Devs, NetNs};
use super::nf_log;
use super::nf_socket;
use super::reject;
use super::rules::Lookup;
use super::socket::Sockets;
use super::tcpmss;
use super::tproxy::tproxy;
use super::trace::{CtLabel, DropReason, Flow, What};
use crate::base::IfIndex;
use crate::base::rng::Purpose;
use crate::kernel::timer::HZ;
use crate::wire::{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, be16};
use smoltcp::wire::Ipv4Packet;
use std::net::{Ipv4Addr, SocketAddrV4};

/// struct nf_hook_state, with what the hooks need to know of the route.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct State {
    pub hook: Hook,
    pub indev: Option<IfIndex>,
    pub outdev: Option<IfIndex>,
    /// At POSTROUTING: rt_nexthop.
    pub next_hop: Option<Ipv4Addr>,
    /// At OUTPUT: the device that the socket is bound to.
    pub bound: Option<IfIndex>,
    /// At OUTPUT: the way that the packet takes now, if it was changed so that it needs another.
    pub rerouted: Option<route::Output>,
    /// At OUTPUT: NF_DROP_ERR, what its sender is told of its end instead of EPERM.
    pub error: Option<Errno>,
}

impl State {
    /// At `hook`, in by one device and out by another.
    pub fn at(hook: Hook, indev: Option<IfIndex>, outdev: Option<IfIndex>) -> Self {
        State { hook, indev, outdev, next_hop: None, bound: None, rerouted: None, error: None }
    }
}

/// nf_hook: takes a packet through all that is registered at a hook.
pub(in crate::kernel) fn nf_hook(ns: &mut NetNs, cx: &mut Cx<'_>, s: &mut State, mut f: Frame) -> Flow {
    if ns.iptables.is_idle() {
        return pass(f);
    }
    // ip_sabotage_in: the bridge has called it already.
    if s.hook == Hook::Prerouting && f.nf_bridge.as_mut().is_some_and(NfBridge::sabotage) {
        return pass(f);
    }
    let (physin, physout) = (f.nf_bridge.map(|b| b.physin), f.nf_bridge.and_then(|b| b.physout));
    let (hook, indev, outdev) = (s.hook, s.indev, s.outdev);
    cx.step(&f, IfIndex(0), What::Hook { hook, indev, outdev, physin, physout });
    for op in ns.iptables.ops(hook).iter().map_while(|op| *op) {
        f = match op {
            Op::Defrag => defrag(ns, cx, s, f)?,
            Op::Conntrack => track(ns, cx, s, f)?,
            Op::Confirm => confirm(ns, cx, f)?,
            Op::Nat => translate(ns, cx, s, f)?,
            Op::Table(TableName::Mangle) if hook == Hook::Output => mangle_output(ns, cx, s, f)?,
            Op::Table(name) => filter(ns, cx, s, name, f)?,
        };
    }
    pass(f)
}

/// ipv4_conntrack_defrag
fn defrag(ns: &mut NetNs, cx: &mut Cx<'_>, s: &State, f: Frame) -> Flow {
    let p = Ipv4Packet::new_unchecked(f.l3());
    if f.nfct != Nfct::None || !p.more_frags() && p.frag_offset() == 0 {
        return pass(f);
    }
    let user = match s.hook {
        Hook::Prerouting if f.nf_bridge.is_some_and(|b| b.in_prerouting()) => frag::User::ConntrackBridgeIn,
        Hook::Prerouting => frag::User::ConntrackIn,
        _ => frag::User::ConntrackOut,
    };
    // The fragment is where its device is; a bridge's frame is put together for the bridge.
    let dev = s.indev.unwrap_or(f.dev);
    let mut f = frag::defrag(ns, cx, dev, user, f)?;
    f.ignore_df = true;
    pass(f)
}

/// nf_conntrack_in
fn track(ns: &mut NetNs, cx: &mut Cx<'_>, s: &State, mut f: Frame) -> Flow {
    let had = f.nfct;
    let packet = conntrack::Packet::new(f.l3(), f.csum()).verified(f.csum_valid).in_zone(had.zone(f.mark));
    let (verdict, nfct) = nf_conntrack_in(&mut ns.ct, &CtCx::of(cx), &packet, had, s.hook);
    f.nfct = nfct;
    if verdict == CtVerdict::Drop {
        return cx.kill(f, DropReason::ConntrackFull);
    }
    if !had.is_seen() {
        let found = s.hook == Hook::Prerouting && matches!(nfct, Nfct::Ct { .. });
        f.csum_valid |= found && ns.ct.verifies(f.l3()[9]);
    }
    if !had.is_seen() || had == Nfct::Untracked {
        cx.step(&f, IfIndex(0), What::Conntrack { state: label(nfct) });
    }
    pass(f)
}

/// nf_confirm: the packet's connection becomes visible.
pub(in crate::kernel) fn confirm(ns: &mut NetNs, cx: &mut Cx<'_>, mut f: Frame) -> Flow {
    let (verdict, nfct) = nf_conntrack_confirm(&mut ns.ct, &CtCx::of(cx), f.nfct);
    f.nfct = nfct;
    match verdict {
        CtVerdict::Accept => pass(f),
        CtVerdict::Drop => cx.kill(f, DropReason::NetfilterDrop),
    }
}

/// ipt_do_table, and what its verdict asks for.
fn filter(ns: &mut NetNs, cx: &mut Cx<'_>, s: &State, name: TableName, mut f: Frame) -> Flow {
    match table(ns, cx, s, name, &mut f) {
        None | Some(Verdict::Accept | Verdict::Nat(_) | Verdict::TcpMss(_)) => pass(f),
        Some(Verdict::Tproxy(target)) if tproxy(ns, target, s.indev, &mut f) => pass(f),
        Some(Verdict::Drop | Verdict::Tproxy(_)) => cx.kill(f, DropReason::NetfilterDrop),
        Some(Verdict::Reject(with)) => {
            reject::reject(ns, cx, with, &f);
            cx.kill(f, DropReason::NetfilterDrop)
        }
    }
}

/// ipt_mangle_out: what the table changes may change the way out.
#[inline(never)]
fn mangle_output(ns: &mut NetNs, cx: &mut Cx<'_>, s: &mut State, f: Frame) -> Flow {
    let decisive = |f: &Frame| (f.mark, f.l3()[1], addresses(f.l3()));
    let before = decisive(&f);
    let f = filter(ns, cx, s, TableName::Mangle, f)?;
    if decisive(&f) == before { pass(f) } else { reroute(ns, cx, s, f) }
}

/// nf_nat_inet_fn with its wrappers for each hook.
fn translate(ns: &mut NetNs, cx: &mut Cx<'_>, s: &mut State, mut f: Frame) -> Flow {
    let before = cx.steps.then(|| ends(f.l3()));
    let (ct_cx, nfct, hook) = (CtCx::of(cx), f.nfct, s.hook);
    let csum = f.csum();
    let verdict = match nat::nf_nat_hook(&mut ns.ct, &ct_cx, nfct, hook, s.outdev, f.l3_mut(), csum) {
        NatStep::Done(verdict) => verdict,
        NatStep::Rules => match rules(ns, cx, s, &mut f) {
            CtVerdict::Drop => CtVerdict::Drop,
            CtVerdict::Accept => nat::nf_nat_after_rules(&mut ns.ct, &ct_cx, nfct, hook, f.l3_mut(), csum),
        },
    };
    if verdict == CtVerdict::Drop {
        return cx.kill(f, DropReason::NetfilterDrop);
    }
    if let Some(before) = before {
        let after = ends(f.l3());
        for (manip, from, to) in [(Manip::Src, before[0], after[0]), (Manip::Dst, before[1], after[1])] {
            if from != to {
                cx.step(&f, IfIndex(0), What::Nat { manip, from, to });
            }
        }
    }
    // nf_nat_ipv4_local_fn: a packet to a translated destination may need another way.
    if s.hook == Hook::Output && leads_elsewhere(&ns.ct, f.nfct) { reroute(ns, cx, s, f) } else { pass(f) }
}

/// The nat table's chain at the hook, and what its target asks for.
fn rules(ns: &mut NetNs, cx: &mut Cx<'_>, s: &State, f: &mut Frame) -> CtVerdict {
    let Some(verdict) = table(ns, cx, s, TableName::Nat, f) else { return CtVerdict::Accept };
    let Nat { kind, range } = match verdict {
        Verdict::Nat(nat) => nat,
        Verdict::Accept | Verdict::TcpMss(_) => return CtVerdict::Accept,
        Verdict::Drop | Verdict::Reject(_) | Verdict::Tproxy(_) => return CtVerdict::Drop,
    };
    let (ct_cx, nfct) = (CtCx::of(cx), f.nfct);
    match kind {
        NatKind::Dnat => nat::nf_nat_setup_info(&mut ns.ct, &ct_cx, nfct, &range, Manip::Dst),
        NatKind::Snat => nat::nf_nat_setup_info(&mut ns.ct, &ct_cx, nfct, &range, Manip::Src),
        NatKind::Masquerade => {
            let Some(out) = s.outdev else { return CtVerdict::Drop };
            let source = ns.select_addr(out, s.next_hop, Scope::Global);
            nat::nf_nat_masquerade(&mut ns.ct, &ct_cx, nfct, &range, source, out)
        }
        NatKind::Redirect => match redirect_to(ns, s) {
            Some(to) => {
                let range = Range { addrs: Some((to.into(), to.into())), ..range };
                nat::nf_nat_setup_info(&mut ns.ct, &ct_cx, nfct, &range, Manip::Dst)
            }
            None => CtVerdict::Drop,
        },
    }
}

/// nf_nat_redirect_ipv4: what is made here goes to the loopback address, all else to the first address of its device.
fn redirect_to(ns: &NetNs, s: &State) -> Option<Ipv4Addr> {
    match s.indev {
        None => Some(Ipv4Addr::LOCALHOST),
        Some(dev) => ns.dev(dev)?.addrs.first().map(|a| a.local.addr()),
    }
}

/// The connection's packets of this direction go to somebody else than the other direction's come from.
fn leads_elsewhere(ct: &Conntrack, nfct: Nfct) -> bool {
    let Nfct::Ct { info, .. } = nfct else { return false };
    ct.of(nfct).is_some_and(|c| c.tuple(info.dir()).dst != c.tuple(info.dir().other()).src)
}

/// ip_route_me_harder: the way out is looked up once more. The source stays what it is.
fn reroute(ns: &mut NetNs, cx: &mut Cx<'_>, s: &mut State, f: Frame) -> Flow {
    let (src, dst) = addresses(f.l3());
    let own = matches!(ns.fib.addr_type(src, None), RouteType::Local | RouteType::Unicast);
    let flow =
        route::Flow4 { src: own.then_some(src), oif: s.bound, mark: f.mark, any_src: own, ..route::Flow4::to(dst) };
    match route::output(ns, &flow) {
        Ok(r) => {
            r.explain(ns, cx, &f);
            s.rerouted = Some(r);
            pass(f)
        }
        Err(errno) => {
            s.error = Some(errno);
            let why = if errno == Errno::EINVAL { DropReason::IpInvalidSource } else { DropReason::IpOutNoRoutes };
            cx.kill(f, why)
        }
    }
}

/// A packet's walk through a table; none if the table does not exist. What its targets change on the way is put into
/// effect.
fn table(ns: &mut NetNs, cx: &mut Cx<'_>, s: &State, name: TableName, f: &mut Frame) -> Option<Verdict> {
    loop {
        match stretch(ns, cx, s, name, f)? {
            Verdict::TcpMss(target) if tcpmss::tcpmss(ns, target, s.outdev, f) => {}
            Verdict::TcpMss(_) => {
                ns.iptables.end_walk(name);
                return Some(Verdict::Drop);
            }
            verdict => return Some(verdict),
        }
    }
}

/// The walk up to its end or to a target that changes the packet. Marks and notrack are put into effect.
fn stretch(ns: &mut NetNs, cx: &mut Cx<'_>, s: &State, name: TableName, f: &mut Frame) -> Option<Verdict> {
    let NetNs { iptables, fib, ct, devs, sockets, .. } = ns;
    let (rules, mut memory) = iptables.walked(name)?;
    let mut packet = Packet {
        bytes: f.l3(),
        indev: s.indev,
        outdev: s.outdev,
        physin: f.nf_bridge.map(|b| b.physin),
        physout: f.nf_bridge.and_then(|b| b.physout),
        bridged: f.nf_bridge.is_some(),
        sk: f.sk,
        mark: f.mark,
        ct: seen(ct, f.nfct),
        now: cx.now(),
    };
    let before = packet.ct;
    let mut around = Around { devs, fib, sockets, ct, cx, frame: f, table: name, hook: s.hook };
    let verdict = walk(rules, s.hook, &mut packet, &mut memory, &mut around);
    let (mark, after) = (packet.mark, packet.ct);
    f.mark = mark;
    match after {
        _ if after == before => {}
        Ct::Untracked => f.nfct = Nfct::Untracked,
        Ct::Template(template) => f.nfct = Nfct::Template(template),
        Ct::Tracked(t) => conntrack::set_mark(ct, f.nfct, t.mark),
        Ct::None => {}
    }
    Some(verdict)
}

/// What a rule sees of the packet's connection.
fn seen(ct: &Conntrack, nfct: Nfct) -> Ct {
    match (nfct, ct.of(nfct)) {
        (Nfct::Untracked, _) => Ct::Untracked,
        (Nfct::Template(template), _) => Ct::Template(template),
        (Nfct::Ct { info, .. }, Some(c)) => Ct::Tracked(Tracked { info, status: c.status(), mark: c.mark() }),
        _ => Ct::None,
    }
}

/// The namespace around a walk.
struct Around<'a, 'c> {
    devs: &'a Devs,
    fib: &'a Fib,
    sockets: &'a Sockets,
    ct: &'a mut Conntrack,
    cx: &'a mut Cx<'c>,
    frame: &'a Frame,
    table: TableName,
    hook: Hook,
}

impl Surroundings for Around<'_, '_> {
    fn name(&self, dev: IfIndex) -> IfName {
        self.devs.get(dev).map_or(IfName::NONE, |d| IfName::new(&d.name))
    }

    fn connection(&self) -> Option<Connection> {
        let c = self.ct.of(self.frame.nfct)?;
        let expires_s = (c.expires(self.cx.jiffies()) / HZ) as u32;
        Some(Connection { tuple: [*c.tuple(Dir::Original), *c.tuple(Dir::Reply)], expires_s })
    }

    fn receiver(&self, packet: &Packet<'_>) -> Option<Receiver> {
        let sk = nf_socket::receiver(self.sockets, self.ct, self.frame, packet.indev)?;
        Some(Receiver { wildcard: sk.wildcard, transparent: sk.transparent, mark: sk.mark })
    }

    fn addr_type(&mut self, address: Ipv4Addr, dev: Option<IfIndex>) -> AddrType {
        self.fib.addr_type(address, dev).into()
    }

    fn route_back(&mut self, src: Ipv4Addr, dst: Ipv4Addr, mark: u32) -> Option<(AddrType, Option<IfIndex>)> {
        let lookup = Lookup { src: dst, mark, ..Lookup::local(src, Scope::Global, None) };
        let route = self.fib.lookup_flow(&lookup).ok()?.route;
        Some((route.kind.into(), route.oif))
    }

    fn draw(&mut self, rule: u32) -> u32 {
        // The flow's draws are counted: the rule's place, which others in front of it move, is not needed to tell them
        // apart.
        let place = if self.cx.cpu.draws_by_name() { 0 } else { rule };
        let l3 = self.frame.l3();
        let (src, dst) = addresses(l3);
        let flow = Tuple::of(l3, 0).unwrap_or(Tuple {
            src: src.into(),
            dst: dst.into(),
            proto: l3[9],
            sport: 0,
            dport: 0,
            zone: 0,
        });
        let addresses = u64::from(u32::from(src)) << 32 | u64::from(u32::from(dst));
        let ports = u64::from(flow.sport) << 16 | u64::from(flow.dport);
        let input = [
            self.cx.salt(),
            u64::from(self.table as u8) << 32 | u64::from(place),
            u64::from(flow.proto),
            addresses,
            ports,
            self.ct.next_draw(&flow),
        ];
        self.cx.prf.below(Purpose::StatisticMatch, &input, 1 << 32) as u32
    }

    fn decide(&mut self, odds: u32, of: u32) -> Option<bool> {
        self.cx.cpu.choices.as_mut().map(|choices| choices.decide(odds, of))
    }

    fn took(&mut self, chain: u32, rule: u32) {
        self.cx.step(self.frame, IfIndex(0), What::Rule { table: self.table, chain, rule });
    }

    fn log(&mut self, how: &Log, packet: &Packet<'_>) {
        let mac = &self.frame.bytes()[..self.frame.mac_len()];
        let dev = packet.physin.or(packet.indev).and_then(|dev| self.devs.get(dev));
        let is_ether = dev.is_some_and(|d| d.arphrd() == ARPHRD_ETHER);
        // What comes from lo has a route already.
        let demuxed = self.hook == Hook::Input && dev.is_some_and(|d| d.arphrd() != ARPHRD_LOOPBACK);
        let owner = || nf_socket::owner(self.sockets, packet, demuxed);
        let line = nf_log::line(how, packet, (mac, is_ether), owner, |dev| self.name(dev));
        self.cx.printk(how.level, line);
    }
}

impl From<RouteType> for AddrType {
    fn from(kind: RouteType) -> Self {
        match kind {
            RouteType::Unicast => AddrType::Unicast,
            RouteType::Local => AddrType::Local,
            RouteType::Broadcast => AddrType::Broadcast,
            RouteType::Multicast => AddrType::Multicast,
            RouteType::Blackhole => AddrType::Blackhole,
            RouteType::Unreachable => AddrType::Unreachable,
            RouteType::Prohibit => AddrType::Prohibit,
            RouteType::Throw => AddrType::Throw,
        }
    }
}

fn label(nfct: Nfct) -> CtLabel {
    match nfct {
        Nfct::None | Nfct::Template(_) => CtLabel::Invalid,
        Nfct::Untracked => CtLabel::Untracked,
        Nfct::Ct { info, .. } => match info {
            CtInfo::New => CtLabel::New,
            CtInfo::Established | CtInfo::EstablishedReply => CtLabel::Established,
            CtInfo::Related | CtInfo::RelatedReply => CtLabel::Related,
        },
    }
}

fn addresses(l3: &[u8]) -> (Ipv4Addr, Ipv4Addr) {
    let p = Ipv4Packet::new_unchecked(l3);
    (p.src_addr(), p.dst_addr())
}

/// Source and destination; the ports are zero where there are none.
fn ends(l3: &[u8]) -> [SocketAddrV4; 2] {
    let (src, dst) = addresses(l3);
    let l4 = l3.get(usize::from(l3[0] & 0xf) * 4..).unwrap_or_default();
    let ports = match l3[9] {
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE if l4.len() >= 4 => (be16(l4, 0), be16(l4, 2)),
        _ => (0, 0),
    };
    [SocketAddrV4::new(src, ports.0), SocketAddrV4::new(dst, ports.1)]
}

/// nf_reset_ct: the packet belongs to no connection any more.
pub(in crate::kernel) fn nf_reset_ct(ns: &mut NetNs, f: &mut Frame) {
    ns.ct.put(std::mem::take(&mut f.nfct));
}
