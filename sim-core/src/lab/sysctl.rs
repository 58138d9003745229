//! sysctl(8) of procps: variables are read and written in the order in which they stand, and an error does not stop it.

use super::args::not_simulated;
use super::{Action, SyntaxError, Word};
use crate::engine::process::Console;
use crate::kernel::errno::Errno;

/// A variable that `sysctl` reads or writes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "options of the command line")]
pub struct Variable {
    /// In dotted form.
    pub name: String,
    /// The value to write; none reads.
    pub value: Option<String>,
    /// `-n`: the value without the name.
    pub value_only: bool,
    /// `-q`: what was written is not printed.
    pub quiet: bool,
    /// `-e`: nothing is said of a variable that does not exist.
    pub ignore_missing: bool,
}

impl Variable {
    /// Prints the variable with its value.
    pub(super) fn print(&self, value: &str, console: &mut Console) {
        if self.value_only {
            console.out(format!("{value}\n"));
        } else {
            console.out(format!("{} = {value}\n", self.name));
        }
    }

    /// Says that there is no such variable; returns the exit status for it.
    pub(super) fn missing(&self, console: &mut Console) -> i32 {
        if self.ignore_missing {
            return 0;
        }
        let path = swap(&self.name);
        console.err(format!("sysctl: cannot stat /proc/sys/{path}: {}\n", Errno::ENOENT));
        1
    }

    /// Says that a value was refused.
    pub(super) fn refused(&self, errno: Errno, console: &mut Console) {
        console.err(format!("sysctl: setting key \"{}\": {errno}\n", self.name));
    }
}

#[derive(Clone, Copy, Default)]
struct Options {
    write: bool,
    quiet: bool,
    values: bool,
    ignore: bool,
}

pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let mut options = Options::default();
    let mut operands = Vec::new();
    let mut only_operands = false;
    // Options may follow operands (getopt).
    for word in words.iter().skip(1) {
        match word.text.as_str() {
            "--" if !only_operands => only_operands = true,
            text if text.len() > 1 && text.starts_with('-') && !only_operands => option(word, &mut options)?,
            _ => operands.push(word),
        }
    }
    if operands.is_empty() {
        let last = words.last().map_or(0..0, |w| w.span.clone());
        return Err(SyntaxError::new(last, "sysctl: no variables specified")
            .hint("to read: sysctl net.ipv4.ip_forward; to write: sysctl -w net.ipv4.ip_forward=1"));
    }
    operands.into_iter().map(|w| variable(w, options)).collect::<Result<_, _>>().map(Action::Sysctl)
}

fn option(word: &Word, options: &mut Options) -> Result<(), SyntaxError> {
    if let Some(long) = word.text.strip_prefix("--") {
        return match long {
            "write" => set(word, 'w', options),
            "quiet" => set(word, 'q', options),
            "values" => set(word, 'n', options),
            "ignore" => set(word, 'e', options),
            "all" | "deprecated" | "dry-run" | "binary" | "names" | "load" | "pattern" | "system" | "help"
            | "version" => Err(not_simulated(word)),
            _ => Err(SyntaxError::at(word, format!("sysctl: unrecognized option '{}'", word.text))
                .hint_nearest(long, ["write", "quiet", "values", "ignore"])),
        };
    }
    word.text.chars().skip(1).try_for_each(|letter| set(word, letter, options))
}

fn set(word: &Word, letter: char, options: &mut Options) -> Result<(), SyntaxError> {
    match letter {
        'w' => options.write = true,
        'q' => options.quiet = true,
        'n' => options.values = true,
        'e' => options.ignore = true,
        c if "abfhNopPrSVxXA".contains(c) => {
            return Err(SyntaxError::at(word, format!("\"-{c}\" is not simulated")));
        }
        c => return Err(SyntaxError::at(word, format!("sysctl: invalid option -- '{c}'"))),
    }
    Ok(())
}

fn variable(word: &Word, options: Options) -> Result<Variable, SyntaxError> {
    let (name, value) = match word.text.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (word.text.as_str(), None),
    };
    if value.is_none() && options.write {
        return Err(SyntaxError::at(word, "sysctl: command line(0): invalid syntax, continuing...")
            .hint(format!("write the name and the value in one word: {name}=1")));
    }
    if name.is_empty() {
        return Err(match value {
            Some(_) => SyntaxError::at(word, "sysctl: Path is not under /proc/sys/: /proc/sys/")
                .hint("write the name and the value in one word: net.ipv4.ip_forward=1"),
            None => SyntaxError::at(word, format!("sysctl: \"{name}\" is an unknown key")),
        });
    }
    if name.contains(['*', '?', '[']) {
        return Err(SyntaxError::at(word, "patterns are not simulated").hint("write one variable for each device"));
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(SyntaxError::at(word, "sysctl: a name has no blanks"));
    }
    Ok(Variable {
        name: dotted(name),
        value: value.map(str::to_owned),
        value_only: options.values,
        quiet: options.quiet,
        ignore_missing: options.ignore,
    })
}

/// The first separator says which one it is: `net/ipv4/conf/eth0.5/rp_filter` and `net.ipv4.conf.eth0/5.rp_filter` are
/// the same variable.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => swap(name),
        _ => name.to_owned(),
    }
}

/// Dots for slashes and slashes for dots.
fn swap(name: &str) -> String {
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(other).collect()
}
