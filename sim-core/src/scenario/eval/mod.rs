//! Where a packet goes in the rules of a real node (`podhop iptables eval`): the node is made anew from what
//! iptables-save, `ip -j` and sysctl printed there, and the packet is sent through it.
//!
//! ```text
//!   dumps --load--> Node --ask(Question)--> Answer: every way, its odds, its path, the answer's path
//! ```
//!
//! Whatever stands in a dump is loaded as on the node, or named with file, line and column.

mod asserts;
mod dumps;
mod fraction;
mod report;
mod rules;
mod turn;

pub use asserts::{Asserted, Assertion, DEFAULT_PORT, check, parse as parse_assertions};
pub use dumps::{Dumps, Node};
pub use fraction::Fraction;
use turn::Next;
pub use turn::{Ending, PathStep, Rule, Turn};

use crate::kernel::conntrack::{NewConnection, Tuple};
use crate::kernel::netfilter::choices::{Choice, Choices};
use crate::kernel::netlink::Request;
use crate::testing::{Error, NetNs, Packet};
use crate::wire::IPPROTO_ICMP;
use serde::Serialize;

/// As many ways are gone at most.
pub const MAX_WAYS: usize = 4096;
/// A flow has at most so many packets.
pub const MAX_PACKETS: u32 = 64;
/// How long a connection lives that is there before, in seconds.
const PRELOAD_S: u32 = 3600;

/// Where a packet comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It comes in by this device; a bridge stands for its first port.
    Device(String),
    /// A process of the node sends it.
    Local,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Where the packet comes from.
    pub from: Origin,
    /// The packet.
    pub packet: Packet,
    /// The mark that its sender gives it (SO_MARK): of a packet that the node itself sends.
    pub mark: u32,
    /// Its connection has seen packets both ways already.
    pub established: bool,
    /// So many packets of the flow are asked for, to and fro: the packet, its answer, what follows.
    pub packets: u32,
    /// All ways are gone that rules leave to chance, not one of them.
    pub all_choices: bool,
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The ways that it may go, the first rule's choice first. Those with the same end are one.
    pub ways: Vec<Way>,
}

/// One way that a packet may go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Way {
    /// How likely it is; none if only one way was gone.
    #[serde(serialize_with = "as_text")]
    pub odds: Option<Fraction>,
    /// `ADDRESS:PORT` that its destination was translated to.
    pub endpoint: Option<String>,
    /// A rule has given it another source.
    pub masqueraded: bool,
    /// The packet, its answer, and what follows.
    pub turns: Vec<Turn>,
}

#[allow(clippy::ref_option, reason = "serde hands it over so")]
fn as_text<S: serde::Serializer>(odds: &Option<Fraction>, s: S) -> Result<S::Ok, S::Error> {
    odds.map(|odds| odds.to_string()).serialize(s)
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AskError {
    /// No such device, or a limit of the simulation was hit.
    Failed(Error),
    /// There are more ways than [`MAX_WAYS`], or their odds have terms of more than 128 bits.
    TooManyWays,
}

impl From<Error> for AskError {
    fn from(e: Error) -> Self {
        AskError::Failed(e)
    }
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AskError::Failed(e) => e.fmt(f),
            AskError::TooManyWays => write!(f, "limit MAX_WAYS = {MAX_WAYS} reached: so many ways may the packet go"),
        }
    }
}

impl std::error::Error for AskError {}

impl Node {
    /// Sends a packet through the node, which stays as it is.
    ///
    /// # Errors
    /// The packet's device is none of the node's, or a limit was hit.
    pub fn ask(&self, question: &Question) -> Result<Answer, AskError> {
        let from = match &question.from {
            Origin::Device(name) => Origin::Device(self.ports.get(name).unwrap_or(name).clone()),
            Origin::Local => Origin::Local,
        };
        let mut ways: Vec<Way> = Vec::new();
        let mut next = Some(question.all_choices.then(Choices::default));
        let mut gone = 0;
        while let Some(choices) = next {
            if gone == MAX_WAYS {
                return Err(AskError::TooManyWays);
            }
            gone += 1;
            let mut netns = self.netns.clone();
            netns.choose(choices);
            let mut way = go(&mut netns, &from, question)?;
            let choices = netns.choose(None);
            if let Some(choices) = &choices {
                way.odds = Some(odds(choices.taken()).ok_or(AskError::TooManyWays)?);
            }
            match ways.iter_mut().find(|w| w.ends_as(&way)) {
                Some(same) => {
                    let odds = same.odds.zip(way.odds).map(|(a, b)| a.or(b).ok_or(AskError::TooManyWays));
                    same.odds = odds.transpose()?;
                }
                None => ways.push(way),
            }
            next = choices.and_then(|c| c.next()).map(Some);
        }
        Ok(Answer { ways })
    }
}

impl Way {
    /// Both mean the same to whoever sent the packet.
    fn ends_as(&self, other: &Way) -> bool {
        let ends = |way: &Way| {
            (way.endpoint.clone(), way.masqueraded, way.turns.iter().map(Turn::summary).collect::<Vec<_>>())
        };
        ends(self) == ends(other)
    }
}

/// All decisions come out so.
fn odds(taken: &[Choice]) -> Option<Fraction> {
    taken.iter().try_fold(Fraction::ONE, |all, c| {
        let held = Fraction::of(c.odds, c.of);
        all.and(if c.held { held } else { held.complement() })
    })
}

/// One way: the packet, then its answer, and so on.
fn go(netns: &mut NetNs, from: &Origin, question: &Question) -> Result<Way, Error> {
    let packet = &question.packet;
    let mut next = Next::Send(from.clone(), packet.clone());
    if question.established {
        let tuple = Tuple::of(&packet.bytes(), 0);
        let new = tuple.map(|tuple| Box::new(NewConnection::established(tuple, PRELOAD_S)));
        new.into_iter().try_for_each(|new| netns.request(&Request::ConntrackNew(new)))?;
    }
    let mut turns = Vec::new();
    let (mut endpoint, mut masqueraded) = (None, false);
    for n in 0..question.packets.clamp(1, MAX_PACKETS) {
        netns.mark(if n == 0 { question.mark } else { 0 });
        let gone = turn::take(netns, &next, n == 0)?;
        if n == 0 {
            let end = (gone.seen.dst, gone.seen.dport);
            let port = |p: u16| if packet.protocol == IPPROTO_ICMP { String::new() } else { format!(":{p}") };
            endpoint = (end != (packet.dst, packet.dport)).then(|| format!("{}{}", end.0, port(end.1)));
            masqueraded = gone.masqueraded;
        }
        turns.push(gone.turn);
        match gone.next {
            Some(following) => next = following,
            None => break,
        }
    }
    Ok(Way { odds: None, endpoint, masqueraded, turns })
}
