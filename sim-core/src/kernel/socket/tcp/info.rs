//! Mirrors net/ipv4/tcp_diag.c and net/ipv4/inet_diag.c: what SOCK_DIAG_BY_FAMILY tells of sockets, which ss(8) prints.

use super::sock::{Sock, State};
use super::timer::Xmit;
use super::timewait::Substate;
use super::{Entry, Tuple};
use crate::base::Pid;
use crate::kernel::netns::NetNs;
use crate::kernel::syscall::Fd;
use std::fmt;
use std::net::SocketAddrV4;

/// idiag_state: enum of net/tcp_states.h, in its order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "RFC 9293 section 3.3.2")]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl fmt::Display for TcpState {
    /// As ss(8) names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TcpState::Established => "ESTAB",
            TcpState::SynSent => "SYN-SENT",
            TcpState::SynRecv => "SYN-RECV",
            TcpState::FinWait1 => "FIN-WAIT-1",
            TcpState::FinWait2 => "FIN-WAIT-2",
            TcpState::TimeWait => "TIME-WAIT",
            TcpState::Close => "UNCONN",
            TcpState::CloseWait => "CLOSE-WAIT",
            TcpState::LastAck => "LAST-ACK",
            TcpState::Listen => "LISTEN",
            TcpState::Closing => "CLOSING",
        })
    }
}

/// idiag_timer: which timer is running.
///
/// Differs: that of keepalive and of FIN_WAIT_2 is not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpTimer {
    /// 1: something is not acknowledged; ss(8) prints `on`.
    Retransmit,
    /// 3: of a minisocket.
    TimeWait,
    /// 4: zero-window probes; ss(8) prints `persist`.
    Probe0,
}

/// INET_DIAG_SKMEMINFO, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SkMem {
    /// sk_rmem_alloc: what the receive queues hold.
    pub rmem: u64,
    /// sk_rcvbuf
    pub rcvbuf: u64,
    /// sk_wmem_queued: what the send queues hold.
    pub wmem: u64,
    /// sk_sndbuf
    pub sndbuf: u64,
}

/// struct inet_diag_msg: a socket, request or minisocket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpInfo {
    /// idiag_state
    pub state: TcpState,
    /// The own end; port zero while there is none.
    pub local: SocketAddrV4,
    /// The other end; unspecified while there is none.
    pub remote: SocketAddrV4,
    /// idiag_rqueue: bytes that nobody has read. Of a listening socket, connections that wait to be accepted.
    pub recv_q: u32,
    /// idiag_wqueue: bytes that were not acknowledged. Of a listening socket, its backlog.
    pub send_q: u32,
    /// Which timer is running, and the jiffies at which it is due.
    pub timer: Option<(TcpTimer, u64)>,
    /// idiag_retrans: how often what the timer is about was sent again.
    pub retrans: u32,
    /// INET_DIAG_SKMEMINFO; all zero of requests and minisockets.
    pub mem: SkMem,
    /// The process that has it; none of requests, minisockets, orphans, and of what nobody has accepted yet.
    pub owner: Option<Pid>,
    /// Its descriptor in that process.
    pub fd: Option<Fd>,
}

/// inet_diag_dump_icsk: the sockets of a namespace; those that listen first, then by their ends.
///
/// Differs: Linux lists them in the order of its hash tables, and none that is neither bound nor connected.
pub fn list(ns: &NetNs) -> Vec<TcpInfo> {
    let mut all: Vec<_> = ns.sockets.tcp.places.iter().filter_map(|p| p.entry.as_ref()).map(entry).collect();
    all.sort_by_key(|i| (i.state != TcpState::Listen, i.local, i.remote));
    all
}

fn entry(entry: &Entry) -> TcpInfo {
    match entry {
        Entry::Sock(sk) => full(sk),
        Entry::Request(req) => {
            let timer = Some((TcpTimer::Retransmit, req.timer.expires));
            TcpInfo { timer, retrans: req.num_retrans, ..mini(TcpState::SynRecv, &req.tuple) }
        }
        Entry::TimeWait(tw) => {
            let state = if tw.substate == Substate::FinWait2 { TcpState::FinWait2 } else { TcpState::TimeWait };
            TcpInfo { timer: Some((TcpTimer::TimeWait, tw.timer.expires)), ..mini(state, &tw.tuple) }
        }
    }
}

/// inet_twsk_diag_fill and inet_req_diag_fill
fn mini(state: TcpState, tuple: &Tuple) -> TcpInfo {
    TcpInfo {
        state,
        local: SocketAddrV4::new(tuple.local, tuple.local_port),
        remote: SocketAddrV4::new(tuple.remote, tuple.remote_port),
        recv_q: 0,
        send_q: 0,
        timer: None,
        retrans: 0,
        mem: SkMem::default(),
        owner: None,
        fd: None,
    }
}

/// inet_sk_diag_fill with tcp_diag_get_info
fn full(sk: &Sock) -> TcpInfo {
    let (recv_q, send_q) = match sk.listen.as_deref() {
        Some(listen) => (listen.queue.len() as u32, listen.backlog),
        None if sk.state == State::Close => (0, 0),
        None => (sk.rcv_nxt.wrapping_sub(sk.copied_seq), sk.write_seq.wrapping_sub(sk.snd_una)),
    };
    let timer = sk.xmit.what.map(|what| match what {
        Xmit::Retransmit | Xmit::LossProbe | Xmit::ReoTimeout => TcpTimer::Retransmit,
        Xmit::Probe0 => TcpTimer::Probe0,
    });
    TcpInfo {
        state: state(sk.state),
        local: sk.name(),
        remote: SocketAddrV4::new(sk.ip.daddr, sk.dport),
        recv_q,
        send_q,
        timer: timer.map(|timer| (timer, sk.xmit.timer.expires)),
        mem: SkMem { rmem: sk.rmem, rcvbuf: sk.rcvbuf, wmem: sk.wmem, sndbuf: sk.sndbuf },
        retrans: match sk.xmit.what {
            Some(Xmit::Probe0) => sk.probes_out,
            _ => sk.retransmits,
        },
        owner: sk.fd.map(|_| sk.owner),
        fd: sk.fd,
    }
}

fn state(state: State) -> TcpState {
    match state {
        State::Established => TcpState::Established,
        State::SynSent => TcpState::SynSent,
        State::SynRecv => TcpState::SynRecv,
        State::FinWait1 => TcpState::FinWait1,
        State::FinWait2 => TcpState::FinWait2,
        State::Close => TcpState::Close,
        State::CloseWait => TcpState::CloseWait,
        State::LastAck => TcpState::LastAck,
        State::Listen => TcpState::Listen,
        State::Closing => TcpState::Closing,
    }
}
