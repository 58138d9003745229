//! `podhop schema`, `podhop completions` and `podhop man`: what other programs want to know of this one.

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::print::out;
use anyhow::Context;
use clap::CommandFactory;
use sim_core::scenario::raw;
use std::fs;

pub(crate) fn schema() -> anyhow::Result<u8> {
    out(&format!("{:#}\n", raw::schema()))?;
    Ok(0)
}

pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "podhop", &mut script);
    out(&String::from_utf8(script)?)?;
    Ok(0)
}

pub(crate) fn man(args: &ManArgs) -> anyhow::Result<u8> {
    let dir = &args.dir;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    Ok(0)
}
