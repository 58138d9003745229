//! iptables(8), iptables-save(8) and iptables-restore(8): a command line becomes a request to the rule set, by the same
//! parser as a line of iptables-restore. The text that iptables-restore reads comes with the command line.

pub(super) mod print;
pub(super) mod run;

use super::Read;
use super::lex::Input;
use crate::base::words::{SyntaxError, Word};
use crate::kernel::netfilter::Backend;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::parse::{Action as Rules, Command, parse as parse_words};
use crate::kernel::netfilter::restore::Restore;
use std::sync::Arc;

/// The commands that [`parse`] knows.
pub const COMMANDS: [&str; 9] = [
    "iptables",
    "iptables-legacy",
    "iptables-nft",
    "iptables-save",
    "iptables-legacy-save",
    "iptables-nft-save",
    "iptables-restore",
    "iptables-legacy-restore",
    "iptables-nft-restore",
];

/// A call of one of iptables' programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// The program as it was called.
    pub program: String,
    /// The backend that its name asks for; without one, the namespace's own.
    pub backend: Option<Backend>,
    /// What it is to do.
    pub task: Task,
    /// The file that iptables-restore reads, until it has been read.
    pub file: Option<Word>,
}

/// What a program of iptables does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// A command, or how its words are wrong, which the program says itself when it runs.
    Command(Box<Result<Command, Error>>),
    /// Prints the rules.
    Save {
        /// With counters.
        counters: bool,
        /// This table alone.
        table: Option<String>,
    },
    /// Loads rules.
    Restore(Arc<Restore>),
}

/// Reads a call. The text of iptables-restore comes later, by [`Invocation::feed`].
///
/// # Errors
/// No such program, or an option of iptables-save or iptables-restore that is not known.
pub fn parse(words: &[Word]) -> Result<Invocation, SyntaxError> {
    let Some((first, rest)) = words.split_first() else { return Err(SyntaxError::new(0..0, "there is no command")) };
    let program = first.text.as_str();
    if !COMMANDS.contains(&program) {
        return Err(SyntaxError::at(first, format!("{program}: command not found")).hint_nearest(program, COMMANDS));
    }
    let backend = match program {
        _ if program.contains("-legacy") => Some(Backend::Legacy),
        _ if program.contains("-nft") => Some(Backend::Nft),
        _ => None,
    };
    let mut file = None;
    let task = if program.ends_with("-save") {
        save(rest)?
    } else if program.ends_with("-restore") {
        restore(rest, &mut file)?
    } else {
        let words: Vec<&str> = rest.iter().map(|w| w.text.as_str()).collect();
        Task::Command(Box::new(parse_words(&words, None)))
    };
    Ok(Invocation { program: program.to_owned(), backend, task, file })
}

impl Invocation {
    /// Hands it the text that it reads: from the file that its words name, or from its standard input, which is empty
    /// if nothing is said.
    ///
    /// # Errors
    /// It reads no standard input; those of `read`.
    pub fn feed(&mut self, input: Option<Input>, read: &mut Read<'_>) -> Result<(), SyntaxError> {
        let unread =
            |input: &Input| SyntaxError::new(input.span().clone(), "the command does not read its standard input");
        let Task::Restore(restore) = &mut self.task else { return input.as_ref().map_or(Ok(()), |i| Err(unread(i))) };
        Arc::make_mut(restore).text = match (self.file.take(), input) {
            (Some(_), Some(input)) => return Err(unread(&input)),
            (Some(file), None) | (None, Some(Input::File(file))) => read(&file)?,
            (None, Some(Input::Here(text))) => text.text,
            (None, None) => String::new(),
        };
        Ok(())
    }

    /// It changes no rules. (A listing may make the table that it lists, as on Linux.)
    pub fn only_shows(&self) -> bool {
        match &self.task {
            Task::Command(command) => {
                command.as_ref().as_ref().map_or(true, |c| c.lists() || matches!(c.action, Rules::Check(..)))
            }
            Task::Save { .. } => true,
            Task::Restore(_) => false,
        }
    }

    /// What the program calls itself: `iptables-legacy` and `iptables-nft` are `iptables`, and the legacy ones of the
    /// other two lose their backend too.
    fn alias(&self) -> String {
        match self.task {
            Task::Command(_) => "iptables".to_owned(),
            _ => self.program.replace("-legacy", ""),
        }
    }
}

/// `[-c] [-t TABLE]`
fn save(words: &[Word]) -> Result<Task, SyntaxError> {
    let (mut counters, mut table) = (false, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "-c" | "--counters" => counters = true,
            "-t" | "--table" => table = Some(value(word, words.next())?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Task::Save { counters, table })
}

/// `[-c] [-n] [-t] [-w SECONDS] [-T TABLE] [FILE]`
fn restore(words: &[Word], file: &mut Option<Word>) -> Result<Task, SyntaxError> {
    let mut restore = Restore::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "-c" | "--counters" => restore.counters = true,
            "-n" | "--noflush" => restore.noflush = true,
            "-t" | "--test" => restore.test = true,
            "-T" | "--table" => restore.table = Some(value(word, words.next())?),
            // Nobody else holds the lock.
            "-w" | "--wait" => {
                words.next_if(|w| w.text.parse::<u32>().is_ok());
            }
            text if text.starts_with('-') => return Err(unknown(word)),
            _ if file.is_some() => return Err(SyntaxError::at(word, "Unknown arguments found on commandline")),
            _ => *file = Some(word.clone()),
        }
    }
    Ok(Task::Restore(Arc::new(restore)))
}

fn value(option: &Word, value: Option<&Word>) -> Result<String, SyntaxError> {
    let needed = || SyntaxError::at(option, format!("option requires an argument -- '{}'", option.text));
    value.map(|w| w.text.clone()).ok_or_else(needed)
}

fn unknown(word: &Word) -> SyntaxError {
    SyntaxError::at(word, format!("\"{}\" is not simulated", word.text))
}

#[cfg(test)]
mod tests;
