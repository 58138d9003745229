//! Nodes (pkg/apis/core/validation/validation.go, ValidateNode).

use super::meta::{self, Scope};
use super::names;
use super::reader::{Field, Reader};
use crate::cluster::object::{Node, Object};

/// Reads a Node.
pub(super) fn node(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Cluster, names::dns1123_subdomain);
    let spec = root.child("spec");
    let addresses = root.child("status").child("addresses");
    reader.note(&addresses);
    // A dump of a node with two stacks has two: IPv6 is not simulated.
    let internal = |item: &Field<'_>| item.child("type").text() == Some("InternalIP");
    let internal_ip = addresses
        .items()
        .iter()
        .filter(|item| internal(item))
        .find_map(|item| item.child("address").text()?.parse().ok());
    let (one, all) = (spec.child("podCIDR"), spec.child("podCIDRs"));
    reader.note(&all);
    let pod_cidr = match all.items().into_iter().next() {
        Some(first) if one.node.is_none() => reader.network(&first),
        _ => reader.network(&one),
    };
    let unschedulable = reader.boolean(&spec.child("unschedulable")).unwrap_or(false);
    Object::Node(Node { meta, internal_ip, pod_cidr, unschedulable })
}
