//! Parses serde's messages about a value that does not match its type. Nothing else reads serde's
//! English, so this is the only place to change when its wording does.

use std::fmt;

/// What serde says is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError<'a> {
    /// A required field is missing.
    MissingField(&'a str),
    /// A field that the type does not have.
    UnknownField {
        /// The field's name.
        field: &'a str,
        /// The fields of the type.
        known: Vec<&'a str>,
    },
    /// A choice that the type does not have.
    UnknownVariant {
        /// The value that was given.
        variant: &'a str,
        /// The choices of the type; empty where they are not said, or there are none.
        known: Vec<&'a str>,
    },
    /// A string where another type is expected.
    UnexpectedText {
        /// The type that is expected.
        expected: &'a str,
        /// The whole sentence, which repeats the text.
        message: &'a str,
    },
    /// Anything else, in serde's or the type's own words.
    Other(&'a str),
}

impl<'a> DecodeError<'a> {
    /// Reads what `Display` of an error of serde, serde_json or the crate `config` wrote.
    pub fn read(message: &'a str) -> Self {
        if let Some(field) = message.strip_prefix("missing field `") {
            return Self::MissingField(field.strip_suffix('`').unwrap_or(field));
        }
        if let Some(rest) = message.strip_prefix("unknown field `") {
            let (field, known) = split_known(rest);
            return Self::UnknownField { field, known };
        }
        if let Some(rest) = message.strip_prefix("unknown variant `") {
            let (variant, known) = split_known(rest);
            return Self::UnknownVariant { variant, known };
        }
        if let Some((_, variant)) = message.split_once(" does not have variant constructor ") {
            return Self::UnknownVariant { variant, known: Vec::new() };
        }
        let is_of_text = ["invalid type: string \"", "invalid value: string \""]
            .iter()
            .any(|start| message.starts_with(start));
        match message.rsplit_once("\", expected ").filter(|_| is_of_text) {
            Some((_, expected)) => Self::UnexpectedText { expected, message },
            None => Self::Other(message),
        }
    }

    /// The field that serde names only in its words: one that is missing, or one too many.
    pub fn field(&self) -> Option<&'a str> {
        match self {
            Self::MissingField(field) | Self::UnknownField { field, .. } => Some(field),
            Self::UnknownVariant { .. } | Self::UnexpectedText { .. } | Self::Other(_) => None,
        }
    }
}

/// To be read behind the name of the field.
impl fmt::Display for DecodeError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingField(_) => f.write_str("is missing"),
            Self::UnknownField { known, .. } if known.is_empty() => {
                f.write_str("is not a known field; there are none here")
            }
            Self::UnknownField { known, .. } => {
                write!(f, "is not a known field; use one of `{}`", known.join("`, `"))
            }
            Self::UnknownVariant { variant, known } if known.is_empty() => {
                write!(f, "`{variant}` is not a valid choice")
            }
            Self::UnknownVariant { variant, known } => {
                write!(f, "must be one of `{}`, not `{variant}`", known.join("`, `"))
            }
            Self::UnexpectedText { message, .. } | Self::Other(message) => {
                match wrong_type(message) {
                    Some((given, expected)) => write!(f, "must be {expected}, not {given}"),
                    None => f.write_str(message),
                }
            }
        }
    }
}

/// What was given and what should have been, in the words of JSON.
fn wrong_type(message: &str) -> Option<(&str, &str)> {
    let start = ["invalid type: ", "invalid value: "];
    let rest = start.iter().find_map(|start| message.strip_prefix(start))?;
    let (given, expected) = rest.rsplit_once(", expected ")?;
    let kinds = ["string ", "integer ", "floating point ", "boolean "];
    let given = match given {
        "sequence" => "a list",
        "map" => "an object",
        _ => kinds.iter().find_map(|kind| given.strip_prefix(kind)).unwrap_or(given),
    };
    let expected = match expected {
        "a sequence" => "a list",
        "a map" => "an object",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    };
    Some((given, expected))
}

/// Splits ``x`, expected one of `a`, `b``. What was given may look like the end of it, so the last
/// end counts.
fn split_known(rest: &str) -> (&str, Vec<&str>) {
    let none = ["`, there are no fields", "`, there are no variants"];
    if let Some((given, _)) = none.iter().find_map(|end| rest.rsplit_once(end)) {
        return (given, Vec::new());
    }
    match rest.rsplit_once("`, expected ") {
        Some((given, known)) => (given, known.split('`').skip(1).step_by(2).collect()),
        None => (rest, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, de::DeserializeOwned};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Pair {
        one: u32,
        other: Choice,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Left,
        Right,
        Both,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Empty {}

    fn check<T: DeserializeOwned + fmt::Debug>(value: Value, field: Option<&str>, words: &str) {
        let message = serde_json::from_value::<T>(value).unwrap_err().to_string();
        let error = DecodeError::read(&message);
        assert_eq!((error.field(), error.to_string().as_str()), (field, words));
    }

    #[test]
    fn each_kind_names_its_field_and_says_what_would_do() {
        check::<Pair>(json!({"other": "left"}), Some("one"), "is missing");
        check::<Pair>(
            json!({"third": 1}),
            Some("third"),
            "is not a known field; use one of `one`, `other`",
        );
        check::<Empty>(json!({"a": 1}), Some("a"), "is not a known field; there are none here");
        check::<Choice>(json!("up"), None, "must be one of `left`, `right`, `both`, not `up`");
        check::<u32>(json!("a"), None, "must be a whole number from 0 on, not \"a\"");
        check::<Vec<u32>>(json!("a"), None, "must be a list, not \"a\"");
        check::<Pair>(json!("a"), None, "must be an object, not \"a\"");
        check::<String>(json!([1]), None, "must be a string, not a list");
        check::<f64>(json!({}), None, "must be a number, not an object");
        check::<u32>(json!(-1), None, "must be a whole number from 0 on, not `-1`");
    }

    #[test]
    fn what_was_to_stand_in_place_of_a_text_can_be_said_without_the_text() {
        let message = serde_json::from_value::<u32>(json!("sk-secret\", expected b"));
        let message = message.unwrap_err().to_string();
        let DecodeError::UnexpectedText { expected, .. } = DecodeError::read(&message) else {
            panic!("{message}")
        };
        assert_eq!(expected, "u32");
    }

    #[test]
    fn a_name_may_look_like_the_sentence_around_it() {
        for name in ["`, expected ", "`, expected one of `x`", "missing field `"] {
            let known = "is not a known field; use one of `one`, `other`";
            check::<Pair>(json!({name: 1}), Some(name), known);
        }
    }
}
