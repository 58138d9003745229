//! The program as a user meets it: what it prints, writes and returns.

use podhop_tests::schema::Schema;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli/ lies in the project").to_owned()
}

fn podhop(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podhop"));
    command.args(args).current_dir(root()).env_remove("NO_COLOR").output().expect("podhop runs")
}

fn out(o: &Output) -> String {
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn err(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

const SAME_NODE: &str = "scenarios/labs/same-node-by-hand/scenario.yaml";

/// What a command prints is as its schema in docs/schemas says.
fn as_schema(name: &str, o: &Output) -> serde_json::Value {
    let path = root().join(format!("docs/schemas/{name}.v1.json"));
    let schema = Schema::new(&fs::read_to_string(path).expect("a schema"));
    let value = serde_json::from_slice(&o.stdout).expect("JSON");
    assert_eq!(schema.wrong(&value), None, "{value}");
    value
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn run_tells_the_story_and_writes_the_captures() {
    let dir = temporary();
    let target = dir.path().join("out");
    let o = podhop(&["run", SAME_NODE, "-o", text(&target), "--check-determinism"]);
    assert_eq!(o.status.code(), Some(0), "{}{}", out(&o), err(&o));
    let story = out(&o);
    for part in ["[pod-a] $ ping -c1 10.244.4.41", "ARP, Request who-has 10.244.4.41", "learns:", "0 failed"] {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert!(!story.contains('\x1b'), "no colour in a pipe");
    assert_eq!(err(&o), "", "no progress in a pipe");
    for file in
        ["captures/namespaces/pod-a/eth0.pcap", "captures/namespaces/node/any.pcap", "records.jsonl", "trace.jsonl"]
    {
        assert!(target.join(file).metadata().is_ok_and(|m| m.len() > 24), "{file}");
    }
    let summary = fs::read_to_string(target.join("summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["exit"], 0);
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing is left beside it");
}

#[test]
fn a_folder_is_replaced_only_if_it_is_a_runs() {
    let dir = temporary();
    let target = dir.path().join("out");
    for _ in 0..2 {
        assert_eq!(podhop(&["run", SAME_NODE, "-q", "-o", text(&target)]).status.code(), Some(0));
    }
    let foreign = dir.path().join("mine");
    fs::create_dir(&foreign).expect("a folder");
    fs::write(foreign.join("thesis.txt"), "all my work").expect("a file");
    let o = podhop(&["run", SAME_NODE, "-o", text(&foreign)]);
    assert_eq!(o.status.code(), Some(2), "{}", err(&o));
    assert!(err(&o).contains("holds files that are not a run's"), "{}", err(&o));
    assert_eq!(fs::read_dir(&foreign).expect("a folder").count(), 1);
}

#[test]
fn a_folder_of_scenarios() {
    let dir = temporary();
    let o = podhop(&["run", "scenarios/labs", "-o", text(dir.path())]);
    assert_eq!(o.status.code(), Some(0), "{}{}", out(&o), err(&o));
    assert!(dir.path().join("l2-loop/summary.json").is_file());
    let table = out(&o);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("scenario ") && lines[0].ends_with("  result"), "{table}");
    let row = lines.iter().find(|l| l.starts_with("scenarios/labs/l2-loop/scenario.yaml ")).expect("a row");
    assert!(row.ends_with("  ok"), "{row}");
    assert_eq!(lines.last(), Some(&format!("{} scenarios, 0 not ok", lines.len() - 2).as_str()), "{table}");
    let o = podhop(&["check", "scenarios/articles", "scenarios/labs"]);
    assert_eq!((o.status.code(), out(&o).matches("is fine").count() >= 4), (Some(0), true), "{}", err(&o));
}

#[test]
fn json_on_request() {
    let dir = temporary();
    let o = podhop(&["run", SAME_NODE, "--format", "json", "-o", text(&dir.path().join("o"))]);
    let v = as_schema("summary", &o);
    assert_eq!(v["scenario"], "same-node-by-hand");
    let o = podhop(&["check", "scenarios/errors/unknown-field.yaml", "--format", "json"]);
    let v = as_schema("check", &o);
    assert_eq!(o.status.code(), Some(2));
    assert!(v[0]["line"].as_u64().is_some_and(|l| l > 0) && v[0]["severity"] == "error", "{v}");
    let o = podhop(&["check", "scenarios/errors/selector-matches-nothing.yaml", "--format", "json"]);
    let v = as_schema("check", &o);
    assert_eq!((o.status.code(), &v[0]["severity"]), (Some(0), &"warning".into()), "{v}");
}

#[test]
fn trace_lists_packets_and_shows_one() {
    let o = podhop(&["trace", SAME_NODE]);
    assert_eq!(o.status.code(), Some(0), "{}", err(&o));
    let list = out(&o);
    let line = list.lines().find(|l| l.contains("echo request")).expect("a ping");
    let packet = line.split_whitespace().next().expect("its id");
    let o = podhop(&["trace", SAME_NODE, "--packet", packet]);
    let shown = out(&o);
    for part in ["pod-a", "route to 10.244.4.41: 10.244.4.0/24", "veth-a", "veth-b", "pod-b"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let o = podhop(&["trace", SAME_NODE, "--flow", "1", "--format", "json"]);
    let v = as_schema("journeys", &o);
    assert_eq!(v.as_array().map(Vec::len), Some(2), "the request and its answer: {v}");
    assert_eq!(podhop(&["trace", SAME_NODE, "--packet", "999999"]).status.code(), Some(1));
}

#[test]
fn trace_tells_a_connection_in_turn() {
    let scenario = "scenarios/articles/kubenet-service/scenario.yaml";
    let o = podhop(&["trace", scenario, "--flow", "2"]);
    let told = out(&o);
    let head: Vec<&str> = told.lines().take(3).collect();
    assert!(head[0].starts_with("flow 2: tcp 10.244.10.89:") && head[0].ends_with(" > 10.0.185.118:80"), "{head:?}");
    let nat = "  node-1 translates its destination: 10.0.185.118:80 becomes 10.244.4.224:80";
    assert_eq!(head[1], nat, "{head:?}");
    assert!(head[2].starts_with("  6 packets of ") && head[2].ends_with(" back"), "{head:?}");
    let roles: Vec<&str> = told.lines().filter_map(|l| l.strip_prefix("packet ")?.split(", ").nth(2)).collect();
    let (there, back) = ("request", "reply");
    // SYN, SYN-ACK, ACK, the question, its ACK, the answer, its ACK, FIN, FIN, ACK.
    assert_eq!(roles, [there, back, there, there, back, back, there, there, back, there]);
    let o = podhop(&["trace", scenario, "--flow", "77"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(err(&o).contains("no such flow"), "{}", err(&o));
}

/// What a proxy has sent because of a packet is told with it.
#[test]
fn trace_follows_a_request_through_proxies() {
    let scenario = "scenarios/articles/istio-one-request/scenario.yaml";
    let list = out(&podhop(&["trace", scenario]));
    let request = list.lines().find(|l| l.contains(" > 127.0.0.1.15001: Flags [P.]")).expect("curl's request");
    let packet = request.split_whitespace().next().expect("its id");
    let v = as_schema("journeys", &podhop(&["trace", scenario, "--packet", packet, "--format", "json"]));
    let path = v.as_array().expect("packets");
    assert_eq!(path.len(), 3, "on lo, between the nodes, on lo: {v}");
    for pair in path.windows(2) {
        assert_eq!(pair[0]["proxied_to"], serde_json::json!([pair[1]["packet"]]));
        assert_eq!(pair[1]["proxied_from"], serde_json::json!([pair[0]["packet"]]));
    }
    // The same path from its other end.
    let last = path[2]["packet"].to_string();
    assert_eq!(as_schema("journeys", &podhop(&["trace", scenario, "--packet", &last, "--format", "json"])), v);
}

#[test]
fn topology_in_three_languages() {
    let scenario = "scenarios/articles/kubenet-service/scenario.yaml";
    let o = podhop(&["topology", scenario, "--format", "json"]);
    let v = as_schema("topology", &o);
    let joined = |kind: &str, a: &str, b: &str| {
        let joints = v["joints"].as_array().into_iter().flatten().filter(|j| j["kind"] == kind);
        let mut ends = joints.map(|j| (j["between"][0].as_str(), j["between"][1].as_str()));
        ends.any(|ends| ends == (Some(a), Some(b)) || ends == (Some(b), Some(a)))
    };
    for (kind, a, b) in [
        ("link", "node-1/enP41291s1", "underlay/node-1"),
        ("vf", "node-1/eth0", "node-1/enP41291s1"),
        ("port", "underlay/br0", "underlay/node-2"),
    ] {
        assert!(joined(kind, a, b), "{kind} {a} {b}: {v:#}");
    }
    let interfaces = v["interfaces"].as_array().map_or(&[][..], Vec::as_slice);
    let pod = interfaces.iter().find(|i| i["namespace"] == "pod/default/ubuntu").expect("the pod");
    assert_eq!((&pod["name"], &pod["addresses"][0]), (&"eth0".into(), &"10.244.10.89/24".into()));
    assert_eq!(v["loops"].as_array().map(Vec::len), Some(0));
    let dot = out(&podhop(&["topology", scenario]));
    assert!(dot.starts_with("graph \"kubenet-service\" {\n") && dot.ends_with("}\n"), "{dot}");
    assert_eq!(dot.matches('{').count(), dot.matches('}').count(), "{dot}");
    assert_eq!(dot.matches(" -- ").count(), v["joints"].as_array().map_or(0, Vec::len), "{dot}");
    let mermaid = out(&podhop(&["topology", scenario, "--format", "mermaid"]));
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    assert_eq!(mermaid.matches("subgraph ").count(), mermaid.matches("    end\n").count(), "{mermaid}");
    let o = podhop(&["topology", "scenarios/labs/l2-loop/scenario.yaml", "--format", "json"]);
    assert_eq!(as_schema("topology", &o)["loops"].as_array().map(Vec::len), Some(1), "{}", out(&o));
}

#[test]
fn fields_without_effect_are_named_on_request() {
    let dir = temporary();
    let objects = fs::read_to_string(root().join("tests/manifests/coredns.yaml")).expect("a dump");
    fs::write(dir.path().join("coredns.yaml"), objects).expect("a file");
    let scenario = dir.path().join("scenario.yaml");
    let text = "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {name: dump}\nspec:\n  cluster:\n    \
                nodes: [{name: node-1, address: 192.168.0.11/24}]\n  manifests: [coredns.yaml]\n";
    fs::write(&scenario, text).expect("a file");
    let check = |more: &[&str]| {
        let path = scenario.to_str().expect("a path in UTF-8");
        let o = podhop(&[&["check", path], more].concat());
        assert_eq!(o.status.code(), Some(0), "{}", err(&o));
        err(&o)
    };
    assert_eq!(check(&[]), "");
    let told = check(&["-v"]);
    let line = told.lines().find(|l| l.contains("Deployment kube-system/coredns: ")).expect("a line");
    assert!(line.contains("spec.strategy") && line.contains("spec.template.spec.volumes"), "{told}");
}

#[test]
fn list_shows_titles() {
    let o = podhop(&["list"]);
    assert_eq!(o.status.code(), Some(0), "{}", err(&o));
    assert!(out(&o).contains("same-node/scenario.yaml") && out(&o).contains("  Two pods on one node\n"), "{}", out(&o));
    let o = podhop(&["list", "scenarios/articles", "--format", "json"]);
    let v = as_schema("list", &o);
    let lesson = v.as_array().into_iter().flatten().find(|lesson| lesson["name"] == "same-node");
    assert_eq!(lesson.map(|l| &l["title"]), Some(&"Two pods on one node".into()), "{v}");
    assert_eq!(podhop(&["list", "no/such/folder"]).status.code(), Some(2));
}

#[test]
fn schema_of_scenarios() {
    let committed = fs::read_to_string(root().join("docs/schemas/scenario.v1.json")).expect("a schema");
    let o = podhop(&["schema"]);
    assert_eq!(o.status.code(), Some(0));
    // Not assert_eq: nobody reads two whole schemas.
    assert!(out(&o) == committed, "podhop schema > docs/schemas/scenario.v1.json");
}

#[test]
fn completions_and_manual_pages() {
    for (shell, part) in [("bash", "complete -F _podhop"), ("zsh", "#compdef podhop"), ("fish", "complete -c podhop")] {
        let o = podhop(&["completions", shell]);
        assert!(o.status.success() && out(&o).contains(part), "{shell}: {}", out(&o));
    }
    let dir = temporary();
    let man = dir.path().join("man1");
    assert!(podhop(&["man", text(&man)]).status.success());
    for (page, part) in
        [("podhop.1", "podhop\\-run(1)"), ("podhop-run.1", "check\\-determinism"), ("podhop-trace.1", ".TH")]
    {
        let written = fs::read_to_string(man.join(page)).expect(page);
        assert!(written.contains(part), "{page}: {written}");
    }
}

#[test]
fn exec_looks_at_the_end_or_at_a_moment() {
    let fdb = ["node", "--", "bridge", "fdb", "show", "br", "cbr0"];
    let learned = "0a:58:0a:f4:04:28 dev veth-a";
    let o = podhop(&[&["exec", SAME_NODE], &fdb[..]].concat());
    assert_eq!((o.status.code(), err(&o).as_str()), (Some(0), ""));
    assert!(out(&o).contains(learned), "{}", out(&o));
    let o = podhop(&[&["exec", SAME_NODE, "--at", "20ms"], &fdb[..]].concat());
    assert!(!out(&o).contains(learned) && out(&o).contains("veth-a"), "{}", out(&o));
    // A line in one word; the exit status is the command's.
    let o = podhop(&["exec", SAME_NODE, "pod-a", "--", "ping -c1 -W1 10.244.4.99"]);
    assert_eq!(o.status.code(), Some(1), "{}", err(&o));
    assert!(out(&o).contains("100% packet loss"), "{}", out(&o));
    // What does not end is interrupted.
    let o = podhop(&["exec", SAME_NODE, "--at", "90s", "pod-a", "--", "ping", "10.244.4.41"]);
    assert_eq!(o.status.code(), Some(0), "{}", err(&o));
    assert!(out(&o).contains(" packets transmitted, "), "{}", out(&o));
}

#[test]
fn exec_goes_back_and_forth() {
    let fdb = ["node", "--", "bridge", "fdb", "show", "br", "cbr0"];
    let at = |at: &[&str]| {
        let words: Vec<&str> = at.iter().flat_map(|at| ["--at", at]).collect();
        let o = podhop(&[&["exec", SAME_NODE], &words[..], &fdb[..]].concat());
        assert_eq!((o.status.code(), err(&o).as_str()), (Some(0), ""));
        out(&o)
    };
    let (late, early) = (at(&["1s"]), at(&["20ms"]));
    assert_ne!(late, early);
    assert_eq!(at(&["1s", "20ms", "1s"]), format!("==> 1s <==\n{late}\n==> 20ms <==\n{early}\n==> 1s <==\n{late}"));
}

#[test]
fn what_a_visitor_changes_lasts_to_the_end() {
    let down = ["--", "ip", "link", "set", "veth-b", "down"];
    // Between the two pings: the second one is lost, and the expectations that count on it fail.
    let o = podhop(&[&["exec", SAME_NODE, "--at", "100ms", "node"], &down[..]].concat());
    assert_eq!((o.status.code(), out(&o).as_str()), (Some(0), ""));
    let said = err(&o);
    for part in [
        "[pod-a] $ ping -c1 10.244.4.41\n       exit status 1 (without the command: exit status 0)\n",
        "FAIL line 43: capture pod-a/eth0: a sequence of 6\n       record 6: ",
        "(without the command: ok)\nsame-node-by-hand: went on to ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(err(&podhop(&[&["exec", "-q", SAME_NODE, "--at", "100ms", "node"], &down[..]].concat())), "");
    // At the end there is nothing left to change, and a command that only shows changes nothing.
    assert_eq!(err(&podhop(&[&["exec", SAME_NODE, "node"], &down[..]].concat())), "");
    assert_eq!(err(&podhop(&["exec", SAME_NODE, "--at", "100ms", "node", "--", "sysctl net.ipv4.ip_forward"])), "");
    // One that sends takes part; whatever it prints comes first.
    let o = podhop(&["exec", SAME_NODE, "--at", "100ms", "pod-b", "--", "ping -c1 10.244.4.1"]);
    assert!(out(&o).contains("1 packets transmitted, 1 received"), "{}", out(&o));
    assert!(err(&o).contains("FAIL line 54: capture node/cbr0 `icmp`: 0 records"), "{}", err(&o));
    // The run ended at a limit before.
    let o = podhop(&["exec", "scenarios/labs/l2-loop/scenario.yaml", "--at", "90s", "left", "--", "ip", "-s", "link"]);
    assert_eq!((o.status.code(), out(&o).as_str()), (Some(3), ""), "{}", err(&o));
    assert!(err(&o).contains("limit chainFrames"), "{}", err(&o));
}

#[test]
fn exec_reports_all_that_is_wrong() {
    let o = podhop(&["exec", SAME_NODE, "--at", "1s", "--at", "soon", "pod-c", "--", "ip", "rout", "get", "x"]);
    assert_eq!((o.status.code(), out(&o).as_str()), (Some(2), ""));
    let said = err(&o);
    for part in [
        "`soon` is not a duration",
        "there is no namespace `pod-c`",
        "--at 1s --at soon pod-c -- ip rout get x",
        "\"x\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_failed_expectation_shows_what_was_seen() {
    let dir = temporary();
    let scenario = dir.path().join("scenario.yaml");
    let yaml = fs::read_to_string(root().join(SAME_NODE)).expect("a scenario");
    fs::write(&scenario, yaml.replace("filter: icmp, count: 0", "filter: icmp, count: 7")).expect("a file");
    let o = podhop(&["run", text(&scenario), "-q", "-o", text(&dir.path().join("o"))]);
    assert_eq!(o.status.code(), Some(1), "{}", err(&o));
    assert!(out(&o).contains("0 records match, 7 expected"), "{}", out(&o));
}

#[test]
fn an_unexpected_limit_is_exit_3() {
    let dir = temporary();
    let scenario = dir.path().join("scenario.yaml");
    let yaml = fs::read_to_string(root().join("scenarios/labs/l2-loop/scenario.yaml")).expect("a scenario");
    let (head, _) = yaml.split_once("  expect:").expect("expectations");
    fs::write(&scenario, head).expect("a file");
    let o = podhop(&["run", text(&scenario), "-q", "-o", text(&dir.path().join("o"))]);
    assert_eq!(o.status.code(), Some(3), "{}", err(&o));
    let said = out(&o);
    assert!(said.contains("limit chainFrames = 2000") && said.contains("bridge br"), "{said}");
}

#[test]
fn colour_on_request() {
    let dir = temporary();
    let o = podhop(&["run", SAME_NODE, "--color", "always", "-o", text(&dir.path().join("o"))]);
    assert!(out(&o).contains("\x1b["), "{}", out(&o));
}

/// Every file of scenarios/errors gives the message beside it, exit status 2, and writes nothing.
#[test]
fn errors_as_documented() {
    let mut seen = 0;
    let folder = root().join("scenarios/errors");
    let mut files: Vec<_> = fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    for file in files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "yaml")) {
        let relative = file.strip_prefix(root()).expect("below it");
        let want = fs::read_to_string(file.with_extension("stderr")).expect("the message beside it");
        if want.starts_with("warning") {
            let o = podhop(&["check", text(relative)]);
            assert_eq!((o.status.code(), err(&o)), (Some(0), want), "{}", text(relative));
        } else {
            check_error(text(relative), &want);
        }
        seen += 1;
    }
    assert!(seen >= 40, "{seen} files");
}

/// A file of 100 MB is refused by its size: it is not read.
#[test]
fn a_file_that_is_too_large() {
    let dir = temporary();
    let large = dir.path().join("large.yaml");
    fs::File::create(&large).and_then(|f| f.set_len(100 << 20)).expect("a sparse file");
    let want = fs::read_to_string(root().join("scenarios/errors/too-large.stderr")).expect("the message");
    check_error(text(&large), &want.replace("--> FILE", &format!("--> {}", text(&large))));
}

/// The script is one that bash reads, the same each time; what real namespaces cannot show is named.
#[test]
fn export_writes_a_script() {
    let dir = temporary();
    let [one, two] = ["one.sh", "two.sh"].map(|name| dir.path().join(name));
    for path in [&one, &two] {
        let o = podhop(&["export", "scenarios/articles/nodeport/scenario.yaml", "-o", text(path)]);
        assert_eq!((o.status.code(), err(&o)), (Some(0), String::new()));
    }
    let script = fs::read_to_string(&one).expect("a script");
    assert_eq!(script, fs::read_to_string(&two).expect("a script"));
    for part in ["-A KUBE-SERVICES", "serve pod/default/web nginx", "run 0 outside curl"] {
        assert!(script.contains(part), "{part}");
    }
    let read = Command::new("bash").arg("-n").arg(&one).output().expect("bash runs");
    assert!(read.status.success() && read.stderr.is_empty(), "{}", err(&read));
    let help = Command::new("bash").arg(&one).arg("--help").output().expect("bash runs");
    assert!(out(&help).contains("lab.sh --teardown"), "{}", out(&help));
    let o = podhop(&["export", "scenarios/labs/slow-link/scenario.yaml", "-o", text(&dir.path().join("no.sh"))]);
    assert_eq!(o.status.code(), Some(2));
    let told = err(&o);
    assert_eq!(told.matches("error: a link between real namespaces has no `").count(), 3, "{told}");
    assert!(!dir.path().join("no.sh").exists());
}

/// An interrupted run leaves nothing behind.
#[cfg(unix)]
#[test]
fn interrupted() {
    let dir = temporary();
    let scenario = dir.path().join("scenario.yaml");
    let yaml = fs::read_to_string(root().join("scenarios/labs/l2-loop/scenario.yaml")).expect("a scenario");
    fs::write(&scenario, yaml.replace("chainFrames: 2000", "chainFrames: 100000000")).expect("a file");
    let target = dir.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_podhop"));
    let mut child = command.args(["run", text(&scenario), "-o", text(&target)]).spawn().expect("podhop runs");
    let temporary = dir.path().join("out.podhop-tmp");
    while !temporary.join("captures").exists() {
        assert!(child.try_wait().expect("a child").is_none(), "it runs for a while");
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(!temporary.exists() && !target.exists());
}

fn check_error(file: &str, want: &str) {
    let dir = temporary();
    let target = dir.path().join("out");
    let o = podhop(&["run", file, "-o", text(&target)]);
    assert_eq!(err(&o), want, "{file}");
    assert_eq!((o.status.code(), out(&o).as_str()), (Some(2), ""), "{file}");
    assert!(!target.exists(), "{file}: nothing is written");
}
