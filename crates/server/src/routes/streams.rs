//! One stream for many: several runs as they happen, or the begins and ends of all runs of a scope.
//! A stream of one run is in `stream`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use futures::{FutureExt, future::select_all};
use http::{HeaderMap, StatusCode, Uri};
use protocol::{id::RunId, run::RunStatus, time::Timestamp};
use store::{
    many::{COMMIT_LAG, RunStanding, ScopeNews},
    notifier::Subscription,
    scoped::Scoped,
    stream::StreamCursor,
};

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        query::{BoolParam, QueryPairs, decimal},
        scope::RequestScope,
    },
    limits::STREAM_RUNS_MAX,
    open_streams::StreamSlot,
    routes::stream::{FrameId, last_id},
    stream_out::{StreamOut, StreamOver, open_stream},
    stream_pages::{FrameForm, PageError, SharedPage, StreamPages, write_lines},
    waiting_bytes::BytesOwner,
};

const NOT_PLACES: &str = "must be ids of frames of these runs, `<run_id>:<seq>` or \
                          `<run_id>:<seq>.<n>`, separated by commas";
const NOT_A_TIME: &str = "must be the id of a frame of this stream";
const RUNS: &str = "runs";

/// What to follow.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(
    dead_code,
    reason = "documents what is read from the pairs of the query: a name may come again"
)]
pub(crate) struct FollowMany {
    /// A run to follow, 64 at most: its id, or `<run_id>:<frame>` to begin after that frame.
    #[param(
        value_type = Option<Vec<String>>, style = Form, explode, min_items = 1, max_items = 64,
        example = json!(["run_01kas5w4z8e5tv3k0v9x2m7qhd"])
    )]
    run: Vec<String>,
    /// `runs`: the begins and ends of all runs of the scope, in place of `run`.
    #[param(value_type = Option<String>, pattern = "^runs$")]
    scope: Option<String>,
    /// `false` leaves out the text of models as it comes. `true` when absent.
    #[param(value_type = Option<bool>)]
    deltas: Option<BoolParam>,
}

/// Follow runs
///
/// With `run`: frames of these runs as each has them, with ids `<run_id>:<seq>`, until all have ended.
/// With `scope=runs`: a frame `run` whenever a run of the scope is accepted, begins or ends.
#[utoipa::path(
    get, path = "/api/stream", tag = "runs", operation_id = "follow_runs",
    params(
        ("Last-Event-ID" = Option<String>, Header, max_length = 8192,
         description = "The id of the last frame seen; with `run` also one for each run, separated by \
                        commas. It wins over the query"),
        FollowMany
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = crate::routes::stream::StreamFrame,
         description = "Frames; with `run` until all of them have ended"),
        (status = 204, description = "All of these runs have ended, and nothing follows"),
        (status = 404, description = "`not_found`: one of the runs is not in this scope"),
        (status = 429, description = "`quota_exceeded`: the server, the organisation or the credential has too many \
                       streams open, or too much waits for followers that do not read"),
    )
)]
pub(crate) async fn follow_many(
    State(app): State<App>,
    headers: HeaderMap,
    uri: Uri,
    principal: Principal,
    RequestScope(scope): RequestScope,
) -> Result<Response, ApiError> {
    let what = Followed::read(&uri, &headers)?;
    let scoped = app.store.scoped(&scope);
    let owner =
        BytesOwner { org_id: Some(scope.org_id.clone()), holder: principal.holder().cloned() };
    let slot = app.streams.acquire(&scope.org_id, principal.holder(), &app.settings)?;
    match what {
        Followed::Runs { places, form } => {
            follow_runs(&app, principal, slot, RunsWriter::new(&app, scoped, owner, places, form))
                .await
        }
        Followed::Scope { since } => {
            let news = scoped.news(since.map(before_lag)).await?;
            if since.is_some_and(|since| before_lag(since) > news.now) {
                return Err(ApiError::field("last-event-id", "is later than the database's clock"));
            }
            let since = since.unwrap_or(news.now);
            let sent = HashMap::new();
            let writer = NewsWriter { pages: app.pages.clone(), scoped, owner, since, sent };
            Ok(open_stream(&app, principal, slot, |out| writer.run(out)))
        }
    }
}

async fn follow_runs(
    app: &App,
    principal: Principal,
    slot: StreamSlot,
    writer: RunsWriter,
) -> Result<Response, ApiError> {
    let standing = writer.standing().await?;
    if standing.len() < writer.runs.len() {
        return Err(ApiError::not_found());
    }
    let at: HashMap<_, _> = standing.iter().map(|run| (run.run_id, run)).collect();
    let is_beyond = |run: &FollowedRun| {
        at.get(&run.run_id).is_some_and(|standing| run.cursor.seq > standing.last_seq)
    };
    if let Some(run) = writer.runs.iter().find(|run| is_beyond(run)) {
        return Err(ApiError::field(
            "run",
            format!("`{}` begins beyond its last event", run.run_id),
        ));
    }
    let is_over = |run: &FollowedRun| at.get(&run.run_id).is_some_and(|at| run.has_seen(at));
    if writer.runs.iter().all(is_over) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(open_stream(app, principal, slot, |out| writer.run(out)))
}

/// What a request asks to follow.
enum Followed {
    Runs {
        places: Vec<(RunId, StreamCursor)>,
        form: FrameForm,
    },
    /// Since when, if it was followed before.
    Scope {
        since: Option<Timestamp>,
    },
}

impl Followed {
    fn read(uri: &Uri, headers: &HeaderMap) -> Result<Self, ApiError> {
        let pairs = QueryPairs::of(uri)?;
        let mut with_deltas = true;
        for text in pairs.all("deltas") {
            let BoolParam(deltas) = text
                .to_owned()
                .try_into()
                .map_err(|words: &str| ApiError::field("deltas", words))?;
            with_deltas = deltas;
        }
        let runs: Vec<_> = pairs.all("run").collect();
        match (pairs.all("scope").next(), runs.is_empty()) {
            (None, true) => Err(ApiError::field("run", "is needed, or `scope=runs`")),
            (Some(_), false) => Err(ApiError::field("scope", "cannot stand beside `run`")),
            (Some(_), true) if pairs.all("scope").any(|scope| scope != RUNS) => {
                Err(ApiError::field("scope", "is not a valid choice; use `runs`"))
            }
            (Some(_), true) => {
                let since = last_id(headers, parse_time, NOT_A_TIME)?;
                Ok(Self::Scope { since })
            }
            (None, false) => {
                let form = FrameForm { with_deltas, ids_name_run: true };
                Ok(Self::Runs { places: places(&runs, headers)?, form })
            }
        }
    }
}

/// Where to begin in each run.
fn places(runs: &[&str], headers: &HeaderMap) -> Result<Vec<(RunId, StreamCursor)>, ApiError> {
    if runs.len() > STREAM_RUNS_MAX {
        let words = format!("must be given at most {STREAM_RUNS_MAX} times");
        return Err(ApiError::field("run", words));
    }
    let place = |text: &&str| match text.split_once(':') {
        Some(_) => parse_place(text),
        None => text.parse().ok().map(|run_id| (run_id, StreamCursor::default())),
    };
    let places: Option<Vec<_>> = runs.iter().map(place).collect();
    let words = "must be the id of a run, or `<run_id>:<frame>`";
    let mut places = places.ok_or_else(|| ApiError::field("run", words))?;
    let distinct: HashSet<_> = places.iter().map(|(run_id, _)| *run_id).collect();
    if distinct.len() < places.len() {
        return Err(ApiError::field("run", "names a run twice"));
    }
    let parse = |text: &str| text.split(',').map(|id| parse_place(id.trim())).collect();
    let seen: Option<Vec<(RunId, StreamCursor)>> = last_id(headers, parse, NOT_PLACES)?;
    for (seen_run, cursor) in seen.unwrap_or_default() {
        let place = places.iter_mut().find(|(run_id, _)| *run_id == seen_run);
        place.ok_or_else(|| ApiError::field("last-event-id", NOT_PLACES))?.1 = cursor;
    }
    Ok(places)
}

fn parse_place(text: &str) -> Option<(RunId, StreamCursor)> {
    let (run_id, frame) = text.split_once(':')?;
    let FrameId(cursor) = FrameId::parse(frame)?;
    Some((run_id.parse().ok()?, cursor))
}

/// Microseconds since 1970, as the frames of a scope are numbered.
fn parse_time(text: &str) -> Option<Timestamp> {
    Timestamp::from_micros(i64::try_from(decimal(text)?).ok()?)
}

/// A run of a stream of several.
struct FollowedRun {
    run_id: RunId,
    cursor: StreamCursor,
    bell: Subscription,
}

impl FollowedRun {
    /// It has ended, and nothing follows its place.
    fn has_seen(&self, standing: &RunStanding) -> bool {
        standing.status.is_terminal()
            && self.cursor.seq >= standing.last_seq
            && !standing.has_deltas
    }
}

struct RunsWriter {
    pages: StreamPages,
    scoped: Scoped,
    owner: BytesOwner,
    form: FrameForm,
    runs: Vec<FollowedRun>,
}

impl RunsWriter {
    /// Its bells ring from now on.
    fn new(
        app: &App,
        scoped: Scoped,
        owner: BytesOwner,
        places: Vec<(RunId, StreamCursor)>,
        form: FrameForm,
    ) -> Self {
        let followed = |(run_id, cursor)| {
            let bell = scoped.watch_run(run_id);
            FollowedRun { run_id, cursor, bell }
        };
        let runs = places.into_iter().map(followed).collect();
        Self { pages: app.pages.clone(), scoped, owner, form, runs }
    }

    async fn standing(&self) -> Result<Vec<RunStanding>, store::error::StoreError> {
        let places: Vec<_> = self.runs.iter().map(|run| (run.run_id, run.cursor)).collect();
        self.scoped.stand(&places).await
    }

    /// Sends everything until all runs have ended: a page of each that has one in turn.
    async fn run(mut self, mut out: StreamOut) -> Result<(), StreamOver> {
        out.begin().await?;
        let mut ready: VecDeque<RunId> = self.runs.iter().map(|run| run.run_id).collect();
        loop {
            while let Some(run_id) = ready.pop_front() {
                if self.send_page(&mut out, run_id).await? {
                    ready.push_back(run_id);
                }
            }
            if self.runs.is_empty() {
                return Ok(());
            }
            match out.wait(rung(&mut self.runs)).await? {
                Some(run_id) => ready.push_back(run_id),
                None => ready.extend(self.with_news(&mut out).await?),
            }
        }
    }

    /// Sends what follows the place of a run, a page of it; says whether there is more already.
    async fn send_page(&mut self, out: &mut StreamOut, run_id: RunId) -> Result<bool, StreamOver> {
        let Some(place) = self.runs.iter().position(|run| run.run_id == run_id) else {
            return Ok(false);
        };
        let Some(cursor) = self.runs.get(place).map(|run| run.cursor) else { return Ok(false) };
        let page = self.read(out, run_id, cursor).await?;
        out.send_pieces(page.bytes.clone()).await?;
        if page.ended {
            self.runs.swap_remove(place);
        } else if let Some(run) = self.runs.get_mut(place) {
            run.cursor = page.next;
        }
        Ok(page.more && !page.ended)
    }

    async fn read(
        &self,
        out: &mut StreamOut,
        run_id: RunId,
        cursor: StreamCursor,
    ) -> Result<SharedPage, StreamOver> {
        loop {
            match self.pages.read(&self.scoped, run_id, cursor, self.form, &self.owner).await {
                Ok(page) => {
                    out.database_is_back();
                    return Ok(page);
                }
                Err(error) => out.outlast(&error).await?,
            }
        }
    }

    /// The runs with something after their place, asked for all at once: a bell may have been missed.
    async fn with_news(&self, out: &mut StreamOut) -> Result<Vec<RunId>, StreamOver> {
        let standing = loop {
            match self.standing().await {
                Ok(standing) => break standing,
                Err(error) => out.outlast(&PageError::Store(Arc::new(error))).await?,
            }
        };
        out.database_is_back();
        let has_news = |run: &&RunStanding| {
            let seen = self.runs.iter().find(|followed| followed.run_id == run.run_id);
            let is_behind = seen.is_some_and(|seen| seen.cursor.seq < run.last_seq);
            is_behind || run.status.is_terminal() || run.has_deltas && self.form.with_deltas
        };
        Ok(standing.iter().filter(has_news).map(|run| run.run_id).collect())
    }
}

/// The run whose bell rings first.
async fn rung(runs: &mut [FollowedRun]) -> RunId {
    let bells = runs.iter_mut().map(|run| {
        async {
            run.bell.woken().await;
            run.run_id
        }
        .boxed()
    });
    select_all(bells).await.0
}

struct NewsWriter {
    pages: StreamPages,
    scoped: Scoped,
    owner: BytesOwner,
    /// All that was committed with an earlier stamp was sent.
    since: Timestamp,
    /// What was sent of runs that changed since.
    sent: HashMap<RunId, (Timestamp, RunStatus)>,
}

impl NewsWriter {
    /// Sends begins and ends, until the stream is too old.
    async fn run(mut self, mut out: StreamOut) -> Result<(), StreamOver> {
        out.begin().await?;
        // Whoever comes back before the first frame has a place to begin at.
        out.send_pieces(format!("id: {}\n\n", self.since.micros()).into()).await?;
        loop {
            let news = self.read(&mut out).await?;
            let text = self.text(&news).map_err(|_| StreamOver)?;
            let held = self.pages.hold(text, &self.owner).await;
            match held {
                Ok(bytes) => out.send_pieces(bytes).await?,
                Err(error) => out.outlast(&error).await?,
            }
            out.wait(std::future::pending::<()>()).await?;
        }
    }

    /// A change is stamped before it is committed: what was read lately is read again.
    async fn read(&self, out: &mut StreamOut) -> Result<ScopeNews, StreamOver> {
        loop {
            match self.scoped.news(Some(before_lag(self.since))).await {
                Ok(news) => {
                    out.database_is_back();
                    return Ok(news);
                }
                Err(error) => out.outlast(&PageError::Store(Arc::new(error))).await?,
            }
        }
    }

    /// The frames of what was not sent yet.
    fn text(&mut self, news: &ScopeNews) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        for run in &news.runs {
            let state = (run.changed_at, run.status);
            if self.sent.insert(run.run_id, state) != Some(state) {
                let id = run.changed_at.micros().to_string();
                write_lines(&mut text, &id, "run", run)?;
            }
        }
        self.since = self.since.max(news.now);
        let oldest = before_lag(self.since);
        self.sent.retain(|_, (changed_at, _)| *changed_at > oldest);
        Ok(text)
    }
}

fn before_lag(at: Timestamp) -> Timestamp {
    let lag_ms = i64::try_from(COMMIT_LAG.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.millis().saturating_sub(lag_ms))
}
