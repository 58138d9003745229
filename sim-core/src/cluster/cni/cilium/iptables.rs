//! The rules that the agent adds (pkg/datapath/iptables): what pods send to the world has the node's address, and what
//! the host sends to pods that of cilium_host.
//!
//! Differs: the rules for the proxies of layer 7 and DNS are left out, since there are none.

use super::{Site, router};

/// A comment of the agent's.
fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\"")
}

/// Where a table of rules is looked into, and the agent's chain for it.
const FEEDERS: [(&str, &str, &str); 8] = [
    ("nat", "PREROUTING", "CILIUM_PRE_nat"),
    ("nat", "OUTPUT", "CILIUM_OUTPUT_nat"),
    ("nat", "POSTROUTING", "CILIUM_POST_nat"),
    ("mangle", "PREROUTING", "CILIUM_PRE_mangle"),
    ("mangle", "POSTROUTING", "CILIUM_POST_mangle"),
    ("filter", "INPUT", "CILIUM_INPUT"),
    ("filter", "OUTPUT", "CILIUM_OUTPUT"),
    ("filter", "FORWARD", "CILIUM_FORWARD"),
];

/// The commands for the agent's rules on a node.
pub(super) fn rules(site: Site<'_>, masquerade: bool) -> Vec<String> {
    let iptables = site.cluster.config.iptables.program();
    let mut commands: Vec<String> = FEEDERS.iter().map(|(table, _, chain)| format!("-t {table} -N {chain}")).collect();
    commands.extend(filter());
    if masquerade {
        commands.extend(nat(site));
    }
    let feeder = |(table, from, chain): &(&str, &str, &str)| {
        format!("-t {table} -I {from} {} -j {chain}", comment(&format!("cilium-feeder: {chain}")))
    };
    commands.extend(FEEDERS.iter().map(feeder));
    commands.into_iter().map(|rule| format!("{iptables} -w {rule}")).collect()
}

/// installForwardChainRules and installHostTrafficMarkRule.
fn filter() -> Vec<String> {
    let forward = [
        ("-o cilium_host", "any->cluster on cilium_host forward accept"),
        ("-i cilium_host", "cluster->any on cilium_host forward accept (nodeport)"),
        ("-i lxc+", "cluster->any on lxc+ forward accept"),
        ("-i cilium_net", "cluster->any on cilium_net forward accept (nodeport)"),
    ];
    let accept = |(which, text): (&str, &str)| {
        format!("-t filter -A CILIUM_FORWARD {which} {} -j ACCEPT", comment(&format!("cilium: {text}")))
    };
    let mut rules: Vec<String> = forward.map(accept).to_vec();
    let others = "-m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0xd00/0xf00 -m mark ! --mark 0xa00/0xe00 \
                  -m mark ! --mark 0x800/0xe00 -m mark ! --mark 0xf00/0xf00";
    rules.push(format!(
        "-t filter -A CILIUM_OUTPUT {others} {} -j MARK --set-xmark 0xc00/0xf00",
        comment("cilium: host->any mark as from host")
    ));
    rules
}

/// installMasqueradeRules
fn nat(site: Site<'_>) -> Vec<String> {
    let pods = site.node.pod_cidr;
    let source = format!("-j SNAT --to-source {}", router(site.node));
    [
        format!("-s {pods} ! -d {pods} ! -o cilium_+ {} -j MASQUERADE", comment("cilium masquerade non-cluster")),
        format!("-m mark --mark 0xa00/0xe00 {} -j ACCEPT", comment("exclude proxy return traffic from masquerade")),
        format!("! -s {pods} ! -d {pods} -o cilium_host {} {source}", comment("cilium host->cluster masquerade")),
        format!(
            "-s 127.0.0.1/32 -o cilium_host {} {source}",
            comment("cilium host->cluster from 127.0.0.1 masquerade")
        ),
        format!(
            "-o cilium_host -m mark --mark 0xf00/0xf00 -m conntrack --ctstate DNAT {} {source}",
            comment("hairpin traffic that originated from a local pod")
        ),
    ]
    .map(|rule| format!("-t nat -A CILIUM_POST_nat {rule}"))
    .to_vec()
}
