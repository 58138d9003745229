//! What runs exercise: matches, targets, states of connections, reasons to drop, kinds of ICMP messages.

use podhop_parity::judge::decode::{ICMP_NAMES, read_pcap};
use regex::Regex;
use sim_core::kernel::conntrack::TcpState;
use sim_core::kernel::netfilter::{matches, targets};
use sim_core::kernel::trace::{CtLabel, DropReason};
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::{self, Options, Plan};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// How often what was exercised, by kind and name.
#[derive(Clone, Debug)]
pub struct Coverage(BTreeMap<(&'static str, String), u64>);

/// What no lab of real namespaces shows, and why.
const NOT_SHOWN: [(&str, &str); 5] = [
    ("LINK_LOSS", "links between real namespaces lose nothing"),
    ("QDISC_OVERLIMIT", "there is no physical nic"),
    ("CPU_BACKLOG", "net.core.netdev_max_backlog belongs to the whole machine"),
    ("NF_CONNTRACK_TABLE_FULL", "net.netfilter.nf_conntrack_max belongs to the whole machine"),
    ("PROTO_MEM", "net.ipv4.tcp_mem belongs to the whole machine"),
];

impl Default for Coverage {
    /// Everything that there is, and nothing of it exercised.
    fn default() -> Self {
        let mut all = Coverage(BTreeMap::new());
        matches::NAMES.iter().for_each(|name| all.count("match", name, 0));
        targets::NAMES.iter().for_each(|name| all.count("target", name, 0));
        CtLabel::ALL.iter().for_each(|state| all.count("state of a packet", state.name(), 0));
        TcpState::ALL.iter().for_each(|state| all.count("state of a connection", state.name(), 0));
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
    ///
    /// # Panics
    /// Its set-up fails.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
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

    fn step(&mut self, line: &str) {
        static MATCH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-m (\w+)").expect("it is one"));
        static TARGET: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-j (\w+)").expect("it is one"));
        let step: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        if let Some(rule) = step["rule"].as_str() {
            MATCH.captures_iter(rule).for_each(|m| self.count("match", &m[1], 1));
            let targets = TARGET.captures_iter(rule).filter(|t| targets::NAMES.contains(&&t[1]));
            targets.for_each(|t| self.count("target", &t[1], 1));
        }
        if step["step"] == "conntrack" {
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

    /// What several runs exercise.
    pub fn add(&mut self, other: Self) {
        other.0.into_iter().for_each(|((kind, name), times)| self.count(kind, &name, times));
    }
}

impl fmt::Display for Coverage {
    /// A table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | which | how often |\n|---|---|---|")?;
        self.0.iter().try_for_each(|((kind, name), times)| writeln!(f, "| {kind} | {name} | {times} |"))
    }
}
