//! brctl(8) of bridge-utils: `show`, `showmacs`, `showstp`.

use super::args::{Args, not_simulated};
use super::show::{BrctlQuery, Format, Show, What};
use super::{Action, SyntaxError, Word};

/// The commands that are simulated.
const COMMANDS: [&str; 3] = ["show", "showmacs", "showstp"];

/// Those that change something, with what does the same.
const OTHERS: [(&str, &str); 13] = [
    ("addbr", "ip link add NAME type bridge"),
    ("delbr", "ip link delete NAME"),
    ("addif", "ip link set DEV master BRIDGE"),
    ("delif", "ip link set DEV nomaster"),
    ("hairpin", "bridge link set dev DEV hairpin on"),
    ("setageing", "ip link set BRIDGE type bridge ageing_time HUNDREDTHS"),
    ("setbridgeprio", "ip link set BRIDGE type bridge priority N"),
    ("setfd", "ip link set BRIDGE type bridge forward_delay HUNDREDTHS"),
    ("sethello", "nothing: there is no spanning tree"),
    ("setmaxage", "nothing: there is no spanning tree"),
    ("setpathcost", "bridge link set dev DEV cost N"),
    ("setportprio", "bridge link set dev DEV priority N"),
    ("stp", "nothing: there is no spanning tree"),
];

pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let mut args = Args::new(words, 1);
    let known = || format!("the commands are: {}", COMMANDS.join(", "));
    let command = args.next().ok_or_else(|| args.error("Usage: brctl [commands]").hint(known()))?;
    let text = command.text.as_str();
    if let Some((_, same)) = OTHERS.iter().find(|(name, _)| *name == text) {
        return Err(not_simulated(command).hint(format!("write {same}")));
    }
    if !COMMANDS.contains(&text) {
        return Err(SyntaxError::at(command, format!("never heard of command [{text}]"))
            .hint(known())
            .hint_nearest(text, COMMANDS));
    }
    let names: Vec<String> = args.rest().iter().map(|w| w.text.clone()).collect();
    let query = match (text, names.as_slice()) {
        ("show", _) => BrctlQuery::Show(names),
        ("showmacs", [bridge]) => BrctlQuery::Macs(bridge.clone()),
        ("showstp", [bridge]) => BrctlQuery::Stp(bridge.clone()),
        _ => {
            return Err(SyntaxError::at(command, "Incorrect number of arguments for command")
                .hint(format!("write brctl {text} BRIDGE")));
        }
    };
    Ok(Action::Show { checks: vec![], show: Show { format: Format::default(), what: What::Brctl(query) } })
}
