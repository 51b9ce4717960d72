//! The input schema of a server's tool, mended where that is safe: the result accepts at least what
//! the tool accepts. A schema that still makes no sense is an error.
//!
//! Pure. Dialects of providers are not known here.

use serde_json::{Map, Value, json};

use crate::text::printable;

/// Largest input schema, in bytes of compact JSON.
pub(crate) const SCHEMA_MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of an input schema.
pub(crate) const SCHEMA_MAX_DEPTH: usize = 32;
/// Most faults of one schema that are mended by leaving a keyword out.
const FAULTS_MAX: usize = 32;
/// What JSON Schema calls types.
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
/// Keywords whose members are schemas by name.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords that hold a schema, or a list of schemas.
const NESTED: [&str; 14] = [
    "items",
    "prefixItems",
    "additionalItems",
    "additionalProperties",
    "contains",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedProperties",
];
/// Keywords that point to another schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The schema that stands for one that a server did not send.
pub(crate) fn absent() -> Value {
    json!({"type": "null"})
}

/// The schema as it can be used, and whether something in it was mended.
pub(crate) fn mended(schema: &Value) -> Result<(Value, bool), String> {
    if *schema == absent() {
        return Err("it has no input schema".into());
    }
    check_depth_and_references(schema, SCHEMA_MAX_DEPTH)?;
    if schema.to_string().len() > SCHEMA_MAX_BYTES {
        return Err(format!("its input schema is larger than {SCHEMA_MAX_BYTES} bytes"));
    }
    let mut mended = schema.clone();
    let Some(fields) = mended.as_object_mut() else { return Err(not_an_object()) };
    let is_object = match fields.get("type") {
        None => true,
        Some(Value::String(kind)) => kind.eq_ignore_ascii_case("object"),
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        Some(_) => false,
    };
    if !is_object {
        return Err(not_an_object());
    }
    fields.insert("type".into(), "object".into());
    if !fields.get("properties").is_some_and(Value::is_object) {
        fields.insert("properties".into(), json!({}));
    }
    fields.remove("$id");
    let draft = fields.get("$schema").and_then(Value::as_str).unwrap_or_default();
    if !["http://json-schema.org/", "https://json-schema.org/"]
        .iter()
        .any(|known| draft.starts_with(known))
    {
        fields.remove("$schema");
    }
    let root = mended.clone();
    mend(&mut mended, &root);
    leave_faults_out(&mut mended)?;
    let is_mended = mended != *schema;
    Ok((mended, is_mended))
}

fn not_an_object() -> String {
    "its input schema is not of type `object`".into()
}

/// Recursion is bounded: the depth was checked.
fn mend(schema: &mut Value, root: &Value) {
    if let Value::Array(schemas) = schema {
        schemas.iter_mut().for_each(|schema| mend(schema, root));
        return;
    }
    let Value::Object(fields) = schema else { return };
    let is_broken = |key: &str| {
        let target = fields.get(key).and_then(Value::as_str);
        target.and_then(|target| target.strip_prefix('#')).is_some_and(|pointer| {
            // An anchor, without a slash, is left to the validator.
            (pointer.is_empty() || pointer.starts_with('/')) && root.pointer(pointer).is_none()
        })
    };
    if let Some(key) = REFERENCES.into_iter().find(|key| is_broken(key)) {
        fields.remove(key);
    }
    mend_type(fields);
    mend_properties(fields);
    for (key, inner) in fields.iter_mut() {
        match inner {
            Value::Object(named) if NAMED.contains(&key.as_str()) => {
                named.values_mut().for_each(|schema| mend(schema, root));
            }
            inner if NESTED.contains(&key.as_str()) => mend(inner, root),
            _ => {}
        }
    }
}

/// A type that does not exist is dropped, unless it is another name of one that does.
fn mend_type(fields: &mut Map<String, Value>) {
    let Some(Value::String(kind)) = fields.get("type") else { return };
    if TYPES.contains(&kind.as_str()) {
        return;
    }
    let lower = kind.to_ascii_lowercase();
    let known = match lower.as_str() {
        "str" | "text" | "date" | "datetime" | "date-time" | "uuid" | "uri" | "enum" => {
            Some("string")
        }
        "int" | "int32" | "int64" | "long" => Some("integer"),
        "float" | "double" | "decimal" => Some("number"),
        "bool" => Some("boolean"),
        "list" | "tuple" | "set" => Some("array"),
        "dict" | "map" => Some("object"),
        "none" => Some("null"),
        other => TYPES.into_iter().find(|kind| *kind == other),
    };
    match known {
        Some(known) => fields.insert("type".into(), known.into()),
        None => fields.remove("type"),
    };
}

/// What is required stands beside `properties`: neither among them, nor in one of them.
fn mend_properties(fields: &mut Map<String, Value>) {
    let mut required: Vec<Value> = match fields.get("required") {
        Some(Value::Array(names)) => {
            names.iter().filter(|name| name.is_string()).cloned().collect()
        }
        _ => Vec::new(),
    };
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        if let Some(names) = properties.get("required").and_then(Value::as_array).cloned()
            && names.iter().all(Value::is_string)
        {
            properties.shift_remove("required");
            required.extend(names);
        }
        for (name, property) in properties.iter_mut() {
            match property {
                Value::Object(own) => {
                    if let Some(flag) = own.get("required").and_then(Value::as_bool) {
                        own.shift_remove("required");
                        if flag {
                            required.push(name.clone().into());
                        }
                    }
                }
                Value::Bool(_) => {}
                // Its type alone, in short.
                Value::String(kind) => *property = json!({"type": kind}),
                Value::Null | Value::Number(_) | Value::Array(_) => *property = json!({}),
            }
        }
    }
    let mut names: Vec<Value> = Vec::new();
    for name in required {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match (names.is_empty(), fields.get("required")) {
        (true, Some(Value::Array(kept))) if kept.is_empty() => {}
        (true, _) => {
            fields.shift_remove("required");
        }
        (false, _) => {
            fields.insert("required".into(), names.into());
        }
    }
}

/// Leaves out, one by one, the keywords that the validator cannot read: without them the schema
/// accepts more.
fn leave_faults_out(schema: &mut Value) -> Result<(), String> {
    for _ in 0..FAULTS_MAX {
        let (at, fault) = match jsonschema::validator_for(schema) {
            Ok(_) => return Ok(()),
            Err(fault) => (fault.instance_path().to_string(), fault.to_string()),
        };
        if !leave_out(schema, &at) {
            return Err(format!("its input schema is broken: {}", printable(&fault, 256)));
        }
    }
    Err(format!("its input schema has more than {FAULTS_MAX} faults"))
}

/// Removes what a JSON pointer points to; never the whole, its type or its properties.
fn leave_out(schema: &mut Value, at: &str) -> bool {
    let Some((parent, key)) = at.rsplit_once('/') else { return false };
    let key = key.replace("~1", "/").replace("~0", "~");
    if parent.is_empty() && matches!(key.as_str(), "type" | "properties") {
        return false;
    }
    match schema.pointer_mut(parent) {
        Some(Value::Object(fields)) => fields.shift_remove(&key).is_some(),
        Some(Value::Array(items)) => match key.parse::<usize>() {
            Ok(place) if place < items.len() => {
                items.remove(place);
                true
            }
            Ok(_) | Err(_) => false,
        },
        _ => false,
    }
}

/// Recursion is bounded by the depth.
fn check_depth_and_references(schema: &Value, depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("its input schema is nested deeper than {SCHEMA_MAX_DEPTH}"));
    };
    match schema {
        Value::Object(members) => {
            members.iter().try_for_each(|(key, value)| match (key.as_str(), value) {
                (reference, Value::String(target))
                    if REFERENCES.contains(&reference) && !target.starts_with('#') =>
                {
                    Err(format!("its input schema refers to `{}`", printable(target, 128)))
                }
                _ => check_depth_and_references(value, depth),
            })
        }
        Value::Array(items) => {
            items.iter().try_for_each(|item| check_depth_and_references(item, depth))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(schema: Value, expected: Value) {
        let (mended_schema, is_mended) = mended(&schema).unwrap();
        assert_eq!(mended_schema, expected, "{mended_schema}");
        assert_eq!(is_mended, schema != expected);
        assert_eq!(mended(&mended_schema).unwrap(), (expected, false), "twice is once");
    }

    fn with(property: Value) -> Value {
        json!({"type": "object", "properties": {"a": property}})
    }

    #[test]
    fn a_good_schema_stays_as_it_is() {
        let good = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
            "properties": {
                "required": {"type": "boolean"}, "type": {"enum": ["a", 1]}, "list": {"type": "array"},
                "node": {"$ref": "#/$defs/node"}, "when": {"type": "string", "pattern": "^\\d{4}$"},
            },
            "required": ["list"],
            "$defs": {"node": {"type": ["object", "null"], "properties": {"next": {"$ref": "#/$defs/node"}}}},
        });
        check(good.clone(), good);
    }

    #[test]
    fn what_is_safe_is_mended() {
        check(json!({}), json!({"type": "object", "properties": {}}));
        check(
            json!({"type": "object", "properties": []}),
            json!({"type": "object", "properties": {}}),
        );
        check(json!({"type": "object"}), json!({"type": "object", "properties": {}}));
        check(json!({"type": ["object", "null"]}), json!({"type": "object", "properties": {}}));
        check(
            json!({"type": "object", "properties": {"a": {"type": "string"}, "required": ["a"]}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
        );
        check(
            with(json!({"type": "string", "required": true})),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
        );
        check(with(json!({"type": "string", "required": false})), with(json!({"type": "string"})));
        check(with(json!({"type": "any"})), with(json!({})));
        check(with(json!({"type": "String"})), with(json!({"type": "string"})));
        check(
            with(json!({"type": "array", "items": {"type": "int"}})),
            with(json!({"type": "array", "items": {"type": "integer"}})),
        );
        check(with(json!("string")), with(json!({"type": "string"})));
        check(with(json!(null)), with(json!({})));
        check(
            with(json!({"$ref": "#/$defs/none", "description": "d"})),
            with(json!({"description": "d"})),
        );
        check(with(json!({"type": "string", "pattern": "(["})), with(json!({"type": "string"})));
        check(with(json!({"type": "integer", "minimum": "1"})), with(json!({"type": "integer"})));
        check(with(json!({"enum": "x"})), with(json!({})));
        check(
            json!({"type": "object", "properties": {}, "required": null, "$schema": "urn:mine"}),
            json!({"type": "object", "properties": {}}),
        );
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let check = |schema: Value, expected: Expect| {
            expected.assert_eq(&mended(&schema).unwrap_err());
        };
        check(absent(), expect!["it has no input schema"]);
        check(json!({"type": "array"}), expect!["its input schema is not of type `object`"]);
        check(json!([]), expect!["its input schema is not of type `object`"]);
        check(
            with(json!({"items": [{"$ref": "https://evil.example/s"}]})),
            expect!["its input schema refers to `https://evil.example/s`"],
        );
        let deep = (0..32).fold(json!({}), |inner, _| json!({"not": inner}));
        check(
            json!({"type": "object", "not": deep}),
            expect!["its input schema is nested deeper than 32"],
        );
        check(
            json!({"type": "object", "title": "x".repeat(SCHEMA_MAX_BYTES)}),
            expect!["its input schema is larger than 65536 bytes"],
        );
    }
}
