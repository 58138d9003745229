//! Memory does not grow with the length of a run.

#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; everything is handed on to the system's allocator")]

use podhop_tests::scenarios;
use sim_core::observe::Nowhere;
use sim_core::scenario::{self, Options};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// The peak, in bytes, of a storm of so many frames in labs/l2-loop, with captures and records.
fn peak(frames: u64) -> usize {
    let path = scenarios::root().join(Path::new("scenarios/labs/l2-loop/scenario.yaml"));
    let (_, mut plan) = scenario::load(&path).unwrap_or_else(|e| panic!("{}", e.render(false)));
    plan.config.limits.chain_frames = frames;
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs");
    assert!(report.counts.frames >= frames, "{:?}", report.counts);
    PEAK.load(Ordering::Relaxed)
}

#[test]
fn a_million_frames_need_no_more_than_a_hundred_thousand() {
    let (small, large) = (peak(100_000), peak(1_000_000));
    assert!(large as f64 <= small as f64 * 1.05, "{small} bytes for 100,000 frames, {large} for a million");
}
