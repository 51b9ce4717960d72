//! `memory reindex`: gives all memories new vectors by the configured embedder, which then becomes
//! the embedder of this database.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cli::NodeArgs,
    config::{self, Environment, Loaded},
    dev::DatabaseHandle,
    exit::{Abort, Exit, Failure},
    logging::{self, Usual},
    node::{self, database_failure},
    output::{Output, say},
    shutdown,
};
use memory::service::{MemoryService, reindex::ReindexError};
use store::{
    Store,
    connect::migrate,
    memories::{VECTOR_DIMENSIONS, reindex::Stale},
    settings::StoreSettings,
};

/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

pub(crate) async fn reindex(
    output: &mut Output,
    args: NodeArgs,
    environment: &Environment,
) -> Result<Exit, Abort> {
    let Loaded { config, .. } = config::load(&args, environment)?;
    let format = config.server.log_format;
    logging::start(format, Usual::Warnings, args.verbose, environment, config.redactor(None))?;
    let embedder = node::embedder(&config, &node::models(&config)?)?
        .ok_or_else(|| Failure::new(Exit::Usage, "cannot make vectors: the embedder is `none`"))?;
    say(&format!("embedding with {}, {VECTOR_DIMENSIONS} dimensions", embedder.id()));
    let shutdown = shutdown::listen()?;
    let database = DatabaseHandle::open(&config).await?;
    let urls = database.urls();
    let work = async {
        migrate(&urls.migrate).await.map_err(database_failure)?;
        let settings = StoreSettings { direct_url: urls.direct, ..StoreSettings::new(urls.url) };
        let store = Store::connect(&settings).await.map_err(database_failure)?;
        let memory = MemoryService::new(store.clone(), Some(Arc::clone(&embedder)));
        let mut progress =
            ReindexProgress { chunks: 0, begun: Instant::now(), said: Instant::now() };
        let ended = change_over(&store, &memory, embedder.id(), &mut progress).await;
        store.close().await;
        ended.map_err(|error| {
            let failure = Failure::from_error(Exit::Failed, &error);
            failure.hint("what was embedded is kept; run it again to go on")
        })?;
        Ok::<_, Failure>(progress)
    };
    let ended = tokio::select! {
        ended = work => Some(ended),
        () = shutdown.asked.cancelled() => None,
    };
    database.close().await;
    let Some(progress) = ended.transpose()? else {
        say("stopped; what was embedded is kept, run it again to go on");
        return Ok(Exit::Interrupted);
    };
    output.line(&format!("chunks embedded: {}", progress.chunks))?;
    Ok(Exit::Done)
}

/// Every chunk gets a vector of the new embedder, which then becomes the database's. Nodes with
/// another embedder may go on meanwhile; what they write until the change is embedded, too.
async fn change_over(
    store: &Store,
    memory: &MemoryService,
    embedder: &str,
    progress: &mut ReindexProgress,
) -> Result<(), ReindexError> {
    memory.embed_stale(Stale::Other, || 0, |chunks| progress.add(chunks)).await?;
    store.set_embedder(embedder).await?;
    memory.embed_stale(Stale::Other, || 0, |chunks| progress.add(chunks)).await
}

struct ReindexProgress {
    chunks: usize,
    begun: Instant,
    said: Instant,
}

impl ReindexProgress {
    fn add(&mut self, chunks: usize) {
        self.chunks += chunks;
        if self.said.elapsed() >= PROGRESS_EVERY {
            let per_second = self.chunks as f64 / self.begun.elapsed().as_secs_f64();
            say(&format!("{} chunks so far, {per_second:.1} a second", self.chunks));
            self.said = Instant::now();
        }
    }
}
