//! What ping puts into its packets, what it takes out of received ones, and its words for ICMP errors.

use super::options::Options;
use crate::wire::{be16, checksum};
use std::net::Ipv4Addr;

/// Bytes of an ICMP header.
pub(super) const ICMP_HLEN: usize = 8;
/// struct timeval on 64 bits, little-endian: seconds and microseconds.
pub(super) const STAMP_LEN: usize = 16;
/// Round trips are not taken to be longer than this, whatever time a changed payload claims.
pub(super) const MAX_TRIP_US: u64 = 1 << 52;
/// What does not fit into an IPv4 packet is not built in full: the kernel refuses it either way.
const MAX_SIZE: usize = 65_536;

/// ICMP types (RFC 792).
pub(super) const ECHO_REPLY: u8 = 0;
pub(super) const DEST_UNREACH: u8 = 3;
pub(super) const SOURCE_QUENCH: u8 = 4;
pub(super) const REDIRECT: u8 = 5;
pub(super) const ECHO: u8 = 8;
pub(super) const TIME_EXCEEDED: u8 = 11;
pub(super) const PARAMETER_PROBLEM: u8 = 12;

/// The payload of every request, before a time stamp is put into it.
pub(super) fn payload(o: &Options) -> Vec<u8> {
    let size = o.size.min(MAX_SIZE);
    match o.pattern.as_deref() {
        None => (0..size).map(|i| i as u8).collect(),
        Some([]) => vec![0; size],
        Some(pattern) => pattern.iter().copied().cycle().take(size).collect(),
    }
}

/// An echo request around `payload`; `stamp_us` is the time of day, in microseconds since 1970.
pub(super) fn request(payload: &[u8], ident: u16, seq: u16, stamp_us: u64) -> Vec<u8> {
    let mut p = vec![0; ICMP_HLEN];
    p[0] = ECHO;
    p[4..6].copy_from_slice(&ident.to_be_bytes());
    p[6..8].copy_from_slice(&seq.to_be_bytes());
    p.extend_from_slice(payload);
    if payload.len() >= STAMP_LEN {
        p[ICMP_HLEN..][..8].copy_from_slice(&(stamp_us / 1_000_000).to_le_bytes());
        p[ICMP_HLEN + 8..][..8].copy_from_slice(&(stamp_us % 1_000_000).to_le_bytes());
    }
    let sum = checksum(&p);
    p[2..4].copy_from_slice(&sum.to_be_bytes());
    p
}

/// From the time stamp in a reply to `now_us`, in microseconds; negative if the stamp is younger. None without a stamp.
pub(super) fn round_trip_us(icmp: &[u8], now_us: u64) -> Option<i64> {
    let stamp = icmp.get(ICMP_HLEN..ICMP_HLEN + STAMP_LEN)?;
    let word = |at: usize| stamp[at..at + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)) as i64;
    let sent = i128::from(word(0)) * 1_000_000 + i128::from(word(8));
    let limit = i128::from(MAX_TRIP_US);
    Some((i128::from(now_us) - sent).clamp(-limit, limit) as i64)
}

/// An IPv4 header's length and TTL, if the packet has room for it and an ICMP header.
pub(super) fn ip_header(packet: &[u8]) -> Option<(usize, u8)> {
    let length = usize::from(packet.first()? & 15) * 4;
    (length >= 20 && packet.len() >= length + ICMP_HLEN).then(|| (length, packet[8]))
}

/// The echo request that an ICMP error quotes: destination, id, sequence number.
pub(super) fn quoted(icmp: &[u8]) -> Option<(Ipv4Addr, u16, u16)> {
    let inner = icmp.get(ICMP_HLEN..)?;
    let (length, _) = ip_header(inner)?;
    let dst = Ipv4Addr::new(inner[16], inner[17], inner[18], inner[19]);
    (inner[length] == ECHO).then(|| (dst, be16(inner, length + 4), be16(inner, length + 6)))
}

/// What behind a reply's time stamp is not as it was sent: the lines that show it; empty if nothing is.
pub(super) fn wrong_data(icmp: &[u8], payload: &[u8]) -> String {
    let (Some(got), Some(want)) = (icmp.get(ICMP_HLEN + STAMP_LEN..), payload.get(STAMP_LEN..)) else {
        return String::new();
    };
    let Some(at) = got.iter().zip(want).position(|(g, w)| g != w) else { return String::new() };
    let number = at + STAMP_LEN;
    let mut out = format!("\nwrong data byte #{number} should be 0x{:x} but was 0x{:x}", want[at], got[at]);
    for (i, byte) in got.iter().take(want.len()).enumerate() {
        if i % 32 == 0 {
            out.push_str(&format!("\n#{}\t", i + STAMP_LEN));
        }
        out.push_str(&format!("{byte:x} "));
    }
    out
}

/// An ICMP error in words; `info` is what its second word holds: an MTU, a pointer (as ee_info has it) or a gateway.
pub(super) fn describe(kind: u8, code: u8, info: u32) -> String {
    match kind {
        DEST_UNREACH => unreachable(code, info),
        SOURCE_QUENCH => "Source Quench".to_owned(),
        REDIRECT => format!("{}(New nexthop: {})", redirect(code), Ipv4Addr::from(info)),
        TIME_EXCEEDED => match code {
            0 => "Time to live exceeded".to_owned(),
            1 => "Frag reassembly time exceeded".to_owned(),
            _ => format!("Time exceeded, Bad Code: {code}"),
        },
        PARAMETER_PROBLEM => format!("Parameter problem: pointer = {info}"),
        _ => format!("Bad ICMP type: {kind}"),
    }
}

fn unreachable(code: u8, mtu: u32) -> String {
    const CODES: [&str; 16] = [
        "Destination Net Unreachable",
        "Destination Host Unreachable",
        "Destination Protocol Unreachable",
        "Destination Port Unreachable",
        "Frag needed and DF set",
        "Source Route Failed",
        "Destination Net Unknown",
        "Destination Host Unknown",
        "Source Host Isolated",
        "Destination Net Prohibited",
        "Destination Host Prohibited",
        "Destination Net Unreachable for Type of Service",
        "Destination Host Unreachable for Type of Service",
        "Packet filtered",
        "Precedence Violation",
        "Precedence Cutoff",
    ];
    match CODES.get(usize::from(code)) {
        Some(text) if code == 4 => format!("{text} (mtu = {mtu})"),
        Some(text) => (*text).to_owned(),
        None => format!("Dest Unreachable, Bad Code: {code}"),
    }
}

fn redirect(code: u8) -> String {
    match code {
        0 => "Redirect Network".to_owned(),
        1 => "Redirect Host".to_owned(),
        2 => "Redirect Type of Service and Network".to_owned(),
        3 => "Redirect Type of Service and Host".to_owned(),
        _ => format!("Redirect, Bad Code: {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_bytes() {
        let payload: Vec<u8> = (0..18).collect();
        let p = request(&payload, 0x1234, 7, 1_795_253_606_080_197);
        assert_eq!(p[..8], [8, 0, p[2], p[3], 0x12, 0x34, 0, 7]);
        assert_eq!(checksum(&p), 0);
        assert_eq!(p[8..16], 1_795_253_606u64.to_le_bytes());
        assert_eq!(p[16..24], 80_197u64.to_le_bytes());
        assert_eq!(p[24..], [16, 17]);
        assert_eq!(round_trip_us(&p, 1_795_253_606_080_550), Some(353));
        assert_eq!(round_trip_us(&p[..23], 1_795_253_606_080_550), None);
        // Too small for a stamp: a real request of ping -s 10, but for id and checksum.
        let p = request(&(0..10).collect::<Vec<u8>>(), 1, 1, 0);
        assert_eq!(p[8..], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn quotes() {
        let mut error = vec![3, 1, 0, 0, 0, 0, 0, 0];
        let mut inner = vec![0; 28];
        inner[0] = 0x45;
        inner[16..20].copy_from_slice(&[10, 8, 1, 2]);
        inner[20] = ECHO;
        inner[24..28].copy_from_slice(&[0x12, 0x34, 0, 9]);
        error.extend(inner);
        assert_eq!(quoted(&error), Some(([10, 8, 1, 2].into(), 0x1234, 9)));
        for cut in 0..error.len() {
            assert_eq!(quoted(&error[..cut]), None);
        }
        error[8] = 0x4f;
        assert_eq!(quoted(&error), None);
    }

    /// Shown by the real program when byte 20 was inverted.
    #[test]
    fn changed_data() {
        let payload: Vec<u8> = (0..56).collect();
        let mut p = request(&payload, 1, 1, 0);
        assert_eq!(wrong_data(&p, &payload), "");
        p[8 + 20] = 0xeb;
        let want = "\nwrong data byte #20 should be 0x14 but was 0xeb\n#16\t10 11 12 13 eb 15 16 17 18 19 1a 1b 1c 1d \
                    1e 1f 20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f \n#48\t30 31 32 33 34 35 36 37 ";
        assert_eq!(wrong_data(&p, &payload), want);
        assert_eq!(wrong_data(&p[..10], &payload), "");
    }

    #[test]
    fn patterns() {
        let words = crate::user::script::words("ping -s 5 -p abcdef 127.1");
        let o = super::super::options::parse(&words[0], &words[1..]).unwrap();
        assert_eq!(payload(&o), [0xab, 0xcd, 0xef, 0xab, 0xcd]);
        assert_eq!(payload(&Options { pattern: Some(vec![]), ..o.clone() }), [0; 5]);
        assert_eq!(payload(&Options { size: usize::MAX, ..o }).len(), MAX_SIZE);
    }

    /// What the real program printed when a router sent each of them.
    #[test]
    fn error_texts() {
        for (kind, code, info, want) in [
            (3, 0, 0, "Destination Net Unreachable"),
            (3, 1, 0, "Destination Host Unreachable"),
            (3, 2, 0, "Destination Protocol Unreachable"),
            (3, 3, 0, "Destination Port Unreachable"),
            (3, 4, 1400, "Frag needed and DF set (mtu = 1400)"),
            (3, 5, 0, "Source Route Failed"),
            (3, 6, 0, "Destination Net Unknown"),
            (3, 7, 0, "Destination Host Unknown"),
            (3, 8, 0, "Source Host Isolated"),
            (3, 9, 0, "Destination Net Prohibited"),
            (3, 10, 0, "Destination Host Prohibited"),
            (3, 11, 0, "Destination Net Unreachable for Type of Service"),
            (3, 12, 0, "Destination Host Unreachable for Type of Service"),
            (3, 13, 0, "Packet filtered"),
            (3, 14, 0, "Precedence Violation"),
            (3, 15, 0, "Precedence Cutoff"),
            (4, 0, 0, "Source Quench"),
            (5, 0, 0x0a08_0001, "Redirect Network(New nexthop: 10.8.0.1)"),
            (5, 1, 0x0a08_0001, "Redirect Host(New nexthop: 10.8.0.1)"),
            (5, 2, 0x0a08_0001, "Redirect Type of Service and Network(New nexthop: 10.8.0.1)"),
            (5, 3, 0x0a08_0001, "Redirect Type of Service and Host(New nexthop: 10.8.0.1)"),
            (5, 4, 0x0a08_0001, "Redirect, Bad Code: 4(New nexthop: 10.8.0.1)"),
            (11, 0, 0, "Time to live exceeded"),
            (11, 2, 0, "Time exceeded, Bad Code: 2"),
            (12, 1, 20, "Parameter problem: pointer = 20"),
        ] {
            assert_eq!(describe(kind, code, info), want);
        }
    }
}
