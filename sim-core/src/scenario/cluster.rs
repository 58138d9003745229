//! A cluster as part of a scenario: its nodes and pods become namespaces, with the commands that make them what they
//! are; nodes that no link joins hang on switches, with a router between them.

use super::control::label;
use super::diag::{Diagnostic, Diagnostics, SourceFile, nearest, quote};
use super::manifest::{Manifest, Manifests, PassedOver};
use super::raw::{self, Spanned};
use super::resolve::{Unreadable, file_beside};
use super::sources::Sources;
use crate::base::rng::Prf;
use crate::cluster::bring_up::Space;
use crate::cluster::cni::Plugin;
use crate::cluster::config::{Config, DetectLocalMode, KubeProxy, MAX_NODES, NodeConfig};
use crate::cluster::istio::{self, Istio};
use crate::cluster::kube_proxy::{DEFAULT_MIN_SYNC_PERIOD_NS, Version};
use crate::cluster::object::{Meta, Object};
use crate::cluster::store::{self, Cluster, Problem};
use crate::kernel::netfilter::Backend;
use crate::observe::names::{Label, Labels};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;

/// The switch that joins nodes of which the scenario says nothing else; those of more networks have numbers behind it.
const UNDERLAY: &str = "underlay";
/// The router behind the switches.
const GATEWAY: &str = "gateway";

/// What a cluster adds to a scenario.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// The namespaces of nodes and pods, by their names.
    pub spaces: BTreeMap<String, Added>,
    /// What the control plane wonders about.
    pub warnings: Diagnostics,
    /// What manifests have that does nothing, a line for each object.
    pub without_effect: Vec<String>,
    /// The cluster and the objects that it was made of; none if there is none.
    pub cluster: Option<(Cluster, Vec<Manifest>)>,
}

/// The namespace of a node or a pod.
#[derive(Debug)]
pub(super) struct Added {
    /// What its machine calls it.
    pub netns: String,
    /// How people do.
    pub label: Label,
    /// The commands that set it up. What goes wrong with them is said of its node.
    pub bring_up: Vec<Arc<str>>,
}

impl Expanded {
    /// What the machine calls a namespace of this name.
    pub fn netns(&self, name: &str) -> String {
        self.spaces.get(name).map_or(name, |space| &space.netns).to_owned()
    }

    /// The names of namespaces that are not called as their machine calls them.
    pub fn labels(&self) -> Labels {
        self.spaces.values().map(|space| (space.netns.clone(), space.label.clone())).collect()
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
        check_pods(source, &raw.spec.namespaces.0, &Expanded::default(), &mut errors);
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
    let mut expanded = Expanded { without_effect: without_effect(&manifests), ..Expanded::default() };
    for problem in &problems {
        let list = if problem.warning { &mut expanded.warnings } else { &mut errors };
        list.push(diagnostic(source, &given, objects, problem));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    underlay(&given, &cluster, &mut raw.spec);
    let (own, mut added) = (&mut raw.spec.namespaces.0, vec![]);
    for space in cluster.spaces(&prf) {
        let node = &given.nodes[space.node];
        let label = label(&space.owner);
        let own = own.iter().position(|n| n.name.value == label.name).map(|at| own.remove(at));
        added.push(namespace(source, &space, &label, node, own, &mut errors));
        let Space { netns, setup: bring_up, .. } = space;
        expanded.spaces.insert(label.name.clone(), Added { netns, label, bring_up });
    }
    check_pods(source, own, &expanded, &mut errors);
    own.append(&mut added);
    expanded.cluster = Some((cluster, manifests.objects));
    if errors.is_empty() { Ok(expanded) } else { Err(errors) }
}

/// Of what the scenario says something, and what is no part of the cluster, nothing is a pod.
fn check_pods(source: &SourceFile, rest: &[raw::Namespace], expanded: &Expanded, errors: &mut Diagnostics) {
    let pods = || expanded.spaces.keys().map(String::as_str).filter(|n| n.starts_with(raw::POD));
    for n in rest.iter().filter(|n| n.name.value.starts_with(raw::POD)) {
        let hint = match nearest(&n.name.value, pods()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a pod's manifest stands in `spec.manifests`".to_owned(),
        };
        let message = format!("there is no pod {}", quote(&n.name.value[raw::POD.len()..]));
        errors.push(Diagnostic::new(source, n.name.span.clone(), message).hint(hint));
    }
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
        manifest(sources, source, item, &mut manifests, errors);
    }
    manifests
}

/// Reads a file of manifests, or an object that stands in the scenario.
pub(super) fn manifest(
    sources: &dyn Sources,
    source: &SourceFile,
    item: &raw::ManifestItem,
    manifests: &mut Manifests,
    errors: &mut Diagnostics,
) {
    let (file, namespace) = match item {
        raw::ManifestItem::Inline(object) => return manifests.add(source, object.0.clone(), None, errors),
        raw::ManifestItem::File(file) => (file, None),
        raw::ManifestItem::Applied(raw::AppliedFile { file, namespace }) => (file, Some(namespace.value.0.as_str())),
    };
    match file_beside(sources, source, &file.value) {
        Ok(file) => manifests.add_file(&file, namespace, errors),
        Err(Unreadable { message, hint }) => {
            let mut d = Diagnostic::new(source, file.span.clone(), message);
            d.hint = hint;
            errors.push(d);
        }
    }
}

/// The fields that have no effect, and the objects that others have made.
fn without_effect(manifests: &Manifests) -> Vec<String> {
    let fields = |m: &Manifest| {
        let Meta { namespace, name, .. } = m.object.meta();
        let within = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        format!("{}: {} {within}{name}: {}", m.source().path(), m.object.kind(), m.without_effect.join(", "))
    };
    let passed_over =
        |p: &PassedOver| format!("{} {}: what it does, {} {} does here", p.kind, p.name, p.owner.kind, p.owner.name);
    let fields = manifests.objects.iter().filter(|m| !m.without_effect.is_empty()).map(fields);
    fields.chain(manifests.passed_over.iter().map(passed_over)).collect()
}

/// The settings, with kubeadm's where there is none.
fn config(source: &SourceFile, given: &raw::Cluster, errors: &mut Diagnostics) -> Config {
    let mut config = Config::new(given.nodes.iter().map(node).collect());
    let raw::Cluster {
        nodes,
        cluster_cidr,
        service_cidr,
        node_port_range,
        cluster_domain,
        iptables,
        cni,
        kube_proxy,
        dns,
        istio,
    } = given;
    config.iptables = match iptables {
        Some(raw::Iptables::Legacy) => Backend::Legacy,
        Some(raw::Iptables::Nft) | None => Backend::Nft,
    };
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
    config.core_dns = dns.as_ref().is_none_or(|d| d.enabled.unwrap_or(true));
    config.cni = cni.as_ref().map_or_else(Plugin::default, raw::Cni::settings);
    if let Some(proxy) = kube_proxy {
        config.kube_proxy = proxy_config(proxy, &config.cni);
    }
    config.istio = istio.as_ref().map(istio_config);
    check(source, nodes, &config, errors);
    config
}

fn istio_config(given: &raw::Istio) -> Istio {
    let raw::Istio { version, mtls } = given;
    Istio {
        version: match version {
            Some(raw::IstioVersion::V1_13) | None => istio::Version::V1_13,
            Some(raw::IstioVersion::V1_30) => istio::Version::V1_30,
        },
        mtls: match mtls {
            Some(raw::IstioMtls::Permissive) | None => istio::Mtls::Permissive,
            Some(raw::IstioMtls::Strict) => istio::Mtls::Strict,
            Some(raw::IstioMtls::Disable) => istio::Mtls::Disable,
        },
    }
}

fn proxy_config(given: &raw::KubeProxy, cni: &Plugin) -> KubeProxy {
    let raw::KubeProxy {
        mode: None | Some(raw::ProxyMode::Iptables),
        version,
        cluster_cidr,
        masquerade_all,
        detect_local_mode,
        bridge_interface,
        interface_name_prefix,
        node_port_addresses,
        localhost_node_ports,
        tcp_be_liberal,
        min_sync_period,
    } = given;
    let or = |given: &Option<Spanned<String>>, own: &str| given.as_ref().map_or(own, |name| &name.value).to_owned();
    KubeProxy {
        version: match version {
            Some(raw::ProxyVersion::V1_21) => Version::V1_21,
            Some(raw::ProxyVersion::V1_30) | None => Version::V1_30,
        },
        cluster_cidr: cluster_cidr.as_ref().map(|net| net.value.0),
        detect_local: match detect_local_mode {
            Some(raw::DetectLocalMode::ClusterCidr) | None => DetectLocalMode::ClusterCidr,
            Some(raw::DetectLocalMode::NodeCidr) => DetectLocalMode::NodeCidr,
            Some(raw::DetectLocalMode::BridgeInterface) => {
                DetectLocalMode::BridgeInterface(or(bridge_interface, cni.bridge().unwrap_or_default()))
            }
            Some(raw::DetectLocalMode::InterfaceNamePrefix) => {
                DetectLocalMode::InterfaceNamePrefix(or(interface_name_prefix, cni.interface_prefix()))
            }
        },
        masquerade_all: *masquerade_all,
        localhost_node_ports: *localhost_node_ports,
        node_port_addresses: node_port_addresses.iter().map(|net| net.value.0).collect(),
        tcp_be_liberal: *tcp_be_liberal,
        min_sync_period_ns: min_sync_period.as_ref().map_or(DEFAULT_MIN_SYNC_PERIOD_NS, |p| p.value.0),
    }
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
    if config.kube_proxy.detect_local == DetectLocalMode::BridgeInterface(String::new()) {
        let span = nodes.first().map_or(0..0, |n| n.name.span.clone());
        let message = "the network plugin has no bridge by which pods' packets come in".to_owned();
        let hint = "name one in `bridgeInterface`, or take another `detectLocalMode`";
        errors.push(Diagnostic::new(source, span, message).hint(hint));
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

/// Joins the nodes that no link joins: those of each network by a switch, and the switches by a router that has the
/// nodes' gateways, unless the scenario has routers. One that it calls `gateway` and does not join to anything is that
/// router, with more of its own.
fn underlay(given: &raw::Cluster, cluster: &Cluster, spec: &mut raw::Spec) {
    let joined: BTreeSet<(&str, &str)> =
        spec.links.iter().flat_map(|l| &l.between).map(|end| (&*end.value.namespace, &*end.value.name)).collect();
    let mut networks: Vec<(Ipv4Net, Vec<usize>)> = Vec::new();
    for (n, node) in cluster.nodes.iter().enumerate() {
        let NodeConfig { name, interface, address, .. } = &node.config;
        if joined.contains(&(name, interface)) {
            continue;
        }
        match networks.iter_mut().find(|(network, _)| *network == address.trunc()) {
            Some((_, nodes)) => nodes.push(n),
            None => networks.push((address.trunc(), vec![n])),
        }
    }
    let Some(first) = networks.first().map(|(_, nodes)| nodes[0]) else { return };
    let span = given.nodes[first].name.span.clone();
    let own_router = spec.routers.0.iter().position(|(name, _)| name.value == GATEWAY);
    let has_router = match own_router {
        Some(_) => joined.iter().any(|(namespace, _)| *namespace == GATEWAY),
        None => !spec.routers.0.is_empty(),
    };
    let named = |name: &str| Spanned { value: name.to_owned(), span: span.clone() };
    let mut router = raw::Router::default();
    let mut router_links = Vec::new();
    for (number, (network, nodes)) in networks.iter().enumerate() {
        let switch = if number == 0 { UNDERLAY.to_owned() } else { format!("{UNDERLAY}-{}", number + 1) };
        if !spec.switches.0.iter().any(|(name, _)| name.value == switch) {
            spec.switches.0.push((named(&switch), raw::Switch::default()));
        }
        for n in nodes {
            let NodeConfig { name, interface, .. } = &cluster.nodes[*n].config;
            spec.links.push(link((name, interface), (&switch, name), &given.nodes[*n].name.span));
        }
        // A node may be the others' gateway itself.
        let mut gateways = nodes.iter().filter_map(|n| cluster.nodes[*n].config.gateway);
        if let Some(gateway) = gateways.find(|g| cluster.nodes.iter().all(|node| node.ip() != *g)) {
            let interface = format!("eth{}", router.addresses.len());
            router.addresses.push(named(&format!("{gateway}/{} dev {interface}", network.prefix_len())));
            router_links.push(link((GATEWAY, &interface), (&switch, GATEWAY), &span));
        }
    }
    if has_router || router.addresses.is_empty() {
        return;
    }
    let told = cluster.nodes.iter().filter(|_| cluster.config.cni.needs_routes());
    router.routes = told.map(|n| named(&format!("{} via {}", n.pod_cidr, n.ip()))).collect();
    spec.links.append(&mut router_links);
    match own_router {
        Some(at) => {
            let own = &mut spec.routers.0[at].1;
            own.addresses.splice(0..0, router.addresses);
            own.routes.splice(0..0, router.routes);
        }
        None => spec.routers.0.push((named(GATEWAY), router)),
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

/// A namespace as if the scenario had written it out, with what it says of it besides; what goes wrong with the
/// cluster's own part is said of its node.
fn namespace(
    source: &SourceFile,
    space: &Space,
    label: &Label,
    node: &raw::ClusterNode,
    own: Option<raw::Namespace>,
    errors: &mut Diagnostics,
) -> raw::Namespace {
    let span = &node.name.span;
    let at = |value: &String| Spanned { value: value.clone(), span: span.clone() };
    let file = |(path, text): &(String, String)| (path.clone(), raw::FileBody::text(text.clone()));
    let (name, own) = own.map_or_else(|| (at(&label.name), raw::NamespaceBody::default()), |n| (n.name, n.body));
    if let Some(machine) = own.machine.filter(|m| m.value != node.name.value) {
        let message = format!("{} is on the machine of its node, {}", quote(&label.name), quote(&node.name.value.0));
        errors.push(Diagnostic::new(source, machine.span, message).hint("leave `machine` out"));
    }
    let body = raw::NamespaceBody {
        machine: Some(node.name.clone()),
        files: raw::FileMap(space.files.iter().map(file).chain(own.files.0).collect()),
        servers: space.servers.iter().map(at).chain(own.servers).collect(),
        profile: own.profile,
        setup_file: own.setup_file,
        setup: own.setup,
        sleepers: space.sleepers.clone(),
    };
    raw::Namespace { name, body }
}
