//! The worker: claims runs for as many free places as it has, keeps their leases, hands them back
//! when it stops.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use protocol::{id::RunId, tool::CatalogNotes};
use store::{
    error::StoreError,
    failpoint,
    nodes::NodeReport,
    queue::{Claim, Lease, Verdict},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    after_run::AfterRuns,
    gate::ModelGate,
    lessons,
    parts::{Runtime, WorkerParts},
    run::{
        execute,
        stop::{RunExit, RunSignals},
    },
    settings::WorkerSettings,
    tools::{Toolbox, builtin::BuiltinParts},
};

/// Most runs of one claim.
const CLAIM_MAX: usize = 64;
/// How often a node writes its heartbeat.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// How often a node deletes expired rows.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// How often a node looks at what others have learnt of models.
const LESSONS_EVERY: Duration = Duration::from_secs(60);
/// How often a node looks at which models have failed, when nobody rings.
const HEAR_EVERY: Duration = Duration::from_secs(1);
/// The least time between two claims of a busy worker.
const CLAIM_GATHER: Duration = Duration::from_millis(5);
/// Runs in hand that make a worker busy.
const BUSY_RUNS: usize = 4;
/// Where fewer than one in so many places are free, an organisation may wait for the next one though
/// others are free: they are kept for who comes next (`store::queue`).
const PLACES_PER_KEPT: usize = 8;
/// How often a worker without room for another run, in memory or at the database, looks again.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(200);
/// How often the runs of dead workers are looked for.
const EXPIRE_EVERY: Duration = Duration::from_millis(200);
/// How long to wait before registering again.
const ENTER_AGAIN: Duration = Duration::from_millis(500);
/// How long the last writes may take once runs were told to stop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long what it still says to the database may take then.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The part of a process that executes runs.
pub struct Worker {
    shared: Arc<WorkerState>,
    loops: TaskTracker,
}

struct WorkerState {
    runtime: Runtime,
    settings: WorkerSettings,
    /// The id of this process in the list of nodes, whatever name it claims under.
    node_id: Uuid,
    /// The name to claim under; none while other workers must take this one for dead.
    present_as: watch::Sender<Option<Uuid>>,
    places: Arc<Semaphore>,
    /// The runs in hand, by claim.
    held: Mutex<HashMap<Lease, RunSignals>>,
    runs: TaskTracker,
    place_freed: Notify,
    run_ended: Notify,
    stopping: CancellationToken,
}

impl Worker {
    /// Starts its tasks, which run until it is stopped.
    pub fn start(mut parts: WorkerParts, settings: WorkerSettings) -> Self {
        parts.store = parts.store.for_runs();
        parts.memory = parts.memory.for_runs();
        let for_builtins = BuiltinParts {
            store: parts.store.clone(),
            memory: parts.memory.clone(),
            workspace_root: parts.workspace_root.clone(),
        };
        let toolbox = Toolbox::new(
            for_builtins,
            Arc::clone(&parts.mcp),
            parts.redactor.clone(),
            Duration::from_millis(settings.tool_timeout_ms),
        );
        let places = settings.places().max(1) as usize;
        let shared = Arc::new(WorkerState {
            runtime: Runtime {
                gate: ModelGate::new(&parts.store, &parts.models, &parts.agents),
                parts,
                toolbox,
            },
            settings,
            node_id: Uuid::now_v7(),
            present_as: watch::Sender::new(None),
            places: Arc::new(Semaphore::new(places)),
            held: Mutex::default(),
            runs: TaskTracker::new(),
            place_freed: Notify::new(),
            run_ended: Notify::new(),
            stopping: CancellationToken::new(),
        });
        let loops = TaskTracker::new();
        loops.spawn(keep_presence(Arc::clone(&shared)));
        loops.spawn(expire_lost(Arc::clone(&shared)));
        loops.spawn(claim_runs(Arc::clone(&shared)));
        loops.spawn(renew_leases(Arc::clone(&shared)));
        loops.spawn(report(Arc::clone(&shared)));
        loops.spawn(tidy_up(Arc::clone(&shared)));
        loops.spawn(remember_runs(Arc::clone(&shared)));
        loops.spawn(share_lessons(Arc::clone(&shared)));
        loops.spawn(hear_of_models(Arc::clone(&shared)));
        loops.spawn(give_turns(Arc::clone(&shared)));
        Self { shared, loops }
    }

    /// How many runs it has in hand.
    pub fn running(&self) -> usize {
        self.shared.runs.len()
    }

    /// Tells, from anywhere, whether it is executing so many runs that what can wait should.
    pub fn busy(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || is_busy(&shared)
    }

    /// Claims no more; gives runs `grace` to end, then hands the rest back to the queue.
    pub async fn stop(self, grace: Duration) {
        let shared = &self.shared;
        shared.stopping.cancel();
        shared.runs.close();
        failpoint::pass("during_drain");
        if tokio::time::timeout(grace, shared.runs.wait()).await.is_err() {
            shared.abandon_all();
            if tokio::time::timeout(RELEASE_TIMEOUT, shared.runs.wait()).await.is_err() {
                tracing::warn!("some runs were not released in time; their leases will expire");
            }
        }
        self.loops.close();
        let leave = async {
            self.loops.wait().await;
            shared.runtime.parts.store.forget_node(shared.node_id).await
        };
        let left = tokio::time::timeout(LEAVE_TIMEOUT, leave).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::debug!(
                "this node was not removed from the list of nodes in time; it will expire"
            );
        }
    }
}

impl WorkerState {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Lease, RunSignals>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon_all(&self) {
        for signals in self.held().values() {
            signals.abandon.cancel();
        }
    }
}

/// Logs a failure that may repeat. The store says, once a minute, why a database refuses work.
fn log_database(error: &StoreError, what: &'static str) {
    let cause = error as &dyn std::error::Error;
    match error.reason() {
        Some(_) => tracing::debug!(error = cause, "{what}"),
        None => tracing::warn!(error = cause, "{what}"),
    }
}

/// Holds the database lock that proves this worker alive; when it is lost, abandons all runs.
async fn keep_presence(shared: Arc<WorkerState>) {
    while !is_done(&shared) {
        let entered = tokio::select! {
            entered = shared.runtime.parts.store.enter() => entered,
            () = done(&shared) => return,
        };
        let mut presence = match entered {
            Ok(presence) => presence,
            Err(error) => {
                log_database(
                    &error,
                    "this worker cannot register with the database; it tries again",
                );
                tokio::select! {
                    () = tokio::time::sleep(ENTER_AGAIN) => continue,
                    () = done(&shared) => return,
                }
            }
        };
        shared.present_as.send_replace(Some(presence.node_id()));
        tokio::select! {
            () = presence.lost() => {
                tracing::warn!("the connection that holds this worker's lock is lost; all its runs are abandoned");
                shared.present_as.send_replace(None);
                shared.abandon_all();
            }
            () = done(&shared) => return presence.leave().await,
        }
    }
}

/// Frees the runs of workers that died, so that others can claim them.
async fn expire_lost(shared: Arc<WorkerState>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
            () = shared.stopping.cancelled() => return,
        }
        let Some(own) = *shared.present_as.borrow() else { continue };
        match shared.runtime.parts.store.expire_lost(own).await {
            Ok(0) => {}
            Ok(expired) => {
                tracing::warn!(runs = expired, "a worker is gone; its runs can be claimed again")
            }
            Err(error) => {
                tracing::debug!(error = %error, "runs of dead workers could not be freed")
            }
        }
    }
}

async fn claim_runs(shared: Arc<WorkerState>) {
    exchange_lessons(&shared).await; // Its first run is to be asked for in the right way.
    hear_once(&shared).await; // And of a model that may be asked.
    report_once(&shared).await; // An organisation's share of the places is known to its first claim.
    let mut bell = shared.runtime.parts.store.watch_queue();
    let mut present_as = shared.present_as.subscribe();
    let mut claimed_at = tokio::time::Instant::now();
    let places = shared.places.available_permits();
    while !shared.stopping.is_cancelled() {
        let free = shared.places.available_permits();
        if free == 0 || !has_room(&shared) {
            tokio::select! {
                () = shared.place_freed.notified() => {}
                () = tokio::time::sleep(LOOK_FOR_ROOM), if free > 0 => {}
                () = shared.stopping.cancelled() => {}
            }
            continue;
        }
        let Some(node_id) = *present_as.borrow_and_update() else {
            tokio::select! {
                _ = present_as.changed() => {}
                () = shared.stopping.cancelled() => {}
            }
            continue;
        };
        // Under load a claim takes what gathered since the last one; at rest it does not wait.
        if is_busy(&shared) {
            tokio::time::sleep_until(claimed_at + CLAIM_GATHER).await;
        }
        claimed_at = tokio::time::Instant::now();
        let most = u32::try_from(free.min(CLAIM_MAX)).unwrap_or(u32::MAX);
        let store = &shared.runtime.parts.store;
        let claimed = match store.claim(node_id, most, shared.settings.lease()).await {
            Ok(claims) => claims,
            Err(error) => {
                log_database(&error, "runs cannot be claimed");
                Vec::new()
            }
        };
        if !claimed.is_empty() {
            failpoint::pass("after_claim");
        }
        let full = claimed.len() == most as usize;
        let mut suspect = None;
        for claim in claimed {
            let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else { break };
            let signals = RunSignals::default();
            if claim.verdict == Verdict::ExecuteAlone {
                suspect = Some(signals.proven.clone());
            }
            // In a box: to spawn a future moves it several times.
            shared.runs.spawn(Box::pin(hold(Arc::clone(&shared), claim, signals, place)));
        }
        if let Some(proven) = suspect {
            // Runs beside it would be lost with it.
            tokio::select! {
                () = proven.cancelled() => {}
                () = shared.stopping.cancelled() => {}
            }
            continue;
        }
        if !full {
            let is_nearly_full = shared.places.available_permits() <= places / PLACES_PER_KEPT;
            tokio::select! {
                () = bell.woken() => {}
                () = shared.place_freed.notified(), if is_nearly_full => {}
                () = tokio::time::sleep(jittered(shared.settings.poll_every())) => {}
                () = shared.stopping.cancelled() => {}
            }
        }
    }
}

fn is_busy(shared: &WorkerState) -> bool {
    shared.runs.len() >= BUSY_RUNS
}

/// Whether another run may come. One always may: what else is in memory does not go for waiting.
fn has_room(shared: &WorkerState) -> bool {
    let parts = &shared.runtime.parts;
    shared.runs.is_empty() || ((parts.has_memory)() && !parts.store.is_behind())
}

/// Executes one run, and frees its place afterwards.
async fn hold(
    shared: Arc<WorkerState>,
    claim: Claim,
    signals: RunSignals,
    place: OwnedSemaphorePermit,
) {
    let store = &shared.runtime.parts.store;
    let _proven = signals.proven.clone().drop_guard();
    let lease = claim.lease();
    let mut cancel_bell = store.watch_cancel(claim.run_id);
    shared.held().insert(lease.clone(), signals.clone());
    metrics::counter!("openintern_runs_claimed_total").increment(1);
    let held = HeldRun { shared: Arc::clone(&shared), lease: lease.clone() };
    let journal = store.journal(&claim);
    let listen = async {
        loop {
            cancel_bell.woken().await;
            if journal.cancel_request().await.is_ok_and(|request| request.is_some()) {
                signals.cancel.cancel();
            }
        }
    };
    let exit = tokio::select! {
        biased;
        exit = Box::pin(execute(&shared.runtime, &claim, signals.clone())) => exit,
        () = listen => RunExit::Abandoned, // Unreachable: listening never ends.
    };
    drop(held);
    if exit == RunExit::Abandoned {
        failpoint::pass("before_release");
        tokio::select! {
            released = store.release(std::slice::from_ref(&lease)) => if let Err(error) = released {
                tracing::debug!(run_id = %claim.run_id, error = %error, "a run was not released; its lease will expire");
            },
            // A database that is silent answers none of them, a few at a time.
            () = stopped_for(&shared, RELEASE_TIMEOUT) => {}
        }
        failpoint::pass("after_release");
    }
    drop(place);
    shared.place_freed.notify_one();
    shared.run_ended.notify_one();
}

async fn stopped_for(shared: &WorkerState, time: Duration) {
    shared.stopping.cancelled().await;
    tokio::time::sleep(time).await;
}

/// Removes the run from those that are held, even when its task panics, so that its lease is not renewed.
struct HeldRun {
    shared: Arc<WorkerState>,
    lease: Lease,
}

impl Drop for HeldRun {
    fn drop(&mut self) {
        self.shared.held().remove(&self.lease);
    }
}

async fn renew_leases(shared: Arc<WorkerState>) {
    // A lease that could not be renewed is given up before it ends, by our own clock.
    let give_up_after = shared.settings.lease() * 2 / 3;
    let mut renewed_at = Instant::now();
    while !is_done(&shared) {
        tokio::select! {
            () = tokio::time::sleep(shared.settings.renew_every()) => {}
            () = done(&shared) => break,
        }
        let leases: Vec<Lease> = shared.held().keys().cloned().collect();
        if leases.is_empty() {
            renewed_at = Instant::now();
            continue;
        }
        let sent_at = Instant::now();
        let store = &shared.runtime.parts.store;
        failpoint::pass("before_renew");
        // A database that does not answer at all must not keep us past that time either.
        let left = give_up_after.saturating_sub(renewed_at.elapsed());
        let renewal = store.renew(&leases, shared.settings.lease());
        match tokio::time::timeout(left, renewal).await {
            Ok(Ok(renewed)) => {
                renewed_at = sent_at;
                let renewed: HashMap<(RunId, u64), bool> = renewed
                    .into_iter()
                    .map(|one| ((one.run_id, one.epoch), one.cancel_requested))
                    .collect();
                for lease in &leases {
                    let held = shared.held();
                    let Some(signals) = held.get(lease) else { continue };
                    match renewed.get(&(lease.run_id, lease.epoch)) {
                        Some(true) => signals.cancel.cancel(),
                        Some(false) => {}
                        None => signals.abandon.cancel(),
                    }
                }
            }
            Ok(Err(error)) => {
                log_database(&error, "leases could not be renewed");
                if renewed_at.elapsed() > give_up_after {
                    shared.abandon_all();
                }
            }
            Err(_) => {
                tracing::warn!("leases were not renewed in time; all runs are abandoned");
                shared.abandon_all();
                renewed_at = Instant::now(); // Runs that are claimed from now on have leases of their own.
            }
        }
    }
}

/// What the node reports besides its tools. A provider's message may repeat secrets that it was given.
fn notes(runtime: &Runtime) -> CatalogNotes {
    let mut taught = runtime.parts.models.taught();
    for lesson in taught.iter_mut().flat_map(|model| &mut model.lessons) {
        runtime.parts.redactor.clean_known(lesson);
    }
    CatalogNotes { left_out: runtime.toolbox.left_out(), taught }
}

async fn report(shared: Arc<WorkerState>) {
    loop {
        report_once(&shared).await;
        tokio::select! {
            () = tokio::time::sleep(REPORT_EVERY) => {}
            () = done(&shared) => return,
        }
    }
}

async fn report_once(shared: &WorkerState) {
    let node = NodeReport {
        node_id: shared.node_id,
        version: shared.runtime.parts.version.to_owned(),
        concurrency: shared.settings.places(),
        running: u32::try_from(shared.runs.len()).unwrap_or(u32::MAX),
        tools: shared.runtime.toolbox.infos(),
        notes: notes(&shared.runtime),
    };
    metrics::gauge!("openintern_runs_in_hand").set(f64::from(node.running));
    if let Err(error) = shared.runtime.parts.store.report_node(&node).await {
        tracing::debug!(error = %error, "the heartbeat of this node was not written");
    }
}

async fn tidy_up(shared: Arc<WorkerState>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(jittered(TIDY_EVERY)) => {}
            () = shared.stopping.cancelled() => return,
        }
        if let Err(error) = shared.runtime.parts.store.tidy_up().await {
            tracing::debug!(error = %error, "expired rows could not be deleted; the next pass tries again");
        }
    }
}

/// Makes memories of completed runs, whichever worker completed them.
async fn remember_runs(shared: Arc<WorkerState>) {
    AfterRuns::new(&shared.runtime)
        .work(&shared.run_ended, || is_busy(&shared), &shared.stopping)
        .await;
}

/// Tells the other nodes what providers have taught this one, and hears what they have learnt.
async fn share_lessons(shared: Arc<WorkerState>) {
    loop {
        tokio::select! {
            () = shared.runtime.parts.models.lesson_learnt() => {}
            () = tokio::time::sleep(jittered(LESSONS_EVERY)) => {}
            () = done(&shared) => break,
        }
        exchange_lessons(&shared).await;
    }
    exchange_lessons(&shared).await; // The last run may have learnt something.
}

async fn exchange_lessons(shared: &WorkerState) {
    if let Err(error) = lessons::exchange(&shared.runtime.parts).await {
        log_database(&error, "what providers have taught could not be exchanged with other nodes");
    }
}

/// Hears which models have failed, on whichever node.
async fn hear_of_models(shared: Arc<WorkerState>) {
    let mut bell = shared.runtime.parts.store.watch_breakers();
    loop {
        hear_once(&shared).await;
        tokio::select! {
            () = bell.woken() => {}
            () = tokio::time::sleep(jittered(HEAR_EVERY)) => {}
            () = done(&shared) => return,
        }
    }
}

async fn hear_once(shared: &WorkerState) {
    if let Err(error) = shared.runtime.gate.hear().await {
        tracing::debug!(error = %error, "which models have failed could not be read");
    }
}

/// Lets calls through to providers with limits, each in its turn.
async fn give_turns(shared: Arc<WorkerState>) {
    let Runtime { gate, parts, .. } = &shared.runtime;
    let serve = join_all(gate.turnstiles().map(|turnstile| turnstile.serve(&parts.store)));
    tokio::select! {
        _ = serve, if gate.turnstiles().next().is_some() => {}
        () = done(&shared) => {}
    }
}

/// The worker is stopping and holds no run any more.
async fn done(shared: &WorkerState) {
    shared.stopping.cancelled().await;
    shared.runs.wait().await;
}

fn is_done(shared: &WorkerState) -> bool {
    shared.stopping.is_cancelled() && shared.runs.is_empty()
}

/// Up to a quarter longer, so that nodes do not poll in step.
fn jittered(time: Duration) -> Duration {
    let noise = Uuid::now_v7().as_u128() % 256;
    time + time.mul_f64(noise as f64 / 1024.0)
}
