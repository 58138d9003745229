//! Runs a plan: set-up, traffic, the instants at which expectations look, the end.

use super::diag::SourceFile;
use super::exec::{Exec, Executed};
use super::expect::Watch;
use super::plan::{Check, Expect, Line, Link, Plan, Script, ServerLine, Traffic};
use super::report::{CommandReport, Expectation, Report, Verdict};
use crate::base::time::{MS, SEC};
use crate::base::{IfIndex, MachineId, NsId, Pid, Time};
use crate::engine::{ConfigureError, LimitHit, Stopped, World};
use crate::kernel::netfilter::table::Table;
use crate::kernel::netlink::{LinkAdd, LinkKind, LinkPeer, Request};
use crate::kernel::trace::{DevName, Mute, Sink, Step, Tap};
use crate::observe::story::{Journeys, Story};
use crate::observe::{Outputs, Recorder, Store};
use crate::user::scripted::Scripted;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A command of `traffic:` starts this long after the one before has ended.
const BETWEEN_COMMANDS_NS: u64 = 15 * MS;
/// A run goes on for this long after its last program.
const AFTER_LAST_NS: u64 = SEC / 2;
/// What a command that is interrupted at the end may take to end.
const GOOD_BYE_NS: u64 = MS;
/// A visitor's command that has not ended so long after the plan's end is interrupted.
const VISIT_MAX_NS: u64 = 10 * SEC;
const SETUP_HINT: &str = "the commands of `setup` are run in the order of the file, as on a real node";
const LINK_HINT: &str = "a link makes both of its interfaces, before the set-up";
const SERVER_HINT: &str = "servers start in the order of the file when all namespaces are set up";
/// A server that has not failed after this much simulated time is up.
const SERVER_START_NS: u64 = MS;
/// A set-up command that has not ended after this much simulated time will not.
const SETUP_MAX_NS: u64 = 3600 * SEC;

/// A set-up command or a server that failed.
#[derive(Clone, Debug)]
pub struct SetupError {
    /// The file that the command stands in.
    pub source: SourceFile,
    /// Where it stands there, in bytes.
    pub span: Range<usize>,
    /// What it printed.
    pub message: String,
    /// When it was run.
    pub hint: &'static str,
}

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

/// So often a run is looked at when its last command has ended.
pub const LOOKS: usize = 3;

/// Hears how far a run has come.
pub trait Progress {
    /// `done` of `all` commands have ended.
    fn commands(&mut self, done: usize, all: usize);

    /// The prelude is over: the captures begin in this world.
    fn began(&mut self, _: &World) {}

    /// The last command that ends by itself has ended; this is the world as the next one would find it, and then as the
    /// one after that would, and so on for [`LOOKS`].
    fn settled(&mut self, _: &World, _look: usize) {}
}

impl Progress for () {
    fn commands(&mut self, _: usize, _: usize) {}
}

/// Builds the world of a plan: all namespaces, then the set-up commands in file order, then the servers.
///
/// # Errors
/// Every command that failed; if none did, every server.
pub fn build(plan: &Plan, sink: &mut dyn Sink) -> Result<World, Vec<SetupError>> {
    let mut world = World::new(plan.config.clone());
    let mut errors = vec![];
    for profile in &plan.machines {
        world.add_machine(*profile);
    }
    for n in &plan.namespaces {
        // The plan's names are unique and valid.
        let _ = world.configure(NsId::new(n.machine, 0), &Request::NetnsAdd { name: n.netns.clone() }, sink);
        if n.netns != n.name {
            world.call(&n.netns, &n.name);
        }
        if let Some(ns) = world.namespace(&n.name) {
            world.set_files(ns, n.files.clone());
        }
    }
    for link in &plan.links {
        if let Err(message) = lay(&mut world, link, sink) {
            let (source, span) = (link.source.clone(), link.span.clone());
            errors.push(SetupError { source, span, message, hint: LINK_HINT });
        }
    }
    for n in &plan.namespaces {
        for line in &n.setup {
            let (source, span) = (line.source.clone(), line.span.clone());
            let fail = |message: String| SetupError { source, span, message, hint: SETUP_HINT };
            let Some(ns) = world.namespace(&n.name) else {
                errors.push(fail(format!("the namespace {} is gone", n.name)));
                continue;
            };
            if let Err(message) = setup(&mut world, ns, line, sink) {
                errors.push(fail(message));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for n in &plan.namespaces {
        for server in &n.servers {
            let started = match world.namespace(&n.name) {
                Some(ns) => start_server(&mut world, ns, server, sink),
                None => Err(format!("the namespace {} is gone", n.name)),
            };
            if let Err(message) = started {
                let (source, span) = (server.source.clone(), server.span.clone());
                errors.push(SetupError { source, span, message, hint: SERVER_HINT });
            }
        }
    }
    if errors.is_empty() { Ok(world) } else { Err(errors) }
}

/// Makes the two interfaces of a link.
fn lay(world: &mut World, link: &Link, sink: &mut dyn Sink) -> Result<(), String> {
    let [a, b] = &link.ends;
    let (Some(here), Some(there)) = (world.namespace(&a.namespace), world.namespace(&b.namespace)) else {
        return Err("a namespace is not there".to_owned());
    };
    let done = match &link.spec {
        Some(spec) => world.connect([(here, &a.device), (there, &b.device)], spec, sink),
        None => {
            let peer =
                LinkPeer { name: Some(b.device.clone()), netns: Some(b.namespace.clone()), ..LinkPeer::default() };
            let veth = LinkKind::Veth { peer: Some(Box::new(peer)) };
            world.configure(here, &Request::LinkAdd(LinkAdd::new(&a.device, veth)), sink)
        }
    };
    done.map_err(|e| match e {
        ConfigureError::Refused(e) => format!("the link cannot be made: {}", e.errno.text()),
        ConfigureError::Limit(e) => e.to_string(),
    })
}

/// Starts a server and lets it run until it waits for its first client.
fn start_server(world: &mut World, ns: NsId, line: &ServerLine, sink: &mut dyn Sink) -> Result<(), String> {
    let pid = world.spawn(ns, line.server.clone().into_program(), Time(0)).ok_or("too many processes")?;
    world.set_cmdline(ns, pid, &line.text);
    let until = world.machine(ns).now() + SERVER_START_NS;
    loop {
        match world.run(until, sink) {
            Ok(Stopped::Exit(on, other)) if (on, other) != (ns.machine(), pid) => {}
            Ok(Stopped::Exit(..)) => {
                let text = world.reap(ns, pid).map_or(String::new(), |done| done.console.all());
                return Err(text.trim_end().to_owned());
            }
            Ok(Stopped::Time) => return Ok(()),
            Err(limit) => return Err(limit.to_string()),
        }
    }
}

fn setup(world: &mut World, ns: NsId, line: &Line, sink: &mut dyn Sink) -> Result<(), String> {
    let (ns, pid) = spawn(world, ns, line, Time(0)).ok_or("too many processes")?;
    let until = world.machine(ns).now() + SETUP_MAX_NS;
    loop {
        match world.run(until, sink) {
            Ok(Stopped::Exit(on, other)) if (on, other) != (ns.machine(), pid) => continue,
            Ok(Stopped::Exit(..)) => {}
            Ok(Stopped::Time) => return Err("the command does not end".to_owned()),
            Err(limit) => return Err(limit.to_string()),
        }
        return match world.reap(ns, pid) {
            Some(done) if done.code == 0 => Ok(()),
            Some(done) => {
                let text = done.console.all();
                let text = text.trim_end();
                Err(if text.is_empty() { format!("exit status {}", done.code) } else { text.to_owned() })
            }
            None => Err("the command is gone".to_owned()),
        };
    }
}

/// Starts a command, in the namespace that it enters first; which, and its process.
fn spawn(world: &mut World, here: NsId, line: &Line, at: Time) -> Option<(NsId, Pid)> {
    let ns = line.command.start_ns(world.machine(here).spaces(), here);
    let pid = world.spawn(ns, line.command.clone().into_program(), at)?;
    world.set_cmdline(ns, pid, cmdline(&line.text));
    Some((ns, pid))
}

/// What runs in the end: `ip netns exec NAME` becomes the command behind it.
fn cmdline(text: &str) -> &str {
    match text.strip_prefix("ip netns exec ").and_then(|rest| rest.split_once(' ')) {
        Some((_, command)) => cmdline(command),
        None => text,
    }
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
    let watch = Watch::new(&plan.expect);
    let times = watch.times();
    let mut recorder = Recorder::new(store, plan.config.epoch_ns, options.outputs, plan.labels.clone(), watch);
    if options.journeys > 0 {
        recorder.journeys = Some(Journeys::all(options.journeys));
    } else if plan.expect.iter().any(|e| e.check.wants_journeys()) {
        recorder.journeys = Some(Journeys::default());
    }
    let world = build(plan, &mut recorder).map_err(RunError::Setup)?;
    let mut stage = Stage::new(world, &mut recorder, times);
    let limit = stage.play(plan, options.prelude, progress).err();
    let Stage { world, commands, reached, .. } = stage;
    report(plan, &world, commands, reached, recorder, limit).map_err(RunError::Output)
}

/// Runs a plan to its end for somebody who listens to everything, set-up included, and returns the world as it is then.
///
/// # Errors
/// The set-up commands that failed, as for [`build`].
pub fn play(plan: &Plan, sink: &mut dyn Sink) -> Result<(World, Option<LimitHit>), Vec<SetupError>> {
    let world = build(plan, sink)?;
    let mut only = Only(sink);
    let mut stage = Stage::new(world, &mut only, vec![]);
    let limit = stage.play(plan, 0, &mut ()).err();
    Ok((stage.world, limit))
}

/// Runs a plan with a command of somebody who visits it.
pub(super) fn exec(plan: &Plan, exec: &Exec) -> Result<Executed, RunError> {
    let mut mute = Mute;
    let world = build(plan, &mut mute).map_err(RunError::Setup)?;
    let mut only = Only(&mut mute);
    let mut stage = Stage::new(world, &mut only, exec.at.into_iter().collect());
    stage.visit = Some((exec, None));
    let limit = stage.play(plan, 0, &mut ()).and_then(|()| stage.finish_visit(exec)).err();
    let done = stage.visit.and_then(|(_, at)| stage.commands.into_iter().nth(at?));
    let (output, exit) = done.map_or((String::new(), None), |c| (c.output, c.exit));
    Ok(Executed { output, exit, limit })
}

/// Why there is no report.
#[derive(Debug)]
pub enum RunError {
    /// The set-up failed.
    Setup(Vec<SetupError>),
    /// An output could not be written.
    Output(io::Error),
}

/// Who listens to a run, and what else it is told.
trait Audience: Sink {
    /// The prelude is over.
    fn start(&mut self) {}
    /// Expectations look at the world, at this time or at the end.
    fn look(&mut self, _: &World, _: Option<Time>) {}
    /// What happened since the last call.
    fn take_story(&mut self) -> Story {
        Story::default()
    }
}

impl Audience for Recorder<'_, Watch> {
    fn start(&mut self) {
        Recorder::start(self);
    }
    fn look(&mut self, world: &World, at: Option<Time>) {
        self.watcher.look(world, at);
    }
    fn take_story(&mut self) -> Story {
        Recorder::take_story(self)
    }
}

/// A plain listener.
struct Only<'a>(&'a mut dyn Sink);

impl Audience for Only<'_> {}

impl Sink for Only<'_> {
    fn step(&mut self, step: &Step) {
        self.0.step(step);
    }
    fn tap(&mut self, tap: &Tap<'_>) {
        self.0.tap(tap);
    }
    fn namespace(&mut self, ns: NsId, name: &str) {
        self.0.namespace(ns, name);
    }
    fn device(&mut self, dev: &DevName) {
        self.0.device(dev);
    }
    fn device_gone(&mut self, ns: NsId, dev: IfIndex) {
        self.0.device_gone(ns, dev);
    }
    fn table(&mut self, ns: NsId, table: &Arc<Table>) {
        self.0.table(ns, table);
    }
    fn details(&self) -> bool {
        self.0.details()
    }
    fn hears_steps(&self) -> bool {
        self.0.hears_steps()
    }
}

/// A program of `traffic:`.
enum Job<'a> {
    Command(&'a Line),
    Script(&'a Script),
}

impl Job<'_> {
    fn name(&self) -> &str {
        match self {
            Job::Command(line) => &line.text,
            Job::Script(s) => &s.name,
        }
    }

    fn spawn(&self, world: &mut World, here: NsId, at: Time) -> Option<(NsId, Pid)> {
        match self {
            Job::Command(line) => spawn(world, here, line, at),
            Job::Script(s) => Some((here, world.spawn(here, Box::new(Scripted::new(s.lines.clone())), at)?)),
        }
    }
}

/// A process of `traffic:`.
struct Running {
    ns: NsId,
    /// Its place in `commands`.
    at: usize,
    endless: bool,
}

/// A run under way.
struct Stage<'a, A> {
    world: World,
    audience: &'a mut A,
    /// When expectations look, earliest last.
    times: Vec<Time>,
    running: BTreeMap<(MachineId, Pid), Running>,
    commands: Vec<CommandReport>,
    last_exit: Time,
    /// Up to here the run has come.
    reached: Time,
    /// A command that is none of the plan's, with its place in `commands` when it has started.
    visit: Option<(&'a Exec, Option<usize>)>,
}

impl<'a, A: Audience> Stage<'a, A> {
    fn new(world: World, audience: &'a mut A, times: Vec<Time>) -> Self {
        Stage {
            world,
            audience,
            times,
            running: BTreeMap::new(),
            commands: vec![],
            last_exit: Time(0),
            reached: Time(0),
            visit: None,
        }
    }

    fn play(&mut self, plan: &Plan, prelude: usize, progress: &mut dyn Progress) -> Result<(), LimitHit> {
        self.times.reverse();
        let all = plan.traffic.iter().filter(|t| !matches!(t, Traffic::Sleep(_))).count();
        let end = plan.duration_ns.map(Time);
        let mut now = self.world.now();
        for (n, t) in plan.traffic.iter().enumerate() {
            if n == prelude {
                self.audience.start();
                progress.began(&self.world);
            }
            match t {
                Traffic::Sleep(ns) => {
                    now += *ns;
                    self.advance(now)?;
                }
                Traffic::Run(run) => {
                    let job = Job::Command(&run.line);
                    now = self.job(&run.from, &job, (now, run.at, end), run.background)?;
                    progress.commands(self.commands.len(), all);
                }
                Traffic::Script(s) => {
                    let job = Job::Script(s);
                    now = self.job(&s.from, &job, (now, s.at, end), s.background)?;
                    progress.commands(self.commands.len(), all);
                }
            }
            if end.is_some_and(|e| now >= e) {
                break;
            }
        }
        self.audience.start();
        if end.is_none() {
            self.until_all_exited()?;
            for look in 0..LOOKS {
                self.advance(self.last_exit.max(now) + (look as u64 + 1) * BETWEEN_COMMANDS_NS)?;
                progress.settled(&self.world, look);
            }
        }
        self.advance(end.unwrap_or(self.last_exit.max(now) + AFTER_LAST_NS))?;
        self.interrupt_endless()
    }

    /// The commands that go on until they are interrupted get the time to say good-bye.
    fn interrupt_endless(&mut self) -> Result<(), LimitHit> {
        let visitor = self.visit.and_then(|(_, place)| place);
        self.interrupt(|job| job.endless && Some(job.at) != visitor)
    }

    fn interrupt(&mut self, which: impl Fn(&Running) -> bool) -> Result<(), LimitHit> {
        let until = self.reached + GOOD_BYE_NS;
        for ((_, pid), job) in self.running.iter().filter(|(_, job)| which(job)) {
            self.world.interrupt(job.ns, *pid);
        }
        while self.running.values().any(&which) && self.next_exit(until)?.is_some() {}
        Ok(())
    }

    /// Starts a program when it is time and, unless it stays in the background, waits for its end. When the next one
    /// may start from.
    fn job(
        &mut self,
        from: &str,
        job: &Job<'_>,
        (now, at, end): (Time, Option<Time>, Option<Time>),
        background: bool,
    ) -> Result<Time, LimitHit> {
        let at = at.unwrap_or(now + BETWEEN_COMMANDS_NS);
        self.advance(end.map_or(at, |e| e.min(at)))?;
        self.close_story();
        let Some(ns) = self.world.namespace(from) else { return Ok(at) };
        let Some((ns, pid)) = job.spawn(&mut self.world, ns, at) else { return Ok(at) };
        let endless = matches!(job, Job::Command(line) if line.command.is_endless());
        let process = (ns.machine(), pid);
        self.started(process, Running { ns, at: self.commands.len(), endless }, (from, job.name(), at));
        if background {
            return Ok(at.max(now));
        }
        while self.running.contains_key(&process) {
            let until = end.unwrap_or(Time(u64::MAX));
            if self.next_exit(until)?.is_none() {
                return Ok(end.unwrap_or(self.world.machine(ns).now()));
            }
        }
        Ok(self.world.machine(ns).now())
    }

    fn started(&mut self, process: (MachineId, Pid), running: Running, (from, command, at): (&str, &str, Time)) {
        self.running.insert(process, running);
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

    /// Starts the command of a visitor.
    fn start_visit(&mut self, exec: &'a Exec, at: Time) -> Option<()> {
        let here = self.world.namespace(&exec.from)?;
        let (ns, pid) = spawn(&mut self.world, here, &exec.line, at)?;
        let place = self.commands.len();
        // The plan's end does not wait for it.
        let running = Running { ns, at: place, endless: true };
        self.started((ns.machine(), pid), running, (&exec.from, &exec.line.text, at));
        self.visit = Some((exec, Some(place)));
        Some(())
    }

    /// The plan is over: the command of a visitor starts now if it has not, and runs to its end.
    fn finish_visit(&mut self, exec: &'a Exec) -> Result<(), LimitHit> {
        self.advance(self.reached.max(exec.at.unwrap_or(self.reached)))?;
        if let Some((_, None)) = self.visit {
            self.start_visit(exec, self.reached);
        }
        let place = self.visit.and_then(|(_, place)| place);
        let visitor = |job: &Running| Some(job.at) == place;
        let until = self.reached + VISIT_MAX_NS;
        while self.running.values().any(visitor) && self.next_exit(until)?.is_some() {}
        self.reached = until;
        self.interrupt(visitor)
    }

    fn until_all_exited(&mut self) -> Result<(), LimitHit> {
        while self.running.values().any(|j| !j.endless) && self.next_exit(Time(u64::MAX))?.is_some() {}
        Ok(())
    }

    /// Runs to `until`, through all exits and all instants that expectations ask for.
    fn advance(&mut self, until: Time) -> Result<(), LimitHit> {
        while self.next_exit(until)?.is_some() {}
        self.reached = until;
        Ok(())
    }

    /// Runs to the next exit of a process; none if `until` comes first.
    fn next_exit(&mut self, until: Time) -> Result<Option<(MachineId, Pid)>, LimitHit> {
        loop {
            let look = self.times.last().copied().filter(|t| *t <= until);
            match self.world.run(look.unwrap_or(until), self.audience)? {
                Stopped::Exit(machine, pid) => {
                    self.exited((machine, pid));
                    return Ok(Some((machine, pid)));
                }
                Stopped::Time => match look {
                    Some(at) => {
                        self.times.pop();
                        self.audience.look(&self.world, Some(at));
                        if let Some((exec, None)) = self.visit {
                            self.start_visit(exec, at);
                        }
                    }
                    None => return Ok(None),
                },
            }
        }
    }

    fn exited(&mut self, process: (MachineId, Pid)) {
        let Some(Running { ns, at, endless }) = self.running.remove(&process) else { return };
        let Some(done) = self.world.reap(ns, process.1) else { return };
        if !endless {
            self.last_exit = self.last_exit.max(done.ended);
        }
        if let Some(c) = self.commands.get_mut(at) {
            (c.started, c.ended, c.exit) = (done.started, Some(done.ended), Some(done.code));
            c.output = done.console.all();
        }
    }

    /// What happened so far belongs to the command that was started last.
    fn close_story(&mut self) {
        let story = self.audience.take_story();
        if let Some(c) = self.commands.last_mut() {
            c.story = story;
        }
    }
}

/// What the run came to.
fn report(
    plan: &Plan,
    world: &World,
    mut commands: Vec<CommandReport>,
    reached: Time,
    mut recorder: Recorder<'_, Watch>,
    limit: Option<LimitHit>,
) -> io::Result<Report> {
    if let Some(c) = commands.last_mut() {
        c.story = recorder.take_story();
    }
    recorder.watcher.look(world, None);
    let journeys = recorder.journeys.take();
    let counts = recorder.counts();
    let (ended, waiting) = (reached.max(world.now()), world.balance().2);
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
        expectations: verdicts.into_iter().map(expectation).collect(),
        limit,
        ended,
        counts,
        waiting,
        files,
        journeys,
    })
}
