//! Connections of UDP that a sync has made wrong (pkg/proxy/conntrack/cleanup.go, and `detectStaleConntrackEntries` of
//! pkg/proxy/endpoints.go, of Kubernetes 1.30). TCP needs none of this: its connections end by themselves.

use super::service::{Protocol, ServicePort};
use super::{Backend, Endpoint};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The commands that kube-proxy runs when its rules lead to `new` and no longer to `old`. conntrack's exit status is 1
/// where there was nothing to delete.
pub fn stale_connections(old: &[Backend], new: &[Backend]) -> Vec<String> {
    let udp = |b: &&Backend| b.port.protocol == Protocol::Udp;
    let ready = |b: &Backend| b.endpoints.iter().any(|e| e.ready);
    // What was refused as long as there was nobody, or is asked for a Service that has gone.
    let gone = old.iter().filter(udp).filter(|b| find(new, &b.port).is_none()).map(|b| b.port.cluster_ip);
    let active = || new.iter().filter(udp).filter(|b| ready(b) && !find(old, &b.port).is_some_and(ready));
    let ips: BTreeSet<Ipv4Addr> = gone.chain(active().flat_map(|b| addresses(&b.port))).collect();
    let mut commands: Vec<String> = ips.iter().map(|ip| format!("conntrack -D --orig-dst {ip} -p udp")).collect();
    let node_ports = active().filter_map(|b| b.port.node_port);
    commands.extend(node_ports.map(|port| format!("conntrack -D -p udp --dport {port}")));
    for backend in old.iter().filter(udp) {
        let Some(now) = find(new, &backend.port) else { continue };
        let remains = |e: &&Endpoint| now.endpoints.iter().any(|n| n.ready && (n.ip, n.port) == (e.ip, e.port));
        for gone in backend.endpoints.iter().filter(|e| e.ready && !remains(e)) {
            let to = format!("--dst-nat {} -p udp", gone.ip);
            commands.extend(
                now.port.node_port.map(|port| format!("conntrack -D -p udp --dport {port} --dst-nat {}", gone.ip)),
            );
            commands.extend(addresses(&now.port).map(|ip| format!("conntrack -D --orig-dst {ip} {to}")));
        }
    }
    commands
}

fn find<'a>(all: &'a [Backend], port: &ServicePort) -> Option<&'a Backend> {
    all.iter().find(|b| b.port.name == port.name && b.port.protocol == port.protocol)
}

/// The addresses that a Service is asked at, besides the nodes'.
fn addresses(port: &ServicePort) -> impl Iterator<Item = Ipv4Addr> {
    let outside = port.external_ips.iter().chain(&port.load_balancer_ips);
    [port.cluster_ip].into_iter().chain(outside.copied())
}
