//! A TCP proxy that breaks connections: after a random number of bytes from the server it closes,
//! resets, or falls silent with the connection open.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use anyhow::Result;
use fastrand::Rng;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// Bytes that a connection carries before it breaks.
const BYTES: RangeInclusive<usize> = 200..=6_000;
/// How long a connection stays open and silent.
const SILENCE: Duration = Duration::from_secs(5);
/// Of so many connections one falls silent.
const SILENT_ONE_OF: u32 = 40;

/// A running proxy; it ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Passes on to `to`.
    pub(crate) async fn start(to: SocketAddr, mut dice: Rng) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let dice = dice.fork();
                // A broken connection is what it is for.
                tokio::spawn(async move { pass(client, to, dice).await.ok() });
            }
        });
        Ok(Self { url, task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr, mut dice: Rng) -> Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let (mut from_server, mut to_server) = server.split();
    let (mut from_client, mut to_client) = client.split();
    let mut left = dice.usize(BYTES);
    let answers = async {
        let mut buffer = [0; 4096];
        while left > 0 {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return Ok::<_, anyhow::Error>(());
            }
            let part = buffer.get(..read.min(left)).unwrap_or_default();
            to_client.write_all(part).await?;
            left -= part.len();
        }
        Ok(())
    };
    tokio::select! {
        answered = answers => answered?,
        _ = copy(&mut from_client, &mut to_server) => return Ok(()),
    }
    if dice.u32(..SILENT_ONE_OF) == 0 {
        sleep(SILENCE).await;
    } else if dice.bool() {
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?; // A reset, not an end.
    }
    Ok(())
}
