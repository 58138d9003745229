//! Commands that somebody runs inside a scenario: at moments of it, or when it is over. A command that only shows sees
//! the run as it is at that moment; one that does more takes part in it, and the run goes on to its end.

use super::course::{Audience, Goal, VISIT_MAX_NS, Visit};
use super::diag::{Diagnostic, Diagnostics, SourceFile, nearest, quote};
use super::kube::Kube;
use super::plan::{Line, Plan};
use super::raw;
use super::replay::Replay;
use super::report::{CommandReport, Expectation, Report};
use super::resolve::sentence;
use super::run::{Options, RunError, begin};
use super::setup::spawn;
use crate::base::Time;
use crate::base::time::MS;
use crate::engine::{Finished, LimitHit, Stopped, World};
use crate::kernel::trace::{Mute, Sink};
use crate::lab;
use crate::observe::{Nowhere, Outputs};

/// What the command line is called in errors.
const COMMAND_LINE: &str = "command line";
/// What a command that is interrupted may take to end.
const GOOD_BYE_NS: u64 = MS;

/// A command with the namespace and the moments that it is run in.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The namespace.
    pub from: String,
    /// The command.
    pub what: What,
    /// When, in any order; none when the run is over.
    pub at: Vec<Time>,
}

/// A command.
#[derive(Clone, Debug)]
pub enum What {
    /// One that runs on a machine.
    Line(Line),
    /// One that asks the cluster.
    Kube(Kube),
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Executed {
    /// What it printed, on both streams.
    pub output: String,
    /// Its exit status; none if it did not end.
    pub exit: Option<i32>,
    /// The limit that ended the run before it.
    pub limit: Option<LimitHit>,
}

/// What came of a command at all of its moments.
#[derive(Clone, Debug, Default)]
pub struct Visited {
    /// At each of [`Exec::at`], in that order.
    pub done: Vec<Executed>,
    /// The run that it took part in.
    pub aftermath: Option<Aftermath>,
}

/// A run that somebody took part in, beside the one in which nobody did.
#[derive(Clone, Debug)]
pub struct Aftermath {
    /// The run with the command.
    pub with: Report,
    /// The run without it.
    pub without: Report,
}

impl Aftermath {
    /// The expectations of which something else came, each with what came of it without the command.
    pub fn expectations(&self) -> impl Iterator<Item = (&Expectation, &Expectation)> {
        let both = self.with.expectations.iter().zip(&self.without.expectations);
        both.filter(|(with, without)| with.verdict.ok != without.verdict.ok)
    }

    /// The commands of `traffic:` that ended otherwise, each with how it ended without the command.
    pub fn commands(&self) -> impl Iterator<Item = (&CommandReport, &CommandReport)> {
        let both = self.with.commands.iter().zip(&self.without.commands);
        both.filter(|(with, without)| with.exit != without.exit)
    }
}

/// Looks up what was typed: `from` a namespace, `words` a command, `at` durations.
///
/// # Errors
/// All that is wrong with it.
pub fn resolve(plan: &Plan, from: &str, words: &[String], at: &[String]) -> Result<Exec, Diagnostics> {
    // One word is a line as it stands in a scenario, several are those that a shell has cut it into.
    let command = match words {
        [line] => line.clone(),
        words => words.iter().map(|w| lab::lex::quote(w)).collect::<Vec<_>>().join(" "),
    };
    let at_text: String = at.iter().map(|at| format!("--at {at} ")).collect();
    let text = format!("{at_text}{from} -- {command}");
    let source = SourceFile::new(COMMAND_LINE, text.clone());
    let mut errors = Diagnostics::default();
    let mut error = |start: usize, len: usize, message: String, hint: Option<String>| {
        let mut d = Diagnostic::new(&source, start..start + len, message);
        d.hint = hint;
        errors.push(d);
    };
    let (mut times, mut start) = (vec![], 0);
    for at in at {
        match raw::duration(at) {
            Ok(at) => times.push(Time(at.0)),
            Err((message, hint)) => error(start + "--at ".len(), at.len(), message, hint),
        }
        start += "--at ".len() + at.len() + " ".len();
    }
    let names = || plan.namespaces.iter().map(|n| n.name.as_str()).chain(plan.later.iter().map(String::as_str));
    if !names().any(|n| n == from) {
        let hint = match nearest(from, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the namespaces are: {}", names().collect::<Vec<_>>().join(", ")),
        };
        error(at_text.len(), from.len(), format!("there is no namespace {}", quote(from)), Some(hint));
    }
    let start = text.len() - command.len();
    let line = |parsed| Line {
        text: command.as_str().into(),
        command: parsed,
        source: source.clone(),
        span: start..text.len(),
    };
    let parsed = Kube::parse(&command).unwrap_or_else(|| Ok(What::Line(line(lab::parse(&command)?))));
    let parsed = parsed.map_err(|e| error(start + e.span.start, e.span.len(), sentence(&e.message), e.hint)).ok();
    match parsed.filter(|_| errors.is_empty()) {
        Some(what) => Ok(Exec { from: from.to_owned(), what, at: times }),
        None => Err(errors),
    }
}

/// Runs the command in the scenario. Nobody listens: there are no captures.
///
/// One that only shows is run at each moment as if the others had not been; without a moment, so is any, at the end.
/// The others take part in one run, which goes on to its end; a command that has not ended by itself ten seconds after
/// that is interrupted.
///
/// # Errors
/// The set-up commands that failed.
pub fn exec(plan: &Plan, exec: &Exec) -> Result<Visited, RunError> {
    let options = Options { outputs: Outputs::NONE, ..Options::default() };
    let (mut store, mut progress) = (Nowhere, ());
    let mut replay = Replay::new(plan, &mut store, options, &mut progress)?;
    if exec.at.is_empty() {
        let ended = replay.ended();
        return Ok(Visited { done: vec![look(replay.end(), exec, ended)], aftermath: None });
    }
    let Some(line) = exec.takes_part() else {
        let done = exec.at.iter().map(|at| look(replay.at(*at), exec, *at)).collect();
        return Ok(Visited { done, aftermath: None });
    };
    take_part(plan, exec, line, replay.finish()?)
}

impl Exec {
    /// What it runs, if that does more than show something.
    fn takes_part(&self) -> Option<&Line> {
        match &self.what {
            What::Line(line) if !line.command.only_shows() => Some(line),
            What::Line(_) | What::Kube(_) => None,
        }
    }
}

/// Runs the command in a clone of a world, which knows nothing of it. It is interrupted after ten seconds.
pub fn look(world: Result<&World, LimitHit>, exec: &Exec, at: Time) -> Executed {
    let tried = world.and_then(|world| match &exec.what {
        What::Line(line) => {
            let done = visit(world.clone(), &exec.from, line, at)?;
            Ok(done.as_ref().map(executed).unwrap_or_default())
        }
        What::Kube(kube) => Ok(kube.answer(world)),
    });
    tried.unwrap_or_else(|limit| Executed { limit: Some(limit), ..Executed::default() })
}

fn executed(done: &Finished) -> Executed {
    Executed { output: done.console.all(), exit: Some(done.code), limit: None }
}

/// Runs the command until it ends, which may take ten seconds.
fn visit(mut world: World, from: &str, line: &Line, at: Time) -> Result<Option<Finished>, LimitHit> {
    let process = world.namespace(from).and_then(|here| spawn(&mut world, here, line, at));
    let Some((ns, pid)) = process else { return Ok(None) };
    let until = world.now().max(at) + VISIT_MAX_NS;
    for until in [until, until + GOOD_BYE_NS] {
        while let Stopped::Exit(machine, other) = world.run(until, &mut Mute)? {
            if (machine, other) == (ns.machine(), pid) {
                return Ok(world.reap(ns, pid));
            }
        }
        world.interrupt(ns, pid);
    }
    Ok(None)
}

/// Runs the command, at all of its moments, in a run of its own; `without` is the one that it is held against.
fn take_part(plan: &Plan, exec: &Exec, line: &Line, without: Report) -> Result<Visited, RunError> {
    let from = &exec.from;
    let visits: Vec<Visit> =
        exec.at.iter().map(|at| Visit { from: from.clone(), line: line.clone(), at: *at }).collect();
    let options = Options { outputs: Outputs::NONE, ..Options::default() };
    let (mut store, mut progress) = (Nowhere, ());
    let (mut recording, mut course) = begin(plan, &mut store, options, &mut progress, visits)?;
    let limit = course.go(Goal::End, u64::MAX, &mut recording).err();
    let mut visitors = Visitors { sink: Mute, done: std::mem::take(&mut recording.visits) };
    let with = recording.report(&course, limit).map_err(RunError::Output)?;
    let mut limit = with.limit.clone();
    if limit.is_none() {
        let last = exec.at.iter().copied().max().unwrap_or_default();
        let beyond = course.go(Goal::Beyond(last), u64::MAX, &mut visitors);
        limit = beyond.and_then(|_| course.finish_visits(&mut visitors)).err();
    }
    // The run has them in the order of their times.
    let mut order: Vec<usize> = (0..exec.at.len()).collect();
    order.sort_by_key(|n| exec.at[*n]);
    let mut done = vec![Executed { limit, ..Executed::default() }; order.len()];
    for (place, finished) in visitors.done {
        done[order[place]] = executed(&finished);
    }
    let aftermath = exec.at.iter().any(|at| *at < without.ended).then_some(Aftermath { with, without });
    Ok(Visited { done, aftermath })
}

/// Hears of visitors alone.
struct Visitors {
    sink: Mute,
    /// As [`Recording::visits`](super::run::Recording::visits).
    done: Vec<(usize, Finished)>,
}

impl Audience for Visitors {
    fn sink(&mut self) -> &mut dyn Sink {
        &mut self.sink
    }

    fn visited(&mut self, n: usize, done: Finished) {
        self.done.push((n, done));
    }
}
