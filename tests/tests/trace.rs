//! What `podhop trace` tells of the first datagram to a ClusterIP, in order, and of its answer; and that the lessons
//! quote what is really printed.

use podhop_tests::scenarios;
use sim_core::base::PacketId;
use sim_core::observe::story::{Entry, Journey, Journeys, Text};
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Disk, Options};
use std::collections::BTreeSet;
use std::path::Path;

/// Runs a scenario as `podhop trace` does.
fn run(path: &Path) -> Report {
    let (_, plan) =
        scenario::load(&Disk, &scenarios::root().join(path), None).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let options = Options { outputs: Outputs::NONE, journeys: 100_000, prelude: 0 };
    scenario::run(&plan, &mut Memory::default(), options, &mut ()).expect("it runs")
}

fn journeys(lesson: &str) -> Journeys {
    let path = Path::new("scenarios").join(lesson).join("scenario.yaml");
    run(&path).journeys.expect("journeys were asked for")
}

/// The lines of a packet, each as `namespace text`.
fn lines(journey: &Journey) -> Vec<String> {
    let of = |e: &Entry| -> Vec<String> {
        match &e.text {
            Text::Record { device, direction, line } => vec![format!("{} {device} {direction} {line}", e.namespace)],
            Text::Note(note) => note.lines().map(|l| format!("{} {l}", e.namespace)).collect(),
        }
    };
    journey.entries.iter().flat_map(of).collect()
}

/// The lines of the first packet that is seen as `first`.
fn told(journeys: &Journeys, first: &str) -> Vec<String> {
    let mut all = journeys.iter().map(|(_, j)| lines(j));
    all.find(|lines| lines.iter().any(|l| l.starts_with(first))).expect("such a packet")
}

/// Each of `wanted` is in a line, in this order.
fn in_order(lines: &[String], wanted: &[&str]) {
    let mut rest = lines.iter();
    for want in wanted {
        assert!(rest.any(|l| l.contains(want)), "{want} is missing, or not in this order:\n{}", lines.join("\n"));
    }
}

#[test]
fn the_first_datagram_to_a_cluster_ip() {
    let journeys = journeys("labs/nat-by-hand");
    let there = told(&journeys, "pod-a eth0 Out IP 10.244.1.2.40000 > 10.96.0.88.7");
    in_order(
        &there,
        &[
            "pod-a eth0 Out IP 10.244.1.2.40000 > 10.96.0.88.7",
            "node1 veth-a P IP 10.244.1.2.40000 > 10.96.0.88.7",
            "node1 PREROUTING: in cbr0 (physdev veth-a)",
            "connection tracking: NEW",
            "nat: -A PREROUTING -j KUBE-SERVICES",
            "-A KUBE-SERVICES -d 10.96.0.88/32 -p udp -m udp --dport 7 -j KUBE-SVC-ECHO",
            "-A KUBE-SVC-ECHO -j KUBE-SEP-ECHO-1",
            "-A KUBE-SEP-ECHO-1 -p udp -j DNAT --to-destination 10.244.2.2:7",
            "destination NAT: 10.96.0.88:7 becomes 10.244.2.2:7",
            "node1 cbr0 In IP 10.244.1.2.40000 > 10.244.2.2.7",
            "node1 which route leads to 10.244.2.2?",
            "AND 11111111.11111111.11111111.00000000  255.255.255.0",
            "is 10.244.2.0/24: chosen",
            "node1 route to 10.244.2.2: 10.244.2.0/24 via 192.168.0.12 dev eth0",
            "node1 FORWARD: in cbr0 (physdev veth-a) out eth0",
            "node1 POSTROUTING: in cbr0 (physdev veth-a) out eth0",
            "nat: -A POSTROUTING -j KUBE-POSTROUTING",
            "node1 eth0 Out IP 10.244.1.2.40000 > 10.244.2.2.7",
            "node2 eth0 In IP 10.244.1.2.40000 > 10.244.2.2.7",
            "node2 route to 10.244.2.2: 10.244.2.0/24 dev cbr0",
            "node2 cbr0 Out",
            "node2 veth-b Out",
            "pod-b eth0 In IP 10.244.1.2.40000 > 10.244.2.2.7",
            "pod-b delivered to a socket",
        ],
    );
    let tables = there.iter().filter(|l| l.contains("node1 which route leads to")).count();
    assert_eq!(tables, 1, "one decision is explained once");
}

#[test]
fn its_answer() {
    let journeys = journeys("labs/nat-by-hand");
    let back = told(&journeys, "pod-b eth0 Out IP 10.244.2.2.7 > 10.244.1.2.40000");
    in_order(
        &back,
        &[
            "node1 eth0 In IP 10.244.2.2.7 > 10.244.1.2.40000",
            "node1 PREROUTING: in eth0",
            "connection tracking: ESTABLISHED",
            "node1 route to 10.244.1.2: 10.244.1.0/24 dev cbr0",
            "node1 FORWARD: in eth0 out cbr0",
            "node1 POSTROUTING: in eth0 out cbr0",
            "source NAT: 10.244.2.2:7 becomes 10.96.0.88:7",
            "node1 cbr0 Out IP 10.96.0.88.7 > 10.244.1.2.40000",
            "pod-a eth0 In IP 10.96.0.88.7 > 10.244.1.2.40000",
        ],
    );
    assert!(!back.iter().any(|l| l.contains("nat: ")), "no rule of the nat table saw it");
}

#[test]
fn a_datagram_in_pieces() {
    let journeys = journeys("labs/udp-fragments");
    let lines = told(&journeys, "node cbr0 In IP 10.244.1.2");
    in_order(
        &lines,
        &[
            "pod-a cuts off a fragment",
            "pod-a eth0 Out IP 10.244.1.2",
            "node PREROUTING: in cbr0 (physdev veth-a)",
            "node   the fragments are put together",
            "node cbr0 In IP 10.244.1.2",
            "node cuts off a fragment",
            "node eth0 Out IP 10.244.1.2",
            "server   the fragments are put together",
            "server delivered to a socket",
        ],
    );
}

/// One packet before, inside and after the tunnel.
#[test]
fn through_ipip() {
    let journeys = journeys("articles/calico-ipip");
    let (client, server) = ("router-default-77949c967-4t8f7", "router-default-77949c967-tgth7");
    let lines = told(&journeys, &format!("pod/openshift-ingress/{client} eth0 Out IP 172.17.25.79"));
    let inside = "172.17.25.239.443: Flags [S]";
    in_order(
        &lines,
        &[
            "us-east-3 cali41f14107a8d In IP 172.17.25.79",
            "us-east-3 route to 172.17.25.239: 172.17.25.192/26 via 10.240.0.9 dev tunl0",
            "us-east-3 tunl0 Out IP 172.17.25.79",
            "us-east-3 tunl0 wraps it: IPIP from 10.240.128.12 to 10.240.0.9",
            "us-east-3 route to 10.240.0.9: default via 10.240.128.1 dev eth0",
            "us-east-3 eth0 Out IP 10.240.128.12 > 10.240.0.9: IP 172.17.25.79",
            "gateway eth0 In IP 10.240.128.12 > 10.240.0.9: IP 172.17.25.79",
            "us-east-1 eth0 In IP 10.240.128.12 > 10.240.0.9: IP 172.17.25.79",
            "us-east-1 tunl0 In IP 172.17.25.79",
            "us-east-1 route to 172.17.25.239: 172.17.25.239/32 dev calic25e805a467",
            "us-east-1 calic25e805a467 Out IP 172.17.25.79",
            &format!("pod/openshift-ingress/{server} eth0 In IP 172.17.25.79"),
        ],
    );
    let seen: Vec<_> = lines.iter().filter(|l| l.contains(": Flags [")).collect();
    assert!(seen.iter().all(|l| l.contains(inside)), "one packet: {seen:?}");
}

/// Programs of tc wrap this one, and translate its destination before.
#[test]
fn through_vxlan() {
    let journeys = journeys("articles/cilium-vxlan");
    let lines = told(&journeys, "pod/wrk-1/node-wrk-1-ubuntu24-684f7d8fd6-2zncq eth0 Out IP 10.0.1.15.58742");
    in_order(
        &lines,
        &[
            "node-1 lxc7dc050ebabd6 In IP 10.0.1.15.58742 > 10.105.134.33.9999: Flags [S]",
            "node-1 cilium_vxlan Out IP 10.0.1.15.58742 > 10.0.2.215.9999: Flags [S]",
            "node-1 ens4 Out IP 10.168.0.4.",
            "node-2 ens4 In IP 10.168.0.4.",
            "node-2 cilium_vxlan P IP 10.0.1.15.58742 > 10.0.2.215.9999: Flags [S]",
            "node-2 lxc3afb1f126f2c Out IP 10.0.1.15.58742 > 10.0.2.215.9999: Flags [S]",
        ],
    );
}

/// A request's way through both sidecars of a mesh, and its answer's: what a proxy has read leads to what it has sent.
#[test]
fn through_two_proxies() {
    let journeys = journeys("articles/istio-one-request");
    let (ubuntu, nginx) = ("pod/default/ubuntu", "pod/default/nginx-6799fc88d8-4xkzq");
    let path = |first: &str, length: usize| {
        let begins =
            |(_, j): &(PacketId, &Journey)| j.proxied_from.is_empty() && lines(j).iter().any(|l| l.contains(first));
        let (packet, _) = journeys.iter().find(begins).expect("such a packet");
        let path = journeys.path(packet);
        assert_eq!(path.len(), length, "{path:?}");
        let mut journeys: Vec<_> = path.iter().filter_map(|p| journeys.get(*p)).collect();
        journeys.sort_by_key(|j| j.began());
        journeys.into_iter().flat_map(lines).collect::<Vec<_>>()
    };
    let hop = |pod: &str, device_way: &str| format!("{pod} {device_way} IP ");
    let (curl_lo, curl_out) = (hop(ubuntu, "lo In"), hop(ubuntu, "eth0 Out"));
    let (nginx_in, nginx_lo) = (hop(nginx, "eth0 In"), hop(nginx, "lo In"));
    in_order(
        &path("10.244.10.89.38054 > 127.0.0.1.15001: Flags [P.]", 3),
        &[
            "ubuntu   destination NAT: 10.0.185.118:80 becomes 127.0.0.1:15001",
            &curl_lo,
            "ubuntu delivered to a socket",
            "ubuntu a proxy has read it, and goes on with packet ",
            "ubuntu a proxy goes on with what packet ",
            &curl_out,
            "node-1 eth0 Out IP ",
            "node-2 eth0 In IP ",
            &nginx_in,
            "   destination NAT: 10.244.4.224:80 becomes 10.244.4.224:15006",
            "a proxy has read it, and goes on with packet ",
            "a proxy goes on with what packet ",
            &format!("{nginx_lo}127.0.0.6.33027 > 10.244.4.224.80: Flags [P.]"),
            "delivered to a socket",
        ],
    );
    // The proxy of nginx writes two segments: session tickets, and behind them the answer, in the second one alone.
    in_order(
        &path("10.244.4.224.80 > 127.0.0.6.33027: Flags [P.]", 3),
        &[
            &nginx_lo,
            "a proxy has read it, and goes on with packet ",
            &hop(nginx, "eth0 Out"),
            &hop(ubuntu, "eth0 In"),
            "a proxy has read it, and goes on with packet ",
            "ubuntu lo In IP 10.0.185.118.80 > 10.244.10.89.38054: Flags [P.]",
            "ubuntu delivered to a socket",
        ],
    );
}

#[test]
fn the_end_of_a_loop() {
    let journeys = journeys("labs/routing-loop");
    let lines = told(&journeys, "client eth0 Out IP 10.0.1.2 > 203.0.113.9: ICMP echo request");
    assert_eq!(lines.iter().filter(|l| l.contains("r1 eth1 ") || l.contains("r2 eth0 ")).count(), 2 * 63);
    assert_eq!(lines.last().map(String::as_str), Some("r2 dropped: IP_TTL: The TTL was used up."));
}

/// Records (they begin with a time), decisions (they have a dot) and lines of `conntrack -L` in a README are those of
/// its run, but for the width of the columns.
#[test]
fn readmes_quote_what_is_printed() {
    let mut quotes = 0;
    for path in scenarios::all() {
        let readme = scenarios::root().join(&path).with_file_name("README.md");
        let text = std::fs::read_to_string(&readme).expect("a lesson has a README");
        let quoted: Vec<_> = text.lines().filter(|l| l.starts_with("   ")).map(words).filter(|l| is_quote(l)).collect();
        if quoted.is_empty() {
            continue;
        }
        quotes += quoted.len();
        let printed = printed(&path);
        for line in quoted {
            assert!(printed.contains(&line), "{}: nothing prints\n{line}", readme.display());
        }
    }
    assert!(quotes > 50, "{quotes} lines are compared");
}

/// The line with one blank between its words.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_quote(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    first.len() == 8 && first.parse::<f64>().is_ok() || line.contains(" · ") || line.starts_with("udp 17 ")
}

/// All that a run and its trace print, line by line.
fn printed(path: &Path) -> BTreeSet<String> {
    let report = run(path);
    let mut lines: BTreeSet<String> = report.commands.iter().flat_map(|c| c.output.lines()).map(words).collect();
    for e in report.journeys.iter().flat_map(Journeys::iter).flat_map(|(_, j)| &j.entries) {
        let (at, ns) = (e.at, &e.namespace);
        match &e.text {
            Text::Record { device, direction, line } => {
                lines.insert(words(&format!("{at} {ns} {device} {direction} {line}")));
                lines.insert(words(&format!("{at} {ns}/{device} {line}")));
            }
            Text::Note(note) => lines.extend(note.lines().map(|l| words(&format!("{ns} · {l}")))),
        }
    }
    lines
}
