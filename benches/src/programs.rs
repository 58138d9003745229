//! Programs that send and receive as fast as they get the CPU, and listeners that do as little as one can.

use sim_core::base::{Mac, NsId};
use sim_core::engine::{Env, Program};
use sim_core::kernel::syscall::{Call, Fd, Ret, SendTo, Shutdown, SockOpt, SocketKind};
use sim_core::kernel::trace::{DevName, Sink, Step, Tap};
use sim_core::observe::pcap;
use sim_core::wire::{ethertype, sll2};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// Bytes of what is sent: of a datagram's payload, of an ICMP message.
pub const PAYLOAD: usize = 64;

/// Sends datagrams on a connected UDP socket.
#[derive(Clone)]
pub struct UdpSender {
    to: SocketAddrV4,
    left: u32,
    fd: Fd,
}

impl UdpSender {
    /// Sends `count` datagrams to `to`.
    pub fn new(to: SocketAddrV4, count: u32) -> Box<Self> {
        Box::new(UdpSender { to, left: count, fd: Fd(0) })
    }
}

impl Program for UdpSender {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => return Call::Socket(SocketKind::Udp),
            Ret::Fd(fd) => {
                self.fd = fd;
                return Call::Connect { fd, addr: self.to };
            }
            Ret::Done | Ret::Sent(PAYLOAD) => {}
            other => panic!("{other:?}"),
        }
        if self.left == 0 {
            return Call::Exit(0);
        }
        self.left -= 1;
        Call::Send { fd: self.fd, to: None, data: vec![0x5a; PAYLOAD] }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Receives datagrams on a UDP port.
#[derive(Clone)]
pub struct UdpSink {
    port: u16,
    left: u32,
    fd: Fd,
}

impl UdpSink {
    /// Ends after `count` datagrams to `port`.
    pub fn new(port: u16, count: u32) -> Box<Self> {
        Box::new(UdpSink { port, left: count, fd: Fd(0) })
    }
}

impl Program for UdpSink {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => return Call::Socket(SocketKind::Udp),
            Ret::Fd(fd) => {
                self.fd = fd;
                return Call::Bind { fd, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port) };
            }
            Ret::Done => {}
            Ret::Message(message) => {
                assert_eq!(message.data.len(), PAYLOAD);
                self.left -= 1;
            }
            other => panic!("{other:?}"),
        }
        if self.left == 0 {
            return Call::Exit(0);
        }
        Call::Recv { fd: self.fd, size: 65_535, dontwait: false, errqueue: false }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Sends echo requests; the kernels answer, nobody reads.
#[derive(Clone)]
pub struct Pinger {
    to: SocketAddrV4,
    request: Vec<u8>,
    left: u32,
    fd: Fd,
}

impl Pinger {
    /// Sends `count` requests to `to`.
    pub fn new(to: impl Into<Ipv4Addr>, count: u32) -> Box<Self> {
        let mut request = vec![0; PAYLOAD];
        request[..8].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let sum = sim_core::wire::checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
        Box::new(Pinger { to: SocketAddrV4::new(to.into(), 0), request, left: count, fd: Fd(0) })
    }
}

impl Program for Pinger {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => return Call::Socket(SocketKind::Raw { protocol: 1 }),
            Ret::Fd(fd) => {
                self.fd = fd;
                return Call::SetSockOpt { fd, opt: SockOpt::IcmpFilter(u32::MAX) };
            }
            Ret::Done | Ret::Sent(PAYLOAD) => {}
            other => panic!("{other:?}"),
        }
        if self.left == 0 {
            return Call::Exit(0);
        }
        self.left -= 1;
        Call::Send { fd: self.fd, to: Some(SendTo::Ip(self.to)), data: self.request.clone() }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Connects and closes.
#[derive(Clone)]
pub struct Connector {
    to: SocketAddrV4,
    left: u32,
    fd: Fd,
    connected: bool,
}

impl Connector {
    /// Makes `count` connections to `to`, one after the other.
    pub fn new(to: SocketAddrV4, count: u32) -> Box<Self> {
        Box::new(Connector { to, left: count, fd: Fd(0), connected: false })
    }
}

impl Program for Connector {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Fd(fd) => {
                self.fd = fd;
                return Call::Connect { fd, addr: self.to };
            }
            Ret::Done if !self.connected => {
                self.connected = true;
                return Call::Close { fd: self.fd };
            }
            Ret::Start | Ret::Done => {}
            other => panic!("{other:?}"),
        }
        if self.left == 0 {
            return Call::Exit(0);
        }
        self.left -= 1;
        self.connected = false;
        Call::Socket(SocketKind::Tcp)
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Bytes that [`StreamSender`] sends and [`StreamServer`] reads in one call.
const CHUNK: usize = 64 << 10;

/// Sends bytes on one connection and waits for its end.
#[derive(Clone)]
pub struct StreamSender {
    to: SocketAddrV4,
    left: usize,
    fd: Fd,
    shut: bool,
}

impl StreamSender {
    /// Sends `bytes` bytes to `to`.
    pub fn new(to: SocketAddrV4, bytes: usize) -> Box<Self> {
        Box::new(StreamSender { to, left: bytes, fd: Fd(0), shut: false })
    }
}

impl Program for StreamSender {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => return Call::Socket(SocketKind::Tcp),
            Ret::Fd(fd) => {
                self.fd = fd;
                return Call::Connect { fd, addr: self.to };
            }
            Ret::Done if self.shut => return Call::Recv { fd: self.fd, size: CHUNK, dontwait: false, errqueue: false },
            Ret::Sent(bytes) => self.left -= bytes,
            Ret::Eof => return Call::Exit(0),
            Ret::Done => {}
            other => panic!("{other:?}"),
        }
        if self.left == 0 {
            self.shut = true;
            return Call::Shutdown { fd: self.fd, how: Shutdown::Write };
        }
        Call::Send { fd: self.fd, to: None, data: vec![0x5a; self.left.min(CHUNK)] }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Takes connections, one after the other, and reads each to its end.
#[derive(Clone)]
pub struct StreamServer {
    port: u16,
    left: u32,
    listener: Fd,
    fd: Option<Fd>,
    listens: bool,
}

impl StreamServer {
    /// Ends after `count` connections to `port`.
    pub fn new(port: u16, count: u32) -> Box<Self> {
        Box::new(StreamServer { port, left: count, listener: Fd(0), fd: None, listens: false })
    }
}

impl Program for StreamServer {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match (ret, self.fd) {
            (Ret::Start, _) => return Call::Socket(SocketKind::Tcp),
            (Ret::Fd(fd), _) => {
                self.listener = fd;
                return Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) };
            }
            (Ret::Done, None) if self.port != 0 => {
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port);
                self.port = 0;
                return Call::Bind { fd: self.listener, addr };
            }
            (Ret::Done, None) if !self.listens => {
                self.listens = true;
                return Call::Listen { fd: self.listener, backlog: 4096 };
            }
            (Ret::Done, _) => {}
            (Ret::Accepted { fd, .. }, _) => self.fd = Some(fd),
            (Ret::Data(_), Some(_)) => {}
            (Ret::Eof, Some(fd)) => {
                self.fd = None;
                self.left -= 1;
                return Call::Close { fd };
            }
            (other, _) => panic!("{other:?}"),
        }
        match self.fd {
            Some(fd) => Call::Recv { fd, size: CHUNK, dontwait: false, errqueue: false },
            None if self.left == 0 => Call::Exit(0),
            None => Call::Accept { fd: self.listener, nonblock: false },
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Captures what `tcpdump -i any` captures in every namespace, with as little around it.
#[derive(Default)]
pub struct AnyCaptures {
    folder: PathBuf,
    files: BTreeMap<NsId, (File, Vec<u8>)>,
    /// Records written.
    pub records: u64,
    failed: Option<io::Error>,
}

/// Records are written in pieces of about this size.
const BUFFER: usize = 64 << 10;

impl AnyCaptures {
    /// Files will be written to `folder`, one for each namespace.
    pub fn new(folder: &Path) -> Self {
        AnyCaptures { folder: folder.to_owned(), ..AnyCaptures::default() }
    }

    /// Ends the files.
    ///
    /// # Errors
    /// The first of the file system's.
    pub fn finish(self) -> io::Result<()> {
        for (mut file, buffer) in self.files.into_values() {
            file.write_all(&buffer)?;
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, tap: &Tap<'_>) -> io::Result<()> {
        let (file, buffer) = match self.files.entry(tap.ns) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => {
                let file = File::create(self.folder.join(format!("{}.pcap", tap.ns)))?;
                let mut buffer = Vec::with_capacity(2 * BUFFER);
                pcap::header(&mut buffer, sll2::LINKTYPE_LINUX_SLL2);
                e.insert((file, buffer))
            }
        };
        let source = Some(Mac::read(tap.bytes, 6));
        let pseudo = sll2::header(ethertype(tap.bytes), tap.dev.0, 1, tap.pkt_type.number(), source);
        pcap::record(buffer, tap.at.0, &pseudo, &tap.bytes[tap.mac_len..]);
        if buffer.len() >= BUFFER {
            file.write_all(buffer)?;
            buffer.clear();
        }
        Ok(())
    }
}

impl Sink for AnyCaptures {
    fn step(&mut self, _: &Step) {}
    fn tap(&mut self, tap: &Tap<'_>) {
        self.records += 1;
        if let Err(e) = self.write(tap) {
            self.failed.get_or_insert(e);
        }
    }
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
    fn hears_steps(&self) -> bool {
        false
    }
}

/// Counts what passes the taps.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Frames at interfaces.
    pub taps: u64,
    /// Their bytes.
    pub bytes: usize,
}

impl Sink for Counts {
    fn step(&mut self, _: &Step) {}
    fn tap(&mut self, tap: &Tap<'_>) {
        self.taps += 1;
        self.bytes += tap.bytes.len();
    }
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
}
