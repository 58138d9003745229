//! All scenarios held against the real kernel: docs/parity.md.

use crate::lab::{self, Workload};
use crate::verdict::Way;
use crate::{live, recordings, scenarios};
use podhop_parity::{Compare, Held, judge};
use sim_core::scenario::{Diagnostics, Disk, Plan};
use std::fmt::Write as _;
use std::path::Path;

/// So many labs are up at once: they sleep most of the time.
const AT_ONCE: usize = 5;

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its folder, below the project's.
    pub scenario: String,
    /// How many records the real kernel showed, and commands it ran; or why it was not asked.
    pub shown: Result<(usize, usize), String>,
    /// Where both differ.
    pub differences: Vec<String>,
}

/// Holds every scenario against the real kernel that it can show.
///
/// # Panics
/// A scenario is wrong, or the real kernel cannot be asked.
#[must_use]
pub fn all() -> Vec<Row> {
    rows(&scenarios::all(), |file| one(file))
}

/// Rows in order of their names. What differs is held once more when nothing else wants the processors: a program that
/// starts late sends late.
fn rows<T: Sync>(all: &[T], row: impl Fn(&T) -> Row + Sync) -> Vec<Row> {
    let mut rows = live::side_by_side(AT_ONCE, all, &row);
    for (one, seen) in all.iter().zip(&mut rows).filter(|(_, seen)| !seen.differences.is_empty()) {
        *seen = row(one);
    }
    rows.sort_by(|a, b| a.scenario.cmp(&b.scenario));
    rows
}

fn one(file: &Path) -> Row {
    let scenario = file.parent().map_or(String::new(), |folder| folder.display().to_string());
    hold(scenario, podhop_parity::load(&Disk, &scenarios::root().join(file), None), None)
}

/// Holds the cases of a recorded lab, or one of them (`LAB/CASE`), against the real kernel of today.
///
/// # Panics
/// A case is wrong, or the real kernel cannot be asked.
#[must_use]
pub fn recorded(lab: &str) -> Vec<Row> {
    let (lab, case) = lab.split_once('/').map_or((lab, None), |(lab, case)| (lab, Some(case)));
    let is_asked = |w: &Workload| w.lab == lab && case.is_none_or(|case| w.case == case);
    let cases: Vec<_> = lab::workloads().into_iter().filter(is_asked).collect();
    rows(&cases, |w| hold(format!("{}/{}", w.lab, w.case), lab::live(w), Some(w)))
}

fn hold(scenario: String, plan: Result<Plan, Diagnostics>, recorded: Option<&Workload>) -> Row {
    let is_bulk = |w: &&Workload| Way::of(&w.lab, &w.case) == Way::Bulk;
    let mut row = Row { scenario, shown: Ok((0, 0)), differences: vec![] };
    match plan {
        Ok(plan) => match podhop_parity::hold(&plan, Compare::ALL, live::cpu()) {
            Ok(held) => {
                row.shown = Ok((held.records(), held.real.commands.len()));
                row.differences = match recorded.filter(is_bulk) {
                    Some(w) if !held.differences.is_empty() => bulk(w, held),
                    _ => held.differences,
                };
            }
            Err(e) => row.differences = vec![e.to_string()],
        },
        Err(errors) => row.shown = Err(errors.iter().next().map_or(String::new(), |e| e.message.clone())),
    }
    row
}

/// What differs in a case that no two runs of the kernel show alike, the recorded ones being others: of TCP its own
/// part, as in the recordings, and all else but what rules count.
fn bulk(w: &Workload, mut held: Held) -> Vec<String> {
    let lab = recordings::Lab::load(&w.lab);
    let runs = [lab.case(&w.case), lab.second(&w.case)].into_iter().flatten();
    let compared = runs.map(|mut run| {
        run.files.retain(|name, _| held.real.case.files.contains_key(name));
        judge::compare_bulk(&held.real.case, Some(&run), &held.ours.case)
    });
    let mut differences = compared.min_by_key(Vec::len).expect("a recording");
    // The records have been compared.
    held.ours.case = held.real.case.clone();
    for seen in [&mut held.real, &mut held.ours] {
        seen.state.retain(|row| row.command != "iptables-save -c");
    }
    differences.extend(podhop_parity::differences(&held.real, &held.ours, Compare::ALL));
    differences
}

/// docs/parity.md.
#[must_use]
pub fn page(rows: &[Row]) -> String {
    let mut page = String::from(HEAD);
    for row in rows {
        let name = row.scenario.trim_start_matches("scenarios/");
        let _ = match &row.shown {
            Ok((records, commands)) => {
                writeln!(page, "| {name} | {records} | {commands} | {} |", row.differences.len())
            }
            Err(why) => writeln!(page, "| {name} | | | not exported: {why} |"),
        };
    }
    page
}

/// The scenarios of the page that were held against the real kernel, and those that were not.
#[must_use]
pub fn scenarios_of(page: &str) -> Vec<(String, bool)> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('/'));
    let cells = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (format!("scenarios/{}", cells[1]), !cells[4].starts_with("not exported"))).collect()
}

const HEAD: &str = "\
# Held against the real kernel

Every scenario that real namespaces can show, run by `podhop export`'s script and by podhop, and compared: each record
of each namespace, the output of each command, and in the end routes, neighbours, bridge entries, connections and rules
with their counters. Free are times, drawn ports, ids and initial sequence numbers; `podhop parity` says the same of one
scenario. A continuous-integration run repeats it (`cargo test -p podhop-tests --test parity`).

Made by `cargo xtask parity --write` on Linux 6.18 with Debian 12's tools.

| scenario | records | commands | differences |
|---|---|---|---|
";
