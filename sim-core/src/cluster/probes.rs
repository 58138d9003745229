//! Readiness probes (pkg/kubelet/prober of Kubernetes 1.30): from time to time the kubelet of its node asks a container
//! whether it is ready. It asks by commands that put the same bytes on the wire as its own client.

use super::kube_proxy::Version;
use super::kubelet;
use super::object::{Container, PortRef, Probe, ProbeKind};
use super::store::PlacedPod;
use crate::base::rng::{Prf, Purpose, words};
use crate::base::time::SEC;
use crate::lab::lex;

/// What a container's probe has come to.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    /// Which of its pod's containers.
    pub container: usize,
    pub probe: Probe,
    /// What its pod is told.
    pub ready: bool,
    /// The last result, and how often it came in a row.
    last: bool,
    row: u32,
}

impl Prober {
    /// Those of a pod that are made; `ready` is what they are before the first result.
    // Differs: exec, grpc and HTTPS succeed, and so does HTTP where the container's program here does not speak it.
    pub fn of(pod: &PlacedPod, ready: bool) -> Vec<Prober> {
        let one = |(n, c): (usize, &Container)| {
            let probe = c.readiness.clone()?;
            asks(pod, c, &probe, Version::default())?;
            Some(Prober { container: n, probe, ready, last: ready, row: 0 })
        };
        pod.spec.containers.iter().enumerate().filter_map(one).collect()
    }

    /// The command that asks.
    pub fn command(&self, pod: &PlacedPod, version: Version) -> Option<String> {
        asks(pod, pod.spec.containers.get(self.container)?, &self.probe, version)
    }

    /// doProbe: a result. So many of a kind in a row change what the pod is told: whether they did.
    pub fn result(&mut self, success: bool) -> bool {
        self.row = if self.last == success { self.row.saturating_add(1) } else { 1 };
        self.last = success;
        let threshold = if success { self.probe.success_threshold } else { self.probe.failure_threshold };
        self.row >= threshold && std::mem::replace(&mut self.ready, success) != success
    }

    pub fn period_ns(&self) -> u64 {
        u64::from(self.probe.period_s.max(1)) * SEC
    }

    /// From the start of its container to its first probe: the first tick that is not too early.
    pub fn first_ns(&self) -> u64 {
        (u64::from(self.probe.initial_delay_s) * SEC).div_ceil(self.period_ns()) * self.period_ns()
    }

    /// When a probe that has gone on for long is made first in a run.
    pub fn phase_ns(&self, prf: &Prf, pod: &PlacedPod) -> u64 {
        let mut input = words(&[&pod.meta.namespace, &pod.meta.name]);
        input.push(self.container as u64);
        prf.below(Purpose::ProbePhase, &input, self.period_ns())
    }
}

fn asks(pod: &PlacedPod, container: &Container, probe: &Probe, version: Version) -> Option<String> {
    let server = kubelet::server(container)?;
    let timeout = probe.timeout_s;
    match &probe.how {
        ProbeKind::HttpGet { path, port, host } => {
            let speaks = ["nginx", "pilot-agent", "python3"].contains(&server.split(' ').next()?);
            let (port, own) = (number(container, port).filter(|_| speaks)?, pod.ip.to_string());
            let host = host.as_ref().unwrap_or(&own);
            let slash = if path.starts_with('/') { "" } else { "/" };
            let url = lex::quote(&format!("http://{host}:{port}{slash}{path}"));
            let agent = match version {
                Version::V1_21 => "kube-probe/1.21",
                Version::V1_30 => "kube-probe/1.30",
            };
            // Go names the port also where it is HTTP's own.
            let headers = format!("-A {agent} -H \"Host: {host}:{port}\" -H \"Connection: close\"");
            Some(format!("curl -s -f -o /dev/null -m {timeout} {headers} {url}"))
        }
        ProbeKind::TcpSocket { port } => Some(format!("nc -z -w {timeout} {} {}", pod.ip, number(container, port)?)),
        ProbeKind::Other => None,
    }
}

/// resolveContainerPort
fn number(container: &Container, port: &PortRef) -> Option<u16> {
    match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => container.ports.iter().find(|p| p.name == *name).map(|p| p.container_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::object::{ContainerPort, Meta, PodSpec};
    use crate::cluster::store::PodState;

    fn probe(how: ProbeKind) -> Probe {
        Probe { how, initial_delay_s: 3, period_s: 2, timeout_s: 1, success_threshold: 1, failure_threshold: 3 }
    }

    fn pod(command: &str, how: ProbeKind) -> PlacedPod {
        let port = ContainerPort { name: "web".to_owned(), container_port: 8080, ..ContainerPort::default() };
        let command = command.split(' ').map(str::to_owned).collect();
        let container = Container { command, ports: vec![port], readiness: Some(probe(how)), ..Container::default() };
        let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
        let (meta, ip) = (Meta::default(), [10, 244, 0, 2].into());
        PlacedPod { object: 0, meta, spec, node: 0, ip, state: PodState::Ready }
    }

    #[test]
    fn how_it_asks() {
        let get = |path: &str, host: Option<&str>| ProbeKind::HttpGet {
            path: path.to_owned(),
            port: PortRef::Name("web".to_owned()),
            host: host.map(str::to_owned),
        };
        let connect = ProbeKind::TcpSocket { port: PortRef::Number(7) };
        let curl = "curl -s -f -o /dev/null -m 1 -A kube-probe/1.30 -H \"Host: 10.244.0.2:8080\" \
                    -H \"Connection: close\" http://10.244.0.2:8080";
        for (command, how, want) in [
            ("nginx 8080", get("/healthz", None), Some(format!("{curl}/healthz"))),
            ("nginx 8080", get("ready?now", None), Some(curl.replace(" http", " 'http") + "/ready?now'")),
            (
                "python3 -m http.server 8080",
                get("/", Some("10.0.0.9")),
                Some(curl.replace("10.244.0.2", "10.0.0.9") + "/"),
            ),
            ("udpecho 7", get("/", None), None),
            ("tcpecho 7", connect.clone(), Some("nc -z -w 1 10.244.0.2 7".to_owned())),
            ("sleep 1d", connect, None),
            ("nginx 8080", ProbeKind::Other, None),
        ] {
            let pod = pod(command, how);
            let made = Prober::of(&pod, true).first().and_then(|q| q.command(&pod, Version::V1_30));
            assert_eq!(made, want, "{command}");
        }
    }

    #[test]
    fn so_many_in_a_row() {
        let pod = pod("nginx 8080", ProbeKind::TcpSocket { port: PortRef::Number(8080) });
        let mut prober = Prober::of(&pod, false).remove(0);
        assert_eq!(prober.first_ns(), 4 * SEC, "the first tick after the delay");
        let results = [false, true, false, false, true, false, false, false, false, true];
        let told: Vec<(bool, bool)> = results.map(|success| (prober.result(success), prober.ready)).into();
        let ready = [false, true, true, true, true, true, true, false, false, true];
        assert_eq!(told.iter().map(|(_, ready)| *ready).collect::<Vec<_>>(), ready);
        assert_eq!(told.iter().filter(|(changed, _)| *changed).count(), 3);
    }
}
