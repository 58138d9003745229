//! The rules of 1.21, as far as a Service has a cluster IP and a node port or no endpoints: sources to be masqueraded
//! are sorted out in KUBE-SERVICES, and there is no KUBE-EXT.

use super::endpoints::{Endpoint, Endpoints};
use super::layout::statistic;
use super::names::{ChainName, endpoint_chain};
use super::service::ServicePort;
use super::{Backend, Chains, Options, Rules, comment, plain_comment, statics};

/// The rules of one Service's port.
pub(super) fn service(options: &Options, backend: &Backend, large: bool, rules: &mut Rules) {
    let Backend { port, endpoints } = backend;
    let endpoints = Endpoints::categorize(port, endpoints, options.zone.as_deref()).cluster;
    if endpoints.is_empty() {
        return refuse(port, rules);
    }
    capture(options, port, rules);
    let text = if large { String::new() } else { plain_comment(&port.name) + " " };
    rules.services.insert(port.name.clone(), chains(port, &endpoints, &text));
}

fn refuse(port: &ServicePort, rules: &mut Rules) {
    let text = comment(&format!("{} has no endpoints", port.name));
    rules.filter("KUBE-SERVICES").push(format!("{text} {} -j REJECT", port.to(port.cluster_ip)));
    if let Some(node_port) = port.node_port {
        let rule = format!("{text} -m addrtype --dst-type LOCAL {} --dport {node_port} -j REJECT", port.proto());
        rules.filter("KUBE-EXTERNAL-SERVICES").push(rule);
    }
}

fn capture(options: &Options, port: &ServicePort, rules: &mut Rules) {
    let chain = ChainName::Service.of(&port.name, port.protocol);
    let to = format!("{} {}", comment(&format!("{} cluster IP", port.name)), port.to(port.cluster_ip));
    let services = rules.nat("KUBE-SERVICES");
    if let Some(from) = statics::to_masquerade(options) {
        services.push(format!("{to}{from} -j KUBE-MARK-MASQ"));
    }
    services.push(format!("{to} -j {chain}"));
    if let Some(node_port) = port.node_port {
        let to = format!("{} {} --dport {node_port}", plain_comment(&port.name), port.proto());
        rules.nat("KUBE-NODEPORTS").extend([format!("{to} -j KUBE-MARK-MASQ"), format!("{to} -j {chain}")]);
    }
}

/// KUBE-SVC and KUBE-SEP. `text` is the comment of all their rules.
fn chains(port: &ServicePort, endpoints: &[&Endpoint], text: &str) -> Chains {
    let mut chains = Chains::new();
    let names: Vec<String> = endpoints.iter().map(|e| endpoint_chain(&port.name, port.protocol, e)).collect();
    let mut service = Vec::new();
    if let Some(seconds) = port.affinity_s {
        let recent = |chain| format!("-m recent --name {chain} --rcheck --seconds {seconds} --reap");
        service.extend(names.iter().map(|chain| format!("{text}{} -j {chain}", recent(chain))));
    }
    for (left, chain) in (1..=names.len()).rev().zip(&names) {
        service.push(format!("{text}{}-j {chain}", statistic(left)));
    }
    chains.insert(ChainName::Service.of(&port.name, port.protocol), service);
    for (endpoint, chain) in endpoints.iter().zip(names) {
        let recent = port.affinity_s.map_or(String::new(), |_| format!("-m recent --name {chain} --set "));
        let rules = vec![
            format!("{text}-s {}/32 -j KUBE-MARK-MASQ", endpoint.ip),
            format!("{text}{recent}{} -j DNAT --to-destination {}", port.proto(), endpoint.address()),
        ];
        chains.insert(chain, rules);
    }
    chains
}
