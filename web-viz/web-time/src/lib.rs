//! Stands in for the crate web-time in builds for WebAssembly. rustls names it for programs that take the browser's
//! clock; in a simulation time is a parameter, so that there is no clock here. The real crate would need JavaScript.

use std::time::Duration;

/// A clock that nobody may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SystemTime;

/// There is no time here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SystemTimeError;

impl SystemTime {
    /// 1970-01-01
    pub const UNIX_EPOCH: SystemTime = SystemTime;

    /// The time of the machine.
    ///
    /// # Panics
    /// Always: whoever asks inside a simulation has made a mistake.
    pub fn now() -> Self {
        panic!("a simulation has asked for the machine's time")
    }

    /// How long after another time it is.
    ///
    /// # Errors
    /// Always.
    pub fn duration_since(&self, _: SystemTime) -> Result<Duration, SystemTimeError> {
        Err(SystemTimeError)
    }
}
