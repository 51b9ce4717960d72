//! From JSON to types, strictly: an array is not a struct, and the error names the field.
//!
//! The text itself is read by [`protocol::strict_json`].

use protocol::{decode_error::DecodeError, error::FieldError, strict_json::push};
use serde::{
    de::{
        DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

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

#[cfg(test)]
mod tests {
    use protocol::{run::CreateRun, strict_json::parse};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        let steps = |text: &str| {
            let body =
                format!(r#"{{"input":"a","limits":{{"max_steps":{text},"max_tokens":7.0}}}}"#);
            let run: CreateRun = typed(&parse(body.as_bytes(), 100).unwrap()).ok()?;
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
        check(json!({"input": "a", "session_key": "a\tb"}), "/session_key");
        check(json!({"input": "a", "limits": [1]}), "/limits");
        check(json!(["a"]), "");
    }
}
