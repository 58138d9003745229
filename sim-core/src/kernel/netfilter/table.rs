//! A table of rules: immutable and shared once it is built, edited as a copy, checked as a whole before it takes the
//! old one's place (net/ipv4/netfilter/ip_tables.c: translate_table, mark_source_chains; libiptc/libiptc.c).

use super::Backend;
use super::error::Error;
use super::hook::{Hook, Policy, TableName};
use super::index::Index;
use super::matches::{Match, Rpfilter};
use super::parse::Counters;
use super::rule::{Conditions, Rule};
use super::targets::Target;
use crate::kernel::errno::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// A table has at most so many rules.
pub const MAX_RULES: usize = 1 << 20;
/// A table has at most so many chains.
pub const MAX_CHAINS: usize = 1 << 16;
/// nf_tables follows jumps this deep (`NFT_JUMP_STACK_SIZE`).
const NFT_JUMPS: usize = 16;

/// A table, ready to be walked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    name: TableName,
    /// Base chains by the number of their hook, then the others by name.
    chains: Vec<Chain>,
    next_handle: u32,
}

/// A chain of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Of a base chain.
    pub base: Option<Base>,
    /// The rules, in order.
    pub rules: Vec<Slot>,
    /// Of a long chain.
    index: Option<Box<Index>>,
}

impl Chain {
    fn new(name: String, base: Option<Base>, rules: Vec<Slot>) -> Chain {
        Chain { name, base, index: Index::of(&rules), rules }
    }

    /// The next rule from `at` on that a packet to `dst` may match, and its number.
    #[inline]
    pub(super) fn next(&self, at: usize, dst: Ipv4Addr) -> Option<(usize, &Slot)> {
        let at = match &self.index {
            Some(index) => index.next(at, dst)?,
            None => at,
        };
        Some((at, self.rules.get(at)?))
    }
}

/// A chain's name is shorter in the kernel, with the legacy backend and with nf_tables.
const XT_FUNCTION_MAXNAMELEN: usize = 32;
const NFT_NAME_MAXLEN: usize = 256;

/// What only a base chain has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    /// Where it is called.
    pub hook: Hook,
    /// What becomes of a packet that reaches its end.
    pub policy: Policy,
    /// The policy has a counter.
    pub counts: bool,
    /// What the policy's counter is found by.
    pub handle: u32,
}

/// A rule in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// What the rule's counter and state are found by; it stays while the rule does.
    pub handle: u32,
    /// The rule.
    pub rule: Rule,
    /// The chain that it leads to, by its number; zero if it leads to none.
    pub to: u32,
    /// Its conditions hold for every packet.
    pub(super) any: bool,
    /// The line of iptables-restore that it came from; zero if it is older.
    line: u32,
}

impl Slot {
    /// The line of iptables-restore's text that the rule came from, from 1; zero if no text brought it.
    pub fn line(&self) -> u32 {
        self.line
    }
}

impl Table {
    /// The table with nothing but its base chains.
    pub fn new(name: TableName, backend: Backend) -> Self {
        let base = |hook: &Hook, handle| {
            let counts = backend == Backend::Legacy;
            let base = Base { hook: *hook, policy: Policy::Accept, counts, handle };
            Chain::new(hook.chain().to_owned(), Some(base), Vec::new())
        };
        let chains: Vec<Chain> = name.hooks().iter().zip(0..).map(|(hook, n)| base(hook, n)).collect();
        Table { name, next_handle: chains.len() as u32, chains }
    }

    /// Its name.
    pub fn name(&self) -> TableName {
        self.name
    }

    /// Base chains by the number of their hook, then the others by name.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The chain of that name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|c| c.name == name)
    }

    /// The sets that its rules ask, one for each match.
    pub(super) fn set_names(&self) -> impl Iterator<Item = &str> {
        self.chains.iter().flat_map(|c| &c.rules).flat_map(|slot| slot.rule.set_names())
    }

    /// The number of the base chain at a hook.
    pub(super) fn base(&self, hook: Hook) -> Option<usize> {
        self.chains.iter().position(|c| c.base.is_some_and(|b| b.hook == hook))
    }

    /// A match or target needs connections to be tracked (nf_ct_netns_get).
    pub(super) fn tracks(&self) -> bool {
        let needs = |rule: &Rule| {
            matches!(rule.target, Target::Nat(_) | Target::ConnMark(_))
                || matches!(rule.target, Target::Ct(ct) if !ct.notrack)
                || rule.matches.iter().any(|m| matches!(m, Match::Conntrack(_) | Match::ConnMark(_)))
        };
        self.chains.iter().flat_map(|c| &c.rules).any(|slot| needs(&slot.rule))
    }

    /// A match or target needs whole packets (nf_defrag_ipv4_enable).
    pub(super) fn defragments(&self) -> bool {
        let needs = |rule: &Rule| {
            matches!(rule.target, Target::Tproxy(_)) || rule.matches.iter().any(|m| matches!(m, Match::Socket(_)))
        };
        self.chains.iter().flat_map(|c| &c.rules).any(|slot| needs(&slot.rule))
    }

    /// The handles of its rules and policies, in order.
    pub(super) fn handles(&self) -> Vec<u32> {
        let of = |c: &Chain| {
            let base = c.base.map(|b| b.handle);
            base.into_iter().chain(c.rules.iter().map(|s| s.handle)).collect::<Vec<_>>()
        };
        let mut all: Vec<u32> = self.chains.iter().flat_map(of).collect();
        all.sort_unstable();
        all
    }
}

/// Chains are ordered as they are listed: base chains by hook, then the others, which are no base chains, by name.
type Key = (bool, Option<Hook>, String);

/// A copy of a table that is being changed.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    table: TableName,
    backend: Backend,
    chains: BTreeMap<Key, Draft>,
    next_handle: u32,
    /// Rules that were made since it is a copy.
    made: usize,
    /// The line that is being read.
    pub(super) line: u32,
    /// Counters that were given with the rules, by handle.
    pub(super) counters: Vec<(u32, Counters)>,
}

/// A chain that is being changed. Rules come in at its end or, as often, at its start.
#[derive(Clone, Debug)]
struct Draft {
    name: String,
    base: Option<Base>,
    rules: VecDeque<Slot>,
}

/// Why an edit cannot become the table, and the line to blame if there is one.
pub(super) type Refusal = (Error, Option<u32>);

impl Edit {
    pub(super) fn new(table: &Table, backend: Backend) -> Self {
        let mut edit = Edit {
            table: table.name,
            backend,
            chains: BTreeMap::new(),
            next_handle: table.next_handle,
            made: 0,
            line: 0,
            counters: Vec::new(),
        };
        for Chain { name, base, rules, .. } in &table.chains {
            let rules = rules.iter().map(|s| Slot { line: 0, ..s.clone() }).collect();
            edit.chains.insert(edit.key(name), Draft { name: name.clone(), base: *base, rules });
        }
        edit
    }

    fn key(&self, name: &str) -> Key {
        let hook = self.table.hooks().iter().find(|h| h.chain() == name).copied();
        (hook.is_none(), hook, name.to_owned())
    }

    fn chain(&mut self, name: &str) -> Option<&mut Draft> {
        let key = self.key(name);
        self.chains.get_mut(&key)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.chains.contains_key(&self.key(name))
    }

    /// Which table it is a copy of.
    pub(super) fn table(&self) -> TableName {
        self.table
    }

    /// Whose rules it follows.
    pub(super) fn backend(&self) -> Backend {
        self.backend
    }

    /// It is the name of a base chain.
    pub(super) fn is_base(&self, name: &str) -> bool {
        self.table.hooks().iter().any(|h| h.chain() == name)
    }

    fn handle(&mut self, counters: Counters) -> u32 {
        let handle = self.next_handle;
        self.next_handle += 1;
        if counters != (0, 0) {
            self.counters.push((handle, counters));
        }
        handle
    }

    fn slot(&mut self, mut rule: Rule, counters: Counters) -> Result<Slot, Error> {
        self.check_target(&rule)?;
        // One line of iptables-restore makes thousands: too many are not gathered until COMMIT.
        if self.made >= MAX_RULES {
            return Err(too_many_rules());
        }
        self.made += 1;
        if self.backend == Backend::Nft {
            nft_protocol(&rule)?;
            rule.matches.retain_mut(Match::make_nft);
        }
        let any = rule.conditions == Conditions::default();
        Ok(Slot { handle: self.handle(counters), rule, to: 0, any, line: self.line })
    }

    /// A name that is no target must be a chain's.
    fn check_target(&self, rule: &Rule) -> Result<(), Error> {
        let Some(chain) = rule.target.chain().filter(|c| !self.has(c)) else { return Ok(()) };
        Err(Error::usage(match (self.backend, &rule.target) {
            (Backend::Nft, _) => format!("Chain '{chain}' does not exist"),
            (Backend::Legacy, Target::Goto(_)) => format!("goto '{chain}' is not a chain"),
            (Backend::Legacy, _) => format!("Couldn't load target `{chain}':No such file or directory\n"),
        }))
    }

    pub(super) fn append(&mut self, chain: &str, rule: Rule, counters: Counters) -> Result<(), Error> {
        let slot = self.slot(rule, counters)?;
        self.chain(chain).ok_or(Error::NO_CHAIN)?.rules.push_back(slot);
        Ok(())
    }

    /// At `number`, counted from 1.
    pub(super) fn insert(&mut self, chain: &str, number: u32, rule: Rule, counters: Counters) -> Result<(), Error> {
        let slot = self.slot(rule, counters)?;
        let rules = &mut self.chain(chain).ok_or(Error::NO_CHAIN)?.rules;
        let at = number as usize - 1;
        if at > rules.len() {
            return Err(Error::Refused { text: "Index of insertion too big", errno: Errno::ERANGE });
        }
        rules.insert(at, slot);
        Ok(())
    }

    pub(super) fn replace(&mut self, chain: &str, number: u32, rule: Rule, counters: Counters) -> Result<(), Error> {
        let slot = self.slot(rule, counters)?;
        let rules = &mut self.chain(chain).ok_or(Error::NO_CHAIN)?.rules;
        let too_big = Error::Refused { text: "Index of replacement too big", errno: Errno::ERANGE };
        *rules.get_mut(number as usize - 1).ok_or(too_big)? = slot;
        Ok(())
    }

    /// The first rule that is the same.
    fn find(&mut self, chain: &str, rule: &Rule) -> Result<(&mut Draft, usize), Error> {
        self.check_target(rule)?;
        let mut rule = rule.clone();
        if self.backend == Backend::Nft {
            rule.matches.retain_mut(Match::make_nft);
        }
        let chain = self.chain(chain).ok_or(Error::BAD_RULE)?;
        let at = chain.rules.iter().position(|s| s.rule == rule).ok_or(Error::BAD_RULE)?;
        Ok((chain, at))
    }

    pub(super) fn check(&mut self, chain: &str, rule: &Rule) -> Result<(), Error> {
        self.find(chain, rule).map(|_| ())
    }

    pub(super) fn delete(&mut self, chain: &str, rule: &Rule) -> Result<(), Error> {
        let (chain, at) = self.find(chain, rule)?;
        chain.rules.remove(at);
        Ok(())
    }

    pub(super) fn delete_number(&mut self, chain: &str, number: u32) -> Result<(), Error> {
        let rules = &mut self.chain(chain).ok_or(Error::NO_CHAIN)?.rules;
        if number as usize > rules.len() {
            return Err(Error::Refused { text: "Index of deletion too big", errno: Errno::ERANGE });
        }
        rules.remove(number as usize - 1);
        Ok(())
    }

    pub(super) fn flush(&mut self, chain: Option<&str>) -> Result<(), Error> {
        match chain {
            Some(chain) => self.chain(chain).ok_or(Error::NO_CHAIN)?.rules.clear(),
            None => self.chains.values_mut().for_each(|c| c.rules.clear()),
        }
        Ok(())
    }

    /// Everything goes, as at the start of iptables-restore; the legacy backend keeps the policies.
    pub(super) fn clear(&mut self) {
        self.chains.retain(|_, c| c.base.is_some());
        let keeps = self.backend.keeps_policies();
        for chain in self.chains.values_mut() {
            chain.rules.clear();
            if let Some(base) = chain.base.as_mut().filter(|_| !keeps) {
                (base.policy, base.counts) = (Policy::Accept, false);
                self.counters.push((base.handle, (0, 0)));
            }
        }
    }

    pub(super) fn zero(&mut self, chain: Option<&str>, number: Option<u32>) -> Result<(), Error> {
        let key = chain.map(|name| self.key(name));
        let chains = self.chains.iter_mut().filter(|(k, _)| key.as_ref().is_none_or(|key| key == *k));
        let mut found = false;
        for (_, chain) in chains {
            found = true;
            if let Some(number) = number {
                let too_big = Error::Refused { text: "Index of counter too big", errno: Errno::ERANGE };
                let slot = chain.rules.get(number as usize - 1).ok_or(too_big)?;
                self.counters.push((slot.handle, (0, 0)));
                continue;
            }
            if let Some(base) = &mut chain.base {
                base.counts = true;
                self.counters.push((base.handle, (0, 0)));
            }
            self.counters.extend(chain.rules.iter().map(|s| (s.handle, (0, 0))));
        }
        if found { Ok(()) } else { Err(Error::NO_CHAIN) }
    }

    pub(super) fn new_chain(&mut self, name: &str) -> Result<(), Error> {
        if self.has(name) {
            return Err(Error::Refused { text: "Chain already exists", errno: Errno::EEXIST });
        }
        if self.chains.len() >= MAX_CHAINS {
            return Err(Error::Other(format!("more than {MAX_CHAINS} chains in a table (MAX_CHAINS)")));
        }
        self.chains.insert(self.key(name), Draft { name: name.to_owned(), base: None, rules: VecDeque::new() });
        Ok(())
    }

    pub(super) fn delete_chain(&mut self, name: Option<&str>) -> Result<(), Error> {
        let names: Vec<String> = match name {
            Some(name) => vec![name.to_owned()],
            None => self.chains.values().filter(|c| c.base.is_none()).map(|c| c.name.clone()).collect(),
        };
        names.iter().try_for_each(|name| self.delete_one(name))
    }

    fn delete_one(&mut self, name: &str) -> Result<(), Error> {
        let busy = |legacy: Errno| Error::Kernel {
            request: "CHAIN_DEL",
            errno: [legacy, Errno::EBUSY],
            object: format!("chain {name}"),
        };
        let chain = self.chains.get(&self.key(name)).ok_or(Error::NO_CHAIN)?;
        if chain.base.is_some() {
            return Err(busy(Errno::EINVAL));
        }
        let refers = |c: &Draft| c.rules.iter().any(|s| s.rule.target.chain() == Some(name));
        if self.chains.values().any(refers) {
            return Err(busy(Errno::EMLINK));
        }
        if !chain.rules.is_empty() {
            return Err(busy(Errno::ENOTEMPTY));
        }
        self.chains.remove(&self.key(name));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        if self.has(to) {
            return Err(Error::Refused { text: "File exists", errno: Errno::EEXIST });
        }
        // Nobody checks a new name's length as that of a chain to be made: such a chain saves, and does not restore.
        match self.backend {
            Backend::Legacy if to.len() >= XT_FUNCTION_MAXNAMELEN => {
                return Err(Error::Refused { text: "Invalid argument", errno: Errno::EINVAL });
            }
            Backend::Nft if to.len() >= NFT_NAME_MAXLEN => {
                let (errno, object) = ([Errno::EINVAL, Errno::ERANGE], format!("chain {to}"));
                return Err(Error::Kernel { request: "CHAIN_RENAME", errno, object });
            }
            Backend::Legacy | Backend::Nft => {}
        }
        let key = self.key(from);
        let user = self.chains.get(&key).is_some_and(|c| c.base.is_none());
        let mut chain = self.chains.remove(&key).filter(|_| user).ok_or(Error::NO_CHAIN)?;
        to.clone_into(&mut chain.name);
        self.chains.insert(self.key(to), chain);
        for slot in self.chains.values_mut().flat_map(|c| &mut c.rules) {
            if let Some(name) = slot.rule.target.chain_mut().filter(|n| *n == from) {
                to.clone_into(name);
            }
        }
        Ok(())
    }

    /// `-` is the policy that the chain has. Counters of none leave them as they are.
    pub(super) fn policy(&mut self, chain: &str, policy: &str, counters: Option<Counters>) -> Result<(), Error> {
        let bad_chain = Error::Refused { text: "Bad built-in chain name", errno: Errno::ENOENT };
        let base = self.chain(chain).and_then(|c| c.base.as_mut()).ok_or(bad_chain)?;
        let bad_policy = Error::Refused { text: "Bad policy name", errno: Errno::EINVAL };
        if policy != "-" {
            base.policy = Policy::parse(policy).ok_or(bad_policy)?;
        }
        base.counts = true;
        let handle = base.handle;
        self.counters.extend(counters.map(|c| (handle, c)));
        Ok(())
    }

    /// The table that it makes, if the kernel takes it.
    pub(super) fn commit(&self) -> Result<Table, Refusal> {
        let rules: usize = self.chains.values().map(|c| c.rules.len()).sum();
        if rules > MAX_RULES {
            return Err((too_many_rules(), None));
        }
        let chain = |c: &Draft| Chain::new(c.name.clone(), c.base, c.rules.iter().cloned().collect());
        let mut chains: Vec<Chain> = self.chains.values().map(chain).collect();
        let names: BTreeMap<String, u32> = chains.iter().map(|c| c.name.clone()).zip(0..).collect();
        for slot in chains.iter_mut().flat_map(|c| &mut c.rules) {
            slot.to = slot.rule.target.chain().and_then(|c| names.get(c)).copied().unwrap_or(0);
        }
        let reached = reach(&chains, self.backend)?;
        for (chain, hooks) in chains.iter().zip(reached) {
            for slot in &chain.rules {
                if !self.suits(&slot.rule, hooks) {
                    return Err(append_failed(chain, slot, [Errno::EINVAL, Errno::EINVAL]));
                }
            }
        }
        Ok(Table { name: self.table, chains, next_handle: self.next_handle })
    }

    /// `check_match`, `check_target`
    fn suits(&self, rule: &Rule, hooks: u8) -> bool {
        rule.target.suits(self.table, hooks, &rule.conditions)
            && rule.matches.iter().all(|m| m.suits(&rule.conditions, hooks) && self.suits_table(m))
            && !(self.backend == Backend::Nft && rule.conditions.is_refused_by_nft())
    }
}

impl Edit {
    fn suits_table(&self, m: &Match) -> bool {
        !matches!(m, Match::Rpfilter(_)) || Rpfilter::suits_table(self.table)
    }
}

/// nf_tables turns these matches into its own, which need the protocol (iptables/nft.c: add_nft_tcp).
fn nft_protocol(rule: &Rule) -> Result<(), Error> {
    let needs = rule.matches.iter().find_map(|m| match m {
        Match::Tcp(t) if *t != Default::default() && !rule.conditions.is_protocol(6) => Some(("TCP", "tcp")),
        Match::Ports(u) if u.is_udp_with_options() && !rule.conditions.is_protocol(17) => Some(("UDP", "udp")),
        _ => None,
    });
    needs.map_or(Ok(()), |(name, p)| Err(Error::usage(format!("{name} match requires '-p {p}'"))))
}

fn too_many_rules() -> Error {
    Error::Other(format!("more than {MAX_RULES} rules in a table (MAX_RULES)"))
}

fn append_failed(chain: &Chain, slot: &Slot, errno: [Errno; 2]) -> Refusal {
    let object = format!("rule in chain {}", chain.name);
    (Error::Kernel { request: "RULE_APPEND", errno, object }, Some(slot.line).filter(|l| *l != 0))
}

/// From which hooks each chain can be reached (`mark_source_chains`). A chain that leads to itself, or for nf_tables
/// one that is too deep, is refused, but only if a packet can get there.
fn reach(chains: &[Chain], backend: Backend) -> Result<Vec<u8>, Refusal> {
    let mut reached = vec![0; chains.len()];
    for (start, hook) in chains.iter().enumerate().filter_map(|(n, c)| c.base.map(|b| (n, b.hook))) {
        // The chains on the way, the rule that comes next in each, and how deep each leads.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        let mut below: Vec<Option<usize>> = vec![None; chains.len()];
        let mut on_way = vec![false; chains.len()];
        on_way[start] = true;
        while let Some((chain, next)) = way.last_mut() {
            let (here, at) = (*chain, *next);
            reached[here] |= hook.bit();
            let Some(slot) = chains[here].rules.get(at) else {
                way.pop();
                on_way[here] = false;
                let depth = below[here].unwrap_or(0);
                below[here] = Some(depth);
                if let Some((caller, _)) = way.last() {
                    below[*caller] = below[*caller].max(Some(depth + 1));
                }
                continue;
            };
            *next += 1;
            if slot.rule.target.chain().is_none() {
                continue;
            }
            let to = slot.to as usize;
            if on_way[to] {
                return Err(append_failed(&chains[here], slot, [Errno::ELOOP, Errno::EMLINK]));
            }
            let seen = reached[to] & hook.bit() != 0;
            let deep = way.len() + below[to].filter(|_| seen).unwrap_or(0);
            if backend == Backend::Nft && deep >= NFT_JUMPS {
                return Err(append_failed(&chains[here], slot, [Errno::ELOOP, Errno::EMLINK]));
            }
            if seen {
                below[here] = below[here].max(Some(1 + below[to].unwrap_or(0)));
            } else {
                on_way[to] = true;
                way.push((to, 0));
            }
        }
    }
    Ok(reached)
}
