//! lib/ipv4.h and ct_extract_ports4 of lib/conntrack.h in Cilium: what programs read of a packet.

use crate::kernel::conntrack::Csum;
use crate::kernel::conntrack::nat::{Manip, manip_pkt};
use crate::kernel::conntrack::tuple::Tuple;
use crate::kernel::frame::Frame;
use crate::kernel::ip::IP_HLEN;
use crate::kernel::trace::BpfDrop;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, be16};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// ICMP_ECHOREPLY
const ECHO_REPLY: u8 = 0;
/// ICMP_DEST_UNREACH
const DEST_UNREACH: u8 = 3;
/// ICMP_ECHO
const ECHO: u8 = 8;
/// ICMP_TIME_EXCEEDED
const TIME_EXCEEDED: u8 = 11;
/// ICMP_PARAMETERPROB
const PARAMETER_PROBLEM: u8 = 12;
/// TCP's flags, in byte 13 of its header.
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;

/// What an IPv4 header says.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Ip {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub protocol: u8,
    pub hlen: usize,
    /// It is a fragment.
    pub fragment: bool,
    /// ipv4_has_l4_header: it is the first one, or none at all.
    pub has_l4: bool,
    pub id: u16,
}

impl Ip {
    pub fn of(l3: &[u8]) -> Option<Ip> {
        let h = l3.first_chunk::<IP_HLEN>()?;
        let hlen = usize::from(h[0] & 0xf) * 4;
        if h[0] >> 4 != 4 || hlen < IP_HLEN || l3.len() < hlen {
            return None;
        }
        let frag = be16(h, 6) & 0x3fff;
        Some(Ip {
            src: Ipv4Addr::new(h[12], h[13], h[14], h[15]),
            dst: Ipv4Addr::new(h[16], h[17], h[18], h[19]),
            protocol: h[9],
            hlen,
            fragment: frag != 0,
            has_l4: frag & 0x1fff == 0,
            id: be16(h, 4),
        })
    }
}

/// A packet as its connection knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct L4 {
    pub sport: u16,
    pub dport: u16,
    /// It is an ICMP error.
    pub related: bool,
    /// Flags of TCP; zero where there are none.
    pub flags: u8,
}

/// ct_extract_ports4, of a packet that has a transport header.
pub(super) fn l4(l3: &[u8], ip: &Ip) -> Result<L4, BpfDrop> {
    let l4 = l3.get(ip.hlen..).unwrap_or_default();
    let need = |n: usize| if l4.len() < n { Err(BpfDrop::Invalid) } else { Ok(()) };
    match ip.protocol {
        IPPROTO_ICMP => {
            need(8)?;
            let (sport, dport) = match l4[0] {
                ECHO_REPLY => (be16(l4, 4), 0),
                ECHO => (0, be16(l4, 4)),
                _ => (0, 0),
            };
            let related = matches!(l4[0], DEST_UNREACH | TIME_EXCEEDED | PARAMETER_PROBLEM);
            Ok(L4 { sport, dport, related, flags: 0 })
        }
        IPPROTO_TCP => {
            need(14)?;
            Ok(L4 { sport: be16(l4, 0), dport: be16(l4, 2), related: false, flags: l4[13] })
        }
        IPPROTO_UDP => {
            need(4)?;
            Ok(L4 { sport: be16(l4, 0), dport: be16(l4, 2), related: false, flags: 0 })
        }
        _ => Err(BpfDrop::CtUnknownProto),
    }
}

/// lb4_xlate, lb4_rev_nat: one end of the packet becomes `to`, with its checksums.
pub(super) fn translate(f: &mut Frame, ip: &Ip, manip: Manip, to: SocketAddrV4) -> Result<(), BpfDrop> {
    let csum = f.csum();
    if !ip.has_l4 || ip.protocol == IPPROTO_ICMP {
        return translate_address(f, ip, manip, *to.ip());
    }
    let target = Tuple {
        src: IpAddr::V4(*to.ip()),
        dst: IpAddr::V4(*to.ip()),
        sport: to.port(),
        dport: to.port(),
        proto: ip.protocol,
        zone: 0,
    };
    if manip_pkt(f.l3_mut(), 0, &target, manip, csum) { Ok(()) } else { Err(BpfDrop::WriteError) }
}

/// As [`translate`], of the header's address alone: later fragments have no ports, errors none of their own.
fn translate_address(f: &mut Frame, ip: &Ip, manip: Manip, to: Ipv4Addr) -> Result<(), BpfDrop> {
    let to = IpAddr::V4(to);
    // No transport protocol: the rest of the packet stays.
    let target = Tuple { src: to, dst: to, sport: 0, dport: 0, proto: 0, zone: 0 };
    let csum = if ip.protocol == IPPROTO_ICMP { Csum::Full } else { f.csum() };
    if manip_pkt(f.l3_mut(), 0, &target, manip, csum) { Ok(()) } else { Err(BpfDrop::WriteError) }
}
