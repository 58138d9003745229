//! The control plane: what the API server, the scheduler and the controllers make of the objects that they are given.
//! What nobody has fixed is chosen here so that one more object changes nothing of the others: by the object's own
//! name, or in turn. The order of the objects is the order in which they were made, as `kubectl apply` makes them: what
//! comes later stands further down. Before others an object can stand that takes nothing from them: its node and its
//! address are fixed.
//!
//! * Pods come in the order of the objects; a Deployment's where it stands. A pod that no node has goes to the node
//!   that the scheduler has given the fewest, the first of them (neither resources nor affinities count, nor pods that
//!   came with their node).
//! * Cluster IPs and node ports are drawn from the upper bands of their ranges (KEP-3070, KEP-3668), and the next free
//!   one is taken.
//! * A pod that a dump holds is its Deployment's or DaemonSet's: it is not made a second time.
//! * Pods have the addresses of their node's network in turn.
//! * Nodes have the free networks of the cluster's in turn.

use super::cni::Ipam;
use super::config::{Config, NodeConfig};
use super::istio::inject;
use super::istio::policy::Policies;
use super::kube_proxy::{Backend, Endpoint, PortName, Protocol, ServicePort as ProxyPort, TrafficPolicy};
use super::names;
use super::object::{
    ClusterIp, EndpointAddress, EndpointPort, EndpointSlice, Labels, Meta, Object, OwnerReference, Pod, PodSpec,
    PortRef, Service, ServiceKind, ServicePort, Workload, WorkloadKind, selects,
};
use super::system;
use crate::base::rng::{Prf, Purpose, words};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

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
    /// Namespaces by name, with their labels.
    pub namespaces: BTreeMap<String, Labels>,
    /// ConfigMaps' data by namespace and name.
    pub config_maps: BTreeMap<(String, String), Labels>,
    /// Endpoints that no selector makes.
    slices: Vec<EndpointSlice>,
    /// What people tell Istio.
    pub(super) policies: Policies,
    /// The pods' places in `pods`, by namespace, label and value.
    labelled: BTreeMap<[String; 3], Vec<usize>>,
}

/// A port of a Service and who serves it, for all nodes alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// The port.
    pub port: ProxyPort,
    /// Its endpoints, each with its node; `local` is not set.
    pub endpoints: Vec<(Endpoint, Option<String>)>,
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
    /// Its annotations.
    pub annotations: Labels,
    /// The scheduler gives it no pods.
    pub unschedulable: bool,
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

    /// The scheduler may give it a pod.
    pub(super) fn takes(&self, pod: &PodSpec) -> bool {
        !self.unschedulable && selects(&pod.node_selector, &self.labels)
    }
}

/// A pod with a node and an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedPod {
    /// The object that keeps it, by its place in the list: its workload, or it itself.
    pub object: usize,
    /// Its `metadata`.
    pub meta: Meta,
    /// What it is made of.
    pub spec: PodSpec,
    /// Its node, by its place in [`Cluster::nodes`].
    pub node: usize,
    /// Its address.
    pub ip: Ipv4Addr,
    /// How far it has come.
    pub state: PodState,
}

impl PlacedPod {
    /// It is deleted.
    pub fn is_terminating(&self) -> bool {
        matches!(self.state, PodState::Terminating { .. })
    }
}

/// How far a pod has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PodState {
    /// It is made, and does not run yet.
    Pending,
    /// It runs and is not ready.
    Running,
    /// It runs and is ready.
    Ready,
    /// It is deleted, and has not gone.
    Terminating {
        /// It still does what it did when it was ready.
        serving: bool,
    },
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
        let system = system::objects(&config, &nodes, objects, &prf);
        let objects: Vec<&Object> = objects.iter().chain(&system).collect();
        let objects = objects.as_slice();
        let policies = Policies::new(&config, objects, admission.problems);
        let mut cluster = Cluster {
            config,
            nodes,
            pods: Vec::new(),
            services: BTreeMap::new(),
            namespaces: NAMESPACES.map(|name| (name.to_owned(), Labels::new())).into(),
            config_maps: BTreeMap::new(),
            slices: Vec::new(),
            policies,
            labelled: BTreeMap::new(),
        };
        admission.names(objects);
        for namespace in objects.iter().map(|o| &o.meta().namespace).filter(|n| !n.is_empty()) {
            cluster.namespaces.entry(namespace.clone()).or_default();
        }
        for object in objects {
            match object {
                Object::Namespace(meta) => {
                    cluster.namespaces.insert(meta.name.clone(), meta.labels.clone());
                }
                Object::Endpoints(endpoints) => cluster.slices.extend(endpoints.mirrored()),
                Object::EndpointSlice(slice) => cluster.slices.push(slice.clone()),
                Object::ConfigMap(map) => {
                    cluster.config_maps.insert((map.meta.namespace.clone(), map.meta.name.clone()), map.data.clone());
                }
                _ => {}
            }
        }
        admission.pods(&mut cluster, objects);
        cluster.index_pods();
        admission.services(&mut cluster, objects);
        (cluster, problems)
    }

    /// Finds pods by their labels from now on; to be called when a pod has come, gone or got other labels.
    pub(super) fn index_pods(&mut self) {
        self.labelled.clear();
        for (n, pod) in self.pods.iter().enumerate() {
            for (label, value) in &pod.meta.labels {
                let key = [pod.meta.namespace.clone(), label.clone(), value.clone()];
                self.labelled.entry(key).or_default().push(n);
            }
        }
    }

    /// The EndpointSlice controller: who serves a Service.
    /// A pod that ends serves on for those who have nobody else (conditions `serving` and `terminating`).
    pub fn endpoints(&self, service: &Service) -> Vec<EndpointSlice> {
        let Some(selector) = &service.selector else {
            let Meta { namespace, name, .. } = &service.meta;
            let own = |s: &&EndpointSlice| s.meta.namespace == *namespace && s.service.as_ref() == Some(name);
            return self.slices.iter().filter(own).cloned().collect();
        };
        // A selector without labels chooses nobody.
        let Some((label, value)) = selector.first_key_value() else { return Vec::new() };
        let key = [service.meta.namespace.clone(), label.clone(), value.clone()];
        let candidates = self.labelled.get(&key).map_or(&[][..], Vec::as_slice).iter().map(|n| &self.pods[*n]);
        let is_up = |p: &&PlacedPod| p.state != PodState::Pending && !p.ip.is_unspecified();
        let chosen = candidates.filter(is_up).filter(|p| selects(selector, &p.meta.labels));
        chosen.map(|pod| self.endpoint_slice(service, pod)).collect()
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
            ready: pod.state == PodState::Ready,
            serving: matches!(pod.state, PodState::Ready | PodState::Terminating { serving: true }),
            terminating: pod.is_terminating(),
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

    /// Each port of each Service that has a cluster IP.
    pub fn served(&self) -> Vec<Served> {
        let mut all = Vec::new();
        for service in self.services.values() {
            let ClusterIp::Fixed(cluster_ip) = service.cluster_ip else { continue };
            let slices = self.endpoints(service);
            for port in &service.ports {
                let endpoints = slices.iter().flat_map(|s| proxy_endpoints(s, port)).collect();
                all.push(Served { port: proxy_port(service, port, cluster_ip), endpoints });
            }
        }
        all
    }

    /// Services, their own endpoints and what stands beside them are as in `other`; nodes and pods stay.
    pub(super) fn adopt(&mut self, other: &Cluster) {
        self.services.clone_from(&other.services);
        self.slices.clone_from(&other.slices);
        self.config_maps.clone_from(&other.config_maps);
        self.namespaces.clone_from(&other.namespaces);
    }

    /// What kube-proxy on a node is told of what is served.
    pub fn backends(&self, node: usize, served: &[Served]) -> Vec<Backend> {
        let own = &self.nodes[node].config.name;
        let backend = |s: &Served| {
            let local =
                |(e, on): &(Endpoint, Option<String>)| Endpoint { local: on.as_ref() == Some(own), ..e.clone() };
            Backend { port: s.port.clone(), endpoints: s.endpoints.iter().map(local).collect() }
        };
        served.iter().map(backend).collect()
    }
}

/// The endpoints of a Service's port in a slice, each with its node.
fn proxy_endpoints(slice: &EndpointSlice, port: &ServicePort) -> Vec<(Endpoint, Option<String>)> {
    let Some(target) = slice.ports.iter().find(|p| p.name == port.name) else { return Vec::new() };
    let one = |e: &EndpointAddress| {
        let endpoint = Endpoint {
            ip: e.ip,
            port: target.port,
            local: false,
            ready: e.ready,
            serving: e.serving,
            terminating: e.terminating,
            for_zones: e.for_zones.clone(),
        };
        (endpoint, e.node_name.clone())
    };
    slice.endpoints.iter().map(one).collect()
}

/// Pods that are there, by the namespace, kind and name of the workload that has made them.
type Adopted<'a> = BTreeMap<(String, (&'static str, String)), Vec<&'a Pod>>;

/// The hash of a Deployment's template, by the ReplicaSet that has made its pods.
pub(super) fn template_hash<'a>(mut pods: impl Iterator<Item = &'a Meta>) -> Option<&'a str> {
    pods.find_map(|meta| meta.owner.as_ref()?.name.rsplit_once('-')).map(|(_, hash)| hash)
}

/// The workload behind what has made a pod: a Deployment's ReplicaSet has its name and the hash of its template.
fn workload(owner: &OwnerReference) -> Option<(&'static str, String)> {
    match owner.kind.as_str() {
        "ReplicaSet" => owner.name.rsplit_once('-').map(|(name, _)| ("Deployment", name.to_owned())),
        "DaemonSet" => Some(("DaemonSet", owner.name.clone())),
        _ => None,
    }
}

/// Where a pod is asked for a Service's port (`FindPort`).
pub(super) fn target_port(port: &ServicePort, pod: &PodSpec) -> Option<u16> {
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
    fn names(&mut self, objects: &[&Object]) {
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
        let prefix_len = config.cni.ipam().prefix_len;
        let mut nodes = Vec::new();
        for node in &config.nodes {
            let pod_cidr = asked(node).or_else(|| {
                let free =
                    config.cluster_cidr.subnets(prefix_len).ok()?.find(|net| !taken.iter().any(|t| overlap(t, net)))?;
                taken.push(free);
                Some(free)
            });
            let Some(pod_cidr) = pod_cidr else {
                let message =
                    format!("{} has no /{prefix_len} left for the pods of {}", config.cluster_cidr, node.name);
                self.problem(None, "clusterCIDR", message, Some("a larger network, or fewer nodes"));
                continue;
            };
            // The kubelet's own (pkg/kubelet/kubelet_node_status.go: initialNode).
            let own = [("hostname", node.name.as_str()), ("os", "linux"), ("arch", "amd64")];
            let mut labels: Labels =
                own.iter().map(|(key, value)| (format!("kubernetes.io/{key}"), (*value).to_owned())).collect();
            labels.extend(object(&node.name).map_or_else(Labels::new, |o| o.meta().labels.clone()));
            let unschedulable = matches!(object(&node.name), Some(Object::Node(o)) if o.unschedulable);
            let annotations = object(&node.name).map_or_else(Labels::new, |o| o.meta().annotations.clone());
            let node = Node { config: node.clone(), pod_cidr, labels, annotations, unschedulable };
            if let Some((field, message)) = config.cni.check(&node) {
                let at = objects.iter().position(|o| matches!(o, Object::Node(n) if n.meta.name == node.config.name));
                self.problem(at, &field, message, Some("an address of the node's podCIDR"));
            }
            nodes.push(node);
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
    fn pods(&mut self, cluster: &mut Cluster, objects: &[&Object]) {
        let mut adopted = Adopted::new();
        for object in objects {
            let Object::Pod(pod) = object else { continue };
            if let Some(owner) = pod.meta.owner.as_ref().and_then(workload) {
                adopted.entry((pod.meta.namespace.clone(), owner)).or_default().push(pod);
            }
        }
        let mut keepers = BTreeMap::new();
        let mut wanted: Vec<(usize, Pod)> = Vec::new();
        for (n, object) in objects.iter().enumerate() {
            match object {
                Object::Pod(pod) => wanted.push((n, pod.clone())),
                Object::Workload(w) => {
                    let key = (w.meta.namespace.clone(), (w.kind.name(), w.meta.name.clone()));
                    let there = adopted.get(&key).map_or(&[][..], Vec::as_slice);
                    wanted.extend(self.replicas(w, there, &cluster.nodes).into_iter().map(|p| (n, p)));
                    keepers.insert(key, n);
                }
                _ => {}
            }
        }
        let mut addresses = Addresses::new(cluster.config.cni.ipam(), &cluster.nodes, &wanted);
        addresses.pinned.extend(cluster.nodes.iter().flat_map(|n| cluster.config.cni.node_addresses(n)));
        let mut load = vec![0; cluster.nodes.len()];
        for (object, mut pod) in wanted {
            for refused in cluster.inject(&mut pod) {
                self.refused(object, matches!(objects[object], Object::Pod(_)), refused);
            }
            let Some(node) = self.schedule(object, &pod, &cluster.nodes, &load) else { continue };
            load[node] += usize::from(pod.node_name.is_none());
            let ip = match (pod.spec.host_network, pod.pod_ip) {
                (true, _) => Some(cluster.nodes[node].ip()),
                (false, Some(ip)) => self.pinned(object, ip, &cluster.nodes[node], &mut addresses),
                (false, None) => addresses.next(node, &cluster.nodes[node]),
            };
            match ip {
                Some(ip) => {
                    let key = pod.meta.owner.as_ref().and_then(workload).map(|w| (pod.meta.namespace.clone(), w));
                    let object = key.and_then(|key| keepers.get(&key)).copied().unwrap_or(object);
                    let (meta, spec, state) = (pod.meta, pod.spec, PodState::Ready);
                    cluster.pods.push(PlacedPod { object, meta, spec, node, ip, state });
                }
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

    /// What the sidecar injector refuses of an object: said once, however many pods it makes.
    fn refused(&mut self, object: usize, is_pod: bool, refused: inject::Refused) {
        let inject::Refused { annotation, message, hint } = refused;
        let meta = if is_pod { "metadata" } else { "spec.template.metadata" };
        let field = format!("{meta}.annotations[{annotation}]");
        if !self.problems.iter().any(|p| p.object == Some(object) && p.field == field) {
            self.problem(Some(object), &field, message, Some(hint));
        }
    }

    /// The pods that a workload makes besides those that it has.
    fn replicas(&self, w: &Workload, there: &[&Pod], nodes: &[Node]) -> Vec<Pod> {
        let hash = template_hash(there.iter().map(|p| &p.meta));
        let replica = |n: usize| w.replica(&self.prf, hash, n as u64);
        match w.kind {
            WorkloadKind::Deployment { replicas } => (there.len()..replicas as usize).map(replica).collect(),
            WorkloadKind::DaemonSet => {
                let has = |node: &Node| there.iter().any(|p| p.node_name.as_ref() == Some(&node.config.name));
                let lacking = nodes.iter().enumerate().filter(|(_, node)| !has(node));
                let on = |(n, node): (usize, &Node)| Pod { node_name: Some(node.config.name.clone()), ..replica(n) };
                lacking.map(on).collect()
            }
        }
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
        let fits = |n: &usize| nodes[*n].takes(&pod.spec);
        let best = (0..nodes.len()).filter(fits).min_by_key(|n| load[*n]);
        if best.is_none() {
            let (all, cordoned) = (nodes.len(), nodes.iter().filter(|n| n.unschedulable).count());
            let reasons = [
                (all - cordoned, "node(s) didn't match Pod's node affinity/selector"),
                (cordoned, "node(s) were unschedulable"),
            ];
            let reasons = reasons.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}"));
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            let message = format!("0/{all} nodes are available: {reasons}.");
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
    fn services(&mut self, cluster: &mut Cluster, objects: &[&Object]) {
        let numbered = objects.iter().enumerate();
        let service = |(n, o): (usize, &&Object)| if let Object::Service(s) = o { Some((n, s.clone())) } else { None };
        let mut all: Vec<(usize, Service)> = numbered.filter_map(service).collect();
        let mut ips = BTreeSet::new();
        let mut ports = BTreeSet::new();
        let given = |o: &&Object| if let Object::IpAddress(a) = o { Some((a.service.clone(), a.ip)) } else { None };
        let given: BTreeMap<(String, String), Ipv4Addr> = objects.iter().filter_map(given).collect();
        for (n, s) in &mut all {
            let key = (s.meta.namespace.clone(), s.meta.name.clone());
            let open = s.cluster_ip == ClusterIp::Any && !matches!(s.kind, ServiceKind::ExternalName(_));
            if let Some(ip) = given.get(&key).filter(|_| open) {
                s.cluster_ip = ClusterIp::Fixed(*ip);
            }
            self.fixed_ip(*n, s, &cluster.config, &mut ips);
            self.fixed_ports(*n, s, &cluster.config, &mut ports);
        }
        for (n, mut service) in all {
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
        let draw = self.prf.draw(Purpose::ClusterIp, &words(&[&meta.namespace, &meta.name]));
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
            let key = words(&[namespace, name, &port.name, port.protocol.lower()]);
            port.node_port = self.free_port(config, &key, port.protocol, taken);
        }
        let balanced = matches!(s.kind, ServiceKind::LoadBalancer { .. }) && s.external_policy == TrafficPolicy::Local;
        if balanced && s.health_check_node_port.is_none() {
            let key = words(&[namespace, name, "health check"]);
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

impl Workload {
    /// Its pod number `n`, which nobody has placed.
    ///
    /// `hash` is that of the Deployment's template, if pods that are there tell it.
    pub(super) fn replica(&self, prf: &Prf, hash: Option<&str>, n: u64) -> Pod {
        let Meta { namespace, name, .. } = &self.meta;
        let mut template = self.template_meta.clone();
        let prefix = match self.kind {
            WorkloadKind::Deployment { .. } => {
                let hash = hash.map_or_else(|| names::template_hash(prf, namespace, name), str::to_owned);
                template.labels.insert("pod-template-hash".to_owned(), hash.clone());
                format!("{name}-{hash}")
            }
            WorkloadKind::DaemonSet => name.clone(),
        };
        let suffix = names::suffix(prf, namespace, &prefix, n);
        let meta = Meta { namespace: namespace.clone(), name: format!("{prefix}-{suffix}"), ..template };
        Pod { meta, node_name: None, pod_ip: None, spec: self.template.clone() }
    }
}

/// The numbers below `size`: those that are not in the lower band, from a drawn one on and round, then the band.
fn upper_band_first(size: u64, band: u64, draw: u64) -> impl Iterator<Item = u64> {
    let upper = size - band;
    (0..upper).map(move |n| band + (draw % upper + n) % upper).chain(0..band)
}

/// The addresses of pods: the plugin takes the one after the last.
struct Addresses {
    ipam: Ipam,
    used: BTreeSet<Ipv4Addr>,
    pinned: BTreeSet<Ipv4Addr>,
    /// The next number of each node.
    next: Vec<u32>,
}

impl Addresses {
    fn new(ipam: Ipam, nodes: &[Node], pods: &[(usize, Pod)]) -> Addresses {
        let pinned = pods.iter().filter_map(|(_, p)| p.pod_ip).collect();
        let next = nodes.iter().map(|n| ipam.numbers(n.pod_cidr).start).collect();
        Addresses { ipam, used: BTreeSet::new(), pinned, next }
    }

    fn next(&mut self, node: usize, of: &Node) -> Option<Ipv4Addr> {
        let end = self.ipam.numbers(of.pod_cidr).end;
        while self.next[node] < end {
            let ip = offset(of.pod_cidr, self.next[node]);
            self.next[node] += 1;
            if !self.pinned.contains(&ip) && self.used.insert(ip) {
                return Some(ip);
            }
        }
        None
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
