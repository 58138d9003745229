use super::*;
use crate::cluster::kube_proxy::{Protocol, TrafficPolicy};
use crate::cluster::object::{
    ClusterIp, ConfigMap, Container, ContainerPort, DnsConfig, DnsPolicy, EndpointAddress, EndpointPort,
    EndpointSubset, Labels, Meta, Operator, Pod, PodSpec, PortRef, Probe, ProbeKind, Requirement, Selector, Service,
    ServiceKind, ServicePort, Workload, WorkloadKind,
};
use proptest::prelude::*;

fn source(text: &str) -> SourceFile {
    SourceFile::new("f.yaml", text)
}

fn manifests(text: &str) -> Manifests {
    read(&source(text)).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// The only object of a text.
fn object(text: &str) -> Object {
    let [manifest] = manifests(text).objects.try_into().expect("one object");
    manifest.object
}

/// What is wrong with a text: the first line that each error blames, and the message.
fn errors(text: &str) -> Vec<(String, String)> {
    let errors = read(&source(text)).err().unwrap_or_default();
    let blamed = |d: &Diagnostic| text[d.span.clone()].lines().next().unwrap_or_default().to_owned();
    errors.iter().map(|d| (blamed(d), d.message.clone())).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn named(name: &str) -> Meta {
    Meta { namespace: "default".to_owned(), name: name.to_owned(), ..Meta::default() }
}

/// A Pod around a container.
fn pod_of(container: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - {container}\n")
}

/// A Service around the lines of its spec.
fn service_of(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n{spec}\n")
}

fn spec(containers: Vec<Container>) -> PodSpec {
    PodSpec { service_account: "default".to_owned(), termination_grace_s: 30, containers, ..PodSpec::default() }
}

fn container(name: &str, image: &str) -> Container {
    Container { name: name.to_owned(), image: image.to_owned(), ..Container::default() }
}

#[test]
fn a_pod_with_defaults() {
    let text = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: web
    image: nginx
    ports:
    - containerPort: 80
    readinessProbe: {httpGet: {port: 80}}
";
    let how = ProbeKind::HttpGet { path: "/".to_owned(), port: PortRef::Number(80), host: None };
    let probe =
        Probe { how, initial_delay_s: 0, period_s: 10, timeout_s: 1, success_threshold: 1, failure_threshold: 3 };
    let port = ContainerPort { container_port: 80, ..ContainerPort::default() };
    let web = Container { ports: vec![port], readiness: Some(probe), ..container("web", "nginx") };
    let meta = Meta { labels: labels(&[("app", "web")]), ..named("web") };
    assert_eq!(object(text), Object::Pod(Pod { meta, node_name: None, pod_ip: None, spec: spec(vec![web]) }));
}

#[test]
fn all_of_a_pod() {
    let text = "
apiVersion: v1
kind: Pod
metadata:
  name: p
  namespace: shop
  annotations: {Note: why}
  ownerReferences:
  - {apiVersion: v1, kind: Node, name: n1, uid: a}
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-5d, uid: b, controller: true, blockOwnerDeletion: true}
spec:
  nodeName: n1
  hostNetwork: true
  nodeSelector: {disk: ssd}
  dnsPolicy: None
  dnsConfig: {nameservers: [10.0.0.1], searches: [a.b, .], options: [{name: ndots, value: '2'}, {name: rotate}]}
  hostAliases: [{ip: 10.0.0.9, hostnames: [db, db.local]}]
  hostname: h
  subdomain: s
  serviceAccountName: sa
  terminationGracePeriodSeconds: -5
  initContainers:
  - {name: i, image: busybox, command: [sh, -c], args: ['true', '']}
  - {name: proxy, image: envoy, restartPolicy: Always}
  containers:
  - name: c
    image: nginx:1.25
    ports: [{name: web, containerPort: 8080, protocol: UDP}]
    securityContext: {runAsUser: 101, runAsGroup: 7}
    livenessProbe: {tcpSocket: {port: web}, initialDelaySeconds: 5, periodSeconds: 0, failureThreshold: 9}
    readinessProbe: {httpGet: {path: /healthz, host: 10.0.0.7, port: web, scheme: HTTPS}, successThreshold: 2}
status: {podIP: 10.244.1.7}
";
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let probe = |how, delay, successes, failures| {
        let (period_s, timeout_s) = (10, 1);
        let (success_threshold, failure_threshold) = (successes, failures);
        Some(Probe { how, initial_delay_s: delay, period_s, timeout_s, success_threshold, failure_threshold })
    };
    let port =
        ContainerPort { name: "web".to_owned(), container_port: 8080, host_port: Some(8080), protocol: Protocol::Udp };
    let web = PortRef::Name("web".to_owned());
    let expected = Pod {
        meta: Meta {
            namespace: "shop".to_owned(),
            annotations: labels(&[("Note", "why")]),
            owner: Some(OwnerReference { kind: "ReplicaSet".to_owned(), name: "web-5d".to_owned() }),
            ..named("p")
        },
        node_name: Some("n1".to_owned()),
        pod_ip: Some([10, 244, 1, 7].into()),
        spec: PodSpec {
            host_network: true,
            node_selector: labels(&[("disk", "ssd")]),
            dns_policy: DnsPolicy::None,
            dns_config: DnsConfig {
                nameservers: vec![[10, 0, 0, 1].into()],
                searches: strings(&["a.b", "."]),
                options: strings(&["ndots:2", "rotate"]),
            },
            host_aliases: vec![([10, 0, 0, 9].into(), strings(&["db", "db.local"]))],
            hostname: Some("h".to_owned()),
            subdomain: Some("s".to_owned()),
            service_account: "sa".to_owned(),
            termination_grace_s: 1,
            init_containers: vec![
                Container {
                    command: strings(&["sh", "-c"]),
                    args: strings(&["true", ""]),
                    ..container("i", "busybox")
                },
                Container { sidecar: true, ..container("proxy", "envoy") },
            ],
            containers: vec![Container {
                ports: vec![port],
                run_as_user: Some(101),
                run_as_group: Some(7),
                liveness: probe(ProbeKind::TcpSocket { port: web }, 5, 1, 9),
                readiness: probe(ProbeKind::Other, 0, 2, 3),
                ..container("c", "nginx:1.25")
            }],
        },
    };
    assert_eq!(object(text), Object::Pod(expected));
}

#[test]
fn services() {
    let port = |name: &str, protocol, port, target_port, node_port| ServicePort {
        name: name.to_owned(),
        protocol,
        port,
        target_port,
        node_port,
    };
    let simple = Service {
        meta: named("web"),
        kind: ServiceKind::ClusterIp,
        cluster_ip: ClusterIp::Any,
        ports: vec![port("", Protocol::Tcp, 80, PortRef::Number(80), None)],
        selector: None,
        external_ips: vec![],
        load_balancer_ips: vec![],
        load_balancer_source_ranges: vec![],
        affinity_s: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready: false,
    };
    let full = Service {
        kind: ServiceKind::LoadBalancer { node_ports: false },
        cluster_ip: ClusterIp::Fixed([10, 96, 0, 7].into()),
        ports: vec![
            port("http", Protocol::Tcp, 80, PortRef::Name("web".to_owned()), Some(30080)),
            port("dns", Protocol::Udp, 53, PortRef::Number(5353), None),
        ],
        selector: Some(labels(&[("app", "web")])),
        external_ips: vec![[198, 51, 100, 1].into()],
        load_balancer_ips: vec![[203, 0, 113, 9].into()],
        load_balancer_source_ranges: vec!["192.0.2.0/24".parse().expect("a network")],
        affinity_s: Some(60),
        internal_policy: TrafficPolicy::Local,
        external_policy: TrafficPolicy::Local,
        health_check_node_port: Some(31000),
        publish_not_ready: true,
        ..simple.clone()
    };
    let full_text = "  type: LoadBalancer
  allocateLoadBalancerNodePorts: false
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7]
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080}
  - {name: dns, port: 53, targetPort: 5353, protocol: UDP, nodePort: 0}
  selector: {app: web}
  externalIPs: [198.51.100.1]
  loadBalancerSourceRanges: [' 192.0.2.7/24 ']
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  publishNotReadyAddresses: true
status:
  loadBalancer:
    ingress: [{hostname: lb.example.com}, {ip: 203.0.113.9, ipMode: VIP}, {ip: 203.0.113.10, ipMode: Proxy}]";
    let alias = ServiceKind::ExternalName("db.example.com".to_owned());
    for (text, want) in [
        ("  ports: [{port: 80}]", simple.clone()),
        ("  selector: {}\n  ports: [{port: 80, targetPort: 0}]", simple.clone()),
        ("  ports: [{port: 80}]\n  sessionAffinity: ClientIP", Service { affinity_s: Some(10_800), ..simple.clone() }),
        ("  clusterIP: None", Service { cluster_ip: ClusterIp::Headless, ports: vec![], ..simple.clone() }),
        ("  clusterIPs: [None]", Service { cluster_ip: ClusterIp::Headless, ports: vec![], ..simple.clone() }),
        (
            "  type: ExternalName\n  externalName: db.example.com.",
            Service { kind: alias, ports: vec![], ..simple.clone() },
        ),
        (
            "  type: NodePort\n  ports: [{port: 80}]\n  externalTrafficPolicy: Local",
            Service { kind: ServiceKind::NodePort, external_policy: TrafficPolicy::Local, ..simple.clone() },
        ),
        (full_text, full),
    ] {
        assert_eq!(object(&service_of(text)), Object::Service(want), "{text}");
    }
}

#[test]
fn workloads() {
    let deployment = |spec: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n{spec}  template:\n    metadata: \
             {{labels: {{app: web, tier: a}}}}\n    spec: {{containers: [{{name: c, image: i}}]}}\n"
        )
    };
    let want = |replicas, labels, expressions| {
        let selector = Selector { labels, expressions };
        let template_meta = Meta { labels: self::labels(&[("app", "web"), ("tier", "a")]), ..Meta::default() };
        let (kind, template) = (WorkloadKind::Deployment { replicas }, spec(vec![container("c", "i")]));
        Object::Workload(Workload { kind, meta: named("web"), selector, template_meta, template })
    };
    let text = deployment("  selector: {matchLabels: {app: web}}\n");
    assert_eq!(object(&text), want(1, labels(&[("app", "web")]), vec![]));
    let daemon_set = object(&text.replace("Deployment", "DaemonSet"));
    assert_eq!(daemon_set.kind(), "DaemonSet");
    let text = "
  replicas: 3
  selector:
    matchExpressions:
    - {key: tier, operator: In, values: [a, b]}
    - {key: tier, operator: NotIn, values: [c]}
    - {key: app, operator: Exists}
    - {key: x, operator: DoesNotExist}
";
    let requirement = |key: &str, operator| Requirement { key: key.to_owned(), operator };
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let expressions = vec![
        requirement("tier", Operator::In(strings(&["a", "b"]))),
        requirement("tier", Operator::NotIn(strings(&["c"]))),
        requirement("app", Operator::Exists),
        requirement("x", Operator::DoesNotExist),
    ];
    assert_eq!(object(&deployment(text)), want(3, Labels::new(), expressions));
}

#[test]
fn endpoints() {
    let address = |ip: [u8; 4], ready| EndpointAddress {
        ip: ip.into(),
        hostname: None,
        node_name: None,
        ready,
        serving: ready,
        terminating: false,
        for_zones: vec![],
        target: None,
    };
    let port = |name: &str, protocol, port| EndpointPort { name: name.to_owned(), protocol, port };
    let text = "
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: shop}
subsets:
- addresses:
  - {ip: 10.0.0.1, hostname: db-0, nodeName: n1, targetRef: {kind: Pod, name: db-0}}
  notReadyAddresses: [{ip: 10.0.0.2}]
  ports: [{name: sql, port: 5432}, {name: udp, port: 53, protocol: UDP}]
- addresses: [{ip: 10.0.0.3}]
";
    let first = EndpointAddress {
        hostname: Some("db-0".to_owned()),
        node_name: Some("n1".to_owned()),
        target: Some(("shop".to_owned(), "db-0".to_owned())),
        ..address([10, 0, 0, 1], true)
    };
    let subsets = vec![
        EndpointSubset {
            ports: vec![port("sql", Protocol::Tcp, 5432), port("udp", Protocol::Udp, 53)],
            addresses: vec![first, address([10, 0, 0, 2], false)],
        },
        EndpointSubset { ports: vec![], addresses: vec![address([10, 0, 0, 3], true)] },
    ];
    let Object::Endpoints(got) = object(text) else { panic!("an Endpoints") };
    assert_eq!(got.subsets, subsets);

    let text = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{port: 5432}, {name: all}]
endpoints:
- addresses: [10.0.0.1, 10.0.0.9]
- addresses: [10.0.0.2]
  conditions: {ready: false, serving: true, terminating: true}
  hints: {forZones: [{name: a}]}
  targetRef: {kind: Pod, namespace: x, name: z}
";
    let second = EndpointAddress {
        serving: true,
        terminating: true,
        for_zones: vec!["a".to_owned()],
        target: Some(("x".to_owned(), "z".to_owned())),
        ..address([10, 0, 0, 2], false)
    };
    let Object::EndpointSlice(got) = object(text) else { panic!("an EndpointSlice") };
    assert_eq!(got.service.as_deref(), Some("db"));
    assert_eq!(got.ports, [port("", Protocol::Tcp, 5432)]);
    assert_eq!(got.endpoints, [address([10, 0, 0, 1], true), second]);
}

#[test]
fn the_other_kinds() {
    let cluster_wide = |name: &str| Meta { name: name.to_owned(), ..Meta::default() };
    assert_eq!(
        object("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"),
        Object::Namespace(cluster_wide("shop"))
    );
    let node = |rest: &str| object(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n.1}}\n{rest}"));
    let plain = crate::cluster::object::Node { meta: cluster_wide("n.1"), ..Default::default() };
    assert_eq!(node(""), Object::Node(plain.clone()));
    let text = "
spec: {podCIDR: 10.244.1.9/24, podCIDRs: [10.244.1.9/24, 'fd00::/64'], unschedulable: true}
status:
  addresses:
  - {type: Hostname, address: n1}
  - {type: InternalIP, address: 'fd00::1'}
  - {type: InternalIP, address: 192.168.0.11}
";
    let pod_cidr = Some("10.244.1.0/24".parse().expect("a network"));
    let full = crate::cluster::object::Node {
        internal_ip: Some([192, 168, 0, 11].into()),
        pod_cidr,
        unschedulable: true,
        ..plain
    };
    assert_eq!(node(text), Object::Node(full));
    let text = "
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
    }
  empty:
";
    let data = labels(&[("Corefile", ".:53 {\n}\n"), ("empty", "")]);
    let meta = Meta { namespace: "kube-system".to_owned(), ..named("coredns") };
    assert_eq!(object(text), Object::ConfigMap(ConfigMap { meta, data }));
}

#[test]
fn documents_and_lists() {
    let text = "
# nothing but a comment
---
---
apiVersion: v1
kind: List
metadata: {resourceVersion: ''}
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: a}}
- {apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-5d, ownerReferences: [
    {apiVersion: apps/v1, kind: Deployment, name: web, uid: u, controller: true}]}, spec: {replicas: 1}}
---
apiVersion: v1
kind: NamespaceList
items:
- metadata: {name: &b b}
- {apiVersion: v1, kind: Namespace, metadata: {name: c}}
--- {apiVersion: v1, kind: Namespace, metadata: {name: &b d, labels: {same: *b}}}
";
    let read = manifests(text);
    let names: Vec<_> = read.objects.iter().map(|m| m.object.meta().name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let owner = OwnerReference { kind: "Deployment".to_owned(), name: "web".to_owned() };
    assert_eq!(read.passed_over, [PassedOver { kind: "ReplicaSet".to_owned(), name: "web-5d".to_owned(), owner }]);
    assert!(manifests("").objects.is_empty());
}

#[test]
fn what_has_no_effect_is_named() {
    let text = "
apiVersion: v1
kind: Pod
metadata:
  name: p
  creationTimestamp: null
  uid: 7a
  managedFields: [{manager: kubectl, fieldsV1: {'f:spec': {}}}]
spec:
  tolerations: []
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - {name: c, image: i, resources: {limits: {cpu: 0.5, memory: 1Gi}}, ports: [{containerPort: 80, hostIP: 10.0.0.1}]}
status: {podIP: 10.0.0.1, phase: Running, podIPs: [{ip: 10.0.0.1}]}
";
    assert_eq!(
        manifests(text).objects[0].without_effect,
        [
            "metadata.uid",
            "metadata.managedFields",
            "spec.volumes",
            "spec.containers[0].resources",
            "spec.containers[0].ports[0].hostIP",
            "status.phase",
            "status.podIPs",
        ]
    );
}

#[test]
fn places_of_fields() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app.kubernetes.io/name: w}}
spec:
  type: NodePort
  clusterIP: 10.96.0.7
  ports:
  - {name: a, port: 80, nodePort: 30080}
  - port: 81
    name: b
";
    let read = manifests(text);
    let manifest = &read.objects[0];
    for (path, want) in [
        ("metadata.name", "web"),
        ("metadata.labels", "{app.kubernetes.io/name: w}"),
        ("metadata.labels[app.kubernetes.io/name]", "w"),
        ("spec.clusterIP", "10.96.0.7"),
        ("spec.ports[0].nodePort", "30080"),
        ("spec.ports[1].port", "81"),
        // What is not there is missing in the field around it.
        ("spec.ports[1].nodePort", "port: 81\n    name: b"),
        ("spec.selector", "spec"),
        ("spec.ports[9]", "ports"),
        ("", text.trim()),
        // What is no path leads as far as it can.
        ("spec.ports[", "ports"),
        ("..", text.trim()),
    ] {
        assert_eq!(&text[manifest.span(path)], want, "{path}");
    }
    assert_eq!(manifest.source().path(), "f.yaml");
}

mod refused;

proptest! {
    /// Whatever is put for a word of a manifest, it is read or refused.
    #[test]
    fn no_input_panics(line in 0usize..200, word in "[-a-zA-Z0-9:{}\\[\\]&*!|>'\" \n.]{0,12}", cut in any::<bool>()) {
        let full = include_str!("../../../../tests/manifests/coredns.yaml");
        let mut lines: Vec<_> = full.lines().map(str::to_owned).collect();
        let line = line % lines.len();
        if cut {
            lines.remove(line);
        } else {
            let key = lines[line].find(':').map_or(0, |at| at + 2).min(lines[line].len());
            lines[line].replace_range(key.., &word);
        }
        if let Err(errors) = read(&source(&lines.join("\n"))) {
            prop_assert!(!errors.is_empty() && !errors.render(false).is_empty());
        }
    }
}
