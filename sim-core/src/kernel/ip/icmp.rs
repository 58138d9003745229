//! Mirrors net/ipv4/icmp.c: answering echo requests, reporting errors, hearing of them. Read RFC 792, RFC 1122 section
//! 3.2.2 and RFC 1812 section 4.3 before editing.

use super::{IP_HLEN, exception, output, route};
use crate::base::IfIndex;
use crate::base::rng::Purpose;
use crate::kernel::conntrack::nf_conntrack_attach;
use crate::kernel::cx::Cx;
use crate::kernel::dev::ipip;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, PacketType, Sk};
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::{LOOPBACK, NetNs};
use crate::kernel::socket::{ping, raw, tcp, udp};
use crate::kernel::timer::{HZ, ms_to_jiffies};
use crate::kernel::trace::{Consumer, DropReason, Fate, Flow};
use crate::wire::{IPPROTO_ICMP, IPPROTO_IPIP, IPPROTO_TCP, IPPROTO_UDP, be16, checksum};
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
const TIMESTAMP: u8 = 13;
const TIMESTAMP_REPLY: u8 = 14;
/// ICMP_TIME_EXCEEDED
pub(in crate::kernel) const TIME_EXCEEDED: u8 = 11;
/// ICMP_PARAMETERPROB
pub(in crate::kernel) const PARAMETER_PROBLEM: u8 = 12;
/// ICMP_FRAG_NEEDED, a code of ICMP_DEST_UNREACH
pub(in crate::kernel) const FRAG_NEEDED: u8 = 4;
/// NR_ICMP_TYPES
pub(in crate::kernel) const LAST_TYPE: u8 = 18;
/// NR_ICMP_UNREACH
const LAST_UNREACH: u8 = 15;

/// The errors that the kernel reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Error {
    /// 3/0
    NetUnreachable,
    /// 3/1
    HostUnreachable,
    /// 3/2
    ProtocolUnreachable,
    /// 3/3
    PortUnreachable,
    /// 3/4, with the MTU that would do
    FragNeeded { mtu: u32 },
    /// 3/9
    NetProhibited,
    /// 3/10
    HostProhibited,
    /// 3/13
    AdminProhibited,
    /// 11/0
    TtlExceeded,
    /// 11/1
    ReassemblyTime,
    /// 5/1, with the better gateway
    Redirect { gateway: Ipv4Addr },
}

impl Error {
    /// Type, code and the second word of the header.
    fn parts(self) -> (u8, u8, u32) {
        match self {
            Error::NetUnreachable => (DEST_UNREACH, 0, 0),
            Error::HostUnreachable => (DEST_UNREACH, 1, 0),
            Error::ProtocolUnreachable => (DEST_UNREACH, 2, 0),
            Error::PortUnreachable => (DEST_UNREACH, 3, 0),
            Error::FragNeeded { mtu } => (DEST_UNREACH, 4, mtu),
            Error::NetProhibited => (DEST_UNREACH, 9, 0),
            Error::HostProhibited => (DEST_UNREACH, 10, 0),
            Error::AdminProhibited => (DEST_UNREACH, 13, 0),
            Error::TtlExceeded => (TIME_EXCEEDED, 0, 0),
            Error::Redirect { gateway } => (REDIRECT, 1, gateway.into()),
            Error::ReassemblyTime => (TIME_EXCEEDED, 1, 0),
        }
    }
}

/// icmp_rcv
#[inline(never)]
pub(in crate::kernel) fn icmp_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    let Some((_, message)) = super::payload(f.l3()) else { return cx.kill(f, DropReason::IpInHdr) };
    if message.len() < ICMP_HLEN {
        return cx.kill(f, DropReason::PktTooSmall);
    }
    if !f.csum_valid && checksum(message) != 0 {
        return cx.kill(f, DropReason::IcmpCsum);
    }
    match message[0] {
        ECHO if ns.sysctl.icmp_echo_ignore_all => {}
        ECHO | TIMESTAMP if to_many(ns, &f) && ns.sysctl.icmp_echo_ignore_broadcasts => {}
        ECHO => echo(ns, cx, &f, message),
        // The time when it was sent is all that has to be there.
        TIMESTAMP if message.len() < ICMP_HLEN + 4 => return cx.kill(f, DropReason::PktTooSmall),
        TIMESTAMP => timestamp(ns, cx, &f, message),
        ECHO_REPLY if ping::deliver(ns, cx, dev, &f) => {
            return cx.end(f, Fate::Delivered);
        }
        DEST_UNREACH | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM => unreach(ns, cx, dev, &f),
        t if t > LAST_TYPE => return cx.kill(f, DropReason::UnhandledProto),
        _ => {}
    }
    cx.end(f, Fate::Consumed(Consumer::Icmp))
}

/// RTCF_BROADCAST and RTCF_MULTICAST: the destination is not one host.
fn to_many(ns: &NetNs, f: &Frame) -> bool {
    let dst = Ipv4Packet::new_unchecked(f.l3()).dst_addr();
    matches!(ns.fib.addr_type(dst, None), RouteType::Broadcast | RouteType::Multicast)
}

/// icmp_echo: the request comes back, whatever its code.
fn echo(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame, message: &[u8]) {
    reply(ns, cx, f, message.len(), |out| {
        out.copy_from_slice(message);
        seal(out, ECHO_REPLY, message[1]);
    });
}

/// icmp_timestamp: when the request was sent, and when it came and was answered in milliseconds since midnight UTC.
fn timestamp(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame, message: &[u8]) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let now = (((cx.cpu.epoch_ns + cx.now().0) / 1_000_000 % DAY_MS) as u32).to_be_bytes();
    reply(ns, cx, f, ICMP_HLEN + 12, |out| {
        out[4..12].copy_from_slice(&message[4..12]);
        out[12..16].copy_from_slice(&now);
        out[16..20].copy_from_slice(&now);
        seal(out, TIMESTAMP_REPLY, 0);
    });
}

/// icmp_reply: so many bytes back to who asked, with the TOS of the question.
fn reply(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame, len: usize, write: impl FnOnce(&mut [u8])) {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (from, to, tos) = (p.src_addr(), p.dst_addr(), f.l3()[1]);
    let mark = ns.ipv4.sysctl.reply_mark(f.mark);
    let flow = route::Flow4 { src: f.rt_local.then_some(to), mark, ..route::Flow4::to(from) };
    let Ok(r) = route::output(ns, &flow) else { return };
    let ttl = ns.sysctl.ip_default_ttl;
    let h = output::Header { protocol: IPPROTO_ICMP, tos, ttl, df: output::Df::No, ident: output::Ident::Flow };
    let origin = output::Origin { cause: Some(f.id), mark, summed: true, sk: Sk::Kernel, ..output::Origin::default() };
    cx.cpu.icmp_busy = true;
    let _ = output::send(ns, cx, &r, &h, origin, len, write);
    cx.cpu.icmp_busy = false;
}

/// icmp_unreach: an error about something that we sent; the sockets hear of it.
fn unreach(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: &Frame) {
    let Some(message) = super::icmp_of(f.l3()) else { return };
    let quoted = &message[ICMP_HLEN..];
    let Some(inner) = Quoted::parse(quoted) else { return };
    let (kind, code) = (message[0], message[1]);
    // Sockets do not hear of lost fragments; eight bytes of the payload tell whose it was.
    let unheard = (kind, code) == (TIME_EXCEEDED, 1) || kind == DEST_UNREACH && code > LAST_UNREACH;
    if unheard || inner.payload.len() < ICMP_HLEN {
        return;
    }
    let info = match (kind, code) {
        (DEST_UNREACH, FRAG_NEEDED) if ns.ipv4.sysctl.ip_no_pmtu_disc >= 2 => return,
        (DEST_UNREACH, FRAG_NEEDED) if ns.ipv4.sysctl.ip_no_pmtu_disc == 1 => 0,
        (DEST_UNREACH, FRAG_NEEDED) => u32::from(be16(message, 6)),
        (PARAMETER_PROBLEM, _) => u32::from(message[4]),
        _ => 0,
    };
    let offender = super::source(f.l3());
    let report = Report { kind, code, info, offender, inner };
    let mut heard = raw::error(ns, cx, dev, &report);
    heard |= match inner.protocol {
        // icmp_err: the kernel itself sends answers, sockets send requests.
        IPPROTO_ICMP => inner.payload[0] == ECHO_REPLY || ping::error(ns, cx, &report),
        IPPROTO_UDP => udp::error(ns, cx, dev, &report),
        // A path MTU is taken note of by the connection itself, once nobody holds it (tcp_v4_mtu_reduced).
        IPPROTO_TCP => tcp::tcp_v4_err(ns, cx, &report),
        IPPROTO_IPIP => ipip::error(ns, cx, dev, &report),
        _ => false,
    };
    if heard {
        learn(ns, cx, dev, &report, message);
    }
}

/// ipv4_update_pmtu and ipv4_redirect, for a packet that somebody here sent: whoever quotes something else cannot
/// change a route.
pub(in crate::kernel) fn learn(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, report: &Report<'_>, message: &[u8]) {
    let inner = &report.inner;
    let flow = route::Flow4 { src: Some(inner.src), ..route::Flow4::to(inner.dst) };
    match (report.kind, report.code) {
        (DEST_UNREACH, FRAG_NEEDED) => exception::update_pmtu(ns, &flow, report.info),
        (REDIRECT, code) if code & 7 <= 3 => {
            let gateway = Ipv4Addr::new(message[4], message[5], message[6], message[7]);
            exception::redirect(ns, cx, dev, (report.offender, gateway), &flow);
        }
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
            REDIRECT => (Errno::EREMOTEIO, false),
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
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
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
    // What came in by the loopback device is not limited.
    let limited = f.iif != LOOPBACK && limits(ns, error);
    if limited && !global_allow(ns, cx.jiffies()) {
        return;
    }
    // icmp_xmit_lock: an answer that is refused on its way out leaves no socket to say so. Errors are not answered.
    if cx.cpu.icmp_busy {
        return;
    }
    let local = f.rt_local || to_us == RouteType::Local && f.iif != IfIndex(0);
    let (own, mark) = (local.then_some(dst), ns.ipv4.sysctl.reply_mark(f.mark));
    let Ok(r) = route::output(ns, &route::Flow4 { src: own, mark, ..route::Flow4::to(src) }) else { return };
    if limited && !xrlim_allow(ns, cx, &r) {
        return;
    }
    let room = (r.mtu as usize).min(MAX_ERROR).saturating_sub(IP_HLEN + ICMP_HLEN);
    if room <= IP_HLEN {
        return;
    }
    let quote = &packet[..packet.len().min(room)];
    let (kind, code, word) = error.parts();
    let tos = packet[1] & 0x1e | 0xc0;
    let ttl = ns.sysctl.ip_default_ttl;
    let h = output::Header { protocol: IPPROTO_ICMP, tos, ttl, df: output::Df::No, ident: output::Ident::Flow };
    // icmp_glue_bits: an error belongs to the connection that it is about.
    let nfct = nf_conntrack_attach(&mut ns.ct, f.nfct);
    let origin =
        output::Origin { cause: Some(f.id), nfct, mark, summed: true, sk: Sk::Kernel, ..output::Origin::default() };
    let _ = output::send(ns, cx, &r, &h, origin, ICMP_HLEN + quote.len(), |out| {
        out[4..8].copy_from_slice(&word.to_be_bytes());
        out[ICMP_HLEN..].copy_from_slice(quote);
        seal(out, kind, code);
    });
}

/// icmpv4_mask_allow: only the types of icmp_ratemask are limited, and never what path MTU discovery needs.
fn limits(ns: &NetNs, error: Error) -> bool {
    let (kind, ..) = error.parts();
    !matches!(error, Error::FragNeeded { .. }) && ns.ipv4.sysctl.icmp_ratemask >> kind & 1 != 0
}

/// The errors that a namespace may send in all (icmp_global in struct netns_ipv4).
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalLimit {
    credit: i64,
    /// When credit was given; in ticks.
    stamp: Option<u64>,
}

/// icmp_global_allow: icmp_msgs_per_sec of them, icmp_msgs_burst at once.
fn global_allow(ns: &mut NetNs, now: u64) -> bool {
    let (limit, sysctl) = (&mut ns.ipv4.icmp_limit, &ns.ipv4.sysctl);
    if limit.credit > 0 {
        return true;
    }
    let elapsed = limit.stamp.map_or(HZ, |stamp| now.saturating_sub(stamp).min(HZ));
    let gained = sysctl.icmp_msgs_per_sec * elapsed as i64 / HZ as i64;
    if elapsed < HZ / 50 || gained == 0 {
        return false;
    }
    limit.stamp = Some(now);
    limit.credit = (limit.credit + gained).min(sysctl.icmp_msgs_burst);
    true
}

/// icmpv4_xrlim_allow: one error in icmp_ratelimit to each destination, six at once; never limited on the loopback
/// device. What goes out takes nought to two of the namespace's credit, so that nobody can count it from outside.
fn xrlim_allow(ns: &mut NetNs, cx: &Cx<'_>, r: &route::Output) -> bool {
    let now = cx.jiffies();
    let mut draws = 0;
    if let Some(peer) = ns.ipv4.peers.entry(r.dst, now) {
        let timeout = ms_to_jiffies(ns.ipv4.sysctl.icmp_ratelimit as u64);
        if r.oif != LOOPBACK && !peer.xrlim_allow(now, timeout) {
            return false;
        }
        peer.draws += 1;
        draws = peer.draws;
    }
    let input = [cx.salt(), u64::from(u32::from(r.dst)), draws];
    ns.ipv4.icmp_limit.credit -= cx.prf.below(Purpose::IcmpCredit, &input, 3) as i64;
    true
}

/// An ICMP error about which no error is sent (RFC 1122 section 3.2.2).
fn is_error(packet: &[u8]) -> bool {
    super::payload(packet)
        .filter(|(protocol, _)| *protocol == IPPROTO_ICMP)
        .and_then(|(_, message)| message.first())
        .is_some_and(|t| *t > LAST_TYPE || is_error_type(*t))
}

/// icmp_is_err
pub(in crate::kernel) fn is_error_type(kind: u8) -> bool {
    matches!(kind, DEST_UNREACH..=REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// Sets type and code, then the checksum.
fn seal(message: &mut [u8], kind: u8, code: u8) {
    message[0..2].copy_from_slice(&[kind, code]);
    message[2..4].fill(0);
    let sum = checksum(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}
