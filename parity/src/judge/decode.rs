//! Captures to text: one line a packet, with everything in it that the comparison looks at.
//!
//! A port of `tests/oracles/pk.py`, whose text the recordings are written in, so each line is the same to the byte.
//! Link types: EN10MB, LINUX_SLL, LINUX_SLL2, anything else is taken as RAW. A frame that pk.py fails on (cut short
//! within a header, an option of the wrong size, nested too deeply) prints as "malformed frame" and its bytes in hex.
//!
//! Sources: the libpcap file format (pcap-savefile(5)), LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2 (tcpdump.org),
//! RFC 826 (ARP), RFC 791, RFC 792, RFC 768, RFC 9293, RFC 7323, RFC 2018, RFC 7348 (VXLAN), RFC 8200, RFC 4443.

mod ipv4;
mod ipv6;

pub use ipv4::ICMP_NAMES;

use std::fmt;

/// One record of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was seen, in ns since the epoch.
    pub ts_ns: u64,
    /// The interface's number, where the link type has one (LINUX_SLL2).
    pub ifindex: Option<u32>,
    /// The packet type of `packet(7)`, where the link type has one (LINUX_SLL and LINUX_SLL2).
    pub packet_type: Option<u16>,
    /// The packet, with absolute sequence numbers.
    pub text: String,
}

impl Record {
    /// The packet type as tcpdump prints it: `In`, `B`(roadcast), `M`(ulticast), `P` (to somebody else's MAC), `Out`;
    /// `-` where the link type has none.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        self.packet_type.and_then(|kind| ["In", "B", "M", "P", "Out"].get(usize::from(kind)).copied()).unwrap_or("-")
    }
}

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPcap {
    /// It does not start with the magic number of a pcap file.
    NotPcap,
}

impl fmt::Display for BadPcap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPcap => f.write_str("not a pcap file"),
        }
    }
}

impl std::error::Error for BadPcap {}

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was seen, in ns since the epoch.
    pub ts_ns: u64,
    /// What begins with the link type's header.
    pub bytes: &'a [u8],
}

/// The link type and the frames of a pcap file, of either byte order, with times in us or ns. A file that ends within a
/// record (its writer was killed) gives what there is; one that ends within the file header gives nothing.
///
/// # Errors
/// [`BadPcap::NotPcap`]
pub fn frames(file: &[u8]) -> Result<(u32, Vec<Frame<'_>>), BadPcap> {
    const FILE_HEADER_LEN: usize = 24;
    let Some((header, mut rest)) = file.split_at_checked(FILE_HEADER_LEN) else { return Ok((0, Vec::new())) };
    let (big_endian, ns_per_tick) = match header[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000),
        [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
        [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000),
        [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
        _ => return Err(BadPcap::NotPcap),
    };
    let word = |b: &[u8], at: usize| {
        let bytes = [b[at], b[at + 1], b[at + 2], b[at + 3]];
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(16) {
        let ts_ns = u64::from(word(header, 0)) * 1_000_000_000 + u64::from(word(header, 4)) * ns_per_tick;
        let (bytes, after) = after.split_at(after.len().min(word(header, 8) as usize));
        rest = after;
        frames.push(Frame { ts_ns, bytes });
    }
    Ok((word(header, 20) & 0xffff, frames))
}

/// The records of a pcap file, as [`frames`] reads it.
///
/// # Errors
/// [`BadPcap::NotPcap`]
pub fn read_pcap(file: &[u8]) -> Result<Vec<Record>, BadPcap> {
    let (link_type, frames) = frames(file)?;
    let record = |Frame { ts_ns, bytes }| {
        let (ifindex, packet_type, text) = link_layer(link_type, bytes).unwrap_or_else(|Malformed| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (None, None, format!("malformed frame {hex}"))
        });
        Record { ts_ns, ifindex, packet_type, text }
    };
    Ok(frames.into_iter().map(record).collect())
}

/// What the link layer tells (interface number, packet type) and the packet's text.
fn link_layer(link_type: u32, frame: &[u8]) -> Result<(Option<u32>, Option<u16>, String), Malformed> {
    const EN10MB: u32 = 1;
    const LINUX_SLL: u32 = 113;
    const LINUX_SLL2: u32 = 276;
    match link_type {
        EN10MB => Ok((None, None, ethernet(frame, 0)?)),
        LINUX_SLL2 => {
            let (ethertype, ifindex, packet_type) = (be16(frame, 0)?, be32(frame, 4)?, byte(frame, 10)?);
            byte(frame, 11)?;
            let text = network_layer(ethertype, part(frame, 20, frame.len()), 0)?;
            Ok((Some(ifindex), Some(u16::from(packet_type)), text))
        }
        LINUX_SLL => {
            let text = network_layer(be16(frame, 14)?, part(frame, 16, frame.len()), 0)?;
            Ok((None, Some(be16(frame, 0)?), text))
        }
        _ => Ok((None, None, ip(frame, 0)?)),
    }
}

/// `SOURCE > DESTINATION, PACKET`
fn ethernet(b: &[u8], depth: u8) -> Result<String, Malformed> {
    let packet = network_layer(be16(b, 12)?, part(b, 14, b.len()), depth)?;
    Ok(format!("{} > {}, {packet}", mac(part(b, 6, 12)), mac(part(b, 0, 6))))
}

fn network_layer(ethertype: u16, b: &[u8], depth: u8) -> Result<String, Malformed> {
    match ethertype {
        0x0806 => arp(b),
        0x0800 | 0x86dd => ip(b, depth),
        _ => Ok(format!("ethertype 0x{ethertype:04x} len {}", b.len())),
    }
}

fn arp(b: &[u8]) -> Result<String, Malformed> {
    const REQUEST: u16 = 1;
    let (sender, sender_ip) = (mac(part(b, 8, 14)), dotted(part(b, 14, 18)));
    let (target, target_ip) = (mac(part(b, 18, 24)), dotted(part(b, 24, 28)));
    let len = b.len();
    Ok(match be16(b, 6)? {
        REQUEST => format!("ARP who-has {target_ip} tell {sender_ip} (sha {sender} tha {target}) len {len}"),
        _ => format!("ARP reply {sender_ip} is-at {sender} (to {target} {target_ip}) len {len}"),
    })
}

/// An IP packet; `depth` counts the packets that it is in.
fn ip(b: &[u8], depth: u8) -> Result<String, Malformed> {
    /// Tunnels in tunnels and quotes in quotes, down to here.
    const MAX_DEPTH: u8 = 32;
    match b.first() {
        None => Ok("IP empty".into()),
        Some(_) if depth > MAX_DEPTH => Err(Malformed),
        Some(first) if first >> 4 == 6 => ipv6::packet(b),
        Some(_) => ipv4::packet(b, depth),
    }
}

/// A header that can't be read; the frame is then printed in hex.
struct Malformed;

/// `b[from..to]`, or as much of it as there is.
fn part(b: &[u8], from: usize, to: usize) -> &[u8] {
    let to = to.min(b.len());
    b.get(from..to).unwrap_or_default()
}

fn byte(b: &[u8], at: usize) -> Result<u8, Malformed> {
    b.get(at).copied().ok_or(Malformed)
}

fn be16(b: &[u8], at: usize) -> Result<u16, Malformed> {
    let bytes = b.get(at..at.saturating_add(2)).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_be_bytes).ok_or(Malformed)
}

fn be32(b: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = b.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_be_bytes).ok_or(Malformed)
}

fn mac(b: &[u8]) -> String {
    b.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn dotted(b: &[u8]) -> String {
    b.iter().map(u8::to_string).collect::<Vec<_>>().join(".")
}

/// The ones' complement sum of RFC 1071, not complemented; an odd byte at the end counts as the high one of a pair.
fn ones_complement_sum(b: &[u8], start: u16) -> u16 {
    let pairs = b.chunks(2).map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low)));
    let mut sum = u64::from(start) + pairs.sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The loop ends at 16 bits.
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcap(link_type: u32, frames: &[&[u8]]) -> Vec<u8> {
        let mut file = vec![0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
        file.extend(link_type.to_le_bytes());
        for frame in frames {
            let len = frame.len() as u32;
            file.extend([1_u32, 7, len, len].iter().flat_map(|word| word.to_le_bytes()));
            file.extend(*frame);
        }
        file
    }

    #[test]
    fn files() {
        let cases: [(&str, Vec<u8>, Result<usize, BadPcap>); 6] = [
            ("empty", vec![], Ok(0)),
            ("within the header", vec![0xd4; 23], Ok(0)),
            ("no records", pcap(1, &[]), Ok(0)),
            ("another format", vec![0x0a; 32], Err(BadPcap::NotPcap)),
            ("within a record header", [pcap(1, &[&[0; 14]]), vec![0; 15]].concat(), Ok(1)),
            ("within a frame", pcap(1, &[&[0; 20]])[..24 + 16 + 15].to_vec(), Ok(1)),
        ];
        for (name, file, want) in cases {
            assert_eq!(read_pcap(&file).map(|records| records.len()), want, "{name}");
        }
    }

    #[test]
    fn times_of_either_byte_order_and_unit() {
        let little = |magic: u8| [vec![magic], pcap(1, &[&[0; 14]])[1..].to_vec()].concat();
        let big = |magic: [u8; 4]| {
            let words = [1_u32, 1, 7, 14, 14].iter().flat_map(|word| word.to_be_bytes()).collect();
            [magic.to_vec(), vec![0; 16], words, vec![0; 14]].concat()
        };
        let mut micro = little(0xd4);
        micro[1] = 0xc3;
        let cases = [
            (little(0x4d), 1_000_000_007),
            (micro, 1_000_007_000),
            (big([0xa1, 0xb2, 0xc3, 0xd4]), 1_000_007_000),
            (big([0xa1, 0xb2, 0x3c, 0x4d]), 1_000_000_007),
        ];
        for (file, ts_ns) in cases {
            let text = "00:00:00:00:00:00 > 00:00:00:00:00:00, ethertype 0x0000 len 0".to_owned();
            assert_eq!(read_pcap(&file), Ok(vec![Record { ts_ns, ifindex: None, packet_type: None, text }]));
        }
    }

    #[test]
    fn link_types_and_malformed_frames() {
        let sll2 = [0x12, 0x34, 0, 0, 0, 0, 0, 5, 0, 1, 4, 6, 1, 2, 3, 4, 5, 6, 0, 0, 9, 9];
        let sll = [0, 3, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0x12, 0x34, 9];
        let cases: [(u32, &[u8], &str); 7] = [
            (276, &sll2, "Some(5) Out ethertype 0x1234 len 2"),
            (276, &sll2[..12], "Some(5) Out ethertype 0x1234 len 0"),
            (276, &sll2[..11], "None - malformed frame 1234000000000005000104"),
            (113, &sll, "None P ethertype 0x1234 len 1"),
            (113, &sll[..15], "None - malformed frame 000300010006010203040506000012"),
            (101, &[], "None - IP empty"),
            (101, &[0x45, 0], "None - malformed frame 4500"),
        ];
        for (link_type, frame, want) in cases {
            let records = read_pcap(&pcap(link_type, &[frame])).expect("a pcap file");
            let got: Vec<_> = records.iter().map(|r| format!("{:?} {} {}", r.ifindex, r.direction(), r.text)).collect();
            assert_eq!(got, [want]);
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        // IPIP in IPIP …: 20 bytes each.
        let nested = |levels: u16| {
            let mut packet = Vec::new();
            for level in 1..=levels {
                let mut header = vec![0; 20];
                (header[0], header[9]) = (0x45, 4);
                header[2..4].copy_from_slice(&(20 * level).to_be_bytes());
                packet = [header, packet].concat();
            }
            read_pcap(&pcap(101, &[&packet])).expect("a pcap file")[0].text.clone()
        };
        assert!(nested(32).ends_with("| IP empty"));
        assert!(nested(2000).starts_with("malformed frame 4500"));
    }
}
