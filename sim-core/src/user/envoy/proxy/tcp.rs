//! Bytes that are copied as they come (source/common/tcp_proxy/tcp_proxy.cc): each downstream has an upstream of its
//! own, and one's end of the stream is the other's.

use super::conn::{End, Id};
use super::downstream::{Down, Mode};
use super::log::{Flag, Record};
use super::program::Envoy;
use super::route::Destination;
use crate::base::Time;
use crate::engine::process::Env;

/// A downstream's other end.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub up: Id,
    started: Time,
    /// Bytes that the downstream has sent, and was sent.
    received: u64,
    sent: u64,
}

impl Envoy {
    /// A downstream's bytes go there.
    pub(super) fn tcp_start(&mut self, id: Id, to: Destination, env: &mut Env<'_>) {
        let Some(target) = self.tcp_target(id, &to, env) else {
            let Some(down) = self.downs.remove(&id) else { return };
            let mut record = Record::connection(&down, env.now);
            record.flags.push(Flag::UH);
            if let Destination::Cluster(cluster) = to {
                record.cluster = cluster;
            }
            self.log(&record, env);
            return self.close(id, End::Close);
        };
        let up = self.make(target, Some(id), env);
        if let Some(down) = self.downs.get_mut(&id) {
            down.mode = Mode::Tcp(Relay { up, started: env.now, received: 0, sent: 0 });
            down.timer = None;
        }
    }

    /// Copies what has come of either end.
    pub(super) fn tcp_copy(&mut self, id: Id, env: &mut Env<'_>) {
        let Some(Mode::Tcp(Relay { up, .. })) = self.downs.get(&id).map(|d| &d.mode) else { return };
        let up = *up;
        if !self.ups.get(&up).is_some_and(|u| u.ready) {
            return;
        }
        let mut copied = [0, 0];
        for (n, (from, to)) in [(id, up), (up, id)].into_iter().enumerate() {
            let Some(conn) = self.conns.get_mut(&from) else { continue };
            let ((data, read), eof) = (conn.read(|input, _| std::mem::take(input)), conn.eof);
            copied[n] = data.len() as u64;
            let Some(other) = self.conns.get_mut(&to) else { continue };
            other.write(read.as_ref(), |out| out.extend(data));
            if eof && other.end == End::Open {
                other.end = End::Shutdown;
            }
            self.touch(to);
        }
        if let Some(Mode::Tcp(relay)) = self.downs.get_mut(&id).map(|d| &mut d.mode) {
            relay.received += copied[0];
            relay.sent += copied[1];
        }
        if [id, up].iter().all(|end| self.conns.get(end).is_none_or(|c| c.eof)) {
            self.close(id, End::Close);
            self.close(up, End::Close);
            if let Some(down) = self.downs.remove(&id) {
                self.tcp_log(&down, up, &[], env);
            }
            self.ups.remove(&up);
        }
    }

    /// The line of a connection.
    fn tcp_log(&self, down: &Down, up: Id, flags: &[Flag], env: &mut Env<'_>) {
        let Mode::Tcp(relay) = &down.mode else { return };
        let mut record = Record::connection(down, relay.started);
        record.flags.extend(flags);
        (record.received, record.sent) = (relay.received, relay.sent);
        if let Some(up) = self.ups.get(&up) {
            record.cluster.clone_from(&up.target.cluster);
            (record.upstream, record.local) = (Some(up.target.address), up.local);
        }
        self.log(&record, env);
    }

    /// The downstream was lost.
    pub(super) fn tcp_over(&mut self, up: Id, down: &Down, env: &mut Env<'_>) {
        self.tcp_log(down, up, &[], env);
        self.ups.remove(&up);
        self.close(up, End::Close);
    }

    /// The upstream was lost, or could not be made.
    pub(super) fn tcp_lost(&mut self, id: Id, up: Id, env: &mut Env<'_>) {
        let Some(down) = self.downs.remove(&id) else { return };
        let ready = self.ups.get(&up).is_some_and(|u| u.ready);
        self.tcp_log(&down, up, if ready { &[] } else { &[Flag::UF, Flag::URX] }, env);
        self.ups.remove(&up);
        self.close(id, End::Close);
    }
}
