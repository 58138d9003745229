//! Commands that ask a cluster and not a kernel: `kubectl logs`, and `istioctl proxy-config endpoints`. They see what
//! kubelet and proxy would tell them at that moment, and put nothing on a wire.

use super::control::label;
use super::exec::{Executed, What};
use crate::base::NsId;
use crate::base::files::{Content, Found};
use crate::base::words::{SyntaxError, Word};
use crate::cluster::bring_up::Owner;
use crate::cluster::istio::inject;
use crate::cluster::log_file;
use crate::engine::World;
use crate::lab::lex;
use crate::user::envoy::config::Config;
use std::fmt::Write as _;

/// The clusters that Envoy's own configuration has, each with its endpoint
/// (tools/packaging/common/envoy_bootstrap.json of Istio 1.13.4).
const STATIC: [(&str, &str); 4] = [
    ("127.0.0.1:15000", "prometheus_stats"),
    ("127.0.0.1:15020", "agent"),
    ("unix://./etc/istio/proxy/SDS", "sds-grpc"),
    ("unix://./etc/istio/proxy/XDS", "xds-grpc"),
];
/// Blanks between columns (istioctl's tabwriter).
const PADDING: usize = 5;

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kube {
    namespace: String,
    pod: String,
    asks: Asks,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Asks {
    /// What a container has printed.
    Logs(String),
    /// What a sidecar knows of endpoints.
    Endpoints,
}

impl Kube {
    /// Reads a command line; none if it is none of these programs'.
    pub(super) fn parse(line: &str) -> Option<Result<What, SyntaxError>> {
        let words = lex::words(line).ok()?;
        let (program, rest) = words.split_first()?;
        let parsed = match program.text.as_str() {
            "kubectl" => kubectl(program, rest),
            "istioctl" => istioctl(program, rest),
            _ => return None,
        };
        Some(parsed.map(What::Kube))
    }

    /// What it prints.
    pub(super) fn answer(&self, world: &World) -> Executed {
        let Kube { namespace, pod, asks } = self;
        let name = label(&Owner::Pod(namespace.clone(), pod.clone())).name;
        let Some(ns) = world.namespace(&name) else { return self.not_found() };
        let answer = match asks {
            Asks::Logs(container) => logs(world, ns, namespace, pod, container),
            Asks::Endpoints => endpoints(world, ns).ok_or_else(|| {
                format!("Error: failed to execute command on {pod}.{namespace} sidecar: there is no sidecar\n")
            }),
        };
        match answer {
            Ok(output) => Executed { output, exit: Some(0), limit: None },
            Err(output) => Executed { output, exit: Some(1), limit: None },
        }
    }

    fn not_found(&self) -> Executed {
        let Kube { pod, asks, .. } = self;
        let output = match asks {
            Asks::Logs(_) => format!("Error from server (NotFound): pods \"{pod}\" not found\n"),
            Asks::Endpoints => format!("Error: unable to retrieve Pod: pods \"{pod}\" not found\n"),
        };
        Executed { output, exit: Some(1), limit: None }
    }
}

/// The words of a command line: options with values, and what stands between them.
struct Words<'a> {
    namespace: Option<&'a Word>,
    container: Option<&'a Word>,
    rest: Vec<&'a Word>,
}

fn split<'a>(program: &Word, words: &'a [Word]) -> Result<Words<'a>, SyntaxError> {
    let mut found = Words { namespace: None, container: None, rest: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let place = match word.text.as_str() {
            "-n" | "--namespace" => &mut found.namespace,
            "-c" | "--container" => &mut found.container,
            option if option.starts_with('-') => {
                return Err(SyntaxError::at(word, format!("{}: \"{option}\" is not simulated", program.text)));
            }
            _ => {
                found.rest.push(word);
                continue;
            }
        };
        let missing = || SyntaxError::at(word, format!("flag needs an argument: {}", word.text));
        *place = Some(words.next().ok_or_else(missing)?);
    }
    Ok(found)
}

/// `kubectl logs POD -c CONTAINER [-n NAMESPACE]`
fn kubectl(program: &Word, words: &[Word]) -> Result<Kube, SyntaxError> {
    let hint = format!("write `kubectl logs POD -c {}`", inject::INIT);
    let found = split(program, words)?;
    let [verb, pod] = found.rest[..] else {
        return Err(SyntaxError::at(program, "kubectl: only logs of a pod's container are simulated").hint(hint));
    };
    if verb.text != "logs" {
        return Err(SyntaxError::at(verb, format!("kubectl {} is not simulated", verb.text)).hint(hint));
    }
    let Some(container) = found.container else {
        return Err(SyntaxError::at(pod, "kubectl logs: name the container").hint(hint));
    };
    if container.text != inject::INIT {
        return Err(SyntaxError::at(container, "the logs of other containers are not simulated").hint(hint));
    }
    let namespace = found.namespace.map_or("default", |n| n.text.as_str()).to_owned();
    Ok(Kube { namespace, pod: pod.text.clone(), asks: Asks::Logs(container.text.clone()) })
}

/// `istioctl proxy-config endpoints POD[.NAMESPACE] [-n NAMESPACE]`
fn istioctl(program: &Word, words: &[Word]) -> Result<Kube, SyntaxError> {
    let hint = "write `istioctl proxy-config endpoints POD`";
    let found = split(program, words)?;
    let [verb, what, pod] = found.rest[..] else {
        return Err(SyntaxError::at(program, "istioctl: only endpoints of a proxy are simulated").hint(hint));
    };
    for (word, known) in [(verb, &["proxy-config", "pc"][..]), (what, &["endpoints", "endpoint", "ep"][..])] {
        if !known.contains(&word.text.as_str()) {
            return Err(SyntaxError::at(word, format!("istioctl {} is not simulated", word.text)).hint(hint));
        }
    }
    let given = found.namespace.map_or("default", |n| n.text.as_str());
    let (pod, namespace) = pod.text.split_once('.').unwrap_or((&pod.text, given));
    Ok(Kube { namespace: namespace.to_owned(), pod: pod.to_owned(), asks: Asks::Endpoints })
}

fn logs(world: &World, ns: NsId, namespace: &str, pod: &str, container: &str) -> Result<String, String> {
    let Found::File(file) = world.machine(ns).files(ns).find(&log_file(namespace, pod, container)) else {
        return Err(format!("error: container {container} is not valid for pod {pod}\n"));
    };
    let Content::Text(text) = &file.content else { return Ok(String::new()) };
    let time = i64::try_from(file.mtime_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default();
    let time = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z\t").to_string();
    let line = |line: &str| if line.starts_with("info\t") { format!("{time}{line}\n") } else { format!("{line}\n") };
    Ok(text.lines().map(line).collect())
}

/// The table of istioctl: endpoints by address and port (istioctl/pkg/writer/envoy/clusters/clusters.go).
fn endpoints(world: &World, ns: NsId) -> Option<String> {
    let machine = world.machine(ns);
    let mut pids = machine.tasks().iter().filter(|(_, task)| task.ns == ns).map(|(pid, _)| *pid);
    let dump = pids.find_map(|pid| machine.config_dump(pid))?;
    let config: Config = serde_json::from_str(&dump).ok()?;
    let own = config.clusters.iter().flat_map(|c| c.endpoints.iter().map(|e| (e.address.to_string(), c.name.clone())));
    let mut rows: Vec<(String, String)> = own.collect();
    rows.extend(STATIC.map(|(address, cluster)| (address.to_owned(), cluster.to_owned())));
    rows.sort_by(|a, b| by_address(&a.0).cmp(&by_address(&b.0)).then_with(|| a.1.cmp(&b.1)));
    let width = rows.iter().map(|(address, _)| address.len()).max().unwrap_or(0) + PADDING;
    let mut text = format!("{:width$}STATUS      OUTLIER CHECK     CLUSTER\n", "ENDPOINT");
    for (address, cluster) in rows {
        let _ = writeln!(text, "{address:width$}HEALTHY     OK                {cluster}");
    }
    Some(text)
}

/// Addresses are compared as text, then ports as numbers.
fn by_address(endpoint: &str) -> (&str, u16) {
    let (address, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, ""));
    match port.parse() {
        Ok(port) => (address, port),
        Err(_) => (endpoint, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        for (line, want) in [
            ("kubectl logs web -c istio-init", Ok(("default", "web"))),
            ("kubectl logs -n shop web -c istio-init", Ok(("shop", "web"))),
            ("istioctl proxy-config endpoints web", Ok(("default", "web"))),
            ("istioctl pc ep web.shop", Ok(("shop", "web"))),
            ("istioctl pc endpoint web -n shop", Ok(("shop", "web"))),
            ("kubectl logs web", Err("kubectl logs: name the container")),
            ("kubectl logs web -c", Err("flag needs an argument: -c")),
            ("kubectl logs web -c app", Err("the logs of other containers are not simulated")),
            ("kubectl get pods", Err("kubectl get is not simulated")),
            ("kubectl logs web --follow", Err("kubectl: \"--follow\" is not simulated")),
            ("istioctl proxy-config routes web", Err("istioctl routes is not simulated")),
            ("istioctl", Err("istioctl: only endpoints of a proxy are simulated")),
        ] {
            let parsed = Kube::parse(line).expect("one of the two programs");
            let parsed = parsed.map(|what| match what {
                What::Kube(kube) => (kube.namespace, kube.pod),
                What::Line(line) => panic!("{line:?}"),
            });
            let want = want.map(|(namespace, pod)| (namespace.to_owned(), pod.to_owned()));
            assert_eq!(parsed.map_err(|e| e.message), want.map_err(str::to_owned), "{line}");
        }
        assert!(Kube::parse("ip addr").is_none());
    }

    #[test]
    fn the_order_of_endpoints() {
        let mut all = ["unix://./x", "10.0.0.2:80", "10.0.0.10:8080", "10.0.0.10:443"];
        all.sort_by_key(|endpoint| by_address(endpoint));
        assert_eq!(all, ["10.0.0.10:443", "10.0.0.10:8080", "10.0.0.2:80", "unix://./x"]);
    }
}
