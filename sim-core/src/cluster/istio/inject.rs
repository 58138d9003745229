//! The sidecar injector: what its webhook adds to a pod that is made (pkg/kube/inject/inject.go, and the template and
//! the selectors of manifests/charts/istio-control/istio-discovery of Istio 1.13.4).
//!
//! Differs: 1.30.3 makes the proxy an init container that goes on (a native sidecar), which is up before the pod's own
//! programs start. The kubelet's probes are left as they are (`rewriteAppHTTPProbers: false`).

use super::Istio;
use super::rules::{self, Arguments, Mode, Ports, Ranges};
use crate::base::rng::Prf;
use crate::cluster::object::{Container, ContainerPort, Labels, Meta, Pod, PodSpec, PortRef, Probe, ProbeKind};
use crate::cluster::store::{Cluster, PlacedPod};
use crate::kernel::netfilter::Iptables;
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netfilter::save::Options;
use crate::user::envoy::config::{HEALTH_PORT, INBOUND_PORT, OUTBOUND_PORT, STATS_PORT};
use ipnet::Ipv4Net;

/// The init container.
pub const INIT: &str = "istio-init";
/// The sidecar.
pub const PROXY: &str = "istio-proxy";
/// Where istio-init writes its rules, without the number that tells the file from others.
const RULES_FILE: &str = "/tmp/iptables-rules.txt";
/// The label of a namespace whose pods get sidecars.
const INJECTION: &str = "istio-injection";
/// The label of a pod that says so itself; the annotation is its older form.
const INJECT: &str = "sidecar.istio.io/inject";
/// What the names of annotations about traffic begin with.
const TRAFFIC: &str = "traffic.sidecar.istio.io/";
/// The annotations about traffic that the injector knows.
const KNOWN: [&str; 7] = [
    "excludeInboundPorts",
    "excludeOutboundIPRanges",
    "excludeOutboundPorts",
    "includeInboundPorts",
    "includeOutboundIPRanges",
    "includeOutboundPorts",
    "kubevirtInterfaces",
];
/// The annotation of how connections get to the proxy.
const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
/// Nobody gets sidecars there (IgnoredNamespaces).
const IGNORED: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// An annotation that the injector refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its name.
    pub annotation: String,
    /// What the injector says.
    pub message: String,
    /// What it would take.
    pub hint: &'static str,
}

impl Cluster {
    /// Gives a new pod its sidecar, if it wants one. What the injector refuses does not count.
    pub(in crate::cluster) fn inject(&self, pod: &mut Pod) -> Vec<Refused> {
        let Some(istio) = &self.config.istio else { return Vec::new() };
        let namespace = &pod.meta.namespace;
        if !is_wanted(namespace, self.namespaces.get(namespace), &pod.meta, &pod.spec) {
            return Vec::new();
        }
        let (arguments, refused) = match arguments(istio, &pod.meta) {
            Ok(arguments) => (arguments, Vec::new()),
            Err(refused) => (Arguments::new(istio.version), refused),
        };
        inject(istio, &arguments, &mut pod.meta, &mut pod.spec);
        refused
    }

    /// What istio-init is told in a pod, if it runs there.
    pub(in crate::cluster) fn init_arguments(&self, pod: &PlacedPod) -> Option<Arguments> {
        let istio = self.config.istio.as_ref().filter(|_| is_injected(&pod.spec))?;
        arguments(istio, &pod.meta).ok()
    }

    /// What istio-init prints in a pod, without the times: the rules file, and what iptables-save says afterwards.
    /// Nobody has touched them before.
    pub(in crate::cluster) fn init_log(&self, pod: &PlacedPod) -> Option<String> {
        let rules = self.init_arguments(pod)?.rules();
        let mut iptables = Iptables::new(self.config.iptables);
        let restore = Restore { noflush: true, text: rules.clone(), ..Restore::default() };
        iptables.restore(&restore).ok()?;
        let saved = iptables.save(Options::default()).ok()?;
        Some(format!(
            "info\tWriting following contents to rules file: {RULES_FILE}\n{rules}\
             info\tRunning command: iptables-restore --noflush {RULES_FILE}\n\
             info\tRunning command: iptables-save\n{saved}"
        ))
    }

    /// What istio-init runs in a pod, as the pod's node would type it.
    pub(in crate::cluster) fn init_commands(&self, prf: &Prf, pod: &PlacedPod) -> Vec<String> {
        let Some(arguments) = self.init_arguments(pod) else { return Vec::new() };
        let (netns, iptables) = (pod.netns(prf), self.config.iptables.program());
        let rules = arguments.rules();
        let restore = format!("ip netns exec {netns} {iptables}-restore --noflush <<EOF\n{rules}EOF\n");
        let routes = arguments.routes().into_iter().map(|command| format!("ip -n {netns} {command}"));
        std::iter::once(restore).chain(routes).collect()
    }
}

/// A pod gets a sidecar: the webhook is asked (its selectors of namespaces and pods), and does not decline.
///
/// An annotation alone does not make it so: where neither label says anything, nobody asks the webhook.
pub fn is_wanted(namespace: &str, labels: Option<&Labels>, meta: &Meta, spec: &PodSpec) -> bool {
    let of_namespace = labels.and_then(|l| l.get(INJECTION)).map(String::as_str);
    let own = meta.labels.get(INJECT).map(String::as_str);
    let asked = match of_namespace {
        Some("enabled") => own != Some("false"),
        Some(_) => false,
        None => own == Some("true"),
    };
    if !asked || spec.host_network || IGNORED.contains(&namespace) || is_injected(spec) {
        return false;
    }
    let word = own.or_else(|| meta.annotations.get(INJECT).map(String::as_str)).unwrap_or_default();
    // A boolean of YAML 1.1; what is none declines.
    ["", "y", "yes", "true", "on"].contains(&word.to_lowercase().as_str())
}

/// It has a sidecar.
pub fn is_injected(spec: &PodSpec) -> bool {
    spec.containers.iter().any(|c| c.name == PROXY)
}

/// What istio-init is told in a pod with these annotations.
///
/// # Errors
/// Every annotation that the injector refuses.
pub fn arguments(istio: &Istio, meta: &Meta) -> Result<Arguments, Vec<Refused>> {
    let mut arguments = Arguments::new(istio.version);
    let mut refused = Vec::new();
    if let Some(value) = meta.annotations.get(INTERCEPTION_MODE) {
        match interception_mode(value) {
            Ok(mode) => arguments.mode = mode,
            Err(why) => {
                let annotation = INTERCEPTION_MODE.to_owned();
                let message = format!("invalid value '{value}' for annotation '{annotation}': {why}");
                refused.push(Refused { annotation, message, hint: "REDIRECT or TPROXY" });
            }
        }
    }
    for name in KNOWN {
        let Some(value) = meta.annotations.get(&format!("{TRAFFIC}{name}")) else { continue };
        if let Err(why) = apply(&mut arguments, name, value) {
            let annotation = format!("{TRAFFIC}{name}");
            let message = format!("invalid value '{value}' for annotation '{annotation}': {why}");
            refused.push(Refused { annotation, message, hint: hint(name) });
        }
    }
    if refused.is_empty() { Ok(arguments) } else { Err(refused) }
}

fn hint(name: &str) -> &'static str {
    match name {
        "kubevirtInterfaces" => "leave it out",
        "includeInboundPorts" => "\"*\", or ports with commas between them, as \"80,8080\"",
        "includeOutboundIPRanges" => "\"*\", or networks with commas between them, as \"10.0.0.0/8,192.168.0.0/16\"",
        "excludeOutboundIPRanges" => "networks with commas between them, as \"10.0.0.0/8,192.168.0.0/16\"",
        _ => "ports with commas between them, as \"80,8080\"",
    }
}

/// validateInterceptionMode
fn interception_mode(value: &str) -> Result<Mode, String> {
    match value {
        "REDIRECT" => Ok(Mode::Redirect),
        "TPROXY" => Ok(Mode::Tproxy),
        "NONE" => Err("it is not simulated".to_owned()),
        _ => Err(format!("interceptionMode invalid, use REDIRECT,TPROXY,NONE: {value}")),
    }
}

/// One annotation.
fn apply(arguments: &mut Arguments, name: &str, value: &str) -> Result<(), String> {
    let wrong = |what: &str, why: String| format!("{what} invalid: {why}");
    match name {
        "includeInboundPorts" => {
            arguments.inbound_ports = match value {
                "*" => Ports::All,
                list => Ports::These(ports(list).map_err(|why| wrong(name, why))?),
            };
        }
        "excludeInboundPorts" => {
            // excludeInboundPort: the status port comes last, unless it is among them.
            let own = ports(value).map_err(|why| wrong(name, why))?;
            let mut all = vec![STATS_PORT, HEALTH_PORT];
            all.extend(&own);
            all.extend(Some(rules::STATUS_PORT).filter(|port| !own.contains(port)));
            arguments.inbound_exclude = all;
        }
        "includeOutboundIPRanges" => {
            arguments.outbound_ranges = match value {
                "*" => Ranges::All,
                list => Ranges::These(ranges(list).map_err(|why| wrong("includeIPRanges", why))?),
            };
        }
        "excludeOutboundIPRanges" => {
            arguments.outbound_exclude = ranges(value).map_err(|why| wrong("excludeIPRanges", why))?;
        }
        "includeOutboundPorts" => arguments.outbound_ports = ports(value).map_err(|why| wrong(name, why))?,
        "excludeOutboundPorts" => arguments.outbound_ports_exclude = ports(value).map_err(|why| wrong(name, why))?,
        _ => return Err("it is not simulated".to_owned()),
    }
    Ok(())
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn ports(list: &str) -> Result<Vec<u16>, String> {
    let port = |item: &str| item.parse().map_err(|_| format!("failed parsing port '{item}'"));
    items(list).map(port).collect()
}

/// Networks; what stands behind the prefix is cut off, as net.ParseCIDR does.
fn ranges(list: &str) -> Result<Vec<Ipv4Net>, String> {
    let range = |item: &str| {
        let net: Result<Ipv4Net, _> = item.parse();
        net.map(|net| net.trunc()).map_err(|_| format!("invalid CIDR address: {item}"))
    };
    items(list).map(range).collect()
}

impl Arguments {
    /// As the template writes them into the container.
    fn words(&self) -> Vec<String> {
        let numbers = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let nets = |nets: &[Ipv4Net]| nets.iter().map(Ipv4Net::to_string).collect::<Vec<_>>().join(",");
        let inbound = match &self.inbound_ports {
            Ports::All => "*".to_owned(),
            Ports::These(ports) => numbers(ports),
        };
        let outbound = match &self.outbound_ranges {
            Ranges::All => "*".to_owned(),
            Ranges::These(ranges) => nets(ranges),
        };
        let mut words = vec![
            ("-p", OUTBOUND_PORT.to_string()),
            ("-z", INBOUND_PORT.to_string()),
            ("-u", rules::PROXY_UID.to_string()),
            ("-m", if self.mode == Mode::Tproxy { "TPROXY" } else { "REDIRECT" }.to_owned()),
            ("-i", outbound),
            ("-x", nets(&self.outbound_exclude)),
            ("-b", inbound),
            ("-d", numbers(&self.inbound_exclude)),
        ];
        for (option, ports) in [("-q", &self.outbound_ports), ("-o", &self.outbound_ports_exclude)] {
            words.extend((!ports.is_empty()).then(|| (option, numbers(ports))));
        }
        words.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }
}

/// Adds istio-init and istio-proxy to a pod.
pub fn inject(istio: &Istio, arguments: &Arguments, meta: &mut Meta, spec: &mut PodSpec) {
    let image = format!("docker.io/istio/proxyv2:{}", istio.version.number());
    let init = Container {
        name: INIT.to_owned(),
        image: image.clone(),
        args: std::iter::once("istio-iptables".to_owned()).chain(arguments.words()).collect(),
        run_as_user: Some(0),
        ..Container::default()
    };
    spec.init_containers.push(init);
    let how = ProbeKind::HttpGet { path: "/healthz/ready".to_owned(), port: PortRef::Number(HEALTH_PORT), host: None };
    let proxy = Container {
        name: PROXY.to_owned(),
        image,
        args: ["proxy", "sidecar"].map(str::to_owned).to_vec(),
        ports: vec![ContainerPort {
            name: "http-envoy-prom".to_owned(),
            container_port: STATS_PORT,
            ..ContainerPort::default()
        }],
        readiness: Some(Probe {
            how,
            initial_delay_s: 1,
            period_s: 2,
            timeout_s: 3,
            success_threshold: 1,
            failure_threshold: 30,
        }),
        // It needs NET_ADMIN in TPROXY mode.
        run_as_user: Some(if arguments.mode == Mode::Tproxy { 0 } else { rules::PROXY_UID }),
        run_as_group: Some(rules::PROXY_UID),
        ..Container::default()
    };
    spec.containers.push(proxy);
    meta.labels.insert("security.istio.io/tlsMode".to_owned(), "istio".to_owned());
}
