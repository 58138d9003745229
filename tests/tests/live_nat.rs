//! The live kernel translates as we do: labs with rules of the nat table, built and run in real namespaces and by us.
//!
//! Compared are every record, what every command and script printed, and at the end the rules with their counters and
//! the connections of every namespace. Ports are bound, so that none is chosen at random; TCP is left out until it is
//! there. The bridge does not snoop, so that it sends no reports of IGMP.

#[macro_use]
mod live_lab;

use live_lab::check;

live! {
    dnat_to_a_pod: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 100, "5001")),
        ("d", udp!("10.96.0.1:53")),
    ];
    dnat_to_a_pod_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("d", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.0.0.11"),
    ];
    /// A bridge that listens forwards as a router, too, what it has sent to its new port.
    dnat_on_a_promiscuous_bridge: [
        ("node", "ip link set br0 promisc on"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 10.96.0.1"),
        ("b", "ping -c1 -W1 10.96.0.1"),
    ];
    dnat_outside: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.13:7")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 3000)),
    ];
    dnat_to_the_node: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.1:7")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -j DNAT --to-destination 10.0.0.1")),
        ("a", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.96.0.2"),
        ("d", "ping -c1 10.96.0.2"),
    ];
    dnat_to_nobody: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.77")),
        ("a", "ping -c1 -W4 10.96.0.1"),
        ("d", "ping -c1 -W4 10.96.0.1"),
    ];
    dnat_without_a_route: [
        ("node", "ip route del default"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 172.16.0.1")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 10.96.0.1"),
    ];
    dnat_without_forwarding: [
        ("node", "sysctl -qw net.ipv4.ip_forward=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -j DNAT --to-destination 192.168.0.13")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("a", "ping -c1 -W1 10.96.0.2"),
        ("d", "ping -c1 -W1 10.96.0.1"),
    ];
    dnat_port_range: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7-9")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:8")),
    ];
    redirect: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j REDIRECT --to-ports 7")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -p icmp -j REDIRECT")),
        ("a", udp!("10.96.0.1:53")),
        ("d", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.96.0.2"),
        ("d", "ping -c1 10.96.0.2"),
    ];
    redirect_of_the_own: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp -j REDIRECT --to-ports 7")),
        ("node", rule!("-A OUTPUT -o up0")),
        ("node", rule!("-A OUTPUT -o lo")),
        ("node", rule!("-t mangle -A POSTROUTING -o lo")),
        ("node", rule!("-t mangle -A PREROUTING -i lo")),
        ("node", sendto!("10.96.0.1:53")),
    ];
    /// The filter's OUTPUT sees the device that the packet had before it got a new destination, POSTROUTING the new.
    dnat_of_the_own: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-A OUTPUT -o up0 -d 10.0.0.11")),
        ("node", rule!("-A OUTPUT -o br0 -d 10.0.0.11")),
        ("node", rule!("-t mangle -A POSTROUTING -o br0 -d 10.0.0.11")),
        ("node", rule!("-t mangle -A POSTROUTING -o up0 -d 10.0.0.11")),
        ("node", udp!("10.96.0.1:53")),
        ("node", sendto!("10.96.0.1:53")),
    ];
    dnat_of_the_own_masqueraded: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.2 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t nat -A POSTROUTING -o br0 -j MASQUERADE")),
        ("node", udp!("10.96.0.1:53")),
        ("node", "ping -c1 10.96.0.2"),
    ];
    masquerade: [
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.0/24 ! -d 10.0.0.0/24 -j MASQUERADE")),
        ("a", udp!("192.168.0.13:7")),
        ("b", udp!("192.168.0.13:7", 32, "5001")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("d", "ping -c1 10.0.0.11"),
    ];
    snat: [
        ("node", "ip addr add 192.168.0.2/24 dev up0"),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.2:6000")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p icmp -j SNAT --to-source 192.168.0.2")),
        ("a", udp!("192.168.0.13:7")),
        ("a", "ping -c1 192.168.0.13"),
        ("node", "ping -c1 192.168.0.13"),
    ];
    snat_in_input: [
        ("node", rule!("-t nat -A INPUT -p udp --dport 7 -j SNAT --to-source 192.168.0.77:6000")),
        ("a", udp!("10.0.0.1:7")),
    ];
    snat_port_in_use: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000-6001")),
        ("a", udp!("192.168.0.13:7", 32, "6000")),
        ("a", udp!("192.168.0.13:7", 32, "6001")),
        ("b", udp!("192.168.0.13:9", 32, "6001")),
    ];
    /// No port is left: the packet ends when its connection would be entered.
    snat_no_port_left: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000")),
        ("a", udp!("192.168.0.13:7")),
        ("b", udp!("192.168.0.13:7")),
    ];
    hairpin_masqueraded: [
        ("node", "bridge link set dev va hairpin on"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -d 10.0.0.10 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
        ("b", udp!("10.96.0.1:53")),
    ];
    hairpin_without_masquerade: [
        ("node", "bridge link set dev va hairpin on"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("a", udp!("10.96.0.1:53")),
    ];
    hairpin_off: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -d 10.0.0.10 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
    ];
    hairpin_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -d 10.0.0.10 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
    ];
    /// What is refused behind a translation is refused in the name of whom the client asked.
    reject_behind_dnat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:9")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -p udp -j DNAT --to-destination 192.168.0.13:9")),
        ("node", rule!("-A FORWARD -p udp --dport 9 -j REJECT")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.2:53")),
        ("d", udp!("10.96.0.1:53")),
    ];
    /// A closed port behind a translation: the error and what it quotes are translated back.
    error_behind_dnat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:9")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -p udp -j DNAT --to-destination 192.168.0.13:9")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate RELATED")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.2:53")),
        ("d", udp!("10.96.0.1:53")),
    ];
    ttl_behind_nat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 192.168.0.13")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("d", "ip link add r0 address 0a:00:00:00:0d:01 type bridge"),
        ("d", "ip link set r0 up"),
        ("a", "ping -c1 -W1 -t1 10.96.0.1"),
        ("a", "ping -c1 -W1 -t1 192.168.0.13"),
        ("a", "ping -c1 -t2 10.96.0.1"),
        ("d", "sysctl -qw net.ipv4.ip_forward=1"),
        ("d", "ip addr add 172.16.0.1/24 dev r0"),
        ("a", "ping -c1 -W1 -t2 172.16.0.9"),
    ];
    unreachable_behind_masquerade: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("d", "sysctl -qw net.ipv4.ip_forward=1"),
        ("d", "ip route add prohibit 172.16.0.0/16"),
        ("a", "ping -c1 -W1 172.16.0.9"),
        ("a", udp!("172.16.0.9:7")),
    ];
    too_big_behind_dnat: [
        ("node", "ip link set up0 mtu 1400"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 192.168.0.13")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", "ping -c1 -W1 -M do -s 1400 10.96.0.1"),
        ("a", "ping -c1 -M do -s 1300 10.96.0.1"),
        ("a", udp!("10.96.0.1:7", 1400)),
        ("a", udp!("10.96.0.1:7", 1400)),
    ];
    /// A redirect that a translation would make a lie is not sent.
    redirects: [
        ("node", "ip route add 172.16.0.0/16 via 10.0.0.11"),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 172.16.0.1")),
        ("a", "ping -c2 -i0.2 -W1 172.16.0.1"),
        ("a", "ping -c2 -i0.2 -W1 10.96.0.1"),
    ];
    redirects_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", "ip route add 172.16.0.0/16 via 10.0.0.11"),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 172.16.0.1")),
        ("a", "ping -c2 -i0.2 -W1 10.96.0.1"),
        ("a", "ping -c2 -i0.2 -W1 172.16.0.1"),
    ];
    fragments_translated: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53", 4000)),
        ("a", udp!("192.168.0.13:7", 4000)),
        ("d", udp!("10.96.0.1:53", 4000)),
    ];
    /// The source port is in use at its destination by somebody who was translated.
    null_binding_clash: [
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.11 -o up0 -p udp -j SNAT --to-source 10.0.0.10:6000")),
        ("b", udp!("192.168.0.13:7", 32, "5000")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -o up0 -p udp -j SNAT --to-source 10.0.0.10:6000-6001")),
        ("a", udp!("192.168.0.13:7", 32, "6000")),
    ];
    flush_in_a_flow: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("192.168.0.13:7")),
        ("node", "conntrack -F"),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("192.168.0.13:7")),
        ("a", concat!(
            "& {socket: udp}, {bind: \"0.0.0.0:5001\"}, {connect: \"192.168.0.13:7\"",
            "}, {repeat: 3, do: [{send: {size: 32, byte: a}}, {recv: {timeout: 200ms}}, {sleep: 1s}]}"
        )),
        // Behind the first datagram, however late the program starts, and in front of the second.
        ("a", "sleep 700ms"),
        ("node", "conntrack -F"),
        ("a", "sleep 3s"),
    ];
    /// A connection stays translated as it was when it began, whatever becomes of the rules.
    rules_change: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("node", rule!(
            "-t nat -R PREROUTING 1 -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.13:7"
        )),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 32, "5001")),
        ("node", rule!("-t nat -F PREROUTING")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 32, "5002")),
    ];
    /// Without a rule that needs connections nothing is tracked, and nothing translated.
    last_rule_goes: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("node", rule!("-t nat -D PREROUTING 1")),
        ("a", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.0.0.11"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.0.0.11"),
    ];
    localhost_dnat: [
        ("node", rule!("-t nat -A OUTPUT -d 127.0.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -o br0 -j MASQUERADE")),
        ("node", udp!("127.0.0.1:53")),
        ("node", "sysctl -qw net.ipv4.conf.all.route_localnet=1"),
        ("node", udp!("127.0.0.1:53", 32, "5001")),
    ];
    reply_restored_by_mark: [
        ("node", "iptables -t nat -N MARK-MASQ"),
        ("node", rule!("-t nat -A MARK-MASQ -j MARK --or-mark 0x4000")),
        ("node", rule!("-t nat -A PREROUTING -d 192.168.0.1 -p udp --dport 30007 -j MARK-MASQ")),
        ("node", rule!(
            "-t nat -A PREROUTING -d 192.168.0.1 -p udp --dport 30007 -j DNAT --to-destination 10.0.0.11:7"
        )),
        ("node", rule!("-t nat -A OUTPUT -d 192.168.0.1 -p udp --dport 30007 -j MARK-MASQ")),
        ("node", rule!("-t nat -A OUTPUT -d 192.168.0.1 -p udp --dport 30007 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN")),
        ("node", rule!("-t nat -A POSTROUTING -j MARK --xor-mark 0x4000")),
        ("node", rule!("-t nat -A POSTROUTING -j MASQUERADE")),
        ("d", udp!("192.168.0.1:30007")),
        ("a", udp!("192.168.0.1:30007", 32, "5001")),
        ("b", udp!("192.168.0.1:30007", 32, "5002")),
        ("node", udp!("192.168.0.1:30007", 32, "5003")),
    ];
    dnat_to_loopback: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 127.0.0.1")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 10.96.0.1"),
        ("node", "sysctl -qw net.ipv4.conf.all.route_localnet=1"),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 10.96.0.1"),
    ];
    /// Four clients, two addresses: SNAT to a range keeps one address for one pair.
    snat_to_a_range: [
        ("node", "ip addr add 192.168.0.2/24 dev up0"),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp --dport 7 -j SNAT --to-source 192.168.0.2-192.168.0.2")),
        ("a", udp!("192.168.0.13:7")),
        ("b", udp!("192.168.0.13:7", 32, "5001")),
    ];
    masquerade_ports: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j MASQUERADE --to-ports 6000-6000")),
        ("a", udp!("192.168.0.13:7")),
        ("a", udp!("192.168.0.13:9")),
    ];
    /// Two destinations behind one: an entry is reused for the same source.
    one_source_keeps_its_port: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000-6009")),
        ("d", "ip addr add 192.168.0.14/24 dev eth0"),
        ("a", udp!("192.168.0.13:7", 32, "6005")),
        ("a", udp!("192.168.0.14:7", 32, "6005")),
    ];
    ctstate_nat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate DNAT")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate SNAT")),
        ("node", rule!("-A FORWARD -m conntrack --ctorigdst 10.96.0.1")),
        ("node", rule!("-A FORWARD -m conntrack --ctdir REPLY")),
        ("a", "ping -c1 10.96.0.1"),
        ("a", "ping -c1 192.168.0.13"),
        ("d", "ping -c1 10.96.0.1"),
    ];
    deleted_entry: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("node", "conntrack -D -p udp --orig-port-dst 53"),
        ("node", rule!(
            "-t nat -R PREROUTING 1 -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.13:7"
        )),
        ("a", udp!("10.96.0.1:53")),
    ];
    input_after_snat: [
        ("b", rule!("-A INPUT -s 10.0.0.1")),
        ("b", rule!("-A INPUT -s 10.0.0.10")),
        ("node", rule!("-t nat -A POSTROUTING -o br0 -j MASQUERADE")),
        ("a", "ping -c1 10.0.0.11"),
        ("d", "ping -c1 10.0.0.11"),
    ];
    /// Bridged traffic is translated on its way, too.
    snat_of_bridged: [
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -j SNAT --to-source 10.0.0.1")),
        ("a", "ping -c2 -i0.2 10.0.0.11"),
        ("a", udp!("10.0.0.11:7")),
        ("a", udp!("10.0.0.11:9")),
    ];
    drop_in_nat: [
        ("node", rule!("-t nat -A POSTROUTING -d 10.0.0.11 -j ACCEPT")),
        ("node", rule!("-t nat -P POSTROUTING DROP")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("node", "ping -c1 -W1 192.168.0.13"),
    ];
    traceroute_behind_nat: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 192.168.0.13")),
        ("a", concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {setsockopt: [ip, ttl, 1]",
            "}, {setsockopt: [ip, recverr, 1]}, {connect: \"10.96.0.1:33434\"}, {send: {size: 32, byte: a}",
            "}, {recv: {timeout: 200ms}}"
        )),
        ("a", concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5001\"}, {setsockopt: [ip, ttl, 2]",
            "}, {setsockopt: [ip, recverr, 1]}, {connect: \"10.96.0.1:33435\"}, {send: {size: 32, byte: a}",
            "}, {recv: {timeout: 200ms}}"
        )),
    ];
    /// What was masqueraded behind a device is forgotten when its packets leave by another, or its address goes.
    masquerade_and_another_way: [
        ("node", rule!("-t nat -A POSTROUTING ! -o lo -p udp -j MASQUERADE")),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("d", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", "ip route add 172.16.0.1/32 via 192.168.0.13"),
        ("a", udp!("172.16.0.1:7")),
        ("node", "ip route replace 172.16.0.1/32 via 10.0.0.11"),
        ("a", udp!("172.16.0.1:7")),
        ("a", udp!("172.16.0.1:7")),
    ];
    masquerade_and_address_goes: [
        ("node", "ip addr add 192.168.5.1/24 dev up0"),
        ("d", "ip addr add 192.168.5.13/24 dev eth0"),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("192.168.5.13:7")),
        ("a", udp!("192.168.0.13:7")),
        ("node", "ip addr del 192.168.5.1/24 dev up0"),
    ];
    masquerade_and_link_down: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("192.168.0.13:7")),
        ("a", "ping -c1 10.0.0.11"),
        ("node", "ip link set up0 down"),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    /// A bridged frame keeps its TTL, whoever it goes to.
    ttl_of_bridged_dnat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 -W1 -t1 10.96.0.1"),
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("a", "ping -c1 -W1 -t1 10.96.0.1"),
    ];
    rp_filter_and_dnat: [
        ("node", "sysctl -qw net.ipv4.conf.all.rp_filter=1"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("d", "ip addr add 10.0.0.99/32 dev lo"),
        ("d", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 -I 10.0.0.99 10.96.0.1"),
    ];
    marks_of_bridged_dnat: [
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add prohibit default table 200"),
        ("node", rule!("-t mangle -A PREROUTING -d 10.96.0.1 -j MARK --set-mark 2")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.0/16 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 -W1 10.96.0.2"),
        ("a", "ping -c1 -W1 10.96.0.1"),
    ];
    isolated_ports_and_dnat: [
        ("node", "bridge link set dev va isolated on"),
        ("node", "bridge link set dev vb isolated on"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("a", "ping -c1 -W1 10.96.0.1"),
    ];
}
