//! Elements of sets, and what stands for several of them (ip_set_hash_ip.c, ip_set_hash_net.c and the others).

use super::{SetError, SetType, Spec, mask};
use std::net::Ipv4Addr;

/// An element of a set. What its type has not is zero, and the prefix length 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The address, or the network's.
    pub ip: Ipv4Addr,
    /// The prefix length.
    pub len: u8,
    /// The protocol.
    pub proto: u8,
    /// The port; type and code of ICMP.
    pub port: u16,
}

/// What a command names: one element or a range of them (IPSET_ATTR_IP to IP_TO or CIDR, PORT to PORT_TO).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element {
    /// The first and the last address.
    pub ips: (Ipv4Addr, Ipv4Addr),
    /// The prefix length, of a network.
    pub len: Option<u8>,
    /// The protocol.
    pub proto: u8,
    /// The first and the last port.
    pub ports: (u16, u16),
    /// `nomatch`: what is in it does not match.
    pub nomatch: bool,
}

impl Element {
    /// One address.
    pub fn host(ip: Ipv4Addr) -> Self {
        Element { ips: (ip, ip), len: None, proto: 0, ports: (0, 0), nomatch: false }
    }

    /// A network.
    pub fn net(ip: Ipv4Addr, len: u8) -> Self {
        Element { len: Some(len), ..Element::host(ip) }
    }

    /// The elements of a set that it stands for, in ascending order.
    ///
    /// # Errors
    /// It does not suit the set.
    pub(super) fn entries(&self, spec: &Spec) -> Result<Box<dyn Iterator<Item = Entry>>, SetError> {
        let (proto, (low, high)) = (self.proto, self.ports);
        let one = move |ip| Entry { ip, len: 32, proto, port: low };
        let ports = low.min(high)..=low.max(high);
        match spec.kind {
            SetType::BitmapPort => {
                if !(spec.range.0..=spec.range.1).contains(ports.start()) || *ports.end() > spec.range.1 {
                    return Err(SetError::OutOfRange);
                }
                let entry = Entry { proto: 0, ..one(Ipv4Addr::UNSPECIFIED) };
                Ok(Box::new(ports.map(move |port| Entry { port, ..entry })))
            }
            SetType::HashNet => match self.len {
                Some(0) => Err(SetError::Cidr),
                Some(len) => Ok(Box::new(std::iter::once(Entry { len, ..one(mask(self.ips.0, len)) }))),
                None => Ok(Box::new(networks(self.ips).map(move |(ip, len)| Entry { len, ..one(ip) }))),
            },
            SetType::HashIp | SetType::HashIpPort => {
                let (first, last) = match self.len {
                    Some(0) => return Err(SetError::Cidr),
                    Some(len) => {
                        let net = mask(self.ips.0, len);
                        (net, Ipv4Addr::from(u32::from(net) | (u64::from(u32::MAX) >> len) as u32))
                    }
                    None => self.ips,
                };
                let ips = u32::from(first.min(last))..=u32::from(first.max(last));
                let (entry, ported) = (one(first), spec.kind == SetType::HashIpPort);
                let ports = if ported { ports } else { 0..=0 };
                Ok(Box::new(ips.flat_map(move |ip| {
                    let ip = Ipv4Addr::from(ip);
                    ports.clone().map(move |port| Entry { ip, port, ..entry })
                })))
            }
        }
    }
}

/// ip_set_range_to_cidr: the networks that make up a range, the largest that fit one after the other.
fn networks((first, last): (Ipv4Addr, Ipv4Addr)) -> impl Iterator<Item = (Ipv4Addr, u8)> {
    let mut next = Some(u64::from(u32::from(first.min(last))));
    let last = u64::from(u32::from(first.max(last)));
    std::iter::from_fn(move || {
        let from = next.filter(|from| *from <= last)?;
        let fits = |len: &u8| {
            let size = 1_u64 << (32 - len);
            from % size == 0 && from + size - 1 <= last
        };
        let len = (1..=32_u8).find(fits)?;
        next = Some(from + (1 << (32 - len)));
        Some((Ipv4Addr::from(from as u32), len))
    })
}
