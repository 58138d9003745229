//! iptables(8), iptables-save(8) and iptables-restore(8): a command line becomes a request to the rule set, by the same
//! parser as a line of iptables-restore. The text that iptables-restore reads is the caller's to find.

use crate::base::words::{SyntaxError, Word};
use crate::kernel::netfilter::error::{Error, Place};
use crate::kernel::netfilter::parse::{Command, parse as parse_words};
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netfilter::save::Options;
use crate::kernel::netfilter::{Backend, Iptables};

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
    pub request: Request,
}

/// What a program of iptables does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// A command, or how its words are wrong, which the program says itself when it runs.
    Command(Result<Command, Error>),
    /// Prints the rules.
    Save {
        /// With counters.
        counters: bool,
        /// This table alone.
        table: Option<String>,
    },
    /// Loads rules.
    Restore(Restore),
}

/// What a program printed and its exit status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// On standard output.
    pub stdout: String,
    /// On standard error.
    pub stderr: String,
    /// The exit status.
    pub status: i32,
}

/// Reads a call; `text` is what iptables-restore would read from its standard input.
///
/// # Errors
/// No such program, or an option of iptables-save or iptables-restore that is not known.
pub fn parse(words: &[Word], text: &str) -> Result<Invocation, SyntaxError> {
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
    let request = if program.ends_with("-save") {
        save(rest)?
    } else if program.ends_with("-restore") {
        restore(rest, text)?
    } else {
        let words: Vec<&str> = rest.iter().map(|w| w.text.as_str()).collect();
        Request::Command(parse_words(&words, None))
    };
    Ok(Invocation { program: program.to_owned(), backend, request })
}

impl Invocation {
    /// Runs it on a rule set; `date` stands in the comments of iptables-save.
    pub fn run(self, iptables: &mut Iptables, date: &str) -> Output {
        let backend = iptables.backend();
        let program = self.alias();
        let (done, line) = match self.request {
            Request::Command(command) => (command.and_then(|c| iptables.run(c)), None),
            Request::Save { counters, table } => {
                let options = Options { counters, table: table.as_deref(), generated: Some((date, &program)) };
                (iptables.save(options), None)
            }
            Request::Restore(restore) => match iptables.restore(&restore) {
                Ok(()) => (Ok(String::new()), None),
                Err((line, e)) => (Err(e), Some(line)),
            },
        };
        match done {
            Ok(stdout) => Output { stdout, ..Output::default() },
            Err(e) => {
                let stderr = e.text(Place { program: &program, backend, line });
                Output { stderr, status: e.status(backend), ..Output::default() }
            }
        }
    }

    /// What the program calls itself: `iptables-legacy` and `iptables-nft` are `iptables`, and the legacy ones of the
    /// other two lose their backend too.
    fn alias(&self) -> String {
        match self.request {
            Request::Command(_) => "iptables".to_owned(),
            _ => self.program.replace("-legacy", ""),
        }
    }
}

/// `[-c] [-t TABLE]`
fn save(words: &[Word]) -> Result<Request, SyntaxError> {
    let (mut counters, mut table) = (false, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "-c" | "--counters" => counters = true,
            "-t" | "--table" => table = Some(value(word, words.next())?),
            _ => return Err(unknown(word)),
        }
    }
    Ok(Request::Save { counters, table })
}

/// `[-c] [-n] [-t] [-v] [-w SECONDS] [-T TABLE]`
fn restore(words: &[Word], text: &str) -> Result<Request, SyntaxError> {
    let mut restore = Restore { text: text.to_owned(), ..Restore::default() };
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
            _ => return Err(unknown(word)),
        }
    }
    Ok(Request::Restore(restore))
}

fn value(option: &Word, value: Option<&Word>) -> Result<String, SyntaxError> {
    let needed = || SyntaxError::at(option, format!("option requires an argument -- '{}'", option.text));
    value.map(|w| w.text.clone()).ok_or_else(needed)
}

fn unknown(word: &Word) -> SyntaxError {
    SyntaxError::at(word, format!("\"{}\" is not simulated", word.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::lex::words;

    fn run(iptables: &mut Iptables, line: &str, text: &str) -> Output {
        parse(&words(line).unwrap(), text).unwrap().run(iptables, "Thu Jan  1 00:00:00 1970")
    }

    #[test]
    fn rules_go_in_and_come_out() {
        let mut iptables = Iptables::new(Backend::Nft);
        assert_eq!(run(&mut iptables, "iptables -A INPUT -p tcp --dport 80 -j ACCEPT", ""), Output::default());
        let rules = "*filter\n:X - [0:0]\n-A X -j DROP\nCOMMIT\n";
        assert_eq!(run(&mut iptables, "iptables-restore -w 5 --noflush", rules), Output::default());
        let saved = run(&mut iptables, "iptables-save -t filter", "");
        let want = "# Generated by iptables-save v1.8.9 (nf_tables) on Thu Jan  1 00:00:00 1970\n\
                    *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:X - [0:0]\n\
                    -A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n-A X -j DROP\nCOMMIT\n\
                    # Completed on Thu Jan  1 00:00:00 1970\n";
        assert_eq!(saved.stdout, want);
    }

    #[test]
    fn errors_are_the_programs_own() {
        let mut iptables = Iptables::new(Backend::Legacy);
        let said = run(&mut iptables, "iptables-legacy -A INPUT -j NOWHERE", "");
        assert_eq!(said.status, 2);
        assert!(said.stderr.starts_with("iptables v1.8.9 (legacy): Couldn't load target `NOWHERE'"), "{}", said.stderr);
        let said = run(&mut iptables, "iptables-restore", "*filter\n-A Y -j DROP\nCOMMIT\n");
        assert_eq!((said.stderr.as_str(), said.status), ("iptables-restore: line 2 failed\n", 1));
        assert!(parse(&words("iptables-sav").unwrap(), "").is_err());
        assert!(parse(&words("iptables-save -x").unwrap(), "").is_err());
    }
}
