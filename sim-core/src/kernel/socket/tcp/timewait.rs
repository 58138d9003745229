//! Mirrors net/ipv4/inet_timewait_sock.c and the first half of net/ipv4/tcp_minisocks.c: what is left of a connection
//! that is closed, so that late segments find somebody. Read RFC 9293 sections 3.6 and 3.10.7.4, RFC 6191 and RFC 1337
//! before editing.

use super::ecn::INET_ECN_MASK;
use super::options::Options;
use super::rx::{self, Segment, now_s, paws_reject};
use super::sock::{Sock, now_ms};
use super::timer::{Pending, Timeout};
use super::transmit::{self, Behalf, Fields, Flags};
use super::{Entry, SockId, TimerOf, Tuple, after, before, listen};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, Sk};
use crate::kernel::netns::NetNs;
use crate::kernel::timer::HZ;
use crate::kernel::trace::{Consumer, DropReason, Fate, Flow};

/// TCP_TIMEWAIT_LEN in ticks: 60 s.
pub(super) const TIMEWAIT_LEN: u64 = 60 * HZ;

/// tw_substate
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Substate {
    /// The peer has not closed yet, and nobody here waits for it.
    FinWait2,
    TimeWait,
}

/// struct tcp_timewait_sock
#[derive(Clone, Debug)]
pub(super) struct TimeWait {
    pub substate: Substate,
    pub tuple: Tuple,
    /// SO_REUSEADDR of the socket that it was.
    pub reuse: bool,
    rcv_nxt: u32,
    snd_nxt: u32,
    rcv_wnd: u32,
    rcv_wscale: u8,
    pub ts_recent: Option<u32>,
    pub ts_recent_stamp: u64,
    ts_offset: u32,
    tos: u8,
    dev: Option<IfIndex>,
    txhash: u32,
    /// tw_mark
    mark: u32,
    /// tw_transparent
    pub transparent: bool,
    last_oow_ack: Option<u64>,
    pub timer: Pending,
}

impl TimeWait {
    /// What answers take from it.
    fn behalf(&self) -> Behalf {
        Behalf { txhash: self.txhash, sk: Sk::None, mark: self.mark, any_src: self.transparent }
    }
}

/// tcp_fin_time in ticks.
pub(super) fn fin_time(ns: &NetNs, sk: &Sock) -> u64 {
    let time = ns.sockets.tcp.sysctl.fin_timeout as u64 * HZ;
    time.max((sk.rto << 2) - (sk.rto >> 1))
}

/// tcp_time_wait: the connection goes on as a minisocket.
pub(super) fn time_wait(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, substate: Substate, timeout: u64) {
    let tuple = sk.tuple();
    let tcp = &ns.sockets.tcp;
    if sk.hashed && (tcp.time_waits as i64) < tcp.sysctl.max_tw_buckets {
        let least = (sk.rto << 2) - (sk.rto >> 1);
        let timeout = if substate == Substate::TimeWait { TIMEWAIT_LEN } else { timeout.max(least) };
        let tw = TimeWait {
            substate,
            tuple,
            reuse: sk.opt.reuse,
            rcv_nxt: sk.rcv_nxt,
            snd_nxt: sk.snd_nxt,
            rcv_wnd: sk.receive_window(),
            rcv_wscale: sk.rx_opt.rcv_wscale,
            ts_recent: sk.rx_opt.tstamp_ok.then_some(sk.rx_opt.ts_recent),
            ts_recent_stamp: sk.rx_opt.ts_recent_stamp,
            ts_offset: sk.tsoffset,
            tos: sk.opt.tos | sk.ecn.tos(),
            dev: sk.dev,
            txhash: sk.txhash,
            mark: sk.opt.mark,
            transparent: sk.opt.transparent,
            last_oow_ack: None,
            timer: Pending::default(),
        };
        if let Some(id) = ns.sockets.tcp.insert(|_| Entry::TimeWait(Box::new(tw))) {
            sk.hashed = false;
            ns.sockets.tcp.time_waits += 1;
            ns.sockets.tcp.connections.insert(tuple, id);
            if sk.in_ports {
                ns.sockets.tcp.hold_port(tuple.local_port, id);
            }
            schedule(ns, cx, id, timeout);
        }
    }
    rx::done(ns, cx, sk);
}

/// inet_twsk_schedule
fn schedule(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId, timeout: u64) {
    let (at, of) = (cx.jiffies() + timeout, TimerOf { ns: cx.ns, sock: id, which: Timeout::TimeWait });
    if let Some(tw) = ns.sockets.tcp.time_wait_mut(id) {
        tw.timer.set(cx, at, of);
    }
}

/// tw_timer_handler
pub(super) fn expire(ns: &mut NetNs, id: SockId) {
    kill(ns, id);
}

/// inet_twsk_deschedule_put: a new connection takes the place of a minisocket that a rule has found.
pub(in crate::kernel) fn deschedule(ns: &mut NetNs, sk: Sk) {
    if let Sk::ToTcp(id) = sk {
        kill(ns, id);
    }
}

/// inet_twsk_kill
pub(super) fn kill(ns: &mut NetNs, id: SockId) {
    let Some(tw) = ns.sockets.tcp.time_wait_mut(id) else { return };
    let tuple = tw.tuple;
    ns.sockets.tcp.time_waits -= 1;
    ns.sockets.tcp.connections.remove(&tuple);
    ns.sockets.tcp.put_port(tuple.local_port, id);
    ns.sockets.tcp.forget(id);
}

/// What becomes of a segment for a minisocket (enum tcp_tw_status).
enum Status {
    Success,
    Rst,
    Ack,
    /// TCP_TW_ACK_OOW: it lies outside the window, or comes again.
    AckOow,
    /// A new connection may begin, with this initial sequence number.
    Syn(u32),
}

/// do_time_wait of tcp_v4_rcv
pub(super) fn rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, id: SockId, seg: &Segment, f: Frame) -> Flow {
    match state_process(ns, cx, id, seg) {
        Status::Syn(isn) => {
            if let Some(listener) = ns.sockets.tcp.listener(&seg.tuple()) {
                kill(ns, id);
                return listen::rcv_syn(ns, cx, dev, listener, seg, f, isn);
            }
            send_ack(ns, cx, id, seg, &f, false);
        }
        Status::Ack => send_ack(ns, cx, id, seg, &f, false),
        Status::AckOow => send_ack(ns, cx, id, seg, &f, true),
        Status::Rst => {
            let behalf = ns.sockets.tcp.time_wait_mut(id).map_or(Behalf::NOBODY, |tw| tw.behalf());
            transmit::send_reset(ns, cx, &f, behalf);
            kill(ns, id);
            return cx.kill(f, DropReason::NotSpecified);
        }
        Status::Success => {}
    }
    cx.end(f, Fate::Consumed(Consumer::Tcp))
}

/// tcp_timewait_state_process
fn state_process(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId, seg: &Segment) -> Status {
    let now = now_s(cx);
    let Some(tw) = ns.sockets.tcp.time_wait_mut(id) else { return Status::Success };
    let ts = seg.options.ts.zip(tw.ts_recent);
    let paws = ts.is_some_and(|((val, _), recent)| paws_reject(recent, tw.ts_recent_stamp, now, val, seg.flags.rst));
    if tw.substate == Substate::FinWait2 {
        return fin_wait2(ns, cx, id, seg, paws);
    }
    // The last ACK of the peer, or its reset.
    if !paws && seg.seq == tw.rcv_nxt && (seg.seq == seg.end_seq || seg.flags.rst) {
        if seg.flags.rst {
            // RFC 1337: TIME-WAIT assassination, unless it is forbidden.
            if ns.sockets.tcp.sysctl.rfc1337 == 0 {
                kill(ns, id);
                return Status::Success;
            }
        } else {
            schedule(ns, cx, id, TIMEWAIT_LEN);
        }
        if let (Some(tw), Some(((val, _), _))) = (ns.sockets.tcp.time_wait_mut(id), ts) {
            (tw.ts_recent, tw.ts_recent_stamp) = (Some(val), now);
        }
        return Status::Success;
    }
    // RFC 9293: a SYN may begin a new connection if it cannot be of the old one.
    let newer = ts.is_some_and(|((val, _), recent)| (recent.wrapping_sub(val) as i32) < 0);
    if seg.flags.syn && !seg.flags.rst && !seg.flags.ack && !paws && (after(seg.seq, tw.rcv_nxt) || newer) {
        let isn = tw.snd_nxt.wrapping_add(65_535 + 2);
        return Status::Syn(if isn == 0 { 1 } else { isn });
    }
    if seg.flags.rst {
        return Status::Success;
    }
    // In this case a wrong ACK must not renew the wait, but it is answered.
    if paws || seg.flags.ack {
        schedule(ns, cx, id, TIMEWAIT_LEN);
    }
    rate_limited(ns, cx, id, seg)
}

/// The half of tcp_timewait_state_process for FIN_WAIT_2.
fn fin_wait2(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId, seg: &Segment, paws: bool) -> Status {
    let now = now_s(cx);
    let Some(tw) = ns.sockets.tcp.time_wait_mut(id) else { return Status::Success };
    let end = tw.rcv_nxt.wrapping_add(tw.rcv_wnd);
    if paws || !transmit::in_window(seg.seq, seg.end_seq, tw.rcv_nxt, end) {
        return rate_limited(ns, cx, id, seg);
    }
    if seg.flags.rst {
        kill(ns, id);
        return Status::Success;
    }
    if seg.flags.syn && !before(seg.seq, tw.rcv_nxt) {
        return Status::Rst;
    }
    // A duplicate ACK.
    if !seg.flags.ack || !after(seg.end_seq, tw.rcv_nxt) || seg.end_seq == seg.seq {
        return Status::Success;
    }
    // New data, or a FIN that is not the next: nobody will read it.
    if !seg.flags.fin || seg.end_seq != tw.rcv_nxt.wrapping_add(1) {
        return Status::Rst;
    }
    tw.substate = Substate::TimeWait;
    tw.rcv_nxt = seg.end_seq;
    if let (Some(recent), Some((val, _))) = (&mut tw.ts_recent, seg.options.ts) {
        (*recent, tw.ts_recent_stamp) = (val, now);
    }
    schedule(ns, cx, id, TIMEWAIT_LEN);
    Status::Ack
}

/// tcp_timewait_check_oow_rate_limit
fn rate_limited(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId, seg: &Segment) -> Status {
    let Some(tw) = ns.sockets.tcp.time_wait_mut(id) else { return Status::Success };
    let mut last = tw.last_oow_ack;
    // tcp_oow_rate_limited: what takes sequence numbers is not limited, unless it is a SYN.
    let limited = (seg.seq == seg.end_seq || seg.flags.syn) && rx::limited(ns, cx, &mut last);
    if let Some(tw) = ns.sockets.tcp.time_wait_mut(id) {
        tw.last_oow_ack = last;
    }
    if limited { Status::Success } else { Status::AckOow }
}

/// tcp_v4_timewait_ack. `oow`: for a segment outside the window; that answer is not marked.
fn send_ack(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId, seg: &Segment, f: &Frame, oow: bool) {
    let now = now_ms(cx);
    let Some(tw) = ns.sockets.tcp.time_wait_mut(id) else { return };
    let options =
        Options { ts: tw.ts_recent.map(|recent| (now.wrapping_add(tw.ts_offset), recent)), ..Options::default() };
    let fields = Fields {
        seq: tw.snd_nxt,
        ack: tw.rcv_nxt,
        flags: Flags::ACK,
        window: (tw.rcv_wnd >> tw.rcv_wscale).min(65_535) as u16,
        options,
    };
    let (tos, oif, behalf) = (if oow { tw.tos & !INET_ECN_MASK } else { tw.tos }, tw.dev, tw.behalf());
    let reply = transmit::Reply { tos, oif, ..transmit::reply_to(f, seg, behalf.answers(ns, f.mark)) };
    let _ = transmit::send_reply(ns, cx, &reply, &fields);
}

/// tcp_twsk_unique: whether a new connection may take the place, and then the sequence number that it begins after and
/// the timestamp that it continues from. Who was `bound` to the port already needs no leave, only timestamps.
pub(super) fn reuse(ns: &NetNs, cx: &Cx<'_>, tw: &TimeWait, bound: bool) -> Option<(u32, Option<u32>, u64)> {
    let mode = ns.sockets.tcp.sysctl.tw_reuse;
    let loopback = tw.tuple.local.is_loopback() || tw.tuple.remote.is_loopback();
    let allowed = mode == 1 || mode == 2 && loopback;
    let old_enough = now_s(cx) > tw.ts_recent_stamp;
    let free = tw.substate == Substate::TimeWait && allowed && old_enough;
    (tw.ts_recent.is_some() && (bound || free))
        .then(|| (tw.snd_nxt.wrapping_add(65_535 + 2), tw.ts_recent, tw.ts_recent_stamp))
}
