//! From a cluster to what is done on its machines: commands in the order in which a node's programs would issue them.

use super::cni::{Agent, Peer, Site};
use super::config::{Config, DetectLocalMode};
use super::kube_proxy::{DetectLocal, Ensure, LOCALNET_RULE, Options, Proxier, Version};
use super::store::{Cluster, Node, PlacedPod, Served};
use super::{kubelet, names};
use crate::base::rng::Prf;
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A packet that is to be dropped carries this bit (the kubelet's `--iptables-drop-bit 15`).
const DROP_MARK: &str = "0x8000";

/// A network namespace of a cluster and what happens in it before the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Space {
    /// Whose it is.
    pub owner: Owner,
    /// What its machine calls it.
    pub netns: String,
    /// The node, by its place in [`Cluster::nodes`].
    pub node: usize,
    /// Commands, one after the other. What several nodes run is one text.
    pub setup: Vec<Arc<str>>,
    /// Files by their paths.
    pub files: Vec<(String, String)>,
    /// Servers.
    pub servers: Vec<String>,
    /// Processes that only sleep, by their command lines.
    pub sleepers: Vec<String>,
}

/// Whose a network namespace is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// A node's.
    Node(String),
    /// A pod's, by its namespace and name.
    Pod(String, String),
}

impl Cluster {
    /// The namespaces of nodes, each followed by those of its pods. A node's commands set up its pods' namespaces too,
    /// which must be there.
    pub fn spaces(&self, prf: &Prf) -> Vec<Space> {
        let mut pods: Vec<Vec<&PlacedPod>> = vec![Vec::new(); self.nodes.len()];
        self.pods.iter().for_each(|p| pods[p.node].push(p));
        let mut shared = Shared::new(self, prf);
        let (mut spaces, istiod) = (Vec::new(), self.istiod());
        for ((n, node), pods) in self.nodes.iter().enumerate().zip(pods) {
            let (own, mut guests): (Vec<&PlacedPod>, Vec<&PlacedPod>) = pods.iter().partition(|p| p.spec.host_network);
            let mut agent = self.config.cni.agent(self.site(prf, n));
            spaces.push(Space {
                owner: Owner::Node(node.config.name.clone()),
                netns: node.config.name.clone(),
                node: n,
                files: std::mem::take(&mut agent.files),
                setup: self.node_setup(prf, n, agent, &guests, &mut shared),
                servers: own.iter().flat_map(|p| p.servers()).collect(),
                sleepers: own.iter().flat_map(|p| p.sleepers()).collect(),
            });
            // Proxies find istiod when they start.
            guests.sort_by_key(|p| !istiod.is_some_and(|istiod| std::ptr::eq(istiod, *p)));
            spaces.extend(guests.into_iter().map(|pod| self.pod_space(prf, pod)));
        }
        spaces
    }

    fn pod_space(&self, prf: &Prf, pod: &PlacedPod) -> Space {
        Space {
            owner: Owner::Pod(pod.meta.namespace.clone(), pod.meta.name.clone()),
            netns: pod.netns(prf),
            node: pod.node,
            setup: vec![],
            files: kubelet::files(self, pod),
            servers: pod.servers(),
            sleepers: pod.sleepers(),
        }
    }

    /// A node as the network plugin sees it.
    pub(super) fn site<'a>(&'a self, prf: &'a Prf, node: usize) -> Site<'a> {
        Site { cluster: self, prf, node: &self.nodes[node] }
    }

    fn node_setup(&self, prf: &Prf, n: usize, agent: Agent, pods: &[&PlacedPod], shared: &mut Shared) -> Vec<Arc<str>> {
        let (node, site) = (&self.nodes[n], self.site(prf, n));
        let mut own = network(node);
        own.extend(sysctls(&self.config, &options(&self.config, node)).map(str::to_owned));
        own.extend(agent.start);
        for pod in pods {
            own.extend(self.config.cni.add(site, pod));
            own.extend(self.init_commands(prf, pod));
        }
        own.extend(agent.ready);
        let mut commands: Vec<Arc<str>> = own.into_iter().map(Arc::from).collect();
        for (other, peer) in shared.peers.iter().enumerate().filter(|(other, _)| *other != n) {
            let near = node.config.address.contains(&self.nodes[other].ip());
            commands.extend_from_slice(if near { &peer.near } else { &peer.far });
        }
        let rules = shared.rules(self, n);
        commands.extend_from_slice(&rules.kubelet);
        commands.extend(agent.rules.into_iter().map(Arc::from));
        commands.extend_from_slice(&rules.kube_proxy);
        commands
    }

    /// What the kubelet and kube-proxy run for a node's rules.
    fn rules(&self, n: usize, served: &[Served]) -> Rules {
        let proxier = || Proxier::new(options(&self.config, &self.nodes[n]));
        let there = !self.config.cni.replaces_kube_proxy();
        let sync = there.then(|| proxier().sync(&self.backends(n, served)));
        let iptables = self.config.iptables.program();
        let version = self.config.kube_proxy.version;
        let wanted = sync.iter().flat_map(|sync| sync.ensure.clone());
        let mut kubelet = ensured(iptables, kubelet_chains(version).into_iter().chain(wanted));
        let own = kubelet_rules(version);
        kubelet.extend(own.iter().map(|(table, rule)| format!("{iptables} -w -t {table} -A {rule}")));
        let shared = |commands: Vec<String>| commands.into_iter().map(Arc::from).collect();
        let restore = sync.and_then(|sync| sync.restore_command(iptables));
        Rules { kubelet: shared(kubelet), kube_proxy: shared(restore.into_iter().collect()) }
    }
}

/// The commands for a node's rules.
struct Rules {
    /// The kubelet's own, and the chains and jumps that it and kube-proxy want to be there.
    kubelet: Vec<Arc<str>>,
    /// The Services'.
    kube_proxy: Vec<Arc<str>>,
}

/// What all nodes run, or many.
struct Shared {
    /// What the network plugin does about each node on the others.
    peers: Vec<Peer>,
    served: Vec<Served>,
    /// The commands for a node's rules, by what they depend on.
    rules: BTreeMap<View, Rules>,
}

/// What tells a node from others in kube-proxy's rules.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct View {
    zone: Option<String>,
    /// Where a Service has `loadBalancerSourceRanges`.
    ip: Option<Ipv4Addr>,
    /// Where `detectLocalMode` is NodeCIDR.
    pods: Option<Ipv4Net>,
    /// Where there are `nodePortAddresses`.
    nodeport_addresses: Option<Vec<Ipv4Addr>>,
    /// The node's own endpoints of ports with a policy Local, by their places.
    local: Vec<(usize, usize)>,
}

impl Shared {
    fn new(cluster: &Cluster, prf: &Prf) -> Shared {
        let peer = |n: usize| cluster.config.cni.peer(cluster.site(prf, n));
        let peers = (0..cluster.nodes.len()).map(peer).collect();
        Shared { peers, served: cluster.served(), rules: BTreeMap::new() }
    }

    fn rules(&mut self, cluster: &Cluster, n: usize) -> &Rules {
        let served = &self.served;
        let view = View::of(&cluster.config, &cluster.nodes[n], served);
        self.rules.entry(view).or_insert_with(|| cluster.rules(n, served))
    }
}

impl View {
    fn of(config: &Config, node: &Node, served: &[Served]) -> View {
        let proxy = &config.kube_proxy;
        let mut view = View {
            zone: zone(node),
            ip: None,
            pods: (proxy.detect_local == DetectLocalMode::NodeCidr).then_some(node.pod_cidr),
            nodeport_addresses: nodeport_addresses(config, node),
            local: Vec::new(),
        };
        for (at, s) in served.iter().enumerate() {
            if !s.port.load_balancer_source_ranges.is_empty() {
                view.ip = Some(node.ip());
            }
            if s.port.uses_local_endpoints() {
                let own = s.endpoints.iter().enumerate().filter(|(_, (_, on))| on.as_ref() == Some(&node.config.name));
                view.local.extend(own.map(|(n, _)| (at, n)));
            }
        }
        view
    }
}

fn zone(node: &Node) -> Option<String> {
    node.labels.get("topology.kubernetes.io/zone").cloned()
}

/// The commands that make what has to be there, once where several ask for it.
fn ensured(iptables: &str, all: impl Iterator<Item = Ensure>) -> Vec<String> {
    let mut commands = Vec::new();
    for one in all {
        let command = match one {
            Ensure::Chain { table, chain } => format!("{iptables} -w -t {table} -N {chain}"),
            Ensure::Rule { table, rule } => format!("{iptables} -w -t {table} -I {rule}"),
        };
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}

/// kube-proxy's options on a node. Its addresses, its pods' network and its zone tell it from others.
pub(super) fn options(config: &Config, node: &Node) -> Options {
    let proxy = &config.kube_proxy;
    let detect_local = match &proxy.detect_local {
        DetectLocalMode::ClusterCidr => DetectLocal::Cidr(proxy.cluster_cidr.unwrap_or(config.cluster_cidr)),
        DetectLocalMode::NodeCidr => DetectLocal::Cidr(node.pod_cidr),
        DetectLocalMode::BridgeInterface(bridge) => DetectLocal::Bridge(bridge.clone()),
        DetectLocalMode::InterfaceNamePrefix(prefix) => DetectLocal::InterfacePrefix(prefix.clone()),
    };
    let nodeport_addresses = nodeport_addresses(config, node);
    // Where addresses are chosen, 127.0.0.1 has to be one of them.
    let loopback = nodeport_addresses.as_ref().is_none_or(|all| all.contains(&Ipv4Addr::LOCALHOST));
    Options {
        version: proxy.version,
        masquerade_all: proxy.masquerade_all,
        localhost_nodeports: proxy.version < Version::V1_30 || proxy.localhost_node_ports && loopback,
        nodeport_addresses,
        tcp_be_liberal: proxy.tcp_be_liberal,
        zone: zone(node),
        ..Options::new(node.ip(), detect_local)
    }
}

/// The node's addresses in these networks; none if that is all of them (pkg/proxy/util/nodeport_addresses.go).
fn nodeport_addresses(config: &Config, node: &Node) -> Option<Vec<Ipv4Addr>> {
    let networks = &config.kube_proxy.node_port_addresses;
    if networks.is_empty() || networks.iter().any(|net| net.prefix_len() == 0) {
        return None;
    }
    let mut own = vec![Ipv4Addr::LOCALHOST];
    own.extend(config.cni.node_addresses(node));
    own.push(node.ip());
    Some(own.into_iter().filter(|address| networks.iter().any(|net| net.contains(address))).collect())
}

/// The node's own address and way out.
fn network(node: &Node) -> Vec<String> {
    let super::config::NodeConfig { address, interface, gateway, .. } = &node.config;
    let mut commands = vec![
        "ip link set lo up".to_owned(),
        format!("ip addr add {address} brd + dev {interface}"),
        format!("ip link set {interface} up"),
    ];
    commands.extend(gateway.map(|g| format!("ip route add default via {g}")));
    commands
}

/// What kubeadm demands, and what kube-proxy sets (pkg/proxy/iptables/proxier.go: NewProxier; cmd/kube-proxy:
/// conntrack).
fn sysctls(config: &Config, options: &Options) -> impl Iterator<Item = &'static str> {
    let proxy = !config.cni.replaces_kube_proxy();
    [
        (true, "sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1"),
        (proxy && options.localhost_nodeports, "sysctl -qw net.ipv4.conf.all.route_localnet=1"),
        (proxy, "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=86400"),
        (proxy, "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_close_wait=3600"),
        (proxy && options.tcp_be_liberal, "sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1"),
    ]
    .into_iter()
    .filter_map(|(asked, command)| asked.then_some(command))
}

/// The kubelet's own chains, and the jumps to them (pkg/kubelet/kubelet_network_linux.go). It has kube-proxy's version.
fn kubelet_chains(version: Version) -> Vec<Ensure> {
    let mut all = vec![match version {
        Version::V1_21 => Ensure::Chain { table: "nat", chain: "KUBE-MARK-DROP" },
        Version::V1_30 => Ensure::Chain { table: "mangle", chain: "KUBE-IPTABLES-HINT" },
    }];
    all.push(Ensure::Chain { table: "filter", chain: "KUBE-FIREWALL" });
    let jump = |from| Ensure::Rule { table: "filter", rule: format!("{from} -j KUBE-FIREWALL") };
    all.extend(["OUTPUT", "INPUT"].map(jump));
    all.extend(["mangle", "nat", "filter"].map(|table| Ensure::Chain { table, chain: "KUBE-KUBELET-CANARY" }));
    all
}

/// The rules in the kubelet's chains by their tables. Those for marks to drop are gone since 1.28. What it wrote before
/// in KUBE-MARK-MASQ and KUBE-POSTROUTING, kube-proxy writes over with the same.
fn kubelet_rules(version: Version) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if version < Version::V1_30 {
        let text = "kubernetes firewall for dropping marked packets";
        let drop = format!("-m comment --comment \"{text}\" -m mark --mark {DROP_MARK}/{DROP_MARK} -j DROP");
        all.push(("nat", format!("KUBE-MARK-DROP -j MARK --or-mark {DROP_MARK}")));
        all.push(("filter", format!("KUBE-FIREWALL {drop}")));
    }
    all.push(("filter", format!("KUBE-FIREWALL {LOCALNET_RULE}")));
    all
}

impl PlacedPod {
    /// What its node calls its network namespace.
    pub fn netns(&self, prf: &Prf) -> String {
        names::netns(prf, &self.meta.namespace, &self.meta.name)
    }

    /// What its containers call themselves.
    pub fn hostname(&self) -> &str {
        self.spec.hostname.as_deref().unwrap_or(&self.meta.name)
    }

    /// The programs of its containers, which share the namespace.
    pub(super) fn servers(&self) -> Vec<String> {
        self.spec.containers.iter().filter_map(kubelet::server_as).collect()
    }

    /// The pause container, which holds the namespace, and what is known of the other containers' programs that are no
    /// servers.
    fn sleepers(&self) -> Vec<String> {
        let pause = std::iter::once(kubelet::PAUSE.to_owned());
        pause.chain(self.spec.containers.iter().filter_map(kubelet::sleeper)).collect()
    }
}
