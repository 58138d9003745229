//! What a run shows: captures, their ground truth, the trace, stories and journeys. Listeners only: nothing here acts.

mod capture;
mod cluster;
pub mod connections;
pub mod files;
pub mod filter;
pub mod flows;
pub mod line;
pub mod names;
pub mod pcap;
mod pcapng;
mod proxies;
pub mod recorder;
pub mod steps;
pub mod story;
#[cfg(feature = "scenario")]
pub mod topology;

pub use files::{Memory, Nowhere, Store, Written};
pub use recorder::{Outputs, Recorder};
