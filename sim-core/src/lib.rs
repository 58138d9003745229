//! The simulated network of podhop: Linux's network stack, machines, programs and scenarios, deterministic to the byte.
//!
//! From bottom to top: [`base`], [`wire`], [`kernel`], [`engine`], [`user`], [`lab`], `cluster`, [`observe`],
//! [`testing`], `scenario`. An upper floor uses lower ones, never the reverse.

pub mod base;
#[cfg(feature = "scenario")]
pub mod cluster;
pub mod engine;
pub mod kernel;
pub mod lab;
pub mod observe;
#[cfg(feature = "scenario")]
pub mod scenario;
pub mod testing;
pub mod user;
pub mod wire;
