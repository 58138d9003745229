//! bpf_host.c of Cilium: what this host sends to pods, or routes to them.

use super::{Ctx, Done, HOST_ID, Verdict, WORLD_ID};
use crate::kernel::trace::BpfDrop;
use crate::wire::{ETH_P_IP, ethertype};

/// cil_from_host: do_netdev with handle_ipv4_cont.
pub(in crate::kernel::bpf) fn from_host(skb: &mut Ctx<'_, '_>) -> Done {
    if ethertype(skb.f.bytes()) != ETH_P_IP {
        return Ok(Verdict::Pass);
    }
    let ip = skb.ip()?;
    // resolve_srcid_ipv4
    let source = skb.ns.bpf.ipcache.lookup(ip.src).map_or(WORLD_ID, |r| r.identity);
    let source = if skb.ns.bpf.lxc.get(&ip.src).is_some_and(|ep| ep.dev.is_none()) { HOST_ID } else { source };
    if let Some(ep) = skb.endpoint(ip.dst) {
        return if ep.dev.is_some() { skb.local_delivery(&ep, source) } else { Ok(Verdict::Pass) };
    }
    let remote = skb.remote(ip.dst);
    match remote.tunnel {
        Some(node) => Ok(skb.encap(node, source)),
        None => Err(BpfDrop::Unroutable),
    }
}
