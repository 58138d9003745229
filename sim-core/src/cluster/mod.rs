//! Kubernetes as programs that configure kernels: what they want is requests, rules and commands, as on a real node.
//!
//! Nothing in here sees a frame. kube-proxy is a function from Services and endpoints to the text that it gives to
//! iptables-restore; the kubelet and its network plugins are lists of commands.

pub mod kube_proxy;
pub mod object;
