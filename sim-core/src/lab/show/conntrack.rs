//! The text of conntrack(8): nfct_snprintf of libnetfilter_conntrack, and what the tool prints around it. The kernel's
//! own file has nearly the same lines (ct_seq_show of net/netfilter/nf_conntrack_standalone.c).

use crate::base::time::{SEC, US};
use crate::kernel::conntrack::entry::Counter;
use crate::kernel::conntrack::event::Kind;
use crate::kernel::conntrack::{Event, Info, Stats, Status, Tuple};
use crate::lab::conntrack::Output;
use std::fmt::Write;

/// What every message of the tool begins with.
const TOOL: &str = "conntrack v1.4.7 (conntrack-tools)";

/// `conntrack -L`: a line an entry. `epoch_ns` is the simulation's start in nanoseconds since 1970.
pub fn conntrack_entries<'a>(entries: impl IntoIterator<Item = &'a Info>, output: Output, epoch_ns: u64) -> String {
    let mut text = String::new();
    for i in entries {
        entry(&mut text, i, ALL, output, epoch_ns);
        text.push('\n');
    }
    text
}

/// /proc/net/nf_conntrack: a line an entry. Whoever reads it holds the entry meanwhile.
pub fn conntrack_file(entries: &[Info]) -> String {
    let mut text = String::new();
    for i in entries {
        let held = Info { users: i.users + 1, ..*i };
        let output = Output { extended: true, ..Output::default() };
        entry(&mut text, &held, Shown { default_zone: true, ..ALL }, output, 0);
        text.push('\n');
    }
    text
}

/// What `conntrack -L` prints to standard error at the end.
pub fn conntrack_shown(entries: usize) -> String {
    format!("{TOOL}: {entries} flow entries have been shown.\n")
}

/// What `conntrack -D` prints to standard error at the end.
pub fn conntrack_deleted(entries: usize) -> String {
    format!("{TOOL}: {entries} flow entries have been deleted.\n")
}

/// What `conntrack -E` prints to standard error at the end.
pub fn conntrack_events_shown(events: usize) -> String {
    format!("{TOOL}: {events} flow events have been shown.\n")
}

/// What `conntrack -F` prints to standard error.
pub fn conntrack_flushed() -> String {
    format!("{TOOL}: connection tracking table has been emptied.\n")
}

/// `conntrack -E`: the line of one event. `epoch_ns` is the simulation's start in nanoseconds since 1970.
pub fn conntrack_event(e: &Event, output: Output, epoch_ns: u64) -> String {
    let mut text = String::new();
    if output.timestamp {
        let at = epoch_ns + e.at.0;
        let _ = write!(text, "[{}.{:06}]\t", at / SEC, at % SEC / US);
    }
    let (tag, destroy) = match e.kind {
        Kind::New => ("[NEW]", false),
        Kind::Update => ("[UPDATE]", false),
        Kind::Destroy => ("[DESTROY]", true),
    };
    let _ = write!(text, "{tag:>9} ");
    let shown = Shown {
        // An entry that has expired has no time left to tell of.
        timeout: !destroy || e.info.timeout_s != 0,
        state: e.protoinfo,
        mark: e.mark,
        counters: destroy,
        users: false,
        default_zone: false,
    };
    entry(&mut text, &e.info, shown, output, epoch_ns);
    if let Some(portid) = e.portid {
        let _ = write!(text, " [USERSPACE] portid={portid} progname=conntrack");
    }
    text.push('\n');
    text
}

/// `conntrack -S`: one line, for the one CPU of a machine.
pub fn conntrack_stats(s: &Stats) -> String {
    format!(
        "cpu=0   \tfound={} invalid={} insert={} insert_failed={} drop={} early_drop={} error={} search_restart={} \
         clash_resolve={} chaintoolong={} \n",
        s.found,
        s.invalid,
        s.insert,
        s.insert_failed,
        s.drop,
        s.early_drop,
        s.error,
        s.search_restart,
        s.clash_resolve,
        s.chaintoolong
    )
}

/// Which attributes a message of the kernel holds.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "attributes of a message")]
struct Shown {
    timeout: bool,
    state: bool,
    mark: bool,
    counters: bool,
    users: bool,
    default_zone: bool,
}

/// What a dump of the table holds.
const ALL: Shown = Shown { timeout: true, state: true, mark: true, counters: true, users: true, default_zone: false };

/// __snprintf_conntrack_default. Writing to a string does not fail.
fn entry(text: &mut String, i: &Info, shown: Shown, output: Output, epoch_ns: u64) {
    let [original, reply] = &i.tuple;
    if output.extended {
        let (name, number) = if original.src.is_ipv4() { ("ipv4", 2) } else { ("ipv6", 10) };
        let _ = write!(text, "{name:<8} {number} ");
    }
    let _ = write!(text, "{:<8} {} ", protocol(original.proto), original.proto);
    if shown.timeout {
        let _ = write!(text, "{} ", i.timeout_s);
    }
    if let Some(state) = i.tcp.filter(|_| shown.state) {
        let _ = write!(text, "{} ", state.name());
    }
    let counters = i.acct.filter(|_| shown.counters);
    tuple(text, original);
    if !i.zone.reply && i.zone.id != 0 {
        let _ = write!(text, "zone-orig={} ", i.zone.id);
    }
    counter(text, counters.map(|c| c[0]));
    if !i.status.has(Status::SEEN_REPLY) {
        text.push_str("[UNREPLIED] ");
    }
    tuple(text, reply);
    if !i.zone.original && i.zone.id != 0 {
        let _ = write!(text, "zone-reply={} ", i.zone.id);
    }
    counter(text, counters.map(|c| c[1]));
    if i.status.has(Status::ASSURED) {
        text.push_str("[ASSURED] ");
    }
    if shown.mark {
        let _ = write!(text, "mark={} ", i.mark);
    }
    if (shown.default_zone || i.zone.id != 0) && i.zone.original && i.zone.reply {
        let _ = write!(text, "zone={} ", i.zone.id);
    }
    if let Some(start) = i.start.filter(|_| shown.counters) {
        let _ = write!(text, "delta-time={} ", i.age_ns / SEC);
        if output.ktimestamp {
            let _ = write!(text, "[start={}] ", date((epoch_ns + start.0) / SEC));
        }
    }
    if shown.users {
        let _ = write!(text, "use={} ", i.users);
    }
    if output.id {
        let _ = write!(text, "id={} ", i.id);
    }
    text.truncate(text.trim_end().len());
}

fn tuple(text: &mut String, t: &Tuple) {
    let _ = write!(text, "src={} dst={} ", t.src, t.dst);
    let (kind, code) = t.icmp();
    let _ = match t.proto {
        1 => write!(text, "type={kind} code={code} id={} ", t.sport),
        6 | 17 | 33 | 132 | 136 => write!(text, "sport={} dport={} ", t.sport, t.dport),
        _ => Ok(()),
    };
}

fn counter(text: &mut String, counter: Option<Counter>) {
    if let Some(c) = counter {
        let _ = write!(text, "packets={} bytes={} ", c.packets, c.bytes);
    }
}

/// proto2str of libnetfilter_conntrack.
fn protocol(number: u8) -> &'static str {
    match number {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        _ => "unknown",
    }
}

/// asctime() in UTC, without its line end: `Sat Nov 21 04:42:01 2026`.
pub(in crate::lab) fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The Gregorian calendar repeats every 400 years.
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = "Jan";
    for (name, days) in MONTHS {
        let days = days + u64::from(name == "Feb" && leap(year));
        month = name;
        if left < days {
            break;
        }
        left -= days;
    }
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    let day = DAYS[(days % 7) as usize];
    format!("{day} {month}{:3} {hour:02}:{minute:02}:{second:02} {year}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, want) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (1_654_077_600, "Wed Jun  1 10:00:00 2022"),
            (1_795_236_121, "Sat Nov 21 04:42:01 2026"),
            (4_107_542_400, "Mon Mar  1 00:00:00 2100"),
        ] {
            assert_eq!(date(seconds), want);
        }
    }
}
