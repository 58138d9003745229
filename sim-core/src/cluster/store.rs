//! The control plane: what the API server, the scheduler and the controllers make of the objects that they are given.
//! What nobody has fixed is chosen here, each choice by the object's own name, so that one more object changes no
//! other's.
//!
//! * Pods come in the order of the objects; a Deployment's where it stands. An unpinned pod goes to the node with the
//!   fewest pods, the first of them (a simple scheduler: neither resources nor affinities count).
//! * Cluster IPs and node ports are drawn from the upper bands of their ranges (KEP-3070, KEP-3668), and the next free
//!   one is taken.
//! * Pods have the addresses of their node's network in turn (the plugin host-local).

use super::config::{Config, NodeConfig};
use super::kube_proxy::{Backend, Endpoint, PortName, Protocol, ServicePort as ProxyPort, TrafficPolicy};
use super::names;
use super::object::{
    ClusterIp, EndpointAddress, EndpointPort, EndpointSlice, Labels, Meta, Object, Pod, PodSpec, PortRef, Service,
    ServiceKind, ServicePort, Workload, WorkloadKind, selects,
};
use crate::base::rng::{Prf, Purpose};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What is wrong with an object, or worth a warning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which, by its place in the list that was given; none for the cluster's settings.
    pub object: Option<usize>,
    /// The field to blame, from the object's top: `spec.clusterIP`.
    pub field: String,
    /// What is wrong, as the API server says it where it does.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// It is allowed all the same.
    pub warning: bool,
}

/// A cluster in which everything is decided.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What was asked for.
    pub config: Config,
    /// In the order of the settings.
    pub nodes: Vec<Node>,
    /// In the order in which they were made.
    pub pods: Vec<PlacedPod>,
    /// With their addresses, by namespace and name.
    pub services: BTreeMap<(String, String), Service>,
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// ConfigMaps' data by namespace and name.
    pub config_maps: BTreeMap<(String, String), Labels>,
    /// Endpoints that no selector makes.
    slices: Vec<EndpointSlice>,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its machine.
    pub config: NodeConfig,
    /// Its pods' network.
    pub pod_cidr: Ipv4Net,
    /// Its labels.
    pub labels: Labels,
}

impl Node {
    /// The bridge's address: the first of the pods' network.
    pub fn pod_gateway(&self) -> Ipv4Addr {
        offset(self.pod_cidr, 1)
    }

    /// The node's own address.
    pub fn ip(&self) -> Ipv4Addr {
        self.config.address.addr()
    }
}

/// A pod with a node and an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedPod {
    /// The object that it comes from, by its place in the list.
    pub object: usize,
    /// Its `metadata`.
    pub meta: Meta,
    /// What it is made of.
    pub spec: PodSpec,
    /// Its node, by its place in [`Cluster::nodes`].
    pub node: usize,
    /// Its address.
    pub ip: Ipv4Addr,
}

/// Builds a cluster; how it goes wrong stands in `problems`.
struct Admission<'a> {
    prf: Prf,
    problems: &'a mut Vec<Problem>,
}

impl Cluster {
    /// Takes objects in, in this order. The cluster is whole even where there are problems, but for what they are
    /// about.
    pub fn new(config: Config, objects: &[Object], prf: Prf) -> (Cluster, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut admission = Admission { prf, problems: &mut problems };
        let nodes = admission.nodes(&config, objects);
        let mut cluster = Cluster {
            config,
            nodes,
            pods: Vec::new(),
            services: BTreeMap::new(),
            namespaces: ["default", "kube-node-lease", "kube-public", "kube-system"].map(str::to_owned).into(),
            config_maps: BTreeMap::new(),
            slices: Vec::new(),
        };
        admission.names(objects);
        cluster.namespaces.extend(objects.iter().map(|o| o.meta().namespace.clone()).filter(|n| !n.is_empty()));
        for object in objects {
            match object {
                Object::Namespace(meta) => drop(cluster.namespaces.insert(meta.name.clone())),
                Object::Endpoints(endpoints) => cluster.slices.extend(endpoints.mirrored()),
                Object::EndpointSlice(slice) => cluster.slices.push(slice.clone()),
                Object::ConfigMap(map) => {
                    cluster.config_maps.insert((map.meta.namespace.clone(), map.meta.name.clone()), map.data.clone());
                }
                _ => {}
            }
        }
        admission.pods(&mut cluster, objects);
        admission.services(&mut cluster, objects);
        (cluster, problems)
    }

    /// The EndpointSlice controller: who serves a Service.
    pub fn endpoints(&self, service: &Service) -> Vec<EndpointSlice> {
        let Some(selector) = &service.selector else {
            let Meta { namespace, name, .. } = &service.meta;
            let own = |s: &&EndpointSlice| s.meta.namespace == *namespace && s.service.as_ref() == Some(name);
            return self.slices.iter().filter(own).cloned().collect();
        };
        let chosen = |p: &&PlacedPod| {
            p.meta.namespace == service.meta.namespace && !selector.is_empty() && selects(selector, &p.meta.labels)
        };
        self.pods.iter().filter(chosen).map(|pod| self.endpoint_slice(service, pod)).collect()
    }

    /// The part of a Service's endpoints that is one pod: a port that the pod does not name is left out.
    fn endpoint_slice(&self, service: &Service, pod: &PlacedPod) -> EndpointSlice {
        let port = |p: &ServicePort| {
            let port = target_port(p, &pod.spec)?;
            Some(EndpointPort { name: p.name.clone(), protocol: p.protocol, port })
        };
        let named = pod.spec.subdomain.as_ref() == Some(&service.meta.name);
        let address = EndpointAddress {
            ip: pod.ip,
            hostname: pod.spec.hostname.clone().filter(|_| named),
            node_name: Some(self.nodes[pod.node].config.name.clone()),
            ready: true,
            serving: true,
            terminating: false,
            for_zones: Vec::new(),
            target: Some((pod.meta.namespace.clone(), pod.meta.name.clone())),
        };
        EndpointSlice {
            meta: Meta { namespace: service.meta.namespace.clone(), ..Meta::default() },
            service: Some(service.meta.name.clone()),
            ports: service.ports.iter().filter_map(port).collect(),
            endpoints: vec![address],
        }
    }

    /// What kube-proxy on a node is told: each port of each Service that has a cluster IP.
    pub fn backends(&self, node: usize) -> Vec<Backend> {
        let mut all = Vec::new();
        for service in self.services.values() {
            let ClusterIp::Fixed(cluster_ip) = service.cluster_ip else { continue };
            let slices = self.endpoints(service);
            for port in &service.ports {
                let endpoints = slices.iter().flat_map(|s| self.proxy_endpoints(s, port, node)).collect();
                all.push(Backend { port: proxy_port(service, port, cluster_ip), endpoints });
            }
        }
        all
    }

    fn proxy_endpoints(&self, slice: &EndpointSlice, port: &ServicePort, node: usize) -> Vec<Endpoint> {
        let Some(target) = slice.ports.iter().find(|p| p.name == port.name) else { return Vec::new() };
        let one = |e: &EndpointAddress| Endpoint {
            ip: e.ip,
            port: target.port,
            local: e.node_name.as_ref() == Some(&self.nodes[node].config.name),
            ready: e.ready,
            serving: e.serving,
            terminating: e.terminating,
            for_zones: e.for_zones.clone(),
        };
        slice.endpoints.iter().map(one).collect()
    }
}

/// Where a pod is asked for a Service's port (`FindPort`).
fn target_port(port: &ServicePort, pod: &PodSpec) -> Option<u16> {
    match &port.target_port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => {
            let mut ports = pod.containers.iter().flat_map(|c| &c.ports);
            ports.find(|p| p.name == *name && p.protocol == port.protocol).map(|p| p.container_port)
        }
    }
}

fn proxy_port(service: &Service, port: &ServicePort, cluster_ip: Ipv4Addr) -> ProxyPort {
    let Meta { namespace, name, .. } = &service.meta;
    let name = PortName { namespace: namespace.clone(), service: name.clone(), port: port.name.clone() };
    ProxyPort {
        name,
        protocol: port.protocol,
        cluster_ip,
        port: port.port,
        node_port: port.node_port,
        external_ips: service.external_ips.clone(),
        load_balancer_ips: service.load_balancer_ips.clone(),
        load_balancer_source_ranges: service.load_balancer_source_ranges.clone(),
        affinity_s: service.affinity_s,
        internal_policy: service.internal_policy,
        external_policy: service.external_policy,
        health_check_node_port: service.health_check_node_port,
    }
}

impl Admission<'_> {
    fn problem(&mut self, object: Option<usize>, field: &str, message: String, hint: Option<&str>) {
        let (hint, field) = (hint.map(str::to_owned), field.to_owned());
        self.problems.push(Problem { object, field, message, hint, warning: false });
    }

    fn warn(&mut self, object: usize, field: &str, message: String, hint: &str) {
        let (hint, field) = (Some(hint.to_owned()), field.to_owned());
        self.problems.push(Problem { object: Some(object), field, message, hint, warning: true });
    }

    /// No two objects of a kind have one name.
    fn names(&mut self, objects: &[Object]) {
        let mut seen = BTreeSet::new();
        for (n, object) in objects.iter().enumerate() {
            let meta = object.meta();
            if !seen.insert((object.kind(), &meta.namespace, &meta.name)) {
                let message = format!("{} \"{}\" already exists", resource(object.kind()), meta.name);
                self.problem(Some(n), "metadata.name", message, Some("each object of a kind needs a name of its own"));
            }
        }
    }

    /// The nodes, each with a network for its pods.
    fn nodes(&mut self, config: &Config, objects: &[Object]) -> Vec<Node> {
        let object = |name: &str| {
            let own = |o: &&Object| matches!(o, Object::Node(n) if n.meta.name == name);
            objects.iter().find(own)
        };
        let asked = |n: &NodeConfig| match object(&n.name) {
            Some(Object::Node(o)) => n.pod_cidr.or(o.pod_cidr),
            _ => n.pod_cidr,
        };
        let mut taken: Vec<Ipv4Net> = config.nodes.iter().filter_map(asked).collect();
        for (n, net) in taken.iter().enumerate() {
            if let Some(other) = taken[..n].iter().find(|other| overlap(other, net)) {
                let message = format!("two nodes' pod CIDRs overlap: {other} and {net}");
                self.problem(None, "nodes", message, Some("each node's pods need a network of their own"));
            }
        }
        let mut nodes = Vec::new();
        for node in &config.nodes {
            let pod_cidr = asked(node).or_else(|| {
                let free = config.cluster_cidr.subnets(24).ok()?.find(|net| !taken.iter().any(|t| overlap(t, net)))?;
                taken.push(free);
                Some(free)
            });
            let Some(pod_cidr) = pod_cidr else {
                let message = format!("{} has no /24 left for the pods of {}", config.cluster_cidr, node.name);
                self.problem(None, "clusterCIDR", message, Some("a larger network, or fewer nodes"));
                continue;
            };
            let labels = object(&node.name).map_or_else(Labels::new, |o| o.meta().labels.clone());
            nodes.push(Node { config: node.clone(), pod_cidr, labels });
        }
        for (n, o) in objects.iter().enumerate() {
            if matches!(o, Object::Node(node) if !config.nodes.iter().any(|c| c.name == node.meta.name)) {
                let message = format!("the cluster has no node \"{}\"", o.meta().name);
                self.problem(Some(n), "metadata.name", message, Some("name it in `spec.cluster.nodes`"));
            }
        }
        nodes
    }

    /// Makes the pods, finds each a node and an address.
    fn pods(&mut self, cluster: &mut Cluster, objects: &[Object]) {
        let mut wanted: Vec<(usize, Pod)> = Vec::new();
        for (n, object) in objects.iter().enumerate() {
            match object {
                Object::Pod(pod) => wanted.push((n, pod.clone())),
                Object::Workload(w) => wanted.extend(self.replicas(w, &cluster.nodes).into_iter().map(|p| (n, p))),
                _ => {}
            }
        }
        let mut addresses = Addresses::new(&cluster.nodes, &wanted);
        let mut load = vec![0; cluster.nodes.len()];
        for (object, pod) in wanted {
            let Some(node) = self.schedule(object, &pod, &cluster.nodes, &load) else { continue };
            load[node] += 1;
            let ip = match (pod.spec.host_network, pod.pod_ip) {
                (true, _) => Some(cluster.nodes[node].ip()),
                (false, Some(ip)) => self.pinned(object, ip, &cluster.nodes[node], &mut addresses),
                (false, None) => addresses.next(node, &cluster.nodes[node]),
            };
            match ip {
                Some(ip) => cluster.pods.push(PlacedPod { object, meta: pod.meta, spec: pod.spec, node, ip }),
                None if pod.pod_ip.is_some() => {}
                None => {
                    let message =
                        format!("no address is left in {} for pod {}", cluster.nodes[node].pod_cidr, pod.meta.name);
                    self.problem(
                        Some(object),
                        "metadata.name",
                        message,
                        Some("a larger podCIDR, or fewer pods on the node"),
                    );
                }
            }
        }
    }

    /// The pods of a workload.
    fn replicas(&self, w: &Workload, nodes: &[Node]) -> Vec<Pod> {
        let Meta { namespace, name, .. } = &w.meta;
        let mut template = w.template_meta.clone();
        let (count, prefix) = match w.kind {
            WorkloadKind::Deployment { replicas } => {
                let hash = names::template_hash(&self.prf, namespace, name);
                template.labels.insert("pod-template-hash".to_owned(), hash.clone());
                (replicas as usize, format!("{name}-{hash}"))
            }
            WorkloadKind::DaemonSet => (nodes.len(), name.clone()),
        };
        let pod = |n: usize| {
            let suffix = names::suffix(&self.prf, namespace, &prefix, n as u64);
            let meta = Meta { namespace: namespace.clone(), name: format!("{prefix}-{suffix}"), ..template.clone() };
            let node = matches!(w.kind, WorkloadKind::DaemonSet).then(|| nodes[n].config.name.clone());
            Pod { meta, node_name: node, pod_ip: None, spec: w.template.clone() }
        };
        (0..count).map(pod).collect()
    }

    fn schedule(&mut self, object: usize, pod: &Pod, nodes: &[Node], load: &[usize]) -> Option<usize> {
        if let Some(name) = &pod.node_name {
            let found = nodes.iter().position(|n| n.config.name == *name);
            if found.is_none() {
                let message = format!("pod {} is bound to node \"{name}\", which does not exist", pod.meta.name);
                self.problem(Some(object), "spec.nodeName", message, Some("name it in `spec.cluster.nodes`"));
            }
            return found;
        }
        let fits = |n: &usize| selects(&pod.spec.node_selector, &nodes[*n].labels);
        let best = (0..nodes.len()).filter(fits).min_by_key(|n| load[*n]);
        if best.is_none() {
            let all = nodes.len();
            let message =
                format!("0/{all} nodes are available: {all} node(s) didn't match Pod's node affinity/selector.");
            self.problem(Some(object), "spec.nodeSelector", message, Some("label a Node, or ask for less"));
        }
        best
    }

    fn pinned(&mut self, object: usize, ip: Ipv4Addr, node: &Node, addresses: &mut Addresses) -> Option<Ipv4Addr> {
        if !node.pod_cidr.contains(&ip) {
            let message = format!("{ip} does not lie in {}, the pod CIDR of {}", node.pod_cidr, node.config.name);
            self.problem(
                Some(object),
                "status.podIP",
                message,
                Some("pin the pod to the right node by `spec.nodeName`"),
            );
            return None;
        }
        if !addresses.used.insert(ip) {
            let message = format!("two pods have the address {ip}");
            self.problem(Some(object), "status.podIP", message, None);
            return None;
        }
        Some(ip)
    }

    /// Gives Services their addresses and ports: first those that are fixed, then the others.
    fn services(&mut self, cluster: &mut Cluster, objects: &[Object]) {
        let numbered = objects.iter().enumerate();
        let all: Vec<(usize, &Service)> =
            numbered.filter_map(|(n, o)| if let Object::Service(s) = o { Some((n, s)) } else { None }).collect();
        let mut ips = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for (n, s) in &all {
            self.fixed_ip(*n, s, &cluster.config, &mut ips);
            self.fixed_ports(*n, s, &cluster.config, &mut ports);
        }
        for (n, s) in all {
            let mut service = s.clone();
            if service.cluster_ip == ClusterIp::Any && !matches!(service.kind, ServiceKind::ExternalName(_)) {
                match self.free_ip(&cluster.config, &service.meta, &mut ips) {
                    Some(ip) => service.cluster_ip = ClusterIp::Fixed(ip),
                    None => {
                        let message = format!("range {} is full", cluster.config.service_cidr);
                        self.problem(Some(n), "spec.clusterIP", message, None);
                    }
                }
            }
            self.node_ports(n, &mut service, &cluster.config, &mut ports);
            let nobody =
                service.selector.as_ref().is_some_and(|s| !s.is_empty()) && cluster.endpoints(&service).is_empty();
            if nobody {
                let message = format!("no pod has the labels that Service {} selects", service.meta.name);
                self.warn(n, "spec.selector", message, "connections to it are refused");
            }
            cluster.services.insert((service.meta.namespace.clone(), service.meta.name.clone()), service);
        }
    }

    fn fixed_ip(&mut self, n: usize, s: &Service, config: &Config, ips: &mut BTreeSet<Ipv4Addr>) {
        let ClusterIp::Fixed(ip) = s.cluster_ip else { return };
        let name = &s.meta.name;
        let invalid = format!(
            "Service \"{name}\" is invalid: spec.clusterIPs: Invalid value: [\"{ip}\"]: failed to allocate IP {ip}:"
        );
        if !config.service_cidr.contains(&ip) {
            let range = config.service_cidr;
            let message = format!(
                "{invalid} the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
            );
            self.problem(Some(n), "spec.clusterIP", message, Some("another address, or another `serviceCIDR`"));
        } else if !ips.insert(ip) {
            let message = format!("{invalid} provided IP is already allocated");
            self.problem(Some(n), "spec.clusterIP", message, Some("leave it out to get one that is free"));
        }
    }

    fn fixed_ports(&mut self, n: usize, s: &Service, config: &Config, taken: &mut BTreeSet<(Protocol, u16)>) {
        for (at, port) in s.ports.iter().enumerate() {
            let Some(node_port) = port.node_port else { continue };
            let field = format!("spec.ports[{at}].nodePort");
            let range = &config.node_ports;
            if !range.contains(&node_port) {
                let (from, to) = (range.start(), range.end());
                let message =
                    format!("provided port is not in the valid range. The range of valid ports is {from}-{to}");
                self.problem(Some(n), &field, message, Some("leave it out to get one that is free"));
            } else if !taken.insert((port.protocol, node_port)) {
                let message = format!("provided port is already allocated: {node_port}");
                self.problem(Some(n), &field, message, Some("leave it out to get one that is free"));
            }
        }
    }

    /// A free address, from the upper band first.
    fn free_ip(&self, config: &Config, meta: &Meta, ips: &mut BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let net = config.service_cidr;
        let size = 1u64.checked_shl(32 - u32::from(net.prefix_len())).unwrap_or(1).saturating_sub(2);
        let reserved = [offset(net, 1), config.dns_ip];
        let band = (size / 16).clamp(16, 256).min(size);
        let draw = self.prf.draw(Purpose::ClusterIp, &names::key(&[&meta.namespace, &meta.name]));
        let at = |n: u64| Ipv4Addr::from_bits(net.network().to_bits() + 1 + n as u32);
        let free = upper_band_first(size, band, draw).map(at).find(|ip| !ips.contains(ip) && !reserved.contains(ip))?;
        ips.insert(free);
        Some(free)
    }

    fn node_ports(&mut self, n: usize, s: &mut Service, config: &Config, taken: &mut BTreeSet<(Protocol, u16)>) {
        let wants = match s.kind {
            ServiceKind::NodePort => true,
            ServiceKind::LoadBalancer { node_ports } => node_ports,
            ServiceKind::ClusterIp | ServiceKind::ExternalName(_) => false,
        };
        let Meta { namespace, name, .. } = &s.meta;
        for port in s.ports.iter_mut().filter(|p| wants && p.node_port.is_none()) {
            let key = names::key(&[namespace, name, &port.name, port.protocol.lower()]);
            port.node_port = self.free_port(config, &key, port.protocol, taken);
        }
        let balanced = matches!(s.kind, ServiceKind::LoadBalancer { .. }) && s.external_policy == TrafficPolicy::Local;
        if balanced && s.health_check_node_port.is_none() {
            let key = names::key(&[namespace, name, "health check"]);
            s.health_check_node_port = self.free_port(config, &key, Protocol::Tcp, taken);
        }
        if wants && s.ports.iter().any(|p| p.node_port.is_none()) {
            self.problem(Some(n), "spec.ports", "range is full".to_owned(), None);
        }
    }

    fn free_port(
        &self,
        config: &Config,
        key: &[u64],
        protocol: Protocol,
        taken: &mut BTreeSet<(Protocol, u16)>,
    ) -> Option<u16> {
        let (first, size) = (*config.node_ports.start(), config.node_ports.len() as u64);
        let band = (size / 32).clamp(16, 128).min(size);
        let draw = self.prf.draw(Purpose::NodePort, key);
        let free =
            upper_band_first(size, band, draw).map(|n| first + n as u16).find(|p| !taken.contains(&(protocol, *p)))?;
        taken.insert((protocol, free));
        Some(free)
    }
}

/// The numbers below `size`: those that are not in the lower band, from a drawn one on and round, then the band.
fn upper_band_first(size: u64, band: u64, draw: u64) -> impl Iterator<Item = u64> {
    let upper = size - band;
    (0..upper).map(move |n| band + (draw % upper + n) % upper).chain(0..band)
}

/// The addresses of pods: the plugin host-local takes the one after the last, and leaves out the gateway.
struct Addresses {
    used: BTreeSet<Ipv4Addr>,
    pinned: BTreeSet<Ipv4Addr>,
    last: Vec<u32>,
}

impl Addresses {
    fn new(nodes: &[Node], pods: &[(usize, Pod)]) -> Addresses {
        let pinned = pods.iter().filter_map(|(_, p)| p.pod_ip).collect();
        Addresses { used: BTreeSet::new(), pinned, last: vec![1; nodes.len()] }
    }

    fn next(&mut self, node: usize, of: &Node) -> Option<Ipv4Addr> {
        let size = 1u32.checked_shl(32 - u32::from(of.pod_cidr.prefix_len())).unwrap_or(u32::MAX);
        loop {
            self.last[node] += 1;
            // The last address is the broadcast address.
            if self.last[node] >= size - 1 {
                return None;
            }
            let ip = offset(of.pod_cidr, self.last[node]);
            if !self.pinned.contains(&ip) && self.used.insert(ip) {
                return Some(ip);
            }
        }
    }
}

/// The `n`th address of a network.
pub fn offset(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(net.network().to_bits().wrapping_add(n))
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

/// The resource of a kind, as messages name it.
fn resource(kind: &str) -> String {
    match kind {
        "Endpoints" => "endpoints".to_owned(),
        "EndpointSlice" => "endpointslices.discovery.k8s.io".to_owned(),
        "Deployment" => "deployments.apps".to_owned(),
        "DaemonSet" => "daemonsets.apps".to_owned(),
        other => other.to_lowercase() + "s",
    }
}
