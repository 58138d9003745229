//! Hooks, tables and verdicts of base chains (include/uapi/linux/netfilter.h; net/ipv4/netfilter/iptable_*.c for the
//! hooks of each table and its place among them, include/uapi/linux/netfilter_ipv4.h).

/// A hook of the IPv4 stack, in the order of its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Hook {
    /// `NF_INET_PRE_ROUTING`
    Prerouting = 0,
    /// `NF_INET_LOCAL_IN`
    Input = 1,
    /// `NF_INET_FORWARD`
    Forward = 2,
    /// `NF_INET_LOCAL_OUT`
    Output = 3,
    /// `NF_INET_POST_ROUTING`
    Postrouting = 4,
}

impl Hook {
    /// All, by number.
    pub const ALL: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    /// The base chain's name.
    pub fn chain(self) -> &'static str {
        match self {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
            Hook::Postrouting => "POSTROUTING",
        }
    }

    /// Its bit in a mask of hooks.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A table, in the order in which they see a packet at a hook that has them all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum TableName {
    /// Before connection tracking (`NF_IP_PRI_RAW`, -300).
    Raw = 0,
    /// `NF_IP_PRI_MANGLE`, -150
    Mangle = 1,
    /// `NF_IP_PRI_NAT_DST`, -100, and `NF_IP_PRI_NAT_SRC`, 100
    Nat = 2,
    /// `NF_IP_PRI_FILTER`, 0
    Filter = 3,
}

impl TableName {
    /// All of them.
    pub const ALL: [TableName; 4] = [TableName::Raw, TableName::Mangle, TableName::Nat, TableName::Filter];

    /// The table of that name.
    pub fn parse(name: &str) -> Option<TableName> {
        TableName::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            TableName::Raw => "raw",
            TableName::Mangle => "mangle",
            TableName::Nat => "nat",
            TableName::Filter => "filter",
        }
    }

    /// The hooks that it has base chains at, by number.
    pub fn hooks(self) -> &'static [Hook] {
        match self {
            TableName::Raw => &[Hook::Prerouting, Hook::Output],
            TableName::Mangle => &Hook::ALL,
            TableName::Nat => &[Hook::Prerouting, Hook::Input, Hook::Output, Hook::Postrouting],
            TableName::Filter => &[Hook::Input, Hook::Forward, Hook::Output],
        }
    }
}

/// What may be registered at a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// ipv4_conntrack_defrag, -400
    Defrag,
    /// raw -300, mangle -150, filter 0
    Table(TableName),
    /// ipv4_conntrack_in, ipv4_conntrack_local, -200
    Conntrack,
    /// nf_nat_ipv4_*: destination -100, source 100
    Nat,
    /// nf_confirm, the last
    Confirm,
}

/// What is registered at a hook, in order of priority (struct nf_hook_entries). The rest is none.
pub type Ops = [Option<Op>; 6];

impl Hook {
    /// Of all that there is for this hook, what `is_registered`.
    pub(super) fn ops(self, is_registered: impl Fn(Op) -> bool) -> Ops {
        use Op::{Confirm, Conntrack, Defrag, Nat, Table};
        use TableName::{Filter, Mangle, Raw};
        let all: &[Op] = match self {
            Hook::Prerouting => &[Defrag, Table(Raw), Conntrack, Table(Mangle), Nat],
            Hook::Input => &[Table(Mangle), Table(Filter), Nat, Confirm],
            Hook::Forward => &[Table(Mangle), Table(Filter)],
            Hook::Output => &[Defrag, Table(Raw), Conntrack, Table(Mangle), Nat, Table(Filter)],
            Hook::Postrouting => &[Table(Mangle), Nat, Confirm],
        };
        let mut registered = all.iter().copied().filter(|op| is_registered(*op));
        std::array::from_fn(|_| registered.next())
    }
}

/// What becomes of a packet that reaches the end of a base chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// It goes on.
    #[default]
    Accept,
    /// It is dropped.
    Drop,
}

impl Policy {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Accept => "ACCEPT",
            Policy::Drop => "DROP",
        }
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Policy> {
        [Policy::Accept, Policy::Drop].into_iter().find(|p| p.name() == name)
    }
}
