//! `podhop list`

use crate::args::{Format, ListArgs};
use crate::input;
use crate::print::{Ui, out};
use serde_json::{Value, json};
use sim_core::scenario::{self, Disk};
use std::fs;
use std::path::{Path, PathBuf};

/// A scenario of the list. One with errors has a title at most: `podhop check` tells them.
struct Listed {
    path: PathBuf,
    name: Option<String>,
    title: Option<String>,
    description: Option<String>,
}

impl Listed {
    fn new(path: PathBuf) -> Self {
        let plan = scenario::load(&Disk, &path, None).ok().map(|(_, plan)| plan);
        let name = plan.as_ref().map(|p| p.name.clone());
        let description = plan.map(|p| p.description.trim().to_owned());
        Listed { title: title(&path).or_else(|| name.clone()), path, name, description }
    }

    fn json(&self) -> Value {
        let Listed { path, name, title, description } = self;
        json!({"path": path, "name": name, "title": title, "description": description})
    }
}

pub(crate) fn list(args: &ListArgs, ui: &Ui) -> anyhow::Result<u8> {
    anyhow::ensure!(args.path.exists(), "{} does not exist", args.path.display());
    let all: Vec<_> = input::find(&args.path)?.into_iter().map(Listed::new).collect();
    if args.format == Format::Json {
        let all: Vec<_> = all.iter().map(Listed::json).collect();
        out(&format!("{:#}\n", Value::from(all)))?;
        return Ok(0);
    }
    let paths: Vec<_> = all.iter().map(|one| one.path.display().to_string()).collect();
    let width = paths.iter().map(|path| path.chars().count()).max().unwrap_or(0);
    for (path, one) in paths.iter().zip(&all) {
        out(&format!("{path:<width$}  {}\n", one.title.as_deref().unwrap_or("(it has errors)")))?;
        if ui.verbose
            && let Some(text) = &one.description
        {
            out(&format!("{:width$}  {text}\n", ""))?;
        }
    }
    Ok(0)
}

/// The heading of the README beside a scenario.
fn title(scenario: &Path) -> Option<String> {
    let text = fs::read_to_string(scenario.with_file_name("README.md")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("# ")).map(|title| title.trim().to_owned())
}
