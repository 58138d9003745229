//! Which connection a packet belongs to: numbered in order of appearance, both directions one flow.

use crate::base::{FlowId, PacketId};
use crate::wire::{ETH_P_IP, IPPROTO_ICMP, be16};
use rustc_hash::FxHashMap;
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// The flows seen so far and the packets that are under way.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    known: FxHashMap<Key, FlowId>,
    live: FxHashMap<PacketId, Live>,
    count: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Live {
    frames: u32,
    flow: Option<Option<FlowId>>,
}

/// Both ends with their ports, the lower one first; for ICMP echo the id stands for both ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    protocol: u8,
    ends: [(Ipv4Addr, u16); 2],
}

/// As many flows are numbered; what comes later has none.
pub const MAX_FLOWS: u32 = 1 << 22;

impl Flows {
    /// A frame of `packet` came into being.
    pub fn made(&mut self, packet: PacketId) {
        self.live.entry(packet).or_default().frames += 1;
    }

    /// A frame of `packet` ended.
    pub fn ended(&mut self, packet: PacketId) {
        if let Some(l) = self.live.get_mut(&packet) {
            l.frames = l.frames.saturating_sub(1);
            if l.frames == 0 {
                self.live.remove(&packet);
            }
        }
    }

    /// The flow of `packet`, if it was seen already.
    pub fn known(&self, packet: PacketId) -> Option<FlowId> {
        self.live.get(&packet)?.flow?
    }

    /// The flow of `packet`, whose bytes from the network layer on are `l3`: decided where it is seen first, so that
    /// address translation does not change it. ARP has none; an ICMP error has that of the packet that it quotes.
    pub fn of(&mut self, packet: PacketId, ethertype: u16, l3: &[u8]) -> Option<FlowId> {
        if let Some(Live { flow: Some(flow), .. }) = self.live.get(&packet) {
            return *flow;
        }
        let key = (ethertype == ETH_P_IP).then(|| key(l3, 0)).flatten();
        let flow = key.and_then(|k| self.number(k));
        if let Some(l) = self.live.get_mut(&packet) {
            l.flow = Some(flow);
        }
        flow
    }

    fn number(&mut self, key: Key) -> Option<FlowId> {
        if let Some(flow) = self.known.get(&key) {
            return Some(*flow);
        }
        if self.count >= MAX_FLOWS {
            return None;
        }
        self.count += 1;
        self.known.insert(key, FlowId(self.count));
        Some(FlowId(self.count))
    }
}

fn key(l3: &[u8], depth: u8) -> Option<Key> {
    let header = l3.get(..20)?;
    let p = Ipv4Packet::new_unchecked(header);
    let (src, dst, protocol) = (p.src_addr(), p.dst_addr(), l3[9]);
    let payload = l3.get(p.header_len() as usize..)?;
    let ports = match protocol {
        _ if p.frag_offset() != 0 => (0, 0),
        IPPROTO_ICMP => match payload.first()? {
            0 | 8 | 13..=18 => (be16(payload, 4), be16(payload, 4)),
            3..=5 | 11 | 12 if depth == 0 => return key(payload.get(8..)?, 1),
            _ => (0, 0),
        },
        6 | 17 => (be16(payload, 0), be16(payload, 2)),
        _ => (0, 0),
    };
    let mut ends = [(src, ports.0), (dst, ports.1)];
    ends.sort_unstable();
    Some(Key { protocol, ends })
}
