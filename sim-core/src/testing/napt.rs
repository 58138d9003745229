//! A translating router and what happens to it, judged by all oracles and by the reference of RFC 3022 at every step.

use super::middlebox::{Middlebox, Passage};
use super::netns::{Error, NetNs};
use super::oracle::{Held, Oracle};
use super::packet::Packet;
use super::rfc3022::{Napt, Timers};
use crate::wire::{IPPROTO_ICMP, IPPROTO_UDP};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The router's address outside.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Somebody on the way, who reports errors.
const HOP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// Who is asked: with ICMP, without the port.
const REMOTES: [(Ipv4Addr, u16); 3] =
    [(Ipv4Addr::new(192, 0, 2, 100), 53), (Ipv4Addr::new(192, 0, 2, 100), 7), (Ipv4Addr::new(192, 0, 2, 101), 53)];

/// How sources are translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Translation {
    /// `-j MASQUERADE`
    Masquerade,
    /// `-j SNAT --to-source`
    Snat,
    /// `-j MASQUERADE --random-fully`
    Random,
}

/// Something that happens. What refers to an earlier packet does so by its number, counted round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Somebody inside asks.
    Ask {
        /// UDP, or ICMP for an echo.
        protocol: u8,
        /// Who: 10.0.0.2 and so on.
        host: u8,
        /// From which port, or with which id.
        port: u16,
        /// Whom: one of three.
        remote: u8,
        /// Bytes of payload.
        len: u16,
        /// The datagram has no checksum.
        unchecked: bool,
    },
    /// A question that went out is answered, perhaps once more.
    Answer(usize),
    /// An ICMP error about a question that went out.
    Error {
        /// The question.
        about: usize,
        /// Type and code.
        kind: (u8, u8),
        /// Bytes that are quoted.
        quote: u8,
    },
    /// Somebody outside sends what nobody may have asked for.
    Stray {
        /// UDP, or ICMP for an echo reply.
        protocol: u8,
        /// Who: one of those who are asked.
        remote: u8,
        /// To which port, or with which id.
        port: u16,
    },
    /// So many seconds pass.
    Sleep(u64),
}

/// A router between `lan` (10.0.0.0/24) and `wan` (192.0.2.0/24) that translates what leaves by `wan`, and the
/// reference beside it.
#[derive(Clone)]
pub struct Router {
    /// The router.
    pub middlebox: Middlebox,
    /// The reference.
    pub reference: Napt,
    translation: Translation,
    asked: Vec<Passage>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Router::new(Translation::{:?})", self.translation)
    }
}

impl Router {
    /// A router that has seen nothing yet.
    ///
    /// # Panics
    /// Its commands fail: a bug of podhop.
    pub fn new(translation: Translation) -> Self {
        let netns = netns(translation).expect("the router is set up");
        let reference = Napt::new(EXTERNAL, Timers::default());
        let reference = if translation == Translation::Random { reference } else { reference.preserving() };
        Router { middlebox: Middlebox::new(netns), reference, translation, asked: Vec::new() }
    }

    /// Something happens; the oracles and the reference are asked.
    ///
    /// # Errors
    /// One of them says that it went wrong.
    pub fn step(&mut self, op: &Op) -> Held {
        self.tell_time();
        let held = self.carry_out(op);
        self.tell_time();
        held
    }

    fn tell_time(&mut self) {
        self.reference.set_time(self.middlebox.netns.world().now().0);
    }

    fn carry_out(&mut self, op: &Op) -> Held {
        match op {
            Op::Ask { protocol, host, port, remote, len, unchecked } => {
                let to = REMOTES[usize::from(*remote) % REMOTES.len()];
                let packet = packet(*protocol, ([10, 0, 0, 2 + host % 250].into(), *port), to);
                self.ask(&Packet { payload: vec![b'x'; (*len).into()], ..packet }, *unchecked)
            }
            Op::Answer(which) => {
                let Some((question, answer, live)) = self.question(*which) else { return Ok(()) };
                let back = match live {
                    true => self.middlebox.answer(&question, &answer)?,
                    false => self.middlebox.forward("wan", &answer)?,
                };
                self.reference.inbound(&answer, back.and_then(|b| Packet::read(&b.after)).as_ref())
            }
            Op::Error { about, kind, quote } => {
                let Some((question, _, true)) = self.question(*about) else { return Ok(()) };
                let back = self.middlebox.error(&question, HOP, *kind, (*quote).into())?;
                let oracle = Oracle("error_comes_back", "RFC 5508 section 4.2");
                oracle.holds(back.is_some(), || format!("an error of type {kind:?} about {question:?} is lost"))
            }
            Op::Stray { protocol, remote, port } => {
                let from = REMOTES[usize::from(*remote) % REMOTES.len()];
                let stray = packet(*protocol, from, (EXTERNAL, *port));
                // An echo reply, with the id.
                let stray =
                    Packet { icmp: (0, 0), sport: if *protocol == IPPROTO_ICMP { *port } else { from.1 }, ..stray };
                let passage = self.middlebox.forward("wan", &stray)?;
                self.reference.inbound(&stray, passage.and_then(|p| Packet::read(&p.after)).as_ref())
            }
            Op::Sleep(seconds) => self.middlebox.sleep(*seconds),
        }
    }

    fn ask(&mut self, packet: &Packet, unchecked: bool) -> Held {
        let mut bytes = packet.bytes();
        if unchecked && packet.protocol == IPPROTO_UDP {
            bytes[26..28].fill(0);
        }
        let passage = self.middlebox.forward_bytes("lan", &bytes)?;
        // There are more ports than may be asked from.
        let lost = || Oracle("goes_out", "RFC 3022 section 2.2").broken(format!("{packet:?} is lost"));
        let passage = passage.ok_or_else(lost)?;
        let translated = Packet::read(&passage.after).ok_or_else(lost)?;
        self.asked.push(passage);
        self.reference.outbound(packet, &translated)
    }

    /// A question that went out, its answer, and whether whoever asked would get it now.
    fn question(&self, which: usize) -> Option<(Passage, Packet, bool)> {
        let question = self.asked.get(which.checked_rem(self.asked.len())?)?;
        let (answer, asked) = (question.answer(), Packet::read(&question.before)?);
        let live = self.reference.addressee(&answer) == Some(SocketAddrV4::new(asked.src, asked.sport));
        Some((question.clone(), answer, live))
    }
}

/// A datagram, or an echo request with the first port as its id.
fn packet(protocol: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Packet {
    let dport = if protocol == IPPROTO_ICMP { 0 } else { to.1 };
    Packet { sport: from.1, dport, ..Packet::new(protocol, from.0, to.0) }
}

fn netns(translation: Translation) -> Result<NetNs, Error> {
    let mut netns = NetNs::new(&["lan", "wan"])?;
    let source = match translation {
        Translation::Masquerade => "MASQUERADE".to_owned(),
        Translation::Snat => format!("SNAT --to-source {EXTERNAL}"),
        Translation::Random => "MASQUERADE --random-fully".to_owned(),
    };
    for command in [
        "ip addr add 10.0.0.1/24 dev lan".to_owned(),
        format!("ip addr add {EXTERNAL}/24 dev wan"),
        "sysctl -w net.ipv4.ip_forward=1".to_owned(),
        "sysctl -w net.netfilter.nf_conntrack_acct=1".to_owned(),
        format!("iptables -t nat -A POSTROUTING -o wan -j {source}"),
        // Else what nobody asked for would be a connection of the router's own, and take its port.
        "iptables -A INPUT -i wan -m conntrack --ctstate NEW -j DROP".to_owned(),
    ] {
        netns.run(&command)?;
    }
    Ok(netns)
}
