//! Rules in the shape that kube-proxy gives them, as text for iptables-restore.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The port of every UDP Service.
pub const UDP_PORT: u16 = 9000;
/// The port of every TCP Service.
pub const TCP_PORT: u16 = 9001;
/// Endpoints of a Service.
const ENDPOINTS: usize = 3;

/// Around the Services' own chains of the nat table.
const NAT_HEAD: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
";
const NAT_RULES: &str = "\
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
";
const NAT_TAIL: &str = "\
-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
";
const FILTER: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-NODEPORTS - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

/// kube-proxy's rules for `services` Services, half UDP and half TCP, two on each address. Those of the first, the
/// middle and the last address have 10.244.2.2 to 4 as endpoints, the others pods that do not exist.
pub fn kube_proxy(services: usize) -> String {
    let addresses = (services / 2).max(1);
    let mut chains = String::new();
    let mut rules = String::new();
    for n in 0..addresses {
        for (protocol, port) in [("udp", UDP_PORT), ("tcp", TCP_PORT)] {
            service(&mut chains, &mut rules, (n, addresses), protocol, port);
        }
    }
    [NAT_HEAD, &chains, NAT_RULES, &rules, NAT_TAIL, FILTER].concat()
}

/// The address of the `n`th pair of Services.
pub fn cluster_ip(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 10).to_bits() + n as u32)
}

/// One Service: its rule in KUBE-SERVICES, its chain, its endpoints' chains.
fn service(chains: &mut String, rules: &mut String, (n, of): (usize, usize), protocol: &str, port: u16) {
    let (ip, name) = (cluster_ip(n), format!("default/svc{n}:{protocol}"));
    // Names of the length that kube-proxy's have.
    let chain = format!("KUBE-SVC-{:08}{:>8}", n, protocol.to_uppercase()).replace(' ', "X");
    let text = |out: &mut String, line: std::fmt::Arguments<'_>| {
        let _ = out.write_fmt(line);
        out.push('\n');
    };
    text(chains, format_args!(":{chain} - [0:0]"));
    let to =
        format!("-d {ip}/32 -p {protocol} -m comment --comment \"{name} cluster IP\" -m {protocol} --dport {port}");
    text(rules, format_args!("-A KUBE-SERVICES {to} -j {chain}"));
    text(rules, format_args!("-A {chain} ! -s 10.244.0.0/16 {to} -j KUBE-MARK-MASQ"));
    let real = n == 0 || n == of / 2 || n == of - 1;
    let base = if real { Ipv4Addr::new(10, 244, 2, 2) } else { Ipv4Addr::new(10, 245, 0, 0) };
    let first = base.to_bits() + if real { 0 } else { (n * ENDPOINTS) as u32 };
    for k in 0..ENDPOINTS {
        let pod = Ipv4Addr::from_bits(first + k as u32);
        let endpoint = format!("KUBE-SEP-{:08}{k}{:>7}", n, protocol.to_uppercase()).replace(' ', "X");
        text(chains, format_args!(":{endpoint} - [0:0]"));
        let left = ENDPOINTS - k;
        let chance = match left {
            1 => String::new(),
            _ => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
        };
        let comment = format!("-m comment --comment \"{name} -> {pod}:{port}\"");
        text(rules, format_args!("-A {chain} {comment} {chance}-j {endpoint}"));
        let comment = format!("-m comment --comment \"{name}\"");
        text(rules, format_args!("-A {endpoint} -s {pod}/32 {comment} -j KUBE-MARK-MASQ"));
        let match_ = format!("-p {protocol} {comment} -m {protocol}");
        text(rules, format_args!("-A {endpoint} {match_} -j DNAT --to-destination {pod}:{port}"));
    }
}
