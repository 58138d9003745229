//! podhop held against the real kernel.
//!
//! ```text
//! scenario --load--> plan --simulate--> what podhop shows ----\
//!                      \--script--> lab.sh --measure--> what Linux shows --differences--> report
//! ```
//!
//! * [`load`]: a scenario as real namespaces can have it, or why they cannot.
//! * [`script`]: it as a script for the real kernel.
//! * [`simulate`], [`measure`]: what it shows here and there.
//! * [`differences`]: whether that is the same.
//! * [`judge`]: the comparison of packets.

mod compare;
mod dns;
mod export;
pub mod judge;
mod load;
mod real;
mod simulate;
mod tcpdump;

use sim_core::scenario::plan::{Plan, Traffic};
use sim_core::scenario::{self, RunError};
use std::fmt;

pub use compare::{Compare, START, differences, explain};
pub use export::script;
pub use load::{load, prepare};
pub use real::{MeasureError, measure, missing};
pub use simulate::simulate;
pub use tcpdump::first_records;

/// What a run showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The records of `tcpdump -i any` in every namespace.
    pub case: judge::Case,
    /// The commands of `traffic:`, in order of their entries.
    pub commands: Vec<Heard>,
    /// What stands in the namespaces in the end: a row for each of [`STATE`] in each namespace.
    pub state: Vec<Heard>,
}

/// A command and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The namespace, as people call it.
    pub from: String,
    /// What was run.
    pub command: String,
    /// Its exit status.
    pub exit: Option<i32>,
    /// What it printed, on both streams.
    pub output: String,
}

/// What differs must differ so often: two of the kernel's random IP ids may be equal by chance, and a busy machine may
/// let a second pass between two records.
const MEASUREMENTS: usize = 2;

/// A plan, here and on the real kernel.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// What the real kernel showed, the last time.
    pub real: Seen,
    /// What podhop shows.
    pub ours: Seen,
    /// Where they differ.
    pub differences: Vec<String>,
}

/// Why a plan could not be held against the real kernel.
#[derive(Debug)]
pub enum HoldError {
    /// The set-up fails here.
    Run(RunError),
    /// The real kernel could not be asked.
    Measure(MeasureError),
}

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldError::Run(RunError::Setup(errors)) => f.write_str(&scenario::setup_diagnostics(errors).render(false)),
            HoldError::Run(RunError::Output(e)) => write!(f, "{e}"),
            HoldError::Measure(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for HoldError {}

/// Holds a plan of [`load`] against the real kernel, on one of the machine's CPUs.
///
/// # Errors
/// One of the two could not be run.
pub fn hold(plan: &Plan, compare: Compare, cpu: usize) -> Result<Held, HoldError> {
    let ours = simulate(plan).map_err(HoldError::Run)?;
    let script = script(plan, &ours).map_err(HoldError::Run)?;
    let mut held = Held { ours, ..Held::default() };
    for _ in 0..MEASUREMENTS {
        held.real = measure(plan, &script, cpu).map_err(HoldError::Measure)?;
        held.differences = differences(&held.real, &held.ours, compare);
        if held.differences.is_empty() {
            break;
        }
    }
    Ok(held)
}

/// What differs here, but for times, between a plan and the same plan when the entries of `traffic:` come later: each
/// by so much later than the one before, or every other one than its time says; or all of them by so much, which is
/// another phase of the kernel's clock. On a real machine programs take their time to start, and nobody knows the
/// phase: what this shows, that machine shows now and then.
///
/// # Errors
/// It could not be run.
pub fn late(plan: &Plan, compare: Compare, late_ns: &[u64], phases_ns: &[u64]) -> Result<Vec<String>, RunError> {
    let (compare, ours) = (Compare { times: false, ..compare }, simulate(plan)?);
    // Who has no time of its own comes later either way.
    let is_timed = plan.traffic.iter().any(|entry| entry.at().is_some());
    let odd = |by_ns: u64| is_timed.then(|| later(plan, by_ns, |n| n % 2 == 1));
    let ways = |by_ns: &u64| std::iter::once(later(plan, *by_ns, |n| n % 2 == 0)).chain(odd(*by_ns));
    let phase = |by_ns: &u64| later(plan, *by_ns, |_| true);
    for plan in late_ns.iter().flat_map(ways).chain(phases_ns.iter().map(phase)) {
        let differences = differences(&simulate(&plan)?, &ours, compare);
        if !differences.is_empty() {
            return Ok(differences);
        }
    }
    Ok(vec![])
}

/// Of the entries with a time of their own those are late whose number `is_late` takes, of the others all.
fn later(plan: &Plan, by_ns: u64, is_late: fn(usize) -> bool) -> Plan {
    let mut late = plan.clone();
    late.traffic.clear();
    for (n, mut entry) in plan.traffic.iter().cloned().enumerate() {
        match entry.at_mut() {
            Some(at) if is_late(n) => at.0 += by_ns,
            Some(_) => {}
            None => late.traffic.push(Traffic::Sleep(by_ns)),
        }
        late.traffic.push(entry);
    }
    late
}

impl Held {
    /// How many records the real kernel showed.
    #[must_use]
    pub fn records(&self) -> usize {
        let captures = self.real.case.files.iter().filter(|(name, _)| name.ends_with(".pcap"));
        captures.map(|(_, bytes)| judge::decode::read_pcap(bytes).map_or(0, |records| records.len())).sum()
    }
}

/// What is asked in every namespace when all is over.
pub const STATE: [&str; 5] =
    ["ip -4 route show table all", "ip neigh", "bridge fdb show", "conntrack -L", "iptables-save -c"];

/// What the files about a namespace are called by.
#[must_use]
pub fn file_name(ns: &str) -> String {
    // No name has one of its own.
    ns.replace('/', "_")
}

/// How often an entry of `traffic:` is started; none if it is no command.
fn starts(entry: &Traffic) -> u64 {
    match entry {
        Traffic::Run(run) => run.repeat.map_or(1, |repeat| repeat.count),
        Traffic::Script(_) => 1,
        Traffic::Sleep(_) => 0,
    }
}
