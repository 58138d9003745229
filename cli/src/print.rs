//! Text for the terminal.

use crate::args::{Cli, Color};
use anstyle::{AnsiColor, Style};
use sim_core::base::time::{MS, SEC, US};
use sim_core::observe::story::{Entry, Story, Text};
use sim_core::scenario::exec::Aftermath;
use sim_core::scenario::report::{CommandReport, EventReport, Report};
use sim_core::scenario::{self, Diagnostics, Plan, RunError};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// How to talk to the user.
pub(crate) struct Ui {
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    out: bool,
    err: bool,
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// A command's story is told in so many lines unless -v asks for all.
const STORY_LINES: usize = 48;

impl Ui {
    pub(crate) fn new(cli: &Cli) -> Self {
        let wanted = |terminal: bool| match cli.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Ui {
            quiet: cli.quiet,
            verbose: cli.verbose > 0,
            out: wanted(io::stdout().is_terminal()),
            err: wanted(io::stderr().is_terminal()),
        }
    }

    pub(crate) fn error(&self, text: &str) {
        let style = if self.err { RED.bold() } else { Style::new() };
        // There is nobody else to tell.
        let _ = writeln!(io::stderr(), "{style}error{style:#}: {text}");
    }

    pub(crate) fn diagnostics(&self, errors: &Diagnostics) -> anyhow::Result<()> {
        Ok(io::stderr().write_all(errors.render(self.err).as_bytes())?)
    }

    /// Why a run did not come about: what is wrong with the scenario, to standard error.
    ///
    /// # Errors
    /// It is not the scenario's fault.
    pub(crate) fn run_error(&self, error: RunError) -> anyhow::Result<()> {
        match error {
            RunError::Setup(errors) => self.diagnostics(&scenario::setup_diagnostics(&errors)),
            RunError::Output(e) => Err(e.into()),
        }
    }

    /// What is allowed in a scenario and hardly meant, to standard error; with -v, also what has no effect here.
    pub(crate) fn warnings(&self, plan: &Plan) -> anyhow::Result<()> {
        if self.verbose && !plan.without_effect.is_empty() {
            let text = format!("without effect here:\n  {}\n", plan.without_effect.join("\n  "));
            io::stderr().write_all(text.as_bytes())?;
        }
        if self.quiet { Ok(()) } else { self.diagnostics(&plan.warnings) }
    }

    /// What became of a run that somebody took part in, to standard error.
    pub(crate) fn aftermath(&self, aftermath: &Aftermath) -> anyhow::Result<()> {
        let (mut s, mut otherwise) = (String::new(), 0);
        let ended = |exit: Option<i32>| exit.map_or("did not end".to_owned(), |code| format!("exit status {code}"));
        for (with, without) in aftermath.commands() {
            let _ = writeln!(s, "[{}] $ {}", with.from, with.command);
            let _ = writeln!(s, "       {} (without the command: {})", ended(with.exit), ended(without.exit));
        }
        for (with, without) in aftermath.expectations() {
            let mark = |ok: bool| {
                let (style, text) = if ok { (GREEN, "ok") } else { (RED, "FAIL") };
                if self.err { format!("{style}{text}{style:#}") } else { text.to_owned() }
            };
            let _ = writeln!(s, "{} line {}: {}", mark(with.verdict.ok), with.line, with.text);
            for seen in &with.verdict.seen {
                let _ = writeln!(s, "       {seen}");
            }
            let _ = writeln!(s, "       (without the command: {})", mark(without.verdict.ok));
            otherwise += 1;
        }
        let (report, all) = (&aftermath.with, aftermath.with.expectations.len());
        let ended = seconds(report.ended.0);
        let _ =
            writeln!(s, "{}: went on to {ended}; {otherwise} of {all} expectations came out otherwise", report.name);
        Ok(io::stderr().write_all(s.as_bytes())?)
    }

    /// Progress may be shown: somebody watches standard error, and nothing else is printed there.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.out { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The story of a run.
    pub(crate) fn story(&self, report: &Report) -> String {
        let mut s = self.paint(BOLD, &report.name).to_string();
        if !report.description.is_empty() {
            let _ = write!(s, ": {}", report.description.trim());
        }
        s.push('\n');
        let mut events = report.events.iter().peekable();
        for started in 0..=report.commands.len() {
            while let Some(event) = events.next_if(|e| e.commands == started) {
                self.event(&mut s, event);
            }
            if let Some(c) = report.commands.get(started) {
                s.push('\n');
                self.command(&mut s, c);
            }
        }
        s
    }

    fn event(&self, s: &mut String, e: &EventReport) {
        let what = self.paint(BOLD, &format!("* {}", e.text));
        let _ = writeln!(s, "\n{what}    {}", self.paint(DIM, &format!("at {} s", e.at)));
        self.told(s, &e.story);
    }

    fn command(&self, s: &mut String, c: &CommandReport) {
        let prompt = self.paint(BOLD, &format!("[{}] $ {}", c.from, c.command));
        let _ = writeln!(s, "{prompt}    {}", self.paint(DIM, &format!("at {} s", c.started)));
        for line in c.output.lines() {
            let _ = writeln!(s, "  {line}");
        }
        if c.exit != Some(0) {
            let how = c.exit.map_or("did not end".to_owned(), |code| format!("exit status {code}"));
            let _ = writeln!(s, "  {}", self.paint(DIM, &format!("({how})")));
        }
        self.told(s, &c.story);
    }

    /// The first lines of a story; all of them with -v.
    fn told(&self, s: &mut String, story: &Story) {
        let entries = &story.entries;
        if self.quiet || entries.is_empty() {
            return;
        }
        s.push('\n');
        let shown = if self.verbose { entries.len() } else { entries.len().min(STORY_LINES) };
        self.entries(s, &entries[..shown]);
        let hidden = (entries.len() - shown) as u64 + story.left_out;
        if hidden > 0 {
            let how = if self.verbose { "in the captures" } else { "with -v, and in the captures" };
            let _ = writeln!(s, "  {}", self.paint(DIM, &format!("… {hidden} more lines {how}")));
        }
    }

    /// Records in columns, decisions below the record that they follow.
    pub(crate) fn entries(&self, s: &mut String, entries: &[Entry]) {
        let width = |f: &dyn Fn(&Entry) -> usize| entries.iter().map(f).max().unwrap_or(0);
        let ns_width = width(&|e| e.namespace.len());
        let dev_width = width(&|e| match &e.text {
            Text::Record { device, .. } => device.len(),
            Text::Note(_) => 0,
        });
        for e in entries {
            let _ = match &e.text {
                Text::Record { device, direction, line } => {
                    let at = self.paint(DIM, &e.at.to_string());
                    let dir = self.paint(CYAN, &format!("{direction:<3}"));
                    writeln!(s, "  {at}  {:<ns_width$}  {device:<dev_width$}  {dir}  {line}", e.namespace)
                }
                Text::Note(note) => {
                    let pad = " ".repeat(e.at.to_string().len());
                    let lines = note.lines().enumerate();
                    let text = |(n, line): (usize, &str)| {
                        let mark = if n == 0 && !line.starts_with(' ') { "·" } else { " " };
                        self.paint(DIM, &format!("{mark} {line}"))
                    };
                    lines.map(text).try_for_each(|l| writeln!(s, "  {pad}  {:<ns_width$}  {l}", e.namespace))
                }
            };
        }
    }

    /// A text as that of something good or bad.
    pub(crate) fn mark(&self, ok: bool, text: &str) -> String {
        self.paint(if ok { GREEN } else { RED }, text)
    }

    fn expectations(&self, s: &mut String, report: &Report, quiet: bool) {
        for e in report.expectations.iter().filter(|e| !quiet || !e.verdict.ok) {
            let mark = self.mark(e.verdict.ok, if e.verdict.ok { "ok  " } else { "FAIL" });
            let _ = writeln!(s, "{mark} line {}: {}", e.line, e.text);
            for seen in &e.verdict.seen {
                let _ = writeln!(s, "       {seen}");
            }
        }
        if let Some(limit) = &report.limit {
            let _ = writeln!(s, "{limit}");
        }
    }

    /// What went wrong in one of several scenarios; nothing if all is well, unless -v asks for it.
    pub(crate) fn failures(&self, report: &Report, target: &Path) -> String {
        let mut s = String::new();
        if report.exit_code() != 0 || self.verbose {
            let _ = writeln!(s, "{}", self.paint(BOLD, &report.name));
            self.expectations(&mut s, report, !self.verbose);
            let _ = writeln!(s, "captures: {}\n", target.join("captures").display());
        }
        s
    }

    /// What came of the expectations, and where the outputs are.
    pub(crate) fn result(&self, report: &Report, target: &Path) -> String {
        let mut s = String::new();
        self.expectations(&mut s, report, self.quiet);
        let failed = report.expectations.iter().filter(|e| !e.verdict.ok).count();
        let c = report.counts;
        let _ = writeln!(
            s,
            "{}: {} expectations, {failed} failed; {} of simulated time, {} frames, {} records",
            report.name,
            report.expectations.len(),
            seconds(report.ended.0),
            c.frames,
            c.records
        );
        let _ = writeln!(s, "captures: {}", target.join("captures").display());
        if let Some(any) = report.files.keys().find(|f| f.ends_with("/any.pcap")) {
            let _ = writeln!(s, "look inside: tcpdump -nr {}", target.join(any).display());
        }
        s
    }
}

/// Prints to standard output.
///
/// # Errors
/// It cannot be written to.
pub(crate) fn out(text: &str) -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// A stretch of time in a fitting unit.
pub(crate) fn seconds(ns: u64) -> String {
    match ns {
        0..MS => format!("{} us", ns / US),
        MS..SEC => format!("{} ms", ns / MS),
        _ => format!("{}.{:03} s", ns / SEC, ns % SEC / MS),
    }
}

/// Whoever read our output has gone.
pub(crate) fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
