//! Mirrors net/ipv4/netfilter/nf_reject_ipv4.c: how `-j REJECT` answers.

use super::conntrack::{self, Csum, CtCx, nf_conntrack_attach, nf_ct_set_closing};
use super::cx::Cx;
use super::dev::xmit;
use super::frame::{Frame, truesize};
use super::ip::{self, IP_HLEN, icmp, output, route};
use super::netfilter::targets::RejectWith;
use super::netlink::RouteType;
use super::netns::NetNs;
use crate::base::Mac;
use crate::wire::{ETH_HLEN, ETH_P_IP, IPPROTO_TCP, IPPROTO_UDP, be16, checksum, pseudo_sum, put_ethernet};
use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};

/// Bytes of a TCP header without options.
const TCP_HLEN: usize = 20;

/// reject_tg: answers `f`, which is going to be dropped.
pub(in crate::kernel) fn reject(ns: &mut NetNs, cx: &mut Cx<'_>, with: RejectWith, f: &Frame) {
    let error = match with {
        RejectWith::NetUnreachable => icmp::Error::NetUnreachable,
        RejectWith::HostUnreachable => icmp::Error::HostUnreachable,
        RejectWith::ProtoUnreachable => icmp::Error::ProtocolUnreachable,
        RejectWith::PortUnreachable => icmp::Error::PortUnreachable,
        RejectWith::NetProhibited => icmp::Error::NetProhibited,
        RejectWith::HostProhibited => icmp::Error::HostProhibited,
        RejectWith::AdminProhibited => icmp::Error::AdminProhibited,
        RejectWith::TcpReset => return send_reset(ns, cx, f),
    };
    // nf_send_unreach: what is damaged is not answered.
    if is_sound(f) {
        icmp::send(ns, cx, f, error);
    }
}

/// nf_reject_verify_csum and nf_ip_checksum
fn is_sound(f: &Frame) -> bool {
    if f.csum_valid {
        return true;
    }
    let l3 = f.l3();
    let Some((protocol, l4)) = ip::payload(l3) else { return false };
    match protocol {
        IPPROTO_UDP if be16(l4, 6) == 0 => true,
        IPPROTO_UDP | IPPROTO_TCP => conntrack::Packet::new(l3, Csum::Full).good_checksum(protocol),
        _ => NO_CHECKSUM.contains(&protocol) || checksum(l4) == 0,
    }
}

/// GRE, ESP, AH, DCCP, SCTP, UDP-Lite: their checksums are optional, partial or others.
const NO_CHECKSUM: [u8; 6] = [47, 50, 51, 33, 132, 136];

/// nf_send_reset: a reset that looks as if it came from whom `f` was for.
fn send_reset(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame) {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst) = (p.src_addr(), p.dst_addr());
    let Some((IPPROTO_TCP, segment)) = ip::payload(f.l3()) else { return };
    let Ok(tcp) = TcpPacket::new_checked(segment) else { return };
    let to_many = |addr| matches!(ns.fib.addr_type(addr, None), RouteType::Broadcast | RouteType::Multicast);
    if p.frag_offset() != 0 || tcp.rst() || !is_sound(f) || to_many(dst) {
        return;
    }
    // ip_route_me_harder, from an address that need not be ours.
    let flow = route::Flow4 { src: Some(dst), any_src: true, ..route::Flow4::to(src) };
    let Ok(r) = route::output(ns, &flow) else { return };
    let mut out = cx.new_frame(Some(f.id));
    write_reset(out.put_l3(IP_HLEN + TCP_HLEN, 0), &p, &tcp, ns.sysctl.ip_default_ttl);
    (out.truesize, out.csum_partial, out.csum_valid) = (truesize(IP_HLEN + TCP_HLEN), true, true);
    out.nfct = nf_conntrack_attach(&mut ns.ct, f.nfct);
    nf_ct_set_closing(&mut ns.ct, &CtCx::of(cx), f.nfct);
    match f.nf_bridge {
        // A bridge's frame is answered on its port, from the address that it was sent to.
        Some(bridge) => {
            let (to, from) = (Mac::read(f.bytes(), 6), Mac::read(f.bytes(), 0));
            put_ethernet(out.push_mac(ETH_HLEN), to, from, ETH_P_IP);
            let _ = xmit(ns, cx, bridge.physin, out);
        }
        None => {
            r.explain(ns, cx, &out);
            let _ = output::ip_local_out(ns, cx, &r, None, out);
        }
    }
}

/// nf_reject_iphdr_put and nf_reject_ip_tcphdr_put
fn write_reset(out: &mut [u8], p: &Ipv4Packet<&[u8]>, tcp: &TcpPacket<&[u8]>, ttl: u8) {
    let (src, dst) = (p.dst_addr(), p.src_addr());
    let mut ip = Ipv4Packet::new_unchecked(&mut *out);
    ip.set_version(4);
    ip.set_header_len(IP_HLEN as u8);
    ip.set_total_len((IP_HLEN + TCP_HLEN) as u16);
    ip.set_dont_frag(true);
    ip.set_hop_limit(ttl);
    ip.set_next_header(IPPROTO_TCP.into());
    ip.set_src_addr(src);
    ip.set_dst_addr(dst);
    ip.fill_checksum();
    let mut rst = TcpPacket::new_unchecked(&mut out[IP_HLEN..]);
    rst.set_src_port(tcp.dst_port());
    rst.set_dst_port(tcp.src_port());
    rst.set_header_len(TCP_HLEN as u8);
    rst.set_rst(true);
    if tcp.ack() {
        rst.set_seq_number(tcp.ack_number());
    } else {
        let taken = tcp.payload().len() + usize::from(tcp.syn()) + usize::from(tcp.fin());
        rst.set_seq_number(TcpSeqNumber(0));
        rst.set_ack_number(tcp.seq_number() + taken);
        rst.set_ack(true);
    }
    rst.set_checksum(pseudo_sum(src, dst, IPPROTO_TCP, TCP_HLEN));
}
