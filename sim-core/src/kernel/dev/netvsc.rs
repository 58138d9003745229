//! Mirrors drivers/net/hyperv/netvsc_drv.c: a synthetic interface with a virtual function (VF) of a physical nic below
//! it, as virtual machines in a cloud have it (accelerated networking). Both have one hardware address. What is sent
//! goes on to the VF, and what the VF receives is the synthetic interface's: a capture of all interfaces shows each
//! frame twice.
//!
//! ```text
//!   dev::xmit(eth0) --> netvsc_vf_xmit --> dev::xmit(VF) --> nic::enqueue
//!   nic_receive(VF) --> netif_receive(VF) --> netvsc_vf_handle_frame --> netif_receive(eth0)
//! ```

use super::{Dev, DevKind, netif_receive, xmit};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::frame::Frame;
use crate::kernel::netns::NetNs;
use crate::kernel::trace::{DropReason, Flow};

impl Dev {
    /// The VF below a synthetic interface.
    pub(in crate::kernel) fn vf(&self) -> Option<IfIndex> {
        if let DevKind::Netvsc { vf } = self.kind { Some(vf) } else { None }
    }

    /// The synthetic interface above a VF.
    pub(in crate::kernel) fn synthetic(&self) -> Option<IfIndex> {
        if let DevKind::Nic(nic) = &self.kind { nic.synthetic } else { None }
    }
}

/// netvsc_vf_xmit: the frame goes through the VF's own queue and tap.
pub(in crate::kernel) fn vf_xmit(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, vf: IfIndex, f: Frame) -> Flow {
    let Some(d) = ns.dev_mut(dev) else { return cx.kill(f, DropReason::DevReady) };
    d.stats.tx_packets += u64::from(f.segments());
    d.stats.tx_bytes += f.bytes().len() as u64;
    xmit(ns, cx, vf, f)
}

/// netvsc_vf_handle_frame and RX_HANDLER_ANOTHER: another round, as the synthetic interface's frame.
pub(in crate::kernel) fn vf_handle_frame(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    f.dev = dev;
    let Some(d) = ns.dev_mut(dev).filter(|d| d.up) else { return cx.kill(f, DropReason::DevReady) };
    super::count(d, &f);
    netif_receive(ns, cx, dev, f)
}
