//! Manifests as people write them and as `kubectl get -o yaml` prints them: all of them load, and docs/manifests.md
//! says what is used of them.

use podhop_tests::scenarios::root;
use regex::Regex;
use serde_json::Value;
use sim_core::cluster::object::{ClusterIp, Object};
use sim_core::scenario::SourceFile;
use sim_core::scenario::manifest::{self, Manifests};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

fn manifests(name: &str) -> Manifests {
    manifest::read(&SourceFile::new(name, text(name))).unwrap_or_else(|errors| panic!("{errors}"))
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join("tests/manifests").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn names(manifests: &Manifests) -> Vec<String> {
    manifests.objects.iter().map(|m| format!("{}/{}", m.object.kind(), m.object.meta().name)).collect()
}

#[test]
fn the_name_server_of_a_cluster() {
    let read = manifests("coredns.yaml");
    assert_eq!(names(&read), ["ConfigMap/coredns", "Deployment/coredns", "Service/kube-dns"]);
    let Object::Service(service) = &read.objects[2].object else { panic!("a Service") };
    assert_eq!(service.cluster_ip, ClusterIp::Fixed([10, 96, 0, 10].into()));
    let deployment = &read.objects[1];
    assert_eq!(deployment.without_effect.first().map(String::as_str), Some("metadata.creationTimestamp"));
    assert!(deployment.without_effect.iter().any(|path| path == "spec.template.spec.containers[0].volumeMounts"));
}

#[test]
fn a_dump_of_everything() {
    let read = manifests("nginx.yaml");
    let pod = "Pod/nginx-7c79c4bf97-x2b5q";
    let kinds = [
        "Namespace/default",
        "Node/node-2",
        "Deployment/nginx",
        pod,
        "Service/nginx",
        "Endpoints/nginx",
        "EndpointSlice/nginx-2wzrq",
    ];
    assert_eq!(names(&read), kinds);
    let passed_over: Vec<_> = read.passed_over.iter().map(|p| format!("{}/{}", p.kind, p.name)).collect();
    assert_eq!(passed_over, ["ReplicaSet/nginx-7c79c4bf97"]);
    let Object::Pod(pod) = &read.objects[3].object else { panic!("a Pod") };
    assert_eq!(pod.pod_ip, Some([10, 244, 1, 7].into()));
    assert_eq!(pod.meta.owner.as_ref().map(|o| o.kind.as_str()), Some("ReplicaSet"));
}

#[test]
fn what_people_write() {
    assert_eq!(names(&manifests("kube-proxy.yaml")), ["DaemonSet/kube-proxy"]);
    assert_eq!(names(&manifests("pod.yaml")), ["Pod/multi-container-pod", "Pod/shop"]);
}

/// What the page shows is what is printed.
#[test]
fn errors_look_as_the_page_shows() {
    let text =
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: 80\n    protocol: TPC\n";
    let errors = manifest::read(&SourceFile::new("web.yaml", text)).expect_err("an error");
    let page = fs::read_to_string(root().join("docs/manifests.md")).expect("the page");
    let shown = page.lines().skip_while(|line| *line != "## Errors").filter_map(|line| line.strip_prefix("    "));
    assert_eq!(errors.render(false).trim_end(), shown.collect::<Vec<_>>().join("\n"));
}

/// The paths of all values of a document, with `[]` for an item of a list.
fn paths(value: &Value, at: String, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                paths(value, if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, format!("{at}[]"), into)),
        _ => {
            into.insert(at);
        }
    }
}

/// docs/manifests.md: the fields of each kind. `every kind` is one too.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("docs/manifests.md")).expect("the page");
    let field = Regex::new(r"`([a-z][A-Za-z0-9.\[\]]*)`").expect("a pattern");
    let rows = text.lines().skip_while(|line| *line != "## The used fields").filter(|line| line.starts_with("| "));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        // What is left out of a probe is no path from the root.
        let paths = field.captures_iter(cells.get(2)?).map(|c| c[1].to_owned());
        let paths = paths.filter(|path| !["exec", "grpc", "restartPolicy", "spec"].contains(&path.as_str()));
        Some((cells[0].to_owned(), paths.collect()))
    };
    rows.skip(1).map_while(row).collect()
}

/// used.yaml has every field that is used, and no other; the page lists the same.
#[test]
fn the_page_lists_what_is_used() {
    for manifest in manifests("used.yaml").objects {
        let (kind, name) = (manifest.object.kind(), &manifest.object.meta().name);
        assert_eq!(manifest.without_effect, [""; 0], "{kind}/{name}");
    }
    let documents: Vec<Value> = serde_yaml::from_multiple(&text("used.yaml")).expect("YAML");
    let documented = documented();
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for document in &documents {
        let kind = document["kind"].as_str().expect("a kind");
        for kind in [kind, "every kind"] {
            paths(document, String::new(), used.entry(kind).or_default());
        }
    }
    let below = |path: &str, documented: &str| {
        path.strip_prefix(documented).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    for (kind, paths) in &used {
        let of_kind = documented.get(*kind).unwrap_or_else(|| panic!("the page has no row for {kind}"));
        for path in of_kind {
            assert!(paths.iter().any(|used| below(used, path)), "{kind}: {path} is not used");
        }
        let known = || of_kind.iter().chain(&documented["every kind"]);
        for path in paths.iter().filter(|_| *kind != "every kind") {
            assert!(known().any(|known| below(path, known)), "{kind}: {path} is not on the page");
        }
    }
    assert_eq!(used.len(), documented.len());
}
