//! From a query to CoreDNS 1.12's answer: which server block and plugin, which records, how long it may be.

use super::super::conf::Hosts;
use super::super::message::{self, HEADER_LEN, MIN_MSG_SIZE, Message, OwnName, Record, flag, rcode};
use super::cluster::Cluster;
use super::corefile::{Block, Forward, HostsPlugin, Kubernetes};
use super::kubernetes;
use simple_dns::rdata::{A, OPT, PTR, RData};
use simple_dns::{CLASS, QCLASS, QTYPE, TYPE};
use std::net::Ipv4Addr;

/// Datagrams above this are compressed, however long they may be (`Request.Scrub`).
const FRAGMENT_SIZE: usize = 1480;
/// The longest message over TCP.
const MAX_MSG_SIZE: usize = 65_535;
/// An alias of an alias is followed so far.
const MAX_ALIASES: usize = 8;
/// EDNS options that are sent back: NSID, EXPIRE, COOKIE, TCP-KEEPALIVE, PADDING (`supportedOptions`).
const SUPPORTED_OPTIONS: [u16; 5] = [3, 9, 10, 11, 12];

/// What the server knows.
#[derive(Clone, Debug)]
pub(super) struct Knowledge {
    pub blocks: Vec<Served>,
    pub cluster: Cluster,
    /// The serial of SOA records: the time of the last change, in seconds since 1970.
    pub serial: u32,
    /// Addresses of the server itself.
    pub local: Vec<Ipv4Addr>,
}

/// A server block with the file of its hosts plugin.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub block: Block,
    pub hosts: Hosts,
}

/// What becomes of a query.
#[derive(Debug)]
pub(super) enum Verdict {
    Reply(Message),
    /// Others are asked.
    Forward(Box<Outside>),
    /// It is no query.
    Ignore,
}

/// A query that others are asked.
#[derive(Debug)]
pub(super) struct Outside {
    pub forward: Forward,
    pub query: Message,
    /// It is about what an alias stands for.
    pub alias: Option<Alias>,
}

/// A query whose answer is an alias of a name that others know.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    pub query: Message,
    /// With the alias, and without what it stands for.
    pub reply: Message,
}

/// What a plugin says.
pub(super) enum Plugin {
    Reply(Message),
    /// The reply is an alias of this name.
    Alias(Message, OwnName),
    /// The next one is asked.
    Next,
}

impl Knowledge {
    /// What becomes of these bytes; `random` gives what loadbalance draws.
    pub(super) fn answer(&self, data: &[u8], random: &mut dyn FnMut() -> u16) -> Verdict {
        let Some(header) = data.first_chunk::<HEADER_LEN>() else { return Verdict::Ignore };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let bare = |code| {
            let flags = flag::QR | word(2) & (flag::OPCODE | flag::RD) | code;
            Verdict::Reply(Message { id: word(0), flags, ..Message::default() })
        };
        if word(2) & flag::QR != 0 {
            return Verdict::Ignore;
        }
        // DefaultMsgAcceptFunc
        if word(2) & flag::OPCODE != 0 {
            return bare(rcode::NOTIMP);
        }
        if word(4) != 1 || word(6) > 1 || word(8) > 1 || word(10) > 2 {
            return bare(rcode::FORMERR);
        }
        let Some(query) = Message::parse(data) else { return bare(rcode::FORMERR) };
        match self.ask(&query, 0) {
            Verdict::Reply(mut reply) => {
                balance(&mut reply.answers, random);
                balance(&mut reply.additional, random);
                size_and_do(&query, &mut reply);
                Verdict::Reply(reply)
            }
            other => other,
        }
    }

    /// The plugins in CoreDNS's order (plugin.cfg). So many aliases have led here.
    fn ask(&self, query: &Message, aliases: usize) -> Verdict {
        let Some(question) = query.questions.first() else { return Verdict::Reply(reply(query, rcode::SERVFAIL)) };
        if question.qclass != QCLASS::CLASS(CLASS::IN) {
            return Verdict::Reply(reply(query, rcode::REFUSED));
        }
        let labels = labels(&question.qname);
        let zones = |s: &Served| s.block.zones.iter().filter(|z| in_zone(&labels, z)).map(String::len).max();
        let served = self.blocks.iter().filter_map(|s| Some((zones(s)?, s))).max_by_key(|(len, _)| *len);
        let Some((_, served)) = served else { return Verdict::Reply(reply(query, rcode::REFUSED)) };
        if let Some(hosts) = &served.block.hosts
            && let Plugin::Reply(reply) = in_hosts(query, &labels, hosts, &served.hosts)
        {
            return Verdict::Reply(reply);
        }
        if let Some(plugin) = &served.block.kubernetes
            && let Some(zone) = longest(&plugin.zones, &labels)
        {
            match self.kubernetes(query, &labels, plugin, zone) {
                Plugin::Reply(reply) => return Verdict::Reply(reply),
                Plugin::Alias(reply, target) => return self.follow(query, reply, target, aliases),
                Plugin::Next => {}
            }
        }
        match &served.block.forward {
            Some(forward) if in_zone(&labels, &forward.zone) => {
                Verdict::Forward(Box::new(Outside { forward: forward.clone(), query: query.clone(), alias: None }))
            }
            // "no next plugin found"
            _ => Verdict::Reply(reply(query, rcode::SERVFAIL)),
        }
    }

    /// Asks for what an alias stands for, and adds it (plugin/backend_lookup.go: A). Who cannot be asked adds nothing.
    fn follow(&self, query: &Message, mut reply: Message, target: OwnName, aliases: usize) -> Verdict {
        if aliases >= MAX_ALIASES {
            return Verdict::Reply(reply);
        }
        let Some(question) = query.questions.first() else { return Verdict::Reply(reply) };
        let mut next =
            Message { id: query.id, flags: flag::RD, questions: vec![question.clone()], ..Message::default() };
        next.questions[0].qname = target;
        match self.ask(&next, aliases + 1) {
            Verdict::Reply(more) => reply.answers.extend(more.answers),
            Verdict::Forward(mut outside) => {
                reply.answers.extend(outside.alias.into_iter().flat_map(|a| a.reply.answers));
                outside.alias = Some(Alias { query: query.clone(), reply });
                return Verdict::Forward(outside);
            }
            Verdict::Ignore => {}
        }
        Verdict::Reply(reply)
    }

    fn kubernetes(&self, query: &Message, labels: &[String], plugin: &Kubernetes, zone: &str) -> Plugin {
        let question = &query.questions[0];
        if matches!(question.qtype, QTYPE::AXFR | QTYPE::IXFR) {
            return Plugin::Reply(reply(query, rcode::REFUSED));
        }
        let asked = kubernetes::Asked { labels, zone, plugin, name: &question.qname, kind: question.qtype };
        let mut reply = reply(query, rcode::NOERROR);
        reply.flags |= flag::AA;
        match kubernetes::lookup(self, &asked) {
            Ok(found) if !found.answers.is_empty() => {
                (reply.answers, reply.additional) = (found.answers, found.extra);
                if let Some(target) = found.alias {
                    return Plugin::Alias(reply, target);
                }
            }
            Ok(_) => reply.authority = kubernetes::soa(self, &asked),
            Err(kubernetes::NameError) if longest(&plugin.fallthrough, labels).is_some() => return Plugin::Next,
            Err(kubernetes::NameError) => {
                reply.flags |= rcode::NXDOMAIN;
                reply.authority = kubernetes::soa(self, &asked);
            }
        }
        Plugin::Reply(reply)
    }
}

/// `SetRcode`: the header and question of a reply.
pub(super) fn reply(query: &Message, code: u16) -> Message {
    let kept = query.flags & (flag::OPCODE | flag::RD | flag::CD);
    Message { id: query.id, flags: flag::QR | kept | code, questions: query.questions.clone(), ..Message::default() }
}

/// A record with the class IN.
pub(super) fn record(name: &OwnName, ttl: u32, data: RData<'static>) -> Record {
    Record::new(name.clone(), CLASS::IN, ttl, data)
}

/// An address record.
pub(super) fn address(name: &OwnName, ttl: u32, address: Ipv4Addr) -> Record {
    record(name, ttl, RData::A(A { address: address.into() }))
}

/// The labels of a name in small letters.
fn labels(name: &OwnName) -> Vec<String> {
    name.as_bytes().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase()).collect()
}

/// The name is the zone or below it.
fn in_zone(labels: &[String], zone: &str) -> bool {
    let mut own = labels.iter().rev();
    zone.split('.').rev().filter(|z| !z.is_empty()).all(|z| own.next().is_some_and(|l| l == z))
}

/// The longest zone that the name is in.
fn longest<'a>(zones: &'a [String], labels: &[String]) -> Option<&'a str> {
    zones.iter().filter(|z| in_zone(labels, z)).max_by_key(|z| z.len()).map(String::as_str)
}

fn in_hosts(query: &Message, labels: &[String], plugin: &HostsPlugin, hosts: &Hosts) -> Plugin {
    if !plugin.zones.is_empty() && longest(&plugin.zones, labels).is_none() {
        return Plugin::Next;
    }
    let question = &query.questions[0];
    let text = labels.join(".");
    let named: Vec<_> = hosts.by_name(&text).filter(|l| !l.v6).collect();
    let mut reply = reply(query, rcode::NOERROR);
    reply.flags |= flag::AA;
    match question.qtype {
        QTYPE::TYPE(TYPE::A) => {
            reply.answers = named.iter().map(|l| address(&question.qname, plugin.ttl, l.address)).collect();
        }
        QTYPE::TYPE(TYPE::PTR) => {
            let of = message::reverse_address(&question.qname);
            let lines = hosts.lines.iter().filter(|l| Some(l.address) == of && !l.v6);
            let names = lines.flat_map(|l| &l.names).filter_map(|n| message::name(n));
            reply.answers = names.map(|n| record(&question.qname, plugin.ttl, RData::PTR(PTR(n)))).collect();
            if reply.answers.is_empty() {
                // Addresses that it does not know are the next plugin's.
                return Plugin::Next;
            }
        }
        _ => {}
    }
    if reply.answers.is_empty() && named.is_empty() {
        if longest(&plugin.fallthrough, labels).is_some() {
            return Plugin::Next;
        }
        // There is no SOA that NXDOMAIN would need.
        reply.flags = reply.flags & !flag::AA | rcode::SERVFAIL;
    }
    Plugin::Reply(reply)
}

/// `loadbalance round_robin`: aliases, others, addresses; the addresses in random order.
fn balance(records: &mut Vec<Record>, random: &mut dyn FnMut() -> u16) {
    let is_address = |r: &Record| matches!(r.rdata, RData::A(_) | RData::AAAA(_));
    let (mut addresses, others): (Vec<Record>, Vec<Record>) = std::mem::take(records).into_iter().partition(is_address);
    match addresses.len() {
        0 | 1 => {}
        2 => {
            if random().is_multiple_of(2) {
                addresses.swap(0, 1);
            }
        }
        n => {
            for i in 0..n {
                addresses.swap(i, i + usize::from(random()) % (n - i));
            }
        }
    }
    *records = others;
    records.extend(addresses);
}

/// `SizeAndDo`: who speaks EDNS is answered in EDNS.
pub(super) fn size_and_do(query: &Message, reply: &mut Message) {
    let Some(opt) = query.opt.as_ref().filter(|_| reply.opt.is_none()) else { return };
    let kept = |o: &&simple_dns::rdata::OPTCode<'static>| SUPPORTED_OPTIONS.contains(&o.code);
    let opt_codes = opt.opt_codes.iter().filter(kept).cloned().collect();
    reply.opt = Some(OPT { opt_codes, udp_packet_size: opt.udp_packet_size, version: 0 });
}

/// The bytes of a reply, with names in full as long as it fits (`Request.Scrub`, `Msg.Truncate`).
pub(super) fn scrub(mut reply: Message, tcp: bool) -> Vec<u8> {
    let size = match (&reply.opt, tcp) {
        (_, true) => MAX_MSG_SIZE,
        (Some(opt), false) => usize::from(opt.udp_packet_size).max(MIN_MSG_SIZE),
        (None, false) => MIN_MSG_SIZE,
    };
    let bytes = reply.write(false);
    if bytes.len() <= size && (tcp || bytes.len() <= FRAGMENT_SIZE) {
        return bytes;
    }
    let mut bytes = reply.write(true);
    while bytes.len() > size {
        let cut = reply.additional.pop().or_else(|| reply.authority.pop()).or_else(|| reply.answers.pop());
        if cut.is_none() {
            break;
        }
        reply.flags |= flag::TC;
        bytes = reply.write(true);
    }
    bytes
}

#[cfg(test)]
mod tests;
