//! The offline embedder, for tests of what it finds and not of how fast it is.

use std::{path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use model::{
    embedding::{Embedder, Multilingual, Purpose},
    error::ModelError,
};

/// `make deps` fetches its weights.
pub(crate) fn multilingual() -> Arc<dyn Embedder> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/embedder");
    let embedder = Multilingual::load(&folder.join("e5-small-q4.bin"));
    Arc::new(Patient(embedder.expect("`scripts/fetch-embedder.sh` fetches the weights")))
}

/// The offline embedder, given all the time that a busy machine needs.
struct Patient(Multilingual);

impl Embedder for Patient {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn dimensions(&self) -> usize {
        self.0.dimensions()
    }

    fn question_timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        self.0.embed(texts, purpose)
    }
}
