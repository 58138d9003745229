//! The live kernel puts segments together as we do (GRO): a veth of a router polls what comes in, in real namespaces
//! and in ours.
//!
//! One write of a sender whose device cuts segments arrives in one poll, whatever the machine is like.

use podhop_parity::Compare;
use podhop_tests::live;

/// A client and a server with a router between them.
const LAB: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: gro}
spec:
  namespaces:
    a:
      setup:
        - ip link add eth0 address 0a:00:00:00:00:01 type veth peer name ra address 0a:00:00:00:00:11 netns r
        - ethtool -K eth0 sg off
        - ip link set eth0 up
        - ip addr add 10.0.1.2/24 dev eth0
        - ip route add default via 10.0.1.1
    b:
      setup:
        - ip link add eth0 address 0a:00:00:00:00:02 type veth peer name rb address 0a:00:00:00:00:12 netns r
        - ethtool -K eth0 sg off
        - ip link set eth0 up
        - ip addr add 10.0.2.2/24 dev eth0
        - ip route add default via 10.0.2.1
      servers: [slowd 9000]
    r:
      setup:
        - sysctl -w net.ipv4.ip_forward=1
        - ethtool -K ra sg off
        - ip link set ra up
        - ip addr add 10.0.1.1/24 dev ra
        - ethtool -K rb sg off
        - ip link set rb up
        - ip addr add 10.0.2.1/24 dev rb
  traffic:
"#;

/// The client sends so many bytes in one write, and gets an answer of so many in another.
macro_rules! exchange {
    ($size:literal, $answer:literal) => {
        concat!(
            "{socket: tcp}, {settimeout: 2s}, {connect: \"10.0.2.2:9000\"}, {send: {text: \"0.3 ",
            stringify!($answer),
            "\", size: ",
            stringify!($size),
            ", byte: \" \", end: \"\\n\"}}, {recv: {size: 65536, total: ",
            stringify!($answer),
            "}}, {close: }"
        )
    };
}

macro_rules! live {
    ($($(#[doc = $doc:literal])* $name:ident: [$(($ns:literal, $run:expr)),* $(,)?];)*) => {
        $($(#[doc = $doc])* #[test] fn $name() {
            live::check(LAB, stringify!($name), &[$(($ns, $run)),*], Compare::default());
        })*
    };
}

live! {
    off: [("a", exchange!(5000, 10))];
    /// Put together on the way in, and cut again on the way out.
    cut_again: [("r", "ethtool -K ra gro on"), ("a", exchange!(5000, 10))];
    /// A device that takes several segments as one sends them so.
    goes_on_as_one: [
        ("r", "ethtool -K ra gro on"),
        ("r", "ethtool -K rb tx on sg on tso on gso on"),
        ("a", exchange!(5000, 10)),
    ];
    /// The sender's device takes several segments as one: they are not polled.
    sender_cuts_nothing: [
        ("r", "ethtool -K ra gro on"),
        ("a", "ethtool -K eth0 tx on sg on tso on gso on"),
        ("a", exchange!(5000, 10)),
    ];
    both_ways: [
        ("r", "ethtool -K ra gro on"),
        ("r", "ethtool -K rb gro on"),
        ("a", exchange!(4000, 5000)),
    ];
    /// At the end of the way: the receiver acknowledges what it has got as one.
    receiver: [
        ("b", "ethtool -K eth0 gro on"),
        ("a", exchange!(5000, 10)),
        ("a", "ethtool -K eth0 gro on"),
        ("a", exchange!(20, 5000)),
    ];
    /// A sender whose device gathers pages: they stay where they are, and cost less memory.
    pages: [
        ("a", "ethtool -K eth0 sg on"),
        ("r", "ethtool -K rb sg on"),
        ("b", "ethtool -K eth0 gro on"),
        ("a", exchange!(5000, 10)),
    ];
    /// On the router they are copied, into more memory than before.
    pages_copied: [("a", "ethtool -K eth0 sg on"), ("b", "ethtool -K eth0 gro on"), ("a", exchange!(5000, 10))];
    /// Whole segments only; the last has PSH all the same.
    whole_segments: [("r", "ethtool -K ra gro on"), ("a", exchange!(5792, 10))];
    one_segment: [("r", "ethtool -K ra gro on"), ("a", exchange!(100, 10)), ("a", "ping -c2 -i0.2 10.0.2.2")];
    /// Fragments stay apart.
    fragments: [("r", "ethtool -K ra gro on"), ("a", "ping -c1 -s 4000 10.0.2.2")];
    /// Off again.
    switched_off: [
        ("r", "ethtool -K ra gro on"),
        ("a", exchange!(5000, 10)),
        ("r", "ethtool -K ra gro off"),
        ("a", exchange!(5000, 10)),
    ];
}
