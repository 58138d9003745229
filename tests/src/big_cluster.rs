//! A cluster as large as is asked for, as files: what `cargo xtask big-cluster` writes and tests measure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Nodes, at most 60,000.
    pub nodes: usize,
    /// Pods, which the scheduler spreads over them.
    pub pods: usize,
    /// Services; each pod serves one of them.
    pub services: usize,
}

/// Its files by name: scenario.yaml, which asks one of the Services, and objects.yaml.
#[must_use]
pub fn files(size: Size) -> BTreeMap<String, String> {
    [("scenario.yaml".to_owned(), scenario(size)), ("objects.yaml".to_owned(), objects(size))].into()
}

fn scenario(size: Size) -> String {
    let mut text = "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {name: big-cluster}\nspec:\n  cluster:\n    \
                    cni: {plugin: kubenet}\n    nodes:\n"
        .to_owned();
    for n in 0..size.nodes {
        let (third, fourth) = (n / 250, n % 250 + 2);
        let _ = writeln!(text, "      - {{name: node-{n}, address: 10.1.{third}.{fourth}/16}}");
    }
    let ask = format!("curl -s -o /dev/null -w '%{{http_code}}' http://{}/", service_ip(size.services / 2));
    let _ = write!(
        text,
        "  manifests: [objects.yaml]\n  traffic:\n    - {{from: pod/default/pod-0, run: \"{ask}\"}}\n  expect:\n    \
         - {{command: \"{ask}\", exit: 0, stdout: \"200\"}}\n"
    );
    text
}

fn service_ip(n: usize) -> String {
    format!("10.96.{}.{}", 4 + n / 250, n % 250 + 1)
}

fn objects(size: Size) -> String {
    let mut text = String::new();
    for n in 0..size.pods {
        let app = n % size.services;
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{n}, labels: {{app: app-{app}}}}}\n\
             spec: {{containers: [{{name: web, image: nginx, ports: [{{containerPort: 80}}]}}]}}\n---\n"
        );
    }
    for n in 0..size.services {
        let ip = service_ip(n);
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: app-{n}}}\n\
             spec: {{clusterIP: {ip}, selector: {{app: app-{n}}}, ports: [{{port: 80}}]}}\n---\n"
        );
    }
    text
}
