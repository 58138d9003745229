//! Names: glibc's resolver, the programs that ask (`dig`, `nslookup`, `getent`) and the server that answers
//! (`coredns`).

pub mod conf;
pub mod coredns;
pub(in crate::user) mod dig;
mod exchange;
pub(in crate::user) mod getent;
mod lookup;
mod message;
pub(in crate::user) mod nslookup;
pub mod resolver;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod texts;

use crate::base::files::Found;
use crate::engine::process::Env;

/// Longer files are cut: those that are read here are short.
const MAX_FILE: usize = 1 << 20;

/// The text of a file of the namespace that a program runs in.
fn file(env: &Env<'_>, path: &str) -> Option<String> {
    match env.files.find(path) {
        Found::File(file) => Some(String::from_utf8_lossy(&file.read(0, MAX_FILE)).into_owned()),
        Found::Directory | Found::Nothing => None,
    }
}
