//! A namespace by itself, one packet after the other.

use super::*;
use crate::base::time::SEC;
use crate::kernel::netfilter::choices::Choices;
use crate::kernel::netfilter::hook::{Hook, TableName};
use crate::kernel::netfilter::targets::RejectWith;
use crate::kernel::trace::{Consumer, DropReason};
use crate::wire::{IPPROTO_TCP, IPPROTO_UDP};

/// A router between 192.0.2.0/24 on eth0 and 10.0.0.0/24 on eth1, with these rules.
fn router(rules: &str) -> NetNs {
    let mut ns = NetNs::new(&["eth0", "eth1"]).expect("good names");
    for command in
        ["ip addr add 192.0.2.1/24 dev eth0", "ip addr add 10.0.0.1/24 dev eth1", "sysctl -w net.ipv4.ip_forward=1"]
    {
        ns.run(command).expect(command);
    }
    ns.restore(rules).expect("good rules");
    ns
}

fn check(ns: &NetNs) {
    let (made, ended, waiting) = ns.world().balance();
    assert_eq!(made, ended + waiting as u64, "a frame is lost");
}

fn syn() -> Packet {
    Packet::tcp("192.0.2.9:1234", "10.0.0.5:80")
}

#[test]
fn a_packet_is_forwarded_and_so_is_its_answer() {
    let mut ns = router("*nat\n-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n");
    let outcome = ns.receive("eth0", &syn()).expect("no limit");
    let Verdict::Sent(frames) = &outcome.verdict else { panic!("{outcome}") };
    let sent = frames[0].packet().expect("a packet");
    assert_eq!((frames.len(), frames[0].dev.as_str(), sent.src, sent.ttl), (1, "eth1", [10, 0, 0, 1].into(), 63));
    assert_eq!(frames[0].bytes[..6], neighbour_mac([10, 0, 0, 5].into()).0);
    assert_eq!(outcome.hits[0].text, "-A POSTROUTING -o eth1 -j MASQUERADE");
    let back = ns.receive("eth1", &sent.answer()).expect("no limit");
    let Verdict::Sent(frames) = &back.verdict else { panic!("{back}") };
    assert_eq!((frames[0].source().as_str(), frames[0].destination().as_str()), ("10.0.0.5:80", "192.0.2.9:1234"));
    assert_eq!(back.hits, [], "nat is asked once");
    assert_eq!(ns.connections().len(), 1);
    assert!(ns.run("iptables-save -c -t nat").expect("it shows").contains("[1:40] -A POSTROUTING"));
    check(&ns);
}

#[test]
fn who_dropped_it() {
    let blame = |rules: &str| {
        let mut ns = router(rules);
        let outcome = ns.receive("eth0", &syn()).expect("no limit");
        check(&ns);
        match outcome.verdict {
            Verdict::Dropped { reason: DropReason::NetfilterDrop, by: Some(by) } => {
                (by.hook, by.table, by.number, by.line, by.text)
            }
            other => panic!("{other}"),
        }
    };
    assert_eq!(
        blame("*filter\n-A FORWARD -p udp -j ACCEPT\n-A FORWARD -p tcp -j DROP\nCOMMIT\n"),
        (Hook::Forward, TableName::Filter, Some(2), Some(3), "-A FORWARD -p tcp -j DROP".to_owned())
    );
    let policies = "*mangle\n:FORWARD DROP [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n\
                    -A FORWARD -j MARK --set-mark 1\nCOMMIT\n";
    assert_eq!(blame(policies), (Hook::Forward, TableName::Filter, None, None, "-P FORWARD DROP".to_owned()));
}

#[test]
fn rejected_with_bytes() {
    let mut ns = router("*filter\n-A FORWARD -j REJECT\n-A OUTPUT -p udp -j REJECT\nCOMMIT\n");
    let outcome = ns.receive("eth0", &syn()).expect("no limit");
    let Verdict::Rejected { with: RejectWith::PortUnreachable, answer: Some(answer), .. } = &outcome.verdict else {
        panic!("{outcome}")
    };
    assert_eq!((answer[9], &answer[20..22]), (1, &[3, 3][..]), "ICMP port unreachable");
    assert_eq!((outcome.answers.len(), outcome.answers[0].dev.as_str()), (1, "eth0"));
    assert_eq!(outcome.answers[0].l3(), answer);
    // A sender here hears it, too: by lo.
    let outcome = ns.send(&Packet::udp("10.0.0.1:9", "10.0.0.5:53")).expect("no limit");
    let Verdict::Rejected { answer: Some(answer), .. } = &outcome.verdict else { panic!("{outcome}") };
    assert_eq!(&answer[20..22], &[3, 3]);
    check(&ns);
}

#[test]
fn who_is_meant() {
    let mut ns = router("*filter\nCOMMIT\n");
    let to_us = |protocol| Packet { protocol, dst: [192, 0, 2, 1].into(), ..syn() };
    let reason = |outcome: Outcome| match outcome.verdict {
        Verdict::Dropped { reason, by: None } => reason,
        other => panic!("{other}"),
    };
    let closed = ns.receive("eth0", &to_us(IPPROTO_TCP)).expect("no limit");
    assert_eq!(closed.answers.len(), 1, "a reset");
    assert_eq!(reason(closed), DropReason::NoSocket);
    for (protocol, by) in [(IPPROTO_UDP, Receiver::Socket), (IPPROTO_TCP, Receiver::Kernel(Consumer::Tcp))] {
        ns.listen(protocol, 80).expect("the port is free");
        let outcome = ns.receive("eth0", &to_us(protocol)).expect("no limit");
        assert_eq!(outcome.verdict, Verdict::Local(by));
    }
    assert!(ns.listen(IPPROTO_UDP, 80).is_err(), "the port is taken");
    let ping = ns.receive("eth0", &Packet::ping("192.0.2.9:1", "192.0.2.1")).expect("no limit");
    assert_eq!((ping.verdict, ping.answers.len()), (Verdict::Local(Receiver::Kernel(Consumer::Icmp)), 1));
    let nowhere = ns.receive("eth0", &Packet { dst: [203, 0, 113, 1].into(), ..syn() }).expect("no limit");
    assert_eq!(reason(nowhere), DropReason::IpInNoRoutes);
    let unreachable = ns.send(&Packet::udp("10.0.0.1:9", "203.0.113.1:53")).expect("no limit");
    assert_eq!(unreachable.verdict, Verdict::NotSent(101), "ENETUNREACH");
    assert!(matches!(ns.receive("eth9", &syn()), Err(Error::NoDevice(_))));
    check(&ns);
}

#[test]
fn neighbours_answer_or_not() {
    let mut ns = router("*filter\nCOMMIT\n");
    ns.silence();
    ns.run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent").expect("it is free");
    assert_eq!(ns.receive("eth0", &syn()).expect("no limit").verdict, Verdict::Waits);
    let given_up = ns.advance(5 * SEC).expect("no limit");
    assert_eq!((given_up.len(), given_up[0].dev.as_str()), (1, "eth0"), "ICMP host unreachable");
    ns.run("ip neigh replace 10.0.0.5 lladdr 02:00:00:00:00:05 dev eth1 nud permanent").expect("a neighbour");
    let outcome = ns.receive("eth0", &Packet { sport: 2, ..syn() }).expect("no limit");
    assert!(matches!(outcome.verdict, Verdict::Sent(_)), "{outcome}");
    check(&ns);
}

#[test]
fn the_clock_moves_by_hand() {
    let mut ns =
        router("*filter\n-A FORWARD -m limit --limit 1/sec --limit-burst 1 -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n");
    let passes = |ns: &mut NetNs| {
        let outcome = ns.receive("eth0", &Packet::udp("192.0.2.9:1", "10.0.0.5:1")).expect("no limit");
        matches!(outcome.verdict, Verdict::Sent(_))
    };
    assert_eq!([passes(&mut ns), passes(&mut ns)], [true, false]);
    let mut later = ns.clone();
    later.advance(2 * SEC).expect("no limit");
    assert_eq!([passes(&mut later), passes(&mut ns)], [true, false], "a clone goes on by itself");
}

/// One of three, then one of two, then the rest: each way once, with its odds.
#[test]
fn what_is_left_to_chance_is_decided() {
    let rules = "*nat\n\
                 -A PREROUTING -p tcp -m statistic --mode random --probability 0.25 -j DNAT --to-destination 10.0.0.2\n\
                 -A PREROUTING -p tcp -m statistic --mode nth --every 3 --packet 0 -j DNAT --to-destination 10.0.0.3\n\
                 COMMIT\n";
    let ns = router(rules);
    let (mut ways, mut next) = (vec![], Some(Choices::default()));
    while let Some(choices) = next {
        let mut ns = ns.clone();
        ns.choose(Some(choices));
        let Verdict::Sent(frames) = ns.receive("eth0", &syn()).expect("no limit").verdict else { panic!("it is sent") };
        let choices = ns.choose(None).expect("they decided");
        ways.push((
            frames[0].destination(),
            choices.taken().iter().map(|c| (c.odds, c.of, c.held)).collect::<Vec<_>>(),
        ));
        next = choices.next();
    }
    let quarter = |held| (1 << 29, 1 << 31, held);
    let want = [
        ("10.0.0.2:80", vec![quarter(true)]),
        ("10.0.0.3:80", vec![quarter(false), (1, 3, true)]),
        ("10.0.0.5:80", vec![quarter(false), (1, 3, false)]),
    ];
    assert_eq!(ways, want.map(|(end, choices)| (end.to_owned(), choices)));
}

#[test]
fn bridge_ports_lead_outside_too() {
    let mut ns = NetNs::new(&["veth1", "veth2"]).expect("good names");
    for command in [
        "ip link add br0 type bridge",
        "ip link set br0 up",
        "ip link set veth1 master br0",
        "ip link set veth2 master br0",
        "bridge link set dev veth1 hairpin on",
        "ip addr add 10.0.0.1/24 dev br0",
        "sysctl -w net.ipv4.ip_forward=1",
    ] {
        ns.run(command).expect(command);
    }
    let rules = "*nat\n-A PREROUTING -d 192.0.2.1 -m physdev --physdev-in veth1 -j DNAT --to-destination 10.0.0.2\n\
                 -A POSTROUTING -s 10.0.0.2 -d 10.0.0.2 -j MASQUERADE\nCOMMIT\n";
    ns.restore(rules).expect("good rules");
    let ends = |outcome: &Outcome| match &outcome.verdict {
        Verdict::Sent(frames) => frames.iter().map(|f| (f.dev.clone(), f.source(), f.destination())).collect(),
        _ => vec![],
    };
    let end = |dev: &str, src: &str, dst: &str| (dev.to_owned(), src.to_owned(), dst.to_owned());
    // To its own Service address: back by the port that it came in by.
    let hairpin = ns.receive("veth1", &Packet::tcp("10.0.0.2:1000", "192.0.2.1:80")).expect("no limit");
    assert_eq!(ends(&hairpin), [end("veth1", "10.0.0.1:1000", "10.0.0.2:80")], "{hairpin}");
    // From host to host.
    let straight = ns.receive("veth2", &Packet::tcp("10.0.0.3:1000", "10.0.0.2:80")).expect("no limit");
    assert_eq!(ends(&straight), [end("veth1", "10.0.0.3:1000", "10.0.0.2:80")], "{straight}");
    check(&ns);
}

/// What conntrack -I makes is found by packets; its texts are those of the real tool.
#[test]
fn connections_are_made_by_hand() {
    let mut ns = router(
        "*nat\n-A PREROUTING -p udp -j DNAT --to-destination 10.0.0.6\nCOMMIT\n*filter\n\
         -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n",
    );
    let made = "conntrack -I -p 6 -s 192.0.2.9 -d 10.0.0.1 --sport 1234 --dport 80 -t 100 --state ESTABLISHED \
                -u SEEN_REPLY,ASSURED -m 5 -g 10.0.0.5:8080";
    ns.run(made).expect("no such connection");
    assert!(ns.run(made).expect_err("it exists").to_string().ends_with("Such conntrack exists, try -U to update"));
    let listed = ns.run("conntrack -L").expect("it lists");
    let want = "tcp      6 100 ESTABLISHED src=192.0.2.9 dst=10.0.0.1 sport=1234 dport=80 \
                src=10.0.0.5 dst=192.0.2.9 sport=8080 dport=1234 [ASSURED] mark=5 use=1\n";
    assert_eq!(listed, want);
    let of = |packet: &Packet, ns: &mut NetNs| ns.receive("eth0", packet).expect("no limit").verdict;
    let data = Packet::tcp("192.0.2.9:1234", "10.0.0.1:80").flags(".");
    let Verdict::Sent(frames) = of(&data, &mut ns) else { panic!("it belongs to the connection") };
    assert_eq!(frames[0].destination(), "10.0.0.5:8080");
    let other = Packet::tcp("192.0.2.9:1235", "10.0.0.5:80").flags("S");
    assert!(matches!(of(&other, &mut ns), Verdict::Dropped { .. }));
    check(&ns);
}
