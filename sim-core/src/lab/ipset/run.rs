//! ipset(8) as a program: changes go through the write door one by one, what is printed comes from the read door.

use super::{Ipset, Line, Task, element_of, print};
use crate::base::NsId;
use crate::engine::process::{Env, Program};
use crate::kernel::netfilter::ipset::{Change, SetError};
use crate::kernel::netlink::Request;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Ret};

#[derive(Clone)]
struct Run {
    netns: Vec<String>,
    call: Ipset,
    /// The change that comes next.
    next: usize,
}

pub(in crate::lab) fn program(netns: Vec<String>, call: Ipset) -> Box<dyn Program> {
    Box::new(Run { netns, call, next: 0 })
}

impl Program for Run {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let ns = match crate::lab::run::enter(&self.netns, env) {
            Ok(ns) => ns,
            Err(exit) => return Call::Exit(exit.0),
        };
        if let Ret::NlErr(e) = ret {
            let errno = e.errno.to_string();
            return self.failed(e.message.as_deref().unwrap_or(&errno), self.next.checked_sub(1), env);
        }
        match &self.call.task {
            Task::Change(lines) => match lines.get(self.next) {
                Some((line, _)) => self.change(&line.clone(), ns, env),
                None => Call::Exit(0),
            },
            Task::Restore { .. } => Call::Exit(0),
            Task::List { set, how } => {
                let rules = show::iptables(env.spaces, ns);
                if set.as_ref().is_some_and(|name| rules.sets().get(name).is_none()) {
                    return self.failed(SetError::NoSet.text(), None, env);
                }
                env.console.out(print::sets(rules, set.as_deref(), *how));
                Call::Exit(0)
            }
            Task::Test { .. } => self.test(ns, env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Run {
    /// The next change; what its element is follows from the set.
    fn change(&mut self, line: &Line, ns: NsId, env: &mut Env<'_>) -> Call {
        let change = match line {
            Line::Change(change) => Ok(change.clone()),
            Line::Element { del, set, words, exist } => match show::iptables(env.spaces, ns).sets().get(set) {
                None => Err(SetError::NoSet.text().to_owned()),
                Some(there) => element_of(there.spec.kind, words).map_err(|e| e.message).map(|element| {
                    let (set, exist) = (set.clone(), *exist);
                    if *del { Change::Del { set, element, exist } } else { Change::Add { set, element, exist } }
                }),
            },
        };
        let at = self.next;
        self.next += 1;
        let request = match change {
            Ok(change) => Request::Ipset(Box::new(change)),
            Err(message) => return self.failed(message.trim_start_matches("ipset v7.17: "), Some(at), env),
        };
        match self.netns.last() {
            Some(name) => Call::NetlinkIn(name.clone(), Box::new(request)),
            None => Call::Netlink(Box::new(request)),
        }
    }

    fn test(&self, ns: NsId, env: &mut Env<'_>) -> Call {
        let Task::Test { set, words } = &self.call.task else { return Call::Exit(0) };
        let Some(there) = show::iptables(env.spaces, ns).sets().get(set) else {
            return self.failed(SetError::NoSet.text(), None, env);
        };
        let found = match element_of(there.spec.kind, words) {
            Ok(element) => there.holds_element(&element),
            Err(e) => return self.failed(e.message.trim_start_matches("ipset v7.17: "), None, env),
        };
        let text = words.first().map_or("", |w| w.text.as_str());
        if !self.call.quiet {
            let verdict = if found {
                format!("Warning: {text} is in set {set}.\n")
            } else {
                format!("{text} is NOT in set {set}.\n")
            };
            env.console.err(verdict);
        }
        Call::Exit(i32::from(!found))
    }

    /// Says why, with the line of change number `at`. What has to do with words ends with status 2.
    fn failed(&self, message: &str, at: Option<usize>, env: &mut Env<'_>) -> Call {
        let line = match &self.call.task {
            Task::Change(lines) => at.and_then(|at| lines.get(at)?.1),
            _ => None,
        };
        let line = line.map_or(String::new(), |n| format!("Error in line {n}: "));
        if !self.call.quiet {
            env.console.err(format!("ipset v7.17: {line}{message}\n"));
        }
        Call::Exit(if message.ends_with(super::HELP) { 2 } else { 1 })
    }
}
