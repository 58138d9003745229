//! A cluster as part of a scenario: its nodes and pods become namespaces, with the commands that make them what they
//! are; nodes that no link joins hang on a switch.

use super::diag::{Diagnostic, Diagnostics, SourceFile, quote};
use super::manifest::{Manifest, Manifests};
use super::raw::{self, Spanned};
use super::resolve::{Unreadable, file_beside};
use super::sources::Sources;
use crate::base::files::Content;
use crate::base::rng::Prf;
use crate::cluster::bring_up::{Owner, Space};
use crate::cluster::config::{Config, HairpinMode, KubeProxy, Kubenet, MAX_NODES, NodeConfig};
use crate::cluster::kube_proxy::Version;
use crate::cluster::object::Object;
use crate::cluster::store::{self, Cluster, Problem};
use crate::observe::names::{Label, Labels};
use std::net::Ipv4Addr;
use std::ops::Range;

/// The switch that joins nodes of which the scenario says nothing else.
const UNDERLAY: &str = "underlay";
/// The router behind it.
const GATEWAY: &str = "gateway";

/// What a cluster adds to a scenario.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// What the machines call the namespaces of nodes and pods, and how people do.
    pub netns: Vec<(String, Label)>,
    /// What the control plane wonders about.
    pub warnings: Diagnostics,
}

impl Expanded {
    /// What the machine calls a namespace of this name.
    pub fn netns(&self, name: &str) -> String {
        let own = self.netns.iter().find(|(_, label)| label.name == name);
        own.map_or(name, |(netns, _)| netns).to_owned()
    }

    /// The names of namespaces that are not called as their machine calls them.
    pub fn labels(&self) -> Labels {
        self.netns.iter().cloned().collect()
    }
}

/// Adds what the cluster of `raw` is made of to it.
///
/// # Errors
/// Everything that is wrong with the cluster and its objects.
pub(super) fn expand(
    sources: &dyn Sources,
    source: &SourceFile,
    raw: &mut raw::Scenario,
) -> Result<Expanded, Diagnostics> {
    let mut errors = Diagnostics::default();
    let manifests = manifests(sources, source, &raw.spec, &mut errors);
    let Some(given) = raw.spec.cluster.clone() else {
        return if errors.is_empty() { Ok(Expanded::default()) } else { Err(errors) };
    };
    let config = config(source, &given, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let prf = Prf::new(raw.spec.seed);
    let objects = &manifests.objects;
    let bare: Vec<Object> = objects.iter().map(|o| o.object.clone()).collect();
    let (cluster, problems) = Cluster::new(config, &bare, prf);
    let mut expanded = Expanded::default();
    for problem in &problems {
        let list = if problem.warning { &mut expanded.warnings } else { &mut errors };
        list.push(diagnostic(source, &given, objects, problem));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    underlay(&given, &cluster, &mut raw.spec);
    for space in cluster.spaces(&prf) {
        let node = &given.nodes[space.node];
        let label = label(&space.owner);
        raw.spec.namespaces.0.push(namespace(&space, &label, node));
        expanded.netns.push((space.netns, label));
    }
    Ok(expanded)
}

/// Where a problem is to be blamed: on a field of its object, or on the cluster's first node.
fn diagnostic(source: &SourceFile, given: &raw::Cluster, objects: &[Manifest], problem: &Problem) -> Diagnostic {
    let (source, span) = match problem.object.and_then(|n| objects.get(n)) {
        Some(o) => (o.source(), o.span(&problem.field)),
        None => (source, given.nodes.first().map_or(0..0, |n| n.name.span.clone())),
    };
    let mut d = Diagnostic::new(source, span, problem.message.clone());
    d.hint.clone_from(&problem.hint);
    d.warning = problem.warning;
    d
}

/// Reads the manifests of a scenario.
fn manifests(sources: &dyn Sources, source: &SourceFile, raw: &raw::Spec, errors: &mut Diagnostics) -> Manifests {
    let mut manifests = Manifests::default();
    for item in &raw.manifests {
        let file = match item {
            raw::ManifestItem::Inline(object) => {
                manifests.add(source, object.0.clone(), errors);
                continue;
            }
            raw::ManifestItem::File(file) => file,
        };
        match file_beside(sources, source, &file.value) {
            Ok(file) => manifests.add_file(&file, errors),
            Err(Unreadable { message, hint }) => {
                let mut d = Diagnostic::new(source, file.span.clone(), message);
                d.hint = hint;
                errors.push(d);
            }
        }
    }
    manifests
}

fn label(owner: &Owner) -> Label {
    match owner {
        Owner::Node(name) => Label { name: name.clone(), folder: format!("nodes/{name}") },
        Owner::Pod(namespace, name) => {
            Label { name: format!("pod/{namespace}/{name}"), folder: format!("pods/{namespace}/{name}") }
        }
    }
}

/// The settings, with kubeadm's where there is none.
fn config(source: &SourceFile, given: &raw::Cluster, errors: &mut Diagnostics) -> Config {
    let mut config = Config::new(given.nodes.iter().map(node).collect());
    let raw::Cluster { nodes, cluster_cidr, service_cidr, node_port_range, cluster_domain, cni, kube_proxy, dns } =
        given;
    if let Some(net) = cluster_cidr {
        config.cluster_cidr = net.value.0;
    }
    if let Some(net) = service_cidr {
        config.service_cidr = net.value.0;
    }
    if let Some(range) = node_port_range {
        config.node_ports = range.value.first..=range.value.last;
    }
    if let Some(domain) = cluster_domain {
        config.domain.clone_from(&domain.value);
    }
    let tenth = Ipv4Addr::from_bits(config.service_cidr.network().to_bits() + 10);
    config.dns_ip = dns.as_ref().and_then(|d| d.cluster_ip.as_ref()).map_or(tenth, |ip| ip.value);
    config.cni = cni.as_ref().map_or_else(Kubenet::default, kubenet);
    if let Some(proxy) = kube_proxy {
        config.kube_proxy = KubeProxy {
            version: match proxy.version {
                Some(raw::ProxyVersion::V1_21) => Version::V1_21,
                Some(raw::ProxyVersion::V1_30) | None => Version::V1_30,
            },
            cluster_cidr: proxy.cluster_cidr.as_ref().map(|net| net.value.0),
            masquerade_all: proxy.masquerade_all,
        };
    }
    check(source, nodes, &config, errors);
    config
}

/// Nodes have names and addresses of their own, and the cluster's networks lie apart.
fn check(source: &SourceFile, nodes: &[raw::ClusterNode], config: &Config, errors: &mut Diagnostics) {
    if nodes.len() > MAX_NODES {
        let span = nodes[MAX_NODES].name.span.clone();
        let message = format!("{} nodes are too many: at most {MAX_NODES}", nodes.len());
        errors.push(Diagnostic::new(source, span, message));
        return;
    }
    for (n, node) in nodes.iter().enumerate() {
        if nodes[..n].iter().any(|other| other.name.value == node.name.value) {
            let message = format!("there are two nodes called {}", quote(&node.name.value.0));
            errors.push(Diagnostic::new(source, node.name.span.clone(), message));
        }
        let ip = node.address.value.0.addr();
        if nodes[..n].iter().any(|other| other.address.value.0.addr() == ip) {
            errors.push(Diagnostic::new(source, node.address.span.clone(), format!("two nodes have the address {ip}")));
        }
        for (what, net) in [("pods", config.cluster_cidr), ("Services", config.service_cidr)] {
            if net.contains(&ip) {
                let message = format!("the node's address lies in {net}, the network of the {what}");
                errors.push(Diagnostic::new(source, node.address.span.clone(), message));
            }
        }
    }
    let (pods, services) = (config.cluster_cidr, config.service_cidr);
    if pods.contains(&services) || services.contains(&pods) {
        let span = nodes.first().map_or(0..0, |n| n.name.span.clone());
        let message = format!("the networks of pods and Services overlap: {pods} and {services}");
        let hint = "set `clusterCIDR` or `serviceCIDR`";
        errors.push(Diagnostic::new(source, span, message).hint(hint));
    }
}

fn node(node: &raw::ClusterNode) -> NodeConfig {
    let address = node.address.value.0;
    let first = store::offset(address, 1);
    let gateway = node.gateway.as_ref().map_or(Some(first).filter(|g| *g != address.addr()), |g| Some(g.value));
    NodeConfig {
        name: node.name.value.0.clone(),
        address,
        interface: node.interface().to_owned(),
        gateway,
        pod_cidr: node.pod_cidr.as_ref().map(|net| net.value.0),
    }
}

fn kubenet(cni: &raw::Cni) -> Kubenet {
    let raw::Cni { plugin: raw::Plugin::Kubenet, bridge, mtu, hairpin_mode, non_masquerade_cidr } = cni;
    let default = Kubenet::default();
    Kubenet {
        bridge: bridge.as_ref().map_or(default.bridge, |b| b.value.clone()),
        mtu: mtu.as_ref().map_or(default.mtu, |m| m.value.0),
        hairpin: match hairpin_mode {
            Some(raw::HairpinMode::HairpinVeth) => HairpinMode::HairpinVeth,
            Some(raw::HairpinMode::PromiscuousBridge) => HairpinMode::PromiscuousBridge,
            Some(raw::HairpinMode::None) => HairpinMode::None,
            None => default.hairpin,
        },
        non_masquerade_cidr: non_masquerade_cidr.as_ref().map_or(default.non_masquerade_cidr, |n| n.value.0),
    }
}

/// Joins the nodes that no link joins by a switch, with a router at the nodes' gateway if the scenario has none.
fn underlay(given: &raw::Cluster, cluster: &Cluster, spec: &mut raw::Spec) {
    let linked = |name: &str, interface: &str| {
        let mut ends = spec.links.iter().flat_map(|l| &l.between);
        ends.any(|end| end.value.namespace == name && end.value.name == interface)
    };
    let loose: Vec<usize> = (0..cluster.nodes.len())
        .filter(|n| !linked(&cluster.nodes[*n].config.name, &cluster.nodes[*n].config.interface))
        .collect();
    let Some(first) = loose.first() else { return };
    let span = given.nodes[*first].name.span.clone();
    let named = |name: &str| Spanned { value: name.to_owned(), span: span.clone() };
    let has_routers = !spec.routers.0.is_empty();
    if !spec.switches.0.iter().any(|(name, _)| name.value == UNDERLAY) {
        spec.switches.0.push((named(UNDERLAY), raw::Switch::default()));
    }
    for n in &loose {
        let NodeConfig { name, interface, .. } = &cluster.nodes[*n].config;
        spec.links.push(link((name, interface), (UNDERLAY, name), &given.nodes[*n].name.span));
    }
    let gateway = cluster.nodes[*first].config.gateway.filter(|_| !has_routers);
    if let Some(gateway) = gateway {
        let prefix = cluster.nodes[*first].config.address.prefix_len();
        let addresses = vec![named(&format!("{gateway}/{prefix} dev eth0"))];
        let route = |n: &store::Node| named(&format!("{} via {}", n.pod_cidr, n.ip()));
        let routes = cluster.nodes.iter().map(route).collect();
        spec.routers.0.push((named(GATEWAY), raw::Router { addresses, routes, setup: vec![] }));
        spec.links.push(link((GATEWAY, "eth0"), (UNDERLAY, GATEWAY), &span));
    }
}

fn link(a: (&str, &str), b: (&str, &str), span: &Range<usize>) -> raw::Link {
    let end = |(namespace, name): (&str, &str)| {
        // A port of a switch has the name of who is behind it, as far as an interface's name can be that long.
        let name = name.chars().take(raw::MAX_INTERFACE_LEN).collect();
        Spanned { value: raw::Interface { namespace: namespace.to_owned(), name }, span: span.clone() }
    };
    raw::Link { between: vec![end(a), end(b)], latency: None, rate: None, queue: None, loss: None }
}

/// A namespace as if the scenario had written it out; what goes wrong is said of its node.
fn namespace(space: &Space, label: &Label, node: &raw::ClusterNode) -> raw::Namespace {
    let span = &node.name.span;
    let at = |value: &String| Spanned { value: value.clone(), span: span.clone() };
    let file = |(path, text): &(String, String)| {
        (path.clone(), raw::FileBody { content: Content::Text(text.clone()), mtime: None })
    };
    let body = raw::NamespaceBody {
        machine: Some(node.name.clone()),
        profile: None,
        setup_file: None,
        setup: space.setup.iter().map(at).collect(),
        files: raw::FileMap(space.files.iter().map(file).collect()),
        servers: space.servers.iter().map(at).collect(),
    };
    raw::Namespace { name: at(&label.name), body }
}
