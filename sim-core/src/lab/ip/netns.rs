//! ip-netns(8): `add`, `delete`, `list`, `exec`, `identify`, `pids`.

use crate::kernel::cred::Cred;
use crate::kernel::netlink::Request;
use crate::lab::args::{Args, Keyword, help, keyword, not_simulated_in, prefix};
use crate::lab::show::{Format, Show, What};
use crate::lab::{Action, Command, Requests, SyntaxError, Tool, Word, command, enter};

use super::unknown;

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Delete,
    List,
    Exec,
    Identify,
    Pids,
    Help,
    Other,
}

// In the order of do_netns.
const VERBS: &[Keyword<Verb>] = &[
    prefix("list", Verb::List),
    prefix("show", Verb::List),
    prefix("lst", Verb::List),
    prefix("list-id", Verb::Other),
    prefix("help", Verb::Help),
    prefix("add", Verb::Add),
    prefix("set", Verb::Other),
    prefix("delete", Verb::Delete),
    prefix("identify", Verb::Identify),
    prefix("pids", Verb::Pids),
    prefix("exec", Verb::Exec),
    prefix("monitor", Verb::Other),
    prefix("attach", Verb::Other),
];

/// NAME_MAX
const NAME_MAX: usize = 255;

pub(super) fn parse(args: &mut Args<'_>, mut netns: Vec<String>, format: Format) -> Result<Command, SyntaxError> {
    let show = |what| Action::Show { checks: Vec::new(), show: Show { format, what } };
    let Some(verb) = args.next() else { return Ok(Command { netns, cred: Cred::ROOT, action: show(What::Netns) }) };
    if let Some(bad) = args.peek().filter(|w| !is_name(&w.text)) {
        return Err(SyntaxError::at(bad, format!("Invalid netns name \"{}\"", bad.text)));
    }
    let action = match keyword(VERBS, &verb.text) {
        Some(Verb::List) => show(What::Netns),
        Some(Verb::Add) => request(Request::NetnsAdd { name: name(args)?.text.clone() }),
        Some(Verb::Delete) => request(Request::NetnsDel { name: name(args)?.text.clone() }),
        Some(Verb::Exec) => {
            enter(&mut netns, name(args)?)?;
            if args.peek().is_none() {
                return Err(args.error("No command specified"));
            }
            return command(args.rest(), netns);
        }
        Some(Verb::Identify) => show(What::NetnsIdentify(args.next().map(pid).transpose()?)),
        Some(Verb::Pids) => show(What::NetnsPids(name(args)?.text.clone())),
        Some(Verb::Help) => return Err(help(verb, "ip-netns")),
        Some(Verb::Other) => return Err(not_simulated_in(VERBS, verb)),
        None => return Err(unknown(verb, "netns", &["add", "delete", "list", "exec", "identify", "pids"])),
    };
    Ok(Command { netns, cred: Cred::ROOT, action })
}

fn name<'a>(args: &mut Args<'a>) -> Result<&'a Word, SyntaxError> {
    args.next().ok_or_else(|| args.error("No netns name specified"))
}

fn pid(word: &Word) -> Result<u32, SyntaxError> {
    let not_a_pid = |_| SyntaxError::at(word, format!("Specified string '{}' is not a pid", word.text));
    word.text.parse().map_err(not_a_pid)
}

fn request(request: Request) -> Action {
    Action::Requests(Requests { tool: Tool::Netns, checks: Vec::new(), requests: vec![request], ignore: None })
}

/// A name is a file's name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && !name.contains('/') && name != "." && name != ".."
}
