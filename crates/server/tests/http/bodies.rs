//! Bodies: what is no strict JSON, too large, compressed, or of another type is refused.

use std::time::Duration;

use serde_json::json;
use server::{
    limits::{BODY_BYTES, ByteBounds},
    settings::ServerSettings,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{
    identity::with_keys,
    served::{Answer, PATIENCE, Served, answer, served, served_with},
};

const SCOPE: &str = "host: localhost\r\nx-org-id: org_a\r\nx-user-id: user_a\r\n";

async fn post(served: &Served, body: impl Into<Vec<u8>>) -> Answer {
    let request = served.ask("POST", "/api/runs").header("content-type", "application/json");
    answer(request.body(body.into())).await
}

#[tokio::test]
async fn what_is_no_strict_json_is_refused() {
    let served = served().await;
    let deep =
        format!(r#"{{"input":"a","metadata":{{"a":{}1{}}}}}"#, "[".repeat(63), "]".repeat(63));
    for (body, field) in [
        ("", ""),
        ("{", ""),
        ("[]", ""),
        ("null", ""),
        (r#"["a"]"#, ""),
        (r#"{"input":"a"} x"#, ""),
        (r#"{"input":"a","input":"b"}"#, "/input"),
        (r#"{"input":"a","org_id":"org_a","org_id":"org_a"}"#, "/org_id"),
        (r#"{"input":"a\u0000"}"#, "/input"),
        (r#"{"input":"a","metadata":{"a\u0000":1}}"#, "/metadata"),
        (r#"{"input":"a\ud800"}"#, ""),
        (r#"{"input":"a","metadata":{"n":1e400}}"#, ""),
        (r#"{"input":"a","metadata":{"n":1e131071}}"#, ""),
        (r#"{"input":"a","limits":{"max_steps":1e3000}}"#, ""),
        (r#"{"input":"a","metadata":{"n":18446744073709551616}}"#, "/metadata/n"),
        (r#"{"input":"a","metadata":{"n":[0.12345678901234567890]}}"#, "/metadata/n/0"),
        ("\u{feff}{\"input\":\"a\"}", ""),
    ] {
        post(&served, body).await.names(field);
    }
    post(&served, deep).await.refused(400, "validation_error");
    post(&served, "[".repeat(100_000)).await.refused(400, "validation_error");
    post(&served, b"{\"input\":\"\xff\xfe\"}".to_vec()).await.names("");
    post(&served, b"{\"input\":\"\xc0\x80\"}".to_vec()).await.names("");
    post(&served, b"{\0\"\0i\0".to_vec()).await.names("");
    let long = format!(r#"{{"input":"a","{}":1}}"#, "中".repeat(300_000));
    assert!(post(&served, long).await.text.len() < 4096, "what was sent is not echoed whole");
    let deep =
        format!(r#"{{"input":"a","metadata":{{"a":{}1{}}}}}"#, "[".repeat(62), "]".repeat(62));
    post(&served, deep).await.expect(201);
}

#[tokio::test]
async fn numbers_come_back_with_their_value() {
    let served = served().await;
    let numbers = "[-0,1e2,1.50,0.30000000000000004,9007199254740993,-5e-324,1e308]";
    let body = format!(r#"{{"input":"a","metadata":{{"n":{numbers}}}}}"#);
    let run_id = post(&served, body).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    let run = served.get(&format!("/api/runs/{run_id}")).await.expect(200);
    let there = |text: &str| {
        let numbers: Vec<serde_json::Number> = serde_json::from_str(text).unwrap();
        numbers.iter().map(|number| number.as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(there(&run["metadata"]["n"].to_string()), there(numbers));
    assert_eq!(run["metadata"]["n"][4], json!(9_007_199_254_740_993_u64));
}

#[tokio::test]
async fn many_small_values_are_refused_before_they_are_held() {
    let served = served().await;
    let refused = async |metadata: String| {
        let body = format!(r#"{{"input":"a","metadata":{metadata}}}"#);
        let answer = post(&served, body).await;
        assert!(answer.text.contains("more than 65536 keys and values"), "{}", answer.text);
        answer.refused(400, "validation_error");
    };
    let keys: Vec<_> = (0..60_000).map(|n| format!(r#""k{n}":0"#)).collect();
    refused(format!("{{{}}}", keys.join(","))).await;
    refused(format!(r#"{{"a":[{}]}}"#, vec!["0"; 500_000].join(","))).await;
    refused(format!(r#"{{"a":[{}]}}"#, vec!["{}"; 300_000].join(","))).await;
}

#[tokio::test]
async fn a_body_says_what_it_is() {
    let served = served().await;
    let body = r#"{"input":"a"}"#;
    let typed = |content_type: &str| {
        served.ask("POST", "/api/runs").header("content-type", content_type).body(body)
    };
    for content_type in [
        "text/plain",
        "application/json; charset=utf-16",
        "application/jsonx",
        "",
        "application/x-www-form-urlencoded",
    ] {
        answer(typed(content_type)).await.refused(415, "unsupported_media_type");
    }
    answer(served.ask("POST", "/api/runs").body(body)).await.refused(415, "unsupported_media_type");
    for content_type in ["application/json", "Application/JSON; Charset=\"UTF-8\""] {
        answer(typed(content_type)).await.expect(201);
    }
    for encoding in ["gzip", "br", "identity, gzip"] {
        let request = typed("application/json").header("content-encoding", encoding);
        answer(request).await.refused(415, "unsupported_media_type");
    }
    let plain = typed("application/json").header("content-encoding", "identity");
    answer(plain).await.expect(201);
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused_and_its_sender_sees_it() {
    let served = served().await;
    let frame = json!({"input": ""}).to_string().len();
    let fits = json!({"input": "x".repeat(200_000), "metadata": {}}).to_string();
    let padded = format!("{fits}{}", " ".repeat(1024 * 1024 - fits.len()));
    post(&served, padded.clone()).await.expect(201);
    post(&served, format!("{padded} ")).await.refused(413, "payload_too_large");
    for mebibytes in [2, 8] {
        let body = "x".repeat(mebibytes * 1024 * 1024 - frame);
        post(&served, body).await.refused(413, "payload_too_large");
    }
    served.post("/api/runs", json!({"input": "still well"})).await.expect(201);
}

#[tokio::test]
async fn a_body_is_not_waited_for_without_a_good_credential() {
    let served = with_keys().await;
    let head = "POST /api/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let strange = "authorization: Bearer oi_nobody\r\n";
    for head in [head.to_owned(), format!("{head}{strange}")] {
        let stream = served.raw(format!("{head}content-length: 1000\r\n\r\n")).await;
        let answer = first_line(stream).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}

#[tokio::test]
async fn bodies_on_their_way_have_a_bound_together() {
    let body_bytes =
        ByteBounds { per_org: 2_000_000, wait: Duration::from_millis(100), ..BODY_BYTES };
    let served = served_with(ServerSettings { body_bytes, ..ServerSettings::default() }).await;
    let head = format!("POST /api/runs HTTP/1.1\r\n{SCOPE}content-type: application/json\r\n");
    let slow = format!("{head}content-length: 1000000\r\n\r\n{{");
    let _first = served.raw(slow.clone()).await;
    let second = served.raw(slow).await;
    // Those two may not have been looked at yet when the next one is.
    let refused = async { while post(&served, r#"{"input": "a"}"#).await.status != 429 {} };
    timeout(PATIENCE, refused).await.expect("there is no room");
    drop(second);
    let served_again = async { while post(&served, r#"{"input": "a"}"#).await.status != 201 {} };
    timeout(PATIENCE, served_again).await.expect("there is room again");
}

#[tokio::test]
async fn a_body_that_waits_for_our_word_is_refused_by_its_length() {
    let served = served().await;
    let head = format!(
        "POST /api/runs HTTP/1.1\r\n{SCOPE}content-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: 5000000\r\n\r\n"
    );
    let answer = first_line(served.raw(head).await).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

async fn first_line(stream: TcpStream) -> String {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    timeout(PATIENCE, reader.read_line(&mut line)).await.expect("an answer").unwrap();
    line
}
