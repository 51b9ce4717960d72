//! The wire formats against a server that says exactly what a test wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod server;

use std::time::Duration;

use expect_test::expect;
use futures::StreamExt;
use model::{
    chat::{CacheHints, ChatEvent, ChatRequest, ChatResponse},
    embedding::{EmbeddingSettings, Purpose},
    error::{ModelError, Phase},
    limits::{CALL_ARGS_MAX_BYTES, CALLS_MAX, EVENT_MAX_BYTES, RESPONSE_MAX_BYTES, TEXT_MAX_BYTES},
    models::Models,
    settings::ModelSettings,
    tool_list::ToolList,
};
use protocol::{
    id::{CallId, RunId},
    message::{FinishReason, Message, Replay, ToolCall, Usage},
    tool::{Approval, Effect, ToolInfo, ToolSource},
};
use serde_json::{Value, json};
use server::{Act, Server, answer, stream, stream_head};

const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"content":"Hello"}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "[DONE]";

/// The provider `p` at the server, impatient, with `more` settings.
fn models(server: &Server, kind: &str, more: Value) -> Models {
    let mut provider = json!({
        "kind": kind,
        "base_url": server.url,
        "api_key": "sk-secret",
        "backoff_ms": 1,
        "first_byte_timeout_ms": 5000,
        "idle_timeout_ms": 5000,
    });
    provider.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: ModelSettings = serde_json::from_value(json!({
        "default": "p/m",
        "providers": {"p": provider},
        "prices": {"p/*": {"input": 1.0, "cached_input": 0.1, "output": 2.0}},
    }))
    .unwrap();
    Models::new(&settings).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        provider: "p".into(),
        model: "m".into(),
        system: "Be brief.".into(),
        messages: vec![Message::User { content: "Hi there, how are you?".into() }],
        tools: ToolList::default(),
        temperature: None,
        max_tokens: None,
        response_format: None,
        cache: CacheHints::default(),
    }
}

/// The answer or the error, and how many attempts failed before it.
async fn ask(models: &Models, request: ChatRequest) -> (Result<ChatResponse, ModelError>, usize) {
    let mut failed = 0;
    let mut events = models.chat(request);
    while let Some(event) = events.next().await {
        match event {
            Ok(ChatEvent::Text(_) | ChatEvent::Spent { .. } | ChatEvent::ToolLeftOut { .. }) => {}
            Ok(ChatEvent::AttemptFailed { .. }) => failed += 1,
            Ok(ChatEvent::Done(response)) => return (Ok(*response), failed),
            Err(error) => return (Err(error), failed),
        }
    }
    panic!("the stream ended without an answer or an error")
}

async fn openai(acts: Vec<Act>) -> (Result<ChatResponse, ModelError>, usize) {
    let server = Server::always(acts).await;
    ask(&models(&server, "openai", json!({})), request()).await
}

async fn anthropic(events: &[&str]) -> (Result<ChatResponse, ModelError>, usize) {
    let server = Server::always(stream(events)).await;
    ask(&models(&server, "anthropic", json!({})), request()).await
}

fn limit(limit: &'static str, max: usize) -> (Result<ChatResponse, ModelError>, usize) {
    (Err(ModelError::Limit { limit, max }), 0)
}

#[tokio::test]
async fn an_answer_needs_its_end() {
    let (response, failed) = openai(stream(&[TEXT, STOP, DONE])).await;
    assert_eq!((response.unwrap().content.as_str(), failed), ("Hello", 0));
    // Many servers close without `[DONE]`.
    let (response, failed) = openai(stream(&[TEXT, STOP])).await;
    assert_eq!((response.unwrap().content.as_str(), failed), ("Hello", 0));

    // Each answer is judged by itself, also where another one had the marker.
    let server = Server::start(|n| match n {
        0 => stream(&[TEXT, STOP, DONE]),
        _ => stream(&[TEXT, STOP]),
    })
    .await;
    let models = models(&server, "openai", json!({}));
    assert_eq!(ask(&models, request()).await.1, 0);
    assert_eq!(ask(&models, request()).await.1, 0);

    assert_eq!(openai(stream(&[TEXT])).await, (Err(ModelError::Truncated), 3));
    assert_eq!(openai(stream(&[TEXT, DONE])).await, (Err(ModelError::Truncated), 3));
    // The connection breaks inside of a body of known length.
    let broken =
        Act::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\ndata: {TEXT}\n\n"));
    assert_eq!(openai(vec![broken]).await, (Err(ModelError::Truncated), 3));
    let packed = Act::Send(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1fx".to_owned(),
    );
    let (answer, _) = openai(vec![packed]).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("`content-encoding: gzip`"), "{error}");
    // Behind the reason to stop it takes nothing away, whatever follows.
    let reset = Act::Send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\ndata: {TEXT}\n\ndata: {STOP}\n\ndata: {{\"us"
    ));
    for whole in [
        vec![reset],
        stream(&[TEXT, STOP, "[done]"]),
        stream(&[TEXT, STOP, "bye"]),
        stream(&[TEXT, STOP, "{\"usage\": "]),
    ] {
        let (answer, failed) = openai(whole).await;
        assert_eq!((answer.unwrap().content.as_str(), failed), ("Hello", 0));
    }

    let start =
        r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"output_tokens":1}}}"#;
    let block =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let delta =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":3}}"#;
    assert_eq!(anthropic(&[start, block, delta, end]).await, (Err(ModelError::Truncated), 3));
    let stop = r#"{"type":"message_stop"}"#;
    let response = anthropic(&[start, block, delta, end, stop]).await.0.unwrap();
    assert_eq!((response.content.as_str(), response.finish_reason), ("Hi", FinishReason::Length));
    assert_eq!(response.usage, Usage::new(5, 3, 0));
    assert!((response.cost_usd - 11e-6).abs() < 1e-12);
}

#[tokio::test]
async fn what_is_too_large_is_refused_at_once() {
    let many: Vec<String> = (0..=CALLS_MAX)
        .map(|n| json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": n.to_string(), "function": {"name": "t"}}]}}]}).to_string())
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(openai(stream(&many)).await, limit("CALLS_MAX", CALLS_MAX));

    let args = "x".repeat(CALL_ARGS_MAX_BYTES + 1);
    let args = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "t", "arguments": args}}]}}]});
    assert_eq!(
        openai(stream(&[&args.to_string()])).await,
        limit("CALL_ARGS_MAX_BYTES", CALL_ARGS_MAX_BYTES)
    );

    let endless = |text: String| vec![Act::Send(stream_head()), Act::Repeat(text)];
    assert_eq!(
        openai(endless("x".repeat(65_536))).await,
        limit("EVENT_MAX_BYTES", EVENT_MAX_BYTES)
    );
    let comments = format!(": {}\n", "x".repeat(65_536));
    assert_eq!(openai(endless(comments)).await, limit("RESPONSE_MAX_BYTES", RESPONSE_MAX_BYTES));
    let text = json!({"choices": [{"delta": {"content": "x".repeat(65_536)}}]});
    assert_eq!(
        openai(endless(format!("data: {text}\n\n"))).await,
        limit("TEXT_MAX_BYTES", TEXT_MAX_BYTES)
    );
}

#[tokio::test]
async fn errors_inside_a_stream_are_told_apart() {
    let (outcome, failed) =
        openai(stream(&[TEXT, r#"{"error":{"message":"overloaded","type":"server_error"}}"#]))
            .await;
    assert_eq!(
        (outcome.unwrap_err(), failed),
        (
            ModelError::Unavailable {
                status: Some(500),
                retry_after: None,
                message: "overloaded".into()
            },
            3
        )
    );
    let (outcome, failed) =
        openai(stream(&[r#"{"error":{"message":"slow down","code":429}}"#])).await;
    assert!(matches!((outcome, failed), (Err(ModelError::RateLimited { .. }), 3)));
    let (outcome, failed) =
        anthropic(&[r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#])
            .await;
    assert_eq!(
        (outcome, failed),
        (Err(ModelError::BadRequest { status: 400, message: "no".into() }), 0)
    );
    let (outcome, failed) =
        anthropic(&[r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#])
            .await;
    assert!(matches!((outcome, failed), (Err(ModelError::Unavailable { .. }), 3)));
    let (outcome, failed) = openai(stream(&["{broken"])).await;
    assert!(matches!((outcome, failed), (Err(ModelError::Protocol { .. }), 3)));
    let (outcome, _) = openai(answer("200 OK", "", "<html>")).await;
    assert!(outcome.unwrap_err().to_string().contains("not an event stream"));
    let (outcome, _) = openai(answer("200 OK", "", "The gateway sleeps, sk-secret.")).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.ends_with("it says: The gateway sleeps, [redacted]."), "{error}");
    let loading = r#"{"error":{"message":"The model is loading","code":503}}"#;
    let (outcome, failed) = openai(answer("200 OK", "", loading)).await;
    assert!(matches!(
        (outcome, failed),
        (Err(ModelError::Unavailable { status: Some(503), .. }), 3)
    ));
}

#[tokio::test]
async fn an_empty_answer_is_asked_for_again_and_a_refusal_is_not() {
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#;
    assert_eq!(
        openai(stream(&[role, STOP, DONE])).await,
        (Err(ModelError::Empty { cut_at: None }), 3)
    );
    let filtered = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}"#;
    let (outcome, failed) = openai(stream(&[role, filtered])).await;
    assert!(matches!((outcome, failed), (Err(ModelError::Refused { .. }), 0)));
    let quota = r#"{"error":{"message":"no","code":"insufficient_quota"}}"#;
    let server = Server::always(answer("429 No", "", quota)).await;
    let (outcome, _) = ask(&models(&server, "openai", json!({})), request()).await;
    assert!(matches!((outcome, server.count()), (Err(ModelError::Quota { .. }), 1)));
}

#[tokio::test]
async fn what_a_provider_teaches_is_learnt_once() {
    let refusal =
        |words: &str| answer("400 No", "", &json!({"error": {"message": words}}).to_string());
    let server = Server::start(move |n| match n {
        0 => refusal("'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
        1 => refusal("'temperature' does not support 1.5 with this model."),
        2 => refusal("Invalid schema for function 't': no."),
        _ => stream(&[TEXT, STOP]),
    })
    .await;
    let models = models(&server, "openai", json!({}));
    let mut left_out = Vec::new();
    let mut events = models.chat(conversation());
    while let Some(event) = events.next().await {
        match event.unwrap() {
            ChatEvent::ToolLeftOut { tool, .. } => left_out.push(tool),
            ChatEvent::Text(_) | ChatEvent::Spent { .. } => {}
            ChatEvent::AttemptFailed { error, .. } => panic!("{error}"),
            ChatEvent::Done(response) => assert_eq!(response.attempts, 4),
        }
    }
    assert_eq!((left_out.as_slice(), server.count()), (&["t".to_owned()][..], 4));
    let (_, body) = server.request(3);
    assert_eq!(body["max_completion_tokens"], 50);
    assert_eq!((body.get("temperature"), body.get("tools")), (None, None));
    // What was learnt holds for the next call, and is told again.
    let next = models.chat(conversation()).collect::<Vec<_>>().await;
    assert!(matches!(next[0], Ok(ChatEvent::ToolLeftOut { .. })));
    assert_eq!((server.count(), server.request(4).1), (5, body));
    assert_eq!(models.taught()[0].lessons.len(), 3);
}

#[tokio::test]
async fn a_window_below_what_was_answered_is_forgotten_or_not_believed() {
    const COUNTED: &str = r#"{"choices":[],"usage":{"prompt_tokens":5000,"completion_tokens":2}}"#;
    let refusal = |tokens: u64| {
        let words = format!("This model's maximum context length is {tokens} tokens.");
        answer("400 No", "", &json!({"error": {"message": words}}).to_string())
    };
    let server = Server::start(move |n| match n {
        0 => refusal(1_000),
        1 => stream(&[TEXT, STOP, COUNTED, DONE]),
        2 => refusal(1_200),
        _ => refusal(12),
    })
    .await;
    let models = models(&server, "openai", json!({}));
    let asked = async || match ask(&models, request()).await.0 {
        Ok(_) => "answered",
        Err(ModelError::PromptTooLong { .. }) => "too long",
        Err(error) => panic!("{error}"),
    };
    let taught =
        || models.taught().into_iter().flat_map(|taught| taught.lessons).collect::<Vec<_>>();
    assert_eq!(asked().await, "too long");
    assert_eq!(taught(), ["takes prompts of at most 1000 tokens"]);
    assert_eq!(asked().await, "answered");
    assert_eq!((taught(), models.refuted_lessons().len()), (vec![], 1));
    for _ in 0..2 {
        assert_eq!(asked().await, "too long");
        assert_eq!(taught(), [""; 0], "it is a lie, or nobody could ask at all");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_paid_for() {
    const COUNTED: &str =
        r#"{"choices":[],"usage":{"prompt_tokens":1000000,"completion_tokens":2}}"#;
    let server = Server::start(|n| match n {
        0 => stream(&[STOP, COUNTED, DONE]),
        1 => stream(&[STOP, DONE]),
        _ => stream(&[TEXT, STOP, COUNTED, DONE]),
    })
    .await;
    let models = models(&server, "openai", json!({}));
    let events: Vec<_> = models.chat(request()).map(Result::unwrap).collect().await;
    let spent: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Spent { usage, cost_usd } => Some((usage.total_tokens, *cost_usd)),
            _ => None,
        })
        .collect();
    assert_eq!(spent, [(1_000_002, 1.000_004)], "what nobody counted is not guessed at");
    let whole = models.whole_answer(request()).await.unwrap().unwrap();
    assert_eq!(whole.usage.input_tokens, 1_000_000);
}

#[tokio::test]
async fn a_refused_system_role_is_folded_into_the_first_words_of_the_user() {
    let refusal = json!({"error": {"message": "System role not supported"}}).to_string();
    let server = Server::start(move |n| match n {
        0 => answer("400 No", "", &refusal),
        _ => stream(&[TEXT, STOP, DONE]),
    })
    .await;
    let models = models(&server, "openai", json!({}));
    ask(&models, request()).await.0.unwrap();
    assert_eq!(
        server.request(1).1["messages"],
        json!([{"role": "user", "content": "Be brief.\n\nHi there, how are you?"}])
    );
    assert_eq!(models.taught()[0].lessons, ["takes no role `system`"]);
}

fn with_format(tools: bool) -> ChatRequest {
    let format = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                        "properties": {"city": {"type": "string"}}, "required": ["city"],
                        "additionalProperties": false});
    ChatRequest {
        response_format: serde_json::from_value(format).unwrap(),
        tools: if tools { conversation().tools } else { ToolList::default() },
        ..request()
    }
}

/// How a body asks for a schema.
fn asks_by(body: &Value) -> &'static str {
    let is_answer = |tool: &Value| {
        tool.pointer("/function/name").or_else(|| tool.get("name")) == Some(&json!("final_answer"))
    };
    let by_tool = body["tools"].as_array().is_some_and(|tools| tools.iter().any(is_answer));
    let native = body.get("response_format").or_else(|| body.pointer("/output_config/format"));
    match (native, by_tool) {
        (Some(_), false) => "field",
        (None, true) => "tool",
        (None, false) => "words",
        (Some(_), true) => "both",
    }
}

#[tokio::test]
async fn a_schema_is_asked_for_by_the_providers_own_means_or_by_a_tool() {
    let bodies = async |kind: &str, request: ChatRequest, answer: Vec<Act>| {
        let server = Server::always(answer).await;
        ask(&models(&server, kind, json!({})), request).await.0.unwrap();
        server.bodies()
    };
    let plain = || stream(&[TEXT, STOP, DONE]);
    let body = bodies("openai", with_format(false), plain()).await.remove(0);
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                        "additionalProperties": false});
    assert_eq!(
        body["response_format"],
        json!({"type": "json_schema",
               "json_schema": {"name": "answer", "schema": schema, "strict": true}})
    );
    // A server that holds each answer to a grammar would let no tool be called.
    assert_eq!(asks_by(&bodies("openai", with_format(true), plain()).await[0]), "tool");
    let said = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
    ];
    let said: Vec<_> = said
        .iter()
        .zip([
            json!({"message": {"usage": {"input_tokens": 5}}}),
            json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"index": 0, "delta": {"type": "text_delta", "text": "{}"}}),
            json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
            json!({}),
        ])
        .map(|(kind, mut event)| {
            event["type"] = (*kind).into();
            event.to_string()
        })
        .collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let body = bodies("anthropic", with_format(true), stream(&said)).await.remove(0);
    assert_eq!(body["output_config"], json!({"format": {"type": "json_schema", "schema": schema}}));
    let mut loose = with_format(true);
    loose.response_format = serde_json::from_value(json!({"type": "object"})).unwrap();
    assert_eq!(asks_by(&bodies("anthropic", loose, stream(&said)).await[0]), "tool");
    let mut list = with_format(true);
    list.response_format = serde_json::from_value(json!({"type": "array"})).unwrap();
    assert_eq!(asks_by(&bodies("openai", list, plain()).await[0]), "words");
}

#[tokio::test]
async fn an_answer_by_the_tool_is_the_answer() {
    let call = |args: &str, stop: &str| {
        let call = json!({"choices": [{"index": 0, "finish_reason": stop, "delta": {"content": "Well: ",
            "tool_calls": [{"index": 0, "id": "a", "function": {"name": "final_answer", "arguments": args}}]}}]});
        stream(&[&call.to_string(), DONE])
    };
    let asked = async |answer: Vec<Act>| {
        let server = Server::always(answer).await;
        ask(&models(&server, "openai", json!({})), with_format(true)).await.0.unwrap()
    };
    let answer = asked(call(r#"{"city":"Oslo","n":12345678901234567890123}"#, "tool_calls")).await;
    assert_eq!(answer.content, r#"{"city":"Oslo","n":12345678901234567890123}"#, "as it was said");
    assert_eq!((answer.tool_calls, answer.finish_reason), (Vec::new(), FinishReason::Stop));
    let cut = asked(call(r#"{"city":"Os"#, "length")).await;
    assert_eq!(cut.cut.unwrap().calls, ["final_answer"]);
}

#[tokio::test]
async fn a_refused_schema_is_asked_for_in_another_way() {
    let asked = async |refusal: &'static str, times: usize| {
        let server = Server::start(move |n| match n < times {
            true => {
                answer("400 Bad Request", "", &json!({"error": {"message": refusal}}).to_string())
            }
            false => stream(&[TEXT, STOP, DONE]),
        })
        .await;
        let models = models(&server, "openai", json!({}));
        ask(&models, with_format(false)).await.0.unwrap();
        ask(&models, with_format(false)).await.0.unwrap();
        server.bodies().iter().map(asks_by).collect::<Vec<_>>().join(", ")
    };
    expect!["field, tool, tool"]
        .assert_eq(&asked("This response_format type is unavailable now", 1).await);
    expect!["field, tool, field"].assert_eq(
        &asked("Invalid schema for response_format 'answer': In context=(), no", 1).await,
    );
    expect!["field, tool, words, field"].assert_eq(
        &asked("Invalid schema for function 'final_answer': schema is not supported", 2).await,
    );
}

#[tokio::test]
async fn statuses_are_classed_and_some_never_retried() {
    for (status, expected) in [
        (
            "401 Unauthorized",
            ModelError::Auth { message: "HTTP 401: [redacted] is no good".into() },
        ),
        (
            "403 Forbidden",
            ModelError::Forbidden { message: "HTTP 403: [redacted] is no good".into() },
        ),
        (
            "400 Bad Request",
            ModelError::BadRequest {
                status: 400,
                message: "HTTP 400: [redacted] is no good".into(),
            },
        ),
        (
            "404 Not Found",
            ModelError::BadRequest {
                status: 404,
                message: "HTTP 404: [redacted] is no good".into(),
            },
        ),
        (
            "422 Unprocessable",
            ModelError::BadRequest {
                status: 422,
                message: "HTTP 422: [redacted] is no good".into(),
            },
        ),
        (
            "302 Found",
            ModelError::BadRequest {
                status: 302,
                message: "it answers with a redirect, and redirects are not followed".into(),
            },
        ),
    ] {
        let body = r#"{"error":{"message":"sk-secret is no good"}}"#;
        let server =
            Server::always(answer(status, "Location: http://127.0.0.1:9/\r\n", body)).await;
        let (outcome, _) = ask(&models(&server, "openai", json!({})), request()).await;
        assert_eq!((outcome, server.count()), (Err(expected), 1), "{status}");
    }
    for status in ["408 Timeout", "409 Conflict", "500 Oops", "503 Busy", "529 Overloaded"] {
        let server = Server::start(move |n| match n {
            0 => answer(status, "", ""),
            _ => stream(&[TEXT, STOP, DONE]),
        })
        .await;
        let (outcome, failed) = ask(&models(&server, "openai", json!({})), request()).await;
        assert_eq!((outcome.unwrap().attempts, failed), (2, 1), "{status}");
    }
    let (outcome, failed) = openai(answer("500 Oops", "", "")).await;
    assert!(matches!(
        (outcome, failed),
        (Err(ModelError::Unavailable { status: Some(500), .. }), 3)
    ));
}

#[tokio::test]
async fn retry_after_may_be_a_date() {
    let in_two_hours = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&in_two_hours)
        .unwrap();
    let server = Server::always(answer("429 Slow", &format!("Retry-After: {date}\r\n"), "")).await;
    let (outcome, failed) = ask(&models(&server, "openai", json!({})), request()).await;
    let wait = outcome.unwrap_err().retry_after().unwrap();
    assert!((7_100..=7_200).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!((failed, server.count()), (0, 1), "too long to sit out here");

    let exact = "retry-after-ms: 7200900.5\r\n";
    let server = Server::always(answer("429 Slow", exact, "")).await;
    let (outcome, _) = ask(&models(&server, "openai", json!({})), request()).await;
    assert_eq!(outcome.unwrap_err().retry_after().unwrap(), Duration::from_micros(7_200_900_500));

    let past = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let server = Server::start(move |n| match n {
        0 => answer("429 Slow", past, ""),
        _ => stream(&[TEXT, STOP, DONE]),
    })
    .await;
    assert!(ask(&models(&server, "openai", json!({})), request()).await.0.is_ok());
}

#[tokio::test]
async fn every_wait_has_an_end() {
    let check = async |acts: Vec<Act>, setting: &str, phase: Phase, attempts: usize| {
        let server = Server::always(acts).await;
        let models = models(&server, "openai", json!({setting: 60}));
        let (outcome, _) = ask(&models, request()).await;
        let Err(ModelError::Timeout { phase: timed_out, after }) = outcome else {
            panic!("{outcome:?}")
        };
        // Whoever stays silent has twice the time once, and is then given up.
        let times = if phase == Phase::Total { 1 } else { 2 };
        assert_eq!((timed_out, after), (phase, Duration::from_millis(60 * times)));
        assert_eq!(server.count(), attempts);
        server.hung_up(attempts).await;
    };
    check(vec![Act::Hold], "first_byte_timeout_ms", Phase::FirstByte, 2).await;
    check(vec![Act::Send(stream_head()), Act::Hold], "idle_timeout_ms", Phase::Idle, 2).await;
    check(vec![Act::Hold], "total_timeout_ms", Phase::Total, 1).await;
    check(vec![Act::Send(stream_head()), Act::Hold], "total_timeout_ms", Phase::Total, 1).await;
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_unavailable() {
    let settings: ModelSettings = serde_json::from_value(json!({
        "default": "p/m",
        "providers": {"p": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "backoff_ms": 1}},
    }))
    .unwrap();
    let (outcome, failed) = ask(&Models::new(&settings).unwrap(), request()).await;
    let error = outcome.unwrap_err();
    assert!(matches!(&error, ModelError::Unavailable { status: None, .. }), "{error:?}");
    assert!(!error.to_string().contains("127.0.0.1:9/v1"), "{error}");
    assert_eq!(failed, 3);
}

#[tokio::test]
async fn hanging_up_closes_the_connection() {
    let server =
        Server::always(vec![Act::Send(format!("{}data: {TEXT}\n\n", stream_head())), Act::Hold])
            .await;
    let models = models(&server, "openai", json!({}));
    let mut events = models.chat(request());
    assert_eq!(events.next().await, Some(Ok(ChatEvent::Text("Hello".into()))));
    drop(events);
    server.hung_up(1).await;
}

#[tokio::test]
async fn usage_is_estimated_where_the_server_counts_nothing() {
    let response = openai(stream(&[TEXT, STOP, DONE])).await.0.unwrap();
    assert!((8..20).contains(&response.usage.input_tokens), "{:?}", response.usage);
    assert_eq!(response.usage.output_tokens, 2);
    assert!(response.cost_usd > 0.0);
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":60}}}"#;
    let response = openai(stream(&[TEXT, STOP, usage, DONE])).await.0.unwrap();
    assert_eq!(response.usage, Usage::new(100, 7, 60));
    assert!((response.cost_usd - (40.0 + 6.0 + 14.0) * 1e-6).abs() < 1e-12);
    let usage = r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":60,"cache_creation_input_tokens":30,"output_tokens":1}}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#;
    let text =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}"#;
    let response = anthropic(&[usage, text, end, r#"{"type":"message_stop"}"#]).await.0.unwrap();
    assert_eq!(response.usage, Usage::new(100, 7, 60));
}

#[tokio::test]
async fn tool_calls_are_put_together_however_they_come() {
    let calls = async |events: &[&str]| {
        let response = openai(stream(&[events, &[STOP, DONE]].concat())).await.0.unwrap();
        assert_eq!(response.finish_reason, FinishReason::ToolCalls);
        let calls =
            response.tool_calls.into_iter().map(|call| format!("{} {}", call.tool, call.args));
        calls.collect::<Vec<_>>()
    };
    let delta = |calls: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{calls}]}}}}]}}"#);
    // In fragments, two at once.
    let interleaved = [
        delta(
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":""}},{"index":1,"id":"b","function":{"name":"g"}}"#,
        ),
        delta(r#"{"index":1,"function":{"arguments":"{\"y\":"}}"#),
        delta(r#"{"index":0,"function":{"arguments":"{\"x\":1}"}}"#),
        delta(r#"{"index":1,"function":{"arguments":"2}"}}"#),
    ];
    let interleaved: Vec<&str> = interleaved.iter().map(String::as_str).collect();
    assert_eq!(calls(&interleaved).await, [r#"f {"x":1}"#, r#"g {"y":2}"#]);
    // Whole, all with index 0; whole, without index; with an object for arguments.
    let same_index = delta(
        r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}"#,
    );
    assert_eq!(calls(&[&same_index]).await, ["f {}", "g {}"]);
    let no_index = delta(
        r#"{"id":"a","function":{"name":"f"}},{"id":"b","function":{"name":"g","arguments":{"x":1}}}"#,
    );
    assert_eq!(calls(&[&no_index]).await, ["f {}", r#"g {"x":1}"#]);
    // What is no JSON object is handed on as text.
    let broken = delta(
        r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\": 1e131071}"}},{"index":1,"id":"b","function":{"name":"g","arguments":"[1]"}}"#,
    );
    assert_eq!(calls(&[&broken]).await, [r#"f "{\"x\": 1e131071}""#, r#"g "[1]""#]);
}

#[tokio::test]
async fn odd_characters_do_not_spoil_an_answer() {
    let halves = [
        r#"{"choices":[{"delta":{"content":"a\ud83d"}}]}"#,
        r#"{"choices":[{"delta":{"content":"\ude42\u0000b"}}]}"#,
        STOP,
    ];
    let response = openai(stream(&halves)).await.0.unwrap();
    assert_eq!(response.content, "a🙂\u{fffd}b");
}

fn conversation() -> ChatRequest {
    let call = |index| CallId::derive(RunId::from_uuid(Default::default()), 1, index, "t", "{}");
    let result = |index, is_error| Message::Tool {
        tool_call_id: call(index),
        tool: "t".into(),
        content: format!("result {index}"),
        is_error,
    };
    ChatRequest {
        messages: vec![
            Message::User { content: "Go.".into() },
            Message::Assistant {
                content: String::new(),
                tool_calls: vec![
                    ToolCall { id: call(0), tool: "t".into(), args: json!({"a": 1}) },
                    ToolCall { id: call(1), tool: "t".into(), args: json!("{broken") },
                ],
                replay: None,
                sent: None,
            },
            result(0, false),
            result(1, true),
        ],
        tools: vec![ToolInfo {
            name: "t".into(),
            description: "A tool.".into(),
            input_schema: json!({"type": "object"}),
            effect: Effect::ReadOnly,
            approval: Approval::Never,
            source: ToolSource::Builtin,
        }]
        .into(),
        temperature: Some(1.5),
        max_tokens: Some(50),
        response_format: None,
        cache: CacheHints::default(),
        ..request()
    }
}

#[tokio::test]
async fn the_body_of_a_chat_completion() {
    let server = Server::always(stream(&[TEXT, STOP])).await;
    ask(&models(&server, "openai", json!({})), conversation()).await.0.unwrap();
    let (head, body) = server.request(0);
    assert!(
        head.starts_with("post /chat/completions ")
            && head.contains("authorization: bearer sk-secret")
    );
    expect![[r#"{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Go."},{"role":"assistant","content":null,"tool_calls":[{"id":"kc6bhtb8s","type":"function","function":{"name":"t","arguments":"{\"a\":1}"}},{"id":"b9nve789v","type":"function","function":{"name":"t","arguments":"{\"unparsable\":\"{broken\"}"}}]},{"role":"tool","tool_call_id":"kc6bhtb8s","content":"result 0"},{"role":"tool","tool_call_id":"b9nve789v","content":"result 1"}],"stream":true,"stream_options":{"include_usage":true},"tools":[{"type":"function","function":{"name":"t","description":"A tool.","parameters":{"type":"object","properties":{}}}}],"temperature":1.5,"max_tokens":50}"#]]
    .assert_eq(&body.to_string());
}

#[tokio::test]
async fn the_body_of_anthropic_messages() {
    let server = Server::always(stream(&[r#"{"type":"message_stop"}"#])).await;
    ask(&models(&server, "anthropic", json!({})), conversation()).await.0.unwrap();
    let (head, body) = server.request(0);
    assert!(head.starts_with("post /v1/messages ") && head.contains("x-api-key: sk-secret"));
    assert!(head.contains("anthropic-version: 2023-06-01"));
    expect![[r#"{"model":"m","max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"Go."}]},{"role":"assistant","content":[{"type":"tool_use","id":"kc6bhtb8s","name":"t","input":{"a":1}},{"type":"tool_use","id":"b9nve789v","name":"t","input":{"unparsable":"{broken"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"kc6bhtb8s","content":"result 0","is_error":false},{"type":"tool_result","tool_use_id":"b9nve789v","content":"result 1","is_error":true,"cache_control":{"type":"ephemeral"}}]}],"stream":true,"tools":[{"name":"t","description":"A tool.","input_schema":{"type":"object","properties":{}},"cache_control":{"type":"ephemeral"}}],"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],"temperature":1.0}"#]].assert_eq(&body.to_string());
}

/// Asks once, then again with the answer in the history; gives the assistant message of the second
/// request as it was sent.
async fn sent_back(kind: &str, more: Value, events: &[&str], other_provider: bool) -> Value {
    let server = Server::always(stream(events)).await;
    let models = models(&server, kind, more);
    let response = ask(&models, request()).await.0.unwrap();
    let mut again = request();
    let replay = response.replay.map(|replay| match other_provider {
        true => Replay { provider: "other".into(), ..replay },
        false => replay,
    });
    let tool_calls = response.tool_calls.into_iter().enumerate().map(|(index, call)| ToolCall {
        id: CallId::derive(RunId::from_uuid(Default::default()), 1, index as u32, "t", "{}"),
        tool: call.tool,
        args: call.args,
    });
    again.messages.push(Message::Assistant {
        content: response.content,
        tool_calls: tool_calls.collect(),
        replay,
        sent: None,
    });
    ask(&models, again).await.0.unwrap();
    let (_, body) = server.request(1);
    let messages = body["messages"].as_array().unwrap();
    messages.iter().find(|message| message["role"] == "assistant").unwrap().clone()
}

#[tokio::test]
async fn reasoning_goes_back_to_its_own_provider_only() {
    let thinking = [
        r#"{"type":"message_start","message":{"usage":{"input_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm."}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"ZGF0YQ=="}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Look."}}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"t","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":3}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let kinds = |message: Value| -> Vec<String> {
        let blocks = message["content"].as_array().unwrap().clone();
        blocks.iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect()
    };
    let message = sent_back("anthropic", json!({}), &thinking, false).await;
    assert_eq!(
        message["content"][0],
        json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
    );
    assert_eq!(message["content"][3]["id"], "toolu_1");
    assert_eq!(kinds(message), ["thinking", "redacted_thinking", "text", "tool_use"]);
    let message = sent_back("anthropic", json!({}), &thinking, true).await;
    assert_eq!(kinds(message), ["text", "tool_use"]);

    let reasoning = [
        r#"{"choices":[{"delta":{"reasoning_content":"Hm, ","reasoning":"Hm, "}}]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"well."}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"t","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}]}}]}"#,
        STOP,
    ];
    let message = sent_back("openai", json!({}), &reasoning, false).await;
    assert_eq!(message["reasoning_content"], "Hm, well.");
    assert_eq!(message["tool_calls"][0]["id"], "a");
    assert_eq!(message["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "s");
    let unwanted = json!({"replay_reasoning": false});
    let message = sent_back("openai", unwanted, &reasoning, false).await;
    assert_eq!(message.get("reasoning_content"), None);
    let message = sent_back("openai", json!({}), &reasoning, true).await;
    assert_eq!(message.get("reasoning_content"), None);
    assert_eq!(message["tool_calls"][0].get("extra_content"), None);
    let id = message["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
    let wanted = json!({"replay_reasoning": true});
    let message = sent_back("openai", wanted, &reasoning, true).await;
    assert_eq!(message["reasoning_content"], "");
}

fn embedding_settings(more: Value) -> EmbeddingSettings {
    let mut settings = json!({"model": "p/e5-x", "dimensions": 8});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

#[tokio::test]
async fn embeddings_are_batched_ordered_and_checked() {
    let texts: Vec<String> = (0..100).map(|n| format!("text {n}")).collect();
    let server = Server::start(|n| {
        let count = if n == 0 { 64 } else { 36 };
        let data: Vec<Value> = (0..count)
            .rev()
            .map(|index| {
                let mut embedding = vec![0.0; 8];
                embedding[index % 8] = (n * 64 + index + 1) as f64;
                json!({"index": index, "embedding": embedding})
            })
            .collect();
        answer("200 OK", "", &json!({"data": data}).to_string())
    })
    .await;
    let embedder =
        models(&server, "openai", json!({})).embedder(&embedding_settings(json!({}))).unwrap();
    assert_eq!((embedder.id(), embedder.dimensions()), ("p/e5-x@8", 8));
    let vectors = embedder.embed(&texts, Purpose::Query).await.unwrap();
    assert_eq!(vectors.len(), 100);
    for (n, vector) in vectors.iter().enumerate() {
        assert_eq!(vector[n % 64 % 8], 1.0, "text {n}");
    }
    let (head, body) = server.request(1);
    assert!(head.starts_with("post /embeddings "));
    assert_eq!(body["dimensions"], 8);
    assert_eq!(body["input"][0], "query: text 64");
    assert!(embedder.embed(&[], Purpose::Passage).await.unwrap().is_empty());
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn embeddings_that_are_wrong_are_refused() {
    let check = async |data: Value, settings: Value| {
        let server = Server::always(answer("200 OK", "", &json!({"data": data}).to_string())).await;
        let models = models(&server, "openai", json!({"max_attempts": 1}));
        let embedder = models.embedder(&embedding_settings(settings)).unwrap();
        embedder.embed(&["a".into()], Purpose::Passage).await
    };
    let one = |embedding: Vec<f64>| json!([{"index": 0, "embedding": embedding}]);
    for (data, problem) in [
        (json!([]), "a text has no embedding"),
        (json!([{"index": 7, "embedding": vec![1.0; 8]}]), "has no text of its own"),
        (one(vec![0.0; 8]), "zero or not finite"),
        (one(vec![1.0; 9]), "its vectors have 9 dimensions, not 8"),
        (json!("no"), "not a list of embeddings"),
    ] {
        let error = check(data, json!({})).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let projected = check(one(vec![1.0; 64]), json!({"projection": "random"})).await.unwrap();
    let length: f32 = projected[0].iter().map(|x| x * x).sum();
    assert!(projected[0].len() == 8 && (length - 1.0).abs() < 1e-5);
}

#[tokio::test]
async fn an_embedder_is_chosen_by_its_setting() {
    let models = Models::new(&ModelSettings::default()).unwrap();
    let id = |settings: Value| {
        let settings: EmbeddingSettings = serde_json::from_value(settings).unwrap();
        models
            .embedder(&settings)
            .map(|embedder| embedder.id().to_owned())
            .map_err(|e| e.to_string())
    };
    assert_eq!(id(json!({})).unwrap(), "local/hashed1@256");
    assert_eq!(
        id(json!({"model": "ollama/bge-m3", "projection": "random"})).unwrap(),
        "ollama/bge-m3@256+random1"
    );
    assert_eq!(
        id(json!({"model": "openai/x"})).unwrap_err(),
        "`embedding.model` provider `openai` has no API key"
    );
    assert_eq!(
        id(json!({"model": "anthropic/x"})).unwrap_err(),
        "`embedding.model` provider `anthropic` has no embeddings"
    );
    assert_eq!(
        id(json!({"model": "x"})).unwrap_err(),
        "`embedding.model` `x` is not of the form `<provider>/<model>`"
    );
    assert_eq!(
        id(json!({"dimensions": 4097})).unwrap_err(),
        "`embedding.dimensions` must be 8 to 4096"
    );
}

#[tokio::test]
async fn a_probe_lists_models_and_says_what_is_wrong() {
    let list = r#"{"data":[{"id":"a"},{"id":"models/b"},{"id":"c:latest"},{"id":7}]}"#;
    let good = Server::always(answer("200 OK", "", list)).await;
    let probes = models(&good, "openai", json!({})).probe().await;
    let outcome = |name: &str| {
        probes.iter().find(|probe| probe.provider == name).map(|probe| probe.outcome.clone())
    };
    assert!(outcome("demo").unwrap().is_ok());
    let answered = outcome("p").unwrap().unwrap();
    assert_eq!(answered.models, ["a", "b", "c:latest"]);
    let may_have = ["a", "b", "c", "c:latest", "d"].map(|model| answered.may_have(model));
    assert_eq!(may_have, [true, true, true, true, false]);
    assert_eq!(outcome("openai"), None, "not configured");
    assert!(good.request(0).0.starts_with("get /models "));
    let part = Server::always(answer("200 OK", "", r#"{"data":[{"id":"a"}],"has_more":true}"#));
    let probes = models(&part.await, "anthropic", json!({})).probe().await;
    let probe = probes.iter().find(|probe| probe.provider == "p").unwrap();
    assert!(probe.outcome.as_ref().unwrap().may_have("z"), "{probe:?}");
    let bad = Server::always(answer("401 No", "", "")).await;
    let probes = models(&bad, "anthropic", json!({})).probe().await;
    let probe = probes.iter().find(|probe| probe.provider == "p").unwrap();
    assert!(matches!(probe.outcome, Err(ModelError::Auth { .. })), "{probe:?}");
    assert!(bad.request(0).0.starts_with("get /v1/models "));
}
