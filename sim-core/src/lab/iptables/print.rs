//! Requests about rules as the commands that a person would type.

use crate::kernel::netfilter::Backend;
use crate::kernel::netfilter::parse::{Action, Command, Counters};
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netfilter::rule::Rule;
use crate::lab::lex::quote;

/// A command of iptables. One about several rules, as a list of addresses makes them, becomes several, one a line.
pub(in crate::lab) fn command(backend: Option<Backend>, command: &Command) -> String {
    let mut head = program(backend, "");
    if command.table != "filter" {
        head += &format!(" -t {}", quote(&command.table));
    }
    let verbose = if command.verbose { " -v" } else { "" };
    // An option's argument that need not be there is no next word that looks like an option.
    let name = |chain: &Option<String>| {
        let blank = |c: &str| if c.starts_with(['-', '!']) { "" } else { " " };
        chain.as_ref().map_or(String::new(), |c| format!("{}{}", blank(c), quote(c)))
    };
    let number = |n: &Option<u32>| n.map_or(String::new(), |n| format!(" {n}"));
    let rules = |to: String, rules: &[Rule], counters: Counters| {
        let line = |r: &Rule| format!("{head} {to}{}{verbose}", rule(r, counters));
        rules.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let words = match &command.action {
        Action::Append(chain, r, counters) => return rules(format!("-A {}", quote(chain)), r, *counters),
        Action::Insert(chain, 1, r, counters) => return rules(format!("-I {}", quote(chain)), r, *counters),
        Action::Insert(chain, at, r, counters) => return rules(format!("-I {} {at}", quote(chain)), r, *counters),
        Action::Delete(chain, r) => return rules(format!("-D {}", quote(chain)), r, (0, 0)),
        Action::Check(chain, r) => return rules(format!("-C {}", quote(chain)), r, (0, 0)),
        Action::DeleteNumber(chain, n) => format!("-D {} {n}", quote(chain)),
        Action::Replace(chain, n, r, counters) => format!("-R {} {n}{}", quote(chain), rule(r, *counters)),
        Action::List(chain, n, format) => {
            let flags = [(format.numeric, " -n"), (format.exact, " -x"), (format.numbers, " --line-numbers")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
            format!("-L{}{}{flags}", name(chain), number(n))
        }
        Action::ListRules(chain, n) => format!("-S{}{}", name(chain), number(n)),
        Action::Flush(chain) => format!("-F{}", name(chain)),
        Action::Zero(chain, n) => format!("-Z{}{}", name(chain), number(n)),
        Action::New(chain) => format!("-N {}", quote(chain)),
        Action::DeleteChain(chain) => format!("-X{}", name(chain)),
        Action::Rename(from, to) => format!("-E {} {}", quote(from), quote(to)),
        Action::Policy(chain, policy, None) => format!("-P {} {}", quote(chain), quote(policy)),
        Action::Policy(chain, policy, Some((packets, bytes))) => {
            format!("-P {} {} -c {packets} {bytes}", quote(chain), quote(policy))
        }
        // A line of iptables-restore that is about IPv6: no command of iptables is.
        Action::Nothing => "-6".to_owned(),
    };
    format!("{head} {words}{verbose}")
}

/// iptables-restore with its text as a here-document.
pub(in crate::lab) fn restore(backend: Option<Backend>, restore: &Restore) -> String {
    let mut line = program(backend, "-restore");
    for (flag, set) in [(" -c", restore.counters), (" -n", restore.noflush), (" -t", restore.test)] {
        line += if set { flag } else { "" };
    }
    if let Some(table) = &restore.table {
        line += &format!(" -T {}", quote(table));
    }
    let taken = |end: &str| restore.text.lines().any(|l| l == end);
    let end = (0..).map(|n| if n == 0 { "EOF".to_owned() } else { format!("EOF{n}") }).find(|end| !taken(end));
    let end = end.unwrap_or_default();
    let text = &restore.text;
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{line} <<'{end}'\n{text}{newline}{end}\n")
}

fn program(backend: Option<Backend>, suffix: &str) -> String {
    format!("{}{suffix}", backend.map_or("iptables", Backend::program))
}

/// As iptables-save prints it, quoted for a shell.
fn rule(rule: &Rule, counters: Counters) -> String {
    let words = rule.words(Some(counters).filter(|c| *c != (0, 0)));
    words.iter().map(|w| format!(" {}", quote(w))).collect()
}
