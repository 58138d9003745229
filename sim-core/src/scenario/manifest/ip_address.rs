//! IPAddresses (pkg/apis/networking/validation/validation.go, ValidateIPAddress).

use super::meta::{self, Scope};
use super::reader::{Field, Reader};
use crate::cluster::object::{IpAddress, Object};
use std::net::Ipv4Addr;

/// Reads an IPAddress.
pub(super) fn ip_address(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Cluster, canonical);
    let parent = root.child("spec").child("parentRef");
    let [group, resource, namespace, name] =
        ["group", "resource", "namespace", "name"].map(|field| parent.child(field));
    let mut text = |field: &Field<'_>| reader.string(field).unwrap_or_default().to_owned();
    let of = [&group, &resource].map(&mut text);
    let service = (text(&namespace), text(&name));
    if of[1] != "services" || !of[0].is_empty() {
        reader.unsupported(&resource, &of[1], ["services"].into_iter());
    }
    if service.1.is_empty() {
        reader.required(&name, "");
    }
    let ip = meta.name.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    Object::IpAddress(IpAddress { meta, ip, service })
}

/// ValidateIPAddressName: an address as it is written shortest.
fn canonical(name: &str) -> Vec<String> {
    match name.parse::<Ipv4Addr>() {
        Ok(_) => vec![],
        Err(_) => vec!["must be a valid IP address in canonical form".to_owned()],
    }
}
