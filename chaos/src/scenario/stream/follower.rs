//! A reader of a stream as a browser's `EventSource` is one: whole frames only, and after a break
//! it goes on after the last one, here at the next node.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use protocol::id::RunId;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

/// A connection that says nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Longest life of a run that is followed.
const PATIENCE: Duration = Duration::from_secs(90);
const REST: Duration = Duration::from_millis(5);

/// All that a follower received.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Followed {
    frames: Vec<FollowedFrame>,
    pub(in crate::scenario) reconnects: u64,
}

#[derive(Debug)]
struct FollowedFrame {
    id: String,
    event: String,
    data: Value,
}

/// Follows a run to its end, going round the nodes.
pub(in crate::scenario) async fn follow(
    run_id: RunId,
    scope: &str,
    urls: &[&str],
) -> Result<Followed> {
    // A new connection each time: the proxy breaks connections, not requests.
    let http = Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
    let mut followed = Followed::default();
    let began = Instant::now();
    for url in urls.iter().cycle() {
        if began.elapsed() > PATIENCE {
            break; // The judge sees what is missing.
        }
        let request = http.get(format!("{url}/api/runs/{run_id}/stream?{scope}"));
        let request = match followed.frames.last() {
            Some(last) => request.header("last-event-id", &last.id),
            None => request,
        };
        followed.reconnects += 1;
        let answer = timeout(SILENCE_MAX, request.send()).await;
        match answer {
            Ok(Ok(answer)) if answer.status() == StatusCode::OK => {
                followed.read(answer).await?;
            }
            Ok(Ok(answer)) if answer.status() == StatusCode::NO_CONTENT => break,
            Ok(Ok(answer)) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {}
            Ok(Ok(answer)) => bail!("a stream was answered {}", answer.status()),
            Ok(Err(_)) | Err(_) => {} // Cut before the head was whole.
        }
        sleep(REST).await;
    }
    followed.reconnects = followed.reconnects.saturating_sub(1);
    Ok(followed)
}

impl Followed {
    /// Takes whole frames until the connection breaks or ends.
    async fn read(&mut self, mut answer: Response) -> Result<()> {
        let mut text = Vec::new();
        while let Ok(Ok(Some(bytes))) = timeout(SILENCE_MAX, answer.chunk()).await {
            text.extend_from_slice(&bytes);
            while let Some(at) = text.windows(2).position(|two| two == b"\n\n") {
                let rest = text.split_off(at + 2);
                let frame = std::mem::replace(&mut text, rest);
                self.frames.extend(FollowedFrame::parse(&String::from_utf8_lossy(&frame))?);
            }
        }
        Ok(())
    }

    pub(in crate::scenario) fn last_seq(&self) -> u64 {
        self.frames.iter().filter_map(FollowedFrame::place).map(|place| place.0).max().unwrap_or(0)
    }

    /// What is missing, doubled or out of order, and text that is not what was said.
    pub(in crate::scenario) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let (mut seq, mut n) = (0, 0);
        // The text of each step since its last reset.
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        for frame in &self.frames {
            let expected = if frame.is_text() { (seq, n + 1) } else { (seq + 1, 0) };
            match frame.place() {
                Some(place) if place == expected => (seq, n) = place,
                place => {
                    faults.push(format!("{} `{}` follows {seq}.{n}", frame.event, frame.id));
                    (seq, n) = place.unwrap_or(expected);
                }
            }
            let text = |pointer: &str| frame.data.pointer(pointer).and_then(Value::as_str);
            let step = text("/step_id").unwrap_or_default().to_owned();
            match frame.event.as_str() {
                "llm.delta" => {
                    said.entry(step).or_default().push_str(text("/text").unwrap_or_default());
                }
                "llm.reset" => said.entry(step).or_default().clear(),
                "llm.called" => {
                    let whole = text("/payload/content").unwrap_or_default();
                    let said = said.get(&step).map_or("", String::as_str);
                    if said != whole {
                        faults.push(format!("{step}: deltas say {said:?}, the event {whole:?}"));
                    }
                }
                _ => {}
            }
        }
        faults
    }
}

impl FollowedFrame {
    /// None for comments and `retry`.
    fn parse(block: &str) -> Result<Option<Self>> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let (Some(id), Some(event), Some(data)) =
            (field("id: "), field("event: "), field("data: "))
        else {
            return Ok(None);
        };
        let data = serde_json::from_str(data)?;
        Ok(Some(Self { id: id.to_owned(), event: event.to_owned(), data }))
    }

    fn is_text(&self) -> bool {
        matches!(self.event.as_str(), "llm.delta" | "llm.reset")
    }

    /// The place of the frame: `<seq>`, or `<seq>.<n>` for a delta.
    fn place(&self) -> Option<(u64, u64)> {
        let (seq, n) = self.id.split_once('.').unwrap_or((&self.id, "0"));
        Some((seq.parse().ok()?, n.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// Frames as `id words`: words make a delta, `reset` a reset, `=words` the whole answer.
    fn check(frames: &[&str], expected: Expect) {
        let frames = frames.iter().map(|frame| {
            let (id, words) = frame.split_once(' ').unwrap_or((frame, ""));
            let (event, data) = match (words, words.strip_prefix('=')) {
                ("", _) => ("step.started", Value::Null),
                ("reset", _) => ("llm.reset", serde_json::json!({"step_id": "s"})),
                (_, Some(whole)) => (
                    "llm.called",
                    serde_json::json!({"step_id": "s", "payload": {"content": whole}}),
                ),
                _ => ("llm.delta", serde_json::json!({"step_id": "s", "text": words})),
            };
            FollowedFrame { id: id.into(), event: event.into(), data }
        });
        let followed = Followed { frames: frames.collect(), reconnects: 0 };
        expected.assert_eq(&followed.faults().join("\n"));
    }

    #[test]
    fn what_a_follower_may_see() {
        check(&["1", "1.1 a", "1.2 b", "2 =ab", "3"], expect![[""]]);
        check(&["1", "1.1 a", "2", "2.1 reset", "2.2 b", "3 =b"], expect![[""]]);
    }

    #[test]
    fn what_a_follower_may_not_see() {
        check(&["1", "3"], expect!["step.started `3` follows 1.0"]);
        check(&["1", "1"], expect!["step.started `1` follows 1.0"]);
        check(
            &["1", "2", "1", "2"],
            expect![[r#"
            step.started `1` follows 2.0"#]],
        );
        check(&["1", "1.1 a", "1.3 b", "2 =ab"], expect!["llm.delta `1.3` follows 1.1"]);
        check(&["1", "1.1 a", "2 =ab"], expect![[r#"s: deltas say "a", the event "ab""#]]);
    }
}
