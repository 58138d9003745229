//! What ping makes of the packets that its socket receives.

use super::{Ping, stats, time_of_day_us, wire};
use crate::base::Time;
use crate::engine::process::Env;
use crate::kernel::syscall::{From, Message};
use crate::wire::{be16, checksum};
use std::net::Ipv4Addr;

/// Room for IP and ICMP headers in the receive buffer, besides the payload.
const HEADER_ROOM: usize = 136;

/// Whose a packet is.
pub(super) enum Whose {
    Ours,
    NotOurs,
}

impl Ping {
    /// Takes in what the socket received and prints what is to be said about it.
    pub(super) fn parse(&mut self, message: &Message, env: &mut Env<'_>) -> Whose {
        let From::Ip(from) = message.from else { return Whose::NotOurs };
        let data = &message.data[..message.data.len().min(self.o.size.saturating_add(HEADER_ROOM))];
        let (icmp, ttl) = match (self.raw, wire::ip_header(data)) {
            (true, Some((length, ttl))) => (&data[length..], ttl),
            (false, _) if data.len() >= wire::ICMP_HLEN => (data, message.ttl),
            _ => return Whose::NotOurs,
        };
        match icmp[0] {
            wire::ECHO_REPLY if self.is_ours(be16(icmp, 4)) => {
                self.echo_reply(icmp, *from.ip(), ttl, message.at, env);
                Whose::Ours
            }
            wire::ECHO_REPLY | wire::ECHO => Whose::NotOurs,
            kind @ (wire::DEST_UNREACH
            | wire::SOURCE_QUENCH
            | wire::REDIRECT
            | wire::TIME_EXCEEDED
            | wire::PARAMETER_PROBLEM) => self.icmp_error(kind, icmp, *from.ip(), env),
            _ => Whose::Ours,
        }
    }

    /// An ICMP error as a packet: the error queue tells of it too, unless it is only advice.
    fn icmp_error(&mut self, kind: u8, icmp: &[u8], from: Ipv4Addr, env: &mut Env<'_>) -> Whose {
        let Some((dst, ident, seq)) = wire::quoted(icmp) else { return Whose::NotOurs };
        if dst != self.dst || !self.is_ours(ident) {
            return Whose::NotOurs;
        }
        if kind != wire::REDIRECT && kind != wire::SOURCE_QUENCH {
            self.stats.acknowledge(seq);
            return Whose::Ours;
        }
        if !self.o.quiet {
            let bad = if checksum(icmp) == 0 { "" } else { "(BAD CHECKSUM)" };
            let info = u32::from(be16(icmp, 4)) << 16 | u32::from(be16(icmp, 6));
            let text = wire::describe(kind, icmp[1], info);
            env.console.out(format!("{}From {from}: icmp_seq={seq} {bad}{text}\n", self.stamp(env)));
        }
        Whose::NotOurs
    }

    fn echo_reply(&mut self, icmp: &[u8], from: Ipv4Addr, ttl: u8, at: Time, env: &mut Env<'_>) {
        let seq = be16(icmp, 6);
        self.stats.acknowledge(seq);
        let trip = self.round_trip(icmp, at, env);
        if let Some(us) = trip {
            self.stats.round_trip(us);
        }
        let again = self.stats.reply(seq);
        if self.o.quiet {
            return;
        }
        let to_many = self.o.broadcast || self.dst.is_multicast();
        let mut line = format!("{}{} bytes from {from}: icmp_seq={seq} ttl={ttl}", self.stamp(env), icmp.len());
        if icmp.len() < self.payload.len() + wire::ICMP_HLEN {
            line.push_str(" (truncated)");
        } else {
            if self.timing() {
                line.push_str(&format!(" time={}", stats::round_trip_text(trip.unwrap_or(0))));
            }
            if again && !to_many {
                line.push_str(" (DUP!)");
            }
            if from != self.dst && !to_many {
                line.push_str(" (DIFFERENT ADDRESS!)");
            }
            line.push_str(&wire::wrong_data(icmp, &self.payload));
        }
        line.push('\n');
        env.console.out(line);
    }

    /// In microseconds; none without a time stamp. Should the reply be older than its request, the socket's time stamps
    /// are not trusted any more.
    fn round_trip(&mut self, icmp: &[u8], at: Time, env: &mut Env<'_>) -> Option<u64> {
        if !self.timing() {
            return None;
        }
        let warn = |us: i64, env: &mut Env<'_>| {
            let text = format!("ping: Warning: time of day goes back ({us}us), taking countermeasures\n");
            env.console.err(text);
        };
        let at = if self.own_clock { env.now } else { at };
        let mut us = wire::round_trip_us(icmp, time_of_day_us(env, at))?;
        if us < 0 && !self.own_clock {
            warn(us, env);
            self.own_clock = true;
            us = wire::round_trip_us(icmp, time_of_day_us(env, env.now))?;
        }
        if us < 0 {
            warn(us, env);
        }
        Some(us.max(0).unsigned_abs())
    }
}
