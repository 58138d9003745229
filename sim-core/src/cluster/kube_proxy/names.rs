//! Names of Service ports and of the chains that belong to them (pkg/proxy/types.go, pkg/proxy/iptables/proxier.go:
//! portProtoHash, servicePortEndpointChainName).

use super::endpoints::Endpoint;
use super::service::Protocol;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A Service's port: `namespace/service:port`, or `namespace/service` if the port has no name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PortName {
    /// The Service's namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// The port's name; empty if it has none.
    pub port: String,
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortName { namespace, service, port } = self;
        write!(f, "{namespace}/{service}")?;
        if port.is_empty() { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// What a chain of a Service is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainName {
    /// All endpoints: policy Cluster.
    Service,
    /// The node's own endpoints: policy Local.
    Local,
    /// Traffic from outside that keeps its source, before 1.24.
    LocalBalancer,
    /// Traffic from outside the cluster.
    External,
    /// What `loadBalancerSourceRanges` lets through.
    Firewall,
}

impl ChainName {
    /// The chain's name for a port.
    pub fn of(self, port: &PortName, protocol: Protocol) -> String {
        let prefix = match self {
            ChainName::Service => "KUBE-SVC-",
            ChainName::Local => "KUBE-SVL-",
            ChainName::LocalBalancer => "KUBE-XLB-",
            ChainName::External => "KUBE-EXT-",
            ChainName::Firewall => "KUBE-FW-",
        };
        format!("{prefix}{}", hash(&format!("{port}{}", protocol.lower())))
    }
}

/// The chain of one endpoint of a port.
pub fn endpoint_chain(port: &PortName, protocol: Protocol, endpoint: &Endpoint) -> String {
    format!("KUBE-SEP-{}", hash(&format!("{port}{}{}", protocol.lower(), endpoint.address())))
}

/// The first 16 letters of SHA-256 in base 32 (RFC 4648 section 6): 80 bits.
fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(text.as_bytes());
    let bits = digest[..10].iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    (0..16).rev().map(|n| char::from(ALPHABET[(bits >> (5 * n)) as usize & 31])).collect()
}
