//! The lab of the live tests with rules, and short words for what runs in it.

use podhop_parity::Compare;
use podhop_tests::live;

/// A node that forwards between the pods a and b on a bridge, whose ports are va and vb, and d outside of it.
const NODE: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: rules}
spec:
  namespaces:
    node:
      setup:
        - ip link set lo up
        - ip link add br0 address 0a:00:00:00:00:01 type bridge mcast_snooping 0
        - ip link add va address 4e:00:00:00:00:0a type veth peer name eth0 address 0a:00:00:00:00:0a netns a
        - ip link add vb address 4e:00:00:00:00:0b type veth peer name eth0 address 0a:00:00:00:00:0b netns b
        - ip link add up0 address 0a:00:00:00:01:01 type veth peer name eth0 address 0a:00:00:00:01:0d netns d
        - ethtool -K va tx off rx off sg off tso off gso off gro off
        - ethtool -K vb tx off rx off sg off tso off gso off gro off
        - ethtool -K up0 tx off rx off sg off tso off gso off gro off
        - ethtool -K br0 tx off rx off sg off tso off gso off gro off
        - ip link set va master br0 up
        - ip link set vb master br0 up
        - ip link set br0 up
        - ip link set up0 up
        - ip addr add 10.0.0.1/24 brd + dev br0
        - ip addr add 192.168.0.1/24 brd + dev up0
        - ip route add default via 192.168.0.13
        - sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
      servers: [udpecho 7]
    a:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 10.0.0.10/24 brd + dev eth0
        - ip route add default via 10.0.0.1
      servers: [udpecho 7]
    b:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 10.0.0.11/24 brd + dev eth0
        - ip route add default via 10.0.0.1
      servers: [udpecho 7]
    d:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 192.168.0.13/24 brd + dev eth0
        - ip route add 10.0.0.0/8 via 192.168.0.1
      servers: [udpecho 7]
  traffic:
"#;

macro_rules! live {
    ($($(#[doc = $doc:literal])* $name:ident: [$(($ns:literal, $run:expr)),* $(,)?];)*) => {
        $($(#[doc = $doc])* #[test] fn $name() { check(stringify!($name), &[$(($ns, $run)),*]); })*
    };
}

/// Sends a datagram of so many bytes from port 5000 to an address, from a connected socket, and waits for the answer.
macro_rules! udp {
    ($to:literal) => {
        udp!($to, 32)
    };
    ($to:literal, $size:literal) => {
        udp!($to, $size, "5000")
    };
    ($to:literal, $size:literal, $port:literal) => {
        concat!(
            "{socket: udp}, {bind: \"0.0.0.0:",
            $port,
            "\"}, {connect: \"",
            $to,
            "\"}, {send: {size: ",
            stringify!($size),
            ", byte: a}}, {recv: {timeout: 300ms}}, {recv: {timeout: 100ms}}"
        )
    };
}

/// Sends two datagrams from port 5000 to an address from a socket that is not connected. Not every file of tests does.
#[allow(unused_macros)]
macro_rules! sendto {
    ($to:literal) => {
        concat!(
            "{socket: udp}, {setsockopt: [socket, broadcast, 1]}, {bind: \"0.0.0.0:5000\"}, \
             {repeat: 2, do: [{send: {size: 32, byte: a, to: \"",
            $to,
            "\"}}, {recv: {timeout: 200ms}}]}"
        )
    };
}

/// Waits in the background for one connection to port 80 and for its end. Not every file of tests has one.
#[allow(unused_macros)]
macro_rules! tcp_server {
    () => {
        "& {socket: tcp}, {bind: \"0.0.0.0:80\"}, {listen: 1}, {accept: {timeout: 3s}}, {recv: {timeout: 3s}}, \
         {close: }"
    };
}

/// Connects from port 5000 to port 80 of an address, says something and closes.
#[allow(unused_macros)]
macro_rules! tcp_client {
    ($to:literal) => {
        concat!(
            "{socket: tcp}, {bind: \"0.0.0.0:5000\"}, {connect: \"",
            $to,
            ":80\"}, {send: {text: hello}}, {sleep: 200ms}, {close: }"
        )
    };
}

/// `iptables`, one rule.
macro_rules! rule {
    ($($words:tt)*) => { concat!("iptables ", $($words)*) };
}

/// Compares a lab of this traffic with the real one: records, what was printed, and in the end rules and connections.
pub fn check(name: &str, traffic: &[(&str, &str)]) {
    live::check(NODE, name, traffic, Compare::ALL);
}
