//! Runs of arping against a scripted network. The texts are those of the real program in the same situation.

use super::*;
use crate::kernel::netlink::LinkChange;
use crate::user::script::{Arrival, Done, ETH0, OWN_MAC, Script, arp};

const HOST: Mac = Mac([0x0a, 0xaa, 0, 0, 0, 1]);

fn check(done: &Done, code: i32, text: &str) {
    assert_eq!(done.text, text);
    assert_eq!(done.code, code);
}

/// What HOST answers to a probe.
fn reply(data: &[u8]) -> Arp {
    let p = Arp::parse(data).unwrap();
    Arp { request: false, sha: HOST, sip: p.tip, tha: p.sha, tip: p.sip }
}

fn replies(us: u64) -> Script {
    Script::answering(Box::new(move |_, data, _| Ok(vec![(us, arp(HOST, false, reply(data)))])))
}

/// Answers the nth probe with what `answers` makes of the plain reply.
fn answering(answers: impl Fn(usize, Arp) -> Vec<Arrival> + 'static) -> Script {
    Script::answering(Box::new(move |n, data, _| Ok(answers(n, reply(data)).into_iter().map(|a| (1057, a)).collect())))
}

#[test]
fn one_probe() {
    let done = replies(525).run("arping -c1 -I eth0 10.8.0.1");
    check(
        &done,
        0,
        "ARPING 10.8.0.1 from 10.8.0.2 eth0\n\
         Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01]  0.527ms\n\
         Sent 1 probes (1 broadcast(s))\n\
         Received 1 response(s)\n",
    );
    let calls: Vec<&str> = done.calls.iter().map(|(_, c)| c.as_str()).collect();
    let want = [
        "Socket(Packet { ethertype: 2054 })",
        "Socket(Udp)",
        "SetSockOpt(5, BindToDevice(IfIndex(3)))",
        "SetSockOpt(5, DontRoute(true))",
        "Connect(5, 10.8.0.1)",
        "SockName(5)",
        "BindDev(3, 3)",
        "Send(28)",
        "Poll(999)",
        "Recv",
        "Poll(999)",
        "Exit(0)",
    ];
    assert_eq!(calls, want);
    // The answer does not end it, the tick after the last probe does.
    assert_eq!(done.times_ms("Exit"), [1000]);
}

/// tcpdump of the real program.
#[test]
fn probes_on_the_wire() {
    let probe =
        |request, sip: [u8; 4], tha, tip: [u8; 4]| Arp { request, sha: OWN_MAC, sip: sip.into(), tha, tip: tip.into() };
    let (own, host) = ([10, 8, 0, 2], [10, 8, 0, 1]);
    for (line, want) in [
        (
            "arping -w2 -I eth0 10.8.0.1",
            vec![
                (Mac::BROADCAST, probe(true, own, Mac::BROADCAST, host)),
                (HOST, probe(true, own, HOST, host)),
                (HOST, probe(true, own, HOST, host)),
            ],
        ),
        ("arping -b -c2 -I eth0 10.8.0.1", vec![(Mac::BROADCAST, probe(true, own, Mac::BROADCAST, host)); 2]),
        ("arping -U -c1 -I eth0 10.8.0.2", vec![(Mac::BROADCAST, probe(true, own, Mac::BROADCAST, own))]),
        ("arping -A -c1 -I eth0 10.8.0.2", vec![(Mac::BROADCAST, probe(false, own, OWN_MAC, own))]),
        ("arping -D -c1 -I eth0 10.8.0.1", vec![(Mac::BROADCAST, probe(true, [0; 4], Mac::BROADCAST, host))]),
        ("arping -D -c1 -s 10.8.0.2 -I eth0 10.8.0.1", vec![(Mac::BROADCAST, probe(true, own, Mac::BROADCAST, host))]),
    ] {
        let mut left = want.into_iter();
        let answer = move |_: usize, data: &[u8], to: SendTo| {
            let SendTo::Link { dev, mac } = to else { panic!("{to:?}") };
            assert_eq!((dev, Some((mac, Arp::parse(data).unwrap()))), (ETH0, left.next()));
            Ok(vec![(20, arp(HOST, false, reply(data)))])
        };
        Script::answering(Box::new(answer)).run(line);
    }
}

#[test]
fn nobody_answers() {
    let done = Script::new().run("arping -c2 -I eth0 10.8.0.99");
    check(
        &done,
        1,
        "ARPING 10.8.0.99 from 10.8.0.2 eth0\n\
         Sent 2 probes (2 broadcast(s))\n\
         Received 0 response(s)\n",
    );
    assert_eq!((done.times_ms("Send"), done.times_ms("Exit")), (vec![0, 1000], vec![2000]));
    // The tick comes before the end of -w, also in the same instant.
    let done = Script::new().run("arping -w 1 -I eth0 10.8.0.99");
    assert!(done.text.contains("Sent 2 probes (2 broadcast(s))\n"));
    assert_eq!((done.times_ms("Exit"), done.code), (vec![1000], 1));
    let done = Script::new().run("arping -c1 -w1 -I eth0 10.8.0.99");
    assert!(done.text.contains("Sent 1 probes (1 broadcast(s))\n"));
    assert_eq!(Script::new().run("arping -c2 -i 3 -I eth0 10.8.0.99").times_ms("Send"), [0, 3000]);
}

#[test]
fn all_kinds_of_answers() {
    let answers = |n: usize, r: Arp| match n {
        1 => vec![
            arp(HOST, false, r),
            arp(HOST, true, r),
            arp(HOST, false, Arp { request: true, ..r }),
            arp(HOST, true, Arp { request: true, ..r }),
            // Not to us, not about the address.
            arp(HOST, false, Arp { tip: [10, 8, 0, 50].into(), ..r }),
            arp(HOST, false, Arp { tha: Mac::ZERO, ..r }),
            arp(HOST, false, Arp { sip: [10, 8, 0, 44].into(), ..r }),
            arp(HOST, false, Arp { sha: Mac([0x0a, 0, 0, 0, 0, 0x42]), ..r }),
        ],
        2 => vec![arp(HOST, true, r)],
        _ => vec![],
    };
    check(
        &answering(answers).run("arping -c3 -I eth0 10.8.0.1"),
        1,
        "ARPING 10.8.0.1 from 10.8.0.2 eth0\n\
         Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01]  1.059ms\n\
         Broadcast reply from 10.8.0.1 [0A:AA:00:00:00:01]  1.061ms\n\
         Unicast request from 10.8.0.1 [0A:AA:00:00:00:01]  1.063ms\n\
         Broadcast request from 10.8.0.1 [0A:AA:00:00:00:01]  1.065ms\n\
         Unicast reply from 10.8.0.1 [0A:00:00:00:00:42]  1.073ms\n\
         Broadcast reply from 10.8.0.1 [0A:AA:00:00:00:01]  1.059ms\n\
         Sent 3 probes (1 broadcast(s))\n\
         Received 6 response(s) (2 request(s), 3 broadcast(s))\n",
    );
}

#[test]
fn duplicate_address_detection() {
    let line = |how: &'static str| format!("{how} 1.059ms\nSent 1 probes (1 broadcast(s))\n");
    let claim = |r: Arp| Arp { request: true, tip: r.sip, tha: Mac::ZERO, ..r };
    type Change = fn(Arp) -> Arp;
    let cases: [(Change, bool, String); 4] = [
        (|r| r, false, line("Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01] ")),
        (
            |r| Arp { tha: Mac([0x0a, 0, 0, 0, 0, 0x42]), ..r },
            false,
            line("Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01] for [0A:00:00:00:00:42]"),
        ),
        (|r| Arp { tip: r.sip, ..r }, false, line("Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01] for 10.8.0.1 ")),
        (
            |r| Arp { request: true, tip: r.sip, tha: Mac::ZERO, ..r },
            true,
            line("Broadcast request from 10.8.0.1 [0A:AA:00:00:00:01] for 10.8.0.1 [00:00:00:00:00:00]"),
        ),
    ];
    for (change, broadcast, want) in cases {
        let done = answering(move |_, r| vec![arp(HOST, broadcast, change(r))]).run("arping -D -c2 -I eth0 10.8.0.1");
        let text = format!("ARPING 10.8.0.1 from 0.0.0.0 eth0\n{want}");
        assert!(done.text.starts_with(&text), "{}\n{text}", done.text);
        assert_eq!((done.code, done.times_ms("Exit")), (1, vec![1]));
    }
    // Not against us: a claim seen by one who has an address, our own, none.
    for (line, change) in [
        ("arping -D -s 10.8.0.2 -c1 -I eth0 10.8.0.1", claim as fn(Arp) -> Arp),
        ("arping -D -c1 -I eth0 10.8.0.1", |r| Arp { sha: OWN_MAC, ..r }),
        ("arping -D -c1 -I eth0 10.8.0.1", |r| Arp { sip: [10, 8, 0, 9].into(), ..r }),
    ] {
        let done = answering(move |_, r| vec![arp(HOST, true, change(r))]).run(line);
        assert!(done.text.ends_with("Sent 1 probes (1 broadcast(s))\nReceived 0 response(s)\n"), "{}", done.text);
        assert_eq!(done.code, 0);
    }
}

/// Sent, received and exit status of the real program when all probes, one, or each twice are answered.
#[test]
fn ends_and_statuses() {
    let all: fn(usize, Arp) -> Vec<Arrival> = |_, r| vec![arp(HOST, false, r)];
    let first: fn(usize, Arp) -> Vec<Arrival> = |n, r| if n == 1 { vec![arp(HOST, false, r)] } else { vec![] };
    let twice: fn(usize, Arp) -> Vec<Arrival> = |_, r| vec![arp(HOST, false, r); 2];
    for (answers, options, want) in [
        (first, "-c3", (3, 1, 1, 3000)),
        (first, "-c3 -w2", (3, 1, 1, 2000)),
        (first, "-w2", (3, 1, 0, 2000)),
        (first, "-f -c3 -w2", (1, 1, 0, 1)),
        (first, "-c2 -U -s 10.8.0.2", (2, 1, 0, 2000)),
        (all, "-c2 -w9", (2, 2, 0, 1001)),
        (all, "-c1 -w9", (1, 1, 0, 1)),
        (all, "-c3 -w2", (3, 2, 1, 2000)),
        (all, "-w2", (3, 2, 0, 2000)),
        (all, "-q -c1", (0, 0, 0, 1000)),
        (twice, "-c2 -w9", (1, 2, 1, 1)),
        (twice, "-c3", (3, 6, 1, 3000)),
    ] {
        let done = answering(answers).run(&format!("arping {options} -I eth0 10.8.0.1"));
        let number = |before: &str| {
            let at = done.text.find(before).map(|at| &done.text[at + before.len()..]).unwrap_or("0 ");
            at.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let got = (number("Sent "), number("Received "), done.code, done.times_ms("Exit")[0]);
        assert_eq!(got, want, "{options}");
    }
}

#[test]
fn devices() {
    let loopback = "Interface \"lo\" is not ARPable\n";
    for (change, line, code, text) in [
        (None, "arping -c1 -I nodev 10.8.0.1", 2, "arping: Device nodev not available.\n"),
        (None, "arping -c1 -I lo 10.8.0.1", 2, loopback),
        (None, "arping -q -c1 -I lo 10.8.0.1", 2, ""),
        (None, "arping -D -c1 -I lo 10.8.0.1", 0, loopback),
        (None, "arping -c1 10.8.0.2", 2, loopback),
        (Some(LinkChange::Up(false)), "arping -c1 -I eth0 10.8.0.1", 2, "Interface \"eth0\" is down\n"),
        (Some(LinkChange::Up(false)), "arping -D -c1 -I eth0 10.8.0.1", 2, "Interface \"eth0\" is down\n"),
        (Some(LinkChange::Arp(false)), "arping -c1 -I eth0 10.8.0.1", 2, "Interface \"eth0\" is not ARPable\n"),
    ] {
        check(&Script::with_link(change).run(line), code, text);
    }
    let done = replies(20).run("arping -c1 10.8.0.1");
    assert!(done.text.starts_with("ARPING 10.8.0.1 from 10.8.0.2 eth0\n"), "{}", done.text);
    let done = replies(20).run("arping -c1 -I eth0 -s 10.8.0.2 10.8.0.1");
    assert_eq!(done.calls(&["Bind(", "Connect"]), ["Bind(5, 10.8.0.2)"]);
}

#[test]
fn setup_errors() {
    for (line, call, errno, code, text) in [
        ("arping -c1 10.99.9.9", "Connect", Errno::ENETUNREACH, 1, "arping: NETLINK_ROUTE unexpected iov element\n"),
        (
            "arping -c1 -I eth0 -s 10.8.9.9 10.8.0.1",
            "Bind(",
            Errno::EADDRNOTAVAIL,
            2,
            "arping: bind: Cannot assign requested address\n",
        ),
        (
            "arping -U -I eth0 10.8.9.9",
            "Bind(",
            Errno::EADDRNOTAVAIL,
            2,
            "arping: bind: Cannot assign requested address\n",
        ),
        ("arping -I eth0 10.9.9.9", "Connect", Errno::ENETUNREACH, 2, "arping: connect: Network is unreachable\n"),
    ] {
        let mut script = Script::new();
        script.refuse.push((call, errno));
        check(&script.run(line), code, text);
    }
}

/// The device goes down after the second probe and comes up again: sends fail silently, the socket reports it once.
#[test]
fn device_goes_down() {
    let answer = |n: usize, data: &[u8], _: SendTo| match n {
        3 | 4 => Err((Errno::ENETDOWN, vec![])),
        _ => Ok(vec![(526, arp(HOST, false, reply(data)))]),
    };
    let mut script = Script::answering(Box::new(answer));
    script.fail_at(Time(SEC + SEC / 2), Errno::ENETDOWN);
    check(
        &script.run("arping -c5 -I eth0 10.8.0.1"),
        2,
        "ARPING 10.8.0.1 from 10.8.0.2 eth0\n\
         Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01]  0.528ms\n\
         Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01]  0.528ms\n\
         arping: recvfrom: Network is down\n\
         Unicast reply from 10.8.0.1 [0A:AA:00:00:00:01]  0.528ms\n\
         Sent 3 probes (1 broadcast(s))\n\
         Received 3 response(s)\n",
    );
}
