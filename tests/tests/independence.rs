//! A cluster's parts are independent: one more pod, Service or node changes no endpoint choice, address, port, sequence
//! number, length or order of the others' packets. Times may move, and IP ids with them: a broadcast takes a hop more.

use podhop_parity::judge::decode::read_pcap;
use podhop_tests::scenarios;
use regex::Regex;
use sim_core::observe::Memory;
use sim_core::scenario::{self, Options};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The packets of every interface, by the name of its capture.
type Seen = BTreeMap<String, Vec<String>>;

/// A scenario with the files beside it.
#[derive(Clone)]
struct Files(BTreeMap<String, String>);

impl Files {
    fn read(folder: &str) -> Files {
        let folder = scenarios::root().join(folder);
        let entries = fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path());
        let yaml = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        Files(yaml.map(|path| (name(&path), fs::read_to_string(&path).expect("a text"))).collect())
    }

    /// With `old` replaced where it stands first, and `object` where the new text says OBJECT; so in another.yaml.
    fn with(&self, file: &str, (old, new): (&str, &str), object: &str) -> Files {
        let mut files = self.clone();
        let changed = self.0[file].replacen(old, &new.replace("OBJECT", object), 1);
        assert_ne!(changed, self.0[file], "{file} has no {old}");
        files.0.insert(file.to_owned(), changed);
        files.0.entry("another.yaml".to_owned()).or_insert_with(|| object.to_owned());
        files
    }

    fn run(&self, seed: Option<u64>) -> Seen {
        let files = self.0.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
        let (_, plan) = scenario::load(&Memory { files }, Path::new("scenario.yaml"), seed)
            .unwrap_or_else(|e| panic!("{}", e.render(false)));
        let mut out = Memory::default();
        let report = scenario::run(&plan, &mut out, Options::default(), &mut ()).expect("it is set up");
        assert_eq!(report.limit, None);
        let free = Regex::new(r"(ttl \d+) id \d+|TS val \d+ ecr (0\b)?\d*").expect("a pattern");
        let captures = out.files.iter().filter(|(name, _)| name.ends_with(".pcap") && !name.ends_with("/any.pcap"));
        captures
            .map(|(name, bytes)| {
                let records = read_pcap(bytes).expect("a capture");
                (name.clone(), records.iter().map(|r| free.replace_all(&r.text, "$1$2").into_owned()).collect())
            })
            .collect()
    }
}

const BUSY: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: busy}
spec:
  cluster:
    nodes:
      - {name: node-1, address: 192.168.0.11/24}
      - {name: node-2, address: 192.168.0.12/24}
      - {name: node-3, address: 192.168.0.13/24}
  links:
    - {between: [node-1/eth0, underlay/node-1], loss: 10%}
    - {between: [node-2/eth0, underlay/node-2], loss: 10%}
  switches: {underlay: {}}
  manifests:
    - apiVersion: v1
      kind: Pod
      metadata: {name: client}
      spec: {nodeName: node-1, containers: [{name: c, image: busybox}]}
    - apiVersion: v1
      kind: Pod
      metadata: {name: web-1, labels: {app: web}}
      spec: {nodeName: node-1, containers: [{name: w, image: nginx}]}
    - apiVersion: v1
      kind: Pod
      metadata: {name: web-2, labels: {app: web}}
      spec: {nodeName: node-2, containers: [{name: w, image: nginx}]}
    - apiVersion: v1
      kind: Pod
      metadata: {name: web-3, labels: {app: web}}
      spec: {nodeName: node-3, containers: [{name: w, image: nginx}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: web}
      spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
  traffic:
    - {from: pod/default/client, run: "curl -s -m 20 -o /dev/null http://web"}
    - {from: pod/default/client, run: "curl -s -m 20 -o /dev/null http://web"}
    - {from: pod/default/web-2, run: "curl -s -m 20 -o /dev/null http://web"}
    - {from: pod/default/web-2, run: "ping -c 5 -i 0.2 192.168.0.11"}
    - {from: node-2, run: "curl -s -m 20 -o /dev/null http://10.244.2.2"}
    - {from: node-3, run: "ping -c 2 192.168.0.12"}
  expect:
    - {capture: pod/default/client/eth0, filter: tcp, count: {min: 10}}
"#;

/// A scenario, and where one more object or node can stand in it: a text of a file, and what takes its place.
struct Case {
    name: &'static str,
    files: Files,
    objects: [(&'static str, (&'static str, &'static str)); 3],
    nodes: [(&'static str, &'static str); 2],
    /// The network of a node's pods, as it begins; an address of the nodes' network.
    free: (&'static str, &'static str),
}

fn cases() -> [Case; 5] {
    const FRONT: (&str, &str) = ("  manifests:\n", "  manifests:\n    - OBJECT\n");
    const END: (&str, &str) = ("  traffic:\n", "    - OBJECT\n  traffic:\n");
    let article = |name, middle| Case {
        name,
        files: Files::read(&format!("scenarios/articles/{name}")),
        objects: [("scenario.yaml", FRONT), ("scenario.yaml", middle), ("scenario.yaml", END)],
        nodes: [("[{name: node-1", "[OBJECT, {name: node-1"), ("/24}]", "/24}, OBJECT]")],
        free: ("10.244.0", "192.168.0.9/24"),
    };
    let second = ("    - apiVersion: v1\n", "    - OBJECT\n    - apiVersion: v1\n");
    let web_2 = "    - apiVersion: v1\n      kind: Pod\n      metadata: {name: web-2";
    let before_web_2 = "    - OBJECT\n    - apiVersion: v1\n      kind: Pod\n      metadata: {name: web-2";
    let kubenet = article("kubenet-service", second);
    [
        Case {
            name: "busy",
            files: Files([("scenario.yaml".to_owned(), BUSY.to_owned())].into()),
            nodes: [
                // The first node is the control plane, where CoreDNS is.
                ("      - {name: node-2", "      - OBJECT\n      - {name: node-2"),
                ("      - {name: node-3", "      - OBJECT\n      - {name: node-3"),
            ],
            ..article("hairpin", (web_2, before_web_2))
        },
        Case {
            objects: [
                ("scenario.yaml", ("[objects.yaml]", "[another.yaml, objects.yaml]")),
                ("objects.yaml", ("  podIP: 10.244.10.89\n", "  podIP: 10.244.10.89\n---\nOBJECT\n")),
                ("scenario.yaml", ("[objects.yaml]", "[objects.yaml, another.yaml]")),
            ],
            nodes: [
                ("      - {name: node-1", "      - OBJECT\n      - {name: node-1"),
                ("      - {name: node-2", "      - OBJECT\n      - {name: node-2"),
            ],
            free: ("10.244.10", "10.240.0.9/16"),
            ..kubenet
        },
        article("hairpin", second),
        article("no-endpoints", second),
        article("service-same-node", second),
    ]
}

/// Every capture of `before` is the same in `after`.
fn same(what: &str, before: &Seen, after: &Seen) {
    for (capture, packets) in before {
        let now = after.get(capture).unwrap_or_else(|| panic!("{what}: {capture} is gone"));
        let differs = packets.iter().zip(now).position(|(a, b)| a != b);
        if let Some(n) = differs {
            panic!("{what}: packet {n} of {capture} was\n  {}\nand is\n  {}", packets[n], now[n]);
        }
        assert_eq!(packets.len(), now.len(), "{what}: packets of {capture}");
    }
}

/// The scenario as it is, and with one more object in turn at its places.
fn compare(case: &Case, what: &str, object: &str, places: &[(&str, (&str, &str))], new: &str) {
    let before = case.files.run(None);
    assert!(before.values().map(Vec::len).sum::<usize>() > 10, "{}", case.name);
    for (file, place) in places {
        let after = case.files.with(file, *place, object).run(None);
        assert!(after.keys().any(|capture| capture.contains(new)), "{}: it is not there", case.name);
        same(&format!("{}: {what} for {:?}", case.name, place.0), &before, &after);
    }
}

/// Its node and its address are fixed, so it can stand anywhere; at the end it takes the next address.
#[test]
fn one_more_pod_changes_no_other() {
    for case in cases() {
        let pod = |address: &str| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: another, namespace: aaa}}, spec: {{nodeName: node-1, \
                 containers: [{{name: main, image: nginx}}]}}{address}}}"
            )
        };
        let fixed = pod(&format!(", status: {{podIP: {}.200}}", case.free.0));
        compare(&case, "a pod", &fixed, &case.objects, "pods/aaa/another");
        compare(&case, "a pod without address", &pod(""), &case.objects[2..], "pods/aaa/another");
    }
}

#[test]
fn one_more_service_changes_no_packet() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: another, namespace: aaa}, spec: {type: NodePort, \
                   selector: {app: nobody}, ports: [{name: a, port: 80}, {name: b, port: 53, protocol: UDP}]}}";
    for case in cases() {
        compare(&case, "a Service", service, &case.objects, "");
    }
}

/// It stands before others or last, and the scheduler gives it no pods.
#[test]
fn one_more_node_changes_no_packet() {
    let object = "{apiVersion: v1, kind: Node, metadata: {name: another}, spec: {unschedulable: true}}";
    for mut case in cases() {
        let (file, place) = case.objects[2];
        let node = format!("{{name: another, address: {}, podCIDR: 10.244.99.0/24}}", case.free.1);
        let places = case.nodes.map(|place| ("scenario.yaml", place));
        // A Node's object without its machine is an error: both are there, or none.
        let before = case.files.run(None);
        case.files = case.files.with(file, place, object);
        for (file, place) in places {
            let after = case.files.with(file, place, &node).run(None);
            same(&format!("{}: a node for {:?}", case.name, place.0), &before, &after);
        }
    }
}

/// What is the same above is drawn all the same: `--seed` reaches names, addresses and ports.
#[test]
fn another_seed_changes_much() {
    let busy = Files([("scenario.yaml".to_owned(), BUSY.to_owned())].into());
    let (one, same_seed, other) = (busy.run(Some(7)), busy.run(Some(7)), busy.run(Some(8)));
    assert_eq!(one, same_seed);
    let address = |seen: &Seen| {
        let packets = &seen["captures/pods/default/client/eth0.pcap"];
        packets.iter().find(|p| p.contains("Flags [S]")).cloned()
    };
    assert_ne!(address(&one), None);
    assert_ne!(address(&one), address(&other), "the Service's address follows from the seed");
    let veths = |seen: &Seen| -> Vec<String> { seen.keys().filter(|k| k.contains("/veth")).cloned().collect() };
    assert_ne!(veths(&one), veths(&other), "names of veths follow from the seed");
}
