//! ipset(8) of ipset 7.17: `create`, `add`, `del`, `test`, `flush`, `destroy`, `swap`, `rename`, `list`, `save`,
//! `restore`.

mod element;
mod print;
pub(super) mod run;

pub(super) use print::command;

use super::Read;
use super::lex::{self, Input};
use crate::base::words::{SyntaxError, Word};
use crate::kernel::netfilter::ipset::{Change, Element, MAX_NAME, SetType, Spec};

/// A call of ipset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ipset {
    /// What it does.
    pub task: Task,
    /// `-q`: it says nothing but by its exit status.
    quiet: bool,
    /// The file that `restore` reads, until it has been read.
    file: Option<Word>,
}

/// What a call of ipset does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// It changes sets.
    Change(Lines),
    /// Whether an element is in a set; its text is printed.
    Test {
        /// The set.
        set: String,
        /// What is asked for.
        words: Vec<Word>,
    },
    /// It prints sets.
    List {
        /// One of them.
        set: Option<String>,
        /// How.
        how: Listing,
    },
    /// `restore`, whose text comes later.
    Restore {
        /// `-exist`
        exist: bool,
    },
}

/// Changes, each with its words, which are read when the type of its set is known, and its line in a text.
pub type Lines = Vec<(Line, Option<u32>)>;

/// A command that changes something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// All is known.
    Change(Change),
    /// `add` or `del`: what the element is follows from the set.
    Element {
        /// `del`
        del: bool,
        /// The set.
        set: String,
        /// The element and its options.
        words: Vec<Word>,
        /// `-exist`
        exist: bool,
    },
}

/// How sets are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// With a head and the elements.
    Plain,
    /// The head alone.
    Terse,
    /// Names.
    Names,
    /// Commands that make them anew.
    Save,
}

const HELP: &str = "Try `ipset help' for more information.";

/// A command with its letter as an option.
const COMMANDS: [(&str, &str); 13] = [
    ("create", "-N"),
    ("add", "-A"),
    ("del", "-D"),
    ("test", "-T"),
    ("destroy", "-X"),
    ("list", "-L"),
    ("save", "-S"),
    ("restore", "-R"),
    ("flush", "-F"),
    ("rename", "-E"),
    ("swap", "-W"),
    ("help", "-H"),
    ("version", "-V"),
];

/// A refusal of ipset itself.
fn error(word: &Word, message: impl std::fmt::Display) -> SyntaxError {
    SyntaxError::at(word, format!("ipset v7.17: {message}"))
}

/// A refusal with the advice to read the help.
fn usage(word: &Word, message: impl std::fmt::Display) -> SyntaxError {
    error(word, format!("{message}\n{HELP}"))
}

/// Options that may stand anywhere.
#[derive(Default)]
struct Options {
    exist: bool,
    quiet: bool,
    listing: Option<Listing>,
    file: Option<Word>,
}

impl Options {
    /// Takes them out of the words.
    fn take(words: &[Word]) -> Result<(Options, Vec<&Word>), SyntaxError> {
        let (mut options, mut rest, mut words) = (Options::default(), vec![], words.iter());
        while let Some(word) = words.next() {
            match word.text.as_str() {
                "-exist" | "-!" | "--exist" => options.exist = true,
                "-quiet" | "-q" | "--quiet" => options.quiet = true,
                // Elements are in order as they are.
                "-sorted" | "-s" | "--sorted" => {}
                "-terse" | "-t" | "--terse" => options.listing = Some(Listing::Terse),
                "-name" | "-n" | "--name" => options.listing = Some(Listing::Names),
                "-output" | "-o" | "--output" => {
                    let mode =
                        words.next().ok_or_else(|| usage(word, "Missing mandatory argument of option `-output'"))?;
                    options.listing = match mode.text.as_str() {
                        "plain" => None,
                        "save" => Some(Listing::Save),
                        "xml" => return Err(error(mode, "the output mode xml is not simulated")),
                        other => return Err(error(mode, format!("Syntax error: unknown output mode '{other}'"))),
                    };
                }
                "-file" | "-f" | "--file" => {
                    let file =
                        words.next().ok_or_else(|| usage(word, "Missing mandatory argument of option `-file'"))?;
                    options.file = Some(file.clone());
                }
                _ => rest.push(word),
            }
        }
        Ok((options, rest))
    }
}

pub(super) fn parse(words: &[Word]) -> Result<Ipset, SyntaxError> {
    let (options, rest) = Options::take(words.get(1..).unwrap_or_default())?;
    let Some((verb, args)) = rest.split_first() else { return Err(usage(&words[0], "No command specified.")) };
    let listing = options.listing.unwrap_or(Listing::Plain);
    let task = match (name(&verb.text), args) {
        (Some("list"), []) => Task::List { set: None, how: listing },
        (Some("list"), [set]) => Task::List { set: Some(set.text.clone()), how: listing },
        (Some("save"), []) => Task::List { set: None, how: Listing::Save },
        (Some("save"), [set]) => Task::List { set: Some(set.text.clone()), how: Listing::Save },
        (Some("list" | "save"), [_, more, ..]) => return Err(usage(more, format!("Unknown argument {}", more.text))),
        (Some("restore"), []) => Task::Restore { exist: options.exist },
        (Some("test"), [set, element @ ..]) if !element.is_empty() => {
            Task::Test { set: set.text.clone(), words: element.iter().map(|w| (*w).clone()).collect() }
        }
        (Some("help" | "version"), _) => return Err(error(verb, format!("\"{}\" is not simulated", verb.text))),
        _ => Task::Change(vec![(line(verb, args, options.exist)?, None)]),
    };
    if options.file.is_some() && !matches!(task, Task::Restore { .. }) {
        return Err(error(verb, "-file with another command than restore is not simulated"));
    }
    Ok(Ipset { task, quiet: options.quiet, file: options.file })
}

fn name(text: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(name, option)| *name == text || *option == text).map(|(name, _)| *name)
}

/// A command that changes something.
fn line(verb: &Word, args: &[&Word], exist: bool) -> Result<Line, SyntaxError> {
    let Some(command) = name(&verb.text) else {
        let names = COMMANDS.iter().map(|(name, _)| *name);
        let message = format!("No command specified: unknown argument {}", verb.text);
        return Err(usage(verb, message).hint_nearest(&verb.text, names));
    };
    let first = || args.first().ok_or_else(|| usage(verb, format!("Missing mandatory argument to command {command}")));
    let second =
        || args.get(1).ok_or_else(|| usage(verb, format!("Missing second mandatory argument to command {command}")));
    let none_after = |count: usize| match args.get(count) {
        Some(more) => Err(usage(more, format!("Unknown argument {}", more.text))),
        None => Ok(()),
    };
    Ok(match command {
        "create" => {
            let (name, kind) = (set_name(first()?)?, second()?);
            let spec = create(kind, &args[2..])?;
            Line::Change(Change::Create { name, spec, exist })
        }
        "add" | "del" => {
            let (set, _) = (set_name(first()?)?, second()?);
            let words = args[1..].iter().map(|w| (*w).clone()).collect();
            Line::Element { del: command == "del", set, words, exist }
        }
        "flush" | "destroy" => {
            none_after(1)?;
            let set = args.first().map(|w| set_name(w)).transpose()?;
            Line::Change(if command == "flush" { Change::Flush(set) } else { Change::Destroy(set) })
        }
        "swap" | "rename" => {
            let (from, to) = (set_name(first()?)?, set_name(second()?)?);
            none_after(2)?;
            Line::Change(if command == "swap" { Change::Swap(from, to) } else { Change::Rename(from, to) })
        }
        "test" => {
            first()?;
            return Err(usage(verb, "Missing second mandatory argument to command test"));
        }
        _ => {
            none_after(0)?;
            return Err(error(verb, format!("{command} among the lines of a restore is not simulated")));
        }
    })
}

fn set_name(word: &Word) -> Result<String, SyntaxError> {
    if word.text.len() < MAX_NAME {
        return Ok(word.text.clone());
    }
    let text = &word.text;
    Err(error(word, format!("Syntax error: setname '{text}' is longer than {} characters", MAX_NAME - 1)))
}

/// Types that ipset knows besides.
const OTHER_TYPES: [&str; 12] = [
    "bitmap:ip",
    "bitmap:ip,mac",
    "hash:mac",
    "hash:ip,mac",
    "hash:net,net",
    "hash:net,port",
    "hash:net,port,net",
    "hash:ip,port,ip",
    "hash:ip,port,net",
    "hash:ip,mark",
    "hash:net,iface",
    "list:set",
];

/// What follows the name of a new set.
fn create(kind: &Word, args: &[&Word]) -> Result<Spec, SyntaxError> {
    let Some(known) = SetType::ALL.into_iter().find(|k| k.name() == kind.text) else {
        let name = &kind.text;
        if OTHER_TYPES.contains(&name.as_str()) {
            return Err(error(kind, format!("the type {name} is not simulated")));
        }
        return Err(error(kind, format!("Syntax error: typename '{name}' is unknown")));
    };
    let (mut spec, mut args, mut range) = (Spec::new(known), args.iter(), false);
    let hash = known != SetType::BitmapPort;
    while let Some(option) = args.next() {
        let mut value = || {
            let missing = || usage(option, format!("Missing mandatory argument of option `{}'", option.text));
            args.next().copied().ok_or_else(missing)
        };
        match option.text.as_str() {
            "family" if hash => match value()? {
                word if matches!(word.text.as_str(), "inet" | "-4") => {}
                word if matches!(word.text.as_str(), "inet6" | "-6") => {
                    return Err(error(word, "IPv6 is not simulated"));
                }
                word => return Err(error(word, format!("Syntax error: unknown inet family {}", word.text))),
            },
            "hashsize" if hash => spec.hashsize = element::number(value()?, u32::MAX)?,
            "maxelem" if hash => spec.maxelem = element::number(value()?, u32::MAX)?,
            "initval" if hash => spec.initval = Some(element::number(value()?, u32::MAX)?),
            // As the kernel makes it in any case.
            "bucketsize" if hash => {
                element::number(value()?, 255)?;
            }
            "range" if !hash => (spec.range, range) = (element::range(value()?)?, true),
            "timeout" | "counters" | "comment" | "skbinfo" | "netmask" | "forceadd" => {
                return Err(error(option, format!("the option {} of a set is not simulated", option.text)));
            }
            other => return Err(usage(option, format!("Unknown argument: `{other}'"))),
        }
    }
    if !hash && !range {
        return Err(usage(kind, "Mandatory option `range' is missing"));
    }
    Ok(spec)
}

impl Ipset {
    /// Hands `restore` the text that it reads.
    ///
    /// # Errors
    /// The command reads nothing; those of `read`, and of the first line that is wrong.
    pub(super) fn feed(&mut self, input: Option<Input>, read: &mut Read<'_>) -> Result<(), SyntaxError> {
        let Task::Restore { exist } = self.task else {
            let unread = "the command does not read its standard input";
            return input.map_or(Ok(()), |input| Err(SyntaxError::new(input.span().clone(), unread)));
        };
        let word = match (self.file.take(), input) {
            (Some(file), _) | (None, Some(Input::File(file))) => Word { text: read(&file)?, span: file.span },
            (None, Some(Input::Here(text))) => text,
            (None, None) => {
                self.task = Task::Change(vec![]);
                return Ok(());
            }
        };
        let mut lines = vec![];
        for (text, number) in word.text.lines().zip(1_u32..) {
            // Its place is that of the text.
            let here = |e: SyntaxError| {
                let message = e.message.replacen("v7.17: ", &format!("v7.17: Error in line {number}: "), 1);
                SyntaxError { message, span: word.span.clone(), ..e }
            };
            let words = lex::words(text).map_err(here)?;
            let (options, rest) = Options::take(&words).map_err(here)?;
            let Some((verb, args)) = rest.split_first().filter(|(verb, _)| verb.text != "COMMIT") else { continue };
            lines.push((line(verb, args, exist || options.exist).map_err(here)?, Some(number)));
        }
        self.task = Task::Change(lines);
        Ok(())
    }

    /// It changes no set.
    pub(super) fn only_shows(&self) -> bool {
        matches!(self.task, Task::List { .. } | Task::Test { .. })
    }
}

/// The element that words name for a set of that type.
fn element_of(kind: SetType, words: &[Word]) -> Result<Element, SyntaxError> {
    element::read(kind, words)
}

#[cfg(test)]
mod tests;
