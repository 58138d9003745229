//! What a cluster is like before there is an object in it: kubeadm's defaults, and a scenario's choices.

use super::kube_proxy::Version;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// A cluster has at most so many nodes (Kubernetes' own limit, "Considerations for large clusters").
pub const MAX_NODES: usize = 5000;
/// It has at most so many pods.
pub const MAX_PODS: usize = 150_000;

/// A cluster's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `--cluster-cidr`: where the pods' addresses lie. Nodes get a /24 of it each.
    pub cluster_cidr: Ipv4Net,
    /// `--service-cluster-ip-range`
    pub service_cidr: Ipv4Net,
    /// `--service-node-port-range`
    pub node_ports: RangeInclusive<u16>,
    /// The cluster's name in DNS.
    pub domain: String,
    /// The address of the Service kube-dns.
    pub dns_ip: Ipv4Addr,
    /// How pods are connected.
    pub cni: Kubenet,
    /// How Services work.
    pub kube_proxy: KubeProxy,
    /// The machines.
    pub nodes: Vec<NodeConfig>,
}

impl Config {
    /// kubeadm's defaults, with flannel's network for pods.
    pub fn new(nodes: Vec<NodeConfig>) -> Config {
        Config {
            cluster_cidr: net([10, 244, 0, 0], 16),
            service_cidr: net([10, 96, 0, 0], 12),
            node_ports: 30000..=32767,
            domain: "cluster.local".to_owned(),
            dns_ip: Ipv4Addr::new(10, 96, 0, 10),
            cni: Kubenet::default(),
            kube_proxy: KubeProxy::default(),
            nodes,
        }
    }
}

/// A network that is known to be one.
fn net(address: [u8; 4], len: u8) -> Ipv4Net {
    Ipv4Net::new(address.into(), len).unwrap_or_default()
}

/// A node's machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// Its address, with the length of the network's prefix.
    pub address: Ipv4Net,
    /// The interface that has it.
    pub interface: String,
    /// Where everything goes that is not on its own networks.
    pub gateway: Option<Ipv4Addr>,
    /// Its pods' network; without it, the next free one.
    pub pod_cidr: Option<Ipv4Net>,
}

/// kubenet, or the CNI plugin bridge, which sets a node up the same way: pods hang on a bridge of their node, and
/// routes lead to the other nodes' pods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kubenet {
    /// The bridge.
    pub bridge: String,
    /// Of the bridge and of the pods' interfaces.
    pub mtu: u16,
    /// How a pod reaches itself through a Service.
    pub hairpin: HairpinMode,
    /// `--non-masquerade-cidr`: what goes elsewhere has the node's address.
    pub non_masquerade_cidr: Ipv4Net,
}

impl Default for Kubenet {
    fn default() -> Self {
        Kubenet {
            bridge: "cbr0".to_owned(),
            mtu: 1500,
            hairpin: HairpinMode::HairpinVeth,
            non_masquerade_cidr: net([10, 0, 0, 0], 8),
        }
    }
}

/// The kubelet's `hairpinMode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HairpinMode {
    /// A port may send a frame back to where it came from.
    HairpinVeth,
    /// The bridge is promiscuous: the frame goes up to the node, which sends it back.
    PromiscuousBridge,
    /// It does not.
    None,
}

/// kube-proxy's settings that are the same on all nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KubeProxy {
    /// Which one it is.
    pub version: Version,
    /// `clusterCIDR`, if it differs from the cluster's.
    pub cluster_cidr: Option<Ipv4Net>,
    /// `iptables.masqueradeAll`
    pub masquerade_all: bool,
}
