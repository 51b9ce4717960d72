//! One stand-in for each provider: how it answers, and what it refuses, as users have reported it.
//!
//! A stand-in has no memory: which step a request is at follows from the conversation that it
//! carries, and what it gave in earlier steps can be worked out again and compared.

use serde_json::{Value, json};

use super::server::Answer;

/// Steps of a run, the one with the answer included.
pub(crate) const STEPS: u32 = 40;
/// Tokens of the prompt of each step, as each stand-in counts them in its own way.
pub(crate) const INPUT: u64 = 100;
/// Tokens of each answer.
pub(crate) const OUTPUT: u64 = 20;
/// Of the prompt, those that were cached.
pub(crate) const CACHED: u64 = 40;

pub(crate) struct StandIn {
    pub(crate) name: &'static str,
    /// It refuses one of our tools, whatever its schema says.
    pub(crate) refuses_export_trace: bool,
    /// The id of a call, by step and place; empty where it gives none.
    id: fn(usize, usize) -> String,
    /// The field in which it thinks, and whether it wants its thoughts back.
    thinks: Option<(&'static str, bool)>,
    /// What it refuses besides.
    refuses: fn(&Value) -> Option<&'static str>,
}

const PLAIN: StandIn = StandIn {
    name: "",
    refuses_export_trace: false,
    id: |step, place| format!("call_{step}_{place}"),
    thinks: None,
    refuses: |_| None,
};

pub(crate) const STAND_INS: &[StandIn] = &[
    StandIn { name: "openai", refuses_export_trace: true, refuses: openai, ..PLAIN },
    StandIn { name: "azure", refuses: azure, ..PLAIN },
    StandIn { name: "gemini", id: |_, _| String::new(), refuses: gemini, ..PLAIN },
    StandIn {
        name: "mistral",
        id: |step, place| format!("Zq{step:05}{place:02}"),
        refuses: mistral,
        ..PLAIN
    },
    StandIn { name: "deepseek", thinks: Some(("reasoning_content", true)), ..PLAIN },
    StandIn {
        name: "moonshot",
        id: |step, place| format!("functions.memory_search:{}", step * 2 + place),
        thinks: Some(("reasoning_content", true)),
        refuses: no_empty_turn,
        ..PLAIN
    },
    StandIn { name: "qwen", thinks: Some(("reasoning_content", true)), ..PLAIN },
    StandIn {
        name: "openrouter",
        thinks: Some(("reasoning", false)),
        refuses: openrouter,
        ..PLAIN
    },
    StandIn { name: "vllm", thinks: Some(("reasoning", false)), refuses: alternating, ..PLAIN },
    StandIn { name: "sglang", thinks: Some(("reasoning_content", false)), ..PLAIN },
    StandIn { name: "llamacpp", refuses: no_empty_turn, ..PLAIN },
    StandIn { name: "ollama", thinks: Some(("reasoning", false)), refuses: no_empty_turn, ..PLAIN },
    StandIn { name: "lmstudio", refuses: properties, ..PLAIN },
    StandIn { name: "litellm", refuses: litellm, ..PLAIN },
    StandIn {
        name: "anthropic",
        id: |step, place| format!("toolu_{step}_{place}"),
        refuses: anthropic,
        ..PLAIN
    },
];

/// Answers a request at the path of a stand-in.
pub(crate) fn answer(path: &str, body: &Value) -> Answer {
    let name = path.trim_start_matches('/').split('/').next().unwrap();
    let stand_in = STAND_INS.iter().find(|stand_in| stand_in.name == name).unwrap();
    if let Some(words) = stand_in.refusal(body) {
        let body = json!({"error": {"message": words, "type": "invalid_request_error"}});
        return Answer { status: 400, content_type: "application/json", body: body.to_string() };
    }
    let step = turns(body).len();
    let body = match name {
        "anthropic" => messages_stream(stand_in, step),
        _ => completion_stream(stand_in, step),
    };
    Answer { status: 200, content_type: "text/event-stream", body }
}

/// How many calls a step makes.
fn calls_of(step: usize) -> usize {
    1 + step % 2
}

/// What is thought in a step.
fn thought(step: usize) -> Option<String> {
    step.is_multiple_of(3).then(|| format!("Thought {step}."))
}

fn args(step: usize, place: usize) -> String {
    json!({"query": format!("step {step}, {place}")}).to_string()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The turns of the model in a request.
fn turns(body: &Value) -> Vec<&Value> {
    list(body, "messages").iter().filter(|message| message["role"] == "assistant").collect()
}

impl StandIn {
    fn refusal(&self, body: &Value) -> Option<String> {
        let tool = |tool: &Value| tool.pointer("/function/name").cloned().unwrap_or_default();
        if self.refuses_export_trace
            && list(body, "tools").iter().any(|own| tool(own) == "export_trace")
        {
            return Some("Invalid schema for function 'export_trace': not today.".into());
        }
        if self.name == "anthropic" {
            return (self.refuses)(body).map(str::to_owned);
        }
        for (step, turn) in turns(body).into_iter().enumerate() {
            for (place, call) in list(turn, "tool_calls").iter().enumerate() {
                let (given, back) = ((self.id)(step, place), call["id"].as_str().unwrap());
                if !given.is_empty() && given != back {
                    return Some(format!(
                        "tool call id `{back}` was never given; it was `{given}`"
                    ));
                }
            }
            let Some((field, is_wanted)) = self.thinks else { continue };
            let back = turn.get(field).and_then(Value::as_str);
            if is_wanted && back != Some(thought(step).unwrap_or_default().as_str()) {
                return Some(format!(
                    "thinking is enabled but {field} is missing in assistant tool call message at index {step}"
                ));
            }
        }
        let ids: Vec<&Value> = turns(body)
            .into_iter()
            .flat_map(|turn| list(turn, "tool_calls"))
            .map(|call| &call["id"])
            .collect();
        let messages = list(body, "messages").iter();
        let mut results = messages.filter(|message| message["role"] == "tool");
        if results.any(|result| !ids.contains(&&result["tool_call_id"])) {
            return Some("a tool message answers no call".into());
        }
        (self.refuses)(body).map(str::to_owned)
    }
}

/// Everywhere: a schema with its `properties`, as OpenAI demands.
fn properties(body: &Value) -> Option<&'static str> {
    let is_whole = |tool: &Value| tool["function"]["parameters"]["properties"].is_object();
    (!list(body, "tools").iter().all(is_whole))
        .then_some("Invalid schema for function: In context=(), object schema missing properties")
}

fn openai(body: &Value) -> Option<&'static str> {
    if body.get("max_tokens").is_some() {
        return Some(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        );
    }
    if body.get("temperature").is_some() {
        return Some(
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
        );
    }
    properties(body)
}

fn azure(body: &Value) -> Option<&'static str> {
    let old = "Unrecognized request argument supplied: stream_options";
    body.get("stream_options").map(|_| old).or_else(|| openai(body))
}

fn gemini(body: &Value) -> Option<&'static str> {
    for (step, turn) in turns(body).into_iter().enumerate() {
        // The first call of a step carries the signature.
        let signature =
            &list(turn, "tool_calls")[0]["extra_content"]["google"]["thought_signature"];
        if *signature != format!("sig{step}") {
            return Some("Function call is missing a thought_signature in functionCall parts.");
        }
    }
    let untyped = |schema: &Value| {
        let typed = |schema: &Value| {
            schema.get("type").is_some_and(Value::is_string) || schema.get("anyOf").is_some()
        };
        !typed(schema)
            || schema.get("additionalProperties").is_some()
            || schema["type"] == "array"
                && !schema["items"].get("type").is_some_and(Value::is_string)
            || schema["properties"].as_object().is_some_and(|own| !own.values().all(typed))
    };
    list(body, "tools")
        .iter()
        .any(|tool| untyped(&tool["function"]["parameters"]))
        .then_some("Invalid JSON payload: tools[0].function_declarations: type must be specified")
}

fn mistral(body: &Value) -> Option<&'static str> {
    let messages = list(body, "messages");
    let ids = messages.iter().flat_map(|message| {
        let calls = list(message, "tool_calls").iter().map(|call| &call["id"]);
        calls.chain(message.get("tool_call_id")).collect::<Vec<_>>()
    });
    for id in ids {
        let id = id.as_str().unwrap();
        if id.len() != 9 || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Some("Tool call id was long but must be a-z, A-Z, 0-9, with a length of 9.");
        }
    }
    messages
        .iter()
        .any(|message| message.get("reasoning_content").is_some())
        .then_some("body.messages.assistant.reasoning_content: Extra inputs are not permitted")
        .or_else(|| no_empty_turn(body))
}

/// A turn says something, or calls something; so does a result.
fn no_empty_turn(body: &Value) -> Option<&'static str> {
    let is_empty = |message: &Value| {
        message["content"].as_str().is_none_or(|text| text.trim().is_empty())
            && list(message, "tool_calls").is_empty()
    };
    list(body, "messages").iter().any(is_empty).then_some("a message must not be empty")
}

fn openrouter(body: &Value) -> Option<&'static str> {
    for (step, turn) in turns(body).into_iter().enumerate() {
        let back = turn.get("reasoning_details");
        let given = thought(step).map(|text| {
            json!([{"type": "reasoning.text", "index": 0, "text": text, "signature": format!("s{step}")}])
        });
        let same = |back: &Value| {
            given.as_ref().is_some_and(|given| {
                ["type", "index", "text", "signature"]
                    .iter()
                    .all(|key| given[0][key] == back[0][key])
            })
        };
        if given.is_some() != back.is_some() || back.is_some_and(|back| !same(back)) {
            return Some("reasoning details were changed");
        }
    }
    None
}

/// Templates of many open models.
fn alternating(body: &Value) -> Option<&'static str> {
    let roles: Vec<&str> =
        list(body, "messages").iter().map(|message| message["role"].as_str().unwrap()).collect();
    roles
        .windows(2)
        .any(|pair| pair[0] == pair[1] && pair[0] != "tool")
        .then_some("RunConversation roles must alternate user/assistant/user/assistant/...")
}

fn litellm(body: &Value) -> Option<&'static str> {
    if body["max_tokens"].as_u64().is_some_and(|tokens| tokens > 4000) {
        return Some(
            "max_tokens: 4096 > 4000, which is the maximum allowed number of output tokens",
        );
    }
    body.get("temperature")
        .map(|_| "litellm.UnsupportedParamsError: does not support parameters: temperature")
}

fn anthropic(body: &Value) -> Option<&'static str> {
    if body.get("temperature").is_some() {
        return Some("`temperature` may only be set to 1 when thinking is enabled.");
    }
    let simple = |block: &Value| match block["type"].as_str().unwrap() {
        "tool_use" => format!("tool_use {}", block["id"].as_str().unwrap()),
        "thinking" => format!("thinking {}", block["signature"].as_str().unwrap()),
        kind => format!("{kind} {}", block["text"].as_str().unwrap()),
    };
    for (step, turn) in turns(body).into_iter().enumerate() {
        let back: Vec<String> = list(turn, "content").iter().map(simple).collect();
        let given: Vec<String> = blocks(step).iter().map(simple).collect();
        if back != given {
            return Some("thinking blocks must remain as they were in the original response");
        }
    }
    None
}

/// What Claude says in a step: thoughts, words and calls by turns.
fn blocks(step: usize) -> Vec<Value> {
    let mut blocks = Vec::new();
    for place in 0..calls_of(step) {
        blocks.push(json!({"type": "thinking", "thinking": "Hm.", "signature": format!("sig{step}.{place}")}));
        blocks.push(json!({"type": "text", "text": format!("Look {place}.")}));
        blocks.push(json!({"type": "tool_use", "id": format!("toolu_{step}_{place}"), "name": "memory_search",
                           "input": {"query": format!("step {step}, {place}")}}));
    }
    blocks
}

fn is_last(step: usize) -> bool {
    step + 1 == STEPS as usize
}

fn messages_stream(_: &StandIn, step: usize) -> String {
    let mut events = vec![json!({"type": "message_start", "message": {"usage": {
        "input_tokens": INPUT - CACHED, "cache_read_input_tokens": CACHED, "output_tokens": 1}}})];
    let (said, reason) = match is_last(step) {
        true => (vec![json!({"type": "text", "text": "That was all."})], "end_turn"),
        false => (blocks(step), "tool_use"),
    };
    for (index, block) in said.into_iter().enumerate() {
        let (start, deltas) = match block["type"].as_str().unwrap() {
            "text" => (
                json!({"type": "text", "text": ""}),
                vec![json!({"type": "text_delta", "text": block["text"]})],
            ),
            "thinking" => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                    json!({"type": "signature_delta", "signature": block["signature"]}),
                ],
            ),
            _ => (
                json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}),
                vec![
                    json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}),
                ],
            ),
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason},
                       "usage": {"input_tokens": 0, "output_tokens": OUTPUT}}));
    events.push(json!({"type": "message_stop"}));
    stream(events)
}

fn completion_stream(stand_in: &StandIn, step: usize) -> String {
    let frame = |delta: Value, finish: Option<&str>| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let mut frames = Vec::new();
    if stand_in.name == "azure" {
        frames.push(json!({"choices": [], "prompt_filter_results": []}));
    }
    frames.push(frame(json!({"role": "assistant", "content": ""}), None));
    if let (Some((field, _)), Some(thought)) = (stand_in.thinks, thought(step)) {
        let (half, rest) = thought.split_at(4);
        for (text, signature) in [(half, Value::Null), (rest, format!("s{step}").into())] {
            let mut delta = json!({field: text});
            if stand_in.name == "openrouter" {
                delta["reasoning_details"] = json!([{"type": "reasoning.text", "index": 0, "text": text, "signature": signature}]);
            }
            frames.push(frame(delta, None));
        }
    }
    let finish = match is_last(step) {
        true => {
            frames.push(frame(json!({"content": "That was all."}), None));
            "stop"
        }
        false => {
            for place in 0..calls_of(step) {
                frames.extend(
                    call_frames(stand_in, step, place)
                        .into_iter()
                        .map(|call| frame(json!({"content": null, "tool_calls": [call]}), None)),
                );
            }
            if stand_in.name == "gemini" { "stop" } else { "tool_calls" }
        }
    };
    let mut last = frame(json!({}), Some(finish));
    let usage = usage(stand_in.name);
    match stand_in.name {
        "moonshot" => last["choices"][0]["usage"] = usage,
        "deepseek" | "mistral" | "gemini" => last["usage"] = usage,
        _ => {
            frames.push(last.take());
            last = json!({"choices": [], "usage": usage});
        }
    }
    frames.push(last);
    let done = if stand_in.name == "lmstudio" { "" } else { "data: [DONE]\n\n" };
    format!(": PROCESSING\n\n{}{done}", stream(frames))
}

/// One call, whole or in fragments.
fn call_frames(stand_in: &StandIn, step: usize, place: usize) -> Vec<Value> {
    let (id, args) = ((stand_in.id)(step, place), args(step, place));
    let function = |args: &str| json!({"name": "memory_search", "arguments": args});
    match stand_in.name {
        "gemini" => {
            let mut call =
                json!({"index": 0, "id": "", "type": "function", "function": function(&args)});
            if place == 0 {
                call["extra_content"] =
                    json!({"google": {"thought_signature": format!("sig{step}")}});
            }
            vec![call]
        }
        "mistral" | "ollama" => {
            vec![json!({"index": place, "id": id, "function": function(&args)})]
        }
        "sglang" => vec![json!({"id": id, "function": function(&args)})],
        _ => {
            let (half, rest) = args.split_at(args.len() / 2);
            vec![
                json!({"index": place, "id": id, "type": "function", "function": function("")}),
                json!({"index": place, "function": {"arguments": half}}),
                json!({"index": place, "id": "", "function": {"name": null, "arguments": rest}}),
            ]
        }
    }
}

fn usage(name: &str) -> Value {
    let plain = json!({"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT});
    let with = |more: Value| {
        let mut usage = plain.clone();
        usage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        usage
    };
    match name {
        "moonshot" => with(json!({"cached_tokens": CACHED})),
        "deepseek" => with(
            json!({"prompt_cache_hit_tokens": CACHED, "prompt_cache_miss_tokens": INPUT - CACHED}),
        ),
        "litellm" => {
            with(json!({"cache_read_input_tokens": CACHED, "prompt_tokens_details": null}))
        }
        // It counts what it thinks in the total alone.
        "gemini" => with(
            json!({"completion_tokens": OUTPUT - 15, "prompt_tokens_details": {"cached_tokens": CACHED}}),
        ),
        _ => with(json!({"prompt_tokens_details": {"cached_tokens": CACHED}})),
    }
}

fn stream(events: Vec<Value>) -> String {
    events.into_iter().map(|event| format!("data: {event}\n\n")).collect()
}
