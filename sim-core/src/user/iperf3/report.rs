//! What iperf3 prints about a stream (iperf_locale.c, units.c). The number of the stream is that of its descriptor.

use crate::base::Time;
use crate::engine::process::Console;
use std::net::SocketAddrV4;

/// The number that the stream has in every line: its descriptor in a process without others.
const STREAM: u32 = 5;
/// A last interval shorter than this part of a whole one is not shown if nothing was moved in it.
const SHORTEST: u64 = 10;

/// The lines about one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    started: Time,
    /// The end of the last interval, and the bytes up to there.
    last: (Time, u64),
    interval_ns: u64,
}

impl Report {
    pub(super) fn new(started: Time, interval_ns: u64) -> Self {
        Report { started, last: (started, 0), interval_ns }
    }

    pub(super) fn started(&self) -> Time {
        self.started
    }

    /// When the next line is due.
    pub(super) fn due(&self) -> Option<Time> {
        (self.interval_ns > 0).then(|| self.last.0 + self.interval_ns)
    }

    /// The lines before the first interval.
    pub(super) fn head(local: SocketAddrV4, remote: SocketAddrV4, console: &mut Console) {
        let (here, there) = (local.port(), remote.port());
        console.out(format!(
            "[{STREAM:3}] local {} port {here} connected to {} port {there}\n",
            local.ip(),
            remote.ip()
        ));
        console.out(HEADER);
    }

    /// The interval that has gone by.
    pub(super) fn interval(&mut self, now: Time, bytes: u64, console: &mut Console) {
        let (since, before) = self.last;
        let (took, moved) = (now - since, bytes - before);
        self.last = (now, bytes);
        if moved > 0 || took >= self.interval_ns / SHORTEST {
            console.out(line((since - self.started, now - self.started), moved, ""));
        }
    }

    /// The last lines.
    pub(super) fn summary(sent: Option<(u64, u64)>, received: (u64, u64), console: &mut Console) {
        console.out(format!("{}\n{HEADER}", "- ".repeat(25).trim_end()));
        if let Some((bytes, ns)) = sent {
            console.out(line((0, ns), bytes, "sender"));
        }
        console.out(line((0, received.1), received.0, "receiver"));
    }
}

const HEADER: &str = "[ ID] Interval           Transfer     Bitrate\n";

fn line((from, to): (u64, u64), bytes: u64, who: &str) -> String {
    let bits = u128::from(bytes) * 8 * 1_000_000_000;
    let rate = bits.checked_div(u128::from(to - from)).unwrap_or(0) as u64;
    let from = format!("{:>6}", hundredths(from, 1_000_000_000));
    let to = format!("{:<6}", hundredths(to, 1_000_000_000));
    let (moved, rate) = (units(bytes, 1024, "Bytes"), units(rate, 1000, "bits"));
    format!("[{STREAM:3}] {from}-{to} sec  {moved}  {rate}/sec                  {who}\n")
}

/// unit_snprintf: three digits and the unit that fits.
fn units(number: u64, factor: u64, unit: &str) -> String {
    const PREFIXES: [&str; 5] = ["", "K", "M", "G", "T"];
    let (mut scale, mut prefix) = (1u64, 0);
    while number / scale >= factor && prefix + 1 < PREFIXES.len() {
        (scale, prefix) = (scale * factor, prefix + 1);
    }
    // In thousandths, which tell how many digits there is room for.
    let milli = u128::from(number) * 1000 / u128::from(scale);
    let text = match milli {
        0..9_995 => hundredths(number, scale),
        9_995..99_950 => decimals(number, scale, 10),
        _ => decimals(number, scale, 1),
    };
    format!("{text:>4} {}{unit}", PREFIXES[prefix])
}

fn hundredths(number: u64, scale: u64) -> String {
    decimals(number, scale, 100)
}

/// `number / scale` with the digits that `parts` has behind its one, rounded.
fn decimals(number: u64, scale: u64, parts: u64) -> String {
    let (number, scale, parts) = (u128::from(number), u128::from(scale), u128::from(parts));
    let all = (number * parts + scale / 2) / scale;
    match parts {
        1 => all.to_string(),
        10 => format!("{}.{}", all / 10, all % 10),
        _ => format!("{}.{:02}", all / 100, all % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the real program printed it.
    #[test]
    fn lines() {
        for (from, to, bytes, who, want) in [
            (0, 10_000_000, 262_144, "", "[  5]   0.00-0.01   sec   256 KBytes   210 Mbits/sec                  \n"),
            (
                0,
                1_000_000_000,
                1_481_763_717,
                "receiver",
                "[  5]   0.00-1.00   sec  1.38 GBytes  11.9 Gbits/sec                  receiver\n",
            ),
            (
                1_000_000_000,
                1_001_000_000,
                1_966_080,
                "",
                "[  5]   1.00-1.00   sec  1.88 MBytes  15.7 Gbits/sec                  \n",
            ),
            (
                800_000_000,
                1_000_000_000,
                0,
                "",
                "[  5]   0.80-1.00   sec  0.00 Bytes  0.00 bits/sec                  \n",
            ),
            (
                0,
                1_000_000_000,
                131_072,
                "sender",
                "[  5]   0.00-1.00   sec   128 KBytes  1.05 Mbits/sec                  sender\n",
            ),
        ] {
            assert_eq!(line((from, to), bytes, who), want);
        }
    }
}
