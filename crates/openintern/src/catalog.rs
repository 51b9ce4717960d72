//! `tools` and `agents`: what the server offers.

use protocol::{
    run::AgentInfo,
    tool::{CatalogNotes, Effect, ToolInfo, ToolSource},
};
use serde_json::Value;

use crate::{
    cli::Format,
    client::ApiClient,
    exit::{Abort, Exit, Failure},
    output::{Output, say},
};

pub(crate) async fn tools(
    client: &ApiClient,
    output: &mut Output,
    format: Format,
) -> Result<Exit, Abort> {
    let mut page: Value = client.get(&["api", "tools"], &[]).await?;
    let list = page.get_mut("tools").map(Value::take).unwrap_or_default();
    if format.json {
        return output.json(&list).map(|()| Exit::Done);
    }
    let notes: CatalogNotes = parsed(page)?;
    let row = |tool: ToolInfo| {
        let effect = match tool.effect {
            Effect::ReadOnly => "read_only",
            Effect::Idempotent => "idempotent",
            Effect::AtMostOnce => "at_most_once",
        };
        let source = match tool.source {
            ToolSource::Builtin => "builtin".to_owned(),
            ToolSource::Mcp { server } => server,
        };
        [tool.name, source, effect.to_owned(), tool.description]
    };
    let rows: Vec<_> = parsed::<Vec<_>>(list)?.into_iter().map(row).collect();
    output.table(["TOOL", "SOURCE", "EFFECT", "DESCRIPTION"], &rows)?;
    told(&notes).iter().for_each(|line| say(line));
    Ok(Exit::Done)
}

pub(crate) async fn agents(
    client: &ApiClient,
    output: &mut Output,
    format: Format,
) -> Result<Exit, Abort> {
    let list = list(client, "agents").await?;
    if format.json {
        return output.json(&list).map(|()| Exit::Done);
    }
    let row =
        |agent: AgentInfo| [agent.agent_id.to_string(), agent.models.join(", "), agent.description];
    let rows: Vec<_> = parsed::<Vec<_>>(list)?.into_iter().map(row).collect();
    output.table(["AGENT", "MODEL", "DESCRIPTION"], &rows)?;
    Ok(Exit::Done)
}

async fn list(client: &ApiClient, what: &str) -> Result<Value, Failure> {
    let mut answer: Value = client.get(&["api", what], &[]).await?;
    Ok(answer.get_mut(what).map(Value::take).unwrap_or_default())
}

/// Notes about the tools, one a line: those left out, and models that are asked in another way.
pub(crate) fn told(notes: &CatalogNotes) -> Vec<String> {
    let left_out = notes.left_out.iter();
    let left_out = left_out.map(|tool| format!("`{}` is left out: {}", tool.name, tool.reason));
    let taught = notes.taught.iter();
    let taught = taught.map(|taught| format!("{}: {}", taught.model, taught.lessons.join("; ")));
    left_out.chain(taught).collect()
}

fn parsed<T: serde::de::DeserializeOwned>(list: Value) -> Result<T, Failure> {
    serde_json::from_value(list).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot read the server's answer: {error}"))
    })
}
