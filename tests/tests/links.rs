//! Links between machines: times to the nanosecond, full queues, losses, and no frame without an end.

use proptest::prelude::*;
use sim_core::base::{FrameId, NsId, PacketId, Time};
use sim_core::engine::World;
use sim_core::kernel::frame::PacketType;
use sim_core::kernel::trace::{DevName, DropReason, Fate, Sink, Step, Tap, What};
use sim_core::observe::Memory;
use sim_core::scenario::{self, Options, Plan, SourceFile};
use std::collections::{BTreeMap, BTreeSet};

const MS: u64 = 1_000_000;

/// Two machines, `a` with 10.0.0.1 and `b` with 10.0.0.2 on their eth0, with what the link is like and the traffic.
fn two(link: &str, traffic: &str) -> Plan {
    let text = format!(
        "apiVersion: podhop/v1
kind: Scenario
metadata: {{name: two}}
spec:
  links:
    - {{between: [a/eth0, b/eth0]{link}}}
  namespaces:
    a: {{machine: a, setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.0.0.1/24 dev eth0]}}
    b: {{machine: b, setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.0.0.2/24 dev eth0]}}
{traffic}"
    );
    resolve(text)
}

fn resolve(text: String) -> Plan {
    scenario::resolve(&SourceFile::new("inline", text)).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// Hears everything.
#[derive(Default)]
struct Witness {
    names: BTreeMap<NsId, String>,
    seen: Vec<Seen>,
    dropped: Vec<(String, DropReason)>,
    waits: Vec<String>,
    alive: BTreeSet<FrameId>,
    wrong: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    at: Time,
    ns: String,
    direction: PacketType,
    frame: FrameId,
    packet: PacketId,
    len: usize,
}

impl Sink for Witness {
    fn step(&mut self, s: &Step) {
        match s.what {
            What::Made(_) if !self.alive.insert(s.frame) => self.wrong.push(format!("{} was made twice", s.frame)),
            What::QdiscWait { .. } => self.waits.push(self.names[&s.ns].clone()),
            What::Ended(fate) => {
                if !self.alive.remove(&s.frame) {
                    self.wrong.push(format!("{} ended unborn", s.frame));
                }
                if let Fate::Dropped(why) = fate {
                    self.dropped.push((self.names[&s.ns].clone(), why));
                }
            }
            _ => {}
        }
    }
    fn tap(&mut self, t: &Tap<'_>) {
        if !self.alive.contains(&t.frame) {
            self.wrong.push(format!("{} is seen dead", t.frame));
        }
        let (ns, len) = (self.names[&t.ns].clone(), t.bytes.len());
        self.seen.push(Seen { at: t.at, ns, direction: t.pkt_type, frame: t.frame, packet: t.packet, len });
    }
    fn namespace(&mut self, ns: NsId, name: &str) {
        self.names.insert(ns, name.to_owned());
    }
    fn device(&mut self, _: &DevName) {}
}

/// Runs a plan; whatever is checked of every run is checked.
fn play(plan: &Plan) -> (World, Witness) {
    let mut witness = Witness::default();
    let (world, limit) = scenario::play(plan, &mut witness).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(limit, None);
    assert_eq!(witness.wrong, Vec::<String>::new());
    let (made, ended, waiting) = world.balance();
    assert_eq!(made, ended + waiting as u64, "the world's balance");
    assert_eq!(witness.alive.len(), waiting, "what is alive waits somewhere");
    for m in world.machines() {
        let (begun, gone, waiting) = m.balance();
        assert_eq!(begun, gone + waiting as u64, "a machine's balance");
    }
    (world, witness)
}

/// The frames that crossed a link: as they left and as they came.
fn crossings(seen: &[Seen]) -> Vec<(Seen, Seen)> {
    let left = seen.iter().filter(|s| s.direction == PacketType::Outgoing);
    let came = |out: &Seen| seen.iter().find(|s| s.direction != PacketType::Outgoing && s.frame == out.frame).cloned();
    left.filter_map(|out| Some((out.clone(), came(out)?))).collect()
}

#[test]
fn a_round_trip_is_twice_the_latency_and_the_sending() {
    let plan = two(", latency: 10ms, rate: 1mbit", "  traffic:\n    - {from: a, run: ping -c3 10.0.0.2}");
    let (_, witness) = play(&plan);
    let crossed = crossings(&witness.seen);
    // A question, an answer, and three pings with theirs.
    assert_eq!(crossed.len(), 8);
    for (out, came) in &crossed {
        // A bit takes a microsecond.
        let sending = out.len as u64 * 8 * 1_000;
        assert_eq!(came.at - out.at, sending + 10 * MS, "{out:?}");
        assert_eq!((came.packet, came.len), (out.packet, out.len));
        assert_ne!(came.ns, out.ns);
    }
    for pair in crossed[2..].chunks(2) {
        let [(request, at_b), (reply, at_a)] = pair else { panic!("{pair:?}") };
        let inside_b = reply.at - at_b.at;
        assert_eq!(at_a.at - request.at, 2 * (10 * MS + 98 * 8 * 1_000) + inside_b);
        assert!(inside_b < 10_000, "{inside_b}");
    }
}

/// Twelve datagrams at once on a link that takes 1.12 ms for each: one is sent, three wait, eight are dropped.
#[test]
fn a_full_queue_drops() {
    let warm = "    - {from: a, run: ping -c1 10.0.0.2}\n";
    let burst =
        "    - {from: a, script: [{socket: udp}, {connect: \"10.0.0.2:9\"}, {repeat: 12, do: [{send: {size: 98}}]}]}\n";
    let plan = two(", rate: 1mbit, queue: 3", &format!("  traffic:\n{warm}{burst}"));
    let (_, witness) = play(&plan);
    let full: Vec<_> = witness.dropped.iter().filter(|(_, why)| *why == DropReason::QdiscOverlimit).collect();
    assert_eq!(full.len(), 8, "{:?}", witness.dropped);
    assert!(full.iter().all(|(ns, _)| ns == "a"), "{full:?}");
    assert_eq!(DropReason::QdiscOverlimit.name(), "QDISC_OVERLIMIT");
    assert_eq!(witness.waits.iter().filter(|ns| *ns == "a").count(), 3);
    // tcpdump sees what the queue has let go, not what it dropped.
    let sent: Vec<_> =
        crossings(&witness.seen).into_iter().filter(|(out, _)| out.len == 140 && out.ns == "a").collect();
    assert_eq!(sent.len(), 4);
    let gaps: Vec<u64> = sent.windows(2).map(|w| w[1].1.at - w[0].1.at).collect();
    assert_eq!(gaps, [140 * 8_000; 3], "back to back, at the rate of the link");
}

#[test]
fn losses_are_drawn_from_the_seed() {
    let lost = |seed: u64| {
        let traffic = format!("  seed: {seed}\n  traffic:\n    - {{from: a, run: ping -q -i0.01 -c200 10.0.0.2}}");
        let (world, witness) = play(&two(", loss: 10%", &traffic));
        let frames = crossings(&witness.seen).iter().map(|(out, _)| out.frame).collect::<Vec<_>>();
        let lost: Vec<_> = witness.dropped.iter().filter(|(_, why)| *why == DropReason::LinkLoss).collect();
        let errors: u64 = ["a", "b"].iter().map(|name| stats(&world, name).rx_errors).sum();
        assert_eq!(errors, lost.len() as u64, "the hardware counts what comes damaged");
        (frames, lost.len())
    };
    let (frames, n) = lost(1);
    assert_eq!((frames.clone(), n), lost(1));
    assert_ne!(frames, lost(2).0);
    // 200 requests and their replies at 10%.
    assert!((20..60).contains(&n), "{n} lost");
}

#[test]
fn a_lossless_link_loses_nothing_and_a_dead_one_everything() {
    let (_, witness) = play(&two(", loss: 100%", "  traffic:\n    - {from: a, run: ping -c1 -W1 10.0.0.2}"));
    assert_eq!(crossings(&witness.seen).len(), 0);
    let (_, witness) = play(&two(", loss: 0%", "  traffic:\n    - {from: a, run: ping -q -i0.01 -c100 10.0.0.2}"));
    assert_eq!(witness.dropped.len(), 0, "{:?}", witness.dropped);
    assert_eq!(crossings(&witness.seen).len(), 202);
}

/// What waits when a nic goes down is dropped; what is on the wire goes on, and ends at a nic that is down.
#[test]
fn a_nic_that_goes_down() {
    let traffic = "  traffic:
    - {from: a, run: ping -c1 10.0.0.2}
    - from: a
      at: 1s
      background: true
      script: [{socket: udp}, {connect: \"10.0.0.2:9\"}, {repeat: 6, do: [{send: {size: 1000}}]}]
    - {from: a, at: 1010ms, run: ip link set eth0 down}
    - {from: b, at: 1012ms, run: ip link set eth0 down}
";
    let (world, witness) = play(&two(", rate: 1mbit, latency: 10ms", traffic));
    let ends: Vec<_> = witness.dropped.iter().map(|(ns, why)| (ns.as_str(), *why)).collect();
    // 8.3 ms each: two were on the wire, four waited. The first one arrives at 1018 ms.
    let queue = [("a", DropReason::NotSpecified); 4];
    assert_eq!(ends, [&queue[..], &[("b", DropReason::DevReady); 2]].concat());
    assert_eq!(stats(&world, "a").tx_packets, 2 + 2);
}

#[test]
fn a_world_goes_on_from_a_clone() {
    let plan = two(
        ", rate: 1mbit, latency: 30ms, loss: 20%",
        "  duration: 1s\n  traffic:\n    - {from: a, run: ping -i0.01 -c99 10.0.0.2}",
    );
    let (mut world, _) = play(&plan);
    assert!(world.balance().2 > 0, "frames are on the link");
    let mut copy = world.clone();
    let rest = |world: &mut World| {
        let names = world.machines().iter().flat_map(|m| m.spaces().iter()).map(|(id, n)| (id, n.to_owned())).collect();
        let mut witness = Witness { names, ..Witness::default() };
        world.run(Time(5_000 * MS), &mut witness).expect("no limit");
        witness.seen
    };
    let first = rest(&mut world);
    assert!(!first.is_empty());
    assert_eq!(first, rest(&mut copy));
}

/// Four machines on a switch: a link in layer 2, with a bridge in the middle that learns.
#[test]
fn a_switch_learns() {
    let host = |n: u8| {
        format!("    h{n}: {{machine: h{n}, setup: [ip link set eth0 up, ip addr add 10.0.0.{n}/24 dev eth0]}}\n")
    };
    let hosts: String = (1..=3).map(host).collect();
    let links: String = (1..=3).map(|n| format!("    - {{between: [h{n}/eth0, sw/p{n}], latency: 1ms}}\n")).collect();
    let plan = resolve(format!(
        "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {{name: sw}}\nspec:\n  switches: {{sw: }}\n  \
         links:\n{links}  \
         namespaces:\n{hosts}  traffic:\n    - {{from: h1, run: ping -c2 10.0.0.2}}\n"
    ));
    let (world, witness) = play(&plan);
    let at = |ns: &str| witness.seen.iter().filter(|s| s.ns == ns).count();
    // The third one hears the question of ARP and nothing else.
    assert_eq!((at("h1"), at("h2"), at("h3")), (6, 6, 1));
    let ids: BTreeSet<u16> =
        world.machines().iter().flat_map(|m| m.spaces().iter()).map(|(ns, _)| ns.machine().0).collect();
    assert_eq!(ids.len(), 4);
}

/// A router that masquerades: the connection stays with its kernel, the frame goes on without.
#[test]
fn a_router_translates() {
    let plan = resolve(
        "apiVersion: podhop/v1
kind: Scenario
metadata: {name: nat}
spec:
  routers:
    r:
      addresses: [10.0.1.1/24 dev lan, 10.0.2.1/24 dev wan]
      setup: [iptables -t nat -A POSTROUTING -o wan -j MASQUERADE]
  links:
    - {between: [a/eth0, r/lan]}
    - {between: [r/wan, b/eth0], latency: 1ms, rate: 1mbit}
  namespaces:
    a:
      machine: a
      setup: [ip link set eth0 up, ip addr add 10.0.1.2/24 dev eth0, ip route add default via 10.0.1.1]
    b: {machine: b, setup: [ip link set eth0 up, ip addr add 10.0.2.2/24 dev eth0]}
  traffic: [{from: a, run: ping -c3 -i0.2 10.0.2.2}]
  expect:
    - {command: ping -c3 -i0.2 10.0.2.2, exit: 0}
    - {capture: a/eth0, filter: icmp and host 10.0.1.2, count: 6}
    - {capture: b/eth0, filter: icmp and host 10.0.2.1, count: 6}
    - {capture: b/eth0, filter: host 10.0.1.2, count: 0}
"
        .to_owned(),
    );
    play(&plan);
    let report = scenario::run(&plan, &mut Memory::default(), Options::default(), &mut ()).expect("it runs");
    let failed: Vec<_> = report.expectations.iter().filter(|e| !e.verdict.ok).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn on_one_kernel_a_link_is_a_veth_pair() {
    let traffic = "  placement: one-kernel\n  traffic:\n    - {from: a, run: ping -c1 10.0.0.2}\n    \
                   - {from: a, run: ip -d link show eth0}";
    let plan = two("", traffic);
    let report = scenario::run(&plan, &mut Memory::default(), Options::default(), &mut ()).expect("it runs");
    assert_eq!(report.commands[0].exit, Some(0));
    assert!(report.commands[1].output.contains("    veth "), "{}", report.commands[1].output);
}

#[test]
fn tools_show_a_nic() {
    let commands =
        ["ip link show eth0", "ip link set eth0 down", "ip link show eth0", "ip link del eth0", "ip -d link show eth0"];
    let traffic: String = commands.iter().map(|c| format!("    - {{from: a, run: {c}}}\n")).collect();
    let plan = two(", queue: 500", &format!("  traffic:\n{traffic}"));
    let report = scenario::run(&plan, &mut Memory::default(), Options::default(), &mut ()).expect("it runs");
    let shown: Vec<&str> = report.commands.iter().map(|c| c.output.lines().next().unwrap_or_default()).collect();
    let head = |flags: &str, state: &str| {
        format!("2: eth0: <{flags}> mtu 1500 qdisc pfifo_fast state {state} mode DEFAULT group default qlen 500")
    };
    assert_eq!(shown[0], head("BROADCAST,MULTICAST,UP,LOWER_UP", "UP"));
    assert_eq!(shown[2], head("BROADCAST,MULTICAST", "DOWN"));
    assert_eq!(shown[3], "RTNETLINK answers: Operation not supported");
    let details = report.commands[4].output.lines().nth(1).expect("two lines");
    // As Linux 6.18 shows a virtio nic.
    let want = "promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 addrgenmode eui64 numtxqueues 1 numrxqueues 1 \
                gso_max_size 65536 gso_max_segs 65535 tso_max_size 65536 tso_max_segs 65535 gro_max_size 65536 \
                parentbus virtio parentdev virtio0 ";
    assert!(details.ends_with(want), "{details}");
}

/// A nic that moves takes its end of the link with it.
#[test]
fn a_nic_moves_to_another_namespace() {
    let plan = resolve(
        "apiVersion: podhop/v1
kind: Scenario
metadata: {name: move}
spec:
  links: [{between: [a/eth0, b/eth0]}]
  namespaces:
    a: {machine: a, setup: [ip link set eth0 netns pod]}
    pod: {machine: a, setup: [ip link set eth0 up, ip addr add 10.0.0.1/24 dev eth0]}
    b: {machine: b, setup: [ip link set eth0 up, ip addr add 10.0.0.2/24 dev eth0]}
  traffic: [{from: b, run: ping -c1 10.0.0.1}]
"
        .to_owned(),
    );
    let (_, witness) = play(&plan);
    assert_eq!(crossings(&witness.seen).len(), 4);
    assert!(witness.seen.iter().all(|s| s.ns != "a"));
}

fn stats(world: &World, name: &str) -> sim_core::kernel::show::Stats {
    let ns = world.namespace(name).expect("a namespace");
    let m = world.machine(ns);
    let links = sim_core::kernel::show::links(m.spaces(), ns, m.now());
    links.iter().find(|l| l.name == "eth0").expect("a nic").stats
}

/// A random link under random load, cut off at a random time.
#[derive(Clone, Debug)]
struct Load {
    link: String,
    commands: Vec<(bool, String)>,
    duration_ms: u64,
    seed: u64,
}

fn load() -> impl Strategy<Value = Load> {
    let link = (1..30_000u64, 20..5_000u64, 1..20u32, 0..40u32).prop_map(|(us, kbit, queue, loss)| {
        format!(", latency: {us}us, rate: {kbit}kbit, queue: {queue}, loss: {loss}%")
    });
    let command = (any::<bool>(), 1..30u32, 0..6_000u32, 2..200u32, 1..4u8)
        .prop_map(|(a, count, size, gap, to)| (a, format!("ping -c{count} -s {size} -i 0.{gap:03} -W1 10.0.0.{to}")));
    (link, proptest::collection::vec(command, 1..4), 20..3_000u64, any::<u32>())
        .prop_map(|(link, commands, ms, seed)| Load { link, commands, duration_ms: ms, seed: u64::from(seed) })
}

impl Load {
    fn plan(&self) -> Plan {
        let mut traffic = format!("  seed: {}\n  duration: {}ms\n  traffic:\n", self.seed, self.duration_ms);
        for (a, command) in &self.commands {
            let from = if *a { "a" } else { "b" };
            traffic += &format!("    - {{from: {from}, background: true, run: {command}}}\n");
        }
        two(&self.link, &traffic)
    }
}

/// The same cases in every run.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(11);
    ProptestConfig { cases: 128, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn frames_are_conserved_and_runs_repeat(load in load()) {
        let plan = load.plan();
        let (_, witness) = play(&plan);
        // Nothing arrives before it can, and on one lane nothing overtakes.
        let mut last: BTreeMap<String, Time> = BTreeMap::new();
        for (out, came) in crossings(&witness.seen) {
            prop_assert!(came.at > out.at);
            let last = last.entry(came.ns.clone()).or_default();
            prop_assert!(came.at >= *last);
            *last = came.at;
        }
        let run = || {
            let mut memory = Memory::default();
            scenario::run(&plan, &mut memory, Options::default(), &mut ()).expect("it runs");
            memory.files
        };
        prop_assert_eq!(run(), run());
    }
}
