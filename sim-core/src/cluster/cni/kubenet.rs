//! kubenet (pkg/kubelet/dockershim/network/kubenet of Kubernetes 1.21), and what is left of it since: the CNI plugins
//! bridge and host-local, as containerd is told to call them.

use super::bridge::{Bridge, HairpinMode};
use super::{Agent, Peer, Site};
use crate::base::Mac;
use crate::cluster::config::{Config, net};
use crate::cluster::store::{Node, PlacedPod};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// kubenet's settings. Pods hang on a bridge of their node, and routes lead to the other nodes' pods.
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

impl Kubenet {
    pub(super) fn agent(&self, site: Site<'_>) -> Agent {
        let bridge = self.bridge(site.node);
        Agent {
            files: vec![self.conflist(site.node)],
            start: bridge.make(),
            ready: bridge.up(site),
            rules: vec![self.masquerade(&site.cluster.config)],
        }
    }

    pub(super) fn add(&self, site: Site<'_>, pod: &PlacedPod) -> Vec<String> {
        self.bridge(site.node).add(site, pod, &mac(pod.ip).to_string())
    }

    fn bridge(&self, node: &Node) -> Bridge<'_> {
        let mac = mac(node.pod_gateway()).to_string();
        Bridge { name: &self.bridge, mac, mtu: self.mtu, hairpin: self.hairpin, route: None }
    }

    /// What the kubelet's runtime finds in /etc/cni/net.d, by its path: the plugins and what each is told, as
    /// containerd writes it from its template for kubenet.
    fn conflist(&self, node: &Node) -> (String, String) {
        let text = format!(
            "{{
  \"cniVersion\": \"0.3.1\",
  \"name\": \"kubenet\",
  \"plugins\": [
    {{
      \"type\": \"bridge\",
      \"bridge\": \"{}\",
      \"mtu\": {},
      \"isGateway\": true,
      \"ipMasq\": false,
      \"promiscMode\": {},
      \"hairpinMode\": {},
      \"ipam\": {{
        \"type\": \"host-local\",
        \"ranges\": [[{{\"subnet\": \"{}\"}}]],
        \"routes\": [{{\"dst\": \"0.0.0.0/0\"}}]
      }}
    }}
  ]
}}
",
            self.bridge,
            self.mtu,
            self.hairpin == HairpinMode::PromiscuousBridge,
            self.hairpin == HairpinMode::HairpinVeth,
            node.pod_cidr
        );
        ("/etc/cni/net.d/10-containerd-net.conflist".to_owned(), text)
    }

    /// The rule that gives what leaves the cluster the node's address.
    fn masquerade(&self, config: &Config) -> String {
        let net = self.non_masquerade_cidr;
        let text = "kubenet: SNAT for outbound traffic from cluster";
        let which = format!("-m comment --comment \"{text}\" -m addrtype ! --dst-type LOCAL ! -d {net}");
        format!("{} -w -t nat -A POSTROUTING {which} -j MASQUERADE", config.iptables.program())
    }
}

/// The way to a node's pods. Who is in another network has a gateway that knows it.
pub(super) fn peer(site: Site<'_>) -> Peer {
    let route = format!("ip route add {} via {}", site.node.pod_cidr, site.node.ip());
    Peer { near: vec![route.into()], far: Vec::new() }
}

/// The hardware address of a pod or a bridge by its address (GenerateHardwareAddr4 of plugins/pkg/utils/hwaddr, until
/// 0.9).
fn mac(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    Mac([0x0a, 0x58, a, b, c, d])
}
