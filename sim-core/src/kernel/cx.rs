//! What a stage may touch besides its own namespace: the CPU that runs it, randomness and the listeners.

use super::conntrack::{Conntrack, Nfct};
use super::frame::{self, Frame, PacketType, Pool, Sk};
use super::ip::frag;
use super::neigh::NeighKey;
use super::netfilter::choices::Choices;
use super::printk::KernelLog;
use super::socket::tcp;
use super::softnet::Softnet;
use super::syscall::Ret;
use super::timer::{Jiffies, TimerId, Wheel};
use super::trace::{DropReason, Edge, Fate, Flow, Sink, Step, Tap, What};
use crate::base::{FrameId, IfIndex, MachineId, NicId, NsId, PacketId, Pid, Prf, Salt, Time};
use crate::wire::ETH_HLEN;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow::Break;

/// net.core.netdev_max_backlog: as many frames may wait for the CPU, and one more.
pub const NETDEV_MAX_BACKLOG: usize = 1000;

/// Simulated CPU time, so that the times of one machine are ordered and plausible. One hop across a device.
const HOP_NS: u64 = 1_000;

/// A timer of the kernel, by owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// neigh_timer_handler
    Neigh(NsId, NeighKey),
    /// br_fdb_cleanup of a bridge
    FdbGc(NsId, IfIndex),
    /// vxlan_cleanup
    VxlanAge(NsId, IfIndex),
    /// neigh_proxy_process of a device
    ArpProxy(NsId, IfIndex),
    /// ip_expire of an incomplete datagram
    Frag(NsId, frag::Key),
    /// gc_worker of connection tracking
    ConntrackGc,
    /// A timer of a connection's
    Tcp(tcp::TimerOf),
    /// schedule_timeout of a process
    Process(Pid),
}

/// A frame on its way to a device's receive path (softnet_data's input queue).
#[derive(Clone, Debug)]
pub struct Rx {
    /// The receiver's namespace.
    pub ns: NsId,
    /// The receiver.
    pub dev: IfIndex,
    /// The frame.
    pub frame: Frame,
}

/// What the CPU does next.
#[derive(Debug)]
pub enum Turn {
    /// It receives a frame of the backlog.
    Frame(Rx),
    /// It goes on with a frame that it has received, at a device of another namespace.
    Round(Rx),
    /// It polls a device that has frames: the oldest of them, and how many there are.
    Poll {
        /// Its namespace.
        ns: NsId,
        /// The device.
        dev: IfIndex,
        /// The first frame.
        first: FrameId,
        /// As many frames will be received.
        frames: u32,
    },
}

/// What the engine has to do for a physical nic when the chain is over.
#[derive(Clone, Debug)]
pub enum Wire {
    /// Carry a frame to the other end of the nic's link.
    Carry {
        /// The sender.
        nic: NicId,
        /// Its last bit has left the nic then.
        done: Time,
        /// The frame, which belongs to no machine until it arrives.
        frame: Frame,
    },
    /// Tell the nic when it is free for the next frame: [`super::netns::Spaces::nic_free`].
    Free {
        /// Which nic.
        nic: NicId,
        /// When.
        at: Time,
    },
}

/// What a system call still has to do after the CPU has received what is queued: the rest of it is kept with its frame.
#[derive(Clone, Debug)]
pub enum Continuation {
    /// The next fragments of a datagram.
    Fragments(frag::Rest),
    /// What else waits for a neighbour that is known now.
    Neigh(NsId, NeighKey),
    /// The rest of a call on a TCP socket.
    Tcp(NsId, tcp::SockId),
}

/// One CPU: its clock, its softirq queue, its timer wheel and its free frames.
#[derive(Clone, Debug)]
pub struct Cpu {
    machine: MachineId,
    /// Its name, if what is drawn here follows from names.
    name: Option<String>,
    /// By which the machine and its namespaces draw.
    salt: Salt,
    salts: Vec<Salt>,
    /// The clock.
    pub now: Time,
    /// CLOCK_REALTIME at time zero, in nanoseconds since 1970.
    pub epoch_ns: u64,
    jiffies: Jiffies,
    /// net->ipv4.rt_genid of all namespaces: routes that were found before its last change are forgotten.
    pub(in crate::kernel) rt_genid: u64,
    /// What waits to be received.
    pub(in crate::kernel) softnet: Softnet,
    /// The wheel.
    pub timers: Wheel<Timer>,
    /// Processes that something happened for, in order.
    pub wakes: Vec<Pid>,
    /// Devices whose carrier changed: link watch acts on them when the chain is over.
    pub(in crate::kernel) linkwatch: VecDeque<(NsId, IfIndex)>,
    /// What physical nics have done, for the engine to go on with.
    pub wire: Vec<Wire>,
    /// A system call is carried out: its frames are received as soon as they are sent, not when it ends.
    in_process: bool,
    /// How many tunnels and redirects are at work in one another (softnet_data.xmit.recursion).
    pub(in crate::kernel) xmit_recursion: u8,
    /// The CPU's own ICMP socket (ipv4_icmp_sk) is sending an answer.
    pub(in crate::kernel) icmp_busy: bool,
    /// What is left to do of a system call, the next first; and where that of a stage goes.
    rest: VecDeque<Continuation>,
    rest_at: usize,
    /// A call that went on later has ended with this, or waits.
    pub finished: Option<(Pid, Option<Ret>)>,
    /// Who decides what rules leave to chance; none for chance itself.
    pub choices: Option<Box<Choices>>,
    /// Timers that are not on the wheel (hrtimers), by when they are due and in order.
    hrtimers: BTreeMap<(Time, u64), Timer>,
    hrtimers_armed: u64,
    /// Connections that frames referred to whose way has ended.
    pub(in crate::kernel) released: Vec<(NsId, Nfct)>,
    pool: Pool,
    /// What the kernel has to say (dmesg).
    pub log: KernelLog,
    /// Frames made so far: created and cloned.
    made: u64,
    /// Frames whose way has ended.
    ended: u64,
    /// Frames that came over a link, and that left over one.
    came: u64,
    left: u64,
}

impl Cpu {
    /// An idle CPU at simulated time zero. With a name, what is drawn here follows from names: its own and those of
    /// its namespaces.
    pub fn new(machine: MachineId, name: Option<&str>, jiffies: u64) -> Self {
        Cpu {
            machine,
            name: name.map(str::to_owned),
            salt: name.map_or(Salt::place(u32::from(machine.0)), |name| Salt::named(&[name])),
            salts: Vec::new(),
            now: Time(0),
            epoch_ns: 0,
            jiffies: Jiffies::starting_at(jiffies),
            rt_genid: 0,
            softnet: Softnet::default(),
            timers: Wheel::new(jiffies),
            wakes: Vec::new(),
            linkwatch: VecDeque::new(),
            wire: Vec::new(),
            in_process: false,
            xmit_recursion: 0,
            icmp_busy: false,
            rest: VecDeque::new(),
            rest_at: 0,
            finished: None,
            choices: None,
            hrtimers: BTreeMap::new(),
            hrtimers_armed: 0,
            released: Vec::new(),
            pool: Pool::default(),
            log: KernelLog::default(),
            made: 0,
            ended: 0,
            came: 0,
            left: 0,
        }
    }

    /// Whose CPU it is.
    pub fn machine(&self) -> MachineId {
        self.machine
    }

    /// By which the machine draws.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// By which a namespace draws.
    pub fn salt_of(&self, ns: NsId) -> Salt {
        self.salts.get(ns.index()).copied().unwrap_or(Salt::place(ns.0))
    }

    /// The next namespace is called `name`.
    pub(in crate::kernel) fn add_namespace(&mut self, ns: NsId, name: &str) {
        let named = |machine: &String| Salt::named(&[machine, name]);
        self.salts.push(self.name.as_ref().map_or(Salt::place(ns.0), named));
    }

    /// What is drawn here follows from names.
    pub fn draws_by_name(&self) -> bool {
        self.name.is_some()
    }

    /// The clock in ticks.
    pub fn jiffies(&self) -> u64 {
        self.jiffies.at(self.now)
    }

    /// How its time maps to ticks.
    pub fn clock(&self) -> Jiffies {
        self.jiffies
    }

    /// When the wheel has to run next.
    pub fn next_tick(&self) -> Option<Time> {
        self.timers.next_expiry().map(|j| self.jiffies.time(j))
    }

    /// hrtimer_start: `what` is due at `at`.
    pub(in crate::kernel) fn arm_hrtimer(&mut self, at: Time, what: Timer) {
        self.hrtimers_armed += 1;
        self.hrtimers.insert((at, self.hrtimers_armed), what);
    }

    /// When the next of the timers is due that are not on the wheel.
    pub fn next_hrtimer(&self) -> Option<Time> {
        self.hrtimers.first_key_value().map(|((at, _), _)| *at)
    }

    /// One of those that are due.
    pub fn pop_hrtimer(&mut self) -> Option<Timer> {
        let now = self.now;
        self.hrtimers.first_entry().filter(|e| e.key().0 <= now).map(std::collections::btree_map::OccupiedEntry::remove)
    }

    /// What is to be received next (net_rx_action).
    pub fn dequeue(&mut self) -> Option<Turn> {
        self.softnet.next()
    }

    /// A system call begins or ends (in_task).
    pub fn set_process(&mut self, on: bool) {
        self.in_process = on;
    }

    /// What is left to do of a system call once nothing is queued.
    pub fn take_rest(&mut self) -> Option<Continuation> {
        self.rest_at = 0;
        self.rest.pop_front()
    }

    /// Frames made and frames ended: their difference is alive in queues.
    pub fn balance(&self) -> (u64, u64) {
        (self.made, self.ended)
    }

    /// Frames that came over a link and frames that left over one.
    pub fn crossings(&self) -> (u64, u64) {
        (self.came, self.left)
    }

    /// An ended frame's buffer for another machine, which sent one here: so neither pool runs dry.
    pub fn give_spare(&mut self) -> Option<Frame> {
        self.pool.take()
    }

    /// A buffer in return for a frame that left, or its own.
    pub fn take_spare(&mut self, spare: Frame) {
        self.pool.give_back(spare);
    }

    /// Frames waiting to be received.
    pub fn backlog(&self) -> usize {
        self.softnet.len()
    }
}

/// The context of one stage. Borrowed for as long as one namespace runs.
pub struct Cx<'a> {
    /// The namespace that runs.
    pub ns: NsId,
    /// The CPU.
    pub cpu: &'a mut Cpu,
    /// The scenario's randomness.
    pub prf: &'a Prf,
    /// The listeners.
    pub sink: &'a mut dyn Sink,
    /// [`Sink::hears_steps`]
    pub steps: bool,
    /// [`Sink::hears_taps`]
    pub taps: bool,
}

impl Cx<'_> {
    /// The clock.
    pub fn now(&self) -> Time {
        self.cpu.now
    }

    /// The clock in ticks.
    pub fn jiffies(&self) -> u64 {
        self.cpu.jiffies()
    }

    /// The first word of the namespace's draws.
    pub fn salt(&self) -> u64 {
        self.cpu.salt_of(self.ns).word()
    }

    /// The simulated CPU works for `ns` nanoseconds.
    pub fn spend(&mut self, ns: u64) {
        self.cpu.now += ns;
    }

    /// Arms a timer that fires `after` ticks from now or up to one granule later.
    pub fn arm(&mut self, after: u64, what: Timer) -> TimerId {
        let now = self.jiffies();
        self.cpu.timers.arm(now, now.saturating_add(after), what)
    }

    /// alloc_skb: a new frame, made because of `cause` or by a socket.
    pub fn new_frame(&mut self, cause: Option<FrameId>) -> Frame {
        self.make_frame(cause.map_or(Edge::Origin, Edge::CausedBy))
    }

    /// A frame with a datagram of its own, and where it came from.
    pub fn make_frame(&mut self, edge: Edge) -> Frame {
        let id = self.next_id();
        let f = self.cpu.pool.fresh(id);
        self.step(&f, IfIndex(0), What::Made(edge));
        f
    }

    /// A frame that somebody outside of the world has sent, on the wire to this machine: an Ethernet header and what
    /// follows. Bytes that are too few for a header are all there is of it.
    pub fn foreign_frame(&mut self, bytes: &[u8]) -> Frame {
        let (mac, l3) = bytes.split_at(bytes.len().min(ETH_HLEN));
        let mut f = self.new_frame(None);
        f.put_data([l3]);
        f.push_mac(mac.len()).copy_from_slice(mac);
        f.truesize = frame::truesize(l3.len());
        self.cpu.left += 1;
        f
    }

    /// skb_clone: the same datagram in a buffer of its own. It belongs to the same connection of `ct`.
    pub(in crate::kernel) fn clone_frame(&mut self, ct: &mut Conntrack, of: &Frame) -> Frame {
        let id = self.next_id();
        let f = self.cpu.pool.copy(of, id);
        ct.hold(f.nfct);
        self.step(&f, f.dev, What::Made(Edge::Clone(of.id)));
        f
    }

    /// A frame made of the bytes of others, for the same datagram.
    pub fn derived_frame(&mut self, edge: Edge, packet: PacketId) -> Frame {
        let id = self.next_id();
        let mut f = self.cpu.pool.fresh(id);
        f.packet = packet;
        self.step(&f, IfIndex(0), What::Made(edge));
        f
    }

    /// A system call is carried out, not what an interrupt brought.
    pub fn in_process(&self) -> bool {
        self.cpu.in_process
    }

    /// Goes on with `rest` after what is queued was received: after what the same stage deferred before, which it
    /// called for, and before everything else.
    pub fn defer(&mut self, rest: Continuation) {
        self.cpu.rest.insert(self.cpu.rest_at, rest);
        self.cpu.rest_at += 1;
    }

    /// Tells the listeners what happens to `f`.
    #[inline]
    pub fn step(&mut self, f: &Frame, dev: IfIndex, what: What) {
        if self.steps {
            self.tell(f, dev, what);
        }
    }

    /// printk: a line of the kernel's log.
    pub(in crate::kernel) fn printk(&mut self, level: u8, text: String) {
        let now = self.now();
        self.cpu.log.printk(now, level, text);
    }

    /// Out of the way of what runs unheard, whose code hardly fits into the instruction cache as it is.
    #[cold]
    #[inline(never)]
    fn tell(&mut self, f: &Frame, dev: IfIndex, what: What) {
        self.sink.step(&Step { at: self.cpu.now, ns: self.ns, dev, frame: f.id, packet: f.packet, what });
    }

    /// A frame passes the tap of `dev`: received ones keep the time at which they were queued.
    #[inline]
    pub fn tap(&mut self, dev: IfIndex, pkt_type: PacketType, f: &Frame) {
        if self.taps {
            self.show(dev, pkt_type, f);
        }
    }

    /// Out of the way, as [`Cx::tell`].
    #[cold]
    #[inline(never)]
    fn show(&mut self, dev: IfIndex, pkt_type: PacketType, f: &Frame) {
        let at = if pkt_type == PacketType::Outgoing { self.cpu.now } else { f.tstamp };
        let tap = Tap {
            at,
            now: self.cpu.now,
            ns: self.ns,
            dev,
            pkt_type,
            frame: f.id,
            packet: f.packet,
            mac_len: f.mac_len(),
            bytes: f.bytes(),
        };
        self.sink.tap(&tap);
    }

    /// netif_rx: queues `f` for the receive path of a device, stamped with the time.
    pub fn netif_rx(&mut self, ns: NsId, dev: IfIndex, mut f: Frame) -> Flow {
        f.tstamp = self.cpu.now + HOP_NS;
        self.netif_rx_stamped(ns, dev, f)
    }

    /// As [`Cx::netif_rx`], for a frame that a tunnel has unwrapped: it keeps the time of its arrival.
    pub fn netif_rx_stamped(&mut self, ns: NsId, dev: IfIndex, mut f: Frame) -> Flow {
        self.cpu.now += HOP_NS;
        (f.sk, f.rt_local) = (Sk::None, false);
        if self.cpu.softnet.input_len() > NETDEV_MAX_BACKLOG {
            return self.kill(f, DropReason::CpuBacklog);
        }
        self.step(&f, f.dev, What::Queued { ns, dev });
        self.cpu.softnet.push(Rx { ns, dev, frame: f });
        Break(Fate::Queued)
    }

    /// `another_round` of __netif_receive_skb_core, which leads into another namespace: the frame is in no queue, and
    /// keeps the time of its arrival.
    pub(in crate::kernel) fn another_round(&mut self, ns: NsId, dev: IfIndex, f: Frame) -> Flow {
        self.step(&f, f.dev, What::Queued { ns, dev });
        self.cpu.softnet.push_round(Rx { ns, dev, frame: f });
        Break(Fate::Queued)
    }

    /// As [`Cx::netif_rx`], for a veth whose frames are polled (veth_xdp_rx).
    pub(in crate::kernel) fn napi_rx(&mut self, ns: NsId, dev: IfIndex, mut f: Frame) -> Flow {
        f.tstamp = self.cpu.now + HOP_NS;
        self.napi_rx_stamped(ns, dev, f)
    }

    /// gro_cells_receive: as [`Cx::netif_rx_stamped`], for a device whose frames are polled.
    pub(in crate::kernel) fn napi_rx_stamped(&mut self, ns: NsId, dev: IfIndex, mut f: Frame) -> Flow {
        self.cpu.now += HOP_NS;
        (f.sk, f.rt_local) = (Sk::None, false);
        if self.cpu.softnet.napi_len(ns, dev) > NETDEV_MAX_BACKLOG {
            return self.kill(f, DropReason::NotSpecified);
        }
        self.step(&f, f.dev, What::Queued { ns, dev });
        self.cpu.softnet.push_napi(ns, dev, f);
        Break(Fate::Queued)
    }

    /// The driver of a physical nic hands received frames up: stamped with the time, in the order of arrival.
    pub(in crate::kernel) fn napi_receive(&mut self, ns: NsId, dev: IfIndex, mut f: Frame) {
        f.tstamp = self.cpu.now;
        self.cpu.softnet.push(Rx { ns, dev, frame: f });
    }

    /// `f` is on the wire: the engine carries it, and it is no longer among this machine's frames.
    pub(in crate::kernel) fn put_on_wire(&mut self, nic: NicId, done: Time, frame: Frame) {
        self.cpu.left += 1;
        self.cpu.wire.push(Wire::Carry { nic, done, frame });
        self.cpu.now += HOP_NS;
    }

    /// A frame from the wire is among this machine's frames now.
    pub(in crate::kernel) fn take_off_wire(&mut self) {
        self.cpu.came += 1;
    }

    /// kfree_skb_reason
    #[cold]
    #[inline(never)]
    pub fn kill(&mut self, f: Frame, why: DropReason) -> Flow {
        self.end(f, Fate::Dropped(why))
    }

    /// The one place where a frame ends. The connection that it referred to is told when the stage is over
    /// ([`super::netns::Spaces::settle`]).
    pub fn end(&mut self, f: Frame, fate: Fate) -> Flow {
        debug_assert_ne!(fate, Fate::Queued, "queued is not an end");
        self.step(&f, f.dev, What::Ended(fate));
        if f.nfct != Nfct::None {
            self.cpu.released.push((self.ns, f.nfct));
        }
        self.cpu.ended += 1;
        self.cpu.pool.give_back(f);
        Break(fate)
    }

    /// A process may go on.
    pub fn wake(&mut self, pid: Pid) {
        if !self.cpu.wakes.contains(&pid) {
            self.cpu.wakes.push(pid);
        }
    }

    fn next_id(&mut self) -> FrameId {
        self.cpu.made += 1;
        FrameId::new(self.cpu.machine, self.cpu.made)
    }
}
