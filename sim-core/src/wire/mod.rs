//! Headers: a thin layer over `smoltcp::wire`, and what it lacks.

pub mod arp;
pub mod sll2;

use crate::base::Mac;
use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol};
use std::net::Ipv4Addr;

/// Bytes of an Ethernet header.
pub const ETH_HLEN: usize = 14;
/// The Ethertype of IPv4.
pub const ETH_P_IP: u16 = 0x0800;
/// The Ethertype of ARP.
pub const ETH_P_ARP: u16 = 0x0806;
/// The IP protocol number of ICMP.
pub const IPPROTO_ICMP: u8 = 1;
/// The IP protocol number of IPv4 in IPv4 (RFC 2003).
pub const IPPROTO_IPIP: u8 = 4;
/// The IP protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;
/// The IP protocol number of UDP.
pub const IPPROTO_UDP: u8 = 17;
/// The IP protocol number of UDP-Lite.
pub const IPPROTO_UDPLITE: u8 = 136;
/// Bytes of a UDP header.
pub const UDP_HLEN: usize = 8;

/// The Ethertype of an Ethernet frame; zero if it is too short to have one.
pub fn ethertype(frame: &[u8]) -> u16 {
    EthernetFrame::new_checked(frame).map_or(0, |f| f.ethertype().into())
}

/// skb->protocol of a frame whose link-layer header has `mac_len` bytes: what that says, and IPv4 where there is none.
pub fn protocol(frame: &[u8], mac_len: usize) -> u16 {
    if mac_len == 0 { ETH_P_IP } else { ethertype(frame) }
}

/// Fills an Ethernet header of [`ETH_HLEN`] bytes.
pub fn put_ethernet(header: &mut [u8], to: Mac, from: Mac, ethertype: u16) {
    let mut eth = EthernetFrame::new_unchecked(header);
    eth.set_dst_addr(EthernetAddress(to.0));
    eth.set_src_addr(EthernetAddress(from.0));
    eth.set_ethertype(EthernetProtocol::from(ethertype));
}

/// The Internet checksum over `bytes` as it stands in a header (RFC 1071). Zero over data that already holds a right
/// one.
pub fn checksum(bytes: &[u8]) -> u16 {
    !smoltcp::wire::checksum::data(bytes)
}

/// The sum over the pseudo header of a segment of `len` bytes (RFC 9293 section 3.1), not complemented.
pub fn pseudo_sum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> u16 {
    let mut header = [0; 12];
    header[..4].copy_from_slice(&src.octets());
    header[4..8].copy_from_slice(&dst.octets());
    header[9] = protocol;
    header[10..].copy_from_slice(&(len as u16).to_be_bytes());
    smoltcp::wire::checksum::data(&header)
}

/// A big-endian u32 at `at`; zero where the slice is too short.
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

/// A big-endian u16 at `at`; zero where the slice is too short.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}
