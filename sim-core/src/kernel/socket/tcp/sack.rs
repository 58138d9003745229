//! Mirrors tcp_sacktag_write_queue of net/ipv4/tcp_input.c: which segments the peer has out of order. Read RFC 2018 and
//! RFC 2883 before editing.

use super::ack::Found;
use super::rx::Segment;
use super::sock::{Sock, TxSkb, now_us};
use super::{after, before, recovery};
use crate::kernel::cx::Cx;
use crate::kernel::frame::TCP_HEAD_TRUESIZE;
use crate::kernel::netns::NetNs;

/// tcp_highest_sack_seq: behind the last segment that was told of; SND.UNA if none was.
pub(super) fn highest_sack_seq(sk: &Sock) -> u32 {
    if sk.sacked_out == 0 {
        return sk.snd_una;
    }
    let last = sk.rtx.iter().rev().find(|skb| skb.sacked);
    last.map_or(sk.snd_una, |skb| skb.seq)
}

/// tcp_sacktag_write_queue
pub(super) fn tag(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment, prior_una: u32, found: &mut Found) {
    if seg.options.sacks().is_empty() || !sk.rx_opt.sack_ok {
        return;
    }
    let mut blocks = seg.options.sacks().to_vec();
    let dsack = check_dsack(sk, &blocks, seg.ack, prior_una, found);
    // A SACK of what was acknowledged a window ago is no news.
    if before(seg.ack, prior_una.wrapping_sub(sk.max_window)) {
        return;
    }
    if sk.packets_out == 0 {
        return;
    }
    if dsack {
        let block = blocks.remove(0);
        if is_valid(sk, block) && after(block.1, prior_una) {
            count_dsack(sk, block);
        }
    }
    blocks.retain(|b| is_valid(sk, *b) && after(b.1, sk.snd_una));
    blocks.sort_by_key(|b| b.0.wrapping_sub(sk.snd_una));
    let fack = highest_sack_seq(sk);
    let mut reord = None;
    for block in blocks {
        tag_block(cx, sk, block, fack, &mut reord, found);
    }
    if let Some(reord) = reord
        && before(reord, fack)
        && sk.undo_marker == 0
    {
        recovery::check_sack_reordering(ns, sk, reord);
    }
}

/// tcp_check_dsack: the first block is about what was received twice.
fn check_dsack(sk: &mut Sock, blocks: &[(u32, u32)], ack: u32, prior_una: u32, found: &mut Found) -> bool {
    let (start, end) = blocks[0];
    let duplicate = before(start, ack);
    let inside = blocks.get(1).is_some_and(|b| !after(end, b.1) && !before(start, b.0));
    if !duplicate && !inside {
        return false;
    }
    let valid = !after(end, sk.snd_nxt) && before(start, end);
    if !valid {
        return true;
    }
    found.dsacking_ack = true;
    let pcount = recovery::dsack_seen(sk, start, end, found);
    // D-SACK for already forgotten data.
    if let Some(left) = sk.undo_retrans
        && left > 0
        && !after(end, prior_una)
        && after(end, sk.undo_marker)
    {
        sk.undo_retrans = Some(left.saturating_sub(pcount.max(1)));
    }
    true
}

/// The part of tcp_sacktag_one that accounts a D-SACK for what was sent again and is still queued.
fn count_dsack(sk: &mut Sock, (start, end): (u32, u32)) {
    for skb in &sk.rtx {
        let whole = !before(skb.seq, start) && !after(skb.end_seq, end);
        if let Some(left) = sk.undo_retrans
            && left > 0
            && whole
            && (skb.retrans || skb.ever_retrans)
            && sk.undo_marker != 0
            && after(skb.end_seq, sk.undo_marker)
        {
            sk.undo_retrans = Some(left.saturating_sub(skb.pcount()));
        }
    }
}

/// tcp_is_sackblock_valid
fn is_valid(sk: &Sock, (start, end): (u32, u32)) -> bool {
    !after(end, sk.snd_nxt) && before(start, end) && before(start, sk.snd_nxt)
}

/// tcp_sacktag_walk for one block.
fn tag_block(
    cx: &Cx<'_>,
    sk: &mut Sock,
    (start, end): (u32, u32),
    fack: u32,
    reord: &mut Option<u32>,
    found: &mut Found,
) {
    let now = now_us(cx);
    let mut at = 0;
    while at < sk.rtx.len() {
        let skb = sk.rtx[at];
        if !before(skb.seq, end) {
            break;
        }
        if !after(skb.end_seq, start) {
            at += 1;
            continue;
        }
        // tcp_match_skb_to_sack: of a large segment only the part that was told of.
        if before(skb.seq, start) {
            let cut = round_down(start.wrapping_sub(skb.seq), skb.mss);
            if cut == 0 || !split(sk, at, cut) {
                at += 1;
                continue;
            }
            at += 1;
            continue;
        }
        if after(skb.end_seq, end) {
            let cut = round_down(end.wrapping_sub(skb.seq), skb.mss);
            if cut == 0 || !split(sk, at, cut) {
                break;
            }
        }
        tag_one(sk, at, now, fack, reord, found);
        at += 1;
    }
}

fn round_down(len: u32, mss: u32) -> u32 {
    len - len % mss.max(1)
}

/// tcp_sacktag_one
fn tag_one(sk: &mut Sock, at: usize, now_us: u64, fack: u32, reord: &mut Option<u32>, found: &mut Found) {
    let skb = sk.rtx[at];
    let pcount = skb.pcount();
    if !after(skb.end_seq, sk.snd_una) || skb.sacked {
        return;
    }
    recovery::rack_advance(sk, &skb, now_us);
    if skb.retrans {
        // Whether it was the retransmission is not known.
        if skb.lost {
            sk.lost_out = sk.lost_out.saturating_sub(pcount);
            sk.retrans_out = sk.retrans_out.saturating_sub(pcount);
        }
    } else {
        if !skb.ever_retrans {
            if before(skb.seq, fack) && reord.is_none_or(|r| before(skb.seq, r)) {
                *reord = Some(skb.seq);
            }
            found.orig_sack_acked |= !after(skb.end_seq, sk.high_seq);
            found.first_sackt = found.first_sackt.or(Some(skb.sent_us));
            found.last_sackt = Some(skb.sent_us);
        }
        if skb.lost {
            sk.lost_out = sk.lost_out.saturating_sub(pcount);
        }
    }
    found.data_sacked = true;
    let tagged = &mut sk.rtx[at];
    tagged.sacked = true;
    if skb.retrans && skb.lost {
        tagged.retrans = false;
    }
    tagged.lost = false;
    sk.sacked_out += pcount;
    sk.delivered = sk.delivered.wrapping_add(pcount);
}

/// tcp_fragment of a segment in the retransmission queue: the first `len` bytes become one of their own.
pub(super) fn split(sk: &mut Sock, at: usize, len: u32) -> bool {
    let Some(skb) = sk.rtx.get_mut(at) else { return false };
    let old = skb.pcount();
    let (head, tail) = halves(skb, len);
    *skb = head;
    sk.rtx.insert(at + 1, tail);
    adjust_pcount(sk, &head, old, head.pcount() + tail.pcount());
    true
}

/// The two parts of a segment cut after `len` bytes.
pub(super) fn halves(skb: &TxSkb, len: u32) -> (TxSkb, TxSkb) {
    let cut = skb.seq.wrapping_add(len);
    let mut head = TxSkb { end_seq: cut, fin: false, push: false, ..*skb };
    let mut tail = TxSkb { seq: cut, syn: false, ..*skb };
    let rest = tail.len();
    tail.truesize = TCP_HEAD_TRUESIZE + rest;
    head.truesize = skb.truesize.saturating_sub(rest);
    (head, tail)
}

/// tcp_adjust_pcount: the number of segments of a piece changed.
pub(super) fn adjust_pcount(sk: &mut Sock, skb: &TxSkb, old: u32, new: u32) {
    let adjust = |n: &mut u32| *n = (*n + new).saturating_sub(old);
    adjust(&mut sk.packets_out);
    if skb.sacked {
        adjust(&mut sk.sacked_out);
    }
    if skb.retrans {
        adjust(&mut sk.retrans_out);
    }
    if skb.lost {
        adjust(&mut sk.lost_out);
    }
}

/// tcp_tso_acked: the acknowledged front of the first segment goes; how many segments that were.
pub(super) fn trim_head(sk: &mut Sock) -> u32 {
    let una = sk.snd_una;
    let Some(skb) = sk.rtx.front_mut() else { return 0 };
    let before_cut = skb.pcount();
    let cut = una.wrapping_sub(skb.seq);
    skb.seq = una;
    skb.syn = false;
    skb.truesize = skb.truesize.saturating_sub(cut);
    let left = skb.pcount();
    sk.wmem = sk.wmem.saturating_sub(u64::from(cut));
    before_cut - left.min(before_cut)
}

/// The bytes before SND.UNA are not needed any more.
pub(super) fn drop_acknowledged(sk: &mut Sock) {
    let gone = sk.snd_una.wrapping_sub(sk.buf_seq) as usize;
    let gone = gone.min(sk.buf.len());
    sk.buf.drain(..gone);
    sk.buf_seq = sk.buf_seq.wrapping_add(gone as u32);
}
