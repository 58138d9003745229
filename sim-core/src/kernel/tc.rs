//! Mirrors sch_handle_ingress and sch_handle_egress of net/core/dev.c, skb_do_redirect of net/core/filter.c and
//! include/net/tcx.h: programs at a device. Frames that come in run them behind the taps, frames that go out in front
//! of them: what a program drops or redirects is seen by tcpdump if it came in, and not if it was to go out.

use super::bpf::{self, Program, Verdict};
use super::cx::Cx;
use super::dev;
use super::frame::Frame;
use super::ip::tunnel::XMIT_RECURSION_LIMIT;
use super::netns::NetNs;
use super::trace::{BpfStep, DropReason, Flow, What};
use crate::base::IfIndex;

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
    }
}

/// __bpf_tx_skb: the frame, with its link-layer header, goes out of another device.
fn redirect(ns: &mut NetNs, cx: &mut Cx<'_>, to: IfIndex, f: Frame) -> Flow {
    if cx.cpu.xmit_recursion >= XMIT_RECURSION_LIMIT {
        return cx.kill(f, DropReason::RecursionLimit);
    }
    cx.cpu.xmit_recursion += 1;
    let flow = dev::xmit(ns, cx, to, f);
    cx.cpu.xmit_recursion -= 1;
    flow
}
