//! What the API server refuses, in its words, and what of it is blamed.

use super::*;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
     '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

fn check(text: &str, want: &[(&str, &str)]) {
    let want: Vec<_> = want.iter().map(|(blamed, message)| ((*blamed).to_owned(), (*message).to_owned())).collect();
    assert_eq!(errors(text), want, "{text}");
}

#[test]
fn documents() {
    let kinds = "the kind \"Ingress\" in version \"networking.k8s.io/v1\" is not simulated";
    for (text, want) in [
        ("hello\n", &[("hello", "a manifest is a map")][..]),
        ("- a\n", &[("- a", "a manifest is a map")]),
        ("kind: Pod\n", &[("kind: Pod", "Object 'apiVersion' is missing")]),
        ("apiVersion: v1\nkind: 7\n", &[("7", "Object 'kind' is missing")]),
        ("apiVersion: networking.k8s.io/v1\nkind: Ingress\n", &[("Ingress", kinds)]),
        (
            "apiVersion: extensions/v1beta1\nkind: Deployment\n",
            &[("extensions/v1beta1", "no matches for kind \"Deployment\" in version \"extensions/v1beta1\"")],
        ),
        ("apiVersion: v1\nkind: pod\n", &[("pod", "no matches for kind \"pod\" in version \"v1\"")]),
        ("apiVersion: v1\nkind: List\nitems: 7\n", &[("7", "`items` must be a list")]),
        ("apiVersion: v1\nkind: List\nitem: []\n", &[("item", "unknown field \"item\"")]),
        // The documents before what is no YAML are looked at.
        (
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a_b}\n---\nx: [\n",
            &[("a_b", &format!("metadata.name: Invalid value: \"a_b\": {LABEL}")), ("[", "this `[` is not closed")],
        ),
    ] {
        check(text, want);
    }
}

#[test]
fn fields() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: \
                      {a: b}}\n  replica: 3\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      contianers: \
                      []\n      volumes: [{name: v, configMap: {defaultMode: 0644}}]\n";
    check(
        deployment,
        &[
            ("replica", "unknown field \"spec.replica\""),
            ("contianers", "unknown field \"spec.template.spec.contianers\""),
        ],
    );
    for (container, want) in [
        ("{name: yes, image: i}", ("yes", "`spec.containers[0].name` must be a string, found true or false")),
        ("{name: c, image: 1.25}", ("1.25", "`spec.containers[0].image` must be a string, found a number")),
        ("{name: c, image: i, command: ls}", ("ls", "`spec.containers[0].command` must be a list, found a string")),
        (
            "{name: c, image: i, tty: 'yes'}",
            ("'yes'", "`spec.containers[0].tty` must be true or false, found a string"),
        ),
        (
            "{name: c, image: i, ports: [{containerPort: '80'}]}",
            ("'80'", "`spec.containers[0].ports[0].containerPort` must be a whole number, found a string"),
        ),
        (
            "{name: c, image: i, ports: [{containerPort: 4294967376}]}",
            ("4294967376", "`spec.containers[0].ports[0].containerPort` does not fit into 32 bits"),
        ),
        ("{name: c, image: i, Ports: []}", ("Ports", "unknown field \"spec.containers[0].Ports\"")),
        ("c", ("c", "`spec.containers[0]` must be a map, found a string")),
    ] {
        check(&pod_of(container), &[want]);
    }
    let hints = read(&source(deployment)).err().unwrap_or_default();
    let hints: Vec<_> = hints.iter().filter_map(|d| d.hint.as_deref()).collect();
    assert_eq!(hints, ["did you mean `replicas`?", "did you mean `containers`?"]);
}

#[test]
fn metadata() {
    let of = |kind: &str, metadata: &str| format!("apiVersion: v1\nkind: {kind}\nmetadata: {metadata}\n");
    for (text, want) in [
        (of("ConfigMap", "{name: Web_1}"), ("Web_1", format!("metadata.name: Invalid value: \"Web_1\": {SUBDOMAIN}"))),
        (of("ConfigMap", "{}"), ("metadata", "metadata.name: Required value: name or generateName is required".into())),
        (
            of("ConfigMap", "{name: a, namespace: a.b}"),
            ("a.b", "metadata.namespace: Invalid value: \"a.b\": must not contain dots".into()),
        ),
        (
            of("Namespace", "{name: a, namespace: b}"),
            ("b", "metadata.namespace: Forbidden: not allowed on this type".into()),
        ),
        (
            of("ConfigMap", "{name: a, labels: {app: a b}}"),
            ("a b", format!("metadata.labels: Invalid value: \"a b\": {LABEL_VALUE}")),
        ),
        (
            of("ConfigMap", "{name: a, annotations: {/x: ''}}"),
            ("''", "metadata.annotations: Invalid value: \"/x\": prefix part must be non-empty".into()),
        ),
        (
            format!("{}data: {{..: x}}\n", of("ConfigMap", "{name: a}")),
            ("x", "data[..]: Invalid value: \"..\": must not be '..'".into()),
        ),
    ] {
        check(&text, &[(want.0, &want.1)]);
    }
    let hint = read(&source(&of("ConfigMap", "{name: Web_1}"))).err().unwrap_or_default();
    assert_eq!(hint.iter().next().and_then(|d| d.hint.as_deref()), Some("write `web-1`"));
    let long = |n: usize| format!("{}data: {{a: {}}}\n", of("ConfigMap", "{name: a}"), "x".repeat(n));
    assert!(read(&source(&long(1 << 20))).is_ok());
    check(&long((1 << 20) + 1), &[("data", "[]: Too long: must have at most 1048576 bytes")]);
}

#[test]
fn services() {
    let name = "apiVersion: v1\nkind: Service\nmetadata: {name: 1a}\nspec: {ports: [{port: 80}]}\n";
    assert!(errors(name)[0].1.starts_with("metadata.name: Invalid value: \"1a\": a DNS-1035 label must consist of"));
    let same = "core.ServicePort{Name:\"\", Protocol:\"TCP\", AppProtocol:(*string)(nil), Port:80, \
                TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}, NodePort:0}";
    let same = format!("spec.ports[1]: Duplicate value: {same}");
    let ip = format!("spec.clusterIPs[0]: Invalid value: \"10.96.0\": {IP}");
    for (spec, want) in [
        ("  type: ClusterIP", &[("spec", "spec.ports: Required value")][..]),
        (
            "  ports: [{port: 80, protocol: TPC}]",
            &[(
                "TPC",
                "spec.ports[0].protocol: Unsupported value: \"TPC\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            )],
        ),
        (
            "  ports: [{port: 80, name: a}, {port: 80, name: a}]",
            &[("{port: 80, name: a}", &same), ("a", "spec.ports[1].name: Duplicate value: \"a\"")],
        ),
        (
            "  ports: [{port: 80}, {port: 81}]",
            &[
                ("{port: 80}", "spec.ports[0].name: Required value"),
                ("{port: 81}", "spec.ports[1].name: Required value"),
            ],
        ),
        (
            "  ports: [{port: 65536}]",
            &[("65536", "spec.ports[0].port: Invalid value: 65536: must be between 1 and 65535, inclusive")],
        ),
        (
            "  ports: [{port: 80, targetPort: a--b}]",
            &[("a--b", "spec.ports[0].targetPort: Invalid value: \"a--b\": must not contain consecutive hyphens")],
        ),
        (
            "  ports: [{port: 80, nodePort: 30080}]",
            &[("30080", "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'")],
        ),
        (
            "  type: NodePort\n  ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}]",
            &[("30080", "spec.ports[1].nodePort: Duplicate value: 30080")],
        ),
        ("  ports: [{port: 80}]\n  clusterIP: 10.96.0", &[("10.96.0", &ip)]),
        (
            "  ports: [{port: 80}]\n  clusterIP: fd00::7",
            &[("fd00::7", "spec.clusterIPs[0]: `fd00::7` is IPv6, which is not simulated")],
        ),
        (
            "  ports: [{port: 80}]\n  clusterIP: 10.96.0.7\n  clusterIPs: [10.96.0.8]",
            &[(
                "[10.96.0.8]",
                "spec.clusterIPs: Invalid value: []string{\"10.96.0.8\"}: first value must match `clusterIP`",
            )],
        ),
        (
            "  ports: [{port: 80}]\n  type: NodePort\n  clusterIP: None",
            &[("None", "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services")],
        ),
        ("  type: ExternalName", &[("spec", "spec.externalName: Required value")]),
        (
            "  ports: [{port: 80}]\n  externalIPs: [127.0.0.1]",
            &[(
                "127.0.0.1",
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, \
                 ::1/128)",
            )],
        ),
        (
            "  ports: [{port: 80}]\n  externalTrafficPolicy: Local",
            &[(
                "Local",
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible \
                 services",
            )],
        ),
        (
            "  ports: [{port: 80}]\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 9}}",
            &[(
                "{clientIP: {timeoutSeconds: 9}}",
                "spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None",
            )],
        ),
        (
            "  ports: [{port: 80}]\n  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: \
             {timeoutSeconds: 86401}}",
            &[(
                "86401",
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and \
                 less than 86400",
            )],
        ),
        (
            "  ports: [{port: 80}]\n  loadBalancerSourceRanges: [10.0.0.0/40]",
            &[
                (
                    "[10.0.0.0/40]",
                    "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                ),
                (
                    "10.0.0.0/40",
                    "spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0/40\": must be a valid CIDR value, \
                     (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ),
            ],
        ),
        (
            "  ports: [{port: 80}]\n  healthCheckNodePort: 31000",
            &[(
                "31000",
                "spec.healthCheckNodePort: Invalid value: 31000: may only be set when `type` is 'LoadBalancer' and \
                 `externalTrafficPolicy` is 'Local'",
            )],
        ),
        ("  ports: [{port: 80}]\n  ipFamilies: [IPv6]", &[("IPv6", "spec.ipFamilies[0]: IPv6 is not simulated")]),
    ] {
        check(&service_of(spec), want);
    }
}

#[test]
fn pods() {
    for (container, want) in [
        ("{image: i}", &[("{image: i}", "spec.containers[0].name: Required value")][..]),
        ("{name: c}", &[("{name: c}", "spec.containers[0].image: Required value")]),
        ("{name: C, image: i}", &[("C", &format!("spec.containers[0].name: Invalid value: \"C\": {LABEL}"))]),
        (
            "{name: c, image: i, ports: [{hostPort: 80}]}",
            &[("{hostPort: 80}", "spec.containers[0].ports[0].containerPort: Required value")],
        ),
        (
            "{name: c, image: i, ports: [{name: a, containerPort: 80}, {name: a, containerPort: 81}]}",
            &[("a", "spec.containers[0].ports[1].name: Duplicate value: \"a\"")],
        ),
        (
            "{name: c, image: i, livenessProbe: {}}",
            &[("{}", "spec.containers[0].livenessProbe: Required value: must specify a handler type")],
        ),
        (
            "{name: c, image: i, livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}}",
            &[(
                "{port: 1}",
                "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            )],
        ),
        (
            "{name: c, image: i, livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2, periodSeconds: -1}}",
            &[
                ("2", "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
                (
                    "-1",
                    "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal \
                     to 0",
                ),
            ],
        ),
        (
            "{name: c, image: i, readinessProbe: {httpGet: {scheme: http}}}",
            &[
                (
                    "httpGet",
                    "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, \
                     inclusive",
                ),
                (
                    "http",
                    "spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: \"http\": supported values: \
                     \"HTTP\", \"HTTPS\"",
                ),
            ],
        ),
        (
            "{name: c, image: i}\n  - {name: c, image: i}\n  hostNetwork: true\n  dnsPolicy: None",
            &[
                ("spec", "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
                ("c", "spec.containers[1].name: Duplicate value: \"c\""),
            ],
        ),
        (
            "{name: c, image: i, ports: [{containerPort: 80, hostPort: 81}]}\n  hostNetwork: true",
            &[(
                "80",
                "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when \
                 `hostNetwork` is true",
            )],
        ),
        (
            "{name: c, image: i}\n  restartPolicy: Sometimes",
            &[(
                "Sometimes",
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \
                 \"OnFailure\"",
            )],
        ),
    ] {
        check(&pod_of(container), want);
    }
    let empty = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n";
    check(empty, &[("apiVersion: v1", "spec.containers: Required value")]);
}

#[test]
fn workloads() {
    let deployment = |spec: &str| format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\n{spec}");
    let template = "  template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: i}]}}\n";
    check(
        &deployment(&format!("spec:\n  replicas: -1\n{template}")),
        &[
            ("spec", "spec.selector: Required value"),
            ("-1", "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ],
    );
    check(
        &deployment(&format!("spec:\n  selector: {{matchLabels: {{app: b}}}}\n{template}")),
        &[(
            "{app: a}",
            "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"a\"}: `selector` does not match \
             template `labels`",
        )],
    );
    check(
        &deployment(&format!("spec:\n  selector: {{}}\n{template}")),
        &[(
            "{}",
            "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), \
             MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for deployment",
        )],
    );
    let expressions = "[{key: app, operator: Is, values: [b]}, {key: app, operator: In}, {key: app, operator: Exists, \
                       values: [c]}]";
    check(
        &deployment(&format!(
            "spec:\n  selector: {{matchExpressions: {expressions}, matchLabels: {{app: a}}}}\n{template}"
        )),
        &[
            ("Is", "spec.selector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator"),
            (
                "{key: app, operator: In}",
                "spec.selector.matchExpressions[1].values: Required value: must be specified when `operator` is 'In' \
                 or 'NotIn'",
            ),
            (
                "[c]",
                "spec.selector.matchExpressions[2].values: Forbidden: may not be specified when `operator` is 'Exists' \
                 or 'DoesNotExist'",
            ),
            (
                "{app: a}",
                "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"a\"}: `selector` does not \
                 match template `labels`",
            ),
        ],
    );
    let never = template.replace("spec: {", "spec: {restartPolicy: Never, ");
    check(
        &deployment(&format!("spec:\n  selector: {{matchLabels: {{app: a}}}}\n{never}")),
        &[("Never", "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"")],
    );
}

#[test]
fn endpoints() {
    let slice =
        |rest: &str| format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s}}\n{rest}\n");
    check(&slice(""), &[("apiVersion: discovery.k8s.io/v1", "addressType: Required value")]);
    check(&slice("addressType: IPv6"), &[("IPv6", "addressType: the address type IPv6 is not simulated")]);
    let two = "addressType: IPv4\nports: [{port: 80}, {port: 81}]\nendpoints: [{addresses: []}, {addresses: [x, \
               169.254.0.1]}]";
    check(
        &slice(two),
        &[
            ("{port: 81}", "ports[1].name: Duplicate value: \"\""),
            ("[]", "endpoints[0].addresses: Required value: must contain at least 1 address"),
            ("x", &format!("endpoints[1].addresses[0]: Invalid value: \"x\": {IP}")),
            (
                "169.254.0.1",
                "endpoints[1].addresses[1]: Invalid value: \"169.254.0.1\": may not be in the link-local range \
                 (169.254.0.0/16, fe80::/10)",
            ),
        ],
    );
    let many = format!("addressType: IPv4\nendpoints: [{}]", "{addresses: [10.0.0.1]}, ".repeat(1001));
    assert_eq!(errors(&slice(&many))[0].1, "endpoints: Too many: 1001: must have at most 1000 items");
    let text = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: e}\nsubsets: [{ports: [{port: 1}, {name: b}]}]\n";
    check(
        text,
        &[
            (
                "{ports: [{port: 1}, {name: b}]}",
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            ),
            ("{port: 1}", "subsets[0].ports[0].name: Required value"),
            ("{name: b}", "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ],
    );
}

/// What is long is cut in messages, and takes no longer than its length says.
#[test]
fn long_names() {
    let map = |field: &str, entry: &dyn Fn(usize) -> String| {
        let entries: String = (0..100_000).map(|n| format!("  {}\n", entry(n))).collect();
        format!("apiVersion: v1\nkind: ConfigMap\n{field}:\n{entries}")
    };
    let unknown = format!("apiVersion: v1\nkind: Pod\n? {}\n: 1\n", ".".repeat(500_000));
    let key =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{? {} : 7}}\n", ".".repeat(500_000));
    let labels = map("metadata", &|n| format!("l{n}: 1"));
    let data = map("data", &|n| format!("k{n}: v"));
    let managed =
        map("metadata", &|n| if n == 0 { "managedFields:\n  - fieldsV1:".into() } else { format!("    f:{n}: {{}}") });
    for text in [unknown, key, labels, data, managed] {
        for error in read(&source(&text)).err().iter().flatten() {
            assert!(error.message.len() < 1000, "{} bytes", error.message.len());
        }
    }
}

#[test]
fn limits() {
    let one = "--- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n";
    assert!(read(&source(&one.repeat(MAX_OBJECTS))).is_ok());
    let list = |n: usize| {
        let item = "- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n";
        format!("apiVersion: v1\nkind: List\nitems:\n{}", item.repeat(n))
    };
    let message = format!("the manifests hold more than {MAX_OBJECTS} objects (MAX_OBJECTS)");
    let is_over = |text: &str| errors(text).iter().map(|(_, m)| m.clone()).collect::<Vec<_>>() == [message.clone()];
    assert!(is_over(&list(MAX_OBJECTS + 2)));
    let typed = list(MAX_OBJECTS + 2).replace("List", "NamespaceList").replace("apiVersion: v1, kind: Namespace, ", "");
    assert!(is_over(&typed));
    assert_eq!(errors(&"--- {}\n".repeat(tree::MAX_DOCUMENTS + 1)).len(), crate::scenario::diag::MAX_DIAGNOSTICS);
    let documents = "---\n".repeat(tree::MAX_DOCUMENTS + 1);
    let message = format!("the file has more than {} documents (MAX_DOCUMENTS)", tree::MAX_DOCUMENTS);
    assert_eq!(errors(&documents)[0].1, message);
}
