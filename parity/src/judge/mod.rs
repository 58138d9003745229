//! The comparison with the real kernel: does a run show what the kernel showed in the same case?
//!
//! A port of `tests/oracles/judge.py`, which stays beside it unchanged: both give the same verdict in the same words,
//! and a test holds them against each other.
//!
//! What is free, and therefore removed: times, ephemeral ports and IP ids (named by order of appearance, so that hops
//! and fragments of one packet share theirs; zero stays zero), initial sequence numbers, TCP timestamps (but an echoed
//! one that the peer never sent, and one that falls, are marked), ICMP echo ids, conntrack ids, and a surplus of ARP
//! at the end of one side, since runs end a little earlier or later. Everything else must be equal, in order:
//! namespace, interface, direction, addresses, well-known ports, flags, relative seq and ack, window, options and
//! their order, length, TTL, DF, MF, offset, TOS, checksum state, ICMP quotes, ARP fields with MACs; and, where both
//! sides have them, conntrack events and rule counters.

mod bulk;
mod canon;
mod compare;
pub mod decode;
mod difflib;
mod events;
mod rows;
mod steady;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::{fmt, fs, io};

pub use bulk::compare_bulk;
pub use canon::canon;
pub use compare::{FirstDifference, compare, first_differences};
pub use events::is_counter;
pub use steady::compare_steady;

/// One case: what was seen while one workload ran, either a recording or captures of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// `order.txt`: the merged rows of all namespaces. Where it is there, captures are not looked at.
    pub order: Option<String>,
    /// The other files by name: `NS.any.pcap` with `ifmap` ("NS INDEX NAME" a line), `NODE.ctevents` (what
    /// `conntrack -E` prints), `state.diff` (its `+[packets:bytes] -A` lines are the rules that counted), `cmd.log`.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Case {
    /// Reads the files of a case from its folder; what the judge has no use for is left out.
    ///
    /// # Errors
    /// Those of reading the folder and its files.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let mut case = Self::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ORDER {
                case.order = Some(String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
            } else if is_part_of_case(&name) {
                case.files.insert(name, fs::read(entry.path())?);
            }
        }
        Ok(case)
    }

    /// A file as text; bytes that are not UTF-8 are replaced.
    fn text(&self, name: &str) -> Option<String> {
        self.files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

/// What to compare, and how strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What makes one sequence of records.
    pub by: By,
    /// Gaps over 0.15 s must agree within 2 % + 25 ms (ARP, RTO and SYN timers), and gaps over 30 ms before a bare
    /// ACK within 2 % + 12 ms (delayed ACK).
    pub times: bool,
    /// So much more they may differ by.
    pub slack: Duration,
    /// Our side must have the conntrack events and rule counters that the recording has.
    pub strict: bool,
    /// These namespaces only; empty means all.
    pub namespaces: Vec<String>,
    /// The edges of SACK blocks are relative, as sequence numbers are: `judge.py` leaves them as they are.
    pub sacks: bool,
    /// When neighbours are asked is left out, but for what all of a link hear: only whether it was asked is compared,
    /// at the end. Whether a neighbour is asked again after five seconds depends on the phase of the kernel's timers.
    pub neighbours_at_any_time: bool,
    /// Payload lengths of UDP to and from this port are free (another server's answers).
    pub free_length: Option<u16>,
}

/// What makes one sequence of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// A namespace, as `tcpdump -i any` shows it.
    #[default]
    Namespace,
    /// An interface of a namespace: weaker, the order between interfaces is free.
    Interface,
}

/// Why a case can't be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BadCase(String);

impl fmt::Display for BadCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the file with the merged rows.
pub const ORDER: &str = "order.txt";
/// The name of the file whose `+[packets:bytes] -A` lines are the rules that counted.
pub const STATE: &str = "state.diff";
/// The name of the file that maps interface numbers to names.
pub const IFMAP: &str = "ifmap";

/// Is it one of the files, besides [`ORDER`], that a case is made of?
#[must_use]
pub fn is_part_of_case(name: &str) -> bool {
    [IFMAP, STATE, "cmd.log"].contains(&name) || name.ends_with(".ctevents") || name.ends_with(".any.pcap")
}

/// The lines of a text file; a blank line more or less has no meaning in any of them.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r']).filter(|line| !line.is_empty())
}
