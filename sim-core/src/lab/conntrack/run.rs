//! conntrack(8) as a program.

use super::{Command, Conntrack};
use crate::base::NsId;
use crate::engine::process::{Env, Program};
use crate::kernel::conntrack::Info;
use crate::kernel::netlink::Request;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Ret};
use crate::lab::show as text;

#[derive(Clone)]
struct Run {
    netns: Vec<String>,
    call: Conntrack,
    /// `-D`: the entries to delete.
    entries: Vec<Info>,
    next: usize,
    deleted: usize,
}

pub(in crate::lab) fn program(netns: Vec<String>, call: Conntrack) -> Box<dyn Program> {
    Box::new(Run { netns, call, entries: Vec::new(), next: 0, deleted: 0 })
}

impl Program for Run {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.call.command, ret) {
            (_, Ret::Start) => match crate::lab::run::enter(&self.netns, env) {
                Ok(ns) => self.start(ns, env),
                Err(exit) => Call::Exit(exit.0),
            },
            (Command::Delete, ret) => self.deleted(&ret, env),
            (_, Ret::NlErr(e)) => {
                let errno = e.errno;
                env.console.err(format!("conntrack v1.4.7 (conntrack-tools): Operation failed: {errno}\n"));
                Call::Exit(1)
            }
            _ => {
                env.console.err(text::conntrack_flushed());
                Call::Exit(0)
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Run {
    fn start(&mut self, ns: NsId, env: &mut Env<'_>) -> Call {
        let filter = &self.call.filter;
        let matching = || show::conntrack(env.spaces, ns, env.now).into_iter().filter(|i| filter.matches(i));
        match self.call.command {
            Command::List => {
                let entries: Vec<Info> = matching().collect();
                env.console.out(text::conntrack_entries(&entries, self.call.output, env.epoch_ns));
                env.console.err(text::conntrack_shown(entries.len()));
            }
            Command::Count => {
                env.console.out(format!("{}\n", show::conntrack_table(env.spaces, ns).count()));
            }
            Command::Stats => {
                env.console.out(text::conntrack_stats(&show::conntrack_table(env.spaces, ns).stats()));
            }
            Command::Flush => return self.netlink(Request::ConntrackFlush { portid: env.pid.0 }),
            Command::Delete => {
                self.entries = matching().collect();
                return self.delete(env);
            }
            // Differs: nobody listens for events yet but the tests.
            Command::Event => {
                env.console.err("conntrack v1.4.7 (conntrack-tools): events are not simulated\n");
                return Call::Exit(1);
            }
        }
        Call::Exit(0)
    }

    /// Asks for the next entry to be deleted, or ends.
    fn delete(&self, env: &mut Env<'_>) -> Call {
        match self.entries.get(self.next) {
            Some(i) => self.netlink(Request::ConntrackDel { tuple: i.tuple[0], id: i.id, portid: env.pid.0 }),
            None => {
                env.console.err(text::conntrack_deleted(self.deleted));
                Call::Exit(i32::from(self.deleted == 0))
            }
        }
    }

    /// An entry that has gone by itself is not spoken of.
    fn deleted(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        if let (Some(i), false) = (self.entries.get(self.next), matches!(ret, Ret::NlErr(_) | Ret::Err(_))) {
            env.console.out(text::conntrack_entries([i], self.call.output, env.epoch_ns));
            self.deleted += 1;
        }
        self.next += 1;
        self.delete(env)
    }

    fn netlink(&self, request: Request) -> Call {
        match self.netns.last() {
            Some(name) => Call::NetlinkIn(name.clone(), request),
            None => Call::Netlink(request),
        }
    }
}
