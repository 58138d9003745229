//! How iptables fails: its own words and exit statuses (iptables(8), "DIAGNOSTICS"; libiptc/libiptc.c:
//! iptc_strerror; net/netfilter/nf_tables_api.c for what the nf_tables backend reports).

use super::Backend;
use crate::kernel::errno::Errno;

/// Why a command or a line of iptables-restore was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The words are wrong (`PARAMETER_PROBLEM`): the message, followed by the advice to ask for help.
    Usage(String),
    /// As [`Error::Usage`], but the message stands alone, without the program's name.
    Argument(String),
    /// There is no such table (`VERSION_PROBLEM`).
    Version(String),
    /// `OTHER_PROBLEM`
    Other(String),
    /// What libiptc, or its copy in the nf_tables backend, refuses before the kernel is asked.
    Refused {
        /// Its sentence, without a full stop.
        text: &'static str,
        /// The error number behind it; EINVAL adds a word about dmesg.
        errno: Errno,
    },
    /// What the kernel refuses.
    Kernel {
        /// The nf_tables request that failed: `RULE_APPEND`.
        request: &'static str,
        /// Why, for the legacy backend (xtables) and for nf_tables.
        errno: [Errno; 2],
        /// What it was about: `rule in chain INPUT`.
        object: String,
    },
    /// A line of iptables-restore failed and there is nothing more to say.
    Line,
    /// The text of iptables-restore ended without COMMIT.
    NoCommit,
}

/// A request that was refused, and the line of iptables-restore's text, counted from 1, that is to blame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// Of a restore.
    pub line: Option<u32>,
    /// What the tables are of.
    pub backend: Backend,
}

impl Refused {
    /// What `program` prints to standard error, with the final newline.
    pub fn text(&self, program: &str) -> String {
        self.error.text(Place { program, backend: self.backend, line: self.line })
    }

    /// The exit status of the program.
    pub fn status(&self) -> i32 {
        self.error.status(self.backend)
    }
}

/// Where an error happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The program's name as it was called: `iptables`, `iptables-restore`.
    pub program: &'a str,
    /// Its backend.
    pub backend: Backend,
    /// The line of iptables-restore's text, counted from 1.
    pub line: Option<u32>,
}

impl Error {
    /// A [`Error::Usage`].
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    /// `No chain/target/match by that name`
    pub(super) const NO_CHAIN: Error =
        Error::Refused { text: "No chain/target/match by that name", errno: Errno::ENOENT };

    /// `Bad rule (does a matching rule exist in that chain?)`
    pub(super) const BAD_RULE: Error =
        Error::Refused { text: "Bad rule (does a matching rule exist in that chain?)", errno: Errno::ENOENT };

    /// The error number behind it, as far as there is one.
    pub fn errno(&self) -> Errno {
        match self {
            Error::Refused { errno, .. } => *errno,
            Error::Kernel { errno: [legacy, _], .. } => *legacy,
            Error::Usage(_)
            | Error::Argument(_)
            | Error::Version(_)
            | Error::Other(_)
            | Error::Line
            | Error::NoCommit => Errno::EINVAL,
        }
    }

    /// The exit status of the program that fails with it.
    pub fn status(&self, backend: Backend) -> i32 {
        match self {
            Error::Usage(_) | Error::Argument(_) => 2,
            Error::Version(_) => 3,
            Error::Kernel { .. } if backend == Backend::Nft => 4,
            Error::Other(_) | Error::Refused { .. } | Error::Kernel { .. } | Error::Line | Error::NoCommit => 1,
        }
    }

    /// What the program prints to standard error, with the final newline.
    pub fn text(&self, place: Place<'_>) -> String {
        let Place { program, backend, line } = place;
        let head = format!("{program} v{} ({})", super::VERSION, backend.name());
        let at = line.map_or(String::new(), |n| format!("Error occurred at line: {n}\n"));
        let help = format!("{at}Try `{program} -h' or '{program} --help' for more information.\n");
        let number = line.unwrap_or(0);
        match (self, backend) {
            (Error::Usage(m), _) => format!("{head}: {m}\n{help}"),
            (Error::Argument(m), _) => format!("{m}\n{help}"),
            (Error::Version(m), _) => {
                format!("{head}: {m}\nPerhaps iptables or your kernel needs to be upgraded.\n")
            }
            (Error::Other(m), _) => format!("{head}: {m}\n"),
            (Error::NoCommit, _) => format!("{program}: COMMIT expected at line {number}\n"),
            (Error::Line, _) => format!("{program}: line {number} failed\n"),
            (Error::Refused { .. } | Error::Kernel { .. }, Backend::Legacy) if line.is_some() => {
                format!("{program}: line {number} failed\n")
            }
            (Error::Refused { text, .. }, Backend::Nft) if line.is_some() => {
                format!("{program}: line {number} failed: {text}.\n")
            }
            (Error::Refused { text, errno }, _) => refused(program, text, *errno),
            (Error::Kernel { errno: [legacy, _], .. }, Backend::Legacy) => refused(program, legacy.text(), *legacy),
            (Error::Kernel { request, errno: [_, nft], object }, Backend::Nft) => {
                let at = line.map_or(String::new(), |n| format!("\nline {n}:"));
                format!("{head}: {at} {request} failed ({nft}): {object}\n")
            }
        }
    }
}

fn refused(program: &str, text: &str, errno: Errno) -> String {
    let dmesg = if errno == Errno::EINVAL { " Run `dmesg' for more information." } else { "" };
    format!("{program}: {text}.{dmesg}\n")
}
