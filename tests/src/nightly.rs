//! Random cases on the real kernel: `cargo xtask nightly`.

use crate::live;
use crate::random::{self, Random};
use podhop_parity::{Compare, HoldError};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sim_core::scenario::plan::Plan;

/// As many smaller cases are tried of one that differs.
const MAX_SHRINKS: usize = 40;

/// What is compared of a case.
const COMPARE: Compare = Compare { neighbours_at_any_time: true, ..Compare::ALL };

/// So much later a program may start on a machine that runs several cases: Python takes 130 ms and more.
const LATE_NS: [u64; 5] = [5_000_000, 15_000_000, 40_000_000, 100_000_000, 200_000_000];
/// Phases of the kernel's clock: timers of half a minute fire up to 2 s late.
const PHASES_NS: [u64; 4] = [100_000_000, 500_000_000, 1_000_000_000, 1_500_000_000];

/// What came of a case.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The case.
    pub seed: u64,
    /// It as a file; if it differed, the smallest that does.
    pub scenario: String,
    /// How many records the real kernel showed.
    pub records: usize,
    /// How many flows there were.
    pub flows: usize,
    /// Where both differ.
    pub differences: Vec<String>,
    /// If they do: does podhop itself show another order when programs start milliseconds later? Then the difference
    /// tells nothing.
    pub hangs: bool,
}

/// The case of a seed, here and on the real kernel; where they differ, `shrinks` asks for the smallest case that does.
///
/// # Errors
/// The real kernel could not be asked.
///
/// # Panics
/// The case makes no scenario: the generator is wrong.
pub fn one(seed: u64, shrinks: bool) -> Result<Outcome, HoldError> {
    let mut tree = tree(seed);
    let mut outcome = hold(seed, &tree.current(), 1)?;
    if shrinks && !outcome.differences.is_empty() && !outcome.hangs {
        shrink(seed, &mut tree, &mut outcome)?;
    }
    Ok(outcome)
}

/// The case of a seed once more, for one that differed beside others: a program that starts late sends late, and of a
/// hundred numbers of 16 bits that somebody draws two may be the same. podhop draws others.
///
/// # Errors
/// As [`one`].
///
/// # Panics
/// As [`one`].
pub fn again(seed: u64) -> Result<Outcome, HoldError> {
    hold(seed, &tree(seed).current(), 2)
}

/// The case of a seed as what podhop runs of it, with somebody who listens to what becomes of connections.
///
/// # Panics
/// The case makes no scenario: the generator is wrong.
#[must_use]
pub fn plan_of(seed: u64) -> Plan {
    live::plan("random", &tree(seed).current().scenario_with_listeners(&name(seed)))
}

/// The scenario of a seed.
#[must_use]
pub fn scenario_of(seed: u64) -> String {
    tree(seed).current().scenario(&name(seed), 1)
}

fn name(seed: u64) -> String {
    format!("random-{seed}")
}

fn tree(seed: u64) -> impl ValueTree<Value = Random> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    random::random().new_tree(&mut runner).expect("nothing is rejected")
}

fn hold(seed: u64, case: &Random, draws: u64) -> Result<Outcome, HoldError> {
    let scenario = case.scenario(&name(seed), draws);
    let plan = live::plan("random", &scenario);
    let held = podhop_parity::hold(&plan, COMPARE, live::cpu())?;
    let (records, flows) = (held.records(), plan.traffic.len());
    let hangs = !held.differences.is_empty()
        && !podhop_parity::late(&plan, COMPARE, &LATE_NS, &PHASES_NS).map_err(HoldError::Run)?.is_empty();
    Ok(Outcome { seed, scenario, records, flows, differences: held.differences, hangs })
}

/// The smallest case that still differs, as far as proptest finds it.
fn shrink(seed: u64, tree: &mut impl ValueTree<Value = Random>, worst: &mut Outcome) -> Result<(), HoldError> {
    for _ in 0..MAX_SHRINKS {
        if !tree.simplify() {
            break;
        }
        let tried = hold(seed, &tree.current(), 1)?;
        if tried.differences.is_empty() {
            if !tree.complicate() {
                break;
            }
        } else {
            let (records, flows) = (worst.records, worst.flows);
            *worst = Outcome { records, flows, ..tried };
        }
    }
    Ok(())
}
