//! What podhop shows of a plan.

use crate::judge::Case;
use crate::{Heard, STATE, Seen, file_name, starts};
use sim_core::base::Time;
use sim_core::engine::World;
use sim_core::kernel::show;
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::exec::{self, Executed};
use sim_core::scenario::plan::{Namespace, Plan};
use sim_core::scenario::report::CommandReport;
use sim_core::scenario::{Options, Replay, RunError};
use std::collections::BTreeMap;

/// Runs a plan.
///
/// # Errors
/// As for [`run`](sim_core::scenario::run()).
pub fn simulate(plan: &Plan) -> Result<Seen, RunError> {
    let mut memory = Memory::default();
    let options = Options { outputs: Outputs { captures: true, ..Outputs::NONE }, ..Options::default() };
    let mut progress = ();
    let mut replay = Replay::new(plan, &mut memory, options, &mut progress)?;
    // Devices come and go.
    let mut ifmap = replay.at(Time(0)).map_or(String::new(), |world| interfaces(plan, world));
    let ended = replay.ended();
    let mut state = vec![];
    if let Ok(world) = replay.end() {
        ifmap += &interfaces(plan, world);
        for n in &plan.namespaces {
            for command in STATE {
                let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
                let done = match exec::resolve(plan, &n.name, &words, &[]) {
                    Ok(visit) => exec::look(Ok(world), &visit, ended),
                    Err(_) => Executed::default(),
                };
                let (from, command) = (n.name.clone(), command.to_owned());
                state.push(Heard { from, command, exit: done.exit, output: done.output });
            }
        }
    }
    let report = replay.finish()?;
    let folder_of = |n: &Namespace| {
        let own = || format!("namespaces/{}", n.name);
        plan.labels.get(&n.netns).map_or_else(own, |label| label.folder.clone())
    };
    let captures = memory.files.into_iter().filter_map(|(path, bytes)| {
        let folder = path.strip_suffix("/any.pcap")?.strip_prefix("captures/")?;
        let ns = plan.namespaces.iter().find(|n| folder_of(n) == folder)?;
        Some((format!("{}.any.pcap", file_name(&ns.name)), bytes))
    });
    let mut files: BTreeMap<String, Vec<u8>> = captures.collect();
    files.insert("ifmap".to_owned(), ifmap.into_bytes());
    Ok(Seen { case: Case { order: None, files }, commands: commands(plan, report.commands), state })
}

/// The numbers of the interfaces, as the script writes them.
fn interfaces(plan: &Plan, world: &World) -> String {
    let mut text = String::new();
    for n in &plan.namespaces {
        let Some(ns) = world.namespace(&n.name) else { continue };
        let m = world.machine(ns);
        for l in show::links(m.spaces(), ns, m.now()) {
            text += &format!("{} {} {}\n", file_name(&n.name), l.index, l.name);
        }
    }
    text
}

/// The commands in order of their entries, as the real ones are read; reports have them in order of their start.
fn commands(plan: &Plan, mut reports: Vec<CommandReport>) -> Vec<Heard> {
    let mut heard = vec![];
    for entry in &plan.traffic {
        let Some((from, command)) = entry.what() else { continue };
        for _ in 0..starts(entry) {
            let mut one = Heard { from: from.to_owned(), command: command.to_owned(), ..Heard::default() };
            if let Some(at) = reports.iter().position(|r| r.from == from && r.command == command) {
                let report = reports.remove(at);
                (one.exit, one.output) = (report.exit, report.output);
            }
            heard.push(one);
        }
    }
    heard
}
