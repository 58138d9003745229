//! The words that describe a device (iplink_parse): for `add`, `set`, `delete` and the peer of a veth.

use crate::base::Mac;
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::netlink::LinkChange;
use crate::lab::args::{
    Args, Keyword, duplicate, exact, garbage, help, integer, invalid, keyword, lladdr, names, not_simulated_in, number,
    on_off, prefix,
};
use crate::lab::ip::ABORTED;
use crate::lab::{Check, Subject, SyntaxError, Word};

/// Bytes of a device's name with its end.
pub(in crate::lab) const IFNAMSIZ: usize = 16;
/// As [`IFNAMSIZ`], for alternative names, which may stand where a device is named.
const ALTIFNAMSIZ: usize = 128;

/// What was read, up to `type` and its value.
#[derive(Default)]
pub(super) struct LinkWords<'a> {
    /// In the order of the words, each with its keyword.
    pub(super) changes: Vec<(&'a Word, LinkChange)>,
    /// The device.
    pub(super) dev: Option<&'a Word>,
    /// The value of `type`; its own words follow.
    pub(super) kind: Option<&'a Word>,
    /// What the tool looks up on the way.
    pub(super) checks: Vec<Check>,
}

/// Whose description it is.
#[derive(Clone, Copy)]
pub(super) enum Device {
    /// A device that is made.
    New,
    /// One that is there.
    Present,
}

#[derive(Clone, Copy)]
enum Key {
    Up,
    Down,
    Name,
    Address,
    TxQueueLen,
    Mtu,
    Netns,
    Allmulti,
    Promisc,
    Arp,
    Master,
    Nomaster,
    Type,
    Dev,
    Help,
    Other,
}

// In the order of iplink_parse: `a` is address, `t` is txqueuelen, `m` is master, `n` is nomaster.
const KEYS: &[Keyword<Key>] = &[
    exact("up", Key::Up),
    exact("down", Key::Down),
    exact("name", Key::Name),
    exact("index", Key::Other),
    prefix("link", Key::Other),
    prefix("address", Key::Address),
    prefix("broadcast", Key::Other),
    exact("brd", Key::Other),
    prefix("txqueuelen", Key::TxQueueLen),
    exact("qlen", Key::TxQueueLen),
    prefix("txqlen", Key::TxQueueLen),
    exact("mtu", Key::Mtu),
    exact("xdpgeneric", Key::Other),
    exact("xdpdrv", Key::Other),
    exact("xdpoffload", Key::Other),
    exact("xdp", Key::Other),
    exact("netns", Key::Netns),
    exact("multicast", Key::Other),
    exact("allmulticast", Key::Allmulti),
    exact("promisc", Key::Promisc),
    exact("trailers", Key::Other),
    exact("arp", Key::Arp),
    exact("carrier", Key::Other),
    exact("vf", Key::Other),
    prefix("master", Key::Master),
    exact("vrf", Key::Other),
    prefix("nomaster", Key::Nomaster),
    prefix("dynamic", Key::Other),
    prefix("type", Key::Type),
    prefix("alias", Key::Other),
    exact("group", Key::Other),
    exact("mode", Key::Other),
    exact("state", Key::Other),
    prefix("numtxqueues", Key::Other),
    prefix("numrxqueues", Key::Other),
    prefix("addrgenmode", Key::Other),
    prefix("link-netnsid", Key::Other),
    exact("protodown", Key::Other),
    exact("protodown_reason", Key::Other),
    exact("gso_max_size", Key::Other),
    exact("gso_max_segs", Key::Other),
    exact("gro_max_size", Key::Other),
    exact("parentdev", Key::Other),
    prefix("help", Key::Help),
    exact("dev", Key::Dev),
];

/// Whether a device of this name has to be announced by `dev` or `name`.
pub(in crate::lab) fn is_keyword(name: &str) -> bool {
    keyword(KEYS, name).is_some()
}

/// Reads up to the end, or up to `type` and its value.
pub(super) fn read<'a>(args: &mut Args<'a>, of: Device) -> Result<LinkWords<'a>, SyntaxError> {
    let mut out = LinkWords::default();
    while let Some(word) = args.next() {
        let change = match keyword(KEYS, &word.text) {
            Some(Key::Up) => LinkChange::Up(true),
            Some(Key::Down) => LinkChange::Up(false),
            Some(Key::Name) => {
                let value = out.once("name", args.value()?, |c| matches!(c, LinkChange::Name(_)))?;
                LinkChange::Name(name("name", value, IFNAMSIZ)?)
            }
            Some(Key::Address) => LinkChange::Address(address(args.value()?, of)?),
            Some(Key::TxQueueLen) => {
                let value = out.once("txqueuelen", args.value()?, |c| matches!(c, LinkChange::TxQueueLen(_)))?;
                LinkChange::TxQueueLen(integer(value, "Invalid \"txqueuelen\" value")?)
            }
            Some(Key::Mtu) => {
                let value = out.once("mtu", args.value()?, |c| matches!(c, LinkChange::Mtu(_)))?;
                LinkChange::Mtu(integer(value, "Invalid \"mtu\" value")?)
            }
            Some(Key::Netns) => {
                let value = out.once("netns", args.value()?, |c| matches!(c, LinkChange::Netns(_)))?;
                out.checks.push(netns(value));
                LinkChange::Netns(value.text.clone())
            }
            Some(Key::Allmulti) => LinkChange::Allmulti(on_off("allmulticast", args.value()?)?),
            Some(Key::Promisc) => LinkChange::Promisc(on_off("promisc", args.value()?)?),
            Some(Key::Arp) => LinkChange::Arp(on_off("arp", args.value()?)?),
            Some(Key::Master) => {
                let master = args.value()?;
                let message = invalid(master, "Device does not exist").message;
                out.checks.push(Check::dev(&master.text, message, ABORTED));
                LinkChange::Master(Some(master.text.clone()))
            }
            Some(Key::Nomaster) => LinkChange::Master(None),
            Some(Key::Type) => {
                out.kind = Some(args.value()?);
                return Ok(out);
            }
            Some(Key::Help) => return Err(help(word, "ip-link")),
            Some(Key::Other) => return Err(not_simulated_in(KEYS, word)),
            Some(Key::Dev) => {
                out.dev(args.value()?)?;
                continue;
            }
            None => {
                out.dev(word)?;
                continue;
            }
        };
        out.changes.push((word, change));
    }
    Ok(out)
}

impl<'a> LinkWords<'a> {
    fn dev(&mut self, dev: &'a Word) -> Result<(), SyntaxError> {
        if self.dev.is_some() {
            return Err(garbage("dev", dev).hint_nearest(&dev.text, names(KEYS)));
        }
        name("dev", dev, ALTIFNAMSIZ)?;
        self.dev = Some(dev);
        Ok(())
    }

    /// `value`, unless its option was given before.
    fn once(&self, option: &str, value: &'a Word, same: fn(&LinkChange) -> bool) -> Result<&'a Word, SyntaxError> {
        if self.changes.iter().any(|(_, c)| same(c)) {
            return Err(duplicate(option, value));
        }
        Ok(value)
    }
}

/// check_ifname and check_altifname
fn name(option: &str, word: &Word, size: usize) -> Result<String, SyntaxError> {
    let text = &word.text;
    if !may_be_name(text, size) {
        let hint = "a name has at most 15 bytes, without slashes and blanks";
        return Err(invalid(word, &format!("\"{option}\" not a valid ifname")).hint(hint));
    }
    Ok(text.clone())
}

/// ip(8) takes this for the name of a device; bridge(8) takes anything.
pub(in crate::lab) fn may_be_dev(text: &str) -> bool {
    may_be_name(text, ALTIFNAMSIZ)
}

fn may_be_name(text: &str, size: usize) -> bool {
    let bad = |c: char| c == '/' || c.is_ascii_whitespace();
    !text.is_empty() && text.len() < size && !text.contains(bad)
}

/// The tool measures an address against that of the device; of a new one the kernel does.
fn address(word: &Word, of: Device) -> Result<Mac, SyntaxError> {
    lladdr(word, |len| match of {
        Device::Present => format!("Invalid address length {len} - must be 6 bytes"),
        Device::New => NlError::from(Errno::EINVAL).to_string(),
    })
}

/// A namespace is given by its name, or by the id of a process that lives in it.
fn netns(word: &Word) -> Check {
    let is_pid = number(&word.text).is_some_and(|n| i32::try_from(n).is_ok());
    let (message, status) = if is_pid {
        (NlError::from(Errno::ESRCH).to_string(), 2)
    } else {
        (invalid(word, "Invalid \"netns\" value").message, ABORTED)
    };
    Check { subject: Subject::Netns(word.text.clone()), message, status }
}
