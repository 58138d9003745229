//! What a cluster has before anybody adds to it: the Service of the API server, CoreDNS as kubeadm installs it
//! (cmd/kubeadm/app/phases/addons/dns/manifests.go, pkg/controlplane/controller/kubernetesservice of 1.30), and istiod
//! as istioctl does (manifests/charts/istio-control/istio-discovery of Istio 1.13.4).

use super::config::Config;
use super::istio::pilot;
use super::istio::rules::PROXY_UID;
use super::kube_proxy::Protocol;
use super::names;
use super::object::{
    ClusterIp, Container, ContainerPort, DnsPolicy, EndpointAddress, EndpointPort, EndpointSlice, Labels, Meta, Object,
    OwnerReference, Pod, PodSpec, PortRef, Service, ServicePort,
};
use super::store::{Node, offset};
use crate::base::rng::Prf;
use std::net::Ipv4Addr;

/// Where the API server listens.
const API_PORT: u16 = 6443;
/// The name server's namespace, its Service and what its pods are called.
const NAMESPACE: &str = "kube-system";
const KUBE_DNS: &str = "kube-dns";
const COREDNS: &str = "coredns";
/// So many pods answer for names.
const DNS_REPLICAS: u64 = 2;

/// The objects that are there besides those that are given. The first node is the control plane. Nothing of theirs is
/// taken from others: CoreDNS has the last addresses of that node's pods, istiod the one before.
pub(super) fn objects(config: &Config, nodes: &[Node], given: &[Object], prf: &Prf) -> Vec<Object> {
    let Some(control_plane) = nodes.first() else { return Vec::new() };
    let mut all = Vec::new();
    if !given.iter().any(|o| matches!(o, Object::Service(s) if is_named(&s.meta, "default", "kubernetes"))) {
        let port = service_port("https", 443, Protocol::Tcp, API_PORT);
        let ip = offset(config.service_cidr, 1);
        all.push(Object::Service(service("default", "kubernetes", ip, vec![port])));
    }
    let has_endpoints = given.iter().any(|o| match o {
        Object::Endpoints(e) => is_named(&e.meta, "default", "kubernetes"),
        Object::EndpointSlice(e) => e.meta.namespace == "default" && e.service.as_deref() == Some("kubernetes"),
        _ => false,
    });
    if !has_endpoints {
        all.push(Object::EndpointSlice(api_server(control_plane)));
    }
    let serves_names =
        |s: &Service| is_named(&s.meta, NAMESPACE, KUBE_DNS) || s.cluster_ip == ClusterIp::Fixed(config.dns_ip);
    if config.core_dns && !given.iter().any(|o| matches!(o, Object::Service(s) if serves_names(s))) {
        all.push(Object::Service(kube_dns(config.dns_ip)));
        all.extend(core_dns(config, control_plane, given, prf).map(Object::Pod));
    }
    let is_istiod = |o: &Object| matches!(o, Object::Service(s) if is_named(&s.meta, pilot::NAMESPACE, pilot::ISTIOD));
    if config.istio.is_some() && !given.iter().any(is_istiod) {
        all.push(Object::Service(istiod_service()));
        all.extend(istiod(config, control_plane, given, prf).map(Object::Pod));
    }
    all
}

fn is_named(meta: &Meta, namespace: &str, name: &str) -> bool {
    meta.namespace == namespace && meta.name == name
}

fn service_port(name: &str, port: u16, protocol: Protocol, target: u16) -> ServicePort {
    let target_port = PortRef::Number(target);
    ServicePort { name: name.to_owned(), protocol, port, target_port, node_port: None }
}

fn service(namespace: &str, name: &str, ip: Ipv4Addr, ports: Vec<ServicePort>) -> Service {
    let meta = Meta { namespace: namespace.to_owned(), name: name.to_owned(), ..Meta::default() };
    Service { meta, cluster_ip: ClusterIp::Fixed(ip), ports, ..Service::default() }
}

/// The endpoint that the API server makes of itself.
fn api_server(node: &Node) -> EndpointSlice {
    let address = EndpointAddress {
        ip: node.ip(),
        hostname: None,
        node_name: None,
        ready: true,
        serving: true,
        terminating: false,
        for_zones: Vec::new(),
        target: None,
    };
    EndpointSlice {
        meta: Meta { namespace: "default".to_owned(), name: "kubernetes".to_owned(), ..Meta::default() },
        service: Some("kubernetes".to_owned()),
        ports: vec![EndpointPort { name: "https".to_owned(), protocol: Protocol::Tcp, port: API_PORT }],
        endpoints: vec![address],
    }
}

fn kube_dns(ip: Ipv4Addr) -> Service {
    let ports = vec![
        service_port("dns", 53, Protocol::Udp, 53),
        service_port("dns-tcp", 53, Protocol::Tcp, 53),
        service_port("metrics", 9153, Protocol::Tcp, 9153),
    ];
    let selector = Some([("k8s-app".to_owned(), KUBE_DNS.to_owned())].into());
    Service { selector, ..service(NAMESPACE, KUBE_DNS, ip, ports) }
}

/// CoreDNS' pods. kubeadm installs them when there is no other node yet.
fn core_dns<'a>(config: &Config, node: &'a Node, given: &'a [Object], prf: &'a Prf) -> impl Iterator<Item = Pod> + 'a {
    let labels = [("k8s-app".to_owned(), KUBE_DNS.to_owned())].into();
    let template = Template { namespace: NAMESPACE, name: COREDNS, labels, spec: pod_spec() };
    (0..DNS_REPLICAS).zip(last(config, node, given)).map(move |(n, ip)| template.pod(node, prf, n, ip))
}

/// istiod's pod, on the same node.
fn istiod(config: &Config, node: &Node, given: &[Object], prf: &Prf) -> Option<Pod> {
    let version = config.istio.as_ref()?.version.number();
    let port = |container_port| ContainerPort { container_port, ..ContainerPort::default() };
    let container = Container {
        name: "discovery".to_owned(),
        image: format!("docker.io/istio/pilot:{version}"),
        args: ["discovery", "--monitoringAddr=:15014", "--domain", &config.domain].map(str::to_owned).to_vec(),
        ports: [8080, 15010, 15017].map(port).to_vec(),
        run_as_user: Some(PROXY_UID),
        run_as_group: Some(PROXY_UID),
        ..Container::default()
    };
    let account = pilot::ISTIOD.to_owned();
    let spec = PodSpec { service_account: account, containers: vec![container], ..PodSpec::default() };
    let labels = ISTIOD_LABELS.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let template = Template { namespace: pilot::NAMESPACE, name: pilot::ISTIOD, labels, spec };
    // Where there is no CoreDNS its addresses stay free.
    let ip = last(config, node, given).nth(DNS_REPLICAS as usize)?;
    Some(template.pod(node, prf, 0, ip))
}

fn istiod_service() -> Service {
    let ports = vec![
        service_port("grpc-xds", 15010, Protocol::Tcp, 15010),
        service_port("https-dns", 15012, Protocol::Tcp, 15012),
        service_port("https-webhook", 443, Protocol::Tcp, 15017),
        service_port("http-monitoring", 15014, Protocol::Tcp, 15014),
    ];
    let selector = ISTIOD_LABELS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let meta = Meta { namespace: pilot::NAMESPACE.to_owned(), name: pilot::ISTIOD.to_owned(), ..Meta::default() };
    Service { meta, ports, selector: Some(selector.into()), ..Service::default() }
}

/// The labels of istiod's pods that its Service selects.
const ISTIOD_LABELS: [(&str, &str); 2] = [("app", pilot::ISTIOD), ("istio", "pilot")];

/// The addresses of a node's pods that nobody has fixed, the last one first.
fn last<'a>(config: &Config, node: &'a Node, given: &'a [Object]) -> impl Iterator<Item = Ipv4Addr> + 'a {
    let is_taken = |ip: &Ipv4Addr| given.iter().any(|o| matches!(o, Object::Pod(p) if p.pod_ip == Some(*ip)));
    let numbers = config.cni.ipam().numbers(node.pod_cidr);
    numbers.rev().map(|n| offset(node.pod_cidr, n)).filter(move |ip| !is_taken(ip))
}

/// What the pods of a Deployment have in common.
struct Template {
    namespace: &'static str,
    name: &'static str,
    labels: Labels,
    spec: PodSpec,
}

impl Template {
    /// Its pod number `n`.
    fn pod(&self, node: &Node, prf: &Prf, n: u64, ip: Ipv4Addr) -> Pod {
        let (namespace, labels) = (self.namespace, self.labels.clone());
        let replica_set = format!("{}-{}", self.name, names::template_hash(prf, namespace, self.name));
        let name = format!("{replica_set}-{}", names::suffix(prf, namespace, &replica_set, n));
        let owner = Some(OwnerReference { kind: "ReplicaSet".to_owned(), name: replica_set });
        Pod {
            meta: Meta { namespace: namespace.to_owned(), name, labels, owner, ..Meta::default() },
            node_name: Some(node.config.name.clone()),
            pod_ip: Some(ip),
            spec: self.spec.clone(),
        }
    }
}

fn pod_spec() -> PodSpec {
    let port = |name: &str, container_port, protocol| ContainerPort {
        name: name.to_owned(),
        container_port,
        protocol,
        host_port: None,
    };
    let ports =
        vec![port("dns", 53, Protocol::Udp), port("dns-tcp", 53, Protocol::Tcp), port("metrics", 9153, Protocol::Tcp)];
    let container = Container {
        name: COREDNS.to_owned(),
        image: "registry.k8s.io/coredns/coredns:v1.11.1".to_owned(),
        args: vec!["-conf".to_owned(), "/etc/coredns/Corefile".to_owned()],
        ports,
        ..Container::default()
    };
    PodSpec { dns_policy: DnsPolicy::Default, containers: vec![container], ..PodSpec::default() }
}
