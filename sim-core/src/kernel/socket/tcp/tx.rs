//! Mirrors the upper half of net/ipv4/tcp_output.c: how much is sent at once, when, and what is sent again. Read RFC
//! 9293 sections 3.7.4 and 3.8.6.2, RFC 5681 section 4.1 and RFC 8985 section 7 before editing.

use super::sack;
use super::sock::{Sock, State, TCP_INIT_CWND, TxSkb, now_us};
use super::timer::{self, Xmit};
use super::transmit::{self, Flags};
use super::{after, before, recovery};
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::TCP_HEAD_TRUESIZE;
use crate::kernel::netns::NetNs;
use crate::kernel::profile::Profile;
use crate::kernel::timer::{HZ, ns_to_jiffies};

/// sk_gso_max_size: GSO_LEGACY_MAX_SIZE without MAX_TCP_HEADER and one.
pub(super) const GSO_MAX_SIZE: u32 = 65_536 - 257;
/// GSO_MAX_SEGS
const GSO_MAX_SEGS: u32 = 65_535;
/// net.ipv4.tcp_min_tso_segs
const MIN_TSO_SEGS: u32 = 2;
/// net.ipv4.tcp_tso_rtt_log
const TSO_RTT_LOG: u32 = 9;

/// The bits of tcp_push's `nonagle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nagle {
    /// Whatever the socket's options say.
    Options,
    /// TCP_NAGLE_OFF: TCP_NODELAY, or the last of it.
    Off,
    /// TCP_NAGLE_PUSH: now, even with TCP_CORK.
    Push,
}

/// tcp_data_snd_check: an ACK may have made room for more.
pub(super) fn data_snd_check(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.owned {
        // From the backlog: what the first piece causes is received before the next one goes out.
        sk.more = !sk.wq.is_empty() && push_one_frame(ns, cx, sk, Nagle::Options, 0) == Pushed::Sent;
    } else {
        push_pending(ns, cx, sk);
    }
    check_space(ns, cx, sk);
}

/// tcp_check_space: the program may go on writing.
fn check_space(ns: &NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    // tcp_should_expand_sndbuf
    if !sk.opt.sndbuf_locked && sk.packets_out < sk.snd_cwnd && sk.nospace {
        sk.expand_sndbuf(ns);
        sk.snd_cwnd_stamp = cx.jiffies();
    }
    // sk_stream_write_space: a third must be free.
    if sk.nospace && sk.stream_wspace() >= sk.wmem >> 1 {
        sk.nospace = false;
        sk.wake(cx);
    }
}

/// tcp_push_pending_frames: everything that may go now.
pub(super) fn push_pending(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.wq.is_empty() {
        return;
    }
    while push_one_frame(ns, cx, sk, Nagle::Options, 0) == Pushed::Sent {}
}

/// What a step of tcp_write_xmit did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    /// A piece was sent; there may be another.
    Sent,
    /// Nothing more can be sent now.
    Stuck,
}

/// __tcp_push_pending_frames for one piece: tcp_write_xmit, and the timer of a closed window if nothing went out.
pub(super) fn push_one_frame(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, nagle: Nagle, push_one: u32) -> Pushed {
    if sk.state == State::Close {
        return Pushed::Stuck;
    }
    let mss = sk.current_mss(ns);
    // tcp_mstamp_refresh of tcp_write_xmit: all its pieces count as sent at once.
    sk.burst_us.get_or_insert(now_us(cx));
    let pushed = write_xmit(ns, cx, sk, mss, nagle, push_one);
    if pushed == Pushed::Stuck {
        sk.burst_us = None;
    }
    if pushed == Pushed::Stuck && push_one == 0 && sk.packets_out == 0 && !sk.wq.is_empty() {
        check_probe_timer(ns, cx, sk);
    }
    pushed
}

/// tcp_check_probe_timer
fn check_probe_timer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.xmit.what.is_none() {
        let when = timer::probe0_base(ns, sk);
        timer::reset_xmit(ns, cx, sk, Xmit::Probe0, when);
    }
}

/// tcp_write_xmit, one piece of it at a time. `push_one`: 1 for the first piece only, 2 for a tail loss probe.
fn write_xmit(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, mss: u32, nagle: Nagle, push_one: u32) -> Pushed {
    let Some(mut skb) = sk.wq.front().copied() else { return Pushed::Stuck };
    let mut cwnd_limited = false;
    let max_segs = tso_segs(sk, mss);
    // tcp_cwnd_test
    let in_flight = sk.in_flight();
    let mut quota = if in_flight >= sk.snd_cwnd { 0 } else { (sk.snd_cwnd >> 1).max(1).min(sk.snd_cwnd - in_flight) };
    if quota == 0 {
        if push_one != 2 {
            sk.cwnd_validate(cx, true);
            return Pushed::Stuck;
        }
        quota = 1;
    }
    let quota = quota.min(max_segs);
    grow(sk, (quota * mss).saturating_sub(skb.len()));
    skb = sk.wq[0];
    // tcp_snd_wnd_test
    let first_end = if skb.len() > mss { skb.seq.wrapping_add(mss) } else { skb.end_seq };
    if after(first_end, sk.wnd_end()) {
        return Pushed::Stuck;
    }
    skb.mss = mss;
    let segments = skb.pcount();
    if segments == 1 {
        let last = sk.wq.len() == 1;
        let nonagle = if last { nagle } else { Nagle::Push };
        if !nagle_test(sk, &skb, mss, nonagle) {
            return Pushed::Stuck;
        }
    } else if push_one == 0 && tso_should_defer(cx, sk, &skb, max_segs, &mut cwnd_limited) {
        sk.cwnd_validate(cx, cwnd_limited);
        return Pushed::Stuck;
    }
    let mut limit = mss;
    if segments > 1 {
        limit = mss_split_point(sk, &skb, mss, quota, nagle);
    }
    if skb.len() > limit {
        let (head, tail) = sack::halves(&skb, limit);
        sk.wq[0] = TxSkb { mss, ..head };
        sk.wq.insert(1, tail);
        skb = sk.wq[0];
    }
    if send_new(ns, cx, sk, skb).is_err() {
        return Pushed::Stuck;
    }
    if sk.in_cwnd_reduction() {
        sk.prr_out += skb.pcount();
    }
    // tcp_minshall_update
    if skb.len() < mss * skb.pcount() {
        sk.snd_sml = skb.end_seq;
    }
    cwnd_limited |= sk.in_flight() >= sk.snd_cwnd;
    if push_one != 2 {
        schedule_loss_probe(ns, cx, sk, false);
    }
    sk.cwnd_validate(cx, cwnd_limited);
    if push_one > 0 { Pushed::Stuck } else { Pushed::Sent }
}

/// tcp_grow_skb: the first piece of the queue takes up to `amount` bytes of the second.
fn grow(sk: &mut Sock, amount: u32) {
    let (Some(first), Some(second)) = (sk.wq.front().copied(), sk.wq.get(1).copied()) else { return };
    let len = amount.min(second.len());
    if len == 0 || first.fin {
        return;
    }
    let eaten = len == second.len();
    let first = &mut sk.wq[0];
    first.end_seq = first.end_seq.wrapping_add(len);
    first.truesize += len;
    if eaten {
        // tcp_eat_one_skb
        first.end_seq = second.end_seq;
        (first.fin, first.push) = (second.fin, first.push || second.push);
        sk.wmem = sk.wmem.saturating_sub(u64::from(second.truesize - len));
        sk.wq.remove(1);
    } else {
        let second = &mut sk.wq[1];
        second.seq = second.seq.wrapping_add(len);
        second.truesize -= len;
    }
}

/// The first piece of the queue goes out for the first time (tcp_transmit_skb and tcp_event_new_data_sent).
fn send_new(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, mut skb: TxSkb) -> Result<(), Errno> {
    let flags = Flags { fin: skb.fin, psh: skb.pushes(sk.profile), ..Flags::ACK };
    skb.sent_us = sk.burst_us.unwrap_or(now_us(cx));
    skb.delivered = sk.delivered;
    skb.frame = Some(transmit::transmit(ns, cx, sk, &skb, flags)?);
    sk.wq.pop_front();
    let prior_packets = sk.packets_out;
    sk.snd_nxt = skb.end_seq;
    sk.rtx.push_back(skb);
    sk.packets_out += skb.pcount();
    if prior_packets == 0 || sk.xmit.what == Some(Xmit::LossProbe) {
        timer::rearm_rto(ns, cx, sk);
    }
    Ok(())
}

/// tcp_nagle_test
fn nagle_test(sk: &Sock, skb: &TxSkb, mss: u32, nagle: Nagle) -> bool {
    skb.fin || skb.len() >= mss || !nagle_check(sk, nagle)
}

/// tcp_nagle_check for a segment that is not full: does it wait?
fn nagle_check(sk: &Sock, nagle: Nagle) -> bool {
    match nagle {
        Nagle::Push | Nagle::Off => false,
        Nagle::Options if sk.opt.cork => true,
        Nagle::Options if sk.opt.nodelay || sk.packets_out == 0 => false,
        // tcp_minshall_check: a small segment is still on its way.
        Nagle::Options => after(sk.snd_sml, sk.snd_una) && !after(sk.snd_sml, sk.snd_nxt),
    }
}

/// tcp_mss_split_point
fn mss_split_point(sk: &Sock, skb: &TxSkb, mss: u32, max_segs: u32, nagle: Nagle) -> u32 {
    let window = sk.wnd_end().wrapping_sub(skb.seq);
    let max_len = mss * max_segs;
    if max_len <= window && sk.wq.len() > 1 {
        return max_len;
    }
    let needed = skb.len().min(window);
    if max_len <= needed {
        return max_len;
    }
    // The last segment goes with the others even if it is not full, unless Nagle's rule holds it back.
    let partial = needed % mss;
    if partial != 0 && nagle_check(sk, nagle) { needed - partial } else { needed }
}

/// tcp_tso_should_defer: more can be sent at once when more is acknowledged.
fn tso_should_defer(cx: &Cx<'_>, sk: &Sock, skb: &TxSkb, max_segs: u32, cwnd_limited: &mut bool) -> bool {
    if sk.ca_state >= super::sock::CaState::Recovery {
        return false;
    }
    // Only if the last write was recent: bursts are avoided.
    if now_us(cx).saturating_sub(sk.wstamp_us) > 1000 {
        return false;
    }
    let in_flight = sk.in_flight();
    let send_win = sk.wnd_end().wrapping_sub(skb.seq);
    let cong_win = sk.snd_cwnd.saturating_sub(in_flight) * sk.mss_cache;
    let limit = send_win.min(cong_win);
    if limit >= max_segs * sk.mss_cache {
        return false;
    }
    if sk.wq.len() > 1 && limit >= skb.len() {
        return false;
    }
    let win_divisor = 3;
    let chunk = sk.snd_wnd.min(sk.snd_cwnd * sk.mss_cache) / win_divisor;
    if limit >= chunk {
        return false;
    }
    // If the next ACK comes only in half a round trip or later, what can be sent is sent.
    let Some(head) = sk.rtx.front() else { return false };
    if now_us(cx).saturating_sub(head.sent_us) < u64::from(sk.srtt_us >> 4) {
        return false;
    }
    if cong_win < send_win {
        if cong_win <= skb.len() {
            *cwnd_limited = true;
            return true;
        }
    } else if send_win <= skb.len() {
        return true;
    }
    !skb.fin
}

/// tcp_tso_segs and tcp_tso_autosize: as many segments one piece may have.
pub(super) fn tso_segs(sk: &Sock, mss: u32) -> u32 {
    let mut bytes = sk.pacing_rate() >> 10;
    let shift = sk.rtt_min.best() >> TSO_RTT_LOG;
    // Since Linux 5.18.
    if shift < 32 && sk.profile == Profile::Linux618 {
        bytes += u64::from(GSO_MAX_SIZE >> shift);
    }
    let bytes = bytes.min(u64::from(GSO_MAX_SIZE)) as u32;
    (bytes / mss.max(1)).clamp(MIN_TSO_SEGS, GSO_MAX_SEGS)
}

impl Sock {
    /// tcp_xmit_size_goal: how large a piece is built, in bytes.
    pub(super) fn size_goal(&self, mss: u32) -> u32 {
        // tcp_bound_to_half_wnd
        let half = if self.max_window > super::sock::TCP_MSS_DEFAULT { self.max_window >> 1 } else { self.max_window };
        let goal = if half != 0 && GSO_MAX_SIZE > half { half.max(68 - self.header_len.min(68)) } else { GSO_MAX_SIZE };
        (goal / mss.max(1) * mss).max(mss)
    }

    /// sk_stream_wspace
    pub(super) fn stream_wspace(&self) -> u64 {
        self.sndbuf.saturating_sub(self.wmem)
    }

    /// tcp_cwnd_validate: a window that was not used must not stay (RFC 2861).
    fn cwnd_validate(&mut self, cx: &Cx<'_>, limited: bool) {
        let in_flight = self.packets_out;
        if !before(self.snd_una, self.cwnd_usage_seq)
            || limited
            || !self.is_cwnd_limited && in_flight > self.max_packets_out
        {
            self.is_cwnd_limited = limited;
            self.max_packets_out = in_flight;
            self.cwnd_usage_seq = self.snd_nxt;
        }
        if self.is_cwnd_limited() {
            self.snd_cwnd_used = 0;
            self.snd_cwnd_stamp = cx.jiffies();
        } else {
            self.snd_cwnd_used = self.snd_cwnd_used.max(self.packets_out);
            // tcp_cwnd_application_limited
            let idle = cx.jiffies().saturating_sub(self.snd_cwnd_stamp) >= self.rto;
            if idle && self.ca_state == super::sock::CaState::Open && !self.nospace {
                let used = self.snd_cwnd_used.max(TCP_INIT_CWND);
                if used < self.snd_cwnd {
                    self.snd_ssthresh = self.current_ssthresh();
                    self.snd_cwnd = (self.snd_cwnd + used) >> 1;
                }
                self.snd_cwnd_used = 0;
                self.snd_cwnd_stamp = cx.jiffies();
            }
        }
    }

    /// tcp_slow_start_after_idle_check
    pub(super) fn slow_start_after_idle(&mut self, ns: &NetNs, cx: &Cx<'_>) {
        if ns.sockets.tcp.sysctl.slow_start_after_idle == 0 || self.packets_out > 0 {
            return;
        }
        let mut delta = cx.jiffies().saturating_sub(self.lsndtime);
        if delta <= self.rto {
            return;
        }
        // tcp_cwnd_restart
        let restart = TCP_INIT_CWND.min(self.snd_cwnd);
        self.snd_ssthresh = self.current_ssthresh();
        let mut cwnd = self.snd_cwnd;
        while delta > self.rto && cwnd > restart {
            delta -= self.rto;
            cwnd >>= 1;
        }
        self.snd_cwnd = cwnd.max(restart);
        self.snd_cwnd_stamp = cx.jiffies();
        self.snd_cwnd_used = 0;
    }
}

/// tcp_schedule_loss_probe (RFC 8985 section 7.2). Whether it was set.
pub(super) fn schedule_loss_probe(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, advancing_rto: bool) -> bool {
    let early = ns.sockets.tcp.sysctl.early_retrans;
    let quiet = matches!(sk.ca_state, super::sock::CaState::Open | super::sock::CaState::Cwr);
    if early != 3 && early != 4 || sk.packets_out == 0 || !sk.rx_opt.sack_ok || !quiet {
        return false;
    }
    let mut when = if sk.srtt_us > 0 {
        let more = if sk.packets_out == 1 { ns.sockets.tcp.sysctl.rto_min_us as u64 } else { 2000 };
        ns_to_jiffies((u64::from(sk.srtt_us >> 2) + more) * 1000)
    } else {
        super::sock::TCP_TIMEOUT_INIT
    };
    // If the time-out comes earlier, it is taken.
    let rto_us = if advancing_rto { (sk.rto * (1_000_000 / HZ)) as i64 } else { timer::rto_delta_us(cx, sk) };
    if rto_us > 0 {
        when = when.min(ns_to_jiffies(rto_us as u64 * 1000));
    }
    timer::reset_xmit(ns, cx, sk, Xmit::LossProbe, when);
    true
}

/// tcp_send_loss_probe (RFC 8985 section 7.3): new data if there is any, else the last segment again.
pub(super) fn send_loss_probe(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    // One probe at a time.
    if sk.tlp_high_seq == 0 {
        sk.tlp_retrans = false;
        let window = !sk.wq.is_empty() && !after(first_end(sk), sk.wnd_end());
        if window {
            let packets = sk.packets_out;
            push_one_frame(ns, cx, sk, Nagle::Off, 2);
            if sk.packets_out > packets {
                return probe_sent(ns, cx, sk);
            }
        }
        if sk.rtx.is_empty() {
            (sk.xmit.what, sk.packets_out) = (None, 0);
            return;
        }
        let last = sk.rtx.len() - 1;
        let (pcount, mss) = (sk.rtx[last].pcount(), sk.rtx[last].mss);
        let mut at = last;
        if pcount > 1 && sk.rtx[last].len() > (pcount - 1) * mss {
            sack::split(sk, last, (pcount - 1) * mss);
            at += 1;
        }
        if retransmit_skb(ns, cx, sk, at, 1).is_ok() {
            sk.tlp_retrans = true;
            return probe_sent(ns, cx, sk);
        }
    }
    timer::rearm_rto(ns, cx, sk);
}

fn probe_sent(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    sk.tlp_high_seq = sk.snd_nxt;
    sk.xmit.what = None;
    timer::rearm_rto(ns, cx, sk);
}

fn first_end(sk: &Sock) -> u32 {
    let Some(skb) = sk.wq.front() else { return sk.snd_nxt };
    if skb.len() > sk.mss_cache { skb.seq.wrapping_add(sk.mss_cache) } else { skb.end_seq }
}

/// tcp_retransmit_skb: a segment of the retransmission queue once more, up to `segments` of it.
pub(super) fn retransmit(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    sk: &mut Sock,
    at: usize,
    segments: u32,
) -> Result<(), Errno> {
    let sent = retransmit_skb(ns, cx, sk, at, segments);
    if sent.is_ok() {
        let skb = &mut sk.rtx[at];
        (skb.retrans, skb.ever_retrans) = (true, true);
        sk.retrans_out += sk.rtx[at].pcount();
    }
    recovery::stamp_retransmission(cx, sk);
    let pcount = sk.rtx.get(at).map_or(0, TxSkb::pcount);
    sk.undo_retrans = Some(sk.undo_retrans.unwrap_or(0) + pcount);
    sent
}

/// __tcp_retransmit_skb
fn retransmit_skb(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, at: usize, segments: u32) -> Result<(), Errno> {
    let Some(mut skb) = sk.rtx.get(at).copied() else { return Err(Errno::EAGAIN) };
    if before(skb.seq, sk.snd_una) {
        // tcp_trim_head: an ACK of a part came late.
        if !after(skb.end_seq, sk.snd_una) {
            return Err(Errno::EINVAL);
        }
        sack::trim_head(sk);
        skb = sk.rtx[at];
    }
    sk.route(ns)?;
    let mss = sk.current_mss(ns);
    let avail = sk.wnd_end().wrapping_sub(skb.seq) as i32;
    // A shrunk window: the first segment goes out all the same, as a probe.
    if avail <= 0 && skb.seq != sk.snd_una {
        return Err(Errno::EAGAIN);
    }
    let mut len = mss * segments;
    if avail > 0 && (avail as u32) < len {
        len = (avail as u32 / mss * mss).max(mss.min(avail as u32));
    } else if avail <= 0 {
        len = mss;
    }
    let old = skb.pcount();
    if skb.len() > len {
        sk.rtx[at].mss = mss;
        let repieced = sk.rtx[at].pcount();
        sack::adjust_pcount(sk, &skb, old, repieced);
        sack::split(sk, at, len);
    } else if skb.mss != mss {
        sk.rtx[at].mss = mss;
        let repieced = sk.rtx[at].pcount();
        sack::adjust_pcount(sk, &skb, old, repieced);
    }
    let mut skb = sk.rtx[at];
    if skb.frame.is_some_and(|frame| ns.still_queues(frame)) {
        // skb_still_in_host_queue: it has not even left.
        return Err(Errno::EBUSY);
    }
    if skb.syn && sk.state != State::SynRecv {
        sk.ecn.clear_syn(&ns.sockets.tcp.sysctl);
    }
    let flags = Flags {
        syn: skb.syn,
        fin: skb.fin,
        psh: !skb.syn && skb.pushes(sk.profile),
        ack: !skb.syn || sk.state == State::SynRecv,
        ..Flags::default()
    };
    sk.total_retrans += skb.pcount();
    skb.sent_us = now_us(cx);
    sk.rtx[at].sent_us = skb.sent_us;
    let sent = transmit::transmit(ns, cx, sk, &skb, flags);
    let skb = &mut sk.rtx[at];
    skb.ever_retrans = true;
    skb.frame = sent.ok().or(skb.frame);
    sent.map(|_| ())
}

/// tcp_send_fin: the end of the stream goes with what is queued, or alone.
pub(super) fn send_fin(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    queue_fin(sk);
    while push_one_frame(ns, cx, sk, Nagle::Off, 0) == Pushed::Sent {}
}

/// The FIN stands in the queue.
pub(super) fn queue_fin(sk: &mut Sock) {
    if std::mem::replace(&mut sk.fin_queued, true) {
        return;
    }
    sk.write_seq = sk.write_seq.wrapping_add(1);
    if let Some(tail) = sk.wq.back_mut() {
        tail.fin = true;
        tail.end_seq = tail.end_seq.wrapping_add(1);
        return;
    }
    let mut fin = transmit::bare(sk.write_seq.wrapping_sub(1));
    (fin.fin, fin.end_seq, fin.mss) = (true, sk.write_seq, sk.mss_cache);
    fin.truesize = TCP_HEAD_TRUESIZE;
    sk.wmem += u64::from(fin.truesize);
    sk.wq.push_back(fin);
}

/// tcp_write_wakeup: a segment that the peer must answer, with data if its window takes any.
pub(super) fn write_wakeup(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) -> Result<(), Errno> {
    if let Some(skb) = sk.wq.front().copied()
        && before(skb.seq, sk.wnd_end())
    {
        let mss = sk.current_mss(ns);
        let seg_size = sk.wnd_end().wrapping_sub(skb.seq);
        if before(sk.pushed_seq, skb.end_seq) {
            sk.pushed_seq = skb.end_seq;
        }
        let mut skb = TxSkb { mss, ..skb };
        let cut = seg_size.min(mss);
        if cut < skb.len() {
            let (head, tail) = sack::halves(&skb, cut);
            sk.wq[0] = head;
            sk.wq.insert(1, tail);
            skb = head;
        }
        skb.push = true;
        sk.wq[0] = skb;
        return send_new(ns, cx, sk, skb);
    }
    transmit::xmit_probe(ns, cx, sk).map(|_| ())
}
