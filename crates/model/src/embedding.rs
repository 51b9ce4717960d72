//! From texts to vectors: multilingual-e5-small on this machine, an endpoint that speaks OpenAI's wire
//! format, or hashing, which needs neither.
//!
//! Vectors are of length 1, never zero. Those of different [`Embedder::id`]s must not be compared.

mod endpoint;
mod hashed;
mod multilingual;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::Deserialize;

use crate::{
    error::{ModelError, SettingsError},
    settings::{Provider, WireFormat},
};

pub use hashed::Hashed;
pub use multilingual::Multilingual;

/// The embedder that needs no weights: the default where those of [`MULTILINGUAL`] are not installed.
pub const HASHED: &str = "local/hashed";
/// The embedder that knows meanings without a network: the default where its weights are installed.
pub const MULTILINGUAL: &str = "local/multilingual-e5-small";
/// Dimensions when none are configured.
pub const DIMENSIONS_DEFAULT: usize = 256;
pub const DIMENSIONS_MAX: usize = 4096;
/// How long a search waits for the vector of its question. Source: judgement, see docs/memory.md.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(400);

/// Turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// Model and projection: vectors are comparable only under the same id.
    fn id(&self) -> &str;
    /// The length of every vector.
    fn dimensions(&self) -> usize;
    /// How long a search should wait for the vector of its question.
    fn question_timeout(&self) -> Duration {
        QUESTION_TIMEOUT
    }
    /// One vector for each text, in order. Fails as a whole.
    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>>;
}

/// What a vector is for; some models need to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Query,
    Passage,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingSettings {
    /// `<provider>/<model>`. When absent: `local/multilingual-e5-small` if there are weights, else
    /// `local/hashed`; both work offline.
    pub model: Option<String>,
    /// The weights of `local/multilingual-e5-small`, a file.
    pub weights: Option<PathBuf>,
    /// Dimensions to keep.
    pub dimensions: usize,
    /// How a longer vector becomes one of `dimensions`. Default `server`.
    pub projection: ProjectionMode,
    /// Put before a text to search with; for E5 models `query: ` by default.
    pub query_prefix: Option<String>,
    /// Put before a text to be found; for E5 models `passage: ` by default.
    pub passage_prefix: Option<String>,
}

impl Default for EmbeddingSettings {
    fn default() -> Self {
        Self {
            model: None,
            weights: None,
            dimensions: DIMENSIONS_DEFAULT,
            projection: ProjectionMode::default(),
            query_prefix: None,
            passage_prefix: None,
        }
    }
}

/// How a vector is reduced to the dimensions that we keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionMode {
    /// The server is asked for that many.
    #[default]
    Server,
    /// The server's vectors have that many anyway; it is not asked to reduce them.
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
    let dimensions = settings.dimensions;
    if !(8..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(SettingsError::new(
            "embedding.dimensions",
            format!("must be 8 to {DIMENSIONS_MAX}"),
        ));
    }
    let wrong = |problem: String| SettingsError::new("embedding.model", problem);
    let default = if settings.weights.is_some() { MULTILINGUAL } else { HASHED };
    let name = settings.model.as_deref().unwrap_or(default);
    if name == HASHED {
        return Ok(Arc::new(Hashed::new(dimensions)));
    }
    if name == MULTILINGUAL {
        return Ok(Arc::new(multilingual(settings, dimensions)?));
    }
    let (provider_name, model) = name
        .split_once('/')
        .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        .ok_or_else(|| wrong(format!("`{name}` is not of the form `<provider>/<model>`")))?;
    let provider = find(provider_name)
        .ok_or_else(|| wrong(format!("provider `{provider_name}` is unknown")))?;
    match provider.kind {
        WireFormat::OpenAi if provider.is_configured() => {}
        WireFormat::OpenAi => {
            return Err(wrong(format!("provider `{provider_name}` has no API key")));
        }
        WireFormat::Anthropic | WireFormat::Demo => {
            return Err(wrong(format!("provider `{provider_name}` has no embeddings")));
        }
    }
    Ok(Arc::new(endpoint::Endpoint::new(client.clone(), provider, model, name, settings)))
}

fn multilingual(
    settings: &EmbeddingSettings,
    dimensions: usize,
) -> Result<Multilingual, SettingsError> {
    if dimensions != DIMENSIONS_DEFAULT {
        let problem = format!("must be {DIMENSIONS_DEFAULT} for `{MULTILINGUAL}`");
        return Err(SettingsError::new("embedding.dimensions", problem));
    }
    let path = settings.weights.as_deref().ok_or_else(|| {
        SettingsError::new("embedding.model", format!("`{MULTILINGUAL}` has no weights"))
            .hint(Some("`openintern embedder install` fetches them".into()))
    })?;
    Multilingual::load(path).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let problem = format!("`{}`: {error}{}", path.display(), cause.unwrap_or_default());
        SettingsError::new("embedding.weights", problem)
    })
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
