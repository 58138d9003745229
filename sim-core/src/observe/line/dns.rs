//! DNS messages as tcpdump prints them (print-domain.c).

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, RCODE};
use std::fmt::Write;

/// A message of `len` bytes; none if it cannot be read.
pub(super) fn message(bytes: &[u8], len: usize) -> Option<String> {
    let p = Packet::parse(bytes).ok()?;
    let flag = |flag, text: &'static str| if p.has_flags(flag) { text } else { "" };
    let mut out = p.id().to_string();
    // EDNS's pseudo record is counted among the additional ones.
    let additional = p.additional_records.len() + usize::from(p.opt().is_some());
    if p.has_flags(PacketFlag::RESPONSE) {
        out.push_str(match p.rcode() {
            RCODE::NoError => "",
            RCODE::FormatError => " FormErr",
            RCODE::ServerFailure => " ServFail",
            RCODE::NameError => " NXDomain",
            RCODE::NotImplemented => " NotImp",
            RCODE::Refused => " Refused",
            _ => " Resp",
        });
        out.push_str(flag(PacketFlag::AUTHORITATIVE_ANSWER, "*"));
        out.push_str(if p.has_flags(PacketFlag::RECURSION_AVAILABLE) { "" } else { "-" });
        out.push_str(flag(PacketFlag::TRUNCATION, "|"));
        out.push_str(flag(PacketFlag::AUTHENTIC_DATA, "$"));
        let _ = write!(out, " {}/{}/{additional}", p.answers.len(), p.name_servers.len());
        for (n, answer) in p.answers.iter().enumerate() {
            out.push_str(if n == 0 { "" } else { "," });
            record(&mut out, &answer.rdata);
        }
    } else {
        out.push_str(flag(PacketFlag::RECURSION_DESIRED, "+"));
        out.push_str(flag(PacketFlag::CHECKING_DISABLED, "%"));
        let weird = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x6cf;
        if weird != 0 {
            let _ = write!(out, " [b2&3=0x{:x}]", u16::from_be_bytes([bytes[2], bytes[3]]));
        }
        for (count, letter) in [(p.answers.len(), "a"), (p.name_servers.len(), "n"), (additional, "au")] {
            if count > 0 {
                let _ = write!(out, " [{count}{letter}]");
            }
        }
        for q in &p.questions {
            let kind = match q.qtype {
                QTYPE::TYPE(t) => format!("{t:?}"),
                other => format!("{other:?}"),
            };
            let class = if q.qclass == QCLASS::CLASS(CLASS::IN) { String::new() } else { format!(" {:?}", q.qclass) };
            let _ = write!(out, " {kind}?{class} {}.", q.qname);
        }
    }
    let _ = write!(out, " ({len})");
    Some(out)
}

fn record(out: &mut String, data: &RData<'_>) {
    let _ = match data {
        RData::A(a) => write!(out, " A {}", std::net::Ipv4Addr::from(a.address)),
        RData::AAAA(a) => write!(out, " AAAA {}", std::net::Ipv6Addr::from(a.address)),
        RData::CNAME(name) => write!(out, " CNAME {}.", name.0),
        RData::PTR(name) => write!(out, " PTR {}.", name.0),
        RData::NS(name) => write!(out, " NS {}.", name.0),
        RData::SRV(s) => write!(out, " SRV {}.:{} {} {}", s.target, s.port, s.priority, s.weight),
        other => write!(out, " {:?}", other.type_code()),
    };
}
