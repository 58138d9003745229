//! Commands run on the kernel: what they print and their exit statuses, as the real tools did in the same state.

use crate::base::{MachineId, NsId, Time};
use crate::engine::{Config, Stopped, World};
use crate::kernel::netlink::Request;
use crate::kernel::trace::Mute;
use crate::lab::parse;

struct Shell {
    world: World,
    ns: NsId,
}

impl Shell {
    /// A world with a namespace `node` to work in.
    fn new() -> Self {
        let mut world = World::new(Config::default());
        let first = NsId::new(MachineId(0), 0);
        world.configure(first, &Request::NetnsAdd { name: "node".to_owned() }, &mut Mute).unwrap();
        Shell { world, ns: first }
    }

    /// Runs a command in `node`; returns what it printed and its exit status.
    fn run(&mut self, line: &str) -> (String, i32) {
        let command = parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let ns = command.start_ns(self.world.machine(self.ns).spaces(), self.ns);
        let program = command.into_program();
        let pid = self.world.spawn(ns, program.boxed_clone(), Time(0)).unwrap();
        let stopped = self.world.run(Time(u64::MAX), &mut Mute).unwrap();
        assert_eq!(stopped, Stopped::Exit(MachineId(0), pid));
        let done = self.world.reap(ns, pid).unwrap();
        (done.console.all(), done.code)
    }

    /// Runs a script as it stands in `script`: a command after `$`, what it prints, `rc=N` if that is not 0.
    fn replay(&mut self, script: &str) {
        for part in script.trim_start().split("$ ").skip(1) {
            let (command, rest) = part.split_once('\n').unwrap_or((part, ""));
            let (want, code) = match rest.split_once("rc=") {
                Some((want, code)) => (want, code.trim().parse().unwrap()),
                None => (rest, 0),
            };
            let (text, got) = self.run(command);
            assert_eq!((text.as_str(), got), (want, code), "{command}");
        }
    }
}

#[test]
fn an_empty_connection_table() {
    Shell::new().replay(
        "
$ conntrack -L
conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.
$ conntrack -C
0
$ conntrack -D -p udp
conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.
rc=1
$ conntrack -F
conntrack v1.4.7 (conntrack-tools): connection tracking table has been emptied.
$ sysctl net.netfilter.nf_conntrack_udp_timeout
net.netfilter.nf_conntrack_udp_timeout = 30
$ sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=86400
net.netfilter.nf_conntrack_tcp_timeout_established = 86400
",
    );
}

#[test]
fn errors_and_statuses() {
    Shell::new().replay(
        "
$ ip netns add p1
$ ip netns add p1
Cannot create namespace file \"/run/netns/p1\": File exists
rc=1
$ ip netns del nope
Cannot remove namespace file \"/run/netns/nope\": No such file or directory
rc=1
$ ip -n nope link
Cannot open network namespace \"nope\": No such file or directory
rc=255
$ ip netns exec nope ip link
Cannot open network namespace \"nope\": No such file or directory
rc=255
$ bridge -n nope link
Cannot open network namespace \"nope\": No such file or directory
rc=255
$ ip netns exec nope ping -c1 10.0.0.1
Cannot open network namespace \"nope\": No such file or directory
rc=255
$ ip link set lo up
$ ip link add br0 address 0a:00:00:00:00:01 type bridge
$ ip link add br0 type bridge
RTNETLINK answers: File exists
rc=2
$ ip link add v1 address 4e:00:00:00:00:01 type veth peer name eth0 address 0a:00:00:00:00:02 netns p1
$ ip link add v1 type veth peer name zz
RTNETLINK answers: File exists
rc=2
$ ip link add x netns nope type bridge
Error: argument \"nope\" is wrong: Invalid \"netns\" value
rc=255
$ ip link add x netns 99999999 type bridge
RTNETLINK answers: No such process
rc=2
$ ip link add x type veth peer name y netns nope
Error: argument \"nope\" is wrong: Invalid \"netns\" value
rc=255
$ ip link add x master nope type bridge
Error: argument \"nope\" is wrong: Device does not exist
rc=255
$ ip link set nope up
Cannot find device \"nope\"
rc=1
$ ip link set nope master nope2
Error: argument \"nope2\" is wrong: Device does not exist
rc=255
$ ip link set v1 master br0
$ ip link set br0 type bridge_slave hairpin on
RTNETLINK answers: Operation not supported
rc=2
$ ip link set v1 type bridge_slave hairpin on
$ ip link del nope
Cannot find device \"nope\"
rc=1
$ ip link del lo
RTNETLINK answers: Operation not supported
rc=2
$ ip link show nope
Device \"nope\" does not exist.
rc=1
$ ip link show up master nope
Error: argument \"nope\" is wrong: Device does not exist
rc=255
$ ip addr add 10.0.0.1/24 dev nope
Cannot find device \"nope\"
rc=1
$ ip addr add 10.0.0.1/24 brd + dev br0
$ ip addr add 10.0.0.1/24 brd + dev br0
Error: ipv4: Address already assigned.
rc=2
$ ip addr replace 10.0.0.1/24 brd + dev br0
$ ip addr del 10.0.0.9/24 dev br0
Error: ipv4: Address not found.
rc=2
$ ip addr flush nope
Device \"nope\" does not exist.
rc=1
$ ip route add 10.1.0.0/16 via 10.9.9.9
Error: Nexthop has invalid gateway.
rc=2
$ ip route add 10.1.0.0/16
RTNETLINK answers: No such device
rc=2
$ ip route add 10.1.0.1/16 dev br0
Error: Invalid prefix for given prefix length.
rc=2
$ ip route add 10.1.0.0/16 dev nope
Cannot find device \"nope\"
rc=1
$ ip route del 10.99.0.0/16
RTNETLINK answers: No such process
rc=2
$ ip route show table 55
Error: ipv4: FIB table does not exist.
Dump terminated
rc=2
$ ip route show dev nope
Cannot find device \"nope\"
rc=1
$ ip neigh add 10.0.0.9 lladdr 0a:00:00:00:00:09 dev nope
Cannot find device \"nope\"
rc=1
$ ip neigh add 10.0.0.9 lladdr 0a:00:00:00:00:09 dev br0
$ ip neigh add 10.0.0.9 lladdr 0a:00:00:00:00:09 dev br0
RTNETLINK answers: File exists
rc=2
$ ip neigh change 10.0.0.99 lladdr 0a:00:00:00:00:19 dev br0
RTNETLINK answers: No such file or directory
rc=2
$ ip neigh del 10.0.0.98 dev br0
RTNETLINK answers: No such file or directory
rc=2
$ bridge link set dev nope hairpin on
Cannot find bridge device \"nope\"
rc=255
$ bridge link set dev br0 hairpin on
RTNETLINK answers: Operation not supported
rc=255
$ bridge link show dev nope
Cannot find device \"nope\"
rc=255
$ bridge fdb show br nope
Cannot find bridge device \"nope\"
rc=255
$ bridge fdb add 0a:00:00:00:00:aa dev v1 master static
$ bridge fdb add 0a:00:00:00:00:aa dev v1 master static
RTNETLINK answers: File exists
rc=255
$ bridge fdb del 0a:00:00:00:00:ab dev v1 master
RTNETLINK answers: No such file or directory
rc=255
$ ethtool -K nope tx off
netlink error: no device matches name (offset 24)
netlink error: No such device
rc=92
$ ethtool -K v1 tx off rx off sg off tso off gso off gro off
",
    );
}

#[test]
fn sysctl_goes_on_after_an_error() {
    Shell::new().replay(
        "
$ sysctl net.ipv4.ip_forward net.ipv4.nope net/ipv4/ip_default_ttl
net.ipv4.ip_forward = 0
sysctl: cannot stat /proc/sys/net/ipv4/nope: No such file or directory
net.ipv4.ip_default_ttl = 64
rc=1
$ sysctl -w net.ipv4.nope=1 net.ipv4.ip_forward=1
sysctl: cannot stat /proc/sys/net/ipv4/nope: No such file or directory
net.ipv4.ip_forward = 1
rc=1
$ sysctl -n net.ipv4.ip_forward
1
$ sysctl -qw net.ipv4.ip_forward=0 net.ipv4.ip_default_ttl=63
$ sysctl -nw net.ipv4.ip_forward=1
1
$ sysctl -w net.ipv4.ip_forward=foo
sysctl: setting key \"net.ipv4.ip_forward\": Invalid argument
rc=1
$ sysctl -e net.ipv4.nope net.ipv4.nope=1
$ ip netns add p1
$ ip netns exec p1 sysctl net.ipv4.ip_forward
net.ipv4.ip_forward = 0
",
    );
}

#[test]
fn a_node_with_a_pod() {
    Shell::new().replay(
        "
$ ip netns add p1
$ ip link set lo up
$ ip link add cbr0 address 0a:58:0a:f4:01:01 type bridge
$ ip link add vethp1 address 4e:00:00:00:01:02 type veth peer name eth0 address 0a:58:0a:f4:01:02 netns p1
$ ip link set vethp1 master cbr0 up
$ ip link set cbr0 up
$ ip addr add 10.244.1.1/24 brd + dev cbr0
$ ip -n p1 link set eth0 up
$ ip -n p1 addr add 10.244.1.2/24 brd + dev eth0
$ ip -n p1 route add default via 10.244.1.1
$ ip link
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
2: cbr0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default qlen 1000
    link/ether 0a:58:0a:f4:01:01 brd ff:ff:ff:ff:ff:ff
3: vethp1@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master cbr0 state UP mode DEFAULT \
group default qlen 1000
    link/ether 4e:00:00:00:01:02 brd ff:ff:ff:ff:ff:ff link-netns p1
$ ip -n p1 -br addr
lo               DOWN           \n\
eth0@if3         UP             10.244.1.2/24 \n\
$ ip -n p1 route
default via 10.244.1.1 dev eth0 \n\
10.244.1.0/24 dev eth0 proto kernel scope link src 10.244.1.2 \n\
$ ip netns exec p1 ip -4 addr show dev eth0
2: eth0@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default qlen 1000 link-netns node
    inet 10.244.1.2/24 brd 10.244.1.255 scope global eth0
       valid_lft forever preferred_lft forever
$ bridge link set dev vethp1 hairpin on
$ bridge -d link
3: vethp1@cbr0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master cbr0 state forwarding priority 32 cost 2 \n    \
hairpin on guard off root_block off fastleave off learning on flood on mcast_flood on bcast_flood on mcast_router 1 \
mcast_to_unicast off neigh_suppress off vlan_tunnel off isolated off locked off \n\
$ ip neigh add 10.244.1.2 lladdr 0a:58:0a:f4:01:02 dev cbr0
$ ip neigh
10.244.1.2 dev cbr0 lladdr 0a:58:0a:f4:01:02 PERMANENT \n\
$ ip link del vethp1
$ ip -n p1 -br link
lo               DOWN           00:00:00:00:00:00 <LOOPBACK> \n",
    );
}

#[test]
fn a_user_program_starts_in_the_namespace_it_enters() {
    let mut shell = Shell::new();
    shell.replay("\n$ ip netns add p1\n");
    let spaces = shell.world.machine(shell.ns).spaces();
    for (line, want) in [
        ("ip netns exec p1 ping -c1 10.0.0.1", "p1"),
        ("ip netns exec nope ping -c1 10.0.0.1", "node"),
        ("ping -c1 10.0.0.1", "node"),
        ("ip -n p1 link", "node"),
    ] {
        assert_eq!(spaces.name(parse(line).unwrap().start_ns(spaces, shell.ns)), want, "{line}");
    }
}
