//! A tiny HTTP server that says exactly what a test wants, however hostile. One request a connection.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the server does with a connection, in order; then it closes.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends this.
    Send(String),
    /// Sends this again and again until the client hangs up.
    Repeat(String),
    /// Waits until the client hangs up.
    Hold,
}

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    hung_up: watch::Sender<usize>,
}

impl Server {
    /// Starts on a free port; `script` gives what to do with the n-th request, from 0.
    pub(crate) async fn start(script: impl Fn(usize) -> Vec<Act> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            url: format!("http://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            hung_up: watch::Sender::new(0),
        };
        let (requests, hung_up) = (server.requests.clone(), server.hung_up.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                let acts = {
                    let mut requests = requests.lock().unwrap();
                    requests.push(request);
                    script(requests.len() - 1)
                };
                let hung_up = hung_up.clone();
                tokio::spawn(async move {
                    if perform(&mut stream, acts).await.is_none() {
                        hung_up.send_modify(|count| *count += 1);
                    }
                });
            }
        });
        server
    }

    /// Answers every request the same way.
    pub(crate) async fn always(acts: Vec<Act>) -> Server {
        Self::start(move |_| acts.clone()).await
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The n-th request: its head, and its body as JSON.
    pub(crate) fn request(&self, n: usize) -> (String, Value) {
        let requests = self.requests.lock().unwrap();
        let (head, body) = requests[n].split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
    }

    /// The bodies of all requests so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        (0..self.count()).map(|n| self.request(n).1).collect()
    }

    /// Waits until so many clients have hung up early.
    pub(crate) async fn hung_up(&self, count: usize) {
        self.hung_up.subscribe().wait_for(|so_far| *so_far >= count).await.unwrap();
    }
}

/// The head of an event stream that ends when the connection does.
pub(crate) fn stream_head() -> String {
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".into()
}

/// An event stream of these events.
pub(crate) fn stream(events: &[&str]) -> Vec<Act> {
    let body: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
    vec![Act::Send(stream_head() + &body)]
}

/// A whole answer with a length.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<Act> {
    vec![Act::Send(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n{headers}\r\n{body}",
        body.len()
    ))]
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

/// `None`: the client hung up first.
async fn perform(stream: &mut TcpStream, acts: Vec<Act>) -> Option<()> {
    for act in acts {
        match act {
            Act::Send(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Act::Repeat(text) => loop {
                stream.write_all(text.as_bytes()).await.ok()?;
            },
            Act::Hold => {
                while stream.read(&mut [0; 64]).await.unwrap_or(0) > 0 {}
                return None;
            }
        }
    }
    stream.shutdown().await.ok()
}
