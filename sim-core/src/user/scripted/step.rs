//! The lines of a script.

use crate::kernel::syscall::{Shutdown, SockOpt, SocketKind};
use std::fmt;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// What a script calls a socket, to hold several.
pub type Name = Arc<str>;

/// A line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// socket(2)
    Socket {
        /// UDP, TCP or frames.
        protocol: Protocol,
        /// A name for it.
        name: Option<Name>,
    },
    /// What follows is about the socket of this name.
    Use(Name),
    /// setsockopt(2)
    SetSockOpt(Opt),
    /// settimeout of Python: the socket does not wait, and what would is preceded by poll(2) for up to so many
    /// nanoseconds. Zero: by nothing. None: the socket waits.
    SetTimeout(Option<u64>),
    /// bind(2)
    Bind(SocketAddrV4),
    /// bind(2) of a socket for frames to a device, by name.
    BindDev(String),
    /// connect(2). With a time-out it goes on in poll(2) and asks for SO_ERROR.
    Connect(SocketAddrV4),
    /// listen(2) with so many connections that wait.
    Listen(u32),
    /// accept(2) on the socket in use if it listens, else on the one that was told to listen last.
    Accept {
        /// Polls for so many nanoseconds first.
        timeout_ns: Option<u64>,
        /// A name for the connection.
        name: Option<Name>,
    },
    /// send(2), until all of it is sent, or sendto(2) with an address.
    Send {
        /// What is sent.
        payload: Payload,
        /// Left out on a connected socket.
        to: Option<SocketAddrV4>,
    },
    /// recv(2)
    Recv {
        /// Polls for so many nanoseconds first; zero does not wait at all. Without it, the socket's own time-out holds.
        timeout_ns: Option<u64>,
        /// What is longer is cut, or left for the next call.
        size: usize,
        /// MSG_ERRQUEUE: an ICMP error of a socket with IP_RECVERR; never waits.
        errqueue: bool,
        /// How often.
        until: Until,
    },
    /// shutdown(2)
    Shutdown(Shutdown),
    /// close(2)
    Close,
    /// nanosleep(2)
    Sleep(u64),
    /// The lines so many times.
    Repeat(u64, Arc<[Step]>),
    /// From here on a call takes so many nanoseconds of the CPU before it is made.
    Cost(u64),
}

/// Which socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// Whole frames, made by hand.
    Packet,
}

impl Protocol {
    /// As the script has it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Packet => "packet",
        }
    }
}

impl From<Protocol> for SocketKind {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Udp => SocketKind::Udp,
            Protocol::Tcp => SocketKind::Tcp,
            Protocol::Packet => SocketKind::Frames,
        }
    }
}

/// What a send sends: a beginning, so many bytes of one kind, an end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// What it begins with.
    pub start: Arc<[u8]>,
    /// So many bytes follow.
    pub size: usize,
    /// What they are.
    pub byte: u8,
    /// What it ends with.
    pub end: Arc<[u8]>,
}

impl Payload {
    /// How long it is.
    pub fn len(&self) -> usize {
        self.start.len() + self.size + self.end.len()
    }

    /// It is an empty datagram.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `from` on.
    pub fn rest(&self, from: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len().saturating_sub(from));
        let mut skip = from;
        let parts = [(Some(&self.start), self.start.len()), (None, self.size), (Some(&self.end), self.end.len())];
        for (part, len) in parts {
            let start = skip.min(len);
            skip -= start;
            match part {
                Some(part) => bytes.extend(&part[start..]),
                None => bytes.resize(bytes.len() + len - start, self.byte),
            }
        }
        bytes
    }
}

/// When a recv has received enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// Whatever the first call returns.
    Once,
    /// So many bytes, in as many calls as it takes.
    Total(u64),
    /// All there is, up to the end of the stream.
    End,
}

/// An option with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opt {
    /// As the script has it: `ip ttl 1`.
    pub text: String,
    /// What is set.
    pub value: OptValue,
}

/// What a script can set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptValue {
    /// An option by number.
    Plain(SockOpt),
    /// SO_BINDTODEVICE, which takes a name.
    BindToDevice(String),
}

impl Step {
    /// How many lines are run when all is repeated as it says.
    pub fn count(&self) -> u64 {
        match self {
            Step::Repeat(times, body) => {
                let once = body.iter().fold(0, |n: u64, s| n.saturating_add(s.count()));
                times.saturating_mul(once.saturating_add(1))
            }
            _ => 1,
        }
    }
}

impl fmt::Display for Step {
    /// The call as it stands in front of its error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Socket { protocol, .. } => write!(f, "socket {}", protocol.name()),
            Step::Use(name) => write!(f, "use {name}"),
            Step::SetSockOpt(opt) => write!(f, "setsockopt {}", opt.text),
            Step::SetTimeout(_) => f.write_str("settimeout"),
            Step::Bind(addr) => write!(f, "bind {addr}"),
            Step::BindDev(dev) => write!(f, "bind {dev}"),
            Step::Connect(addr) => write!(f, "connect {addr}"),
            Step::Listen(_) => f.write_str("listen"),
            Step::Accept { .. } => f.write_str("accept"),
            Step::Send { to: Some(to), .. } => write!(f, "send to {to}"),
            Step::Send { .. } => f.write_str("send"),
            Step::Recv { errqueue: true, .. } => f.write_str("recv errqueue"),
            Step::Recv { .. } => f.write_str("recv"),
            Step::Shutdown(Shutdown::Read) => f.write_str("shutdown read"),
            Step::Shutdown(Shutdown::Write) => f.write_str("shutdown write"),
            Step::Shutdown(Shutdown::Both) => f.write_str("shutdown both"),
            Step::Close => f.write_str("close"),
            Step::Sleep(_) => f.write_str("sleep"),
            Step::Repeat(..) => f.write_str("repeat"),
            Step::Cost(_) => f.write_str("cost"),
        }
    }
}
