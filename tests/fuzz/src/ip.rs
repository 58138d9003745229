//! Command lines as a person types them: each line is read, printed, read back, and run in a small lab.

use std::sync::LazyLock;

use sim_core::base::{NsId, Time};
use sim_core::engine::{Config, Limits, Stopped, World};
use sim_core::kernel::netlink::Request;
use sim_core::kernel::trace::Mute;
use sim_core::lab::iptables::Task;
use sim_core::lab::{self, Action, Command, print};

/// A lab is stopped after this much.
const LIMITS: Limits = Limits { chain_frames: 500, frames: 5_000, events: 5_000 };
/// Lines of an input that are run.
const MAX_LINES: usize = 16;
/// A command may take so long, in simulated time.
const MAX_NS: u64 = 20_000_000_000;

/// Two pods on a bridge.
const SET_UP: &str = "ip netns add p1
ip link add br0 address 02:00:00:00:00:01 type bridge
ip link add v1 address 02:00:00:00:00:02 type veth peer name eth0 address 02:00:00:00:00:03 netns p1
ip link set v1 master br0 up
ip link set br0 up
ip link set lo up
ip addr add 10.0.0.1/24 dev br0
ip -n p1 link set eth0 up
ip -n p1 addr add 10.0.0.2/24 dev eth0
ip -n p1 route add default via 10.0.0.1
ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev br0
ip rule add from 10.0.0.0/8 lookup 100
ip route add 10.9.0.0/16 via 10.0.0.2 table 100
ping -c1 10.0.0.2";

static LAB: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::new(Config { limits: LIMITS, ..Config::default() });
    let first = Request::NetnsAdd { name: "node".to_owned() };
    world.configure(NsId::default(), &first, &mut Mute).expect("the first namespace");
    for line in SET_UP.lines() {
        let command = lab::parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(perform(&mut world, command), "{line}");
    }
    world
});

/// Reads the lines and runs those that are commands.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut world = None;
    for line in text.lines().take(MAX_LINES) {
        match lab::parse(line) {
            Ok(command) => {
                reads_back(&command);
                if !perform(world.get_or_insert_with(|| LAB.clone()), command) {
                    return;
                }
            }
            Err(e) => assert!(line.get(e.span.clone()).is_some(), "{:?} is not in {line:?}", e.span),
        }
    }
    for machine in world.iter().flat_map(World::machines) {
        let (made, ended, waiting) = machine.balance();
        assert_eq!(made, ended + waiting as u64, "a frame is lost");
    }
}

/// The requests of a command print as commands that make the same requests.
fn reads_back(command: &Command) {
    for request in requests(&command.action) {
        let printed = print::command(&request);
        let again: Vec<Request> = printed.lines().flat_map(|line| parse(line, &printed)).collect();
        // What needs several commands is several requests then.
        if printed.lines().count() == 1 {
            assert_eq!(again, [request], "{printed}");
        } else {
            let twice: Vec<String> = again.iter().map(print::command).collect();
            assert_eq!(twice.join("\n"), printed);
        }
    }
}

fn parse(line: &str, printed: &str) -> Vec<Request> {
    let command = lab::parse(line).unwrap_or_else(|e| panic!("{printed:?} does not read back: {e}"));
    requests(&command.action)
}

fn requests(action: &Action) -> Vec<Request> {
    match action {
        Action::Requests(r) => r.requests.clone(),
        Action::Sysctl(s) => {
            let write = |v: &lab::Variable| Some(Request::Sysctl { name: v.name.clone(), value: v.value.clone()? });
            s.variables.iter().filter_map(write).collect()
        }
        Action::Iptables(call) => match &call.task {
            Task::Command(command) => command.as_ref().as_ref().map_or(vec![], |command| {
                vec![Request::Iptables { backend: call.backend, command: Box::new(command.clone()) }]
            }),
            Task::Save { .. } | Task::Restore(_) => vec![],
        },
        Action::Show { .. }
        | Action::Cat(_)
        | Action::Conntrack(_)
        | Action::Ipset(_)
        | Action::User(_)
        | Action::Nc(_) => vec![],
    }
}

/// Runs a command for a while; false if the lab is not to be used any more.
fn perform(world: &mut World, command: Command) -> bool {
    let Some(here) = world.namespace("node") else { return false };
    let ns = command.start_ns(world.machine(here).spaces(), here);
    let now = world.machine(ns).now();
    let Some(pid) = world.spawn(ns, command.into_program(), Time(0)) else { return false };
    match world.run(Time(now.0.saturating_add(MAX_NS)), &mut Mute) {
        Ok(Stopped::Exit(_, ended)) => world.reap(ns, pid).is_some() && ended == pid,
        Ok(Stopped::Time) => true,
        Err(_) => false,
    }
}
