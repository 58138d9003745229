//! A command that somebody runs inside a scenario: at a moment of it, or when it is over.

use super::diag::{Diagnostic, Diagnostics, SourceFile, nearest, quote};
use super::plan::{Line, Plan};
use super::raw;
use super::resolve::sentence;
use super::run::{self, RunError};
use crate::base::Time;
use crate::engine::LimitHit;
use crate::lab;

/// What the command line is called in errors.
const COMMAND_LINE: &str = "command line";

/// A command with the namespace and the moment that it is run in.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The namespace.
    pub from: String,
    /// The command.
    pub line: Line,
    /// When; none when the run is over.
    pub at: Option<Time>,
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

/// Looks up what was typed: `from` a namespace, `words` a command, `at` a duration.
///
/// # Errors
/// All that is wrong with it.
pub fn resolve(plan: &Plan, from: &str, words: &[String], at: Option<&str>) -> Result<Exec, Diagnostics> {
    // One word is a line as it stands in a scenario, several are those that a shell has cut it into.
    let command = match words {
        [line] => line.clone(),
        words => words.iter().map(|w| lab::lex::quote(w)).collect::<Vec<_>>().join(" "),
    };
    let at_text = at.map_or(String::new(), |at| format!("--at {at} "));
    let text = format!("{at_text}{from} -- {command}");
    let source = SourceFile::new(COMMAND_LINE, text.clone());
    let mut errors = Diagnostics::default();
    let mut error = |start: usize, len: usize, message: String, hint: Option<String>| {
        let mut d = Diagnostic::new(&source, start..start + len, message);
        d.hint = hint;
        errors.push(d);
    };
    let time = match at.map(raw::duration) {
        Some(Ok(at)) => Some(Time(at.0)),
        Some(Err((message, hint))) => {
            error("--at ".len(), at_text.len() - "--at  ".len(), message, hint);
            None
        }
        None => None,
    };
    let names = || plan.namespaces.iter().map(|n| n.name.as_str());
    if !names().any(|n| n == from) {
        let hint = match nearest(from, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the namespaces are: {}", names().collect::<Vec<_>>().join(", ")),
        };
        error(at_text.len(), from.len(), format!("there is no namespace {}", quote(from)), Some(hint));
    }
    let start = text.len() - command.len();
    let parsed = match lab::parse(&command) {
        Ok(parsed) => Some(parsed),
        Err(e) => {
            error(start + e.span.start, e.span.len(), sentence(&e.message), e.hint);
            None
        }
    };
    match parsed.filter(|_| errors.is_empty()) {
        Some(parsed) => {
            let line = Line { text: command, command: parsed, source: source.clone(), span: start..text.len() };
            Ok(Exec { from: from.to_owned(), line, at: time })
        }
        None => Err(errors),
    }
}

/// Runs the scenario with the command in it. Nobody listens: there are no captures. If the run ends first, the command
/// goes on alone; one that does not end by itself is interrupted then, after ten seconds at the latest.
///
/// # Errors
/// The set-up commands that failed.
pub fn exec(plan: &Plan, exec: &Exec) -> Result<Executed, RunError> {
    run::exec(plan, exec)
}
