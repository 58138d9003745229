//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng): little-endian, one section, times in nanoseconds.
//!
//! ```text
//! block    type, length, body, length     the body in 32 bit words
//! option   code, length, value            the value padded to a word; code 0 ends the list
//! ```

use super::pcap::SNAPLEN;
use crate::base::Mac;
use crate::kernel::frame::PacketType;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// What writes the files, as their section header says.
const APPLICATION: &str = concat!("podhop ", env!("CARGO_PKG_VERSION"));

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Major and minor version.
const VERSION: [u16; 2] = [1, 0];
/// A section whose end is not known when it begins.
const UNKNOWN_LENGTH: u64 = u64::MAX;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
/// The secrets of a key log of TLS, `TLSK`.
const TLS_KEY_LOG: u32 = 0x544c_534b;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_IPV4ADDR: u16 = 4;
const IF_MACADDR: u16 = 6;
const IF_TSRESOL: u16 = 9;
/// Ten to the power of minus this many seconds.
const NANOSECONDS: u8 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_PACKETID: u16 = 5;
const NRB_RECORD_END: u16 = 0;
const NRB_RECORD_IPV4: u16 = 1;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// An interface, as its description block says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface<'a> {
    pub name: &'a str,
    /// None: it has none, as lo.
    pub mac: Option<Mac>,
    pub addrs: &'a [Ipv4Net],
    pub linktype: u16,
}

/// A record in front of its options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// The number of its interface: the place of its description among all of the file.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    pub bytes: &'a [u8],
    /// epb_packetid: the same packet at several interfaces has the same.
    pub id: u64,
    pub pkt_type: PacketType,
}

/// The beginning of a file.
pub(super) fn section(out: &mut Vec<u8>) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        out.extend_from_slice(&VERSION[0].to_le_bytes());
        out.extend_from_slice(&VERSION[1].to_le_bytes());
        out.extend_from_slice(&UNKNOWN_LENGTH.to_le_bytes());
        option(out, SHB_USERAPPL, APPLICATION.as_bytes());
        option(out, OPT_END, &[]);
    });
}

/// An interface. They are numbered from 0 in the order of their descriptions.
pub(super) fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&interface.linktype.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&SNAPLEN.to_le_bytes());
        option(out, IF_NAME, interface.name.as_bytes());
        for addr in interface.addrs {
            option(out, IF_IPV4ADDR, &[addr.addr().octets(), addr.netmask().octets()].concat());
        }
        if let Some(mac) = interface.mac {
            option(out, IF_MACADDR, &mac.0);
        }
        option(out, IF_TSRESOL, &[NANOSECONDS]);
        option(out, OPT_END, &[]);
    });
}

/// Names for addresses.
pub(super) fn names<'a>(out: &mut Vec<u8>, names: impl IntoIterator<Item = (Ipv4Addr, &'a str)>) {
    block(out, NAME_RESOLUTION, |out| {
        for (addr, name) in names {
            // A record looks like an option, and its names end with a zero.
            option(out, NRB_RECORD_IPV4, &[&addr.octets()[..], name.as_bytes(), &[0]].concat());
        }
        option(out, NRB_RECORD_END, &[]);
    });
}

/// Lines of a key log. They open packets that follow, not those before.
pub(super) fn secrets(out: &mut Vec<u8>, lines: &str) {
    block(out, DECRYPTION_SECRETS, |out| {
        out.extend_from_slice(&TLS_KEY_LOG.to_le_bytes());
        out.extend_from_slice(&(lines.len() as u32).to_le_bytes());
        out.extend_from_slice(lines.as_bytes());
        pad(out, lines.len());
    });
}

/// What an interface has seen when a capture ends: `received` records between two times.
pub(super) fn statistics(out: &mut Vec<u8>, interface: u32, start_ns: u64, end_ns: u64, received: u64) {
    block(out, INTERFACE_STATISTICS, |out| {
        out.extend_from_slice(&interface.to_le_bytes());
        out.extend_from_slice(&timestamp(end_ns));
        option(out, ISB_STARTTIME, &timestamp(start_ns));
        option(out, ISB_ENDTIME, &timestamp(end_ns));
        option(out, ISB_IFRECV, &received.to_le_bytes());
        // No capture of ours misses a packet.
        option(out, ISB_IFDROP, &0_u64.to_le_bytes());
        option(out, OPT_END, &[]);
    });
}

/// A record, to which comments may be added until [`end_packet`].
pub(super) fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let Packet { interface, at_ns, bytes, id, pkt_type } = *packet;
    begin(out, ENHANCED_PACKET);
    out.extend_from_slice(&interface.to_le_bytes());
    out.extend_from_slice(&timestamp(at_ns));
    let len = (bytes.len() as u32).to_le_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&len);
    out.extend_from_slice(bytes);
    pad(out, bytes.len());
    option(out, EPB_FLAGS, &flags(pkt_type, bytes).to_le_bytes());
    option(out, EPB_PACKETID, &id.to_le_bytes());
}

/// A comment on the record that was begun.
pub(super) fn comment(out: &mut Vec<u8>, text: &str) {
    option(out, OPT_COMMENT, text.as_bytes());
}

/// The end of the record that `out` began with.
pub(super) fn end_packet(out: &mut Vec<u8>) {
    option(out, OPT_END, &[]);
    end(out, 0);
}

/// Bits 0 and 1 are the direction, bits 2 to 4 to whom the frame went.
fn flags(pkt_type: PacketType, bytes: &[u8]) -> u32 {
    const INBOUND: u32 = 1;
    const OUTBOUND: u32 = 2;
    const UNICAST: u32 = 1 << 2;
    const MULTICAST: u32 = 2 << 2;
    const BROADCAST: u32 = 3 << 2;
    const PROMISCUOUS: u32 = 4 << 2;
    let to_whom = || match bytes {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => BROADCAST,
        [first, ..] if first & 1 != 0 => MULTICAST,
        _ => UNICAST,
    };
    match pkt_type {
        PacketType::Host => INBOUND | UNICAST,
        PacketType::Broadcast => INBOUND | BROADCAST,
        PacketType::Multicast => INBOUND | MULTICAST,
        PacketType::OtherHost => INBOUND | PROMISCUOUS,
        PacketType::Outgoing => OUTBOUND | to_whom(),
        PacketType::Loopback => INBOUND | to_whom(),
    }
}

/// The upper 32 bits come first, in whichever byte order.
fn timestamp(ns: u64) -> [u8; 8] {
    let [high, low] = [(ns >> 32) as u32, ns as u32].map(u32::to_le_bytes);
    let mut both = [0; 8];
    both[..4].copy_from_slice(&high);
    both[4..].copy_from_slice(&low);
    both
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    begin(out, kind);
    body(out);
    end(out, start);
}

fn begin(out: &mut Vec<u8>, kind: u32) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// Ends the block that began at `start`: now its length is known.
fn end(out: &mut Vec<u8>, start: usize) {
    let len = ((out.len() + 4 - start) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&len);
    out.extend_from_slice(&len);
}

/// Appends an option. What is longer than its length field can say is cut.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = value.len().min(usize::from(u16::MAX));
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(len as u16).to_le_bytes());
    out.extend_from_slice(&value[..len]);
    pad(out, len);
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len.next_multiple_of(4) - len, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_section_and_interface() {
        let mut out = vec![];
        section(&mut out);
        let app = APPLICATION.len();
        let padded = app.next_multiple_of(4);
        let mut want = vec![0x0a, 0x0d, 0x0d, 0x0a, (36 + padded) as u8, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
        want.extend([0xff; 8]);
        want.extend([4, 0, app as u8, 0]);
        want.extend(APPLICATION.bytes());
        want.resize(28 + padded, 0);
        want.extend([0, 0, 0, 0, (36 + padded) as u8, 0, 0, 0]);
        assert_eq!(out, want);

        out.clear();
        let addrs = ["10.1.2.3/24".parse().unwrap()];
        let mac = Some(Mac([2, 0x42, 10, 1, 2, 3]));
        interface(&mut out, &Interface { name: "a/eth0", mac, addrs: &addrs, linktype: 1 });
        #[rustfmt::skip]
        let want: &[u8] = &[
            1, 0, 0, 0, 68, 0, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0,
            2, 0, 6, 0, b'a', b'/', b'e', b't', b'h', b'0', 0, 0,
            4, 0, 8, 0, 10, 1, 2, 3, 255, 255, 255, 0,
            6, 0, 6, 0, 2, 0x42, 10, 1, 2, 3, 0, 0,
            9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 68, 0, 0, 0,
        ];
        assert_eq!(out, want);
    }

    #[test]
    fn golden_packet_names_and_statistics() {
        let mut out = vec![];
        let at_ns = 1_640_995_200_123_456_789;
        packet(&mut out, &Packet { interface: 3, at_ns, bytes: &[255; 7], id: 9, pkt_type: PacketType::Outgoing });
        comment(&mut out, "hello");
        end_packet(&mut out);
        #[rustfmt::skip]
        let want: &[u8] = &[
            6, 0, 0, 0, 76, 0, 0, 0, 3, 0, 0, 0, 0x70, 0xfc, 0xc5, 0x16, 0x15, 0xcd, 0x7a, 0xad,
            7, 0, 0, 0, 7, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 0,
            2, 0, 4, 0, 14, 0, 0, 0,
            5, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 5, 0, b'h', b'e', b'l', b'l', b'o', 0, 0, 0,
            0, 0, 0, 0, 76, 0, 0, 0,
        ];
        assert_eq!(out, want);

        out.clear();
        names(&mut out, [([10, 1, 2, 3].into(), "pod")]);
        #[rustfmt::skip]
        let want: &[u8] = &[
            4, 0, 0, 0, 28, 0, 0, 0, 1, 0, 8, 0, 10, 1, 2, 3, b'p', b'o', b'd', 0, 0, 0, 0, 0, 28, 0, 0, 0,
        ];
        assert_eq!(out, want);

        out.clear();
        secrets(&mut out, "ab c\n");
        #[rustfmt::skip]
        let want: &[u8] = &[
            10, 0, 0, 0, 28, 0, 0, 0, b'K', b'S', b'L', b'T', 5, 0, 0, 0,
            b'a', b'b', b' ', b'c', b'\n', 0, 0, 0, 28, 0, 0, 0,
        ];
        assert_eq!(out, want);

        out.clear();
        statistics(&mut out, 3, 1 << 32, 2 << 32 | 5, 6);
        #[rustfmt::skip]
        let want: &[u8] = &[
            5, 0, 0, 0, 76, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0,
            2, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 8, 0, 2, 0, 0, 0, 5, 0, 0, 0,
            4, 0, 8, 0, 6, 0, 0, 0, 0, 0, 0, 0,
            5, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 76, 0, 0, 0,
        ];
        assert_eq!(out, want);
    }

    #[test]
    fn directions_and_casts() {
        let cases = [
            (PacketType::Host, [2; 6], (1, 1)),
            (PacketType::Multicast, [1; 6], (1, 2)),
            (PacketType::Broadcast, [0xff; 6], (1, 3)),
            (PacketType::OtherHost, [2; 6], (1, 4)),
            (PacketType::Outgoing, [2; 6], (2, 1)),
            (PacketType::Outgoing, [1; 6], (2, 2)),
            (PacketType::Outgoing, [0xff; 6], (2, 3)),
        ];
        for (pkt_type, destination, (direction, cast)) in cases {
            assert_eq!(flags(pkt_type, &destination), direction | cast << 2, "{pkt_type:?} {destination:?}");
        }
    }
}
