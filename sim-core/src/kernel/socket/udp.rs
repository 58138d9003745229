//! Mirrors net/ipv4/udp.c, and the UDP parts of net/ipv4/af_inet.c and net/ipv4/datagram.c: ports, who gets a datagram,
//! what is sent and which errors come back. Read RFC 768 and RFC 1122 section 4.1 before editing.

use super::{Socket, Sockets, raw};
use crate::base::IfIndex;
use crate::base::rng::Purpose;
use crate::kernel::cred::Current;
use crate::kernel::cx::Cx;
use crate::kernel::dev::vxlan;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, Sk};
use crate::kernel::ip::icmp::{self, DEST_UNREACH, FRAG_NEEDED, REDIRECT, Report, SOURCE_QUENCH};
use crate::kernel::ip::output::{self, Df, Header, Origin};
use crate::kernel::ip::route;
use crate::kernel::ip::{self, IP_HLEN};
use crate::kernel::netlink::{Feature, RouteType};
use crate::kernel::netns::NetNs;
use crate::kernel::nf_hook::nf_reset_ct;
use crate::kernel::syscall::{Fd, From, Message, PmtuDisc, SocketKind};
use crate::kernel::trace::{DropReason, Fate, Flow};
use crate::wire::{IPPROTO_UDP, UDP_HLEN, be16, pseudo_sum};
use smoltcp::wire::{Ipv4Packet, UdpPacket};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// IP_MAX_MTU
const IP_MAX_MTU: usize = 65_535;
/// What is sent to a group goes no further than one link (inet_sk.mc_ttl).
const MULTICAST_TTL: u8 = 1;

/// udp_table: the bound sockets of each port, the one that was bound or got its address last first.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports(BTreeMap<u16, Vec<Fd>>);

/// struct udp_sock
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// inet_num; zero while the socket is not bound.
    pub port: u16,
    /// inet_dport
    pub remote_port: u16,
    /// encap_rcv: the kernel's own, for tunnels.
    tunnel: bool,
    /// Bound to a broadcast or multicast address: it gets what is sent there, and sends from another.
    group: bool,
    /// reader_queue: so many datagrams at the front of the queue are the reader's own.
    reader: usize,
    /// forward_deficit: truesize that was read and not given back to sk_rmem_alloc yet.
    deficit: u64,
}

impl Ports {
    /// What udp_lib_get_port and udp_lib_rehash do to the hash table.
    fn insert(&mut self, port: u16, fd: Fd) {
        let list = self.0.entry(port).or_default();
        list.retain(|f| *f != fd);
        list.insert(0, fd);
    }

    /// udp_lib_unhash
    pub(super) fn remove(&mut self, port: u16, fd: Fd) {
        if let Some(list) = self.0.get_mut(&port) {
            list.retain(|f| *f != fd);
            if list.is_empty() {
                self.0.remove(&port);
            }
        }
    }

    fn of(&self, port: u16) -> &[Fd] {
        self.0.get(&port).map_or(&[], Vec::as_slice)
    }
}

/// inet_bind: some ports are root's.
pub(super) fn bind(ns: &mut NetNs, cx: &Cx<'_>, who: Current, fd: Fd, addr: SocketAddrV4) -> Result<(), Errno> {
    let ip = *addr.ip();
    let group = match ns.fib.addr_type(ip, None) {
        _ if ip.is_unspecified() => false,
        RouteType::Local => false,
        RouteType::Broadcast | RouteType::Multicast => true,
        _ if ns.ipv4.sysctl.can_nonlocal_bind(super::find(ns, fd)?.transparent) => false,
        _ => return Err(Errno::EADDRNOTAVAIL),
    };
    if ns.sysctl.is_privileged(addr.port()) && !who.cred.capable() {
        return Err(Errno::EACCES);
    }
    if super::find(ns, fd)?.udp.port != 0 {
        return Err(Errno::EINVAL);
    }
    let local = (!ip.is_unspecified()).then_some(ip);
    let port = find_port(ns, cx, fd, local, addr.port())?.ok_or(Errno::EADDRINUSE)?;
    let s = super::find_mut(ns, fd)?;
    (s.local, s.udp.port, s.udp.group) = (local, port, group);
    ns.sockets.ports.insert(port, fd);
    Ok(())
}

/// inet_autobind: a socket that sends or connects without a port gets one.
pub(super) fn autobind(ns: &mut NetNs, cx: &Cx<'_>, fd: Fd) -> Result<(), Errno> {
    let s = super::find(ns, fd)?;
    if s.udp.port != 0 {
        return Ok(());
    }
    let port = find_port(ns, cx, fd, s.local, 0)?.ok_or(Errno::EAGAIN)?;
    super::find_mut(ns, fd)?.udp.port = port;
    ns.sockets.ports.insert(port, fd);
    Ok(())
}

/// udp_sock_create: the kernel's socket for tunnels that receive by `port`.
///
/// # Errors
/// EADDRINUSE if a program is bound to it.
pub(in crate::kernel) fn tunnel_open(ns: &mut NetNs, cx: &Cx<'_>, port: u16) -> Result<Fd, Errno> {
    let fd = super::open(ns, Current::KERNEL, SocketKind::Udp)?;
    if let Err(e) = bind(ns, cx, Current::KERNEL, fd, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)) {
        tunnel_close(ns, fd);
        return Err(e);
    }
    super::find_mut(ns, fd)?.udp.tunnel = true;
    Ok(fd)
}

/// udp_tunnel_sock_release
pub(in crate::kernel) fn tunnel_close(ns: &mut NetNs, fd: Fd) {
    let _ = super::close(ns, fd);
}

/// udp_v4_rehash: connect has given the socket an address, and it goes to the head of another chain.
pub(super) fn rehash(ns: &mut NetNs, fd: Fd, port: u16) {
    ns.sockets.ports.insert(port, fd);
}

/// udp_lib_get_port: `port`, or for zero one at random; none if it is taken.
fn find_port(ns: &NetNs, cx: &Cx<'_>, fd: Fd, local: Option<Ipv4Addr>, port: u16) -> Result<Option<u16>, Errno> {
    let s = super::find(ns, fd)?;
    if port != 0 {
        return Ok((!in_use(ns, s, local, port)).then_some(port));
    }
    let (low, high) = ns.sysctl.ip_local_port_range;
    let count = u64::from(high.saturating_sub(low)) + 1;
    let first = cx.prf.below(Purpose::EphemeralPort, &[cx.salt(), u64::from(fd.0)], count);
    // Differs: Linux goes on in large odd steps, which nobody can tell from a walk when the first one is free.
    let mut ports = (0..count).map(|n| low + ((first + n) % count) as u16);
    Ok(ports.find(|port| !in_use(ns, s, local, *port)))
}

/// udp_lib_lport_inuse
fn in_use(ns: &NetNs, s: &Socket, local: Option<Ipv4Addr>, port: u16) -> bool {
    let others = ns.sockets.ports.of(port).iter().filter_map(|fd| ns.sockets.open.get(fd));
    let clashes = |other: &Socket| {
        (!other.reuse || !s.reuse)
            && (other.dev.is_none() || s.dev.is_none() || other.dev == s.dev)
            && (other.local.is_none() || local.is_none() || other.local == local)
    };
    others.into_iter().any(clashes)
}

/// __udp4_lib_rcv
pub(in crate::kernel) fn udp_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst) = (p.src_addr(), p.dst_addr());
    let Some(datagram) = datagram(f.l3()) else { return cx.kill(f, DropReason::PktTooSmall) };
    let from = SocketAddrV4::new(src, be16(datagram, 0));
    let to = SocketAddrV4::new(dst, be16(datagram, 2));
    // Differs: Linux verifies the checksum when the program reads, unless nobody is bound to the port; a program that
    // waits sees no difference.
    let right = |d| UdpPacket::new_unchecked(d).verify_checksum(&src.into(), &dst.into());
    if !f.csum_valid && !right(datagram) {
        return cx.kill(f, DropReason::UdpCsum);
    }
    // skb_steal_sock: a rule has said whose it is.
    if let Sk::ToUdp(fd) = f.sk {
        return queue(ns, cx, fd, from, f);
    }
    if matches!(ns.fib.addr_type(dst, None), RouteType::Broadcast | RouteType::Multicast) {
        return deliver_to_all(ns, cx, dev, to, from, f);
    }
    match lookup(&ns.sockets, to, from, dev) {
        Some(fd) => queue(ns, cx, fd, from, f),
        None => {
            nf_reset_ct(ns, &mut f);
            icmp::send(ns, cx, &f, icmp::Error::PortUnreachable);
            cx.kill(f, DropReason::NoSocket)
        }
    }
}

/// The UDP header and what it says that it covers; none if it says nonsense.
fn datagram(packet: &[u8]) -> Option<&[u8]> {
    let (_, bytes) = ip::payload(packet)?;
    let len = usize::from(be16(bytes, 4));
    if bytes.len() < UDP_HLEN || len < UDP_HLEN { None } else { bytes.get(..len) }
}

/// __udp4_lib_lookup: the socket that a datagram from `from` to `to` is for. One with that address goes before those
/// with any; among these the one that matches most closely, and of equals the newest.
pub(super) fn lookup(sockets: &Sockets, to: SocketAddrV4, from: SocketAddrV4, dev: IfIndex) -> Option<Fd> {
    let best = |local: Option<Ipv4Addr>| {
        let mut found: Option<(u32, Fd)> = None;
        for fd in sockets.ports.of(to.port()) {
            let Some(s) = sockets.open.get(fd).filter(|s| s.local == local) else { continue };
            let Some(score) = compute_score(s, from, dev) else { continue };
            if found.is_none_or(|(most, _)| score > most) {
                found = Some((score, *fd));
            }
        }
        found.map(|(_, fd)| fd)
    };
    best(Some(*to.ip())).or_else(|| best(None))
}

/// compute_score, for a socket whose own address and port match.
fn compute_score(s: &Socket, from: SocketAddrV4, dev: IfIndex) -> Option<u32> {
    let mut score = 2;
    if let Some(remote) = s.remote {
        if remote != *from.ip() {
            return None;
        }
        score += 4;
    }
    if s.udp.remote_port != 0 {
        if s.udp.remote_port != from.port() {
            return None;
        }
        score += 4;
    }
    if let Some(bound) = s.dev {
        if bound != dev {
            return None;
        }
        score += 4;
    }
    Some(score)
}

/// __udp4_lib_mcast_deliver: what went to everybody is for all sockets that match (__udp_is_mcast_sock).
#[inline(never)]
fn deliver_to_all(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    to: SocketAddrV4,
    from: SocketAddrV4,
    f: Frame,
) -> Flow {
    let mut first = None;
    for at in 0..ns.sockets.ports.of(to.port()).len() {
        let fd = ns.sockets.ports.of(to.port())[at];
        let wants = |s: &Socket| s.local.is_none_or(|a| a == *to.ip()) && compute_score(s, from, dev).is_some();
        if !ns.sockets.open.get(&fd).is_some_and(wants) {
            continue;
        }
        if first.is_none() {
            first = Some(fd);
            continue;
        }
        let copy = cx.clone_frame(&mut ns.ct, &f);
        let _ = queue(ns, cx, fd, from, copy);
    }
    match first {
        Some(fd) => queue(ns, cx, fd, from, f),
        None => cx.kill(f, DropReason::NotSpecified),
    }
}

/// udp_queue_rcv_skb and __udp_enqueue_schedule_skb: one datagram always fits; more must fit the buffer by their
/// truesize. Measured on Linux
/// 6.18: 256 of 832 bytes in 212992, two in 2304.
fn queue(ns: &mut NetNs, cx: &mut Cx<'_>, fd: Fd, from: SocketAddrV4, f: Frame) -> Flow {
    let Some(s) = ns.sockets.open.get_mut(&fd) else { return cx.kill(f, DropReason::NoSocket) };
    if s.udp.tunnel {
        let at = Ipv4Packet::new_unchecked(f.l3()).header_len() as usize;
        return vxlan::rcv(ns, cx, fd, at, f);
    }
    if s.queued > 0 && s.queued + u64::from(f.truesize) > s.recv_buf {
        return cx.kill(f, DropReason::SocketRcvBuff);
    }
    let payload = datagram(f.l3()).map_or(&[][..], |d| &d[UDP_HLEN..]);
    let ttl = Ipv4Packet::new_unchecked(f.l3()).hop_limit();
    let message = Message { data: payload.to_vec(), from: From::Ip(from), at: f.tstamp, ttl };
    s.queued += u64::from(f.truesize);
    s.queue.push_back((f.truesize, message));
    cx.wake(s.owner);
    cx.end(f, Fate::Delivered)
}

/// __skb_recv_udp and udp_rmem_release: the reader takes the whole queue at once, and gives the memory back when it has
/// read all of it, or a quarter of the buffer.
pub(super) fn dequeue(s: &mut Socket) -> Result<Message, Errno> {
    if s.udp.reader == 0 {
        s.udp.reader = s.queue.len();
    }
    let (truesize, message) = s.queue.pop_front().ok_or(Errno::EAGAIN)?;
    s.udp.reader -= 1;
    s.udp.deficit += u64::from(truesize);
    if s.udp.deficit >= s.recv_buf / 4 || s.udp.reader == 0 {
        s.queued -= s.udp.deficit;
        s.udp.deficit = 0;
    }
    Ok(message)
}

/// udp_sendmsg
pub(super) fn send(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    fd: Fd,
    to: Option<SocketAddrV4>,
    data: &[u8],
) -> Result<(), Errno> {
    autobind(ns, cx, fd)?;
    if data.len() > IP_MAX_MTU {
        return Err(Errno::EMSGSIZE);
    }
    let s = super::find(ns, fd)?;
    let to = match (to, s.remote) {
        (Some(to), _) if to.port() == 0 => return Err(Errno::EINVAL),
        (Some(to), _) => to,
        (None, Some(remote)) => SocketAddrV4::new(remote, s.udp.remote_port),
        (None, None) => return Err(Errno::EDESTADDRREQ),
    };
    let (own_port, broadcast, hash, sk) = (s.udp.port, s.broadcast, s.txhash, s.sk());
    let flow = s.flow(*to.ip());
    let r = route::output(ns, &flow)?;
    if r.kind == RouteType::Broadcast && !broadcast {
        return Err(Errno::EACCES);
    }
    let s = super::find(ns, fd)?;
    let len = UDP_HLEN + data.len();
    let mtu = s.fragment_size(ns, &r);
    let longest = if s.pmtu.ignores_df() { IP_MAX_MTU } else { mtu as usize };
    if IP_HLEN + len > longest {
        return raw::too_long(ns, cx, fd, *to.ip(), mtu);
    }
    let h = header(ns, s, &r, len);
    may_send(super::find_mut(ns, fd)?)?;
    let (src, dst) = (r.src, r.dst);
    // __ip_append_data: a datagram in one piece, by a device that completes checksums.
    let partial = IP_HLEN + len <= mtu as usize && ns.dev(r.oif).is_some_and(|d| d.features.contains(&Feature::Tx));
    let origin = Origin { bound: flow.oif, mark: flow.mark, summed: true, partial, hash, sk, ..Origin::default() };
    let sent = output::send(ns, cx, &r, &h, origin, len, |out| {
        out[UDP_HLEN..].copy_from_slice(data);
        let mut p = UdpPacket::new_unchecked(out);
        p.set_src_port(own_port);
        p.set_dst_port(to.port());
        p.set_len(len as u16);
        if partial {
            p.set_checksum(pseudo_sum(src, dst, IPPROTO_UDP, len));
        } else {
            // A sum of zero is sent as ffff: zero would mean that there is none.
            p.fill_checksum(&src.into(), &dst.into());
        }
    });
    raw::unless_full(ns, fd, sent)
}

/// sock_alloc_send_skb: a pending error comes first, then what shutdown(2) forbids. The datagram counts from here on.
fn may_send(s: &mut Socket) -> Result<(), Errno> {
    if let Some(e) = s.error.take() {
        return Err(e);
    }
    if s.shut_write {
        return Err(Errno::EPIPE);
    }
    s.count_id();
    Ok(())
}

/// __ip_make_skb: DF only if the datagram is not cut.
fn header(ns: &NetNs, s: &Socket, r: &route::Output, len: usize) -> Header {
    let mut h = s.header(ns, IPPROTO_UDP);
    let df = match s.pmtu {
        PmtuDisc::Do | PmtuDisc::Probe => true,
        pmtu => IP_HLEN + len <= r.mtu as usize && pmtu.dont_fragment(r),
    };
    h.df = Df::if_it_fits(df);
    if r.kind == RouteType::Multicast {
        h.ttl = MULTICAST_TTL;
    }
    h
}

/// __udp4_lib_err: the socket that an ICMP error is about hears of it. Without IP_RECVERR only a connected one does,
/// and only of what is fatal. Whether there is one.
pub(in crate::kernel) fn error(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, report: &Report<'_>) -> bool {
    let inner = &report.inner;
    let local = SocketAddrV4::new(inner.src, be16(inner.payload, 0));
    let remote = SocketAddrV4::new(inner.dst, be16(inner.payload, 2));
    let Some(s) = lookup(&ns.sockets, local, remote, dev).and_then(|fd| ns.sockets.open.get_mut(&fd)) else {
        return false;
    };
    let unheard = match report.kind {
        SOURCE_QUENCH | REDIRECT => true,
        _ if s.udp.tunnel => true,
        DEST_UNREACH => report.code == FRAG_NEEDED && s.pmtu == PmtuDisc::Dont,
        _ => false,
    };
    if !unheard {
        raw::raise(s, cx, report, inner.payload.get(UDP_HLEN..).unwrap_or_default());
    }
    true
}

impl PmtuDisc {
    /// inet_create: what a new socket has.
    pub(super) fn of_namespace(ns: &NetNs) -> Self {
        if ns.ipv4.sysctl.ip_no_pmtu_disc == 0 { PmtuDisc::Want } else { PmtuDisc::Dont }
    }

    /// ip_dont_fragment: what is no longer than the path MTU has DF.
    pub(super) fn dont_fragment(self, r: &route::Output) -> bool {
        self == PmtuDisc::Do || self == PmtuDisc::Want && !r.mtu_locked
    }

    /// ip_sk_ignore_df: what is too long is fragmented here.
    fn ignores_df(self) -> bool {
        matches!(self, PmtuDisc::Dont | PmtuDisc::Want | PmtuDisc::Omit)
    }

    /// ip_sk_use_pmtu: the path MTU counts, not only the device's.
    fn uses_path_mtu(self) -> bool {
        matches!(self, PmtuDisc::Dont | PmtuDisc::Want | PmtuDisc::Do)
    }
}

impl Socket {
    /// inet_saddr
    pub(super) fn source(&self) -> Option<Ipv4Addr> {
        self.local.filter(|_| !self.udp.group)
    }

    /// ip_setup_cork: the size that fragments have, and whole datagrams where they must not be cut.
    fn fragment_size(&self, ns: &NetNs, r: &route::Output) -> u32 {
        if self.pmtu.uses_path_mtu() { r.mtu } else { ns.dev(r.oif).map_or(r.mtu, |d| d.mtu) }
    }
}
