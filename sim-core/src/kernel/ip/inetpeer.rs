//! Mirrors net/ipv4/inetpeer.c: what is remembered of a remote address, beyond any route: how many ICMP errors it may
//! get, how many redirects it ignored, how many fragments it sent.

use crate::kernel::timer::HZ;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// inet_peer_threshold: as many are remembered; those idle for [`MIN_TTL`] make room.
pub const MAX_PEERS: usize = 65_536 + 128;
/// inet_peer_minttl, in ticks.
const MIN_TTL: u64 = 120 * HZ;
/// XRLIM_BURST_FACTOR: as many errors in a row.
const BURST_FACTOR: u64 = 6;
/// A new peer's bucket is full: it was last used long ago.
const FULL_AFTER: u64 = 60 * HZ;
/// ip_rt_error_cost: ticks that an error about a route costs.
const ERROR_COST: u64 = HZ;
/// ip_rt_error_burst
const ERROR_BURST: u64 = 5 * HZ;
/// ip_rt_redirect_load, in ticks: doubled with each redirect that was ignored.
const REDIRECT_LOAD: u64 = HZ / 50;
/// ip_rt_redirect_number: after so many nothing is sent any more.
const REDIRECT_NUMBER: u32 = 9;
/// ip_rt_redirect_silence: after such a pause it starts anew.
const REDIRECT_SILENCE: u64 = REDIRECT_LOAD << (REDIRECT_NUMBER + 1);

/// The peers of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    peers: FxHashMap<Ipv4Addr, Peer>,
}

/// struct inet_peer. Times and tokens in ticks.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Peer {
    used: u64,
    rate_last: u64,
    rate_tokens: u64,
    redirects: u32,
    /// Fragments that came from there (rid).
    pub fragments: u32,
    /// Draws made for it.
    pub draws: u64,
}

impl Peers {
    /// inet_getpeer: none if the table is full.
    pub(in crate::kernel) fn entry(&mut self, addr: Ipv4Addr, now: u64) -> Option<&mut Peer> {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&addr) {
            self.peers.retain(|_, p| now.saturating_sub(p.used) < MIN_TTL);
            if self.peers.len() >= MAX_PEERS {
                return None;
            }
        }
        let rate_last = now.wrapping_sub(FULL_AFTER);
        let fresh = Peer { used: now, rate_last, rate_tokens: 0, redirects: 0, fragments: 0, draws: 0 };
        let peer = self.peers.entry(addr).or_insert(fresh);
        peer.used = now;
        Some(peer)
    }
}

impl Peer {
    /// inet_peer_xrlim_allow: one token in `timeout` ticks, six at once.
    pub fn xrlim_allow(&mut self, now: u64, timeout: u64) -> bool {
        self.refill(now, BURST_FACTOR * timeout);
        self.take(timeout)
    }

    /// The bucket of ip_error, which shares its tokens and has less room.
    pub fn error_allow(&mut self, now: u64) -> bool {
        self.refill(now, ERROR_BURST);
        self.take(ERROR_COST)
    }

    /// The pacing of ip_rt_send_redirect.
    pub fn redirect_allow(&mut self, now: u64) -> bool {
        if now.wrapping_sub(self.rate_last) > REDIRECT_SILENCE {
            (self.rate_tokens, self.redirects) = (0, 0);
        }
        if self.redirects >= REDIRECT_NUMBER {
            self.rate_last = now;
            return false;
        }
        if self.redirects > 0 && now.wrapping_sub(self.rate_last) <= REDIRECT_LOAD << self.redirects {
            return false;
        }
        self.rate_last = now;
        self.redirects += 1;
        true
    }

    fn refill(&mut self, now: u64, burst: u64) {
        let elapsed = now.wrapping_sub(self.rate_last);
        self.rate_tokens = self.rate_tokens.saturating_add(elapsed).min(burst);
        self.rate_last = now;
    }

    fn take(&mut self, cost: u64) -> bool {
        let enough = self.rate_tokens >= cost;
        if enough {
            self.rate_tokens -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn peer(peers: &mut Peers) -> &mut Peer {
        peers.entry(ADDR, 1000).unwrap()
    }

    #[test]
    fn six_errors_at_once_then_one_a_second() {
        let mut peers = Peers::default();
        let p = peer(&mut peers);
        assert_eq!((0..9).filter(|_| p.xrlim_allow(1000, HZ)).count(), 6);
        assert!(!p.xrlim_allow(1000 + HZ - 1, HZ));
        assert!(p.xrlim_allow(1000 + HZ, HZ));
    }

    #[test]
    fn errors_about_routes_cost_two() {
        let mut peers = Peers::default();
        let p = peer(&mut peers);
        let both = |p: &mut Peer, now| p.error_allow(now) && p.xrlim_allow(now, HZ);
        assert_eq!((0..9).filter(|_| both(p, 1000)).count(), 2);
        // Whoever goes on asking takes the one token that comes in a second and never gets to two: as measured on 6.18.
        assert_eq!((1..=20).filter(|i| both(p, 1000 + i * HZ)).count(), 0);
        assert!(both(p, 1000 + 22 * HZ), "after two seconds of silence");
    }

    #[test]
    fn redirects_slow_down_and_stop() {
        let mut peers = Peers::default();
        let p = peer(&mut peers);
        let sent: Vec<u64> = (1000..1000 + 30 * HZ).filter(|now| p.redirect_allow(*now)).collect();
        let gaps: Vec<u64> = sent.windows(2).map(|w| w[1] - w[0]).collect();
        assert_eq!(gaps, [11, 21, 41, 81, 161, 321, 641, 1281], "20 ms << n, and a tick more");
        let last = 1000 + 30 * HZ;
        assert!(!p.redirect_allow(last), "nine were ignored");
        assert!(p.redirect_allow(last + REDIRECT_SILENCE + 1), "after 20.48 s of silence it starts anew");
    }
}
