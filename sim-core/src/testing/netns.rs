//! The namespace, and what surrounds it.

use super::heard::Heard;
use super::outcome::{self, Hit, Outcome, Sent};
use super::packet::Packet;
use super::process::{Sender, Waiter};
use crate::base::time::SEC;
use crate::base::words::SyntaxError;
use crate::base::{Mac, MachineId, NicId, NsId, PacketId, Pid, Time};
use crate::engine::{Config, ConfigureError, Departed, Finished, LimitHit, Limits, Stopped, World};
use crate::kernel::conntrack::Info;
use crate::kernel::errno::NlError;
use crate::kernel::netfilter::choices::Choices;
use crate::kernel::netfilter::hook::TableName;
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netfilter::table::Table;
use crate::kernel::netfilter::targets::Target;
use crate::kernel::netlink::{LinkChange, Request};
use crate::kernel::show;
use crate::kernel::syscall::SocketKind;
use crate::kernel::trace::Step;
use crate::lab;
use crate::observe::names::Names;
use crate::wire::arp::{ARP_LEN, Arp};
use crate::wire::{ETH_HLEN, ETH_P_ARP, ETH_P_IP, IPPROTO_TCP, IPPROTO_UDP, be16, ethertype, put_ethernet};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A command ends within this time, in simulated nanoseconds.
pub const MAX_COMMAND_NS: u64 = 3600 * SEC;

/// The machine's own namespace.
const NAME: &str = "host";
/// Its machine.
const MACHINE: MachineId = MachineId(0);
/// A packet causes no more than this in one chain, unless the configuration says otherwise.
const CHAIN_FRAMES: u64 = 10_000;

/// The hardware address of the neighbour that has this IPv4 address: all that are outside have such ones.
pub fn neighbour_mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0, a, b, c, d])
}

/// One network namespace of one machine: a kernel, devices that lead outside, and the commands of a shell.
///
/// Outside is the test. Neighbours there answer every ARP request ([`neighbour_mac`]), on a bridge at the port where
/// their address was last seen, else at the first. What else leaves is collected.
///
/// A clone goes on by itself: to try several packets at one state, try each at a clone.
#[derive(Clone)]
pub struct NetNs {
    world: World,
    ns: NsId,
    /// Those that lead outside, by their nics.
    devices: Vec<String>,
    heard: Heard,
    /// What left since the last packet, ARP included.
    left: Vec<Departed>,
    /// ARP requests that were answered.
    answered: BTreeSet<PacketId>,
    /// By which nic an address was last seen.
    seen: BTreeMap<Ipv4Addr, NicId>,
    silent: bool,
    /// SO_MARK of what processes send.
    mark: u32,
}

impl NetNs {
    /// A namespace with lo and these devices, all of them up, without addresses.
    ///
    /// # Errors
    /// A name that no device can have.
    pub fn new(devices: &[&str]) -> Result<NetNs, Error> {
        let limits = Limits { chain_frames: CHAIN_FRAMES, ..Limits::default() };
        NetNs::with(Config { limits, ..Config::default() }, devices)
    }

    /// As [`NetNs::new`], with a seed, a profile of the kernel and limits of one's own.
    ///
    /// # Errors
    /// As of [`NetNs::new`].
    pub fn with(config: Config, devices: &[&str]) -> Result<NetNs, Error> {
        let mut netns = NetNs {
            world: World::new(config),
            ns: NsId::new(MACHINE, 0),
            devices: Vec::new(),
            heard: Heard::default(),
            left: Vec::new(),
            answered: BTreeSet::new(),
            seen: BTreeMap::new(),
            silent: false,
            mark: 0,
        };
        netns.world.boot(MACHINE, NAME, &mut netns.heard)?;
        for name in devices {
            netns.plug(name)?;
        }
        for dev in ["lo"].iter().chain(devices) {
            netns.request(&Request::LinkSet { dev: (*dev).to_owned(), changes: vec![LinkChange::Up(true)] })?;
        }
        Ok(netns)
    }

    /// One more device that leads outside; it is down.
    ///
    /// # Errors
    /// The name is taken or none.
    pub fn plug(&mut self, name: &str) -> Result<(), Error> {
        self.world.open(self.ns, name, &mut self.heard)?;
        self.devices.push(name.to_owned());
        Ok(())
    }

    /// The devices that lead outside, in the order in which they were plugged in.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(String::as_str)
    }

    /// From now on nobody outside answers ARP requests: neighbours are those of `ip neigh add`.
    pub fn silence(&mut self) {
        self.silent = true;
    }

    /// From now on what [`NetNs::send`] sends carries this mark (SO_MARK).
    pub fn mark(&mut self, mark: u32) {
        self.mark = mark;
    }

    /// Runs a command as it is typed (`ip`, `bridge`, `sysctl`, `iptables`, `conntrack`…) to its end; returns what it
    /// prints.
    ///
    /// # Errors
    /// Its words are wrong, it fails, or it does not end within [`MAX_COMMAND_NS`].
    pub fn run(&mut self, command: &str) -> Result<String, Error> {
        let failed = |message: String| Error::Command { command: command.to_owned(), message };
        let parsed = lab::parse(command).map_err(|e| failed(with_hint(e)))?;
        if parsed.is_endless() {
            return Err(failed("it does not end by itself".to_owned()));
        }
        let pid = self.world.spawn(self.ns, parsed.into_program(), Time(0));
        let finished = self.finish(pid)?.ok_or_else(|| failed("it does not end".to_owned()))?;
        match finished.code {
            0 => Ok(finished.console.stdout()),
            _ => Err(failed(finished.console.all().trim_end().to_owned())),
        }
    }

    /// iptables-restore(8) of this text: the tables that it names are flushed before. Counters are taken over.
    ///
    /// # Errors
    /// A line is wrong; tables before it are in place.
    pub fn restore(&mut self, text: &str) -> Result<(), Error> {
        let restore = Restore { counters: true, text: text.to_owned(), ..Restore::default() };
        self.request(&Request::IptablesRestore { backend: None, restore: Arc::new(restore) })
    }

    /// A netlink request, as a program makes it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn request(&mut self, request: &Request) -> Result<(), Error> {
        self.world.configure(self.ns, request, &mut self.heard)?;
        self.answer()?;
        Ok(())
    }

    /// A process of this namespace has a socket at a port from now on and waits there: of UDP, of TCP, where it takes
    /// connections, or a raw one of any other protocol, which has no port.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen(&mut self, protocol: u8, port: u16) -> Result<(), Error> {
        let kind = match protocol {
            IPPROTO_TCP => SocketKind::Tcp,
            IPPROTO_UDP => SocketKind::Udp,
            protocol => SocketKind::Raw { protocol },
        };
        let pid = self.world.spawn(self.ns, Box::new(Waiter::new(kind, port)), Time(0));
        let until = self.world.now() + SEC / 1000;
        match self.go_on(until, pid)? {
            None => Ok(()),
            Some(ended) => {
                let message = format!("the port is not free: error {}", ended.code);
                Err(Error::Command { command: format!("listen {port}"), message })
            }
        }
    }

    /// A packet comes in by a device that leads outside, in the frame of a neighbour: for the device itself or, at a
    /// port, its bridge. A packet from one host of a bridge's network to another goes straight to the other one.
    ///
    /// # Errors
    /// No such device; a limit was hit.
    pub fn receive(&mut self, dev: &str, packet: &Packet) -> Result<Outcome, Error> {
        self.receive_ip(dev, &packet.bytes())
    }

    /// As [`NetNs::receive`], of bytes from the IPv4 header on, however wrong they are.
    ///
    /// # Errors
    /// As of [`NetNs::receive`].
    pub fn receive_ip(&mut self, dev: &str, l3: &[u8]) -> Result<Outcome, Error> {
        let address = |at: usize| l3.get(at..at + 4).map_or(0, |b| u32::from(be16(b, 0)) << 16 | u32::from(be16(b, 2)));
        let (src, dst) = (Ipv4Addr::from(address(12)), Ipv4Addr::from(address(16)));
        let links = show::links(self.world.machine(self.ns).spaces(), self.ns, self.world.now());
        let of = |name: &str| links.iter().find(|l| l.name == name);
        let link = of(dev).ok_or_else(|| Error::NoDevice(dev.to_owned()))?;
        let bridge = link.master.as_ref().and_then(|(_, name)| of(name));
        let nets = || bridge.into_iter().flat_map(|b| &b.addrs).map(|a| a.local);
        let straight = nets().any(|n| n.contains(&src) && n.contains(&dst))
            && !links.iter().flat_map(|l| &l.addrs).any(|a| a.local.addr() == dst);
        let to = if straight { neighbour_mac(dst) } else { bridge.unwrap_or(link).address };
        let mut frame = vec![0; ETH_HLEN];
        put_ethernet(&mut frame, to, neighbour_mac(src), ETH_P_IP);
        frame.extend(l3);
        if let Some(nic) = self.nic(dev) {
            self.seen.insert(src, nic);
        }
        self.receive_frame(dev, &frame)
    }

    /// A frame comes in by a device that leads outside: an Ethernet header and what follows, however wrong it is.
    ///
    /// # Errors
    /// As of [`NetNs::receive`].
    pub fn receive_frame(&mut self, dev: &str, frame: &[u8]) -> Result<Outcome, Error> {
        let nic = self.nic(dev).ok_or_else(|| Error::NoDevice(dev.to_owned()))?;
        self.begin();
        let frame = self.world.arrive(MACHINE, nic, frame, &mut self.heard)?;
        self.settle()?;
        Ok(outcome::of(&self.heard, &self.sent(), Some(frame.into()), None))
    }

    /// A process of this namespace sends a packet by a raw socket that is bound to its source. The kernel makes the
    /// IPv4 header.
    ///
    /// # Errors
    /// A limit was hit. That sending fails is a verdict.
    pub fn send(&mut self, packet: &Packet) -> Result<Outcome, Error> {
        self.begin();
        let pid = self.world.spawn(self.ns, Box::new(Sender::new(packet, self.mark)), Time(0));
        let code = self.finish(pid)?.map_or(0, |f| f.code);
        self.settle()?;
        let first = outcome::first_made(&self.heard);
        Ok(outcome::of(&self.heard, &self.sent(), first, Some(code).filter(|c| *c != 0)))
    }

    /// What became of another packet, which the one that was sent or received last has caused.
    pub fn outcome_of(&self, packet: PacketId) -> Outcome {
        outcome::of(&self.heard, &self.sent(), Some(packet), None)
    }

    /// Lets so many nanoseconds pass; timers run. What leaves meanwhile.
    ///
    /// # Errors
    /// A limit was hit.
    pub fn advance(&mut self, ns: u64) -> Result<Vec<Sent>, Error> {
        self.begin();
        let until = self.world.now() + ns;
        self.go_on(until, None)?;
        self.world.set_time(until);
        Ok(self.sent().into_iter().map(|(_, sent)| sent).collect())
    }

    /// From now on what rules leave to chance is decided by these, or drawn again; returns those that decided before,
    /// with what they were asked.
    pub fn choose(&mut self, choices: Option<Choices>) -> Option<Choices> {
        self.world.choose(MACHINE, choices.map(Box::new)).map(|c| *c)
    }

    /// What things are called.
    pub fn names(&self) -> &Names {
        &self.heard.names
    }

    /// The connections that are tracked, with marks and zones, as `conntrack -L` shows them.
    pub fn connections(&self) -> Vec<Info> {
        show::conntrack(self.world.machine(self.ns).spaces(), self.ns, self.world.now())
    }

    /// A table of iptables as it is now; none if it was never used.
    pub fn table(&self, name: TableName) -> Option<&Table> {
        self.heard.rules(name)
    }

    /// The target of a rule that a packet has met; none of a policy.
    pub fn target(&self, hit: &Hit) -> Option<&Target> {
        outcome::target(&self.heard, hit)
    }

    /// All steps of the packet that was sent or received last, and of what it caused, in order.
    pub fn steps(&self) -> &[Step] {
        &self.heard.steps
    }

    /// The world that the namespace is in, to read.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The namespace.
    pub fn id(&self) -> NsId {
        self.ns
    }

    fn nic(&self, dev: &str) -> Option<NicId> {
        self.devices.iter().position(|d| d == dev).map(|at| NicId(at as u32))
    }

    fn begin(&mut self) {
        self.heard.clear();
        self.left.clear();
        self.answered.clear();
    }

    /// What left that is no ARP, with its datagram.
    fn sent(&self) -> Vec<(PacketId, Sent)> {
        let ip = self.left.iter().filter(|d| ethertype(&d.bytes) != ETH_P_ARP);
        let dev = |nic: NicId| self.devices.get(nic.0 as usize).cloned().unwrap_or_default();
        ip.map(|d| (d.packet, Sent { dev: dev(d.nic), bytes: d.bytes.clone() })).collect()
    }

    /// Until nothing is left to do at this instant.
    fn settle(&mut self) -> Result<(), Error> {
        self.answer()?;
        loop {
            let now = self.world.now();
            self.go_on(now, None)?;
            if self.world.now() == now {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, pid: Option<Pid>) -> Result<Option<Finished>, Error> {
        let until = self.world.now() + MAX_COMMAND_NS;
        self.go_on(until, pid)
    }

    /// Until this process ends, else until then.
    fn go_on(&mut self, until: Time, pid: Option<Pid>) -> Result<Option<Finished>, Error> {
        loop {
            match self.world.run_to(until, self.world.events() + 1, &mut self.heard)? {
                Some(Stopped::Exit(_, ended)) => {
                    let finished = self.world.reap(self.ns, ended);
                    if Some(ended) == pid {
                        self.answer()?;
                        return Ok(finished);
                    }
                }
                Some(Stopped::Time) if !self.answer()? => return Ok(None),
                Some(Stopped::Time) => {}
                None => {
                    self.answer()?;
                }
            }
        }
    }

    /// Takes what has left; neighbours answer. Tells whether one did.
    fn answer(&mut self) -> Result<bool, LimitHit> {
        let mut any = false;
        loop {
            let departed = self.world.take_departed();
            if departed.is_empty() {
                return Ok(any);
            }
            for d in departed {
                let asked = (ethertype(&d.bytes) == ETH_P_ARP).then(|| Arp::parse(&d.bytes[ETH_HLEN..])).flatten();
                let (packet, nic) = (d.packet, d.nic);
                self.left.push(d);
                let Some(asked) = asked.filter(|a| a.request && !self.silent) else { continue };
                if self.seen.get(&asked.tip).is_some_and(|at| *at != nic && self.is_beside(*at, nic)) {
                    continue;
                }
                if self.answered.insert(packet) {
                    any = true;
                    self.world.arrive(MACHINE, nic, &arp_reply(&asked), &mut self.heard)?;
                }
            }
        }
    }

    /// Both nics are ports of one bridge.
    fn is_beside(&self, a: NicId, b: NicId) -> bool {
        let links = show::links(self.world.machine(self.ns).spaces(), self.ns, self.world.now());
        let master = |nic: NicId| {
            let name = self.devices.get(nic.0 as usize)?;
            links.iter().find(|l| l.name == *name)?.master.as_ref().map(|m| m.0)
        };
        master(a).is_some() && master(a) == master(b)
    }
}

/// What the neighbour says that was asked for.
fn arp_reply(asked: &Arp) -> Vec<u8> {
    let mac = neighbour_mac(asked.tip);
    let mut frame = vec![0; ETH_HLEN + ARP_LEN];
    put_ethernet(&mut frame, asked.sha, mac, ETH_P_ARP);
    let reply = Arp { request: false, sha: mac, sip: asked.tip, tha: asked.sha, tip: asked.sip };
    reply.write(&mut frame[ETH_HLEN..]);
    frame
}

fn with_hint(e: SyntaxError) -> String {
    match e.hint {
        Some(hint) => format!("{}; {hint}", e.message),
        None => e.message,
    }
}

/// What is wrong with what a test asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// A command that cannot be run, or fails.
    Command {
        /// As it was typed.
        command: String,
        /// What it prints, or why it cannot be run.
        message: String,
    },
    /// The kernel refuses a request.
    Refused(NlError),
    /// A limit was hit.
    Limit(LimitHit),
    /// No device of that name leads outside.
    NoDevice(String),
}

impl From<ConfigureError> for Error {
    fn from(e: ConfigureError) -> Self {
        match e {
            ConfigureError::Refused(e) => Error::Refused(e),
            ConfigureError::Limit(e) => Error::Limit(e),
        }
    }
}

impl From<LimitHit> for Error {
    fn from(e: LimitHit) -> Self {
        Error::Limit(e)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Command { command, message } => write!(f, "{command}: {message}"),
            Error::Refused(NlError { rules: Some(refused), .. }) => {
                f.write_str(refused.text("iptables-restore").trim_end())
            }
            Error::Refused(e) => e.fmt(f),
            Error::Limit(e) => e.fmt(f),
            Error::NoDevice(name) => write!(f, "no device {name} leads outside"),
        }
    }
}

impl std::error::Error for Error {}
