//! Properties over random rules and flows through a small lab: answers come back restored, connections do not share
//! tuples, counters add up, checksums hold, nothing is lost and nothing is kept.

use podhop_tests::census::Census;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sim_core::kernel::conntrack::Info;
use sim_core::kernel::show;
use sim_core::kernel::trace::Mute;
use sim_core::observe::Memory;
use sim_core::scenario::plan::Plan;
use sim_core::scenario::report::CommandReport;
use sim_core::scenario::{self, Options, SourceFile};
use sim_core::testing::oracle;
use sim_core::testing::strategy::{LabFlow, RulesLab, Source, rules_lab};
use sim_core::wire::IPPROTO_UDP;

/// The scenario of a lab with its flows, and with `more` commands on the node behind them.
fn plan(lab: &RulesLab, more: &[&str]) -> Result<Plan, TestCaseError> {
    scenario::resolve(&SourceFile::new("random", lab.scenario(more))).map_err(|e| TestCaseError::fail(e.render(false)))
}

fn run(plan: &Plan) -> (Vec<CommandReport>, Memory, usize) {
    let mut memory = Memory::default();
    let report = scenario::run(plan, &mut memory, Options::default(), &mut ()).expect("it runs");
    assert_eq!(report.limit, None);
    (report.commands, memory, report.waiting)
}

/// The same cases in every run.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(11);
    ProptestConfig { cases: 512, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn answers_come_from_whom_was_asked(lab in rules_lab()) {
        let (commands, memory, _) = run(&plan(&lab, &[])?);
        for (c, LabFlow { to, udp, size, .. }) in commands.iter().zip(&lab.flows) {
            for line in c.output.lines().filter(|_| *udp) {
                if let Some(got) = line.strip_prefix("recv: ").filter(|l| l.contains(" bytes from ")) {
                    let want = format!("{size} bytes from {to}:7");
                    prop_assert_eq!(got, want, "{}: {}", c.from, c.command);
                }
            }
            let from = c.output.lines().filter_map(|l| l.split(" bytes from ").nth(1));
            for got in from.filter(|_| !*udp).filter_map(|l| l.split(':').next()) {
                prop_assert_eq!(got, *to, "{}", c.output);
            }
        }
        for (path, bytes) in memory.files.iter().filter(|(p, _)| p.ends_with(".pcap")) {
            for r in podhop_parity::judge::decode::read_pcap(bytes).expect("a capture") {
                prop_assert!(!r.text.contains("bad") && !r.text.contains("BADIPCK"), "{}: {}", path, r.text);
            }
        }
    }

    /// Five seconds later no packet waits for a neighbour any more.
    #[test]
    fn tuples_are_unique_and_ports_in_range(lab in rules_lab()) {
        let (world, limit) = scenario::play(&plan(&lab, &["sleep 5s"])?, &mut Mute).expect("it runs");
        prop_assert_eq!(limit, None);
        let node = world.namespace("node").expect("the node");
        let machine = world.machine(node);
        let connections = show::conntrack(machine.spaces(), node, machine.now());
        oracle::tuples_unshared(&connections)?;
        oracle::nobody_holds(&connections)?;
        let by_up0 = |c: &Info| {
            let [original, reply] = c.tuple;
            let translated = reply.dst != original.src && reply.dst.to_string() == "192.168.0.1";
            translated && original.proto == IPPROTO_UDP && reply.src.to_string() == "192.168.0.13"
        };
        let by_up0: Vec<Info> = connections.into_iter().filter(by_up0).collect();
        match lab.source {
            Source::Range => oracle::ports_in_range(&by_up0, RulesLab::RANGE)?,
            Source::Keep | Source::Masquerade | Source::MasqueradeRandom => oracle::ports_in_class(&by_up0)?,
        }
    }

    #[test]
    fn counters_add_up(lab in rules_lab()) {
        let (commands, ..) = run(&plan(&lab, &["iptables-save -c"])?);
        oracle::counters_add_up(&commands.last().expect("the last command").output, "filter")?;
    }

    /// No packet without an end, and no connection that is kept for a packet that has ended.
    #[test]
    fn nothing_is_lost_and_nothing_is_kept(lab in rules_lab()) {
        // Fragments that wait for others give up after 30 seconds.
        let plan = plan(&lab, &["sleep 40s", "conntrack -F"])?;
        let mut census = Census::default();
        let (world, limit) = scenario::play(&plan, &mut census).expect("it runs");
        prop_assert_eq!(limit, None);
        prop_assert_eq!(&census.wrong, &Vec::<String>::new());
        prop_assert_eq!(census.alive.len(), 0);
        oracle::no_packet_without_end(&world)?;
        prop_assert_eq!(world.balance().2, 0);
        let node = world.namespace("node").expect("the node");
        let count = show::conntrack_table(world.machine(node).spaces(), node).count();
        prop_assert_eq!(count, 0, "entries are held");
    }

    #[test]
    fn what_expires_is_gone(lab in rules_lab()) {
        let (world, _) = scenario::play(&plan(&lab, &["sleep 400s"])?, &mut Mute).expect("it runs");
        let node = world.namespace("node").expect("the node");
        prop_assert_eq!(show::conntrack_table(world.machine(node).spaces(), node).count(), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes(lab in rules_lab()) {
        let plan = plan(&lab, &["iptables-save -c", "conntrack -L"])?;
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
        let lab = rules_lab().new_tree(&mut runner).expect("a lab").current();
        let plan = plan(&lab, &[]).expect("a plan");
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
