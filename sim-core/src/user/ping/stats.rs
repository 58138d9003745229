//! What ping counts, and the block that it prints at the end.

use crate::base::Time;
use crate::base::time::{MS, US};
use std::fmt::Write;

/// Sequence numbers have 16 bits.
const SEQUENCES: usize = 1 << 16;

/// The counters of one run.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    pub transmitted: u64,
    /// Replies, without duplicates.
    pub received: u64,
    pub repeats: u64,
    pub errors: u64,
    /// The last sequence number that anything was heard of.
    acked: u16,
    /// As many requests were in flight at once.
    pipe: u32,
    /// Microseconds: the sum of all round trips, of their squares, the extremes.
    sum: u64,
    sum2: u128,
    min: i64,
    pub max: u64,
    /// Eight times the moving average of the round trips, in microseconds.
    ewma: i64,
    /// A bit for each sequence number: answered.
    answered: Vec<u64>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Stats {
            transmitted: 0,
            received: 0,
            repeats: 0,
            errors: 0,
            acked: 0,
            pipe: 0,
            sum: 0,
            sum2: 0,
            min: i64::MAX,
            max: 0,
            ewma: 0,
            answered: vec![0; SEQUENCES / 64],
        }
    }

    /// The sequence number of the next request.
    pub(super) fn next_seq(&self) -> u16 {
        (self.transmitted as u16).wrapping_add(1)
    }

    /// The sequence number of the last request.
    pub(super) fn last_seq(&self) -> u16 {
        self.transmitted as u16
    }

    /// Forgets what was heard of `seq` when the numbers came round.
    pub(super) fn forget(&mut self, seq: u16) {
        self.answered[usize::from(seq) / 64] &= !(1 << (seq % 64));
    }

    pub(super) fn is_answered(&self, seq: u16) -> bool {
        self.answered[usize::from(seq) / 64] & 1 << (seq % 64) != 0
    }

    /// A request is out, or was given up.
    pub(super) fn advance(&mut self) {
        self.transmitted += 1;
        if self.last_seq().wrapping_sub(self.acked) > 0x7fff {
            self.acked = self.last_seq().wrapping_add(1);
        }
    }

    /// Something was heard of request `seq`.
    pub(super) fn acknowledge(&mut self, seq: u16) {
        let ago = self.last_seq().wrapping_sub(seq);
        if ago > 0x7fff {
            return;
        }
        self.pipe = self.pipe.max(u32::from(ago) + 1);
        let newer = (seq.wrapping_sub(self.acked) as i16) > 0;
        if newer || self.last_seq().wrapping_sub(self.acked) > 0x7fff {
            self.acked = seq;
        }
    }

    /// Requests that nothing was heard of.
    pub(super) fn in_flight(&self) -> i64 {
        let diff = self.last_seq().wrapping_sub(self.acked);
        if diff <= 0x7fff {
            return i64::from(diff);
        }
        self.transmitted as i64 - self.received as i64 - self.errors as i64
    }

    /// A round trip took `us` microseconds, at most [`super::wire::MAX_TRIP_US`].
    pub(super) fn round_trip(&mut self, us: u64) {
        self.sum = self.sum.saturating_add(us);
        self.sum2 = self.sum2.saturating_add(u128::from(us) * u128::from(us));
        let signed = us as i64;
        self.min = self.min.min(signed);
        self.max = self.max.max(us);
        self.ewma = if self.ewma == 0 { signed * 8 } else { self.ewma + (signed - self.ewma / 8) };
    }

    /// A reply to `seq` came; whether it is another one.
    pub(super) fn reply(&mut self, seq: u16) -> bool {
        let again = self.is_answered(seq);
        if again {
            self.repeats += 1;
        } else {
            self.received += 1;
            self.answered[usize::from(seq) / 64] |= 1 << (seq % 64);
        }
        again
    }

    /// The block behind the replies. `timing`: the requests carried time stamps; `spaced`: they were sent at an
    /// interval; `started` and `last`: when the program was ready, and when the last request was due.
    pub(super) fn summary(&self, host: &str, timing: bool, spaced: bool, started: Time, last: Time) -> String {
        let mut out = format!("\n--- {host} ping statistics ---\n");
        let _ = write!(out, "{} packets transmitted, {} received", self.transmitted, self.received);
        if self.repeats > 0 {
            let _ = write!(out, ", +{} duplicates", self.repeats);
        }
        if self.errors > 0 {
            let _ = write!(out, ", +{} errors", self.errors);
        }
        let took = last - started;
        if self.transmitted > 0 {
            let lost = (self.transmitted as f64 - self.received as f64) * 100.0 / self.transmitted as f64;
            let ms = (took + MS / 2) / MS;
            let _ = write!(out, ", {}% packet loss, time {ms}ms", general(f64::from(lost as f32)));
        }
        out.push('\n');
        let mut parts = Vec::new();
        if self.received > 0 && timing {
            let [min, avg, max, mdev] = self.round_trips().map(millis);
            parts.push(format!("rtt min/avg/max/mdev = {min}/{avg}/{max}/{mdev} ms"));
        }
        if self.pipe > 1 {
            parts.push(format!("pipe {}", self.pipe));
        }
        if self.received > 0 && !spaced && self.transmitted > 1 {
            let gap = took / US / (self.transmitted - 1);
            parts.push(format!("ipg/ewma {}/{} ms", millis(gap as i64), millis(self.ewma / 8)));
        }
        out.push_str(&parts.join(", "));
        out.push('\n');
        out
    }

    /// min, avg, max, mdev in microseconds.
    fn round_trips(&self) -> [i64; 4] {
        let total = u128::from(self.received + self.repeats);
        let sum = u128::from(self.sum);
        let avg = sum / total;
        let variance = if self.sum < i32::MAX as u64 {
            (self.sum2 * total).saturating_sub(sum * sum) / (total * total)
        } else {
            (self.sum2 / total).saturating_sub(avg * avg)
        };
        [self.min, avg as i64, self.max as i64, root(variance) as i64]
    }
}

/// The integer root as ping finds it, by Newton's method from above: of n² - 1 it may be n.
fn root(of: u128) -> u128 {
    let (mut before, mut x) = (u128::MAX, of);
    while x > 0 && x < before {
        before = x;
        x = (x + of / x) / 2;
    }
    x
}

/// Microseconds as milliseconds with three decimals.
fn millis(us: i64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

/// printf's %g: six significant digits without trailing zeros.
fn general(value: f64) -> String {
    let scientific = format!("{value:.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => s.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        return trimmed(&format!("{value:.*}", (5 - exponent).unsigned_abs() as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.unsigned_abs())
}

/// A round trip as the reply's line shows it: the longer, the fewer decimals.
pub(super) fn round_trip_text(us: u64) -> String {
    match us {
        99_950.. => format!("{} ms", (us + 500) / 1000),
        9_995.. => format!("{}.{} ms", (us + 50) / 1000, (us + 50) % 1000 / 100),
        1_000.. => format!("{}.{:02} ms", (us + 5) / 1000, (us + 5) % 1000 / 10),
        _ => format!("0.{us:03} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mdev of real runs.
    #[test]
    fn deviation_as_the_real_program_rounds_it() {
        let cases: [(&[u64], &str); 5] = [
            (&[9, 6, 5], "0.005/0.006/0.009/0.001"),
            (&[11, 7, 7], "0.007/0.008/0.011/0.002"),
            (&[100_707, 30_576], "30.576/65.641/100.707/35.065"),
            (&[120, 190, 164, 183], "0.120/0.164/0.190/0.027"),
            (&[376, 144], "0.144/0.260/0.376/0.116"),
        ];
        for (trips, want) in cases {
            let mut s = Stats::new();
            for (seq, us) in trips.iter().enumerate() {
                s.advance();
                s.round_trip(*us);
                s.reply(seq as u16);
            }
            let text = s.summary("h", true, true, Time(0), Time(0));
            assert!(text.contains(&format!("rtt min/avg/max/mdev = {want} ms\n")), "{trips:?}: {text}");
        }
    }

    #[test]
    fn roots() {
        for (of, want) in [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (8, 3), (9, 3), (99, 10)] {
            assert_eq!(root(of), want, "{of}");
        }
    }

    #[test]
    fn percentages() {
        for (value, want) in [
            (0.0, "0"),
            (100.0, "100"),
            (100.0 / 6.0, "16.6667"),
            (100.0 / 3.0, "33.3333"),
            (-100.0 / 11.0, "-9.09091"),
            (0.5, "0.5"),
            (99.9999, "99.9999"),
            (99.99999, "100"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (-1_000_000.0, "-1e+06"),
        ] {
            assert_eq!(general(value), want, "{value}");
        }
    }

    #[test]
    fn round_trips_get_shorter() {
        for (us, want) in [
            (0, "0.000 ms"),
            (228, "0.228 ms"),
            (999, "0.999 ms"),
            (1_000, "1.00 ms"),
            (1_994, "1.99 ms"),
            (9_994, "9.99 ms"),
            (9_995, "10.0 ms"),
            (30_576, "30.6 ms"),
            (99_949, "99.9 ms"),
            (99_950, "100 ms"),
            (1_000_732, "1001 ms"),
        ] {
            assert_eq!(round_trip_text(us), want);
        }
    }

    #[test]
    fn flight_across_the_end_of_the_numbers() {
        let mut s = Stats::new();
        for _ in 0..70_000 {
            s.advance();
        }
        assert_eq!(s.last_seq(), 4464);
        s.acknowledge(4463);
        assert_eq!(s.in_flight(), 1);
        // A number that was never sent counts as nothing.
        s.acknowledge(5000);
        assert_eq!(s.in_flight(), 1);
        s.acknowledge(4464);
        s.acknowledge(4460);
        assert_eq!((s.in_flight(), s.pipe), (0, 5));
    }
}
