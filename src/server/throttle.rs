//! Slows down the guessing of passwords: token buckets per pair of user name and address, and per address (contract §2).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::error::ApiError;
use crate::domain::time::{Clock, Timestamp};

/// A bucket: so many failures at once, then one more each time that a token has come back.
#[derive(Debug, Clone, Copy)]
struct Limit {
    burst: i64,
    token_us: i64,
}

impl Limit {
    /// Gives the time at which a bucket that is empty now will be full, in microseconds.
    fn when_empty(self, Timestamp(now): Timestamp) -> i64 {
        now.saturating_add(self.burst * self.token_us)
    }
}

/// Per user name and address: 10 failures, then one more every 6 s.
const PER_PAIR: Limit = Limit { burst: 10, token_us: 6_000_000 };
/// Per address: 300 failures, then one more every second.
const PER_ADDRESS: Limit = Limit { burst: 300, token_us: 1_000_000 };
/// Buckets of either kind that are kept; full ones need no keeping.
const BUCKETS_MAX: usize = 16_384;
/// Tries that wait for others to end; one more is told that the server is overloaded.
const WAITING_MAX: usize = 256;

/// Counts failed logins, and those alone: a success takes nothing. So that tries at the same time can't get past the
/// limit, no more of them are under way than could fail; the others wait for one of them to end, and are refused only
/// when failures have used up what there was.
pub(crate) struct Throttle {
    /// Keys are hashed by a secret of this process: names may be long, and nobody can make two of them collide.
    hasher: RandomState,
    buckets: Mutex<Both>,
    /// Told at the end of each try.
    ended: Notify,
    waiting: Semaphore,
}

#[derive(Default)]
struct Both {
    pairs: Buckets,
    addresses: Buckets,
}

/// Failures of one kind, and the tries that may become some.
#[derive(Default)]
struct Buckets {
    /// For each bucket that is not full, the time at which it will be, in microseconds.
    full_at: HashMap<u64, i64>,
    /// For each bucket with tries under way, how many.
    under_way: HashMap<u64, i64>,
}

/// Where a try counts.
#[derive(Debug, Clone, Copy)]
struct Keys {
    pair: u64,
    address: u64,
}

/// Whether a try may go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// There is room for one more failure.
    There,
    /// There would be none if all that are under way failed.
    Perhaps,
    /// There is none, for this long.
    No(Duration),
}

/// A try that is under way until this is dropped. One that ends without a word was no guess: the password was right, or
/// was not looked at.
#[must_use = "it ends when it is dropped"]
pub(crate) struct Try<'a> {
    throttle: &'a Throttle,
    keys: Keys,
}

impl std::fmt::Debug for Try<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Try").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            buckets: Mutex::default(),
            ended: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Throttle {
    /// Begins a try, once there is room for it to fail.
    ///
    /// # Errors
    /// 429 when failures have left no room, 503 when too many tries wait already.
    pub(crate) async fn begin(
        &self,
        name: &str,
        address: Option<IpAddr>,
        clock: &dyn Clock,
    ) -> Result<Try<'_>, ApiError> {
        let network = address.map(network);
        let keys = Keys { pair: self.hasher.hash_one((name, network)), address: self.hasher.hash_one(network) };
        let mut place = None;
        loop {
            // Made before the look, so that a try that ends right after it is not missed.
            let ended = self.ended.notified();
            match self.look(keys, clock.now()) {
                Room::There => return Ok(Try { throttle: self, keys }),
                Room::No(wait) => return Err(ApiError::throttled(wait)),
                Room::Perhaps => {}
            }
            if place.is_none() {
                let taken = self.waiting.try_acquire();
                place = Some(taken.map_err(|_| ApiError::unavailable("Too many logins at once; try again."))?);
            }
            ended.await;
        }
    }

    /// Looks whether there is room for a try, and counts it as under way if there is.
    fn look(&self, Keys { pair, address }: Keys, now: Timestamp) -> Room {
        let mut buckets = self.lock();
        let room = buckets.addresses.room(address, PER_ADDRESS, now).max(buckets.pairs.room(pair, PER_PAIR, now));
        if room == Room::There {
            buckets.addresses.enter(address);
            buckets.pairs.enter(pair);
        }
        room
    }

    fn lock(&self) -> MutexGuard<'_, Both> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Try<'_> {
    /// Ends it as a failure.
    pub(crate) fn fail(self, now: Timestamp) {
        let Keys { pair, address } = self.keys;
        let mut buckets = self.throttle.lock();
        buckets.pairs.take(pair, PER_PAIR, now);
        buckets.addresses.take(address, PER_ADDRESS, now);
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        let Keys { pair, address } = self.keys;
        let mut buckets = self.throttle.lock();
        buckets.pairs.leave(pair);
        buckets.addresses.leave(address);
        drop(buckets);
        self.throttle.ended.notify_waiters();
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
    /// Says whether a bucket has room for one more failure beside those that are under way.
    fn room(&self, key: u64, limit: Limit, now: Timestamp) -> Room {
        // The time at which the bucket would be full after one more failure, and after those under way as well.
        let next = self.full_at(key, limit, now).saturating_add(limit.token_us);
        let under_way = self.under_way.get(&key).copied().unwrap_or_default();
        let at_worst = next.saturating_add(under_way.saturating_mul(limit.token_us));
        let when_empty = limit.when_empty(now);
        if next > when_empty {
            Room::No(Duration::from_micros(u64::try_from(next - when_empty).unwrap_or(0)))
        } else if at_worst > when_empty {
            Room::Perhaps
        } else {
            Room::There
        }
    }

    /// Takes a token for a failure.
    fn take(&mut self, key: u64, limit: Limit, now: Timestamp) {
        let next = self.full_at(key, limit, now).saturating_add(limit.token_us);
        if self.full_at.len() >= BUCKETS_MAX && !self.full_at.contains_key(&key) {
            self.make_room(now);
        }
        self.full_at.insert(key, next);
    }

    /// Gives the time at which a bucket is full; it is now when it is full already.
    fn full_at(&self, key: u64, limit: Limit, now: Timestamp) -> i64 {
        // A bucket can't be emptier than empty: then the clock was set back, and the time in it means nothing any more.
        let known = self.full_at.get(&key).copied().filter(|full_at| *full_at <= limit.when_empty(now));
        known.map_or(now.0, |full_at| full_at.max(now.0))
    }

    fn enter(&mut self, key: u64) {
        *self.under_way.entry(key).or_default() += 1;
    }

    fn leave(&mut self, key: u64) {
        if let Entry::Occupied(mut count) = self.under_way.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Drops the buckets that are full by now; if none is, the fullest.
    fn make_room(&mut self, Timestamp(now): Timestamp) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= BUCKETS_MAX {
            let fullest = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| *key);
            fullest.map(|key| self.full_at.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use futures_util::FutureExt;

    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));
    const START: Timestamp = Timestamp(1_000_000_000);

    /// A clock that stands still.
    struct At(Timestamp);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    /// Begins a try that is let in or refused at once.
    fn begin<'a>(
        throttle: &'a Throttle,
        name: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Try<'a>, ApiError> {
        throttle.begin(name, address, &At(now)).now_or_never().expect("it waits for nothing")
    }

    /// Says for how many seconds a try is refused.
    fn refused_s(throttle: &Throttle, name: &str, address: Option<IpAddr>, now: Timestamp) -> u64 {
        seconds(&begin(throttle, name, address, now).unwrap_err())
    }

    fn seconds(error: &ApiError) -> u64 {
        assert!(error.is("throttled"), "{error:?}");
        error.headers()[0].1.to_str().unwrap().parse().unwrap()
    }

    fn fail(throttle: &Throttle, name: &str, address: Option<IpAddr>, now: Timestamp, times: usize) {
        for _ in 0..times {
            begin(throttle, name, address, now).unwrap().fail(now);
        }
    }

    #[test]
    fn ten_failures_then_one_every_six_seconds() {
        let throttle = Throttle::default();
        fail(&throttle, "ada", HERE, START, 10);
        assert_eq!(refused_s(&throttle, "ada", HERE, START), 6);
        assert_eq!(refused_s(&throttle, "ada", HERE, START.plus_seconds(5)), 1);
        fail(&throttle, "ada", HERE, START.plus_seconds(6), 1);
        assert_eq!(refused_s(&throttle, "ada", HERE, START.plus_seconds(6)), 6);
        fail(&throttle, "ada", HERE, START.plus_seconds(600), 10);
        assert_eq!(refused_s(&throttle, "ada", HERE, START.plus_seconds(600)), 6);
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
            drop(begin(&throttle, "ada", HERE, START).unwrap());
        }
        fail(&throttle, "ada", HERE, START, 10);
        assert!(throttle.lock().pairs.under_way.is_empty() && throttle.lock().addresses.under_way.is_empty());
    }

    #[test]
    fn tries_at_the_same_time_wait_for_one_to_end_and_are_refused_for_failures_alone() {
        let throttle = Throttle::default();
        fail(&throttle, "ada", HERE, START, 7);
        let mut under_way: Vec<_> = (0..3).map(|_| begin(&throttle, "ada", HERE, START).unwrap()).collect();
        let mut next = Box::pin(throttle.begin("ada", HERE, &At(START)));
        let mut last = Box::pin(throttle.begin("ada", HERE, &At(START)));
        assert!(next.as_mut().now_or_never().is_none() && last.as_mut().now_or_never().is_none());
        // A failure leaves no room for another try than those under way.
        under_way.pop().unwrap().fail(START);
        assert!(next.as_mut().now_or_never().is_none());
        // A success does, for one.
        drop(under_way.pop());
        let next = next.now_or_never().expect("there is room").unwrap();
        assert!(last.as_mut().now_or_never().is_none());
        next.fail(START);
        assert!(last.as_mut().now_or_never().is_none());
        under_way.pop().unwrap().fail(START);
        assert_eq!(seconds(&last.now_or_never().expect("nothing to wait for").unwrap_err()), 6);
        assert_eq!(throttle.waiting.available_permits(), WAITING_MAX);
    }

    #[test]
    fn an_address_has_no_more_tries_under_way_than_may_fail() {
        let throttle = Throttle::default();
        let begin = |name: usize| begin(&throttle, &name.to_string(), HERE, START).unwrap();
        let mut under_way: Vec<_> = (0..300).map(begin).collect();
        let mut next = Box::pin(throttle.begin("another", HERE, &At(START)));
        assert!(next.as_mut().now_or_never().is_none());
        drop(under_way.pop());
        drop(next.now_or_never().expect("there is room").unwrap());
    }

    #[test]
    fn no_more_wait_than_can() {
        let throttle = Throttle::default();
        let _under_way: Vec<_> = (0..10).map(|_| begin(&throttle, "ada", HERE, START).unwrap()).collect();
        let clock = At(START);
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(throttle.begin("ada", HERE, &clock))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert!(begin(&throttle, "ada", HERE, START).unwrap_err().is("unavailable"));
        // One that goes away makes room for another.
        waiting.pop();
        assert!(throttle.begin("ada", HERE, &clock).now_or_never().is_none());
    }

    #[test]
    fn an_address_that_tries_many_names_is_held_up_and_refused_tries_do_not_count() {
        let throttle = Throttle::default();
        for name in 0..30 {
            fail(&throttle, &name.to_string(), HERE, START, 10);
            assert!(begin(&throttle, &name.to_string(), HERE, START).is_err());
        }
        assert_eq!(refused_s(&throttle, "another", HERE, START), 1);
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
        assert!(begin(&throttle, "ada", address(10), START).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let throttle = Throttle::default();
        fail(&throttle, "ada", HERE, START.plus_seconds(86_400), 10);
        fail(&throttle, "ada", HERE, START, 10);
        assert_eq!(refused_s(&throttle, "ada", HERE, START), 6);
    }

    #[test]
    fn memory_is_bounded_and_the_emptiest_bucket_is_kept() {
        let mut buckets = Buckets::default();
        for _ in 0..10 {
            buckets.take(0, PER_PAIR, START);
        }
        for key in 1..20_000 {
            buckets.take(key, PER_PAIR, START);
        }
        assert_eq!(buckets.full_at.len(), BUCKETS_MAX);
        assert_eq!(buckets.room(0, PER_PAIR, START), Room::No(Duration::from_secs(6)));
        buckets.take(u64::MAX, PER_PAIR, START.plus_seconds(3_600));
        assert_eq!(buckets.full_at.len(), 1);
    }
}
