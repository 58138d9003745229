//! podhop: understand, test and teach Kubernetes networking, packet by packet. Thin: arguments in, sim-core, text out.

mod args;
mod check;
mod eval;
mod exec;
mod generate;
mod input;
mod list;
mod output;
mod parity;
mod print;
mod run;
mod topology;
mod trace;

use args::{Cli, Command, IptablesCommand};
use clap::Parser;
use std::process::ExitCode;

/// Exit status of a wrong input, and of a place that cannot be written to.
const WRONG_INPUT: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = print::Ui::new(&cli);
    let done = match &cli.command {
        Command::Run(args) => run::run(args, &ui),
        Command::Check(args) => check::check(args, &ui),
        Command::Trace(args) => trace::trace(args, &ui),
        Command::Topology(args) => topology::topology(args, &ui),
        Command::List(args) => list::list(args, &ui),
        Command::Export(args) => parity::export(args, &ui),
        Command::Parity(args) => parity::parity(args, &ui),
        Command::Schema => generate::schema(),
        Command::Completions(args) => generate::completions(args),
        Command::Man(args) => generate::man(args),
        Command::Iptables(IptablesCommand::Eval(args)) => eval::eval(args, &ui),
        Command::Exec(args) => exec::exec(args, &ui),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Somebody closed our output: there is nobody to tell.
        Err(e) if print::is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            ui.error(&format!("{e:#}"));
            ExitCode::from(WRONG_INPUT)
        }
    }
}
