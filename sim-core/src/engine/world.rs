//! Machines and the heap. The key of an event is a fact of the model, not of the schedule: time, receiver, sender, the
//! sender's own count.

mod outside;

pub use outside::{Departed, MAX_DEPARTED, MAX_FRAME_BYTES};

use super::link::{End, Lane, LinkChange, LinkSpec};
use super::machine::{Alarm, Ask, Finished, Machine, Run};
use super::process::Program;
use crate::base::{Files, FrameId, IfIndex, MachineId, NicId, NsId, Pid, Prf, Salt, Time};
use crate::kernel::cred::Cred;
use crate::kernel::cx::Wire;
use crate::kernel::errno::NlError;
use crate::kernel::netfilter::choices::Choices;
use crate::kernel::netlink::{Hardware, Request};
use crate::kernel::netns::Spaces;
use crate::kernel::profile::Profile;
use crate::kernel::show;
use crate::kernel::trace::Sink;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::sync::Arc;

/// INITIAL_JIFFIES of Linux at HZ=250: five minutes before the 32-bit counter wraps.
pub const INITIAL_JIFFIES: u64 = 4_294_892_296;

/// Where no lane begins: the other end of the link was never plugged in.
const NO_LANE: usize = usize::MAX;
/// As many machines one world has.
pub const MAX_MACHINES: usize = 1 << 12;

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything random follows from it.
    pub seed: u64,
    /// Simulated time zero in nanoseconds since 1970.
    pub epoch_ns: u64,
    /// The kernel's jiffies at time zero: the phase of long timers follows from it.
    pub jiffies: u64,
    /// Which Linux the first machine runs.
    pub profile: Profile,
    /// What is drawn follows from the names of machines and namespaces, not from their places among others: where more
    /// of them may come, as to a cluster. Pids follow from them, too.
    pub by_name: bool,
    /// When to give up.
    pub limits: Limits,
}

impl Default for Config {
    /// Seed 1, 2022-01-01T00:00:00Z, [`INITIAL_JIFFIES`], the default profile, everything drawn by place.
    fn default() -> Self {
        Config {
            seed: 1,
            epoch_ns: 1_640_995_200_000_000_000,
            jiffies: INITIAL_JIFFIES,
            profile: Profile::default(),
            by_name: false,
            limits: Limits::default(),
        }
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
    #[cold]
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
    /// A process of this machine has ended.
    Exit(MachineId, Pid),
    /// The time is reached, and nothing earlier is left to do.
    Time,
}

/// Everything that is simulated. A clone goes on from the same instant by itself. Listeners live outside.
#[derive(Clone)]
pub struct World {
    machines: Vec<Machine>,
    /// The links, a lane for each direction.
    lanes: Vec<Lane>,
    /// Which lane begins at which nic, by machine and nic.
    plugs: Vec<Vec<usize>>,
    heap: BinaryHeap<Reverse<Event>>,
    /// One more event, outside the heap: a machine that is busy asks for its next turn and gets it at once.
    front: Option<Event>,
    prf: Prf,
    config: Config,
    /// Events that each machine has caused.
    sequence: Vec<u64>,
    events: u64,
    /// The time of the last event: no machine starts anything new before it.
    now: Time,
    /// What machines do takes no time.
    is_still: bool,
    /// Where namespaces are that were given a name here, and what their machines call them.
    netns: BTreeMap<String, (MachineId, String)>,
    /// Frames made in all, and by each machine.
    made: u64,
    made_by: Vec<u64>,
    /// Machines on which processes have ended that nobody was told of.
    ended: BTreeSet<usize>,
    /// What has left the world.
    outside: outside::Outside,
}

/// One end of a link that is to be laid.
#[derive(Clone, Copy, Debug)]
pub struct Plug<'a> {
    /// In which namespace.
    pub ns: NsId,
    /// What its interface is called.
    pub name: &'a str,
    /// The interface is a synthetic one; this is what the physical nic below it is called.
    pub vf: Option<&'a str>,
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
    /// A timer may be due that is not on the wheel.
    Hrtimer,
    /// The next system call of whoever has the CPU.
    Run,
    /// A process's own timer.
    Alarm(Pid, AlarmKey),
    /// A nic has sent a frame, and others wait.
    Free(NicId),
    /// The next frame of a lane arrives.
    Arrive(usize),
}

/// [`Alarm`] in a form that has an order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct AlarmKey(u8, u32);

impl World {
    /// A world with one machine and no namespaces.
    pub fn new(config: Config) -> Self {
        let machine = Machine::new(MachineId(0), config.by_name.then_some(""), config.profile, &config);
        World {
            netns: BTreeMap::new(),
            made: 0,
            made_by: vec![0],
            ended: BTreeSet::new(),
            outside: outside::Outside::default(),
            machines: vec![machine],
            lanes: Vec::new(),
            plugs: vec![Vec::new()],
            heap: BinaryHeap::new(),
            front: None,
            prf: Prf::new(config.seed),
            config,
            sequence: vec![0],
            events: 0,
            now: Time(0),
            is_still: false,
        }
    }

    /// One more machine, without namespaces; none if there are [`MAX_MACHINES`].
    pub fn add_machine(&mut self, name: &str, profile: Profile) -> Option<MachineId> {
        if self.machines.len() >= MAX_MACHINES {
            return None;
        }
        let id = MachineId(self.machines.len() as u16);
        let name = self.config.by_name.then_some(name);
        self.machines.push(Machine::new(id, name, profile, &self.config));
        self.plugs.push(Vec::new());
        self.sequence.push(0);
        self.made_by.push(0);
        Some(id)
    }

    /// A machine's own namespace, in which it starts. The others are made by [`Request::NetnsAdd`].
    ///
    /// # Errors
    /// The name is taken or none.
    pub fn boot(&mut self, machine: MachineId, name: &str, sink: &mut dyn Sink) -> Result<(), ConfigureError> {
        self.machines[machine.0 as usize].boot(&mut run(&self.prf, &self.config, sink), name)
    }

    /// Lays a link between two new physical nics: in each namespace, one of this name. Links are numbered from 0 in the
    /// order in which they are laid.
    ///
    /// # Errors
    /// A name is taken or none: its nic is not there then, and the other one, if it is, has no link.
    pub fn connect(&mut self, ends: [Plug<'_>; 2], spec: &LinkSpec, sink: &mut dyn Sink) -> Result<(), ConfigureError> {
        let mut plugged = [(End { machine: MachineId(0), nic: NicId(0) }, [Salt::place(0); 2]); 2];
        for (Plug { ns, name, vf }, (end, draws)) in ends.into_iter().zip(&mut plugged) {
            let vf = vf.map(str::to_owned);
            let hardware = Hardware { name: name.to_owned(), vf, rate_bps: spec.rate_bps, queue: spec.queue };
            let mut run = run(&self.prf, &self.config, sink);
            let nic = self.machines[ns.machine().0 as usize].probe(&mut run, ns, &hardware)?;
            *end = End { machine: ns.machine(), nic };
            let nic = if self.config.by_name { Salt::named(&[name]) } else { Salt::place(nic.0) };
            *draws = [self.machine(ns).cpu.salt(), nic];
            self.plugs[ns.machine().0 as usize].push(NO_LANE);
        }
        let [a, b] = plugged;
        for ((from, draws), (to, _)) in [(a, b), (b, a)] {
            self.plugs[from.machine.0 as usize][from.nic.0 as usize] = self.lanes.len();
            self.lanes.push(Lane::new(from, to, draws, spec));
        }
        Ok(())
    }

    /// The nic at the other end of a nic's link.
    pub fn far_end(&self, machine: MachineId, nic: NicId) -> Option<(MachineId, NicId)> {
        let lane = *self.plugs.get(usize::from(machine.0))?.get(nic.0 as usize)?;
        self.lanes.get(lane).map(|lane| (lane.to.machine, lane.to.nic))
    }

    /// Changes link number `link` at `at`, or now if that is past, at both ends; a link that is not there does not
    /// change.
    ///
    /// # Errors
    /// A limit that the frames it caused ran into.
    pub fn change_link(
        &mut self,
        link: usize,
        change: &LinkChange,
        at: Time,
        sink: &mut dyn Sink,
    ) -> Result<(), LimitHit> {
        self.now = self.now.max(at);
        for lane in [2 * link, 2 * link + 1] {
            let Some(lane) = self.lanes.get_mut(lane) else { return Ok(()) };
            lane.change(change);
            let (End { machine, nic }, at) = (lane.from, lane.from.machine.0 as usize);
            let m = &mut self.machines[machine.0 as usize];
            m.cpu.now = m.cpu.now.max(self.now);
            m.plug(&mut run(&self.prf, &self.config, sink), nic, change)?;
            self.carry(at, sink);
            self.after(at);
        }
        Ok(())
    }

    /// Frames made, frames that ended or left the world, and frames that wait or are on a link: made = ended + waiting,
    /// at every instant between chains.
    pub fn balance(&self) -> (u64, u64, usize) {
        let each = self.machines.iter().map(|m| (m.cpu.balance(), m.balance().2));
        let flying = self.lanes.iter().map(Lane::in_flight).sum();
        each.fold((0, self.outside.count(), flying), |(made, ended, waiting), ((m, e), w)| {
            (made + m, ended + e, waiting + w)
        })
    }

    /// From now on what rules leave to chance is decided so on a machine, or drawn again; returns who decided it
    /// before.
    pub fn choose(&mut self, machine: MachineId, choices: Option<Box<Choices>>) -> Option<Box<Choices>> {
        std::mem::replace(&mut self.machines[usize::from(machine.0)].cpu.choices, choices)
    }

    /// The latest clock of a machine.
    pub fn now(&self) -> Time {
        self.machines.iter().map(Machine::now).max().unwrap_or_default()
    }

    /// The machine that holds `ns`.
    pub fn machine(&self, ns: NsId) -> &Machine {
        &self.machines[ns.machine().0 as usize]
    }

    /// All machines.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// From now on `name` means the namespace that this machine calls `netns`.
    pub fn call(&mut self, machine: MachineId, netns: &str, name: &str) {
        self.netns.insert(name.to_owned(), (machine, netns.to_owned()));
    }

    /// The namespace called `name`.
    pub fn namespace(&self, name: &str) -> Option<NsId> {
        match self.netns.get(name) {
            Some((machine, netns)) => self.machines.get(usize::from(machine.0))?.spaces().by_name(netns),
            None => self.machines.iter().find_map(|m| m.spaces().by_name(name)),
        }
    }

    /// Carries out a netlink request at the present instant, outside any process: how scenarios are set up.
    ///
    /// # Errors
    /// The kernel's refusal, or a limit that the frames it caused ran into.
    pub fn configure(&mut self, ns: NsId, request: &Request, sink: &mut dyn Sink) -> Result<(), ConfigureError> {
        let at = ns.machine().0 as usize;
        let m = &mut self.machines[at];
        m.cpu.now = m.cpu.now.max(self.now);
        let mut run = run(&self.prf, &self.config, sink);
        m.configure(&mut run, ns, request)?;
        self.carry(at, sink);
        self.after(at);
        Ok(())
    }

    /// Gives the programs of `ns` these files.
    pub fn set_files(&mut self, ns: NsId, files: Arc<Files>) {
        self.machines[ns.machine().0 as usize].set_files(ns, files);
    }

    /// Starts a program of root's in `ns` at `at`, or now if that is past.
    pub fn spawn(&mut self, ns: NsId, program: Box<dyn Program>, at: Time) -> Option<Pid> {
        self.spawn_as(ns, Cred::ROOT, program, at)
    }

    /// Starts a program as somebody in `ns` at `at`, or now if that is past.
    pub fn spawn_as(&mut self, ns: NsId, cred: Cred, program: Box<dyn Program>, at: Time) -> Option<Pid> {
        let machine = ns.machine().0 as usize;
        let m = &mut self.machines[machine];
        m.cpu.now = m.cpu.now.max(self.now);
        let at = at.max(m.now());
        let pid = m.spawn(&self.prf, ns, cred, program, at)?;
        self.after(machine);
        Some(pid)
    }

    /// Starts a process in `ns` that does nothing but sleep; none if there are too many processes.
    pub fn sleeper(&mut self, ns: NsId, cmdline: &str) -> Option<Pid> {
        self.machines[ns.machine().0 as usize].sleeper(&self.prf, ns, cmdline)
    }

    /// Says what a process runs: its command line.
    pub fn set_cmdline(&mut self, ns: NsId, pid: Pid, cmdline: &str) {
        self.machines[ns.machine().0 as usize].set_cmdline(pid, cmdline);
    }

    /// Sends SIGINT to a process, as Ctrl-C does: what it waits in is interrupted.
    pub fn interrupt(&mut self, ns: NsId, pid: Pid) {
        let machine = ns.machine().0 as usize;
        self.machines[machine].sigint(pid);
        self.after(machine);
    }

    /// Interrupts what a process waits in at `at`, or now if that is past: what it works by has changed, as inotify(7)
    /// would tell it.
    pub fn notify(&mut self, ns: NsId, pid: Pid, at: Time) {
        self.now = self.now.max(at);
        let machine = ns.machine().0 as usize;
        let m = &mut self.machines[machine];
        m.cpu.now = m.cpu.now.max(self.now);
        m.sigint(pid);
        self.after(machine);
    }

    /// Ends a process by a signal at `at`, or now if that is past: its sockets are closed, its exit status is 128 and
    /// the signal's number.
    ///
    /// # Errors
    /// A limit that the frames it caused ran into.
    pub fn kill(
        &mut self,
        machine: MachineId,
        pid: Pid,
        signal: i32,
        at: Time,
        sink: &mut dyn Sink,
    ) -> Result<(), LimitHit> {
        self.now = self.now.max(at);
        let place = machine.0 as usize;
        let Some(m) = self.machines.get_mut(place) else { return Ok(()) };
        m.cpu.now = m.cpu.now.max(self.now);
        m.kill(&mut run(&self.prf, &self.config, sink), pid, signal)?;
        self.carry(place, sink);
        self.after(place);
        Ok(())
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
            if let Some(stopped) = self.run_to(until, u64::MAX, sink)? {
                return Ok(stopped);
            }
        }
    }

    /// As [`World::run`], but no further than to the event of this number: none if that is why it came back.
    ///
    /// # Errors
    /// A limit was hit.
    pub fn run_to(&mut self, until: Time, events: u64, sink: &mut dyn Sink) -> Result<Option<Stopped>, LimitHit> {
        loop {
            if let Some((machine, pid)) = self.next_exit() {
                return Ok(Some(Stopped::Exit(machine, pid)));
            }
            if self.events >= events {
                return Ok(None);
            }
            let Some(event) = self.pop(until) else { return Ok(Some(Stopped::Time)) };
            self.events += 1;
            self.now = self.now.max(event.key.0);
            self.check(event.key.0)?;
            self.handle(event, sink)?;
        }
    }

    /// A process that has ended, on the first machine that has one.
    fn next_exit(&mut self) -> Option<(MachineId, Pid)> {
        while let Some(at) = self.ended.first().copied() {
            match self.machines[at].exits.pop_front() {
                Some(pid) => return Some((MachineId(at as u16), pid)),
                None => self.ended.remove(&at),
            };
        }
        None
    }

    /// How many events have happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The time of the last event. Clocks of machines may be ahead of it: their last chain took its time.
    pub fn last_event(&self) -> Time {
        self.now
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
            What::Hrtimer => {
                m.hrtimer_event = None;
                m.hrtimers(&mut run)?;
            }
            What::Run => {
                m.run_event = false;
                m.run_one(&mut run)?;
            }
            What::Alarm(pid, AlarmKey(0, _)) => m.alarm(pid, Alarm::Start),
            What::Alarm(pid, AlarmKey(1, n)) => m.alarm(pid, Alarm::Wait(n)),
            What::Alarm(pid, AlarmKey(_, n)) => m.alarm(pid, Alarm::Itimer(n)),
            What::Free(nic) => m.nic_free(&mut run, nic)?,
            What::Arrive(lane) => {
                let Some(lane) = self.lanes.get_mut(lane) else { return Ok(()) };
                let (from, nic) = (lane.from.machine, lane.to.nic);
                let Some(flying) = lane.arrive() else { return Ok(()) };
                m.receive(&mut run, nic, flying.frame, flying.whole)?;
                // The sender gets a buffer back, so that neither runs out of them.
                if let Some(spare) = m.cpu.give_spare() {
                    self.machines[from.0 as usize].cpu.take_spare(spare);
                }
            }
        }
        if self.is_still {
            self.machines[at].cpu.now = event.key.0;
        }
        self.carry(at, sink);
        self.after(at);
        Ok(())
    }

    /// Lets clocks stand still, or go on: a set-up that takes no time ends when it began, however much of it there is.
    /// Only what is waited for takes its time.
    pub fn hold_clocks(&mut self, still: bool) {
        self.is_still = still;
    }

    /// From here on, pids that follow from names do not depend on how many processes there were before.
    pub fn restart_pids(&mut self) {
        self.machines.iter_mut().for_each(Machine::restart_pids);
    }

    /// After anything has run on a machine: what its nics have sent goes on its way.
    fn carry(&mut self, at: usize, sink: &mut dyn Sink) {
        let mut wire = std::mem::take(&mut self.machines[at].cpu.wire);
        for w in wire.drain(..) {
            let (nic, done, frame) = match w {
                Wire::Carry { nic, done, frame } => (nic, done, frame),
                Wire::Free { nic, at: when } => {
                    self.push(at, when, What::Free(nic));
                    continue;
                }
            };
            let lane = self.plugs[at].get(nic.0 as usize).copied().unwrap_or(NO_LANE);
            if lane == outside::OUTSIDE && !self.outside.is_full() {
                let buffer = self.outside.take(MachineId(at as u16), nic, done, frame);
                self.machines[at].cpu.take_spare(buffer);
                continue;
            }
            let sent = match self.lanes.get_mut(lane) {
                Some(l) => l.send(&self.prf, done, frame).map(|arrival| (arrival, l.to.machine)),
                None => Err(frame),
            };
            match sent {
                Ok((arrival, to)) => self.post(at, to, arrival, What::Arrive(lane)),
                Err(frame) => {
                    let mut run = run(&self.prf, &self.config, sink);
                    self.machines[at].lose(&mut run, nic, frame);
                }
            }
        }
        self.machines[at].cpu.wire = wire;
    }

    /// After anything has run on a machine: what it wants from the heap is put there.
    fn after(&mut self, at: usize) {
        let m = &mut self.machines[at];
        let made = m.cpu.balance().0;
        self.made += made - std::mem::replace(&mut self.made_by[at], made);
        if !m.exits.is_empty() {
            self.ended.insert(at);
        }
        let mut asks = std::mem::take(&mut m.asks);
        let tick = m.cpu.next_tick().filter(|t| m.tick_event.is_none_or(|planned| *t < planned));
        if tick.is_some() {
            m.tick_event = tick;
        }
        let hrtimer = m.cpu.next_hrtimer().filter(|t| m.hrtimer_event.is_none_or(|planned| *t < planned));
        if hrtimer.is_some() {
            m.hrtimer_event = hrtimer;
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
        if let Some(when) = hrtimer {
            self.push(at, when, What::Hrtimer);
        }
        if let Some(when) = run {
            self.push(at, when, What::Run);
        }
    }

    fn push(&mut self, at: usize, when: Time, what: What) {
        self.post(at, MachineId(at as u16), when, what);
    }

    /// An event that machine `from` causes on another, or on itself.
    fn post(&mut self, from: usize, to: MachineId, when: Time, what: What) {
        self.sequence[from] += 1;
        let event = Event { key: (when, to, MachineId(from as u16), self.sequence[from]), what };
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
        for (name, value, limit) in [("events", self.events, limits.events), ("frames", self.made, limits.frames)] {
            if value > limit {
                return Err(LimitHit { name, limit, at, place: None });
            }
        }
        Ok(())
    }
}

fn run<'a>(prf: &'a Prf, config: &'a Config, sink: &'a mut dyn Sink) -> Run<'a> {
    let (steps, taps) = (sink.hears_steps(), sink.hears_taps());
    Run { prf, limits: &config.limits, epoch_ns: config.epoch_ns, sink, steps, taps }
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
