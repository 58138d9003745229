//! `conntrack -I`: the entry that its options describe, and back.

use super::{Net, Reader};
use crate::kernel::conntrack::{NewConnection, Status, Tuple, Zone};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Protocols whose entries have ports.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// What the options of a call ask for.
///
/// # Errors
/// An option is missing: the tool's sentence.
pub(super) fn connection(reader: &Reader<'_>) -> Result<NewConnection, String> {
    let f = &reader.filter;
    let need = |name: &str| format!("You need to supply the `--{name}' option for this command");
    let timeout_s = reader.timeout_s.ok_or_else(|| need("timeout"))?;
    let proto = f.proto.ok_or_else(|| need("protonum"))?;
    if proto == 6 && f.state.is_none() {
        return Err(need("state"));
    }
    let none = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let [original, reply] = [0, 1].map(|dir| {
        let address = |end: usize| f.addrs[dir][end].map(|Net { addr, .. }| addr);
        let (src, dst) = (address(0), address(1));
        let (sport, dport) = match proto {
            1 => (f.icmp_id.unwrap_or(0), u16::from_be_bytes([f.icmp_type.unwrap_or(0), f.icmp_code.unwrap_or(0)])),
            _ => (f.ports[dir][0].unwrap_or(0), f.ports[dir][1].unwrap_or(0)),
        };
        let tuple = Tuple { src: src.unwrap_or(none), dst: dst.unwrap_or(none), proto, sport, dport, zone: 0 };
        (tuple, src.is_some() && dst.is_some(), src.is_some() || dst.is_some())
    });
    if !original.1 {
        return Err("you have to specify `--src' and `--dst'".to_owned());
    }
    if WITH_PORTS.contains(&proto) && f.ports[0].iter().any(Option::is_none) {
        return Err("you have to specify `--sport' and `--dport'".to_owned());
    }
    let original = original.0;
    // The tool fills in of the way back what was not said.
    let reply = reply.2.then_some(reply.0).and_then(|given| {
        let back = original.inverse()?;
        let or = |given: IpAddr, back: IpAddr| if given == none { back } else { given };
        let ports = |given: u16, back: u16| if given == 0 { back } else { given };
        let (src, dst) = (or(given.src, back.src), or(given.dst, back.dst));
        Some(Tuple { src, dst, sport: ports(given.sport, back.sport), dport: ports(given.dport, back.dport), ..back })
    });
    let nat = [0, 1].map(|end| Some(SocketAddr::new(f.nat[end]??, reader.nat_ports[end])));
    let zone = Zone { id: f.zone.unwrap_or(0), ..Zone::default() };
    let mark = f.mark.map_or(0, |(mark, _)| mark);
    Ok(NewConnection { original, reply, timeout_s, status: f.status, mark, zone, tcp: f.state, nat })
}

/// The call that makes this connection.
pub(in crate::lab) fn creation(new: &NewConnection) -> String {
    let NewConnection { original, reply, timeout_s, status, mark, zone, tcp, nat } = new;
    let mut out = format!("conntrack -I -p {} -s {} -d {}", original.proto, original.src, original.dst);
    let (kind, code) = original.icmp();
    let mut add = |name: &str, value: String| {
        let _ = write!(out, " {name} {value}");
    };
    if original.proto == 1 {
        add("--icmp-type", kind.to_string());
        add("--icmp-code", code.to_string());
        add("--icmp-id", original.sport.to_string());
    } else if WITH_PORTS.contains(&original.proto) {
        add("--sport", original.sport.to_string());
        add("--dport", original.dport.to_string());
    }
    if let Some(reply) = reply {
        add("-r", reply.src.to_string());
        add("-q", reply.dst.to_string());
        if WITH_PORTS.contains(&reply.proto) {
            add("--reply-port-src", reply.sport.to_string());
            add("--reply-port-dst", reply.dport.to_string());
        }
    }
    add("-t", timeout_s.to_string());
    if let Some(state) = tcp {
        add("--state", state.name().to_owned());
    }
    let bits =
        [(Status::SEEN_REPLY, "SEEN_REPLY"), (Status::ASSURED, "ASSURED"), (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT")];
    let names: Vec<&str> = bits.into_iter().filter(|(bit, _)| status.has(*bit)).map(|(_, name)| name).collect();
    if !names.is_empty() {
        add("-u", names.join(","));
    }
    if *mark != 0 {
        add("-m", mark.to_string());
    }
    if zone.id != 0 {
        add("-w", zone.id.to_string());
    }
    for (name, to) in [("-n", nat[0]), ("-g", nat[1])] {
        if let Some(to) = to {
            add(name, if to.port() == 0 { to.ip().to_string() } else { to.to_string() });
        }
    }
    out
}
