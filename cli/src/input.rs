//! Scenario files: found, read, understood; or every error printed.

use crate::print::Ui;
use sim_core::scenario::{self, Disk, Plan};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders deeper than this are not searched.
const MAX_DEPTH: usize = 16;

/// The scenario files that `path` means: itself, or every scenario.yaml below it, sorted.
///
/// # Errors
/// The file system's.
pub(crate) fn find(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![];
    search(path, 0, &mut found)?;
    found.sort();
    anyhow::ensure!(!found.is_empty(), "{} holds no scenario.yaml", path.display());
    Ok(found)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() && depth < MAX_DEPTH {
            search(&path, depth + 1, found)?;
        } else if path.file_name().is_some_and(|n| n == "scenario.yaml") {
            found.push(path);
        }
    }
    Ok(())
}

/// Reads one scenario, to be run with this seed instead of its own; its errors are printed. None: there were some.
pub(crate) fn load(path: &Path, seed: Option<u64>, ui: &Ui) -> anyhow::Result<Option<Plan>> {
    match scenario::load(&Disk, path, seed) {
        Ok((_, plan)) => {
            ui.warnings(&plan)?;
            Ok(Some(plan))
        }
        Err(errors) => {
            ui.diagnostics(&errors)?;
            Ok(None)
        }
    }
}
