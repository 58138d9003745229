//! Mirrors net/ipv4: the Internet Protocol, version 4. Read RFC 791 and RFC 1122 section 3 before editing.

pub mod exception;
pub mod forward;
pub mod frag;
pub mod icmp;
pub mod ident;
pub mod inetpeer;
pub mod input;
pub mod output;
mod recent;
pub mod route;
mod sysctl;

pub(in crate::kernel) use sysctl::Ipv4Sysctl;
pub mod tunnel;

use crate::wire::IPPROTO_ICMP;
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// Bytes of an IPv4 header without options.
pub const IP_HLEN: usize = 20;

/// struct netns_ipv4: what one namespace keeps besides its tables of routes and neighbours.
#[derive(Clone, Debug, Default)]
pub struct Ipv4 {
    pub(in crate::kernel) sysctl: Ipv4Sysctl,
    pub(in crate::kernel) peers: inetpeer::Peers,
    pub(in crate::kernel) exceptions: exception::Exceptions,
    pub(in crate::kernel) frags: frag::Frags,
    pub(in crate::kernel) icmp_limit: icmp::GlobalLimit,
    outputs: recent::Recent<route::Flow4, route::Output>,
    inputs: recent::Recent<route::Arrival, route::Input>,
}

/// The source of an IPv4 packet; unspecified if there is no header.
pub(in crate::kernel) fn source(packet: &[u8]) -> Ipv4Addr {
    Ipv4Packet::new_checked(packet).map_or(Ipv4Addr::UNSPECIFIED, |p| p.src_addr())
}

/// The payload of an IPv4 packet and its protocol; none if the header is bad.
pub(in crate::kernel) fn payload(packet: &[u8]) -> Option<(u8, &[u8])> {
    let p = Ipv4Packet::new_checked(packet).ok()?;
    let bytes = packet.get(p.header_len() as usize..p.total_len() as usize)?;
    Some((p.next_header().into(), bytes))
}

/// The type and the rest of an ICMP message, if `packet` is one.
pub(in crate::kernel) fn icmp_of(packet: &[u8]) -> Option<&[u8]> {
    payload(packet).filter(|(proto, bytes)| *proto == IPPROTO_ICMP && bytes.len() >= 8).map(|(_, bytes)| bytes)
}
