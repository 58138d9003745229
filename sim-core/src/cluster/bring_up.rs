//! From a cluster to what is done on its machines: commands in the order in which a node's programs would issue them.

use super::config::Config;
use super::kube_proxy::{DetectLocal, Ensure, LOCALNET_RULE, Options, Proxier};
use super::store::{Cluster, Node, PlacedPod};
use super::{kubelet, kubenet, names};
use crate::base::rng::Prf;

/// A network namespace of a cluster and what happens in it before the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Space {
    /// Whose it is.
    pub owner: Owner,
    /// What its machine calls it.
    pub netns: String,
    /// The node, by its place in [`Cluster::nodes`].
    pub node: usize,
    /// Commands, one after the other.
    pub setup: Vec<String>,
    /// Files by their paths.
    pub files: Vec<(String, String)>,
    /// Servers.
    pub servers: Vec<String>,
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
        let mut spaces = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let pods: Vec<&PlacedPod> = self.pods.iter().filter(|p| p.node == n).collect();
            let (own, guests): (Vec<&PlacedPod>, Vec<&PlacedPod>) = pods.iter().partition(|p| p.spec.host_network);
            spaces.push(Space {
                owner: Owner::Node(node.config.name.clone()),
                netns: node.config.name.clone(),
                node: n,
                setup: self.node_setup(prf, n, node, &guests),
                files: vec![],
                servers: own.iter().flat_map(|p| p.servers()).collect(),
            });
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
        }
    }

    fn node_setup(&self, prf: &Prf, n: usize, node: &Node, pods: &[&PlacedPod]) -> Vec<String> {
        let mut commands = network(node);
        commands.extend(sysctls().map(str::to_owned));
        commands.extend(kubenet::bridge(self, node));
        commands.extend(pods.iter().flat_map(|pod| kubenet::add(self, prf, node, pod)));
        commands.extend(kubenet::bridge_up(self, node));
        for other in self.nodes.iter().filter(|o| o.config.name != node.config.name) {
            commands.push(format!("ip route add {} via {}", other.pod_cidr, other.ip()));
        }
        let sync = Proxier::new(options(&self.config, node)).sync(&self.backends(n));
        commands.extend(ensured(kubelet_chains().into_iter().chain(sync.ensure)));
        commands.push(format!("iptables -w -t filter -A KUBE-FIREWALL {LOCALNET_RULE}"));
        commands.push(kubenet::masquerade(self));
        if let Some(text) = sync.restore {
            commands.push(format!("iptables-restore -w --noflush --counters <<EOF\n{text}EOF\n"));
        }
        commands
    }
}

/// The commands that make what has to be there, once where several ask for it.
fn ensured(all: impl Iterator<Item = Ensure>) -> Vec<String> {
    let mut commands = Vec::new();
    for one in all {
        let command = match one {
            Ensure::Chain { table, chain } => format!("iptables -w -t {table} -N {chain}"),
            Ensure::Rule { table, rule } => format!("iptables -w -t {table} -I {rule}"),
        };
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}

/// kube-proxy's options on a node.
fn options(config: &Config, node: &Node) -> Options {
    let pods = config.kube_proxy.cluster_cidr.unwrap_or(config.cluster_cidr);
    Options {
        version: config.kube_proxy.version,
        masquerade_all: config.kube_proxy.masquerade_all,
        zone: node.labels.get("topology.kubernetes.io/zone").cloned(),
        ..Options::new(node.ip(), DetectLocal::Cidr(pods))
    }
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
fn sysctls() -> [&'static str; 4] {
    [
        "sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1",
        "sysctl -qw net.ipv4.conf.all.route_localnet=1",
        "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=86400",
        "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_close_wait=3600",
    ]
}

/// The kubelet's own chains since 1.28, in which it writes [`LOCALNET_RULE`] (pkg/kubelet/kubelet_network_linux.go).
fn kubelet_chains() -> [Ensure; 5] {
    [
        Ensure::Chain { table: "mangle", chain: "KUBE-IPTABLES-HINT" },
        Ensure::Chain { table: "mangle", chain: "KUBE-KUBELET-CANARY" },
        Ensure::Chain { table: "filter", chain: "KUBE-FIREWALL" },
        Ensure::Rule { table: "filter", rule: "INPUT -j KUBE-FIREWALL".to_owned() },
        Ensure::Rule { table: "filter", rule: "OUTPUT -j KUBE-FIREWALL".to_owned() },
    ]
}

impl PlacedPod {
    /// What its node calls its network namespace.
    pub fn netns(&self, prf: &Prf) -> String {
        names::netns(prf, &self.meta.namespace, &self.meta.name)
    }

    /// What its node calls its own end of the pod's veth pair.
    pub fn veth(&self, prf: &Prf) -> String {
        let own = || names::veth(prf, &self.meta.namespace, &self.meta.name);
        self.meta.annotations.get(kubenet::VETH_ANNOTATION).cloned().unwrap_or_else(own)
    }

    /// What its containers call themselves.
    pub fn hostname(&self) -> &str {
        self.spec.hostname.as_deref().unwrap_or(&self.meta.name)
    }

    /// The programs of its containers, which share the namespace.
    fn servers(&self) -> Vec<String> {
        self.spec.containers.iter().filter_map(kubelet::server).collect()
    }
}
