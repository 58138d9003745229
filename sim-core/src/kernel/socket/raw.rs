//! Mirrors net/ipv4/raw.c: raw(7) sockets. They get copies of whole packets and send payloads.

use super::Socket;
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::Frame;
use crate::kernel::ip::icmp::{ICMP_HLEN, REDIRECT, Report};
use crate::kernel::ip::output::{self, Df, Origin};
use crate::kernel::ip::route;
use crate::kernel::ip::{self, IP_HLEN};
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::NetNs;
use crate::kernel::syscall::{Fd, From, Message, PmtuDisc, QueuedError, SocketKind};
use crate::kernel::trace::{DropReason, Fate};
use crate::wire::{IPPROTO_ICMP, checksum};
use smoltcp::wire::Ipv4Packet;
use std::net::{Ipv4Addr, SocketAddrV4};

/// As many errors wait on one socket's error queue.
pub(super) const MAX_QUEUED_ERRORS: usize = 256;
/// A datagram's payload is at most this long.
const MAX_PAYLOAD: usize = 65_535 - IP_HLEN;

/// raw_local_deliver: a copy for every raw socket that wants the packet; whether there was one.
pub(in crate::kernel) fn deliver(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, protocol: u8, f: &Frame) -> bool {
    if ns.sockets.copied == 0 {
        return false;
    }
    let mut taken = false;
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst, ttl) = (p.src_addr(), p.dst_addr(), p.hop_limit());
    for s in ns.sockets.open.values_mut() {
        if !matches(s, protocol, dst, src, dev) {
            continue;
        }
        taken = true;
        if protocol == IPPROTO_ICMP && filtered(s, f) {
            continue;
        }
        let copy = cx.clone_frame(&mut ns.ct, f);
        let message =
            || Message { data: copy.l3().to_vec(), from: From::Ip(SocketAddrV4::new(src, 0)), at: copy.tstamp, ttl };
        let received = s.receive(cx, copy.truesize, message);
        let fate = if received { Fate::Delivered } else { Fate::Dropped(DropReason::SocketRcvBuff) };
        let _ = cx.end(copy, fate);
    }
    taken
}

/// raw_v4_match
fn matches(s: &Socket, protocol: u8, local: Ipv4Addr, remote: Ipv4Addr, dev: IfIndex) -> bool {
    s.kind == SocketKind::Raw { protocol }
        && s.remote.is_none_or(|a| a == remote)
        && s.local.is_none_or(|a| a == local)
        && s.dev.is_none_or(|d| d == dev)
}

/// icmp_filter: a set bit keeps that type away.
fn filtered(s: &Socket, f: &Frame) -> bool {
    ip::icmp_of(f.l3()).is_none_or(|m| {
        let foreign = |ident| m[0] == 0 && crate::wire::be16(m, 4) != ident;
        m[0] < 32 && s.icmp_filter & 1 << m[0] != 0 || s.echo_filter.is_some_and(foreign)
    })
}

/// raw_icmp_error: the sockets whose packet an ICMP error quotes hear of it.
/// Tells whether there is one.
pub(in crate::kernel) fn error(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, report: &Report<'_>) -> bool {
    let inner = &report.inner;
    let mut any = false;
    for s in ns.sockets.open.values_mut() {
        if matches(s, inner.protocol, inner.src, inner.dst, dev) {
            any = true;
            if report.kind != REDIRECT {
                raise(s, cx, report, inner.payload);
            }
        }
    }
    any
}

/// raw_err, ping_err and __udp4_lib_err: without IP_RECVERR only a connected socket hears, and only of what is fatal.
pub(super) fn raise(s: &mut Socket, cx: &mut Cx<'_>, report: &Report<'_>, data: &[u8]) {
    let (errno, fatal) = match report.errno() {
        // Who never sets DF does not mind.
        (Errno::EMSGSIZE, _) if s.pmtu == PmtuDisc::Dont => (Errno::EMSGSIZE, false),
        other => other,
    };
    if !s.recv_err && (s.remote.is_none() || !fatal) {
        return;
    }
    let icmp = (report.kind, report.code);
    let (info, offender, data) = (report.info, report.offender, data.to_vec());
    s.report(cx, QueuedError { errno, local: false, icmp, info, offender, data });
}

/// raw_sendmsg and ping_v4_sendmsg: `data` behind an IPv4 header.
pub(super) fn send(ns: &mut NetNs, cx: &mut Cx<'_>, fd: Fd, to: Ipv4Addr, data: &[u8]) -> Result<(), Errno> {
    let s = super::find(ns, fd)?;
    let (kind, pmtu, broadcast, ident, hash, sk) = (s.kind, s.pmtu, s.broadcast, s.ident, s.txhash, s.sk());
    if data.len() > usize::from(u16::MAX) {
        return Err(Errno::EMSGSIZE);
    }
    let protocol = match kind {
        SocketKind::Raw { protocol } => protocol,
        _ => IPPROTO_ICMP,
    };
    if kind == SocketKind::Ping && data.len() < ICMP_HLEN {
        return Err(Errno::EINVAL);
    }
    let flow = s.flow(to);
    let mut r = route::output(ns, &flow)?;
    if r.kind == RouteType::Broadcast && !broadcast {
        return Err(Errno::EACCES);
    }
    let mut h = super::find(ns, fd)?.header(ns, protocol);
    if pmtu == PmtuDisc::Want && r.mtu_locked {
        h.df = Df::No;
    }
    // ip_sk_use_pmtu: who probes wants to know whether the path MTU still holds.
    if pmtu == PmtuDisc::Probe {
        r.mtu = ns.dev(r.oif).map_or(r.mtu, |d| d.mtu);
    }
    // ip_sk_ignore_df: only what may be cut may be longer than the MTU.
    let may_be_cut = matches!(pmtu, PmtuDisc::Dont | PmtuDisc::Want);
    let most = if may_be_cut { MAX_PAYLOAD } else { (r.mtu as usize).saturating_sub(IP_HLEN) };
    if data.len() > most {
        return too_long(ns, cx, fd, to, r.mtu);
    }
    let ident = match kind {
        SocketKind::Ping => Some(super::ping::autobind(ns, fd, ident)?),
        _ => None,
    };
    super::find_mut(ns, fd)?.count_id();
    let origin = Origin { bound: flow.oif, mark: flow.mark, hash, sk, ..Origin::default() };
    let sent = output::send(ns, cx, &r, &h, origin, data.len(), |out| {
        out.copy_from_slice(data);
        if let Some(ident) = ident {
            out[2..4].fill(0);
            out[4..6].copy_from_slice(&ident.to_be_bytes());
            let sum = checksum(out);
            out[2..4].copy_from_slice(&sum.to_be_bytes());
        }
    });
    if kind == SocketKind::Ping { sent } else { unless_full(ns, fd, sent) }
}

/// raw_sendmsg and udp_send_skb: that a device has no room is told with IP_RECVERR only. Ping sockets always tell.
pub(super) fn unless_full(ns: &NetNs, fd: Fd, sent: Result<(), Errno>) -> Result<(), Errno> {
    if sent == Err(Errno::ENOBUFS) && super::find(ns, fd).is_ok_and(|s| !s.recv_err) { Ok(()) } else { sent }
}

/// ip_local_error: the datagram does not fit and must not be cut.
pub(super) fn too_long(ns: &mut NetNs, cx: &mut Cx<'_>, fd: Fd, to: Ipv4Addr, mtu: u32) -> Result<(), Errno> {
    let s = super::find_mut(ns, fd)?;
    if s.recv_err && s.errors.len() < MAX_QUEUED_ERRORS {
        let errno = Errno::EMSGSIZE;
        s.errors.push_back(QueuedError { errno, local: true, icmp: (0, 0), info: mtu, offender: to, data: vec![] });
        cx.wake(s.owner);
    }
    Err(Errno::EMSGSIZE)
}
