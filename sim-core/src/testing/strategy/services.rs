//! Services, and kube-proxy's rules for them.

use crate::cluster::kube_proxy::{
    Backend, DetectLocal, Endpoint, Ensure, Options, PortName, Protocol, Proxier, ServicePort, TrafficPolicy, Version,
};
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Services as kube-proxy on one node sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Services {
    /// kube-proxy's settings.
    pub options: Options,
    /// The Services' ports with who serves them.
    pub backends: Vec<Backend>,
}

impl Services {
    /// What kube-proxy runs at its first sync, in order.
    pub fn commands(&self) -> Vec<String> {
        let sync = Proxier::new(self.options.clone()).sync(&self.backends);
        // A chain that is there already is not made again.
        let mut made = BTreeSet::new();
        let missing = sync.ensure.iter().filter(|e| match e {
            Ensure::Chain { table, chain } => made.insert((*table, *chain)),
            Ensure::Rule { .. } => true,
        });
        let ensure = missing.map(|e| match e {
            Ensure::Chain { table, chain } => format!("iptables -t {table} -N {chain}"),
            Ensure::Rule { table, rule } => format!("iptables -t {table} -I {rule}"),
        });
        ensure.chain(sync.restore_command("iptables")).collect()
    }
}

/// At most `most` Services with cluster IPs from 10.96.0.1 on, some with node ports, affinity or the policy Local, each
/// with up to three endpoints in the pods' network, which are on this node or not; by kube-proxy 1.30 and 1.21. Shrinks
/// to no Services, and those to one TCP port without endpoints.
pub fn services(node: Ipv4Addr, pods: Ipv4Net, most: usize) -> impl Strategy<Value = Services> {
    let version = prop::sample::select(vec![Version::V1_30, Version::V1_21]);
    let service = (
        prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]),
        prop::collection::vec((2..30u8, any::<bool>()), 0..3),
        prop::option::of(30_000..30_100u16),
        prop::option::weighted(0.2, Just(10_800u32)),
        any::<[bool; 2]>(),
    );
    (version, any::<bool>(), prop::collection::vec(service, 0..=most)).prop_map(
        move |(version, masquerade_all, list)| {
            let detect_local = DetectLocal::Cidr(pods);
            let options = Options { version, masquerade_all, ..Options::new(node, detect_local) };
            let policy = |local: bool| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            let backends =
                list.into_iter().enumerate().map(|(n, (protocol, endpoints, node_port, affinity_s, local))| {
                    let name = PortName { namespace: "default".into(), service: format!("s{n}"), port: String::new() };
                    let address = Ipv4Addr::from(Ipv4Addr::new(10, 96, 0, 1).to_bits() + n as u32);
                    let mut endpoints: Vec<Endpoint> = endpoints
                        .into_iter()
                        .map(|(host, here)| {
                            Endpoint::ready((pods.network().to_bits() + u32::from(host)).into(), 8080, here)
                        })
                        .collect();
                    endpoints.sort_by_key(Endpoint::address);
                    endpoints.dedup_by(|a, b| a.address() == b.address());
                    let port = ServicePort {
                        // Each has a node port of its own.
                        node_port: node_port.map(|port| port + 100 * n as u16),
                        affinity_s,
                        internal_policy: policy(local[0]),
                        external_policy: policy(local[1]),
                        ..ServicePort::new(name, protocol, address, 80)
                    };
                    Backend { port, endpoints }
                });
            Services { options, backends: backends.collect() }
        },
    )
}
