//! Planted bugs: the patches of tests/mutations. `cargo xtask mutations` shows that the testing kit finds each.

use crate::scenarios;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the kit's tests keep what once failed.
pub const REGRESSIONS: &str = "sim-core/tests/kit.proptest-regressions";

/// A patch that plants a bug in the kernel.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Its file's name without the ending.
    pub name: String,
    path: PathBuf,
}

/// All of them, by name.
///
/// # Panics
/// The folder cannot be read.
pub fn all() -> Vec<Mutation> {
    let folder = scenarios::root().join("tests/mutations");
    let entries = fs::read_dir(folder).expect("tests/mutations");
    let paths = entries.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "patch"));
    let name = |path: &Path| path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut all: Vec<_> = paths.map(|path| Mutation { name: name(&path), path }).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl Mutation {
    /// The bug is planted in the project's files at `tree`.
    ///
    /// # Errors
    /// git cannot be run, or the patch does not apply.
    pub fn apply(&self, tree: &Path) -> io::Result<()> {
        self.git_apply(tree, &[])
    }

    /// The patch would apply to the project's files at `tree`.
    ///
    /// # Errors
    /// As of [`Mutation::apply`].
    pub fn check(&self, tree: &Path) -> io::Result<()> {
        self.git_apply(tree, &["--check"])
    }

    fn git_apply(&self, tree: &Path, options: &[&str]) -> io::Result<()> {
        let mut git = Command::new("git");
        git.arg("apply").args(options).arg(&self.path).current_dir(tree);
        // Names in a patch are those of the tree, whatever repository it lies in.
        if let Some(above) = tree.parent().filter(|_| !tree.join(".git").exists()) {
            git.env("GIT_CEILING_DIRECTORIES", above);
        }
        let out = git.output()?;
        if out.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{}: {}", self.name, String::from_utf8_lossy(&out.stderr).trim_end())))
    }
}
