//! Reads JSON strictly: what two parsers could understand differently is refused.
//!
//! Refused are keys given twice, NUL characters (the database cannot keep them), nesting deeper
//! than 64, numbers that would change (integers beyond 64 bits, and decimals with more digits than an
//! `f64` keeps), and more keys and values than the caller has room for. What the fields mean is not
//! checked here.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, error::Category};

use crate::{error::FieldError, limits::JSON_DEPTH_MAX};

/// Parses a text with at most so many keys and values; the error names the place.
pub fn parse(bytes: &[u8], most: usize) -> Result<Value, FieldError> {
    if bytes.is_empty() {
        return Err(FieldError::new("", "the body is empty; send a JSON object"));
    }
    let notes = Notes { most, changed: changed_number(bytes, most)?, ..Notes::default() };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = StrictReader { place: JsonPath::Root, depth: 1, notes: &notes }
        .deserialize(&mut reader)
        .map_err(|error| notes.fault.take().unwrap_or_else(|| malformed(&error)))?;
    reader.end().map_err(|error| {
        FieldError::new("", format!("goes on behind the end of the JSON, at {}", position(&error)))
    })?;
    Ok(value)
}

/// Adds a step to a JSON pointer.
pub fn push(pointer: &mut String, segment: impl fmt::Display) {
    pointer.push('/');
    pointer.push_str(&segment.to_string().replace('~', "~0").replace('/', "~1"));
}

fn malformed(error: &serde_json::Error) -> FieldError {
    let problem = match error.classify() {
        Category::Eof => "is not JSON: it ends too early".to_owned(),
        Category::Syntax | Category::Data | Category::Io => {
            format!("is not JSON: it cannot be read at {}", position(error))
        }
    };
    FieldError::new("", problem)
}

fn position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// Which of the first `most` numbers would be another one if it was kept: the parser rounds without a
/// word.
fn changed_number(bytes: &[u8], most: usize) -> Result<Option<usize>, FieldError> {
    let (mut in_string, mut escaped) = (false, false);
    let mut count = 0;
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first()
        && count < most
    {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            rest = after;
        } else if byte == b'-' || byte.is_ascii_digit() {
            let is_in =
                |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
            let end = rest.iter().position(|b| !is_in(b)).unwrap_or(rest.len());
            let (number, next) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            let number = std::str::from_utf8(number).unwrap_or_default();
            if !is_kept(number) {
                if number.parse().is_ok_and(f64::is_infinite) {
                    return Err(FieldError::new(
                        "",
                        "a number is out of range: send it as a string",
                    ));
                }
                return Ok(Some(count));
            }
            rest = next;
            count += 1;
        } else {
            in_string = byte == b'"';
            rest = after;
        }
    }
    Ok(None)
}

/// Whether what we keep of a number has its value: an integer of 64 bits, or an `f64` as it is usually
/// written, by its shortest digits or by 17.
fn is_kept(number: &str) -> bool {
    let is_integer = number.bytes().all(|b| b == b'-' || b.is_ascii_digit());
    let has_exponent = number.contains(['e', 'E']);
    if number.len() <= DIGITS_ALWAYS_KEPT && !has_exponent {
        return true;
    }
    if is_integer {
        return number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok();
    }
    // What is not a number at all, the parser refuses.
    let Ok(kept) = number.parse::<f64>() else { return true };
    let written = Decimal::read(number);
    written == Decimal::read(&format!("{kept:e}"))
        || written == Decimal::read(&format!("{kept:.16e}"))
}

/// So many digits survive in an `f64` (C's `DBL_DIG`), unless an exponent makes them tiny.
const DIGITS_ALWAYS_KEPT: usize = 15;

/// The value of a decimal number, apart from its sign: digits without zeros at either end, and the
/// power of ten of the last of them.
#[derive(PartialEq, Eq)]
struct Decimal {
    digits: String,
    power: i64,
}

impl Decimal {
    fn read(number: &str) -> Option<Self> {
        let number = number.trim_start_matches('-');
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_end_matches('0');
        let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { digits, power: 0 });
        }
        let power = exponent.parse::<i64>().ok()? + zeros - i64::try_from(fraction.len()).ok()?;
        Some(Self { digits, power })
    }
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
    /// Which of the numbers would change.
    changed: Option<usize>,
    /// How many numbers were read.
    numbers: Cell<usize>,
    /// How many keys and values were read, and may be.
    count: Cell<usize>,
    most: usize,
}

impl StrictReader<'_> {
    fn refuse<E: serde::de::Error>(&self, message: &str) -> E {
        *self.notes.fault.borrow_mut() = Some(FieldError::new(self.place.pointer(), message));
        E::custom(message)
    }

    fn number<E: serde::de::Error>(&self, number: Number) -> Result<Value, E> {
        let place = self.notes.numbers.replace(self.notes.numbers.get() + 1);
        if self.notes.changed == Some(place) {
            return Err(self.refuse("has more digits than can be kept: send it as a string"));
        }
        Ok(Value::Number(number))
    }

    /// Before it is read: however many small ones a text has, no more are held.
    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        let count = self.notes.count.get() + 1;
        self.notes.count.set(count);
        if count > self.notes.most {
            let message = format!("has more than {} keys and values", self.notes.most);
            *self.notes.fault.borrow_mut() = Some(FieldError::new("", message.clone()));
            return Err(E::custom(message));
        }
        Ok(())
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
        self.count()?;
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
            self.count()?;
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

    /// Enough for what is tested here.
    const MOST: usize = 10_000;

    fn place(text: &str) -> String {
        parse(text.as_bytes(), MOST).unwrap_err().field
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
        assert!(parse(b"{\"a\":\"\xff\"}", MOST).is_err());
        assert!(parse(b"\xff\xfe{\0}\0", MOST).is_err());
    }

    #[test]
    fn what_is_not_json_is_said_in_our_words() {
        let says = |text: &str, words: &str| {
            assert_eq!(parse(text.as_bytes(), MOST).unwrap_err().message, words);
        };
        says("{\"a\":", "is not JSON: it ends too early");
        says("{\"a\":\n'b'}", "is not JSON: it cannot be read at line 2, column 1");
        says("{} {}", "goes on behind the end of the JSON, at line 1, column 4");
    }

    #[test]
    fn numbers_come_back_with_their_value() {
        for (text, kept) in [
            ("0", "0"),
            ("-0", "-0.0"),
            ("1e2", "100.0"),
            ("1E+2", "100.0"),
            ("1.50", "1.5"),
            ("0.1", "0.1"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("0.10000000000000001", "0.1"),
            ("9007199254740992.0", "9007199254740992.0"),
            ("1e308", "1e+308"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("-5e-324", "-5e-324"),
            ("0e999", "0.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("\"1e999\"", "\"1e999\""),
        ] {
            let value =
                parse(text.as_bytes(), MOST).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(value.to_string(), kept, "{text}");
        }
        assert_eq!(
            parse(br#"{"\"1e999":"\\","b":2e2}"#, MOST).unwrap(),
            json!({"\"1e999":"\\","b":200.0})
        );
    }

    #[test]
    fn numbers_that_would_change_are_refused_at_their_place() {
        assert_eq!(
            place(r#"{"a":[1e300,"\"12345678901234567890123",1.5],"b":18446744073709551616}"#),
            "/b"
        );
        assert_eq!(place("[0.5,[123456789012345678901234567890,1]]"), "/1/0");
        assert_eq!(place(r#"{"a":0.5,"b":0.12345678901234567890}"#), "/b");
        assert_eq!(place(r#"[9007199254740993.0]"#), "/0");
        assert_eq!(place("[1e-400]"), "/0");
        assert_eq!(place("[4.9e-324]"), "/0");
        for text in ["-9223372036854775809", "1e309", "-1E+400", "[1e131071]", "1.5e0400"] {
            assert!(parse(text.as_bytes(), MOST).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_ends_at_its_bound() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(JSON_DEPTH_MAX).as_bytes(), MOST).is_ok());
        assert!(parse(nested(JSON_DEPTH_MAX + 1).as_bytes(), MOST).is_err());
        assert!(parse(nested(100_000).as_bytes(), MOST).is_err());
    }

    #[test]
    fn keys_and_values_end_at_their_bound() {
        let list = |zeros: usize| format!("[{}]", vec!["0"; zeros].join(","));
        assert!(parse(list(9).as_bytes(), 10).is_ok());
        let fault = parse(list(10).as_bytes(), 10).unwrap_err();
        assert_eq!(fault, FieldError::new("", "has more than 10 keys and values"));
        let object = |keys: usize| {
            let entries: Vec<_> = (0..keys).map(|key| format!("\"{key}\":null")).collect();
            format!("{{{}}}", entries.join(","))
        };
        assert!(parse(object(4).as_bytes(), 9).is_ok());
        assert!(parse(object(5).as_bytes(), 9).is_err());
        // What lies behind the bound is not looked at.
        assert!(
            parse(format!("{}!", list(10)).as_bytes(), 10)
                .unwrap_err()
                .message
                .contains("more than")
        );
    }
}
