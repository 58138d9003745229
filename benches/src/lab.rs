//! A network from the commands that build it: the same lines work in a shell on a real machine.

use sim_core::base::{NsId, Time};
use sim_core::engine::{Config, Limits, Program, Stopped, World};
use sim_core::kernel::netlink::Request;
use sim_core::kernel::trace::{Mute, Sink};
use sim_core::lab;

/// One command of a set-up.
#[derive(Clone, Debug)]
pub struct Step {
    /// The namespace to run it in.
    pub ns: &'static str,
    /// The command.
    pub command: String,
    /// What it reads from its standard input.
    pub input: Option<String>,
}

/// What builds a network.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Namespaces, to be made first.
    pub namespaces: Vec<&'static str>,
    /// Then these, in order.
    pub steps: Vec<Step>,
}

impl Setup {
    /// Adds commands, a line each, to run in `ns`.
    pub fn run(&mut self, ns: &'static str, lines: &str) {
        let commands = lines.lines().map(str::trim).filter(|l| !l.is_empty());
        self.steps.extend(commands.map(|l| Step { ns, command: l.to_owned(), input: None }));
    }

    /// Adds a command that reads `input`.
    pub fn feed(&mut self, ns: &'static str, command: &str, input: String) {
        self.steps.push(Step { ns, command: command.to_owned(), input: Some(input) });
    }
}

/// A simulated network.
pub struct Lab {
    /// Everything that is simulated.
    pub world: World,
}

impl Lab {
    /// Builds it.
    ///
    /// # Panics
    /// A command fails: the set-up is wrong.
    pub fn new(setup: &Setup) -> Self {
        let limits = Limits { frames: u64::MAX, events: u64::MAX, ..Limits::default() };
        let mut lab = Lab { world: World::new(Config { limits, ..Config::default() }) };
        for name in &setup.namespaces {
            let request = Request::NetnsAdd { name: (*name).to_owned() };
            lab.world.configure(NsId::default(), &request, &mut Mute).expect("a new namespace");
        }
        for step in &setup.steps {
            lab.step(step);
        }
        lab
    }

    /// The namespace called `name`.
    ///
    /// # Panics
    /// There is none.
    pub fn ns(&self, name: &str) -> NsId {
        self.world.namespace(name).unwrap_or_else(|| panic!("no namespace {name}"))
    }

    /// Starts a program in `ns`.
    ///
    /// # Panics
    /// There are too many.
    pub fn spawn(&mut self, ns: &str, program: Box<dyn Program>) {
        let ns = self.ns(ns);
        self.world.spawn(ns, program, Time(0)).expect("a place for a process");
    }

    /// Runs until `programs` programs have ended; their exit statuses in the order of their ends.
    ///
    /// # Panics
    /// Nothing is left to do before that.
    pub fn wait(&mut self, programs: usize, sink: &mut dyn Sink) -> Vec<i32> {
        let mut codes = Vec::with_capacity(programs);
        while codes.len() < programs {
            let Stopped::Exit(_, pid) = self.world.run(Time(u64::MAX), sink).expect("no limit is hit") else {
                panic!("{} of {programs} programs have ended", codes.len())
            };
            // There is one machine, so any namespace names it.
            let done = self.world.reap(NsId::default(), pid).expect("it has ended");
            assert!(done.code >= 0, "{}", done.console.all());
            codes.push(done.code);
        }
        codes
    }

    fn step(&mut self, step: &Step) {
        // A file stands for the standard input.
        let line = if step.input.is_some() { format!("{} input", step.command) } else { step.command.clone() };
        let text = step.input.as_deref().unwrap_or_default();
        let command = lab::parse_with(&line, &mut |_| Ok(text.to_owned()));
        let command = command.unwrap_or_else(|e| panic!("{line}: {e}"));
        let here = self.ns(step.ns);
        let start = command.start_ns(self.world.machine(here).spaces(), here);
        let pid = self.world.spawn(start, command.into_program(), Time(0)).expect("a place for a process");
        assert_eq!(self.world.run(Time(u64::MAX), &mut Mute), Ok(Stopped::Exit(start.machine(), pid)), "{line}");
        let done = self.world.reap(start, pid).expect("it has ended");
        assert_eq!(done.code, 0, "{line}: {}", done.console.all());
    }
}
