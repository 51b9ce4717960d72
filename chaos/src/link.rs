//! A worker's connection to the database, which can fall silent, lose answers, or break. Data that
//! was held while it was silent arrives late, as packets do after an outage.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// As it should be.
    Open,
    /// Nothing passes, and nobody is told.
    Silent,
    /// The database hears everything, and its answers do not arrive.
    Deaf,
    /// Every connection breaks, and none can be made.
    Cut,
}

/// A way to the database; it ends when it is dropped.
pub(crate) struct Link {
    /// A URL for the worker.
    pub(crate) database_url: String,
    state: watch::Sender<LinkState>,
    task: JoinHandle<()>,
}

impl Link {
    /// An open way to the database of this URL, which names a socket's folder.
    pub(crate) async fn open(database_url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(database_url)?;
        let folder = options.get_socket().context("the database has a socket")?;
        let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let database_url = rerouted(database_url, &options, listener.local_addr()?)?;
        let (state, watched) = watch::channel(LinkState::Open);
        let task = tokio::spawn(accept(listener, socket, watched));
        Ok(Self { database_url, state, task })
    }

    pub(crate) fn become_state(&self, state: LinkState) {
        self.state.send_replace(state);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn rerouted(url: &str, options: &PgConnectOptions, to: SocketAddr) -> Result<String> {
    let (who, _) = url.split_once('@').context("the URL names a role")?;
    let database = options.get_database().context("the URL names a database")?;
    Ok(format!("{who}@{to}/{database}?sslmode=disable"))
}

async fn accept(listener: TcpListener, socket: PathBuf, state: watch::Receiver<LinkState>) {
    while let Ok((worker, _)) = listener.accept().await {
        let (socket, state) = (socket.clone(), state.clone());
        // A broken connection is what it is for.
        tokio::spawn(async move { pass(worker, &socket, state).await.ok() });
    }
}

async fn pass(
    worker: TcpStream,
    socket: &Path,
    mut state: watch::Receiver<LinkState>,
) -> Result<()> {
    if *state.borrow() == LinkState::Cut {
        return Ok(());
    }
    worker.set_nodelay(true)?;
    let (from_worker, to_worker) = worker.into_split();
    let (from_database, to_database) = UnixStream::connect(socket).await?.into_split();
    tokio::select! {
        asked = carry(from_worker, to_database, state.clone(), &[LinkState::Silent]) => asked,
        answered =
            carry(from_database, to_worker, state.clone(), &[LinkState::Silent, LinkState::Deaf]) => answered,
        cut = async { state.wait_for(|state| *state == LinkState::Cut).await.map(|_| ()) } => Ok(cut?),
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<LinkState>,
    held_in: &[LinkState],
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        state.wait_for(|state| !held_in.contains(state)).await?;
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}
