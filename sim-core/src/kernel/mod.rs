//! The kernel: network namespaces, sans-IO, following Linux 6.18 function by function. File names echo Linux's `net/`.
//!
//! Everything mutable is private to this module. Three doors lead in: [`netlink`] (and sysctl) to configure,
//! [`syscall`] for programs, [`show`] to read. Time, randomness and the queues of the machine come with each call as
//! [`cx::Cx`].

mod arp;
pub mod bpf;
pub mod conntrack;
pub mod cred;
pub mod cx;
mod dev;
pub mod errno;
mod fib;
mod flow;
pub mod frame;
mod ip;
mod neigh;
pub mod netfilter;
pub mod netlink;
pub mod netns;
mod nf_hook;
mod nf_log;
mod nf_socket;
pub mod printk;
pub mod profile;
mod reject;
mod rules;
pub mod show;
mod socket;
mod softnet;
pub mod syscall;
mod sysctl;
pub mod tc;
mod tcpmss;
pub mod timer;
mod tproxy;
pub mod trace;

pub use fib::mask;
