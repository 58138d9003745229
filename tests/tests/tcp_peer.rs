//! Another TCP as the peer of ours: smoltcp's own stack, behind a wire that loses, doubles, delays and reorders. All
//! bytes arrive in both directions, both sides end, and nothing is left of the connection.

use podhop_tests::wire::{Dice, Handler, Lane, Quality, Station, bytes, is_of};
use sim_core::base::{IfIndex, Mac, NsId, Time};
use sim_core::engine::{Env, Program, Stopped, World};
use sim_core::kernel::errno::Errno;
use sim_core::kernel::show;
use sim_core::kernel::syscall::{Call, Fd, PollFd, Ret, Shutdown, SockOpt, SocketKind};
use sim_core::kernel::trace::Mute;
use sim_core::scenario::{self, SourceFile};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{self, RecvError, Socket, SocketBuffer};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};

const MS: u64 = 1_000_000;
const SEC: u64 = 1_000 * MS;
/// Simulated time that a connection may take.
const LIMIT: Time = Time(1_800 * SEC);
/// TIME_WAIT, FIN_WAIT_2 and the last retransmissions are over by then.
const AFTERWARDS: u64 = 300 * SEC;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PORT: u16 = 80;
/// eth0 comes after lo.
const ETH0: IfIndex = IfIndex(2);
const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// The streams' numbers.
const OUR_STREAM: u64 = 1;
const THEIR_STREAM: u64 = 2;

/// Who ends its stream first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum First {
    /// Nobody waits for the other.
    Both,
    /// The other one sends after it has heard our end.
    Ours,
    Theirs,
}

/// One connection.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    we_connect: bool,
    first: First,
    /// Bytes of our stream and of theirs.
    sizes: [u64; 2],
    mtu: u64,
    wire: [Quality; 2],
    /// Commands for our namespace.
    sysctls: Vec<&'static str>,
    /// Options of our socket.
    options: Vec<SockOpt>,
    nonblock: bool,
    /// Bytes of a send and of a recv of ours.
    write: u64,
    read: u64,
    /// We sleep so long before each recv, in nanoseconds; they do before each of theirs.
    pauses: [u64; 2],
    /// The end of our stream is close(2)'s, where it may be.
    plain_close: bool,
    /// Their buffers.
    rx_buffer: u64,
    tx_buffer: u64,
    timestamps: bool,
    nagle: bool,
    ack_delay: bool,
}

impl Case {
    fn new(seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let size = |dice: &mut Dice| match dice.below(8) {
            0 => 0,
            1 => 1 + dice.below(3),
            2..=4 => dice.below(5_000),
            5 | 6 => dice.below(60_000),
            _ => dice.below(200_000),
        };
        let sizes = [size(dice), size(dice)];
        let wire = [quality(dice), quality(dice)];
        let (sysctls, options) = (sysctls(dice), options(dice));
        let big = sizes[0].max(sizes[1]) > 20_000;
        let least = if big { 400 } else { 1 };
        let pause = |dice: &mut Dice| if dice.chance(200_000) { dice.below(20 * MS) } else { 0 };
        Case {
            seed,
            we_connect: dice.chance(500_000),
            first: dice.pick(&[First::Both, First::Both, First::Ours, First::Theirs]),
            sizes,
            mtu: dice.pick(&[1500, 1500, 1500, 1400, 576, 296, 9000]),
            wire,
            sysctls,
            options,
            nonblock: dice.chance(500_000),
            write: least + dice.pick(&[1, 100, 1460, 4_000, 70_000]),
            read: least + dice.pick(&[1, 100, 1460, 4_000, 70_000]),
            pauses: [pause(dice), pause(dice)],
            plain_close: dice.chance(500_000),
            rx_buffer: dice.pick(&[if big { 3_000 } else { 300 }, 4_096, 16_384, 65_535, 262_144]),
            tx_buffer: dice.pick(&[if big { 3_000 } else { 300 }, 4_096, 65_535]),
            timestamps: dice.chance(700_000),
            nagle: dice.chance(500_000),
            ack_delay: dice.chance(500_000),
        }
    }

    fn world(&self) -> World {
        let Case { seed, mtu, .. } = self;
        let sysctls: String = self.sysctls.iter().map(|c| format!("        - {c}\n")).collect();
        let text = format!(
            "apiVersion: podhop/v1
kind: Scenario
metadata: {{name: peer}}
spec:
  seed: {seed}
  namespaces:
    ours:
      setup:
        - ip link set lo up
        - ip link add eth0 type veth peer name eth0 netns theirs
        - ip link set eth0 address {OUR_MAC} mtu {mtu} up
        - ip addr add {OURS}/24 dev eth0
        - ip neigh add {THEIRS} lladdr 02:00:00:00:00:02 dev eth0 nud permanent
{sysctls}    theirs:
      setup: [ip link set eth0 address 02:00:00:00:00:02 mtu {mtu} up]
"
        );
        let plan = scenario::resolve(&SourceFile::new("peer", text)).unwrap_or_else(|e| panic!("{}", e.render(false)));
        scenario::build(&plan, &mut Mute).unwrap_or_else(|e| panic!("{e:?}"))
    }
}

fn sysctls(dice: &mut Dice) -> Vec<&'static str> {
    let mut sysctls = Vec::new();
    for (ppm, command) in [
        (150_000, "sysctl -w net.ipv4.tcp_sack=0"),
        (200_000, "sysctl -w net.ipv4.tcp_timestamps=0"),
        (100_000, "sysctl -w net.ipv4.tcp_window_scaling=0"),
        (200_000, "sysctl -w net.ipv4.tcp_congestion_control=reno"),
        (50_000, "sysctl -w net.ipv4.tcp_syncookies=2"),
        (50_000, "sysctl -w net.ipv4.tcp_recovery=0"),
    ] {
        if dice.chance(ppm) {
            sysctls.push(command);
        }
    }
    sysctls
}

fn options(dice: &mut Dice) -> Vec<SockOpt> {
    let mut options = Vec::new();
    for (ppm, option) in [
        // A yet smaller buffer does not hold what it promises: Linux closes the window over what it has to drop, and
        // smoltcp 0.14 forgets its retransmission timer then.
        (250_000, SockOpt::RecvBuf(dice.pick(&[5_000, 10_000, 20_000, 50_000, 100_000]))),
        (250_000, SockOpt::SendBuf(dice.pick(&[1, 5_000, 20_000, 100_000]))),
        (200_000, SockOpt::NoDelay(true)),
        (100_000, SockOpt::QuickAck(false)),
        (100_000, SockOpt::KeepAlive(true)),
        (50_000, SockOpt::MaxSeg(dice.pick(&[88, 200, 536, 1400]))),
    ] {
        if dice.chance(ppm) {
            options.push(option);
        }
    }
    options
}

fn quality(dice: &mut Dice) -> Quality {
    let ppm = |dice: &mut Dice, most: u64| if dice.chance(600_000) { dice.below(most) as u32 } else { 0 };
    Quality {
        loss_ppm: ppm(dice, 100_000),
        double_ppm: ppm(dice, 100_000),
        late_ppm: ppm(dice, 200_000),
        late_ns: dice.pick(&[100_000, 5 * MS, 50 * MS, 300 * MS]),
        latency_ns: dice.pick(&[0, 100_000, 5 * MS, 40 * MS]),
    }
}

/// What one side has seen.
#[derive(Clone, Default, Debug)]
struct Seen {
    sent: u64,
    got: u64,
    ended: bool,
    closed: bool,
    wrong: Option<String>,
}

type Shared = Arc<Mutex<Seen>>;

/// The program on our side.
#[derive(Clone)]
struct Ours {
    case: Case,
    seen: Shared,
    state: Doing,
    options: Vec<SockOpt>,
    listener: Option<Fd>,
    fd: Fd,
    shut: bool,
    /// The last send and the last recv would have waited.
    full: bool,
    empty: bool,
    slept: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Options,
    Bind,
    Listen,
    Accept,
    Connect,
    Connecting,
    Talk,
    Sending,
    Receiving,
    Closing,
}

impl Ours {
    fn new(case: &Case, seen: Shared) -> Box<Self> {
        let mut options = case.options.clone();
        options.extend(case.nonblock.then_some(SockOpt::NonBlock(true)));
        let (case, fd) = (case.clone(), Fd(0));
        let state = Doing::Options;
        Box::new(Ours {
            case,
            seen,
            state,
            options,
            listener: None,
            fd,
            shut: false,
            full: false,
            empty: false,
            slept: false,
        })
    }

    fn go(&mut self, state: Doing, call: Call) -> Call {
        self.state = state;
        call
    }

    fn wait(&mut self, state: Doing, write: bool) -> Call {
        let fd = self.listener.unwrap_or(self.fd);
        self.go(state, Call::Poll { fds: vec![PollFd { fd, read: !write || self.empty, write }], timeout_ns: None })
    }

    /// The next thing to do on a connection that is set up.
    fn talk(&mut self) -> Call {
        let Seen { sent, ended, .. } = *self.seen.lock().expect("nobody panics with it");
        let (fd, total) = (self.fd, self.case.sizes[0]);
        let may_send = self.case.first != First::Theirs || ended;
        if may_send && sent < total && !self.full {
            let data = bytes(OUR_STREAM, sent, self.case.write.min(total - sent) as usize);
            return self.go(Doing::Sending, Call::Send { fd, to: None, data });
        }
        let by_close = self.case.plain_close && ended;
        if may_send && sent == total && !self.shut && !by_close {
            self.shut = true;
            return self.go(Doing::Talk, Call::Shutdown { fd, how: Shutdown::Write });
        }
        if !ended && !self.empty {
            if self.case.pauses[0] > 0 && !std::mem::replace(&mut self.slept, true) {
                return self.go(Doing::Talk, Call::Sleep { ns: self.case.pauses[0] });
            }
            self.slept = false;
            let size = self.case.read as usize;
            return self.go(Doing::Receiving, Call::Recv { fd, size, dontwait: false, errqueue: false });
        }
        if self.full || self.empty {
            let (write, read) = (self.full, self.empty);
            (self.full, self.empty) = (false, false);
            let fds = vec![PollFd { fd, read, write }];
            return self.go(Doing::Talk, Call::Poll { fds, timeout_ns: None });
        }
        self.go(Doing::Closing, Call::Close { fd })
    }

    fn fail(&mut self, what: String) -> Call {
        self.seen.lock().expect("nobody panics with it").wrong = Some(what);
        Call::Exit(1)
    }

    fn received(&mut self, data: &[u8]) -> Call {
        let mut seen = self.seen.lock().expect("nobody panics with it");
        if !is_of(THEIR_STREAM, seen.got, data) {
            let text = format!("{} bytes from {} on are not theirs", data.len(), seen.got);
            drop(seen);
            return self.fail(text);
        }
        seen.got += data.len() as u64;
        drop(seen);
        self.talk()
    }
}

impl Program for Ours {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        let fd = self.fd;
        match (self.state, ret) {
            (_, Ret::Start) => Call::Socket(SocketKind::Tcp),
            (Doing::Options, Ret::Fd(fd)) => {
                self.fd = fd;
                self.step_options()
            }
            (Doing::Options, Ret::Done) => self.step_options(),
            (Doing::Bind, Ret::Done) => self.go(Doing::Listen, Call::Listen { fd, backlog: 1 }),
            (Doing::Listen, Ret::Done | Ret::Poll(_)) => {
                self.listener = Some(fd);
                self.go(Doing::Accept, Call::Accept { fd, nonblock: self.case.nonblock })
            }
            (Doing::Accept, Ret::Err(Errno::EAGAIN)) => self.wait(Doing::Listen, false),
            (Doing::Accept, Ret::Accepted { fd, from }) => {
                assert_eq!(*from.ip(), THEIRS);
                self.fd = fd;
                match self.listener.take().filter(|_| self.case.plain_close) {
                    Some(fd) => self.go(Doing::Talk, Call::Close { fd }),
                    None => self.talk(),
                }
            }
            (Doing::Connect, Ret::Err(Errno::EINPROGRESS)) => self.wait(Doing::Connecting, true),
            (Doing::Connecting, Ret::Poll(_)) => self.go(Doing::Connecting, Call::SocketError { fd }),
            (Doing::Connecting, Ret::SocketError(None)) | (Doing::Connect | Doing::Talk, Ret::Done) => self.talk(),
            (Doing::Talk, Ret::Poll(_)) => self.talk(),
            (Doing::Sending, Ret::Sent(n)) => {
                self.seen.lock().expect("nobody panics with it").sent += n as u64;
                self.talk()
            }
            (Doing::Sending, Ret::Err(Errno::EAGAIN)) => {
                self.full = true;
                self.talk()
            }
            (Doing::Receiving, Ret::Err(Errno::EAGAIN)) => {
                self.empty = true;
                self.talk()
            }
            (Doing::Receiving, Ret::Data(data)) => self.received(&data),
            (Doing::Receiving, Ret::Eof) => {
                self.empty = false;
                self.seen.lock().expect("nobody panics with it").ended = true;
                self.talk()
            }
            (Doing::Closing, Ret::Done) => {
                self.seen.lock().expect("nobody panics with it").closed = true;
                Call::Exit(0)
            }
            (state, other) => self.fail(format!("{state:?}: {other:?}")),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Ours {
    fn step_options(&mut self) -> Call {
        let fd = self.fd;
        if let Some(opt) = self.options.pop() {
            return Call::SetSockOpt { fd, opt };
        }
        if self.case.we_connect {
            return self.go(Doing::Connect, Call::Connect { fd, addr: SocketAddrV4::new(THEIRS, PORT) });
        }
        self.go(Doing::Bind, Call::Bind { fd, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT) })
    }
}

/// smoltcp's side.
struct Theirs {
    case: Case,
    seen: Shared,
    iface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    nic: Nic,
    inbound: Lane,
    outbound: Lane,
    /// When it connects, and when it reads again.
    connects_at: Option<Time>,
    reads_at: Time,
    was_open: bool,
}

thread_local! {
    /// smoltcp asks for timestamps without saying when. Milliseconds.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

impl Theirs {
    fn new(case: &Case, seen: Shared) -> Self {
        let mut nic = Nic { mtu: case.mtu as usize, rx: VecDeque::new(), tx: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = case.seed;
        let mut iface = Interface::new(config, &mut nic, Instant::ZERO);
        iface.update_ip_addrs(|addrs| addrs.push(IpCidr::new(IpAddress::Ipv4(THEIRS), 24)).expect("room for one"));
        let buffer = |size: u64| SocketBuffer::new(vec![0; size as usize]);
        let mut socket = Socket::new(buffer(case.rx_buffer), buffer(case.tx_buffer));
        if case.timestamps {
            socket.set_tsval_generator(Some(|| CLOCK.get()));
        }
        // Where that happens all the same, these bring the duplicate ACKs that it goes on from.
        // But they carry a byte that is none of the stream's: no SYN cookie must come back with it.
        let cookies = case.sysctls.iter().any(|c| c.contains("syncookies"));
        socket.set_keep_alive((!cookies).then_some(Duration::from_secs(5)));
        socket.set_nagle_enabled(case.nagle);
        socket.set_ack_delay(case.ack_delay.then_some(Duration::from_millis(10)));
        if case.we_connect {
            socket.listen(PORT).expect("it is new");
        }
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(socket);
        Theirs {
            case: case.clone(),
            seen,
            iface,
            sockets,
            handle,
            nic,
            inbound: Lane::new(case.wire[0], case.seed),
            outbound: Lane::new(case.wire[1], !case.seed),
            connects_at: (!case.we_connect).then_some(Time(10 * SEC)),
            reads_at: Time(0),
            was_open: false,
        }
    }

    /// The program: reads, writes, closes. Whether it has done anything.
    fn act(&mut self, now: Time) -> bool {
        let socket = self.sockets.get_mut::<Socket>(self.handle);
        if self.connects_at.take_if(|at| *at <= now).is_some() {
            let port = 49_152 + (self.case.seed % 10_000) as u16;
            socket.connect(self.iface.context(), (OURS, PORT), port).expect("it is new");
            return true;
        }
        self.was_open |= socket.may_send() || socket.may_recv();
        let mut seen = self.seen.lock().expect("nobody panics with it");
        if !self.was_open {
            return false;
        }
        let mut busy = false;
        if !seen.ended && self.reads_at <= now {
            let mut buffer = [0; 4_096];
            match socket.recv_slice(&mut buffer) {
                Ok(0) => {}
                Ok(n) => {
                    if !is_of(OUR_STREAM, seen.got, &buffer[..n]) {
                        seen.wrong = Some(format!("{n} bytes from {} on are not ours", seen.got));
                    }
                    seen.got += n as u64;
                    self.reads_at = now + self.case.pauses[1];
                    busy = true;
                }
                Err(RecvError::Finished) => {
                    seen.ended = true;
                    busy = true;
                }
                Err(RecvError::InvalidState) => seen.wrong = Some("smoltcp was reset".to_owned()),
            }
        }
        seen.closed = seen.ended && socket.state() == tcp::State::Closed;
        let total = self.case.sizes[1];
        if (self.case.first != First::Ours || seen.ended) && socket.may_send() {
            let data = bytes(THEIR_STREAM, seen.sent, (total - seen.sent).min(4_096) as usize);
            let n = if data.is_empty() { 0 } else { socket.send_slice(&data).expect("it may send") };
            seen.sent += n as u64;
            busy |= n > 0;
            if seen.sent == total {
                socket.close();
                busy = true;
            }
        }
        busy
    }
}

impl Handler for Theirs {
    fn packet(&mut self, _: usize, now: Time, packet: &[u8]) {
        self.inbound.send(now, packet);
    }

    fn next(&mut self, now: Time) -> Option<(usize, Vec<u8>)> {
        if let Some(packet) = self.outbound.arrive(now) {
            return Some((0, packet));
        }
        CLOCK.set((now.0 / MS) as u32);
        while let Some(packet) = self.inbound.arrive(now) {
            self.nic.rx.push_back(packet);
        }
        loop {
            self.iface.poll(instant(now), &mut self.nic, &mut self.sockets);
            if !self.act(now) {
                break;
            }
        }
        for packet in self.nic.tx.drain(..) {
            self.outbound.send(now, &packet);
        }
        self.outbound.arrive(now).map(|packet| (0, packet))
    }

    fn due(&mut self, now: Time) -> Option<Time> {
        let timer = self.iface.poll_at(instant(now), &self.sockets);
        let timer = timer.map(|at| Time(at.total_micros() as u64 * 1_000).max(now + 100_000));
        let reads = Some(self.reads_at).filter(|at| *at > now);
        [timer, reads, self.connects_at, self.inbound.due(), self.outbound.due()].into_iter().flatten().min()
    }
}

fn instant(t: Time) -> Instant {
    Instant::from_micros((t.0 / 1_000) as i64)
}

/// smoltcp's device.
struct Nic {
    mtu: usize,
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let r = f(&mut packet);
        self.0.push_back(packet);
        r
    }
}

impl phy::Device for Nic {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.rx.pop_front()?), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// Runs one connection; how long it took in simulated time.
fn run(case: &Case) -> Result<Time, String> {
    let mut world = case.world();
    let ns = |name| world.namespace(name).expect("it was made");
    let (ours, theirs) = (ns("ours"), ns("theirs"));
    let seen: [Shared; 2] = Default::default();
    let station = Station::new(Theirs::new(case, seen[1].clone()), vec![(ETH0, OUR_MAC)]);
    world.spawn(theirs, station, Time(0)).expect("a place for a process");
    world.spawn(ours, Ours::new(case, seen[0].clone()), Time(SEC)).expect("a place for a process");
    let look = |n: usize| seen[n].lock().expect("nobody panics with it").clone();
    let mut until = Time(SEC);
    while !(look(0).closed && look(1).closed) {
        let stopped = world.run(until, &mut Mute).map_err(|e| e.to_string())?;
        if let Some(wrong) = look(0).wrong.or(look(1).wrong) {
            return Err(wrong);
        }
        if stopped == Stopped::Time {
            until += SEC;
        }
        if until > LIMIT {
            return Err(format!("stuck: {:?} {:?} {:?}", look(0), look(1), connections(&world, ours)));
        }
    }
    let (a, b) = (look(0), look(1));
    let [we, they] = case.sizes;
    if (a.sent, b.got, b.sent, a.got) != (we, we, they, they) || !a.ended || !b.ended {
        return Err(format!("{a:?} {b:?}"));
    }
    let took = until;
    while world.run(took + AFTERWARDS, &mut Mute).map_err(|e| e.to_string())? != Stopped::Time {}
    let left = connections(&world, ours);
    let (made, ended, waiting) = world.machine(ours).balance();
    if !left.is_empty() || made != ended + waiting as u64 || waiting > 0 {
        return Err(format!("left over: {left:?}, frames: {made} made, {ended} ended, {waiting} waiting"));
    }
    Ok(took)
}

fn connections(world: &World, ns: NsId) -> Vec<show::TcpInfo> {
    show::tcp(world.machine(ns).spaces(), ns)
}

/// Runs these seeds; fails with all that fail.
fn run_all(seeds: impl Iterator<Item = u64>) {
    let mut failed = Vec::new();
    for seed in seeds {
        let case = Case::new(seed);
        if let Err(why) = run(&case) {
            failed.push(format!("seed {seed}: {why}\n    {case:?}"));
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Four tests, so that they run at the same time.
macro_rules! quarters {
    ($($name:ident: $n:literal,)*) => { $(
        #[test]
        fn $name() {
            run_all((0..1_000).filter(|seed| seed % 4 == $n));
        }
    )* };
}

quarters! {
    every_fourth_seed: 0,
    every_fourth_seed_and_one: 1,
    every_fourth_seed_and_two: 2,
    every_fourth_seed_and_three: 3,
}
