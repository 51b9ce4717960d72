//! The scenarios, and what they have in common: nodes of their own, and a judge at the end.

mod backlog;
mod cancel;
mod drain;
mod failpoints;
mod idempotency;
mod kill;
mod memories;
mod neighbour;
mod partition;
mod pause;
mod pgbouncer;
mod poison;
mod postgres;
mod stream;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    client::PersistentClient,
    cluster::{DatabaseRoute, Nodes, Setup},
    judge::{self, Verdict},
    world::World,
};

/// The scenarios, by what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// A run kills every worker that opens it, beside runs of another organisation. The first one: a run
    /// is spared for workers that were lost just before.
    Poison,
    /// Workers are killed while they work.
    Kill,
    /// Nodes of both kinds are killed while memories are written in every way, and searched.
    Memories,
    /// Workers stand still for longer than their leases last, and go on.
    Pause,
    /// Workers lose the database, one at a time.
    Partition,
    /// Streams are cut at random bytes and taken up on the other node.
    Stream,
    /// Connections to the database are ended, and the database itself.
    Postgres,
    /// The same request comes many times at once, to both nodes.
    Idempotency,
    /// Runs are cancelled at random moments.
    Cancel,
    /// Every node is asked to stop and started again, one after another.
    Drain,
    /// A process dies at each named point in turn.
    Failpoints,
    /// One organisation has a long backlog beside another, and a worker is killed meanwhile.
    Backlog,
    /// One organisation does the worst that its limits allow, beside another.
    Neighbour,
    /// Workers are killed while all go through PgBouncer.
    Pgbouncer,
}

impl Scenario {
    /// Those asked for; all when none is.
    pub(crate) fn chosen(only: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|scenario| only.is_empty() || only.contains(scenario)).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Stream => "stream",
            Self::Postgres => "postgres",
            Self::Idempotency => "idempotency",
            Self::Cancel => "cancel",
            Self::Drain => "drain",
            Self::Failpoints => "failpoints",
            Self::Backlog => "backlog",
            Self::Poison => "poison",
            Self::Neighbour => "neighbour",
            Self::Pgbouncer => "pgbouncer",
            Self::Memories => "memories",
        }
    }

    /// Starts nodes, breaks things, waits for all runs to end, stops the nodes, judges.
    pub(crate) async fn run(self, world: &mut World) -> Result<Verdict> {
        let mut nodes = Nodes::start(world, self.name(), self.setup()).await?;
        let client =
            PersistentClient::new(format!("{}_{}", self.name(), world.seed), nodes.urls())?;
        let case = match self {
            Self::Kill => kill::run(world, &mut nodes, client).await?,
            Self::Pause => pause::run(world, &mut nodes, client).await?,
            Self::Partition => partition::run(world, &mut nodes, client).await?,
            Self::Stream => stream::run(world, &mut nodes, client).await?,
            Self::Postgres => postgres::run(world, client).await?,
            Self::Idempotency => idempotency::run(world, client).await?,
            Self::Cancel => cancel::run(world, client).await?,
            Self::Drain => drain::run(world, &mut nodes, client).await?,
            Self::Failpoints => failpoints::run(world, &mut nodes, client).await?,
            Self::Backlog => backlog::run(world, &mut nodes, client).await?,
            Self::Poison => poison::run(world, &mut nodes, client).await?,
            Self::Neighbour => neighbour::run(world, &nodes, client).await?,
            Self::Pgbouncer => pgbouncer::run(world, &mut nodes, client).await?,
            Self::Memories => memories::run(world, &mut nodes, client).await?,
        };
        judge::judge(world, self.name(), case, nodes).await
    }

    fn setup(self) -> Setup {
        match self {
            Self::Pause => Setup { leases: pause::LEASES, ..Setup::USUAL },
            Self::Partition => {
                Setup { leases: pause::LEASES, route: DatabaseRoute::Linked, ..Setup::USUAL }
            }
            Self::Failpoints => Setup { leases: failpoints::LEASES, ..Setup::USUAL },
            Self::Poison => Setup { failpoints: Some(poison::FAILPOINTS), ..Setup::USUAL },
            Self::Pgbouncer => Setup { route: DatabaseRoute::Pooled, ..Setup::USUAL },
            Self::Kill
            | Self::Memories
            | Self::Stream
            | Self::Postgres
            | Self::Idempotency
            | Self::Cancel
            | Self::Drain
            | Self::Backlog
            | Self::Neighbour => Setup::USUAL,
        }
    }
}
