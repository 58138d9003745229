//! Mirrors net/netfilter/nf_conntrack_proto_icmp.c: questions and answers are connections, errors belong to the one
//! that they quote. Read RFC 792 and RFC 5508 before editing.

use super::entry::{Conn, CtInfo, Nfct};
use super::sysctl::Settings;
use super::table::Conntrack;
use super::tuple::{Dir, Tuple};
use super::{CtCx, Hook, Packet, Track};
use crate::kernel::ip::icmp::{ICMP_HLEN, LAST_TYPE};
use crate::kernel::timer::HZ;
use crate::wire::IPPROTO_ICMP;

/// Messages that ask, and those that answer them (invmap).
const PAIRS: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];

/// The type that goes the other way; none if there is no such.
pub(super) fn answer(kind: u8) -> Option<u8> {
    let pair = PAIRS.iter().find(|(ask, tell)| kind == *ask || kind == *tell)?;
    Some(if kind == pair.0 { pair.1 } else { pair.0 })
}

/// icmp_is_err
fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// nf_conntrack_icmp_packet: only a question begins a connection.
pub(super) fn packet(s: &Settings, c: &mut Conn, p: &Packet<'_>, info: CtInfo, jiffies: u64) -> Track {
    let kind = c.tuple(Dir::Original).icmp().0;
    if !c.is_confirmed() && !PAIRS.iter().any(|(ask, _)| *ask == kind) {
        return Track::Invalid;
    }
    c.refresh_acct(jiffies, info.dir(), u64::from(s.icmp_timeout) * HZ, p.l3.len());
    Track::Accept
}

/// What an ICMP message is.
pub(super) enum Heard {
    /// No error.
    NoError,
    /// An error about this connection.
    Related(Nfct),
    /// Damaged, or an error about nothing that is known.
    Invalid,
}

/// nf_conntrack_icmpv4_error
#[inline(never)]
pub(super) fn error(ct: &mut Conntrack, cx: &CtCx<'_>, skb: &Packet<'_>, hook: Hook) -> Heard {
    let l4 = skb.l4();
    if l4.len() < ICMP_HLEN || skb.bad_checksum(&ct.settings, hook, IPPROTO_ICMP) || l4[0] > LAST_TYPE {
        return Heard::Invalid;
    }
    if !is_error(l4[0]) {
        return Heard::NoError;
    }
    inet_error(ct, cx, skb, &l4[ICMP_HLEN..]).map_or(Heard::Invalid, Heard::Related)
}

/// nf_conntrack_inet_error: the quoted packet went the other way, so its answer leads to the connection. An error that
/// is not for who sent the packet is none of it.
fn inet_error(ct: &mut Conntrack, cx: &CtCx<'_>, skb: &Packet<'_>, quoted: &[u8]) -> Option<Nfct> {
    let answer = Tuple::of(quoted, 0)?.inverse()?;
    let (id, dir) = ct.find(cx, skb.zone, &answer)?;
    let outer: [u8; 4] = skb.l3.get(16..20)?.try_into().ok()?;
    if ct.get(id)?.tuple(dir).dst != std::net::IpAddr::from(outer) {
        return None;
    }
    let info = if dir == Dir::Reply { CtInfo::RelatedReply } else { CtInfo::Related };
    let nfct = Nfct::Ct { id, info };
    ct.hold(nfct);
    Some(nfct)
}
