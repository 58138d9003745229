//! podhop against the kernel that it simulates, on the same machine: `cargo xtask bench-peers`, as root.
//!
//! The same commands build the same network twice, simulated and in network namespaces, with the same rules. Both send
//! the same packets in turn; what counts is CPU time, so that others on the machine disturb little. A pair counts if a
//! fixed loop took equally long before and after it.

mod kernel;
mod measure;
mod simulated;

use anyhow::{Context, bail};
use clap::Parser;
use kernel::{Kernel, Loads};
use measure::{Spread, calibrate, steady};
use podhop_benches::lab::Setup;
use podhop_benches::paths::{self, PEER};
use podhop_benches::rules::cluster_ip;
use simulated::Simulated;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// So many times the wanted number of pairs is tried to get that number from a machine that is busy.
const TRIES: usize = 4;

/// What a packet costs podhop and the real kernel, and the ratios.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench-peers", max_term_width = 100)]
struct Cli {
    /// Pairs of runs for each case.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// How long the kernel sends in one run, in seconds.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Packets that podhop sends in one run.
    #[arg(long, default_value_t = 200_000)]
    packets: u32,
    /// Services whose rules the nodes have: a case for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 10_000])]
    services: Vec<usize>,
    /// Only cases whose name holds this.
    #[arg(long, default_value = "")]
    case: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Measure podhop alone: no root is needed, there are no ratios.
    #[arg(long)]
    alone: bool,
    /// A folder for captures, in memory.
    #[arg(long, default_value = "/dev/shm")]
    scratch: PathBuf,
}

/// What is sent.
#[derive(Clone, Copy)]
pub enum Load {
    /// Datagrams to this address.
    Udp(Ipv4Addr),
    /// Echo requests, which are answered.
    Ping(Ipv4Addr),
    /// Connections to this address, closed as soon as they are made.
    Connect(Ipv4Addr),
    /// As many bytes as go on one connection.
    Bulk(Ipv4Addr),
}

impl Load {
    /// What is counted.
    fn unit(self) -> &'static str {
        if let Load::Connect(_) = self { "connection" } else { "packet" }
    }
}

/// A path that is measured.
pub struct Case {
    name: String,
    setup: Setup,
    load: Load,
    /// Interfaces that a packet crosses, with its answer if it has one; all the packets of a connection.
    interfaces: u64,
    listeners: Listeners,
}

/// Who listens to a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listeners {
    Nobody,
    /// tcpdump -i any in every namespace, and its like.
    Captures,
    /// On podhop's side all that it writes of a run, on the kernel's the same tcpdump.
    Recorder,
}

/// What one run took, in CPU seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Packets that went all the way, or connections.
    packets: u64,
    /// The sender with all that its packets caused.
    sender: f64,
    /// The receiver, where it is a process of its own.
    receiver: f64,
    /// What captures, where that is a process of its own.
    capture: f64,
    /// Capture records.
    records: u64,
    /// Packets or records that were lost.
    lost: u64,
}

/// podhop's run and, unless podhop is measured alone, the kernel's.
type Pair = (Cost, Option<Cost>);

impl Cost {
    /// Microseconds for each packet.
    fn per_packet(&self) -> f64 {
        (self.sender + self.receiver + self.capture) * 1e6 / self.packets as f64
    }
}

/// What came of a case: microseconds of CPU time a packet or connection.
#[derive(serde::Serialize)]
struct Outcome {
    case: String,
    unit: &'static str,
    interfaces: u64,
    pairs: usize,
    podhop_us: Spread,
    podhop_us_per_interface: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Peer>,
    /// The calibration loop, nanoseconds a step.
    calibration_ns: Spread,
}

/// The kernel's part of an outcome.
#[derive(serde::Serialize)]
struct Peer {
    us: Spread,
    us_per_interface: Spread,
    /// The kernel's cost divided by podhop's, pair by pair.
    ratio: Spread,
    /// Packets and records that the kernel lost, in all runs.
    lost: u64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if cli.pairs == 0 || cli.packets == 0 {
        bail!("there must be a pair and a packet");
    }
    if !cli.alone && !is_root()? {
        bail!("the real kernel's side needs network namespaces: run it as root, or with --alone");
    }
    let scratch = cli.scratch.join(format!("podhop-bench-{}", std::process::id()));
    fs::create_dir(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let (left, alone) = (scratch.clone(), cli.alone);
    ctrlc::set_handler(move || {
        if !alone {
            kernel::remove_namespaces();
        }
        let _ = fs::remove_dir_all(&left);
        std::process::exit(130);
    })?;
    let done = measure_all(&cli, &scratch);
    fs::remove_dir_all(&scratch)?;
    let outcomes = done?;
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    }
    Ok(())
}

fn cases(services: &[usize]) -> Vec<Case> {
    let flood = |listeners, how: &str| Case {
        name: format!("ping flood over veth, bridge, veth{how}"),
        setup: paths::bridge(),
        load: Load::Ping(PEER.into()),
        interfaces: 8,
        listeners,
    };
    let mut all: Vec<Case> = services
        .iter()
        .map(|n| Case {
            name: format!("UDP to a ClusterIP on another node, {n} Services"),
            setup: paths::cluster(*n),
            // The one whose rules come last.
            load: Load::Udp(cluster_ip((n / 2).max(1) - 1)),
            interfaces: 8,
            listeners: Listeners::Nobody,
        })
        .collect();
    let few = services.first().copied().unwrap_or(10);
    all.push(Case {
        name: format!("UDP to a ClusterIP on another node over VXLAN, {few} Services"),
        setup: paths::vxlan_cluster(few),
        load: Load::Udp(cluster_ip((few / 2).max(1) - 1)),
        interfaces: 10,
        listeners: Listeners::Nobody,
    });
    all.extend(services.iter().map(|n| Case {
        name: format!("TCP connect and close to a ClusterIP on another node, {n} Services"),
        setup: paths::tcp_cluster(*n),
        load: Load::Connect(cluster_ip((n / 2).max(1) - 1)),
        // SYN, SYN-ACK, ACK; FIN, FIN-ACK, ACK.
        interfaces: 6 * 8,
        listeners: Listeners::Nobody,
    }));
    all.push(Case {
        name: format!("TCP bulk to a ClusterIP on another node, {few} Services"),
        setup: paths::tcp_cluster(few),
        load: Load::Bulk(cluster_ip((few / 2).max(1) - 1)),
        interfaces: 8,
        listeners: Listeners::Nobody,
    });
    all.push(flood(Listeners::Nobody, ""));
    all.push(flood(Listeners::Captures, ", captured"));
    all.push(flood(Listeners::Recorder, ", with captures and ids"));
    all
}

fn measure_all(cli: &Cli, scratch: &Path) -> anyhow::Result<Vec<Outcome>> {
    let loads = if cli.alone { None } else { Some(Loads::compile(scratch)?) };
    let mut outcomes = vec![];
    for case in cases(&cli.services).into_iter().filter(|c| c.name.contains(&cli.case)) {
        let outcome = measure(cli, &case, loads.as_ref(), scratch).with_context(|| case.name.clone())?;
        if !cli.json {
            print(&outcome);
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Both in turn, until enough pairs count.
fn measure(cli: &Cli, case: &Case, loads: Option<&Loads>, scratch: &Path) -> anyhow::Result<Outcome> {
    let mut ours = Simulated::new(case, cli.packets, scratch);
    let theirs = loads.map(|loads| Kernel::new(case, cli.seconds, loads, scratch)).transpose()?;
    let mut pairs: Vec<Pair> = vec![];
    let mut calibrations = vec![calibrate()];
    for _ in 0..cli.pairs * TRIES {
        if pairs.len() == cli.pairs {
            break;
        }
        let quiet = case.listeners == Listeners::Nobody;
        let peer = theirs.as_ref().map(|k| if quiet { k.run() } else { k.run_captured() }).transpose()?;
        let own = match case.listeners {
            Listeners::Nobody => ours.run()?,
            Listeners::Captures => ours.run_captured()?,
            Listeners::Recorder => ours.run_recorded()?,
        };
        let (before, after) = (calibrations[calibrations.len() - 1], calibrate());
        calibrations.push(after);
        if steady(before, after) {
            pairs.push((own, peer));
        }
    }
    if pairs.len() < cli.pairs {
        bail!("the machine is too busy: {} of {} pairs were undisturbed", pairs.len(), cli.pairs);
    }
    let interfaces = case.interfaces as f64;
    let spread = |of: &dyn Fn(&Pair) -> f64| Spread::of(pairs.iter().map(of));
    let theirs = |p: &Pair| p.1.as_ref().map_or(f64::NAN, Cost::per_packet);
    let peer = || Peer {
        us: spread(&theirs),
        us_per_interface: spread(&|p| theirs(p) / interfaces),
        ratio: spread(&|p| theirs(p) / p.0.per_packet()),
        lost: pairs.iter().filter_map(|p| p.1).map(|c| c.lost).sum(),
    };
    Ok(Outcome {
        case: case.name.clone(),
        unit: case.load.unit(),
        interfaces: case.interfaces,
        pairs: pairs.len(),
        podhop_us: spread(&|p| p.0.per_packet()),
        podhop_us_per_interface: spread(&|p| p.0.per_packet() / interfaces),
        kernel: loads.map(|_| peer()),
        calibration_ns: Spread::of(calibrations),
    })
}

fn print(o: &Outcome) {
    println!("{}: CPU us a {}, least / median / greatest of {} runs", o.case, o.unit, o.pairs);
    println!("  podhop   {}   ({} an interface)", o.podhop_us, o.podhop_us_per_interface);
    if let Some(k) = &o.kernel {
        println!("  kernel   {}   ({} an interface), {} lost", k.us, k.us_per_interface, k.lost);
        println!("  ratio    {}", k.ratio);
    }
    println!("  machine  {} ns a step of the calibration loop", o.calibration_ns);
}

/// Effective user id 0, as /proc tells it.
fn is_root() -> anyhow::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let uids = status.lines().find_map(|l| l.strip_prefix("Uid:")).context("/proc/self/status names no user")?;
    Ok(uids.split_whitespace().nth(1) == Some("0"))
}
