//! What a run came to: data for the terminal, for summary.json and for tests.

use crate::base::Time;
use crate::engine::LimitHit;
use crate::observe::Written;
use crate::observe::recorder::Counts;
use crate::observe::story::{Journeys, Story};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The version of summary.json's format.
pub const SUMMARY_VERSION: &str = "podhop/summary/v1";

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario's name.
    pub name: String,
    /// The scenario's description.
    pub description: String,
    /// The commands of `traffic:`, in order of their start.
    pub commands: Vec<CommandReport>,
    /// What happened besides, in order.
    pub events: Vec<EventReport>,
    /// The expectations with what came of them.
    pub expectations: Vec<Expectation>,
    /// The limit that ended the run.
    pub limit: Option<LimitHit>,
    /// When it ended.
    pub ended: Time,
    /// How much happened.
    pub counts: Counts,
    /// Frames that still waited when it ended: for neighbours, or to be received.
    pub waiting: usize,
    /// The files written, by path.
    pub files: BTreeMap<String, Written>,
    /// Packets' ways, where they were asked for.
    pub journeys: Option<Journeys>,
}

/// A command and what it did.
#[derive(Clone, Debug)]
pub struct CommandReport {
    /// Its namespace.
    pub from: String,
    /// Its text.
    pub command: String,
    /// When it started.
    pub started: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// Its exit status; none if it did not end.
    pub exit: Option<i32>,
    /// What it printed, on both streams.
    pub output: String,
    /// What happened from its start to the next command's, or to the next event.
    pub story: Story,
}

/// Something that happened beside the commands: a fault.
#[derive(Clone, Debug)]
pub struct EventReport {
    /// When.
    pub at: Time,
    /// What.
    pub text: String,
    /// So many commands had been started before.
    pub commands: usize,
    /// What happened from then to the next event or command.
    pub story: Story,
}

/// An expectation and what came of it.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The line in the scenario file, from 1.
    pub line: usize,
    /// In short.
    pub text: String,
    /// It expects the run to end at a limit.
    pub is_limit: bool,
    /// What came of it.
    pub verdict: Verdict,
}

/// Whether an expectation holds, and what was seen if not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It holds.
    pub ok: bool,
    /// What was seen instead.
    pub seen: Vec<String>,
}

impl Verdict {
    /// It holds.
    pub fn passed() -> Self {
        Verdict { ok: true, seen: vec![] }
    }

    /// It does not.
    pub fn failed(seen: String) -> Self {
        Verdict { ok: false, seen: vec![seen] }
    }
}

impl Report {
    /// podhop's exit status: 0 all expectations hold, 1 one failed, 3 a limit was hit that was not expected.
    pub fn exit_code(&self) -> i32 {
        let expected_limit = self.expectations.iter().any(|e| e.verdict.ok && e.is_limit);
        match (&self.limit, self.expectations.iter().all(|e| e.verdict.ok)) {
            (Some(_), _) if !expected_limit => 3,
            (_, true) => 0,
            (_, false) => 1,
        }
    }

    /// summary.json
    pub fn summary(&self) -> Value {
        let command = |c: &CommandReport| {
            json!({
                "from": c.from, "run": c.command, "started": c.started, "ended": c.ended, "exit": c.exit,
                "output": c.output,
            })
        };
        let event = |e: &EventReport| json!({"at": e.at, "text": e.text});
        let limit = |l: &LimitHit| json!({"name": l.name, "limit": l.limit, "at": l.at, "text": l.to_string()});
        let expectation =
            |e: &Expectation| json!({"line": e.line, "expect": e.text, "ok": e.verdict.ok, "seen": e.verdict.seen});
        json!({
            "version": SUMMARY_VERSION,
            "scenario": self.name,
            "ended": self.ended,
            "exit": self.exit_code(),
            "limit": self.limit.as_ref().map(limit),
            "counts": self.counts,
            "waiting": self.waiting,
            "commands": self.commands.iter().map(command).collect::<Vec<_>>(),
            "events": self.events.iter().map(event).collect::<Vec<_>>(),
            "expectations": self.expectations.iter().map(expectation).collect::<Vec<_>>(),
            "files": self.files,
        })
    }
}
