//! Cilium 1.17 (daemon/, pkg/datapath/, plugins/cilium-cni of its repository): programs at all devices, and maps that
//! tell them who is where. What a pod sends to a Service is translated by them, and never meets kube-proxy's rules. If
//! nothing needs the node's own stack any more, they route, too.
//!
//! ```text
//!   eth0 of a pod ==== lxc…   cilium_host ==== cilium_net   cilium_vxlan   ens4, eth0, …
//! ```

mod iptables;
mod maps;

pub(in crate::cluster) use self::maps::Balancer;
use super::{Agent, Ipam, Peer, Site, bridge};
use crate::cluster::names;
use crate::cluster::store::{Node, PlacedPod, offset};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What the names of the nodes' ends of veth pairs begin with.
pub(super) const LXC: &str = "lxc";
/// All outer headers of a VXLAN tunnel (pkg/mtu: TunnelOverheadIPv4).
const TUNNEL_OVERHEAD: u16 = 50;
/// The namespace of a node's health endpoint.
const HEALTH: &str = "cilium-health";

/// Cilium's IPAM, in the mode cluster-pool. The agent takes the first address for cilium_host and the second for the
/// node's health endpoint.
///
/// Differs: addresses are given in turn, not at random.
pub(super) const IPAM: Ipam = Ipam { prefix_len: 24, reserved: 3, broadcast: true };

/// Cilium's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cilium {
    /// Of all devices; routes to pods have 50 less if they lead through a tunnel.
    pub mtu: u16,
    /// How packets get to other nodes.
    pub routing_mode: RoutingMode,
    /// There is no kube-proxy.
    pub kube_proxy_replacement: bool,
    /// Pods' packets leave the cluster with their node's address, by rules of iptables.
    pub masquerade: bool,
    /// The stack routes, although programs could.
    pub host_legacy_routing: bool,
}

/// How packets get to other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoutingMode {
    /// In a tunnel of VXLAN.
    Tunnel,
    /// As they are.
    Native {
        /// Each node has routes to the others of its network; all else is up to the network's routers.
        auto_direct_node_routes: bool,
    },
}

impl Default for Cilium {
    fn default() -> Self {
        Cilium {
            mtu: 1500,
            routing_mode: RoutingMode::Tunnel,
            kube_proxy_replacement: false,
            masquerade: true,
            host_legacy_routing: false,
        }
    }
}

/// An annotation of a Node, by which the agent takes an address up again.
const ROUTER_ANNOTATION: &str = "network.cilium.io/ipv4-cilium-host";

/// The address of cilium_host, which is the gateway of the node's pods.
pub(super) fn router(node: &Node) -> Ipv4Addr {
    let given = node.annotations.get(ROUTER_ANNOTATION).and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| offset(node.pod_cidr, 1))
}

/// The address of the node's health endpoint.
pub(super) fn health(node: &Node) -> Ipv4Addr {
    offset(node.pod_cidr, 2)
}

/// The annotation holds an address that pods could have.
pub(super) fn check(node: &Node) -> Option<(String, String)> {
    let text = node.annotations.get(ROUTER_ANNOTATION)?;
    let numbers = IPAM.numbers(node.pod_cidr);
    let number = |ip: Ipv4Addr| ip.to_bits().wrapping_sub(node.pod_cidr.network().to_bits());
    let is_good = |ip: Ipv4Addr| numbers.contains(&number(ip)) || ip == offset(node.pod_cidr, 1);
    if text.parse().is_ok_and(is_good) {
        return None;
    }
    let message = format!("\"{text}\" is no address for pods in {}", node.pod_cidr);
    Some((format!("metadata.annotations[{ROUTER_ANNOTATION}]"), message))
}

/// A pod that has gone is taken out of the maps.
pub(super) fn forget(pod: &PlacedPod) -> Vec<String> {
    vec![
        format!("cilium-agent delete cilium_lxc {}", pod.ip),
        format!("cilium-agent delete cilium_ipcache {}/32", pod.ip),
    ]
}

impl Cilium {
    /// The network between the nodes carries pods' packets as they are.
    pub(super) fn needs_routes(&self) -> bool {
        self.routing_mode != RoutingMode::Tunnel
    }

    /// eBPF host routing: programs route, unless something needs netfilter's connections
    /// (daemon/cmd/kube_proxy_replacement.go: finishKubeProxyReplacementInit).
    fn host_routing(&self) -> bool {
        self.kube_proxy_replacement && !self.masquerade && !self.host_legacy_routing
    }

    pub(super) fn agent(&self, site: Site<'_>) -> Agent {
        let mut start = sysctls();
        start.extend(self.devices(site));
        start.extend(self.routes(site));
        start.extend(self.programs(site.node));
        start.extend(Self::local(site.node));
        start.extend(self.health_endpoint(site));
        Agent {
            files: vec![conflist()],
            start,
            ready: Balancer::default().sync(&site.cluster.served()),
            rules: iptables::rules(site, self.masquerade),
        }
    }

    /// What the agents of others write into their maps about a node (pkg/datapath/linux/node.go: nodeUpdate;
    /// pkg/ipcache), and their routes to it (updateDirectRoutes).
    pub(super) fn peer(&self, site: Site<'_>) -> Peer {
        let node = site.node;
        let ip = node.ip();
        let tunnel = (self.routing_mode == RoutingMode::Tunnel).then_some(ip);
        let mut commands: Vec<String> =
            tunnel.iter().map(|ip| format!("cilium-agent update cilium_tunnel_map {} {ip}", node.pod_cidr)).collect();
        commands.extend([
            maps::ipcache(ip, maps::REMOTE_NODE, None),
            maps::ipcache(router(node), maps::REMOTE_NODE, tunnel),
            maps::ipcache(health(node), maps::HEALTH, tunnel),
        ]);
        let own = |p: &&PlacedPod| site.cluster.nodes[p.node].config.name == node.config.name && !p.spec.host_network;
        let identities = maps::Identities::of(site.cluster);
        let pods = site.cluster.pods.iter().filter(own);
        commands.extend(pods.map(|p| maps::ipcache(p.ip, identities.of_pod(p), tunnel)));
        let all: Vec<Arc<str>> = commands.into_iter().map(Arc::from).collect();
        let mut near = all.clone();
        if self.routing_mode == (RoutingMode::Native { auto_direct_node_routes: true }) {
            near.push(format!("ip route add {} via {ip} proto kernel", node.pod_cidr).into());
        }
        Peer { near, far: all }
    }

    pub(super) fn add(&self, site: Site<'_>, pod: &PlacedPod) -> Vec<String> {
        let meta = &pod.meta;
        let fixed = |annotation| meta.annotations.get(annotation).cloned();
        let lxc = fixed(bridge::VETH_ANNOTATION).unwrap_or_else(|| lxc(site, pod));
        let node_mac = || names::veth_mac(site.prf, &meta.namespace, &meta.name).to_string();
        let endpoint = Endpoint {
            netns: pod.netns(site.prf),
            node_mac: fixed(bridge::VETH_MAC_ANNOTATION).unwrap_or_else(node_mac),
            mac: names::pod_mac(site.prf, &meta.namespace, &meta.name).to_string(),
            lxc,
            ip: pod.ip,
            identity: maps::Identities::of(site.cluster).of_pod(pod),
        };
        self.connect(site.node, &endpoint)
    }

    /// The devices of the agent's own (pkg/datapath/loader/base.go: setupBaseDevice, setupVxlanDevice).
    fn devices(&self, site: Site<'_>) -> Vec<String> {
        let mtu = self.mtu;
        let name = &site.node.config.name;
        let mac = |device| names::device_mac(site.prf, name, device);
        let pair = format!(
            "cilium_host address {} mtu {mtu} type veth peer name cilium_net address {} mtu {mtu}",
            mac("cilium_host"),
            mac("cilium_net")
        );
        let mut commands = vec![format!("ip link add {pair}")];
        for dev in ["cilium_net", "cilium_host"] {
            commands.push(format!(
                "sysctl -qw net.ipv4.conf.{dev}.forwarding=1 net.ipv4.conf.{dev}.rp_filter=0 \
                 net.ipv4.conf.{dev}.accept_local=1 net.ipv4.conf.{dev}.send_redirects=0"
            ));
            commands.push(format!("ip link set {dev} arp off up"));
        }
        commands.push(format!("ip addr add {}/32 dev cilium_host", router(site.node)));
        if self.routing_mode == RoutingMode::Tunnel {
            let mac = mac("cilium_vxlan");
            commands.extend([
                format!("ip link add cilium_vxlan address {mac} mtu {mtu} type vxlan external dstport 8472"),
                "sysctl -qw net.ipv4.conf.cilium_vxlan.rp_filter=0".to_owned(),
                "ip link set cilium_vxlan up".to_owned(),
            ]);
        }
        commands
    }

    /// The ways to all pods: by cilium_host, whose program knows them (pkg/datapath/linux/node.go: updateNodeRoute); to
    /// those of other nodes, if there is a tunnel.
    fn routes(&self, site: Site<'_>) -> Vec<String> {
        let router = router(site.node);
        let own = site.node.pod_cidr;
        let by = format!("via {router} dev cilium_host proto kernel src {router}");
        let mut commands = vec![
            format!("ip route add {router} dev cilium_host proto kernel scope link"),
            format!("ip route add {own} {by}"),
        ];
        if self.routing_mode != RoutingMode::Tunnel {
            return commands;
        }
        let others = site.cluster.nodes.iter().filter(|n| n.config.name != site.node.config.name);
        let mtu = self.route_mtu();
        commands.extend(others.map(|n| format!("ip route add {} {by} mtu {mtu}", n.pod_cidr)));
        commands
    }

    fn route_mtu(&self) -> u16 {
        match self.routing_mode {
            RoutingMode::Tunnel => self.mtu.saturating_sub(TUNNEL_OVERHEAD),
            RoutingMode::Native { .. } => self.mtu,
        }
    }

    /// What the maps hold of the node itself, and of everything else.
    fn local(node: &Node) -> Vec<String> {
        let mut commands = vec!["cilium-agent update cilium_ipcache 0.0.0.0/0 identity=2".to_owned()];
        for ip in [node.ip(), router(node)] {
            let none = "00:00:00:00:00:00";
            let host = format!("id=0 sec_id={} mac={none} nodemac={none}", maps::HOST);
            commands.push(format!("cilium-agent update cilium_lxc {ip} {host}"));
            commands.push(maps::ipcache(ip, maps::HOST, None));
        }
        commands
    }

    /// The endpoint that other nodes ask whether this one can be reached (pkg/health: LaunchAsEndpoint).
    fn health_endpoint(&self, site: Site<'_>) -> Vec<String> {
        let mac = |device| names::device_mac(site.prf, &site.node.config.name, device).to_string();
        let endpoint = Endpoint {
            netns: HEALTH.to_owned(),
            lxc: "lxc_health".to_owned(),
            mac: mac("cilium"),
            node_mac: mac("lxc_health"),
            ip: health(site.node),
            identity: maps::HEALTH,
        };
        let mut commands = vec![format!("ip netns add {HEALTH}")];
        commands.extend(self.connect(site.node, &endpoint));
        commands
    }

    /// An endpoint of the node (plugins/cilium-cni/cmd: Add; pkg/endpoint: the program and the maps). Both ends are
    /// made on the node, and one moves: so their numbers are next to each other.
    fn connect(&self, node: &Node, e: &Endpoint) -> Vec<String> {
        let Endpoint { netns, lxc, mac, node_mac, ip, identity } = e;
        let (mtu, router) = (self.mtu, router(node));
        let temporary = format!("tmp{:05x}", ip.to_bits() & 0xf_ffff);
        // The endpoint's number on its node.
        let id = ip.to_bits().wrapping_sub(node.pod_cidr.network().to_bits()) as u16;
        let pair =
            format!("{lxc} address {node_mac} mtu {mtu} type veth peer name {temporary} address {mac} mtu {mtu}");
        vec![
            format!("ip link add {pair}"),
            format!("ip link set {temporary} netns {netns}"),
            format!("ip -n {netns} link set {temporary} name eth0"),
            format!("sysctl -qw net.ipv4.conf.{lxc}.rp_filter=0"),
            format!("ip link set {lxc} up"),
            format!("ip -n {netns} link set lo up"),
            format!("ip -n {netns} link set eth0 up"),
            format!("ip -n {netns} addr add {ip}/32 dev eth0"),
            format!("ip -n {netns} route add {router} dev eth0 scope link"),
            format!("ip -n {netns} route add default via {router} dev eth0 mtu {}", self.route_mtu()),
            format!(
                "cilium-agent update cilium_lxc {ip} id={id} sec_id={identity} dev={lxc} mac={mac} nodemac={node_mac}"
            ),
            maps::ipcache(*ip, *identity, None),
            self.attach(node, "tcx_ingress", "cil_from_container", lxc),
        ]
    }

    /// The programs of devices that are no endpoint's (pkg/datapath/loader/loader.go: reloadHostDatapath,
    /// replaceOverlayDatapath).
    fn programs(&self, node: &Node) -> Vec<String> {
        let network = node.config.interface.as_str();
        let mut all = Vec::new();
        if self.routing_mode == RoutingMode::Tunnel {
            all.push(("tcx_ingress", "cil_from_overlay", "cilium_vxlan"));
            all.push(("tcx_egress", "cil_to_overlay", "cilium_vxlan"));
        }
        all.push(("tcx_ingress", "cil_to_host", "cilium_host"));
        all.push(("tcx_egress", "cil_from_host", "cilium_host"));
        all.push(("tcx_ingress", "cil_to_host", "cilium_net"));
        all.push(("tcx_ingress", "cil_from_netdev", network));
        if self.kube_proxy_replacement {
            all.push(("tcx_egress", "cil_to_netdev", network));
        }
        all.into_iter().map(|(attach, program, dev)| self.attach(node, attach, program, dev)).collect()
    }

    fn attach(&self, node: &Node, attach: &str, program: &str, dev: &str) -> String {
        let routing =
            if self.host_routing() { format!(" host-routing {}", node.config.interface) } else { String::new() };
        format!("cilium-agent attach {attach} {program} dev {dev}{routing}")
    }
}

/// Somebody behind a veth pair.
struct Endpoint {
    netns: String,
    /// The node's end.
    lxc: String,
    /// The hardware address of the other end.
    mac: String,
    /// And of the node's.
    node_mac: String,
    ip: Ipv4Addr,
    identity: u32,
}

fn lxc(site: Site<'_>, pod: &PlacedPod) -> String {
    names::lxc(site.prf, &pod.meta.namespace, &pod.meta.name)
}

/// What the agent sets (pkg/datapath/loader/base.go: Reinitialize).
fn sysctls() -> Vec<String> {
    vec!["sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward=1".to_owned()]
}

/// What the kubelet's runtime finds in /etc/cni/net.d, by its path.
fn conflist() -> (String, String) {
    let text = "
{
  \"cniVersion\": \"0.3.1\",
  \"name\": \"cilium\",
  \"plugins\": [
    {
       \"type\": \"cilium-cni\",
       \"enable-debug\": false,
       \"log-file\": \"/var/run/cilium/cilium-cni.log\"
    }
  ]
}
";
    ("/etc/cni/net.d/05-cilium.conflist".to_owned(), text.to_owned())
}
