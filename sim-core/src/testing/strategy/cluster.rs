//! Clusters, and what goes wrong in them, as text of scenario files.

use proptest::prelude::*;
use std::fmt::Write as _;

/// A cluster with traffic and faults.
#[derive(Clone, Debug)]
pub struct ClusterCase {
    /// How many nodes.
    nodes: usize,
    /// Of each pod, its node; they echo what they get at UDP port 7.
    pods: Vec<usize>,
    /// Who asks the Service or a pod, how often, and of how many bytes.
    traffic: Vec<(usize, Option<usize>, u32, u32)>,
    /// Items of `faults`.
    faults: Vec<String>,
    seed: u64,
}

/// A [`ClusterCase`]: one to three nodes, up to four pods behind a Service of UDP, a client pod on each node, and up to
/// `most_faults` faults within the three seconds of traffic. Shrinks to one node without pods and one datagram.
pub fn cluster(most_faults: usize) -> impl Strategy<Value = ClusterCase> {
    (1..4usize, 0..5usize).prop_flat_map(move |(nodes, pods)| {
        let mut links = Vec::new();
        links.extend((0..nodes).map(|n| format!("node-{n}/eth0")));
        let objects = (0..pods).map(|p| format!("pod/default/echo-{p}")).collect();
        let to = prop::option::of(0..pods.max(1));
        (
            prop::collection::vec(0..nodes, pods),
            prop::collection::vec((0..nodes, to, 1..4u32, 1..2000u32), 1..4),
            faults(links, objects, 3000, most_faults),
            any::<u32>(),
        )
            .prop_map(move |(pods, traffic, faults, seed)| ClusterCase {
                nodes,
                pods,
                traffic,
                faults,
                seed: seed.into(),
            })
    })
}

/// A schedule of at most `most` faults within `until_ms` milliseconds, as items of `faults` in the order of their
/// times: links (`NAMESPACE/DEVICE`) that break, lose frames or take long, for a while or for good, and objects
/// (`pod/NAMESPACE/NAME`) that are deleted, each once. Shrinks to none, and those to short ones at the beginning.
pub fn faults(
    links: Vec<String>,
    objects: Vec<String>,
    until_ms: u64,
    most: usize,
) -> impl Strategy<Value = Vec<String>> {
    let change = prop_oneof![
        (1..200u32).prop_map(|ms| format!("latency: {ms}ms")),
        (1..100u32).prop_map(|percent| format!("loss: {percent}%")),
        Just("down: true".to_owned()),
    ];
    let lasts = prop_oneof![3 => (1..1000u32).prop_map(|ms| format!(", for: {ms}ms")), 1 => Just(String::new())];
    let many = if links.is_empty() { 0 } else { most };
    let link = (any::<prop::sample::Index>(), change, lasts)
        .prop_map(move |(link, change, lasts)| format!("link: {}, {change}{lasts}", link.get(&links)));
    let links = prop::collection::vec((1..=until_ms, link), 0..=many);
    let count = objects.len();
    let deleted = prop::sample::subsequence(objects, 0..=count.min(most / 2));
    let times = prop::collection::vec(1..=until_ms, count);
    (links, deleted, times).prop_map(|(mut all, deleted, times)| {
        all.extend(times.into_iter().zip(deleted.into_iter().map(|object| format!("delete: {object}"))));
        all.sort();
        all.into_iter().map(|(at, what)| format!("{{at: {at}ms, {what}}}")).collect()
    })
}

impl ClusterCase {
    /// The scenario.
    pub fn scenario(&self) -> String {
        let mut text = format!(
            "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {{name: cluster}}\nspec:\n  seed: {}\n  cluster:\n    \
             nodes:\n",
            self.seed
        );
        for n in 0..self.nodes {
            let _ = writeln!(text, "      - {{name: node-{n}, address: 192.168.0.{}/24}}", 11 + n);
        }
        text += "    cni: {plugin: kubenet}\n  manifests:\n";
        let pod = |name: &str, node: usize, container: &str| {
            format!(
                "    - {{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {}}}}}, spec: {{nodeName: \
                 node-{node}, containers: [{{name: c, {container}}}]}}}}\n",
                name.split('-').next().unwrap_or_default()
            )
        };
        for n in 0..self.nodes {
            text += &pod(&format!("client-{n}"), n, "image: busybox");
        }
        for (p, node) in self.pods.iter().enumerate() {
            text += &pod(&format!("echo-{p}"), *node, "image: podhop, command: [udpecho, \"7\"]");
        }
        text += "    - {apiVersion: v1, kind: Service, metadata: {name: echo}, spec: {clusterIP: 10.96.0.7, selector: \
                 {app: echo}, ports: [{port: 7, protocol: UDP}]}}\n  traffic:\n";
        for (from, to, count, size) in &self.traffic {
            // Somebody else's address if there is no such pod.
            let to = to.map_or("10.96.0.7".to_owned(), |p| format!("10.244.0.{}", p + 2));
            let exchange =
                format!("{{repeat: {count}, do: [{{send: {{size: {size}}}}}, {{recv: {{timeout: 700ms}}}}]}}");
            let _ = writeln!(
                text,
                "    - {{from: pod/default/client-{from}, at: 1s, background: true, \
                 script: [{{socket: udp}}, {{connect: \"{to}:7\"}}, {exchange}]}}"
            );
        }
        text += "    - {sleep: 4s}\n";
        if !self.faults.is_empty() {
            text += "  faults:\n";
        }
        self.faults.iter().fold(text, |text, fault| text + &format!("    - {fault}\n"))
    }
}
