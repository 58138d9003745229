//! Mirrors net/ipv4/fib_trie.c, fib_semantics.c and fib_frontend.c: routing tables and the longest prefix.

use super::dev::Dev;
use super::errno::{Errno, NlError};
use super::netlink::{Op, RouteType, RuleAction, Scope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use super::netns::NetNs;
use super::rules::{Lookup, Rules};
use crate::base::IfIndex;
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The routing tables of one namespace.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Fib {
    tables: BTreeMap<u32, Table>,
    pub rules: Rules,
    last_nh: u64,
}

/// One table: routes by prefix.
#[derive(Clone, Debug, Default)]
struct Table {
    routes: BTreeMap<Prefix, Vec<Entry>>,
    /// How many prefixes there are of each length.
    lengths: Vec<u32>,
    /// A bit for each length of which there are any.
    present: u64,
}

/// An address, which may be one of IPv6, and how much of it counts. A number, since it is compared on every packet's
/// way.
type Prefix = (u128, u8);

/// A route in its table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    route: Alias,
    nh: u64,
}

/// struct fib_alias with its fib_info: one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Alias {
    pub kind: RouteType,
    pub scope: Scope,
    pub proto: u8,
    pub metric: u32,
    pub oif: Option<IfIndex>,
    pub via: Option<Ipv4Addr>,
    pub prefsrc: Option<Ipv4Addr>,
    pub mtu: Option<(u32, bool)>,
    pub onlink: bool,
    /// RTNH_F_LINKDOWN: the device has lost its carrier.
    pub linkdown: bool,
}

/// struct fib_result: the route that a look-up found.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Found {
    pub prefix: (Ipv4Addr, u8),
    pub table: u32,
    pub route: Alias,
    /// Its next hop (struct fib_nh_common): what is learned of it ends with the route.
    pub nh: u64,
}

/// A [`Found`] before it is copied.
struct Hit<'a> {
    entry: &'a Entry,
    len: u8,
    table: u32,
}

impl Hit<'_> {
    fn found(&self, dst: Ipv4Addr) -> Found {
        let Entry { route, nh } = *self.entry;
        Found { prefix: (mask(dst, self.len), self.len), table: self.table, route, nh }
    }
}

/// As many routes one table holds.
pub const MAX_ROUTES: usize = 1 << 20;

impl Fib {
    /// fib_lookup of something made here, of which only this is known.
    ///
    /// # Errors
    /// As [`Fib::lookup_flow`].
    pub fn lookup(&self, dst: Ipv4Addr, scope: Scope, oif: Option<IfIndex>) -> Result<Found, Errno> {
        self.lookup_flow(&Lookup::local(dst, scope, oif))
    }

    /// fib_lookup: the tables in the order of the rules, the longest prefix in each. Routes of a wider scope than asked
    /// for do not count.
    ///
    /// # Errors
    /// What the route's type stands for, ENETUNREACH without a route.
    pub fn lookup_flow(&self, flow: &Lookup) -> Result<Found, Errno> {
        for action in self.rules.matching(flow) {
            let table = match action {
                RuleAction::Table(id) => id,
                RuleAction::Blackhole => return Err(Errno::EINVAL),
                RuleAction::Unreachable => return Err(Errno::ENETUNREACH),
                RuleAction::Prohibit => return Err(Errno::EACCES),
            };
            // Until fib_unmerge local and main share one trie: a longer prefix in main goes before a shorter in local.
            let merged = table == TABLE_LOCAL && !self.rules.custom();
            let tables = if merged { &[TABLE_LOCAL, TABLE_MAIN][..] } else { &[table][..] };
            let Some(hit) = self.search(tables, flow.dst, flow.scope, flow.oif) else { continue };
            match hit.entry.route.kind {
                RouteType::Throw => {}
                RouteType::Blackhole => return Err(Errno::EINVAL),
                RouteType::Unreachable => return Err(Errno::EHOSTUNREACH),
                RouteType::Prohibit => return Err(Errno::EACCES),
                _ => return Ok(hit.found(flow.dst)),
            }
        }
        Err(Errno::ENETUNREACH)
    }

    /// fib_table_lookup, in tables that share one trie: the longest prefix of all, of equal ones the first table's.
    fn search(&self, tables: &[u32], dst: Ipv4Addr, scope: Scope, oif: Option<IfIndex>) -> Option<Hit<'_>> {
        let usable = |a: &Alias| a.scope >= scope && (oif.is_none() || a.oif.is_none() || a.oif == oif);
        // No more than two share one.
        let mut tries: [Option<(u32, &Table)>; 2] = [None; 2];
        for (to, id) in tries.iter_mut().zip(tables) {
            *to = self.tables.get(id).map(|t| (*id, t));
        }
        let mut lengths = tries.iter().flatten().fold(0, |all, (_, t)| all | t.present);
        while lengths != 0 {
            let len = lengths.ilog2() as u8;
            lengths &= !(1 << len);
            let key = key(mask(dst, len), len);
            for (table, t) in tries.iter().flatten().filter(|(_, t)| t.present & 1 << len != 0) {
                let Some(aliases) = t.routes.get(&key) else { continue };
                if let Some(entry) = aliases.iter().find(|e| usable(&e.route)) {
                    return Some(Hit { entry, len, table: *table });
                }
            }
        }
        None
    }

    /// The prefixes that a destination is compared with, the longest first; host routes only if it is theirs.
    pub fn candidates(&self, dst: Ipv4Addr) -> Vec<(u32, (Ipv4Addr, u8))> {
        let mut all = vec![];
        for table in [TABLE_LOCAL, TABLE_MAIN, TABLE_DEFAULT] {
            let nets = self.iter(table).map(|(net, _)| (net.network(), net.prefix_len()));
            all.extend(nets.filter(|(net, len)| *len < 32 || *net == dst).map(|prefix| (table, prefix)));
        }
        all.dedup();
        all.sort_by_key(|(_, (_, len))| std::cmp::Reverse(*len));
        all
    }

    /// inet_addr_type: what the local table says of an address; unicast if it says nothing.
    pub fn addr_type(&self, addr: Ipv4Addr, dev: Option<IfIndex>) -> RouteType {
        if addr.is_unspecified() || addr.is_broadcast() {
            return RouteType::Broadcast;
        }
        if addr.is_multicast() {
            return RouteType::Multicast;
        }
        match self.search(&[TABLE_LOCAL], addr, Scope::Global, None) {
            Some(hit) if dev.is_none() || hit.entry.route.oif == dev => hit.entry.route.kind,
            _ => RouteType::Unicast,
        }
    }

    /// fib_table_insert
    ///
    /// # Errors
    /// EEXIST, ENOENT as rtnetlink answers for `op`.
    pub fn insert(&mut self, table: u32, dst: Ipv4Net, route: Alias, op: Op) -> Result<(), NlError> {
        self.last_nh += 1;
        let entry = Entry { route, nh: self.last_nh };
        let t = self.tables.entry(table).or_default();
        if t.routes.len() >= MAX_ROUTES {
            return Err(Errno::ENFILE.into());
        }
        let key = key(dst.network(), dst.prefix_len());
        let same = t.routes.get(&key).and_then(|aliases| aliases.iter().position(|e| e.route.metric == route.metric));
        if op == Op::Change && same.is_none() {
            return Err(Errno::ENOENT.into());
        }
        let aliases = t.routes.entry(key).or_default();
        match (op, same) {
            (Op::Add, Some(_)) => return Err(Errno::EEXIST.into()),
            (Op::Replace | Op::Change, Some(at)) => {
                aliases[at] = entry;
                return Ok(());
            }
            (Op::Append, Some(_)) if aliases.iter().any(|e| e.route == route) => return Err(Errno::EEXIST.into()),
            _ => {}
        }
        // Lower metrics first; behind those of the same metric.
        let at = aliases.partition_point(|e| e.route.metric <= route.metric);
        aliases.insert(at, entry);
        if aliases.len() == 1 {
            t.lengths.resize(33, 0);
            t.lengths[dst.prefix_len() as usize] += 1;
            t.present |= 1 << dst.prefix_len();
        }
        Ok(())
    }

    /// fib_table_delete: the first route to `dst` that `which` accepts.
    pub fn remove(&mut self, table: u32, dst: Ipv4Net, mut which: impl FnMut(&Alias) -> bool) -> Option<Alias> {
        let t = self.tables.get_mut(&table)?;
        let key = key(dst.network(), dst.prefix_len());
        let aliases = t.routes.get_mut(&key)?;
        let at = aliases.iter().position(|e| which(&e.route))?;
        let gone = aliases.remove(at).route;
        t.forget_empty(key);
        Some(gone)
    }

    /// Removes every route that `which` accepts, in any table; whether there was one.
    pub fn remove_all(&mut self, mut which: impl FnMut(u32, Ipv4Net, &Alias) -> bool) -> bool {
        let mut any = false;
        for (id, t) in &mut self.tables {
            let (lengths, present) = (&mut t.lengths, &mut t.present);
            t.routes.retain(|key, aliases| {
                let before = aliases.len();
                aliases.retain(|e| net(*key).is_none_or(|dst| !which(*id, dst, &e.route)));
                any |= aliases.len() < before;
                if aliases.is_empty() {
                    forget_length(lengths, present, key.1);
                }
                !aliases.is_empty()
            });
        }
        any
    }

    /// All routes of a table, by prefix, as /proc and rtnetlink list them.
    pub fn iter(&self, table: u32) -> impl Iterator<Item = (Ipv4Net, &Alias)> {
        let routes = self.tables.get(&table).into_iter().flat_map(|t| t.routes.iter());
        routes.flat_map(|(key, aliases)| aliases.iter().filter_map(|e| Some((net(*key)?, &e.route))))
    }

    /// ip_fib_check_default: some route leads through this gateway.
    pub fn is_gateway(&self, via: Ipv4Addr, dev: IfIndex) -> bool {
        let mut routes = self.tables.values().flat_map(|t| t.routes.values().flatten());
        routes.any(|e| e.route.via == Some(via) && e.route.oif == Some(dev))
    }

    /// The tables that hold routes.
    pub fn tables(&self) -> impl Iterator<Item = u32> {
        self.tables.iter().filter(|(_, t)| !t.routes.is_empty()).map(|(id, _)| *id)
    }

    /// Marks the routes of a device that lost or found its carrier (fib_sync_down_dev, fib_sync_up).
    pub fn set_linkdown(&mut self, dev: IfIndex, down: bool) {
        for t in self.tables.values_mut() {
            for a in t.routes.values_mut().flatten().map(|e| &mut e.route) {
                if a.oif == Some(dev) && a.kind != RouteType::Local {
                    a.linkdown = down;
                }
            }
        }
    }
}

impl Table {
    fn forget_empty(&mut self, key: Prefix) {
        if self.routes.get(&key).is_some_and(Vec::is_empty) {
            self.routes.remove(&key);
            forget_length(&mut self.lengths, &mut self.present, key.1);
        }
    }
}

/// There is one prefix less of this length.
fn forget_length(lengths: &mut [u32], present: &mut u64, len: u8) {
    let Some(n) = lengths.get_mut(len as usize) else { return };
    *n = n.saturating_sub(1);
    if *n == 0 {
        *present &= !(1 << len);
    }
}

fn key(addr: Ipv4Addr, len: u8) -> Prefix {
    (addr.to_bits().into(), len)
}

/// `addr AND mask`: the step that decides whether a destination lies in a subnet.
pub fn mask(addr: Ipv4Addr, len: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
    Ipv4Addr::from(u32::from(addr) & mask)
}

fn net((addr, len): Prefix) -> Option<Ipv4Net> {
    Ipv4Net::new(Ipv4Addr::from_bits(u32::try_from(addr).ok()?), len).ok()
}

impl NetNs {
    /// inet_select_addr: the address that `dev` speaks with, best one in the subnet of `dst`.
    pub(in crate::kernel) fn select_addr(&self, dev: IfIndex, dst: Option<Ipv4Addr>, scope: Scope) -> Option<Ipv4Addr> {
        let localnet = if self.conf_or(dev, |c| c.route_localnet) { Scope::Host } else { Scope::Link };
        let mut first = None;
        for a in self.dev(dev).map_or(&[][..], |d| &d.addrs) {
            if a.secondary || a.scope.min(localnet) > scope {
                continue;
            }
            if dst.is_none_or(|dst| a.subnet().contains(&dst)) {
                return Some(a.local.addr());
            }
            first = first.or(Some(a.local.addr()));
        }
        first.or_else(|| self.devs().find_map(|d| in_dev_select_addr(d, scope)))
    }

    /// The device that has a local address (__ip_dev_find).
    pub(in crate::kernel) fn local_dev(&self, addr: Ipv4Addr) -> Option<IfIndex> {
        let route = &self.fib.search(&[TABLE_LOCAL], addr, Scope::Global, None)?.entry.route;
        (route.kind == RouteType::Local).then_some(route.oif).flatten()
    }
}

fn in_dev_select_addr(d: &Dev, scope: Scope) -> Option<Ipv4Addr> {
    let fits = |a: &&super::dev::IfAddr| !a.secondary && a.scope != Scope::Link && a.scope <= scope;
    d.addrs.iter().find(fits).map(|a| a.local.addr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::TABLE_MAIN;

    fn route(oif: u32, metric: u32) -> Alias {
        Alias {
            kind: RouteType::Unicast,
            scope: Scope::Link,
            proto: 3,
            metric,
            oif: Some(IfIndex(oif)),
            via: None,
            prefsrc: None,
            mtu: None,
            onlink: false,
            linkdown: false,
        }
    }

    #[test]
    fn masks() {
        for (addr, len, want) in [
            ([192, 168, 1, 1], 24, [192, 168, 1, 0]),
            ([172, 16, 1, 1], 16, [172, 16, 0, 0]),
            ([172, 16, 1, 1], 24, [172, 16, 1, 0]),
            ([255, 255, 255, 255], 0, [0, 0, 0, 0]),
            ([10, 1, 2, 3], 32, [10, 1, 2, 3]),
        ] {
            assert_eq!(mask(addr.into(), len), Ipv4Addr::from(want));
        }
    }

    #[test]
    fn longest_prefix_then_lowest_metric() {
        let mut fib = Fib::default();
        for (dst, oif, metric) in
            [("0.0.0.0/0", 1, 0), ("10.0.0.0/8", 2, 0), ("10.1.0.0/16", 3, 10), ("10.1.0.0/16", 4, 5)]
        {
            fib.insert(TABLE_MAIN, dst.parse().unwrap(), route(oif, metric), Op::Add).unwrap();
        }
        for (dst, want) in [([10, 1, 2, 3], 4), ([10, 2, 2, 3], 2), ([11, 0, 0, 1], 1)] {
            let found = fib.lookup(dst.into(), Scope::Global, None).unwrap();
            assert_eq!(found.route.oif, Some(IfIndex(want)));
        }
        let again = fib.insert(TABLE_MAIN, "10.1.0.0/16".parse().unwrap(), route(9, 5), Op::Add);
        assert_eq!(again, Err(Errno::EEXIST.into()));
        assert!(fib.remove_all(|_, dst, _| dst.prefix_len() == 16));
        let found = fib.lookup([10, 1, 2, 3].into(), Scope::Global, None).unwrap();
        assert_eq!(found.route.oif, Some(IfIndex(2)));
    }

    #[test]
    fn types_answer_with_their_errno() {
        let mut fib = Fib::default();
        let kinds = [
            (RouteType::Blackhole, Errno::EINVAL),
            (RouteType::Unreachable, Errno::EHOSTUNREACH),
            (RouteType::Prohibit, Errno::EACCES),
            (RouteType::Throw, Errno::ENETUNREACH),
        ];
        for (i, (kind, _)) in (0..).zip(kinds) {
            let dst = Ipv4Net::new([10, 250 + i, 0, 0].into(), 16).unwrap();
            let alias = Alias { kind, oif: None, ..route(0, 0) };
            fib.insert(TABLE_MAIN, dst, alias, Op::Add).unwrap();
        }
        for (i, (_, want)) in (0..).zip(kinds) {
            assert_eq!(fib.lookup([10, 250 + i, 0, 1].into(), Scope::Global, None).map(|_| ()), Err(want));
        }
    }
}
