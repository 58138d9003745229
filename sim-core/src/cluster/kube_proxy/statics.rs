//! Chains and rules that do not depend on Services.

use super::{DetectLocal, Ensure, Options, Rules, Version, comment};

/// A packet that is to be masqueraded carries this bit (`--iptables-masquerade-bit 14`).
const MASQUERADE_MARK: &str = "0x4000";
/// The rule of KUBE-FIREWALL, which the kubelet writes as well.
pub const LOCALNET_RULE: &str = "-m comment --comment \"block incoming localnet connections\" -d 127.0.0.0/8 \
     ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";
const NEW: &str = "-m conntrack --ctstate NEW ";

/// A chain of kube-proxy and a built-in chain that leads to it.
struct Jump {
    table: &'static str,
    from: &'static str,
    to: &'static str,
    comment: &'static str,
    /// New connections alone.
    new: bool,
}

const fn jump(table: &'static str, from: &'static str, to: &'static str, comment: &'static str, new: bool) -> Jump {
    Jump { table, from, to, comment, new }
}

const EXTERNAL: &str = "kubernetes externally-visible service portals";
const PORTALS: &str = "kubernetes service portals";
const HEALTH: &str = "kubernetes health check service ports";
const FORWARDING: &str = "kubernetes forwarding rules";
const FIREWALL: &str = "kubernetes load balancer firewall";
const POSTROUTING: &str = "kubernetes postrouting rules";

/// `iptablesJumpChains`, each put in front of the ones before.
const JUMPS: [Jump; 12] = [
    jump("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", EXTERNAL, true),
    jump("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", EXTERNAL, true),
    jump("filter", "INPUT", "KUBE-NODEPORTS", HEALTH, false),
    jump("filter", "FORWARD", "KUBE-SERVICES", PORTALS, true),
    jump("filter", "OUTPUT", "KUBE-SERVICES", PORTALS, true),
    jump("filter", "FORWARD", "KUBE-FORWARD", FORWARDING, false),
    jump("filter", "INPUT", "KUBE-PROXY-FIREWALL", FIREWALL, true),
    jump("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", FIREWALL, true),
    jump("filter", "FORWARD", "KUBE-PROXY-FIREWALL", FIREWALL, true),
    jump("nat", "OUTPUT", "KUBE-SERVICES", PORTALS, false),
    jump("nat", "PREROUTING", "KUBE-SERVICES", PORTALS, false),
    jump("nat", "POSTROUTING", "KUBE-POSTROUTING", POSTROUTING, false),
];

/// The chains, and the jumps from the built-in ones.
pub(super) fn ensure(options: &Options) -> Vec<Ensure> {
    let mut all = Vec::new();
    let canary = |table| Ensure::Chain { table, chain: "KUBE-PROXY-CANARY" };
    all.extend(["mangle", "nat", "filter"].map(canary));
    if options.version < Version::V1_30 {
        all.push(Ensure::Chain { table: "nat", chain: "KUBE-MARK-DROP" });
    }
    let known = |j: &&Jump| options.version >= Version::V1_30 || j.to != "KUBE-PROXY-FIREWALL";
    for Jump { table, from, to, comment: text, new } in JUMPS.iter().filter(known) {
        all.push(Ensure::Chain { table, chain: to });
        let new = if *new { NEW } else { "" };
        all.push(Ensure::Rule { table, rule: format!("{from} {new}{} -j {to}", comment(text)) });
    }
    if options.version >= Version::V1_30 && options.localhost_nodeports {
        all.push(Ensure::Chain { table: "filter", chain: "KUBE-FIREWALL" });
        for from in ["INPUT", "OUTPUT"] {
            all.push(Ensure::Rule { table: "filter", rule: format!("{from} -j KUBE-FIREWALL") });
        }
    }
    all
}

/// The chains that are written first, in the order of the text.
pub(super) fn declare(options: &Options, rules: &mut Rules) {
    for chain in ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-FORWARD", "KUBE-NODEPORTS"] {
        rules.filter(chain);
    }
    if options.version >= Version::V1_30 {
        rules.filter("KUBE-PROXY-FIREWALL");
    }
    for chain in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"] {
        rules.nat(chain);
    }
}

/// The rules that are the same for all Services, but for the last of KUBE-SERVICES.
pub(super) fn fill(options: &Options, rules: &mut Rules) {
    let mark = format!("{MASQUERADE_MARK}/{MASQUERADE_MARK}");
    rules.nat("KUBE-POSTROUTING").extend([
        format!("-m mark ! --mark {mark} -j RETURN"),
        format!("-j MARK --xor-mark {MASQUERADE_MARK}"),
        format!(
            "{} -j MASQUERADE{}",
            comment("kubernetes service traffic requiring SNAT"),
            if options.random_fully { " --random-fully" } else { "" }
        ),
    ]);
    rules.nat("KUBE-MARK-MASQ").push(format!("-j MARK --or-mark {MASQUERADE_MARK}"));
    let forward = rules.filter("KUBE-FORWARD");
    if !options.tcp_be_liberal {
        forward.push("-m conntrack --ctstate INVALID -j DROP".to_owned());
    }
    forward.push(format!("{} -m mark --mark {mark} -j ACCEPT", comment(FORWARDING)));
    let established: &[&str] = match options.version {
        Version::V1_21 => {
            &["kubernetes forwarding conntrack pod source rule", "kubernetes forwarding conntrack pod destination rule"]
        }
        Version::V1_30 => &["kubernetes forwarding conntrack rule"],
    };
    let accept = |text: &&str| format!("{} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", comment(text));
    forward.extend(established.iter().map(accept));
    if options.version >= Version::V1_30 && options.localhost_nodeports {
        rules.filter("KUBE-FIREWALL").push(LOCALNET_RULE.to_owned());
    }
}

/// The last rule of KUBE-SERVICES, or one for each of the node's addresses.
pub(super) fn node_ports(options: &Options, rules: &mut Rules) {
    let text = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain");
    let services = rules.nat("KUBE-SERVICES");
    match &options.nodeport_addresses {
        None => {
            let not = if options.localhost_nodeports { "" } else { " ! -d 127.0.0.0/8" };
            services.push(format!("{text} -m addrtype --dst-type LOCAL{not} -j KUBE-NODEPORTS"));
        }
        Some(addresses) => {
            let usable = addresses.iter().filter(|a| options.localhost_nodeports || !a.is_loopback());
            services.extend(usable.map(|a| format!("{text} -d {a} -j KUBE-NODEPORTS")));
        }
    }
}

/// The match of those who are to be masqueraded on their way to a cluster IP: none if nobody is.
pub(super) fn to_masquerade(options: &Options) -> Option<String> {
    match &options.detect_local {
        _ if options.masquerade_all => Some(String::new()),
        DetectLocal::None => None,
        detect => detect.if_not_local().map(|words| format!(" {words}")),
    }
}
