//! `memory`: memories from the shell.

mod export;
mod import;

use protocol::memory::{
    Consolidate, Consolidated, EditMemory, Hit, Hits, Memory, MemoryFilters, MemoryLink,
    MemoryPage, MemorySummary, MemoryWritten, OccurredAt, RetrieverScore, SearchMemories,
    WriteMemory,
    version::{MemoryVersion, MemoryVersionPage},
};
use serde_json::Value;

use crate::{
    cli::{
        ConsolidateArgs, EditArgs, ListMemoriesArgs, MarkArgs, MemoryRef, ScopeMemoryCommand,
        SearchArgs, VersionsArgs, WriteArgs,
    },
    client::ApiClient,
    exit::{Abort, Exit, Failure},
    input,
    output::{Output, say},
    runs::say_more,
};

pub(crate) async fn memory(
    client: &ApiClient,
    output: &mut Output,
    command: ScopeMemoryCommand,
) -> Result<Exit, Abort> {
    match command {
        ScopeMemoryCommand::Search(args) => search(client, output, args).await?,
        ScopeMemoryCommand::Get(args) => get(client, output, args).await?,
        ScopeMemoryCommand::Write(args) => write(client, output, args).await?,
        ScopeMemoryCommand::Edit(args) => edit(client, output, args).await?,
        ScopeMemoryCommand::List(args) => list(client, output, args).await?,
        ScopeMemoryCommand::Versions(args) => versions(client, output, args).await?,
        ScopeMemoryCommand::Delete(args) => delete(client, output, args).await?,
        ScopeMemoryCommand::Export(args) => export::export(client, output, args).await?,
        ScopeMemoryCommand::Import(args) => import::import(client, output, args).await?,
        ScopeMemoryCommand::Consolidate(args) => consolidate(client, output, args).await?,
    }
    Ok(Exit::Done)
}

async fn search(client: &ApiClient, output: &mut Output, args: SearchArgs) -> Result<(), Abort> {
    let filters = MemoryFilters {
        kinds: (!args.kinds.is_empty()).then_some(args.kinds),
        group_key: args.group_key,
        ..MemoryFilters::default()
    };
    let body = SearchMemories {
        query: args.query,
        top_k: args.top_k,
        filters: (filters != MemoryFilters::default()).then_some(filters),
        timezone: args.timezone,
        explain: args.explain,
    };
    body.check().map_err(input::faults)?;
    let found: Hits = client.post(&["api", "memories", "search"], &body).await?;
    if args.format.json {
        return output.json(&found.hits);
    }
    let row = |hit: &Hit| {
        [
            format!("{:.2}", hit.score),
            date(hit),
            hit.kind.as_str().to_owned(),
            hit.id.to_string(),
            hit.snippet.clone(),
        ]
    };
    let explained = |hit: &Hit| {
        let explanation = hit.explain.clone().unwrap_or_default();
        let score = |of: &RetrieverScore| {
            of.rank.map_or_else(|| "–".to_owned(), |rank| format!("#{rank} {:.2}", of.value))
        };
        let [total, date, kind, id, snippet] = row(hit);
        let (lexical, vector) = (score(&explanation.lexical), score(&explanation.vector));
        [total, lexical, vector, explanation.matched_terms.join(" "), date, kind, id, snippet]
    };
    if args.explain {
        let rows: Vec<_> = found.hits.iter().map(explained).collect();
        output.table(["SCORE", "WORDS", "VECTOR", "TERMS", "DATE", "TYPE", "ID", "SNIPPET"], &rows)
    } else {
        let rows: Vec<_> = found.hits.iter().map(row).collect();
        output.table(["SCORE", "DATE", "TYPE", "ID", "SNIPPET"], &rows)
    }
}

/// When it happened or, if that is unknown, was written.
fn date(hit: &Hit) -> String {
    let written = || hit.created_at.get().strftime("%Y-%m-%d").to_string();
    hit.occurred_at.map_or_else(written, |at| at.day().to_string())
}

async fn get(client: &ApiClient, output: &mut Output, args: MemoryRef) -> Result<(), Abort> {
    let path = ["api", "memories", &args.id.to_string()];
    if args.format.json {
        return output.json(&client.get::<Value>(&path, &[]).await?);
    }
    let memory: Memory = client.get(&path, &[]).await?;
    output.text(&(memory.text + "\n"))
}

async fn write(client: &ApiClient, output: &mut Output, args: WriteArgs) -> Result<(), Abort> {
    let mut body = WriteMemory::new(args.kind, input::text(args.text)?);
    let changes = marks(&args.marks)?;
    body.metadata = changes.metadata;
    body.importance = changes.importance.unwrap_or(body.importance);
    body.visibility = changes.visibility.unwrap_or_default();
    body.group_key = args.group_key;
    body.position = args.position;
    body.occurred_at = args
        .occurred_at
        .map(OccurredAt::try_from)
        .transpose()
        .map_err(|error| Failure::new(Exit::Usage, format!("--occurred-at {error}")))?;
    body.check("").map_err(input::faults)?;
    let written: MemoryWritten = client.post(&["api", "memories"], &body).await?;
    match args.format.json {
        true => output.json(&written),
        false => output.line(&written.id.to_string()),
    }
}

async fn edit(client: &ApiClient, output: &mut Output, args: EditArgs) -> Result<(), Abort> {
    let text = args.text.map(input::text).transpose()?;
    let body = EditMemory { text, ..marks(&args.marks)? };
    body.check().map_err(input::faults)?;
    let path = ["api", "memories", &args.id.to_string()];
    let memory: Value = client.patch(&path, &body).await?;
    match args.format.json {
        true => output.json(&memory),
        false => output.line(&args.id.to_string()),
    }
}

async fn list(
    client: &ApiClient,
    output: &mut Output,
    args: ListMemoriesArgs,
) -> Result<(), Abort> {
    let mut query = vec![("limit", args.page.limit.to_string())];
    query.extend(args.kind.map(|kind| ("type", kind.as_str().to_owned())));
    query.extend(args.group_key.map(|key| ("group_key", key)));
    query.extend(args.page.cursor.map(|cursor| ("cursor", cursor)));
    let page: MemoryPage = client.get(&["api", "memories"], &query).await?;
    if args.format.json {
        output.json(&page.memories)?;
    } else {
        let row = |memory: &MemorySummary| {
            [
                memory.id.to_string(),
                memory.kind.as_str().to_owned(),
                memory.visibility.to_string(),
                memory.created_at.to_string(),
                memory.snippet.clone(),
            ]
        };
        let rows: Vec<_> = page.memories.iter().map(row).collect();
        output.table(["ID", "TYPE", "SEEN BY", "CREATED", "SNIPPET"], &rows)?;
    }
    say_more(page.next_cursor.as_deref());
    Ok(())
}

async fn versions(
    client: &ApiClient,
    output: &mut Output,
    args: VersionsArgs,
) -> Result<(), Abort> {
    let mut query = vec![("limit", args.page.limit.to_string())];
    query.extend(args.page.cursor.map(|cursor| ("cursor", cursor)));
    let path = ["api", "memories", &args.id.to_string(), "versions"];
    let page: MemoryVersionPage = client.get(&path, &query).await?;
    if args.format.json {
        output.json(&page.versions)?;
    } else {
        let row = |version: &MemoryVersion| {
            [
                version.version.to_string(),
                version.replaced_at.to_string(),
                version.replaced_by.clone().unwrap_or_else(|| "–".into()),
                version.text.clone(),
            ]
        };
        let rows: Vec<_> = page.versions.iter().map(row).collect();
        output.table(["VERSION", "REPLACED", "BY", "TEXT"], &rows)?;
    }
    say_more(page.next_cursor.as_deref());
    Ok(())
}

async fn delete(client: &ApiClient, output: &mut Output, args: MemoryRef) -> Result<(), Abort> {
    client.delete(&["api", "memories", &args.id.to_string()]).await?;
    match args.format.json {
        true => output.json(&serde_json::json!({ "id": args.id })),
        false => output.line(&format!("{} is forgotten", args.id)),
    }
}

/// Pass after pass until nothing is left to look at; a dry run is one pass, since it marks nothing.
async fn consolidate(
    client: &ApiClient,
    output: &mut Output,
    args: ConsolidateArgs,
) -> Result<(), Abort> {
    let body = Consolidate { dry_run: args.dry_run };
    let mut links = Vec::new();
    let mut looked_at = 0;
    loop {
        let path = ["api", "memories", "consolidate"];
        let done: Consolidated = client.post(&path, &body).await?;
        looked_at += done.looked_at;
        links.extend(done.links);
        if !done.more || args.dry_run {
            break;
        }
    }
    say(&format!("looked at {looked_at} memories"));
    if args.format.json {
        return output.json(&links);
    }
    let row = |link: &MemoryLink| {
        let kind = link.kind.as_str().to_owned();
        [link.from.to_string(), kind, link.to.to_string(), format!("{:.2}", link.score)]
    };
    let rows: Vec<_> = links.iter().map(row).collect();
    output.table(["MEMORY", "IS", "OF OR BY", "SCORE"], &rows)
}

fn marks(args: &MarkArgs) -> Result<EditMemory, Failure> {
    let metadata = args.metadata.as_deref().map(input::metadata).transpose()?;
    let MarkArgs { importance, visibility, .. } = *args;
    Ok(EditMemory { text: None, metadata, importance, visibility })
}
