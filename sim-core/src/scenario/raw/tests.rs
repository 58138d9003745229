use std::ops::Range;

use super::*;
use crate::scenario::diag::MAX_DIAGNOSTICS;
use proptest::prelude::*;

/// Every field of the format.
const FULL: &str = r#"apiVersion: podhop/v1
kind: Scenario
metadata: {name: same-node, description: all of it}
spec:
  seed: 7
  startTime: 2022-06-01T10:00:00.5Z
  jiffies: 4294892297
  placement: one-kernel
  duration: 1m30s
  limits: {chainFrames: 1000000, frames: 100000000, events: 9}
  routers:
    r1: {addresses: [10.0.1.1/24 dev eth1], routes: [default via 10.0.1.9], setup: [ip link set eth1 mtu 1400]}
  switches: {sw1: {setup: [ip link set br0 promisc on]}, sw2: }
  links:
    - {between: [r1/eth1, sw1/p1], latency: 1ms, rate: 10mbit, queue: 5, loss: 0.5%}
  namespaces:
    node1: {setup: ["ip link add br0 type bridge", 'ip link set br0 up']}
    p1a:
      setup:
      - ip addr add 10.244.1.2/24 dev eth0
    empty: {machine: m1, servers: [udpecho 7]}
  traffic:
    - {from: p1a, run: "ping -c1 10.244.1.3", at: 1s, every: 1s, count: 3, background: true}
    - {sleep: 47s}
    - from: node1
      run: ip neigh
    - {from: p1a, name: probe, at: 2s, background: true, script: [{socket: udp}, {setsockopt: [ip, ttl, 1]},
       {bind: "0.0.0.0:9"}, {connect: "10.244.2.2:33435"}, {send: {size: 32, byte: "@", to: "10.244.1.3:7"}},
       {recv: }, {recv: {timeout: 1s, size: 9, errqueue: true}}, {shutdown: write}, {close: }, {sleep: 50ms},
       {repeat: 40, do: [{cost: 100us}, {send: {size: 1}}]}]}
    - {from: p1a, script: [{socket: tcp, as: l}, {settimeout: 3s}, {listen: 5}, {accept: {timeout: 1s}, as: c},
       {accept: }, {use: l}, {settimeout: }, {recv: {all: true}}, {recv: {total: 9}},
       {send: {text: "GET", size: 1, end: "\n"}},
       {setsockopt: [tcp, nodelay, on]}, {setsockopt: [socket, linger, off]}]}
  faults:
    - {at: 2s, link: r1/eth1, latency: 50ms, rate: 1mbit, loss: 1%, down: true, for: 3s}
  expect:
    - {capture: node1/vethp1a, filter: "arp", direction: P, count: 2}
    - {capture: node1/any, count: {min: 1, max: 3}}
    - {capture: p1a/eth0, sequence: ["arp", "icmp[0] == 8"]}
    - {command: "ping -c1 10.244.1.3", from: p1a, nth: 2, exit: 0, stdout: ["1 received", 0777]}
    - {command: ip neigh, stdout: 64 bytes}
    - {fdb: node1/br0, at: 2s, has: [{mac: "0a:58:0a:f4:01:02", port: vethp1a}], lacks: [{mac: 0a:58:0a:f4:01:03}]}
    - {neigh: p1a/eth0, at: 200ms, has: [{address: 10.244.1.3, lladdr: a:0:0:0:0:1, state: REACHABLE}],
       lacks: [{address: 10.0.0.1}]}
    - {counters: node1/vethp1a, at: 3s, rxPackets: 5, txPackets: {min: 1}, rxBytes: 0,
       txBytes: {max: 9}, rxDropped: 0, txDropped: 0}
    - {journey: p1a/eth0, filter: "icmp[0] == 8", hops: ["p1a/eth0 Out", "node1/vethp1a  In"]}
    - {exit: 3, limit: chainFrames}
"#;

fn source(text: &str) -> SourceFile {
    SourceFile::new("f.yaml", text)
}

/// A scenario with these lines in `spec`, and a namespace.
fn with_spec(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    let head = "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {name: x}\nspec:\n  namespaces: {n: }\n";
    format!("{head}{lines}")
}

fn spec(lines: &str) -> Spec {
    let text = with_spec(lines);
    parse(&source(&text)).unwrap_or_else(|errors| panic!("{errors}")).spec
}

/// The errors: what they point at, their messages and hints.
fn errors(text: &str) -> Vec<(String, String, String)> {
    let source = source(text);
    let errors = parse(&source).expect_err(text);
    let at = |e: &Diagnostic| source.text()[e.span.clone()].to_owned();
    errors.iter().map(|e| (at(e), e.message.clone(), e.hint.clone().unwrap_or_default())).collect()
}

#[test]
fn every_field() {
    let source = source(FULL);
    let scenario = parse(&source).unwrap_or_else(|errors| panic!("{errors}"));
    let Spec { seed, start_time, jiffies, placement, duration, limits, namespaces, traffic, expect, .. } =
        &scenario.spec;
    assert_eq!(scenario.metadata.name.0, "same-node");
    assert_eq!(scenario.metadata.description.as_ref().unwrap().as_str(), "all of it");
    assert_eq!((*seed, *jiffies, *placement), (7, 4_294_892_297, Placement::OneKernel));
    assert_eq!(*start_time, Timestamp(1_654_077_600_500_000_000));
    assert_eq!(duration.as_ref().unwrap().value, Duration(90_000_000_000));
    assert_eq!(limits.events.as_ref().unwrap().get(), 9);
    let Spec { routers, switches, links, .. } = &scenario.spec;
    assert_eq!((routers.0[0].0.as_str(), switches.0.len()), ("r1", 2));
    let link = &links[0];
    assert_eq!(
        (link.rate.as_ref().unwrap().value, link.loss.as_ref().unwrap().value),
        (Rate(10_000_000), Percent(5_000))
    );
    assert_eq!(namespaces.0[2].body.machine.as_ref().unwrap().0, "m1");
    let names: Vec<_> = namespaces.0.iter().map(|n| (n.name.as_str(), n.body.setup.len())).collect();
    assert_eq!(names, [("node1", 2), ("p1a", 1), ("empty", 0)]);
    assert_eq!((traffic.len(), expect.len()), (5, 10));
    let Step::Script(script) = &traffic[3] else { panic!("{:?}", traffic[3]) };
    let calls: Vec<String> = script.script.iter().map(ToString::to_string).collect();
    let want = "socket udp, setsockopt ip ttl 1, bind 0.0.0.0:9, connect 10.244.2.2:33435, send to 10.244.1.3:7, recv, \
                recv errqueue, shutdown write, close, sleep, repeat";
    assert_eq!(calls.join(", "), want);
    let Step::Script(script) = &traffic[4] else { panic!("{:?}", traffic[4]) };
    let calls: Vec<String> = script.script.iter().map(ToString::to_string).collect();
    let want = "socket tcp, settimeout, listen, accept, accept, use l, settimeout, recv, recv, send, \
                setsockopt tcp nodelay on, setsockopt socket linger off";
    assert_eq!(calls.join(", "), want);
    let Expect::Command(command) = &expect[3] else { panic!("{:?}", expect[3]) };
    assert_eq!(command.stdout.as_ref().unwrap().0[1].as_str(), "0777");
    let Expect::Journey(journey) = &expect[8] else { panic!("{:?}", expect[8]) };
    assert_eq!(journey.hops[1].to_string(), "node1/vethp1a In");
    let Expect::Counters(counters) = &expect[7] else { panic!("{:?}", expect[7]) };
    assert_eq!(counters.tx_bytes.as_ref().unwrap().value, Count { min: 0, max: Some(9) });
}

/// Every `span: a..b` of the whole scenario, by way of its `Debug`.
fn spans(scenario: &Scenario) -> Vec<Range<usize>> {
    let debug = format!("{scenario:?}");
    let span = |text: &str| {
        let (start, rest) = text.split_once("..").unwrap();
        start.parse().unwrap()..rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
    };
    debug.split("span: ").skip(1).map(span).collect()
}

#[test]
fn every_value_has_its_place() {
    let source = source(FULL);
    let scenario = parse(&source).unwrap();
    let texts: Vec<_> = spans(&scenario).into_iter().map(|span| &source.text()[span]).collect();
    assert_eq!(
        texts,
        [
            "same-node",
            "all of it",
            "1m30s",
            "1000000",
            "100000000",
            "9",
            "r1",
            "10.0.1.1/24 dev eth1",
            "default via 10.0.1.9",
            "ip link set eth1 mtu 1400",
            "sw1",
            "ip link set br0 promisc on",
            "sw2",
            "r1/eth1",
            "sw1/p1",
            "1ms",
            "10mbit",
            "5",
            "0.5%",
            "node1",
            "\"ip link add br0 type bridge\"",
            "'ip link set br0 up'",
            "p1a",
            "ip addr add 10.244.1.2/24 dev eth0",
            "empty",
            "m1",
            "udpecho 7",
            "p1a",
            "\"ping -c1 10.244.1.3\"",
            "1s",
            "1s",
            "3",
            "47s",
            "node1",
            "ip neigh",
            "p1a",
            "probe",
            "2s",
            "p1a",
            "2s",
            "r1/eth1",
            "50ms",
            "1mbit",
            "1%",
            "3s",
            "node1/vethp1a",
            "\"arp\"",
            "2",
            "node1/any",
            "{min: 1, max: 3}",
            "p1a/eth0",
            "\"arp\"",
            "\"icmp[0] == 8\"",
            "\"ping -c1 10.244.1.3\"",
            "p1a",
            "2",
            "0",
            "\"1 received\"",
            "0777",
            "ip neigh",
            "64 bytes",
            "node1/br0",
            "2s",
            "\"0a:58:0a:f4:01:02\"",
            "vethp1a",
            "0a:58:0a:f4:01:03",
            "p1a/eth0",
            "200ms",
            "10.244.1.3",
            "a:0:0:0:0:1",
            "10.0.0.1",
            "node1/vethp1a",
            "3s",
            "5",
            "{min: 1}",
            "0",
            "{max: 9}",
            "0",
            "0",
            "p1a/eth0",
            "\"icmp[0] == 8\"",
            "\"p1a/eth0 Out\"",
            "\"node1/vethp1a  In\"",
            "3",
        ]
    );
}

#[test]
fn defaults() {
    let spec = spec("");
    assert_eq!((spec.seed, spec.start_time, spec.jiffies), (DEFAULT_SEED, DEFAULT_START_TIME, DEFAULT_JIFFIES));
    assert_eq!((spec.placement, spec.limits), (Placement::Nodes, Limits::default()));
    assert!(spec.duration.is_none() && spec.traffic.is_empty() && spec.expect.is_empty());
    let start: jiff::Timestamp = "2022-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(i128::from(DEFAULT_START_TIME.0), start.as_nanosecond());
}

#[test]
fn durations() {
    for (text, ns) in [
        ("0", 0),
        ("0s", 0),
        ("47s", 47_000_000_000),
        ("200ms", 200_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("1µs", 1_000),
        ("0.0000000019s", 1),
        ("1.5h", 5_400_000_000_000),
    ] {
        assert_eq!(spec(&format!("duration: {text}")).duration.unwrap().value, Duration(ns), "{text}");
    }
    for text in ["47", "s", ".s", "1x", "1 s", "-1s", "+1s", "1s1", "1.5.5s", "\"\"", "1S"] {
        let message = format!("`{}` is not a duration", text.trim_matches('"'));
        assert_eq!(errors(&with_spec(&format!("duration: {text}")))[0].1, message);
    }
    assert_eq!(errors(&with_spec("duration: 600000h9999999h"))[0].1, "`600000h9999999h` is too long");
}

#[test]
fn messages() {
    for (lines, at, message, hint) in [
        ("nodez: 1", "nodez", "unknown field `nodez` in `spec`", "the fields here are `seed`, `startTime`, `jiffies`"),
        (
            "durration: 1s",
            "durration",
            "unknown field `durration` in `spec`",
            "did you mean `duration`? The fields here",
        ),
        ("seed: \"7\"", "\"7\"", "`seed` must be a whole number, found a string", "write decimal digits only"),
        ("seed: 1_000", "1_000", "`seed` must be a whole number, found a string", "write decimal digits only"),
        (
            "seed: 18446744073709551616",
            "18446744073709551616",
            "`seed` must be a whole number, found a string",
            "the largest",
        ),
        ("seed: [1]", "[1]", "`seed` must be a whole number, found a list", ""),
        ("seed: -1", "-1", "`seed` must be a whole number, found a number below zero", ""),
        ("seed:", "seed", "`seed` must be a whole number, found nothing", ""),
        ("seed: true", "true", "`seed` must be a whole number, found true or false", ""),
        (
            "placement: onekernel",
            "onekernel",
            "`onekernel` is not one of `one-kernel`, `nodes`",
            "did you mean `one-kernel`?",
        ),
        ("startTime: 2022-06-01", "2022-06-01", "`2022-06-01` is not a time", "write date, time and time zone"),
        (
            "startTime: 1969-12-31T23:59:59Z",
            "1969-12-31T23:59:59Z",
            "`1969-12-31T23:59:59Z` does not fit a capture file",
            "pcap",
        ),
        (
            "startTime: 2106-02-07T06:28:16Z",
            "2106-02-07T06:28:16Z",
            "`2106-02-07T06:28:16Z` does not fit a capture file",
            "pcap",
        ),
        ("limits: {frames: 0}", "0", "0 is too small: the least is 1", "leave the field out"),
        ("traffic: {sleep: 1s}", "{sleep: 1s}", "`traffic` must be a list, found a map", ""),
        ("traffic: [sleep]", "sleep", "item 1 of `traffic` must be a map, found a string", ""),
        ("traffic: [{at: 1s}]", "{at: 1s}", "item 1 of `traffic` has none of `run`, `script`, `sleep`", ""),
        (
            "traffic: [{sleep: 1s, run: x}]",
            "run",
            "item 1 of `traffic` has both `sleep` and `run`",
            "make it two items",
        ),
        (
            "traffic: [{from: n, script: [{sokcet: udp}]}]",
            "{sokcet: udp}",
            "item 1 of `script` has none of",
            "did you mean `socket`?",
        ),
        (
            "traffic: [{from: n, script: [{send: {size: 1}, recv: }]}]",
            "recv",
            "item 1 of `script` has both `send` and `recv`",
            "make it two items",
        ),
        ("traffic: [{from: n, script: [{socket: sctp}]}]", "sctp", "`sctp` is not one of `udp`, `tcp`", ""),
        (
            "traffic: [{from: n, script: [{setsockopt: [ip, tll, 1]}]}]",
            "[ip, tll, 1]",
            "there is no option [ip, tll]",
            "did you mean [ip, ttl]? The options are [ip, ttl]",
        ),
        (
            "traffic: [{from: n, script: [{setsockopt: [ip, ttl, 256]}]}]",
            "256",
            "`256` is not a value of `ip ttl`",
            "write a number of 0 to 255",
        ),
        ("traffic: [{from: n, script: [{setsockopt: [ip]}]}]", "[ip]", "`setsockopt` must be a list of three", ""),
        (
            "traffic: [{from: n, script: [{bind: 10.0.0.1}]}]",
            "10.0.0.1",
            "`10.0.0.1` is not an address with a port",
            "an IPv4 address, a colon",
        ),
        (
            "traffic: [{from: n, script: [{send: {byte: a}}]}]",
            "send",
            "missing field `text` or `hex` or `size` in `send`",
            "",
        ),
        ("traffic: [{from: n, script: [{send: {size: 1, byte: ab}}]}]", "ab", "`ab` is not one byte", "one character"),
        (
            "traffic: [{from: n, script: [{send: {size: 20000000}}]}]",
            "20000000",
            "20000000 bytes are more than",
            "a UDP",
        ),
        ("traffic: [{from: n, script: [{listen: 5000000000}]}]", "5000000000", "5000000000 is more than", "as many"),
        ("traffic: [{from: n, script: [{listen: }]}]", "listen", "`listen` must be a whole number, found nothing", ""),
        ("traffic: [{from: n, script: [{accept: 1}]}]", "1", "`accept` must be a map, found a number", ""),
        ("traffic: [{from: n, script: [{accept: {timeout: 1}}]}]", "1", "`1` is not a duration", "numbers with units"),
        ("traffic: [{from: n, script: [{settimeout: off}]}]", "off", "`off` is not a duration", "numbers with units"),
        (
            "traffic: [{from: n, script: [{socket: tcp, as: server}, {repeat: 2, do: [{use: servre}]}]}]",
            "servre",
            "no socket of this script is called `servre`",
            "did you mean `server`?",
        ),
        (
            "traffic: [{from: n, script: [{use: a}]}]",
            "a",
            "no socket of this script is called `a`",
            "a socket gets a name by `as`",
        ),
        (
            "traffic: [{from: n, script: [{socket: tcp, as: a b}]}]",
            "a b",
            "`a b` cannot be the name of a socket",
            "a name has",
        ),
        (
            "traffic: [{from: n, script: [{recv: {all: true, total: 3}}]}]",
            "true",
            "`all` and `total` exclude each other",
            "`total` is a number",
        ),
        (
            "traffic: [{from: n, script: [{recv: {errqueue: true, total: 3}}]}]",
            "3",
            "`errqueue` and `total` exclude each other",
            "a call reads one error",
        ),
        (
            "traffic: [{from: n, script: [{setsockopt: [socket, linger, soon]}]}]",
            "soon",
            "`soon` is not a value of `socket linger`",
            "write how many seconds",
        ),
        (
            "traffic: [{from: n, script: [{setsockopt: [tcp, nodelay, yes]}]}]",
            "yes",
            "`yes` is not a value of `tcp nodelay`",
            "write on or off",
        ),
        ("traffic: [{from: n, script: [{repeat: 2, do: []}]}]", "[]", "this list is empty", "write what is repeated"),
        ("traffic: [{from: n, script: [{repeat: 0, do: [{close: }]}]}]", "0", "0 is too small: the least is 1", ""),
        (
            "traffic: [{from: n, script: [{repeat: 10000, do: [{repeat: 10000, do: [{close: }]}]}]}]",
            "[{repeat: 10000, do: [{repeat: 10000, do: [{close: }]}]}]",
            "this script makes more than 10000000 calls (MAX_SCRIPT_CALLS)",
            "the numbers",
        ),
        (
            "traffic: [{from: n, script: [{cost: 2s}]}]",
            "2s",
            "no call takes the CPU for longer than 1 s",
            "write {cost",
        ),
        ("traffic: [{from: n, script: [{close: 1}]}]", "1", "`close` must be empty", ""),
        ("traffic: [{run: x}]", "{run: x}", "missing field `from` in item 1 of `traffic`", ""),
        ("traffic: [{run: [x], from: n}]", "[x]", "`run` must be a string, found a list", ""),
        (
            "traffic: [{sleep: 1s, at: 1s}]",
            "at",
            "unknown field `at` in item 1 of `traffic`",
            "the fields here are `sleep`",
        ),
        (
            "expect: [{capture: n/e}]",
            "{capture: n/e}",
            "missing field `count` or `sequence` in item 1 of `expect`",
            "`count: 2`",
        ),
        (
            "expect: [{capture: n/e, count: 1, sequence: [arp]}]",
            "[arp]",
            "`count` and `sequence` exclude each other",
            "`count: 2`",
        ),
        ("expect: [{capture: n/e, sequence: []}]", "[]", "this list is empty", "write `count: 0`"),
        ("expect: [{capture: n/e, count: {}}]", "{}", "these bounds have neither `min` nor `max`", "write {min: 1"),
        (
            "expect: [{capture: n/e, count: {minn: 1}}]",
            "minn",
            "unknown field `minn` in `count`",
            "did you mean `min`?",
        ),
        ("expect: [{capture: n, count: 1}]", "n", "`n` is not NAMESPACE/INTERFACE", "write, for example, node1/eth0"),
        ("expect: [{capture: n/, count: 1}]", "n/", "`` is not a name of an interface: it is empty", ""),
        (
            "expect: [{capture: n/a/b, count: 1}]",
            "n/a/b",
            "`a/b` is not a name of an interface: it must not have `/`",
            "",
        ),
        (
            "expect: [{capture: n/0123456789abcdef, count: 1}]",
            "n/0123456789abcdef",
            "`0123456789abcdef` is not a name",
            "",
        ),
        (
            "expect: [{capture: n/e, count: 1, direction: out}]",
            "out",
            "`out` is not a direction",
            "did you mean `Out`?",
        ),
        ("expect: [{command: x}]", "{command: x}", "missing field `exit` or `stdout` in item 1 of `expect`", ""),
        ("expect: [{command: x, exit: 256}]", "256", "256 is more than 255, the largest here", ""),
        ("expect: [{command: x, stdout: []}]", "[]", "this list is empty", "name a text"),
        ("expect: [{fdb: n/b}]", "{fdb: n/b}", "missing field `has` or `lacks` in item 1 of `expect`", ""),
        ("expect: [{fdb: n/any, has: []}]", "n/any", "`any` is not one interface", "only `capture`"),
        ("expect: [{fdb: n/b, has: [{mac: 1:2}]}]", "1:2", "`1:2` is not a MAC address", "six bytes"),
        ("expect: [{fdb: n/b, lacks: [{port: x}]}]", "{port: x}", "missing field `mac` in item 1 of `lacks`", ""),
        (
            "expect: [{neigh: n/b, has: [{address: 10.0.0.1/24}]}]",
            "10.0.0.1/24",
            "`10.0.0.1/24` is not an IPv4",
            "without the prefix",
        ),
        ("expect: [{neigh: n/b, lacks: [{address: 10.2}]}]", "10.2", "`10.2` is not an IPv4 address", "four numbers"),
        ("expect: [{counters: n/b}]", "{counters: n/b}", "this item compares no counter", "the counters are"),
        ("expect: [{journey: n/b, filter: x, hops: []}]", "[]", "this list is empty", "a packet is seen"),
        (
            "expect: [{journey: n/b, filter: x, hops: [n/b]}]",
            "n/b",
            "`n/b` is not NAMESPACE/INTERFACE DIRECTION",
            "write",
        ),
        ("expect: [{exit: 2, limit: frames}]", "2", "a run that ends at a limit exits with 3, not 2", "write exit: 3"),
        (
            "expect: [{exit: 3, limit: frame}]",
            "frame",
            "`frame` is not one of `chainFrames`, `frames`, `events`",
            "did you mean",
        ),
        ("expect: [{exit: 3}]", "{exit: 3}", "item 1 of `expect` has none of `capture`, `command`", ""),
    ] {
        let got = errors(&with_spec(lines));
        assert!(
            got.iter().any(|e| e.0 == at && e.1.starts_with(message) && e.2.starts_with(hint)),
            "{lines}: {got:#?}"
        );
        let expected = if lines.contains("{port: x}") { 2 } else { 1 };
        assert_eq!(got.len(), expected, "{lines}: {got:#?}");
    }
}

#[test]
fn messages_about_the_file() {
    let head = "apiVersion: podhop/v1\nkind: Scenario\n";
    let spec = "spec: {namespaces: {n: }}\n";
    for (text, at, message) in [
        ("", "", "there is nothing in this file"),
        ("# nothing\n", "", "there is nothing in this file"),
        ("a\n", "a", "a scenario must be a map, found a string"),
        ("apiVersion: v1\nkind: Pod\n", "v1", "unknown apiVersion `v1`: this program reads `podhop/v1`"),
        (
            "apiVersion: podhop/v1\nkind: scenario\n",
            "scenario",
            "unknown kind `scenario`: this program reads `Scenario`",
        ),
        (&format!("kind: Scenario\nmetadata: {{name: a}}\n{spec}"), "", "missing field `apiVersion`"),
        (&format!("{head}metadata: {{name: A}}\n{spec}"), "A", "`A` is not a DNS label"),
        (&format!("{head}metadata: {{}}\n{spec}"), "metadata", "missing field `name` in `metadata`"),
        (
            &format!("{head}metadata: {{name: a}}\nspec: {{}}\n"),
            "spec",
            "missing field `namespaces` or `cluster` in `spec`",
        ),
        (
            &format!("{head}metadata: {{name: a}}\nspec: {{namespaces: {{}}}}\n"),
            "{}",
            "there must be at least one namespace",
        ),
        (
            &format!("{head}metadata: {{name: a}}\nspec: {{namespaces: {{a/b: {{setup: []}}}}}}\n"),
            "a/b",
            "`a/b` cannot be the name of a namespace",
        ),
    ] {
        let got = errors(text);
        assert_eq!(got.len(), 1, "{text}: {got:#?}");
        assert!((at.is_empty() || got[0].0 == at) && got[0].1 == message, "{text}: {got:#?}");
    }
}

#[test]
fn errors_of_tree_and_fields_come_together_and_end_somewhere() {
    let got = errors(&with_spec("seed: x\nseed: 7\ntraffic: [{sleep: !x 1}, {sleep: 2}]\n"));
    assert_eq!(got.iter().map(|e| e.0.as_str()).collect::<Vec<_>>(), ["x", "seed", "!x", "1", "2"]);
    let many = format!("traffic: [{}]", "{sleep: x},".repeat(1000));
    assert_eq!(errors(&with_spec(&many)).len(), MAX_DIAGNOSTICS);
    let many: String = (0..1000).map(|i| format!("x{i}: 1\n")).collect();
    assert_eq!(errors(&with_spec(&many)).len(), MAX_DIAGNOSTICS);
    let names: String = (0..1000).map(|i| format!(" /{i}: {{}}\n")).collect();
    assert_eq!(
        errors(&with_spec("").replace("namespaces: {n: }", &format!("namespaces:\n{}", names.replace(" /", "    /"))))
            .len(),
        100
    );
}

#[test]
fn a_part_of_a_command_is_found_in_the_file() {
    for (written, at) in [
        ("ip link add", Some("link")),
        ("\"ip link add\"", Some("link")),
        ("'ip link add'", Some("link")),
        ("\"ip \\u006cink add\"", None),
        ("|\n      ip link add", Some("link")),
        ("ip\n      link add", None),
    ] {
        let text = with_spec(&format!("traffic:\n- from: n\n  run: {written}"));
        let source = source(&text);
        let scenario = parse(&source).unwrap();
        let Step::Run(run) = &scenario.spec.traffic[0] else { panic!("{scenario:?}") };
        let got = &source.text()[run.run.part(&source, 3..7)];
        let whole = &source.text()[run.run.span.clone()];
        assert_eq!(got, at.unwrap_or(whole), "{written}");
    }
}

/// The files whose errors are decided here; `BLESS=1` writes the texts anew.
#[test]
fn files_with_errors() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/errors");
    for name in ["alias-bomb", "duplicate-key", "tab", "unknown-field", "unknown-version", "wrong-type"] {
        let text = std::fs::read_to_string(format!("{folder}/{name}.yaml")).unwrap();
        let source = SourceFile::new(format!("scenarios/errors/{name}.yaml"), text);
        let got = parse(&source).expect_err(name).to_string();
        let golden = format!("{folder}/{name}.stderr");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &got).unwrap();
        }
        assert_eq!(got, std::fs::read_to_string(&golden).unwrap(), "{name}");
    }
}

/// A change of a valid file.
#[derive(Clone, Debug)]
struct Edit {
    at: usize,
    remove: usize,
    insert: String,
}

fn edit() -> impl Strategy<Value = Edit> {
    let piece = prop_oneof![
        "[ \\n\\t:,\\[\\]{}'\"&*!|>~0-9a-z-]{0,4}",
        Just("\n  ".to_owned()),
        Just("null".to_owned()),
        Just("{}".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    (0..FULL.len(), 0..12_usize, piece).prop_map(|(at, remove, insert)| Edit { at, remove, insert })
}

fn check(text: &str) {
    let source = source(text);
    match parse(&source) {
        Ok(scenario) => {
            for span in spans(&scenario) {
                assert!(source.text().get(span.clone()).is_some_and(|text| !text.is_empty()), "{span:?}");
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in &errors {
                let notes = error.notes.iter().map(|(span, _)| span);
                assert!(notes.chain([&error.span]).all(|span| source.text().get(span.clone()).is_some()), "{error:?}");
            }
            assert_eq!(errors.render(false), parse(&source).unwrap_err().render(false));
        }
    }
}

proptest! {
    #[test]
    fn a_changed_file_is_a_scenario_or_errors(edits in proptest::collection::vec(edit(), 1..6)) {
        let mut text = FULL.to_owned();
        for Edit { at, remove, insert } in edits {
            let start = text.floor_char_boundary(at);
            let end = text.floor_char_boundary(at + remove);
            text.replace_range(start..end, &insert);
        }
        check(&text);
    }

    #[test]
    fn any_bytes_are_a_scenario_or_errors(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }
}
