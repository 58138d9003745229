//! Flannel 0.28: each node's pods hang on a bridge, and a daemon on each node, flanneld, knows the way to the others'.
//!
//! * flanneld's backends (pkg/backend/vxlan, pkg/backend/hostgw) and rules (pkg/trafficmngr/iptables);
//! * its CNI plugin, which calls the plugins bridge and host-local with what flanneld has written to subnet.env
//!   (github.com/flannel-io/cni-plugin).

use super::bridge::{Bridge, HairpinMode};
use super::{Agent, Peer, Site};
use crate::cluster::config::Config;
use crate::cluster::names;
use crate::cluster::store::{Node, PlacedPod, offset};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The bridge that a node's pods hang on.
pub(super) const BRIDGE: &str = "cni0";
/// The tunnel's device: `flannel.` and the VNI (`VNI` of the backend's settings).
const DEVICE: &str = "flannel.1";
/// The network's number, and the port of the other end: Linux's own, as flanneld sets none.
const VNI: u32 = 1;
const PORT: u16 = 8472;
/// Bytes of the headers around a packet in the tunnel (pkg/backend/vxlan/device.go: encapOverhead).
const ENCAP_OVERHEAD: u16 = 50;

/// Flannel's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flannel {
    /// How packets get to other nodes (`Backend.Type` of net-conf.json).
    pub backend: Backend,
    /// The longest packet between nodes, in bytes (`Backend.MTU`).
    pub mtu: u16,
    /// `mtu` of the CNI plugin's `delegate`: of the bridge and of the pods' interfaces, in bytes. flanneld's, if it
    /// does not say.
    pub delegate_mtu: Option<u16>,
}

impl Default for Flannel {
    fn default() -> Self {
        Flannel { backend: Backend::Vxlan, mtu: 1500, delegate_mtu: None }
    }
}

/// How packets get to other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// In a tunnel.
    Vxlan,
    /// By routes. All nodes are in one network.
    HostGw,
}

impl Flannel {
    pub(super) fn agent(&self, site: Site<'_>) -> Agent {
        let bridge = self.bridge(site);
        let mut start = match self.backend {
            Backend::Vxlan => self.device(site),
            Backend::HostGw => Vec::new(),
        };
        start.extend(bridge.make());
        Agent {
            files: vec![self.subnet_env(site), self.conflist()],
            start,
            ready: bridge.up(site),
            rules: rules(&site.cluster.config, site.node),
        }
    }

    /// handleSubnetEvents of the backends: what a node has to know to reach the pods of another.
    pub(super) fn peer(&self, site: Site<'_>) -> Peer {
        let (net, node) = (site.node.pod_cidr, site.node.ip());
        match self.backend {
            Backend::Vxlan => {
                let (mac, end) = (mac(site), tunnel_end(site.node));
                let all: Vec<Arc<str>> = vec![
                    format!("ip neigh add {end} lladdr {mac} dev {DEVICE} nud permanent").into(),
                    format!("bridge fdb add {mac} dev {DEVICE} dst {node} self permanent").into(),
                    format!("ip route add {net} via {end} dev {DEVICE} onlink").into(),
                ];
                Peer { near: all.clone(), far: all }
            }
            // A gateway that is not on the node's own network is refused.
            Backend::HostGw => Peer { near: vec![format!("ip route add {net} via {node}").into()], far: Vec::new() },
        }
    }

    pub(super) fn add(&self, site: Site<'_>, pod: &PlacedPod) -> Vec<String> {
        let mac = names::pod_mac(site.prf, &pod.meta.namespace, &pod.meta.name);
        self.bridge(site).add(site, pod, &mac.to_string())
    }

    /// The addresses that a node has by it.
    pub(super) fn node_addresses(&self, node: &Node) -> Vec<Ipv4Addr> {
        match self.backend {
            Backend::Vxlan => vec![tunnel_end(node), node.pod_gateway()],
            Backend::HostGw => vec![node.pod_gateway()],
        }
    }

    /// What flanneld tells the pods' interfaces.
    fn subnet_mtu(&self) -> u16 {
        match self.backend {
            Backend::Vxlan => self.mtu.saturating_sub(ENCAP_OVERHEAD),
            Backend::HostGw => self.mtu,
        }
    }

    fn bridge(&self, site: Site<'_>) -> Bridge<'_> {
        Bridge {
            name: BRIDGE,
            mac: names::device_mac(site.prf, &site.node.config.name, BRIDGE).to_string(),
            mtu: self.delegate_mtu.unwrap_or_else(|| self.subnet_mtu()),
            hairpin: HairpinMode::HairpinVeth,
            route: Some(site.cluster.config.cluster_cidr),
        }
    }

    /// The tunnel's device (pkg/backend/vxlan/device.go).
    fn device(&self, site: Site<'_>) -> Vec<String> {
        let (own, mtu, mac) = (&site.node.config, self.subnet_mtu(), mac(site));
        let (lower, local) = (&own.interface, site.node.ip());
        let tunnel = format!("vxlan id {VNI} local {local} dev {lower} dstport {PORT} nolearning");
        vec![
            format!("ip link add {DEVICE} address {mac} mtu {mtu} type {tunnel}"),
            format!("ip addr add {}/32 dev {DEVICE}", tunnel_end(site.node)),
            format!("ip link set {DEVICE} up"),
        ]
    }

    /// What flanneld leaves for its CNI plugin.
    fn subnet_env(&self, site: Site<'_>) -> (String, String) {
        let text = format!(
            "FLANNEL_NETWORK={}\nFLANNEL_SUBNET={}/{}\nFLANNEL_MTU={}\nFLANNEL_IPMASQ=true\n",
            site.cluster.config.cluster_cidr,
            site.node.pod_gateway(),
            site.node.pod_cidr.prefix_len(),
            self.subnet_mtu(),
        );
        ("/run/flannel/subnet.env".to_owned(), text)
    }

    /// What the kubelet's runtime reads, as the DaemonSet's init container copies it.
    fn conflist(&self) -> (String, String) {
        let mtu = self.delegate_mtu.map_or(String::new(), |mtu| format!("        \"mtu\": {mtu},\n"));
        let text = format!(
            r#"{{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {{
      "type": "flannel",
      "delegate": {{
{mtu}        "hairpinMode": true,
        "isDefaultGateway": true
      }}
    }},
    {{
      "type": "portmap",
      "capabilities": {{
        "portMappings": true
      }}
    }}
  ]
}}
"#
        );
        ("/etc/cni/net.d/10-flannel.conflist".to_owned(), text)
    }
}

/// The address of a node's end of the tunnel: the first of its pods' network.
fn tunnel_end(node: &Node) -> Ipv4Addr {
    offset(node.pod_cidr, 0)
}

/// The hardware address of that end (newHardwareAddr).
fn mac(site: Site<'_>) -> crate::base::Mac {
    names::device_mac(site.prf, &site.node.config.name, DEVICE)
}

/// flanneld's chains (masqRules and forwardRules).
fn rules(config: &Config, node: &Node) -> Vec<String> {
    let (iptables, all, own) = (config.iptables.program(), config.cluster_cidr, node.pod_cidr);
    let rule = |table: &str, chain: &str, which: &str, text: &str, target: &str| {
        let which = if which.is_empty() { String::new() } else { format!("{which} ") };
        format!("{iptables} -w -t {table} -A {chain} {which}-m comment --comment \"{text}\" -j {target}")
    };
    let nat = |which: &str, target| rule("nat", "FLANNEL-POSTRTG", which, "flanneld masq", target);
    let filter = |which: &str| rule("filter", "FLANNEL-FWD", which, "flanneld forward", "ACCEPT");
    let masquerade = "MASQUERADE --random-fully";
    vec![
        format!("{iptables} -w -t nat -N FLANNEL-POSTRTG"),
        rule("nat", "POSTROUTING", "", "flanneld masq", "FLANNEL-POSTRTG"),
        nat("-m mark --mark 0x4000/0x4000", "RETURN"),
        nat(&format!("-s {own} -d {all}"), "RETURN"),
        nat(&format!("-s {all} -d {own}"), "RETURN"),
        nat(&format!("! -s {all} -d {own}"), "RETURN"),
        nat(&format!("-s {all} ! -d 224.0.0.0/4"), masquerade),
        nat(&format!("! -s {all} -d {all}"), masquerade),
        format!("{iptables} -w -t filter -N FLANNEL-FWD"),
        rule("filter", "FORWARD", "", "flanneld forward", "FLANNEL-FWD"),
        filter(&format!("-s {all}")),
        filter(&format!("-d {all}")),
    ]
}
