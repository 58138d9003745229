//! Somebody who tells a proxy what to do.

use sim_core::base::Time;
use sim_core::engine::{Env, Program};
use sim_core::kernel::syscall::{Call, Fd, PollFd, Ret, SocketKind};
use sim_core::user::envoy::config::*;
use sim_core::user::envoy::discovery::{self, Message, Resources, Response};
use sim_core::user::tls::{Authority, Check, Name, Roots, Server, Session};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What istiod tells: a proxy that knows nothing at first, and is told twice.
#[derive(Clone)]
pub struct Istiod {
    fds: (Fd, Fd),
    at: usize,
    session: Option<Session>,
    input: Vec<u8>,
    /// What it has read.
    heard: Vec<Message>,
    /// What it says after the first request, and so much later.
    tells: Vec<(u64, Resources)>,
    due: Option<Time>,
}

impl Istiod {
    pub fn new(tells: Vec<(u64, Resources)>) -> Self {
        let (fds, session, input, heard) = ((Fd(0), Fd(0)), None, vec![], vec![]);
        Istiod { fds, at: 0, session, input, heard, tells, due: None }
    }

    /// Whatever there is to send, else it waits.
    fn next(&mut self, env: &mut Env<'_>) -> Call {
        let session = self.session.as_mut().expect("as the lab has it");
        if self.due.is_some_and(|due| due <= env.now) {
            let (_, resources) = self.tells.remove(0);
            let version = 1 + self.heard.len() as u64;
            session.send(
                &discovery::encode(&Message::Response(Response { version, resources })).expect("as the lab has it"),
            );
            self.due = None;
        }
        let (fd, output) = (self.fds.1, session.take_output());
        if !output.is_empty() {
            return Call::Send { fd, to: None, data: output };
        }
        let timeout_ns = self.due.map(|due| due.0.saturating_sub(env.now.0));
        Call::Poll { fds: vec![PollFd::read(fd)], timeout_ns }
    }
}

impl Program for Istiod {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        self.at += 1;
        match (self.at, ret) {
            (1, _) => Call::Socket(SocketKind::Tcp),
            (2, Ret::Fd(fd)) => {
                self.fds.0 = fd;
                Call::Bind { fd, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DISCOVERY_PORT) }
            }
            (3, _) => Call::Listen { fd: self.fds.0, backlog: 5 },
            (4, _) => Call::Accept { fd: self.fds.0, nonblock: false },
            (5, Ret::Accepted { fd, .. }) => {
                self.fds.1 = fd;
                let authority = Authority::of_scenario(env.prf, env.epoch_ns).expect("as the lab has it");
                let identity =
                    authority.issue(None, &[Name::Dns("istiod.istio-system.svc".into())]).expect("as the lab has it");
                let check = Check::SignedBy(Roots::new([authority.root()]));
                let server = Server::new(&identity, check, &["h2"], env).expect("as the lab has it");
                self.session = Some(Session::server(&server, 1, env).expect("as the lab has it"));
                self.next(env)
            }
            (_, Ret::Poll(ready)) if !ready.is_empty() => {
                Call::Recv { fd: self.fds.1, size: 16_384, dontwait: false, errqueue: false }
            }
            (_, Ret::Data(data)) => {
                let session = self.session.as_mut().expect("as the lab has it");
                session.receive(&data, env).expect("as the lab has it");
                self.input.extend(session.take_plain());
                while let Some(message) = discovery::decode(&mut self.input).expect("as the lab has it") {
                    env.console.out(format!("{message:?} {:?}\n", session.peer_uri()));
                    self.heard.push(message);
                    self.due = self.tells.first().map(|(later, _)| env.now + *later);
                }
                self.next(env)
            }
            (_, Ret::Eof | Ret::Err(_)) => Call::Exit(0),
            _ => self.next(env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
