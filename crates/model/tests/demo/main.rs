//! The demo model as a caller sees it: which tools it calls, in order, and what it answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use futures::StreamExt;
use model::{
    chat::{CacheHints, ChatEvent, ChatRequest, ChatResponse},
    models::Models,
    settings::ModelSettings,
};
use protocol::{
    id::{CallId, RunId},
    message::{FinishReason, Message, ToolCall},
    tool::{Approval, Effect, ToolInfo, ToolSource},
};
use serde_json::{Value, json};

/// More steps than any conversation here may take: a loop would reach it.
const STEPS_MAX: usize = 12;

fn tool(name: &str, schema: Value) -> ToolInfo {
    let source = match name.split_once("__") {
        Some((server, _)) => ToolSource::Mcp { server: server.into() },
        None => ToolSource::Builtin,
    };
    ToolInfo {
        name: name.into(),
        description: String::new(),
        input_schema: schema,
        effect: Effect::ReadOnly,
        approval: Approval::Never,
        source,
    }
}

fn tools() -> Vec<ToolInfo> {
    let text =
        json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
    let date = json!({"type": "string", "description": "A date"});
    let count = json!({"type": "integer"});
    vec![
        tool("memory_search", json!({})),
        tool("memory_get", json!({})),
        tool("memory_write", json!({})),
        tool("read_file", json!({})),
        tool("export_trace", json!({})),
        tool("textkit__text_stats", text.clone()),
        tool("textkit__extract_dates", text.clone()),
        tool(
            "textkit__date_add",
            json!({"properties": {"date": date, "years": count, "months": count, "weeks": count, "days": count}, "required": ["date"]}),
        ),
        tool(
            "textkit__date_difference",
            json!({"properties": {"start": date, "end": date}, "required": ["start", "end"]}),
        ),
        tool(
            "everything__echo",
            json!({"properties": {"message": {"type": "string"}}, "required": ["message"]}),
        ),
    ]
}

fn ask(models: &Models, request: ChatRequest) -> (Vec<String>, ChatResponse) {
    let mut texts = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for event in runtime.block_on(models.chat(request).collect::<Vec<_>>()) {
        match event.unwrap() {
            ChatEvent::Text(text) => texts.push(text),
            ChatEvent::Done(response) => return (texts, *response),
            ChatEvent::AttemptFailed { .. }
            | ChatEvent::Spent { .. }
            | ChatEvent::ToolLeftOut { .. } => {
                panic!("the demo never fails and takes every tool")
            }
        }
    }
    panic!("the stream ended without an answer")
}

fn request(model: &str, messages: Vec<Message>, tools: Vec<ToolInfo>) -> ChatRequest {
    ChatRequest {
        provider: "demo".into(),
        model: model.into(),
        system: "You are helpful.".into(),
        messages,
        tools: tools.into(),
        temperature: None,
        max_tokens: None,
        response_format: None,
        cache: CacheHints::default(),
    }
}

/// Plays a whole run: the calls as `tool {args}`, then the answer.
fn converse(
    input: &str,
    tools: Vec<ToolInfo>,
    answer: impl Fn(&str, &Value) -> Result<String, String>,
) -> (Vec<String>, String) {
    let models = Models::new(&ModelSettings::default()).unwrap();
    let (run, mut calls) = (RunId::generate(), Vec::new());
    let mut messages = vec![Message::User { content: input.into() }];
    for step in 1..STEPS_MAX {
        let asked = request("instant", messages.clone(), tools.clone());
        let (texts, response) = ask(&models, asked);
        assert!(texts.is_empty(), "`demo/instant` answers in one piece");
        assert_eq!(response.cost_usd, 0.0);
        if response.tool_calls.is_empty() {
            assert_eq!(response.finish_reason, FinishReason::Stop);
            return (calls, response.content);
        }
        assert_eq!(response.finish_reason, FinishReason::ToolCalls);
        let mut results = Vec::new();
        let mut asked = Vec::new();
        for (index, call) in response.tool_calls.into_iter().enumerate() {
            assert!(tools.iter().any(|tool| tool.name == call.tool), "`{}` is offered", call.tool);
            let id =
                CallId::derive(run, step as u32, index as u32, &call.tool, &call.args.to_string());
            calls.push(format!("{} {}", call.tool, call.args));
            let result = answer(&call.tool, &call.args);
            results.push(Message::Tool {
                tool_call_id: id,
                tool: call.tool.clone(),
                is_error: result.is_err(),
                content: result.unwrap_or_else(|error| error),
            });
            asked.push(ToolCall { id, tool: call.tool, args: call.args });
        }
        messages.push(Message::Assistant {
            content: response.content,
            tool_calls: asked,
            replay: None,
            sent: None,
        });
        messages.extend(results);
    }
    panic!("it loops on {input:?}: {calls:?}")
}

fn usual(tool: &str, args: &Value) -> Result<String, String> {
    let cut = args["query"].as_str().is_some_and(|query| query.contains("story"));
    Ok(match tool {
        "memory_search" if cut => {
            json!([{"id": "mem_1", "snippet": "Once upon…", "score": 0.8, "type": "archival"}])
        }
        "memory_search" => json!([
            {"id": "mem_2", "snippet": "User: what tea?", "score": 0.9, "type": "episodic"},
            {"id": "mem_3", "snippet": "I like green tea", "score": 0.8, "type": "archival"},
            {"id": "mem_4", "snippet": "noise", "score": 0.1, "type": "archival"},
        ]),
        "memory_get" => json!({"id": "mem_1", "text": "Once upon a time there was a fox."}),
        "memory_write" => json!({"id": "mem_9"}),
        "read_file" => return Ok("# Notes\nfirst\nsecond\n".into()),
        "textkit__text_stats" => json!({"characters": 7, "words": 2}),
        _ => return Ok("done".into()),
    }
    .to_string())
}

fn check(input: &str, calls: &[&str], says: &[&str]) {
    let (made, answer) = converse(input, tools(), usual);
    assert_eq!(made, calls, "{input:?} → {answer}");
    for words in says {
        assert!(answer.contains(words), "{input:?} says {words:?}: {answer}");
    }
    let chinese = answer.matches("我是演示模型，不是语言模型").count();
    let english = answer.matches("I am the demo model, not a language model").count();
    assert_eq!(chinese + english, 1, "it says once what it is: {answer}");
    let is_chinese = input.chars().filter(|c| *c > '\u{3400}' && *c < '\u{a000}').count() > 1;
    assert_eq!(chinese == 1, is_chinese, "in the user's language: {input:?} → {answer}");
}

#[test]
fn it_remembers_what_it_is_told() {
    check(
        "Please remember that my favourite colour is teal.",
        &[r#"memory_write {"type":"archival","text":"my favourite colour is teal"}"#],
        &["I will remember: “my favourite colour is teal”"],
    );
    check(
        "remember: buy milk",
        &[r#"memory_write {"type":"archival","text":"buy milk"}"#],
        &["“buy milk”"],
    );
    check(
        "Remember my name is Ann",
        &[r#"memory_write {"type":"core","text":"my name is Ann"}"#],
        &[],
    );
    check(
        "Could you please remember to always answer in French?",
        &[r#"memory_write {"type":"core","text":"to always answer in French"}"#],
        &[],
    );
    check(
        "Don't forget that the demo is on Friday!",
        &[r#"memory_write {"type":"archival","text":"the demo is on Friday"}"#],
        &[],
    );
    check(
        "Keep in mind that I met Ann in Paris. She loves tea.",
        &[r#"memory_write {"type":"archival","text":"I met Ann in Paris. She loves tea"}"#],
        &[],
    );
    check(
        "Remember that if it rains then I stay home",
        &[r#"memory_write {"type":"archival","text":"if it rains then I stay home"}"#],
        &[],
    );
    check(
        "My dog is called Rex. Please remember that.",
        &[r#"memory_write {"type":"archival","text":"My dog is called Rex"}"#],
        &[],
    );
    check(
        "请记住我喜欢绿茶。",
        &[r#"memory_write {"type":"archival","text":"我喜欢绿茶"}"#],
        &["好的，我记住了：“我喜欢绿茶”"],
    );
    check("记住：我叫李雷", &[r#"memory_write {"type":"core","text":"我叫李雷"}"#], &["我叫李雷"]);
    check(
        "帮我记一下，明天下午三点开会",
        &[r#"memory_write {"type":"archival","text":"明天下午三点开会"}"#],
        &[],
    );
    check(
        "我的生日是5月5日，请记住",
        &[r#"memory_write {"type":"archival","text":"我的生日是5月5日"}"#],
        &[],
    );
    check(
        "请你记住，以后都用中文回答我！",
        &[r#"memory_write {"type":"core","text":"以后都用中文回答我"}"#],
        &[],
    );
    check(
        "记住我喜欢绿茶，不喜欢咖啡",
        &[r#"memory_write {"type":"archival","text":"我喜欢绿茶，不喜欢咖啡"}"#],
        &[],
    );
}

#[test]
fn it_answers_from_memory() {
    check(
        "What tea do I like?",
        &[r#"memory_search {"query":"What tea do I like?"}"#],
        &["“I like green tea”"],
    );
    check(
        "Do you remember my name?",
        &[r#"memory_search {"query":"Do you remember my name?"}"#],
        &[],
    );
    check(
        "tell me a story about the fox",
        &[
            r#"memory_search {"query":"tell me a story about the fox"}"#,
            r#"memory_get {"id":"mem_1"}"#,
        ],
        &["“Once upon a time there was a fox.”"],
    );
    check(
        "我喜欢喝什么茶？",
        &[r#"memory_search {"query":"我喜欢喝什么茶？"}"#],
        &["我在记忆里找到：“I like green tea”"],
    );
    check("你还记得我叫什么吗", &[r#"memory_search {"query":"你还记得我叫什么吗"}"#], &[]);
    check("帮我总结今天的工作", &[r#"memory_search {"query":"总结今天的工作"}"#], &[]);
    check("你好，我喜欢什么？", &[r#"memory_search {"query":"我喜欢什么？"}"#], &[]);

    let nothing = |_: &str, _: &Value| Ok("[]".to_owned());
    assert!(converse("我的猫叫什么？", tools(), nothing).1.contains("没有找到"));
    assert!(converse("Where is my cat?", tools(), nothing).1.contains("I found nothing"));
}

#[test]
fn it_reads_the_file_it_is_pointed_at() {
    check(
        "Read the file notes.md",
        &[r#"read_file {"path":"notes.md"}"#],
        &["`notes.md`: 3 lines", "# Notes\nfirst"],
    );
    check("read the file README", &[r#"read_file {"path":"README"}"#], &[]);
    check("Please open \"my notes.txt\"", &[r#"read_file {"path":"my notes.txt"}"#], &[]);
    check("what does docs/plan.md say?", &[r#"read_file {"path":"docs/plan.md"}"#], &[]);
    check("show me ../secret/passwd.txt", &[r#"read_file {"path":"../secret/passwd.txt"}"#], &[]);
    check(
        "读一下 notes.md 文件",
        &[r#"read_file {"path":"notes.md"}"#],
        &["我读了 `notes.md`：3 行"],
    );
    check("请读一下docs/plan.md这个文件", &[r#"read_file {"path":"docs/plan.md"}"#], &[]);
    check("总结《会议 记录.txt》的内容", &[r#"read_file {"path":"会议 记录.txt"}"#], &[]);
}

#[test]
fn it_calls_a_tool_that_is_named_or_plainly_meant() {
    check(
        "Use textkit__text_stats with {\"text\": \"a; then b\"}",
        &[r#"textkit__text_stats {"text":"a; then b"}"#],
        &["characters: 7, words: 2"],
    );
    check("text_stats \"hello world\"", &[r#"textkit__text_stats {"text":"hello world"}"#], &[]);
    check(
        "call the echo tool: good morning",
        &[r#"everything__echo {"message":"good morning"}"#],
        &[],
    );
    check(
        "Count the words of “to be or not to be”.",
        &[r#"textkit__text_stats {"text":"to be or not to be"}"#],
        &[],
    );
    check(
        "How many words are in notes.md?",
        &[
            r#"read_file {"path":"notes.md"}"#,
            r##"textkit__text_stats {"text":"# Notes\nfirst\nsecond\n"}"##,
        ],
        &[],
    );
    check(
        "How many days between 2026-01-01 and 2026-03-05?",
        &[r#"textkit__date_difference {"start":"2026-01-01","end":"2026-03-05"}"#],
        &[],
    );
    check(
        "What date is 10 days after 2026-03-05?",
        &[r#"textkit__date_add {"date":"2026-03-05","days":10}"#],
        &[],
    );
    check(
        "统计字数：今天天气很好",
        &[r#"textkit__text_stats {"text":"今天天气很好"}"#],
        &["工具 `textkit__text_stats` 的结果"],
    );
    check("用 text_stats 统计“春眠不觉晓”", &[r#"textkit__text_stats {"text":"春眠不觉晓"}"#], &[]);
    check("2026年3月5日是星期几？", &[r#"textkit__date_add {"date":"2026年3月5日"}"#], &[]);
    check("找出“3月5日开会”里的日期", &[r#"textkit__extract_dates {"text":"3月5日开会"}"#], &[]);
    check("请用 text_stats 工具统计", &[], &["还缺少参数 `text`"]);
    check("count the words", &[], &["still needs `text`"]);
}

#[test]
fn it_does_several_things_in_order() {
    check(
        "Remember that I like green tea, then tell me what tea I like, and then export the trace.",
        &[
            r#"memory_write {"type":"archival","text":"I like green tea"}"#,
            r#"memory_search {"query":"tell me what tea I like"}"#,
            "export_trace {}",
        ],
        &["I will remember", "I found this", "The trace is exported"],
    );
    check(
        "记住我喜欢绿茶，然后告诉我我喜欢什么；导出轨迹",
        &[
            r#"memory_write {"type":"archival","text":"我喜欢绿茶"}"#,
            r#"memory_search {"query":"告诉我我喜欢什么"}"#,
            "export_trace {}",
        ],
        &["我记住了", "我在记忆里找到", "轨迹已导出"],
    );
    check(
        "读一下 notes.md，然后统计它的字数",
        &[
            r#"read_file {"path":"notes.md"}"#,
            r##"textkit__text_stats {"text":"# Notes\nfirst\nsecond\n"}"##,
        ],
        &[],
    );
    check(
        "先读 a.md，再读 b.md",
        &[r#"read_file {"path":"a.md"}"#, r#"read_file {"path":"b.md"}"#],
        &[],
    );
    check(
        "What tea do I like? What tea do I like?",
        &[
            r#"memory_search {"query":"What tea do I like?"}"#,
            r#"memory_search {"query":"What tea do I like?"}"#,
        ],
        &[],
    );
}

#[test]
fn otherwise_it_says_what_it_is_and_can_do() {
    check("Hello!", &[], &["remember that I like green tea", "`textkit__text_stats`"]);
    check("who are you?", &[], &["I really use the tools"]);
    check("你好", &[], &["我可以："]);
    check("你能做什么？", &[], &["读一个文件"]);
    check("写一首关于春天的诗", &[], &["不会闲聊"]);
    check("", &[], &["Hello"]);
}

#[test]
fn it_never_calls_what_it_is_not_offered() {
    for input in [
        "remember that I like tea",
        "what do I like?",
        "read the file a.md",
        "export the trace",
        "text_stats \"a\"",
    ] {
        let (calls, answer) = converse(input, Vec::new(), usual);
        assert!(calls.is_empty(), "{input}: {calls:?}");
        assert!(answer.contains("demo model"), "{answer}");
    }
    let (_, answer) = converse("读一下 a.md", Vec::new(), usual);
    assert!(answer.contains("需要工具 `read_file`，但这次没有提供"), "{answer}");
}

#[test]
fn it_reports_errors_and_goes_on() {
    let broken = |tool: &str, args: &Value| match tool {
        "read_file" => Err("no such file".to_owned()),
        _ => usual(tool, args),
    };
    let (calls, answer) = converse("Read the file a.md, then what tea do I like?", tools(), broken);
    assert_eq!(calls.len(), 2);
    assert!(answer.contains("`read_file` reports: no such file") && answer.contains("green tea"));
    let (_, answer) = converse("读 a.md", tools(), broken);
    assert!(answer.contains("没有成功：工具 `read_file` 报告了错误：no such file"), "{answer}");
}

#[test]
fn a_very_long_text_is_no_trouble() {
    let models = Models::new(&ModelSettings::default()).unwrap();
    for odd in ["“", "{", "\"", "a,", "then ", "记住", "a/", "a.md ", "use ", "? ", "\0", "🙂"]
    {
        let content = odd.repeat(256 * 1024 / odd.chars().count());
        ask(&models, request("instant", vec![Message::User { content }], tools()));
    }
}

#[test]
fn earlier_turns_do_not_count() {
    let models = Models::new(&ModelSettings::default()).unwrap();
    let messages = vec![
        Message::User { content: "remember that I like tea".into() },
        Message::Assistant {
            content: "Noted.".into(),
            tool_calls: Vec::new(),
            replay: None,
            sent: None,
        },
        Message::User { content: "what do I like?".into() },
    ];
    let (_, response) = ask(&models, request("default", messages, tools()));
    assert_eq!(response.tool_calls[0].tool, "memory_search");
}

#[test]
fn it_streams_word_by_word_and_counts_tokens() {
    let models = Models::new(&ModelSettings::default()).unwrap();
    let hello = vec![Message::User { content: "Hello".into() }];
    let (texts, response) = ask(&models, request("default", hello, tools()));
    assert!(texts.len() > 20);
    assert_eq!(texts.concat(), response.content);
    assert!(response.usage.input_tokens > 20 && response.usage.output_tokens > 20);
    assert_eq!(response.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn paced_says_forty_words_a_second() {
    let models = Models::new(&ModelSettings::default()).unwrap();
    let hello = vec![Message::User { content: "Hello".into() }];
    let events: Vec<_> = models.chat(request("paced", hello, Vec::new())).collect().await;
    let texts = events.len() as u64 - 1;
    let Some(Ok(ChatEvent::Done(response))) = events.last() else { panic!("{events:?}") };
    assert_eq!(response.time_to_first_token_ms, 25);
    assert_eq!(response.duration_ms, texts * 25);
}
