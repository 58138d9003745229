//! dmesg(1) of util-linux: the kernel's log of the machine.

use super::args::{Args, not_simulated};
use super::show::{Dmesg, Format, Show, What};
use super::{Action, SyntaxError, Word};

/// What else the real tool knows, by letter and by name.
const LETTERS: &str = "CDEFHJKLPSTWcdefhklnpsuVw";
const NAMES: [&str; 16] = [
    "clear",
    "color",
    "console-level",
    "console-off",
    "console-on",
    "ctime",
    "facility",
    "file",
    "follow",
    "human",
    "json",
    "kernel",
    "level",
    "read-clear",
    "reltime",
    "since",
];

/// `dmesg [-r] [-t] [-x]`
pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let args = Args::new(words, 1);
    let mut how = Dmesg::default();
    for word in args {
        match word.text.as_str() {
            "-r" | "--raw" => how.raw = true,
            "-t" | "--notime" => how.notime = true,
            "-x" | "--decode" => how.decode = true,
            text => return Err(unknown(word, text)),
        }
    }
    for (both, other) in [(how.decode, "--decode"), (how.notime, "--notime")] {
        if how.raw && both {
            return Err(SyntaxError::at(&words[0], format!("dmesg: mutually exclusive arguments: --raw {other}")));
        }
    }
    Ok(Action::Show { checks: vec![], show: Show { format: Format::default(), what: What::Dmesg(how) } })
}

fn unknown(word: &Word, text: &str) -> SyntaxError {
    let name = text.strip_prefix("--").map(|long| long.split('=').next().unwrap_or_default());
    match (name, text.strip_prefix('-').and_then(|letters| letters.chars().next())) {
        (Some(name), _) if NAMES.contains(&name) => not_simulated(word),
        (Some(_), _) => SyntaxError::at(word, format!("dmesg: unrecognized option '{text}'")),
        (None, Some(letter)) if LETTERS.contains(letter) => not_simulated(word),
        (None, Some(letter)) => SyntaxError::at(word, format!("dmesg: invalid option -- '{letter}'")),
        (None, None) => SyntaxError::at(word, "dmesg: bad usage"),
    }
}
