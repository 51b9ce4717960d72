//! `runs`, `events`, `cancel`, `export`: reading existing runs, and asking them to stop.

use protocol::{
    context::{ContextSegment, StepContext},
    id::RunId,
    limits::{PAGE_LIMIT_MAX, TRACE_LIMIT_MAX},
    run::{Checkpoint, CheckpointPage, Run, RunCancelled, RunPage},
    trace::{SpanKind, SpanStatus, TracePage, TraceSpan},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    cli::{ContextArgs, EventsArgs, ExportArgs, ExportFormat, ListRunsArgs, RunRef, RunsCommand},
    client::ApiClient,
    exit::{Abort, Exit, Failure},
    input,
    output::{Output, say},
    render::{Renderer, counted, duration, error_line, money, tokens},
    run::{self, cancel_line},
};

pub(crate) async fn runs(
    client: &ApiClient,
    output: &mut Output,
    command: RunsCommand,
) -> Result<Exit, Abort> {
    match command {
        RunsCommand::List(args) => list(client, output, args).await,
        RunsCommand::Get(args) => get(client, output, args).await,
        RunsCommand::Trace(args) => trace(client, output, args).await,
        RunsCommand::Checkpoints(args) => checkpoints(client, output, args).await,
        RunsCommand::Fork(args) => run::fork(client, output, args).await,
    }
}

pub(crate) async fn events(
    client: &ApiClient,
    output: &mut Output,
    args: EventsArgs,
) -> Result<Exit, Abort> {
    let mut pages = EventPages::new(client, args.run_id, &args.types);
    let mut renderer = Renderer::new(output);
    while let Some(events) = pages.next().await? {
        for event in events {
            match args.format.json {
                true => renderer.raw(event.get())?,
                false => renderer.event(event.get())?,
            }
        }
    }
    Ok(Exit::Done)
}

pub(crate) async fn cancel(
    client: &ApiClient,
    output: &mut Output,
    args: RunRef,
) -> Result<Exit, Abort> {
    let path = ["api", "runs", &args.run_id.to_string(), "cancel"];
    let answer: RunCancelled = client.post_empty(&path).await?;
    match args.format.json {
        true => output.json(&answer)?,
        false => output.line(&cancel_line(&answer))?,
    }
    Ok(Exit::Done)
}

pub(crate) async fn export(
    client: &ApiClient,
    output: &mut Output,
    args: ExportArgs,
) -> Result<Exit, Abort> {
    let mut pages = EventPages::new(client, args.run_id, &[]);
    match args.format {
        ExportFormat::Jsonl => {
            while let Some(events) = pages.next().await? {
                for event in events {
                    output.text(&format!("{event}\n"))?;
                }
            }
        }
        ExportFormat::Json => {
            let mut events = Vec::new();
            while let Some(page) = pages.next().await? {
                events.extend(page);
            }
            let run = client.get(&["api", "runs", &args.run_id.to_string()], &[]).await?;
            output.json(&Trace { run, events })?;
        }
    }
    Ok(Exit::Done)
}

pub(crate) async fn context(
    client: &ApiClient,
    output: &mut Output,
    args: ContextArgs,
) -> Result<Exit, Abort> {
    let (run_id, step) = (args.run_id.to_string(), args.step.to_string());
    let path = ["api", "runs", &run_id, "context", &step];
    let sent: StepContext = client.get(&path, &[("text", args.text.to_string())]).await?;
    if args.format.json {
        output.json(&sent)?;
        return Ok(Exit::Done);
    }
    let row = |segment: &ContextSegment| {
        [
            segment.kind.as_str().to_owned(),
            segment.tokens.to_string(),
            segment.score.map_or_else(String::new, |score| format!("{score:.2}")),
            segment.reference.clone(),
        ]
    };
    let rows: Vec<_> = sent.segments.iter().map(row).collect();
    output.table(["PART", "TOKENS", "SCORE", "FROM"], &rows)?;
    let StepContext { estimated_tokens, input_tokens, cached_tokens, .. } = sent;
    output.line(&format!(
        "{input_tokens} tokens, {cached_tokens} of them from the provider's cache; estimated \
         {estimated_tokens}"
    ))?;
    if let Some(text) = sent.text {
        output.text(&format!("\n{}\n", text.system))?;
        for message in &text.messages {
            output.text(&format!("\n{message}\n"))?;
        }
    }
    Ok(Exit::Done)
}

/// A run with all that it did.
#[derive(Serialize)]
struct Trace {
    run: Value,
    events: Vec<Box<RawValue>>,
}

async fn list(client: &ApiClient, output: &mut Output, args: ListRunsArgs) -> Result<Exit, Abort> {
    let session = args.session.as_deref().map(input::session_key).transpose()?;
    let mut query = vec![("limit", args.page.limit.to_string())];
    query.extend(args.status.map(|status| ("status", status.to_string())));
    query.extend(session.map(|key| ("session_key", key.to_string())));
    query.extend(args.agent.map(|agent| ("agent_id", agent.to_string())));
    query.extend(args.query.map(|text| ("q", text)));
    query.extend(args.parent.map(|run_id| ("parent_run_id", run_id.to_string())));
    query.extend(args.since.map(|time| ("since", time)));
    query.extend(args.until.map(|time| ("until", time)));
    query.extend(args.page.cursor.map(|cursor| ("cursor", cursor)));
    let page: RunPage = client.get(&["api", "runs"], &query).await?;
    if args.format.json {
        output.json(&page.runs)?;
    } else {
        let row = |run: &Run| {
            [
                run.run_id.to_string(),
                run.status.to_string(),
                run.duration_ms.map_or_else(String::new, duration),
                run.session_key.to_string(),
                run.input.clone(),
            ]
        };
        let rows: Vec<_> = page.runs.iter().map(row).collect();
        output.table(["RUN", "STATUS", "TOOK", "SESSION", "INPUT"], &rows)?;
    }
    say_more(page.next_cursor.as_deref());
    Ok(Exit::Done)
}

async fn get(client: &ApiClient, output: &mut Output, args: RunRef) -> Result<Exit, Abort> {
    let path = ["api", "runs", &args.run_id.to_string()];
    if args.format.json {
        output.json(&client.get::<Value>(&path, &[]).await?)?;
        return Ok(Exit::Done);
    }
    let run: Run = client.get(&path, &[]).await?;
    let mut rows = vec![
        ["run", run.run_id.to_string().as_str()].map(str::to_owned),
        ["status".into(), run.status.to_string()],
        ["session".into(), run.session_key.to_string()],
        ["agent".into(), run.agent_id.to_string()],
        ["model".into(), run.model.unwrap_or_default()],
        ["created".into(), run.created_at.to_string()],
    ];
    let parent = run.parent_run_id.zip(run.forked_from_step);
    rows.extend(parent.map(|(id, step)| ["forked from".into(), format!("{id}, step {step}")]));
    rows.extend(run.ended_at.map(|at| ["ended".into(), at.to_string()]));
    let took = run.duration_ms.map_or_else(|| "not ended".into(), duration);
    rows.push([
        "work".into(),
        format!(
            "{took} · {} · {}{}{}",
            counted(run.step_count.into(), "step"),
            counted(run.tool_call_count.into(), "tool call"),
            tokens(&run.usage),
            money(run.cost_usd)
        ),
    ]);
    let schema = run.response_format.map(|format| format.schema().to_string());
    rows.extend(schema.map(|schema| ["schema".into(), schema]));
    rows.push(["input".into(), run.input]);
    rows.extend(run.error.map(|error| ["error".into(), error_line(&error)]));
    rows.extend(run.output.map(|text| ["output".into(), text]));
    output.fields(&rows)?;
    Ok(Exit::Done)
}

async fn checkpoints(client: &ApiClient, output: &mut Output, args: RunRef) -> Result<Exit, Abort> {
    let path = ["api", "runs", &args.run_id.to_string(), "checkpoints"];
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = vec![("limit", PAGE_LIMIT_MAX.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: CheckpointPage = client.get(&path, &query).await?;
        checkpoints.extend(page.checkpoints);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if args.format.json {
        output.json(&checkpoints)?;
        return Ok(Exit::Done);
    }
    let row = |checkpoint: &Checkpoint| {
        [
            checkpoint.step.to_string(),
            checkpoint.created_at.to_string(),
            counted(checkpoint.message_count.into(), "message"),
            if checkpoint.is_taken_over { "taken over" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<_> = checkpoints.iter().map(row).collect();
    output.table(["STEP", "COMPLETED", "MESSAGES", ""], &rows)?;
    Ok(Exit::Done)
}

/// The spans of a run, indented by what they belong to.
async fn trace(client: &ApiClient, output: &mut Output, args: RunRef) -> Result<Exit, Abort> {
    let path = ["api", "runs", &args.run_id.to_string(), "trace"];
    let mut spans: Vec<TraceSpan> = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = vec![("limit", TRACE_LIMIT_MAX.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: TracePage = client.get(&path, &query).await?;
        spans.extend(page.spans);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if args.format.json {
        output.json(&spans)?;
        return Ok(Exit::Done);
    }
    let row = |span: &TraceSpan| {
        let depth = match span.kind {
            SpanKind::Run => 0,
            SpanKind::Step => 1,
            SpanKind::Memory | SpanKind::Llm | SpanKind::Tool => 2,
            SpanKind::Note => 1 + usize::from(span.step.is_some()),
        };
        let status = match span.status {
            SpanStatus::Ok => String::new(),
            SpanStatus::Running => "running".to_owned(),
            SpanStatus::Error => "error".to_owned(),
            SpanStatus::Cancelled => "cancelled".to_owned(),
        };
        [
            format!("{}{}", "  ".repeat(depth), span.name),
            span.duration_ms.map_or_else(String::new, duration),
            status,
            span.usage.as_ref().map_or_else(String::new, tokens),
            span.span_id.to_string(),
        ]
    };
    let rows: Vec<_> = spans.iter().map(row).collect();
    output.table(["SPAN", "TOOK", "STATUS", "TOKENS", "ID"], &rows)?;
    Ok(Exit::Done)
}

/// Says how to get the next page, if there is one.
pub(crate) fn say_more(next_cursor: Option<&str>) {
    if let Some(cursor) = next_cursor {
        say(&format!("for the next page: --cursor {cursor}"));
    }
}

/// The events of a run, a page at a time, each as the server wrote it.
struct EventPages<'a> {
    client: &'a ApiClient,
    run_id: RunId,
    types: String,
    cursor: Option<String>,
    is_done: bool,
}

#[derive(Deserialize)]
struct RawEventPage {
    events: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl<'a> EventPages<'a> {
    fn new(client: &'a ApiClient, run_id: RunId, types: &[String]) -> Self {
        Self { client, run_id, types: types.join(","), cursor: None, is_done: false }
    }

    async fn next(&mut self) -> Result<Option<Vec<Box<RawValue>>>, Failure> {
        if self.is_done {
            return Ok(None);
        }
        let mut query = vec![("limit", PAGE_LIMIT_MAX.to_string())];
        query.extend((!self.types.is_empty()).then(|| ("type", self.types.clone())));
        query.extend(self.cursor.clone().map(|cursor| ("cursor", cursor)));
        let path = ["api", "runs", &self.run_id.to_string(), "events"];
        let page: RawEventPage = self.client.get(&path, &query).await?;
        self.is_done = page.next_cursor.is_none();
        self.cursor = page.next_cursor;
        Ok(Some(page.events))
    }
}
