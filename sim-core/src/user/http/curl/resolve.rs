//! From the host of a URL to its addresses (lib/hostip.c, lib/asyn-thread.c), and to the socket for one of them.
//!
//! Differs: curl asks the C library in a thread and waits for it; here the thread's system calls are curl's own.

use super::url::Resolve;
use super::{After, At};
use super::{Connection, Curl, Transfer, since};
use crate::base::time::MS;
use crate::engine::process::Env;
use crate::kernel::syscall::{Call, Ret, SocketKind};
use crate::user::dns::resolver::{Etc, Family, Progress, Resolver};
use std::collections::VecDeque;

/// What a thread costs. Nanoseconds.
const THREAD_COST_NS: u64 = 100_000;

impl Curl {
    /// A new connection: to where?
    pub(super) fn connect(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let host = t.url.host.clone();
        t.connection = Connection::new(self.made, &t.url);
        t.reused = false;
        self.made += 1;
        if let Resolve::Known(address) = t.url.resolve() {
            t.addresses = VecDeque::from([address]);
            return self.next_address(t, env);
        }
        if let Some((_, addresses)) = self.names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&host)) {
            t.addresses = addresses.clone();
            self.info(&format!("Hostname {host} was found in DNS cache"), env);
            return self.next_address(t, env);
        }
        env.spent_ns += THREAD_COST_NS;
        let family = if self.o.ipv4 { Family::Inet } else { Family::Unspec };
        t.resolver = Some(match self.resolver.take() {
            Some(resolver) => resolver.then_name(&host, family),
            None => Resolver::by_name(&Etc::read(env), &host, family),
        });
        self.resolving(Ret::Start, t, env)
    }

    /// The look-up goes on.
    pub(super) fn resolving(&mut self, ret: Ret, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        if let Some(ms) = self.late(t, env) {
            let message = format!("Resolving timed out after {ms} milliseconds");
            return self.unresolved(t, 28, message, env);
        }
        let mut resolver = t.resolver.take()?;
        match resolver.step(ret, env) {
            Progress::Call(call) => {
                t.resolver = Some(resolver);
                self.call(At::Resolve, self.hurried(call, t, env))
            }
            Progress::Done(found) => {
                self.resolver = Some(resolver);
                match found {
                    Ok(found) => {
                        t.addresses = found.addresses.into();
                        self.names.push((t.url.host.clone(), t.addresses.clone()));
                        self.next_address(t, env)
                    }
                    Err(_) => self.unresolved(t, 6, format!("Could not resolve host: {}", t.url.host), env),
                }
            }
        }
    }

    /// A call that waits no longer than --max-time allows.
    fn hurried(&self, call: Call, t: &Transfer, env: &Env<'_>) -> Call {
        let left = self.o.max_time_ms.map(|ms| t.started + ms * MS - env.now);
        match (call, left) {
            (Call::Poll { fds, timeout_ns }, Some(left)) => {
                Call::Poll { fds, timeout_ns: Some(timeout_ns.map_or(left, |ns| ns.min(left))) }
            }
            (call, _) => call,
        }
    }

    fn unresolved(&mut self, t: &mut Transfer, code: i32, message: String, env: &mut Env<'_>) -> Option<Call> {
        self.info(&message, env);
        self.info(&format!("Closing connection {}", t.connection.number), env);
        self.end(t, code, message, env)
    }

    /// A socket for the next address; there is one.
    pub(super) fn next_address(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let Some(address) = t.addresses.pop_front() else {
            return self.unresolved(t, 6, format!("Could not resolve host: {}", t.url.host), env);
        };
        t.connection.addr.set_ip(address);
        t.tried = env.now;
        if t.facts.name_us == 0 {
            t.facts.name_us = since(t.started, env.now);
        }
        self.call(At::Socket, Call::Socket(SocketKind::Tcp))
    }

    /// This address was no good. The next one is tried, if there is one; `code` and `why` are for the last.
    pub(super) fn not_connected(&mut self, t: &mut Transfer, code: i32, why: &str, env: &mut Env<'_>) -> Option<Call> {
        if !t.addresses.is_empty() {
            t.after = After::NextAddress;
            return self.call(At::Close, Call::Close { fd: t.connection.fd });
        }
        let ms = since(t.single, env.now) / 1000;
        let Connection { host, port, .. } = &t.connection;
        let message = format!("Failed to connect to {host} port {port} after {ms} ms: {why}");
        self.info(&message, env);
        self.close(t, After::End(code, message), env)
    }
}
