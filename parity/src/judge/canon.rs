//! Canonical text: what is free in a packet's line is removed or named by order of appearance.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::rows::rows;
use super::{BadCase, By, Case, Options, events};

/// One case in canonical text: each sequence, then each node's conntrack events, under `--- NAME`.
///
/// A case that can't be read gives one line that says why.
#[must_use]
pub fn canon(case: &Case, options: &Options) -> String {
    let sequences = match sequences(case, options) {
        Ok(sequences) => sequences,
        Err(why) => return format!("judge: {why}\n"),
    };
    let mut out = String::new();
    for sequence in sequences {
        out += &format!("--- {}\n", sequence.name);
        for (_, line) in sequence.lines {
            out += &format!("{line}\n");
        }
    }
    for (file, lines) in events::events(case) {
        out += &format!("--- {file}\n{}\n", lines.join("\n"));
    }
    out
}

/// The records of one namespace, or of one interface.
pub(super) struct Sequence {
    /// `NAMESPACE` or `NAMESPACE/INTERFACE`
    pub(super) name: String,
    /// Seconds since the case's first row, and the canonical line.
    pub(super) lines: Vec<(f64, String)>,
}

/// The sequences of a case by their first appearance. Ports are named within one, so that they are independent.
pub(super) fn sequences(case: &Case, options: &Options) -> Result<Vec<Sequence>, BadCase> {
    let (mut sequences, mut namers, mut places) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut heard: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for row in rows(case, options.sacks)? {
        if !options.namespaces.is_empty() && !options.namespaces.contains(&row.namespace) {
            continue;
        }
        let name = match options.by {
            By::Namespace => row.namespace,
            By::Interface => format!("{}/{}", row.namespace, row.interface),
        };
        let place = *places.entry(name.clone()).or_insert_with(|| {
            sequences.push(Sequence { name, lines: Vec::new() });
            namers.push(Namer::default());
            sequences.len() - 1
        });
        if options.neighbours_at_any_time && row.text.starts_with("ARP ") {
            if row.direction == "B" {
                heard.entry(place).or_default().insert(format!("{:<9} B   {}", row.interface, row.text));
            }
            continue;
        }
        let text = namers[place].canonical(&row.text, options.free_length);
        sequences[place].lines.push((row.seconds, format!("{:<9} {:<3} {text}", row.interface, row.direction)));
    }
    for (place, lines) in heard {
        let end = sequences[place].lines.last().map_or(0.0, |(seconds, _)| *seconds);
        sequences[place].lines.extend(lines.into_iter().map(|line| (end, line)));
    }
    Ok(sequences)
}

/// Is a port a well-known one, and so not free?
pub(super) fn is_known_port(port: &str) -> bool {
    const KNOWN: [&str; 21] = [
        "53", "80", "81", "88", "7", "443", "8472", "15001", "15006", "8000", "8080", "8081", "6443", "9000", "9999",
        "5201", "30080", "30081", "30082", "30084", "30085",
    ];
    KNOWN.contains(&port)
}

/// A literal pattern, compiled on first use.
pub(super) type Pattern = LazyLock<Regex>;

/// Compiles a literal pattern.
pub(super) fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern is valid")
}

/// Relative sequence numbers, by the starts that were seen so far: NAT does not change them, so all points of view
/// share them.
#[derive(Default)]
pub(super) struct Norm {
    starts: BTreeSet<u32>,
}

impl Norm {
    /// The text with seq and ack relative to the nearest start below.
    pub(super) fn relative(&mut self, text: &str) -> String {
        static NUMBERS: Pattern = LazyLock::new(|| pattern(r"Flags \[([^\]]*)\], seq ([0-9]+), ack ([0-9]+)"));
        let relative = |m: &Captures<'_>| {
            let (flags, seq, ack) = (&m[1], m[2].parse().unwrap_or(0), m[3].parse().unwrap_or(0));
            if flags.contains('S') {
                self.starts.insert(seq);
            }
            // The answer to a SYN that nobody wants has no number of its own (RFC 9293, 3.10.7.1).
            let seq = if seq == 0 && flags.contains('R') { 0 } else { self.distance(seq) };
            let ack = if flags.contains('.') { self.distance(ack) } else { 0 };
            format!("Flags [{flags}], seq {seq}, ack {ack}")
        };
        NUMBERS.replace_all(text, relative).into_owned()
    }

    /// The text with edges of SACK blocks relative to the nearest start below.
    pub(super) fn relative_sacks(&mut self, text: &str) -> String {
        static BLOCKS: Pattern = LazyLock::new(|| pattern(r"sack(\{[0-9:]+\})+"));
        static EDGE: Pattern = LazyLock::new(|| pattern(r"[0-9]+"));
        BLOCKS
            .replace(text, |blocks: &Captures<'_>| {
                EDGE.replace_all(&blocks[0], |edge: &Captures<'_>| {
                    self.distance(edge[0].parse().unwrap_or(0)).to_string()
                })
                .into_owned()
            })
            .into_owned()
    }

    /// From the nearest start below; a number with no start near becomes one.
    fn distance(&mut self, number: u32) -> u32 {
        const NEAR: u32 = 1 << 24;
        let below = self.starts.range(..=number).next_back().or_else(|| self.starts.last());
        match below.map(|start| number.wrapping_sub(*start)).filter(|&distance| distance < NEAR) {
            Some(distance) => distance,
            None => {
                self.starts.insert(number);
                0
            }
        }
    }
}

/// Names what is free in the lines of one sequence.
#[derive(Default)]
struct Namer {
    ports: Labels,
    /// The name of an IP id and the line that had it last.
    ids: BTreeMap<String, (String, usize)>,
    line: usize,
    stamps_sent: BTreeSet<u64>,
    last_stamp: BTreeMap<String, u64>,
}

impl Namer {
    fn canonical(&mut self, text: &str, free_length: Option<u16>) -> String {
        static PORT: Pattern = LazyLock::new(|| pattern(r"([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)\.([0-9]+)"));
        static ID: Pattern = LazyLock::new(|| pattern(r"(ttl [0-9]+) id ([0-9]+)"));
        static ECHO: Pattern = LazyLock::new(|| pattern(r"ICMP echo (\w+) id [0-9]+"));
        self.line += 1;
        let mut text = self.stamps(text).into_owned();
        if free_length.is_some_and(|port| is_udp_of(&text, port)) {
            text = without_udp_length(&text);
        }
        let text = PORT.replace_all(&text, |m: &Captures<'_>| format!("{}.{}", &m[1], self.ports.port(&m[2])));
        let text = ID.replace_all(&text, |m: &Captures<'_>| format!("{} id {}", &m[1], self.id(&m[2])));
        ECHO.replace_all(&text, "ICMP echo $1 id X").into_owned()
    }

    /// TCP timestamps without their values; marked are an echo of what the peer never sent, and a value that falls.
    fn stamps<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        static SEGMENT: Pattern = LazyLock::new(|| pattern(r"IP (\S+) > (\S+): Flags .*?TS val ([0-9]+) ecr ([0-9]+)"));
        static STAMP: Pattern = LazyLock::new(|| pattern(r"TS val [0-9]+ ecr [0-9]+"));
        if !text.contains("TS val ") {
            return Cow::Borrowed(text);
        }
        let Some(m) = SEGMENT.captures(text).filter(|m| !is_quote(text, m)) else {
            return STAMP.replace_all(text, "TS");
        };
        let number = |i: usize| m[i].parse().unwrap_or(u64::MAX);
        let (value, echo, way): (u64, u64, String) = (number(3), number(4), format!("{}>{}", &m[1], &m[2]));
        let mut note = if echo == 0 { "TS ecr 0" } else { "TS" }.to_owned();
        if echo != 0 && !self.stamps_sent.contains(&echo) {
            note += " ECR-NEVER-SENT";
        }
        let last = self.last_stamp.get(&way).copied().unwrap_or(value);
        if !text.contains("Flags [S") && (1..60_000).contains(&(last.wrapping_sub(value) & 0xffff_ffff)) {
            note += " TSVAL-FALLS";
        }
        self.stamps_sent.insert(value);
        self.last_stamp.insert(way, value);
        STAMP.replace_all(text, note).into_owned().into()
    }

    /// A name by order of appearance; the same value much later is another packet.
    fn id(&mut self, id: &str) -> String {
        const MUCH_LATER: usize = 80;
        if id == "0" {
            return "0".into();
        }
        let seen = self.ids.get(id).filter(|(_, line)| self.line - line <= MUCH_LATER);
        let name = seen.map_or_else(|| format!("i{}", self.ids.len() + 1), |(name, _)| name.clone());
        self.ids.insert(id.to_owned(), (name.clone(), self.line));
        name
    }
}

/// Ephemeral ports by order of appearance.
#[derive(Default)]
pub(super) struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The port itself if it is well known, `e1`, `e2`, … if not.
    pub(super) fn port(&mut self, port: &str) -> String {
        if is_known_port(port) {
            return port.to_owned();
        }
        let next = self.0.len() + 1;
        self.0.entry(port.to_owned()).or_insert_with(|| format!("e{next}")).clone()
    }
}

/// Does the segment stand in an ICMP quote? "quotes" is looked for up to 60 characters into the match.
fn is_quote(text: &str, m: &Captures<'_>) -> bool {
    let start = m.get(0).map_or(0, |m| m.start());
    let end = text[start..].char_indices().nth(60).map_or(text.len(), |(at, _)| start + at);
    text[..end].contains("quotes")
}

/// Is it UDP to or from that port?
fn is_udp_of(text: &str, port: u16) -> bool {
    let as_source = |(at, found): (usize, &str)| {
        let rest = &text[at + found.len()..];
        rest.find(':').is_some_and(|colon| rest[colon..].starts_with(": UDP"))
    };
    text.contains(&format!(".{port}: UDP")) || text.match_indices(&format!(".{port} > ")).any(as_source)
}

fn without_udp_length(text: &str) -> String {
    static LAST_LENGTH: Pattern = LazyLock::new(|| pattern(r" len [0-9]+\)"));
    static UDP_LENGTH: Pattern = LazyLock::new(|| pattern(r"UDP len [0-9]+"));
    UDP_LENGTH.replace_all(&LAST_LENGTH.replace_all(text, ")"), "UDP").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_relative_to_the_nearest_start_below() {
        let mut norm = Norm::default();
        let table = [
            ("S", 4_294_967_290_u32, 0_u32, "0 0"),
            ("S.", 1000, 4_294_967_291, "0 1"),
            (".", 4_294_967_291, 1001, "1 1"),
            (".", 4, 1001, "10 1"),
            ("R", 1001, 55, "1 0"),
            (".", 500_000_000, 500_000_001, "0 1"),
        ];
        for (flags, seq, ack, want) in table {
            let (want_seq, want_ack) = want.split_once(' ').expect("two numbers");
            let got = norm.relative(&format!("x: Flags [{flags}], seq {seq}, ack {ack}, win 1"));
            assert_eq!(got, format!("x: Flags [{flags}], seq {want_seq}, ack {want_ack}, win 1"));
        }
    }

    #[test]
    fn canonical_lines() {
        let mut namer = Namer::default();
        let table = [
            ("IP 10.0.0.1.4000 > 10.0.0.2.80: (ttl 64 id 7 DF", "IP 10.0.0.1.e1 > 10.0.0.2.80: (ttl 64 id i1 DF"),
            ("IP 10.0.0.2.80 > 10.0.0.1.4000: (ttl 64 id 0 DF", "IP 10.0.0.2.80 > 10.0.0.1.e1: (ttl 64 id 0 DF"),
            ("IP 10.0.0.1.4001 > 10.0.0.2.80: (ttl 63 id 7 DF", "IP 10.0.0.1.e2 > 10.0.0.2.80: (ttl 63 id i1 DF"),
            ("ICMP echo request id 77 seq 1", "ICMP echo request id X seq 1"),
            ("IP a > b: Flags [S], TS val 50 ecr 0", "IP a > b: Flags [S], TS ecr 0"),
            ("IP b > a: Flags [S.], TS val 9 ecr 50", "IP b > a: Flags [S.], TS"),
            ("IP a > b: Flags [.], TS val 49 ecr 8", "IP a > b: Flags [.], TS ECR-NEVER-SENT TSVAL-FALLS"),
            ("quotes {IP a > b: Flags [.], TS val 1 ecr 3}", "quotes {IP a > b: Flags [.], TS}"),
        ];
        for (text, want) in table {
            assert_eq!(namer.canonical(text, None), want);
        }
        for _ in 0..80 {
            namer.canonical("", None);
        }
        assert_eq!(namer.canonical("ttl 64 id 7", None), "ttl 64 id i2", "another packet");
    }

    #[test]
    fn free_lengths() {
        let table = [
            ("IP 1.1.1.1.5 > 1.1.1.2.53: UDP len 9 (ttl 1 len 37) x", "IP 1.1.1.1.e1 > 1.1.1.2.53: UDP (ttl 1) x"),
            ("IP 1.1.1.2.53 > 1.1.1.1.5: UDP len 9 (ttl 1 len 37)", "IP 1.1.1.2.53 > 1.1.1.1.e1: UDP (ttl 1)"),
            ("IP 1.1.1.1.5 > 1.1.1.2.7: UDP len 9 (len 37)", "IP 1.1.1.1.e1 > 1.1.1.2.7: UDP len 9 (len 37)"),
            ("IP 1.1.1.2.53 > 1.1.1.1.5: Flags (len 37): UDP", "IP 1.1.1.2.53 > 1.1.1.1.e1: Flags (len 37): UDP"),
        ];
        for (text, want) in table {
            assert_eq!(Namer::default().canonical(text, Some(53)), want);
        }
    }
}
