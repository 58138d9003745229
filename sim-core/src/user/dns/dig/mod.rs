//! `dig` of BIND 9.18.

mod options;
pub(super) mod print;

use self::options::{Invocation, Spec};
use super::lookup::{Lookup, Question, Said, Servers};
use super::resolver::Etc;
use crate::base::time::SEC;
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::syscall::{Call, Ret};
use simple_dns::{QTYPE, TYPE};

/// What Debian 12 has.
const VERSION: &str = "9.18.49-1~deb12u3-Debian";
/// The status after an error before anything was asked.
const FATAL: i32 = 1;
/// The status after a name that is none.
const BAD_NAME: i32 = 10;

/// The program.
#[derive(Clone, Debug)]
pub(in crate::user) struct Dig {
    invocation: Invocation,
    etc: Option<Etc>,
    next: usize,
    servers: Servers,
    lookup: Option<Lookup>,
    /// The first line was printed.
    greeted: bool,
    drawn: u64,
    status: i32,
}

/// Reads the words behind the name.
pub(in crate::user) fn parse(words: &[Word]) -> Result<Dig, SyntaxError> {
    let invocation = options::parse(words)?;
    Ok(Dig {
        invocation,
        etc: None,
        next: 0,
        servers: Servers::default(),
        lookup: None,
        greeted: false,
        drawn: 0,
        status: 0,
    })
}

impl Program for Dig {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if self.invocation.version {
            env.console.err(format!("DiG {VERSION}\n"));
            return Call::Exit(0);
        }
        if self.etc.is_none() {
            self.etc = Some(Etc::read(env));
            self.invocation.warnings.iter().for_each(|w| env.console.err(format!("{w}\n")));
        }
        let mut ret = ret;
        loop {
            if let Some(mut lookup) = self.lookup.take() {
                if let Some(call) = self.look_up(&mut lookup, std::mem::replace(&mut ret, Ret::Start), env) {
                    self.lookup = Some(lookup);
                    return call;
                }
                (self.next, self.servers, self.drawn) = (self.next + 1, Servers::default(), lookup.drawn());
                // What one reached counts for all.
                self.status = lookup.status;
                if self.status == BAD_NAME {
                    return Call::Exit(BAD_NAME);
                }
            }
            let Some(spec) = self.invocation.lookups.get(self.next).cloned() else { return Call::Exit(self.status) };
            match self.find_server(&spec, std::mem::replace(&mut ret, Ret::Start), env) {
                Ok(Some(call)) => return call,
                Ok(None) => self.lookup = Some(Lookup::new(self.question(&spec), self.drawn)),
                Err(status) => return Call::Exit(status),
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Dig {
    /// The addresses of a server that has a name.
    fn find_server(&mut self, spec: &Spec, ret: Ret, env: &mut Env<'_>) -> Result<Option<Call>, i32> {
        let (Some(name), Some(etc)) = (&spec.server, &self.etc) else { return Ok(None) };
        self.servers.find(name, etc, ret, env).map_err(|why| {
            env.console.err(format!("dig: {why}\n"));
            FATAL
        })
    }

    fn question(&self, spec: &Spec) -> Question {
        let i = &self.invocation;
        let resolv = self.etc.as_ref().map(|e| e.resolv.clone()).unwrap_or_default();
        let own = || resolv.servers.iter().map(|s| (*s, s.to_string())).collect();
        Question {
            name: spec.name.clone(),
            kind: spec.kind.unwrap_or(QTYPE::TYPE(TYPE::A)),
            recurse: spec.recurse,
            ad: spec.ad,
            edns: spec.edns,
            cookie: spec.cookie,
            tcp: spec.tcp.unwrap_or(false),
            ignore: spec.ignore,
            tries: spec.tries,
            timeout_s: i.timeout_s,
            servers: self.servers.found.clone().unwrap_or_else(own),
            port: i.port,
            search: i.search.then(|| resolv.search.clone()),
            ndots: i.ndots.unwrap_or(resolv.ndots as usize),
            show_search: i.show_search,
            servfail_stops: spec.fail,
            check_ra: false,
        }
    }

    fn look_up(&mut self, lookup: &mut Lookup, ret: Ret, env: &mut Env<'_>) -> Option<Call> {
        let mut said = vec![];
        let call = lookup.step(ret, env, &mut said);
        let Some(spec) = self.invocation.lookups.get(self.next).cloned() else { return call };
        for s in said {
            self.say(&spec, lookup, s, env);
        }
        call
    }

    fn say(&mut self, spec: &Spec, lookup: &mut Lookup, said: Said, env: &mut Env<'_>) {
        match said {
            Said::Warning(text) => env.console.out(format!(";; {text}\n")),
            Said::Comment(text) if spec.style.comments && !spec.style.short => env.console.out(format!(";; {text}\n")),
            Said::NoServers { command_line } => {
                if command_line {
                    self.greet(false, env);
                }
                env.console.out(";; no servers could be reached\n");
            }
            Said::Sending(query, size) if spec.qr => {
                self.greet(true, env);
                let text = print::message(&query, &spec.style, None);
                env.console.out(format!("{text};; QUERY SIZE: {size}\n\n"));
            }
            Said::Message(answer) => {
                self.greet(true, env);
                let text = if spec.style.short && spec.style.answer {
                    print::short(&answer, &spec.style)
                } else {
                    print::message(&answer.message, &spec.style, Some(&answer.query))
                };
                env.console.out(text);
            }
            Said::Received(answer) if !spec.style.short => {
                if spec.style.stats {
                    let unix_s = (env.epoch_ns + answer.received.0) / SEC;
                    env.console.out(print::stats(&answer, unix_s));
                } else if spec.style.identify {
                    let (to, took) =
                        (format!("{}#{}", answer.server.ip(), answer.server.port()), print::took_ms(&answer));
                    let text =
                        format!(";; Received {} bytes from {to}({}) in {took} ms\n\n", answer.size, answer.written);
                    env.console.out(text);
                }
            }
            Said::BadName(why) => {
                env.console.err(format!("dig: '{}' is not a legal name ({why})\n", lookup.question.name));
                lookup.status = BAD_NAME;
            }
            Said::Comment(_) | Said::Sending(..) | Said::Received(_) => {}
        }
    }

    /// The lines in front of the first answer: the command, and what holds for all.
    fn greet(&mut self, answer: bool, env: &mut Env<'_>) {
        let Some(greeting) = self.invocation.greeting.filter(|_| !self.greeted || self.invocation.show_search) else {
            return;
        };
        self.greeted = true;
        if answer && !self.invocation.cmd {
            return;
        }
        let i = &self.invocation;
        let mut text = format!("\n; <<>> DiG {VERSION} <<>>{}\n", i.words);
        if greeting.server {
            let n = self.servers.found.as_ref().map_or(1, Vec::len);
            text.push_str(&format!("; ({n} server{} found)\n", if n > 1 { "s" } else { "" }));
        }
        text.push_str(&format!(";; global options:{} +cmd\n", if greeting.short { " +short" } else { "" }));
        env.console.out(text);
    }
}
