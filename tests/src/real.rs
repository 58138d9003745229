//! The real kernel: the namespaces of a scenario, its set-up and its commands, with the real tools.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use sim_core::scenario::plan::{Namespace, Plan};

/// The version whose texts and errors the facts describe (Debian 12).
const IPROUTE2: &str = "iproute2-6.1.0";

/// Those that are asked besides.
const TOOLS: [&str; 14] = [
    "ping", "arping", "tcpdump", "ethtool", "brctl", "arp", "route", "netstat", "ss", "tc", "nc", "curl", "nginx",
    "dig",
];

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
    names: Vec<Name>,
}

/// A namespace's names.
struct Name {
    /// What people call it.
    name: String,
    /// What its machine calls it, before the prefix.
    netns: String,
}

/// What the files about a namespace call it, and the recordings: a pod has its own name alone.
#[must_use]
pub fn file_name(ns: &str) -> &str {
    ns.rsplit('/').next().unwrap_or(ns)
}

impl Lab {
    /// Builds the namespaces of a plan and runs their set-up.
    ///
    /// # Panics
    /// A command fails.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let name = |n: &Namespace| Name { name: n.name.clone(), netns: n.netns.clone() };
        let lab = Lab { prefix: prefix(), names: plan.namespaces.iter().map(name).collect() };
        for n in &plan.namespaces {
            let name = lab.netns(&n.name);
            assert!(Command::new("ip").args(["netns", "add", &name]).status().expect("ip").success());
            let quiet = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
                         net.ipv4.igmp_link_local_mcast_reports=0";
            assert!(lab.exec(&n.name, quiet).status.success(), "{quiet}");
        }
        for link in &plan.links {
            let [a, b] = &link.ends;
            let there = lab.netns(&b.namespace);
            let made = format!("ip link add {} type veth peer name {} netns {there}", a.device, b.device);
            assert!(lab.exec(&a.namespace, &made).status.success(), "{made}");
        }
        for n in &plan.namespaces {
            for line in &n.setup {
                let out = lab.exec(&n.name, &line.text);
                assert!(out.status.success(), "{}: {}", line.text, String::from_utf8_lossy(&out.stderr));
            }
        }
        lab
    }

    /// What the machine calls a namespace, by either of its names.
    fn netns(&self, ns: &str) -> String {
        let known = self.names.iter().find(|n| n.name == ns);
        format!("{}{}", self.prefix, known.map_or(ns, |n| &n.netns))
    }

    /// Runs a command in a namespace; the names of namespaces in it get the prefix.
    ///
    /// # Panics
    /// There is no `ip`.
    #[must_use]
    pub fn exec(&self, ns: &str, command: &str) -> Output {
        self.command(ns, command).output().expect("ip runs")
    }

    /// A command that is to run in a namespace; the names of namespaces in it get the prefix. What has quotes or a
    /// here-document is the shell's.
    #[must_use]
    pub fn command(&self, ns: &str, command: &str) -> Command {
        let mut ip = Command::new("ip");
        // On one CPU, so that the order of events is the kernel's own and not a race of two.
        ip.args(["netns", "exec", &self.netns(ns), "taskset", "-c", "1"]);
        if command.contains(['"', '<']) {
            ip.args(["sh", "-c", command]);
            return ip;
        }
        let mut words: Vec<String> = vec![];
        for w in command.split_whitespace() {
            let after_netns = words.last().is_some_and(|l| ["netns", "exec", "-n"].contains(&l.as_str()));
            let named = after_netns && self.names.iter().any(|n| n.netns == w);
            words.push(if named { format!("{}{w}", self.prefix) } else { w.to_owned() });
        }
        ip.args(words);
        ip
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for n in &self.names {
            let _ = Command::new("ip").args(["netns", "del", &self.netns(&n.name)]).status();
        }
    }
}
