//! `cluster`: the machines of a Kubernetes cluster and how it is set up.

use deserr::{Deserr, ValuePointerRef};
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use std::net::Ipv4Addr;

use super::cni::Cni;
use super::problem::Problems;
use super::text::{Bad, FromText};
use super::value::{Duration, Label, Spanned};
use crate::scenario::diag::quote;

/// A Kubernetes cluster.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct Cluster {
    /// Its machines, in the order in which they joined.
    pub nodes: Vec<ClusterNode>,
    /// Where the pods' addresses lie (`--cluster-cidr`); nodes without a `podCIDR` get a part of it. 10.244.0.0/16.
    #[deserr(default, rename = "clusterCIDR")]
    #[schemars(rename = "clusterCIDR")]
    pub cluster_cidr: Option<Spanned<Net>>,
    /// Where the Services' addresses lie (`--service-cluster-ip-range`). 10.96.0.0/12.
    #[deserr(default, rename = "serviceCIDR")]
    #[schemars(rename = "serviceCIDR")]
    pub service_cidr: Option<Spanned<Net>>,
    /// Where node ports lie (`--service-node-port-range`). 30000-32767.
    #[deserr(default, rename = "nodePortRange")]
    #[schemars(rename = "nodePortRange")]
    pub node_port_range: Option<Spanned<PortRange>>,
    /// The cluster's name in DNS. cluster.local.
    #[deserr(default, rename = "clusterDomain")]
    #[schemars(rename = "clusterDomain")]
    pub cluster_domain: Option<Spanned<String>>,
    /// Which iptables the nodes have. nft.
    #[deserr(default)]
    pub iptables: Option<Iptables>,
    /// How pods are connected.
    #[deserr(default)]
    pub cni: Option<Cni>,
    /// How Services work.
    #[deserr(default, rename = "kubeProxy")]
    #[schemars(rename = "kubeProxy")]
    pub kube_proxy: Option<KubeProxy>,
    /// How names are found.
    #[deserr(default)]
    pub dns: Option<Dns>,
    /// A mesh: istiod, and sidecars in the pods of namespaces with the label `istio-injection: enabled`.
    #[deserr(default)]
    pub istio: Option<Istio>,
}

/// What a node's command `iptables` stands for (`update-alternatives --set iptables`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, rename_all = lowercase)]
#[schemars(rename_all = "lowercase")]
pub enum Iptables {
    /// iptables-legacy
    Legacy,
    /// iptables-nft
    Nft,
}

/// A machine of a cluster.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ClusterNode {
    /// Its name.
    pub name: Spanned<Label>,
    /// Its address with the length of its network's prefix.
    pub address: Spanned<Address>,
    /// Its pods' network; without it, the next free part of `clusterCIDR`: a /24, with Calico a block.
    #[deserr(default, rename = "podCIDR")]
    #[schemars(rename = "podCIDR")]
    pub pod_cidr: Option<Spanned<Net>>,
    /// The interface that has the address. eth0.
    #[deserr(default)]
    pub interface: Option<Spanned<String>>,
    /// The interface is a synthetic one, as in a cloud's virtual machine; this is what the virtual function of the
    /// physical nic below it is called, on which every packet is seen once more.
    #[deserr(default)]
    pub vf: Option<Spanned<String>>,
    /// Where everything goes that is not on its own networks. The first address of its network.
    #[deserr(default)]
    pub gateway: Option<Spanned<Ipv4Addr>>,
}

impl ClusterNode {
    /// The interface that has the address.
    pub fn interface(&self) -> &str {
        self.interface.as_ref().map_or("eth0", |i| i.value.as_str())
    }
}

/// kube-proxy.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = known_to_its_version -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct KubeProxy {
    /// How it works. iptables.
    #[deserr(default)]
    pub mode: Option<ProxyMode>,
    /// Whose rules it writes. 1.30.
    #[deserr(default)]
    pub version: Option<ProxyVersion>,
    /// Whose packets are not masqueraded, if that is not the cluster's `clusterCIDR`.
    #[deserr(default, rename = "clusterCIDR")]
    #[schemars(rename = "clusterCIDR")]
    pub cluster_cidr: Option<Spanned<Net>>,
    /// All packets to cluster IPs are masqueraded.
    #[deserr(default, rename = "masqueradeAll")]
    #[schemars(default, rename = "masqueradeAll")]
    pub masquerade_all: bool,
    /// How it tells pods' packets from others. ClusterCIDR.
    #[deserr(default, rename = "detectLocalMode")]
    #[schemars(rename = "detectLocalMode")]
    pub detect_local_mode: Option<DetectLocalMode>,
    /// The bridge by which pods' packets come in, for BridgeInterface. That of the network plugin.
    #[deserr(default, rename = "bridgeInterface")]
    #[schemars(rename = "bridgeInterface")]
    pub bridge_interface: Option<Spanned<String>>,
    /// What the names of the devices begin with by which they come in, for InterfaceNamePrefix. That of the network
    /// plugin's.
    #[deserr(default, rename = "interfaceNamePrefix")]
    #[schemars(rename = "interfaceNamePrefix")]
    pub interface_name_prefix: Option<Spanned<String>>,
    /// Networks: node ports are those of the node's addresses in them alone, its own, its bridge's and 127.0.0.1.
    #[deserr(default, rename = "nodePortAddresses")]
    #[schemars(default, rename = "nodePortAddresses")]
    pub node_port_addresses: Vec<Spanned<Net>>,
    /// Node ports answer on 127.0.0.1, too.
    #[deserr(default = true, rename = "localhostNodePorts")]
    #[schemars(default = "super::schema::default_true", rename = "localhostNodePorts")]
    pub localhost_node_ports: bool,
    /// A segment outside the window is not INVALID (net.netfilter.nf_conntrack_tcp_be_liberal), and no rule drops it.
    #[deserr(default, rename = "tcpBeLiberal")]
    #[schemars(default, rename = "tcpBeLiberal")]
    pub tcp_be_liberal: bool,
    /// Two syncs come at once, more of them so long after each other (`iptables.minSyncPeriod`). 1s.
    #[deserr(default, rename = "minSyncPeriod")]
    #[schemars(rename = "minSyncPeriod")]
    pub min_sync_period: Option<Spanned<Duration>>,
}

/// 1.21 does not have all settings.
fn known_to_its_version(proxy: KubeProxy, at: ValuePointerRef<'_>) -> Result<KubeProxy, Problems> {
    use DetectLocalMode::{BridgeInterface, InterfaceNamePrefix};
    if proxy.version != Some(ProxyVersion::V1_21) {
        return Ok(proxy);
    }
    let by_interface = matches!(proxy.detect_local_mode, Some(BridgeInterface | InterfaceNamePrefix));
    let newer = [
        (by_interface, "detectLocalMode", "kube-proxy 1.21 does not tell pods by interfaces"),
        (!proxy.localhost_node_ports, "localhostNodePorts", "kube-proxy 1.21 always answers on 127.0.0.1"),
        (proxy.tcp_be_liberal, "tcpBeLiberal", "kube-proxy 1.21 does not know `tcpBeLiberal`"),
    ];
    let mut problems = Problems::default();
    for (_, field, message) in newer.into_iter().filter(|(given, ..)| *given) {
        let hint = Some("leave it out, or take version \"1.30\"".to_owned());
        problems.add(Problems::bad(at.push_key(field), message.to_owned(), hint));
    }
    if problems.is_empty() { Ok(proxy) } else { Err(problems) }
}

/// How kube-proxy tells pods' packets from others (`--detect-local-mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum DetectLocalMode {
    /// Their source lies in the pods' network.
    #[deserr(rename = "ClusterCIDR")]
    #[schemars(rename = "ClusterCIDR")]
    ClusterCidr,
    /// It lies in the network of the node's own pods.
    #[deserr(rename = "NodeCIDR")]
    #[schemars(rename = "NodeCIDR")]
    NodeCidr,
    /// They come in by a bridge.
    BridgeInterface,
    /// They come in by a device whose name begins so.
    InterfaceNamePrefix,
}

/// How kube-proxy works.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, rename_all = lowercase)]
#[schemars(rename_all = "lowercase")]
pub enum ProxyMode {
    /// By rules for iptables.
    Iptables,
}

/// A version of kube-proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum ProxyVersion {
    /// 1.21
    #[deserr(rename = "1.21")]
    #[schemars(rename = "1.21")]
    V1_21,
    /// 1.30
    #[deserr(rename = "1.30")]
    #[schemars(rename = "1.30")]
    V1_30,
}

/// The cluster's name server.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct Dns {
    /// CoreDNS is there as kubeadm installs it, if no manifest has the Service kube-dns of kube-system. true.
    #[deserr(default)]
    pub enabled: Option<bool>,
    /// The address of the Service kube-dns, which pods ask. The tenth of `serviceCIDR`.
    #[deserr(default, rename = "clusterIP")]
    #[schemars(rename = "clusterIP")]
    pub cluster_ip: Option<Spanned<Ipv4Addr>>,
}

/// Istio.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct Istio {
    /// Whose rules and defaults they are. 1.13.
    #[deserr(default)]
    pub version: Option<IstioVersion>,
    /// What sidecars ask of who connects to their pods, where no PeerAuthentication says it. PERMISSIVE.
    #[deserr(default)]
    pub mtls: Option<IstioMtls>,
}

/// A version of Istio.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum IstioVersion {
    /// 1.13.4
    #[deserr(rename = "1.13")]
    #[schemars(rename = "1.13")]
    V1_13,
    /// 1.30.3
    #[deserr(rename = "1.30")]
    #[schemars(rename = "1.30")]
    V1_30,
}

/// What sidecars ask of who connects (`mtls.mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum IstioMtls {
    /// Mutual TLS and plain text are taken.
    #[deserr(rename = "PERMISSIVE")]
    #[schemars(rename = "PERMISSIVE")]
    Permissive,
    /// Mutual TLS alone.
    #[deserr(rename = "STRICT")]
    #[schemars(rename = "STRICT")]
    Strict,
    /// Plain text alone.
    #[deserr(rename = "DISABLE")]
    #[schemars(rename = "DISABLE")]
    Disable,
}

/// A network: its first address and the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net(pub Ipv4Net);

/// An address in a network, with the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address(pub Ipv4Net);

/// Ports from one to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// The longest packet of an interface, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mtu(pub u16);

fn cidr(text: &str, example: &str) -> Result<Ipv4Net, Bad> {
    let hint = format!("an address and the length of the prefix, as {example}");
    text.parse().map_err(|_| Bad(format!("{} is no address with a prefix length", quote(text)), Some(hint)))
}

impl FromText for Net {
    const WHAT: &'static str = "a network";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let net = cidr(text, "10.244.1.0/24")?;
        if net.addr() == net.network() {
            return Ok(Net(net));
        }
        let message = format!("{} is an address in a network, not a network", quote(text));
        Err(Bad(message, Some(format!("the network is {}", net.trunc()))))
    }
}

impl FromText for Address {
    const WHAT: &'static str = "an address with a prefix length";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let net = cidr(text, "10.168.0.4/24")?;
        let host = net.prefix_len() >= 31 || net.addr() != net.network() && net.addr() != net.broadcast();
        if host {
            return Ok(Address(net));
        }
        Err(Bad(format!("{} is a whole network, no machine's address", quote(text)), None))
    }
}

impl FromText for PortRange {
    const WHAT: &'static str = "a range of ports";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let ports = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match ports {
            Some((first, last)) if 0 < first && first <= last => Ok(PortRange { first, last }),
            _ => Err(Bad(format!("{} is no range of ports", quote(text)), Some("as 30000-32767".to_owned()))),
        }
    }
}

impl FromText for Mtu {
    const WHAT: &'static str = "an MTU";

    fn from_text(text: &str) -> Result<Self, Bad> {
        match text.parse() {
            Ok(mtu @ 68..=65535) => Ok(Mtu(mtu)),
            _ => Err(Bad(format!("{} is no MTU of IPv4", quote(text)), Some("68 to 65535".to_owned()))),
        }
    }
}
