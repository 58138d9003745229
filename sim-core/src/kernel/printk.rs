//! Mirrors kernel/printk/printk.c: the kernel's own log, as far as the network writes to it.

use crate::base::Time;
use std::collections::VecDeque;

/// The log keeps so many bytes of text, the latest (CONFIG_LOG_BUF_SHIFT of 18).
pub const LOG_BUF_LEN: usize = 1 << 18;

/// The log of a kernel (`/dev/kmsg`).
#[derive(Clone, Debug, Default)]
pub struct KernelLog {
    lines: VecDeque<Line>,
    bytes: usize,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When it was written: since the kernel has started, which is the beginning of simulated time.
    pub at: Time,
    /// The level of syslog(3), from 0 emerg to 7 debug.
    pub level: u8,
    /// What it says.
    pub text: String,
}

impl KernelLog {
    /// printk: one more line. The oldest go when there is no room for it.
    pub(in crate::kernel) fn printk(&mut self, at: Time, level: u8, text: String) {
        self.bytes += text.len();
        self.lines.push_back(Line { at, level, text });
        while self.bytes > LOG_BUF_LEN {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }

    /// All that it keeps, the oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_go() {
        let mut log = KernelLog::default();
        for n in 0..10_u64 {
            log.printk(Time(n), 4, "x".repeat(LOG_BUF_LEN / 4));
        }
        assert_eq!(log.lines().map(|l| l.at.0).collect::<Vec<_>>(), [6, 7, 8, 9]);
    }
}
