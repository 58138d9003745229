//! Mirrors net/netfilter/nf_nat_proto.c: rewriting packets, with checksums by difference (RFC 1624).

use super::super::icmp::answer;
use super::super::tuple::{Tuple, l4proto};
use super::super::{Conntrack, Csum, Hook, Nfct, Packet, Status, Verdict};
use super::Manip;
use crate::kernel::ip::icmp::{ICMP_HLEN, REDIRECT};
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, UDP_HLEN, be16, checksum};
use std::net::IpAddr;

const TCP_HLEN: usize = 20;

/// nf_nat_ipv4_manip_pkt: one end of the IPv4 packet at `at` becomes that of `target`. False if it is too short.
pub(in crate::kernel) fn manip_pkt(l3: &mut [u8], at: usize, target: &Tuple, manip: Manip, csum: Csum) -> bool {
    let Some(packet) = l3.get_mut(at..).filter(|p| p.len() >= 20) else { return false };
    let hlen = usize::from(packet[0] & 0xf) * 4;
    let (field, new) = match manip {
        Manip::Src => (12, target.src),
        Manip::Dst => (16, target.dst),
    };
    let IpAddr::V4(new) = new else { return false };
    let new = new.octets();
    if hlen < 20 || packet.len() < hlen {
        return false;
    }
    let (header, l4) = packet.split_at_mut(hlen);
    let mut old = [0; 4];
    old.copy_from_slice(&header[field..field + 4]);
    if !l4_manip(l4, target, manip, (old, new), csum) {
        return false;
    }
    let check = replace4(be16(header, 10), old, new);
    put(header, 10, check);
    header[field..field + 4].copy_from_slice(&new);
    true
}

/// nf_nat_icmp_reply_translation: an ICMP error about a translated connection. What it quotes is changed back to what
/// the other side knows, and its own address with it. A redirect about a translated connection would lead astray.
pub fn nf_nat_icmp_reply_translation(ct: &Conntrack, nfct: Nfct, hook: Hook, l3: &mut [u8], csum: Csum) -> Verdict {
    let (Some(conn), Nfct::Ct { info, .. }) = (ct.of(nfct), nfct) else { return Verdict::Accept };
    let Some((_, hlen)) = l4proto(l3) else { return Verdict::Drop };
    let damaged = csum == Csum::Full && !Packet::new(l3, csum).good_checksum(IPPROTO_ICMP);
    if l3.len() < hlen + ICMP_HLEN + 20 || damaged {
        return Verdict::Drop;
    }
    let whole = conn.status().has_all(Status::NAT_DONE_MASK);
    if l3[hlen] == REDIRECT && (!whole || conn.status().has(Status::NAT_MASK)) {
        return Verdict::Drop;
    }
    let (manip, dir) = (Manip::at(hook), info.dir());
    if !conn.status().has(manip.applies(dir)) {
        return Verdict::Accept;
    }
    let other = *conn.tuple(dir.other());
    if !manip_pkt(l3, hlen + ICMP_HLEN, &other, manip.other(), Csum::Full) {
        return Verdict::Drop;
    }
    if csum == Csum::Full {
        put(l3, hlen + 2, 0);
        let sum = checksum(&l3[hlen..]);
        put(l3, hlen + 2, sum);
    }
    let Some(target) = other.inverse() else { return Verdict::Drop };
    let target = Tuple { proto: IPPROTO_ICMP, ..target };
    if manip_pkt(l3, 0, &target, manip, csum) { Verdict::Accept } else { Verdict::Drop }
}

/// l4proto_manip_pkt
fn l4_manip(l4: &mut [u8], target: &Tuple, manip: Manip, addr: ([u8; 4], [u8; 4]), csum: Csum) -> bool {
    let (at, port) = match manip {
        Manip::Src => (0, target.sport),
        Manip::Dst => (2, target.dport),
    };
    match target.proto {
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE if l4.len() < UDP_HLEN => return false,
        IPPROTO_TCP => {
            let old = be16(l4, at);
            put(l4, at, port);
            // An ICMP error may quote no more than the ports.
            if l4.len() >= TCP_HLEN {
                transport(l4, 16, addr, (old, port), csum);
            }
        }
        IPPROTO_UDP | IPPROTO_UDPLITE => {
            let old = be16(l4, at);
            put(l4, at, port);
            // A checksum of zero is none.
            if csum == Csum::Partial || be16(l4, 6) != 0 {
                transport(l4, 6, addr, (old, port), csum);
                if be16(l4, 6) == 0 {
                    put(l4, 6, 0xffff);
                }
            }
        }
        IPPROTO_ICMP if l4.len() < ICMP_HLEN => return false,
        IPPROTO_ICMP if answer(l4[0]).is_some() => {
            let check = replace2(be16(l4, 2), be16(l4, 4), target.sport);
            put(l4, 2, check);
            put(l4, 4, target.sport);
        }
        _ => {}
    }
    true
}

/// Updates a checksum that covers the pseudo header: inet_proto_csum_replace4 and inet_proto_csum_replace2.
fn transport(l4: &mut [u8], at: usize, addr: ([u8; 4], [u8; 4]), port: (u16, u16), csum: Csum) {
    let check = be16(l4, at);
    let check = match csum {
        Csum::Full => replace2(replace4(check, addr.0, addr.1), port.0, port.1),
        // The sum over the pseudo header, which holds no port, is not complemented.
        Csum::Partial => !replace4(!check, addr.0, addr.1),
    };
    put(l4, at, check);
}

/// csum_replace4
fn replace4(check: u16, old: [u8; 4], new: [u8; 4]) -> u16 {
    let check = replace2(check, be16(&old, 0), be16(&new, 0));
    replace2(check, be16(&old, 2), be16(&new, 2))
}

/// csum_replace2: RFC 1624, equation 3.
pub(in crate::kernel) fn replace2(check: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!check) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(to) = bytes.get_mut(at..at + 2) {
        to.copy_from_slice(&value.to_be_bytes());
    }
}
