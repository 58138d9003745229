//! dmesg(1)

use crate::base::time::{SEC, US};
use crate::kernel::printk::KernelLog;
use std::fmt::Write as _;

/// `dmesg`: which parts of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dmesg {
    /// `-r`: the level as a number, in the kernel's own form.
    pub raw: bool,
    /// `-t`: no times.
    pub notime: bool,
    /// `-x`: facility and level by name.
    pub decode: bool,
}

/// Levels by number.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

/// The log as dmesg prints it.
pub fn dmesg(log: &KernelLog, how: Dmesg) -> String {
    let mut s = String::new();
    for line in log.lines() {
        if how.raw {
            let _ = write!(s, "<{}>", line.level);
        }
        if how.decode {
            let level = LEVELS.get(usize::from(line.level)).copied().unwrap_or_default();
            let _ = write!(s, "{:<6}:{level:<6}: ", "kern");
        }
        if !how.notime {
            let _ = write!(s, "[{:5}.{:06}] ", line.at.0 / SEC, line.at.0 % SEC / US);
        }
        let _ = writeln!(s, "{}", line.text);
    }
    s
}
