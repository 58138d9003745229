//! For tests of rules, routes and the kernel itself: one network namespace, built from the commands that people type,
//! and a packet at a time. [`NetNs`] is the namespace, [`Packet`] makes packets, [`Outcome`] says what became of one.
//!
//! What a test does goes through the doors that all else uses: commands through netlink, packets through physical nics
//! and sockets. Nothing is looked up or changed behind the kernel's back.
//!
//! ```
//! use sim_core::testing::{NetNs, Packet, Verdict};
//!
//! let mut router = NetNs::new(&["eth0", "eth1"])?;
//! router.run("ip addr add 192.0.2.1/24 dev eth0")?;
//! router.run("ip addr add 10.0.0.1/24 dev eth1")?;
//! router.run("sysctl -w net.ipv4.ip_forward=1")?;
//! router.restore("*nat\n-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5:8080\nCOMMIT\n")?;
//! let outcome = router.receive("eth0", &Packet::tcp("192.0.2.9:1234", "192.0.2.1:80"))?;
//! let Verdict::Sent(frames) = &outcome.verdict else { panic!("{outcome}") };
//! assert_eq!((frames[0].dev.as_str(), frames[0].destination()), ("eth1", "10.0.0.5:8080".to_owned()));
//! assert_eq!(outcome.hits[0].number, Some(1));
//! # Ok::<(), sim_core::testing::Error>(())
//! ```

pub mod flow;
mod heard;
pub mod middlebox;
pub mod napt;
mod netns;
pub mod oracle;
mod outcome;
mod packet;
mod process;
pub mod rfc3022;
#[cfg(feature = "testing")]
pub mod strategy;

pub use flow::Flow;
pub use middlebox::{Middlebox, Passage};
pub use netns::{Error, MAX_COMMAND_NS, NetNs, neighbour_mac};
pub use outcome::{Hit, Outcome, Receiver, Sent, Verdict};
pub use packet::{Packet, TcpFlags};

#[cfg(test)]
mod tests;
