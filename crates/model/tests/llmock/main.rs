//! Both wire formats against llmock, a mock server that breaks as providers break, and judges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod server;

use std::time::Duration;

use futures::StreamExt;
use model::{
    chat::{CacheHints, ChatEvent, ChatRequest, ChatResponse},
    embedding::Purpose,
    error::{ModelError, Phase},
    models::Models,
    settings::ModelSettings,
    tool_list::ToolList,
};
use protocol::{
    message::{FinishReason, Message},
    tool::{Approval, Effect, ToolInfo, ToolSource},
};
use serde_json::json;
use server::Llmock;

const PROVIDERS: [&str; 2] = ["o", "a"];

/// `o` speaks OpenAI's format and `a` Anthropic's.
fn models(llmock: &Llmock) -> Models {
    let provider = |kind: &str, path: &str| {
        json!({
            "kind": kind,
            "base_url": format!("{}{path}", llmock.url),
            "api_key": "k",
            "backoff_ms": 100,
            "idle_timeout_ms": 300,
        })
    };
    let settings: ModelSettings = serde_json::from_value(json!({
        "default": "o/gpt-4o",
        "providers": {"o": provider("openai", "/v1"), "a": provider("anthropic", "/anthropic")},
    }))
    .unwrap();
    Models::new(&settings).unwrap()
}

fn request(provider: &str, text: &str) -> ChatRequest {
    ChatRequest {
        provider: provider.into(),
        model: "some-model".into(),
        system: "Be brief.".into(),
        messages: vec![Message::User { content: text.into() }],
        tools: ToolList::default(),
        temperature: None,
        max_tokens: None,
        response_format: None,
        cache: CacheHints::default(),
    }
}

fn weather() -> ToolInfo {
    ToolInfo {
        name: "get_weather".into(),
        description: "The weather of a city.".into(),
        input_schema: json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
        effect: Effect::ReadOnly,
        approval: Approval::Never,
        source: ToolSource::Builtin,
    }
}

struct Told {
    /// Of the last attempt.
    text: String,
    failed: Vec<(ModelError, Duration)>,
    outcome: Result<ChatResponse, ModelError>,
}

async fn ask(models: &Models, request: ChatRequest) -> Told {
    let (mut text, mut failed) = (String::new(), Vec::new());
    let mut events = models.chat(request);
    while let Some(event) = events.next().await {
        match event {
            Ok(ChatEvent::Text(more)) => text.push_str(&more),
            Ok(ChatEvent::Spent { .. }) => {}
            Ok(ChatEvent::ToolLeftOut { tool, .. }) => panic!("`{tool}` is refused"),
            Ok(ChatEvent::AttemptFailed { error, retry_in, void, .. }) => {
                assert_eq!(void, !text.is_empty());
                text.clear();
                failed.push((error, retry_in));
            }
            Ok(ChatEvent::Done(response)) => return Told { text, failed, outcome: Ok(*response) },
            Err(error) => return Told { text, failed, outcome: Err(error) },
        }
    }
    panic!("the stream ended without an answer or an error")
}

#[tokio::test]
async fn text_and_tool_calls_and_usage_are_understood() {
    let llmock = Llmock::start().await;
    let models = models(&llmock);
    for provider in PROVIDERS {
        let words = "你好 world, \"quoted\" and 🙂 more";
        llmock.will(json!([{"type": "reply", "text": words}])).await;
        let told = ask(&models, request(provider, "say it")).await;
        let response = told.outcome.unwrap();
        assert_eq!((told.text.as_str(), response.content.as_str()), (words, words), "{provider}");
        assert_eq!((response.finish_reason, response.attempts), (FinishReason::Stop, 1));
        assert!(response.usage.input_tokens > 0 && response.usage.output_tokens > 0);
        assert!(response.time_to_first_token_ms <= response.duration_ms);

        let args = json!({"city": "上海", "long": "x".repeat(500)});
        llmock
            .will(json!([{"type": "reply", "text": "Let me see.", "tool_calls": [
                {"name": "get_weather", "arguments": args},
                {"name": "get_weather", "arguments": {"city": "Paris"}},
            ]}]))
            .await;
        let mut asked = request(provider, "weather?");
        asked.tools = [weather()].into_iter().collect();
        let response = ask(&models, asked.clone()).await.outcome.unwrap();
        assert_eq!(response.finish_reason, FinishReason::ToolCalls);
        assert_eq!(response.content, "Let me see.");
        assert_eq!(response.tool_calls.len(), 2, "{provider}");
        assert_eq!(response.tool_calls[0].args, args);
        assert_eq!(response.tool_calls[1].args, json!({"city": "Paris"}));

        llmock.will(json!([{"type": "tool_fault", "kind": "malformed_arguments"}])).await;
        let response = ask(&models, asked.clone()).await.outcome.unwrap();
        let cut = response.cut.expect("arguments that end in the middle are no call");
        assert_eq!(
            (cut.calls.as_slice(), response.tool_calls.len()),
            (&["get_weather".into()][..], 0)
        );
        llmock.will(json!([{"type": "tool_fault", "kind": "unknown_tool"}])).await;
        let response = ask(&models, asked).await.outcome.unwrap();
        assert_ne!(response.tool_calls[0].tool, "get_weather");
    }
    assert!(
        models
            .probe()
            .await
            .iter()
            .filter(|probe| probe.provider == "o")
            .all(|p| p.outcome.is_ok())
    );
    assert!(llmock.findings().await.is_empty());
}

#[tokio::test]
async fn a_broken_stream_is_tried_again_and_never_a_short_answer() {
    let llmock = Llmock::start().await;
    let models = models(&llmock);
    let idle = ModelError::Timeout { phase: Phase::Idle, after: Duration::from_millis(300) };
    let words = "one two three four five six seven";
    for provider in PROVIDERS {
        for (kind, after_chunks, expected) in [
            ("truncate", 0, None),
            ("truncate", 4, Some(ModelError::Truncated)),
            ("disconnect", 4, Some(ModelError::Truncated)),
            ("malformed", 4, None),
            ("stall", 4, Some(idle.clone())),
        ] {
            let what = format!("{provider} {kind} {after_chunks}");
            llmock.reset().await;
            llmock
                .will(json!([
                    {"type": "reply", "text": words, "times": 2},
                    {"type": "stream_fault", "kind": kind, "after_chunks": after_chunks, "stall_seconds": 1, "times": 1},
                ]))
                .await;
            let told = ask(&models, request(provider, &what)).await;
            assert_eq!((told.text.as_str(), told.failed.len()), (words, 1), "{what}");
            assert_eq!(told.outcome.unwrap().content, words, "{what}");
            if let Some(expected) = expected {
                assert_eq!(told.failed[0].0, expected, "{what}");
            }

            llmock.will(json!([{"type": "stream_fault", "kind": kind, "after_chunks": after_chunks, "stall_seconds": 1, "times": 4}])).await;
            let told = ask(&models, request(provider, &format!("{what}, always"))).await;
            assert!(told.outcome.is_err(), "{what}");
            // Whoever stays silent is given up after twice the time.
            let (failed, asked) = if kind == "stall" { (1, 4) } else { (3, 6) };
            assert_eq!((told.failed.len(), llmock.count().await), (failed, asked), "{what}");
            let findings = llmock.findings().await;
            // Having tried four times, we give up on it: llmock cannot see that the error was told.
            let ours = |finding: &&serde_json::Value| {
                let code = finding["code"].as_str().unwrap();
                !["truncated_stream_accepted", "malformed_chunk_ignored"].contains(&code)
            };
            assert_eq!(findings.iter().find(ours), None, "{what}");
        }
    }
}

#[tokio::test]
async fn statuses_are_obeyed() {
    let llmock = Llmock::start().await;
    let models = models(&llmock);
    for provider in PROVIDERS {
        for status in [429, 500, 503, 529] {
            llmock
                .will(json!([{"type": "fail", "status": status, "retry_after": 0.02, "times": 2}]))
                .await;
            let told = ask(&models, request(provider, &format!("{provider} {status}"))).await;
            assert_eq!(told.outcome.unwrap().attempts, 3, "{status}");
        }
        llmock.will(json!([{"type": "fail", "status": 429, "retry_after": 0.3}])).await;
        let told = ask(&models, request(provider, &format!("{provider} wait"))).await;
        assert!(told.outcome.is_ok());
        assert!(told.failed[0].1 >= Duration::from_millis(300), "{:?}", told.failed);
        assert!(matches!(told.failed[0].0, ModelError::RateLimited { retry_after: Some(_), .. }));

        llmock
            .will(json!([{"type": "fail", "status": 503, "retry_after": 0.02, "times": 4}]))
            .await;
        let told = ask(&models, request(provider, &format!("{provider} down"))).await;
        assert!(matches!(told.outcome, Err(ModelError::Unavailable { status: Some(503), .. })));

        for status in [400, 401, 403, 404, 422] {
            let before = llmock.count().await;
            llmock.will(json!([{"type": "fail", "status": status}])).await;
            let told = ask(&models, request(provider, &format!("{provider} {status}"))).await;
            match told.outcome.unwrap_err() {
                ModelError::Auth { .. } => assert_eq!(status, 401),
                ModelError::Forbidden { .. } => assert_eq!(status, 403),
                ModelError::BadRequest { status: said, .. } => assert_eq!(said, status),
                other => panic!("{status}: {other}"),
            }
            assert_eq!(llmock.count().await, before + 1, "{status} is not tried again");
        }
    }
    let findings = llmock.findings().await;
    assert!(findings.is_empty(), "{findings:#?}");
}

#[tokio::test]
async fn embeddings_come_from_the_endpoint() {
    let llmock = Llmock::start().await;
    let settings = json!({"model": "o/some-model", "dimensions": 256, "projection": "random"});
    let embedder = models(&llmock).embedder(&serde_json::from_value(settings).unwrap()).unwrap();
    llmock.will(json!([{"type": "fail", "status": 503, "retry_after": 0.02}])).await;
    let texts = ["one".to_owned(), "two".to_owned(), "one".to_owned()];
    let vectors = embedder.embed(&texts, Purpose::Passage).await.unwrap();
    assert!(vectors.iter().all(|vector| vector.len() == 256));
    assert_eq!(vectors[0], vectors[2]);
    assert_ne!(vectors[0], vectors[1]);
}
