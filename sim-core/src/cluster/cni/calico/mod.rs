//! Calico 3.31: no bridge. Each pod has a link of its own to its node, which routes to it and answers for its gateway.
//!
//! * The CNI plugin (cni-plugin/pkg/dataplane/linux), and calico-ipam, which gives addresses of blocks that nodes have;
//! * Felix on each node: the tunnel's device (felix/dataplane/linux/vxlan_mgr.go, ipip_mgr.go), routes into a VXLAN,
//!   and rules (`felix.rs`). Where there is no VXLAN, BIRD writes the routes.

mod felix;

use self::felix::{Felix, Pool, Workload};
use super::{Agent, Ipam, Peer, Site};
use crate::base::{Mac, hex};
use crate::cluster::names;
use crate::cluster::store::{Node, PlacedPod, offset};
use sha1::{Digest, Sha1};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What the names of the nodes' ends of veth pairs begin with.
pub(super) const PREFIX: &str = "cali";
/// The hardware address of all of them.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// Every pod's gateway. Nobody has it: nodes answer for it (proxy_arp).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The tunnel's device, the network's number and the port of the other end (VXLANVNI, VXLANPort).
const DEVICE: &str = "vxlan.calico";
const VNI: u32 = 4096;
const PORT: u16 = 4789;
/// Bytes of the headers around a packet in the tunnel.
const VXLAN_OVERHEAD: u16 = 50;
const IPIP_OVERHEAD: u16 = 20;
/// The device of the other kind of tunnel: the one that the kernel's module makes.
const IPIP_DEVICE: &str = "tunl0";
/// Whose a pod is that does not say it.
const SERVICE_ACCOUNT: &str = "default";
/// What Ethernet carries.
const ETHERNET_MTU: u16 = 1500;
/// The length of the prefix of a block, unless its pool says another.
pub const BLOCK_SIZE: u8 = 26;
/// The hexadecimal digits of a pod's hash in the name of its veth.
const HASH_LEN: usize = 11;

/// Calico's settings: those of an IPPool, and of an Installation's `calicoNetwork`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calico {
    /// How packets get to other nodes.
    pub encapsulation: Encapsulation,
    /// The length of the prefix of a node's block of addresses.
    pub block_size: u8,
    /// Of the pods' interfaces and of the tunnel's device, in bytes.
    pub mtu: u16,
}

/// How packets get to other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// By routes.
    None,
    /// In a tunnel.
    Vxlan,
    /// In a tunnel if the other node is in another network, by routes if not.
    VxlanCrossSubnet,
    /// In a tunnel without UDP.
    Ipip,
    /// In such a tunnel if the other node is in another network, by routes if not.
    IpipCrossSubnet,
}

impl Encapsulation {
    /// The MTU that is left of Ethernet's.
    pub fn mtu(self) -> u16 {
        match self {
            Encapsulation::None => ETHERNET_MTU,
            Encapsulation::Vxlan | Encapsulation::VxlanCrossSubnet => ETHERNET_MTU - VXLAN_OVERHEAD,
            Encapsulation::Ipip | Encapsulation::IpipCrossSubnet => ETHERNET_MTU - IPIP_OVERHEAD,
        }
    }

    fn is_ipip(self) -> bool {
        matches!(self, Encapsulation::Ipip | Encapsulation::IpipCrossSubnet)
    }

    fn is_cross_subnet(self) -> bool {
        matches!(self, Encapsulation::VxlanCrossSubnet | Encapsulation::IpipCrossSubnet)
    }

    /// Who writes routes, as `ip route` calls them: Felix (DeviceRouteProtocol), or BIRD.
    fn protocol(self) -> &'static str {
        match self {
            Encapsulation::None | Encapsulation::Ipip | Encapsulation::IpipCrossSubnet => "bird",
            Encapsulation::Vxlan | Encapsulation::VxlanCrossSubnet => "80",
        }
    }
}

impl Calico {
    /// calico-ipam: a block has no broadcast address, and its first is the tunnel's.
    pub(super) fn ipam(&self) -> Ipam {
        let reserved = u32::from(self.encapsulation != Encapsulation::None);
        Ipam { prefix_len: self.block_size, reserved, broadcast: false }
    }

    /// The network between the nodes carries pods' packets as they are: its routers hear by BGP where they belong.
    pub(super) fn needs_routes(&self) -> bool {
        self.encapsulation == Encapsulation::None
    }

    pub(super) fn agent(&self, site: Site<'_>) -> Agent {
        let mut start = match self.encapsulation {
            Encapsulation::None => Vec::new(),
            Encapsulation::Vxlan | Encapsulation::VxlanCrossSubnet => self.device(site),
            Encapsulation::Ipip | Encapsulation::IpipCrossSubnet => self.ipip_device(site),
        };
        // Who is not there is nowhere: without it, a packet to a pod that is gone would leave by the default route.
        start.push(format!("ip route add blackhole {} proto {}", site.node.pod_cidr, self.encapsulation.protocol()));
        Agent { files: vec![self.conflist(site.node)], start, rules: self.rules(site), ..Agent::default() }
    }

    /// Where another node's block is.
    pub(super) fn peer(&self, site: Site<'_>) -> Peer {
        let (block, node, proto) = (site.node.pod_cidr, site.node.ip(), self.encapsulation.protocol());
        let direct: Arc<str> = format!("ip route add {block} via {node} proto {proto}").into();
        if self.encapsulation == Encapsulation::None {
            // In another network the gateway knows the way, too.
            return Peer { near: vec![direct], far: Vec::new() };
        }
        let cross_subnet = self.encapsulation.is_cross_subnet();
        if self.encapsulation.is_ipip() {
            let tunnelled: Arc<str> =
                format!("ip route add {block} via {node} dev {IPIP_DEVICE} proto {proto} onlink").into();
            let near = if cross_subnet { direct } else { Arc::clone(&tunnelled) };
            return Peer { near: vec![near], far: vec![tunnelled] };
        }
        let (mac, end) = (tunnel_mac(site.node), tunnel_end(site.node));
        let known: Vec<Arc<str>> = vec![
            format!("ip neigh add {end} lladdr {mac} dev {DEVICE} nud permanent").into(),
            format!("bridge fdb add {mac} dev {DEVICE} dst {node} self permanent").into(),
        ];
        let by = |route| known.iter().cloned().chain([route]).collect();
        let tunnelled: Arc<str> = format!("ip route add {block} via {end} dev {DEVICE} proto {proto} onlink").into();
        Peer { near: by(if cross_subnet { direct } else { Arc::clone(&tunnelled) }), far: by(tunnelled) }
    }

    /// A veth pair, a route to the pod, and the node as its gateway, whatever address that has.
    pub(super) fn add(&self, site: Site<'_>, pod: &PlacedPod) -> Vec<String> {
        let (netns, ip, mtu) = (pod.netns(site.prf), pod.ip, self.mtu);
        let (namespace, name) = (&pod.meta.namespace, &pod.meta.name);
        let (veth, mac) = (veth(namespace, name), names::pod_mac(site.prf, namespace, name));
        let conf = format!("net.ipv4.conf.{veth}");
        let pair = format!("{veth} address {HOST_MAC} mtu {mtu} type veth peer name eth0 address {mac} mtu {mtu}");
        vec![
            format!("ip link add {pair} netns {netns}"),
            format!("sysctl -qw {conf}.route_localnet=1 net.ipv4.neigh.{veth}.proxy_delay=0"),
            format!("sysctl -qw {conf}.proxy_arp=1 {conf}.forwarding=1"),
            format!("ip link set {veth} up"),
            format!("ip -n {netns} link set lo up"),
            format!("ip -n {netns} link set eth0 up"),
            format!("ip -n {netns} addr add {ip}/32 dev eth0"),
            format!("ip -n {netns} route add {GATEWAY} dev eth0 scope link"),
            format!("ip -n {netns} route add default via {GATEWAY} dev eth0"),
            format!("ip route add {ip} dev {veth} scope link"),
        ]
    }

    /// The addresses that a node has by it.
    pub(super) fn node_addresses(&self, node: &Node) -> Vec<Ipv4Addr> {
        match self.encapsulation {
            Encapsulation::None => Vec::new(),
            Encapsulation::Vxlan
            | Encapsulation::VxlanCrossSubnet
            | Encapsulation::Ipip
            | Encapsulation::IpipCrossSubnet => vec![tunnel_end(node)],
        }
    }

    /// The tunnel's device. Its checksums are made in software: Felix takes those of offloads to be broken
    /// (ChecksumOffloadBroken).
    fn device(&self, site: Site<'_>) -> Vec<String> {
        let (lower, local) = (&site.node.config.interface, site.node.ip());
        let (mac, mtu) = (tunnel_mac(site.node), self.mtu);
        let tunnel = format!("vxlan id {VNI} local {local} dev {lower} dstport {PORT} nolearning");
        vec![
            format!("ip link add {DEVICE} address {mac} mtu {mtu} type {tunnel}"),
            format!("ethtool -K {DEVICE} tx off"),
            format!("ip addr add {}/32 dev {DEVICE}", tunnel_end(site.node)),
            format!("ip link set {DEVICE} up"),
        ]
    }

    /// The device of the IPIP tunnel, which is there once the kernel has its module.
    fn ipip_device(&self, site: Site<'_>) -> Vec<String> {
        vec![
            "modprobe ipip".to_owned(),
            format!("ip link set {IPIP_DEVICE} mtu {}", self.mtu),
            format!("ip link set {IPIP_DEVICE} up"),
            format!("ip addr add {}/32 dev {IPIP_DEVICE}", tunnel_end(site.node)),
        ]
    }

    /// Felix's sets and rules.
    fn rules(&self, site: Site<'_>) -> Vec<String> {
        let texts = self.felix(site, None).render();
        let restore = restore(site, &texts.rules);
        vec![format!("ipset restore <<EOF\n{}EOF\n", texts.sets), restore]
    }

    /// What Felix does about a new pod.
    pub(super) fn announce(&self, site: Site<'_>, pod: &PlacedPod) -> Vec<String> {
        let text = self.felix(site, None).update(&self.felix(site, Some(pod)));
        vec![restore(site, &text)]
    }

    /// What Felix knows on a node, of all its pods but one.
    fn felix(&self, site: Site<'_>, without: Option<&PlacedPod>) -> Felix {
        let Site { cluster, node, .. } = site;
        let is_here = |pod: &&PlacedPod| cluster.nodes[pod.node].config.name == node.config.name;
        let pods = cluster.pods.iter().filter(is_here).filter(|p| !p.spec.host_network);
        let workload = |pod: &PlacedPod| Workload {
            interface: veth(&pod.meta.namespace, &pod.meta.name),
            namespace: pod.meta.namespace.clone(),
            service_account: SERVICE_ACCOUNT.to_owned(),
            ingress: Vec::new(),
            egress: Vec::new(),
        };
        let others = cluster.nodes.iter().map(Node::ip).filter(|ip| *ip != node.ip());
        Felix {
            workloads: pods.filter(|p| without.is_none_or(|w| w.meta != p.meta)).map(workload).collect(),
            policies: Vec::new(),
            pools: vec![Pool { cidr: cluster.config.cluster_cidr, masquerade: true }],
            hosts: std::iter::once(node.ip()).chain(others).collect(),
            ipip: self.encapsulation.is_ipip(),
            vxlan: matches!(self.encapsulation, Encapsulation::Vxlan | Encapsulation::VxlanCrossSubnet),
        }
    }

    /// What the kubelet's runtime reads, as the DaemonSet's init container writes it.
    fn conflist(&self, node: &Node) -> (String, String) {
        let (nodename, mtu) = (&node.config.name, self.mtu);
        let text = format!(
            r#"{{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {{
      "type": "calico",
      "log_level": "info",
      "datastore_type": "kubernetes",
      "nodename": "{nodename}",
      "mtu": {mtu},
      "ipam": {{
          "type": "calico-ipam"
      }},
      "policy": {{
          "type": "k8s"
      }},
      "kubernetes": {{
          "kubeconfig": "/etc/cni/net.d/calico-kubeconfig"
      }}
    }},
    {{
      "type": "portmap",
      "snat": true,
      "capabilities": {{"portMappings": true}}
    }}
  ]
}}
"#
        );
        ("/etc/cni/net.d/10-calico.conflist".to_owned(), text)
    }
}

fn restore(site: Site<'_>, text: &str) -> String {
    format!("{}-restore -w --noflush <<EOF\n{text}EOF\n", site.cluster.config.iptables.program())
}

/// What a pod's veth is called on its node (libcalico-go/lib/backend/k8s/conversion: VethNameForWorkload).
fn veth(namespace: &str, name: &str) -> String {
    let digits = hex(&Sha1::digest(format!("{namespace}.{name}")));
    format!("{PREFIX}{}", &digits[..HASH_LEN])
}

/// The address of a node's end of the tunnel: the first of its block.
fn tunnel_end(node: &Node) -> Ipv4Addr {
    offset(node.pod_cidr, 0)
}

/// The hardware address of that end, by the node's name (felix/calc/vxlan_resolver.go: vtepMACForHost).
fn tunnel_mac(node: &Node) -> Mac {
    let hash = Sha1::digest(&node.config.name);
    Mac([b'f', hash[0], hash[1], hash[2], hash[3], hash[4]])
}

#[cfg(test)]
mod tests {
    use super::veth;

    /// Names of pods and of their devices, as they are on real clusters.
    #[test]
    fn a_veth_has_the_name_that_it_has_on_a_real_node() {
        for (namespace, name, device) in [
            ("openshift-ingress", "router-default-77949c967-4t8f7", "cali41f14107a8d"),
            ("openshift-ingress", "router-default-77949c967-tgth7", "calic25e805a467"),
            ("default", "db-8d66ff5f7-bp6kf", "cali95aa86cbb2a"),
            ("default", "backend-867fd6dff-mjf92", "cali2b1490aa46a"),
            ("default", "frontend-8b474f47-zdqdv", "cali505cfbeac50"),
            ("kube-system", "metrics-server-555d76c778-5zsr9", "calic5a1f1aa0ed"),
        ] {
            assert_eq!(veth(namespace, name), device);
        }
    }
}
