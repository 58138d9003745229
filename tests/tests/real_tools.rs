//! The same commands in real network namespaces: the real tools print what ours do.

use std::collections::BTreeSet;
use std::process::{Child, Output, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::Duration;

use podhop_tests::{real, scenarios};
use regex::Regex;
use sim_core::observe::Nowhere;
use sim_core::scenario::plan::{Plan, Traffic};
use sim_core::scenario::{self, Options, SourceFile};

/// What is compared, after the ping of labs/same-node-by-hand.
const SAME_NODE: &str = "\
    [pod-a] ! ping -c1 10.244.4.41
    [node] ip link
    [node] ip addr
    [node] ip -br link
    [node] ip -br addr
    [node] ip route
    [node] ip route show table local
    [node] ip neigh
    [node] bridge link
    [node] bridge fdb
    [node] bridge fdb show br cbr0
    [node] ip link show master cbr0
    [pod-a] ip addr show eth0
    [pod-a] ip -s link show eth0
    [pod-a] ip -o addr
    [pod-a] ip route show table all
    [pod-a] ip neigh
    [pod-b] ip neigh";

/// So many command lines of the long list are compared at least.
const MIN_COMPARED: usize = 60;

/// A line of a list of commands.
struct Line<'a> {
    from: &'a str,
    /// Nobody waits for it.
    background: bool,
    /// It is run for what it does.
    silent: bool,
    command: &'a str,
}

#[test]
fn texts_of_the_first_lesson() {
    let path = scenarios::root().join("scenarios/labs/same-node-by-hand/scenario.yaml");
    let yaml = std::fs::read_to_string(&path).expect("the lesson");
    let (head, _) = yaml.split_once("  traffic:").expect("traffic");
    let head = ["a", "b"].iter().fold(head.to_owned(), |text, pod| {
        let add = format!("ip link add veth-{pod} ");
        text.replace(&add, &format!("{add}address 4e:00:00:00:04:0{pod} "))
    });
    // A bridge that snoops joins 224.0.0.106 and says so after a random time, which the ports' counters would tell.
    compare(&head.replace(" type bridge", " type bridge mcast_snooping 0"), SAME_NODE);
}

#[test]
fn texts_of_all_tools() {
    let compared = compare(include_str!("real_tools/lab.yaml"), include_str!("real_tools/commands.txt"));
    assert!(compared >= MIN_COMPARED || !real::can_run(), "{compared} commands are compared");
}

/// Runs the commands in the lab, in real namespaces and simulated; what they print and their exit statuses are equal.
/// How many they were.
fn compare(lab: &str, list: &str) -> usize {
    if !real::can_run() {
        return 0;
    }
    let lines: Vec<_> = list.lines().map(str::trim).filter(|l| l.starts_with('[')).map(line).collect();
    let plan = plan(lab, &lines);
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs");
    let real = real::Lab::new(&plan);
    let mut background = Background(vec![]);
    let (mut differences, mut compared) = (String::new(), 0);
    for ((t, ours), line) in plan.traffic.iter().zip(&report.commands).zip(&lines) {
        let Traffic::Run(run) = t else { continue };
        if line.background {
            let mut command = real.command(&run.from, line.command);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            background.0.push(command.spawn().expect("ip runs"));
            sleep(Duration::from_millis(200));
            continue;
        }
        let out = real.exec(&run.from, line.command);
        if line.silent {
            continue;
        }
        let theirs = [text(&out, &real.prefix), format!("exit {:?}", out.status.code())];
        let ours = [ours.output.clone(), format!("exit {:?}", ours.exit)];
        compared += 1;
        let [mut theirs, ours] = [theirs, ours].map(|texts| masked(line.command, &texts.concat()));
        if line.command.starts_with("sysctl") {
            theirs = known(&theirs, &ours);
        }
        if line.command.contains("lsns") {
            theirs = of_lab(&theirs, &plan);
        }
        if theirs != ours {
            differences += &format!("[{}] {}\n{}\n", line.from, line.command, diff(&theirs, &ours));
        }
    }
    assert!(differences.is_empty(), "{differences}");
    compared
}

/// Of what the real sysctl lists, what we know.
fn known(theirs: &str, ours: &str) -> String {
    let name = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let names: BTreeSet<_> = ours.lines().map(name).collect();
    let known = |line: &&str| !line.starts_with("net.") || names.contains(&name(line));
    theirs.lines().filter(known).collect::<Vec<_>>().join("\n")
}

/// Of the namespaces that the real lsns lists, those of the lab.
fn of_lab(theirs: &str, plan: &Plan) -> String {
    let file = |line: &str| line.split(' ').find_map(|word| word.strip_prefix("/run/netns/").map(str::to_owned));
    let known = |line: &&str| match file(line) {
        Some(file) => plan.namespaces.iter().any(|n| n.name == file),
        None => !line.contains("unassigned"),
    };
    theirs.lines().filter(known).collect::<Vec<_>>().join("\n")
}

/// The lines that are not in the other text: `-` of the real tool, `+` of ours.
fn diff(theirs: &str, ours: &str) -> String {
    let only = |sign: &str, a: &str, b: &str| -> String {
        a.lines().filter(|l| !b.lines().any(|other| other == *l)).map(|l| format!("{sign}{l}\n")).collect()
    };
    only("-", theirs, ours) + &only("+", ours, theirs)
}

/// `[NAMESPACE] COMMAND`, with a mark before the command.
fn line(text: &str) -> Line<'_> {
    let (from, command) = text[1..].split_once("] ").expect("a namespace in brackets");
    let mark = |mark: &str| command.strip_prefix(mark);
    let bare = mark("! ").or(mark("& ")).unwrap_or(command);
    Line { from, background: mark("& ").is_some(), silent: mark("! ").is_some(), command: bare }
}

/// The lab with the commands as its traffic.
fn plan(lab: &str, lines: &[Line<'_>]) -> Plan {
    let mut text = format!("{lab}  traffic:\n");
    for Line { from, background, command, .. } in lines {
        let background = if *background { ", background: true" } else { "" };
        text += &format!("    - {{from: {from}{background}, run: \"{command}\"}}\n");
    }
    scenario::resolve(&SourceFile::new("inline", text)).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

fn text(out: &Output, prefix: &str) -> String {
    let both = [out.stdout.as_slice(), &out.stderr].concat();
    String::from_utf8_lossy(&both).replace(prefix, "")
}

/// A text without what is free in it: ages, timers, process ids. Neighbours come in the order of a hash table.
fn masked(command: &str, text: &str) -> String {
    static FREE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let free = [
            // ip -s neigh, bridge -s fdb
            (r"used \d+(/\d+)+", "used N"),
            (r#""(used|confirmed|updated)": ?\d+"#, "\"$1\": N"),
            // Timers of bridges.
            (r#"((?:_| )timer"?:?)\s+\d+\.\d\d"#, "$1 N"),
            (r"(?m)^( +\d\t[0-9a-f:]+\tno\t\t) +\d+\.\d\d", "$1 N"),
            // /proc/net/nf_conntrack: what is left of the timeout, the id of an echo.
            (r"(?m)^(ipv4 +2 \w+ +\d+) \d+", "$1 N"),
            (r"(code=0 id)=\d+", "$1=N"),
            // iptables-save
            (r"(?m)^(# .* on) .*", "$1 N"),
            // ss -i: what is measured, and what we do not count.
            (r"\b((?:min|)rtt|rto|send)[: ]\S+", "$1:N"),
            (r" (?:last(?:snd|rcv|ack)|bytes_(?:sent|received)|(?:data_)?segs_(?:out|in)):\d+", ""),
            (r" (?:pacing_rate \S+|delivery_rate \S+|app_limited)", ""),
            (r"(?m)(snd_wnd:\d+) +$", "$1"),
            // lsns
            (r"(?m)^(?:4026\d{6}|        NS) +", "N "),
            (r"(?m)^(N net +\d+) +\d+", "$1 N"),
            // ss, netstat; columns are as wide as process ids.
            (r"pid=\d+", "pid=N"),
            (r"\d+/nc +", "N/nc"),
            (r"(?m)Process +$", "Process"),
        ];
        free.map(|(pattern, mask)| (Regex::new(pattern).expect("it is one"), mask)).into()
    });
    let text = FREE.iter().fold(text.to_owned(), |text, (free, mask)| free.replace_all(&text, *mask).into_owned());
    if command.contains("lsns") {
        // Columns are as wide as numbers and as the names of other namespaces.
        return text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join("\n");
    }
    let neighbours = command.contains("neigh") || command.contains("arp");
    if !neighbours || command.contains(" -j") {
        return text;
    }
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Processes that end with the test.
struct Background(Vec<Child>);

impl Drop for Background {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
