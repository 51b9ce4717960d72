//! What the reading of a request's body shares with the guard around it: room for its bytes, and the
//! word that it has been read.

use std::{sync::Arc, time::Duration};

use axum::{body::HttpBody, extract::Request};
use tokio::sync::Notify;

use crate::{
    settings::ServerSettings,
    waiting_bytes::{ByteRoom, BytesOwner, NoRoom, WaitingBytes},
};

/// The request guard puts one into the extensions of each request.
#[derive(Clone)]
pub(crate) struct BodyReader {
    /// Longest wait for a whole body.
    pub(crate) patience: Duration,
    bytes: WaitingBytes,
    is_read: Arc<Notify>,
}

impl BodyReader {
    pub(crate) fn new(settings: &ServerSettings) -> Self {
        let gauge = metrics::gauge!("openintern_body_bytes_waiting");
        Self {
            patience: settings.body_read_timeout,
            bytes: WaitingBytes::new(settings.body_bytes, gauge),
            is_read: Arc::default(),
        }
    }

    /// One for a request of its own.
    pub(crate) fn for_request(&self, request: &Request) -> Self {
        let reader = Self { is_read: Arc::default(), ..self.clone() };
        if request.body().is_end_stream() {
            reader.is_done();
        }
        reader
    }

    /// Room for a body of so many bytes.
    pub(crate) async fn room(&self, owner: &BytesOwner, bytes: usize) -> Result<ByteRoom, NoRoom> {
        self.bytes.reserve(owner, bytes).await
    }

    /// The body has been read: from here on the client waits for us.
    pub(crate) fn is_done(&self) {
        self.is_read.notify_one();
    }

    /// Waits until the body has been read.
    pub(crate) async fn done(&self) {
        self.is_read.notified().await;
    }
}
