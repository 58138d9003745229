//! Mirrors tcp_try_rmem_schedule, tcp_prune_queue and tcp_collapse of net/ipv4/tcp_input.c: what is done when what came
//! takes more memory than the receive buffer has. Read RFC 2018 section 8 before editing.

use super::sock::{RxSkb, Sock};
use super::{after, before, window};
use crate::kernel::frame::alloc_truesize;
use crate::kernel::netns::NetNs;
use std::collections::VecDeque;

/// SKB_MAX_ORDER(0, 0): the payload that fits one page.
const PAGE_PAYLOAD: u32 = 3776;

/// tcp_try_rmem_schedule: the memory for `skb`, if need be of what is queued.
pub(super) fn rmem_schedule(ns: &NetNs, sk: &mut Sock, skb: &RxSkb) -> bool {
    can_ingest(sk) || prune_queue(ns, sk, skb)
}

/// tcp_can_ingest: the last segment may exceed the buffer (recorded in labA-off/tcp_abort, whose full queue is not
/// collapsed).
fn can_ingest(sk: &Sock) -> bool {
    sk.rmem <= sk.rcvbuf
}

/// tcp_prune_queue
fn prune_queue(ns: &NetNs, sk: &mut Sock, skb: &RxSkb) -> bool {
    window::clamp(ns, sk);
    can_ingest(sk) || make_room(sk, skb)
}

/// The rest of tcp_prune_queue.
fn make_room(sk: &mut Sock, skb: &RxSkb) -> bool {
    collapse_ofo(sk);
    let (start, end) = (sk.copied_seq, sk.rcv_nxt);
    let mut queue = std::mem::take(&mut sk.queue);
    let all = queue.len();
    collapse(sk, &mut queue, 0, all, (start, end));
    sk.queue = queue;
    if !can_ingest(sk) {
        prune_ofo(sk, skb);
    }
    can_ingest(sk)
}

/// tcp_collapse_ofo_queue: each range without a gap is put together, unless all of it is tiny.
fn collapse_ofo(sk: &mut Sock) {
    let mut ofo = std::mem::take(&mut sk.ofo);
    let (mut head, mut tiny) = (0, 0);
    while head < ofo.len() {
        let (start, mut end) = (ofo[head].seq, ofo[head].end_seq);
        let mut truesize = ofo[head].truesize;
        let mut tail = head + 1;
        while tail < ofo.len() && !after(ofo[tail].seq, end) {
            truesize += ofo[tail].truesize;
            if after(ofo[tail].end_seq, end) {
                end = ofo[tail].end_seq;
            }
            tail += 1;
        }
        if truesize != ofo[head].truesize || end.wrapping_sub(start) >= PAGE_PAYLOAD {
            tail = collapse(sk, &mut ofo, head, tail, (start, end));
        } else {
            tiny += u64::from(truesize);
            if tiny > sk.rcvbuf >> 3 {
                break;
            }
        }
        head = tail;
    }
    sk.ofo = ofo;
}

/// tcp_collapse: the bytes of `range` in the segments from `head` to before `tail` go to as few pages as they fit.
/// Where `tail` is afterwards.
fn collapse(
    sk: &mut Sock,
    list: &mut VecDeque<RxSkb>,
    mut head: usize,
    mut tail: usize,
    (mut start, end): (u32, u32),
) -> usize {
    // Where it begins to be of use.
    loop {
        if head >= tail {
            return tail;
        }
        let skb = &list[head];
        if !before(start, skb.end_seq) {
            collapse_one(sk, list, head);
            tail -= 1;
            continue;
        }
        let bloated = sk.win_from_space(u64::from(skb.truesize)) > skb.data.len() as u32 || before(skb.seq, start);
        if !skb.fin && bloated || head + 1 < tail && skb.end_seq != list[head + 1].seq {
            break;
        }
        start = skb.end_seq;
        head += 1;
    }
    while before(start, end) && head < tail && !list[head].fin {
        let mut room = end.wrapping_sub(start).min(PAGE_PAYLOAD);
        let mut page = RxSkb {
            seq: start,
            end_seq: start,
            fin: false,
            data: Vec::with_capacity(room as usize),
            truesize: alloc_truesize(room as usize),
            ..RxSkb::default()
        };
        while room > 0 && head < tail && !list[head].fin {
            let skb = &list[head];
            let from = start.wrapping_sub(skb.seq) as usize;
            let bytes = skb.data.get(from..).unwrap_or_default();
            let size = bytes.len().min(room as usize);
            page.data.extend_from_slice(&bytes[..size]);
            start = start.wrapping_add(size as u32);
            room -= size as u32;
            if before(start, skb.end_seq) && size > 0 {
                continue;
            }
            collapse_one(sk, list, head);
            tail -= 1;
        }
        page.end_seq = start;
        sk.rmem += u64::from(page.truesize);
        list.insert(head, page);
        (head, tail) = (head + 1, tail + 1);
    }
    tail
}

/// tcp_collapse_one: this one is in a page now, or was read.
fn collapse_one(sk: &mut Sock, list: &mut VecDeque<RxSkb>, at: usize) {
    if let Some(skb) = list.remove(at) {
        sk.rmem -= u64::from(skb.truesize);
    }
}

/// tcp_prune_ofo_queue: the farthest segments are given up, an eighth of the buffer at a time, until `skb` fits; but
/// none for one that comes behind it.
fn prune_ofo(sk: &mut Sock, skb: &RxSkb) {
    let mut goal = sk.rcvbuf >> 3;
    let mut pruned = false;
    while let Some(last) = sk.ofo.back() {
        if after(skb.seq, last.seq) {
            break;
        }
        let size = u64::from(last.truesize);
        sk.ofo.pop_back();
        sk.rmem -= size;
        pruned = true;
        goal = goal.saturating_sub(size);
        if goal == 0 {
            if can_ingest(sk) {
                break;
            }
            goal = sk.rcvbuf >> 3;
        }
    }
    if pruned {
        // What was told by SACK is not true any more.
        sk.selective_acks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skb(seq: u32, len: usize, truesize: u32) -> RxSkb {
        let data = (0..len as u32).map(|n| seq.wrapping_add(n) as u8).collect();
        RxSkb { seq, end_seq: seq.wrapping_add(len as u32), fin: false, data, truesize, ..RxSkb::default() }
    }

    fn sock(queue: Vec<RxSkb>, ofo: Vec<RxSkb>) -> Sock {
        let rmem = queue.iter().chain(&ofo).map(|skb| u64::from(skb.truesize)).sum();
        let rcv_nxt = queue.last().map_or(0, |skb| skb.end_seq);
        let copied_seq = queue.first().map_or(0, |skb| skb.seq);
        let (queue, ofo) = (queue.into(), ofo.into());
        Sock { rmem, rcvbuf: 10_000, scaling_ratio: 128, rcv_nxt, copied_seq, queue, ofo, ..Sock::default() }
    }

    fn stream(list: &VecDeque<RxSkb>) -> Vec<u8> {
        list.iter().flat_map(|skb| skb.data.clone()).collect()
    }

    #[test]
    fn small_segments_share_pages() {
        let first = u32::MAX - 500;
        let mut sk = sock((0..50).map(|n| skb(first.wrapping_add(n * 100), 100, 832)).collect(), vec![]);
        let want = stream(&sk.queue);
        sk.copied_seq = first.wrapping_add(150);
        let next = sk.rcv_nxt;
        assert!(make_room(&mut sk, &skb(next, 100, 832)));
        assert_eq!(stream(&sk.queue), want[150..], "what was read is gone");
        assert_eq!(sk.queue.iter().map(|s| s.data.len()).collect::<Vec<_>>(), [3776, 1074]);
        assert_eq!(sk.rmem, u64::from(alloc_truesize(3776) + alloc_truesize(1074)));
        assert!(sk.queue.iter().all(|s| s.end_seq == s.seq.wrapping_add(s.data.len() as u32)));
    }

    #[test]
    fn a_fin_stays_by_itself() {
        let mut fin = skb(200, 0, 832);
        (fin.fin, fin.end_seq) = (true, 201);
        let mut sk = sock(vec![skb(0, 100, 832), skb(100, 100, 832), fin], vec![]);
        let mut queue = std::mem::take(&mut sk.queue);
        assert_eq!(collapse(&mut sk, &mut queue, 0, 3, (0, 201)), 2);
        assert_eq!(
            queue.iter().map(|s| (s.seq, s.end_seq, s.fin)).collect::<Vec<_>>(),
            [(0, 200, false), (200, 201, true)]
        );
    }

    #[test]
    fn what_is_farthest_is_given_up_first() {
        let ofo: Vec<_> = (0..6).map(|n| skb(1_000 + 2_000 * n, 1_000, 2_304)).collect();
        let mut sk = sock(vec![], ofo);
        // The last one would have to go for one that comes behind it.
        assert!(!make_room(&mut sk, &skb(20_000, 1_000, 2_304)));
        assert_eq!(sk.ofo.len(), 6);
        assert!(make_room(&mut sk, &skb(0, 1_000, 2_304)));
        // 9216 of 10,000 bytes are left.
        assert_eq!(sk.ofo.iter().map(|s| s.seq).collect::<Vec<_>>(), [1_000, 3_000, 5_000, 7_000]);
    }
}
