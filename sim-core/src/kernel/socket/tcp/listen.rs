//! Mirrors the passive side: tcp_conn_request of net/ipv4/tcp_input.c, tcp_check_req and tcp_create_openreq_child of
//! net/ipv4/tcp_minisocks.c, net/ipv4/inet_connection_sock.c and net/ipv4/syncookies.c. Read RFC 9293 sections 3.5 and
//! 3.10.7.2 and RFC 4987 before editing.

use super::connect::{default_advmss, initial_seq, timestamp_offset, tx_hash};
use super::ecn::{self, Ecn};
use super::options::{Options, TSTAMP_LEN};
use super::rx::{self, Segment, limited, now_s, paws_reject};
use super::sock::{Sock, State, TCP_MSS_DEFAULT, TCP_TIMEOUT_INIT, now_ms, now_us};
use super::timer::{self, Pending, Timeout};
use super::transmit::{self, Behalf, Fields, Flags, Reply};
use super::{Entry, SockId, TimerOf, Tuple, ack, linux_4_18, window};
use crate::base::IfIndex;
use crate::base::rng::Purpose;
use crate::kernel::cred::Current;
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::Frame;
use crate::kernel::ip::route::{self, Flow4};
use crate::kernel::netns::NetNs;
use crate::kernel::profile::Profile;
use crate::kernel::timer::HZ;
use crate::kernel::trace::{Consumer, DropReason, Fate, Flow};
use std::collections::VecDeque;
use std::net::SocketAddrV4;

/// net.core.somaxconn
const SOMAXCONN: u32 = 4096;
/// msstab of syncookies.c
const COOKIE_MSS: [u16; 4] = [536, 1300, 1440, 1460];
/// MAX_SYNCOOKIE_AGE in minutes.
const MAX_COOKIE_AGE: u32 = 2;
/// COOKIEBITS
const COOKIE_BITS: u32 = 24;
/// TCP_SYNCOOKIE_PERIOD in nanoseconds.
const COOKIE_PERIOD_NS: u64 = 60 * 1_000_000_000;
/// TSBITS: what a cookie's timestamp holds of the options.
const TS_BITS: u32 = 6;
/// TS_OPT_ECN
const TS_OPT_ECN: u32 = 1 << 5;

/// icsk_accept_queue of a listening socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Listen {
    /// sk_max_ack_backlog
    pub backlog: u32,
    /// Connections that were set up and not accepted.
    pub queue: VecDeque<SockId>,
    /// Requests that wait for the handshake's end, and those of them whose SYN-ACK was sent once.
    requests: u32,
    young: u32,
    /// When a cookie was sent last, in ticks.
    cookie_sent: Option<u64>,
}

/// struct tcp_request_sock
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub listener: SockId,
    pub tuple: Tuple,
    rcv_isn: u32,
    snt_isn: u32,
    mss: u32,
    wscale_ok: bool,
    snd_wscale: u8,
    rcv_wscale: u8,
    tstamp_ok: bool,
    sack_ok: bool,
    ecn_ok: bool,
    ts_recent: u32,
    ts_off: u32,
    rcv_wnd: u32,
    window_clamp: u32,
    /// When the SYN-ACK was sent first, in microseconds.
    snt_synack: u64,
    num_timeout: u32,
    pub(super) num_retrans: u32,
    /// The last ACK came while the accept queue was full.
    acked: bool,
    last_oow_ack: Option<u64>,
    pub timer: Pending,
    dev: Option<IfIndex>,
    pub txhash: u32,
    /// ir_mark
    mark: u32,
    /// no_srccheck
    pub transparent: bool,
}

/// inet_csk_listen_start
pub(super) fn listen(ns: &mut NetNs, cx: &Cx<'_>, sk: &mut Sock, backlog: u32) -> Result<(), Errno> {
    let backlog = backlog.min(match ns.sockets.tcp.sysctl.profile {
        Profile::Linux618 => SOMAXCONN,
        Profile::Linux418 => linux_4_18::SOMAXCONN,
    });
    if let Some(listen) = &mut sk.listen {
        listen.backlog = backlog;
        return Ok(());
    }
    if sk.state != State::Close {
        return Err(Errno::EINVAL);
    }
    if sk.sport == 0 {
        let port = super::connect::port_for_bind(ns, cx, sk, 0)?;
        (sk.sport, sk.in_ports) = (port, true);
        ns.sockets.tcp.hold_port(port, sk.id);
    } else {
        // Sharing the port was fine until now.
        sk.state = State::Listen;
        let taken = super::connect::port_for_bind(ns, cx, sk, sk.sport);
        sk.state = State::Close;
        taken?;
    }
    sk.state = State::Listen;
    sk.ack = super::sock::Ack::default();
    sk.listen = Some(Box::new(Listen { backlog, ..Listen::default() }));
    ns.sockets.tcp.listeners.entry(sk.sport).or_default().insert(0, sk.id);
    Ok(())
}

/// inet_csk_listen_stop: nobody will accept what waits.
pub(super) fn stop(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let (port, id) = (sk.sport, sk.id);
    super::remove(&mut ns.sockets.tcp.listeners, port, id);
    let Some(listen) = sk.listen.take() else { return };
    for child in listen.queue {
        if let Some(mut child) = ns.sockets.tcp.take(child) {
            // inet_child_forget
            child.parent = None;
            child.dead = true;
            if child.state != State::Close {
                if !matches!(child.state, State::SynRecv | State::Close) {
                    transmit::send_active_reset(ns, cx, &mut child);
                }
                rx::write_queue_purge(&mut child);
                rx::done(ns, cx, &mut child);
            }
            ns.sockets.tcp.give_back(child);
        }
    }
    for request in ns.sockets.tcp.requests_of(id) {
        drop_request(ns, cx, request);
    }
}

/// tcp_v4_do_rcv in LISTEN, and step LISTEN of tcp_rcv_state_process.
pub(super) fn listener_rcv(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    sk: &mut Sock,
    seg: &Segment,
    f: Frame,
) -> Flow {
    if seg.flags.rst {
        return cx.kill(f, DropReason::TcpReset);
    }
    if seg.flags.ack {
        if !seg.flags.syn
            && let Some(req) = cookie_check(ns, cx, dev, sk, seg)
        {
            return match cookie_sock(ns, cx, sk, &req, seg) {
                Some(child) => child_process(ns, cx, dev, sk, child, seg, f),
                None => cx.kill(f, DropReason::TcpListenOverflow),
            };
        }
        transmit::send_reset(ns, cx, &f, sk.behalf());
        return cx.kill(f, DropReason::TcpFlags);
    }
    if !seg.flags.syn {
        return cx.kill(f, DropReason::TcpFlags);
    }
    if seg.flags.fin {
        return cx.kill(f, DropReason::TcpFlags);
    }
    conn_request(ns, cx, dev, sk, seg, f, None)
}

/// A SYN for a listening socket that is not taken out: what a minisocket makes way for.
pub(super) fn rcv_syn(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    listener: SockId,
    seg: &Segment,
    f: Frame,
    isn: u32,
) -> Flow {
    let Some(mut sk) = ns.sockets.tcp.take(listener) else { return cx.kill(f, DropReason::NoSocket) };
    let flow = conn_request(ns, cx, dev, &mut sk, seg, f, Some(isn));
    ns.sockets.tcp.give_back(sk);
    flow
}

/// tcp_conn_request
fn conn_request(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    sk: &mut Sock,
    seg: &Segment,
    f: Frame,
    tw_isn: Option<u32>,
) -> Flow {
    if !f.rt_local {
        return cx.kill(f, DropReason::IpInAddrErrors);
    }
    let sysctl = ns.sockets.tcp.sysctl;
    let Some(listen) = sk.listen.as_deref() else { return cx.kill(f, DropReason::NoSocket) };
    let mut cookie = false;
    if (sysctl.syncookies == 2 || listen.requests > listen.backlog) && tw_isn.is_none() {
        // tcp_syn_flood_action
        cookie = sysctl.syncookies != 0;
        if !cookie {
            return cx.kill(f, DropReason::TcpListenOverflow);
        }
    }
    if listen.queue.len() as u32 > listen.backlog {
        return cx.kill(f, DropReason::TcpListenOverflow);
    }
    let Some(mut req) = request(ns, cx, dev, sk, seg) else { return cx.kill(f, DropReason::IpOutNoRoutes) };
    if !cookie && tw_isn.is_none() && sysctl.syncookies == 0 {
        let most = sysctl.max_syn_backlog as u32;
        // Without cookies the last quarter is for peers that have proven to be alive.
        if most.saturating_sub(listen.requests) < most >> 2 {
            return cx.kill(f, DropReason::TcpListenOverflow);
        }
    }
    if cookie {
        req.snt_isn = cookie_isn(cx, &mut req, seg);
        if !req.tstamp_ok {
            (req.wscale_ok, req.sack_ok, req.ecn_ok) = (false, false, false);
        }
        if let Some(listen) = &mut sk.listen {
            listen.cookie_sent = Some(cx.jiffies());
        }
        let _ = send_synack(ns, cx, sk, &mut req);
        return cx.end(f, Fate::Consumed(Consumer::Tcp));
    }
    let tuple = req.tuple;
    req.snt_isn = tw_isn.unwrap_or_else(|| initial_seq(cx, &tuple));
    let mut sent = req.clone();
    let Some(id) = ns.sockets.tcp.insert(|_| Entry::Request(Box::new(req))) else {
        return cx.kill(f, DropReason::TcpListenOverflow);
    };
    ns.sockets.tcp.connections.insert(tuple, id);
    if let Some(listen) = &mut sk.listen {
        listen.requests += 1;
        listen.young += 1;
    }
    let at = cx.jiffies() + TCP_TIMEOUT_INIT;
    sent.timer.set(cx, at, TimerOf { ns: cx.ns, sock: id, which: Timeout::Request });
    let _ = send_synack(ns, cx, sk, &mut sent);
    if let Some(req) = ns.sockets.tcp.request_mut(id) {
        *req = sent;
    }
    cx.end(f, Fate::Consumed(Consumer::Tcp))
}

/// rsk_window_clamp: what a program has set with SO_RCVBUF is all there will be.
fn rcvbuf_clamp(sk: &Sock) -> u32 {
    if sk.opt.rcvbuf_locked { sk.full_space() } else { 0 }
}

/// tcp_openreq_init and tcp_openreq_init_rwin
fn request(ns: &mut NetNs, cx: &Cx<'_>, dev: IfIndex, sk: &Sock, seg: &Segment) -> Option<Request> {
    let tuple = seg.tuple();
    let mark = request_mark(ns, sk, seg.mark);
    let (src, any_src) = (Some(tuple.local), sk.opt.transparent);
    let flow = Flow4 { src, oif: sk.dev, mark, any_src, ..Flow4::to(tuple.remote) };
    let r = route::output(ns, &flow).ok()?;
    let sysctl = &ns.sockets.tcp.sysctl;
    let o = &seg.options;
    let own = if sk.opt.mss > 0 { u32::from(sk.opt.mss) } else { u32::MAX };
    let tstamp_ok = o.ts.is_some() && sysctl.timestamps != 0;
    let wscale = o.wscale.filter(|_| sysctl.window_scaling != 0);
    let advmss = default_advmss(r.mtu).min(own);
    let less = if tstamp_ok { TSTAMP_LEN } else { 0 };
    let initial = window::select_initial(sysctl, sk.full_space(), advmss - less, rcvbuf_clamp(sk), wscale.is_some());
    let _ = dev;
    Some(Request {
        listener: sk.id,
        tuple,
        rcv_isn: seg.seq,
        snt_isn: 0,
        mss: o.mss.map_or(TCP_MSS_DEFAULT, u32::from).min(own),
        wscale_ok: wscale.is_some(),
        snd_wscale: wscale.unwrap_or(0),
        rcv_wscale: initial.rcv_wscale,
        tstamp_ok,
        sack_ok: o.sack_perm && sysctl.sack != 0,
        ecn_ok: ecn::create_request(sysctl, seg),
        ts_recent: o.ts.map_or(0, |(val, _)| val),
        ts_off: timestamp_offset(sysctl.profile, cx, &tuple),
        rcv_wnd: initial.rcv_wnd,
        window_clamp: initial.window_clamp,
        snt_synack: 0,
        num_timeout: 0,
        num_retrans: 0,
        acked: false,
        last_oow_ack: None,
        timer: Pending::default(),
        dev: sk.dev,
        txhash: tx_hash(cx, &tuple),
        mark,
        transparent: sk.opt.transparent,
    })
}

/// inet_request_mark: of a socket without a mark, that of the SYN where net.ipv4.tcp_fwmark_accept says so.
fn request_mark(ns: &NetNs, sk: &Sock, syn: u32) -> u32 {
    let accepts = sk.opt.mark == 0 && ns.sockets.tcp.sysctl.fwmark_accept != 0;
    if accepts { syn } else { sk.opt.mark }
}

/// tcp_make_synack and ip_build_and_send_pkt
fn send_synack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &Sock, req: &mut Request) -> Result<(), Errno> {
    if req.snt_synack == 0 {
        req.snt_synack = now_us(cx);
    }
    let tuple = req.tuple;
    // tcp_rtx_synack takes another one each time.
    req.txhash = tx_hash(cx, &tuple);
    let flow = req.flow();
    let r = route::output(ns, &flow)?;
    let own = if sk.opt.mss > 0 { u32::from(sk.opt.mss) } else { u32::MAX };
    let options = Options {
        mss: Some(default_advmss(r.mtu).min(own) as u16),
        wscale: req.wscale_ok.then_some(req.rcv_wscale),
        sack_perm: req.sack_ok,
        ts: req.tstamp_ok.then(|| (now_ms(cx).wrapping_add(req.ts_off), req.ts_recent)),
        ..Options::default()
    };
    let fields = Fields {
        seq: req.snt_isn,
        ack: req.rcv_isn.wrapping_add(1),
        flags: Flags { syn: true, ece: req.ecn_ok, ..Flags::ACK },
        window: req.rcv_wnd.min(65_535) as u16,
        options,
    };
    let reply = Reply {
        from: SocketAddrV4::new(tuple.local, tuple.local_port),
        to: SocketAddrV4::new(tuple.remote, tuple.remote_port),
        tos: sk.opt.tos,
        ttl: sk.opt.ttl,
        oif: req.dev,
        cause: None,
        nfct: crate::kernel::conntrack::Nfct::None,
        partial: true,
        behalf: req.behalf(sk),
    };
    transmit::send_reply(ns, cx, &reply, &fields)
}

/// tcp_check_req: a segment for a request.
pub(super) fn request_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, id: SockId, seg: &Segment, f: Frame) -> Flow {
    let Some(req) = ns.sockets.tcp.request_mut(id) else { return cx.kill(f, DropReason::NoSocket) };
    let mut req = req.clone();
    let listener = req.listener;
    let Some(mut sk) = ns.sockets.tcp.take(listener) else {
        drop_request(ns, cx, id);
        transmit::send_reset(ns, cx, &f, Behalf::NOBODY);
        return cx.kill(f, DropReason::NoSocket);
    };
    let checked = check(ns, cx, &mut sk, &mut req, seg);
    if let Some(kept) = ns.sockets.tcp.request_mut(id) {
        *kept = req.clone();
    }
    let flow = match checked {
        Check::Answered => cx.end(f, Fate::Consumed(Consumer::Tcp)),
        Check::Drop(why) => cx.kill(f, why),
        Check::Reset { forget } => {
            transmit::send_reset(ns, cx, &f, sk.behalf());
            if forget {
                drop_request_of(ns, cx, &mut sk, id);
            }
            cx.kill(f, DropReason::TcpReset)
        }
        Check::Forget => {
            drop_request_of(ns, cx, &mut sk, id);
            cx.kill(f, DropReason::TcpReset)
        }
        Check::Accept => {
            if sk.listen.as_deref().is_some_and(|l| l.queue.len() as u32 > l.backlog) {
                overflow(ns, cx, &mut sk, id, f)
            } else {
                drop_request_of(ns, cx, &mut sk, id);
                match create_child(ns, cx, &sk, &req, seg) {
                    Some(child) => child_process(ns, cx, dev, &mut sk, child, seg, f),
                    None => cx.kill(f, DropReason::TcpListenOverflow),
                }
            }
        }
    };
    ns.sockets.tcp.give_back(sk);
    flow
}

/// listen_overflow: the accept queue is full, so the last ACK did not come, or the peer is told.
fn overflow(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, id: SockId, f: Frame) -> Flow {
    if ns.sockets.tcp.sysctl.abort_on_overflow != 0 {
        transmit::send_reset(ns, cx, &f, sk.behalf());
        drop_request_of(ns, cx, sk, id);
    } else if let Some(req) = ns.sockets.tcp.request_mut(id) {
        req.acked = true;
    }
    cx.kill(f, DropReason::TcpListenOverflow)
}

/// What tcp_check_req found.
enum Check {
    /// It was answered, or needs no answer.
    Answered,
    Drop(DropReason),
    Reset {
        forget: bool,
    },
    /// The peer has reset it.
    Forget,
    /// The handshake is over.
    Accept,
}

fn check(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, req: &mut Request, seg: &Segment) -> Check {
    let ts = seg.options.ts.filter(|_| req.tstamp_ok);
    // The request is as old as its timer.
    let stamp = now_s(cx).saturating_sub(request_timeout(ns, req) / HZ);
    let paws = ts.is_some_and(|(val, _)| paws_reject(req.ts_recent, stamp, now_s(cx), val, seg.flags.rst));
    // The SYN once more: so is the SYN-ACK.
    if seg.seq == req.rcv_isn && seg.flags.syn && !seg.flags.ack && !seg.flags.rst && !paws {
        if !limited(ns, cx, &mut req.last_oow_ack) && send_synack(ns, cx, sk, req).is_ok() {
            req.num_retrans += 1;
            let (at, of) = (cx.jiffies() + request_timeout(ns, req), req.timer_of(cx, ns));
            if let Some(of) = of {
                req.timer.set(cx, at, of);
            }
        }
        return Check::Answered;
    }
    if seg.flags.ack && seg.ack != req.snt_isn.wrapping_add(1) {
        return Check::Reset { forget: false };
    }
    let (start, end) = (req.rcv_isn.wrapping_add(1), req.rcv_isn.wrapping_add(1).wrapping_add(req.rcv_wnd));
    if paws || !transmit::in_window(seg.seq, seg.end_seq, start, end) {
        if !seg.flags.rst && !limited(ns, cx, &mut req.last_oow_ack) {
            send_request_ack(ns, cx, sk, req, seg);
        }
        return Check::Drop(if paws { DropReason::TcpRfc7323Paws } else { DropReason::TcpOverwindow });
    }
    let mut syn = seg.flags.syn;
    if let Some((val, _)) = ts
        && !super::after(seg.seq, start)
    {
        req.ts_recent = val;
    }
    if seg.seq == req.rcv_isn {
        // The SYN at the front of it is known.
        syn = false;
    }
    if seg.flags.rst {
        return Check::Forget;
    }
    if syn {
        return Check::Reset { forget: true };
    }
    if !seg.flags.ack {
        return Check::Drop(DropReason::TcpFlags);
    }
    Check::Accept
}

impl Request {
    /// inet_csk_route_req
    fn flow(&self) -> Flow4 {
        let (src, oif, any_src) = (Some(self.tuple.local), self.dev, self.transparent);
        Flow4 { src, oif, mark: self.mark, any_src, ..Flow4::to(self.tuple.remote) }
    }

    /// What answers take from it that are sent for its listening socket.
    fn behalf(&self, listener: &Sock) -> Behalf {
        Behalf { txhash: self.txhash, sk: listener.sk(), mark: self.mark, any_src: self.transparent }
    }

    fn timer_of(&self, cx: &Cx<'_>, ns: &NetNs) -> Option<TimerOf> {
        let id = ns.sockets.tcp.connections.get(&self.tuple).copied()?;
        Some(TimerOf { ns: cx.ns, sock: id, which: Timeout::Request })
    }
}

/// tcp_v4_reqsk_send_ack
fn send_request_ack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &Sock, req: &Request, seg: &Segment) {
    let options = Options {
        ts: req.tstamp_ok.then(|| (now_ms(cx).wrapping_add(req.ts_off), req.ts_recent)),
        ..Options::default()
    };
    let fields = Fields {
        seq: req.snt_isn.wrapping_add(1),
        ack: req.rcv_isn.wrapping_add(1),
        flags: Flags::ACK,
        window: (req.rcv_wnd >> req.rcv_wscale).min(65_535) as u16,
        options,
    };
    let reply = Reply {
        from: seg.to,
        to: seg.from,
        tos: 0,
        ttl: None,
        oif: req.dev,
        cause: Some(seg.frame),
        nfct: seg.nfct,
        partial: false,
        behalf: Behalf { mark: sk.opt.mark, ..req.behalf(sk) }.answers(ns, seg.mark),
    };
    let _ = transmit::send_reply(ns, cx, &reply, &fields);
}

/// tcp_reqsk_timeout in ticks.
fn request_timeout(ns: &NetNs, req: &Request) -> u64 {
    (TCP_TIMEOUT_INIT << req.num_timeout.min(30)).min(timer::rto_max(ns))
}

/// reqsk_timer_handler
pub(super) fn request_timer(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId) {
    let Some(req) = ns.sockets.tcp.request_mut(id) else { return };
    let mut req = req.clone();
    let listener = req.listener;
    let Some(mut sk) = ns.sockets.tcp.take(listener) else { return drop_request(ns, cx, id) };
    // What cannot be sent once more is given up.
    if is_expired(ns, &sk, &req) || send_synack(ns, cx, &sk, &mut req).is_err() && !req.acked {
        drop_request_of(ns, cx, &mut sk, id);
    } else {
        req.num_retrans += 1;
        if req.num_timeout == 0
            && let Some(listen) = &mut sk.listen
        {
            listen.young = listen.young.saturating_sub(1);
        }
        req.num_timeout += 1;
        let at = cx.jiffies() + request_timeout(ns, &req);
        req.timer.set(cx, at, TimerOf { ns: cx.ns, sock: id, which: Timeout::Request });
        if let Some(kept) = ns.sockets.tcp.request_mut(id) {
            *kept = req;
        }
    }
    ns.sockets.tcp.give_back(sk);
}

/// tcp_req_err: an ICMP error about the SYN-ACK with this number. The request goes if the host cannot be reached, and
/// nobody is told.
pub(super) fn request_err(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId, seq: u32, unreachable: bool) {
    let Some(req) = ns.sockets.tcp.request_mut(id).filter(|req| unreachable && req.snt_isn == seq) else { return };
    let listener = req.listener;
    let Some(mut sk) = ns.sockets.tcp.take(listener) else { return drop_request(ns, cx, id) };
    drop_request_of(ns, cx, &mut sk, id);
    ns.sockets.tcp.give_back(sk);
}

/// The thresholds of reqsk_timer_handler: as the queue fills, requests live shorter.
fn is_expired(ns: &NetNs, sk: &Sock, req: &Request) -> bool {
    let most = ns.sockets.tcp.sysctl.synack_retries as u32;
    let mut threshold = most;
    if let Some(listen) = sk.listen.as_deref() {
        let len = listen.requests;
        if len << 1 > listen.backlog.max(8) {
            let mut young = listen.young << 1;
            while threshold > 2 {
                if len < young {
                    break;
                }
                threshold -= 1;
                young <<= 1;
            }
        }
    }
    // syn_ack_recalc: TCP_DEFER_ACCEPT is not simulated.
    req.num_timeout >= threshold && (!req.acked || req.num_timeout >= most)
}

/// inet_csk_reqsk_queue_drop with the listener at hand.
fn drop_request_of(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, id: SockId) {
    let Some(req) = ns.sockets.tcp.request_mut(id) else { return };
    let first = req.num_timeout == 0;
    if let Some(listen) = &mut sk.listen {
        listen.requests = listen.requests.saturating_sub(1);
        if first {
            listen.young = listen.young.saturating_sub(1);
        }
    }
    drop_request(ns, cx, id);
}

fn drop_request(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId) {
    let Some(req) = ns.sockets.tcp.request_mut(id) else { return };
    let tuple = req.tuple;
    req.timer.cancel(cx);
    ns.sockets.tcp.connections.remove(&tuple);
    ns.sockets.tcp.forget(id);
}

/// tcp_v4_syn_recv_sock and tcp_create_openreq_child
fn create_child(ns: &mut NetNs, cx: &mut Cx<'_>, parent: &Sock, req: &Request, seg: &Segment) -> Option<Box<Sock>> {
    let tuple = req.tuple;
    let flow = Flow4 { any_src: true, ..req.flow() };
    let mtu = route::output(ns, &flow).ok()?.mtu;
    let template = Sock::new(ns, Current { pid: parent.owner, cred: parent.cred });
    let id = ns.sockets.tcp.insert_sock(template)?;
    let mut sk = ns.sockets.tcp.take(id)?;
    sk.parent = Some(parent.id);
    sk.state = State::SynRecv;
    sk.opt = parent.opt;
    sk.opt.mark = req.mark;
    (sk.rcvbuf, sk.sndbuf) = (parent.rcvbuf, parent.sndbuf);
    (sk.ip.saddr, sk.ip.rcv_saddr, sk.sport) = (tuple.local, tuple.local, tuple.local_port);
    (sk.ip.daddr, sk.dport, sk.dev) = (tuple.remote, tuple.remote_port, req.dev);
    let [local, remote] = tuple.words();
    sk.inet_id = cx.prf.draw(Purpose::IpId, &[cx.salt(), local, remote, cx.now().0]) as u16;
    (sk.tsoffset, sk.txhash) = (req.ts_off, req.txhash);
    sk.rcv_nxt = req.rcv_isn.wrapping_add(1);
    (sk.rcv_wup, sk.copied_seq) = (sk.rcv_nxt, sk.rcv_nxt);
    let seq = req.snt_isn.wrapping_add(1);
    (sk.snd_una, sk.snd_nxt, sk.snd_sml, sk.write_seq, sk.pushed_seq, sk.buf_seq) = (seq, seq, seq, seq, seq, seq);
    (sk.rcv_wnd, sk.rcv_ssthresh, sk.window_clamp) = (req.rcv_wnd, req.rcv_wnd, req.window_clamp);
    let o = &mut sk.rx_opt;
    (o.tstamp_ok, o.sack_ok, o.wscale_ok) = (req.tstamp_ok, req.sack_ok, req.wscale_ok);
    if req.wscale_ok {
        (o.snd_wscale, o.rcv_wscale) = (req.snd_wscale, req.rcv_wscale);
    }
    (o.ts_recent, o.ts_recent_stamp, o.mss_clamp) = (req.ts_recent, now_s(cx), req.mss);
    if !req.wscale_ok {
        sk.window_clamp = sk.window_clamp.min(65_535);
    }
    sk.snd_wnd = u32::from(seg.window) << sk.rx_opt.snd_wscale;
    sk.max_window = sk.snd_wnd;
    sk.snd_wl1 = req.rcv_isn;
    sk.header_len = transmit::TCP_HLEN as u32 + if req.tstamp_ok { TSTAMP_LEN } else { 0 };
    if seg.len() >= TCP_MSS_DEFAULT + sk.header_len {
        sk.ack.last_seg_size = seg.len() - sk.header_len;
    }
    sk.total_retrans = req.num_retrans;
    sk.ecn = Ecn::child(req.ecn_ok);
    if req.num_timeout > 0 {
        (sk.total_retrans, sk.undo_marker) = (req.num_timeout, req.snt_isn);
        sk.retrans_stamp = (req.snt_synack / 1000) as u32;
    }
    sk.ca.init(ns.sockets.tcp.sysctl.congestion_control);
    sk.sync_mss(ns, mtu);
    let own = if sk.opt.mss > 0 { u32::from(sk.opt.mss) } else { u32::MAX };
    sk.advmss = default_advmss(mtu).min(own);
    sk.initialize_rcv_mss();
    sk.lsndtime = cx.jiffies();
    sk.ack.lrcvtime = cx.jiffies();
    if sk.opt.keepalive {
        let after = timer::keepalive_time(ns, &sk);
        timer::reset_keepalive(ns, cx, &mut sk, after);
    }
    let rtt = (req.num_retrans == 0 && req.snt_synack != 0).then(|| now_us(cx).saturating_sub(req.snt_synack));
    if let Some((_, ecr)) = seg.options.ts.filter(|_| req.tstamp_ok) {
        sk.rx_opt.saw_tstamp = true;
        sk.rx_opt.rcv_tsecr = if ecr == 0 { 0 } else { ecr.wrapping_sub(sk.tsoffset) };
    }
    ack::synack_rtt(ns, cx, &mut sk, rtt);
    // inet_ehash_insert and __inet_inherit_port
    sk.hashed = true;
    ns.sockets.tcp.connections.insert(tuple, id);
    sk.in_ports = true;
    ns.sockets.tcp.hold_port(tuple.local_port, id);
    Some(sk)
}

/// tcp_child_process: the segment that ended the handshake is the child's first.
fn child_process(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    parent: &mut Sock,
    mut child: Box<Sock>,
    seg: &Segment,
    f: Frame,
) -> Flow {
    let _ = dev;
    if let Some(listen) = &mut parent.listen {
        // inet_csk_reqsk_queue_add
        listen.queue.push_back(child.id);
    }
    let verdict = rx::rcv_state_process(ns, cx, &mut child, seg, &f);
    let of = child.behalf();
    if child.state != State::SynRecv {
        // sk_data_ready of the parent.
        parent.wake(cx);
    }
    ns.sockets.tcp.give_back(child);
    rx::end(ns, cx, seg, f, verdict, of)
}

/// secure_tcp_syn_cookie: the connection's state in the sequence number.
fn cookie_isn(cx: &Cx<'_>, req: &mut Request, seg: &Segment) -> u32 {
    let index = COOKIE_MSS.iter().rposition(|mss| u32::from(*mss) <= req.mss).unwrap_or(0) as u32;
    req.mss = u32::from(COOKIE_MSS[index as usize]);
    if req.tstamp_ok {
        // cookie_init_timestamp: the options in the lowest bits of the timestamp, which must not be in the future.
        let wscale = if req.wscale_ok { u32::from(req.snd_wscale) } else { 15 };
        let options = wscale | u32::from(req.sack_ok) << 4 | if req.ecn_ok { TS_OPT_ECN } else { 0 };
        let now = now_ms(cx).wrapping_add(req.ts_off);
        let mut ts = now >> TS_BITS << TS_BITS | options;
        if super::after(ts, now) {
            ts = ts.wrapping_sub(1 << TS_BITS);
        }
        req.ts_off = req.ts_off.wrapping_add(ts.wrapping_sub(now));
    }
    let count = cookie_time(cx);
    let h1 = cookie_hash(cx, &seg.tuple(), 0, 0);
    let h2 = cookie_hash(cx, &seg.tuple(), count, 1);
    h1.wrapping_add(seg.seq)
        .wrapping_add(count << COOKIE_BITS)
        .wrapping_add(h2.wrapping_add(index) & ((1 << COOKIE_BITS) - 1))
}

fn cookie_time(cx: &Cx<'_>) -> u32 {
    (cx.now().0 / COOKIE_PERIOD_NS) as u32
}

fn cookie_hash(cx: &Cx<'_>, tuple: &Tuple, count: u32, which: u64) -> u32 {
    let [local, remote] = tuple.words();
    cx.prf.draw(Purpose::SynCookie, &[cx.salt(), local, remote, u64::from(count), which]) as u32
}

/// cookie_v4_check: an ACK that echoes a cookie is the end of a handshake that nobody remembers.
fn cookie_check(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, sk: &Sock, seg: &Segment) -> Option<Request> {
    let sysctl = ns.sockets.tcp.sysctl;
    let sent = sk.listen.as_deref()?.cookie_sent?;
    // tcp_synq_no_recent_overflow
    let recent = cx.jiffies().wrapping_sub(sent) <= u64::from(MAX_COOKIE_AGE) * 60 * HZ;
    if sysctl.syncookies == 0 || !recent && sysctl.syncookies != 2 {
        return None;
    }
    let (isn, rcv_isn) = (seg.ack.wrapping_sub(1), seg.seq.wrapping_sub(1));
    let tuple = seg.tuple();
    let cookie = isn.wrapping_sub(cookie_hash(cx, &tuple, 0, 0)).wrapping_sub(rcv_isn);
    let diff = cookie_time(cx).wrapping_sub(cookie >> COOKIE_BITS) & (u32::MAX >> COOKIE_BITS);
    if diff >= MAX_COOKIE_AGE {
        return None;
    }
    let count = cookie_time(cx).wrapping_sub(diff);
    let mask = (1 << COOKIE_BITS) - 1;
    let index = cookie.wrapping_sub(cookie_hash(cx, &tuple, count, 1)) & mask;
    let mss = *COOKIE_MSS.get(index as usize)?;
    let mut req = request(ns, cx, dev, sk, seg)?;
    (req.rcv_isn, req.snt_isn, req.mss) = (rcv_isn, isn, u32::from(mss));
    (req.wscale_ok, req.sack_ok) = (false, false);
    if let Some((val, ecr)) = seg.options.ts {
        // cookie_timestamp_decode
        (req.tstamp_ok, req.ts_recent) = (true, val);
        let options = ecr & ((1 << TS_BITS) - 1);
        req.sack_ok = options & 1 << 4 != 0;
        // cookie_ecn_ok
        req.ecn_ok = options & TS_OPT_ECN != 0 && sysctl.ecn != 0;
        let wscale = options & 0xf;
        if wscale != 0xf {
            (req.wscale_ok, req.snd_wscale) = (true, wscale as u8);
        }
    }
    // As it was for the SYN-ACK, but in segments of the peer's.
    let initial = window::select_initial(&sysctl, sk.full_space(), req.mss, rcvbuf_clamp(sk), req.wscale_ok);
    (req.rcv_wnd, req.window_clamp) = (initial.rcv_wnd, initial.window_clamp);
    req.rcv_wscale = initial.rcv_wscale;
    Some(req)
}

/// tcp_get_cookie_sock: the accept queue may be full by now.
fn cookie_sock(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, req: &Request, seg: &Segment) -> Option<Box<Sock>> {
    if sk.listen.as_deref().is_some_and(|l| l.queue.len() as u32 > l.backlog) {
        return None;
    }
    create_child(ns, cx, sk, req, seg)
}
