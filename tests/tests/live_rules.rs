//! The live kernel filters, tracks, marks and puts together as we do: labs with rules, built and run in real namespaces
//! and by us.
//!
//! Compared are every record, what every command and script printed, and at the end the rules with their counters and
//! the connections of every namespace. Ports are bound, so that none is chosen at random. The bridge does not snoop, so
//! that it sends no reports of IGMP.

#[macro_use]
mod live_lab;

use live_lab::check;

/// Sends a frame from a to the bridge's own address: from the type on, in hex.
macro_rules! from_a {
    ($($hex:literal),+) => {
        concat!(
            "{socket: packet}, {bind: eth0}, {send: {hex: \"0a00000000010a000000000a",
            $($hex,)+
            "\"}}"
        )
    };
}

live! {
    /// No rules at all, and rules that need no connections.
    no_tracking: [
        ("node", rule!("-A FORWARD -s 10.0.0.10")),
        ("node", rule!("-t mangle -A PREROUTING -p icmp -j MARK --set-mark 1")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("a", udp!("192.168.0.13:7")),
    ];
    tracking: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate ESTABLISHED")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT")),
        ("node", rule!("-A OUTPUT -m state --state ESTABLISHED")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 10.0.0.1"),
        ("a", udp!("192.168.0.13:7")),
        ("d", udp!("10.0.0.1:7")),
        ("node", udp!("192.168.0.13:7")),
    ];
    physdev: [
        ("node", rule!("-A FORWARD -m physdev --physdev-in va")),
        ("node", rule!("-A FORWARD -m physdev --physdev-out vb")),
        ("node", rule!("-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT")),
        ("node", rule!("-A FORWARD -m physdev --physdev-is-in")),
        ("node", rule!("-A FORWARD -m physdev ! --physdev-is-in")),
        ("node", rule!("-A INPUT -m physdev --physdev-in va")),
        ("node", rule!("-t mangle -A PREROUTING -m physdev --physdev-in vb")),
        ("node", rule!("-t mangle -A POSTROUTING -m physdev --physdev-is-bridged --physdev-out va")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 10.0.0.1"),
        ("a", "ping -c1 192.168.0.13"),
    ];
    /// Programs of root's, the kernel itself, nobody.
    owner: [
        ("node", rule!("-A OUTPUT -m owner --uid-owner 0")),
        ("node", rule!("-A OUTPUT -m owner ! --uid-owner 0")),
        ("node", rule!("-A OUTPUT -m owner --socket-exists")),
        ("node", rule!("-A OUTPUT -m owner --gid-owner 1-5")),
        ("node", rule!("-t mangle -A POSTROUTING -m owner ! --socket-exists")),
        ("node", "ping -c1 10.0.0.10"),
        ("node", udp!("192.168.0.13:7")),
        ("a", "ping -c1 10.0.0.1"),
        ("a", "ping -c1 192.168.0.13"),
        ("a", udp!("10.0.0.1:7")),
    ];
    bridged_drop: [
        ("node", rule!("-P FORWARD DROP")),
        ("a", "ping -c1 -W1 10.0.0.11"),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("a", "ping -c1 10.0.0.1"),
    ];
    bridged_drop_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-P FORWARD DROP")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    drop_in_prerouting: [
        ("node", rule!("-t mangle -A PREROUTING -s 10.0.0.10 -j DROP")),
        ("a", "ping -c1 -W1 10.0.0.11"),
        ("a", "ping -c1 -W1 10.0.0.1"),
        ("d", "ping -c1 -W1 10.0.0.10"),
    ];
    drop_in_raw: [
        ("node", rule!("-t raw -A PREROUTING -s 10.0.0.10 -j DROP")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    drop_in_input: [
        ("node", rule!("-A INPUT -p icmp -j DROP")),
        ("a", "ping -c1 -W1 10.0.0.1"),
        ("a", udp!("10.0.0.1:7")),
    ];
    drop_in_output: [
        ("node", rule!("-A OUTPUT -p udp -d 192.168.0.13 -j DROP")),
        ("node", rule!("-A OUTPUT -p icmp -d 192.168.0.13 -j DROP")),
        ("node", udp!("192.168.0.13:7")),
        ("node", sendto!("192.168.0.13:7")),
        ("node", "ping -c1 -W1 192.168.0.13"),
        ("d", "ping -c1 -W1 192.168.0.1"),
        ("d", udp!("192.168.0.1:7")),
    ];
    drop_in_postrouting: [
        ("node", rule!("-t mangle -A POSTROUTING -d 192.168.0.13 -j DROP")),
        ("node", udp!("192.168.0.13:7")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    policies: [
        ("node", rule!("-P INPUT DROP")),
        ("node", rule!("-P OUTPUT DROP")),
        ("node", rule!("-A INPUT -i lo -j ACCEPT")),
        ("node", rule!("-A OUTPUT -o lo -j ACCEPT")),
        ("node", "ping -c1 127.0.0.1"),
        ("node", udp!("10.0.0.11:7")),
        ("a", "ping -c1 -W1 10.0.0.1"),
    ];
    /// What a policy has counted is forgotten where it is set, also to what it is. iptables-restore sets those of all
    /// base chains that it names.
    policies_set_again: [
        ("node", rule!("-A FORWARD -s 192.0.2.1")),
        ("a", "ping -c1 192.168.0.13"),
        ("node", rule!("-S FORWARD -v")),
        ("node", rule!("-P FORWARD ACCEPT")),
        ("a", "ping -c1 192.168.0.13"),
        ("node", rule!("-S FORWARD -v")),
        ("node", rule!("-c 5 6 -P FORWARD ACCEPT")),
        ("node", rule!("-S FORWARD -v")),
        ("a", "ping -c1 192.168.0.13"),
        ("node", "iptables-restore --noflush <<'EOF'\\n*filter\\n:FORWARD - [7:8]\\n:OWN DROP [1:2]\\nCOMMIT\\nEOF"),
        ("node", "iptables-save -c -t filter"),
        ("a", "ping -c1 192.168.0.13"),
        ("node", "iptables-restore -n -c <<'EOF'\\n*filter\\n:FORWARD - [7:8]\\n:OWN DROP [1:2]\\nCOMMIT\\nEOF"),
        ("a", "ping -c1 192.168.0.13"),
        ("node", "iptables-save -c -t filter"),
        ("node", "iptables-restore -c <<'EOF'\\n*filter\\n:INPUT - [3:4]\\nCOMMIT\\nEOF"),
        ("node", "ping -c1 127.0.0.1"),
    ];
    /// The SYN's largest segment is made smaller on the way, in two tables and by two rules of one.
    mss_set: [
        ("node", rule!("-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1400")),
        ("node", rule!("-A FORWARD -p tcp --dport 80 --syn -j TCPMSS --set-mss 1200")),
        ("node", rule!("-A FORWARD -p tcp --dport 80 --syn -j TCPMSS --set-mss 1300")),
        ("node", rule!("-A FORWARD -p tcp")),
        ("d", tcp_server!()),
        ("a", tcp_client!("192.168.0.13")),
    ];
    /// Clamped to the narrower of the two ways: a route's MTU here, a device's there.
    mss_clamp: [
        ("node", "ip route add 192.168.0.13/32 dev up0 mtu 1300"),
        ("node", rule!("-t mangle -A FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu")),
        ("node", rule!("-t mangle -A POSTROUTING -p tcp --tcp-flags SYN,ACK SYN,ACK -j TCPMSS --clamp-mss-to-pmtu")),
        ("d", tcp_server!()),
        ("a", tcp_client!("192.168.0.13")),
        ("node", rule!("-t mangle -L -v -n")),
        ("node", rule!("-t mangle -S")),
    ];
    reject_types_routed: [
        ("node", rule!("-A FORWARD -p udp --dport 101 -j REJECT --reject-with icmp-net-unreachable")),
        ("node", rule!("-A FORWARD -p udp --dport 102 -j REJECT --reject-with icmp-host-unreachable")),
        ("node", rule!("-A FORWARD -p udp --dport 103 -j REJECT --reject-with icmp-proto-unreachable")),
        ("node", rule!("-A FORWARD -p udp --dport 104 -j REJECT")),
        ("a", udp!("192.168.0.13:101")),
        ("a", udp!("192.168.0.13:102")),
        ("a", udp!("192.168.0.13:103")),
        ("a", udp!("192.168.0.13:104")),
    ];
    reject_types_routed_2: [
        ("node", rule!("-A FORWARD -p udp --dport 105 -j REJECT --reject-with icmp-net-prohibited")),
        ("node", rule!("-A FORWARD -p udp --dport 106 -j REJECT --reject-with icmp-host-prohibited")),
        ("node", rule!("-A FORWARD -p udp --dport 107 -j REJECT --reject-with icmp-admin-prohibited")),
        ("node", rule!("-A FORWARD -p icmp -j REJECT --reject-with icmp-admin-prohibited")),
        ("a", udp!("192.168.0.13:105")),
        ("a", udp!("192.168.0.13:106")),
        ("a", udp!("192.168.0.13:107")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    reject_bridged: [
        ("node", rule!("-A FORWARD -p udp --dport 101 -j REJECT --reject-with icmp-host-prohibited")),
        ("node", rule!("-A FORWARD -p udp -j REJECT")),
        ("node", rule!("-A FORWARD -p icmp -j REJECT --reject-with icmp-net-unreachable")),
        ("a", udp!("10.0.0.11:101")),
        ("a", udp!("10.0.0.11:7")),
        ("a", "ping -c1 -W1 10.0.0.11"),
    ];
    reject_bridged_tracked: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")),
        ("node", rule!("-A OUTPUT -m conntrack --ctstate RELATED")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A FORWARD -p udp -j REJECT")),
        ("a", udp!("10.0.0.11:7")),
        ("a", udp!("192.168.0.13:7")),
    ];
    reject_in_input: [
        ("node", rule!("-A INPUT -p udp --dport 7 -j REJECT")),
        ("node", rule!("-A INPUT -p udp --dport 8 -j REJECT --reject-with icmp-admin-prohibited")),
        ("node", rule!("-A INPUT -p icmp --icmp-type echo-request -j REJECT --reject-with icmp-host-unreachable")),
        ("a", udp!("10.0.0.1:7")),
        ("d", udp!("192.168.0.1:8")),
        ("d", "ping -c1 -W1 10.0.0.1"),
    ];
    /// The kernel's own answer is refused while the socket that would say so sends it.
    reject_of_the_own_answers: [
        ("node", rule!("-A OUTPUT -p icmp -j REJECT")),
        ("a", "ping -c1 -W1 10.0.0.1"),
        ("d", "ping -c1 -W1 -s 3000 10.0.0.1"),
        ("a", udp!("10.0.0.1:9")),
    ];
    reject_in_output: [
        ("node", rule!("-A OUTPUT -p udp --dport 7 -j REJECT")),
        ("node", rule!("-A OUTPUT -p udp --dport 8 -j REJECT --reject-with icmp-net-unreachable")),
        ("node", rule!("-A OUTPUT -p icmp --icmp-type 8 -j REJECT --reject-with icmp-admin-prohibited")),
        ("node", concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {connect: \"192.168.0.13:7\"",
            "}, {send: {size: 32, byte: a}}, {sleep: 50ms}, {send: {size: 32, byte: a}}, {sleep: 50ms",
            "}, {send: {size: 32, byte: a}}, {recv: {timeout: 100ms}}"
        )),
        ("node", sendto!("192.168.0.13:8")),
        ("node", "ping -c1 -W1 192.168.0.13"),
    ];
    /// An answer whose question was not tracked belongs to nothing.
    /// Sockets that are made from then on do without DF.
    no_pmtu_disc: [
        ("a", udp!("10.0.0.11:7")),
        ("a", "sysctl -qw net.ipv4.ip_no_pmtu_disc=1"),
        ("a", udp!("10.0.0.11:7")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "{socket: tcp}, {settimeout: 500ms}, {connect: \"10.0.0.11:9\"}"),
    ];
    /// An echo request keeps its code, a question for the time is answered.
    icmp_questions: [
        ("a", from_a!("08004500001c00014000400126d6", "0a00000a0a0000010803f7fc00000000")),
        ("a", from_a!("08004500002800014000400126ca", "0a00000a0a0000010d00f2ff00000000000000000000000000000000")),
    ];
    /// nf_tables compares the bytes where ports and flags stand, be they of a later fragment or of a header that is cut
    /// short; `-m tcp` without options is xt_tcpudp's, which drops what is too short.
    bytes_at_the_place_of_ports: [
        ("node", rule!("-t mangle -A PREROUTING -p tcp --sport 41000")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp ! --dport 80:90")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp --syn")),
        ("node", rule!("-t mangle -A PREROUTING -p udp --dport 5000")),
        ("node", rule!("-t mangle -A PREROUTING -p udp ! --sport 0:65535")),
        ("node", rule!("-t mangle -A FORWARD -p tcp -m multiport --dports 5000")),
        ("node", rule!("-t mangle -A FORWARD -p udp -m udp")),
        ("node", rule!("-t mangle -A POSTROUTING -p tcp -m tcp")),
        ("a", "ping -c1 192.168.0.13"),
        (
            "a",
            from_a!("08004500002800072003400690070a00000ac0a8000da0281388", "000003e8000007d05002ffff00000000")
        ),
        ("a", from_a!("080045000021000720034006900e0a00000ac0a8000da0281388000003e8000007d050")),
        ("a", from_a!("08004500001700072003400690180a00000ac0a8000da02813")),
        ("a", from_a!("080045000018000720034011900c0a00000ac0a8000da0281388")),
        ("a", from_a!("080045000022000700004006b0100a00000ac0a8000da0281388000003e8000007d05002")),
        ("a", from_a!("080045000019000700004006b0190a00000ac0a8000da028138800")),
        ("a", from_a!("080045000018000700004011b00f0a00000ac0a8000da0281388")),
    ];
    /// All segments of a burst count as sent at once: when the last one is acknowledged, the others are not late yet,
    /// and the router's errors come first.
    burst_into_a_narrow_link: [
        ("node", "ip link set up0 mtu 1280"),
        (
            "d",
            "& {socket: tcp}, {bind: \"0.0.0.0:80\"}, {listen: 1}, {accept: {timeout: 3s}}, \
             {recv: {timeout: 3s, total: 8000}}, {close: }"
        ),
        (
            "a",
            "{socket: tcp}, {bind: \"0.0.0.0:5000\"}, {connect: \"192.168.0.13:80\"}, {sleep: 50ms}, \
             {send: {size: 8000, byte: a}}, {sleep: 600ms}, {close: }"
        ),
    ];
    sctp: [
        ("node", rule!("-t raw -A PREROUTING -p sctp --dport 8 -j DROP")),
        ("node", rule!("-t raw -A PREROUTING -p sctp --sport 5000:5001 ! --dport 8 -j DROP")),
        ("a", from_a!("080045000020000140004084264f", "0a00000a0a000001138800070000000000000000")),
    ];
    invalid_and_notrack: [
        ("node", rule!("-t raw -A PREROUTING -p icmp --icmp-type 8 -j CT --notrack")),
        ("node", rule!("-t raw -A PREROUTING -p udp --dport 7 -j NOTRACK")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate UNTRACKED")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate INVALID")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("a", "ping -c1 -W1 10.0.0.11"),
        ("a", udp!("10.0.0.11:7")),
        ("a", udp!("192.168.0.13:7")),
    ];
    invalid_dropped: [
        ("node", rule!("-t raw -A PREROUTING -p icmp --icmp-type 8 -j CT --notrack")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate INVALID -j DROP")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    notrack_of_the_own: [
        ("node", rule!("-t raw -A OUTPUT -p icmp -j CT --notrack")),
        ("node", rule!("-t nat -A POSTROUTING -j MASQUERADE")),
        ("node", "ping -c1 -W1 192.168.0.13"),
        ("d", "ping -c1 -W1 192.168.0.1"),
    ];
    /// Of two rules the first counts; replies stay outside of the zone, so each way is a connection of its own.
    zones: [
        ("node", rule!("-t raw -A PREROUTING -i br0 -p udp -j CT --zone 5")),
        ("node", rule!("-t raw -A PREROUTING -i br0 -j CT --zone 6")),
        ("node", rule!("-t raw -A PREROUTING -i up0 -p udp --sport 7 -j CT --zone 5")),
        ("node", rule!("-t raw -A OUTPUT -j CT --zone 0x9")),
        ("node", rule!("-t raw -A PREROUTING -m conntrack --ctstate NEW")),
        ("node", rule!("-t raw -A PREROUTING -m conntrack --ctstate INVALID")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate ESTABLISHED")),
        ("a", udp!("192.168.0.13:7")),
        ("node", "cat /proc/net/nf_conntrack"),
        ("b", udp!("10.0.0.10:7")),
        ("a", "ping -c1 192.168.0.13"),
        ("node", "ping -c1 192.168.0.13"),
        ("node", "conntrack -L -w 5"),
        ("node", "conntrack -D -w 5"),
        ("a", udp!("192.168.0.13:8")),
        ("d", udp!("10.0.0.10:8")),
    ];
    /// What counts for one direction alone is found by its other one outside of the zone.
    zones_of_one_direction: [
        ("node", rule!("-t raw -A PREROUTING -i br0 -j CT --zone-orig 5")),
        ("node", rule!("-t raw -A PREROUTING -i up0 -p icmp -j CT --zone-reply 6")),
        ("node", rule!("-t raw -A OUTPUT -j CT --zone-reply 7")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate ESTABLISHED")),
        ("a", udp!("192.168.0.13:7")),
        ("a", udp!("192.168.0.13:8")),
        ("a", "ping -c1 192.168.0.13"),
        ("d", "ping -c1 -W1 10.0.0.10"),
        ("node", "ping -c1 -W1 192.168.0.13"),
        ("node", "conntrack -L -w 5"),
    ];
    zones_by_mark: [
        ("node", rule!("-t raw -A PREROUTING -s 10.0.0.10 -j MARK --set-mark 0x10001")),
        ("node", rule!("-t raw -A PREROUTING -s 10.0.0.11 -j MARK --set-mark 2")),
        ("node", rule!("-t raw -A PREROUTING -i br0 -j CT --zone-orig mark")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("192.168.0.13:7")),
        ("b", udp!("192.168.0.13:7", 32, "5001")),
        ("b", "ping -c1 10.0.0.10"),
    ];
    connmark: [
        ("node", rule!("-t mangle -A PREROUTING -j CONNMARK --restore-mark")),
        ("node", rule!("-t mangle -A PREROUTING -m mark --mark 0x5 -j ACCEPT")),
        ("node", rule!("-t mangle -A PREROUTING -i br0 -j MARK --set-mark 0x5")),
        ("node", rule!("-t mangle -A POSTROUTING -j CONNMARK --save-mark")),
        ("node", rule!("-A FORWARD -m mark --mark 0x5")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", udp!("192.168.0.13:7")),
    ];
    fwmark_routes: [
        ("node", "ip rule add fwmark 1 table 100"),
        ("node", "ip route add prohibit default table 100"),
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add default via 10.0.0.11 table 200"),
        ("node", rule!("-t mangle -A PREROUTING -s 10.0.0.10 -d 192.168.0.13 -p udp -j MARK --set-mark 1")),
        ("node", rule!("-t mangle -A PREROUTING -d 172.16.0.1 -j MARK --set-mark 2")),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("a", "ping -c1 192.168.0.13"),
        ("a", udp!("192.168.0.13:7")),
        ("d", "ip route add 172.16.0.0/16 via 192.168.0.1"),
        ("d", "ping -c1 172.16.0.1"),
    ];
    mangle_output_reroutes: [
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add default via 10.0.0.11 table 200"),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", rule!("-t mangle -A OUTPUT -d 172.16.0.1 -j MARK --set-mark 2")),
        ("node", rule!("-A OUTPUT -o up0 -d 172.16.0.1")),
        ("node", rule!("-A OUTPUT -o br0 -d 172.16.0.1")),
        ("node", rule!("-t mangle -A POSTROUTING -o br0 -d 172.16.0.1")),
        ("node", "ping -c1 -W1 172.16.0.1"),
        ("node", udp!("172.16.0.1:7")),
        ("node", sendto!("172.16.0.1:7")),
    ];
    mangle_output_reroutes_nowhere: [
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add unreachable default table 200"),
        ("node", rule!("-t mangle -A OUTPUT -d 192.168.0.13 -j MARK --set-mark 2")),
        ("d", "ping -c1 -W1 192.168.0.1"),
        ("node", "ping -c1 -W1 192.168.0.13"),
        ("node", udp!("192.168.0.13:7")),
    ];
    limit: [
        ("node", rule!("-A FORWARD -p icmp -m limit --limit 2/min --limit-burst 3 -j ACCEPT")),
        ("node", rule!("-A FORWARD -p icmp -j DROP")),
        ("a", "ping -c5 -i0.2 -W1 192.168.0.13"),
    ];
    statistic_nth: [
        ("node", rule!(
            "-t nat -A PREROUTING -d 10.96.0.1 -p udp -m statistic --mode nth --every 2 --packet 0",
            " -j DNAT --to-destination 10.0.0.11:7"
        )),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 192.168.0.13:7")),
        ("a", udp!("10.96.0.1:53", 32, "5001")),
        ("a", udp!("10.96.0.1:53", 32, "5002")),
        ("a", udp!("10.96.0.1:53", 32, "5003")),
    ];
    recent: [
        ("node", rule!("-A FORWARD -p icmp -m recent --name seen --update --seconds 60 --hitcount 3 -j DROP")),
        ("node", rule!("-A FORWARD -p icmp -s 10.0.0.10 -m recent --name seen --set -j ACCEPT")),
        ("a", "ping -c5 -i0.2 -W1 192.168.0.13"),
    ];
    multiport: [
        ("node", rule!("-A FORWARD -p udp -m multiport --dports 7,100:200,300")),
        ("node", rule!("-A FORWARD -p udp -m multiport --sports 5000")),
        ("node", rule!("-A FORWARD -p udp -m multiport ! --ports 7,8")),
        ("a", udp!("192.168.0.13:7")),
        ("a", udp!("10.0.0.11:150")),
        ("a", udp!("192.168.0.13:201")),
    ];
    addrtype: [
        ("node", rule!("-t nat -A PREROUTING -m addrtype --dst-type LOCAL")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype --dst-type LOCAL")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype --dst-type BROADCAST")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype --dst-type LOCAL --limit-iface-in")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype ! --src-type LOCAL")),
        ("node", rule!("-t mangle -A POSTROUTING -m addrtype --src-type LOCAL")),
        ("node", rule!("-t mangle -A POSTROUTING -m addrtype --src-type LOCAL --limit-iface-out")),
        ("a", "ping -c1 10.0.0.1"),
        ("a", "ping -c1 192.168.0.1"),
        ("a", "ping -c1 192.168.0.13"),
        ("a", sendto!("10.0.0.255:9")),
    ];
    user_chains: [
        ("node", "iptables -N A"),
        ("node", "iptables -N B"),
        ("node", rule!("-A A -p icmp -j RETURN")),
        ("node", rule!("-A A -j B")),
        ("node", rule!("-A B -p udp --dport 7 -j ACCEPT")),
        ("node", rule!("-A B -j DROP")),
        ("node", rule!("-A FORWARD -j A")),
        ("node", rule!("-A FORWARD -g B")),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("a", udp!("192.168.0.13:7")),
        ("a", udp!("192.168.0.13:8")),
    ];
    fragments_bridged: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
        ("a", udp!("10.0.0.11:7", 4000)),
    ];
    fragments_bridged_untracked: [
        ("node", rule!("-A FORWARD -p icmp")),
        ("node", rule!("-A FORWARD -f")),
        ("node", rule!("-A FORWARD -p udp --dport 7")),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
        ("a", udp!("10.0.0.11:7", 4000)),
    ];
    fragments_routed: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", udp!("192.168.0.13:7", 4000)),
        ("d", "ping -c1 -s 3000 10.0.0.10"),
    ];
    fragments_routed_untracked: [
        ("node", rule!("-A FORWARD -p icmp")),
        ("node", rule!("-A FORWARD ! -f")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
    ];
    fragments_routed_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
    ];
    fragments_local: [
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 10.0.0.1"),
        ("node", "ping -c1 -s 3000 10.0.0.11"),
        ("node", "ping -c1 -s 3000 192.168.0.13"),
        ("node", udp!("192.168.0.13:7", 4000)),
    ];
    /// What was cut smaller than it needed to be is cut so again.
    fragments_keep_their_size: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ip link set eth0 mtu 1000"),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
        ("a", "ping -c1 -s 3000 10.0.0.1"),
    ];
    fragments_to_a_shorter_link: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", "ip link set up0 mtu 1200"),
        ("d", "ip link set eth0 mtu 1200"),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("d", "ping -c1 -s 3000 10.0.0.10"),
    ];
    fragments_with_df: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {setsockopt: [ip, pmtudisc, want]",
            "}, {connect: \"192.168.0.13:7\"}, {send: {size: 4000, byte: a}}, {recv: {timeout: 300ms}}"
        )),
        ("node", "ip link set up0 mtu 1200"),
        ("a", "ping -c1 -W1 -M do -s 1300 192.168.0.13"),
        ("a", udp!("192.168.0.13:7", 4000)),
    ];
    broadcast: [
        ("node", rule!("-A FORWARD -p udp")),
        ("node", rule!("-A INPUT -p udp")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A POSTROUTING -p udp")),
        ("b", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("a", sendto!("10.0.0.255:9")),
        ("a", sendto!("10.0.0.255:10")),
        ("node", sendto!("10.0.0.255:9")),
    ];
    broadcast_dropped_in_forward: [
        ("node", rule!("-P FORWARD DROP")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("b", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("node", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("a", sendto!("10.0.0.255:9")),
    ];
    broadcast_from_outside: [
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW,ESTABLISHED")),
        ("node", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("d", sendto!("192.168.0.255:9")),
        ("d", sendto!("192.168.0.255:10")),
    ];
    tos_of_errors: [
        ("node", rule!("-A FORWARD -p icmp -j REJECT")),
        ("a", "ping -c1 -W1 -Q 0x48 192.168.0.13"),
    ];
    rules_in_a_pod: [
        ("a", rule!("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")),
        ("a", rule!("-A INPUT -j DROP")),
        ("a", rule!("-t nat -A OUTPUT -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 10.96.0.1"),
        ("a", udp!("10.96.0.1:7")),
        ("a", udp!("10.96.0.1:9")),
        ("b", "ping -c1 -W1 10.0.0.10"),
    ];
    flood_shares_a_connection: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A POSTROUTING -p icmp")),
        ("a", "ping -c1 10.0.0.11"),
        ("node", "ip link set br0 type bridge fdb_flush"),
        ("a", "ping -c1 10.0.0.11"),
    ];
    promiscuous_bridge: [
        ("node", "ip link set br0 promisc on"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", udp!("10.0.0.11:7")),
    ];
    /// A broadcast comes to its sender, by way of all hooks but FORWARD.
    broadcast_comes_back: [
        ("a", rule!("-t mangle -A PREROUTING -p udp --dport 9")),
        ("a", rule!("-t mangle -A POSTROUTING -p udp --dport 9")),
        ("a", rule!("-A INPUT -p udp --dport 9 -s 10.0.0.10 -m conntrack --ctstate NEW")),
        ("a", rule!("-t nat -A PREROUTING -p udp")),
        ("a", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("a", sendto!("10.0.0.255:9")),
        ("a", sendto!("255.255.255.255:9")),
    ];
    broadcast_of_fragments: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", concat!(
            "{socket: udp}, {setsockopt: [socket, broadcast, 1]}, {bind: \"0.0.0.0:5000\"",
            "}, {send: {size: 3000, byte: a, to: \"10.0.0.255:9\"}}"
        )),
    ];
    fragments_too_long_for_a_port: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ip link set eth0 mtu 1000"),
        ("b", "ping -c1 -W1 -s 3000 10.0.0.10"),
        ("node", "ping -c1 -W1 -s 3000 10.0.0.10"),
        ("d", "ping -c1 -W1 -s 3000 10.0.0.10"),
    ];
    timeouts: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=1 net.netfilter.nf_conntrack_icmp_timeout=1"),
        ("a", udp!("192.168.0.13:7")),
        ("a", "ping -c1 192.168.0.13"),
        ("a", "sleep 3s"),
        ("a", udp!("192.168.0.13:7")),
    ];
    assured: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {connect: \"192.168.0.13:7\"",
            "}, {repeat: 4, do: [{send: {size: 32, byte: a}}, {recv: {timeout: 1s}}, {sleep: 900ms}]}"
        )),
    ];
    accounting: [
        ("node", "sysctl -qw net.netfilter.nf_conntrack_acct=1"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c3 -i0.2 10.96.0.1"),
        ("a", udp!("10.96.0.1:7", 4000)),
        ("a", udp!("10.96.0.1:9")),
    ];
    rejected_reply: [
        ("node", rule!("-A FORWARD -s 192.168.0.13 -p udp -j REJECT")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A OUTPUT -m conntrack --ctstate RELATED")),
        ("a", udp!("192.168.0.13:7")),
    ];
    own_traffic_to_itself: [
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("node", rule!("-A OUTPUT -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -j DNAT --to-destination 10.0.0.1")),
        ("node", rule!("-t nat -A POSTROUTING -o lo -j MASQUERADE")),
        ("node", "ping -c1 10.0.0.1"),
        ("node", "ping -c1 10.96.0.1"),
        ("node", udp!("10.96.0.1:7")),
        ("node", udp!("10.96.0.1:9")),
    ];
    bridged_to_a_shorter_port: [
        ("node", rule!("-A FORWARD -p icmp")),
        ("node", "ip link set vb mtu 1000"),
        ("b", "ip link set eth0 mtu 1000"),
        ("a", "ping -c1 -W1 -M dont -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -M dont -s 3000 10.0.0.11"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -W1 -M dont -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -M dont -s 3000 10.0.0.11"),
    ];
    bound_to_a_device: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7")),
        ("node", concat!(
            "{socket: udp}, {setsockopt: [socket, bindtodevice, up0]}, {bind: \"0.0.0.0:5000\"",
            "}, {send: {size: 32, byte: a, to: \"10.96.0.1:53\"}}, {recv: {timeout: 300ms}}"
        )),
        ("node", concat!(
            "{socket: udp}, {setsockopt: [socket, bindtodevice, br0]}, {bind: \"0.0.0.0:5001\"",
            "}, {send: {size: 32, byte: a, to: \"10.96.0.1:53\"}}, {recv: {timeout: 300ms}}"
        )),
    ];
    fragments_never_reach_raw: [
        ("node", rule!("-t raw -A PREROUTING -f -j DROP")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
    ];
    fragments_dropped_in_raw: [
        ("node", rule!("-t raw -A PREROUTING -f -j DROP")),
        ("a", "ping -c1 -W1 -s 3000 192.168.0.13"),
    ];
    devices_by_pattern: [
        ("node", rule!("-A FORWARD -i br+ -o up+")),
        ("node", rule!("-A FORWARD ! -i br0 -o br+")),
        ("node", rule!("-A FORWARD -i v+")),
        ("node", rule!("-A FORWARD -m physdev --physdev-in v+ --physdev-out v+")),
        ("node", rule!("-A FORWARD ! -s 10.0.0.0/24 ! -p udp")),
        ("a", "ping -c1 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("a", udp!("192.168.0.13:9")),
    ];
    icmp_types: [
        ("node", rule!("-A FORWARD -p icmp --icmp-type echo-request")),
        ("node", rule!("-A FORWARD -p icmp --icmp-type echo-reply")),
        ("node", rule!("-A FORWARD -p icmp --icmp-type port-unreachable")),
        ("node", rule!("-A FORWARD -p icmp --icmp-type destination-unreachable -j DROP")),
        ("node", rule!("-A OUTPUT -p icmp --icmp-type time-exceeded -j DROP")),
        ("a", "ping -c1 192.168.0.13"),
        ("a", "ping -c1 -W1 -t1 192.168.0.13"),
        ("a", udp!("192.168.0.13:9")),
    ];
    /// The errors that the node itself makes go through OUTPUT and POSTROUTING, not through nat's rules again.
    own_errors: [
        ("node", rule!("-t nat -A POSTROUTING -j MASQUERADE")),
        ("node", rule!("-t mangle -A OUTPUT -p icmp")),
        ("node", rule!("-t mangle -A POSTROUTING -p icmp")),
        ("node", "ip route add unreachable 172.16.0.0/16"),
        ("a", "ping -c1 -W1 172.16.0.1"),
        ("a", udp!("10.0.0.1:9")),
        ("d", udp!("10.0.0.1:9")),
    ];
    events: [
        ("node", "sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t mangle -A FORWARD -p udp -j CONNMARK --set-mark 7")),
        ("a", udp!("10.96.0.1:7")),
        ("a", "ping -c1 10.96.0.1"),
        ("node", "conntrack -L -o extended"),
        ("node", "conntrack -L -m 7"),
        ("node", "conntrack -L --orig-dst 10.96.0.1 -p udp"),
        ("node", "conntrack -D -s 10.0.0.10"),
        ("node", "conntrack -C"),
    ];
}
