//! Names that Kubernetes and its runtime make up. Here they follow from the names that they belong to.

use crate::base::Mac;
use crate::base::rng::{Prf, Purpose, words};

/// Letters of random suffixes (staging/src/k8s.io/apimachinery/pkg/util/rand: alphanums).
const ALPHANUMS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a Deployment's template, which names its ReplicaSet.
pub(super) fn template_hash(prf: &Prf, namespace: &str, name: &str) -> String {
    letters(prf.draw(Purpose::PodName, &words(&[namespace, name])), 10)
}

/// What a pod's name ends with.
pub(super) fn suffix(prf: &Prf, namespace: &str, prefix: &str, n: u64) -> String {
    let mut input = words(&[namespace, prefix]);
    input.push(n);
    letters(prf.draw(Purpose::PodName, &input), 5)
}

fn letters(mut bits: u64, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        text.push(char::from(ALPHANUMS[(bits % 27) as usize]));
        bits /= 27;
    }
    text
}

/// A pod's network namespace, as containerd calls it: `cni-` and a UUID of version 4.
pub(super) fn netns(prf: &Prf, namespace: &str, name: &str) -> String {
    let input = words(&[namespace, name]);
    let draw = |n| prf.draw(Purpose::Netns, &[&input[..], &[n]].concat());
    let high = draw(0) & !0xf000 | 0x4000;
    let low = draw(1) & !(3 << 62) | 2 << 62;
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("cni-{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

/// The node's end of a pod's veth pair: `veth` and eight digits (plugins/pkg/ip/link_linux.go: RandomVethName).
pub(super) fn veth(prf: &Prf, namespace: &str, name: &str) -> String {
    let mut input = words(&[namespace, name]);
    input.push(2);
    format!("veth{:08x}", prf.draw(Purpose::Netns, &input) as u32)
}

/// What Cilium calls the node's end: `lxc` and twelve digits of a hash (pkg/datapath/connector: Endpoint2IfName).
pub(super) fn lxc(prf: &Prf, namespace: &str, name: &str) -> String {
    let mut input = words(&[namespace, name]);
    input.push(2);
    format!("lxc{:012x}", prf.draw(Purpose::Netns, &input) & 0xffff_ffff_ffff)
}

/// The hardware address of that end.
pub(super) fn veth_mac(prf: &Prf, namespace: &str, name: &str) -> Mac {
    mac(prf, Purpose::Netns, &[words(&[namespace, name]), vec![3]].concat())
}

/// The hardware address of the pod's end, where its address does not tell it.
pub(super) fn pod_mac(prf: &Prf, namespace: &str, name: &str) -> Mac {
    mac(prf, Purpose::Netns, &[words(&[namespace, name]), vec![4]].concat())
}

/// The hardware address of a device that a network plugin makes on a node.
pub(super) fn device_mac(prf: &Prf, node: &str, device: &str) -> Mac {
    mac(prf, Purpose::PluginMac, &words(&[node, device]))
}

/// A drawn hardware address: locally administered, and no group.
fn mac(prf: &Prf, purpose: Purpose, input: &[u64]) -> Mac {
    let [a, b, c, d, e, f, ..] = prf.draw(purpose, input).to_le_bytes();
    Mac([a & 0xfe | 2, b, c, d, e, f])
}
