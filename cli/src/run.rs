//! `podhop run`

use crate::WRONG_INPUT;
use crate::args::{Format, RunArgs};
use crate::input;
use crate::output::Folder;
use crate::print::{Ui, out};
use indicatif::{ProgressBar, ProgressStyle};
use sim_core::observe::{Nowhere, Store};
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Options, Plan, Progress, RunError};
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &RunArgs, ui: &Ui) -> anyhow::Result<u8> {
    let files = input::find(&args.path)?;
    let several = args.path.is_dir();
    let mut worst = 0;
    let mut summaries = vec![];
    for file in &files {
        let Some(plan) = input::load(file, args.seed, ui)? else {
            worst = worst.max(WRONG_INPUT);
            continue;
        };
        let target = match &args.out {
            Some(dir) if several => dir.join(&plan.name),
            Some(dir) => dir.clone(),
            None => PathBuf::from("podhop-out").join(&plan.name),
        };
        let Some(report) = one(args, ui, &plan, &target)? else {
            worst = worst.max(WRONG_INPUT);
            continue;
        };
        worst = worst.max(report.exit_code() as u8);
        if args.format == Format::Json {
            summaries.push(report.summary());
            continue;
        }
        if !ui.quiet && !several {
            out(&ui.story(&report))?;
            out("\n")?;
        }
        out(&ui.result(&report, &target))?;
    }
    match (args.format, several) {
        (Format::Json, false) => summaries.into_iter().try_for_each(|s| out(&format!("{s:#}\n")))?,
        (Format::Json, true) => out(&format!("{:#}\n", serde_json::Value::from(summaries)))?,
        (Format::Text, _) => {}
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
        Err(RunError::Setup(errors)) => {
            ui.diagnostics(&scenario::setup_diagnostics(&errors))?;
            Ok(None)
        }
        Err(RunError::Output(e)) => Err(e.into()),
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
