//! The command interpreter: commands as a person types them on a node become requests to the kernel, and what the
//! kernel shows becomes the text that the real tools print. Grammar, abbreviations, messages, exit statuses and texts
//! are those of iproute2 6.1, net-tools 2.10, bridge-utils 1.7, procps 4.0, coreutils 9.1, util-linux
//! 2.38, ethtool 6.1, conntrack-tools 1.4.7, ipset 7.17, kmod 30 and
//! iptables 1.8.9. A word that the real tool knows and this kernel does
//! not is an error that says so.

mod args;
mod bpftool;
mod brctl;
mod bridge;
mod cat;
mod cilium_agent;
pub mod conntrack;
mod dmesg;
mod ethtool;
mod ip;
pub mod ipset;
pub mod iptables;
pub mod lex;
mod lsns;
mod modprobe;
mod nettools;
pub mod print;
mod run;
pub mod show;
mod ss;
mod sysctl;
mod tc;

use crate::base::NsId;
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::Program;
use crate::kernel::cred::Cred;
use crate::kernel::errno::Errno;
use crate::kernel::netlink::{LinkKind, Request};
use crate::kernel::netns::Spaces;
use crate::kernel::show as show_door;
use crate::user::{nc, setpriv};
use show::Show;

pub use sysctl::{Sysctl, Variable};

/// A command that can be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The namespaces that it enters, one after the other (`-n NAME`, `ip netns exec NAME`); it works in the last.
    pub netns: Vec<String>,
    /// As whom it acts (`setpriv`).
    pub cred: Cred,
    /// What it does there.
    pub action: Action,
}

/// What a command does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// It changes something.
    Requests(Requests),
    /// `sysctl`, which goes on after an error.
    Sysctl(Sysctl),
    /// `conntrack`
    Conntrack(Box<conntrack::Conntrack>),
    /// `iptables`, `iptables-save`, `iptables-restore`
    Iptables(Box<iptables::Invocation>),
    /// `ipset`
    Ipset(Box<ipset::Ipset>),
    /// `cat` of these files, which goes on after an error.
    Cat(Vec<String>),
    /// It prints what the kernel shows.
    Show {
        /// Looked at before, in this order.
        checks: Vec<Check>,
        /// What it prints.
        show: Show,
    },
    /// A program of `user/`, by its words.
    User(Vec<Word>),
    /// `nc`
    Nc(Box<nc::Options>),
}

/// Requests that a tool makes, one after the other until one fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requests {
    /// Who makes them: it decides how an error looks.
    pub tool: Tool,
    /// What the tool looks up itself before it asks the kernel, in this order.
    pub checks: Vec<Check>,
    /// What it asks for.
    pub requests: Vec<Request>,
    /// An error that is none: `ip addr replace` of an address that is there.
    pub ignore: Option<Errno>,
}

/// The tools, as far as they differ in how they report the kernel's errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tool {
    /// ip(8)
    Ip,
    /// ip-netns(8), which goes through the file system.
    Netns,
    /// ip-tunnel(8), which makes system calls.
    Tunnel,
    /// bridge(8)
    Bridge,
    /// ethtool(8)
    Ethtool,
    /// modprobe(8)
    Modprobe,
    /// cilium-agent
    CiliumAgent,
}

/// Something that a tool looks up by name before it asks the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What must exist.
    pub subject: Subject,
    /// What the tool prints if it does not.
    pub message: String,
    /// Its exit status then.
    pub status: i32,
}

/// What a [`Check`] is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A device in the namespace that the command works in.
    Dev(String),
    /// A namespace.
    Netns(String),
}

/// The commands that [`parse`] knows; those of iptables have forms with `-legacy` and `-nft` in their names, too.
pub const COMMANDS: [&str; 31] = [
    "arp",
    "arping",
    "bpftool",
    "brctl",
    "bridge",
    "cat",
    "cilium-agent",
    "conntrack",
    "curl",
    "dig",
    "dmesg",
    "ethtool",
    "getent",
    "hostname",
    "ip",
    "iperf3",
    "ipset",
    "iptables",
    "iptables-restore",
    "iptables-save",
    "lsns",
    "modprobe",
    "nc",
    "netstat",
    "nslookup",
    "ping",
    "route",
    "setpriv",
    "ss",
    "sysctl",
    "tc",
];

/// A command may enter so many namespaces inside each other.
pub const MAX_NETNS_ENTERED: usize = 16;

/// Reads one command where there are no files.
///
/// # Errors
/// What the real tool would say about its words, as far as it can be told without running it; that there is no such
/// command; or that a part of it is not simulated.
pub fn parse(line: &str) -> Result<Command, SyntaxError> {
    parse_with(line, &mut |file| {
        Err(SyntaxError::at(file, "there are no files here").hint("write the text behind it: `<< 'EOF'`"))
    })
}

/// Reads one command; `read` finds the text of a file that it names.
///
/// # Errors
/// As for [`parse`], and those of `read`.
pub fn parse_with(line: &str, read: &mut Read<'_>) -> Result<Command, SyntaxError> {
    let lex::Line { words, input } = lex::line(line)?;
    let mut command = command(&words, Vec::new())?;
    match &mut command.action {
        Action::Iptables(call) => call.feed(input, read)?,
        Action::Ipset(call) => call.feed(input, read)?,
        Action::Nc(nc) => match input {
            Some(lex::Input::File(file)) => nc.feed(read(&file)?),
            Some(lex::Input::Here(text)) => nc.feed(text.text),
            None => {}
        },
        _ => {
            if let Some(input) = input {
                return Err(SyntaxError::new(input.span().clone(), "the command does not read its standard input"));
            }
        }
    }
    Ok(command)
}

/// Finds the text of a file by its name as it was written.
pub type Read<'a> = dyn FnMut(&Word) -> Result<String, SyntaxError> + 'a;

impl Command {
    /// Where to start it when `here` is where it was typed. A program with sockets cannot change its namespace, so it
    /// starts in the one that the command enters, and so does what finds itself among the processes there; the other
    /// commands go there themselves. If there is no such namespace, the program says so.
    pub fn start_ns(&self, spaces: &Spaces, here: NsId) -> NsId {
        let entered = self.netns.last().and_then(|name| show_door::netns_by_name(spaces, name));
        let counts_itself = matches!(&self.action, Action::Show { show, .. } if show.counts_itself());
        let starts_there = counts_itself || matches!(self.action, Action::User(_) | Action::Nc(_)) || self.is_endless();
        entered.filter(|_| starts_there).unwrap_or(here)
    }

    /// It goes on until it is interrupted.
    pub fn is_endless(&self) -> bool {
        match &self.action {
            Action::Conntrack(call) => call.command == conntrack::Command::Event,
            Action::Nc(nc) => nc.is_endless(),
            Action::User(words) => crate::user::is_endless(words),
            _ => false,
        }
    }

    /// It makes an IPIP tunnel, or loads the module.
    pub fn makes_ipip(&self) -> bool {
        let makes = |request: &Request| match request {
            Request::LoadIpip | Request::TunnelAdd { .. } => true,
            Request::LinkAdd(link) => matches!(link.kind, LinkKind::Ipip(_)),
            _ => false,
        };
        matches!(&self.action, Action::Requests(r) if r.requests.iter().any(makes))
    }

    /// It changes nothing, sends nothing and does not wait: run or not, all else goes on alike.
    pub fn only_shows(&self) -> bool {
        match &self.action {
            Action::Show { .. } | Action::Cat(_) => true,
            Action::Sysctl(s) => s.variables.iter().all(|v| v.value.is_none()),
            Action::Conntrack(call) => call.command.only_shows(),
            Action::Iptables(call) => call.only_shows(),
            Action::Ipset(call) => call.only_shows(),
            Action::Requests(_) | Action::User(_) | Action::Nc(_) => false,
        }
    }

    /// The command as a program that prints what the real tool prints and exits with its status; to be started in
    /// [`Command::start_ns`].
    pub fn into_program(self) -> Box<dyn Program> {
        run::program(self)
    }
}

impl Check {
    fn dev(name: &str, message: String, status: i32) -> Self {
        Check { subject: Subject::Dev(name.to_owned()), message, status }
    }

    /// A device by the name that `ip` and `bridge` say they cannot find.
    fn find_dev(name: &str, status: i32) -> Self {
        Check::dev(name, format!("Cannot find device \"{name}\""), status)
    }
}

fn command(words: &[Word], netns: Vec<String>) -> Result<Command, SyntaxError> {
    let Some(first) = words.first() else { return Err(SyntaxError::new(0..0, "there is no command")) };
    if let Some((cred, rest)) = setpriv::split(words)? {
        let entered = netns.len();
        let command = command(rest, netns)?;
        if command.netns.len() != entered {
            return Err(SyntaxError::at(first, "setpriv: as somebody into a namespace is not simulated")
                .hint("ip netns exec NAME setpriv …"));
        }
        return Ok(Command { cred, ..command });
    }
    let (netns, action) = match first.text.as_str() {
        "ip" => return ip::parse(words, netns),
        "bridge" => bridge::parse(words, netns)?,
        "cat" => (netns, cat::parse(words)?),
        "arp" => (netns, nettools::arp(words)?),
        "bpftool" => (netns, bpftool::parse(words)?),
        "cilium-agent" => (netns, cilium_agent::parse(words)?),
        "brctl" => (netns, brctl::parse(words)?),
        "dmesg" => (netns, dmesg::parse(words)?),
        "netstat" => (netns, nettools::netstat(words)?),
        "lsns" => (netns, lsns::parse(words)?),
        "hostname" => (netns, nettools::hostname(words)?),
        "route" => (netns, nettools::route(words)?),
        "ss" => (netns, ss::parse(words)?),
        "sysctl" => (netns, sysctl::parse(words)?),
        "tc" => tc::parse(words, netns)?,
        "conntrack" => (netns, Action::Conntrack(Box::new(conntrack::parse(words)?))),
        "ethtool" => (netns, ethtool::parse(words)?),
        name if iptables::COMMANDS.contains(&name) => (netns, Action::Iptables(Box::new(iptables::parse(words)?))),
        "modprobe" => (netns, modprobe::parse(words)?),
        "ipset" => (netns, Action::Ipset(Box::new(ipset::parse(words)?))),
        "nc" => (netns, Action::Nc(Box::new(nc::parse(first, &words[1..])?))),
        name if crate::user::PROGRAMS.contains(&name) => {
            crate::user::parse(words)?;
            (netns, Action::User(words.to_vec()))
        }
        name => return Err(unknown_command(first, name, netns.is_empty())),
    };
    Ok(Command { netns, cred: Cred::ROOT, action })
}

fn unknown_command(word: &Word, name: &str, by_shell: bool) -> SyntaxError {
    let message = if by_shell {
        format!("{name}: command not found")
    } else {
        format!("exec of \"{name}\" failed: No such file or directory")
    };
    let known = format!("the commands are: {}", COMMANDS.join(", "));
    let hint = match crate::base::words::nearest(name, COMMANDS) {
        Some(near) => format!("did you mean \"{near}\"? {known}"),
        None => known,
    };
    SyntaxError::at(word, message).hint(hint)
}

/// Adds a namespace to those that a command enters.
fn enter(netns: &mut Vec<String>, word: &Word) -> Result<(), SyntaxError> {
    if netns.len() >= MAX_NETNS_ENTERED {
        let message = format!("more than {MAX_NETNS_ENTERED} namespaces inside each other (MAX_NETNS_ENTERED)");
        return Err(SyntaxError::at(word, message));
    }
    netns.push(word.text.clone());
    Ok(())
}

#[cfg(test)]
mod tests;
