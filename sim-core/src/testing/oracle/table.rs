//! The counters of a table.

use super::{Held, Oracle};

/// Targets that end a packet's walk through a table.
const LAST: [&str; 7] = ["ACCEPT", "DROP", "REJECT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT"];

/// What came into a table ended in it: where each base chain begins with a rule without conditions and without a
/// target, which counts what comes, as many packets as these have counted were ended by rules and policies
/// (`ipt_do_table` of net/ipv4/netfilter/ip_tables.c). `save` is the text of `iptables-save -c`. A policy of nf_tables
/// counts once `iptables -P` has set it.
///
/// # Errors
/// The sums differ, or a base chain does not begin so.
pub fn counters_add_up(save: &str, table: &str) -> Held {
    let oracle = Oracle("counters_add_up", "ip_tables.c: ipt_do_table");
    let mut lines = save.lines().skip_while(|l| l.strip_prefix('*') != Some(table)).skip(1);
    let (mut came, mut ended, mut bases) = (0, 0, Vec::new());
    for line in lines.by_ref().take_while(|l| *l != "COMMIT") {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [chain, policy, counters] if chain.starts_with(':') && policy != "-" => {
                bases.push(&chain[1..]);
                ended += packets(counters);
            }
            // The first rule of a base chain.
            [counters, "-A", chain] if bases.contains(&chain) => {
                bases.retain(|b| *b != chain);
                came += packets(counters);
            }
            [_, "-A", chain, ..] if bases.contains(&chain) => break,
            [counters, "-A", ..] => {
                let target = words.iter().position(|w| *w == "-j").and_then(|at| words.get(at + 1));
                ended += if target.is_some_and(|t| LAST.contains(t)) { packets(counters) } else { 0 };
            }
            _ => {}
        }
    }
    oracle.holds(bases.is_empty(), || format!("{bases:?} do not begin with a rule that counts all:\n{save}"))?;
    oracle.holds(came == ended, || format!("{came} packets came into {table}, and {ended} ended there:\n{save}"))
}

/// The packets of `[PACKETS:BYTES]`.
fn packets(counters: &str) -> u64 {
    counters.trim_start_matches('[').split(':').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
