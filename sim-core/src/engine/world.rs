//! Machines and the heap. The key of an event is a fact of the model, not of the schedule: time, receiver, sender, the
//! sender's own count.

use super::machine::{Alarm, Ask, Finished, Machine, Run};
use super::process::Program;
use crate::base::{FrameId, IfIndex, MachineId, NsId, Pid, Prf, Time};
use crate::kernel::errno::NlError;
use crate::kernel::netlink::Request;
use crate::kernel::netns::Spaces;
use crate::kernel::show;
use crate::kernel::trace::Sink;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

/// INITIAL_JIFFIES of Linux at HZ=250: five minutes before the 32-bit counter wraps.
pub const INITIAL_JIFFIES: u64 = 4_294_892_296;

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything random follows from it.
    pub seed: u64,
    /// Simulated time zero in nanoseconds since 1970.
    pub epoch_ns: u64,
    /// The kernel's jiffies at time zero: the phase of long timers follows from it.
    pub jiffies: u64,
    /// When to give up.
    pub limits: Limits,
}

impl Default for Config {
    /// Seed 1, 2022-01-01T00:00:00Z, [`INITIAL_JIFFIES`].
    fn default() -> Self {
        Config { seed: 1, epoch_ns: 1_640_995_200_000_000_000, jiffies: INITIAL_JIFFIES, limits: Limits::default() }
    }
}

/// A run that goes on for ever is stopped by these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames received in one chain: what one event may cause before time goes on. A loop in layer 2 runs into it.
    pub chain_frames: u64,
    /// Frames made in the whole run.
    pub frames: u64,
    /// Events of the heap in the whole run.
    pub events: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { chain_frames: 50_000, frames: 100_000_000, events: 100_000_000 }
    }
}

/// A limit that was hit, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// Its name, as scenarios set it: `chainFrames`, `frames`, `events`.
    pub name: &'static str,
    /// Its value.
    pub limit: u64,
    /// When.
    pub at: Time,
    /// The frame whose turn it was, and where it was.
    pub place: Option<Place>,
}

/// Where a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The frame.
    pub frame: FrameId,
    /// The namespace, by name.
    pub namespace: String,
    /// The device, by name.
    pub dev: String,
    /// The bridge that the device is a port of, by name.
    pub bridge: Option<String>,
}

impl LimitHit {
    /// The chain was at these places lately, the last one last. The last bridge port among them is shown, else the
    /// last place.
    pub(super) fn chain(limit: u64, spaces: &Spaces, at: Time, lately: &[Option<(NsId, IfIndex, FrameId)>]) -> Self {
        let place = |&(ns, dev, frame): &(NsId, IfIndex, FrameId)| {
            let link = show::links(spaces, ns, at).into_iter().find(|l| l.index == dev)?;
            let (namespace, bridge) = (spaces.name(ns).to_owned(), link.master.map(|m| m.1));
            Some(Place { frame, namespace, dev: link.name, bridge })
        };
        let mut places = lately.iter().rev().flatten().filter_map(place);
        let last = places.next();
        let bridged = last.clone().into_iter().chain(places).find(|p| p.bridge.is_some());
        LimitHit { name: "chainFrames", limit, at, place: bridged.or(last) }
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} = {} reached at {} s", self.name, self.limit, self.at)?;
        let Some(p) = &self.place else { return Ok(()) };
        write!(f, ": frame {} on {} of {}", p.frame, p.dev, p.namespace)?;
        match &p.bridge {
            Some(bridge) => write!(f, ", a port of bridge {bridge}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for LimitHit {}

/// Why [`World::run`] came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// A process has ended.
    Exit(Pid),
    /// The time is reached, and nothing earlier is left to do.
    Time,
}

/// Everything that is simulated. A clone goes on from the same instant by itself. Listeners live outside.
#[derive(Clone)]
pub struct World {
    machines: Vec<Machine>,
    heap: BinaryHeap<Reverse<Event>>,
    /// One more event, outside the heap: a machine that is busy asks for its next turn and gets it at once.
    front: Option<Event>,
    prf: Prf,
    config: Config,
    /// Events that each machine has caused.
    sequence: Vec<u64>,
    events: u64,
}

/// (time, receiving machine, source machine, the source's count)
type Key = (Time, MachineId, MachineId, u64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    key: Key,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The timer wheel may be due.
    Tick,
    /// The next system call of whoever has the CPU.
    Run,
    /// A process's own timer.
    Alarm(Pid, AlarmKey),
}

/// [`Alarm`] in a form that has an order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct AlarmKey(u8, u32);

impl World {
    /// A world with one machine and no namespaces.
    pub fn new(config: Config) -> Self {
        let machine = Machine::new(MachineId(0), config.jiffies);
        let prf = Prf::new(config.seed);
        let heap = BinaryHeap::new();
        World { machines: vec![machine], heap, front: None, prf, config, sequence: vec![0], events: 0 }
    }

    /// The machine that holds `ns`.
    pub fn machine(&self, ns: NsId) -> &Machine {
        &self.machines[ns.machine().0 as usize]
    }

    /// All machines.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The namespace called `name`.
    pub fn namespace(&self, name: &str) -> Option<NsId> {
        self.machines.iter().find_map(|m| m.spaces().by_name(name))
    }

    /// Carries out a netlink request at the present instant, outside any process: how scenarios are set up.
    ///
    /// # Errors
    /// The kernel's refusal, or a limit that the frames it caused ran into.
    pub fn configure(&mut self, ns: NsId, request: &Request, sink: &mut dyn Sink) -> Result<(), ConfigureError> {
        let at = ns.machine().0 as usize;
        let m = &mut self.machines[at];
        let mut run = run(&self.prf, &self.config, sink);
        m.configure(&mut run, ns, request)?;
        self.after(at);
        Ok(())
    }

    /// Starts a program in `ns` at `at`, or now if that is past.
    pub fn spawn(&mut self, ns: NsId, program: Box<dyn Program>, at: Time) -> Option<Pid> {
        let machine = ns.machine().0 as usize;
        let m = &mut self.machines[machine];
        let at = at.max(m.now());
        let pid = m.spawn(&self.prf, ns, program, at)?;
        self.after(machine);
        Some(pid)
    }

    /// Sends SIGINT to a process, as Ctrl-C does: what it waits in is interrupted.
    pub fn interrupt(&mut self, ns: NsId, pid: Pid) {
        let machine = ns.machine().0 as usize;
        self.machines[machine].sigint(pid);
        self.after(machine);
    }

    /// Takes a process that has ended out of its machine.
    pub fn reap(&mut self, ns: NsId, pid: Pid) -> Option<Finished> {
        self.machines[ns.machine().0 as usize].reap(pid)
    }

    /// Runs until a process ends, or until nothing is left to do up to and including `until`.
    ///
    /// # Errors
    /// A limit was hit.
    pub fn run(&mut self, until: Time, sink: &mut dyn Sink) -> Result<Stopped, LimitHit> {
        loop {
            if let Some(pid) = self.machines.iter_mut().find_map(|m| m.exits.pop_front()) {
                return Ok(Stopped::Exit(pid));
            }
            let Some(event) = self.pop(until) else { return Ok(Stopped::Time) };
            self.events += 1;
            self.check(event.key.0)?;
            self.handle(event, sink)?;
        }
    }

    fn handle(&mut self, event: Event, sink: &mut dyn Sink) -> Result<(), LimitHit> {
        let at = event.key.1.0 as usize;
        let m = &mut self.machines[at];
        m.cpu.now = m.cpu.now.max(event.key.0);
        let mut run = run(&self.prf, &self.config, sink);
        match event.what {
            What::Tick => {
                m.tick_event = None;
                m.tick(&mut run)?;
            }
            What::Run => {
                m.run_event = false;
                m.run_one(&mut run)?;
            }
            What::Alarm(pid, AlarmKey(0, _)) => m.alarm(pid, Alarm::Start),
            What::Alarm(pid, AlarmKey(1, n)) => m.alarm(pid, Alarm::Wait(n)),
            What::Alarm(pid, AlarmKey(_, n)) => m.alarm(pid, Alarm::Itimer(n)),
        }
        self.after(at);
        Ok(())
    }

    /// After anything has run on a machine: what it wants from the heap is put there.
    fn after(&mut self, at: usize) {
        let m = &mut self.machines[at];
        let mut asks = std::mem::take(&mut m.asks);
        let tick = m.cpu.next_tick().filter(|t| m.tick_event.is_none_or(|planned| *t < planned));
        if tick.is_some() {
            m.tick_event = tick;
        }
        let run = (m.runnable() && !m.run_event).then_some(m.now());
        m.run_event |= run.is_some();
        for Ask { at: when, pid, what } in asks.drain(..) {
            let key = match what {
                Alarm::Start => AlarmKey(0, 0),
                Alarm::Wait(n) => AlarmKey(1, n),
                Alarm::Itimer(n) => AlarmKey(2, n),
            };
            self.push(at, when, What::Alarm(pid, key));
        }
        self.machines[at].asks = asks;
        if let Some(when) = tick {
            self.push(at, when, What::Tick);
        }
        if let Some(when) = run {
            self.push(at, when, What::Run);
        }
    }

    fn push(&mut self, at: usize, when: Time, what: What) {
        let machine = MachineId(at as u16);
        self.sequence[at] += 1;
        let event = Event { key: (when, machine, machine, self.sequence[at]), what };
        match self.front {
            Some(front) if front <= event => self.heap.push(Reverse(event)),
            _ => self.heap.extend(self.front.replace(event).map(Reverse)),
        }
    }

    /// The next event up to and including `until`.
    fn pop(&mut self, until: Time) -> Option<Event> {
        let waiting = self.heap.peek().map(|e| e.0);
        let first = self.front.filter(|front| waiting.is_none_or(|e| *front < e));
        let next = first.or(waiting).filter(|e| e.key.0 <= until)?;
        if first.is_some() {
            self.front = None;
        } else {
            self.heap.pop();
        }
        Some(next)
    }

    fn check(&self, at: Time) -> Result<(), LimitHit> {
        let limits = &self.config.limits;
        let made: u64 = self.machines.iter().map(Machine::made).sum();
        for (name, value, limit) in [("events", self.events, limits.events), ("frames", made, limits.frames)] {
            if value > limit {
                return Err(LimitHit { name, limit, at, place: None });
            }
        }
        Ok(())
    }
}

fn run<'a>(prf: &'a Prf, config: &'a Config, sink: &'a mut dyn Sink) -> Run<'a> {
    let steps = sink.hears_steps();
    Run { prf, limits: &config.limits, epoch_ns: config.epoch_ns, sink, steps }
}

/// Why a request outside any process failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigureError {
    /// The kernel refused it.
    Refused(NlError),
    /// What it caused ran into a limit.
    Limit(LimitHit),
}

impl From<NlError> for ConfigureError {
    fn from(e: NlError) -> Self {
        ConfigureError::Refused(e)
    }
}

impl From<LimitHit> for ConfigureError {
    fn from(e: LimitHit) -> Self {
        ConfigureError::Limit(e)
    }
}
