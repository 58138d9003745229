//! Packets and flows.

use crate::kernel::conntrack::Tuple;
use crate::testing::flow::Flow;
use crate::testing::packet::{Packet, TcpFlags};
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// A port: a few high ones that come again and again, the edges of the classes that Linux's NAT keeps apart, any other.
/// Shrinks to 5000.
pub fn port() -> impl Strategy<Value = u16> {
    let edges = vec![65535, 1024, 1023, 600, 599, 512, 511, 300, 1];
    prop_oneof![4 => 5000..5004u16, 2 => prop::sample::select(edges), 1 => 1024..=u16::MAX]
}

/// One of the first `count` hosts of a network, behind its router, which is the first. Shrinks to the second.
///
/// # Panics
/// The network has fewer.
pub fn host(net: Ipv4Net, count: u32) -> impl Strategy<Value = Ipv4Addr> {
    assert!(net.hosts().count() as u64 > u64::from(count), "{net} has fewer than {count} hosts behind its first");
    (0..count).prop_map(move |n| Ipv4Addr::from(net.network().to_bits() + 2 + n))
}

/// A packet that begins something, from one of these addresses to one of those: a datagram, an echo request, a SYN,
/// with up to 1000 bytes of payload. Shrinks to an empty datagram between ports 5000.
pub fn packet(
    from: impl Strategy<Value = Ipv4Addr>,
    to: impl Strategy<Value = Ipv4Addr>,
) -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![2 => Just(IPPROTO_UDP), 1 => Just(IPPROTO_ICMP), 1 => Just(IPPROTO_TCP)];
    let len = prop_oneof![3 => 0..64usize, 1 => 0..1000usize];
    let rest = (any::<u8>(), 2..255u8, any::<u32>());
    (protocol, from, to, port(), port(), len, rest).prop_map(
        |(protocol, src, dst, sport, dport, len, (byte, ttl, seq))| Packet {
            sport,
            dport: if protocol == IPPROTO_ICMP { 0 } else { dport },
            ttl,
            seq: if protocol == IPPROTO_TCP { (seq, 0) } else { (1000, 0) },
            flags: TcpFlags(2),
            // A SYN carries none.
            payload: if protocol == IPPROTO_TCP { Vec::new() } else { vec![byte; len] },
            ..Packet::new(protocol, src, dst)
        },
    )
}

/// A first packet and how often each end then says something more. Shrinks to an empty datagram that is answered by
/// nobody.
pub fn flow(from: impl Strategy<Value = Ipv4Addr>, to: impl Strategy<Value = Ipv4Addr>) -> impl Strategy<Value = Flow> {
    (packet(from, to), 0..4u8).prop_map(|(first, exchanges)| Flow { first, exchanges })
}

/// What has become of a packet on a bad way: cut off, with other bytes at some places. Shrinks to the packet itself.
pub fn broken(packet: impl Strategy<Value = Packet>) -> impl Strategy<Value = Vec<u8>> {
    let patches = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (packet, patches, prop::option::of(any::<prop::sample::Index>())).prop_map(|(packet, patches, cut)| {
        let mut bytes = packet.bytes();
        for (at, byte) in patches {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let len = cut.map_or(bytes.len(), |cut| cut.index(bytes.len()));
        bytes.truncate(len);
        bytes
    })
}

/// The tuple of a flow, as connection tracking sees it, in one of few zones. Shrinks to UDP in the default zone.
pub fn tuple(
    from: impl Strategy<Value = Ipv4Addr>,
    to: impl Strategy<Value = Ipv4Addr>,
) -> impl Strategy<Value = Tuple> {
    (packet(from, to), 0..3u16).prop_map(|(p, zone)| {
        let dport = if p.protocol == IPPROTO_ICMP { u16::from_be_bytes([p.icmp.0, p.icmp.1]) } else { p.dport };
        Tuple { src: p.src.into(), dst: p.dst.into(), proto: p.protocol, sport: p.sport, dport, zone }
    })
}
