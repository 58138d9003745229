//! Properties over random rules and flows through a small lab: answers come back restored, connections do not share
//! tuples, counters add up, checksums hold, nothing is lost and nothing is kept.

use podhop_tests::census::Census;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sim_core::kernel::show;
use sim_core::kernel::trace::Mute;
use sim_core::observe::Memory;
use sim_core::scenario::plan::Plan;
use sim_core::scenario::report::CommandReport;
use sim_core::scenario::{self, Options, SourceFile};
use sim_core::wire::IPPROTO_UDP;
use std::collections::{BTreeMap, BTreeSet};

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

/// What SNAT to a range may choose.
const RANGE: std::ops::RangeInclusive<u16> = 6000..=6003;

/// How connections that leave by up0 are translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Keep,
    Masquerade,
    MasqueradeRandom,
    Range,
}

#[derive(Clone, Debug)]
struct Lab {
    seed: u64,
    mtu: (u32, u32),
    hairpin: bool,
    legacy: bool,
    source: Source,
    masquerade_pods: bool,
    rules: Vec<&'static str>,
    flows: Vec<(usize, usize, usize, bool, u32)>,
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

fn lab() -> impl Strategy<Value = Lab> {
    let sizes = prop::sample::select(vec![0u32, 32, 900, 1472, 3000]);
    let flow = (0..4usize, 0..TARGETS.len(), 0..PORTS.len(), any::<bool>(), sizes);
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
        .prop_map(|(seed, mtu, hairpin, legacy, source, masquerade_pods, rules, flows)| Lab {
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

impl Lab {
    /// The scenario with its flows, and with `more` commands on the node behind them.
    fn plan(&self, more: &[&str]) -> Result<Plan, TestCaseError> {
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
        let flows = self.flows.iter().map(flow);
        let more = more.iter().map(|m| match m.strip_prefix("sleep ") {
            Some(time) => format!("    - {{sleep: {time}}}\n"),
            None => format!("    - {{from: node, run: \"{}\"}}\n", m.replace("iptables", iptables)),
        });
        let text = flows.chain(more).fold(text, |text, line| text + &line);
        scenario::resolve(&SourceFile::new("random", text)).map_err(|e| TestCaseError::fail(e.render(false)))
    }
}

/// A datagram from a socket that hears everybody, or a ping.
fn flow(&(from, to, port, udp, size): &(usize, usize, usize, bool, u32)) -> String {
    let (from, to, port) = (["a", "b", "d", "node"][from], TARGETS[to], PORTS[port]);
    if !udp {
        return format!("    - {{from: {from}, run: \"ping -c1 -W1 -s {size} {to}\"}}\n");
    }
    format!(
        "    - {{from: {from}, script: [{{socket: udp}}, {{bind: \"0.0.0.0:{port}\"}}, \
         {{send: {{size: {size}, to: \"{to}:7\"}}}}, {{recv: {{timeout: 300ms}}}}]}}\n"
    )
}

fn run(plan: &Plan) -> (Vec<CommandReport>, Memory, usize) {
    let mut memory = Memory::default();
    let report = scenario::run(plan, &mut memory, Options::default(), &mut ()).expect("it runs");
    assert_eq!(report.limit, None);
    (report.commands, memory, report.waiting)
}

/// A chain: packets of its policy, if it has one, and its rules as packets and text.
type Chain = (Option<u64>, Vec<(u64, String)>);

/// The chains of the filter table in the text of iptables-save.
fn filter(save: &str) -> BTreeMap<String, Chain> {
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    let table = save.split("*filter\n").nth(1).and_then(|t| t.split("COMMIT").next()).unwrap_or_default();
    let packets = |text: &str| text.trim_start_matches('[').split(':').next().and_then(|n| n.parse().ok());
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(chain) = words[0].strip_prefix(':') {
            let policy = if words[1] == "-" { None } else { packets(words[2]) };
            chains.entry(chain.to_owned()).or_default().0 = policy;
        } else if let (Some(n), Some(chain)) = (packets(words[0]), words.get(2)) {
            chains.entry((*chain).to_owned()).or_default().1.push((n, line.to_owned()));
        }
    }
    chains
}

/// The same cases in every run.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(11);
    ProptestConfig { cases: 512, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn answers_come_from_whom_was_asked(lab in lab()) {
        let (commands, memory, _) = run(&lab.plan(&[])?);
        for (c, (_, to, _, udp, size)) in commands.iter().zip(&lab.flows) {
            for line in c.output.lines().filter(|_| *udp) {
                if let Some(got) = line.strip_prefix("recv: ").filter(|l| l.contains(" bytes from ")) {
                    let want = format!("{size} bytes from {}:7", TARGETS[*to]);
                    prop_assert_eq!(got, want, "{}: {}", c.from, c.command);
                }
            }
            let from = c.output.lines().filter_map(|l| l.split(" bytes from ").nth(1));
            for got in from.filter(|_| !*udp).filter_map(|l| l.split(':').next()) {
                prop_assert_eq!(got, TARGETS[*to], "{}", c.output);
            }
        }
        for (path, bytes) in memory.files.iter().filter(|(p, _)| p.ends_with(".pcap")) {
            for r in podhop_tests::judge::decode::read_pcap(bytes).expect("a capture") {
                prop_assert!(!r.text.contains("bad") && !r.text.contains("BADIPCK"), "{}: {}", path, r.text);
            }
        }
    }

    /// Five seconds later no packet waits for a neighbour any more.
    #[test]
    fn tuples_are_unique_and_ports_in_range(lab in lab()) {
        let (world, limit) = scenario::play(&lab.plan(&["sleep 5s"])?, &mut Mute).expect("it runs");
        prop_assert_eq!(limit, None);
        let node = world.namespace("node").expect("the node");
        let machine = world.machine(node);
        let mut seen = BTreeSet::new();
        for c in show::conntrack(machine.spaces(), node, machine.now()) {
            let [original, reply] = c.tuple;
            for tuple in c.tuple {
                prop_assert!(seen.insert(format!("{tuple:?}")), "{:?} twice", tuple);
            }
            prop_assert_eq!(c.users, 1, "nobody holds {:?}", original);
            let translated = reply.dst != original.src && reply.dst.to_string() == "192.168.0.1";
            if !translated || original.proto != IPPROTO_UDP || reply.src.to_string() != "192.168.0.13" {
                continue;
            }
            let class = match original.sport {
                _ if lab.source == Source::Range => RANGE,
                0..512 => 1..=511,
                512..1024 => 600..=1023,
                _ => 1024..=u16::MAX,
            };
            prop_assert!(class.contains(&reply.dport), "{:?} became {:?}", original, reply);
        }
    }

    #[test]
    fn counters_add_up(lab in lab()) {
        let (commands, ..) = run(&lab.plan(&["iptables-save -c"])?);
        let save = &commands.last().expect("the last command").output;
        let chains = filter(save);
        for name in ["INPUT", "FORWARD", "OUTPUT"] {
            let (policy, rules) = &chains[name];
            let came = rules[0].0;
            let ends = |text: &str| ["ACCEPT", "DROP", "REJECT"].iter().any(|t| text.contains(&format!("-j {t}")));
            let ended = |rules: &[(u64, String)]| rules.iter().filter(|r| ends(&r.1)).map(|r| r.0).sum::<u64>();
            let below = if name == "FORWARD" { ended(&chains["CHAIN"].1) } else { 0 };
            let policy = policy.expect("a base chain has a policy");
            prop_assert_eq!(came, ended(rules) + below + policy, "{}\n{}", name, save);
        }
    }

    /// No packet without an end, and no connection that is kept for a packet that has ended.
    #[test]
    fn nothing_is_lost_and_nothing_is_kept(lab in lab()) {
        // Fragments that wait for others give up after 30 seconds.
        let plan = lab.plan(&["sleep 40s", "conntrack -F"])?;
        let mut census = Census::default();
        let (world, limit) = scenario::play(&plan, &mut census).expect("it runs");
        prop_assert_eq!(limit, None);
        prop_assert_eq!(&census.wrong, &Vec::<String>::new());
        prop_assert_eq!(census.alive.len(), 0);
        for m in world.machines() {
            let (made, ended, waiting) = m.balance();
            prop_assert_eq!((made, waiting), (ended, 0));
        }
        let node = world.namespace("node").expect("the node");
        let count = show::conntrack_table(world.machine(node).spaces(), node).count();
        prop_assert_eq!(count, 0, "entries are held");
    }

    #[test]
    fn what_expires_is_gone(lab in lab()) {
        let (world, _) = scenario::play(&lab.plan(&["sleep 400s"])?, &mut Mute).expect("it runs");
        let node = world.namespace("node").expect("the node");
        prop_assert_eq!(show::conntrack_table(world.machine(node).spaces(), node).count(), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes(lab in lab()) {
        let plan = lab.plan(&["iptables-save -c", "conntrack -L"])?;
        let (first, memory, _) = run(&plan);
        let (second, again, _) = run(&plan);
        prop_assert_eq!(memory.files, again.files);
        let said = |commands: &[CommandReport]| commands.iter().map(|c| c.output.clone()).collect::<Vec<_>>();
        prop_assert_eq!(said(&first), said(&second));
    }
}

/// What holds of answers and of connections is worth something: many flows are answered, many connections translated.
#[test]
fn the_flows_are_not_all_refused() {
    let mut runner = TestRunner::new(config());
    let (mut flows, mut answered, mut connections, mut translated) = (0, 0, 0, 0);
    for _ in 0..100 {
        let lab = lab().new_tree(&mut runner).expect("a lab").current();
        let plan = lab.plan(&[]).expect("a plan");
        flows += lab.flows.len();
        answered += run(&plan).0.iter().filter(|c| c.output.contains(" bytes from ")).count();
        let (world, _) = scenario::play(&plan, &mut Mute).expect("it runs");
        let node = world.namespace("node").expect("the node");
        let list = show::conntrack(world.machine(node).spaces(), node, world.machine(node).now());
        connections += list.len();
        translated +=
            list.iter().filter(|c| c.tuple[0].src != c.tuple[1].dst || c.tuple[0].dst != c.tuple[1].src).count();
    }
    assert!(answered * 4 > flows, "{answered} of {flows} answered");
    assert!(translated * 4 > connections && connections > 100, "{translated} of {connections} translated");
}
