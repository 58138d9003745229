//! What happens to a translator.

use super::packet::port;
use crate::testing::napt::{Op, Router, Translation};
use crate::wire::{IPPROTO_ICMP, IPPROTO_UDP};
use proptest::prelude::*;

/// What happens to a [`Router`], at most `most` things one after the other. Shrinks to few of them, all of one host.
pub fn napt_ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..=most)
}

/// A [`Router`] with one of the ways to translate. Shrinks to plain MASQUERADE.
pub fn napt_router() -> impl Strategy<Value = Router> {
    let ways = vec![Translation::Masquerade, Translation::Snat, Translation::Random];
    prop::sample::select(ways).prop_map(Router::new)
}

fn op() -> impl Strategy<Value = Op> {
    let protocol = prop_oneof![3 => Just(IPPROTO_UDP), 1 => Just(IPPROTO_ICMP)];
    let ask = (protocol.clone(), 0..4u8, port(), 0..3u8, 0..40u16, prop::bool::weighted(0.2)).prop_map(
        |(protocol, host, port, remote, len, unchecked)| Op::Ask { protocol, host, port, remote, len, unchecked },
    );
    let kinds = prop::sample::select(vec![(3, 3), (3, 4), (11, 0), (12, 0)]);
    // What RFC 792 quotes at least, and more.
    let error = (any::<prop::sample::Index>(), kinds, 28..80u8).prop_map(|(about, kind, quote)| Op::Error {
        about: about.index(MANY),
        kind,
        quote,
    });
    prop_oneof![
        6 => ask,
        4 => any::<prop::sample::Index>().prop_map(|which| Op::Answer(which.index(MANY))),
        2 => error,
        2 => (protocol, 0..3u8, port()).prop_map(|(protocol, remote, port)| Op::Stray { protocol, remote, port }),
        // Never two seconds in all, where it is left to the tick whether a flow is a stream.
        2 => prop::sample::select(vec![3u64, 7, 29, 30, 31, 60, 119, 121]).prop_map(Op::Sleep),
    ]
}

/// More packets than are sent in a run.
const MANY: usize = 1 << 16;
