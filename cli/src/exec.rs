//! `podhop exec`

use crate::WRONG_INPUT;
use crate::args::ExecArgs;
use crate::input;
use crate::print::{Ui, out};
use sim_core::scenario::{self, RunError, exec as visit};

/// Exit status when a limit ended the run.
const LIMIT: u8 = 3;

pub(crate) fn exec(args: &ExecArgs, ui: &Ui) -> anyhow::Result<u8> {
    let Some(plan) = input::load(&args.path, args.seed, ui)? else { return Ok(WRONG_INPUT) };
    let command = match visit::resolve(&plan, &args.from, &args.command, args.at.as_deref()) {
        Ok(command) => command,
        Err(errors) => {
            ui.diagnostics(&errors)?;
            return Ok(WRONG_INPUT);
        }
    };
    let done = match visit::exec(&plan, &command) {
        Ok(done) => done,
        Err(RunError::Setup(errors)) => {
            ui.diagnostics(&scenario::setup_diagnostics(&errors))?;
            return Ok(WRONG_INPUT);
        }
        Err(RunError::Output(e)) => return Err(e.into()),
    };
    out(&done.output)?;
    match (done.exit, done.limit) {
        (Some(status), _) => Ok(status as u8),
        (None, Some(limit)) => {
            ui.error(&limit.to_string());
            Ok(LIMIT)
        }
        (None, None) => {
            ui.error("the command did not end");
            Ok(LIMIT)
        }
    }
}
