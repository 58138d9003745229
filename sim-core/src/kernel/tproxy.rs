//! Mirrors net/netfilter/xt_TPROXY.c and net/ipv4/netfilter/nf_tproxy_ipv4.c: how `-j TPROXY` gives a packet to a
//! socket that it is not addressed to.

use super::frame::Frame;
use super::ip;
use super::netfilter::targets::Tproxy;
use super::netns::NetNs;
use super::socket::{Lookup, tcp};
use crate::base::IfIndex;
use crate::wire::{IPPROTO_TCP, UDP_HLEN, be16};
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use std::net::{Ipv4Addr, SocketAddrV4};

/// tproxy_tg4: the connection that the packet belongs to, else whoever listens where the rule says. False if the packet
/// is to be dropped: nobody is there, or somebody without IP_TRANSPARENT.
#[inline(never)]
pub(in crate::kernel) fn tproxy(ns: &mut NetNs, target: Tproxy, indev: Option<IfIndex>, f: &mut Frame) -> bool {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst) = (p.src_addr(), p.dst_addr());
    let Some((protocol, l4)) = ip::payload(f.l3()) else { return false };
    let (Some(dev), true) = (indev, l4.len() >= UDP_HLEN) else { return false };
    let (sport, dport) = (be16(l4, 0), be16(l4, 2));
    let from = SocketAddrV4::new(src, sport);
    let listens = SocketAddrV4::new(
        laddr4(ns, target.addr, dev).unwrap_or(dst),
        if target.port == 0 { dport } else { target.port },
    );
    let find = |how, to| ns.sockets.find(how, protocol, to, from, dev);
    let established = find(Lookup::Established, SocketAddrV4::new(dst, dport));
    let found = match established {
        // nf_tproxy_handle_time_wait4: a new connection may begin.
        Some(tw) if tw.time_wait && begins(protocol, l4) => {
            let listener = find(Lookup::Listener, listens);
            if listener.is_some() {
                tcp::deschedule(ns, tw.sk);
            }
            listener.or(established)
        }
        Some(_) => established,
        None => find(Lookup::Listener, listens),
    };
    let Some(found) = found.filter(|found| found.transparent) else { return false };
    f.mark = f.mark & !target.mask ^ target.mark;
    f.sk = found.sk;
    true
}

/// nf_tproxy_laddr4: the rule's address, else the first one of the device; none if it has none.
fn laddr4(ns: &NetNs, of_rule: Ipv4Addr, dev: IfIndex) -> Option<Ipv4Addr> {
    if !of_rule.is_unspecified() {
        return Some(of_rule);
    }
    ns.dev(dev)?.addrs.iter().find(|a| !a.secondary).map(|a| a.local.addr())
}

/// A SYN, and nothing else.
fn begins(protocol: u8, l4: &[u8]) -> bool {
    let tcp = TcpPacket::new_checked(l4);
    protocol == IPPROTO_TCP && tcp.is_ok_and(|tcp| tcp.syn() && !tcp.rst() && !tcp.ack() && !tcp.fin())
}
