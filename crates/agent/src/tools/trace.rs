//! `export_trace`: the events of a run of the same scope, as the model may read them.

use futures::FutureExt;
use protocol::{page::PageLimit, tool::Effect};
use serde::Deserialize;
use serde_json::{Value, json};
use store::error::StoreError;

use super::builtin::{Builtin, BuiltinParts, ToolCaller, ToolError, info, parse};

/// Events of an export that names no `limit`.
const LIMIT_DEFAULT: u32 = 100;

pub(super) fn export() -> Builtin {
    Builtin {
        info: info(
            "export_trace",
            "Reads the trace of a run of this scope: its events in order. Without `run_id`, of this \
             run.",
            Effect::ReadOnly,
            json!({
                "run_id": {"type": "string",
                           "description": "Like `run_01kas5w4z8e5tv3k0v9x2m7qhd`."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 500,
                          "default": LIMIT_DEFAULT}
            }),
            &[],
        ),
        call: |parts, caller, args| export_trace(parts, caller, args).boxed(),
    }
}

#[derive(Deserialize)]
struct ExportTraceArgs {
    run_id: Option<String>,
    limit: Option<u32>,
}

async fn export_trace(
    parts: &BuiltinParts,
    caller: &ToolCaller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let args: ExportTraceArgs = parse(args)?;
    let absent = |text: &str| ToolError::Told(format!("there is no run `{text}`"));
    let run_id = match &args.run_id {
        Some(text) => text.parse().map_err(|_| absent(text))?,
        None => caller.run_id,
    };
    let limit = PageLimit::try_from(args.limit.unwrap_or(LIMIT_DEFAULT))
        .map_err(|error| ToolError::Told(error.to_string()))?;
    let scoped = parts.store.scoped(caller.scope);
    match scoped.list_events(run_id, 0, limit, &[]).await {
        Ok(page) => {
            Ok(json!({"run_id": run_id, "events": page.items, "more": page.next_cursor.is_some()}))
        }
        Err(StoreError::NotFound) => Err(absent(&run_id.to_string())),
        Err(other) => Err(other.into()),
    }
}
