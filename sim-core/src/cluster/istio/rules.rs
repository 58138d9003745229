//! istio-init: from its arguments to the text that it hands to `iptables-restore --noflush`
//! (tools/istio-iptables/pkg/capture/run.go and builder/iptables_builder_impl.go of Istio 1.13.4 and 1.30.3).
//!
//! ```text
//!   PREROUTING --> ISTIO_INBOUND --> ISTIO_IN_REDIRECT --> :15006      what comes to the pod
//!   OUTPUT ------> ISTIO_OUTPUT ---> ISTIO_REDIRECT -----> :15001      what its programs send
//!                       `--(proxy to its own pod)--> ISTIO_IN_REDIRECT
//! ```
//!
//! Differs: 1.13.4 writes its tables in the order of a Go map, which changes from run to run; here they are sorted, as
//! 1.30.3 does.

use super::Version;
use crate::user::envoy::config::{HEALTH_PORT, INBOUND_PORT, INBOUND_SOURCE, OUTBOUND_PORT, STATS_PORT};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The tunnel's port (HBONE), which nobody redirects (`-e`).
pub const TUNNEL_PORT: u16 = 15008;
/// pilot-agent's port for health and metrics.
pub const STATUS_PORT: u16 = 15020;
/// pilot-agent's port for DNS.
pub const DNS_PORT: u16 = 15053;
/// The user and the group that the proxy runs as (`-u`, `-g`).
pub const PROXY_UID: u32 = 1337;
/// In TPROXY mode: the mark of packets for the proxy, and of those that the proxy sends to its own pod.
pub const TPROXY_MARK: u32 = 1337;
const OUTBOUND_MARK: u32 = 1338;
/// In TPROXY mode: the routing table of what has that mark.
const TPROXY_TABLE: u32 = 133;
/// What programs that know of the proxy use.
const LOOPBACK: &str = "127.0.0.1/32";

/// What istio-init is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arguments {
    /// Whose rules they are.
    pub version: Version,
    /// How connections that come in get to the proxy (`-m`).
    pub mode: Mode,
    /// Ports of the pod whose connections go to the proxy (`-b`).
    pub inbound_ports: Ports,
    /// Where that is all of them, but these (`-d`).
    pub inbound_exclude: Vec<u16>,
    /// Destinations that go to the proxy (`-i`).
    pub outbound_ranges: Ranges,
    /// But these (`-x`).
    pub outbound_exclude: Vec<Ipv4Net>,
    /// Ports that go to the proxy wherever they are (`-q`).
    pub outbound_ports: Vec<u16>,
    /// Ports that never do (`-o`).
    pub outbound_ports_exclude: Vec<u16>,
    /// Questions to these name servers go to pilot-agent; none if they do not (`ISTIO_META_DNS_CAPTURE`).
    pub dns: Vec<Ipv4Addr>,
}

/// How connections that come in get to the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// By another destination.
    #[default]
    Redirect,
    /// As they are, by a mark and a route.
    Tproxy,
}

/// A choice of ports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Ports {
    /// `*`
    #[default]
    All,
    /// These.
    These(Vec<u16>),
}

/// A choice of networks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Ranges {
    /// `*`
    #[default]
    All,
    /// These.
    These(Vec<Ipv4Net>),
}

impl Arguments {
    /// As the sidecar injector's template has them where no annotation says otherwise.
    pub fn new(version: Version) -> Arguments {
        Arguments {
            version,
            mode: Mode::default(),
            inbound_ports: Ports::default(),
            inbound_exclude: vec![STATS_PORT, HEALTH_PORT, STATUS_PORT],
            outbound_ranges: Ranges::default(),
            outbound_exclude: Vec::new(),
            outbound_ports: Vec::new(),
            outbound_ports_exclude: Vec::new(),
            dns: Vec::new(),
        }
    }

    /// The rules file.
    pub fn rules(&self) -> String {
        let mut rules = Rules { version: self.version, all: Vec::new() };
        rules.append("nat", "ISTIO_INBOUND", format!("-p tcp --dport {TUNNEL_PORT} -j RETURN"));
        rules.append("nat", "ISTIO_REDIRECT", format!("-p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}"));
        rules.append("nat", "ISTIO_IN_REDIRECT", format!("-p tcp -j REDIRECT --to-ports {INBOUND_PORT}"));
        self.inbound(&mut rules);
        self.outbound(&mut rules);
        if self.mode == Mode::Tproxy {
            tproxy(&mut rules);
        }
        rules.text()
    }

    /// configureTProxyRoutes: by commands of `ip`, without its name.
    pub fn routes(&self) -> Vec<String> {
        if self.mode != Mode::Tproxy || self.inbound_ports == Ports::These(Vec::new()) {
            return Vec::new();
        }
        let rule = format!("rule add fwmark {TPROXY_MARK} lookup {TPROXY_TABLE}");
        vec![rule, format!("route add local default dev lo table {TPROXY_TABLE}")]
    }

    /// handleInboundPortsInclude
    fn inbound(&self, rules: &mut Rules) {
        let table = if self.mode == Mode::Tproxy { "mangle" } else { "nat" };
        let port = |port: u16| format!("-p tcp --dport {port}");
        if self.inbound_ports == Ports::These(Vec::new()) {
            return;
        }
        if self.mode == Mode::Tproxy {
            rules.append(table, "ISTIO_DIVERT", format!("-j MARK --set-mark {TPROXY_MARK}"));
            rules.append(table, "ISTIO_DIVERT", "-j ACCEPT");
            let target = format!("-j TPROXY --tproxy-mark {TPROXY_MARK}/0xffffffff --on-port {INBOUND_PORT}");
            rules.append(table, "ISTIO_TPROXY", format!("! -d {LOOPBACK} -p tcp {target}"));
        }
        rules.append(table, "PREROUTING", "-p tcp -j ISTIO_INBOUND");
        let matches = match &self.inbound_ports {
            Ports::All => {
                for excluded in &self.inbound_exclude {
                    rules.append(table, "ISTIO_INBOUND", format!("{} -j RETURN", port(*excluded)));
                }
                vec!["-p tcp".to_owned()]
            }
            Ports::These(ports) => ports.iter().map(|p| port(*p)).collect(),
        };
        for matched in matches {
            if self.mode == Mode::Tproxy {
                let established = "-m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT";
                rules.append(table, "ISTIO_INBOUND", format!("{matched} {established}"));
                rules.append(table, "ISTIO_INBOUND", format!("{matched} -j ISTIO_TPROXY"));
            } else {
                rules.append(table, "ISTIO_INBOUND", format!("{matched} -j ISTIO_IN_REDIRECT"));
            }
        }
    }

    /// The chain ISTIO_OUTPUT, and what goes by.
    fn outbound(&self, rules: &mut Rules) {
        let old = self.version == Version::V1_13;
        rules.append("nat", "OUTPUT", if old { "-p tcp -j ISTIO_OUTPUT" } else { "-j ISTIO_OUTPUT" });
        for port in &self.outbound_ports_exclude {
            rules.output(format!("-p tcp --dport {port} -j RETURN"));
            if !old {
                rules.output(format!("-p udp --dport {port} -j RETURN"));
            }
        }
        rules.output(format!("-o lo -s {INBOUND_SOURCE}/32 -j RETURN"));
        self.by_owner(rules, "--uid-owner");
        self.by_owner(rules, "--gid-owner");
        if old {
            for server in &self.dns {
                rules.output(format!("-p tcp --dport 53 -d {server}/32 -j REDIRECT --to-ports {DNS_PORT}"));
            }
        } else if !self.dns.is_empty() {
            self.dns_1_30(rules);
        }
        rules.output(format!("-d {LOOPBACK} -j RETURN"));
        for net in &self.outbound_exclude {
            rules.output(format!("-d {net} -j RETURN"));
        }
        for port in &self.outbound_ports {
            rules.output(format!("-p tcp --dport {port} -j ISTIO_REDIRECT"));
        }
        match &self.outbound_ranges {
            Ranges::All => rules.output("-j ISTIO_REDIRECT"),
            Ranges::These(nets) => {
                for net in nets {
                    rules.output(format!("-d {net} -j ISTIO_REDIRECT"));
                }
                if old && !nets.is_empty() {
                    rules.output("-j RETURN");
                }
            }
        }
        if old && !self.dns.is_empty() {
            self.dns_1_13(rules);
        }
    }

    /// What the proxy's user or group sends, and what others do to the pod itself.
    fn by_owner(&self, rules: &mut Rules, owner: &str) {
        let (dns, by_user) = (!self.dns.is_empty(), owner == "--uid-owner");
        let own_pod = match (self.version, dns && by_user) {
            (Version::V1_13, true) => " -p tcp ! --dport 53".to_owned(),
            (Version::V1_13, false) => String::new(),
            (Version::V1_30, true) => format!(" -p tcp -m multiport ! --dports 53,{TUNNEL_PORT}"),
            (Version::V1_30, false) => format!(" -p tcp ! --dport {TUNNEL_PORT}"),
        };
        let proxy = format!("-m owner {owner} {PROXY_UID}");
        rules.output(format!("-o lo ! -d {LOOPBACK}{own_pod} {proxy} -j ISTIO_IN_REDIRECT"));
        let loopback_included =
            matches!(&self.outbound_ranges, Ranges::These(nets) if nets.iter().any(|n| n.addr().is_loopback()));
        if !loopback_included {
            let not_dns = if dns { " -p tcp ! --dport 53" } else { "" };
            rules.output(format!("-o lo{not_dns} -m owner ! {owner} {PROXY_UID} -j RETURN"));
        }
        rules.output(format!("{proxy} -j RETURN"));
    }

    /// Questions by UDP to pilot-agent: in OUTPUT itself (HandleDNSUDP).
    fn dns_1_13(&self, rules: &mut Rules) {
        for owner in ["--uid-owner", "--gid-owner"] {
            rules.append("nat", "OUTPUT", format!("-p udp --dport 53 -m owner {owner} {PROXY_UID} -j RETURN"));
        }
        for server in &self.dns {
            let target = format!("-j REDIRECT --to-port {DNS_PORT}");
            rules.append("nat", "OUTPUT", format!("-p udp --dport 53 -d {server}/32 {target}"));
        }
        self.dns_zones(rules, "OUTPUT", "PREROUTING");
    }

    /// Questions to pilot-agent: in chains of their own (SetupDNSRedir).
    fn dns_1_30(&self, rules: &mut Rules) {
        rules.append("raw", "OUTPUT", "-j ISTIO_OUTPUT_DNS");
        rules.output("-j ISTIO_OUTPUT_DNS");
        for (protocol, option) in [("tcp", "--to-ports"), ("udp", "--to-port")] {
            for server in &self.dns {
                let target = format!("-j REDIRECT {option} {DNS_PORT}");
                rules.append("nat", "ISTIO_OUTPUT_DNS", format!("-p {protocol} --dport 53 -d {server}/32 {target}"));
            }
        }
        self.dns_zones(rules, "ISTIO_OUTPUT_DNS", "ISTIO_INBOUND");
    }

    /// pilot-agent's questions have one conntrack zone, those of the pod's programs another: they may have the same
    /// ports.
    fn dns_zones(&self, rules: &mut Rules, output: &'static str, input: &'static str) {
        for owner in ["--uid-owner", "--gid-owner"] {
            let proxy = format!("-m owner {owner} {PROXY_UID}");
            rules.append("raw", output, format!("-p udp --dport 53 {proxy} -j CT --zone 1"));
            rules.append("raw", output, format!("-p udp --sport {DNS_PORT} {proxy} -j CT --zone 2"));
        }
        if input != "PREROUTING" {
            rules.append("raw", "PREROUTING", format!("-j {input}"));
        }
        for server in &self.dns {
            rules.append("raw", output, format!("-p udp --dport 53 -d {server}/32 -j CT --zone 2"));
            rules.append("raw", input, format!("-p udp --sport 53 -s {server}/32 -j CT --zone 1"));
        }
    }
}

/// What TPROXY mode adds: marks by which connections find the proxy, and the proxy's the pod's programs.
fn tproxy(rules: &mut Rules) {
    let (mark, table) = (format!("-m mark --mark {TPROXY_MARK}"), "mangle");
    rules.append(table, "PREROUTING", format!("-p tcp {mark} -j CONNMARK --save-mark"));
    rules.append(table, "OUTPUT", format!("-p tcp -o lo {mark} -j RETURN"));
    for owner in ["--uid-owner", "--gid-owner"] {
        let target = format!("-j MARK --set-mark {OUTBOUND_MARK}");
        rules.append(table, "OUTPUT", format!("! -d {LOOPBACK} -p tcp -o lo -m owner {owner} {PROXY_UID} {target}"));
    }
    rules.append(table, "OUTPUT", format!("-p tcp -m connmark --mark {TPROXY_MARK} -j CONNMARK --restore-mark"));
    rules.insert(table, "ISTIO_INBOUND", 1, &format!("-p tcp {mark} -j RETURN"));
    rules.insert(table, "ISTIO_INBOUND", 2, &format!("-p tcp -s {INBOUND_SOURCE}/32 -i lo -j RETURN"));
    rules.insert(table, "ISTIO_INBOUND", 3, &format!("-p tcp -i lo -m mark ! --mark {OUTBOUND_MARK} -j RETURN"));
}

/// Rules in the order in which they are written, each with its table and its chain.
struct Rules {
    version: Version,
    all: Vec<(&'static str, &'static str, String)>,
}

impl Rules {
    fn append(&mut self, table: &'static str, chain: &'static str, rule: impl AsRef<str>) {
        self.all.push((table, chain, format!("-A {chain} {}", rule.as_ref())));
    }

    fn insert(&mut self, table: &'static str, chain: &'static str, at: u32, rule: &str) {
        self.all.push((table, chain, format!("-I {chain} {at} {rule}")));
    }

    fn output(&mut self, rule: impl AsRef<str>) {
        self.append("nat", "ISTIO_OUTPUT", rule);
    }

    /// buildRestore: for each table the chains, as they come, and then the rules. 1.30.3 makes chains that are only
    /// jumped to, too.
    fn text(&self) -> String {
        let mut tables: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
        for (table, chain, rule) in &self.all {
            let (chains, rules) = tables.entry(table).or_default();
            declare(chains, chain);
            rules.push(rule);
        }
        if self.version >= Version::V1_30 {
            for (chains, rules) in tables.values_mut() {
                rules.iter().filter_map(|r| r.rsplit_once(" -j ")).for_each(|(_, chain)| declare(chains, chain));
            }
        }
        let mut text = String::new();
        for (table, (chains, rules)) in tables {
            let _ = writeln!(text, "* {table}");
            for chain in chains {
                let _ = writeln!(text, "-N {chain}");
            }
            for rule in rules {
                let _ = writeln!(text, "{rule}");
            }
            text += "COMMIT\n";
        }
        text
    }
}

fn declare<'a>(chains: &mut Vec<&'a str>, chain: &'a str) {
    if chain.starts_with("ISTIO_") && !chains.contains(&chain) {
        chains.push(chain);
    }
}

#[cfg(test)]
mod tests;
