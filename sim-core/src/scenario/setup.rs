//! Builds the world of a plan: namespaces, links, set-up commands, servers.

use super::diag::SourceFile;
use super::plan::{Line, Link, Place, Plan, ServerLine};
use crate::base::time::{MS, SEC};
use crate::base::{NsId, Pid, Time};
use crate::engine::{ConfigureError, Plug, Stopped, World};
use crate::kernel::netlink::{LinkAdd, LinkKind, LinkPeer, Request};
use crate::kernel::trace::Sink;
use crate::lab::{self, Command};
use crate::user::setpriv;
use std::ops::Range;

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

/// Builds the world of a plan: all namespaces, then the set-up commands in file order, then the servers.
///
/// # Errors
/// Every command that failed; if none did, every server.
pub fn build(plan: &Plan, sink: &mut dyn Sink) -> Result<World, Vec<SetupError>> {
    let mut world = World::new(plan.config.clone());
    let mut errors = vec![];
    // A cluster is up when a run begins, however much of it there is: its set-up takes no time.
    world.hold_clocks(plan.config.by_name);
    for machine in &plan.machines {
        world.add_machine(&machine.name, machine.profile);
    }
    for n in &plan.namespaces {
        // The plan's names are unique and valid.
        let _ = match n.own {
            true => world.boot(n.machine, &n.netns, sink),
            false => world.configure(NsId::new(n.machine, 0), &Request::NetnsAdd { name: n.netns.clone() }, sink),
        };
        world.call(n.machine, &n.netns, &n.name);
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
    world.restart_pids();
    for n in &plan.namespaces {
        if let Some(ns) = world.namespace(&n.name) {
            for cmdline in &n.sleepers {
                // Nobody misses one that finds no place.
                let _ = world.sleeper(ns, cmdline);
            }
        }
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
    world.hold_clocks(false);
    if errors.is_empty() { Ok(world) } else { Err(errors) }
}

/// Makes the two interfaces of a link.
fn lay(world: &mut World, link: &Link, sink: &mut dyn Sink) -> Result<(), String> {
    let [a, b] = &link.ends;
    let (Some(here), Some(there)) = (world.namespace(&a.namespace), world.namespace(&b.namespace)) else {
        return Err("a namespace is not there".to_owned());
    };
    let done = match &link.spec {
        Some(spec) => {
            let [below_a, below_b] = &link.vfs;
            world.connect([plug(here, a, below_a.as_deref()), plug(there, b, below_b.as_deref())], spec, sink)
        }
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

fn plug<'a>(ns: NsId, place: &'a Place, vf: Option<&'a str>) -> Plug<'a> {
    Plug { ns, name: &place.device, vf }
}

/// Starts a server and lets it run until it waits for its first client.
fn start_server(world: &mut World, ns: NsId, line: &ServerLine, sink: &mut dyn Sink) -> Result<(), String> {
    let pid = world.spawn_as(ns, line.cred, line.server.clone().into_program(), Time(0)).ok_or("too many processes")?;
    world.set_cmdline(ns, pid, line.server.title().unwrap_or(&line.text));
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
pub(super) fn spawn(world: &mut World, here: NsId, line: &Line, at: Time) -> Option<(NsId, Pid)> {
    spawn_command(world, here, &line.text, line.command.clone(), at)
}

/// The same for a command that stands in no file.
pub(super) fn spawn_command(
    world: &mut World,
    here: NsId,
    text: &str,
    command: Command,
    at: Time,
) -> Option<(NsId, Pid)> {
    let ns = command.start_ns(world.machine(here).spaces(), here);
    let pid = world.spawn_as(ns, command.cred, command.into_program(), at)?;
    world.set_cmdline(ns, pid, cmdline(text));
    Some((ns, pid))
}

/// What runs in the end: `ip netns exec NAME` and `setpriv` become the command behind them.
fn cmdline(text: &str) -> &str {
    if let Some((_, command)) = text.strip_prefix("ip netns exec ").and_then(|rest| rest.split_once(' ')) {
        return cmdline(command);
    }
    if !text.starts_with("setpriv ") {
        return text;
    }
    let words = lab::lex::words(text).unwrap_or_default();
    match setpriv::split(&words) {
        Ok(Some((_, rest))) => rest.first().and_then(|word| text.get(word.span.start..)).unwrap_or(text),
        _ => text,
    }
}
