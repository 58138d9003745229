//! Which endpoints a Service's port uses on a node (pkg/proxy/topology.go: CategorizeEndpoints).

use super::service::ServicePort;
use std::net::Ipv4Addr;

/// One endpoint of a Service's port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// It is on this node.
    pub local: bool,
    /// It is ready and does not end.
    pub ready: bool,
    /// It answers, even if it ends.
    pub serving: bool,
    /// Its pod ends.
    pub terminating: bool,
    /// The zones that it should serve (`hints.forZones`).
    pub for_zones: Vec<String>,
}

impl Endpoint {
    /// A ready one.
    pub fn ready(ip: Ipv4Addr, port: u16, local: bool) -> Endpoint {
        Endpoint { ip, port, local, ready: true, serving: true, terminating: false, for_zones: Vec::new() }
    }

    /// `ip:port`
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    fn lingers(&self) -> bool {
        self.serving && self.terminating
    }
}

/// Endpoints by what they are used for, each sorted by the text `ip:port`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Endpoints<'a> {
    /// For the policy Cluster.
    pub cluster: Vec<&'a Endpoint>,
    /// For the policy Local.
    pub local: Vec<&'a Endpoint>,
    /// All of these.
    pub reachable: Vec<&'a Endpoint>,
    /// There is an endpoint anywhere that could be used.
    pub any: bool,
}

impl<'a> Endpoints<'a> {
    /// Of a port on a node in `zone`. Ready endpoints are used; where there are none, those that end but still serve.
    pub fn categorize(port: &ServicePort, all: &'a [Endpoint], zone: Option<&str>) -> Endpoints<'a> {
        let mut sorted: Vec<&Endpoint> = all.iter().collect();
        sorted.sort_by_key(|e| e.address());
        let pick = |which: &dyn Fn(&Endpoint) -> bool| -> Vec<&Endpoint> {
            sorted.iter().copied().filter(|e| which(e)).collect()
        };
        let mut found = Endpoints::default();
        if port.uses_cluster_endpoints() {
            let zone = zone.filter(|zone| can_use_topology(&sorted, zone));
            found.cluster = pick(&|e| e.ready && zone.is_none_or(|zone| e.serves(zone)));
            if found.cluster.is_empty() {
                found.cluster = pick(&Endpoint::lingers);
            }
            found.any = !found.cluster.is_empty();
        }
        if !port.uses_local_endpoints() {
            found.reachable.clone_from(&found.cluster);
            return found;
        }
        found.any = all.iter().any(|e| e.ready || e.lingers());
        found.local = pick(&|e| e.local && e.ready);
        if found.local.is_empty() {
            found.local = pick(&|e| e.local && e.lingers());
        }
        found.reachable = [&found.cluster[..], &found.local].concat();
        found.reachable.sort_by_key(|e| e.address());
        found.reachable.dedup();
        found
    }
}

impl Endpoint {
    fn serves(&self, zone: &str) -> bool {
        self.for_zones.iter().any(|z| z == zone)
    }
}

/// `canUseTopology`: every ready endpoint has hints, and one of them is for the zone.
fn can_use_topology(endpoints: &[&Endpoint], zone: &str) -> bool {
    let mut ready = endpoints.iter().filter(|e| e.ready).peekable();
    let any = ready.peek().is_some();
    any && ready.clone().all(|e| !e.for_zones.is_empty()) && ready.any(|e| e.serves(zone))
}
