//! Mirrors net/netfilter/nf_log_syslog.c: the line of the kernel's log that `-j LOG` writes of a packet. Read RFC 791,
//! RFC 792 and RFC 9293 section 3.1 before editing.
//!
//! Differs: every namespace's packets are logged, as with `net.netfilter.nf_log_all_netns=1`.

use super::cred::Cred;
use super::netfilter::packet::{IfName, Packet};
use super::netfilter::targets::Log;
use crate::base::IfIndex;
use crate::wire::{ETH_HLEN, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, be16, be32};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// NF_LOG_TCPSEQ, NF_LOG_TCPOPT, NF_LOG_IPOPT, NF_LOG_UID, NF_LOG_MACDECODE
const TCPSEQ: u8 = 0x01;
const TCPOPT: u8 = 0x02;
const IPOPT: u8 = 0x04;
const UID: u8 = 0x08;
const MACDECODE: u8 = 0x10;

const IP_HLEN: usize = 20;
const TCP_HLEN: usize = 20;
const UDP_HLEN: usize = 8;
const ICMP_HLEN: usize = 8;
/// IP_CE, IP_DF, IP_MF and IP_OFFSET of `frag_off`.
const FRAGMENT: [(u16, &str); 3] = [(0x8000, "CE "), (0x4000, "DF "), (0x2000, "MF ")];
const IP_OFFSET: u16 = 0x1fff;
/// The flags of the TCP header in the order of their names.
const TCP_FLAGS: [(u8, &str); 8] = [
    (0x80, "CWR "),
    (0x40, "ECE "),
    (0x20, "URG "),
    (0x10, "ACK "),
    (0x08, "PSH "),
    (0x04, "RST "),
    (0x02, "SYN "),
    (0x01, "FIN "),
];

const ECHO_REPLY: u8 = 0;
const DEST_UNREACH: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
const FRAG_NEEDED: u8 = 4;

/// nf_log_ip_packet: `mac` is the packet's Ethernet header, empty if it has none; the device by which it came in is an
/// Ethernet device, or the loopback device (`is_ether`). `owner` knows as whom the file of the packet's socket was
/// opened, `name` the devices.
pub(in crate::kernel) fn line(
    log: &Log,
    packet: &Packet<'_>,
    (mac, is_ether): (&[u8], bool),
    owner: impl FnOnce() -> Option<Cred>,
    name: impl Fn(IfIndex) -> IfName,
) -> String {
    let mut s = log.prefix.clone();
    let named = |dev: Option<IfIndex>| dev.map_or(IfName::NONE, &name);
    let _ = write!(s, "IN={:?} OUT={:?} ", named(packet.indev), named(packet.outdev));
    for (what, dev, other) in [("PHYSIN", packet.physin, packet.indev), ("PHYSOUT", packet.physout, packet.outdev)] {
        if let Some(dev) = dev.filter(|dev| Some(*dev) != other) {
            let _ = write!(s, "{what}={:?} ", name(dev));
        }
    }
    if packet.indev.is_some() {
        link_layer(&mut s, log.flags, mac, is_ether);
    }
    if ipv4(&mut s, log.flags, packet.bytes, true).is_none() {
        return s;
    }
    // nf_log_dump_sk_uid_gid
    if let Some(cred) = Some(log.flags).filter(|flags| flags & UID != 0).and_then(|_| owner()) {
        let _ = write!(s, "UID={} GID={} ", cred.uid, cred.gid);
    }
    if packet.mark != 0 {
        let _ = write!(s, "MARK={:#x} ", packet.mark);
    }
    s
}

/// dump_mac_header
fn link_layer(s: &mut String, flags: u8, mac: &[u8], is_ether: bool) {
    let colons = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":");
    if flags & MACDECODE != 0 && is_ether && mac.len() >= ETH_HLEN {
        let (dst, src) = (colons(&mac[..6]), colons(&mac[6..12]));
        let _ = write!(s, "MACSRC={src} MACDST={dst} MACPROTO={:04x} ", be16(mac, 12));
    } else {
        let _ = write!(s, "MAC={} ", colons(mac));
    }
}

/// dump_ipv4_packet; the packet that an ICMP error quotes is no `outer` one. None if it ends before what it should
/// have.
fn ipv4(s: &mut String, flags: u8, l3: &[u8], outer: bool) -> Option<()> {
    if l3.len() < IP_HLEN {
        s.push_str("TRUNCATED");
        return None;
    }
    let addr = |at: usize| Ipv4Addr::from(be32(l3, at));
    let _ = write!(s, "SRC={} DST={} ", addr(12), addr(16));
    let (tos, ttl) = (l3[1], l3[8]);
    let _ = write!(s, "LEN={} TOS=0x{:02X} PREC=0x{:02X} ", be16(l3, 2), tos & 0x1e, tos & 0xe0);
    let _ = write!(s, "TTL={ttl} ID={} ", be16(l3, 4));
    let fragment = be16(l3, 6);
    s.extend(FRAGMENT.iter().filter(|(bit, _)| fragment & bit != 0).map(|(_, name)| *name));
    if fragment & IP_OFFSET != 0 {
        let _ = write!(s, "FRAG:{} ", fragment & IP_OFFSET);
    }
    let ihl = usize::from(l3[0] & 0xf) * 4;
    if flags & IPOPT != 0 && ihl > IP_HLEN {
        options(s, l3.get(IP_HLEN..ihl), "TRUNCATED")?;
    }
    let l4 = l3.get(ihl..).unwrap_or_default();
    let first = fragment & IP_OFFSET == 0;
    match l3[9] {
        IPPROTO_TCP => tcp(s, flags, l4, first)?,
        protocol @ (IPPROTO_UDP | IPPROTO_UDPLITE) => udp(s, protocol, l4, first)?,
        IPPROTO_ICMP => icmp(s, flags, l4, first, outer),
        protocol => {
            let _ = write!(s, "PROTO={protocol} ");
        }
    }
    Some(())
}

/// `OPT (…)`; `cut` and none if they are not all there.
fn options(s: &mut String, bytes: Option<&[u8]>, cut: &str) -> Option<()> {
    let Some(bytes) = bytes else {
        s.push_str(cut);
        return None;
    };
    let hex: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
    let _ = write!(s, "OPT ({hex}) ");
    Some(())
}

fn incomplete(s: &mut String, l4: &[u8]) {
    let _ = write!(s, "INCOMPLETE [{} bytes] ", l4.len());
}

/// nf_log_dump_tcp_header
fn tcp(s: &mut String, flags: u8, l4: &[u8], first: bool) -> Option<()> {
    s.push_str("PROTO=TCP ");
    if !first {
        return Some(());
    }
    if l4.len() < TCP_HLEN {
        incomplete(s, l4);
        return None;
    }
    let _ = write!(s, "SPT={} DPT={} ", be16(l4, 0), be16(l4, 2));
    if flags & TCPSEQ != 0 {
        let _ = write!(s, "SEQ={} ACK={} ", be32(l4, 4), be32(l4, 8));
    }
    // TCP_RESERVED_BITS, which AccECN's bit is none of.
    let _ = write!(s, "WINDOW={} RES=0x{:02x} ", be16(l4, 14), (l4[12] & 0x0e) << 2);
    s.extend(TCP_FLAGS.iter().filter(|(bit, _)| l4[13] & bit != 0).map(|(_, name)| *name));
    let _ = write!(s, "URGP={} ", be16(l4, 18));
    let hlen = usize::from(l4[12] >> 4) * 4;
    if flags & TCPOPT != 0 && hlen > TCP_HLEN {
        options(s, l4.get(TCP_HLEN..hlen), "OPT (TRUNCATED)")?;
    }
    Some(())
}

/// nf_log_dump_udp_header
fn udp(s: &mut String, protocol: u8, l4: &[u8], first: bool) -> Option<()> {
    s.push_str(if protocol == IPPROTO_UDP { "PROTO=UDP " } else { "PROTO=UDPLITE " });
    if !first {
        return Some(());
    }
    if l4.len() < UDP_HLEN {
        incomplete(s, l4);
        return None;
    }
    let _ = write!(s, "SPT={} DPT={} LEN={} ", be16(l4, 0), be16(l4, 2), be16(l4, 4));
    Some(())
}

/// How much of an ICMP message must be there (`required_len`).
fn required(kind: u8) -> usize {
    match kind {
        ECHO_REPLY | ECHO => 4,
        DEST_UNREACH | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM => ICMP_HLEN + IP_HLEN,
        // Timestamps and their replies, address masks and theirs.
        13 | 14 => 20,
        17 | 18 => 12,
        _ => 0,
    }
}

fn icmp(s: &mut String, flags: u8, l4: &[u8], first: bool, outer: bool) {
    s.push_str("PROTO=ICMP ");
    if !first {
        return;
    }
    if l4.len() < ICMP_HLEN {
        return incomplete(s, l4);
    }
    let (kind, code) = (l4[0], l4[1]);
    let _ = write!(s, "TYPE={kind} CODE={code} ");
    if l4.len() < required(kind) {
        return incomplete(s, l4);
    }
    match kind {
        ECHO_REPLY | ECHO => {
            let _ = write!(s, "ID={} SEQ={} ", be16(l4, 4), be16(l4, 6));
        }
        PARAMETER_PROBLEM => {
            let _ = write!(s, "PARAMETER={} ", l4[4]);
        }
        REDIRECT | DEST_UNREACH | SOURCE_QUENCH | TIME_EXCEEDED => {
            if kind == REDIRECT {
                let _ = write!(s, "GATEWAY={} ", Ipv4Addr::from(be32(l4, 4)));
            }
            if outer {
                s.push('[');
                ipv4(s, flags, &l4[ICMP_HLEN..], false);
                s.push_str("] ");
            }
            if kind == DEST_UNREACH && code == FRAG_NEEDED {
                let _ = write!(s, "MTU={} ", be16(l4, 6));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Time;
    use crate::kernel::frame::Sk;
    use crate::kernel::netfilter::packet::Ct;

    fn logged(flags: u8, bytes: &[u8]) -> String {
        let log = Log { flags, ..Log::default() };
        let (indev, outdev) = (None, Some(IfIndex(2)));
        let (physin, physout, bridged, mark) = (None, None, false, 1);
        let (sk, ct, now) = (Sk::None, Ct::None, Time(0));
        let packet = Packet { bytes, indev, outdev, physin, physout, bridged, sk, mark, ct, now };
        line(&log, &packet, (&[], false), || Some(Cred { uid: 1000, gid: 100 }), |_| IfName::new("eth0"))
    }

    /// An IPv4 packet from 10.0.0.1 to 10.0.0.2 with these options.
    fn packet(protocol: u8, fragment: u16, options: &[u8], l4: &[u8]) -> Vec<u8> {
        let len = (IP_HLEN + options.len() + l4.len()) as u16;
        let ihl = 0x45 + (options.len() / 4) as u8;
        let [[l0, l1], [f0, f1]] = [len.to_be_bytes(), fragment.to_be_bytes()];
        let header = [ihl, 0xbb, l0, l1, 0, 7, f0, f1, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&header, options, l4].concat()
    }

    const START: &str = "IN= OUT=eth0 SRC=10.0.0.1 DST=10.0.0.2 ";

    /// What follows a packet that is all there.
    const OWNER: &str = "UID=1000 GID=100 MARK=0x1 ";

    /// What no tool of today sends, after the source; the rest is held against the kernel by `live_log`.
    #[test]
    fn what_is_cut_or_rare() {
        let route = [7, 7, 4, 10, 0, 0, 9, 0];
        let mut claims_options = [0; 20];
        claims_options[12] = 0x80;
        let cases: [(Vec<u8>, &str, &str); 8] = [
            (
                packet(47, 0x4000, &route, &[0; 4]),
                "LEN=32 TOS=0x1A PREC=0xA0 TTL=64 ID=7 DF OPT (0707040A00000900) PROTO=47 ",
                OWNER,
            ),
            (packet(17, 185, &[], &[0; 8]), "LEN=28 TOS=0x1A PREC=0xA0 TTL=64 ID=7 FRAG:185 PROTO=UDP ", OWNER),
            (packet(17, 0, &[], &[0; 7]), "LEN=27 TOS=0x1A PREC=0xA0 TTL=64 ID=7 PROTO=UDP INCOMPLETE [7 bytes] ", ""),
            (packet(6, 0, &[], &[0; 19]), "LEN=39 TOS=0x1A PREC=0xA0 TTL=64 ID=7 PROTO=TCP INCOMPLETE [19 bytes] ", ""),
            (
                packet(6, 0, &[], &claims_options),
                "LEN=40 TOS=0x1A PREC=0xA0 TTL=64 ID=7 PROTO=TCP SPT=0 DPT=0 SEQ=0 ACK=0 WINDOW=0 RES=0x00 URGP=0 \
                 OPT (TRUNCATED)",
                "",
            ),
            (
                packet(1, 0, &[], &[3, 4, 0, 0, 0, 0, 5, 0]),
                "LEN=28 TOS=0x1A PREC=0xA0 TTL=64 ID=7 PROTO=ICMP TYPE=3 CODE=4 INCOMPLETE [8 bytes] ",
                OWNER,
            ),
            (
                packet(1, 0, &[], &[&[5, 1, 0, 0, 10, 0, 0, 9][..], &packet(136, 0, &[], &[0; 8])].concat()),
                "LEN=56 TOS=0x1A PREC=0xA0 TTL=64 ID=7 PROTO=ICMP TYPE=5 CODE=1 GATEWAY=10.0.0.9 [\
                 SRC=10.0.0.1 DST=10.0.0.2 LEN=28 TOS=0x1A PREC=0xA0 TTL=64 ID=7 PROTO=UDPLITE SPT=0 DPT=0 LEN=0 ] ",
                OWNER,
            ),
            (
                packet(1, 0, &[], &[&[12, 0, 0, 0, 20, 0, 0, 0][..], &[0; 20]].concat()),
                "LEN=48 TOS=0x1A PREC=0xA0 TTL=64 ID=7 PROTO=ICMP TYPE=12 CODE=0 PARAMETER=20 ",
                OWNER,
            ),
        ];
        for (bytes, text, owner) in cases {
            assert_eq!(logged(TCPSEQ | TCPOPT | IPOPT | UID, &bytes), format!("{START}{text}{owner}"));
        }
        // A header that claims options which are not there.
        let mut cut = packet(1, 0, &[], &[]);
        cut[0] = 0x46;
        assert_eq!(logged(IPOPT, &cut), format!("{START}LEN=20 TOS=0x1A PREC=0xA0 TTL=64 ID=7 TRUNCATED"));
    }
}
