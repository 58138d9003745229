//! Mirrors tcp_v4_err of net/ipv4/tcp_ipv4.c: what an ICMP error tells a connection. Read RFC 1122 section 4.2.3.9, RFC
//! 5927 and RFC 6069 before editing.

use super::sock::{Sock, State};
use super::timer::{self, Xmit};
use super::{Entry, Tuple, after, before, listen, recovery, rx};
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::ip::exception;
use crate::kernel::ip::icmp::{
    DEST_UNREACH, FRAG_NEEDED, PARAMETER_PROBLEM, REDIRECT, Report, SOURCE_QUENCH, TIME_EXCEEDED,
};
use crate::kernel::ip::route::Flow4;
use crate::kernel::netns::NetNs;
use crate::kernel::socket::raw::MAX_QUEUED_ERRORS;
use crate::kernel::syscall::{PmtuDisc, QueuedError};
use crate::kernel::timer::ns_to_jiffies;
use crate::wire::{be16, be32};
use std::net::SocketAddrV4;

/// tcp_v4_err. Whether it is a redirect that is to be followed.
pub(in crate::kernel) fn tcp_v4_err(ns: &mut NetNs, cx: &mut Cx<'_>, report: &Report<'_>) -> bool {
    let inner = &report.inner;
    let local = SocketAddrV4::new(inner.src, be16(inner.payload, 0));
    let remote = SocketAddrV4::new(inner.dst, be16(inner.payload, 2));
    let seq = be32(inner.payload, 4);
    let tuple = Tuple::new(local, remote);
    let Some(id) = ns.sockets.tcp.connections.get(&tuple).copied() else { return false };
    match ns.sockets.tcp.entry(id) {
        Some(Entry::Sock(_)) => {}
        Some(Entry::Request(_)) => {
            let kinds = [(DEST_UNREACH, 0), (DEST_UNREACH, 1)];
            let unreachable = matches!(report.kind, TIME_EXCEEDED | PARAMETER_PROBLEM);
            listen::request_err(ns, cx, id, seq, unreachable || kinds.contains(&(report.kind, report.code)));
            return false;
        }
        // A minisocket hears of nothing.
        _ => return false,
    }
    let Some(mut sk) = ns.sockets.tcp.take(id) else { return false };
    // Nobody who has not seen the connection can make it up.
    let made_up = sk.state != State::Listen && (before(seq, sk.snd_una) || after(seq, sk.snd_nxt));
    let is_heard = sk.state != State::Close && !made_up;
    // It is lost on a socket that its program holds just then.
    let is_followed = is_heard && report.kind == REDIRECT && !sk.owned;
    if is_heard {
        hear(ns, cx, &mut sk, report, seq);
    }
    ns.sockets.tcp.give_back(sk);
    is_followed
}

fn hear(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, report: &Report<'_>, seq: u32) {
    match report.kind {
        REDIRECT | SOURCE_QUENCH => return,
        DEST_UNREACH if report.code == FRAG_NEEDED => {
            if sk.state == State::Listen {
                return;
            }
            if sk.owned {
                sk.mtu_reduced = Some(report.info);
            } else {
                mtu_reduced(ns, cx, sk, report.info);
            }
            return;
        }
        // tcp_ld_RTO_revert
        DEST_UNREACH if report.code <= 1 => revert_rto(ns, cx, sk, seq),
        _ => {}
    }
    let (errno, _) = report.errno();
    match sk.state {
        State::SynSent | State::SynRecv => {
            queue_error(sk, cx, report, errno);
            if sk.owned {
                sk.err_soft = Some(errno);
            } else {
                sk.err = Some(errno);
                rx::write_queue_purge(sk);
                rx::done(ns, cx, sk);
            }
        }
        // A connection that stands is not lost for this (RFC 1122), unless the program wants to know.
        _ if sk.opt.recv_err && !sk.owned => {
            sk.err = Some(errno);
            sk.wake(cx);
        }
        _ => sk.err_soft = Some(errno),
    }
}

/// ip_icmp_error: whether IP_RECVERR asks for it or not. Somebody who polls hears of it, even while the
/// program is in a call on the socket.
fn queue_error(sk: &mut Sock, cx: &mut Cx<'_>, report: &Report<'_>, errno: Errno) {
    if sk.errors.len() >= MAX_QUEUED_ERRORS {
        return;
    }
    let (icmp, data) = ((report.kind, report.code), report.inner.payload.to_vec());
    sk.errors.push_back(QueuedError { errno, local: false, icmp, info: report.info, offender: report.offender, data });
    sk.wake(cx);
}

/// tcp_v4_mtu_reduced: smaller segments from now on, and what is lost at once. The route learns of it in any case, so a
/// socket that does not look for path MTUs is late only.
pub(super) fn mtu_reduced(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, mtu: u32) {
    if matches!(sk.state, State::Listen | State::Close) {
        return;
    }
    let flow = Flow4 { src: Some(sk.ip.saddr), ..Flow4::to(sk.ip.daddr) };
    exception::update_pmtu(ns, &flow, mtu);
    let mtu = sk.route(ns).map_or(mtu, |r| r.mtu);
    // ip_sk_accept_pmtu, and not IP_PMTUDISC_DONT.
    let heeded = matches!(sk.opt.pmtu, PmtuDisc::Want | PmtuDisc::Do | PmtuDisc::Probe);
    if heeded && sk.pmtu_cookie > mtu {
        sk.sync_mss(ns, mtu);
        simple_retransmit(ns, cx, sk);
    }
}

/// tcp_simple_retransmit: what is too long now is lost, and that is no congestion.
fn simple_retransmit(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let mss = sk.current_mss(ns);
    let lost_before = sk.lost_out;
    recovery::mark_too_long(sk, mss);
    if sk.lost_out == lost_before {
        return;
    }
    recovery::non_congestion_loss(sk);
    recovery::xmit_retransmit_queue(ns, cx, sk);
}

/// tcp_ld_RTO_revert: the way is gone, not the network full; the time-out is as it was before it doubled (RFC 6069).
fn revert_rto(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, seq: u32) {
    if seq != sk.snd_una || sk.retransmits == 0 || sk.backoff == 0 || sk.owned {
        return;
    }
    let Some(head) = sk.rtx.front() else { return };
    let sent_us = head.sent_us;
    sk.backoff -= 1;
    let base = if sk.srtt_us > 0 {
        ns_to_jiffies((u64::from(sk.srtt_us >> 3) + u64::from(sk.rttvar_us)) * 1000)
    } else {
        super::sock::TCP_TIMEOUT_INIT
    };
    sk.rto = (base << sk.backoff).min(timer::rto_max(ns));
    let elapsed = ns_to_jiffies(super::sock::now_us(cx).saturating_sub(sent_us) * 1000);
    match sk.rto.checked_sub(elapsed).filter(|left| *left > 0) {
        Some(left) => timer::reset_xmit(ns, cx, sk, Xmit::Retransmit, left),
        // RTO revert clocked out the retransmission.
        None => timer::retransmit_now(ns, cx, sk),
    }
}
