//! What a proxy is told, as plain data. Names and defaults are those of Envoy 1.21 and of the configuration that istiod
//! 1.13 makes (pilot/pkg/networking/core/v1alpha3). [`super::discovery`] carries it to a running proxy.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where the proxy takes what the pod's programs send (REDIRECT of ISTIO_REDIRECT).
pub const OUTBOUND_PORT: u16 = 15001;
/// Where it takes what comes to the pod (ISTIO_IN_REDIRECT).
pub const INBOUND_PORT: u16 = 15006;
/// Where it says whether it is ready: `GET /healthz/ready`.
pub const HEALTH_PORT: u16 = 15021;
/// Where it shows its counters: `GET /stats/prometheus`.
pub const STATS_PORT: u16 = 15090;
/// Where istiod listens.
pub const DISCOVERY_PORT: u16 = 15012;
/// In TPROXY mode, the mark of what it sends to its own pod (`mark` of `envoy.filters.listener.original_src`).
pub const INBOUND_MARK: u32 = 1337;
/// The address by which the proxy speaks to its own pod (InboundPassthroughBindIpv4).
pub const INBOUND_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// What a proxy knows when it starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// Who it is.
    pub node: Node,
    /// Where istiod is; none for a proxy whose configuration never changes.
    pub discovery: Option<Discovery>,
    /// What it begins with. With istiod it is nothing, and the proxy is not ready before the first update.
    pub config: Option<Config>,
    /// Worker threads (`--concurrency`), each with connections of its own: 2.
    pub concurrency: u32,
    /// `ISTIO_META_INTERCEPTION_MODE=TPROXY`: its listeners have IP_TRANSPARENT, and what comes to the pod goes on from
    /// the client's own address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transparent: bool,
    /// It prints a line for each request and each connection (`meshConfig.accessLogFile: /dev/stdout`).
    pub access_log: bool,
}

/// The proxy's node (`core.v3.Node`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// `sidecar~10.244.1.2~sleep-7d5b.default~default.svc.cluster.local`
    pub id: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Its SPIFFE id: `spiffe://cluster.local/ns/default/sa/sleep`.
    pub identity: String,
    /// What it tells its peers of itself in `x-envoy-peer-metadata`, by name: `NAME`, `NAMESPACE`, `CLUSTER_ID`, …
    pub metadata: Vec<(String, String)>,
}

/// The connection to istiod.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Discovery {
    /// The Service's address and port.
    pub address: SocketAddrV4,
    /// The name in its certificate: `istiod.istio-system.svc`.
    pub host: String,
}

/// Listeners, routes and clusters.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// What it does with connections of the pod's programs, by where they were meant to go. A listener with an address
    /// goes before one for any address.
    pub outbound: Vec<Listener>,
    /// What becomes of those without a listener or route.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// What it does with connections to the pod, by port.
    pub inbound: Vec<Inbound>,
    /// Mutual TLS at the ports that are not listed.
    pub inbound_mtls: MtlsMode,
    /// Where it can send to, by name.
    pub clusters: Vec<Cluster>,
}

/// A listener for connections that were meant to go to one address and port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// The Service's address; 0.0.0.0 for any, as all HTTP ports have it.
    pub address: Ipv4Addr,
    /// The Service's port.
    pub port: u16,
    /// What it does with them.
    pub filter: Filter,
}

/// The filters of a listener.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Filter {
    /// `http_connection_manager`: requests are routed one by one. What is no HTTP goes where it was meant to go.
    Http(Vec<VirtualHost>),
    /// `tcp_proxy` to this cluster, from the first moment.
    Tcp(String),
    /// The first bytes decide (`http_inspector`): requests are routed, anything else goes to the cluster.
    Sniff(Vec<VirtualHost>, String),
}

/// Routes for names of hosts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualHost {
    /// `web.default.svc.cluster.local:80`
    pub name: String,
    /// What the Host field may say: the Service's names and address, each with and without its port; `*` for all.
    pub domains: Vec<String>,
    /// The first whose prefix fits is taken.
    pub routes: Vec<Route>,
}

/// Where requests for a path go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// `default`, as istiod names it.
    pub name: String,
    /// The path begins so.
    pub prefix: String,
    /// The cluster.
    pub cluster: String,
    /// How it is called in traces, told to the peer: `web.default.svc.cluster.local:80/*`.
    pub decorator: String,
    /// When it is tried once more; none for never.
    pub retry: Option<RetryPolicy>,
}

/// When a request is sent once more (`retry_policy`), to another endpoint if there is one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPolicy {
    /// So often at most, behind the first time.
    pub num_retries: u32,
    /// When there was no connection.
    pub connect_failure: bool,
    /// When the peer has refused the stream (HTTP/2's REFUSED_STREAM).
    pub refused_stream: bool,
    /// When the answer has one of these.
    pub status_codes: Vec<u16>,
    /// So often an endpoint is drawn that was not tried yet.
    pub host_selection_attempts: u32,
}

impl Default for RetryPolicy {
    /// As istiod has it: `connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes`.
    fn default() -> Self {
        RetryPolicy {
            num_retries: 2,
            connect_failure: true,
            refused_stream: true,
            status_codes: vec![503],
            host_selection_attempts: 5,
        }
    }
}

/// What becomes of requests and connections to what the mesh does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundTrafficPolicy {
    /// They go where they were meant to go (PassthroughCluster).
    #[default]
    AllowAny,
    /// Connections are closed, requests answered with 502 (BlackHoleCluster).
    RegistryOnly,
}

/// A port of the pod's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inbound {
    /// The port at which the pod's program listens.
    pub port: u16,
    /// The protocol that its Service names.
    pub protocol: Protocol,
    /// Whether peers must speak mutual TLS.
    pub mtls: MtlsMode,
    /// How its requests are called in traces: `web.default.svc.cluster.local:80/*`.
    pub decorator: String,
}

/// What is spoken at a port, by its name or appProtocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// `http`
    Http,
    /// `http2` and `grpc`
    Http2,
    /// `tcp`, `mysql` and the like
    Tcp,
    /// Not named: the first bytes decide.
    #[default]
    Auto,
}

/// PeerAuthentication's mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MtlsMode {
    /// Mutual TLS with those who speak it, plain text with others.
    #[default]
    Permissive,
    /// Mutual TLS alone.
    Strict,
    /// Plain text alone.
    Disable,
}

/// Endpoints that are one for who sends there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// `outbound|80||web.default.svc.cluster.local`
    pub name: String,
    /// Which endpoint is taken.
    pub lb_policy: LbPolicy,
    /// HTTP/1.1 or HTTP/2.
    pub protocol: UpstreamProtocol,
    /// How long a connection may take to come up, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long an HTTP connection without a request is kept, in milliseconds; none for ever.
    pub idle_timeout_ms: Option<u64>,
    /// A connection takes so many requests; zero for any number.
    pub max_requests_per_connection: u32,
    /// Limits, for each kind of thing at once.
    pub circuit_breakers: CircuitBreakers,
    /// The name that is told in the ClientHello of mutual TLS: `outbound_.80_._.web.default.svc.cluster.local`.
    pub sni: String,
    /// Whom it sends to.
    pub endpoints: Vec<Endpoint>,
}

impl Cluster {
    /// A cluster with istiod's defaults and no endpoints. Its names are those of a port of a Service.
    pub fn outbound(host: &str, port: u16) -> Self {
        Cluster {
            name: format!("outbound|{port}||{host}"),
            lb_policy: LbPolicy::RoundRobin,
            protocol: UpstreamProtocol::Http11,
            connect_timeout_ms: 10_000,
            idle_timeout_ms: Some(3_600_000),
            max_requests_per_connection: 0,
            circuit_breakers: CircuitBreakers::default(),
            sni: format!("outbound_.{port}_._.{host}"),
            endpoints: Vec::new(),
        }
    }
}

/// How an endpoint is chosen (`Cluster.LbPolicy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LbPolicy {
    /// One after the other, from a random one on.
    #[default]
    RoundRobin,
    /// Of two random ones that with fewer requests under way.
    LeastRequest,
    /// Any.
    Random,
}

/// What is spoken to a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UpstreamProtocol {
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2: the port's name says so, or `h2UpgradePolicy: UPGRADE`.
    Http2,
    /// What the client speaks.
    UseDownstream,
}

/// The most of each at once (`circuit_breakers`); istiod sets none but these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CircuitBreakers {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests.
    pub max_requests: u32,
    /// Requests that are tried once more.
    pub max_retries: u32,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        let max = u32::MAX;
        CircuitBreakers { max_connections: max, max_pending_requests: max, max_requests: max, max_retries: max }
    }
}

/// One of a cluster's endpoints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// The pod's address and port.
    pub address: SocketAddrV4,
    /// The SPIFFE id of its sidecar, which is spoken to in mutual TLS; none for plain text (`tlsMode: disabled`).
    pub identity: Option<String>,
}
