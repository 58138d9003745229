//! Sockets: what a descriptor refers to, the queues of what arrived, and the system calls on them (net/socket.c,
//! net/core/sock.c, net/core/datagram.c).

mod demux;
mod info;
pub mod netlink;
pub mod packet;
pub mod ping;
pub mod raw;
pub mod tcp;
pub mod udp;

pub(in crate::kernel) use demux::{Found, Lookup};
pub use info::DatagramInfo;
pub(in crate::kernel) use info::list as datagram_sockets;

use super::conntrack::Event;
use super::cred::{Cred, Current};
use super::cx::Cx;
use super::errno::Errno;
use super::frame::Sk;
use super::ip::output::{Df, Header, Ident};
use super::ip::route::{self, Flow4};
use super::netlink::Scope;
use super::netns::NetNs;
use super::profile::Profile;
use super::syscall::{
    Call, Fd, Message, Outcome, PmtuDisc, PollFd, QueuedError, Ready, Ret, SendTo, Shutdown, SockOpt, SocketKind,
};
use crate::base::rng::Purpose;
use crate::base::{IfIndex, Pid};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// As many sockets one namespace may have open.
pub const MAX_SOCKETS: usize = 1 << 16;
/// net.core.rmem_default
const RMEM_DEFAULT: u64 = 212_992;
/// net.core.rmem_max
const RMEM_MAX: u64 = 4 << 20;

/// The open sockets of one namespace, by descriptor: a descriptor is unique in its namespace.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    open: BTreeMap<Fd, Socket>,
    /// Raw and packet sockets among them, which get copies of what passes.
    copied: usize,
    last: u32,
    /// ping_port_rover: the last ping socket's id.
    rover: u16,
    /// The bound UDP sockets.
    ports: udp::Ports,
    pub(in crate::kernel) tcp: tcp::Tcp,
}

impl Sockets {
    /// None yet, with the settings that a kernel of that kind begins with.
    pub(in crate::kernel) fn new(profile: Profile) -> Self {
        let tcp = tcp::Tcp::new(profile);
        Sockets { tcp, ..Sockets::default() }
    }
}

/// struct sock with its inet_sock.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Socket {
    owner: Pid,
    /// f_cred of its file.
    cred: Cred,
    kind: SocketKind,
    /// inet_rcv_saddr and inet_saddr
    local: Option<Ipv4Addr>,
    /// inet_daddr
    remote: Option<Ipv4Addr>,
    /// A ping socket's id, in place of a port.
    ident: u16,
    udp: udp::State,
    /// The connection of a TCP socket, which outlives it.
    tcp: Option<tcp::SockId>,
    /// inet_id: the IP id of the last packet of a connected socket.
    last_id: u16,
    /// sk_txhash: that of a connected socket.
    txhash: u32,
    dev: Option<IfIndex>,
    ttl: Option<u8>,
    tos: u8,
    /// sk_mark
    mark: u32,
    /// IP_TRANSPARENT: its own address need not be one of ours.
    transparent: bool,
    pmtu: PmtuDisc,
    recv_err: bool,
    broadcast: bool,
    /// sk_reuse
    reuse: bool,
    /// O_NONBLOCK
    nonblock: bool,
    /// sk_shutdown: RCV_SHUTDOWN and SEND_SHUTDOWN
    shut_read: bool,
    shut_write: bool,
    icmp_filter: u32,
    /// The echo id of ping's socket filter.
    echo_filter: Option<u16>,
    dont_route: bool,
    recv_timeout_ns: u64,
    recv_buf: u64,
    queue: VecDeque<(u32, Message)>,
    /// sk_rmem_alloc: the truesize of what is queued.
    queued: u64,
    errors: VecDeque<QueuedError>,
    /// Of a netlink socket.
    events: VecDeque<Event>,
    /// sk_err
    error: Option<Errno>,
}

impl SocketKind {
    /// It gets copies of what others receive.
    fn is_copied(self) -> bool {
        matches!(self, SocketKind::Raw { .. } | SocketKind::Packet { .. })
    }
}

impl Socket {
    fn new(ns: &NetNs, who: Current, kind: SocketKind) -> Self {
        Socket {
            owner: who.pid,
            cred: who.cred,
            kind,
            local: None,
            remote: None,
            ident: 0,
            udp: udp::State::default(),
            tcp: None,
            last_id: 0,
            txhash: 0,
            dev: None,
            ttl: None,
            tos: 0,
            mark: 0,
            transparent: false,
            pmtu: PmtuDisc::of_namespace(ns),
            recv_err: false,
            broadcast: false,
            reuse: false,
            nonblock: false,
            shut_read: false,
            shut_write: false,
            icmp_filter: 0,
            echo_filter: None,
            dont_route: false,
            recv_timeout_ns: 0,
            recv_buf: RMEM_DEFAULT,
            queue: VecDeque::new(),
            queued: 0,
            errors: VecDeque::new(),
            events: VecDeque::new(),
            error: None,
        }
    }

    /// sock_queue_rcv_skb: false if the receive buffer is full.
    fn receive(&mut self, cx: &mut Cx<'_>, truesize: u32, message: impl FnOnce() -> Message) -> bool {
        if self.queued >= self.recv_buf {
            return false;
        }
        self.queued += u64::from(truesize);
        self.queue.push_back((truesize, message()));
        cx.wake(self.owner);
        true
    }

    /// ip_icmp_error with sk_error_report: queued if IP_RECVERR asks for it; the socket's error either way.
    fn report(&mut self, cx: &mut Cx<'_>, error: QueuedError) {
        self.error = Some(error.errno);
        if self.recv_err && self.queued < self.recv_buf && self.errors.len() < raw::MAX_QUEUED_ERRORS {
            self.errors.push_back(error);
        }
        cx.wake(self.owner);
    }

    /// inet_getname
    fn name(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.local.unwrap_or(Ipv4Addr::UNSPECIFIED), self.udp.port)
    }

    /// inet_getname of the peer
    fn peer(&self) -> Result<SocketAddrV4, Errno> {
        let remote = self.remote.ok_or(Errno::ENOTCONN)?;
        Ok(SocketAddrV4::new(remote, self.udp.remote_port))
    }

    /// ip_sock_rt_scope: what a route may be like.
    fn scope(&self) -> Scope {
        if self.dont_route { Scope::Link } else { Scope::Global }
    }

    /// What it knows of the way to `dst` (flowi4_init_output); from IP_TRANSPARENT's address, whose ever it is
    /// (inet_sk_flowi_flags).
    fn flow(&self, dst: Ipv4Addr) -> Flow4 {
        let (src, oif, scope) = (self.source(), self.dev, self.scope());
        Flow4 { src, oif, scope, mark: self.mark, any_src: self.transparent, ..Flow4::to(dst) }
    }

    /// The header that this socket's datagrams get.
    fn header(&self, ns: &NetNs, protocol: u8) -> Header {
        let ttl = self.ttl.unwrap_or(ns.sysctl.ip_default_ttl);
        let df = matches!(self.pmtu, PmtuDisc::Want | PmtuDisc::Do | PmtuDisc::Probe);
        let ident = match self.pmtu {
            _ if self.remote.is_some() => Ident::Socket(self.last_id.wrapping_add(1)),
            // skb->ignore_df: only a path MTU that is enforced leaves the id at zero.
            PmtuDisc::Do | PmtuDisc::Probe => Ident::Zero,
            _ => Ident::Flow,
        };
        Header { protocol, tos: self.tos, ttl, df: Df::if_it_fits(df), ident }
    }

    /// The header's id is used up.
    fn count_id(&mut self) {
        self.last_id = self.last_id.wrapping_add(1);
    }

    /// skb->sk of what it sends.
    fn sk(&self) -> Sk {
        if self.owner == Pid::KERNEL { Sk::Kernel } else { Sk::File(self.cred) }
    }
}

/// Carries out a system call of process `who` that concerns sockets.
pub fn call(ns: &mut NetNs, cx: &mut Cx<'_>, who: Current, call: &Call) -> Outcome {
    if let Some(id) = call.fd().and_then(|fd| ns.sockets.open.get(&fd)?.tcp) {
        return stream_call(ns, cx, who, id, call);
    }
    let answer = |r: Result<Ret, Errno>| Outcome::Done(r.unwrap_or_else(Ret::Err));
    match call {
        Call::Socket(kind) => answer(open(ns, who, *kind).map(Ret::Fd)),
        Call::Bind { fd, addr } => answer(bind(ns, cx, who, *fd, *addr)),
        Call::BindDev { fd, dev } => answer(bind_dev(ns, *fd, *dev)),
        Call::Connect { fd, addr } => answer(connect(ns, cx, *fd, *addr)),
        Call::Shutdown { fd, how } => answer(shutdown(ns, *fd, *how)),
        Call::Close { fd } => answer(close(ns, *fd)),
        Call::SockName { fd } => answer(find(ns, *fd).map(|s| Ret::Addr(s.name()))),
        Call::SetSockOpt { fd, opt } => answer(set_option(ns, who, *fd, *opt)),
        Call::Send { fd, to, data } => answer(send(ns, cx, *fd, *to, data)),
        Call::Recv { fd, errqueue: true, .. } => answer(recv_error(ns, *fd)),
        Call::Recv { fd, dontwait, .. } => match recv(ns, *fd) {
            Err(Errno::EAGAIN) if !dontwait && find(ns, *fd).is_ok_and(|s| s.shut_read) => Outcome::Done(Ret::Eof),
            Err(Errno::EAGAIN) if !dontwait && find(ns, *fd).is_ok_and(|s| !s.nonblock) => Outcome::Wait,
            r => answer(r),
        },
        Call::Poll { fds, timeout_ns } => {
            let ready = fds.iter().map(|p| poll(ns, *p)).collect::<Result<Vec<_>, _>>();
            match ready {
                // do_poll: without a time it does not sleep.
                Ok(ready) if !ready.iter().any(|r| r.any()) && *timeout_ns == Some(0) => {
                    Outcome::Done(Ret::Poll(vec![]))
                }
                Ok(ready) if !ready.iter().any(|r| r.any()) => Outcome::Wait,
                r => answer(r.map(Ret::Poll)),
            }
        }
        Call::Listen { .. } | Call::Accept { .. } => answer(Err(Errno::EOPNOTSUPP)),
        Call::PeerName { fd } => answer(find(ns, *fd).and_then(Socket::peer).map(Ret::Addr)),
        // It is asked for streams only (getorigdst).
        Call::OriginalDst { fd } => answer(find(ns, *fd).and(Err(Errno::ENOPROTOOPT))),
        Call::SocketError { fd } => answer(find_mut(ns, *fd).map(|s| Ret::SocketError(s.error.take()))),
        Call::Sleep { .. } | Call::Alarm { .. } | Call::Netlink(_) | Call::NetlinkIn(..) | Call::Exit(_) => {
            answer(Err(Errno::EINVAL))
        }
    }
}

/// A system call on a TCP socket: what concerns the descriptor is dealt with here.
fn stream_call(ns: &mut NetNs, cx: &mut Cx<'_>, who: Current, id: tcp::SockId, call: &Call) -> Outcome {
    match call {
        Call::SetSockOpt { fd, opt: opt @ (SockOpt::NonBlock(_) | SockOpt::RecvTimeout(_)) } => {
            Outcome::Done(set_option(ns, who, *fd, *opt).unwrap_or_else(Ret::Err))
        }
        Call::Close { fd } => {
            let ended = tcp::call(ns, cx, who, id, call);
            if !matches!(ended, Outcome::Wait) {
                ns.sockets.open.remove(fd);
            }
            ended
        }
        _ => tcp::call(ns, cx, who, id, call),
    }
}

/// The open descriptors of a namespace, in the order in which they were opened, with their processes.
pub(in crate::kernel) fn descriptors(ns: &NetNs) -> impl Iterator<Item = (Fd, Pid)> {
    ns.sockets.open.iter().map(|(fd, s)| (*fd, s.owner))
}

/// How long `call` may wait in nanoseconds, by SO_RCVTIMEO and SO_LINGER; zero waits for ever.
pub fn timeout_ns(ns: &NetNs, call: &Call) -> u64 {
    let socket = call.fd().and_then(|fd| ns.sockets.open.get(&fd));
    match (call, socket) {
        (Call::Recv { .. }, Some(s)) => s.recv_timeout_ns,
        (Call::Close { .. }, Some(s)) => s.tcp.map_or(0, |id| tcp::linger_ns(ns, id)),
        _ => 0,
    }
}

/// A signal came while `call` waits: what it returns, or none if it has still something to do, and will not wait again.
pub fn interrupted(ns: &mut NetNs, call: &Call) -> Option<Ret> {
    let id = call.fd().and_then(|fd| ns.sockets.open.get(&fd)?.tcp);
    match (call, id) {
        (Call::Send { .. }, Some(id)) => Some(tcp::interrupted(ns, id).map_or(Ret::Err(Errno::EINTR), Ret::Sent)),
        (Call::Close { .. }, Some(id)) => {
            tcp::stop_lingering(ns, id);
            None
        }
        _ => Some(Ret::Err(Errno::EINTR)),
    }
}

/// close(2) for all sockets of a process that has ended.
pub fn close_all(ns: &mut NetNs, cx: &mut Cx<'_>, pid: Pid) {
    let Sockets { open, copied, ports, .. } = &mut ns.sockets;
    let mut streams = Vec::new();
    open.retain(|fd, s| {
        let gone = s.owner == pid;
        if gone {
            ports.remove(s.udp.port, *fd);
            *copied -= usize::from(s.kind.is_copied());
            streams.extend(s.tcp);
        }
        !gone
    });
    for id in streams {
        tcp::close_orphan(ns, cx, id);
    }
}

fn find(ns: &NetNs, fd: Fd) -> Result<&Socket, Errno> {
    ns.sockets.open.get(&fd).ok_or(Errno::EBADF)
}

fn find_mut(ns: &mut NetNs, fd: Fd) -> Result<&mut Socket, Errno> {
    ns.sockets.open.get_mut(&fd).ok_or(Errno::EBADF)
}

fn open(ns: &mut NetNs, who: Current, kind: SocketKind) -> Result<Fd, Errno> {
    if ns.sockets.open.len() >= MAX_SOCKETS {
        return Err(Errno::ENFILE);
    }
    may_open(ns, who.cred, kind)?;
    ns.sockets.last += 1;
    let fd = Fd(ns.sockets.last);
    let mut socket = Socket::new(ns, who, kind);
    if kind == SocketKind::Tcp {
        socket.tcp = Some(tcp::open(ns, who, fd)?);
    }
    ns.sockets.open.insert(fd, socket);
    ns.sockets.copied += usize::from(kind.is_copied());
    Ok(fd)
}

/// Who may open a socket of that kind: inet_create, packet_create, ping_init_sock.
fn may_open(ns: &NetNs, cred: Cred, kind: SocketKind) -> Result<(), Errno> {
    match kind {
        SocketKind::Ping => {
            let (first, last) = ns.sysctl.ping_group_range;
            if (first..=last).contains(&cred.gid) { Ok(()) } else { Err(Errno::EACCES) }
        }
        SocketKind::Raw { .. } | SocketKind::Packet { .. } | SocketKind::Frames if !cred.capable() => Err(Errno::EPERM),
        _ => Ok(()),
    }
}

fn close(ns: &mut NetNs, fd: Fd) -> Result<Ret, Errno> {
    let s = ns.sockets.open.remove(&fd).ok_or(Errno::EBADF)?;
    ns.sockets.ports.remove(s.udp.port, fd);
    ns.sockets.copied -= usize::from(s.kind.is_copied());
    Ok(Ret::Done)
}

fn bind(ns: &mut NetNs, cx: &Cx<'_>, who: Current, fd: Fd, addr: SocketAddrV4) -> Result<Ret, Errno> {
    if find(ns, fd)?.kind == SocketKind::Udp {
        return udp::bind(ns, cx, who, fd, addr).map(|()| Ret::Done);
    }
    let addr = *addr.ip();
    let local = addr.is_unspecified() || ns.local_dev(addr).is_some();
    let nonlocal = ns.ipv4.sysctl.can_nonlocal_bind(find(ns, fd)?.transparent);
    let s = find_mut(ns, fd)?;
    if !local && !nonlocal {
        return Err(Errno::EADDRNOTAVAIL);
    }
    s.local = (!addr.is_unspecified()).then_some(addr);
    Ok(Ret::Done)
}

fn bind_dev(ns: &mut NetNs, fd: Fd, dev: IfIndex) -> Result<Ret, Errno> {
    if ns.dev(dev).is_none() {
        return Err(Errno::ENODEV);
    }
    find_mut(ns, fd)?.dev = Some(dev);
    Ok(Ret::Done)
}

/// ip4_datagram_connect: the route of this moment gives the source address.
fn connect(ns: &mut NetNs, cx: &Cx<'_>, fd: Fd, addr: SocketAddrV4) -> Result<Ret, Errno> {
    if find(ns, fd)?.kind == SocketKind::Udp {
        udp::autobind(ns, cx, fd)?;
    }
    let s = find(ns, fd)?;
    let flow = s.flow(*addr.ip());
    let r = route::output(ns, &flow)?;
    if r.kind == super::netlink::RouteType::Broadcast && !find(ns, fd)?.broadcast {
        return Err(Errno::EACCES);
    }
    let peer = u64::from(u32::from(r.dst)) << 16 | u64::from(addr.port());
    let id = cx.prf.draw(Purpose::IpId, &[cx.salt(), u64::from(fd.0), peer]);
    let txhash = cx.prf.draw(Purpose::TxHash, &[cx.salt(), u64::from(fd.0), peer, cx.jiffies()]) as u32;
    let s = find_mut(ns, fd)?;
    s.txhash = txhash.max(1);
    let (any, port) = (s.local.is_none(), s.udp.port);
    s.local = s.local.or(Some(r.src));
    (s.remote, s.last_id) = (Some(r.dst), id as u16);
    if s.kind == SocketKind::Udp {
        s.udp.remote_port = addr.port();
        if any {
            udp::rehash(ns, fd, port);
        }
    }
    Ok(Ret::Done)
}

/// inet_shutdown of a socket for datagrams: an unconnected one is shut all the same, but that is an error.
fn shutdown(ns: &mut NetNs, fd: Fd, how: Shutdown) -> Result<Ret, Errno> {
    let s = find_mut(ns, fd)?;
    s.shut_read |= how != Shutdown::Write;
    s.shut_write |= how != Shutdown::Read;
    if s.remote.is_none() { Err(Errno::ENOTCONN) } else { Ok(Ret::Done) }
}

fn set_option(ns: &mut NetNs, who: Current, fd: Fd, opt: SockOpt) -> Result<Ret, Errno> {
    if let SockOpt::BindToDevice(dev) = opt {
        return bind_dev(ns, fd, dev);
    }
    let s = find_mut(ns, fd)?;
    match opt {
        SockOpt::Ttl(0) => return Err(Errno::EINVAL),
        SockOpt::Ttl(ttl) => s.ttl = Some(ttl),
        SockOpt::Tos(tos) => s.tos = tos,
        SockOpt::Mark(_) | SockOpt::Transparent(true) if !who.cred.capable() => return Err(Errno::EPERM),
        SockOpt::Mark(mark) => s.mark = mark,
        SockOpt::Transparent(on) => s.transparent = on,
        SockOpt::MtuDiscover(pmtu) => s.pmtu = pmtu,
        SockOpt::RecvErr(on) => {
            s.recv_err = on;
            if !on {
                s.errors.clear();
            }
        }
        SockOpt::IcmpFilter(mask) => s.icmp_filter = mask,
        SockOpt::EchoFilter(ident) => s.echo_filter = Some(ident),
        SockOpt::DontRoute(on) => s.dont_route = on,
        SockOpt::RecvTimeout(ns) => s.recv_timeout_ns = ns,
        SockOpt::Broadcast(on) => s.broadcast = on,
        SockOpt::ReuseAddr(on) => s.reuse = on,
        // The kernel doubles it, for its own overhead.
        SockOpt::RecvBuf(bytes) => s.recv_buf = (u64::from(bytes).min(RMEM_MAX) * 2).max(2304),
        SockOpt::NonBlock(on) => s.nonblock = on,
        SockOpt::SendBuf(_) | SockOpt::Linger(_) | SockOpt::KeepAlive(_) | SockOpt::BindToDevice(_) => {}
        SockOpt::KeepIdle(_)
        | SockOpt::KeepInterval(_)
        | SockOpt::KeepCount(_)
        | SockOpt::NoDelay(_)
        | SockOpt::Cork(_)
        | SockOpt::QuickAck(_)
        | SockOpt::MaxSeg(_)
        | SockOpt::UserTimeout(_) => return Err(Errno::ENOPROTOOPT),
    }
    Ok(Ret::Done)
}

fn send(ns: &mut NetNs, cx: &mut Cx<'_>, fd: Fd, to: Option<SendTo>, data: &[u8]) -> Result<Ret, Errno> {
    let s = find_mut(ns, fd)?;
    if s.kind == SocketKind::Udp {
        let to = match to {
            Some(SendTo::Ip(to)) => Some(to),
            Some(SendTo::Link { .. }) => return Err(Errno::EAFNOSUPPORT),
            None => None,
        };
        udp::send(ns, cx, fd, to, data)?;
        return Ok(Ret::Sent(data.len()));
    }
    // sock_alloc_send_skb: a pending error comes first. A raw socket allocates by sock_wmalloc, which does not look.
    if !matches!(s.kind, SocketKind::Raw { .. })
        && let Some(e) = s.error.take()
    {
        return Err(e);
    }
    match (s.kind, to) {
        (SocketKind::Packet { ethertype }, Some(SendTo::Link { dev, mac })) => {
            packet::send(ns, cx, ethertype, dev, mac, data)?;
        }
        (SocketKind::Frames, None) => {
            let dev = s.dev.ok_or(Errno::ENXIO)?;
            packet::send_frame(ns, cx, dev, data)?;
        }
        (SocketKind::Raw { .. } | SocketKind::Ping, to) => {
            let to = match to {
                Some(SendTo::Ip(addr)) => *addr.ip(),
                None => s.remote.ok_or(Errno::EDESTADDRREQ)?,
                Some(SendTo::Link { .. }) => return Err(Errno::EAFNOSUPPORT),
            };
            raw::send(ns, cx, fd, to, data)?;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(Ret::Sent(data.len()))
}

/// __skb_recv_datagram
fn recv(ns: &mut NetNs, fd: Fd) -> Result<Ret, Errno> {
    let s = find_mut(ns, fd)?;
    if let Some(e) = s.error.take() {
        return Err(e);
    }
    match s.kind {
        SocketKind::Udp => return udp::dequeue(s).map(Ret::Message),
        SocketKind::Tcp => return Err(Errno::ENOTCONN),
        SocketKind::Conntrack(_) => return netlink::dequeue(s),
        SocketKind::Raw { .. } | SocketKind::Ping | SocketKind::Packet { .. } | SocketKind::Frames => {}
    }
    let (truesize, message) = s.queue.pop_front().ok_or(Errno::EAGAIN)?;
    s.queued -= u64::from(truesize);
    Ok(Ret::Message(message))
}

/// ip_recv_error with sock_dequeue_err_skb: the next queued error becomes the socket's.
fn recv_error(ns: &mut NetNs, fd: Fd) -> Result<Ret, Errno> {
    let s = find_mut(ns, fd)?;
    let error = s.errors.pop_front().ok_or(Errno::EAGAIN)?;
    let next = s.errors.front().filter(|e| !e.local).map(|e| e.errno);
    if next.is_some() || !error.local {
        s.error = next;
    }
    Ok(Ret::Error(error))
}

/// datagram_poll
fn poll(ns: &mut NetNs, asked: PollFd) -> Result<Ready, Errno> {
    if let Some(id) = find(ns, asked.fd)?.tcp {
        return Ok(tcp::poll(ns, id, asked));
    }
    let s = find(ns, asked.fd)?;
    Ok(Ready {
        read: asked.read && (!s.queue.is_empty() || !s.events.is_empty() || s.shut_read),
        write: asked.write,
        error: s.error.is_some() || !s.errors.is_empty(),
        hangup: s.shut_read && s.shut_write,
    })
}
