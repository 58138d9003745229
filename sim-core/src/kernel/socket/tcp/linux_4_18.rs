//! What TCP did otherwise in Linux 4.18: net/ipv4/tcp_output.c and net/ipv4/tcp_input.c of that version. Where there is
//! something to choose, [`TcpSysctl::profile`] is asked; here is what then follows.

use super::sock::{Sock, TCP_INIT_CWND};
use super::sysctl::TcpSysctl;
use crate::kernel::profile::Profile;

/// net.core.somaxconn
pub(super) const SOMAXCONN: u32 = 128;
/// The MSS for which tcp_default_init_rwnd offers its twenty segments.
const INIT_RWND_MSS: u32 = 1460;
/// SKB_TRUESIZE of nothing: struct sk_buff and struct skb_shared_info; and MAX_TCP_HEADER.
const SKB_OVERHEAD: u32 = 256 + 320;
const MAX_TCP_HEADER: u32 = 320;

/// What later versions brought: net.ipv4.tcp_NAME.
const LATER: [&str; 6] =
    ["backlog_ack_defer", "min_snd_mss", "pingpong_thresh", "rto_max_ms", "rto_min_us", "syn_linear_timeouts"];

/// net.ipv4.tcp_NAME does not exist yet.
pub(super) fn lacks(name: &str) -> bool {
    LATER.contains(&name)
}

/// tcp_sk_init, tcp_init
pub(super) fn sysctl() -> TcpSysctl {
    TcpSysctl {
        profile: Profile::Linux418,
        backlog_ack_defer: 0,
        challenge_ack_limit: 1000,
        limit_output_bytes: 262_144,
        syn_linear_timeouts: 0,
        tw_reuse: 0,
        rmem: [4096, 87_380, 6 << 20],
        ..TcpSysctl::default()
    }
}

/// tcp_default_init_rwnd: as many segments of `mss` the first window has.
fn init_rwnd(mss: u32) -> u32 {
    let twenty = TCP_INIT_CWND * 2;
    if mss > INIT_RWND_MSS { (INIT_RWND_MSS * twenty / mss).max(2) } else { twenty }
}

/// The end of tcp_select_initial_window: the most that is offered at first.
pub(super) fn initial_window(mss: u32) -> u32 {
    init_rwnd(mss) * mss
}

/// tcp_fixup_rcvbuf, and tcp_init_buffer_space up to the reserve of one segment.
pub(super) fn init_buffer_space(sysctl: &TcpSysctl, sk: &mut Sock) {
    if !sk.opt.rcvbuf_locked {
        let least = 2 * (sk.advmss + MAX_TCP_HEADER + SKB_OVERHEAD) * init_rwnd(sk.advmss);
        let least = u64::from(if sysctl.moderate_rcvbuf != 0 { least << 2 } else { least });
        sk.rcvbuf = sk.rcvbuf.max(least.min(sysctl.rmem[2] as u64));
    }
    sk.rcvq_space = sk.rcv_wnd;
    let most = sk.full_space();
    if sk.window_clamp >= most {
        // net.ipv4.tcp_app_win is 31: next to nothing is kept for the program.
        sk.window_clamp = if most > 4 * sk.advmss { most.max(4 * sk.advmss) } else { most };
    }
}

/// The middle of tcp_rcv_space_adjust: the buffer for a program that reads `copied` bytes in a round trip, where it
/// read `before` in the one before.
pub(super) fn rcvbuf(sk: &Sock, copied: u32, before: u32) -> u64 {
    let mut rcvwin = (u64::from(copied) << 1) + 16 * u64::from(sk.advmss);
    let grow = rcvwin * u64::from(copied.saturating_sub(before)) / u64::from(before.max(1));
    rcvwin += grow << 1;
    let mut rcvmem = sk.advmss + MAX_TCP_HEADER + SKB_OVERHEAD;
    while sk.win_from_space(u64::from(rcvmem)) < sk.advmss {
        rcvmem += 128;
    }
    rcvwin / u64::from(sk.advmss.max(1)) * u64::from(rcvmem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::errno::Errno;
    use crate::kernel::socket::tcp::window::select_initial;

    #[test]
    fn twenty_segments() {
        let sysctl = TcpSysctl { rmem: [4096, 87_380, 16 << 20], ..sysctl() };
        // MTU, the SYN's window, the SYN-ACK's: Ethernet, IPIP (article 003), jumbo frames, the loopback.
        for (mtu, syn, synack) in
            [(1500, 29_200, 28_960), (1480, 28_800, 28_560), (9000, 26_880, 26_844), (65_535, 43_690, 43_690)]
        {
            let window = |mss| select_initial(&sysctl, 43_690, mss, 0, true);
            assert_eq!(window(mtu - 40).rcv_wnd, syn, "{mtu}");
            assert_eq!(window(mtu - 52).rcv_wnd, synack, "{mtu}");
            assert_eq!(window(mtu - 40).rcv_wscale, 9);
        }
    }

    #[test]
    fn settings_that_came_later() {
        let mut old = sysctl();
        assert_eq!(old.set("syn_linear_timeouts", "4"), Err(Errno::ENOENT));
        assert_eq!(old.get("rto_min_us"), None);
        assert_eq!(old.get("rmem").as_deref(), Some("4096\t87380\t6291456"));
        assert_eq!(TcpSysctl::default().set("syn_linear_timeouts", "4"), Ok(()));
    }

    #[test]
    fn the_buffer_is_sized_for_the_first_window() {
        // 2 * (1428 + 320 + 576) * 20, four times that for a buffer that grows.
        let mut sk = Sock { advmss: 1428, rcv_wnd: 28_560, rcvbuf: 87_380, scaling_ratio: 128, ..Sock::default() };
        sk.window_clamp = u32::MAX;
        init_buffer_space(&sysctl(), &mut sk);
        assert_eq!((sk.rcvbuf, sk.rcvq_space, sk.window_clamp), (371_840, 28_560, 185_920));
        // A program that reads 60,000 bytes a round trip: (2 * 60,000 + 16 * 1428) / 1428 segments, and as many again
        // for each time that it has grown.
        assert_eq!(rcvbuf(&sk, 60_000, 60_000), 100 * 2_964);
    }
}
