//! Following a run live: everything once, in order, from any place, and then the end.

use std::time::Duration;

use protocol::id::RunId;
use reqwest::Response;
use serde_json::{Value, json};
use server::{
    limits::{ByteBounds, STREAM_BYTES},
    settings::ServerSettings,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::served::{Answer, PATIENCE, Served, answer, served, served_with, warning};

/// One frame, or one comment, of a stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Frame {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) other: String,
}

pub(crate) struct Stream {
    pub(crate) response: Response,
    pub(crate) read: Vec<u8>,
}

impl Stream {
    /// The next frame; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut searched = 0;
        loop {
            let found = self.read[searched..].windows(2).position(|two| two == b"\n\n");
            if let Some(end) = found.map(|at| searched + at) {
                let block: Vec<u8> = self.read.drain(..end + 2).collect();
                return Some(Frame::read(std::str::from_utf8(&block).unwrap()));
            }
            searched = self.read.len().saturating_sub(1);
            match timeout(PATIENCE, self.response.chunk()).await.expect("a frame").unwrap() {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None => {
                    assert!(self.read.is_empty(), "half a frame, {} bytes", self.read.len());
                    return None;
                }
            }
        }
    }

    /// The ids of all that follows, up to the end.
    pub(crate) async fn ids(mut self) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(frame) = self.next().await {
            if !frame.id.is_empty() {
                ids.push(frame.id);
            }
        }
        ids
    }
}

impl Frame {
    fn read(block: &str) -> Self {
        let mut frame = Self::default();
        for line in block.trim_end().lines() {
            match line.split_once(": ") {
                Some(("id", id)) => frame.id = id.to_owned(),
                Some(("event", event)) => frame.event = event.to_owned(),
                Some(("data", data)) => frame.data = serde_json::from_str(data).unwrap(),
                _ => frame.other = line.to_owned(),
            }
        }
        frame
    }
}

async fn stream(served: &Served, run_id: RunId, query: &str) -> Stream {
    let request = served.ask("GET", &format!("/api/runs/{run_id}/stream?{query}"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    Stream { response, read: Vec::new() }
}

#[tokio::test]
async fn a_run_is_followed_from_its_first_event_to_its_last() {
    let served = served().await;
    let run_id = served.create("任务").await;
    let mut stream = stream(&served, run_id, "").await;
    let header = |name: &str| stream.response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
    assert!(!stream.response.headers().contains_key("content-encoding"));
    assert_eq!(stream.next().await.unwrap().other, "retry: 1000");

    let mut work = served.work().await;
    work.start().await;
    let started = stream.next().await.unwrap();
    assert_eq!((&*started.id, &*started.event), ("1", "run.started"));
    work.delta(1, Some("你")).await;
    let delta = stream.next().await.unwrap();
    assert_eq!((&*delta.id, &*delta.event), ("1.1", "llm.delta"));
    let want = json!({"run_id": run_id, "step_id": "step_0001", "n": 1, "text": "你"});
    assert_eq!(delta.data, want);
    work.delta(2, None).await;
    let reset = stream.next().await.unwrap();
    assert_eq!((&*reset.id, &*reset.event), ("1.2", "llm.reset"));
    assert_eq!(reset.data, json!({"run_id": run_id, "step_id": "step_0001", "n": 2}));
    work.complete("好").await;
    assert_eq!(stream.next().await.unwrap().event, "step.completed");
    let last = stream.next().await.unwrap();
    assert_eq!(last.event, "run.completed");
    assert_eq!(stream.next().await, None);

    // The same JSON as by page.
    let page = served.get(&format!("/api/runs/{run_id}/events")).await.expect(200);
    assert_eq!(page["events"][0], started.data);
    assert_eq!(page["events"][2], last.data);
}

#[tokio::test]
async fn a_stream_resumes_after_any_frame() {
    let served = served().await;
    let run_id = served.create("a").await;
    let mut work = served.work().await;
    work.start().await;
    work.delta(1, Some("a")).await;
    work.delta(2, Some("b")).await;
    work.warn("x").await;
    work.delta(1, Some("c")).await;
    work.complete("ab").await;

    let all = ["1", "1.1", "1.2", "2", "2.1", "3", "4"];
    for (at, id) in all.iter().enumerate() {
        if *id == "4" {
            continue; // Nothing is left after it.
        }
        let ids = stream(&served, run_id, &format!("cursor={id}")).await.ids().await;
        assert_eq!(ids, &all[at + 1..], "{id}");
        let request = served
            .ask("GET", &format!("/api/runs/{run_id}/stream?cursor=4"))
            .header("last-event-id", *id);
        let response = request.send().await.unwrap();
        let ids = Stream { response, read: Vec::new() }.ids().await;
        assert_eq!(ids, &all[at + 1..], "{id}");
    }
    assert_eq!(stream(&served, run_id, "cursor=0").await.ids().await, all);
    assert_eq!(stream(&served, run_id, "deltas=true").await.ids().await, all);
    assert_eq!(stream(&served, run_id, "deltas=false").await.ids().await, ["1", "2", "3", "4"]);
    // A delta that is gone, or never was: what follows its event.
    assert_eq!(stream(&served, run_id, "cursor=1.9").await.ids().await, ["2", "2.1", "3", "4"]);
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_before_the_stream_begins() {
    let served = served().await;
    let run_id = served.ended().await;
    let path = format!("/api/runs/{run_id}/stream");
    for cursor in ["abc", "-1", "", "1.", "1.2.3", "%31%00", "9223372036854775808", "5", "5.1"] {
        served.get(&format!("{path}?cursor={cursor}")).await.names("cursor");
        if !cursor.contains('.') {
            let events = path.replace("/stream", "/events");
            served.get(&format!("{events}?cursor={cursor}")).await.names("cursor");
        }
    }
    for id in ["abc", "-1", "", "1 ,2", &"9".repeat(10_000)] {
        let request = served.ask("GET", &path).header("last-event-id", id);
        answer(request).await.names("last-event-id");
    }
    let twice = served.ask("GET", &path).header("last-event-id", "1").header("last-event-id", "2");
    answer(twice).await.names("last-event-id");
    let beyond = answer(served.ask("GET", &path).header("last-event-id", "5")).await;
    beyond.refused(400, "validation_error");
    served.get(&format!("{path}?deltas=maybe")).await.names("deltas");
    let absent = RunId::generate();
    served.get(&format!("/api/runs/{absent}/stream")).await.refused(404, "not_found");
    answer(served.bare("GET", &path)).await.refused(400, "scope_required");
}

#[tokio::test]
async fn nothing_is_left_after_the_last_event() {
    let served = served().await;
    let run_id = served.ended().await;
    let path = format!("/api/runs/{run_id}/stream");
    let by_query = served.get(&format!("{path}?cursor=4")).await;
    assert_eq!((by_query.status, &*by_query.text), (204, ""));
    let by_header = served.ask("GET", &path).header("last-event-id", "4");
    assert_eq!(answer(by_header).await.status, 204);
    let in_query = format!("{path}?org_id=org_a&user_id=user_a&cursor=4");
    assert_eq!(answer(served.bare("GET", &in_query)).await.status, 204);
}

#[tokio::test]
async fn an_idle_stream_gives_signs_of_life_and_ends_when_it_is_old() {
    let settings = ServerSettings {
        stream_heartbeat: Duration::from_millis(50),
        stream_life_max: Duration::from_millis(400),
        ..ServerSettings::default()
    };
    let served = served_with(settings).await;
    let run_id = served.create("a").await;
    let mut stream = stream(&served, run_id, "").await;
    assert_eq!(stream.next().await.unwrap().other, "retry: 1000");
    assert_eq!(stream.next().await.unwrap().other, ": hb");
    assert_eq!(stream.next().await.unwrap().other, ": hb");
    while let Some(frame) = stream.next().await {
        assert_eq!(frame.other, ": hb");
    }
}

#[tokio::test]
async fn streams_have_a_bound() {
    let served = served_with(ServerSettings { streams_max: 1, ..ServerSettings::default() }).await;
    let run_id = served.create("a").await;
    let first = stream(&served, run_id, "").await;
    let path = format!("/api/runs/{run_id}/stream");
    served.get(&path).await.refused(429, "quota_exceeded");
    drop(first);
    // The place is free as soon as the server has noticed.
    let again = async {
        loop {
            let response = served.ask("GET", &path).send().await.unwrap();
            if response.status() == 200 {
                return;
            }
            Answer::of(response).await.refused(429, "quota_exceeded");
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("the place is free again");
}

#[tokio::test]
async fn a_long_run_is_read_in_one_go_by_many_readers() {
    let served = served().await;
    let run_id = served.create("a").await;
    let early: Vec<_> =
        futures::future::join_all((0..10).map(|_| stream(&served, run_id, ""))).await;
    let mut work = served.work().await;
    for _ in 0..12 {
        work.events((0..100).map(|n| warning(&"长".repeat(n))).collect()).await;
    }
    work.complete("好").await;
    let want: Vec<_> = (1..=1202).map(|seq: u32| seq.to_string()).collect();
    for reader in early {
        assert_eq!(reader.ids().await, want);
    }
    assert_eq!(stream(&served, run_id, "cursor=700").await.ids().await, want[700..]);
}

#[tokio::test]
async fn a_cancelled_run_ends_its_streams() {
    let served = served().await;
    let run_id = served.create("a").await;
    let mut stream = stream(&served, run_id, "").await;
    stream.next().await.unwrap();
    served.post(&format!("/api/runs/{run_id}/cancel"), json!({})).await.expect(200);
    assert_eq!(stream.next().await.unwrap().event, "run.cancelled");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_let_go() {
    let settings = ServerSettings {
        stream_send_timeout: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let served = served_with(settings).await;
    let run_id = served.create("a").await;
    let mut stalled = stream(&served, run_id, "").await;
    assert_eq!(stalled.next().await.unwrap().other, "retry: 1000");
    let mut reader = stream(&served, run_id, "").await;
    reader.next().await.unwrap();
    let mut work = served.work().await;
    // More than the sockets and the channel hold.
    for _ in 0..40 {
        work.events(vec![warning(&"x".repeat(900_000))]).await;
        assert_eq!(reader.next().await.unwrap().event, "run.warning");
    }
    work.complete("好").await;
    assert_eq!(reader.ids().await, ["41", "42"]);
    // What it got is whole and in order; then the stream breaks off, and it may resume.
    let mut last = 0;
    while let Ok(Ok(Some(chunk))) = timeout(PATIENCE, stalled.response.chunk()).await {
        stalled.read.extend_from_slice(&chunk);
    }
    let read = String::from_utf8(stalled.read).unwrap();
    for block in read.split_inclusive("\n\n").filter(|block| block.ends_with("\n\n")) {
        last += 1;
        assert_eq!(Frame::read(block).id, last.to_string());
    }
    assert!((1..42).contains(&last), "{last}");
    let rest = stream(&served, run_id, &format!("cursor={last}")).await.ids().await;
    assert_eq!(rest.first(), Some(&(last + 1).to_string()));
}

/// A follower with hardly a buffer that reads the status of its answer and nothing else.
async fn stalled(served: &Served, org: &str, run_id: RunId, cursor: u32) -> (String, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket.connect(served.address).await.unwrap();
    let request = format!(
        "GET /api/runs/{run_id}/stream?cursor={cursor} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         x-org-id: {org}\r\nx-user-id: user_a\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    timeout(PATIENCE, connection.read_exact(&mut status)).await.expect("an answer").unwrap();
    (String::from_utf8_lossy(&status[9..]).into_owned(), connection)
}

#[tokio::test]
async fn what_waits_for_followers_is_counted_once_and_has_a_bound() {
    let settings = ServerSettings {
        stream_bytes: ByteBounds {
            per_org: 16_000_000,
            wait: Duration::from_millis(200),
            ..STREAM_BYTES
        },
        stream_send_timeout: 10 * PATIENCE,
        ..ServerSettings::default()
    };
    let served = served_with(settings).await;
    let run_id = served.create("a").await;
    let mut work = served.work().await;
    // Each is a page, and more than the sockets hold.
    for _ in 0..8 {
        work.events(vec![warning(&"x".repeat(5_000_000))]).await;
    }
    work.complete("好").await;
    // All who stand at the same place have the same page.
    let mut held = Vec::new();
    for _ in 0..20 {
        let (status, connection) = stalled(&served, "org_a", run_id, 0).await;
        assert_eq!(status, "200");
        held.push(connection);
    }
    let mut statuses = Vec::new();
    for cursor in 1..=5 {
        let (status, connection) = stalled(&served, "org_a", run_id, cursor).await;
        statuses.push(status);
        held.push(connection);
    }
    assert_eq!(statuses, ["200", "200", "429", "429", "429"]);
    let path = format!("/api/runs/{run_id}/stream?cursor=6");
    served.get(&path).await.refused(429, "quota_exceeded");
    let other = served
        .bare("POST", "/api/runs")
        .header("x-org-id", "org_b")
        .header("x-user-id", "user_a")
        .json(&json!({"input": "b"}));
    let other = answer(other).await.expect(201)["run_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(stalled(&served, "org_b", other, 0).await.0, "200");
    drop(held);
    let again = async { while stalled(&served, "org_a", run_id, 6).await.0 != "200" {} };
    timeout(PATIENCE, again).await.expect("there is room again");
}
