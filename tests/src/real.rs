//! The real kernel: the namespaces of a scenario, its set-up and its commands, with the real tools.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use sim_core::scenario::plan::Plan;

/// The version whose texts and errors the facts describe (Debian 12).
const IPROUTE2: &str = "iproute2-6.1.0";

/// Those that are asked besides.
const TOOLS: [&str; 11] =
    ["ping", "arping", "tcpdump", "ethtool", "brctl", "arp", "route", "netstat", "ss", "tc", "nc"];

/// Whether the real kernel may be asked: root, namespaces and the tools are there. Where not, says that the test is
/// skipped.
///
/// # Panics
/// They are not there, and `CI` is set: nothing is skipped then.
#[must_use]
pub fn can_run() -> bool {
    let there = probe();
    if !there {
        assert!(std::env::var("CI").is_err(), "skipped: needs root, ip and bridge of {IPROUTE2}, {}", TOOLS.join(", "));
        println!("skipped: needs root, ip and bridge of {IPROUTE2}, {}", TOOLS.join(", "));
    }
    there
}

/// What nobody else's namespaces begin with.
fn prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("podhop-{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn probe() -> bool {
    let version = Command::new("ip").arg("-V").output();
    let good = version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(IPROUTE2));
    let probe = format!("{}probe", prefix());
    let ip = |args: &[&str]| Command::new("ip").args(args).output().is_ok_and(|o| o.status.success());
    let there = |tool: &&str| Command::new(tool).arg("-V").stdin(Stdio::null()).output().is_ok();
    let tools = TOOLS.iter().all(there);
    good && tools && ip(&["netns", "add", &probe]) && ip(&["netns", "del", &probe])
}

/// Real namespaces, gone when dropped.
pub struct Lab {
    /// What the names of the namespaces begin with.
    pub prefix: String,
    names: Vec<String>,
}

impl Lab {
    /// Builds the namespaces of a plan and runs their set-up.
    ///
    /// # Panics
    /// A command fails.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let names = plan.namespaces.iter().map(|n| n.name.clone()).collect();
        let lab = Lab { prefix: prefix(), names };
        for n in &plan.namespaces {
            let name = format!("{}{}", lab.prefix, n.name);
            assert!(Command::new("ip").args(["netns", "add", &name]).status().expect("ip").success());
            let quiet = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
            assert!(lab.exec(&n.name, quiet).status.success(), "{quiet}");
        }
        for n in &plan.namespaces {
            for line in &n.setup {
                let out = lab.exec(&n.name, &line.text);
                assert!(out.status.success(), "{}: {}", line.text, String::from_utf8_lossy(&out.stderr));
            }
        }
        lab
    }

    /// Runs a command in a namespace; the names of namespaces in it get the prefix.
    ///
    /// # Panics
    /// There is no `ip`.
    #[must_use]
    pub fn exec(&self, ns: &str, command: &str) -> Output {
        self.command(ns, command).output().expect("ip runs")
    }

    /// A command that is to run in a namespace; the names of namespaces in it get the prefix.
    #[must_use]
    pub fn command(&self, ns: &str, command: &str) -> Command {
        let mut words: Vec<String> = vec![];
        for w in command.split_whitespace() {
            let after_netns = words.last().is_some_and(|l| l == "netns" || l == "-n");
            let named = after_netns && self.names.iter().any(|n| n == w);
            words.push(if named { format!("{}{w}", self.prefix) } else { w.to_owned() });
        }
        let name = format!("{}{ns}", self.prefix);
        let mut ip = Command::new("ip");
        // On one CPU, so that the order of events is the kernel's own and not a race of two.
        ip.args(["netns", "exec", &name, "taskset", "-c", "1"]).args(words);
        ip
    }
}

/// `tcpdump -i any` in every namespace, into files `NS.any.pcap` of a folder.
pub struct Captures {
    children: Vec<Child>,
}

impl Captures {
    /// Starts to capture ARP, ICMP, UDP and TCP: what a namespace says of itself besides is not of interest.
    ///
    /// # Panics
    /// tcpdump does not start.
    #[must_use]
    pub fn start(lab: &Lab, folder: &Path) -> Self {
        let mut children = vec![];
        for ns in &lab.names {
            let name = format!("{}{ns}", lab.prefix);
            let file = folder.join(format!("{ns}.any.pcap"));
            let err = folder.join(format!("{ns}.err"));
            let mut tcpdump = Command::new("ip");
            tcpdump.args(["netns", "exec", &name, "tcpdump", "-npU", "--immediate-mode", "-Z", "root", "-s", "9000"]);
            let format = ["--time-stamp-precision=nano", "-y", "LINUX_SLL2", "-i", "any", "-B", "8192", "-w"];
            tcpdump.args(format).arg(&file);
            tcpdump.args(["arp or icmp or udp or tcp"]).stdout(Stdio::null());
            tcpdump.stderr(File::create(&err).expect("a file"));
            children.push(tcpdump.spawn().expect("ip runs"));
            let listening = || std::fs::read_to_string(&err).is_ok_and(|t| t.contains("listening on"));
            assert!((0..200).any(|_| listening() || (sleep(Duration::from_millis(25)), false).1), "tcpdump in {name}");
        }
        sleep(Duration::from_millis(100));
        Captures { children }
    }

    /// Waits until what was seen is written, and ends.
    pub fn stop(self) {
        sleep(Duration::from_millis(300));
        for mut child in self.children {
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for n in &self.names {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{n}", self.prefix)]).status();
        }
    }
}
