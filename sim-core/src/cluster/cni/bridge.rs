//! The CNI plugins bridge and host-local (plugins/main/bridge of containernetworking/plugins 1.x), which other plugins
//! call: a bridge on each node, a veth pair for each pod.

use super::Site;
use crate::cluster::names;
use crate::cluster::store::PlacedPod;

/// What the names of the nodes' ends of veth pairs begin with.
pub(super) const VETH: &str = "veth";
/// An annotation of a Pod: what the node's end of its veth pair is called, as `ip link` shows it on a real node.
pub const VETH_ANNOTATION: &str = "podhop.dev/veth";
/// An annotation of a Pod: the hardware address of that end.
pub const VETH_MAC_ANNOTATION: &str = "podhop.dev/veth-mac";

/// The kubelet's `hairpinMode`: how a pod reaches itself through a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HairpinMode {
    /// A port may send a frame back to where it came from.
    HairpinVeth,
    /// The bridge is promiscuous: the frame goes up to the node, which sends it back.
    PromiscuousBridge,
    /// It does not.
    None,
}

/// What the plugin is told.
pub(super) struct Bridge<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: String,
    /// Of the bridge and of the pods' interfaces.
    pub mtu: u16,
    /// How a pod reaches itself.
    pub hairpin: HairpinMode,
    /// What goes to the gateway besides the default route.
    pub route: Option<ipnet::Ipv4Net>,
}

impl Bridge<'_> {
    /// The commands that make the bridge, before its first pod.
    pub fn make(&self) -> Vec<String> {
        let Bridge { name, mac, mtu, .. } = self;
        let mut commands = vec![format!("ip link add {name} address {mac} mtu {mtu} type bridge")];
        if self.hairpin == HairpinMode::PromiscuousBridge {
            commands.push(format!("ip link set {name} promisc on"));
        }
        commands
    }

    /// The commands that bring it up, with its address.
    pub fn up(&self, site: Site<'_>) -> Vec<String> {
        let (name, node) = (self.name, site.node);
        let address = format!("{}/{}", node.pod_gateway(), node.pod_cidr.prefix_len());
        vec![format!("ip link set {name} up"), format!("ip addr add {address} brd + dev {name}")]
    }

    /// The commands that connect a pod whose interface has the hardware address `mac`: a veth pair, its address, its
    /// way out.
    pub fn add(&self, site: Site<'_>, pod: &PlacedPod, mac: &str) -> Vec<String> {
        let (bridge, mtu, node, prf) = (self.name, self.mtu, site.node, site.prf);
        let netns = pod.netns(prf);
        let meta = &pod.meta;
        let fixed = |annotation| meta.annotations.get(annotation).cloned();
        let veth = fixed(VETH_ANNOTATION).unwrap_or_else(|| names::veth(prf, &meta.namespace, &meta.name));
        let host_mac = || names::veth_mac(prf, &meta.namespace, &meta.name).to_string();
        let host_mac = fixed(VETH_MAC_ANNOTATION).unwrap_or_else(host_mac);
        let ip = pod.ip;
        let pair = format!("{veth} address {host_mac} mtu {mtu} type veth peer name eth0 address {mac} mtu {mtu}");
        let mut commands = vec![
            format!("ip link add {pair} netns {netns}"),
            format!("ip link set {veth} master {bridge}"),
            format!("ip link set {veth} up"),
        ];
        if self.hairpin == HairpinMode::HairpinVeth {
            commands.push(format!("bridge link set dev {veth} hairpin on"));
        }
        commands.extend([
            format!("ip -n {netns} link set lo up"),
            format!("ip -n {netns} link set eth0 up"),
            format!("ip -n {netns} addr add {ip}/{} brd + dev eth0", node.pod_cidr.prefix_len()),
        ]);
        let route = |to: String| format!("ip -n {netns} route add {to} via {}", node.pod_gateway());
        commands.extend(self.route.map(|net| route(net.to_string())));
        commands.push(route("default".to_owned()));
        commands
    }
}

/// The command that tells the network where a new pod's address is (cmdAdd: GratuitousArpOverIface).
pub(super) fn announce(site: Site<'_>, pod: &PlacedPod) -> String {
    format!("ip netns exec {} arping -U -c 1 -I eth0 {}", pod.netns(site.prf), pod.ip)
}
