//! Paths through a simulated network whose cost is measured: by criterion (`benches/hop.rs`), against the real kernel
//! (`bin/bench-peers`), and by the test that a warm datapath allocates nothing.

pub mod lab;
pub mod paths;
pub mod programs;
pub mod rules;
