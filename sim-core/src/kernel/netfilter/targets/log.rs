//! `-j LOG` (net/netfilter/xt_LOG.c, extensions/libxt_LOG.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::words::quoted;

const SPECS: [Spec; 7] = [
    Spec::new("log-level", 5, Kind::Level),
    Spec::new("log-prefix", 6, Kind::Str),
    Spec::new("log-tcp-sequence", 0, Kind::None),
    Spec::new("log-tcp-options", 1, Kind::None),
    Spec::new("log-ip-options", 2, Kind::None),
    Spec::new("log-uid", 3, Kind::None),
    Spec::new("log-macdecode", 4, Kind::None),
];
const FLAGS: [&str; 5] = ["tcp-sequence", "tcp-options", "ip-options", "uid", "macdecode"];

/// Levels by number.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];

/// The level of a warning.
const DEFAULT_LEVEL: u8 = 4;
/// A prefix is cut at so many bytes.
const MAX_PREFIX: usize = 29;

/// `-j LOG`: the packet is written to the kernel's log and goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// The level of syslog(3).
    pub level: u8,
    /// What stands before it.
    pub prefix: String,
    /// What is written besides: `XT_LOG_*` bits.
    pub flags: u8,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: DEFAULT_LEVEL, prefix: String::new(), flags: 0 }
    }
}

impl Extension for Log {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            5 => self.level = given.value.number() as u8,
            6 if given.arg.is_empty() => {
                return Err(Error::usage("Argument must have a minimum length of 1 characters\n"));
            }
            6 if given.arg.contains('\n') => {
                return Err(Error::usage("Newlines not allowed in --log-prefix"));
            }
            6 => {
                let end = (0..=MAX_PREFIX.min(given.arg.len())).rev().find(|n| given.arg.is_char_boundary(*n));
                self.prefix = given.arg[..end.unwrap_or(0)].to_owned();
            }
            bit => self.flags |= 1 << bit,
        }
        Ok(())
    }

    fn list(&self, out: &mut String, how: Listing) {
        out.push_str(" LOG");
        if how.numeric {
            out.push_str(&format!(" flags {} level {}", self.flags, self.level));
        } else {
            match LEVELS.get(usize::from(self.level)) {
                Some(level) => out.push_str(&format!(" level {level}")),
                None => out.push_str(&format!(" UNKNOWN level {}", self.level)),
            }
            for (_, name) in FLAGS.iter().enumerate().filter(|(bit, _)| self.flags & 1 << bit != 0) {
                out.push_str(&format!(" {name}"));
            }
        }
        if !self.prefix.is_empty() {
            out.push_str(&format!(" prefix \"{}\"", self.prefix));
        }
    }

    fn save(&self, out: &mut String) {
        if !self.prefix.is_empty() {
            out.push_str(&format!(" --log-prefix {}", quoted(&self.prefix)));
        }
        if self.level != DEFAULT_LEVEL {
            out.push_str(&format!(" --log-level {}", self.level));
        }
        for (bit, name) in FLAGS.iter().enumerate() {
            if self.flags & 1 << bit != 0 {
                out.push_str(&format!(" --log-{name}"));
            }
        }
    }
}
