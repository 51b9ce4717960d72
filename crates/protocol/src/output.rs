//! The JSON Schema that the answer of a run must match: which schemas are accepted, and whether an
//! answer fits.
//!
//! A schema comes from a tenant, so that it is bounded and nothing is fetched for it; patterns are those
//! of a matcher that needs time in proportion to the text. How a model is told of it is not known here.

use std::{borrow::Cow, collections::HashMap};

use jsonschema::{
    PatternOptions, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    error::FieldError,
    limits::RESPONSE_FORMAT_MAX_BYTES,
    strict_json::{self, push},
};

/// Most faults of an answer that are named at once.
const FAULTS_MAX: usize = 8;
/// Longest words about one fault, in characters: they quote the answer.
const FAULT_MAX_CHARS: usize = 300;
/// Size of a compiled pattern, in bytes.
const PATTERN_MAX_BYTES: usize = 256 * 1024;

/// Most keys and values of an answer, together.
const VALUES_MAX: usize = 256 * 1024;
/// Most looks at a value that checking an answer may take, by all ways through the schema.
const LOOKS_MAX: u64 = 2_000_000;
/// Up to so many all faults are gathered; beyond, the first one.
const LOOKS_FOR_ALL_FAULTS_MAX: u64 = 20_000;
/// Deepest way through schema and answer.
const LOOKS_DEPTH_MAX: usize = 256;

/// Values of `$schema` whose rules are known, without the `#` at their end.
const DRAFTS: [&str; 5] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
];

/// Keywords that hold one schema.
const ONE: [&str; 13] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "extends",
];
/// Keywords that hold a list of schemas.
const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords that hold schemas by name.
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// Keywords by which a reference could mean something else than a place in the schema.
const REFUSED: [&str; 6] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
];

/// The JSON Schema of an answer, as it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResponseFormat(Map<String, Value>);

impl ResponseFormat {
    /// The schema itself.
    pub fn schema(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Notes what is wrong with the schema, with pointers below `at`.
    pub fn check(&self, at: &str, faults: &mut Vec<FieldError>) {
        if let Err(fault) = self.compile() {
            faults.push(FieldError::new(format!("{at}{}", fault.field), fault.message));
        }
    }

    /// What checks answers; or the first fault, with a pointer into the schema.
    pub fn compile(&self) -> Result<OutputCheck, FieldError> {
        let schema = self.schema();
        if schema.to_string().len() > RESPONSE_FORMAT_MAX_BYTES {
            let most = format!("must be at most {RESPONSE_FORMAT_MAX_BYTES} bytes of JSON");
            return Err(FieldError::new("", most));
        }
        if schema.get("type").and_then(Value::as_str) == Some("json_schema") {
            let message = "must be a JSON Schema itself, without `json_schema` around it";
            return Err(FieldError::new("/type", message));
        }
        check_draft(&schema)?;
        check_references(&schema, &schema, &mut String::new())?;
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_MAX_BYTES))
            .build(&schema)
            .map_err(|error| {
                let at = error.instance_path().to_string();
                let message = schema_fault(error.kind(), &at);
                FieldError::new(at, message)
            })?;
        Ok(OutputCheck { schema, validator })
    }
}

/// An answer in JSON, byte for byte as the model wrote it: its keys keep their order and its numbers
/// their digits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutputJson(Box<RawValue>);

impl OutputJson {
    /// None where the text is not JSON.
    pub fn of(text: &str) -> Option<Self> {
        RawValue::from_string(text.to_owned()).ok().map(Self)
    }
}

impl PartialEq for OutputJson {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// Checks answers against the schema of a run.
#[derive(Debug)]
pub struct OutputCheck {
    schema: Value,
    validator: Validator,
}

impl OutputCheck {
    /// The JSON of an answer, without a Markdown fence around it; or what is wrong, for a model to
    /// read.
    pub fn read<'a>(&self, answer: &'a str) -> Result<&'a str, String> {
        let json = unfenced(answer);
        if json.is_empty() {
            return Err("it is empty".to_owned());
        }
        let value =
            strict_json::parse(json.as_bytes(), VALUES_MAX).map_err(|fault| told(&fault))?;
        let looks = Looks { root: &self.schema, known: HashMap::new() }.at(&self.schema, &value, 0);
        if looks > LOOKS_MAX {
            return Err("it is too large, or too deep, to be checked against the schema".to_owned());
        }
        if self.validator.is_valid(&value) {
            return Ok(json);
        }
        let most = if looks > LOOKS_FOR_ALL_FAULTS_MAX { 1 } else { FAULTS_MAX };
        let faults: Vec<_> = match most {
            1 => self.validator.validate(&value).err().into_iter().collect(),
            most => self.validator.iter_errors(&value).take(most).collect(),
        };
        let faults = faults.iter().map(|fault| {
            let field = fault.instance_path().to_string();
            told(&FieldError::new(field, shortened(&fault.to_string())))
        });
        Err(faults.collect::<Vec<_>>().join("; "))
    }
}

/// How often a validator may look at values. A schema of some lines can ask for more than a lifetime:
/// each level that refers to the next one twice doubles it. Counting does not, since each pair of
/// schema and value is counted once.
struct Looks<'a> {
    root: &'a Value,
    /// By the addresses of schema and value.
    known: HashMap<(usize, usize), u64>,
}

impl<'a> Looks<'a> {
    fn at(&mut self, schema: &'a Value, value: &'a Value, depth: usize) -> u64 {
        let Value::Object(fields) = schema else { return 1 };
        if depth > LOOKS_DEPTH_MAX {
            return u64::MAX;
        }
        let pair = (std::ptr::from_ref(schema).addr(), std::ptr::from_ref(value).addr());
        if let Some(known) = self.known.get(&pair) {
            return *known;
        }
        self.known.insert(pair, 0); // A validator ends a circle on the same value, too.
        let (mut here, mut below) = (0_u64, 1_u64);
        for (key, inner) in fields {
            match (key.as_str(), inner) {
                ("$ref", Value::String(target)) => {
                    if let Some(target) = target_of(self.root, target) {
                        here = here.saturating_add(self.at(target, value, depth + 1));
                    }
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                    for schema in schemas {
                        here = here.saturating_add(self.at(schema, value, depth + 1));
                    }
                }
                ("not" | "if" | "then" | "else", schema) => {
                    here = here.saturating_add(self.at(schema, value, depth + 1));
                }
                ("dependentSchemas" | "dependencies", Value::Object(named)) => {
                    for schema in named.values() {
                        here = here.saturating_add(self.at(schema, value, depth + 1));
                    }
                }
                ("properties", Value::Object(named)) => {
                    for (name, schema) in named {
                        if let Some(child) = value.get(name) {
                            below = below.saturating_add(self.at(schema, child, depth + 1));
                        }
                    }
                }
                ("patternProperties", Value::Object(named)) => {
                    for schema in named.values() {
                        below = below.saturating_add(self.at_all(schema, value, depth + 1));
                    }
                }
                ("prefixItems" | "items", Value::Array(schemas)) => {
                    for (place, schema) in schemas.iter().enumerate() {
                        if let Some(child) = value.get(place) {
                            below = below.saturating_add(self.at(schema, child, depth + 1));
                        }
                    }
                }
                (key, schema) if ONE.contains(&key) => {
                    below = below.saturating_add(self.at_all(schema, value, depth + 1));
                }
                _ => {}
            }
        }
        // What was not evaluated is found by evaluating once more.
        let again = ["unevaluatedItems", "unevaluatedProperties"];
        let times = if again.iter().any(|key| fields.contains_key(*key)) { 2 } else { 1 };
        let looks = below.saturating_add(here.saturating_mul(times));
        self.known.insert(pair, looks);
        looks
    }

    fn at_all(&mut self, schema: &'a Value, value: &'a Value, depth: usize) -> u64 {
        let looks =
            |looks: u64, child: &'a Value| looks.saturating_add(self.at(schema, child, depth));
        match value {
            Value::Object(fields) => fields.values().fold(0, looks),
            Value::Array(items) => items.iter().fold(0, looks),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
}

fn told(fault: &FieldError) -> String {
    match fault.field.is_empty() {
        true => fault.message.clone(),
        false => format!("`{}`: {}", fault.field, fault.message),
    }
}

/// An answer that is one fenced block, without its fence.
fn unfenced(answer: &str) -> &str {
    let answer = answer.trim();
    let inner = answer.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let Some((language, json)) = inner.and_then(|inner| inner.split_once('\n')) else {
        return answer;
    };
    match language.trim().to_ascii_lowercase().as_str() {
        "" | "json" => json.trim(),
        _ => answer,
    }
}

/// `$schema` names rules that are known.
fn check_draft(schema: &Value) -> Result<(), FieldError> {
    let Some(named) = schema.get("$schema") else { return Ok(()) };
    let named = named.as_str().map(|named| named.trim_end_matches('#'));
    if named.is_some_and(|named| DRAFTS.contains(&named)) {
        return Ok(());
    }
    let message =
        format!("is not a known version of JSON Schema; use one of `{}`", DRAFTS.join("`, `"));
    Err(FieldError::new("/$schema", message))
}

/// A reference means a place in the schema itself: nothing is fetched, and no name means two things.
fn check_references(root: &Value, schema: &Value, at: &mut String) -> Result<(), FieldError> {
    let Value::Object(fields) = schema else { return Ok(()) };
    let refused = |key: &str, message: &str| {
        let mut field = at.clone();
        push(&mut field, key);
        Err(FieldError::new(field, message))
    };
    if let Some(key) = REFUSED.iter().find(|key| fields.contains_key(**key)) {
        return refused(
            key,
            "is not supported: refer to a place in the schema, as in `#/$defs/name`",
        );
    }
    if !at.is_empty() && fields.get("$id").is_some_and(Value::is_string) {
        return refused("$id", "is supported at the top only");
    }
    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
        if target != "#" && !target.starts_with("#/") {
            return refused("$ref", "must begin with `#/`: nothing outside of the schema is read");
        }
        if target_of(root, target).is_none() {
            return refused("$ref", "names a place that is not in the schema");
        }
    }
    for (key, value) in fields {
        let key = key.as_str();
        match value {
            Value::Object(named) if NAMED.contains(&key) => {
                for (name, schema) in named {
                    check_below(root, schema, at, &[key, name])?;
                }
            }
            Value::Object(_) if ONE.contains(&key) => check_below(root, value, at, &[key])?,
            Value::Array(schemas) if LISTS.contains(&key) => {
                for (place, schema) in schemas.iter().enumerate() {
                    check_below(root, schema, at, &[key, &place.to_string()])?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_below(
    root: &Value,
    schema: &Value,
    at: &mut String,
    steps: &[&str],
) -> Result<(), FieldError> {
    let above = at.len();
    steps.iter().for_each(|step| push(at, step));
    let checked = check_references(root, schema, at);
    at.truncate(above);
    checked
}

/// What a reference means, read as the validator reads it: a pointer, percent-encoded.
fn target_of<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = percent_decode_str(reference.strip_prefix('#')?).decode_utf8().ok()?;
    root.pointer(&pointer)
}

/// What is wrong with a schema at a place of it, by the rules for schemas.
fn schema_fault(kind: &ValidationErrorKind, at: &str) -> Cow<'static, str> {
    use ValidationErrorKind as Kind;
    let pattern = "is not a pattern that can be used: it must be a regular expression without \
                   look-around and backreferences, and not too large";
    let message = match kind {
        Kind::Format { format } if format == "regex" => pattern,
        Kind::PropertyNames { .. } => "has a name that is not a pattern that can be used",
        Kind::AnyOf { .. } | Kind::Enum { .. } if at.ends_with("/type") => {
            "is not a type of JSON; use `array`, `boolean`, `integer`, `null`, `number`, `object`, \
             `string`, or a list of these, each once"
        }
        Kind::Type { kind: TypeKind::Single(one) } => {
            return format!("must be of type `{one}`").into();
        }
        Kind::Type { kind: TypeKind::Multiple(some) } => {
            let some: Vec<_> = some.iter().map(|one| one.to_string()).collect();
            return format!("must be of type `{}`", some.join("` or `")).into();
        }
        Kind::Minimum { limit } => return format!("must be at least {limit}").into(),
        Kind::ExclusiveMinimum { limit } => return format!("must be more than {limit}").into(),
        Kind::UniqueItems => "must not name anything twice",
        Kind::MinItems { .. } => "must not be empty",
        Kind::Referencing(_) => "has a `$ref` to a place that is not in the schema",
        _ => "is not what JSON Schema takes here",
    };
    message.into()
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(FAULT_MAX_CHARS) {
        None => words.to_owned(),
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn format(schema: Value) -> ResponseFormat {
        serde_json::from_value(schema).unwrap()
    }

    #[test]
    fn a_schema_that_is_not_valid_is_refused_at_its_place() {
        let check = |schema: Value, expected: Expect| {
            let mut faults = Vec::new();
            format(schema).check("/response_format", &mut faults);
            let told: Vec<_> =
                faults.iter().map(|f| format!("{} {}", f.field, f.message)).collect();
            expected.assert_eq(&told.join("\n"));
        };
        check(json!({}), expect![""]);
        check(
            json!({"type": "object", "$id": "https://example.com/a", "$schema": "http://json-schema.org/draft-07/schema#"}),
            expect![""],
        );
        check(json!({"properties": {"$ref": {"type": "string"}, "$anchor": {}}}), expect![""]);
        check(
            json!({"properties": {"a": {"type": "text"}}}),
            expect![
                "/response_format/properties/a/type is not a type of JSON; use `array`, `boolean`, `integer`, `null`, `number`, `object`, `string`, or a list of these, each once"
            ],
        );
        check(
            json!({"type": "json_schema", "json_schema": {}}),
            expect![
                "/response_format/type must be a JSON Schema itself, without `json_schema` around it"
            ],
        );
        check(
            json!({"$ref": "https://example.com/a.json"}),
            expect![
                "/response_format/$ref must begin with `#/`: nothing outside of the schema is read"
            ],
        );
        check(
            json!({"properties": {"a/b": {"anyOf": [{}, {"$ref": "other.json"}]}}}),
            expect![
                "/response_format/properties/a~1b/anyOf/1/$ref must begin with `#/`: nothing outside of the schema is read"
            ],
        );
        check(
            json!({"$ref": "#/$defs/absent"}),
            expect!["/response_format/$ref names a place that is not in the schema"],
        );
        check(
            json!({"$defs": {"a": {"$anchor": "a"}}}),
            expect![
                "/response_format/$defs/a/$anchor is not supported: refer to a place in the schema, as in `#/$defs/name`"
            ],
        );
        check(
            json!({"items": {"$id": "https://example.com/a"}}),
            expect!["/response_format/items/$id is supported at the top only"],
        );
        check(
            json!({"pattern": "(?=a)"}),
            expect![
                "/response_format/pattern is not a pattern that can be used: it must be a regular expression without look-around and backreferences, and not too large"
            ],
        );
        check(
            json!({"pattern": "((a{1,100}){1,100}){1,100}"}),
            expect![
                "/response_format/pattern is not a pattern that can be used: it must be a regular expression without look-around and backreferences, and not too large"
            ],
        );
        check(
            json!({"$schema": "https://example.com/mine"}),
            expect![
                "/response_format/$schema is not a known version of JSON Schema; use one of `https://json-schema.org/draft/2020-12/schema`, `https://json-schema.org/draft/2019-09/schema`, `http://json-schema.org/draft-07/schema`, `http://json-schema.org/draft-06/schema`, `http://json-schema.org/draft-04/schema`"
            ],
        );
        check(
            json!({"$schema": 7}),
            expect![
                "/response_format/$schema is not a known version of JSON Schema; use one of `https://json-schema.org/draft/2020-12/schema`, `https://json-schema.org/draft/2019-09/schema`, `http://json-schema.org/draft-07/schema`, `http://json-schema.org/draft-06/schema`, `http://json-schema.org/draft-04/schema`"
            ],
        );
        check(
            json!({"$schema": "http://json-schema.org/draft-03/schema#"}),
            expect![
                "/response_format/$schema is not a known version of JSON Schema; use one of `https://json-schema.org/draft/2020-12/schema`, `https://json-schema.org/draft/2019-09/schema`, `http://json-schema.org/draft-07/schema`, `http://json-schema.org/draft-06/schema`, `http://json-schema.org/draft-04/schema`"
            ],
        );
        check(
            json!({"items": {"$ref": "#/$defs/%FF"}}),
            expect!["/response_format/items/$ref names a place that is not in the schema"],
        );
        check(
            json!({"$ref": "#/$defs/a b", "$defs": {"a%20b": {}}}),
            expect!["/response_format/$ref names a place that is not in the schema"],
        );
        check(json!({"$ref": "#/$defs/a%20b", "$defs": {"a b": {}}}), expect![""]);
        check(
            json!({"x": {"$ref": "#/y"}, "$ref": "#/x"}),
            expect!["/response_format has a `$ref` to a place that is not in the schema"],
        );
        check(
            json!({"patternProperties": {"(?!a)": {}}}),
            expect![
                "/response_format/patternProperties/(?!a) is not a pattern that can be used: it must be a regular expression without look-around and backreferences, and not too large"
            ],
        );
        check(
            json!({"properties": {"a": {"pattern": "(a)\\1"}}}),
            expect![
                "/response_format/properties/a/pattern is not a pattern that can be used: it must be a regular expression without look-around and backreferences, and not too large"
            ],
        );
        check(
            json!({"properties": []}),
            expect!["/response_format/properties must be of type `object`"],
        );
        check(
            json!({"required": "a"}),
            expect!["/response_format/required must be of type `array`"],
        );
        check(
            json!({"required": ["a", "a"]}),
            expect!["/response_format/required must not name anything twice"],
        );
        check(
            json!({"items": 1}),
            expect!["/response_format/items must be of type `boolean` or `object`"],
        );
        check(json!({"anyOf": []}), expect!["/response_format/anyOf must not be empty"]);
        check(json!({"minLength": -1}), expect!["/response_format/minLength must be at least 0"]);
        check(json!({"multipleOf": 0}), expect!["/response_format/multipleOf must be more than 0"]);
        check(
            json!({"type": ["string", "string"]}),
            expect![
                "/response_format/type is not a type of JSON; use `array`, `boolean`, `integer`, `null`, `number`, `object`, `string`, or a list of these, each once"
            ],
        );
        check(json!({"enum": 1}), expect!["/response_format/enum must be of type `array`"]);
        check(
            json!({"title": "x".repeat(RESPONSE_FORMAT_MAX_BYTES)}),
            expect!["/response_format must be at most 32768 bytes of JSON"],
        );
    }

    #[test]
    fn an_answer_is_one_json_value_that_fits() {
        let schema = json!({"type": "object", "required": ["city"], "additionalProperties": false,
                            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer"}}});
        let check = format(schema).compile().unwrap();
        for good in [
            r#"{"city": "Oslo"}"#,
            " {\"city\":\"Rome\",\"days\":3}\n",
            "```json\n{\"city\":\"Oslo\"}\n```",
            "```\n{\"city\":\"Oslo\"}```",
            r#"{"city":"Oslo","days":3.0}"#,
        ] {
            assert_eq!(check.read(good), Ok(unfenced(good)), "{good}");
        }
        let lie = |answer: &str, expected: Expect| {
            expected.assert_eq(&check.read(answer).unwrap_err());
        };
        lie("", expect!["it is empty"]);
        lie("Oslo", expect!["is not JSON: it cannot be read at line 1, column 1"]);
        lie(
            r#"Here it is: {"city":"Oslo"}"#,
            expect!["is not JSON: it cannot be read at line 1, column 1"],
        );
        lie(
            r#"{"city":"Oslo"} I hope this helps."#,
            expect!["goes on behind the end of the JSON, at line 1, column 17"],
        );
        lie(
            r#"{"city":"Oslo"}{"city":"Rome"}"#,
            expect!["goes on behind the end of the JSON, at line 1, column 16"],
        );
        lie(r#"{"city":"Os"#, expect!["is not JSON: it ends too early"]);
        lie(
            r#""{\"city\":\"Oslo\"}""#,
            expect![[r#""{\"city\":\"Oslo\"}" is not of type "object""#]],
        );
        lie(r#"[{"city":"Oslo"}]"#, expect![[r#"[{"city":"Oslo"}] is not of type "object""#]]);
        lie("{}", expect![[r#""city" is a required property"#]]);
        lie(r#"{"city":"Paris"}"#, expect![[r#"`/city`: "Paris" is not one of "Oslo" or "Rome""#]]);
        lie(r#"{"city":"Oslo","days":"3"}"#, expect![[r#"`/days`: "3" is not of type "integer""#]]);
        lie(r#"{"city":"Oslo","days":3.5}"#, expect![[r#"`/days`: 3.5 is not of type "integer""#]]);
        lie(
            r#"{"city":"Oslo","days":NaN}"#,
            expect!["is not JSON: it cannot be read at line 1, column 23"],
        );
        lie(
            r#"{"city":"Oslo","days":1e400}"#,
            expect!["a number is out of range: send it as a string"],
        );
        lie(
            r#"{"city":"Oslo","days":123456789012345678901234567890}"#,
            expect!["`/days`: has more digits than can be kept: send it as a string"],
        );
        lie(
            r#"{"city":"Oslo","days":9007199254740993.5}"#,
            expect!["`/days`: has more digits than can be kept: send it as a string"],
        );
        lie(r#"{"city":"Oslo","city":"Rome"}"#, expect!["`/city`: is given twice"]);
        lie(
            r#"{"city":"Oslo","mood":"good"}"#,
            expect!["Additional properties are not allowed ('mood' was unexpected)"],
        );
        lie("{'city':'Oslo'}", expect!["is not JSON: it cannot be read at line 1, column 2"]);
        lie(r#"{"city":"Oslo",}"#, expect!["is not JSON: it cannot be read at line 1, column 16"]);
        lie("null", expect![[r#"null is not of type "object""#]]);
        lie(
            "```python\n{\"city\":\"Oslo\"}\n```",
            expect!["is not JSON: it cannot be read at line 1, column 1"],
        );
    }

    /// What could take for ever, or all of the stack, is answered all the same.
    #[test]
    fn a_schema_that_refers_to_itself_comes_to_an_end() {
        let check =
            |schema: Value, answer: &str| format(schema).compile().unwrap().read(answer).is_ok();
        assert!(check(json!({"$ref": "#"}), "1"));
        assert!(check(json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}), "1"));
        let both = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
        assert!(check(both, "1"));
        let deep = format!("{}1{}", "{\"c\":".repeat(60), "}".repeat(60));
        let twice = json!({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [
            {"type": "object", "properties": {"c": {"$ref": "#/$defs/n"}}, "required": ["c"]},
            {"type": "object", "properties": {"c": {"allOf": [{"$ref": "#/$defs/n"}]}}, "required": ["c"]},
            {"const": 2}]}}});
        assert!(!check(twice, &deep));
        let short = format!("{}1{}", "{\"c\":".repeat(9), "}".repeat(9));
        let all_twice = json!({"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [
            {"properties": {"c": {"$ref": "#/$defs/n"}}},
            {"properties": {"c": {"$ref": "#/$defs/n"}}}]}}});
        assert!(check(all_twice.clone(), &short));
        assert!(!check(all_twice, &deep));
        // A name of many spellings is the same place.
        let encoded = json!({"$ref": "#/$defs/%6e", "$defs": {"n": {"allOf": [
            {"properties": {"c": {"$ref": "#/$defs/%6E"}}},
            {"properties": {"c": {"$ref": "#/%24defs/n"}}}]}}});
        assert!(check(encoded.clone(), &short));
        assert!(!check(encoded, &deep));
        let mut chain = Map::new();
        for place in 0..1_000 {
            chain.insert(format!("a{place}"), json!({"$ref": format!("#/$defs/a{}", place + 1)}));
        }
        chain.insert("a1000".into(), json!({"properties": {"c": {"$ref": "#/$defs/a0"}}}));
        assert!(!check(json!({"$ref": "#/$defs/a0", "$defs": chain}), "1"), "too deep");
        let mut fan = Map::new();
        for place in 0..40 {
            let next = json!({"$ref": format!("#/$defs/f{}", place + 1)});
            fan.insert(format!("f{place}"), json!({"allOf": [next, next]}));
        }
        fan.insert("f40".into(), json!({"type": "string"}));
        assert!(!check(json!({"$ref": "#/$defs/f0", "$defs": fan}), "1"));
    }
}
