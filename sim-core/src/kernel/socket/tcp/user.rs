//! Mirrors net/ipv4/tcp.c and the stream part of net/ipv4/af_inet.c: the system calls on a TCP socket, and release_sock
//! of net/core/sock.c.
//!
//! A call locks its socket. Each piece that it sends leaves this CPU at once and is received, answered and perhaps
//! answered again before the call goes on; what comes back for a locked socket waits in its backlog until the call lets
//! go. So a call that sends is cut where it sends: [`Work`] says what is left of it.

use super::connect;
use super::data;
use super::rx::{self, Segment};
use super::sock::{Sock, State};
use super::timer;
use super::timewait::{self, Substate};
use super::transmit;
use super::tx::{self, Nagle, Pushed};
use super::{SockId, after, listen, window};
use crate::base::Pid;
use crate::kernel::conntrack::{self, CtCx};
use crate::kernel::cred::Current;
use crate::kernel::cx::{Continuation, Cx};
use crate::kernel::errno::Errno;
use crate::kernel::frame::TCP_HEAD_TRUESIZE;
use crate::kernel::netns::NetNs;
use crate::kernel::socket::{MAX_SOCKETS, Socket};
use crate::kernel::syscall::{Call, Fd, Outcome, PollFd, Ready, Ret, Shutdown, SockOpt, SocketKind};
use crate::kernel::trace::DropReason;
use std::net::SocketAddrV4;

/// SOCK_MIN_SNDBUF
const SOCK_MIN_SNDBUF: u64 = 2 * 2304;
/// SOCK_MIN_RCVBUF
const SOCK_MIN_RCVBUF: u64 = 2304;
/// net.core.wmem_max
const WMEM_MAX: u64 = 4 << 20;
/// net.core.rmem_max
const RMEM_MAX: u64 = 4 << 20;
/// MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL in seconds, MAX_TCP_KEEPCNT.
const MAX_KEEP_S: u32 = 32_767;
const MAX_KEEPCNT: u8 = 127;

/// What a system call has still to do.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// tcp_sendmsg of so many bytes: from this one on.
    Send { pid: Pid, len: usize, at: usize, nonblock: bool, copied: usize },
    /// What is queued goes out as far as it may, then this follows.
    Push { nagle: Nagle, then: Box<Work> },
    /// send(2) returns so many bytes, or waits for room if it is none.
    Return { pid: Pid, ret: Option<Ret> },
    /// release_sock; and the end of close(2) if no program has the socket any more.
    Release,
}

/// socket(2)
pub(in crate::kernel::socket) fn open(ns: &mut NetNs, who: Current, fd: Fd) -> Result<SockId, Errno> {
    let template = Sock { fd: Some(fd), ..Sock::new(ns, who) };
    ns.sockets.tcp.insert_sock(template).ok_or(Errno::ENFILE)
}

/// A system call of process `who` on a TCP socket.
pub(in crate::kernel::socket) fn call(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    who: Current,
    id: SockId,
    call: &Call,
) -> Outcome {
    let Some(mut sk) = ns.sockets.tcp.take(id) else { return Outcome::Done(Ret::Err(Errno::EBADF)) };
    sk.owned = true;
    let nonblock = sk.fd.and_then(|fd| ns.sockets.open.get(&fd)).is_some_and(|s| s.nonblock);
    let done = |r: Result<Ret, Errno>| Outcome::Done(r.unwrap_or_else(Ret::Err));
    let sk_ref = &mut *sk;
    let outcome = match call {
        Call::Bind { addr, .. } => done(connect::bind(ns, cx, who, sk_ref, *addr).map(|()| Ret::Done)),
        Call::Connect { addr, .. } => connect_call(ns, cx, sk_ref, *addr, nonblock),
        Call::Listen { backlog, .. } => done(listen::listen(ns, cx, sk_ref, *backlog).map(|()| Ret::Done)),
        Call::Accept { nonblock: child, .. } => accept(ns, sk_ref, who, nonblock, *child),
        Call::Send { data, .. } => send(ns, cx, sk_ref, who.pid, data, nonblock),
        Call::Recv { size, dontwait, errqueue: false, .. } => recv(ns, cx, sk_ref, *size, nonblock || *dontwait),
        Call::Recv { errqueue: true, .. } => done(recv_error(sk_ref)),
        Call::Shutdown { how, .. } => done(shutdown(ns, cx, sk_ref, *how)),
        Call::SockName { .. } => done(Ok(Ret::Addr(sk_ref.name()))),
        Call::PeerName { .. } => done(peer(sk_ref)),
        Call::SocketError { .. } => {
            let soft = if sk_ref.err.is_none() { sk_ref.err_soft.take() } else { None };
            done(Ok(Ret::SocketError(sk_ref.err.take().or(soft))))
        }
        Call::SetSockOpt { opt, .. } => done(set_option(ns, cx, who, sk_ref, *opt).map(|()| Ret::Done)),
        Call::OriginalDst { .. } => done(original_dst(ns, cx, sk_ref).map(Ret::Addr)),
        Call::Close { .. } => close(ns, cx, sk_ref, who.pid),
        _ => done(Err(Errno::EINVAL)),
    };
    settle(ns, cx, &mut sk);
    ns.sockets.tcp.give_back(sk);
    outcome
}

/// The call is over, or goes on after what it sent was received.
fn settle(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    while cx.cpu.backlog() == 0 {
        if sk.work.is_none() {
            sk.work = Some(Work::Release);
        }
        step(ns, cx, sk);
        if !sk.owned {
            return;
        }
    }
    if sk.work.is_none() {
        sk.work = Some(Work::Release);
    }
    cx.defer(Continuation::Tcp(cx.ns, sk.id));
}

/// What the last step of a call has sent was received: the next step.
pub(in crate::kernel) fn go_on(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId) {
    let Some(mut sk) = ns.sockets.tcp.take(id) else { return };
    step(ns, cx, &mut sk);
    if sk.owned {
        settle(ns, cx, &mut sk);
    }
    ns.sockets.tcp.give_back(sk);
}

/// One step of a call.
fn step(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    match sk.work.take() {
        Some(Work::Send { pid, len, at, nonblock, copied }) => {
            sk.work = Some(send_step(ns, cx, sk, Sending { pid, len, at, nonblock, copied }));
        }
        Some(Work::Push { nagle, then }) => {
            let more = tx::push_one_frame(ns, cx, sk, nagle, 0) == Pushed::Sent;
            sk.work = Some(if more { Work::Push { nagle, then } } else { *then });
        }
        Some(Work::Return { pid, ret }) => {
            cx.cpu.finished = Some((pid, ret));
        }
        Some(Work::Release) => release(ns, cx, sk),
        None => sk.owned = false,
    }
}

/// release_sock: one segment of the backlog, or the lock is given back.
fn release(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if let Some((dev, f)) = sk.backlog.pop_front() {
        sk.work = Some(Work::Release);
        match Segment::parse(&f) {
            Some(seg) => {
                let _ = rx::do_rcv(ns, cx, dev, sk, &seg, f);
            }
            None => {
                let _ = cx.kill(f, DropReason::PktTooSmall);
            }
        }
        if std::mem::take(&mut sk.more) {
            let then = Box::new(Work::Release);
            sk.work = Some(Work::Push { nagle: Nagle::Options, then });
        }
        return;
    }
    sk.backlog_len = 0;
    if sk.dead && sk.state == State::FinWait2 {
        let timeout = timewait::fin_time(ns, sk);
        if timeout > timewait::TIMEWAIT_LEN {
            timer::reset_keepalive(ns, cx, sk, timeout - timewait::TIMEWAIT_LEN);
        } else {
            timewait::time_wait(ns, cx, sk, Substate::FinWait2, timeout);
        }
    }
    sk.owned = false;
    release_cb(ns, cx, sk);
}

/// tcp_release_cb: what could not be done while the socket was locked.
fn release_cb(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if std::mem::take(&mut sk.write_timer_deferred) {
        timer::write_timer(ns, cx, sk);
    }
    if std::mem::take(&mut sk.delack_timer_deferred) {
        timer::delack_timer(ns, cx, sk);
    }
    if let Some(mtu) = sk.mtu_reduced.take() {
        super::error::mtu_reduced(ns, cx, sk, mtu);
    }
    if std::mem::take(&mut sk.ack_deferred) && sk.ack.scheduled {
        transmit::send_ack(ns, cx, sk);
    }
}

/// __inet_stream_connect
fn connect_call(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, addr: SocketAddrV4, nonblock: bool) -> Outcome {
    let refuse = |e| Outcome::Done(Ret::Err(e));
    if !sk.connecting {
        if sk.state != State::Close || sk.listen.is_some() {
            return refuse(if sk.state == State::Listen { Errno::EINVAL } else { Errno::EISCONN });
        }
        if let Some(e) = sk.err.take() {
            return refuse(e);
        }
        if let Err(e) = connect::connect(ns, cx, sk, addr) {
            return refuse(e);
        }
        sk.connecting = true;
        return if nonblock { refuse(Errno::EINPROGRESS) } else { Outcome::Wait };
    }
    match sk.state {
        State::SynSent | State::SynRecv if nonblock => refuse(Errno::EALREADY),
        State::SynSent | State::SynRecv => Outcome::Wait,
        State::Close => {
            sk.connecting = false;
            // tcp_disconnect: it may connect anew.
            (sk.shut_read, sk.shut_write) = (false, false);
            refuse(sk.err.take().or(sk.err_soft.take()).unwrap_or(Errno::ECONNABORTED))
        }
        _ => {
            sk.connecting = false;
            Outcome::Done(Ret::Done)
        }
    }
}

/// inet_csk_accept
fn accept(ns: &mut NetNs, sk: &mut Sock, who: Current, nonblock: bool, child_nonblock: bool) -> Outcome {
    let Some(listen) = sk.listen.as_deref_mut() else { return Outcome::Done(Ret::Err(Errno::EINVAL)) };
    let Some(child) = listen.queue.pop_front() else {
        return if nonblock { Outcome::Done(Ret::Err(Errno::EAGAIN)) } else { Outcome::Wait };
    };
    if ns.sockets.open.len() >= MAX_SOCKETS {
        return Outcome::Done(Ret::Err(Errno::ENFILE));
    }
    ns.sockets.last += 1;
    let fd = Fd(ns.sockets.last);
    let mut socket = Socket::new(ns, who, SocketKind::Tcp);
    (socket.tcp, socket.nonblock) = (Some(child), child_nonblock);
    ns.sockets.open.insert(fd, socket);
    let Some(child) = ns.sockets.tcp.sock_mut(child) else { return Outcome::Done(Ret::Err(Errno::ECONNABORTED)) };
    (child.fd, child.owner, child.cred, child.parent) = (Some(fd), who.pid, who.cred, None);
    Outcome::Done(Ret::Accepted { fd, from: SocketAddrV4::new(child.ip.daddr, child.dport) })
}

/// getsockopt(2) of SO_ORIGINAL_DST
fn original_dst(ns: &mut NetNs, cx: &Cx<'_>, sk: &Sock) -> Result<SocketAddrV4, Errno> {
    let (local, remote) = (SocketAddrV4::new(sk.ip.rcv_saddr, sk.sport), SocketAddrV4::new(sk.ip.daddr, sk.dport));
    conntrack::getorigdst(&mut ns.ct, &CtCx::of(cx), local, remote).ok_or(Errno::ENOENT)
}

/// A send(2) under way. Its bytes stand in the buffer behind those that are queued.
struct Sending {
    pid: Pid,
    len: usize,
    at: usize,
    nonblock: bool,
    copied: usize,
}

/// tcp_sendmsg
fn send(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, pid: Pid, data: &[u8], nonblock: bool) -> Outcome {
    if matches!(sk.state, State::SynSent | State::SynRecv) && !sk.shut_write {
        // sk_stream_wait_connect
        return if nonblock { Outcome::Done(Ret::Err(Errno::EAGAIN)) } else { Outcome::Wait };
    }
    let at = std::mem::take(&mut sk.sent);
    if !may_send(sk) {
        // do_error: the error is told by the next call if this one has sent something.
        return Outcome::Done(if at > 0 { Ret::Sent(at) } else { Ret::Err(stream_error(sk)) });
    }
    if data.is_empty() {
        return Outcome::Done(Ret::Sent(0));
    }
    if sk.buf.is_empty() {
        // Nothing waits for an ACK: the buffer begins here.
        sk.buf_seq = sk.write_seq;
    }
    sk.buf.extend(data.get(at..).unwrap_or_default());
    let sending = Sending { pid, len: data.len(), at, nonblock, copied: 0 };
    sk.work = Some(send_step(ns, cx, sk, sending));
    Outcome::Later
}

/// What tcp_sendmsg_locked looks at before each wait.
fn may_send(sk: &Sock) -> bool {
    sk.err.is_none() && !sk.shut_write && sk.state.may_send()
}

/// sk_stream_error
fn stream_error(sk: &mut Sock) -> Errno {
    sk.err.take().unwrap_or(Errno::EPIPE)
}

/// A signal ends a send(2) that waits (sk_stream_wait_memory): it has sent what is queued already.
pub(in crate::kernel::socket) fn interrupted(ns: &mut NetNs, id: SockId) -> Option<usize> {
    let sk = ns.sockets.tcp.sock_mut(id)?;
    Some(std::mem::take(&mut sk.sent)).filter(|sent| *sent > 0)
}

/// tcp_sendmsg_locked up to the next piece that is sent; what is left to do then.
fn send_step(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, mut s: Sending) -> Work {
    let release = |pid, ret| Work::Return { pid, ret };
    let mss = sk.current_mss(ns);
    let goal = sk.size_goal(mss);
    while s.at < s.len {
        let tail = sk.wq.back().map_or(0, |skb| if skb.fin { u32::MAX } else { skb.len() });
        let mut room = goal.saturating_sub(tail);
        if sk.wq.is_empty() || room == 0 {
            if sk.wmem >= sk.sndbuf {
                return wait_for_space(sk, &s);
            }
            entail(ns, cx, sk, mss);
            room = goal;
        }
        let left = s.len - s.at;
        let copy = (room as usize).min(left);
        append(sk, copy as u32, s.copied == 0);
        s.at += copy;
        s.copied += copy;
        if s.at == s.len {
            break;
        }
        if sk.wq.back().is_some_and(|skb| skb.len() < goal) {
            continue;
        }
        if after(sk.write_seq, sk.pushed_seq.wrapping_add(sk.max_window >> 1)) {
            mark_push(sk);
            let again = Work::Send { pid: s.pid, len: s.len, at: s.at, nonblock: s.nonblock, copied: s.copied };
            return Work::Push { nagle: Nagle::Push, then: Box::new(again) };
        }
        if sk.wq.len() == 1 {
            // tcp_push_one
            tx::push_one_frame(ns, cx, sk, Nagle::Push, 1);
            return Work::Send { pid: s.pid, len: s.len, at: s.at, nonblock: s.nonblock, copied: s.copied };
        }
    }
    mark_push(sk);
    let ret = Some(Ret::Sent(s.at));
    Work::Push { nagle: Nagle::Options, then: Box::new(release(s.pid, ret)) }
}

/// wait_for_space of tcp_sendmsg_locked
fn wait_for_space(sk: &mut Sock, s: &Sending) -> Work {
    sk.nospace = true;
    // What was not taken is the program's still.
    sk.buf.truncate(sk.write_seq.wrapping_sub(sk.buf_seq) as usize);
    let ret = if s.nonblock {
        Some(if s.at > 0 { Ret::Sent(s.at) } else { Ret::Err(Errno::EAGAIN) })
    } else {
        sk.sent = s.at;
        None
    };
    let then = Box::new(Work::Return { pid: s.pid, ret });
    if s.copied == 0 {
        return *then;
    }
    mark_push(sk);
    Work::Push { nagle: Nagle::Push, then }
}

/// tcp_skb_entail: an empty piece at the end of the queue.
fn entail(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock, mss: u32) {
    sk.slow_start_after_idle(ns, cx);
    let mut skb = transmit::bare(sk.write_seq);
    (skb.mss, skb.truesize) = (mss, TCP_HEAD_TRUESIZE);
    sk.wmem += u64::from(TCP_HEAD_TRUESIZE);
    sk.wq.push_back(skb);
}

/// The next `len` bytes of the buffer go to the last piece.
fn append(sk: &mut Sock, len: u32, first: bool) {
    sk.write_seq = sk.write_seq.wrapping_add(len);
    sk.wmem += u64::from(len);
    if let Some(skb) = sk.wq.back_mut() {
        skb.end_seq = skb.end_seq.wrapping_add(len);
        skb.truesize += len;
        if first {
            skb.push = false;
        }
    }
}

/// tcp_mark_push
fn mark_push(sk: &mut Sock) {
    sk.pushed_seq = sk.write_seq;
    if let Some(skb) = sk.wq.back_mut() {
        skb.push = true;
    }
}

/// tcp_recvmsg
fn recv(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, size: usize, nonblock: bool) -> Outcome {
    if sk.state == State::Listen {
        return Outcome::Done(Ret::Err(Errno::ENOTCONN));
    }
    let ready = sk.rcv_nxt.wrapping_sub(sk.copied_seq) as usize;
    let mut out = Vec::with_capacity(ready.min(size));
    while out.len() < size && copy_one(ns, cx, sk, &mut out, size) {}
    if !out.is_empty() {
        data::cleanup_rbuf(ns, cx, sk, out.len());
        return Outcome::Done(Ret::Data(out));
    }
    if size == 0 || sk.done {
        return Outcome::Done(Ret::Eof);
    }
    if let Some(e) = sk.err.take() {
        return Outcome::Done(Ret::Err(e));
    }
    if sk.shut_read {
        return Outcome::Done(Ret::Eof);
    }
    if sk.state == State::Close {
        return Outcome::Done(Ret::Err(Errno::ENOTCONN));
    }
    if nonblock { Outcome::Done(Ret::Err(Errno::EAGAIN)) } else { Outcome::Wait }
}

/// A round of tcp_recvmsg_locked: what the first buffer has. Whether there may be more.
fn copy_one(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock, out: &mut Vec<u8>, size: usize) -> bool {
    let Some(skb) = sk.queue.front() else { return false };
    let offset = sk.copied_seq.wrapping_sub(skb.seq) as usize;
    let rest = skb.data.get(offset..).unwrap_or_default();
    let take = rest.len().min(size - out.len());
    out.extend_from_slice(&rest[..take]);
    let (whole, truesize, fin) = (take == rest.len(), skb.truesize, skb.fin);
    sk.copied_seq = sk.copied_seq.wrapping_add(take as u32);
    if take > 0 {
        window::space_adjust(ns, cx, sk);
    }
    if !whole {
        return false;
    }
    sk.queue.pop_front();
    sk.rmem = sk.rmem.saturating_sub(u64::from(truesize));
    if fin {
        sk.copied_seq = sk.copied_seq.wrapping_add(1);
    }
    !fin
}

/// inet_shutdown
fn shutdown(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, how: Shutdown) -> Result<Ret, Errno> {
    let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
    match sk.state {
        State::Close => return Err(Errno::ENOTCONN),
        State::Listen if !read => {}
        State::Listen | State::SynSent => disconnect(ns, cx, sk),
        _ => {
            sk.shut_read |= read;
            sk.shut_write |= write;
            if write && matches!(sk.state, State::Established | State::CloseWait) && close_state(sk) {
                tx::queue_fin(sk);
                push_then_release(sk);
            }
        }
    }
    Ok(Ret::Done)
}

/// The FIN, and all before it, go out; then the call is over.
fn push_then_release(sk: &mut Sock) {
    let then = Box::new(Work::Release);
    sk.work = Some(Work::Push { nagle: Nagle::Off, then });
}

/// tcp_close_state: whether a FIN has to be sent.
fn close_state(sk: &mut Sock) -> bool {
    let (state, fin) = match sk.state {
        State::Established | State::SynRecv => (State::FinWait1, true),
        State::CloseWait => (State::LastAck, true),
        State::SynSent | State::Listen => (State::Close, false),
        state => (state, false),
    };
    sk.state = state;
    fin
}

/// tcp_disconnect: the connection is thrown away.
fn disconnect(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    let old = sk.state;
    match old {
        State::Listen => {
            sk.state = State::Close;
            return listen::stop(ns, cx, sk);
        }
        // tcp_need_reset
        State::Established | State::CloseWait | State::FinWait1 | State::FinWait2 | State::SynRecv => {
            transmit::send_active_reset(ns, cx, sk);
            sk.err = Some(Errno::ECONNRESET);
        }
        State::Closing | State::LastAck if sk.snd_nxt != sk.write_seq => {
            transmit::send_active_reset(ns, cx, sk);
            sk.err = Some(Errno::ECONNRESET);
        }
        State::SynSent => sk.err = Some(Errno::ECONNRESET),
        _ => {}
    }
    rx::write_queue_purge(sk);
    rx::done(ns, cx, sk);
    sk.queue.clear();
    sk.ofo.clear();
    sk.rmem = 0;
}

/// tcp_close. With SO_LINGER it waits until the peer has acknowledged everything (sk_stream_wait_close).
fn close(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, pid: Pid) -> Outcome {
    shut(ns, cx, sk);
    let closing = matches!(sk.state, State::FinWait1 | State::Closing | State::LastAck);
    if closing && sk.opt.linger.is_some_and(|seconds| seconds > 0) {
        sk.owner = pid;
        return Outcome::Wait;
    }
    orphan(sk);
    Outcome::Done(Ret::Done)
}

/// adjudge_to_death of __tcp_close: no program has it any more.
fn orphan(sk: &mut Sock) {
    (sk.fd, sk.dead, sk.connecting) = (None, true, false);
}

/// SO_LINGER of a socket in nanoseconds: how long close(2) waits for it.
pub(in crate::kernel::socket) fn linger_ns(ns: &NetNs, id: SockId) -> u64 {
    let seconds = ns.sockets.tcp.sock(id).and_then(|sk| sk.opt.linger).unwrap_or(0);
    u64::from(seconds) * 1_000_000_000
}

/// The time of close(2) is out, or a signal came: it does not wait any more.
pub(in crate::kernel::socket) fn stop_lingering(ns: &mut NetNs, id: SockId) {
    if let Some(sk) = ns.sockets.tcp.sock_mut(id) {
        sk.opt.linger = None;
    }
}

/// __tcp_close up to where it waits.
fn shut(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) {
    if std::mem::replace(&mut sk.closed, true) {
        return;
    }
    (sk.shut_read, sk.shut_write) = (true, true);
    if sk.state == State::Listen {
        sk.state = State::Close;
        return listen::stop(ns, cx, sk);
    }
    let copied = sk.copied_seq;
    let unread = sk.queue.drain(..).any(|skb| after(skb.end_seq.wrapping_sub(u32::from(skb.fin)), copied));
    sk.rmem = 0;
    match sk.state {
        State::Close => {}
        _ if unread => {
            transmit::send_active_reset(ns, cx, sk);
            rx::write_queue_purge(sk);
            rx::done(ns, cx, sk);
        }
        _ if sk.opt.linger == Some(0) => disconnect(ns, cx, sk),
        _ => {
            if close_state(sk) {
                tx::queue_fin(sk);
                push_then_release(sk);
            } else if sk.state == State::Close {
                rx::write_queue_purge(sk);
                rx::done(ns, cx, sk);
            }
        }
    }
}

/// close(2) of what a process had when it ended.
pub(in crate::kernel::socket) fn close_orphan(ns: &mut NetNs, cx: &mut Cx<'_>, id: SockId) {
    let Some(mut sk) = ns.sockets.tcp.take(id) else { return };
    shut(ns, cx, &mut sk);
    orphan(&mut sk);
    // Nobody is there to be scheduled in between: what it sends is received afterwards.
    while let Some(Work::Push { nagle, then }) = sk.work.take() {
        while tx::push_one_frame(ns, cx, &mut sk, nagle, 0) == Pushed::Sent {}
        sk.work = Some(*then);
    }
    sk.work = None;
    sk.owned = false;
    ns.sockets.tcp.give_back(sk);
}

fn peer(sk: &Sock) -> Result<Ret, Errno> {
    if sk.state.is_synchronized() {
        Ok(Ret::Addr(SocketAddrV4::new(sk.ip.daddr, sk.dport)))
    } else {
        Err(Errno::ENOTCONN)
    }
}

/// do_tcp_setsockopt and sk_setsockopt
#[cold]
fn set_option(ns: &mut NetNs, cx: &mut Cx<'_>, who: Current, sk: &mut Sock, opt: SockOpt) -> Result<(), Errno> {
    match opt {
        SockOpt::Ttl(0) => return Err(Errno::EINVAL),
        SockOpt::Ttl(ttl) => sk.opt.ttl = Some(ttl),
        SockOpt::Tos(tos) => sk.opt.tos = tos & !3,
        SockOpt::MtuDiscover(pmtu) => sk.opt.pmtu = pmtu,
        SockOpt::RecvErr(on) => sk.opt.recv_err = on,
        SockOpt::ReuseAddr(on) => sk.opt.reuse = on,
        SockOpt::Linger(time) => sk.opt.linger = time,
        SockOpt::BindToDevice(dev) => {
            ns.dev(dev).ok_or(Errno::ENODEV)?;
            sk.dev = Some(dev);
        }
        SockOpt::RecvBuf(bytes) => {
            sk.rcvbuf = (u64::from(bytes).min(RMEM_MAX) * 2).max(SOCK_MIN_RCVBUF);
            sk.opt.rcvbuf_locked = true;
        }
        SockOpt::SendBuf(bytes) => {
            sk.sndbuf = (u64::from(bytes).min(WMEM_MAX) * 2).max(SOCK_MIN_SNDBUF);
            sk.opt.sndbuf_locked = true;
        }
        SockOpt::NoDelay(on) => {
            sk.opt.nodelay = on;
            if on {
                flush(sk, Nagle::Off);
            }
        }
        SockOpt::Cork(on) => {
            sk.opt.cork = on;
            if !on {
                flush(sk, Nagle::Options);
            }
        }
        SockOpt::KeepAlive(on) => {
            sk.opt.keepalive = on;
            if on && !matches!(sk.state, State::Close | State::Listen | State::SynSent) {
                let after = timer::keepalive_time(ns, sk);
                timer::reset_keepalive(ns, cx, sk, after);
            }
        }
        SockOpt::KeepIdle(s) if (1..=MAX_KEEP_S).contains(&s) => {
            sk.opt.keepidle_s = Some(s);
            if sk.opt.keepalive && sk.state.is_synchronized() {
                let after = timer::keepalive_time(ns, sk);
                timer::reset_keepalive(ns, cx, sk, after);
            }
        }
        SockOpt::KeepInterval(s) if (1..=MAX_KEEP_S).contains(&s) => sk.opt.keepintvl_s = Some(s),
        SockOpt::KeepCount(n) if (1..=MAX_KEEPCNT).contains(&n) => sk.opt.keepcnt = Some(n),
        SockOpt::MaxSeg(mss) if mss == 0 || (88..=32_767).contains(&mss) => sk.opt.mss = mss,
        SockOpt::UserTimeout(ms) => sk.opt.user_timeout_ms = ms,
        SockOpt::QuickAck(on) => quick_ack(ns, cx, sk, on),
        SockOpt::KeepIdle(_) | SockOpt::KeepInterval(_) | SockOpt::KeepCount(_) | SockOpt::MaxSeg(_) => {
            return Err(Errno::EINVAL);
        }
        SockOpt::RecvTimeout(_) | SockOpt::NonBlock(_) | SockOpt::Broadcast(_) | SockOpt::DontRoute(_) => {}
        SockOpt::Mark(_) | SockOpt::Transparent(true) if !who.cred.capable() => return Err(Errno::EPERM),
        SockOpt::Mark(mark) => sk.opt.mark = mark,
        SockOpt::Transparent(on) => sk.opt.transparent = on,
        SockOpt::IcmpFilter(_) | SockOpt::EchoFilter(_) => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

/// tcp_push_pending_frames of setsockopt(2)
fn flush(sk: &mut Sock, nagle: Nagle) {
    if !sk.wq.is_empty() {
        sk.work = Some(Work::Push { nagle, then: Box::new(Work::Release) });
    }
}

/// __tcp_sock_set_quickack
fn quick_ack(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, on: bool) {
    if !on {
        sk.ack.pingpong = ns.sockets.tcp.sysctl.pingpong_thresh as u8;
        return;
    }
    sk.ack.pingpong = 0;
    if sk.state.may_send() && sk.ack.scheduled {
        sk.ack.pushed = true;
        data::cleanup_rbuf(ns, cx, sk, 1);
    }
}

/// ip_recv_error: the socket's error is that of the next one, if there is any.
fn recv_error(sk: &mut Sock) -> Result<Ret, Errno> {
    let error = sk.errors.pop_front().ok_or(Errno::EAGAIN)?;
    sk.err = sk.errors.front().map(|e| e.errno);
    Ok(Ret::Error(error))
}

/// tcp_poll
pub(in crate::kernel::socket) fn poll(ns: &mut NetNs, id: SockId, asked: PollFd) -> Ready {
    let Some(sk) = ns.sockets.tcp.sock_mut(id) else {
        return Ready { error: true, hangup: true, ..Ready::default() };
    };
    let error = sk.err.is_some() || !sk.errors.is_empty();
    if let Some(listen) = sk.listen.as_deref() {
        return Ready { read: asked.read && !listen.queue.is_empty(), error, ..Ready::default() };
    }
    let hangup = sk.shut_read && sk.shut_write || sk.state == State::Close;
    let (mut read, mut write) = (sk.shut_read, false);
    if !matches!(sk.state, State::SynSent) {
        let unread = sk.queue.front().is_some_and(|skb| skb.seq.wrapping_add(skb.data.len() as u32) != sk.copied_seq)
            || sk.queue.len() > 1;
        read |= unread;
        if asked.write {
            write = sk.shut_write || sk.state == State::Close || sk.stream_wspace() >= sk.wmem >> 1;
            sk.nospace |= !write;
        }
    }
    Ready { read: asked.read && read, write: asked.write && write, error, hangup }
}
