//! Checkpoints and forks as their callers meet them. What a fork does with what it takes over is shown
//! with a real worker, in `agent`.

use protocol::{id::RunId, message::Message};
use serde_json::{Value, json};
use store::journal::{Entry, NewCheckpoint};

use crate::served::{Served, answer, served, writers_format};

fn checkpoint(step: u32, message_count: u32) -> Option<NewCheckpoint> {
    Some(NewCheckpoint { step, message_count, state: json!({"kept_from": step}) })
}

/// A run of ours with two steps, the second of which gave the answer.
async fn run_with_steps(served: &Served) -> RunId {
    let body = json!({
        "input": "任务", "session_key": "s_one", "agent_id": "writer", "metadata": {"a": 1},
        "llm_config": {"provider": "demo"}, "limits": {"max_steps": 9},
    });
    let created = served.post("/api/runs", body).await.expect(201);
    let mut work = served.work().await;
    work.start().await;
    let messages = vec![
        Message::System { content: "S".into(), core: Vec::new(), folded: None, turns: Vec::new() },
        Message::User { content: "任务".into() },
        Message::Note { content: "told".into(), recalled: Vec::new(), core: Vec::new() },
    ];
    work.write(Entry { messages, checkpoint: checkpoint(1, 3), ..Entry::default() }).await;
    let said = Message::Assistant {
        content: "好".into(),
        tool_calls: Vec::new(),
        replay: None,
        sent: None,
    };
    let (messages, messages_at) = (vec![said], 3);
    let second = Entry { messages, messages_at, checkpoint: checkpoint(2, 4), ..Entry::default() };
    work.write(second).await;
    work.complete("好").await;
    created["run_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_run_is_forked_from_a_checkpoint_and_both_know_of_it() {
    let served = served().await;
    let parent = run_with_steps(&served).await;
    let page = served.get(&format!("/api/runs/{parent}/checkpoints")).await.expect(200);
    let listed: Vec<_> = page["checkpoints"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["step"], &listed[0]["message_count"]), (&json!(1), &json!(3)));
    assert_eq!(
        (&listed[0]["agent_id"], &listed[0]["is_taken_over"]),
        (&json!("writer"), &json!(false))
    );
    assert_eq!(listed[0]["state"], json!({"kept_from": 1}));
    let path = format!("/api/runs/{parent}/checkpoints?limit=1");
    let first = served.get(&path).await.expect(200);
    assert_eq!(first["next_cursor"], "1");
    let second = served.get(&format!("{path}&cursor=1")).await.expect(200);
    assert_eq!(
        (&second["checkpoints"][0]["step"], &second["next_cursor"]),
        (&json!(2), &Value::Null)
    );

    let forked = served.post(&format!("/api/runs/{parent}/fork"), json!({"from_step": 1})).await;
    let forked = forked.expect(201);
    assert_eq!((&forked["status"], &forked["forked_from_step"]), (&json!("pending"), &json!(1)));
    assert_eq!(forked["parent_run_id"], json!(parent));
    let id = forked["run_id"].as_str().unwrap();
    let run = served.get(&format!("/api/runs/{id}")).await.expect(200);
    for (key, value) in [
        ("parent_run_id", json!(parent)),
        ("forked_from_step", json!(1)),
        ("input", json!("任务")),
        ("session_key", json!("s_one")),
        ("agent_id", json!("writer")),
        ("metadata", json!({"a": 1})),
        ("step_count", json!(1)),
        ("event_count", json!(0)),
    ] {
        assert_eq!(run[key], value, "{key}");
    }
    let taken = served.get(&format!("/api/runs/{id}/checkpoints")).await.expect(200);
    assert_eq!(taken["checkpoints"].as_array().unwrap().len(), 1);
    assert_eq!(taken["checkpoints"][0]["is_taken_over"], true);
    let forks = served.get(&format!("/api/runs?parent_run_id={parent}")).await.expect(200);
    assert_eq!(forks["runs"].as_array().unwrap().len(), 1);
    assert_eq!(forks["runs"][0]["run_id"], id);
}

#[tokio::test]
async fn a_fork_keeps_the_schema_of_its_parent_unless_it_names_another() {
    let served = served().await;
    let format_of = async |run: &Value| {
        let path = format!("/api/runs/{}", run["run_id"].as_str().unwrap());
        served.get(&path).await.expect(200)["response_format"].clone()
    };
    let own = json!({"type": "object", "title": "own", "properties": {"b": {}, "a": {}}});
    let body = json!({"input": "x", "agent_id": "writer", "response_format": own});
    let parent = served.post("/api/runs", body).await.expect(201);
    assert_eq!(format_of(&parent).await, own);
    let listed = served.get("/api/runs").await.expect(200);
    assert_eq!(listed["runs"][0].get("response_format"), None, "lists stay short");
    let other = json!({"type": "array"});
    let without = served.post("/api/runs", json!({"input": "x", "agent_id": "writer"})).await;
    let without = without.expect(201);
    assert_eq!(format_of(&without).await, Value::Null, "that of the agent counts");
    for (run, more, want) in [
        (&parent, json!({}), own.clone()),
        (&parent, json!({"agent_id": "main"}), own),
        (&parent, json!({"response_format": other}), other.clone()),
        (&without, json!({}), Value::Null),
        (&without, json!({"agent_id": "writer"}), writers_format()),
        (&without, json!({"agent_id": "main"}), writers_format()),
        (&without, json!({"agent_id": "main", "response_format": other}), other.clone()),
    ] {
        let mut body = json!({"from_step": 0});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/api/runs/{}/fork", run["run_id"].as_str().unwrap());
        let fork = served.post(&path, body).await.expect(201);
        assert_eq!(format_of(&fork).await, want, "{more}");
    }
}

#[tokio::test]
async fn a_fork_that_cannot_be_is_refused_by_field() {
    let served = served().await;
    let parent = run_with_steps(&served).await;
    let path = format!("/api/runs/{parent}/fork");
    for (body, field) in [
        (json!({}), "/from_step"),
        (json!({"from_step": -1}), "/from_step"),
        (json!({"from_step": 4_000_000_000u32}), "/from_step"),
        (json!({"from_step": 3}), "/from_step"),
        (json!({"from_step": 2}), "/input"),
        (json!({"from_step": 1, "input": " "}), "/input"),
        (json!({"from_step": 1, "agent_id": "nobody"}), "/agent_id"),
        (json!({"from_step": 1, "response_format": {"type": "text"}}), "/response_format/type"),
        (
            json!({"from_step": 1, "llm_config": {"provider": "nobody", "model": "m"}}),
            "/llm_config/model",
        ),
        (json!({"from_step": 1, "session_key": "s_two"}), "/session_key"),
    ] {
        let what = body.to_string();
        let refused = served.post(&path, body).await.refused(400, "validation_error");
        assert_eq!(refused["error"]["details"][0]["field"], field, "{what}");
    }
    let absent = format!("/api/runs/{}/fork", RunId::generate());
    served.post(&absent, json!({"from_step": 0})).await.refused(404, "not_found");
    let stranger = served.bare("POST", &path).header("x-org-id", "org_a");
    let stranger = stranger.header("x-user-id", "user_b").json(&json!({"from_step": 1}));
    answer(stranger).await.refused(404, "not_found");
    for query in ["cursor=x", "cursor=-1", "limit=0"] {
        let field = query.split('=').next().unwrap();
        served.get(&format!("/api/runs/{parent}/checkpoints?{query}")).await.names(field);
    }
    assert_eq!(served.get("/api/runs").await.expect(200)["runs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_fork() {
    let served = served().await;
    let parent = run_with_steps(&served).await;
    let fork = |body: Value| {
        let request = served.ask("POST", &format!("/api/runs/{parent}/fork"));
        answer(request.header("idempotency-key", "k").json(&body))
    };
    let said = json!({"from_step": 2, "input": "more"});
    let first = fork(said.clone()).await.expect(201);
    let again = fork(said).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(201), first);
    fork(json!({"from_step": 1})).await.refused(422, "idempotency_mismatch");
    // The key is one for all that creates runs.
    let create = served.ask("POST", "/api/runs").header("idempotency-key", "k");
    answer(create.json(&json!({"input": "more"}))).await.refused(422, "idempotency_mismatch");
}
