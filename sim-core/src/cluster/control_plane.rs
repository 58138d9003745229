//! A cluster while it runs: somebody changes an object, and one after the other hears of it.
//!
//! ```text
//!   kubectl --> API server --WATCH--> EndpointSlice controller --WATCH--> kube-proxy of each node: Runner, Proxier
//!                    |-------WATCH--> kubelet: SIGTERM, the container ends, CNI DEL
//!                    |-------WATCH--> istiod --debounced--> proxies
//!                    `-------WATCH--> ReplicaSet controller: a new pod --2 WATCH--> kubelet: CNI ADD, it starts, ready
//! ```
//!
//! Nothing happens in here. An [`Event`] comes in with its time, [`Effect`]s go out: commands for a node, programs that
//! start and end, and later events.

mod pods;

use super::bring_up::{Owner, options};
use super::cni::cilium::Balancer;
use super::kube_proxy::{Backend, Proxier, Runner, stale_connections};
use super::kubelet;
use super::object::{EndpointAddress, Pod, Workload, WorkloadKind};
use super::probes::Prober;
use super::store::{self, Cluster, PlacedPod, PodState, Served};
use crate::base::Time;
use crate::base::rng::Prf;
use crate::base::time::MS;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// From a change of an object to whoever watches it: a write to etcd and the watch's event. Plausible, not measured.
pub const WATCH_NS: u64 = 10 * MS;
/// From the kubelet's decision to a signal in the container, by way of the container runtime. Plausible, not measured.
pub const RUNTIME_NS: u64 = 20 * MS;
/// From a pod's network to its first program: the container is made from its image. Plausible, not measured.
pub const CONTAINER_START_NS: u64 = 500 * MS;
/// From the start of a sidecar's container until its proxy begins: pilot-agent has made a key, and istiod a certificate
/// for it. Plausible, not measured.
pub const PROXY_START_NS: u64 = 1000 * MS;

/// A pod by its namespace and name.
pub type PodName = (String, String);

/// Something happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// `kubectl delete pod`
    Delete(PodName),
    /// `kubectl apply`
    Apply(Arc<Applied>),
    /// The controller of the workload with this object number looks whether its pods are there.
    Reconcile(usize),
    /// The EndpointSlice controller looks who serves.
    Slices,
    /// The kube-proxies have heard of Services and endpoints as they were then.
    Told(Arc<Cluster>),
    /// The node's kube-proxy tries again.
    Retry(usize),
    /// The node's kube-proxy has synced.
    Synced(usize),
    /// The kubelet of its node hears of a new pod.
    Bound(PodName),
    /// Its network is there.
    Connected(PodName),
    /// Its containers run.
    Started(PodName),
    /// Its sidecar's proxy begins.
    Proxied(PodName),
    /// The kubelet asks this of its containers whether it is ready.
    Probe(PodName, usize),
    /// What it said.
    Probed(PodName, usize, bool),
    /// The kubelet hears that it is deleted.
    Stop(PodName),
    /// SIGTERM has been sent.
    Terminate(PodName),
    /// Its containers have ended, or their grace period has.
    Ended(PodName),
    /// Nobody needs its network any more.
    Disconnect(PodName),
    /// Its network is gone.
    Gone(PodName),
}

impl Event {
    /// It comes again and again, whatever happens.
    pub fn is_periodic(&self) -> bool {
        matches!(self, Event::Probe(..) | Event::Probed(..))
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Reports say this.
    Say(String),
    /// This happens so many nanoseconds later.
    Later(u64, Event),
    /// Commands are run in a node's namespace, one after the other; then this happens.
    Run(usize, Vec<String>, Option<Event>),
    /// A command is run in a node's namespace to find out whether this container of a pod is ready:
    /// [`Event::Probed`] tells.
    Probe(usize, String, PodName, usize),
    /// A network namespace of a node will be somebody's.
    Label(usize, String, Owner),
    /// A pod's files are there and its programs start.
    Start(PodName, Vec<(String, String)>, Vec<String>),
    /// A pod's files are others now, and the program that runs by this command line hears of it.
    Notify(PodName, Vec<(String, String)>, String),
    /// A pod's programs hear SIGTERM.
    Terminate(PodName),
    /// What is left of them is killed.
    Kill(PodName),
}

/// What `kubectl apply` brings: what its objects came to beside all others.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What reports call it.
    pub text: String,
    /// Services and endpoints as they are now.
    pub cluster: Cluster,
    /// Workloads that are new or changed, each with its object's number.
    pub workloads: Vec<(usize, Workload)>,
    /// Pods that are new or changed, likewise.
    pub pods: Vec<(usize, Pod)>,
}

/// A cluster that changes.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    prf: Prf,
    /// As the API server has it.
    cluster: Cluster,
    /// As the kube-proxies know it, and what is served then.
    told: Arc<Cluster>,
    served: Vec<Served>,
    controllers: Vec<Controller>,
    /// The number of the address that each node's pod gets next, if it is free.
    next_address: Vec<u32>,
    agents: Vec<Agent>,
    /// What the network plugin's agents know of Services, if they see to them.
    balancer: Option<Balancer>,
    /// What istiod's pod has of the API server.
    registry: Vec<(String, String)>,
    /// Of the pods that have probes which are made.
    probers: BTreeMap<PodName, Vec<Prober>>,
}

/// Who sees to it that a workload's pods are there.
#[derive(Clone, Debug)]
struct Controller {
    /// Its pods' [`PlacedPod::object`].
    object: usize,
    workload: Workload,
    /// As many names it has made up.
    made: u64,
}

/// kube-proxy of a node.
#[derive(Clone, Debug)]
struct Agent {
    proxier: Proxier,
    runner: Runner,
    /// What its rules lead to.
    synced: Vec<Backend>,
    /// It is syncing, it has to sync, and when it tries again.
    busy: bool,
    wanted: bool,
    retry: Option<Time>,
}

impl ControlPlane {
    /// Of a cluster that has been up for a while. `workloads` have their objects' numbers.
    pub fn new(cluster: Cluster, workloads: &[(usize, Workload)], prf: Prf) -> ControlPlane {
        let served = cluster.served();
        let agents = (0..cluster.nodes.len()).map(|n| Agent::new(&cluster, n, &served)).collect();
        let next = |n: usize| {
            let own = |p: &&PlacedPod| p.node == n && !p.spec.host_network;
            cluster.pods.iter().rfind(own).map_or(0, |p| number(&cluster, n, p.ip) + 1)
        };
        let next_address = (0..cluster.nodes.len()).map(next).collect();
        let controller = |(object, workload): &(usize, Workload)| Controller {
            object: *object,
            workload: workload.clone(),
            made: cluster.pods.iter().filter(|p| p.object == *object).count() as u64,
        };
        let controllers = workloads.iter().map(controller).collect();
        let probers = cluster.pods.iter().map(|p| (name(p), Prober::of(p, true))).filter(|(_, all)| !all.is_empty());
        let probers = probers.collect();
        let (told, registry) = (Arc::new(cluster.clone()), cluster.registry());
        let mut balancer = cluster.config.cni.balancer();
        if let Some(b) = &mut balancer {
            // The maps are filled when the run begins.
            b.sync(&served);
        }
        ControlPlane { prf, told, served, controllers, next_address, agents, balancer, registry, probers, cluster }
    }

    /// Whether anything happens in the cluster although nobody changes it.
    pub fn probes(cluster: &Cluster) -> bool {
        cluster.pods.iter().any(|p| !Prober::of(p, true).is_empty())
    }

    /// What happens first, by itself: probes, which have gone on for long.
    pub fn begin(&self) -> Vec<(Time, Event)> {
        let pods = self.cluster.pods.iter();
        let of = |p: &PlacedPod| self.probers.get(&name(p)).cloned().unwrap_or_default();
        let first = |p: &PlacedPod, q: &Prober| (Time(q.phase_ns(&self.prf, p)), Event::Probe(name(p), q.container));
        pods.flat_map(|p| of(p).iter().map(|q| first(p, q)).collect::<Vec<_>>()).collect()
    }

    /// The pods that are there and do not end.
    pub fn pods(&self) -> impl Iterator<Item = &PlacedPod> {
        self.cluster.pods.iter().filter(|p| !p.is_terminating())
    }

    /// A node's name.
    pub fn node(&self, n: usize) -> &str {
        self.cluster.nodes.get(n).map_or("", |node| node.config.name.as_str())
    }

    /// Something happens at `now`: what follows from it.
    pub fn handle(&mut self, event: Event, now: Time) -> Vec<Effect> {
        match event {
            Event::Delete(pod) => self.delete(&pod),
            Event::Apply(applied) => self.apply(&applied),
            Event::Reconcile(object) => self.reconcile(object),
            Event::Slices => self.slices(),
            Event::Told(cluster) => self.tell(cluster, now),
            Event::Retry(node) => {
                self.agents[node].retry = None;
                self.sync(node, now)
            }
            Event::Synced(node) => {
                let agent = &mut self.agents[node];
                agent.busy = false;
                agent.runner.ran(now);
                self.sync(node, now)
            }
            Event::Bound(pod) => self.add(&pod),
            Event::Connected(pod) => self.connected(&pod),
            Event::Started(pod) => self.started(&pod),
            Event::Proxied(pod) => self.proxied(pod),
            Event::Probe(pod, container) => self.probe(pod, container),
            Event::Probed(pod, container, success) => self.probed(&pod, container, success),
            Event::Stop(pod) => vec![Effect::Later(RUNTIME_NS, Event::Terminate(pod))],
            Event::Terminate(pod) => self.terminate(pod),
            Event::Ended(pod) => self.ended(pod),
            Event::Disconnect(pod) => self.del(pod),
            Event::Gone(pod) => self.gone(&pod),
        }
    }

    fn find(&self, pod: &PodName) -> Option<usize> {
        self.cluster.pods.iter().position(|p| p.meta.namespace == pod.0 && p.meta.name == pod.1)
    }

    /// The API server notes that a pod is to end (`deletionTimestamp`).
    fn delete(&mut self, pod: &PodName) -> Vec<Effect> {
        let Some(at) = self.find(pod).filter(|at| !self.cluster.pods[*at].is_terminating()) else { return vec![] };
        let p = &mut self.cluster.pods[at];
        p.state = PodState::Terminating { serving: p.state == PodState::Ready };
        let object = p.object;
        vec![
            Effect::Say(format!("{} is deleted", shown(pod))),
            Effect::Later(WATCH_NS, Event::Slices),
            Effect::Later(WATCH_NS, Event::Stop(pod.clone())),
            Effect::Later(WATCH_NS, Event::Reconcile(object)),
        ]
    }

    fn apply(&mut self, applied: &Applied) -> Vec<Effect> {
        let mut effects = vec![Effect::Say(format!("applied: {}", applied.text))];
        self.cluster.adopt(&applied.cluster);
        for (object, pod) in &applied.pods {
            let name = (pod.meta.namespace.clone(), pod.meta.name.clone());
            match self.find(&name) {
                Some(at) => self.cluster.pods[at].meta.labels.clone_from(&pod.meta.labels),
                None => effects.extend(self.create(*object, pod)),
            }
        }
        self.cluster.index_pods();
        for (object, workload) in &applied.workloads {
            match self.controllers.iter_mut().find(|c| c.workload.is_version_of(workload)) {
                Some(controller) => controller.workload = workload.clone(),
                None => self.controllers.push(Controller { object: *object, workload: workload.clone(), made: 0 }),
            }
        }
        let changed = |c: &&Controller| applied.workloads.iter().any(|(_, w)| w.is_version_of(&c.workload));
        let objects = self.controllers.iter().filter(changed).map(|c| c.object);
        effects.extend(objects.map(|object| Effect::Later(WATCH_NS, Event::Reconcile(object))));
        effects.push(Effect::Later(WATCH_NS, Event::Slices));
        effects
    }

    /// syncReplicaSet and syncDaemonSet: pods that are missing are made, pods that are too many deleted, the newest
    /// first. A DaemonSet waits until its old pod has gone from the node.
    fn reconcile(&mut self, object: usize) -> Vec<Effect> {
        let Some(at) = self.controllers.iter().position(|c| c.object == object) else { return vec![] };
        let workload = self.controllers[at].workload.clone();
        let own = |p: &&PlacedPod| p.object == object;
        let (missing, extra): (Vec<Option<usize>>, usize) = match workload.kind {
            WorkloadKind::Deployment { replicas } => {
                let have = self.pods().filter(own).count();
                let want = replicas as usize;
                (vec![None; want.saturating_sub(have)], have.saturating_sub(want))
            }
            WorkloadKind::DaemonSet => {
                let on = |n: &usize| self.cluster.pods.iter().any(|p| p.object == object && p.node == *n);
                ((0..self.cluster.nodes.len()).filter(|n| !on(n)).map(Some).collect(), 0)
            }
        };
        let newest = self.cluster.pods.iter().rev().filter(own).filter(|p| !p.is_terminating());
        let doomed: Vec<PodName> = newest.take(extra).map(name).collect();
        let mut effects: Vec<Effect> = doomed.iter().flat_map(|pod| self.delete(pod)).collect();
        let hash = store::template_hash(self.cluster.pods.iter().filter(own).map(|p| &p.meta)).map(str::to_owned);
        for node in missing {
            let n = self.controllers[at].made;
            self.controllers[at].made += 1;
            let mut pod = workload.replica(&self.prf, hash.as_deref(), n);
            pod.node_name = node.map(|node| self.node(node).to_owned());
            effects.extend(self.create(object, &pod));
        }
        effects
    }

    /// A pod is made, with its sidecar, and the scheduler finds it a node; if there is none, it stays pending for good.
    fn create(&mut self, object: usize, pod: &Pod) -> Vec<Effect> {
        let mut pod = pod.clone();
        // What the injector refuses was said before the run.
        self.cluster.inject(&mut pod);
        let fits = |n: &usize| match &pod.node_name {
            Some(name) => self.node(*n) == name,
            None => self.cluster.nodes[*n].takes(&pod.spec),
        };
        let load = |n: &usize| self.cluster.pods.iter().filter(|p| p.node == *n).count();
        let Some(node) = (0..self.cluster.nodes.len()).filter(fits).min_by_key(load) else { return vec![] };
        self.cluster.pods.push(PlacedPod {
            object,
            meta: pod.meta.clone(),
            spec: pod.spec,
            node,
            ip: pod.pod_ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
            state: PodState::Pending,
        });
        self.cluster.index_pods();
        let name = (pod.meta.namespace.clone(), pod.meta.name.clone());
        let text = format!("{} is made, for {}", shown(&name), self.node(node));
        vec![Effect::Say(text), Effect::Later(2 * WATCH_NS, Event::Bound(name))]
    }

    /// The EndpointSlice controller writes what has changed.
    fn slices(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (name, service) in self.cluster.services.iter().filter(|(_, s)| s.selector.is_some()) {
            let before = self.told.services.get(name).map(|service| self.told.endpoints(service));
            let now = self.cluster.endpoints(service);
            if before.as_ref() != Some(&now) {
                let all = now.iter().flat_map(|s| &s.endpoints);
                let one = |e: &EndpointAddress| match (e.terminating, e.ready) {
                    (true, _) => format!("{} (terminating)", e.ip),
                    (false, true) => e.ip.to_string(),
                    (false, false) => format!("{} (not ready)", e.ip),
                };
                let all: Vec<String> = all.map(one).collect();
                let who = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
                effects
                    .push(Effect::Say(format!("endpoints of {}/{}: {who}", service.meta.namespace, service.meta.name)));
            }
        }
        effects.push(Effect::Later(WATCH_NS, Event::Told(Arc::new(self.cluster.clone()))));
        effects
    }

    /// What the API server has written reaches istiod and the kube-proxies: `OnServiceUpdate`, `OnEndpointSliceUpdate`.
    fn tell(&mut self, cluster: Arc<Cluster>, now: Time) -> Vec<Effect> {
        let served = cluster.served();
        self.told = cluster;
        let mut effects: Vec<Effect> = self.tell_istiod().into_iter().collect();
        if self.served == served {
            return effects;
        }
        self.served = served;
        let there = !self.cluster.config.cni.replaces_kube_proxy();
        self.agents.iter_mut().for_each(|agent| agent.wanted = there);
        let commands = self.balancer.as_mut().map_or_else(Vec::new, |b| b.sync(&self.served));
        let balanced = (0..self.agents.len()).filter(|_| !commands.is_empty());
        effects.extend(balanced.map(|node| Effect::Run(node, commands.clone(), None)));
        effects.extend((0..self.agents.len()).flat_map(|node| self.sync(node, now)));
        effects
    }

    /// istiod hears what has changed for the proxies.
    fn tell_istiod(&mut self) -> Option<Effect> {
        let registry = self.told.registry();
        if registry == self.registry {
            return None;
        }
        self.registry = registry;
        let pod = self.told.istiod()?;
        let program = pod.spec.containers.iter().find_map(kubelet::server)?;
        Some(Effect::Notify(name(pod), kubelet::files(&self.told, pod), program))
    }

    /// A node's kube-proxy syncs if it wants to and may.
    fn sync(&mut self, node: usize, now: Time) -> Vec<Effect> {
        let agent = &mut self.agents[node];
        if !agent.wanted || agent.busy {
            return vec![];
        }
        if let Err(at) = agent.runner.try_run(now) {
            if agent.retry.replace(at) == Some(at) {
                return vec![];
            }
            return vec![Effect::Later(at.0 - now.0, Event::Retry(node))];
        }
        agent.wanted = false;
        let backends = self.told.backends(node, &self.served);
        let stale = stale_connections(&agent.synced, &backends);
        let iptables = self.cluster.config.iptables.program();
        let restore = agent.proxier.sync(&backends).restore_command(iptables);
        let commands: Vec<String> = restore.into_iter().chain(stale).collect();
        agent.synced = backends;
        agent.busy = true;
        let text = format!("kube-proxy of {} syncs", self.node(node));
        vec![Effect::Say(text), Effect::Run(node, commands, Some(Event::Synced(node)))]
    }
}

impl Agent {
    fn new(cluster: &Cluster, node: usize, served: &[Served]) -> Agent {
        let synced = cluster.backends(node, served);
        let mut proxier = Proxier::new(options(&cluster.config, &cluster.nodes[node]));
        proxier.sync(&synced);
        let runner = Runner::new(cluster.config.kube_proxy.min_sync_period_ns);
        Agent { proxier, runner, synced, busy: false, wanted: false, retry: None }
    }
}

/// The number of an address in its node's network.
fn number(cluster: &Cluster, node: usize, ip: Ipv4Addr) -> u32 {
    ip.to_bits().wrapping_sub(cluster.nodes[node].pod_cidr.network().to_bits())
}

fn name(pod: &PlacedPod) -> PodName {
    (pod.meta.namespace.clone(), pod.meta.name.clone())
}

fn shown((namespace, name): &PodName) -> String {
    format!("pod/{namespace}/{name}")
}
