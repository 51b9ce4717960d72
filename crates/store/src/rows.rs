//! Converts rows into the types of `protocol`, and values into a form that PostgreSQL can store. It
//! contains no statement.

use std::{fmt, str::FromStr};

use jiff_sqlx::Timestamp as DbTimestamp;
use protocol::{
    message::Usage,
    output::ResponseFormat,
    page::{Page, PageLimit},
    scope::Scope,
    time::Timestamp,
};
use serde::{
    Serialize,
    de::{
        DeserializeOwned, IntoDeserializer,
        value::{self, StrDeserializer},
    },
};
use serde_json::Value;
use sqlx::{Row, postgres::PgRow, types::Json};

use crate::error::StoreError;

pub(crate) fn get_usage(row: &PgRow) -> Result<Usage, StoreError> {
    let [input, output, cached] =
        ["input_tokens", "output_tokens", "cached_tokens"].map(|column| get_u64(row, column));
    let reasoning_tokens = get_u64(row, "reasoning_tokens")?;
    Ok(Usage { reasoning_tokens, ..Usage::new(input?, output?, cached?) })
}

/// Cuts the extra row that says whether there is a next page.
pub(crate) fn cut_page<T>(
    mut items: Vec<T>,
    limit: PageLimit,
    cursor_of: impl Fn(&T) -> String,
) -> Page<T> {
    let rows = limit.get() as usize;
    let more = items.len() > rows;
    items.truncate(rows);
    Page { next_cursor: items.last().filter(|_| more).map(cursor_of), items }
}

/// Like [`cut_page`], where the statement has also left out what is beyond a bound of bytes: `found`
/// is how many rows there were before.
pub(crate) fn cut_page_at<T>(
    items: Vec<T>,
    found: Option<i64>,
    limit: PageLimit,
    cursor_of: impl Fn(&T) -> String,
) -> Page<T> {
    let was_cut = found.is_some_and(|found| items.len() < found as usize);
    let mut page = cut_page(items, limit, &cursor_of);
    if was_cut && page.next_cursor.is_none() {
        page.next_cursor = page.items.last().map(cursor_of);
    }
    page
}

/// A value that is kept as text.
pub(crate) fn get_parsed<T>(row: &PgRow, column: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    parse(column, row.try_get(column)?)
}

pub(crate) fn get_optional_parsed<T>(row: &PgRow, column: &str) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| parse(column, text)).transpose()
}

fn parse<T>(column: &str, text: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    text.parse().map_err(|error| {
        StoreError::unreadable(format_args!("column `{column}` holds `{text}`: {error}"))
    })
}

/// One of the words that an enum has for its variants: what a function answers, or a column that a
/// check bounds. A word that this version does not know is an error and stands for nothing else.
pub(crate) fn get_word<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, StoreError> {
    let word: &str = row.try_get(column)?;
    let deserializer: StrDeserializer<'_, value::Error> = word.into_deserializer();
    T::deserialize(deserializer).map_err(|error| {
        StoreError::unreadable(format_args!("column `{column}` holds `{word}`: {error}"))
    })
}

/// Whose row it is.
pub(crate) fn get_scope(row: &PgRow) -> Result<Scope, StoreError> {
    let has_project = !row.try_get::<&str, _>("project_id")?.is_empty();
    Ok(Scope {
        org_id: get_parsed(row, "org_id")?,
        user_id: get_parsed(row, "user_id")?,
        project_id: has_project.then(|| get_parsed(row, "project_id")).transpose()?,
    })
}

pub(crate) fn get_u32(row: &PgRow, column: &str) -> Result<u32, StoreError> {
    u32::try_from(row.try_get::<i32, _>(column)?).map_err(StoreError::unreadable)
}

pub(crate) fn get_u64(row: &PgRow, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(StoreError::unreadable)
}

pub(crate) fn get_optional_millis(row: &PgRow, column: &str) -> Result<Option<u64>, StoreError> {
    Ok(row.try_get::<Option<f64>, _>(column)?.map(|ms| ms.round() as u64))
}

pub(crate) fn get_timestamp(row: &PgRow, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::new(row.try_get::<DbTimestamp, _>(column)?.to_jiff()))
}

pub(crate) fn get_optional_timestamp(
    row: &PgRow,
    column: &str,
) -> Result<Option<Timestamp>, StoreError> {
    let at: Option<DbTimestamp> = row.try_get(column)?;
    Ok(at.map(|at| Timestamp::new(at.to_jiff())))
}

pub(crate) fn get_json<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, StoreError> {
    let value: Json<Value> = row.try_get(column)?;
    serde_json::from_value(value.0).map_err(StoreError::unreadable)
}

pub(crate) fn get_optional_json<T: DeserializeOwned>(
    row: &PgRow,
    column: &str,
) -> Result<Option<T>, StoreError> {
    let value: Option<Json<Value>> = row.try_get(column)?;
    value.map(|value| serde_json::from_value(value.0).map_err(StoreError::unreadable)).transpose()
}

/// Rows for a parameter that is an array of objects with the names of the columns; null without any.
pub(crate) fn rows_json<T: Serialize>(rows: &[T]) -> Result<Option<String>, StoreError> {
    if rows.is_empty() { Ok(None) } else { storable_json(rows).map(Some) }
}

/// JSON without U+0000, which PostgreSQL cannot keep: U+FFFD stands in its place.
pub(crate) fn storable_json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    let text = serde_json::to_string(value).map_err(StoreError::unreadable)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut value: Value = serde_json::from_str(&text).map_err(StoreError::unreadable)?;
    replace_nul(&mut value);
    serde_json::to_string(&value).map_err(StoreError::unreadable)
}

fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_nul(text),
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, value)| (without_nul(&key), value))
                    .collect();
            }
            map.values_mut().for_each(replace_nul);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// The number, or the largest one that the column holds.
pub(crate) fn to_i32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The number, or the largest one that the column holds.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The schema of the answer as it is kept: as text, since `jsonb` would change the order of its keys.
pub(crate) fn kept_format(format: Option<&ResponseFormat>) -> Result<Option<String>, StoreError> {
    format.map(storable_json).transpose()
}

/// The schema of a run's answer, from the column that it is kept in.
pub(crate) fn get_format(row: &PgRow) -> Result<Option<ResponseFormat>, StoreError> {
    let text: Option<String> = row.try_get("response_format")?;
    let format = text.as_deref().map(serde_json::from_str).transpose();
    format.map_err(|error| StoreError::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_replaced_and_its_escaped_spelling_kept() {
        let text = storable_json(&json!({"a\0": ["x\0y", "\\u0000"], "b": 1})).unwrap();
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back, json!({"a\u{FFFD}": ["x\u{FFFD}y", "\\u0000"], "b": 1}));
    }
}
