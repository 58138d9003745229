//! The rules of 1.30 (pkg/proxy/iptables/proxier.go: syncProxyRules).

use super::endpoints::{Endpoint, Endpoints};
use super::names::{ChainName, endpoint_chain};
use super::service::{ServicePort, TrafficPolicy};
use super::{Backend, Chains, Options, Rules, comment, plain_comment, statics};

/// The rules of one Service's port.
pub(super) fn service(options: &Options, backend: &Backend, large: bool, rules: &mut Rules) {
    let port = &backend.port;
    let endpoints = Endpoints::categorize(port, &backend.endpoints, options.zone.as_deref());
    let service = Service::new(options, port, endpoints, large);
    service.capture(rules);
    rules.services.insert(port.name.clone(), service.chains());
}

/// A Service's port, its endpoints on this node and the chains that it uses.
struct Service<'a> {
    options: &'a Options,
    port: &'a ServicePort,
    endpoints: Endpoints<'a>,
    /// The cluster is too large for comments that name endpoints.
    large: bool,
    /// KUBE-SVC, KUBE-SVL, KUBE-EXT and KUBE-FW.
    cluster: String,
    local: String,
    external: String,
    firewall: String,
}

/// Who takes traffic that no endpoint may have.
struct Refusal {
    why: &'static str,
    target: &'static str,
}

impl<'a> Service<'a> {
    fn new(options: &'a Options, port: &'a ServicePort, endpoints: Endpoints<'a>, large: bool) -> Service<'a> {
        let chain = |kind: ChainName| kind.of(&port.name, port.protocol);
        Service {
            options,
            port,
            endpoints,
            large,
            cluster: chain(ChainName::Service),
            local: chain(ChainName::Local),
            external: chain(ChainName::External),
            firewall: chain(ChainName::Firewall),
        }
    }

    /// The chain with the endpoints of a policy.
    fn policy_chain(&self, policy: TrafficPolicy) -> &str {
        match policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        }
    }

    /// Why traffic under a policy finds no endpoint here.
    fn refusal(&self, policy: TrafficPolicy) -> Option<Refusal> {
        if !self.endpoints.any {
            return Some(Refusal { why: "has no endpoints", target: "REJECT" });
        }
        let none = policy == TrafficPolicy::Local && self.endpoints.local.is_empty();
        none.then_some(Refusal { why: "has no local endpoints", target: "DROP" })
    }

    /// There are rules for traffic from outside: also without an endpoint for it, for pods and the node go to others.
    fn uses_external(&self) -> bool {
        self.endpoints.any && self.port.externally_accessible()
    }

    fn uses_firewall(&self) -> bool {
        self.endpoints.any
            && !self.port.load_balancer_ips.is_empty()
            && !self.port.load_balancer_source_ranges.is_empty()
    }

    /// The rules of the shared chains: which packets are for this Service.
    fn capture(&self, rules: &mut Rules) {
        let (port, name) = (self.port, &self.port.name);
        match self.refusal(port.internal_policy) {
            None => {
                let chain = self.policy_chain(port.internal_policy);
                let text = comment(&format!("{name} cluster IP"));
                rules.nat("KUBE-SERVICES").push(format!("{text} {} -j {chain}", port.to(port.cluster_ip)));
            }
            Some(r) => {
                let text = comment(&format!("{name} {}", r.why));
                rules.filter("KUBE-SERVICES").push(format!("{text} {} -j {}", port.to(port.cluster_ip), r.target));
            }
        }
        let balanced = if self.uses_firewall() { &self.firewall } else { &self.external };
        let outside = [
            (&port.external_ips, "external IP", &self.external),
            (&port.load_balancer_ips, "loadbalancer IP", balanced),
        ];
        for (ips, what, chain) in outside.into_iter().filter(|_| self.endpoints.any) {
            let text = comment(&format!("{name} {what}"));
            rules.nat("KUBE-SERVICES").extend(ips.iter().map(|ip| format!("{text} {} -j {chain}", port.to(*ip))));
        }
        if self.uses_firewall() {
            let text = comment(&format!("{name} traffic not accepted by {}", self.firewall));
            let drop = port.load_balancer_ips.iter().map(|ip| format!("{text} {} -j DROP", port.to(*ip)));
            rules.filter("KUBE-PROXY-FIREWALL").extend(drop);
        }
        self.capture_node_port(rules);
        if let Some(health) = port.health_check_node_port {
            let text = comment(&format!("{name} health check node port"));
            rules.filter("KUBE-NODEPORTS").push(format!("{text} -m tcp -p tcp --dport {health} -j ACCEPT"));
        }
    }

    /// The node port, and what is refused of traffic from outside.
    fn capture_node_port(&self, rules: &mut Rules) {
        let (port, name) = (self.port, &self.port.name);
        if let Some(r) = self.refusal(port.external_policy) {
            let text = comment(&format!("{name} {}", r.why));
            let refused = rules.filter("KUBE-EXTERNAL-SERVICES");
            for ip in port.external_ips.iter().chain(&port.load_balancer_ips) {
                refused.push(format!("{text} {} -j {}", port.to(*ip), r.target));
            }
            if let Some(node_port) = port.node_port {
                let local = "-m addrtype --dst-type LOCAL";
                refused.push(format!("{text} {local} {} --dport {node_port} -j {}", port.proto(), r.target));
            }
        }
        if let Some(node_port) = port.node_port.filter(|_| self.endpoints.any) {
            let text = plain_comment(name);
            let rule = format!("{text} {} --dport {node_port} -j {}", port.proto(), self.external);
            rules.nat("KUBE-NODEPORTS").push(rule);
        }
    }

    /// The Service's own chains.
    fn chains(&self) -> Chains {
        let mut chains = Chains::new();
        if self.refusal(self.port.internal_policy).is_none() {
            let chain = self.policy_chain(self.port.internal_policy).to_owned();
            chains.entry(chain).or_default().extend(self.masquerade_internal());
        }
        if self.uses_external() {
            chains.insert(self.external.clone(), self.external_rules());
        }
        if self.uses_firewall() {
            chains.insert(self.firewall.clone(), self.firewall_rules());
        }
        if !self.endpoints.cluster.is_empty() && self.port.uses_cluster_endpoints() {
            self.balance(chains.entry(self.cluster.clone()).or_default(), &self.endpoints.cluster);
        }
        if !self.endpoints.local.is_empty() && self.port.uses_local_endpoints() {
            self.balance(chains.entry(self.local.clone()).or_default(), &self.endpoints.local);
        }
        for endpoint in &self.endpoints.reachable {
            let chain = endpoint_chain(&self.port.name, self.port.protocol, endpoint);
            let rules = self.endpoint_rules(&chain, endpoint);
            chains.insert(chain, rules);
        }
        chains
    }

    /// Who comes to the cluster IP from outside the cluster is masqueraded.
    fn masquerade_internal(&self) -> Option<String> {
        let from = statics::to_masquerade(self.options)?;
        let text = comment(&format!("{} cluster IP", self.port.name));
        Some(format!("{text} {}{from} -j KUBE-MARK-MASQ", self.port.to(self.port.cluster_ip)))
    }

    fn external_rules(&self) -> Vec<String> {
        let (port, name) = (self.port, &self.port.name);
        let mut rules = Vec::new();
        match port.external_policy {
            TrafficPolicy::Cluster => {
                let text = comment(&format!("masquerade traffic for {name} external destinations"));
                rules.push(format!("{text} -j KUBE-MARK-MASQ"));
            }
            TrafficPolicy::Local => {
                if let Some(pods) = self.options.detect_local.if_local() {
                    let text = comment(&format!("pod traffic for {name} external destinations"));
                    rules.push(format!("{text} {pods} -j {}", self.cluster));
                }
                for (verb, to) in [("masquerade", "KUBE-MARK-MASQ"), ("route", &self.cluster)] {
                    let text = comment(&format!("{verb} LOCAL traffic for {name} external destinations"));
                    rules.push(format!("{text} -m addrtype --src-type LOCAL -j {to}"));
                }
            }
        }
        if self.refusal(port.external_policy).is_none() {
            rules.push(format!("-j {}", self.policy_chain(port.external_policy)));
        }
        rules
    }

    /// Who is in none of the ranges falls through to KUBE-PROXY-FIREWALL.
    fn firewall_rules(&self) -> Vec<String> {
        let (port, name) = (self.port, &self.port.name);
        let text = comment(&format!("{name} loadbalancer IP"));
        let from = |source: &dyn std::fmt::Display| format!("{text} -s {source} -j {}", self.external);
        let mut rules: Vec<String> = port.load_balancer_source_ranges.iter().map(|range| from(range)).collect();
        // A node that has the load balancer's address itself comes from it.
        if port.load_balancer_source_ranges.iter().any(|range| range.contains(&self.options.node_ip)) {
            rules.extend(port.load_balancer_ips.iter().map(|ip| from(ip)));
        }
        rules.push(comment(&format!("other traffic to {name} will be dropped by KUBE-PROXY-FIREWALL")));
        rules
    }

    /// `writeServiceToEndpointRules`
    fn balance(&self, rules: &mut Vec<String>, endpoints: &[&Endpoint]) {
        let (port, name) = (self.port, &self.port.name);
        let text = |endpoint: &Endpoint| match self.large {
            true => String::new(),
            false => comment(&format!("{name} -> {}", endpoint.address())) + " ",
        };
        let chains: Vec<String> = endpoints.iter().map(|e| endpoint_chain(name, port.protocol, e)).collect();
        if let Some(seconds) = port.affinity_s {
            for (endpoint, chain) in endpoints.iter().zip(&chains) {
                let recent = format!("-m recent --name {chain} --rcheck --seconds {seconds} --reap");
                rules.push(format!("{}{recent} -j {chain}", text(endpoint)));
            }
        }
        for (left, (endpoint, chain)) in (1..=endpoints.len()).rev().zip(endpoints.iter().zip(&chains)) {
            rules.push(format!("{}{}-j {chain}", text(endpoint), statistic(left)));
        }
    }

    fn endpoint_rules(&self, chain: &str, endpoint: &Endpoint) -> Vec<String> {
        let (port, name) = (self.port, &self.port.name);
        let text = if self.large { String::new() } else { plain_comment(name) + " " };
        let recent = port.affinity_s.map_or(String::new(), |_| format!("-m recent --name {chain} --set "));
        vec![
            format!("{text}-s {} -j KUBE-MARK-MASQ", endpoint.ip),
            format!("{text}{recent}{} -j DNAT --to-destination {}", port.proto(), endpoint.address()),
        ]
    }
}

/// The match that takes one of so many, nothing if there is but one.
pub(super) fn statistic(left: usize) -> String {
    if left == 1 {
        return String::new();
    }
    // "%0.10f" of 1/n in integers, rounded to nearest.
    let scaled = (20_000_000_000 / left as u64).div_ceil(2);
    format!("-m statistic --mode random --probability 0.{scaled:010} ")
}
