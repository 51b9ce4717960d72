//! How a provider is held to the schema of an answer: by its own means, or by a tool that the model
//! must call. In words the model is told anyway, and whether an answer fits is checked elsewhere.
//!
//! Pure. Which means a provider has is a setting of it; which it has refused, a lesson.

use protocol::tool::{Approval, Effect, ToolInfo, ToolSource};
use serde_json::Value;

use crate::{
    answer::{PartialAnswer, Stopped},
    chat::{ANSWER_TOOL, ChatRequest},
    lessons::Lessons,
    settings::{Provider, WireFormat},
};

const ANSWER_TOOL_DESCRIPTION: &str = "Gives the final answer. Call it once, alone, when the task is \
done and the results of all other calls are there.";

/// Keywords that OpenAI and Anthropic can hold a model to
/// ([OpenAI](https://platform.openai.com/docs/guides/structured-outputs#supported-schemas),
/// [Anthropic](https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations)).
const STRICT: [&str; 11] = [
    "$defs",
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "description",
    "enum",
    "items",
    "properties",
    "required",
    "title",
];

/// How a provider is held to a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormatWay {
    /// By its own field for it.
    Native,
    /// By [`ANSWER_TOOL`].
    Tool,
    /// By words alone.
    Words,
}

/// The best way that is left.
pub(crate) fn way(request: &ChatRequest, provider: &Provider, lessons: &Lessons) -> FormatWay {
    let Some(schema) = schema(request) else { return FormatWay::Words };
    // Neither their fields nor tools take a list or a word.
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return FormatWay::Words;
    }
    // Servers that hold every answer to a grammar would let the model call no tool.
    let beside_tools = provider.formats_beside_tools || request.tools.is_empty();
    let is_able = provider.kind == WireFormat::OpenAi || is_strict(&schema);
    let has_native = !lessons.no_response_format && beside_tools && is_able;
    let native = has_native.then_some(FormatWay::Native);
    let mut ways = native.into_iter().chain([FormatWay::Tool]);
    ways.nth(lessons.ways_refused).unwrap_or(FormatWay::Words)
}

/// The schema as a provider is told of it.
pub(crate) fn schema(request: &ChatRequest) -> Option<Value> {
    let mut schema = request.response_format.as_ref()?.schema();
    if let Value::Object(fields) = &mut schema {
        // They say nothing of the answer, and are refused.
        fields.retain(|key, _| key != "$schema" && key != "$id");
    }
    Some(schema)
}

/// The request with the tool by which the model is to answer, where that is the way.
pub(crate) fn with_answer_tool(request: &ChatRequest) -> ChatRequest {
    let mut request = request.clone();
    let answer = ToolInfo {
        name: ANSWER_TOOL.into(),
        description: ANSWER_TOOL_DESCRIPTION.into(),
        input_schema: schema(&request).unwrap_or_default(),
        effect: Effect::ReadOnly,
        approval: Approval::Never,
        source: ToolSource::Builtin,
    };
    request.tools = request.tools.iter().cloned().chain([answer]).collect();
    request
}

/// An answer by the tool becomes the words that it stands for.
pub(crate) fn take_answer(answer: &mut PartialAnswer) {
    let [call] = answer.calls.as_mut_slice() else { return };
    let is_whole = matches!(answer.stopped, Some(Stopped::Done | Stopped::Calls));
    if call.tool != ANSWER_TOOL || !is_whole || call.breaks_off() {
        return;
    }
    answer.text = std::mem::take(&mut call.args);
    answer.calls.clear();
    answer.replay = None; // It speaks of the call.
    answer.stopped = Some(Stopped::Done);
}

/// Whether a model can be held to all of the schema: every object is closed, and names all of its
/// properties as required.
pub(crate) fn is_strict(schema: &Value) -> bool {
    let Value::Object(fields) = schema else { return false };
    let named = |key: &str| fields.get(key).and_then(Value::as_object).into_iter().flatten();
    let is_known = fields.keys().all(|key| key == "type" || STRICT.contains(&key.as_str()));
    let is_object = fields.get("type").is_some_and(|kind| match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    });
    let required = fields.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let is_closed = fields.get("additionalProperties") == Some(&Value::Bool(false))
        && named("properties").all(|(name, _)| is_required(name));
    let mut alternatives = fields.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    is_known
        && (!is_object || is_closed)
        && (is_object || !fields.contains_key("properties"))
        && named("properties").chain(named("$defs")).all(|(_, schema)| is_strict(schema))
        && fields.get("items").is_none_or(is_strict)
        && alternatives.all(is_strict)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_model_can_be_held_to_closed_objects_with_known_keywords() {
        let object = |more: Value| {
            let mut schema = json!({"type": "object", "properties": {"a": {"type": "string"}},
                                    "required": ["a"], "additionalProperties": false});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        assert!(is_strict(&object(json!({}))));
        assert!(is_strict(&object(
            json!({"properties": {"a": {"type": "array", "items": object(json!({}))}}})
        )));
        assert!(is_strict(&object(
            json!({"properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}},
                                         "$defs": {"b": {"enum": ["x"]}}})
        )));
        for loose in [
            json!({"required": []}),
            json!({"additionalProperties": true}),
            json!({"properties": {"a": {"type": "string", "minLength": 1}}}),
            json!({"properties": {"a": {"type": "object"}}}),
            json!({"properties": {"a": {"type": ["object", "null"], "properties": {}}}}),
            json!({"properties": {"a": {"items": {"type": "integer", "minimum": 0}}}}),
            json!({"allOf": [{}]}),
        ] {
            assert!(!is_strict(&object(loose.clone())), "{loose}");
        }
    }
}
