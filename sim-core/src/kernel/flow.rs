//! Mirrors net/core/flow_dissector.c: the hash of a packet, which spreads flows over paths.

use super::frame::Frame;
use crate::base::rng::Purpose;
use crate::base::{Prf, Salt};
use crate::wire::{ETH_P_IP, IPPROTO_IPIP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, be16};
use smoltcp::wire::Ipv4Packet;
use std::ops::RangeInclusive;

/// MAX_FLOW_DISSECT_HDRS
const MAX_HEADERS: usize = 15;

/// skb_get_hash: the sender's own hash of its connection, if it gave one; else that of addresses and ports, which is
/// the same both ways (`__flow_hash_consistentify`). One machine has one key (`hashrnd`). A hash that ports are part of
/// stays with the packet.
pub(in crate::kernel) fn get_hash(prf: &Prf, machine: Salt, f: &mut Frame) -> u32 {
    if f.hash != 0 {
        return f.hash;
    }
    let proto = f.protocol();
    let [protocol, addrs, ports] = if proto == ETH_P_IP { ipv4(f.l3()) } else { [0; 3] };
    let input = [machine.word(), u64::from(proto), protocol, addrs, ports];
    let hash = (prf.draw(Purpose::FlowHash, &input) as u32).max(1);
    if ports != 0 {
        f.hash = hash;
    }
    hash
}

/// The protocol, and addresses and ports of the innermost packet, the smaller one first. Fragments have no ports.
fn ipv4(mut packet: &[u8]) -> [u64; 3] {
    let mut keys = [0; 3];
    for _ in 0..MAX_HEADERS {
        let Ok(p) = Ipv4Packet::new_checked(packet) else { break };
        let (a, b) = (u32::from(p.src_addr()), u32::from(p.dst_addr()));
        let protocol = u8::from(p.next_header());
        keys = [u64::from(protocol), u64::from(a.min(b)) << 32 | u64::from(a.max(b)), 0];
        let payload = packet.get(p.header_len() as usize..).unwrap_or_default();
        if p.more_frags() || p.frag_offset() != 0 {
            break;
        }
        match protocol {
            IPPROTO_IPIP => packet = payload,
            IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE => {
                let (a, b) = (be16(payload, 0), be16(payload, 2));
                keys[2] = u64::from(a.min(b)) << 16 | u64::from(a.max(b));
                break;
            }
            _ => break,
        }
    }
    keys
}

/// udp_flow_src_port: the port that a tunnel sends a flow from. The last of `ports` is never taken.
pub(in crate::kernel) fn src_port(hash: u32, ports: &RangeInclusive<u16>) -> u16 {
    // Since the hash's own bits are as good at the top as at the bottom, both say which.
    let hash = hash ^ hash << 16;
    let count = u64::from(ports.end().saturating_sub(*ports.start()));
    ports.start() + ((u64::from(hash) * count) >> 32) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;
    use crate::kernel::frame::Pool;

    fn packet(src: [u8; 4], dst: [u8; 4], protocol: u8, frag: u16, ports: [u16; 2]) -> Frame {
        let mut f = Pool::default().fresh(FrameId(1));
        let b = f.put(28);
        (b[0], b[3], b[8], b[9]) = (0x45, 28, 64, protocol);
        b[6..8].copy_from_slice(&frag.to_be_bytes());
        b[12..16].copy_from_slice(&src);
        b[16..20].copy_from_slice(&dst);
        b[20..22].copy_from_slice(&ports[0].to_be_bytes());
        b[22..24].copy_from_slice(&ports[1].to_be_bytes());
        crate::wire::put_ethernet(f.push_mac(14), crate::base::Mac::ZERO, crate::base::Mac::ZERO, ETH_P_IP);
        f
    }

    #[test]
    fn both_ways_hash_the_same() {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let hash = |f: &mut Frame| get_hash(&Prf::new(3), Salt::place(0), f);
        let mut first = packet(a, b, 17, 0, [5000, 53]);
        let there = hash(&mut first);
        assert_eq!((first.hash, there), (there, hash(&mut packet(b, a, 17, 0, [53, 5000]))));
        assert_ne!(there, hash(&mut packet(a, b, 17, 0, [5001, 53])));
        assert_ne!(there, hash(&mut packet(a, b, 6, 0, [5000, 53])));
        // Fragments are told apart by their addresses only, ICMP has no ports.
        assert_eq!(hash(&mut packet(a, b, 17, 0x2000, [1, 2])), hash(&mut packet(a, b, 17, 0x0001, [3, 4])));
        let mut echo = packet(a, b, 1, 0, [0x0800, 2]);
        assert_eq!(hash(&mut echo), hash(&mut packet(b, a, 1, 0, [0, 4])));
        assert_eq!(echo.hash, 0);
        let mut own = packet(a, b, 6, 0, [1, 2]);
        own.hash = 77;
        assert_eq!(hash(&mut own), 77);
    }

    #[test]
    fn ports_stay_in_their_range() {
        for hash in [1, 2, 0x7fff_ffff, 0xffff_ffff, 0x1234_5678] {
            let port = src_port(hash, &(32_768..=60_999));
            assert!((32_768..60_999).contains(&port), "{port}");
            assert_eq!(src_port(hash, &(7..=7)), 7);
            assert!((0..65_535).contains(&src_port(hash, &(0..=65_535))));
        }
    }
}
