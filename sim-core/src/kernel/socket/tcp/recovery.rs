//! Mirrors tcp_fastretrans_alert and its like of net/ipv4/tcp_input.c, and net/ipv4/tcp_recovery.c: which segments are
//! lost, what is sent again, and what is taken back. Read RFC 6675, RFC 6937, RFC 8985 and RFC 5682 before editing.

use super::ack::Found;
use super::sock::{CaState, Sock, State, TxSkb, now_ms, now_us};
use super::timer::{self, Xmit};
use super::{after, before, sack, tx};
use crate::kernel::cx::Cx;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::ns_to_jiffies;

/// TCP_RACK_RECOVERY_THRESH
const RACK_RECOVERY_THRESH: u8 = 16;
/// TCP_TIMEOUT_MIN_US
const TIMEOUT_MIN_US: u64 = 2000;

/// struct tcp_sock's rack: the segment delivered that was sent last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rack {
    mstamp_us: u64,
    rtt_us: u64,
    end_seq: u32,
    last_delivered: u32,
    reo_wnd_steps: u8,
    reo_wnd_persist: u8,
    dsack_seen: bool,
    advanced: bool,
}

impl Default for Rack {
    fn default() -> Self {
        Rack {
            mstamp_us: 0,
            rtt_us: 0,
            end_seq: 0,
            last_delivered: 0,
            reo_wnd_steps: 1,
            reo_wnd_persist: 0,
            dsack_seen: false,
            advanced: false,
        }
    }
}

/// What an ACK makes the sender do (REXMIT_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rexmit {
    None,
    /// Retransmit what is lost.
    Lost,
    /// F-RTO: new data.
    New,
}

/// tcp_set_ca_state
pub(super) fn set_ca_state(sk: &mut Sock, state: CaState) {
    sk.ca_state = state;
}

/// tcp_init_cwnd_reduction
pub(super) fn init_cwnd_reduction(sk: &mut Sock) {
    sk.high_seq = sk.snd_nxt;
    sk.tlp_high_seq = 0;
    sk.snd_cwnd_cnt = 0;
    sk.prior_cwnd = sk.snd_cwnd;
    (sk.prr_delivered, sk.prr_out) = (0, 0);
    sk.snd_ssthresh = sk.ca_ssthresh();
    sk.ecn.queue_cwr();
}

/// tcp_cwnd_reduction: Proportional Rate Reduction (RFC 6937).
#[inline(never)]
fn cwnd_reduction(sk: &mut Sock, newly_acked: u32, newly_lost: u32, una_advanced: bool) {
    if newly_acked == 0 || sk.prior_cwnd == 0 {
        return;
    }
    let delta = i64::from(sk.snd_ssthresh) - i64::from(sk.in_flight());
    sk.prr_delivered += newly_acked;
    let sndcnt = if delta < 0 {
        let dividend = u64::from(sk.snd_ssthresh) * u64::from(sk.prr_delivered) + u64::from(sk.prior_cwnd) - 1;
        (dividend / u64::from(sk.prior_cwnd)) as i64 - i64::from(sk.prr_out)
    } else {
        let mut sndcnt = (i64::from(sk.prr_delivered) - i64::from(sk.prr_out)).max(i64::from(newly_acked));
        if una_advanced && newly_lost == 0 {
            sndcnt += 1;
        }
        sndcnt.min(delta)
    };
    // The first retransmission is never held back.
    let sndcnt = sndcnt.max(i64::from(sk.prr_out == 0));
    sk.snd_cwnd = (i64::from(sk.in_flight()) + sndcnt).max(1) as u32;
}

/// tcp_end_cwnd_reduction
pub(super) fn end_cwnd_reduction(cx: &Cx<'_>, sk: &mut Sock) {
    let reduced = matches!(sk.ca_state, CaState::Cwr) || sk.undo_marker != 0;
    if reduced && sk.snd_ssthresh < super::sock::TCP_INFINITE_SSTHRESH {
        sk.snd_cwnd = sk.snd_ssthresh;
        sk.snd_cwnd_stamp = cx.jiffies();
    }
}

/// tcp_enter_cwr: the own queue was full, a router's soon would be, or a probe has told of a loss.
#[cold]
pub(super) fn enter_cwr(sk: &mut Sock) {
    sk.prior_ssthresh = 0;
    if sk.ca_state < CaState::Cwr {
        sk.undo_marker = 0;
        init_cwnd_reduction(sk);
        set_ca_state(sk, CaState::Cwr);
    }
}

/// tcp_try_keep_open
pub(super) fn try_keep_open(sk: &mut Sock) {
    // tcp_any_retrans_done
    let retransmitted = sk.retrans_out > 0 || sk.rtx.front().is_some_and(|skb| skb.ever_retrans);
    let disorder = sk.sacked_out > 0 || sk.lost_out > 0 || retransmitted;
    let state = if disorder { CaState::Disorder } else { CaState::Open };
    if sk.ca_state != state {
        set_ca_state(sk, state);
        sk.high_seq = sk.snd_nxt;
    }
}

/// tcp_fastretrans_alert: something is wrong, or was.
pub(super) fn fastretrans_alert(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    sk: &mut Sock,
    prior_una: u32,
    dupack: bool,
    found: &mut Found,
) -> Rexmit {
    if sk.packets_out == 0 {
        sk.sacked_out = 0;
    }
    if found.ece {
        sk.prior_ssthresh = 0;
    }
    if found.sack_reneging && check_sack_reneging(cx, ns, sk) {
        return Rexmit::None;
    }
    // E: what was the state good for?
    if sk.ca_state == CaState::Open {
        sk.retrans_stamp = if sk.retrans_out == 0 { 0 } else { sk.retrans_stamp };
    } else if !before(sk.snd_una, sk.high_seq) {
        match sk.ca_state {
            CaState::Cwr if sk.snd_una != sk.high_seq => {
                end_cwnd_reduction(cx, sk);
                set_ca_state(sk, CaState::Open);
            }
            CaState::Recovery => {
                if !sk.rx_opt.sack_ok {
                    sk.sacked_out = 0;
                }
                if try_undo_recovery(cx, sk) {
                    return Rexmit::None;
                }
                end_cwnd_reduction(cx, sk);
            }
            _ => {}
        }
    }
    match sk.ca_state {
        CaState::Recovery => in_recovery(ns, cx, sk, prior_una, dupack, found),
        CaState::Loss => {
            let rexmit = process_loss(cx, sk, dupack, found);
            if sk.ca_state != CaState::Loss {
                timer::set_xmit_timer(ns, cx, sk);
            }
            identify_loss(ns, cx, sk, found);
            if sk.ca_state != CaState::Open && !found.lost_retrans {
                return rexmit;
            }
            open_or_recover(ns, cx, sk, found, rexmit)
        }
        _ => {
            if !sk.rx_opt.sack_ok {
                if found.snd_una_advanced {
                    sk.sacked_out = 0;
                }
                if dupack {
                    add_reno_sack(sk, 1);
                }
            }
            open_or_recover(ns, cx, sk, found, Rexmit::None)
        }
    }
}

/// TCP_CA_Recovery of tcp_fastretrans_alert
fn in_recovery(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    sk: &mut Sock,
    prior_una: u32,
    dupack: bool,
    found: &mut Found,
) -> Rexmit {
    if !found.snd_una_advanced {
        if !sk.rx_opt.sack_ok && dupack {
            add_reno_sack(sk, 1);
        }
    } else if try_undo_partial(ns, cx, sk, prior_una) {
        return Rexmit::None;
    }
    if try_undo_dsack(cx, sk) {
        try_to_open(sk, found.ece);
    }
    identify_loss(ns, cx, sk, found);
    if sk.ca_state != CaState::Recovery {
        if !time_to_recover(sk) {
            return Rexmit::None;
        }
        enter_recovery(sk, found.ece);
    }
    Rexmit::Lost
}

/// The rest of tcp_fastretrans_alert in Open, Disorder and CWR.
fn open_or_recover(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, found: &mut Found, rexmit: Rexmit) -> Rexmit {
    if sk.ca_state <= CaState::Disorder {
        try_undo_dsack(cx, sk);
    }
    identify_loss(ns, cx, sk, found);
    if !time_to_recover(sk) {
        try_to_open(sk, found.ece);
        return rexmit;
    }
    enter_recovery(sk, found.ece);
    Rexmit::Lost
}

/// tcp_check_sack_reneging: the peer has thrown away what it had told of.
fn check_sack_reneging(cx: &mut Cx<'_>, ns: &mut NetNs, sk: &mut Sock) -> bool {
    sk.is_sack_reneg = true;
    // Differs: a stretch of the ACKs of one round trip is not waited for (tcp_check_sack_reneging's 10 ms bound is).
    let when = ns_to_jiffies(u64::from(sk.srtt_us >> 4) * 1000).max(ns_to_jiffies(10_000_000));
    timer::reset_xmit(ns, cx, sk, Xmit::Retransmit, when);
    true
}

/// tcp_try_to_open
fn try_to_open(sk: &mut Sock, ece: bool) {
    if sk.retrans_out == 0 {
        sk.retrans_stamp = 0;
    }
    if ece {
        enter_cwr(sk);
    }
    if sk.ca_state != CaState::Cwr {
        try_keep_open(sk);
    }
}

/// tcp_time_to_recover
fn time_to_recover(sk: &Sock) -> bool {
    sk.lost_out > 0
}

/// tcp_identify_packet_loss: by time (RACK), or by the number of duplicates.
fn identify_loss(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, found: &mut Found) {
    if sk.rtx.is_empty() {
        return;
    }
    if !sk.rx_opt.sack_ok {
        newreno_mark_lost(sk, found.snd_una_advanced);
        return;
    }
    let prior = sk.retrans_out;
    if rack_mark_lost(ns, cx, sk) {
        found.set_xmit_timer = false;
    }
    if prior > sk.retrans_out {
        found.lost_retrans = true;
    }
}

/// tcp_newreno_mark_lost
fn newreno_mark_lost(sk: &mut Sock, una_advanced: bool) {
    let partial = sk.ca_state == CaState::Recovery && una_advanced;
    let enough = sk.ca_state < CaState::Recovery && sk.sacked_out >= sk.reordering;
    if !partial && !enough {
        return;
    }
    let Some(first) = sk.rtx.front().copied() else { return };
    if first.lost {
        return;
    }
    if first.pcount() > 1 {
        sack::split(sk, 0, first.mss);
    }
    mark_lost(sk, 0);
}

/// tcp_mark_skb_lost
fn mark_lost(sk: &mut Sock, at: usize) {
    let Some(skb) = sk.rtx.get_mut(at) else { return };
    if skb.sacked {
        return;
    }
    let pcount = skb.pcount();
    if skb.lost {
        if skb.retrans {
            skb.retrans = false;
            sk.retrans_out = sk.retrans_out.saturating_sub(pcount);
        }
        return;
    }
    skb.lost = true;
    if skb.retrans {
        skb.retrans = false;
        sk.retrans_out = sk.retrans_out.saturating_sub(pcount);
    }
    sk.lost_out += pcount;
}

/// Segments longer than `mss` cannot have arrived.
pub(super) fn mark_too_long(sk: &mut Sock, mss: u32) {
    for at in 0..sk.rtx.len() {
        if sk.rtx[at].len().min(sk.rtx[at].mss) > mss {
            mark_lost(sk, at);
        }
    }
}

/// tcp_non_congestion_loss_retransmit
pub(super) fn non_congestion_loss(sk: &mut Sock) {
    if sk.ca_state != CaState::Loss {
        sk.high_seq = sk.snd_nxt;
        sk.snd_ssthresh = sk.current_ssthresh();
        (sk.prior_ssthresh, sk.undo_marker) = (0, 0);
        set_ca_state(sk, CaState::Loss);
    }
}

/// tcp_add_reno_sack: a duplicate ACK is a segment that has left the network.
fn add_reno_sack(sk: &mut Sock, count: u32) {
    sk.sacked_out = (sk.sacked_out + count).min(sk.packets_out.saturating_sub(1));
    sk.delivered = sk.delivered.wrapping_add(count);
}

/// tcp_remove_reno_sacks
pub(super) fn remove_reno_sacks(sk: &mut Sock, acked: u32) {
    if acked > 0 {
        sk.delivered = sk.delivered.wrapping_add(acked.saturating_sub(sk.sacked_out).max(1));
        sk.sacked_out = sk.sacked_out.saturating_sub(acked - 1);
    }
}

/// tcp_enter_recovery
fn enter_recovery(sk: &mut Sock, ece: bool) {
    // tcp_init_undo
    sk.prior_ssthresh = 0;
    sk.undo_marker = sk.snd_una;
    sk.undo_retrans = if sk.retrans_out > 0 { Some(sk.retrans_out) } else { None };
    if !sk.in_cwnd_reduction() {
        // What a mark has caused is not taken back.
        if !ece {
            sk.prior_ssthresh = sk.current_ssthresh();
        }
        init_cwnd_reduction(sk);
    }
    set_ca_state(sk, CaState::Recovery);
}

/// tcp_enter_loss: the time-out has expired.
pub(super) fn enter_loss(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let new_recovery = sk.ca_state < CaState::Recovery;
    timeout_mark_lost(cx, sk);
    if sk.ca_state <= CaState::Disorder
        || !after(sk.high_seq, sk.snd_una)
        || sk.ca_state == CaState::Loss && sk.retransmits == 0
    {
        sk.prior_ssthresh = sk.current_ssthresh();
        sk.prior_cwnd = sk.snd_cwnd;
        sk.snd_ssthresh = sk.ca_ssthresh();
        sk.undo_marker = sk.snd_una;
        sk.undo_retrans = if sk.retrans_out > 0 { Some(sk.retrans_out) } else { None };
    }
    sk.snd_cwnd = sk.in_flight() + 1;
    sk.snd_cwnd_cnt = 0;
    sk.snd_cwnd_stamp = cx.jiffies();
    // More reordering than this is not believed in after a time-out.
    let most = ns.sockets.tcp.sysctl.reordering as u32;
    if sk.ca_state <= CaState::Disorder && sk.sacked_out >= most {
        sk.reordering = sk.reordering.min(most);
    }
    set_ca_state(sk, CaState::Loss);
    sk.ca.loss(now_us(cx), sk.snd_nxt);
    sk.high_seq = sk.snd_nxt;
    sk.tlp_high_seq = 0;
    sk.ecn.queue_cwr();
    sk.frto = ns.sockets.tcp.sysctl.frto != 0 && (new_recovery || sk.retransmits > 0);
}

/// tcp_timeout_mark_lost
fn timeout_mark_lost(cx: &Cx<'_>, sk: &mut Sock) {
    let reneg = sk.is_sack_reneg || sk.rtx.front().is_some_and(|skb| skb.sacked);
    if reneg {
        sk.sacked_out = 0;
        sk.is_sack_reneg = true;
        sk.rtx.iter_mut().for_each(|skb| skb.sacked = false);
    } else if !sk.rx_opt.sack_ok {
        sk.sacked_out = 0;
    }
    let now = now_us(cx);
    let first = sk.rtx.front().map(|skb| skb.seq);
    for at in 0..sk.rtx.len() {
        let skb = sk.rtx[at];
        let rack = sk.rx_opt.sack_ok && !reneg && Some(skb.seq) != first;
        if rack && rack_skb_timeout(sk, &skb, 0, now) > 0 && !skb.lost {
            continue;
        }
        mark_lost(sk, at);
    }
}

/// tcp_process_loss: ACKs after a time-out (F-RTO, RFC 5682).
fn process_loss(cx: &Cx<'_>, sk: &mut Sock, dupack: bool, found: &Found) -> Rexmit {
    let recovered = !before(sk.snd_una, sk.high_seq);
    if (found.snd_una_advanced || sk.tlp_high_seq != 0) && try_undo_loss(cx, sk, false) {
        return Rexmit::None;
    }
    if sk.frto {
        // Step 3.b: what was never sent again arrived.
        if found.orig_sack_acked && try_undo_loss(cx, sk, true) {
            return Rexmit::None;
        }
        if after(sk.snd_nxt, sk.high_seq) {
            if found.data_sacked || dupack {
                // Step 3.a: a loss it was.
                sk.frto = false;
            }
        } else if found.snd_una_advanced && !recovered {
            sk.high_seq = sk.snd_nxt;
            // Step 2.b: new data will tell.
            if !sk.wq.is_empty() && after(sk.wnd_end(), sk.snd_nxt) {
                return Rexmit::New;
            }
            sk.frto = false;
        }
    }
    if recovered {
        // F-RTO: everything is acknowledged.
        try_undo_recovery(cx, sk);
        return Rexmit::None;
    }
    if !sk.rx_opt.sack_ok {
        if after(sk.snd_nxt, sk.high_seq) && dupack {
            add_reno_sack(sk, 1);
        } else if found.snd_una_advanced {
            sk.sacked_out = 0;
        }
    }
    Rexmit::Lost
}

/// tcp_packet_delayed: the timestamp echoed is older than the first retransmission (Eifel, RFC 3522).
fn packet_delayed(sk: &Sock) -> bool {
    if sk.retrans_stamp != 0 {
        return sk.rx_opt.saw_tstamp && sk.rx_opt.rcv_tsecr != 0 && before(sk.rx_opt.rcv_tsecr, sk.retrans_stamp);
    }
    // Nothing was sent again: all is late. Unless the stamp was taken back, by the end of a recovery without SACK or by
    // the ACK of a SYN.
    let forgotten = !sk.rx_opt.sack_ok && !before(sk.snd_una, sk.high_seq) || sk.state == State::SynSent;
    !forgotten
}

/// tcp_try_undo_spurious_syn: the SYN, or the SYN-ACK, that was sent again had arrived the first time.
pub(super) fn try_undo_spurious_syn(sk: &mut Sock) {
    if sk.retrans_stamp != 0 && sk.rx_opt.saw_tstamp && sk.rx_opt.rcv_tsecr == sk.retrans_stamp {
        sk.undo_marker = 0;
    }
}

/// tcp_may_undo
fn may_undo(sk: &Sock) -> bool {
    sk.undo_marker != 0 && (sk.undo_retrans == Some(0) || packet_delayed(sk))
}

/// tcp_undo_cwnd_reduction
fn undo_cwnd_reduction(cx: &Cx<'_>, sk: &mut Sock, unmark_loss: bool) {
    if unmark_loss {
        sk.rtx.iter_mut().for_each(|skb| skb.lost = false);
        sk.lost_out = 0;
    }
    if sk.prior_ssthresh != 0 {
        sk.snd_cwnd = sk.undo_cwnd();
        if sk.prior_ssthresh > sk.snd_ssthresh {
            sk.snd_ssthresh = sk.prior_ssthresh;
            sk.ecn.withdraw_cwr();
        }
    }
    sk.snd_cwnd_stamp = cx.jiffies();
    sk.undo_marker = 0;
    sk.rack.advanced = true;
}

/// tcp_try_undo_recovery: whether the state stays, since Reno cannot tell duplicates of it apart.
fn try_undo_recovery(cx: &Cx<'_>, sk: &mut Sock) -> bool {
    if may_undo(sk) {
        undo_cwnd_reduction(cx, sk, false);
    }
    if sk.snd_una == sk.high_seq && !sk.rx_opt.sack_ok {
        // Hold on until something new is acknowledged (RFC 6582).
        return true;
    }
    set_ca_state(sk, CaState::Open);
    sk.is_sack_reneg = false;
    false
}

/// tcp_try_undo_dsack
fn try_undo_dsack(cx: &Cx<'_>, sk: &mut Sock) -> bool {
    if sk.undo_marker != 0 && sk.undo_retrans == Some(0) {
        sk.rack.reo_wnd_persist = sk.rack.reo_wnd_persist.saturating_add(1).min(RACK_RECOVERY_THRESH);
        undo_cwnd_reduction(cx, sk, false);
        return true;
    }
    false
}

/// tcp_try_undo_loss
fn try_undo_loss(cx: &Cx<'_>, sk: &mut Sock, frto: bool) -> bool {
    if !frto && !may_undo(sk) {
        return false;
    }
    undo_cwnd_reduction(cx, sk, true);
    sk.retransmits = 0;
    if frto || sk.rx_opt.sack_ok {
        set_ca_state(sk, CaState::Open);
        sk.is_sack_reneg = false;
    }
    true
}

/// tcp_try_undo_partial: an ACK of a part tells that nothing was lost.
fn try_undo_partial(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, prior_una: u32) -> bool {
    if sk.undo_marker == 0 || !packet_delayed(sk) {
        return false;
    }
    check_sack_reordering(ns, sk, prior_una);
    if sk.retrans_out > 0 {
        return true;
    }
    sk.retrans_stamp = 0;
    undo_cwnd_reduction(cx, sk, true);
    try_keep_open(sk);
    false
}

/// tcp_check_sack_reordering: how far apart segments may arrive.
#[cold]
pub(super) fn check_sack_reordering(ns: &NetNs, sk: &mut Sock, low_seq: u32) {
    let fack = sack::highest_sack_seq(sk);
    if !before(low_seq, fack) {
        return;
    }
    let mss = sk.mss_cache.max(1);
    let metric = fack.wrapping_sub(low_seq);
    if metric > sk.reordering * mss {
        let most = ns.sockets.tcp.sysctl.max_reordering as u32;
        sk.reordering = metric.div_ceil(mss).min(most);
    }
    sk.reord_seen += 1;
}

/// tcp_dsack_seen: how many segments were received twice.
pub(super) fn dsack_seen(sk: &mut Sock, start: u32, end: u32, found: &mut Found) -> u32 {
    let len = end.wrapping_sub(start);
    let segments = if len > sk.mss_cache { len.div_ceil(sk.mss_cache.max(1)) } else { 1 };
    if sk.tlp_high_seq != 0 && !after(sk.tlp_high_seq, end) && after(end, start) && sk.tlp_retrans {
        found.dsack_tlp = end == sk.tlp_high_seq;
    }
    if !found.dsack_tlp {
        sk.rack.dsack_seen = true;
    }
    segments
}

/// The connection begins anew: what was sent again does not count.
pub(super) fn forget_retransmits(sk: &mut Sock) {
    sk.retransmits = 0;
    sk.backoff = 0;
}

/// tcp_cong_control
pub(super) fn cong_control(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock, ack: u32, delivered: u32, found: &Found) {
    if sk.in_cwnd_reduction() {
        let lost = sk.lost_out.saturating_sub(found.prior_lost);
        cwnd_reduction(sk, delivered, lost, found.snd_una_advanced);
    } else if may_raise_cwnd(ns, sk, found) {
        sk.cong_avoid(cx.jiffies(), now_us(cx), ack, delivered);
        sk.snd_cwnd_stamp = cx.jiffies();
    }
}

/// tcp_may_raise_cwnd
fn may_raise_cwnd(ns: &NetNs, sk: &Sock, found: &Found) -> bool {
    if i64::from(sk.reordering) > ns.sockets.tcp.sysctl.reordering {
        return found.forward_progress();
    }
    found.data_acked
}

/// tcp_xmit_recovery
pub(super) fn xmit_recovery(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, rexmit: Rexmit) {
    if rexmit == Rexmit::None || sk.state == State::SynSent {
        return;
    }
    if rexmit == Rexmit::New {
        tx::push_pending(ns, cx, sk);
        if after(sk.snd_nxt, sk.high_seq) {
            return;
        }
        sk.frto = false;
    }
    xmit_retransmit_queue(ns, cx, sk);
}

/// tcp_xmit_retransmit_queue: what is lost goes out again as far as the window allows.
pub(super) fn xmit_retransmit_queue(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.packets_out == 0 {
        return;
    }
    let mut rearm = false;
    let mut at = 0;
    while at < sk.rtx.len() {
        let room = sk.snd_cwnd.saturating_sub(sk.in_flight());
        if room == 0 {
            break;
        }
        let skb = sk.rtx[at];
        if skb.sacked || skb.retrans || !skb.lost {
            at += 1;
            continue;
        }
        let segments = room.min(tx::tso_segs(sk, sk.mss_cache));
        if tx::retransmit(ns, cx, sk, at, segments).is_err() {
            return;
        }
        if sk.in_cwnd_reduction() {
            sk.prr_out += sk.rtx.get(at).map_or(0, TxSkb::pcount);
        }
        rearm |= at == 0 && sk.xmit.what != Some(Xmit::ReoTimeout);
        at += 1;
    }
    if rearm {
        let rto = sk.rto;
        timer::reset_xmit(ns, cx, sk, Xmit::Retransmit, rto);
    }
}

/// tcp_rack_advance: a segment was delivered.
pub(super) fn rack_advance(sk: &mut Sock, skb: &TxSkb, now_us: u64) {
    let rtt = now_us.saturating_sub(skb.sent_us);
    if rtt < u64::from(sk.rtt_min.best()) && skb.ever_retrans {
        // Likely the original, not the retransmission.
        return;
    }
    sk.rack.advanced = true;
    sk.rack.rtt_us = rtt;
    if sent_after(skb.sent_us, sk.rack.mstamp_us, skb.end_seq, sk.rack.end_seq) {
        (sk.rack.mstamp_us, sk.rack.end_seq) = (skb.sent_us, skb.end_seq);
    }
}

/// tcp_skb_sent_after
fn sent_after(t1: u64, t2: u64, seq1: u32, seq2: u32) -> bool {
    t1 > t2 || t1 == t2 && after(seq1, seq2)
}

/// tcp_rack_reo_wnd: how late a segment may be.
fn reo_wnd(sk: &Sock) -> u64 {
    if sk.reord_seen == 0 && (sk.ca_state >= CaState::Recovery || sk.sacked_out >= sk.reordering) {
        return 0;
    }
    let quarter = u64::from(sk.rtt_min.best() >> 2) * u64::from(sk.rack.reo_wnd_steps);
    // No round trip takes less, though here nothing may have taken any time.
    quarter.min(u64::from(sk.srtt_us >> 3)).max(1)
}

/// tcp_rack_skb_timeout: how long until the segment counts as lost, in microseconds; not positive if it does.
fn rack_skb_timeout(sk: &Sock, skb: &TxSkb, reo_wnd: u64, now_us: u64) -> i64 {
    (sk.rack.rtt_us + reo_wnd) as i64 - now_us.saturating_sub(skb.sent_us) as i64
}

/// tcp_rack_detect_loss: the longest wait of those that are late, in microseconds.
fn rack_detect_loss(cx: &Cx<'_>, sk: &mut Sock) -> u64 {
    let (now, wnd) = (now_us(cx), reo_wnd(sk));
    let mut timeout = 0;
    for at in 0..sk.rtx.len() {
        let skb = sk.rtx[at];
        if skb.lost && !skb.retrans || skb.sacked {
            continue;
        }
        if !sent_after(sk.rack.mstamp_us, skb.sent_us, sk.rack.end_seq, skb.end_seq) {
            // Linux's list is in the order of sending: all behind are later.
            if skb.ever_retrans {
                continue;
            }
            break;
        }
        let remaining = rack_skb_timeout(sk, &skb, wnd, now);
        if remaining <= 0 {
            mark_lost(sk, at);
        } else {
            timeout = timeout.max(remaining as u64);
        }
    }
    timeout
}

/// tcp_rack_mark_lost: whether the reordering timer was set.
fn rack_mark_lost(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) -> bool {
    if !std::mem::take(&mut sk.rack.advanced) {
        return false;
    }
    let timeout = rack_detect_loss(cx, sk);
    if timeout == 0 {
        return false;
    }
    let when = ns_to_jiffies((timeout + TIMEOUT_MIN_US) * 1000);
    timer::reset_xmit(ns, cx, sk, Xmit::ReoTimeout, when.min(sk.rto));
    true
}

/// tcp_rack_reo_timeout
pub(super) fn rack_reo_timeout(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let prior = sk.in_flight();
    let lost_before = sk.lost_out;
    rack_detect_loss(cx, sk);
    if prior != sk.in_flight() {
        if sk.ca_state != CaState::Recovery {
            enter_recovery(sk, false);
        }
        if sk.in_cwnd_reduction() {
            let lost = sk.lost_out.saturating_sub(lost_before);
            cwnd_reduction(sk, 1, lost, false);
        }
        xmit_retransmit_queue(ns, cx, sk);
    }
    if sk.xmit.what != Some(Xmit::Retransmit) {
        timer::rearm_rto(ns, cx, sk);
    }
}

/// tcp_rack_update_reo_wnd: what was received twice tells that it was not lost but late.
pub(super) fn rack_update_reo_wnd(sk: &mut Sock, found: &Found) {
    let r = &mut sk.rack;
    // One round at a time.
    if before(found.prior_delivered, r.last_delivered) {
        r.dsack_seen = false;
    }
    if r.dsack_seen {
        r.reo_wnd_steps = r.reo_wnd_steps.saturating_add(1);
        r.dsack_seen = false;
        r.last_delivered = sk.delivered;
        r.reo_wnd_persist = RACK_RECOVERY_THRESH;
    } else if r.reo_wnd_persist == 0 {
        r.reo_wnd_steps = 1;
    }
}

/// tcp_retransmit_timestamp: when the episode's first retransmission was sent.
pub(super) fn stamp_retransmission(cx: &Cx<'_>, sk: &mut Sock) {
    if sk.retrans_stamp == 0 {
        sk.retrans_stamp = now_ms(cx).max(1);
    }
}
