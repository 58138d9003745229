//! Properties over random labs and clusters: no frame without an end, no end without a frame, every record accounted
//! for, the same bytes twice.

use podhop_tests::census::Census;
use proptest::prelude::*;
use sim_core::kernel::show;
use sim_core::observe::Memory;
use sim_core::scenario::plan::Plan;
use sim_core::scenario::{self, Options, SourceFile};
use sim_core::testing::oracle;
use sim_core::testing::strategy::{bridge_lab, cluster};
use std::collections::BTreeMap;

fn resolve(text: String) -> Result<Plan, TestCaseError> {
    scenario::resolve(&SourceFile::new("random", text)).map_err(|e| TestCaseError::fail(e.render(false)))
}

/// The same cases in every run.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(7);
    ProptestConfig { cases: 256, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_frame_without_an_end(lab in bridge_lab()) {
        let plan = resolve(lab.scenario())?;
        let mut census = Census::default();
        let played = scenario::play(&plan, &mut census).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        let (world, limit) = played;
        prop_assert_eq!(limit, None);
        prop_assert_eq!(&census.wrong, &Vec::<String>::new());
        oracle::no_packet_without_end(&world)?;
        prop_assert_eq!(census.alive.len(), world.balance().2);
    }

    #[test]
    fn every_record_has_its_line_and_good_checksums(lab in bridge_lab()) {
        let plan = resolve(lab.scenario())?;
        let mut memory = Memory::default();
        let report = scenario::run(&plan, &mut memory, Options::default(), &mut ()).expect("it runs");
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for (path, bytes) in memory.files.iter().filter(|(p, _)| p.ends_with(".pcap")) {
            let records = podhop_parity::judge::decode::read_pcap(bytes).expect("a capture");
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..config() })]

    /// Links break, pods are deleted: no frame is lost without a trace, and what is tracked is tracked right.
    #[test]
    fn clusters_survive_faults(case in cluster(4)) {
        let plan = resolve(case.scenario())?;
        let mut census = Census::default();
        let (world, limit) = scenario::play(&plan, &mut census).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        prop_assert_eq!(limit, None);
        prop_assert_eq!(&census.wrong, &Vec::<String>::new());
        oracle::no_packet_without_end(&world)?;
        for node in (0..3).filter_map(|n| world.namespace(&format!("node-{n}"))) {
            let machine = world.machine(node);
            let connections = show::conntrack(machine.spaces(), node, machine.now());
            oracle::tuples_unshared(&connections)?;
            oracle::expires_in_time(&connections)?;
        }
    }
}
