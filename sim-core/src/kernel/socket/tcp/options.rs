//! Mirrors tcp_parse_options of net/ipv4/tcp_input.c and tcp_options_write of net/ipv4/tcp_output.c: the options of a
//! segment and their order. Read RFC 9293 section 3.2, RFC 7323 and RFC 2018 before editing.

use crate::wire::{be16, be32};

/// MAX_TCP_OPTION_SPACE
pub(super) const MAX_OPTION_SPACE: usize = 40;
/// TCP_MAX_WSCALE (RFC 7323 section 2.3)
pub(super) const TCP_MAX_WSCALE: u8 = 14;
/// TCPOLEN_TSTAMP_ALIGNED
pub(super) const TSTAMP_LEN: u32 = 12;

const EOL: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WSCALE: u8 = 3;
const SACK_PERM: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMP: u8 = 8;
/// As many SACK blocks fit.
const MAX_SACKS: usize = 4;

/// The options of a segment, to be read or to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub mss: Option<u16>,
    pub wscale: Option<u8>,
    pub sack_perm: bool,
    /// TSval and TSecr.
    pub ts: Option<(u32, u32)>,
    pub sacks: [(u32, u32); MAX_SACKS],
    pub num_sacks: u8,
}

impl Options {
    /// Reads what stands behind the fixed header; nonsense ends it.
    pub fn parse(mut bytes: &[u8]) -> Options {
        let mut out = Options::default();
        while let Some((&kind, rest)) = bytes.split_first() {
            match kind {
                EOL => break,
                NOP => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(&len) = rest.first() else { break };
            let len = usize::from(len);
            if len < 2 || len > bytes.len() {
                break;
            }
            let value = &bytes[2..len];
            match (kind, value.len()) {
                (MSS, 2) => out.mss = Some(be16(value, 0)).filter(|mss| *mss != 0).or(out.mss),
                (WSCALE, 1) => out.wscale = Some(value[0].min(TCP_MAX_WSCALE)),
                (SACK_PERM, 0) => out.sack_perm = true,
                (TIMESTAMP, 8) => out.ts = Some((be32(value, 0), be32(value, 4))),
                (SACK, n) if n >= 8 && n % 8 == 0 => {
                    for block in value.chunks_exact(8) {
                        out.push_sack((be32(block, 0), be32(block, 4)));
                    }
                }
                _ => {}
            }
            bytes = &bytes[len..];
        }
        out
    }

    #[inline(never)]
    pub fn push_sack(&mut self, block: (u32, u32)) {
        if usize::from(self.num_sacks) < MAX_SACKS {
            self.sacks[usize::from(self.num_sacks)] = block;
            self.num_sacks += 1;
        }
    }

    /// The SACK blocks.
    pub fn sacks(&self) -> &[(u32, u32)] {
        &self.sacks[..usize::from(self.num_sacks)]
    }

    /// So many more SACK blocks fit beside what is there.
    pub fn room_for_sacks(&self) -> usize {
        (MAX_OPTION_SPACE - self.len()).saturating_sub(4) / 8
    }

    /// Bytes in the header, a multiple of four.
    pub fn len(&self) -> usize {
        let sacks = usize::from(self.num_sacks);
        let mut len = 0;
        len += if self.mss.is_some() { 4 } else { 0 };
        len += if self.ts.is_some() { 12 } else { 0 };
        len += if self.sack_perm && self.ts.is_none() { 4 } else { 0 };
        len += if self.wscale.is_some() { 4 } else { 0 };
        len + if sacks > 0 { 4 + sacks * 8 } else { 0 }
    }

    /// tcp_options_write: in Linux's order, which fingerprints it.
    pub fn write(&self, out: &mut [u8]) {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            put(&[MSS, 4]);
            put(&mss.to_be_bytes());
        }
        if let Some((val, ecr)) = self.ts {
            put(if self.sack_perm { &[SACK_PERM, 2] } else { &[NOP, NOP] });
            put(&[TIMESTAMP, 10]);
            put(&val.to_be_bytes());
            put(&ecr.to_be_bytes());
        } else if self.sack_perm {
            put(&[NOP, NOP, SACK_PERM, 2]);
        }
        if let Some(wscale) = self.wscale {
            put(&[NOP, WSCALE, 3, wscale]);
        }
        if self.num_sacks > 0 {
            put(&[NOP, NOP, SACK, 2 + 8 * self.num_sacks]);
            for (start, end) in self.sacks() {
                put(&start.to_be_bytes());
                put(&end.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(o: &Options) -> Vec<u8> {
        let mut out = vec![0; o.len()];
        o.write(&mut out);
        out
    }

    #[test]
    fn linux_order() {
        let syn = Options { mss: Some(1460), wscale: Some(7), sack_perm: true, ts: Some((1, 0)), ..Options::default() };
        let want = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(written(&syn), want);
        let mut ack = Options { ts: Some((5, 6)), ..Options::default() };
        assert_eq!(ack.room_for_sacks(), 3);
        ack.push_sack((100, 200));
        let want = [1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6, 1, 1, 5, 10, 0, 0, 0, 100, 0, 0, 0, 200];
        assert_eq!(written(&ack), want);
        for o in [syn, ack, Options { sack_perm: true, ..Options::default() }] {
            assert_eq!(Options::parse(&written(&o)), o);
        }
    }

    #[test]
    fn nonsense_is_left_out() {
        for (bytes, want) in [
            (&[][..], Options::default()),
            (&[2], Options::default()),
            (&[2, 1, 0], Options::default()),
            (&[2, 4, 0], Options::default()),
            (&[2, 4, 0, 0], Options::default()),
            (&[3, 3, 99], Options { wscale: Some(14), ..Options::default() }),
            (&[0, 2, 4, 5, 0xb4], Options::default()),
            (&[77, 3, 9, 2, 4, 5, 0xb4], Options { mss: Some(1460), ..Options::default() }),
        ] {
            assert_eq!(Options::parse(bytes), want, "{bytes:?}");
        }
    }
}
