//! The folder of a run: written beside its final name and renamed, never mixed with what is not podhop's.

use anyhow::{Context, bail};
use sim_core::observe::Store;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// As many files are open at once; the one unused for longest is closed.
const MAX_OPEN: usize = 64;
/// The file by which a folder is known as a run's.
const MARK: &str = "summary.json";

/// A folder under a preliminary name.
pub(crate) struct Folder {
    target: PathBuf,
    temporary: PathBuf,
    open: BTreeMap<String, File>,
    used: VecDeque<String>,
    done: bool,
}

impl Folder {
    /// Prepares the folder `target`.
    ///
    /// # Errors
    /// It exists and is not an earlier run's, or it cannot be written beside it.
    pub(crate) fn create(target: &Path) -> anyhow::Result<Self> {
        refuse_foreign(target)?;
        let name = target.file_name().with_context(|| format!("{} names no folder", target.display()))?;
        let mut temporary = name.to_owned();
        temporary.push(".podhop-tmp");
        let temporary = target.with_file_name(temporary);
        if temporary.exists() {
            fs::remove_dir_all(&temporary).with_context(|| format!("cannot clear {}", temporary.display()))?;
        }
        fs::create_dir_all(&temporary).with_context(|| format!("cannot make {}", temporary.display()))?;
        interruptible(&temporary)?;
        let (open, used) = (BTreeMap::new(), VecDeque::new());
        Ok(Folder { target: target.to_owned(), temporary, open, used, done: false })
    }

    /// Everything is written: the folder gets its name, in place of an earlier run's.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.open.clear();
        let old = self.temporary.with_extension("podhop-old");
        if self.target.exists() {
            fs::rename(&self.target, &old).with_context(|| format!("cannot replace {}", self.target.display()))?;
        }
        fs::rename(&self.temporary, &self.target)
            .with_context(|| format!("cannot rename to {}", self.target.display()))?;
        self.done = true;
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(path) {
            if self.open.len() >= MAX_OPEN
                && let Some(oldest) = self.used.pop_front()
            {
                self.open.remove(&oldest);
            }
            let full = self.temporary.join(path);
            if let Some(parent) = full.parent() {
                fs::create_dir_all(parent)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(full)?;
            self.open.insert(path.to_owned(), file);
        }
        self.used.retain(|p| p != path);
        self.used.push_back(path.to_owned());
        self.open.get_mut(path).ok_or_else(|| io::Error::other("a file that was just opened"))
    }
}

impl Store for Folder {
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(path)?.write_all(bytes)
    }
}

impl Drop for Folder {
    /// An interrupted run leaves nothing behind.
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// The folder that is being written, for whoever interrupts.
static WRITING: Mutex<Option<PathBuf>> = Mutex::new(None);
/// Exit status after SIGINT, as shells count it.
const INTERRUPTED: i32 = 130;

/// From now on an interrupt (Ctrl-C) removes `folder` before it ends the program.
fn interruptible(folder: &Path) -> anyhow::Result<()> {
    let first = lock().replace(folder.to_owned()).is_none();
    if !first {
        return Ok(());
    }
    Ok(ctrlc::set_handler(|| {
        if let Some(folder) = lock().take() {
            let _ = fs::remove_dir_all(folder);
        }
        std::process::exit(INTERRUPTED);
    })?)
}

fn lock() -> MutexGuard<'static, Option<PathBuf>> {
    // A path is whole even if somebody panicked while holding it.
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse_foreign(target: &Path) -> anyhow::Result<()> {
    let Ok(mut entries) = fs::read_dir(target) else {
        if target.exists() {
            bail!("{} is there already and is no folder", target.display());
        }
        return Ok(());
    };
    let own = fs::read_to_string(target.join(MARK)).is_ok_and(|s| s.contains("\"podhop/summary/"));
    if entries.next().is_some() && !own {
        bail!("{} holds files that are not a run's; choose another folder with -o, or empty it", target.display());
    }
    Ok(())
}
