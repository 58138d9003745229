//! A scenario with everything looked up: what is left is to run it.

use super::diag::{Diagnostics, SourceFile};
use crate::base::files::Files;
use crate::base::{Mac, MachineId, Time};
use crate::cluster::control_plane::{ControlPlane, Event};
use crate::engine::{Config, LinkChange, LinkSpec};
use crate::kernel::cred::Cred;
use crate::kernel::frame::PacketType;
use crate::kernel::netlink::NudState;
use crate::kernel::profile::Profile;
use crate::lab::Command;
use crate::observe::filter::Filters;
use crate::observe::names::Labels;
use crate::user::Server;
use crate::user::scripted::Step;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A scenario, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// metadata.name
    pub name: String,
    /// metadata.description
    pub description: String,
    /// Seed, start, jiffies, limits.
    pub config: Config,
    /// spec.duration: when the run ends. Left out: half a second after the last program.
    pub duration_ns: Option<u64>,
    /// All machines but the first, whose Linux stands in `config`.
    pub machines: Vec<Machine>,
    /// What joins them, in file order.
    pub links: Vec<Link>,
    /// The namespaces: those of switches, those of routers, all others; each in file order.
    pub namespaces: Vec<Namespace>,
    /// How people call the namespaces of nodes and pods.
    pub labels: Labels,
    /// What happens, in file order.
    pub traffic: Vec<Traffic>,
    /// What is done to it meanwhile, in file order.
    pub faults: Vec<Fault>,
    /// Who sees to the cluster while it runs; none if nothing changes it.
    pub control_plane: Option<ControlPlane>,
    /// The namespaces that come during the run: those of pods that are made then.
    pub later: Vec<String>,
    /// What must have happened.
    pub expect: Vec<Expect>,
    /// What is allowed and hardly meant.
    pub warnings: Diagnostics,
    /// What manifests have that does nothing here, a line for each object.
    pub without_effect: Vec<String>,
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Which Linux it runs.
    pub profile: Profile,
}

/// A namespace and the commands that set it up.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// What people call it.
    pub name: String,
    /// What its machine calls it.
    pub netns: String,
    /// The machine whose kernel it belongs to.
    pub machine: MachineId,
    /// It is the machine's own: the machine has a name, and so has its namespace.
    pub own: bool,
    /// Run in this order before the traffic.
    pub setup: Vec<Line>,
    /// What the servers have to serve.
    pub files: Arc<Files>,
    /// Processes that only sleep, by their command lines. They are there before the servers.
    pub sleepers: Vec<String>,
    /// Started in this order when all namespaces are set up.
    pub servers: Vec<ServerLine>,
}

/// A link between two new interfaces.
#[derive(Clone, Debug)]
pub struct Link {
    /// The interfaces.
    pub ends: [Place; 2],
    /// What the physical nics are called where the interfaces are synthetic ones.
    pub vfs: [Option<String>; 2],
    /// What it is like; none for a veth pair, on one kernel.
    pub spec: Option<LinkSpec>,
    /// The file that it stands in.
    pub source: SourceFile,
    /// Where it stands there, in bytes.
    pub span: std::ops::Range<usize>,
}

/// A server with its text.
#[derive(Clone, Debug)]
pub struct ServerLine {
    /// As written, without what says as whom it runs.
    pub text: String,
    /// As whom it runs.
    pub cred: Cred,
    /// As understood.
    pub server: Server,
    /// The file that it stands in.
    pub source: SourceFile,
    /// Where it stands there, in bytes.
    pub span: std::ops::Range<usize>,
}

/// A command with its text.
#[derive(Clone, Debug)]
pub struct Line {
    /// As written. Nodes of a cluster share it.
    pub text: Arc<str>,
    /// As understood.
    pub command: Command,
    /// The file that it stands in: the scenario, or one that it names.
    pub source: SourceFile,
    /// Where it stands there, in bytes.
    pub span: std::ops::Range<usize>,
}

/// An entry of `traffic:`.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// A program.
    Run(Box<Run>),
    /// A script.
    Script(Script),
    /// Nothing for so long, in nanoseconds.
    Sleep(u64),
}

impl Traffic {
    /// The time of its own that it begins at, if it has one.
    #[must_use]
    pub fn at(&self) -> Option<Time> {
        match self {
            Traffic::Run(run) => run.at,
            Traffic::Script(script) => script.at,
            Traffic::Sleep(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self) -> Option<&mut Time> {
        match self {
            Traffic::Run(run) => run.at.as_mut(),
            Traffic::Script(script) => script.at.as_mut(),
            Traffic::Sleep(_) => None,
        }
    }

    /// In which namespace it runs, and what: a command line, or a script's name. None if nothing does.
    #[must_use]
    pub fn what(&self) -> Option<(&str, &str)> {
        match self {
            Traffic::Run(run) => Some((&run.from, &run.line.text)),
            Traffic::Script(script) => Some((&script.from, &script.name)),
            Traffic::Sleep(_) => None,
        }
    }
}

/// An entry of `faults:`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub at: Time,
    /// What is done.
    pub action: Action,
}

/// What a fault does.
#[derive(Clone, Debug)]
pub enum Action {
    /// A link changes.
    Link {
        /// Which, as [`World::change_link`](crate::engine::World::change_link) counts them.
        link: usize,
        /// How.
        change: LinkChange,
        /// What reports say.
        text: String,
        /// When that is over, how it changes then, and what reports say.
        after: Option<(Time, LinkChange, String)>,
    },
    /// Somebody changes an object of the cluster.
    Cluster(Event),
}

/// A script that is started.
#[derive(Clone, Debug)]
pub struct Script {
    /// In which namespace.
    pub from: String,
    /// What expectations and reports call it.
    pub name: String,
    /// Its lines.
    pub lines: Arc<[Step]>,
    /// When; left out, 15 ms after the one before has ended.
    pub at: Option<Time>,
    /// The next one does not wait for it.
    pub background: bool,
}

/// A program that is started.
#[derive(Clone, Debug)]
pub struct Run {
    /// In which namespace.
    pub from: String,
    /// What.
    pub line: Line,
    /// When; left out, 15 ms after the one before has ended.
    pub at: Option<Time>,
    /// It is started again and again.
    pub repeat: Option<Repeat>,
    /// The next one does not wait for it.
    pub background: bool,
}

/// How a command is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repeat {
    /// From one start to the next, in nanoseconds.
    pub every_ns: u64,
    /// How often in all.
    pub count: u64,
}

/// An entry of `expect:`, with the line that it stands on.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Line number in the file, from 1.
    pub line: usize,
    /// As it is written, in short.
    pub text: String,
    /// What is expected.
    pub check: Check,
}

/// A number that must lie between two others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// At least this.
    pub min: u64,
    /// At most this.
    pub max: u64,
}

impl Range {
    /// Whether `n` lies in it.
    pub fn holds(self, n: u64) -> bool {
        (self.min..=self.max).contains(&n)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.min, self.max) {
            (a, b) if a == b => write!(f, "{a}"),
            (a, u64::MAX) => write!(f, "at least {a}"),
            (0, b) => write!(f, "at most {b}"),
            (a, b) => write!(f, "{a} to {b}"),
        }
    }
}

/// A device of a namespace, or all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// The device; `any` for all.
    pub device: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.device)
    }
}

/// What is expected of a run.
#[derive(Clone, Debug)]
pub enum Check {
    /// So many records of a capture match.
    Count {
        /// Which capture.
        place: Place,
        /// Which of its records; all of them without a filter.
        filter: Filters,
        /// Only these.
        direction: Option<PacketType>,
        /// How many.
        count: Range,
    },
    /// The records of a capture that match `filter` match these, one by one, and no more come.
    Sequence {
        /// Which capture.
        place: Place,
        /// Which of its records.
        filter: Filters,
        /// Only these.
        direction: Option<PacketType>,
        /// In order, with the text of each.
        sequence: Vec<(String, Filters)>,
    },
    /// How a command of `traffic:` ended.
    Command {
        /// Its text.
        command: String,
        /// Where it ran.
        from: Option<String>,
        /// Which of its runs, counted from 1.
        nth: u64,
        /// Its exit status.
        exit: Option<i32>,
        /// Texts that stand in its output, in this order.
        stdout: Vec<String>,
    },
    /// A bridge's forwarding database.
    Fdb {
        /// The bridge.
        place: Place,
        /// When; at the end if left out.
        at: Option<Time>,
        /// Addresses with their port.
        has: Vec<(Mac, Option<String>)>,
        /// Addresses that are not there.
        lacks: Vec<Mac>,
    },
    /// A device's neighbours.
    Neigh {
        /// The device.
        place: Place,
        /// When; at the end if left out.
        at: Option<Time>,
        /// Addresses with hardware address and state.
        has: Vec<(Ipv4Addr, Option<Mac>, Option<NudState>)>,
        /// Addresses that are not there.
        lacks: Vec<Ipv4Addr>,
    },
    /// A device's counters.
    Counters {
        /// The device.
        place: Place,
        /// When; at the end if left out.
        at: Option<Time>,
        /// Names as in the file: `rxPackets`.
        values: Vec<(&'static str, Range)>,
    },
    /// The way of the first packet that a filter matches.
    Journey {
        /// The capture where it is looked for.
        place: Place,
        /// Which packet.
        filter: Filters,
        /// All its records in order: `namespace/device direction`.
        hops: Vec<String>,
    },
    /// The run ends at this limit.
    Limit(&'static str),
}
