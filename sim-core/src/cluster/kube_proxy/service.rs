//! A Service's port as kube-proxy sees it (pkg/proxy/serviceport.go).

use super::names::PortName;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The protocol of a Service's port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// As rules and chain names have it.
    pub fn lower(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// `internalTrafficPolicy`, `externalTrafficPolicy`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TrafficPolicy {
    /// All endpoints.
    #[default]
    Cluster,
    /// Those of the node alone.
    Local,
}

/// A port of a Service that has a cluster IP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Whose it is.
    pub name: PortName,
    /// Its protocol.
    pub protocol: Protocol,
    /// The Service's address.
    pub cluster_ip: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// The port on every node.
    pub node_port: Option<u16>,
    /// `externalIPs`
    pub external_ips: Vec<Ipv4Addr>,
    /// The load balancer's addresses, from the Service's status.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// Who may use them; empty for everybody.
    pub load_balancer_source_ranges: Vec<Ipv4Net>,
    /// With `sessionAffinity: ClientIP`, how long it lasts, in seconds.
    pub affinity_s: Option<u32>,
    /// For the cluster IP.
    pub internal_policy: TrafficPolicy,
    /// For all other addresses.
    pub external_policy: TrafficPolicy,
    /// Where load balancers ask whether the node has endpoints.
    pub health_check_node_port: Option<u16>,
}

impl ServicePort {
    /// A port with a cluster IP alone.
    pub fn new(name: PortName, protocol: Protocol, cluster_ip: Ipv4Addr, port: u16) -> ServicePort {
        ServicePort {
            name,
            protocol,
            cluster_ip,
            port,
            node_port: None,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            load_balancer_source_ranges: Vec::new(),
            affinity_s: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
        }
    }

    /// `ExternallyAccessible`: by a node port, an external address or a load balancer.
    pub fn externally_accessible(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    /// `UsesClusterEndpoints`. With a policy Local for traffic from outside they serve the node's own.
    pub(super) fn uses_cluster_endpoints(&self) -> bool {
        self.internal_policy == TrafficPolicy::Cluster || self.externally_accessible()
    }

    /// `UsesLocalEndpoints`
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_policy == TrafficPolicy::Local
            || self.external_policy == TrafficPolicy::Local && self.externally_accessible()
    }

    /// `-m tcp -p tcp`
    pub(super) fn proto(&self) -> String {
        let p = self.protocol.lower();
        format!("-m {p} -p {p}")
    }

    /// The match of packets to one of the Service's addresses.
    pub(super) fn to(&self, address: Ipv4Addr) -> String {
        format!("{} -d {address} --dport {}", self.proto(), self.port)
    }
}
