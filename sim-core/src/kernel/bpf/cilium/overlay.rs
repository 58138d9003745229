//! bpf_overlay.c of Cilium: what the tunnel brings from other nodes.

use super::{Ctx, Done, HOST_ID, REMOTE_NODE_ID, Verdict};
use crate::kernel::trace::BpfDrop;
use crate::wire::{ETH_P_IP, ethertype};

/// cil_from_overlay with handle_ipv4: the tunnel's network identifier is the sender's identity.
pub(in crate::kernel::bpf) fn from_overlay(skb: &mut Ctx<'_, '_>) -> Done {
    if ethertype(skb.f.bytes()) != ETH_P_IP {
        return Ok(Verdict::Pass);
    }
    let ip = skb.ip()?;
    let key = skb.f.tunnel.filter(|key| !key.tx).ok_or(BpfDrop::NoTunnelKey)?;
    let identity = match key.id {
        HOST_ID => return Err(BpfDrop::InvalidIdentity),
        // Which of them, the ipcache knows.
        REMOTE_NODE_ID => skb.ns.bpf.ipcache.lookup(ip.src).map_or(key.id, |r| r.identity),
        id => id,
    };
    match skb.endpoint(ip.dst) {
        Some(ep) => skb.local_delivery(&ep, identity, false),
        None => skb.host_delivery(),
    }
}
