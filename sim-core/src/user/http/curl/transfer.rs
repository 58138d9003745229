//! What happens over a connection: the request, the answer, and what comes after it.

use super::response::Event;
use super::secure::Opened;
use super::write_out::Facts;
use super::{After, At, Connection, Curl, MAX_INITIAL_POST, RECEIVED_COST_NS, RECV_SIZE, Transfer, show, since};
use crate::engine::process::Env;
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, PollFd, Ret};

impl Curl {
    pub(super) fn send(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        t.facts.ready_us = since(t.started, env.now);
        (t.facts.local, t.facts.remote) = (t.connection.local, Some(t.connection.addr));
        let head = t.request.head(&t.url, &self.o);
        let data = t.request.data.clone().unwrap_or_default();
        t.facts.request_size += head.len() as u64;
        t.facts.uploaded = data.len() as u64;
        show::request(&self.o, t, &head, data.len(), env.console);
        let mut first = head.into_bytes();
        match data.len() < MAX_INITIAL_POST {
            true => first.extend(data.into_bytes()),
            false => t.more = data.into_bytes(),
        }
        t.out = t.connection.seal(first);
        self.call(At::Send, Call::Send { fd: t.connection.fd, to: None, data: t.out.clone() })
    }

    /// The request is on its way, or the answer.
    pub(super) fn transferring(&mut self, at: At, ret: Ret, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let fd = t.connection.fd;
        match (at, ret) {
            (At::Send, Ret::Sent(n)) => {
                t.out.drain(..n.min(t.out.len()));
                if t.out.is_empty() && !t.more.is_empty() {
                    let n = t.more.len().min(MAX_INITIAL_POST);
                    let next = t.more.drain(..n).collect();
                    t.out = t.connection.seal(next);
                    return self.call(At::Send, Call::Send { fd, to: None, data: t.out.clone() });
                }
                self.look(t)
            }
            (At::Send | At::Recv, Ret::Err(Errno::EAGAIN)) => self.wait(At::Wait, t, env),
            (At::Wait, ret) => {
                t.timers.retain(|timer| *timer > env.now);
                if let Some(ms) = self.late(t, env) {
                    let of = t.response.length.filter(|_| t.response.has_head());
                    let of = of.map_or(String::new(), |length| format!(" out of {length}"));
                    let received = t.response.received;
                    let message =
                        format!("Operation timed out after {ms} milliseconds with {received}{of} bytes received");
                    self.info(&message, env);
                    return self.close(t, After::End(28, message), env);
                }
                let writable = matches!(&ret, Ret::Poll(ready) if ready.iter().any(|r| r.write));
                if writable && !t.out.is_empty() {
                    return self.call(At::Send, Call::Send { fd, to: None, data: t.out.clone() });
                }
                self.look(t)
            }
            (At::Look, Ret::Poll(ready)) if ready.iter().any(|r| r.any()) => self.recv(t),
            (At::Look, _) => self.wait(At::Wait, t, env),
            (At::Recv, Ret::Data(data)) => match self.open(&data, t, env) {
                Opened::Plain(plain) => self.received(&plain, t, env),
                Opened::Nothing => self.recv(t),
                Opened::End => self.ended(t, env),
                Opened::Broken(message) => self.broken(t, 56, message, env),
            },
            (At::Recv, Ret::Eof) if t.connection.session.is_some() && !t.reused => {
                self.broken(t, 56, Curl::unexpected_eof(), env)
            }
            (At::Recv, Ret::Eof) => self.ended(t, env),
            (At::Recv, Ret::Err(_)) if t.reused && t.response.head_size == 0 => self.retry(t, env),
            (At::Recv, Ret::Err(e)) => self.broken(t, 56, format!("Recv failure: {e}"), env),
            (_, Ret::Err(e)) => self.broken(t, 55, format!("Send failure: {e}"), env),
            _ => self.look(t),
        }
    }

    fn recv(&mut self, t: &Transfer) -> Option<Call> {
        let size = t.connection.wants(t.response.wants(RECV_SIZE));
        self.call(At::Recv, Call::Recv { fd: t.connection.fd, size, dontwait: false, errqueue: false })
    }

    /// The server has ended the stream.
    fn ended(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        match t.response.eof() {
            Ok(()) => {
                t.response.close = true;
                self.complete(t, env)
            }
            Err((52, _)) if t.reused => self.retry(t, env),
            Err((code, message)) => self.broken(t, code, message, env),
        }
    }

    /// poll without waiting, before recv.
    pub(super) fn look(&mut self, t: &Transfer) -> Option<Call> {
        let fds = vec![PollFd::read(t.connection.fd)];
        self.call(At::Look, Call::Poll { fds, timeout_ns: Some(0) })
    }

    fn received(&mut self, data: &[u8], t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        env.spent_ns += RECEIVED_COST_NS;
        if t.facts.first_us == 0 {
            t.facts.first_us = since(t.started, env.now);
        }
        let mut events = vec![];
        let fed = t.response.feed(data, &mut events);
        let mut shown = false;
        for event in events {
            match event {
                Event::Head(head) => {
                    show::head(&self.o, t, &head, env.console);
                    if self.o.fail && t.response.code >= 400 {
                        let message = format!("The requested URL returned error: {}", t.response.code);
                        return self.broken(t, 22, message, env);
                    }
                }
                Event::Body(_) if self.follows(t) => {}
                Event::Body(body) => {
                    show::body(&self.o, t.discard, &body, &mut shown, env.console);
                }
                Event::Excess(n) => {
                    let size = t.response.length.map_or(-1, |l| l as i64);
                    let received = t.response.received;
                    let text = format!("excess = {n}, size = {size}, maxdownload = {size}, bytecount = {received}");
                    self.info(&format!("Excess found writing body: {text}"), env);
                }
            }
        }
        match fed {
            Err((code, message)) => self.broken(t, code, message, env),
            Ok(()) if t.response.is_done() => self.complete(t, env),
            Ok(()) => self.look(t),
        }
    }

    /// The answer is a redirect that -L follows.
    fn follows(&self, t: &Transfer) -> bool {
        self.o.follow && t.response.location.is_some() && (300..400).contains(&t.response.code)
    }

    /// The answer is complete.
    fn complete(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let after = self.after(t, env);
        if t.response.close || self.o.http10 && t.response.minor == 0 {
            return self.close(t, after, env);
        }
        let Connection { number, host, .. } = &t.connection;
        self.info(&format!("Connection #{number} to host {host} left intact"), env);
        self.connections.push(t.connection.clone());
        t.after = after;
        self.closed(t, env)
    }

    fn after(&self, t: &mut Transfer, env: &mut Env<'_>) -> After {
        let target = t.response.location.clone().filter(|_| (300..400).contains(&t.response.code));
        let Some(location) = target else { return After::End(0, String::new()) };
        let next = t.url.follow(&location);
        if !self.o.follow {
            t.facts.redirect_url = next.map_or(location, |url| url.text());
            return After::End(0, String::new());
        }
        if t.facts.redirects >= self.o.max_redirects {
            let message = format!("Maximum ({}) redirects followed", self.o.max_redirects);
            return After::End(47, message);
        }
        match next {
            Ok(url) => {
                self.info(&format!("Issue another request to this URL: '{}'", url.text()), env);
                After::Redirect(url)
            }
            Err(e) => After::End(e.code, e.message),
        }
    }

    /// The transfer failed: its connection is of no use.
    pub(super) fn broken(&mut self, t: &mut Transfer, code: i32, message: String, env: &mut Env<'_>) -> Option<Call> {
        self.info(&message, env);
        self.close(t, After::End(code, message), env)
    }

    /// An old connection was closed before it answered: another one is made.
    fn retry(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        t.retries += 1;
        self.info(&format!("Connection died, retrying a fresh connect (retry count: {})", t.retries), env);
        self.close(t, After::Retry, env)
    }

    pub(super) fn close(&mut self, t: &mut Transfer, after: After, env: &mut Env<'_>) -> Option<Call> {
        self.info(&format!("Closing connection {}", t.connection.number), env);
        t.after = after;
        self.leave(t, env)
    }

    /// The next call on the way to the connection's end.
    pub(super) fn leave(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let call = t.connection.leave();
        if matches!(call, Call::Send { .. }) {
            show::alert(&self.o, "OUT", "close notify (256)", env.console);
        }
        let at = if matches!(call, Call::Close { .. }) { At::Close } else { At::Leave };
        self.call(at, call)
    }

    /// What comes after a request.
    pub(super) fn closed(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        match std::mem::replace(&mut t.after, After::Retry) {
            After::End(code, message) => self.end(t, code, message, env),
            After::Retry => self.begin(t, env),
            After::NextAddress => self.next_address(t, env),
            After::Redirect(url) => {
                t.url = url;
                t.facts.redirects += 1;
                t.facts.redirect_us = since(t.started, env.now);
                t.facts.downloaded = 0;
                t.facts.head_size += t.response.head_size;
                let code = t.response.code;
                t.request.redirected(code, &self.o);
                self.begin(t, env)
            }
        }
    }

    /// The transfer is over.
    pub(super) fn end(&mut self, t: &mut Transfer, code: i32, message: String, env: &mut Env<'_>) -> Option<Call> {
        let (r, f) = (&t.response, &mut t.facts);
        (f.exit, f.error, f.code, f.fields) = (code, message, r.code, r.fields);
        f.downloaded = r.received;
        f.head_size += r.head_size;
        f.content_type.clone_from(&r.content_type);
        f.version = if r.code == 0 {
            "0"
        } else if r.minor == 0 {
            "1"
        } else {
            "1.1"
        };
        f.total_us = since(t.started, env.now);
        let facts = std::mem::take(f);
        self.report(&facts, env);
        None
    }

    pub(super) fn report(&mut self, facts: &Facts, env: &mut Env<'_>) {
        self.code = facts.exit;
        show::end(&self.o, facts, env.console);
    }
}
