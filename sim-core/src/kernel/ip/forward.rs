//! Mirrors net/ipv4/ip_forward.c: a packet for somebody else.

use super::{icmp, output, route};
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, PacketType, Sk};
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netns::NetNs;
use crate::kernel::nf_hook::{State, nf_hook};
use crate::kernel::trace::{DropReason, Flow};
use crate::wire::be16;
use smoltcp::wire::Ipv4Packet;

/// ip_forward: TTL, size, FORWARD, then out. Errors are told to the sender before anything is filtered.
pub(in crate::kernel) fn ip_forward(ns: &mut NetNs, cx: &mut Cx<'_>, r: &route::Input, mut f: Frame) -> Flow {
    // What a rule has given to a socket here is for nobody else.
    if f.pkt_type != PacketType::Host || f.sk != Sk::None {
        return cx.kill(f, DropReason::NotSpecified);
    }
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (ttl, len, df) = (p.hop_limit(), f.network_len() as u32, p.dont_frag());
    if ttl <= 1 {
        icmp::send(ns, cx, &f, icmp::Error::TtlExceeded);
        return cx.kill(f, DropReason::IpTtl);
    }
    let mtu = r.mtu(ns);
    // ip_exceeds_mtu: what connection tracking put together may be cut again as it came.
    let may_be_cut = f.ignore_df && u32::from(f.frag_max_size) <= mtu;
    if len > mtu && df && !may_be_cut {
        icmp::send(ns, cx, &f, icmp::Error::FragNeeded { mtu });
        return cx.kill(f, DropReason::PktTooBig);
    }
    // skb_cow: the head is about to be changed.
    f.layout.cloned = false;
    ip_decrease_ttl(f.l3_mut());
    let next_hop = r.next_hop(Ipv4Packet::new_unchecked(f.l3()).dst_addr());
    if r.redirect {
        route::send_redirect(ns, cx, next_hop, &f);
    }
    let indev = Some(f.dev);
    let f = nf_hook(ns, cx, &mut State::at(Hook::Forward, indev, Some(r.oif)), f)?;
    output::ip_output(ns, cx, indev, output::Way { oif: r.oif, next_hop, mtu }, f)
}

/// ip_decrease_ttl: the checksum grows by what its word shrinks (RFC 1624).
fn ip_decrease_ttl(header: &mut [u8]) {
    let check = u32::from(be16(header, 10)) + 0x0100;
    let check = (check + u32::from(check >= 0xffff)) as u16;
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header[8] -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_stays_valid_from_ttl_to_ttl() {
        for last in 0..=u16::MAX {
            let mut header: [u8; 20] = [0x45, 0, 0, 84, 0, 0, 0x40, 0, 255, 17, 0, 0, 10, 0, 0, 1, 10, 96, 0, 1];
            header[18..].copy_from_slice(&last.to_be_bytes());
            for ttl in [255, 64, 2] {
                header[8] = ttl;
                Ipv4Packet::new_unchecked(&mut header[..]).fill_checksum();
                ip_decrease_ttl(&mut header);
                let p = Ipv4Packet::new_unchecked(&header[..]);
                assert!(p.hop_limit() == ttl - 1 && p.verify_checksum(), "{last:#x} {ttl}");
            }
        }
    }
}
