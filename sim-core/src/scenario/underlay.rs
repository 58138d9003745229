//! What lies between machines, looked up: which namespace belongs to which machine, how routers and switches are set
//! up, which interfaces the links make.

use super::diag::quote;
use super::plan::{Line, Link, Machine, Namespace};
use super::raw::{self, Placement, Spanned};
use super::resolve::{Resolver, sentence};
use crate::base::MachineId;
use crate::base::time::US;
use crate::engine::{LinkSpec, MAX_MACHINES};
use crate::kernel::profile::Profile;
use crate::lab;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A link takes at least this long, so that machines can go on by themselves for a while. Nanoseconds.
pub const MIN_LATENCY_NS: u64 = US;

/// All namespaces by name: those of switches, those of routers, all others.
pub(super) fn names(spec: &raw::Spec) -> Vec<String> {
    machines_of_their_own(spec)
        .map(|n| &n.value)
        .chain(spec.namespaces.0.iter().map(|n| &n.name.value))
        .cloned()
        .collect()
}

fn machines_of_their_own(spec: &raw::Spec) -> impl Iterator<Item = &Spanned<String>> {
    spec.switches.0.iter().map(|(name, _)| name).chain(spec.routers.0.iter().map(|(name, _)| name))
}

/// The machines of a scenario: a shared one, then the others by name.
pub(super) struct Machines {
    names: Vec<String>,
    /// By name; the shared one is number 0.
    numbers: BTreeMap<String, u16>,
    one_kernel: bool,
}

impl Machines {
    pub fn new(spec: &raw::Spec) -> Self {
        let mut machines =
            Machines { names: vec![], numbers: BTreeMap::new(), one_kernel: spec.placement == Placement::OneKernel };
        machines_of_their_own(spec).for_each(|n| machines.add(&n.value));
        let named = spec.namespaces.0.iter().filter_map(|n| n.body.machine.as_ref());
        named.for_each(|machine| machines.add(&machine.value.0));
        machines
    }

    fn add(&mut self, name: &str) {
        // Which are too many is said elsewhere.
        let number = if self.one_kernel { 0 } else { u16::try_from(self.names.len() + 1).unwrap_or(0) };
        if !self.numbers.contains_key(name) {
            self.numbers.insert(name.to_owned(), number);
            self.names.push(name.to_owned());
        }
    }

    /// The machine of a namespace.
    pub fn of(&self, n: &raw::Namespace) -> MachineId {
        n.body.machine.as_ref().map_or(MachineId(0), |m| self.called(&m.value.0))
    }

    /// All but the first, with the Linux that each runs.
    pub fn others(&self, profiles: &[Profile]) -> Vec<Machine> {
        let named = |(name, profile): (&String, &Profile)| Machine { name: name.clone(), profile: *profile };
        self.names.iter().zip(profiles.iter().skip(1)).map(named).collect()
    }

    /// Whether a namespace of this name is the machine's own, and not one of those that ip-netns(8) has made there.
    pub fn is_own(&self, machine: &str, name: &str) -> bool {
        !self.one_kernel && machine == name
    }

    pub fn count(&self) -> u16 {
        if self.one_kernel { 1 } else { u16::try_from(self.names.len() + 1).unwrap_or(u16::MAX) }
    }

    fn called(&self, name: &str) -> MachineId {
        MachineId(self.numbers.get(name).copied().unwrap_or(0))
    }
}

impl Resolver<'_> {
    /// The namespaces of switches and routers, with the commands that make them what they are.
    pub(super) fn underlay(&mut self, spec: &raw::Spec, machines: &Machines) -> Vec<Namespace> {
        self.check_machines(spec, machines);
        let mut namespaces = vec![];
        for (name, switch) in &spec.switches.0 {
            let bridge = ["ip link add br0 type bridge", "ip link set br0 up"].map(str::to_owned);
            let ports = ends(spec, &name.value).map(|port| format!("ip link set {port} master br0 up"));
            let mut setup = self.lines(bridge.into_iter().chain(ports), name);
            setup.extend(switch.setup.iter().filter_map(|c| self.line(c)));
            namespaces.push(namespace(name, machines, setup));
        }
        for (name, router) in &spec.routers.0 {
            let forward = ["sysctl -w net.ipv4.ip_forward=1", "ip link set lo up"].map(str::to_owned);
            let ports = ends(spec, &name.value).map(|port| format!("ip link set {port} up"));
            let mut setup = self.lines(forward.into_iter().chain(ports), name);
            setup.extend(router.addresses.iter().filter_map(|a| self.words("ip addr add ", a)));
            setup.extend(router.routes.iter().filter_map(|r| self.words("ip route add ", r)));
            setup.extend(router.setup.iter().filter_map(|c| self.line(c)));
            namespaces.push(namespace(name, machines, setup));
        }
        namespaces
    }

    /// The links, each between two interfaces that no other link makes.
    pub(super) fn links(&mut self, spec: &raw::Spec) -> Vec<Link> {
        let mut made: BTreeSet<&raw::Interface> = BTreeSet::new();
        let mut links = vec![];
        for link in &spec.links {
            for end in &link.between {
                if !made.insert(&end.value) {
                    let message = format!("{} is the end of another link already", quote(&end.value.to_string()));
                    self.error(end.span.clone(), message, Some("each link makes its own two nics".to_owned()));
                }
            }
            let [a, b] = link.between.as_slice() else { continue };
            let span = a.span.start..b.span.end;
            let ends = [self.interface(a), self.interface(b)];
            let vfs = [vf(spec, &a.value), vf(spec, &b.value)];
            let spec = self.link_spec(link, spec.placement);
            links.push(Link { ends, vfs, spec, source: self.source.clone(), span });
        }
        links
    }

    /// What a link is like; on one kernel, a veth pair, which has none of it.
    fn link_spec(&mut self, link: &raw::Link, placement: Placement) -> Option<LinkSpec> {
        let raw::Link { between: _, latency, rate, queue, loss } = link;
        if placement == Placement::OneKernel {
            let given = [
                ("latency", latency.as_ref().map(|l| &l.span)),
                ("rate", rate.as_ref().map(|r| &r.span)),
                ("queue", queue.as_ref().map(|q| &q.span)),
                ("loss", loss.as_ref().map(|l| &l.span)),
            ];
            for (field, span) in given {
                let Some(span) = span else { continue };
                let message = format!("a link on one kernel has no `{field}`: it is a veth pair");
                self.error(span.clone(), message, Some("leave `placement: one-kernel` out".to_owned()));
            }
            return None;
        }
        if let Some(l) = latency {
            self.check_latency(l);
        }
        Some(spec_of(link))
    }

    /// A link takes some time.
    pub(super) fn check_latency(&mut self, latency: &Spanned<raw::Duration>) {
        if latency.value.0 < MIN_LATENCY_NS {
            let hint = "light takes 1us for 200 m of cable".to_owned();
            self.error(latency.span.clone(), "the shortest latency of a link is 1us".to_owned(), Some(hint));
        }
    }

    /// Which Linux each machine runs.
    pub(super) fn profiles(&mut self, spec: &raw::Spec, machines: &Machines) -> Vec<Profile> {
        let mut said: Vec<Option<(Profile, &str)>> = vec![None; usize::from(machines.count())];
        for n in &spec.namespaces.0 {
            let Some(profile) = &n.body.profile else { continue };
            let Some(place) = said.get_mut(usize::from(machines.of(n).0)) else { continue };
            if let Some((other, who)) = place.filter(|(other, _)| *other != profile.value) {
                let message = format!("{} says that this machine runs {}", quote(who), other.name());
                let hint = "a machine has one kernel; `machine: NAME` makes another".to_owned();
                self.error(profile.span.clone(), message, Some(hint));
            }
            *place = Some((profile.value, &n.name.value));
        }
        said.into_iter().map(|p| p.map_or(Profile::default(), |(profile, _)| profile)).collect()
    }

    /// Names of switches, routers and namespaces are one space, since captures and commands use them alike.
    fn check_machines(&mut self, spec: &raw::Spec, machines: &Machines) {
        let all = machines_of_their_own(spec).chain(spec.namespaces.0.iter().map(|n| &n.name));
        let mut seen = BTreeSet::new();
        let mut last = None;
        for name in all {
            if !seen.insert(&name.value) {
                let message = format!("there are two namespaces called {}", quote(&name.value));
                let hint = "each router and each switch is a namespace of its name".to_owned();
                self.error(name.span.clone(), message, Some(hint));
            }
            last = Some(name);
        }
        if machines.names.len() >= MAX_MACHINES {
            let message = format!("{} machines are too many: at most {MAX_MACHINES}", machines.names.len() + 1);
            let span = last.map_or(0..0, |n| n.span.clone());
            self.error(span, message, None);
        }
    }

    /// Commands that the scenario does not write out: whatever comes of them is said of the name.
    fn lines(&mut self, texts: impl Iterator<Item = String>, name: &Spanned<String>) -> Vec<Line> {
        texts.filter_map(|text| self.generated(&text.into(), &name.span, |_| name.span.clone())).collect()
    }

    /// The words that follow `command`.
    fn words(&mut self, command: &str, words: &Spanned<String>) -> Option<Line> {
        let (source, skip) = (self.source, command.len());
        let part = |p: Range<usize>| words.part(source, p.start.saturating_sub(skip)..p.end.saturating_sub(skip));
        self.generated(&format!("{command}{}", words.value).into(), &words.span, part)
    }

    /// A command that the scenario does not write out.
    pub(super) fn generated(
        &mut self,
        text: &Arc<str>,
        span: &Range<usize>,
        part: impl FnOnce(Range<usize>) -> Range<usize>,
    ) -> Option<Line> {
        match lab::parse(text) {
            Ok(command) => {
                let (text, source) = (Arc::clone(text), self.source.clone());
                Some(Line { text, command, source, span: span.clone() })
            }
            Err(e) => {
                self.error(part(e.span), sentence(&e.message), e.hint);
                None
            }
        }
    }
}

/// What a link is like between machines.
pub(super) fn spec_of(link: &raw::Link) -> LinkSpec {
    let raw::Link { between: _, latency, rate, queue, loss } = link;
    let default = LinkSpec::default();
    LinkSpec {
        latency_ns: latency.as_ref().map_or(default.latency_ns, |l| l.value.0),
        rate_bps: rate.as_ref().map_or(default.rate_bps, |r| r.value.0),
        queue: queue.as_ref().map_or(default.queue, |q| q.value.get()),
        loss_ppm: loss.as_ref().map_or(default.loss_ppm, |l| l.value.0),
    }
}

/// The interfaces that links make in a namespace, in file order.
fn ends<'a>(spec: &'a raw::Spec, namespace: &'a str) -> impl Iterator<Item = &'a str> {
    let all = spec.links.iter().flat_map(|l| &l.between);
    all.filter(move |end| end.value.namespace == namespace).map(|end| end.value.name.as_str())
}

/// The VF of a node's interface.
fn vf(spec: &raw::Spec, end: &raw::Interface) -> Option<String> {
    let nodes = spec.cluster.as_ref().map_or(&[][..], |c| &c.nodes);
    let node = nodes.iter().find(|n| n.name.value.0 == end.namespace && n.interface() == end.name)?;
    node.vf.as_ref().map(|vf| vf.value.clone())
}

fn namespace(name: &Spanned<String>, machines: &Machines, setup: Vec<Line>) -> Namespace {
    Namespace {
        name: name.value.clone(),
        netns: name.value.clone(),
        machine: machines.called(&name.value),
        own: machines.is_own(&name.value, &name.value),
        setup,
        files: Arc::default(),
        sleepers: vec![],
        servers: vec![],
    }
}
