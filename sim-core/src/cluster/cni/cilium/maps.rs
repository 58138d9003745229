//! What the agent writes into its programs' maps: identities (pkg/identity), who has which address (pkg/ipcache),
//! Services (pkg/service, pkg/maps/lbmap).

use crate::cluster::store::{Cluster, PlacedPod, Served};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The identities of what is no pod (pkg/identity/numericidentity.go).
pub(super) const HOST: u32 = 1;
pub(super) const HEALTH: u32 = 4;
pub(super) const REMOTE_NODE: u32 = 6;
/// MinimalAllocationIdentity
const FIRST: u32 = 256;

/// Labels that the agent leaves out (pkg/labelsfilter: defaultLabelPrefixCfg).
const IGNORED: [&str; 3] = ["pod-template-generation", "controller-revision-hash", "pod-template-hash"];

/// The identities of the cluster's pods: who has the same labels has the same.
pub(super) struct Identities(BTreeMap<Vec<String>, u32>);

impl Identities {
    /// Differs: they are numbered by their labels, in order, not at random.
    pub fn of(cluster: &Cluster) -> Identities {
        let guests = cluster.pods.iter().filter(|p| !p.spec.host_network);
        let mut all: BTreeMap<Vec<String>, u32> = guests.map(|p| (labels(p), 0)).collect();
        all.values_mut().zip(FIRST..).for_each(|(identity, number)| *identity = number);
        Identities(all)
    }

    /// Of a pod of this cluster.
    pub fn of_pod(&self, pod: &PlacedPod) -> u32 {
        self.0.get(&labels(pod)).copied().unwrap_or(FIRST)
    }
}

/// The security labels of a pod, in order: its own and its namespace's name.
fn labels(pod: &PlacedPod) -> Vec<String> {
    let own = pod.meta.labels.iter().filter(|(key, _)| !IGNORED.contains(&key.as_str()));
    let mut all: Vec<String> = own.map(|(key, value)| format!("k8s:{key}={value}")).collect();
    all.push(format!("k8s:io.kubernetes.pod.namespace={}", pod.meta.namespace));
    all.sort();
    all
}

/// An entry of cilium_ipcache; behind the tunnel to `node`, if there is one.
pub(super) fn ipcache(ip: Ipv4Addr, identity: u32, node: Option<Ipv4Addr>) -> String {
    let tunnel = node.map_or(String::new(), |node| format!(" tunnelendpoint={node}"));
    format!("cilium-agent update cilium_ipcache {ip}/32 identity={identity}{tunnel}")
}

/// The agents' part about Services: their cluster IPs, with those who serve them. Node ports, external addresses and
/// load balancers are kube-proxy's. All agents number alike.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct Balancer {
    /// By address, port and protocol (pkg/service: the ids of services and backends).
    services: BTreeMap<String, usize>,
    backends: BTreeMap<String, usize>,
    /// What the maps hold.
    entries: Entries,
}

/// Values by what stands in front of them in a command, in the order in which they are written: backends before those
/// who speak of them, a Service's slot 0 behind the others.
type Entries = BTreeMap<(u8, String), String>;

impl Balancer {
    /// The commands that bring the maps from what they hold to this.
    pub fn sync(&mut self, served: &[Served]) -> Vec<String> {
        let wanted = self.entries(served);
        let is_new = |(key, value): &(&(u8, String), &String)| self.entries.get(*key) != Some(*value);
        let update = |(key, value): (&(u8, String), &String)| format!("cilium-agent update {} {value}", key.1);
        let mut commands: Vec<String> = wanted.iter().filter(is_new).map(update).collect();
        let gone = self.entries.keys().rev().filter(|key| !wanted.contains_key(*key));
        commands.extend(gone.map(|key| format!("cilium-agent delete {}", key.1)));
        self.entries = wanted;
        commands
    }

    fn entries(&mut self, served: &[Served]) -> Entries {
        let mut entries = Entries::new();
        for s in served {
            let protocol = s.port.protocol.lower().to_uppercase();
            let vip = format!("{}:{}", s.port.cluster_ip, s.port.port);
            let frontend = format!("{vip}/{protocol}");
            let rev_nat = number(&mut self.services, &frontend);
            let ready = s.endpoints.iter().filter(|(e, _)| e.ready);
            let mut slots = 0;
            for (e, _) in ready {
                let address = format!("{}:{}/{protocol}", e.ip, e.port);
                let backend = number(&mut self.backends, &address);
                slots += 1;
                entries.insert((0, format!("cilium_lb4_backends_v3 {backend}")), address);
                let value = format!("backend={backend} count=0 rev_nat={rev_nat}");
                entries.insert((2, format!("cilium_lb4_services_v2 {frontend} {slots}")), value);
            }
            entries.insert((1, format!("cilium_lb4_reverse_nat {rev_nat}")), vip);
            let value = format!("backend=0 count={slots} rev_nat={rev_nat}");
            entries.insert((3, format!("cilium_lb4_services_v2 {frontend} 0")), value);
        }
        entries
    }
}

/// The number of `name`, from one; a new one behind all others.
fn number(known: &mut BTreeMap<String, usize>, name: &str) -> usize {
    let next = known.len() + 1;
    *known.entry(name.to_owned()).or_insert(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kube_proxy::{Endpoint, PortName, Protocol, ServicePort, TrafficPolicy};

    fn served(vip: [u8; 4], endpoints: &[[u8; 4]]) -> Served {
        let name = PortName { namespace: "default".into(), service: "web".into(), port: String::new() };
        let port = ServicePort {
            name,
            protocol: Protocol::Tcp,
            cluster_ip: vip.into(),
            port: 80,
            node_port: None,
            external_ips: vec![],
            load_balancer_ips: vec![],
            load_balancer_source_ranges: vec![],
            affinity_s: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
        };
        let endpoint = |ip: &[u8; 4]| Endpoint {
            ip: (*ip).into(),
            port: 8080,
            local: false,
            ready: true,
            serving: true,
            terminating: false,
            for_zones: vec![],
        };
        Served { port, endpoints: endpoints.iter().map(|ip| (endpoint(ip), None)).collect() }
    }

    /// Only what changes is written, and what others were called stays: connections hold the numbers.
    #[test]
    fn a_service_more_or_less_changes_no_other() {
        let mut balancer = Balancer::default();
        let web = served([10, 96, 0, 9], &[[10, 0, 0, 3], [10, 0, 0, 4]]);
        let first = [
            "cilium-agent update cilium_lb4_backends_v3 1 10.0.0.3:8080/TCP",
            "cilium-agent update cilium_lb4_backends_v3 2 10.0.0.4:8080/TCP",
            "cilium-agent update cilium_lb4_reverse_nat 1 10.96.0.9:80",
            "cilium-agent update cilium_lb4_services_v2 10.96.0.9:80/TCP 1 backend=1 count=0 rev_nat=1",
            "cilium-agent update cilium_lb4_services_v2 10.96.0.9:80/TCP 2 backend=2 count=0 rev_nat=1",
            "cilium-agent update cilium_lb4_services_v2 10.96.0.9:80/TCP 0 backend=0 count=2 rev_nat=1",
        ];
        assert_eq!(balancer.sync(std::slice::from_ref(&web)), first);
        let other = served([10, 96, 0, 2], &[[10, 0, 0, 4]]);
        let second = [
            "cilium-agent update cilium_lb4_reverse_nat 2 10.96.0.2:80",
            "cilium-agent update cilium_lb4_services_v2 10.96.0.2:80/TCP 1 backend=2 count=0 rev_nat=2",
            "cilium-agent update cilium_lb4_services_v2 10.96.0.2:80/TCP 0 backend=0 count=1 rev_nat=2",
        ];
        assert_eq!(balancer.sync(&[other.clone(), web]), second);
        let web = served([10, 96, 0, 9], &[[10, 0, 0, 4]]);
        let third = [
            "cilium-agent update cilium_lb4_services_v2 10.96.0.9:80/TCP 1 backend=2 count=0 rev_nat=1",
            "cilium-agent update cilium_lb4_services_v2 10.96.0.9:80/TCP 0 backend=0 count=1 rev_nat=1",
            "cilium-agent delete cilium_lb4_services_v2 10.96.0.9:80/TCP 2",
            "cilium-agent delete cilium_lb4_backends_v3 1",
        ];
        assert_eq!(balancer.sync(&[other, web]), third);
    }
}
