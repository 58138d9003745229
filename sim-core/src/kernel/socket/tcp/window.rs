//! Mirrors the receive window of net/ipv4/tcp_input.c and net/ipv4/tcp_output.c: how much the peer may send, and how it
//! grows. Read RFC 9293 section 3.8.6 before editing.

use super::linux_4_18;
use super::options::TCP_MAX_WSCALE;
use super::sock::{RxSkb, Sock, TCP_INIT_CWND, TCP_MIN_MSS, TCP_MSS_DEFAULT, now_us};
use super::sysctl::TcpSysctl;
use crate::kernel::cx::Cx;
use crate::kernel::frame::TCP_HEAD_TRUESIZE;
use crate::kernel::netns::NetNs;
use crate::kernel::profile::Profile;

/// TCP_RMEM_TO_WIN_SCALE
const TCP_RMEM_TO_WIN_SCALE: u32 = 8;
/// net.core.rmem_max
const RMEM_MAX: u64 = 4 << 20;
/// SOCK_MIN_RCVBUF
const SOCK_MIN_RCVBUF: u64 = 2048 + 256;

/// What is offered at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initial {
    pub rcv_wnd: u32,
    pub window_clamp: u32,
    pub rcv_wscale: u8,
}

/// tcp_select_initial_window, for a buffer that holds `space` bytes of payload and segments of `mss`.
pub(super) fn select_initial(sysctl: &TcpSysctl, space: u32, mss: u32, clamp: u32, wscale_ok: bool) -> Initial {
    let clamp = if clamp == 0 { 65_535 << TCP_MAX_WSCALE } else { clamp };
    let mut space = space.min(clamp);
    if space > mss {
        space -= space % mss.max(1);
    }
    let rcv_wnd = match sysctl.profile {
        Profile::Linux618 => space.min(65_535),
        Profile::Linux418 => space.min(linux_4_18::initial_window(mss)),
    };
    let mut rcv_wscale = 0;
    if wscale_ok {
        let most = u64::from(space).max(sysctl.rmem[2] as u64).max(RMEM_MAX).min(u64::from(clamp));
        rcv_wscale = (most.max(1).ilog2()).saturating_sub(15).min(u32::from(TCP_MAX_WSCALE)) as u8;
    }
    Initial { rcv_wnd, window_clamp: clamp.min(65_535 << rcv_wscale), rcv_wscale }
}

impl Sock {
    /// tcp_win_from_space: the payload that fits so many bytes of memory.
    pub(super) fn win_from_space(&self, space: u64) -> u32 {
        ((space * self.scaling_ratio) >> TCP_RMEM_TO_WIN_SCALE).min(u64::from(i32::MAX as u32)) as u32
    }

    /// tcp_space_from_win
    fn space_from_win(&self, win: u64) -> u64 {
        (win << TCP_RMEM_TO_WIN_SCALE) / self.scaling_ratio.max(1)
    }

    /// tcp_full_space
    pub(super) fn full_space(&self) -> u32 {
        self.win_from_space(self.rcvbuf)
    }

    /// tcp_space: what fits beside what is queued and what waits for the socket.
    pub(super) fn space(&self) -> u32 {
        self.win_from_space(self.rcvbuf.saturating_sub(self.rmem + self.backlog_len))
    }

    /// tcp_receive_window: what the peer may still send of what it was offered.
    pub(super) fn receive_window(&self) -> u32 {
        let left = self.rcv_wup.wrapping_add(self.rcv_wnd).wrapping_sub(self.rcv_nxt);
        if (left as i32) < 0 { 0 } else { left }
    }

    /// tcp_initialize_rcv_mss
    pub(super) fn initialize_rcv_mss(&mut self) {
        let hint = self.advmss.min(self.mss_cache).min(self.rcv_wnd / 2).min(TCP_MSS_DEFAULT);
        self.ack.rcv_mss = hint.max(TCP_MIN_MSS);
    }

    /// tcp_init_buffer_space: the connection is set up.
    pub(super) fn init_buffer_space(&mut self, ns: &NetNs, cx: &Cx<'_>) {
        if !self.opt.sndbuf_locked {
            self.expand_sndbuf(ns);
        }
        self.rcvq_time_us = now_us(cx);
        self.rcvq_seq = self.copied_seq;
        if self.profile == Profile::Linux418 {
            linux_4_18::init_buffer_space(&ns.sockets.tcp.sysctl, self);
        }
        let most = self.full_space();
        self.window_clamp = self.window_clamp.min(most);
        // One segment is kept free.
        if self.window_clamp > 2 * self.advmss && self.window_clamp + self.advmss > most {
            self.window_clamp = (2 * self.advmss).max(most.saturating_sub(self.advmss));
        }
        self.rcv_ssthresh = self.rcv_ssthresh.min(self.window_clamp);
        self.snd_cwnd_stamp = cx.jiffies();
        if self.profile == Profile::Linux618 {
            self.rcvq_space = self.rcv_ssthresh.min(self.rcv_wnd).min(TCP_INIT_CWND * self.advmss);
        }
    }

    /// tcp_sndbuf_expand: room for twice what may be in flight.
    pub(super) fn expand_sndbuf(&mut self, ns: &NetNs) {
        // MAX_TCP_HEADER, struct skb_shared_info and struct sk_buff.
        let per_mss = u64::from(self.rx_opt.mss_clamp.max(self.mss_cache)) + 256 + 320;
        let per_mss = per_mss.next_power_of_two() + 256;
        let segments = u64::from(TCP_INIT_CWND.max(self.snd_cwnd).max(self.reordering + 1));
        let want = 2 * segments * per_mss;
        if self.sndbuf < want {
            self.sndbuf = want.min(ns.sockets.tcp.sysctl.wmem[2] as u64);
        }
    }

    /// tcp_set_window_clamp
    fn set_window_clamp(&mut self, val: u32) {
        let clamp = val.max((SOCK_MIN_RCVBUF / 2) as u32);
        if clamp < self.window_clamp {
            self.rcv_ssthresh = self.rcv_ssthresh.min(clamp);
        } else if clamp > self.window_clamp {
            self.rcv_ssthresh = self.rcv_ssthresh.max(self.rcv_wnd.min(clamp));
        }
        self.window_clamp = clamp;
    }
}

/// tcp_select_window: the window field of a segment. What was offered is never taken back.
pub(super) fn select(_ns: &NetNs, sk: &mut Sock) -> u16 {
    if sk.ack.nomem {
        (sk.rcv_wnd, sk.rcv_wup) = (0, sk.rcv_nxt);
        return 0;
    }
    let shift = sk.rx_opt.rcv_wscale;
    let current = sk.receive_window();
    let mut new = announce(sk);
    if new < current {
        new = align_up(current, shift);
    }
    sk.rcv_wnd = new;
    sk.rcv_wup = sk.rcv_nxt;
    // tcp_workaround_signed_windows is off.
    (new.min(65_535 << shift) >> shift) as u16
}

fn align_up(value: u32, shift: u8) -> u32 {
    value.saturating_add((1 << shift) - 1) >> shift << shift
}

/// __tcp_select_window: what could be offered now (RFC 9293 section 3.8.6.2.2).
pub(super) fn announce(sk: &mut Sock) -> u32 {
    let mut free = sk.space();
    let allowed = sk.full_space();
    let full = sk.window_clamp.min(allowed);
    let mss = sk.ack.rcv_mss.min(full);
    if mss == 0 {
        return 0;
    }
    let shift = sk.rx_opt.rcv_wscale;
    if free < full >> 1 {
        sk.ack.quick = 0;
        free = free >> shift << shift;
        if free < allowed >> 4 || free < mss {
            return 0;
        }
    }
    free = free.min(sk.rcv_ssthresh);
    if shift != 0 {
        return align_up(free, shift);
    }
    let window = sk.rcv_wnd;
    if window.saturating_add(mss) <= free || window > free {
        free - free % mss
    } else if mss == full && free > window + (full >> 1) {
        free
    } else {
        window
    }
}

/// tcp_measure_rcv_mss: what the peer's segments tell about its MSS, and how much memory a byte of it costs.
pub(super) fn measure_rcv_mss(sk: &mut Sock, skb: &RxSkb, gso_size: u32, header_len: u32, push: bool) {
    let last = std::mem::take(&mut sk.ack.last_seg_size);
    let total = skb.data.len() as u32;
    let mut len = if gso_size > 0 { gso_size } else { total };
    if len >= sk.ack.rcv_mss {
        // Until Linux 6.6 half of the memory was for payload, whatever came (tcp_adv_win_scale).
        if len != sk.ack.rcv_mss && sk.profile == Profile::Linux618 {
            let ratio = (u64::from(total) << TCP_RMEM_TO_WIN_SCALE) / u64::from(skb.truesize.max(1));
            let ratio = ratio.max(1);
            let old = std::mem::replace(&mut sk.scaling_ratio, ratio);
            if old != ratio {
                let most = sk.win_from_space(sk.rcvbuf);
                sk.set_window_clamp(most);
                sk.rcvq_space = sk.rcvq_space.min(sk.window_clamp);
            }
        }
        sk.ack.rcv_mss = len.min(sk.advmss);
        // With PSH it is likely the end of what the program wrote.
        sk.ack.pushed |= push;
        return;
    }
    len += header_len;
    let full_sized = len >= TCP_MIN_MSS + 20 && !push && !skb.fin;
    if len >= TCP_MSS_DEFAULT + 20 || full_sized {
        len -= sk.header_len;
        sk.ack.last_seg_size = len;
        if len == last {
            sk.ack.rcv_mss = len;
            return;
        }
    }
    if sk.ack.pushed {
        sk.ack.pushed2 = true;
    }
    sk.ack.pushed = true;
}

/// tcp_grow_window: segments that use their memory well let more come. `adjust`: their heads do not count, since they
/// go when buffers are put together.
pub(super) fn grow(ns: &NetNs, sk: &mut Sock, skb: &RxSkb, adjust: bool) {
    let len = skb.data.len() as u32;
    let truesize = if adjust { truesize_adjust(sk, skb) } else { skb.truesize };
    let room = i64::from(sk.window_clamp.min(sk.space())) - i64::from(sk.rcv_ssthresh);
    if room <= 0 {
        return;
    }
    let by =
        if sk.win_from_space(u64::from(truesize)) <= len { 2 * sk.advmss } else { grow_slowly(ns, sk, len, truesize) };
    if by > 0 {
        sk.rcv_ssthresh += by.max(2 * len).min(room as u32);
        sk.ack.quick |= 1;
    }
}

/// truesize_adjust, which Linux 5.12 brought.
fn truesize_adjust(sk: &Sock, skb: &RxSkb) -> u32 {
    let len = skb.data.len() as u32;
    if sk.profile == Profile::Linux418 || (skb.layout.frags == 0 && len > 0) {
        return skb.truesize;
    }
    let without = skb.truesize.saturating_sub(TCP_HEAD_TRUESIZE);
    if without < len { skb.truesize } else { without }
}

/// __tcp_grow_window
fn grow_slowly(ns: &NetNs, sk: &Sock, len: u32, truesize: u32) -> u32 {
    let mut truesize = sk.win_from_space(u64::from(truesize)) >> 1;
    let mut window = sk.win_from_space(ns.sockets.tcp.sysctl.rmem[2] as u64) >> 1;
    while sk.rcv_ssthresh <= window {
        if truesize <= len {
            return 2 * sk.ack.rcv_mss;
        }
        truesize >>= 1;
        window >>= 1;
    }
    0
}

/// tcp_rcv_space_adjust: the program has read; if it reads more in a round trip than before, the buffer grows.
pub(super) fn space_adjust(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock) {
    let now = now_us(cx);
    let elapsed = now.saturating_sub(sk.rcvq_time_us);
    if elapsed < sk.rcv_rtt_us >> 3 || sk.rcv_rtt_us == 0 {
        return;
    }
    // What was received and read since.
    let inq = match sk.profile {
        Profile::Linux618 => sk.rcv_nxt.wrapping_sub(sk.copied_seq),
        Profile::Linux418 => 0,
    };
    let copied = sk.copied_seq.wrapping_sub(sk.rcvq_seq).saturating_sub(inq);
    if copied > sk.rcvq_space {
        rcvbuf_grow(ns, sk, copied);
    }
    sk.rcvq_seq = sk.copied_seq;
    sk.rcvq_time_us = now;
}

/// tcp_rcvbuf_grow
fn rcvbuf_grow(ns: &NetNs, sk: &mut Sock, newval: u32) {
    let oldval = u64::from(std::mem::replace(&mut sk.rcvq_space, newval));
    let sysctl = &ns.sockets.tcp.sysctl;
    if sysctl.moderate_rcvbuf == 0 || sk.opt.rcvbuf_locked {
        return;
    }
    if sk.profile == Profile::Linux418 {
        let rcvbuf = linux_4_18::rcvbuf(sk, newval, oldval as u32).min(sysctl.rmem[2] as u64);
        return follow(sk, rcvbuf);
    }
    // Slow start doubles in a round trip.
    let mut rcvwin = u64::from(newval) << 1;
    let grow = rcvwin * (u64::from(newval) - oldval.min(u64::from(newval)));
    rcvwin += (grow / oldval.max(1)) << 1;
    if let Some(last) = sk.ofo.back() {
        rcvwin += u64::from(last.end_seq.wrapping_sub(sk.rcv_nxt));
    }
    let rcvbuf = sk.space_from_win(rcvwin).min(sysctl.rmem[2] as u64);
    follow(sk, rcvbuf);
}

/// The buffer grows, and what may be offered with it.
fn follow(sk: &mut Sock, rcvbuf: u64) {
    if rcvbuf > sk.rcvbuf {
        sk.rcvbuf = rcvbuf;
        sk.window_clamp = sk.win_from_space(rcvbuf);
    }
}

/// tcp_clamp_window: the queue is too long; the buffer grows if it may, else the window shrinks.
pub(super) fn clamp(ns: &NetNs, sk: &mut Sock) {
    sk.ack.quick = 0;
    let rmem2 = ns.sockets.tcp.sysctl.rmem[2] as u64;
    if sk.rcvbuf < rmem2 && !sk.opt.rcvbuf_locked {
        sk.rcvbuf = sk.rmem.min(rmem2).max(sk.rcvbuf);
    }
    if sk.rmem > sk.rcvbuf {
        sk.rcv_ssthresh = sk.window_clamp.min(2 * sk.advmss);
    }
}

/// tcp_rcv_rtt_measure and its update: the receiver's own estimate, a window's worth of data per round.
pub(super) fn rtt_measure(sk: &mut Sock, now_us: u64) {
    if sk.rcv_rtt_time_us == 0 {
        (sk.rcv_rtt_seq, sk.rcv_rtt_time_us) = (sk.rcv_nxt.wrapping_add(sk.rcv_wnd), now_us);
        return;
    }
    if super::before(sk.rcv_nxt, sk.rcv_rtt_seq) {
        return;
    }
    let delta = (now_us - sk.rcv_rtt_time_us).max(1);
    rtt_update(sk, delta, true);
    (sk.rcv_rtt_seq, sk.rcv_rtt_time_us) = (sk.rcv_nxt.wrapping_add(sk.rcv_wnd), now_us);
}

/// tcp_rcv_rtt_measure_ts: by the timestamp that the peer echoes.
pub(super) fn rtt_measure_ts(sk: &mut Sock, len: u32, now_ms: u32) {
    let (val, ecr) = (sk.rx_opt.saw_tstamp, sk.rx_opt.rcv_tsecr);
    if !val || ecr == 0 || ecr == sk.rcv_rtt_last_tsecr {
        return;
    }
    sk.rcv_rtt_last_tsecr = ecr;
    if len >= sk.ack.rcv_mss {
        let delta = now_ms.wrapping_sub(ecr);
        if delta > 0 && delta < i32::MAX as u32 / 1000 {
            rtt_update(sk, u64::from(delta) * 1000, false);
        }
    }
}

/// tcp_rcv_rtt_update: scaled by eight. `win_dep`: a round was measured by the window, which may be too long.
fn rtt_update(sk: &mut Sock, sample_us: u64, win_dep: bool) {
    let (old, new) = (sk.rcv_rtt_us, sample_us << 3);
    if old == 0 || new < old {
        sk.rcv_rtt_us = new;
    } else if !win_dep && sk.rcv_nxt == sk.copied_seq {
        sk.rcv_rtt_us = old - (old >> 3) + sample_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_facts_9_2() {
        // MTU, SYN's window, SYN-ACK's window; tcp_rmem 4096 131072 6291456.
        let sysctl = TcpSysctl { rmem: [4096, 131_072, 6_291_456], ..TcpSysctl::default() };
        let window = |mss| select_initial(&sysctl, 65_536, mss, 0, true);
        for (mtu, syn, synack) in [
            (1500, 64240, 65160),
            (1480, 64800, 64260),
            (1460, 65320, 64768),
            (1450, 64860, 64308),
            (1440, 64400, 65236),
            (1410, 64390, 65184),
            (1400, 65280, 64704),
            (8951, 62377, 62293),
            (9000, 62720, 62636),
            (65_535, 65_495, 65_483),
        ] {
            assert_eq!(window(mtu - 40).rcv_wnd, syn, "{mtu}");
            assert_eq!(window(mtu - 52).rcv_wnd, synack, "{mtu}");
            assert_eq!(window(mtu - 40).rcv_wscale, 7);
        }
        for (rmem2, want) in [(16_777_216, 9), (33_554_432, 10), (6_291_456, 7)] {
            let sysctl = TcpSysctl { rmem: [4096, 131_072, rmem2], ..TcpSysctl::default() };
            assert_eq!(select_initial(&sysctl, 65_536, 1460, 0, true).rcv_wscale, want);
        }
        assert_eq!(select_initial(&sysctl, 43_690, 1460, 0, true).rcv_wnd, 42_340);
    }
}
