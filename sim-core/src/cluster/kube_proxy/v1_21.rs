//! The rules of 1.21: sources to be masqueraded are sorted out in KUBE-SERVICES and KUBE-NODEPORTS, KUBE-XLB is what
//! KUBE-EXT and KUBE-SVL are later, and what must be dropped gets a mark that the kubelet's rules look at.
//!
//! `internalTrafficPolicy`, hints of zones and endpoints that end have no effect yet.

use super::endpoints::Endpoint;
use super::layout::statistic;
use super::names::{ChainName, endpoint_chain};
use super::service::{ServicePort, TrafficPolicy};
use super::{Backend, Chains, Options, Rules, comment, plain_comment, statics};
use std::net::Ipv4Addr;

/// Who comes from 127.0.0.1 to a node port that keeps sources must be masqueraded all the same.
const LOOPBACK: &str = "-s 127.0.0.0/8";

/// The rules of one Service's port.
pub(super) fn service(options: &Options, backend: &Backend, large: bool, rules: &mut Rules) {
    let Backend { port, endpoints } = backend;
    if let Some(health) = port.health_check_node_port {
        let text = comment(&format!("{} health check node port", port.name));
        rules.filter("KUBE-NODEPORTS").push(format!("{text} -m tcp -p tcp --dport {health} -j ACCEPT"));
    }
    let mut endpoints: Vec<&Endpoint> = endpoints.iter().filter(|e| e.ready).collect();
    endpoints.sort_by_key(|e| e.address());
    if endpoints.is_empty() {
        return refuse(port, rules);
    }
    let text = if large { String::new() } else { plain_comment(&port.name) + " " };
    let chain = |kind: ChainName| kind.of(&port.name, port.protocol);
    let (cluster, local) = (chain(ChainName::Service), chain(ChainName::LocalBalancer));
    let external = if port.external_policy == TrafficPolicy::Local { &local } else { &cluster };
    let service = Service { options, port, text, external: external.clone(), cluster, local };
    service.capture(rules);
    rules.services.insert(port.name.clone(), service.chains(&endpoints));
}

fn refuse(port: &ServicePort, rules: &mut Rules) {
    let text = comment(&format!("{} has no endpoints", port.name));
    let to = |address: Ipv4Addr| format!("{text} {} -j REJECT", port.to(address));
    rules.filter("KUBE-SERVICES").push(to(port.cluster_ip));
    let external = rules.filter("KUBE-EXTERNAL-SERVICES");
    external.extend(port.external_ips.iter().chain(&port.load_balancer_ips).map(|ip| to(*ip)));
    if let Some(node_port) = port.node_port {
        let local = "-m addrtype --dst-type LOCAL";
        external.push(format!("{text} {local} {} --dport {node_port} -j REJECT", port.proto()));
    }
}

/// A Service's port that somebody serves.
struct Service<'a> {
    options: &'a Options,
    port: &'a ServicePort,
    /// The comment of the rules in KUBE-SVC and KUBE-SEP.
    text: String,
    /// KUBE-SVC and KUBE-XLB.
    cluster: String,
    local: String,
    /// The one of them that serves traffic from outside.
    external: String,
}

impl Service<'_> {
    /// Sources are lost on the way to any node's endpoints alone.
    fn keeps_sources(&self) -> bool {
        self.port.external_policy == TrafficPolicy::Local
    }

    /// The rules of the shared chains: which packets are for this Service.
    fn capture(&self, rules: &mut Rules) {
        let port = self.port;
        let to = |what: &str, ip| format!("{} {}", comment(&format!("{} {what}", port.name)), port.to(ip));
        let mark = |to: &str, from: &str| format!("{to}{from} -j KUBE-MARK-MASQ");
        let services = rules.nat("KUBE-SERVICES");
        let cluster_ip = to("cluster IP", port.cluster_ip);
        services.extend(statics::to_masquerade(self.options).map(|from| mark(&cluster_ip, &from)));
        services.push(format!("{cluster_ip} -j {}", self.cluster));
        for ip in &port.external_ips {
            let external_ip = to("external IP", *ip);
            if !self.keeps_sources() {
                let from = self.options.detect_local.if_not_local().map_or(String::new(), |words| format!(" {words}"));
                services.push(mark(&external_ip, &from));
            }
            services.push(format!("{external_ip} -j {}", self.external));
        }
        let firewall = ChainName::Firewall.of(&port.name, port.protocol);
        services
            .extend(port.load_balancer_ips.iter().map(|ip| format!("{} -j {firewall}", to("loadbalancer IP", *ip))));
        if let Some(node_port) = port.node_port {
            let to = format!("{} {} --dport {node_port}", plain_comment(&port.name), port.proto());
            let from = if self.keeps_sources() { format!(" {LOOPBACK}") } else { String::new() };
            rules.nat("KUBE-NODEPORTS").extend([mark(&to, &from), format!("{to} -j {}", self.external)]);
        }
    }

    /// The Service's own chains.
    fn chains(&self, endpoints: &[&Endpoint]) -> Chains {
        let port = self.port;
        let mut chains = Chains::new();
        chains.insert(self.cluster.clone(), self.balance(endpoints, |_| self.text.clone()));
        if self.keeps_sources() {
            chains.insert(self.local.clone(), self.local_rules(endpoints));
        }
        if !port.load_balancer_ips.is_empty() {
            chains.insert(ChainName::Firewall.of(&port.name, port.protocol), self.firewall_rules());
        }
        for endpoint in endpoints {
            let chain = endpoint_chain(&port.name, port.protocol, endpoint);
            let recent = port.affinity_s.map_or(String::new(), |_| format!("-m recent --name {chain} --set "));
            let text = &self.text;
            let rules = vec![
                format!("{text}-s {}/32 -j KUBE-MARK-MASQ", endpoint.ip),
                format!("{text}{recent}{} -j DNAT --to-destination {}", port.proto(), endpoint.address()),
            ];
            chains.insert(chain, rules);
        }
        chains
    }

    /// One of these: the one that the client had before, or any. `text` is the comment of the rule for each.
    fn balance(&self, endpoints: &[&Endpoint], text: impl Fn(usize) -> String) -> Vec<String> {
        let port = self.port;
        let chains: Vec<String> = endpoints.iter().map(|e| endpoint_chain(&port.name, port.protocol, e)).collect();
        let mut rules = Vec::new();
        if let Some(seconds) = port.affinity_s {
            let recent = |chain| format!("-m recent --name {chain} --rcheck --seconds {seconds} --reap");
            rules.extend(chains.iter().map(|chain| format!("{}{} -j {chain}", self.text, recent(chain))));
        }
        for (n, chain) in chains.iter().enumerate() {
            rules.push(format!("{}{}-j {chain}", text(n), statistic(chains.len() - n)));
        }
        rules
    }

    /// KUBE-XLB: pods and the node itself may have any endpoint, all others the node's own.
    fn local_rules(&self, endpoints: &[&Endpoint]) -> Vec<String> {
        let name = &self.port.name;
        let mut rules = Vec::new();
        if let Some(pods) = self.options.detect_local.if_local() {
            let text = comment("Redirect pods trying to reach external loadbalancer VIP to clusterIP");
            rules.push(format!("{text} {pods} -j {}", self.cluster));
        }
        let own = "-m addrtype --src-type LOCAL";
        let text = comment(&format!("masquerade LOCAL traffic for {name} LB IP"));
        rules.push(format!("{text} {own} -j KUBE-MARK-MASQ"));
        let text = comment(&format!("route LOCAL traffic for {name} LB IP to service chain"));
        rules.push(format!("{text} {own} -j {}", self.cluster));
        let local: Vec<&Endpoint> = endpoints.iter().copied().filter(|e| e.local).collect();
        if local.is_empty() {
            rules.push(format!("{} -j KUBE-MARK-DROP", comment(&format!("{name} has no local endpoints"))));
        }
        rules.extend(self.balance(&local, |n| comment(&format!("Balancing rule {n} for {name}")) + " "));
        rules
    }

    /// KUBE-FW: who is in none of the ranges gets the mark. Each address of the load balancer repeats it all.
    fn firewall_rules(&self) -> Vec<String> {
        let port = self.port;
        let text = comment(&format!("{} loadbalancer IP", port.name));
        let ranges = &port.load_balancer_source_ranges;
        let from = |source: &dyn std::fmt::Display| format!("{text} -s {source} -j {}", self.external);
        let mut rules = Vec::new();
        for ip in &port.load_balancer_ips {
            if !self.keeps_sources() {
                rules.push(format!("{text} -j KUBE-MARK-MASQ"));
            }
            if ranges.is_empty() {
                rules.push(format!("{text} -j {}", self.external));
            }
            rules.extend(ranges.iter().map(|range| from(range)));
            // A node that has the load balancer's address itself comes from it.
            if ranges.iter().any(|range| range.contains(&self.options.node_ip)) {
                rules.push(from(ip));
            }
            rules.push(format!("{text} -j KUBE-MARK-DROP"));
        }
        rules
    }
}
