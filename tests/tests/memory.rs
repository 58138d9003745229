//! Memory does not grow with the length of a run.

#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; everything is handed on to the system's allocator")]
#![allow(clippy::disallowed_types, reason = "how long a clone takes is measured, outside the simulation")]

use podhop_tests::big_cluster::{self, Size};
use podhop_tests::scenarios;
use sim_core::base::Time;
use sim_core::base::time::SEC;
use sim_core::engine::World;
use sim_core::observe::{Memory, Nowhere, Outputs};
use sim_core::scenario::{self, Disk, Options, Plan, Replay};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which knows how much is in use and how much was.
struct Gauge;

// SAFETY: every call goes to the system's allocator with the arguments that it came with.
unsafe impl GlobalAlloc for Gauge {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static GAUGE: Gauge = Gauge;

/// Who measures is alone.
static ALONE: Mutex<()> = Mutex::new(());

/// 200 nodes, 2,000 pods and 500 Services are up in 300 MB; `--nocapture` prints how much it is, and how long it takes.
/// A release build on an idle machine takes less than 2 seconds; here it may be neither.
#[test]
fn a_large_cluster_is_up_soon_and_in_little_memory() {
    let _alone = ALONE.lock().expect("nobody failed");
    let files = big_cluster::files(Size { nodes: 200, pods: 2_000, services: 500 });
    let sources = Memory { files: files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect() };
    let (before, start) = (LIVE.load(Ordering::Relaxed), Instant::now());
    PEAK.store(before, Ordering::Relaxed);
    let (_, plan) =
        scenario::load(&sources, Path::new("scenario.yaml"), None).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it is set up");
    let (bytes, took) = (PEAK.load(Ordering::Relaxed) - before, start.elapsed());
    println!("{} MB, {} ms", bytes / 1_000_000, took.as_millis());
    assert_eq!(report.exit_code(), 0, "{:?}", report.expectations);
    assert!(bytes < 300_000_000, "{bytes} bytes");
    assert!(took.as_secs() < 60, "{took:?}");
}

fn plan(lab: &str) -> Plan {
    let path = scenarios::root().join(Path::new("scenarios/labs")).join(lab).join("scenario.yaml");
    scenario::load(&Disk, &path, None).unwrap_or_else(|e| panic!("{}", e.render(false))).1
}

/// The peak, in bytes, of a storm of so many frames in labs/l2-loop, with captures and records.
fn peak(frames: u64) -> usize {
    let mut plan = plan("l2-loop");
    plan.config.limits.chain_frames = frames;
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs");
    assert!(report.counts.frames >= frames, "{:?}", report.counts);
    PEAK.load(Ordering::Relaxed)
}

#[test]
fn a_million_frames_need_no_more_than_a_hundred_thousand() {
    let _alone = ALONE.lock().expect("nobody failed");
    let (small, large) = (peak(100_000), peak(1_000_000));
    assert!(large as f64 <= small as f64 * 1.05, "{small} bytes for 100,000 frames, {large} for a million");
}

/// The bytes of a clone of a world, and how long it takes; `--nocapture` prints both.
#[test]
fn a_checkpoint_is_no_larger_than_the_state() {
    let _alone = ALONE.lock().expect("nobody failed");
    let options = Options { outputs: Outputs::NONE, ..Options::default() };
    for (lab, at) in [("handshake", SEC / 5), ("nat-by-hand", SEC / 5), ("long-fat-link", SEC)] {
        let (plan, mut nowhere, mut nobody) = (plan(lab), Nowhere, ());
        let mut replay = Replay::new(&plan, &mut nowhere, options, &mut nobody).expect("it is set up");
        let world = replay.at(Time(at)).expect("no limit");
        let before = LIVE.load(Ordering::Relaxed);
        let clones: Vec<(World, u128)> = (0..100)
            .map(|_| {
                let start = Instant::now();
                (world.clone(), start.elapsed().as_nanos())
            })
            .collect();
        let bytes = (LIVE.load(Ordering::Relaxed) - before) / clones.len();
        let mut took: Vec<u128> = clones.iter().map(|(_, took)| *took).collect();
        took.sort_unstable();
        println!("{lab}: {} KiB, {} us", bytes >> 10, took[took.len() / 2] / 1_000);
        // The largest one has a bandwidth-delay product of frames on its way.
        assert!((1 << 10..1 << 20).contains(&bytes), "{lab}: {bytes} bytes");
    }
}
