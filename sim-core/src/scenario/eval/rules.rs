//! The dump of iptables-save: all that is wrong with it, each with its place.

use crate::base::words::nearest;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netfilter::words::split;
use crate::kernel::netfilter::{Backend, Iptables, matches, targets};
use crate::scenario::diag::{Diagnostic, Diagnostics, SourceFile};
use std::ops::Range;

/// No more than this is read to find more errors than one, in bytes.
const MAX_READ: usize = 256 << 20;

/// A dump with a line feed at the end of each line, the last one too.
pub(super) fn text(source: &SourceFile) -> String {
    let mut text = source.text().to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Adds all that is wrong with a dump. A rule that is wrong is left out to find the next; behind any other line that is
/// wrong nothing can be told.
pub(super) fn check(source: &SourceFile, errors: &mut Diagnostics) {
    let mut text = text(source);
    let mut read = 0;
    while !errors.is_full() && read <= MAX_READ {
        read += text.len();
        let restore = Restore { counters: true, text, ..Restore::default() };
        let Err((number, error)) = Iptables::new(Backend::Legacy).restore(&restore) else { return };
        text = restore.text;
        let line = line_range(&text, number);
        errors.push(diagnostic(source, line.clone(), &error));
        let is_rule = text[line.clone()].starts_with(['-', '[']);
        if !is_rule {
            return;
        }
        // A comment of the same length, so that places stay.
        text.replace_range(line.clone(), &"#".repeat(line.len()));
    }
}

/// Adds the rules that ask which socket a packet is for: no dump tells.
pub(super) fn sockets(source: &SourceFile, errors: &mut Diagnostics) {
    const ASK: [[&str; 2]; 2] = [["-m", "socket"], ["-j", "TPROXY"]];
    let mut start = 0;
    for line in source.text().split_inclusive('\n') {
        for [option, name] in ASK.iter().filter(|_| line.starts_with(['-', '['])) {
            let Some(at) = line.find(&format!("{option} {name}")) else { continue };
            // What a comment says is one word.
            if split(line).is_ok_and(|words| words.windows(2).any(|pair| pair == [*option, *name])) {
                let place = start + at + option.len() + 1;
                let message = format!("`{name}` asks for sockets, and no dump tells of them");
                let found = Diagnostic::new(source, place..place + name.len(), message);
                errors.push(found.hint("take the rule out to see what the others do"));
            }
        }
        start += line.len();
    }
}

/// The bytes of a line, from 1; the end of the text if there are fewer.
fn line_range(text: &str, number: u32) -> Range<usize> {
    let mut start = 0;
    for (n, line) in (1..).zip(text.split_inclusive('\n')) {
        if n == number {
            return start..start + line.trim_end_matches(['\r', '\n']).len();
        }
        start += line.len();
    }
    text.len()..text.len()
}

fn diagnostic(source: &SourceFile, line: Range<usize>, error: &Error) -> Diagnostic {
    let said = match error {
        Error::Usage(m) | Error::Argument(m) | Error::Version(m) | Error::Other(m) => m.trim_end().to_owned(),
        Error::Refused { text, .. } => (*text).to_owned(),
        Error::Kernel { errno: [errno, _], .. } => errno.text().to_owned(),
        Error::Line => "this is no line of iptables-save".to_owned(),
        Error::NoCommit => "the dump ends without COMMIT".to_owned(),
    };
    let text = source.text().get(line.clone()).unwrap_or_default();
    let place = |word: &str| {
        let at = text.match_indices(word).map(|(at, _)| at).find(|at| is_word(text, *at, word.len()))?;
        Some(line.start + at..line.start + at + word.len())
    };
    let named = quoted(&said).into_iter().find_map(place).unwrap_or(line.clone());
    let unknown = |kind: &str| {
        let name = said.strip_prefix(&format!("Couldn't load {kind} `"))?;
        name.split('\'').next().map(str::to_owned)
    };
    let known = |name: &str, known: &[&str]| {
        let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean {near}? "));
        format!("{}those that are simulated: {}", near.unwrap_or_default(), known.join(", "))
    };
    if let Some(name) = unknown("match") {
        let message = format!("the match `{name}` is not simulated");
        return Diagnostic::new(source, named, message).hint(known(&name, &matches::NAMES));
    }
    if let Some(name) = unknown("target") {
        let message = format!("`{name}` is neither a chain of this table nor a target that is simulated");
        return Diagnostic::new(source, named, message).hint(known(&name, &targets::NAMES));
    }
    let found = Diagnostic::new(source, named, said);
    match error {
        Error::Line => found.hint("tables are written so: *TABLE, :CHAIN POLICY, -A CHAIN …, COMMIT"),
        Error::NoCommit => found.hint("is the dump whole?"),
        _ => found,
    }
}

/// What stands in quotes in a message, in any of the ways that iptables has.
fn quoted(said: &str) -> Vec<&str> {
    // What an abbreviation leaves out is no quote.
    let said = said.strip_prefix("Couldn't").unwrap_or(said);
    said.split(['`', '\'', '"']).skip(1).step_by(2).filter(|word| !word.is_empty()).collect()
}

fn is_word(text: &str, at: usize, len: usize) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    edge(text[..at].chars().next_back()) && edge(text[at + len..].chars().next())
}
