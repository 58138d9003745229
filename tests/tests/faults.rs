//! Faults: a run in which something changes by itself.

use sim_core::base::Time;
use sim_core::base::time::MS;
use sim_core::kernel::trace::Mute;
use sim_core::observe::{Memory, Nowhere, Outputs};
use sim_core::scenario::exec::{self, Executed};
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Options, Plan, Replay, SourceFile};

fn resolve(text: &str) -> Plan {
    scenario::resolve(&SourceFile::new("inline", text)).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// Two machines, `a` with 10.0.0.1 and `b` with 10.0.0.2 on their eth0.
fn two(link: &str, rest: &str) -> Plan {
    resolve(&format!(
        "apiVersion: podhop/v1
kind: Scenario
metadata: {{name: two}}
spec:
  links: [{{between: [a/eth0, b/eth0]{link}}}]
  namespaces:
    a: {{machine: a, setup: [ip link set eth0 up, ip addr add 10.0.0.1/24 dev eth0]}}
    b: {{machine: b, setup: [ip link set eth0 up, ip addr add 10.0.0.2/24 dev eth0]}}
{rest}"
    ))
}

fn run(plan: &Plan) -> Report {
    let report = scenario::run(plan, &mut Memory::default(), Options::default(), &mut ()).expect("it runs");
    let failed: Vec<_> = report.expectations.iter().filter(|e| !e.verdict.ok).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    report
}

/// What was printed by the command that was started as number `n`.
fn output(report: &Report, n: usize) -> &str {
    &report.commands[n].output
}

/// The round trip of each ping of one line, in whole milliseconds.
fn round_trips(report: &Report) -> Vec<Option<u64>> {
    let time = |c: &scenario::report::CommandReport| {
        let (_, rest) = c.output.split_once("time=")?;
        rest.split('.').next()?.split(' ').next()?.parse().ok()
    };
    report.commands.iter().map(time).collect()
}

const PINGS: &str = "  traffic: [{at: 1s, every: 1s, count: 6, from: a, run: ping -c1 -W0.5 10.0.0.2}]\n";

#[test]
fn latency_and_loss_change_for_a_while() {
    let faults = "  faults:
    - {at: 2500ms, link: a/eth0, latency: 50ms, for: 2s}
    - {at: 5500ms, link: b/eth0, loss: 100%}
";
    let report = run(&two(", latency: 1ms", &format!("{PINGS}{faults}")));
    // The first one waits for ARP.
    assert_eq!(round_trips(&report), [Some(4), Some(2), Some(100), Some(100), Some(2), None]);
    let events: Vec<_> = report.events.iter().map(|e| (e.at.0 / MS, e.text.as_str(), e.commands)).collect();
    let want = [
        (2500, "link a/eth0: latency 50ms", 2),
        (4500, "link a/eth0: as before", 4),
        (5500, "link b/eth0: loss 100%", 5),
    ];
    assert_eq!(events, want);
}

#[test]
fn a_slower_link_sends_more_slowly() {
    let faults = "  faults: [{at: 2500ms, link: a/eth0, rate: 10kbit}]\n";
    let report = run(&two(", latency: 1ms", &format!("{PINGS}{faults}")));
    // 98 bytes at 10 kbit/s take 78.4 ms; at both ends.
    assert_eq!(round_trips(&report), [4, 2, 159, 159, 159, 159].map(Some));
}

/// A cable is pulled: both ends lose their carrier, with it neighbours and what waits in the queue, and find it again.
#[test]
fn a_link_breaks() {
    let report = run(&two(
        ", latency: 10ms, rate: 1mbit",
        "  traffic:
    - {from: a, run: ping -c1 10.0.0.2}
    - from: a
      at: 1s
      background: true
      script: [{socket: udp}, {connect: \"10.0.0.2:9\"}, {repeat: 6, do: [{send: {size: 1000}}]}]
    - {from: a, at: 2s, run: ip link show eth0}
    - {from: b, run: ip link show eth0}
    - {from: a, run: ip neigh}
    - {from: a, run: ip route}
    - {from: a, at: 3s, run: ping -c1 10.0.0.2}
    - {from: a, run: ip link show eth0}
    - {from: b, run: ip -s link show eth0}
  faults: [{at: 1010ms, link: a/eth0, down: true, for: 1500ms}]
",
    ));
    let head = |n: usize| output(&report, n).lines().next().unwrap_or_default().to_owned();
    for n in [2, 3] {
        assert!(
            head(n).contains("<NO-CARRIER,BROADCAST,MULTICAST,UP> ") && head(n).contains(" state DOWN "),
            "{}",
            head(n)
        );
    }
    assert_eq!(output(&report, 4), "", "neighbours go with the carrier");
    assert_eq!(output(&report, 5), "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1 linkdown \n");
    assert_eq!(report.commands[6].exit, Some(0));
    assert!(head(7).contains("<BROADCAST,MULTICAST,UP,LOWER_UP> "), "{}", head(7));
    // Two datagrams were on the wire, four waited; none was damaged on arrival.
    let received = output(&report, 8).lines().nth(3).expect("RX").split_whitespace().collect::<Vec<_>>();
    assert_eq!(received[1..3], ["4", "0"], "two pings and their ARP: {received:?}");
    assert_eq!(report.counts.dropped, 6);
}

#[test]
fn a_run_goes_on_to_the_last_fault() {
    let faults = "  faults: [{at: 3s, link: a/eth0, loss: 1%, for: 1s}]\n";
    let report = run(&two("", &format!("  traffic: [{{from: a, run: ping -c1 10.0.0.2}}]\n{faults}")));
    assert_eq!(report.ended, Time(4500 * MS));
}

#[test]
fn what_is_repeated() {
    let report = run(&two(
        "",
        "  traffic:
    - {at: 1s, every: 100ms, count: 3, from: a, run: ping -c2 -i0.3 10.0.0.2}
    - {from: b, run: ip neigh}
    - {every: 1s, count: 4, background: true, from: b, run: ping -c1 10.0.0.1}
    - {from: a, run: ip neigh}
  expect:
    - {command: ping -c2 -i0.3 10.0.0.2, nth: 3, exit: 0, stdout: 2 received}
    - {command: ping -c1 10.0.0.1, nth: 4, exit: 0}
",
    ));
    let started: Vec<_> = report.commands.iter().map(|c| (c.from.as_str(), c.started.0 / MS)).collect();
    // Each runs for 300 ms: the next entry waits for the last one.
    let want = [("a", 1000), ("a", 1100), ("a", 1200), ("b", 1515), ("b", 1530), ("a", 1545)];
    assert_eq!(started[..6], want);
    assert_eq!(started[6..], [("b", 2530), ("b", 3530), ("b", 4530)]);
    let ended = report.commands.iter().filter_map(|c| c.ended).max().expect("they ended");
    assert_eq!(report.ended, ended + 500 * MS);

    let cut = run(&two("", "  duration: 2500ms\n  traffic: [{at: 1s, every: 1s, count: 9, from: a, run: ip neigh}]\n"));
    assert_eq!(cut.commands.len(), 2);
}

/// Looks at a run at times that jump about: they show what one pass shows.
fn replays(plan: &Plan, look: (&str, &str), times_ms: &[u64]) -> Vec<String> {
    let what = exec::resolve(plan, look.0, &[look.1.to_owned()], &[]).expect("a command");
    let quiet = Options { outputs: Outputs::NONE, ..Options::default() };
    let at = |replay: &mut Replay<'_, '_>, ms: u64| {
        let at = Time(ms * MS);
        let Executed { output, exit, .. } = exec::look(replay.at(at), &what, at);
        assert_eq!(exit, Some(0), "{output}");
        output
    };
    let (mut nowhere, mut nobody) = (Nowhere, ());
    let mut forwards = Replay::new(plan, &mut nowhere, quiet, &mut nobody).expect("it is set up");
    let once: Vec<String> = times_ms.iter().map(|ms| at(&mut forwards, *ms)).collect();
    let (mut nowhere, mut nobody) = (Nowhere, ());
    let mut back = Replay::new(plan, &mut nowhere, quiet, &mut nobody).expect("it is set up");
    for (ms, once) in times_ms.iter().zip(&once).rev() {
        assert_eq!(&at(&mut back, *ms), once, "at {ms} ms");
    }
    once
}

#[test]
fn faults_come_again_when_a_run_goes_back() {
    let faults = "  faults: [{at: 2500ms, link: a/eth0, down: true, for: 2s}]\n";
    let plan = two("", &format!("{PINGS}{faults}"));
    let shown = replays(&plan, ("b", "ip link show eth0"), &[1000, 2499, 2500, 2501, 3000, 4499, 4501, 6000, 20_000]);
    let up: Vec<bool> = shown.iter().map(|text| text.contains("LOWER_UP")).collect();
    assert_eq!(up, [true, true, true, false, false, false, true, true, true], "what happens at a time comes after it");
}

#[test]
fn no_frame_is_lost_without_an_end() {
    let faults = "  faults: [{at: 2500ms, link: a/eth0, down: true, for: 2s}]\n";
    let plan = two("", &format!("{PINGS}{faults}"));
    let (world, limit) = scenario::play(&plan, &mut Mute).expect("it is set up");
    assert!(limit.is_none());
    let (made, ended, waiting) = world.balance();
    assert_eq!(made, ended + waiting as u64);
}

/// Two nodes, a client on the first, and these manifests.
fn cluster(proxy: &str, manifests: &str, rest: &str) -> Plan {
    resolve(&format!(
        "apiVersion: podhop/v1
kind: Scenario
metadata: {{name: cluster}}
spec:
  cluster:
    nodes: [{{name: node-1, address: 192.168.0.11/24}}, {{name: node-2, address: 192.168.0.12/24}}]
    cni: {{plugin: kubenet}}
    dns: {{enabled: false}}
    kubeProxy: {{{proxy}}}
  manifests:
    - apiVersion: v1
      kind: Pod
      metadata: {{name: client}}
      spec: {{nodeName: node-1, containers: [{{name: c, image: curlimages/curl}}]}}
{manifests}{rest}"
    ))
}

/// A Deployment and its Service at 10.96.0.80.
fn deployment(replicas: u32, container: &str, protocol: &str) -> String {
    format!(
        "    - apiVersion: apps/v1
      kind: Deployment
      metadata: {{name: web}}
      spec:
        replicas: {replicas}
        selector: {{matchLabels: {{app: web}}}}
        template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: c, {container}}}]}}}}
    - apiVersion: v1
      kind: Service
      metadata: {{name: web}}
      spec: {{clusterIP: 10.96.0.80, selector: {{app: web}}, ports: [{{port: 80, protocol: {protocol}}}]}}
"
    )
}

/// The pods of the Deployment, as people call their namespaces, by nodes.
fn web_pods(plan: &Plan) -> Vec<String> {
    plan.namespaces.iter().map(|n| n.name.clone()).filter(|n| n.starts_with("pod/default/web-")).collect()
}

fn texts(report: &Report) -> Vec<String> {
    report.events.iter().map(|e| format!("{} {}", e.at.0 / MS, e.text)).collect()
}

const NGINX: &str = "image: nginx";
const CURL: &str = "curl -s -o /dev/null -m 1 http://10.96.0.80/";

#[test]
fn a_deleted_pod_of_a_deployment_is_replaced() {
    let objects = deployment(1, NGINX, "TCP");
    let old = web_pods(&cluster("", &objects, "")).remove(0);
    let plan = cluster(
        "",
        &objects,
        &format!(
            "  traffic:
    - {{at: 900ms, from: pod/default/client, run: \"{CURL}\"}}
    - {{at: 1300ms, from: pod/default/client, run: \"{CURL}\"}}
    - {{at: 2s, from: pod/default/client, run: \"{CURL}\"}}
    - {{from: node-1, run: ip netns list}}
  faults: [{{at: 1s, delete: {old}}}]
"
        ),
    );
    let [new] = plan.later.as_slice() else { panic!("{:?}", plan.later) };
    assert_ne!(*new, old);
    let mut memory = Memory::default();
    let report = scenario::run(&plan, &mut memory, Options::default(), &mut ()).expect("it runs");
    let want = [
        format!("1000 {old} is deleted"),
        "1010 endpoints of default/web: 10.244.0.3 (terminating)".to_owned(),
        format!("1010 {new} is made, for node-2"),
        "1020 kube-proxy of node-1 syncs".to_owned(),
        "1020 kube-proxy of node-2 syncs".to_owned(),
        format!("1030 {old} is sent SIGTERM"),
        format!("1030 {old} has ended"),
        format!("1050 the network of {old} is taken apart"),
        "1060 endpoints of default/web: none".to_owned(),
        "1070 kube-proxy of node-1 syncs".to_owned(),
        "1070 kube-proxy of node-2 syncs".to_owned(),
        format!("1530 {new} runs, as 10.244.1.2"),
        "1550 endpoints of default/web: 10.244.1.2".to_owned(),
    ];
    let texts = texts(&report);
    assert_eq!(texts[..want.len()], want);
    // Two syncs came at once, the third has to wait for a second after the one before.
    assert!(texts[want.len()].starts_with("2070 kube-proxy of node-1 syncs"), "{texts:?}");
    let exits: Vec<_> = report.commands.iter().map(|c| c.exit).collect();
    assert_eq!(exits[..3], [Some(0), Some(7), Some(7)], "refused at once as long as nobody serves");
    assert_eq!(output(&report, 3).matches("cni-").count(), 1, "the old pod's namespace is gone, the client's is there");
    let captures: Vec<&str> = memory.files.keys().map(String::as_str).collect();
    let folder = new.replacen("pod/", "pods/", 1);
    assert!(captures.contains(&format!("captures/{folder}/eth0.pcap").as_str()), "{captures:?}");
}

#[test]
fn a_new_pod_announces_itself_and_serves() {
    let objects = deployment(1, NGINX, "TCP");
    let more = objects.replace("    - apiVersion: apps/v1", "apiVersion: apps/v1");
    let more = more.split("    - apiVersion: v1").next().expect("the Deployment").replace("replicas: 1", "replicas: 3");
    let with = |expect: &str| {
        cluster(
            "",
            &objects,
            &format!(
                "  traffic: [{{at: 3s, every: 100ms, count: 8, from: pod/default/client, run: \"{CURL}\"}}]
  faults:
    - at: 1s
      apply:
        {}
{expect}",
                more.trim_end().replace("\n      ", "\n        ")
            ),
        )
    };
    let announces = "direction: Out, filter: \"arp[14:4] = arp[24:4]\", count: 1";
    let expect = |pod: &String| format!("    - {{capture: {pod}/eth0, {announces}}}\n");
    let plan = with(&format!("  expect:\n{}", with("").later.iter().map(expect).collect::<String>()));
    let report = run(&plan);
    assert_eq!(plan.later.len(), 2);
    assert!(report.commands.iter().all(|c| c.exit == Some(0)));
    let texts = texts(&report);
    let last = texts.iter().rfind(|t| t.contains("endpoints of default/web: ")).expect("they are told");
    assert_eq!(last.matches("10.244.").count(), 3, "{texts:?}");
    let served = plan.later.iter().filter(|pod| {
        let accepts = |c: &scenario::report::CommandReport| c.story.entries.iter().any(|e| e.namespace == **pod);
        report.commands.iter().any(accepts)
    });
    assert_eq!(served.count(), 2, "each of them was asked at least once");
}

/// A flow of UDP leads to the old pod for as long as its entry lives: kube-proxy deletes it.
#[test]
fn connections_of_udp_move_to_another_pod() {
    let objects = deployment(2, "image: x, command: [udpecho, \"80\"]", "UDP");
    let send = "{send: {size: 8}}, {recv: {timeout: 300ms}}, {sleep: 200ms}";
    let talk = format!(
        "  traffic:
    - from: pod/default/client
      at: 1s
      script: [{{socket: udp}}, {{connect: \"10.96.0.80:80\"}}, {{repeat: 8, do: [{send}]}}]
    - {{at: 6s, from: node-1, run: conntrack -L -p udp}}
"
    );
    let plan = cluster("", &objects, &talk);
    let entry = |report: &Report| output(report, 1).lines().next().unwrap_or_default().to_owned();
    let before = entry(&run(&plan));
    let ips = ["10.244.0.3", "10.244.1.2"];
    let chosen = ips.iter().position(|ip| before.contains(&format!("src={ip} "))).expect("one of them answers");
    let doomed = &web_pods(&plan)[chosen];
    let report = run(&cluster("", &objects, &format!("{talk}  faults: [{{at: 2s, delete: {doomed}}}]\n")));
    assert_eq!(output(&report, 0).matches("recv: 8 bytes from 10.96.0.80:80").count(), 8, "{}", output(&report, 0));
    let after = entry(&report);
    assert!(!after.contains(&format!("src={} ", ips[chosen])), "{after}");
    // It does not listen to SIGTERM: it is killed 30 seconds later.
    let texts = texts(&report);
    assert!(
        texts.contains(&format!("2030 {doomed} is sent SIGTERM"))
            && texts.contains(&format!("32030 {doomed} has ended")),
        "{texts:?}"
    );
}

#[test]
fn a_service_changes_and_a_period_is_set() {
    let plan = cluster(
        "minSyncPeriod: 3s",
        &deployment(1, NGINX, "TCP"),
        &format!(
            "  traffic:
    - {{at: 500ms, from: pod/default/client, run: \"{CURL}\"}}
    - {{at: 1100ms, from: pod/default/client, run: \"{CURL}\"}}
    - {{at: 2100ms, from: pod/default/client, run: \"{CURL}\"}}
    - {{at: 3100ms, from: pod/default/client, run: \"{CURL}\"}}
    - {{at: 6100ms, from: pod/default/client, run: \"{CURL}\"}}
  faults:
    - {{at: 1s, apply: {}}}
    - {{at: 2s, apply: {}}}
    - {{at: 3s, apply: {}}}
",
            service("nobody"),
            service("web"),
            service("nobody"),
        ),
    );
    let report = run(&plan);
    let exits: Vec<_> = report.commands.iter().map(|c| c.exit).collect();
    assert_eq!(exits, [0, 7, 0, 0, 7].map(Some), "the third sync comes 3 s after the second");
    let texts = texts(&report);
    assert_eq!(texts[..2], ["1000 applied: Service default/web", "1010 endpoints of default/web: none"]);
    assert!(texts.contains(&"2010 endpoints of default/web: 10.244.0.3".to_owned()), "{texts:?}");
}

fn service(app: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, \
         spec: {{clusterIP: 10.96.0.80, selector: {{app: {app}}}, ports: [{{port: 80}}]}}}}"
    )
}

/// A pod with a probe is an endpoint when the probe says so.
#[test]
fn a_new_pod_waits_for_its_probe() {
    let probe = "image: nginx, \
                 readinessProbe: {httpGet: {path: /index.html, port: 80}, initialDelaySeconds: 2, periodSeconds: 1}";
    let objects = deployment(1, probe, "TCP");
    let old = web_pods(&cluster("", &objects, "")).remove(0);
    let plan = cluster(
        "",
        &objects,
        &format!(
            "  duration: 6s
  traffic: [{{at: 5s, from: pod/default/client, run: \"{CURL}\"}}]
  faults: [{{at: 1s, delete: {old}}}]
  expect:
    - {{command: \"{CURL}\", exit: 0}}
"
        ),
    );
    let new = &plan.later[0];
    let texts = texts(&run(&plan));
    let at = |what: String| texts.iter().position(|t| t.split_once(' ').is_some_and(|(_, t)| t == what));
    let runs = at(format!("{new} runs, as 10.244.1.2")).expect("it runs");
    let waits = at("endpoints of default/web: 10.244.1.2 (not ready)".to_owned()).expect("it is known");
    let ready = at(format!("{new} is ready")).expect("it is ready");
    let serves = at("endpoints of default/web: 10.244.1.2".to_owned()).expect("it serves");
    assert!(runs < waits && waits < ready && ready < serves, "{texts:?}");
    assert!(texts[ready].starts_with("3530 "), "two seconds after it runs: {texts:?}");
}

#[test]
fn a_cluster_goes_back_and_forth() {
    let objects = deployment(2, NGINX, "TCP");
    let doomed = web_pods(&cluster("", &objects, "")).remove(0);
    let rest = format!(
        "  traffic: [{{at: 1s, every: 100ms, count: 20, from: pod/default/client, run: \"{CURL}\"}}]
  faults: [{{at: 1500ms, delete: {doomed}}}]
"
    );
    let plan = cluster("", &objects, &rest);
    let times = [1000, 1499, 1505, 1515, 1525, 1535, 1555, 1600, 2035, 2500, 9000];
    let shown = replays(&plan, ("node-1", "iptables -t nat -S"), &times);
    assert!(shown[2].contains("10.244.0.3:80") && !shown[7].contains("10.244.0.3:80"), "its rules go");
    replays(&plan, ("node-1", "ip link"), &times);
    replays(&plan, ("node-2", "ip neigh"), &times);
    replays(&plan, ("pod/default/client", "ss -tan"), &times);
}
