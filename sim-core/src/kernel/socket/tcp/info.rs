//! Mirrors net/ipv4/tcp_diag.c and net/ipv4/inet_diag.c: what SOCK_DIAG_BY_FAMILY tells of sockets, which ss(8) prints.

use super::data::TCP_DELACK_MAX;
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

/// INET_DIAG_INFO (struct tcp_info) with INET_DIAG_CONG: how a connection is doing. Of a listening socket only
/// `congestion`, `cwnd`, `reordering` and `unacked` are told; the rest is zero.
///
/// Differs: what is not counted (segments, bytes sent and received, rates, busy times) is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags of the kernel")]
pub struct TcpMetrics {
    /// The name of the congestion control.
    pub congestion: &'static str,
    /// TCPI_OPT_TIMESTAMPS
    pub timestamps: bool,
    /// TCPI_OPT_SACK
    pub sack: bool,
    /// TCPI_OPT_ECN
    pub ecn: bool,
    /// TCPI_OPT_ECN_SEEN
    pub ecn_seen: bool,
    /// TCPI_OPT_WSCALE: the shifts of the peer's window and of the own one.
    pub wscale: Option<(u8, u8)>,
    /// tcpi_backoff
    pub backoff: u32,
    /// tcpi_rto, in jiffies.
    pub rto: u64,
    /// tcpi_ato, in jiffies.
    pub ato: u64,
    /// tcpi_rtt, in microseconds.
    pub rtt_us: u32,
    /// tcpi_rttvar, in microseconds.
    pub rttvar_us: u32,
    /// tcpi_snd_mss
    pub mss: u32,
    /// tcpi_pmtu
    pub pmtu: u32,
    /// tcpi_rcv_mss
    pub rcv_mss: u32,
    /// tcpi_advmss
    pub advmss: u32,
    /// tcpi_snd_cwnd
    pub cwnd: u32,
    /// tcpi_snd_ssthresh
    pub ssthresh: u32,
    /// tcpi_bytes_acked
    pub bytes_acked: u64,
    /// The jiffies at which data was sent last (tcpi_last_data_sent).
    pub data_sent_at: u64,
    /// The jiffies at which data came last (tcpi_last_data_recv).
    pub data_received_at: u64,
    /// The jiffies at which an ACK came last (tcpi_last_ack_recv).
    pub ack_received_at: u64,
    /// tcpi_delivered
    pub delivered: u32,
    /// tcpi_unacked; of a listening socket the connections that wait to be accepted.
    pub unacked: u32,
    /// tcpi_retrans: segments that were sent again and are not acknowledged.
    pub retrans: u32,
    /// tcpi_total_retrans
    pub total_retrans: u32,
    /// tcpi_lost
    pub lost: u32,
    /// tcpi_sacked
    pub sacked: u32,
    /// tcpi_reordering
    pub reordering: u32,
    /// tcpi_reord_seen
    pub reord_seen: u32,
    /// tcpi_rcv_rtt, in microseconds.
    pub rcv_rtt_us: u64,
    /// tcpi_rcv_space
    pub rcv_space: u32,
    /// tcpi_rcv_ssthresh
    pub rcv_ssthresh: u32,
    /// tcpi_notsent_bytes
    pub not_sent: u32,
    /// tcpi_min_rtt, in microseconds; none while nothing was measured.
    pub min_rtt_us: Option<u32>,
    /// tcpi_snd_wnd
    pub snd_wnd: u32,
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
    /// INET_DIAG_INFO; none of requests and minisockets.
    pub metrics: Option<TcpMetrics>,
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
        metrics: None,
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
        metrics: Some(metrics(sk)),
        mem: SkMem { rmem: sk.rmem, rcvbuf: sk.rcvbuf, wmem: sk.wmem, sndbuf: sk.sndbuf },
        retrans: match sk.xmit.what {
            Some(Xmit::Probe0) => sk.probes_out,
            _ => sk.retransmits,
        },
        owner: sk.fd.map(|_| sk.owner),
        fd: sk.fd,
    }
}

/// tcp_get_info
fn metrics(sk: &Sock) -> TcpMetrics {
    let common = TcpMetrics {
        congestion: sk.ca.algorithm().name(),
        cwnd: sk.snd_cwnd,
        reordering: sk.reordering,
        ..TcpMetrics::default()
    };
    if let Some(listen) = sk.listen.as_deref() {
        return TcpMetrics { unacked: listen.queue.len() as u32, ..common };
    }
    let best = sk.rtt_min.best();
    TcpMetrics {
        timestamps: sk.rx_opt.tstamp_ok,
        sack: sk.rx_opt.sack_ok,
        ecn: sk.ecn.is_ok(),
        ecn_seen: sk.ecn.is_seen(),
        wscale: sk.rx_opt.wscale_ok.then_some((sk.rx_opt.snd_wscale, sk.rx_opt.rcv_wscale)),
        backoff: sk.backoff,
        rto: sk.rto,
        ato: sk.ack.ato.min(TCP_DELACK_MAX),
        rtt_us: sk.srtt_us >> 3,
        rttvar_us: sk.mdev_us >> 2,
        mss: sk.mss_cache,
        pmtu: sk.pmtu_cookie,
        rcv_mss: sk.ack.rcv_mss,
        advmss: sk.advmss,
        ssthresh: sk.snd_ssthresh,
        bytes_acked: sk.bytes_acked,
        data_sent_at: sk.lsndtime,
        data_received_at: sk.ack.lrcvtime,
        ack_received_at: sk.rcv_tstamp,
        delivered: sk.delivered,
        unacked: sk.packets_out,
        retrans: sk.retrans_out,
        total_retrans: sk.total_retrans,
        lost: sk.lost_out,
        sacked: sk.sacked_out,
        reord_seen: sk.reord_seen,
        rcv_rtt_us: sk.rcv_rtt_us >> 3,
        rcv_space: sk.rcvq_space,
        rcv_ssthresh: sk.rcv_ssthresh,
        not_sent: (sk.write_seq.wrapping_sub(sk.snd_nxt) as i32).max(0) as u32,
        min_rtt_us: (best != u32::MAX).then_some(best),
        snd_wnd: sk.snd_wnd,
        ..common
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
