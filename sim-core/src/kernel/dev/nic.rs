//! A physical nic: its queue mirrors net/sched/sch_generic.c (pfifo_fast, sch_direct_xmit), its ends the drivers below
//! drivers/net/ethernet. What lies behind its plug is the engine's: `engine/link.rs`.
//!
//! ```text
//!   dev::xmit --> enqueue --(idle)-----------------> hard_start_xmit --> leave_machine --> engine
//!                    |                                     ^
//!                    `--(busy)--> queue --> nic_free ------'
//!   engine --> nic_receive --> Cx::napi_receive --> dev::receive
//! ```

use crate::base::time::SEC;
use crate::base::{FrameId, IfIndex, NicId, NsId, Time};
use crate::kernel::cx::{Cx, Wire};
use crate::kernel::dev::{Dev, DevKind, set_carrier};
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netns::{NetNs, Spaces};
use crate::kernel::nf_hook::nf_reset_ct;
use crate::kernel::trace::{DropReason, Fate, Flow, What};
use std::collections::VecDeque;
use std::ops::ControlFlow::Break;

/// As many frames one nic's queue holds, whatever its txqueuelen says.
const TX_QUEUE_MAX: usize = 1 << 16;

/// A physical nic. The driver's ring holds one frame: all others wait in the queueing discipline, as byte queue limits
/// have it.
// Differs: pfifo_fast has three bands by priority. Here all frames are in one.
#[derive(Clone, Debug)]
pub struct Nic {
    id: NicId,
    /// Bits per second; zero for no bound.
    rate_bps: u64,
    /// The last bit of what was sent last leaves then.
    busy_until: Time,
    queue: VecDeque<Frame>,
    /// The engine was asked to call [`Spaces::nic_free`].
    waits: bool,
    /// It is the VF of this synthetic interface.
    pub(in crate::kernel) synthetic: Option<IfIndex>,
}

impl Nic {
    pub(in crate::kernel) fn new(id: NicId, rate_bps: u64) -> Self {
        Nic { id, rate_bps, busy_until: Time(0), queue: VecDeque::new(), waits: false, synthetic: None }
    }

    /// A frame waits until the nic is free.
    pub(in crate::kernel) fn queues(&self, frame: FrameId) -> bool {
        self.queue.iter().any(|f| f.id == frame)
    }

    pub(in crate::kernel) fn id(&self) -> NicId {
        self.id
    }
}

/// How long a nic of so many bits per second sends a frame of `len` bytes, in nanoseconds.
// Differs: preamble, check sequence, padding and gap are not counted, as in what `tc` shapes: a frame is as long as its
// captures show it.
pub fn serialization_ns(len: usize, rate_bps: u64) -> u64 {
    if rate_bps == 0 {
        return 0;
    }
    let bits = len as u128 * 8;
    u64::try_from((bits * u128::from(SEC)).div_ceil(u128::from(rate_bps))).unwrap_or(u64::MAX)
}

/// __dev_xmit_skb on a device that runs: straight on to an idle nic (TCQ_F_CAN_BYPASS), else into the queue.
#[inline(never)]
pub(in crate::kernel) fn enqueue(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    let now = cx.now();
    let Some(d) = ns.dev_mut(dev) else { return cx.kill(f, DropReason::DevReady) };
    let limit = (d.txqlen as usize).min(TX_QUEUE_MAX);
    let DevKind::Nic(nic) = &mut d.kind else { return cx.kill(f, DropReason::DevReady) };
    if nic.busy_until <= now && nic.queue.is_empty() {
        return hard_start_xmit(ns, cx, dev, now, f);
    }
    if nic.queue.len() >= limit {
        return cx.kill(f, DropReason::QdiscOverlimit);
    }
    cx.step(&f, dev, What::QdiscWait { ahead: nic.queue.len() as u32 });
    // A frame that is sent has no receive time: its stamp is free for when it was queued.
    f.tstamp = now;
    nic.queue.push_back(f);
    nic.ask(cx);
    Break(Fate::Queued)
}

/// dev_hard_start_xmit: the tap, and out. The first bit leaves at `start`, which is past if the CPU was late.
fn hard_start_xmit(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, start: Time, f: Frame) -> Flow {
    cx.tap(dev, PacketType::Outgoing, &f);
    let Some(d) = ns.dev_mut(dev) else { return cx.kill(f, DropReason::DevReady) };
    let len = f.bytes().len();
    d.stats.tx_packets += 1;
    d.stats.tx_bytes += len as u64;
    let DevKind::Nic(nic) = &mut d.kind else { return cx.kill(f, DropReason::DevReady) };
    let done = start + serialization_ns(len, nic.rate_bps);
    nic.busy_until = done;
    let nic = nic.id;
    cx.step(&f, dev, What::OnWire { done });
    leave_machine(ns, cx, nic, done, f)
}

/// A frame leaves its namespace, its kernel and its machine: nothing of the sender's state goes with it but its bytes
/// and its ids.
fn leave_machine(ns: &mut NetNs, cx: &mut Cx<'_>, nic: NicId, done: Time, mut f: Frame) -> Flow {
    nf_reset_ct(ns, &mut f);
    f.leave();
    cx.put_on_wire(nic, done, f);
    Break(Fate::Queued)
}

/// dev_deactivate: what waits is dropped with the discipline (qdisc_reset).
pub(in crate::kernel) fn stop(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) {
    while let Some(DevKind::Nic(nic)) = ns.dev_mut(dev).map(|d| &mut d.kind)
        && let Some(f) = nic.queue.pop_front()
    {
        let _ = cx.kill(f, DropReason::NotSpecified);
    }
}

impl Nic {
    /// Something waits: the engine tells when the nic is free.
    fn ask(&mut self, cx: &mut Cx<'_>) {
        if !self.waits && !self.queue.is_empty() {
            self.waits = true;
            cx.cpu.wire.push(Wire::Free { nic: self.id, at: self.busy_until });
        }
    }
}

impl Spaces {
    /// The nic has sent a frame and is free for the next (qdisc_run, in net_tx_action).
    pub fn nic_free(&mut self, cx: &mut Cx<'_>, nic: NicId) {
        let Some((ns, dev)) = self.place(nic) else { return };
        let ns = self.enter(cx, ns);
        if let Some(DevKind::Nic(nic)) = ns.dev_mut(dev).map(|d| &mut d.kind) {
            nic.waits = false;
        }
        while let Some(DevKind::Nic(nic)) = ns.dev_mut(dev).map(|d| &mut d.kind) {
            if nic.busy_until > cx.now() {
                nic.ask(cx);
                break;
            }
            let Some(f) = nic.queue.pop_front() else { break };
            let start = nic.busy_until.max(f.tstamp);
            let _ = hard_start_xmit(ns, cx, dev, start, f);
        }
    }

    /// A frame comes in from the link, whole or damaged. A damaged one is counted and thrown away by the hardware.
    pub fn nic_receive(&mut self, cx: &mut Cx<'_>, nic: NicId, mut f: Frame, whole: bool) {
        let Some((ns, dev)) = self.place(nic) else { return self.lose(cx, nic, f) };
        f.dev = dev;
        let Some(d) = self.enter(cx, ns).dev_mut(dev).filter(|d| d.up) else {
            cx.take_off_wire();
            let _ = cx.kill(f, DropReason::DevReady);
            return;
        };
        if !whole {
            // Of a link that broke nothing comes.
            d.stats.rx_errors += u64::from(d.carrier);
            return self.lose(cx, nic, f);
        }
        cx.take_off_wire();
        cx.napi_receive(ns, dev, f);
    }

    /// From now on the nic sends so many bits per second; zero for no bound.
    pub fn nic_rate(&mut self, nic: NicId, rate_bps: u64) {
        let Some((ns, dev)) = self.place(nic) else { return };
        if let Some(DevKind::Nic(nic)) = self.get_mut(ns).dev_mut(dev).map(|d| &mut d.kind) {
            nic.rate_bps = rate_bps;
        }
    }

    /// The other end's light is there or not, which the driver's interrupt tells (netif_carrier_on and
    /// netif_carrier_off); a synthetic interface is told with its VF (netvsc_linkstatus).
    pub fn nic_carrier(&mut self, cx: &mut Cx<'_>, nic: NicId, carrier: bool) {
        let Some((ns, dev)) = self.place(nic) else { return };
        let space = self.enter(cx, ns);
        let synthetic = space.dev(dev).and_then(Dev::synthetic);
        for dev in [Some(dev), synthetic].into_iter().flatten() {
            set_carrier(space, cx, dev, carrier);
        }
    }

    /// A frame that was on the wire ends at `nic`, which sent it or was to receive it.
    pub fn lose(&mut self, cx: &mut Cx<'_>, nic: NicId, f: Frame) {
        cx.ns = self.place(nic).map_or(NsId::new(cx.ns.machine(), 0), |(ns, _)| ns);
        cx.take_off_wire();
        let _ = cx.kill(f, DropReason::LinkLoss);
    }

    /// Frames that wait for nics to be free.
    pub(in crate::kernel) fn nics_waiting(&self) -> usize {
        let queue = |&(ns, dev): &(NsId, IfIndex)| match &self.get(ns).dev(dev)?.kind {
            DevKind::Nic(nic) => Some(nic.queue.len()),
            _ => None,
        };
        self.nics.iter().filter_map(queue).sum()
    }

    fn place(&self, nic: NicId) -> Option<(NsId, IfIndex)> {
        self.nics.get(nic.0 as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_takes_time() {
        for (len, rate_bps, want) in [
            (98, 1_000_000, 784_000),
            (1514, 1_000_000, 12_112_000),
            (1514, 10_000_000_000, 1_212),
            (60, 1_000_000_000_000, 1),
            (1, 3, 2_666_666_667),
            (1514, 0, 0),
            (65_549, 1, 524_392_000_000_000),
        ] {
            assert_eq!(serialization_ns(len, rate_bps), want, "{len} bytes at {rate_bps} bit/s");
        }
    }
}
