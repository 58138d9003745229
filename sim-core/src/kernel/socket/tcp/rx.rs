//! Mirrors tcp_v4_rcv and tcp_v4_do_rcv of net/ipv4/tcp_ipv4.c, tcp_rcv_established, tcp_rcv_synsent_state_process and
//! tcp_rcv_state_process of net/ipv4/tcp_input.c: what a segment does to a connection. Read RFC 9293 section 3.10.7
//! before editing.

use super::options::Options;
use super::sock::{RxSkb, Sock, State, TCP_INFINITE_SSTHRESH, TCP_INIT_CWND, now_ms, now_us};
use super::timer::{self, Xmit};
use super::timewait::{self, Substate};
use super::transmit::{self, Behalf, Flags, TCP_HLEN};
use super::{Entry, SockId, Tuple, ack, after, before, data, listen, recovery, tx, window};
use crate::base::{FrameId, IfIndex};
use crate::kernel::conntrack::Nfct;
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, Layout, PacketType, Sk};
use crate::kernel::ip;
use crate::kernel::netns::NetNs;
use crate::kernel::nf_hook::nf_reset_ct;
use crate::kernel::timer::HZ;
use crate::kernel::trace::{Consumer, DropReason, Fate, Flow};
use crate::wire::IPPROTO_TCP;
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use std::net::SocketAddrV4;
use std::ops::Range;

/// TCP_PAWS_24DAYS in seconds, TCP_PAWS_WINDOW in ticks of the timestamp, TCP_PAWS_MSL in seconds (RFC 7323 section 5).
const PAWS_24DAYS: u64 = 60 * 60 * 24 * 24;
const PAWS_WINDOW: i32 = 1;
const PAWS_MSL: u64 = 60;

/// What a segment says (TCP_SKB_CB and struct tcphdr).
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub seq: u32,
    /// With SYN and FIN.
    pub end_seq: u32,
    pub ack: u32,
    pub flags: Flags,
    pub window: u16,
    /// One of the bits between the header's length and the flags is set; AccECN has one of them.
    pub reserved: bool,
    /// Of the IP header.
    pub tos: u8,
    /// skb->mark
    pub mark: u32,
    pub options: Options,
    /// Where its data is in the packet.
    data: Range<usize>,
    pub header_len: u32,
    pub gso_size: u32,
    pub truesize: u32,
    pub layout: Layout,
    /// The frame, and its connection.
    pub frame: FrameId,
    pub nfct: Nfct,
}

impl Segment {
    /// None if it is none, or damaged.
    pub fn parse(f: &Frame) -> Option<Segment> {
        let l3 = f.l3();
        let (IPPROTO_TCP, bytes) = ip::payload(l3)? else { return None };
        let p = Ipv4Packet::new_unchecked(l3);
        let tcp = TcpPacket::new_checked(bytes).ok()?;
        let (src, dst) = (p.src_addr(), p.dst_addr());
        let header_len = usize::from(tcp.header_len());
        let start = usize::from(p.header_len()) + header_len;
        let len = bytes.len() - header_len;
        let (syn, fin, rst, psh, ack) = (tcp.syn(), tcp.fin(), tcp.rst(), tcp.psh(), tcp.ack());
        let flags = Flags { syn, fin, rst, psh, ack, ece: tcp.ece(), cwr: tcp.cwr() };
        let seq = tcp.seq_number().0 as u32;
        let taken = len as u32 + u32::from(flags.syn) + u32::from(flags.fin);
        Some(Segment {
            from: SocketAddrV4::new(src, tcp.src_port()),
            to: SocketAddrV4::new(dst, tcp.dst_port()),
            seq,
            end_seq: seq.wrapping_add(taken),
            ack: tcp.ack_number().0 as u32,
            flags,
            window: tcp.window_len(),
            reserved: bytes[12] & 0xf != 0,
            tos: l3[1],
            mark: f.mark,
            options: Options::parse(&bytes[TCP_HLEN..header_len]),
            data: start..start + len,
            header_len: header_len as u32,
            gso_size: u32::from(f.gso_size),
            truesize: f.truesize,
            layout: f.layout,
            frame: f.id,
            nfct: f.nfct,
        })
    }

    /// Bytes of data.
    pub fn len(&self) -> u32 {
        self.data.len() as u32
    }

    /// Its data.
    pub fn payload<'a>(&self, f: &'a Frame) -> &'a [u8] {
        f.l3().get(self.data.clone()).unwrap_or_default()
    }

    /// The bytes of its options.
    fn options_of<'a>(&self, f: &'a Frame) -> &'a [u8] {
        let begin = self.data.start - self.header_len as usize + TCP_HLEN;
        f.l3().get(begin..self.data.start).unwrap_or_default()
    }

    /// As it is queued.
    pub fn to_skb(&self, f: &Frame) -> RxSkb {
        RxSkb {
            seq: self.seq,
            end_seq: self.end_seq,
            fin: self.flags.fin,
            data: self.payload(f).to_vec(),
            truesize: self.truesize,
            layout: self.layout,
            own_end: self.end_seq,
        }
    }

    /// The connection that it is for.
    pub fn tuple(&self) -> Tuple {
        Tuple::new(self.to, self.from)
    }
}

/// tcp_v4_rcv
pub(in crate::kernel) fn tcp_v4_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    if f.pkt_type != PacketType::Host {
        return cx.kill(f, DropReason::NotSpecified);
    }
    let Some((_, bytes)) = ip::payload(f.l3()) else { return cx.kill(f, DropReason::IpInHdr) };
    let Some(seg) = Segment::parse(&f) else {
        return cx.kill(f, DropReason::PktTooSmall);
    };
    let sound = |b| TcpPacket::new_unchecked(b).verify_checksum(&(*seg.from.ip()).into(), &(*seg.to.ip()).into());
    if !f.csum_valid && !sound(bytes) {
        return cx.kill(f, DropReason::TcpCsum);
    }
    nf_reset_ct(ns, &mut f);
    let found = match f.sk {
        // skb_steal_sock: a rule has said whose it is.
        Sk::ToTcp(id) => Some(id),
        _ => ns.sockets.tcp.lookup(&seg.tuple()),
    };
    match found {
        Some(id) => deliver(ns, cx, dev, id, &seg, f),
        None => {
            transmit::send_reset(ns, cx, &f, Behalf::NOBODY);
            cx.kill(f, DropReason::NoSocket)
        }
    }
}

fn deliver(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, id: SockId, seg: &Segment, f: Frame) -> Flow {
    match ns.sockets.tcp.entry(id) {
        Some(Entry::Sock(sk)) if sk.owned => backlog(ns, cx, dev, id, seg, f),
        Some(Entry::Sock(_)) => {
            let Some(mut sk) = ns.sockets.tcp.take(id) else { return cx.kill(f, DropReason::NoSocket) };
            let flow = do_rcv(ns, cx, dev, &mut sk, seg, f);
            ns.sockets.tcp.give_back(sk);
            flow
        }
        Some(Entry::Request(_)) => listen::request_rcv(ns, cx, dev, id, seg, f),
        Some(Entry::TimeWait(_)) => timewait::rcv(ns, cx, dev, id, seg, f),
        None => cx.kill(f, DropReason::NoSocket),
    }
}

/// tcp_add_backlog: a system call works on the socket.
fn backlog(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, id: SockId, seg: &Segment, f: Frame) -> Flow {
    let Some(sk) = ns.sockets.tcp.sock_mut(id) else { return cx.kill(f, DropReason::NoSocket) };
    if let Some((_, tail)) = sk.backlog.back_mut()
        && coalesce(tail, seg, &f)
    {
        return cx.end(f, Fate::Consumed(Consumer::Tcp));
    }
    // sk_rcvqueues_full
    let limit = sk.rcvbuf * 2 + (sk.sndbuf >> 1) + (64 << 10);
    if sk.backlog_len + sk.rmem > limit {
        return cx.kill(f, DropReason::SocketBacklog);
    }
    sk.backlog_len += u64::from(f.truesize);
    sk.backlog.push_back((dev, f));
    Flow::Break(Fate::Queued)
}

/// The coalescing of tcp_add_backlog: of two ACKs with the same options the second one is enough.
///
/// Differs: Linux puts data together, too, where the buffers allow it.
fn coalesce(tail: &mut Frame, seg: &Segment, f: &Frame) -> bool {
    let Some(last) = Segment::parse(tail) else { return false };
    let special = |flags: &Flags| flags.syn || flags.rst;
    let alike = seg.len() == 0
        && !seg.flags.fin
        && last.end_seq == seg.seq
        && !special(&last.flags)
        && !special(&seg.flags)
        && last.flags.ack
        && seg.flags.ack
        && last.options_of(tail) == seg.options_of(f);
    if !alike {
        return false;
    }
    if !before(seg.ack, last.ack) {
        let at = last.data.start - last.header_len as usize;
        let Some(header) = tail.l3_mut().get_mut(at..) else { return false };
        header[8..12].copy_from_slice(&seg.ack.to_be_bytes());
        header[14..16].copy_from_slice(&seg.window.to_be_bytes());
    }
    true
}

/// tcp_v4_do_rcv
pub(super) fn do_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, sk: &mut Sock, seg: &Segment, f: Frame) -> Flow {
    let verdict = match sk.state {
        State::Listen => return listen::listener_rcv(ns, cx, dev, sk, seg, f),
        State::Established => rcv_established(ns, cx, sk, seg, &f),
        _ => rcv_state_process(ns, cx, sk, seg, &f),
    };
    end(ns, cx, seg, f, verdict, sk.behalf())
}

/// The end of a segment's frame, and the RST that answers it.
pub(super) fn end(ns: &mut NetNs, cx: &mut Cx<'_>, seg: &Segment, f: Frame, verdict: Verdict, behalf: Behalf) -> Flow {
    match verdict {
        Verdict::Taken if seg.len() > 0 || seg.flags.fin => cx.end(f, Fate::Delivered),
        Verdict::Taken => cx.end(f, Fate::Consumed(Consumer::Tcp)),
        Verdict::Drop(why) => cx.kill(f, why),
        Verdict::Reset(why) => {
            transmit::send_reset(ns, cx, &f, behalf);
            cx.kill(f, why)
        }
    }
}

/// What became of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Taken,
    Drop(DropReason),
    /// It is answered by a reset.
    Reset(DropReason),
}

/// tcp_rcv_established. Its fast path differs from this in nothing that can be seen.
fn rcv_established(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment, f: &Frame) -> Verdict {
    if !seg.flags.ack && !seg.flags.rst && !seg.flags.syn {
        return Verdict::Drop(DropReason::TcpFlags);
    }
    if let Err(verdict) = validate_incoming(ns, cx, sk, seg) {
        return verdict;
    }
    if let Err(why) = ack::tcp_ack(ns, cx, sk, seg, true) {
        return Verdict::Drop(why);
    }
    window::rtt_measure_ts(sk, seg.len(), now_ms(cx));
    let ended = data::queue(ns, cx, sk, seg, f);
    tx::data_snd_check(ns, cx, sk);
    data::ack_snd_check(ns, cx, sk);
    ended
}

/// tcp_parse_options with the last segment's timestamp kept.
fn take_options(sk: &mut Sock, seg: &Segment) {
    sk.rx_opt.saw_tstamp = false;
    if let Some((val, ecr)) = seg.options.ts
        && (sk.rx_opt.tstamp_ok || seg.flags.syn)
    {
        sk.rx_opt.saw_tstamp = true;
        sk.rx_opt.rcv_tsval = val;
        // On our own clock; zero echoes nothing.
        sk.rx_opt.rcv_tsecr = if ecr == 0 { 0 } else { ecr.wrapping_sub(sk.tsoffset) };
    }
}

/// tcp_paws_check: false if the timestamp is older than what was seen (RFC 7323 section 5.3).
pub(super) fn paws_check(ts_recent: u32, stamp_s: u64, now_s: u64, tsval: u32, window: i32) -> bool {
    if (ts_recent.wrapping_sub(tsval) as i32) <= window {
        return true;
    }
    now_s >= stamp_s + PAWS_24DAYS || ts_recent == 0
}

/// tcp_paws_reject
pub(super) fn paws_reject(ts_recent: u32, stamp_s: u64, now_s: u64, tsval: u32, rst: bool) -> bool {
    if paws_check(ts_recent, stamp_s, now_s, tsval, 0) {
        return false;
    }
    // A reset after a host has lost its clock is let through.
    !(rst && now_s >= stamp_s + PAWS_MSL)
}

/// The clock of the timestamps in seconds (ktime_get_seconds).
pub(super) fn now_s(cx: &Cx<'_>) -> u64 {
    cx.now().0 / 1_000_000_000
}

/// tcp_validate_incoming: PAWS, the window, RST and SYN (RFC 5961).
///
/// # Errors
/// What becomes of a segment that goes no further.
fn validate_incoming(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment) -> Result<(), Verdict> {
    take_options(sk, seg);
    let paws = sk.rx_opt.tstamp_ok
        && sk.rx_opt.saw_tstamp
        && !paws_check(sk.rx_opt.ts_recent, sk.rx_opt.ts_recent_stamp, now_s(cx), sk.rx_opt.rcv_tsval, PAWS_WINDOW)
        && !disordered_ack(sk, seg);
    if paws && !seg.flags.rst {
        if seg.flags.syn {
            send_challenge_ack(ns, cx, sk);
            return Err(Verdict::Drop(DropReason::TcpInvalidSyn));
        }
        if !oow_rate_limited(ns, cx, sk, seg) {
            data::send_dupack(ns, cx, sk, seg);
        }
        return Err(Verdict::Drop(DropReason::TcpRfc7323Paws));
    }
    if let Err(why) = check_sequence(sk, seg) {
        if seg.flags.rst {
            if reset_check(sk, seg) {
                reset(ns, cx, sk);
                return Err(Verdict::Taken);
            }
        } else if seg.flags.syn {
            send_challenge_ack(ns, cx, sk);
            return Err(Verdict::Drop(DropReason::TcpInvalidSyn));
        } else if !oow_rate_limited(ns, cx, sk, seg) {
            data::send_dupack(ns, cx, sk, seg);
        }
        return Err(Verdict::Drop(why));
    }
    if seg.flags.rst {
        // RFC 5961 section 3.2: only the very next sequence number, or the end of a SACK block, is believed at once.
        let exact = seg.seq == sk.rcv_nxt || reset_check(sk, seg);
        let by_sack = sk.selective_acks.iter().map(|b| b.1).reduce(|a, b| if after(b, a) { b } else { a });
        if exact || by_sack == Some(seg.seq) {
            reset(ns, cx, sk);
            return Err(Verdict::Taken);
        }
        send_challenge_ack(ns, cx, sk);
        return Err(Verdict::Drop(DropReason::TcpReset));
    }
    if seg.flags.syn {
        // RFC 5961 section 4.2. A SYN-ACK of a simultaneous open, or its copy, is answered without a limit.
        let simultaneous = sk.state == State::SynRecv
            && seg.flags.ack
            && seg.seq.wrapping_add(1) == seg.end_seq
            && seg.seq.wrapping_add(1) == sk.rcv_nxt
            && seg.ack == sk.snd_nxt;
        if simultaneous {
            return Ok(());
        }
        send_challenge_ack(ns, cx, sk);
        return Err(Verdict::Drop(DropReason::TcpInvalidSyn));
    }
    Ok(())
}

/// tcp_sequence
fn check_sequence(sk: &Sock, seg: &Segment) -> Result<(), DropReason> {
    if before(seg.end_seq, sk.rcv_wup) {
        return Err(DropReason::TcpOldSequence);
    }
    if after(seg.end_seq, sk.rcv_nxt.wrapping_add(sk.receive_window())) {
        if after(seg.seq, sk.rcv_nxt.wrapping_add(sk.receive_window())) {
            return Err(DropReason::TcpInvalidSequence);
        }
        // What only ends beyond the window is taken if nothing else waits.
        if !sk.queue.is_empty() {
            return Err(DropReason::TcpInvalidEndSequence);
        }
    }
    Ok(())
}

/// tcp_disordered_ack: a late pure ACK of a peer that counts its timestamps by hosts.
fn disordered_ack(sk: &Sock, seg: &Segment) -> bool {
    seg.flags.ack
        && seg.seq == seg.end_seq
        && seg.seq == sk.rcv_nxt
        && seg.ack == sk.snd_una
        && !ack::may_update_window(sk, seg)
        && u64::from(sk.rx_opt.ts_recent.wrapping_sub(sk.rx_opt.rcv_tsval)) <= sk.rto * 1000 / HZ
}

/// tcp_reset_check: a reset right behind a FIN.
fn reset_check(sk: &Sock, seg: &Segment) -> bool {
    seg.seq == sk.rcv_nxt.wrapping_sub(1) && matches!(sk.state, State::CloseWait | State::LastAck | State::Closing)
}

/// tcp_reset: the peer has reset the connection.
fn reset(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let errno = match sk.state {
        State::SynSent => Errno::ECONNREFUSED,
        State::CloseWait => Errno::EPIPE,
        State::Close => return,
        _ => Errno::ECONNRESET,
    };
    sk.err = Some(errno);
    write_queue_purge(sk);
    done(ns, cx, sk);
    sk.wake(cx);
}

/// tcp_write_queue_purge
pub(super) fn write_queue_purge(sk: &mut Sock) {
    sk.rtx.clear();
    sk.wq.clear();
    sk.buf.clear();
    sk.wmem = 0;
    (sk.packets_out, sk.sacked_out, sk.lost_out, sk.retrans_out) = (0, 0, 0, 0);
    sk.backoff = 0;
}

/// tcp_done: the connection is over, here and now.
pub(super) fn done(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    sk.state = State::Close;
    timer::clear_all(cx, sk);
    unhash(ns, sk);
    if !sk.bound {
        release_port(ns, sk);
    }
    (sk.shut_read, sk.shut_write) = (true, true);
    sk.wake(cx);
}

/// inet_unhash
pub(super) fn unhash(ns: &mut NetNs, sk: &mut Sock) {
    if std::mem::take(&mut sk.hashed) {
        ns.sockets.tcp.connections.remove(&sk.tuple());
    }
}

/// inet_put_port
pub(super) fn release_port(ns: &mut NetNs, sk: &mut Sock) {
    if std::mem::take(&mut sk.in_ports) {
        ns.sockets.tcp.put_port(sk.sport, sk.id);
    }
}

/// tcp_oow_rate_limited for a socket: as an ACK without data is answered so often only.
pub(super) fn oow_rate_limited(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock, seg: &Segment) -> bool {
    if seg.seq != seg.end_seq && !seg.flags.syn {
        return false;
    }
    limited(ns, cx, &mut sk.last_oow_ack)
}

/// __tcp_oow_rate_limited
pub(super) fn limited(ns: &NetNs, cx: &Cx<'_>, last: &mut Option<u64>) -> bool {
    let now = cx.jiffies();
    let limit = crate::kernel::timer::ms_to_jiffies(ns.sockets.tcp.sysctl.invalid_ratelimit as u64);
    if last.is_some_and(|last| now.wrapping_sub(last) < limit) {
        return true;
    }
    *last = Some(now);
    false
}

/// tcp_send_challenge_ack (RFC 5961 section 7).
///
/// Differs: net.ipv4.tcp_challenge_ack_limit has no effect, as by default in Linux.
pub(super) fn send_challenge_ack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if limited(ns, cx, &mut sk.last_oow_ack) {
        return;
    }
    transmit::send_ack(ns, cx, sk);
}

/// tcp_rcv_state_process, for every state but ESTABLISHED and LISTEN.
pub(super) fn rcv_state_process(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment, f: &Frame) -> Verdict {
    match sk.state {
        State::Close => return Verdict::Drop(DropReason::TcpClose),
        State::SynSent => return rcv_synsent(ns, cx, sk, seg),
        _ => {}
    }
    if !seg.flags.ack && !seg.flags.rst && !seg.flags.syn {
        return Verdict::Drop(DropReason::TcpFlags);
    }
    if let Err(verdict) = validate_incoming(ns, cx, sk, seg) {
        return verdict;
    }
    match ack::tcp_ack(ns, cx, sk, seg, false) {
        Ok(true) => {}
        Ok(false) if sk.state == State::SynRecv => return Verdict::Reset(DropReason::TcpOldAck),
        // An old ACK is fine while the connection closes.
        Ok(false) => {}
        Err(why) if sk.state == State::SynRecv => return Verdict::Reset(why),
        Err(why) => {
            send_challenge_ack(ns, cx, sk);
            return Verdict::Drop(why);
        }
    }
    if let Some(verdict) = acknowledged(ns, cx, sk, seg) {
        return verdict;
    }
    let verdict = match sk.state {
        State::CloseWait | State::Closing | State::LastAck if !before(seg.seq, sk.rcv_nxt) => Verdict::Taken,
        // RFC 793 says to queue data in these states, RFC 1122 says to reset: nobody will read it.
        State::FinWait1 | State::FinWait2
            if sk.shut_read
                && seg.end_seq != seg.seq
                && after(seg.end_seq.wrapping_sub(u32::from(seg.flags.fin)), sk.rcv_nxt) =>
        {
            return abort_on_data(ns, cx, sk);
        }
        _ => data::queue(ns, cx, sk, seg, f),
    };
    if sk.state != State::Close {
        tx::data_snd_check(ns, cx, sk);
        data::ack_snd_check(ns, cx, sk);
    }
    verdict
}

/// Data for a socket that nobody reads any more.
fn abort_on_data(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) -> Verdict {
    sk.err = Some(Errno::ECONNRESET);
    write_queue_purge(sk);
    done(ns, cx, sk);
    sk.wake(cx);
    Verdict::Reset(DropReason::TcpAbortOnData)
}

/// Step 5 of RFC 9293 section 3.10.7.4: what an ACK does to the state. None: the segment goes on.
fn acknowledged(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment) -> Option<Verdict> {
    match sk.state {
        State::SynRecv => establish_passive(ns, cx, sk, seg),
        State::FinWait1 if sk.snd_una == sk.write_seq => return fin_acknowledged(ns, cx, sk, seg),
        State::Closing if sk.snd_una == sk.write_seq => {
            timewait::time_wait(ns, cx, sk, Substate::TimeWait, 0);
            return Some(Verdict::Taken);
        }
        State::LastAck if sk.snd_una == sk.write_seq => {
            done(ns, cx, sk);
            return Some(Verdict::Taken);
        }
        _ => {}
    }
    None
}

/// TCP_SYN_RECV to ESTABLISHED.
fn establish_passive(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment) {
    sk.delivered += 1;
    if sk.rx_opt.tstamp_ok {
        sk.advmss = sk.advmss.saturating_sub(super::options::TSTAMP_LEN);
    }
    recovery::try_undo_spurious_syn(sk);
    sk.retrans_stamp = 0;
    init_transfer(ns, cx, sk);
    sk.copied_seq = sk.rcv_nxt;
    sk.state = State::Established;
    sk.wake(cx);
    sk.snd_una = seg.ack;
    sk.snd_wnd = u32::from(seg.window) << sk.rx_opt.snd_wscale;
    sk.snd_wl1 = seg.seq;
    sk.lsndtime = cx.jiffies();
    sk.initialize_rcv_mss();
    if sk.shut_write {
        // shutdown(2) came before the handshake was over.
        sk.state = State::FinWait1;
        tx::send_fin(ns, cx, sk);
    }
}

/// tcp_init_transfer
fn init_transfer(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    // Once a SYN had to be sent again, only one segment goes out at first.
    let retransmitted = sk.total_retrans > 1 && sk.undo_marker != 0;
    if sk.srtt_us == 0 {
        // RFC 6298 section 5.7: the handshake gave no sample.
        sk.rttvar_us = (timer::TCP_TIMEOUT_FALLBACK * 1_000_000 / HZ) as u32;
        (sk.mdev_us, sk.mdev_max_us) = (sk.rttvar_us, sk.rttvar_us);
        sk.rto = timer::TCP_TIMEOUT_FALLBACK;
    }
    // tcp_init_metrics: the handshake's losses do not count.
    sk.snd_ssthresh = TCP_INFINITE_SSTHRESH;
    sk.snd_cwnd = if retransmitted { 1 } else { TCP_INIT_CWND };
    sk.snd_cwnd_stamp = cx.jiffies();
    sk.ca.init(ns.sockets.tcp.sysctl.congestion_control);
    sk.init_buffer_space(ns, cx);
}

/// FIN_WAIT_1: our FIN was acknowledged.
fn fin_acknowledged(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment) -> Option<Verdict> {
    sk.state = State::FinWait2;
    sk.shut_write = true;
    sk.confirm = true;
    if !sk.dead {
        sk.wake(cx);
        return None;
    }
    let data_end = seg.end_seq.wrapping_sub(u32::from(seg.flags.fin));
    if seg.end_seq != seg.seq && after(data_end, sk.rcv_nxt) {
        done(ns, cx, sk);
        return Some(Verdict::Reset(DropReason::TcpAbortOnData));
    }
    let timeout = timewait::fin_time(ns, sk);
    if timeout > timewait::TIMEWAIT_LEN {
        timer::reset_keepalive(ns, cx, sk, timeout - timewait::TIMEWAIT_LEN);
    } else if seg.flags.fin || sk.owned {
        timer::reset_keepalive(ns, cx, sk, timeout);
    } else {
        timewait::time_wait(ns, cx, sk, Substate::FinWait2, timeout);
        return Some(Verdict::Taken);
    }
    None
}

/// tcp_rcv_synsent_state_process
fn rcv_synsent(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment) -> Verdict {
    take_options(sk, seg);
    if seg.flags.ack {
        // RFC 9293 section 3.10.7.3, first.
        let bad = !after(seg.ack, sk.snd_una) || after(seg.ack, sk.snd_nxt);
        if bad {
            // Previous incarnations are reset, and our SYN goes out again soon.
            if sk.retransmits == 0 {
                timer::reset_xmit(ns, cx, sk, Xmit::Retransmit, timer::TCP_TIMEOUT_MIN);
            }
            return Verdict::Reset(DropReason::TcpInvalidAckSequence);
        }
        let echo = sk.rx_opt.saw_tstamp && sk.rx_opt.rcv_tsecr != 0;
        if echo && (before(sk.rx_opt.rcv_tsecr, sk.retrans_stamp) || after(sk.rx_opt.rcv_tsecr, now_ms(cx))) {
            return Verdict::Reset(DropReason::TcpRfc7323Paws);
        }
        if seg.flags.rst {
            reset(ns, cx, sk);
            return Verdict::Taken;
        }
        if !seg.flags.syn {
            return Verdict::Drop(DropReason::TcpFlags);
        }
        sk.snd_wl1 = seg.seq;
        sk.ecn.rcv_synack(seg.flags);
        sk.rx_opt.sack_ok = seg.options.sack_perm;
        recovery::try_undo_spurious_syn(sk);
        let _ = ack::tcp_ack(ns, cx, sk, seg, true);
        synchronize(sk, seg, now_s(cx));
        if !sk.rx_opt.wscale_ok {
            (sk.rx_opt.snd_wscale, sk.rx_opt.rcv_wscale) = (0, 0);
            sk.window_clamp = sk.window_clamp.min(65_535);
        }
        sk.snd_wnd = u32::from(seg.window);
        finish_connect(ns, cx, sk);
        transmit::send_ack(ns, cx, sk);
        tx::data_snd_check(ns, cx, sk);
        return Verdict::Taken;
    }
    if seg.flags.rst {
        return Verdict::Drop(DropReason::TcpReset);
    }
    if seg.flags.syn {
        return simultaneous_open(ns, cx, sk, seg);
    }
    Verdict::Drop(DropReason::TcpFlags)
}

/// What both ends of a handshake take from the peer's SYN.
fn synchronize(sk: &mut Sock, seg: &Segment, now_s: u64) {
    sk.rcv_nxt = seg.seq.wrapping_add(1);
    sk.rcv_wup = sk.rcv_nxt;
    sk.copied_seq = sk.rcv_nxt;
    let o = &seg.options;
    sk.rx_opt.wscale_ok = o.wscale.is_some();
    if let Some(shift) = o.wscale {
        sk.rx_opt.snd_wscale = shift;
    }
    sk.rx_opt.sack_ok = o.sack_perm;
    let mss = o.mss.map_or(super::sock::TCP_MSS_DEFAULT, u32::from);
    let own = if sk.opt.mss > 0 { u32::from(sk.opt.mss) } else { u32::MAX };
    sk.rx_opt.mss_clamp = mss.min(own);
    if let Some((val, _)) = o.ts {
        sk.rx_opt.tstamp_ok = true;
        (sk.rx_opt.ts_recent, sk.rx_opt.ts_recent_stamp) = (val, now_s);
        sk.header_len = TCP_HLEN as u32 + super::options::TSTAMP_LEN;
        sk.advmss = sk.advmss.saturating_sub(super::options::TSTAMP_LEN);
    } else {
        sk.header_len = TCP_HLEN as u32;
    }
}

/// tcp_finish_connect
fn finish_connect(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let mtu = sk.route(ns).map_or(sk.pmtu_cookie, |r| r.mtu);
    sk.sync_mss(ns, mtu);
    sk.initialize_rcv_mss();
    sk.state = State::Established;
    sk.ack.lrcvtime = cx.jiffies();
    init_transfer(ns, cx, sk);
    sk.lsndtime = cx.jiffies();
    if sk.opt.keepalive {
        let after = timer::keepalive_time(ns, sk);
        timer::reset_keepalive(ns, cx, sk, after);
    }
    sk.wake(cx);
}

/// A SYN in SYN_SENT (RFC 9293 section 3.5, figure 8).
fn simultaneous_open(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seg: &Segment) -> Verdict {
    sk.state = State::SynRecv;
    synchronize(sk, seg, now_s(cx));
    sk.snd_wnd = u32::from(seg.window);
    sk.snd_wl1 = seg.seq;
    sk.max_window = sk.snd_wnd;
    sk.ecn.rcv_syn(seg.flags);
    let mtu = sk.route(ns).map_or(sk.pmtu_cookie, |r| r.mtu);
    sk.sync_mss(ns, mtu);
    sk.initialize_rcv_mss();
    // tcp_send_synack: the SYN in the queue goes out again, with an ACK.
    if let Some(mut syn) = sk.rtx.front().copied() {
        syn.sent_us = now_us(cx);
        let flags = Flags { syn: true, ack: true, ..Flags::default() };
        let _ = transmit::transmit(ns, cx, sk, &syn, flags);
        if let Some(front) = sk.rtx.front_mut() {
            front.sent_us = syn.sent_us;
        }
    }
    recovery::forget_retransmits(sk);
    Verdict::Taken
}
