//! ARP for IPv4 over Ethernet (RFC 826).

use crate::base::Mac;
use smoltcp::wire::{ArpHardware, ArpOperation, ArpPacket, EthernetProtocol};
use std::net::Ipv4Addr;

/// Bytes of an ARP packet for IPv4 over Ethernet; Linux does not pad it.
pub const ARP_LEN: usize = 28;

/// An ARP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// ar_op is REQUEST; otherwise REPLY.
    pub request: bool,
    /// ar_sha
    pub sha: Mac,
    /// ar_sip
    pub sip: Ipv4Addr,
    /// ar_tha
    pub tha: Mac,
    /// ar_tip
    pub tip: Ipv4Addr,
}

impl Arp {
    /// Reads one; none if it is no request or reply for IPv4 over Ethernet, or too short.
    pub fn parse(bytes: &[u8]) -> Option<Arp> {
        let p = ArpPacket::new_checked(bytes).ok()?;
        let request = match p.operation() {
            ArpOperation::Request => true,
            ArpOperation::Reply => false,
            ArpOperation::Unknown(_) => return None,
        };
        let ours = p.hardware_type() == ArpHardware::Ethernet
            && p.protocol_type() == EthernetProtocol::Ipv4
            && (p.hardware_len(), p.protocol_len()) == (6, 4);
        let ip = |b: &[u8]| b.try_into().map(|b: [u8; 4]| Ipv4Addr::from(b)).ok();
        if !ours {
            return None;
        }
        Some(Arp {
            request,
            sha: Mac::read(p.source_hardware_addr(), 0),
            sip: ip(p.source_protocol_addr())?,
            tha: Mac::read(p.target_hardware_addr(), 0),
            tip: ip(p.target_protocol_addr())?,
        })
    }

    /// Writes it into [`ARP_LEN`] bytes.
    pub fn write(&self, bytes: &mut [u8]) {
        let mut p = ArpPacket::new_unchecked(bytes);
        p.set_hardware_type(ArpHardware::Ethernet);
        p.set_protocol_type(EthernetProtocol::Ipv4);
        p.set_hardware_len(6);
        p.set_protocol_len(4);
        p.set_operation(if self.request { ArpOperation::Request } else { ArpOperation::Reply });
        p.set_source_hardware_addr(&self.sha.0);
        p.set_source_protocol_addr(&self.sip.octets());
        p.set_target_hardware_addr(&self.tha.0);
        p.set_target_protocol_addr(&self.tip.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_rfc_826_draws_them() {
        let arp = Arp {
            request: true,
            sha: Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 2]),
            sip: [10, 244, 1, 2].into(),
            tha: Mac::ZERO,
            tip: [10, 244, 1, 3].into(),
        };
        let mut b = [0xee; ARP_LEN];
        arp.write(&mut b);
        let want =
            [0, 1, 8, 0, 6, 4, 0, 1, 0x0a, 0x58, 0x0a, 0xf4, 1, 2, 10, 244, 1, 2, 0, 0, 0, 0, 0, 0, 10, 244, 1, 3];
        assert_eq!(b, want);
        assert_eq!(Arp::parse(&b), Some(arp));
        for (at, byte) in [(1, 6), (2, 9), (4, 8), (5, 16), (7, 9)] {
            let mut bad = b;
            bad[at] = byte;
            assert_eq!(Arp::parse(&bad), None, "byte {at} = {byte}");
        }
        for cut in 0..ARP_LEN {
            assert_eq!(Arp::parse(&b[..cut]), None);
        }
    }
}
