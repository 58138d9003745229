//! A run as a value: the world, and how far `traffic:` has come in it. A clone goes on from the same instant by itself;
//! who listens is told, and is no part of it.

use super::control::Control;
use super::plan::{Line, Plan, Repeat, Run, Script, Traffic};
use super::setup::spawn;
use crate::base::time::{MS, SEC};
use crate::base::{MachineId, NsId, Pid, Time};
use crate::engine::{Finished, LimitHit, Stopped, World};
use crate::kernel::trace::Sink;
use crate::observe::names::Label;
use crate::user::scripted::Scripted;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A command of `traffic:` starts this long after the one before has ended.
const BETWEEN_COMMANDS_NS: u64 = 15 * MS;
/// A run goes on for this long after its last program.
const AFTER_LAST_NS: u64 = SEC / 2;
/// What a command that is interrupted at the end may take to end.
const GOOD_BYE_NS: u64 = MS;
/// A visitor's command that has not ended so long after the plan's end is interrupted.
pub(super) const VISIT_MAX_NS: u64 = 10 * SEC;

/// So often a run is looked at when its last command has ended.
pub const LOOKS: usize = 3;

/// Who is told how a run goes. What it does not want to know it leaves out.
pub(super) trait Audience {
    /// Who hears the frames.
    fn sink(&mut self) -> &mut dyn Sink;
    /// Entry `n` of `traffic:` is next; `n` is their number when all have had their turn.
    fn entry(&mut self, _n: usize, _: &World) {}
    /// A command of `traffic:` is started.
    fn started(&mut self, _from: &str, _command: &str, _at: Time) {}
    /// The command that was started as number `n` has ended.
    fn ended(&mut self, _n: usize, _: Finished) {}
    /// Something happens that is none of the traffic.
    fn event(&mut self, _text: &str, _at: Time) {}
    /// A namespace that its machine will call `netns` is somebody's.
    fn label(&mut self, _netns: &str, _: Label) {}
    /// Expectations look at the world, at this time.
    fn look(&mut self, _: &World, _at: Time) {}
    /// The last command that ends by itself has ended, see [`LOOKS`].
    fn settled(&mut self, _: &World, _look: usize) {}
    /// The command of visitor `n` has ended.
    fn visited(&mut self, _n: usize, _: Finished) {}
}

/// A plain listener.
pub(super) struct Only<'a>(pub &'a mut dyn Sink);

impl Audience for Only<'_> {
    fn sink(&mut self) -> &mut dyn Sink {
        self.0
    }
}

/// Somebody runs a command that is none of the plan's.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// The namespace.
    pub from: String,
    /// The command.
    pub line: Line,
    /// When.
    pub at: Time,
}

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    /// To this time, but no further than to the plan's end. Everything up to it has happened then; a command that
    /// starts at it has not started.
    Time(Time),
    /// To this time, also beyond the plan's end.
    Beyond(Time),
    /// To the plan's end.
    End,
}

/// A run under way.
#[derive(Clone)]
pub(super) struct Course<'p> {
    plan: &'p Plan,
    pub world: World,
    phase: Phase,
    /// When what comes next in `traffic:` may start.
    now: Time,
    /// When expectations look, and how many of these times are over.
    times: Arc<[Time]>,
    looked: usize,
    /// Earliest first, and how many have started.
    visits: Arc<[Visit]>,
    visited: usize,
    running: BTreeMap<(MachineId, Pid), Running>,
    /// Entries of `traffic:` that are started again.
    again: Vec<Again>,
    control: Control<'p>,
    /// So many commands of `traffic:` have started.
    commands: usize,
    last_exit: Time,
    /// The last instant at which something was due from the plan.
    pub reached: Time,
    /// This is the state of no instant before.
    since: Time,
}

/// What a run is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// This entry of `traffic:` comes next.
    Entry(usize),
    /// It waits for its time, which may be past the end.
    Before(usize, Time),
    /// It runs in the foreground, in this namespace.
    Foreground(usize, NsId),
    /// All have had their turn; those that end by themselves are waited for.
    Ending,
    /// The next look at what they left.
    Settling(usize),
    /// The rest of the time.
    Afterwards,
    /// What goes on until it is interrupted was interrupted.
    GoodBye,
    Over,
}

#[derive(Clone, Copy)]
struct Running {
    ns: NsId,
    what: Job,
    endless: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    /// Of this entry of `traffic:`, with its own number.
    Command { entry: usize, number: usize },
    /// Of a visitor, with his.
    Visit(usize),
}

/// An entry of `traffic:` that is started again.
#[derive(Clone, Copy)]
struct Again {
    entry: usize,
    at: Time,
    /// So often, this time included.
    left: u64,
}

/// Why [`Course::next`] came back.
enum Next {
    Exit,
    Bound,
    Spent,
}

impl<'p> Course<'p> {
    /// The run of a plan whose world was built. `times` is when the audience wants to look.
    pub fn new(plan: &'p Plan, world: World, times: Vec<Time>, mut visits: Vec<Visit>) -> Self {
        visits.sort_by_key(|v| v.at);
        Course {
            plan,
            now: world.now(),
            world,
            phase: Phase::Entry(0),
            times: times.into(),
            looked: 0,
            visits: visits.into(),
            visited: 0,
            running: BTreeMap::new(),
            again: Vec::new(),
            control: Control::new(plan),
            commands: 0,
            last_exit: Time(0),
            reached: Time(0),
            since: Time(0),
        }
    }

    /// The plan's end is reached, or a limit.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// This is the state of no instant before.
    pub fn since(&self) -> Time {
        self.since.max(self.world.last_event())
    }

    /// Goes on to `goal`; false if event number `events` came first.
    ///
    /// # Errors
    /// A limit was hit: it is over.
    pub fn go(&mut self, goal: Goal, events: u64, audience: &mut dyn Audience) -> Result<bool, LimitHit> {
        let done = self.walk(goal, events, audience);
        if done.is_err() {
            self.phase = Phase::Over;
        }
        done
    }

    fn walk(&mut self, goal: Goal, events: u64, audience: &mut dyn Audience) -> Result<bool, LimitHit> {
        loop {
            while self.turn(audience) {}
            let until = match goal {
                Goal::Time(_) | Goal::End if self.is_over() => return Ok(true),
                Goal::Time(at) | Goal::Beyond(at) => at,
                Goal::End => Time(u64::MAX),
            };
            let bound = self.bound();
            match self.next(until.min(bound), events, audience)? {
                Next::Exit => {}
                Next::Spent => return Ok(false),
                Next::Bound if until <= bound && goal != Goal::End => return Ok(true),
                Next::Bound => self.due(bound, audience)?,
            }
        }
    }

    /// Goes on until the commands of visitors have ended; after a while they are interrupted.
    ///
    /// # Errors
    /// A limit was hit.
    pub fn finish_visits(&mut self, audience: &mut dyn Audience) -> Result<(), LimitHit> {
        let visitor = |job: &Running| matches!(job.what, Job::Visit(_));
        let until = self.world.now().max(self.reached) + VISIT_MAX_NS;
        while self.running.values().any(visitor) && matches!(self.next(until, u64::MAX, audience)?, Next::Exit) {}
        self.interrupt(visitor);
        let until = until + GOOD_BYE_NS;
        while self.running.values().any(visitor) && matches!(self.next(until, u64::MAX, audience)?, Next::Exit) {}
        Ok(())
    }

    /// When the plan ends, if it says so.
    fn end(&self) -> Option<Time> {
        self.plan.duration_ns.map(Time)
    }

    /// What can be done without time going on; true if something was.
    fn turn(&mut self, audience: &mut dyn Audience) -> bool {
        self.phase = match self.phase {
            Phase::Entry(n) => {
                let entry = self.plan.traffic.get(n).filter(|_| self.end().is_none_or(|end| self.now < end));
                audience.entry(if entry.is_some() { n } else { self.plan.traffic.len() }, &self.world);
                match entry {
                    Some(Traffic::Sleep(ns)) => Phase::Before(n, self.now + *ns),
                    Some(entry) => Phase::Before(n, entry.at().unwrap_or(self.now + BETWEEN_COMMANDS_NS)),
                    None if self.end().is_some() => Phase::Afterwards,
                    None => Phase::Ending,
                }
            }
            Phase::Foreground(n, ns) if !self.runs(n) => {
                self.now = self.world.machine(ns).now();
                Phase::Entry(n + 1)
            }
            Phase::Ending if self.has_ended() => Phase::Settling(0),
            Phase::GoodBye if !self.running.values().any(says_good_bye) => Phase::Over,
            _ => return false,
        };
        true
    }

    /// Entry `n` of `traffic:` is not over.
    fn runs(&self, n: usize) -> bool {
        let of = |job: &Running| matches!(job.what, Job::Command { entry, .. } if entry == n);
        self.again.iter().any(|again| again.entry == n) || self.running.values().any(of)
    }

    /// What ends by itself has ended, and all faults have happened.
    fn has_ended(&self) -> bool {
        self.again.is_empty() && self.control.is_idle() && self.running.values().all(|job| job.endless)
    }

    /// When something is due although nothing has ended.
    fn bound(&self) -> Time {
        let again = self.again.iter().map(|again| again.at).min();
        let planned = again.into_iter().chain(self.control.next()).min();
        self.phase_bound().min(planned.unwrap_or(Time(u64::MAX)))
    }

    fn phase_bound(&self) -> Time {
        let ended = self.last_exit.max(self.now).max(self.control.last);
        match self.phase {
            Phase::Entry(_) => self.now,
            Phase::Before(_, at) => self.end().map_or(at, |end| end.min(at)),
            Phase::Foreground(..) => self.end().unwrap_or(Time(u64::MAX)),
            Phase::Settling(look) => ended + (look as u64 + 1) * BETWEEN_COMMANDS_NS,
            Phase::Afterwards => self.end().unwrap_or(ended + AFTER_LAST_NS),
            Phase::GoodBye => self.reached + GOOD_BYE_NS,
            Phase::Ending | Phase::Over => Time(u64::MAX),
        }
    }

    /// The time of [`Course::bound`] has come: at one instant faults are first, then what is repeated.
    fn due(&mut self, at: Time, audience: &mut dyn Audience) -> Result<(), LimitHit> {
        self.since = self.since.max(at + 1);
        if self.control.next().is_some_and(|next| next <= at) {
            if !matches!(self.phase, Phase::GoodBye | Phase::Over) {
                self.reached = self.reached.max(at);
            }
            return self.control.act(&mut self.world, audience);
        }
        if let Some(place) = self.again.iter().position(|again| again.at <= at) {
            self.start_again(place, audience);
            return Ok(());
        }
        self.phase = match self.phase {
            Phase::Before(n, start) => {
                self.reached = at;
                self.start(n, start, audience)
            }
            Phase::Foreground(n, ns) => {
                self.now = self.end().unwrap_or(self.world.machine(ns).now());
                Phase::Entry(n + 1)
            }
            Phase::Ending => Phase::Settling(0),
            Phase::Settling(look) => {
                self.reached = at;
                audience.settled(&self.world, look);
                if look + 1 < LOOKS { Phase::Settling(look + 1) } else { Phase::Afterwards }
            }
            Phase::Afterwards => {
                self.reached = at;
                self.interrupt(says_good_bye);
                Phase::GoodBye
            }
            Phase::Entry(_) | Phase::GoodBye | Phase::Over => Phase::Over,
        };
        Ok(())
    }

    /// Starts an entry of `traffic:`; what the run is at then.
    fn start(&mut self, n: usize, at: Time, audience: &mut dyn Audience) -> Phase {
        let Some(ns) = self.launch(n, at, audience) else {
            self.now = at;
            return Phase::Entry(n + 1);
        };
        let (repeat, background) = match self.plan.traffic.get(n) {
            Some(Traffic::Run(run)) => (run.repeat, run.background),
            Some(Traffic::Script(script)) => (None, script.background),
            Some(Traffic::Sleep(_)) | None => (None, true),
        };
        if let Some(Repeat { every_ns, count }) = repeat {
            self.repeat(Again { entry: n, at: at + every_ns, left: count - 1 });
        }
        if !background {
            return Phase::Foreground(n, ns);
        }
        self.now = self.now.max(at);
        Phase::Entry(n + 1)
    }

    /// Starts the process of an entry of `traffic:`; in which namespace, if it is there.
    fn launch(&mut self, n: usize, at: Time, audience: &mut dyn Audience) -> Option<NsId> {
        let world = &mut self.world;
        let (from, name, (ns, pid, endless)) = match self.plan.traffic.get(n)? {
            Traffic::Run(run) => {
                let here = world.namespace(&run.from)?;
                (&run.from, &*run.line.text, command(world, here, run, at)?)
            }
            Traffic::Script(script) => {
                let here = world.namespace(&script.from)?;
                (&script.from, script.name.as_str(), self::script(world, here, script, at)?)
            }
            Traffic::Sleep(_) => return None,
        };
        let what = Job::Command { entry: n, number: self.commands };
        self.running.insert((ns.machine(), pid), Running { ns, what, endless });
        self.commands += 1;
        audience.started(from, name, at);
        Some(ns)
    }

    /// An entry will be started again, unless the end comes first.
    fn repeat(&mut self, again: Again) {
        if again.left > 0 && self.end().is_none_or(|end| again.at < end) {
            self.again.push(again);
        }
    }

    fn start_again(&mut self, place: usize, audience: &mut dyn Audience) {
        let Again { entry, at, left } = self.again.remove(place);
        self.reached = self.reached.max(at);
        self.launch(entry, at, audience);
        if let Some(Traffic::Run(run)) = self.plan.traffic.get(entry)
            && let Some(Repeat { every_ns, .. }) = run.repeat
        {
            self.repeat(Again { entry, at: at + every_ns, left: left - 1 });
        }
    }

    /// Starts the next visitor's command.
    fn start_visit(&mut self) {
        let Some(visit) = self.visits.get(self.visited) else { return };
        let place = self.visited;
        self.visited += 1;
        self.since = self.since.max(visit.at + 1);
        let Some(here) = self.world.namespace(&visit.from) else { return };
        let Some((ns, pid)) = spawn(&mut self.world, here, &visit.line, visit.at) else { return };
        // The plan's end does not wait for it.
        self.running.insert((ns.machine(), pid), Running { ns, what: Job::Visit(place), endless: true });
    }

    fn interrupt(&mut self, which: impl Fn(&Running) -> bool) {
        for ((_, pid), job) in self.running.iter().filter(|(_, job)| which(job)) {
            self.world.interrupt(job.ns, *pid);
        }
    }

    /// Runs to the next exit of a process, or to `until`, through all instants that expectations and visitors ask for.
    fn next(&mut self, until: Time, events: u64, audience: &mut dyn Audience) -> Result<Next, LimitHit> {
        loop {
            let look = self.times.get(self.looked).copied().filter(|at| *at <= until);
            let visit = self.visits.get(self.visited).map(|v| v.at).filter(|at| *at <= until);
            let stop = until.min(look.unwrap_or(until)).min(visit.unwrap_or(until));
            match self.world.run_to(stop, events, audience.sink())? {
                None => return Ok(Next::Spent),
                Some(Stopped::Exit(machine, pid)) => {
                    self.exited((machine, pid), audience);
                    return Ok(Next::Exit);
                }
                Some(Stopped::Time) if look == Some(stop) => {
                    self.looked += 1;
                    audience.look(&self.world, stop);
                }
                Some(Stopped::Time) if visit == Some(stop) => self.start_visit(),
                Some(Stopped::Time) => return Ok(Next::Bound),
            }
        }
    }

    fn exited(&mut self, process: (MachineId, Pid), audience: &mut dyn Audience) {
        if self.control.exited(process, &mut self.world, audience) {
            return;
        }
        let Some(Running { ns, what, endless }) = self.running.remove(&process) else {
            // A server.
            self.world.reap(NsId::new(process.0, 0), process.1);
            return;
        };
        let Some(done) = self.world.reap(ns, process.1) else { return };
        if !endless {
            self.last_exit = self.last_exit.max(done.ended);
        }
        match what {
            Job::Command { number, .. } => audience.ended(number, done),
            Job::Visit(n) => audience.visited(n, done),
        }
    }
}

/// The commands that go on until they are interrupted get the time to say good-bye. Visitors have longer.
fn says_good_bye(job: &Running) -> bool {
    job.endless && matches!(job.what, Job::Command { .. })
}

fn command(world: &mut World, here: NsId, run: &Run, at: Time) -> Option<(NsId, Pid, bool)> {
    let (ns, pid) = spawn(world, here, &run.line, at)?;
    Some((ns, pid, run.line.command.is_endless()))
}

fn script(world: &mut World, here: NsId, script: &Script, at: Time) -> Option<(NsId, Pid, bool)> {
    let pid = world.spawn(here, Box::new(Scripted::new(script.lines.clone())), at)?;
    Some((here, pid, false))
}
