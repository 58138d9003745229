//! Segments as text and as bytes.

use sim_core::wire::checksum;
use std::fmt::Write as _;

use super::{HOST, PEER};

const FLAGS: [(char, u16); 9] =
    [('S', 2), ('F', 1), ('R', 4), ('P', 8), ('U', 32), ('E', 64), ('W', 128), ('A', 256), ('.', 16)];
/// What the two ECN bits of the IP header say (RFC 3168 section 5).
const ECN: [&str; 4] = ["noecn", "ect1", "ect0", "ce"];
/// The sequence number of every SYN of the peer's.
const PEER_ISN: u32 = 1000;

/// Where the sequence numbers of a connection begin, and the host's last timestamp.
#[derive(Clone, Copy, Default)]
pub(super) struct Isns {
    pub(super) host: Option<u32>,
    stamp: u32,
}

impl Isns {
    pub(super) fn learn(&mut self, came: &Came) {
        if came.is_syn() {
            self.host = Some(came.seq);
        }
        if let Some((value, _)) = came.stamp {
            self.stamp = value;
        }
    }
}

/// A segment of the host's.
pub(super) struct Came {
    /// Of the IP header.
    ecn: u8,
    flags: u16,
    seq: u32,
    ack: u32,
    win: u16,
    len: u32,
    /// With sequence numbers relative to the peer's.
    options: String,
    stamp: Option<(u32, u32)>,
}

impl Came {
    pub(super) fn is_syn(&self) -> bool {
        self.flags & 2 != 0
    }

    pub(super) fn is_ack(&self) -> bool {
        self.flags & 16 != 0
    }

    /// As a line of a script.
    pub(super) fn show(&self, isns: Isns) -> String {
        let mark = if self.ecn == 0 { String::new() } else { format!("[{}] ", ECN[usize::from(self.ecn)]) };
        let mut text = format!("{mark}{} {}", self.flags(), self.range(isns));
        if self.is_ack() {
            let _ = write!(text, " ack {}", self.relative_ack());
        }
        let _ = write!(text, " win {} <{}>", self.win, self.options);
        text
    }

    /// Is it what the script's text says? Names what is not.
    pub(super) fn matches(&self, text: &str, isns: Isns) -> Result<(), String> {
        let line = Line::parse(text)?;
        if line.flags != self.flags() {
            return Err("other flags".to_owned());
        }
        if line.ecn.is_some_and(|ecn| ecn != self.ecn) {
            return Err("another ECN mark".to_owned());
        }
        if line.range != self.range(isns) {
            return Err("other sequence numbers".to_owned());
        }
        let ack = self.is_ack().then(|| i64::from(self.relative_ack()));
        if line.ack != ack {
            return Err("another acknowledgement".to_owned());
        }
        if line.win.is_some_and(|w| w != self.win) {
            return Err("another window".to_owned());
        }
        if line.options.is_some_and(|want| !alike(want, &self.options)) {
            return Err("other options".to_owned());
        }
        Ok(())
    }

    fn flags(&self) -> String {
        let order = "SFRPUEWA.";
        let set = |c: &char| FLAGS.iter().any(|(name, bit)| name == c && self.flags & bit != 0);
        order.chars().filter(set).collect()
    }

    fn range(&self, isns: Isns) -> String {
        let seq = self.seq.wrapping_sub(isns.host.unwrap_or(0)) as i32;
        format!("{seq}:{}({})", i64::from(seq) + i64::from(self.len), self.len)
    }

    fn relative_ack(&self) -> i32 {
        self.ack.wrapping_sub(PEER_ISN) as i32
    }
}

/// A `*` is any number.
fn alike(want: &str, got: &str) -> bool {
    let (want, got): (Vec<_>, Vec<_>) = (want.split([',', ' ']).collect(), got.split([',', ' ']).collect());
    want.len() == got.len() && want.iter().zip(&got).all(|(w, g)| *w == "*" || w == g)
}

/// Reads an IPv4 packet of the host's; with its ports, source first.
pub(super) fn read(packet: &[u8]) -> Result<(Came, (u16, u16)), String> {
    let total = usize::from(half(packet, 2)?);
    let tcp = packet.get(20..total).ok_or("a packet that is cut")?;
    let pseudo = [&HOST.octets()[..], &PEER.octets(), &[0, 6], &(tcp.len() as u16).to_be_bytes(), tcp].concat();
    if checksum(&pseudo) != 0 || checksum(&packet[..20]) != 0 {
        return Err("a wrong checksum".to_owned());
    }
    let header = usize::from(*tcp.get(12).ok_or("a segment that is cut")? >> 4) * 4;
    let (options, stamp) = show_options(tcp.get(20..header).ok_or("options that are cut")?)?;
    let (seq, ack) = (word(tcp, 4)?, word(tcp, 8)?);
    let (ecn, flags, len) = (packet[1] & 3, half(tcp, 12)? & 0x1ff, (tcp.len() - header) as u32);
    let came = Came { ecn, flags, seq, ack, win: half(tcp, 14)?, len, options, stamp };
    Ok((came, (half(tcp, 0)?, half(tcp, 2)?)))
}

/// The options as text, and the timestamp among them.
fn show_options(mut bytes: &[u8]) -> Result<(String, Option<(u32, u32)>), String> {
    let (mut names, mut stamp) = (vec![], None);
    while let [kind, rest @ ..] = bytes {
        if *kind < 2 {
            names.push(if *kind == 1 { "nop" } else { "eol" }.to_owned());
            bytes = if *kind == 1 { rest } else { &[] };
            continue;
        }
        let len = usize::from(*rest.first().ok_or("an option that is cut")?);
        let body = bytes.get(2..len).ok_or("an option that is cut")?;
        names.push(match *kind {
            2 => format!("mss {}", half(body, 0)?),
            3 => format!("wscale {}", body.first().ok_or("an option that is cut")?),
            4 => "sackOK".to_owned(),
            5 => {
                let mut text = "sack".to_owned();
                for at in (0..body.len()).step_by(8) {
                    let [from, to] = [word(body, at)?, word(body, at + 4)?].map(|n| n.wrapping_sub(PEER_ISN));
                    let _ = write!(text, " {from}:{to}");
                }
                text
            }
            8 => {
                let (value, echo) = (word(body, 0)?, word(body, 4)?);
                stamp = Some((value, echo));
                format!("TS {value} {echo}")
            }
            other => format!("option {other}"),
        });
        bytes = &bytes[len..];
    }
    Ok((names.join(","), stamp))
}

/// A segment of a script.
struct Line<'a> {
    ecn: Option<u8>,
    flags: &'a str,
    range: &'a str,
    ack: Option<i64>,
    win: Option<u16>,
    options: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (head, options) = match text.split_once('<') {
            Some((head, options)) => (head, Some(options.trim().trim_end_matches('>'))),
            None => (text, None),
        };
        let mut words = head.split_whitespace();
        let mut flags = words.next().ok_or("no flags")?;
        let mut ecn = None;
        if let Some(mark) = flags.strip_prefix('[') {
            let mark = mark.trim_end_matches(']');
            let at = ECN.iter().position(|name| *name == mark).ok_or_else(|| format!("no ECN mark {mark}"))?;
            ecn = Some(at as u8);
            flags = words.next().ok_or("no flags")?;
        }
        let range = words.next().ok_or("no sequence numbers")?;
        let (mut ack, mut win) = (None, None);
        while let (Some(word), Some(value)) = (words.next(), words.next()) {
            match word {
                "ack" => ack = Some(parsed(value)?),
                "win" => win = Some(parsed(value)?),
                _ => return Err(format!("what is {word}?")),
            }
        }
        Ok(Line { ecn, flags, range, ack, win, options })
    }
}

/// An IPv4 packet of the peer's, from and to these ports.
pub(super) fn build(text: &str, ports: (u16, u16), isns: Isns) -> Result<Vec<u8>, String> {
    let line = Line::parse(text)?;
    let (from, rest) = line.range.split_once(':').ok_or("no range")?;
    let (_, len) = rest.split_once('(').ok_or("no length")?;
    let seq = (parsed::<i64>(from)? as u32).wrapping_add(PEER_ISN);
    let len: usize = parsed(len.trim_end_matches(')'))?;
    let host = isns.host.unwrap_or(0);
    let ack = line.ack.map_or(0, |a| (a as u32).wrapping_add(host));
    let options = put_options(line.options.unwrap_or_default(), isns)?;
    let mut flags = 0;
    for c in line.flags.chars() {
        flags |= FLAGS.iter().find(|(name, _)| *name == c).ok_or_else(|| format!("no flag {c}"))?.1;
    }
    let mut tcp = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    tcp.extend((((20 + options.len()) as u16) << 10 | flags).to_be_bytes());
    tcp.extend(line.win.unwrap_or(u16::MAX).to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(options);
    tcp.extend(vec![b'y'; len]);
    let pseudo = [&PEER.octets()[..], &HOST.octets(), &[0, 6], &(tcp.len() as u16).to_be_bytes(), &tcp].concat();
    let sum = checksum(&pseudo);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    Ok(ipv4(6, line.ecn.unwrap_or(0), &tcp))
}

/// An ICMP error about a packet of the host's: `frag_needed 1000 seq 1`.
pub(super) fn icmp(text: &str, about: &[u8], isn: u32) -> Result<Vec<u8>, String> {
    let mut words = text.split_whitespace();
    let (kind, code) = match words.next().unwrap_or_default() {
        "net_unreachable" => (3, 0),
        "host_unreachable" => (3, 1),
        "protocol_unreachable" => (3, 2),
        "port_unreachable" => (3, 3),
        "frag_needed" => (3, 4),
        "prohibited" => (3, 13),
        "time_exceeded" => (11, 0),
        other => return Err(format!("no ICMP error {other}")),
    };
    let mut quote = about.get(..28).ok_or("nothing was sent")?.to_vec();
    let mut info = 0_u32;
    while let Some(word) = words.next() {
        if word == "seq" {
            let seq: i64 = parsed(words.next().unwrap_or_default())?;
            quote[24..28].copy_from_slice(&(seq as u32).wrapping_add(isn).to_be_bytes());
        } else {
            info = parsed(word)?;
        }
    }
    let mut message = vec![kind, code, 0, 0];
    message.extend(info.to_be_bytes());
    message.extend(quote);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Ok(ipv4(1, 0, &message))
}

fn ipv4(protocol: u8, tos: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, tos];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(PEER.octets());
    packet.extend(HOST.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn put_options(text: &str, isns: Isns) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    for option in text.split(',').filter(|o| !o.is_empty()) {
        let words: Vec<&str> = option.split_whitespace().collect();
        let arg = words.get(1).copied().unwrap_or_default();
        match words[0] {
            "nop" => bytes.push(1),
            "eol" => bytes.push(0),
            "mss" => {
                bytes.extend([2, 4]);
                bytes.extend(parsed::<u16>(arg)?.to_be_bytes());
            }
            "wscale" => bytes.extend([3, 3, parsed(arg)?]),
            "sackOK" => bytes.extend([4, 2]),
            "sack" => {
                bytes.extend([5, 2 + 8 * (words.len() - 1) as u8]);
                for edge in words[1..].iter().flat_map(|b| b.split(':')) {
                    let edge = (parsed::<i64>(edge)? as u32).wrapping_add(isns.host.unwrap_or(0));
                    bytes.extend(edge.to_be_bytes());
                }
            }
            "TS" => {
                let echo = words.get(2).copied().unwrap_or("*");
                let echo = if echo == "*" { isns.stamp } else { parsed(echo)? };
                bytes.extend([8, 10]);
                bytes.extend(parsed::<u32>(arg)?.to_be_bytes());
                bytes.extend(echo.to_be_bytes());
            }
            other => return Err(format!("no option {other}")),
        }
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("no number: {text}"))
}

fn half(bytes: &[u8], at: usize) -> Result<u16, String> {
    let two = bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).ok_or("it is cut")?;
    Ok(u16::from_be_bytes(two))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, String> {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or("it is cut")?;
    Ok(u32::from_be_bytes(four))
}
