//! The scenarios of the course, as tests see them: all of them, run, with digests of everything that they write.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sim_core::base::time::SEC;
use sim_core::observe::{Memory, Store};
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Disk, Options};

/// The folder of the project.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the project").to_owned()
}

/// Every scenario.yaml below scenarios/, sorted, relative to the project.
///
/// # Panics
/// The folder cannot be read.
#[must_use]
pub fn all() -> Vec<PathBuf> {
    let mut found = vec![];
    search(&root().join("scenarios"), &mut found);
    found.sort();
    found.into_iter().map(|p| p.strip_prefix(root()).expect("found below it").to_owned()).collect()
}

fn search(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a folder that can be read").path();
        if path.is_dir() {
            search(&path, found);
        } else if path.file_name().is_some_and(|n| n == "scenario.yaml") {
            found.push(path);
        }
    }
}

/// Runs a scenario with all outputs into `store`.
///
/// # Panics
/// It has errors; the message shows them.
pub fn run(path: &Path, store: &mut dyn Store) -> Report {
    let (_, plan) = scenario::load(&Disk, &root().join(path), None).unwrap_or_else(|e| panic!("{}", e.render(false)));
    scenario::run(&plan, store, Options::default(), &mut ()).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()))
}

/// The digest list: `SHA-256  scenario/output`, a line for each output file of each scenario.
#[must_use]
pub fn digests() -> String {
    let mut list = String::new();
    for path in all() {
        let folder = path.parent().unwrap_or(Path::new("")).display().to_string();
        for (file, written) in run(&path, &mut Memory::default()).files {
            let _ = writeln!(list, "{}  {folder}/{file}", written.sha256);
        }
    }
    list
}

/// Where the committed digest list is.
#[must_use]
pub fn digest_list() -> PathBuf {
    root().join("tests/digests.txt")
}

/// The frames of a pcap file of ours, and its link type.
///
/// # Panics
/// It is none.
#[must_use]
pub fn frames(pcap: &[u8]) -> (u32, Vec<&[u8]>) {
    let (link, records) = records(pcap);
    (link, records.into_iter().map(|(_, frame)| frame).collect())
}

/// The same with their times, in nanoseconds.
///
/// # Panics
/// It is none.
#[must_use]
pub fn records(pcap: &[u8]) -> (u32, Vec<(u64, &[u8])>) {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (header, mut rest) = pcap.split_at(24);
    let mut records = vec![];
    while let Some((head, after)) = rest.split_at_checked(16) {
        let (frame, after) = after.split_at(word(head, 8) as usize);
        records.push((u64::from(word(head, 0)) * SEC + u64::from(word(head, 4)), frame));
        rest = after;
    }
    (word(header, 20), records)
}

/// Whether a line is of this form, in which `…` stands for anything.
#[must_use]
pub fn has_form(line: &str, form: &str) -> bool {
    let mut rest = Some(line);
    for part in form.split('…') {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, after)| after);
    }
    rest.is_some()
}
