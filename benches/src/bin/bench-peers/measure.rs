//! CPU time, what it is calibrated by, and ratios of pairs.

use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;

/// The calibration before a pair and the one after it may differ by this much; else the pair does not count.
const STEADY: f64 = 0.03;
/// Steps of the calibration loop.
const STEPS: u64 = 50_000_000;

/// Least, median and greatest of several runs.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one; of an even number of runs the mean of the middle two.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut all: Vec<f64> = values.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let at = |n: usize| all.get(n).copied().unwrap_or(f64::NAN);
        let last = all.len().saturating_sub(1);
        Spread { min: at(0), median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), max: at(last) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median < 1.0 { 3 } else { 2 };
        write!(f, "{:.digits$} / {:.digits$} / {:.digits$}", self.min, self.median, self.max)
    }
}

/// CPU seconds of this process so far.
pub fn cpu_seconds() -> f64 {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// Nanoseconds of CPU time for a fixed piece of integer work: how fast the machine is at this moment.
pub fn calibrate() -> f64 {
    let start = cpu_seconds();
    let (mut x, mut sum) = (88_172_645_463_325_252u64, 0u64);
    for _ in 0..STEPS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        sum = sum.wrapping_add(x.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    black_box(sum);
    (cpu_seconds() - start) * 1e9 / STEPS as f64
}

/// The machine was equally fast before and after.
pub fn steady(before: f64, after: f64) -> bool {
    (before - after).abs() <= STEADY * before.min(after)
}
