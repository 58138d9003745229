//! Mirrors tcp_try_coalesce of net/ipv4/tcp_input.c and skb_try_coalesce of net/core/skbuff.c: a segment is put into
//! the buffer of the one before it, so that the receive queue costs less memory and the window stays wider. Read
//! tcp_queue_rcv and tcp_data_queue_ofo before editing.

use super::before;
use super::sock::{RxSkb, Sock};
use crate::kernel::frame::{MAX_SKB_FRAGS, TCP_HEAD_TRUESIZE};

/// tcp_queue_rcv: puts `from` to the end of the receive queue's last buffer, if it can. Its sender knew of `snd_una`
/// when it sent the newest segment.
pub(super) fn try_coalesce(sk: &mut Sock, from: &RxSkb, snd_una: u32) -> bool {
    let cost = sk.queue.back_mut().and_then(|to| put(to, from, snd_una));
    sk.rmem += u64::from(cost.unwrap_or_default());
    cost.is_some()
}

/// tcp_ooo_try_coalesce: the same, of a buffer that is out of order.
pub(super) fn try_coalesce_ofo(sk: &mut Sock, at: usize, from: &RxSkb, snd_una: u32) -> bool {
    let cost = sk.ofo.get_mut(at).and_then(|to| put(to, from, snd_una));
    sk.rmem += u64::from(cost.unwrap_or_default());
    cost.is_some()
}

/// tcp_try_coalesce: the memory that it costs; none if `from` has to stay alone.
fn put(to: &mut RxSkb, from: &RxSkb, snd_una: u32) -> Option<u32> {
    if to.end_seq != from.seq {
        return None;
    }
    let cost = match place(to, from, snd_una)? {
        Place::Head => {
            to.layout.tailroom -= from.data.len() as u16;
            0
        }
        Place::Pages => {
            to.layout.frags += from.layout.frags;
            to.layout.tailroom = 0;
            from.truesize.saturating_sub(TCP_HEAD_TRUESIZE)
        }
    };
    to.data.extend_from_slice(&from.data);
    to.truesize += cost;
    to.end_seq = from.end_seq;
    to.fin |= from.fin;
    Some(cost)
}

/// Where the data of a segment goes.
enum Place {
    /// It is copied into the head.
    Head,
    /// Its pages change hands.
    Pages,
}

/// skb_try_coalesce: where `from` finds place behind `to`; none if it has to stay alone.
fn place(to: &RxSkb, from: &RxSkb, snd_una: u32) -> Option<Place> {
    if to.layout.cloned && before(snd_una, to.own_end) {
        return None;
    }
    // A buffer with pages has no tailroom.
    if from.data.len() <= usize::from(to.layout.tailroom) {
        return Some(Place::Head);
    }
    if to.layout.chained || from.layout.chained {
        return None;
    }
    // A head from the slab cannot change hands (skb_head_is_locked).
    let fits = to.layout.frags + from.layout.frags <= MAX_SKB_FRAGS;
    (from.layout.frags > 0 && fits).then_some(Place::Pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::frame::Layout;

    fn skb(seq: u32, len: usize, layout: Layout) -> RxSkb {
        let end_seq = seq + len as u32;
        let truesize = TCP_HEAD_TRUESIZE + len as u32;
        RxSkb { seq, end_seq, fin: false, data: vec![b'x'; len], truesize, layout, own_end: end_seq }
    }

    fn paged(frags: u8) -> Layout {
        Layout { frags, cloned: true, ..Layout::default() }
    }

    #[test]
    fn pages_go_to_a_buffer_that_its_sender_has_forgotten() {
        let mut sk = Sock::default();
        sk.queue.push_back(skb(1, 7240, paged(1)));
        let next = skb(7241, 14_480, paged(1));
        assert!(!try_coalesce(&mut sk, &next, 1), "the sender may still send it again");
        assert!(!try_coalesce(&mut sk, &skb(9000, 10, paged(1)), 7241), "a gap");
        assert!(try_coalesce(&mut sk, &next, 7241));
        // The first segment alone counts: what came behind it is on nobody's queue.
        assert!(try_coalesce(&mut sk, &skb(21_721, 1448, paged(1)), 7241));
        let to = &sk.queue[0];
        assert_eq!((to.end_seq, to.data.len(), to.layout.frags), (23_169, 23_168, 3));
        assert_eq!((to.truesize, sk.rmem), (832 + 23_168, 14_480 + 1448));
    }

    #[test]
    fn out_of_order_too() {
        let fin = RxSkb { fin: true, end_seq: 202, ..skb(201, 0, Layout::default()) };
        for (cloned, together) in [(true, false), (false, true)] {
            let mut sk = Sock::default();
            sk.ofo.push_back(skb(101, 100, Layout { cloned, ..paged(1) }));
            assert_eq!(try_coalesce_ofo(&mut sk, 0, &fin, 1), together, "cloned: {cloned}");
            assert_eq!((sk.ofo[0].fin, sk.ofo[0].end_seq == 202, sk.rmem), (together, together, 0));
        }
    }

    #[test]
    fn a_buffer_has_seventeen_fragments_at_most() {
        let mut sk = Sock::default();
        sk.queue.push_back(skb(1, 100, paged(16)));
        assert!(!try_coalesce(&mut sk, &skb(101, 100, paged(2)), 101));
        assert!(try_coalesce(&mut sk, &skb(101, 100, paged(1)), 101));
    }

    #[test]
    fn a_head_takes_what_it_has_room_for() {
        let linear = |tailroom| Layout { tailroom, ..Layout::default() };
        let mut sk = Sock::default();
        sk.queue.push_back(skb(1, 1448, linear(24)));
        assert!(!try_coalesce(&mut sk, &skb(1449, 25, linear(600)), 0));
        assert!(try_coalesce(&mut sk, &skb(1449, 20, linear(600)), 0));
        assert!(!try_coalesce(&mut sk, &skb(1469, 5, linear(600)), 0));
        let fin = RxSkb { fin: true, end_seq: 1470, ..skb(1469, 0, linear(0)) };
        assert!(try_coalesce(&mut sk, &fin, 0), "a FIN needs no room");
        assert_eq!((sk.rmem, sk.queue[0].fin, sk.queue[0].end_seq), (0, true, 1470));
    }
}
