//! modprobe(8) of kmod: the module `ipip`, which is not there from the beginning. All others are, as far as they are
//! simulated.

use super::{Action, Requests, SyntaxError, Tool, Word};
use crate::kernel::netlink::Request;

/// Modules that are there.
const BUILT_IN: [&str; 8] =
    ["br_netfilter", "bridge", "ip_set", "ip_tables", "nf_conntrack", "nf_tables", "veth", "vxlan"];

/// `modprobe MODULE`
pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let (program, names) = words.split_first().ok_or_else(|| SyntaxError::new(0..0, "there is no command"))?;
    let [name] = names else {
        return Err(
            SyntaxError::at(program, "modprobe: ERROR: missing parameters. See -h.").hint("write modprobe ipip")
        );
    };
    let requests = match name.text.as_str() {
        "ipip" => vec![Request::LoadIpip],
        built_in if BUILT_IN.contains(&built_in) => vec![],
        other => {
            let message = format!("modprobe: FATAL: Module {other} not found in directory /lib/modules/6.18.0");
            return Err(SyntaxError::at(name, message).hint("what can be loaded: ipip"));
        }
    };
    Ok(Action::Requests(Requests { tool: Tool::Modprobe, checks: vec![], requests, ignore: None }))
}
