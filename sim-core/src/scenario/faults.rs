//! Faults, looked up: which link is meant, which pod, what objects come to beside all others. What a cluster makes of
//! them is rehearsed, so that everything that will be there has a name before the run.

use super::cluster::manifest;
use super::control::label;
use super::diag::{Diagnostic, nearest, quote};
use super::manifest::{Manifest, Manifests};
use super::plan::{Action, Fault};
use super::raw::{self, Placement, Spanned};
use super::resolve::Resolver;
use super::underlay;
use crate::base::{Prf, Time};
use crate::cluster::control_plane::{Applied, ControlPlane, Effect, Event, PodName};
use crate::cluster::object::{ClusterIp, Object, Service, Workload};
use crate::cluster::store::Cluster;
use crate::engine::LinkChange;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The faults of a scenario.
#[derive(Default)]
pub(super) struct Faults {
    /// By time.
    pub faults: Vec<Fault>,
    /// Who sees to the cluster, if it changes.
    pub control_plane: Option<ControlPlane>,
    /// The namespaces of pods that will be made.
    pub later: Vec<String>,
}

/// A cluster's run without its machines: every command ends at once.
struct Rehearsal {
    plane: ControlPlane,
    queue: BTreeMap<(Time, usize), Event>,
    planned: usize,
    /// The pods that were made.
    made: Vec<String>,
    prf: Prf,
    /// The objects that are there, and what they come to.
    objects: Vec<Manifest>,
    cluster: Cluster,
}

impl Rehearsal {
    fn new(cluster: Cluster, objects: Vec<Manifest>, prf: Prf) -> Self {
        let workload = |(n, m): (usize, &Manifest)| match &m.object {
            Object::Workload(w) => Some((n, w.clone())),
            _ => None,
        };
        let workloads: Vec<(usize, Workload)> = objects.iter().enumerate().filter_map(workload).collect();
        let plane = ControlPlane::new(cluster.clone(), &workloads, prf);
        Rehearsal { plane, queue: BTreeMap::new(), planned: 0, made: vec![], prf, objects, cluster }
    }

    /// Until nothing is left to do up to and including this time.
    fn run(&mut self, until: Time) {
        while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= until) {
            let ((at, _), event) = entry.remove_entry();
            self.happens(event, at);
        }
    }

    fn happens(&mut self, event: Event, at: Time) {
        for effect in self.plane.handle(event, at) {
            let (at, event) = match effect {
                Effect::Later(delay, event) if !event.is_periodic() => (at + delay, event),
                Effect::Run(_, _, Some(event)) => (at, event),
                Effect::Label(_, _, owner) => {
                    self.made.push(label(&owner).name);
                    continue;
                }
                _ => continue,
            };
            self.planned += 1;
            self.queue.insert((at, self.planned), event);
        }
    }
}

impl Resolver<'_> {
    /// What the entries of `faults:` do.
    pub(super) fn faults(&mut self, spec: &raw::Spec) -> Faults {
        let mut order: Vec<&raw::Fault> = spec.faults.iter().collect();
        order.sort_by_key(|fault| fault.at());
        let of_cluster = order.iter().any(|fault| !matches!(fault, raw::Fault::Link(_)));
        let prf = Prf::new(spec.seed);
        let lives = |cluster: &Cluster| of_cluster || ControlPlane::probes(cluster);
        let cluster = self.expanded.cluster.take().filter(|(cluster, _)| lives(cluster));
        let mut rehearsal = cluster.map(|(cluster, objects)| Rehearsal::new(cluster, objects, prf));
        let control_plane = rehearsal.as_ref().map(|r| r.plane.clone());
        let mut faults = Vec::new();
        for fault in order {
            let action = match (fault, &mut rehearsal) {
                (raw::Fault::Link(fault), _) => self.link_fault(fault, spec),
                (raw::Fault::Delete(fault), Some(r)) => self.delete(fault, r),
                (raw::Fault::Apply(fault), Some(r)) => self.apply(fault, r),
                (
                    raw::Fault::Delete(raw::DeleteFault { at, .. }) | raw::Fault::Apply(raw::ApplyFault { at, .. }),
                    None,
                ) => {
                    let hint = "`spec.cluster` makes one".to_owned();
                    self.error(at.span.clone(), "there is no cluster".to_owned(), Some(hint));
                    None
                }
            };
            let at = Time(fault.at().0);
            if let (Some(Action::Cluster(event)), Some(r)) = (&action, &mut rehearsal) {
                r.happens(event.clone(), at);
            }
            faults.extend(action.map(|action| Fault { at, action }));
        }
        let later = rehearsal.map_or(vec![], |mut r| {
            r.run(Time(u64::MAX - 1));
            r.made
        });
        Faults { faults, control_plane, later }
    }

    fn delete(&mut self, fault: &raw::DeleteFault, rehearsal: &mut Rehearsal) -> Option<Action> {
        rehearsal.run(Time(fault.at.value.0));
        let name = &fault.delete;
        let pods = || rehearsal.plane.pods().map(|p| format!("pod/{}/{}", p.meta.namespace, p.meta.name));
        let Some(pod) = rehearsal.plane.pods().zip(pods()).find(|(_, n)| *n == name.value).map(|(p, _)| p) else {
            let there: Vec<String> = pods().collect();
            let hint = match nearest(&name.value, there.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if there.is_empty() => "there are no pods then".to_owned(),
                None => format!("the pods are then: {}", there.join(", ")),
            };
            let message = format!("there is no pod {} then", quote(&name.value));
            self.error(name.span.clone(), message, Some(hint));
            return None;
        };
        if pod.spec.host_network {
            let message = "the end of a pod in its node's network is not simulated".to_owned();
            self.error(name.span.clone(), message, None);
            return None;
        }
        let pod: PodName = (pod.meta.namespace.clone(), pod.meta.name.clone());
        Some(Action::Cluster(Event::Delete(pod)))
    }

    fn apply(&mut self, fault: &raw::ApplyFault, rehearsal: &mut Rehearsal) -> Option<Action> {
        rehearsal.run(Time(fault.at.value.0));
        let (mut new, before) = (Manifests::default(), self.errors.iter().len());
        manifest(self.sources, self.source, &fault.apply, &mut new, &mut self.errors);
        let (mut workloads, mut pods, mut said) = (vec![], vec![], vec![]);
        for service in rehearsal.objects.iter_mut().filter_map(|m| service_of(&mut m.object)) {
            let key = (service.meta.namespace.clone(), service.meta.name.clone());
            if let Some(stored) = rehearsal.cluster.services.get(&key) {
                service.clone_from(stored);
            }
        }
        for mut manifest in new.objects {
            self.check_applied(&manifest, rehearsal);
            let meta = manifest.object.meta().clone();
            let same = |m: &Manifest| {
                let other = m.object.meta();
                m.object.kind() == manifest.object.kind()
                    && other.namespace == meta.namespace
                    && other.name == meta.name
            };
            let place = rehearsal.objects.iter().position(same);
            if let (Some(service), Some(place)) = (service_of(&mut manifest.object), place)
                && let Object::Service(old) = &rehearsal.objects[place].object
            {
                keep_allocated(service, old);
            }
            let object = place.unwrap_or(rehearsal.objects.len());
            match &manifest.object {
                Object::Workload(w) => workloads.push((object, w.clone())),
                Object::Pod(pod) => pods.push((object, pod.clone())),
                _ => {}
            }
            said.push(format!("{} {}/{}", manifest.object.kind(), meta.namespace, meta.name));
            match place {
                Some(place) => rehearsal.objects[place] = manifest,
                None => rehearsal.objects.push(manifest),
            }
        }
        let all: Vec<Object> = rehearsal.objects.iter().map(|m| m.object.clone()).collect();
        let (cluster, problems) = Cluster::new(rehearsal.cluster.config.clone(), &all, rehearsal.prf);
        for problem in problems.iter().filter(|p| !p.warning) {
            let Some(manifest) = problem.object.and_then(|n| rehearsal.objects.get(n)) else { continue };
            let mut d = Diagnostic::new(manifest.source(), manifest.span(&problem.field), problem.message.clone());
            d.hint.clone_from(&problem.hint);
            self.errors.push(d);
        }
        if self.errors.iter().len() > before {
            return None;
        }
        rehearsal.cluster = cluster.clone();
        let applied = Applied { text: said.join(", "), cluster, workloads, pods };
        Some(Action::Cluster(Event::Apply(Arc::new(applied))))
    }

    /// What can be applied while a cluster runs.
    fn check_applied(&mut self, manifest: &Manifest, rehearsal: &Rehearsal) {
        let refused = match &manifest.object {
            Object::Service(_) | Object::Endpoints(_) | Object::EndpointSlice(_) => None,
            Object::Pod(pod) if pod.spec.host_network => Some(("spec.hostNetwork", "a pod in its node's network")),
            Object::Workload(w) if w.template.host_network => {
                Some(("spec.template.spec.hostNetwork", "a pod in its node's network"))
            }
            Object::Workload(w) => {
                let old = |m: &Manifest| match &m.object {
                    Object::Workload(old) => {
                        old.is_version_of(w) && (&old.template, &old.template_meta) != (&w.template, &w.template_meta)
                    }
                    _ => false,
                };
                rehearsal.objects.iter().any(old).then_some(("spec.template", "a template that changes, a rollout,"))
            }
            Object::Pod(_) => None,
            Object::Namespace(_)
            | Object::Node(_)
            | Object::ConfigMap(_)
            | Object::IpAddress(_)
            | Object::PeerAuthentication(_)
            | Object::DestinationRule(_) => Some(("kind", "an object of this kind")),
        };
        if let Some((field, what)) = refused {
            let message = format!("{what} is not simulated while the cluster runs");
            self.errors.push(Diagnostic::new(manifest.source(), manifest.span(field), message));
        }
    }

    fn link_fault(&mut self, fault: &raw::LinkFault, spec: &raw::Spec) -> Option<Action> {
        let raw::LinkFault { at, link: end, latency, rate, loss, down, lasts } = fault;
        let link = self.link_of(end, spec)?;
        if let Some(l) = latency {
            self.check_latency(l);
        }
        let change = LinkChange {
            latency_ns: latency.as_ref().map(|l| l.value.0),
            rate_bps: rate.as_ref().map(|r| r.value.0),
            loss_ppm: loss.as_ref().map(|l| l.value.0),
            up: down.map(|down| !down),
        };
        let written = |name: &str, span: &Range<usize>| {
            format!("{name} {}", self.source.text().get(span.clone()).unwrap_or_default())
        };
        let said = [
            down.map(|down| if down { "down" } else { "up" }.to_owned()),
            latency.as_ref().map(|l| written("latency", &l.span)),
            rate.as_ref().map(|r| written("rate", &r.span)),
            loss.as_ref().map(|l| written("loss", &l.span)),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        let name = format!("link {}", end.value);
        let begin = Time(at.value.0);
        let after = lasts
            .as_ref()
            .map(|lasts| (begin + lasts.value.0, back(&change, &spec.links[link]), format!("{name}: as before")));
        let text = format!("{name}: {}", said.join(", "));
        Some(Action::Link { link, change, text, after })
    }

    /// The link that has this end, by its place in the file.
    fn link_of(&mut self, end: &Spanned<raw::Interface>, spec: &raw::Spec) -> Option<usize> {
        if spec.placement == Placement::OneKernel {
            let hint = "a link on one kernel is a veth pair: `ip link set` in `traffic` takes one of its ends down";
            let message = "links on one kernel do not break".to_owned();
            self.error(end.span.clone(), message, Some(hint.to_owned()));
            return None;
        }
        let found = spec.links.iter().position(|l| l.between.iter().any(|e| e.value == end.value));
        if found.is_none() {
            let ends: Vec<String> = spec.links.iter().flat_map(|l| &l.between).map(|e| e.value.to_string()).collect();
            let written = end.value.to_string();
            let hint = match nearest(&written, ends.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if ends.is_empty() => "there are no links: `links` makes them, or a cluster".to_owned(),
                None => format!("the ends of links are: {}", ends.join(", ")),
            };
            self.error(end.span.clone(), format!("{} is the end of no link", quote(&written)), Some(hint));
        }
        found
    }
}

fn service_of(object: &mut Object) -> Option<&mut Service> {
    if let Object::Service(service) = object { Some(service) } else { None }
}

/// What the control plane chose for a Service stays where its new version leaves it open.
fn keep_allocated(new: &mut Service, old: &Service) {
    if new.cluster_ip == ClusterIp::Any {
        new.cluster_ip = old.cluster_ip;
    }
    for port in &mut new.ports {
        let same = old.ports.iter().find(|p| p.port == port.port && p.protocol == port.protocol);
        port.node_port = port.node_port.or(same.filter(|_| new.kind == old.kind).and_then(|p| p.node_port));
    }
}

/// What undoes a change: the link is as the scenario has it.
fn back(change: &LinkChange, link: &raw::Link) -> LinkChange {
    let spec = underlay::spec_of(link);
    LinkChange {
        latency_ns: change.latency_ns.map(|_| spec.latency_ns),
        rate_bps: change.rate_bps.map(|_| spec.rate_bps),
        loss_ppm: change.loss_ppm.map(|_| spec.loss_ppm),
        up: change.up.map(|_| true),
    }
}
