//! include/linux/skbuff.h: one owned buffer with headroom, and what travels with it.
//!
//! ```text
//!   buf: |<-- headroom -->|<- mac_len ->|<------- l3() ------->|
//!                         ^ head
//!                         |<------------- bytes() ------------>|
//! ```

use super::conntrack::{Csum, Nfct};
use super::cred::Cred;
use super::dev::br_netfilter::NfBridge;
use super::socket::tcp::SockId;
use super::syscall::Fd;
use crate::base::{FrameId, IfIndex, PacketId, Time};
use crate::wire::{self, ETH_HLEN, IPPROTO_TCP, IPPROTO_UDP, checksum};
use std::net::Ipv4Addr;

/// struct sk_buff. A handle of one pointer that owns its buffer: moved by value, copied only by name.
#[derive(Debug)]
pub struct Frame(Box<Skb>);

/// What a [`Frame`] points to.
#[derive(Clone, Debug)]
pub struct Skb {
    buf: Vec<u8>,
    head: usize,
    mac_len: usize,
    /// This buffer.
    pub id: FrameId,
    /// The datagram that its sender made; it survives flooding, NAT, tunnels and fragmentation.
    pub packet: PacketId,
    /// skb->dev: where it is.
    pub dev: IfIndex,
    /// The device that the IP layer received it on; zero when it was made here (rt_is_output_route).
    pub iif: IfIndex,
    /// skb->tstamp: the receive time, taken when the frame was queued for the receiver.
    pub tstamp: Time,
    /// skb->pkt_type.
    pub pkt_type: PacketType,
    /// skb->truesize: what the frame costs the queues that count memory.
    pub truesize: u32,
    /// IPCB(skb)->frag_max_size: the longest fragment that it was put together from; zero for none.
    pub frag_max_size: u16,
    /// IPSKB_FRAG_PMTU: those had DF.
    pub frag_pmtu: bool,
    /// skb->ignore_df: connection tracking put it together, so it may be cut again even with DF.
    pub ignore_df: bool,
    /// Lengths of the IP packets that it was put together from (frag_list), in order; empty for none.
    pub frag_list: Vec<u16>,
    /// CHECKSUM_UNNECESSARY: its transport checksum is known to be right. A socket here made it, or it was verified.
    pub csum_valid: bool,
    /// CHECKSUM_PARTIAL: its transport checksum covers the pseudo header only, until a device completes it.
    pub csum_partial: bool,
    /// skb->encapsulation: bytes of [`Frame::l3`] in front of the packet that a tunnel carries; zero if none does.
    pub encap: u16,
    /// As [`Skb::csum_valid`], of the packet inside (skb->csum_level).
    pub csum_valid_inside: bool,
    /// It is the packet inside whose checksum is partial.
    pub csum_partial_inside: bool,
    /// skb->hash with l4_hash: the sender's own hash of its connection (sk_txhash), or one of addresses and ports; zero
    /// for none.
    pub hash: u32,
    /// gso_size of skb_shared_info: the payload of each segment that it is cut into; zero if it is one segment.
    pub gso_size: u16,
    /// How its payload lies in memory.
    pub layout: Layout,
    /// skb->dst_pending_confirm: its sender knows that the way works, so neighbours on it need not be asked.
    pub confirm: bool,
    /// skb->sk of what was made here; it is forgotten where the frame is received (skb_orphan).
    pub sk: Sk,
    /// RTCF_LOCAL of its route: it is for us, whether its destination is one of our addresses or not.
    pub rt_local: bool,
    /// skb->mark
    pub mark: u32,
    /// rt_nexthop of its route, which it keeps on its way into a tunnel that asks for it (netif_keep_dst).
    pub next_hop: Option<Ipv4Addr>,
    /// skb->_nfct: the connection that it belongs to. It counts as a user of it: see [`super::cx::Cx::end`].
    pub nfct: Nfct,
    /// SKB_EXT_BRIDGE_NF: what br_netfilter remembers of a frame that a bridge received.
    pub nf_bridge: Option<NfBridge>,
    /// skb_tunnel_info: what a tunnel without a far end of its own is told, or has found outside.
    pub tunnel: Option<TunnelKey>,
}

/// skb->sk: of what is sent, as far as rules ask for the socket that sent it; of what has come, the socket that it is
/// for, where a rule has found one (nf_tproxy_assign_sock).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sk {
    /// None; or one without a struct socket (sk_socket): closed, a minisocket, or not accepted yet.
    #[default]
    None,
    /// One of the kernel's own: there is no file behind it.
    Kernel,
    /// A program's: as whom its file was opened (f_cred).
    File(Cred),
    /// It goes to this socket of TCP's, wherever it is addressed to.
    ToTcp(SockId),
    /// It goes to this socket of UDP's.
    ToUdp(Fd),
}

/// struct ip_tunnel_info, as bpf_skb_set_tunnel_key and bpf_skb_get_tunnel_key see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelKey {
    /// IP_TUNNEL_INFO_TX: it says how to send the frame, not how the frame came.
    pub tx: bool,
    /// tun_id: the tunnel's network identifier.
    pub id: u32,
    /// remote_ipv4: to whom, or from whom.
    pub remote: Ipv4Addr,
    /// IP_TUNNEL_CSUM_BIT, which BPF_F_ZERO_CSUM_TX leaves out: the outer UDP checksum is there.
    pub csum: bool,
}

/// How a payload lies in memory, which decides whether a receiver can put two buffers together (skb_try_coalesce).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    /// skb_shinfo(skb)->nr_frags: the page fragments that hold the payload; zero if the head of the buffer does.
    pub frags: u8,
    /// skb_has_frag_list: other buffers hang on this one.
    pub chained: bool,
    /// skb_tailroom: bytes that are free in the head behind the payload.
    pub tailroom: u16,
    /// skb_cloned: the retransmission queue of the socket that sent it shares the buffer.
    pub cloned: bool,
    /// What that socket knew to have arrived when it sent this (snd_una): its queue shares nothing that ends before.
    pub snd_una: u32,
}

/// PACKET_*: how a frame was addressed, seen from the device that received it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum PacketType {
    /// To us.
    #[default]
    Host,
    /// To everybody.
    Broadcast,
    /// To a group.
    Multicast,
    /// To somebody else.
    OtherHost,
    /// From us.
    Outgoing,
    /// A copy of what we sent to everybody, on its way back to us.
    Loopback,
}

impl PacketType {
    /// sll_pkttype of LINUX_SLL2.
    pub fn number(self) -> u8 {
        match self {
            PacketType::Host => 0,
            PacketType::Broadcast => 1,
            PacketType::Multicast => 2,
            PacketType::OtherHost => 3,
            PacketType::Outgoing => 4,
            PacketType::Loopback => 5,
        }
    }

    /// As `tcpdump -i any` prints it.
    pub fn label(self) -> &'static str {
        match self {
            PacketType::Host => "In",
            PacketType::Broadcast => "B",
            PacketType::Multicast => "M",
            PacketType::OtherHost => "P",
            PacketType::Outgoing => "Out",
            PacketType::Loopback => "?",
        }
    }
}

/// Room in front of a new frame: outer headers are pushed without a copy.
pub const HEADROOM: usize = 128;

/// SKB_SMALL_HEAD_CACHE_SIZE: buffers up to this size come from one slab cache.
const SMALL_HEAD: u32 = 576;
/// `sizeof(struct skb_shared_info)`, aligned.
const SHARED_INFO: u32 = 320;
/// `sizeof(struct sk_buff)`, aligned.
const SK_BUFF: u32 = 256;

/// The truesize of a frame for an IPv4 packet of `len` bytes, as `ip_append_data` allocates it: link header and
/// alignment on top, rounded up to a slab. Measured on Linux 6.18 by SIOCOUTQ: 832 up to 225 bytes, 1280, 2304, …
pub fn truesize(len: usize) -> u32 {
    alloc_truesize(len + 31)
}

/// The truesize of what `alloc_skb(size)` allocates.
pub fn alloc_truesize(size: usize) -> u32 {
    let data = (size as u32).next_multiple_of(64) + SHARED_INFO;
    let head = if data <= SMALL_HEAD { SMALL_HEAD } else { data.next_power_of_two() };
    head + SK_BUFF
}

/// SKB_TRUESIZE of the head that TCP allocates for its headers (MAX_TCP_HEADER): a buffer without its data.
pub const TCP_HEAD_TRUESIZE: u32 = SMALL_HEAD + SK_BUFF;
/// MAX_SKB_FRAGS: as many page fragments one buffer has.
pub const MAX_SKB_FRAGS: u8 = 17;
/// MAX_TCP_HEADER: what TCP leaves free in front of a payload for its own and all other headers.
pub const MAX_TCP_HEADER: usize = 256;

/// skb_end_offset less `used`: what the head of a buffer of `truesize` that alloc_skb made has left.
pub fn tailroom(truesize: u32, used: usize) -> u16 {
    (truesize - SK_BUFF - SHARED_INFO).saturating_sub(used as u32) as u16
}

impl Frame {
    /// An empty frame, to be filled by `put` and `push`.
    fn empty() -> Self {
        Frame(Box::new(Skb {
            buf: Vec::with_capacity(2048),
            head: 0,
            mac_len: 0,
            id: FrameId::default(),
            packet: PacketId::default(),
            dev: IfIndex::default(),
            iif: IfIndex::default(),
            tstamp: Time::default(),
            pkt_type: PacketType::default(),
            truesize: 0,
            frag_max_size: 0,
            frag_pmtu: false,
            ignore_df: false,
            frag_list: Vec::new(),
            csum_valid: false,
            csum_partial: false,
            encap: 0,
            csum_valid_inside: false,
            csum_partial_inside: false,
            hash: 0,
            gso_size: 0,
            layout: Layout::default(),
            confirm: false,
            sk: Sk::None,
            rt_local: false,
            mark: 0,
            next_hop: None,
            nfct: Nfct::None,
            nf_bridge: None,
            tunnel: None,
        }))
    }

    fn reset(&mut self, id: FrameId) {
        let skb = &mut *self.0;
        skb.buf.clear();
        skb.buf.resize(HEADROOM, 0);
        skb.frag_list.clear();
        *skb = Skb {
            buf: std::mem::take(&mut skb.buf),
            frag_list: std::mem::take(&mut skb.frag_list),
            head: HEADROOM,
            mac_len: 0,
            id,
            packet: id.into(),
            dev: IfIndex::default(),
            iif: IfIndex::default(),
            tstamp: Time::default(),
            pkt_type: PacketType::default(),
            truesize: 0,
            frag_max_size: 0,
            frag_pmtu: false,
            ignore_df: false,
            csum_valid: false,
            csum_partial: false,
            encap: 0,
            csum_valid_inside: false,
            csum_partial_inside: false,
            hash: 0,
            gso_size: 0,
            layout: Layout::default(),
            confirm: false,
            sk: Sk::None,
            rt_local: false,
            mark: 0,
            next_hop: None,
            nfct: Nfct::None,
            nf_bridge: None,
            tunnel: None,
        };
    }

    fn copy_from(&mut self, from: &Frame, id: FrameId) {
        let (buf, frag_list) = (std::mem::take(&mut self.0.buf), std::mem::take(&mut self.0.frag_list));
        // __skb_clone: the copy has no socket.
        *self.0 = Skb { buf, frag_list, id, sk: Sk::None, ..from.0.without_buffer() };
        self.0.buf.clear();
        self.0.buf.extend_from_slice(&from.0.buf);
        self.0.frag_list.clear();
        self.0.frag_list.extend_from_slice(&from.0.frag_list);
    }

    /// The whole frame: the link-layer header, if it has one, and the rest.
    pub fn bytes(&self) -> &[u8] {
        &self.0.buf[self.0.head..]
    }

    /// As [`Frame::bytes`], to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let head = self.0.head;
        &mut self.0.buf[head..]
    }

    /// What follows the link-layer header.
    pub fn l3(&self) -> &[u8] {
        &self.0.buf[self.0.head + self.0.mac_len..]
    }

    /// As [`Frame::l3`], to change.
    pub fn l3_mut(&mut self) -> &mut [u8] {
        let at = self.0.head + self.0.mac_len;
        &mut self.0.buf[at..]
    }

    /// skb->protocol: an Ethertype.
    pub fn protocol(&self) -> u16 {
        wire::protocol(self.bytes(), self.0.mac_len)
    }

    /// Bytes of the link-layer header in front: 14 or 0.
    pub fn mac_len(&self) -> usize {
        self.0.mac_len
    }

    /// Everything is forgotten that belongs to the kernel that the frame leaves. Without `..`, so that the compiler
    /// asks what a new field means on the wire.
    pub(in crate::kernel) fn leave(&mut self) {
        self.complete_checksum();
        let Skb {
            buf: _,
            head: _,
            mac_len: _,
            id: _,
            packet: _,
            truesize: _,
            gso_size: _,
            layout,
            dev,
            iif,
            tstamp,
            pkt_type,
            frag_max_size,
            frag_pmtu,
            ignore_df,
            frag_list,
            csum_valid,
            csum_partial,
            encap,
            csum_valid_inside,
            csum_partial_inside,
            hash,
            confirm,
            sk,
            rt_local,
            mark,
            next_hop,
            nfct,
            nf_bridge,
            tunnel,
        } = &mut *self.0;
        debug_assert_eq!(*nfct, Nfct::None, "its connection has been let go of");
        frag_list.clear();
        (*dev, *iif, *tstamp) = (IfIndex::default(), IfIndex::default(), Time::default());
        (*pkt_type, *frag_max_size, *frag_pmtu) = (PacketType::default(), 0, false);
        (*ignore_df, *csum_valid, *mark, *nf_bridge, *tunnel) = (false, false, 0, None, None);
        (*confirm, *csum_partial, layout.cloned) = (false, false, false);
        (*encap, *csum_valid_inside, *csum_partial_inside, *hash) = (0, false, false, 0);
        (*next_hop, *sk, *rt_local) = (None, Sk::None, false);
    }

    /// gso_segs of skb_shared_info: so many segments it is cut into.
    pub(in crate::kernel) fn segments(&self) -> u16 {
        if self.gso_size == 0 {
            return 1;
        }
        let headers = self.network_len() - usize::from(self.gso_size).min(self.network_len());
        (self.l3().len() - headers).div_ceil(self.gso_size.into()) as u16
    }

    /// The bytes in front of a TCP payload, in a tunnel or not.
    fn tcp_headers(&self) -> usize {
        let encap = usize::from(self.encap);
        let inner = self.l3().get(encap..).unwrap_or_default();
        let ip_len = usize::from(inner.first().copied().unwrap_or(0) & 0xf) * 4;
        encap + ip_len + usize::from(inner.get(ip_len + 12).copied().unwrap_or(0) >> 4) * 4
    }

    /// What counts against an MTU (skb_gso_network_seglen): the longest of the segments that it holds, or all of it.
    pub fn network_len(&self) -> usize {
        let l3 = self.l3();
        if self.gso_size == 0 {
            return l3.len();
        }
        (self.tcp_headers() + usize::from(self.gso_size)).min(l3.len())
    }

    /// __copy_skb_header: everything of `from` but its bytes, its id and what they cost.
    pub(in crate::kernel) fn inherit(&mut self, from: &Frame) {
        let skb = &mut *self.0;
        let (buf, frag_list) = (std::mem::take(&mut skb.buf), std::mem::take(&mut skb.frag_list));
        let own = (skb.head, skb.mac_len, skb.id, skb.packet, skb.truesize);
        *skb = Skb { buf, frag_list, gso_size: 0, ..from.0.without_buffer() };
        (skb.head, skb.mac_len, skb.id, skb.packet, skb.truesize) = own;
    }

    /// skb_checksum_help: the transport checksum is completed, if it is not complete yet.
    pub(in crate::kernel) fn complete_checksum(&mut self) {
        if !std::mem::take(&mut self.csum_partial) {
            return;
        }
        let at = if std::mem::take(&mut self.csum_partial_inside) { usize::from(self.encap) } else { 0 };
        let Some(l3) = self.l3_mut().get_mut(at..) else { return };
        let hlen = usize::from(l3.first().copied().unwrap_or(0) & 0xf) * 4;
        let protocol = l3.get(9).copied().unwrap_or(0);
        let Some(l4) = l3.get_mut(hlen..) else { return };
        let at = if protocol == IPPROTO_TCP { 16 } else { 6 };
        let sum = match checksum(l4) {
            0 if protocol == IPPROTO_UDP => 0xffff,
            sum => sum,
        };
        if let Some(field) = l4.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// skb_linearize of a TCP segment, for a device that takes no fragments: the payload moves into a head of its own,
    /// with 128 bytes to spare (__pskb_pull_tail). What that head is longer is counted where no socket here counts the
    /// frame (pskb_expand_head).
    #[inline(never)]
    pub(in crate::kernel) fn linearize(&mut self) {
        let used = MAX_TCP_HEADER + self.l3().len().saturating_sub(self.tcp_headers());
        let head = alloc_truesize(used + 128);
        if self.iif != IfIndex::default() {
            self.truesize += head - TCP_HEAD_TRUESIZE;
        }
        self.layout = Layout { tailroom: tailroom(head, used), ..Layout::default() };
    }

    /// How its transport checksum stands.
    pub(in crate::kernel) fn csum(&self) -> Csum {
        if self.csum_partial { Csum::Partial } else { Csum::Full }
    }

    /// skb_put: `n` zero bytes at the end.
    pub fn put(&mut self, n: usize) -> &mut [u8] {
        let len = self.0.buf.len();
        self.0.buf.resize(len + n, 0);
        &mut self.0.buf[len..]
    }

    /// skb_put_data: these bytes at the end.
    pub fn put_data<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        pieces.into_iter().for_each(|bytes| self.0.buf.extend_from_slice(bytes));
    }

    /// `len` zero bytes at the end; hands out those after the first `skip`.
    pub fn put_l3(&mut self, len: usize, skip: usize) -> &mut [u8] {
        &mut self.put(len)[skip..]
    }

    /// The frame ends after `len` bytes of its network layer (pskb_trim).
    pub fn trim_l3(&mut self, len: usize) {
        let end = self.0.head + self.0.mac_len + len;
        self.0.buf.truncate(end);
    }

    /// dev_hard_header: a new link-layer header of `n` bytes in front; an old one is dropped.
    pub fn push_mac(&mut self, n: usize) -> &mut [u8] {
        let skb = &mut *self.0;
        let l3 = skb.head + skb.mac_len;
        assert!(n <= l3, "headroom is larger than any header");
        (skb.head, skb.mac_len) = (l3 - n, n);
        &mut skb.buf[l3 - n..l3]
    }
}

/// Tunnels.
impl Frame {
    /// The whole frame becomes what a tunnel carries behind `n` zero bytes of headers, which are handed out. It has no
    /// link-layer header then.
    pub(in crate::kernel) fn encapsulate(&mut self, n: usize) -> &mut [u8] {
        let inner = n + self.0.mac_len;
        let skb = &mut *self.0;
        if skb.head < n + ETH_HLEN {
            // pskb_expand_head
            skb.buf.splice(0..0, [0; HEADROOM]);
            skb.head += HEADROOM;
        }
        skb.head -= n;
        skb.mac_len = 0;
        skb.encap = inner as u16;
        (skb.csum_valid_inside, skb.csum_partial_inside) = (skb.csum_valid, skb.csum_partial);
        skb.csum_valid = true;
        let at = skb.head;
        skb.buf[at..at + n].fill(0);
        &mut skb.buf[at..at + n]
    }

    /// What a tunnel carried is the frame again: the first `n` bytes behind the link-layer header go, and another one
    /// of `mac_len` bytes is next.
    pub(in crate::kernel) fn decapsulate(&mut self, n: usize, mac_len: usize) {
        let skb = &mut *self.0;
        skb.head += skb.mac_len + n;
        skb.mac_len = mac_len;
        skb.encap = 0;
        // CHECKSUM_PARTIAL of a header that is gone is CHECKSUM_NONE (skb_postpull_rcsum).
        skb.csum_partial = std::mem::take(&mut skb.csum_partial_inside);
        skb.csum_valid = std::mem::take(&mut skb.csum_valid_inside);
    }
}

impl Skb {
    /// Everything but the bytes.
    fn without_buffer(&self) -> Skb {
        Skb { buf: Vec::new(), frag_list: Vec::new(), ..*self }
    }
}

impl std::ops::Deref for Frame {
    type Target = Skb;
    fn deref(&self) -> &Skb {
        &self.0
    }
}

impl std::ops::DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut Skb {
        &mut self.0
    }
}

impl Clone for Frame {
    /// The very same frame, for a cloned world. Within a world a copy is a new frame: `Cx::clone_frame`.
    fn clone(&self) -> Self {
        Frame(self.0.clone())
    }
}

/// Frames that have ended, to be filled again: a warm datapath allocates nothing.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Frame>,
}

/// As many ended frames are kept for reuse.
const POOL_MAX: usize = 4096;
/// Buffers that have grown beyond this are not kept.
const POOL_BUFFER_MAX: usize = 16 << 10;

impl Pool {
    pub(crate) fn fresh(&mut self, id: FrameId) -> Frame {
        let mut f = self.free.pop().unwrap_or_else(Frame::empty);
        f.reset(id);
        f
    }

    pub(in crate::kernel) fn copy(&mut self, of: &Frame, id: FrameId) -> Frame {
        let mut f = self.free.pop().unwrap_or_else(Frame::empty);
        f.copy_from(of, id);
        f
    }

    /// A buffer that is free, to be given away.
    pub(in crate::kernel) fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    pub(in crate::kernel) fn give_back(&mut self, f: Frame) {
        if self.free.len() < POOL_MAX && f.buf.capacity() <= POOL_BUFFER_MAX {
            self.free.push(f);
        }
    }
}

impl Clone for Pool {
    /// A pool holds nothing that matters.
    fn clone(&self) -> Self {
        Pool::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_and_go() {
        let mut pool = Pool::default();
        let mut f = pool.fresh(FrameId(1));
        f.put(4).copy_from_slice(b"data");
        f.push_mac(14)[0] = 9;
        assert_eq!((f.bytes().len(), f.l3()), (18, &b"data"[..]));
        f.push_mac(0);
        assert_eq!(f.bytes(), b"data");
        f.push_mac(14);
        f.trim_l3(2);
        assert_eq!(f.l3(), b"da");
        let g = pool.copy(&f, FrameId(2));
        assert_eq!((g.bytes(), g.id, g.packet), (f.bytes(), FrameId(2), PacketId(1)));
    }

    #[test]
    fn a_tunnel_wraps_and_unwraps() {
        let mut f = Pool::default().fresh(FrameId(1));
        f.put(4).copy_from_slice(b"data");
        f.push_mac(14)[0] = 9;
        f.csum_valid = true;
        // More headers than there was room for.
        for _ in 0..4 {
            f.encapsulate(36)[0] = 0x45;
            assert_eq!((f.l3().len(), f.l3()[0], f.mac_len(), f.encap), (f.bytes().len(), 0x45, 0, 50));
            f.push_mac(14)[0] = 8;
        }
        assert_eq!(f.bytes().len(), 18 + 4 * 50);
        for left in (0..4).rev() {
            f.decapsulate(36, 14);
            assert_eq!((f.bytes().len(), f.mac_len()), (18 + left * 50, 14));
        }
        assert_eq!((f.bytes()[0], f.l3()), (9, &b"data"[..]));
    }

    #[test]
    fn truesize_as_measured() {
        // (IPv4 length, truesize) by SIOCOUTQ of a UDP and a raw socket on Linux 6.18.
        for (len, want) in [(36, 832), (128, 832), (220, 832), (228, 1280), (628, 1280), (728, 2304), (1500, 2304)] {
            assert_eq!(truesize(len), want, "{len}");
        }
    }
}
