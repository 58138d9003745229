//! A node, made anew from what its tools printed: `ip -j addr`, `ip -j -d link`, `ip -j route`, `ip -j rule`, `sysctl
//! -a` and iptables-save. Only what a packet's way depends on is taken.

use super::rules;
use crate::base::Mac;
use crate::kernel::netfilter::Backend;
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netlink::{
    Addr, LinkAdd, LinkChange, LinkKind, Op, PortChange, Request, Route, RouteFlush, RouteType, Rule, RuleAction,
    RuleMatch, Scope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN,
};
use crate::scenario::diag::{Diagnostic, Diagnostics, SourceFile, quote};
use crate::scenario::tree::{self, Kind, Node as Tree};
use crate::testing::{Error, NetNs};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

/// What was printed on the node.
#[derive(Clone, Debug)]
pub struct Dumps {
    /// `iptables-save`
    pub rules: SourceFile,
    /// `ip -j addr`
    pub addresses: Option<SourceFile>,
    /// `ip -j -d link`
    pub links: Option<SourceFile>,
    /// `ip -j route`, best with `show table all`
    pub routes: Option<SourceFile>,
    /// `ip -j rule`
    pub policy: Option<SourceFile>,
    /// `sysctl -a`; left out, the node forwards and is otherwise as the kernel starts.
    pub sysctls: Option<SourceFile>,
}

impl Dumps {
    /// A dump of rules alone.
    pub fn new(rules: SourceFile) -> Self {
        Dumps { rules, addresses: None, links: None, routes: None, policy: None, sysctls: None }
    }
}

/// A node, ready for packets.
pub struct Node {
    pub(super) netns: NetNs,
    /// The first port of each bridge.
    pub(super) ports: BTreeMap<String, String>,
    /// What stands in the dumps and could not be taken over.
    pub warnings: Diagnostics,
}

/// Kinds of devices that may well lead outside as they are; of others that are no bridges, something is lost.
const PLAIN: [&str; 3] = ["veth", "dummy", "nic"];
/// The rules that every kernel begins with.
const DEFAULT_RULES: [(u32, u32); 3] = [(0, TABLE_LOCAL), (32_766, TABLE_MAIN), (32_767, TABLE_DEFAULT)];

impl Node {
    /// Makes the node.
    ///
    /// # Errors
    /// All that is wrong with the dumps.
    pub fn load(dumps: &Dumps) -> Result<Node, Diagnostics> {
        let mut errors = Diagnostics::default();
        let mut netns = NetNs::new(&[]).map_err(|e| Diagnostic::new(&dumps.rules, 0..0, e.to_string()))?;
        let restore = Arc::new(Restore { counters: true, text: rules::text(&dumps.rules), ..Restore::default() });
        if let Err(e) = netns.request(&Request::IptablesRestore { backend: Some(Backend::Legacy), restore }) {
            rules::check(&dumps.rules, &mut errors);
            if errors.is_empty() {
                errors.push(Diagnostic::new(&dumps.rules, 0..0, e.to_string()));
            }
        }
        rules::sockets(&dumps.rules, &mut errors);
        let mut loader = Loader {
            netns,
            errors,
            warnings: Diagnostics::default(),
            devices: BTreeSet::new(),
            ports: BTreeMap::new(),
        };
        loader.links(dumps);
        loader.addresses(dumps.addresses.as_ref());
        loader.routes(dumps.routes.as_ref());
        loader.policy(dumps.policy.as_ref());
        loader.sysctls(dumps.sysctls.as_ref());
        let Loader { netns, errors, warnings, ports, .. } = loader;
        if errors.is_empty() { Ok(Node { netns, ports, warnings }) } else { Err(errors) }
    }

    /// The devices that packets come in by and leave by.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.netns.devices()
    }
}

/// A device as the dumps show it.
#[derive(Default)]
struct Link {
    kind: String,
    mac: Option<Mac>,
    mtu: Option<u32>,
    up: bool,
    master: Option<String>,
    hairpin: bool,
}

struct Loader {
    netns: NetNs,
    errors: Diagnostics,
    warnings: Diagnostics,
    /// Those that were made.
    devices: BTreeSet<String>,
    ports: BTreeMap<String, String>,
}

impl Loader {
    /// The items of a dump in JSON.
    fn items(&mut self, source: Option<&SourceFile>) -> Vec<(SourceFile, Tree)> {
        let Some(source) = source else { return vec![] };
        if let Err(e) = source.check_size() {
            self.errors.push(e);
            return vec![];
        }
        match tree::read(source, &mut self.errors) {
            Some(Tree { kind: Kind::List(items), .. }) => items.into_iter().map(|i| (source.clone(), i)).collect(),
            Some(node) => {
                let message = "a dump of `ip -j` is a list of objects";
                let hint = "the options of ip are -j for JSON, and -d for the details of links";
                self.errors.push(Diagnostic::new(source, node.span, message).hint(hint));
                vec![]
            }
            None => vec![],
        }
    }

    /// A value of a field that is text; what cannot be read is an error.
    fn read<T: FromStr>(&mut self, source: &SourceFile, node: &Tree, key: &str, what: &str) -> Option<T> {
        let entry = node.entry(key)?;
        let text = text(&entry.value)?;
        let read = text.parse().ok();
        if read.is_none() {
            self.errors.push(Diagnostic::new(
                source,
                entry.value.span.clone(),
                format!("{} is no {what}", quote(&text)),
            ));
        }
        read
    }

    /// A request that comes of a place of a dump. A refusal is a warning: the node has it, the simulation does not.
    fn ask(&mut self, source: &SourceFile, span: &Range<usize>, request: &Request) {
        if let Err(e) = self.netns.request(request) {
            let said = match &e {
                Error::Refused(refused) => refused.to_string(),
                other => other.to_string(),
            };
            self.warn(
                source,
                span,
                format!("this is not taken over: {}", said.trim_start_matches("RTNETLINK answers: ")),
            );
        }
    }

    fn warn(&mut self, source: &SourceFile, span: &Range<usize>, message: String) {
        self.warnings.push(Diagnostic::new(source, span.clone(), message).warning());
    }

    fn links(&mut self, dumps: &Dumps) {
        let mut all: Vec<(SourceFile, Tree, String, Link)> = Vec::new();
        for (source, node) in self.items(dumps.links.as_ref()).into_iter().chain(self.items(dumps.addresses.as_ref())) {
            let Some(name) = node.entry("ifname").and_then(|e| text(&e.value)) else {
                let message = "a device has a name (`ifname`)";
                self.errors.push(Diagnostic::new(&source, node.span.clone(), message));
                continue;
            };
            if name == "lo" || all.iter().any(|(.., known, _)| *known == name) {
                continue;
            }
            let link = self.link(&source, &node);
            all.push((source, node, name, link));
        }
        for (source, node, name, link) in &all {
            self.make(source, &node.span, name, link);
        }
        for (source, node, name, link) in all {
            let mut changes: Vec<LinkChange> = link.mtu.map(LinkChange::Mtu).into_iter().collect();
            if let Some(master) = link.master.filter(|m| self.devices.contains(m)) {
                self.ports.entry(master.clone()).or_insert_with(|| name.clone());
                changes.push(LinkChange::Master(Some(master)));
                changes.extend(link.hairpin.then_some(LinkChange::Port(PortChange::Hairpin(true))));
            }
            changes.push(LinkChange::Up(link.up));
            for change in changes {
                self.ask(&source, &node.span, &Request::LinkSet { dev: name.clone(), changes: vec![change] });
            }
        }
    }

    fn link(&mut self, source: &SourceFile, node: &Tree) -> Link {
        let of = |node: &Tree, key: &str| node.entry(key).map(|e| e.value.clone());
        let info = of(node, "linkinfo");
        let word = |node: Option<&Tree>, key: &str| node.and_then(|n| n.entry(key)).and_then(|e| text(&e.value));
        let flags = of(node, "flags");
        let is_up =
            |flags: &Tree| matches!(&flags.kind, Kind::List(f) if f.iter().any(|f| text(f).as_deref() == Some("UP")));
        let port = info.as_ref().and_then(|i| of(i, "info_slave_data"));
        let ether = word(Some(node), "link_type").is_none_or(|kind| kind == "ether");
        Link {
            kind: word(info.as_ref(), "info_kind").unwrap_or_else(|| "nic".to_owned()),
            mac: if ether { self.read(source, node, "address", "hardware address") } else { None },
            mtu: self.read(source, node, "mtu", "number"),
            up: flags.as_ref().is_none_or(is_up),
            master: word(Some(node), "master"),
            hairpin: word(port.as_ref(), "hairpin").as_deref() == Some("true"),
        }
    }

    fn make(&mut self, source: &SourceFile, span: &Range<usize>, name: &str, link: &Link) {
        if link.kind == "bridge" {
            let add = LinkAdd { address: link.mac, ..LinkAdd::new(name, LinkKind::Bridge(Vec::new())) };
            self.ask(source, span, &Request::LinkAdd(add));
        } else {
            if !PLAIN.contains(&link.kind.as_str()) {
                let message = format!("{name} is a device of kind {}: packets leave by it as they are", link.kind);
                self.warn(source, span, message);
            }
            if let Err(e) = self.netns.plug(name) {
                self.errors.push(Diagnostic::new(source, span.clone(), format!("{name}: {e}")));
                return;
            }
            if let Some(mac) = link.mac.filter(|mac| mac.is_valid()) {
                let changes = vec![LinkChange::Address(mac)];
                self.ask(source, span, &Request::LinkSet { dev: name.to_owned(), changes });
            }
        }
        self.devices.insert(name.to_owned());
    }

    /// The device, which is made if no dump of links has shown it.
    fn device(&mut self, source: &SourceFile, span: &Range<usize>, name: &str) {
        if name != "lo" && !self.devices.contains(name) {
            self.make(source, span, name, &Link { kind: "nic".to_owned(), ..Link::default() });
            self.ask(source, span, &Request::LinkSet { dev: name.to_owned(), changes: vec![LinkChange::Up(true)] });
        }
    }

    fn addresses(&mut self, source: Option<&SourceFile>) {
        for (source, node) in self.items(source) {
            let Some(name) = node.entry("ifname").and_then(|e| text(&e.value)) else { continue };
            let Some(Kind::List(infos)) = node.entry("addr_info").map(|e| e.value.kind.clone()) else { continue };
            for info in infos {
                let is_v4 = info.entry("family").and_then(|e| text(&e.value)).is_none_or(|f| f == "inet");
                if !is_v4 {
                    continue;
                }
                if info.entry("local").is_none() {
                    let message = "an address of a device is its field `local`";
                    self.errors.push(Diagnostic::new(&source, info.span, message));
                    continue;
                }
                let len: u8 = self.read(&source, &info, "prefixlen", "number").unwrap_or(32);
                let Some(local) = self.read(&source, &info, "local", "IPv4 address") else { continue };
                let Ok(local) = Ipv4Net::new(local, len) else {
                    let message = format!("an IPv4 address has 32 bits, not {len}");
                    self.errors.push(Diagnostic::new(&source, info.span, message));
                    continue;
                };
                let peer: Option<Ipv4Addr> = self.read(&source, &info, "address", "IPv4 address");
                let addr = Addr {
                    dev: name.clone(),
                    local,
                    peer: peer.and_then(|p| Ipv4Net::new(p, len).ok()),
                    broadcast: self.read(&source, &info, "broadcast", "IPv4 address"),
                    scope: info.entry("scope").and_then(|e| scope(&text(&e.value)?)),
                    label: None,
                };
                let there = name == "lo" && local.addr() == Ipv4Addr::LOCALHOST;
                if !there {
                    self.ask(&source, &info.span, &Request::AddrAdd(addr));
                }
            }
        }
    }

    fn routes(&mut self, source: Option<&SourceFile>) {
        let items = self.items(source);
        if source.is_some() {
            let flush = RouteFlush { table: Some(TABLE_MAIN), ..RouteFlush::default() };
            let _ = self.netns.request(&Request::RouteFlush(flush));
        }
        for (source, node) in items {
            let word = |key: &str| node.entry(key).and_then(|e| text(&e.value));
            let Some(dst) = word("dst").filter(|dst| !dst.contains(':')) else { continue };
            let table = word("table").map_or(Some(TABLE_MAIN), |t| table(&t));
            let net = if dst == "default" { Some(Ipv4Net::default()) } else { network(&dst) };
            let (Some(dst), Some(table)) = (net, table) else {
                self.errors.push(Diagnostic::new(
                    &source,
                    node.span,
                    "this is no IPv4 route as `ip -j route` prints it",
                ));
                continue;
            };
            // The kernel has made those of the table local itself, from the addresses.
            if table == TABLE_LOCAL && word("protocol").as_deref() == Some("kernel") {
                continue;
            }
            let mut hop = &node;
            if let Some(Kind::List(hops)) = node.entry("nexthops").map(|e| &e.value.kind) {
                self.warn(
                    &source,
                    &node.span,
                    "of several next hops the first is taken: they are not simulated".to_owned(),
                );
                hop = hops.first().unwrap_or(&node);
            }
            let hop_dev = hop.entry("dev").and_then(|e| text(&e.value));
            if let Some(dev) = &hop_dev {
                self.device(&source, &node.span, dev);
            }
            let via = self.read(&source, hop, "gateway", "IPv4 address");
            let route = Route {
                kind: word("type").map_or(RouteType::Unicast, |kind| route_type(&kind)),
                table: Some(table),
                via,
                onlink: via.is_some() && hop_dev.is_some(),
                dev: hop_dev,
                src: self.read(&source, &node, "prefsrc", "IPv4 address"),
                metric: self.read(&source, &node, "metric", "number"),
                scope: word("scope").and_then(|s| scope(&s)),
                ..Route::to(dst)
            };
            self.ask(&source, &node.span, &Request::RouteAdd(Op::Append, route));
        }
    }

    fn policy(&mut self, source: Option<&SourceFile>) {
        let mut there = Vec::new();
        for (source, node) in self.items(source) {
            let word = |key: &str| node.entry(key).and_then(|e| text(&e.value));
            let pref: u32 = self.read(&source, &node, "priority", "number").unwrap_or(0);
            let hex = |key: &str| word(key).and_then(|t| number(&t));
            let prefix = |key: &str| {
                let address = word(key).filter(|a| a != "all")?;
                let len = word(&format!("{key}len")).map_or(String::new(), |len| format!("/{len}"));
                network(&format!("{address}{len}"))
            };
            let action = match (word("action").as_deref(), word("table").and_then(|t| table(&t))) {
                (Some("blackhole"), _) => RuleAction::Blackhole,
                (Some("unreachable"), _) => RuleAction::Unreachable,
                (Some("prohibit"), _) => RuleAction::Prohibit,
                (_, Some(table)) => RuleAction::Table(table),
                _ => {
                    self.warn(&source, &node.span, "a rule that leads to no table is not simulated".to_owned());
                    continue;
                }
            };
            let selector = RuleMatch {
                not: node.entry("not").is_some(),
                from: prefix("src"),
                to: prefix("dst"),
                fwmark: hex("fwmark").map(|mark| (mark, hex("fwmask").unwrap_or(u32::MAX))),
                iif: word("iif"),
                oif: word("oif"),
            };
            let plain = selector == RuleMatch::default();
            match DEFAULT_RULES
                .into_iter()
                .find(|(p, table)| *p == pref && action == RuleAction::Table(*table) && plain)
            {
                Some(default) => there.push(default),
                None => {
                    let rule = Rule { pref: Some(pref), action: Some(action), selector };
                    self.ask(&source, &node.span, &Request::RuleAdd(rule));
                }
            }
        }
        // A node may have moved them.
        for (pref, table) in DEFAULT_RULES.into_iter().filter(|rule| source.is_some() && !there.contains(rule)) {
            let action = Some(RuleAction::Table(table));
            let rule = Rule { pref: Some(pref), action, selector: RuleMatch::default() };
            let _ = self.netns.request(&Request::RuleDel(rule));
        }
    }

    /// Those that are simulated are set; a node has many others.
    fn sysctls(&mut self, source: Option<&SourceFile>) {
        let mut set = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            let _ = self.netns.request(&Request::Sysctl { name, value });
        };
        let Some(source) = source else { return set("net.ipv4.ip_forward", "1") };
        let mut start = 0;
        for line in source.text().split_inclusive('\n') {
            let span = start..start + line.trim_end().len();
            start += line.len();
            if line.trim().is_empty() || line.starts_with("sysctl: ") {
                continue;
            }
            match line.split_once('=') {
                Some((name, value)) if name.trim().starts_with("net.") => set(name.trim(), value.trim()),
                Some(_) => {}
                None => {
                    let hint = "sysctl -a prints NAME = VALUE";
                    let message = "this is no line of sysctl";
                    self.errors.push(Diagnostic::new(source, span, message).hint(hint));
                    if self.errors.is_full() {
                        return;
                    }
                }
            }
        }
    }
}

/// A scalar as it is written.
fn text(node: &Tree) -> Option<String> {
    match &node.kind {
        Kind::String(text) => Some(text.clone()),
        Kind::Integer(number) => Some(number.to_string()),
        Kind::Negative(number) => Some(number.to_string()),
        Kind::Bool(value) => Some(value.to_string()),
        Kind::Null | Kind::List(_) | Kind::Map(_) => None,
    }
}

fn network(text: &str) -> Option<Ipv4Net> {
    text.parse().ok().or_else(|| Ipv4Net::new(text.parse().ok()?, 32).ok()).map(|net| net.trunc())
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn table(name: &str) -> Option<u32> {
    match name {
        "local" => Some(TABLE_LOCAL),
        "main" => Some(TABLE_MAIN),
        "default" => Some(TABLE_DEFAULT),
        number => number.parse().ok(),
    }
}

fn scope(name: &str) -> Option<Scope> {
    match name {
        "global" => Some(Scope::Global),
        "site" => Some(Scope::Site),
        "link" => Some(Scope::Link),
        "host" => Some(Scope::Host),
        "nowhere" => Some(Scope::Nowhere),
        _ => None,
    }
}

fn route_type(name: &str) -> RouteType {
    match name {
        "local" => RouteType::Local,
        "broadcast" => RouteType::Broadcast,
        "multicast" => RouteType::Multicast,
        "blackhole" => RouteType::Blackhole,
        "unreachable" => RouteType::Unreachable,
        "prohibit" => RouteType::Prohibit,
        "throw" => RouteType::Throw,
        _ => RouteType::Unicast,
    }
}
