//! Mirrors the lower half of net/ipv4/tcp_output.c, and the resets and minisockets' answers of net/ipv4/tcp_ipv4.c: one
//! segment, from its header to the IP layer.

use super::ecn::{self, Ecn};
use super::options::Options;
use super::sock::{Sock, State, TCP_MSS_DEFAULT, TxSkb, now_ms, now_us};
use super::timer::Xmit;
use super::{after, before};
use crate::base::{FrameId, IfIndex};
use crate::kernel::conntrack::{Nfct, nf_conntrack_attach};
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, Layout, Sk, TCP_HEAD_TRUESIZE};
use crate::kernel::ip::IP_HLEN;
use crate::kernel::ip::output::{self, Df, Header, Ident, Origin};
use crate::kernel::ip::route::{self, Flow4};
use crate::kernel::netns::NetNs;
use crate::kernel::trace::Edge;
use crate::wire::{IPPROTO_TCP, pseudo_sum};
use smoltcp::wire::{TcpPacket, TcpSeqNumber};
use std::net::SocketAddrV4;

/// Bytes of a TCP header without options.
pub(super) const TCP_HLEN: usize = 20;

/// The flags of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub psh: bool,
    pub ack: bool,
    pub ece: bool,
    pub cwr: bool,
}

impl Flags {
    pub const NONE: Flags =
        Flags { syn: false, fin: false, rst: false, psh: false, ack: false, ece: false, cwr: false };
    pub const ACK: Flags = Flags { ack: true, ..Flags::NONE };
    pub const RST: Flags = Flags { rst: true, ..Flags::NONE };
    pub const RST_ACK: Flags = Flags { rst: true, ..Flags::ACK };
}

/// The fields of a segment to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    pub window: u16,
    pub options: Options,
}

/// Writes header and options; the checksum follows when the payload is there.
pub(super) fn write_header(out: &mut [u8], source: u16, dest: u16, f: &Fields) {
    let mut p = TcpPacket::new_unchecked(&mut *out);
    p.set_src_port(source);
    p.set_dst_port(dest);
    p.set_seq_number(TcpSeqNumber(f.seq as i32));
    p.set_ack_number(TcpSeqNumber(f.ack as i32));
    p.clear_flags();
    p.set_header_len((TCP_HLEN + f.options.len()) as u8);
    p.set_syn(f.flags.syn);
    p.set_fin(f.flags.fin);
    p.set_rst(f.flags.rst);
    p.set_psh(f.flags.psh);
    p.set_ack(f.flags.ack);
    p.set_ece(f.flags.ece);
    p.set_cwr(f.flags.cwr);
    p.set_window_len(f.window);
    p.set_urgent_at(0);
    f.options.write(&mut out[TCP_HLEN..]);
}

/// tcp_established_options: what every segment of the connection carries, and as many SACK blocks as fit.
pub(super) fn established_options(sk: &Sock, now_ms: u32) -> Options {
    let mut o = Options::default();
    if sk.rx_opt.tstamp_ok {
        o.ts = Some((now_ms.wrapping_add(sk.tsoffset), sk.rx_opt.ts_recent));
    }
    let mut room = o.room_for_sacks();
    for block in sk.dsack.iter().chain(&sk.selective_acks) {
        if room == 0 {
            break;
        }
        o.push_sack(*block);
        room -= 1;
    }
    o
}

/// tcp_syn_options
fn syn_options(ns: &NetNs, sk: &Sock, now_ms: u32) -> Options {
    let sysctl = &ns.sockets.tcp.sysctl;
    Options {
        mss: Some(sk.advmss as u16),
        wscale: (sysctl.window_scaling != 0).then_some(sk.rx_opt.rcv_wscale),
        sack_perm: sysctl.sack != 0,
        ts: (sysctl.timestamps != 0).then(|| (now_ms.wrapping_add(sk.tsoffset), sk.rx_opt.ts_recent)),
        ..Options::default()
    }
}

impl Sock {
    /// The route to the peer (__sk_dst_check): it is looked up anew each time, as it may have changed.
    pub(super) fn route(&self, ns: &mut NetNs) -> Result<route::Output, Errno> {
        let src = (!self.ip.saddr.is_unspecified()).then_some(self.ip.saddr);
        let flow = Flow4 { src, oif: self.dev, mark: self.opt.mark, any_src: true, ..Flow4::to(self.ip.daddr) };
        route::output(ns, &flow)
    }

    /// tcp_mss_to_mtu the other way round, without options (__tcp_mtu_to_mss).
    fn mtu_to_mss(&self, ns: &NetNs, mtu: u32) -> u32 {
        let mss = mtu.saturating_sub((IP_HLEN + TCP_HLEN) as u32).min(self.rx_opt.mss_clamp);
        mss.max(ns.sockets.tcp.sysctl.min_snd_mss as u32)
    }

    /// tcp_sync_mss
    pub(super) fn sync_mss(&mut self, ns: &NetNs, pmtu: u32) -> u32 {
        let mss = self.mtu_to_mss(ns, pmtu).saturating_sub(self.header_len - TCP_HLEN as u32);
        // tcp_bound_to_half_wnd
        let cutoff = match self.max_window {
            w if w > TCP_MSS_DEFAULT => w >> 1,
            w => w,
        };
        let mss = if cutoff != 0 && mss > cutoff { cutoff.max(68 - self.header_len) } else { mss };
        self.pmtu_cookie = pmtu;
        self.mss_cache = mss;
        mss
    }

    /// tcp_current_mss: of this moment's path MTU and this segment's options.
    pub(super) fn current_mss(&mut self, ns: &mut NetNs) -> u32 {
        if let Ok(r) = self.route(ns)
            && r.mtu != self.pmtu_cookie
        {
            self.sync_mss(ns, r.mtu);
        }
        let sacks = (self.selective_acks.len() + usize::from(self.dsack.is_some())).min(if self.rx_opt.tstamp_ok {
            3
        } else {
            4
        });
        let more = if sacks > 0 { 4 + 8 * sacks as u32 } else { 0 };
        self.mss_cache.saturating_sub(more)
    }
}

/// __tcp_transmit_skb: sends what `skb` says, with `clone` a copy of what stays in a queue. Whether it left.
pub(super) fn transmit(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    sk: &mut Sock,
    skb: &TxSkb,
    mut flags: Flags,
) -> Result<FrameId, Errno> {
    let now = now_ms(cx);
    if flags.syn {
        ecn::mark_syn(sk.ecn, &mut flags);
    } else {
        ecn::mark(sk, skb, &mut flags);
    }
    let options = if flags.syn { syn_options(ns, sk, now) } else { established_options(sk, now) };
    if sk.in_flight() == 0 && skb.end_seq != skb.seq {
        sk.ca.tx_start(cx.jiffies(), sk.lsndtime);
    }
    let window = if flags.syn { sk.rcv_wnd.min(65_535) as u16 } else { super::window::select(ns, sk) };
    let ack = if flags.ack { sk.rcv_nxt } else { 0 };
    let fields = Fields { seq: skb.seq, ack, flags, window, options };
    if flags.ack {
        super::data::event_ack_sent(sk);
    }
    if skb.len() > 0 {
        event_data_sent(cx, sk);
    }
    let sent = queue_xmit(ns, cx, sk, skb, &fields);
    if sent == Err(Errno::ENOBUFS) {
        super::recovery::enter_cwr(sk);
    }
    sent
}

/// tcp_event_data_sent
fn event_data_sent(cx: &Cx<'_>, sk: &mut Sock) {
    let now = cx.jiffies();
    sk.lsndtime = now;
    sk.wstamp_us = now_us(cx);
    // A reply within ato of the last packet received: this is a dialogue.
    if now.wrapping_sub(sk.ack.lrcvtime) < sk.ack.ato {
        sk.ack.pingpong = sk.ack.pingpong.saturating_add(1);
    }
}

/// ip_queue_xmit
fn queue_xmit(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, skb: &TxSkb, fields: &Fields) -> Result<FrameId, Errno> {
    let r = sk.route(ns)?;
    let (hlen, len) = (TCP_HLEN + fields.options.len(), skb.len() as usize);
    let mut f = cx.make_frame(skb.frame.map_or(Edge::Origin, Edge::RetransmitOf));
    let l4 = f.put_l3(IP_HLEN + hlen, IP_HLEN);
    write_header(l4, sk.sport, sk.dport, fields);
    let sum = pseudo_sum(r.src, r.dst, IPPROTO_TCP, hlen + len);
    l4[16..18].copy_from_slice(&sum.to_be_bytes());
    f.put_data(sk.unacked(skb.seq.wrapping_add(u32::from(skb.syn)), len));
    let segments = if skb.len() > skb.mss { skb.pcount() } else { 1 };
    if segments > 1 {
        f.gso_size = skb.mss as u16;
    }
    (f.csum_valid, f.csum_partial) = (true, true);
    f.truesize = TCP_HEAD_TRUESIZE + len as u32;
    f.layout = Layout { frags: frags(skb), chained: false, tailroom: 0, cloned: true, snd_una: sk.snd_una };
    (f.confirm, f.hash, f.sk, f.mark) = (sk.confirm, sk.txhash, sk.sk(), sk.opt.mark);
    let h = Header {
        protocol: IPPROTO_TCP,
        tos: sk.opt.tos | sk.ecn.tos(),
        ttl: sk.opt.ttl.unwrap_or(ns.sysctl.ip_default_ttl),
        df: Df::if_it_fits(sk.opt.pmtu.dont_fragment(&r)),
        ident: Ident::Socket(sk.inet_id),
    };
    sk.inet_id = sk.inet_id.wrapping_add(segments as u16);
    let id = f.id;
    output::send_made(ns, cx, &r, &h, sk.dev, f)?;
    sk.confirm = false;
    Ok(id)
}

/// The fragments of a piece: its bytes were copied into pages of 32 KiB, one after the other (skb_page_frag_refill).
///
/// Differs: Linux begins anywhere in a page, since all sockets of a process share one; here a page ends where the
/// sequence number is divisible.
fn frags(skb: &TxSkb) -> u8 {
    /// SKB_FRAG_PAGE_ORDER
    const PAGE_BITS: u32 = 15;
    match skb.len() {
        0 => 0,
        len => 1 + (((skb.seq & ((1 << PAGE_BITS) - 1)) + len - 1) >> PAGE_BITS) as u8,
    }
}

/// __tcp_send_ack: an ACK without data.
pub(super) fn send_ack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if sk.state == State::Close {
        return;
    }
    let skb = bare(acceptable_seq(sk));
    let _ = transmit(ns, cx, sk, &skb, Flags::ACK);
}

/// A segment without data.
pub(super) fn bare(seq: u32) -> TxSkb {
    TxSkb {
        seq,
        end_seq: seq,
        syn: false,
        fin: false,
        push: false,
        sacked: false,
        retrans: false,
        lost: false,
        ever_retrans: false,
        sent_us: 0,
        mss: 0,
        delivered: 0,
        truesize: 0,
        frame: None,
    }
}

/// tcp_acceptable_seq: SND.NXT, unless the peer's window does not reach so far any more.
pub(super) fn acceptable_seq(sk: &Sock) -> u32 {
    let end = sk.wnd_end();
    let behind = sk.snd_nxt.wrapping_sub(end);
    if !before(end, sk.snd_nxt) || sk.rx_opt.wscale_ok && behind < 1 << sk.rx_opt.rcv_wscale { sk.snd_nxt } else { end }
}

/// tcp_send_active_reset: the program gave up a connection.
pub(super) fn send_active_reset(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let skb = bare(acceptable_seq(sk));
    let _ = transmit(ns, cx, sk, &skb, Flags::RST_ACK);
}

/// tcp_xmit_probe_skb: a segment whose only point is to be answered.
pub(super) fn xmit_probe(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) -> Result<FrameId, Errno> {
    let skb = bare(sk.snd_una.wrapping_sub(1));
    transmit(ns, cx, sk, &skb, Flags::ACK)
}

/// tcp_connect: the first SYN.
pub(super) fn connect(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let mut skb = bare(sk.write_seq);
    (skb.syn, skb.end_seq, skb.mss) = (true, sk.write_seq.wrapping_add(1), sk.mss_cache);
    sk.write_seq = skb.end_seq;
    sk.buf_seq = sk.write_seq;
    sk.ecn = Ecn::send_syn(&ns.sockets.tcp.sysctl);
    skb.truesize = TCP_HEAD_TRUESIZE;
    sk.wmem += u64::from(skb.truesize);
    skb.sent_us = now_us(cx);
    sk.retrans_stamp = now_ms(cx);
    sk.packets_out += 1;
    let syn = Flags { syn: true, ..Flags::default() };
    skb.frame = transmit(ns, cx, sk, &skb, syn).ok();
    sk.rtx.push_back(skb);
    // Only now: what goes wrong with the SYN itself must not look like data in flight.
    sk.snd_nxt = sk.write_seq;
    sk.pushed_seq = sk.write_seq;
    let rto = sk.rto;
    super::timer::reset_xmit(ns, cx, sk, Xmit::Retransmit, rto);
}

/// Where an answer goes that no socket sends (struct ip_reply_arg).
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub tos: u8,
    pub ttl: Option<u8>,
    pub oif: Option<IfIndex>,
    /// The frame that is answered, and its connection.
    pub cause: Option<FrameId>,
    pub nfct: Nfct,
    /// Its checksum is left to the device, as a socket's own segments' are.
    pub partial: bool,
    /// Whom it is sent for.
    pub behalf: Behalf,
}

/// What an answer takes from the socket that it is sent for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Behalf {
    /// The hash of its connection; zero for none.
    pub txhash: u32,
    /// skb->sk: the socket, else one of the kernel's own (ipv4_tcp_sk).
    pub sk: Sk,
    /// sk_mark
    pub mark: u32,
    /// IP_REPLY_ARG_NOSRCCHECK: it is transparent.
    pub any_src: bool,
}

impl Behalf {
    /// There is no socket.
    pub const NOBODY: Behalf = Behalf { txhash: 0, sk: Sk::Kernel, mark: 0, any_src: false };

    /// The mark of an answer to what came with `mark` (IP4_REPLY_MARK).
    pub fn answers(self, ns: &NetNs, mark: u32) -> Self {
        let reflected = ns.ipv4.sysctl.reply_mark(mark);
        Behalf { mark: if reflected == 0 { self.mark } else { reflected }, ..self }
    }
}

/// ip_send_unicast_reply
///
/// # Errors
/// Those of [`output::send`]: no route, a rule that drops it.
pub(super) fn send_reply(ns: &mut NetNs, cx: &mut Cx<'_>, reply: &Reply, fields: &Fields) -> Result<(), Errno> {
    let Behalf { txhash: hash, sk, mark, any_src } = reply.behalf;
    let flow = Flow4 { src: Some(*reply.from.ip()), oif: reply.oif, mark, any_src, ..Flow4::to(*reply.to.ip()) };
    let r = route::output(ns, &flow)?;
    let ttl = reply.ttl.unwrap_or(ns.sysctl.ip_default_ttl);
    // DF and no id, since the CPU's own socket sends it (tcp_v4_init). A SYN-ACK is the same, whatever its listener has
    // (measured).
    let h = Header { protocol: IPPROTO_TCP, tos: reply.tos, ttl, df: Df::IfItFits, ident: Ident::Zero };
    let nfct = nf_conntrack_attach(&mut ns.ct, reply.nfct);
    let partial = reply.partial;
    let (cause, bound) = (reply.cause, reply.oif);
    let origin = Origin { cause, nfct, bound, mark, summed: true, partial, hash, sk };
    let (src, dst) = (r.src, r.dst);
    output::send(ns, cx, &r, &h, origin, TCP_HLEN + fields.options.len(), |out| {
        write_header(out, reply.from.port(), reply.to.port(), fields);
        if partial {
            let sum = pseudo_sum(src, dst, IPPROTO_TCP, out.len());
            out[16..18].copy_from_slice(&sum.to_be_bytes());
        } else {
            TcpPacket::new_unchecked(out).fill_checksum(&src.into(), &dst.into());
        }
    })
}

/// tcp_v4_send_reset: nobody, or nobody any more, wants `f`, which was for `behalf`.
pub(super) fn send_reset(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame, behalf: Behalf) {
    let Some(seg) = super::rx::Segment::parse(f) else { return };
    if seg.flags.rst {
        return;
    }
    // skb_rtable: only what was for one host here.
    if !f.rt_local {
        return;
    }
    let fields = if seg.flags.ack {
        Fields { seq: seg.ack, flags: Flags::RST, ..Fields::default() }
    } else {
        Fields { ack: seg.end_seq, flags: Flags::RST_ACK, ..Fields::default() }
    };
    let reply = reply_to(f, &seg, behalf.answers(ns, f.mark));
    let _ = send_reply(ns, cx, &reply, &fields);
}

/// An answer to `seg`, which came as `f`.
pub(super) fn reply_to(f: &Frame, seg: &super::rx::Segment, behalf: Behalf) -> Reply {
    Reply {
        from: seg.to,
        to: seg.from,
        tos: 0,
        ttl: None,
        oif: None,
        cause: Some(f.id),
        nfct: f.nfct,
        partial: false,
        behalf,
    }
}

/// `end_seq` lies in the window from `seq` to `end` (tcp_in_window).
pub(super) fn in_window(seq: u32, end_seq: u32, start: u32, end: u32) -> bool {
    if seq == start {
        return true;
    }
    after(end_seq, start) && before(seq, end) || seq == end && seq == end_seq
}
