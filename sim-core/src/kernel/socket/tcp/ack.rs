//! Mirrors tcp_ack of net/ipv4/tcp_input.c: what an ACK tells about what was sent, and how long a round trip takes.
//! Read RFC 9293 section 3.10.7.4 (fifth), RFC 6298 and RFC 5961 section 5 before editing.

use super::rx::{Segment, now_s};
use super::sock::{CaState, Sock, now_ms, now_us};
use super::timer::{self, Xmit};
use super::{after, before, ecn, recovery, rx, sack};
use crate::kernel::cx::Cx;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::{HZ, ns_to_jiffies};
use crate::kernel::trace::DropReason;

/// What an ACK was found to do (FLAG_* of tcp_input.c).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub data: bool,
    pub win_update: bool,
    pub data_acked: bool,
    pub retrans_data_acked: bool,
    pub syn_acked: bool,
    pub data_sacked: bool,
    pub lost_retrans: bool,
    pub snd_una_advanced: bool,
    pub ece: bool,
    pub dsacking_ack: bool,
    pub set_xmit_timer: bool,
    pub sack_reneging: bool,
    pub orig_sack_acked: bool,
    pub dsack_tlp: bool,
    /// Segments delivered so far before this ACK, and those that it found lost.
    pub prior_delivered: u32,
    pub prior_lost: u32,
    /// A segment that was not sent again and is delivered for the first time: when the first and the last such were
    /// sent, in microseconds.
    pub first_sackt: Option<u64>,
    pub last_sackt: Option<u64>,
    /// FLAG_ACK_MAYBE_DELAYED
    pub maybe_delayed: bool,
}

impl Found {
    /// FLAG_ACKED
    fn acked(&self) -> bool {
        self.data_acked || self.syn_acked
    }

    /// FLAG_NOT_DUP
    fn not_dup(&self) -> bool {
        self.data || self.win_update || self.acked()
    }

    /// FLAG_FORWARD_PROGRESS
    pub fn forward_progress(&self) -> bool {
        self.acked() || self.data_sacked
    }

    /// FLAG_CA_ALERT: congestion control must look.
    fn ca_alert(&self) -> bool {
        self.data_sacked || self.ece || self.dsacking_ack
    }
}

/// tcp_ack. Whether it was news; `challenge`: what is too old or too new is answered.
///
/// # Errors
/// The ACK is too old, or for what was not sent.
pub(super) fn tcp_ack(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    sk: &mut Sock,
    seg: &Segment,
    challenge: bool,
) -> Result<bool, DropReason> {
    let prior_una = sk.snd_una;
    let mut found = Found { prior_delivered: sk.delivered, ..Found::default() };
    if before(seg.ack, prior_una) {
        // RFC 5961 section 5.2.
        let most = u64::from(sk.max_window).min(sk.bytes_acked) as u32;
        if before(seg.ack, prior_una.wrapping_sub(most)) {
            if challenge {
                rx::send_challenge_ack(ns, cx, sk);
            }
            return Err(DropReason::TcpTooOldAck);
        }
        return Ok(old_ack(ns, cx, sk, seg, found));
    }
    if after(seg.ack, sk.snd_nxt) {
        // RFC 9293 section 3.10.7.4.
        if challenge {
            rx::send_challenge_ack(ns, cx, sk);
        }
        return Err(DropReason::TcpAckUnsentData);
    }
    if after(seg.ack, prior_una) {
        found.snd_una_advanced = true;
        sk.retransmits = 0;
    }
    let prior_fack = if sk.rx_opt.sack_ok { sack::highest_sack_seq(sk) } else { sk.snd_una };
    let prior_packets = sk.packets_out;
    replace_ts_recent(sk, seg, now_s(cx));
    found.data = seg.len() > 0 || seg.flags.fin;
    update_window(ns, sk, seg, &mut found);
    let prior_lost = sk.lost_out;
    found.prior_lost = prior_lost;
    sack::tag(ns, cx, sk, seg, prior_una, &mut found);
    found.ece = sk.ecn.is_echo(seg.flags);
    ecn::accept_cwr(sk, seg);
    sk.err_soft = None;
    sk.probes_out = 0;
    sk.rcv_tstamp = cx.jiffies();
    if prior_packets == 0 {
        ack_probe(ns, cx, sk);
        return Ok(true);
    }
    clean_rtx_queue(ns, cx, sk, prior_fack, prior_una, &mut found);
    recovery::rack_update_reo_wnd(sk, &found);
    if sk.tlp_high_seq != 0 {
        process_tlp_ack(cx, sk, seg.ack, &found);
    }
    let mut rexmit = recovery::Rexmit::None;
    if is_dubious(sk, &found) {
        let dupack = !found.snd_una_advanced && !found.not_dup();
        rexmit = recovery::fastretrans_alert(ns, cx, sk, prior_una, dupack, &mut found);
    }
    // If needed, the timer for the tail, or RTO.
    if found.set_xmit_timer {
        timer::set_xmit_timer(ns, cx, sk);
    }
    if found.forward_progress() || !found.not_dup() {
        sk.confirm = true;
    }
    let delivered = sk.delivered.wrapping_sub(found.prior_delivered);
    recovery::cong_control(ns, cx, sk, seg.ack, delivered, &found);
    recovery::xmit_recovery(ns, cx, sk, rexmit);
    Ok(true)
}

/// old_ack of tcp_ack: nothing is acknowledged, but its SACK blocks may be news.
fn old_ack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment, mut found: Found) -> bool {
    if seg.options.sacks().is_empty() {
        return false;
    }
    let prior_una = sk.snd_una;
    let prior_lost = sk.lost_out;
    found.prior_lost = prior_lost;
    sack::tag(ns, cx, sk, seg, prior_una, &mut found);
    let rexmit = recovery::fastretrans_alert(ns, cx, sk, prior_una, false, &mut found);
    recovery::xmit_recovery(ns, cx, sk, rexmit);
    false
}

/// tcp_ack_is_dubious
fn is_dubious(sk: &Sock, found: &Found) -> bool {
    !found.not_dup() || found.ca_alert() || sk.ca_state != CaState::Open
}

/// tcp_replace_ts_recent (RFC 7323 section 4.3).
fn replace_ts_recent(sk: &mut Sock, seg: &Segment, now_s: u64) {
    let o = &mut sk.rx_opt;
    if o.saw_tstamp && !after(seg.seq, sk.rcv_wup) {
        // Not what is older: PAWS of a delayed ACK.
        let tsval = o.rcv_tsval;
        if rx::paws_check(o.ts_recent, o.ts_recent_stamp, now_s, tsval, 0) {
            (o.ts_recent, o.ts_recent_stamp) = (tsval, now_s);
        }
    }
}

/// tcp_may_update_window
pub(super) fn may_update_window(sk: &Sock, seg: &Segment) -> bool {
    let window = scaled_window(sk, seg);
    after(seg.ack, sk.snd_una)
        || after(seg.seq, sk.snd_wl1)
        || seg.seq == sk.snd_wl1 && (window > sk.snd_wnd || window == 0)
}

fn scaled_window(sk: &Sock, seg: &Segment) -> u32 {
    let shift = if seg.flags.syn { 0 } else { sk.rx_opt.snd_wscale };
    u32::from(seg.window) << shift
}

/// tcp_ack_update_window
fn update_window(ns: &NetNs, sk: &mut Sock, seg: &Segment, found: &mut Found) {
    if may_update_window(sk, seg) {
        found.win_update = true;
        sk.snd_wl1 = seg.seq;
        let window = scaled_window(sk, seg);
        if sk.snd_wnd != window {
            sk.snd_wnd = window;
            if window > sk.max_window {
                sk.max_window = window;
                let mtu = sk.pmtu_cookie;
                sk.sync_mss(ns, mtu);
            }
        }
    }
    sk.bytes_acked += u64::from(seg.ack.wrapping_sub(sk.snd_una));
    sk.snd_una = seg.ack;
}

/// tcp_ack_probe: the ACK of a probe of a closed window.
fn ack_probe(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let Some(head) = sk.wq.front() else { return };
    if !after(head.seq.wrapping_add(head.len().min(sk.mss_cache)), sk.wnd_end()) {
        // It is open.
        sk.backoff = 0;
        sk.probes_tstamp = 0;
        sk.xmit.clear();
    } else {
        let when = timer::probe0_when(ns, sk);
        let when = timer::clamp_probe0(ns, cx, sk, when);
        timer::reset_xmit(ns, cx, sk, Xmit::Probe0, when);
    }
}

/// What an ACK has taken out of the queue.
struct Cleaned {
    /// When the first and the last segment that was never sent again had been sent.
    first: Option<u64>,
    last: Option<u64>,
    segments: u32,
    /// The lowest of these that SACK had not told of.
    reord: u32,
    /// Nothing of a larger segment is left.
    fully: bool,
}

/// tcp_clean_rtx_queue: what is acknowledged is forgotten, and measured.
fn clean_rtx_queue(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, prior_fack: u32, prior_una: u32, found: &mut Found) {
    let now = now_us(cx);
    let prior_sacked = sk.sacked_out;
    let cleaned = take_acknowledged(sk, now, found);
    sack::drop_acknowledged(sk);
    found.sack_reneging |= sk.rtx.front().is_some_and(|skb| skb.sacked);
    let age = |sent: u64| now.saturating_sub(sent);
    let sack_rtt = found.first_sackt.map(age);
    let (mut seq_rtt, mut ca_rtt) = (None, None);
    if let Some(first) = cleaned.first.filter(|_| !found.retrans_data_acked) {
        (seq_rtt, ca_rtt) = (Some(age(first)), cleaned.last.map(age));
        found.maybe_delayed = cleaned.segments == 1
            && cleaned.fully
            && prior_sacked == 0
            && sk.snd_una.wrapping_sub(prior_una) < sk.mss_cache
            && found.prior_delivered.wrapping_add(1) == sk.delivered
            && !found.ca_alert()
            && !found.syn_acked;
    }
    if found.first_sackt.is_some() {
        ca_rtt = found.last_sackt.map(age);
    }
    let measured = update_rtt(ns, cx, sk, seq_rtt, sack_rtt, ca_rtt, found);
    if found.acked() {
        found.set_xmit_timer = true;
        if !sk.rx_opt.sack_ok {
            recovery::remove_reno_sacks(sk, cleaned.segments);
        } else if before(cleaned.reord, prior_fack) {
            // A hole was filled that was never sent again.
            recovery::check_sack_reordering(ns, sk, cleaned.reord);
        }
    } else if measured && sack_rtt.is_some_and(|rtt| sk.rtx.front().is_some_and(|skb| rtt > age(skb.sent_us))) {
        // The time-out may have been set by a stale estimate.
        found.set_xmit_timer = true;
    }
    sk.pkts_acked(now, ca_rtt);
}

fn take_acknowledged(sk: &mut Sock, now_us: u64, found: &mut Found) -> Cleaned {
    let mut c = Cleaned { first: None, last: None, segments: 0, reord: sk.snd_nxt, fully: true };
    while let Some(skb) = sk.rtx.front().copied() {
        let mut pcount = skb.pcount();
        if after(skb.end_seq, sk.snd_una) {
            // A part of a large one (tcp_tso_acked).
            c.fully = false;
            if pcount == 1 || !after(sk.snd_una, skb.seq) {
                break;
            }
            pcount = sack::trim_head(sk);
            if pcount == 0 {
                break;
            }
        }
        if skb.ever_retrans {
            if skb.retrans {
                sk.retrans_out = sk.retrans_out.saturating_sub(pcount);
            }
            found.retrans_data_acked = true;
        } else if !skb.sacked {
            c.last = Some(skb.sent_us);
            c.first = c.first.or(c.last);
            if before(skb.seq, c.reord) {
                c.reord = skb.seq;
            }
            found.orig_sack_acked |= !after(skb.end_seq, sk.high_seq);
        }
        if skb.sacked {
            sk.sacked_out = sk.sacked_out.saturating_sub(pcount);
        } else if sk.rx_opt.sack_ok {
            sk.delivered = sk.delivered.wrapping_add(pcount);
            recovery::rack_advance(sk, &skb, now_us);
        }
        if skb.lost {
            sk.lost_out = sk.lost_out.saturating_sub(pcount);
        }
        sk.packets_out = sk.packets_out.saturating_sub(pcount);
        c.segments += pcount;
        if skb.syn {
            found.syn_acked = true;
            sk.retrans_stamp = 0;
        } else {
            found.data_acked = true;
        }
        if !c.fully {
            break;
        }
        sk.wmem = sk.wmem.saturating_sub(u64::from(skb.truesize));
        sk.rtx.pop_front();
    }
    c
}

/// tcp_ack_update_rtt: by the clock, or by the timestamp that is echoed (RFC 6298, Karn's rule). Whether there was a
/// sample.
fn update_rtt(
    ns: &NetNs,
    cx: &Cx<'_>,
    sk: &mut Sock,
    seq_rtt: Option<u64>,
    sack_rtt: Option<u64>,
    ca_rtt: Option<u64>,
    found: &Found,
) -> bool {
    let mut rtt = seq_rtt.or(sack_rtt);
    let mut ca = ca_rtt;
    if rtt.is_none() && sk.rx_opt.saw_tstamp && sk.rx_opt.rcv_tsecr != 0 && found.acked() {
        let delta = now_ms(cx).wrapping_sub(sk.rx_opt.rcv_tsecr);
        if delta < i32::MAX as u32 / 1000 {
            rtt = Some(u64::from(delta.max(1)) * 1000);
            ca = ca.or(rtt);
        }
    }
    let Some(rtt) = rtt else { return false };
    let ca = ca.unwrap_or(rtt);
    let ca = ca.clamp(1, u64::from(u32::MAX)) as u32;
    if !found.maybe_delayed || ca <= sk.rtt_min.best() {
        sk.rtt_min.update(300 * HZ, cx.jiffies(), ca);
    }
    estimate_rtt(ns, sk, rtt as i64);
    set_rto(ns, sk);
    sk.backoff = 0;
    true
}

/// tcp_synack_rtt_meas
pub(super) fn synack_rtt(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock, rtt_us: Option<u64>) {
    let found = Found { syn_acked: true, ..Found::default() };
    update_rtt(ns, cx, sk, rtt_us, None, rtt_us, &found);
}

/// tcp_rtt_estimator: Jacobson's, in microseconds times eight and four.
fn estimate_rtt(ns: &NetNs, sk: &mut Sock, sample_us: i64) {
    let mut m = sample_us;
    let mut srtt = i64::from(sk.srtt_us);
    let rto_min = ns.sockets.tcp.sysctl.rto_min_us as u32;
    if srtt != 0 {
        m -= srtt >> 3;
        srtt += m;
        if m < 0 {
            m = -m;
            m -= i64::from(sk.mdev_us >> 2);
            // A round trip that gets shorter is no reason for a longer time-out.
            if m > 0 {
                m >>= 3;
            }
        } else {
            m -= i64::from(sk.mdev_us >> 2);
        }
        sk.mdev_us = (i64::from(sk.mdev_us) + m).max(0) as u32;
        if sk.mdev_us > sk.mdev_max_us {
            sk.mdev_max_us = sk.mdev_us;
            sk.rttvar_us = sk.rttvar_us.max(sk.mdev_max_us);
        }
        if after(sk.snd_una, sk.rtt_seq) {
            if sk.mdev_max_us < sk.rttvar_us {
                sk.rttvar_us -= (sk.rttvar_us - sk.mdev_max_us) >> 2;
            }
            sk.rtt_seq = sk.snd_nxt;
            sk.mdev_max_us = rto_min;
        }
    } else {
        srtt = m << 3;
        sk.mdev_us = (m << 1) as u32;
        sk.rttvar_us = sk.mdev_us.max(rto_min);
        sk.mdev_max_us = sk.rttvar_us;
        sk.rtt_seq = sk.snd_nxt;
    }
    sk.srtt_us = srtt.clamp(1, i64::from(u32::MAX)) as u32;
}

/// tcp_set_rto and tcp_bound_rto
pub(super) fn set_rto(ns: &NetNs, sk: &mut Sock) {
    let us = u64::from(sk.srtt_us >> 3) + u64::from(sk.rttvar_us);
    sk.rto = ns_to_jiffies(us * 1000).min(timer::rto_max(ns));
}

/// tcp_process_tlp_ack: what became of a tail loss probe (RFC 8985 section 7.4).
fn process_tlp_ack(cx: &Cx<'_>, sk: &mut Sock, ack: u32, found: &Found) {
    if before(ack, sk.tlp_high_seq) {
        return;
    }
    if !sk.tlp_retrans {
        // It carried new data.
        sk.tlp_high_seq = 0;
    } else if found.dsack_tlp {
        // The original and the probe have arrived.
        sk.tlp_high_seq = 0;
    } else if after(ack, sk.tlp_high_seq) {
        // The original was lost, and only the probe has told.
        recovery::init_cwnd_reduction(sk);
        recovery::set_ca_state(sk, CaState::Cwr);
        recovery::end_cwnd_reduction(cx, sk);
        recovery::try_keep_open(sk);
        sk.tlp_high_seq = 0;
    } else if !found.snd_una_advanced && !found.not_dup() && !found.data_sacked {
        // A pure duplicate: the original has arrived.
        sk.tlp_high_seq = 0;
    }
}
