//! A command as a program: it checks what the tool checks itself, makes the requests one by one, prints what the tool
//! prints.

use super::{Action, Check, Command, Requests, Subject, Tool, cat};
use crate::base::NsId;
use crate::base::words::Word;
use crate::engine::process::{Env, Program};
use crate::kernel::errno::NlError;
use crate::kernel::netlink::Request;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Ret};
use crate::lab::show::View;
use crate::user::nc::Nc;

pub(super) fn program(command: Command) -> Box<dyn Program> {
    match command.action {
        Action::User(words) => Box::new(User { netns: command.netns, program: user(&words), checked: false }),
        Action::Nc(o) => Box::new(User { netns: command.netns, program: Box::new(Nc::new(*o)), checked: false }),
        Action::Conntrack(call) => super::conntrack::run::program(command.netns, *call),
        Action::Iptables(call) => super::iptables::run::program(command.netns, *call),
        Action::Ipset(call) => super::ipset::run::program(command.netns, *call),
        action => Box::new(Run { netns: command.netns, action, next: 0, status: 0 }),
    }
}

/// The words were read once when the command was parsed; should they not be good now, the program says why.
fn user(words: &[Word]) -> Box<dyn Program> {
    crate::user::parse(words).unwrap_or_else(|e| Box::new(Refuse { message: e.message }))
}

/// A program of `user/`, after `ip netns exec` has looked for its namespaces.
struct User {
    netns: Vec<String>,
    program: Box<dyn Program>,
    checked: bool,
}

impl Program for User {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if !self.checked {
            self.checked = true;
            if let Err(Exit(status)) = enter(&self.netns, env) {
                return Call::Exit(status);
            }
        }
        self.program.step(ret, env)
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(User { netns: self.netns.clone(), program: self.program.boxed_clone(), checked: self.checked })
    }
}

#[derive(Clone)]
struct Refuse {
    message: String,
}

impl Program for Refuse {
    fn step(&mut self, _: Ret, env: &mut Env<'_>) -> Call {
        env.console.err(format!("{}\n", self.message));
        Call::Exit(2)
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

#[derive(Clone)]
struct Run {
    netns: Vec<String>,
    action: Action,
    /// The request or variable that comes next.
    next: usize,
    /// The exit status so far.
    status: i32,
}

impl Program for Run {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let done = match self.returned(ret, env) {
            Ok(()) => self.go_on(env),
            Err(exit) => Err(exit),
        };
        done.unwrap_or_else(|Exit(status)| Call::Exit(status))
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// The program ends with this status; what there was to say is printed.
pub(super) struct Exit(pub(super) i32);

impl Run {
    /// Takes in how the last request ended.
    fn returned(&mut self, ret: Ret, env: &mut Env<'_>) -> Result<(), Exit> {
        let error = match ret {
            Ret::Start => {
                let ns = enter(&self.netns, env)?;
                return self.check(ns, env);
            }
            Ret::NlErr(e) => Some(e),
            Ret::Err(e) => Some(e.into()),
            _ => None,
        };
        let at = self.next;
        self.next += 1;
        match &self.action {
            Action::Requests(r) => match error {
                Some(e) if r.ignore != Some(e.errno) => {
                    let (text, status) = refused(r, r.requests.get(at), &e);
                    Err(fail(env, &text, status))
                }
                _ => Ok(()),
            },
            Action::Sysctl(s) => {
                if let Some(v) = s.variables.get(at) {
                    let value = v.value.as_deref().unwrap_or_default();
                    self.status |= s.written(&v.name, value, error.map(|e| e.errno), env.console);
                }
                Ok(())
            }
            Action::Show { .. }
            | Action::Cat(_)
            | Action::Conntrack(_)
            | Action::Iptables(_)
            | Action::Ipset(_)
            | Action::User(_)
            | Action::Nc(_) => Ok(()),
        }
    }

    /// The next call, or the end.
    fn go_on(&mut self, env: &mut Env<'_>) -> Result<Call, Exit> {
        match &self.action {
            Action::Requests(r) => match r.requests.get(self.next) {
                Some(request) => Ok(self.netlink(request.clone())),
                None => Err(Exit(0)),
            },
            Action::Sysctl(_) => self.variables(env),
            Action::Show { show, .. } => {
                let ns = enter(&self.netns, env)?;
                match show.text(view(ns, env)) {
                    Ok(text) => {
                        env.console.out(text);
                        Err(Exit(0))
                    }
                    Err((text, status)) => Err(fail(env, &text, status)),
                }
            }
            Action::Cat(files) => {
                let ns = enter(&self.netns, env)?;
                let mut status = 0;
                for name in files {
                    match cat::text(view(ns, env), env.files, name) {
                        Ok(text) => env.console.out(text),
                        Err(errno) => {
                            env.console.err(format!("cat: {name}: {errno}\n"));
                            status = 1;
                        }
                    }
                }
                Err(Exit(status))
            }
            Action::Conntrack(_) | Action::Iptables(_) | Action::Ipset(_) | Action::User(_) | Action::Nc(_) => {
                Err(Exit(0))
            }
        }
    }

    /// Prints variables that are read, up to one that is written.
    fn variables(&mut self, env: &mut Env<'_>) -> Result<Call, Exit> {
        let Action::Sysctl(s) = &self.action else { return Err(Exit(0)) };
        while let Some(v) = s.variables.get(self.next) {
            if let Some(value) = &v.value {
                return Ok(self.netlink(Request::Sysctl { name: v.name.clone(), value: value.clone() }));
            }
            let ns = enter(&self.netns, env)?;
            self.next += 1;
            self.status += s.read(&v.name, env.spaces, ns, env.console);
        }
        Err(Exit(self.status & 0xff))
    }

    fn netlink(&self, request: Request) -> Call {
        match self.netns.last() {
            Some(name) => Call::NetlinkIn(name.clone(), Box::new(request)),
            None => Call::Netlink(Box::new(request)),
        }
    }

    fn check(&self, ns: NsId, env: &mut Env<'_>) -> Result<(), Exit> {
        let checks = match &self.action {
            Action::Requests(r) => r.checks.as_slice(),
            Action::Show { checks, .. } => checks,
            Action::Sysctl(_)
            | Action::Cat(_)
            | Action::Conntrack(_)
            | Action::Iptables(_)
            | Action::Ipset(_)
            | Action::User(_)
            | Action::Nc(_) => &[],
        };
        match checks.iter().find(|c| !exists(&c.subject, ns, env)) {
            Some(Check { message, status, .. }) => Err(fail(env, message, *status)),
            None => Ok(()),
        }
    }
}

fn view<'a>(ns: NsId, env: &Env<'a>) -> View<'a> {
    View { spaces: env.spaces, ns, now: env.now, tasks: env.tasks, log: env.log }
}

/// The namespace that a command works in, by way of all that it enters.
pub(super) fn enter(netns: &[String], env: &mut Env<'_>) -> Result<NsId, Exit> {
    let mut ns = env.ns;
    for name in netns {
        ns = show::netns_by_name(env.spaces, name).ok_or_else(|| {
            let text = format!("Cannot open network namespace \"{name}\": No such file or directory");
            fail(env, &text, 255)
        })?;
    }
    Ok(ns)
}

fn exists(subject: &Subject, ns: NsId, env: &Env<'_>) -> bool {
    match subject {
        Subject::Dev(name) => show::links(env.spaces, ns, env.now).iter().any(|l| l.name == *name),
        Subject::Netns(name) => show::netns_by_name(env.spaces, name).is_some(),
    }
}

/// Prints one or more lines to standard error.
fn fail(env: &mut Env<'_>, text: &str, status: i32) -> Exit {
    env.console.err(format!("{text}\n"));
    Exit(status)
}

/// What a tool prints when the kernel refuses, and its exit status.
fn refused(requests: &Requests, request: Option<&Request>, error: &NlError) -> (String, i32) {
    match (requests.tool, request) {
        (Tool::Ip, Some(Request::RouteFlush(_))) => (format!("{error}\nFlush terminated"), 2),
        (Tool::Ip, _) => (error.to_string(), 2),
        (Tool::Tunnel, Some(Request::TunnelDel { dev })) => {
            (format!("delete tunnel \"{dev}\" failed: {}", error.errno), 1)
        }
        // By the device that it asks.
        (Tool::Tunnel, _) => (format!("add tunnel \"tunl0\" failed: {}", error.errno), 1),
        (Tool::Netns, Some(Request::NetnsAdd { name })) => {
            (format!("Cannot create namespace file \"/run/netns/{name}\": {}", error.errno), 1)
        }
        (Tool::Netns, Some(Request::NetnsDel { name })) => {
            (format!("Cannot remove namespace file \"/run/netns/{name}\": {}", error.errno), 1)
        }
        (Tool::Netns, _) => (error.to_string(), 1),
        (Tool::Bridge, _) => (error.to_string(), 255),
        (Tool::Modprobe, _) => (format!("modprobe: ERROR: could not insert 'ipip': {}", error.errno), 1),
        (Tool::CiliumAgent, _) => (format!("cilium-agent: {}", error.errno), 1),
        (Tool::Ethtool, _) => (format!("netlink error: {}", error.errno), 92),
    }
}
