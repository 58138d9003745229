//! Scenarios as real namespaces can have them.

use regex::{Captures, Regex};
use sim_core::base::time::MS;
use sim_core::base::words::Word;
use sim_core::lab;
use sim_core::scenario::diag::Diagnostic;
use sim_core::scenario::plan::{Line, Plan, Traffic};
use sim_core::scenario::{self, Diagnostics, SourceFile, Sources};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

/// Settings that belong to a whole machine, whichever namespace is asked: a lab must not touch them.
const OF_THE_MACHINE: [&str; 5] = [
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_log_all_netns",
    "net.ipv4.neigh.default.gc_thresh",
    "net.ipv4.tcp_mem",
];

/// What a program takes to start on a real machine, Python being the slowest, in nanoseconds.
const START_NS: u64 = 150 * MS;

/// The kernel computes no checksums on lo and cuts nothing there, and that cannot be turned off.
const LOOPBACK: &str = "ethtool -K lo tx on tso on";

/// Loads a scenario, on one kernel. Rules that choose by chance choose in turn (`-m statistic --mode nth`). Whatever
/// starts in the background has some time before the next command.
///
/// # Errors
/// What is wrong with it, and what a lab of real namespaces cannot show; see
/// [`load_on_one_kernel`](scenario::load_on_one_kernel).
pub fn load(sources: &dyn Sources, path: &Path, seed: Option<u64>) -> Result<Plan, Diagnostics> {
    let (source, plan) = scenario::load_on_one_kernel(sources, path, seed)?;
    prepare(sources, &source, plan)
}

/// The same of a scenario that was read already and is for one kernel.
///
/// # Errors
/// As for [`load`].
pub fn prepare(sources: &dyn Sources, source: &SourceFile, mut plan: Plan) -> Result<Plan, Diagnostics> {
    let errors = refusals(source, &plan);
    if !errors.is_empty() {
        return Err(errors);
    }
    plan.traffic = std::mem::take(&mut plan.traffic).into_iter().flat_map(slow).collect();
    let folder = Path::new(source.path()).parent().unwrap_or(Path::new(""));
    for entry in &mut plan.traffic {
        if let Traffic::Run(run) = entry {
            self_contained(&mut run.line, sources, folder);
        }
    }
    plan.namespaces.iter_mut().flat_map(|n| &mut n.setup).for_each(|line| self_contained(line, sources, folder));
    let loopback = lab::parse(LOOPBACK);
    for n in &mut plan.namespaces {
        n.setup.iter_mut().for_each(in_turn);
        if let Ok(command) = &loopback {
            let (text, command) = (LOOPBACK.into(), command.clone());
            n.setup.insert(0, Line { text, command, source: source.clone(), span: 0..0 });
        }
    }
    Ok(plan)
}

/// What a command reads from a file beside the scenario follows it as a here-document.
fn self_contained(line: &mut Line, sources: &dyn Sources, folder: &Path) {
    let mut read = None;
    let mut from_file = |name: &Word| {
        let bytes = sources.read(&folder.join(&name.text)).unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes).into_owned();
        read = Some((name.span.clone(), content.clone()));
        Ok(content)
    };
    // It was read before.
    let parsed = lab::parse_with(&line.text, &mut from_file);
    let (Ok(_), Some((name, mut content))) = (parsed, read) else { return };
    let Some(redirection) = line.text[..name.start].rfind('<') else { return };
    if !content.ends_with('\n') {
        content.push('\n');
    }
    let (before, after) = (&line.text[..redirection], line.text[name.end..].trim_end());
    line.text = format!("{before}<<'PODHOP'{after}\n{content}PODHOP").into();
}

/// What a rule leaves to chance it does in turn: the real kernel's dice are not ours.
fn in_turn(line: &mut Line) {
    static CHANCE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"--mode random --probability (0\.\d+)").expect("it is one"));
    if !line.text.contains("--mode random") {
        return;
    }
    let text = CHANCE.replace_all(&line.text, |chance: &Captures<'_>| {
        let every = (1.0 / chance[1].parse().unwrap_or(1.0_f64)).round();
        format!("--mode nth --every {every} --packet 0")
    });
    if let Ok(command) = lab::parse(&text) {
        (line.text, line.command) = (text.as_ref().into(), command);
    }
}

/// What starts in the background is given the time that a real program needs.
fn slow(entry: Traffic) -> impl Iterator<Item = Traffic> {
    let background = match &entry {
        Traffic::Run(run) => run.background && run.repeat.is_none(),
        Traffic::Script(script) => script.background,
        Traffic::Sleep(_) => false,
    };
    [Some(entry), background.then_some(Traffic::Sleep(START_NS))].into_iter().flatten()
}

fn refusals(source: &SourceFile, plan: &Plan) -> Diagnostics {
    let mut errors = Diagnostics::default();
    let traffic = plan.traffic.iter().filter_map(|t| match t {
        Traffic::Run(run) => Some(&run.line),
        Traffic::Script(_) | Traffic::Sleep(_) => None,
    });
    let mut seen = BTreeSet::new();
    for line in plan.namespaces.iter().flat_map(|n| &n.setup).chain(traffic) {
        // An agent has many commands, and one reason.
        if let Some((message, hint)) = refusal(line).filter(|(message, _)| !seen.contains(message)) {
            seen.insert(message.clone());
            errors.push(Diagnostic::new(&line.source, line.span.clone(), message).hint(hint));
        }
    }
    for server in plan.namespaces.iter().flat_map(|n| &n.servers) {
        if let Some((message, hint)) = refused_server(&server.text).filter(|(message, _)| !seen.contains(message)) {
            seen.insert(message.clone());
            errors.push(Diagnostic::new(&server.source, server.span.clone(), message).hint(hint));
        }
    }
    // A mesh has a control plane for its sidecars, which are named already.
    let is_mesh = seen.contains(ENVOY);
    if !is_mesh && (plan.control_plane.is_some() || !plan.faults.is_empty()) {
        let message = "nobody plays the control plane of a lab of real namespaces".to_owned();
        let hint = "the objects of a cluster that can be exported stay as they are, and have no probes";
        errors.push(Diagnostic::new(source, 0..0, message).hint(hint));
    }
    errors
}

/// Why no mesh is compared: the tools of a lab are those of a distribution, and Envoy is none.
const ENVOY: &str = "Envoy is not run in a lab of real namespaces: the pods of this mesh have it beside them";
/// Why nothing with TLS is compared.
const TLS: &str = "TLS: the messages of OpenSSL have other lengths than those of rustls";

fn refused_server(text: &str) -> Option<(String, &'static str)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        // Behind setpriv, since it runs as somebody else.
        _ if words.iter().any(|w| ["pilot-agent", "pilot-discovery"].contains(w)) => {
            Some((ENVOY.to_owned(), "without `istio:` in `cluster:` it can be exported"))
        }
        ["haproxy", ..] => Some(("haproxy is not run in a lab of real namespaces".to_owned(), "leave the server out")),
        [_, _, "ssl", ..] => Some((TLS.to_owned(), "without `ssl` it can be exported")),
        _ => None,
    }
}

fn refusal(line: &Line) -> Option<(String, &'static str)> {
    let mut words = line.text.split_whitespace();
    match words.next()? {
        "sysctl" => {
            let name = words.find(|w| OF_THE_MACHINE.iter().any(|name| w.starts_with(name)) && w.contains('='))?;
            let name = name.split('=').next().unwrap_or(name);
            Some((
                format!("{name} belongs to the whole machine"),
                "a lab of real namespaces changes nothing outside of them",
            ))
        }
        "cilium-agent" | "bpftool" => {
            Some(("Cilium's programs are not on a real kernel".to_owned(), "a cluster with another network plugin"))
        }
        "curl" if line.text.contains("https://") => Some((TLS.to_owned(), "with http:// it can be exported")),
        "dmesg" => Some(("the log belongs to the whole machine".to_owned(), "leave the command out")),
        _ => None,
    }
}
