//! Runs a plan: set-up, traffic, the instants at which expectations look, the end.

use super::course::{Audience, Course, Goal, Only, Visit};
use super::expect::Watch;
use super::plan::{Check, Expect, Plan, Traffic};
use super::report::{CommandReport, EventReport, Expectation, Report, Verdict};
use super::setup::{SetupError, build};
use crate::base::Time;
use crate::engine::{Finished, LimitHit, World};
use crate::kernel::trace::Sink;
use crate::observe::names::Label;
use crate::observe::story::{Journeys, Story};
use crate::observe::{Outputs, Recorder, Store};
use std::io;

/// What to do besides running.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What to write.
    pub outputs: Outputs,
    /// Keep the ways of packets, up to so many lines in all.
    pub journeys: usize,
    /// So many entries of `traffic:` happen before the captures begin.
    pub prelude: usize,
}

impl Default for Options {
    /// All outputs, no journeys but those that are expected.
    fn default() -> Self {
        Options { outputs: Outputs::ALL, journeys: 0, prelude: 0 }
    }
}

/// Hears how far a run has come.
pub trait Progress {
    /// `done` of `all` commands have ended.
    fn commands(&mut self, done: usize, all: usize);

    /// The prelude is over: the captures begin in this world.
    fn began(&mut self, _: &World) {}

    /// The last command that ends by itself has ended; this is the world as the next one would find it, and then as the
    /// one after that would, and so on for [`LOOKS`](super::LOOKS).
    fn settled(&mut self, _: &World, _look: usize) {}
}

impl Progress for () {
    fn commands(&mut self, _: usize, _: usize) {}
}

/// Why there is no report.
#[derive(Debug)]
pub enum RunError {
    /// The set-up failed.
    Setup(Vec<SetupError>),
    /// An output could not be written.
    Output(io::Error),
}

/// Runs a plan to its end and writes its outputs to `store`.
///
/// # Errors
/// The set-up commands that failed (see [`build`]), or an output that could not be written.
pub fn run(
    plan: &Plan,
    store: &mut dyn Store,
    options: Options,
    progress: &mut dyn Progress,
) -> Result<Report, RunError> {
    let (mut recording, mut course) = begin(plan, store, options, progress, vec![])?;
    let limit = course.go(Goal::End, u64::MAX, &mut recording).err();
    recording.report(&course, limit).map_err(RunError::Output)
}

/// Runs a plan to its end for somebody who listens to everything, set-up included, and returns the world as it is then.
///
/// # Errors
/// The set-up commands that failed, as for [`build`].
pub fn play(plan: &Plan, sink: &mut dyn Sink) -> Result<(World, Option<LimitHit>), Vec<SetupError>> {
    let world = build(plan, sink)?;
    let mut course = Course::new(plan, world, vec![], vec![]);
    let limit = course.go(Goal::End, u64::MAX, &mut Only(sink)).err();
    Ok((course.world, limit))
}

/// Sets a run up, and who records it.
pub(super) fn begin<'a, 'p>(
    plan: &'p Plan,
    store: &'a mut dyn Store,
    options: Options,
    progress: &'a mut dyn Progress,
    visits: Vec<Visit>,
) -> Result<(Recording<'a, 'p>, Course<'p>), RunError> {
    let watch = Watch::new(&plan.expect);
    let times = watch.times();
    let mut recorder = Recorder::new(store, plan.config.epoch_ns, options.outputs, plan.labels.clone(), watch);
    if options.journeys > 0 {
        recorder.journeys = Some(Journeys::all(options.journeys));
    } else if plan.expect.iter().any(|e| e.check.wants_journeys()) {
        recorder.journeys = Some(Journeys::default());
    }
    let world = build(plan, &mut recorder).map_err(RunError::Setup)?;
    let prelude = options.prelude;
    let recording = Recording { plan, recorder, progress, prelude, commands: vec![], events: vec![], visits: vec![] };
    Ok((recording, Course::new(plan, world, times, visits)))
}

/// What is kept of a run.
pub(super) struct Recording<'a, 'p> {
    plan: &'p Plan,
    recorder: Recorder<'a, Watch>,
    progress: &'a mut dyn Progress,
    prelude: usize,
    commands: Vec<CommandReport>,
    events: Vec<EventReport>,
    /// What visitors' commands came to, in the order of their ends, with their numbers.
    pub visits: Vec<(usize, Finished)>,
}

impl Recording<'_, '_> {
    /// What happened so far belongs to the command that was started last, or to the last event if that came later.
    fn close_story(&mut self) {
        let story = self.recorder.take_story();
        match (self.events.last_mut().filter(|e| e.commands == self.commands.len()), self.commands.last_mut()) {
            (Some(event), _) => event.story = story,
            (None, Some(command)) => command.story = story,
            (None, None) => {}
        }
    }

    /// What the run came to.
    pub(super) fn report(mut self, course: &Course<'_>, limit: Option<LimitHit>) -> io::Result<Report> {
        self.close_story();
        let Recording { plan, mut recorder, commands, events, .. } = self;
        let world = &course.world;
        recorder.watcher.look(world, None);
        let journeys = recorder.journeys.take();
        let counts = recorder.counts();
        let (ended, waiting) = (course.reached.max(world.now()), world.balance().2);
        let (files, watch) = recorder.finish(world, ended)?;
        let verdicts = watch.verdicts(&commands, limit.as_ref(), journeys.as_ref());
        let expectation = |(e, verdict): (Expect, Verdict)| {
            let is_limit = matches!(e.check, Check::Limit(_));
            Expectation { line: e.line, text: e.text, is_limit, verdict }
        };
        Ok(Report {
            name: plan.name.clone(),
            description: plan.description.clone(),
            commands,
            events,
            expectations: verdicts.into_iter().map(expectation).collect(),
            limit,
            ended,
            counts,
            waiting,
            files,
            journeys,
        })
    }
}

impl Audience for Recording<'_, '_> {
    fn sink(&mut self) -> &mut dyn Sink {
        &mut self.recorder
    }

    fn entry(&mut self, n: usize, world: &World) {
        let all = self.plan.traffic.iter().filter(|t| !matches!(t, Traffic::Sleep(_))).count();
        self.progress.commands(self.commands.len(), all);
        let over = n == self.plan.traffic.len();
        if n == self.prelude || over {
            self.recorder.start();
        }
        if n == self.prelude && !over {
            self.progress.began(world);
        }
    }

    fn started(&mut self, from: &str, command: &str, at: Time) {
        self.close_story();
        self.commands.push(CommandReport {
            from: from.to_owned(),
            command: command.to_owned(),
            started: at,
            ended: None,
            exit: None,
            output: String::new(),
            story: Story::default(),
        });
    }

    fn ended(&mut self, n: usize, done: Finished) {
        if let Some(c) = self.commands.get_mut(n) {
            (c.started, c.ended, c.exit) = (done.started, Some(done.ended), Some(done.code));
            c.output = done.console.all();
        }
    }

    fn event(&mut self, text: &str, at: Time) {
        self.close_story();
        let (text, commands) = (text.to_owned(), self.commands.len());
        self.events.push(EventReport { at, text, commands, story: Story::default() });
    }

    fn label(&mut self, netns: &str, label: Label) {
        self.recorder.names.label(netns, label);
    }

    fn look(&mut self, world: &World, at: Time) {
        self.recorder.watcher.look(world, Some(at));
    }

    fn settled(&mut self, world: &World, look: usize) {
        self.progress.settled(world, look);
    }

    fn visited(&mut self, n: usize, done: Finished) {
        self.visits.push((n, done));
    }
}
