//! Below and around HTTP: slow heads and bodies, long lines, unknown paths, an end with open
//! streams.

use std::time::Duration;

use server::settings::ServerSettings;
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::served::{PATIENCE, Served, answer, rest_of, served, served_with};

const SCOPE: &str = "host: localhost\r\nx-org-id: org_a\r\nx-user-id: user_a\r\n";

#[tokio::test]
async fn unknown_paths_and_methods_are_json() {
    let served = served().await;
    for path in ["/api", "/api/", "/api/nothing", "/api/runs/", "/api/runs/a/b/c", "/api/%00"] {
        served.get(path).await.refused(404, "not_found");
        answer(served.bare("POST", path)).await.refused(404, "not_found");
    }
    for (method, path, allowed) in [
        ("DELETE", "/api/runs", "GET,HEAD,POST"),
        ("PUT", "/api/memories", "GET,HEAD,POST"),
        ("GET", "/api/memories/search", "POST"),
        ("POST", "/health", "GET,HEAD"),
        ("POST", "/", "GET,HEAD"),
        ("BREW", "/api/sessions", "GET,HEAD"),
    ] {
        let refused = answer(served.ask(method, path)).await;
        let mut allow: Vec<_> = refused.header("allow").split(',').map(str::trim).collect();
        let mut allowed: Vec<_> = allowed.split(',').collect();
        allow.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(allow, allowed, "{path}");
        refused.refused(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn long_lines_and_many_headers_are_refused() {
    let served = served().await;
    let long = format!("/api/runs?a={}", "x".repeat(8 * 1024));
    served.get(&long).await.refused(414, "uri_too_long");
    let large = served.ask("GET", "/api/runs").header("x-large", "x".repeat(17 * 1024));
    answer(large).await.refused(431, "headers_too_large");
    let mut many = served.ask("GET", "/api/runs");
    for n in 0..120 {
        many = many.header(format!("x-{n}"), "1");
    }
    answer(many).await.refused(431, "headers_too_large");
    let endless = format!("GET / HTTP/1.1\r\n{SCOPE}x: {}\r\n\r\n", "x".repeat(1024 * 1024));
    assert!(rest_of_hostile(&served, &endless).await.starts_with("HTTP/1.1 431"));
}

async fn rest_of_hostile(served: &Served, bytes: &str) -> String {
    let mut stream = served.raw("").await;
    stream.write_all(bytes.as_bytes()).await.ok(); // It may close before it has read all.
    rest_of(stream).await
}

#[tokio::test]
async fn half_a_head_is_closed_and_a_slow_body_is_told() {
    let settings = ServerSettings {
        header_read_timeout: Duration::from_millis(300),
        body_read_timeout: Duration::from_millis(300),
        ..ServerSettings::default()
    };
    let served = served_with(settings).await;
    let silent = served.raw_answer("").await;
    assert_eq!(silent, "");
    let half = served.raw_answer(format!("GET /api/runs HTTP/1.1\r\n{SCOPE}")).await;
    assert!(!half.contains("200"), "{half}");
    let json = "content-type: application/json\r\n";
    let slow = format!("POST /api/runs HTTP/1.1\r\n{SCOPE}{json}content-length: 20\r\n\r\n{{\"in");
    let slow = served.raw_answer(slow).await;
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    assert!(slow.contains(r#""code":"request_timeout""#), "{slow}");
}

#[tokio::test]
async fn what_is_no_http_does_no_harm() {
    let served = served().await;
    let chunked = "transfer-encoding: chunked\r\n";
    for hostile in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n".to_owned(),
        format!("POST /api/runs HTTP/1.1\r\n{SCOPE}content-length: -1\r\n\r\n"),
        format!("POST /api/runs HTTP/1.1\r\n{SCOPE}content-length: 1\r\ncontent-length: 2\r\n\r\n"),
        format!("POST /api/runs HTTP/1.1\r\n{SCOPE}{chunked}\r\nzz\r\n"),
        format!("POST /api/runs HTTP/1.1\r\n{SCOPE}{chunked}\r\nfffffffffffffffff\r\n"),
        format!("GET /api/runs HTTP/1.1\r\n{SCOPE}x-\u{0}: 1\r\n\r\n"),
    ] {
        let answer = rest_of_hostile(&served, &hostile).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{hostile:?}: {answer}");
    }
    served.get("/api/runs").await.expect(200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let served = served().await;
    let one = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\n{SCOPE}{more}\r\n");
    let both = one("/health/live", "") + &one("/api/nothing", "connection: close\r\n");
    let answer = served.raw_answer(both).await;
    let (first, second) = (answer.find("HTTP/1.1 200"), answer.find("HTTP/1.1 404"));
    assert!(first.is_some() && first < second, "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_what_it_asked_for() {
    let served = served().await;
    let body = r#"{"input":"a"}"#;
    let request = format!(
        "POST /api/runs HTTP/1.1\r\n{SCOPE}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut queue = served.store.watch_queue();
    drop(served.raw(request).await);
    let created = async {
        while served.store.queue_depth().await.unwrap().ready == 0 {
            queue.woken().await;
        }
    };
    timeout(PATIENCE, created).await.expect("the run is created");
    served.work().await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_streams_or_idle_connections() {
    let served = served().await;
    let run_id = served.create("a").await;
    let idle = served.raw("").await;
    let mut stream = served.ask("GET", &format!("/api/runs/{run_id}/stream")).send().await.unwrap();
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "retry: 1000\n\n");
    timeout(PATIENCE, served.stop()).await.expect("the server ends while both are open");
    assert!(stream.chunk().await.unwrap().is_none());
    drop(idle);
}
