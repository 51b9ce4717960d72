//! Repairs the lines of a server so that the SDK can read them: one invalid part must not cost the
//! rest.
//!
//! A line is mended only where the SDK would otherwise discard it. Nothing is made up: what cannot
//! be kept is named in its place.

use std::borrow::Cow;

use protocol::json::{mended, with_exact_integers};
use rmcp::model::{CallToolResult, ContentBlock, Tool};
use serde_json::{Map, Value, json};

use crate::{schema, text::printable};

/// "Internal error" in JSON-RPC 2.0, section 5.1.
const INTERNAL_ERROR: i32 = -32603;
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
    let is_valid = matches!(text, Cow::Borrowed(_));
    let text = match with_exact_integers(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(exact) => Cow::Owned(exact),
    };
    let (mut value, is_mended) = match serde_json::from_str::<Value>(&text) {
        Ok(value) => (value, !is_valid || matches!(text, Cow::Owned(_))),
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
    let mut messages: Vec<Value> =
        serde_json::from_str(&mended(&with_exact_integers(&text))).ok()?;
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
    let is_reframed = message.as_object_mut().is_some_and(mend_frame);
    let result = message.get_mut("result").and_then(Value::as_object_mut);
    result.is_some_and(mend_result) || is_reframed
}

/// What is around an answer: servers that write JSON-RPC by hand leave parts of it out. Says whether
/// something was changed.
fn mend_frame(message: &mut Map<String, Value>) -> bool {
    let is_answer = message.contains_key("result") || message.contains_key("error");
    if !is_answer && !message.contains_key("method") {
        return false; // A line of a log.
    }
    let is_version = message.get("jsonrpc").is_some_and(|version| version == "2.0");
    if !is_version {
        message.insert("jsonrpc".into(), "2.0".into());
    }
    // We number what we ask; a text or a fraction of the same number means it.
    let number = message.get("id").filter(|_| is_answer).and_then(|id| match id {
        Value::String(text) => text.trim().parse::<i64>().ok(),
        Value::Number(number) if !number.is_i64() => {
            number.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64)
        }
        _ => None,
    });
    if let Some(number) = number {
        message.insert("id".into(), number.into());
    }
    let error = message.get_mut("error").filter(|error| !error.is_null());
    let is_error_mended = error.is_some_and(mend_error);
    // Both, one of them null, is what a struct with two optional fields becomes.
    let none = ["result", "error"].map(|key| message.get(key).is_some_and(Value::is_null));
    let is_emptied = match none {
        [_, true] => message.remove("error").is_some(),
        [true, false] if message.contains_key("error") => message.remove("result").is_some(),
        [_, false] => false,
    };
    !is_version || number.is_some() || is_error_mended || is_emptied
}

/// An error has a number and words.
fn mend_error(error: &mut Value) -> bool {
    let code = error.get("code");
    let number = code.and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    let words = error.get("message").and_then(Value::as_str);
    if number.is_some() && words.is_some() {
        return false;
    }
    let text = match (&*error, words) {
        (_, Some(words)) => words.to_owned(),
        (Value::String(words), None) => words.clone(),
        (other, None) => other.to_string(),
    };
    let text = match code.and_then(Value::as_str) {
        Some(code) if !text.contains(code) => format!("{code}: {text}"),
        Some(_) | None => text,
    };
    *error = json!({"code": number.unwrap_or(INTERNAL_ERROR), "message": text});
    true
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
    let is_call = ["content", "structuredContent", "isError", "toolResult"]
        .iter()
        .any(|key| result.contains_key(*key));
    let is_other = result.get("resultType").is_some_and(|kind| kind != "complete");
    if !is_call
        || is_other
        || serde_json::from_value::<CallToolResult>(Value::Object(result.clone())).is_ok()
    {
        return false;
    }
    // `toolResult` is what the first version of the protocol had.
    let content = match result.remove("content").or_else(|| result.remove("toolResult")) {
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
    // Kinds that the protocol does not have, but whose words are plain to see.
    let structured = ["json", "data", "value"].iter().find_map(|key| block.get(*key));
    let structured = structured.filter(|value| value.is_object() || value.is_array());
    let text = match &block {
        Value::String(text) => text.clone(),
        _ => match (block.get("text").and_then(Value::as_str), structured) {
            (Some(text), _) => text.to_owned(),
            (None, Some(structured)) => structured.to_string(),
            (None, None) if block.get("type").is_none() => block.to_string(),
            (None, None) => {
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
    use rmcp::model::ServerJsonRpcMessage;

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let message =
            message(line.as_bytes()).map(|line| String::from_utf8(line.into_owned()).unwrap());
        assert_eq!(message.as_deref(), Some(expected));
        for message in expected.lines().filter(|line| line.contains("\"id\"")) {
            serde_json::from_str::<ServerJsonRpcMessage>(message).expect("the SDK reads it");
        }
    }

    #[test]
    fn what_the_sdk_reads_passes_as_it_is() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a"}]}}"#,
            r#"{"jsonrpc":"2.0",  "id":1,"result":{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{},"protocolVersion":"2025-06-18","serverInfo":{"name":"s","version":"1"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{},"supportedVersions":["2026-07-28"]}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#,
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
            r#"{"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"a\ud83d b"}]}}"#,
            "{\"jsonrpc\":\"2.0\",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\u{fffd} b\"}]}}",
        );
        check(
            r#"{"jsonrpc":"2.0","result":{"structuredContent":{"a":NaN}}}"#,
            r#"{"jsonrpc":"2.0","result":{"structuredContent":{"a":null}}}"#,
        );
        let line = message(
            b"\xef\xbb\xbf{\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"a\xff\"}]}}",
        )
        .unwrap();
        assert!(String::from_utf8(line.into_owned()).unwrap().contains("a\u{fffd}"));
    }

    #[test]
    fn an_odd_answer_is_read() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"},"result":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#,
        );
        check(
            r#"[{"jsonrpc":"2.0","id":1,"result":{},"error":null},{"jsonrpc":"2.0","id":2,"result":{}}]"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}",
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"toolResult":{"a":1}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"a\":1}"}],"isError":false}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{},"protocolVersion":"2024-11-05","serverInfo":{"name":"unnamed","version":"unknown"}}}"#,
        );
    }

    #[test]
    fn an_odd_block_does_not_cost_the_others() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a"},{"type":"hologram","data":5},{"type":"text","text":"b","annotations":7},"c"]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a"},{"type":"text","text":"[content of the unknown kind `hologram`, not shown]"},{"type":"text","text":"b"},{"type":"text","text":"c"}],"isError":false}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","result":{"content":"all is well","isError":"true"}}"#,
            r#"{"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"all is well"}],"isError":true}}"#,
        );
    }

    #[test]
    fn words_in_a_block_of_another_kind_are_read() {
        let block = |block: &str, text: &str| {
            let content = |content: &str| {
                format!(
                    r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":{content},"isError":false}}}}"#
                )
            };
            let text = json!([{"type": "text", "text": text}]);
            check(&content(&format!("[{block}]")), &content(&text.to_string()));
        };
        block(r#"{"type":"json","json":{"n":1}}"#, r#"{"n":1}"#);
        block(r#"{"type":"data","data":[1]}"#, "[1]");
        block(r#"{"type":"error","text":"Invalid number"}"#, "Invalid number");
        block(r#"{"temperature":7}"#, r#"{"temperature":7}"#);
        block(
            r#"{"type":"video","data":"AAAA"}"#,
            "[content of the unknown kind `video`, not shown]",
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"toolResult":"done"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}],"isError":false}}"#,
        );
    }

    #[test]
    fn a_frame_written_by_hand_does_not_cost_the_answer() {
        let good = r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#;
        check(
            r#"{"id":2,"result":{"content":[]},"jsonrpc":"1.0"}"#,
            r#"{"id":2,"result":{"content":[]},"jsonrpc":"2.0"}"#,
        );
        check(r#"{"jsonrpc":"2.0","id":"2","result":{"content":[]}}"#, good);
        check(r#"{"jsonrpc":"2.0","id":2.0,"result":{"content":[]}}"#, good);
        check(r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]},"error":null}"#, good);
        check(
            r#"{"jsonrpc":"2.0","id":2,"result":null,"error":{"code":-32000,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"no"}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":2,"error":"no way"}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"no way"}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":"ENOENT","message":"no file"}}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"ENOENT: no file"}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32000}}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"{\"code\":-32000}"}}"#,
        );
        let log = r#"{"level":"info","msg":"ready"}"#;
        check(log, log);
        // A request of the server has an id of its own, which goes back as it came.
        let request = r#"{"jsonrpc":"2.0","id":"7","method":"ping"}"#;
        check(request, request);
    }

    #[test]
    fn an_odd_tool_does_not_cost_the_others() {
        check(
            r#"{"jsonrpc":"2.0","result":{"tools":[{"name":"a"},{"name":"b","inputSchema":null},{"name":"c","inputSchema":{"type":"object"},"annotations":5}]}}"#,
            r#"{"jsonrpc":"2.0","result":{"tools":[{"name":"a","description":"","inputSchema":{"type":"null"}},{"name":"b","description":"","inputSchema":{"type":"null"}},{"name":"c","description":"","inputSchema":{"type":"object"}}]}}"#,
        );
    }
}
