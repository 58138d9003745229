//! IPv4 packets, by hand.

use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, UDP_HLEN, checksum, pseudo_sum};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of an IPv4 header without options, and of a TCP header.
const HEADER: usize = 20;
/// Bytes of an ICMP header with an id and a sequence number.
const ICMP_HLEN: usize = 8;
/// Bits of TCP's flags.
const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 0x10;
/// The payload is cut so that a packet stays within what its header can say.
const MAX_PAYLOAD: usize = 65_535 - 2 * HEADER;

/// The flags of a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// Flags by their letters, as tcpdump writes them (`S`, `SA`, `FA`; a dot is `A`): FSRPAUEW. None for another
    /// letter.
    pub fn parse(text: &str) -> Option<TcpFlags> {
        let bit = |c: char| "FSRPAUEW".find(if c == '.' { 'A' } else { c }).map(|at| 1 << at);
        text.chars().try_fold(0, |all, c| Some(all | bit(c)?)).map(TcpFlags)
    }
}

/// An IPv4 packet to be sent or received. Its checksums are right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The source address.
    pub src: Ipv4Addr,
    /// The destination address.
    pub dst: Ipv4Addr,
    /// The transport protocol.
    pub protocol: u8,
    /// The source port, or the id of an ICMP echo.
    pub sport: u16,
    /// The destination port.
    pub dport: u16,
    /// TCP's flags.
    pub flags: TcpFlags,
    /// TCP's sequence number and acknowledgement.
    pub seq: (u32, u32),
    /// ICMP's type and code.
    pub icmp: (u8, u8),
    /// The time to live.
    pub ttl: u8,
    /// The second byte of the header: DSCP and ECN.
    pub tos: u8,
    /// What follows the transport header.
    pub payload: Vec<u8>,
}

/// Address and port of `ADDRESS:PORT` or `ADDRESS`.
fn end(text: &str) -> SocketAddrV4 {
    let whole = text.parse().or_else(|_| text.parse().map(|address| SocketAddrV4::new(address, 0)));
    whole.unwrap_or_else(|_| panic!("{text:?} is no ADDRESS:PORT"))
}

impl Packet {
    /// A packet of a protocol without ports, or with ports of zero.
    pub fn new(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr) -> Packet {
        Packet {
            src,
            dst,
            protocol,
            sport: 0,
            dport: 0,
            flags: TcpFlags(SYN),
            seq: (1000, 0),
            icmp: (8, 0),
            ttl: 64,
            tos: 0,
            payload: Vec::new(),
        }
    }

    /// A SYN from `ADDRESS:PORT` to `ADDRESS:PORT`.
    ///
    /// # Panics
    /// An end is not written so: a bug of the test's.
    pub fn tcp(src: &str, dst: &str) -> Packet {
        Packet::between(IPPROTO_TCP, src, dst)
    }

    /// A datagram.
    ///
    /// # Panics
    /// As [`Packet::tcp`].
    pub fn udp(src: &str, dst: &str) -> Packet {
        Packet::between(IPPROTO_UDP, src, dst)
    }

    /// An echo request from one address to another, with the id of the port that stands behind the first.
    ///
    /// # Panics
    /// As [`Packet::tcp`].
    pub fn ping(src: &str, dst: &str) -> Packet {
        Packet::between(IPPROTO_ICMP, src, dst)
    }

    fn between(protocol: u8, src: &str, dst: &str) -> Packet {
        let (src, dst) = (end(src), end(dst));
        Packet { sport: src.port(), dport: dst.port(), ..Packet::new(protocol, *src.ip(), *dst.ip()) }
    }

    /// The same with other TCP flags ([`TcpFlags::parse`]).
    ///
    /// # Panics
    /// There is no such flag.
    #[must_use]
    pub fn flags(self, letters: &str) -> Packet {
        let flags = TcpFlags::parse(letters).unwrap_or_else(|| panic!("{letters:?} are no flags"));
        Packet { flags, ..self }
    }

    /// The same with a payload.
    #[must_use]
    pub fn payload(self, bytes: &[u8]) -> Packet {
        Packet { payload: bytes[..bytes.len().min(MAX_PAYLOAD)].to_vec(), ..self }
    }

    /// What the other end sends back: the first answer to a first packet, the next packet to any other.
    #[must_use]
    pub fn answer(&self) -> Packet {
        let (seq, ack) = self.seq;
        let opens = self.flags.0 & (SYN | ACK) == SYN;
        let flags = TcpFlags(if opens { SYN | ACK } else { ACK });
        // SYN and FIN take a number each.
        let controls = (self.flags.0 & (SYN | FIN)).count_ones();
        let next = seq.wrapping_add(controls).wrapping_add(self.payload.len() as u32);
        Packet {
            src: self.dst,
            dst: self.src,
            sport: if self.protocol == IPPROTO_ICMP { self.sport } else { self.dport },
            dport: self.sport,
            flags,
            seq: (if opens { 5000 } else { ack }, next),
            icmp: (answer_type(self.icmp.0), self.icmp.1),
            ttl: 64,
            payload: Vec::new(),
            ..self.clone()
        }
    }

    /// The packet that `bytes` are, from the IPv4 header on; none if they are no first fragment of one. What stands in
    /// its options is not kept.
    pub fn read(bytes: &[u8]) -> Option<Packet> {
        let header = usize::from(bytes.first()? & 15) * 4;
        let word = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
        let long = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
        if bytes[0] >> 4 != 4 || header < HEADER || bytes.len() < header || word(6)? & 0x1fff != 0 {
            return None;
        }
        let mut packet =
            Packet { ttl: bytes[8], tos: bytes[1], ..Packet::new(bytes[9], long(12)?.into(), long(16)?.into()) };
        let data = match packet.protocol {
            IPPROTO_ICMP => {
                packet.icmp = (*bytes.get(header)?, *bytes.get(header + 1)?);
                packet.sport = word(header + 4)?;
                header + ICMP_HLEN
            }
            protocol => {
                (packet.sport, packet.dport) = (word(header)?, word(header + 2)?);
                if protocol == IPPROTO_TCP {
                    packet.flags = TcpFlags(*bytes.get(header + 13)?);
                    packet.seq = (long(header + 4)?, long(header + 8)?);
                    header + usize::from(bytes[header + 12] >> 4) * 4
                } else {
                    header + UDP_HLEN
                }
            }
        };
        packet.payload = bytes.get(data..).unwrap_or_default().to_vec();
        Some(packet)
    }

    /// The packet from its IPv4 header on.
    pub fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let len = (HEADER + segment.len()) as u16;
        let mut bytes = vec![0x45, self.tos, 0, 0, 0, 1, 0x40, 0, self.ttl, self.protocol, 0, 0];
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(segment);
        bytes
    }

    /// What follows the IPv4 header. Protocols that are not known here begin with their ports, as SCTP and DCCP do.
    pub fn segment(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        let ports = [self.sport.to_be_bytes(), self.dport.to_be_bytes()].concat();
        let sum_at = match self.protocol {
            IPPROTO_ICMP => {
                bytes.extend([self.icmp.0, self.icmp.1, 0, 0]);
                bytes.extend(self.sport.to_be_bytes());
                bytes.extend([0, 1]);
                Some(2)
            }
            IPPROTO_TCP => {
                bytes.extend(ports);
                bytes.extend([self.seq.0.to_be_bytes(), self.seq.1.to_be_bytes()].concat());
                bytes.extend([0x50, self.flags.0, 0xff, 0xff, 0, 0, 0, 0]);
                Some(16)
            }
            IPPROTO_UDP => {
                bytes.extend(ports);
                bytes.extend(((UDP_HLEN + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                Some(6)
            }
            _ => {
                bytes.extend(ports);
                bytes.extend([0; 8]);
                None
            }
        };
        bytes.extend(&self.payload);
        if let Some(at) = sum_at {
            let pseudo = match self.protocol {
                IPPROTO_ICMP => 0,
                protocol => pseudo_sum(self.src, self.dst, protocol, bytes.len()),
            };
            bytes[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
            let sum = checksum(&bytes);
            let sum = if sum == 0 && self.protocol == IPPROTO_UDP { 0xffff } else { sum };
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }
}

/// The ICMP type that answers one (RFC 792); the same for one that has no answer.
fn answer_type(kind: u8) -> u8 {
    match kind {
        8 => 0,
        13 => 14,
        15 => 16,
        17 => 18,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_back() {
        for packet in [
            Packet::tcp("192.0.2.1:1234", "192.0.2.2:80").flags("SA").payload(b"x"),
            Packet::udp("192.0.2.1:1234", "192.0.2.2:53").payload(b"name"),
            Packet::ping("192.0.2.1:7", "192.0.2.2"),
            Packet { protocol: 132, ..Packet::udp("192.0.2.1:1234", "192.0.2.2:53") },
        ] {
            let bytes = packet.bytes();
            assert_eq!(checksum(&bytes[..HEADER]), 0);
            let mut read = Packet::read(&bytes).expect("a packet");
            if packet.protocol == 132 {
                read.payload.clear();
            }
            assert_eq!(read, packet);
            for cut in 0..HEADER + 4 {
                assert_eq!(Packet::read(&bytes[..cut]), None, "{cut} bytes");
            }
        }
    }

    #[test]
    fn answers_go_back() {
        let syn = Packet::tcp("192.0.2.1:1234", "192.0.2.2:80");
        let answer = syn.answer();
        assert_eq!((answer.src, answer.sport, answer.dport), (syn.dst, 80, 1234));
        assert_eq!((answer.flags, answer.seq), (TcpFlags(0x12), (5000, 1001)));
        let ack = answer.answer();
        assert_eq!((ack.flags, ack.seq), (TcpFlags(0x10), (1001, 5001)));
        assert_eq!(Packet::ping("192.0.2.1:7", "192.0.2.2").answer().icmp, (0, 0));
    }

    #[test]
    fn flags_by_letters() {
        assert_eq!(TcpFlags::parse("S."), Some(TcpFlags(0x12)));
        assert_eq!(TcpFlags::parse("FPU"), Some(TcpFlags(0x29)));
        assert_eq!(TcpFlags::parse(""), Some(TcpFlags(0)));
        assert_eq!(TcpFlags::parse("x"), None);
    }
}
