//! Mirrors net/core/gro.c, inet_gro_receive of net/ipv4/af_inet.c and tcp_gro_receive of net/ipv4/tcp_offload.c:
//! segments of one connection that a device receives in one poll go up as one frame. Read dev_gro_receive before
//! editing.
//!
//! Differs: segments with one IP id for all stay apart, where Linux takes them for a flow with a fixed id.
//! Differs: datagrams of a tunnel are not put together by the device that receives them (vxlan_gro_receive), nor are
//! packets of IPIP (ipip_gro_receive).

use super::{arrive, netif_receive_list};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, MAX_SKB_FRAGS, TCP_HEAD_TRUESIZE};
use crate::kernel::ip::IP_HLEN;
use crate::kernel::netns::NetNs;
use crate::kernel::softnet::WEIGHT;
use crate::kernel::trace::{Consumer, Edge, Fate, What};
use crate::wire::{ETH_P_IP, IPPROTO_TCP, be16, be32, pseudo_sum};
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use std::collections::VecDeque;
use std::ops::ControlFlow::Continue;

/// GRO_HASH_BUCKETS
const BUCKETS: u32 = 8;
/// MAX_GRO_SKBS: so many frames are held in one bucket.
const MAX_GRO_SKBS: usize = 8;
/// net.core.gro_normal_batch: so many frames are handed up at once.
const NORMAL_BATCH: u32 = 8;
/// GRO_LEGACY_MAX_SIZE: a packet stays shorter.
const MAX_SIZE: usize = 65_536;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// struct gro_node, empty between polls.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Gro {
    /// Frames that others may join, the oldest first.
    held: Vec<Held>,
    /// rx_list: frames to be handed up, and how many segments they are.
    pub(super) ready: VecDeque<Frame>,
    segments: u32,
    /// What netif_receive_skb_list works on.
    pub(super) sublist: VecDeque<Frame>,
}

/// A frame that others may join (struct napi_gro_cb).
#[derive(Clone, Debug)]
struct Held {
    frame: Frame,
    bucket: u32,
    /// Segments in it, and in what came first.
    count: u16,
    own: u16,
    /// The payload of its first segment: gso_size.
    size: usize,
    /// nr_frags of the last buffer of its frag_list.
    last_frags: u8,
}

/// Polls `dev`: up to [`WEIGHT`] frames are received, put together where they belong together, and handed up.
pub(in crate::kernel) fn poll(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) {
    let here = cx.ns;
    let mut gro = cx.cpu.softnet.begin_poll(here, dev);
    let mut work = 0;
    while work < WEIGHT {
        let Some(f) = cx.cpu.softnet.pop_napi(here, dev) else { break };
        work += 1;
        if let Continue(f) = arrive(ns, cx, dev, f) {
            gro.receive(cx, dev, f);
            if gro.segments >= NORMAL_BATCH {
                gro.hand_up(ns, cx, dev);
            }
        }
    }
    gro.flush();
    gro.hand_up(ns, cx, dev);
    cx.cpu.softnet.end_poll(here, dev, gro, work == WEIGHT);
}

impl Gro {
    /// dev_gro_receive: `f` joins a held frame, is held itself, or is ready to be handed up.
    fn receive(&mut self, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) {
        let bucket = f.hash % BUCKETS;
        let Some(seg) = Segment::of(&f) else { return self.normal(f, 1) };
        let mut alone = f.layout.chained || seg.total_len != f.l3().len();
        if !alone && !sound(&f) {
            return self.normal(f, 1);
        }
        let size = usize::from(f.gso_size);
        let (len, count) = (seg.payload, f.segments());
        let at = self.held.iter().rposition(|h| h.bucket == bucket && h.same_flow(&f, &seg));
        let joins = at.is_some_and(|at| !alone && self.held[at].takes(&f, &seg));
        let mss = match at.filter(|_| joins) {
            Some(at) => self.held[at].size,
            None => 1,
        };
        let short = if size > 0 { len != usize::from(count) * size } else { len < mss };
        let last = short || seg.flags & (URG | PSH | RST | SYN | FIN) != 0;
        alone |= last;
        let mut f = Some(f);
        if let Some(at) = at {
            if let Some(f) = f.take_if(|_| joins) {
                self.held[at].join(cx, dev, &seg, count, f);
            }
            if !joins || last {
                let done = self.held.remove(at);
                self.complete(done);
            }
        }
        let Some(f) = f else { return };
        if alone {
            return self.normal(f, count);
        }
        if self.held.iter().filter(|h| h.bucket == bucket).count() >= MAX_GRO_SKBS
            && let Some(oldest) = self.held.iter().position(|h| h.bucket == bucket)
        {
            let oldest = self.held.remove(oldest);
            self.complete(oldest);
        }
        let (size, last_frags) = (if size > 0 { size } else { len }, f.layout.frags);
        self.held.push(Held { frame: f, bucket, count, own: count, size, last_frags });
    }

    /// napi_gro_flush: nothing is held any longer, bucket by bucket.
    fn flush(&mut self) {
        for bucket in 0..BUCKETS {
            while let Some(at) = self.held.iter().position(|h| h.bucket == bucket) {
                let held = self.held.remove(at);
                self.complete(held);
            }
        }
    }

    /// gro_complete: lengths and checksums of a frame that others have joined.
    fn complete(&mut self, held: Held) {
        let Held { mut frame, count, own, size, .. } = held;
        if count > own {
            frame.gso_size = size as u16;
            let l3 = frame.l3_mut();
            let len = l3.len();
            let mut p = Ipv4Packet::new_unchecked(&mut *l3);
            p.set_total_len(len as u16);
            p.fill_checksum();
            let sum = pseudo_sum(p.src_addr(), p.dst_addr(), IPPROTO_TCP, len - IP_HLEN);
            l3[IP_HLEN + 16..IP_HLEN + 18].copy_from_slice(&sum.to_be_bytes());
            (frame.csum_valid, frame.csum_partial) = (true, true);
        }
        self.normal(frame, count);
    }

    /// gro_normal_one
    fn normal(&mut self, f: Frame, segments: u16) {
        self.ready.push_back(f);
        self.segments += u32::from(segments);
    }

    /// gro_normal_list
    fn hand_up(&mut self, ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) {
        self.segments = 0;
        netif_receive_list(ns, cx, dev, self);
    }
}

/// What is looked at of a TCP segment without IPv4 options that is no fragment.
struct Segment {
    total_len: usize,
    flags: u8,
    /// Bytes of its TCP header, and behind it.
    header: usize,
    payload: usize,
}

impl Segment {
    /// None if the frame is something else (inet_gro_receive, tcp_gro_pull_header).
    fn of(f: &Frame) -> Option<Segment> {
        const MORE_OR_OFFSET: u16 = 0x3fff;
        let l3 = f.l3();
        if f.protocol() != ETH_P_IP || l3.len() < IP_HLEN + 20 || l3[0] != 0x45 || l3[9] != IPPROTO_TCP {
            return None;
        }
        if be16(l3, 6) & MORE_OR_OFFSET != 0 || !Ipv4Packet::new_unchecked(l3).verify_checksum() {
            return None;
        }
        let tcp = &l3[IP_HLEN..];
        let header = usize::from(tcp[12] >> 4) * 4;
        let payload = tcp.len().checked_sub(header).filter(|_| header >= 20)?;
        Some(Segment { total_len: be16(l3, 2).into(), flags: tcp[13], header, payload })
    }
}

/// skb_gro_checksum_validate
fn sound(f: &Frame) -> bool {
    let p = Ipv4Packet::new_unchecked(f.l3());
    f.csum_valid
        || f.csum_partial
        || TcpPacket::new_unchecked(&f.l3()[IP_HLEN..]).verify_checksum(&p.src_addr().into(), &p.dst_addr().into())
}

impl Held {
    /// same_flow: Ethernet headers, addresses and ports.
    fn same_flow(&self, f: &Frame, seg: &Segment) -> bool {
        let (a, b) = (&self.frame, f);
        let link = a.bytes()[..a.mac_len()] == b.bytes()[..b.mac_len()];
        let (a, b) = (a.l3(), b.l3());
        link && seg.header >= 20 && a[12..20] == b[12..20] && a[IP_HLEN..IP_HLEN + 4] == b[IP_HLEN..IP_HLEN + 4]
    }

    /// tcp_gro_receive, inet_gro_flush and skb_gro_receive: it is the segment that follows, with the same headers.
    fn takes(&self, f: &Frame, seg: &Segment) -> bool {
        let (a, b) = (self.frame.l3(), f.l3());
        let same_ip = a[8] == b[8] && a[1] == b[1] && a[6] & 0x40 == b[6] & 0x40;
        let next_id = be16(b, 4).wrapping_sub(be16(a, 4)) == self.count;
        let (x, y) = (&a[IP_HLEN..], &b[IP_HLEN..]);
        let same_flags = (x[13] ^ y[13]) & !(CWR | FIN | PSH) == 0 && seg.flags & CWR == 0;
        let same_header = x[12] == y[12] && x[8..12] == y[8..12] && x[14..16] == y[14..16];
        let same_options = x.get(20..seg.header) == y.get(20..seg.header);
        let fits =
            if f.gso_size > 0 { usize::from(f.gso_size) == self.size } else { (1..=self.size).contains(&seg.payload) };
        let follows = be32(x, 4).wrapping_add((x.len() - seg.header) as u32) == be32(y, 4);
        let room = a.len() + seg.payload < MAX_SIZE;
        same_ip && next_id && same_flags && same_header && same_options && fits && follows && room
    }

    /// skb_gro_receive: the payload goes to the end of the held frame.
    fn join(&mut self, cx: &mut Cx<'_>, dev: IfIndex, seg: &Segment, count: u16, f: Frame) {
        let p = &mut self.frame;
        if f.layout.frags > 0 && self.last_frags + f.layout.frags <= MAX_SKB_FRAGS {
            self.last_frags += f.layout.frags;
            p.layout.frags = p.layout.frags.max(if p.layout.chained { 0 } else { self.last_frags });
            p.truesize += f.truesize.saturating_sub(TCP_HEAD_TRUESIZE);
        } else {
            (p.layout.chained, self.last_frags) = (true, f.layout.frags);
            p.truesize += f.truesize;
        }
        p.layout.tailroom = 0;
        p.put_data([&f.l3()[IP_HLEN + seg.header..]]);
        p.l3_mut()[IP_HLEN + 13] |= seg.flags & (FIN | PSH);
        self.count += count;
        cx.step(&self.frame, dev, What::Edge(Edge::MergedFrom(f.id)));
        let _ = cx.end(f, Fate::Consumed(Consumer::Gro));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;
    use crate::kernel::frame::Pool;

    /// An Ethernet header, an IPv4 header, a TCP header with timestamps, and so many bytes.
    const IP: usize = 14;
    const TCP: usize = IP + IP_HLEN;
    const HEADERS: usize = TCP + 32;

    /// Segment number `at` of a stream of segments of 1000 bytes, the last with `len`.
    fn segment(at: u16, len: usize, change: impl FnOnce(&mut [u8])) -> Frame {
        let mut f = Pool::default().fresh(FrameId(u64::from(at) + 1));
        f.put(HEADERS - IP + len);
        f.push_mac(IP)[12..14].copy_from_slice(&ETH_P_IP.to_be_bytes());
        let b = f.bytes_mut();
        b[IP] = 0x45;
        b[IP + 2..IP + 4].copy_from_slice(&((HEADERS - IP + len) as u16).to_be_bytes());
        b[IP + 4..IP + 6].copy_from_slice(&(7 + at).to_be_bytes());
        (b[IP + 6], b[IP + 8], b[IP + 9]) = (0x40, 64, IPPROTO_TCP);
        b[TCP + 4..TCP + 8].copy_from_slice(&(u32::from(at) * 1000).to_be_bytes());
        (b[TCP + 12], b[TCP + 13]) = (0x80, 0x10);
        change(b);
        Ipv4Packet::new_unchecked(f.l3_mut()).fill_checksum();
        f.csum_valid = true;
        f
    }

    fn held(frame: Frame, count: u16) -> Held {
        Held { frame, bucket: 0, count, own: 1, size: 1000, last_frags: 0 }
    }

    #[test]
    fn what_follows_with_the_same_headers_is_taken() {
        type Change = fn(&mut [u8]);
        let table: [(&str, Change, bool, bool); 14] = [
            ("nothing else", |_| {}, true, true),
            ("PSH", |b| b[TCP + 13] |= PSH, true, true),
            ("FIN", |b| b[TCP + 13] |= FIN, true, true),
            ("CWR", |b| b[TCP + 13] |= CWR, true, false),
            ("RST", |b| b[TCP + 13] |= RST, true, false),
            ("the number acknowledged", |b| b[TCP + 11] = 1, true, false),
            ("the window", |b| b[TCP + 15] = 1, true, false),
            ("a timestamp", |b| b[TCP + 27] = 1, true, false),
            ("the sequence number", |b| b[TCP + 7] ^= 1, true, false),
            ("the IP id", |b| b[IP + 5] += 1, true, false),
            ("the TTL", |b| b[IP + 8] = 63, true, false),
            ("DF", |b| b[IP + 6] = 0, true, false),
            ("a port", |b| b[TCP] = 1, false, false),
            ("the sender's hardware address", |b| b[6] = 2, false, false),
        ];
        for (what, change, same, takes) in table {
            let (p, f) = (held(segment(0, 1000, |_| {}), 1), segment(1, 1000, change));
            let seg = Segment::of(&f).expect("a segment");
            assert_eq!((p.same_flow(&f, &seg), same && p.takes(&f, &seg)), (same, takes), "{what}");
        }
    }

    #[test]
    fn lengths_fit() {
        for (len, takes) in [(0, false), (1, true), (999, true), (1000, true), (1001, false)] {
            let f = segment(1, len, |_| {});
            let seg = Segment::of(&f).expect("a segment");
            assert_eq!(held(segment(0, 1000, |_| {}), 1).takes(&f, &seg), takes, "{len}");
        }
        // 52 bytes of headers and 65,000 of payload, and one segment more.
        let whole = |payload: usize| {
            let mut f = segment(0, payload, |_| {});
            f.l3_mut()[IP_HLEN + 4..IP_HLEN + 8].copy_from_slice(&(65_000 - payload as u32).to_be_bytes());
            held(f, 65)
        };
        for (last, takes) in [(483, true), (484, false)] {
            let f = segment(65, last, |_| {});
            let seg = Segment::of(&f).expect("a segment");
            assert_eq!(whole(65_000).takes(&f, &seg), takes, "{last}");
        }
    }

    #[test]
    fn what_is_no_segment() {
        type Change = fn(&mut [u8]);
        let table: [(&str, Change); 5] = [
            ("ARP", |b| b[13] = 6),
            ("options", |b| b[IP] = 0x46),
            ("UDP", |b| b[IP + 9] = 17),
            ("a fragment", |b| b[IP + 6] = 0x20),
            ("a short header", |b| b[TCP + 12] = 0x40),
        ];
        for (what, change) in table {
            assert!(Segment::of(&segment(0, 10, change)).is_none(), "{what}");
        }
    }
}
