//! Whether podhop and the real kernel show the same.

use crate::judge::{self, Options};
use crate::{Heard, Seen};
use regex::{Captures, Regex};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// Node ports are nobody's to draw (kube-apiserver's --service-node-port-range).
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// A program starts so much later where others want the processor, too.
pub const START: Duration = Duration::from_millis(400);

/// What is compared besides records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compare {
    /// The gaps between records: the kernel's timers, but for what a machine with much to do adds to them
    /// ([`START`]).
    pub times: bool,
    /// How the commands and scripts of `traffic:` end, and what they print.
    pub commands: bool,
    /// When neighbours are asked is free: [`judge::Options::neighbours_at_any_time`].
    pub neighbours_at_any_time: bool,
    /// What stands in the namespaces in the end: routes, neighbours, FDB, connections, rules with their counters.
    pub state: bool,
}

impl Compare {
    /// All but times.
    pub const ALL: Compare = Compare { times: false, commands: true, state: true, neighbours_at_any_time: false };
}

/// Where the real kernel shows something else; empty if it does not.
#[must_use]
pub fn differences(real: &Seen, ours: &Seen, compare: Compare) -> Vec<String> {
    let mut all = judge::compare(&real.case, None, &ours.case, &options(compare));
    if compare.commands {
        all.extend(heard(&real.commands, &ours.commands));
    }
    if compare.state {
        all.extend(heard(&real.state, &ours.state));
    }
    all
}

/// Both sides in full, for somebody who looks for the cause of a difference.
#[must_use]
pub fn explain(real: &Seen, ours: &Seen, compare: Compare) -> String {
    let text = |seen: &Seen| {
        let said = seen.commands.iter().map(|h| format!("[{}] {}\n{}", h.from, h.command, h.output));
        said.collect::<String>() + &judge::canon(&seen.case, &options(compare))
    };
    format!("real:\n{}\nours:\n{}", text(real), text(ours))
}

pub(crate) fn options(compare: Compare) -> Options {
    Options {
        neighbours_at_any_time: compare.neighbours_at_any_time,
        times: compare.times,
        slack: START,
        sacks: true,
        ..Options::default()
    }
}

/// Where commands print something else.
fn heard(real: &[Heard], ours: &[Heard]) -> Vec<String> {
    let mut differences = vec![];
    // What files hold is not of the network.
    let of_the_network = |(real, _): &(&Heard, &Heard)| !real.command.starts_with("cat ");
    for (real, ours) in real.iter().zip(ours).filter(of_the_network) {
        let [theirs, mine] = [real, ours].map(|h| {
            let exit = h.exit.filter(|_| real.exit.is_some()).map(|e| format!("exit status {e}")).unwrap_or_default();
            masked(&h.command, &h.output) + &exit
        });
        if theirs != mine {
            differences.push(format!("[{}] {}\n{}", real.from, real.command, diff(&theirs, &mine)));
        }
    }
    if real.len() != ours.len() {
        differences.push(format!("{} commands ran on the real kernel, {} here", real.len(), ours.len()));
    }
    differences
}

/// The lines that are not in the other text: `-` the real kernel's, `+` ours.
fn diff(real: &str, ours: &str) -> String {
    let only = |sign: char, text: &str, other: &str| -> String {
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        other.lines().for_each(|line| *left.entry(line).or_default() += 1);
        let mut out = String::new();
        for line in text.lines() {
            match left.get_mut(line) {
                Some(count) if *count > 0 => *count -= 1,
                _ => out += &format!("  {sign} {line}\n"),
            }
        }
        out
    };
    only('-', real, ours) + &only('+', ours, real)
}

/// A line in which ports that a program or NAT has drawn are called by their first appearance.
fn with_named_ports(line: &str) -> String {
    static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b([sd]port=|from [\d.]+:)(\d+)").expect("it is one"));
    let drawn = |port: &str| port.parse().is_ok_and(|n: u16| n >= 1024 && !NODE_PORTS.contains(&n));
    let mut names = vec![];
    let shown = |m: &Captures<'_>| {
        if !drawn(&m[2]) {
            return m[0].to_owned();
        }
        let place = names.iter().position(|name| *name == m[2]).unwrap_or_else(|| {
            names.push(m[2].to_owned());
            names.len() - 1
        });
        format!("{}p{place}", &m[1])
    };
    PORT.replace_all(line, shown).into_owned()
}

/// An output without what is free in it; lines whose order is free are sorted.
fn masked(command: &str, output: &str) -> String {
    static FREE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let free = [
            // ping, arping
            (r"time[= ]\S+( ?ms)?|, pipe \d+|ipg/ewma \S+ ms|rtt .*|\[?\b\d[\d.]*ms\b\]?", ""),
            (r" id=\d+|expires \d+sec", ""),
            // Ages and timers.
            (r"used \d+(/\d+)+", "used N"),
            (r#"((?:_| )timer"?:?)\s+\d+\.\d\d"#, "$1 N"),
            // Numbers of interfaces and namespaces.
            (r"(?m)^\d+: ", "N: "),
            (r"@if\d+", "@ifN"),
            (r" link-netns(id)? \S+", ""),
            // curl -v, -I
            (r"(?m)^(Date|Last-Modified|ETag): .*", "$1: N"),
            (r"after \d+ (ms|milliseconds)", "after N $1"),
            // Its meter, which no terminal sees that is asked for the page, too.
            (r"(?m)^ +% Total .*\n +Dload .*\n(\r?.*--:--:--.{0,7})*", ""),
            // ss, netstat, lsns: process ids, and columns as wide as them.
            (r"pid=\d+", "pid=N"),
        ];
        free.map(|(pattern, mask)| (Regex::new(pattern).expect("it is one"), mask)).into()
    });
    // conntrack -L: protocol, number, seconds left.
    static LEFT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^(\S+ +\d+) \d+ ").expect("it is one"));
    static NEIGH: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r" (REACHABLE|STALE|DELAY|PROBE) *$").expect("it is one"));
    let text = FREE.iter().fold(output.to_owned(), |text, (free, mask)| free.replace_all(&text, *mask).into_owned());
    let kept = |l: &&str| !l.starts_with('#') && !l.trim().is_empty();
    let mut lines: Vec<String> = text.lines().filter(kept).map(|l| l.trim_end().to_owned()).collect();
    let first = command.split(' ').next().unwrap_or_default();
    if first == "conntrack" {
        lines = lines.iter().map(|l| LEFT.replace(l, "$1 ").into_owned()).collect();
    }
    lines = lines.iter().map(|l| with_named_ports(l)).collect();
    if command.contains("neigh") {
        // Failed or not is what matters: how long ago somebody answered is time.
        lines = lines.iter().map(|l| NEIGH.replace(l, "").into_owned()).collect();
    }
    // The two streams of ping are two pipes; tables come in the order of a hash.
    if ["conntrack", "ping", "bridge"].contains(&first) || command.contains("neigh") {
        lines.sort_unstable();
    }
    lines.iter().map(|l| format!("{l}\n")).collect()
}
