//! The live kernel takes what kubelet, kubenet and kube-proxy do to a node, and does with packets what we do: a cluster
//! built and used in real namespaces and by us.
//!
//! Compared are every record, what every script printed, and at the end the rules with their counters and the
//! connections of every namespace. Each Service has one endpoint that can be meant, so that none is drawn.

use podhop_parity::Compare;
use podhop_tests::live;

/// Two nodes on a switch, with the pods a and b on the first and c on the second; two hosts outside. What node ports
/// and load balancers do by facts of Kubernetes' own tests (pkg/proxy/iptables/proxier_test.go) is asked here.
const CLUSTER: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: cluster}
spec:
  placement: one-kernel
  switches: {sw: {setup: [sysctl -qw net.bridge.bridge-nf-call-iptables=0]}}
  links:
    - {between: [sw/n1, node1/eth0]}
    - {between: [sw/n2, node2/eth0]}
    - {between: [sw/e1, ext/eth0]}
    - {between: [sw/e2, far/eth0]}
  cluster:
    nodes:
      - {name: node1, address: 192.168.0.11/24, podCIDR: 10.244.1.0/24}
      - {name: node2, address: 192.168.0.12/24, podCIDR: 10.244.2.0/24}
    cni: {plugin: kubenet}
    kubeProxy: {SETTINGS}
    dns: {enabled: false}
  namespaces:
    ext: {setup: [ip link set eth0 up, ip addr add 192.168.0.100/24 dev eth0, ROUTES]}
    far: {setup: [ip link set eth0 up, ip addr add 192.168.0.200/24 dev eth0, ROUTES]}
  manifests:
    - apiVersion: v1
      kind: Pod
      metadata: {name: a, labels: {app: a}, annotations: {podhop.dev/veth: vetha}}
      spec:
        nodeName: node1
        containers:
          - {name: udp, image: podhop, command: [udpecho, "7"]}
          - {name: tcp, image: podhop, command: [tcpecho, "9"]}
    - apiVersion: v1
      kind: Pod
      metadata: {name: b, labels: {app: b}, annotations: {podhop.dev/veth: vethb}}
      spec: {nodeName: node1, containers: [{name: udp, image: podhop, command: [udpecho, "7"]}]}
    - apiVersion: v1
      kind: Pod
      metadata: {name: c, labels: {app: c}, annotations: {podhop.dev/veth: vethc}}
      spec: {nodeName: node2, containers: [{name: udp, image: podhop, command: [udpecho, "7"]}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: here}
      spec:
        {type: NodePort, clusterIP: 10.96.0.80, selector: {app: b},
         ports: [{port: 53, protocol: UDP, targetPort: 7, nodePort: 30080}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: there}
      spec:
        {type: NodePort, clusterIP: 10.96.0.81, selector: {app: c}, externalIPs: [192.168.99.11],
         ports: [{port: 53, protocol: UDP, targetPort: 7, nodePort: 30081}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: balanced}
      spec:
        {type: LoadBalancer, clusterIP: 10.96.0.83, selector: {app: b}, loadBalancerSourceRanges: [192.168.0.0/25],
         ports: [{port: 53, protocol: UDP, targetPort: 7, nodePort: 30083}]}
      status: {loadBalancer: {ingress: [{ip: 203.0.113.50}]}}
    - apiVersion: v1
      kind: Service
      metadata: {name: local}
      spec:
        {type: NodePort, clusterIP: 10.96.0.84, selector: {app: b}, externalTrafficPolicy: Local,
         ports: [{port: 53, protocol: UDP, targetPort: 7, nodePort: 30084}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: inside}
      spec:
        {clusterIP: 10.96.0.85, selector: {app: c}, internalTrafficPolicy: Local,
         ports: [{port: 53, protocol: UDP, targetPort: 7}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: nobody}
      spec: {type: NodePort, clusterIP: 10.96.0.86, ports: [{port: 53, protocol: UDP, nodePort: 30086}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: ending}
      spec: {clusterIP: 10.96.0.87, ports: [{port: 53, protocol: UDP}]}
    # The only endpoint that is ready has gone; one that ends still serves, another does not.
    - apiVersion: discovery.k8s.io/v1
      kind: EndpointSlice
      metadata: {name: ending-1, labels: {kubernetes.io/service-name: ending}}
      addressType: IPv4
      ports: [{port: 7, protocol: UDP}]
      endpoints:
        - {addresses: [10.244.1.3], nodeName: node1, conditions: {ready: false, serving: true, terminating: true}}
        - {addresses: [10.244.2.2], nodeName: node2, conditions: {ready: false, serving: false, terminating: true}}
    - apiVersion: v1
      kind: Service
      metadata: {name: stream}
      spec:
        {type: NodePort, clusterIP: 10.96.0.88, selector: {app: a}, ports: [{port: 80, targetPort: 9, nodePort: 30088}]}
  traffic:
"#;

/// Where the hosts outside find what is the cluster's.
const ROUTES: [&str; 3] = ["10.96.0.0/16", "203.0.113.50", "192.168.99.11"];

/// Builds the cluster with these settings of kube-proxy.
fn check(name: &str, settings: &str, traffic: &[(&str, &str)]) {
    let routes = ROUTES.map(|to| format!("ip route add {to} via 192.168.0.11")).join(", ");
    let lab = CLUSTER.replace("SETTINGS", settings).replace("ROUTES", &routes);
    live::check(&lab, name, traffic, Compare::ALL);
}

macro_rules! live {
    ($($(#[doc = $doc:literal])* $name:ident ($settings:literal): [$(($ns:literal, $run:expr)),* $(,)?];)*) => {
        $($(#[doc = $doc])* #[test] fn $name() { check(stringify!($name), $settings, &[$(($ns, $run)),*]); })*
    };
}

/// Asks an address for an echo.
macro_rules! udp {
    ($to:literal) => {
        concat!("{socket: udp}, {connect: \"", $to, "\"}, {send: {size: 32, byte: a}}, {recv: {timeout: 300ms}}")
    };
}

/// The same by a connection.
macro_rules! tcp {
    ($to:literal) => {
        concat!(
            "{socket: tcp}, {settimeout: 2s}, {connect: \"",
            $to,
            "\"}, {send: {text: hello}}, {recv: {}}, {sleep: 100ms}, {close: }, {sleep: 100ms}"
        )
    };
}

live! {
    cluster_ips(""): [
        ("pod/default/a", udp!("10.96.0.80:53")),
        ("pod/default/a", udp!("10.96.0.81:53")),
        ("pod/default/b", udp!("10.96.0.80:53")),
        ("node1", udp!("10.96.0.80:53")),
        ("node1", udp!("10.96.0.81:53")),
        ("ext", udp!("10.96.0.81:53")),
    ];
    streams(""): [
        ("pod/default/b", tcp!("10.96.0.88:80")),
        ("pod/default/a", tcp!("10.96.0.88:80")),
        ("pod/default/c", tcp!("10.96.0.88:80")),
        ("ext", tcp!("192.168.0.12:30088")),
    ];
    node_ports(""): [
        ("ext", udp!("192.168.0.11:30080")),
        ("ext", udp!("192.168.0.11:30081")),
        ("ext", udp!("192.168.0.12:30080")),
        ("pod/default/a", udp!("192.168.0.11:30081")),
        ("pod/default/a", udp!("192.168.0.12:30080")),
        ("node1", udp!("192.168.0.11:30080")),
        ("node1", udp!("127.0.0.1:30080")),
        ("node1", udp!("127.0.0.1:30081")),
        ("pod/default/a", udp!("10.244.1.1:30081")),
    ];
    external_ips(""): [
        ("ext", udp!("192.168.99.11:53")),
        ("pod/default/a", udp!("192.168.99.11:53")),
        ("node1", udp!("192.168.99.11:53")),
    ];
    /// Who is in no range may use the node port and the cluster IP, not the load balancer's address.
    source_ranges(""): [
        ("ext", udp!("203.0.113.50:53")),
        ("far", udp!("203.0.113.50:53")),
        ("far", udp!("192.168.0.11:30083")),
        ("pod/default/a", udp!("203.0.113.50:53")),
        ("pod/default/a", udp!("10.96.0.83:53")),
        ("node1", udp!("203.0.113.50:53")),
    ];
    external_traffic_policy(""): [
        ("ext", udp!("192.168.0.11:30084")),
        ("ext", udp!("192.168.0.12:30084")),
        ("pod/default/a", udp!("192.168.0.11:30084")),
        ("pod/default/c", udp!("192.168.0.12:30084")),
        ("node2", udp!("192.168.0.12:30084")),
        ("node1", udp!("127.0.0.1:30084")),
    ];
    internal_traffic_policy(""): [
        ("pod/default/a", udp!("10.96.0.85:53")),
        ("pod/default/c", udp!("10.96.0.85:53")),
        ("node1", udp!("10.96.0.85:53")),
    ];
    nobody_serves(""): [
        ("pod/default/a", udp!("10.96.0.86:53")),
        ("node1", udp!("10.96.0.86:53")),
        ("ext", udp!("192.168.0.11:30086")),
        ("node1", udp!("127.0.0.1:30086")),
    ];
    who_ends_still_serves(""): [
        ("pod/default/a", udp!("10.96.0.87:53")),
        ("node2", udp!("10.96.0.87:53")),
    ];
    masquerade_all("masqueradeAll: true"): [
        ("pod/default/a", udp!("10.96.0.80:53")),
        ("pod/default/a", udp!("10.96.0.81:53")),
        ("pod/default/c", udp!("10.96.0.80:53")),
    ];
    addresses_of_node_ports("nodePortAddresses: [192.168.0.0/24]"): [
        ("ext", udp!("192.168.0.11:30081")),
        ("pod/default/a", udp!("10.244.1.1:30081")),
        ("node1", udp!("127.0.0.1:30080")),
        ("node1", udp!("192.168.0.11:30080")),
    ];
    no_node_ports_on_localhost("localhostNodePorts: false"): [
        ("ext", udp!("192.168.0.11:30080")),
        ("node1", udp!("127.0.0.1:30080")),
        ("node1", udp!("192.168.0.11:30080")),
    ];
    pods_by_their_bridge("detectLocalMode: BridgeInterface"): [
        ("pod/default/a", udp!("10.96.0.81:53")),
        ("pod/default/a", udp!("10.96.0.80:53")),
        ("ext", udp!("10.96.0.80:53")),
        ("pod/default/a", udp!("192.168.0.11:30084")),
    ];
    /// A pod of another node is a stranger.
    pods_by_their_node("detectLocalMode: NodeCIDR"): [
        ("pod/default/a", udp!("10.96.0.81:53")),
        ("pod/default/c", udp!("192.168.0.11:30084")),
    ];
    /// What a bridge hands to netfilter comes in by the bridge, whatever the port.
    pods_by_their_veth("detectLocalMode: InterfaceNamePrefix"): [
        ("pod/default/a", udp!("10.96.0.81:53")),
        ("pod/default/a", udp!("192.168.0.11:30084")),
    ];
    version_1_21("version: \"1.21\""): [
        ("pod/default/a", udp!("10.96.0.81:53")),
        ("ext", udp!("192.168.0.11:30081")),
        ("node1", udp!("127.0.0.1:30080")),
        ("pod/default/a", udp!("10.96.0.86:53")),
        ("ext", udp!("192.168.99.11:53")),
        ("pod/default/a", udp!("192.168.99.11:53")),
        ("ext", udp!("203.0.113.50:53")),
        ("ext", udp!("192.168.0.11:30084")),
        ("ext", udp!("192.168.0.12:30084")),
        ("pod/default/c", udp!("192.168.0.12:30084")),
        ("far", udp!("203.0.113.50:53")),
    ];
}
