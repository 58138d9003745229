//! Cilium: article 002's tables, and what its programs do with other packets.

use podhop_tests::scenarios;
use sim_core::observe::{Memory, Nowhere};
use sim_core::scenario::{self, Options, SourceFile};
use smoltcp::wire::{EthernetFrame, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};
use std::path::Path;

/// A line of what tshark showed the author: from where to where, what, and how long the frame is.
type Row = (&'static str, &'static str, &'static str, usize);

/// As article 002 has it on the pod's device, lxc7dc050ebabd6. Answers to questions that were asked together come in
/// any order.
const ON_LXC: [Row; 11] = [
    ("10.0.1.15", "10.96.0.10", "DNS", 109),
    ("10.0.1.15", "10.96.0.10", "DNS", 109),
    ("10.96.0.10", "10.0.1.15", "DNS", 202),
    ("10.96.0.10", "10.0.1.15", "DNS", 202),
    ("10.0.1.15", "10.96.0.10", "DNS", 103),
    ("10.0.1.15", "10.96.0.10", "DNS", 103),
    ("10.96.0.10", "10.0.1.15", "DNS", 196),
    ("10.96.0.10", "10.0.1.15", "DNS", 162),
    ("10.0.1.15", "10.105.134.33", "[SYN] Win=64390 MSS=1370 WS=128", 74),
    ("10.105.134.33", "10.0.1.15", "[SYN, ACK] Win=65184 MSS=1370 WS=128", 74),
    ("10.0.1.15", "10.105.134.33", "[ACK] Win=64512", 66),
];

/// Who serves the addresses of Services above.
const BACKENDS: [(&str, &str); 2] = [("10.96.0.10", "10.0.2.17"), ("10.105.134.33", "10.0.2.215")];

#[test]
fn the_tables_of_article_002() {
    let mut files = Memory::default();
    scenarios::run(Path::new("scenarios/articles/cilium-vxlan/scenario.yaml"), &mut files);
    let capture = |path: &str| {
        let (_, frames) = scenarios::frames(&files.files[&format!("captures/nodes/{path}.pcap")]);
        frames.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let lxc = rows(&capture("node-1/lxc7dc050ebabd6"));
    assert_eq!(in_order(&lxc), in_order(&ON_LXC.map(|(from, to, what, len)| row(from, to, what, len))));
    let served = |addr: &'static str| BACKENDS.iter().find(|b| b.0 == addr).map_or(addr, |b| b.1);
    let inside = ON_LXC.map(|(from, to, what, len)| row(served(from), served(to), what, len));
    assert_eq!(in_order(&rows(&capture("node-1/cilium_vxlan"))), in_order(&inside));
    // On both nodes, and around the tunnel 50 bytes more.
    for node in ["node-1", "node-2"] {
        let tunnelled = capture(&format!("{node}/ens4"));
        let (outer, inner): (Vec<_>, Vec<_>) = tunnelled.iter().filter_map(|packet| unwrap(packet)).unzip();
        assert_eq!(in_order(&rows(&inner)), in_order(&inside), "{node}");
        for ((from, to), inner) in outer.iter().zip(&inner).take(ON_LXC.len()) {
            let (a, b) = (from.as_str(), to.as_str());
            let there = rows(std::slice::from_ref(inner))[0].0 == "10.0.1.15";
            let want = if there { ("10.168.0.4", "10.168.0.5") } else { ("10.168.0.5", "10.168.0.4") };
            assert_eq!((a, b), want, "{node}");
        }
    }
    let server = rows(&capture("node-2/lxc3afb1f126f2c"));
    let handshake = &inside[8..];
    assert_eq!(server[..3], *handshake);
}

/// A row as text: from, to, what, length.
fn row(from: &str, to: &str, what: &str, len: usize) -> (String, String, String, usize) {
    (from.to_owned(), to.to_owned(), what.to_owned(), len)
}

/// The first rows, with the answers that may come in any order sorted.
fn in_order(rows: &[(String, String, String, usize)]) -> Vec<(String, String, String, usize)> {
    let mut rows: Vec<_> = rows.iter().take(ON_LXC.len()).cloned().collect();
    for pair in [2..4, 6..8] {
        rows.get_mut(pair).expect("there are more").sort();
    }
    rows
}

/// The rows of IPv4 packets.
fn rows(frames: &[Vec<u8>]) -> Vec<(String, String, String, usize)> {
    frames.iter().filter_map(|frame| ipv4(frame)).collect()
}

fn ipv4(frame: &[u8]) -> Option<(String, String, String, usize)> {
    let ip = Ipv4Packet::new_checked(EthernetFrame::new_checked(frame).ok()?.payload()).ok()?;
    assert!(ip.verify_checksum(), "a header");
    let what = match ip.next_header() {
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(ip.payload()).expect("a datagram");
            assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()), "a datagram");
            if udp.src_port() == 53 || udp.dst_port() == 53 { "DNS".to_owned() } else { "UDP".to_owned() }
        }
        IpProtocol::Tcp => segment(&ip),
        _ => return None,
    };
    Some((ip.src_addr().to_string(), ip.dst_addr().to_string(), what, frame.len()))
}

/// As tshark writes it, without numbers that the author's machine drew.
fn segment(ip: &Ipv4Packet<&[u8]>) -> String {
    let tcp = TcpPacket::new_checked(ip.payload()).expect("a segment");
    assert!(tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()), "a segment");
    let flags = [(tcp.syn(), "SYN"), (tcp.fin(), "FIN"), (tcp.psh(), "PSH"), (tcp.ack(), "ACK")];
    let flags: Vec<&str> = flags.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    let (mut window, mut rest) = (u32::from(tcp.window_len()), String::new());
    if tcp.syn() {
        let options = tcp.options();
        let option = |kind: u8, at: usize| {
            let mut options = options;
            while let [own, len, ..] = *options {
                if own == kind {
                    return options[at..usize::from(len)].to_vec();
                }
                options = if own == 1 { &options[1..] } else { &options[usize::from(len)..] };
            }
            vec![]
        };
        let (mss, scale) = (option(2, 2), option(3, 2));
        rest = format!(" MSS={} WS={}", u16::from(mss[0]) << 8 | u16::from(mss[1]), 1 << scale[0]);
    } else {
        window *= 128;
    }
    format!("[{}] Win={window}{rest}", flags.join(", "))
}

/// The outer addresses of a datagram of the tunnel, and the frame inside.
fn unwrap(frame: &[u8]) -> Option<((String, String), Vec<u8>)> {
    let ip = Ipv4Packet::new_checked(EthernetFrame::new_checked(frame).ok()?.payload()).ok()?;
    let udp = UdpPacket::new_checked(ip.payload()).ok().filter(|u| u.dst_port() == 8472)?;
    assert_eq!((ip.hop_limit(), ip.dont_frag(), udp.checksum()), (64, false, 0), "what surrounds it");
    assert_eq!(udp.payload()[..4], [8, 0, 0, 0], "a VXLAN header");
    assert_eq!(frame.len(), udp.payload().len() - 8 + 50);
    Some(((ip.src_addr().to_string(), ip.dst_addr().to_string()), udp.payload()[8..].to_vec()))
}

/// Two nodes; Services that pods of both serve, and one that nobody does.
const CLUSTER: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: programs}
spec:
  cluster:
    nodes:
      - {name: n1, address: 192.168.0.11/24, podCIDR: 10.0.0.0/24}
      - {name: n2, address: 192.168.0.12/24, podCIDR: 10.0.1.0/24}
    clusterCIDR: 10.0.0.0/16
    cni: {plugin: cilium}
    dns: {enabled: false}
  manifests:
    - {apiVersion: v1, kind: Pod, metadata: {name: client}, status: {podIP: 10.0.0.10},
       spec: {nodeName: n1, containers: [{name: c, image: ubuntu, command: [sleep, infinity]}]}}
    - {apiVersion: v1, kind: Pod, metadata: {name: near, labels: {app: near}}, status: {podIP: 10.0.0.11},
       spec: {nodeName: n1, containers: [{name: c, image: podhop, command: [udpecho, "7"]}]}}
    - {apiVersion: v1, kind: Pod, status: {podIP: 10.0.1.10},
       metadata: {name: far, labels: {app: far}, annotations: {podhop.dev/veth: lxcfar}},
       spec: {nodeName: n2, containers: [{name: c, image: podhop, command: [udpecho, "7"]}]}}
    - {apiVersion: v1, kind: Service, metadata: {name: near},
       spec: {clusterIP: 10.96.0.7, selector: {app: near}, ports: [{port: 70, targetPort: 7, protocol: UDP}]}}
    - {apiVersion: v1, kind: Service, metadata: {name: far},
       spec: {clusterIP: 10.96.0.8, selector: {app: far}, ports: [{port: 80, targetPort: 7, protocol: UDP}]}}
    - {apiVersion: v1, kind: Service, metadata: {name: nobody},
       spec: {clusterIP: 10.96.0.9, selector: {app: nobody}, ports: [{port: 90}]}}
"#;

/// Programs that could route.
const NATIVE: &str = ", routingMode: native, autoDirectNodeRoutes: true, enableIPv4Masquerade: false, \
                      kubeProxyReplacement: true, socketLB: {hostNamespaceOnly: true}";

/// Runs it with `rest` and holds it to its expectations.
fn check(rest: &str) {
    check_with("", rest);
}

/// As [`check`], with settings of Cilium.
fn check_with(settings: &str, rest: &str) {
    let cluster = CLUSTER.replace("{plugin: cilium}", &format!("{{plugin: cilium{settings}}}"));
    let source = SourceFile::new("inline", format!("{cluster}{rest}"));
    let plan = scenario::resolve(&source).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs");
    let failed: Vec<_> = report.expectations.iter().filter(|e| !e.verdict.ok).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A TTL goes down by one on the way between pods, wherever they are.
#[test]
fn pods_reach_pods_and_the_world() {
    check(
        r#"
  traffic:
    - {from: pod/default/client, run: "ping -c1 10.0.0.11"}
    - {from: pod/default/client, run: "ping -c1 10.0.1.10"}
    - {from: pod/default/client, run: "ping -c1 192.168.0.1"}
    - {from: n1, run: "ping -c1 10.0.0.10"}
    - {from: n1, run: "ping -c1 10.0.1.10"}
    - {from: n1, run: "ip netns exec cilium-health ping -c1 10.0.1.2"}
  expect:
    - {command: "ping -c1 10.0.0.11", exit: 0, stdout: ttl=63}
    - {command: "ping -c1 10.0.1.10", from: pod/default/client, exit: 0, stdout: ttl=63}
    - {command: "ping -c1 192.168.0.1", exit: 0}
    - {command: "ping -c1 10.0.0.10", exit: 0, stdout: ttl=63}
    - {command: "ping -c1 10.0.1.10", from: n1, exit: 0, stdout: ttl=63}
    - {command: "ip netns exec cilium-health ping -c1 10.0.1.2", exit: 0}
    # From one pod to the other of the node, without a tunnel and without the stack.
    - {capture: n1/eth0, filter: "udp port 8472", count: 6}
    # Who sends: a pod of its own identity, another node, a health endpoint.
    - {capture: n1/eth0, filter: "udp port 8472 and src host 192.168.0.11 and udp[12:2] = 1 and udp[14] = 2", count: 1}
    - {capture: n1/eth0, filter: "udp port 8472 and src host 192.168.0.11 and udp[12:2] = 0 and udp[14] = 6", count: 1}
    - {capture: n1/eth0, filter: "udp port 8472 and src host 192.168.0.11 and udp[12:2] = 0 and udp[14] = 4", count: 1}
    # The world sees the node's address.
    - {capture: n1/eth0, filter: "icmp and src host 192.168.0.11 and dst host 192.168.0.1 and ip[8] = 62", count: 1}
    - {capture: n1/eth0, filter: "icmp and host 10.0.0.10", count: 0}
"#,
    );
}

/// A pod's own Service leads back to it, from an address that is nobody's; one that nobody serves is refused at once.
#[test]
fn services_are_translated_by_programs() {
    let services = r#"
  traffic:
    - {from: pod/default/client, run: "nc -u -w1 10.96.0.7 70 << 'E'\nnear\nE"}
    - {from: pod/default/client, run: "nc -u -w1 10.96.0.8 80 << 'E'\nfar\nE"}
    - {from: pod/default/near, run: "nc -u -w1 10.96.0.7 70 << 'E'\nown\nE"}
    - {from: pod/default/client, run: "nc -v -w1 10.96.0.9 90"}
  expect:
    - {command: "nc -u -w1 10.96.0.7 70 << 'E'\nnear\nE", stdout: near}
    - {command: "nc -u -w1 10.96.0.8 80 << 'E'\nfar\nE", stdout: far}
    - {command: "nc -u -w1 10.96.0.7 70 << 'E'\nown\nE", stdout: own}
    - {command: "nc -v -w1 10.96.0.9 90", exit: 1, stdout: Connection refused}
    - {capture: pod/default/near/eth0, filter: "src host 169.254.42.1 and udp dst port 7", count: 1}
    - {capture: pod/default/near/eth0, filter: "src host 10.96.0.7 and udp src port 70", count: 1}
    - {capture: pod/default/far/eth0, filter: "udp and src host 10.0.0.10 and dst host 10.0.1.10", count: 1}
    # An error about a SYN quotes 64 bytes, of which the SYN has 60.
    - {capture: pod/default/client/eth0, filter: "icmp and src host 10.96.0.9 and len = 106", count: 1}
    # Nothing of it went to the stack of the node.
    - {capture: n1/cilium_host, filter: udp, count: 0}
"#;
    check(services);
    check_with(NATIVE, services);
}

/// A pod that sends from another address than its own is not heard, and a fragment goes where the first one went.
#[test]
fn sources_and_fragments() {
    check(
        r#"
  namespaces:
    pod/default/client: {setup: ["ip addr add 10.0.0.99/32 dev eth0"]}
  traffic:
    - {from: pod/default/client, run: "ping -c1 -W1 -I 10.0.0.99 10.0.1.10"}
    - {from: pod/default/client, run: "ping -c1 -s 3000 10.0.1.10"}
  expect:
    - {command: "ping -c1 -W1 -I 10.0.0.99 10.0.1.10", exit: 1}
    - {capture: n1/cilium_vxlan, filter: "host 10.0.0.99", count: 0}
    - {command: "ping -c1 -s 3000 10.0.1.10", exit: 0}
    - {capture: n1/cilium_vxlan, filter: "src host 10.0.0.10 and icmp", count: 3}
"#,
    );
}

/// With eBPF host routing pods' packets meet neither the stack nor the other end of the pod that they are for; without
/// it the stack routes them on both nodes.
#[test]
fn programs_route_or_leave_it_to_the_stack() {
    let traffic = r#"
  traffic:
    - {from: pod/default/client, run: "ping -c1 10.0.0.11"}
    - {from: pod/default/client, run: "ping -c1 10.0.1.10"}
    - {from: n1, run: "iptables -xnvL FORWARD"}
    - {from: n2, run: "iptables -xnvL FORWARD"}
  expect:
    - {command: "ping -c1 10.0.0.11", exit: 0, stdout: ttl=63}
    - {capture: n1/eth0, filter: "icmp and host 10.0.0.10 and host 10.0.1.10", count: 2}
    - {capture: n1/eth0, filter: "udp port 8472", count: 0}
"#;
    let programs = r#"
    - {command: "ping -c1 10.0.1.10", exit: 0, stdout: ttl=62}
    - {capture: n1/any, filter: "icmp and dst host 10.0.0.10", direction: Out, count: 0}
    - {capture: n2/any, filter: "icmp and dst host 10.0.1.10", direction: Out, count: 0}
    - {capture: pod/default/far/any, filter: "icmp[0] = icmp-echo", direction: In, count: 1}
    - {command: "iptables -xnvL FORWARD", from: n1, stdout: "       0        0 CILIUM_FORWARD"}
    - {command: "iptables -xnvL FORWARD", from: n2, stdout: "       0        0 CILIUM_FORWARD"}
"#;
    check_with(NATIVE, &format!("{traffic}{programs}"));
    // Two more hops: there and back, the stack takes one off the TTL besides the programs.
    let stack = r#"
    - {command: "ping -c1 10.0.1.10", exit: 0, stdout: ttl=60}
    - {capture: n2/lxcfar, filter: "icmp[0] = icmp-echo and dst host 10.0.1.10", direction: Out, count: 1}
    - {command: "iptables -xnvL FORWARD", from: n1, stdout: "       2      168 CILIUM_FORWARD"}
    - {command: "iptables -xnvL FORWARD", from: n2, stdout: "       2      168 CILIUM_FORWARD"}
"#;
    check_with(&format!("{NATIVE}, bpf: {{hostLegacyRouting: true}}"), &format!("{traffic}{stack}"));
}

/// A neighbour that does not answer: the program's packet waits for it as any other, and its pod is told by the node.
#[test]
fn a_program_s_packet_waits_for_its_neighbour() {
    check_with(
        NATIVE,
        r#"
  traffic:
    - {from: pod/default/client, run: "ping -c1 -W5 192.168.0.77"}
    - {from: pod/default/client, run: "ping -c1 192.168.0.12"}
    - {from: n1, run: "ping -c1 10.0.1.10"}
  expect:
    - {command: "ping -c1 -W5 192.168.0.77", exit: 1, stdout: "From 10.0.0.1 icmp_seq=1 Destination Host Unreachable"}
    - {capture: n1/eth0, filter: "arp[24:4] = 0xc0a8004d", count: 3}
    - {capture: n1/eth0, filter: "icmp and host 192.168.0.77", count: 0}
    # Without masquerading the other node hears of the pod itself, and its answer goes straight into the pod.
    - {command: "ping -c1 192.168.0.12", exit: 0, stdout: ttl=63}
    - {capture: n2/eth0, filter: "icmp[0] = icmp-echo and src host 10.0.0.10 and ip[8] = 63", count: 1}
    - {command: "ping -c1 10.0.1.10", exit: 0, stdout: ttl=63}
    - {capture: n2/eth0, filter: "icmp[0] = icmp-echo and src host 192.168.0.11 and dst host 10.0.1.10", count: 1}
"#,
    );
}

/// A pod whose device is down gets nothing put in front of it: the program's packet ends there, and nobody is told.
#[test]
fn nothing_is_received_by_a_device_that_is_down() {
    check_with(
        NATIVE,
        r#"
  traffic:
    - {from: pod/default/near, run: "ip link set eth0 down"}
    - {from: pod/default/client, run: "ping -c1 -W1 10.0.0.11"}
  expect:
    - {command: "ping -c1 -W1 10.0.0.11", exit: 1, stdout: "0 received, 100% packet loss"}
    - {capture: n1/any, filter: "icmp and host 10.0.0.11", count: 1}
    - {capture: pod/default/near/any, filter: icmp, count: 0}
"#,
    );
}

/// A tunnel without kube-proxy: what it brings goes straight into the pod, too.
#[test]
fn programs_route_beside_a_tunnel() {
    check_with(
        ", enableIPv4Masquerade: false, kubeProxyReplacement: true, socketLB: {hostNamespaceOnly: true}",
        r#"
  traffic:
    - {from: pod/default/client, run: "nc -u -w1 10.96.0.8 80 << 'E'\nfar\nE"}
    - {from: n1, run: "iptables-save"}
  expect:
    - {command: "nc -u -w1 10.96.0.8 80 << 'E'\nfar\nE", stdout: far}
    - {capture: n1/eth0, filter: "udp port 8472", count: 2}
    - {capture: n2/lxcfar, filter: "udp and src host 10.0.0.10", count: 0}
    - {capture: pod/default/far/eth0, filter: "udp and src host 10.0.0.10", count: 1}
    # Neither kube-proxy nor Cilium has a rule of table nat.
    - {command: "iptables-save", exit: 0}
"#,
    );
}
