//! The real kernel's side: the same network in namespaces, loads by `peers/load.c`, CPU time of all who take part.

use crate::{Case, Cost, Load};
use anyhow::{Context, bail, ensure};
use podhop_benches::lab::{Setup, Step};
use podhop_benches::paths::{NODE1, NODE2, POD1, POD2};
use podhop_benches::rules::{TCP_PORT, UDP_PORT};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// What tcpdump buffers for a namespace, in KiB: enough that nothing is dropped.
const TCPDUMP_BUFFER: &str = "65536";

/// The program that sends and receives on the real kernel.
pub struct Loads(PathBuf);

impl Loads {
    /// Compiles it into `scratch`.
    ///
    /// # Errors
    /// There is no C compiler.
    pub fn compile(scratch: &Path) -> anyhow::Result<Loads> {
        let (source, binary) = (scratch.join("load.c"), scratch.join("load"));
        fs::write(&source, include_str!("../../../peers/load.c"))?;
        let mut cc = Command::new("cc");
        run(cc.args(["-O2", "-Wall", "-o"]).arg(&binary).arg(&source), None)?;
        Ok(Loads(binary))
    }
}

/// A network of namespaces; gone when this is dropped.
pub struct Kernel<'a> {
    setup: Setup,
    load: Load,
    seconds: f64,
    loads: &'a Loads,
    scratch: &'a Path,
}

impl<'a> Kernel<'a> {
    /// Builds it; each run will take `seconds`.
    ///
    /// # Errors
    /// A command of the set-up fails.
    pub fn new(case: &Case, seconds: f64, loads: &'a Loads, scratch: &'a Path) -> anyhow::Result<Self> {
        // Bridges call iptables only with this module, whose absence the set-up would notice.
        let _ = Command::new("modprobe").args(["-q", "br_netfilter"]).stderr(Stdio::null()).status();
        let kernel = Kernel { setup: case.setup.clone(), load: case.load, seconds, loads, scratch };
        remove_namespaces();
        for ns in &kernel.setup.namespaces {
            run(Command::new("ip").args(["netns", "add", ns]), None)?;
        }
        for Step { ns, command, input } in &kernel.setup.steps {
            run(inside(ns).args(command.split_whitespace()), input.as_deref())?;
        }
        Ok(kernel)
    }

    /// Sends packets for the time of a run.
    ///
    /// # Errors
    /// A program fails, or nothing arrives.
    pub fn run(&self) -> anyhow::Result<Cost> {
        // What a pod receives has gone all the way: datagrams, the answers of pings, segments and their ACKs.
        let (kind, to, port, server, ends) = match self.load {
            Load::Udp(to) => ("udp", to, UDP_PORT, Some("sink"), &[POD2][..]),
            Load::Ping(to) => ("ping", to, 0, None, &[POD1][..]),
            Load::Connect(to) => ("connect", to, TCP_PORT, Some("serve"), &[][..]),
            Load::Bulk(to) => ("bulk", to, TCP_PORT, Some("serve"), &[POD1, POD2][..]),
        };
        let server = server.map(|kind| self.server(kind, port)).transpose()?;
        let (before, softirq) = (received(ends)?, softirq()?);
        let arguments = [kind, &to.to_string(), &port.to_string(), &self.seconds.to_string()];
        let out = run(inside(POD1).arg(&self.loads.0).args(arguments), None)?;
        let (sent, sender) = numbers(&out)?;
        let softirq = self::softirq()? - softirq;
        let mut cost = Cost { sender: sender + softirq, ..Cost::default() };
        if let Some(mut server) = server {
            let mut out = String::new();
            server.stdout.take().context("a pipe")?.read_to_string(&mut out)?;
            ensure!(server.wait()?.success(), "the receiver failed");
            cost.receiver = numbers(out.trim_start_matches("ready\n"))?.1;
        }
        cost.packets = if ends.is_empty() { sent } else { received(ends)? - before };
        cost.lost = sent.saturating_sub(cost.packets);
        ensure!(cost.packets > 0, "no packet arrived");
        Ok(cost)
    }

    /// As [`Kernel::run`], with a tcpdump on all interfaces of every namespace.
    ///
    /// # Errors
    /// As for [`Kernel::run`], or tcpdump drops records.
    pub fn run_captured(&self) -> anyhow::Result<Cost> {
        let mut dumps = vec![];
        for ns in &self.setup.namespaces {
            let file = self.scratch.join(format!("{ns}.pcap"));
            let mut tcpdump = inside(ns);
            tcpdump.args(["tcpdump", "-Z", "root", "-p", "-n", "-i", "any", "-B", TCPDUMP_BUFFER, "-w"]).arg(file);
            dumps.push(tcpdump.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("tcpdump")?);
        }
        sleep(Duration::from_secs(1));
        let cost = self.run();
        sleep(Duration::from_secs(1));
        let mut cost = cost?;
        for mut dump in dumps {
            cost.capture += on_cpu(dump.id())?;
            run(Command::new("kill").args(["-INT", &dump.id().to_string()]), None)?;
            let mut text = String::new();
            dump.stderr.take().context("a pipe")?.read_to_string(&mut text)?;
            dump.wait()?;
            cost.records += count(&text, "packets captured")?;
            cost.lost += count(&text, "packets dropped by kernel")?;
        }
        for ns in &self.setup.namespaces {
            fs::remove_file(self.scratch.join(format!("{ns}.pcap")))?;
        }
        Ok(cost)
    }

    /// A receiver in the second pod, when it is ready.
    fn server(&self, kind: &str, port: u16) -> anyhow::Result<Child> {
        let arguments = [kind, "0.0.0.0", &port.to_string(), &self.seconds.to_string()];
        let mut child = inside(POD2).arg(&self.loads.0).args(arguments).stdout(Stdio::piped()).spawn()?;
        let pipe = child.stdout.as_mut().context("a pipe")?;
        let mut line = String::new();
        BufReader::with_capacity(1, pipe).read_line(&mut line)?;
        ensure!(line == "ready\n", "the receiver does not start");
        Ok(child)
    }
}

impl Drop for Kernel<'_> {
    fn drop(&mut self) {
        remove_namespaces();
    }
}

/// Removes whatever there is of the networks.
pub fn remove_namespaces() {
    for ns in [POD1, NODE1, NODE2, POD2] {
        let _ = Command::new("ip").args(["netns", "del", ns]).stderr(Stdio::null()).status();
    }
}

/// A command in a namespace.
fn inside(ns: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", ns]);
    command
}

/// Runs a command to its end; what it printed.
fn run(command: &mut Command, input: Option<&str>) -> anyhow::Result<String> {
    let text = format!("{command:?}");
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|e| anyhow::anyhow!("{text}: {e}"))?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(input.as_bytes())?;
    }
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().context("a pipe")?.read_to_string(&mut out)?;
    child.stderr.take().context("a pipe")?.read_to_string(&mut err)?;
    if !child.wait()?.success() {
        bail!("{text}: {}", err.trim_end());
    }
    Ok(out)
}

/// `COUNT SECONDS`, as load prints it.
fn numbers(text: &str) -> anyhow::Result<(u64, f64)> {
    let (count, seconds) = text.trim().split_once(' ').with_context(|| format!("not two numbers: {text}"))?;
    Ok((count.parse()?, seconds.parse()?))
}

/// A number before some words.
fn count(text: &str, words: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|l| l.strip_suffix(words)).with_context(|| format!("tcpdump: {text}"))?;
    Ok(line.trim().parse()?)
}

/// Packets that these pods have received.
fn received(pods: &[&str]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for ns in pods {
        let text = run(inside(ns).args(["cat", "/sys/class/net/eth0/statistics/rx_packets"]), None)?;
        sum += text.trim().parse::<u64>()?;
    }
    Ok(sum)
}

/// CPU seconds of a process as the scheduler counts them.
fn on_cpu(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let ns: f64 = text.split_whitespace().next().context("schedstat is empty")?.parse()?;
    Ok(ns * 1e-9)
}

/// CPU seconds of softirq work that was not done in the context of a process.
fn softirq() -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let mut name = String::new();
        // Processes come and go.
        let read = File::open(entry.path().join("comm")).and_then(|mut f| f.read_to_string(&mut name));
        if read.is_ok() && name.starts_with("ksoftirqd/") {
            sum += on_cpu(pid)?;
        }
    }
    Ok(sum)
}
