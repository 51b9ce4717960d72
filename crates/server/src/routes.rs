//! The handlers, by subject. Each parses, calls and answers; `router` says where it is and which right
//! it needs.

pub(crate) mod audit;
pub(crate) mod catalog;
pub(crate) mod contexts;
pub(crate) mod forks;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod memories;
pub(crate) mod runs;
pub(crate) mod sessions;
pub(crate) mod stream;
pub(crate) mod streams;
pub(crate) mod trace;
pub(crate) mod usage;
pub(crate) mod web;
pub(crate) mod whoami;
