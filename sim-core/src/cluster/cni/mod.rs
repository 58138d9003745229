//! Network plugins (the Container Network Interface, CNI): what connects a node's pods, and them with other nodes'.
//!
//! This folder is the one place that knows which there are. A plugin is a struct of its settings in a file of its own,
//! and an arm of each `match` in here: what it writes and runs on a node, what on all others about a node, what for a
//! pod. All of it is commands and files, as the plugin's programs issue and write them on a real node.

pub mod bridge;
pub mod calico;
pub mod cilium;
pub mod flannel;
pub mod kubenet;

#[cfg(test)]
mod tests;

use self::calico::Calico;
use self::cilium::{Balancer, Cilium};
use self::flannel::Flannel;
use self::kubenet::Kubenet;
use super::store::{Cluster, Node, PlacedPod};
use crate::base::rng::Prf;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;

/// A network plugin with its settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plugin {
    /// kubenet, or what is left of it: bridge and host-local.
    Kubenet(Kubenet),
    /// Flannel.
    Flannel(Flannel),
    /// Calico.
    Calico(Calico),
    /// Cilium.
    Cilium(Cilium),
}

impl Default for Plugin {
    fn default() -> Self {
        Plugin::Kubenet(Kubenet::default())
    }
}

/// A node as its plugin sees it.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    /// What it is part of.
    pub cluster: &'a Cluster,
    /// From which names and hardware addresses follow that nobody has fixed.
    pub prf: &'a Prf,
    /// The node itself.
    pub node: &'a Node,
}

/// What a plugin does on a node whatever its pods: its agent's work, and the files that the kubelet's runtime reads.
#[derive(Default)]
pub(super) struct Agent {
    /// Files by their paths.
    pub files: Vec<(String, String)>,
    /// Commands before the first pod is connected.
    pub start: Vec<String>,
    /// Commands when those pods are connected that are there at the beginning.
    pub ready: Vec<String>,
    /// Commands for its rules: they come after the kubelet's and before kube-proxy's.
    pub rules: Vec<String>,
}

/// What the agents of all other nodes do about a node.
#[derive(Default)]
pub(super) struct Peer {
    /// On nodes in the same network.
    pub near: Vec<Arc<str>>,
    /// On nodes that a router lies between.
    pub far: Vec<Arc<str>>,
}

/// How a plugin gives addresses to pods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipam {
    /// The length of the prefix of a node's pods' network, where nobody has fixed one.
    pub prefix_len: u8,
    /// So many addresses at its beginning are not for pods.
    pub reserved: u32,
    /// Its last address is the broadcast address, and nobody's.
    pub broadcast: bool,
}

/// The plugin host-local (plugins/ipam/host-local): the first address is the network's, the second the gateway's.
pub(super) const HOST_LOCAL: Ipam = Ipam { prefix_len: 24, reserved: 2, broadcast: true };

impl Ipam {
    /// The numbers of pods' addresses in a node's network.
    pub fn numbers(self, net: Ipv4Net) -> Range<u32> {
        let size = 1u32.checked_shl(32 - u32::from(net.prefix_len())).unwrap_or(u32::MAX);
        let end = size.saturating_sub(u32::from(self.broadcast));
        self.reserved.min(end)..end
    }
}

impl Plugin {
    /// How it gives addresses to pods.
    pub fn ipam(&self) -> Ipam {
        match self {
            Plugin::Kubenet(_) | Plugin::Flannel(_) => HOST_LOCAL,
            Plugin::Calico(own) => own.ipam(),
            Plugin::Cilium(_) => cilium::IPAM,
        }
    }

    /// The bridge that a node's pods hang on.
    pub fn bridge(&self) -> Option<&str> {
        match self {
            Plugin::Kubenet(own) => Some(&own.bridge),
            Plugin::Flannel(_) => Some(flannel::BRIDGE),
            Plugin::Calico(_) | Plugin::Cilium(_) => None,
        }
    }

    /// What the names of the node's ends of pods' veth pairs begin with.
    pub fn interface_prefix(&self) -> &'static str {
        match self {
            Plugin::Kubenet(_) | Plugin::Flannel(_) => bridge::VETH,
            Plugin::Calico(_) => calico::PREFIX,
            Plugin::Cilium(_) => cilium::LXC,
        }
    }

    /// The network between the nodes has to know where each node's pods are.
    pub fn needs_routes(&self) -> bool {
        match self {
            Plugin::Kubenet(_) => true,
            Plugin::Flannel(_) => false,
            Plugin::Calico(own) => own.needs_routes(),
            Plugin::Cilium(own) => own.needs_routes(),
        }
    }

    /// Its agents see to Services instead of kube-proxy, which is not there.
    pub fn replaces_kube_proxy(&self) -> bool {
        matches!(self, Plugin::Cilium(Cilium { kube_proxy_replacement: true, .. }))
    }

    /// The addresses that a node has by it.
    pub(super) fn node_addresses(&self, node: &Node) -> Vec<Ipv4Addr> {
        match self {
            Plugin::Kubenet(_) => vec![node.pod_gateway()],
            Plugin::Flannel(own) => own.node_addresses(node),
            Plugin::Calico(own) => own.node_addresses(node),
            Plugin::Cilium(_) => vec![cilium::router(node), cilium::health(node)],
        }
    }

    /// What is wrong with a node's object, as far as the plugin reads it: the field and a message.
    pub(super) fn check(&self, node: &Node) -> Option<(String, String)> {
        match self {
            Plugin::Kubenet(_) | Plugin::Flannel(_) | Plugin::Calico(_) => None,
            Plugin::Cilium(_) => cilium::check(node),
        }
    }

    /// What it does on a node.
    pub(super) fn agent(&self, site: Site<'_>) -> Agent {
        match self {
            Plugin::Kubenet(own) => own.agent(site),
            Plugin::Flannel(own) => own.agent(site),
            Plugin::Calico(own) => own.agent(site),
            Plugin::Cilium(own) => own.agent(site),
        }
    }

    /// What it does on others about a node.
    pub(super) fn peer(&self, site: Site<'_>) -> Peer {
        match self {
            Plugin::Kubenet(_) => kubenet::peer(site),
            Plugin::Flannel(own) => own.peer(site),
            Plugin::Calico(own) => own.peer(site),
            Plugin::Cilium(own) => own.peer(site),
        }
    }

    /// Its agents see to Services beside kube-proxy: what they know of them.
    pub(super) fn balancer(&self) -> Option<Balancer> {
        match self {
            Plugin::Kubenet(_) | Plugin::Flannel(_) | Plugin::Calico(_) => None,
            Plugin::Cilium(_) => Some(Balancer::default()),
        }
    }

    /// The commands that connect a pod (cmdAdd). Its namespace is there.
    pub(super) fn add(&self, site: Site<'_>, pod: &PlacedPod) -> Vec<String> {
        match self {
            Plugin::Kubenet(own) => own.add(site, pod),
            Plugin::Flannel(own) => own.add(site, pod),
            Plugin::Calico(own) => own.add(site, pod),
            Plugin::Cilium(own) => own.add(site, pod),
        }
    }

    /// The commands after a new pod is connected: they tell the network where it is, and write its rules.
    pub(super) fn announce(&self, site: Site<'_>, pod: &PlacedPod) -> Vec<String> {
        match self {
            Plugin::Kubenet(_) | Plugin::Flannel(_) => vec![bridge::announce(site, pod)],
            Plugin::Calico(own) => own.announce(site, pod),
            Plugin::Cilium(_) => Vec::new(),
        }
    }

    /// What its agent on the pod's node does when the pod has gone.
    pub(super) fn forget(&self, pod: &PlacedPod) -> Vec<String> {
        match self {
            Plugin::Kubenet(_) | Plugin::Flannel(_) | Plugin::Calico(_) => Vec::new(),
            Plugin::Cilium(_) => cilium::forget(pod),
        }
    }
}

/// The commands that take a pod off the network (cmdDel), and its namespace with it: all plugins delete its link, and
/// what leads there goes with it.
pub(super) fn del(prf: &Prf, pod: &PlacedPod) -> Vec<String> {
    let netns = pod.netns(prf);
    vec![format!("ip -n {netns} link del eth0"), format!("ip netns del {netns}")]
}
