//! Reads JSON strictly: what two parsers could understand differently is refused.
//!
//! Refused are keys given twice, NUL characters (the database cannot keep them), nesting deeper
//! than 64, and numbers that would change: those that are not an `f64`, and integers with more digits
//! than 64 bits hold. What the fields mean is not checked here.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{
    error::FieldError,
    limits::{JSON_DEPTH_MAX, JSON_EXPONENT_MAX, JSON_NEGATIVE_EXPONENT_MAX},
};

/// Parses a text; the error names the place.
pub fn parse(bytes: &[u8]) -> Result<Value, FieldError> {
    if bytes.is_empty() {
        return Err(FieldError::new("", "the body is empty; send a JSON object"));
    }
    check_exponents(bytes)?;
    let notes = Notes { huge: huge_integer(bytes), ..Notes::default() };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    StrictReader { place: JsonPath::Root, depth: 1, notes: &notes }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| {
            let own = notes.fault.take();
            own.unwrap_or_else(|| FieldError::new("", format!("is not JSON: {error}")))
        })
}

/// Adds a step to a JSON pointer.
pub fn push(pointer: &mut String, segment: impl fmt::Display) {
    pointer.push('/');
    pointer.push_str(&segment.to_string().replace('~', "~0").replace('/', "~1"));
}

/// A tiny exponent would be read as zero without a word, so they are read before the parser does.
fn check_exponents(bytes: &[u8]) -> Result<(), FieldError> {
    let (mut in_string, mut escaped) = (false, false);
    let mut exponent: Option<u32> = None;
    let mut max = JSON_EXPONENT_MAX;
    let mut before = 0_u8;
    for &byte in bytes {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        exponent = match (byte, exponent) {
            (b'e' | b'E', None) if before.is_ascii_digit() => {
                max = JSON_EXPONENT_MAX;
                Some(0)
            }
            (b'+', Some(0)) => Some(0),
            (b'-', Some(0)) => {
                max = JSON_NEGATIVE_EXPONENT_MAX;
                Some(0)
            }
            (b'0'..=b'9', Some(sum)) => {
                Some(sum.saturating_mul(10).saturating_add(u32::from(byte - b'0')))
            }
            _ => None,
        };
        if exponent.is_some_and(|sum| sum > max) {
            return Err(FieldError::new("", "a number is out of range"));
        }
        in_string = byte == b'"';
        before = byte;
    }
    Ok(())
}

/// Which of the numbers is the first integer with more digits than 64 bits hold: the parser would round
/// it without a word.
fn huge_integer(bytes: &[u8]) -> Option<usize> {
    let (mut in_string, mut escaped) = (false, false);
    let mut count = 0;
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if byte == b'-' || byte.is_ascii_digit() {
            let is_in =
                |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
            let end = after.iter().position(|b| !is_in(b)).unwrap_or(after.len());
            let (behind, next) = after.split_at_checked(end)?;
            rest = next;
            let is_integer = behind.iter().all(u8::is_ascii_digit);
            // No integer of so few characters is out of range.
            if is_integer && behind.len() >= 18 && !fits(byte, behind) {
                return Some(count);
            }
            count += 1;
        }
    }
    None
}

fn fits(first: u8, behind: &[u8]) -> bool {
    let behind = std::str::from_utf8(behind).unwrap_or_default();
    let text = format!("{}{behind}", char::from(first));
    text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok()
}

/// Where the reader is.
#[derive(Clone, Copy)]
enum JsonPath<'a> {
    Root,
    Key(&'a JsonPath<'a>, &'a str),
    Index(&'a JsonPath<'a>, usize),
}

impl JsonPath<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(outer, key) => {
                let mut pointer = outer.pointer();
                push(&mut pointer, key);
                pointer
            }
            Self::Index(outer, index) => {
                let mut pointer = outer.pointer();
                push(&mut pointer, index);
                pointer
            }
        }
    }
}

struct StrictReader<'a> {
    place: JsonPath<'a>,
    depth: usize,
    notes: &'a Notes,
}

/// What is known of a text besides its values.
#[derive(Default)]
struct Notes {
    /// The fault that we found ourselves, with its place; an error of the parser has none.
    fault: RefCell<Option<FieldError>>,
    /// Which of the numbers is too large an integer.
    huge: Option<usize>,
    /// How many numbers were read.
    numbers: Cell<usize>,
}

impl StrictReader<'_> {
    fn refuse<E: serde::de::Error>(&self, message: &str) -> E {
        *self.notes.fault.borrow_mut() = Some(FieldError::new(self.place.pointer(), message));
        E::custom(message)
    }

    fn number<E: serde::de::Error>(&self, number: Number) -> Result<Value, E> {
        let place = self.notes.numbers.replace(self.notes.numbers.get() + 1);
        match self.notes.huge {
            Some(huge) if huge == place => {
                Err(self.refuse("has more digits than can be kept: send it as a string"))
            }
            _ => Ok(Value::Number(number)),
        }
    }

    fn text<E: serde::de::Error>(&self, text: String) -> Result<String, E> {
        if text.contains('\0') {
            return Err(self.refuse("must not contain the NUL character"));
        }
        Ok(text)
    }

    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth > JSON_DEPTH_MAX {
            return Err(self.refuse("is nested too deeply"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for StrictReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictReader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| self.refuse("is out of range"))?;
        self.number(number)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.text(value).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut list = Vec::new();
        while let Some(value) = items.next_element_seed(StrictReader {
            place: JsonPath::Index(&self.place, list.len()),
            depth: self.depth + 1,
            notes: self.notes,
        })? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let key = self.text(key)?;
            let inside = StrictReader {
                place: JsonPath::Key(&self.place, &key),
                depth: self.depth + 1,
                notes: self.notes,
            };
            if map.contains_key(&key) {
                return Err(inside.refuse("is given twice"));
            }
            let value = entries.next_value_seed(inside)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().field
    }

    #[test]
    fn what_is_ambiguous_is_refused_at_its_place() {
        assert_eq!(place(r#"{"a":1,"\u0061":2}"#), "/a");
        assert_eq!(place(r#"{"a":[{"b/c":1,"b/c":2}]}"#), "/a/0/b~1c");
        assert_eq!(place(r#"{"a":["x","y\u0000"]}"#), "/a/1");
        assert_eq!(place(r#"{"a\u0000":1}"#), "");
        for text in ["", "{", "{\"a\":1}x", "\u{feff}{}", "NaN", "[1,]", "'a'", r#""\ud800""#] {
            assert_eq!(place(text), "", "{text}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(parse(b"\xff\xfe{\0}\0").is_err());
    }

    #[test]
    fn numbers_beyond_f64_are_refused() {
        for text in ["1e309", "-1E+400", "[1e131071]", "1e-400", "0e999999999999", "1.5e0400"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        for text in [
            "1e308",
            "1e-308",
            "-5e-324",
            "18446744073709551615",
            "-9223372036854775808",
            "\"1e999\"",
            "[true,0]",
        ] {
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
        assert_eq!(
            parse(br#"{"\"1e999":"\\","b":2e2}"#).unwrap(),
            json!({"\"1e999":"\\","b":200.0})
        );
    }

    #[test]
    fn integers_that_would_be_rounded_are_refused_at_their_place() {
        assert_eq!(
            place(r#"{"a":[1e300,"\"12345678901234567890123",1.5],"b":18446744073709551616}"#),
            "/b"
        );
        assert_eq!(place("-9223372036854775809"), "");
        assert_eq!(place("[0.5,[123456789012345678901234567890,1]]"), "/1/0");
    }

    #[test]
    fn nesting_ends_at_its_bound() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(JSON_DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(parse(nested(100_000).as_bytes()).is_err());
    }
}
