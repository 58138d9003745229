//! Randomness has no order: a draw is a function of the seed and of what it is for, so that a new pod, program or
//! packet changes nobody else's draws.

use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// A pseudo-random function keyed by the scenario's seed (SipHash-2-4, the function that Linux uses for the same
/// purposes).
#[derive(Clone, Copy, Debug)]
pub struct Prf {
    seed: u64,
}

/// What a draw is for: the first word of its input, so that no two purposes share a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// A device's hardware address (`eth_hw_addr_random`).
    DeviceMac = 1,
    /// A neighbour table's reachable time (`neigh_rand_reach_time`).
    ReachableTime = 2,
    /// The first value of an IP id counter (`ip_idents`).
    IpId = 3,
    /// The ticks that an IP id counter skips (`ip_idents_reserve`).
    IpIdSkip = 4,
    /// A process id, from which ping takes its ICMP echo id.
    ProcessId = 5,
    /// The delay of a proxied ARP answer (`pneigh_enqueue`).
    ProxyDelay = 6,
    /// An ephemeral port.
    EphemeralPort = 7,
    /// What an ICMP error takes of the namespace's credit (`icmp_global_consume`).
    IcmpCredit = 8,
    /// The initial sequence number of a TCP connection (`secure_tcp_seq`).
    TcpIsn = 9,
    /// Where a TCP connection's timestamps begin (`secure_tcp_ts_off`).
    TcpTimestamp = 10,
    /// A SYN cookie (`cookie_hash`).
    SynCookie = 11,
    /// The hash of a connection that its socket gives its packets (`net_tx_rndhash`).
    TxHash = 12,
    /// The hash of a packet's addresses and ports (`__flow_hash_from_keys`).
    FlowHash = 13,
    /// Whether a frame is lost on a link.
    LinkLoss = 16,
    /// The id by which `conntrack` names an entry (`nf_ct_get_id`).
    ConntrackId = 32,
    /// Where the search for a free port begins (`nf_nat_l4proto_unique_tuple`).
    NatPort = 33,
    /// Which connections share a hash bucket with a new one (`early_drop`).
    EarlyDrop = 34,
    /// `-m statistic --mode random` (`statistic_mt`).
    StatisticMatch = 35,
    /// A program's dice (`bpf_get_prandom_u32`).
    BpfRandom = 36,
    /// The key of a set's hash (`hash_ip_create`).
    SetInitval = 37,
    /// The id of a DNS query.
    DnsId = 48,
    /// Which server is asked first (`options rotate`).
    DnsRotate = 49,
    /// The cookie of a DNS query (RFC 7873).
    DnsCookie = 50,
    /// The order of the addresses in an answer (CoreDNS's loadbalance).
    DnsShuffle = 51,
    /// The random part of a pod's name (`SimpleNameGenerator`).
    PodName = 56,
    /// The names and addresses that a container runtime and a CNI plugin make up for a pod.
    Netns = 57,
    /// The address of a Service that has none.
    ClusterIp = 58,
    /// The node port of a Service that has none.
    NodePort = 59,
    /// When a readiness probe is made first.
    ProbePhase = 60,
    /// The hardware address of a device that a network plugin makes on a node.
    PluginMac = 61,
    /// The cookie by which `iperf3` knows a test (`make_cookie`).
    IperfCookie = 64,
    /// What an end of a TLS connection draws.
    Tls = 65,
    /// The private key of a certificate.
    TlsKey = 66,
    /// The key of a TLS server's session tickets.
    TlsTicketKey = 67,
    /// Which endpoint a proxy sends a request to (Envoy's load balancers).
    EnvoyBalance = 80,
    /// What a proxy draws besides: ids of requests, times between retries.
    EnvoyRandom = 81,
    /// Which of a proxy's threads takes a connection (SO_REUSEPORT).
    EnvoyWorker = 82,
}

/// Who draws: the first word of most draws' input. Either a place, a number that one counts to, or a name, by which
/// the draws stay the same when others come or go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt(u64);

impl Salt {
    /// Whoever has this place among its like.
    pub fn place(number: u32) -> Self {
        Salt(u64::from(number))
    }

    /// Whoever has these names, one within the other.
    pub fn named(names: &[&str]) -> Self {
        let mut h = SipHasher24::new_with_keys(0, 0);
        for word in words(names) {
            h.write(&word.to_le_bytes());
        }
        // No place is that high.
        Salt(h.finish() | 1 << 63)
    }

    /// As a word of a draw's input.
    pub fn word(self) -> u64 {
        self.0
    }
}

/// Words for a draw about somebody by name: the names' bytes, each behind its length.
pub fn words(names: &[&str]) -> Vec<u64> {
    let mut words = Vec::new();
    for name in names {
        words.push(name.len() as u64);
        words.extend(
            name.as_bytes().chunks(8).map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
        );
    }
    words
}

/// Inputs of so many words are hashed in one piece.
const MAX_AT_ONCE: usize = 8;

impl Prf {
    /// The function of one scenario's seed.
    pub fn new(seed: u64) -> Self {
        Prf { seed }
    }

    /// 64 random bits for `purpose` and `input`. The same words give the same bits, on every machine.
    pub fn draw(&self, purpose: Purpose, input: &[u64]) -> u64 {
        let mut h = SipHasher24::new_with_keys(self.seed, purpose as u64);
        // In one piece it costs half as much.
        let mut bytes = [0; 8 * MAX_AT_ONCE];
        if let Some(bytes) = bytes.get_mut(..8 * input.len()) {
            for (place, word) in bytes.chunks_exact_mut(8).zip(input) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            return h.hash(bytes);
        }
        for word in input {
            h.write(&word.to_le_bytes());
        }
        h.finish()
    }

    /// A number below `bound` (`get_random_u32_below`): the high half of a 64-bit product, so that no division biases
    /// it. Zero if `bound` is zero.
    pub fn below(&self, purpose: Purpose, input: &[u64], bound: u64) -> u64 {
        ((u128::from(self.draw(purpose, input)) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_pinned() {
        // A change here changes every output of every scenario.
        let prf = Prf::new(7);
        assert_eq!(prf.draw(Purpose::IpId, &[1, 2]), Prf::new(7).draw(Purpose::IpId, &[1, 2]));
        assert_ne!(prf.draw(Purpose::IpId, &[1, 2]), prf.draw(Purpose::IpIdSkip, &[1, 2]));
        assert_eq!(Prf::new(0).draw(Purpose::DeviceMac, &[]), 14_133_241_564_081_050_140);
        // Of any length, as the reference streams it.
        for len in 0..20 {
            let input: Vec<u64> = (1..=len).collect();
            let mut h = SipHasher24::new_with_keys(7, Purpose::IpId as u64);
            h.write(&input.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
            assert_eq!(prf.draw(Purpose::IpId, &input), h.finish(), "{len} words");
        }
    }

    #[test]
    fn names_are_no_places_and_do_not_run_together() {
        let named = |names: &[&str]| Salt::named(names).word();
        assert_ne!(named(&["ab", "c"]), named(&["a", "bc"]));
        assert_ne!(named(&["a"]), named(&["a", ""]));
        assert_eq!(named(&["node-1", "web"]), named(&["node-1", "web"]));
        assert!(named(&[]) > u64::from(u32::MAX), "a place");
        assert_eq!(Salt::place(7).word(), 7);
    }

    #[test]
    fn below_stays_below() {
        let prf = Prf::new(1);
        for bound in [0, 1, 2, 3, 30, 1 << 40] {
            for i in 0..200 {
                let x = prf.below(Purpose::IpId, &[i], bound);
                assert!(x < bound.max(1), "{x} of {bound}");
            }
        }
    }
}
