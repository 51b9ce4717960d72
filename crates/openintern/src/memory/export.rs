//! `memory export`: every memory of the scope, one JSON object a line, oldest first.
//!
//! Only one page is held at a time. `memory import` reads the same lines.

use protocol::{limits::PAGE_LIMIT_MAX, memory::WholeMemoryPage};

use crate::{
    cli::ExportMemoriesArgs,
    client::ApiClient,
    exit::{Abort, Exit, Failure},
    output::Output,
};

pub(super) async fn export(
    client: &ApiClient,
    output: &mut Output,
    args: ExportMemoriesArgs,
) -> Result<(), Abort> {
    let mut query = vec![("limit", PAGE_LIMIT_MAX.to_string())];
    query.extend(args.kind.map(|kind| ("type", kind.as_str().to_owned())));
    query.extend(args.group_key.map(|key| ("group_key", key)));
    let mut cursor = None;
    loop {
        let mut query = query.clone();
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: WholeMemoryPage = client.get(&["api", "memories", "export"], &query).await?;
        for memory in &page.memories {
            let line = serde_json::to_string(memory);
            let line = line.map_err(|error| Failure::from_error(Exit::Failed, &error))?;
            output.text(&(line + "\n"))?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
