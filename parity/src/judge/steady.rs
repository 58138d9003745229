//! Cases that no two runs show alike, since the kernel draws how long a neighbour counts as reachable: the same kinds
//! of records, and probes within Linux's ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Captures;

use super::canon::{Pattern, pattern};
use super::rows::{Row, rows};
use super::{BadCase, Case};

/// base_reachable_time is 30 s, of which half to one and a half is drawn; delay_first_probe_time is 5 s.
const REACHABLE_S: (f64, f64) = (15.0, 45.0);
const DELAY_S: f64 = 5.0;
/// What the timer wheel and a sender that comes once a second may add to each of the two waits.
const LATE_S: f64 = 4.0;
/// Probes of one round follow each other in a second of the timer wheel; the first of the next round waits for the
/// next packet.
const ROUND_S: (f64, f64) = (0.99, 2.2);

/// The ways in which `got` shows what neither of two runs of the real kernel showed, lacks what both did, or probes
/// its neighbours when Linux would not. Where a link goes down and up again (`disturbed`), a neighbour may be heard of
/// at any time, and is asked for when the delay is over.
#[must_use]
pub fn compare_steady(want: &Case, second: &Case, got: &Case, disturbed: bool) -> Vec<String> {
    let all = [want, second, got].map(|case| rows(case, false));
    let [Ok(want), Ok(second), Ok(got)] = all else {
        let why = |case: Result<Vec<Row>, BadCase>| case.err().map(|bad| bad.to_string());
        return all.into_iter().filter_map(why).collect();
    };
    let mut lines = Vec::new();
    let [want_kinds, second_kinds, got_kinds] = [&want, &second, &got].map(|rows| kinds(rows));
    for kind in got_kinds.iter().filter(|k| !want_kinds.contains(*k) && !second_kinds.contains(*k)) {
        lines.push(format!("never seen: {kind}"));
    }
    for kind in want_kinds.intersection(&second_kinds).filter(|k| !got_kinds.contains(*k)) {
        lines.push(format!("missing: {kind}"));
    }
    lines.extend(probes_out_of_range(&got, disturbed));
    lines
}

/// Each record without what differs from packet to packet.
fn kinds(rows: &[Row]) -> BTreeSet<String> {
    static NUMBERS: Pattern = LazyLock::new(|| pattern(r"\b(id|seq) [0-9]+"));
    let kind = |r: &Row| {
        let text = NUMBERS.replace_all(&r.text, |m: &Captures<'_>| format!("{} N", &m[1]));
        format!("{} {} {} {text}", r.namespace, r.interface, r.direction)
    };
    rows.iter().map(kind).collect()
}

/// Who asks for a neighbour again does so a second after the last probe of the same round, after the delay if the
/// neighbour was stale, or when its time is over: drawn, and the delay.
fn probes_out_of_range(rows: &[Row], disturbed: bool) -> Vec<String> {
    static ASKED: Pattern = LazyLock::new(|| pattern(r"^ARP who-has (\S+) tell (\S+)"));
    let mut last: BTreeMap<(&str, String), f64> = BTreeMap::new();
    let mut lines = Vec::new();
    for r in rows.iter().filter(|r| r.direction == "Out" && is_asker(r)) {
        let Some(m) = ASKED.captures(&r.text) else { continue };
        let key = (r.namespace.as_str(), format!("{} tell {}", &m[1], &m[2]));
        let before = last.insert(key.clone(), r.seconds);
        let Some(gap) = before.map(|before| r.seconds - before) else { continue };
        let round = (ROUND_S.0..=ROUND_S.1).contains(&gap);
        let longest = REACHABLE_S.1 + DELAY_S + 2.0 * LATE_S;
        let stale = (DELAY_S..if disturbed { longest } else { DELAY_S + LATE_S }).contains(&gap);
        let reachable = (REACHABLE_S.0 + DELAY_S..longest).contains(&gap);
        if !round && !stale && !reachable {
            lines.push(format!("{} asks for {} after {gap:.3} s", key.0, key.1));
        }
    }
    lines
}

/// The record was seen where the question was asked, not on a port that it went on by.
fn is_asker(r: &Row) -> bool {
    ["eth0", "cbr0"].contains(&r.interface.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_and_kinds() {
        let case = |lines: &[&str]| Case { order: Some(lines.join("\n")), ..Case::default() };
        let ask = "n eth0 Out ARP who-has 10.0.0.1 tell 10.0.0.2 len 28";
        let at = |seconds: &[f64]| seconds.iter().map(|s| format!("{s:.6} {ask}")).collect::<Vec<_>>().join("\n");
        let one = case(&[&at(&[0.0])]);
        for (seconds, odd) in
            [(&[0.0, 27.5, 52.0][..], 0), (&[0.0, 5.04], 0), (&[0.0, 1.024, 2.048], 0), (&[0.0, 12.0, 80.0], 2)]
        {
            assert_eq!(compare_steady(&one, &one, &case(&[&at(seconds)]), false).len(), odd, "{seconds:?}");
        }
        let ping = case(&["0.000000 n eth0 In IP a > b: ICMP echo request id 7 seq 1 (id 5)"]);
        let other = case(&["0.000000 n eth0 In IP a > b: ICMP echo request id 8 seq 2 (id 6)"]);
        assert_eq!(compare_steady(&ping, &ping, &other, true), Vec::<String>::new());
        assert_eq!(compare_steady(&ping, &ping, &one, false).len(), 2);
        assert_eq!(compare_steady(&ping, &one, &one, false), Vec::<String>::new());
    }
}
