//! What the kubelet of a node does about its pods, by itself and by the container runtime and its network plugin.

use super::{CONTAINER_START_NS, ControlPlane, Effect, Event, PROXY_START_NS, PodName, RUNTIME_NS, WATCH_NS, shown};
use crate::cluster::bring_up::Owner;
use crate::cluster::probes::Prober;
use crate::cluster::store::{PodState, offset};
use crate::cluster::{cni, kubelet};
use std::net::Ipv4Addr;

impl ControlPlane {
    /// The kubelet's new pod gets its address and its network.
    pub(super) fn add(&mut self, pod: &PodName) -> Vec<Effect> {
        let Some(at) = self.find(pod).filter(|at| !self.cluster.pods[*at].is_terminating()) else { return vec![] };
        let node = self.cluster.pods[at].node;
        if self.cluster.pods[at].ip.is_unspecified() {
            let Some(ip) = self.next_address(node) else {
                return vec![Effect::Say(format!("{} gets no address: there is none left", shown(pod)))];
            };
            self.cluster.pods[at].ip = ip;
        }
        let p = &self.cluster.pods[at];
        let netns = p.netns(&self.prf);
        let mut commands = vec![format!("ip netns add {netns}")];
        if p.spec.containers.iter().any(|c| kubelet::run_as(c).0 != 0) {
            // containerd 2 does so for every pod (enable_unprivileged_ports).
            commands.push(format!("ip netns exec {netns} sysctl -qw net.ipv4.ip_unprivileged_port_start=0"));
        }
        commands.extend(self.cluster.config.cni.add(self.cluster.site(&self.prf, node), p));
        commands.extend(self.cluster.init_commands(&self.prf, p));
        vec![
            Effect::Label(node, netns, Owner::Pod(pod.0.clone(), pod.1.clone())),
            Effect::Run(node, commands, Some(Event::Connected(pod.clone()))),
        ]
    }

    /// The address after the last one that it gave, round and round, but for those in use.
    fn next_address(&mut self, node: usize) -> Option<Ipv4Addr> {
        let net = self.cluster.nodes[node].pod_cidr;
        let numbers = self.cluster.config.cni.ipam().numbers(net);
        let usable = numbers.end - numbers.start;
        let first = self.next_address[node].saturating_sub(numbers.start);
        let own = self.cluster.config.cni.node_addresses(&self.cluster.nodes[node]);
        let used = |ip: &Ipv4Addr| own.contains(ip) || self.cluster.pods.iter().any(|p| p.ip == *ip);
        let free = (0..usable).map(|n| numbers.start + (first + n) % usable).find(|n| !used(&offset(net, *n)))?;
        self.next_address[node] = free + 1;
        Some(offset(net, free))
    }

    pub(super) fn connected(&mut self, pod: &PodName) -> Vec<Effect> {
        let Some(at) = self.find(pod) else { return vec![] };
        let p = &self.cluster.pods[at];
        let announce = self.cluster.config.cni.announce(self.cluster.site(&self.prf, p.node), p);
        vec![Effect::Run(p.node, announce, None), Effect::Later(CONTAINER_START_NS, Event::Started(pod.clone()))]
    }

    /// A pod whose containers run is ready, unless a probe has to say so, which the kubelet tells the API server.
    pub(super) fn started(&mut self, pod: &PodName) -> Vec<Effect> {
        let Some(at) = self.find(pod).filter(|at| self.cluster.pods[*at].state == PodState::Pending) else {
            return vec![];
        };
        let probers = Prober::of(&self.cluster.pods[at], false);
        self.cluster.pods[at].state = if probers.is_empty() { PodState::Ready } else { PodState::Running };
        let p = &self.cluster.pods[at];
        let (proxies, servers): (Vec<String>, Vec<String>) =
            p.servers().into_iter().partition(|s| kubelet::is_proxy(s));
        let mut effects = vec![
            Effect::Say(format!("{} runs, as {}", shown(pod), p.ip)),
            Effect::Start(pod.clone(), kubelet::files(&self.cluster, p), servers),
            Effect::Later(2 * WATCH_NS, Event::Slices),
        ];
        effects.extend((!proxies.is_empty()).then(|| Effect::Later(PROXY_START_NS, Event::Proxied(pod.clone()))));
        effects.extend(probers.iter().map(|q| Effect::Later(q.first_ns(), Event::Probe(pod.clone(), q.container))));
        self.probers.insert(pod.clone(), probers);
        effects
    }

    /// The proxy of a pod's sidecar begins, unless the pod has ended.
    pub(super) fn proxied(&mut self, pod: PodName) -> Vec<Effect> {
        let Some(p) = self.find(&pod).map(|at| &self.cluster.pods[at]).filter(|p| !p.is_terminating()) else {
            return vec![];
        };
        let proxy = p.servers().into_iter().filter(|line| kubelet::is_proxy(line)).collect();
        vec![Effect::Start(pod, kubelet::files(&self.cluster, p), proxy)]
    }

    /// The kubelet asks, and will ask again. A pod that ends is asked no more.
    pub(super) fn probe(&mut self, pod: PodName, container: usize) -> Vec<Effect> {
        let Some(p) = self.find(&pod).map(|at| &self.cluster.pods[at]).filter(|p| !p.is_terminating()) else {
            return vec![];
        };
        let Some(prober) = self.prober(&pod, container) else { return vec![] };
        let Some(command) = prober.command(p, self.cluster.config.kube_proxy.version) else { return vec![] };
        let again = Effect::Later(prober.period_ns(), Event::Probe(pod.clone(), container));
        vec![Effect::Probe(p.node, command, pod, container), again]
    }

    fn prober(&self, pod: &PodName, container: usize) -> Option<&Prober> {
        self.probers.get(pod)?.iter().find(|q| q.container == container)
    }

    /// The kubelet notes a result; if the pod's readiness changes by it, the API server hears of it.
    pub(super) fn probed(&mut self, pod: &PodName, container: usize, success: bool) -> Vec<Effect> {
        let Some(at) = self.find(pod) else { return vec![] };
        let Some(all) = self.probers.get_mut(pod) else { return vec![] };
        let Some(prober) = all.iter_mut().find(|q| q.container == container) else { return vec![] };
        if !prober.result(success) {
            return vec![];
        }
        let ready = all.iter().all(|q| q.ready);
        let state = &mut self.cluster.pods[at].state;
        let text = match (*state, ready) {
            (PodState::Ready, false) => "is not ready any more",
            (PodState::Running, true) => "is ready",
            _ => return vec![],
        };
        *state = if ready { PodState::Ready } else { PodState::Running };
        vec![Effect::Say(format!("{} {text}", shown(pod))), Effect::Later(2 * WATCH_NS, Event::Slices)]
    }

    /// killContainer: SIGTERM to the first process of each container, SIGKILL when the grace period is over.
    pub(super) fn terminate(&mut self, pod: PodName) -> Vec<Effect> {
        let Some(at) = self.find(&pod) else { return vec![] };
        let p = &self.cluster.pods[at];
        let linger = |c| kubelet::linger_ns(c, p.spec.termination_grace_s);
        let grace_ns = p.spec.containers.iter().map(linger).max().unwrap_or(0);
        vec![
            Effect::Say(format!("{} is sent SIGTERM", shown(&pod))),
            Effect::Terminate(pod.clone()),
            Effect::Later(grace_ns, Event::Ended(pod)),
        ]
    }

    /// All containers have ended, and with them whatever else ran in them: the sandbox is next (killPodWithSyncResult).
    pub(super) fn ended(&mut self, pod: PodName) -> Vec<Effect> {
        let Some(at) = self.find(&pod) else { return vec![] };
        self.cluster.pods[at].state = PodState::Terminating { serving: false };
        vec![
            Effect::Say(format!("{} has ended", shown(&pod))),
            Effect::Kill(pod.clone()),
            Effect::Later(RUNTIME_NS, Event::Disconnect(pod)),
        ]
    }

    /// StopPodSandbox: the pod's network is taken apart.
    pub(super) fn del(&mut self, pod: PodName) -> Vec<Effect> {
        let Some(at) = self.find(&pod) else { return vec![] };
        let p = &self.cluster.pods[at];
        if p.ip.is_unspecified() {
            // It never had one.
            return vec![Effect::Later(0, Event::Gone(pod))];
        }
        let mut commands = cni::del(&self.prf, p);
        commands.extend(self.cluster.config.cni.forget(p));
        vec![
            Effect::Say(format!("the network of {} is taken apart", shown(&pod))),
            Effect::Run(p.node, commands, Some(Event::Gone(pod))),
        ]
    }

    /// The kubelet tells the API server, which forgets the pod.
    pub(super) fn gone(&mut self, pod: &PodName) -> Vec<Effect> {
        let Some(at) = self.find(pod) else { return vec![] };
        let object = self.cluster.pods.remove(at).object;
        self.cluster.index_pods();
        self.probers.remove(pod);
        vec![Effect::Later(WATCH_NS, Event::Slices), Effect::Later(WATCH_NS, Event::Reconcile(object))]
    }
}
