//! Mirrors sch_handle_ingress and sch_handle_egress of net/core/dev.c, skb_do_redirect of net/core/filter.c and
//! include/net/tcx.h: programs at a device. Frames that come in run them behind the taps, frames that go out in front
//! of them: what a program drops or redirects is seen by tcpdump if it came in, and not if it was to go out.
//!
//! Differs: of frames that a poll hands up together, those that bpf_redirect_peer moves follow when it is over.

use super::bpf::{self, Program, Verdict};
use super::cx::Cx;
use super::dev::{self, DevKind};
use super::frame::Frame;
use super::ip::route::{self, Flow4};
use super::ip::tunnel::XMIT_RECURSION_LIMIT;
use super::neigh;
use super::netlink::RouteType;
use super::netns::NetNs;
use super::trace::{BpfStep, DropReason, Flow, What};
use crate::base::{IfIndex, Mac};
use smoltcp::wire::Ipv4Packet;

/// Where at a device a program runs (enum bpf_attach_type).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Attach {
    /// BPF_TCX_INGRESS: on what comes in.
    Ingress,
    /// BPF_TCX_EGRESS: on what goes out.
    Egress,
}

impl Attach {
    /// As bpftool writes it in `bpftool link`.
    pub fn name(self) -> &'static str {
        match self {
            Attach::Ingress => "tcx_ingress",
            Attach::Egress => "tcx_egress",
        }
    }

    /// What bpftool calls so.
    pub fn from_name(name: &str) -> Option<Attach> {
        [Attach::Ingress, Attach::Egress].into_iter().find(|a| a.name() == name)
    }
}

/// The programs of a device (struct tcx_entry).
///
/// Differs: one each way, not a row of them.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Tcx {
    ingress: Option<Link>,
    egress: Option<Link>,
}

/// A program at a device (struct tcx_link).
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Link {
    /// Its number, and that of the program, which is loaded for it.
    pub id: u32,
    pub program: Program,
    pub consts: bpf::Consts,
}

impl Tcx {
    pub(in crate::kernel) fn at(&self, attach: Attach) -> Option<&Link> {
        match attach {
            Attach::Ingress => self.ingress.as_ref(),
            Attach::Egress => self.egress.as_ref(),
        }
    }

    pub(in crate::kernel) fn at_mut(&mut self, attach: Attach) -> &mut Option<Link> {
        match attach {
            Attach::Ingress => &mut self.ingress,
            Attach::Egress => &mut self.egress,
        }
    }
}

/// sch_handle_ingress: the frame goes on if the programs let it.
pub(in crate::kernel) fn ingress(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    run(ns, cx, dev, Attach::Ingress, f)
}

/// sch_handle_egress
pub(in crate::kernel) fn egress(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    run(ns, cx, dev, Attach::Egress, f)
}

/// tcx_run, and what follows from the verdict.
fn run(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, attach: Attach, mut f: Frame) -> Flow {
    let link = ns.dev(dev).and_then(|d| d.tcx.as_ref()?.at(attach).copied());
    let Some(link) = link else { return dev::pass(f) };
    cx.step(&f, dev, What::Bpf(BpfStep::Run { program: link.program, attach }));
    match bpf::run(ns, cx, &link, dev, &mut f) {
        Verdict::Pass => dev::pass(f),
        Verdict::Drop(why) => {
            cx.step(&f, dev, What::Bpf(BpfStep::Drop(why)));
            let reason = match attach {
                Attach::Ingress => DropReason::TcIngress,
                Attach::Egress => DropReason::TcEgress,
            };
            cx.kill(f, reason)
        }
        Verdict::Redirect(to) => {
            cx.step(&f, dev, What::Bpf(BpfStep::Redirect(to)));
            redirect(ns, cx, to, f)
        }
        Verdict::RedirectPeer(to) => {
            cx.step(&f, dev, What::Bpf(BpfStep::RedirectPeer(to)));
            redirect_peer(ns, cx, attach, to, f)
        }
        Verdict::RedirectNeigh(to) => {
            cx.step(&f, dev, What::Bpf(BpfStep::RedirectNeigh(to)));
            redirect_neigh(ns, cx, to, f)
        }
    }
}

/// __bpf_tx_skb: the frame, with its link-layer header, goes out of another device.
fn redirect(ns: &mut NetNs, cx: &mut Cx<'_>, to: IfIndex, f: Frame) -> Flow {
    limited(ns, cx, f, |ns, cx, f| dev::xmit(ns, cx, to, f))
}

/// skb_do_redirect with BPF_F_PEER: the frame is received by the other end of `to` as if it had come in there, in the
/// same turn. No tap of `to` sees it, nor does it count there. A mark stays.
fn redirect_peer(ns: &mut NetNs, cx: &mut Cx<'_>, attach: Attach, to: IfIndex, mut f: Frame) -> Flow {
    let peer = match ns.dev(to).map(|d| &d.kind) {
        Some(DevKind::Veth(peer)) => Some(*peer),
        _ => None,
    };
    let peer = peer.filter(|peer| attach == Attach::Ingress && peer.up && peer.ns != cx.ns);
    let Some(peer) = peer else { return cx.kill(f, DropReason::NotSpecified) };
    dev::scrub(ns, cx.ns, cx.ns, &mut f);
    cx.another_round(peer.ns, peer.dev, f)
}

/// __bpf_redirect_neigh_v4 without a next hop: where the packet's route by `to` leads, to the neighbour there. Neither
/// netfilter nor the MTU is asked. The program has seen that it is IPv4.
fn redirect_neigh(ns: &mut NetNs, cx: &mut Cx<'_>, to: IfIndex, mut f: Frame) -> Flow {
    if Mac::read(f.bytes(), 0).is_multicast() {
        return cx.kill(f, DropReason::NotSpecified);
    }
    f.push_mac(0);
    let packet = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst) = (packet.src_addr(), packet.dst_addr());
    let flow = Flow4 { src: Some(src), oif: Some(to), mark: f.mark, any_src: true, ..Flow4::to(dst) };
    match route::output(ns, &flow) {
        Ok(r) if matches!(r.kind, RouteType::Unicast | RouteType::Local) => {
            r.explain(ns, cx, &f);
            limited(ns, cx, f, |ns, cx, f| neigh::output(ns, cx, r.oif, r.next_hop(), f))
        }
        // It is counted among tx_errors where no driver looks (DEV_STATS_INC).
        _ => cx.kill(f, DropReason::NotSpecified),
    }
}

/// dev_xmit_recursion: as many devices send within each other, and no more.
fn limited(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    f: Frame,
    send: impl FnOnce(&mut NetNs, &mut Cx<'_>, Frame) -> Flow,
) -> Flow {
    if cx.cpu.xmit_recursion >= XMIT_RECURSION_LIMIT {
        return cx.kill(f, DropReason::RecursionLimit);
    }
    cx.cpu.xmit_recursion += 1;
    let flow = send(ns, cx, f);
    cx.cpu.xmit_recursion -= 1;
    flow
}
