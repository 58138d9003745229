//! `podhop trace`

use crate::WRONG_INPUT;
use crate::args::{Format, TraceArgs};
use crate::input;
use crate::print::{Ui, out};
use serde_json::json;
use sim_core::base::{FlowId, PacketId};
use sim_core::observe::story::{Journey, Journeys, Text};
use sim_core::observe::{Nowhere, Outputs};
use sim_core::scenario::{self, Options, RunError};

/// Journeys are kept up to so many lines in all.
const MAX_LINES: usize = 1_000_000;

pub(crate) fn trace(args: &TraceArgs, ui: &Ui) -> anyhow::Result<u8> {
    let Some(plan) = input::load(&args.path, args.seed, ui)? else { return Ok(WRONG_INPUT) };
    let options = Options { outputs: Outputs::NONE, journeys: MAX_LINES, prelude: 0 };
    let report = match scenario::run(&plan, &mut Nowhere, options, &mut ()) {
        Ok(report) => report,
        Err(RunError::Setup(errors)) => {
            ui.diagnostics(&scenario::setup_diagnostics(&errors))?;
            return Ok(WRONG_INPUT);
        }
        Err(RunError::Output(e)) => return Err(e.into()),
    };
    let journeys = report.journeys.unwrap_or_default();
    let wanted = |id: PacketId, j: &Journey| match (args.packet, args.flow) {
        (Some(packet), _) => id == PacketId(packet),
        (_, Some(flow)) => j.flow == Some(FlowId(flow)),
        (None, None) => true,
    };
    // A packet that no capture shows is told if it is asked for by name.
    let shown = |j: &Journey| args.packet.is_some() || j.hops().next().is_some();
    let chosen: Vec<_> = journeys.iter().filter(|(id, j)| wanted(*id, j) && shown(j)).collect();
    if chosen.is_empty() {
        ui.error("no such packet in this run; `podhop trace SCENARIO` lists them");
        return Ok(1);
    }
    match args.format {
        Format::Json => {
            let all: Vec<_> =
                chosen.iter().map(|(id, j)| json!({"packet": id, "flow": j.flow, "entries": j.entries})).collect();
            out(&format!("{:#}\n", serde_json::Value::from(all)))?;
        }
        Format::Text if args.packet.is_none() && args.flow.is_none() => list(&journeys)?,
        Format::Text => {
            for (id, j) in chosen {
                let mut s = format!("packet {id}{}\n", j.flow.map_or(String::new(), |f| format!(", flow {f}")));
                ui.entries(&mut s, &j.entries);
                out(&s)?;
            }
        }
    }
    Ok(0)
}

/// All packets, a line each.
fn list(journeys: &Journeys) -> anyhow::Result<()> {
    out("  packet   flow       time  first seen\n")?;
    for (id, j) in journeys.iter() {
        let first = j.entries.iter().find_map(|e| match &e.text {
            Text::Record { device, line, .. } => Some((e, device, line)),
            Text::Note(_) => None,
        });
        let Some((e, device, line)) = first else { continue };
        let flow = j.flow.map_or("-".to_owned(), |f| f.to_string());
        out(&format!("{id:>8} {flow:>6} {:>10}  {}/{device}  {line}\n", e.at.to_string(), e.namespace))?;
    }
    out("one of them: podhop trace SCENARIO --packet ID\n")
}
