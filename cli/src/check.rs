//! `podhop check`

use crate::WRONG_INPUT;
use crate::args::{CheckArgs, Format};
use crate::input;
use crate::print::{Ui, out};
use sim_core::scenario::{self, Disk};

pub(crate) fn check(args: &CheckArgs, ui: &Ui) -> anyhow::Result<u8> {
    let mut code = 0;
    let mut found = vec![];
    for path in &args.paths {
        for file in input::find(path)? {
            match scenario::load(&Disk, &file, None) {
                Ok((_, plan)) if args.format == Format::Json => found.push(serde_json::to_value(&plan.warnings)?),
                Ok((_, plan)) => {
                    ui.warnings(&plan)?;
                    if !ui.quiet {
                        out(&format!("{}: {} is fine\n", file.display(), plan.name))?;
                    }
                }
                Err(errors) => {
                    code = WRONG_INPUT;
                    match args.format {
                        Format::Text => ui.diagnostics(&errors)?,
                        Format::Json => found.push(serde_json::to_value(&errors)?),
                    }
                }
            }
        }
    }
    if args.format == Format::Json {
        let flat: Vec<_> = found.into_iter().flat_map(|v| v.as_array().cloned().unwrap_or_default()).collect();
        out(&format!("{:#}\n", serde_json::Value::from(flat)))?;
    }
    Ok(code)
}
