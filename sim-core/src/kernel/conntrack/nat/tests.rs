//! net/netfilter/nf_nat_core.c, nf_nat_proto.c and nf_nat_masquerade.c: port choice and translation as measured.

use super::super::testkit::*;
use super::super::{Csum, CtInfo, Hook, Packet, nf_conntrack_in};
use super::*;

fn masquerade(random: bool) -> Router {
    let mut r = Router::new();
    let range = Range { random, ..Range::default() };
    r.snat = Some(Rule::Masquerade(range, [192, 168, 0, 11].into()));
    r
}

const OUT: &str = "192.168.0.100:53";

#[test]
fn a_source_port_is_kept_while_it_is_free() {
    let mut r = masquerade(false);
    let first = r.forward(&udp(end("10.0.0.2:5000"), end(OUT), b"q")).unwrap();
    assert_eq!(source(&first), end("192.168.0.11:5000"));
    // Another pod with the same port: another one of the same class.
    for (port, low, high) in [(5000, 1024, 65535), (700, 600, 1023), (400, 1, 511)] {
        r.forward(&udp((end("10.0.0.2:0").0, port), end(OUT), b"q")).unwrap();
        let second = r.forward(&udp((end("10.0.0.3:0").0, port), end(OUT), b"q")).unwrap();
        let got = source(&second).1;
        assert!(got != port && (low..=high).contains(&got), "{port} -> {got}");
        // The same mapping for other destinations, as long as it is free there.
        let third = r.forward(&udp((end("10.0.0.3:0").0, port), end("192.168.0.100:54"), b"q")).unwrap();
        assert_eq!(source(&third).1, got, "{port}");
    }
}

#[test]
fn random_ports_stay_in_their_class() {
    let mut r = masquerade(true);
    let mut kept = 0;
    for (port, low, high) in
        [(300, 1, 511), (700, 600, 1023), (1023, 600, 1023), (1024, 1024, 65535), (40001, 1024, 65535)]
    {
        for host in 1..=60 {
            let p = r.forward(&udp(([10, 0, 0, host].into(), port), end(OUT), b"q")).unwrap();
            let got = source(&p).1;
            assert!((low..=high).contains(&got), "{port} -> {got}");
            kept += u32::from(got == port);
        }
    }
    assert!(kept < 5, "{kept}");
}

#[test]
fn draws_depend_on_the_flow_alone() {
    let port = |others: u8| {
        let mut r = masquerade(true);
        for host in 1..=others {
            r.forward(&udp(([10, 0, 1, host].into(), 5000), end("192.168.0.101:53"), b"q"));
        }
        source(&r.forward(&udp(end("10.0.0.2:5000"), end(OUT), b"q")).unwrap()).1
    };
    assert_eq!(port(0), port(50));
}

#[test]
fn two_ports_for_four_clients() {
    let mut r = Router::new();
    r.snat = Some(Rule::Nat(Range { ports: Some((6000, 6001)), ..Range::to(ip("192.168.0.11")) }));
    let passed: Vec<bool> =
        (2..=5).map(|host| r.forward(&udp(([10, 0, 0, host].into(), 5000), end(OUT), b"q")).is_some()).collect();
    assert_eq!(passed, [true, true, false, false]);
    let stats = r.ct.stats();
    assert_eq!((stats.drop, stats.insert_failed, r.ct.count()), (2, 2, 2));
    assert!(stats.found >= 4, "{}", stats.found);
}

#[test]
fn a_destination_range_begins_at_its_first_port() {
    let mut r = Router::new();
    let vip = end("10.96.0.10:53");
    r.dnat = vec![(vip, Range { ports: Some((6000, 6010)), ..Range::to(ip("10.0.0.9")) })];
    for host in 1..=3 {
        let p = r.forward(&udp(([10, 0, 0, host].into(), 5000), vip, b"q")).unwrap();
        assert_eq!(destination(&p), end("10.0.0.9:6000"));
    }
    r.dnat[0].1 = Range { ports: Some((8080, 8080)), ..Range::to(ip("10.0.0.9")) };
    let p = r.forward(&udp(end("10.0.0.7:5000"), vip, b"q")).unwrap();
    assert_eq!(destination(&p), end("10.0.0.9:8080"));
}

#[test]
fn no_rule_keeps_the_port_unless_it_is_taken() {
    // Facts 4.3: a pod is masqueraded to the host's own port; the host's flow gives way.
    let mut r = masquerade(false);
    r.forward(&udp(end("10.0.0.2:5000"), end("192.168.0.12:7000"), b"q")).unwrap();
    r.snat = None;
    let p = r.forward(&udp(end("192.168.0.11:5000"), end("192.168.0.12:7000"), b"q")).unwrap();
    assert_eq!(source(&p).0, end("192.168.0.11:0").0);
    assert_ne!(source(&p).1, 5000);
    let back = r.forward(&udp(end("192.168.0.12:7000"), source(&p), b"r")).unwrap();
    assert_eq!(destination(&back), end("192.168.0.11:5000"));
    // The same port to two services with one endpoint.
    let mut r = Router::new();
    let (one, two) = (end("10.96.0.1:80"), end("10.96.0.2:80"));
    r.dnat = vec![(one, Range::to(ip("10.0.0.9"))), (two, Range::to(ip("10.0.0.9")))];
    let p = r.forward(&udp(end("10.0.0.2:41000"), one, b"q")).unwrap();
    let q = r.forward(&udp(end("10.0.0.2:41000"), two, b"q")).unwrap();
    assert_eq!(source(&p).1, 41000);
    assert_ne!(source(&q).1, 41000);
}

#[test]
fn an_icmp_id_is_a_port() {
    let mut r = masquerade(false);
    let to = end(OUT).0;
    let id = |p: &[u8]| u16::from_be_bytes([p[24], p[25]]);
    let p = r.forward(&icmp([10, 0, 0, 2].into(), to, 8, 77)).unwrap();
    let q = r.forward(&icmp([10, 0, 0, 3].into(), to, 8, 77)).unwrap();
    assert_eq!(id(&p), 77);
    assert_ne!(id(&q), 77);
    assert!(sound(&p) && sound(&q));
    let back = r.forward(&icmp(to, [192, 168, 0, 11].into(), 0, id(&q))).unwrap();
    assert_eq!((id(&back), &back[16..20]), (77, &[10, 0, 0, 3][..]));
    // Facts 4.1: at OUTPUT, where the destination is translated, the search begins at 0.
    for want in [0, 1] {
        let mut mine = icmp([192, 168, 0, 11].into(), to, 8, if want == 0 { 77 } else { id(&q) });
        let nfct = r.run(|ct, cx| {
            let (_, nfct) = nf_conntrack_in(ct, cx, &Packet::new(&mine, Csum::Full), Nfct::None, Hook::Output);
            let verdict = nf_nat_after_rules(ct, cx, nfct, Hook::Output, &mut mine, Csum::Full);
            assert_eq!(verdict, Verdict::Accept);
            nfct
        });
        r.snat = None;
        assert_eq!(r.leave(&mut mine, nfct), Verdict::Accept);
        assert_eq!(id(&mine), want);
    }
}

#[test]
fn an_ended_connection_gives_way_to_a_newer_one() {
    let mut r = Router::new();
    r.snat = Some(Rule::Nat(Range { ports: Some((6000, 6000 + 9)), ..Range::to(ip("192.168.0.11")) }));
    let server = end("192.168.0.100:80");
    let syn = |seq| Seg { flags: SYN, seq, ack: 0, win: 1000, len: 0 };
    let mut ports = vec![];
    for host in 1..=10 {
        let p = r.forward(&tcp(([10, 0, 0, host].into(), 5000), server, syn(1000), &[])).unwrap();
        ports.push(source(&p).1);
        // Refused, but only after an answer: CLOSE, still in the table.
        let answer = Seg { flags: SYN | ACK, seq: 9000, ack: 1001, win: 1000, len: 0 };
        r.forward(&tcp(server, source(&p), answer, &[])).unwrap();
        let reset = Seg { flags: RST, seq: 1001, ack: 0, win: 0, len: 0 };
        r.forward(&tcp(([10, 0, 0, host].into(), 5000), server, reset, &[])).unwrap();
    }
    ports.sort_unstable();
    assert_eq!(ports, (6000..=6009).collect::<Vec<_>>());
    assert!(r.forward(&tcp(end("10.0.0.20:5000"), server, syn(500), &[])).is_none());
    assert!(r.forward(&tcp(end("10.0.0.20:5001"), server, syn(2000), &[])).is_some());
}

#[test]
fn errors_are_translated_inside_and_outside() {
    // Facts 4.6: p3 answers "port unreachable"; the client sees the Service.
    let mut r = Router::new();
    let (client, vip) = (end("10.244.1.2:40000"), end("10.96.0.77:53"));
    r.dnat = vec![(vip, Range { ports: Some((5399, 5399)), ..Range::to(ip("10.244.2.2")) })];
    let seen = r.forward(&udp(client, vip, b"question")).unwrap();
    assert_eq!(destination(&seen), end("10.244.2.2:5399"));
    for quote in [seen.len(), 28] {
        let error = icmp_error(end("10.244.2.2:0").0, client.0, 3, 3, &seen[..quote]);
        let got = r.forward(&error).unwrap();
        assert_eq!((source(&got).0, destination(&got).0), (vip.0, client.0));
        assert_eq!((source(&got[28..]), destination(&got[28..])), (client, vip));
        assert!(sound(&got), "{quote}");
        assert_eq!(crate::wire::checksum(&got[28..48]), 0);
    }
    // The whole datagram was quoted: its own checksum is right again.
    let got = r.forward(&icmp_error(end("10.244.2.2:0").0, client.0, 3, 3, &seen)).unwrap();
    assert_eq!(&got[28..], &udp(client, vip, b"question")[..]);
    // A router on the way speaks as the Service, too.
    let got = r.forward(&icmp_error([10, 0, 0, 9].into(), client.0, 11, 0, &seen)).unwrap();
    assert_eq!(source(&got).0, vip.0);
}

#[test]
fn redirects_of_translated_flows_are_lost() {
    let redirect =
        |r: &mut Router, about: &[u8]| r.forward(&icmp_error([10, 0, 0, 9].into(), source(about).0, 5, 1, about));
    let p = udp(end("10.0.0.2:5000"), end(OUT), b"q");
    let mut r = Router::new();
    r.forward(&p);
    assert!(redirect(&mut r, &p).is_some());
    let mut r = masquerade(false);
    let seen = r.forward(&p).unwrap();
    assert!(redirect(&mut r, &seen).is_none());
    // Before the first packet is through, too.
    let mut r = Router::new();
    let (_, nfct) = r.enter(&mut p.clone());
    let made = super::super::nf_conntrack_attach(&mut r.ct, nfct);
    let mut error = icmp_error([10, 0, 0, 9].into(), end("10.0.0.2:0").0, 5, 1, &p);
    let step = r.run(|ct, cx| nf_nat_hook(ct, cx, made, Hook::Output, None, &mut error, Csum::Full));
    assert_eq!(step, NatStep::Done(Verdict::Drop));
}

#[test]
fn no_checksum_stays_none_and_partial_ones_stay_partial() {
    let mut r = masquerade(false);
    let mut p = udp(end("10.0.0.2:5000"), end(OUT), b"q");
    p[26..28].copy_from_slice(&[0, 0]);
    assert_eq!(r.forward(&p).unwrap()[26..28], [0, 0]);
    // Only the pseudo header's sum stands in it.
    let partial = |p: &mut [u8]| {
        let len = (p.len() - 20) as u16;
        let sum = smoltcp::wire::checksum::data(&p[12..20]);
        let sum = smoltcp::wire::checksum::combine(&[sum, u16::from(p[9]), len]);
        p[26..28].copy_from_slice(&sum.to_be_bytes());
    };
    let mut p = udp(end("10.0.0.3:5001"), end(OUT), b"q");
    partial(&mut p);
    let (_, nfct) = r.enter_unchecked(&mut p);
    r.leave_partial(&mut p, nfct);
    let mut want = p.clone();
    partial(&mut want);
    assert_eq!((source(&p), p), (end("192.168.0.11:5001"), want));
}

impl Router {
    fn enter_unchecked(&mut self, p: &mut [u8]) -> (Verdict, Nfct) {
        self.run(|ct, cx| nf_conntrack_in(ct, cx, &Packet::new(p, Csum::Partial), Nfct::None, Hook::Prerouting))
    }

    fn leave_partial(&mut self, p: &mut [u8], nfct: Nfct) {
        self.run(|ct, cx| {
            let range = Range::default();
            nf_nat_masquerade(ct, cx, nfct, &range, Some([192, 168, 0, 11].into()), IfIndex(2));
            assert_eq!(nf_nat_packet(ct, nfct, Hook::Postrouting, p, Csum::Partial), Verdict::Accept);
            ct.put(nfct);
        });
    }
}

#[test]
fn what_was_masqueraded_goes_with_its_device() {
    let mut r = masquerade(false);
    r.forward(&udp(end("10.0.0.2:5000"), end(OUT), b"q"));
    r.snat = None;
    r.forward(&udp(end("10.0.0.2:5001"), end(OUT), b"q"));
    for (dev, addr, left) in [(3, None, 2), (2, Some("192.168.0.12"), 2), (2, Some("192.168.0.11"), 1), (2, None, 1)] {
        r.run(|ct, cx| ct.masq_cleanup(cx, IfIndex(dev), addr.map(ip)));
        assert_eq!(r.list().len(), left, "{dev} {addr:?}");
    }
}

#[test]
fn a_masqueraded_flow_that_leaves_by_another_device_ends() {
    let mut r = masquerade(false);
    let p = udp(end("10.0.0.2:5000"), end(OUT), b"q");
    r.forward(&p);
    let mut p = p.clone();
    let (_, nfct) = r.enter(&mut p);
    assert!(matches!(nfct, Nfct::Ct { info: CtInfo::New, .. }));
    let step = r.run(|ct, cx| nf_nat_hook(ct, cx, nfct, Hook::Postrouting, Some(IfIndex(9)), &mut p, Csum::Full));
    assert_eq!(step, NatStep::Done(Verdict::Drop));
    r.ct.put(nfct);
    assert_eq!(r.ct.count(), 0);
}

#[test]
fn without_an_address_there_is_no_masquerade() {
    let mut r = Router::new();
    let mut p = udp(end("10.0.0.2:5000"), end(OUT), b"q");
    let (_, nfct) = r.enter(&mut p);
    let verdict = r.run(|ct, cx| nf_nat_masquerade(ct, cx, nfct, &Range::default(), None, IfIndex(2)));
    assert_eq!(verdict, Verdict::Drop);
}
