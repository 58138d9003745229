//! Mirrors net/ipv4/netfilter/nf_socket_ipv4.c: the socket that a packet is for, long before the packet gets there; and
//! whose socket it is.

use super::conntrack::{Conntrack, CtInfo, Dir, Nfct, Status};
use super::cred::Cred;
use super::frame::{Frame, Sk};
use super::ip;
use super::ip::icmp::{self, ICMP_HLEN, Quoted};
use super::netfilter::packet::Packet;
use super::socket::{Found, Lookup, Sockets};
use crate::base::IfIndex;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, UDP_HLEN, be16};
use smoltcp::wire::Ipv4Packet;
use std::net::{IpAddr, SocketAddrV4};

/// Bytes of a TCP header without options.
const TCP_HLEN: usize = 20;

/// The socket that a rule has given the packet to, or nf_sk_lookup_slow_v4: by its addresses. An ICMP error is for the
/// socket that sent what it quotes; and what answers a translated connection, for the socket that began it.
pub(in crate::kernel) fn receiver(
    sockets: &Sockets,
    ct: &Conntrack,
    f: &Frame,
    indev: Option<IfIndex>,
) -> Option<Found> {
    if matches!(f.sk, Sk::ToTcp(_) | Sk::ToUdp(_)) {
        return sockets.found(f.sk);
    }
    let l3 = f.l3();
    let is_icmp = l3[9] == IPPROTO_ICMP;
    let (protocol, from, mut to) = if is_icmp { quoted(l3)? } else { ends(l3)? };
    if let Nfct::Ct { info, .. } = f.nfct
        && info == (if is_icmp { CtInfo::RelatedReply } else { CtInfo::EstablishedReply })
        && let Some(c) = ct.of(f.nfct).filter(|c| c.status().has(Status::SRC_NAT_DONE))
        && let IpAddr::V4(src) = c.tuple(Dir::Original).src
    {
        to = SocketAddrV4::new(src, c.tuple(Dir::Original).sport);
    }
    sockets.lookup(protocol, to, from, indev?)
}

/// nf_log_dump_sk_uid_gid: as whom the file was opened of the socket that sent the packet, or that a rule has given it
/// to. A connected one that it is for is found before it comes to INPUT (`demuxed`; tcp_v4_early_demux,
/// udp_v4_early_demux).
pub(in crate::kernel) fn owner(sockets: &Sockets, packet: &Packet<'_>, demuxed: bool) -> Option<Cred> {
    match packet.sk {
        Sk::File(cred) => Some(cred),
        Sk::Kernel => None,
        Sk::ToTcp(_) | Sk::ToUdp(_) => sockets.found(packet.sk)?.cred,
        Sk::None if demuxed => {
            let (protocol, from, to) = ends(packet.bytes)?;
            sockets.find(Lookup::Established, protocol, to, from, packet.indev?)?.cred
        }
        Sk::None => None,
    }
}

/// The protocol of a TCP segment or a UDP datagram, and its two ends.
fn ends(l3: &[u8]) -> Option<(u8, SocketAddrV4, SocketAddrV4)> {
    let (protocol, l4) = ip::payload(l3)?;
    let header = match protocol {
        IPPROTO_TCP => TCP_HLEN,
        IPPROTO_UDP => UDP_HLEN,
        _ => return None,
    };
    let p = Ipv4Packet::new_unchecked(l3);
    let l4 = l4.get(..header)?;
    let from = SocketAddrV4::new(p.src_addr(), be16(l4, 0));
    Some((protocol, from, SocketAddrV4::new(p.dst_addr(), be16(l4, 2))))
}

/// extract_icmp4_fields: what an ICMP error quotes was sent from here, so its source is whom the error is for.
fn quoted(l3: &[u8]) -> Option<(u8, SocketAddrV4, SocketAddrV4)> {
    let message = ip::icmp_of(l3).filter(|message| icmp::is_error_type(message[0]))?;
    let inner = Quoted::parse(&message[ICMP_HLEN..])?;
    if !matches!(inner.protocol, IPPROTO_TCP | IPPROTO_UDP) || inner.payload.len() < 4 {
        return None;
    }
    let (local, remote) = (be16(inner.payload, 0), be16(inner.payload, 2));
    Some((inner.protocol, SocketAddrV4::new(inner.dst, remote), SocketAddrV4::new(inner.src, local)))
}
