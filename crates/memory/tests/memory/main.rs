//! The memory service on a real Postgres: what is written is found, edited and forgotten, by its
//! owner alone. What a search finds in large homes is in `tests/large_homes.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod after_runs;
mod bounds;
mod consolidation;
mod dates;
mod editing;
mod listing;
mod moving;
mod multilingual;
mod retrieval;
mod searching;
mod vectors;
mod visibility;
mod writing;

use memory::service::MemoryService;
use protocol::{
    id::MemoryId,
    memory::{EditMemory, Hit, MemoryType, SearchMemories, Visibility, WriteMemory},
    name::{OrgId, ProjectId, UserId},
    scope::Scope,
};
use serde_json::{Map, Value};
use store::{Store, connect::migrate, settings::StoreSettings};

async fn store() -> Store {
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    Store::connect(&StoreSettings::new(database.app_url)).await.unwrap()
}

async fn service() -> MemoryService {
    MemoryService::new(store().await, None)
}

fn scope(org: &str, user: &str, project: Option<&str>) -> Scope {
    Scope {
        org_id: OrgId::new(org).unwrap(),
        user_id: UserId::new(user).unwrap(),
        project_id: project.map(|project| ProjectId::new(project).unwrap()),
    }
}

fn mine() -> Scope {
    scope("acme", "ada", None)
}

/// Scopes that differ from [`mine`] in one part each.
fn strangers() -> [Scope; 3] {
    [scope("other", "ada", None), scope("acme", "bob", None), scope("acme", "ada", Some("p"))]
}

fn fact(text: &str) -> WriteMemory {
    WriteMemory::new(MemoryType::Archival, text)
}

fn on(day: &str, text: &str) -> WriteMemory {
    WriteMemory { occurred_at: Some(day.to_owned().try_into().unwrap()), ..fact(text) }
}

fn turn(group: &str, position: i32, text: &str) -> WriteMemory {
    WriteMemory { group_key: Some(group.into()), position: Some(position), ..fact(text) }
}

fn seen_by(visibility: Visibility, text: &str) -> WriteMemory {
    WriteMemory { visibility, ..fact(text) }
}

fn edit_of(text: &str) -> EditMemory {
    EditMemory { text: Some(text.into()), ..Default::default() }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn write(service: &MemoryService, memory: WriteMemory) -> MemoryId {
    service.write(&mine(), &memory, None).await.unwrap()
}

async fn find(service: &MemoryService, query: &str) -> Vec<Hit> {
    service.search(&mine(), &SearchMemories::new(query)).await.unwrap()
}

async fn found(service: &MemoryService, query: &str) -> Vec<String> {
    find(service, query).await.into_iter().map(|hit| hit.snippet).collect()
}
