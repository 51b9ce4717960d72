//! Requests whose end two readers could see in different places, and senders who never come to it:
//! each is answered once, with 4xx or by closing, and what stands behind it is no second request.

use std::time::Duration;

use server::settings::ServerSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
};

use crate::served::{PATIENCE, Served, rest_of, served_with};

const HEAD: &str = "POST /api/runs HTTP/1.1\r\nhost: localhost\r\nx-org-id: org_a\r\nx-user-id: user_a\r\n\
content-type: application/json\r\n";
/// What a smuggler would like to be taken for a request of its own.
const SECOND: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// A server that does not wait long for the rest of a head or a body.
async fn impatient() -> Served {
    let settings = ServerSettings {
        header_read_timeout: Duration::from_millis(300),
        body_read_timeout: Duration::from_millis(300),
        ..ServerSettings::default()
    };
    served_with(settings).await
}

async fn all_of(served: &Served, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = served.raw("").await;
    stream.write_all(bytes.as_ref()).await.ok(); // It may close before it has read all.
    rest_of(stream).await
}

#[tokio::test]
async fn a_length_that_can_be_read_twice_is_refused() {
    let served = impatient().await;
    let body = r#"{"input":"a"}"#;
    for lengths in [
        "content-length: 13\r\ncontent-length: 14\r\n",
        "content-length: 13, 14\r\n",
        "content-length: +13\r\n",
        "content-length: 0x0d\r\n",
        "content-length: 13 13\r\n",
        "content-length: -0\r\n",
        "content-length: \r\n",
        "content-length: 1e1\r\n",
        "content-length: ١٣\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length : 13\r\n",
        "content-length\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip\r\ncontent-length: 13\r\n",
    ] {
        let answer = all_of(&served, format!("{HEAD}{lengths}\r\n{body}{SECOND}")).await;
        let one = answer.is_empty()
            || answer.starts_with("HTTP/1.1 4") && answer.matches("HTTP/1.1 ").count() == 1;
        assert!(one, "{lengths:?}: {answer}");
    }
    let old = HEAD.replace("HTTP/1.1", "HTTP/1.0");
    let answer =
        all_of(&served, format!("{old}transfer-encoding: chunked\r\n\r\n0\r\n\r\n{SECOND}")).await;
    assert!(!answer.contains(" 200 ") && !answer.contains(" 201 "), "{answer}");
    assert_eq!(served.store.queue_depth().await.unwrap().ready, 0, "no run came of it");
}

#[tokio::test]
async fn chunks_win_over_a_length_and_nothing_follows_them() {
    let served = impatient().await;
    let chunks = "d\r\n{\"input\":\"a\"}\r\n0\r\n\r\n";
    for both in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 400\r\nTransfer-Encoding: Chunked\r\n",
    ] {
        let answer = all_of(&served, format!("{HEAD}{both}\r\n{chunks}{SECOND}")).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{both:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "RFC 9112, 6.1: it closes. {answer}");
    }
}

#[tokio::test]
async fn broken_chunks_and_lines_are_refused() {
    let served = impatient().await;
    let chunked =
        |chunks: &str| format!("{HEAD}transfer-encoding: chunked\r\n\r\n{chunks}{SECOND}");
    for hostile in [
        chunked("zz\r\n"),
        chunked("-1\r\na\r\n"),
        chunked("+1\r\na\r\n"),
        chunked("0x1\r\na\r\n"),
        chunked("1 1\r\na\r\n"),
        chunked("fffffffffffffffff\r\n"),
        chunked("1\r\nab\r\n0\r\n\r\n"),
        chunked("1\r\na0\r\n\r\n"),
        chunked("1\na\n0\n\n"),
        chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(100_000))),
        chunked(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(10_000))),
        format!("{HEAD}x: a\r\n folded\r\n\r\n{SECOND}"),
        format!("{HEAD} x: leading\r\n\r\n{SECOND}"),
        format!("{HEAD}x y: space\r\n\r\n{SECOND}"),
        format!("{HEAD}: nameless\r\n\r\n{SECOND}"),
        format!("{HEAD}é: name\r\n\r\n{SECOND}"),
        format!("{HEAD}x: a\0b\r\n\r\n{SECOND}"),
        format!("{HEAD}x: a\rb\r\n\r\n{SECOND}"),
        format!("POST  /api/runs HTTP/1.1\r\n\r\n{SECOND}"),
        format!("POST /api/runs HTTP/1.2\r\n\r\n{SECOND}"),
        format!("POST /api/runs HTTP/9.9\r\n\r\n{SECOND}"),
        format!("POST /api/runs\r\n{SECOND}"),
        format!("P\u{f6}ST /api/runs HTTP/1.1\r\n\r\n{SECOND}"),
        format!("GET /\0 HTTP/1.1\r\n\r\n{SECOND}"),
        "\0".repeat(100_000),
        "\r\n".repeat(100_000),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
    ] {
        let answer = all_of(&served, &hostile).await;
        let shown = &hostile[..hostile.floor_char_boundary(300)];
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
        assert!(!answer.contains("HTTP/1.1 2"), "{shown:?}: {answer}");
    }
    served.get("/api/runs").await.expect(200);
    assert_eq!(served.store.queue_depth().await.unwrap().ready, 0, "no run came of it");
}

/// Sends a byte every 20 ms until the server closes; answers what it said.
async fn dripped(mut stream: TcpStream, drop: &[u8]) -> String {
    let mut ticks = interval(Duration::from_millis(20));
    let mut said = Vec::new();
    let dripping = async {
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) => said.extend_from_slice(&buffer[..count]),
                },
                _ = ticks.tick() => {
                    if stream.write_all(drop).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    timeout(PATIENCE, dripping).await.expect("it does not wait for ever");
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_sender_that_drips_is_not_waited_for() {
    let served = impatient().await;
    let head = dripped(served.raw(HEAD).await, b"x").await;
    assert!(!head.contains("HTTP/1.1 2"), "{head}");
    let length = served.raw(format!("{HEAD}content-length: 100000\r\n\r\n")).await;
    let length = dripped(length, b" ").await;
    assert!(length.starts_with("HTTP/1.1 408"), "{length}");
    let chunks = served.raw(format!("{HEAD}transfer-encoding: chunked\r\n\r\n")).await;
    let chunks = dripped(chunks, b"1\r\n \r\n").await;
    assert!(chunks.starts_with("HTTP/1.1 408"), "{chunks}");
    served.get("/api/runs").await.expect(200);
}

#[tokio::test]
async fn a_header_that_names_the_scope_twice_must_say_the_same() {
    let served = impatient().await;
    let ask = async |headers: &str| {
        let head = format!(
            "GET /api/runs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        );
        all_of(&served, head).await
    };
    let user = "x-user-id: user_a\r\n";
    for org in [
        "x-org-id: org_a\r\nx-org-id: org_b\r\n",
        "x-org-id: org_a\r\nX-ORG-ID: org_b\r\n",
        "x-org-id: org_a, org_b\r\n",
        "x-org-id: org_a org_b\r\n",
        "x-org-id: \u{43e}rg_a\r\n",
        "x-org-id: org_a\u{200b}\r\n",
        "x-org-id: \r\n",
        "x_org_id: org_a\r\n",
    ] {
        let answer = ask(&format!("{org}{user}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{org:?}: {answer}");
    }
    let same = ask(&format!("x-org-id: org_a\r\nX-Org-Id: org_a\r\n{user}")).await;
    assert!(same.starts_with("HTTP/1.1 200"), "{same}");
}
