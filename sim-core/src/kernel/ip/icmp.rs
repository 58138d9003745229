//! Mirrors net/ipv4/icmp.c: answering echo requests, reporting errors, hearing of them. Read RFC 792, RFC 1122 section
//! 3.2.2 and RFC 1812 section 4.3 before editing.

use super::{IP_HLEN, output, route};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netlink::{RouteType, Scope};
use crate::kernel::netns::NetNs;
use crate::kernel::socket::{ping, raw, udp};
use crate::kernel::trace::{Consumer, DropReason, Fate, Flow};
use crate::wire::{IPPROTO_ICMP, IPPROTO_UDP, be16, checksum};
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// Bytes of an ICMP header.
pub(in crate::kernel) const ICMP_HLEN: usize = 8;
/// An ICMP error is never longer than this (RFC 1812 section 4.3.2.3).
const MAX_ERROR: usize = 576;

/// ICMP_ECHOREPLY
pub(in crate::kernel) const ECHO_REPLY: u8 = 0;
/// ICMP_DEST_UNREACH
pub(in crate::kernel) const DEST_UNREACH: u8 = 3;
/// ICMP_SOURCE_QUENCH
pub(in crate::kernel) const SOURCE_QUENCH: u8 = 4;
/// ICMP_REDIRECT
pub(in crate::kernel) const REDIRECT: u8 = 5;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
/// ICMP_FRAG_NEEDED, a code of ICMP_DEST_UNREACH
pub(in crate::kernel) const FRAG_NEEDED: u8 = 4;
/// NR_ICMP_TYPES
const LAST_TYPE: u8 = 18;

/// The errors that the kernel reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Error {
    /// 3/1
    HostUnreachable,
    /// 3/2
    ProtocolUnreachable,
    /// 3/3
    PortUnreachable,
    /// 3/4, with the MTU that would do
    FragNeeded { mtu: u32 },
    /// 11/0
    TtlExceeded,
}

impl Error {
    /// Type, code and the second word of the header.
    fn parts(self) -> (u8, u8, u32) {
        match self {
            Error::HostUnreachable => (DEST_UNREACH, 1, 0),
            Error::ProtocolUnreachable => (DEST_UNREACH, 2, 0),
            Error::PortUnreachable => (DEST_UNREACH, 3, 0),
            Error::FragNeeded { mtu } => (DEST_UNREACH, 4, mtu),
            Error::TtlExceeded => (TIME_EXCEEDED, 0, 0),
        }
    }
}

/// icmp_rcv
pub(in crate::kernel) fn icmp_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    let Some((_, message)) = super::payload(f.l3()) else { return cx.kill(f, DropReason::IpInHdr) };
    if message.len() < ICMP_HLEN {
        return cx.kill(f, DropReason::PktTooSmall);
    }
    if checksum(message) != 0 {
        return cx.kill(f, DropReason::IcmpCsum);
    }
    match message[0] {
        ECHO if ns.sysctl.icmp_echo_ignore_all => {}
        ECHO if f.pkt_type != PacketType::Host && ns.sysctl.icmp_echo_ignore_broadcasts => {}
        ECHO => echo(ns, cx, &f),
        ECHO_REPLY if ping::deliver(ns, cx, dev, &f) => {
            return cx.end(f, Fate::Delivered);
        }
        DEST_UNREACH | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM => unreach(ns, cx, dev, &f),
        t if t > LAST_TYPE => return cx.kill(f, DropReason::UnhandledProto),
        _ => {}
    }
    cx.end(f, Fate::Consumed(Consumer::Icmp))
}

/// icmp_reply to an echo request: its data and its TOS come back.
fn echo(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame) {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (from, to, tos) = (p.src_addr(), p.dst_addr(), f.l3()[1]);
    let local = ns.fib.addr_type(to, None) == RouteType::Local;
    let flow = route::Flow4 { dst: from, src: local.then_some(to), oif: None, scope: Scope::Global };
    let Ok(r) = route::output(ns, &flow) else { return };
    let Some((_, message)) = super::payload(f.l3()) else { return };
    let ttl = ns.sysctl.ip_default_ttl;
    let h = output::Header { protocol: IPPROTO_ICMP, tos: tos & !3, ttl, df: false, ident: output::Ident::Flow };
    let _ = output::send(ns, cx, &r, &h, Some(f.id), message.len(), |out| {
        out.copy_from_slice(message);
        seal(out, ECHO_REPLY, 0);
    });
}

/// icmp_unreach: an error about something that we sent; the sockets hear of it.
fn unreach(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: &Frame) {
    let Some(message) = super::icmp_of(f.l3()) else { return };
    let quoted = &message[ICMP_HLEN..];
    // icmp_socket_deliver: eight bytes of the payload tell which socket.
    let Some(inner) = Quoted::parse(quoted).filter(|q| q.payload.len() >= 8) else { return };
    let (kind, code, word) = (message[0], message[1], u32::from(be16(message, 6)));
    let info = if (kind, code) == (DEST_UNREACH, 4) { word } else { 0 };
    let offender = super::source(f.l3());
    let report = Report { kind, code, info, offender, inner };
    raw::error(ns, cx, dev, &report);
    match report.inner.protocol {
        IPPROTO_ICMP => ping::error(ns, cx, &report),
        IPPROTO_UDP => udp::error(ns, cx, dev, &report),
        _ => {}
    }
}

/// An error as sockets hear of it.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Report<'a> {
    pub kind: u8,
    pub code: u8,
    pub info: u32,
    pub offender: Ipv4Addr,
    pub inner: Quoted<'a>,
}

impl Report<'_> {
    /// icmp_err_convert with the rules of raw_err and ping_err: the errno, and whether it is fatal.
    pub fn errno(&self) -> (Errno, bool) {
        const UNREACH: [(Errno, bool); 16] = [
            (Errno::ENETUNREACH, false),
            (Errno::EHOSTUNREACH, false),
            (Errno::ENOPROTOOPT, true),
            (Errno::ECONNREFUSED, true),
            (Errno::EMSGSIZE, false),
            (Errno::EOPNOTSUPP, false),
            (Errno::ENETUNREACH, true),
            (Errno::EHOSTDOWN, true),
            (Errno::EHOSTUNREACH, true),
            (Errno::ENETUNREACH, true),
            (Errno::EHOSTUNREACH, true),
            (Errno::ENETUNREACH, false),
            (Errno::EHOSTUNREACH, false),
            (Errno::EHOSTUNREACH, true),
            (Errno::EHOSTUNREACH, true),
            (Errno::EHOSTUNREACH, true),
        ];
        match self.kind {
            DEST_UNREACH if self.code == 4 => (Errno::EMSGSIZE, true),
            DEST_UNREACH => UNREACH.get(self.code as usize).copied().unwrap_or((Errno::EHOSTUNREACH, false)),
            PARAMETER_PROBLEM => (Errno::EPROTO, true),
            _ => (Errno::EHOSTUNREACH, false),
        }
    }
}

/// The packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Quoted<'a> {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub protocol: u8,
    /// What is quoted of its payload.
    pub payload: &'a [u8],
}

impl<'a> Quoted<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        // A quote may be cut: the packet's own length cannot be trusted here.
        let header = bytes.get(..IP_HLEN)?;
        let p = Ipv4Packet::new_unchecked(header);
        let at = p.header_len() as usize;
        if p.version() != 4 || at < IP_HLEN {
            return None;
        }
        Some(Quoted {
            src: p.src_addr(),
            dst: p.dst_addr(),
            protocol: p.next_header().into(),
            payload: bytes.get(at..)?,
        })
    }
}

/// ipv4_send_dest_unreach: the neighbour of `f` does not answer.
pub(in crate::kernel) fn send_host_unreachable(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame) {
    send(ns, cx, f, Error::HostUnreachable);
}

/// icmp_send: tells the sender of `f` what became of it.
pub(in crate::kernel) fn send(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame, error: Error) {
    let packet = f.l3();
    let Ok(p) = Ipv4Packet::new_checked(packet) else { return };
    let (src, dst) = (p.src_addr(), p.dst_addr());
    let to_us = ns.fib.addr_type(dst, None);
    let no_answer = f.pkt_type != PacketType::Host
        || matches!(to_us, RouteType::Broadcast | RouteType::Multicast)
        || p.frag_offset() != 0
        || is_error(packet);
    if no_answer {
        return;
    }
    let own = (to_us == RouteType::Local && f.iif != IfIndex(0)).then_some(dst);
    let Ok(r) = route::output(ns, &route::Flow4 { dst: src, src: own, oif: None, scope: Scope::Global }) else {
        return;
    };
    let room = (r.mtu as usize).min(MAX_ERROR) - IP_HLEN - ICMP_HLEN;
    let quote = &packet[..packet.len().min(room)];
    let (kind, code, word) = error.parts();
    let tos = packet[1] & 0x1e | 0xc0;
    let ttl = ns.sysctl.ip_default_ttl;
    let h = output::Header { protocol: IPPROTO_ICMP, tos, ttl, df: false, ident: output::Ident::Flow };
    let _ = output::send(ns, cx, &r, &h, Some(f.id), ICMP_HLEN + quote.len(), |out| {
        out[4..8].copy_from_slice(&word.to_be_bytes());
        out[ICMP_HLEN..].copy_from_slice(quote);
        seal(out, kind, code);
    });
}

/// An ICMP error about which no error is sent (RFC 1122 section 3.2.2).
fn is_error(packet: &[u8]) -> bool {
    super::payload(packet)
        .filter(|(protocol, _)| *protocol == IPPROTO_ICMP)
        .and_then(|(_, message)| message.first())
        .is_some_and(|t| *t > LAST_TYPE || matches!(*t, DEST_UNREACH..=REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM))
}

/// Sets type and code, then the checksum.
fn seal(message: &mut [u8], kind: u8, code: u8) {
    message[0..2].copy_from_slice(&[kind, code]);
    message[2..4].fill(0);
    let sum = checksum(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}
