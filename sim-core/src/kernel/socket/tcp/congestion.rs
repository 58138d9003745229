//! Mirrors net/ipv4/tcp_cong.c (Reno) and net/ipv4/tcp_cubic.c: how many segments may be in flight. Read RFC 5681 and
//! RFC 9438 before editing.

use super::after;
use super::sock::Sock;
use crate::kernel::timer::HZ;

/// net.ipv4.tcp_congestion_control
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Algorithm {
    Reno,
    Cubic,
}

impl Algorithm {
    pub fn find(name: &str) -> Option<Self> {
        [Algorithm::Reno, Algorithm::Cubic].into_iter().find(|a| a.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Reno => "reno",
            Algorithm::Cubic => "cubic",
        }
    }
}

/// What the algorithm keeps (icsk_ca_priv).
#[derive(Clone, Debug, Default)]
pub(super) enum Congestion {
    #[default]
    Reno,
    Cubic(Box<Cubic>),
}

/// struct bictcp
#[derive(Clone, Debug, Default)]
pub(super) struct Cubic {
    cnt: u32,
    last_max_cwnd: u32,
    last_cwnd: u32,
    last_time: u64,
    bic_origin_point: u32,
    bic_k: u32,
    /// The least round trip, in microseconds.
    delay_min: u32,
    epoch_start: u64,
    ack_cnt: u32,
    tcp_cwnd: u32,
    sample_cnt: u32,
    found: bool,
    round_start: u64,
    end_seq: u32,
    last_ack: u64,
    curr_rtt: u32,
}

/// beta: 717/1024 remain after a loss.
const BETA: u64 = 717;
/// BICTCP_BETA_SCALE
const BETA_SCALE: u64 = 1024;
/// bic_scale: 41/1024 of a cubic second.
const BIC_SCALE: u64 = 41;
/// BICTCP_HZ as a shift.
const BICTCP_HZ: u32 = 10;
/// beta_scale: 8 (1024 + 717) / 3 / (1024 - 717)
const TCP_FRIENDLY_SCALE: u64 = 8 * (BETA_SCALE + BETA) / 3 / (BETA_SCALE - BETA);
/// cube_rtt_scale
const CUBE_RTT_SCALE: u64 = BIC_SCALE * 10;
/// cube_factor: 2^(10 + 3 * BICTCP_HZ) / (bic_scale * 10)
const CUBE_FACTOR: u64 = (1 << (10 + 3 * BICTCP_HZ)) / (BIC_SCALE * 10);
/// HYSTART_MIN_SAMPLES
const HYSTART_MIN_SAMPLES: u32 = 8;
/// HYSTART_DELAY_MIN and HYSTART_DELAY_MAX in microseconds.
const HYSTART_DELAY_MIN: u32 = 4000;
const HYSTART_DELAY_MAX: u32 = 16_000;
/// hystart_low_window
const HYSTART_LOW_WINDOW: u32 = 16;
/// hystart_ack_delta_us
const HYSTART_ACK_DELTA_US: u64 = 2000;

impl Congestion {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Reno => Congestion::Reno,
            Algorithm::Cubic => Congestion::Cubic(Box::default()),
        }
    }

    /// Which it is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Congestion::Reno => Algorithm::Reno,
            Congestion::Cubic(_) => Algorithm::Cubic,
        }
    }

    /// tcp_init_congestion_control
    pub fn init(&mut self, algorithm: Algorithm) {
        match (self, algorithm) {
            (Congestion::Cubic(c), Algorithm::Cubic) => **c = Cubic::default(),
            (other, _) => *other = Congestion::new(algorithm),
        }
    }

    /// CA_EVENT_TX_START (cubictcp_cwnd_event): an idle time is no time in which the window could have grown.
    pub fn tx_start(&mut self, now: u64, lsndtime: u64) {
        if let Congestion::Cubic(c) = self {
            let delta = now.saturating_sub(lsndtime);
            if c.epoch_start != 0 && delta > 0 {
                c.epoch_start = (c.epoch_start + delta).min(now);
            }
        }
    }

    /// tcp_ca_state Loss (cubictcp_state).
    pub fn loss(&mut self, now_us: u64, snd_nxt: u32) {
        if let Congestion::Cubic(c) = self {
            **c = Cubic { delay_min: 0, ..Cubic::default() };
            c.hystart_reset(now_us, snd_nxt);
        }
    }
}

impl Sock {
    /// icsk_ca_ops->ssthresh: what is left after a loss.
    pub(super) fn ca_ssthresh(&mut self) -> u32 {
        let cwnd = self.snd_cwnd;
        match &mut self.ca {
            Congestion::Reno => (cwnd >> 1).max(2),
            Congestion::Cubic(c) => {
                c.epoch_start = 0;
                // Fast convergence: another flow may want its share.
                c.last_max_cwnd = if cwnd < c.last_max_cwnd {
                    (u64::from(cwnd) * (BETA_SCALE + BETA) / (2 * BETA_SCALE)) as u32
                } else {
                    cwnd
                };
                ((u64::from(cwnd) * BETA / BETA_SCALE) as u32).max(2)
            }
        }
    }

    /// icsk_ca_ops->cong_avoid: `acked` segments were delivered.
    pub(super) fn cong_avoid(&mut self, now: u64, now_us: u64, ack: u32, acked: u32) {
        if !self.is_cwnd_limited() {
            return;
        }
        let mut acked = acked;
        if self.in_slow_start() {
            if let Congestion::Cubic(c) = &mut self.ca
                && after(ack, c.end_seq)
            {
                c.hystart_reset(now_us, self.snd_nxt);
            }
            acked = self.slow_start(acked);
            if acked == 0 {
                return;
            }
        }
        let cwnd = self.snd_cwnd;
        let cnt = match &mut self.ca {
            Congestion::Reno => cwnd,
            Congestion::Cubic(c) => c.update(now, cwnd, acked),
        };
        self.cong_avoid_ai(cnt, acked);
    }

    /// tcp_is_cwnd_limited (RFC 7661 in spirit): only a window that is used grows.
    pub(super) fn is_cwnd_limited(&self) -> bool {
        if self.is_cwnd_limited {
            return true;
        }
        self.in_slow_start() && self.snd_cwnd < 2 * self.max_packets_out
    }

    /// tcp_slow_start: what is left of `acked`.
    fn slow_start(&mut self, acked: u32) -> u32 {
        let cwnd = (self.snd_cwnd + acked).min(self.snd_ssthresh);
        let left = acked - (cwnd - self.snd_cwnd);
        self.snd_cwnd = cwnd;
        left
    }

    /// tcp_cong_avoid_ai: one more for each `w` that were acknowledged.
    fn cong_avoid_ai(&mut self, w: u32, acked: u32) {
        if self.snd_cwnd_cnt >= w {
            self.snd_cwnd_cnt = 0;
            self.snd_cwnd += 1;
        }
        self.snd_cwnd_cnt += acked;
        if self.snd_cwnd_cnt >= w {
            let delta = self.snd_cwnd_cnt / w.max(1);
            self.snd_cwnd_cnt -= delta * w;
            self.snd_cwnd += delta;
        }
    }

    /// icsk_ca_ops->pkts_acked (cubictcp_acked): the least delay, and whether slow start should end.
    pub(super) fn pkts_acked(&mut self, now_us: u64, rtt_us: Option<u64>) {
        let Some(rtt) = rtt_us else { return };
        let slow = self.in_slow_start();
        let (una, nxt, cwnd) = (self.snd_una, self.snd_nxt, self.snd_cwnd);
        let ack_delay_us = self.hystart_ack_delay();
        let Congestion::Cubic(c) = &mut self.ca else { return };
        // The first round after a loss says nothing.
        if c.epoch_start != 0 && now_us / (1_000_000 / HZ) < c.epoch_start + HZ {
            return;
        }
        let delay = rtt.clamp(1, u64::from(u32::MAX)) as u32;
        if c.delay_min == 0 || c.delay_min > delay {
            c.delay_min = delay;
        }
        if !c.found && slow && cwnd >= HYSTART_LOW_WINDOW && c.hystart_update(now_us, (una, nxt), delay, ack_delay_us) {
            self.snd_ssthresh = cwnd;
        }
    }

    /// sk_pacing_rate in bytes a second (tcp_update_pacing_rate); without limit while no round trip is known.
    pub(super) fn pacing_rate(&self) -> u64 {
        if self.srtt_us == 0 {
            return u64::MAX;
        }
        let percent = if self.snd_cwnd < self.snd_ssthresh / 2 { 200 } else { 120 };
        let window = u64::from(self.mss_cache) * u64::from(self.snd_cwnd.max(self.packets_out));
        window * (8 * 1_000_000 / 100) * percent / u64::from(self.srtt_us)
    }

    /// hystart_ack_delay: how long the ACKs of four large segments may take in the middle, in microseconds.
    fn hystart_ack_delay(&self) -> u64 {
        match self.pacing_rate() {
            0 => 0,
            rate => (u64::from(super::tx::GSO_MAX_SIZE) * 4 * 1_000_000 / rate).min(1000),
        }
    }

    /// icsk_ca_ops->undo_cwnd (tcp_reno_undo_cwnd)
    pub(super) fn undo_cwnd(&self) -> u32 {
        self.snd_cwnd.max(self.prior_cwnd)
    }
}

impl Cubic {
    /// bictcp_hystart_reset
    fn hystart_reset(&mut self, now_us: u64, snd_nxt: u32) {
        (self.round_start, self.last_ack) = (now_us, now_us);
        self.end_seq = snd_nxt;
        self.curr_rtt = u32::MAX;
        self.sample_cnt = 0;
    }

    /// hystart_update: ACKs spread over half the least round trip, or a delay that grows, end slow start.
    fn hystart_update(&mut self, now_us: u64, (una, nxt): (u32, u32), delay: u32, ack_delay_us: u64) -> bool {
        if after(una, self.end_seq) {
            self.hystart_reset(now_us, nxt);
        }
        if now_us.saturating_sub(self.last_ack) <= HYSTART_ACK_DELTA_US {
            self.last_ack = now_us;
            let threshold = (u64::from(self.delay_min) + ack_delay_us) >> 1;
            if now_us.saturating_sub(self.round_start) > threshold {
                self.found = true;
                return true;
            }
        }
        self.curr_rtt = self.curr_rtt.min(delay);
        if self.sample_cnt < HYSTART_MIN_SAMPLES {
            self.sample_cnt += 1;
        } else {
            let more = (self.delay_min >> 3).clamp(HYSTART_DELAY_MIN, HYSTART_DELAY_MAX);
            if self.curr_rtt > self.delay_min.saturating_add(more) {
                self.found = true;
                return true;
            }
        }
        false
    }

    /// bictcp_update: after how many ACKs the window grows by one.
    fn update(&mut self, now: u64, cwnd: u32, acked: u32) -> u32 {
        self.ack_cnt += acked;
        if self.last_cwnd == cwnd && now.saturating_sub(self.last_time) <= HZ / 32 {
            return self.cnt.max(2);
        }
        // The curve is computed once a tick at most.
        if !(self.epoch_start != 0 && now == self.last_time) {
            self.curve(now, cwnd);
        }
        self.friendly(cwnd);
        self.cnt.max(2)
    }

    fn curve(&mut self, now: u64, cwnd: u32) {
        (self.last_cwnd, self.last_time) = (cwnd, now);
        if self.epoch_start == 0 {
            self.epoch_start = now;
            self.ack_cnt = self.ack_cnt.max(1);
            self.tcp_cwnd = cwnd;
            if self.last_max_cwnd <= cwnd {
                (self.bic_k, self.bic_origin_point) = (0, cwnd);
            } else {
                let distance = u64::from(self.last_max_cwnd - cwnd);
                self.bic_k = cubic_root(CUBE_FACTOR * distance);
                self.bic_origin_point = self.last_max_cwnd;
            }
        }
        // In units of 1/1024 s.
        let elapsed_us = (now - self.epoch_start) * (1_000_000 / HZ) + u64::from(self.delay_min);
        let t = (elapsed_us << BICTCP_HZ) / 1_000_000;
        let k = u64::from(self.bic_k);
        let offs = t.abs_diff(k);
        // offs is some minutes at most before the window is as large as it gets.
        let offs = offs.min(1 << 20);
        let delta = ((CUBE_RTT_SCALE * offs * offs / 1024 * offs) >> 30) as u32;
        let target = if t < k {
            self.bic_origin_point.saturating_sub(delta)
        } else {
            self.bic_origin_point.saturating_add(delta)
        };
        self.cnt = if target > cwnd { cwnd / (target - cwnd) } else { 100 * cwnd };
        // Very slow growth at the beginning, when nothing is known.
        if self.last_max_cwnd == 0 && self.cnt > 20 {
            self.cnt = 20;
        }
    }

    /// The window that Reno would have.
    fn friendly(&mut self, cwnd: u32) {
        let delta = ((u64::from(cwnd) * TCP_FRIENDLY_SCALE) >> 3).max(1) as u32;
        while self.ack_cnt > delta {
            self.ack_cnt -= delta;
            self.tcp_cwnd += 1;
        }
        if self.tcp_cwnd > cwnd {
            let most = cwnd / (self.tcp_cwnd - cwnd);
            self.cnt = self.cnt.min(most);
        }
    }
}

/// The cube root, rounded down.
fn cubic_root(a: u64) -> u32 {
    let (mut low, mut high) = (0u64, 2_642_245);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if middle * middle * middle <= a { low = middle } else { high = middle - 1 }
    }
    low as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        for (a, root) in [(0, 0), (1, 1), (7, 1), (8, 2), (26, 2), (27, 3), (1 << 60, 1 << 20), (u64::MAX, 2_642_245)] {
            assert_eq!(cubic_root(a), root, "{a}");
        }
    }
}
