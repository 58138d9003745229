//! Mirrors net/ipv4/fib_trie.c, fib_semantics.c and fib_frontend.c: routing tables and the longest prefix.

mod trie;

use super::dev::Dev;
use super::errno::{Errno, NlError};
use super::netlink::{Op, RouteType, RuleAction, Scope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use super::netns::NetNs;
use super::rules::{Lookup, Rules};
use crate::base::IfIndex;
use ipnet::Ipv4Net;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use trie::{ANY_LENGTH, Prefix, Trie};

/// The routing tables of one namespace.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Fib {
    /// The tables local and main: until fib_unmerge a longer prefix in main goes before a shorter one in local.
    shared: Trie,
    others: BTreeMap<u32, Trie>,
    pub rules: Rules,
    /// fib_has_custom_local_routes: somebody has made a local route that belongs to no address.
    pub custom_local_routes: bool,
    last_nh: u64,
}

/// A route in its table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    route: Alias,
    nh: u64,
    table: u32,
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
}

impl Hit<'_> {
    fn found(&self, dst: Ipv4Addr) -> Found {
        let Entry { route, nh, table } = *self.entry;
        Found { prefix: (mask(dst, self.len), self.len), table, route, nh }
    }
}

/// As many prefixes one table has routes for, or local and main together.
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
        if !self.rules.custom() {
            let default = || Fib::decide(self.others.get(&TABLE_DEFAULT)?, None, flow);
            return Fib::decide(&self.shared, None, flow).or_else(default).unwrap_or(Err(Errno::ENETUNREACH));
        }
        for action in self.rules.matching(flow) {
            let decided = match action {
                RuleAction::Table(id) => self.trie(id).and_then(|trie| Fib::decide(trie, Some(id), flow)),
                RuleAction::Blackhole => Some(Err(Errno::EINVAL)),
                RuleAction::Unreachable => Some(Err(Errno::ENETUNREACH)),
                RuleAction::Prohibit => Some(Err(Errno::EACCES)),
            };
            if let Some(decided) = decided {
                return decided;
            }
        }
        Err(Errno::ENETUNREACH)
    }

    /// What a trie says, or one table of it; none if others are to be asked.
    fn decide(trie: &Trie, table: Option<u32>, flow: &Lookup) -> Option<Result<Found, Errno>> {
        let hit = search(trie, table, flow.dst, flow.scope, flow.oif)?;
        match hit.entry.route.kind {
            RouteType::Throw => None,
            RouteType::Blackhole => Some(Err(Errno::EINVAL)),
            RouteType::Unreachable => Some(Err(Errno::EHOSTUNREACH)),
            RouteType::Prohibit => Some(Err(Errno::EACCES)),
            _ => Some(Ok(hit.found(flow.dst))),
        }
    }

    /// The prefixes that a destination is compared with, the longest first; host routes only if it is theirs.
    pub fn candidates(&self, dst: Ipv4Addr) -> Vec<(u32, (Ipv4Addr, u8))> {
        let mut all = vec![];
        for table in [TABLE_LOCAL, TABLE_MAIN, TABLE_DEFAULT] {
            let nets = self.iter(table).map(|(net, _)| (net.network(), net.prefix_len()));
            all.extend(nets.filter(|(net, len)| *len < 32 || *net == dst).map(|prefix| (table, prefix)));
        }
        all.dedup();
        all.sort_by_key(|(_, (_, len))| Reverse(*len));
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
        match search(&self.shared, Some(TABLE_LOCAL), addr, Scope::Global, None) {
            Some(hit) if dev.is_none() || hit.entry.route.oif == dev => hit.entry.route.kind,
            _ => RouteType::Unicast,
        }
    }

    /// inet_lookup_ifaddr_rcu: an address is one of this namespace, if all local routes belong to addresses.
    ///
    /// Differs: addresses of a device that is down do not count, as they have no routes.
    pub fn is_local(&self, addr: Ipv4Addr) -> bool {
        let local = |e: &Entry| e.table == TABLE_LOCAL && e.route.kind == RouteType::Local;
        self.shared.longest(addr, ANY_LENGTH).is_some_and(|(len, routes)| len == 32 && routes.iter().any(local))
    }

    /// fib_table_insert
    ///
    /// # Errors
    /// EEXIST, ENOENT as rtnetlink answers for `op`.
    pub fn insert(&mut self, table: u32, dst: Ipv4Net, route: Alias, op: Op) -> Result<(), NlError> {
        self.last_nh += 1;
        let entry = Entry { route, nh: self.last_nh, table };
        let trie = match table {
            TABLE_LOCAL | TABLE_MAIN => &mut self.shared,
            _ => self.others.entry(table).or_default(),
        };
        if trie.len() >= MAX_ROUTES {
            return Err(Errno::ENFILE.into());
        }
        trie.change(key(dst), |routes| {
            // The table local first; in a table lower metrics first; behind those of the same metric.
            let place = |e: &Entry| (Reverse(e.table), e.route.metric);
            let mut alike = routes.iter().filter(|e| place(e) == place(&entry));
            match (op, alike.clone().next()) {
                (Op::Change, None) => return Err(Errno::ENOENT.into()),
                (Op::Add, Some(_)) => return Err(Errno::EEXIST.into()),
                (Op::Append, Some(_)) if alike.any(|e| e.route == route) => return Err(Errno::EEXIST.into()),
                (Op::Replace | Op::Change, Some(_)) => {
                    let at = routes.partition_point(|e| place(e) < place(&entry));
                    routes[at] = entry;
                }
                _ => routes.insert(routes.partition_point(|e| place(e) <= place(&entry)), entry),
            }
            Ok(())
        })
    }

    /// fib_table_delete: the first route to `dst` that `which` accepts.
    pub fn remove(&mut self, table: u32, dst: Ipv4Net, mut which: impl FnMut(&Alias) -> bool) -> Option<Alias> {
        let trie = match table {
            TABLE_LOCAL | TABLE_MAIN => &mut self.shared,
            _ => self.others.get_mut(&table)?,
        };
        trie.change(key(dst), |routes| {
            let at = routes.iter().position(|e| e.table == table && which(&e.route))?;
            Some(routes.remove(at).route)
        })
    }

    /// Removes every route that `which` accepts, in any table; whether there was one.
    pub fn remove_all(&mut self, mut which: impl FnMut(u32, Ipv4Net, &Alias) -> bool) -> bool {
        let mut any = false;
        for trie in self.tries_mut() {
            let prefixes: Vec<Prefix> = trie.iter().map(|(prefix, _)| prefix).collect();
            for prefix in prefixes {
                trie.change(prefix, |routes| {
                    let before = routes.len();
                    routes.retain(|e| net(prefix).is_none_or(|dst| !which(e.table, dst, &e.route)));
                    any |= routes.len() < before;
                });
            }
        }
        any
    }

    /// All routes of a table, by prefix, as /proc and rtnetlink list them.
    pub fn iter(&self, table: u32) -> impl Iterator<Item = (Ipv4Net, &Alias)> {
        let routes = self.trie(table).into_iter().flat_map(Trie::iter);
        routes.flat_map(move |(prefix, entries)| {
            let own = entries.iter().filter(move |e| e.table == table);
            own.filter_map(move |e| Some((net(prefix)?, &e.route)))
        })
    }

    /// ip_fib_check_default: some route leads through this gateway.
    pub fn is_gateway(&self, via: Ipv4Addr, dev: IfIndex) -> bool {
        let tries = [&self.shared].into_iter().chain(self.others.values());
        let mut routes = tries.flat_map(Trie::iter).flat_map(|(_, routes)| routes);
        routes.any(|e| e.route.via == Some(via) && e.route.oif == Some(dev))
    }

    /// The tables that hold routes, by number.
    pub fn tables(&self) -> impl Iterator<Item = u32> {
        let mut all: Vec<u32> = self.others.keys().copied().chain([TABLE_MAIN, TABLE_LOCAL]).collect();
        all.retain(|id| self.iter(*id).next().is_some());
        all.sort_unstable();
        all.into_iter()
    }

    /// fib_get_table
    fn trie(&self, table: u32) -> Option<&Trie> {
        match table {
            TABLE_LOCAL | TABLE_MAIN => Some(&self.shared),
            _ => self.others.get(&table),
        }
    }

    fn tries_mut(&mut self) -> impl Iterator<Item = &mut Trie> {
        [&mut self.shared].into_iter().chain(self.others.values_mut())
    }

    /// Marks the routes of a device that lost or found its carrier (fib_sync_down_dev, fib_sync_up).
    pub fn set_linkdown(&mut self, dev: IfIndex, down: bool) {
        for trie in self.tries_mut() {
            for a in trie.routes_mut().map(|e| &mut e.route) {
                if a.oif == Some(dev) && a.kind != RouteType::Local {
                    a.linkdown = down;
                }
            }
        }
    }
}

/// fib_table_lookup: the longest prefix with a route that may be used, of a trie or of one table of it.
fn search(trie: &Trie, table: Option<u32>, dst: Ipv4Addr, scope: Scope, oif: Option<IfIndex>) -> Option<Hit<'_>> {
    let usable = |e: &&Entry| {
        let a = &e.route;
        a.scope >= scope && (oif.is_none() || a.oif.is_none() || a.oif == oif) && table.is_none_or(|t| t == e.table)
    };
    let mut below = ANY_LENGTH;
    loop {
        let (len, routes) = trie.longest(dst, below)?;
        if let Some(entry) = routes.iter().find(usable) {
            return Some(Hit { entry, len });
        }
        below = len;
    }
}

fn key(dst: Ipv4Net) -> Prefix {
    (dst.network().to_bits(), dst.prefix_len())
}

/// `addr AND mask`: the step that decides whether a destination lies in a subnet.
pub fn mask(addr: Ipv4Addr, len: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
    Ipv4Addr::from(u32::from(addr) & mask)
}

fn net((addr, len): Prefix) -> Option<Ipv4Net> {
    Ipv4Net::new(Ipv4Addr::from_bits(addr), len).ok()
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
        let route = &search(&self.fib.shared, Some(TABLE_LOCAL), addr, Scope::Global, None)?.entry.route;
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

    pub(super) fn route(oif: u32, metric: u32) -> Alias {
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
