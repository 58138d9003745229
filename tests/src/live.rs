//! Small labs, built and run in real namespaces and by us, from the same commands, and compared.

use crate::real;
use podhop_parity::{Compare, Held};
use sim_core::observe::Memory;
use sim_core::scenario::plan::Plan;
use sim_core::scenario::{self, SourceFile};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::thread;

/// Where the live labs are written to instead of being held against the real kernel, one file each: what
/// `cargo xtask coverage` looks at.
pub const WRITE_TO: &str = "PODHOP_LIVE_LABS";

/// A scenario's text up to `traffic:`, with the traffic: a namespace and either a command, or the lines of a script in
/// braces, or `sleep 1s`; `& ` in front does not wait for it. Does nothing where the real kernel may not be asked.
///
/// # Panics
/// The scenario is wrong, or the real kernel shows something else; the message shows what.
pub fn check(lab: &str, name: &str, traffic: &[(&str, &str)], compare: Compare) {
    let text = traffic.iter().fold(lab.to_owned(), |text, (ns, what)| text + &entry(ns, what));
    let plan = plan(name, &text);
    let late = late(&plan, compare);
    assert!(late.is_empty(), "{name} hangs by milliseconds: {}", late.join("\n"));
    if let Some(folder) = std::env::var_os(WRITE_TO) {
        let file = Path::new(&folder).join(format!("{}-{name}.yaml", std::process::id()));
        return fs::write(file, text).expect("the folder is there");
    }
    if !real::can_run() {
        return;
    }
    let held = hold(name, &plan, compare);
    let text = || podhop_parity::explain(&held.real, &held.ours, compare);
    assert!(held.differences.is_empty(), "{name}\n{}\n{}", held.differences.join("\n"), text());
}

/// What differs is held once more when no other lab is up: a program that starts late sends late.
fn hold(name: &str, plan: &Plan, compare: Compare) -> Held {
    static UP: RwLock<()> = RwLock::new(());
    let hold = || podhop_parity::hold(plan, compare, cpu()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let held = {
        let _beside_others = UP.read().unwrap_or_else(PoisonError::into_inner);
        hold()
    };
    if held.differences.is_empty() {
        return held;
    }
    let _alone = UP.write().unwrap_or_else(PoisonError::into_inner);
    hold()
}

/// What differs here if programs start as late as they may on the real machine, each in turn.
///
/// # Panics
/// The plan cannot be run.
#[must_use]
pub fn late(plan: &Plan, compare: Compare) -> Vec<String> {
    const LATE_NS: [u64; 4] = [20_000_000, 50_000_000, 90_000_000, 150_000_000];
    podhop_parity::late(plan, compare, &LATE_NS, &[]).unwrap_or_else(|e| panic!("{}: {e:?}", plan.name))
}

/// A scenario that stands alone, for the real kernel and for us.
///
/// # Panics
/// It is wrong.
#[must_use]
pub fn plan(name: &str, text: &str) -> Plan {
    let source = SourceFile::new(name, text);
    let plan = scenario::resolve(&source).and_then(|plan| podhop_parity::prepare(&Memory::default(), &source, plan));
    plan.unwrap_or_else(|e| panic!("{text}\n{}", e.render(false)))
}

/// The CPU of the next lab: tests that run side by side take turns.
#[must_use]
pub fn cpu() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % thread::available_parallelism().map_or(1, usize::from)
}

/// What `f` makes of each, in their order. So many are under way at once: labs on the real kernel sleep most of the
/// time.
///
/// # Panics
/// `f` does.
pub fn side_by_side<T: Sync, R: Send>(at_once: usize, all: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = vec![];
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(n) else { return done };
            done.push((n, f(one)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|s| {
        let workers: Vec<_> = (0..at_once).map(|_| s.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a worker goes on")).collect()
    });
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, r)| r).collect()
}

/// An entry of `traffic:`.
fn entry(ns: &str, what: &str) -> String {
    let (what, background) = match what.strip_prefix("& ") {
        Some(what) => (what, ", background: true"),
        None => (what, ""),
    };
    if what.starts_with('{') {
        return format!("    - {{from: {ns}{background}, script: [{what}]}}\n");
    }
    match what.strip_prefix("sleep ") {
        Some(time) => format!("    - {{sleep: {time}}}\n"),
        None => format!("    - {{from: {ns}{background}, run: \"{what}\"}}\n"),
    }
}
