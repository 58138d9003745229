//! Mirrors net/ipv4/ping.c: ICMP echo for users who may not open raw sockets. The kernel sets the id and sorts answers
//! by it.

use super::raw;
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::Frame;
use crate::kernel::ip;
use crate::kernel::ip::icmp::Report;
use crate::kernel::netns::NetNs;
use crate::kernel::syscall::{Fd, From, Message, SocketKind};
use crate::wire::be16;
use smoltcp::wire::Ipv4Packet;
use std::net::SocketAddrV4;

/// ping_get_port: the socket's id, chosen at the first send.
pub(super) fn autobind(ns: &mut NetNs, fd: Fd, ident: u16) -> Result<u16, Errno> {
    if ident != 0 {
        return Ok(ident);
    }
    let taken = |id: u16, ns: &NetNs| ns.sockets.open.values().any(|s| s.kind == SocketKind::Ping && s.ident == id);
    let from = ns.sockets.rover;
    let free = (1..=u16::MAX).map(|n| from.wrapping_add(n)).find(|id| *id != 0 && !taken(*id, ns));
    let id = free.ok_or(Errno::EADDRINUSE)?;
    ns.sockets.rover = id;
    super::find_mut(ns, fd)?.ident = id;
    Ok(id)
}

/// ping_rcv: an echo reply for the ping socket with its id; whether there was one.
pub(in crate::kernel) fn deliver(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: &Frame) -> bool {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst, ttl) = (p.src_addr(), p.dst_addr(), p.hop_limit());
    let Some(message) = ip::icmp_of(f.l3()) else { return false };
    let ident = be16(message, 4);
    let wants = |s: &&mut super::Socket| {
        s.kind == SocketKind::Ping
            && s.ident == ident
            && s.local.is_none_or(|a| a == dst)
            && s.dev.is_none_or(|d| d == dev)
    };
    let Some(s) = ns.sockets.open.values_mut().find(wants) else { return false };
    s.receive(cx, f.truesize, || Message {
        data: message.to_vec(),
        from: From::Ip(SocketAddrV4::new(src, 0)),
        at: f.tstamp,
        ttl,
    })
}

/// ping_err: an ICMP error about an echo request of a ping socket.
/// Tells whether there is one.
pub(in crate::kernel) fn error(ns: &mut NetNs, cx: &mut Cx<'_>, report: &Report<'_>) -> bool {
    let ident = be16(report.inner.payload, 4);
    let ours = |s: &&mut super::Socket| s.kind == SocketKind::Ping && s.ident == ident && ident != 0;
    let Some(s) = ns.sockets.open.values_mut().find(ours) else { return false };
    raw::raise(s, cx, report, report.inner.payload);
    true
}
