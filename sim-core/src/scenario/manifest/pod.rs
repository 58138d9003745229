//! Pods, and what templates have of them (pkg/apis/core/v1/defaults.go, ValidatePodSpec and what it calls in
//! pkg/apis/core/validation/validation.go).

use std::collections::BTreeSet;

use super::meta::{self, Scope};
use super::names::{self, go_string};
use super::probe::{self, Use};
use super::reader::{Field, Reader};
use crate::cluster::kube_proxy::Protocol;
use crate::cluster::object::{Container, ContainerPort, DnsConfig, DnsPolicy, Object, Pod, PodSpec};

/// `terminationGracePeriodSeconds` of a pod that does not say it.
const DEFAULT_GRACE_S: u32 = 30;
/// The account of a pod that does not say it.
const DEFAULT_ACCOUNT: &str = "default";
/// The most `nameservers` and `searches` of `dnsConfig` (MaxDNSNameservers, MaxDNSSearchPaths).
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// The protocols of ports.
pub(super) const PROTOCOLS: [(&str, Protocol); 3] =
    [("SCTP", Protocol::Sctp), ("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)];
const DNS_POLICIES: [(&str, DnsPolicy); 4] = [
    ("ClusterFirst", DnsPolicy::ClusterFirst),
    ("ClusterFirstWithHostNet", DnsPolicy::ClusterFirstWithHostNet),
    ("Default", DnsPolicy::Default),
    ("None", DnsPolicy::None),
];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];

/// Reads a Pod.
pub(super) fn pod(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Namespace, names::dns1123_subdomain);
    let at = root.child("spec");
    let node_name = reader.named(&at.child("nodeName"), names::dns1123_subdomain).map(str::to_owned);
    let status = root.child("status");
    // The address of a pod that has only IPv6 is none here.
    let pod_ip = reader.string(&status.child("podIP")).and_then(|address| address.parse().ok());
    Object::Pod(Pod { meta, node_name, pod_ip, spec: spec(reader, &at) })
}

/// Reads the `spec` of a Pod or of a template.
pub(super) fn spec(reader: &mut Reader<'_>, at: &Field<'_>) -> PodSpec {
    let policy = at.child("restartPolicy");
    if let Some(word) = policy.text().filter(|word| !RESTART_POLICIES.contains(word)) {
        reader.unsupported(&policy, word, RESTART_POLICIES.into_iter());
    }
    let host_network = reader.boolean(&at.child("hostNetwork")).unwrap_or(false);
    let (init, containers) = (at.child("initContainers"), at.child("containers"));
    if containers.items().is_empty() {
        reader.required(&containers, "");
    }
    let run_as = run_as(reader, at);
    let dns_policy = reader.one_of(&at.child("dnsPolicy"), &DNS_POLICIES, DnsPolicy::ClusterFirst);
    let mut names = BTreeSet::new();
    let name = |reader: &mut Reader<'_>, field: &str, rule| reader.named(&at.child(field), rule).map(str::to_owned);
    PodSpec {
        hostname: name(reader, "hostname", names::dns1123_label),
        subdomain: name(reader, "subdomain", names::dns1123_label),
        service_account: name(reader, "serviceAccountName", names::dns1123_subdomain)
            .unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned()),
        host_network,
        node_selector: meta::labels(reader, &at.child("nodeSelector")),
        dns_policy,
        dns_config: dns_config(reader, &at.child("dnsConfig"), dns_policy),
        host_aliases: at.child("hostAliases").items().iter().filter_map(|item| host_alias(reader, item)).collect(),
        termination_grace_s: grace(reader, &at.child("terminationGracePeriodSeconds")),
        init_containers: containers_of(reader, &init, Place { host_network, init: true, run_as }, &mut names),
        containers: containers_of(reader, &containers, Place { host_network, init: false, run_as }, &mut names),
    }
}

/// Less than nothing is a second.
fn grace(reader: &mut Reader<'_>, field: &Field<'_>) -> u32 {
    match reader.integer(field) {
        Some(seconds) if seconds < 0 => 1,
        Some(seconds) => u32::try_from(seconds).unwrap_or(u32::MAX),
        None => DEFAULT_GRACE_S,
    }
}

fn dns_config(reader: &mut Reader<'_>, field: &Field<'_>, policy: DnsPolicy) -> DnsConfig {
    let (servers, searches, options) = (field.child("nameservers"), field.child("searches"), field.child("options"));
    if policy == DnsPolicy::None && field.node.is_none() {
        reader.required(field, "must provide `dnsConfig` when `dnsPolicy` is None");
    } else if policy == DnsPolicy::None && servers.items().is_empty() {
        reader.required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    for (list, max, what) in [(&servers, MAX_NAMESERVERS, "nameservers"), (&searches, MAX_SEARCHES, "search paths")] {
        if list.items().len() > max {
            let shown = names::go_strings(list.items().iter().filter_map(Field::text));
            reader.invalid(list, shown, &format!("must not have more than {max} {what}"));
        }
    }
    for item in searches.items() {
        let search = item.text().unwrap_or_default();
        // A trailing dot is what makes a name absolute; `.` alone is the root.
        let name = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            reader.check(&item, go_string(search), names::dns1123_subdomain(name));
        }
    }
    let option = |reader: &mut Reader<'_>, item: &Field<'_>| {
        let (name, value) = (item.child("name"), item.child("value"));
        match (reader.string(&name), reader.string(&value)) {
            (Some(name), Some(value)) => Some(format!("{name}:{value}")),
            (Some(name), None) => Some(name.to_owned()),
            (None, _) => {
                reader.required(item, "must not be empty");
                None
            }
        }
    };
    DnsConfig {
        nameservers: servers.items().iter().filter_map(|item| reader.address(item)).collect(),
        searches: reader.strings(&searches),
        options: options.items().iter().filter_map(|item| option(reader, item)).collect(),
    }
}

fn host_alias(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<(std::net::Ipv4Addr, Vec<String>)> {
    let (ip, hostnames) = (item.child("ip"), item.child("hostnames"));
    if ip.node.is_none() {
        reader.required(&ip, "");
    }
    for name in hostnames.items() {
        let text = name.text().unwrap_or_default();
        reader.check(&name, go_string(text), names::dns1123_subdomain(text));
    }
    let hostnames = reader.strings(&hostnames);
    Some((reader.address(&ip)?, hostnames))
}

/// Where a container stands.
#[derive(Clone, Copy)]
struct Place {
    /// Its pod has no network namespace of its own.
    host_network: bool,
    /// Among `initContainers`.
    init: bool,
    /// The user and the group of containers that say none.
    run_as: (Option<u32>, Option<u32>),
}

/// Reads a list of containers. The names of all containers of a pod differ.
fn containers_of(
    reader: &mut Reader<'_>,
    list: &Field<'_>,
    place: Place,
    names: &mut BTreeSet<String>,
) -> Vec<Container> {
    let mut containers = Vec::new();
    for item in list.items() {
        let name = item.child("name");
        match reader.named(&name, names::dns1123_label) {
            None => reader.required(&name, ""),
            Some(text) if !names.insert(text.to_owned()) => reader.duplicate(&name, go_string(text)),
            Some(_) => {}
        }
        containers.push(container(reader, &item, place));
    }
    containers
}

fn container(reader: &mut Reader<'_>, item: &Field<'_>, place: Place) -> Container {
    let image = item.child("image");
    if reader.string(&image).is_none() {
        reader.required(&image, "");
    }
    let restart = item.child("restartPolicy");
    let sidecar = place.init && reader.string(&restart) == Some("Always");
    let mut names = BTreeSet::new();
    let ports = item.child("ports");
    let (user, group) = run_as(reader, item);
    Container {
        name: item.child("name").text().unwrap_or_default().to_owned(),
        image: image.text().unwrap_or_default().to_owned(),
        command: reader.strings(&item.child("command")),
        args: reader.strings(&item.child("args")),
        sidecar,
        ports: ports.items().iter().filter_map(|item| container_port(reader, item, place, &mut names)).collect(),
        readiness: probe::probe(reader, &item.child("readinessProbe"), Use::Readiness),
        liveness: probe::probe(reader, &item.child("livenessProbe"), Use::Liveness),
        run_as_user: user.or(place.run_as.0),
        run_as_group: group.or(place.run_as.1),
    }
}

/// The user and the group of a `securityContext`.
fn run_as(reader: &mut Reader<'_>, at: &Field<'_>) -> (Option<u32>, Option<u32>) {
    let context = at.child("securityContext");
    let mut id = |name: &str| {
        let field = context.child(name);
        let id = reader.integer(&field)?;
        // IsValidUserID and IsValidGroupID
        let valid = u32::try_from(id).ok().filter(|id| *id <= i32::MAX as u32);
        if valid.is_none() {
            reader.invalid(&field, id, "must be between 0 and 2147483647, inclusive");
        }
        valid
    };
    (id("runAsUser"), id("runAsGroup"))
}

fn container_port(
    reader: &mut Reader<'_>,
    item: &Field<'_>,
    place: Place,
    names: &mut BTreeSet<String>,
) -> Option<ContainerPort> {
    let (name, port, host_port) = (item.child("name"), item.child("containerPort"), item.child("hostPort"));
    if let Some(text) = reader.string(&name) {
        let wrong = names::port_name(text);
        if wrong.is_empty() && !names.insert(text.to_owned()) {
            reader.duplicate(&name, go_string(text));
        }
        reader.check(&name, go_string(text), wrong);
    }
    let container_port = match port.number() {
        None | Some(0) => {
            reader.required(&port, "");
            None
        }
        Some(_) => reader.port(&port),
    };
    // Zero is none. A port of the host's network is the host's.
    let on_host = if host_port.number().unwrap_or(0) == 0 { None } else { reader.port(&host_port) };
    let default = if place.host_network { container_port } else { None };
    if let (true, Some(inside), Some(_)) = (place.host_network, container_port, on_host)
        && on_host != container_port
    {
        reader.invalid(&port, inside, "must match `hostPort` when `hostNetwork` is true");
    }
    Some(ContainerPort {
        name: name.text().unwrap_or_default().to_owned(),
        container_port: container_port?,
        host_port: on_host.or(default),
        protocol: reader.one_of(&item.child("protocol"), &PROTOCOLS, Protocol::Tcp),
    })
}
