//! Capture files (draft-ietf-opsawg-pcap): little-endian, nanoseconds, one link type a file.

/// LINKTYPE_ETHERNET
pub const LINKTYPE_ETHERNET: u32 = 1;
/// LINKTYPE_RAW: IP packets without a link-layer header.
pub const LINKTYPE_RAW: u32 = 101;
/// The magic number of a file with nanoseconds.
const MAGIC_NS: u32 = 0xa1b2_3c4d;
/// tcpdump's default: nothing that is simulated is longer.
pub const SNAPLEN: u32 = 262_144;

/// Appends a file header.
pub fn header(out: &mut Vec<u8>, linktype: u32) {
    for word in [MAGIC_NS, 4 << 16 | 2, 0, 0, SNAPLEN, linktype] {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

/// Appends a record: `at_ns` nanoseconds since 1970, `pseudo` in front of `bytes`.
pub fn record(out: &mut Vec<u8>, at_ns: u64, pseudo: &[u8], bytes: &[u8]) {
    let len = (pseudo.len() + bytes.len()) as u32;
    let (seconds, nanos) = ((at_ns / 1_000_000_000) as u32, (at_ns % 1_000_000_000) as u32);
    for word in [seconds, nanos, len, len] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(pseudo);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut out = vec![];
        header(&mut out, LINKTYPE_ETHERNET);
        record(&mut out, 1_640_995_200_123_456_789, &[1, 2], &[3]);
        let want: &[u8] = &[
            0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, //
            0x80, 0x99, 0xcf, 0x61, 0x15, 0xcd, 0x5b, 0x07, 3, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3,
        ];
        assert_eq!(out, want);
    }
}
