//! Who asks: from the credential of a request to a principal with bounds and rights. Whose data the
//! request is then about, within those bounds, is decided in `extract::scope`.

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
