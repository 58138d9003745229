//! Properties over random labs: no frame without an end, no end without a frame, every record accounted for, the same
//! bytes twice.

use podhop_tests::census::Census;
use proptest::prelude::*;
use sim_core::observe::Memory;
use sim_core::scenario::{self, Options, SourceFile};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A node with a bridge and some pods, with settings that change what frames meet.
#[derive(Clone, Debug)]
struct Lab {
    pods: usize,
    hairpin: Vec<bool>,
    promisc: bool,
    mtu: Vec<u32>,
    down: Option<usize>,
    commands: Vec<(usize, String)>,
    seed: u64,
}

fn lab() -> impl Strategy<Value = Lab> {
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
            .prop_map(move |(hairpin, promisc, mtu, down, commands, seed)| Lab {
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

impl Lab {
    fn scenario(&self) -> SourceFile {
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
        let text = format!(
            "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {{name: random}}\nspec:\n  seed: {}\n  \
             namespaces:\n    node:\n      setup:\n{setup}{pods}  traffic:\n{traffic}",
            self.seed
        );
        SourceFile::new("random", text)
    }
}

/// The same cases in every run.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(7);
    ProptestConfig { cases: 256, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_frame_without_an_end(lab in lab()) {
        let plan = scenario::resolve(&lab.scenario()).map_err(|e| TestCaseError::fail(e.render(false)))?;
        let mut census = Census::default();
        let played = scenario::play(&plan, &mut census).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        let (world, limit) = played;
        prop_assert_eq!(limit, None);
        prop_assert_eq!(&census.wrong, &Vec::<String>::new());
        for m in world.machines() {
            let (made, ended, waiting) = m.balance();
            prop_assert_eq!(made, ended + waiting as u64);
            prop_assert_eq!(census.alive.len(), waiting);
        }
    }

    #[test]
    fn every_record_has_its_line_and_good_checksums(lab in lab()) {
        let plan = scenario::resolve(&lab.scenario()).map_err(|e| TestCaseError::fail(e.render(false)))?;
        let mut memory = Memory::default();
        let report = scenario::run(&plan, &mut memory, Options::default(), &mut ()).expect("it runs");
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for (path, bytes) in memory.files.iter().filter(|(p, _)| p.ends_with(".pcap")) {
            let records = podhop_tests::judge::decode::read_pcap(bytes).expect("a capture");
            counted.insert(path.clone(), records.len() as u64);
            for r in records {
                prop_assert!(!r.text.contains("bad") && !r.text.contains("BADIPCK"), "{}: {}", path, r.text);
            }
        }
        let truth = String::from_utf8(memory.files.get("records.jsonl").cloned().unwrap_or_default()).expect("text");
        let mut listed: BTreeMap<String, u64> = BTreeMap::new();
        for line in truth.lines() {
            let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let n = listed.entry(v["file"].as_str().expect("a path").to_owned()).or_default();
            *n += 1;
            prop_assert_eq!(v["record"].as_u64(), Some(*n), "in the order of the file");
        }
        prop_assert_eq!(counted, listed);
        let mut again = Memory::default();
        scenario::run(&plan, &mut again, Options::default(), &mut ()).expect("it runs");
        prop_assert_eq!(memory.files, again.files);
        prop_assert_eq!(report.counts.frames, report.counts.arrived + report.counts.dropped + report.waiting as u64);
    }
}
