//! A connection of the pool in the hands of one caller. Whatever is asked of it has an end, also when
//! the database says nothing at all, and it goes back into the pool with nothing open, or not at all.

use std::{io, time::Duration};

use futures::{StreamExt, stream::BoxStream, stream::unfold};
use sqlx::{
    AssertSqlSafe, Connection, Error, Executor, PgConnection, PgPool, Postgres,
    pool::PoolConnection, raw_sql,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::places::Place;

/// How long PostgreSQL may say nothing. It ends a statement by itself a second before.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(6);

#[derive(Debug)]
pub(crate) struct HeldConnection {
    /// None only while it is dropped.
    inner: Option<PoolConnection<Postgres>>,
    owes: Owes,
    /// Left once the connection is free again: an organisation whose callers stop waiting has the
    /// connections all the same until what they asked is answered.
    place: Option<Place>,
}

/// What must still happen before another caller can use the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owes {
    Nothing,
    /// The rest of an answer.
    Answer,
    /// The end of a transaction.
    Rollback,
    /// It was silent for too long.
    Close,
}

impl HeldConnection {
    /// A connection for the holder of the place; none for what belongs to no organisation.
    pub(crate) async fn take(pool: &PgPool, place: Option<Place>) -> Result<Self, Error> {
        Ok(Self { inner: Some(Box::pin(pool.acquire()).await?), owes: Owes::Nothing, place })
    }

    /// The connection, and what it owes from now on.
    pub(crate) fn parts(&mut self) -> Result<(&mut PgConnection, &mut Owes), Error> {
        match &mut self.inner {
            Some(connection) => Ok((connection, &mut self.owes)),
            None => Err(Error::PoolClosed),
        }
    }

    /// Opens a transaction, which is undone unless [`Self::commit`] follows.
    pub(crate) async fn begin(&mut self, statement: String) -> Result<(), Error> {
        self.owes = Owes::Rollback;
        let (connection, owes) = self.parts()?;
        answered(owes, Executor::execute(connection, raw_sql(AssertSqlSafe(statement)))).await?;
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        let (connection, owes) = self.parts()?;
        answered(owes, Executor::execute(connection, raw_sql("commit"))).await?;
        *owes = Owes::Nothing;
        Ok(())
    }
}

/// What is asked of a connection of which the caller stopped waiting is still on its way: the next
/// caller's statements must not go into a transaction that nobody knows of (sqlx 0.9.0,
/// https://github.com/transact-rs/sqlx/issues/4393), nor wait for an answer that never comes.
impl Drop for HeldConnection {
    fn drop(&mut self) {
        let Some(connection) = self.inner.take() else { return };
        match self.owes {
            Owes::Nothing => {}
            Owes::Answer | Owes::Rollback | Owes::Close => {
                tokio::spawn(settle(connection, self.owes, self.place.take()));
            }
        }
    }
}

async fn settle(mut connection: PoolConnection<Postgres>, owes: Owes, place: Option<Place>) {
    let settled = async {
        match owes {
            Owes::Nothing => Ok(()),
            Owes::Answer => connection.ping().await,
            Owes::Rollback => raw_sql("rollback").execute(&mut *connection).await.map(drop),
            Owes::Close => Err(silence()),
        }
    };
    if !matches!(timeout(SILENCE_MAX, settled).await, Ok(Ok(()))) {
        connection.close_on_drop();
    }
    drop(connection);
    drop(place);
}

/// An answer that comes as a whole, or an error if it does not come in time.
pub(crate) async fn answered<T>(
    owes: &mut Owes,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let before = *owes;
    if before == Owes::Nothing {
        *owes = Owes::Answer;
    }
    let answer = timeout(SILENCE_MAX, answer).await;
    *owes = if answer.is_ok() { before } else { Owes::Close };
    answer.unwrap_or_else(|_| Err(silence()))
}

/// The rows of an answer, which ends with an error if it does not come in time.
pub(crate) fn bounded<'a, T: Send + 'a>(
    rows: BoxStream<'a, Result<T, Error>>,
    owes: &'a mut Owes,
) -> BoxStream<'a, Result<T, Error>> {
    let until = Instant::now() + SILENCE_MAX;
    unfold((rows, owes), move |(mut rows, owes)| async move {
        match timeout_at(until, rows.next()).await {
            Ok(row) => row.map(|row| (row, (rows, owes))),
            Err(_) => {
                *owes = Owes::Close;
                Some((Err(silence()), (rows, owes)))
            }
        }
    })
    .boxed()
}

fn silence() -> Error {
    let words = format!("the database said nothing for {} s", SILENCE_MAX.as_secs());
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, words))
}
