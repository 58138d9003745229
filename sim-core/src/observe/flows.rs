//! Which connection a packet belongs to: numbered in order of appearance, both directions one flow, address translation
//! or not.

use crate::base::{FlowId, PacketId};
use crate::kernel::trace::Connection;
use crate::wire::{ETH_P_IP, IPPROTO_ICMP, IPPROTO_IPIP, IPPROTO_TCP, IPPROTO_UDP, be16, be32};
use rustc_hash::FxHashMap;
use smoltcp::wire::Ipv4Packet;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The flows seen so far and the packets that are under way.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    known: FxHashMap<Key, Known>,
    live: FxHashMap<PacketId, Live>,
    count: u32,
}

/// How a packet belongs to its flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    /// The flow.
    pub flow: FlowId,
    /// It goes the other way than the flow's first packet.
    pub back: bool,
    /// It is an ICMP error about a packet of the flow.
    pub error: bool,
}

impl Member {
    /// `request` for the flow's own direction, `reply` for the other one, `error` for what ICMP says about it.
    pub fn role(self) -> &'static str {
        match self {
            Member { error: true, .. } => "error",
            Member { back: true, .. } => "reply",
            Member { back: false, .. } => "request",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Live {
    frames: u32,
    /// Decided where the packet was seen first; none for what belongs to no flow.
    member: Option<Option<Member>>,
    /// An address was translated since the packet was seen last.
    translated: bool,
}

/// Both ends with their ports, the lower one first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    protocol: u8,
    ends: [End; 2],
}

/// A flow by one of its keys, and whether its first packet went from the higher end to the lower one.
#[derive(Clone, Copy, Debug)]
struct Known {
    flow: FlowId,
    downwards: bool,
}

/// An address and a port. The id of an ICMP echo stands for both ports; 0 where there is none.
pub type End = (Ipv4Addr, u16);

/// So many tunnels in one another are looked into.
const MAX_TUNNELS: u8 = 16;

/// As many flows are numbered; what comes later has none.
pub const MAX_FLOWS: u32 = 1 << 22;

/// The ends of a packet, as its bytes say them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The protocol in IPv4's header.
    pub protocol: u8,
    /// Where it comes from.
    pub src: End,
    /// Where it goes.
    pub dst: End,
    /// It is a fragment without ports.
    pub fragment: bool,
    /// They are those of the packet that an ICMP error quotes.
    pub quoted: bool,
}

impl Flows {
    /// A frame of `packet` came into being.
    pub fn made(&mut self, packet: PacketId) {
        self.live.entry(packet).or_default().frames += 1;
    }

    /// A frame of `packet` ended. Whether it was the last one.
    pub fn ended(&mut self, packet: PacketId) -> bool {
        let Some(l) = self.live.get_mut(&packet) else { return false };
        l.frames = l.frames.saturating_sub(1);
        let last = l.frames == 0;
        if last {
            self.live.remove(&packet);
        }
        last
    }

    /// An end of `packet` was rewritten: its flow has another name from here on.
    pub fn translated(&mut self, packet: PacketId) {
        if let Some(l) = self.live.get_mut(&packet) {
            l.translated = true;
        }
    }

    /// How `packet` belongs to its flow, if it was seen already.
    pub fn known(&self, packet: PacketId) -> Option<Member> {
        self.live.get(&packet)?.member?
    }

    /// The flow of `packet`, whose bytes from the network layer on are `l3`: decided where it is seen first, so that
    /// address translation does not change it. ARP has none; an ICMP error has that of the packet that it quotes.
    pub fn of(&mut self, packet: PacketId, ethertype: u16, l3: &[u8]) -> Option<Member> {
        let live = self.live.get(&packet).copied().unwrap_or_default();
        let member = match live.member {
            Some(member) if !live.translated => return member,
            Some(member) => {
                let Some(ends) = Ends::of(ethertype, l3).filter(|e| !e.fragment) else { return member };
                if let Some(member) = member.filter(|m| !m.error) {
                    let (key, downwards) = Key::of(&ends);
                    self.known.insert(key, Known { flow: member.flow, downwards: downwards != member.back });
                }
                member
            }
            None => Ends::of(ethertype, l3).and_then(|ends| self.number(&ends)),
        };
        if let Some(l) = self.live.get_mut(&packet) {
            (l.member, l.translated) = (Some(member), false);
        }
        member
    }

    /// How a packet with these ends belongs to a connection that was seen.
    pub fn find(&self, ends: &Ends) -> Option<Member> {
        let (key, downwards) = Key::of(ends);
        self.known.get(&key).map(|known| known.member(downwards, ends.quoted))
    }

    /// How what the peer sends belongs to connections that were seen: those of each name of the program's own end.
    pub fn received_by(&self, program: &Connection) -> impl Iterator<Item = Member> {
        let end = |addr: SocketAddrV4| (*addr.ip(), addr.port());
        let src = end(program.peer);
        let ends = move |dst| Ends { protocol: IPPROTO_TCP, src, dst, fragment: false, quoted: false };
        let [first, second] = program.names;
        let names = [Some(first), Some(second).filter(|name| *name != first)];
        names.into_iter().flatten().filter_map(move |name| self.find(&ends(end(name))))
    }

    fn number(&mut self, ends: &Ends) -> Option<Member> {
        if let Some(member) = self.find(ends) {
            return Some(member);
        }
        if self.count >= MAX_FLOWS {
            return None;
        }
        self.count += 1;
        let (key, downwards) = Key::of(ends);
        let known = Known { flow: FlowId(self.count), downwards };
        self.known.insert(key, known);
        Some(known.member(downwards, ends.quoted))
    }
}

impl Known {
    /// Of a packet that goes from the higher end to the lower one, or not.
    fn member(self, downwards: bool, quoted: bool) -> Member {
        Member { flow: self.flow, back: (self.downwards != downwards) != quoted, error: quoted }
    }
}

impl Key {
    /// Also whether it goes from the higher end to the lower one.
    fn of(ends: &Ends) -> (Key, bool) {
        let Ends { protocol, src, dst, .. } = *ends;
        if src > dst { (Key { protocol, ends: [dst, src] }, true) } else { (Key { protocol, ends: [src, dst] }, false) }
    }
}

impl Ends {
    /// The ends of an IPv4 packet; none for what is cut short and for other protocols.
    pub fn of(ethertype: u16, l3: &[u8]) -> Option<Ends> {
        (ethertype == ETH_P_IP).then(|| ends(l3, false, 0)).flatten()
    }
}

/// Inside of so many tunnels.
fn ends(l3: &[u8], quoted: bool, inside: u8) -> Option<Ends> {
    let header = l3.get(..20)?;
    let p = Ipv4Packet::new_unchecked(header);
    let (src, dst, protocol, fragment) = (p.src_addr(), p.dst_addr(), l3[9], p.frag_offset() != 0);
    let payload = l3.get(p.header_len() as usize..)?;
    if let Some(inner) = tunnelled(protocol, payload).filter(|_| !fragment && !quoted && inside < MAX_TUNNELS) {
        return ends(inner, false, inside + 1);
    }
    let ports = match protocol {
        _ if fragment => (0, 0),
        IPPROTO_ICMP => match payload.first()? {
            0 | 8 | 13..=18 => (be16(payload, 4), be16(payload, 4)),
            3..=5 | 11 | 12 if !quoted => return ends(payload.get(8..)?, true, inside),
            _ => (0, 0),
        },
        IPPROTO_TCP | IPPROTO_UDP => (be16(payload, 0), be16(payload, 2)),
        _ => (0, 0),
    };
    Some(Ends { protocol, src: (src, ports.0), dst: (dst, ports.1), fragment, quoted })
}

/// The IPv4 packet that IPIP or a VXLAN datagram carries: a tunnel is no connection of its own, what it carries belongs
/// to one.
fn tunnelled(protocol: u8, datagram: &[u8]) -> Option<&[u8]> {
    /// The port of RFC 7348, and the one that Linux takes by default.
    const PORTS: [u16; 2] = [4789, 8472];
    /// The header says that there is a network identifier, and nothing else.
    const FLAGS: u32 = 0x0800_0000;
    const UDP_AND_VXLAN: usize = 16;
    const ETHERNET: usize = 14;
    if protocol == IPPROTO_IPIP {
        return Some(datagram);
    }
    let told = protocol == IPPROTO_UDP && PORTS.contains(&be16(datagram, 2)) && be32(datagram, 8) == FLAGS;
    let inner = datagram.get(UDP_AND_VXLAN + ETHERNET..).filter(|_| told)?;
    let ip = be16(datagram, UDP_AND_VXLAN + ETHERNET - 2) == ETH_P_IP && inner.first()? >> 4 == 4;
    ip.then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{FrameId, MachineId};

    const CLIENT: End = (Ipv4Addr::new(10, 244, 1, 2), 40000);
    const SERVICE: End = (Ipv4Addr::new(10, 96, 0, 88), 7);
    const POD: End = (Ipv4Addr::new(10, 244, 2, 2), 7);

    fn udp(src: End, dst: End, offset: u8) -> Vec<u8> {
        let mut l3 = vec![0x45, 0, 0, 28, 0, 0, 0, offset, 64, IPPROTO_UDP, 0, 0];
        l3.extend(src.0.octets());
        l3.extend(dst.0.octets());
        l3.extend(src.1.to_be_bytes());
        l3.extend(dst.1.to_be_bytes());
        l3.extend([0, 8, 0, 0]);
        l3
    }

    fn error(about: &[u8]) -> Vec<u8> {
        let mut l3 = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, IPPROTO_ICMP, 0, 0, 10, 0, 0, 9, 10, 244, 1, 2];
        l3.extend([3, 3, 0, 0, 0, 0, 0, 0]);
        l3.extend(about);
        l3
    }

    fn packet(n: u64) -> PacketId {
        FrameId::new(MachineId(0), n).into()
    }

    fn new(flows: &mut Flows, n: u64, l3: &[u8]) -> Option<(u32, bool, bool)> {
        flows.made(packet(n));
        flows.of(packet(n), ETH_P_IP, l3).map(|m| (m.flow.0, m.back, m.error))
    }

    #[test]
    fn a_translated_connection_is_one_flow() {
        let mut flows = Flows::default();
        assert_eq!(new(&mut flows, 1, &udp(CLIENT, SERVICE, 0)), Some((1, false, false)));
        flows.translated(packet(1));
        // A later fragment has no ports: it says nothing about the new name.
        assert!(flows.of(packet(1), ETH_P_IP, &udp(CLIENT, POD, 1)).is_some());
        assert_eq!(flows.of(packet(1), ETH_P_IP, &udp(CLIENT, POD, 0)).map(|m| m.flow), Some(FlowId(1)));
        assert_eq!(new(&mut flows, 2, &udp(POD, CLIENT, 0)), Some((1, true, false)), "the answer, by the pod's name");
        assert_eq!(new(&mut flows, 3, &udp(SERVICE, CLIENT, 0)), Some((1, true, false)));
        assert_eq!(new(&mut flows, 4, &udp((CLIENT.0, 1), POD, 0)), Some((2, false, false)));
        assert_eq!(new(&mut flows, 5, &error(&udp(CLIENT, POD, 0))), Some((1, true, true)), "it goes to the sender");
        assert_eq!(new(&mut flows, 6, &[0; 19]), None);
    }

    #[test]
    fn a_tunnel_is_no_flow() {
        let inner = udp(CLIENT, POD, 0);
        let mut outer = udp(([192, 168, 0, 1].into(), 50000), ([192, 168, 0, 2].into(), 8472), 0);
        outer.extend([8, 0, 0, 0, 0, 0, 1, 0]);
        outer.extend([2; 12]);
        outer.extend([8, 0]);
        let mut flows = Flows::default();
        let header = outer.len();
        outer.extend(&inner);
        assert_eq!(Ends::of(ETH_P_IP, &outer), Ends::of(ETH_P_IP, &inner));
        assert_eq!(new(&mut flows, 1, &inner), Some((1, false, false)));
        assert_eq!(new(&mut flows, 2, &outer), Some((1, false, false)));
        for cut in 0..outer.len() {
            let _ = Ends::of(ETH_P_IP, &outer[..cut]);
        }
        outer[header - 2] = 9;
        assert_eq!(new(&mut flows, 3, &outer), Some((2, false, false)), "it carries something else");
    }

    #[test]
    fn a_packet_is_forgotten_with_its_last_frame() {
        let mut flows = Flows::default();
        new(&mut flows, 1, &udp(CLIENT, POD, 0));
        flows.made(packet(1));
        flows.ended(packet(1));
        assert!(flows.known(packet(1)).is_some());
        flows.ended(packet(1));
        assert!(flows.known(packet(1)).is_none() && flows.live.is_empty());
    }
}
