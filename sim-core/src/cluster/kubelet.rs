//! What the kubelet and the container runtime put into a pod: /etc/resolv.conf, /etc/hosts, programs
//! (pkg/kubelet/network/dns/dns.go, pkg/kubelet/kubelet_pods.go).

use super::istio::inject;
use super::object::{ClusterIp, Container, DnsPolicy, Meta, ServiceKind};
use super::store::{Cluster, PlacedPod};
use crate::base::time::SEC;
use crate::lab::lex;
use crate::user;
use std::fmt::Write as _;

/// The limits of resolv.conf (pkg/apis/core/validation: MaxDNSNameservers, MaxDNSSearchPaths).
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
/// What the pause container runs.
pub(super) const PAUSE: &str = "/pause";
/// So long a sidecar's proxy drains.
const DRAIN_NS: u64 = 5 * SEC;
/// Where nginx has its files in its own image.
const NGINX_ROOT: &str = "/usr/share/nginx/html";

/// `/etc/resolv.conf` of a pod. `host` is the node's own, where the pod's policy asks for it.
pub(super) fn resolv_conf(cluster: &Cluster, pod: &PlacedPod) -> String {
    let config = &cluster.config;
    let domain = &config.domain;
    let own = [format!("{}.svc.{domain}", pod.meta.namespace), format!("svc.{domain}"), domain.clone()];
    let in_cluster = match pod.spec.dns_policy {
        DnsPolicy::ClusterFirst => !pod.spec.host_network,
        DnsPolicy::ClusterFirstWithHostNet => true,
        DnsPolicy::Default | DnsPolicy::None => false,
    };
    let (mut servers, mut searches, mut options) = (vec![], vec![], vec![]);
    if in_cluster {
        servers.push(config.dns_ip);
        searches.extend(own);
        options.push("ndots:5".to_owned());
    }
    let more = &pod.spec.dns_config;
    servers.extend(&more.nameservers);
    searches.extend(more.searches.iter().filter(|s| !s.is_empty()).cloned());
    for option in &more.options {
        let name = |o: &str| o.split(':').next().unwrap_or(o).to_owned();
        options.retain(|o| name(o) != name(option));
        options.push(option.clone());
    }
    servers.dedup();
    servers.truncate(MAX_NAMESERVERS);
    searches.truncate(MAX_SEARCHES);
    let mut text = String::new();
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// `/etc/hosts` of a pod.
pub(super) fn hosts(cluster: &Cluster, pod: &PlacedPod) -> String {
    let name = pod.hostname();
    let mut text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n".to_owned();
    let fqdn = match &pod.spec.subdomain {
        Some(sub) => format!("{name}.{sub}.{}.svc.{}\t", pod.meta.namespace, cluster.config.domain),
        None => String::new(),
    };
    let _ = writeln!(text, "{}\t{fqdn}{name}", pod.ip);
    if !pod.spec.host_aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
    }
    for (ip, names) in &pod.spec.host_aliases {
        let _ = writeln!(text, "{ip}\t{}", names.join("\t"));
    }
    text
}

/// What a container runs, as a server's command line. None if it does nothing that a network sees: it sleeps, or nobody
/// here knows its program.
pub(super) fn server(container: &Container) -> Option<String> {
    let words: Vec<&str> = container.command.iter().chain(&container.args).map(String::as_str).collect();
    if !container.command.is_empty() {
        return known(&words.join(" "));
    }
    let line = match image(&container.image) {
        "nginx" => format!("nginx {} {NGINX_ROOT}", first_port(container, 80)),
        "coredns" => "coredns".to_owned(),
        "pilot" => "pilot-discovery discovery".to_owned(),
        "proxyv2" => format!("pilot-agent {}", words.join(" ")),
        _ => words.join(" "),
    };
    known(&line)
}

/// The same with what says as whom it runs.
pub(super) fn server_as(container: &Container) -> Option<String> {
    let line = server(container)?;
    let (uid, gid) = run_as(container);
    let root = (uid, gid) == (0, 0);
    Some(if root { line } else { format!("setpriv --reuid {uid} --regid {gid} --clear-groups {line}") })
}

/// The user and the group of a container's processes.
pub(super) fn run_as(container: &Container) -> (u32, u32) {
    (container.run_as_user.unwrap_or(0), container.run_as_group.unwrap_or(0))
}

/// The command line of a container whose program is none of the servers and stands in its manifest. It is taken to
/// sleep.
pub(super) fn sleeper(container: &Container) -> Option<String> {
    let words = || container.command.iter().chain(&container.args).map(String::as_str).collect::<Vec<_>>().join(" ");
    (!container.command.is_empty() && server(container).is_none()).then(words)
}

/// The program ends when it is told to. Process 1 of a container hears SIGTERM only if it asks for it
/// (pid_namespaces(7)): nginx, CoreDNS, iperf3 and istiod do; Python's http.server and small servers do not, nor does a
/// shell that sleeps.
pub fn heeds_sigterm(line: &str) -> bool {
    ["nginx", "coredns", "iperf3", "pilot-discovery"].contains(&line.split(' ').next().unwrap_or_default())
}

/// How long a container goes on when its pod has been sent SIGTERM, in nanoseconds. A sidecar's proxy lets connections
/// come to their end (`terminationDrainDuration`).
pub(super) fn linger_ns(container: &Container, grace_s: u32) -> u64 {
    let grace_ns = u64::from(grace_s) * SEC;
    match server(container) {
        Some(line) if heeds_sigterm(&line) => 0,
        Some(_) if container.name == inject::PROXY => grace_ns.min(DRAIN_NS),
        _ => grace_ns,
    }
}

/// It starts a sidecar's proxy, as somebody or not.
pub(super) fn is_proxy(line: &str) -> bool {
    line.split(' ').any(|word| word == "pilot-agent")
}

/// The line, if it starts a server.
fn known(line: &str) -> Option<String> {
    let words = lex::words(line).ok()?;
    user::parse_server(&words).is_ok().then(|| line.to_owned())
}

/// An image's last name: `nginx` of `docker.io/library/nginx:1.25@sha256:…`.
fn image(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

fn first_port(container: &Container, default: u16) -> u16 {
    container.ports.first().map_or(default, |p| p.container_port)
}

/// Where the log of a pod's container is kept. It is the node's file, and lies in the pod's own namespace here.
pub fn log_file(namespace: &str, pod: &str, container: &str) -> String {
    format!("/var/log/pods/{namespace}_{pod}/{container}/0.log")
}

/// The files of a pod.
pub(super) fn files(cluster: &Cluster, pod: &PlacedPod) -> Vec<(String, String)> {
    let mut files = vec![
        ("/etc/hostname".to_owned(), pod.hostname().to_owned() + "\n"),
        ("/etc/hosts".to_owned(), hosts(cluster, pod)),
        ("/etc/resolv.conf".to_owned(), resolv_conf(cluster, pod)),
    ];
    let has = |name: &str| pod.spec.containers.iter().any(|c| image(&c.image) == name);
    if has("nginx") {
        files.push((format!("{NGINX_ROOT}/index.html"), welcome()));
    }
    if has("coredns") {
        let key = ("kube-system".to_owned(), "coredns".to_owned());
        if let Some(corefile) = cluster.config_maps.get(&key).and_then(|data| data.get("Corefile")) {
            files.push(("/etc/coredns/Corefile".to_owned(), corefile.clone()));
        }
        files.push((user::dns::coredns::cluster::CLUSTER.to_owned(), dns_records(cluster)));
    }
    if inject::is_injected(&pod.spec) {
        let bootstrap = cluster.bootstrap(pod).and_then(|b| serde_json::to_string_pretty(&b).ok());
        files.extend(bootstrap.map(|text| (user::istiod::BOOTSTRAP.to_owned(), text + "\n")));
        let Meta { namespace, name, .. } = &pod.meta;
        files.extend(cluster.init_log(pod).map(|text| (log_file(namespace, name, inject::INIT), text)));
    }
    if has("pilot") {
        files.extend(cluster.registry());
    }
    files
}

/// A page of the length that nginx's own has, 615 bytes.
fn welcome() -> String {
    let start = "<!DOCTYPE html>\n<html>\n<head><title>nginx</title></head>\n\
                 <body>\n<h1>It works: this is nginx in a pod.</h1>\n<!--";
    let end = "-->\n</body>\n</html>\n";
    format!("{start}{}{end}", "-".repeat(615 - start.len() - end.len()))
}

/// What CoreDNS sees of the API server (user/dns/coredns/cluster.rs has the format).
fn dns_records(cluster: &Cluster) -> String {
    let mut text = String::new();
    for namespace in cluster.namespaces.keys() {
        let _ = writeln!(text, "namespace {namespace}");
    }
    for ((namespace, name), service) in &cluster.services {
        if let ServiceKind::ExternalName(target) = &service.kind {
            let _ = writeln!(text, "external {namespace}/{name} {target}");
            continue;
        }
        let address = match service.cluster_ip {
            ClusterIp::Fixed(ip) => ip.to_string(),
            ClusterIp::Headless => "None".to_owned(),
            ClusterIp::Any => continue,
        };
        let _ = write!(text, "service {namespace}/{name} {address}");
        for port in &service.ports {
            let name = if port.name.is_empty() { String::new() } else { format!("{}=", port.name) };
            let _ = write!(text, " {name}{}/{}", port.port, port.protocol.lower());
        }
        text.push('\n');
        let slices = cluster.endpoints(service);
        let ready = |e: &&super::object::EndpointAddress| e.ready || service.publish_not_ready;
        for endpoint in slices.iter().flat_map(|s| &s.endpoints).filter(ready) {
            let host = endpoint.hostname.as_ref().map_or(String::new(), |h| format!(" {h}"));
            let _ = writeln!(text, "endpoint {namespace}/{name} {}{host}", endpoint.ip);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_run() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (image, command, args, want) in [
            ("nginx", "", "", Some("nginx 80 /usr/share/nginx/html")),
            ("docker.io/library/nginx:1.25-alpine@sha256:0a", "", "", Some("nginx 80 /usr/share/nginx/html")),
            ("registry.k8s.io/coredns/coredns:v1.11.1", "", "-conf /etc/coredns/Corefile", Some("coredns")),
            ("python:3.11", "python3 -m http.server 8000", "", Some("python3 -m http.server 8000")),
            ("python:3.11", "python3 -m", "http.server 8000", Some("python3 -m http.server 8000")),
            ("podhop", "udpecho", "7", Some("udpecho 7")),
            ("nginx", "sleep 1d", "", None),
            ("ubuntu", "", "", None),
        ] {
            let container = Container {
                image: image.to_owned(),
                command: words(command),
                args: words(args),
                ..Container::default()
            };
            assert_eq!(server(&container).as_deref(), want, "{image} {command} {args}");
            let sleeps = want.is_none() && !command.is_empty();
            assert_eq!(sleeper(&container).as_deref(), sleeps.then_some(command), "{image} {command} {args}");
        }
    }

    #[test]
    fn the_page_is_as_long_as_the_real_one() {
        assert_eq!(welcome().len(), 615);
    }
}
