//! Scenarios of one node with namespaces behind it, as text for `scenario::resolve`.

use proptest::prelude::*;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// A node with a bridge and some pods, with settings that change what frames meet.
#[derive(Clone, Debug)]
pub struct BridgeLab {
    pods: usize,
    hairpin: Vec<bool>,
    promisc: bool,
    mtu: Vec<u32>,
    down: Option<usize>,
    commands: Vec<(usize, String)>,
    seed: u64,
}

/// A [`BridgeLab`]: one to four pods, ports in hairpin mode or down, a bridge that listens, small MTUs, and up to three
/// commands of ping, arping and ip. Shrinks to one pod that pings itself once.
pub fn bridge_lab() -> impl Strategy<Value = BridgeLab> {
    (1..5usize).prop_flat_map(|pods| {
        let command = (0..pods, 0..8usize, 1..4u32, 1..1600u32).prop_map(move |(from, to, count, size)| {
            let text = match to {
                6 => "arping -c1 -w1 -I eth0 10.0.0.1".to_owned(),
                7 => "ip neigh flush all".to_owned(),
                // Some of these addresses are nobody's.
                _ => format!("ping -c{count} -i0.3 -W1 -s {size} 10.0.0.{}", to + 1),
            };
            (from, text)
        });
        (
            proptest::collection::vec(any::<bool>(), pods),
            any::<bool>(),
            proptest::collection::vec(prop_oneof![Just(1500u32), 600..1500u32], pods),
            proptest::option::of(0..pods),
            proptest::collection::vec(command, 1..4),
            any::<u64>(),
        )
            .prop_map(move |(hairpin, promisc, mtu, down, commands, seed)| BridgeLab {
                pods,
                hairpin,
                promisc,
                mtu,
                down,
                commands,
                seed: seed >> 1,
            })
    })
}

impl BridgeLab {
    /// The scenario: namespaces `node` and `p0`, `p1` and so on.
    pub fn scenario(&self) -> String {
        let mut node = vec!["ip link add br0 type bridge".to_owned(), "ip link set br0 up".to_owned()];
        let mut pods = String::new();
        for p in 0..self.pods {
            node.push(format!("ip link add v{p} type veth peer name eth0 netns p{p}"));
            node.push(format!("ip link set v{p} master br0 up"));
            if self.hairpin[p] {
                node.push(format!("bridge link set dev v{p} hairpin on"));
            }
            let mtu = self.mtu[p];
            let setup = format!(
                "ip link set lo up, ip link set eth0 mtu {mtu} up, ip addr add 10.0.0.{}/24 brd + dev eth0",
                p + 2
            );
            let _ = writeln!(pods, "    p{p}: {{setup: [{setup}]}}");
        }
        node.push("ip addr add 10.0.0.1/24 brd + dev br0".to_owned());
        if self.promisc {
            node.push("ip link set br0 promisc on".to_owned());
        }
        if let Some(p) = self.down {
            node.push(format!("ip link set v{p} down"));
        }
        let setup: String = node.iter().fold(String::new(), |s, c| s + &format!("        - {c}\n"));
        let traffic: String =
            self.commands.iter().fold(String::new(), |s, (p, c)| s + &format!("    - {{from: p{p}, run: \"{c}\"}}\n"));
        format!(
            "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {{name: random}}\nspec:\n  seed: {}\n  \
             namespaces:\n    node:\n      setup:\n{setup}{pods}  traffic:\n{traffic}",
            self.seed
        )
    }
}

/// A node that forwards between the pods a and b on a bridge and d outside of it. Servers run where there is one
/// address only, so that they answer from the one that was asked.
const LAB: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: random-rules}
spec:
  seed: SEED
  namespaces:
    node:
      setup:
        - ip link set lo up
        - ip link add br0 address 0a:00:00:00:00:01 type bridge
        - ip link add va type veth peer name eth0 netns a
        - ip link add vb type veth peer name eth0 netns b
        - ip link add up0 mtu MTU type veth peer name eth0 mtu MTU netns d
        - ip link set va master br0 up
        - ip link set vb master br0 up
        - ip link set br0 up
        - ip link set up0 up
        - ip addr add 10.0.0.1/24 brd + dev br0
        - ip addr add 192.168.0.1/24 brd + dev up0
        - ip route add default via 192.168.0.13
        - sysctl -qw net.ipv4.ip_forward=1
        - bridge link set dev va hairpin HAIRPIN
        - iptables -P FORWARD ACCEPT
        - iptables -P INPUT ACCEPT
        - iptables -P OUTPUT ACCEPT
        - iptables -N CHAIN
        - iptables -A INPUT
        - iptables -A FORWARD
        - iptables -A OUTPUT
RULES
    a: {setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.0.0.10/24 brd + dev eth0,
                ip route add default via 10.0.0.1], servers: [udpecho 7]}
    b: {setup: [ip link set lo up, ip link set eth0 mtu PODMTU up, ip addr add 10.0.0.11/24 brd + dev eth0,
                ip route add default via 10.0.0.1], servers: [udpecho 7]}
    d: {setup: [ip link set lo up, ip link set eth0 up, ip addr add 192.168.0.13/24 brd + dev eth0,
                ip route add 10.0.0.0/8 via 192.168.0.1], servers: [udpecho 7]}
  traffic:
"#;

/// Where packets go: pods, the node, services, nobody.
const TARGETS: [&str; 8] =
    ["10.0.0.10", "10.0.0.11", "10.0.0.1", "192.168.0.13", "192.168.0.1", "10.96.0.1", "10.96.0.2", "10.0.0.77"];

/// Source ports of each of the classes that NAT keeps apart.
const PORTS: [u16; 5] = [400, 700, 5000, 5001, 6001];

/// How connections that leave by up0 are translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Not at all.
    Keep,
    /// `-j MASQUERADE`
    Masquerade,
    /// `-j MASQUERADE --random-fully`
    MasqueradeRandom,
    /// `-j SNAT --to-source` with [`RulesLab::RANGE`], of UDP.
    Range,
}

/// A datagram or a ping in a [`RulesLab`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LabFlow {
    /// The namespace that sends it.
    pub from: &'static str,
    /// The address that it is sent to.
    pub to: &'static str,
    /// The port that it is sent from; its destination is port 7.
    pub port: u16,
    /// A datagram, not a ping.
    pub udp: bool,
    /// Bytes of payload.
    pub size: u32,
}

/// A node that forwards between the pods a and b on a bridge and d outside of it, with rules of iptables, and flows
/// through it.
#[derive(Clone, Debug)]
pub struct RulesLab {
    seed: u64,
    mtu: (u32, u32),
    hairpin: bool,
    legacy: bool,
    /// How connections that leave by up0 are translated.
    pub source: Source,
    masquerade_pods: bool,
    rules: Vec<&'static str>,
    /// What is sent, in order.
    pub flows: Vec<LabFlow>,
}

/// Rules without a translation of the source.
const RULES: [&str; 27] = [
    "-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7",
    "-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.10",
    "-t nat -A PREROUTING -d 10.96.0.1 -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.0.0.1",
    "-t nat -A PREROUTING -d 10.96.0.2 -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.0.0.10",
    "-t nat -A PREROUTING -d 10.96.0.2 -p udp -j DNAT --to-destination 192.168.0.13:7-9",
    "-t nat -A PREROUTING -d 10.96.0.2 -p icmp -j REDIRECT",
    "-t nat -A PREROUTING -d 192.168.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7",
    "-t nat -A OUTPUT -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7",
    "-t nat -A OUTPUT -d 10.96.0.2 -j DNAT --to-destination 192.168.0.13",
    "-t nat -A INPUT -p icmp -j SNAT --to-source 192.168.0.77",
    "-A FORWARD -p udp -m multiport --sports 400,700 -j DROP",
    "-A FORWARD -p udp --sport 5001 -j REJECT",
    "-A FORWARD -p icmp -m limit --limit 10/min --limit-burst 3 -j ACCEPT",
    "-A FORWARD -p icmp -s 10.0.0.11 -j REJECT --reject-with icmp-admin-prohibited",
    "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
    "-A FORWARD -j CHAIN",
    "-A CHAIN -p udp -m mark --mark 0x1 -j RETURN",
    "-A CHAIN -m addrtype --src-type LOCAL -j ACCEPT",
    "-A CHAIN -d 192.168.0.13 -p icmp -j DROP",
    "-A INPUT -p icmp -j REJECT",
    "-A OUTPUT -d 10.0.0.11 -p udp -j REJECT",
    "-P FORWARD DROP",
    "-t mangle -A PREROUTING -i br0 -j CONNMARK --restore-mark",
    "-t mangle -A PREROUTING -p udp -j MARK --set-mark 0x1",
    "-t mangle -A POSTROUTING -j CONNMARK --save-mark",
];

/// A [`RulesLab`]: MTUs, hairpin mode, a backend of iptables, one of the ways to translate sources, up to eleven of 27
/// rules in their order, up to eleven flows from pods, node and outside to pods, node, services and nobody. Shrinks to
/// one small flow without rules.
pub fn rules_lab() -> impl Strategy<Value = RulesLab> {
    let sizes = prop::sample::select(vec![0u32, 32, 900, 1472, 3000]);
    let flow = (
        prop::sample::select(vec!["a", "b", "d", "node"]),
        prop::sample::select(TARGETS.to_vec()),
        prop::sample::select(PORTS.to_vec()),
        any::<bool>(),
        sizes,
    );
    let flow = flow.prop_map(|(from, to, port, udp, size)| LabFlow { from, to, port, udp, size });
    let source = prop::sample::select(vec![
        Source::Keep,
        Source::Masquerade,
        Source::Masquerade,
        Source::MasqueradeRandom,
        Source::Range,
        Source::Range,
    ]);
    let mtus = prop::sample::select(vec![(1500, 1500), (1500, 1500), (1000, 1500), (1500, 1000)]);
    (
        any::<u64>(),
        mtus,
        any::<bool>(),
        any::<bool>(),
        source,
        any::<bool>(),
        prop::sample::subsequence(RULES.to_vec(), 0..12),
        proptest::collection::vec(flow, 1..12),
    )
        .prop_map(|(seed, mtu, hairpin, legacy, source, masquerade_pods, rules, flows)| RulesLab {
            seed: seed >> 1,
            mtu,
            hairpin,
            legacy,
            source,
            masquerade_pods,
            rules,
            flows,
        })
}

impl RulesLab {
    /// What SNAT to a range may choose.
    pub const RANGE: RangeInclusive<u16> = 6000..=6003;

    /// The scenario with its flows, and with `more` commands on the node behind them; `sleep TIME` is a pause.
    pub fn scenario(&self, more: &[&str]) -> String {
        let iptables = if self.legacy { "iptables-legacy" } else { "iptables" };
        let source = match self.source {
            Source::Keep => None,
            Source::Masquerade => Some("-t nat -A POSTROUTING -o up0 -j MASQUERADE"),
            Source::MasqueradeRandom => Some("-t nat -A POSTROUTING -o up0 -j MASQUERADE --random-fully"),
            Source::Range => Some("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000-6003"),
        };
        let pods = self.masquerade_pods.then_some("-t nat -A POSTROUTING -o br0 -j MASQUERADE");
        let rules = self.rules.iter().copied().chain(source).chain(pods);
        let rules: String = rules.fold(String::new(), |s, r| s + &format!("        - {iptables} {r}\n"));
        let text = LAB
            .replace("SEED", &self.seed.to_string())
            .replace("PODMTU", &self.mtu.1.to_string())
            .replace("MTU", &self.mtu.0.to_string())
            .replace("HAIRPIN", if self.hairpin { "on" } else { "off" })
            .replace("RULES\n", &rules)
            .replace("- iptables -", &format!("- {iptables} -"));
        let flows = self.flows.iter().map(LabFlow::traffic);
        let more = more.iter().map(|m| match m.strip_prefix("sleep ") {
            Some(time) => format!("    - {{sleep: {time}}}\n"),
            None => format!("    - {{from: node, run: \"{}\"}}\n", m.replace("iptables", iptables)),
        });
        flows.chain(more).fold(text, |text, line| text + &line)
    }
}

impl LabFlow {
    /// A datagram from a socket that hears everybody, or a ping.
    fn traffic(&self) -> String {
        let LabFlow { from, to, port, udp, size } = self;
        if !udp {
            return format!("    - {{from: {from}, run: \"ping -c1 -W1 -s {size} {to}\"}}\n");
        }
        format!(
            "    - {{from: {from}, script: [{{socket: udp}}, {{bind: \"0.0.0.0:{port}\"}}, \
             {{send: {{size: {size}, to: \"{to}:7\"}}}}, {{recv: {{timeout: 300ms}}}}]}}\n"
        )
    }
}
