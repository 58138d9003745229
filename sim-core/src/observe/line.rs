//! One line a frame, in the words of `tcpdump -nn` 4.99. What a tunnel carries stands behind a bar, where tcpdump
//! begins a new line.

mod dns;
mod tcp;

use crate::base::Mac;
use crate::wire::arp::Arp;
use crate::wire::{ETH_P_ARP, ETH_P_IP, IPPROTO_ICMP, IPPROTO_IPIP, IPPROTO_TCP, IPPROTO_UDP, UDP_HLEN, be16, be32};
use rustc_hash::FxHashMap;
use smoltcp::wire::Ipv4Packet;
use std::fmt::{self, Write};
use std::net::Ipv4Addr;

/// The port of VXLAN (RFC 7348), and the one that Linux takes by default, which tcpdump believes to be OTV's.
const VXLAN: u16 = 4789;
const OTV: u16 = 8472;
/// The port of DNS.
const DOMAIN: u16 = 53;
/// So many tunnels in one another are looked into.
const MAX_TUNNELS: u8 = 16;
/// As many connections are remembered; then all are forgotten.
const MAX_CONVERSATIONS: usize = 1 << 16;

/// What tcpdump remembers of TCP's connections (print-tcp.c, tseq_hash): from their second segment on, sequence numbers
/// are told relative to the first.
#[derive(Clone, Debug, Default)]
pub struct Conversations(FxHashMap<tcp::Ends, tcp::First>);

impl Conversations {
    /// The line for `l3`, which is what `ethertype` says: `ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28`.
    pub fn line(&mut self, ethertype: u16, l3: &[u8]) -> String {
        if self.0.len() > MAX_CONVERSATIONS {
            self.0.clear();
        }
        let mut out = String::new();
        // A String takes everything.
        let _ = self.frame(&mut out, ethertype, l3, 0);
        out
    }

    /// Inside of so many tunnels.
    fn frame(&mut self, f: &mut String, ethertype: u16, l3: &[u8], inside: u8) -> fmt::Result {
        match ethertype {
            ETH_P_ARP => arp(f, l3),
            ETH_P_IP => {
                f.write_str("IP ")?;
                self.ip(f, l3, inside)
            }
            other => write!(f, "ethertype 0x{other:04x}, length {}", l3.len()),
        }
    }

    fn ip(&mut self, f: &mut String, l3: &[u8], inside: u8) -> fmt::Result {
        let Some(header) = l3.get(..20) else { return write!(f, "truncated-ip, length {}", l3.len()) };
        let p = Ipv4Packet::new_unchecked(header);
        let (src, dst, protocol) = (p.src_addr(), p.dst_addr(), l3[9]);
        let end = usize::from(p.total_len()).min(l3.len());
        let payload = l3.get(p.header_len() as usize..end).unwrap_or_default();
        if p.frag_offset() != 0 {
            return write!(f, "{src} > {dst}: ip-proto-{protocol}");
        }
        match protocol {
            IPPROTO_ICMP if payload.len() >= 8 => {
                write!(f, "{src} > {dst}: ICMP ")?;
                icmp(f, payload)?;
                write!(f, ", length {}", payload.len())
            }
            IPPROTO_UDP if payload.len() >= UDP_HLEN => {
                write!(f, "{src}.{} > {dst}.{}: ", be16(payload, 0), be16(payload, 2))?;
                self.udp(f, payload, inside)
            }
            IPPROTO_TCP if payload.len() >= 20 => {
                write!(f, "{src}.{} > {dst}.{}: ", be16(payload, 0), be16(payload, 2))?;
                tcp::segment(f, &mut self.0, (src, dst), payload)
            }
            IPPROTO_IPIP if inside < MAX_TUNNELS => {
                write!(f, "{src} > {dst}: IP ")?;
                self.ip(f, payload, inside + 1)
            }
            _ => write!(f, "{src} > {dst}: ip-proto-{protocol} {}", payload.len()),
        }
    }

    fn udp(&mut self, f: &mut String, datagram: &[u8], inside: u8) -> fmt::Result {
        let (from, to, len) = (be16(datagram, 0), be16(datagram, 2), be16(datagram, 4).saturating_sub(8));
        let body = &datagram[UDP_HLEN..];
        match (to, body.get(22..)) {
            _ if [from, to].contains(&DOMAIN) => match dns::message(body, body.len()) {
                Some(text) => f.write_str(&text),
                None => write!(f, "domain, length {len}"),
            },
            (VXLAN | OTV, Some(inner)) if inside < MAX_TUNNELS => {
                let (flag, vni) = (if body[0] & 8 == 0 { "." } else { "I" }, be32(body, 4) >> 8);
                let what = if to == VXLAN { "VXLAN" } else { "OTV" };
                write!(f, "{what}, flags [{flag}] (0x{:02x}), ", body[0])?;
                match to {
                    VXLAN => write!(f, "vni {vni} | ")?,
                    _ => write!(f, "overlay 0, instance {vni} | ")?,
                }
                self.frame(f, be16(body, 20), inner, inside + 1)
            }
            _ => write!(f, "UDP, length {len}"),
        }
    }
}

fn arp(f: &mut String, l3: &[u8]) -> fmt::Result {
    let len = l3.len();
    match Arp::parse(l3) {
        Some(a) if a.request => {
            let known = if a.tha == Mac::ZERO { String::new() } else { format!(" ({})", a.tha) };
            write!(f, "ARP, Request who-has {}{known} tell {}, length {len}", a.tip, a.sip)
        }
        Some(a) => write!(f, "ARP, Reply {} is-at {}, length {len}", a.sip, a.sha),
        None => write!(f, "ARP, length {len}"),
    }
}

/// icmp_print
fn icmp(f: &mut String, m: &[u8]) -> fmt::Result {
    let quoted = m.get(8..).unwrap_or_default();
    let target = quoted.get(..20).map_or(Ipv4Addr::UNSPECIFIED, |q| Ipv4Packet::new_unchecked(q).dst_addr());
    let (protocol, quoted_hlen) =
        (quoted.get(9).copied().unwrap_or(0), usize::from(quoted.first().unwrap_or(&0) & 15) * 4);
    let gateway = || Ipv4Addr::from(be32(m, 4));
    match (m[0], m[1]) {
        (8, _) => write!(f, "echo request, id {}, seq {}", be16(m, 4), be16(m, 6)),
        (0, _) => write!(f, "echo reply, id {}, seq {}", be16(m, 4), be16(m, 6)),
        (3, 0) => write!(f, "net {target} unreachable"),
        (3, 1) => write!(f, "host {target} unreachable"),
        (3, 2) => write!(f, "{target} protocol {protocol} unreachable"),
        (3, 3) => {
            let port = be16(quoted, quoted_hlen + 2);
            match protocol {
                IPPROTO_TCP => write!(f, "{target} tcp port {port} unreachable"),
                IPPROTO_UDP => write!(f, "{target} udp port {port} unreachable"),
                other => write!(f, "{target} protocol {other} port {port} unreachable"),
            }
        }
        (3, 4) if be16(m, 6) != 0 => write!(f, "{target} unreachable - need to frag (mtu {})", be16(m, 6)),
        (3, 4) => write!(f, "{target} unreachable - need to frag"),
        (3, 5) => write!(f, "{target} unreachable - source route failed"),
        (3, 6) => write!(f, "net {target} unreachable - unknown"),
        (3, 7) => write!(f, "host {target} unreachable - unknown"),
        (3, 8) => write!(f, "{target} unreachable - source host isolated"),
        (3, 9) => write!(f, "net {target} unreachable - admin prohibited"),
        (3, 10) => write!(f, "host {target} unreachable - admin prohibited"),
        (3, 11) => write!(f, "net {target} unreachable - tos prohibited"),
        (3, 12) => write!(f, "host {target} unreachable - tos prohibited"),
        (3, 13) => write!(f, "host {target} unreachable - admin prohibited filter"),
        (3, 14) => write!(f, "host {target} unreachable - host precedence violation"),
        (3, 15) => write!(f, "host {target} unreachable - precedence cutoff"),
        (3, code) => write!(f, "{target} unreachable - #{code}"),
        (4, _) => f.write_str("source quench"),
        (5, 0) => write!(f, "redirect {target} to net {}", gateway()),
        (5, 1) => write!(f, "redirect {target} to host {}", gateway()),
        (5, 2) => write!(f, "redirect-tos {target} to net {}", gateway()),
        (5, 3) => write!(f, "redirect-tos {target} to host {}", gateway()),
        (11, 0) => f.write_str("time exceeded in-transit"),
        (11, 1) => f.write_str("ip reassembly time exceeded"),
        (11, code) => write!(f, "time exceeded-#{code}"),
        (kind, _) => write!(f, "type-#{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_tcpdump_prints_them() {
        let asks = |tha: Mac, request, sip: [u8; 4], tip: [u8; 4]| {
            let mut b = [0; 28];
            let sha = Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 3]);
            Arp { request, sha, sip: sip.into(), tha, tip: tip.into() }.write(&mut b);
            b
        };
        let arp = |request, sip, tip| asks(Mac::ZERO, request, sip, tip);
        for (frame, want) in [
            (arp(true, [10, 0, 0, 1], [10, 0, 0, 2]), "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"),
            (arp(false, [10, 0, 0, 1], [10, 0, 0, 2]), "ARP, Reply 10.0.0.1 is-at 0a:58:0a:f4:01:03, length 28"),
            (arp(true, [10, 0, 0, 1], [10, 0, 0, 1]), "ARP, Request who-has 10.0.0.1 tell 10.0.0.1, length 28"),
            (
                asks(Mac([0xff; 6]), true, [0, 0, 0, 0], [10, 0, 0, 1]),
                "ARP, Request who-has 10.0.0.1 (ff:ff:ff:ff:ff:ff) tell 0.0.0.0, length 28",
            ),
        ] {
            assert_eq!(Conversations::default().line(ETH_P_ARP, &frame), want);
        }
        let mut echo =
            vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 7, 0, 1];
        let line = |b: &[u8]| Conversations::default().line(ETH_P_IP, b);
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
            let _ = Conversations::default().line(ETH_P_ARP, &echo[..cut]);
        }
    }
}
