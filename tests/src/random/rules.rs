//! Rules in which nothing is left to chance.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A rule with its table and chain.
#[derive(Clone, Debug)]
pub struct Placed {
    table: &'static str,
    chain: &'static str,
    matches: Vec<&'static str>,
    target: &'static str,
}

impl Placed {
    /// As it is typed.
    #[must_use]
    pub fn command(&self) -> String {
        let Placed { table, chain, matches, target } = self;
        let words: Vec<&str> =
            [*table, "-A", *chain].into_iter().chain(matches.iter().copied()).chain([*target]).collect();
        format!("iptables -t {}", words.join(" ").trim_end())
    }
}

/// Targets by where they may stand.
const PLACES: [(&str, &[&str], &[&str]); 9] = [
    (
        "raw",
        &["PREROUTING", "OUTPUT"],
        &[
            "-j CT --notrack",
            "-j NOTRACK",
            "-j DROP",
            "-j MARK --set-mark 3",
            "-j CT --zone 5",
            "-j CT --zone-orig 6",
            "-j ACCEPT",
        ],
    ),
    ("raw", &["PREROUTING"], &["-m rpfilter --invert -j DROP", "-m rpfilter --loose -j MARK --set-mark 1"]),
    (
        "mangle",
        &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        &[
            "-j MARK --set-mark 1",
            "-j MARK --or-mark 2",
            "-j CONNMARK --save-mark",
            "-j CONNMARK --restore-mark",
            "-j CONNMARK --set-mark 7",
            "-j DROP",
            "-j LOG --log-prefix podhop",
            "",
        ],
    ),
    (
        "mangle",
        &["FORWARD", "POSTROUTING"],
        &[
            "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
            "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        ],
    ),
    (
        "nat",
        &["PREROUTING", "PREROUTING", "OUTPUT"],
        &[
            "-d 10.96.0.1 -j DNAT --to-destination 10.244.0.2",
            "-d 10.96.0.2 -j DNAT --to-destination 10.244.0.3",
            "-d 10.96.0.1 -j DNAT --to-destination 10.244.1.2",
            "-d 10.96.0.3 -j DNAT --to-destination 10.244.0.1",
            "-d 10.96.0.0/16 -p udp -j DNAT --to-destination 10.244.0.2:7",
            "-d 10.96.0.0/16 -p tcp -j DNAT --to-destination 10.244.1.2:7",
            "-d 10.96.0.2 -p udp -j DNAT --to-destination 10.244.0.2:7-8",
            "-d 10.96.0.0/16 -j REDIRECT",
            "-d 10.96.0.3 -p tcp -j REDIRECT --to-ports 7",
            "-j ACCEPT",
        ],
    ),
    (
        "nat",
        &["POSTROUTING", "POSTROUTING", "INPUT"],
        &[
            "-s 10.244.0.0/16 -j SNAT --to-source 10.244.0.1",
            "-d 10.244.0.2 -j SNAT --to-source 10.244.0.1",
            "-j ACCEPT",
        ],
    ),
    (
        "nat",
        &["POSTROUTING"],
        &["-o eth0 -j MASQUERADE", "-o cbr0 -j MASQUERADE", "-s 10.244.0.0/16 -j MASQUERADE", "-j MASQUERADE"],
    ),
    (
        "filter",
        &["INPUT", "FORWARD", "FORWARD", "FORWARD", "OUTPUT"],
        &[
            "-j ACCEPT",
            "-j DROP",
            "-j REJECT",
            "-j REJECT --reject-with icmp-host-prohibited",
            "-j REJECT --reject-with icmp-net-unreachable",
            "-j REJECT --reject-with icmp-admin-prohibited",
            "-p tcp -j REJECT --reject-with tcp-reset",
            "-j LOG",
            "",
        ],
    ),
    ("filter", &["FORWARD"], &["-m physdev --physdev-is-bridged -j DROP", "-i cbr0 -o eth0 -j REJECT"]),
];

/// Matches that stand anywhere.
const ANYWHERE: [&str; 26] = [
    "-s 10.244.0.0/24",
    "! -s 10.244.0.2",
    "-d 10.244.0.0/16",
    "-p icmp",
    "! -p icmp",
    "! -f",
    "-f",
    "-p udp --dport 7",
    "-p tcp --dport 7",
    "-p tcp --syn",
    "-p udp -m multiport --dports 7,53",
    "-p tcp -m multiport --ports 7:9,5000",
    "-p icmp --icmp-type echo-request",
    "-p icmp --icmp-type destination-unreachable",
    "-m mark --mark 0x1",
    "-m mark ! --mark 0x2/0x2",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype --src-type LOCAL",
    "-m limit --limit 1/min --limit-burst 2",
    "-m statistic --mode nth --every 2 --packet 0",
    "-m physdev --physdev-in v0",
    "-m comment --comment podhop",
    "-m recent --name seen --update --seconds 60",
    "-m set --match-set nets src",
    "-m set ! --match-set nets dst",
    "-m set --match-set ports dst,dst",
];

/// Matches of connections.
const TRACKED: [&str; 12] = [
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate RELATED",
    "-m conntrack --ctstate INVALID",
    "-m conntrack --ctstate UNTRACKED",
    "-m conntrack --ctstate DNAT",
    "-m conntrack --ctstate SNAT",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m conntrack --ctdir REPLY",
    "-m conntrack --ctorigdst 10.96.0.0/16",
    "-m state --state NEW",
    "-m recent --name seen --set",
];

/// Any rule.
pub fn rule() -> impl Strategy<Value = Placed> {
    let place = select((0..PLACES.len()).collect::<Vec<_>>());
    let from = |list: &'static [&'static str], at: &Index| list[at.index(list.len())];
    (
        place,
        any::<Index>(),
        any::<Index>(),
        prop::option::of(any::<Index>()),
        prop::option::weighted(0.4, any::<Index>()),
    )
        .prop_map(move |(place, chain, target, anywhere, tracked)| {
            let (table, chains, targets) = PLACES[place];
            let target = from(targets, &target);
            // One of each option; connections are known behind raw.
            let clash = |m: &&str| {
                [" -p ", " -s ", " -d "].iter().any(|o| format!(" {target}").contains(o) && format!(" {m}").contains(o))
            };
            let anywhere = anywhere.map(|at| from(&ANYWHERE, &at)).filter(|m| !clash(m));
            let tracked = tracked.map(|at| from(&TRACKED, &at)).filter(|_| table != "raw" && table != "nat");
            Placed {
                table,
                chain: from(chains, &chain),
                matches: anywhere.into_iter().chain(tracked).collect(),
                target,
            }
        })
}
