//! Accepting connections. Our own loop, because `axum::serve` sets no timer: half a request head
//! would stay open for ever. HTTP/1.1 only; a proxy in front may speak anything to the outside.

use std::{io, sync::Arc};

use http::Request;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    app::{App, Dependencies},
    auth::access::PeerAddress,
    limits::{ACCEPT_REST, CONNECTION_BUFFER_BYTES, HEADERS_READ_MAX, STALLED_READER_TIMEOUT},
    router,
    settings::ServerSettings,
};

/// Serves until `shutdown`, then ends streams, lets open requests finish for a bounded time, and
/// returns.
pub async fn serve(
    listener: TcpListener,
    dependencies: Dependencies,
    settings: ServerSettings,
    shutdown: CancellationToken,
) {
    let app = App::new(dependencies, settings, shutdown);
    let router = router::router(app.clone());
    let http = protocol_settings(&app);
    let places = Arc::new(Semaphore::new(app.settings.connections_max));
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some((stream, peer, place)) =
        app.shutdown.run_until_cancelled(next_connection(&listener, &places)).await
    {
        let service = TowerToHyperService::new(router.clone().map_request(named(peer)));
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        let cut = cut.clone();
        connections.spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled(watched).await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener); // From here on the system refuses new connections.
    let deadline = Instant::now() + app.settings.drain_max;
    app.tasks.close();
    connections.close();
    let drained = async {
        graceful.shutdown().await;
        app.tasks.wait().await;
    };
    if timeout_at(deadline, drained).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "some connections did not end in time and are closed"
        );
    }
    cut.cancel();
    connections.wait().await;
}

fn protocol_settings(app: &App) -> auto::Builder<TokioExecutor> {
    // Detecting the protocol would wait for a first byte without a timer.
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.header_read_timeout)
        .max_headers(HEADERS_READ_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES);
    http
}

async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, PeerAddress, Option<tokio::sync::OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = prepare(&stream) {
                    tracing::debug!(%error, "a connection was gone before it began");
                    continue;
                }
                return (stream, PeerAddress(peer.ip()), place);
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted for now");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Adds the address of the peer to every request.
fn named<B>(peer: PeerAddress) -> impl Fn(Request<B>) -> Request<B> + Clone {
    move |mut request| {
        request.extensions_mut().insert(peer);
        request
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?; // Deltas are small and must not wait for an acknowledgement.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(STALLED_READER_TIMEOUT))?;
    Ok(())
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
