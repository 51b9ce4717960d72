//! Points in time as the outside sees them: RFC 3339, UTC, milliseconds, `Z`; and time zones.
//! It reads no clock: the database decides what time it is.

use std::{fmt, str::FromStr};

use jiff::{
    Zoned,
    fmt::temporal::Pieces,
    tz::{Offset, TimeZone},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

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

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// So many milliseconds since 1970; 1970 itself for more than calendars have.
    pub fn from_millis(millis: i64) -> Self {
        Self(jiff::Timestamp::from_millisecond(millis).unwrap_or_default())
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0.as_microsecond()
    }

    /// So many microseconds since 1970, if calendars have them.
    pub fn from_micros(micros: i64) -> Option<Self> {
        jiff::Timestamp::from_microsecond(micros).ok().map(Self)
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
        let text = String::deserialize(deserializer)?;
        instant(&text).map(|(at, _)| at).ok_or_else(|| D::Error::custom(NOT_AN_INSTANT))
    }
}

const NOT_AN_INSTANT: &str = "must be an RFC 3339 timestamp, such as `2026-11-22T08:30:00Z`";

/// An instant, and what clocks differed from UTC there: at most 23:59, as RFC 3339 has it.
pub(crate) fn instant(text: &str) -> Option<(Timestamp, Offset)> {
    let at = text.parse().ok()?;
    let offset = Pieces::parse(text).ok()?.to_numeric_offset().unwrap_or(Offset::UTC);
    (offset.seconds().abs() < 24 * 3600).then_some((Timestamp(at), offset))
}

/// A time zone by its IANA name. It says what "today" is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(
    value_type = String, example = "Asia/Shanghai", min_length = 1, max_length = 64,
    pattern = "^[A-Za-z][A-Za-z0-9_+/-]*$"
)]
pub struct Zone(TimeZone);

/// The text does not name a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the IANA name of a time zone, such as `Asia/Shanghai` or `UTC`")]
pub struct UnknownZone;

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// What clocks show in this zone at an instant.
    pub fn at(&self, at: Timestamp) -> Zoned {
        at.get().to_zoned(self.0.clone())
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        let zone = TimeZone::get(name).map_err(|_| UnknownZone)?;
        // `Etc/Unknown` is none, and a zone of this machine may have no name.
        if zone.iana_name().is_none() || zone.is_unknown() {
            Err(UnknownZone)
        } else {
            Ok(Self(zone))
        }
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(name: String) -> Result<Self, UnknownZone> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_iana_names() {
        for name in ["UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert_eq!(name.parse::<Zone>().map(String::from).as_deref(), Ok(name));
        }
        for name in ["", "Mars/Olympus", "+08:00", "../UTC", "Etc/Unknown", "\0"] {
            assert_eq!(name.parse::<Zone>(), Err(UnknownZone), "{name}");
        }
    }

    #[test]
    fn writes_milliseconds_and_z() {
        let check = |text: &str, want: &str| {
            let at: Timestamp = serde_json::from_value(text.into()).unwrap();
            assert_eq!(at.to_string(), want);
        };
        check("2026-02-09T00:00:00Z", "2026-02-09T00:00:00.000Z");
        check("2026-02-09T08:00:00.123456+08:00", "2026-02-09T00:00:00.123Z");
        for text in ["2026-02-09T00:00:00+25:00", "2026-02-09", "2026-02-30T00:00:00Z", "now"] {
            let refused = serde_json::from_value::<Timestamp>(text.into()).unwrap_err();
            assert_eq!(refused.to_string(), NOT_AN_INSTANT, "{text}");
        }
    }
}
