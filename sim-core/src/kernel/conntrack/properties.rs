//! net/netfilter/nf_conntrack_core.c and nf_nat_core.c: what holds of any packets in any order, garbage collection
//! included. Against RFC 3022 it is held by the kit of `testing`.

use super::nat::Range;
use super::testkit::*;
use super::*;
use crate::wire::{IPPROTO_ICMP, IPPROTO_UDP};
use proptest::prelude::*;
use std::collections::BTreeSet;

const EXTERNAL: [u8; 4] = [192, 168, 0, 11];

/// Something that happens to a router.
#[derive(Clone, Debug)]
enum Op {
    /// A packet from an inner host.
    Out {
        proto: u8,
        host: u8,
        port: u16,
        remote: u8,
    },
    /// The answer to an earlier packet.
    Back(usize),
    /// An ICMP error about an earlier packet.
    Error {
        about: usize,
        kind: u8,
        quote: usize,
    },
    Sleep(u64),
    Collect,
}

fn op() -> impl Strategy<Value = Op> {
    let port = prop_oneof![Just(300), Just(700), 5000..5003u16, Just(65535)];
    let out = (prop_oneof![Just(IPPROTO_UDP), Just(IPPROTO_ICMP)], 2..6u8, port, 0..3u8);
    prop_oneof![
        6 => out.prop_map(|(proto, host, port, remote)| Op::Out { proto, host, port, remote }),
        4 => any::<prop::sample::Index>().prop_map(|i| Op::Back(i.index(1 << 10))),
        2 => (0..1000usize, prop::sample::select(vec![3u8, 4, 5, 11, 12]), 0..80usize)
            .prop_map(|(about, kind, quote)| Op::Error { about, kind, quote }),
        2 => (0..70u64).prop_map(Op::Sleep),
        1 => Just(Op::Collect),
    ]
}

fn sequence() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 1, 100, 70_000, u32::MAX])
}

/// A router that translates both ends: a Service on 10.96.0.1, everything else masqueraded.
fn router(random: bool) -> Router {
    let mut r = Router::new();
    r.snat = Some(Rule::Masquerade(Range { random, ..Range::default() }, EXTERNAL.into()));
    r.dnat = vec![(end("10.96.0.1:53"), Range { ports: Some((5300, 5301)), ..Range::to(ip("192.168.0.101")) })];
    r
}

fn remote(n: u8) -> End {
    [end("192.168.0.100:53"), end("192.168.0.101:5300"), end("10.96.0.1:53")][usize::from(n)]
}

fn question(proto: u8, host: u8, port: u16, to: u8) -> Vec<u8> {
    let (from, to) = (([10, 0, 0, host].into(), port), remote(to));
    if proto == IPPROTO_ICMP { icmp(from.0, to.0, 8, port) } else { udp(from, to, b"question") }
}

/// What answers a packet.
fn answer(p: &[u8]) -> Vec<u8> {
    if p[9] == IPPROTO_ICMP {
        icmp(destination(p).0, source(p).0, 0, u16::from_be_bytes([p[24], p[25]]))
    } else {
        udp(destination(p), source(p), b"answer")
    }
}

fn invariants(r: &Router, before: u32) {
    let mut seen = BTreeSet::new();
    for info in r.list() {
        assert!(seen.insert(info.tuple[0]), "{:?} twice", info.tuple[0]);
        assert!(seen.insert(info.tuple[1]), "{:?} twice", info.tuple[1]);
        assert!(info.timeout_s <= 120);
        let (from, to) = (info.tuple[0].sport, info.tuple[1].dport);
        let class = |p: u16| {
            if p < 512 {
                0
            } else if p < 1024 {
                1
            } else {
                2
            }
        };
        if info.tuple[0].proto == IPPROTO_UDP {
            assert_eq!(class(from), class(to), "{from} -> {to}");
        }
    }
    assert!(r.ct.count() >= r.list().len() as u32 && r.ct.count() <= before + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn replies_are_restored_and_tuples_are_unique(ops in prop::collection::vec(op(), 1..80), random: bool) {
        let mut r = router(random);
        let mut sent: Vec<(Vec<u8>, Vec<u8>)> = vec![];
        for op in ops {
            let before = r.ct.count();
            match op {
                Op::Out { proto, host, port, remote } => {
                    let p = question(proto, host, port, remote);
                    let Some(q) = r.forward(&p) else { continue };
                    prop_assert!(sound(&q));
                    prop_assert_eq!(source(&q).0.octets(), EXTERNAL);
                    prop_assert_eq!(r.forward(&answer(&q)), Some(answer(&p)));
                    sent.push((p, q));
                }
                Op::Back(i) if !sent.is_empty() => {
                    let back = r.forward(&answer(&sent[i % sent.len()].1));
                    prop_assert!(back.is_none_or(|b| sound(&b)));
                }
                Op::Error { about, kind, quote } if !sent.is_empty() => {
                    let q = &sent[about % sent.len()].1;
                    let error = icmp_error([192, 168, 0, 1].into(), EXTERNAL.into(), kind, 1, &q[..quote.min(q.len())]);
                    prop_assert!(r.forward(&error).is_none_or(|b| sound(&b)));
                }
                Op::Back(_) | Op::Error { .. } => {}
                Op::Sleep(s) => r.sleep(s),
                Op::Collect => r.run(|ct, cx| Gc::begin().scan(ct, cx)),
            }
            invariants(&r, before);
        }
        r.sleep(121);
        r.run(|ct, cx| Gc::begin().scan(ct, cx));
        prop_assert_eq!(r.ct.count(), 0);
    }

    #[test]
    fn no_bytes_do_harm(
        junk in prop::collection::vec(any::<u8>(), 0..120),
        proto in prop::sample::select(vec![1u8, 6, 17, 47, 132, 136, 255]),
        patches in prop::collection::vec((0..90usize, any::<u8>()), 0..8),
        cut in 0..90usize,
    ) {
        let mut r = router(false);
        r.ct.sysctl_set("net.netfilter.nf_conntrack_checksum", "0").unwrap();
        r.forward(&question(IPPROTO_UDP, 2, 5000, 0));
        r.forward(&junk);
        let q = question(IPPROTO_UDP, 2, 5000, 0);
        for mut p in [
            packet(proto, [10, 0, 0, 2].into(), remote(0).0, &junk),
            q.clone(),
            icmp(remote(0).0, EXTERNAL.into(), 8, 5),
            icmp_error([192, 168, 0, 1].into(), EXTERNAL.into(), 3, 1, &q),
            tcp(remote(0), end("10.0.0.2:1"), Seg { flags: SYN, seq: 1, ack: 2, win: 3, len: 4 }, &[3, 3, 7, 0]),
        ] {
            for (at, byte) in &patches {
                if let Some(b) = p.get_mut(*at) {
                    *b = *byte;
                }
            }
            p.truncate(cut.max(1).min(p.len()));
            for _ in 0..2 {
                r.forward(&p);
            }
        }
    }

    #[test]
    fn tcp_survives_any_segments(segments in prop::collection::vec(
        (any::<bool>(), 0..64u8, sequence(), 0..70_000u32, any::<u16>(), 0..4usize),
        1..60,
    )) {
        let mut r = Router::new();
        let (client, server) = (end("10.0.0.2:5000"), end("192.168.0.100:80"));
        for (reply, flags, seq, ack, win, len) in segments {
            let s = Seg { flags, seq, ack, win, len };
            let (from, to) = if reply { (server, client) } else { (client, server) };
            let p = tcp(from, to, s, &[5, 10, 0, 0, 0, 9, 0, 0, 0, 99, 1, 1]);
            prop_assert!(r.forward(&p).is_some());
            prop_assert!(r.ct.count() <= 1);
        }
    }
}
