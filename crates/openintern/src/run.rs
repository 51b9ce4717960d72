//! `run` and `tail`: a run is created, or is there, and is watched to its end.

use std::time::Duration;

use protocol::{
    event::{EventPage, Fact},
    id::RunId,
    run::{CreateRun, ForkRun, Run, RunCancelled, RunCreated, RunForked, RunStatus},
};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use crate::{
    cli::{ForkArgs, RunArgs, TailArgs},
    client::{
        ApiClient,
        follow::{RunFollower, StreamItem},
    },
    exit::{Abort, Exit, Failure},
    input,
    output::{FAINT, ODD, Output, say, styled},
    render::{Renderer, duration, error_line},
};

/// A second Ctrl-C within this time cancels the run.
const CANCEL_WINDOW: Duration = Duration::from_secs(2);

/// What is shown of a run that is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Every event, for people.
    Lines,
    /// Every event, as JSON.
    Json,
    /// Only the end.
    End,
}

impl Watch {
    /// What was asked for by flags, if anything.
    fn asked(stream: bool, wait: bool, json: bool) -> Option<Self> {
        match (stream, wait) {
            (true, _) => Some(if json { Self::Json } else { Self::Lines }),
            (false, true) => Some(Self::End),
            (false, false) => None,
        }
    }
}

/// What Ctrl-C may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interrupt {
    /// Stop watching; a second one cancels the run.
    ThenCancel,
    Leave,
}

/// `run`: creates one, and watches it if asked.
pub(crate) async fn run(
    client: &ApiClient,
    output: &mut Output,
    args: RunArgs,
) -> Result<Exit, Abort> {
    let mut body = CreateRun::new(input::text(args.input)?);
    if let Some(name) = &args.session {
        body.session_key = input::session_key(name)?;
    }
    body.agent_id = args.agent.unwrap_or_default();
    body.llm_config = args.model.as_deref().map(input::llm_config);
    body.timezone = args.timezone;
    body.response_format =
        args.response_format.as_deref().map(input::response_format).transpose()?;
    let created: RunCreated = client.post(&["api", "runs"], &body).await?;
    let watch = Watch::asked(args.stream, args.wait, args.format.json);
    let Some(watch) = watch else {
        return print_created(output, created.run_id, &created, args.format.json);
    };
    if watch == Watch::Lines {
        say_head(client, created.run_id, body.session_key.as_str(), body.agent_id.as_str());
    }
    watch_own(client, output, created.run_id, watch, args.format.json).await
}

/// `runs fork`: creates a run from a step of another, and watches it if asked.
pub(crate) async fn fork(
    client: &ApiClient,
    output: &mut Output,
    args: ForkArgs,
) -> Result<Exit, Abort> {
    let body = ForkRun {
        input: args.input.map(input::text).transpose()?,
        agent_id: args.agent,
        llm_config: args.model.as_deref().map(input::llm_config),
        response_format: args.response_format.as_deref().map(input::response_format).transpose()?,
        ..ForkRun::at(args.from_step)
    };
    let path = ["api", "runs", &args.run_id.to_string(), "fork"];
    let forked: RunForked = client.post(&path, &body).await?;
    let watch = Watch::asked(args.stream, args.wait, args.format.json);
    let Some(watch) = watch else {
        return print_created(output, forked.run_id, &forked, args.format.json);
    };
    if watch == Watch::Lines {
        let run: Run = client.get(&["api", "runs", &forked.run_id.to_string()], &[]).await?;
        say_head(client, run.run_id, run.session_key.as_str(), run.agent_id.as_str());
    }
    watch_own(client, output, forked.run_id, watch, args.format.json).await
}

fn print_created(
    output: &mut Output,
    run_id: RunId,
    answer: &impl Serialize,
    json: bool,
) -> Result<Exit, Abort> {
    match json {
        true => output.json(answer)?,
        false => output.line(&run_id.to_string())?,
    }
    Ok(Exit::Done)
}

/// Watches a run that was created here, to its end.
async fn watch_own(
    client: &ApiClient,
    output: &mut Output,
    run_id: RunId,
    watch: Watch,
    json: bool,
) -> Result<Exit, Abort> {
    let exit = watch_run(client, output, (run_id, 0), watch, Interrupt::ThenCancel).await?;
    if watch == Watch::End && exit != Exit::Interrupted {
        print_end(client, output, run_id, json).await?;
    }
    Ok(exit)
}

/// `tail`: the events so far, then live until the end.
pub(crate) async fn tail(
    client: &ApiClient,
    output: &mut Output,
    args: TailArgs,
) -> Result<Exit, Abort> {
    let run: Run = client.get(&["api", "runs", &args.run_id.to_string()], &[]).await?;
    let watch = if args.format.json { Watch::Json } else { Watch::Lines };
    if watch == Watch::Lines {
        say_head(client, run.run_id, run.session_key.as_str(), run.agent_id.as_str());
    }
    watch_run(client, output, (run.run_id, args.cursor), watch, Interrupt::Leave).await
}

async fn watch_run(
    client: &ApiClient,
    output: &mut Output,
    (run_id, cursor): (RunId, u64),
    watch: Watch,
    interrupt: Interrupt,
) -> Result<Exit, Abort> {
    let mut follower = RunFollower::new(client, run_id, cursor, watch == Watch::Lines);
    let mut renderer = Renderer::new(output);
    // One listener for the whole watch: a signal between two looks is not lost.
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    loop {
        let seen = tokio::select! {
            biased;
            _ = interrupts.recv() => {
                renderer.end_line()?;
                let at = (run_id, follower.cursor());
                return interrupted(client, at, interrupt, &mut interrupts).await;
            }
            seen = follower.next() => seen?,
        };
        match seen {
            StreamItem::Event { json } => match watch {
                Watch::Lines => renderer.event(&json)?,
                Watch::Json => renderer.raw(&json)?,
                Watch::End => {}
            },
            StreamItem::Delta(delta) => renderer.delta(&delta)?,
            StreamItem::Reset(reset) => renderer.reset(&reset)?,
            StreamItem::Lost { wait } => {
                renderer.end_line()?;
                let wait = duration(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                say(&styled(ODD, format_args!("! connection lost, trying again in {wait}")));
            }
            StreamItem::Resumed { cursor } => {
                say(&styled(FAINT, format_args!("· connected again, after event {cursor}")));
            }
            StreamItem::End(status) => return Ok(exit_of(status)),
        }
    }
}

/// Ctrl-C while watching: the run goes on, unless a second one follows at once.
async fn interrupted(
    client: &ApiClient,
    (run_id, cursor): (RunId, u64),
    interrupt: Interrupt,
    interrupts: &mut Signal,
) -> Result<Exit, Abort> {
    say(&format!(
        "stopped watching; {run_id} goes on. Resume: openintern tail {run_id} --cursor {cursor}"
    ));
    if interrupt == Interrupt::Leave {
        return Ok(Exit::Interrupted);
    }
    say(&format!("Ctrl-C again within {} s cancels it", CANCEL_WINDOW.as_secs()));
    if timeout(CANCEL_WINDOW, interrupts.recv()).await.is_ok() {
        let answer: Result<RunCancelled, Failure> =
            client.post_empty(&["api", "runs", &run_id.to_string(), "cancel"]).await;
        match answer {
            Ok(answer) => say(&cancel_line(&answer)),
            Err(failure) if failure.exit == Exit::Conflict => say(&failure.message),
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(Exit::Interrupted)
}

/// The result of a request to cancel.
pub(crate) fn cancel_line(answer: &RunCancelled) -> String {
    match answer.status.is_terminal() {
        true => format!("{} is {}", answer.run_id, answer.status),
        false => format!("{} is asked to stop", answer.run_id),
    }
}

fn say_head(client: &ApiClient, run_id: RunId, session: &str, agent: &str) {
    let page = client.page(&["runs", &run_id.to_string()]);
    say(&format!("{run_id} · {session} · {agent}  {}", styled(FAINT, format_args!("↗ {page}"))));
}

async fn print_end(
    client: &ApiClient,
    output: &mut Output,
    run_id: RunId,
    json: bool,
) -> Result<(), Abort> {
    let path = ["api", "runs", &run_id.to_string()];
    if json {
        return output.json(&client.get::<Value>(&path, &[]).await?);
    }
    let run: Run = client.get(&path, &[]).await?;
    let is_cut = run.output.as_ref().map(|text| text.len() as u64) < run.output_bytes;
    match (run.output, run.error) {
        (Some(_), _) if is_cut => output.text(&(whole_output(client, run_id).await? + "\n"))?,
        (Some(text), _) => output.text(&(text + "\n"))?,
        (None, Some(error)) => say(&format!("{run_id} failed: {}", error_line(&error))),
        (None, None) => say(&format!("{run_id} is {}", run.status)),
    }
    Ok(())
}

/// The answer from its event: a run shows only the beginning of a long one.
async fn whole_output(client: &ApiClient, run_id: RunId) -> Result<String, Failure> {
    let path = ["api", "runs", &run_id.to_string(), "events"];
    let page: EventPage = client.get(&path, &[("type", "run.completed".into())]).await?;
    match page.events.into_iter().next().map(|event| event.fact) {
        Some(Fact::RunCompleted { output, .. }) => Ok(output),
        _ => Err(Failure::new(Exit::Failed, "the run no longer has a `run.completed` event")),
    }
}

fn exit_of(status: RunStatus) -> Exit {
    match status {
        RunStatus::Completed => Exit::Done,
        RunStatus::Failed | RunStatus::Cancelled => Exit::RunFailed,
        RunStatus::Pending | RunStatus::Running | RunStatus::Waiting => Exit::Failed,
    }
}
