//! Mirrors net/packet/af_packet.c: packet(7) sockets: of type SOCK_DGRAM, as arping uses them,
//! and of type SOCK_RAW for frames made by hand.

use crate::base::{IfIndex, Mac};
use crate::kernel::cx::Cx;
use crate::kernel::dev::{ARPHRD_TUNNEL, Dev, xmit};
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netns::NetNs;
use crate::kernel::syscall::{From, Message, SocketKind};
use crate::kernel::trace::{DropReason, Fate};
use crate::wire::{ETH_HLEN, put_ethernet};

/// packet_rcv: a copy for every packet socket that listens on `dev` for the frame's protocol.
pub(in crate::kernel) fn deliver(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: &Frame) {
    if ns.sockets.copied == 0 {
        return;
    }
    let wanted = SocketKind::Packet { ethertype: f.protocol() };
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

/// packet_snd of a socket of type SOCK_DGRAM: `data` behind an Ethernet header, past the IP layer and the neighbours.
pub(super) fn send(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    ethertype: u16,
    dev: IfIndex,
    to: Mac,
    data: &[u8],
) -> Result<(), Errno> {
    let d = ns.dev(dev).ok_or(Errno::ENXIO)?;
    let mut header = [0; ETH_HLEN];
    put_ethernet(&mut header, to, d.mac, ethertype);
    let header_len = header_len(d);
    transmit(ns, cx, dev, &header[..header_len], data)
}

/// packet_snd of a socket of type SOCK_RAW: a whole frame, whatever stands in it.
pub(super) fn send_frame(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, frame: &[u8]) -> Result<(), Errno> {
    // dev_validate_header
    let header_len = header_len(ns.dev(dev).ok_or(Errno::ENXIO)?);
    let (header, data) = frame.split_at_checked(header_len).ok_or(Errno::EINVAL)?;
    transmit(ns, cx, dev, header, data)
}

/// hard_header_len
fn header_len(d: &Dev) -> usize {
    if d.arphrd() == ARPHRD_TUNNEL { 0 } else { ETH_HLEN }
}

fn transmit(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, header: &[u8], data: &[u8]) -> Result<(), Errno> {
    let d = ns.dev(dev).ok_or(Errno::ENXIO)?;
    if !d.up {
        return Err(Errno::ENETDOWN);
    }
    if data.len() > d.mtu as usize {
        return Err(Errno::EMSGSIZE);
    }
    let mut f = cx.new_frame(None);
    f.put(data.len()).copy_from_slice(data);
    f.truesize = crate::kernel::frame::truesize(data.len());
    if !header.is_empty() {
        f.push_mac(header.len()).copy_from_slice(header);
    }
    let _ = xmit(ns, cx, dev, f);
    Ok(())
}
