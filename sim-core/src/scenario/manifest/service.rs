//! Services (pkg/apis/core/v1/defaults.go, ValidateService and what it calls in
//! pkg/apis/core/validation/validation.go).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::meta::{self, Scope};
use super::names::{self, go_string};
use super::pod::PROTOCOLS;
use super::probe::port_ref;
use super::reader::{Field, Reader};
use crate::cluster::kube_proxy::{Protocol, TrafficPolicy};
use crate::cluster::object::{ClusterIp, Object, PortRef, Service, ServiceKind, ServicePort};

/// `sessionAffinity: ClientIP` lasts so long by default, and must last less than the other, in seconds.
const DEFAULT_AFFINITY_S: i64 = 10_800;
const MAX_AFFINITY_S: i64 = 86_400;

/// `spec.type`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    ClusterIp,
    ExternalName,
    LoadBalancer,
    NodePort,
}

const TYPES: [(&str, Type); 4] = [
    ("ClusterIP", Type::ClusterIp),
    ("ExternalName", Type::ExternalName),
    ("LoadBalancer", Type::LoadBalancer),
    ("NodePort", Type::NodePort),
];
const POLICIES: [(&str, TrafficPolicy); 2] = [("Cluster", TrafficPolicy::Cluster), ("Local", TrafficPolicy::Local)];
const AFFINITIES: [(&str, bool); 2] = [("ClientIP", true), ("None", false)];

/// Reads a Service.
pub(super) fn service(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Namespace, names::dns1035_label);
    let spec = root.child("spec");
    let of = reader.one_of(&spec.child("type"), &TYPES, Type::ClusterIp);
    families(reader, &spec);
    let cluster_ip = cluster_ip(reader, &spec, of);
    let external_ips = external_ips(reader, &spec.child("externalIPs"));
    let external_policy = external_policy(reader, &spec, of, !external_ips.is_empty());
    let selector = meta::labels(reader, &spec.child("selector"));
    Object::Service(Service {
        meta,
        kind: kind(reader, &spec, of),
        cluster_ip,
        ports: ports(reader, &spec.child("ports"), of, cluster_ip),
        // The API server does not keep the difference between an empty one and none.
        selector: (!selector.is_empty()).then_some(selector),
        external_ips,
        load_balancer_ips: load_balancer_ips(reader, &root.child("status").child("loadBalancer").child("ingress")),
        load_balancer_source_ranges: source_ranges(reader, &spec.child("loadBalancerSourceRanges"), of),
        affinity_s: affinity(reader, &spec),
        internal_policy: reader.one_of(&spec.child("internalTrafficPolicy"), &POLICIES, TrafficPolicy::Cluster),
        external_policy,
        health_check_node_port: health_check_node_port(reader, &spec, of, external_policy),
        publish_not_ready: reader.boolean(&spec.child("publishNotReadyAddresses")).unwrap_or(false),
    })
}

fn kind(reader: &mut Reader<'_>, spec: &Field<'_>, of: Type) -> ServiceKind {
    let node_ports = spec.child("allocateLoadBalancerNodePorts");
    if of != Type::LoadBalancer && node_ports.node.is_some() {
        reader.forbidden(&node_ports, "may only be used when `type` is 'LoadBalancer'");
    }
    match of {
        Type::ClusterIp => ServiceKind::ClusterIp,
        Type::NodePort => ServiceKind::NodePort,
        Type::LoadBalancer => ServiceKind::LoadBalancer { node_ports: reader.boolean(&node_ports).unwrap_or(true) },
        Type::ExternalName => {
            let field = spec.child("externalName");
            let name = reader.string(&field).unwrap_or_default();
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                reader.required(&field, "");
            } else {
                reader.check_name(&field, name, names::dns1123_subdomain);
            }
            ServiceKind::ExternalName(name.to_owned())
        }
    }
}

fn families(reader: &mut Reader<'_>, spec: &Field<'_>) {
    for family in spec.child("ipFamilies").items() {
        match family.text() {
            Some("IPv6") => reader.not_simulated(&family, "IPv6", "leave IPv4 alone"),
            Some("IPv4") | None => {}
            Some(other) => reader.unsupported(&family, other, ["IPv4", "IPv6"].into_iter()),
        }
    }
}

/// `clusterIP` and `clusterIPs` say the same.
fn cluster_ip(reader: &mut Reader<'_>, spec: &Field<'_>, of: Type) -> ClusterIp {
    let (one, all) = (spec.child("clusterIP"), spec.child("clusterIPs"));
    reader.note(&all);
    let items = all.items();
    let first = items.first().and_then(Field::text);
    let text = reader.string(&one).or(first);
    let Some(text) = text else { return ClusterIp::Any };
    // The API server looks at the list, which it has made of the one if there was none.
    let at = if one.text().is_some() { one.clone() } else { items.into_iter().next().unwrap_or(one.clone()) };
    if one.text().is_some() && first.is_some_and(|first| first != text) {
        let shown = names::go_strings(all.items().iter().filter_map(Field::text));
        reader.invalid(&all, shown, "first value must match `clusterIP`");
    }
    let at = at.called("spec.clusterIPs[0]");
    match (text, of) {
        ("None", Type::LoadBalancer) => {
            reader.invalid(&at, "\"None\"", "may not be set to 'None' for LoadBalancer services");
        }
        ("None", Type::NodePort) => reader.invalid(&at, "\"None\"", "may not be set to 'None' for NodePort services"),
        (_, Type::ExternalName) => {
            reader.forbidden(&at.called("spec.clusterIPs"), "may not be set for ExternalName services");
        }
        ("None", Type::ClusterIp) => return ClusterIp::Headless,
        _ => return reader.address(&at).map_or(ClusterIp::Any, ClusterIp::Fixed),
    }
    ClusterIp::Any
}

fn external_ips(reader: &mut Reader<'_>, list: &Field<'_>) -> Vec<Ipv4Addr> {
    let address = |item: &Field<'_>| {
        let address = reader.address(item)?;
        reader.check(item, go_string(&address.to_string()), names::non_special_ip(address));
        Some(address)
    };
    list.items().iter().filter_map(address).collect()
}

fn ports(reader: &mut Reader<'_>, list: &Field<'_>, of: Type, cluster_ip: ClusterIp) -> Vec<ServicePort> {
    let items = list.items();
    if items.is_empty() && cluster_ip != ClusterIp::Headless && of != Type::ExternalName {
        reader.required(list, "");
    }
    let (mut names, mut ports, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut read = Vec::new();
    for item in &items {
        let name = item.child("name");
        match reader.named(&name, names::dns1123_label) {
            None if items.len() > 1 => reader.required(&name, ""),
            Some(text) if !names.insert(text) => reader.duplicate(&name, go_string(text)),
            _ => {}
        }
        let Some(port) = port(reader, item, of) else { continue };
        if !ports.insert((port.protocol, port.port)) {
            let (protocol, port) = (protocol_name(port.protocol), port.port);
            reader.duplicate(
                item,
                format!(
                    "core.ServicePort{{Name:\"\", Protocol:\"{protocol}\", AppProtocol:(*string)(nil), Port:{port}, \
                     TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, NodePort:0}}"
                ),
            );
        }
        if let Some(node_port) = port.node_port.filter(|number| !node_ports.insert((port.protocol, *number))) {
            reader.duplicate(&item.child("nodePort"), node_port);
        }
        read.push(port);
    }
    read
}

fn port(reader: &mut Reader<'_>, item: &Field<'_>, of: Type) -> Option<ServicePort> {
    let (port, target, node_port) = (item.child("port"), item.child("targetPort"), item.child("nodePort"));
    let number = reader.integer(&port).unwrap_or(0);
    reader.check(&port, number, names::port_number(number));
    let protocol = reader.one_of(&item.child("protocol"), &PROTOCOLS, Protocol::Tcp);
    // Neither zero nor the empty name is a target.
    let has_target = target.text().is_some() || target.number().is_some_and(|number| number != 0);
    let target_port = if has_target { port_ref(reader, &target) } else { None };
    let fixed = node_port.number().is_some_and(|number| number != 0);
    if fixed && of == Type::ClusterIp {
        reader.forbidden(&node_port, "may not be used when `type` is 'ClusterIP'");
    }
    let node_port = if fixed { reader.port(&node_port) } else { None };
    let port = u16::try_from(number).ok()?;
    Some(ServicePort {
        name: item.child("name").text().unwrap_or_default().to_owned(),
        protocol,
        port,
        target_port: target_port.unwrap_or(PortRef::Number(port)),
        node_port,
    })
}

fn protocol_name(protocol: Protocol) -> &'static str {
    PROTOCOLS.iter().find(|(_, known)| *known == protocol).map_or("", |(name, _)| name)
}

/// Those that a load balancer hands on with their destination as it was (`ipMode: VIP`).
fn load_balancer_ips(reader: &mut Reader<'_>, list: &Field<'_>) -> Vec<Ipv4Addr> {
    reader.note(list);
    let is_vip = |item: &Field<'_>| item.child("ipMode").text() != Some("Proxy");
    let items = list.items();
    items.iter().filter(|item| is_vip(item)).filter_map(|item| item.child("ip").text()?.parse().ok()).collect()
}

fn source_ranges(reader: &mut Reader<'_>, list: &Field<'_>, of: Type) -> Vec<ipnet::Ipv4Net> {
    // The API server's own spelling.
    let path = |path: &str| path.replace("loadBalancer", "LoadBalancer");
    let items = list.items();
    if !items.is_empty() && of != Type::LoadBalancer {
        reader.forbidden(&list.called(path(&list.path)), "may only be used when `type` is 'LoadBalancer'");
    }
    reader.note(list);
    let range = |item: &Field<'_>| reader.network(&item.called(path(&item.path)));
    items.iter().filter_map(range).collect()
}

fn affinity(reader: &mut Reader<'_>, spec: &Field<'_>) -> Option<u32> {
    let by_client = reader.one_of(&spec.child("sessionAffinity"), &AFFINITIES, false);
    let config = spec.child("sessionAffinityConfig");
    if !by_client {
        if config.node.is_some() {
            reader.forbidden(&config, "must not be set when session affinity is None");
        }
        return None;
    }
    let timeout = config.child("clientIP").child("timeoutSeconds");
    let seconds = reader.integer(&timeout).unwrap_or(DEFAULT_AFFINITY_S);
    if seconds <= 0 || seconds > MAX_AFFINITY_S {
        reader.invalid(&timeout, seconds, &format!("must be greater than 0 and less than {MAX_AFFINITY_S}"));
    }
    u32::try_from(seconds).ok()
}

fn external_policy(reader: &mut Reader<'_>, spec: &Field<'_>, of: Type, external_ips: bool) -> TrafficPolicy {
    let field = spec.child("externalTrafficPolicy");
    let outside = matches!(of, Type::NodePort | Type::LoadBalancer) || of == Type::ClusterIp && external_ips;
    if let (false, Some(word)) = (outside, field.text()) {
        reader.invalid(&field, go_string(word), "may only be set for externally-accessible services");
        return TrafficPolicy::Cluster;
    }
    reader.one_of(&field, &POLICIES, TrafficPolicy::Cluster)
}

fn health_check_node_port(reader: &mut Reader<'_>, spec: &Field<'_>, of: Type, policy: TrafficPolicy) -> Option<u16> {
    let field = spec.child("healthCheckNodePort");
    let number = field.number().filter(|number| *number != 0)?;
    if of != Type::LoadBalancer || policy != TrafficPolicy::Local {
        let only = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        reader.invalid(&field, number, only);
    }
    reader.port(&field)
}
