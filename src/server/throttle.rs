//! Slows down the guessing of passwords: token buckets per pair of user name and address, and per address (contract §2).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// A bucket: so many tries at once, then one more each time that a token has come back.
#[derive(Debug, Clone, Copy)]
struct Limit {
    burst: i64,
    token_us: i64,
}

/// Per user name and address: 10 failures, then one more every 6 s.
const PER_PAIR: Limit = Limit { burst: 10, token_us: 6_000_000 };
/// Per address: 300 failures, then one more every second.
const PER_ADDRESS: Limit = Limit { burst: 300, token_us: 1_000_000 };
/// Buckets of either kind that are kept; full ones need no keeping.
const BUCKETS_MAX: usize = 16_384;

/// Counts failed logins. Every try takes a token before the password is looked at, so that tries at the same time can't
/// get past the limit; a success gives it back.
#[derive(Default)]
pub(crate) struct Throttle {
    /// Keys are hashed by a secret of this process: names may be long, and nobody can make two of them collide.
    hasher: RandomState,
    buckets: Mutex<Both>,
}

#[derive(Default)]
struct Both {
    pairs: Buckets,
    addresses: Buckets,
}

/// For each bucket that is not full, the time at which it will be, in microseconds.
#[derive(Default)]
struct Buckets(HashMap<u64, i64>);

/// A try that may go ahead; to be given back when it succeeds.
#[derive(Debug)]
pub(crate) struct Reservation {
    pair: u64,
    address: u64,
}

impl Throttle {
    /// Takes a token for a try.
    ///
    /// # Errors
    /// How long to wait, when there is none.
    pub(crate) fn reserve(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Result<Reservation, Duration> {
        let network = address.map(network);
        let taken = Reservation { pair: self.hasher.hash_one((name, network)), address: self.hasher.hash_one(network) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.addresses.take(taken.address, PER_ADDRESS, now)?;
        if let Err(wait) = buckets.pairs.take(taken.pair, PER_PAIR, now) {
            // The try does not go ahead, so that it counts for nothing.
            buckets.addresses.give_back(taken.address, PER_ADDRESS);
            return Err(wait);
        }
        Ok(taken)
    }

    /// Gives the token of a try back: it was no failure.
    pub(crate) fn give_back(&self, Reservation { pair, address }: Reservation) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.pairs.give_back(pair, PER_PAIR);
        buckets.addresses.give_back(address, PER_ADDRESS);
    }
}

/// Gives what is counted as one address: of IPv6 the first 64 bits, since one machine has all the others to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Buckets {
    fn take(&mut self, key: u64, limit: Limit, Timestamp(now): Timestamp) -> Result<(), Duration> {
        let Limit { burst, token_us } = limit;
        // When a bucket that is empty now will be full.
        let when_empty = now.saturating_add(burst * token_us);
        // A bucket can't be emptier than empty: then the clock was set back, and the time in it means nothing any more.
        let known = self.0.get(&key).copied().filter(|full_at| *full_at <= when_empty);
        let full_at = known.map_or(now, |full_at| full_at.max(now));
        let next = full_at.saturating_add(token_us);
        if next > when_empty {
            return Err(Duration::from_micros(u64::try_from(next - when_empty).unwrap_or(0)));
        }
        if self.0.len() >= BUCKETS_MAX && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        self.0.insert(key, next);
        Ok(())
    }

    fn give_back(&mut self, key: u64, limit: Limit) {
        if let Some(full_at) = self.0.get_mut(&key) {
            *full_at = full_at.saturating_sub(limit.token_us);
        }
    }

    /// Drops the buckets that are full by now; if none is, the fullest.
    fn make_room(&mut self, now: i64) {
        self.0.retain(|_, full_at| *full_at > now);
        if self.0.len() >= BUCKETS_MAX {
            let fullest = self.0.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| *key);
            fullest.map(|key| self.0.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));
    const START: Timestamp = Timestamp(1_000_000_000);

    fn fail(throttle: &Throttle, name: &str, address: Option<IpAddr>, now: Timestamp, times: usize) {
        for time in 0..times {
            assert!(throttle.reserve(name, address, now).is_ok(), "failure {time} of {name}");
        }
    }

    #[test]
    fn ten_failures_then_one_every_six_seconds() {
        let throttle = Throttle::default();
        fail(&throttle, "ada", HERE, START, 10);
        assert_eq!(throttle.reserve("ada", HERE, START).unwrap_err(), Duration::from_secs(6));
        assert_eq!(throttle.reserve("ada", HERE, START.plus_seconds(5)).unwrap_err(), Duration::from_secs(1));
        fail(&throttle, "ada", HERE, START.plus_seconds(6), 1);
        assert!(throttle.reserve("ada", HERE, START.plus_seconds(6)).is_err());
        fail(&throttle, "ada", HERE, START.plus_seconds(600), 10);
        assert!(throttle.reserve("ada", HERE, START.plus_seconds(600)).is_err());
    }

    #[test]
    fn other_names_and_other_addresses_are_not_held_up() {
        let throttle = Throttle::default();
        fail(&throttle, "ada", HERE, START, 10);
        fail(&throttle, "bob", HERE, START, 10);
        fail(&throttle, "ada", THERE, START, 10);
    }

    #[test]
    fn successes_do_not_count() {
        let throttle = Throttle::default();
        for _ in 0..1_000 {
            let reservation = throttle.reserve("ada", HERE, START).unwrap();
            throttle.give_back(reservation);
        }
        fail(&throttle, "ada", HERE, START, 10);
    }

    #[test]
    fn an_address_that_tries_many_names_is_held_up_and_refused_tries_do_not_count() {
        let throttle = Throttle::default();
        for name in 0..30 {
            fail(&throttle, &name.to_string(), HERE, START, 10);
            assert!(throttle.reserve(&name.to_string(), HERE, START).is_err());
        }
        assert_eq!(throttle.reserve("another", HERE, START).unwrap_err(), Duration::from_secs(1));
        fail(&throttle, "another", HERE, START.plus_seconds(1), 1);
        fail(&throttle, "another", THERE, START, 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let throttle = Throttle::default();
        let address = |last| Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last)));
        for last in 0..10 {
            fail(&throttle, "ada", address(last), START, 1);
        }
        assert!(throttle.reserve("ada", address(10), START).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let throttle = Throttle::default();
        fail(&throttle, "ada", HERE, START.plus_seconds(86_400), 10);
        fail(&throttle, "ada", HERE, START, 10);
        assert_eq!(throttle.reserve("ada", HERE, START).unwrap_err(), Duration::from_secs(6));
    }

    #[test]
    fn memory_is_bounded_and_the_emptiest_bucket_is_kept() {
        let mut buckets = Buckets::default();
        for _ in 0..10 {
            buckets.take(0, PER_PAIR, START).unwrap();
        }
        for key in 1..20_000 {
            buckets.take(key, PER_PAIR, START).unwrap();
        }
        assert_eq!(buckets.0.len(), BUCKETS_MAX);
        assert!(buckets.take(0, PER_PAIR, START).is_err());
        buckets.take(u64::MAX, PER_PAIR, START.plus_seconds(3_600)).unwrap();
        assert_eq!(buckets.0.len(), 1);
    }
}
