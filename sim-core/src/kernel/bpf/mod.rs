//! Mirrors kernel/bpf/syscall.c and kernel/bpf/tcx.c as far as a network plugin needs them: programs that run at
//! devices, and the maps that they read. There is no instruction set: a program is a function here, one of a closed
//! set, and so is a map. Read bpf/ of Cilium 1.17 before editing what is in `cilium/`.
//!
//! Differs: maps and the numbers of links belong to a network namespace, not to the machine.

pub mod cilium;
pub mod lpm;
pub mod maps;

use super::cx::Cx;
use super::errno::Errno;
use super::frame::Frame;
use super::netns::NetNs;
use super::tc::Link;
use super::trace::BpfDrop;
use crate::base::{IfIndex, Mac};
pub use maps::{Entry, Key, Maps};

/// A program, by what it is called in Linux.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Program {
    /// bpf_lxc.c: what a pod sends.
    CilFromContainer,
    /// bpf_host.c: what reaches the host over cilium_host.
    CilToHost,
    /// bpf_host.c: what the host sends to pods by way of cilium_host.
    CilFromHost,
    /// bpf_host.c: what comes from the network.
    CilFromNetdev,
    /// bpf_host.c: what goes into the network.
    CilToNetdev,
    /// bpf_overlay.c: what the tunnel brings.
    CilFromOverlay,
    /// bpf_overlay.c: what goes into the tunnel.
    CilToOverlay,
}

impl Program {
    /// All that there are.
    pub const ALL: [Program; 7] = [
        Program::CilFromContainer,
        Program::CilToHost,
        Program::CilFromHost,
        Program::CilFromNetdev,
        Program::CilToNetdev,
        Program::CilFromOverlay,
        Program::CilToOverlay,
    ];

    /// Its name, as `bpftool net` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Program::CilFromContainer => "cil_from_container",
            Program::CilToHost => "cil_to_host",
            Program::CilFromHost => "cil_from_host",
            Program::CilFromNetdev => "cil_from_netdev",
            Program::CilToNetdev => "cil_to_netdev",
            Program::CilFromOverlay => "cil_from_overlay",
            Program::CilToOverlay => "cil_to_overlay",
        }
    }

    /// The program of that name.
    pub fn from_name(name: &str) -> Option<Program> {
        Program::ALL.into_iter().find(|p| p.name() == name)
    }

    /// It was compiled with the numbers of the plugin's devices.
    fn needs_devices(self) -> bool {
        matches!(self, Program::CilFromContainer | Program::CilFromHost | Program::CilFromOverlay)
    }
}

/// What a program was compiled with (node_config.h of Cilium).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::kernel) struct Consts {
    /// ENCAP_IFINDEX: cilium_vxlan, if there is a tunnel.
    pub encap: IfIndex,
    /// CILIUM_NET_IFINDEX
    pub net: IfIndex,
    /// CILIUM_NET_MAC
    pub net_mac: Mac,
    /// CILIUM_HOST_MAC
    pub host_mac: Mac,
    /// ENABLE_HOST_ROUTING with DIRECT_ROUTING_DEV_IFINDEX: the programs route instead of the stack, and this is the
    /// device to the network.
    pub direct: Option<IfIndex>,
}

impl Consts {
    /// As the agent compiles it for the devices that are there; with the name of the device to the network if programs
    /// route.
    ///
    /// # Errors
    /// ENODEV if one is missing.
    pub(in crate::kernel) fn of(ns: &NetNs, program: Program, direct: Option<&str>) -> Result<Consts, Errno> {
        let find = |name| ns.dev_by_name(name).and_then(|index| ns.dev(index)).ok_or(Errno::ENODEV);
        let direct = direct.map(|name| find(name).map(|d| d.index)).transpose()?;
        if !program.needs_devices() {
            return Ok(Consts { direct, ..Consts::default() });
        }
        let (net, host) = (find("cilium_net")?, find("cilium_host")?);
        let encap = ns.dev_by_name("cilium_vxlan").unwrap_or_default();
        Ok(Consts { encap, net: net.index, net_mac: net.mac, host_mac: host.mac, direct })
    }
}

/// What a program returns (TC_ACT_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Verdict {
    /// TC_ACT_OK: the frame goes on its way, and no further program runs.
    Pass,
    /// TC_ACT_SHOT, and why.
    Drop(BpfDrop),
    /// TC_ACT_REDIRECT after bpf_redirect: it goes out of this device.
    Redirect(IfIndex),
    /// TC_ACT_REDIRECT after bpf_redirect_peer: the other end of this device receives it.
    RedirectPeer(IfIndex),
    /// TC_ACT_REDIRECT after bpf_redirect_neigh: it goes out of this device, to whom the route says.
    RedirectNeigh(IfIndex),
}

/// bpf_prog_run
pub(in crate::kernel) fn run(ns: &mut NetNs, cx: &mut Cx<'_>, link: &Link, dev: IfIndex, f: &mut Frame) -> Verdict {
    let mut skb = cilium::Ctx { ns, cx, consts: link.consts, dev, f };
    let done = match link.program {
        Program::CilFromContainer => cilium::lxc::from_container(&mut skb),
        Program::CilFromHost => cilium::host::from_host(&mut skb),
        Program::CilFromNetdev => cilium::host::from_netdev(&mut skb),
        Program::CilFromOverlay => cilium::overlay::from_overlay(&mut skb),
        // Without node ports and masquerading in eBPF, host firewall, encryption and bandwidth manager they have
        // nothing to decide.
        Program::CilToHost | Program::CilToNetdev | Program::CilToOverlay => Ok(Verdict::Pass),
    };
    done.unwrap_or_else(Verdict::Drop)
}
