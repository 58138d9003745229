//! `-j REJECT` (net/ipv4/netfilter/ipt_REJECT.c, extensions/libipt_REJECT.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;

const SPECS: [Spec; 1] = [Spec::new("reject-with", 0, Kind::Str)];

/// What a rejected packet is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RejectWith {
    /// ICMP 3/0
    NetUnreachable,
    /// ICMP 3/1
    HostUnreachable,
    /// ICMP 3/2
    ProtoUnreachable,
    /// ICMP 3/3
    #[default]
    PortUnreachable,
    /// ICMP 3/9
    NetProhibited,
    /// ICMP 3/10
    HostProhibited,
    /// A TCP segment with RST.
    TcpReset,
    /// ICMP 3/13
    AdminProhibited,
}

/// Kinds with their name and their old name, in the order in which a beginning is looked for.
const KINDS: [(RejectWith, &str, &str); 8] = [
    (RejectWith::NetUnreachable, "icmp-net-unreachable", "net-unreach"),
    (RejectWith::HostUnreachable, "icmp-host-unreachable", "host-unreach"),
    (RejectWith::ProtoUnreachable, "icmp-proto-unreachable", "proto-unreach"),
    (RejectWith::PortUnreachable, "icmp-port-unreachable", "port-unreach"),
    (RejectWith::NetProhibited, "icmp-net-prohibited", "net-prohib"),
    (RejectWith::HostProhibited, "icmp-host-prohibited", "host-prohib"),
    (RejectWith::TcpReset, "tcp-reset", "tcp-rst"),
    (RejectWith::AdminProhibited, "icmp-admin-prohibited", "admin-prohib"),
];

impl RejectWith {
    /// The code of the ICMP destination unreachable message; none for a TCP reset.
    pub fn icmp_code(self) -> Option<u8> {
        Some(match self {
            RejectWith::NetUnreachable => 0,
            RejectWith::HostUnreachable => 1,
            RejectWith::ProtoUnreachable => 2,
            RejectWith::PortUnreachable => 3,
            RejectWith::NetProhibited => 9,
            RejectWith::HostProhibited => 10,
            RejectWith::AdminProhibited => 13,
            RejectWith::TcpReset => return None,
        })
    }
}

/// `-j REJECT`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reject {
    /// What the packet is answered with.
    pub with: RejectWith,
}

impl Reject {
    fn name(&self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self.with).map_or("", |(_, name, _)| name)
    }
}

impl Extension for Reject {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let begins = |full: &str| full.get(..given.arg.len()).is_some_and(|f| f.eq_ignore_ascii_case(given.arg));
        let known = KINDS.iter().find(|(_, name, old)| begins(name) || begins(old));
        self.with = known.ok_or_else(|| Error::usage(format!("unknown reject type \"{}\"", given.arg)))?.0;
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(&format!(" reject-with {}", self.name()));
    }

    fn save(&self, out: &mut String) {
        out.push_str(&format!(" --reject-with {}", self.name()));
    }
}
