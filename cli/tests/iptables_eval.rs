//! `podhop iptables eval` as a user meets it, and docs/iptables-eval.md as it is printed.

use podhop_tests::schema::Schema;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DUMPS: [&str; 8] = [
    "--rules",
    "docs/iptables-eval/rules",
    "--addresses",
    "docs/iptables-eval/addr.json",
    "--links",
    "docs/iptables-eval/link.json",
    "--routes",
    "docs/iptables-eval/route.json",
];
const TO_THE_SERVICE: [&str; 8] =
    ["--in", "eth0", "--src", "192.168.0.100", "--dst", "192.168.0.12", "--dport", "30080"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli/ lies in the project").to_owned()
}

fn podhop(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podhop"));
    command.args(args).current_dir(root()).env_remove("NO_COLOR").output().expect("podhop runs")
}

fn eval(args: &[&[&str]]) -> Output {
    podhop(&[&["iptables", "eval"][..], &args.concat()].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn as_schema(name: &str, o: &Output) -> Value {
    let path = root().join(format!("docs/schemas/{name}.v1.json"));
    let schema = Schema::new(&fs::read_to_string(path).expect("a schema"));
    let value = serde_json::from_slice(&o.stdout).expect("JSON");
    assert_eq!(schema.wrong(&value), None, "{value}");
    value
}

/// Every command of the page prints what stands below it.
#[test]
fn the_page_is_as_it_is_printed() {
    let page = fs::read_to_string(root().join("docs/iptables-eval.md")).expect("the page");
    let blocks: Vec<&str> = page.split("\n    $ podhop ").skip(1).collect();
    assert_eq!(blocks.len(), 3, "examples");
    for block in blocks {
        let mut lines = block.lines();
        let command: Vec<&str> = lines.next().expect("a command").split(' ').collect();
        let want: String = lines.map_while(|l| l.strip_prefix("    ")).flat_map(|l| [l, "\n"]).collect();
        let o = podhop(&command);
        assert_eq!((text(&o.stdout), text(&o.stderr)), (want, String::new()), "{command:?}");
        assert_eq!(o.status.code(), Some(0));
    }
}

#[test]
fn json_is_as_its_schema_says() {
    let json: &[&str] = &["--format", "json"];
    let sent = as_schema("iptables-eval", &eval(&[&DUMPS, &TO_THE_SERVICE, json, &["--all-choices"]]));
    assert_eq!(
        (&sent["ways"][0]["odds"], &sent["ways"][0]["turns"][0]["end"]["verdict"]),
        (&"1".into(), &"sent".into())
    );
    let rule = sent["ways"][0]["turns"][0]["path"].as_array().and_then(|p| p.iter().find(|s| s["what"] == "rule"));
    assert_eq!(rule.map(|r| &r["line"]), Some(&69.into()));
    let dropped = as_schema(
        "iptables-eval",
        &eval(&[&DUMPS, &["--in", "eth0", "--src", "192.168.0.9", "--dst", "127.0.0.1"], json]),
    );
    assert_eq!(dropped["ways"][0]["turns"][0]["end"]["verdict"], "dropped");
    let local = &["--local", "--src", "192.168.0.12", "--dst", "192.168.0.12", "--proto", "icmp", "--packets", "4"];
    assert_eq!(
        as_schema("iptables-eval", &eval(&[&DUMPS, local, json]))["ways"][0]["turns"][0]["end"]["verdict"],
        "local"
    );
    let asserted = eval(&[&DUMPS, &["--assert", "docs/iptables-eval/assert.yaml"], json]);
    assert_eq!(as_schema("iptables-assert", &asserted)["passed"], true);
}

#[test]
fn assertions_fail_and_errors_have_places() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("it can be written");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let packets = |packets: &str| format!("apiVersion: podhop/v1\nkind: IptablesAssertions\npackets:\n{packets}");
    let wrong = write(
        "wrong.yaml",
        &packets(
            "  - {in: eth0, src: 192.168.0.9, dst: 192.168.0.12, dport: 30080,\n     \
             expect: {endpoints: [], verdict: local}}\n",
        ),
    );
    let o = eval(&[&DUMPS, &["--assert", &wrong]]);
    assert_eq!(o.status.code(), Some(1));
    let want = "FAILED  192.168.0.9:1000 > 192.168.0.12:30080\n        \
                endpoints: expected none, got 10.244.1.2:80\n        \
                verdict: expected local, got: sent by veth05d822ad as";
    assert!(text(&o.stdout).starts_with(want), "{}", text(&o.stdout));
    let bad = write(
        "bad.yaml",
        &packets(
            "  - {src: 1.2.3, dst: 1.2.3.4, proto: foo, expect: {}}\n  \
             - {in: eth7, src: 1.2.3.4, dst: 1.2.3.4, expect: {answred: true}}\n",
        ),
    );
    let o = eval(&[&DUMPS, &["--assert", &bad]]);
    assert_eq!(o.status.code(), Some(2));
    for part in ["bad.yaml:4:11", "`foo` is no protocol", "unknown field `answred`", "did you mean"] {
        assert!(text(&o.stderr).contains(part), "{part}: {}", text(&o.stderr));
    }
    let nowhere =
        write("nowhere.yaml", &packets("  - {in: eth7, src: 1.2.3.4, dst: 1.2.3.4, expect: {answered: true}}\n"));
    let o = eval(&[&DUMPS, &["--assert", &nowhere]]);
    for part in ["nowhere.yaml:4:10", "the node has eth0"] {
        assert!(text(&o.stderr).contains(part), "{part}: {}", text(&o.stderr));
    }
    let o = eval(&[&["--rules", "docs/iptables-eval/rules"], &TO_THE_SERVICE]);
    assert_eq!(
        (o.status.code(), text(&o.stderr)),
        (Some(2), "error: no device eth0 leads outside: the dumps show none\n".to_owned())
    );
    let o = eval(&[&["--rules", "README.md"], &TO_THE_SERVICE]);
    assert!(o.status.code() == Some(2) && text(&o.stderr).contains("README.md:3:1"), "{}", text(&o.stderr));
}
