//! The command line.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sim_core::scenario::eval;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Understand, test and teach Kubernetes networking, packet by packet.
#[derive(Parser)]
#[command(name = "podhop", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print less: results only.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more: every decision, not only the first ones.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colour. NO_COLOR is obeyed too.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

/// When to use colour.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a report is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document.
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Simulate a scenario, tell its story, write its captures.
    ///
    /// Exit status: 0 all expectations hold, 1 one failed, 2 the input is wrong, 3 a limit was hit.
    Run(RunArgs),
    /// Read scenarios and report every error in them, without running their traffic.
    Check(CheckArgs),
    /// Show the way of one packet, with the decisions that were taken on it.
    Trace(TraceArgs),
    /// Draw what hangs on what: namespaces, interfaces, links.
    Topology(TopologyArgs),
    /// List scenarios with their titles.
    List(ListArgs),
    /// Write a scenario as a script for the real kernel: the same namespaces, commands and programs.
    ///
    /// The script wants root, works in namespaces of its own and takes them down when it ends; `lab.sh --help` tells
    /// more.
    ///
    /// Exit status: 2 the input is wrong, or no real namespaces can show it.
    Export(ExportArgs),
    /// Run scenarios on the real kernel too, and compare every packet.
    ///
    /// It wants root. What is compared: the records of every namespace, what the commands of `traffic:` print, and in
    /// the end routes, neighbours, bridge entries, connections and the counters of rules.
    ///
    /// Exit status: 0 both show the same, 1 they differ, 2 the input is wrong or the real kernel cannot be asked.
    Parity(ParityArgs),
    /// Print the JSON schema of scenario files, for editors.
    Schema,
    /// Print a script that completes this command line in a shell.
    Completions(CompletionsArgs),
    /// Write manual pages.
    Man(ManArgs),
    /// Rule sets of real nodes.
    #[command(subcommand)]
    Iptables(IptablesCommand),
    /// Run a command in a namespace of a scenario, at moments of the run or at its end.
    ///
    /// A command that only shows, such as `ss -tan`, sees the run as it is at that moment. One that changes or sends
    /// something takes part in the run, which goes on to its end; standard error then tells which commands of
    /// `traffic:` and which expectations came out otherwise than without it.
    ///
    /// Exit status: the command's, the first that is not 0 if there are several moments; 2 the input is wrong, 3 a
    /// limit was hit.
    Exec(ExecArgs),
}

#[derive(Subcommand)]
pub(crate) enum IptablesCommand {
    /// Send a packet through the rules, routes and devices of a real node, and show its path and its answer's.
    ///
    /// The node is made anew from what its tools print: iptables-save, ip -j addr, ip -j -d link, ip -j route show
    /// table all, ip -j rule, sysctl -a. Without --sysctl it forwards.
    ///
    /// Exit status: 0 there is an answer, or all assertions hold; 1 one failed; 2 the input is wrong; 3 a limit was
    /// hit.
    Eval(EvalArgs),
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// What iptables-save printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// What ip -j addr printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) addresses: Option<PathBuf>,
    /// What ip -j -d link printed: bridges and their ports.
    #[arg(long, value_name = "FILE")]
    pub(crate) links: Option<PathBuf>,
    /// What ip -j route, best with show table all, printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) routes: Option<PathBuf>,
    /// What ip -j rule printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) ip_rules: Option<PathBuf>,
    /// What sysctl -a printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) sysctl: Option<PathBuf>,
    /// The packet comes in by this device; a bridge stands for its first port.
    #[arg(long = "in", value_name = "DEVICE", conflicts_with = "local")]
    #[arg(required_unless_present_any = ["local", "assert"])]
    pub(crate) device: Option<String>,
    /// A process of the node sends the packet.
    #[arg(long)]
    pub(crate) local: bool,
    /// tcp, udp, icmp, sctp or a number.
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub(crate) proto: String,
    /// Where it comes from.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "assert")]
    pub(crate) src: Option<Ipv4Addr>,
    /// Where it goes.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "assert")]
    pub(crate) dst: Option<Ipv4Addr>,
    /// Its source port, or the id of an ICMP echo.
    #[arg(long, value_name = "PORT", default_value_t = eval::DEFAULT_PORT)]
    pub(crate) sport: u16,
    /// Its destination port.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) dport: u16,
    /// Its ICMP type, by number.
    #[arg(long, value_name = "TYPE", default_value_t = 8)]
    pub(crate) icmp_type: u8,
    /// Its TCP flags, as tcpdump writes them.
    #[arg(long, value_name = "FLAGS", default_value = "S")]
    pub(crate) tcp_flags: String,
    /// The mark that its sender gives it (SO_MARK), as 0x200 or 512.
    #[arg(long, value_name = "MARK", default_value = "0", value_parser = mark)]
    #[arg(conflicts_with_all = ["device", "assert"])]
    pub(crate) mark: u32,
    /// How it belongs to a connection: one is made for ESTABLISHED.
    #[arg(long, value_enum, default_value_t = CtState::New)]
    pub(crate) ctstate: CtState,
    /// So many packets of its flow, to and fro: the packet, its answer, what follows.
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(eval::MAX_PACKETS)))]
    pub(crate) packets: u32,
    /// Go all ways that rules leave to chance (-m statistic), with the probability of each.
    #[arg(long)]
    pub(crate) all_choices: bool,
    /// Check the assertions of this file (YAML) instead of showing one packet.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["device", "local", "src", "dst"])]
    pub(crate) assert: Option<PathBuf>,
    /// How to print it. As text, -q leaves the paths out.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// A mark, decimal or hexadecimal.
fn mark(text: &str) -> Result<u32, std::num::ParseIntError> {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16))
}

/// How a packet belongs to a connection.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CtState {
    /// It begins one.
    #[value(name = "NEW")]
    New,
    /// Its connection has seen packets both ways.
    #[value(name = "ESTABLISHED")]
    Established,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// A scenario file, or a folder: every scenario.yaml below it.
    #[arg(value_name = "SCENARIO|DIR")]
    pub(crate) path: PathBuf,
    /// The folder for captures and reports [default: podhop-out/NAME].
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Use this seed instead of the scenario's.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Run twice and compare every byte.
    #[arg(long)]
    pub(crate) check_determinism: bool,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Scenario files or folders.
    #[arg(required = true, value_name = "SCENARIO|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// A scenario file.
    #[arg(value_name = "SCENARIO")]
    pub(crate) path: PathBuf,
    /// Where to write the script [default: to standard output].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ParityArgs {
    /// A scenario file, or a folder: every scenario.yaml below it.
    #[arg(value_name = "SCENARIO|DIR")]
    pub(crate) path: PathBuf,
    /// The CPU on which the programs of the real lab run [default: the last one].
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<usize>,
    /// Show both sides in full where they differ.
    #[arg(long)]
    pub(crate) explain: bool,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct TraceArgs {
    /// A scenario file.
    #[arg(value_name = "SCENARIO")]
    pub(crate) path: PathBuf,
    /// The packet, as records.jsonl names it, and those before and behind it on its path through proxies. Left out: the
    /// packets are listed.
    #[arg(long, value_name = "ID", conflicts_with = "flow")]
    pub(crate) packet: Option<u64>,
    /// All packets of this flow, as records.jsonl names it.
    #[arg(long, value_name = "N")]
    pub(crate) flow: Option<u32>,
    /// Use this seed instead of the scenario's.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct TopologyArgs {
    /// A scenario file.
    #[arg(value_name = "SCENARIO")]
    pub(crate) path: PathBuf,
    /// In which language.
    #[arg(long, value_enum, default_value_t = Drawing::Dot)]
    pub(crate) format: Drawing,
}

/// How a topology is drawn.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// For Graphviz: dot -Tsvg.
    Dot,
    /// For Mermaid.
    Mermaid,
    /// For programs: one JSON document.
    Json,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// A folder: every scenario.yaml below it.
    #[arg(value_name = "DIR", default_value = "scenarios")]
    pub(crate) path: PathBuf,
    /// How to print the list. As text, -v adds what the scenarios say of themselves.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Args)]
pub(crate) struct ManArgs {
    /// The folder for the pages, one a command; it is made.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct ExecArgs {
    /// A scenario file.
    #[arg(value_name = "SCENARIO")]
    pub(crate) path: PathBuf,
    /// The namespace.
    #[arg(value_name = "NAMESPACE")]
    pub(crate) from: String,
    /// The command with its words: `-- ip route`.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// When: 1.5s, 200ms; may be given again, in any order [default: when the run is over].
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Vec<String>,
    /// Use this seed instead of the scenario's.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}
