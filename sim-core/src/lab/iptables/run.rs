//! The programs of iptables: what changes rules goes through the write door, what is printed comes from the read door.

use super::{Invocation, Task};
use crate::base::NsId;
use crate::base::time::SEC;
use crate::engine::process::{Env, Program};
use crate::kernel::netfilter::error::{Error, Refused};
use crate::kernel::netfilter::save::Options;
use crate::kernel::netfilter::{Backend, Iptables};
use crate::kernel::netlink::Request;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Ret};
use crate::lab::show::date;

#[derive(Clone)]
struct Run {
    netns: Vec<String>,
    call: Invocation,
}

pub(in crate::lab) fn program(netns: Vec<String>, call: Invocation) -> Box<dyn Program> {
    Box::new(Run { netns, call })
}

impl Program for Run {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let ns = match crate::lab::run::enter(&self.netns, env) {
            Ok(ns) => ns,
            Err(exit) => return Call::Exit(exit.0),
        };
        match ret {
            Ret::Start => self.start(ns, env),
            Ret::NlErr(e) => match e.rules {
                Some(refused) => self.refused(&refused, env),
                None => {
                    env.console.err(format!("{}: {}.\n", self.call.alias(), e.errno));
                    Call::Exit(1)
                }
            },
            _ => self.list(ns, env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Run {
    fn start(&self, ns: NsId, env: &mut Env<'_>) -> Call {
        let backend = self.call.backend;
        let request = match &self.call.task {
            Task::Save { counters, table } => return self.save(ns, env, *counters, table.as_deref()),
            Task::Restore(restore) => Request::IptablesRestore { backend, restore: restore.clone() },
            Task::Command(command) => match &**command {
                Ok(command) => Request::Iptables { backend, command: Box::new(command.clone()) },
                Err(error) => return self.failed(error.clone(), ns, env),
            },
        };
        match self.netns.last() {
            Some(name) => Call::NetlinkIn(name.clone(), Box::new(request)),
            None => Call::Netlink(Box::new(request)),
        }
    }

    /// `iptables-save`. The tables of one backend are none of the other's.
    fn save(&self, ns: NsId, env: &mut Env<'_>, counters: bool, table: Option<&str>) -> Call {
        let there = show::iptables(env.spaces, ns);
        let none = Iptables::new(self.backend(ns, env));
        let tables = if self.call.backend.is_none_or(|b| b == there.backend()) { there } else { &none };
        let date = date((env.epoch_ns + env.now.0) / SEC);
        let options = Options { counters, table, generated: Some((&date, &self.call.alias())) };
        match tables.save(options) {
            Ok(text) => {
                env.console.out(text);
                Call::Exit(0)
            }
            Err(error) => self.failed(error, ns, env),
        }
    }

    /// The request is done; a command that lists has its table now.
    fn list(&self, ns: NsId, env: &mut Env<'_>) -> Call {
        let Task::Command(command) = &self.call.task else { return Call::Exit(0) };
        let Ok(command) = &**command else { return Call::Exit(0) };
        match show::iptables(env.spaces, ns).list(command) {
            Ok(text) => {
                env.console.out(text);
                Call::Exit(0)
            }
            Err(error) => self.failed(error, ns, env),
        }
    }

    fn failed(&self, error: Error, ns: NsId, env: &mut Env<'_>) -> Call {
        let backend = self.backend(ns, env);
        self.refused(&Refused { error, line: None, backend }, env)
    }

    fn refused(&self, refused: &Refused, env: &mut Env<'_>) -> Call {
        env.console.err(refused.text(&self.call.alias()));
        Call::Exit(refused.status())
    }

    fn backend(&self, ns: NsId, env: &Env<'_>) -> Backend {
        self.call.backend.unwrap_or_else(|| show::iptables(env.spaces, ns).backend())
    }
}
