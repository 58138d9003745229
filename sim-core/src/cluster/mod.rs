//! Kubernetes as programs that configure kernels: what they want is requests, rules and commands, as on a real node.
//!
//! Nothing in here sees a frame. Objects ([`object`]) and settings ([`config`]) make a cluster in which everything is
//! decided ([`store`]); from it come the commands of each node, in the order in which the kubelet, its network plugin
//! and kube-proxy issue them ([`bring_up`]).

pub mod bring_up;
pub mod config;
pub mod kube_proxy;
mod kubelet;
pub mod kubenet;
mod names;
pub mod object;
pub mod store;

#[cfg(test)]
mod tests;

use crate::base::Mac;
use std::net::Ipv4Addr;

/// The hardware address of a pod by its address (plugins/pkg/utils/hwaddr: GenerateHardwareAddr4).
fn pod_mac(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    Mac([0x0a, 0x58, a, b, c, d])
}
