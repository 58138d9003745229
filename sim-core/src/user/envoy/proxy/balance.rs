//! Which endpoint a request goes to (source/common/upstream/load_balancer_impl.cc), for endpoints of equal weight.

use super::config::{Cluster, LbPolicy};
use super::random::Random;
use crate::base::Prf;
use crate::base::rng::{self, Purpose};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// What is drawn for one cluster by one worker.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    random: Random,
    /// RoundRobinLoadBalancer's rr_index.
    next: u64,
}

impl Balancer {
    /// A worker's, for a cluster: round robin begins at random.
    pub fn new(prf: &Prf, whose: &[u64], cluster: &str) -> Self {
        let whose = [whose, &rng::words(&[cluster])].concat();
        let mut random = Random::new(prf, Purpose::EnvoyBalance, &whose);
        let next = random.draw();
        Balancer { random, next }
    }

    /// An endpoint's place; none if there is no endpoint. `active` has how many requests are under way to each.
    /// Endpoints that were `tried` are drawn again, so often.
    pub fn choose(
        &mut self,
        cluster: &Cluster,
        active: &BTreeMap<SocketAddrV4, u32>,
        tried: &[SocketAddrV4],
        attempts: u32,
    ) -> Option<usize> {
        let count = cluster.endpoints.len();
        if count == 0 {
            return None;
        }
        let address = |n: usize| cluster.endpoints[n].address;
        let mut chosen = 0;
        for _ in 0..=attempts {
            chosen = match cluster.lb_policy {
                LbPolicy::RoundRobin => {
                    let at = self.next;
                    self.next = at.wrapping_add(1);
                    (at % count as u64) as usize
                }
                LbPolicy::Random => self.random.below(count as u64) as usize,
                LbPolicy::LeastRequest => {
                    let (first, second) =
                        (self.random.below(count as u64) as usize, self.random.below(count as u64) as usize);
                    let load = |n: usize| active.get(&address(n)).copied().unwrap_or_default();
                    if load(second) < load(first) { second } else { first }
                }
            };
            if !tried.contains(&address(chosen)) {
                break;
            }
        }
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Endpoint;
    use super::*;

    fn cluster(lb_policy: LbPolicy, count: u8) -> Cluster {
        let endpoint = |n| Endpoint { address: SocketAddrV4::new([10, 0, 0, n].into(), 80), identity: None };
        Cluster { lb_policy, endpoints: (1..=count).map(endpoint).collect(), ..Cluster::outbound("web", 80) }
    }

    #[test]
    fn policies() {
        let mut choose = {
            let mut balancer = Balancer::new(&Prf::new(1), &[7], "web");
            move |cluster: &Cluster, active: &BTreeMap<_, _>, tried: &[_]| balancer.choose(cluster, active, tried, 5)
        };
        let none = BTreeMap::new();
        let robin = cluster(LbPolicy::RoundRobin, 3);
        let first = choose(&robin, &none, &[]).unwrap();
        for turn in 1..7 {
            assert_eq!(choose(&robin, &none, &[]), Some((first + turn) % 3));
        }
        let random = cluster(LbPolicy::Random, 3);
        let drawn: Vec<usize> = (0..60).map(|_| choose(&random, &none, &[]).unwrap()).collect();
        for n in 0..3 {
            assert!((10..35).contains(&drawn.iter().filter(|d| **d == n).count()), "{drawn:?}");
        }
        // The busy one is taken only when it is drawn twice.
        let least = cluster(LbPolicy::LeastRequest, 2);
        let busy = BTreeMap::from([(least.endpoints[0].address, 3)]);
        let drawn = (0..80).filter(|_| choose(&least, &busy, &[]) == Some(0)).count();
        assert!((8..32).contains(&drawn), "{drawn}");
        // One that was tried is drawn again.
        for _ in 0..9 {
            assert_ne!(choose(&robin, &none, &[robin.endpoints[1].address]), Some(1));
        }
        assert_eq!(choose(&cluster(LbPolicy::Random, 0), &none, &[]), None);
        assert_eq!(choose(&cluster(LbPolicy::Random, 1), &none, &[random.endpoints[0].address]), Some(0));
    }
}
