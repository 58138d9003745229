//! kube-proxy in iptables mode (pkg/proxy/iptables/proxier.go of Kubernetes 1.30 and 1.21).
//!
//! A [`Proxier`] is one node's. At each sync it is given all Services with their endpoints and answers with commands:
//! `iptables` for the jumps from the built-in chains, where they are missing, and one atomic `iptables-restore`. A
//! [`Runner`] says when the next one may be.
//!
//! Where kube-proxy walks a Go map, whose order is random, Services come in the order of their names here.

mod endpoints;
mod layout;
mod names;
mod runner;
mod service;
mod stale;
mod statics;
mod v1_21;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

pub use endpoints::{Endpoint, Endpoints};
pub use names::{ChainName, PortName};
pub use runner::{DEFAULT_MIN_SYNC_PERIOD_NS, Runner};
pub use service::{Protocol, ServicePort, TrafficPolicy};
pub use stale::stale_connections;
pub use statics::LOCALNET_RULE;

/// With more endpoints, rules have no comments that name endpoints (`largeClusterEndpointsThreshold`).
pub const LARGE_CLUSTER_ENDPOINTS: usize = 1000;

/// Which kube-proxy it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Version {
    /// 1.21.
    V1_21,
    /// 1.30.
    #[default]
    V1_30,
}

/// How kube-proxy tells a pod's packets from others (`--detect-local-mode`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DetectLocal {
    /// By the source: `--cluster-cidr`, or the node's own pod CIDR.
    Cidr(Ipv4Net),
    /// By the bridge that they come in by.
    Bridge(String),
    /// By how the name of their device begins.
    InterfacePrefix(String),
    /// Not at all: pods are not told from others.
    None,
}

impl DetectLocal {
    /// `IfLocal`: the match of packets from pods.
    fn if_local(&self) -> Option<String> {
        self.words("")
    }

    /// `IfNotLocal`: the match of all others.
    fn if_not_local(&self) -> Option<String> {
        self.words("! ")
    }

    fn words(&self, not: &str) -> Option<String> {
        match self {
            DetectLocal::Cidr(net) => Some(format!("{not}-s {net}")),
            DetectLocal::Bridge(name) => Some(format!("{not}-i {name}")),
            DetectLocal::InterfacePrefix(prefix) => Some(format!("{not}-i {prefix}+")),
            DetectLocal::None => None,
        }
    }
}

/// kube-proxy's settings on a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Which kube-proxy it is.
    pub version: Version,
    /// How pods are recognised.
    pub detect_local: DetectLocal,
    /// `--masquerade-all`
    pub masquerade_all: bool,
    /// `MASQUERADE` is told `--random-fully`, which iptables knows since 1.6.2.
    pub random_fully: bool,
    /// `--iptables-localhost-nodeports`: node ports answer on 127.0.0.1 too.
    pub localhost_nodeports: bool,
    /// `--nodeport-addresses`, resolved to the node's addresses; none for all of them.
    pub nodeport_addresses: Option<Vec<Ipv4Addr>>,
    /// net.netfilter.nf_conntrack_tcp_be_liberal is set: there is no rule for INVALID.
    pub tcp_be_liberal: bool,
    /// The node's own address.
    pub node_ip: Ipv4Addr,
    /// Its `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

impl Options {
    /// The defaults of kube-proxy on a node.
    pub fn new(node_ip: Ipv4Addr, detect_local: DetectLocal) -> Options {
        Options {
            version: Version::default(),
            detect_local,
            masquerade_all: false,
            random_fully: true,
            localhost_nodeports: true,
            nodeport_addresses: None,
            tcp_be_liberal: false,
            node_ip,
            zone: None,
        }
    }
}

/// A Service's port and who serves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    /// The port.
    pub port: ServicePort,
    /// Its endpoints, in any order.
    pub endpoints: Vec<Endpoint>,
}

/// What a sync asks of the kernel, in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sync {
    /// Chains and the jumps to them.
    pub ensure: Vec<Ensure>,
    /// The standard input of `iptables-restore -w --noflush --counters`; none if nothing has changed.
    pub restore: Option<String>,
}

impl Sync {
    /// The command of the restore. `iptables` is the program that works with the node's backend.
    pub fn restore_command(&self, iptables: &str) -> Option<String> {
        self.restore.as_ref().map(|text| format!("{iptables}-restore -w --noflush --counters <<EOF\n{text}EOF\n"))
    }
}

/// What has to be there before a restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ensure {
    /// `EnsureChain`: `iptables -t TABLE -N CHAIN`, which may fail because it exists.
    Chain {
        /// Of which table.
        table: &'static str,
        /// Its name.
        chain: &'static str,
    },
    /// `EnsureRule` with `Prepend`: `iptables -t TABLE -C RULE`, and if that fails `iptables -t TABLE -I RULE`.
    Rule {
        /// Of which table.
        table: &'static str,
        /// The built-in chain and the rule.
        rule: String,
    },
}

/// kube-proxy on one node.
#[derive(Clone, Debug)]
pub struct Proxier {
    options: Options,
    /// What the last sync wrote.
    last: Written,
}

/// Rules as they were written.
#[derive(Clone, Debug, Default)]
struct Written {
    /// The rules of the chains that all Services share.
    shared: String,
    /// The chains of each Service's port, each with its rules.
    services: BTreeMap<PortName, Chains>,
}

/// Chains by name, each with the lines that fill it.
type Chains = BTreeMap<String, Vec<String>>;

impl Proxier {
    /// Before its first sync.
    pub fn new(options: Options) -> Proxier {
        Proxier { options, last: Written::default() }
    }

    /// `syncProxyRules`. Since 1.27 chains of Services that have not changed are left out of the text and so keep their
    /// counters. Chains that are no longer needed are emptied and deleted.
    pub fn sync(&mut self, backends: &[Backend]) -> Sync {
        let mut backends: Vec<&Backend> = backends.iter().collect();
        backends.sort_by(|a, b| (&a.port.name, a.port.protocol).cmp(&(&b.port.name, b.port.protocol)));
        let rules = rules(&self.options, &backends);
        let ensure = if self.last.shared.is_empty() { statics::ensure(&self.options) } else { Vec::new() };
        let partial = self.options.version >= Version::V1_30;
        let shared = rules.shared();
        let same = shared == self.last.shared && rules.services == self.last.services;
        let restore = (!same).then(|| rules.restore(&self.last, partial));
        self.last = Written { shared, services: rules.services };
        Sync { ensure, restore }
    }
}

/// Everything that there is to write.
fn rules(options: &Options, backends: &[&Backend]) -> Rules {
    let service = match options.version {
        Version::V1_21 => v1_21::service,
        Version::V1_30 => layout::service,
    };
    let mut rules = Rules::default();
    statics::declare(options, &mut rules);
    let large = backends.iter().map(|b| b.endpoints.len()).sum::<usize>() > LARGE_CLUSTER_ENDPOINTS;
    backends.iter().for_each(|backend| service(options, backend, large, &mut rules));
    statics::node_ports(options, &mut rules);
    statics::fill(options, &mut rules);
    rules
}

/// What there is to write, by table and chain. Chains of the filter table and those of the nat table that all Services
/// share are written at every sync.
#[derive(Clone, Debug, Default)]
struct Rules {
    filter: Vec<(&'static str, Vec<String>)>,
    nat: Vec<(&'static str, Vec<String>)>,
    services: BTreeMap<PortName, Chains>,
}

impl Rules {
    /// A chain of the filter table that all Services share.
    fn filter(&mut self, chain: &'static str) -> &mut Vec<String> {
        shared_chain(&mut self.filter, chain)
    }

    /// The same of the nat table.
    fn nat(&mut self, chain: &'static str) -> &mut Vec<String> {
        shared_chain(&mut self.nat, chain)
    }

    /// The lines that do not depend on the sync before.
    fn shared(&self) -> String {
        let mut out = String::new();
        for (chain, rules) in self.filter.iter().chain(&self.nat) {
            rules.iter().for_each(|rule| append(&mut out, chain, rule));
        }
        out
    }

    /// The text for iptables-restore.
    fn restore(&self, last: &Written, partial: bool) -> String {
        let mut out = "*filter\n".to_owned();
        write_table(&mut out, &self.filter);
        out += "COMMIT\n*nat\n";
        let all: BTreeSet<&str> = self.services.values().flat_map(Chains::keys).map(String::as_str).collect();
        let old = last.services.values().flat_map(Chains::keys).map(String::as_str);
        let stale: BTreeSet<&str> = old.filter(|chain| !all.contains(chain)).collect();
        let changed = |(name, chains): &(&PortName, &Chains)| !partial || last.services.get(*name) != Some(*chains);
        let written: Vec<&Chains> = self.services.iter().filter(changed).map(|(_, chains)| chains).collect();
        for (chain, _) in &self.nat {
            declare(&mut out, chain);
        }
        let own = written.iter().flat_map(|chains| chains.keys()).map(String::as_str);
        own.chain(stale.iter().copied()).for_each(|chain| declare(&mut out, chain));
        for (chain, rules) in &self.nat {
            rules.iter().for_each(|rule| append(&mut out, chain, rule));
        }
        for (chain, rules) in written.iter().flat_map(|chains| chains.iter()) {
            rules.iter().for_each(|rule| append(&mut out, chain, rule));
        }
        for chain in stale {
            out += &format!("-X {chain}\n");
        }
        out + "COMMIT\n"
    }
}

fn shared_chain<'a>(table: &'a mut Vec<(&'static str, Vec<String>)>, chain: &'static str) -> &'a mut Vec<String> {
    let at = table.iter().position(|(name, _)| *name == chain).unwrap_or_else(|| {
        table.push((chain, Vec::new()));
        table.len() - 1
    });
    &mut table[at].1
}

fn write_table(out: &mut String, chains: &[(&'static str, Vec<String>)]) {
    chains.iter().for_each(|(chain, _)| declare(out, chain));
    for (chain, rules) in chains {
        rules.iter().for_each(|rule| append(out, chain, rule));
    }
}

fn declare(out: &mut String, chain: &str) {
    *out += &format!(":{chain} - [0:0]\n");
}

fn append(out: &mut String, chain: &str, rule: &str) {
    *out += &format!("-A {chain} {rule}\n");
}

/// `-m comment --comment NAME`
fn plain_comment(name: &PortName) -> String {
    format!("-m comment --comment {name}")
}

/// `-m comment --comment "TEXT"`
fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\"")
}
