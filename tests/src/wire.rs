//! A wire that loses, doubles, delays and reorders what it carries, programs that stand at its ends, and bytes that
//! tell where in a stream they belong.

use sim_core::base::{IfIndex, Mac, Time};
use sim_core::engine::{Env, Program};
use sim_core::kernel::errno::Errno;
use sim_core::kernel::syscall::{Call, Fd, PollFd, Ret, SendTo, SocketKind};
use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;

/// Parts per million.
const PPM: u64 = 1_000_000;
/// Longer than any packet.
const MAX_PACKET: usize = 1 << 16;

/// Numbers drawn from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed draws the same numbers.
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1))
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// True so many times of a million.
    pub fn chance(&mut self, ppm: u32) -> bool {
        self.below(PPM) < u64::from(ppm)
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `len` bytes of stream number `stream` from byte `from` on.
pub fn bytes(stream: u64, from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(|at| byte(stream, at)).collect()
}

/// Whether these are the bytes of `stream` from byte `from` on.
pub fn is_of(stream: u64, from: u64, data: &[u8]) -> bool {
    (from..).zip(data).all(|(at, b)| byte(stream, at) == *b)
}

fn byte(stream: u64, at: u64) -> u8 {
    (mix(at >> 3 ^ stream << 40) >> ((at & 7) * 8)) as u8
}

/// What a wire does to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// So many of a million are lost.
    pub loss_ppm: u32,
    /// So many of a million come twice.
    pub double_ppm: u32,
    /// So many of a million take longer, by up to `late_ns`, and others overtake them.
    pub late_ppm: u32,
    /// In nanoseconds.
    pub late_ns: u64,
    /// What each packet takes at least, in nanoseconds.
    pub latency_ns: u64,
}

/// One direction of a wire.
#[derive(Clone, Debug)]
pub struct Lane {
    quality: Quality,
    dice: Dice,
    /// By arrival, then in the order of sending.
    under_way: BTreeMap<(Time, u64), Vec<u8>>,
    sent: u64,
}

impl Lane {
    /// Draws from `seed` what becomes of packets.
    pub fn new(quality: Quality, seed: u64) -> Self {
        Lane { quality, dice: Dice::new(seed), under_way: BTreeMap::new(), sent: 0 }
    }

    /// A packet is sent.
    pub fn send(&mut self, now: Time, packet: &[u8]) {
        let q = self.quality;
        let copies = if self.dice.chance(q.loss_ppm) { 0 } else { 1 + u64::from(self.dice.chance(q.double_ppm)) };
        for _ in 0..copies {
            let late = if self.dice.chance(q.late_ppm) { self.dice.below(q.late_ns.max(1)) } else { 0 };
            self.sent += 1;
            self.under_way.insert((now + q.latency_ns + late, self.sent), packet.to_vec());
        }
    }

    /// The next packet that has arrived by now.
    pub fn arrive(&mut self, now: Time) -> Option<Vec<u8>> {
        self.under_way.first_entry().filter(|e| e.key().0 <= now).map(OccupiedEntry::remove)
    }

    /// When the next one arrives.
    pub fn due(&self) -> Option<Time> {
        self.under_way.first_key_value().map(|(key, _)| key.0)
    }
}

/// What deals with the packets of a [`Station`].
pub trait Handler: Send + Sync {
    /// An IPv4 packet came through this port.
    fn packet(&mut self, port: usize, now: Time, packet: &[u8]);
    /// What has to be sent now through which port, one at a time.
    fn next(&mut self, now: Time) -> Option<(usize, Vec<u8>)>;
    /// When there will be something to send, or to look after.
    fn due(&mut self, now: Time) -> Option<Time>;
}

/// A program that takes all IPv4 packets from its ports, past the kernel's own IP, and hands them to its handler.
pub struct Station<H> {
    handler: H,
    ports: Vec<(IfIndex, Mac)>,
    fds: Vec<Fd>,
    doing: Doing,
}

#[derive(Clone, Copy)]
enum Doing {
    Opening,
    Receiving(usize),
    Sending,
    Waiting,
}

impl<H: Handler> Station<H> {
    /// Each port is a device, and the hardware address that its packets go to.
    pub fn new(handler: H, ports: Vec<(IfIndex, Mac)>) -> Box<Self> {
        Box::new(Station { handler, ports, fds: vec![], doing: Doing::Opening })
    }

    fn receive(&mut self, port: usize) -> Call {
        self.doing = Doing::Receiving(port);
        Call::Recv { fd: self.fds[port], size: MAX_PACKET, dontwait: true, errqueue: false }
    }

    fn send_or_wait(&mut self, now: Time) -> Call {
        if let Some((port, data)) = self.handler.next(now) {
            self.doing = Doing::Sending;
            let (dev, mac) = self.ports[port];
            return Call::Send { fd: self.fds[port], to: Some(SendTo::Link { dev, mac }), data };
        }
        self.doing = Doing::Waiting;
        let timeout_ns = self.handler.due(now).map(|at| at.0.saturating_sub(now.0));
        Call::Poll { fds: self.fds.iter().copied().map(PollFd::read).collect(), timeout_ns }
    }
}

impl<H: Handler + 'static> Program for Station<H> {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.doing, ret) {
            (Doing::Opening, Ret::Fd(fd)) => {
                self.fds.push(fd);
                Call::BindDev { fd, dev: self.ports[self.fds.len() - 1].0 }
            }
            (Doing::Opening, Ret::Start | Ret::Done) if self.fds.len() < self.ports.len() => {
                Call::Socket(SocketKind::Packet { ethertype: 0x0800 })
            }
            (Doing::Opening, Ret::Done) | (Doing::Waiting, Ret::Poll(_)) => self.receive(0),
            (Doing::Receiving(port), Ret::Message(message)) => {
                self.handler.packet(port, env.now, &message.data);
                self.receive(port)
            }
            (Doing::Receiving(port), Ret::Err(Errno::EAGAIN)) if port + 1 < self.fds.len() => self.receive(port + 1),
            (Doing::Receiving(_), Ret::Err(Errno::EAGAIN)) | (Doing::Sending, Ret::Sent(_)) => {
                self.send_or_wait(env.now)
            }
            (_, other) => panic!("{other:?}"),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        unreachable!("worlds with a station are not cloned")
    }
}

/// What is sent into one port comes out of the other, as a wire would carry it.
pub struct Relay {
    /// From port 0 to port 1, and back.
    lanes: [Lane; 2],
}

impl Relay {
    /// Between two ports.
    pub fn new(quality: [Quality; 2], seed: u64) -> Self {
        Relay { lanes: [Lane::new(quality[0], seed), Lane::new(quality[1], !seed)] }
    }
}

impl Handler for Relay {
    fn packet(&mut self, port: usize, now: Time, packet: &[u8]) {
        self.lanes[port].send(now, packet);
    }

    fn next(&mut self, now: Time) -> Option<(usize, Vec<u8>)> {
        (0..2).find_map(|from| Some((1 - from, self.lanes[from].arrive(now)?)))
    }

    fn due(&mut self, _: Time) -> Option<Time> {
        self.lanes.iter().filter_map(Lane::due).min()
    }
}
