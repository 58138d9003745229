//! net/netfilter/nf_conntrack_core.c: entries from their first packet to their end.

use super::nat::Range;
use super::testkit::*;
use super::*;
use event::Kind;

fn a() -> End {
    end("10.0.0.1:5000")
}

fn b() -> End {
    end("10.0.0.2:53")
}

#[test]
fn udp_becomes_a_stream_after_two_seconds() {
    let mut r = Router::new();
    assert_eq!(r.classify(&udp(a(), b(), b"q")), Some(CtInfo::New));
    assert_eq!(r.classify(&udp(a(), b(), b"q")), Some(CtInfo::New));
    assert_eq!(r.classify(&udp(b(), a(), b"r")), Some(CtInfo::EstablishedReply));
    assert_eq!(r.classify(&udp(a(), b(), b"q")), Some(CtInfo::Established));
    assert_eq!(r.list()[0].timeout_s, 30);
    r.sleep(3);
    assert_eq!(r.classify(&udp(b(), a(), b"r")), Some(CtInfo::EstablishedReply));
    let info = r.list()[0];
    assert_eq!((info.timeout_s, info.status.has(Status::ASSURED)), (120, true));
    let events: Vec<_> = r.events().iter().map(|e| (e.kind, e.info.timeout_s)).collect();
    assert_eq!(events, [(Kind::New, 30), (Kind::Update, 30), (Kind::Update, 120)]);
}

#[test]
fn a_dropped_packet_leaves_nothing() {
    let mut r = Router::new();
    let mut p = udp(a(), b(), b"q");
    let (_, nfct) = r.enter(&mut p);
    assert_eq!((r.ct.count(), r.list().len()), (1, 0));
    r.ct.put(nfct);
    assert_eq!(r.ct.count(), 0);
    assert!(r.ct.of(nfct).is_none());
    assert!(r.events().is_empty());
}

#[test]
fn clones_share_a_new_entry() {
    let mut r = Router::new();
    let mut p = udp(a(), b(), b"q");
    let (_, nfct) = r.enter(&mut p);
    r.ct.hold(nfct);
    assert_eq!(r.leave(&mut p.clone(), nfct), Verdict::Accept);
    assert!(r.ct.of(nfct).unwrap().is_confirmed());
    assert_eq!(r.leave(&mut p, nfct), Verdict::Accept);
    assert_eq!((r.events().len(), r.ct.count()), (1, 1));
    assert_eq!(r.list()[0].users, 1);
}

#[test]
fn expiry_on_look_up_and_by_the_collector() {
    let mut r = Router::new();
    r.forward(&udp(a(), b(), b"q"));
    r.sleep(29);
    assert_eq!(r.list().len(), 1);
    r.sleep(1);
    assert_eq!((r.list().len(), r.ct.count()), (0, 1));
    assert_eq!(r.classify(&udp(b(), a(), b"r")), Some(CtInfo::New));
    let kinds: Vec<_> = r.events().iter().map(|e| (e.kind, e.info.timeout_s)).collect();
    assert_eq!(kinds, [(Kind::New, 30), (Kind::Destroy, 0), (Kind::New, 30)]);
    r.sleep(31);
    let next = r.run(|ct, cx| {
        let mut gc = Gc::begin();
        gc.scan(ct, cx);
        gc.finish()
    });
    assert_eq!((r.ct.count(), r.events().len(), next), (0, 1, 60 * HZ - 1));
}

#[test]
fn the_collector_comes_sooner_when_much_expires_soon() {
    let mut r = Router::new();
    r.ct.sysctl_set("net.netfilter.nf_conntrack_udp_timeout", "5").unwrap();
    for port in 0..60_000 {
        r.forward(&udp((a().0, port), b(), b""));
    }
    let next = r.run(|ct, cx| {
        let mut gc = Gc::begin();
        gc.scan(ct, cx);
        gc.finish()
    });
    assert!((HZ..60 * HZ).contains(&next), "{next}");
}

#[test]
fn icmp_begins_with_a_question() {
    let mut r = Router::new();
    let (x, y) = (a().0, b().0);
    for (kind, want) in
        [(8, true), (13, true), (15, true), (17, true), (0, false), (14, false), (9, false), (40, false)]
    {
        let info = r.classify(&icmp(x, y, kind, 100 + u16::from(kind)));
        assert_eq!(info, want.then_some(CtInfo::New), "type {kind}");
    }
    assert_eq!(r.classify(&icmp(y, x, 0, 108)), Some(CtInfo::EstablishedReply));
    assert_eq!(r.classify(&icmp(y, x, 0, 109)), None);
    assert_eq!((r.ct.stats().invalid, r.ct.stats().error), (4, 1));
    assert_eq!(r.ct.count(), 4);
    r.sleep(3);
    assert_eq!(r.classify(&icmp(x, y, 8, 108)), Some(CtInfo::Established));
    assert!(r.list().iter().all(|i| !i.status.has(Status::ASSURED) && i.timeout_s <= 30));
}

#[test]
fn icmp_errors_belong_to_what_they_quote() {
    let mut r = Router::new();
    let router = "10.0.0.9".parse().unwrap();
    let sent = udp(a(), b(), b"question");
    r.forward(&sent);
    let error = |to, about: &[u8]| icmp_error(router, to, 3, 1, about);
    for (p, want) in [
        (error(a().0, &sent), Some(CtInfo::RelatedReply)),
        (error(a().0, &sent[..28]), Some(CtInfo::RelatedReply)),
        // Not to who sent it.
        (error(b().0, &sent), None),
        // Too short to tell.
        (error(a().0, &sent[..22]), None),
        // About nothing known.
        (error(a().0, &udp(a(), end("10.0.0.3:53"), b"q")), None),
        (error(b().0, &udp(b(), a(), b"answer")), Some(CtInfo::Related)),
    ] {
        assert_eq!(r.classify(&p), want);
    }
    assert_eq!(r.ct.stats().error, 3);
    // They do not keep it alive.
    r.sleep(29);
    r.classify(&error(a().0, &sent));
    r.sleep(1);
    assert!(r.list().is_empty());
}

#[test]
fn damaged_packets_are_invalid_when_they_arrive() {
    let mut r = Router::new();
    let mut p = udp(a(), b(), b"q");
    p[26] ^= 1;
    assert_eq!(r.classify(&p), None);
    r.ct.sysctl_set("net.netfilter.nf_conntrack_checksum", "0").unwrap();
    assert_eq!(r.classify(&p), Some(CtInfo::New));
    let mut short = udp(a(), end("10.0.0.2:54"), b"q");
    short[25] = 50;
    assert_eq!(r.classify(&short), None);
}

/// Two packets of one flow, both new.
fn race(r: &mut Router, first: &[u8], second: &[u8], between: impl FnOnce(&mut Router)) -> (Verdict, Verdict) {
    let (mut p, mut q) = (first.to_vec(), second.to_vec());
    let (_, one) = r.enter(&mut p);
    between(r);
    let (_, two) = r.enter(&mut q);
    (r.leave(&mut p, one), r.leave(&mut q, two))
}

#[test]
fn clashes() {
    // The same translation: the second joins the first.
    let mut r = Router::new();
    let q = udp(a(), b(), b"q");
    assert_eq!(race(&mut r, &q, &q, |_| {}), (Verdict::Accept, Verdict::Accept));
    assert_eq!((r.ct.stats().clash_resolve, r.ct.count(), r.list().len()), (1, 1, 1));

    // The same flow from either end.
    let mut r = Router::new();
    assert_eq!(race(&mut r, &q, &udp(b(), a(), b"r"), |_| {}), (Verdict::Accept, Verdict::Accept));
    assert_eq!((r.ct.stats().clash_resolve, r.ct.count()), (1, 1));

    // Different backends: the loser is found by its replies alone, for a second.
    let mut r = Router::new();
    let vip = end("10.96.0.10:53");
    let q = udp(a(), vip, b"q");
    r.dnat = vec![(vip, Range::to(ip("10.0.0.3")))];
    let other = |r: &mut Router| r.dnat = vec![(vip, Range::to(ip("10.0.0.4")))];
    assert_eq!(race(&mut r, &q, &q, other), (Verdict::Accept, Verdict::Accept));
    assert_eq!((r.ct.stats().clash_resolve, r.ct.count(), r.list().len()), (1, 2, 1));
    for backend in ["10.0.0.3:53", "10.0.0.4:53"] {
        let reply = r.forward(&udp(end(backend), a(), b"r")).unwrap();
        assert_eq!(source(&reply), vip, "{backend}");
    }
    r.sleep(1);
    assert_eq!(source(&r.forward(&udp(end("10.0.0.4:53"), a(), b"r")).unwrap()), end("10.0.0.4:53"));

    // TCP and ICMP do not race: the second is dropped.
    for (i, p) in [icmp(a().0, b().0, 8, 1), tcp(a(), b(), Seg { flags: SYN, seq: 1, ack: 0, win: 1, len: 0 }, &[])]
        .iter()
        .enumerate()
    {
        let mut r = Router::new();
        assert_eq!(race(&mut r, p, p, |_| {}), (Verdict::Accept, Verdict::Drop), "{i}");
        let stats = r.ct.stats();
        assert_eq!((stats.drop, stats.insert_failed, stats.clash_resolve, r.ct.count()), (1, 1, 0, 1));
    }
}

#[test]
fn a_full_table_drops_new_flows_only() {
    let mut r = Router::new();
    r.ct.sysctl_set("net.netfilter.nf_conntrack_max", "4").unwrap();
    for port in 1..=4 {
        assert!(r.forward(&udp((a().0, port), b(), b"q")).is_some());
    }
    assert!(r.forward(&udp((a().0, 5), b(), b"q")).is_none());
    assert!(r.forward(&udp((a().0, 4), b(), b"q")).is_some());
    assert_eq!((r.ct.stats().drop, r.ct.stats().early_drop, r.ct.count()), (1, 0, 4));
    // With few buckets the new flow's hold some that are not assured.
    r.ct.sysctl_set("net.netfilter.nf_conntrack_buckets", "2").unwrap();
    assert!(r.forward(&udp((a().0, 5), b(), b"q")).is_some());
    assert!(r.ct.stats().early_drop >= 1);
    assert!(r.ct.count() <= 4);
}

#[test]
fn zones_keep_the_same_addresses_apart() {
    let mut r = Router::new();
    for zone in [1, 2] {
        let p = udp(a(), b(), b"q");
        r.run(|ct, cx| {
            let view = Packet { zone: Zone { id: zone, ..Zone::default() }, ..Packet::new(&p, Csum::Full) };
            let (_, nfct) = nf_conntrack_in(ct, cx, &view, Nfct::None, Hook::Prerouting);
            let (verdict, nfct) = nf_conntrack_confirm(ct, cx, nfct);
            assert_eq!(verdict, Verdict::Accept);
            ct.put(nfct);
        });
    }
    assert_eq!(r.list().iter().map(|i| i.zone.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(r.classify(&udp(b(), a(), b"r")), Some(CtInfo::New));
}

#[test]
fn deletion_by_hand_and_flush() {
    let mut r = Router::new();
    for port in 1..=3 {
        r.forward(&udp((a().0, port), b(), b"q"));
    }
    r.events();
    let second = r.list()[1];
    assert!(r.run(|ct, cx| ct.del(cx, &second.tuple[0], second.id, 77)));
    assert!(!r.run(|ct, cx| ct.del(cx, &second.tuple[0], second.id, 77)));
    r.run(|ct, cx| ct.flush(cx, 78));
    assert_eq!(
        r.events().iter().map(|e| (e.kind, e.portid)).collect::<Vec<_>>(),
        [(Kind::Destroy, Some(77)), (Kind::Destroy, Some(78)), (Kind::Destroy, Some(78))]
    );
    assert_eq!(r.ct.count(), 0);
}

#[test]
fn a_mark_is_told() {
    let mut r = Router::new();
    let mut p = udp(a(), b(), b"q");
    let (_, nfct) = r.enter(&mut p);
    set_mark(&mut r.ct, nfct, 5);
    r.leave(&mut p, nfct);
    assert_eq!(r.list()[0].mark, 5);
    assert!(r.events()[0].mark);
}

#[test]
fn what_is_made_because_of_a_packet_is_related() {
    let mut r = Router::new();
    let mut p = udp(a(), b(), b"q");
    let (_, nfct) = r.enter(&mut p);
    let made = nf_conntrack_attach(&mut r.ct, nfct);
    assert!(matches!(made, Nfct::Ct { info: CtInfo::RelatedReply, .. }));
    // It does not confirm the connection.
    assert_eq!(r.run(|ct, cx| nf_conntrack_confirm(ct, cx, made)).0, Verdict::Accept);
    r.ct.put(made);
    r.ct.put(nfct);
    assert_eq!(r.ct.count(), 0);
}
