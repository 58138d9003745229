//! What the integration tests share.
//!
//! * [`census`]: births and deaths of frames.
//! * [`drill`]: scripts of segments, one by one.
//! * [`judge`]: does a run show what the real kernel showed?
//! * [`recordings`]: what the real kernel showed, lab by lab and case by case.
//! * [`lab`]: the same labs and cases, simulated.
//! * [`live`]: the same lab on the real kernel and in ours.
//! * [`real`]: scenarios on the real kernel, with the real tools.
//! * [`scenarios`]: the scenarios of the course.
//! * [`schema`]: whether JSON is what a schema says.
//! * [`wire`]: a wire that treats packets badly.

pub mod census;
pub mod drill;
pub mod iptables;
pub mod judge;
pub mod lab;
pub mod live;
pub mod real;
pub mod recordings;
pub mod scenarios;
pub mod schema;
pub mod wire;
