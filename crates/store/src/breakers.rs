//! Models that failed lately, for all nodes: whether one rests, for whom, and who asks it first behind
//! that. What counts as a failure is not known here; a model that is well has no row.

use std::time::Duration;

use sqlx::{PgConnection, Row, postgres::PgRow};

use protocol::name::OrgId;

use crate::{
    error::StoreError,
    handle::Store,
    notifier::{Subject, Subscription},
};

/// Failures without an answer between them, on all nodes, that open a model's breaker.
pub const BREAKER_FAILURES: i32 = 10;
/// So many of them must be of other organisations than the first: else it rests for that one alone,
/// whose prompts may be what makes it fail.
const FAILURES_OF_OTHERS: i32 = 3;
/// The time within which they count.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(30);
/// How long nobody asks a model whose breaker has opened.
pub const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// How long the one who then asks it on trial may be alone.
pub const TRIAL_MAX: Duration = Duration::from_secs(60);
/// Longest pause that a provider may ask for.
pub const REST_MAX: Duration = Duration::from_secs(60);

/// What is kept of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// `<provider>/<model>`, as the configuration names it.
    pub model: String,
    /// Failures in a row within the window.
    pub failures: u32,
    /// They are so many that it is asked on trial first.
    pub is_open: bool,
    /// Nobody is to ask it for so long.
    pub rests: Duration,
    /// For so long somebody may ask it on trial.
    pub on_trial: Duration,
    /// All of that is so for this organisation; none where it is so for all.
    pub only: Option<String>,
}

/// What every statement here returns of a row.
macro_rules! kept {
    () => {
        " model, failures, case when failures > 0 and others < 3 then first_org end as only_org,
          greatest(extract(epoch from rests_until - clock_timestamp()), 0)::float8 as rests_s,
          greatest(extract(epoch from trial_until - clock_timestamp()), 0)::float8 as on_trial_s"
    };
}

impl Store {
    /// A bell for changes here, on whichever node.
    pub fn watch_breakers(&self) -> Subscription {
        self.notifier.subscribe(Subject::Breakers)
    }

    /// All that is kept.
    pub async fn breakers(&self) -> Result<Vec<Breaker>, StoreError> {
        let query = sqlx::query(concat!("select", kept!(), " from model_breakers"));
        let rows = self.database.call(query).await?;
        rows.iter().map(|row| Ok(breaker(row)?)).collect()
    }

    /// A model failed. While it rests, nothing more is counted: those calls were under way.
    pub async fn model_failed(
        &self,
        model: &str,
        org_id: &OrgId,
    ) -> Result<Option<Breaker>, StoreError> {
        let query = sqlx::query(concat!(
            "insert into model_breakers as b (model, failures, first_org) values ($1, 1, $5)
             on conflict (model) do update
             set (failures, counted_from, first_org, others, rests_until, trial_until) = (
                 select case when n.begins then 1 else least(b.failures + 1, $2) end,
                        case when n.begins then clock_timestamp() else b.counted_from end,
                        -- A pause that was asked for goes on for all.
                        case when not n.begins then b.first_org
                             when b.rests_until > clock_timestamp() then null else $5 end,
                        n.others,
                        case when n.opens then clock_timestamp() + make_interval(secs => $4)
                             else b.rests_until end,
                        case when n.is_other and n.others < $6 then b.trial_until end
                 from (
                     select f.begins, f.is_other,
                            case when f.begins then 0 when f.is_other then b.others + 1
                                 else b.others end as others,
                            case when f.begins then false
                                 when b.failures < $2 then b.failures = $2 - 1
                                 -- One more organisation than the one that it rests for already;
                                 -- or it was on trial, and that has failed.
                                 when f.is_other then b.others = $6 - 1
                                 else b.rests_until <= clock_timestamp() end as opens
                     from (
                         select b.failures = 0 or b.failures < $2
                                    and b.counted_from
                                        < clock_timestamp() - make_interval(secs => $3) as begins,
                                b.first_org is not null and b.others < $6 and b.first_org <> $5
                                    as is_other
                     ) f
                 ) n
             )
             returning",
            kept!()
        ))
        .bind(model)
        .bind(BREAKER_FAILURES)
        .bind(BREAKER_WINDOW.as_secs_f64())
        .bind(BREAKER_OPEN.as_secs_f64())
        .bind(org_id.as_str())
        .bind(FAILURES_OF_OTHERS);
        self.changed(query).await
    }

    /// A model's provider asks everybody to wait.
    pub async fn model_rests(
        &self,
        model: &str,
        wait: Duration,
    ) -> Result<Option<Breaker>, StoreError> {
        let query = sqlx::query(concat!(
            "insert into model_breakers as b (model, failures, rests_until)
             values ($1, 0, clock_timestamp() + make_interval(secs => $2))
             on conflict (model) do update
             set rests_until = greatest(b.rests_until, excluded.rests_until), trial_until = null,
                 first_org = null
             returning",
            kept!()
        ))
        .bind(model)
        .bind(wait.min(REST_MAX).as_secs_f64());
        self.changed(query).await
    }

    /// A model has answered: nothing is kept of it any more, unless it rests. Then that call was
    /// under way before.
    pub async fn model_answered(&self, model: &str) -> Result<Option<Breaker>, StoreError> {
        let query = sqlx::query(
            "delete from model_breakers
             where model = $1 and (rests_until is null or rests_until <= clock_timestamp())",
        );
        self.database.call(query.bind(model)).await?;
        self.notifier.wake(Subject::Breakers);
        self.breaker(model).await
    }

    /// Takes the right to ask a model on trial; says whether it was free. One of all nodes gets it.
    pub async fn try_model(&self, model: &str) -> Result<(bool, Option<Breaker>), StoreError> {
        let query = sqlx::query(concat!(
            "update model_breakers
             set trial_until = clock_timestamp() + make_interval(secs => $3)
             where model = $1 and failures >= $2 and rests_until <= clock_timestamp()
               and (trial_until is null or trial_until <= clock_timestamp())
             returning",
            kept!()
        ))
        .bind(model)
        .bind(BREAKER_FAILURES)
        .bind(TRIAL_MAX.as_secs_f64());
        match self.changed(query).await? {
            Some(breaker) => Ok((true, Some(breaker))),
            None => Ok((false, self.breaker(model).await?)),
        }
    }

    /// Removes what says nothing any more.
    pub(crate) async fn forget_breakers(&self) -> Result<(), StoreError> {
        let query = sqlx::query(
            "delete from model_breakers
             where greatest(counted_from, rests_until, trial_until)
                   < clock_timestamp() - interval '1 hour'",
        );
        self.database.call(query).await?;
        Ok(())
    }

    async fn breaker(&self, model: &str) -> Result<Option<Breaker>, StoreError> {
        let query =
            sqlx::query(concat!("select", kept!(), " from model_breakers where model = $1"));
        let rows = self.database.call(query.bind(model)).await?;
        Ok(rows.first().map(breaker).transpose()?)
    }

    async fn changed(
        &self,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<Option<Breaker>, StoreError> {
        let rows = self.database.call(query).await?;
        if !rows.is_empty() {
            self.notifier.wake(Subject::Breakers);
        }
        Ok(rows.first().map(breaker).transpose()?)
    }
}

/// All that is kept, for who looks at a database without using it.
pub(crate) async fn kept(connection: &mut PgConnection) -> Result<Vec<Breaker>, sqlx::Error> {
    let query = sqlx::query(concat!("select", kept!(), " from model_breakers"));
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(breaker).collect()
}

fn breaker(row: &PgRow) -> Result<Breaker, sqlx::Error> {
    let seconds = |column: &str| {
        let seconds: f64 = row.try_get(column)?;
        Ok::<_, sqlx::Error>(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    };
    let failures: i32 = row.try_get("failures")?;
    Ok(Breaker {
        model: row.try_get("model")?,
        failures: u32::try_from(failures).unwrap_or_default(),
        is_open: failures >= BREAKER_FAILURES,
        rests: seconds("rests_s")?,
        on_trial: seconds("on_trial_s")?,
        only: row.try_get("only_org")?,
    })
}
