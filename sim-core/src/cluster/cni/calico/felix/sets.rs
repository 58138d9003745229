//! Sets of addresses (felix/ipsets).

use super::Felix;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha224};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The networks of all pools, and of those whose traffic to elsewhere is masqueraded.
pub(super) const ALL_POOLS: &str = "cali40all-ipam-pools";
pub(super) const MASQUERADED_POOLS: &str = "cali40masq-ipam-pools";
/// All nodes.
pub(super) const ALL_HOSTS: &str = "cali40all-hosts-net";
/// All other nodes with a VXLAN tunnel.
pub(super) const VXLAN_HOSTS: &str = "cali40all-vxlan-net";
/// The node's own addresses.
const THIS_HOST: &str = "cali40this-host";
/// MaxIPSetSize: as many elements each holds.
const MAX_SIZE: u32 = 1_048_576;
/// As long a set's name may be (MaxIPSetNameLength).
const MAX_NAME: usize = 31;

/// The set of what a selector selects.
pub(super) fn selector(canonical: &str) -> String {
    let id = URL_SAFE_NO_PAD.encode(Sha224::digest(format!("s:{canonical}")));
    let mut name = format!("cali40s:{id}");
    name.truncate(MAX_NAME);
    name
}

impl Felix {
    /// What `ipset restore` reads.
    pub(super) fn sets(&self) -> String {
        let mut sets: BTreeMap<String, (&str, Vec<String>)> = BTreeMap::new();
        let pools = |masquerade: bool| {
            self.pools.iter().filter(move |p| p.masquerade || !masquerade).map(|p| p.cidr.to_string()).collect()
        };
        sets.insert(ALL_POOLS.to_owned(), ("hash:net", pools(false)));
        sets.insert(MASQUERADED_POOLS.to_owned(), ("hash:net", pools(true)));
        let hosts = || self.hosts.iter().map(ToString::to_string);
        sets.insert(THIS_HOST.to_owned(), ("hash:ip", hosts().take(1).collect()));
        if self.ipip {
            sets.insert(ALL_HOSTS.to_owned(), ("hash:net", hosts().collect()));
        }
        if self.vxlan {
            sets.insert(VXLAN_HOSTS.to_owned(), ("hash:net", hosts().skip(1).collect()));
        }
        let rules = self.policies.iter().flat_map(|p| p.ingress.iter().chain(&p.egress));
        for peers in rules.filter_map(|rule| rule.peers.as_ref()) {
            let members = peers.members.iter().map(ToString::to_string).collect();
            sets.insert(selector(&peers.text), ("hash:net", members));
        }
        let mut out = String::new();
        // Writing to a string does not fail.
        for (name, (kind, members)) in sets {
            let _ = writeln!(out, "create {name} {kind} family inet maxelem {MAX_SIZE}");
            for member in members {
                let _ = writeln!(out, "add {name} {member}");
            }
        }
        out
    }
}
