//! The program door: what a process may ask of the kernel, as data. A program hands over one [`Call`] at a time and
//! gets its [`Ret`] when it is done; blocking, time-outs and wake-ups are the engine's (engine/process.rs).

use super::conntrack::Event;
use super::cred::Current;
use super::cx::Cx;
use super::errno::{Errno, NlError};
use super::netlink::Request;
use super::netns::Spaces;
use super::socket;
use crate::base::{IfIndex, Mac, NsId, Pid, Time};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A file descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fd(pub u32);

/// socket(2): which kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketKind {
    /// `socket(AF_INET, SOCK_RAW, PROTOCOL)`: whole IPv4 packets in, payloads out (raw(7)).
    Raw {
        /// The IP protocol number.
        protocol: u8,
    },
    /// `socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)`: a ping socket, for groups in `net.ipv4.ping_group_range` (icmp(7)).
    Ping,
    /// `socket(AF_INET, SOCK_DGRAM, 0)`: payloads in and out (udp(7)).
    Udp,
    /// `socket(AF_INET, SOCK_STREAM, 0)`: a stream of bytes (tcp(7)).
    Tcp,
    /// `socket(AF_PACKET, SOCK_DGRAM, ETHERTYPE)`: packet(7), without the hardware header.
    Packet {
        /// Frames of this Ethertype only.
        ethertype: u16,
    },
    /// `socket(AF_PACKET, SOCK_RAW, 0)`: whole frames out by the device that it is bound to, none in (packet(7)).
    Frames,
    /// `socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)` in connection tracking's groups: its events.
    Conntrack(CtGroups),
}

/// Netlink groups of connection tracking (NFNLGRP_CONNTRACK_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtGroups {
    /// Connections that were confirmed.
    pub new: bool,
    /// Connections that changed.
    pub update: bool,
    /// Connections that are gone.
    pub destroy: bool,
}

/// setsockopt(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SockOpt {
    /// IP_TTL
    Ttl(u8),
    /// IP_TOS
    Tos(u8),
    /// IP_TRANSPARENT: its own address may be somebody else's. It is root's.
    Transparent(bool),
    /// SO_MARK: what is sent carries this mark, by which rules and policy routing know it.
    Mark(u32),
    /// IP_MTU_DISCOVER
    MtuDiscover(PmtuDisc),
    /// IP_RECVERR: queue ICMP errors for MSG_ERRQUEUE.
    RecvErr(bool),
    /// ICMP_FILTER: a set bit keeps that ICMP type away.
    IcmpFilter(u32),
    /// SO_RCVTIMEO in nanoseconds; zero waits for ever. Kept in jiffies, so it passes through the timer wheel.
    RecvTimeout(u64),
    /// SO_BROADCAST
    Broadcast(bool),
    /// SO_RCVBUF in bytes, before Linux doubles it.
    RecvBuf(u32),
    /// SO_BINDTODEVICE
    BindToDevice(IfIndex),
    /// SO_REUSEADDR: several UDP sockets that all have it may be bound to one address and port.
    ReuseAddr(bool),
    /// SO_DONTROUTE: only to what is on the link.
    DontRoute(bool),
    /// SO_ATTACH_FILTER, with the one program that ping loads: echo replies with another id than this are kept away.
    EchoFilter(u16),
    /// O_NONBLOCK of fcntl(2): what would wait is EAGAIN, and connect is EINPROGRESS.
    NonBlock(bool),
    /// SO_SNDBUF in bytes, before Linux doubles it.
    SendBuf(u32),
    /// SO_LINGER: how long close waits, in seconds; zero resets the connection. None: close does not wait.
    Linger(Option<u32>),
    /// SO_KEEPALIVE
    KeepAlive(bool),
    /// TCP_KEEPIDLE in seconds.
    KeepIdle(u32),
    /// TCP_KEEPINTVL in seconds.
    KeepInterval(u32),
    /// TCP_KEEPCNT
    KeepCount(u8),
    /// TCP_NODELAY
    NoDelay(bool),
    /// TCP_CORK
    Cork(bool),
    /// TCP_QUICKACK
    QuickAck(bool),
    /// TCP_MAXSEG
    MaxSeg(u16),
    /// TCP_USER_TIMEOUT in milliseconds; zero for none.
    UserTimeout(u32),
}

/// IP_PMTUDISC_*
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PmtuDisc {
    /// Never set DF.
    Dont,
    /// Fragment to the known path MTU, else set DF: the default.
    #[default]
    Want,
    /// Always set DF; too long is EMSGSIZE.
    Do,
    /// Set DF, ignore the path MTU; longer than the device's MTU is EMSGSIZE.
    Probe,
    /// As `Probe`, but without DF.
    Interface,
    /// As `Interface`, but what is longer is fragmented.
    Omit,
}

/// One system call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// socket(2); returns [`Ret::Fd`].
    Socket(SocketKind),
    /// bind(2) to a local address (AF_INET).
    Bind {
        /// The socket.
        fd: Fd,
        /// The address, unspecified for any, and the port, zero for one that the kernel chooses. Raw and ping sockets
        /// have no port.
        addr: SocketAddrV4,
    },
    /// bind(2) of a packet socket to a device.
    BindDev {
        /// The socket.
        fd: Fd,
        /// The device.
        dev: IfIndex,
    },
    /// connect(2); the kernel chooses and keeps the source address.
    Connect {
        /// The socket.
        fd: Fd,
        /// Where later sends go.
        addr: SocketAddrV4,
    },
    /// listen(2)
    Listen {
        /// The socket.
        fd: Fd,
        /// So many connections wait to be accepted, and one more.
        backlog: u32,
    },
    /// accept4(2); returns [`Ret::Accepted`].
    Accept {
        /// The listening socket.
        fd: Fd,
        /// SOCK_NONBLOCK of the new socket.
        nonblock: bool,
    },
    /// getsockname(2); returns [`Ret::Addr`].
    SockName {
        /// The socket.
        fd: Fd,
    },
    /// getpeername(2); returns [`Ret::Addr`].
    PeerName {
        /// The socket.
        fd: Fd,
    },
    /// getsockopt(2) of SO_ERROR; returns [`Ret::SocketError`].
    SocketError {
        /// The socket.
        fd: Fd,
    },
    /// getsockopt(2) of SO_ORIGINAL_DST, which connection tracking answers; returns [`Ret::Addr`]: where the
    /// connection went before it was translated.
    OriginalDst {
        /// The socket.
        fd: Fd,
    },
    /// shutdown(2).
    Shutdown {
        /// The socket.
        fd: Fd,
        /// Which directions.
        how: Shutdown,
    },
    /// close(2); what was received and not read is lost.
    Close {
        /// The socket.
        fd: Fd,
    },
    /// setsockopt(2).
    SetSockOpt {
        /// The socket.
        fd: Fd,
        /// The option with its value.
        opt: SockOpt,
    },
    /// sendto(2); returns [`Ret::Sent`]. A stream that waits takes all of it, one that does not what fits.
    Send {
        /// The socket.
        fd: Fd,
        /// Left out on a connected socket.
        to: Option<SendTo>,
        /// The payload.
        data: Vec<u8>,
    },
    /// recvmsg(2); returns [`Ret::Message`], or [`Ret::Data`] of a stream. Waits unless `dontwait`, up to SO_RCVTIMEO.
    Recv {
        /// The socket.
        fd: Fd,
        /// A stream gives up to this many bytes. A datagram comes whole: who asked for less cuts it.
        size: usize,
        /// MSG_DONTWAIT
        dontwait: bool,
        /// MSG_ERRQUEUE: an ICMP error instead of data; never waits.
        errqueue: bool,
    },
    /// poll(2); returns [`Ret::Poll`]. An hrtimer, not the wheel.
    Poll {
        /// The sockets, and what is asked about them.
        fds: Vec<PollFd>,
        /// In nanoseconds; none waits for ever.
        timeout_ns: Option<u64>,
    },
    /// nanosleep(2).
    Sleep {
        /// How long.
        ns: u64,
    },
    /// setitimer(2) with ITIMER_REAL: after that time SIGALRM interrupts what the process waits in (EINTR), and
    /// [`crate::engine::Env::alarmed`] tells.
    Alarm {
        /// How long; zero disarms.
        ns: u64,
    },
    /// A netlink request, or what goes through /proc/sys or ioctl on a real node.
    Netlink(Box<Request>),
    /// As [`Call::Netlink`], in another namespace by name (`ip -n NS …`).
    NetlinkIn(String, Box<Request>),
    /// exit(2).
    Exit(i32),
}

impl Call {
    /// The socket that it is about; none if it is about several or none.
    pub(super) fn fd(&self) -> Option<Fd> {
        match self {
            Call::Bind { fd, .. }
            | Call::BindDev { fd, .. }
            | Call::Connect { fd, .. }
            | Call::Listen { fd, .. }
            | Call::Accept { fd, .. }
            | Call::SockName { fd }
            | Call::PeerName { fd }
            | Call::SocketError { fd }
            | Call::OriginalDst { fd }
            | Call::Shutdown { fd, .. }
            | Call::Close { fd }
            | Call::SetSockOpt { fd, .. }
            | Call::Send { fd, .. }
            | Call::Recv { fd, .. } => Some(*fd),
            Call::Socket(_)
            | Call::Poll { .. }
            | Call::Sleep { .. }
            | Call::Alarm { .. }
            | Call::Netlink(_)
            | Call::NetlinkIn(..)
            | Call::Exit(_) => None,
        }
    }
}

/// struct pollfd: what poll(2) waits for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollFd {
    /// The socket.
    pub fd: Fd,
    /// POLLIN
    pub read: bool,
    /// POLLOUT
    pub write: bool,
}

impl PollFd {
    /// POLLIN
    pub fn read(fd: Fd) -> Self {
        PollFd { fd, read: true, write: false }
    }

    /// POLLOUT
    pub fn write(fd: Fd) -> Self {
        PollFd { fd, read: false, write: true }
    }
}

/// revents of a [`PollFd`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ready {
    /// POLLIN
    pub read: bool,
    /// POLLOUT
    pub write: bool,
    /// POLLERR
    pub error: bool,
    /// POLLHUP
    pub hangup: bool,
}

impl Ready {
    /// Something is.
    pub fn any(self) -> bool {
        self != Ready::default()
    }
}

/// SHUT_*: the directions that shutdown(2) ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// SHUT_RD: a recv that waited returns nothing.
    Read,
    /// SHUT_WR: sending is EPIPE.
    Write,
    /// SHUT_RDWR
    Both,
}

/// Where a datagram goes (struct sockaddr).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendTo {
    /// AF_INET; the port is a UDP socket's.
    Ip(SocketAddrV4),
    /// AF_PACKET: out of this device to that hardware address.
    Link {
        /// The device.
        dev: IfIndex,
        /// The destination.
        mac: Mac,
    },
}

/// What a system call returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ret {
    /// The process has just started; nothing was called yet.
    Start,
    /// Zero.
    Done,
    /// A new descriptor.
    Fd(Fd),
    /// Bytes taken.
    Sent(usize),
    /// A datagram.
    Message(Message),
    /// What a [`SocketKind::Conntrack`] received.
    Event(Box<Event>),
    /// An entry of the error queue.
    Error(QueuedError),
    /// Bytes of a stream, one at least.
    Data(Vec<u8>),
    /// A new connection.
    Accepted {
        /// Its socket.
        fd: Fd,
        /// The peer.
        from: SocketAddrV4,
    },
    /// poll's answer, in the order of what was asked; empty when the time ran out.
    Poll(Vec<Ready>),
    /// What was pending, which it is no longer.
    SocketError(Option<Errno>),
    /// An address; its port is zero where the socket has none.
    Addr(SocketAddrV4),
    /// recv after SHUT_RD, or at the end of a stream: no bytes, from nobody.
    Eof,
    /// -1, with errno.
    Err(Errno),
    /// A netlink request refused.
    NlErr(NlError),
}

/// A received datagram with its ancillary data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Raw sockets: the whole IPv4 packet. UDP, ping and packet sockets: the payload.
    pub data: Vec<u8>,
    /// Who sent it: the IPv4 source, or the hardware source of a packet socket.
    pub from: From,
    /// SO_TIMESTAMP: when its frame was received.
    pub at: Time,
    /// IP_RECVTTL
    pub ttl: u8,
}

/// The sender of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// AF_INET; the port is a UDP socket's.
    Ip(SocketAddrV4),
    /// AF_PACKET: the sender and how its frame was addressed.
    Link {
        /// The source address.
        mac: Mac,
        /// It went to everybody.
        broadcast: bool,
    },
}

/// struct sock_extended_err with the datagram that caused it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuedError {
    /// ee_errno
    pub errno: Errno,
    /// ee_origin is SO_EE_ORIGIN_LOCAL: no packet told us.
    pub local: bool,
    /// ee_type and ee_code of the ICMP message.
    pub icmp: (u8, u8),
    /// ee_info: the MTU of EMSGSIZE.
    pub info: u32,
    /// SO_EE_OFFENDER: who told us.
    pub offender: Ipv4Addr,
    /// The payload of our datagram as far as it was quoted.
    pub data: Vec<u8>,
}

/// How a system call ended, if it did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It returns this.
    Done(Ret),
    /// It would block: call again when the process was woken, or answer for it when its time is out.
    Wait,
    /// It goes on once what it sent was received ([`Spaces::go_on`]); then [`super::cx::Cpu`] tells how it ended.
    Later,
}

/// Carries out a system call on sockets for process `who` in namespace `ns`.
pub fn call(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, who: Current, call: &Call) -> Outcome {
    let ret = socket::call(spaces.enter(cx, ns), cx, who, call);
    if let Call::Socket(SocketKind::Conntrack(_)) = call {
        spaces.listen(ns);
    }
    ret
}

/// How long `call` may wait in nanoseconds, by SO_RCVTIMEO and SO_LINGER; zero waits for ever.
pub fn timeout_ns(spaces: &Spaces, ns: NsId, call: &Call) -> u64 {
    socket::timeout_ns(spaces.get(ns), call)
}

/// What `call` returns when a signal ends its wait; none if it is to be made once more, and will not wait then.
pub fn interrupted(spaces: &mut Spaces, ns: NsId, call: &Call) -> Option<Ret> {
    socket::interrupted(spaces.get_mut(ns), call)
}

/// close(2) for all sockets of a process that has ended.
pub fn close_all(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, pid: Pid) {
    socket::close_all(spaces.enter(cx, ns), cx, pid);
}
