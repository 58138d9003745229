//! Mirrors net/packet/af_packet.c: packet(7) sockets of type SOCK_DGRAM, as arping uses them.

use crate::base::{IfIndex, Mac};
use crate::kernel::cx::Cx;
use crate::kernel::dev::xmit;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netns::NetNs;
use crate::kernel::syscall::{From, Message, SocketKind};
use crate::kernel::trace::{DropReason, Fate};
use crate::wire::{ETH_HLEN, ethertype, put_ethernet};

/// packet_rcv: a copy for every packet socket that listens on `dev` for the frame's protocol.
pub(in crate::kernel) fn deliver(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: &Frame) {
    if ns.sockets.open.is_empty() {
        return;
    }
    let wanted = SocketKind::Packet { ethertype: ethertype(f.bytes()) };
    for s in ns.sockets.open.values_mut() {
        if s.kind != wanted || s.dev.is_some_and(|d| d != dev) {
            continue;
        }
        let copy = cx.clone_frame(&mut ns.ct, f);
        let message = || Message {
            data: copy.l3().to_vec(),
            from: From::Link {
                mac: Mac::read(copy.bytes(), 6),
                broadcast: matches!(copy.pkt_type, PacketType::Broadcast | PacketType::Multicast),
            },
            at: copy.tstamp,
            ttl: 0,
        };
        let received = s.receive(cx, copy.truesize, message);
        let fate = if received { Fate::Delivered } else { Fate::Dropped(DropReason::SocketRcvBuff) };
        let _ = cx.end(copy, fate);
    }
}

/// packet_snd: `data` behind an Ethernet header, past the IP layer and the neighbours.
pub(super) fn send(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    ethertype: u16,
    dev: IfIndex,
    to: Mac,
    data: &[u8],
) -> Result<(), Errno> {
    let d = ns.dev(dev).ok_or(Errno::ENXIO)?;
    if !d.up {
        return Err(Errno::ENETDOWN);
    }
    if data.len() > d.mtu as usize {
        return Err(Errno::EMSGSIZE);
    }
    let own = d.mac;
    let mut f = cx.new_frame(None);
    f.put(data.len()).copy_from_slice(data);
    f.truesize = crate::kernel::frame::truesize(data.len());
    put_ethernet(f.push_mac(ETH_HLEN), to, own, ethertype);
    let _ = xmit(ns, cx, dev, f);
    Ok(())
}
