//! Mirrors net/netfilter/ipset: sets of addresses and ports, which rules ask by `-m set` (ip_set_core.c,
//! ip_set_hash_gen.h, ip_set_bitmap_port.c). Read ipset(8) before editing.

mod change;
mod element;

pub use change::{Change, SetError};
pub use element::{Element, Entry};

use super::packet::Packet;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, be16};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// IPSET_MAXNAMELEN with its end: a name is shorter.
pub const MAX_NAME: usize = 32;
/// As many sets a namespace holds (IPSET_INVALID_ID).
pub const MAX_SETS: usize = 65_534;
/// As many elements all sets of a namespace hold.
pub const MAX_ELEMENTS: usize = 1 << 22;
/// IPSET_DEFAULT_MAXELEM
pub const DEFAULT_MAXELEM: u32 = 65_536;
/// IPSET_DEFAULT_HASHSIZE
pub const DEFAULT_HASHSIZE: u32 = 1024;
/// IPSET_MIMINAL_HASHSIZE
const MIN_HASHSIZE: u32 = 64;
/// The protocol number of SCTP.
const IPPROTO_SCTP: u8 = 132;

/// What a set holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetType {
    /// Addresses.
    HashIp,
    /// Networks, of which the longest prefix decides.
    HashNet,
    /// Addresses with a protocol and a port.
    HashIpPort,
    /// Ports.
    BitmapPort,
}

impl SetType {
    /// All of them.
    pub const ALL: [SetType; 4] = [SetType::HashIp, SetType::HashNet, SetType::HashIpPort, SetType::BitmapPort];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            SetType::HashIp => "hash:ip",
            SetType::HashNet => "hash:net",
            SetType::HashIpPort => "hash:ip,port",
            SetType::BitmapPort => "bitmap:port",
        }
    }

    /// The revision of the kernel's type.
    pub fn revision(self) -> u8 {
        match self {
            SetType::HashIp => 6,
            SetType::HashNet | SetType::HashIpPort => 7,
            SetType::BitmapPort => 3,
        }
    }

    /// How many parts an element has.
    fn dimension(self) -> usize {
        if self == SetType::HashIpPort { 2 } else { 1 }
    }

    /// The bytes that an empty set takes, and an element that shares its bucket with no other (measured: `ipset list`).
    fn memory(self) -> (usize, usize) {
        match self {
            SetType::HashIp => (216, 40),
            SetType::HashIpPort => (216, 48),
            SetType::HashNet => (456, 48),
            SetType::BitmapPort => (72, 0),
        }
    }
}

/// What a set is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// What it holds.
    pub kind: SetType,
    /// Buckets, as asked for; of a hash.
    pub hashsize: u32,
    /// As many elements; of a hash.
    pub maxelem: u32,
    /// The ports; of a bitmap.
    pub range: (u16, u16),
    /// IPSET_ATTR_INITVAL: the key of the hash; left out, a random one.
    pub initval: Option<u32>,
}

impl Spec {
    /// A set of that type, as ipset(8) makes it where nothing is said.
    pub fn new(kind: SetType) -> Self {
        Spec { kind, hashsize: DEFAULT_HASHSIZE, maxelem: DEFAULT_MAXELEM, range: (0, u16::MAX), initval: None }
    }

    /// same_set: both hold the same.
    fn same(&self, other: &Spec) -> bool {
        let limits = |s: &Spec| if s.kind == SetType::BitmapPort { (0, s.range) } else { (s.maxelem, (0, 0)) };
        self.kind == other.kind && limits(self) == limits(other)
    }
}

/// struct ip_set
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What it was made with; hashsize is the power of two that holds it, and initval is there.
    pub spec: Spec,
    /// In ascending order, each with whether it is an exception (`nomatch`).
    entries: BTreeMap<Entry, bool>,
    /// struct net_prefixes: how many entries have each prefix length.
    prefixes: [u32; 33],
}

impl Set {
    fn new(name: &str, spec: Spec, initval: u32) -> Self {
        let hashsize = spec.hashsize.max(MIN_HASHSIZE).checked_next_power_of_two().unwrap_or(1 << 31);
        let spec = Spec { hashsize, initval: Some(spec.initval.unwrap_or(initval)), ..spec };
        Set { name: name.to_owned(), spec, entries: BTreeMap::new(), prefixes: [0; 33] }
    }

    /// Its elements, each with whether it is an exception.
    pub fn entries(&self) -> impl Iterator<Item = (Entry, bool)> {
        self.entries.iter().map(|(entry, nomatch)| (*entry, *nomatch))
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// `Size in memory`, in bytes.
    pub fn memory(&self) -> usize {
        let (empty, each) = self.spec.kind.memory();
        let (first, last) = self.spec.range;
        let bits = if self.spec.kind == SetType::BitmapPort { usize::from(last - first) + 1 } else { 0 };
        empty + bits.div_ceil(64) * 8 + each * self.len()
    }

    fn put(&mut self, entry: Entry, nomatch: bool) {
        if self.entries.insert(entry, nomatch).is_none() {
            self.prefixes[usize::from(entry.len)] += 1;
        }
    }

    fn take(&mut self, entry: &Entry) -> bool {
        let was = self.entries.remove(entry).is_some();
        if was {
            self.prefixes[usize::from(entry.len)] -= 1;
        }
        was
    }

    fn flush(&mut self) {
        self.entries.clear();
        self.prefixes = [0; 33];
    }

    /// mtype_test, with mtype_test_cidrs: the longest prefix that holds the address decides.
    pub fn has(&self, entry: Entry) -> bool {
        if self.spec.kind != SetType::HashNet || entry.len < 32 {
            return self.entries.get(&entry).is_some_and(|nomatch| !nomatch);
        }
        let there = (0..=32_u8).rev().filter(|len| self.prefixes[usize::from(*len)] > 0);
        let mut found = there.filter_map(|len| self.entries.get(&Entry { ip: mask(entry.ip, len), len, ..entry }));
        found.next().is_some_and(|nomatch| !nomatch)
    }

    /// `ipset test`: the first of what `element` stands for is in it.
    pub fn holds_element(&self, element: &Element) -> bool {
        element.entries(&self.spec).ok().and_then(|mut entries| entries.next()).is_some_and(|entry| self.has(entry))
    }

    /// ip_set_test: the packet's address, or address and port, is in it. `sources` says of each part whether it is the
    /// source's.
    fn holds(&self, sources: &[bool], packet: &Packet<'_>) -> bool {
        let (Some(&first), true) = (sources.first(), sources.len() >= self.spec.kind.dimension()) else { return false };
        let ip = if first { packet.src() } else { packet.dst() };
        let host = Entry { ip, len: 32, proto: 0, port: 0 };
        match self.spec.kind {
            SetType::HashIp | SetType::HashNet => self.has(host),
            SetType::HashIpPort => match port(packet, sources[1]) {
                Some(port) => self.has(Entry { proto: packet.protocol(), port, ..host }),
                None => false,
            },
            SetType::BitmapPort => match (packet.protocol(), port(packet, first)) {
                (IPPROTO_TCP | IPPROTO_UDP, Some(port)) => self.has(Entry { ip: Ipv4Addr::UNSPECIFIED, port, ..host }),
                _ => false,
            },
        }
    }
}

/// ip_set_get_ip4_port: the source's or the destination's; zero of protocols that have none, type and code of ICMP.
fn port(packet: &Packet<'_>, source: bool) -> Option<u16> {
    let l4 = packet.payload();
    let has_ports = matches!(packet.protocol(), IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE | IPPROTO_SCTP);
    match packet.protocol() {
        IPPROTO_ICMP if packet.fragment_offset() == 0 && l4.len() >= 2 => Some(be16(l4, 0)),
        IPPROTO_ICMP => None,
        _ if !has_ports => Some(0),
        _ if packet.fragment_offset() == 0 && l4.len() >= 4 => Some(be16(l4, if source { 0 } else { 2 })),
        _ => None,
    }
}

/// The network of `ip` with a prefix of that length.
fn mask(ip: Ipv4Addr, len: u8) -> Ipv4Addr {
    crate::kernel::mask(ip, len)
}

/// struct ip_set_net: the sets of a namespace, each with its number.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    list: Vec<Option<Set>>,
    elements: usize,
}

impl Sets {
    /// The sets, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Set> {
        self.list.iter().flatten()
    }

    /// The set of that name.
    pub fn get(&self, name: &str) -> Option<&Set> {
        self.iter().find(|s| s.name == name)
    }

    /// Whether the packet is in the set of that name.
    pub(super) fn match_set(&self, name: &str, sources: &[bool], packet: &Packet<'_>) -> bool {
        self.get(name).is_some_and(|s| s.holds(sources, packet))
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|s| s.as_ref().is_some_and(|s| s.name == name))
    }
}

#[cfg(test)]
mod tests;
