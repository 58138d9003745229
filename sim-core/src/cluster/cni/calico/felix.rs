//! Felix's iptables rules and sets (felix/rules, felix/iptables, felix/ipsets of Calico 3.22 and later): from the
//! workloads, profiles and policies of a node, the pools of addresses and the tunnels, to the texts that it hands to
//! `ipset restore` and `iptables-restore --noflush`.
//!
//! Every rule has a comment with a hash of all rules of its chain up to it, by which Felix finds what others changed.
//! The hash is of Felix's own spelling of a rule; iptables-save prints another.

mod policy;
mod sets;
mod tables;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::Ipv4Net;
use policy::Policy;
use sha2::{Digest, Sha224, Sha256};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Characters of a hash in a comment (HashLength).
const HASH_LEN: usize = 16;
/// A chain's name is no longer (MaxChainNameLength).
const MAX_CHAIN_NAME: usize = 28;
/// What the names of workloads' interfaces begin with.
const WORKLOADS: &str = "cali+";

/// What Felix on a node knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::cluster) struct Felix {
    /// The workloads on this node.
    pub workloads: Vec<Workload>,
    /// The policies that are on one of them.
    pub policies: Vec<Policy>,
    /// The pools of addresses.
    pub pools: Vec<Pool>,
    /// The addresses of all nodes, this one's first.
    pub hosts: Vec<Ipv4Addr>,
    /// There is an IPIP tunnel, `tunl0`.
    pub ipip: bool,
    /// There is a VXLAN tunnel, `vxlan.calico`.
    pub vxlan: bool,
}

/// A workload endpoint: a pod's end on the node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::cluster) struct Workload {
    /// Its interface.
    pub interface: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's service account.
    pub service_account: String,
    /// The policies on what comes to it, by name, in order.
    pub ingress: Vec<String>,
    /// The policies on what it sends.
    pub egress: Vec<String>,
}

/// An IPPool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct Pool {
    /// Its network.
    pub cidr: Ipv4Net,
    /// natOutgoing: what leaves all pools is masqueraded.
    pub masquerade: bool,
}

/// The texts that Felix hands to its tools.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct Texts {
    /// For `ipset restore`.
    pub sets: String,
    /// For `iptables-restore --noflush`.
    pub rules: String,
}

impl Felix {
    /// All sets and rules, for a node that has none of them.
    pub fn render(&self) -> Texts {
        Texts { sets: self.sets(), rules: self.tables().iter().map(Table::text).collect() }
    }

    /// The chains that are new or others than `before`, for `iptables-restore --noflush`.
    pub fn update(&self, before: &Felix) -> String {
        let mut text = String::new();
        for (mut table, old) in self.tables().into_iter().zip(before.tables()) {
            table.inserts.clear();
            table.appends.clear();
            table.chains.retain(|chain| !old.chains.contains(chain));
            if !table.chains.is_empty() {
                text.push_str(&table.text());
            }
        }
        text
    }

    /// The profiles of the workloads, each once: their namespaces' and their service accounts'.
    fn profiles(&self) -> Vec<(String, bool)> {
        let mut all: Vec<_> = self.workloads.iter().flat_map(Workload::profiles).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Workload {
    /// kns, which allows everything, and ksa, which is empty.
    fn profiles(&self) -> [(String, bool); 2] {
        let (namespace, account) = (&self.namespace, &self.service_account);
        [(format!("kns.{namespace}"), true), (format!("ksa.{namespace}.{account}"), false)]
    }
}

/// A table of iptables, as far as it is Felix's.
struct Table {
    name: &'static str,
    /// Rules in front of built-in chains, one each.
    inserts: Vec<(&'static str, String)>,
    /// Rules behind them.
    appends: Vec<(&'static str, Vec<String>)>,
    chains: Vec<Chain>,
}

/// A chain of Felix's own, with its rules in Felix's spelling.
#[derive(PartialEq, Eq)]
struct Chain {
    name: String,
    rules: Vec<String>,
}

impl Chain {
    fn new(name: impl Into<String>, rules: impl IntoIterator<Item = String>) -> Chain {
        Chain { name: name.into(), rules: rules.into_iter().collect() }
    }
}

impl Table {
    fn text(&self) -> String {
        let mut out = format!("*{}\n", self.name);
        // Writing to a string does not fail.
        for chain in &self.chains {
            let _ = writeln!(out, ":{} - -", chain.name);
        }
        for (chain, rule) in &self.inserts {
            let hash = &hashes(chain, std::slice::from_ref(rule))[0];
            let _ = writeln!(out, "--insert {chain} 1 {} {rule}", comment(&format!("cali:{hash}")));
        }
        for chain in &self.chains {
            append(&mut out, &chain.name, &chain.name, &chain.rules);
        }
        for (chain, rules) in &self.appends {
            append(&mut out, chain, &format!("{chain}*appends*"), rules);
        }
        out + "COMMIT\n"
    }
}

fn append(out: &mut String, chain: &str, hashed_as: &str, rules: &[String]) {
    for (hash, rule) in hashes(hashed_as, rules).iter().zip(rules) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "--append {chain} {} {rule}", comment(&format!("cali:{hash}")));
    }
}

/// The hash of each rule of a chain (felix/generictables: RuleHashes).
fn hashes(chain: &str, rules: &[String]) -> Vec<String> {
    let mut last = Sha224::digest(chain);
    let hash = |rule: &String| {
        last = Sha224::new().chain_update(last).chain_update(format!("-A {chain} HASH {rule}")).finalize();
        URL_SAFE_NO_PAD.encode(last)[..HASH_LEN].to_owned()
    };
    rules.iter().map(hash).collect()
}

fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\"")
}

/// A name behind a prefix, which a hash takes the place of where both are too long (hashutils.GetLengthLimitedID).
fn limited(prefix: &str, name: &str) -> String {
    if prefix.len() + name.len() <= MAX_CHAIN_NAME {
        return format!("{prefix}{name}");
    }
    let mut short = format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(Sha256::digest(name)));
    short.truncate(MAX_CHAIN_NAME);
    short
}
