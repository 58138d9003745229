//! The sockets of a namespace as ss(8) and netstat(8) list them.

use super::View;
use crate::base::time::MS;
use crate::kernel::show::{self as kernel, TcpMetrics, TcpState, TcpTimer};
use crate::kernel::syscall::{Fd, SocketKind};
use crate::kernel::timer::TICK_NS;
use crate::user::nc::services;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The protocols, in the order in which ss(8) asks for their sockets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// Raw IPv4.
    Raw,
    /// UDP
    Udp,
    /// TCP
    Tcp,
}

/// A socket, a request or a minisocket.
pub(super) struct Socket {
    pub protocol: Protocol,
    pub state: TcpState,
    /// The port of a raw socket is its protocol.
    pub local: SocketAddrV4,
    pub remote: SocketAddrV4,
    pub recv_q: u64,
    pub send_q: u64,
    pub process: Option<Process>,
    pub timer: Option<Timer>,
    /// How a connection is doing, and the time in jiffies.
    pub metrics: Option<(TcpMetrics, u64)>,
}

/// Who has a socket.
pub(super) struct Process {
    pub comm: String,
    /// What netstat calls it.
    pub title: String,
    pub pid: u32,
    pub fd: u32,
}

/// The timer that is running.
pub(super) struct Timer {
    pub kind: TcpTimer,
    pub left_ms: u64,
    pub retrans: u32,
}

/// All sockets that have a port, by protocol.
pub(super) fn sockets(view: View<'_>) -> Vec<Socket> {
    let numbers = kernel::descriptors(view.spaces, view.ns);
    let process = |pid, fd: Option<Fd>| process(view, &numbers, pid, fd);
    let datagram = |s: kernel::DatagramInfo| Socket {
        protocol: if s.kind == SocketKind::Udp { Protocol::Udp } else { Protocol::Raw },
        state: if s.remote.is_some() { TcpState::Established } else { TcpState::Close },
        local: s.local,
        remote: s.remote.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        recv_q: s.recv_q,
        send_q: 0,
        process: process(Some(s.owner), Some(s.fd)),
        timer: None,
        metrics: None,
    };
    let now = kernel::jiffies(view.spaces, view.ns, view.now);
    let stream = |s: kernel::TcpInfo| Socket {
        protocol: Protocol::Tcp,
        state: s.state,
        local: s.local,
        remote: s.remote,
        recv_q: s.recv_q.into(),
        send_q: s.send_q.into(),
        process: process(s.owner, s.fd),
        timer: s.timer.map(|(kind, at)| Timer {
            kind,
            left_ms: at.saturating_sub(now) * (TICK_NS / MS),
            retrans: s.retrans,
        }),
        metrics: s.metrics.map(|m| (m, now)),
    };
    let streams = kernel::tcp(view.spaces, view.ns).into_iter();
    let streams = streams.filter(|s| s.state != TcpState::Close || s.local.port() != 0);
    let mut all: Vec<_> = kernel::datagram_sockets(view.spaces, view.ns).into_iter().map(datagram).collect();
    all.extend(streams.map(stream));
    all.sort_by_key(|s| s.protocol);
    all
}

fn process(
    view: View<'_>,
    numbers: &BTreeMap<Fd, u32>,
    pid: Option<crate::base::Pid>,
    fd: Option<Fd>,
) -> Option<Process> {
    let pid = pid?;
    let task = view.tasks.get(&pid)?;
    let (comm, title) = (task.comm().to_owned(), task.title().to_owned());
    Some(Process { comm, title, pid: pid.0, fd: *numbers.get(&fd?)? })
}

/// A port by its number or by its name of services(5); a raw socket's is its protocol.
pub(super) fn port(protocol: Protocol, port: u16, numeric: bool) -> String {
    let name = match protocol {
        _ if port == 0 => Some("*"),
        _ if numeric => None,
        Protocol::Raw => match port {
            1 => Some("icmp"),
            _ => None,
        },
        _ => services::by_port(port, protocol == Protocol::Udp),
    };
    name.map_or_else(|| port.to_string(), str::to_owned)
}
