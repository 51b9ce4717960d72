//! From a text to what is stored of it: chunks, terms, vectors, hash; and the validation of a text.

use jiff::Zoned;
use protocol::{
    error::FieldError,
    memory::{EditMemory, MemoryFilters, OccurredAt, WriteMemory},
};
use sha2::{Digest, Sha256};
use store::memories::{Content, NewChunk};
use unicode_normalization::UnicodeNormalization;

use crate::{analysis::Analyzer, chunk::chunks, embed::TimedEmbedder};

/// Cuts, analyses and embeds texts, each with when it happened.
pub(super) async fn contents(
    embedder: &TimedEmbedder,
    texts: Vec<(String, Option<Zoned>)>,
) -> Vec<Content> {
    let mut contents = contents_by_words(texts).await;
    let Some(embedding_model) = embedder.id() else { return contents };
    let passages: Vec<_> =
        contents.iter().flat_map(|content| &content.chunks).map(|c| c.text.clone()).collect();
    let mut vectors = embedder.passages(&passages).await.into_iter();
    for content in &mut contents {
        content.embedding_model = Some(embedding_model.to_owned());
        for chunk in &mut content.chunks {
            chunk.embedding = vectors.next().flatten();
        }
    }
    contents
}

/// The text of a memory to write, with when it happened.
pub(super) fn dated(memory: &WriteMemory) -> (String, Option<Zoned>) {
    (memory.text.clone(), memory.occurred_at.and_then(OccurredAt::zoned))
}

/// Cuts and analyses texts, and leaves their vectors to be made later.
pub(super) async fn contents_by_words(texts: Vec<(String, Option<Zoned>)>) -> Vec<Content> {
    run_blocking(move || {
        texts
            .into_iter()
            .map(|(text, happened)| by_words(text, happened.as_ref()))
            .collect::<Vec<_>>()
    })
    .await
}

/// Runs work that keeps a core busy on a blocking thread.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

fn by_words(text: String, happened: Option<&Zoned>) -> Content {
    let analyzer = Analyzer::load();
    let chunks = chunks(&text)
        .into_iter()
        .map(|chunk| NewChunk {
            text: chunk.text.to_owned(),
            terms: analyzer.text_terms(chunk.text, happened).into_iter().collect(),
            embedding: None,
        })
        .collect();
    let text_hash = sha256(&without_form(&text));
    Content { text, text_hash, chunks, embedding_model: None }
}

/// The text without differences of spacing and of Unicode form that nobody sees: `10⁶` is not `106`.
fn without_form(text: &str) -> String {
    let text: String = text.nfc().collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Everything that is wrong with a memory to write, each field under `at`.
pub fn faults(memory: &WriteMemory, at: &str) -> Vec<FieldError> {
    let mut faults = memory.check(at).err().unwrap_or_default();
    let metadata = memory.metadata.as_ref().map(|map| serde_json::Value::Object(map.clone()));
    faults.extend(nul_fault(Some(&memory.text), &format!("{at}/text")));
    faults.extend(nul_fault(memory.group_key.as_ref(), &format!("{at}/group_key")));
    faults.extend(metadata.filter(has_nul).map(|_| nul(&format!("{at}/metadata"))));
    faults
}

/// Everything that is wrong with a change to a memory.
pub(super) fn edit_faults(edit: &EditMemory) -> Vec<FieldError> {
    let mut faults = edit.check().err().unwrap_or_default();
    let metadata = edit.metadata.as_ref().map(|map| serde_json::Value::Object(map.clone()));
    faults.extend(nul_fault(edit.text.as_ref(), "/text"));
    faults.extend(metadata.filter(has_nul).map(|_| nul("/metadata")));
    faults
}

fn nul_fault(text: Option<&String>, at: &str) -> Option<FieldError> {
    text.filter(|text| text.contains('\0')).map(|_| nul(at))
}

fn nul(at: &str) -> FieldError {
    FieldError::new(at, "must not contain the character U+0000")
}

/// Whether filters name the one character that PostgreSQL cannot keep: then they match nothing.
pub(super) fn names_nul(filters: &MemoryFilters) -> bool {
    let metadata = filters.metadata.as_ref().map(|map| serde_json::Value::Object(map.clone()));
    filters.group_key.as_ref().is_some_and(|key| key.contains('\0'))
        || metadata.is_some_and(|metadata| has_nul(&metadata))
}

/// Whether a name or a text within has that character.
fn has_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(has_nul),
        serde_json::Value::Object(map) => {
            map.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            false
        }
    }
}
