//! What a cluster has before anybody adds to it: the Service of the API server, and CoreDNS as kubeadm installs it
//! (cmd/kubeadm/app/phases/addons/dns/manifests.go, pkg/controlplane/controller/kubernetesservice of 1.30).

use super::config::Config;
use super::kube_proxy::Protocol;
use super::names;
use super::object::{
    ClusterIp, Container, ContainerPort, DnsPolicy, EndpointAddress, EndpointPort, EndpointSlice, Meta, Object,
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
/// taken from others: CoreDNS has the last addresses of that node's pods.
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
    let replica_set = format!("{COREDNS}-{}", names::template_hash(prf, NAMESPACE, COREDNS));
    let is_taken = |ip: &Ipv4Addr| given.iter().any(|o| matches!(o, Object::Pod(p) if p.pod_ip == Some(*ip)));
    let numbers = config.cni.ipam().numbers(node.pod_cidr);
    let last = numbers.rev().map(|n| offset(node.pod_cidr, n)).filter(move |ip| !is_taken(ip));
    (0..DNS_REPLICAS).zip(last).map(move |(n, ip)| {
        let name = format!("{replica_set}-{}", names::suffix(prf, NAMESPACE, &replica_set, n));
        let owner = Some(OwnerReference { kind: "ReplicaSet".to_owned(), name: replica_set.clone() });
        let labels = [("k8s-app".to_owned(), KUBE_DNS.to_owned())].into();
        Pod {
            meta: Meta { namespace: NAMESPACE.to_owned(), name, labels, owner, ..Meta::default() },
            node_name: Some(node.config.name.clone()),
            pod_ip: Some(ip),
            spec: pod_spec(),
        }
    })
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
