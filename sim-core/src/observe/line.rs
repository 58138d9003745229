//! One line a frame, in the words of `tcpdump -nn`. What a tunnel carries stands behind a bar, where tcpdump begins a
//! new line.

use crate::wire::arp::Arp;
use crate::wire::{ETH_P_ARP, ETH_P_IP, IPPROTO_ICMP, be16, be32};
use smoltcp::wire::Ipv4Packet;
use std::fmt;
use std::net::Ipv4Addr;

/// The port of VXLAN (RFC 7348), and the one that Linux takes by default, which tcpdump believes to be OTV's.
const VXLAN: u16 = 4789;
const OTV: u16 = 8472;

/// What follows the link-layer header, as text: `ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    ethertype: u16,
    l3: &'a [u8],
}

impl<'a> Line<'a> {
    /// The line for `l3`, which is what `ethertype` says.
    pub fn new(ethertype: u16, l3: &'a [u8]) -> Self {
        Line { ethertype, l3 }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ethertype {
            ETH_P_ARP => arp(f, self.l3),
            ETH_P_IP => {
                f.write_str("IP ")?;
                ip(f, self.l3)
            }
            other => write!(f, "ethertype 0x{other:04x}, length {}", self.l3.len()),
        }
    }
}

fn arp(f: &mut fmt::Formatter<'_>, l3: &[u8]) -> fmt::Result {
    let len = l3.len();
    match Arp::parse(l3) {
        Some(a) if a.request && a.tip == a.sip => write!(f, "ARP, Announcement {}, length {len}", a.sip),
        Some(a) if a.request && a.sip.is_unspecified() => write!(f, "ARP, Probe {}, length {len}", a.tip),
        Some(a) if a.request => write!(f, "ARP, Request who-has {} tell {}, length {len}", a.tip, a.sip),
        Some(a) => write!(f, "ARP, Reply {} is-at {}, length {len}", a.sip, a.sha),
        None => write!(f, "ARP, length {len}"),
    }
}

fn ip(f: &mut fmt::Formatter<'_>, l3: &[u8]) -> fmt::Result {
    let Some(header) = l3.get(..20) else { return write!(f, "truncated-ip, length {}", l3.len()) };
    let p = Ipv4Packet::new_unchecked(header);
    let (src, dst, protocol) = (p.src_addr(), p.dst_addr(), l3[9]);
    let payload = l3.get(p.header_len() as usize..).unwrap_or_default();
    match protocol {
        IPPROTO_ICMP if p.frag_offset() == 0 && payload.len() >= 8 => {
            write!(f, "{src} > {dst}: ICMP ")?;
            icmp(f, payload)?;
            write!(f, ", length {}", payload.len())
        }
        17 if p.frag_offset() == 0 && payload.len() >= 8 => {
            let (len, to) = (be16(payload, 4).saturating_sub(8), be16(payload, 2));
            write!(f, "{src}.{} > {dst}.{to}: ", be16(payload, 0))?;
            match (to, payload.get(8..).and_then(|b| Some((b, b.get(22..)?)))) {
                (VXLAN | OTV, Some((b, inner))) => {
                    let (i, vni) = (if b[0] & 8 == 0 { "." } else { "I" }, be32(b, 4) >> 8);
                    let what = if to == VXLAN { "VXLAN" } else { "OTV" };
                    write!(f, "{what}, flags [{i}] (0x{:02x}), ", b[0])?;
                    match to {
                        VXLAN => write!(f, "vni {vni} | ")?,
                        _ => write!(f, "overlay 0, instance {vni} | ")?,
                    }
                    write!(f, "{}", Line::new(be16(b, 20), inner))
                }
                _ => write!(f, "UDP, length {len}"),
            }
        }
        _ => write!(f, "{src} > {dst}: ip-proto-{protocol} {}", payload.len()),
    }
}

fn icmp(f: &mut fmt::Formatter<'_>, m: &[u8]) -> fmt::Result {
    let quoted = m.get(8..28).map(Ipv4Packet::new_unchecked);
    let target = quoted.as_ref().map_or(Ipv4Addr::UNSPECIFIED, Ipv4Packet::dst_addr);
    let port = || m.get(8..).map(|q| be16(q, usize::from(q[0] & 15) * 4 + 2)).unwrap_or(0);
    match (m[0], m[1]) {
        (8, _) => write!(f, "echo request, id {}, seq {}", be16(m, 4), be16(m, 6)),
        (0, _) => write!(f, "echo reply, id {}, seq {}", be16(m, 4), be16(m, 6)),
        (3, 0) => write!(f, "net {target} unreachable"),
        (3, 1) => write!(f, "host {target} unreachable"),
        (3, 2) => write!(f, "{target} protocol {} unreachable", m.get(17).copied().unwrap_or(0)),
        (3, 3) => write!(f, "{target} udp port {} unreachable", port()),
        (3, 4) => write!(f, "{target} unreachable - need to frag (mtu {})", be16(m, 6)),
        (3, code) => write!(f, "{target} unreachable - #{code}"),
        (11, 0) => f.write_str("time exceeded in-transit"),
        (11, _) => f.write_str("ip reassembly time exceeded"),
        (kind, _) => write!(f, "type-#{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_tcpdump_prints_them() {
        let arp = |request, sip: [u8; 4], tip: [u8; 4]| {
            let mut b = [0; 28];
            let sha = crate::base::Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 3]);
            Arp { request, sha, sip: sip.into(), tha: crate::base::Mac::ZERO, tip: tip.into() }.write(&mut b);
            b
        };
        for (frame, want) in [
            (arp(true, [10, 0, 0, 1], [10, 0, 0, 2]), "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"),
            (arp(false, [10, 0, 0, 1], [10, 0, 0, 2]), "ARP, Reply 10.0.0.1 is-at 0a:58:0a:f4:01:03, length 28"),
            (arp(true, [10, 0, 0, 1], [10, 0, 0, 1]), "ARP, Announcement 10.0.0.1, length 28"),
            (arp(true, [0, 0, 0, 0], [10, 0, 0, 1]), "ARP, Probe 10.0.0.1, length 28"),
        ] {
            assert_eq!(Line::new(ETH_P_ARP, &frame).to_string(), want);
        }
        let mut echo =
            vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 7, 0, 1];
        let line = |b: &[u8]| Line::new(ETH_P_IP, b).to_string();
        assert_eq!(line(&echo), "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 7, seq 1, length 8");
        echo[9] = 17;
        assert_eq!(line(&echo[..26]), "IP 10.0.0.1 > 10.0.0.2: ip-proto-17 6");
        let mut wrapped =
            vec![0x45, 0, 0, 92, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0x12, 0xb5];
        wrapped.extend([0, 72, 0, 0, 8, 0, 0, 0, 0, 0, 5, 0]);
        wrapped.extend([0; 12]);
        wrapped.extend([8, 0]);
        wrapped.extend_from_slice(&echo[..9]);
        wrapped.push(1);
        wrapped.extend_from_slice(&echo[10..]);
        assert_eq!(
            line(&wrapped),
            "IP 10.0.0.1.40000 > 10.0.0.2.4789: VXLAN, flags [I] (0x08), vni 5 | \
             IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 7, seq 1, length 8"
        );
        wrapped[22..24].copy_from_slice(&8472_u16.to_be_bytes());
        assert!(line(&wrapped).contains("8472: OTV, flags [I] (0x08), overlay 0, instance 5 | IP 10.0.0.1 > "));
        for cut in 0..wrapped.len() {
            let _ = line(&wrapped[..cut]);
        }
        for cut in 0..echo.len() {
            let _ = line(&echo[..cut]);
            let _ = Line::new(ETH_P_ARP, &echo[..cut]).to_string();
        }
    }
}
