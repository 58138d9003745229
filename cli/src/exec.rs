//! `podhop exec`

use crate::WRONG_INPUT;
use crate::args::ExecArgs;
use crate::input;
use crate::print::{Ui, out};
use sim_core::scenario::exec::{self as visit, Executed};

/// Exit status when a limit ended the run.
const LIMIT: u8 = 3;

pub(crate) fn exec(args: &ExecArgs, ui: &Ui) -> anyhow::Result<u8> {
    let Some(plan) = input::load(&args.path, args.seed, ui)? else { return Ok(WRONG_INPUT) };
    let command = match visit::resolve(&plan, &args.from, &args.command, &args.at) {
        Ok(command) => command,
        Err(errors) => {
            ui.diagnostics(&errors)?;
            return Ok(WRONG_INPUT);
        }
    };
    let visited = match visit::exec(&plan, &command) {
        Ok(visited) => visited,
        Err(e) => return ui.run_error(e).map(|()| WRONG_INPUT),
    };
    let mut status = 0;
    for (n, done) in visited.done.iter().enumerate() {
        if visited.done.len() > 1 {
            // As head and tail separate files.
            out(&format!("{}==> {} <==\n", if n > 0 { "\n" } else { "" }, args.at[n]))?;
        }
        out(&done.output)?;
        let own = exit_status(done, ui);
        status = if status == 0 { own } else { status };
    }
    if let Some(aftermath) = visited.aftermath.filter(|_| !ui.quiet) {
        ui.aftermath(&aftermath)?;
    }
    Ok(status)
}

fn exit_status(done: &Executed, ui: &Ui) -> u8 {
    match (done.exit, &done.limit) {
        (Some(status), _) => status as u8,
        (None, Some(limit)) => {
            ui.error(&limit.to_string());
            LIMIT
        }
        (None, None) => {
            ui.error("the command did not end");
            LIMIT
        }
    }
}
