//! The system calls of a script.

use std::net::{Ipv4Addr, SocketAddrV4};

use sim_core::kernel::syscall::{Call, Fd, PmtuDisc, PollFd, Ret, Shutdown, SockOpt, SocketKind};

use super::{Drill, HOST_PORT, PEER};

impl Drill {
    /// Carries out a call; what it returned is zero, a number of bytes or an errno.
    pub(super) fn call(&mut self, text: &str) -> Result<String, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let on_listener = words.first() == Some(&"listener");
        if on_listener {
            words.remove(0);
        }
        let (name, arg) = (words.first().copied().unwrap_or_default(), words.get(1).copied());
        match name {
            "prepare" => {
                self.listener = Some(self.open()?);
                return Ok("0".to_owned());
            }
            "socket" => {
                self.conn = Some(self.open()?);
                return Ok("0".to_owned());
            }
            "listen" => return self.listen(number(arg)?),
            "accept" => {
                let fd = self.listener.ok_or("no listener")?;
                let ret = self.one(self.host, Call::Accept { fd, nonblock: true }, true)?;
                if let Ret::Accepted { fd, .. } = ret {
                    self.conn = Some(fd);
                }
                return Ok(shown(&ret));
            }
            _ => {}
        }
        let fd = if on_listener { self.listener } else { self.conn }.ok_or("no such socket")?;
        let call = on_socket(fd, name, &words)?;
        let ret = self.one(self.host, call, false)?;
        if name == "close" {
            *(if on_listener { &mut self.listener } else { &mut self.conn }) = None;
        }
        Ok(shown(&ret))
    }

    fn open(&mut self) -> Result<Fd, String> {
        let Ret::Fd(fd) = self.one(self.host, Call::Socket(SocketKind::Tcp), true)? else {
            return Err("no socket".to_owned());
        };
        self.one(self.host, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) }, false)?;
        Ok(fd)
    }

    fn listen(&mut self, backlog: u32) -> Result<String, String> {
        let fd = match self.listener {
            Some(fd) => fd,
            None => self.open()?,
        };
        self.listener = Some(fd);
        let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, HOST_PORT);
        for call in [
            Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) },
            Call::Bind { fd, addr },
            Call::Listen { fd, backlog },
        ] {
            let ret = self.one(self.host, call, false)?;
            if ret != Ret::Done {
                return Ok(shown(&ret));
            }
        }
        Ok("0".to_owned())
    }
}

fn on_socket(fd: Fd, name: &str, words: &[&str]) -> Result<Call, String> {
    let arg = words.get(1).copied();
    Ok(match name {
        "bind" => Call::Bind { fd, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, number(arg)?) },
        "connect" => {
            let port = if arg.is_some() { number(arg)? } else { HOST_PORT };
            Call::Connect { fd, addr: SocketAddrV4::new(PEER, port) }
        }
        "send" => Call::Send { fd, to: None, data: vec![b'x'; number(arg)?] },
        "recv" => Call::Recv { fd, size: number(arg)?, dontwait: true, errqueue: false },
        "shutdown" => {
            let how = match arg {
                Some("read") => Shutdown::Read,
                Some("write") => Shutdown::Write,
                _ => Shutdown::Both,
            };
            Call::Shutdown { fd, how }
        }
        "close" => Call::Close { fd },
        "error" => Call::SocketError { fd },
        "poll" => Call::Poll { fds: vec![PollFd { fd, read: true, write: true }], timeout_ns: Some(0) },
        "set" => Call::SetSockOpt { fd, opt: option(arg.unwrap_or_default(), words.get(2).copied())? },
        other => return Err(format!("no call {other}")),
    })
}

fn option(name: &str, value: Option<&str>) -> Result<SockOpt, String> {
    let on = number::<u32>(value).map(|n| n != 0);
    Ok(match name {
        "nodelay" => SockOpt::NoDelay(on?),
        "cork" => SockOpt::Cork(on?),
        "quickack" => SockOpt::QuickAck(on?),
        "keepalive" => SockOpt::KeepAlive(on?),
        "reuseaddr" => SockOpt::ReuseAddr(on?),
        "maxseg" => SockOpt::MaxSeg(number(value)?),
        "keepidle" => SockOpt::KeepIdle(number(value)?),
        "keepintvl" => SockOpt::KeepInterval(number(value)?),
        "keepcnt" => SockOpt::KeepCount(number(value)?),
        "usertimeout" => SockOpt::UserTimeout(number(value)?),
        "rcvbuf" => SockOpt::RecvBuf(number(value)?),
        "sndbuf" => SockOpt::SendBuf(number(value)?),
        "linger" => SockOpt::Linger(if value == Some("off") { None } else { Some(number(value)?) }),
        "pmtudisc" => {
            use PmtuDisc::{Do, Dont, Interface, Omit, Probe, Want};
            let modes = [Dont, Want, Do, Probe, Interface, Omit];
            SockOpt::MtuDiscover(*modes.get(number::<usize>(value)?).ok_or("no such mode")?)
        }
        other => return Err(format!("no option {other}")),
    })
}

fn number<T: std::str::FromStr>(text: Option<&str>) -> Result<T, String> {
    text.and_then(|t| t.parse().ok()).ok_or_else(|| format!("no number: {text:?}"))
}

fn shown(ret: &Ret) -> String {
    match ret {
        Ret::Done | Ret::Fd(_) | Ret::Accepted { .. } | Ret::Eof | Ret::SocketError(None) => "0".to_owned(),
        Ret::Sent(bytes) => bytes.to_string(),
        Ret::Data(data) => data.len().to_string(),
        Ret::Err(e) | Ret::SocketError(Some(e)) => e.name().to_owned(),
        Ret::Poll(ready) => {
            let r = ready.first().copied().unwrap_or_default();
            let all = [("in", r.read), ("out", r.write), ("err", r.error), ("hup", r.hangup)];
            let names: Vec<&str> = all.iter().filter(|(_, is)| *is).map(|(n, _)| *n).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(",") }
        }
        other => format!("{other:?}"),
    }
}
