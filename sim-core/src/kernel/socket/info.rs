//! Mirrors net/ipv4/udp_diag.c and net/ipv4/raw_diag.c: what SOCK_DIAG_BY_FAMILY tells of sockets without connections.

use super::Socket;
use crate::base::Pid;
use crate::kernel::netns::NetNs;
use crate::kernel::syscall::{Fd, SocketKind};
use std::net::{Ipv4Addr, SocketAddrV4};

/// struct inet_diag_msg of a UDP or raw socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatagramInfo {
    /// What it is.
    pub kind: SocketKind,
    /// The own end; the port of a raw socket is its protocol.
    pub local: SocketAddrV4,
    /// The other end, if it is connected.
    pub remote: Option<SocketAddrV4>,
    /// idiag_rqueue: the truesize of what nobody has read.
    pub recv_q: u64,
    /// The process that has it.
    pub owner: Pid,
    /// Its descriptor in that process.
    pub fd: Fd,
}

/// udp_dump and raw_diag_dump: the UDP sockets that have a port, and the raw ones, by their own ends.
///
/// Differs: Linux lists them in the order of its hash tables.
pub(in crate::kernel) fn list(ns: &NetNs) -> Vec<DatagramInfo> {
    let mut all: Vec<_> = ns.sockets.open.iter().filter_map(|(fd, s)| info(*fd, s)).collect();
    all.sort_by_key(|i| (i.local.port(), *i.local.ip(), i.fd));
    all
}

fn info(fd: Fd, s: &Socket) -> Option<DatagramInfo> {
    let (port, remote_port) = match s.kind {
        SocketKind::Udp if s.udp.port != 0 => (s.udp.port, s.udp.remote_port),
        SocketKind::Raw { protocol } => (protocol.into(), 0),
        _ => return None,
    };
    Some(DatagramInfo {
        kind: s.kind,
        local: SocketAddrV4::new(s.local.unwrap_or(Ipv4Addr::UNSPECIFIED), port),
        remote: s.remote.map(|addr| SocketAddrV4::new(addr, remote_port)),
        recv_q: s.queued,
        owner: s.owner,
        fd,
    })
}
