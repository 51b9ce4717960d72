//! A database that says nothing more: what it costs a caller, and what comes after.

use std::{
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::{Duration, Instant},
};

use protocol::error::UnavailableReason;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use store::{Store, error::StoreError, settings::StoreSettings};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    time::timeout,
};

use crate::{create, fresh_with_database, ours, scope};

/// What a statement may take, and some for a busy machine.
const SOON: Duration = Duration::from_secs(9);
const AT_ONCE: Duration = Duration::from_secs(3);

/// A way to the database on which every connection can fall silent, and stays so.
struct Way {
    url: String,
    silent: watch::Sender<bool>,
}

impl Way {
    async fn to(url: &str) -> Self {
        let options = PgConnectOptions::from_str(url).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at: SocketAddr = listener.local_addr().unwrap();
        let credentials = url.split_once('@').unwrap().0;
        let name = options.get_database().unwrap();
        let url = format!("{credentials}@{at}/{name}?sslmode=disable");
        let (silent, heard) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (options, heard) = (options.clone(), heard.clone());
                tokio::spawn(async move {
                    match options.get_socket() {
                        Some(folder) => {
                            let file = format!(".s.PGSQL.{}", options.get_port());
                            let far = UnixStream::connect(folder.join(file)).await.unwrap();
                            carry(near, far, heard).await;
                        }
                        None => {
                            let far = (options.get_host(), options.get_port());
                            carry(near, TcpStream::connect(far).await.unwrap(), heard).await;
                        }
                    }
                });
            }
        });
        Self { url, silent }
    }
}

async fn carry(
    mut near: TcpStream,
    mut far: impl AsyncRead + AsyncWrite + Unpin,
    mut silent: watch::Receiver<bool>,
) {
    let is_silent = tokio::select! {
        biased;
        said = silent.wait_for(|silent| *silent) => said.is_ok(),
        _ = copy_bidirectional(&mut near, &mut far) => false,
    };
    if is_silent {
        std::future::pending().await // Both ends stay open.
    }
}

/// A store with two connections, by such a way.
async fn store() -> (Store, Way) {
    let (near, database) = fresh_with_database().await;
    near.close().await;
    let way = Way::to(&database.app_url).await;
    let settings = StoreSettings { max_connections: 2, ..StoreSettings::new(way.url.clone()) };
    (Store::connect(&settings).await.unwrap(), way)
}

fn is_away<T>(answer: Result<T, StoreError>) -> bool {
    const NO_REASON: Option<UnavailableReason> = None;
    answer.is_err_and(|error| {
        matches!(error, StoreError::Unavailable(_)) && error.reason() == NO_REASON
    })
}

#[tokio::test]
async fn a_statement_ends_also_when_the_database_says_nothing() {
    let (store, way) = store().await;
    let run_id = create(&store).await;
    way.silent.send_replace(true);
    let began = Instant::now();
    let scoped = store.scoped(&ours());
    let (depth, run) = tokio::join!(store.queue_depth(), scoped.get_run(run_id));
    assert!(is_away(depth) && is_away(run));
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    way.silent.send_replace(false);
    let run = timeout(AT_ONCE, scoped.get_run(run_id)).await.expect("the silent ones are closed");
    assert_eq!(run.unwrap().run_id, run_id);
}

#[tokio::test]
async fn a_caller_that_stops_waiting_for_silence_takes_no_connection_along() {
    let (store, way) = store().await;
    let run_id = create(&store).await;
    let scoped = store.scoped(&ours());
    way.silent.send_replace(true);
    let impatience = Duration::from_millis(50);
    let (depth, run) = tokio::join!(
        timeout(impatience, store.queue_depth()),
        timeout(impatience, scoped.get_run(run_id)),
    );
    assert!(depth.is_err() && run.is_err());
    way.silent.send_replace(false);
    let again = async {
        while is_away(scoped.get_run(run_id).await) {} // Each waits for a connection.
        store.queue_depth().await.unwrap();
    };
    timeout(2 * SOON, again).await.expect("both connections are closed, and opened again");
}

#[tokio::test]
async fn a_store_is_closed_in_time_whatever_it_waits_for() {
    let (store, way) = store().await;
    way.silent.send_replace(true);
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.queue_depth().await }
    });
    tokio::task::yield_now().await;
    timeout(AT_ONCE, store.close()).await.expect("it is closed");
    assert!(is_away(waiting.await.unwrap()));
}

#[tokio::test]
async fn callers_that_stop_waiting_keep_their_places_until_they_are_answered() {
    let (near, database) = fresh_with_database().await;
    near.close().await;
    let settings = StoreSettings { max_connections: 4, ..StoreSettings::new(database.app_url) };
    let store = Store::connect(&settings).await.unwrap();
    let run_id = create(&store).await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let mut lock = admin.begin().await.unwrap();
    sqlx::query("lock table runs in access exclusive mode").execute(&mut *lock).await.unwrap();

    let impatience = Duration::from_millis(50);
    let scoped = store.scoped(&ours());
    for _ in 0..8 {
        assert!(timeout(impatience, scoped.get_run(run_id)).await.is_err());
    }
    let neighbour = store.scoped(&scope("org_b", "user_b", None));
    let core = timeout(AT_ONCE, neighbour.core_memories(100)).await;
    core.expect("another organisation finds a connection").unwrap();
}
