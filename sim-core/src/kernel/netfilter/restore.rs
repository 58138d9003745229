//! iptables-restore(8): the text of iptables-save becomes tables, each as a whole at its COMMIT
//! (iptables/iptables-restore.c; iptables/xtables-restore.c for the nf_tables backend).

use super::error::Error;
use super::hook::TableName;
use super::parse::{self, Action, Counters, MAX_CHAIN_NAME};
use super::table::Edit;
use super::table::Table;
use super::words;
use super::{Backend, Iptables};
use crate::kernel::errno::Errno;
use std::sync::{Arc, OnceLock};

/// A text is at most this long, in bytes.
pub const MAX_TEXT: usize = 64 << 20;

/// The program, as it calls itself.
const PROGRAM: &str = "iptables-restore";

/// How iptables-restore was called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restore {
    /// `-c`: counters are taken over.
    pub counters: bool,
    /// `-n`: what is there stays, but for user chains that are declared again.
    pub noflush: bool,
    /// `-t`: nothing is changed.
    pub test: bool,
    /// `-T`: this table alone.
    pub table: Option<String>,
    /// What it read.
    pub text: String,
    /// What has come of it where it was carried out first.
    pub compiled: Compiled,
}

/// The tables that a text made of others. Where the same [`Restore`] finds the same tables, it makes these: the nodes
/// of a cluster share the rules that all of them have.
#[derive(Debug, Default)]
pub struct Compiled(OnceLock<Made>);

#[derive(Debug)]
struct Made {
    backend: Backend,
    of: Vec<Arc<Table>>,
    tables: Vec<Committed>,
}

/// A table and the counters that its rules began with.
type Committed = (Arc<Table>, Vec<(u32, Counters)>);

impl Clone for Compiled {
    /// A copy may become another text.
    fn clone(&self) -> Compiled {
        Compiled::default()
    }
}

impl PartialEq for Compiled {
    /// It is no part of what was asked for.
    fn eq(&self, _: &Compiled) -> bool {
        true
    }
}

impl Eq for Compiled {}

impl Made {
    /// It came of the same tables.
    fn is_for(&self, iptables: &Iptables) -> bool {
        let (mut ours, mut theirs) = (self.of.iter(), iptables.shared());
        self.backend == iptables.backend()
            && theirs.by_ref().all(|t| ours.next().is_some_and(|o| Arc::ptr_eq(o, t) || o == t))
            && ours.next().is_none()
            && self.tables.iter().flat_map(|(t, _)| t.set_names()).all(|name| iptables.sets().get(name).is_some())
    }
}

/// Where iptables-restore failed: the line, counted from 1, and why. Tables before it are in place.
pub type Failure = (u32, Error);

impl Iptables {
    /// iptables-restore(8)
    ///
    /// # Errors
    /// At the first line that is wrong.
    pub fn restore(&mut self, restore: &Restore) -> Result<(), Failure> {
        if restore.text.len() > MAX_TEXT {
            return Err((1, Error::Other(format!("more than {MAX_TEXT} bytes of rules (MAX_TEXT)"))));
        }
        if let Some(made) = restore.compiled.0.get().filter(|made| made.is_for(self)) {
            made.tables.iter().for_each(|(table, counters)| self.put(Arc::clone(table), counters));
            return Ok(());
        }
        let (backend, of) = (self.backend(), self.shared().cloned().collect());
        let mut reader = Reader { iptables: self, restore, open: None, skipped: false, late: None, tables: Vec::new() };
        let mut number = 0;
        for line in restore.text.split_inclusive('\n') {
            number += 1;
            reader.line(line, number)?;
        }
        if reader.open.is_some() {
            return Err((number + 1, Error::NoCommit));
        }
        if !restore.test {
            // The first to be carried out stays.
            let _ = restore.compiled.0.set(Made { backend, of, tables: reader.tables });
        }
        Ok(())
    }
}

struct Reader<'a> {
    iptables: &'a mut Iptables,
    restore: &'a Restore,
    /// The table that is being read.
    open: Option<Edit>,
    /// The table that was named last is not the one asked for.
    skipped: bool,
    /// What nf_tables finds only at COMMIT, and the line to blame if it is not that one.
    late: Option<(Option<u32>, Error)>,
    /// The tables that are in place.
    tables: Vec<Committed>,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, number: u32) -> Result<(), Failure> {
        let at = |e: Error| (number, e);
        if line.starts_with(['\n', '#']) {
            return Ok(());
        }
        if self.open.is_some() && line == "COMMIT\n" {
            return self.commit(number);
        }
        match (&mut self.open, line.as_bytes().first()) {
            (None, Some(b'*')) => self.table(line, number).map_err(at),
            (None, _) if self.skipped => Ok(()),
            (None, _) => Err(at(Error::Line)),
            (Some(_), Some(b':')) => self.chain(line, number),
            (Some(_), _) => self.rule(line, number),
        }
    }

    fn table(&mut self, line: &str, number: u32) -> Result<(), Error> {
        let invalid = || Error::usage(format!("{PROGRAM}: line {number} table name invalid"));
        let name = strtok(&line[1..]).next().ok_or_else(invalid)?;
        self.skipped = self.restore.table.as_deref().is_some_and(|t| t != name);
        if self.skipped {
            return Ok(());
        }
        let table = TableName::parse(name).ok_or_else(|| {
            Error::usage(match self.iptables.backend() {
                Backend::Legacy => format!("{PROGRAM}: unable to initialize table '{name}'"),
                Backend::Nft => format!("{PROGRAM}: line {number} table name '{name}' invalid"),
            })
        })?;
        let mut edit = self.iptables.edit(table);
        if !self.restore.noflush {
            edit.clear();
        }
        self.open = Some(edit);
        Ok(())
    }

    /// `:NAME POLICY [PACKETS:BYTES]`
    fn chain(&mut self, line: &str, number: u32) -> Result<(), Failure> {
        let at = |e: Error| (number, e);
        let backend = self.iptables.backend();
        let Some(edit) = &mut self.open else { return Ok(()) };
        let mut words = strtok(&line[1..]);
        let invalid = |what: &str| at(Error::usage(format!("{PROGRAM}: line {number} {what} invalid")));
        let name = words.next().ok_or_else(|| invalid("chain name"))?;
        if name.len() >= MAX_CHAIN_NAME {
            let text = format!("Invalid chain name `{name}' ({} chars max)", MAX_CHAIN_NAME - 1);
            return Err(at(Error::usage(text)));
        }
        let policy = words.next().ok_or_else(|| invalid("policy"))?;
        let is_base = edit.is_base(name);
        if !is_base {
            let made = if edit.has(name) { edit.flush(Some(name)) } else { edit.new_chain(name) };
            made.map_err(at)?;
        }
        if !backend.restores_policy(is_base, policy) {
            return Ok(());
        }
        let given = words.next();
        let counters = match self.restore.counters {
            false => (0, 0),
            true => given
                .and_then(counters)
                .ok_or_else(|| at(Error::usage(format!("invalid policy counters for chain '{name}'"))))?,
        };
        edit.policy(name, policy, Some(counters)).map_err(|e| match (e, backend) {
            (Error::Refused { text, .. }, Backend::Legacy) => {
                at(Error::Other(format!("Can't set policy `{policy}' on `{name}' line {number}: {text}")))
            }
            (e, _) => at(e),
        })
    }

    /// A command, with counters before it.
    fn rule(&mut self, line: &str, number: u32) -> Result<(), Failure> {
        let at = |e: Error| (number, e);
        let (given, rest) = rule_counters(line, number).map_err(at)?;
        let words = words::split(rest).map_err(at)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some(edit) = &self.open else { return Ok(()) };
        let table = edit.table();
        let mut command = parse::parse(&words, Some(table)).map_err(at)?;
        self.iptables.knows_sets(command.action.rules()).map_err(at)?;
        let Some(edit) = &mut self.open else { return Ok(()) };
        if let Some(given) = given.filter(|_| self.restore.counters) {
            match &mut command.action {
                Action::Append(_, _, c) | Action::Insert(_, _, _, c) | Action::Replace(_, _, _, c) => *c = given,
                _ => {}
            }
        }
        if self.late.is_some() {
            return Ok(());
        }
        edit.line = number;
        match (edit.apply(command.action), self.iptables.backend()) {
            (Ok(()), _) => Ok(()),
            (Err(e), Backend::Legacy) => Err(at(e)),
            (Err(e), Backend::Nft) => {
                // nf_tables' iptables-restore has forgotten by COMMIT which function failed.
                let e = if matches!(e, Error::Refused { errno: Errno::ERANGE, .. }) { Error::NO_CHAIN } else { e };
                self.late = Some((Some(number).filter(|_| !matches!(e, Error::Usage(_))), e));
                Ok(())
            }
        }
    }

    fn commit(&mut self, number: u32) -> Result<(), Failure> {
        if let Some((line, error)) = self.late.take() {
            return Err((line.unwrap_or(number), error));
        }
        let Some(edit) = self.open.take() else { return Ok(()) };
        let own_line = self.iptables.backend() == Backend::Nft;
        if self.restore.test && !own_line {
            return Ok(());
        }
        let table = edit.commit().map_err(|(e, line)| (line.filter(|_| own_line).unwrap_or(number), e))?;
        if !self.restore.test {
            let table = Arc::new(table);
            self.iptables.put(Arc::clone(&table), &edit.counters);
            self.tables.push((table, edit.counters));
        }
        Ok(())
    }
}

/// `tokenize_rule_counters`
fn rule_counters(line: &str, number: u32) -> Result<(Option<Counters>, &str), Error> {
    let Some(rest) = line.strip_prefix('[') else { return Ok((None, line)) };
    let need = |what: char| Error::usage(format!("Bad line {number}: need {what}"));
    let (inside, rest) = rest.split_once(']').ok_or_else(|| need(']'))?;
    let (packets, bytes) = inside.split_once(':').ok_or_else(|| need(']'))?;
    let read = |text: &str, what: &str| {
        let bad = || Error::usage(format!("-c {what} counter not numeric"));
        text.parse::<u64>().map_err(|_| bad())
    };
    Ok((Some((read(packets, "packet")?, read(bytes, "byte")?)), rest))
}

/// `[PACKETS:BYTES]`
fn counters(text: &str) -> Option<Counters> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some((packets.parse().ok()?, bytes.parse().ok()?))
}

/// strtok(3) as iptables-restore calls it: blanks, tabs and the line's end part words, nothing else.
fn strtok(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t', '\n']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::save::Options;
    use super::*;

    fn restore(text: &str) -> Restore {
        Restore { text: text.to_owned(), noflush: true, counters: true, ..Restore::default() }
    }

    fn save(iptables: &Iptables) -> String {
        iptables.save(Options { counters: true, table: None, generated: None }).expect("all tables")
    }

    #[test]
    fn a_text_is_compiled_once_for_the_same_tables() {
        let text = restore("*filter\n:INPUT DROP [3:4]\n:A - [0:0]\n-A INPUT -j A\n[5:6] -A A -j ACCEPT\nCOMMIT\n");
        let run = |before: &str| {
            let mut iptables = Iptables::new(Backend::Nft);
            iptables.restore(&restore(before)).expect("good rules");
            iptables.restore(&text).expect("good rules");
            iptables
        };
        let none = "*filter\nCOMMIT\n";
        let (first, second, other) = (run(none), run(none), run("*filter\n-A INPUT -j DROP\nCOMMIT\n"));
        let table = |iptables: &Iptables| Arc::clone(iptables.shared().next().expect("it was made"));
        assert!(Arc::ptr_eq(&table(&first), &table(&second)));
        assert_eq!(save(&first), save(&second), "counters begin alike");
        assert!(save(&first).contains("[3:4]") && save(&first).contains("[5:6] -A A -j ACCEPT"));
        assert_eq!(table(&other).chain("INPUT").map(|c| c.rules.len()), Some(2), "it found another table");
        let mut alone = Iptables::new(Backend::Nft);
        alone.restore(&text.clone()).expect("good rules");
        assert!(!Arc::ptr_eq(&table(&alone), &table(&first)), "a copy begins anew");
    }
}
