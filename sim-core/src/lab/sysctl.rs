//! sysctl(8) of procps: variables are read and written in the order in which they stand, and an error does not stop it.

use super::args::not_simulated;
use super::{Action, SyntaxError, Word};
use crate::base::NsId;
use crate::engine::process::Console;
use crate::kernel::errno::Errno;
use crate::kernel::netns::Spaces;
use crate::kernel::show;
use crate::user::args::{Getopt, short};
use regex_lite::Regex;

/// What `sysctl` is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sysctl {
    /// In the order in which they stand.
    pub variables: Vec<Variable>,
    /// How.
    pub options: Options,
}

/// A variable that `sysctl` reads or writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// In dotted form; one that is read may be a folder, and an empty one is the folder of all (`-a`).
    pub name: String,
    /// The value to write; none reads.
    pub value: Option<String>,
}

/// The options of the command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "options of the command line")]
pub struct Options {
    /// `-n`: values without their names.
    pub values: bool,
    /// `-N`: names without their values.
    pub names: bool,
    /// `-q`: what was written is not printed.
    pub quiet: bool,
    /// `-e`: nothing is said of a variable that does not exist.
    pub ignore_missing: bool,
    /// `--deprecated`: what has a newer form is listed with a folder, too.
    pub deprecated: bool,
    /// `-r`: the regular expression that names must match.
    pub pattern: Option<String>,
}

/// What a folder does not show by itself: the leaves of names that have a newer form.
const DEPRECATED: [&str; 2] = ["base_reachable_time", "retrans_time"];

impl Sysctl {
    /// Prints a variable, or all that is in a folder; returns how many do not exist.
    pub(super) fn read(&self, name: &str, spaces: &Spaces, ns: NsId, console: &mut Console) -> i32 {
        // What did not read as an expression was refused with the command.
        let pattern = self.options.pattern.as_ref().and_then(|p| Regex::new(p).ok());
        let chosen = |name: &str| pattern.as_ref().is_none_or(|p| p.is_match(name));
        if let Some(value) = show::sysctl(spaces, ns, name) {
            if chosen(name) {
                self.print(name, &value, console);
            }
            return 0;
        }
        let folder = swap(name);
        let inside =
            |path: &String| folder.is_empty() || path.strip_prefix(&folder).is_some_and(|below| below.starts_with('/'));
        let mut paths = show::sysctl_paths(spaces, ns).into_iter().filter(inside).peekable();
        if paths.peek().is_none() {
            return self.missing(name, console);
        }
        for path in paths {
            let leaf = path.rsplit('/').next().unwrap_or_default();
            let name = swap(&path);
            if chosen(&name) && (self.options.deprecated || !DEPRECATED.contains(&leaf)) {
                self.print(&name, &show::sysctl(spaces, ns, &path).unwrap_or_default(), console);
            }
        }
        0
    }

    /// Says how writing a variable ended; returns the exit status for it.
    pub(super) fn written(&self, name: &str, value: &str, error: Option<Errno>, console: &mut Console) -> i32 {
        let refused = |errno: Errno, console: &mut Console| {
            console.err(format!("sysctl: setting key \"{name}\": {errno}\n"));
        };
        match error {
            None if self.options.quiet => 0,
            None if self.options.values || self.options.names => {
                console.out(format!("{value}\n"));
                0
            }
            None => {
                console.out(format!("{name} = {value}\n"));
                0
            }
            Some(Errno::ENOENT) => self.missing(name, console),
            // procps has lost the error number by then, and its exit status too.
            Some(Errno::EACCES | Errno::EPERM | Errno::EISDIR) => {
                refused(Errno::EINVAL, console);
                0
            }
            Some(errno) => {
                refused(errno, console);
                1
            }
        }
    }

    fn print(&self, name: &str, value: &str, console: &mut Console) {
        console.out(match (self.options.names, self.options.values) {
            (true, _) => format!("{name}\n"),
            (false, true) => format!("{value}\n"),
            (false, false) => format!("{name} = {value}\n"),
        });
    }

    /// Says that there is no such variable; returns the exit status for it.
    fn missing(&self, name: &str, console: &mut Console) -> i32 {
        if self.options.ignore_missing {
            return 0;
        }
        console.err(format!("sysctl: cannot stat /proc/sys/{}: {}\n", swap(name), Errno::ENOENT));
        1
    }
}

/// Long options with their letters.
const LONG: &[(&str, char)] = &[
    ("all", 'a'),
    ("binary", 'b'),
    ("help", 'h'),
    ("ignore", 'e'),
    ("load", 'p'),
    ("names", 'N'),
    ("pattern", 'r'),
    ("quiet", 'q'),
    ("values", 'n'),
    ("version", 'V'),
    ("write", 'w'),
];

/// The letters of procps' sysctl.c.
const SPEC: &str = "abdefhnNopqr:VwxXA";

pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let last = words.last().map_or(0..0, |w| w.span.clone());
    let mut words = short(words.get(1..).unwrap_or_default(), LONG);
    let all_words = words.len();
    words.retain(|w| w.text != "--deprecated");
    let mut options = Options { deprecated: words.len() < all_words, ..Options::default() };
    let long = |w: &&Word| w.text.starts_with("--");
    if let Some(word) = words.iter().take_while(|w| w.text != "--").find(long) {
        return Err(match word.text.as_str() {
            "--dry-run" | "--system" => not_simulated(word),
            text => SyntaxError::at(word, format!("sysctl: unrecognized option '{text}'"))
                .hint_nearest(&text[2..], LONG.iter().map(|l| l.0)),
        });
    }
    let mut getopt = Getopt::new("sysctl", SPEC, &words);
    let (mut all, mut write) = (false, false);
    while let Some(option) = getopt.next()? {
        match option.letter {
            'a' | 'A' | 'X' => all = true,
            'e' => options.ignore_missing = true,
            'n' => options.values = true,
            'N' => options.names = true,
            'q' => options.quiet = true,
            'r' => {
                let bad =
                    |_| option.error("sysctl", format!("the regular expression \"{}\" does not read", option.arg));
                Regex::new(option.arg).map_err(bad)?;
                options.pattern = Some(option.arg.to_owned());
            }
            'w' => write = true,
            // For compatibility with BSD: they do nothing.
            'o' | 'x' => {}
            _ => return Err(option.not_simulated("sysctl")),
        }
    }
    if all {
        let variables = vec![Variable { name: String::new(), value: None }];
        return Ok(Action::Sysctl(Sysctl { variables, options }));
    }
    if options.names && options.quiet {
        return Err(SyntaxError::new(last, "sysctl: options -N and -q cannot coexist"));
    }
    if getopt.operands.is_empty() {
        return Err(SyntaxError::new(last, "sysctl: no variables specified")
            .hint("to read: sysctl net.ipv4.ip_forward; to write: sysctl -w net.ipv4.ip_forward=1"));
    }
    let variables: Vec<_> = getopt.operands.iter().map(|w| variable(w, write)).collect::<Result<_, _>>()?;
    if options.pattern.is_some() && variables.iter().any(|v| v.value.is_some()) {
        return Err(SyntaxError::new(last, "sysctl: -r for variables that are written is not simulated"));
    }
    Ok(Action::Sysctl(Sysctl { variables, options }))
}

fn variable(word: &Word, write: bool) -> Result<Variable, SyntaxError> {
    let (name, value) = match word.text.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (word.text.as_str(), None),
    };
    if value.is_none() && write {
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
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(SyntaxError::at(word, "sysctl: a name has no blanks"));
    }
    Ok(Variable { name: dotted(name), value: value.map(str::to_owned) })
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
pub(super) fn swap(name: &str) -> String {
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(other).collect()
}
