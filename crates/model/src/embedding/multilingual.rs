//! Vectors of multilingual-e5-small, computed on this machine.
//!
//! A text takes a core for some milliseconds, so it works on threads of its own, never more at once
//! than there are cores: one text at a time for writers, so that searches find a free core. A batch that
//! nobody waits for any more ends after the current text.

use std::{path::Path, sync::Arc, thread::available_parallelism, time::Duration};

use e5::{
    encoder::Encoder,
    projection::{self, ProjectionMatrix},
    weights::WeightsError,
};
use futures::future::{BoxFuture, FutureExt};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    embedding::{Embedder, MULTILINGUAL, Purpose},
    error::ModelError,
};

/// How long a search waits for the vector of its question: some ten times what it takes on a busy
/// machine, and less than a model's answer. Source: judgement, see docs/memory.md.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Tokens of a question that count, about 60 words; the time it takes grows with them.
const QUESTION_TOKENS_MAX: usize = 80;
/// Passages that are embedded at the same time.
const PASSAGES_AT_ONCE: usize = 1;

/// The offline embedder that knows meanings.
pub struct Multilingual {
    id: String,
    engine: Arc<Engine>,
    /// Whoever came first goes first, so a question waits for one passage at most.
    cores: Arc<Semaphore>,
    passages: Arc<Semaphore>,
}

struct Engine {
    encoder: Encoder,
    projection: ProjectionMatrix,
}

impl Multilingual {
    /// Reads the weights, in about a tenth of a second.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let encoder = Encoder::load(path)?;
        let projection = ProjectionMatrix::built_in();
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            id: format!("{MULTILINGUAL}@{}+pca{}", projection::PROJECTED, projection::VERSION),
            engine: Arc::new(Engine { encoder, projection }),
            cores: Arc::new(Semaphore::new(cores)),
            passages: Arc::new(Semaphore::new(PASSAGES_AT_ONCE)),
        })
    }

    async fn embed_one(&self, text: &str, purpose: Purpose) -> Result<Vec<f32>, ModelError> {
        let stopped = || ModelError::protocol("the embedder stopped");
        // Prefixes as the model was trained with.
        let (prefix, tokens_max) = match purpose {
            Purpose::Query => ("query: ", QUESTION_TOKENS_MAX),
            Purpose::Passage => ("passage: ", self.engine.encoder.tokens_max()),
        };
        let alone = match purpose {
            Purpose::Query => None,
            Purpose::Passage => {
                Some(Arc::clone(&self.passages).acquire_owned().await.map_err(|_| stopped())?)
            }
        };
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| stopped())?;
        let (engine, text) = (Arc::clone(&self.engine), format!("{prefix}{text}"));
        let work = move || {
            let vector = engine.encoder.embed(&text, tokens_max);
            drop((core, alone));
            engine.projection.apply(&vector)
        };
        spawn_blocking(work).await.map_err(|_| stopped())
    }
}

impl Embedder for Multilingual {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        projection::PROJECTED
    }

    fn question_timeout(&self) -> Duration {
        QUESTION_TIMEOUT
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        async move {
            let mut vectors = Vec::with_capacity(texts.len());
            for text in texts {
                vectors.push(self.embed_one(text, purpose).await?);
            }
            Ok(vectors)
        }
        .boxed()
    }
}
