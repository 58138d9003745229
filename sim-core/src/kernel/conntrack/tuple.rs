//! Mirrors include/net/netfilter/nf_conntrack_tuple.h: what makes two packets belong to the same flow, read from packet
//! bytes.

use super::icmp;
use crate::kernel::ip::IP_HLEN;
use crate::kernel::ip::icmp::ICMP_HLEN;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of a transport header that hold its ports.
const PORTS: usize = 4;
/// The fragment offset in the header's fourth word.
const IP_OFFSET: u16 = 0x1fff;

/// enum ip_conntrack_dir
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Dir {
    /// As the first packet went.
    Original,
    /// Back.
    Reply,
}

impl Dir {
    /// The other one.
    pub fn other(self) -> Dir {
        match self {
            Dir::Original => Dir::Reply,
            Dir::Reply => Dir::Original,
        }
    }

    /// 0 or 1, to index pairs.
    pub fn index(self) -> usize {
        match self {
            Dir::Original => 0,
            Dir::Reply => 1,
        }
    }
}

/// struct nf_conntrack_zone: entries of different zones never meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Its number; zero is the default zone.
    pub id: u16,
    /// It applies to the original direction.
    pub original: bool,
    /// It applies to the reply direction.
    pub reply: bool,
}

impl Default for Zone {
    /// nf_ct_zone_dflt
    fn default() -> Self {
        Zone { id: 0, original: true, reply: true }
    }
}

impl Zone {
    /// nf_ct_zone_id: the number that counts in one direction.
    pub fn id(self, dir: Dir) -> u16 {
        let applies = match dir {
            Dir::Original => self.original,
            Dir::Reply => self.reply,
        };
        if applies { self.id } else { 0 }
    }
}

/// struct nf_conntrack_tuple: one direction of a flow.
///
/// ```text
///            sport               dport
///   TCP UDP  source port         destination port
///   ICMP     id                  type << 8 | code
///   others   0                   0
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tuple {
    /// The source address.
    pub src: IpAddr,
    /// The destination address.
    pub dst: IpAddr,
    /// The transport protocol.
    pub proto: u8,
    /// The source's part of the transport header.
    pub sport: u16,
    /// The destination's part of the transport header.
    pub dport: u16,
    /// The zone that it is looked up in.
    pub zone: u16,
}

impl Hash for Tuple {
    /// Words, not bytes: this is on every packet's way. What differs most stands lowest, since a hash by multiplication
    /// carries upwards only: flows of two hosts differ in one port.
    fn hash<H: Hasher>(&self, h: &mut H) {
        let other = u64::from(self.zone) << 40 | u64::from(self.proto) << 32;
        h.write_u64(other | u64::from(self.dport) << 16 | u64::from(self.sport));
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                h.write_u64(u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits()));
            }
            (src, dst) => words(src).into_iter().chain(words(dst)).for_each(|w| h.write_u64(w)),
        }
    }
}

impl Tuple {
    /// nf_ct_get_tuplepr: the tuple of an IPv4 packet, which may be cut off, as in an ICMP error. None if it is too
    /// short or not the first fragment.
    pub fn of(l3: &[u8], zone: u16) -> Option<Tuple> {
        let (proto, dataoff) = l4proto(l3)?;
        Tuple::at(l3, dataoff, proto, zone)
    }

    /// nf_ct_get_tuple: the transport header starts at `dataoff`.
    pub fn at(l3: &[u8], dataoff: usize, proto: u8, zone: u16) -> Option<Tuple> {
        let l4 = l3.get(dataoff..)?;
        let word = |at: usize| l4.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
        let (sport, dport) = match proto {
            IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE if l4.len() >= PORTS => (word(0)?, word(2)?),
            IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE => return None,
            IPPROTO_ICMP if l4.len() >= ICMP_HLEN => (word(4)?, word(0)?),
            IPPROTO_ICMP => return None,
            _ => (0, 0),
        };
        Some(Tuple { src: addr(l3, 12)?, dst: addr(l3, 16)?, proto, sport, dport, zone })
    }

    /// nf_ct_invert_tuple: what the answer looks like. None for ICMP messages that have none.
    pub fn inverse(&self) -> Option<Tuple> {
        let (sport, dport) = match self.proto {
            IPPROTO_ICMP => {
                let [kind, code] = self.dport.to_be_bytes();
                (self.sport, u16::from_be_bytes([icmp::answer(kind)?, code]))
            }
            _ => (self.dport, self.sport),
        };
        Some(Tuple { src: self.dst, dst: self.src, sport, dport, ..*self })
    }

    /// The same tuple in another zone.
    pub fn in_zone(self, zone: u16) -> Tuple {
        Tuple { zone, ..self }
    }

    /// The type and the code of an ICMP message.
    pub fn icmp(&self) -> (u8, u8) {
        let [kind, code] = self.dport.to_be_bytes();
        (kind, code)
    }

    /// The tuple as words, to key random draws.
    pub fn words(&self) -> [u64; 6] {
        let (src, dst) = (words(self.src), words(self.dst));
        let ports = u64::from(self.sport) << 16 | u64::from(self.dport);
        [src[0], src[1], dst[0], dst[1], ports, u64::from(self.proto) << 16 | u64::from(self.zone)]
    }
}

fn words(addr: IpAddr) -> [u64; 2] {
    match addr {
        IpAddr::V4(a) => [0, u64::from(a.to_bits())],
        IpAddr::V6(a) => [(a.to_bits() >> 64) as u64, a.to_bits() as u64],
    }
}

/// get_l4proto: the transport protocol of an IPv4 packet and where its header starts. None for later fragments: those
/// are put together before connection tracking sees them, except inside ICMP errors.
pub fn l4proto(l3: &[u8]) -> Option<(u8, usize)> {
    let header = l3.get(..IP_HLEN)?;
    let dataoff = usize::from(header[0] & 0xf) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & IP_OFFSET;
    let sane = header[0] >> 4 == 4 && dataoff >= IP_HLEN && dataoff <= l3.len() && fragment == 0;
    sane.then_some((header[9], dataoff))
}

fn addr(l3: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 4] = l3.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_of_each_protocol() {
        let t = |proto, sport, dport| Tuple {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            proto,
            sport,
            dport,
            zone: 3,
        };
        for (proto, from, to) in [
            (IPPROTO_TCP, (1, 2), Some((2, 1))),
            (IPPROTO_UDP, (53, 9), Some((9, 53))),
            (IPPROTO_ICMP, (77, 0x0800), Some((77, 0x0000))),
            (IPPROTO_ICMP, (77, 0x0003), Some((77, 0x0803))),
            (IPPROTO_ICMP, (77, 13 << 8), Some((77, 14 << 8))),
            (IPPROTO_ICMP, (77, 16 << 8), Some((77, 15 << 8))),
            (IPPROTO_ICMP, (77, 18 << 8), Some((77, 17 << 8))),
            (IPPROTO_ICMP, (77, 3 << 8), None),
            (IPPROTO_ICMP, (77, 40 << 8), None),
            (47, (0, 0), Some((0, 0))),
        ] {
            let inverse = t(proto, from.0, from.1).inverse();
            assert_eq!(inverse.map(|i| (i.sport, i.dport)), to, "{proto} {from:?}");
            if let Some(i) = inverse {
                assert_eq!((i.src, i.dst, i.zone), (t(0, 0, 0).dst, t(0, 0, 0).src, 3));
                assert_eq!(i.inverse(), Some(t(proto, from.0, from.1)));
            }
        }
    }

    #[test]
    fn hashes_of_similar_flows_differ_in_their_low_bits() {
        use std::collections::BTreeSet;
        use std::hash::BuildHasher;
        let t = |n: u16| {
            [
                // From one host's ports, to one host's ports, from many hosts, to many hosts.
                Tuple { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), proto: 17, sport: n, dport: 53, zone: 0 },
                Tuple { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), proto: 17, sport: 53, dport: n, zone: 0 },
                Tuple {
                    src: [10, 0, 4, n as u8].into(),
                    dst: [10, 0, 0, 2].into(),
                    proto: 6,
                    sport: 9,
                    dport: 80,
                    zone: 0,
                },
                Tuple {
                    src: [10, 0, 0, 2].into(),
                    dst: [10, 0, 4, n as u8].into(),
                    proto: 6,
                    sport: 9,
                    dport: 80,
                    zone: 0,
                },
            ]
        };
        for kind in 0..4 {
            let low = |n| rustc_hash::FxBuildHasher.hash_one(t(n)[kind]) & 0xff;
            let slots: BTreeSet<u64> = (0..256).map(low).collect();
            // 256 balls in 256 bins at random fill 162 of them.
            assert!(slots.len() > 130, "kind {kind}: {} of 256 slots", slots.len());
        }
    }

    #[test]
    fn zones_by_direction() {
        let zone = Zone { id: 7, original: true, reply: false };
        assert_eq!((zone.id(Dir::Original), zone.id(Dir::Reply)), (7, 0));
        assert_eq!(Zone::default().id(Dir::Reply), 0);
    }

    #[test]
    fn short_packets_and_fragments_have_no_tuple() {
        let mut p = vec![0; 28];
        (p[0], p[9], p[20], p[22]) = (0x45, IPPROTO_UDP, 1, 2);
        assert_eq!(Tuple::of(&p, 0).map(|t| (t.sport, t.dport)), Some((256, 512)));
        assert!(Tuple::of(&p[..24], 0).is_some());
        assert!(Tuple::of(&p[..23], 0).is_none());
        p[7] = 1;
        assert!(Tuple::of(&p, 0).is_none());
        (p[7], p[0]) = (0, 0x4f);
        assert!(Tuple::of(&p, 0).is_none());
        (p[0], p[9]) = (0x45, IPPROTO_ICMP);
        assert!(Tuple::of(&p[..27], 0).is_none());
        assert!(Tuple::of(&[], 0).is_none());
    }
}
