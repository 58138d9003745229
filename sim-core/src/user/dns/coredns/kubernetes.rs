//! The kubernetes plugin of CoreDNS 1.12 (plugin/kubernetes): Services, endpoints and pods as records.

use super::super::message::{self, OwnName, Record};
use super::answer::{Knowledge, address, record};
use super::cluster::{Cluster, Endpoint, Service};
use super::corefile::Kubernetes;
use simple_dns::rdata::{CNAME, NS, PTR, RData, SOA, SRV, TXT};
use simple_dns::{QTYPE, TYPE};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// An SOA record lives at most so long, in seconds.
const MAX_SOA_TTL: u32 = 300;
/// The version of the DNS schema, and how long it lives, in seconds.
const SCHEMA: (&str, u32) = ("1.1.0", 28_800);

/// There is no such name.
#[derive(Debug)]
pub(super) struct NameError;

/// A question to the plugin.
pub(super) struct Asked<'a> {
    /// In small letters.
    pub labels: &'a [String],
    /// The zone that it is in.
    pub zone: &'a str,
    pub plugin: &'a Kubernetes,
    /// As it was asked.
    pub name: &'a OwnName,
    pub kind: QTYPE,
}

/// Records for an answer, and what goes with them.
#[derive(Default)]
pub(super) struct Found {
    pub answers: Vec<Record>,
    pub extra: Vec<Record>,
    /// The answer is an alias of this name, which is to be asked for then.
    pub alias: Option<OwnName>,
}

/// What stands behind a name (msg.Service).
struct Item {
    /// The name that it has by itself.
    key: String,
    host: Ipv4Addr,
    /// None: it has no port (-1).
    port: Option<u16>,
}

/// The records; none means that the name is there and has none of this type.
pub(super) fn lookup(known: &Knowledge, asked: &Asked<'_>) -> Result<Found, NameError> {
    let ttl = asked.plugin.ttl;
    let mut found = Found::default();
    if let Some(target) = external(&known.cluster, asked) {
        if let QTYPE::TYPE(TYPE::A | TYPE::AAAA | TYPE::CNAME) = asked.kind {
            found.answers.push(record(asked.name, ttl, RData::CNAME(CNAME(target.clone()))));
            found.alias = Some(target).filter(|_| asked.kind != QTYPE::TYPE(TYPE::CNAME));
        }
        return Ok(found);
    }
    match asked.kind {
        QTYPE::TYPE(TYPE::A) => {
            let mut seen = BTreeSet::new();
            for host in name_server(known, asked).unwrap_or_default() {
                found.answers.push(address(asked.name, ttl, host));
            }
            if found.answers.is_empty() {
                for item in records(&known.cluster, asked)? {
                    if seen.insert(item.host) {
                        found.answers.push(address(asked.name, ttl, item.host));
                    }
                }
            }
        }
        QTYPE::TYPE(TYPE::AAAA) if name_server(known, asked).is_some() => {}
        QTYPE::TYPE(TYPE::SRV) => found = srv(&records(&known.cluster, asked)?, asked),
        QTYPE::TYPE(TYPE::PTR) => match message::reverse_address(asked.name) {
            Some(of) => {
                let names = reverse(&known.cluster, of, primary_zone(asked.plugin));
                if names.is_empty() {
                    return Err(NameError);
                }
                let targets = names.iter().filter_map(|n| message::name(n));
                found.answers = targets.map(|n| record(asked.name, ttl, RData::PTR(PTR(n)))).collect();
            }
            None => drop(records(&known.cluster, asked)?),
        },
        // A text is asked for at one name alone; nothing is looked up for others.
        QTYPE::TYPE(TYPE::TXT) => {
            if relative(asked) == ["dns-version"]
                && let Ok(txt) = TXT::new().with_string(SCHEMA.0)
            {
                found.answers.push(record(asked.name, SCHEMA.1, RData::TXT(txt.into_owned())));
            }
        }
        QTYPE::TYPE(TYPE::SOA) if relative(asked).is_empty() => found.answers = soa(known, asked),
        QTYPE::TYPE(TYPE::NS) if relative(asked).is_empty() => found = name_servers(known, asked),
        _ => drop(records(&known.cluster, asked)?),
    }
    Ok(found)
}

/// The SOA record of the zone, its name as it was asked.
pub(super) fn soa(known: &Knowledge, asked: &Asked<'_>) -> Vec<Record> {
    let all = asked.name.get_labels();
    let zone = OwnName::new_with_labels(&all[all.len() - zone_labels(asked.zone).min(all.len())..]);
    let text = message::text(&zone);
    let (Some(mname), Some(rname)) =
        (message::name(&format!("ns.dns.{text}")), message::name(&format!("hostmaster.{text}")))
    else {
        return vec![];
    };
    let minimum = asked.plugin.ttl;
    let soa = SOA { mname, rname, serial: known.serial, refresh: 7200, retry: 1800, expire: 86_400, minimum };
    vec![record(&zone, minimum.min(MAX_SOA_TTL), RData::SOA(soa))]
}

fn zone_labels(zone: &str) -> usize {
    zone.split('.').filter(|l| !l.is_empty()).count()
}

/// The labels in front of the zone.
fn relative<'a>(asked: &Asked<'a>) -> &'a [String] {
    &asked.labels[..asked.labels.len().saturating_sub(zone_labels(asked.zone))]
}

/// The first zone that is not for addresses.
fn primary_zone(plugin: &Kubernetes) -> &str {
    plugin.zones.iter().find(|z| !z.ends_with(".arpa")).map_or("", String::as_str)
}

/// `ns.dns.ZONE` has the server's own addresses (`isDefaultNS`).
fn name_server(known: &Knowledge, asked: &Asked<'_>) -> Option<Vec<Ipv4Addr>> {
    (relative(asked) == ["ns", "dns"]).then(|| known.local.clone())
}

/// `nsAddrs`: the Services that the server is an endpoint of, else `ns.dns.ZONE`.
fn name_servers(known: &Knowledge, asked: &Asked<'_>) -> Found {
    let mut items: Vec<(String, Ipv4Addr)> = vec![];
    for s in &known.cluster.services {
        let ours = |e: &&Endpoint| known.local.contains(&e.address);
        if let Some(endpoint) = s.endpoints.iter().find(ours) {
            let key = format!("{}.{}.svc.{}", s.name, s.namespace, asked.zone);
            match s.cluster_ip {
                Some(ip) => items.push((key, ip)),
                None => items.push((format!("{}.{key}", endpoint.label()), endpoint.address)),
            }
        }
    }
    if items.is_empty() {
        items = known.local.iter().map(|ip| (format!("ns.dns.{}", asked.zone), *ip)).collect();
    }
    let ttl = asked.plugin.ttl;
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    for (key, ip) in items {
        let Some(name) = message::name(&key) else { continue };
        found.extra.push(address(&name, ttl, ip));
        if seen.insert(key) {
            found.answers.push(record(asked.name, ttl, RData::NS(NS(name))));
        }
    }
    found
}

/// The name that a Service of type ExternalName stands for. It has neither endpoints nor ports of its own.
fn external(cluster: &Cluster, asked: &Asked<'_>) -> Option<OwnName> {
    match relative(asked) {
        [service, namespace, kind] if kind == "svc" => cluster.find(namespace, service)?.external.clone(),
        _ => None,
    }
}

/// `Records` with `parseRequest`: what stands behind a name.
fn records(cluster: &Cluster, asked: &Asked<'_>) -> Result<Vec<Item>, NameError> {
    let relative = relative(asked);
    let Some((kind, rest)) = relative.split_last() else { return Ok(vec![]) };
    if kind != "svc" && kind != "pod" {
        return Err(NameError);
    }
    // The zone of Services and pods itself.
    let Some((namespace, rest)) = rest.split_last() else { return Ok(vec![]) };
    if rest.len() > 3 || !cluster.namespaces.contains(namespace) {
        return Err(NameError);
    }
    let Some((service, rest)) = rest.split_last() else { return Ok(vec![]) };
    if kind == "pod" {
        return pod(service, asked);
    }
    let service = cluster.find(namespace, service).ok_or(NameError)?;
    let (endpoint, port, protocol) = match rest {
        [] => (None, "", ""),
        [endpoint] => (Some(endpoint.as_str()), "", ""),
        [port, protocol] => (None, bare(port), bare(protocol)),
        _ => return Err(NameError),
    };
    let items = behind(service, asked.zone, endpoint, |p, proto| {
        (port.is_empty() || port == p) && (protocol.is_empty() || protocol == proto)
    });
    if items.is_empty() { Err(NameError) } else { Ok(items) }
}

fn bare(label: &str) -> &str {
    label.strip_prefix('_').unwrap_or(label)
}

/// `findPods` with `pods insecure`: the address is in the name.
fn pod(name: &str, asked: &Asked<'_>) -> Result<Vec<Item>, NameError> {
    if !asked.plugin.pods_insecure {
        return Err(NameError);
    }
    let host = name.replace('-', ".").parse().map_err(|_| NameError)?;
    Ok(vec![Item { key: asked.labels.join("."), host, port: None }])
}

/// `findServices`: what stands behind a Service, or behind one of its endpoints.
fn behind(service: &Service, zone: &str, endpoint: Option<&str>, wanted: impl Fn(&str, &str) -> bool) -> Vec<Item> {
    let key = format!("{}.{}.svc.{zone}", service.name, service.namespace);
    let ports = service.ports.iter().filter(|p| wanted(&p.name, p.protocol));
    match (service.cluster_ip, endpoint) {
        (Some(host), None) => ports.map(|p| Item { key: key.clone(), host, port: Some(p.number) }).collect(),
        _ => {
            let mut numbers: Vec<Option<u16>> = ports.map(|p| Some(p.number)).collect();
            if service.ports.is_empty() && wanted("", "") {
                numbers.push(None);
            }
            let mut items = vec![];
            for e in service.endpoints.iter().filter(|e| endpoint.is_none_or(|l| l == e.label())) {
                let key = format!("{}.{key}", e.label());
                items.extend(numbers.iter().map(|port| Item { key: key.clone(), host: e.address, port: *port }));
            }
            items
        }
    }
}

/// `plugin.SRV`: all have the same weight, and their addresses go with them.
fn srv(items: &[Item], asked: &Asked<'_>) -> Found {
    let ttl = asked.plugin.ttl;
    let weight = (100 / items.len().max(1)).max(1) as u16;
    let mut found = Found::default();
    let (mut targets, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for item in items {
        let (Some(port), Some(target)) = (item.port, message::name(&item.key)) else { continue };
        if targets.insert((&item.key, port)) {
            let data = SRV { priority: 0, weight, port, target: target.clone() };
            found.answers.push(record(asked.name, ttl, RData::SRV(data)));
        }
        if addresses.insert((&item.key, item.host)) {
            found.extra.push(address(&target, ttl, item.host));
        }
    }
    found
}

/// `serviceRecordForIP`: the Service that has the address; else the endpoints that do.
fn reverse(cluster: &Cluster, of: Ipv4Addr, zone: &str) -> Vec<String> {
    let name = |s: &Service| format!("{}.{}.svc.{zone}", s.name, s.namespace);
    if let Some(service) = cluster.services.iter().find(|s| s.cluster_ip == Some(of)) {
        return vec![name(service)];
    }
    let endpoints = cluster.services.iter().flat_map(|s| s.endpoints.iter().map(move |e| (s, e)));
    endpoints.filter(|(_, e)| e.address == of).map(|(s, e)| format!("{}.{}", e.label(), name(s))).collect()
}
