//! The live kernel hands packets to sockets that they are not addressed to as we do: TPROXY, the match `socket`,
//! IP_TRANSPARENT, marks of sockets and routes by mark. Labs as in `live_rules.rs`.

#[macro_use]
mod live_lab;

use live_lab::check;

/// The client at d sends to somebody whom the node takes it from: 10.0.0.99 does not exist.
macro_rules! client {
    () => {
        client!("5000")
    };
    ($port:literal) => {
        concat!(
            "{socket: tcp}, {setsockopt: [socket, reuseaddr, on]}, {bind: \"0.0.0.0:",
            $port,
            "\"}, {settimeout: 500ms}, {connect: \"10.0.0.99:80\"}, {send: {text: hello}}, {recv: {timeout: 300ms}}, ",
            "{recv: {timeout: 300ms}}, {close: }"
        )
    };
}

/// A server with IP_TRANSPARENT: one connection, which it closes.
macro_rules! server {
    ($bind:literal) => {
        server!($bind, "{setsockopt: [ip, transparent, on]}, ")
    };
    ($bind:literal, $option:expr) => {
        concat!(
            "& {socket: tcp}, {setsockopt: [socket, reuseaddr, on]}, ",
            $option,
            "{bind: \"",
            $bind,
            "\"}, {listen: 2}, {accept: {timeout: 1s}}, {recv: {timeout: 300ms}}, {send: {text: hi}}, {close: }"
        )
    };
}

/// Waits for a connection that does not come.
macro_rules! listener {
    ($bind:literal, $option:expr) => {
        concat!("& {socket: tcp}, ", $option, "{bind: \"", $bind, "\"}, {listen: 2}, {accept: {timeout: 800ms}}")
    };
}

/// A SYN, and how long it is waited for its answer.
macro_rules! syn {
    ($to:literal, $port:literal) => {
        concat!(
            "{socket: tcp}, {bind: \"0.0.0.0:",
            $port,
            "\"}, {settimeout: 300ms}, {connect: \"",
            $to,
            "\"}, {close: }"
        )
    };
}

/// What is marked by 1 is delivered here.
macro_rules! local_by_mark {
    () => {
        "ip route add local default dev lo table 100"
    };
    (rule) => {
        "ip rule add fwmark 1 lookup 100"
    };
}

live! {
    tcp_to_another_port: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -A PREROUTING -i up0 -p tcp -j TPROXY --on-port 8080 --tproxy-mark 1")),
        ("node", server!("0.0.0.0:8080")),
        ("d", client!()),
        ("node", rule!("-t mangle -S")),
        ("node", rule!("-t mangle -L -v -n")),
        ("node", "ip rule"),
        ("node", "ip route show table 100"),
    ];
    /// The listening socket has an address: the rule's, or the first one of the device.
    tcp_by_address: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -A PREROUTING -p tcp --sport 5000 \
                        -j TPROXY --on-port 8080 --on-ip 127.0.0.1 --tproxy-mark 1")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp --sport 5001 -j TPROXY --on-port 8081 --tproxy-mark 1/1")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp --sport 5002 -j TPROXY --on-port 0 --tproxy-mark 1")),
        ("node", server!("127.0.0.1:8080")),
        ("d", client!()),
        ("node", server!("192.168.0.1:8081")),
        ("d", client!("5001")),
        ("node", server!("0.0.0.0:80")),
        ("d", client!("5002")),
    ];
    /// The first packet by TPROXY, all others by their socket.
    divert: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -N DIVERT")),
        ("node", rule!("-t mangle -A DIVERT -j MARK --set-mark 1")),
        ("node", rule!("-t mangle -A DIVERT -j ACCEPT")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp -m socket --transparent -j DIVERT")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY --on-port 8080 --tproxy-mark 1")),
        ("node", server!("0.0.0.0:8080")),
        ("d", client!()),
    ];
    /// Nobody listens; somebody does, but without IP_TRANSPARENT; then with it, and no rule leads there.
    nobody_takes_it: [
        ("node", rule!("-t mangle -A PREROUTING -p tcp -j TPROXY --on-port 8080 --tproxy-mark 1")),
        ("node", rule!("-t mangle -A PREROUTING -p udp -j TPROXY --on-port 8080 --tproxy-mark 1")),
        ("d", syn!("10.0.0.99:80", "5000")),
        ("d", udp!("10.0.0.99:80")),
        ("node", listener!("0.0.0.0:8080", "")),
        ("d", syn!("10.0.0.99:80", "5001")),
        ("", "sleep 1s"),
        ("node", listener!("0.0.0.0:8080", "{setsockopt: [ip, transparent, on]}, ")),
        ("d", syn!("10.0.0.99:80", "5002")),
    ];
    /// The server has closed first; the client comes again from the same port.
    time_wait: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -A PREROUTING -p tcp -j TPROXY --on-port 8080 --tproxy-mark 1")),
        ("node", server!("0.0.0.0:8080")),
        ("d", client!()),
        ("node", server!("0.0.0.0:8080")),
        ("d", client!()),
        ("d", client!()),
    ];
    /// A datagram is taken, fragments are put together for it, and the answer comes from whom it was for.
    udp: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -A PREROUTING -p udp --dport 53 -j TPROXY --on-port 5353 --tproxy-mark 1")),
        ("node", "& {socket: udp, as: in}, {setsockopt: [ip, transparent, on]}, {bind: \"0.0.0.0:5353\"}, \
                  {recv: {timeout: 1s}}, {socket: udp, as: out}, {setsockopt: [ip, transparent, 1]}, \
                  {bind: \"10.0.0.99:53\"}, {send: {size: 40, to: \"192.168.0.13:5000\"}}, {use: in}, \
                  {recv: {timeout: 1s}}, {use: out}, {send: {size: 4000, to: \"192.168.0.13:5000\"}}"),
        ("d", udp!("10.0.0.99:53")),
        ("d", udp!("10.0.0.99:53", 3000)),
    ];
    /// A connected socket is found before one that listens.
    udp_established: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -A PREROUTING -p udp -j TPROXY --on-port 5353 --tproxy-mark 1")),
        ("node", "& {socket: udp, as: in}, {setsockopt: [ip, transparent, on]}, {bind: \"0.0.0.0:5353\"}, \
                  {socket: udp, as: with}, {setsockopt: [ip, transparent, 1]}, {bind: \"10.0.0.99:53\"}, \
                  {connect: \"192.168.0.13:5000\"}, {recv: {timeout: 1s}}, {send: {size: 40}}, {use: in}, \
                  {recv: {timeout: 1s}}"),
        ("d", udp!("10.0.0.99:53")),
        ("d", udp!("10.0.0.99:53", 32, "5001")),
    ];
    /// From somebody else's address, with what comes back caught by its socket.
    connect_from_elsewhere: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -A PREROUTING -m socket --transparent -j MARK --set-mark 1")),
        ("d", tcp_server!()),
        ("node", "{socket: tcp}, {setsockopt: [ip, transparent, on]}, {bind: \"10.0.0.77:5000\"}, \
                  {connect: \"192.168.0.13:80\"}, {send: {text: hello}}, {sleep: 200ms}, {close: }"),
        ("node", "{socket: udp}, {setsockopt: [ip, transparent, on]}, {bind: \"10.0.0.77:5000\"}, \
                  {connect: \"192.168.0.13:7\"}, {send: {size: 32}}, {recv: {timeout: 300ms}}"),
        ("node", "{socket: udp}, {setsockopt: [ip, transparent, on]}, {setsockopt: [ip, recverr, on]}, \
                  {bind: \"10.0.0.77:5000\"}, {connect: \"192.168.0.13:9\"}, {send: {size: 32}}, \
                  {sleep: 100ms}, {recv: {errqueue: true}}"),
        ("node", "{socket: tcp}, {bind: \"10.0.0.78:5000\"}, {socket: udp}, {bind: \"10.0.0.78:5000\"}"),
        ("node", "sysctl -w net.ipv4.ip_nonlocal_bind=1"),
        ("node", "{socket: udp}, {bind: \"10.0.0.78:5000\"}, {send: {size: 1, to: \"192.168.0.13:7\"}}"),
        ("node", "{socket: tcp}, {bind: \"10.0.0.78:5000\"}, {connect: \"192.168.0.13:80\"}"),
    ];
    /// What is for somebody else is delivered here without any transparent socket: nobody may answer.
    delivered_without_an_address: [
        ("node", local_by_mark!()),
        ("node", local_by_mark!(rule)),
        ("node", rule!("-t mangle -A PREROUTING -d 10.0.0.99 -j MARK --set-mark 1")),
        ("node", listener!("0.0.0.0:80", "")),
        ("d", syn!("10.0.0.99:80", "5000")),
        ("d", syn!("10.0.0.99:81", "5001")),
        ("d", udp!("10.0.0.99:7")),
        ("d", udp!("10.0.0.99:9", 32, "5002")),
        ("d", "ping -c1 -W1 10.0.0.99"),
    ];
    /// As many conditions as `socket` has, where packets come in for sockets of all kinds.
    socket_match: [
        ("node", rule!("-t mangle -A PREROUTING -m socket")),
        ("node", rule!("-t mangle -A PREROUTING -m socket --nowildcard")),
        ("node", rule!("-t mangle -A PREROUTING -m socket --nowildcard --transparent")),
        ("node", rule!("-t mangle -A PREROUTING -m socket --nowildcard --restore-skmark")),
        ("node", rule!("-t mangle -A PREROUTING -m mark --mark 5")),
        ("node", rule!("-A INPUT -p tcp -m socket")),
        ("node", rule!("-A INPUT -p icmp -m socket --nowildcard")),
        ("d", udp!("192.168.0.1:7")),
        ("d", udp!("192.168.0.1:9")),
        ("node", server!("192.168.0.1:80", "{setsockopt: [socket, mark, 5]}, ")),
        ("d", "{socket: tcp}, {bind: \"0.0.0.0:5000\"}, {connect: \"192.168.0.1:80\"}, {send: {text: hello}}, \
               {recv: {timeout: 300ms}}, {recv: {timeout: 300ms}}, {close: }"),
        ("node", udp!("192.168.0.13:9", 32, "5003")),
        ("node", "ping -c1 192.168.0.13"),
        ("node", rule!("-t mangle -L -n -v")),
    ];
    /// The sender is found behind its translation.
    socket_behind_snat: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p tcp -j SNAT --to-source 192.168.0.1:6000")),
        ("node", rule!("-t mangle -A PREROUTING -p udp -m socket --nowildcard")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp -m socket")),
        ("node", rule!("-t mangle -A PREROUTING -p icmp -m socket")),
        ("node", udp!("192.168.0.13:7")),
        ("node", udp!("192.168.0.13:9", 32, "5003")),
        ("d", tcp_server!()),
        ("node", tcp_client!("192.168.0.13")),
    ];
    /// Marks of sockets: on segments and datagrams of both sides, in resets, and as the SYN had it.
    marks: [
        ("node", rule!("-t mangle -A OUTPUT -m mark --mark 5")),
        ("node", rule!("-t mangle -A OUTPUT -m mark --mark 6")),
        ("node", rule!("-t mangle -A OUTPUT -m mark --mark 7")),
        ("node", rule!("-t mangle -A PREROUTING -j MARK --set-mark 7")),
        ("d", tcp_server!()),
        ("node", "{socket: tcp}, {setsockopt: [socket, mark, 5]}, {bind: \"0.0.0.0:5000\"}, \
                  {connect: \"192.168.0.13:80\"}, {send: {text: hello}}, {sleep: 200ms}, {close: }"),
        ("node", "{socket: udp}, {setsockopt: [socket, mark, 6]}, {bind: \"0.0.0.0:5000\"}, \
                  {send: {size: 32, to: \"192.168.0.13:7\"}}, {recv: {timeout: 300ms}}"),
        ("node", server!("0.0.0.0:80", "{setsockopt: [socket, mark, 5]}, ")),
        ("d", tcp_client!("192.168.0.1")),
        ("node", "sysctl -w net.ipv4.tcp_fwmark_accept=1"),
        ("node", server!("0.0.0.0:80", "")),
        ("d", tcp_client!("192.168.0.1")),
        ("node", "sysctl -w net.ipv4.fwmark_reflect=1"),
        ("d", tcp_client!("192.168.0.1")),
        ("d", "ping -c1 192.168.0.1"),
        ("d", udp!("192.168.0.1:9")),
    ];
    /// A connection keeps the mark that its first packet had, and gives it to what answers.
    connmark: [
        ("node", rule!("-t mangle -A PREROUTING -m connmark --mark 1")),
        ("node", rule!("-t mangle -A PREROUTING -m connmark ! --mark 1/3")),
        ("node", rule!("-t mangle -A PREROUTING -p udp --dport 7 -j MARK --set-mark 1")),
        ("node", rule!("-t mangle -A PREROUTING -m mark --mark 1 -j CONNMARK --save-mark")),
        ("node", rule!("-t mangle -A OUTPUT -m connmark --mark 1 -j CONNMARK --restore-mark")),
        ("node", rule!("-t mangle -A OUTPUT -m mark --mark 1")),
        ("d", udp!("192.168.0.1:7")),
        ("d", udp!("192.168.0.1:7")),
        ("node", rule!("-t mangle -L -v -n")),
    ];
    /// The rules of istio-init in TPROXY mode, with scripts in the places of the proxy and of the pod's program: the
    /// program sees the client, and what it answers stays in the pod.
    as_istio_does: [
        ("node", "ip rule add fwmark 1337 lookup 133"),
        ("node", "ip route add local default dev lo table 133"),
        ("node", rule!("-t mangle -N ISTIO_DIVERT")),
        ("node", rule!("-t mangle -N ISTIO_TPROXY")),
        ("node", rule!("-t mangle -N ISTIO_INBOUND")),
        ("node", rule!("-t mangle -A ISTIO_DIVERT -j MARK --set-mark 1337")),
        ("node", rule!("-t mangle -A ISTIO_DIVERT -j ACCEPT")),
        ("node", rule!("-t mangle -A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp \
                        -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp -j ISTIO_INBOUND")),
        ("node", rule!("-t mangle -A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT")),
        ("node", rule!("-t mangle -A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY")),
        ("node", rule!("-t mangle -A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark")),
        ("node", rule!("-t mangle -A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN")),
        ("node", rule!("-t mangle -A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --gid-owner 1337 \
                        -j MARK --set-mark 1338")),
        ("node", rule!("-t mangle -A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark")),
        ("node", rule!("-t mangle -I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN")),
        ("node", rule!("-t mangle -I ISTIO_INBOUND 2 -p tcp -s 127.0.0.6/32 -i lo -j RETURN")),
        ("node", rule!("-t mangle -I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN")),
        ("node", "& {socket: tcp}, {bind: \"0.0.0.0:80\"}, {listen: 2}, {accept: {timeout: 2s}}, \
                  {recv: {timeout: 500ms}}, {send: {text: answer}}, {recv: {timeout: 2s}}, {close: }"),
        ("node", "& {socket: tcp}, {setsockopt: [ip, transparent, on]}, {bind: \"0.0.0.0:15006\"}, {listen: 2}, \
                  {accept: {timeout: 2s}, as: down}, {recv: {timeout: 500ms}}, {socket: tcp, as: up}, \
                  {setsockopt: [socket, mark, 1337]}, {setsockopt: [ip, transparent, on]}, \
                  {bind: \"192.168.0.13:7001\"}, {connect: \"192.168.0.1:80\"}, {send: {text: question}}, \
                  {recv: {timeout: 500ms}}, {use: down}, {send: {text: answer}}, {recv: {timeout: 1s}}, {close: }, \
                  {use: up}, {close: }"),
        ("d", "{socket: tcp}, {bind: \"0.0.0.0:5000\"}, {connect: \"192.168.0.1:80\"}, {send: {text: question}}, \
               {recv: {timeout: 1s}}, {close: }"),
        ("", "sleep 300ms"),
        ("node", rule!("-t mangle -L -n -v")),
    ];
    /// The way out depends on the socket's mark.
    routes_by_socket_mark: [
        ("node", "ip rule add fwmark 0x5 lookup 200"),
        ("node", "ip route add unreachable default table 200"),
        ("node", "{socket: tcp}, {setsockopt: [socket, mark, 5]}, {connect: \"192.168.0.13:80\"}"),
        ("node", "{socket: udp}, {setsockopt: [socket, mark, 5]}, {connect: \"192.168.0.13:7\"}"),
        ("d", tcp_server!()),
        ("node", tcp_client!("192.168.0.13")),
    ];
    /// With src_valid_mark the way back is looked up by the packet's mark.
    src_valid_mark: [
        ("node", "sysctl -w net.ipv4.conf.up0.rp_filter=1"),
        ("node", "ip rule add fwmark 1 lookup 200"),
        ("node", "ip route add 192.168.0.0/24 dev br0 table 200"),
        ("node", rule!("-t mangle -A PREROUTING -i up0 -j MARK --set-mark 1")),
        ("d", "ping -c1 -W1 192.168.0.1"),
        ("node", "sysctl -w net.ipv4.conf.all.src_valid_mark=1"),
        ("d", "ping -c1 -W1 192.168.0.1"),
    ];
}
