//! The same lab twice: built and run in real namespaces and by us, from the same commands, and compared.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::Duration;

use regex::Regex;
use serde_json::json;
use sim_core::kernel::show;
use sim_core::kernel::syscall::Shutdown;
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::plan::{Plan, Script, Traffic};
use sim_core::scenario::{self, Disk, SourceFile};
use sim_core::user::scripted::{Payload, Protocol, Step, Until};

use crate::judge::{self, Case, Options};
use crate::real::{self, Captures, Lab};

/// Runs the scripts of a scenario, and its servers, on the real kernel.
const SCRIPT: &str = include_str!("live/script.py");

/// What differs must differ so often: two of the kernel's random IP ids may be equal by chance, and a busy machine may
/// let a second pass between two records.
const MEASUREMENTS: usize = 2;

/// What is compared besides the records of `tcpdump -i any` in every namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compare {
    /// The gaps between records, as the judge does.
    pub times: bool,
    /// What the commands and scripts print, and, at the end, each namespace's `iptables-save -c` and `conntrack -L`.
    pub outputs: bool,
    /// It is right that nobody sees a record.
    pub silent: bool,
}

/// What was seen, and what each command printed: namespace, command, output.
struct Seen {
    case: Case,
    heard: Vec<[String; 3]>,
}

/// A scenario's text up to `traffic:`, with the traffic: a namespace and either a command, or the lines of a script in
/// braces, or `sleep 1s`; `& ` in front does not wait for it. Does nothing where the real kernel may not be asked.
///
/// # Panics
/// The scenario is wrong, or the real kernel shows something else; the message shows what.
pub fn check(lab: &str, name: &str, traffic: &[(&str, &str)], compare: Compare) {
    if !real::can_run() {
        return;
    }
    let text = traffic.iter().fold(lab.to_owned(), |text, (ns, what)| text + &entry(ns, what));
    let mut plan = resolve(name, &text);
    if compare.outputs {
        let names: Vec<String> = plan.namespaces.iter().map(|n| n.name.clone()).collect();
        let tables = names.iter().flat_map(|n| [(n, "iptables-save -c"), (n, "conntrack -L")]);
        plan = resolve(name, &tables.fold(text, |text, (ns, what)| text + &entry(ns, what)));
    }
    compare_plan(name, &plan, compare);
}

/// A scenario as it stands in its file. Does nothing where the real kernel may not be asked.
///
/// # Panics
/// The scenario is wrong, or the real kernel shows something else; the message shows what.
pub fn check_file(path: &Path, compare: Compare) {
    if real::can_run() {
        let (_, plan) = scenario::load(&Disk, path).unwrap_or_else(|e| panic!("{}", e.render(false)));
        compare_plan(&path.display().to_string(), &plan, compare);
    }
}

fn compare_plan(name: &str, plan: &Plan, compare: Compare) {
    let ours = simulated(plan);
    let options = Options { times: compare.times, ..Options::default() };
    let mut told = String::new();
    for _ in 0..MEASUREMENTS {
        let theirs = measured(name, plan, compare);
        let mut differences = judge::compare(&theirs.case, None, &ours.case, &options);
        if compare.outputs {
            differences.extend(outputs(&theirs.heard, &ours.heard));
        }
        if differences.is_empty() {
            return;
        }
        let text = |seen: &Seen| seen.said() + &judge::canon(&seen.case, &options);
        told = format!("{}\nreal:\n{}\nours:\n{}", differences.join("\n"), text(&theirs), text(&ours));
    }
    panic!("{name}\n{told}");
}

impl Seen {
    /// The commands with what they printed.
    fn said(&self) -> String {
        self.heard.iter().fold(String::new(), |s, [ns, command, output]| s + &format!("[{ns}] {command}\n{output}"))
    }
}

/// An entry of `traffic:`.
fn entry(ns: &str, what: &str) -> String {
    let (what, background) = match what.strip_prefix("& ") {
        Some(what) => (what, ", background: true"),
        None => (what, ""),
    };
    if what.starts_with('{') {
        return format!("    - {{from: {ns}{background}, script: [{what}]}}\n");
    }
    match what.strip_prefix("sleep ") {
        Some(time) => format!("    - {{sleep: {time}}}\n"),
        None => format!("    - {{from: {ns}{background}, run: \"{what}\"}}\n"),
    }
}

fn resolve(name: &str, text: &str) -> Plan {
    let source = SourceFile::new(name, text);
    scenario::resolve(&source).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

fn simulated(plan: &Plan) -> Seen {
    let mut memory = Memory::default();
    let outputs = Outputs { captures: true, ..Outputs::NONE };
    let options = scenario::Options { outputs, ..scenario::Options::default() };
    let report = scenario::run(plan, &mut memory, options, &mut ()).expect("it runs");
    let any = |p: &str| Some(p.strip_prefix("captures/namespaces/")?.strip_suffix("/any.pcap")?.to_owned());
    let files = memory.files.into_iter().filter_map(|(p, b)| Some((format!("{}.any.pcap", any(&p)?), b)));
    let mut files: BTreeMap<String, Vec<u8>> = files.collect();
    files.insert("ifmap".to_owned(), ifmap(plan));
    let heard = report.commands.into_iter().map(|c| [c.from, c.command, c.output]).collect();
    Seen { case: Case { order: None, files }, heard }
}

/// Indices are ours for both: devices are made in the same order.
fn ifmap(plan: &Plan) -> Vec<u8> {
    let (world, _) = scenario::play(plan, &mut sim_core::kernel::trace::Mute).expect("it runs");
    let mut text = String::new();
    for m in world.machines() {
        for (ns, name) in m.spaces().iter() {
            for l in show::links(m.spaces(), ns, m.now()) {
                text += &format!("{name} {} {}\n", l.index, l.name);
            }
        }
    }
    text.into_bytes()
}

/// Hardware addresses that nobody chose are drawn at random: the real devices get ours. As ours, they leave no checksum
/// to others, and no segments. The machine may prefer another congestion control.
fn like_ours(lab: &Lab, plan: &Plan) {
    let world = scenario::build(plan, &mut sim_core::kernel::trace::Mute).expect("it was built a moment ago");
    for m in world.machines() {
        let run = |name: &str, command: &str| {
            let out = lab.exec(name, command);
            assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
        };
        for (ns, name) in m.spaces().iter() {
            // Where cubic is not for everybody: what is short does not tell one from the other.
            if !lab.exec(name, "sysctl -qw net.ipv4.tcp_congestion_control=cubic").status.success() {
                run(name, "sysctl -qw net.ipv4.tcp_congestion_control=reno");
            }
            let links = show::links(m.spaces(), ns, m.now());
            for l in links.iter().filter(|l| l.arphrd == 1) {
                run(name, &format!("ip link set dev {} address {}", l.name, l.address));
                run(name, &format!("ethtool -K {} tx off", l.name));
            }
        }
    }
}

/// Processes that end with the test.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn measured(name: &str, plan: &Plan, compare: Compare) -> Seen {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lab = Lab::new(plan);
    like_ours(&lab, plan);
    let servers = servers(&lab, plan);
    // What interfaces say of themselves when they come up.
    sleep(Duration::from_millis(300));
    let captures = Captures::start(&lab, dir.path());
    let heard = traffic(&lab, plan);
    captures.stop();
    drop(servers);
    let mut files = BTreeMap::new();
    for n in &plan.namespaces {
        let file = format!("{}.any.pcap", n.name);
        let bytes = std::fs::read(Path::new(dir.path()).join(&file)).unwrap_or_default();
        if bytes.len() > 24 {
            files.insert(file, with_checksums(bytes));
        }
    }
    assert!(!files.is_empty() || compare.silent, "{name}: nothing was seen");
    files.insert("ifmap".to_owned(), ifmap(plan));
    Seen { case: Case { order: None, files }, heard }
}

/// A capture with the checksums of UDP that the kernel leaves to a device that never computes them: lo, whose offload
/// cannot be turned off. We compute them all. What ICMP errors quote has them, too.
fn with_checksums(mut pcap: Vec<u8>) -> Vec<u8> {
    const LO: u32 = 1;
    const SLL2_LEN: usize = 20;
    let word = |b: &[u8], at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    let mut at = 24;
    while at + 16 <= pcap.len() {
        let len = word(&pcap, at + 8) as usize;
        let end = (at + 16 + len).min(pcap.len());
        let frame = &mut pcap[at + 16..end];
        at = end;
        if frame.len() > SLL2_LEN && frame[..2] == [8, 0] && word(frame, 4).swap_bytes() == LO {
            complete(&mut frame[SLL2_LEN..], false);
        }
    }
    pcap
}

/// Completes the checksum of a datagram, or of the one that an ICMP error quotes; whether there was something to do.
/// NAT may have changed an incomplete one that is quoted, so that it can't be told from a wrong one.
fn complete(ip: &mut [u8], quoted: bool) -> bool {
    const ICMP: u8 = 1;
    const UDP: u8 = 17;
    const ERRORS: [u8; 3] = [3, 11, 12];
    let sum = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0))).sum()
    };
    let fold = |sum: u32| (((sum >> 16) + (sum & 0xffff)) % 0xffff) as u16;
    let hlen = usize::from(ip.first().map_or(0, |b| b & 0xf)) * 4;
    let is_whole = ip.len() >= hlen + 8 && hlen >= 20 && usize::from(u16::from_be_bytes([ip[2], ip[3]])) == ip.len();
    if !is_whole || ip[6] & 0x3f != 0 || ip[7] != 0 {
        return false;
    }
    let put = |ip: &mut [u8], at: usize, pseudo: u32| {
        ip[at..at + 2].fill(0);
        let sum = !fold(pseudo + sum(&ip[hlen..]));
        ip[at..at + 2].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    };
    match ip[9] {
        UDP => {
            let pseudo = sum(&ip[12..20]) + u32::from(UDP) + (ip.len() - hlen) as u32;
            let left_out = quoted || fold(pseudo) == u16::from_be_bytes([ip[hlen + 6], ip[hlen + 7]]);
            if left_out {
                put(ip, hlen + 6, pseudo);
            }
            left_out
        }
        ICMP => {
            let changed = ERRORS.contains(&ip[hlen]) && complete(&mut ip[hlen + 8..], true);
            if changed {
                put(ip, hlen + 2, 0);
            }
            changed
        }
        _ => false,
    }
}

/// Starts the servers of all namespaces.
fn servers(lab: &Lab, plan: &Plan) -> Running {
    let mut running = Running(vec![]);
    for n in &plan.namespaces {
        for s in &n.servers {
            let mut python = python(lab, &n.name);
            python.args(s.text.split_whitespace()).stdout(Stdio::piped()).stdin(Stdio::null());
            let mut child = python.spawn().expect("ip runs");
            let mut ready = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
            running.0.push(child);
            let mut line = String::new();
            std::io::BufRead::read_line(&mut ready, &mut line).expect("the server starts");
            assert_eq!(line, "ready\n", "{}", s.text);
        }
    }
    running
}

/// Runs the traffic, one after the other; what runs in the background is heard at the end.
fn traffic(lab: &Lab, plan: &Plan) -> Vec<[String; 3]> {
    let mut heard: Vec<[String; 3]> = vec![];
    let mut behind: Vec<(usize, Child)> = vec![];
    #[expect(clippy::disallowed_types, reason = "the real kernel has a real clock")]
    let start = std::time::Instant::now();
    for t in &plan.traffic {
        let at = match t {
            Traffic::Run(run) => run.at,
            Traffic::Script(script) => script.at,
            Traffic::Sleep(_) => None,
        };
        sleep(at.map_or(Duration::ZERO, |at| Duration::from_nanos(at.0).saturating_sub(start.elapsed())));
        let (from, text, background, child) = match t {
            Traffic::Sleep(ns) => {
                sleep(Duration::from_nanos(*ns));
                continue;
            }
            Traffic::Run(run) => {
                let mut command = lab.command(&run.from, &run.line.text);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                (&run.from, &run.line.text, run.background, command.spawn().expect("ip runs"))
            }
            Traffic::Script(script) => (&script.from, &script.name, script.background, scripted(lab, script)),
        };
        heard.push([from.clone(), text.clone(), String::new()]);
        if background {
            behind.push((heard.len() - 1, child));
            // It starts as slowly as all that is started.
            sleep(Duration::from_millis(150));
            continue;
        }
        let out = child.wait_with_output().expect("it ends");
        heard.last_mut().expect("one was added")[2] = said(lab, &out);
    }
    for (at, child) in behind {
        heard[at][2] = said(lab, &child.wait_with_output().expect("it ends"));
    }
    heard
}

/// What a program printed; namespaces have the names that we gave them.
fn said(lab: &Lab, out: &Output) -> String {
    String::from_utf8_lossy(&[&*out.stdout, &*out.stderr].concat()).replace(&lab.prefix, "")
}

fn python(lab: &Lab, ns: &str) -> Command {
    let mut command = lab.command(ns, "/usr/bin/python3 -SEs -c");
    command.arg(SCRIPT);
    command
}

/// Starts a script.
fn scripted(lab: &Lab, script: &Script) -> Child {
    let mut python = python(lab, &script.from);
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().expect("ip runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(steps(&script.lines).as_bytes()).expect("it reads");
    child
}

/// The lines of a script as `script.py` reads them.
fn steps(lines: &[Step]) -> String {
    let mut text = String::new();
    for line in lines {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let call = match line {
            Step::Socket { protocol, name } => {
                let protocol = if *protocol == Protocol::Udp { "udp" } else { "tcp" };
                json!(["socket", protocol, name.as_deref().unwrap_or("")])
            }
            Step::Use(name) => json!(["use", &**name]),
            Step::SetSockOpt(opt) => {
                let words: Vec<&str> = opt.text.split(' ').collect();
                json!(["setsockopt", words[0], words[1], words[2]])
            }
            Step::SetTimeout(ns) => json!(["settimeout", ns.map(seconds)]),
            Step::Bind(addr) => json!(["bind", addr.to_string()]),
            Step::Connect(addr) => json!(["connect", addr.to_string()]),
            Step::Listen(backlog) => json!(["listen", backlog]),
            Step::Accept { timeout_ns, name } => {
                json!(["accept", timeout_ns.map(seconds), name.as_deref().unwrap_or("")])
            }
            Step::Send { payload: Payload { text, size, byte, end }, to } => {
                json!(["send", &**text, size, byte, &**end, to.map(|to| to.to_string())])
            }
            Step::Recv { timeout_ns, size, errqueue: false, until } => {
                let total = match until {
                    Until::Once => None,
                    Until::Total(bytes) => Some(*bytes),
                    Until::End => Some(0),
                };
                json!(["recv", timeout_ns.map(seconds), size, total])
            }
            Step::Shutdown(Shutdown::Read) => json!(["shutdown", "read"]),
            Step::Shutdown(Shutdown::Write) => json!(["shutdown", "write"]),
            Step::Shutdown(Shutdown::Both) => json!(["shutdown", "both"]),
            Step::Close => json!(["close"]),
            Step::Sleep(ns) => json!(["sleep", seconds(*ns)]),
            Step::Repeat(times, body) => {
                (0..*times).for_each(|_| text += &steps(body));
                continue;
            }
            Step::Cost(_) => continue,
            Step::Recv { errqueue: true, .. } => panic!("{line} has no counterpart"),
        };
        let mut words = vec![json!(line.to_string())];
        words.extend(call.as_array().into_iter().flatten().cloned());
        text += &format!("{}\n", serde_json::Value::Array(words));
    }
    text
}

/// Where the outputs of the commands differ, of those whose output is not about times.
fn outputs(theirs: &[[String; 3]], ours: &[[String; 3]]) -> Vec<String> {
    let mut differences = vec![];
    for ([ns, command, real], [_, _, our]) in theirs.iter().zip(ours) {
        let [real, our] = [masked(command, real), masked(command, our)];
        if real != our {
            differences.push(format!("[{ns}] {command}\n  real:\n{real}\n  ours:\n{our}"));
        }
    }
    assert_eq!(theirs.len(), ours.len(), "the same commands ran");
    differences
}

/// An output without what is free in it; lines whose order is free are sorted.
fn masked(command: &str, output: &str) -> String {
    static TIMES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"time[= ]\S+( ?ms)?|, pipe \d+|ipg/ewma \S+ ms|rtt .*| id=\d+|\[?\b\d[\d.]*ms\b\]?|expires \d+sec")
            .expect("it is one")
    });
    // Protocol, number, seconds left.
    static LEFT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^(\S+ +\d+) \d+ ").expect("it is one"));
    let text = TIMES.replace_all(output, "");
    // The two streams of ping are two pipes.
    if command.starts_with("conntrack") || command.starts_with("ping") {
        let mut lines: Vec<_> = text.lines().map(|l| LEFT.replace(l, "$1 ")).collect();
        lines.sort_unstable();
        return lines.join("\n");
    }
    let kept = |l: &&str| !l.starts_with('#') && !l.is_empty();
    text.lines().filter(kept).map(str::trim_end).collect::<Vec<_>>().join("\n")
}
