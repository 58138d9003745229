//! Mirrors include/linux/tcp.h, include/net/inet_connection_sock.h and tcp_init_sock of net/ipv4/tcp.c: what a
//! connection keeps.

use super::congestion::Congestion;
use super::ecn::Ecn;
use super::listen::Listen;
use super::recovery::Rack;
use super::timer::{Pending, XmitTimer};
use super::transmit::Behalf;
use super::user::Work;
use super::{SockId, Tuple};
use crate::base::{IfIndex, Pid};
use crate::kernel::cred::{Cred, Current};
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, Layout, Sk};
use crate::kernel::netns::NetNs;
use crate::kernel::profile::Profile;
use crate::kernel::syscall::{Fd, PmtuDisc, QueuedError};
use crate::kernel::timer::HZ;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

/// TCP_INIT_CWND
pub(super) const TCP_INIT_CWND: u32 = 10;
/// TCP_INFINITE_SSTHRESH
pub(super) const TCP_INFINITE_SSTHRESH: u32 = 0x7fff_ffff;
/// TCP_TIMEOUT_INIT in ticks (RFC 6298 section 2.1)
pub(super) const TCP_TIMEOUT_INIT: u64 = HZ;
/// TCP_MSS_DEFAULT (RFC 9293 section 3.7.1)
pub(super) const TCP_MSS_DEFAULT: u32 = 536;
/// TCP_MIN_MSS
pub(super) const TCP_MIN_MSS: u32 = 88;
/// TCP_DEFAULT_SCALING_RATIO: half of the memory is for payload until segments tell.
const TCP_DEFAULT_SCALING_RATIO: u64 = 128;

/// enum of net/tcp_states.h, without those that have a structure of their own (requests and minisockets).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "RFC 9293 section 3.3.2")]
pub(super) enum State {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    #[default]
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl State {
    /// The connection is set up: tcp_rcv_state_process has passed SYN_RECV.
    pub fn is_synchronized(self) -> bool {
        !matches!(self, State::Close | State::Listen | State::SynSent | State::SynRecv)
    }

    /// TCPF_ESTABLISHED | TCPF_CLOSE_WAIT: data may be sent.
    pub fn may_send(self) -> bool {
        matches!(self, State::Established | State::CloseWait)
    }
}

/// What setsockopt(2) has set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// SO_REUSEADDR
    pub reuse: bool,
    /// SO_LINGER in seconds.
    pub linger: Option<u32>,
    /// SO_KEEPALIVE
    pub keepalive: bool,
    pub keepidle_s: Option<u32>,
    pub keepintvl_s: Option<u32>,
    pub keepcnt: Option<u8>,
    /// TCP_NODELAY
    pub nodelay: bool,
    /// TCP_CORK
    pub cork: bool,
    /// TCP_MAXSEG
    pub mss: u16,
    /// TCP_USER_TIMEOUT in milliseconds.
    pub user_timeout_ms: u32,
    /// IP_RECVERR
    pub recv_err: bool,
    /// SOCK_RCVBUF_LOCK and SOCK_SNDBUF_LOCK
    pub rcvbuf_locked: bool,
    pub sndbuf_locked: bool,
    /// IP_TTL and IP_TOS
    pub ttl: Option<u8>,
    pub tos: u8,
    /// IP_MTU_DISCOVER
    pub pmtu: PmtuDisc,
    /// SO_MARK
    pub mark: u32,
    /// IP_TRANSPARENT
    pub transparent: bool,
}

/// struct tcp_options_received: what both have agreed on, and the timestamp to echo.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RxOpt {
    pub tstamp_ok: bool,
    pub sack_ok: bool,
    pub wscale_ok: bool,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    /// The peer's MSS.
    pub mss_clamp: u32,
    pub ts_recent: u32,
    /// When it was taken, in seconds.
    pub ts_recent_stamp: u64,
    /// The last segment's own.
    pub saw_tstamp: bool,
    pub rcv_tsval: u32,
    pub rcv_tsecr: u32,
}

/// icsk_ack: delayed ACKs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ack {
    /// ICSK_ACK_SCHED
    pub scheduled: bool,
    /// ICSK_ACK_TIMER
    pub timer_pending: bool,
    /// ICSK_ACK_PUSHED and ICSK_ACK_PUSHED2
    pub pushed: bool,
    pub pushed2: bool,
    /// ICSK_ACK_NOW
    pub now: bool,
    /// ICSK_ACK_NOMEM
    pub nomem: bool,
    /// So many segments are acknowledged at once.
    pub quick: u32,
    pub pingpong: u8,
    /// Ticks.
    pub ato: u64,
    /// When data came last, in ticks.
    pub lrcvtime: u64,
    pub last_seg_size: u32,
    pub rcv_mss: u32,
    /// icsk_delack_timer
    pub timer: Pending,
}

/// A segment in the receive queue or out of order.
#[derive(Clone, Debug, Default)]
pub(super) struct RxSkb {
    pub seq: u32,
    pub end_seq: u32,
    pub fin: bool,
    pub data: Vec<u8>,
    pub truesize: u32,
    /// Of its buffer: of the first one, if several were put together.
    pub layout: Layout,
    /// Where the segment that it arrived with ended.
    pub own_end: u32,
}

/// A piece of the stream to be sent, or sent and not acknowledged: its bytes are in [`Sock::buf`].
#[derive(Clone, Copy, Debug)]
pub(super) struct TxSkb {
    pub seq: u32,
    /// With SYN and FIN, which count one each.
    pub end_seq: u32,
    pub syn: bool,
    pub fin: bool,
    pub push: bool,
    /// TCPCB_SACKED_ACKED, TCPCB_SACKED_RETRANS, TCPCB_LOST, TCPCB_EVER_RETRANS
    pub sacked: bool,
    pub retrans: bool,
    pub lost: bool,
    pub ever_retrans: bool,
    /// When it was sent last, in microseconds.
    pub sent_us: u64,
    /// MSS at which it is cut into segments.
    pub mss: u32,
    /// tp->delivered when it was sent last.
    pub delivered: u32,
    pub truesize: u32,
    /// The frame in which it was sent last.
    pub frame: Option<crate::base::FrameId>,
}

impl TxSkb {
    /// PSH: it ends what a program wrote, or since Linux 5.4 has several segments; then the last of them has it.
    pub fn pushes(&self, profile: Profile) -> bool {
        self.push || profile == Profile::Linux618 && self.len() > self.mss
    }

    /// Bytes of payload.
    pub fn len(&self) -> u32 {
        self.end_seq.wrapping_sub(self.seq) - u32::from(self.syn) - u32::from(self.fin)
    }

    /// tcp_skb_pcount: how many segments it makes.
    pub fn pcount(&self) -> u32 {
        self.len().div_ceil(self.mss.max(1)).max(1)
    }
}

/// The addresses of inet_sock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// inet_rcv_saddr; unspecified for any.
    pub rcv_saddr: Ipv4Addr,
    pub saddr: Ipv4Addr,
    pub daddr: Ipv4Addr,
}

impl Default for Addresses {
    fn default() -> Self {
        let any = Ipv4Addr::UNSPECIFIED;
        Addresses { rcv_saddr: any, saddr: any, daddr: any }
    }
}

/// struct tcp_sock with its inet_connection_sock, inet_sock and sock.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Sock {
    pub(super) id: SockId,
    pub(super) profile: Profile,
    /// None once no program has it (SOCK_DEAD), and as long as none has accepted it.
    pub(super) fd: Option<Fd>,
    /// close(2) was called; it may still wait.
    pub(super) closed: bool,
    /// No program has it any more, in contrast to not yet.
    pub(super) dead: bool,
    pub(super) owner: Pid,
    /// f_cred of its file.
    pub(super) cred: Cred,
    pub(super) state: State,
    pub(super) opt: Options,

    pub(super) ip: Addresses,
    pub(super) sport: u16,
    pub(super) dport: u16,
    /// SOCK_BINDADDR_LOCK and SOCK_BINDPORT_LOCK
    pub(super) bound: bool,
    /// It holds its port.
    pub(super) in_ports: bool,
    /// It stands in the table of connections.
    pub(super) hashed: bool,
    pub(super) dev: Option<IfIndex>,
    pub(super) inet_id: u16,
    /// SS_CONNECTING
    pub(super) connecting: bool,
    pub(super) err: Option<Errno>,
    pub(super) err_soft: Option<Errno>,
    /// sk_error_queue: ICMP errors for MSG_ERRQUEUE.
    pub(super) errors: VecDeque<QueuedError>,
    /// RCV_SHUTDOWN, SEND_SHUTDOWN
    pub(super) shut_read: bool,
    pub(super) shut_write: bool,
    /// SOCK_DONE
    pub(super) done: bool,
    /// sk_txhash: which of several ways the packets take.
    pub(super) txhash: u32,
    /// sk_dst_pending_confirm
    pub(super) confirm: bool,
    /// SOCK_NOSPACE
    pub(super) nospace: bool,

    /// sock_owned_by_user: a system call works on it.
    pub(super) owned: bool,
    pub(super) backlog: VecDeque<(IfIndex, Frame)>,
    /// sk_backlog.len: the memory of all that came while the lock was held. It counts until all of it was taken in.
    pub(super) backlog_len: u64,
    /// TCP_ACK_DEFERRED and the deferred timers, for tcp_release_cb.
    pub(super) ack_deferred: bool,
    pub(super) write_timer_deferred: bool,
    pub(super) delack_timer_deferred: bool,
    /// TCP_MTU_REDUCED_DEFERRED: the path MTU that was told of meanwhile.
    pub(super) mtu_reduced: Option<u32>,
    /// What the system call has still to do.
    pub(super) work: Option<Work>,
    /// More may be sent because of a segment of the backlog.
    pub(super) more: bool,
    /// So many bytes of the call that waits are queued already.
    pub(super) sent: usize,

    // What came.
    pub(super) rcv_nxt: u32,
    pub(super) copied_seq: u32,
    pub(super) rcv_wup: u32,
    pub(super) rcv_wnd: u32,
    pub(super) rcv_ssthresh: u32,
    pub(super) window_clamp: u32,
    pub(super) rcvbuf: u64,
    /// sk_rmem_alloc
    pub(super) rmem: u64,
    /// 256ths of the memory that are payload.
    pub(super) scaling_ratio: u64,
    pub(super) queue: VecDeque<RxSkb>,
    /// Bytes of the first of the queue that were read.
    pub(super) ofo: VecDeque<RxSkb>,
    pub(super) ack: Ack,
    pub(super) dsack: Option<(u32, u32)>,
    pub(super) selective_acks: Vec<(u32, u32)>,
    pub(super) rcvq_space: u32,
    pub(super) rcvq_seq: u32,
    pub(super) rcvq_time_us: u64,
    pub(super) rcv_rtt_us: u64,
    pub(super) rcv_rtt_seq: u32,
    pub(super) rcv_rtt_time_us: u64,
    pub(super) rcv_rtt_last_tsecr: u32,
    pub(super) compressed_ack: u32,
    pub(super) compressed_ack_rcv_nxt: u32,
    pub(super) dup_ack_counter: u32,
    pub(super) last_oow_ack: Option<u64>,
    pub(super) rx_opt: RxOpt,
    pub(super) tsoffset: u32,

    // What is sent.
    pub(super) snd_una: u32,
    pub(super) snd_nxt: u32,
    pub(super) snd_wl1: u32,
    pub(super) snd_wnd: u32,
    pub(super) max_window: u32,
    pub(super) write_seq: u32,
    pub(super) pushed_seq: u32,
    pub(super) snd_sml: u32,
    /// The bytes that are not acknowledged, from `buf_seq` on; behind them those that a call has still to queue.
    pub(super) buf: VecDeque<u8>,
    pub(super) buf_seq: u32,
    /// Sent and not acknowledged (tcp_rtx_queue), and not sent yet (sk_write_queue).
    pub(super) rtx: VecDeque<TxSkb>,
    pub(super) wq: VecDeque<TxSkb>,
    /// sk_wmem_queued
    pub(super) wmem: u64,
    pub(super) sndbuf: u64,
    pub(super) advmss: u32,
    pub(super) mss_cache: u32,
    pub(super) pmtu_cookie: u32,
    pub(super) header_len: u32,
    pub(super) lsndtime: u64,
    /// tcp_wstamp_ns: when data was sent last, in microseconds.
    pub(super) wstamp_us: u64,
    /// tcp_clock_cache while tcp_write_xmit goes from piece to piece, in microseconds.
    pub(super) burst_us: Option<u64>,
    pub(super) fin_queued: bool,

    // Round trips.
    pub(super) srtt_us: u32,
    pub(super) mdev_us: u32,
    pub(super) mdev_max_us: u32,
    pub(super) rttvar_us: u32,
    pub(super) rtt_seq: u32,
    /// Ticks.
    pub(super) rto: u64,
    /// The least round trip of the last five minutes, in microseconds, and when it was.
    pub(super) rtt_min: MinRtt,

    // Congestion and loss.
    pub(super) snd_cwnd: u32,
    pub(super) snd_cwnd_cnt: u32,
    pub(super) snd_cwnd_used: u32,
    pub(super) snd_cwnd_stamp: u64,
    pub(super) snd_ssthresh: u32,
    pub(super) prior_cwnd: u32,
    pub(super) prior_ssthresh: u32,
    pub(super) prr_delivered: u32,
    pub(super) prr_out: u32,
    pub(super) packets_out: u32,
    pub(super) sacked_out: u32,
    pub(super) lost_out: u32,
    pub(super) retrans_out: u32,
    pub(super) max_packets_out: u32,
    pub(super) cwnd_usage_seq: u32,
    pub(super) is_cwnd_limited: bool,
    pub(super) delivered: u32,
    pub(super) bytes_acked: u64,
    pub(super) reordering: u32,
    pub(super) reord_seen: u32,
    pub(super) ca_state: CaState,
    pub(super) ca: Congestion,
    pub(super) ecn: Ecn,
    pub(super) high_seq: u32,
    pub(super) undo_marker: u32,
    /// -1 in Linux is none here.
    pub(super) undo_retrans: Option<u32>,
    /// When the first retransmission of an episode was sent, as a timestamp.
    pub(super) retrans_stamp: u32,
    pub(super) total_retrans: u32,
    pub(super) frto: bool,
    pub(super) tlp_high_seq: u32,
    pub(super) tlp_retrans: bool,
    pub(super) is_sack_reneg: bool,
    pub(super) rack: Rack,

    // Timers.
    pub(super) xmit: XmitTimer,
    pub(super) retransmits: u32,
    pub(super) backoff: u32,
    pub(super) probes_out: u32,
    pub(super) probes_tstamp: u64,
    pub(super) keepalive_timer: Pending,
    /// When something came last, in ticks.
    pub(super) rcv_tstamp: u64,

    pub(super) listen: Option<Box<Listen>>,
    /// The listening socket in whose accept queue it stands.
    pub(super) parent: Option<SockId>,
}

/// enum tcp_ca_state
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[allow(missing_docs, reason = "the kernel's own names")]
pub(super) enum CaState {
    #[default]
    Open,
    Disorder,
    Cwr,
    Recovery,
    Loss,
}

/// struct minmax of rtt_min: the three best samples of a window (lib/win_minmax.c).
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRtt {
    samples: [(u64, u32); 3],
}

impl Default for MinRtt {
    fn default() -> Self {
        MinRtt { samples: [(0, u32::MAX); 3] }
    }
}

impl MinRtt {
    /// tcp_min_rtt
    pub fn best(&self) -> u32 {
        self.samples[0].1
    }

    /// minmax_running_min with a window of `window` ticks.
    pub fn update(&mut self, window: u64, now: u64, rtt_us: u32) {
        let s = &mut self.samples;
        let new = (now, rtt_us);
        if rtt_us <= s[0].1 || now - s[2].0 > window {
            *s = [new; 3];
            return;
        }
        if rtt_us <= s[1].1 {
            (s[1], s[2]) = (new, new);
        } else if rtt_us <= s[2].1 {
            s[2] = new;
        }
        // minmax_subwin_update
        let age = now - s[0].0;
        if age > window {
            *s = [s[1], s[2], new];
            if now - s[0].0 > window {
                *s = [s[1], s[2], new];
            }
        } else if s[1].0 == s[0].0 && age > window / 4 {
            (s[1], s[2]) = (new, new);
        } else if s[2].0 == s[1].0 && age > window / 2 {
            s[2] = new;
        }
    }
}

impl Sock {
    /// tcp_init_sock
    pub(super) fn new(ns: &NetNs, who: Current) -> Self {
        let sysctl = &ns.sockets.tcp.sysctl;
        Sock {
            profile: sysctl.profile,
            owner: who.pid,
            cred: who.cred,
            rcvbuf: sysctl.rmem[1] as u64,
            scaling_ratio: TCP_DEFAULT_SCALING_RATIO,
            sndbuf: sysctl.wmem[1] as u64,
            mss_cache: TCP_MSS_DEFAULT,
            header_len: 20,
            mdev_us: (TCP_TIMEOUT_INIT * 1_000_000 / HZ) as u32,
            rto: TCP_TIMEOUT_INIT,
            snd_cwnd: TCP_INIT_CWND,
            snd_ssthresh: TCP_INFINITE_SSTHRESH,
            reordering: sysctl.reordering as u32,
            ca: Congestion::new(sysctl.congestion_control),
            opt: Options { pmtu: PmtuDisc::of_namespace(ns), ..Options::default() },
            ..Sock::default()
        }
    }

    /// Becomes `new`, of which nothing is queued yet, and keeps the memory of its own queues.
    pub(super) fn renew(&mut self, new: Sock) {
        let Sock { backlog, queue, ofo, rtx, wq, .. } = std::mem::replace(self, new);
        (self.backlog, self.queue, self.ofo) = (emptied(backlog), emptied(queue), emptied(ofo));
        (self.rtx, self.wq) = (emptied(rtx), emptied(wq));
    }

    pub(super) fn tuple(&self) -> Tuple {
        Tuple { local: self.ip.saddr, local_port: self.sport, remote: self.ip.daddr, remote_port: self.dport }
    }

    /// getsockname(2)
    pub(super) fn name(&self) -> SocketAddrV4 {
        let addr = if self.ip.saddr.is_unspecified() { self.ip.rcv_saddr } else { self.ip.saddr };
        SocketAddrV4::new(addr, self.sport)
    }

    /// Nothing is left of it: it is closed, and no program has it or will have it.
    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Close && self.fd.is_none() && (self.dead || self.parent.is_none()) && !self.owned
    }

    /// skb->sk of what it sends: nobody's while no program has it.
    pub(super) fn sk(&self) -> Sk {
        if self.fd.is_some() { Sk::File(self.cred) } else { Sk::None }
    }

    /// What answers take from it that are sent for it.
    pub(super) fn behalf(&self) -> Behalf {
        Behalf { txhash: self.txhash, sk: self.sk(), mark: self.opt.mark, any_src: self.opt.transparent }
    }

    /// tcp_packets_in_flight
    pub(super) fn in_flight(&self) -> u32 {
        (self.packets_out + self.retrans_out).saturating_sub(self.sacked_out + self.lost_out)
    }

    /// tcp_wnd_end
    pub(super) fn wnd_end(&self) -> u32 {
        self.snd_una.wrapping_add(self.snd_wnd)
    }

    /// tcp_current_ssthresh
    pub(super) fn current_ssthresh(&self) -> u32 {
        match self.ca_state {
            CaState::Cwr | CaState::Recovery => self.snd_ssthresh,
            _ => self.snd_ssthresh.max((self.snd_cwnd >> 1) + (self.snd_cwnd >> 2)),
        }
    }

    /// tcp_in_slow_start
    pub(super) fn in_slow_start(&self) -> bool {
        self.snd_cwnd < self.snd_ssthresh
    }

    /// tcp_in_cwnd_reduction
    pub(super) fn in_cwnd_reduction(&self) -> bool {
        matches!(self.ca_state, CaState::Cwr | CaState::Recovery)
    }

    /// inet_csk_in_pingpong_mode
    pub(super) fn in_pingpong(&self, ns: &NetNs) -> bool {
        i64::from(self.ack.pingpong) >= ns.sockets.tcp.sysctl.pingpong_thresh
    }

    /// sk_error_report and the like: the program may go on.
    pub(super) fn wake(&self, cx: &mut Cx<'_>) {
        if self.fd.is_some() {
            cx.wake(self.owner);
        }
    }

    /// The `len` bytes of the stream from `seq` on, which are still to be acknowledged.
    pub(super) fn unacked(&self, seq: u32, len: usize) -> [&[u8]; 2] {
        let at = seq.wrapping_sub(self.buf_seq) as usize;
        let (first, second) = self.buf.as_slices();
        let cut = first.len().saturating_sub(at).min(len);
        let skip = at.saturating_sub(first.len());
        [first.get(at..at + cut).unwrap_or_default(), second.get(skip..skip + len - cut).unwrap_or_default()]
    }
}

/// As many places of a queue are kept for another socket.
const MAX_KEPT: usize = 64;

/// The same queue, if it is short, without what is in it.
fn emptied<T>(mut queue: VecDeque<T>) -> VecDeque<T> {
    queue.clear();
    if queue.capacity() <= MAX_KEPT { queue } else { VecDeque::new() }
}

/// tcp_mstamp: microseconds.
pub(super) fn now_us(cx: &Cx<'_>) -> u64 {
    cx.now().0 / 1000
}

/// tcp_clock_ms: the clock of the timestamps option (RFC 7323 section 5.4).
pub(super) fn now_ms(cx: &Cx<'_>) -> u32 {
    (cx.now().0 / 1_000_000) as u32
}
