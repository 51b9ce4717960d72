//! Wakes tasks that wait for a row: at once in this process, within milliseconds on other nodes.
//!
//! It carries no data. The row is the truth: a task that is woken reads it, and one that is not reads
//! it a poll interval later. So a lost wake-up costs time, never an event.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use protocol::id::RunId;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::transaction::Database;

const CHANNEL: &str = "openintern";
/// Wake-ups that wait to be told to other nodes; what is more becomes one "look at everything".
const PENDING_MAX: usize = 4096;
/// How long wake-ups gather before they share a `NOTIFY`.
const GATHER: Duration = Duration::from_millis(20);
/// PostgreSQL refuses payloads of 8,000 bytes.
const PAYLOAD_MAX_BYTES: usize = 7900;
/// How long the listener waits before it opens a lost connection again.
const RECONNECT: Duration = Duration::from_millis(500);

/// What a waiter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A run became ready to be claimed.
    Queue,
    /// A run has new events.
    Run(RunId),
    /// A run was asked to stop.
    Cancel(RunId),
    /// A model's breaker has changed.
    Breakers,
}

/// Tells waiters to look again.
#[derive(Debug)]
pub struct Notifier {
    waiters: Arc<Waiters>,
    outgoing: mpsc::Sender<Subject>,
    stopped: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiters(Mutex<HashMap<Subject, watch::Sender<()>>>);

/// A wait for one subject. Wake-ups between two waits are one.
#[derive(Debug)]
pub struct Subscription {
    subject: Subject,
    waiters: Arc<Waiters>,
    woken: watch::Receiver<()>,
}

impl Subscription {
    /// Returns when the subject was woken since the last call.
    pub async fn woken(&mut self) {
        if self.woken.changed().await.is_err() {
            std::future::pending().await // The sender lives as long as we do.
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut map = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.get(&self.subject).is_some_and(|sender| sender.receiver_count() <= 1) {
            map.remove(&self.subject);
        }
    }
}

impl Notifier {
    /// Starts the two tasks that speak with other nodes.
    pub(crate) fn start(database: Database, direct: PgConnectOptions) -> Self {
        let (outgoing, pending) = mpsc::channel(PENDING_MAX);
        let waiters = Arc::new(Waiters::default());
        let stopped = CancellationToken::new();
        let node = Uuid::now_v7().simple().to_string();
        tokio::spawn(stopped.clone().run_until_cancelled_owned(tell(
            database,
            pending,
            node.clone(),
        )));
        tokio::spawn(stopped.clone().run_until_cancelled_owned(listen(
            PgPoolOptions::new().max_connections(1).connect_lazy_with(direct),
            Arc::clone(&waiters),
            node,
        )));
        Self { waiters, outgoing, stopped }
    }

    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Waits for a subject. Subscribe first, then read: what happens in between is not missed.
    pub fn subscribe(&self, subject: Subject) -> Subscription {
        let mut map = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = map.entry(subject).or_insert_with(|| watch::channel(()).0).subscribe();
        Subscription { subject, waiters: Arc::clone(&self.waiters), woken }
    }

    /// Wakes the waiters of a subject in this process alone.
    pub fn wake_here(&self, subject: Subject) {
        self.waiters.wake(subject);
    }

    /// Wakes the waiters of a subject. Call it after the commit.
    pub fn wake(&self, subject: Subject) {
        self.wake_here(subject);
        // Full: the waiters of other nodes find the row at their next poll.
        self.outgoing.try_send(subject).ok();
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

impl Waiters {
    fn wake(&self, subject: Subject) {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = map.get(&subject) {
            sender.send_replace(());
        }
    }

    fn wake_all(&self) {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in map.values() {
            sender.send_replace(());
        }
    }
}

/// Sends the first wake-up at once; those that come within [`GATHER`] after it share the next.
async fn tell(database: Database, mut pending: mpsc::Receiver<Subject>, node: String) {
    let mut batch = Vec::new();
    while pending.recv_many(&mut batch, PENDING_MAX).await > 0 {
        let payload = payload(&node, &mut batch);
        let query = sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(payload);
        if let Err(error) = database.call(query).await {
            tracing::debug!(error = %error, "other nodes were not woken; they poll");
        }
        tokio::time::sleep(GATHER).await;
    }
}

fn payload(node: &str, batch: &mut Vec<Subject>) -> String {
    let mut words: Vec<String> = batch.drain(..).map(|subject| subject.to_string()).collect();
    words.sort_unstable();
    words.dedup();
    let payload = format!("{node} {}", words.join(" "));
    if payload.len() <= PAYLOAD_MAX_BYTES { payload } else { format!("{node} *") }
}

async fn listen(pool: PgPool, waiters: Arc<Waiters>, node: String) {
    loop {
        if let Err(error) = listen_once(&pool, &waiters, &node).await {
            tracing::debug!(error = %error, "the listening connection was lost");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn listen_once(pool: &PgPool, waiters: &Waiters, node: &str) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    waiters.wake_all(); // Something may have been missed while nobody listened.
    loop {
        let Some(notification) = listener.try_recv().await? else {
            waiters.wake_all(); // Reconnected: the same.
            continue;
        };
        let mut words = notification.payload().split(' ');
        if words.next() == Some(node) {
            continue; // Our own: its waiters were woken directly.
        }
        for word in words {
            match word.parse() {
                Ok(subject) => waiters.wake(subject),
                Err(_) => waiters.wake_all(),
            }
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queue => f.write_str("queue"),
            Self::Run(id) => write!(f, "e:{id}"),
            Self::Cancel(id) => write!(f, "c:{id}"),
            Self::Breakers => f.write_str("breakers"),
        }
    }
}

impl FromStr for Subject {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word.split_once(':') {
            None if word == "queue" => Ok(Self::Queue),
            None if word == "breakers" => Ok(Self::Breakers),
            Some(("e", id)) => id.parse().map(Self::Run).map_err(|_| ()),
            Some(("c", id)) => id.parse().map(Self::Cancel).map_err(|_| ()),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_each_subject_once_or_says_everything() {
        let run = RunId::generate();
        let mut batch = vec![Subject::Queue, Subject::Run(run), Subject::Queue];
        assert_eq!(payload("n", &mut batch), format!("n e:{run} queue"));
        let mut many: Vec<_> = (0..400).map(|_| Subject::Run(RunId::generate())).collect();
        assert_eq!(payload("n", &mut many), "n *");
    }

    #[test]
    fn a_subject_survives_the_wire() {
        let run = RunId::generate();
        for subject in [Subject::Queue, Subject::Run(run), Subject::Cancel(run), Subject::Breakers]
        {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        assert_eq!("x:1".parse::<Subject>(), Err(()));
    }
}
