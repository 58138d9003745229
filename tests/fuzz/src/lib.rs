//! What podhop reads, fed with anything. A target takes bytes and panics where a promise is broken: no panic and no
//! hang whatever the input, and what is printed reads back.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer; `cargo test -p podhop-fuzz` tries what is kept in `corpus/`.

pub mod corpus;
mod eval;
mod filter;
mod ip;
mod iptables;
mod packet;
mod scenario;

/// The environment variable that names the target of a fuzzing process.
pub const TARGET: &str = "PODHOP_FUZZ_TARGET";

/// The longest input that is tried, in bytes: no target finds more in a longer one.
pub const MAX_INPUT: usize = 4096;

/// Something that takes any bytes.
pub struct Target {
    /// Its name: of its corpus, of its dictionary, on the command line.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// Tries an input; panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "iptables",
        about: "iptables command lines and texts of iptables-restore, on both backends",
        run: iptables::run,
    },
    Target {
        name: "ip",
        about: "command lines of ip, bridge, sysctl, ethtool, conntrack, ping and arping",
        run: ip::run,
    },
    Target { name: "filter", about: "capture filters, and packets for them", run: filter::run },
    Target { name: "scenario", about: "scenario files", run: scenario::run },
    Target { name: "eval", about: "dumps of a node and assertions, and packets through it", run: eval::run },
    Target { name: "packet", about: "frames on a veth", run: packet::run },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}
