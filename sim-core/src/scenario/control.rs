//! What is done to a run besides its traffic: faults, and what a cluster's control plane makes of them. As far as it
//! has come it is part of the [`Course`](super::course::Course), and a clone goes on by itself.

use super::course::Audience;
use super::plan::{Action, Plan};
use super::raw;
use super::setup::spawn_command;
use crate::base::files::{Content, File, Files, Found};
use crate::base::time::SEC;
use crate::base::{MachineId, NsId, Pid, Time};
use crate::cluster::bring_up::Owner;
use crate::cluster::control_plane::{ControlPlane, Effect, Event, PodName};
use crate::cluster::heeds_sigterm;
use crate::engine::{Finished, LimitHit, World};
use crate::observe::names::Label;
use crate::{lab, user};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// SIGTERM and SIGKILL.
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Who does what when.
#[derive(Clone)]
pub(super) struct Control<'p> {
    plan: &'p Plan,
    cluster: Option<ControlPlane>,
    /// What is to come, earliest first; of one time, in the order in which it was planned.
    queue: BTreeMap<(Time, u64), Task>,
    planned: u64,
    /// Commands that run on nodes.
    jobs: BTreeMap<(MachineId, Pid), Job>,
    /// When it did something last.
    pub last: Time,
}

/// Something to do.
#[derive(Clone, Debug)]
enum Task {
    /// The fault with this place in the plan happens.
    Fault(usize),
    /// It is over.
    After(usize),
    /// The cluster's turn.
    Cluster(Event),
}

impl Task {
    fn is_periodic(&self) -> bool {
        matches!(self, Task::Cluster(event) if event.is_periodic())
    }
}

/// A command that runs, and what comes after it.
#[derive(Clone, Debug)]
struct Job {
    ns: NsId,
    node: usize,
    text: String,
    rest: VecDeque<String>,
    then: Then,
}

/// What happens when the last command of a job has ended.
#[derive(Clone, Debug)]
enum Then {
    Nothing,
    Event(Event),
    /// This container of a pod was asked whether it is ready.
    Probed(PodName, usize),
}

impl<'p> Control<'p> {
    /// Of a plan, before its run.
    pub fn new(plan: &'p Plan) -> Self {
        let (queue, jobs) = (BTreeMap::new(), BTreeMap::new());
        let cluster = plan.control_plane.clone();
        let mut control = Control { plan, cluster, queue, planned: 0, jobs, last: Time(0) };
        for (n, fault) in plan.faults.iter().enumerate() {
            control.plan(fault.at, Task::Fault(n));
        }
        for (at, event) in plan.control_plane.iter().flat_map(ControlPlane::begin) {
            control.plan(at, Task::Cluster(event));
        }
        control
    }

    /// When it has something to do next.
    pub fn next(&self) -> Option<Time> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Nothing more will come of what has happened so far, but for what comes again and again.
    pub fn is_idle(&self) -> bool {
        self.queue.values().all(Task::is_periodic) && self.jobs.values().all(|job| matches!(job.then, Then::Probed(..)))
    }

    /// Does what is next.
    ///
    /// # Errors
    /// A limit that the frames it caused ran into.
    pub fn act(&mut self, world: &mut World, audience: &mut dyn Audience) -> Result<(), LimitHit> {
        let Some(((at, _), task)) = self.queue.pop_first() else { return Ok(()) };
        if !task.is_periodic() {
            self.last = at;
        }
        match task {
            Task::Fault(n) => self.fault(n, at, world, audience),
            Task::After(n) => match self.plan.faults.get(n).map(|f| &f.action) {
                Some(Action::Link { link, after: Some((_, change, text)), .. }) => {
                    audience.event(text, at);
                    world.change_link(*link, change, at, audience.sink())
                }
                _ => Ok(()),
            },
            Task::Cluster(event) => self.happens(event, at, world, audience),
        }
    }

    fn fault(&mut self, n: usize, at: Time, world: &mut World, audience: &mut dyn Audience) -> Result<(), LimitHit> {
        let Some(fault) = self.plan.faults.get(n) else { return Ok(()) };
        match &fault.action {
            Action::Link { link, change, after, text } => {
                if let Some((until, ..)) = after {
                    self.plan(*until, Task::After(n));
                }
                audience.event(text, at);
                world.change_link(*link, change, at, audience.sink())
            }
            Action::Cluster(event) => self.happens(event.clone(), at, world, audience),
        }
    }

    /// Something happens in the cluster.
    fn happens(
        &mut self,
        event: Event,
        at: Time,
        world: &mut World,
        audience: &mut dyn Audience,
    ) -> Result<(), LimitHit> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        for effect in cluster.handle(event, at) {
            match effect {
                Effect::Say(text) => audience.event(&text, at),
                Effect::Later(delay, event) => self.plan(at + delay, Task::Cluster(event)),
                Effect::Run(node, commands, then) => {
                    let then = then.map_or(Then::Nothing, Then::Event);
                    self.run(node, commands.into(), then, at, world, audience);
                }
                Effect::Probe(node, command, pod, container) => {
                    self.run(node, [command].into(), Then::Probed(pod, container), at, world, audience);
                }
                Effect::Label(node, netns, owner) => {
                    let node = self.cluster.as_ref().and_then(|c| world.namespace(c.node(node)));
                    let label = label(&owner);
                    world.call(node.map_or(MachineId(0), NsId::machine), &netns, &label.name);
                    audience.label(&netns, label);
                }
                Effect::Notify(pod, files, program) => self.notify(&pod, files, &program, at, world),
                Effect::Start(pod, files, servers) => self.start(&pod, files, &servers, at, world),
                Effect::Terminate(pod) => kill(&pod, SIGTERM, at, world, audience)?,
                Effect::Kill(pod) => kill(&pod, SIGKILL, at, world, audience)?,
            }
        }
        Ok(())
    }

    /// Runs the first of these commands on a node; the others follow, and then what is to happen.
    fn run(
        &mut self,
        node: usize,
        mut commands: VecDeque<String>,
        then: Then,
        at: Time,
        world: &mut World,
        audience: &mut dyn Audience,
    ) {
        let name = self.cluster.as_ref().map_or("", |c| c.node(node));
        while let Some(text) = commands.pop_front() {
            let command = lab::parse(&text);
            let started = command.map_err(|e| e.message).and_then(|command| {
                let here = world.namespace(name).ok_or("the node's namespace is gone")?;
                Ok(spawn_command(world, here, &text, command, at).ok_or("too many processes")?)
            });
            match started {
                Ok((ns, pid)) => {
                    self.jobs.insert((ns.machine(), pid), Job { ns, node, text, rest: commands, then });
                    return;
                }
                Err(why) => audience.event(&format!("{name}: {}: {why}", first_line(&text)), at),
            }
        }
        if let Then::Event(event) = then {
            self.plan(at, Task::Cluster(event));
        }
    }

    /// A process has ended: whether it was one of its commands.
    pub fn exited(&mut self, process: (MachineId, Pid), world: &mut World, audience: &mut dyn Audience) -> bool {
        let Some(Job { ns, node, text, rest, then }) = self.jobs.remove(&process) else { return false };
        let Some(Finished { code, console, ended, .. }) = world.reap(ns, process.1) else { return true };
        if let Then::Probed(pod, container) = then {
            self.plan(ended, Task::Cluster(Event::Probed(pod, container, code == 0)));
            return true;
        }
        self.last = self.last.max(ended);
        // kube-proxy takes it for no error if there was nothing to delete.
        if code != 0 && !text.starts_with("conntrack ") {
            let name = self.cluster.as_ref().map_or("", |c| c.node(node));
            let said = console.all();
            audience.event(&format!("{name}: {}: exit status {code}: {}", first_line(&text), said.trim_end()), ended);
        }
        self.run(node, rest, then, ended, world, audience);
        true
    }

    fn start(&self, pod: &PodName, files: Vec<(String, String)>, servers: &[String], at: Time, world: &mut World) {
        let Some(ns) = namespace_of(pod, world) else { return };
        self.set_files(ns, files, at, world);
        for line in servers {
            let server = lab::lex::words(line).and_then(|words| user::parse_server_as(&words));
            let Ok((cred, own, server)) = server else { continue };
            if let Some(pid) = world.spawn_as(ns, cred, server.into_program(), at) {
                world.set_cmdline(ns, pid, &line[own..]);
            }
        }
    }

    /// A pod's files; those that are as before keep their time.
    fn set_files(&self, ns: NsId, files: Vec<(String, String)>, at: Time, world: &mut World) {
        let now_s = (self.plan.config.epoch_ns + at.0) / SEC;
        let mut all = Files::default();
        for (path, text) in files {
            let content = Content::Text(text);
            let mtime_s = match world.machine(ns).files(ns).find(&path) {
                Found::File(before) if before.content == content => before.mtime_s,
                _ => now_s,
            };
            all.insert(&path, File { content, mtime_s });
        }
        world.set_files(ns, Arc::new(all));
    }

    fn notify(&self, pod: &PodName, files: Vec<(String, String)>, program: &str, at: Time, world: &mut World) {
        let Some(ns) = namespace_of(pod, world) else { return };
        self.set_files(ns, files, at, world);
        let mut tasks = world.machine(ns).tasks().iter();
        if let Some(pid) = tasks.find(|(_, t)| t.ns == ns && t.cmdline == program).map(|(pid, _)| *pid) {
            world.notify(ns, pid, at);
        }
    }

    /// What is due at the end of time is never done.
    fn plan(&mut self, at: Time, task: Task) {
        if at < Time(u64::MAX) {
            self.planned += 1;
            self.queue.insert((at, self.planned), task);
        }
    }
}

/// A signal for what runs in a pod: SIGTERM for those who hear it, SIGKILL for all.
fn kill(pod: &PodName, signal: i32, at: Time, world: &mut World, audience: &mut dyn Audience) -> Result<(), LimitHit> {
    let Some(ns) = namespace_of(pod, world) else { return Ok(()) };
    let tasks = world.machine(ns).tasks().iter();
    let hears = |cmdline: &str| signal == SIGKILL || heeds_sigterm(cmdline);
    let pids: Vec<Pid> = tasks.filter(|(_, t)| t.ns == ns && hears(&t.cmdline)).map(|(pid, _)| *pid).collect();
    pids.into_iter().try_for_each(|pid| world.kill(ns.machine(), pid, signal, at, audience.sink()))
}

/// The namespace of a pod that is there.
fn namespace_of((namespace, name): &PodName, world: &World) -> Option<NsId> {
    world.namespace(&label(&Owner::Pod(namespace.clone(), name.clone())).name)
}

/// How people call the namespaces of a cluster, and where their captures are put.
pub(super) fn label(owner: &Owner) -> Label {
    match owner {
        Owner::Node(name) => Label { name: name.clone(), folder: format!("nodes/{name}") },
        Owner::Pod(namespace, name) => {
            Label { name: format!("{}{namespace}/{name}", raw::POD), folder: format!("pods/{namespace}/{name}") }
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
