//! Kubernetes objects as the API server stores them, as far as they matter here: its defaults are filled in, its
//! validation is done (staging/src/k8s.io/api/core/v1/types.go, apps/v1, discovery/v1 of Kubernetes 1.30).
//!
//! What pins an address, a node or a port in a real dump pins it here; what is left open is `None` until the control
//! plane decides ([`super::store`]).

use super::istio::policy::{DestinationRule, PeerAuthentication};
use super::kube_proxy::{Protocol, TrafficPolicy};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Labels, annotations, selectors by equality; the data of a ConfigMap.
pub type Labels = BTreeMap<String, String>;

/// `metadata`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Empty for what has none: a Node, a Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `labels`
    pub labels: Labels,
    /// `annotations`
    pub annotations: Labels,
    /// The one of `ownerReferences` with `controller: true`: what made it.
    pub owner: Option<OwnerReference>,
}

/// What made an object: another one of its namespace, or of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerReference {
    /// Its kind, as a manifest has it.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// An object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Namespace.
    Namespace(Meta),
    /// A Node.
    Node(Node),
    /// A Pod.
    Pod(Pod),
    /// A Deployment or DaemonSet.
    Workload(Workload),
    /// A Service.
    Service(Service),
    /// An Endpoints.
    Endpoints(Endpoints),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A ConfigMap.
    ConfigMap(ConfigMap),
    /// An IPAddress.
    IpAddress(IpAddress),
    /// A PeerAuthentication of Istio's.
    PeerAuthentication(PeerAuthentication),
    /// A DestinationRule of Istio's.
    DestinationRule(DestinationRule),
}

impl Object {
    /// Its kind, as a manifest has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Object::Namespace(_) => "Namespace",
            Object::Node(_) => "Node",
            Object::Pod(_) => "Pod",
            Object::Workload(w) => w.kind.name(),
            Object::Service(_) => "Service",
            Object::Endpoints(_) => "Endpoints",
            Object::EndpointSlice(_) => "EndpointSlice",
            Object::ConfigMap(_) => "ConfigMap",
            Object::IpAddress(_) => "IPAddress",
            Object::PeerAuthentication(_) => "PeerAuthentication",
            Object::DestinationRule(_) => "DestinationRule",
        }
    }

    /// Its `metadata`.
    pub fn meta(&self) -> &Meta {
        match self {
            Object::Namespace(meta) => meta,
            Object::Node(n) => &n.meta,
            Object::Pod(p) => &p.meta,
            Object::Workload(w) => &w.meta,
            Object::Service(s) => &s.meta,
            Object::Endpoints(e) => &e.meta,
            Object::EndpointSlice(e) => &e.meta,
            Object::ConfigMap(c) => &c.meta,
            Object::IpAddress(a) => &a.meta,
            Object::PeerAuthentication(a) => &a.meta,
            Object::DestinationRule(r) => &r.meta,
        }
    }
}

/// An IPAddress of networking.k8s.io: which Service has it. The API server makes one for each cluster IP that it gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpAddress {
    /// Its `metadata`; its name is the address.
    pub meta: Meta,
    /// The address.
    pub ip: Ipv4Addr,
    /// `spec.parentRef`: the Service's namespace and name.
    pub service: (String, String),
}

/// A Node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Its `metadata`.
    pub meta: Meta,
    /// `status.addresses` of the type InternalIP.
    pub internal_ip: Option<Ipv4Addr>,
    /// `spec.podCIDR`, without the bits of a host.
    pub pod_cidr: Option<Ipv4Net>,
    /// `spec.unschedulable`
    pub unschedulable: bool,
}

/// A Pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pod {
    /// Its `metadata`.
    pub meta: Meta,
    /// `spec.nodeName`
    pub node_name: Option<String>,
    /// `status.podIP`
    pub pod_ip: Option<Ipv4Addr>,
    /// What it is made of.
    pub spec: PodSpec,
}

/// `spec` of a Pod or of a template, but for what names one pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PodSpec {
    /// `hostNetwork`: it has no network namespace of its own.
    pub host_network: bool,
    /// `nodeSelector`
    pub node_selector: Labels,
    /// `dnsPolicy`
    pub dns_policy: DnsPolicy,
    /// `dnsConfig`
    pub dns_config: DnsConfig,
    /// `hostAliases`: lines of /etc/hosts.
    pub host_aliases: Vec<(Ipv4Addr, Vec<String>)>,
    /// `hostname`; without it, the pod's name.
    pub hostname: Option<String>,
    /// `subdomain`: a headless Service that gives the pod a name.
    pub subdomain: Option<String>,
    /// `serviceAccountName`
    pub service_account: String,
    /// `terminationGracePeriodSeconds`
    pub termination_grace_s: u32,
    /// They run one after the other before the others.
    pub init_containers: Vec<Container>,
    /// They share the pod's network namespace.
    pub containers: Vec<Container>,
}

/// `dnsPolicy`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DnsPolicy {
    /// The cluster's name server and search path.
    #[default]
    ClusterFirst,
    /// The same also with the host's network.
    ClusterFirstWithHostNet,
    /// As the node.
    Default,
    /// `dnsConfig` alone.
    None,
}

/// `dnsConfig`, which adds to what the policy gives.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DnsConfig {
    /// `nameservers`
    pub nameservers: Vec<Ipv4Addr>,
    /// `searches`
    pub searches: Vec<String>,
    /// `options`: `name` or `name:value`.
    pub options: Vec<String>,
}

/// A container.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Where its file system comes from.
    pub image: String,
    /// `command` and `args`: what it runs instead of the image's own.
    pub command: Vec<String>,
    /// Further words.
    pub args: Vec<String>,
    /// An init container with `restartPolicy: Always`: it goes on beside those that come after it.
    pub sidecar: bool,
    /// `ports`
    pub ports: Vec<ContainerPort>,
    /// `readinessProbe`: while it fails, the pod is no endpoint.
    pub readiness: Option<Probe>,
    /// `livenessProbe`, which has no effect.
    pub liveness: Option<Probe>,
    /// `securityContext.runAsUser`, else the pod's.
    pub run_as_user: Option<u32>,
    /// `securityContext.runAsGroup`, else the pod's.
    pub run_as_group: Option<u32>,
}

/// A port that a container says it listens on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContainerPort {
    /// What Services may call it; empty if it has no name.
    pub name: String,
    /// The port.
    pub container_port: u16,
    /// A port of the node that leads to it.
    pub host_port: Option<u16>,
    /// Its protocol.
    pub protocol: Protocol,
}

/// What the kubelet asks a container from time to time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// How it asks.
    pub how: ProbeKind,
    /// Seconds before the first time.
    pub initial_delay_s: u32,
    /// Seconds from one to the next.
    pub period_s: u32,
    /// Seconds for an answer.
    pub timeout_s: u32,
    /// So many in a row make it ready.
    pub success_threshold: u32,
    /// So many in a row make it not ready.
    pub failure_threshold: u32,
}

/// How a probe asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProbeKind {
    /// `httpGet`: from 200 to 399 is a success.
    HttpGet {
        /// Its path.
        path: String,
        /// The container's port, by number or name.
        port: PortRef,
        /// Instead of the pod's address.
        host: Option<String>,
    },
    /// `tcpSocket`: a connection is a success.
    TcpSocket {
        /// The container's port, by number or name.
        port: PortRef,
    },
    /// `exec`, `grpc` and `httpGet` with HTTPS, which are not simulated: they succeed.
    Other,
}

/// A port by its number, or by the name that a container gives it (`IntOrString`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PortRef {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

/// What makes pods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Which it is.
    pub kind: WorkloadKind,
    /// Its `metadata`.
    pub meta: Meta,
    /// `spec.selector`: the labels of its pods.
    pub selector: Selector,
    /// `spec.template.metadata`
    pub template_meta: Meta,
    /// `spec.template.spec`
    pub template: PodSpec,
}

impl Workload {
    /// One is a version of the other: they have a kind and a name in common.
    pub fn is_version_of(&self, other: &Workload) -> bool {
        let Meta { namespace, name, .. } = &other.meta;
        self.kind.name() == other.kind.name() && self.meta.namespace == *namespace && self.meta.name == *name
    }
}

/// Which workload it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkloadKind {
    /// So many pods.
    Deployment {
        /// `spec.replicas`
        replicas: u32,
    },
    /// One pod on each node.
    DaemonSet,
}

impl WorkloadKind {
    /// As a manifest has it.
    pub fn name(self) -> &'static str {
        match self {
            WorkloadKind::Deployment { .. } => "Deployment",
            WorkloadKind::DaemonSet => "DaemonSet",
        }
    }
}

/// A LabelSelector: all of it must hold. An empty one takes everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// `matchLabels`
    pub labels: Labels,
    /// `matchExpressions`
    pub expressions: Vec<Requirement>,
}

/// An item of `matchExpressions`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: Operator,
}

/// What a [`Requirement`] asks of a label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operator {
    /// It has one of these values.
    In(Vec<String>),
    /// It has none of them, or is not there.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Selector {
    /// It takes an object with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        let holds = |r: &Requirement| {
            let value = labels.get(&r.key);
            match &r.operator {
                Operator::In(values) => value.is_some_and(|v| values.contains(v)),
                Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        };
        selects(&self.labels, labels) && self.expressions.iter().all(holds)
    }
}

/// Every label of `selector` is there with its value.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// Its `metadata`.
    pub meta: Meta,
    /// `spec.type`
    pub kind: ServiceKind,
    /// `spec.clusterIP`
    pub cluster_ip: ClusterIp,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// Its pods; without it, somebody else makes its endpoints.
    pub selector: Option<Labels>,
    /// `spec.externalIPs`
    pub external_ips: Vec<Ipv4Addr>,
    /// `status.loadBalancer.ingress`, those that have an address.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// `spec.loadBalancerSourceRanges`
    pub load_balancer_source_ranges: Vec<Ipv4Net>,
    /// With `sessionAffinity: ClientIP`, for how long, in seconds.
    pub affinity_s: Option<u32>,
    /// `spec.internalTrafficPolicy`
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`
    pub external_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`
    pub health_check_node_port: Option<u16>,
    /// `spec.publishNotReadyAddresses`
    pub publish_not_ready: bool,
}

/// `spec.type` of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ServiceKind {
    /// In the cluster alone.
    #[default]
    ClusterIp,
    /// Also by a port of every node.
    NodePort,
    /// Also by a load balancer.
    LoadBalancer {
        /// `spec.allocateLoadBalancerNodePorts`
        node_ports: bool,
    },
    /// An alias in DNS.
    ExternalName(String),
}

/// `spec.clusterIP`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClusterIp {
    /// The control plane chooses one.
    #[default]
    Any,
    /// `None`: a headless Service.
    Headless,
    /// This one.
    Fixed(Ipv4Addr),
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where the Service is asked.
    pub port: u16,
    /// Where its pods are asked.
    pub target_port: PortRef,
    /// The port of every node, if it is fixed.
    pub node_port: Option<u16>,
}

/// Who serves the Service of the same name, as somebody wrote it down: what is not made by a selector is mirrored to
/// EndpointSlices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Endpoints {
    /// Its `metadata`.
    pub meta: Meta,
    /// `subsets`
    pub subsets: Vec<EndpointSubset>,
}

/// The label of an Endpoints that is not mirrored: `true`. Whoever makes slices by a selector sets it.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";

impl Endpoints {
    /// What the controller for mirroring makes of it where its Service has no selector
    /// (pkg/controller/endpointslicemirroring): a slice for each subset.
    pub fn mirrored(&self) -> Vec<EndpointSlice> {
        if self.meta.labels.get(SKIP_MIRROR).is_some_and(|value| value == "true") {
            return Vec::new();
        }
        let slice = |subset: &EndpointSubset| EndpointSlice {
            meta: Meta { owner: None, ..self.meta.clone() },
            service: Some(self.meta.name.clone()),
            ports: subset.ports.clone(),
            endpoints: subset.addresses.clone(),
        };
        self.subsets.iter().map(slice).collect()
    }
}

/// Addresses with the ports that all of them have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EndpointSubset {
    /// `ports`: each by its Service port's name.
    pub ports: Vec<EndpointPort>,
    /// `addresses`, and behind them `notReadyAddresses`.
    pub addresses: Vec<EndpointAddress>,
}

/// Who serves a Service: part of its endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Its `metadata`.
    pub meta: Meta,
    /// The Service, by the label `kubernetes.io/service-name`. Without it, the slice serves nothing.
    pub service: Option<String>,
    /// `ports`: each by its Service port's name.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`
    pub endpoints: Vec<EndpointAddress>,
}

/// A port of an [`EndpointSlice`] or [`EndpointSubset`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EndpointPort {
    /// As the Service's port is called.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// An address of an [`EndpointSlice`] or [`EndpointSubset`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointAddress {
    /// The address.
    pub ip: Ipv4Addr,
    /// `hostname`: its own name below the Service's.
    pub hostname: Option<String>,
    /// The node that it is on.
    pub node_name: Option<String>,
    /// `conditions.ready`
    pub ready: bool,
    /// `conditions.serving`
    pub serving: bool,
    /// `conditions.terminating`
    pub terminating: bool,
    /// `hints.forZones`
    pub for_zones: Vec<String>,
    /// The pod behind it: namespace and name.
    pub target: Option<(String, String)>,
}

/// A ConfigMap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfigMap {
    /// Its `metadata`.
    pub meta: Meta,
    /// `data`
    pub data: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn endpoints_are_mirrored() {
        let address = |n: u8, ready| EndpointAddress {
            ip: [10, 0, 0, n].into(),
            hostname: None,
            node_name: None,
            ready,
            serving: ready,
            terminating: false,
            for_zones: Vec::new(),
            target: None,
        };
        let subset = |port, addresses| {
            let ports = vec![EndpointPort { port, ..EndpointPort::default() }];
            EndpointSubset { ports, addresses }
        };
        let meta = Meta { namespace: "shop".to_owned(), name: "db".to_owned(), ..Meta::default() };
        let subsets = vec![subset(80, vec![address(1, true), address(2, false)]), subset(81, vec![address(3, true)])];
        let mut endpoints = Endpoints { meta, subsets };
        let slices = endpoints.mirrored();
        assert!(slices.iter().all(|s| s.service.as_deref() == Some("db") && s.meta.namespace == "shop"));
        let shown = |s: &EndpointSlice| (s.ports[0].port, s.endpoints.iter().map(|e| e.ready).collect::<Vec<_>>());
        assert_eq!(slices.iter().map(shown).collect::<Vec<_>>(), [(80, vec![true, false]), (81, vec![true])]);
        endpoints.meta.labels = labels("endpointslice.kubernetes.io/skip-mirror=true");
        assert_eq!(endpoints.mirrored(), []);
    }

    #[test]
    fn selectors() {
        let requirement = |key: &str, operator| Requirement { key: key.to_owned(), operator };
        let values = |v: &[&str]| v.iter().map(|v| (*v).to_owned()).collect();
        for (selector, matched, not) in [
            (Selector::default(), "", None),
            (Selector { labels: labels("app=web"), expressions: vec![] }, "app=web tier=front", Some("app=db")),
            (
                Selector {
                    labels: labels(""),
                    expressions: vec![requirement("app", Operator::In(values(&["a", "b"])))],
                },
                "app=b",
                Some("tier=a"),
            ),
            (
                Selector { labels: labels(""), expressions: vec![requirement("app", Operator::NotIn(values(&["a"])))] },
                "tier=a",
                Some("app=a"),
            ),
            (
                Selector { labels: labels(""), expressions: vec![requirement("app", Operator::Exists)] },
                "app=",
                Some(""),
            ),
            (
                Selector { labels: labels(""), expressions: vec![requirement("app", Operator::DoesNotExist)] },
                "",
                Some("app=a"),
            ),
        ] {
            assert!(selector.matches(&labels(matched)), "{selector:?} takes {matched}");
            assert!(not.is_none_or(|not| !selector.matches(&labels(not))), "{selector:?} does not take {not:?}");
        }
    }
}
