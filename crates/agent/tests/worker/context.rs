//! What the model is shown of the session.

use model::scripted::{Reply, Scripted};
use protocol::{message::Message, run::CreateRun};

use crate::World;

fn said(session: &str, input: &str) -> CreateRun {
    CreateRun { session_key: session.parse().unwrap(), ..CreateRun::new(input) }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| match message {
            Message::User { content }
            | Message::Assistant { content, .. }
            | Message::Tool { content, .. } => content.as_str(),
        })
        .collect()
}

#[tokio::test]
async fn earlier_runs_of_the_session_are_in_the_conversation_others_are_not() {
    let world = World::new(Scripted::in_order(["A1", "B1", "A2"].map(Reply::text))).await;
    world.story(&said("s_a", "我叫小明")).await;
    world.story(&said("s_b", "something else")).await;
    world.story(&said("s_a", "我叫什么？")).await;
    let requests = world.script.requests();
    assert_eq!(texts(&requests[2].messages), ["我叫小明", "A1", "我叫什么？"]);
    assert_eq!(texts(&requests[1].messages), ["something else"]);
}

#[tokio::test]
async fn turns_that_no_longer_fit_are_folded_into_a_summary() {
    let mut world = World::new(Scripted::new(|_| Reply::text("answer ".repeat(60)))).await;
    world.agent.context_tokens = 1000;
    for n in 0..6 {
        world.story(&said("s_a", &format!("question {n}"))).await;
    }
    let last = world.script.requests().pop().unwrap();
    assert!(last.system.contains("question 0 → answer answer"), "{}", last.system);
    assert!(!texts(&last.messages).contains(&"question 0"));
    assert!(texts(&last.messages).contains(&"question 4"));
}

#[tokio::test]
async fn a_model_may_summarise_and_its_tokens_are_counted() {
    let mut world = World::new(Scripted::new(|request| {
        if request.system.starts_with("Summarise") {
            Reply::text("They talked about tea.")
        } else {
            Reply::text("answer ".repeat(60))
        }
    }))
    .await;
    world.agent.context_tokens = 400;
    world.agent.history_summary = agent::settings::HistorySummary::Model;
    world.story(&said("s_a", "one")).await;
    world.story(&said("s_a", "two")).await;
    let story = world.story(&said("s_a", "three")).await;
    assert!(story.contains("model \"They talked about tea.\""), "{story}");
    let last = world.script.requests().pop().unwrap();
    assert!(last.system.ends_with("They talked about tea."), "{}", last.system);
}
