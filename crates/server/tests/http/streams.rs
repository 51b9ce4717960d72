//! One stream for several runs, and for the begins and ends of all runs of a scope.

use std::collections::BTreeMap;

use protocol::id::RunId;
use serde_json::{Value, json};

use crate::{
    served::{Served, Work, answer, served},
    stream::{Frame, Stream},
};

/// A run of ours that waits for no other, taken by a worker.
async fn taken(served: &Served, session: &str) -> (RunId, Work) {
    let body = json!({"input": "任务", "session_key": session});
    let created = served.post("/api/runs", body).await.expect(201);
    let run_id = created["run_id"].as_str().unwrap().parse().unwrap();
    let mut work = served.work().await;
    work.start().await;
    (run_id, work)
}

async fn follow(served: &Served, query: &str, seen: &str) -> Stream {
    let mut request = served.ask("GET", &format!("/api/stream?{query}"));
    if !seen.is_empty() {
        request = request.header("last-event-id", seen);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = Stream { response, read: Vec::new() };
    assert_eq!(stream.next().await.unwrap().other, "retry: 1000");
    stream
}

fn query(runs: &[RunId]) -> String {
    runs.iter().map(|run_id| format!("run={run_id}")).collect::<Vec<_>>().join("&")
}

/// The ids of frames by run, without the run.
fn by_run(ids: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut by_run = BTreeMap::<_, Vec<_>>::new();
    for id in ids {
        let (run_id, place) = id.split_once(':').unwrap();
        by_run.entry(run_id.to_owned()).or_default().push(place.to_owned());
    }
    by_run
}

#[tokio::test]
async fn several_runs_are_followed_each_in_its_order_until_all_have_ended() {
    let served = served().await;
    let (first, mut one) = taken(&served, "s_1").await;
    let (second, mut two) = taken(&served, "s_2").await;
    let mut stream = follow(&served, &query(&[first, second]), "").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let frame = stream.next().await.unwrap();
        assert_eq!(frame.event, "run.started");
        assert_eq!(frame.id, format!("{}:1", frame.data["run_id"].as_str().unwrap()));
        ids.push(frame.id);
    }
    one.delta(1, Some("一")).await;
    let delta = stream.next().await.unwrap();
    assert_eq!((delta.id.clone(), &*delta.event), (format!("{first}:1.1"), "llm.delta"));
    ids.push(delta.id);
    two.warn("二").await;
    one.complete("done").await;
    two.complete("done").await;
    ids.extend(stream.ids().await);
    let all = by_run(&ids);
    assert_eq!(all[&first.to_string()], ["1", "1.1", "2", "3"]);
    assert_eq!(all[&second.to_string()], ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn it_resumes_at_a_place_of_each_run() {
    let served = served().await;
    let mut runs = Vec::new();
    for session in ["s_1", "s_2", "s_3"] {
        let (run_id, mut work) = taken(&served, session).await;
        work.warn("x").await;
        work.complete("done").await;
        runs.push(run_id);
    }
    let [a, b, c] = runs[..] else { panic!() };
    let want = |places: [(RunId, &[&str]); 3]| -> BTreeMap<String, Vec<String>> {
        let rest = places.into_iter().filter(|(_, ids)| !ids.is_empty());
        rest.map(|(id, ids)| (id.to_string(), ids.iter().map(|id| (*id).to_owned()).collect()))
            .collect()
    };
    let all: &[&str] = &["1", "2", "3", "4"];
    let followed = query(&runs);
    for (query, seen, rest) in [
        (followed.clone(), String::new(), [(a, all), (b, all), (c, all)]),
        (followed.clone(), format!("{b}:3"), [(a, all), (b, &all[3..]), (c, all)]),
        (
            followed.clone(),
            format!("{a}:4,{b}:1, {c}:2.1"),
            [(a, &[]), (b, &all[1..]), (c, &all[2..])],
        ),
        (
            format!("run={a}:2&run={b}:4&run={c}"),
            String::new(),
            [(a, &all[2..]), (b, &[]), (c, all)],
        ),
        (
            format!("run={a}:2&run={b}&run={c}:4"),
            format!("{a}:3"),
            [(a, &all[3..]), (b, all), (c, &[])],
        ),
    ] {
        let ids = follow(&served, &query, &seen).await.ids().await;
        assert_eq!(by_run(&ids), want(rest), "{query} {seen}");
    }
    let over = format!("/api/stream?run={a}:4&run={b}:4");
    assert_eq!(answer(served.ask("GET", &over)).await.status, 204);
}

#[tokio::test]
async fn what_cannot_be_followed_together_is_refused() {
    let served = served().await;
    let run = served.ended().await;
    let many: Vec<_> = (0..65).map(|_| RunId::generate()).collect();
    for (query, field) in [
        (String::new(), "run"),
        ("run=run_1".into(), "run"),
        (format!("run={run}&run={run}"), "run"),
        (format!("run={run}:x"), "run"),
        (format!("run={run}:99"), "run"),
        (query(&many), "run"),
        (format!("run={run}&scope=runs"), "scope"),
        ("scope=memories".into(), "scope"),
        (format!("run={run}&deltas=maybe"), "deltas"),
    ] {
        served.get(&format!("/api/stream?{query}")).await.names(field);
    }
    let other = RunId::generate();
    for (query, seen) in [
        (format!("run={run}"), "7".to_owned()),
        (format!("run={run}"), format!("{other}:1")),
        ("scope=runs".into(), format!("{run}:1")),
    ] {
        let request = served.ask("GET", &format!("/api/stream?{query}"));
        answer(request.header("last-event-id", seen)).await.names("last-event-id");
    }
    let absent = format!("/api/stream?run={run}&run={other}");
    served.get(&absent).await.refused(404, "not_found");
    let stranger = served.bare("GET", &format!("/api/stream?run={run}"));
    let stranger = stranger.header("x-org-id", "org_a").header("x-user-id", "user_b");
    answer(stranger).await.refused(404, "not_found");
    let most: Vec<_> = (0..64).map(|_| RunId::generate()).collect();
    served.get(&format!("/api/stream?{}", query_with_scope(&most))).await.refused(404, "not_found");
}

/// As many parameters as a request can need.
fn query_with_scope(runs: &[RunId]) -> String {
    format!("{}&org_id=org_a&user_id=user_a&deltas=true", query(runs))
}

/// The next frame that says something of this run.
async fn news_of(stream: &mut Stream, run_id: RunId) -> Frame {
    loop {
        let frame = stream.next().await.unwrap();
        if frame.data["run_id"] == json!(run_id) {
            assert_eq!(frame.event, "run");
            return frame;
        }
    }
}

#[tokio::test]
async fn begins_and_ends_of_the_runs_of_a_scope_are_followed_and_resume() {
    let served = served().await;
    let mut stream = follow(&served, "scope=runs", "").await;
    let place = stream.next().await.unwrap();
    assert!(!place.id.is_empty() && place.data == Value::Null, "{place:?}");
    let body = json!({"input": "任务"});
    let elsewhere = served.bare("POST", "/api/runs").json(&body);
    let elsewhere = elsewhere.header("x-org-id", "org_a").header("x-user-id", "user_b");
    answer(elsewhere).await.expect(201);
    drop(served.work().await);
    let run_id = served.create("任务").await;
    let accepted = stream.next().await.unwrap();
    assert_eq!(accepted.data["run_id"], json!(run_id), "nobody else's");
    assert_eq!(
        (&accepted.data["status"], &accepted.data["input"]),
        (&json!("pending"), &json!("任务"))
    );
    let mut work = served.work().await;
    work.start().await;
    let begun = news_of(&mut stream, run_id).await;
    assert_eq!(begun.data["status"], "running");
    work.complete("done").await;
    let ended = news_of(&mut stream, run_id).await;
    assert_eq!(ended.data["status"], "completed");
    assert!(ended.data["duration_ms"].is_u64());
    // Whoever was away since any of these places hears of it.
    for seen in [&place.id, &accepted.id, &begun.id] {
        let mut again = follow(&served, "scope=runs", seen).await;
        let frame = news_of(&mut again, run_id).await;
        assert_eq!(frame.data, ended.data);
    }
}
