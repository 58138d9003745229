//! Mirrors net/netfilter/xt_TCPMSS.c: how `-j TCPMSS` changes the largest segment that a SYN announces. Read RFC 9293
//! section 3.7.1 and RFC 6691 before editing.

use super::conntrack::Csum;
use super::conntrack::nat::replace2;
use super::frame::Frame;
use super::ip::route::{self, Flow4};
use super::ip::{self, IP_HLEN};
use super::netfilter::targets::TcpMss;
use super::netns::NetNs;
use crate::base::IfIndex;
use crate::wire::{IPPROTO_TCP, be16};
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// Bytes of a TCP header without options, and with all that there may be.
const TCP_HLEN: usize = 20;
const TCP_MAX_HLEN: usize = 60;
/// TCPOPT_EOL, TCPOPT_NOP, TCPOPT_MSS
const EOL: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
/// TCPOLEN_MSS
const MSS_LEN: usize = 4;
/// What somebody may send who was told nothing (TCP_MSS_DEFAULT).
const MSS_DEFAULT: u16 = 536;

/// tcpmss_tg4: false if the packet is to be dropped.
#[inline(never)]
pub(in crate::kernel) fn tcpmss(ns: &mut NetNs, target: TcpMss, outdev: Option<IfIndex>, f: &mut Frame) -> bool {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst) = (p.src_addr(), p.dst_addr());
    if p.frag_offset() != 0 {
        return true;
    }
    let mss = match target {
        TcpMss::Set(mss) => mss,
        TcpMss::Clamp => {
            let mtu = path_mtu(ns, dst, outdev, f.mark).min(path_mtu(ns, src, None, 0));
            match mtu.checked_sub((IP_HLEN + TCP_HLEN) as u32).filter(|mss| *mss > 0) {
                Some(mss) => mss.min(u16::MAX.into()) as u16,
                None => return false,
            }
        }
    };
    announce(f, mss)
}

/// tcpmss_mangle_packet: false if it is no TCP header.
fn announce(f: &mut Frame, mss: u16) -> bool {
    let ihl = usize::from(Ipv4Packet::new_unchecked(f.l3()).header_len());
    let Some((IPPROTO_TCP, tcp)) = ip::payload(f.l3()) else { return false };
    let hlen = tcp.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    if hlen < TCP_HLEN || tcp.len() < hlen {
        return false;
    }
    let data = tcp.len() > hlen;
    let csum = f.csum();
    match find(&tcp[..hlen]) {
        Some(at) => {
            // It is never made larger: that would only lead to trouble.
            let tcp = &mut f.l3_mut()[ihl..];
            if be16(tcp, at + 2) > mss {
                put16(tcp, at + 2, mss, csum);
            }
        }
        // Data cannot be moved, and a header cannot be longer.
        None if data || hlen >= TCP_MAX_HLEN => {}
        None => insert(f, ihl, hlen, mss.min(MSS_DEFAULT)),
    }
    true
}

/// dst_mtu of the way to `addr`, and tcpmss_reverse_mtu.
fn path_mtu(ns: &mut NetNs, addr: Ipv4Addr, oif: Option<IfIndex>, mark: u32) -> u32 {
    let flow = Flow4 { oif, mark, any_src: true, ..Flow4::to(addr) };
    route::output(ns, &flow).map_or(u32::MAX, |r| r.mtu)
}

/// Where the MSS option begins in a header.
fn find(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HLEN;
    while at + MSS_LEN <= header.len() {
        match (header[at], header[at + 1]) {
            (MSS, len) if usize::from(len) == MSS_LEN => return Some(at),
            // optlen: what has no length, or none that could be one, is one byte.
            (EOL | NOP, _) | (_, 0) => at += 1,
            (_, len) => at += usize::from(len),
        }
    }
    None
}

/// The option is put in front of the others.
fn insert(f: &mut Frame, ihl: usize, hlen: usize, mss: u16) {
    let csum = f.csum();
    let total = be16(f.l3(), 2);
    f.put(MSS_LEN);
    let l3 = f.l3_mut();
    let grown = total + MSS_LEN as u16;
    let check = replace2(be16(l3, 10), total, grown);
    l3[2..4].copy_from_slice(&grown.to_be_bytes());
    l3[10..12].copy_from_slice(&check.to_be_bytes());
    let tcp = &mut l3[ihl..];
    tcp.copy_within(TCP_HLEN..hlen, TCP_HLEN + MSS_LEN);
    // The length in the pseudo header counts for an unfinished sum, too, which is kept as it is.
    let check = be16(tcp, 16);
    let (old, new) = (hlen as u16, (hlen + MSS_LEN) as u16);
    let check = if csum == Csum::Full { replace2(check, old, new) } else { !replace2(!check, old, new) };
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    tcp[TCP_HLEN..TCP_HLEN + MSS_LEN].fill(0);
    let kind = u16::from_be_bytes([MSS, MSS_LEN as u8]);
    put16(tcp, TCP_HLEN, kind, csum);
    put16(tcp, TCP_HLEN + 2, mss, csum);
    let offset = be16(tcp, 12) + ((MSS_LEN as u16 / 4) << 12);
    put16(tcp, 12, offset, csum);
}

/// inet_proto_csum_replace2 of a word of the header, which stands at an even offset or not.
fn put16(tcp: &mut [u8], at: usize, new: u16, csum: Csum) {
    let old = be16(tcp, at);
    tcp[at..at + 2].copy_from_slice(&new.to_be_bytes());
    if csum == Csum::Full {
        let (old, new) = if at.is_multiple_of(2) { (old, new) } else { (old.swap_bytes(), new.swap_bytes()) };
        let check = replace2(be16(tcp, 16), old, new);
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;
    use crate::kernel::conntrack::Packet;
    use crate::kernel::frame::Pool;
    use smoltcp::wire::{Ipv4Packet, TcpPacket};

    /// A SYN with these bytes of options and data.
    fn syn(options: &[u8], data: &[u8]) -> Frame {
        let len = IP_HLEN + TCP_HLEN + options.len() + data.len();
        let mut f = Pool::default().fresh(FrameId::default());
        let l3 = f.put_l3(len, 0);
        let mut ip = Ipv4Packet::new_unchecked(&mut *l3);
        ip.set_version(4);
        ip.set_header_len(IP_HLEN as u8);
        ip.set_total_len(len as u16);
        ip.set_next_header(IPPROTO_TCP.into());
        ip.set_src_addr(Ipv4Addr::new(10, 0, 0, 1));
        ip.set_dst_addr(Ipv4Addr::new(10, 0, 0, 2));
        ip.fill_checksum();
        let (src, dst) = (ip.src_addr(), ip.dst_addr());
        let mut tcp = TcpPacket::new_unchecked(&mut l3[IP_HLEN..]);
        tcp.set_syn(true);
        tcp.set_header_len((TCP_HLEN + options.len()) as u8);
        l3[IP_HLEN + TCP_HLEN..][..options.len()].copy_from_slice(options);
        l3[IP_HLEN + TCP_HLEN + options.len()..].copy_from_slice(data);
        TcpPacket::new_unchecked(&mut l3[IP_HLEN..]).fill_checksum(&src.into(), &dst.into());
        f
    }

    #[test]
    fn options_that_announce_1000() {
        for (options, data, want) in [
            (&[2, 4, 5, 180][..], &[][..], &[2, 4, 3, 232][..]),
            // Never larger.
            (&[2, 4, 2, 0], &[], &[2, 4, 2, 0]),
            // At an odd offset.
            (&[1, 2, 4, 5, 180, 1, 1, 1], &[], &[1, 2, 4, 3, 232, 1, 1, 1]),
            // Put in front, with what everybody takes.
            (&[1, 1, 4, 2], &[], &[2, 4, 2, 24, 1, 1, 4, 2]),
            (&[], &[], &[2, 4, 2, 24]),
            // Not in front of data, not where there is no room, not behind what is no option.
            (&[1, 1, 4, 2], &[7], &[1, 1, 4, 2]),
            (&[1; 40], &[], &[1; 40]),
            (&[3, 0, 2, 4, 5, 180, 0, 0], &[], &[3, 0, 2, 4, 3, 232, 0, 0]),
        ] {
            let mut f = syn(options, data);
            assert!(announce(&mut f, 1000));
            let l3 = f.l3();
            assert_eq!(&l3[IP_HLEN + TCP_HLEN..l3.len() - data.len()], want, "{options:?}");
            let ip = Ipv4Packet::new_checked(l3).unwrap();
            assert!(ip.verify_checksum() && usize::from(ip.total_len()) == l3.len());
            assert_eq!(usize::from(TcpPacket::new_checked(ip.payload()).unwrap().header_len()), TCP_HLEN + want.len());
            assert!(Packet::new(l3, Csum::Full).good_checksum(IPPROTO_TCP), "{options:?}");
        }
    }
}
