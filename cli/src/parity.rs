//! `podhop export` and `podhop parity`: scenarios on the real kernel.

use crate::WRONG_INPUT;
use crate::args::{ExportArgs, Format, ParityArgs};
use crate::input;
use crate::print::{Ui, out};
use anyhow::Context;
use podhop_parity::{Compare, HoldError};
use serde_json::{Value, json};
use sim_core::scenario::{self, Disk};
use std::fs;
use std::path::Path;

/// Exit status when the real kernel shows something else.
const DIFFERENT: u8 = 1;

pub(crate) fn export(args: &ExportArgs, ui: &Ui) -> anyhow::Result<u8> {
    let plan = match podhop_parity::load(&Disk, &args.path, None) {
        Ok(plan) => plan,
        Err(errors) => {
            ui.diagnostics(&errors)?;
            return Ok(WRONG_INPUT);
        }
    };
    let made = podhop_parity::simulate(&plan).and_then(|seen| podhop_parity::script(&plan, &seen));
    let script = match made {
        Ok(script) => script,
        Err(e) => return ui.run_error(e).map(|()| WRONG_INPUT),
    };
    match &args.out {
        Some(path) => write_script(path, &script)?,
        None => out(&script)?,
    }
    Ok(0)
}

/// Writes the script beside its name first.
fn write_script(path: &Path, script: &str) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".podhop-tmp");
    let failed = || format!("cannot write {}", path.display());
    fs::write(&temporary, script).with_context(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).with_context(failed)?;
    }
    fs::rename(&temporary, path).with_context(failed)
}

pub(crate) fn parity(args: &ParityArgs, ui: &Ui) -> anyhow::Result<u8> {
    let files = input::find(&args.path)?;
    let several = args.path.is_dir();
    let cpu = args.cpu.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from) - 1);
    let (mut rows, mut worst) = (vec![], 0);
    for file in &files {
        let Some(row) = one(args, file, cpu, several, ui)? else { return Ok(WRONG_INPUT) };
        worst = worst.max(if row.differences.is_empty() { 0 } else { DIFFERENT });
        if args.format == Format::Text {
            out(&row.text(ui))?;
        }
        rows.push(row);
    }
    if args.format == Format::Json {
        out(&format!("{:#}\n", Value::from(rows.iter().map(Row::json).collect::<Vec<_>>())))?;
    }
    Ok(worst)
}

/// What came of a scenario.
struct Row {
    file: String,
    records: usize,
    commands: usize,
    /// Why it was not run on the real kernel.
    left_out: Option<String>,
    differences: Vec<String>,
    /// The first different records.
    first: String,
    /// Both sides in full.
    explained: Option<String>,
}

/// One scenario; none if it is wrong, or cannot be exported and was asked for by name, which has been printed.
fn one(args: &ParityArgs, file: &Path, cpu: usize, several: bool, ui: &Ui) -> anyhow::Result<Option<Row>> {
    let mut row = Row {
        file: file.display().to_string(),
        records: 0,
        commands: 0,
        left_out: None,
        differences: vec![],
        first: String::new(),
        explained: None,
    };
    let plan = match podhop_parity::load(&Disk, file, None) {
        Ok(plan) => plan,
        Err(errors) if several && scenario::load(&Disk, file, None).is_ok() => {
            row.left_out = errors.iter().next().map(|e| e.message.clone());
            return Ok(Some(row));
        }
        Err(errors) => {
            ui.diagnostics(&errors)?;
            return Ok(None);
        }
    };
    if let Some(what) = podhop_parity::missing(&plan) {
        anyhow::bail!("the real kernel cannot be asked: {what}");
    }
    let held = match podhop_parity::hold(&plan, Compare::ALL, cpu) {
        Ok(held) => held,
        Err(HoldError::Run(e)) => return ui.run_error(e).map(|()| None),
        Err(e) => return Err(anyhow::Error::new(e).context(file.display().to_string())),
    };
    (row.records, row.commands) = (held.records(), held.real.commands.len());
    if !held.differences.is_empty() {
        row.first = podhop_parity::first_records(&held.real.case, &held.ours.case);
        row.explained = args.explain.then(|| podhop_parity::explain(&held.real, &held.ours, Compare::ALL));
    }
    row.differences = held.differences;
    Ok(Some(row))
}

impl Row {
    fn text(&self, ui: &Ui) -> String {
        let Row { file, records, commands, left_out, differences, first, explained } = self;
        if let Some(why) = left_out {
            return if ui.quiet { String::new() } else { format!("{file}: not exported: {why}\n") };
        }
        let mut text = match differences.len() {
            0 if ui.quiet => return String::new(),
            0 => format!("{file}: {records} records and {commands} commands, the same\n"),
            n => format!("{file}: {records} records and {commands} commands, {n} differences\n"),
        };
        differences.iter().for_each(|d| text += &format!("{}\n", d.trim_end()));
        text += first;
        if let Some(explained) = explained {
            text += explained;
        }
        text
    }

    fn json(&self) -> Value {
        let Row { file, records, commands, left_out, differences, first, explained } = self;
        json!({
            "scenario": file, "records": records, "commands": commands, "notExported": left_out,
            "differences": differences, "firstRecords": first.lines().collect::<Vec<_>>(),
            "explained": explained,
        })
    }
}
