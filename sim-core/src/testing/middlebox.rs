//! A router under test, with the oracles that hold of any.

use super::netns::{Error, NetNs};
use super::oracle::{self, Broken, Held, Oracle};
use super::outcome::{Outcome, Verdict};
use super::packet::Packet;
use crate::base::time::SEC;
use crate::kernel::conntrack::Info;
use crate::kernel::show;
use crate::kernel::trace::CtLabel;
use crate::wire::{IPPROTO_ICMP, checksum};
use std::net::Ipv4Addr;

/// A packet that came through, as it was on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passage {
    /// The device that it came in by.
    pub from: String,
    /// As it came in, from its IPv4 header on.
    pub before: Vec<u8>,
    /// The device that it left by.
    pub to: String,
    /// As it left, from its IPv4 header on.
    pub after: Vec<u8>,
}

impl Passage {
    /// What whoever gets the packet answers.
    ///
    /// # Panics
    /// The packet that left is none that can be read.
    pub fn answer(&self) -> Packet {
        Packet::read(&self.after).expect("what left is a packet").answer()
    }
}

/// A namespace whose packets are watched. After each, these oracles are asked: [`oracle::checksums_right`],
/// [`oracle::udp_zero_kept`], [`oracle::hooks_in_order`], [`oracle::counted_once`], [`oracle::tuples_unshared`],
/// [`oracle::nobody_holds`], [`oracle::expires_in_time`], [`oracle::no_packet_without_end`]; of an answer
/// [`oracle::reply_restored`], of an ICMP error [`oracle::error_restored`], after a pause [`oracle::gone_in_time`].
///
/// ```
/// use sim_core::testing::{Middlebox, NetNs, Packet};
///
/// let mut netns = NetNs::new(&["lan", "wan"])?;
/// for command in [
///     "ip addr add 10.0.0.1/24 dev lan",
///     "ip addr add 192.0.2.1/24 dev wan",
///     "sysctl -w net.ipv4.ip_forward=1",
///     "iptables -t nat -A POSTROUTING -o wan -j MASQUERADE",
/// ] {
///     netns.run(command)?;
/// }
/// let mut router = Middlebox::new(netns);
/// let question = router.forward("lan", &Packet::udp("10.0.0.2:5000", "192.0.2.9:53"))?.expect("it goes out");
/// let answer = router.answer(&question, &question.answer())?.expect("the answer comes back");
/// assert_eq!(answer.to, "lan");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Middlebox {
    /// The namespace, to change and to look at.
    pub netns: NetNs,
}

impl From<Error> for Broken {
    /// A namespace that cannot go on breaks a promise, too.
    fn from(e: Error) -> Self {
        Oracle("goes_on", "docs/testing-kit.md").broken(e.to_string())
    }
}

impl Middlebox {
    /// Watches this namespace from now on.
    pub fn new(netns: NetNs) -> Self {
        Middlebox { netns }
    }

    /// A packet comes in by a device; none if it does not leave by another one, or in fragments.
    ///
    /// # Errors
    /// An oracle says so.
    pub fn forward(&mut self, dev: &str, packet: &Packet) -> Result<Option<Passage>, Broken> {
        self.forward_bytes(dev, &packet.bytes())
    }

    /// As [`Middlebox::forward`], from the IPv4 header on.
    ///
    /// # Errors
    /// As of [`Middlebox::forward`].
    pub fn forward_bytes(&mut self, dev: &str, l3: &[u8]) -> Result<Option<Passage>, Broken> {
        let before = self.connections();
        let outcome = self.netns.receive_ip(dev, l3)?;
        oracle::hooks_in_order(self.netns.steps())?;
        self.invariants()?;
        for sent in &outcome.answers {
            oracle::checksums_right(sent.l3())?;
        }
        let passage = passage(dev, l3, &outcome);
        let Some(passage) = passage else { return Ok(None) };
        oracle::checksums_right(&passage.after)?;
        oracle::udp_zero_kept(&passage.before, &passage.after)?;
        // Errors belong to a connection and are not counted, and what is not tracked is not.
        let label = oracle::classified(self.netns.steps());
        if matches!(label, Some(CtLabel::New | CtLabel::Established)) {
            oracle::counted_once(&before, &self.connections(), l3)?;
        }
        Ok(Some(passage))
    }

    /// The answer to a packet that came through comes in where that left; none if it is not let through. An answer to
    /// somebody in the network of that device goes straight to it, past the router.
    ///
    /// # Errors
    /// An oracle says so: it arrives where nobody asked, or from whom nobody asked.
    pub fn answer(&mut self, question: &Passage, answer: &Packet) -> Result<Option<Passage>, Broken> {
        if self.is_beside(&question.to, answer.dst) {
            let (dev, bytes) = (question.to.clone(), answer.bytes());
            oracle::reply_restored(&question.before, &bytes)?;
            return Ok(Some(Passage { from: dev.clone(), before: bytes.clone(), to: dev, after: bytes }));
        }
        let Some(passage) = self.forward(&question.to, answer)? else { return Ok(None) };
        oracle::reply_restored(&question.before, &passage.after)?;
        goes_back(question, &passage)?;
        Ok(Some(passage))
    }

    /// Somebody (`from`) on the way of a packet that came through reports an ICMP error about it, of this type and
    /// code, and quotes so many bytes of it; none if it is not let through.
    ///
    /// # Errors
    /// As of [`Middlebox::answer`].
    pub fn error(
        &mut self,
        about: &Passage,
        from: Ipv4Addr,
        kind: (u8, u8),
        quote: usize,
    ) -> Result<Option<Passage>, Broken> {
        let error = icmp_error(from, kind, &about.after[..quote.min(about.after.len())]);
        let Some(passage) = self.forward_bytes(&about.to, &error)? else { return Ok(None) };
        oracle::error_restored(&about.before, &passage.after)?;
        goes_back(about, &passage)?;
        Ok(Some(passage))
    }

    /// So many seconds pass without a packet.
    ///
    /// # Errors
    /// An oracle says so.
    pub fn sleep(&mut self, seconds: u64) -> Held {
        let before = self.connections();
        self.netns.advance(seconds * SEC)?;
        oracle::gone_in_time(&before, seconds, &self.connections())?;
        self.invariants()
    }

    /// The connections, as `conntrack -L` shows them.
    pub fn connections(&self) -> Vec<Info> {
        self.netns.connections()
    }

    /// It is a neighbour at this device, and none of the router's own addresses.
    fn is_beside(&self, dev: &str, address: Ipv4Addr) -> bool {
        let (world, ns) = (self.netns.world(), self.netns.id());
        let links = show::links(world.machine(ns).spaces(), ns, world.now());
        let own = links.iter().flat_map(|l| &l.addrs).any(|a| a.local.addr() == address);
        let here = links.iter().filter(|l| l.name == dev).flat_map(|l| &l.addrs).any(|a| a.local.contains(&address));
        here && !own
    }

    fn invariants(&self) -> Held {
        let connections = self.connections();
        oracle::tuples_unshared(&connections)?;
        if self.netns.world().balance().2 == 0 {
            oracle::nobody_holds(&connections)?;
        }
        oracle::expires_in_time(&connections)?;
        oracle::no_packet_without_end(self.netns.world())
    }
}

/// A packet that answers another goes back to where that came from.
fn goes_back(question: &Passage, answer: &Passage) -> Held {
    let oracle = Oracle("goes_back", "RFC 3022 section 2.2");
    oracle.holds(answer.to == question.from, || format!("{} asked, and {} hears the answer", question.from, answer.to))
}

/// What the packet was on the other side, if it left whole.
fn passage(dev: &str, l3: &[u8], outcome: &Outcome) -> Option<Passage> {
    let Verdict::Sent(frames) = &outcome.verdict else { return None };
    let [sent] = &frames[..] else { return None };
    Some(Passage { from: dev.to_owned(), before: l3.to_vec(), to: sent.dev.clone(), after: sent.l3().to_vec() })
}

/// An ICMP error (RFC 792) from the IPv4 header on, to the sender of what it quotes.
pub fn icmp_error(from: Ipv4Addr, (kind, code): (u8, u8), quote: &[u8]) -> Vec<u8> {
    let to = quote.get(12..16).and_then(|a| <[u8; 4]>::try_from(a).ok()).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from);
    let header = Packet::new(IPPROTO_ICMP, from, to).payload(quote);
    let mut bytes = header.bytes();
    bytes[20..28].copy_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
    let sum = checksum(&bytes[20..]);
    bytes[22..24].copy_from_slice(&sum.to_be_bytes());
    bytes
}
