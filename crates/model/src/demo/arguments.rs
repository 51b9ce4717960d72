//! Arguments for any tool: found in the user's words, fitted to the tool's JSON Schema.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::demo::phrase::{DATE, pattern, quoted, trimmed};

/// The arguments, or the names of those that are required and not to be found.
///
/// A JSON object in the words is taken as it stands. `previous` is what the thing done before gave:
/// “count its words” means that.
pub(super) fn fit(
    schema: &Value,
    words: &str,
    previous: Option<&str>,
) -> Result<Value, Vec<String>> {
    if let Some(object) = json_object(words) {
        return Ok(object);
    }
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut dates = DATE.find_iter(words).map(|found| found.as_str().to_owned());
    let mut texts = quoted(words).into_iter();
    let numbers = DATE.replace_all(words, " ");
    let mut args = Map::new();
    for (name, property) in properties {
        let is_required = required.contains(&name.as_str());
        let value = match kind(property) {
            "string" if is_date(name, property) => dates.next().map(Value::from),
            "string" => listed(property, words).or_else(|| {
                let text = texts.next().filter(|_| is_required || required.is_empty());
                let sole = required.len() <= 1 && (is_required || properties.len() == 1);
                let text = text.or_else(|| sole.then(|| tail(words))?);
                text.or_else(|| previous.filter(|_| sole).map(str::to_owned)).map(Value::from)
            }),
            "integer" | "number" => number(name, &numbers, is_required),
            _ => None,
        };
        if let Some(value) = value {
            args.insert(name.clone(), value);
        }
    }
    let missing: Vec<String> =
        required.iter().filter(|name| !args.contains_key(**name)).map(|n| n.to_string()).collect();
    if missing.is_empty() { Ok(Value::Object(args)) } else { Err(missing) }
}

/// The first JSON object in a text.
fn json_object(words: &str) -> Option<Value> {
    words.match_indices('{').find_map(|(at, _)| {
        let text = words.get(at..)?;
        let first = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
        first?.ok().filter(Value::is_object)
    })
}

/// The type of a property; of a nullable one, the other type.
fn kind(property: &Value) -> &str {
    let alternatives = property.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    alternatives
        .chain([property])
        .filter_map(|schema| match schema.get("type")? {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|k| *k != "null"),
            kind => kind.as_str(),
        })
        .find(|kind| *kind != "null")
        .unwrap_or_default()
}

fn is_date(name: &str, property: &Value) -> bool {
    let described = property.to_string().to_ascii_lowercase().contains("a date");
    described
        || matches!(name, "date" | "start" | "end" | "day" | "from" | "to")
        || name.ends_with("_date")
}

/// A value of an enumeration that the words name.
fn listed(property: &Value, words: &str) -> Option<Value> {
    let values = property.get("enum")?.as_array()?;
    values.iter().find(|value| value.as_str().is_some_and(|text| words.contains(text))).cloned()
}

/// The text behind a colon, or behind “of” or “in”.
fn tail(words: &str) -> Option<String> {
    static TAIL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?is)[:：]\s*(?P<colon>.+)$|\b(?:of|in)\s+(?:this text\s*)?(?P<of>.+)$")
    });
    static POINTS_BACK: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?i)^(?:it|that|this|them|the (?:file|text|result|content)s?|its (?:text|content)s?|这个文件|它|其)$",
        )
    });
    let found = TAIL.captures(words)?;
    let text = trimmed(found.name("colon").or(found.name("of"))?.as_str()).trim_end_matches('?');
    (!text.is_empty() && !POINTS_BACK.is_match(text)).then(|| text.to_owned())
}

/// A number with the property's name or, for spans of time, its unit; negative for “before”.
fn number(name: &str, words: &str, is_required: bool) -> Option<Value> {
    static BEFORE: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)\bbefore\b|\bago\b|\bearlier\b|\bminus\b|前"));
    static ANY: LazyLock<Regex> = LazyLock::new(|| pattern(r"-?\d+(?:\.\d+)?"));
    let unit = match name {
        "days" => r"(?:days?\b|天|日)",
        "weeks" => r"(?:weeks?\b|个?(?:周|星期))",
        "months" => r"(?:months?\b|个月)",
        "years" => r"(?:years?\b|年)",
        _ => "",
    };
    if !unit.is_empty() {
        let with_unit = Regex::new(&format!(r"(?i)(-?\d+)\s*{unit}")).ok()?;
        let count: i64 = with_unit.captures(words)?.get(1)?.as_str().parse().ok()?;
        return Some(if BEFORE.is_match(words) { -count.abs() } else { count }.into());
    }
    let named =
        Regex::new(&format!(r"(?i)\b{}\b\s*[=:：]?\s*(-?\d+(?:\.\d+)?)", regex::escape(name)));
    let named = named.ok()?.captures(words).and_then(|found| found.get(1));
    let found = match named {
        Some(found) => found,
        None => ANY.find(words).filter(|_| is_required)?,
    };
    serde_json::from_str(found.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, words: &str, previous: Option<&str>, expected: Result<Value, &str>) {
        let expected = expected.map_err(|name| vec![name.to_owned()]);
        assert_eq!(fit(schema, words, previous), expected, "{words}");
    }

    #[test]
    fn a_text_is_found_in_quotes_or_behind_a_colon_or_came_before() {
        let text = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
        check(&text, "text_stats \"one two\"", None, Ok(json!({"text": "one two"})));
        check(&text, "统计字数：今天天气很好。", None, Ok(json!({"text": "今天天气很好"})));
        check(&text, "统计“今天天气”的字数", None, Ok(json!({"text": "今天天气"})));
        check(
            &text,
            "count the words of to be or not to be",
            None,
            Ok(json!({"text": "to be or not to be"})),
        );
        check(&text, "count its words", Some("old text"), Ok(json!({"text": "old text"})));
        check(&text, "count the words of it", Some("old text"), Ok(json!({"text": "old text"})));
        check(&text, "count the words", None, Err("text"));
        check(
            &text,
            "use it with {\"text\": \"a\", \"b\": [1]} now",
            None,
            Ok(json!({"text": "a", "b": [1]})),
        );
    }

    #[test]
    fn dates_numbers_and_choices_are_found_by_their_schema() {
        let add = json!({"type": "object", "properties": {
            "date": {"type": "string"}, "years": {"type": "integer"}, "months": {"type": "integer"},
            "weeks": {"type": "integer"}, "days": {"type": "integer"},
        }, "required": ["date"]});
        check(
            &add,
            "10 days after 2026-03-05",
            None,
            Ok(json!({"date": "2026-03-05", "days": 10})),
        );
        check(&add, "2026年3月5日3周前", None, Ok(json!({"date": "2026年3月5日", "weeks": -3})));
        check(&add, "tomorrow", None, Err("date"));
        let between = json!({"properties": {"start": {"type": "string"}, "end": {"type": "string"}}, "required": ["start", "end"]});
        check(
            &between,
            "days between 2026-01-01 and May 5, 2026",
            None,
            Ok(json!({"start": "2026-01-01", "end": "May 5, 2026"})),
        );
        let pick = json!({"properties": {
            "unit": {"enum": ["metric", "imperial"], "type": "string"},
            "count": {"type": ["integer", "null"]},
        }, "required": ["unit", "count"]});
        check(&pick, "imperial, count = 3", None, Ok(json!({"unit": "imperial", "count": 3})));
        check(&json!({}), "anything", None, Ok(json!({})));
        check(&Value::Null, "anything", None, Ok(json!({})));
    }
}
