//! What runs exercise that the real kernel was asked about, too: matches, targets, states of connections, reasons to
//! drop, kinds of ICMP messages.

use crate::lab::{self, Workload};
use crate::{drill, live, nightly, scenarios};
use podhop_parity::judge::decode::{ICMP_NAMES, read_pcap};
use regex::Regex;
use sim_core::kernel::conntrack::TcpState;
use sim_core::kernel::netfilter::{matches, targets};
use sim_core::kernel::trace::{CtLabel, DropReason};
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::{self, Disk, Options, Plan};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;

/// How often what was exercised: `cargo xtask coverage`.
#[derive(Clone, Debug)]
pub struct Table {
    random: Coverage,
    lessons: Coverage,
    recorded: Coverage,
    live: Coverage,
    scripts: Coverage,
}

impl Table {
    /// What the random cases of these seeds exercise, the scenarios that `podhop parity` takes, the recorded cases that
    /// come out the same here, the live labs that lie in a folder ([`live::WRITE_TO`]), and the scripts of TCP.
    ///
    /// # Panics
    /// One of them does not run.
    #[must_use]
    pub fn of(seeds: Range<u64>, labs: &[String]) -> Self {
        let root = scenarios::root();
        let files = scenarios::all();
        let load = |file: &PathBuf| podhop_parity::load(&Disk, &root.join(file), None).ok();
        Table {
            random: sum(&seeds.collect::<Vec<_>>(), |seed| Some(nightly::plan_of(*seed))),
            lessons: sum(&files, load),
            recorded: sum(&lab::workloads(), |w: &Workload| Some(lab::plan(w))),
            live: sum(labs, |text: &String| Some(live::plan("live", text))),
            scripts: Coverage::of_scripts(),
        }
    }

    /// What nothing has exercised, by kind and name.
    #[must_use]
    pub fn missing(&self) -> Vec<(&'static str, &str)> {
        let columns = [&self.random, &self.lessons, &self.recorded, &self.live, &self.scripts];
        let none =
            |row: &&(&'static str, String)| columns.iter().all(|c| c.0.get(*row).is_none_or(|times| *times == 0));
        self.random.0.keys().filter(none).map(|(kind, name)| (*kind, name.as_str())).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | which | random | lessons | recorded | live | scripts |\n|---|---|---|---|---|---|---|")?;
        for (row, times) in &self.random.0 {
            let others = [&self.lessons, &self.recorded, &self.live, &self.scripts];
            let [lessons, recorded, live, scripts] = others.map(|c| c.0.get(row).copied().unwrap_or(0));
            writeln!(f, "| {} | {} | {times} | {lessons} | {recorded} | {live} | {scripts} |", row.0, row.1)?;
        }
        Ok(())
    }
}

/// What these runs exercise.
fn sum<T: Sync>(all: &[T], plan: impl Fn(&T) -> Option<Plan> + Sync) -> Coverage {
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let each = live::side_by_side(at_once, all, |one| plan(one).map(|plan| Coverage::of(&plan)));
    let mut sum = Coverage::default();
    each.into_iter().flatten().for_each(|one| sum.add(one));
    sum
}

/// How often what was exercised, by kind and name.
#[derive(Clone, Debug)]
struct Coverage(BTreeMap<(&'static str, String), u64>);

/// What no lab of real namespaces shows, and why.
const NOT_SHOWN: [(&str, &str); 13] = [
    ("LINK_LOSS", "links between real namespaces lose nothing"),
    ("QDISC_OVERLIMIT", "there is no physical nic"),
    ("CPU_BACKLOG", "net.core.netdev_max_backlog belongs to the whole machine"),
    ("NEIGH_CREATEFAIL", "net.ipv4.neigh.default.gc_thresh3 belongs to the whole machine"),
    ("NF_CONNTRACK_TABLE_FULL", "net.netfilter.nf_conntrack_max belongs to the whole machine"),
    ("PROTO_MEM", "net.ipv4.tcp_mem belongs to the whole machine"),
    ("SOCKET_BACKLOG", "the sender overruns the window while a system call works on the socket, on another processor"),
    ("TCP_ZEROWINDOW", "a window of zero means that data waits, and then TCP_INVALID_END_SEQUENCE comes first"),
    ("DEV_READY", "a device that is down has no carrier and no routes: only what is on its way just then meets one"),
    (
        "TCP_OLD_ACK",
        "it lies just before a number that the kernel draws: tests/tcp/simultaneous_open_old_ack.txt shows it",
    ),
    ("TC_INGRESS", "eBPF programs are not exported"),
    ("TC_EGRESS", "eBPF programs are not exported"),
    ("TUNNEL_TXINFO", "eBPF programs are not exported"),
];

impl Default for Coverage {
    /// Everything that there is, and nothing of it exercised.
    fn default() -> Self {
        let mut all = Coverage(BTreeMap::new());
        matches::NAMES.iter().for_each(|name| all.count("match", name, 0));
        targets::NAMES.iter().for_each(|name| all.count("target", name, 0));
        CtLabel::ALL.iter().for_each(|state| all.count("state of a packet", state.name(), 0));
        // Before its first segment a connection has no state; nobody sees it then.
        let states = TcpState::ALL.iter().filter(|state| **state != TcpState::None);
        states.for_each(|state| all.count("state of a connection", state.name(), 0));
        let shown = DropReason::ALL.iter().filter(|r| NOT_SHOWN.iter().all(|(name, _)| *name != r.name()));
        shown.for_each(|reason| all.count("drop reason", reason.name(), 0));
        ICMP_NAMES.iter().for_each(|(_, name)| all.count("ICMP", name, 0));
        all
    }
}

impl Coverage {
    fn count(&mut self, kind: &'static str, name: &str, times: u64) {
        *self.0.entry((kind, name.to_owned())).or_default() += times;
    }

    /// What a run of a plan exercises. States of connections are those that commands in it show: `conntrack -E`.
    fn of(plan: &Plan) -> Self {
        let mut all = Coverage::default();
        let mut memory = Memory::default();
        let outputs = Outputs { captures: true, trace: true, ..Outputs::NONE };
        let options = Options { outputs, ..Options::default() };
        let report = scenario::run(plan, &mut memory, options, &mut ()).unwrap_or_else(|e| panic!("{e:?}"));
        for (name, bytes) in &memory.files {
            if name == "trace.jsonl" {
                String::from_utf8_lossy(bytes).lines().for_each(|line| all.step(line));
            } else if name.ends_with("any.pcap") {
                all.icmp(bytes);
            }
        }
        let events = report.commands.iter().filter(|c| c.command.starts_with("conntrack -E"));
        events.flat_map(|c| c.output.lines()).for_each(|line| all.event(line));
        all
    }

    /// Why the scripts of TCP lose frames.
    fn of_scripts() -> Self {
        let mut all = Coverage::default();
        for path in drill::scripts() {
            let lost = drill::run(&path).unwrap_or_else(|e| panic!("{e}"));
            lost.iter().for_each(|reason| all.count("drop reason", reason.name(), 1));
        }
        all
    }

    fn step(&mut self, line: &str) {
        static MATCH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-m (\w+)").expect("it is one"));
        static TARGET: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-j (\w+)").expect("it is one"));
        let step: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        if let Some(rule) = step["rule"].as_str() {
            MATCH.captures_iter(rule).for_each(|m| self.count("match", &m[1], 1));
            let targets = TARGET.captures_iter(rule).filter(|t| targets::NAMES.contains(&&t[1]));
            targets.for_each(|t| self.count("target", &t[1], 1));
        }
        if step["what"] == "conntrack" {
            self.count("state of a packet", step["state"].as_str().unwrap_or_default(), 1);
        }
        if let Some(reason) = step["reason"].as_str() {
            self.count("drop reason", reason, 1);
        }
    }

    fn event(&mut self, line: &str) {
        static STATE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r" tcp +6(?: \d+)? (\w+)").expect("it is one"));
        STATE.captures(line).into_iter().for_each(|state| self.count("state of a connection", &state[1], 1));
    }

    fn icmp(&mut self, pcap: &[u8]) {
        for record in read_pcap(pcap).unwrap_or_default() {
            let Some((_, message)) = record.text.split_once(": ICMP ") else { continue };
            let names = ICMP_NAMES.iter().filter(|(_, name)| message.starts_with(*name));
            names.for_each(|(_, name)| self.count("ICMP", name, 1));
        }
    }

    fn add(&mut self, other: Self) {
        other.0.into_iter().for_each(|((kind, name), times)| self.count(kind, &name, times));
    }
}
