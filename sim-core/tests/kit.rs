//! The testing kit, asked about the kernel itself: connection tracking, NAT and rules keep what the oracles and RFC
//! 3022 demand, whatever comes. `cargo xtask mutations` shows that each of these tests finds something.

use proptest::prelude::*;
use proptest::test_runner::{FailurePersistence, FileFailurePersistence, RngSeed};
use sim_core::kernel::conntrack::{Dir, Info, Status, Tuple};
use sim_core::kernel::trace::CtLabel;
use sim_core::testing::middlebox::icmp_error;
use sim_core::testing::napt::Op;
use sim_core::testing::strategy::{self, Site};
use sim_core::testing::{Middlebox, NetNs, Packet, oracle};
use sim_core::wire::IPPROTO_ICMP;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The same cases in every run; what once failed is tried first.
fn config(cases: u32) -> ProptestConfig {
    let once_failed = FileFailurePersistence::Direct("tests/kit.proptest-regressions");
    let failure_persistence: Option<Box<dyn FailurePersistence>> = Some(Box::new(once_failed));
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(3022), failure_persistence, ..ProptestConfig::default() }
}

/// A router between `lan` (10.0.0.0/24) and `wan` (192.0.2.0/24), and the commands that follow.
fn router(commands: &[&str]) -> Middlebox {
    let mut netns = NetNs::new(&["lan", "wan"]).expect("a namespace");
    let setup = [
        "ip addr add 10.0.0.1/24 dev lan",
        "ip addr add 192.0.2.1/24 dev wan",
        "sysctl -w net.ipv4.ip_forward=1",
        "sysctl -w net.netfilter.nf_conntrack_acct=1",
    ];
    for command in setup.iter().chain(commands) {
        netns.run(command).expect(command);
    }
    Middlebox::new(netns)
}

fn inside() -> impl Strategy<Value = Ipv4Addr> {
    strategy::host("10.0.0.0/24".parse().expect("a network"), 3)
}

fn outside() -> impl Strategy<Value = Ipv4Addr> {
    strategy::host("192.0.2.0/24".parse().expect("a network"), 3)
}

fn site() -> Site {
    let end = |text: &str| text.parse().expect(text);
    Site {
        inside: "lan".to_owned(),
        outside: "wan".to_owned(),
        external: Ipv4Addr::new(192, 0, 2, 1),
        services: vec![end("192.0.2.1:5000"), end("10.96.0.1:5001")],
        // Inside alone: who asks from beside a server would be answered past the router.
        servers: vec![end("10.0.0.3:5000"), end("10.0.0.4:80")],
    }
}

/// A segment between two ends.
fn segment(from: &str, to: &str, flags: &str, seq: (u32, u32)) -> Packet {
    Packet { seq, ..Packet::tcp(from, to).flags(flags) }
}

const CLIENT: &str = "10.0.0.2:5000";
const SERVER: &str = "192.0.2.9:80";

/// A connection from the client to the server through a router that translates nothing.
fn handshake(router: &mut Middlebox, client: &str) -> Result<(), oracle::Broken> {
    for (dev, from, to, flags, seq) in [
        ("lan", client, SERVER, "S", (1000, 0)),
        ("wan", SERVER, client, "SA", (9000, 1001)),
        ("lan", client, SERVER, "A", (1001, 9001)),
    ] {
        router.forward(dev, &segment(from, to, flags, seq))?;
    }
    Ok(())
}

fn tcp_entry(router: &Middlebox) -> Option<Info> {
    router.connections().into_iter().find(|c| c.tcp.is_some())
}

proptest! {
    #![proptest_config(config(1024))]

    /// The state machine: whatever happens to a translator, it does what RFC 3022 says.
    #[test]
    fn a_translator_is_as_rfc_3022_says(
        mut router in strategy::napt_router(),
        ops in strategy::napt_ops(60),
    ) {
        for op in &ops {
            router.step(op)?;
        }
        // In the end nothing is left.
        router.step(&Op::Sleep(121))?;
        prop_assert_eq!(router.middlebox.connections().len(), 0);
        prop_assert_eq!(router.reference.sessions(), 0);
    }

    /// Conversations through any rules: what is answered is answered right.
    #[test]
    fn conversations_through_any_rules(
        rules in strategy::rules(&site(), 8),
        flows in prop::collection::vec((any::<bool>(), strategy::flow(inside(), outside())), 1..6),
    ) {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let mut router = router(&rules);
        for (out, flow) in &flows {
            let mut flow = flow.clone();
            if !out {
                // The other way, to one of the services.
                (flow.first.src, flow.first.dst) = (flow.first.dst, Ipv4Addr::new(192, 0, 2, 1));
                flow.first.dport = if flow.first.protocol == IPPROTO_ICMP { 0 } else { 5000 };
            }
            flow.play(&mut router, if *out { "lan" } else { "wan" })?;
        }
    }

    /// Whatever bytes come, no packet is lost without a trace, and no connection is held by one.
    #[test]
    fn broken_packets_do_no_harm(
        rules in strategy::rules(&site(), 4),
        packets in prop::collection::vec(strategy::broken(strategy::packet(inside(), outside())), 1..10),
    ) {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let mut router = router(&rules);
        for bytes in packets {
            router.netns.receive_ip("lan", &bytes).map_err(oracle::Broken::from)?;
            oracle::no_packet_without_end(router.netns.world())?;
            oracle::tuples_unshared(&router.connections())?;
        }
    }

    /// Rules count what they meet, and every packet that comes into a table ends there.
    #[test]
    fn counters_of_rules_add_up(
        rules in strategy::rules(&site(), 8),
        packets in prop::collection::vec(strategy::packet(inside(), outside()), 1..12),
        drops: bool,
    ) {
        let mut all = vec!["iptables -P INPUT ACCEPT", "iptables -P FORWARD ACCEPT", "iptables -P OUTPUT ACCEPT"];
        all.extend(["iptables -A INPUT", "iptables -A FORWARD", "iptables -A OUTPUT"]);
        all.extend(rules.iter().map(String::as_str));
        all.extend(drops.then_some("iptables -P FORWARD DROP"));
        let mut router = router(&all);
        for packet in &packets {
            router.forward("lan", packet)?;
        }
        let save = router.netns.run("iptables-save -c").map_err(oracle::Broken::from)?;
        oracle::counters_add_up(&save, "filter")?;
    }

    /// Who is in a range of ports stays in it, and nobody shares one.
    #[test]
    fn ports_of_a_range_are_kept(
        low in 1024..60_000u16,
        more in 0..5u16,
        ports in prop::collection::vec(strategy::port(), 1..12),
    ) {
        let high = low + more;
        let rule = format!("iptables -t nat -A POSTROUTING -o wan -p udp -j SNAT --to-source 192.0.2.1:{low}-{high}");
        let mut router = router(&[&rule]);
        for port in ports {
            let question = Packet { sport: port, ..Packet::udp("10.0.0.2:1", "192.0.2.9:53") };
            if let Some(there) = router.forward("lan", &question)? {
                router.answer(&there, &there.answer())?;
            }
        }
        oracle::ports_in_range(&router.connections(), low..=high)?;
    }

    /// A port that no rule names stays in its class, also when it is taken.
    #[test]
    fn ports_stay_in_their_class(port in strategy::port(), hosts in 1..6u8) {
        let mut router = router(&["iptables -t nat -A POSTROUTING -o wan -j MASQUERADE"]);
        for host in 0..hosts {
            let src = Ipv4Addr::new(10, 0, 0, 2 + host);
            router.forward("lan", &Packet { src, sport: port, ..Packet::udp("10.0.0.2:1", "192.0.2.9:53") })?;
        }
        prop_assert_eq!(router.connections().len(), usize::from(hosts));
        oracle::ports_in_class(&router.connections())?;
    }

    /// Full of what nobody has answered, a table makes room; what is established stays.
    #[test]
    fn established_connections_survive_a_full_table(
        established in 1..6u8,
        flood in 20..60u16,
        max in 12..16u32,
    ) {
        let max = format!("sysctl -w net.netfilter.nf_conntrack_max={max}");
        let mut router = router(&[
            "iptables -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
            &max,
            // Few, so that there is always somebody to give way.
            "sysctl -w net.netfilter.nf_conntrack_buckets=4",
        ]);
        for n in 0..established {
            handshake(&mut router, &format!("10.0.0.{}:5000", 10 + n))?;
        }
        for n in 0..flood {
            let before = router.connections();
            router.forward("lan", &Packet { sport: 2000 + n, ..Packet::udp("10.0.0.2:1", "192.0.2.9:53") })?;
            oracle::established_survives(&before, &router.connections())?;
        }
        prop_assert!(router.connections().len() <= 16);
    }

    /// A segment that belongs to no window belongs to nothing; one that does goes through.
    #[test]
    fn segments_of_no_window_are_invalid(far in 200_000..2_000_000_000u32, acks: bool) {
        let mut router = router(&["iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP"]);
        handshake(&mut router, CLIENT)?;
        let numbers = if acks { (1001, 9001 + far) } else { (1001 + far, 9001) };
        let stray = Packet { payload: b"stray".to_vec(), ..segment(CLIENT, SERVER, "A", numbers) };
        let passed = router.forward("lan", &stray)?;
        prop_assert_eq!(passed, None);
        oracle::out_of_window_is_invalid(router.netns.steps())?;
        let good = Packet { payload: b"good".to_vec(), ..segment(CLIENT, SERVER, "A", (1001, 9001)) };
        prop_assert!(router.forward("lan", &good)?.is_some());
        prop_assert_eq!(oracle::classified(router.netns.steps()), Some(CtLabel::Established));
    }

    /// A connection that was closed or reset is forgotten soon, one that is open is not.
    #[test]
    fn closed_connections_are_forgotten(reset: bool, idle in 121..400_000u64) {
        let mut router = router(&["iptables -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT"]);
        handshake(&mut router, CLIENT)?;
        let mut open = router.clone();
        open.sleep(idle)?;
        prop_assert!(tcp_entry(&open).is_some_and(|c| c.status.has(Status::ASSURED)));
        if reset {
            router.forward("lan", &segment(CLIENT, SERVER, "RA", (1001, 9001)))?;
        } else {
            router.forward("lan", &segment(CLIENT, SERVER, "FA", (1001, 9001)))?;
            router.forward("wan", &segment(SERVER, CLIENT, "FA", (9001, 1002)))?;
            router.forward("lan", &segment(CLIENT, SERVER, "A", (1002, 9002)))?;
        }
        router.sleep(idle)?;
        prop_assert_eq!(tcp_entry(&router), None);
    }

    /// The same flow in two zones is two connections, each translated by itself.
    #[test]
    fn zones_are_kept_apart(tuples in prop::collection::vec(strategy::tuple(inside(), outside()), 1..8)) {
        let mut router = router(&["iptables -t raw -A PREROUTING -i lan -j CT --zone mark"]);
        let mut want = BTreeSet::new();
        for tuple in tuples.iter().filter(|t| t.proto == 17) {
            let mark = format!("iptables -t raw -I PREROUTING -j MARK --set-mark {}", tuple.zone);
            router.netns.run(&mark).map_err(oracle::Broken::from)?;
            let packet = datagram(tuple);
            router.forward("lan", &packet)?;
            router.netns.run("iptables -t raw -D PREROUTING 1").map_err(oracle::Broken::from)?;
            want.insert(*tuple);
        }
        let got = router.connections();
        prop_assert_eq!(got.iter().map(|c| c.tuple[0]).collect::<BTreeSet<_>>(), want);
        for c in got {
            prop_assert_eq!(c.zone.id(Dir::Original), c.tuple[0].zone);
        }
    }

    /// What was masqueraded behind an address is forgotten with it.
    #[test]
    fn masquerading_ends_with_the_address(hosts in 1..5u8) {
        let mut router = router(&["iptables -t nat -A POSTROUTING -o wan -j MASQUERADE"]);
        for host in 0..hosts {
            let src = Ipv4Addr::new(10, 0, 0, 2 + host);
            router.forward("lan", &Packet { src, ..Packet::udp("10.0.0.2:5000", "192.0.2.9:53") })?;
        }
        router.netns.run("ip addr del 192.0.2.1/24 dev wan").map_err(oracle::Broken::from)?;
        prop_assert_eq!(router.connections().len(), 0);
    }
}

fn datagram(t: &Tuple) -> Packet {
    let ends = [t.src, t.dst].map(|a| if let std::net::IpAddr::V4(a) = a { a } else { Ipv4Addr::UNSPECIFIED });
    Packet { sport: t.sport, dport: t.dport, ..Packet::new(t.proto, ends[0], ends[1]) }
}

/// What holds of answers is worth something: most conversations are held to their end.
#[test]
fn flows_come_through() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::new(config(1));
    let (mut packets, mut passed) = (0, 0);
    for _ in 0..100 {
        let flow = strategy::flow(inside(), outside()).new_tree(&mut runner).expect("a flow").current();
        let mut router = router(&["iptables -t nat -A POSTROUTING -o wan -j MASQUERADE"]);
        packets += 1 + 2 * usize::from(flow.exchanges);
        passed += flow.play(&mut router, "lan").expect("the oracles hold");
    }
    assert!(passed * 10 > packets * 9, "{passed} of {packets}");
}

/// An error about a packet that is not known goes nowhere.
#[test]
fn errors_about_nothing_are_not_let_in() {
    let mut router = router(&["iptables -t nat -A POSTROUTING -o wan -j MASQUERADE"]);
    let unknown = Packet { src: Ipv4Addr::new(192, 0, 2, 1), ..Packet::udp("10.0.0.2:5000", "192.0.2.9:53") };
    let error = icmp_error(Ipv4Addr::new(192, 0, 2, 77), (3, 3), &unknown.bytes());
    assert_eq!(router.forward_bytes("wan", &error), Ok(None));
    assert_eq!(oracle::classified(router.netns.steps()), Some(CtLabel::Invalid));
}

/// kube-proxy's rules lead to an endpoint of the Service, and answers come from the Service.
#[cfg(feature = "scenario")]
mod services {
    use super::*;
    use sim_core::testing::strategy::services;

    const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 11);

    fn node(services: &strategy::Services) -> Middlebox {
        let mut netns = NetNs::new(&["pods", "eth0"]).expect("a namespace");
        let setup = [
            "ip addr add 10.244.0.1/24 dev pods",
            "ip addr add 192.168.0.11/24 dev eth0",
            "sysctl -w net.ipv4.ip_forward=1",
            "sysctl -w net.netfilter.nf_conntrack_acct=1",
        ];
        for command in setup.into_iter().map(str::to_owned).chain(services.commands()) {
            netns.run(&command).expect("kube-proxy's rules can be loaded");
        }
        Middlebox::new(netns)
    }

    proptest! {
        #![proptest_config(config(128))]

        #[test]
        fn answers_come_from_the_service(
            services in services(NODE, "10.244.0.0/24".parse().expect("a network"), 4),
            port in strategy::port(),
        ) {
            let mut node = node(&services);
            for backend in &services.backends {
                let service = &backend.port;
                let by_node = service.node_port.map(|port| (NODE, port));
                for (dst, dport) in [Some((service.cluster_ip, service.port)), by_node].into_iter().flatten() {
                    let question = match service.protocol.lower() {
                        "udp" => Packet::udp("192.168.0.50:1", "0.0.0.0:1"),
                        _ => Packet::tcp("192.168.0.50:1", "0.0.0.0:1"),
                    };
                    let question = Packet { sport: port, dst, dport, ..question };
                    let Some(there) = node.forward("eth0", &question)? else { continue };
                    let answer = there.answer();
                    let serves = format!("{}:{}", answer.src, answer.sport);
                    prop_assert!(backend.endpoints.iter().any(|e| e.address() == serves), "{serves} does not serve");
                    prop_assert!(node.answer(&there, &answer)?.is_some());
                }
            }
        }
    }
}
