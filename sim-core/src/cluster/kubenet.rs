//! kubenet (pkg/kubelet/dockershim/network/kubenet of Kubernetes 1.21), and what is left of it since: the CNI plugins
//! bridge and host-local (plugins/main/bridge of containernetworking/plugins 1.x).

use super::config::HairpinMode;
use super::names;
use super::store::{Cluster, Node, PlacedPod};
use crate::base::rng::Prf;

/// An annotation of a Pod: what the node's end of its veth pair is called, as `ip link` shows it on a real node.
pub const VETH_ANNOTATION: &str = "podhop.dev/veth";
/// An annotation of a Pod: the hardware address of that end.
pub const VETH_MAC_ANNOTATION: &str = "podhop.dev/veth-mac";

/// The commands that make the bridge, before its first pod.
pub(super) fn bridge(cluster: &Cluster, node: &Node) -> Vec<String> {
    let cni = &cluster.config.cni;
    let bridge = &cni.bridge;
    let mac = super::pod_mac(node.pod_gateway());
    let mut commands = vec![format!("ip link add {bridge} address {mac} mtu {} type bridge", cni.mtu)];
    if cni.hairpin == HairpinMode::PromiscuousBridge {
        commands.push(format!("ip link set {bridge} promisc on"));
    }
    commands
}

/// The commands that bring it up, with its address.
pub(super) fn bridge_up(cluster: &Cluster, node: &Node) -> [String; 2] {
    let bridge = &cluster.config.cni.bridge;
    let address = format!("{}/{}", node.pod_gateway(), node.pod_cidr.prefix_len());
    [format!("ip link set {bridge} up"), format!("ip addr add {address} brd + dev {bridge}")]
}

/// The commands that connect a pod: a veth pair, its address, its way out.
pub(super) fn add(cluster: &Cluster, prf: &Prf, node: &Node, pod: &PlacedPod) -> Vec<String> {
    let cni = &cluster.config.cni;
    let (bridge, mtu) = (&cni.bridge, cni.mtu);
    let (netns, veth) = (pod.netns(prf), pod.veth(prf));
    let meta = &pod.meta;
    let host_mac = match meta.annotations.get(VETH_MAC_ANNOTATION) {
        Some(mac) => mac.clone(),
        None => names::veth_mac(prf, &meta.namespace, &meta.name).to_string(),
    };
    let (ip, mac) = (pod.ip, super::pod_mac(pod.ip));
    let pair = format!("{veth} address {host_mac} mtu {mtu} type veth peer name eth0 address {mac} mtu {mtu}");
    let mut commands = vec![
        format!("ip link add {pair} netns {netns}"),
        format!("ip link set {veth} master {bridge}"),
        format!("ip link set {veth} up"),
    ];
    if cni.hairpin == HairpinMode::HairpinVeth {
        commands.push(format!("bridge link set dev {veth} hairpin on"));
    }
    commands.extend([
        format!("ip -n {netns} link set lo up"),
        format!("ip -n {netns} link set eth0 up"),
        format!("ip -n {netns} addr add {ip}/{} brd + dev eth0", node.pod_cidr.prefix_len()),
        format!("ip -n {netns} route add default via {}", node.pod_gateway()),
    ]);
    commands
}

/// The rule that gives what leaves the cluster the node's address.
pub(super) fn masquerade(cluster: &Cluster) -> String {
    let net = cluster.config.cni.non_masquerade_cidr;
    let text = "kubenet: SNAT for outbound traffic from cluster";
    let which = format!("-m comment --comment \"{text}\" -m addrtype ! --dst-type LOCAL ! -d {net}");
    format!("iptables -w -t nat -A POSTROUTING {which} -j MASQUERADE")
}
