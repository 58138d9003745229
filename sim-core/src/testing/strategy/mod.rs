//! Strategies of proptest: what to throw at a network. Each says what it makes and what it shrinks to; what is listed
//! first shrinks last, so that a minimal case has plain ports, few hosts, short payloads and few rules.

mod cluster;
mod labs;
mod napt;
mod packet;
mod rules;
#[cfg(feature = "scenario")]
mod services;

pub use cluster::{ClusterCase, cluster, faults};
pub use labs::{BridgeLab, LabFlow, RulesLab, Source, bridge_lab, rules_lab};
pub use napt::{napt_ops, napt_router};
pub use packet::{broken, flow, host, packet, port, tuple};
pub use rules::{Site, rules};
#[cfg(feature = "scenario")]
pub use services::{Services, services};
