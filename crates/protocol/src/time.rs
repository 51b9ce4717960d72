//! Points in time as the outside sees them: RFC 3339, UTC, milliseconds, `Z`.
//! It reads no clock: the database decides what time it is.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, kept to the microsecond and written to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T08:30:00.000Z")]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// Wraps an instant.
    pub const fn new(at: jiff::Timestamp) -> Self {
        Self(at)
    }

    /// The instant itself.
    pub const fn get(self) -> jiff::Timestamp {
        self.0
    }

    /// Whole milliseconds from `earlier` to `self`; zero when `earlier` is later.
    pub fn millis_since(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.as_millisecond() - earlier.0.as_millisecond()).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        jiff::Timestamp::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_milliseconds_and_z() {
        let check = |text: &str, want: &str| {
            let at: Timestamp = serde_json::from_value(text.into()).unwrap();
            assert_eq!(at.to_string(), want);
        };
        check("2026-02-09T00:00:00Z", "2026-02-09T00:00:00.000Z");
        check("2026-02-09T08:00:00.123456+08:00", "2026-02-09T00:00:00.123Z");
    }
}
