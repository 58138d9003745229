//! Programs that send and receive as fast as they get the CPU, and listeners that do as little as one can.

use sim_core::base::{Mac, NsId};
use sim_core::engine::{Env, Program};
use sim_core::kernel::syscall::{Call, Fd, Ret, SendTo, SockOpt, SocketKind};
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
