//! tc(8) of iproute2: `qdisc show`.

use super::args::{Args, Keyword, exact, help, keyword, not_simulated, not_simulated_in, prefix};
use super::show::{Format, Show, What};
use super::{Action, Check, SyntaxError, Word, enter};

/// The exit status after `return -1` of a command.
const FAILED: i32 = 1;

#[derive(Clone, Copy)]
enum Opt {
    Stats,
    Details,
    Oneline,
    Json,
    Pretty,
    Netns,
    Other,
}

// In the order of main() in tc/tc.c.
const OPTIONS: &[Keyword<Opt>] = &[
    prefix("-stats", Opt::Stats),
    prefix("-statistics", Opt::Stats),
    prefix("-details", Opt::Details),
    prefix("-raw", Opt::Other),
    prefix("-pretty", Opt::Pretty),
    exact("-graph", Opt::Other),
    prefix("-Version", Opt::Other),
    prefix("-iec", Opt::Other),
    prefix("-help", Opt::Other),
    prefix("-force", Opt::Other),
    prefix("-batch", Opt::Other),
    prefix("-netns", Opt::Netns),
    prefix("-Numeric", Opt::Other),
    prefix("-names", Opt::Other),
    prefix("-cf", Opt::Other),
    prefix("-json", Opt::Json),
    prefix("-oneline", Opt::Oneline),
    prefix("-brief", Opt::Other),
];

#[derive(Clone, Copy)]
enum Object {
    Qdisc,
    Help,
    Other,
}

const OBJECTS: &[Keyword<Object>] = &[
    prefix("qdisc", Object::Qdisc),
    prefix("class", Object::Other),
    prefix("filter", Object::Other),
    prefix("chain", Object::Other),
    prefix("actions", Object::Other),
    prefix("monitor", Object::Other),
    prefix("exec", Object::Other),
    prefix("help", Object::Help),
];

pub(super) fn parse(words: &[Word], mut netns: Vec<String>) -> Result<(Vec<String>, Action), SyntaxError> {
    let mut args = Args::new(words, 1);
    let format = options(&mut args, &mut netns)?;
    let usage = "Usage: tc [ OPTIONS ] OBJECT { COMMAND | help }";
    let object = args.next().ok_or_else(|| args.error(usage).hint("the object is: qdisc"))?;
    match keyword(OBJECTS, &object.text) {
        Some(Object::Qdisc) => Ok((netns, qdisc(&mut args, format)?)),
        Some(Object::Help) => Err(help(object, "tc")),
        Some(Object::Other) => Err(not_simulated_in(OBJECTS, object)),
        None => {
            let message = format!("Object \"{}\" is unknown, try \"tc help\".", object.text);
            Err(SyntaxError::at(object, message).hint_nearest(&object.text, ["qdisc"]))
        }
    }
}

fn options(args: &mut Args<'_>, netns: &mut Vec<String>) -> Result<Format, SyntaxError> {
    let mut format = Format::default();
    while let Some(word) = args.peek().filter(|w| w.text.starts_with('-')) {
        args.next();
        match keyword(OPTIONS, &word.text).filter(|_| word.text.len() > 1) {
            Some(Opt::Stats) => format.stats += 1,
            Some(Opt::Details) => format.details = true,
            Some(Opt::Oneline) => format.oneline = true,
            Some(Opt::Json) => format.json = true,
            Some(Opt::Pretty) => format.pretty = true,
            Some(Opt::Netns) => enter(netns, args.value()?)?,
            Some(Opt::Other) => return Err(not_simulated_in(OPTIONS, word)),
            None => {
                let message = format!("Option \"{}\" is unknown, try \"tc -help\".", word.text);
                let known = ["-stats", "-details", "-oneline", "-json", "-pretty", "-netns"];
                return Err(SyntaxError::at(word, message).hint_nearest(&word.text, known));
            }
        }
    }
    Ok(format)
}

fn qdisc(args: &mut Args<'_>, format: Format) -> Result<Action, SyntaxError> {
    let mut dev = None;
    if let Some(verb) = args.next() {
        match verb.text.as_str() {
            "show" | "list" | "lst" | "sho" | "sh" | "s" => {}
            "add" | "change" | "replace" | "link" | "delete" | "del" | "get" => return Err(not_simulated(verb)),
            "help" => return Err(help(verb, "tc")),
            text => {
                let message = format!("Command \"{text}\" is unknown, try \"tc qdisc help\".");
                return Err(SyntaxError::at(verb, message).hint_nearest(text, ["show"]));
            }
        }
    }
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "dev" => dev = Some(args.value()?.text.clone()),
            "root" => {}
            "ingress" | "clsact" | "handle" | "parent" | "invisible" => return Err(not_simulated(word)),
            text => {
                return Err(SyntaxError::at(word, format!("What is \"{text}\"? Try \"tc qdisc help\"."))
                    .hint_nearest(text, ["dev", "root"]));
            }
        }
    }
    let checks = dev.iter().map(|d| Check::find_dev(d, FAILED)).collect();
    Ok(Action::Show { checks, show: Show { format, what: What::Qdiscs { dev } } })
}
