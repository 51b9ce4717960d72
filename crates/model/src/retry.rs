//! When to retry: how long to wait, and what a provider's `Retry-After` means.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

use crate::{
    error::{ModelError, Phase},
    settings::Retry,
};

/// The longest `Retry-After` that is waited for. Beyond it the call ends with the error, which
/// carries the wait, so that the caller can come back later instead of holding a slot.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// The longest wait of our own.
pub const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// How long to wait after attempt number `attempt` (from 1); `None`: give up.
///
/// `random` is 0 to 1. The wait doubles and is spread over its upper two fifths, so that waits
/// always grow; what the provider asks for is never undercut.
pub(crate) fn wait_after(
    error: &ModelError,
    attempt: u32,
    retry: Retry,
    random: f64,
) -> Option<Duration> {
    // A provider that stays silent gets twice the time once, and is then given up: every attempt
    // may cost money.
    let is_silent =
        matches!(error, ModelError::Timeout { phase: Phase::FirstByte | Phase::Idle, .. });
    let most = if is_silent { retry.max_attempts.min(2) } else { retry.max_attempts };
    if !error.is_retryable() || attempt >= most {
        return None;
    }
    match error.retry_after() {
        Some(wait) if wait > RETRY_AFTER_MAX => None,
        Some(wait) => Some(wait + retry.backoff.min(BACKOFF_MAX).mul_f64(random)),
        None => {
            let doubled = retry.backoff.saturating_mul(1 << (attempt - 1).min(16));
            Some(doubled.min(BACKOFF_MAX).mul_f64(0.6 + 0.4 * random))
        }
    }
}

/// Between 0 and 1.
pub(crate) fn random() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2); // Without randomness: the middle.
    f64::from(bits) / f64::from(u32::MAX)
}

/// `Retry-After` as seconds or as an HTTP date
/// ([RFC 9110, 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)).
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok(); // Fractions occur, though not allowed.
    }
    let at = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value).ok()?;
    let now = Timestamp::try_from(now).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)) // Past: at once.
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { max_attempts: 4, backoff: Duration::from_millis(500) };

    fn limited(seconds: u64) -> ModelError {
        ModelError::RateLimited {
            retry_after: Some(Duration::from_secs(seconds)),
            message: String::new(),
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let wait = |attempt, random| wait_after(&ModelError::Truncated, attempt, RETRY, random);
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!((wait(1, 0.0), wait(1, 1.0)), (millis(300), millis(500)));
        assert_eq!((wait(2, 0.0), wait(2, 1.0)), (millis(600), millis(1000)));
        assert_eq!((wait(3, 0.0), wait(3, 1.0)), (millis(1200), millis(2000)));
        assert_eq!(wait(4, 0.5), None);
        assert_eq!(wait_after(&ModelError::Auth { message: String::new() }, 1, RETRY, 0.5), None);
        let patient = Retry { max_attempts: 4, backoff: Duration::from_secs(3600) };
        assert_eq!(wait_after(&ModelError::Truncated, 3, patient, 1.0), Some(BACKOFF_MAX));
    }

    #[test]
    fn the_provider_is_obeyed_up_to_a_minute() {
        assert_eq!(wait_after(&limited(60), 1, RETRY, 0.0), Some(Duration::from_secs(60)));
        assert_eq!(wait_after(&limited(2), 3, RETRY, 1.0), Some(Duration::from_millis(2500)));
        assert_eq!(wait_after(&limited(61), 1, RETRY, 0.0), None);
    }

    #[test]
    fn retry_after_has_two_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // 6 Nov 1994 08:49:37
        let check = |value, expected: Option<f64>| {
            assert_eq!(
                parse_retry_after(value, now),
                expected.map(Duration::from_secs_f64),
                "{value}"
            );
        };
        check("7", Some(7.0));
        check(" 0.5 ", Some(0.5));
        check("Sun, 06 Nov 1994 08:49:40 GMT", Some(3.0));
        check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0.0));
        check("-1", None);
        check("inf", None);
        check("soon", None);
        check("", None);
    }
}
