//! Mirrors net/core/fib_rules.c and net/ipv4/fib_rules.c: which routing tables a packet is looked up in, and in which
//! order.

use super::errno::{Errno, NlError};
use super::fib::mask;
use super::netlink::{Rule, RuleAction, RuleMatch, Scope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use super::netns::LOOPBACK;
use crate::base::IfIndex;
use std::net::Ipv4Addr;

/// Of rules that `ip rule` makes.
const RTPROT_UNSPEC: u8 = 0;
/// Of rules that are there from the beginning.
const RTPROT_KERNEL: u8 = 2;

/// As many rules one namespace may have: each look-up walks over them.
pub const MAX_RULES: usize = 1 << 12;

/// struct flowi4, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Lookup {
    pub dst: Ipv4Addr,
    /// Unspecified where it is still to be chosen.
    pub src: Ipv4Addr,
    /// Where it came in; the loopback device for what is made here.
    pub iif: IfIndex,
    pub oif: Option<IfIndex>,
    pub mark: u32,
    /// No route wider than this.
    pub scope: Scope,
}

impl Lookup {
    /// Something made here, of which only this is known.
    pub fn local(dst: Ipv4Addr, scope: Scope, oif: Option<IfIndex>) -> Self {
        Lookup { dst, src: Ipv4Addr::UNSPECIFIED, iif: LOOPBACK, oif, mark: 0, scope }
    }
}

/// The rules of one namespace, by preference.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Rules {
    rules: Vec<Entry>,
    /// fib_has_custom_rules: fib_unmerge has come, the tables local and main have tries of their own.
    custom: bool,
}

/// struct fib4_rule. A device that does not exist (any more) matches nothing.
#[derive(Clone, Debug)]
struct Entry {
    pref: u32,
    proto: u8,
    action: RuleAction,
    selector: RuleMatch,
    iif: Option<IfIndex>,
    oif: Option<IfIndex>,
}

/// A rule as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// FRA_PRIORITY
    pub pref: u32,
    /// What it looks at.
    pub selector: RuleMatch,
    /// What it does.
    pub action: RuleAction,
    /// FIB_RULE_IIF_DETACHED and FIB_RULE_OIF_DETACHED: that device does not exist.
    pub detached: (bool, bool),
    /// FRA_PROTOCOL: RTPROT_*.
    pub proto: u8,
}

impl Default for Rules {
    /// fib_default_rules_init
    fn default() -> Self {
        let table = |(pref, id)| Entry {
            pref,
            proto: RTPROT_KERNEL,
            action: RuleAction::Table(id),
            selector: RuleMatch::default(),
            iif: None,
            oif: None,
        };
        Rules {
            rules: [(0, TABLE_LOCAL), (32_766, TABLE_MAIN), (32_767, TABLE_DEFAULT)].map(table).into(),
            custom: false,
        }
    }
}

impl Rules {
    /// fib_rules_lookup: what the rules that match say, in order.
    pub fn matching<'a>(&'a self, flow: &'a Lookup) -> impl Iterator<Item = RuleAction> + 'a {
        self.rules.iter().filter(|r| r.matches(flow)).map(|r| r.action)
    }

    /// fib_nl_newrule. `find` tells the index of a device.
    ///
    /// # Errors
    /// EEXIST if there is the same rule.
    pub fn add(&mut self, rule: &Rule, find: impl Fn(&str) -> Option<IfIndex>) -> Result<(), NlError> {
        // fib_default_rule_pref: in front of the second one.
        let pref = rule.pref.unwrap_or_else(|| self.rules.get(1).map_or(0, |r| r.pref.saturating_sub(1)));
        let action = rule.action.unwrap_or(RuleAction::Table(TABLE_MAIN));
        let selector = rule.selector.clone();
        if self.rules.iter().any(|r| r.pref == pref && r.action == action && r.selector == selector) {
            return Err(Errno::EEXIST.into());
        }
        if self.rules.len() >= MAX_RULES {
            return Err(Errno::ENOMEM.into());
        }
        let at = self.rules.partition_point(|r| r.pref <= pref);
        let index = |name: &Option<String>| name.as_deref().and_then(&find);
        let (iif, oif) = (index(&selector.iif), index(&selector.oif));
        self.custom = true;
        self.rules.insert(at, Entry { pref, proto: RTPROT_UNSPEC, action, selector, iif, oif });
        Ok(())
    }

    /// fib_nl_delrule: the first rule that is as `rule` says, in whatever it says.
    ///
    /// # Errors
    /// ENOENT if there is none.
    pub fn remove(&mut self, rule: &Rule) -> Result<(), NlError> {
        let at = self.rules.iter().position(|r| r.is(rule)).ok_or(Errno::ENOENT)?;
        self.custom = true;
        self.rules.remove(at);
        Ok(())
    }

    /// Somebody has changed the rules: local and main do not share a trie any more.
    pub fn custom(&self) -> bool {
        self.custom
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = RuleInfo> {
        self.rules.iter().map(|r| RuleInfo {
            pref: r.pref,
            proto: r.proto,
            selector: r.selector.clone(),
            action: r.action,
            detached: (r.selector.iif.is_some() && r.iif.is_none(), r.selector.oif.is_some() && r.oif.is_none()),
        })
    }

    /// attach_rules: a device came.
    pub fn attach(&mut self, name: &str, dev: IfIndex) {
        for r in &mut self.rules {
            if r.selector.iif.as_deref() == Some(name) {
                r.iif = Some(dev);
            }
            if r.selector.oif.as_deref() == Some(name) {
                r.oif = Some(dev);
            }
        }
    }

    /// detach_rules: a device went.
    pub fn detach(&mut self, dev: IfIndex) {
        for r in &mut self.rules {
            r.iif = r.iif.filter(|d| *d != dev);
            r.oif = r.oif.filter(|d| *d != dev);
        }
    }
}

impl Entry {
    /// fib_rule_match with fib4_rule_match
    fn matches(&self, flow: &Lookup) -> bool {
        let s = &self.selector;
        let within = |net: Option<ipnet::Ipv4Net>, addr| {
            net.is_none_or(|net| mask(addr, net.prefix_len()) == mask(net.addr(), net.prefix_len()))
        };
        let hit = (s.iif.is_none() || self.iif == Some(flow.iif))
            && (s.oif.is_none() || self.oif.is_some() && self.oif == flow.oif)
            && s.fwmark.is_none_or(|(mark, mask)| (mark ^ flow.mark) & mask == 0)
            && within(s.from, flow.src)
            && within(s.to, flow.dst);
        hit != s.not
    }

    /// rule_find: equal in what `rule` names.
    fn is(&self, rule: &Rule) -> bool {
        fn same<T: PartialEq>(want: Option<&T>, have: Option<&T>) -> bool {
            want.is_none() || want == have
        }
        let (want, have) = (&rule.selector, &self.selector);
        rule.pref.is_none_or(|p| p == self.pref)
            && rule.action.is_none_or(|a| a == self.action)
            && same(want.from.as_ref(), have.from.as_ref())
            && same(want.to.as_ref(), have.to.as_ref())
            && same(want.fwmark.as_ref(), have.fwmark.as_ref())
            && same(want.iif.as_ref(), have.iif.as_ref())
            && same(want.oif.as_ref(), have.oif.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pref: Option<u32>, table: u32, selector: RuleMatch) -> Rule {
        Rule { pref, action: Some(RuleAction::Table(table)), selector }
    }

    #[test]
    fn order_and_selectors() {
        let mut rules = Rules::default();
        let from = |net: &str| RuleMatch { from: Some(net.parse().unwrap()), ..RuleMatch::default() };
        let find = |name: &str| (name == "eth0").then_some(IfIndex(2));
        rules.add(&rule(None, 100, from("10.0.0.0/8")), find).unwrap();
        rules.add(&rule(Some(5), 7, RuleMatch { fwmark: Some((1, 0xf)), ..RuleMatch::default() }), find).unwrap();
        let iif = RuleMatch { iif: Some("eth0".to_owned()), not: true, ..RuleMatch::default() };
        rules.add(&rule(Some(40_000), 9, iif), find).unwrap();
        assert_eq!(rules.iter().map(|r| r.pref).collect::<Vec<_>>(), [0, 5, 32_765, 32_766, 32_767, 40_000]);
        let twice = rules.add(&rule(Some(5), 7, RuleMatch { fwmark: Some((1, 0xf)), ..RuleMatch::default() }), find);
        assert_eq!(twice, Err(Errno::EEXIST.into()));

        let tables = |src: [u8; 4], iif, mark| {
            let flow = Lookup {
                src: src.into(),
                iif: IfIndex(iif),
                mark,
                ..Lookup::local([9; 4].into(), Scope::Global, None)
            };
            let id = |a| if let RuleAction::Table(id) = a { id } else { 0 };
            rules.matching(&flow).map(id).collect::<Vec<_>>()
        };
        assert_eq!(tables([1; 4], 2, 0), [255, 254, 253]);
        assert_eq!(tables([10; 4], 1, 0x11), [255, 7, 100, 254, 253, 9]);
    }

    #[test]
    fn the_first_that_fits_is_deleted() {
        let mut rules = Rules::default();
        let any = Rule { pref: Some(32_766), action: None, selector: RuleMatch::default() };
        assert_eq!(rules.remove(&any), Ok(()));
        assert_eq!(rules.remove(&any), Err(Errno::ENOENT.into()));
    }
}
