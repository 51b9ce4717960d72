//! `memory import`: writes the memories of a file, one JSON object a line, batch by batch.
//!
//! A batch is written whole or not at all, and a memory that is already there is not written again:
//! running an interrupted import again finishes it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, stdin},
    path::Path,
    time::{Duration, Instant},
};

use memory::service::content;
use protocol::{
    error::FieldError,
    limits::{BODY_MAX_BYTES, JSON_DEPTH_MAX, JSON_VALUES_MAX, MEMORY_BULK_MAX},
    memory::{MemoriesWritten, WriteMemories, WriteMemory},
    strict_json::parse,
};
use serde_json::{Value, json};
use server::json::typed;

use crate::{
    cli::ImportArgs,
    client::ApiClient,
    exit::{Abort, Exit, Failure},
    output::{Output, say},
};

/// Fields of an exported line that a writer cannot choose; they are ignored.
const PASSED_OVER: [&str; 4] = ["id", "origin", "created_at", "updated_at"];
/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Longest line: the body of a request, and the fields that are ignored.
const LINE_MAX_BYTES: usize = BODY_MAX_BYTES + 1024;
/// Largest batch of more than one line. A server could take 1 MiB, but has to write a row for each
/// term of it, while other writers of the scope wait, 2 s at most.
const BATCH_MAX_BYTES: usize = 128 * 1024;
/// What surrounds the memories of a bulk write.
const AROUND: &str = r#"{"memories":[]}"#;
/// How much deeper a memory stands in a bulk write than by itself.
const AROUND_DEPTH: usize = 2;

pub(super) async fn import(
    client: &ApiClient,
    output: &mut Output,
    args: ImportArgs,
) -> Result<(), Abort> {
    let mut lines = Lines::open(&args.file)?;
    let (is_dry, said) = (args.dry_run, Instant::now());
    let mut import = Import { client, is_dry, done: ImportTally::default(), said };
    let mut batch = Batch::default();
    while let Some(line) = lines.next()? {
        let number = lines.number;
        let (memory, bytes) =
            understood(&line).map_err(|faults| import.done.failure(number, &faults))?;
        if !batch.has_room_for(bytes) {
            import.send(std::mem::take(&mut batch)).await?;
        }
        batch.add(number, memory, bytes);
    }
    if !batch.memories.is_empty() {
        import.send(batch).await?;
    }
    let ImportTally { lines: checked, written } = import.done;
    let there_already = checked - written;
    match (args.dry_run, args.format.json) {
        (true, true) => output.json(&json!({ "checked": checked })),
        (true, false) => output.line(&format!("memories checked, none written: {checked}")),
        (false, true) => {
            output.json(&json!({ "written": written, "there_already": there_already }))
        }
        (false, false) => {
            output.line(&format!("memories written: {written}, there already: {there_already}"))
        }
    }
}

/// An import on its way.
struct Import<'a> {
    client: &'a ApiClient,
    is_dry: bool,
    done: ImportTally,
    /// When progress was last reported.
    said: Instant,
}

impl Import<'_> {
    async fn send(&mut self, batch: Batch) -> Result<(), Failure> {
        let Batch { first, last, memories, .. } = batch;
        let lines = memories.len();
        if self.is_dry {
            self.done.lines += lines;
            return Ok(());
        }
        let path = ["api", "memories", "bulk"];
        let body = WriteMemories { memories };
        let answer: MemoriesWritten = self.client.post(&path, &body).await.map_err(|failure| {
            Failure { message: format!("lines {first} to {last}: {}", failure.message), ..failure }
        })?;
        self.done.lines += lines;
        self.done.written += answer.written as usize;
        if self.said.elapsed() >= PROGRESS_EVERY {
            say(&format!("{} memories so far", self.done.lines));
            self.said = Instant::now();
        }
        Ok(())
    }
}

#[derive(Default)]
struct ImportTally {
    lines: usize,
    written: usize,
}

impl ImportTally {
    /// A line is no memory: its batch is not written, nor what comes after it.
    fn failure(&self, number: u64, faults: &[FieldError]) -> Failure {
        let each = faults.iter().map(|fault| format!("{} {}", fault.field, fault.message));
        let each: Vec<_> = each.map(|fault| fault.trim_start().to_owned()).collect();
        let hint = match self.written {
            0 => "nothing was written; fix the line and run it again".to_owned(),
            written => format!(
                "written before it: {written}; fix the line and run it again: memories that are \
                already there are not written twice"
            ),
        };
        Failure::new(Exit::Usage, format!("line {number}: {}", each.join("; "))).hint(hint)
    }
}

/// Memories that are written together.
#[derive(Default)]
struct Batch {
    first: u64,
    last: u64,
    memories: Vec<WriteMemory>,
    bytes: usize,
}

impl Batch {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.memories.is_empty()
            || self.memories.len() < MEMORY_BULK_MAX && self.bytes + bytes <= BATCH_MAX_BYTES
    }

    fn add(&mut self, number: u64, memory: WriteMemory, bytes: usize) {
        if self.memories.is_empty() {
            self.first = number;
        }
        self.last = number;
        self.memories.push(memory);
        self.bytes += bytes;
    }
}

/// The memory of a line, and how many bytes it has in a request. It is read as the server reads it,
/// so that what is wrong is said of the line and not of a batch.
fn understood(line: &[u8]) -> Result<(WriteMemory, usize), Vec<FieldError>> {
    let one = |fault| vec![fault];
    let mut value = parse(line, JSON_VALUES_MAX).map_err(one)?;
    let object =
        value.as_object_mut().ok_or_else(|| one(FieldError::new("", "must be a JSON object")))?;
    PASSED_OVER.iter().for_each(|key| drop(object.remove(*key)));
    let memory: WriteMemory = typed(&value).map_err(one)?;
    let mut faults = content::faults(&memory, "");
    if depth(&value) + AROUND_DEPTH > JSON_DEPTH_MAX {
        let most = JSON_DEPTH_MAX - AROUND_DEPTH;
        faults.push(FieldError::new("", format!("must nest at most {most} deep")));
    }
    let bytes = serde_json::to_string(&memory).map_or(usize::MAX, |text| text.len());
    if bytes.saturating_add(AROUND.len()) > BODY_MAX_BYTES {
        faults.push(FieldError::new("", format!("must fit into {BODY_MAX_BYTES} bytes")));
    }
    if faults.is_empty() { Ok((memory, bytes)) } else { Err(faults) }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Object(map) => map.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

/// The lines of a file that are not blank, none of them endless.
struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    /// That of the line read last, from 1.
    number: u64,
}

impl Lines {
    /// `-` is standard input.
    fn open(path: &Path) -> Result<Self, Failure> {
        let (reader, name): (Box<dyn BufRead>, _) = if path == Path::new("-") {
            (Box::new(stdin().lock()), "standard input".to_owned())
        } else {
            let name = format!("`{}`", path.display());
            let file = File::open(path).map_err(|error| cannot_read(&name, &error))?;
            (Box::new(BufReader::new(file)), name)
        };
        Ok(Self { reader, name, number: 0 })
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let mut line = Vec::new();
            let most = LINE_MAX_BYTES as u64 + 1; // And its end.
            let mut bounded = self.reader.by_ref().take(most);
            let read = bounded.read_until(b'\n', &mut line);
            if read.map_err(|error| cannot_read(&self.name, &error))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() > LINE_MAX_BYTES && line.last() != Some(&b'\n') {
                let message = format!("line {} is longer than {LINE_MAX_BYTES} bytes", self.number);
                return Err(Failure::new(Exit::Usage, message));
            }
            // Some editors begin a file with a mark that says nothing.
            let text = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line).trim_ascii();
            if !text.is_empty() {
                return Ok(Some(text.to_owned()));
            }
        }
    }
}

fn cannot_read(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot read {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use protocol::limits::MEMORY_TEXT_MAX_BYTES;

    use super::*;

    #[test]
    fn a_line_is_understood_as_the_server_would() {
        let check = |line: &str, want: &str| {
            let got = match understood(line.as_bytes()) {
                Ok((memory, _)) => memory.text,
                Err(faults) => ImportTally::default().failure(17, &faults).message,
            };
            assert_eq!(got, want, "{line}");
        };
        check(r#"{"type":"core","text":"茶 🍵"}"#, "茶 🍵");
        check(
            r#"{"id":"mem_01h455vb4pex5vsknk084sn02q","type":"core","text":"a","metadata":{},
                "importance":0.5,"group_key":null,"position":null,"occurred_at":null,
                "created_at":"2026-01-01T00:00:00.000Z","updated_at":"2026-01-01T00:00:00.000Z"}"#,
            "a",
        );
        check(r#"{"type":"core"}"#, "line 17: /text is missing");
        check(
            r#"{"type":"core","text":"a","importance":2}"#,
            "line 17: /importance must be 0 to 1",
        );
        check("[]", "line 17: must be a JSON object");
        let quotes = "\\\"".repeat(MEMORY_TEXT_MAX_BYTES);
        let too_large = format!(r#"{{"type":"core","text":"{quotes}"}}"#);
        check(&too_large, "line 17: must fit into 1048576 bytes");
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_in_bytes() {
        let memory = || WriteMemory::new(protocol::memory::MemoryType::Core, "a");
        let mut batch = Batch::default();
        assert!(batch.has_room_for(BODY_MAX_BYTES), "alone");
        for number in 1..=MEMORY_BULK_MAX as u64 {
            assert!(batch.has_room_for(100));
            batch.add(number, memory(), 100);
        }
        assert!(!batch.has_room_for(1));
        assert_eq!((batch.first, batch.last), (1, 500));
        let mut batch = Batch::default();
        batch.add(1, memory(), BATCH_MAX_BYTES - 100);
        assert!(batch.has_room_for(100) && !batch.has_room_for(101));
    }

    #[test]
    fn nesting_is_counted_as_the_server_counts_it() {
        let nested = |levels: usize| {
            let open = r#"{"a":"#.repeat(levels);
            format!(r#"{{"type":"core","text":"a","metadata":{open}1{}}}"#, "}".repeat(levels))
        };
        // The line itself is one level, and a bulk write two more.
        let deepest = JSON_DEPTH_MAX - AROUND_DEPTH - 1;
        let (memory, _) = understood(nested(deepest).as_bytes()).unwrap();
        let body = serde_json::to_vec(&WriteMemories { memories: vec![memory] }).unwrap();
        assert!(parse(&body, JSON_VALUES_MAX).is_ok());
        let faults = understood(nested(deepest + 1).as_bytes()).unwrap_err();
        assert_eq!(faults[0].message, "must nest at most 62 deep");
    }
}
