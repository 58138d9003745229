//! The tasks of podhop's developers: `cargo xtask --help`.

mod fuzz;
#[cfg(feature = "kubernetes-fields")]
mod kubernetes_fields;
mod mutations;
mod wasm;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use podhop_parity::judge;
use podhop_tests::big_cluster::{self, Size};
use podhop_tests::coverage::Table;
use podhop_tests::{lab, live, nightly, parity, recordings, scenarios};
use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// So many random cases run at once: each sleeps most of its time.
const CASES_AT_ONCE: usize = 6;

/// What podhop's developers do, each with one word.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that a change must pass: what .ci/run does.
    Ci,
    /// The rules that a test can keep: sizes, floors, heads of files, links, the table of ARCHITECTURE.md.
    Tidy,
    /// The digests of everything that the scenarios write: does a change change them?
    Digests {
        /// Write them to tests/digests.txt: the change is meant.
        #[arg(long)]
        write: bool,
    },
    /// What our labs show of the recorded cases, as OUT/LAB/CASE/{NS.any.pcap, ifmap} for judge.py.
    Recordings {
        /// The folder to write to.
        out: PathBuf,
        /// Cases, as CASE or LAB/CASE; all that are simulated if left out.
        cases: Vec<String>,
    },
    /// Find a setting of `spec` with which a recorded case comes out: what the kernel drew, the phase of its timers.
    Fit {
        /// LAB/CASE.
        case: String,
        /// The setting: seed, jiffies.
        setting: String,
        /// The first value, and how many are tried.
        from: u64,
        /// As many values are tried.
        count: u64,
        /// In the lab that a cluster builds.
        #[arg(long)]
        cluster: bool,
    },
    /// Hold every scenario against the real kernel: docs/parity.md. It wants root.
    Parity {
        /// Hold the cases of a recorded lab against it instead, or one of them: labA-off, labA-off/delack.
        #[arg(long, conflicts_with = "write")]
        recorded: Option<String>,
        /// Write the page.
        #[arg(long)]
        write: bool,
    },
    /// Random clusters, rules and flows on the real kernel, one for each seed. It wants root.
    Nightly {
        /// The first seed: to go on where the last one ended.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 150)]
        count: u64,
        /// Print the scenario of the first seed instead.
        #[arg(long)]
        show: bool,
        /// Do not look for smaller cases that differ, which takes a minute each.
        #[arg(long)]
        as_is: bool,
    },
    /// What the random cases, the lessons and the recorded cases exercise of what sim-core implements; fails if nothing
    /// exercises something.
    Coverage {
        /// So many random cases, from the first seed on.
        #[arg(long, default_value_t = 150)]
        count: u64,
    },
    /// A cluster of any size, as scenario.yaml and objects.yaml in a folder.
    BigCluster {
        /// The folder to write to.
        out: PathBuf,
        /// How many nodes.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        nodes: u64,
        /// How many pods.
        #[arg(long, default_value_t = 2_000)]
        pods: u64,
        /// How many Services.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        services: u64,
    },
    /// Pack what the real kernel showed (a folder of LAB/CASE) into tests/recordings.
    PackRecordings {
        /// The folder of recordings; STABLE.md stands beside it.
        from: PathBuf,
    },
    /// Write the fields that Kubernetes knows, by which manifests are checked, from the types of the crate k8s-openapi.
    KubernetesFields,
    /// Feed the parsers with anything, for a while: the targets of tests/fuzz under libFuzzer.
    Fuzz(fuzz::Arguments),
    /// Does the testing kit find planted bugs? The kernel is built with each patch of tests/mutations, one after the
    /// other.
    Mutations(mutations::Arguments),
    /// The browser's build: web-viz/generated/podhop.wasm.
    Wasm(wasm::Arguments),
    /// The criterion benches.
    Bench {
        /// Arguments of criterion: a filter, --save-baseline NAME.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What a packet costs podhop and the real kernel of this machine, in turn, and the ratios. As root.
    BenchPeers {
        /// Its arguments: --help.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Ci => run(Command::new(scenarios::root().join(".ci/run"))),
        Task::Tidy => run(cargo(["test", "--package", "podhop-tests", "--test", "tidy"])),
        Task::Digests { write } => digests(write),
        Task::Parity { recorded, write } => hold(recorded.as_deref(), write),
        Task::Nightly { from, show: true, .. } => {
            print!("{}", nightly::scenario_of(from));
            Ok(())
        }
        Task::Nightly { from, count, as_is, .. } => night(from..from.saturating_add(count), !as_is),
        Task::Coverage { count } => {
            let table = Table::of(0..count, &live_labs()?);
            print!("{table}");
            let missing = table.missing();
            anyhow::ensure!(missing.is_empty(), "nothing exercises: {missing:?}");
            Ok(())
        }
        Task::Recordings { out, cases } => {
            let written = lab::write(&out, &cases).with_context(|| format!("cannot write to {}", out.display()))?;
            println!("{written} cases in {}", out.display());
            Ok(())
        }
        Task::Fit { case, setting, from, count, cluster } => {
            fit(&case, cluster, &setting, from..from.saturating_add(count))
        }
        Task::BigCluster { out, nodes, pods, services } => {
            let size = Size { nodes: nodes as usize, pods: pods as usize, services: services as usize };
            fs::create_dir_all(&out)?;
            for (name, text) in big_cluster::files(size) {
                fs::write(out.join(name), text)?;
            }
            Ok(())
        }
        Task::PackRecordings { from } => {
            let to = scenarios::root().join("tests/recordings");
            recordings::pack(&from, &to).with_context(|| format!("cannot pack {}", from.display()))
        }
        Task::KubernetesFields => kubernetes_fields(),
        Task::Fuzz(arguments) => fuzz::fuzz(&arguments),
        Task::Mutations(arguments) => mutations::mutations(&arguments),
        Task::Wasm(arguments) => wasm::wasm(&arguments),
        Task::Bench { arguments } => {
            let mut bench = cargo(["bench", "--package", "podhop-benches", "--"]);
            bench.args(arguments);
            run(bench)
        }
        Task::BenchPeers { arguments } => {
            let binary = ["--package", "podhop-benches", "--bin", "bench-peers", "--"];
            let mut peers = cargo(["run", "--release", "--quiet"]);
            peers.args(binary).args(arguments);
            run(peers)
        }
    }
}

/// Writes the table of Kubernetes' fields.
#[cfg(feature = "kubernetes-fields")]
fn kubernetes_fields() -> anyhow::Result<()> {
    kubernetes_fields::write(&scenarios::root())
}

/// The same by an xtask that knows Kubernetes' types.
#[cfg(not(feature = "kubernetes-fields"))]
fn kubernetes_fields() -> anyhow::Result<()> {
    run(cargo(["run", "--quiet", "--package", "xtask", "--features", "kubernetes-fields", "--", "kubernetes-fields"]))
}

/// Prints the first of `values` with which our `case` shows what one of the kernel's runs showed.
fn fit(case: &str, cluster: bool, setting: &str, values: Range<u64>) -> anyhow::Result<()> {
    let all = lab::workloads();
    let known = all.iter().find(|w| case == format!("{}/{}", w.lab, w.case));
    let workload = known.with_context(|| format!("no simulated case is called {case}"))?;
    let workload = if cluster { workload.in_cluster() } else { workload.clone() };
    let recorded = recordings::Lab::load(&workload.lab);
    let want = recorded.case(&workload.case).with_context(|| format!("{case} was not recorded"))?;
    let second = recorded.second(&workload.case);
    let options = judge::Options { times: true, strict: true, ..judge::Options::default() };
    for value in values {
        let got = lab::simulate(&workload.with_setting(setting, value));
        if judge::compare(&want, second.as_ref(), &got, &options).is_empty() {
            println!("{setting}: {value}");
            return Ok(());
        }
    }
    bail!("{case} fits none of these values of {setting}")
}

/// Compares the scenarios' digests with the committed list, or writes it.
fn digests(write: bool) -> anyhow::Result<()> {
    let list = scenarios::digest_list();
    let now = scenarios::digests();
    if write {
        return fs::write(&list, now).with_context(|| format!("cannot write {}", list.display()));
    }
    let committed = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let (old, new): (Vec<_>, Vec<_>) = (committed.lines().collect(), now.lines().collect());
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
    let differences: Vec<_> = gone.chain(come).collect();
    if differences.is_empty() {
        return Ok(());
    }
    println!("{}", differences.join("\n"));
    bail!("the digests differ; `cargo xtask digests --write` if that is meant")
}

/// Holds all scenarios, or the cases of a recorded lab, against the real kernel.
fn hold(recorded: Option<&str>, write: bool) -> anyhow::Result<()> {
    let rows = recorded.map_or_else(parity::all, parity::recorded);
    let page = parity::page(&rows);
    print!("{page}");
    for row in rows.iter().filter(|row| !row.differences.is_empty()) {
        println!("\n{}\n{}", row.scenario, row.differences.join("\n"));
    }
    if write {
        fs::write(scenarios::root().join("docs/parity.md"), page)?;
    }
    let different = rows.iter().filter(|row| !row.differences.is_empty()).count();
    anyhow::ensure!(different == 0, "{different} scenarios differ");
    Ok(())
}

/// Runs the cases of these seeds on the real kernel.
fn night(seeds: Range<u64>, shrinks: bool) -> anyhow::Result<()> {
    let seeds: Vec<u64> = seeds.collect();
    let tell = |seed: u64, done: Result<nightly::Outcome, _>| {
        match &done {
            Ok(o) if o.differences.is_empty() => println!("{seed}: {} flows, {} records, the same", o.flows, o.records),
            Ok(o) => {
                let hangs = if o.hangs { ", by milliseconds" } else { "" };
                println!("{seed}: DIFFERENT{hangs}\n{}\n{}", o.scenario, o.differences.join("\n"));
            }
            Err(e) => println!("{seed}: {e}"),
        }
        done
    };
    let same = |outcome: &Result<nightly::Outcome, _>| outcome.as_ref().is_ok_and(|o| o.differences.is_empty());
    let mut outcomes = live::side_by_side(CASES_AT_ONCE, &seeds, |seed| tell(*seed, nightly::one(*seed, shrinks)));
    let is_explained = |outcome: &Result<nightly::Outcome, _>| outcome.as_ref().is_ok_and(|o| o.hangs);
    for (seed, outcome) in seeds.iter().zip(&mut outcomes).filter(|(_, o)| !same(o) && !is_explained(o)) {
        println!("{seed}: once more, alone");
        *outcome = tell(*seed, nightly::again(*seed));
    }
    let differ = seeds.iter().zip(&outcomes).filter(|(_, o)| !same(o));
    let (hang, bad): (Vec<_>, Vec<_>) = differ.partition(|(_, o)| is_explained(o));
    let numbers = |of: Vec<(&u64, _)>| of.into_iter().map(|(seed, _)| *seed).collect::<Vec<u64>>();
    let (hang, bad) = (numbers(hang), numbers(bad));
    let (mut flows, mut records) = (0, 0);
    for outcome in outcomes.into_iter().flatten() {
        (flows, records) = (flows + outcome.flows, records + outcome.records);
    }
    println!("\n{} cases, {flows} flows, {records} records", seeds.len());
    if !hang.is_empty() {
        println!("seeds that differ by milliseconds, which a program that starts late makes here, too: {hang:?}");
    }
    anyhow::ensure!(bad.is_empty(), "seeds that differ: {bad:?}");
    Ok(())
}

/// The texts of the labs that the live tests hold against the real kernel.
fn live_labs() -> anyhow::Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let mut tests = cargo(["test", "--quiet", "--package", "podhop-tests", "--test", "live*"]);
    tests.env(live::WRITE_TO, folder.path()).stdout(Stdio::null());
    run(tests)?;
    let mut files: Vec<_> = fs::read_dir(folder.path())?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    files.iter().map(|file| Ok(fs::read_to_string(file)?)).collect()
}

fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    // Cargo tells its children where it is.
    let mut command = Command::new(std::env::var_os("CARGO").as_deref().unwrap_or(OsStr::new("cargo")));
    command.args(arguments);
    command
}

/// Runs a command in the project's folder to its end.
fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command.current_dir(scenarios::root()).status();
    let status = status.with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{}: {status}", command.get_program().display());
    }
    Ok(())
}
