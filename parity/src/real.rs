//! What the real kernel shows of a plan.

use crate::judge::Case;
use crate::{Heard, STATE, Seen, export, file_name, starts};
use sim_core::scenario::plan::{Plan, Traffic};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fmt, fs};

/// Why the real kernel could not be asked.
#[derive(Debug)]
pub enum MeasureError {
    /// The script failed; what it said.
    Failed(String),
    /// It could not be started, or what it left could not be read.
    Io(io::Error),
}

impl fmt::Display for MeasureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MeasureError::Failed(said) => write!(f, "the lab cannot be built: {}", said.trim_end()),
            MeasureError::Io(e) => write!(f, "the lab cannot be run: {e}"),
        }
    }
}

impl std::error::Error for MeasureError {}

impl From<io::Error> for MeasureError {
    fn from(e: io::Error) -> Self {
        MeasureError::Io(e)
    }
}

/// What of this machine is missing to run a plan's script: tools, or that its user may make namespaces. None if nothing
/// is.
#[must_use]
pub fn missing(plan: &Plan) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let there = |tool: &&str| folders.iter().any(|folder| folder.join(tool).exists());
    let tools: Vec<&str> = export::needs(plan).into_iter().filter(|tool| !there(tool)).collect();
    if !tools.is_empty() {
        return Some(format!("not found: {}", tools.join(", ")));
    }
    let namespace = Command::new("unshare").args(["--mount", "--net", "true"]).stderr(Stdio::null()).status();
    let may = namespace.is_ok_and(|status| status.success());
    (!may).then(|| "only root can make network namespaces, where there are any".to_owned())
}

/// Runs a script of [`script`](crate::script()), on one CPU of this machine.
///
/// # Errors
/// The script failed, or something around it.
pub fn measure(plan: &Plan, script: &str, cpu: usize) -> Result<Seen, MeasureError> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("lab.sh");
    fs::write(&file, script)?;
    let out = folder.path().join("out");
    let mut bash = Command::new("bash");
    bash.arg(&file).arg(&out).env("PODHOP_CPU", cpu.to_string()).stdin(Stdio::null());
    let done = bash.output()?;
    if !done.status.success() {
        return Err(MeasureError::Failed(String::from_utf8_lossy(&done.stderr).into_owned()));
    }
    Ok(read(plan, &out)?)
}

/// What a script has left in its folder.
fn read(plan: &Plan, folder: &Path) -> io::Result<Seen> {
    let captures = folder.join("captures");
    let mut files = BTreeMap::new();
    for n in &plan.namespaces {
        let file = format!("{}.any.pcap", file_name(&n.name));
        let bytes = fs::read(captures.join(&file))?;
        if bytes.len() > 24 {
            files.insert(file, bytes);
        }
    }
    files.insert("ifmap".to_owned(), fs::read(captures.join("ifmap"))?);
    let mut commands = vec![];
    for (n, entry) in plan.traffic.iter().enumerate() {
        let Some((from, command)) = entry.what() else { continue };
        let repeated = matches!(entry, Traffic::Run(run) if run.repeat.is_some());
        for k in 0..starts(entry) {
            let name = if repeated { format!("{n}.{k}") } else { n.to_string() };
            let read = |what: &str| fs::read(folder.join(format!("commands/{name}.{what}"))).unwrap_or_default();
            let output = String::from_utf8_lossy(&[read("out"), read("err")].concat()).into_owned();
            let exit = String::from_utf8_lossy(&read("exit")).trim().parse().ok();
            commands.push(Heard { from: from.to_owned(), command: command.to_owned(), exit, output });
        }
    }
    let mut state = vec![];
    for n in &plan.namespaces {
        for (place, command) in STATE.iter().enumerate() {
            let file = folder.join(format!("state/{}/{place}", file_name(&n.name)));
            let output = String::from_utf8_lossy(&fs::read(file)?).into_owned();
            state.push(Heard { from: n.name.clone(), command: (*command).to_owned(), exit: None, output });
        }
    }
    Ok(Seen { case: Case { order: None, files }, commands, state })
}
