//! Scenario files: YAML in, a run out, or all errors of the file at once.
//!
//! ```text
//! file --sources--> text --tree--> nodes with spans --raw::parse--> structs that mirror the file
//!      --resolve--> plan: names looked up, commands and filters compiled --run--> report and outputs
//! ```
//!
//! What can be decided by looking at one value is checked by [`raw`], what needs two by `resolve`. [`diag`] renders
//! every error, whoever finds it.

mod cluster;
mod control;
mod course;
pub mod diag;
pub mod eval;
pub mod exec;
mod expect;
mod faults;
mod kube;
pub mod manifest;
mod one_kernel;
pub mod plan;
pub mod raw;
pub mod replay;
pub mod report;
mod resolve;
mod run;
mod setup;
pub mod sources;
mod tree;
mod underlay;

pub use course::LOOKS;
pub use diag::{Diagnostic, Diagnostics, SourceFile};
pub use one_kernel::{SHORT_LATENCY_NS, load_on_one_kernel};
pub use plan::Plan;
pub use replay::Replay;
pub use resolve::{load, resolve, resolve_in, setup_diagnostics};
pub use run::{Options, Progress, RunError, play, run};
pub use setup::{SetupError, build};
pub use sources::{Disk, Sources};
