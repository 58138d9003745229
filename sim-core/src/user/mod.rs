//! Programs in user space, as state machines over the system calls: `ping` and `arping` of iputils 20221126. Options,
//! texts, exit statuses, the order of the system calls and the rules for waiting are those of the real programs.

mod args;
mod arping;
mod ping;
#[cfg(test)]
mod script;

use crate::base::words::{SyntaxError, Word};
use crate::engine::process::Program;

/// The programs that [`parse`] knows.
pub const PROGRAMS: [&str; 2] = ["arping", "ping"];

/// Reads the command line of a program; its name comes first.
///
/// # Errors
/// What the real program would say about its words before it does anything; that a part of it is not simulated; or that
/// there is no such program.
pub fn parse(words: &[Word]) -> Result<Box<dyn Program>, SyntaxError> {
    let Some((name, rest)) = words.split_first() else { return Err(SyntaxError::new(0..0, "there is no command")) };
    match name.text.as_str() {
        "ping" => Ok(Box::new(ping::Ping::new(ping::options::parse(name, rest)?))),
        "arping" => Ok(Box::new(arping::Arping::new(arping::options::parse(name, rest)?))),
        other => Err(SyntaxError::at(name, format!("{other}: command not found")).hint_nearest(other, PROGRAMS)),
    }
}
