//! Repairs the lines of a server so that the SDK can read them: one invalid part must not cost the
//! rest.
//!
//! A line is mended only where the SDK would otherwise discard it. Nothing is made up: what cannot
//! be kept is named in its place.

use std::borrow::Cow;

use protocol::json::mended;
use rmcp::model::{CallToolResult, ContentBlock, Tool};
use serde_json::{Map, Value, json};

use crate::{schema, text::printable};

/// Longest name of an unknown kind of content that is repeated, in bytes.
const KIND_MAX_BYTES: usize = 64;

/// The protocol that a server is taken to speak when it does not say which: the first one.
const PROTOCOL_UNSAID: &str = "2024-11-05";

/// The line as a message of JSON-RPC, or as several where it is a batch; none where it is no JSON
/// object.
pub(crate) fn message(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    if line.starts_with(b"[") {
        return batch(line);
    }
    if !line.starts_with(b"{") {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let (mut value, is_mended) = match serde_json::from_str::<Value>(&text) {
        Ok(value) => (value, matches!(text, Cow::Owned(_))),
        Err(_) => (serde_json::from_str::<Value>(&mended(&text)).ok()?, true),
    };
    match mend_message(&mut value) || is_mended {
        true => Some(Cow::Owned(value.to_string().into_bytes())),
        false => Some(Cow::Borrowed(line)),
    }
}

/// Its messages, one a line.
fn batch(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = String::from_utf8_lossy(line);
    let mut messages: Vec<Value> = serde_json::from_str(&mended(&text)).ok()?;
    if messages.is_empty() || !messages.iter().all(Value::is_object) {
        return None;
    }
    messages.iter_mut().for_each(|message| {
        mend_message(message);
    });
    let messages: Vec<String> = messages.iter().map(Value::to_string).collect();
    Some(Cow::Owned(messages.join("\n").into_bytes()))
}

/// Says whether something was changed.
fn mend_message(message: &mut Value) -> bool {
    let Some(fields) = message.as_object_mut() else { return false };
    let is_null = |fields: &Map<String, Value>, key: &str| fields.get(key) == Some(&Value::Null);
    // An answer has one of them; some say both.
    let is_twofold = fields.contains_key("result") && fields.contains_key("error");
    let surplus = match is_twofold {
        true if is_null(fields, "error") => fields.remove("error"),
        true if is_null(fields, "result") => fields.remove("result"),
        _ => None,
    };
    let result = fields.get_mut("result").and_then(Value::as_object_mut);
    result.is_some_and(mend_result) || surplus.is_some()
}

/// Says whether something was changed.
fn mend_result(result: &mut Map<String, Value>) -> bool {
    let is_greeting =
        result.contains_key("capabilities") && !result.contains_key("supportedVersions");
    if is_greeting {
        return mend_greeting(result);
    }
    if let Some(Value::Array(tools)) = result.get_mut("tools") {
        return tools.iter_mut().map(mend_tool).fold(false, |any, changed| any | changed);
    }
    if let Some(legacy) = result.remove("toolResult") {
        // The form of the protocol's first version.
        let text = legacy.as_str().map_or_else(|| legacy.to_string(), str::to_owned);
        let content = result.entry("content").or_insert_with(|| Value::Array(Vec::new()));
        if content.as_array().is_some_and(Vec::is_empty) {
            *content = json!([{"type": "text", "text": text}]);
        }
        mend_result(result);
        return true;
    }
    let is_call =
        ["content", "structuredContent", "isError"].iter().any(|key| result.contains_key(*key));
    let is_other = result.get("resultType").is_some_and(|kind| kind != "complete");
    if !is_call
        || is_other
        || serde_json::from_value::<CallToolResult>(Value::Object(result.clone())).is_ok()
    {
        return false;
    }
    let content = match result.remove("content") {
        Some(Value::Array(blocks)) => blocks,
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(block) => vec![block],
    };
    let content: Vec<Value> = content.into_iter().map(known_block).collect();
    let mut kept = Map::new();
    kept.insert("content".into(), content.into());
    if let Some(structured) = result.get("structuredContent").filter(|value| !value.is_null()) {
        kept.insert("structuredContent".into(), structured.clone());
    }
    let is_error = match result.get("isError") {
        Some(Value::Bool(is_error)) => *is_error,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(Value::Number(number)) => number.as_i64() != Some(0),
        _ => false,
    };
    kept.insert("isError".into(), is_error.into());
    *result = kept;
    true
}

/// The answer to `initialize`, with what it owes and has left out.
fn mend_greeting(result: &mut Map<String, Value>) -> bool {
    let mut is_changed = false;
    if !result.get("protocolVersion").is_some_and(Value::is_string) {
        result.insert("protocolVersion".into(), PROTOCOL_UNSAID.into());
        is_changed = true;
    }
    let server = result.get("serverInfo").and_then(Value::as_object);
    let says = |key: &str| server?.get(key)?.as_str();
    if let (Some(_), Some(_)) = (says("name"), says("version")) {
        return is_changed;
    }
    let name = says("name").unwrap_or("unnamed").to_owned();
    let version = says("version").unwrap_or("unknown").to_owned();
    result.insert("serverInfo".into(), json!({"name": name, "version": version}));
    true
}

/// The block, or what can be said of it.
fn known_block(block: Value) -> Value {
    if serde_json::from_value::<ContentBlock>(block.clone()).is_ok() {
        return block;
    }
    let text = match &block {
        Value::String(text) => text.clone(),
        _ => match block.get("text").and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => {
                let kind = block.get("type").and_then(Value::as_str).unwrap_or("none");
                format!(
                    "[content of the unknown kind `{}`, not shown]",
                    printable(kind, KIND_MAX_BYTES)
                )
            }
        },
    };
    json!({"type": "text", "text": text})
}

/// A tool with an odd part is kept with what is needed of it: the catalog says what is wrong.
fn mend_tool(tool: &mut Value) -> bool {
    if serde_json::from_value::<Tool>(tool.clone()).is_ok() {
        return false;
    }
    let text = |key: &str| tool.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let input = tool.get("inputSchema").or_else(|| tool.get("input_schema"));
    let input = input.filter(|input| input.is_object()).cloned();
    *tool = json!({
        "name": text("name"),
        "description": text("description"),
        "inputSchema": input.unwrap_or_else(schema::absent),
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let message =
            message(line.as_bytes()).map(|line| String::from_utf8(line.into_owned()).unwrap());
        assert_eq!(message.as_deref(), Some(expected));
    }

    #[test]
    fn what_the_sdk_reads_passes_as_it_is() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a"}]}}"#,
            r#"{"jsonrpc":"2.0",  "id":1,"result":{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{},"protocolVersion":"2025-06-18","serverInfo":{"name":"s","version":"1"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{},"supportedVersions":["2026-07-28"]}}"#,
            r#"{"method":"notifications/progress"}"#,
        ] {
            check(line, line);
        }
        for none in ["", "log", "[1]", "{broken", "{\"a\":"] {
            assert_eq!(message(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn an_odd_character_does_not_cost_the_result() {
        check(
            r#"{"result":{"content":[{"type":"text","text":"a\ud83d b"}]}}"#,
            "{\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\u{fffd} b\"}]}}",
        );
        check(
            r#"{"result":{"structuredContent":{"a":NaN}}}"#,
            r#"{"result":{"structuredContent":{"a":null}}}"#,
        );
        let line = message(
            b"\xef\xbb\xbf{\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\xff\"}]}}",
        )
        .unwrap();
        assert!(String::from_utf8(line.into_owned()).unwrap().contains("a\u{fffd}"));
    }

    #[test]
    fn an_odd_answer_is_read() {
        check(r#"{"id":1,"error":null,"result":{}}"#, r#"{"id":1,"result":{}}"#);
        check(
            r#"{"id":1,"error":{"code":1,"message":"no"},"result":null}"#,
            r#"{"id":1,"error":{"code":1,"message":"no"}}"#,
        );
        check(
            r#"[{"id":1,"result":{},"error":null},{"id":2}]"#,
            "{\"id\":1,\"result\":{}}\n{\"id\":2}",
        );
        check(
            r#"{"id":1,"result":{"toolResult":{"a":1}}}"#,
            r#"{"id":1,"result":{"content":[{"type":"text","text":"{\"a\":1}"}]}}"#,
        );
        check(
            r#"{"id":1,"result":{"capabilities":{}}}"#,
            r#"{"id":1,"result":{"capabilities":{},"protocolVersion":"2024-11-05","serverInfo":{"name":"unnamed","version":"unknown"}}}"#,
        );
    }

    #[test]
    fn an_odd_block_does_not_cost_the_others() {
        check(
            r#"{"id":1,"result":{"content":[{"type":"text","text":"a"},{"type":"hologram","data":5},{"type":"text","text":"b","annotations":7},"c"]}}"#,
            r#"{"id":1,"result":{"content":[{"type":"text","text":"a"},{"type":"text","text":"[content of the unknown kind `hologram`, not shown]"},{"type":"text","text":"b"},{"type":"text","text":"c"}],"isError":false}}"#,
        );
        check(
            r#"{"result":{"content":"all is well","isError":"true"}}"#,
            r#"{"result":{"content":[{"type":"text","text":"all is well"}],"isError":true}}"#,
        );
    }

    #[test]
    fn an_odd_tool_does_not_cost_the_others() {
        check(
            r#"{"result":{"tools":[{"name":"a"},{"name":"b","inputSchema":null},{"name":"c","inputSchema":{"type":"object"},"annotations":5}]}}"#,
            r#"{"result":{"tools":[{"name":"a","description":"","inputSchema":{"type":"null"}},{"name":"b","description":"","inputSchema":{"type":"null"}},{"name":"c","description":"","inputSchema":{"type":"object"}}]}}"#,
        );
    }
}
