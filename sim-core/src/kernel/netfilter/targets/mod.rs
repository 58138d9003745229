//! The targets, and the chains that a rule may jump or go to (net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c;
//! extensions/libxt_*.c of iptables).

mod connmark;
mod ct;
mod log;
mod mark;
mod nat;
mod reject;
mod tcpmss;
mod tproxy;

pub use connmark::{ConnMark, MarkOp};
pub use ct::Ct as CtTarget;
pub use log::Log;
pub use mark::SetMark;
pub use nat::{Nat, NatKind};
pub use reject::{Reject, RejectWith};
pub use tcpmss::TcpMss;
pub use tproxy::Tproxy;

use super::error::Error;
use super::extension::{Extension, Spec};
use super::hook::{Hook, TableName};
use super::list::Listing;
use super::rule::Conditions;

/// What a rule does with a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Target {
    /// Only count it.
    #[default]
    None,
    /// `-j ACCEPT`
    Accept,
    /// `-j DROP`
    Drop,
    /// `-j RETURN`
    Return,
    /// `-j CHAIN`: go on there, then come back.
    Jump(String),
    /// `-g CHAIN`: go on there, and come back to where this chain was called from.
    Goto(String),
    /// `-j CONNMARK`
    ConnMark(ConnMark),
    /// `-j CT`, `-j NOTRACK`
    Ct(CtTarget),
    /// `-j LOG`
    Log(Log),
    /// `-j MARK`
    Mark(SetMark),
    /// `-j DNAT`, `-j SNAT`, `-j MASQUERADE`, `-j REDIRECT`
    Nat(Nat),
    /// `-j REJECT`
    Reject(Reject),
    /// `-j TCPMSS`
    TcpMss(TcpMss),
    /// `-j TPROXY`
    Tproxy(Tproxy),
}

/// The targets that there are.
pub const NAMES: [&str; 15] = [
    "ACCEPT",
    "CONNMARK",
    "CT",
    "DNAT",
    "DROP",
    "LOG",
    "MARK",
    "MASQUERADE",
    "NOTRACK",
    "REDIRECT",
    "REJECT",
    "RETURN",
    "SNAT",
    "TCPMSS",
    "TPROXY",
];

impl Target {
    /// The target of that name before its options are read; none if it can only be a chain.
    pub(super) fn new(name: &str) -> Option<Target> {
        Some(match name {
            "ACCEPT" => Target::Accept,
            "DROP" => Target::Drop,
            "RETURN" => Target::Return,
            "CONNMARK" => Target::ConnMark(ConnMark::default()),
            "CT" => Target::Ct(CtTarget::default()),
            "NOTRACK" => Target::Ct(CtTarget { notrack: true, alias: true, ..CtTarget::default() }),
            "LOG" => Target::Log(Log::default()),
            "MARK" => Target::Mark(SetMark::default()),
            "DNAT" => Target::Nat(Nat::new(NatKind::Dnat)),
            "SNAT" => Target::Nat(Nat::new(NatKind::Snat)),
            "MASQUERADE" => Target::Nat(Nat::new(NatKind::Masquerade)),
            "REDIRECT" => Target::Nat(Nat::new(NatKind::Redirect)),
            "REJECT" => Target::Reject(Reject::default()),
            "TCPMSS" => Target::TcpMss(TcpMss::default()),
            "TPROXY" => Target::Tproxy(Tproxy::default()),
            _ => return None,
        })
    }

    /// A target of iptables 1.8.9 that this kernel does not have.
    pub(super) fn is_foreign(name: &str) -> bool {
        const FOREIGN: [&str; 31] = [
            "AUDIT",
            "CHECKSUM",
            "CLASSIFY",
            "CLUSTERIP",
            "CONNSECMARK",
            "DNPT",
            "DSCP",
            "ECN",
            "HL",
            "HMARK",
            "IDLETIMER",
            "LED",
            "NETMAP",
            "NFLOG",
            "NFQUEUE",
            "QUEUE",
            "RATEEST",
            "SECMARK",
            "SET",
            "SNPT",
            "SYNPROXY",
            "TCPOPTSTRIP",
            "TEE",
            "TOS",
            "TRACE",
            "TTL",
            "ULOG",
            "standard",
            "dnat",
            "snat",
            "mangle",
        ];
        FOREIGN.contains(&name)
    }

    /// The target's name, or the chain's.
    pub fn name(&self) -> &str {
        match self {
            Target::None => "",
            Target::Accept => "ACCEPT",
            Target::Drop => "DROP",
            Target::Return => "RETURN",
            Target::Jump(chain) | Target::Goto(chain) => chain,
            Target::ConnMark(_) => "CONNMARK",
            Target::Ct(t) if t.alias => "NOTRACK",
            Target::Ct(_) => "CT",
            Target::Log(_) => "LOG",
            Target::Mark(_) => "MARK",
            Target::Nat(t) => t.kind.name(),
            Target::Reject(_) => "REJECT",
            Target::TcpMss(_) => "TCPMSS",
            Target::Tproxy(_) => "TPROXY",
        }
    }

    /// The chain that it leads to.
    pub fn chain(&self) -> Option<&str> {
        match self {
            Target::Jump(chain) | Target::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    /// The name of the chain that it leads to, to be changed.
    pub(super) fn chain_mut(&mut self) -> Option<&mut String> {
        match self {
            Target::Jump(chain) | Target::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    fn extension(&self) -> Option<&dyn Extension> {
        Some(match self {
            Target::ConnMark(t) => t,
            Target::Ct(t) => t,
            Target::Log(t) => t,
            Target::Mark(t) => t,
            Target::Nat(t) => t,
            Target::Reject(t) => t,
            Target::TcpMss(t) => t,
            Target::Tproxy(t) => t,
            _ => return None,
        })
    }

    /// The target as something with options.
    pub(super) fn extension_mut(&mut self) -> Option<&mut dyn Extension> {
        Some(match self {
            Target::ConnMark(t) => t,
            Target::Ct(t) => t,
            Target::Log(t) => t,
            Target::Mark(t) => t,
            Target::Nat(t) => t,
            Target::Reject(t) => t,
            Target::TcpMss(t) => t,
            Target::Tproxy(t) => t,
            _ => return None,
        })
    }

    /// Its options.
    pub(super) fn specs(&self) -> &'static [Spec] {
        self.extension().map_or(&[], |t| t.specs())
    }

    /// All options were read.
    pub(super) fn check(&mut self, seen: u32) -> Result<(), Error> {
        self.extension_mut().map_or(Ok(()), |t| t.check(seen))
    }

    /// ` -j NAME` and the options.
    pub(super) fn save(&self, out: &mut String) {
        match self {
            Target::None => return,
            Target::Goto(_) => out.push_str(" -g "),
            _ => out.push_str(" -j "),
        }
        out.push_str(self.name());
        if let Some(t) = self.extension() {
            t.save(out);
        }
    }

    /// The options as `iptables -L` prints them, with a blank before.
    pub(super) fn list(&self, out: &mut String, how: Listing) {
        if let Some(t) = self.extension() {
            t.list(out, how);
        }
    }

    /// The table, the hooks that the rule may be reached from and its conditions suit the target (`xt_check_target`).
    pub(super) fn suits(&self, table: TableName, hooks: u8, conditions: &Conditions) -> bool {
        let allowed = |mask: u8| hooks & !mask == 0;
        match self {
            Target::Nat(t) => {
                let only = match t.kind {
                    NatKind::Dnat | NatKind::Redirect => Hook::Prerouting.bit() | Hook::Output.bit(),
                    NatKind::Snat => Hook::Postrouting.bit() | Hook::Input.bit(),
                    NatKind::Masquerade => Hook::Postrouting.bit(),
                };
                table == TableName::Nat && allowed(only)
            }
            Target::Reject(t) => {
                let only = Hook::Input.bit() | Hook::Forward.bit() | Hook::Output.bit();
                let tcp = t.with != RejectWith::TcpReset || conditions.is_protocol(6);
                table == TableName::Filter && allowed(only) && tcp
            }
            Target::Ct(_) => table == TableName::Raw,
            Target::TcpMss(t) => {
                let only = Hook::Forward.bit() | Hook::Output.bit() | Hook::Postrouting.bit();
                conditions.is_protocol(6) && (*t != TcpMss::Clamp || allowed(only))
            }
            Target::Tproxy(_) => {
                let protocol = conditions.is_protocol(6) || conditions.is_protocol(17);
                table == TableName::Mangle && allowed(Hook::Prerouting.bit()) && protocol
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known() {
        assert!(NAMES.iter().all(|name| Target::new(name).is_some()), "{NAMES:?}");
    }
}
