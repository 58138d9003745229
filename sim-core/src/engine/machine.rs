//! One kernel with one CPU: its namespaces, its processes, its run queue. A heap event and the softirq work that it
//! causes are one atomic chain.

use super::link::LinkChange;
use super::process::{Console, Env, Program, Task, Tasks};
use super::world::{Config, ConfigureError, LimitHit, Limits};
use crate::base::rng::Purpose;
use crate::base::{Files, FrameId, MachineId, NicId, NsId, Pid, Prf, Time};
use crate::kernel::conntrack::gc;
use crate::kernel::cred::{Cred, Current};
use crate::kernel::cx::{Cpu, Cx, Timer, Turn};
use crate::kernel::errno::Errno;
use crate::kernel::frame::Frame;
use crate::kernel::netlink::{self, Hardware, Request};
use crate::kernel::netns::Spaces;
use crate::kernel::profile::Profile;
use crate::kernel::syscall::{self, Call, Outcome, Ret};
use crate::kernel::timer::{TimerId, ns_to_jiffies};
use crate::kernel::trace::Sink;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a system call costs, so that programs take time. Nanoseconds.
const SYSCALL_NS: u64 = 4_000;
/// What a receive or a timer costs besides its hops. Nanoseconds.
const SOFTIRQ_NS: u64 = 500;
/// nanosleep and poll may be late by this much (timer_slack_ns).
const TIMER_SLACK_NS: u64 = 50_000;
/// A process that has had the CPU for so long lets others run that are waiting for it (sysctl_sched_base_slice of four
/// CPUs). Nanoseconds.
const BASE_SLICE_NS: u64 = 2_100_000;
/// So many of a chain's last places are remembered.
const LATELY: usize = 32;
/// Pids begin here.
const FIRST_PID: u32 = 300;
/// kernel.pid_max of a 64-bit machine with systemd.
const PID_MAX: u32 = 1 << 22;
/// Where numbers are drawn, those of pause processes lie below.
const FIRST_SLEEPER_MAX: u32 = 1 << 15;
/// As many processes one machine runs at once.
pub const MAX_PROCESSES: usize = 1 << 16;

/// One kernel with one CPU.
#[derive(Clone)]
pub struct Machine {
    pub(super) cpu: Cpu,
    pub(super) spaces: Spaces,
    /// Of its namespaces; those that have none share `no_files`.
    files: BTreeMap<NsId, Arc<Files>>,
    no_files: Files,
    processes: BTreeMap<Pid, Process>,
    /// Those that have not ended.
    tasks: Tasks,
    run_queue: VecDeque<Pid>,
    /// Who has the CPU, and since when.
    current: Option<(Pid, Time)>,
    last_pid: u32,
    /// Where pids follow from names, how many processes each namespace has started.
    spawned: BTreeMap<NsId, u32>,
    /// Processes that have ended since the world looked.
    pub(super) exits: VecDeque<Pid>,
    /// What the world's heap has to be told of.
    pub(super) asks: Vec<Ask>,
    /// When the heap has the wheel's next event, and whether it has a turn of the run queue.
    pub(super) tick_event: Option<Time>,
    /// When the heap has the next of the timers that are not on the wheel.
    pub(super) hrtimer_event: Option<Time>,
    pub(super) run_event: bool,
}

/// A wake-up at an exact time (hrtimer): heap events, in contrast to the wheel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub at: Time,
    pub pid: Pid,
    pub what: Alarm,
}

/// Which timer of a process. A number tells a timer from an older one that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// It starts.
    Start,
    /// Its sleep or poll is over.
    Wait(u32),
    /// ITIMER_REAL
    Itimer(u32),
}

struct Process {
    ns: NsId,
    cred: Cred,
    program: Box<dyn Program>,
    state: State,
    console: Console,
    alarmed: bool,
    interrupted: bool,
    /// Numbers of the current wait and of the current itimer.
    wait: u32,
    itimer: u32,
    started: Time,
    ended: Time,
}

#[derive(Clone)]
enum State {
    /// Goes on with what its last call returned.
    Ready(Ret),
    /// Goes on with the call that would have blocked.
    Retry(Call, Deadline),
    /// In a call until something happens or its time is out.
    Waiting(Call, Deadline),
    /// In a call that goes on when what it sent was received.
    InCall(Call, Deadline),
    Exited(i32),
}

/// How long a call waits.
#[derive(Clone, Copy)]
enum Deadline {
    /// Not decided: the call is made for the first time.
    Unset,
    /// Until something happens.
    Never,
    /// A timer on the wheel.
    Wheel(TimerId),
    /// A heap event.
    Exact,
    /// No longer.
    Passed,
}

impl Clone for Process {
    fn clone(&self) -> Self {
        let (program, state) = (self.program.boxed_clone(), self.state.clone());
        Process { program, state, console: self.console.clone(), ..*self }
    }
}

/// A process that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status.
    pub code: i32,
    /// What it printed.
    pub console: Console,
    /// When it started.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
}

impl Machine {
    /// One that has a name draws by names.
    pub(super) fn new(id: MachineId, name: Option<&str>, profile: Profile, config: &Config) -> Self {
        let jiffies = config.jiffies;
        let mut cpu = Cpu::new(id, name, jiffies);
        cpu.epoch_ns = config.epoch_ns;
        cpu.timers.arm(jiffies, jiffies + gc::FIRST_RUN, Timer::ConntrackGc);
        Machine {
            cpu,
            spaces: Spaces::new(profile),
            files: BTreeMap::new(),
            no_files: Files::default(),
            processes: BTreeMap::new(),
            tasks: Tasks::new(),
            run_queue: VecDeque::new(),
            current: None,
            last_pid: FIRST_PID,
            spawned: BTreeMap::new(),
            exits: VecDeque::new(),
            asks: Vec::new(),
            tick_event: None,
            hrtimer_event: None,
            run_event: false,
        }
    }

    /// Its namespaces, to read.
    pub fn spaces(&self) -> &Spaces {
        &self.spaces
    }

    /// Its clock.
    pub fn now(&self) -> Time {
        self.cpu.now
    }

    /// Its processes that have not ended.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Frames that began here, made or come over a link; frames that are gone, ended or left over a link; and frames
    /// that wait somewhere. Begun = gone + waiting, at every instant between chains.
    pub fn balance(&self) -> (u64, u64, usize) {
        let (made, ended) = self.cpu.balance();
        let (came, left) = self.cpu.crossings();
        (made + came, ended + left, self.cpu.backlog() + self.spaces.waiting())
    }

    pub(super) fn set_files(&mut self, ns: NsId, files: Arc<Files>) {
        self.files.insert(ns, files);
    }

    /// The files of `ns`.
    pub fn files(&self, ns: NsId) -> &Files {
        self.files.get(&ns).map_or(&self.no_files, |files| files)
    }

    /// What a process works by, if it shows that.
    pub fn config_dump(&self, pid: Pid) -> Option<String> {
        self.processes.get(&pid)?.program.config_dump()
    }

    /// Somebody wants the CPU.
    pub(super) fn runnable(&self) -> bool {
        !self.run_queue.is_empty()
    }

    pub(super) fn spawn(
        &mut self,
        prf: &Prf,
        ns: NsId,
        cred: Cred,
        program: Box<dyn Program>,
        at: Time,
    ) -> Option<Pid> {
        let pid = self.fork(prf, Task { ns, cred, cmdline: String::new() }, PID_MAX)?;
        let process = Process {
            ns,
            cred,
            program,
            state: State::Ready(Ret::Start),
            console: Console::default(),
            alarmed: false,
            interrupted: false,
            wait: 0,
            itimer: 0,
            started: at,
            ended: at,
        };
        self.processes.insert(pid, process);
        self.asks.push(Ask { at, pid, what: Alarm::Start });
        Some(pid)
    }

    /// A process that only sleeps, until the machine ends. The first one of a namespace has a low number: what else is
    /// there has started after it.
    pub(super) fn sleeper(&mut self, prf: &Prf, ns: NsId, cmdline: &str) -> Option<Pid> {
        let most = if self.spawned.contains_key(&ns) { PID_MAX } else { FIRST_SLEEPER_MAX };
        self.fork(prf, Task { ns, cred: Cred::ROOT, cmdline: cmdline.to_owned() }, most)
    }

    /// A number for a process, and its place in /proc; none if there are [`MAX_PROCESSES`].
    fn fork(&mut self, prf: &Prf, task: Task, most: u32) -> Option<Pid> {
        if self.tasks.len().max(self.processes.len()) >= MAX_PROCESSES {
            return None;
        }
        let pid = self.next_pid(prf, task.ns, most);
        self.tasks.insert(pid, task);
        Some(pid)
    }

    /// The number of a process that starts in `ns`: a little more than the last one, or where what is drawn follows
    /// from names, any below `most` that is free.
    fn next_pid(&mut self, prf: &Prf, ns: NsId, most: u32) -> Pid {
        if !self.cpu.draws_by_name() {
            let input = [self.cpu.salt().word(), u64::from(self.last_pid)];
            self.last_pid += 1 + prf.below(Purpose::ProcessId, &input, 15) as u32;
            return Pid(self.last_pid);
        }
        let count = self.spawned.entry(ns).or_default();
        *count += 1;
        let input = [self.cpu.salt_of(ns).word(), u64::from(*count)];
        let drawn = FIRST_PID + prf.below(Purpose::ProcessId, &input, u64::from(most - FIRST_PID)) as u32;
        let mut free = (drawn..PID_MAX).chain(FIRST_PID..drawn).map(Pid).filter(|pid| !self.tasks.contains_key(pid));
        // There are fewer processes than numbers.
        free.next().unwrap_or(Pid(drawn))
    }

    /// Processes are counted from here on.
    pub(super) fn restart_pids(&mut self) {
        self.spawned.clear();
    }

    /// What /proc says that a process runs.
    pub(super) fn set_cmdline(&mut self, pid: Pid, cmdline: &str) {
        if let Some(task) = self.tasks.get_mut(&pid) {
            cmdline.clone_into(&mut task.cmdline);
        }
    }

    /// Takes a process that has ended out of the table.
    pub(super) fn reap(&mut self, pid: Pid) -> Option<Finished> {
        let State::Exited(code) = self.processes.get(&pid)?.state else { return None };
        let p = self.processes.remove(&pid)?;
        Some(Finished { code, console: p.console, started: p.started, ended: p.ended })
    }

    /// A netlink request outside any process.
    pub(super) fn configure(&mut self, run: &mut Run<'_>, ns: NsId, request: &Request) -> Result<(), ConfigureError> {
        let mut cx = cx(&mut self.cpu, run);
        netlink::request(&mut self.spaces, &mut cx, ns, request)?;
        Ok(self.drain(run)?)
    }

    /// Its own namespace.
    pub(super) fn boot(&mut self, run: &mut Run<'_>, name: &str) -> Result<(), ConfigureError> {
        Ok(netlink::boot(&mut self.spaces, &mut cx(&mut self.cpu, run), name)?)
    }

    /// A physical nic is plugged in.
    pub(super) fn probe(&mut self, run: &mut Run<'_>, ns: NsId, hardware: &Hardware) -> Result<NicId, ConfigureError> {
        Ok(netlink::probe(&mut self.spaces, &mut cx(&mut self.cpu, run), ns, hardware)?)
    }

    /// A nic's interrupt: a frame has come over its link.
    pub(super) fn receive(&mut self, run: &mut Run<'_>, nic: NicId, frame: Frame, whole: bool) -> Result<(), LimitHit> {
        self.spaces.nic_receive(&mut cx(&mut self.cpu, run), nic, frame, whole);
        self.drain(run)
    }

    /// As [`Machine::receive`], of a frame that somebody outside of the world has sent: its number.
    pub(super) fn receive_foreign(&mut self, run: &mut Run<'_>, nic: NicId, bytes: &[u8]) -> Result<FrameId, LimitHit> {
        let frame = cx(&mut self.cpu, run).foreign_frame(bytes);
        let id = frame.id;
        self.receive(run, nic, frame, true)?;
        Ok(id)
    }

    /// A nic's interrupt: it is free for the next frame.
    pub(super) fn nic_free(&mut self, run: &mut Run<'_>, nic: NicId) -> Result<(), LimitHit> {
        self.spaces.nic_free(&mut cx(&mut self.cpu, run), nic);
        self.drain(run)
    }

    /// The link of `nic` has changed.
    pub(super) fn plug(&mut self, run: &mut Run<'_>, nic: NicId, change: &LinkChange) -> Result<(), LimitHit> {
        let cx = &mut cx(&mut self.cpu, run);
        if let Some(rate_bps) = change.rate_bps {
            self.spaces.nic_rate(nic, rate_bps);
        }
        if let Some(up) = change.up {
            self.spaces.nic_carrier(cx, nic, up);
        }
        self.drain(run)
    }

    /// The link of `nic` cannot hold a frame that it sent.
    pub(super) fn lose(&mut self, run: &mut Run<'_>, nic: NicId, frame: Frame) {
        self.spaces.lose(&mut cx(&mut self.cpu, run), nic, frame);
    }

    /// An expired slot of the timer wheel: all its timers, then the softirq queue.
    ///
    /// Differs: Linux has several CPUs. A timer of one and a process on another can run at the same time, and their
    /// frames mix (recorded in host_down_other, differently in each run); here one comes after the other.
    pub(super) fn tick(&mut self, run: &mut Run<'_>) -> Result<(), LimitHit> {
        let now = self.cpu.jiffies();
        self.cpu.timers.collect(now);
        while let Some(timer) = self.cpu.timers.pop() {
            self.cpu.now += SOFTIRQ_NS;
            match timer {
                Timer::Process(pid) => self.time_out(pid),
                _ => self.spaces.timer(&mut cx(&mut self.cpu, run), timer),
            }
        }
        self.drain(run)
    }

    /// Timers that are not on the wheel: all that are due, then the softirq queue.
    #[inline(never)]
    pub(super) fn hrtimers(&mut self, run: &mut Run<'_>) -> Result<(), LimitHit> {
        while let Some(timer) = self.cpu.pop_hrtimer() {
            self.cpu.now += SOFTIRQ_NS;
            self.spaces.timer(&mut cx(&mut self.cpu, run), timer);
        }
        self.drain(run)
    }

    /// kill(2) with SIGINT.
    pub(super) fn sigint(&mut self, pid: Pid) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        p.interrupted = true;
        self.interrupt(pid);
    }

    /// An hrtimer of a process fired.
    pub(super) fn alarm(&mut self, pid: Pid, what: Alarm) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        match what {
            Alarm::Start => {
                p.started = self.cpu.now;
                self.run_queue.push_back(pid);
            }
            Alarm::Wait(n) if n == p.wait => self.time_out(pid),
            Alarm::Itimer(n) if n == p.itimer => {
                p.alarmed = true;
                self.interrupt(pid);
            }
            Alarm::Wait(_) | Alarm::Itimer(_) => {}
        }
    }

    /// One system call of the process whose turn it is.
    pub(super) fn run_one(&mut self, run: &mut Run<'_>) -> Result<(), LimitHit> {
        let Some(pid) = self.run_queue.pop_front() else { return Ok(()) };
        let Some(p) = self.processes.get_mut(&pid) else { return Ok(()) };
        if self.current.is_none_or(|(last, _)| last != pid) {
            self.current = Some((pid, self.cpu.now));
        }
        self.cpu.now += SYSCALL_NS;
        let (call, deadline) = match std::mem::replace(&mut p.state, State::Ready(Ret::Done)) {
            State::Ready(ret) => {
                let (mut secrets, mut proxied) = (String::new(), Vec::new());
                let mut env = Env {
                    now: self.cpu.now,
                    epoch_ns: run.epoch_ns,
                    pid,
                    ns: p.ns,
                    alarmed: std::mem::take(&mut p.alarmed),
                    interrupted: std::mem::take(&mut p.interrupted),
                    spaces: &self.spaces,
                    tasks: &self.tasks,
                    log: &self.cpu.log,
                    files: self.files.get(&p.ns).map_or(&self.no_files, |f| f),
                    prf: run.prf,
                    salt: self.cpu.salt(),
                    spent_ns: 0,
                    secrets: &mut secrets,
                    proxied: &mut proxied,
                    console: &mut p.console,
                };
                let call = p.program.step(ret, &mut env);
                self.cpu.now += env.spent_ns;
                if !secrets.is_empty() {
                    run.sink.secrets(&secrets);
                }
                for edge in &proxied {
                    run.sink.proxied(edge);
                }
                (call, Deadline::Unset)
            }
            State::Retry(call, deadline) => (call, deadline),
            state @ (State::Waiting(..) | State::InCall(..) | State::Exited(_)) => {
                p.state = state;
                return Ok(());
            }
        };
        let since = self.current.map_or(self.cpu.now, |(_, since)| since);
        if self.cpu.now.0 - since.0 >= BASE_SLICE_NS && !self.run_queue.is_empty() {
            // A tick found that its time is up.
            p.state = State::Retry(call, deadline);
            self.run_queue.push_back(pid);
            self.current = None;
            return Ok(());
        }
        self.call(run, pid, call, deadline);
        self.drain(run)
    }

    /// Receives until nothing is queued, lets the work queue run, and then the woken processes before everybody else.
    ///
    /// Differs: Linux shares the CPU by what each process had of it, so a woken one may have to wait while another
    /// computes: where reader and writer never wait, as in the cases iperf3, delack, upload and mtu_1400 of lab A and a
    /// run of c_server_first, no two runs of Linux are alike.
    fn drain(&mut self, run: &mut Run<'_>) -> Result<(), LimitHit> {
        let mut received = 0;
        // Where the chain was lately: a limit is explained by the last bridge among these.
        let mut lately = [None; LATELY];
        loop {
            while let Some(turn) = self.cpu.dequeue() {
                let (ns, dev, frame, frames) = match &turn {
                    Turn::Frame(rx) | Turn::Round(rx) => (rx.ns, rx.dev, rx.frame.id, 1),
                    Turn::Poll { ns, dev, first, frames } => (*ns, *dev, *first, u64::from(*frames)),
                };
                received += frames;
                lately[received as usize % LATELY] = Some((ns, dev, frame));
                if received > run.limits.chain_frames {
                    lately.rotate_left(received as usize % LATELY + 1);
                    return Err(LimitHit::chain(run.limits.chain_frames, &self.spaces, self.cpu.now, &lately));
                }
                self.cpu.now += SOFTIRQ_NS * frames;
                let cx = &mut cx(&mut self.cpu, run);
                match turn {
                    Turn::Frame(rx) => self.spaces.receive(cx, rx),
                    Turn::Round(rx) => self.spaces.another_round(cx, rx),
                    Turn::Poll { ns, dev, .. } => self.spaces.poll(cx, ns, dev),
                }
                self.spaces.settle(&mut self.cpu);
            }
            self.spaces.settle(&mut self.cpu);
            if let Some(rest) = self.cpu.take_rest() {
                self.cpu.set_process(true);
                self.spaces.go_on(&mut cx(&mut self.cpu, run), rest);
                self.cpu.set_process(false);
                if let Some((pid, ret)) = self.cpu.finished.take() {
                    self.finish(pid, ret);
                }
            } else if !self.spaces.work(&mut cx(&mut self.cpu, run)) {
                break;
            }
        }
        let mut wakes = std::mem::take(&mut self.cpu.wakes);
        for pid in wakes.drain(..).rev() {
            self.wake(pid);
        }
        self.cpu.wakes = wakes;
        Ok(())
    }

    /// Something has happened that a process waits for. One that sleeps hears nothing.
    fn wake(&mut self, pid: Pid) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        p.state = match std::mem::replace(&mut p.state, State::Ready(Ret::Done)) {
            State::Waiting(call, deadline) if !matches!(call, Call::Sleep { .. }) => {
                self.run_queue.push_front(pid);
                State::Retry(call, deadline)
            }
            other => other,
        };
    }

    /// The time of what a process waits in is out.
    fn time_out(&mut self, pid: Pid) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        let call = match &mut p.state {
            State::Waiting(call, _) => call,
            // Somebody has woken it. If there is nothing for it after all, it waits no longer.
            State::Retry(_, deadline @ (Deadline::Wheel(_) | Deadline::Exact)) => {
                *deadline = Deadline::Passed;
                return;
            }
            _ => return,
        };
        p.state = match call {
            // One last look is taken before the answer is that there is nothing.
            Call::Recv { fd, size, errqueue, .. } => {
                let last = Call::Recv { fd: *fd, size: *size, dontwait: true, errqueue: *errqueue };
                State::Retry(last, Deadline::Never)
            }
            Call::Poll { .. } => State::Ready(Ret::Poll(vec![])),
            Call::Close { .. } => after_signal(&mut self.spaces, p.ns, call),
            _ => State::Ready(Ret::Done),
        };
        p.wait += 1;
        self.run_queue.push_back(pid);
    }

    /// A signal ends what a process waits in.
    fn interrupt(&mut self, pid: Pid) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        let State::Waiting(call, deadline) = &p.state else { return };
        if let Deadline::Wheel(id) = *deadline {
            self.cpu.timers.cancel(id);
        }
        p.state = after_signal(&mut self.spaces, p.ns, call);
        p.wait += 1;
        self.run_queue.push_back(pid);
    }

    /// Carries out one call; the process goes on, or waits.
    fn call(&mut self, run: &mut Run<'_>, pid: Pid, call: Call, deadline: Deadline) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        let (ns, cred) = (p.ns, p.cred);
        let now = self.cpu.now;
        let ret = match &call {
            Call::Exit(code) => return self.exit(run, pid, *code),
            Call::Sleep { ns } => {
                p.wait += 1;
                let what = Alarm::Wait(p.wait);
                p.state = State::Waiting(call.clone(), Deadline::Exact);
                self.asks.push(Ask { at: now + *ns + TIMER_SLACK_NS, pid, what });
                return;
            }
            Call::Alarm { ns } => {
                p.itimer += 1;
                if *ns > 0 {
                    self.asks.push(Ask { at: now + *ns, pid, what: Alarm::Itimer(p.itimer) });
                }
                Some(Ret::Done)
            }
            // netlink_net_capable
            Call::Netlink(_) | Call::NetlinkIn(..) if !cred.capable() => Some(Ret::NlErr(Errno::EPERM.into())),
            Call::Netlink(request) => Some(self.netlink(run, ns, request)),
            Call::NetlinkIn(name, request) => match self.spaces.by_name(name) {
                Some(ns) => Some(self.netlink(run, ns, request)),
                None => Some(Ret::Err(Errno::ENOENT)),
            },
            _ => {
                self.cpu.set_process(true);
                let ret =
                    syscall::call(&mut self.spaces, &mut cx(&mut self.cpu, run), ns, Current { pid, cred }, &call);
                self.cpu.set_process(false);
                match ret {
                    Outcome::Done(ret) => Some(ret),
                    Outcome::Wait => None,
                    Outcome::Later => {
                        p.state = State::InCall(call, deadline);
                        // What it sent was not for this machine: there was nothing to wait for.
                        if let Some((pid, ret)) = self.cpu.finished.take() {
                            self.finish(pid, ret);
                        }
                        return;
                    }
                }
            }
        };
        self.ended(pid, call, deadline, ret);
    }

    /// do_exit
    #[cold]
    fn exit(&mut self, run: &mut Run<'_>, pid: Pid, code: i32) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        (p.state, p.ended) = (State::Exited(code), self.cpu.now);
        syscall::close_all(&mut self.spaces, &mut cx(&mut self.cpu, run), p.ns, pid);
        self.exits.push_back(pid);
        self.tasks.remove(&pid);
    }

    /// A signal ends a process, whatever it is at; a shell shows 128 and the signal's number.
    pub(super) fn kill(&mut self, run: &mut Run<'_>, pid: Pid, signal: i32) -> Result<(), LimitHit> {
        let Some(p) = self.processes.get(&pid).filter(|p| !matches!(p.state, State::Exited(_))) else {
            return Ok(());
        };
        if let State::Waiting(_, Deadline::Wheel(id)) = p.state {
            self.cpu.timers.cancel(id);
        }
        self.exit(run, pid, 128 + signal);
        self.drain(run)
    }

    /// A call has ended, or waits.
    fn ended(&mut self, pid: Pid, call: Call, deadline: Deadline, ret: Option<Ret>) {
        match ret {
            Some(ret) => {
                if let Deadline::Wheel(id) = deadline {
                    self.cpu.timers.cancel(id);
                }
                self.resume(pid, ret);
            }
            None => self.block(pid, call, deadline),
        }
    }

    /// A call that went on in the kernel is over.
    fn finish(&mut self, pid: Pid, ret: Option<Ret>) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        match std::mem::replace(&mut p.state, State::Ready(Ret::Done)) {
            State::InCall(call, deadline) => self.ended(pid, call, deadline, ret),
            state => p.state = state,
        }
    }

    fn netlink(&mut self, run: &mut Run<'_>, ns: NsId, request: &Request) -> Ret {
        self.cpu.set_process(true);
        let answer = netlink::request(&mut self.spaces, &mut cx(&mut self.cpu, run), ns, request);
        self.cpu.set_process(false);
        match answer {
            Ok(_) => Ret::Done,
            Err(e) => Ret::NlErr(e),
        }
    }

    fn resume(&mut self, pid: Pid, ret: Ret) {
        if let Some(p) = self.processes.get_mut(&pid) {
            p.state = State::Ready(ret);
            p.wait += 1;
            self.run_queue.push_front(pid);
        }
    }

    /// The call has to wait: for its socket, and for its time to run out.
    fn block(&mut self, pid: Pid, call: Call, deadline: Deadline) {
        let Some(p) = self.processes.get_mut(&pid) else { return };
        let ns = p.ns;
        if p.alarmed || p.interrupted {
            p.state = after_signal(&mut self.spaces, ns, &call);
            self.run_queue.push_front(pid);
            return;
        }
        if let Deadline::Passed = deadline {
            p.state = State::Waiting(call, deadline);
            return self.time_out(pid);
        }
        let deadline = match (&call, deadline) {
            (Call::Recv { .. } | Call::Close { .. }, Deadline::Unset) => {
                // SO_RCVTIMEO and SO_LINGER go through the wheel, in ticks.
                let timeout = syscall::timeout_ns(&self.spaces, ns, &call);
                let now = self.cpu.jiffies();
                let arm = |cpu: &mut Cpu| cpu.timers.arm(now, now + ns_to_jiffies(timeout), Timer::Process(pid));
                if timeout > 0 { Deadline::Wheel(arm(&mut self.cpu)) } else { Deadline::Never }
            }
            (Call::Poll { timeout_ns: Some(timeout), .. }, Deadline::Unset) => {
                let what = Alarm::Wait(p.wait);
                self.asks.push(Ask { at: self.cpu.now + *timeout + TIMER_SLACK_NS, pid, what });
                Deadline::Exact
            }
            (_, Deadline::Unset) => Deadline::Never,
            (_, decided) => decided,
        };
        p.state = State::Waiting(call, deadline);
    }
}

/// What a process does when a signal, or the end of its time, has ended the wait in `call`.
fn after_signal(spaces: &mut Spaces, ns: NsId, call: &Call) -> State {
    match syscall::interrupted(spaces, ns, call) {
        Some(ret) => State::Ready(ret),
        None => State::Retry(call.clone(), Deadline::Never),
    }
}

/// What a machine needs to run besides itself.
pub(super) struct Run<'a> {
    pub prf: &'a Prf,
    pub limits: &'a Limits,
    pub epoch_ns: u64,
    pub sink: &'a mut dyn Sink,
    pub steps: bool,
    pub taps: bool,
}

pub(super) fn cx<'a>(cpu: &'a mut Cpu, run: &'a mut Run<'_>) -> Cx<'a> {
    Cx { ns: NsId::new(cpu.machine(), 0), cpu, prf: run.prf, sink: run.sink, steps: run.steps, taps: run.taps }
}
