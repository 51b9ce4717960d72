//! The schema of a tool as it is sent to a provider: the same tool, in keywords that it accepts.
//!
//! Pure. Arguments are checked against the tool's own schema, so the schema that is sent may be
//! looser, never stricter. Whether a schema makes sense is not checked here.

use serde_json::{Map, Value, json};

/// Deepest nesting that is followed; also where a schema that refers to itself is cut.
const DEPTH_MAX: usize = 24;
/// Keywords that name schemas, by name.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// What Gemini knows of JSON Schema; it refuses the rest.
const GEMINI: [&str; 18] = [
    "type",
    "title",
    "description",
    "nullable",
    "default",
    "enum",
    "format",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "anyOf",
];

/// Which dialect of JSON Schema a provider reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaDialect {
    /// JSON Schema, with everything explicit that most providers require.
    Usual,
    /// The part of OpenAPI's schemas that Gemini reads.
    Gemini,
}

/// The schema to send.
pub(crate) fn as_sent(schema: &Value, dialect: SchemaDialect) -> Value {
    let schema = flat(schema.clone());
    match dialect {
        SchemaDialect::Usual => usual(schema, DEPTH_MAX),
        SchemaDialect::Gemini => {
            let root = schema.clone();
            gemini(schema, &root, DEPTH_MAX)
        }
    }
}

/// An object with `properties` and without alternatives: those of all branches are its own.
fn flat(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else {
        return json!({"type": "object", "properties": {}});
    };
    fields.remove("$schema");
    fields.remove("$id");
    fields.insert("type".into(), "object".into());
    let mut properties = match fields.remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let branches = fields.remove(keyword);
        for branch in branches.iter().filter_map(Value::as_array).flatten() {
            let own = branch.get("properties").and_then(Value::as_object).cloned();
            for (name, property) in own.unwrap_or_default() {
                properties.entry(name).or_insert(property);
            }
            if keyword == "allOf" {
                merge_required(&mut fields, branch.get("required"));
            }
        }
    }
    for keyword in
        ["not", "enum", "const", "if", "then", "else", "dependentRequired", "dependentSchemas"]
    {
        fields.remove(keyword);
    }
    fields.insert("properties".into(), Value::Object(properties));
    Value::Object(fields)
}

fn merge_required(fields: &mut Map<String, Value>, more: Option<&Value>) {
    let Some(more) = more.and_then(Value::as_array) else { return };
    let required = fields.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        let new = more.iter().filter(|name| !required.contains(name)).cloned().collect::<Vec<_>>();
        required.extend(new);
    }
}

/// The schema with the types that its enumerations have, and with `items`.
fn usual(schema: Value, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return json!({}) };
    let mut fields = match schema {
        Value::Object(fields) => fields,
        Value::Array(schemas) => {
            return schemas.into_iter().map(|schema| usual(schema, depth)).collect();
        }
        other => return other,
    };
    if !fields.contains_key("type")
        && let Some(kind) = kind_of_values(&fields)
    {
        // First, where a reader looks for it.
        let rest = std::mem::take(&mut fields);
        fields.insert("type".into(), kind.into());
        fields.extend(rest);
    }
    if is_array(&fields) && !fields.contains_key("items") {
        fields.insert("items".into(), json!({}));
    }
    if let Some(Value::Array(places)) = fields.get("items") {
        // A schema for each place, in the way of old drafts.
        fields.insert("items".into(), json!({"anyOf": places}));
    }
    for (key, value) in &mut fields {
        let inner = value.take();
        *value = match (key.as_str(), inner) {
            (name, Value::Object(named)) if NAMED.contains(&name) => {
                named.into_iter().map(|(name, schema)| (name, usual(schema, depth))).collect()
            }
            ("items" | "additionalProperties" | "anyOf" | "oneOf" | "allOf" | "not", inner) => {
                usual(inner, depth)
            }
            (_, inner) => inner,
        };
    }
    Value::Object(fields)
}

fn is_array(fields: &Map<String, Value>) -> bool {
    match fields.get("type") {
        Some(Value::String(kind)) => kind == "array",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "array"),
        _ => false,
    }
}

/// The type that all values of an enumeration have.
fn kind_of_values(fields: &Map<String, Value>) -> Option<&'static str> {
    let one = fields.get("const").map(std::slice::from_ref);
    let values = fields.get("enum").and_then(Value::as_array).map(Vec::as_slice).or(one)?;
    let kind = |value: &Value| match value {
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("boolean"),
        Value::Number(number) if number.is_f64() => Some("number"),
        Value::Number(_) => Some("integer"),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let first = kind(values.first()?)?;
    values.iter().all(|value| kind(value) == Some(first)).then_some(first)
}

fn gemini(schema: Value, root: &Value, depth: usize) -> Value {
    let anything = || json!({"type": "string"});
    let (Some(depth), Value::Object(fields)) = (depth.checked_sub(1), schema) else {
        return anything();
    };
    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).cloned();
        return target.map_or_else(anything, |target| gemini(target, root, depth));
    }
    let mut fields = fields;
    if let Some(kind) = fields.get("type").and_then(Value::as_array).cloned() {
        let named = kind.iter().find(|kind| *kind != "null").cloned();
        fields.insert("type".into(), named.unwrap_or_else(|| "string".into()));
        if kind.iter().any(|kind| kind == "null") {
            fields.insert("nullable".into(), true.into());
        }
    }
    if let Some(value) = fields.remove("const") {
        fields.insert("enum".into(), json!([value]));
    }
    if let Some(branches) = fields.remove("oneOf") {
        fields.entry("anyOf").or_insert(branches);
    }
    if let Some(Value::Array(branches)) = fields.remove("allOf") {
        for branch in branches {
            let Value::Object(more) = branch else { continue };
            for (key, value) in more {
                fields.entry(key).or_insert(value);
            }
        }
        return gemini(Value::Object(fields), root, depth);
    }
    // Its enumerations are of strings.
    if fields
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|values| values.iter().any(|v| !v.is_string()))
    {
        let kind = kind_of_values(&fields);
        fields.remove("enum");
        if let Some(kind) = kind {
            fields.entry("type").or_insert_with(|| kind.into());
        }
    }
    if !fields.contains_key("type") && !fields.contains_key("anyOf") {
        let kind = match () {
            () if fields.contains_key("properties") => "object",
            () if fields.contains_key("items") => "array",
            () => "string",
        };
        fields.insert("type".into(), kind.into());
    }
    let known_format = fields.get("format").and_then(Value::as_str).is_some_and(|format| {
        matches!(format, "enum" | "date-time" | "int32" | "int64" | "float" | "double")
    });
    if !known_format {
        fields.remove("format");
    }
    fields.retain(|key, _| GEMINI.contains(&key.as_str()));
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for (_, property) in properties.iter_mut() {
            *property = gemini(property.take(), root, depth);
        }
    }
    let names: Vec<String> = fields
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default();
    if let Some(Value::Array(required)) = fields.get_mut("required") {
        required
            .retain(|name| name.as_str().is_some_and(|name| names.iter().any(|own| own == name)));
    }
    if fields.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        fields.remove("required");
    }
    if let Some(Value::Array(branches)) = fields.get_mut("anyOf") {
        for branch in branches {
            *branch = gemini(branch.take(), root, depth);
        }
    }
    if is_array(&fields) {
        let items = fields.get("items").cloned();
        let items = items.map_or_else(anything, |items| gemini(items, root, depth));
        fields.insert("items".into(), items);
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dialect: SchemaDialect, schema: Value, expected: Value) {
        let sent = as_sent(&schema, dialect);
        assert_eq!(sent, expected, "{sent}");
        assert_eq!(as_sent(&sent, dialect), expected, "twice is once");
    }

    #[test]
    fn most_want_properties_types_and_items() {
        let usual = SchemaDialect::Usual;
        check(usual, json!({"type": "object"}), json!({"type": "object", "properties": {}}));
        check(
            usual,
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                   "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "array"}, "c": {"const": 3},
                                  "d": {"type": "array", "items": {"enum": ["x"]}}, "e": {"enum": [1, "x"]}},
                   "additionalProperties": false}),
            json!({"type": "object", "additionalProperties": false,
                   "properties": {"a": {"type": "string", "enum": ["x", "y"]}, "b": {"type": "array", "items": {}},
                                  "c": {"type": "integer", "const": 3},
                                  "d": {"type": "array", "items": {"type": "string", "enum": ["x"]}},
                                  "e": {"enum": [1, "x"]}}}),
        );
        // OpenAI and Anthropic refuse alternatives at the top.
        check(
            usual,
            json!({"type": "object", "properties": {"a": {"type": "string"}},
                   "anyOf": [{"required": ["a"]}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}],
                   "allOf": [{"properties": {"c": {}}, "required": ["c"]}]}),
            json!({"type": "object", "required": ["c"],
                   "properties": {"a": {"type": "string"}, "c": {}, "b": {"type": "integer"}}}),
        );
    }

    #[test]
    fn a_property_may_be_named_like_a_keyword() {
        check(
            SchemaDialect::Usual,
            json!({"type": "object", "properties": {"enum": {"type": "array"}, "type": {"enum": ["a"]}}}),
            json!({"type": "object", "properties": {"enum": {"type": "array", "items": {}},
                                                    "type": {"type": "string", "enum": ["a"]}}}),
        );
    }

    #[test]
    fn gemini_reads_a_part_of_json_schema() {
        let gemini = SchemaDialect::Gemini;
        check(
            gemini,
            json!({"type": "object", "additionalProperties": false, "required": ["a", "gone"],
                   "properties": {"a": {"type": ["string", "null"], "format": "uri"}, "b": {"enum": [1, 2]},
                                  "c": {"type": "array"}, "d": {}, "e": {"const": "x"},
                                  "f": {"oneOf": [{"type": "string"}, {"type": "integer", "exclusiveMinimum": 0}]}}}),
            json!({"type": "object", "required": ["a"],
                   "properties": {"a": {"type": "string", "nullable": true}, "b": {"type": "integer"},
                                  "c": {"type": "array", "items": {"type": "string"}}, "d": {"type": "string"},
                                  "e": {"enum": ["x"], "type": "string"},
                                  "f": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}),
        );
        let sent = as_sent(
            &json!({"type": "object", "$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}},
                    "properties": {"first": {"$ref": "#/$defs/n"}, "bad": {"$ref": "#/$defs/none"}}}),
            gemini,
        );
        assert_eq!(sent["properties"]["first"]["properties"]["next"]["type"], "object");
        assert_eq!(sent["properties"]["bad"], json!({"type": "string"}));
        assert!(!sent.to_string().contains("$ref"));
    }
}
