//! `podhop trace`

use crate::WRONG_INPUT;
use crate::args::{Format, TraceArgs};
use crate::input;
use crate::print::{Ui, out};
use serde_json::{Value, json};
use sim_core::base::{FlowId, PacketId};
use sim_core::observe::flows::Member;
use sim_core::observe::story::{Journey, Text};
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::{self, Options};
use std::fmt::Write as _;

/// Journeys are kept up to so many lines in all.
const MAX_LINES: usize = 1_000_000;

pub(crate) fn trace(args: &TraceArgs, ui: &Ui) -> anyhow::Result<u8> {
    let Some(plan) = input::load(&args.path, args.seed, ui)? else { return Ok(WRONG_INPUT) };
    let outputs = Outputs { flows: args.flow.is_some(), ..Outputs::NONE };
    let options = Options { outputs, journeys: MAX_LINES, prelude: 0 };
    let mut files = Memory::default();
    let report = match scenario::run(&plan, &mut files, options, &mut ()) {
        Ok(report) => report,
        Err(e) => return ui.run_error(e).map(|()| WRONG_INPUT),
    };
    let journeys = report.journeys.unwrap_or_default();
    // A packet that a proxy has read or sent is told with those on the same path.
    let path = args.packet.map(|packet| journeys.path(PacketId(packet))).unwrap_or_default();
    let wanted = |id: PacketId, j: &Journey| match (args.packet, args.flow) {
        (Some(_), _) => path.contains(&id),
        (_, Some(flow)) => j.member.is_some_and(|m| m.flow == FlowId(flow)),
        (None, None) => true,
    };
    // A packet that no capture shows is told if it is asked for by name.
    let shown = |j: &Journey| args.packet.is_some() || j.hops().next().is_some();
    let mut chosen: Vec<_> = journeys.iter().filter(|(id, j)| wanted(*id, j) && shown(j)).collect();
    // Requests and replies come from machines that count for themselves.
    chosen.sort_by_key(|(id, j)| (j.began(), *id));
    if chosen.is_empty() {
        let what = if args.flow.is_some() { "flow" } else { "packet" };
        ui.error(&format!("no such {what} in this run; `podhop trace SCENARIO` lists packets and flows"));
        return Ok(1);
    }
    out(&match args.format {
        Format::Json => {
            let all: Vec<_> = chosen.iter().map(|(id, j)| as_json(*id, j)).collect();
            format!("{:#}\n", Value::from(all))
        }
        Format::Text if args.packet.is_none() && args.flow.is_none() => list(&chosen),
        Format::Text => {
            let mut s = String::new();
            if let Some(flow) = args.flow.and_then(|flow| told(&files, flow)) {
                s += &headline(&flow);
            }
            for (id, j) in chosen {
                let member = j.member.map_or(String::new(), |m| format!(", flow {}, {}", m.flow, m.role()));
                let _ = writeln!(s, "packet {id}{member}");
                ui.entries(&mut s, &j.entries);
            }
            s
        }
    })?;
    Ok(0)
}

fn as_json(id: PacketId, j: &Journey) -> Value {
    let (flow, role) = (j.member.map(|m| m.flow), j.member.map(Member::role));
    let mut told = json!({"packet": id, "flow": flow, "role": role, "entries": j.entries});
    for (key, packets) in [("proxied_from", &j.proxied_from), ("proxied_to", &j.proxied_to)] {
        if !packets.is_empty() {
            told[key] = json!(packets);
        }
    }
    told
}

/// All packets, a line each.
fn list(chosen: &[(PacketId, &Journey)]) -> String {
    let mut s = "        packet   flow       time  first seen\n".to_owned();
    for (id, j) in chosen {
        let first = j.entries.iter().find_map(|e| match &e.text {
            Text::Record { device, line, .. } => Some((e, device, line)),
            Text::Note(_) => None,
        });
        let Some((e, device, line)) = first else { continue };
        let flow = j.member.map_or("-".to_owned(), |m| m.flow.to_string());
        let _ = writeln!(s, "{id:>14} {flow:>6} {:>10}  {}/{device}  {line}", e.at.to_string(), e.namespace);
    }
    s + "one of them: podhop trace SCENARIO --packet ID; those of a connection: --flow N\n"
}

/// The line of flows.jsonl about a flow.
fn told(files: &Memory, flow: u32) -> Option<Value> {
    let lines = files.files.get("flows.jsonl")?.split(|b| *b == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()).find(|told| told["flow"] == flow)
}

/// What a flow is called, by whom it is translated, how much it carried.
fn headline(flow: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (from, to, protocol) = (text(&flow["source"]), text(&flow["destination"]), text(&flow["protocol"]));
    let id = flow["id"].as_u64().map_or(String::new(), |id| format!(", id {id}"));
    let mut s = format!("flow {}: {protocol} {from} > {to}{id}\n", flow["flow"]);
    for nat in flow["nat"].as_array().into_iter().flatten() {
        let (namespace, end) = (text(&nat["namespace"]), text(&nat["end"]));
        let _ = writeln!(s, "  {namespace} translates its {end}: {} becomes {}", text(&nat["from"]), text(&nat["to"]));
    }
    let (packets, bytes) = (&flow["packets"], &flow["bytes"]);
    let _ = write!(s, "  {} packets of {} bytes there", packets[0], bytes[0]);
    let _ = write!(s, ", {} of {} back", packets[1], bytes[1]);
    let errors = flow["errors"].as_u64().filter(|n| *n > 0);
    s + &errors.map_or("\n".to_owned(), |n| format!(", {n} ICMP errors\n"))
}
