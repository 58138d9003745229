//! `ss -i`: tcp_stats_print of misc/ss.c, as far as the kernel tells.

use super::Query;
use crate::base::time::{MS, US};
use crate::kernel::show::TcpMetrics;
use crate::kernel::timer::TICK_NS;
use std::fmt::Write;

/// What ss does not print of `reordering`: it is what every connection begins with.
const USUAL_REORDERING: u32 = 3;
/// A threshold from which on it says nothing.
const NO_SSTHRESH: u32 = 0xffff;

/// How a connection is doing; `now` is the time in jiffies. Writing to a string does not fail.
pub(super) fn write(out: &mut String, m: &TcpMetrics, now: u64, query: &Query) {
    let options = [(m.timestamps, " ts"), (m.sack, " sack"), (m.ecn, " ecn"), (m.ecn_seen, " ecnseen")];
    out.extend(options.iter().filter(|(has, _)| *has && query.timers).map(|(_, name)| *name));
    let _ = write!(out, " {}", m.congestion);
    if let Some((peer, own)) = m.wscale {
        let _ = write!(out, " wscale:{peer},{own}");
    }
    times(out, m);
    for (name, value) in [
        ("mss", m.mss.into()),
        ("pmtu", m.pmtu.into()),
        ("rcvmss", m.rcv_mss.into()),
        ("advmss", m.advmss.into()),
        ("cwnd", m.cwnd.into()),
        ("ssthresh", if m.ssthresh < NO_SSTHRESH { m.ssthresh.into() } else { 0 }),
        ("bytes_acked", m.bytes_acked),
    ] {
        number(out, name, value);
    }
    if m.rtt_us > 0 {
        let window = u128::from(m.cwnd) * u128::from(m.mss) * 8_000_000;
        let bps = (window + u128::from(m.rtt_us) / 2) / u128::from(m.rtt_us);
        let _ = write!(out, " send {}bps", rate(bps, query.numeric));
    }
    // Of a listening socket they are not told.
    if m.mss > 0 {
        let ago = |at: u64| now.saturating_sub(at) * (TICK_NS / MS);
        number(out, "lastsnd", ago(m.data_sent_at));
        number(out, "lastrcv", ago(m.data_received_at));
        number(out, "lastack", ago(m.ack_received_at));
    }
    number(out, "delivered", m.delivered.into());
    number(out, "unacked", m.unacked.into());
    if m.retrans > 0 || m.total_retrans > 0 {
        let _ = write!(out, " retrans:{}/{}", m.retrans, m.total_retrans);
    }
    number(out, "lost", m.lost.into());
    number(out, "sacked", m.sacked.into());
    if m.reordering != USUAL_REORDERING {
        number(out, "reordering", m.reordering.into());
    }
    number(out, "reord_seen", m.reord_seen.into());
    if m.rcv_rtt_us > 0 {
        let _ = write!(out, " rcv_rtt:{}", ms(m.rcv_rtt_us));
    }
    number(out, "rcv_space", m.rcv_space.into());
    number(out, "rcv_ssthresh", m.rcv_ssthresh.into());
    number(out, "notsent", m.not_sent.into());
    if let Some(least) = m.min_rtt_us.filter(|us| *us > 0) {
        let _ = write!(out, " minrtt:{}", ms(least.into()));
    }
    number(out, "snd_wnd", m.snd_wnd.into());
}

/// Timeouts and round trips.
fn times(out: &mut String, m: &TcpMetrics) {
    let jiffies = |n: u64| ms(n * (TICK_NS / US));
    // Three seconds are taken for a timeout that nothing was measured for.
    if m.rto > 0 && m.rto * (TICK_NS / MS) != 3000 {
        let _ = write!(out, " rto:{}", jiffies(m.rto));
    }
    number(out, "backoff", m.backoff.into());
    if m.rtt_us > 0 {
        let _ = write!(out, " rtt:{}/{}", ms(m.rtt_us.into()), ms(m.rttvar_us.into()));
    }
    if m.ato > 0 {
        let _ = write!(out, " ato:{}", jiffies(m.ato));
    }
}

/// Zero is not printed.
fn number(out: &mut String, name: &str, value: u64) {
    if value > 0 {
        let _ = write!(out, " {name}:{value}");
    }
}

/// Microseconds as milliseconds, as printf(3) writes them with `%g`: six digits in all.
fn ms(us: u64) -> String {
    let digits = us.checked_ilog10().map_or(1, |log| log + 1);
    let unit = 10_u64.pow(digits.saturating_sub(6).min(3));
    let us = (us + unit / 2) / unit * unit;
    let text = format!("{}.{:03}", us / 1000, us % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// sprint_bw
fn rate(bps: u128, numeric: bool) -> String {
    let tenths = |unit: u128| {
        let tenths = (bps * 10 + unit / 2) / unit;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bps {
        _ if numeric => bps.to_string(),
        1_000_001.. => tenths(1_000_000) + "M",
        1001.. => tenths(1000) + "K",
        _ => bps.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_printf_writes_them() {
        for (us, want) in [
            (0, "0"),
            (40, "0.04"),
            (204_000, "204"),
            (999_999, "999.999"),
            (1_234_567, "1234.57"),
            (120_000_000, "120000"),
            (123_456_789, "123457"),
        ] {
            assert_eq!(ms(us), want);
        }
        for (bps, want) in [(999, "999"), (1_000_000, "1000.0K"), (1_158_400_000, "1158.4M")] {
            assert_eq!(rate(bps, false), want);
        }
        assert_eq!(rate(1_158_400_000, true), "1158400000");
    }
}
