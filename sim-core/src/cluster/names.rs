//! Names that Kubernetes and its runtime make up. Here they follow from the names that they belong to.

use crate::base::Mac;
use crate::base::rng::{Prf, Purpose};

/// Letters of random suffixes (staging/src/k8s.io/apimachinery/pkg/util/rand: alphanums).
const ALPHANUMS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Words for a draw about somebody by name: the names' bytes, each behind its length.
pub(super) fn key(names: &[&str]) -> Vec<u64> {
    let mut words = Vec::new();
    for name in names {
        words.push(name.len() as u64);
        words.extend(
            name.as_bytes().chunks(8).map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
        );
    }
    words
}

/// The hash of a Deployment's template, which names its ReplicaSet.
pub(super) fn template_hash(prf: &Prf, namespace: &str, name: &str) -> String {
    letters(prf.draw(Purpose::PodName, &key(&[namespace, name])), 10)
}

/// What a pod's name ends with.
pub(super) fn suffix(prf: &Prf, namespace: &str, prefix: &str, n: u64) -> String {
    let mut words = key(&[namespace, prefix]);
    words.push(n);
    letters(prf.draw(Purpose::PodName, &words), 5)
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
    let words = key(&[namespace, name]);
    let draw = |n| prf.draw(Purpose::Netns, &[&words[..], &[n]].concat());
    let high = draw(0) & !0xf000 | 0x4000;
    let low = draw(1) & !(3 << 62) | 2 << 62;
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("cni-{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

/// The node's end of a pod's veth pair: `veth` and eight digits (plugins/pkg/ip/link_linux.go: RandomVethName).
pub(super) fn veth(prf: &Prf, namespace: &str, name: &str) -> String {
    let mut words = key(&[namespace, name]);
    words.push(2);
    format!("veth{:08x}", prf.draw(Purpose::Netns, &words) as u32)
}

/// The hardware address of that end.
pub(super) fn veth_mac(prf: &Prf, namespace: &str, name: &str) -> Mac {
    let mut words = key(&[namespace, name]);
    words.push(3);
    let [a, b, c, d, e, f, ..] = prf.draw(Purpose::Netns, &words).to_le_bytes();
    // Locally administered, and no group.
    Mac([a & 0xfe | 2, b, c, d, e, f])
}
