//! Traditional NAPT as RFC 3022 words it, section 2.2: a reference that knows nothing of how anything is implemented.
//!
//! ```text
//!   inside                          outside
//!   10.0.0.2:5000  ->  192.0.2.1:P  ->  198.51.100.9:53     a session: both ends and what stands for the inner one
//! ```
//!
//! Which port `P` it is, the RFC leaves open, so the model judges a translation, it does not foretell it. What is left
//! open besides is a setting: how long a session is kept ([`Timers`]), and whether a port is kept that is free
//! ([`Napt::preserving`]). Sessions are told apart by both ends, as Linux does (RFC 4787 section 4.1:
//! address and port-dependent mapping, section 5: address and port-dependent filtering).
//!
//! Protocols are UDP and ICMP queries (section 2.2: the id stands for the port); TCP's sessions end by their flags,
//! which the RFC leaves to the implementation.

use super::oracle::{Held, Oracle};
use super::packet::Packet;
use crate::base::time::SEC;
use crate::wire::{IPPROTO_ICMP, IPPROTO_UDP};
use std::net::{Ipv4Addr, SocketAddrV4};

/// How long a session is kept without a packet, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// UDP that has not been answered.
    pub udp: u64,
    /// UDP that has been answered and goes on for longer than `stream_after`.
    pub stream: u64,
    /// What makes it a stream.
    pub stream_after: u64,
    /// ICMP queries.
    pub icmp: u64,
}

impl Default for Timers {
    /// Linux's: nf_conntrack_udp_timeout, _udp_timeout_stream, two seconds, nf_conntrack_icmp_timeout.
    fn default() -> Self {
        Timers { udp: 30 * SEC, stream: 120 * SEC, stream_after: 2 * SEC, icmp: 30 * SEC }
    }
}

/// A session: who asked whom, and what stands for who asked.
#[derive(Clone, Debug)]
struct Session {
    protocol: u8,
    inside: SocketAddrV4,
    outside: SocketAddrV4,
    port: u16,
    born: u64,
    expires: u64,
    answered: bool,
}

impl Session {
    /// One more packet: the session is kept for longer.
    fn refresh(&mut self, timers: &Timers, now: u64) {
        let keep = match self.protocol {
            IPPROTO_ICMP => timers.icmp,
            _ if self.answered && now > self.born + timers.stream_after => timers.stream,
            _ => timers.udp,
        };
        self.expires = now + keep;
    }
}

/// The reference: one external address for all that is inside.
#[derive(Clone, Debug)]
pub struct Napt {
    external: Ipv4Addr,
    timers: Timers,
    preserves: bool,
    now: u64,
    sessions: Vec<Session>,
}

impl Napt {
    /// A translator with this address on its outside, without sessions, at time zero.
    pub fn new(external: Ipv4Addr, timers: Timers) -> Self {
        Napt { external, timers, preserves: false, now: 0, sessions: Vec::new() }
    }

    /// It keeps the port of whoever asks, if no session with the same outer end has it (RFC 4787 section 4.2.1: port
    /// preservation).
    #[must_use]
    pub fn preserving(self) -> Self {
        Napt { preserves: true, ..self }
    }

    /// It is `now`, in nanoseconds; time does not go back.
    pub fn set_time(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.iter().filter(|s| s.expires > self.now).count()
    }

    /// A packet from inside has left as `translated`.
    ///
    /// # Errors
    /// RFC 3022 does not allow it: another address, other contents, a port that stands for somebody else too, another
    /// port than the packets before had.
    pub fn outbound(&mut self, packet: &Packet, translated: &Packet) -> Held {
        let oracle = Oracle("rfc3022_outbound", "RFC 3022 section 2.2");
        let port = translated.sport;
        let same = Packet { src: packet.src, sport: packet.sport, ttl: packet.ttl, ..translated.clone() } == *packet;
        oracle.holds(same, || format!("more than the source was changed: {packet:?} became {translated:?}"))?;
        oracle.holds(translated.src == self.external, || format!("{} is not {}", translated.src, self.external))?;
        let inside = SocketAddrV4::new(packet.src, packet.sport);
        let (protocol, outside) = (packet.protocol, outer_end(packet, false));
        let (now, timers) = (self.now, self.timers);
        let of = |s: &Session| s.expires > now && s.protocol == protocol && s.outside == outside;
        if let Some(s) = self.sessions.iter_mut().find(|s| of(s) && s.inside == inside) {
            s.refresh(&timers, now);
            let kept = s.port;
            return oracle.holds(port == kept, || format!("{inside} had port {kept} and has {port} now"));
        }
        let owner = |port: u16| self.sessions.iter().find(|s| of(s) && s.port == port).map(|s| s.inside);
        oracle.holds(owner(port).is_none(), || format!("{port} stands for {:?} and {inside}", owner(port)))?;
        // Who has or had a port elsewhere may have it here, too.
        let elsewhere = self.sessions.iter().any(|s| s.inside == inside && s.port == port);
        let kept = port == inside.port() || elsewhere || owner(inside.port()).is_some();
        oracle.holds(!self.preserves || kept, || format!("{inside} has {port}, and its own was free"))?;
        let mut session = Session { protocol, inside, outside, port, born: now, expires: now, answered: false };
        session.refresh(&timers, now);
        self.sessions.push(session);
        Ok(())
    }

    /// Who inside gets a packet that comes from outside: the end of the session that it belongs to.
    pub fn addressee(&self, packet: &Packet) -> Option<SocketAddrV4> {
        let (outside, port) = (outer_end(packet, true), inner_port(packet));
        let mut live = self.sessions.iter().filter(|s| s.expires > self.now);
        live.find(|s| s.protocol == packet.protocol && s.outside == outside && s.port == port).map(|s| s.inside)
    }

    /// A packet for the external address comes from outside and has been let in as `translated`, or not: that only
    /// packets of sessions are let in, and each to the end that it belongs to.
    ///
    /// # Errors
    /// It should have been kept out, or let in, or has another destination.
    pub fn inbound(&mut self, packet: &Packet, translated: Option<&Packet>) -> Held {
        let oracle = Oracle("rfc3022_inbound", "RFC 3022 section 2.2");
        let (now, timers) = (self.now, self.timers);
        let (outside, port) = (outer_end(packet, true), inner_port(packet));
        let mut live = self.sessions.iter_mut().filter(|s| s.expires > now);
        let known = live.find(|s| s.protocol == packet.protocol && s.outside == outside && s.port == port);
        let Some(s) = known else {
            return oracle.holds(translated.is_none(), || format!("{outside} reaches {translated:?}, who did not ask"));
        };
        s.refresh(&timers, now);
        s.answered = true;
        let inside = s.inside;
        let got = translated.map(|t| SocketAddrV4::new(t.dst, inner_port(t)));
        oracle.holds(got == Some(inside), || format!("{outside} answers {inside}, and {got:?} hears it"))
    }
}

/// What stands for the inner end of a packet that comes from outside: its destination port, or the id.
fn inner_port(packet: &Packet) -> u16 {
    if packet.protocol == IPPROTO_ICMP { packet.sport } else { packet.dport }
}

/// The outer end of a packet's session; it has no port with ICMP, whose id is the inner one's.
fn outer_end(packet: &Packet, inbound: bool) -> SocketAddrV4 {
    let (address, port) = if inbound { (packet.src, packet.sport) } else { (packet.dst, packet.dport) };
    SocketAddrV4::new(address, if packet.protocol == IPPROTO_UDP { port } else { 0 })
}
