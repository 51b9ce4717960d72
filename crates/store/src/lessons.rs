//! What providers have taught about their models, for all nodes: kept for a week at most, since
//! providers change, and forgotten at once where the rows are deleted. What a lesson means, and whether
//! it is believed for as long, is not known here.

use std::time::Duration;

use serde_json::Value;
use sqlx::Row;

use crate::{error::StoreError, handle::Store};

/// How long a lesson is kept at most after it was learnt last.
pub const LESSON_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most lessons.
pub const LESSONS_MAX: i64 = 4096;
/// Most lessons while one is about a model that no configuration names: tenants may name any.
pub const LESSONS_OF_OTHERS_MAX: i64 = 1024;

/// A lesson about a model.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptLesson {
    /// Where the model is asked.
    pub base_url: String,
    pub model: String,
    /// With its `kind`.
    pub lesson: Value,
}

impl Store {
    /// Keeps a lesson, for another week where it is known. Beyond `most` lessons it is not kept.
    pub async fn keep_lesson(&self, lesson: &KeptLesson, most: i64) -> Result<(), StoreError> {
        let query = sqlx::query(
            "insert into model_lessons (base_url, model, lesson)
             select $1, $2, $3
             where (select count(*) from model_lessons) < $4
             on conflict (base_url, model, lesson) do update
             set learnt_at = excluded.learnt_at",
        )
        .bind(&lesson.base_url)
        .bind(&lesson.model)
        .bind(&lesson.lesson)
        .bind(most);
        self.database.call(query).await?;
        Ok(())
    }

    /// Forgets a lesson that has turned out to be wrong.
    pub async fn forget_lesson(&self, lesson: &KeptLesson) -> Result<(), StoreError> {
        let query = sqlx::query(
            "delete from model_lessons where base_url = $1 and model = $2 and lesson = $3",
        )
        .bind(&lesson.base_url)
        .bind(&lesson.model)
        .bind(&lesson.lesson);
        self.database.call(query).await?;
        Ok(())
    }

    /// What is kept, the oldest first, each with the time since it was learnt last.
    pub async fn kept_lessons(&self) -> Result<Vec<(KeptLesson, Duration)>, StoreError> {
        let query = sqlx::query(
            "select base_url, model, lesson,
                    extract(epoch from clock_timestamp() - learnt_at)::double precision as age_s
             from model_lessons
             where learnt_at > clock_timestamp() - make_interval(secs => $1)
             order by learnt_at
             limit $2",
        )
        .bind(LESSON_KEPT.as_secs_f64())
        .bind(LESSONS_MAX);
        let rows = self.database.call(query).await?;
        let lesson = |row: sqlx::postgres::PgRow| {
            let lesson = KeptLesson {
                base_url: row.try_get("base_url")?,
                model: row.try_get("model")?,
                lesson: row.try_get("lesson")?,
            };
            let age = Duration::try_from_secs_f64(row.try_get("age_s")?).unwrap_or_default();
            Ok((lesson, age))
        };
        rows.into_iter().map(lesson).collect()
    }

    /// Removes what is kept no longer.
    pub(crate) async fn forget_lessons(&self) -> Result<(), StoreError> {
        let query = sqlx::query(
            "delete from model_lessons
             where learnt_at < clock_timestamp() - make_interval(secs => $1)",
        );
        self.database.call(query.bind(LESSON_KEPT.as_secs_f64())).await?;
        Ok(())
    }
}
