//! The programs of Cilium 1.17 in tunnel mode beside kube-proxy (bpf/ of github.com/cilium/cilium): what bpf_lxc.c,
//! bpf_host.c and bpf_overlay.c have in common, after lib/l3.h, lib/encap.h and lib/local_delivery.h.
//!
//! ```text
//!   pod --> lxc ingress: from_container --> lxc egress of a pod here
//!                              |----------> cilium_vxlan egress, with a tunnel key --> the other node
//!                              `----------> the stack, for the world
//!   cilium_vxlan ingress: from_overlay ---> lxc egress
//!                              `----------> cilium_net egress --> cilium_host --> the stack
//!   the stack --> cilium_host egress: from_host --> lxc egress, or cilium_vxlan egress
//! ```

pub mod conntrack;
pub(super) mod host;
mod lb;
pub(super) mod lxc;
pub(super) mod overlay;
pub(super) mod packet;
mod policy;

use super::maps::{EndpointInfo, RemoteEndpoint};
use super::{Consts, Verdict};
use crate::base::{IfIndex, Mac};
use crate::kernel::conntrack::nat::replace2;
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, TunnelKey};
use crate::kernel::netns::NetNs;
use crate::kernel::trace::{BpfDrop, BpfStep, What};
use crate::wire::{ETH_P_IP, be16, put_ethernet};
use packet::Ip;
use std::net::Ipv4Addr;

/// HOST_ID: this node.
pub const HOST_ID: u32 = 1;
/// WORLD_ID: everything outside of the cluster.
pub const WORLD_ID: u32 = 2;
/// REMOTE_NODE_ID: the other nodes.
pub const REMOTE_NODE_ID: u32 = 6;
/// MARK_MAGIC_IDENTITY: the mark holds the sender's identity.
const MARK_MAGIC_IDENTITY: u32 = 0x0f00;

/// struct __sk_buff: a frame and all that its program may touch.
pub(in crate::kernel) struct Ctx<'a, 'b> {
    pub ns: &'a mut NetNs,
    pub cx: &'a mut Cx<'b>,
    pub consts: Consts,
    pub dev: IfIndex,
    pub f: &'a mut Frame,
}

/// How a program goes on: an error is the reason of a drop.
pub(in crate::kernel) type Done<T = Verdict> = Result<T, BpfDrop>;

impl Ctx<'_, '_> {
    fn step(&mut self, step: BpfStep) {
        self.cx.step(self.f, self.dev, What::Bpf(step));
    }

    /// revalidate_data
    fn ip(&self) -> Done<Ip> {
        Ip::of(self.f.l3()).ok_or(BpfDrop::Invalid)
    }

    /// lookup_ip4_endpoint
    fn endpoint(&mut self, addr: Ipv4Addr) -> Option<EndpointInfo> {
        let found = self.ns.bpf.lxc.get(&addr).copied()?;
        self.step(BpfStep::Endpoint { addr, id: found.id });
        Some(found)
    }

    /// lookup_ip4_remote_endpoint, and cilium_tunnel_map where it names no node.
    fn remote(&mut self, addr: Ipv4Addr) -> RemoteEndpoint {
        let known = self.ns.bpf.ipcache.lookup(addr).copied();
        let found = known.unwrap_or(RemoteEndpoint { identity: WORLD_ID, tunnel: None });
        let tunnel = found.tunnel.or_else(|| self.ns.bpf.tunnel.lookup(addr).copied());
        self.step(BpfStep::Ipcache { addr, identity: found.identity, tunnel });
        RemoteEndpoint { tunnel, ..found }
    }

    /// ipv4_l3: hardware addresses, if they are to be others, and the TTL of a packet that is routed.
    fn l3(&mut self, from: Option<Mac>, to: Option<Mac>) -> Done<()> {
        let l3 = self.f.l3_mut();
        let Some(ttl) = l3.get(8).copied().filter(|ttl| *ttl > 1) else { return Err(BpfDrop::TtlExceeded) };
        let (old, new) = (be16(l3, 8), be16(&[ttl - 1, l3[9]], 0));
        let check = replace2(be16(l3, 10), old, new);
        l3[8] = ttl - 1;
        l3[10..12].copy_from_slice(&check.to_be_bytes());
        let from = from.unwrap_or(Mac::read(self.f.bytes(), 6));
        let to = to.unwrap_or(Mac::read(self.f.bytes(), 0));
        put_ethernet(self.f.bytes_mut(), to, from, ETH_P_IP);
        Ok(())
    }

    /// ipv4_local_delivery: to an endpoint of this node, if it may have the packet. redirect_ep: straight into its
    /// namespace if programs route, but for what this host sends, which is on its way out.
    fn local_delivery(&mut self, ep: &EndpointInfo, identity: u32, from_host: bool) -> Done {
        let Some(dev) = ep.dev else { return self.host_delivery() };
        self.l3(Some(ep.node_mac), Some(ep.mac))?;
        self.policy_ingress(identity)?;
        let direct = self.consts.direct.is_some() && !from_host;
        Ok(if direct { Verdict::RedirectPeer(dev) } else { Verdict::Redirect(dev) })
    }

    /// fib_redirect_v4 with ENABLE_SKIP_FIB, since there is one device to the network: the kernel knows the way.
    fn fib_redirect(&mut self, dev: IfIndex) -> Done {
        self.l3(None, None)?;
        Ok(Verdict::RedirectNeigh(dev))
    }

    /// resolve_srcid_ipv4: who has sent a packet from this address, as the ipcache knows it.
    fn source(&self, addr: Ipv4Addr) -> u32 {
        self.ns.bpf.ipcache.lookup(addr).map_or(WORLD_ID, |r| r.identity)
    }

    /// ipv4_host_delivery: to this node itself, by way of cilium_net.
    fn host_delivery(&mut self) -> Done {
        self.l3(Some(self.consts.net_mac), Some(self.consts.host_mac))?;
        Ok(Verdict::Redirect(self.consts.net))
    }

    /// encap_and_redirect_with_nodeid: into the tunnel to another node, as `identity`.
    fn encap(&mut self, node: Ipv4Addr, identity: u32) -> Verdict {
        // get_tunnel_id: over there this node is one of the others.
        let id = if identity == HOST_ID { REMOTE_NODE_ID } else { identity };
        self.f.tunnel = Some(TunnelKey { tx: true, id, remote: node, csum: false });
        Verdict::Redirect(self.consts.encap)
    }

    /// set_identity_mark: what is left to the stack says who has sent it.
    fn mark_identity(&mut self, identity: u32) {
        self.f.mark = identity >> 16 & 0xff | (identity & 0xffff) << 16 | MARK_MAGIC_IDENTITY;
    }
}
