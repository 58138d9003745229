//! TCP in bulk: what the kernel repeats from run to run.
//!
//! When a reader comes to read, and how much it finds, is decided by the processor and not by TCP; with it change the
//! moment and the window of an ACK, how many segments one write may send, and which of them has PSH. So the two ways of
//! a connection are looked at each by itself, at each place: namespace, interface and direction. A tunnel is a place of
//! its own: there the outer headers are compared wherever the segment's own are. What was seen at a place must be what
//! one of the recorded runs showed:
//!
//! * **places**: the same places saw the same ways;
//! * **handshake**: the segments of a way up to its first one without SYN, in all that the judge compares: windows,
//!   options, lengths, TTL, checksums;
//! * **first flight**: the data that begins within the first ten MSS (RFC 6928), segment by segment, with PSH, and
//!   **the first segments**, twenty of the way, without PSH: both as far as the recorded runs agree with each other;
//! * **segment sizes**: a data segment is as long as MSS and timestamps allow, or as a reported path MTU does; a
//!   shorter one ends where one of a recorded run ends, or with the stream. Several sizes in one (segmentation offload)
//!   are right where a recorded run has such;
//! * **retransmissions**: only what a recorded run has sent twice is sent twice;
//! * **bytes**: the same bytes passed, without a gap. Of a connection that was reset, up to an MSS more or less;
//! * **close**: the segments with FIN and RST, with their options, relative to the ends of both streams; and whether
//!   the peer's FIN is acknowledged;
//! * **the rest**: everything that is no TCP, in order, as always; so the messages about path MTUs.
//!
//! IP ids are zero or not, edges of SACK blocks are relative to the way's first one. Conntrack events are compared as
//! always, but each connection's by themselves. Counters of rules are exact up to twenty packets; a rule that counted
//! more has seen the bulk: its packets agree within a quarter and its bytes within a tenth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Captures;

use super::canon::{Pattern, Sequence, pattern, sequences};
use super::events::{counters, events};
use super::{BadCase, Case, Options};

/// The segments of a way that are compared one by one.
const FIRST: usize = 20;
/// TCP_INIT_CWND
const FIRST_FLIGHT: u32 = 10;
/// The bytes of the timestamps in each segment.
const TIMESTAMPS: u32 = 12;
/// IPv4 header, TCP header, timestamps.
const HEADERS: u32 = 52;

/// The ways in which `got` shows something else than two runs of the real kernel; `second` is left out where they
/// agree in everything.
#[must_use]
pub fn compare_bulk(want: &Case, second: Option<&Case>, got: &Case) -> Vec<String> {
    let runs: Result<Vec<Run>, BadCase> = [Some(want), second].into_iter().flatten().map(run).collect();
    let (runs, seen) = match (runs, run(got)) {
        (Ok(runs), Ok(seen)) => (runs, seen),
        (Err(why), _) => return vec![format!("judge: wanted: {why}")],
        (_, Err(why)) => return vec![format!("judge: seen: {why}")],
    };
    let mut report = Vec::new();
    let places = |run: &Run| run.ways.keys().cloned().collect::<BTreeSet<_>>();
    if !runs.iter().any(|run| places(run) == places(&seen)) {
        let all: BTreeSet<_> = runs.iter().flat_map(places).collect();
        let odd = all.symmetric_difference(&places(&seen)).cloned().collect::<Vec<_>>();
        report.push(format!("places: {}", odd.join("; ")));
    }
    for (place, way) in &seen.ways {
        let recorded: Vec<&Way> = runs.iter().filter_map(|run| run.ways.get(place)).collect();
        if !recorded.is_empty() {
            report.extend(compare_way(&recorded, way, &seen.sizes).into_iter().map(|line| format!("{place}: {line}")));
        }
    }
    let none = Vec::new();
    let namespaces: BTreeSet<&String> = runs.iter().chain([&seen]).flat_map(|run| run.rest.keys()).collect();
    for name in namespaces {
        let recorded: Vec<&Vec<String>> = runs.iter().map(|run| run.rest.get(name).unwrap_or(&none)).collect();
        let rest = seen.rest.get(name).unwrap_or(&none);
        if !recorded.iter().any(|want| same_rest(want, rest)) {
            report.push(format!("{name}: the rest: {}", first_difference(&recorded, rest)));
        }
    }
    let recorded: Vec<&Case> = [Some(want), second].into_iter().flatten().collect();
    report.extend(compare_events(&recorded, got));
    report.extend(compare_counters(&recorded, got));
    report
}

/// What a case shows.
struct Run {
    /// The ways by `NAMESPACE INTERFACE DIRECTION SOURCE > DESTINATION`; in a tunnel `in VXLAN` follows the direction.
    ways: BTreeMap<String, Way>,
    /// What is no TCP, by namespace.
    rest: BTreeMap<String, Vec<String>>,
    /// The lengths that a full data segment may have.
    sizes: BTreeSet<u32>,
}

/// One way of a connection at one place.
#[derive(Default)]
struct Way {
    segments: Vec<Segment>,
    /// Where the streams of this way and of the other one end, as far as they were seen anywhere in the namespace.
    end: u32,
    peer_end: u32,
}

/// A segment as it was seen.
struct Segment {
    /// Everything that is compared: from its flags on, then the headers around it.
    text: String,
    flags: String,
    seq: u32,
    ack: u32,
    len: u32,
}

impl Segment {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// Where its data ends.
    fn end(&self) -> u32 {
        self.seq.saturating_add(self.len)
    }

    /// Without PSH.
    fn plain(&self) -> String {
        self.text.replacen("P", "", usize::from(self.has('P')))
    }
}

fn run(case: &Case) -> Result<Run, BadCase> {
    static MSS: Pattern = LazyLock::new(|| pattern(r"mss ([0-9]+)"));
    static FRAG_NEEDED: Pattern = LazyLock::new(|| pattern(r"frag needed mtu ([0-9]+)"));
    let mut run = Run { ways: BTreeMap::new(), rest: BTreeMap::new(), sizes: BTreeSet::new() };
    for sequence in sequences(case, &Options::default())? {
        let number = |m: &Captures<'_>| m[1].parse::<u32>().unwrap_or(0);
        let texts = || sequence.lines.iter().map(|(_, line)| line.as_str());
        let mss = texts().filter_map(|line| MSS.captures(line)).map(|m| number(&m)).min();
        run.sizes.extend(mss.map(|mss| mss.saturating_sub(TIMESTAMPS)));
        let mtus = texts().filter_map(|line| FRAG_NEEDED.captures(line));
        run.sizes.extend(mtus.map(|m| number(&m).saturating_sub(HEADERS)));
        sort(&sequence, &mut run);
    }
    Ok(run)
}

/// Puts each record of a namespace to its way, or to the rest.
fn sort(sequence: &Sequence, run: &mut Run) {
    let mut ends: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut keys: Vec<(String, (String, String))> = Vec::new();
    let mut edges: BTreeMap<String, Option<u32>> = BTreeMap::new();
    let rest = run.rest.entry(sequence.name.clone()).or_default();
    for (_, line) in &sequence.lines {
        let Some((place, ends_of, mut segment)) = parse(line) else {
            rest.push(without_ids(line));
            continue;
        };
        let key = format!("{} {place} {} > {}", sequence.name, ends_of.0, ends_of.1);
        segment.text = relative_sacks(&segment.text, edges.entry(key.clone()).or_default());
        let end = ends.entry(ends_of.clone()).or_insert(1);
        if segment.len > 0 {
            *end = (*end).max(segment.end());
        }
        run.ways.entry(key.clone()).or_default().segments.push(segment);
        keys.push((key, ends_of));
    }
    for (key, (from, to)) in keys {
        let Some(way) = run.ways.get_mut(&key) else { continue };
        let end = |from: &String, to: &String| ends.get(&(from.clone(), to.clone())).copied().unwrap_or(1);
        (way.end, way.peer_end) = (end(&from, &to), end(&to, &from));
    }
}

/// The place of a TCP segment, the ends of its way, and the segment.
fn parse(line: &str) -> Option<(String, (String, String), Segment)> {
    static SEGMENT: Pattern = LazyLock::new(|| {
        pattern(concat!(
            r"^(\S+) +(\S+) +(IP .* VXLAN .*)?IP (\S+) > (\S+): ",
            r"Flags \[([^\]]*)\], seq ([0-9]+), ack ([0-9]+), .*?length ([0-9]+) \("
        ))
    });
    let m = SEGMENT.captures(line).filter(|_| !line.contains(" quotes "))?;
    let number = |i: usize| m[i].parse::<u32>().unwrap_or(u32::MAX);
    let (own, outer) = (line.split_once("Flags ")?.1, m.get(3).map(|outer| outer.as_str()));
    let text = without_ids(&outer.map_or_else(|| own.to_owned(), |outer| format!("{own} inside {outer}")));
    let segment = Segment { text, flags: m[6].to_owned(), seq: number(7), ack: number(8), len: number(9) };
    let tunnel = if outer.is_some() { " in VXLAN" } else { "" };
    Some((format!("{} {}{tunnel}", &m[1], &m[2]), (m[4].to_owned(), m[5].to_owned()), segment))
}

/// IP ids are zero or not.
fn without_ids(text: &str) -> String {
    static ID: Pattern = LazyLock::new(|| pattern(r" id i[0-9]+"));
    ID.replace_all(text, " id X").into_owned()
}

/// The edges of SACK blocks, relative to the first one of the way: recordings have them as they were sent.
fn relative_sacks(text: &str, first: &mut Option<u32>) -> String {
    static BLOCKS: Pattern = LazyLock::new(|| pattern(r"sack\{[^}]*\}"));
    static EDGE: Pattern = LazyLock::new(|| pattern(r"[0-9]+"));
    let edge = |e: &Captures<'_>| {
        let edge: u32 = e[0].parse().unwrap_or(0);
        (edge.wrapping_sub(*first.get_or_insert(edge)) as i32).to_string()
    };
    let Some(blocks) = BLOCKS.find(text) else { return text.to_owned() };
    let relative = EDGE.replace_all(blocks.as_str(), edge);
    format!("{}{relative}{}", &text[..blocks.start()], &text[blocks.end()..])
}

fn compare_way(recorded: &[&Way], seen: &Way, sizes: &BTreeSet<u32>) -> Vec<String> {
    let mut report = Vec::new();
    let mut either = |term: &str, of: &dyn Fn(&Way) -> Vec<String>| {
        let (got, wanted) = (of(seen), recorded.iter().map(|way| of(way)).collect::<Vec<_>>());
        if !wanted.contains(&got) {
            let wanted: Vec<&Vec<String>> = wanted.iter().collect();
            report.push(format!("{term}: {}", first_difference(&wanted, &got)));
        }
    };
    either("handshake", &handshake);
    either("close", &close);
    let flight = sizes.last().copied().unwrap_or(0) * FIRST_FLIGHT;
    for (term, of) in [
        ("first flight", &(|way: &Way| first_flight(way, flight)) as &dyn Fn(&Way) -> Vec<String>),
        ("first segments", &first_segments),
    ] {
        let wanted: Vec<Vec<String>> = recorded.iter().map(|way| of(way)).collect();
        let agreed = agreed(&wanted);
        let got = of(seen);
        // Where the runs agree to the end, nothing may follow.
        let whole = wanted.iter().all(|run| run.len() == agreed.len());
        if got.len() < agreed.len() || got[..agreed.len()] != *agreed || whole && got.len() > agreed.len() {
            report.push(format!("{term}: {}", first_difference(&[&agreed.to_vec()], &got)));
        }
    }
    let known: BTreeSet<u32> = recorded.iter().flat_map(|way| retransmissions(way)).collect();
    let twice = retransmissions(seen).into_iter().find(|seq| !known.contains(seq));
    report.extend(twice.map(|seq| format!("retransmissions: {seq} is sent twice")));
    report.extend(odd_sizes(recorded, seen, sizes));
    if !recorded.iter().any(|way| same_bytes(way, seen, sizes)) {
        let wanted: Vec<_> = recorded.iter().map(|way| bytes(way)).collect();
        report.push(format!("bytes: {:?} wanted, {:?} seen", wanted, bytes(seen)));
    }
    report
}

fn handshake(way: &Way) -> Vec<String> {
    let syns = way.segments.iter().take_while(|s| s.has('S')).count();
    way.segments.iter().take(syns + 1).map(Segment::plain).collect()
}

/// What both recorded runs have, or the only one.
fn agreed(runs: &[Vec<String>]) -> &[String] {
    let [first, others @ ..] = runs else { return &[] };
    let same = |i: &usize| others.iter().all(|run| run.get(*i) == first.get(*i));
    &first[..(0..first.len()).take_while(same).count()]
}

/// Data that begins within the first `flight` bytes.
fn first_flight(way: &Way, flight: u32) -> Vec<String> {
    let in_flight = |s: &&Segment| s.len > 0 && s.seq <= flight;
    way.segments.iter().filter(in_flight).map(|s| s.text.clone()).collect()
}

fn first_segments(way: &Way) -> Vec<String> {
    way.segments.iter().take(FIRST).map(Segment::plain).collect()
}

/// Flags, options and the rest of each FIN and RST, but its window, with seq and ack relative to the ends of the
/// streams; is a FIN of the peer acknowledged at last?
fn close(way: &Way) -> Vec<String> {
    static NUMBERS: Pattern = LazyLock::new(|| pattern(r"seq [0-9]+, ack [0-9]+, win [0-9]+"));
    let ends = way.segments.iter().filter(|s| s.has('F') || s.has('R'));
    let relative = |s: &Segment| {
        // A FIN may go with the last data, and the other one may be acknowledged with it.
        let seq = s.end().wrapping_sub(way.end) as i32;
        let ack = if s.has('.') { s.ack.wrapping_sub(way.peer_end) as i32 } else { 0 };
        NUMBERS.replace(&s.plain(), format!("seq {seq}, ack {ack}")).into_owned()
    };
    let acked = way.segments.iter().any(|s| s.ack == way.peer_end.wrapping_add(1));
    ends.map(relative).chain([format!("FIN acknowledged: {acked}")]).collect()
}

/// Where the data begins that was seen before.
fn retransmissions(way: &Way) -> BTreeSet<u32> {
    let mut end = 0;
    let mut again = BTreeSet::new();
    for s in way.segments.iter().filter(|s| s.len > 0) {
        if s.seq < end {
            again.insert(s.seq);
        }
        end = end.max(s.end());
    }
    again
}

/// Lengths that neither MSS nor path MTU nor a recorded run explain.
fn odd_sizes(recorded: &[&Way], seen: &Way, sizes: &BTreeSet<u32>) -> Vec<String> {
    let largest = sizes.last().copied().unwrap_or(0);
    let offload = recorded.iter().any(|way| way.segments.iter().any(|s| s.len > largest));
    let full = |s: &Segment| sizes.iter().any(|&size| s.len == size || offload && s.len.is_multiple_of(size));
    let ends = |way: &Way| -> BTreeSet<u32> {
        way.segments.iter().filter(|s| s.len > 0 && !full(s)).map(Segment::end).collect()
    };
    let known: BTreeSet<u32> = recorded.iter().flat_map(|way| ends(way)).collect();
    let is_odd = |s: &&Segment| {
        let short = offload || s.len < largest;
        let explained = short && (s.end() == seen.end || known.contains(&s.end()));
        s.len > 0 && !full(s) && !explained
    };
    let odd = seen.segments.iter().filter(is_odd);
    odd.map(|s| format!("segment sizes: {} bytes at {}", s.len, s.seq)).take(1).collect()
}

/// The ranges of the stream that passed.
fn bytes(way: &Way) -> Vec<(u32, u32)> {
    let data = way.segments.iter().filter(|s| s.len > 0);
    let mut ranges: Vec<(u32, u32)> = data.map(|s| (s.seq, s.end())).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn same_bytes(want: &Way, seen: &Way, sizes: &BTreeSet<u32>) -> bool {
    let (wanted, got) = (bytes(want), bytes(seen));
    if wanted == got {
        return true;
    }
    // Who does not end with a FIN, or whose peer does not, was in the midst of it.
    let slack = sizes.last().copied().unwrap_or(0);
    let reset = !want.segments.iter().any(|s| s.has('F'));
    match (wanted.as_slice(), got.as_slice()) {
        (&[(a, b)], &[(c, d)]) => reset && a == c && b.abs_diff(d) <= slack,
        _ => false,
    }
}

/// As always, a surplus of ARP at the end is free.
fn same_rest(want: &[String], got: &[String]) -> bool {
    let common = want.len().min(got.len());
    want[..common] == got[..common] && want[common..].iter().chain(&got[common..]).all(|line| line.contains(" ARP "))
}

/// Where the run that fits best differs first.
fn first_difference(wanted: &[&Vec<String>], seen: &[String]) -> String {
    let same = |want: &&&Vec<String>| want.iter().zip(seen).take_while(|(want, seen)| want == seen).count();
    let Some(want) = wanted.iter().max_by_key(same) else { return "never recorded".to_owned() };
    let at = same(&want);
    let line = |lines: &[String]| lines.get(at).map_or("(nothing more)", String::as_str).to_owned();
    format!("record {}: wanted {}; seen {}", at + 1, line(want), line(seen))
}

/// The events of each connection, which is the first tuple of its lines.
fn compare_events(recorded: &[&Case], got: &Case) -> Vec<String> {
    let by_connection = |case: &Case| {
        static TUPLE: Pattern = LazyLock::new(|| pattern(r"src=\S+ dst=\S+(?: sport=\S+ dport=\S+)?"));
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, lines) in events(case) {
            for line in lines {
                let tuple = TUPLE.find(&line).map_or("", |m| m.as_str());
                all.entry(format!("{file}: {tuple}")).or_default().push(line);
            }
        }
        all
    };
    let (wanted, seen) = (recorded.iter().map(|case| by_connection(case)).collect::<Vec<_>>(), by_connection(got));
    let keys: BTreeSet<&String> = wanted.iter().chain([&seen]).flat_map(BTreeMap::keys).collect();
    let none = Vec::new();
    let of = |all: &BTreeMap<String, Vec<String>>, key: &String| all.get(key).cloned().unwrap_or_default();
    let differs = keys.into_iter().filter(|key| !wanted.iter().any(|all| of(all, key) == of(&seen, key)));
    let line = |key: &String| {
        let wanted: Vec<&Vec<String>> = wanted.iter().map(|all| all.get(key).unwrap_or(&none)).collect();
        format!("{key}: {}", first_difference(&wanted, &of(&seen, key)))
    };
    differs.map(line).collect()
}

/// The counters of a rule: a line for each node that has it.
type Counts = Vec<(u64, u64)>;

fn compare_counters(recorded: &[&Case], got: &Case) -> Vec<String> {
    let by_rule = |case: &Case| {
        let mut all: BTreeMap<String, Counts> = BTreeMap::new();
        for line in counters(case)? {
            let (counts, rule) = line.strip_prefix('[')?.split_once("] ")?;
            let (packets, bytes) = counts.split_once(':')?;
            all.entry(rule.to_owned()).or_default().push((packets.parse().ok()?, bytes.parse().ok()?));
        }
        all.values_mut().for_each(|counts| counts.sort_unstable());
        Some(all)
    };
    let wanted: Vec<_> = recorded.iter().filter_map(|case| by_rule(case)).collect();
    let Some(seen) = by_rule(got) else {
        return if wanted.is_empty() { vec![] } else { vec!["rule counters were not written".to_owned()] };
    };
    let rules: BTreeSet<&String> = wanted.iter().chain([&seen]).flat_map(BTreeMap::keys).collect();
    let of = |all: &BTreeMap<String, Counts>, rule: &String| all.get(rule).cloned().unwrap_or_default();
    let differs =
        rules.into_iter().filter(|rule| !wanted.iter().any(|all| same_counts(&of(all, rule), &of(&seen, rule))));
    let counts = |rule: &String| wanted.iter().map(|all| of(all, rule)).collect::<Vec<_>>();
    differs
        .map(|rule| format!("rule counters: {rule}: {:?} wanted, {:?} seen", counts(rule), of(&seen, rule)))
        .collect()
}

fn same_counts(want: &Counts, seen: &Counts) -> bool {
    let same = |(want, seen): (&(u64, u64), &(u64, u64))| {
        let bulk = want.0 > FIRST as u64;
        want == seen || bulk && want.0.abs_diff(seen.0) <= want.0 / 4 && want.1.abs_diff(seen.1) <= want.1 / 10
    };
    want.len() == seen.len() && want.iter().zip(seen).all(same)
}
