//! Mirrors net/ipv4/tcp_timer.c, and the timers of include/net/inet_connection_sock.h: what happens when nothing
//! happens. Read RFC 6298, RFC 9293 sections 3.8.3 and 3.8.4 and RFC 5482 before editing.

use super::connect::tx_hash;
use super::sock::{Sock, State, now_ms, now_us};
use super::transmit;
use super::{SockId, TimerOf, data, listen, recovery, rx, timewait, tx};
use crate::kernel::cx::{Cx, Timer};
use crate::kernel::errno::Errno;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::{HZ, TimerId, ms_to_jiffies, ns_to_jiffies};

/// TCP_TIMEOUT_MIN in ticks.
pub(super) const TCP_TIMEOUT_MIN: u64 = 2;
/// TCP_TIMEOUT_FALLBACK in ticks (RFC 6298 section 5.7).
pub(super) const TCP_TIMEOUT_FALLBACK: u64 = 3 * HZ;
/// TCP_RESOURCE_PROBE_INTERVAL in ticks.
const RESOURCE_PROBE_INTERVAL: u64 = HZ / 2;

/// Which timer of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timeout {
    /// icsk_retransmit_timer
    Write,
    /// icsk_delack_timer
    Delack,
    /// sk_timer
    Keepalive,
    /// compressed_ack_timer
    CompressedAck,
    /// rsk_timer of a request
    Request,
    /// tw_timer of a minisocket
    TimeWait,
}

/// icsk_pending: what the retransmission timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Xmit {
    /// ICSK_TIME_RETRANS
    Retransmit,
    /// ICSK_TIME_PROBE0
    Probe0,
    /// ICSK_TIME_LOSS_PROBE
    LossProbe,
    /// ICSK_TIME_REO_TIMEOUT
    ReoTimeout,
}

/// A timer on the wheel (struct timer_list).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    id: Option<TimerId>,
    /// When it is due, in ticks.
    pub expires: u64,
}

impl Pending {
    /// mod_timer
    pub fn set(&mut self, cx: &mut Cx<'_>, expires: u64, what: TimerOf) {
        if let Some(id) = self.id {
            if self.expires == expires && cx.cpu.timers.is_armed(id) {
                return;
            }
            cx.cpu.timers.cancel(id);
        }
        let now = cx.jiffies();
        self.id = Some(cx.cpu.timers.arm(now, expires, Timer::Tcp(what)));
        self.expires = expires;
    }

    /// timer_delete
    pub fn cancel(&mut self, cx: &mut Cx<'_>) {
        if let Some(id) = self.id.take() {
            cx.cpu.timers.cancel(id);
        }
    }
}

/// icsk_retransmit_timer with icsk_pending.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct XmitTimer {
    pub what: Option<Xmit>,
    pub timer: Pending,
}

impl XmitTimer {
    /// inet_csk_clear_xmit_timer: the timer runs on, and finds nothing to do.
    pub fn clear(&mut self) {
        self.what = None;
    }
}

/// tcp_rto_max in ticks.
pub(super) fn rto_max(ns: &NetNs) -> u64 {
    ms_to_jiffies(ns.sockets.tcp.sysctl.rto_max_ms as u64)
}

fn own(cx: &Cx<'_>, sk: &Sock, which: Timeout) -> TimerOf {
    TimerOf { ns: cx.ns, sock: sk.id, which }
}

/// inet_csk_reset_xmit_timer: in `when` ticks.
pub(super) fn reset_xmit(ns: &NetNs, cx: &mut Cx<'_>, sk: &mut Sock, what: Xmit, when: u64) {
    let expires = cx.jiffies() + when.min(rto_max(ns));
    sk.xmit.what = Some(what);
    let of = own(cx, sk, Timeout::Write);
    sk.xmit.timer.set(cx, expires, of);
}

/// The delayed ACK is due at tick `at`.
pub(super) fn reset_delack(cx: &mut Cx<'_>, sk: &mut Sock, at: u64) {
    let of = own(cx, sk, Timeout::Delack);
    sk.ack.timer.set(cx, at, of);
}

/// tcp_reset_keepalive_timer: in `after` ticks.
pub(super) fn reset_keepalive(_ns: &NetNs, cx: &mut Cx<'_>, sk: &mut Sock, after: u64) {
    let (at, of) = (cx.jiffies() + after, own(cx, sk, Timeout::Keepalive));
    sk.keepalive_timer.set(cx, at, of);
}

/// compressed_ack_timer, an hrtimer: in `delay_ns`.
pub(super) fn arm_compressed_ack(cx: &mut Cx<'_>, sk: &Sock, delay_ns: u64) {
    let of = own(cx, sk, Timeout::CompressedAck);
    let at = cx.now() + delay_ns;
    cx.cpu.arm_hrtimer(at, Timer::Tcp(of));
}

/// tcp_clear_xmit_timers
pub(super) fn clear_all(cx: &mut Cx<'_>, sk: &mut Sock) {
    sk.xmit.what = None;
    sk.xmit.timer.cancel(cx);
    sk.ack.timer.cancel(cx);
    (sk.ack.scheduled, sk.ack.timer_pending, sk.compressed_ack) = (false, false, 0);
    sk.keepalive_timer.cancel(cx);
}

/// A timer of TCP's fired.
pub(in crate::kernel) fn expire(ns: &mut NetNs, cx: &mut Cx<'_>, sock: SockId, which: Timeout) {
    match which {
        Timeout::Request => return listen::request_timer(ns, cx, sock),
        Timeout::TimeWait => return timewait::expire(ns, sock),
        _ => {}
    }
    let Some(mut sk) = ns.sockets.tcp.take(sock) else { return };
    match which {
        Timeout::Write if sk.owned => sk.write_timer_deferred = true,
        Timeout::Write => write_timer(ns, cx, &mut sk),
        Timeout::Delack if sk.owned => sk.delack_timer_deferred = true,
        Timeout::Delack => delack_timer(ns, cx, &mut sk),
        Timeout::CompressedAck if sk.owned => sk.delack_timer_deferred = true,
        Timeout::CompressedAck if sk.compressed_ack > 0 => transmit::send_ack(ns, cx, &mut sk),
        Timeout::Keepalive => keepalive_timer(ns, cx, &mut sk),
        _ => {}
    }
    ns.sockets.tcp.give_back(sk);
}

/// tcp_write_timer_handler
pub(super) fn write_timer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if matches!(sk.state, State::Close | State::Listen) {
        return;
    }
    let Some(what) = sk.xmit.what else { return };
    if sk.xmit.timer.expires > cx.jiffies() {
        let (at, of) = (sk.xmit.timer.expires, own(cx, sk, Timeout::Write));
        return sk.xmit.timer.set(cx, at, of);
    }
    match what {
        Xmit::ReoTimeout => recovery::rack_reo_timeout(ns, cx, sk),
        Xmit::LossProbe => tx::send_loss_probe(ns, cx, sk),
        Xmit::Retransmit => {
            sk.xmit.what = None;
            retransmit_timer(ns, cx, sk);
        }
        Xmit::Probe0 => {
            sk.xmit.what = None;
            probe_timer(ns, cx, sk);
        }
    }
}

/// tcp_delack_timer_handler
pub(super) fn delack_timer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if matches!(sk.state, State::Close | State::Listen) {
        return;
    }
    if sk.compressed_ack > 0 {
        return transmit::send_ack(ns, cx, sk);
    }
    if !sk.ack.timer_pending {
        return;
    }
    if sk.ack.timer.expires > cx.jiffies() {
        let at = sk.ack.timer.expires;
        return reset_delack(cx, sk, at);
    }
    sk.ack.timer_pending = false;
    if !sk.ack.scheduled {
        return;
    }
    if sk.in_pingpong(ns) {
        // The answer that it should have gone with did not come.
        sk.ack.pingpong = 0;
        sk.ack.ato = data::TCP_ATO_MIN;
    } else {
        sk.ack.ato = (sk.ack.ato << 1).min(sk.rto);
    }
    transmit::send_ack(ns, cx, sk);
}

/// tcp_retransmit_timer
fn retransmit_timer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.packets_out == 0 || sk.rtx.is_empty() {
        return;
    }
    if sk.snd_wnd == 0 && !sk.dead && !matches!(sk.state, State::SynSent | State::SynRecv) {
        // The peer has taken its window back; it is probed like this for as long as it answers.
        if cx.jiffies().wrapping_sub(sk.rcv_tstamp) > rto_max(ns) {
            return write_err(ns, cx, sk);
        }
        recovery::enter_loss(ns, cx, sk);
        let _ = tx::retransmit(ns, cx, sk, 0, 1);
        return back_off(ns, cx, sk);
    }
    if write_timeout(ns, cx, sk) {
        return;
    }
    recovery::enter_loss(ns, cx, sk);
    sk.retransmits += 1;
    if tx::retransmit(ns, cx, sk, 0, 1) == Err(Errno::ENOBUFS) {
        // The own queue is full.
        return reset_xmit(ns, cx, sk, Xmit::Retransmit, RESOURCE_PROBE_INTERVAL);
    }
    back_off(ns, cx, sk);
}

/// tcp_retransmit_timer, outside its time.
pub(super) fn retransmit_now(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    sk.xmit.what = None;
    retransmit_timer(ns, cx, sk);
}

/// out_reset_timer of tcp_retransmit_timer: a SYN is repeated at equal intervals at first, all else ever more rarely.
fn back_off(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let linear = ns.sockets.tcp.sysctl.syn_linear_timeouts;
    if sk.state != State::SynSent || i64::from(sk.total_retrans) > linear {
        sk.backoff += 1;
        sk.rto = (sk.rto << 1).min(rto_max(ns));
    }
    let rto = clamp_to_user_timeout(cx, sk, sk.rto);
    reset_xmit(ns, cx, sk, Xmit::Retransmit, rto);
}

/// tcp_clamp_rto_to_user_timeout
fn clamp_to_user_timeout(cx: &Cx<'_>, sk: &Sock, rto: u64) -> u64 {
    if sk.opt.user_timeout_ms == 0 {
        return rto;
    }
    let elapsed = now_ms(cx).wrapping_sub(sk.retrans_stamp);
    match sk.opt.user_timeout_ms.checked_sub(elapsed) {
        None | Some(0) => 1,
        Some(left) => rto.min(ms_to_jiffies(u64::from(left))),
    }
}

/// tcp_write_timeout: whether the connection was given up.
fn write_timeout(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) -> bool {
    let sysctl = ns.sockets.tcp.sysctl;
    let expired = if matches!(sk.state, State::SynSent | State::SynRecv) {
        let linear = if sk.state == State::SynSent { sysctl.syn_linear_timeouts } else { 0 };
        i64::from(sk.retransmits) >= sysctl.syn_retries + linear
            || retransmits_timed_out(ns, cx, sk, sysctl.syn_retries)
    } else {
        let mut retries = sysctl.retries2;
        if sk.dead {
            let alive = sk.rto < rto_max(ns);
            retries = orphan_retries(ns, sk, alive);
        }
        retransmits_timed_out(ns, cx, sk, retries)
    };
    if expired {
        write_err(ns, cx, sk);
    } else {
        // sk_rethink_txhash: perhaps another way works.
        sk.txhash = tx_hash(cx, &sk.tuple());
    }
    expired
}

/// tcp_orphan_retries
fn orphan_retries(ns: &NetNs, sk: &Sock, alive: bool) -> i64 {
    let retries = ns.sockets.tcp.sysctl.orphan_retries;
    if sk.err_soft.is_some() && !alive {
        return 0;
    }
    if retries == 0 && alive { 8 } else { retries }
}

/// retransmits_timed_out: the time that so many retries take has passed.
fn retransmits_timed_out(ns: &NetNs, cx: &Cx<'_>, sk: &Sock, boundary: i64) -> bool {
    if sk.retransmits == 0 {
        return false;
    }
    let start = sk.retrans_stamp;
    let timeout_ms = if sk.opt.user_timeout_ms > 0 {
        u64::from(sk.opt.user_timeout_ms)
    } else {
        let base = if matches!(sk.state, State::SynSent | State::SynRecv) {
            super::sock::TCP_TIMEOUT_INIT
        } else {
            ns_to_jiffies(ns.sockets.tcp.sysctl.rto_min_us as u64 * 1000)
        };
        model_timeout(base, boundary, rto_max(ns)) * (1000 / HZ)
    };
    i64::from(now_ms(cx).wrapping_sub(start) as i32) >= timeout_ms as i64
}

/// tcp_model_timeout: exponential backoff with a bound, in ticks.
fn model_timeout(base: u64, boundary: i64, most: u64) -> u64 {
    let boundary = boundary.max(0) as u64;
    let doublings = u64::from((most / base.max(1)).max(1).ilog2());
    if boundary <= doublings {
        ((2 << boundary) - 1) * base
    } else {
        ((2 << doublings) - 1) * base + (boundary - doublings) * most
    }
}

/// tcp_write_err: the peer is gone.
fn write_err(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    sk.err = Some(sk.err_soft.unwrap_or(Errno::ETIMEDOUT));
    rx::write_queue_purge(sk);
    rx::done(ns, cx, sk);
}

/// tcp_rto_delta_us: how long until the time-out, in microseconds.
pub(super) fn rto_delta_us(cx: &Cx<'_>, sk: &Sock) -> i64 {
    let sent = sk.rtx.front().map_or(now_us(cx), |skb| skb.sent_us);
    (sent + sk.rto * (1_000_000 / HZ)) as i64 - now_us(cx) as i64
}

/// tcp_rearm_rto
pub(super) fn rearm_rto(ns: &NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.packets_out == 0 {
        return sk.xmit.clear();
    }
    let mut rto = sk.rto;
    if matches!(sk.xmit.what, Some(Xmit::ReoTimeout | Xmit::LossProbe)) {
        // Less the time since the segment was sent.
        rto = ns_to_jiffies(rto_delta_us(cx, sk).max(1) as u64 * 1000);
    }
    reset_xmit(ns, cx, sk, Xmit::Retransmit, rto);
}

/// tcp_set_xmit_timer
pub(super) fn set_xmit_timer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if !tx::schedule_loss_probe(ns, cx, sk, true) {
        rearm_rto(ns, cx, sk);
    }
}

/// tcp_probe0_base
pub(super) fn probe0_base(_ns: &NetNs, sk: &Sock) -> u64 {
    sk.rto.max(ns_to_jiffies(200_000_000))
}

/// tcp_probe0_when
pub(super) fn probe0_when(ns: &NetNs, sk: &Sock) -> u64 {
    let most = rto_max(ns);
    let base = probe0_base(ns, sk);
    let backoff = u64::from((most / base.max(1)).max(1).ilog2() + 1).min(u64::from(sk.backoff));
    (base << backoff).min(most)
}

/// tcp_clamp_probe0_to_user_timeout
pub(super) fn clamp_probe0(_ns: &NetNs, cx: &Cx<'_>, sk: &Sock, when: u64) -> u64 {
    if sk.opt.user_timeout_ms == 0 || sk.probes_tstamp == 0 {
        return when;
    }
    let elapsed = cx.jiffies().saturating_sub(sk.probes_tstamp);
    let user = ms_to_jiffies(u64::from(sk.opt.user_timeout_ms));
    when.min(user.saturating_sub(elapsed).max(TCP_TIMEOUT_MIN))
}

/// tcp_probe_timer: the peer's window is closed.
fn probe_timer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.packets_out > 0 || sk.wq.is_empty() {
        (sk.probes_out, sk.probes_tstamp) = (0, 0);
        return;
    }
    let now = cx.jiffies();
    if sk.probes_tstamp == 0 {
        sk.probes_tstamp = now;
    } else if sk.opt.user_timeout_ms > 0 && now - sk.probes_tstamp >= ms_to_jiffies(u64::from(sk.opt.user_timeout_ms)) {
        return write_err(ns, cx, sk);
    }
    let mut most = ns.sockets.tcp.sysctl.retries2;
    if sk.dead {
        let alive = sk.rto << sk.backoff.min(32) < rto_max(ns);
        most = orphan_retries(ns, sk, alive);
        if !alive && i64::from(sk.backoff) >= most {
            return write_err(ns, cx, sk);
        }
    }
    if i64::from(sk.probes_out) >= most {
        return write_err(ns, cx, sk);
    }
    send_probe0(ns, cx, sk);
}

/// tcp_send_probe0
fn send_probe0(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let sent = tx::write_wakeup(ns, cx, sk);
    if sk.packets_out > 0 || sk.wq.is_empty() {
        // It was data, and the window took it.
        (sk.probes_out, sk.backoff, sk.probes_tstamp) = (0, 0, 0);
        return;
    }
    sk.probes_out += 1;
    let when = if sent.is_ok() {
        if i64::from(sk.backoff) < ns.sockets.tcp.sysctl.retries2 {
            sk.backoff += 1;
        }
        probe0_when(ns, sk)
    } else {
        RESOURCE_PROBE_INTERVAL
    };
    let when = clamp_probe0(ns, cx, sk, when);
    reset_xmit(ns, cx, sk, Xmit::Probe0, when);
}

/// keepalive_time_when in ticks.
pub(super) fn keepalive_time(ns: &NetNs, sk: &Sock) -> u64 {
    sk.opt.keepidle_s.map_or(ns.sockets.tcp.sysctl.keepalive_time as u64, u64::from) * HZ
}

/// tcp_keepalive_timer: also the end of FIN_WAIT_2 without a program.
fn keepalive_timer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.owned {
        return reset_keepalive(ns, cx, sk, HZ / 20);
    }
    if sk.state == State::Listen {
        return;
    }
    if sk.state == State::FinWait2 && sk.dead {
        let left = timewait::fin_time(ns, sk).saturating_sub(timewait::TIMEWAIT_LEN);
        if left > 0 {
            return timewait::time_wait(ns, cx, sk, timewait::Substate::FinWait2, left);
        }
        transmit::send_active_reset(ns, cx, sk);
        return rx::done(ns, cx, sk);
    }
    if !sk.opt.keepalive || matches!(sk.state, State::Close | State::SynSent) {
        return;
    }
    let time = keepalive_time(ns, sk);
    if sk.packets_out > 0 || !sk.wq.is_empty() {
        return reset_keepalive(ns, cx, sk, time);
    }
    let now = cx.jiffies();
    let elapsed = now.wrapping_sub(sk.rcv_tstamp.max(sk.ack.lrcvtime));
    if elapsed < time {
        return reset_keepalive(ns, cx, sk, time - elapsed);
    }
    let probes = sk.opt.keepcnt.map_or(ns.sockets.tcp.sysctl.keepalive_probes, i64::from);
    let user = ms_to_jiffies(u64::from(sk.opt.user_timeout_ms));
    let over = if user > 0 { elapsed >= user && sk.probes_out > 0 } else { i64::from(sk.probes_out) >= probes };
    if over {
        transmit::send_active_reset(ns, cx, sk);
        return write_err(ns, cx, sk);
    }
    let intvl = sk.opt.keepintvl_s.map_or(ns.sockets.tcp.sysctl.keepalive_intvl as u64, u64::from) * HZ;
    let next = if transmit::xmit_probe(ns, cx, sk).is_ok() {
        sk.probes_out += 1;
        intvl
    } else {
        RESOURCE_PROBE_INTERVAL
    };
    reset_keepalive(ns, cx, sk, next);
}
