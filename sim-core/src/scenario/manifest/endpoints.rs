//! Endpoints and EndpointSlices (validateEndpointSubsets in pkg/apis/core/validation/validation.go,
//! pkg/apis/discovery/validation/validation.go; what is left out is read as kube-proxy's endpointslicecache.go does).

use std::collections::BTreeSet;

use super::meta::{self, Scope};
use super::names::{self, go_string};
use super::pod::PROTOCOLS;
use super::reader::{Field, Reader};
use crate::cluster::kube_proxy::Protocol;
use crate::cluster::object::{EndpointAddress, EndpointPort, EndpointSlice, EndpointSubset, Endpoints, Meta, Object};

/// The label of a slice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// The most endpoints of a slice, addresses of an endpoint, and ports of a slice.
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 100;

/// Reads an Endpoints.
pub(super) fn endpoints(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Namespace, names::dns1123_subdomain);
    let subsets = root.child("subsets").items().iter().map(|item| subset(reader, item, &meta)).collect();
    Object::Endpoints(Endpoints { subsets, meta })
}

/// Reads an EndpointSlice.
pub(super) fn endpoint_slice(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Namespace, names::dns1123_subdomain);
    let of = root.child("addressType");
    reader.note(&of);
    match of.text() {
        None => reader.required(&of, ""),
        Some("IPv4") => {}
        Some(other @ ("IPv6" | "FQDN")) => {
            reader.not_simulated(&of, &format!("the address type {other}"), "leave this slice out");
        }
        Some(other) => reader.unsupported(&of, other, ["FQDN", "IPv4", "IPv6"].into_iter()),
    }
    let (list, ports) = (root.child("endpoints"), root.child("ports"));
    let mut endpoints = Vec::new();
    if of.text() == Some("IPv4") && fits(reader, &list, MAX_ENDPOINTS) {
        endpoints.extend(list.items().iter().filter_map(|item| endpoint(reader, item, &meta)));
    }
    let ports = if fits(reader, &ports, MAX_PORTS) { slice_ports(reader, &ports) } else { Vec::new() };
    Object::EndpointSlice(EndpointSlice { service: meta.labels.get(SERVICE_LABEL).cloned(), meta, ports, endpoints })
}

fn subset(reader: &mut Reader<'_>, item: &Field<'_>, meta: &Meta) -> EndpointSubset {
    let (ready, not_ready) = (item.child("addresses"), item.child("notReadyAddresses"));
    if ready.items().is_empty() && not_ready.items().is_empty() {
        reader.required(item, "must specify `addresses` or `notReadyAddresses`");
    }
    let mut addresses = Vec::new();
    for (list, ready) in [(&ready, true), (&not_ready, false)] {
        addresses.extend(list.items().iter().filter_map(|item| subset_address(reader, item, ready, meta)));
    }
    let list = item.child("ports").items();
    let mut port = |item: &Field<'_>| {
        let name = item.child("name");
        if reader.named(&name, names::dns1123_label).is_none() && list.len() > 1 {
            reader.required(&name, "");
        }
        let number = item.child("port");
        if number.node.is_none() {
            reader.check(&number, 0, names::port_number(0));
        }
        endpoint_port(reader, item)
    };
    EndpointSubset { ports: list.iter().filter_map(&mut port).collect(), addresses }
}

fn subset_address(reader: &mut Reader<'_>, item: &Field<'_>, ready: bool, meta: &Meta) -> Option<EndpointAddress> {
    let ip = item.child("ip");
    if ip.text().is_none() {
        reader.invalid(&ip, "\"\"", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
    let hostname = reader.named(&item.child("hostname"), names::dns1123_label).map(str::to_owned);
    let node_name = reader.named(&item.child("nodeName"), names::dns1123_subdomain).map(str::to_owned);
    let target = target(reader, &item.child("targetRef"), meta);
    let ip = endpoint_ip(reader, &ip)?;
    let (serving, terminating, for_zones) = (ready, false, Vec::new());
    Some(EndpointAddress { ip, hostname, node_name, ready, serving, terminating, for_zones, target })
}

fn endpoint(reader: &mut Reader<'_>, item: &Field<'_>, meta: &Meta) -> Option<EndpointAddress> {
    let (addresses, conditions) = (item.child("addresses"), item.child("conditions"));
    if addresses.items().is_empty() {
        reader.required(&addresses, "must contain at least 1 address");
    }
    fits(reader, &addresses, MAX_ADDRESSES);
    // All of them are checked; kube-proxy looks at the first.
    let all: Vec<_> = addresses.items().iter().map(|address| endpoint_ip(reader, address)).collect();
    let mut condition = |name: &str, default: bool| reader.boolean(&conditions.child(name)).unwrap_or(default);
    let (ready, serving) = (condition("ready", true), condition("serving", true));
    let terminating = condition("terminating", false);
    let zones = item.child("hints").child("forZones");
    reader.note(&zones);
    let zone = |zone: &Field<'_>| zone.child("name").text().map(str::to_owned);
    Some(EndpointAddress {
        hostname: reader.named(&item.child("hostname"), names::dns1123_label).map(str::to_owned),
        node_name: reader.named(&item.child("nodeName"), names::dns1123_subdomain).map(str::to_owned),
        ready,
        serving,
        terminating,
        for_zones: zones.items().iter().filter_map(zone).collect(),
        target: target(reader, &item.child("targetRef"), meta),
        ip: all.first().copied().flatten()?,
    })
}

fn endpoint_ip(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<std::net::Ipv4Addr> {
    let address = reader.address(field)?;
    reader.check(field, go_string(&address.to_string()), names::non_special_ip(address));
    Some(address)
}

/// Ports without a number say nothing to kube-proxy.
fn slice_ports(reader: &mut Reader<'_>, list: &Field<'_>) -> Vec<EndpointPort> {
    let mut names = BTreeSet::new();
    let mut port = |item: &Field<'_>| {
        let name = item.child("name");
        let text = reader.named(&name, names::dns1123_label).unwrap_or_default();
        if !names.insert(text.to_owned()) {
            reader.duplicate(&name, go_string(text));
        }
        endpoint_port(reader, item)
    };
    list.items().iter().filter_map(&mut port).collect()
}

fn endpoint_port(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<EndpointPort> {
    Some(EndpointPort {
        name: item.child("name").text().unwrap_or_default().to_owned(),
        protocol: reader.one_of(&item.child("protocol"), &PROTOCOLS, Protocol::Tcp),
        port: reader.port(&item.child("port"))?,
    })
}

/// The namespace and name of the pod behind an address.
fn target(reader: &mut Reader<'_>, reference: &Field<'_>, meta: &Meta) -> Option<(String, String)> {
    reader.note(reference);
    let name = reference.child("name").text().filter(|_| reference.child("kind").text() == Some("Pod"))?;
    let namespace = reference.child("namespace").text().unwrap_or(&meta.namespace);
    Some((namespace.to_owned(), name.to_owned()))
}

fn fits(reader: &mut Reader<'_>, list: &Field<'_>, max: usize) -> bool {
    let count = list.items().len();
    if count > max {
        reader.report(list, format!("Too many: {count}: must have at most {max} items"), None);
    }
    count <= max
}
