//! Frames made by hand: what no socket would send.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sim_core::base::{Mac, hex};
use sim_core::testing::{Packet, TcpFlags};
use std::net::Ipv4Addr;

/// Bytes of an IPv4 header without options.
const HEADER: usize = 20;
const IPV4: u16 = 0x0800;

/// A frame, but for who sends it to whom.
#[derive(Clone, Debug)]
pub struct Odd {
    inside: Inside,
    twists: Vec<Twist>,
}

/// What it carries.
#[derive(Clone, Debug)]
enum Inside {
    Tcp { flags: u8, source: u16, port: u16, size: usize },
    Udp { source: u16, port: u16, size: usize },
    Icmp { kind: u8, code: u8 },
    Other(u8),
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug)]
enum Twist {
    /// A byte of the IPv4 header, whose checksum is made right again.
    Header {
        at: usize,
        value: u8,
    },
    /// The checksum of the IPv4 header.
    HeaderSum,
    /// A byte behind the IPv4 header.
    Byte {
        at: usize,
    },
    /// It says that it is longer than it is, by so many bytes, or shorter.
    Length(i16),
    From(Ipv4Addr),
    To(Ipv4Addr),
    /// From whom it is sent to.
    FromReceiver,
    /// A part of a datagram: which bytes, in units of eight, and whether more follow.
    Fragment {
        offset: u16,
        more: bool,
    },
    Ethertype(u16),
    FromMac(Mac),
    ToMac(Mac),
    /// It ends after so many bytes of the packet.
    Cut(usize),
}

/// Any frame.
pub fn odd() -> impl Strategy<Value = Odd> {
    let ports = || select(&[7, 7, 53, 9, 5000][..]);
    let flags = select(&[0x02, 0x10, 0x12, 0x04, 0x14, 0x00, 0x03, 0x29, 0x3f, 0x01, 0x18][..]);
    let inside = prop_oneof![
        3 => (flags, select(&[5000, 5001, 40_000, 41_000][..]), ports(), select(&[0, 0, 10][..]))
            .prop_map(|(flags, source, port, size)| Inside::Tcp { flags, source, port, size }),
        3 => (select(&[5000, 41_000][..]), ports(), select(&[0, 24, 600][..]))
            .prop_map(|(source, port, size)| Inside::Udp { source, port, size }),
        2 => (select(&[0, 3, 4, 5, 8, 8, 8, 11, 12, 13, 15, 17, 40][..]), select(&[0, 0, 1, 3][..]))
            .prop_map(|(kind, code)| Inside::Icmp { kind, code }),
        1 => select(&[99, 89, 255][..]).prop_map(Inside::Other),
    ];
    (inside, vec(twist(), 0..=1)).prop_map(|(inside, twists)| Odd { inside, twists })
}

fn twist() -> impl Strategy<Value = Twist> {
    let address = |list: &'static [[u8; 4]]| select(list).prop_map(Ipv4Addr::from);
    let from =
        address(&[[127, 0, 0, 1], [255, 255, 255, 255], [224, 0, 0, 1], [0, 0, 0, 0], [10, 244, 0, 77], [8, 8, 8, 8]]);
    let to =
        address(&[[127, 0, 0, 1], [0, 0, 0, 0], [240, 0, 0, 1], [255, 255, 255, 255], [8, 8, 8, 8], [10, 244, 0, 255]]);
    let macs = select(
        &[[1, 0x80, 0xc2, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 3], [0x0a, 0, 0, 0, 9, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]]
            [..],
    );
    let header = select(&[(0, 0x55), (0, 0x44), (0, 0x46), (8, 0), (8, 1), (1, 0x0b), (6, 0x80)][..]);
    prop_oneof![
        header.prop_map(|(at, value)| Twist::Header { at, value }),
        Just(Twist::HeaderSum),
        (0..24_usize).prop_map(|at| Twist::Byte { at }),
        select(&[-30, -4, 1, 200][..]).prop_map(Twist::Length),
        from.prop_map(Twist::From),
        to.prop_map(Twist::To),
        Just(Twist::FromReceiver),
        (select(&[0, 0, 1, 3, 74, 8190][..]), any::<bool>())
            .prop_map(|(offset, more)| Twist::Fragment { offset, more }),
        select(&[0x88b5, 0x8808, 0x88cc][..]).prop_map(Twist::Ethertype),
        select(&[[1, 0, 0, 0, 0, 1], [0xff; 6], [0; 6]][..]).prop_map(|mac| Twist::FromMac(Mac(mac))),
        macs.prop_map(|mac| Twist::ToMac(Mac(mac))),
        select(&[0, 8, 19, 24][..]).prop_map(Twist::Cut),
    ]
}

/// A part of one of two datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    ident: u16,
    offset: u16,
    more: bool,
    size: usize,
}

/// Any part.
pub fn part() -> impl Strategy<Value = Part> {
    let place = select(&[(0, true), (0, true), (3, true), (3, false), (6, false), (2, true)][..]);
    (select(&[100, 100, 101][..]), place, select(&[24, 24, 16, 8][..])).prop_map(|(ident, (offset, more), size)| Part {
        ident,
        offset,
        more,
        size,
    })
}

impl Part {
    /// The frame, in hexadecimal. What it holds of a datagram begins with UDP's ports 5000 and 7.
    #[must_use]
    pub fn hex(&self, way: &Way) -> String {
        let payload = [&[0x13, 0x88, 0, 7, 0, 48, 0, 0][..], &[b'a'; 64]].concat();
        let at = usize::from(self.offset) * 8;
        let packet =
            Packet { payload: payload[at..at + self.size].to_vec(), ..Packet::new(17, way.ips[0], way.ips[1]) };
        let mut bytes = packet.bytes();
        bytes.drain(HEADER..HEADER + 8);
        bytes[2..4].copy_from_slice(&((HEADER + self.size) as u16).to_be_bytes());
        bytes[4..6].copy_from_slice(&self.ident.to_be_bytes());
        bend(&mut bytes, Twist::Fragment { offset: self.offset, more: self.more });
        frame(way.macs, IPV4, &bytes)
    }
}

/// A SYN to a port, and one from there, in hexadecimal.
pub fn crossed(port: u16, way: &Way) -> [String; 2] {
    let [here, there] = way.ips;
    let syn = |sport, dport, from, to| Packet { flags: TcpFlags(0x02), sport, dport, ..Packet::new(6, from, to) };
    [syn(5000, port, here, there), syn(port, 5000, there, here)].map(|syn| frame(way.macs, IPV4, &syn.bytes()))
}

/// Who sends a frame to whom, and to which station first.
pub struct Way {
    /// Hardware addresses.
    pub macs: [Mac; 2],
    /// Addresses.
    pub ips: [Ipv4Addr; 2],
}

impl Odd {
    /// The frame, in hexadecimal.
    #[must_use]
    pub fn hex(&self, way: &Way) -> String {
        let [mut from_mac, mut to_mac] = way.macs;
        let [mut from, mut to] = way.ips;
        let mut ethertype = IPV4;
        for twist in &self.twists {
            match *twist {
                Twist::From(ip) => from = ip,
                Twist::To(ip) => to = ip,
                Twist::FromReceiver => from = to,
                Twist::FromMac(mac) => from_mac = mac,
                Twist::ToMac(mac) => to_mac = mac,
                Twist::Ethertype(other) => ethertype = other,
                _ => {}
            }
        }
        let mut bytes = self.packet(from, to);
        self.twists.iter().for_each(|twist| bend(&mut bytes, *twist));
        frame([from_mac, to_mac], ethertype, &bytes)
    }

    fn packet(&self, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let with = |protocol| Packet::new(protocol, from, to);
        let packet = match self.inside {
            Inside::Tcp { flags, source: sport, port: dport, size } => {
                Packet { flags: TcpFlags(flags), sport, dport, payload: vec![b'a'; size], seq: (1000, 2000), ..with(6) }
            }
            Inside::Udp { source: sport, port: dport, size } => {
                Packet { sport, dport, payload: vec![b'a'; size], ..with(17) }
            }
            Inside::Icmp { kind, code } => Packet { icmp: (kind, code), payload: vec![b'a'; 40], ..with(1) },
            Inside::Other(protocol) => Packet { payload: vec![b'a'; 40], ..with(protocol) },
        };
        packet.bytes()
    }
}

/// A frame from one station to another, in hexadecimal.
fn frame([from, to]: [Mac; 2], ethertype: u16, packet: &[u8]) -> String {
    hex(&[&to.0[..], &from.0, &ethertype.to_be_bytes(), packet].concat())
}

/// Does to an IPv4 packet what is to be wrong with it.
fn bend(bytes: &mut Vec<u8>, twist: Twist) {
    match twist {
        Twist::Header { at, value } => bytes[at] = value,
        Twist::Length(more) => {
            let total = u16::from_be_bytes([bytes[2], bytes[3]]).wrapping_add_signed(more);
            bytes[2..4].copy_from_slice(&total.to_be_bytes());
        }
        Twist::Fragment { offset, more } => {
            bytes[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
        }
        Twist::Byte { at } => {
            if let Some(byte) = bytes.get_mut(HEADER + at) {
                *byte ^= 0x11;
            }
        }
        _ => {}
    }
    let sum = match twist {
        Twist::HeaderSum => 0x1234,
        _ => {
            bytes[10..12].fill(0);
            header_sum(&bytes[..HEADER])
        }
    };
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    if let Twist::Cut(at) = twist {
        bytes.truncate(at);
    }
}

/// RFC 1071
fn header_sum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
