//! Reading a list a page at a time.

use serde::{Deserialize, Serialize};

use crate::limits::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX};

/// The number of rows asked for: 1 to 500, 100 when unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schema(value_type = u32, minimum = 1, maximum = 500, default = 100)]
pub struct PageLimit(u32);

/// The number is not a page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`limit` must be 1 to {PAGE_LIMIT_MAX}")]
pub struct PageLimitError;

impl PageLimit {
    /// The number of rows.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(PAGE_LIMIT_DEFAULT)
    }
}

impl TryFrom<u32> for PageLimit {
    type Error = PageLimitError;

    fn try_from(rows: u32) -> Result<Self, PageLimitError> {
        if (1..=PAGE_LIMIT_MAX).contains(&rows) { Ok(Self(rows)) } else { Err(PageLimitError) }
    }
}

impl From<PageLimit> for u32 {
    fn from(limit: PageLimit) -> u32 {
        limit.0
    }
}

/// Some rows, and where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows of this page.
    pub items: Vec<T>,
    /// Pass it as `cursor` to read on; none at the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The same page with other items.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(convert).collect(), next_cursor: self.next_cursor }
    }
}
