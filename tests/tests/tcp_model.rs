//! Random system calls on two sockets of ours, against an oracle that knows what a stream of bytes is: what comes is
//! what was sent, in order, all of it where both sides close in peace; the end comes after the FIN and never before;
//! nobody waits for ever, and nothing is left when all is over.

use podhop_tests::census::Census;
use podhop_tests::wire::{Quality, Relay, Station, bytes, is_of};
use proptest::prelude::*;
use sim_core::base::{IfIndex, Mac, NsId, Time};
use sim_core::engine::{Env, Program, Stopped, World};
use sim_core::kernel::errno::Errno;
use sim_core::kernel::show;
use sim_core::kernel::syscall::{Call, Fd, PollFd, Ret, Shutdown, SockOpt, SocketKind};
use sim_core::scenario::{self, SourceFile};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};

const MS: u64 = 1_000_000;
const SEC: u64 = 1_000 * MS;
/// Simulated time that both programs may take.
const LIMIT: Time = Time(900 * SEC);
/// TIME_WAIT, FIN_WAIT_2 and the last retransmissions are over by then.
const AFTERWARDS: u64 = 300 * SEC;
const PORT: u16 = 80;
/// The largest buffer that a program asks for, doubled.
const MAX_BUFFER: u64 = 400_000;
/// A queue holds so much more than its buffer: the last segment.
const SLACK: u64 = 80_000;

/// What a program may do with its connection.
#[derive(Clone, Debug)]
enum Op {
    Send(usize),
    Recv { size: usize, dontwait: bool },
    Shutdown(Shutdown),
    Close,
    Option(SockOpt),
    Sleep(u64),
    Poll { read: bool, write: bool, ms: u64 },
}

fn option() -> impl Strategy<Value = SockOpt> {
    prop_oneof![
        any::<bool>().prop_map(SockOpt::NonBlock),
        any::<bool>().prop_map(SockOpt::NoDelay),
        any::<bool>().prop_map(SockOpt::Cork),
        any::<bool>().prop_map(SockOpt::QuickAck),
        any::<bool>().prop_map(SockOpt::KeepAlive),
        prop_oneof![1..5_000u32, 5_000..200_000u32].prop_map(SockOpt::RecvBuf),
        prop_oneof![1..5_000u32, 5_000..200_000u32].prop_map(SockOpt::SendBuf),
        prop_oneof![Just(None), Just(Some(0)), Just(Some(3))].prop_map(SockOpt::Linger),
        (1..2_000u64).prop_map(|ms| SockOpt::RecvTimeout(ms * MS)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let size = || prop_oneof![1..10usize, 1..3_000usize, 1..30_000usize, 1..150_000usize];
    let shutdown = prop_oneof![Just(Shutdown::Read), Just(Shutdown::Write), Just(Shutdown::Both)];
    prop_oneof![
        10 => size().prop_map(Op::Send),
        10 => (size(), any::<bool>()).prop_map(|(size, dontwait)| Op::Recv { size, dontwait }),
        1 => shutdown.prop_map(Op::Shutdown),
        1 => Just(Op::Close),
        5 => option().prop_map(Op::Option),
        2 => (0..1_500u64).prop_map(Op::Sleep),
        2 => (any::<bool>(), any::<bool>(), 0..1_000u64).prop_map(|(read, write, ms)| Op::Poll { read, write, ms }),
    ]
}

/// What lies between the two.
#[derive(Clone, Copy, Debug)]
enum Path {
    /// On one kernel.
    Veth,
    /// Two machines.
    Link { latency_us: u64, loss_percent: u32, kbit: u64, queue: u32 },
    /// A wire that reorders.
    Wire(Quality),
}

fn path() -> impl Strategy<Value = Path> {
    let late_ns = prop_oneof![Just(100_000), Just(5 * MS), Just(100 * MS)];
    let wire = (0..80_000u32, 0..80_000u32, 0..300_000u32, late_ns, 0..20 * MS).prop_map(
        |(loss_ppm, double_ppm, late_ppm, late_ns, latency_ns)| {
            Path::Wire(Quality { loss_ppm, double_ppm, late_ppm, late_ns, latency_ns })
        },
    );
    let link = (1..50_000u64, 0..6u32, prop_oneof![Just(1_000), Just(20_000), Just(1_000_000)], 5..200u32)
        .prop_map(|(latency_us, loss_percent, kbit, queue)| Path::Link { latency_us, loss_percent, kbit, queue });
    prop_oneof![Just(Path::Veth), link, wire]
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    path: Path,
    mtu: u32,
    /// Of the one that connects, and of the one that is connected to: before and after the connection is there.
    before: [Vec<SockOpt>; 2],
    ops: [Vec<Op>; 2],
    /// At the end it reads to the end of the stream, or else it just ends.
    drains: [bool; 2],
}

fn case() -> impl Strategy<Value = Case> {
    let ops = || prop::collection::vec(op(), 0..24);
    let before = || prop::collection::vec(option(), 0..3);
    let mtu = prop_oneof![Just(1500u32), Just(1400), Just(600), Just(9000)];
    (0..1_u64 << 60, path(), mtu, [before(), before()], [ops(), ops()], any::<[bool; 2]>())
        .prop_map(|(seed, path, mtu, before, ops, drains)| Case { seed, path, mtu, before, ops, drains })
}

const MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];

impl Case {
    fn world(&self) -> World {
        let Case { seed, mtu, .. } = self;
        let host = |n: usize, before: &str| {
            let (name, own, other) = (["a", "b"][n], MACS[n], MACS[1 - n]);
            let machine =
                if matches!(self.path, Path::Link { .. }) { format!("machine: {name}, ") } else { String::new() };
            format!(
                "    {name}: {{{machine}setup: [{before}ip link set lo up, \
                 ip link set eth0 address {own} mtu {mtu} up, \
                 ip addr add 10.0.0.{}/24 dev eth0, ip neigh add 10.0.0.{} lladdr {other} dev eth0 nud permanent]}}\n",
                n + 1,
                2 - n
            )
        };
        let (links, hosts) = match self.path {
            Path::Veth => {
                (String::new(), host(0, "ip link add eth0 type veth peer name eth0 netns b, ") + &host(1, ""))
            }
            Path::Link { latency_us, loss_percent, kbit, queue } => (
                format!(
                    "  links: [{{between: [a/eth0, b/eth0], latency: {latency_us}us, loss: {loss_percent}%, \
                     rate: {kbit}kbit, queue: {queue}}}]\n"
                ),
                host(0, "") + &host(1, ""),
            ),
            Path::Wire(_) => {
                let wire = "    wire: {setup: [ip link add e0 type veth peer name eth0 netns a, \
                            ip link add e1 type veth peer name eth0 netns b, "
                    .to_owned();
                let up = format!("ip link set e0 mtu {mtu} up, ip link set e1 mtu {mtu} up]}}\n");
                (String::new(), wire + &up + &host(0, "") + &host(1, ""))
            }
        };
        let text = format!(
            "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {{name: model}}\nspec:\n  seed: {seed}\n{links}  \
             namespaces:\n{hosts}"
        );
        let plan = scenario::resolve(&SourceFile::new("model", text)).unwrap_or_else(|e| panic!("{}", e.render(false)));
        scenario::build(&plan, &mut Census::default()).unwrap_or_else(|e| panic!("{e:?}"))
    }
}

/// What one side has done, and what has come to it.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "things that happened or not")]
struct Side {
    /// Bytes that send(2) took, and with those that it is taking now.
    accepted: u64,
    offered: u64,
    /// shutdown(2) or close(2) has ended the stream.
    fin: bool,
    /// It asked for a reset, or cannot hear any more: the other's bytes may be lost.
    lingers: bool,
    shut_read: bool,
    closed: bool,
    /// Whether close(2) came before the end.
    early: bool,
    received: u64,
    eof: bool,
    failed: Option<Errno>,
    done: bool,
    /// Against the rules.
    wrong: Vec<String>,
}

type Oracle = Arc<Mutex<[Side; 2]>>;

fn look(oracle: &Oracle) -> MutexGuard<'_, [Side; 2]> {
    oracle.lock().expect("nobody panics with it")
}

#[derive(Clone)]
struct Player {
    /// 0 connects, 1 listens.
    me: usize,
    oracle: Oracle,
    before: Vec<SockOpt>,
    ops: Vec<Op>,
    drains: bool,
    lossy: bool,
    fd: Fd,
    state: Doing,
    /// What was called last.
    last: Op,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Start,
    Before,
    Setup,
    Bound,
    Accepting,
    Listening,
    Armed,
    Called,
    Quiet,
    Shut,
    Patient,
    Draining,
    Exiting,
}

impl Player {
    fn new(case: &Case, me: usize, oracle: &Oracle) -> Box<Self> {
        let (mut before, mut ops) = (case.before[me].clone(), case.ops[me].clone());
        before.reverse();
        ops.reverse();
        let (oracle, fd, last) = (oracle.clone(), Fd(0), Op::Sleep(0));
        let (drains, lossy, state) = (case.drains[me], !matches!(case.path, Path::Veth), Doing::Start);
        Box::new(Player { me, oracle, before, ops, drains, lossy, fd, state, last })
    }

    fn wrong(&self, what: String) {
        look(&self.oracle)[self.me].wrong.push(what);
    }

    /// The next operation: the alarm goes off if it waits for long.
    fn next(&mut self) -> Call {
        let closed = look(&self.oracle)[self.me].closed;
        match self.ops.pop().filter(|_| !closed) {
            Some(op) => {
                self.last = op;
                self.state = Doing::Armed;
                Call::Alarm { ns: 3 * SEC }
            }
            None if closed => self.exit(),
            None if self.drains => {
                self.state = Doing::Quiet;
                look(&self.oracle)[self.me].fin = true;
                Call::Alarm { ns: 300 * SEC }
            }
            None => {
                let side = &mut look(&self.oracle)[self.me];
                (side.fin, side.closed, side.early) = (true, true, true);
                self.state = Doing::Exiting;
                Call::Close { fd: self.fd }
            }
        }
    }

    fn go(&mut self, state: Doing, call: Call) -> Call {
        self.state = state;
        call
    }

    /// Reads on until the end.
    fn drain(&mut self) -> Call {
        let size = 20_000;
        self.last = Op::Recv { size, dontwait: false };
        self.go(Doing::Draining, Call::Recv { fd: self.fd, size, dontwait: false, errqueue: false })
    }

    fn exit(&mut self) -> Call {
        look(&self.oracle)[self.me].done = true;
        Call::Exit(0)
    }

    fn call(&mut self) -> Call {
        let fd = self.fd;
        self.state = Doing::Called;
        let side = &mut look(&self.oracle)[self.me];
        match self.last.clone() {
            Op::Send(size) => {
                side.offered = side.accepted + size as u64;
                Call::Send { fd, to: None, data: bytes(self.me as u64, side.accepted, size) }
            }
            Op::Recv { size, dontwait } => Call::Recv { fd, size, dontwait, errqueue: false },
            Op::Shutdown(how) => {
                side.shut_read |= how != Shutdown::Write;
                side.fin |= how != Shutdown::Read;
                Call::Shutdown { fd, how }
            }
            Op::Close => {
                (side.fin, side.closed, side.early) = (true, true, true);
                Call::Close { fd }
            }
            Op::Option(opt) => {
                if let SockOpt::Linger(time) = opt {
                    side.lingers = time == Some(0);
                }
                Call::SetSockOpt { fd, opt }
            }
            Op::Sleep(ms) => Call::Sleep { ns: ms * MS },
            Op::Poll { read, write, ms } => {
                Call::Poll { fds: vec![PollFd { fd, read, write }], timeout_ns: Some(ms * MS) }
            }
        }
    }

    /// What the last operation returned is what it may return.
    fn check(&mut self, ret: &Ret) {
        let mut sides = look(&self.oracle);
        let other = sides[1 - self.me].clone();
        let side = &mut sides[self.me];
        let before = side.wrong.len();
        // Bytes for somebody who will not read them reset the connection.
        let reset = other.closed || other.shut_read || side.shut_read;
        match (&self.last, ret) {
            (Op::Send(size), Ret::Sent(n)) if (1..=*size).contains(n) => side.accepted += *n as u64,
            (Op::Recv { size, .. }, Ret::Data(data)) => {
                if data.len() > *size || data.is_empty() {
                    side.wrong.push(format!("{} bytes", data.len()));
                }
                if !is_of(1 - self.me as u64, side.received, data) {
                    side.wrong.push(format!("other bytes than were sent, from {} on", side.received));
                }
                side.received += data.len() as u64;
                if side.received > other.offered {
                    side.wrong.push("more than was sent".to_owned());
                }
                if side.eof {
                    side.wrong.push("bytes after the end".to_owned());
                }
            }
            (Op::Recv { .. }, Ret::Eof) if side.shut_read || side.failed.is_some() => {}
            (Op::Recv { .. }, Ret::Eof) => {
                side.eof = true;
                if !other.fin || side.received != other.accepted {
                    side.wrong.push("not the end".to_owned());
                }
            }
            (Op::Send(_) | Op::Recv { .. }, Ret::Err(Errno::EAGAIN | Errno::EINTR)) => {}
            (Op::Send(_), Ret::Err(Errno::EPIPE)) if side.fin || side.failed.is_some() || other.closed => {}
            (Op::Send(_) | Op::Recv { .. }, Ret::Err(e @ (Errno::ECONNRESET | Errno::EPIPE))) if reset => {
                side.failed = Some(*e);
            }
            (Op::Recv { .. } | Op::Shutdown(_), Ret::Err(Errno::ENOTCONN))
                if reset || side.failed.is_some() || side.fin => {}
            (Op::Shutdown(_) | Op::Close | Op::Option(_) | Op::Sleep(_), Ret::Done) => {}
            (Op::Sleep(_) | Op::Poll { .. }, Ret::Err(Errno::EINTR)) | (Op::Poll { .. }, Ret::Poll(_)) => {}
            _ => side.wrong.push(String::new()),
        }
        side.offered = side.accepted;
        for wrong in &mut side.wrong[before..] {
            let mut text = format!("{ret:?}");
            text.truncate(100);
            *wrong = format!("{:?} = {text}: {wrong} (other: {other:?})", self.last);
        }
    }

    fn setup(&mut self, ret: Ret) -> Call {
        let fd = self.fd;
        let addr = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), PORT);
        match (self.state, ret) {
            (Doing::Start, Ret::Start) => return Call::Socket(SocketKind::Tcp),
            (Doing::Start, Ret::Fd(fd)) => {
                self.fd = fd;
                self.state = Doing::Before;
                return self.setup(Ret::Done);
            }
            (Doing::Before, Ret::Done) => match self.before.pop() {
                // Connecting waits.
                Some(opt) if !matches!(opt, SockOpt::NonBlock(_)) => {
                    if let SockOpt::Linger(time) = opt {
                        look(&self.oracle)[self.me].lingers = time == Some(0);
                    }
                    return Call::SetSockOpt { fd, opt };
                }
                Some(_) => return self.setup(Ret::Done),
                None => {
                    self.state = Doing::Setup;
                    return if self.me == 0 { Call::Connect { fd, addr } } else { Call::Bind { fd, addr } };
                }
            },
            (Doing::Setup, Ret::Done) if self.me == 0 => return self.next(),
            (Doing::Setup, Ret::Done) => return self.go(Doing::Bound, Call::Listen { fd, backlog: 3 }),
            (Doing::Bound, Ret::Done) => return self.go(Doing::Accepting, Call::Alarm { ns: 60 * SEC }),
            (Doing::Accepting, Ret::Done) => return self.go(Doing::Listening, Call::Accept { fd, nonblock: false }),
            // A reset that overtakes the handshake's last ACK leaves nothing to accept.
            (Doing::Listening, Ret::Err(Errno::EINTR)) if look(&self.oracle)[1 - self.me].closed => {}
            (Doing::Listening, Ret::Accepted { fd, .. }) => {
                self.fd = fd;
                return self.next();
            }
            (state, other) => self.wrong(format!("{state:?}: {other:?}")),
        }
        self.exit()
    }
}

impl Program for Player {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        let fd = self.fd;
        match self.state {
            Doing::Start | Doing::Before | Doing::Setup | Doing::Bound | Doing::Accepting | Doing::Listening => {
                self.setup(ret)
            }
            Doing::Armed => self.call(),
            Doing::Called => {
                self.check(&ret);
                self.next()
            }
            Doing::Quiet => self.go(Doing::Shut, Call::Shutdown { fd, how: Shutdown::Write }),
            Doing::Shut => self.go(Doing::Patient, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(false) }),
            Doing::Patient => self.drain(),
            Doing::Draining => {
                let more = matches!(ret, Ret::Data(_) | Ret::Err(Errno::EAGAIN));
                let other = look(&self.oracle)[1 - self.me].clone();
                // A reset that is lost tells nobody that the connection is over.
                let forlorn = self.lossy && other.closed && (other.early || other.lingers || other.shut_read);
                if ret == Ret::Err(Errno::EINTR) && !forlorn {
                    self.wrong(format!("stuck (other: {other:?})"));
                }
                self.check(&ret);
                if more {
                    return self.drain();
                }
                look(&self.oracle)[self.me].closed = true;
                self.go(Doing::Exiting, Call::Close { fd })
            }
            Doing::Exiting => self.exit(),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

fn play(case: &Case) -> Result<(), String> {
    let mut world = case.world();
    let mut census = Census::default();
    let ns = |world: &World, name| world.namespace(name).expect("it was made");
    let hosts = [ns(&world, "a"), ns(&world, "b")];
    if let Path::Wire(quality) = case.path {
        let station =
            Station::new(Relay::new([quality; 2], case.seed), vec![(IfIndex(2), MACS[0]), (IfIndex(3), MACS[1])]);
        let wire = ns(&world, "wire");
        world.spawn(wire, station, Time(0)).expect("a place for a process");
    }
    let oracle = Oracle::default();
    for (me, start) in [(1, SEC), (0, 2 * SEC)] {
        world.spawn(hosts[me], Player::new(case, me, &oracle), Time(start)).expect("a place for a process");
    }
    let mut until = Time(2 * SEC);
    while !look(&oracle).iter().all(|side| side.done) {
        if world.run(until, &mut census).map_err(|e| e.to_string())? == Stopped::Time {
            until += SEC;
            bounded(&world, &hosts)?;
        }
        if until > LIMIT {
            return Err(format!("stuck: {:?} {:?}", look(&oracle), left(&world, &hosts)));
        }
    }
    while world.run(until + AFTERWARDS, &mut census).map_err(|e| e.to_string())? != Stopped::Time {}
    let left = left(&world, &hosts);
    let (made, ended, waiting) = world.balance();
    if !left.is_empty() || made != ended + waiting as u64 || waiting > 0 || !census.wrong.is_empty() {
        return Err(format!("left over: {left:?}, frames: {made} {ended} {waiting} {:?}", census.wrong));
    }
    verdict(case, &look(&oracle))
}

/// All of it has come where both have closed in peace.
fn verdict(case: &Case, sides: &[Side; 2]) -> Result<(), String> {
    let peaceful = |n: usize| case.drains[n] && !sides[n].early && !sides[n].shut_read && !sides[n].lingers;
    let both = peaceful(0) && peaceful(1);
    for n in 0..2 {
        let (side, other) = (&sides[n], &sides[1 - n]);
        if !side.wrong.is_empty() || both && (side.received != other.accepted || !side.eof) {
            return Err(format!("{n}: {side:?}\n{other:?}"));
        }
    }
    Ok(())
}

fn left(world: &World, hosts: &[NsId]) -> Vec<show::TcpInfo> {
    hosts.iter().flat_map(|ns| show::tcp(world.machine(*ns).spaces(), *ns)).collect()
}

/// Queues keep to their buffers, or to what their buffers were before a program made them smaller.
fn bounded(world: &World, hosts: &[NsId]) -> Result<(), String> {
    let over = |held: u64, buffer: u64| held > buffer.max(MAX_BUFFER) + SLACK;
    let over = |i: &show::TcpInfo| over(i.mem.rmem, i.mem.rcvbuf) || over(i.mem.wmem, i.mem.sndbuf);
    left(world, hosts).into_iter().find(over).map_or(Ok(()), |info| Err(format!("{info:?}")))
}

/// The same cases in every run.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(11);
    ProptestConfig {
        cases: 1024,
        rng_seed,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_stream_is_a_stream(case in case()) {
        play(&case).map_err(TestCaseError::fail)?;
    }
}

/// A send that has queued a part of its bytes returns their number; the reset is for the next call.
#[test]
fn an_error_waits_for_the_next_call() {
    let ops = [vec![Op::Send(7_330), Op::Send(127_479)], vec![Op::Send(1_645), Op::Send(3_289), Op::Send(1)]];
    let path = Path::Link { latency_us: 43_510, loss_percent: 5, kbit: 1_000, queue: 15 };
    let (before, drains) = ([vec![], vec![]], [true, false]);
    play(&Case { seed: 819_056_034_252_841_814, path, mtu: 600, before, ops, drains }).expect("it goes by the rules");
}

/// What is out of order makes way for what is next.
#[test]
fn a_buffer_full_of_later_segments() {
    let quality = Quality { loss_ppm: 38_767, double_ppm: 0, late_ppm: 161_257, late_ns: 100_000, latency_ns: 42_438 };
    let reader = vec![Op::Send(1), Op::Sleep(1), Op::Option(SockOpt::RecvBuf(2_411))];
    let writer = [1_449, 1, 1, 1_672, 38_873].map(Op::Send);
    let ops = [reader, [&writer[..2], &[Op::Sleep(210)], &writer[2..]].concat()];
    let (path, before, drains) = (Path::Wire(quality), [vec![], vec![]], [true, true]);
    play(&Case { seed: 36_899_337_191_577_698, path, mtu: 1_500, before, ops, drains }).expect("it goes by the rules");
}
