//! lsns(8) of util-linux: the network namespaces of the machine.

use super::args::not_simulated;
use super::show::lsns::{Column, Query};
use super::show::{Format, Show, What};
use super::{Action, SyntaxError, Word};
use crate::user::args::{Getopt, short};

/// Long options with their letters; `--output-all` has none.
const LONG: &[(&str, char)] = &[
    ("json", 'J'),
    ("task", 'p'),
    ("output", 'o'),
    ("notruncate", 'u'),
    ("noheadings", 'n'),
    ("list", 'l'),
    ("raw", 'r'),
    ("type", 't'),
    ("tree", 'T'),
    ("nowrap", 'W'),
];

/// The kinds of namespaces besides `net`.
const OTHER_KINDS: [&str; 7] = ["mnt", "uts", "ipc", "user", "pid", "cgroup", "time"];

/// What the real tool knows of a namespace besides, which does not exist here: parents of processes, user namespaces.
const OTHER_COLUMNS: [&str; 3] = ["PPID", "PNS", "ONS"];

/// `lsns -t net [-n] [-o COLUMNS] [-p PID] [-J]`
pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let options = separated(words.get(1..).unwrap_or_default());
    let options = short(&options, LONG);
    let mut options = Getopt::new("lsns", "Jlp:o:nruht:T:VW", &options);
    let (mut query, mut net) = (Query::default(), false);
    while let Some(option) = options.next()? {
        match option.letter {
            't' if option.arg == "net" => net = true,
            't' if OTHER_KINDS.contains(&option.arg) => return Err(only_net(option.word)),
            't' => return Err(option.error("lsns", format!("unknown namespace type: {}", option.arg))),
            'p' => match option.arg.parse() {
                Ok(pid) => query.pid = Some(pid),
                Err(_) => return Err(option.error("lsns", format!("invalid PID argument: '{}'", option.arg))),
            },
            'o' => query.columns = columns(option.arg, option.word)?,
            'n' => query.headings = false,
            'J' => query.json = true,
            // As it is where standard output is no terminal.
            'l' | 'u' | 'W' => {}
            _ => return Err(option.not_simulated("lsns")),
        }
    }
    match options.operands.first() {
        Some(word) if word.text.bytes().all(|b| b.is_ascii_digit()) => return Err(not_simulated(word)),
        Some(word) => {
            return Err(SyntaxError::at(word, format!("lsns: invalid namespace argument: '{}'", word.text)));
        }
        None => {}
    }
    if !net {
        return Err(only_net(&words[0]));
    }
    Ok(Action::Show { checks: vec![], show: Show { format: Format::default(), what: What::Namespaces(query) } })
}

/// `--type=net` as two words.
fn separated(words: &[Word]) -> Vec<Word> {
    let mut all = vec![];
    for word in words {
        match word.text.split_once('=').filter(|(name, _)| name.starts_with("--")) {
            Some((name, value)) => {
                all.extend([name, value].map(|text| Word { text: text.to_owned(), span: word.span.clone() }));
            }
            None => all.push(word.clone()),
        }
    }
    all
}

fn only_net(word: &Word) -> SyntaxError {
    SyntaxError::at(word, "namespaces of other kinds than net are not simulated").hint("write lsns -t net")
}

/// Names with commas between them; a plus in front adds them to the usual ones.
fn columns(list: &str, word: &Word) -> Result<Vec<Column>, SyntaxError> {
    let (mut columns, list) = match list.strip_prefix('+') {
        Some(more) => (Query::default().columns, more),
        None => (vec![], list),
    };
    for name in list.split(',') {
        let upper = name.to_ascii_uppercase();
        match Column::ALL.iter().find(|c| c.name() == upper) {
            Some(column) => columns.push(*column),
            None if OTHER_COLUMNS.contains(&upper.as_str()) => {
                return Err(SyntaxError::at(word, format!("lsns: the column {upper} is not simulated")));
            }
            None => return Err(SyntaxError::at(word, format!("lsns: unknown column: {name}"))),
        }
    }
    Ok(columns)
}
