//! get_unique_tuple of net/netfilter/nf_nat_core.c, as of Linux 6.18: which address and port a translated connection
//! gets.

use super::super::entry::{Conn, CtId, Status};
use super::super::table::Conntrack;
use super::super::tcp::TcpState;
use super::super::tuple::{Dir, Tuple};
use super::super::{CtCx, allow_clash};
use super::{Manip, Range, used_tuple};
use crate::base::rng::Purpose;
use crate::kernel::conntrack::entry::Proto;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// NF_NAT_MAX_ATTEMPTS
const MAX_ATTEMPTS: u32 = 128;
/// NF_NAT_HARDER_THRESH: attempts at the end that may evict an ended connection.
const HARDER_THRESHOLD: u32 = MAX_ATTEMPTS / 4;

/// get_unique_tuple. The tuple may still be taken if nothing in the range is free; the packet is dropped then when it
/// is to be confirmed.
pub(super) fn get_unique_tuple(
    ct: &mut Conntrack,
    cx: &CtCx<'_>,
    id: CtId,
    current: &Tuple,
    range: &Range,
    manip: Manip,
) -> Tuple {
    if manip == Manip::Src && !range.is_random() {
        if in_range(current, range) {
            if !used_tuple_new(ct, cx, current, id) {
                return *current;
            }
        } else if let Some(tuple) = find_appropriate_src(ct, id, current, range)
            && !used_tuple(ct, cx, &tuple, id)
        {
            return tuple;
        }
    }
    let mut tuple = *current;
    find_best_ips_proto(&mut tuple, range, manip);
    if !range.is_random() {
        let keeps = match range.ports {
            Some((min, max)) => {
                range.base.is_none()
                    && l4_in_range(&tuple, manip, min, max)
                    && (min == max || !used_tuple(ct, cx, &tuple, id))
            }
            None => !used_tuple(ct, cx, &tuple, id),
        };
        if keeps {
            return tuple;
        }
    }
    l4proto_unique_tuple(ct, cx, id, tuple, range, manip)
}

/// nf_in_range: as a source, the tuple is what the range allows.
fn in_range(tuple: &Tuple, range: &Range) -> bool {
    range.addrs.is_none_or(|(min, max)| (min..=max).contains(&tuple.src))
        && range.ports.is_none_or(|(min, max)| l4_in_range(tuple, Manip::Src, min, max))
}

/// l4proto_in_range
fn l4_in_range(tuple: &Tuple, manip: Manip, min: u16, max: u16) -> bool {
    match (tuple.proto, manip) {
        (IPPROTO_ICMP, _) => (min..=max).contains(&tuple.sport),
        (IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE, Manip::Src) => (min..=max).contains(&tuple.sport),
        (IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE, Manip::Dst) => (min..=max).contains(&tuple.dport),
        _ => true,
    }
}

/// nf_nat_used_tuple_new: as [`used_tuple`], for a tuple that was not changed. Two packets of the same flow, one each
/// way, may both be new: that is no clash, and is resolved when they are confirmed.
fn used_tuple_new(ct: &mut Conntrack, cx: &CtCx<'_>, tuple: &Tuple, id: CtId) -> bool {
    if !used_tuple(ct, cx, tuple, id) {
        return false;
    }
    let untouched = |c: &Conn| !c.status.has(Status::NAT_MASK) && !c.status.has(Status::SEQ_ADJUST);
    let Some(conn) = ct.get(id).filter(|c| allow_clash(tuple.proto) && untouched(c)) else { return true };
    let (zone, ours) = (conn.zone, *conn.tuple(Dir::Reply));
    let mut hit = ct.find(cx, zone, tuple);
    if hit.is_none() {
        hit = tuple.inverse().and_then(|reply| ct.find(cx, zone, &reply));
    }
    let Some(other) = hit.and_then(|(other, _)| ct.get(other)) else { return false };
    !(untouched(other) && *other.tuple(Dir::Original) == ours)
}

/// find_appropriate_src: another connection from the same source has a mapping in the range.
fn find_appropriate_src(ct: &Conntrack, id: CtId, current: &Tuple, range: &Range) -> Option<Tuple> {
    let zone = ct.get(id)?.zone.id(Dir::Original);
    ct.same_source(&current.in_zone(zone)).find_map(|c| {
        let mapped = c.tuple(Dir::Reply).inverse()?;
        let tuple = Tuple { dst: current.dst, dport: current.dport, zone: current.zone, ..mapped };
        in_range(&tuple, range).then_some(tuple)
    })
}

/// find_best_ips_proto: one of several addresses by a hash of who talks to whom, so that a client keeps its address.
fn find_best_ips_proto(tuple: &mut Tuple, range: &Range, manip: Manip) {
    let Some((min, max)) = range.addrs else { return };
    let (src, dst) = (words(tuple.src), words(tuple.dst));
    let chosen = if min == max {
        min
    } else {
        let last = if matches!(min, IpAddr::V4(_)) { 0 } else { 3 };
        let init = if range.persistent { 0 } else { dst[last] ^ u32::from(tuple.zone) };
        spread(jhash2(src, init), dst, min, max, range.persistent)
    };
    match manip {
        Manip::Src => tuple.src = chosen,
        Manip::Dst => tuple.dst = chosen,
    }
}

/// An address between two, word by word, by a hash.
fn spread(mut hash: u32, dst: [u32; 4], min: IpAddr, max: IpAddr, persistent: bool) -> IpAddr {
    let (low, high) = (words(min), words(max));
    let last = if matches!(min, IpAddr::V4(_)) { 0 } else { 3 };
    let mut chosen = [0; 4];
    let mut full = false;
    for i in 0..=last {
        let (first, distance) = if full {
            (0, u32::MAX)
        } else {
            let first = u32::from_be(low[i]);
            (first, u32::from_be(high[i]).wrapping_sub(first).wrapping_add(1))
        };
        let scaled = (u64::from(hash) * u64::from(distance)) >> 32;
        chosen[i] = first.wrapping_add(scaled as u32).to_be();
        full |= chosen[i] != high[i];
        if !persistent {
            hash ^= dst[i];
        }
    }
    address(chosen, min)
}

/// An address as the kernel's array of words, in the byte order of a little-endian machine.
fn words(addr: IpAddr) -> [u32; 4] {
    let word = |b: [u8; 4]| u32::from_le_bytes(b);
    match addr {
        IpAddr::V4(a) => [word(a.octets()), 0, 0, 0],
        IpAddr::V6(a) => {
            let b = a.octets();
            [0, 4, 8, 12].map(|at| word([b[at], b[at + 1], b[at + 2], b[at + 3]]))
        }
    }
}

fn address(words: [u32; 4], like: IpAddr) -> IpAddr {
    let mut bytes = [0; 16];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        IpAddr::V6(_) => Ipv6Addr::from(bytes).into(),
    }
}

/// Bob Jenkins' lookup3 over four words (include/linux/jhash.h).
fn jhash2(k: [u32; 4], init: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(4 << 2).wrapping_add(init);
    let (mut a, mut b, mut c) = (start.wrapping_add(k[0]), start.wrapping_add(k[1]), start.wrapping_add(k[2]));
    for (x, y, z) in [(4, 6, 8), (16, 19, 4)] {
        a = a.wrapping_sub(c) ^ c.rotate_left(x);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(y);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(z);
        b = b.wrapping_add(a);
    }
    a = a.wrapping_add(k[3]);
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// nf_nat_l4proto_unique_tuple: searches for a free port or ICMP id.
fn l4proto_unique_tuple(
    ct: &mut Conntrack,
    cx: &CtCx<'_>,
    id: CtId,
    mut tuple: Tuple,
    range: &Range,
    manip: Manip,
) -> Tuple {
    let Some((min, size)) = candidates(&tuple, range, manip) else { return tuple };
    let port = |tuple: &Tuple| if is_source(tuple.proto, manip) { tuple.sport } else { tuple.dport };
    let mut offset = match range.base {
        Some(base) => u32::from(port(&tuple).wrapping_sub(base)),
        None if range.is_random() || manip == Manip::Src => random_u16(ct, cx, id),
        None => 0,
    };
    let mut attempts = size.min(MAX_ATTEMPTS);
    loop {
        for i in 0..attempts {
            // off is a u16: it wraps.
            let chosen = (min + (offset & 0xffff) % size) as u16;
            match is_source(tuple.proto, manip) {
                true => tuple.sport = chosen,
                false => tuple.dport = chosen,
            }
            if !used_tuple_harder(ct, cx, &tuple, id, attempts - i) {
                return tuple;
            }
            offset += 1;
        }
        if attempts >= size || attempts < 16 {
            return tuple;
        }
        attempts /= 2;
        offset = random_u16(ct, cx, id);
    }
}

/// An ICMP id counts for both ends.
fn is_source(proto: u8, manip: Manip) -> bool {
    proto == IPPROTO_ICMP || manip == Manip::Src
}

/// The first port and how many there are; none if nothing can be changed.
fn candidates(tuple: &Tuple, range: &Range, manip: Manip) -> Option<(u32, u32)> {
    let span = |min: u16, max: u16| {
        let (min, max) = (min.min(max), min.max(max));
        (u32::from(min), u32::from(max - min) + 1)
    };
    match (tuple.proto, range.ports) {
        (IPPROTO_ICMP, None) => Some((0, 65536)),
        (IPPROTO_ICMP | IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE, Some((min, max))) => Some(span(min, max)),
        (IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE, None) if manip == Manip::Src => Some(match tuple.sport {
            // Programs that trust low ports keep them.
            0..512 => span(1, 511),
            512..1024 => span(600, 1023),
            1024.. => span(1024, 65535),
        }),
        _ => None,
    }
}

/// get_random_u16, as a function of the flow and of how often it was asked.
fn random_u16(ct: &mut Conntrack, cx: &CtCx<'_>, id: CtId) -> u32 {
    let Some(flow) = ct.get(id).map(|c| *c.tuple(Dir::Original)) else { return 0 };
    let draw = ct.next_draw(&flow);
    let [a, b, c, d, e, f] = flow.words();
    cx.prf.below(Purpose::NatPort, &[cx.salt.word(), a, b, c, d, e, f, draw], 1 << 16) as u32
}

/// nf_nat_used_tuple_harder: with few attempts left, a connection that has ended gives way to a newer one.
fn used_tuple_harder(ct: &mut Conntrack, cx: &CtCx<'_>, tuple: &Tuple, id: CtId, left: u32) -> bool {
    let opens = ct.get(id).is_some_and(|c| c.tcp_state() == Some(TcpState::SynSent));
    if left > HARDER_THRESHOLD || tuple.proto != IPPROTO_TCP || !opens {
        return used_tuple(ct, cx, tuple, id);
    }
    let zone = ct.get(id).map(|c| c.zone).unwrap_or_default();
    let Some(reply) = tuple.inverse() else { return true };
    let Some((other, dir)) = ct.find(cx, zone, &reply) else { return false };
    if dir == Dir::Original || !may_kill(ct, other) || !seq_has_advanced(ct, other, id) {
        return true;
    }
    !ct.delete(cx, other, None)
}

/// nf_nat_may_kill
fn may_kill(ct: &Conntrack, id: CtId) -> bool {
    ct.get(id).is_some_and(|c| {
        c.tcp_state() >= Some(TcpState::TimeWait)
            && !c.status.has(Status::FIXED_TIMEOUT)
            && !c.is_dying()
            && c.status.has(Status::SRC_NAT)
    })
}

/// nf_seq_has_advanced
fn seq_has_advanced(ct: &Conntrack, old: CtId, new: CtId) -> bool {
    let end = |id| match ct.get(id).map(|c| &c.proto) {
        Some(Proto::Tcp(t)) => t.original_end(),
        _ => 0,
    };
    (end(new).wrapping_sub(end(old)) as i32) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_range_as_linux_chooses_them() {
        // Linux 6.18, `SNAT --to-source 10.9.0.10-10.9.0.200`, from 10.5.0.1.
        let range = Range { addrs: Some(([10, 9, 0, 10].into(), [10, 9, 0, 200].into())), ..Range::default() };
        for (dst, want) in [(2, 33), (3, 20), (4, 48), (5, 157)] {
            let mut tuple = Tuple {
                src: [10, 5, 0, 1].into(),
                dst: [10, 5, 0, dst].into(),
                proto: IPPROTO_UDP,
                sport: 4000 + u16::from(dst),
                dport: 9,
                zone: 0,
            };
            find_best_ips_proto(&mut tuple, &range, Manip::Src);
            assert_eq!(tuple.src, IpAddr::from([10, 9, 0, want]), "{dst}");
        }
    }
}
