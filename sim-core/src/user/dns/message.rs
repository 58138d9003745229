//! DNS messages (RFC 1035, section 4): what is asked and answered, to and from bytes by simple-dns.

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, ResourceRecord, TYPE};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A resource record that owns its bytes.
pub(super) type Record = ResourceRecord<'static>;
/// A name that owns its bytes.
pub(super) type OwnName = Name<'static>;

/// The port of name servers.
pub(super) const PORT: u16 = 53;
/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 12;
/// What a datagram without EDNS may hold (RFC 1035, section 2.3.4).
pub(super) const MIN_MSG_SIZE: usize = 512;

/// The second word of a header.
pub(super) mod flag {
    /// A response.
    pub const QR: u16 = 0x8000;
    /// The bits of the kind of query.
    pub const OPCODE: u16 = 0x7800;
    /// Authoritative.
    pub const AA: u16 = 0x0400;
    /// Cut off.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Reserved: zero.
    pub const Z: u16 = 0x0040;
    /// Authentic data.
    pub const AD: u16 = 0x0020;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;
    /// The bits of the response code.
    pub const RCODE: u16 = 0x000f;
}

/// Response codes.
pub(super) mod rcode {
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
}

/// A message.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub id: u16,
    /// The second word of the header: [`flag`] and [`rcode`].
    pub flags: u16,
    pub questions: Vec<Question<'static>>,
    pub answers: Vec<Record>,
    pub authority: Vec<Record>,
    pub additional: Vec<Record>,
    /// EDNS (RFC 6891); on the wire the last of the additional records.
    pub opt: Option<OPT<'static>>,
}

impl Message {
    /// A query for one name.
    pub(super) fn query(id: u16, flags: u16, name: OwnName, kind: QTYPE) -> Self {
        let question = Question::new(name, kind, QCLASS::CLASS(CLASS::IN), false);
        Message { id, flags, questions: vec![question], ..Message::default() }
    }

    /// Reads a message; none if it is cut off or malformed.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let (&[a, b], &[c, d]) = (data.first_chunk()?, data.get(2..)?.first_chunk()?);
        let packet = Packet::parse(data).ok()?;
        let own = |records: Vec<ResourceRecord<'_>>| records.into_iter().map(ResourceRecord::into_owned).collect();
        Some(Message {
            id: u16::from_be_bytes([a, b]),
            flags: u16::from_be_bytes([c, d]),
            opt: packet.opt().map(|o| o.clone().into_owned()),
            questions: packet.questions.into_iter().map(Question::into_owned).collect(),
            answers: own(packet.answers),
            authority: own(packet.name_servers),
            additional: own(packet.additional_records),
        })
    }

    /// The bytes, with every name in full or with pointers to names that stood before.
    pub(super) fn write(&self, compress: bool) -> Vec<u8> {
        let mut packet = Packet::new_query(self.id);
        packet.questions.clone_from(&self.questions);
        packet.answers.clone_from(&self.answers);
        packet.name_servers.clone_from(&self.authority);
        packet.additional_records.clone_from(&self.additional);
        packet.opt_mut().clone_from(&self.opt);
        // A vector takes whatever is written to it: no errors to hand on.
        let bytes = if compress { packet.build_bytes_vec_compressed() } else { packet.build_bytes_vec() };
        let mut bytes = bytes.unwrap_or_default();
        if let Some(word) = bytes.get_mut(2..4) {
            word.copy_from_slice(&self.flags.to_be_bytes());
        }
        bytes
    }

    /// The response code.
    pub(super) fn rcode(&self) -> u16 {
        self.flags & flag::RCODE
    }

    /// ARCOUNT
    pub(super) fn additional_count(&self) -> usize {
        self.additional.len() + usize::from(self.opt.is_some())
    }

    /// It asks or answers the same question as `query` (`__libc_res_queriesmatch`).
    pub(super) fn same_question(&self, query: &Message) -> bool {
        let asks = |q: &Question<'_>| (u16::from(q.qtype), u16::from(q.qclass));
        let same = |a: &Question<'_>, b: &Question<'_>| a.qname == b.qname && asks(a) == asks(b);
        self.questions.len() == query.questions.len()
            && query.questions.iter().all(|q| self.questions.iter().any(|other| same(q, other)))
    }
}

/// A name from its text, with or without a final dot; none if a label is empty or has more than 63 bytes, or all of it
/// more than 255.
pub(super) fn name(text: &str) -> Option<OwnName> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Some(Name::new_with_labels(&[]));
    }
    // Two dots in a row have nothing between them, but for a dot that a backslash keeps.
    if text.starts_with('.') || text.replace("\\\\", "xx").replace("\\.", "xx").contains("..") {
        return None;
    }
    Name::new(text).ok().map(Name::into_owned)
}

/// The name under which an address has its PTR record.
pub(super) fn reverse_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

/// The address whose PTR record has this name.
pub(super) fn reverse_address(name: &OwnName) -> Option<Ipv4Addr> {
    let mut labels = name.as_bytes().map(|l| std::str::from_utf8(l).ok());
    let mut octets = [0; 4];
    for octet in octets.iter_mut().rev() {
        *octet = labels.next()??.parse::<u8>().ok()?;
    }
    let rest: Option<Vec<&str>> = labels.collect();
    let [inaddr, arpa] = rest?.try_into().ok()?;
    (inaddr.eq_ignore_ascii_case("in-addr") && arpa.eq_ignore_ascii_case("arpa")).then(|| octets.into())
}

/// A name as master files write it (RFC 1035, section 5.1), with its final dot.
pub(super) fn text(name: &Name<'_>) -> String {
    let mut out = String::new();
    for label in name.as_bytes() {
        for &byte in label {
            match byte {
                b'"' | b'(' | b')' | b'.' | b';' | b'\\' | b'@' | b'$' => {
                    out.push('\\');
                    out.push(char::from(byte));
                }
                0x21..=0x7e => out.push(char::from(byte)),
                _ => {
                    let _ = write!(out, "\\{byte:03}");
                }
            }
        }
        out.push('.');
    }
    if out.is_empty() { ".".to_owned() } else { out }
}

/// The types that can be asked for, by name.
pub(super) const TYPES: [(&str, QTYPE); 15] = [
    ("A", QTYPE::TYPE(TYPE::A)),
    ("AAAA", QTYPE::TYPE(TYPE::AAAA)),
    ("ANY", QTYPE::ANY),
    ("AXFR", QTYPE::AXFR),
    ("CAA", QTYPE::TYPE(TYPE::CAA)),
    ("CNAME", QTYPE::TYPE(TYPE::CNAME)),
    ("DS", QTYPE::TYPE(TYPE::DS)),
    ("HINFO", QTYPE::TYPE(TYPE::HINFO)),
    ("HTTPS", QTYPE::TYPE(TYPE::HTTPS)),
    ("MX", QTYPE::TYPE(TYPE::MX)),
    ("NS", QTYPE::TYPE(TYPE::NS)),
    ("PTR", QTYPE::TYPE(TYPE::PTR)),
    ("SOA", QTYPE::TYPE(TYPE::SOA)),
    ("SRV", QTYPE::TYPE(TYPE::SRV)),
    ("TXT", QTYPE::TYPE(TYPE::TXT)),
];

/// A type by its name, in letters of either case.
pub(super) fn type_by_name(name: &str) -> Option<QTYPE> {
    TYPES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, t)| *t)
}

/// The name of a type.
pub(super) fn type_name(kind: QTYPE) -> String {
    match TYPES.iter().find(|(_, t)| *t == kind) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("TYPE{}", u16::from(kind)),
    }
}

/// The data of a record as dig writes it.
pub(super) fn rdata_text(data: &RData<'_>) -> String {
    match data {
        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(a) => std::net::Ipv6Addr::from(a.address).to_string(),
        RData::NS(n) => text(n),
        RData::CNAME(n) => text(n),
        RData::PTR(n) => text(n),
        RData::MX(mx) => format!("{} {}", mx.preference, text(&mx.exchange)),
        RData::SRV(s) => format!("{} {} {} {}", s.priority, s.weight, s.port, text(&s.target)),
        RData::SOA(s) => {
            let numbers = format!("{} {} {} {} {}", s.serial, s.refresh, s.retry, s.expire, s.minimum);
            format!("{} {} {numbers}", text(&s.mname), text(&s.rname))
        }
        RData::TXT(_) => strings(&rdata_bytes(data)),
        other => {
            let bytes = rdata_bytes(other);
            let hex: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
            format!("\\# {} {hex}", bytes.len()).trim_end().to_owned()
        }
    }
}

/// The strings of a TXT record, in quotes.
fn strings(mut bytes: &[u8]) -> String {
    let mut all = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let (one, rest) = rest.split_at(rest.len().min(usize::from(len)));
        let mut quoted = String::from("\"");
        for &byte in one {
            match byte {
                b'"' | b'\\' => {
                    quoted.push('\\');
                    quoted.push(char::from(byte));
                }
                0x20..=0x7e => quoted.push(char::from(byte)),
                _ => {
                    let _ = write!(quoted, "\\{byte:03}");
                }
            }
        }
        quoted.push('"');
        all.push(quoted);
        bytes = rest;
    }
    all.join(" ")
}

/// The bytes of a record's data, with names in full.
fn rdata_bytes(data: &RData<'_>) -> Vec<u8> {
    /// In front of them: the header, the root's name, type, class, TTL and length.
    const BEFORE: usize = HEADER_LEN + 11;
    let record = ResourceRecord::new(Name::new_with_labels(&[]), CLASS::IN, 0, data.clone()).into_owned();
    let mut bytes = Message { answers: vec![record], ..Message::default() }.write(false);
    bytes.split_off(bytes.len().min(BEFORE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_the_bytes_of_the_real_resolver() {
        let asked = name("other.default.svc.cluster.local").unwrap();
        let query = Message::query(0x1234, flag::RD, asked, QTYPE::TYPE(TYPE::A));
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"\x05other\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01");
        assert_eq!(query.write(false), bytes);
        assert_eq!(Message::parse(&bytes).unwrap().write(false), bytes);
    }

    #[test]
    fn names_are_read_and_written() {
        for (given, written) in [
            ("a.b", Some("a.b.")),
            ("a.b.", Some("a.b.")),
            (".", Some(".")),
            ("", Some(".")),
            ("a..b", None),
            (".a", None),
            ("a b", Some("a\\032b.")),
            ("a\\.b.c", Some("a\\.b.c.")),
            ("x@y", Some("x\\@y.")),
        ] {
            assert_eq!(name(given).map(|n| text(&n)).as_deref(), written, "{given}");
        }
        assert!(name(&"x".repeat(64)).is_none());
        assert!(name(&"x".repeat(63)).is_some());
        assert!(name(&"x.".repeat(128)).is_none());
    }

    #[test]
    fn addresses_turn_round() {
        let address = Ipv4Addr::new(10, 96, 0, 82);
        assert_eq!(reverse_name(address), "82.0.96.10.in-addr.arpa");
        assert_eq!(reverse_address(&name("82.0.96.10.IN-addr.arpa").unwrap()), Some(address));
        for other in ["0.96.10.in-addr.arpa", "1.82.0.96.10.in-addr.arpa", "x.0.96.10.in-addr.arpa", "a.b"] {
            assert_eq!(reverse_address(&name(other).unwrap()), None, "{other}");
        }
    }
}
