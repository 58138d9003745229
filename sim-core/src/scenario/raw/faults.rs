//! `faults`: what is done to a run besides its traffic.

use deserr::{Deserr, ValuePointerRef};
use schemars::JsonSchema;

use super::manifests::ManifestItem;
use super::problem::Problems;
use super::underlay::{Percent, Rate};
use super::value::{Duration, Interface, Spanned};

/// An item of `faults`.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// A link changes.
    Link(LinkFault),
    /// An object of the cluster is deleted.
    Delete(DeleteFault),
    /// Objects of the cluster are new or changed.
    Apply(ApplyFault),
}

impl Fault {
    /// When, since the start of the run.
    pub fn at(&self) -> Duration {
        match self {
            Fault::Link(LinkFault { at, .. })
            | Fault::Delete(DeleteFault { at, .. })
            | Fault::Apply(ApplyFault { at, .. }) => at.value,
        }
    }
}

/// A pod is deleted, as by `kubectl delete pod`: what stands behind it makes another one.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct DeleteFault {
    /// When, since the start of the run.
    pub at: Spanned<Duration>,
    /// The pod: pod/NAMESPACE/NAME.
    pub delete: Spanned<String>,
}

/// Objects are applied, as by `kubectl apply`: what has their names is replaced, what is new comes in addition.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct ApplyFault {
    /// When, since the start of the run.
    pub at: Spanned<Duration>,
    /// Services, Endpoints, EndpointSlices, Pods, Deployments: a file beside the scenario, or an object.
    pub apply: ManifestItem,
}

/// A link changes, in both directions.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = some_change -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct LinkFault {
    /// When, since the start of the run.
    pub at: Spanned<Duration>,
    /// One of the link's ends.
    pub link: Spanned<Interface>,
    /// From the last bit's leaving to the arrival.
    #[deserr(default)]
    pub latency: Option<Spanned<Duration>>,
    /// What each end sends.
    #[deserr(default)]
    pub rate: Option<Spanned<Rate>>,
    /// Frames that do not arrive.
    #[deserr(default)]
    pub loss: Option<Spanned<Percent>>,
    /// Whether the link is broken: both ends are without a carrier then.
    #[deserr(default)]
    pub down: Option<bool>,
    /// So long. Then the link is again as `links` has it, in what this has changed; without it, it stays so.
    #[deserr(default, rename = "for")]
    #[schemars(rename = "for")]
    pub lasts: Option<Spanned<Duration>>,
}

fn some_change(fault: LinkFault, at: ValuePointerRef<'_>) -> Result<LinkFault, Problems> {
    let LinkFault { at: _, link: _, latency, rate, loss, down, lasts } = &fault;
    if latency.is_none() && rate.is_none() && loss.is_none() && down.is_none() {
        return Err(Problems::missing(at, &["latency", "rate", "loss", "down"], None));
    }
    if down == &Some(false) && lasts.is_some() {
        let message = "a link that is up for a while is down afterwards: say when it breaks".to_owned();
        return Err(Problems::bad(at.push_key("for"), message, Some("write {down: true, for: 2s}".to_owned())));
    }
    Ok(fault)
}
