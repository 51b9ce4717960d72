//! Ids: a prefix that says what it names, and a UUID as 26 characters of Crockford base 32.
//!
//! The form is [TypeID](https://github.com/jetify-com/typeid) 0.3. New ids are UUIDv7, so that
//! they sort by the time of their making. Those of runs, keys and audit records, which lists are
//! ordered by, are made by the database (`new_id`): nodes' clocks may differ. What is made here is
//! for what has an order of its own, and for tests.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::time::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX_CHARS: usize = 26;

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form `{prefix}_` and 26 characters")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
        #[schema(
            value_type = String,
            pattern = $pattern,
            example = $example
        )]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps the UUID that the database keeps.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID that the database keeps.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str("_")?;
                encode(self.0).iter().try_for_each(|&byte| fmt::Write::write_char(f, byte.into()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(|rest| rest.strip_prefix('_'))
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| IdError {
                        prefix: $prefix,
                        text: text.chars().take(64).collect(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Names a run.
    RunId,
    "run",
    "^run_[0-7][0-9a-hjkmnp-tv-z]{25}$",
    "run_01kas5w4z8e5tv3k0v9x2m7qhd"
);
id!(
    /// Names a memory.
    MemoryId,
    "mem",
    "^mem_[0-7][0-9a-hjkmnp-tv-z]{25}$",
    "mem_01kas5w4z8e5tv3k0v9x2m7qhd"
);
id!(
    /// Names a tool call of a run: derived from what is called, so that a repetition has the same id.
    CallId,
    "call",
    "^call_[0-7][0-9a-hjkmnp-tv-z]{25}$",
    "call_5e2c8gk1n4e5tv3k0v9x2m7qhd"
);

id!(
    /// Names an API key.
    KeyId,
    "key",
    "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$",
    "key_01kas5w4z8e5tv3k0v9x2m7qhd"
);
id!(
    /// Names a record of the audit.
    AuditId,
    "audit",
    "^audit_[0-7][0-9a-hjkmnp-tv-z]{25}$",
    "audit_01kas5w4z8e5tv3k0v9x2m7qhd"
);

impl RunId {
    /// A fresh id, greater than all that this process made before.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Before all ids that are made at this time, and behind those that were made before.
    pub fn first_at(at: Timestamp) -> Self {
        let millis = u128::from(u64::try_from(at.millis()).unwrap_or_default());
        Self(Uuid::from_u128(millis << 80))
    }

    /// When it was made: the first 48 bits are milliseconds (RFC 9562, section 5.7).
    pub fn made_at(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0.as_u128() >> 80).unwrap_or_default())
    }
}

impl MemoryId {
    /// A fresh id, greater than all that this process made before.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of the `index`-th memory that is made of a run after its end: the first 128 bits of a
    /// SHA-256, so that making it again gives it the same id.
    pub fn after_run(run: RunId, index: u32) -> Self {
        let digest = Sha256::new()
            .chain_update(b"memory after run")
            .chain_update(run.0.as_bytes())
            .chain_update(index.to_be_bytes())
            .finalize();
        let mut bits = [0; 16];
        bits.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Self(Uuid::from_bytes(bits))
    }
}

impl KeyId {
    /// A fresh id, greater than all that this process made before.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl CallId {
    /// The id of the `index`-th call of a step: the first 128 bits of a SHA-256 over what is called.
    ///
    /// `args` must be canonical JSON.
    pub fn derive(run: RunId, step: u32, index: u32, tool: &str, args: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(run.0.as_bytes())
            .chain_update(step.to_be_bytes())
            .chain_update(index.to_be_bytes())
            .chain_update((tool.len() as u64).to_be_bytes())
            .chain_update(tool.as_bytes())
            .chain_update(args.as_bytes())
            .finalize();
        let mut bits = [0; 16];
        bits.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Self(Uuid::from_bytes(bits))
    }
}

/// The text is not the id of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a span is named by 16 hexadecimal digits in lower case")]
pub struct SpanIdError;

/// Names a span in OpenTelemetry's form: 8 bytes as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{16}$", example = "b7ad6b7169203331")]
pub struct SpanId(u64);

impl SpanId {
    /// The span of a part of a run; the same part always has the same span.
    pub fn derive(run: RunId, part: &str) -> Self {
        let digest =
            Sha256::new().chain_update(run.0.as_bytes()).chain_update(part.as_bytes()).finalize();
        let bits = digest.iter().take(8).fold(0, |bits, &byte| bits << 8 | u64::from(byte));
        Self(bits.max(1)) // OpenTelemetry calls the all-zero id invalid.
    }

    /// The span of an event that has none to itself: its number.
    pub const fn of_event(seq: u64) -> Self {
        Self(seq)
    }

    /// The event whose number the span is, if it is one. What is derived has high bits set, but once in
    /// four thousand million times.
    pub const fn event(self) -> Option<u64> {
        if self.0 <= u32::MAX as u64 { Some(self.0) } else { None }
    }

    /// Wraps the bits that the database keeps.
    pub const fn from_bits(bits: i64) -> Self {
        Self(bits.cast_unsigned())
    }

    /// The bits that the database keeps.
    pub const fn bits(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for SpanId {
    type Err = SpanIdError;

    fn from_str(text: &str) -> Result<Self, SpanIdError> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_one = text.len() == 16 && text.bytes().all(is_hex);
        let bits = u64::from_str_radix(text, 16).ok().filter(|_| is_one);
        bits.map(Self).ok_or(SpanIdError)
    }
}

fn encode(uuid: Uuid) -> [u8; SUFFIX_CHARS] {
    let mut bits = uuid.as_u128();
    let mut text = [b'0'; SUFFIX_CHARS];
    for byte in text.iter_mut().rev() {
        *byte = *ALPHABET.get((bits & 31) as usize).expect("five bits are below 32");
        bits >>= 5;
    }
    text
}

fn decode(text: &str) -> Option<Uuid> {
    if text.len() != SUFFIX_CHARS || text.as_bytes().first()? > &b'7' {
        return None; // 26 × 5 bits are 130: the first character may only carry three.
    }
    text.bytes()
        .try_fold(0u128, |bits, byte| {
            let value = ALPHABET.iter().position(|&letter| letter == byte)?;
            Some(bits << 5 | value as u128)
        })
        .map(Uuid::from_u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typeid_examples_of_the_specification() {
        let check = |uuid: &str, text: &str| {
            let id = RunId::from_uuid(uuid.parse().unwrap());
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse::<RunId>().unwrap(), id);
        };
        check("00000000-0000-0000-0000-000000000000", "run_00000000000000000000000000");
        check("ffffffff-ffff-ffff-ffff-ffffffffffff", "run_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        check("01890a5d-ac96-774b-bcce-b302099a8057", "run_01h455vb4pex5vsknk084sn02q");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "run",
            "^run_[0-7][0-9a-hjkmnp-tv-z]{25}$",
            "run_",
            "run_01h455vb4pex5vsknk084sn02",
            "run_01h455vb4pex5vsknk084sn02qq",
            "run_81h455vb4pex5vsknk084sn02q",
            "run_01H455VB4PEX5VSKNK084SN02Q",
            "run_01h455vb4pex5vsknk084sn0il",
            "mem_01h455vb4pex5vsknk084sn02q",
            "run_01h455vb4pex5vsknk084sn0中",
        ] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_call_id_depends_on_all_its_parts() {
        let run = RunId::generate();
        let id = CallId::derive(run, 1, 0, "read_file", "{}");
        assert_eq!(id, CallId::derive(run, 1, 0, "read_file", "{}"));
        assert_ne!(id, CallId::derive(run, 2, 0, "read_file", "{}"));
        assert_ne!(id, CallId::derive(run, 1, 1, "read_file", "{}"));
        assert_ne!(id, CallId::derive(run, 1, 0, "read_fil", "e{}"));
        assert_ne!(id, CallId::derive(RunId::generate(), 1, 0, "read_file", "{}"));
    }
}
