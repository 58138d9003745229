//! Which of the judge's comparisons holds for which case, and what it says.

use crate::lab::Workload;
use crate::recordings::{Lab, Stability, stable};
use podhop_parity::judge::{self, Case, Options};

/// The file of a case that has the counters of rules.
pub const RULE_COUNTERS: &str = "state.diff";

/// Cases in which the kernel draws at random: the same kinds of records, and probes within Linux's ranges.
const STEADY: [&str; 2] = ["arp_steady", "link_down"];

/// The case in which names are asked for over TCP: other lengths are other sequence numbers, too.
const OVER_TCP: &str = "dns_tcp";

/// Cases that no two runs of the kernel show alike in every segment, since it depends on the processor when readers
/// read. TCP's own part of them is compared.
const BULK: [(&str, &str); 23] = [
    ("labA-off", "delack"),
    ("labA-off", "mtu_1400"),
    ("labA-off", "tcp_abort"),
    ("labA-off", "tcp_big"),
    ("labA-off", "upload"),
    ("labA-off-k618", "tcp_big"),
    ("labA-off-legacy", "tcp_big"),
    ("labA-off-nf0", "tcp_big"),
    ("labA-on", "delack"),
    ("labA-on", "tcp_abort"),
    ("labB-off", "delack"),
    ("labB-off", "mtu_1400"),
    ("labB-off", "tcp_abort"),
    ("labB-off", "tcp_big"),
    ("labB-off", "tcp_big_same"),
    ("labB-off", "upload"),
    ("labB-off", "vx_podmtu1500"),
    ("labB-on", "delack"),
    ("labB-on", "mtu_1400"),
    ("labB-on", "tcp_abort"),
    ("labB-on", "tcp_big"),
    ("labB-on", "upload"),
    ("labB-on", "vx_podmtu1500"),
];

/// How a case is compared with its recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Record by record.
    Strict,
    /// The same; the answers are another name server's: dnsmasq's in the recordings, ours as CoreDNS's. What the client
    /// sees is compared, but for the lengths of the messages, which is why the rules count other bytes.
    Names,
    /// What the client sees, by interface, direction and flags.
    Shapes,
    /// [`judge::compare_bulk`]
    Bulk,
    /// [`judge::compare_steady`]
    Steady,
}

impl Way {
    /// That of a case.
    #[must_use]
    pub fn of(lab: &str, case: &str) -> Self {
        match case {
            _ if STEADY.contains(&case) => Way::Steady,
            _ if BULK.contains(&(lab, case)) => Way::Bulk,
            OVER_TCP => Way::Shapes,
            _ if case.starts_with("dns_") => Way::Names,
            _ => Way::Strict,
        }
    }
}

/// The kernel's timing agreed in both of its runs.
#[must_use]
pub fn times_are_stable(lab: &str, case: &str) -> bool {
    match stable().get(&format!("{lab}/{case}")) {
        Some(Stability::Equal { times }) => *times,
        // Either of the runs will do.
        Some(Stability::Differs { .. }) | None => true,
    }
}

/// What differs between a simulated case and its recording: nothing, if it shows what the real kernel showed.
///
/// # Panics
/// There is no recording of it.
#[must_use]
pub fn differences(w: &Workload, mut got: Case) -> Vec<String> {
    let (lab, case) = (&w.lab, &w.case);
    let recorded = Lab::load(lab);
    let want = recorded.case(case).expect("a recording");
    let second = recorded.second(case);
    let times = times_are_stable(lab, case);
    let options = match Way::of(lab, case) {
        Way::Steady => {
            let second = second.expect("a second recording");
            return judge::compare_steady(&want, &second, &got, case == "link_down");
        }
        Way::Bulk => return judge::compare_bulk(&want, second.as_ref(), &got),
        Way::Shapes => {
            let (want, got) = (shapes(&want), shapes(&got));
            return if want == got { vec![] } else { vec![format!("{want:#?}\n{got:#?}")] };
        }
        Way::Names => {
            got.files.remove(RULE_COUNTERS);
            Options { times, namespaces: vec!["p1a".to_owned()], free_length: Some(53), ..Options::default() }
        }
        Way::Strict => Options { times, strict: true, ..Options::default() },
    };
    judge::compare(&want, second.as_ref(), &got, &options)
}

/// What p1a sees, by interface, direction and flags.
fn shapes(case: &Case) -> Vec<String> {
    let options = Options { namespaces: vec!["p1a".to_owned()], ..Options::default() };
    let shape = |line: &str| {
        let flags = line.split_once("Flags [").and_then(|(_, rest)| rest.split(']').next());
        let words: Vec<&str> = line.split_whitespace().collect();
        match flags {
            Some(flags) => format!("{} [{flags}]", words[..words.len().min(2)].join(" ")),
            None => words.join(" "),
        }
    };
    judge::canon(case, &options).lines().map(shape).collect()
}
