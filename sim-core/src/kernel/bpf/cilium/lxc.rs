//! bpf_lxc.c of Cilium: what a pod sends. lib/arp.h answers its ARP requests.

use super::conntrack::{CtState, Dir};
use super::lb::Xlate;
use super::{Ctx, Done, Verdict};
use crate::base::Mac;
use crate::kernel::trace::{BpfCt, BpfDrop, BpfStep};
use crate::wire::arp::Arp;
use crate::wire::{ETH_P_ARP, ETH_P_IP, ethertype, put_ethernet};

/// cil_from_container
pub(in crate::kernel::bpf) fn from_container(skb: &mut Ctx<'_, '_>) -> Done {
    match ethertype(skb.f.bytes()) {
        ETH_P_IP => from_lxc(skb),
        ETH_P_ARP => Ok(arp(skb)),
        _ => Err(BpfDrop::UnknownL3),
    }
}

/// tail_handle_arp: whoever the pod asks for, it is told the address of its own device's other end; but for itself.
fn arp(skb: &mut Ctx<'_, '_>) -> Verdict {
    let Some(own) = skb.ns.dev(skb.dev).map(|d| d.mac) else { return Verdict::Pass };
    let to = Mac::read(skb.f.bytes(), 0);
    let asked = Arp::parse(skb.f.l3()).filter(|a| a.request && (to == own || to.is_broadcast()));
    let Some(asked) = asked else { return Verdict::Pass };
    let itself = skb.ns.bpf.lxc.get(&asked.tip).is_some_and(|ep| ep.dev == Some(skb.dev));
    if itself {
        return Verdict::Pass;
    }
    let answer = Arp { request: false, sha: own, sip: asked.tip, tha: asked.sha, tip: asked.sip };
    answer.write(skb.f.l3_mut());
    put_ethernet(skb.f.bytes_mut(), asked.sha, own, ETH_P_ARP);
    skb.step(BpfStep::Arp { addr: asked.tip, mac: own });
    Verdict::Redirect(skb.dev)
}

/// tail_handle_ipv4, tail_ipv4_ct_egress and handle_ipv4_from_lxc.
fn from_lxc(skb: &mut Ctx<'_, '_>) -> Done {
    let ip = skb.ip()?;
    // is_valid_lxc_src_ipv4
    let own = skb.ns.bpf.lxc.get(&ip.src).copied().filter(|ep| ep.dev == Some(skb.dev));
    let own = own.ok_or(BpfDrop::InvalidSourceIp)?;
    let new = match skb.service(&ip)? {
        Xlate::Done(state) => CtState { identity: own.identity, ..state },
        Xlate::Refused(verdict) => return Ok(verdict),
    };
    // Where it goes is known now.
    let ip = skb.ip()?;
    let l4 = skb.ports(&ip)?;
    let (status, state) = skb.ct_lookup(&ip, &l4, (Dir::Egress, new.rev_nat != 0));
    match status {
        BpfCt::Established if state.rev_nat == new.rev_nat => {}
        BpfCt::New | BpfCt::Established => skb.ct_create(&ip, &l4, Dir::Egress, new),
        BpfCt::Reply | BpfCt::Related => {}
    }
    let hairpin = new.loopback || state.loopback;
    let dst = if status == BpfCt::Reply && hairpin { ip.src } else { ip.dst };
    if let Some(ep) = skb.endpoint(dst) {
        return if ep.dev.is_some() {
            skb.local_delivery(&ep, own.identity, false)
        } else {
            to_stack(skb, own.identity)
        };
    }
    let remote = skb.remote(dst);
    match (remote.tunnel, skb.consts.direct) {
        (Some(node), _) => Ok(skb.encap(node, own.identity)),
        (None, Some(dev)) => skb.fib_redirect(dev),
        (None, None) => to_stack(skb, own.identity),
    }
}

/// pass_to_stack: this host routes it, and knows who has sent it.
fn to_stack(skb: &mut Ctx<'_, '_>, identity: u32) -> Done {
    let own = skb.ns.dev(skb.dev).map_or(Mac::ZERO, |d| d.mac);
    skb.l3(None, Some(own))?;
    skb.mark_identity(identity);
    Ok(Verdict::Pass)
}
