//! Choosing a model, and asking a scripted one: retries, voided text, hanging up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use futures::StreamExt;
use model::{
    chat::{CacheHints, ChatEvent, ChatRequest},
    error::{ModelError, ResolveError},
    models::Models,
    scripted::{Gate, Reply, Scripted},
    settings::ModelSettings,
    tool_list::ToolList,
};
use protocol::{
    message::{FinishReason, Message, Usage},
    model_names::ModelNames,
    run::LlmConfig,
};
use serde_json::json;

fn request(models: &Models, text: &str) -> ChatRequest {
    let model = models.default_model().clone();
    ChatRequest {
        provider: model.provider,
        model: model.model,
        system: String::new(),
        messages: vec![Message::User { content: text.into() }],
        tools: ToolList::default(),
        temperature: None,
        max_tokens: None,
        response_format: None,
        cache: CacheHints::default(),
    }
}

/// These providers have a key.
fn settings(with_key: &[&str], default: Option<&str>) -> ModelSettings {
    let with_key = with_key.iter().map(|name| ((*name).to_owned(), json!({"api_key": "k"})));
    let providers = serde_json::Value::Object(with_key.collect());
    serde_json::from_value(json!({"default": default, "providers": providers})).unwrap()
}

#[test]
fn the_default_follows_what_is_configured() {
    let default = |with_key: &[&str], default: Option<&str>| {
        let models = Models::new(&settings(with_key, default));
        models.map(|models| models.default_model().to_string())
    };
    assert_eq!(default(&[], None).unwrap(), "demo/default");
    assert_eq!(default(&["anthropic"], None).unwrap(), "anthropic/claude-sonnet-4-5");
    assert_eq!(default(&["anthropic", "openai"], None).unwrap(), "openai/gpt-5-mini");
    assert_eq!(default(&["anthropic"], Some("demo/paced")).unwrap(), "demo/paced");
    assert_eq!(default(&[], Some("demo")).unwrap(), "demo/default");
    assert_eq!(default(&[], Some("ollama/qwen3:8b")).unwrap(), "ollama/qwen3:8b");
    for (model, problem) in [
        ("openai/gpt-5", "provider `openai` has no API key; configured are `demo`, `ollama`"),
        ("nobody/x", "provider `nobody` is unknown; configured are `demo`, `ollama`"),
        ("demo/fast", "provider `demo` has no model `fast`; it has `default`, `paced`, `instant`"),
        ("ollama", "provider `ollama` has no default model: name one"),
        ("/x", "`/x` is not of the form `<provider>/<model>`"),
    ] {
        let error = default(&[], Some(model)).unwrap_err().to_string();
        assert_eq!(error, format!("`model.default` cannot be used: {problem}"));
    }
}

#[test]
fn a_run_may_ask_for_another_model() {
    let models = Models::new(&settings(&["openai"], None)).unwrap();
    let resolve = |provider: Option<&str>, model: Option<&str>, agent: Option<&str>| {
        let config = LlmConfig {
            provider: provider.map(str::to_owned),
            model: model.map(ModelNames::from),
            ..LlmConfig::default()
        };
        let agent = agent.map(ModelNames::from);
        models.resolve(Some(&config), agent.as_ref()).map(|list| list.first.to_string())
    };
    assert_eq!(models.resolve(None, None).unwrap().first.to_string(), "openai/gpt-5-mini");
    let demo = ModelNames::from("demo");
    assert_eq!(models.resolve(None, Some(&demo)).unwrap().first.to_string(), "demo/default");
    assert_eq!(resolve(None, None, Some("demo/paced")).unwrap(), "demo/paced");
    assert_eq!(resolve(None, Some("gpt-5"), None).unwrap(), "openai/gpt-5");
    assert_eq!(resolve(Some("demo"), None, None).unwrap(), "demo/default");
    // Both forms of a name.
    assert_eq!(resolve(None, Some("openai/gpt-5"), None).unwrap(), "openai/gpt-5");
    assert_eq!(resolve(None, Some("demo/paced"), None).unwrap(), "demo/paced");
    assert_eq!(resolve(None, Some("openai/gpt-5"), Some("demo")).unwrap(), "openai/gpt-5");
    assert!(matches!(
        resolve(None, Some("anthropic/claude"), None),
        Err(ResolveError::NoKey { .. })
    ));
    // A router calls its models after those who made them.
    assert_eq!(resolve(None, Some("qwen/qwen3"), None).unwrap(), "openai/qwen/qwen3");
    assert_eq!(resolve(None, Some("anthropic/x"), Some("ollama/y")).unwrap(), "ollama/anthropic/x");
    assert_eq!(resolve(Some("ollama"), Some("a/b"), None).unwrap(), "ollama/a/b");
    assert!(matches!(resolve(Some("anthropic"), None, None), Err(ResolveError::NoKey { .. })));
    assert!(matches!(resolve(Some("x"), None, None), Err(ResolveError::UnknownProvider { .. })));
}

#[test]
fn a_list_of_models_keeps_its_order_and_names_each_once() {
    let models = Models::new(&settings(&["openai"], None)).unwrap();
    let list =
        |names: &[&str]| ModelNames::Several(names.iter().map(|&name| name.to_owned()).collect());
    let told = |provider: Option<&str>, names: Option<&[&str]>, agent: Option<&[&str]>| {
        let config = LlmConfig {
            provider: provider.map(str::to_owned),
            model: names.map(list),
            ..LlmConfig::default()
        };
        let list = models.resolve(Some(&config), agent.map(list).as_ref())?;
        let names: Vec<_> = list.iter().map(ToString::to_string).collect();
        Ok::<_, ResolveError>(names.join(" "))
    };
    let of_agent = Some(&["openai/a", "demo", "openai/a"][..]);
    assert_eq!(told(None, None, of_agent).unwrap(), "openai/a demo/default");
    assert_eq!(told(None, Some(&["b", "demo/paced"]), of_agent).unwrap(), "openai/b demo/paced");
    assert_eq!(told(Some("ollama"), Some(&["b", "c"]), of_agent).unwrap(), "ollama/b ollama/c");
    // One that cannot be asked is told at once, and not when the others fail.
    let without_key = told(None, None, Some(&["openai/a", "anthropic/b"]));
    assert!(matches!(without_key, Err(ResolveError::NoKey { .. })));
}

#[tokio::test]
async fn an_unknown_model_is_refused_without_asking() {
    let models = Models::new(&ModelSettings::default()).unwrap();
    let mut asked = request(&models, "hi");
    asked.provider = "nobody".into();
    let events: Vec<_> = models.chat(asked).collect().await;
    assert!(matches!(events[..], [Err(ModelError::BadRequest { .. })]), "{events:?}");
}

#[tokio::test]
async fn failed_attempts_are_told_and_their_text_is_void() {
    let script = Scripted::in_order([
        Reply::error(ModelError::Unavailable {
            status: Some(503),
            retry_after: None,
            message: "down".into(),
        }),
        Reply::truncated("half an ans"),
        Reply::chunks(["Hel", "lo"]).with_usage(Usage::new(7, 2, 0)),
    ]);
    let models = Models::with_scripted(script.clone());
    let events: Vec<_> = models.chat(request(&models, "hi")).map(Result::unwrap).collect().await;
    let [
        ChatEvent::AttemptFailed { attempt: 1, void: false, .. },
        ChatEvent::Text(half),
        ChatEvent::AttemptFailed { attempt: 2, void: true, error: ModelError::Truncated, .. },
        ChatEvent::Text(_),
        ChatEvent::Text(_),
        ChatEvent::Done(response),
    ] = &events[..]
    else {
        panic!("{events:#?}")
    };
    assert_eq!(half, "half an ans");
    assert_eq!((response.content.as_str(), response.attempts), ("Hello", 3));
    assert_eq!(response.usage, Usage::new(7, 2, 0));
    assert_eq!(script.requests().len(), 3);
}

#[tokio::test]
async fn four_failures_are_the_end_and_some_errors_at_once() {
    let script = Scripted::new(|_| Reply::truncated("half"));
    let models = Models::with_scripted(script.clone());
    let events: Vec<_> = models.chat(request(&models, "hi")).collect().await;
    assert_eq!(events.last(), Some(&Err(ModelError::Truncated)));
    assert_eq!(script.requests().len(), 4);

    let far = ModelError::RateLimited {
        retry_after: Some(Duration::from_secs(61)),
        message: "later".into(),
    };
    for error in [ModelError::Auth { message: "no".into() }, far] {
        let script = Scripted::in_order([Reply::error(error.clone())]);
        let models = Models::with_scripted(script.clone());
        let events: Vec<_> = models.chat(request(&models, "hi")).collect().await;
        assert_eq!(events, [Err(error)]);
    }
}

#[tokio::test]
async fn a_script_sees_the_prompt_and_asks_for_tools() {
    let script = Scripted::new(|request| match request.messages.last() {
        Some(Message::User { content }) => Reply::text(content.to_uppercase())
            .and_call("t", json!({"a": 1}))
            .and_call("t", json!("no json"))
            .with_replay(json!(["block"])),
        _ => Reply::text("end").with_finish_reason(FinishReason::Length),
    });
    let models = Models::with_scripted(script.clone());
    let events: Vec<_> = models.chat(request(&models, "hi")).collect().await;
    let Some(Ok(ChatEvent::Done(response))) = events.last() else { panic!("{events:?}") };
    assert_eq!(response.content, "HI");
    assert_eq!(response.finish_reason, FinishReason::ToolCalls);
    assert_eq!(response.tool_calls[1].args, json!("no json"));
    assert_eq!(response.replay.as_ref().unwrap().provider, "scripted");
    assert_eq!(script.wait_for_requests(1).await[0].messages.len(), 1);
}

#[tokio::test]
async fn a_gate_holds_a_reply_until_it_is_opened() {
    let gate = Gate::new();
    let script = Scripted::in_order([Reply::text("a").wait(&gate).chunk("b")]);
    let models = Models::with_scripted(script);
    let mut events = models.chat(request(&models, "hi"));
    assert_eq!(events.next().await, Some(Ok(ChatEvent::Text("a".into()))));
    let rest = tokio::spawn(events.collect::<Vec<_>>());
    gate.reached().await;
    gate.open();
    assert_eq!(rest.await.unwrap().len(), 2);
}

#[tokio::test]
async fn hanging_up_is_noticed_at_the_gate() {
    let gate = Gate::new();
    let models = Models::with_scripted(Scripted::in_order([Reply::default().wait(&gate)]));
    let mut events = models.chat(request(&models, "hi"));
    let asking = tokio::spawn(async move { events.next().await });
    gate.reached().await;
    asking.abort();
    gate.abandoned().await;
}
