//! What proxies pass on: from the packets whose bytes a program has read of one connection to those that carry the
//! bytes which it has written to another because of them. Programs count bytes ([`Proxied`]); sequence numbers tell
//! which packets carried them.

use super::flows::{Flows, Member};
use crate::base::PacketId;
use crate::kernel::trace::{Bytes, Proxied, Tap};
use crate::wire::{ETH_P_IP, IPPROTO_TCP};
use rustc_hash::FxHashMap;
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use std::collections::{BTreeMap, VecDeque};

/// As many streams are followed, two to a connection: the first ones.
pub const MAX_STREAMS: usize = 1 << 17;
/// So many packets that a program may still read, and so many writes that may still leave, are remembered: the last
/// ones.
pub const MAX_REMEMBERED: usize = 1 << 16;

/// What is known of the streams of a run.
#[derive(Default)]
pub(super) struct Proxies {
    streams: FxHashMap<Way, Stream>,
    /// The bytes that packets under way carry.
    carried: FxHashMap<PacketId, (Way, Bytes)>,
    /// Packets whose bytes have come to a socket.
    delivered: Remembered<PacketId>,
    /// Bytes that a proxy writes, and the packets because of which it does.
    written: Remembered<Vec<PacketId>>,
}

/// One direction of a flow.
type Way = Member;

/// One direction of a connection of TCP.
#[derive(Clone, Copy)]
struct Stream {
    /// A sequence number that was seen, and how many bytes stand before it.
    seq: u32,
    at: u64,
}

impl Stream {
    /// How many bytes stand before this sequence number, which is less than half of all numbers away.
    fn offset(&mut self, seq: u32) -> u64 {
        self.at = self.at.saturating_add_signed(i64::from(seq.wrapping_sub(self.seq).cast_signed()));
        self.seq = seq;
        self.at
    }
}

/// What stands by ranges of bytes.
struct Remembered<T> {
    by_start: BTreeMap<(Way, u64), (u64, T)>,
    order: VecDeque<(Way, u64)>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered { by_start: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<T> Remembered<T> {
    fn insert(&mut self, way: Way, bytes: &Bytes, what: T) {
        if self.by_start.insert((way, bytes.start), (bytes.end, what)).is_none() {
            self.order.push_back((way, bytes.start));
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_start.remove(&oldest);
        }
    }

    /// What stands by bytes among these. Ranges of one way do not lie in one another.
    fn among(&self, way: Way, bytes: &Bytes) -> impl Iterator<Item = &T> {
        let before = self.by_start.range((way, 0)..=(way, bytes.start)).next_back().filter(|(k, _)| k.1 < bytes.start);
        let inside = self.by_start.range((way, bytes.start)..(way, bytes.end));
        let start = bytes.start;
        before.into_iter().filter(move |(_, (end, _))| *end > start).chain(inside).map(|(_, (_, what))| what)
    }
}

impl Proxies {
    /// A frame at a tap, whose packet was not seen before: the packets because of which a proxy has sent it.
    pub fn first_seen(&mut self, tap: &Tap<'_>, member: Member) -> Vec<PacketId> {
        let Some((seq, syn, length)) = segment(tap).filter(|_| !member.error) else { return vec![] };
        if syn && (self.streams.len() < MAX_STREAMS || self.streams.contains_key(&member)) {
            // The stream begins behind it.
            self.streams.insert(member, Stream { seq: seq.wrapping_add(1), at: 0 });
        }
        let Some(stream) = self.streams.get_mut(&member).filter(|_| length > 0) else { return vec![] };
        let start = stream.offset(seq);
        let bytes = start..start + length;
        let mut from: Vec<PacketId> = self.written.among(member, &bytes).flatten().copied().collect();
        from.sort_unstable();
        from.dedup();
        self.carried.insert(tap.packet, (member, bytes));
        from
    }

    /// A packet has come to a socket.
    pub fn delivered(&mut self, packet: PacketId) {
        if let Some((way, bytes)) = self.carried.get(&packet) {
            self.delivered.insert(*way, bytes, packet);
        }
    }

    /// The last frame of a packet has ended.
    pub fn forget(&mut self, packet: PacketId) {
        self.carried.remove(&packet);
    }

    /// A proxy writes because of what it has read.
    pub fn proxied(&mut self, edge: &Proxied, flows: &Flows) {
        let Some([read, written]) = &edge.bytes else { return };
        let mut from: Vec<PacketId> =
            flows.received_by(&edge.from).flat_map(|way| self.delivered.among(way, read)).copied().collect();
        from.sort_unstable();
        for to in flows.received_by(&edge.to) {
            let way = Member { back: !to.back, ..to };
            self.written.insert(way, written, from.clone());
        }
    }
}

/// Sequence number, SYN and length of a segment of TCP over IPv4.
fn segment(tap: &Tap<'_>) -> Option<(u32, bool, u64)> {
    let l3 = (tap.protocol() == ETH_P_IP).then(|| tap.l3())?;
    let ip = Ipv4Packet::new_checked(l3).ok().filter(|ip| ip.frag_offset() == 0 && !ip.more_frags())?;
    let tcp = (u8::from(ip.next_header()) == IPPROTO_TCP).then(|| TcpPacket::new_checked(ip.payload()).ok())??;
    Some((tcp.seq_number().0.cast_unsigned(), tcp.syn(), tcp.payload().len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{FrameId, IfIndex, MachineId, NsId, Time};
    use crate::kernel::frame::PacketType;
    use crate::kernel::trace::Connection;
    use std::net::SocketAddrV4;

    const CURL: &str = "10.244.1.2:40000";
    const SERVICE: &str = "10.96.0.80:80";
    const LISTENER: &str = "127.0.0.1:15001";
    const OUT: &str = "10.244.1.2:50000";
    const POD: &str = "10.244.2.2:80";
    /// Just below where numbers begin again.
    const ISN: u32 = u32::MAX - 3;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    const DATA: u8 = 0x18;

    #[derive(Default)]
    struct Seen {
        flows: Flows,
        proxies: Proxies,
        count: u64,
    }

    impl Seen {
        /// A segment from one end to the other, `at` bytes behind the first: because of which packets it was sent.
        fn segment(&mut self, [src, dst]: [&str; 2], flags: u8, at: u32, data: usize) -> (PacketId, Vec<PacketId>) {
            self.count += 1;
            let frame = FrameId::new(MachineId(0), self.count);
            let packet = PacketId::from(frame);
            let bytes = packet_of([end(src), end(dst)], flags, ISN.wrapping_add(at), data);
            let (now, ns, dev) = (Time(self.count), NsId(0), IfIndex(1));
            let pkt_type = PacketType::Host;
            let tap = Tap { at: now, now, ns, dev, pkt_type, frame, packet, mac_len: 0, bytes: &bytes };
            self.flows.made(packet);
            let member = self.flows.of(packet, tap.protocol(), tap.l3()).expect("a flow");
            (packet, self.proxies.first_seen(&tap, member))
        }

        /// One that is read.
        fn read(&mut self, ends: [&str; 2], at: u32, data: usize) -> PacketId {
            let (packet, from) = self.segment(ends, DATA, at, data);
            assert_eq!(from, []);
            self.proxies.delivered(packet);
            packet
        }

        fn told(&mut self, from: Connection, to: Connection, bytes: [Bytes; 2]) {
            self.proxies.proxied(&Proxied { from, to, bytes: Some(bytes) }, &self.flows);
        }
    }

    fn end(text: &str) -> SocketAddrV4 {
        text.parse().expect("an address and a port")
    }

    fn connection(peer: &str, names: [&str; 2]) -> Connection {
        Connection { peer: end(peer), names: names.map(end) }
    }

    /// A segment without options, with so many bytes of data.
    fn packet_of([src, dst]: [SocketAddrV4; 2], flags: u8, seq: u32, data: usize) -> Vec<u8> {
        let mut l3 = vec![0x45, 0, 0, 40 + data as u8, 0, 0, 0x40, 0, 64, IPPROTO_TCP, 0, 0];
        l3.extend(src.ip().octets().into_iter().chain(dst.ip().octets()));
        l3.extend(src.port().to_be_bytes().into_iter().chain(dst.port().to_be_bytes()));
        l3.extend(seq.to_be_bytes().into_iter().chain([0; 4]));
        l3.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        l3.resize(40 + data, b'x');
        l3
    }

    /// On lo requests have another name than answers, so they are two flows.
    #[test]
    fn through_a_redirect_and_back() {
        let mut seen = Seen::default();
        let (down, up) = (connection(CURL, [SERVICE, LISTENER]), connection(POD, [OUT, OUT]));
        for ends in [[CURL, LISTENER], [SERVICE, CURL], [OUT, POD], [POD, OUT]] {
            seen.segment(ends, SYN, 0, 0);
        }
        // Two segments of a request of ten bytes; the sequence numbers begin again between them.
        let first = seen.read([CURL, LISTENER], 1, 4);
        let second = seen.read([CURL, LISTENER], 5, 6);
        seen.told(down, up, [0..10, 100..130]);
        // What went out before has no cause.
        assert_eq!(seen.segment([OUT, POD], DATA, 1, 100).1, []);
        assert_eq!(seen.segment([OUT, POD], ACK, 101, 20).1, [first, second]);
        assert_eq!(seen.segment([OUT, POD], DATA, 121, 10).1, [first, second]);
        // Sent once more it has the same.
        assert_eq!(seen.segment([OUT, POD], DATA, 101, 30).1, [first, second]);
        let answer = seen.read([POD, OUT], 1, 7);
        seen.told(up, down, [0..7, 0..9]);
        assert_eq!(seen.segment([SERVICE, CURL], DATA, 1, 9).1, [answer]);
        // An acknowledgement carries nothing.
        assert_eq!(seen.segment([CURL, LISTENER], ACK, 11, 0).1, []);
    }

    #[test]
    fn what_was_not_delivered_was_not_read() {
        let mut seen = Seen::default();
        let (down, up) = (connection(CURL, [LISTENER; 2]), connection(POD, [OUT, OUT]));
        for ends in [[CURL, LISTENER], [OUT, POD]] {
            seen.segment(ends, SYN, 0, 0);
        }
        let (lost, _) = seen.segment([CURL, LISTENER], DATA, 1, 5);
        seen.proxies.forget(lost);
        let again = seen.read([CURL, LISTENER], 1, 5);
        seen.told(down, up, [0..5, 0..5]);
        assert_eq!(seen.segment([OUT, POD], DATA, 1, 5).1, [again]);
    }

    #[test]
    fn the_last_ones_are_remembered() {
        let mut remembered = Remembered::default();
        let way = Way { flow: crate::base::FlowId(1), back: false, error: false };
        for n in 0..MAX_REMEMBERED as u64 + 1 {
            remembered.insert(way, &(n * 10..n * 10 + 10), n);
        }
        assert_eq!((remembered.by_start.len(), remembered.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        let among = |bytes: Bytes| remembered.among(way, &bytes).copied().collect::<Vec<_>>();
        assert_eq!((among(0..10), among(15..31)), (vec![], vec![1, 2, 3]));
    }
}
