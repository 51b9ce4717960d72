//! A model behind OpenAI's wire format that repeats the key it was asked with, wherever it can: in
//! its words, in calls of tools, in errors.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::canaries::url_encoded;

/// It listens until the process ends.
pub(crate) struct Parrot {
    pub(crate) address: SocketAddr,
    /// Every body that it was sent.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl Parrot {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let remembered = Arc::clone(&heard);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let remembered = Arc::clone(&remembered);
                std::thread::spawn(move || answer(connection, &remembered));
            }
        });
        Self { address, heard }
    }
}

fn answer(connection: TcpStream, heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => key = value.trim_start_matches("Bearer ").to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    heard.lock().unwrap().push(body.clone());
    respond(connection, &body, &repeated(&key));
}

/// The key in every spelling that somebody could give it.
fn repeated(key: &str) -> String {
    let basic = BASE64_STANDARD.encode(format!("user:{key}"));
    let base64 = BASE64_STANDARD.encode(key);
    format!("I heard {key}; Authorization: Bearer {key}; {base64}; {basic}; {}.", url_encoded(key))
}

fn respond(mut connection: TcpStream, body: &str, words: &str) {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let messages = asked["messages"].as_array().cloned().unwrap_or_default();
    let task = messages.iter().rev().find(|message| message["role"] == "user");
    let task = task.and_then(|message| message["content"].as_str()).unwrap_or_default();
    let has_results = messages.iter().any(|message| message["role"] == "tool");
    let error = json!({"error": {"message": words, "type": "invalid_request_error"}});
    let finished = |reason: &str| json!({"choices": [{"delta": {}, "finish_reason": reason}]});
    match task {
        "flaky" => refuse(&mut connection, "503 Service Unavailable", &error),
        "break" => stream(&mut connection, &[said("So: "), error]),
        "tools" if !has_results => {
            let calls: Vec<Value> = [
                ("canary__environment", json!({"note": words})),
                ("canary__fail", json!({})),
                ("memory_write", json!({"type": "core", "text": words})),
                ("read_file", json!({"path": words})),
                (words.get(..60).unwrap(), json!({})),
            ]
            .iter()
            .zip(0..)
            .map(|((name, args), index)| {
                let function = json!({"name": name, "arguments": args.to_string()});
                json!({"index": index, "id": format!("c{index}"), "function": function})
            })
            .collect();
            let calls = json!({"choices": [{"delta": {"tool_calls": calls}}]});
            stream(&mut connection, &[calls, finished("tool_calls")]);
        }
        "echo" | "tools" => {
            let all = format!("{words} I was asked {body}");
            let letters: Vec<char> = all.chars().collect();
            let mut events: Vec<Value> =
                letters.chunks(7).map(|piece| said(&String::from_iter(piece))).collect();
            events.push(finished("stop"));
            stream(&mut connection, &events);
        }
        _ => refuse(&mut connection, "400 Bad Request", &error),
    }
}

fn said(text: &str) -> Value {
    json!({"choices": [{"delta": {"content": text}}]})
}

fn stream(connection: &mut TcpStream, events: &[Value]) {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
         {events}data: [DONE]\n\n"
    )
    .unwrap();
}

fn refuse(connection: &mut TcpStream, status: &str, error: &Value) {
    let body = error.to_string();
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .unwrap();
}
