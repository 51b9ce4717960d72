//! Texts into vectors: an endpoint that speaks OpenAI's form, or hashing, which works offline.
//!
//! Vectors are of length 1, never zero. Those of different [`Embedder::id`]s must not be compared.

mod endpoint;
mod hashed;

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Deserialize;

use crate::{
    error::{ModelError, SettingsError},
    settings::{Kind, Provider},
};

pub use hashed::Hashed;

/// The embedder when none is configured.
pub const EMBEDDING_DEFAULT: &str = "local/hashed";
/// Dimensions when none are configured.
pub const DIMENSIONS_DEFAULT: usize = 256;
/// Most dimensions.
pub const DIMENSIONS_MAX: usize = 4096;

/// Turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// Model and projection: vectors are comparable only under the same id.
    fn id(&self) -> &str;
    /// The length of every vector.
    fn dimensions(&self) -> usize;
    /// One vector for each text, in order. Fails as a whole.
    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>>;
}

/// What a vector is for; some models want to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To search with.
    Query,
    /// To be found.
    Passage,
}

/// The `[embedding]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingSettings {
    /// `<provider>/<model>`; default `local/hashed`, which works offline.
    pub model: Option<String>,
    /// Dimensions to keep. Default 256.
    pub dimensions: Option<usize>,
    /// How a longer vector becomes one of `dimensions`. Default `server`.
    pub projection: Projection,
    /// Put before a text to search with; for E5 models `query: ` by default.
    pub query_prefix: Option<String>,
    /// Put before a text to be found; for E5 models `passage: ` by default.
    pub passage_prefix: Option<String>,
}

/// How a vector gets the dimensions that we keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// The server is asked for that many.
    #[default]
    Server,
    /// The server's vectors have that many by nature; it is not asked.
    None,
    /// A fixed random projection of the server's longer vectors.
    Random,
}

/// The embedder that the settings name.
pub(crate) fn embedder(
    settings: &EmbeddingSettings,
    client: &reqwest::Client,
    find: impl Fn(&str) -> Option<Arc<Provider>>,
) -> Result<Arc<dyn Embedder>, SettingsError> {
    let dimensions = settings.dimensions.unwrap_or(DIMENSIONS_DEFAULT);
    if !(8..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(SettingsError::new(
            "embedding.dimensions",
            format!("must be 8 to {DIMENSIONS_MAX}"),
        ));
    }
    let wrong = |problem: String| SettingsError::new("embedding.model", problem);
    let name = settings.model.as_deref().unwrap_or(EMBEDDING_DEFAULT);
    if name == EMBEDDING_DEFAULT {
        return Ok(Arc::new(Hashed::new(dimensions)));
    }
    let (provider_name, model) = name
        .split_once('/')
        .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        .ok_or_else(|| wrong(format!("`{name}` is not of the form `<provider>/<model>`")))?;
    let provider = find(provider_name)
        .ok_or_else(|| wrong(format!("provider `{provider_name}` is unknown")))?;
    match provider.kind {
        Kind::OpenAi if provider.is_configured() => {}
        Kind::OpenAi => return Err(wrong(format!("provider `{provider_name}` has no API key"))),
        Kind::Anthropic | Kind::Demo => {
            return Err(wrong(format!("provider `{provider_name}` has no embeddings")));
        }
    }
    Ok(Arc::new(endpoint::Endpoint::new(client.clone(), provider, model, name, settings)))
}

/// Makes the length 1; `None` when there is no direction to keep.
fn normalised(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return None;
    }
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    Some(vector)
}
