//! The browser's build: sim-core with `web-viz/wasm`, as one file of WebAssembly, and its test under Node.
//!
//! The standard library for wasm32-unknown-unknown comes with `rustup target add`. Where that cannot be had, Debian's
//! packages rustc-web, cargo-web and rust-web-src build it from its source; they lack a linker that knows WebAssembly,
//! for which rustup's is taken.

use anyhow::{Context, ensure};
use podhop_tests::scenarios;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What `cargo xtask wasm` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Then run every scenario in it under Node, and compare.
    #[arg(long)]
    test: bool,
}

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGE: &str = "podhop-web";
/// What cargo makes of the package.
const BUILT: &str = "podhop_web.wasm";
/// Where it is put, for the page and for tests.
const FILE: &str = "web-viz/generated/podhop.wasm";
const TESTS: &str = "web-viz/test/podhop.test.js";

/// Debian's compiler, and its standard library's source. Their paths are whole: rustup's come first in PATH.
const DEBIAN: [&str; 3] = ["/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/std"];

/// Builds, and tests on demand. An error if it cannot where nothing may be skipped.
pub(crate) fn wasm(arguments: &Arguments) -> anyhow::Result<()> {
    let node = Command::new("node").arg("--version").output().is_ok();
    let lacks = match builder()? {
        Some(_) if arguments.test && !node => "Node (Debian: nodejs)",
        Some(build) => {
            install(build)?;
            return if arguments.test { test() } else { Ok(()) };
        }
        None => "rustup target add wasm32-unknown-unknown (or Debian's rustc-web, cargo-web and rust-web-src)",
    };
    ensure!(env::var("CI").as_deref() != Ok("true"), "the browser's build needs {lacks}, and CI=true skips nothing");
    println!("skipped: the browser's build needs {lacks}");
    Ok(())
}

/// The command that builds; none where nothing can.
fn builder() -> anyhow::Result<Option<Command>> {
    let sysroot = sysroot()?;
    if sysroot.join("lib/rustlib").join(TARGET).exists() {
        return Ok(Some(super::cargo(["build"])));
    }
    let linker = linker(&sysroot);
    if !DEBIAN.iter().all(|path| Path::new(path).exists()) || !linker.exists() {
        return Ok(None);
    }
    let [cargo, rustc, _] = DEBIAN;
    let mut build = Command::new(cargo);
    build.args(["build", "-Zbuild-std=std,panic_abort"]);
    build.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    Ok(Some(build))
}

/// The folder of the compiler in use.
fn sysroot() -> anyhow::Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc).args(["--print", "sysroot"]).output().context("cannot run rustc")?;
    Ok(PathBuf::from(String::from_utf8(out.stdout)?.trim()))
}

/// The linker that comes with it.
fn linker(sysroot: &Path) -> PathBuf {
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    sysroot.join("lib/rustlib").join(host).join("bin/rust-lld")
}

/// Runs the build and puts what it makes where it belongs.
fn install(mut build: Command) -> anyhow::Result<()> {
    let root = scenarios::root();
    // Of its own: another compiler's files would be thrown away each time.
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("wasm");
    // Its panics name files, not this machine's folders.
    let home = env::var_os("CARGO_HOME").or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo").into()));
    let folders = [(home.unwrap_or_default(), "/cargo"), (root.clone().into(), "/podhop")];
    let flags = folders.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    build.args(["--quiet", "--locked", "--profile", "wasm", "--package", PACKAGE, "--target", TARGET, "--target-dir"]);
    build.arg(&target).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    super::run(build)?;
    let (built, file) = (target.join(TARGET).join("wasm").join(BUILT), root.join(FILE));
    fs::create_dir_all(file.parent().unwrap_or(&root))?;
    let bytes = fs::copy(&built, &file).with_context(|| format!("cannot copy {}", built.display()))?;
    println!("{FILE}: {bytes} bytes");
    Ok(())
}

/// The digests, the errors, and what hostile input does.
fn test() -> anyhow::Result<()> {
    let mut node = Command::new("node");
    node.args(["--test", TESTS]);
    super::run(node)
}
