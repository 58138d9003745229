//! What a cluster is like before there is an object in it: kubeadm's defaults, and a scenario's choices.

use super::cni::Plugin;
use super::istio::Istio;
use super::kube_proxy::{DEFAULT_MIN_SYNC_PERIOD_NS, Version};
use crate::kernel::netfilter::Backend;
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
    /// `--cluster-cidr`: where the pods' addresses lie. Nodes get a part of it each.
    pub cluster_cidr: Ipv4Net,
    /// `--service-cluster-ip-range`
    pub service_cidr: Ipv4Net,
    /// `--service-node-port-range`
    pub node_ports: RangeInclusive<u16>,
    /// The cluster's name in DNS.
    pub domain: String,
    /// The address of the Service kube-dns.
    pub dns_ip: Ipv4Addr,
    /// There is CoreDNS where no object serves names.
    pub core_dns: bool,
    /// Which iptables the nodes have.
    pub iptables: Backend,
    /// How pods are connected.
    pub cni: Plugin,
    /// How Services work.
    pub kube_proxy: KubeProxy,
    /// The mesh, if there is one.
    pub istio: Option<Istio>,
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
            core_dns: true,
            iptables: Backend::default(),
            cni: Plugin::default(),
            kube_proxy: KubeProxy::default(),
            istio: None,
            nodes,
        }
    }
}

/// A network that is known to be one.
pub(super) fn net(address: [u8; 4], len: u8) -> Ipv4Net {
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

/// kube-proxy's settings that are the same on all nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KubeProxy {
    /// Which one it is.
    pub version: Version,
    /// `clusterCIDR`, if it differs from the cluster's.
    pub cluster_cidr: Option<Ipv4Net>,
    /// `detectLocalMode`
    pub detect_local: DetectLocalMode,
    /// `iptables.masqueradeAll`
    pub masquerade_all: bool,
    /// `iptables.localhostNodePorts`
    pub localhost_node_ports: bool,
    /// `nodePortAddresses`: node ports are those of the node's addresses in these networks; of all, if there is none.
    pub node_port_addresses: Vec<Ipv4Net>,
    /// `conntrack.tcpBeLiberal`
    pub tcp_be_liberal: bool,
    /// `iptables.minSyncPeriod`, in nanoseconds.
    pub min_sync_period_ns: u64,
}

impl Default for KubeProxy {
    fn default() -> Self {
        KubeProxy {
            version: Version::default(),
            cluster_cidr: None,
            detect_local: DetectLocalMode::ClusterCidr,
            masquerade_all: false,
            localhost_node_ports: true,
            node_port_addresses: Vec::new(),
            tcp_be_liberal: false,
            min_sync_period_ns: DEFAULT_MIN_SYNC_PERIOD_NS,
        }
    }
}

/// How kube-proxy tells pods' packets from others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DetectLocalMode {
    /// By the network of all pods.
    ClusterCidr,
    /// By that of the node's own pods.
    NodeCidr,
    /// By the bridge that they come in by.
    BridgeInterface(String),
    /// By how the name of their device begins.
    InterfaceNamePrefix(String),
}
