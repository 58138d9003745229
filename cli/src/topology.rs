//! `podhop topology`

use crate::WRONG_INPUT;
use crate::args::{Drawing, TopologyArgs};
use crate::input;
use crate::print::{Ui, out};
use sim_core::kernel::trace::Mute;
use sim_core::observe::topology::Topology;
use sim_core::scenario;

pub(crate) fn topology(args: &TopologyArgs, ui: &Ui) -> anyhow::Result<u8> {
    let Some(plan) = input::load(&args.path, None, ui)? else { return Ok(WRONG_INPUT) };
    let world = match scenario::build(&plan, &mut Mute) {
        Ok(world) => world,
        Err(errors) => {
            ui.diagnostics(&scenario::setup_diagnostics(&errors))?;
            return Ok(WRONG_INPUT);
        }
    };
    let topology = Topology::of(&world, &plan.labels, &plan.name);
    out(&match args.format {
        Drawing::Dot => topology.dot(),
        Drawing::Mermaid => topology.mermaid(),
        Drawing::Json => format!("{:#}\n", topology.json()),
    })?;
    Ok(0)
}
