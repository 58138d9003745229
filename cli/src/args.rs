//! The command line.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
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
    /// List scenarios with their titles.
    List(ListArgs),
    /// Print the JSON schema of scenario files, for editors.
    Schema,
    /// Print a script that completes this command line in a shell.
    Completions(CompletionsArgs),
    /// Write manual pages.
    Man(ManArgs),
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
pub(crate) struct TraceArgs {
    /// A scenario file.
    #[arg(value_name = "SCENARIO")]
    pub(crate) path: PathBuf,
    /// The packet, as records.jsonl names it. Left out: the packets are listed.
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
