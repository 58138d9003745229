//! The tables: static chains (felix/rules/static.go), dispatch to workloads by interface (felix/rules/dispatch.go), and
//! the workloads' own (felix/rules/endpoints.go).

use super::policy::{self, Direction};
use super::sets::{ALL_HOSTS, ALL_POOLS, MASQUERADED_POOLS, VXLAN_HOSTS};
use super::{Chain, Felix, Table, WORKLOADS, Workload, comment};
use std::collections::BTreeMap;

/// Bits of the mark: a policy has accepted the packet, or passed it on; whatever Felix does with it in between.
pub(super) const ACCEPT: u32 = 0x1_0000;
const PASS: u32 = 0x2_0000;
/// Scratch bit 0: it came from a workload.
const FROM_WORKLOAD: u32 = 0x4_0000;
const ALL: u32 = 0xf_0000;
/// The port of VXLAN.
const VXLAN_PORT: u16 = 4789;
/// Protocols by number: the kernel need not know their names.
const IPIP: &str = "-p 4";
const UDP: &str = "-p 17";

/// `MARK`, in Felix's spelling.
pub(super) fn set_mark(bits: u32) -> String {
    format!("--jump MARK --set-mark {bits:#x}/{bits:#x}")
}

fn clear_mark(bits: u32) -> String {
    format!("--jump MARK --set-mark 0/{bits:#x}")
}

/// All of these bits are set.
pub(super) fn marked(bits: u32) -> String {
    format!("-m mark --mark {bits:#x}/{bits:#x}")
}

/// None of them is.
fn unmarked(bits: u32) -> String {
    format!("-m mark --mark 0/{bits:#x}")
}

fn jump(chain: &str) -> String {
    format!("--jump {chain}")
}

/// A rule with a comment.
fn said(text: &str, rule: &str) -> String {
    format!("{} {rule}", comment(text))
}

/// What has been accepted before is accepted.
fn accepted() -> String {
    format!("{} --jump ACCEPT", marked(ACCEPT))
}

/// Host endpoints' part of a chain; there are none, so their dispatch chains are empty.
fn host_policy(dispatch: &str) -> [String; 3] {
    let dispatch = dispatch.to_owned();
    [clear_mark(ALL), dispatch, said("Host endpoint policy accepted packet.", &accepted())]
}

impl Felix {
    pub(super) fn tables(&self) -> [Table; 4] {
        [Self::raw(), mangle(), self.nat(), self.filter()]
    }

    fn filter(&self) -> Table {
        let to_root = || vec![said("Unknown interface", "--jump DROP")];
        let names: Vec<&str> = self.workloads.iter().map(|w| w.interface.as_str()).collect();
        let mut chains = vec![
            Self::forward(),
            self.input(),
            self.output(),
            Chain::new(
                "cali-wl-to-host",
                [jump("cali-from-wl-dispatch"), said("Configured DefaultEndpointToHostAction", "--jump ACCEPT")],
            ),
        ];
        let empty = ["cali-cidr-block", "cali-from-hep-forward", "cali-to-hep-forward"];
        chains.extend(
            empty.iter().chain(&["cali-from-host-endpoint", "cali-to-host-endpoint"]).map(|c| Chain::new(*c, [])),
        );
        chains.extend(dispatch("cali-from-wl-dispatch", "--in-interface", "cali-fw-", &names, &to_root()));
        chains.extend(dispatch("cali-to-wl-dispatch", "--out-interface", "cali-tw-", &names, &to_root()));
        for direction in [Direction::Ingress, Direction::Egress] {
            chains.extend(self.workloads.iter().map(|w| workload(w, direction)));
            let used = |name: &String| {
                let of = |w: &Workload| {
                    if direction == Direction::Ingress { w.ingress.contains(name) } else { w.egress.contains(name) }
                };
                self.workloads.iter().any(of)
            };
            chains.extend(self.policies.iter().filter(|p| used(&p.name)).map(|p| policy::policy(direction, p)));
            chains.extend(self.profiles().iter().map(|(name, allows)| policy::profile(direction, name, *allows)));
        }
        Table {
            name: "filter",
            inserts: vec![
                ("INPUT", jump("cali-INPUT")),
                ("FORWARD", jump("cali-FORWARD")),
                ("OUTPUT", jump("cali-OUTPUT")),
            ],
            // What is forwarded and accepted is no host endpoint's traffic.
            appends: vec![("FORWARD", vec![said("Policy explicitly accepted packet.", &accepted()), set_mark(ACCEPT)])],
            chains,
        }
    }

    fn forward() -> Chain {
        Chain::new(
            "cali-FORWARD",
            [
                clear_mark(ALL & !ACCEPT),
                format!("{} {}", unmarked(ACCEPT), jump("cali-from-hep-forward")),
                format!("--in-interface {WORKLOADS} {}", jump("cali-from-wl-dispatch")),
                format!("--out-interface {WORKLOADS} {}", jump("cali-to-wl-dispatch")),
                jump("cali-to-hep-forward"),
                jump("cali-cidr-block"),
            ],
        )
    }

    /// Tunnels' packets come from other nodes only.
    fn input(&self) -> Chain {
        let mut rules = vec![];
        if self.ipip {
            let known = format!("{IPIP} -m set --match-set {ALL_HOSTS} src -m addrtype --dst-type LOCAL --jump ACCEPT");
            rules.push(said("Allow IPIP packets from Calico hosts", &known));
            rules.push(said("Drop IPIP packets from non-Calico hosts", &format!("{IPIP} --jump DROP")));
        }
        if self.vxlan {
            let port = format!("{UDP} -m multiport --destination-ports {VXLAN_PORT}");
            let (known, local) = (format!("-m set --match-set {VXLAN_HOSTS} src"), "-m addrtype --dst-type LOCAL");
            let text = "Allow IPv4 VXLAN packets from allowed hosts";
            rules.push(said(text, &format!("{port} {known} {local} --jump ACCEPT")));
            rules.push(said("Drop IPv4 VXLAN packets from non-allowed hosts", &format!("{port} {local} --jump DROP")));
        }
        rules.push(format!("--in-interface {WORKLOADS} --goto cali-wl-to-host"));
        rules.push(accepted());
        rules.extend(host_policy(&jump("cali-from-host-endpoint")));
        Chain::new("cali-INPUT", rules)
    }

    /// What the node itself sends to its own workloads is nobody's business.
    fn output(&self) -> Chain {
        let mut rules = vec![accepted(), format!("--out-interface {WORKLOADS} --jump RETURN")];
        let own = "-m addrtype --src-type LOCAL";
        if self.ipip {
            let rule = format!("{IPIP} -m set --match-set {ALL_HOSTS} dst {own} --jump ACCEPT");
            rules.push(said("Allow IPIP packets to other Calico hosts", &rule));
        }
        if self.vxlan {
            let port = format!("{UDP} -m multiport --destination-ports {VXLAN_PORT}");
            let rule = format!("{port} {own} -m set --match-set {VXLAN_HOSTS} dst --jump ACCEPT");
            rules.push(said("Allow IPv4 VXLAN packets to other allowed hosts", &rule));
        }
        rules.extend(host_policy(&format!("-m conntrack ! --ctstate DNAT {}", jump("cali-to-host-endpoint"))));
        Chain::new("cali-OUTPUT", rules)
    }

    /// What pods send out of all pools gets the node's address, and what the node itself sends into a tunnel that of
    /// the tunnel's device.
    fn nat(&self) -> Table {
        let masquerade = "--jump MASQUERADE --random-fully";
        let mut postrouting = vec![jump("cali-fip-snat"), jump("cali-nat-outgoing")];
        let tunnels = [(self.ipip, "tunl0"), (self.vxlan, "vxlan.calico")];
        postrouting.extend(tunnels.iter().filter(|(there, _)| *there).map(|(_, device)| {
            let others = "-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL";
            format!("--out-interface {device} {others} {masquerade}")
        }));
        let leaves =
            format!("-m set --match-set {MASQUERADED_POOLS} src -m set ! --match-set {ALL_POOLS} dst {masquerade}");
        let outgoing = self.pools.iter().any(|p| p.masquerade).then_some(leaves);
        Table {
            name: "nat",
            inserts: vec![
                ("PREROUTING", jump("cali-PREROUTING")),
                ("OUTPUT", jump("cali-OUTPUT")),
                ("POSTROUTING", jump("cali-POSTROUTING")),
            ],
            appends: vec![],
            chains: vec![
                Chain::new("cali-PREROUTING", [jump("cali-fip-dnat")]),
                Chain::new("cali-OUTPUT", [jump("cali-fip-dnat")]),
                Chain::new("cali-POSTROUTING", postrouting),
                Chain::new("cali-nat-outgoing", outgoing),
                Chain::new("cali-fip-dnat", []),
                Chain::new("cali-fip-snat", []),
            ],
        }
    }

    /// Workloads do not send with others' addresses.
    fn raw() -> Table {
        let spoofed = format!("{} -m rpfilter --invert --validmark --jump DROP", marked(FROM_WORKLOAD));
        let prerouting = [
            clear_mark(ALL),
            format!("--in-interface {WORKLOADS} {}", set_mark(FROM_WORKLOAD)),
            format!("{} {}", marked(FROM_WORKLOAD), jump("cali-rpf-skip")),
            spoofed,
            format!("{} {}", unmarked(FROM_WORKLOAD), jump("cali-from-host-endpoint")),
            accepted(),
        ];
        let output = [clear_mark(ALL), jump("cali-to-host-endpoint"), accepted()];
        Table {
            name: "raw",
            inserts: vec![("PREROUTING", jump("cali-PREROUTING")), ("OUTPUT", jump("cali-OUTPUT"))],
            appends: vec![],
            chains: vec![
                Chain::new("cali-PREROUTING", prerouting),
                Chain::new("cali-OUTPUT", output),
                Chain::new("cali-rpf-skip", []),
                Chain::new("cali-from-host-endpoint", []),
                Chain::new("cali-to-host-endpoint", []),
            ],
        }
    }
}

/// Host endpoints' policies before and after the address is translated.
fn mangle() -> Table {
    let host_accepted =
        |verdict: &str| said("Host endpoint policy accepted packet.", &format!("{} {verdict}", marked(ACCEPT)));
    let prerouting = [
        "-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT".to_owned(),
        accepted(),
        jump("cali-from-host-endpoint"),
        host_accepted("--jump ACCEPT"),
    ];
    let postrouting = [
        format!("{} --jump RETURN", marked(ACCEPT)),
        clear_mark(ALL),
        format!("-m conntrack --ctstate DNAT {}", jump("cali-to-host-endpoint")),
        host_accepted("--jump RETURN"),
    ];
    Table {
        name: "mangle",
        inserts: vec![("PREROUTING", jump("cali-PREROUTING")), ("POSTROUTING", jump("cali-POSTROUTING"))],
        appends: vec![],
        chains: vec![
            Chain::new("cali-PREROUTING", prerouting),
            Chain::new("cali-POSTROUTING", postrouting),
            Chain::new("cali-from-host-endpoint", []),
            Chain::new("cali-to-host-endpoint", []),
        ],
    }
}

/// interfaceNameDispatchChains: to the chain of each interface. Where several names go on with the same letter, they
/// have a chain of their own.
fn dispatch(root: &str, option: &str, prefix: &str, names: &[&str], end: &[String]) -> Vec<Chain> {
    let common = common_prefix(names);
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        groups.entry(name.get(..common + 1).unwrap_or(name)).or_default().push(name);
    }
    let leads = |name: &str| format!("{option} {name} --goto {prefix}{name}");
    let (mut chains, mut rules) = (vec![], vec![]);
    for (group, mut members) in groups {
        members.sort_unstable();
        if let [one] = members[..] {
            rules.push(leads(one));
            continue;
        }
        let child = format!("{root}-{}", &group[common..]);
        rules.push(format!("{option} {group}+ --goto {child}"));
        chains.push(Chain::new(child, members.into_iter().map(leads).chain(end.iter().cloned())));
    }
    rules.extend(end.iter().cloned());
    chains.push(Chain::new(root, rules));
    chains
}

/// So many bytes all names begin with.
fn common_prefix(names: &[&str]) -> usize {
    let Some((first, rest)) = names.split_first() else { return 0 };
    let same = |name: &&str| first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    rest.iter().map(same).min().unwrap_or(first.len())
}

/// endpointIptablesChain: a workload's chain for what comes to it or for what it sends.
fn workload(w: &Workload, direction: Direction) -> Chain {
    let (prefix, policies) = match direction {
        Direction::Ingress => ("cali-tw-", &w.ingress),
        Direction::Egress => ("cali-fw-", &w.egress),
    };
    let mut rules = vec![
        "-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT".to_owned(),
        "-m conntrack --ctstate INVALID --jump DROP".to_owned(),
        clear_mark(ACCEPT),
    ];
    if direction == Direction::Egress {
        let vxlan = format!("{UDP} -m multiport --destination-ports {VXLAN_PORT} --jump DROP");
        rules.push(said("Drop VXLAN encapped packets originating in workloads", &vxlan));
        rules.push(said("Drop IPinIP encapped packets originating in workloads", &format!("{IPIP} --jump DROP")));
    }
    let returns = |text: &str| said(text, &format!("{} --jump RETURN", marked(ACCEPT)));
    if !policies.is_empty() {
        rules.push(said("Start of policies", &clear_mark(PASS)));
        for name in policies {
            rules.push(format!("{} {}", unmarked(PASS), jump(&direction.policy_chain(name))));
            rules.push(returns("Return if policy accepted"));
        }
        rules.push(said("Drop if no policies passed packet", &format!("{} --jump DROP", unmarked(PASS))));
    }
    for (name, _) in w.profiles() {
        rules.push(jump(&direction.profile_chain(&name)));
        rules.push(returns("Return if profile accepted"));
    }
    rules.push(said("Drop if no profiles matched", "--jump DROP"));
    Chain::new(format!("{prefix}{}", w.interface), rules)
}
