//! `ethtool -k` (ethtool 6.1, netlink/features.c): the features of a device, as the drivers of Linux 6.18 have them.

use crate::kernel::netlink::Feature::{self, Gro, Gso, Rx, Sg, Tso, Tx};
use crate::kernel::show::{KindInfo, Link};
use std::fmt::Write;

/// A line of the list.
struct Line {
    name: &'static str,
    /// It belongs to the group before it.
    part: bool,
    /// How it is on lo, a veth, a bridge and a virtio nic; empty of a group, which is on if one of its parts is.
    states: &'static str,
    /// What switches it.
    feature: Option<Feature>,
}

const fn line(name: &'static str, states: &'static str, feature: Option<Feature>) -> Line {
    Line { name, part: false, states, feature }
}

const fn part(name: &'static str, states: &'static str, feature: Option<Feature>) -> Line {
    Line { name, part: true, states, feature }
}

const fn group(name: &'static str) -> Line {
    Line { name, part: false, states: "", feature: None }
}

/// `+` on, `-` off, `X` on and `x` off for good, `?` off although it is wanted.
const LINES: &[Line] = &[
    line("rx-checksumming", "X+xX", Some(Rx)),
    group("tx-checksumming"),
    part("tx-checksum-ipv4", "xxxx", None),
    part("tx-checksum-ip-generic", "X+++", Some(Tx)),
    part("tx-checksum-ipv6", "xxxx", None),
    part("tx-checksum-fcoe-crc", "xxxx", None),
    part("tx-checksum-sctp", "X+xx", Some(Tx)),
    group("scatter-gather"),
    part("tx-scatter-gather", "X+++", Some(Sg)),
    part("tx-scatter-gather-fraglist", "X++x", Some(Sg)),
    group("tcp-segmentation-offload"),
    part("tx-tcp-segmentation", "++++", Some(Tso)),
    part("tx-tcp-ecn-segmentation", "+++x", Some(Tso)),
    part("tx-tcp-mangleid-segmentation", "+++-", Some(Tso)),
    part("tx-tcp6-segmentation", "++++", Some(Tso)),
    part("tx-tcp-accecn-segmentation", "+++x", Some(Tso)),
    line("generic-segmentation-offload", "++++", Some(Gso)),
    line("generic-receive-offload", "+-++", Some(Gro)),
    line("large-receive-offload", "xxxx", None),
    line("rx-vlan-offload", "x+xx", None),
    line("tx-vlan-offload", "x++x", None),
    line("ntuple-filters", "xxxx", None),
    line("receive-hashing", "xxxx", None),
    line("highdma", "X++X", None),
    line("rx-vlan-filter", "xxxx", None),
    line("vlan-challenged", "Xxxx", None),
    line("tx-gso-robust", "xx?X", None),
    line("tx-fcoe-segmentation", "xx?x", None),
    line("tx-gre-segmentation", "x++x", None),
    line("tx-gre-csum-segmentation", "x++x", None),
    line("tx-ipxip4-segmentation", "x++x", None),
    line("tx-ipxip6-segmentation", "x++x", None),
    line("tx-udp_tnl-segmentation", "x++x", None),
    line("tx-udp_tnl-csum-segmentation", "x++x", None),
    line("tx-gso-partial", "xx+x", None),
    line("tx-tunnel-remcsum-segmentation", "xx+x", None),
    line("tx-sctp-segmentation", "+++x", None),
    line("tx-esp-segmentation", "xx+x", None),
    line("tx-udp-segmentation", "+++x", None),
    line("tx-gso-list", "+++x", None),
    line("tx-nocache-copy", "x---", None),
    line("loopback", "Xxxx", None),
    line("rx-fcs", "xxxx", None),
    line("rx-all", "xxxx", None),
    line("tx-vlan-stag-hw-insert", "x++x", None),
    line("rx-vlan-stag-hw-parse", "x+xx", None),
    line("rx-vlan-stag-filter", "xxxx", None),
    line("l2-fwd-offload", "xxxx", None),
    line("hw-tc-offload", "xxxx", None),
    line("esp-hw-offload", "xxxx", None),
    line("esp-tx-csum-hw-offload", "xxxx", None),
    line("rx-udp_tunnel-port-offload", "xxxx", None),
    line("tls-hw-tx-offload", "xxxx", None),
    line("tls-hw-rx-offload", "xxxx", None),
    line("rx-gro-hw", "xxxX", None),
    line("tls-hw-record", "xxxx", None),
    line("rx-gro-list", "----", None),
    line("macsec-hw-offload", "xxxx", None),
    line("rx-udp-gro-forwarding", "----", None),
    line("hsr-tag-ins-offload", "xxxx", None),
    line("hsr-tag-rm-offload", "xxxx", None),
    line("hsr-fwd-offload", "xxxx", None),
    line("hsr-dup-offload", "xxxx", None),
];

/// What `ethtool -k` prints of `link`.
pub fn features(link: &Link) -> String {
    let mut out = format!("Features for {}:\n", link.name);
    for line in LINES {
        // Writing to a string does not fail.
        let _ = if line.states.is_empty() {
            let parts = LINES.iter().skip_while(|l| l.name != line.name).skip(1).take_while(|l| l.part);
            let on = parts.map(|l| state(l, link)).any(|state| state.starts_with("on"));
            writeln!(out, "{}: {}", line.name, if on { "on" } else { "off" })
        } else {
            writeln!(out, "{}{}: {}", if line.part { "\t" } else { "" }, line.name, state(line, link))
        };
    }
    out
}

fn state(line: &Line, link: &Link) -> &'static str {
    let column = match link.kind {
        KindInfo::Loopback => 0,
        // Differs: what a tunnel has fixed is shown as of a veth.
        KindInfo::Veth | KindInfo::Vxlan(_) | KindInfo::Ipip(_) => 1,
        KindInfo::Bridge(_) => 2,
        KindInfo::Nic(_) => 3,
    };
    let has = |feature| link.features.contains(&feature);
    match line.states.as_bytes().get(column) {
        Some(b'X') => "on [fixed]",
        Some(b'x') => "off [fixed]",
        Some(b'?') => "off [requested on]",
        Some(b'-') if line.feature.is_none() => "off",
        _ => match line.feature {
            Some(feature) if !has(feature) => "off",
            // netdev_fix_features: segments need checksums and pages.
            Some(Tso) if line.name != ACCECN && !(sums(link) && gathers(link)) => "off [requested on]",
            Some(Gso) if !gathers(link) => "off [requested on]",
            None if line.name == UDP && !sums(link) => "off [requested on]",
            _ => "on",
        },
    }
}

/// The one way to segment TCP that netdev_fix_features forgets.
const ACCECN: &str = "tx-tcp-accecn-segmentation";
/// It needs checksums, too.
const UDP: &str = "tx-udp-segmentation";

/// It computes checksums; lo does so for good.
fn sums(link: &Link) -> bool {
    matches!(link.kind, KindInfo::Loopback) || link.features.contains(&Tx)
}

/// It takes frames in pieces; lo does so for good.
fn gathers(link: &Link) -> bool {
    matches!(link.kind, KindInfo::Loopback) || link.features.contains(&Sg)
}
