//! What the integration tests share.
//!
//! * [`judge`]: does a run show what the real kernel showed?
//! * [`recordings`]: what the real kernel showed, lab by lab and case by case.

pub mod judge;
pub mod recordings;
