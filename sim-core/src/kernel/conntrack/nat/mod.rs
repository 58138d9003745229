//! Mirrors net/netfilter/nf_nat_core.c and nf_nat_masquerade.c: a new connection gets its addresses and ports once; all
//! its packets are rewritten from its tuples.
//!
//! ```text
//!              PREROUTING, OUTPUT     POSTROUTING, INPUT
//!   original   destination (DNAT)     source (SNAT)
//!   reply      destination (un-SNAT)  source (un-DNAT)
//! ```

mod manip;
mod unique;

pub use manip::nf_nat_icmp_reply_translation;
pub(in crate::kernel) use manip::{manip_pkt, replace2};

use super::entry::{CtId, CtInfo, Nfct, Status};
use super::table::Conntrack;
use super::tuple::{Dir, Tuple};
use super::{Csum, CtCx, Hook, Verdict};
use crate::base::IfIndex;
use std::net::{IpAddr, Ipv4Addr};

/// enum nf_nat_manip_type: which end is rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manip {
    /// The source, when the packet leaves the stack.
    Src,
    /// The destination, when it enters.
    Dst,
}

impl Manip {
    /// HOOK2MANIP
    pub fn at(hook: Hook) -> Manip {
        match hook {
            Hook::Prerouting | Hook::Output | Hook::Forward => Manip::Dst,
            Hook::Postrouting | Hook::Input => Manip::Src,
        }
    }

    fn other(self) -> Manip {
        match self {
            Manip::Src => Manip::Dst,
            Manip::Dst => Manip::Src,
        }
    }

    fn done(self) -> Status {
        match self {
            Manip::Src => Status::SRC_NAT_DONE,
            Manip::Dst => Status::DST_NAT_DONE,
        }
    }

    fn changed(self) -> Status {
        match self {
            Manip::Src => Status::SRC_NAT,
            Manip::Dst => Status::DST_NAT,
        }
    }

    /// The bit that says whether packets of a direction are rewritten at this end.
    fn applies(self, dir: Dir) -> Status {
        match dir {
            Dir::Original => self.changed(),
            Dir::Reply => self.other().changed(),
        }
    }
}

/// struct nf_nat_range2: what a rule allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Range {
    /// NF_NAT_RANGE_MAP_IPS: the first and the last address.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// NF_NAT_RANGE_PROTO_SPECIFIED: the first and the last port or ICMP id.
    pub ports: Option<(u16, u16)>,
    /// NF_NAT_RANGE_PROTO_RANDOM: `--random`.
    pub random: bool,
    /// NF_NAT_RANGE_PROTO_RANDOM_FULLY: `--random-fully`. The kernel does the same for both.
    pub random_fully: bool,
    /// NF_NAT_RANGE_PERSISTENT: `--persistent`.
    pub persistent: bool,
    /// NF_NAT_RANGE_PROTO_OFFSET: ports keep their distance to this one (`--to-destination a:b-c/base`).
    pub base: Option<u16>,
}

impl Range {
    /// One address, any port.
    pub fn to(addr: IpAddr) -> Self {
        Range { addrs: Some((addr, addr)), ..Range::default() }
    }

    /// NF_NAT_RANGE_PROTO_RANDOM_ALL: the port is drawn, even if the old one would do.
    fn is_random(&self) -> bool {
        self.random || self.random_fully
    }
}

/// nf_nat_setup_info: the connection gets its translation at one end. One that is confirmed has it already.
pub fn nf_nat_setup_info(ct: &mut Conntrack, cx: &CtCx<'_>, nfct: Nfct, range: &Range, manip: Manip) -> Verdict {
    let Nfct::Ct { id, .. } = nfct else { return Verdict::Accept };
    let Some(conn) = ct.get(id) else { return Verdict::Accept };
    if conn.is_confirmed() {
        return Verdict::Accept;
    }
    if conn.status.has(manip.done()) {
        return Verdict::Drop;
    }
    let Some(current) = conn.tuple(Dir::Reply).inverse() else { return Verdict::Drop };
    let new = unique::get_unique_tuple(ct, cx, id, &current, range, manip);
    let Some(reply) = new.inverse() else { return Verdict::Drop };
    if let Some(conn) = ct.get_mut(id) {
        if new != current {
            conn.tuple[Dir::Reply.index()] = reply;
            conn.status.set(manip.changed());
        }
        conn.status.set(manip.done());
    }
    if manip == Manip::Src {
        ct.insert_source(id);
    }
    Verdict::Accept
}

/// nf_nat_alloc_null_binding: no rule applies, so the connection keeps its address. Its port may have to change all the
/// same, if another connection has taken it.
pub fn nf_nat_alloc_null_binding(ct: &mut Conntrack, cx: &CtCx<'_>, nfct: Nfct, manip: Manip) -> Verdict {
    let Some(conn) = ct.of(nfct) else { return Verdict::Accept };
    let reply = conn.tuple(Dir::Reply);
    let addr = match manip {
        Manip::Src => reply.dst,
        Manip::Dst => reply.src,
    };
    nf_nat_setup_info(ct, cx, nfct, &Range::to(addr), manip)
}

/// nf_nat_masquerade_ipv4: source translation to `source`, the address that the caller chose by the device that the
/// packet leaves by (inet_select_addr); none if there is no such. The device is remembered.
pub fn nf_nat_masquerade(
    ct: &mut Conntrack,
    cx: &CtCx<'_>,
    nfct: Nfct,
    range: &Range,
    source: Option<Ipv4Addr>,
    out: IfIndex,
) -> Verdict {
    let Nfct::Ct { id, .. } = nfct else { return Verdict::Accept };
    let Some(conn) = ct.get_mut(id) else { return Verdict::Accept };
    if conn.tuple(Dir::Original).src == IpAddr::from(Ipv4Addr::UNSPECIFIED) {
        return Verdict::Accept;
    }
    let Some(source) = source else { return Verdict::Drop };
    conn.masq_index = Some(out);
    let range = Range { addrs: Some((source.into(), source.into())), ..*range };
    nf_nat_setup_info(ct, cx, nfct, &range, Manip::Src)
}

/// What the nat hook is to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NatStep {
    /// The packet is as it should be.
    Done(Verdict),
    /// The rules of the hook's nat chain decide; afterwards [`nf_nat_after_rules`].
    Rules,
}

/// nf_nat_ipv4_fn up to the rules: only the first packet of a connection sees them. `out` is the device that the packet
/// leaves by.
pub fn nf_nat_hook(
    ct: &mut Conntrack,
    cx: &CtCx<'_>,
    nfct: Nfct,
    hook: Hook,
    out: Option<IfIndex>,
    l3: &mut [u8],
    csum: Csum,
) -> NatStep {
    let Nfct::Ct { id, info } = nfct else { return NatStep::Done(Verdict::Accept) };
    let Some(conn) = ct.get(id) else { return NatStep::Done(Verdict::Accept) };
    if info.is_related() && l3.get(9) == Some(&super::IPPROTO_ICMP) {
        let verdict = nf_nat_icmp_reply_translation(ct, nfct, hook, l3, csum);
        return NatStep::Done(verdict);
    }
    let starts = info.is_related() || info == CtInfo::New;
    if starts && !conn.status.has(Manip::at(hook).done()) {
        return NatStep::Rules;
    }
    if oif_changed(ct, id, info, hook, out) {
        ct.delete(cx, id, None);
        return NatStep::Done(Verdict::Drop);
    }
    NatStep::Done(nf_nat_packet(ct, nfct, hook, l3, csum))
}

/// nf_nat_ipv4_fn after the rules: a connection that they did not translate keeps its address, and the packet is
/// rewritten.
pub fn nf_nat_after_rules(
    ct: &mut Conntrack,
    cx: &CtCx<'_>,
    nfct: Nfct,
    hook: Hook,
    l3: &mut [u8],
    csum: Csum,
) -> Verdict {
    let manip = Manip::at(hook);
    let open = ct.of(nfct).is_some_and(|c| !c.status.has(manip.done()));
    if open && nf_nat_alloc_null_binding(ct, cx, nfct, manip) == Verdict::Drop {
        return Verdict::Drop;
    }
    nf_nat_packet(ct, nfct, hook, l3, csum)
}

/// nf_nat_packet: rewrites a packet at this hook's end, if its connection is translated there.
pub fn nf_nat_packet(ct: &Conntrack, nfct: Nfct, hook: Hook, l3: &mut [u8], csum: Csum) -> Verdict {
    let (Some(conn), Nfct::Ct { info, .. }) = (ct.of(nfct), nfct) else { return Verdict::Accept };
    let manip = Manip::at(hook);
    if !conn.status.has(manip.applies(info.dir())) {
        return Verdict::Accept;
    }
    let target = conn.tuple(info.dir().other()).inverse();
    let done = target.is_some_and(|target| manip_pkt(l3, 0, &target, manip, csum));
    if done { Verdict::Accept } else { Verdict::Drop }
}

/// nf_nat_oif_changed: a masqueraded connection leaves by another device now.
fn oif_changed(ct: &Conntrack, id: CtId, info: CtInfo, hook: Hook, out: Option<IfIndex>) -> bool {
    let masq = ct.get(id).and_then(|c| c.masq_index);
    hook == Hook::Postrouting && info.dir() == Dir::Original && masq.zip(out).is_some_and(|(masq, out)| masq != out)
}

/// nf_nat_used_tuple: a flow that is sent as `tuple` would get answers that are another flow's.
fn used_tuple(ct: &mut Conntrack, cx: &CtCx<'_>, tuple: &Tuple, id: CtId) -> bool {
    let zone = ct.get(id).map_or(0, |c| c.zone.id(Dir::Reply));
    tuple.inverse().is_none_or(|reply| ct.taken(cx, &reply.in_zone(zone), id))
}

#[cfg(test)]
mod tests;
