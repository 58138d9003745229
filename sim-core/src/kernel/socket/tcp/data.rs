//! Mirrors the receive queue and delayed ACKs of net/ipv4/tcp_input.c (tcp_data_queue, tcp_fin, tcp_event_data_recv,
//! __tcp_ack_snd_check). Read RFC 9293 sections 3.8.6.3 and 3.10.7.4 and RFC 2018 before editing.

use super::coalesce;
use super::prune::rmem_schedule;
use super::rx::{Segment, Verdict};
use super::sock::{RxSkb, Sock, State, now_us};
use super::timer;
use super::timewait::{self, Substate};
use super::{after, before, ecn, transmit, window};
use crate::kernel::cx::Cx;
use crate::kernel::frame::Frame;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::{HZ, ns_to_jiffies};
use crate::kernel::trace::DropReason;

/// TCP_ATO_MIN and TCP_DELACK_MIN in ticks: 40 ms.
pub(super) const TCP_ATO_MIN: u64 = HZ / 25;
/// TCP_DELACK_MAX in ticks: 200 ms.
pub(super) const TCP_DELACK_MAX: u64 = HZ / 5;
/// TCP_MAX_QUICKACKS
pub(super) const TCP_MAX_QUICKACKS: u32 = 16;
/// TCP_NUM_SACKS
const TCP_NUM_SACKS: usize = 4;
/// TCP_FASTRETRANS_THRESH
const TCP_FASTRETRANS_THRESH: u32 = 3;
/// As many segments out of order one connection keeps, whatever their memory.
const MAX_OFO: usize = 1 << 15;

/// tcp_data_queue: what `seg` carries goes to the receive queue, or waits for what is missing.
pub(super) fn queue(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment, f: &Frame) -> Verdict {
    if seg.seq == seg.end_seq {
        return Verdict::Taken;
    }
    sk.dsack = None;
    let mut skb = seg.to_skb(f);
    if skb.seq == sk.rcv_nxt {
        // A bare FIN is taken even so.
        if sk.receive_window() == 0 && seg.len() > 0 {
            return out_of_window(sk, DropReason::TcpZeroWindow);
        }
        return in_order(ns, cx, sk, seg, skb);
    }
    if !after(skb.end_seq, sk.rcv_nxt) {
        // A retransmission of what is here: the ACK was lost.
        set_dsack(ns, sk, skb.seq, skb.end_seq);
        return out_of_window(sk, DropReason::TcpOldData);
    }
    if !before(skb.seq, sk.rcv_nxt.wrapping_add(sk.receive_window())) {
        return out_of_window(sk, DropReason::TcpOverwindow);
    }
    if before(skb.seq, sk.rcv_nxt) {
        // A part of it is new.
        set_dsack(ns, sk, skb.seq, sk.rcv_nxt);
        if sk.receive_window() == 0 {
            return out_of_window(sk, DropReason::TcpZeroWindow);
        }
        let old = sk.rcv_nxt.wrapping_sub(skb.seq) as usize;
        skb.data.drain(..old.min(skb.data.len()));
        skb.seq = sk.rcv_nxt;
        return in_order(ns, cx, sk, seg, skb);
    }
    queue_ofo(ns, cx, sk, seg, skb)
}

/// What lies outside the window: an ACK says at once what is expected.
fn out_of_window(sk: &mut Sock, why: DropReason) -> Verdict {
    enter_quickack(sk, TCP_MAX_QUICKACKS);
    sk.ack.scheduled = true;
    Verdict::Drop(why)
}

/// The next segment has come.
fn in_order(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment, skb: RxSkb) -> Verdict {
    if !rmem_schedule(ns, sk, &skb) {
        (sk.ack.nomem, sk.ack.now, sk.ack.scheduled) = (true, true, true);
        sk.wake(cx);
        if !sk.queue.is_empty() && !skb.data.is_empty() {
            return Verdict::Drop(DropReason::ProtoMem);
        }
    }
    let fin = skb.fin;
    sk.rcv_nxt = skb.end_seq;
    let eaten = coalesce::try_coalesce(sk, &skb, seg.layout.snd_una);
    if !eaten {
        sk.rmem += u64::from(skb.truesize);
    }
    if !skb.data.is_empty() {
        event_data_recv(ns, cx, sk, seg, &skb);
    }
    if !eaten {
        sk.queue.push_back(skb);
    }
    if fin {
        tcp_fin(ns, cx, sk);
    }
    if sk.state != State::Close && !sk.ofo.is_empty() {
        from_ofo(ns, cx, sk, seg.layout.snd_una);
        // RFC 5681 section 4.2: an ACK at once when a gap is filled.
        if sk.ofo.is_empty() {
            sk.ack.now = true;
        }
    }
    if !sk.selective_acks.is_empty() {
        let next = sk.rcv_nxt;
        sk.selective_acks.retain(|(start, _)| after(*start, next));
    }
    sk.wake(cx);
    Verdict::Taken
}

/// tcp_data_queue_ofo
fn queue_ofo(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment, mut skb: RxSkb) -> Verdict {
    ecn::data_check(sk, seg);
    if !rmem_schedule(ns, sk, &skb) || sk.ofo.len() >= MAX_OFO {
        sk.wake(cx);
        return Verdict::Drop(DropReason::ProtoMem);
    }
    window::measure_rcv_mss(sk, &skb, seg.gso_size, seg.header_len, seg.flags.psh);
    sk.ack.scheduled = true;
    let (seq, end_seq) = (skb.seq, skb.end_seq);
    // Where it belongs: behind all that begin before it.
    let mut at = sk.ofo.len();
    while at > 0 && before(skb.seq, sk.ofo[at - 1].seq) {
        at -= 1;
    }
    if at > 0 {
        if coalesce::try_coalesce_ofo(sk, at - 1, &skb, seg.layout.snd_una) {
            grow_ofo(ns, sk, &skb, true);
            sack_new_ofo(sk, seq, end_seq);
            return Verdict::Taken;
        }
        let left = &sk.ofo[at - 1];
        if before(skb.seq, left.end_seq) {
            if !after(skb.end_seq, left.end_seq) {
                // All of it is here.
                set_dsack(ns, sk, seq, end_seq);
                sack_new_ofo(sk, seq, end_seq);
                return Verdict::Drop(DropReason::TcpOfomerge);
            }
            if after(skb.seq, left.seq) {
                // Partial overlap: what is new follows what is there.
                let overlap = left.end_seq;
                set_dsack(ns, sk, seq, overlap);
                let cut = overlap.wrapping_sub(skb.seq) as usize;
                skb.data.drain(..cut.min(skb.data.len()));
                skb.seq = overlap;
            } else {
                // The same beginning, and longer: it takes its place.
                let (start, end) = (left.seq, left.end_seq);
                set_dsack(ns, sk, start, end);
                at -= 1;
                remove_ofo(sk, at);
            }
        }
    }
    // What it covers of those behind it.
    while at < sk.ofo.len() && after(skb.end_seq, sk.ofo[at].seq) {
        let (start, end) = (sk.ofo[at].seq, sk.ofo[at].end_seq);
        if before(skb.end_seq, end) {
            set_dsack(ns, sk, start, skb.end_seq);
            break;
        }
        set_dsack(ns, sk, start, end);
        remove_ofo(sk, at);
    }
    sack_new_ofo(sk, seq, end_seq);
    grow_ofo(ns, sk, &skb, false);
    sk.rmem += u64::from(skb.truesize);
    sk.ofo.insert(at, skb);
    Verdict::Taken
}

/// The window grows with a segment that is out of order, if the peer understands SACK: a changed window would hide a
/// duplicate ACK from those who count them.
fn grow_ofo(ns: &NetNs, sk: &mut Sock, skb: &RxSkb, coalesced: bool) {
    if sk.rx_opt.sack_ok {
        window::grow(ns, sk, skb, coalesced);
    }
}

fn remove_ofo(sk: &mut Sock, at: usize) {
    if let Some(old) = sk.ofo.remove(at) {
        sk.rmem -= u64::from(old.truesize);
    }
}

/// tcp_ofo_queue: the gap is closed.
fn from_ofo(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, snd_una: u32) {
    while let Some(first) = sk.ofo.front() {
        if after(first.seq, sk.rcv_nxt) {
            break;
        }
        let Some(mut skb) = sk.ofo.pop_front() else { break };
        if before(skb.seq, sk.rcv_nxt) {
            let until = if before(sk.rcv_nxt, skb.end_seq) { sk.rcv_nxt } else { skb.end_seq };
            set_dsack(ns, sk, skb.seq, until);
        }
        if !after(skb.end_seq, sk.rcv_nxt) {
            sk.rmem -= u64::from(skb.truesize);
            continue;
        }
        let old = sk.rcv_nxt.wrapping_sub(skb.seq) as usize;
        skb.data.drain(..old.min(skb.data.len()));
        skb.seq = sk.rcv_nxt;
        sk.rcv_nxt = skb.end_seq;
        let fin = skb.fin;
        let truesize = u64::from(skb.truesize);
        if coalesce::try_coalesce(sk, &skb, snd_una) {
            sk.rmem -= truesize;
        } else {
            sk.queue.push_back(skb);
        }
        if fin {
            tcp_fin(ns, cx, sk);
            break;
        }
    }
}

/// tcp_dsack_set: a duplicate is told of in the next ACK (RFC 2883).
fn set_dsack(ns: &NetNs, sk: &mut Sock, seq: u32, end_seq: u32) {
    if sk.rx_opt.sack_ok && ns.sockets.tcp.sysctl.sack != 0 {
        sk.dsack = Some(match sk.dsack {
            // tcp_dsack_extend
            Some((start, end)) if !before(end_seq, start) && !before(end, seq) => {
                (if before(seq, start) { seq } else { start }, if after(end_seq, end) { end_seq } else { end })
            }
            _ => (seq, end_seq),
        });
    }
}

/// tcp_sack_new_ofo_skb: the block of the newest segment comes first (RFC 2018 section 4).
fn sack_new_ofo(sk: &mut Sock, seq: u32, end_seq: u32) {
    if !sk.rx_opt.sack_ok {
        return;
    }
    let sacks = &mut sk.selective_acks;
    let touches = |b: &(u32, u32)| !before(end_seq, b.0) && !before(b.1, seq);
    if let Some(at) = sacks.iter().position(touches) {
        let mut block = sacks.remove(at);
        if before(seq, block.0) {
            block.0 = seq;
        }
        if after(end_seq, block.1) {
            block.1 = end_seq;
        }
        sacks.insert(0, block);
        // tcp_sack_maybe_coalesce
        let (start, end) = block;
        let mut merged = (start, end);
        let mut i = 1;
        while i < sacks.len() {
            let b = sacks[i];
            if !before(merged.1, b.0) && !before(b.1, merged.0) {
                merged = (
                    if before(b.0, merged.0) { b.0 } else { merged.0 },
                    if after(b.1, merged.1) { b.1 } else { merged.1 },
                );
                sacks.remove(i);
            } else {
                i += 1;
            }
        }
        sacks[0] = merged;
        return;
    }
    sacks.truncate(TCP_NUM_SACKS - 1);
    sacks.insert(0, (seq, end_seq));
}

/// tcp_fin
fn tcp_fin(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    sk.ack.scheduled = true;
    sk.shut_read = true;
    sk.done = true;
    match sk.state {
        State::SynRecv | State::Established => {
            sk.state = State::CloseWait;
            sk.ack.pingpong = ns.sockets.tcp.sysctl.pingpong_thresh as u8;
        }
        State::CloseWait | State::Closing | State::LastAck => {}
        State::FinWait1 => {
            // A simultaneous close: our FIN is not acknowledged yet.
            transmit::send_ack(ns, cx, sk);
            sk.state = State::Closing;
        }
        State::FinWait2 => {
            transmit::send_ack(ns, cx, sk);
            timewait::time_wait(ns, cx, sk, Substate::TimeWait, 0);
        }
        State::SynSent | State::Close | State::Listen => {}
    }
    // What is out of order behind a FIN is nonsense.
    let ofo: u64 = sk.ofo.drain(..).map(|skb| u64::from(skb.truesize)).sum();
    sk.rmem -= ofo;
    sk.selective_acks.clear();
    sk.wake(cx);
}

/// tcp_event_data_recv: how long the next ACK may wait.
fn event_data_recv(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock, seg: &Segment, skb: &RxSkb) {
    sk.ack.scheduled = true;
    window::measure_rcv_mss(sk, skb, seg.gso_size, seg.header_len, seg.flags.psh);
    window::rtt_measure(sk, now_us(cx));
    let now = cx.jiffies();
    if sk.ack.ato == 0 {
        // The first data.
        incr_quickack(sk, TCP_MAX_QUICKACKS);
        sk.ack.ato = TCP_ATO_MIN;
    } else {
        let m = now.wrapping_sub(sk.ack.lrcvtime);
        if m <= TCP_ATO_MIN / 2 {
            sk.ack.ato = (sk.ack.ato >> 1) + TCP_ATO_MIN / 2;
        } else if m < sk.ack.ato {
            sk.ack.ato = ((sk.ack.ato >> 1) + m).min(sk.rto);
        } else if m > sk.rto {
            // Too long a gap: the sender has restarted its window, so it gets ACKs quickly.
            incr_quickack(sk, TCP_MAX_QUICKACKS);
        }
    }
    sk.ack.lrcvtime = now;
    ecn::data_check(sk, seg);
    if skb.data.len() >= 128 {
        window::grow(ns, sk, skb, true);
    }
}

/// tcp_incr_quickack
fn incr_quickack(sk: &mut Sock, most: u32) {
    let quick = sk.rcv_wnd / (2 * sk.ack.rcv_mss.max(1));
    let quick = if quick == 0 { 2 } else { quick };
    sk.ack.quick = sk.ack.quick.max(quick.min(most));
}

/// tcp_enter_quickack_mode
pub(super) fn enter_quickack(sk: &mut Sock, most: u32) {
    incr_quickack(sk, most);
    sk.ack.pingpong = 0;
    sk.ack.ato = TCP_ATO_MIN;
}

/// tcp_in_quickack_mode
pub(super) fn in_quickack(ns: &NetNs, sk: &Sock) -> bool {
    sk.ack.quick > 0 && !sk.in_pingpong(ns)
}

/// tcp_event_ack_sent: an ACK is on its way, alone or with data.
pub(super) fn event_ack_sent(sk: &mut Sock) {
    sk.compressed_ack = 0;
    // tcp_dec_quickack_mode
    if sk.ack.quick > 0 {
        let packets = u32::from(sk.ack.scheduled);
        if packets >= sk.ack.quick {
            sk.ack.quick = 0;
            sk.ack.ato = TCP_ATO_MIN;
        } else {
            sk.ack.quick -= packets;
        }
    }
    // inet_csk_clear_xmit_timer: the timer itself runs on, and finds nothing to do.
    let a = &mut sk.ack;
    (a.scheduled, a.timer_pending, a.pushed, a.pushed2, a.now, a.nomem) = (false, false, false, false, false, false);
    sk.dsack = None;
}

/// tcp_send_dupack: an ACK at once, for a segment that cannot be taken.
pub(super) fn send_dupack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment) {
    if seg.end_seq != seg.seq && before(seg.seq, sk.rcv_nxt) {
        enter_quickack(sk, TCP_MAX_QUICKACKS);
        let end = if after(seg.end_seq, sk.rcv_nxt) { sk.rcv_nxt } else { seg.end_seq };
        set_dsack(ns, sk, seg.seq, end);
    }
    transmit::send_ack(ns, cx, sk);
}

/// tcp_ack_snd_check and __tcp_ack_snd_check: now, or with what is sent next, or after a while.
pub(super) fn ack_snd_check(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if !sk.ack.scheduled {
        return;
    }
    let full = sk.rcv_nxt.wrapping_sub(sk.rcv_wup) > sk.ack.rcv_mss;
    // SO_RCVLOWAT is one.
    let far = full && (sk.rcv_nxt == sk.copied_seq || window::announce(sk) >= sk.rcv_wnd);
    if far || in_quickack(ns, sk) || sk.ack.now {
        if sk.owned && ns.sockets.tcp.sysctl.backlog_ack_defer != 0 {
            sk.ack_deferred = true;
            return;
        }
        return transmit::send_ack(ns, cx, sk);
    }
    if sk.ofo.is_empty() {
        return send_delayed_ack(ns, cx, sk);
    }
    let sysctl = &ns.sockets.tcp.sysctl;
    if !sk.rx_opt.sack_ok || i64::from(sk.compressed_ack) >= sysctl.comp_sack_nr {
        return transmit::send_ack(ns, cx, sk);
    }
    if sk.compressed_ack_rcv_nxt != sk.rcv_nxt {
        (sk.compressed_ack_rcv_nxt, sk.dup_ack_counter) = (sk.rcv_nxt, 0);
    }
    if sk.dup_ack_counter < TCP_FASTRETRANS_THRESH {
        sk.dup_ack_counter += 1;
        return transmit::send_ack(ns, cx, sk);
    }
    // The rest of the gap's ACKs are put together, for a twentieth of the round trip.
    let rtt_us = match (sk.rcv_rtt_us, u64::from(sk.srtt_us)) {
        (rcv, srtt) if srtt != 0 && srtt < rcv => srtt,
        (rcv, _) => rcv,
    };
    let delay = (sysctl.comp_sack_delay_ns as u64).min(rtt_us * 125 / 20);
    if delay == 0 {
        return transmit::send_ack(ns, cx, sk);
    }
    sk.compressed_ack += 1;
    if sk.compressed_ack == 1 {
        timer::arm_compressed_ack(cx, sk, delay);
    }
}

/// tcp_send_delayed_ack
pub(super) fn send_delayed_ack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let mut ato = sk.ack.ato;
    if ato > TCP_ATO_MIN {
        let mut most = HZ / 2;
        if sk.in_pingpong(ns) || sk.ack.pushed {
            most = TCP_DELACK_MAX;
        }
        if sk.srtt_us > 0 {
            let rtt = ns_to_jiffies(u64::from(sk.srtt_us >> 3) * 1000).max(TCP_ATO_MIN);
            most = most.min(rtt);
        }
        ato = ato.min(most);
    }
    ato = ato.min(TCP_DELACK_MAX);
    let now = cx.jiffies();
    let mut at = now + ato;
    if sk.ack.timer_pending {
        // It is due soon anyway.
        if sk.ack.timer.expires <= now + (ato >> 2) {
            return transmit::send_ack(ns, cx, sk);
        }
        at = at.min(sk.ack.timer.expires);
    }
    (sk.ack.scheduled, sk.ack.timer_pending) = (true, true);
    timer::reset_delack(cx, sk, at);
}

/// tcp_cleanup_rbuf: the program has read; it may be time to say so.
pub(super) fn cleanup_rbuf(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, copied: usize) {
    let mut time_to_ack = false;
    if sk.ack.scheduled {
        let far = sk.rcv_nxt.wrapping_sub(sk.rcv_wup) > sk.ack.rcv_mss;
        let pushed = sk.ack.pushed2 || sk.ack.pushed && !sk.in_pingpong(ns);
        // Everything read of a one-way stream: the ACK need not wait.
        time_to_ack = far || copied > 0 && pushed && sk.rmem == 0;
    }
    if copied > 0 && !time_to_ack && !sk.shut_read {
        let now = sk.receive_window();
        // The window has opened a lot.
        if 2 * now <= sk.window_clamp {
            let new = window::announce(sk);
            time_to_ack = new > 0 && new >= 2 * now;
        }
    }
    if time_to_ack {
        transmit::send_ack(ns, cx, sk);
    }
}
