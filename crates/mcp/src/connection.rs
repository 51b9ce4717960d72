//! The MCP conversation with one running server, through the SDK. Starts and stops no process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use rmcp::{
    ClientHandler, Peer, RoleClient,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, Implementation,
        JsonObject, MetaObject, PaginatedRequestParams, ProtocolVersion, RequestMetaObject, Tool,
    },
    service::{
        ClientInitializeError, ClientLifecycleMode, ClientServiceExt, NotificationContext,
        ServiceError,
    },
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{CallContext, CallError, CallResult},
    catalog::TOOLS_MAX,
    text::printable,
};

/// So many calls in a row without an answer, and the server is restarted.
const TIMEOUTS_MAX: u32 = 2;
/// Most pages of a tool list.
const PAGES_MAX: usize = 32;
/// Longest refusal that is handed on, in bytes.
const MESSAGE_MAX_BYTES: usize = 1024;

/// Asks one server. Cheap to clone; useless once its process has ended.
#[derive(Debug, Clone)]
pub(crate) struct ServerConnection {
    peer: Peer<RoleClient>,
    timeouts: Arc<AtomicU32>,
    unresponsive: CancellationToken,
}

/// The SDK's handle of the conversation. Dropping it closes the server's input.
pub(crate) struct Conversation {
    connection: ServerConnection,
    /// Owns the SDK's side, and is done when the server's output has been read to its end.
    finished: BoxFuture<'static, ()>,
}

/// Our side of what a server may tell us. What it may ask of us (sampling, roots) is refused.
#[derive(Debug)]
struct ServerEvents {
    tools_changed: Arc<Notify>,
}

impl ClientHandler for ServerEvents {
    fn get_info(&self) -> ClientConfig {
        let ours = Implementation::new("openintern", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), ours)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.tools_changed.notify_one();
    }
}

impl Conversation {
    /// Greets the server. It speaks the protocol of 2026-07-28, or an older one with `initialize`: this
    /// `version`, or one that it offers instead.
    ///
    /// `tools_changed` is rung when the server says that its tools are others now.
    pub(crate) async fn open(
        from_server: impl AsyncRead + Send + Unpin + 'static,
        to_server: impl AsyncWrite + Send + Unpin + 'static,
        version: ProtocolVersion,
        tools_changed: Arc<Notify>,
    ) -> Result<Self, String> {
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(version),
        };
        let service = ServerEvents { tools_changed }
            .serve_with_lifecycle((from_server, to_server), lifecycle)
            .await
            .map_err(|error| refusal(&error))?;
        let connection = ServerConnection {
            peer: service.peer().clone(),
            timeouts: Arc::default(),
            unresponsive: CancellationToken::new(),
        };
        Ok(Self { connection, finished: service.waiting().map(|_| ()).boxed() })
    }

    pub(crate) fn connection(&self) -> ServerConnection {
        self.connection.clone()
    }

    /// Waits until the server is of no more use, and returns the reason.
    pub(crate) async fn end(&mut self) -> &'static str {
        tokio::select! {
            () = &mut self.finished => "it closed its output",
            () = self.connection.unresponsive.cancelled() => "it left calls unanswered",
        }
    }
}

/// Why there is no conversation, in the server's own words where it has said some.
fn refusal(error: &ClientInitializeError) -> String {
    let told = match error {
        // What it says to the newest protocol says only that it does not know that.
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => fallback,
        error => error,
    };
    printable(&told.to_string(), MESSAGE_MAX_BYTES)
}

/// The newest version that a refusal of `tried` names, and that we speak.
pub(crate) fn version_named(words: &str, tried: &ProtocolVersion) -> Option<ProtocolVersion> {
    let known = ProtocolVersion::KNOWN_VERSIONS.iter().rev();
    let older = known.filter(|version| version.has_initialize() && *version != tried);
    older.into_iter().find(|version| words.contains(version.as_str())).cloned()
}

impl ServerConnection {
    /// All tools, page by page, bounded.
    pub(crate) async fn list_tools(&self) -> Result<Vec<Tool>, String> {
        let mut tools = Vec::new();
        let mut cursor = None;
        let mut seen = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut params = PaginatedRequestParams::default();
            params.cursor = cursor;
            let page = self
                .peer
                .list_tools(Some(params))
                .await
                .map_err(|error| printable(&error.to_string(), MESSAGE_MAX_BYTES))?;
            tools.extend(page.tools);
            // Some end the list with an empty cursor, and some with the one that they had given.
            let next = page.next_cursor.filter(|next| !next.is_empty() && !seen.contains(next));
            let Some(next) = next.filter(|_| tools.len() <= TOOLS_MAX) else { return Ok(tools) };
            seen.push(next.clone());
            cursor = Some(next);
        }
        Ok(tools)
    }

    /// One call. Giving it up, for whatever reason, tells the server so (`notifications/cancelled`).
    pub(crate) async fn call(
        &self,
        server: &str,
        tool: &str,
        args: JsonObject,
        after: Duration,
        context: &CallContext,
    ) -> Result<CallResult, CallError> {
        let mut meta = MetaObject::new();
        meta.insert("openintern/call-id".into(), Value::String(context.call_id.to_string()));
        let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
        params.meta = Some(RequestMetaObject(meta));
        // The SDK's future sends the cancellation when it is dropped unfinished.
        let answer = tokio::select! {
            answer = timeout(after, self.peer.call_tool_once(params)) => answer,
            () = context.cancel.cancelled() => return Err(CallError::Cancelled),
        };
        let Ok(answer) = answer else {
            if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_MAX {
                self.unresponsive.cancel();
            }
            return Err(CallError::Timeout { after });
        };
        self.timeouts.store(0, Ordering::Relaxed);
        match answer {
            Ok(CallToolResponse::Complete(result)) => Ok(CallResult::from_sdk(result)),
            Ok(_) => Err(CallError::Protocol {
                message: "it asks for input or offers a task, and neither was offered to it".into(),
            }),
            Err(error) => Err(call_error(server, error)),
        }
    }
}

fn call_error(server: &str, error: ServiceError) -> CallError {
    match error {
        ServiceError::McpError(error) => {
            CallError::Refused { message: printable(&error.message, MESSAGE_MAX_BYTES) }
        }
        ServiceError::TransportSend(_) | ServiceError::TransportClosed => {
            CallError::Lost { server: server.to_owned() }
        }
        other => CallError::Protocol { message: printable(&other.to_string(), MESSAGE_MAX_BYTES) },
    }
}
