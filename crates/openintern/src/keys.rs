//! `keys`: API keys from the shell. Every command asks a server, except the one that makes the first
//! key of an organisation: without a key, no request would be accepted.

use protocol::{
    key::{ApiKey, CreateKey, KeyCreated, KeyPage, Right},
    name::{OrgId, ProjectId, UserId},
    time::Timestamp,
};
use serde_json::json;
use store::{Store, connect::migrate, settings::StoreSettings};

use crate::{
    cli::{CreateKeyArgs, KeyRef, KeysCommand, ListKeysArgs, NodeArgs},
    client::ApiClient,
    config::{self, Environment},
    exit::{Abort, Exit, Failure},
    input,
    node::database_failure,
    output::{Output, say},
    runs::say_more,
    serve::database_urls,
};

/// The actor in the audit of a key that was made without a server.
const OPERATOR: &str = "operator";

pub(crate) async fn keys(
    client: impl Fn() -> Result<ApiClient, Failure>,
    output: &mut Output,
    command: KeysCommand,
    environment: &Environment,
) -> Result<Exit, Abort> {
    match command {
        KeysCommand::Create(args) => create(client, output, args, environment).await?,
        KeysCommand::List(args) => list(&client()?, output, args).await?,
        KeysCommand::Revoke(args) => revoke(&client()?, output, args).await?,
    }
    Ok(Exit::Done)
}

async fn create(
    client: impl Fn() -> Result<ApiClient, Failure>,
    output: &mut Output,
    args: CreateKeyArgs,
    environment: &Environment,
) -> Result<(), Abort> {
    let is_admin = args.admin;
    let body = CreateKey {
        name: args.name,
        user_id: args.user,
        project_id: args.project,
        rights: if is_admin { Right::Admin.into() } else { args.rights.into_iter().collect() },
        expires_at: args.expires_at.as_deref().map(instant).transpose()?,
    };
    body.check().map_err(input::faults)?;
    let created = match args.org {
        Some(org) if is_admin => {
            let node = NodeArgs { config: args.config, ..NodeArgs::default() };
            create_in_database(&org, &body, &node, environment).await?
        }
        _ => client()?.post::<KeyCreated>(&["api", "keys"], &body).await?,
    };
    if args.format.json {
        return output.json(&created);
    }
    let ApiKey { key_id, org_id, rights, .. } = &created.info;
    say(&format!("{key_id} of {org_id}, for {}", rights.words().join(", ")));
    say("the key is shown only this once:");
    output.line(&created.key)
}

/// Makes the key in the database itself: the right to write there takes the place of a key.
async fn create_in_database(
    org: &OrgId,
    body: &CreateKey,
    node: &NodeArgs,
    environment: &Environment,
) -> Result<KeyCreated, Failure> {
    let urls = database_urls(&config::load(node, environment)?.config)?;
    migrate(&urls.migrate).await.map_err(database_failure)?;
    let settings = StoreSettings { direct_url: urls.direct, ..StoreSettings::new(urls.url) };
    let store = Store::connect(&settings).await.map_err(database_failure)?;
    let created = store.create_key(org, OPERATOR, body).await;
    store.close().await;
    created.map_err(|error| Failure::from_error(Exit::Failed, &error))
}

async fn list(client: &ApiClient, output: &mut Output, args: ListKeysArgs) -> Result<(), Abort> {
    let mut query = vec![("limit", args.page.limit.to_string())];
    query.extend(args.page.cursor.map(|cursor| ("cursor", cursor)));
    let page: KeyPage = client.get(&["api", "keys"], &query).await?;
    if args.format.json {
        output.json(&page.keys)?;
    } else {
        let rows: Vec<_> = page.keys.iter().map(row).collect();
        output.table(["KEY", "PREFIX", "FOR", "RIGHTS", "LAST USED", "ENDS", "NAME"], &rows)?;
    }
    say_more(page.next_cursor.as_deref());
    Ok(())
}

async fn revoke(client: &ApiClient, output: &mut Output, args: KeyRef) -> Result<(), Abort> {
    client.delete(&["api", "keys", &args.key_id.to_string()]).await?;
    match args.format.json {
        true => output.json(&json!({ "key_id": args.key_id })),
        false => output.line(&format!("{} is revoked", args.key_id)),
    }
}

fn row(key: &ApiKey) -> [String; 7] {
    let user = key.user_id.as_ref().map_or("any user", UserId::as_str);
    let project =
        key.project_id.as_ref().map_or(String::new(), |id| format!("/{}", ProjectId::as_str(id)));
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    let ends = match key.revoked_at {
        Some(at) => format!("revoked {at}"),
        None => time(key.expires_at),
    };
    [
        key.key_id.to_string(),
        key.prefix.clone(),
        format!("{user}{project}"),
        key.rights.words().join(","),
        time(key.last_used_at),
        ends,
        key.name.clone(),
    ]
}

fn instant(text: &str) -> Result<Timestamp, Failure> {
    serde_json::from_value(text.into())
        .map_err(|error| Failure::new(Exit::Usage, format!("--expires-at: {error}")))
}
