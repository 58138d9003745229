//! From what a file says to what can be run: names looked up, commands and filters compiled, the set-up tried. All
//! errors at once.

use super::cluster::{self, Expanded};
use super::diag::{Diagnostic, Diagnostics, SourceFile, nearest, quote};
use super::expect::ANY;
use super::faults::Faults;
use super::plan::{Check, Expect, Line, Namespace, Place, Plan, Range, Repeat, Run, Script, ServerLine, Traffic};
use super::raw::{self, Spanned};
use super::setup::{SetupError, build};
use super::sources::{Sources, beside, read_file};
use super::underlay::{self, Machines};
use crate::base::files::{Content, File, Files};
use crate::base::time::SEC;
use crate::base::words::{SyntaxError, Word};
use crate::base::{Prf, Time};
use crate::engine::{Config, INITIAL_JIFFIES, Limits, World};
use crate::kernel::netns::MAX_NAMESPACES;
use crate::kernel::show;
use crate::kernel::trace::Mute;
use crate::lab;
use crate::observe::Memory;
use crate::observe::filter::Filters;
use crate::user;
use crate::user::tls::Authority;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops;
use std::path::Path;
use std::sync::Arc;

/// Reads the scenario at `path`, with the files beside it that it names, and makes it ready to run: with this seed, if
/// one is given, instead of its own.
///
/// # Errors
/// Everything that is wrong with it. The set-up is tried if all of its commands can be read.
pub fn load(sources: &dyn Sources, path: &Path, seed: Option<u64>) -> Result<(SourceFile, Plan), Diagnostics> {
    let source = read_file(sources, path)?;
    let plan = resolve_in(sources, &source, seed)?;
    Ok((source, plan))
}

/// Makes a scenario ready to run that stands alone: there are no files beside it.
///
/// # Errors
/// As for [`load`].
pub fn resolve(source: &SourceFile) -> Result<Plan, Diagnostics> {
    resolve_in(&Memory::default(), source, None)
}

/// Makes a scenario ready to run that was read already, with the files beside it.
///
/// # Errors
/// As for [`load`].
pub fn resolve_in(sources: &dyn Sources, source: &SourceFile, seed: Option<u64>) -> Result<Plan, Diagnostics> {
    resolve_raw(sources, source, raw::parse(source)?, seed)
}

/// Makes a scenario ready to run whose structs were read, and perhaps changed.
pub(super) fn resolve_raw(
    sources: &dyn Sources,
    source: &SourceFile,
    mut raw: raw::Scenario,
    seed: Option<u64>,
) -> Result<Plan, Diagnostics> {
    raw.spec.seed = seed.unwrap_or(raw.spec.seed);
    let expanded = cluster::expand(sources, source, &mut raw)?;
    // The first namespace of a kernel counts, too.
    if let Some(n) = raw.spec.namespaces.0.get(MAX_NAMESPACES - 1) {
        let message = format!("a scenario has fewer than {MAX_NAMESPACES} namespaces (MAX_NAMESPACES)");
        return Err(Diagnostic::new(source, n.name.span.clone(), message).into());
    }
    let names = underlay::names(&raw.spec);
    let has_duration = raw.spec.duration.is_some();
    let errors = Diagnostics::default();
    let mut r =
        Resolver { sources, source, names, errors, setup_reads: true, has_duration, expanded, read: BTreeMap::new() };
    let plan = r.plan(&raw);
    if r.setup_reads {
        match build(&plan, &mut Mute) {
            Ok(world) => r.check_interfaces(&raw, &world),
            Err(errors) => setup_diagnostics(&errors).iter().for_each(|e| r.errors.push(e.clone())),
        }
    }
    if r.errors.is_empty() { Ok(plan) } else { Err(r.errors) }
}

/// The files of a namespace; what has no time of its own was changed when the scenario starts.
fn files(map: &raw::FileMap, config: &Config) -> Arc<Files> {
    let mut files = Files::default();
    for (path, body) in &map.0 {
        let mtime_s = body.mtime.map_or(config.epoch_ns, |t| t.0) / SEC;
        let content = match &body.holds {
            raw::Holds::Content(content) => content.clone(),
            raw::Holds::Certificate(raw::Whose::Authority) => {
                let authority = Authority::of_scenario(&Prf::new(config.seed), config.epoch_ns);
                // Its name is one that a certificate may have.
                Content::Text(authority.map_or_else(|_| String::new(), |a| a.root_pem().to_owned()))
            }
        };
        files.insert(path, File { content, mtime_s });
    }
    Arc::new(files)
}

/// Failed set-up commands as errors of their files.
pub fn setup_diagnostics(errors: &[SetupError]) -> Diagnostics {
    let mut all = Diagnostics::default();
    for e in errors {
        all.push(Diagnostic::new(&e.source, e.span.clone(), sentence(&e.message)).hint(e.hint));
    }
    all
}

/// What a script is called that has no name.
const UNNAMED_SCRIPT: &str = "script";

pub(super) struct Resolver<'a> {
    pub(super) sources: &'a dyn Sources,
    pub(super) source: &'a SourceFile,
    names: Vec<String>,
    pub(super) errors: Diagnostics,
    /// All commands of the set-up could be read.
    setup_reads: bool,
    /// The run ends when `spec.duration` says.
    has_duration: bool,
    /// What the cluster added.
    pub(super) expanded: Expanded,
    /// Its commands that were read.
    read: BTreeMap<Arc<str>, lab::Command>,
}

impl Resolver<'_> {
    fn plan(&mut self, raw: &raw::Scenario) -> Plan {
        let spec = &raw.spec;
        let limit = |given: &Option<Spanned<NonZeroU64>>, default| given.as_ref().map_or(default, |l| l.value.get());
        let default = Limits::default();
        let limits = Limits {
            chain_frames: limit(&spec.limits.chain_frames, default.chain_frames),
            frames: limit(&spec.limits.frames, default.frames),
            events: limit(&spec.limits.events, default.events),
        };
        debug_assert_eq!(raw::DEFAULT_JIFFIES, INITIAL_JIFFIES);
        let machines = Machines::new(spec);
        let profiles = self.profiles(spec, &machines);
        let (seed, epoch_ns, jiffies) = (spec.seed, spec.start_time.0, spec.jiffies);
        let by_name = spec.cluster.is_some();
        let config = Config { seed, epoch_ns, jiffies, profile: profiles[0], by_name, limits };
        let namespace = |r: &mut Self, n: &raw::Namespace| Namespace {
            name: n.name.value.clone(),
            netns: r.expanded.netns(&n.name.value),
            machine: machines.of(n),
            own: n.body.machine.as_ref().is_some_and(|m| machines.is_own(&m.value.0, &n.name.value)),
            setup: {
                let mut lines = r.bring_up(n);
                lines.extend(n.body.setup_file.iter().flat_map(|f| r.setup_file(f)));
                lines.extend(n.body.setup.iter().filter_map(|c| r.line(c)));
                lines
            },
            files: files(&n.body.files, &config),
            sleepers: n.body.sleepers.clone(),
            servers: n.body.servers.iter().filter_map(|s| r.server(s)).collect(),
        };
        let Faults { faults, control_plane, later } = self.faults(spec);
        self.names.extend(later.iter().cloned());
        let (links, mut namespaces) = (self.links(spec), self.underlay(spec, &machines));
        namespaces.extend(spec.namespaces.0.iter().map(|n| namespace(self, n)));
        for n in &spec.namespaces.0 {
            for c in &n.body.setup {
                if lab::parse(&c.value).is_ok_and(|command| command.is_endless()) {
                    self.endless(c.span.clone(), "start it in `traffic`, with `background: true` beside it");
                }
            }
        }
        self.setup_reads = self.errors.is_empty();
        Plan {
            name: raw.metadata.name.value.0.clone(),
            description: raw.metadata.description.as_ref().map_or(String::new(), |d| d.value.clone()),
            config,
            duration_ns: spec.duration.as_ref().map(|d| d.value.0),
            machines: machines.others(&profiles),
            links,
            namespaces,
            labels: self.expanded.labels(),
            warnings: std::mem::take(&mut self.expanded.warnings),
            without_effect: std::mem::take(&mut self.expanded.without_effect),
            traffic: spec.traffic.iter().filter_map(|t| self.traffic(t)).collect(),
            faults,
            control_plane,
            later,
            expect: spec.expect.iter().filter_map(|e| self.expect(e, &spec.traffic)).collect(),
        }
    }

    fn traffic(&mut self, step: &raw::Step) -> Option<Traffic> {
        match step {
            raw::Step::Sleep(s) => Some(Traffic::Sleep(s.sleep.value.0)),
            raw::Step::Run(run) => {
                self.namespace(&run.from.value, run.from.span.clone());
                let line = self.line(&run.run)?;
                if line.command.is_endless() && !run.background && !self.has_duration {
                    self.endless(run.run.span.clone(), "put `background: true` beside it, or set `spec.duration`");
                }
                let at = run.at.as_ref().map(|d| Time(d.value.0));
                let repeat = run.every.as_ref().zip(run.count.as_ref());
                let repeat = repeat.map(|(every, count)| Repeat { every_ns: every.value.0, count: count.value.get() });
                let run = Run { from: run.from.value.clone(), line, at, repeat, background: run.background };
                Some(Traffic::Run(Box::new(run)))
            }
            raw::Step::Script(s) => {
                self.namespace(&s.from.value, s.from.span.clone());
                Some(Traffic::Script(Script {
                    from: s.from.value.clone(),
                    name: s.name.as_ref().map_or(UNNAMED_SCRIPT, |n| &n.value).to_owned(),
                    lines: s.script.clone().into(),
                    at: s.at.as_ref().map(|d| Time(d.value.0)),
                    background: s.background,
                }))
            }
        }
    }

    fn endless(&mut self, span: ops::Range<usize>, hint: &str) {
        self.error(span, "this command goes on until it is interrupted".to_owned(), Some(hint.to_owned()));
    }

    fn server(&mut self, text: &Spanned<String>) -> Option<ServerLine> {
        match lab::lex::words(&text.value).and_then(|words| user::parse_server_as(&words)) {
            Ok((cred, at, server)) => {
                let (source, span) = (self.source.clone(), text.span.clone());
                Some(ServerLine { text: text.value[at..].to_owned(), cred, server, source, span })
            }
            Err(e) => {
                self.error(text.part(self.source, e.span), sentence(&e.message), e.hint);
                None
            }
        }
    }

    pub(super) fn line(&mut self, text: &Spanned<String>) -> Option<Line> {
        match lab::parse_with(&text.value, &mut |file| read_beside(self.sources, self.source, file)) {
            Ok(command) => {
                let source = self.source.clone();
                Some(Line { text: text.value.as_str().into(), command, source, span: text.span.clone() })
            }
            Err(e) => {
                self.error(text.part(self.source, e.span), sentence(&e.message), e.hint);
                None
            }
        }
    }

    /// The commands that make a node what it is. One that several nodes run is read once.
    fn bring_up(&mut self, n: &raw::Namespace) -> Vec<Line> {
        let texts = self.expanded.spaces.get_mut(&n.name.value).map_or(vec![], |s| std::mem::take(&mut s.bring_up));
        let mut lines = vec![];
        for text in texts {
            if let Some(command) = self.read.get(&text) {
                let (command, source) = (command.clone(), self.source.clone());
                lines.push(Line { text, command, source, span: n.name.span.clone() });
            } else if let Some(line) = self.generated(&text, &n.name.span, |_| n.name.span.clone()) {
                self.read.insert(text, line.command.clone());
                lines.push(line);
            }
        }
        lines
    }

    /// The commands of a file beside the scenario, a line each, with its here-document; empty lines and those that
    /// begin with # do not count.
    fn setup_file(&mut self, name: &Spanned<String>) -> Vec<Line> {
        let source = match file_beside(self.sources, self.source, &name.value) {
            Ok(source) => source,
            Err(Unreadable { message, hint }) => {
                self.error(name.span.clone(), message, hint);
                return vec![];
            }
        };
        let (mut lines, mut at) = (vec![], 0);
        while let Some(text) = source.text().get(at..).filter(|rest| !rest.is_empty()) {
            let text = &text[..text.find('\n').map_or(text.len(), |end| end + 1)];
            let start = at + text.len() - text.trim_start().len();
            at += text.len();
            let mut text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if let Some(end) = lab::lex::here_document(text) {
                let mut rest = source.text()[at..].split_inclusive('\n');
                while rest.next().inspect(|line| at += line.len()).is_some_and(|line| line.trim_end() != end) {}
                text = &source.text()[start..at];
            }
            // Files that it names lie beside the scenario, too.
            match lab::parse_with(text, &mut |file| read_beside(self.sources, self.source, file)) {
                Ok(command) => {
                    let span = start..start + text.lines().next().map_or(0, str::len);
                    lines.push(Line { text: text.into(), command, source: source.clone(), span });
                }
                Err(e) => {
                    let mut d =
                        Diagnostic::new(&source, start + e.span.start..start + e.span.end, sentence(&e.message));
                    d.hint = e.hint;
                    self.errors.push(d);
                }
            }
        }
        lines
    }

    fn expect(&mut self, e: &raw::Expect, traffic: &[raw::Step]) -> Option<Expect> {
        let (span, text, check) = match e {
            raw::Expect::Capture(c) => (c.capture.span.clone(), capture_text(c), self.capture(c)?),
            raw::Expect::Command(c) => (c.command.span.clone(), command_text(c), self.command(c, traffic)),
            raw::Expect::Fdb(f) => (f.fdb.span.clone(), format!("forwarding database of {}", f.fdb.value), self.fdb(f)),
            raw::Expect::Neigh(n) => (n.neigh.span.clone(), format!("neighbours of {}", n.neigh.value), self.neigh(n)),
            raw::Expect::Counters(c) => {
                (c.counters.span.clone(), format!("counters of {}", c.counters.value), self.counters(c))
            }
            raw::Expect::Journey(j) => (
                j.journey.span.clone(),
                format!("journey of `{}` from {}", j.filter.value, j.journey.value),
                self.journey(j)?,
            ),
            raw::Expect::Limit(l) => {
                let name = limit_name(l.limit);
                (l.exit.span.clone(), format!("exit {} by limit {name}", l.exit.value), Check::Limit(name))
            }
        };
        Some(Expect { line: self.source.position(span.start).line, text, check })
    }

    fn capture(&mut self, c: &raw::CaptureExpect) -> Option<Check> {
        let point = &c.capture.value;
        self.namespace(&point.namespace, c.capture.span.clone());
        let device = point.interface.clone().unwrap_or_else(|| ANY.to_owned());
        let place = Place { namespace: point.namespace.clone(), device };
        let any = place.device == ANY;
        let filter = match &c.filter {
            Some(text) => self.filter(text, any),
            None => Filters::compile("", any).ok(),
        };
        let direction = c.direction;
        if let Some(count) = &c.count {
            return Some(Check::Count { place, filter: filter?, direction, count: range(count.value) });
        }
        let texts = c.sequence.as_deref().unwrap_or_default();
        let sequence: Vec<_> = texts.iter().filter_map(|t| Some((t.value.clone(), self.filter(t, any)?))).collect();
        Some(Check::Sequence { place, filter: filter?, direction, sequence })
    }

    fn command(&mut self, c: &raw::CommandExpect, traffic: &[raw::Step]) -> Check {
        if let Some(from) = &c.from {
            self.namespace(&from.value, from.span.clone());
        }
        let named = |t: &'_ raw::Step| match t {
            raw::Step::Run(r) => Some((r.from.value.clone(), r.run.value.clone())),
            raw::Step::Script(s) => Some((s.from.value.clone(), s.name.as_ref()?.value.clone())),
            raw::Step::Sleep(_) => None,
        };
        let here = |(from, _): &(String, String)| c.from.as_ref().is_none_or(|f| f.value == *from);
        let runs: Vec<(String, String)> = traffic.iter().filter_map(named).filter(here).collect();
        if !runs.iter().any(|(_, command)| *command == c.command.value) {
            let message = format!("no command of `traffic` is {}", quote(&c.command.value));
            let hint = nearest(&c.command.value, runs.iter().map(|(_, command)| command.as_str()));
            let hint = hint.map_or("write it as `run` has it, or the `name` of a script".to_owned(), |h| {
                format!("did you mean `{h}`?")
            });
            self.error(c.command.span.clone(), message, Some(hint));
        }
        Check::Command {
            command: c.command.value.clone(),
            from: c.from.as_ref().map(|f| f.value.clone()),
            nth: c.nth.as_ref().map_or(1, |n| n.value.get()),
            exit: c.exit.as_ref().map(|e| i32::from(e.value)),
            stdout: c.stdout.as_ref().map_or(vec![], |t| t.0.iter().map(|t| t.value.clone()).collect()),
        }
    }

    fn fdb(&mut self, f: &raw::FdbExpect) -> Check {
        Check::Fdb {
            place: self.interface(&f.fdb),
            at: f.at.as_ref().map(|d| Time(d.value.0)),
            has: f.has.iter().map(|e| (e.mac.value, e.port.as_ref().map(|p| p.value.clone()))).collect(),
            lacks: f.lacks.iter().map(|e| e.mac.value).collect(),
        }
    }

    fn neigh(&mut self, n: &raw::NeighExpect) -> Check {
        Check::Neigh {
            place: self.interface(&n.neigh),
            at: n.at.as_ref().map(|d| Time(d.value.0)),
            has: n.has.iter().map(|e| (e.address.value, e.lladdr.as_ref().map(|m| m.value), e.state)).collect(),
            lacks: n.lacks.iter().map(|e| e.address.value).collect(),
        }
    }

    fn counters(&mut self, c: &raw::CountersExpect) -> Check {
        let named = [
            ("rxPackets", &c.rx_packets),
            ("txPackets", &c.tx_packets),
            ("rxBytes", &c.rx_bytes),
            ("txBytes", &c.tx_bytes),
            ("rxDropped", &c.rx_dropped),
            ("txDropped", &c.tx_dropped),
        ];
        Check::Counters {
            place: self.interface(&c.counters),
            at: c.at.as_ref().map(|d| Time(d.value.0)),
            values: named.into_iter().filter_map(|(name, n)| Some((name, range(n.as_ref()?.value)))).collect(),
        }
    }

    fn journey(&mut self, j: &raw::JourneyExpect) -> Option<Check> {
        for hop in &j.hops {
            self.namespace(&hop.value.interface.namespace, hop.span.clone());
        }
        Some(Check::Journey {
            place: self.interface(&j.journey),
            filter: self.filter(&j.filter, false)?,
            hops: j.hops.iter().map(|h| h.value.to_string()).collect(),
        })
    }

    pub(super) fn interface(&mut self, i: &Spanned<raw::Interface>) -> Place {
        self.namespace(&i.value.namespace, i.span.clone());
        Place { namespace: i.value.namespace.clone(), device: i.value.name.clone() }
    }

    pub(super) fn namespace(&mut self, name: &str, span: ops::Range<usize>) {
        if self.names.iter().any(|n| n == name) {
            return;
        }
        let known = self.names.iter().map(String::as_str);
        let hint = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the namespaces are: {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.error(span, format!("there is no namespace {}", quote(name)), Some(hint));
    }

    fn filter(&mut self, text: &Spanned<String>, any: bool) -> Option<Filters> {
        match Filters::compile(&text.value, any) {
            Ok(filter) => Some(filter),
            Err(e) => {
                self.error(text.part(self.source, e.span), e.message, e.hint);
                None
            }
        }
    }

    /// Interfaces that expectations name exist after the set-up, or a command of the traffic names them too.
    fn check_interfaces(&mut self, raw: &raw::Scenario, world: &World) {
        for e in &raw.spec.expect {
            let (ns, device, span) = match e {
                raw::Expect::Capture(c) => match &c.capture.value.interface {
                    Some(i) => (&c.capture.value.namespace, i, &c.capture.span),
                    None => continue,
                },
                raw::Expect::Fdb(f) => (&f.fdb.value.namespace, &f.fdb.value.name, &f.fdb.span),
                raw::Expect::Neigh(n) => (&n.neigh.value.namespace, &n.neigh.value.name, &n.neigh.span),
                raw::Expect::Counters(c) => (&c.counters.value.namespace, &c.counters.value.name, &c.counters.span),
                raw::Expect::Journey(j) => (&j.journey.value.namespace, &j.journey.value.name, &j.journey.span),
                raw::Expect::Command(_) | raw::Expect::Limit(_) => continue,
            };
            self.check_interface(raw, world, ns, device, span.clone());
        }
    }

    fn check_interface(&mut self, raw: &raw::Scenario, world: &World, ns: &str, device: &str, span: ops::Range<usize>) {
        let Some(id) = world.namespace(ns) else { return };
        let m = world.machine(id);
        let links = show::links(m.spaces(), id, m.now());
        let named = raw.spec.traffic.iter().any(|t| match t {
            raw::Step::Run(r) => r.run.value.split_whitespace().any(|w| w == device),
            raw::Step::Script(_) | raw::Step::Sleep(_) => false,
        });
        if named || links.iter().any(|l| l.name == device) {
            return;
        }
        let hint = match nearest(device, links.iter().map(|l| l.name.as_str())) {
            Some(near) => format!("did you mean `{ns}/{near}`?"),
            None => format!("it has: {}", links.iter().map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ")),
        };
        self.error(span, format!("namespace {} has no interface {}", quote(ns), quote(device)), Some(hint));
    }

    pub(super) fn error(&mut self, span: ops::Range<usize>, message: String, hint: Option<String>) {
        let mut d = Diagnostic::new(self.source, span, message);
        d.hint = hint;
        self.errors.push(d);
    }
}

/// Why a file that a scenario names cannot be read.
pub(super) struct Unreadable {
    pub message: String,
    pub hint: Option<String>,
}

pub(super) fn file_beside(sources: &dyn Sources, source: &SourceFile, name: &str) -> Result<SourceFile, Unreadable> {
    let path = beside(sources, source, name).map_err(|message| {
        let hint = Some("name a file in the scenario's own folder or below it".to_owned());
        Unreadable { message, hint }
    })?;
    read_file(sources, &path)
        .map_err(|e| Unreadable { message: format!("{}: {}", quote(name), e.message), hint: e.hint })
}

/// The text of a file that a command names.
fn read_beside(sources: &dyn Sources, source: &SourceFile, file: &Word) -> Result<String, SyntaxError> {
    match file_beside(sources, source, &file.text) {
        Ok(file) => Ok(file.text().to_owned()),
        Err(Unreadable { message, hint }) => {
            let e = SyntaxError::at(file, message);
            Err(match hint {
                Some(hint) => e.hint(hint),
                None => e,
            })
        }
    }
}

/// A tool's message without the word that every diagnostic begins with.
pub(super) fn sentence(message: &str) -> String {
    message.strip_prefix("Error: ").unwrap_or(message).to_owned()
}

fn range(count: raw::Count) -> Range {
    Range { min: count.min, max: count.max.unwrap_or(u64::MAX) }
}

fn limit_name(limit: raw::Limit) -> &'static str {
    match limit {
        raw::Limit::ChainFrames => "chainFrames",
        raw::Limit::Frames => "frames",
        raw::Limit::Events => "events",
    }
}

fn capture_text(c: &raw::CaptureExpect) -> String {
    let device = c.capture.value.interface.as_deref().unwrap_or(ANY);
    let filter = c.filter.as_ref().map_or(String::new(), |f| format!(" `{}`", f.value));
    let direction = c.direction.map_or(String::new(), |d| format!(" {}", d.label()));
    let what = match (&c.count, &c.sequence) {
        (Some(count), _) => format!("{} records", range(count.value)),
        (None, sequence) => format!("a sequence of {}", sequence.as_ref().map_or(0, Vec::len)),
    };
    format!("capture {}/{device}{direction}{filter}: {what}", c.capture.value.namespace)
}

fn command_text(c: &raw::CommandExpect) -> String {
    let nth = c.nth.as_ref().map_or(String::new(), |n| format!(" (run {})", n.value));
    let exit = c.exit.as_ref().map_or(String::new(), |e| format!(": exit {}", e.value));
    format!("`{}`{nth}{exit}", c.command.value)
}
