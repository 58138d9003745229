//! Rule sets of iptables.

use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where rules are to work.
#[derive(Clone, Debug)]
pub struct Site {
    /// The device that leads to those who are translated.
    pub inside: String,
    /// The device that leads to all others.
    pub outside: String,
    /// An address of the outer device.
    pub external: Ipv4Addr,
    /// Addresses that stand for servers.
    pub services: Vec<SocketAddrV4>,
    /// The servers, on either side.
    pub servers: Vec<SocketAddrV4>,
}

/// A rule set, as commands of iptables in order: translation of destinations and sources in all of its forms, marks,
/// and filters that drop, reject and let through by address, port, protocol and state. Every rule can be loaded. At
/// most `most` rules. Shrinks to none.
///
/// # Panics
/// The site has no services or no servers.
pub fn rules(site: &Site, most: usize) -> impl Strategy<Value = Vec<String>> + use<> {
    let rule = prop_oneof![2 => source(site), 2 => destination(site), 3 => filter(site), 1 => mark(site)];
    prop::collection::vec(rule.prop_map(|rule| format!("iptables {rule}")), 0..=most)
}

/// `udp`, `tcp`, `icmp` or any.
fn protocol() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "-p udp ", "-p tcp ", "-p icmp "])
}

/// SNAT and MASQUERADE of what leaves.
fn source(site: &Site) -> impl Strategy<Value = String> + use<> {
    let Site { outside, external, .. } = site.clone();
    let targets = prop::sample::select(vec![
        "-j MASQUERADE".to_owned(),
        "-j MASQUERADE --random-fully".to_owned(),
        format!("-j SNAT --to-source {external}"),
    ]);
    let ranged = (5000..5004u16, 0..4u16).prop_map(move |(low, more)| {
        let high = low + more;
        format!("-j SNAT --to-source {external}:{low}-{high}")
    });
    let any = (protocol(), targets).prop_map(|(p, target)| format!("{p}{target}"));
    let ports =
        (prop::sample::select(vec!["-p udp ", "-p tcp "]), ranged).prop_map(|(p, target)| format!("{p}{target}"));
    prop_oneof![2 => any, 1 => ports].prop_map(move |rule| format!("-t nat -A POSTROUTING -o {outside} {rule}"))
}

/// DNAT of a service to one server, by chance or in turn.
fn destination(site: &Site) -> impl Strategy<Value = String> + use<> {
    let chance = prop::sample::select(vec![
        "",
        "-m statistic --mode random --probability 0.5 ",
        "-m statistic --mode nth --every 2 --packet 0 ",
    ]);
    let ends = (prop::sample::select(site.services.clone()), prop::sample::select(site.servers.clone()));
    (ends, prop::sample::select(vec!["udp", "tcp"]), chance).prop_map(|((service, server), p, chance)| {
        let (address, port) = (service.ip(), service.port());
        format!("-t nat -A PREROUTING -d {address} -p {p} --dport {port} {chance}-j DNAT --to-destination {server}")
    })
}

fn filter(site: &Site) -> impl Strategy<Value = String> + use<> {
    let devices = prop::sample::select(vec![
        String::new(),
        format!("-i {} ", site.inside),
        format!("-i {} ", site.outside),
        format!("-o {} ", site.outside),
    ]);
    let state = prop::sample::select(vec![
        "",
        "-m conntrack --ctstate ESTABLISHED,RELATED ",
        "-m conntrack --ctstate NEW ",
        "-m conntrack --ctstate INVALID ",
        "-m conntrack --ctstate DNAT ",
        "-m mark --mark 0x1 ",
    ]);
    let target = prop::sample::select(vec!["ACCEPT", "DROP", "REJECT"]);
    (devices, protocol(), state, target)
        .prop_map(|(dev, p, state, target)| format!("-A FORWARD {dev}{p}{state}-j {target}"))
}

fn mark(site: &Site) -> impl Strategy<Value = String> + use<> {
    let devices = vec![String::new(), format!("-i {} ", site.inside), format!("-i {} ", site.outside)];
    let target = prop::sample::select(vec!["MARK --set-mark 0x1", "CONNMARK --save-mark", "CONNMARK --restore-mark"]);
    let chain = prop::sample::select(vec!["PREROUTING", "FORWARD"]);
    (chain, prop::sample::select(devices), protocol(), target)
        .prop_map(|(chain, dev, p, target)| format!("-t mangle -A {chain} {dev}{p}-j {target}"))
}
