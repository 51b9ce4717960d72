//! Rate limits: a token bucket for each caller, kept as in the generic cell rate algorithm (ITU-T
//! I.371): one instant per bucket, at which it would be full again.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many a second, and how many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a second.
    pub per_s: NonZeroU32,
    /// Tokens of a full bucket.
    pub burst: NonZeroU32,
}

/// Token buckets by key. A full one is as good as none, so they are forgotten when there are too
/// many; if even then there is no room, latecomers share one bucket.
pub(crate) struct RateLimiter<K> {
    rate: Rate,
    buckets_max: usize,
    /// When each is full again. The key `None` is the shared one.
    full_at: Mutex<HashMap<Option<K>, Instant>>,
}

impl<K: Hash + Eq> RateLimiter<K> {
    pub(crate) fn new(rate: Rate, buckets_max: usize) -> Self {
        Self { rate, buckets_max, full_at: Mutex::default() }
    }

    /// Takes a token, or says how long it takes until there is one.
    pub(crate) fn take(&self, who: K, now: Instant) -> Result<(), Duration> {
        let token = self.token();
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut who = Some(who);
        if buckets.len() >= self.buckets_max && !buckets.contains_key(&who) {
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= self.buckets_max {
                who = None;
            }
        }
        let full_at = buckets.entry(who).or_insert(now);
        let after = (*full_at).max(now) + token;
        let wait = after.saturating_duration_since(now + token * self.rate.burst.get());
        if wait.is_zero() {
            *full_at = after;
            Ok(())
        } else {
            Err(wait)
        }
    }

    /// How long a token takes to come back; a rate beyond the clock's is the clock's.
    fn token(&self) -> Duration {
        (Duration::from_secs(1) / self.rate.per_s.get()).max(Duration::from_nanos(1))
    }

    /// Puts back a token that was taken.
    pub(crate) fn give_back(&self, who: K) {
        let token = self.token();
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.get_mut(&Some(who)) {
            *full_at = full_at.checked_sub(token).unwrap_or(*full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_s: u32, burst: u32, buckets_max: usize) -> RateLimiter<u32> {
        let rate = Rate { per_s: per_s.try_into().unwrap(), burst: burst.try_into().unwrap() };
        RateLimiter::new(rate, buckets_max)
    }

    #[test]
    fn the_highest_rate_refuses_nobody() {
        let limiter = limiter(u32::MAX, u32::MAX, 100);
        let now = Instant::now();
        assert_eq!(limiter.take(1, now + Duration::from_millis(1)), Ok(()));
        assert_eq!(limiter.take(1, now), Ok(()), "a clock that was read before");
    }

    #[test]
    fn a_burst_then_a_token_as_fast_as_they_come_back() {
        let limiter = limiter(10, 3, 100);
        let now = Instant::now();
        let ms = Duration::from_millis;
        for _ in 0..3 {
            assert_eq!(limiter.take(1, now), Ok(()));
        }
        assert_eq!(limiter.take(1, now), Err(ms(100)));
        assert_eq!(limiter.take(2, now), Ok(()), "another has its own");
        // What was said of the wait is true, to the millisecond.
        assert_eq!(limiter.take(1, now + ms(99)), Err(ms(1)));
        assert_eq!(limiter.take(1, now + ms(100)), Ok(()));
        assert_eq!(limiter.take(1, now + ms(100)), Err(ms(100)));
        limiter.give_back(1);
        assert_eq!(limiter.take(1, now + ms(100)), Ok(()));
        let rested = now + Duration::from_secs(9);
        assert_eq!((0..9).filter(|_| limiter.take(1, rested).is_ok()).count(), 3);
    }

    #[test]
    fn however_many_come_the_buckets_are_bounded() {
        let limiter = limiter(1, 2, 10);
        let now = Instant::now();
        let passed = (0..1000).filter(|who| limiter.take(*who, now).is_ok()).count();
        assert_eq!(passed, 10 + 2, "those who find no room share a bucket");
        assert_eq!(limiter.full_at.lock().unwrap().len(), 11);
        assert_eq!(limiter.take(2000, now + Duration::from_secs(2)), Ok(()), "full ones are gone");
        assert_eq!(limiter.full_at.lock().unwrap().len(), 1);
    }
}
