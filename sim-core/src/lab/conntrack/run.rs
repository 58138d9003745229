//! conntrack(8) as a program.

use super::{Command, Conntrack};
use crate::base::NsId;
use crate::engine::process::{Env, Program};
use crate::kernel::conntrack::Info;
use crate::kernel::errno::Errno;
use crate::kernel::netlink::Request;
use crate::kernel::show;
use crate::kernel::syscall::{Call, CtGroups, Fd, Ret, SocketKind};
use crate::lab::show as text;

#[derive(Clone)]
struct Run {
    netns: Vec<String>,
    call: Conntrack,
    /// Where it runs; whether the kernel was asked for the connections.
    ns: NsId,
    dumped: bool,
    /// `-D`: the entries to delete.
    entries: Vec<Info>,
    next: usize,
    deleted: usize,
    /// `-E`: where events come from, and how many were printed.
    socket: Fd,
    shown: usize,
}

/// What `-E` prints when its socket's buffer was full.
const LOSING: &str = "WARNING: We have hit ENOBUFS! We are losing events.\n\
    This message means that the current netlink socket buffer size is too small.\n\
    Please, check --buffer-size in conntrack(8) manpage.\n";

pub(in crate::lab) fn program(netns: Vec<String>, call: Conntrack) -> Box<dyn Program> {
    let (ns, entries, socket) = (NsId::default(), Vec::new(), Fd(0));
    Box::new(Run { netns, call, ns, dumped: false, entries, next: 0, deleted: 0, socket, shown: 0 })
}

impl Program for Run {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.call.command, ret) {
            (_, Ret::Start) => match crate::lab::run::enter(&self.netns, env) {
                Ok(ns) => self.start(ns, env),
                Err(exit) => Call::Exit(exit.0),
            },
            (Command::List | Command::Delete, Ret::Done) if !self.dumped => self.dumped(env),
            (Command::Delete, ret) => self.deleted(&ret, env),
            (Command::Event, ret) => self.event(ret, env),
            (Command::Create, Ret::NlErr(e)) if e.errno == Errno::EEXIST => {
                let message = "Operation failed: Such conntrack exists, try -U to update";
                env.console.err(format!("conntrack v1.4.7 (conntrack-tools): {message}\n"));
                Call::Exit(1)
            }
            (Command::Create, Ret::Done) => {
                env.console.err("conntrack v1.4.7 (conntrack-tools): 1 flow entries have been created.\n");
                Call::Exit(0)
            }
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
        match self.call.command {
            Command::List | Command::Delete => {
                self.ns = ns;
                return self.netlink(Request::ConntrackDump);
            }
            Command::Count => {
                env.console.out(format!("{}\n", show::conntrack_table(env.spaces, ns).count()));
            }
            Command::Stats => {
                env.console.out(text::conntrack_stats(&show::conntrack_table(env.spaces, ns).stats()));
            }
            Command::Create => {
                if let Some(new) = &self.call.new {
                    return self.netlink(Request::ConntrackNew(new.clone()));
                }
            }
            Command::Flush => return self.netlink(Request::ConntrackFlush { portid: env.pid.0 }),
            Command::Event => {
                let [new, update, destroy] = self.call.filter.events;
                return Call::Socket(SocketKind::Conntrack(CtGroups { new, update, destroy }));
            }
        }
        Call::Exit(0)
    }

    /// The entries that were asked for.
    fn matching(&self, env: &Env<'_>) -> Vec<Info> {
        let all = show::conntrack(env.spaces, self.ns, env.now).into_iter();
        all.filter(|i| self.call.filter.matches(i)).collect()
    }

    /// `-L` and `-D`, after the kernel has gone through the connections.
    fn dumped(&mut self, env: &mut Env<'_>) -> Call {
        self.dumped = true;
        let entries = self.matching(env);
        if self.call.command == Command::Delete {
            self.entries = entries;
            return self.delete(env);
        }
        env.console.out(text::conntrack_entries(&entries, self.call.output, env.epoch_ns));
        env.console.err(text::conntrack_shown(entries.len()));
        Call::Exit(0)
    }

    /// `-E`: prints what comes until it is interrupted.
    fn event(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match ret {
            Ret::Fd(fd) => self.socket = fd,
            Ret::Event(event) if self.call.filter.hears(&event) => {
                env.console.out(text::conntrack_event(&event, self.call.output, env.epoch_ns));
                self.shown += 1;
            }
            Ret::Err(Errno::ENOBUFS) => env.console.err(LOSING),
            Ret::Err(Errno::EINTR) => {}
            Ret::Err(e) => {
                env.console.err(format!("conntrack v1.4.7 (conntrack-tools): Operation failed: {e}\n"));
                return Call::Exit(1);
            }
            _ => {}
        }
        if env.interrupted {
            env.console.err(text::conntrack_events_shown(self.shown));
            return Call::Exit(0);
        }
        Call::Recv { fd: self.socket, size: 65_535, dontwait: false, errqueue: false }
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
            Some(name) => Call::NetlinkIn(name.clone(), Box::new(request)),
            None => Call::Netlink(Box::new(request)),
        }
    }
}
