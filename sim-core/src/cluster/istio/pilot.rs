//! What istiod tells each proxy: listeners, routes, clusters and endpoints from Services and pods
//! (pilot/pkg/networking/core/v1alpha3 of Istio 1.13.4). A program ([`crate::user::istiod`]) carries it to them.
//!
//! Differs: a headless Service has no listener and no cluster of its own: its pods are reached as unknown destinations,
//! in plain text. Ports with TLS by their name are forwarded as they are, without a look at the name inside.

use super::policy::TrafficPolicy;
use super::rules::Mode;
use super::{Istio, Mtls, Version, inject};
use crate::cluster::kube_proxy::Protocol as Transport;
use crate::cluster::object::{ClusterIp, EndpointAddress, EndpointSlice, Meta, Service, ServicePort, selects};
use crate::cluster::store::{self, Cluster, PlacedPod};
use crate::user::envoy::config::{
    self as envoy, Bootstrap, Config, DISCOVERY_PORT, Discovery, Endpoint, Filter, Inbound, LbPolicy, Listener,
    MtlsMode, Node, Protocol, RetryPolicy, Route, UpstreamProtocol, VirtualHost,
};
use crate::user::istiod;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The namespace of the control plane.
pub const NAMESPACE: &str = "istio-system";
/// Its Service, and the label `app` of its pods.
pub const ISTIOD: &str = "istiod";
/// Ports without a name whose clients wait for the server's first word: nobody looks for HTTP there
/// (pkg/config/kube: wellKnownPorts).
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

impl Cluster {
    /// What the proxy of a pod starts with; none if the cluster has no istiod.
    pub(in crate::cluster) fn bootstrap(&self, pod: &PlacedPod) -> Option<Bootstrap> {
        let service = self.services.get(&(NAMESPACE.to_owned(), ISTIOD.to_owned()))?;
        let ClusterIp::Fixed(ip) = service.cluster_ip else { return None };
        let version = self.config.istio.as_ref().map_or(Version::default(), |istio| istio.version);
        Some(Bootstrap {
            node: Node {
                id: self.node_id(pod),
                address: pod.ip,
                identity: self.identity(pod),
                metadata: self.metadata(pod, version),
            },
            discovery: Some(Discovery {
                address: SocketAddrV4::new(ip, DISCOVERY_PORT),
                host: format!("{ISTIOD}.{NAMESPACE}.svc"),
            }),
            config: None,
            concurrency: 2,
            access_log: false,
            transparent: self.init_arguments(pod).is_some_and(|a| a.mode == Mode::Tproxy),
        })
    }

    /// The files that istiod works by: what it tells each proxy.
    pub(in crate::cluster) fn registry(&self) -> Vec<(String, String)> {
        let Some(istio) = &self.config.istio else { return Vec::new() };
        let proxies = self.pods.iter().filter(|p| inject::is_injected(&p.spec) && !p.ip.is_unspecified());
        let mut of_namespaces = BTreeMap::new();
        let file = |pod: &PlacedPod| {
            let namespace = &pod.meta.namespace;
            let made = || self.upstreams(istio, namespace);
            let clusters = of_namespaces.entry(namespace.clone()).or_insert_with(made).clone();
            let config = Config { clusters, ..self.listeners(istio, pod) };
            let text = serde_json::to_string(&config).ok()?;
            Some((istiod::registry_file(&self.node_id(pod)), text))
        };
        proxies.filter_map(file).collect()
    }

    /// The pod that istiod runs in.
    pub(in crate::cluster) fn istiod(&self) -> Option<&PlacedPod> {
        let is =
            |p: &&PlacedPod| p.meta.namespace == NAMESPACE && p.meta.labels.get("app").is_some_and(|app| app == ISTIOD);
        self.pods.iter().find(is)
    }

    /// What istiod tells a pod's proxy, but for the clusters, which those of a namespace have in common.
    fn listeners(&self, istio: &Istio, pod: &PlacedPod) -> Config {
        let mut config = Config { inbound_mtls: self.mtls(istio, pod, None).mode(), ..Config::default() };
        for (service, ip) in self.meshed() {
            for port in tcp_ports(service) {
                self.listener(&mut config, pod, service, port, ip);
                config.inbound.extend(self.inbound(istio, pod, service, port));
            }
        }
        // The first Service of a port is asked.
        let mut ports = BTreeSet::new();
        config.inbound.retain(|inbound| ports.insert(inbound.port));
        config
    }

    /// What a pod asks for, at a port of its own or at any.
    fn mtls(&self, istio: &Istio, pod: &PlacedPod, port: Option<u16>) -> Mtls {
        self.policies.mtls(istio.mtls, &pod.meta.namespace, &pod.meta.labels, port)
    }

    /// The clusters of all Services, for the proxies of a namespace.
    fn upstreams(&self, istio: &Istio, namespace: &str) -> Vec<envoy::Cluster> {
        let pods: Pods<'_> = self.pods.iter().map(|p| ((p.meta.namespace.as_str(), p.meta.name.as_str()), p)).collect();
        let mut all = Vec::new();
        for (service, _) in self.meshed() {
            let slices = self.endpoints(service);
            let policy = self.policies.traffic(namespace, &service.meta, &self.host(service));
            all.extend(tcp_ports(service).map(|port| self.upstream(istio, service, port, &slices, (&policy, &pods))));
        }
        all
    }

    /// The Services that have an address.
    fn meshed(&self) -> impl Iterator<Item = (&Service, Ipv4Addr)> {
        self.services.values().filter_map(|service| match service.cluster_ip {
            ClusterIp::Fixed(ip) => Some((service, ip)),
            ClusterIp::Any | ClusterIp::Headless => None,
        })
    }

    /// A Service's host name.
    fn host(&self, service: &Service) -> String {
        let Meta { namespace, name, .. } = &service.meta;
        format!("{name}.{namespace}.svc.{}", self.config.domain)
    }

    /// Adds a port of a Service to the listeners: all HTTP of a port number has one, all else one for each address
    /// (buildSidecarOutboundListener).
    fn listener(&self, config: &mut Config, pod: &PlacedPod, service: &Service, port: &ServicePort, ip: Ipv4Addr) {
        let (host, number) = (self.host(service), port.port);
        let cluster = format!("outbound|{number}||{host}");
        let own = |domains| VirtualHost {
            name: format!("{host}:{number}"),
            domains,
            routes: vec![Route {
                name: "default".to_owned(),
                prefix: "/".to_owned(),
                cluster: cluster.clone(),
                decorator: format!("{host}:{number}/*"),
                retry: Some(RetryPolicy::default()),
            }],
        };
        let (address, filter) = match protocol(port) {
            Protocol::Http | Protocol::Http2 => {
                let hosts = own(domains(&pod.meta.namespace, service, &host, number, ip));
                let shared = |l: &&mut Listener| l.address.is_unspecified() && l.port == number;
                if let Some(Listener { filter: Filter::Http(all), .. }) = config.outbound.iter_mut().find(shared) {
                    return all.push(hosts);
                }
                (Ipv4Addr::UNSPECIFIED, Filter::Http(vec![hosts]))
            }
            Protocol::Tcp => (ip, Filter::Tcp(cluster.clone())),
            Protocol::Auto => (ip, Filter::Sniff(vec![own(vec!["*".to_owned()])], cluster.clone())),
        };
        config.outbound.push(Listener { address, port: number, filter });
    }

    /// The cluster of a Service's port, with the endpoints that are ready (buildOutboundClusters, EndpointBuilder).
    fn upstream(
        &self,
        istio: &Istio,
        service: &Service,
        port: &ServicePort,
        slices: &[EndpointSlice],
        (policy, pods): (&TrafficPolicy, &Pods<'_>),
    ) -> envoy::Cluster {
        let ready = |e: &&EndpointAddress| e.ready || service.publish_not_ready;
        // mtlsChecker: a rule goes before what the pod has and asks for.
        let identity = |e: &EndpointAddress, port| {
            let (namespace, name) = e.target.as_ref()?;
            let pod = pods.get(&(namespace.as_str(), name.as_str()))?;
            let takes = || inject::is_injected(&pod.spec) && self.mtls(istio, pod, Some(port)) != Mtls::Disable;
            policy.mutual_tls.unwrap_or_else(takes).then(|| self.identity(pod))
        };
        let mut endpoints = Vec::new();
        for slice in slices {
            let Some(target) = slice.ports.iter().find(|p| p.name == port.name) else { continue };
            endpoints.extend(slice.endpoints.iter().filter(ready).map(|e| Endpoint {
                address: SocketAddrV4::new(e.ip, target.port),
                identity: identity(e, target.port),
            }));
        }
        let mut cluster = envoy::Cluster {
            lb_policy: match istio.version {
                Version::V1_13 => LbPolicy::RoundRobin,
                Version::V1_30 => LbPolicy::LeastRequest,
            },
            protocol: match protocol(port) {
                Protocol::Http | Protocol::Tcp => UpstreamProtocol::Http11,
                Protocol::Http2 => UpstreamProtocol::Http2,
                Protocol::Auto => UpstreamProtocol::UseDownstream,
            },
            endpoints,
            ..envoy::Cluster::outbound(&self.host(service), port.port)
        };
        policy.apply(&mut cluster);
        cluster
    }

    /// The port of the pod behind a Service's, if it selects the pod.
    fn inbound(&self, istio: &Istio, pod: &PlacedPod, service: &Service, port: &ServicePort) -> Option<Inbound> {
        let selector = service.selector.as_ref().filter(|s| !s.is_empty())?;
        let is_own = service.meta.namespace == pod.meta.namespace && selects(selector, &pod.meta.labels);
        is_own.then_some(())?;
        let number = store::target_port(port, &pod.spec)?;
        Some(Inbound {
            port: number,
            protocol: protocol(port),
            mtls: self.mtls(istio, pod, Some(number)).mode(),
            decorator: format!("{}:{}/*", self.host(service), port.port),
        })
    }

    /// `core.v3.Node.id`
    fn node_id(&self, pod: &PlacedPod) -> String {
        let Meta { namespace, name, .. } = &pod.meta;
        format!("sidecar~{}~{name}.{namespace}~{namespace}.svc.{}", pod.ip, self.config.domain)
    }

    /// The SPIFFE id of a pod's account.
    fn identity(&self, pod: &PlacedPod) -> String {
        let account = if pod.spec.service_account.is_empty() { "default" } else { &pod.spec.service_account };
        format!("spiffe://{}/ns/{}/sa/{account}", self.config.domain, pod.meta.namespace)
    }

    fn metadata(&self, pod: &PlacedPod, version: Version) -> Vec<(String, String)> {
        let Meta { namespace, name, owner, .. } = &pod.meta;
        let replica_set = owner.as_ref().filter(|o| o.kind == "ReplicaSet").and_then(|o| o.name.rsplit_once('-'));
        // A replica's name is that of its Deployment, the template's hash and a suffix.
        let hash = pod.meta.labels.get(HASH).and_then(|hash| name.find(&format!("-{hash}-")));
        let workload = replica_set.map(|(of, _)| of).or(hash.map(|at| &name[..at])).unwrap_or(name);
        let of = match workload == name {
            true => format!("kubernetes://apis/v1/namespaces/{namespace}/pods/{name}"),
            false => format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{workload}"),
        };
        let account = if pod.spec.service_account.is_empty() { "default" } else { &pod.spec.service_account };
        let (ip, domain) = (pod.ip.to_string(), &self.config.domain);
        let all = [
            ("CLUSTER_ID", "Kubernetes"),
            ("INSTANCE_IPS", &ip),
            ("ISTIO_VERSION", version.number()),
            ("MESH_ID", domain),
            ("NAME", name),
            ("NAMESPACE", namespace),
            ("OWNER", &of),
            ("SERVICE_ACCOUNT", account),
            ("WORKLOAD_NAME", workload),
        ];
        all.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }
}

/// Pods by their namespaces and names.
type Pods<'a> = BTreeMap<(&'a str, &'a str), &'a PlacedPod>;

fn tcp_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.ports.iter().filter(|p| p.protocol == Transport::Tcp)
}

/// The label by which a Deployment's pods tell its templates apart.
const HASH: &str = "pod-template-hash";

impl Mtls {
    pub(super) fn mode(self) -> MtlsMode {
        match self {
            Mtls::Permissive => MtlsMode::Permissive,
            Mtls::Strict => MtlsMode::Strict,
            Mtls::Disable => MtlsMode::Disable,
        }
    }
}

/// What is spoken at a port: what its name begins with (pkg/config/kube: ConvertProtocol).
fn protocol(port: &ServicePort) -> Protocol {
    if port.name.is_empty() {
        return if SERVER_FIRST.contains(&port.port) { Protocol::Tcp } else { Protocol::Auto };
    }
    if port.name.starts_with("grpc-web") {
        return Protocol::Http;
    }
    match port.name.split('-').next().unwrap_or_default().to_lowercase().as_str() {
        "http" => Protocol::Http,
        "http2" | "grpc" => Protocol::Http2,
        "https" | "tls" | "tcp" | "mongo" | "redis" | "mysql" => Protocol::Tcp,
        _ => Protocol::Auto,
    }
}

/// What the Host field of a request to a Service may say, from a pod in `namespace` (generateVirtualHostDomains).
fn domains(namespace: &str, service: &Service, host: &str, port: u16, ip: Ipv4Addr) -> Vec<String> {
    let Meta { namespace: of, name, .. } = &service.meta;
    let mut names = vec![host.to_owned()];
    if of == namespace {
        names.push(name.clone());
    }
    names.extend([format!("{name}.{of}.svc"), format!("{name}.{of}"), ip.to_string()]);
    names.into_iter().flat_map(|name| [name.clone(), format!("{name}:{port}")]).collect()
}
