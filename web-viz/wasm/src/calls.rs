//! What a page may ask for. A request and its reply are bundles, whose first file is JSON.
//!
//! | file of a request | what it holds |
//! |---|---|
//! | `request` | `scenario`, a path, and for a run `limits` |
//! | all others | the scenario and the files that it names, by path |
//!
//! | file of a reply | what it holds |
//! |---|---|
//! | `reply` | `exit`, podhop's exit status, and what the next table says |
//! | all others | what the run has written, by path |
//!
//! | in `reply` | when |
//! |---|---|
//! | `summary` | the scenario was run: docs/schemas/summary.v1.json, with the digests of all files |
//! | `diagnostics`, `text` | the scenario was read: docs/schemas/check.v1.json, and the same as text |
//! | `error` | none of these: the request is wrong (`exit` 2), or the outputs became too long (3) |

use crate::bundle;
use serde::Deserialize;
use serde_json::{Value, json};
use sim_core::observe::{Memory, Store};
use sim_core::scenario::{self, Diagnostics, Options, Plan, RunError};
use std::io;
use std::path::Path;

/// The outputs of a run are no longer than this in all, in bytes (256 MiB).
const MAX_OUTPUT_BYTES: u64 = 256 << 20;

const FINE: i32 = 0;
const WRONG_INPUT: i32 = 2;
const LIMIT_HIT: i32 = 3;

const REQUEST: &str = "request";
const REPLY: &str = "reply";

/// The file `request`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    scenario: String,
    #[serde(default)]
    limits: Limits,
}

/// Limits of a run. What is left out, or is higher than what holds anyway, changes nothing.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limits {
    /// `spec.limits.chainFrames` of the scenario.
    chain_frames: Option<u64>,
    /// `spec.limits.frames` of the scenario.
    frames: Option<u64>,
    /// `spec.limits.events` of the scenario.
    events: Option<u64>,
    /// All outputs together, in bytes: [`MAX_OUTPUT_BYTES`].
    output_bytes: Option<u64>,
}

/// What a call comes to: the file `reply`, and the outputs.
struct Reply {
    head: Value,
    outputs: Memory,
}

/// Finds every error in a scenario, without running its traffic; appends the reply.
pub(crate) fn check(request: &[u8], reply: &mut Vec<u8>) {
    match load(request) {
        Ok((plan, _)) => Reply::read(FINE, &plan.warnings),
        Err(refused) => refused,
    }
    .pack(reply);
}

/// Runs a scenario; appends the reply.
pub(crate) fn run(request: &[u8], reply: &mut Vec<u8>) {
    match load(request) {
        Ok((plan, limits)) => play(plan, &limits),
        Err(refused) => refused,
    }
    .pack(reply);
}

/// The scenario of a request; the reply if there is none.
fn load(request: &[u8]) -> Result<(Plan, Limits), Reply> {
    let (request, files) = read(request)?;
    match scenario::load(&files, Path::new(&request.scenario), None) {
        Ok((_, plan)) => Ok((plan, request.limits)),
        Err(errors) => Err(Reply::read(WRONG_INPUT, &errors)),
    }
}

/// Cuts a request into its head and the files; the reply if it is none.
fn read(request: &[u8]) -> Result<(Request, Memory), Reply> {
    let wrong = |why: String| Reply::error(WRONG_INPUT, &format!("the request is wrong: {why}"));
    let files = bundle::read(request).map_err(wrong)?;
    let Some((&(REQUEST, head), files)) = files.split_first() else {
        return Err(wrong(format!("its first file is not called `{REQUEST}`")));
    };
    let head = serde_json::from_slice(head).map_err(|e| wrong(e.to_string()))?;
    let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
    Ok((head, Memory { files }))
}

fn play(mut plan: Plan, limits: &Limits) -> Reply {
    let lower = |limit: &mut u64, given: Option<u64>| *limit = given.map_or(*limit, |given| given.min(*limit));
    let own = &mut plan.config.limits;
    lower(&mut own.chain_frames, limits.chain_frames);
    lower(&mut own.frames, limits.frames);
    lower(&mut own.events, limits.events);
    let mut left = MAX_OUTPUT_BYTES;
    lower(&mut left, limits.output_bytes);
    let mut store = Bounded { memory: Memory::default(), left };
    match scenario::run(&plan, &mut store, Options::default(), &mut ()) {
        Ok(report) => {
            let mut reply = Reply::read(report.exit_code(), &plan.warnings);
            reply.head["summary"] = json!(report.summary());
            Reply { outputs: store.memory, ..reply }
        }
        // The set-up did not fail when the scenario was read: one of the limits given is too low for it.
        Err(RunError::Setup(errors)) => Reply::read(WRONG_INPUT, &scenario::setup_diagnostics(&errors)),
        Err(RunError::Output(error)) => Reply::error(LIMIT_HIT, &error.to_string()),
    }
}

/// A store in memory that takes so much and no more.
struct Bounded {
    memory: Memory,
    left: u64,
}

impl Store for Bounded {
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                self.memory.append(path, bytes)
            }
            None => Err(io::Error::other("limit outputBytes: the outputs of the run take more")),
        }
    }
}

impl Reply {
    /// What was found when the scenario was read.
    fn read(exit: i32, found: &Diagnostics) -> Self {
        Reply {
            head: json!({"exit": exit, "diagnostics": found, "text": found.render(false)}),
            outputs: Memory::default(),
        }
    }

    fn error(exit: i32, error: &str) -> Self {
        Reply { head: json!({"exit": exit, "error": error}), outputs: Memory::default() }
    }

    fn pack(self, bundle: &mut Vec<u8>) {
        let head = self.head.to_string().into_bytes();
        let files = self.outputs.files;
        let sizes = files.iter().map(|(name, content)| bundle::size(name, content));
        bundle.reserve_exact(bundle::size(REPLY, &head) + sizes.sum::<usize>());
        bundle::push(bundle, REPLY, &head);
        files.into_iter().for_each(|(name, content)| bundle::push(bundle, &name, &content));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = "\
apiVersion: podhop/v1
kind: Scenario
metadata: {name: alone}
spec:
  namespaces:
    a: {setupFile: setup.sh}
  traffic:
    - {from: a, run: ping -c9 127.0.0.1}
  expect:
    - {command: ping -c9 127.0.0.1, exit: 0}
";

    /// A call's reply: its head, and the names of the outputs.
    fn call(call: fn(&[u8], &mut Vec<u8>), request: &str, files: &[(&str, &str)]) -> (Value, Vec<(String, usize)>) {
        let mut bundle = vec![];
        bundle::push(&mut bundle, REQUEST, request.as_bytes());
        files.iter().for_each(|(name, content)| bundle::push(&mut bundle, name, content.as_bytes()));
        let mut reply = vec![];
        call(&bundle, &mut reply);
        let files = bundle::read(&reply).expect("a bundle");
        let ((name, head), outputs) = files.split_first().expect("a head");
        assert_eq!(*name, REPLY);
        let outputs = outputs.iter().map(|(name, content)| ((*name).to_owned(), content.len())).collect();
        (serde_json::from_slice(head).expect("JSON"), outputs)
    }

    const FILES: [(&str, &str); 2] = [("x/s.yaml", SCENARIO), ("x/setup.sh", "ip link set lo up\n")];

    #[test]
    fn a_run_gives_its_summary_and_every_file() {
        let (head, outputs) = call(run, r#"{"scenario": "x/s.yaml"}"#, &FILES);
        assert_eq!((&head["exit"], &head["summary"]["scenario"]), (&json!(0), &json!("alone")), "{head}");
        let told = head["summary"]["files"].as_object().expect("files");
        let told: Vec<_> = told.iter().map(|(path, file)| (path.clone(), file["bytes"].clone())).collect();
        assert_eq!(told, outputs.into_iter().map(|(path, bytes)| (path, json!(bytes))).collect::<Vec<_>>());
        assert!(told.iter().any(|(path, _)| path == "captures/namespaces/a/lo.pcap"), "{told:?}");
    }

    #[test]
    fn a_check_runs_nothing() {
        assert_eq!(
            call(check, r#"{"scenario": "x/s.yaml"}"#, &FILES).0,
            json!({"exit": 0, "diagnostics": [], "text": ""})
        );
        for call_of in [check, run] {
            let (head, outputs) = call(call_of, r#"{"scenario": "x/s.yaml"}"#, &FILES[..1]);
            assert_eq!((&head["exit"], outputs.len()), (&json!(2), 0), "{head}");
            assert_eq!(
                (&head["diagnostics"][0]["line"], &head["diagnostics"][0]["column"]),
                (&json!(6), &json!(20)),
                "{head}"
            );
            let message = "`setup.sh`: the file cannot be read: there is none";
            assert_eq!(head["diagnostics"][0]["message"], message);
            assert!(head["text"].as_str().is_some_and(|t| t.starts_with(&format!("error: {message}\n"))), "{head}");
        }
    }

    #[test]
    fn limits_end_a_run() {
        for (limits, exit, error) in [
            (r#"{"outputBytes": 1000}"#, 3, json!("limit outputBytes: the outputs of the run take more")),
            (r#"{"outputBytes": 500000}"#, 0, Value::Null),
            // Only lower ones count.
            (r#"{"frames": 18446744073709551615, "outputBytes": 18446744073709551615}"#, 0, Value::Null),
        ] {
            let (head, _) = call(run, &format!(r#"{{"scenario": "x/s.yaml", "limits": {limits}}}"#), &FILES);
            assert_eq!((&head["exit"], &head["error"]), (&json!(exit), &error), "{limits}");
        }
        for (name, limit) in [("chainFrames", 1), ("frames", 10), ("events", 10)] {
            let request = format!(r#"{{"scenario": "x/s.yaml", "limits": {{"{name}": {limit}}}}}"#);
            let (head, outputs) = call(run, &request, &FILES);
            assert_eq!((&head["exit"], &head["summary"]["limit"]["name"]), (&json!(3), &json!(name)), "{head}");
            assert!(!outputs.is_empty(), "what was written until then");
        }
    }

    #[test]
    fn what_is_no_request() {
        for (request, why) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{}", "missing field `scenario` at line 1 column 2"),
            (r#"{"scenario": 1}"#, "invalid type: integer `1`, expected a string at line 1 column 14"),
            (
                r#"{"scenario": "x", "seed": 1}"#,
                "unknown field `seed`, expected `scenario` or `limits` at line 1 column 24",
            ),
        ] {
            let (head, _) = call(run, request, &FILES);
            assert_eq!(head, json!({"exit": 2, "error": format!("the request is wrong: {why}")}), "{request}");
        }
        for (bytes, why) in [
            (&b""[..], "its first file is not called `request`"),
            (b"\x01\0\0\0\0\0\0\0x", "its first file is not called `request`"),
            (b"\xff\xff", "byte 0 of the bundle begins no whole file"),
        ] {
            let mut reply = vec![];
            run(bytes, &mut reply);
            let said = String::from_utf8_lossy(bundle::read(&reply).expect("a bundle")[0].1).into_owned();
            assert_eq!(said, format!(r#"{{"error":"the request is wrong: {why}","exit":2}}"#));
        }
    }
}
