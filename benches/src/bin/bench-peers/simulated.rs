//! The simulated side: this process, by its own CPU time.

use crate::measure::cpu_seconds;
use crate::{Case, Cost, Load};
use podhop_benches::lab::Lab;
use podhop_benches::paths::{POD1, POD2};
use podhop_benches::programs::{
    AnyCaptures, Connector, Counts, Pinger, StreamSender, StreamServer, UdpSender, UdpSink,
};
use podhop_benches::rules::{TCP_PORT, UDP_PORT};
use sim_core::kernel::show;
use sim_core::kernel::trace::{DevName, Mute, Sink};
use sim_core::observe::names::Labels;
use sim_core::observe::{Outputs, Recorder, Store};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

/// Packets before the measured ones: tables fill, buffers grow.
const WARM: u32 = 10_000;

/// Packets of a connection that is made and closed.
const CONNECTION: u32 = 6;
/// Bytes of a bulk transfer for each packet on the wire: two segments of 1,448 bytes and their ACK.
const BULK: usize = 2 * 1448 / 3;

/// A network that is simulated.
pub struct Simulated {
    lab: Lab,
    load: Load,
    packets: u32,
    scratch: PathBuf,
}

impl Simulated {
    /// Builds it and warms it up; each run will send `packets` packets. Captures go to a folder below `scratch`.
    ///
    /// # Panics
    /// A packet does not cross as many interfaces as `case` says.
    pub fn new(case: &Case, packets: u32, scratch: &Path) -> Self {
        let lab = Lab::new(&case.setup);
        let mut s = Simulated { lab, load: case.load, packets, scratch: scratch.join("simulated") };
        s.send(WARM, &mut Mute);
        let mut counts = Counts::default();
        let sent = s.send(WARM, &mut counts);
        let crossed = counts.taps / sent;
        // Whether a FIN is acknowledged by a packet of its own depends on who gets the CPU when, as on the real kernel.
        let spare = if let Load::Connect(_) = case.load { 8 } else { 0 };
        let wanted = case.interfaces..=case.interfaces + spare;
        assert!(wanted.contains(&crossed), "a packet crosses {crossed} interfaces in {}", case.name);
        s
    }

    /// Sends packets that nobody but the network sees.
    pub fn run(&mut self) -> anyhow::Result<Cost> {
        let start = cpu_seconds();
        let packets = self.send(self.packets, &mut Mute);
        Ok(Cost { packets, sender: cpu_seconds() - start, ..Cost::default() })
    }

    /// Sends packets that are captured at every interface, as tcpdump does it: a file for each namespace.
    pub fn run_captured(&mut self) -> anyhow::Result<Cost> {
        fs::create_dir_all(&self.scratch)?;
        let start = cpu_seconds();
        let mut captures = AnyCaptures::new(&self.scratch);
        let packets = self.send(self.packets, &mut captures);
        let records = captures.records;
        captures.finish()?;
        let sender = cpu_seconds() - start;
        fs::remove_dir_all(&self.scratch)?;
        Ok(Cost { packets, sender, records, ..Cost::default() })
    }

    /// Sends packets that are recorded: two captures of each interface, which frame each record is, digests of the
    /// files.
    pub fn run_recorded(&mut self) -> anyhow::Result<Cost> {
        fs::create_dir_all(&self.scratch)?;
        let mut store = Folder { root: self.scratch.clone(), files: Vec::new() };
        let start = cpu_seconds();
        let outputs = Outputs { captures: true, ..Outputs::NONE };
        let mut recorder = Recorder::new(&mut store, 0, outputs, Labels::new(), ());
        self.announce(&mut recorder);
        recorder.start();
        let packets = self.send(self.packets, &mut recorder);
        let records = recorder.counts().records;
        recorder.finish(&self.lab.world, self.lab.world.now())?;
        drop(store);
        let sender = cpu_seconds() - start;
        fs::remove_dir_all(&self.scratch)?;
        Ok(Cost { packets, sender, records, ..Cost::default() })
    }

    /// Sends about so many packets; how many it were, or connections.
    fn send(&mut self, packets: u32, sink: &mut dyn Sink) -> u64 {
        let before = self.received();
        let programs = match self.load {
            Load::Udp(to) => {
                self.lab.spawn(POD2, UdpSink::new(UDP_PORT, packets));
                self.lab.spawn(POD1, UdpSender::new(SocketAddrV4::new(to, UDP_PORT), packets));
                2
            }
            Load::Ping(to) => {
                self.lab.spawn(POD1, Pinger::new(to, packets));
                1
            }
            Load::Connect(to) => {
                self.lab.spawn(POD2, StreamServer::new(TCP_PORT, packets / CONNECTION));
                self.lab.spawn(POD1, Connector::new(SocketAddrV4::new(to, TCP_PORT), packets / CONNECTION));
                2
            }
            Load::Bulk(to) => {
                self.lab.spawn(POD2, StreamServer::new(TCP_PORT, 1));
                self.lab.spawn(POD1, StreamSender::new(SocketAddrV4::new(to, TCP_PORT), packets as usize * BULK));
                2
            }
        };
        self.lab.wait(programs, sink);
        match self.load {
            Load::Udp(_) | Load::Ping(_) => u64::from(packets),
            Load::Connect(_) => u64::from(packets / CONNECTION),
            Load::Bulk(_) => self.received() - before,
        }
    }

    /// Packets that the pods have received.
    fn received(&self) -> u64 {
        let stats = [POD1, POD2].map(|pod| {
            let ns = self.lab.ns(pod);
            let machine = self.lab.world.machine(ns);
            let links = show::links(machine.spaces(), ns, machine.now());
            links.iter().filter(|link| link.name == "eth0").map(|link| link.stats.rx_packets).sum::<u64>()
        });
        stats.iter().sum()
    }

    /// The listener came late: it is told the names of what is there.
    fn announce(&self, sink: &mut dyn Sink) {
        for machine in self.lab.world.machines() {
            for (ns, name) in machine.spaces().iter() {
                sink.namespace(ns, name);
                for link in show::links(machine.spaces(), ns, machine.now()) {
                    let (name, arphrd, mac) = (link.name, link.arphrd, link.address);
                    let dev = DevName { ns, dev: link.index, name, arphrd, mac, addrs: vec![] };
                    sink.device(&dev);
                }
            }
        }
    }
}

/// Files in a folder, each opened once.
struct Folder {
    root: PathBuf,
    files: Vec<(String, File)>,
}

impl Store for Folder {
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, file)) = self.files.iter_mut().find(|(p, _)| p == path) {
            return file.write_all(bytes);
        }
        let whole = self.root.join(path);
        fs::create_dir_all(whole.parent().unwrap_or(&self.root))?;
        let mut file = File::create(whole)?;
        file.write_all(bytes)?;
        self.files.push((path.to_owned(), file));
        Ok(())
    }
}
