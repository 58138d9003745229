//! A scenario on one kernel, whatever its `placement`: what a lab of real network namespaces can show of it.

use super::diag::{Diagnostic, Diagnostics, SourceFile, quote};
use super::plan::{Plan, Traffic};
use super::raw::{self, Placement};
use super::resolve::resolve_raw;
use super::sources::{Sources, read_file};
use crate::base::time::MS;
use crate::kernel::profile::Profile;
use std::ops::Range;
use std::path::Path;

/// A link that takes less than this, in nanoseconds, becomes a veth pair.
pub const SHORT_LATENCY_NS: u64 = MS;

/// As [`load`](super::load()), on one kernel: nodes, routers and switches are namespaces of it, and links are veth
/// pairs. A short latency ([`SHORT_LATENCY_NS`]) is left out, and so is `expect`.
///
/// # Errors
/// As for [`load`](super::load()), and what one kernel cannot show: links that take their time or lose something, links
/// that break, another Linux than this one.
pub fn load_on_one_kernel(
    sources: &dyn Sources,
    path: &Path,
    seed: Option<u64>,
) -> Result<(SourceFile, Plan), Diagnostics> {
    let source = read_file(sources, path)?;
    let mut raw = raw::parse(&source)?;
    raw.spec.placement = Placement::OneKernel;
    let mut errors = Diagnostics::default();
    let mut refuse = |span: &Range<usize>, message: String, hint: &str| {
        errors.push(Diagnostic::new(&source, span.clone(), message).hint(hint));
    };
    for expect in std::mem::take(&mut raw.spec.expect) {
        if let raw::Expect::Limit(limit) = expect {
            refuse(
                &limit.exit.span,
                "on a real machine nothing ends what does not end by itself".to_owned(),
                "a storm that podhop ends at a limit goes on there",
            );
        }
    }
    for link in &mut raw.spec.links {
        link.latency.take_if(|latency| latency.value.0 < SHORT_LATENCY_NS);
        let given = [
            ("latency", link.latency.take().map(|l| l.span)),
            ("rate", link.rate.take().map(|r| r.span)),
            ("queue", link.queue.take().map(|q| q.span)),
            ("loss", link.loss.take().map(|l| l.span)),
        ];
        for (field, span) in given {
            let Some(span) = span else { continue };
            let message = format!("a link between real namespaces has no `{field}`: it is a veth pair");
            refuse(&span, message, "a latency below 1ms is left out");
        }
    }
    for fault in &raw.spec.faults {
        if let raw::Fault::Link(fault) = fault {
            let message = "links between real namespaces do not break".to_owned();
            refuse(&fault.link.span, message, "`ip link set` in `traffic` takes an end down");
        }
    }
    for n in &raw.spec.namespaces.0 {
        if let Some(profile) = n.body.profile.as_ref().filter(|p| p.value != Profile::default()) {
            let message = format!("the kernel of this machine is no {}", quote(profile.value.name()));
            refuse(&profile.span, message, "without a profile a scenario runs the Linux of today");
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let plan = resolve_raw(sources, &source, raw, seed)?;
    let setup = plan.namespaces.iter().flat_map(|n| &n.setup);
    let run = plan.traffic.iter().filter_map(|t| if let Traffic::Run(run) = t { Some(&run.line) } else { None });
    for line in setup.chain(run).filter(|line| line.command.makes_ipip()) {
        let message = "an IPIP tunnel is not shown on the real kernel: many have no module ipip".to_owned();
        errors.push(Diagnostic::new(&line.source, line.span.clone(), message));
    }
    if errors.is_empty() { Ok((source, plan)) } else { Err(errors) }
}
