//! iptables: a text whose first word is one of its programs is a command on each line, any other is a text of
//! iptables-restore.

use sim_core::kernel::netfilter::matches::Match;
use sim_core::kernel::netfilter::parse::MAX_CHAIN_NAME;
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::rule::Iface;
use sim_core::kernel::netfilter::save::Options;
use sim_core::kernel::netfilter::{Backend, Iptables};
use sim_core::lab::iptables::{self, Task};
use sim_core::lab::lex;

/// Feeds both backends; what they save afterwards restores to the same.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for backend in [Backend::Legacy, Backend::Nft] {
        let mut rules = Iptables::new(backend);
        if text.starts_with("iptables") {
            text.lines().for_each(|line| command(&mut rules, line));
        } else {
            let _ = rules.restore(&restore(&text));
        }
        let saved = save(&rules);
        if !saved.lines().all(|line| line == "COMMIT" || line.starts_with(['*', ':', '['])) {
            // An open quote takes the end of the line into a comment, as in the real tool, whose text does not restore
            // either then.
            continue;
        }
        let mut chains = saved.lines().filter_map(|line| line.strip_prefix(':'));
        if chains.any(|c| {
            c.split(' ').count() != 3
                || c.find(' ') >= Some(MAX_CHAIN_NAME)
                || c.starts_with(['-', '!', ' '])
                || c.contains('\t')
        }) {
            // -E gives names that nothing else takes, as the real tool does.
            continue;
        }
        if odd_device(&rules) {
            // A device's name is never quoted, here or there.
            continue;
        }
        let mut again = Iptables::new(backend);
        if let Err((line, e)) = again.restore(&restore(&saved)) {
            panic!("{backend:?}: what was saved does not restore, line {line}: {e:?}\n{saved}");
        }
        // The legacy backend prints the table that was used last first.
        assert_eq!(tables(&save(&again)), tables(&saved), "{backend:?}");
    }
}

fn command(rules: &mut Iptables, line: &str) {
    let Ok(words) = lex::words(line) else { return };
    match iptables::parse(&words) {
        Ok(call) => perform(rules, call.task),
        Err(e) => assert!(line.get(e.span.clone()).is_some(), "{:?} is not in {line:?}", e.span),
    }
}

/// What the kernel does for a call. Whatever it refuses is refused as a whole.
fn perform(rules: &mut Iptables, task: Task) {
    match task {
        Task::Command(command) => {
            let _ = command.and_then(|command| rules.run(command));
        }
        Task::Save { counters, table } => {
            let _ = rules.save(Options { counters, table: table.as_deref(), generated: None });
        }
        Task::Restore(asked) => {
            let text = "*nat\n:X - [0:0]\n-A X -j MASQUERADE\nCOMMIT\n".to_owned();
            let _ = rules.restore(&Restore { text, ..(*asked).clone() });
        }
    }
}

/// A rule asks for a device whose name is no word of a text.
fn odd_device(rules: &Iptables) -> bool {
    let odd = |dev: &Iface| dev.name().contains(|c: char| c.is_whitespace() || "\"'\\".contains(c));
    let mut rules = rules.tables().flat_map(|(table, _)| table.chains()).flat_map(|c| &c.rules).map(|slot| &slot.rule);
    rules.any(|rule| {
        let physical = rule.matches.iter().filter_map(|m| if let Match::Physdev(m) = m { Some(m) } else { None });
        let bridged = physical.flat_map(|m| m.input.iter().chain(&m.output)).map(|(dev, _)| dev);
        [&rule.conditions.input, &rule.conditions.output].into_iter().chain(bridged).any(odd)
    })
}

fn restore(text: &str) -> Restore {
    Restore { counters: true, text: text.to_owned(), ..Restore::default() }
}

fn save(rules: &Iptables) -> String {
    rules.save(Options { counters: true, ..Options::default() }).expect("no table is asked for")
}

fn tables(saved: &str) -> Vec<&str> {
    let mut tables: Vec<&str> = saved.split_inclusive("COMMIT\n").collect();
    tables.sort_unstable();
    tables
}
