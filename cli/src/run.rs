//! `podhop run`

use crate::WRONG_INPUT;
use crate::args::{Format, RunArgs};
use crate::input;
use crate::output::Folder;
use crate::print::{self, Ui, out};
use indicatif::{ProgressBar, ProgressStyle};
use sim_core::observe::recorder::Counts;
use sim_core::observe::{Nowhere, Store};
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Options, Plan, Progress};
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &RunArgs, ui: &Ui) -> anyhow::Result<u8> {
    let files = input::find(&args.path)?;
    let several = args.path.is_dir();
    let mut worst = 0;
    let mut summaries = vec![];
    let mut table = Table::default();
    for file in &files {
        let Some(plan) = input::load(file, args.seed, ui)? else {
            worst = worst.max(WRONG_INPUT);
            table.wrong(file);
            continue;
        };
        let target = match &args.out {
            Some(dir) if several => dir.join(&plan.name),
            Some(dir) => dir.clone(),
            None => PathBuf::from("podhop-out").join(&plan.name),
        };
        let Some(report) = one(args, ui, &plan, &target)? else {
            worst = worst.max(WRONG_INPUT);
            table.wrong(file);
            continue;
        };
        worst = worst.max(report.exit_code() as u8);
        if args.format == Format::Json {
            summaries.push(report.summary());
            continue;
        }
        if several {
            out(&ui.failures(&report, &target))?;
            table.add(file, &report);
            continue;
        }
        if !ui.quiet {
            out(&ui.story(&report))?;
            out("\n")?;
        }
        out(&ui.result(&report, &target))?;
    }
    match (args.format, several) {
        (Format::Json, false) => summaries.into_iter().try_for_each(|s| out(&format!("{s:#}\n")))?,
        (Format::Json, true) => out(&format!("{:#}\n", serde_json::Value::from(summaries)))?,
        (Format::Text, true) => out(&table.print(ui))?,
        (Format::Text, false) => {}
    }
    Ok(worst)
}

/// One scenario into one folder. None: its set-up failed, which has been printed.
fn one(args: &RunArgs, ui: &Ui, plan: &Plan, target: &Path) -> anyhow::Result<Option<Report>> {
    let mut folder = Folder::create(target)?;
    let mut bar = Bar::new(ui, plan);
    let Some(report) = simulate(ui, plan, &mut folder, &mut bar)? else { return Ok(None) };
    bar.0.finish_and_clear();
    folder.append("summary.json", format!("{:#}\n", report.summary()).as_bytes())?;
    if args.check_determinism {
        let Some(again) = simulate(ui, plan, &mut Nowhere, &mut ())? else { return Ok(None) };
        let differ = report.files.iter().find(|(path, file)| again.files.get(*path) != Some(file));
        if let Some((path, _)) = differ {
            anyhow::bail!("two runs differ in {path}: please report this, with the scenario");
        }
    }
    folder.finish()?;
    Ok(Some(report))
}

fn simulate(
    ui: &Ui,
    plan: &Plan,
    store: &mut dyn Store,
    progress: &mut dyn Progress,
) -> anyhow::Result<Option<Report>> {
    match scenario::run(plan, store, Options::default(), progress) {
        Ok(report) => Ok(Some(report)),
        Err(e) => ui.run_error(e).map(|()| None),
    }
}

/// What came of several scenarios, a line each.
#[derive(Default)]
struct Table(Vec<Row>);

struct Row {
    /// The scenario's file, its numbers, how it went.
    cells: [String; 6],
    ok: bool,
}

impl Table {
    const HEAD: [&str; 6] = ["scenario", "expectations", "simulated", "frames", "records", "result"];

    fn add(&mut self, file: &Path, report: &Report) {
        let ok = report.expectations.iter().filter(|e| e.verdict.ok).count();
        let result = match report.exit_code() {
            0 => "ok".to_owned(),
            1 => format!("{} failed", report.expectations.len() - ok),
            _ => format!("limit {}", report.limit.as_ref().map_or("", |l| l.name)),
        };
        let Counts { frames, records, .. } = report.counts;
        let cells = [
            file.display().to_string(),
            format!("{ok} of {}", report.expectations.len()),
            print::seconds(report.ended.0),
            frames.to_string(),
            records.to_string(),
            result,
        ];
        self.0.push(Row { cells, ok: report.exit_code() == 0 });
    }

    /// It has errors, which were told.
    fn wrong(&mut self, file: &Path) {
        let dash = || "-".to_owned();
        let cells = [file.display().to_string(), dash(), dash(), dash(), dash(), "wrong input".to_owned()];
        self.0.push(Row { cells, ok: false });
    }

    fn print(&self, ui: &Ui) -> String {
        let width = |n: usize| {
            let cells = self.0.iter().map(|row| row.cells[n].chars().count());
            cells.chain([Table::HEAD[n].len()]).max().unwrap_or(0)
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        let line = |cells: [&str; 6], last: &str| {
            let [name, numbers @ .., _] = cells;
            let mut s = format!("{name:<w$}", w = widths[0]);
            for (cell, w) in numbers.into_iter().zip(&widths[1..]) {
                s += &format!("  {cell:>w$}");
            }
            s + "  " + last + "\n"
        };
        let mut s = line(Table::HEAD, Table::HEAD[5]);
        for row in &self.0 {
            let cells = row.cells.each_ref().map(String::as_str);
            s += &line(cells, &ui.mark(row.ok, cells[5]));
        }
        let failed = self.0.iter().filter(|row| !row.ok).count();
        s + &format!("{} scenarios, {failed} not ok\n", self.0.len())
    }
}

/// Progress on a terminal, nothing in a pipe.
struct Bar(ProgressBar);

impl Bar {
    fn new(ui: &Ui, plan: &Plan) -> Self {
        if !ui.shows_progress() {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(plan.traffic.len() as u64).with_message(plan.name.clone());
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} commands {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Bar(bar)
    }
}

impl Progress for Bar {
    fn commands(&mut self, done: usize, all: usize) {
        self.0.set_length(all as u64);
        self.0.set_position(done as u64);
    }
}
