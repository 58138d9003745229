//! bpf_host.c of Cilium: what this host sends to pods, or routes to them, and what comes from the network.

use super::{Ctx, Done, HOST_ID, Verdict};
use crate::kernel::trace::BpfDrop;
use crate::wire::{ETH_P_IP, ethertype};

/// cil_from_host: do_netdev with handle_ipv4_cont.
pub(in crate::kernel::bpf) fn from_host(skb: &mut Ctx<'_, '_>) -> Done {
    if ethertype(skb.f.bytes()) != ETH_P_IP {
        return Ok(Verdict::Pass);
    }
    let ip = skb.ip()?;
    // resolve_srcid_ipv4
    let own = skb.ns.bpf.lxc.get(&ip.src).is_some_and(|ep| ep.dev.is_none());
    let source = if own { HOST_ID } else { skb.source(ip.src) };
    if let Some(ep) = skb.endpoint(ip.dst) {
        return if ep.dev.is_some() { skb.local_delivery(&ep, source, true) } else { Ok(Verdict::Pass) };
    }
    let remote = skb.remote(ip.dst);
    match remote.tunnel {
        Some(node) => Ok(skb.encap(node, source)),
        None => Err(BpfDrop::Unroutable),
    }
}

/// cil_from_netdev: do_netdev with handle_ipv4_cont. If the stack routes, it is to see the packet: what connections it
/// tracks goes by it both ways.
pub(in crate::kernel::bpf) fn from_netdev(skb: &mut Ctx<'_, '_>) -> Done {
    if ethertype(skb.f.bytes()) != ETH_P_IP || skb.consts.direct.is_none() {
        return Ok(Verdict::Pass);
    }
    let ip = skb.ip()?;
    let source = skb.source(ip.src);
    match skb.endpoint(ip.dst).filter(|ep| ep.dev.is_some()) {
        Some(ep) => skb.local_delivery(&ep, source, false),
        None => Ok(Verdict::Pass),
    }
}
