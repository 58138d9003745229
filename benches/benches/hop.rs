//! What it costs to carry a packet across an interface, by what lies between two pods: a bridge, a router, a router
//! that translates addresses, or the nodes of a cluster. Warm, and nobody listens.
//!
//! Criterion's throughput counts interfaces, so its `elem/s` are interfaces a second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use podhop_benches::lab::Lab;
use podhop_benches::paths::{self, PEER, POD1, POD2, SERVICE};
use podhop_benches::programs::{Counts, Pinger, UdpSender, UdpSink};
use podhop_benches::rules::{UDP_PORT, cluster_ip};
use sim_core::kernel::trace::{Mute, Sink};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Packets in one measured run.
const PACKETS: u32 = 1_000;
/// Interfaces that a ping and its answer cross on one bridge, and a datagram between nodes.
const EIGHT: u64 = 8;
/// Interfaces that a datagram crosses from pod to pod through a router.
const FOUR: u64 = 4;

fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop");
    group.throughput(Throughput::Elements(u64::from(PACKETS) * EIGHT));
    let mut lab = Lab::new(&paths::bridge());
    ping(&mut lab, &mut Mute);
    group.bench_function("l2", |b| b.iter(|| ping(&mut lab, &mut Mute)));
    group.bench_function("l2-counting", |b| {
        b.iter(|| {
            let mut counts = Counts::default();
            ping(&mut lab, &mut counts);
            // Once in a while neighbours ask for each other again.
            assert!(counts.taps >= u64::from(PACKETS) * EIGHT);
            counts.bytes
        });
    });
    group.throughput(Throughput::Elements(u64::from(PACKETS) * FOUR));
    for (name, nat, to) in [("l3", false, PEER), ("nat", true, SERVICE)] {
        let mut lab = Lab::new(&paths::router(nat));
        udp(&mut lab, to.into());
        group.bench_function(name, |b| b.iter(|| udp(&mut lab, to.into())));
    }
    group.throughput(Throughput::Elements(u64::from(PACKETS) * EIGHT));
    for services in [10, 1_000] {
        let mut lab = Lab::new(&paths::cluster(services));
        let last = cluster_ip(services / 2 - 1);
        udp(&mut lab, last);
        group.bench_function(format!("cluster-{services}"), |b| b.iter(|| udp(&mut lab, last)));
    }
    group.finish();
}

/// One program that sends all pings, from its start to its end.
fn ping(lab: &mut Lab, sink: &mut dyn Sink) {
    lab.spawn(POD1, Pinger::new(PEER, PACKETS));
    lab.wait(1, sink);
}

/// A program that sends all datagrams and one that receives them, from their starts to their ends.
fn udp(lab: &mut Lab, to: Ipv4Addr) {
    lab.spawn(POD2, UdpSink::new(UDP_PORT, PACKETS));
    lab.spawn(POD1, UdpSender::new(SocketAddrV4::new(to, UDP_PORT), PACKETS));
    lab.wait(2, &mut Mute);
}

criterion_group!(benches, hop);
criterion_main!(benches);
