//! What the integration tests share.
//!
//! * [`big_cluster`]: a cluster as large as is asked for.
//! * [`census`]: births and deaths of frames.
//! * [`drill`]: scripts of segments, one by one.
//! * [`recordings`]: what the real kernel showed, lab by lab and case by case.
//! * [`lab`]: the same labs and cases, simulated.
//! * [`live`]: small labs held against the real kernel.
//! * [`mutations`]: bugs that are planted.
//! * [`nightly`]: random cases on the real kernel.
//! * [`parity`]: all scenarios held against the real kernel.
//! * [`random`]: clusters, rules and flows that nobody has chosen.
//! * [`real`]: scenarios on the real kernel, with the real tools.
//! * [`scenarios`]: the scenarios of the course.
//! * [`schema`]: whether JSON is what a schema says.
//! * [`verdict`]: which comparison holds for which case.
//! * [`wire`]: a wire that treats packets badly.

pub mod big_cluster;
pub mod census;
pub mod coverage;
pub mod drill;
pub mod iptables;
pub mod lab;
pub mod live;
pub mod mutations;
pub mod nightly;
pub mod parity;
pub mod random;
pub mod real;
pub mod recordings;
pub mod scenarios;
pub mod schema;
pub mod verdict;
pub mod wire;
