//! The extractors of handlers: scope, body, query string and path, each parsed and checked.

pub(crate) mod body;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod scope;
