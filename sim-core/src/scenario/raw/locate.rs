//! The places of values: the second pass over the tree.
//!
//! It takes every struct apart without `..`, so that the compiler finds a field that was forgotten.

use super::value::{Read, Spanned};
use super::{
    ApplyFault, CaptureExpect, Cluster, ClusterNode, CommandExpect, CountersExpect, DeleteFault, Dns, FdbAbsence,
    FdbEntry, FdbExpect, JourneyExpect, KubeProxy, LimitExpect, Limits, Link, LinkFault, Metadata, Named,
    NamespaceBody, Namespaces, NeighAbsence, NeighEntry, NeighExpect, Router, Run, Scenario, Script, Sleep, Spec,
    Switch, Texts,
};
use crate::scenario::tree::{Kind, Node};

/// Takes the places of values from the tree that they were read from.
pub(super) trait Locate {
    fn locate(&mut self, node: &Node);
}

impl<T: Read> Locate for Spanned<T> {
    fn locate(&mut self, node: &Node) {
        self.span = node.span.clone();
    }
}

impl<T: Locate> Locate for Option<T> {
    fn locate(&mut self, node: &Node) {
        if let Some(value) = self {
            value.locate(node);
        }
    }
}

impl<T: Locate> Locate for Vec<T> {
    fn locate(&mut self, node: &Node) {
        if let Kind::List(items) = &node.kind {
            for (value, item) in self.iter_mut().zip(items) {
                value.locate(item);
            }
        }
    }
}

/// Which field of a struct stands behind which key. Fields in the second list have no place.
macro_rules! locate {
    ($type:ident { $($field:ident = $key:literal),* ; $($plain:ident),* }) => {
        impl Locate for $type {
            fn locate(&mut self, node: &Node) {
                let $type { $($field,)* $($plain: _),* } = self;
                $(if let Some(entry) = node.entry($key) {
                    $field.locate(&entry.value);
                })*
            }
        }
    };
}

pub(super) use locate;

locate!(Scenario { metadata = "metadata", spec = "spec"; api_version, kind });
locate!(Metadata { name = "name", description = "description"; });
locate!(Spec {
    duration = "duration", limits = "limits", routers = "routers", switches = "switches", links = "links",
    cluster = "cluster", manifests = "manifests", namespaces = "namespaces", traffic = "traffic", faults = "faults",
    expect = "expect";
    seed, start_time, jiffies, placement
});
locate!(Cluster {
    nodes = "nodes", cluster_cidr = "clusterCIDR", service_cidr = "serviceCIDR", node_port_range = "nodePortRange",
    cluster_domain = "clusterDomain", cni = "cni", kube_proxy = "kubeProxy", dns = "dns";
    iptables, istio
});
locate!(ClusterNode {
    name = "name", address = "address", pod_cidr = "podCIDR", interface = "interface", vf = "vf", gateway = "gateway";
});
locate!(KubeProxy {
    cluster_cidr = "clusterCIDR", bridge_interface = "bridgeInterface", interface_name_prefix = "interfaceNamePrefix",
    node_port_addresses = "nodePortAddresses", min_sync_period = "minSyncPeriod";
    mode, version, masquerade_all, detect_local_mode, localhost_node_ports, tcp_be_liberal
});
locate!(Dns { cluster_ip = "clusterIP"; enabled });
locate!(DeleteFault { at = "at", delete = "delete"; });
locate!(ApplyFault { at = "at", apply = "apply"; });
locate!(Limits { chain_frames = "chainFrames", frames = "frames", events = "events"; });
locate!(Router { addresses = "addresses", routes = "routes", setup = "setup"; });
locate!(Switch { setup = "setup"; });
locate!(Link { between = "between", latency = "latency", rate = "rate", queue = "queue", loss = "loss"; });
locate!(NamespaceBody {
    machine = "machine", profile = "profile", setup_file = "setupFile", setup = "setup", servers = "servers";
    files, sleepers
});
locate!(Run { from = "from", run = "run", at = "at", every = "every", count = "count"; background });
locate!(LinkFault {
    at = "at", link = "link", latency = "latency", rate = "rate", loss = "loss", lasts = "for"; down
});
locate!(Script { from = "from", name = "name", at = "at"; script, background });
locate!(Sleep { sleep = "sleep"; });
locate!(CaptureExpect { capture = "capture", filter = "filter", count = "count", sequence = "sequence"; direction });
locate!(CommandExpect { command = "command", from = "from", nth = "nth", exit = "exit", stdout = "stdout"; });
locate!(FdbExpect { fdb = "fdb", at = "at", has = "has", lacks = "lacks"; });
locate!(FdbAbsence { mac = "mac"; });
locate!(FdbEntry { mac = "mac", port = "port"; });
locate!(NeighExpect { neigh = "neigh", at = "at", has = "has", lacks = "lacks"; });
locate!(NeighAbsence { address = "address"; });
locate!(NeighEntry { address = "address", lladdr = "lladdr"; state });
locate!(CountersExpect {
    counters = "counters", at = "at", rx_packets = "rxPackets", tx_packets = "txPackets", rx_bytes = "rxBytes",
    tx_bytes = "txBytes", rx_dropped = "rxDropped", tx_dropped = "txDropped";
});
locate!(JourneyExpect { journey = "journey", filter = "filter", hops = "hops"; });
locate!(LimitExpect { exit = "exit"; limit });

impl Locate for Namespaces {
    fn locate(&mut self, node: &Node) {
        if let Kind::Map(entries) = &node.kind {
            for (namespace, entry) in self.0.iter_mut().zip(entries) {
                namespace.name.span = entry.key_span.clone();
                namespace.body.locate(&entry.value);
            }
        }
    }
}

impl<T: Locate> Locate for Named<T> {
    fn locate(&mut self, node: &Node) {
        if let Kind::Map(entries) = &node.kind {
            for ((name, body), entry) in self.0.iter_mut().zip(entries) {
                name.span = entry.key_span.clone();
                body.locate(&entry.value);
            }
        }
    }
}

impl Locate for Texts {
    fn locate(&mut self, node: &Node) {
        match (&node.kind, self.0.as_mut_slice()) {
            (Kind::List(_), _) => self.0.locate(node),
            (_, [text]) => text.locate(node),
            _ => {}
        }
    }
}
