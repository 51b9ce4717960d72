//! Answers that match a schema: what a run with `response_format` accepts, tells the model, and gives
//! up. The public vectors of the JSON Schema Test Suite go through runs as answers.

use std::{collections::BTreeMap, fs, path::Path};

use expect_test::expect;
use model::scripted::{Reply, Scripted};
use protocol::{
    message::{FinishReason, Message, Usage},
    output::{OutputJson, ResponseFormat},
    run::{CreateRun, Run, RunErrorCode, RunStatus},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{PATIENCE, World, told};

fn format(schema: Value) -> ResponseFormat {
    serde_json::from_value(schema).unwrap()
}

fn asked(schema: Value) -> CreateRun {
    CreateRun { response_format: Some(format(schema)), ..CreateRun::new("x") }
}

fn weather() -> Value {
    json!({"type": "object", "required": ["city"], "additionalProperties": false,
           "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer"}}})
}

fn counted(reply: Reply) -> Reply {
    reply.with_usage(Usage::new(7, 2, 0))
}

async fn run(script: Scripted, new: &CreateRun) -> (World, Run) {
    let world = World::new(script).await;
    let worker = world.worker();
    let run = world.ended(world.create(new).await).await;
    worker.stop(PATIENCE).await;
    (world, run)
}

#[tokio::test]
async fn an_answer_that_does_not_match_is_told_to_the_model_and_asked_for_again() {
    let script = [
        counted(Reply::text("It is Oslo.")),
        counted(Reply::text(r#"{"city":"Paris"}"#)),
        counted(Reply::text("```json\n{\"city\":\"Oslo\",\"days\":3}\n```")),
    ];
    let (world, run) = run(Scripted::in_order(script), &asked(weather())).await;
    expect![[r#"
        started "x" scripted/script
        step 1
        recalled "x" []
        model "It is Oslo." [] Stop tokens 9 attempts 1
        warning output_invalid the answer does not match `response_format`: is not JSON: it cannot be read at line 1, column 1
        step 1 completed ToolCalls
        step 2
        recalled "x\nIt is Oslo." []
        model "{\"city\":\"Paris\"}" [] Stop tokens 9 attempts 1
        warning output_invalid the answer does not match `response_format`: `/city`: "Paris" is not one of "Oslo" or "Rome"
        step 2 completed ToolCalls
        step 3
        recalled "x\n{\"city\":\"Paris\"}" []
        model "```json\n{\"city\":\"Oslo\",\"days\":3}\n```" [] Stop tokens 9 attempts 1
        step 3 completed FinalAnswer
        completed "{\"city\":\"Oslo\",\"days\":3}" tokens 27
    "#]].assert_eq(&told(&world.events(run.run_id).await));
    assert_eq!(run.output.as_deref(), Some(r#"{"city":"Oslo","days":3}"#), "without the fence");
    assert_eq!(run.output_json, OutputJson::of(r#"{"city":"Oslo","days":3}"#));
    assert_eq!(run.usage.total_tokens, 27, "every answer is paid for");
    let requests = world.script.requests();
    assert!(requests.iter().all(|request| request.response_format.is_some()));
    let begins = &requests[0].system;
    assert!(requests.iter().all(|request| request.system == *begins), "prompts grow at their end");
    assert!(begins.contains(&weather().to_string()), "the schema as it was written: {begins}");
    let Some(Message::Note { content, .. }) = requests[2].messages.last() else { panic!() };
    assert!(content.contains(r#"`/city`: "Paris" is not one of"#), "{content}");
}

/// Each is told to the model, and none of them ever completes a run.
#[tokio::test]
async fn a_model_that_lies_to_the_end_fails_the_run() {
    let lies = [
        Reply::text("Oslo"),
        Reply::text("The answer is {\"city\":\"Oslo\"}."),
        Reply::text("{\"city\":\"Oslo\"}\n\nI hope this helps!"),
        Reply::text("Here you are:\n```json\n{\"city\":\"Oslo\"}\n```"),
        Reply::text("```yaml\ncity: Oslo\n```"),
        Reply::text("{\"city\":\"Os"),
        Reply::text("{\"city\":\"Oslo\"").with_finish_reason(FinishReason::Length),
        Reply::text("{\"city\":\"Oslo\"}").with_finish_reason(FinishReason::Length),
        Reply::text("{\"city\":\"Oslo\"}{\"city\":\"Rome\"}"),
        Reply::text("\"{\\\"city\\\":\\\"Oslo\\\"}\""),
        Reply::text("[{\"city\":\"Oslo\"}]"),
        Reply::text("{}"),
        Reply::text("null"),
        Reply::text("{\"city\":\"Paris\"}"),
        Reply::text("{\"city\":[\"Oslo\"]}"),
        Reply::text("{\"city\":\"Oslo\",\"mood\":\"good\"}"),
        Reply::text("{\"city\":\"Oslo\",\"days\":\"3\"}"),
        Reply::text("{\"city\":\"Oslo\",\"days\":3.5}"),
        Reply::text("{\"city\":\"Oslo\",\"days\":NaN}"),
        Reply::text("{\"city\":\"Oslo\",\"days\":1e999}"),
        Reply::text("{\"city\":\"Oslo\",\"days\":99999999999999999999999}"),
        Reply::text("{\"city\":\"Oslo\",\"city\":\"Rome\"}"),
        Reply::text("{'city': 'Oslo'}"),
        Reply::text("{\"city\":\"Oslo\",}"),
        Reply::text("{\"city\":\"Oslo\" /* or Rome */}"),
        Reply::text("{\"type\":\"object\",\"properties\":{\"city\":\"Oslo\"}}"),
    ];
    let world = World::new(Scripted::in_order(
        lies.iter().flat_map(|lie| std::iter::repeat_n(lie.clone(), 4)),
    ))
    .await;
    let worker = world.worker();
    for lie in &lies {
        let run = world.ended(world.create(&asked(weather())).await).await;
        assert_eq!(run.status, RunStatus::Failed, "{lie:?}");
        let error = run.error.unwrap();
        assert_eq!(error.code, RunErrorCode::OutputInvalid, "{lie:?}: {}", error.message);
        assert_eq!((run.output, run.output_json, run.step_count), (None, None, 4), "{lie:?}");
    }
    worker.stop(PATIENCE).await;
    assert_eq!(world.script.requests().len(), 4 * lies.len(), "one answer and three repairs");
}

#[tokio::test]
async fn a_call_that_stands_for_an_answer_is_told_what_to_do() {
    let answer = || json!({"city": "Oslo"});
    let script = [
        Reply::call("final_answer", answer()).and_call("memory_search", json!({"query": "city"})),
        Reply::text(r#"{"city":"Oslo"}"#),
    ];
    let (world, run) = run(Scripted::in_order(script), &asked(weather())).await;
    assert_eq!(run.output_json, OutputJson::of(r#"{"city":"Oslo"}"#));
    let results: String =
        world.script.requests()[1].messages.iter().map(Message::content).collect();
    assert!(results.contains("call `final_answer` alone"), "{results}");
}

#[tokio::test]
async fn repairs_stay_within_the_budget() {
    let lie = |_: &_| Reply::text("no").with_usage(Usage::new(400, 200, 0));
    let mut new = asked(weather());
    new.limits = Some(serde_json::from_value(json!({"max_tokens": 1500})).unwrap());
    let (_, run) = run(Scripted::new(lie), &new).await;
    assert_eq!(run.error.unwrap().code, RunErrorCode::TokenLimit);
}

#[tokio::test]
async fn an_agent_has_a_schema_that_a_run_replaces() {
    let world =
        World::new(Scripted::in_order([Reply::text("[1]"), Reply::text(r#"{"city":"Rome"}"#)]));
    let mut world = world.await;
    world.agent.response_format = Some(format(json!({"type": "array"})));
    let worker = world.worker();
    let own = world.ended(world.create(&CreateRun::new("x")).await).await;
    let asked = world.ended(world.create(&asked(weather())).await).await;
    worker.stop(PATIENCE).await;
    assert_eq!(own.output_json, OutputJson::of("[1]"));
    assert_eq!(asked.output_json, OutputJson::of(r#"{"city":"Rome"}"#));
}

#[tokio::test]
async fn json_keeps_the_order_of_its_keys_and_is_null_where_it_is_not_whole() {
    let long = format!("{{\"z\":1.10,\"a\":\"{}\"}}", "x".repeat(5_000));
    let text = long.clone();
    let (world, run) =
        run(Scripted::new(move |_| Reply::text(text.clone())), &asked(json!({}))).await;
    assert_eq!(run.output_json, OutputJson::of(&long), "byte for byte");
    let page = world
        .store
        .scoped(&world.scope)
        .list_runs(&Default::default(), None, Default::default())
        .await
        .unwrap();
    assert_eq!(page.items[0].output_json, None, "a list shows the first 4 KiB of an output");
}

/// A file of the suite: its groups, each with one schema.
#[derive(Deserialize)]
struct Group {
    description: String,
    schema: Value,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    description: String,
    data: Value,
    valid: bool,
}

fn suite() -> BTreeMap<String, Vec<Group>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/json-schema-tests.json");
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}; run `make deps`", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// A schema of the suite may be `true`; ours are objects.
fn accepted(schema: &Value) -> Result<ResponseFormat, String> {
    let schema = match schema {
        Value::Bool(_) => json!({"allOf": [schema]}),
        schema => schema.clone(),
    };
    let format = format(schema);
    format.compile().map(|_| format).map_err(|fault| format!("{} {}", fault.field, fault.message))
}

#[test]
fn the_vectors_of_the_json_schema_test_suite_are_judged_right() {
    let (mut judged, mut refused) = (0, BTreeMap::<String, usize>::new());
    let mut wrong = Vec::new();
    for (file, groups) in suite() {
        for group in groups {
            let Ok(format) = accepted(&group.schema) else {
                *refused.entry(file.clone()).or_default() += 1;
                continue;
            };
            let check = format.compile().unwrap();
            for vector in group.tests {
                let is_good = check.read(&vector.data.to_string()).is_ok();
                judged += 1;
                if is_good != vector.valid {
                    wrong.push(format!("{file}: {}: {}", group.description, vector.description));
                }
            }
        }
    }
    expect![[r#"
        1133 judged, refused groups: {"anchor": 4, "defs": 1, "dynamicRef": 20, "ref": 15, "refRemote": 15, "unevaluatedItems": 1, "unevaluatedProperties": 1, "vocabulary": 2}, wrong: [
            "const: nul characters in strings: match string with nul",
            "enum: nul characters in strings: match string with nul",
        ]"#]]
        .assert_eq(&format!("{judged} judged, refused groups: {refused:?}, wrong: {wrong:#?}"));
}

/// One good and one bad answer of each group, through runs: the bad one is never an output, and the
/// good one is, as it was said.
#[tokio::test]
async fn vectors_of_the_suite_go_through_runs() {
    let mut cases = Vec::new();
    for (file, groups) in suite() {
        // The first groups of a file are about its keyword alone.
        for group in groups.into_iter().take(2) {
            let Ok(format) = accepted(&group.schema) else { continue };
            let find = |valid| group.tests.iter().find(|vector| vector.valid == valid);
            if let (Some(good), Some(bad)) = (find(true), find(false)) {
                cases.push((file.clone(), format, good.data.to_string(), bad.data.to_string()));
            }
        }
    }
    assert!(cases.len() > 40, "{}", cases.len());
    let script = cases.iter().flat_map(|(_, _, good, bad)| [Reply::text(bad), Reply::text(good)]);
    let world = World::new(Scripted::in_order(script)).await;
    let worker = world.worker();
    for (file, format, good, bad) in cases {
        let new = CreateRun { response_format: Some(format), ..CreateRun::new("x") };
        let run = world.ended(world.create(&new).await).await;
        assert_eq!(
            run.output_json,
            OutputJson::of(&good),
            "{file}: {bad}, then {good}: {:?}",
            run.error
        );
        assert_eq!(run.step_count, 2, "{file}: {bad} was taken");
    }
    worker.stop(PATIENCE).await;
}
