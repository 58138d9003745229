//! Kubernetes as programs that configure kernels: what they want is requests, rules and commands, as on a real node.
//!
//! Nothing in here sees a frame. Objects ([`object`]) and settings ([`config`]) make a cluster in which everything is
//! decided ([`store`]); from it come the commands of each node, in the order in which the kubelet, its network plugin
//! ([`cni`]) and kube-proxy issue them ([`bring_up`]), those of a mesh ([`istio`]) among them. What changes afterwards,
//! and when, is the [`control_plane`]'s.

pub mod bring_up;
pub mod cni;
pub mod config;
pub mod control_plane;
pub mod istio;
pub mod kube_proxy;
mod kubelet;
mod names;
pub mod object;
mod probes;
pub mod store;
mod system;

#[cfg(test)]
mod tests;

pub use kubelet::{heeds_sigterm, log_file};
