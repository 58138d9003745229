//! bpftool(8) of Linux 6.18: `link` and `net`, which list.

use super::args::{Args, Keyword, exact, keyword, names, not_simulated, not_simulated_in, prefix};
use super::show::{Format, Show, What};
use super::{Action, SyntaxError, Word};

#[derive(Clone, Copy)]
enum Object {
    Link,
    Net,
    Other,
}

// In the order of commands[] in main.c.
const OBJECTS: &[Keyword<Object>] = &[
    prefix("help", Object::Other),
    prefix("batch", Object::Other),
    prefix("prog", Object::Other),
    prefix("map", Object::Other),
    prefix("link", Object::Link),
    prefix("cgroup", Object::Other),
    prefix("perf", Object::Other),
    prefix("net", Object::Net),
    prefix("feature", Object::Other),
    prefix("btf", Object::Other),
    prefix("gen", Object::Other),
    prefix("struct_ops", Object::Other),
    prefix("iter", Object::Other),
    prefix("token", Object::Other),
    prefix("version", Object::Other),
];

/// What lists, and what changes.
const VERBS: &[Keyword<bool>] = &[
    prefix("show", true),
    prefix("list", true),
    exact("attach", false),
    exact("detach", false),
    exact("pin", false),
    exact("help", false),
];

pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let mut args = Args::new(words, 1);
    let hint = "what is simulated: bpftool link, bpftool net";
    let object = args.next().ok_or_else(|| args.error("bpftool: help texts are not simulated").hint(hint))?;
    let what = match keyword(OBJECTS, &object.text) {
        Some(Object::Link) => What::BpfLinks,
        Some(Object::Net) => What::BpfNet,
        Some(Object::Other) => return Err(not_simulated_in(OBJECTS, object).hint(hint)),
        None if object.text.starts_with('-') => return Err(not_simulated(object)),
        None => {
            let message = format!("Error: unknown object \"{}\"", object.text);
            return Err(SyntaxError::at(object, message).hint_nearest(&object.text, names(OBJECTS)));
        }
    };
    if let Some(verb) = args.next() {
        match keyword(VERBS, &verb.text) {
            Some(true) => {}
            Some(false) => return Err(not_simulated(verb)),
            None => {
                let message = format!("Error: unknown command \"{}\"", verb.text);
                return Err(SyntaxError::at(verb, message).hint_nearest(&verb.text, ["show", "list"]));
            }
        }
    }
    match args.next() {
        Some(more) => Err(not_simulated(more)),
        None => Ok(Action::Show { checks: vec![], show: Show { format: Format::default(), what } }),
    }
}
