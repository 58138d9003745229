//! Mirrors inet_frag_queue_insert of net/ipv4/inet_fragment.c and ip_frag_queue, ip_frag_reasm of
//! net/ipv4/ip_fragment.c: the fragments of one datagram.

use super::MAX_DATAGRAM;
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::frame::Frame;
use crate::kernel::timer::TimerId;
use crate::kernel::trace::{Consumer, DropReason, Edge, Fate, Flow, What};
use smoltcp::wire::Ipv4Packet;
use std::ops::ControlFlow::{Break, Continue};

/// struct ipq: the fragments of a datagram that came so far.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub timer: TimerId,
    /// How many fragments had come from the sender when the last one of these came.
    pub rid: u32,
    /// Where the last one came in.
    pub iif: IfIndex,
    /// By offset.
    pieces: Vec<Piece>,
    last_run: u32,
    /// INET_FRAG_LAST_IN: the end is known.
    last_in: bool,
    /// Bytes of payload in all, as far as is known, and bytes that have come.
    total: usize,
    meat: usize,
    /// The longest fragment, and the longest one with DF.
    max_size: usize,
    max_df_size: usize,
    /// A bit for each ECN codepoint that was seen.
    ecn: u8,
}

/// A fragment: it holds bytes `offset..end` of the payload.
#[derive(Clone, Debug)]
struct Piece {
    offset: usize,
    end: usize,
    /// Fragments that came in order form a run.
    run: u32,
    frame: Frame,
}

/// What became of a fragment.
pub(super) enum Inserted {
    Waits,
    Complete,
    /// Its bytes are there already.
    Duplicate(Frame),
    /// It contradicts the others: none of them can be trusted.
    Corrupt(Frame),
}

impl Queue {
    pub fn new(timer: TimerId, rid: u32) -> Self {
        Queue {
            timer,
            rid,
            iif: IfIndex::default(),
            pieces: Vec::new(),
            last_run: 0,
            last_in: false,
            total: 0,
            meat: 0,
            max_size: 0,
            max_df_size: 0,
            ecn: 0,
        }
    }

    /// Fragments that wait.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Their truesize.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|p| u64::from(p.frame.truesize)).sum()
    }

    /// The fragment with the transport header, if it came.
    pub fn first(&self) -> Option<&Frame> {
        self.pieces.first().filter(|p| p.offset == 0).map(|p| &p.frame)
    }

    /// ip_frag_queue
    pub fn insert(&mut self, dev: IfIndex, mut f: Frame) -> Inserted {
        let p = Ipv4Packet::new_unchecked(f.l3());
        let (hlen, offset, more, df) =
            (p.header_len() as usize, p.frag_offset() as usize, p.more_frags(), p.dont_frag());
        let mut end = offset + f.l3().len() - hlen;
        if more {
            end &= !7;
            if end > self.total && self.last_in {
                return Inserted::Corrupt(f);
            }
            self.total = self.total.max(end);
        } else {
            if end < self.total || self.last_in && end != self.total {
                return Inserted::Corrupt(f);
            }
            (self.last_in, self.total) = (true, end);
        }
        if end <= offset {
            return Inserted::Corrupt(f);
        }
        let (at, run) = match self.place(offset, end) {
            Place::At(at, run) => (at, run),
            Place::Duplicate => return Inserted::Duplicate(f),
            Place::Overlap => return Inserted::Corrupt(f),
        };
        let len = hlen + end - offset;
        f.trim_l3(len);
        self.iif = dev;
        self.meat += end - offset;
        self.ecn |= 1 << (f.l3()[1] & 3);
        self.max_size = self.max_size.max(len);
        if df {
            self.max_df_size = self.max_df_size.max(len);
        }
        self.last_run = self.last_run.max(run);
        self.pieces.insert(at, Piece { offset, end, run, frame: f });
        let complete = self.first().is_some() && self.last_in && self.meat == self.total;
        if complete { Inserted::Complete } else { Inserted::Waits }
    }

    /// inet_frag_queue_insert: behind the others in the usual case, else between two runs.
    fn place(&self, offset: usize, end: usize) -> Place {
        let new_run = self.last_run + 1;
        let Some(tail) = self.pieces.last() else { return Place::At(0, new_run) };
        if tail.end < end {
            return match offset {
                o if o < tail.end => Place::Overlap,
                o if o == tail.end => Place::At(self.pieces.len(), tail.run),
                _ => Place::At(self.pieces.len(), new_run),
            };
        }
        let mut at = 0;
        for run in self.pieces.chunk_by(|a, b| a.run == b.run) {
            let (from, to) = (run[0].offset, run[run.len() - 1].end);
            if end <= from {
                break;
            }
            if offset < to {
                return if offset >= from && end <= to { Place::Duplicate } else { Place::Overlap };
            }
            at += run.len();
        }
        Place::At(at, new_run)
    }

    /// ip_frag_reasm: the whole datagram, under the first fragment's header.
    pub fn reassemble(self, cx: &mut Cx<'_>, dev: IfIndex) -> Flow {
        let Some(first) = self.first() else { return Break(Fate::Queued) };
        let hlen = Ipv4Packet::new_unchecked(first.l3()).header_len() as usize;
        let Some(ecn) = self.ecn().filter(|_| hlen + self.total <= MAX_DATAGRAM) else {
            self.purge(cx, DropReason::NotSpecified);
            return Break(Fate::Dropped(DropReason::NotSpecified));
        };
        let mut f = cx.derived_frame(Edge::MergedFrom(first.id), first.packet);
        let out = f.put_l3(hlen + self.total, 0);
        out[..hlen].copy_from_slice(&first.l3()[..hlen]);
        for p in &self.pieces {
            let from = p.frame.l3().len() - (p.end - p.offset);
            out[hlen + p.offset..hlen + p.end].copy_from_slice(&p.frame.l3()[from..]);
        }
        // A datagram of which only small fragments had DF must not leave as one large packet with DF.
        let df = self.max_df_size == self.max_size;
        out[1] |= ecn;
        let mut p = Ipv4Packet::new_unchecked(out);
        p.set_total_len((hlen + self.total) as u16);
        p.clear_flags();
        p.set_dont_frag(df);
        p.set_frag_offset(0);
        p.fill_checksum();
        f.push_mac(first.mac_len()).copy_from_slice(&first.bytes()[..first.mac_len()]);
        (f.frag_pmtu, f.frag_max_size) = (df, self.max_size as u16);
        f.frag_list.extend(self.pieces.iter().map(|p| (p.end - p.offset) as u16));
        (f.mark, f.nf_bridge, f.hash) = (first.mark, first.nf_bridge, first.hash);
        (f.dev, f.iif, f.pkt_type) = (dev, first.iif, first.pkt_type);
        f.truesize = self.bytes() as u32;
        f.layout.chained = true;
        f.tstamp = self.pieces.iter().map(|p| p.frame.tstamp).max().unwrap_or_default();
        for (i, p) in self.pieces.into_iter().enumerate() {
            if i > 0 {
                cx.step(&f, dev, What::Edge(Edge::MergedFrom(p.frame.id)));
            }
            let _ = cx.end(p.frame, Fate::Consumed(Consumer::Reassembly));
        }
        Continue(f)
    }

    /// ip_frag_ecn_table: congestion that one fragment met counts for the datagram; codepoints that do not go together
    /// make it invalid.
    fn ecn(&self) -> Option<u8> {
        const NOT_ECT: u8 = 1;
        const CE: u8 = 8;
        match self.ecn {
            NOT_ECT | CE => Some(0),
            seen if seen & NOT_ECT != 0 => None,
            seen if seen & CE != 0 => Some(3),
            _ => Some(0),
        }
    }

    /// Ends all that waits.
    pub fn purge(self, cx: &mut Cx<'_>, why: DropReason) {
        for p in self.pieces {
            let _ = cx.kill(p.frame, why);
        }
    }
}

enum Place {
    /// At this index, as part of this run.
    At(usize, u32),
    Duplicate,
    Overlap,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;
    use crate::kernel::frame::Pool;
    use crate::kernel::timer::Wheel;

    fn queue() -> Queue {
        Queue::new(Wheel::new(0).arm(0, 1, ()), 0)
    }

    /// A fragment with bytes `from..to`.
    fn piece(from: usize, to: usize, more: bool) -> Frame {
        let mut f = Pool::default().fresh(FrameId(1));
        let mut p = Ipv4Packet::new_unchecked(f.put_l3(20 + to - from, 0));
        p.set_version(4);
        p.set_header_len(20);
        p.set_total_len((20 + to - from) as u16);
        p.set_more_frags(more);
        p.set_frag_offset(from as u16);
        f
    }

    type Came = &'static [(usize, usize, bool)];

    /// What comes, as from, to, more, and one letter for what becomes of each: Waits, Complete, Duplicate, Xcorrupt.
    const CASES: &[(Came, &str)] = &[
        (&[(0, 8, true), (8, 16, true), (16, 20, false)], "WWC"),
        (&[(16, 20, false), (8, 16, true), (0, 8, true)], "WWC"),
        (&[(8, 16, true), (0, 8, true), (16, 20, false)], "WWC"),
        (&[(0, 16, true), (8, 16, true), (16, 20, false)], "WDC"),
        (&[(0, 16, true), (0, 16, true), (0, 8, true)], "WDD"),
        (&[(0, 16, true), (8, 24, true)], "WX"),
        (&[(16, 32, true), (8, 24, true)], "WX"),
        (&[(16, 20, false), (16, 24, true)], "WX"),
        (&[(16, 20, false), (16, 24, false)], "WX"),
        (&[(0, 24, true), (8, 16, false)], "WX"),
        (&[(0, 7, true)], "X"),
        (&[(0, 15, true), (8, 16, false)], "WC"),
        // One after the other, but not in one run: a copy of both contradicts each.
        (&[(8, 16, true), (0, 8, true), (0, 16, true)], "WWX"),
    ];

    #[test]
    fn overlaps_and_duplicates() {
        for (pieces, want) in CASES {
            let mut q = queue();
            let came = pieces.iter().map(|(from, to, more)| match q.insert(IfIndex(1), piece(*from, *to, *more)) {
                Inserted::Waits => 'W',
                Inserted::Complete => 'C',
                Inserted::Duplicate(_) => 'D',
                Inserted::Corrupt(_) => 'X',
            });
            assert_eq!(came.collect::<String>(), *want, "{pieces:?}");
        }
    }

    #[test]
    fn congestion_of_a_fragment_counts_for_the_datagram() {
        for (seen, want) in [(1, Some(0)), (2, Some(0)), (4, Some(0)), (6, Some(0)), (8, Some(0)), (12, Some(3))] {
            assert_eq!(Queue { ecn: seen, ..queue() }.ecn(), want, "{seen}");
        }
        assert_eq!(Queue { ecn: 1 | 4, ..queue() }.ecn(), None);
        assert_eq!(Queue { ecn: 1 | 8, ..queue() }.ecn(), None);
    }
}
