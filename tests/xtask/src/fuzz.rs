//! The fuzz targets under libFuzzer: built with coverage, run side by side, their corpora kept.
//!
//! The compiler's coverage pass is a stable one, so this needs no other toolchain; libFuzzer itself comes as C++ with
//! the crate libfuzzer-sys.

use anyhow::{Context, bail, ensure};
use podhop_fuzz::{MAX_INPUT, TARGET, TARGETS, Target, corpus, target};
use podhop_tests::{live, scenarios};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, thread};

/// What `cargo xtask fuzz` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs; 0 only tries what is kept.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Each target tries no more than this many inputs; 0 for as many as the time allows.
    #[arg(long, default_value_t = 0)]
    inputs: u32,
    /// The same inputs as every other run with this seed, as far as it comes; 0 for one of its own.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Write what was found worth keeping to tests/fuzz/corpus.
    #[arg(long)]
    keep: bool,
    /// More inputs to begin with: a folder with a folder for each target.
    #[arg(long)]
    from: Option<PathBuf>,
    /// The targets: iptables, ip, filter, scenario, eval, packet; all if left out.
    targets: Vec<String>,
}

/// Coverage of every edge, and of what is compared (what cargo-fuzz passes).
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input that takes longer is a failure, in seconds: three orders of magnitude above what they take.
const MAX_SECONDS: u32 = 10;
/// A process that needs more memory is a failure, in MiB.
const MAX_MEMORY: u32 = 1024;

/// What is kept is cut to this length, in bytes.
const MAX_KEPT: usize = 256;

/// Runs the targets; an error if one fails, or if none can run where nothing may be skipped.
pub(crate) fn fuzz(arguments: &Arguments) -> anyhow::Result<()> {
    let find = |name: &String| target(name).with_context(|| format!("there is no fuzz target {name}"));
    let chosen: Vec<&Target> = match arguments.targets.as_slice() {
        [] => TARGETS.iter().collect(),
        names => names.iter().map(find).collect::<anyhow::Result<_>>()?,
    };
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    if Command::new(&compiler).arg("--version").output().is_err() {
        ensure!(
            env::var("CI").as_deref() != Ok("true"),
            "{compiler} is missing (Debian: g++), and CI=true skips nothing"
        );
        println!("skipped: libFuzzer needs {compiler} (Debian: g++)");
        return Ok(());
    }
    let host = host()?;
    super::run(fuzzer("build", &host))?;
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let failures = live::side_by_side(at_once, &chosen, |target| {
        let done = Job::new(target, &host).run(arguments);
        done.map(|done| println!("{}: {done}", target.name)).err().map(|e| format!("{}: {e:#}", target.name))
    });
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

/// The triple of this machine. Named as the target it keeps the coverage out of build scripts.
fn host() -> anyhow::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc).arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8(out.stdout)?;
    let host = text.lines().find_map(|l| l.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}

/// `cargo build` or `cargo run` of the targets.
fn fuzzer(command: &str, host: &str) -> Command {
    let manifest = scenarios::root().join("Cargo.toml");
    let package = ["--package", "podhop-fuzz", "--bin", "podhop-fuzz", "--features", "libfuzzer"];
    let mut cargo = super::cargo([command, "--quiet", "--locked", "--profile", "fuzz", "--target", host]);
    cargo.args(package).arg("--manifest-path").arg(manifest).env("RUSTFLAGS", FLAGS.join(" "));
    cargo
}

/// A target and its folders.
struct Job<'a> {
    target: &'static Target,
    host: &'a str,
    folder: PathBuf,
}

impl<'a> Job<'a> {
    fn new(target: &'static Target, host: &'a str) -> Self {
        Job { target, host, folder: scenarios::root().join("target/fuzz-run").join(target.name) }
    }

    /// Fuzzes, and keeps what is to be kept; says what was done.
    fn run(&self, arguments: &Arguments) -> anyhow::Result<String> {
        let inputs = self.unpack(arguments.from.as_deref())?;
        let runs = match arguments {
            Arguments { seconds: 0, .. } => 0,
            Arguments { inputs: 0, .. } => -1,
            Arguments { inputs, .. } => i64::from(*inputs),
        };
        let limits = [format!("-runs={runs}"), format!("-max_total_time={}", arguments.seconds)];
        let seed = format!("-seed={}", arguments.seed);
        let dictionary = format!("-dict={}", corpus::dictionary(self.target.name).display());
        let log = self.fuzzer(&[&limits[0], &limits[1], &seed, &dictionary, "-print_final_stats=1", "corpus"])?;
        let stat = |name: &str| log.lines().find_map(|l| l.strip_prefix(name)).map_or("?", str::trim).to_owned();
        let mut done = format!("tried {} inputs", stat("stat::number_of_executed_units:"));
        if arguments.keep {
            let merged = self.folder.join("merged");
            fs::create_dir(&merged)?;
            // By edges alone: how often each was taken, and after which comparison, would fill the repository.
            let few = ["-set_cover_merge=1", "-use_counters=0", "-use_cmp=0", &format!("-max_len={MAX_KEPT}")];
            self.fuzzer(&[&few[..], &["merged", "corpus"]].concat())?;
            let kept = files(&merged)?;
            done += &format!(
                ", of {} at first and {} at last {} are kept",
                inputs,
                files(&self.folder.join("corpus"))?.len(),
                kept.len()
            );
            corpus::write(self.target.name, kept)?;
        }
        Ok(done)
    }

    /// Writes the inputs to begin with where libFuzzer finds them; how many.
    fn unpack(&self, more: Option<&Path>) -> anyhow::Result<usize> {
        let folder = self.folder.join("corpus");
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut inputs = corpus::read(self.target.name)?;
        if let Some(more) = more.map(|m| m.join(self.target.name)).filter(|m| m.exists()) {
            inputs.extend(files(&more)?);
        }
        for (n, input) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("kept-{n:05}")), input)?;
        }
        Ok(inputs.len())
    }

    /// Runs libFuzzer to its end; what it said.
    fn fuzzer(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let log = self.folder.join("log");
        let said = fs::File::create(&log)?;
        let mut command = fuzzer("run", self.host);
        // Of two that are the same option, the last counts.
        command.arg("--").arg(format!("-max_len={MAX_INPUT}")).args(arguments).arg("-artifact_prefix=failed-");
        command.args([format!("-timeout={MAX_SECONDS}"), format!("-rss_limit_mb={MAX_MEMORY}")]);
        command.env(TARGET, self.target.name).env("RUST_BACKTRACE", "0");
        let status = command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).status();
        let status = status.context("cannot run the fuzzer")?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if status.success() {
            return Ok(text);
        }
        let why = text.lines().skip_while(|l| !l.contains("panicked at") && !l.contains("ERROR: libFuzzer"));
        let why: Vec<&str> = why.take(8).collect();
        bail!("{status}\n{}\n{}\nThe whole log: {}", why.join("\n"), self.failed(), log.display())
    }

    /// The input that failed, as a line of the corpus.
    fn failed(&self) -> String {
        let mut failed = String::new();
        for path in paths(&self.folder).unwrap_or_default() {
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("failed-")) {
                let input = fs::read(&path).unwrap_or_default();
                failed += &format!("{}:\n    {}\n", path.display(), corpus::escape(&input));
            }
        }
        failed + &format!("Try it again: cargo run -p podhop-fuzz -- {} FILE", self.target.name)
    }
}

/// The contents of the files in a folder, in the order of their names.
fn files(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    paths(folder)?.into_iter().map(read).collect()
}

fn paths(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|e| Ok(e?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
