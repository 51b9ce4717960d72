//! Reads JSON strictly: what two parsers could understand differently is refused.
//!
//! Refused are keys given twice, NUL characters (the database cannot keep them), nesting deeper
//! than 64 and numbers that are not an `f64`. What the fields mean is not checked here.

use std::{cell::RefCell, fmt};

use protocol::{decode_error::DecodeError, error::FieldError, limits::JSON_DEPTH_MAX};
use serde::{
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
        SeqAccess, Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Number, Value};

use crate::limits::{JSON_EXPONENT_MAX, JSON_NEGATIVE_EXPONENT_MAX};

/// Parses a body; the error names the place.
pub fn parse(bytes: &[u8]) -> Result<Value, FieldError> {
    if bytes.is_empty() {
        return Err(FieldError::new("", "the body is empty; send a JSON object"));
    }
    check_exponents(bytes)?;
    let fault = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    StrictReader { place: JsonPath::Root, depth: 1, fault: &fault }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| {
            fault.take().unwrap_or_else(|| FieldError::new("", format!("is not JSON: {error}")))
        })
}

/// Gives a value its type; the error names the field as a JSON pointer.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(StrictValue(value)).map_err(|error| {
        let message = error.inner().to_string();
        let problem = DecodeError::read(&message);
        let mut pointer = String::new();
        for segment in error.path() {
            match segment {
                serde_path_to_error::Segment::Seq { index } => push(&mut pointer, index),
                serde_path_to_error::Segment::Map { key } => push(&mut pointer, key),
                serde_path_to_error::Segment::Enum { variant } => push(&mut pointer, variant),
                serde_path_to_error::Segment::Unknown => {}
            }
        }
        if let Some(field) = problem.field() {
            let mut last = String::new();
            push(&mut last, field);
            if !pointer.ends_with(&last) {
                pointer.push_str(&last);
            }
        }
        FieldError::new(pointer, problem.to_string())
    })
}

fn push(pointer: &mut String, segment: impl fmt::Display) {
    pointer.push('/');
    pointer.push_str(&segment.to_string().replace('~', "~0").replace('/', "~1"));
}

/// Up to here an `f64` holds every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value that is read strictly: serde by itself would accept an array for a struct, field by
/// field.
#[derive(Clone, Copy)]
struct StrictValue<'de>(&'de Value);

impl<'de> Deserializer<'de> for StrictValue<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(StrictValue)))
            }
            Value::Object(map) => visitor.visit_map(MapDeserializer::new(
                map.iter().map(|(key, value)| (key.as_str(), StrictValue(value))),
            )),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.0.is_array() {
            return Err(Self::Error::invalid_type(Unexpected::Seq, &"an object"));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.whole_number(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.whole_number(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.whole_number(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.whole_number(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> StrictValue<'de> {
    /// JSON Schema has one kind of number: `8.0` is the integer 8.
    fn whole_number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, serde_json::Error> {
        match self.0.as_f64() {
            Some(number) if self.0.is_f64() && number.fract() == 0.0 && number.abs() <= EXACT => {
                visitor.visit_i64(number as i64)
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for StrictValue<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
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
    /// The fault that we found ourselves, with its place; an error of the parser has none.
    fault: &'a RefCell<Option<FieldError>>,
}

impl StrictReader<'_> {
    fn refuse<E: serde::de::Error>(&self, message: &str) -> E {
        *self.fault.borrow_mut() = Some(FieldError::new(self.place.pointer(), message));
        E::custom(message)
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

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse("is out of range"))
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
            fault: self.fault,
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
                fault: self.fault,
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
    use protocol::run::CreateRun;
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
            "123456789012345678901234567890",
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
    fn nesting_ends_at_its_bound() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(JSON_DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        let steps = |text: &str| {
            let body =
                format!(r#"{{"input":"a","limits":{{"max_steps":{text},"max_tokens":7.0}}}}"#);
            let run: CreateRun = typed(&parse(body.as_bytes()).unwrap()).ok()?;
            run.limits.unwrap().max_steps
        };
        assert_eq!((steps("8.0"), steps("8e0"), steps("8")), (Some(8), Some(8), Some(8)));
        assert_eq!((steps("8.5"), steps("-8.0"), steps("1e300")), (None, None, None));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let check = |value: Value, want: &str| {
            assert_eq!(typed::<CreateRun>(&value).unwrap_err().field, want);
        };
        check(json!({}), "/input");
        check(json!({"input": 1}), "/input");
        check(json!({"input": "a", "colour": 1}), "/colour");
        check(json!({"input": "a", "`, expected": 1}), "/`, expected");
        check(json!({"input": "a", "limits": {"max_steps": -1}}), "/limits/max_steps");
        check(json!({"input": "a", "limits": {"a~b": 1}}), "/limits/a~0b");
        check(json!({"input": "a", "session_key": "a b"}), "/session_key");
        check(json!({"input": "a", "limits": [1]}), "/limits");
        check(json!(["a"]), "");
    }
}
