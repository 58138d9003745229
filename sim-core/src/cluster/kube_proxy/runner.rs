//! When kube-proxy syncs (pkg/util/async/bounded_frequency_runner.go of Kubernetes 1.30): at once if it may, and
//! otherwise `minSyncPeriod` after the last time.

use crate::base::Time;

/// `iptables.minSyncPeriod` of kube-proxy's configuration, in nanoseconds: 1 s (pkg/proxy/apis/config/v1alpha1:
/// SetDefaults_KubeProxyConfiguration).
pub const DEFAULT_MIN_SYNC_PERIOD_NS: u64 = 1_000_000_000;
/// `burstSyncs`: so many syncs in a row come without delay.
const BURST_SYNCS: u64 = 2;

/// Holds syncs back that come too soon: a bucket of `BURST_SYNCS` tokens, filled by one each `minSyncPeriod`.
#[derive(Clone, Debug)]
pub struct Runner {
    min_period_ns: u64,
    /// What is in the bucket: a token is `min_period_ns`.
    tokens_ns: u64,
    filled: Time,
    /// When the last sync ended.
    last: Time,
}

impl Runner {
    /// One that had nothing to do for long.
    pub fn new(min_period_ns: u64) -> Runner {
        let tokens_ns = min_period_ns.saturating_mul(BURST_SYNCS);
        Runner { min_period_ns, tokens_ns, filled: Time(0), last: Time(0) }
    }

    /// `tryRun`: takes a token.
    ///
    /// # Errors
    /// There is none: when to try again.
    pub fn try_run(&mut self, now: Time) -> Result<(), Time> {
        let filled = self.tokens_ns.saturating_add(now.0.saturating_sub(self.filled.0));
        self.tokens_ns = filled.min(self.min_period_ns.saturating_mul(BURST_SYNCS));
        self.filled = now;
        match self.tokens_ns.checked_sub(self.min_period_ns) {
            Some(rest) => {
                self.tokens_ns = rest;
                Ok(())
            }
            None => Err((self.last + self.min_period_ns).max(now + 1)),
        }
    }

    /// A sync has ended.
    pub fn ran(&mut self, now: Time) {
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::MS;

    #[test]
    fn two_at_once_and_then_one_a_second() {
        let mut runner = Runner::new(DEFAULT_MIN_SYNC_PERIOD_NS);
        let at = |ms: u64| Time(ms * MS);
        for ms in [5000, 5100] {
            assert_eq!(runner.try_run(at(ms)), Ok(()));
            runner.ran(at(ms + 10));
        }
        assert_eq!(runner.try_run(at(5200)), Err(at(6110)));
        assert_eq!(runner.try_run(at(5300)), Err(at(6110)));
        assert_eq!(runner.try_run(at(6110)), Ok(()));
        runner.ran(at(6120));
        assert_eq!(runner.try_run(at(6200)), Err(at(7120)));
        assert_eq!(runner.try_run(at(9000)), Ok(()));
    }

    #[test]
    fn no_period_no_delay() {
        let mut runner = Runner::new(0);
        assert!((0..9).all(|_| runner.try_run(Time(7)).is_ok()));
    }
}
