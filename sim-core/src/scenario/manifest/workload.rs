//! What makes pods: Deployments and DaemonSets (pkg/apis/apps/v1/defaults.go, pkg/apis/apps/validation/validation.go).

use super::meta::{self, Scope};
use super::reader::{Field, Reader};
use super::{names, pod};
use crate::cluster::object::{Object, Workload, WorkloadKind};

/// What an empty selector is in the API server's message.
const EMPTY_SELECTOR: &str = "v1.LabelSelector{MatchLabels:map[string]string(nil), \
     MatchExpressions:[]v1.LabelSelectorRequirement(nil)}";

/// Reads a Deployment.
pub(super) fn deployment(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let replicas = reader.non_negative(&root.child("spec").child("replicas"), 1);
    workload(reader, root, WorkloadKind::Deployment { replicas })
}

/// Reads a DaemonSet.
pub(super) fn daemon_set(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    workload(reader, root, WorkloadKind::DaemonSet)
}

fn workload(reader: &mut Reader<'_>, root: &Field<'_>, kind: WorkloadKind) -> Object {
    let meta = meta::meta(reader, root, Scope::Namespace, names::dns1123_subdomain);
    let spec = root.child("spec");
    let (at, template) = (spec.child("selector"), spec.child("template"));
    let selector = meta::selector(reader, &at);
    let template_meta = meta::template_meta(reader, &template);
    if at.node.is_none() {
        reader.required(&at, "");
    } else if at.child("matchLabels").entries().is_empty() && at.child("matchExpressions").items().is_empty() {
        let detail = format!("empty selector is invalid for {}", kind.name().to_lowercase());
        reader.invalid(&at, EMPTY_SELECTOR, &detail);
    } else if !selector.matches(&template_meta.labels) {
        let labels = template.child("metadata").child("labels");
        let wrong = "`selector` does not match template `labels`";
        reader.invalid(&labels, names::go_labels(&template_meta.labels), wrong);
    }
    let at = template.child("spec");
    let policy = at.child("restartPolicy");
    if let Some(word @ ("Never" | "OnFailure")) = policy.text() {
        reader.unsupported(&policy, word, ["Always"].into_iter());
    }
    let template = pod::spec(reader, &at);
    Object::Workload(Workload { kind, meta, selector, template_meta, template })
}
