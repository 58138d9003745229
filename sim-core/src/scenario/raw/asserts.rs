//! Assertions about rule sets: `podhop iptables eval --assert FILE`.

use std::net::Ipv4Addr;

use deserr::{Deserr, ValuePointerRef};

use super::locate::Locate;
use super::problem::{Problems, Tree};
use super::text::{Bad, FromText};
use super::value::Spanned;
use super::{ApiVersion, Node};
use crate::scenario::diag::{Diagnostics, SourceFile, quote};
use crate::scenario::tree;
use crate::testing::TcpFlags;

/// A file of assertions.
#[derive(Clone, PartialEq, Debug, Deserr)]
#[deserr(error = Problems, deny_unknown_fields, rename_all = camelCase)]
pub struct Assertions {
    /// `podhop/v1`
    pub api_version: ApiVersion,
    /// `IptablesAssertions`
    pub kind: AssertionsKind,
    /// The packets that are sent.
    pub packets: Vec<PacketAssertion>,
}

/// What the file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr)]
#[deserr(error = Problems)]
pub enum AssertionsKind {
    /// The only one.
    IptablesAssertions,
}

/// A packet, and what must become of it.
#[derive(Clone, PartialEq, Debug, Deserr)]
#[deserr(error = Problems, deny_unknown_fields, rename_all = camelCase, validate = one_origin -> Problems)]
pub struct PacketAssertion {
    /// What it is about; left out, the packet's ends.
    #[deserr(default)]
    pub name: Option<String>,
    /// The device that it comes in by.
    #[deserr(default, rename = "in")]
    pub device: Option<Spanned<String>>,
    /// A process of the node sends it.
    #[deserr(default)]
    pub local: bool,
    /// Its protocol; left out, tcp.
    #[deserr(default)]
    pub proto: Option<Spanned<Protocol>>,
    /// Its source.
    pub src: Spanned<Ipv4Addr>,
    /// Its destination.
    pub dst: Spanned<Ipv4Addr>,
    /// Its source port; left out, 1000.
    #[deserr(default)]
    pub sport: Option<u16>,
    /// Its destination port.
    #[deserr(default)]
    pub dport: Option<u16>,
    /// Its ICMP type; left out, 8.
    #[deserr(default)]
    pub icmp_type: Option<u8>,
    /// Its TCP flags; left out, `S`.
    #[deserr(default)]
    pub tcp_flags: Option<Spanned<TcpFlags>>,
    /// The mark that its sender gives it (SO_MARK): with `local`.
    #[deserr(default)]
    pub mark: Option<u32>,
    /// Its connection has seen packets both ways.
    #[deserr(default)]
    pub established: bool,
    /// What must become of it, whichever way rules leave to chance.
    pub expect: Expected,
}

/// What must become of a packet; what is left out may be anything.
#[derive(Clone, PartialEq, Debug, Deserr)]
#[deserr(error = Problems, deny_unknown_fields, validate = something_expected -> Problems)]
pub struct Expected {
    /// All that its destination may be translated to, in any order: `ADDRESS:PORT`. None of them: it stays.
    #[deserr(default)]
    pub endpoints: Option<Vec<String>>,
    /// How its way ends, always.
    #[deserr(default)]
    pub verdict: Option<Verdict>,
    /// A rule gives it another source: always or never.
    #[deserr(default)]
    pub masqueraded: Option<bool>,
    /// Its answer comes back to where it came from.
    #[deserr(default)]
    pub answered: Option<bool>,
}

/// How a packet's way ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr)]
#[deserr(error = Problems, rename_all = lowercase)]
pub enum Verdict {
    /// It leaves.
    Sent,
    /// It is for the node itself.
    Local,
    /// It is dropped without an answer.
    Dropped,
    /// It is dropped and answered.
    Rejected,
}

/// A transport protocol, by name or number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protocol(pub u8);

/// The protocols that have names.
const PROTOCOLS: [(&str, u8); 4] = [("tcp", 6), ("udp", 17), ("icmp", 1), ("sctp", 132)];

impl Protocol {
    /// A protocol by its name or number; none if it is neither.
    pub fn parse(text: &str) -> Option<Protocol> {
        let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        named.or_else(|| text.parse().ok()).map(Protocol)
    }
}

impl FromText for Protocol {
    const WHAT: &'static str = "a protocol";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = || "tcp, udp, icmp, sctp or a number".to_owned();
        Protocol::parse(text).ok_or_else(|| Bad(format!("{} is no protocol", quote(text)), Some(hint())))
    }
}

impl FromText for TcpFlags {
    const WHAT: &'static str = "letters of TCP flags";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = || "as tcpdump writes them: S, SA, FA, R, PA".to_owned();
        TcpFlags::parse(text).ok_or_else(|| Bad(format!("{} are no TCP flags", quote(text)), Some(hint())))
    }
}

fn one_origin(packet: PacketAssertion, at: ValuePointerRef<'_>) -> Result<PacketAssertion, Problems> {
    let hint = Some("a packet comes in by a device (`in: eth0`), or the node sends it (`local: true`)".to_owned());
    match (&packet.device, packet.local) {
        (None, false) => Err(Problems::missing(at, &["in", "local"], hint)),
        (Some(_), false) if packet.mark.is_some() => {
            let hint = "marks are given by senders here and by rules".to_owned();
            Err(Problems::bad(at.push_key("mark"), "what comes in by a device has no mark".to_owned(), Some(hint)))
        }
        (Some(_), true) => Err(Problems::bad(at, "`in` and `local` exclude each other".to_owned(), hint)),
        _ => Ok(packet),
    }
}

fn something_expected(expected: Expected, at: ValuePointerRef<'_>) -> Result<Expected, Problems> {
    match &expected {
        Expected { endpoints: None, verdict: None, masqueraded: None, answered: None } => {
            Err(Problems::missing(at, &["endpoints", "verdict", "masqueraded", "answered"], None))
        }
        _ => Ok(expected),
    }
}

impl Locate for Assertions {
    fn locate(&mut self, node: &Node) {
        let Assertions { api_version: _, kind: _, packets } = self;
        if let Some(entry) = node.entry("packets") {
            packets.locate(&entry.value);
        }
    }
}

impl Locate for PacketAssertion {
    fn locate(&mut self, node: &Node) {
        let of = |key: &str| node.entry(key).map(|entry| &entry.value);
        let PacketAssertion { device, proto, src, dst, tcp_flags, .. } = self;
        of("in").into_iter().for_each(|n| device.locate(n));
        of("proto").into_iter().for_each(|n| proto.locate(n));
        of("src").into_iter().for_each(|n| src.locate(n));
        of("dst").into_iter().for_each(|n| dst.locate(n));
        of("tcpFlags").into_iter().for_each(|n| tcp_flags.locate(n));
    }
}

impl Assertions {
    /// Reads a file of assertions.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(source: &SourceFile) -> Result<Assertions, Diagnostics> {
        source.check_size()?;
        let mut errors = Diagnostics::default();
        let Some(root) = tree::read(source, &mut errors) else { return Err(errors) };
        match deserr::deserialize::<Assertions, _, Problems>(Tree(&root)) {
            Ok(mut assertions) if errors.is_empty() => {
                assertions.locate(&root);
                Ok(assertions)
            }
            Ok(_) => Err(errors),
            Err(problems) => {
                problems.report(source, &root, &mut errors);
                Err(errors)
            }
        }
    }
}
