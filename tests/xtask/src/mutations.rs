//! Planted bugs: the kernel with each patch of tests/mutations is asked by the testing kit, which must find it; without
//! one it must find nothing.

#![allow(clippy::disallowed_types, reason = "how long the kit takes is measured, outside the simulation")]

use anyhow::{Context, bail, ensure};
use podhop_tests::{mutations, scenarios};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What `cargo xtask mutations` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The mutations, by the names of their patches; all if left out.
    mutations: Vec<String>,
}

/// The kit finds a bug within this time, builds apart.
const MAX_TIME: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const POLL: Duration = Duration::from_millis(20);
/// The kit's tests, which build the kernel alone.
const TEST: [&str; 8] =
    ["test", "--locked", "--no-run", "--package", "sim-core", "--no-default-features", "--test", "kit"];

/// Asks the kit about the kernel as it is and with each mutation; an error if one is not found.
pub(crate) fn mutations(arguments: &Arguments) -> anyhow::Result<()> {
    let all = mutations::all();
    let is_chosen = |name: &str| arguments.mutations.is_empty() || arguments.mutations.iter().any(|m| m == name);
    if let Some(unknown) = arguments.mutations.iter().find(|m| !all.iter().any(|a| a.name == **m)) {
        bail!("there is no tests/mutations/{unknown}.patch");
    }
    let bench = Bench::new()?;
    let clean = bench.ask()?;
    ensure!(clean.found.is_empty(), "without a bug the kit reports one: {}", clean.found);
    println!("no mutation: nothing in {:.1} s", clean.took.as_secs_f64());
    let mut missed = Vec::new();
    for mutation in all.iter().filter(|m| is_chosen(&m.name)) {
        mutation.apply(&bench.tree)?;
        let asked = bench.ask();
        bench.copy()?;
        let Asked { found, took } = asked?;
        let verdict = if found.is_empty() { "NOT FOUND".to_owned() } else { format!("found by {found}") };
        println!("{}: {verdict} in {:.1} s", mutation.name, took.as_secs_f64());
        if found.is_empty() {
            missed.push(mutation.name.as_str());
        }
    }
    ensure!(missed.is_empty(), "the kit does not find {}", missed.join(", "));
    Ok(())
}

/// A copy of the project's files, where bugs may be planted, and what is built of it.
struct Bench {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
}

/// What the kit said.
struct Asked {
    /// The first test that failed and why; empty if none did.
    found: String,
    took: Duration,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let root = scenarios::root();
        let folder = root.join("target/mutations");
        let bench = Bench { tree: folder.join("tree"), target: folder.join("target"), root };
        bench.copy()?;
        Ok(bench)
    }

    /// The files are those of the project again. What has not changed keeps its time, so that it is not built anew.
    fn copy(&self) -> anyhow::Result<()> {
        let list = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .context("cannot run git")?;
        ensure!(list.status.success(), "git ls-files: {}", String::from_utf8_lossy(&list.stderr));
        for name in String::from_utf8(list.stdout)?.split_terminator('\0') {
            copy(&self.root.join(name), &self.tree.join(name)).with_context(|| format!("cannot copy {name}"))?;
        }
        Ok(())
    }

    /// Builds the kit and runs it.
    fn ask(&self) -> anyhow::Result<Asked> {
        let mut build = super::cargo(TEST);
        build.args(["--features", "testing"]).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        let built = build.output().context("cannot run cargo")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "it does not build:\n{said}");
        let path = said.lines().find_map(|l| l.trim().strip_prefix("Executable tests/kit.rs (")?.strip_suffix(')'));
        self.run(&self.tree.join(path.context("cargo names no executable")?))
    }

    fn run(&self, program: &Path) -> anyhow::Result<Asked> {
        let output = self.target.join("kit.txt");
        let file = fs::File::create(&output)?;
        let begin = Instant::now();
        let mut kit = Command::new(program)
            .current_dir(self.tree.join("sim-core"))
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let status = loop {
            match kit.try_wait()? {
                Some(status) => break Some(status),
                None if begin.elapsed() > MAX_TIME => {
                    kit.kill()?;
                    kit.wait()?;
                    break None;
                }
                None => std::thread::sleep(POLL),
            }
        };
        let took = begin.elapsed();
        // What failed is remembered beside the test: the next bug is to be found by itself.
        let regressions = self.tree.join(mutations::REGRESSIONS);
        if regressions.exists() {
            fs::remove_file(regressions)?;
        }
        let found = match status {
            Some(status) if status.success() => String::new(),
            Some(_) => first_failure(&fs::read_to_string(&output)?),
            None => "itself: it does not end".to_owned(),
        };
        Ok(Asked { found, took })
    }
}

/// The first test that failed, with the oracle that says so.
fn first_failure(output: &str) -> String {
    let test = output.lines().find_map(|l| l.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let why = output.lines().find_map(|l| l.strip_prefix("Test failed: "));
    match (test, why) {
        (Some(test), Some(why)) => format!("{test}: {why}"),
        (Some(test), None) => test.to_owned(),
        (None, _) => "a test that broke off".to_owned(),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // A file that is deleted and not yet committed is still listed.
    let Ok(bytes) = fs::read(from) else { return Ok(()) };
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(to, bytes)?)
}
