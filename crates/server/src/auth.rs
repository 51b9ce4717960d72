//! Authentication: from the credential of a request to a principal with a scope and rights. Which
//! scope the request uses, within that of the principal, is decided in `extract::scope`.

pub(crate) mod access;
mod api_keys;
pub mod authenticator;
pub(crate) mod cookie;
pub(crate) mod credential;
mod jwks;
mod jwt;
pub mod jwt_settings;
mod logins;
pub(crate) mod origin;
pub(crate) mod principal;
mod recent;
