//! Lets a caller in if their credential is valid and they stay within the rate limits. `authenticator`
//! decides whether a credential is valid; the router says which right a route needs.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{Extensions, HeaderMap};
use protocol::error::ErrorCode;

use crate::{
    auth::{
        authenticator::Authenticator,
        credential::Credential,
        origin::check_origin,
        principal::{CredentialHolder, Principal},
    },
    error::ApiError,
    limits::RATE_LIMITED_MAX,
    rate_limit::RateLimiter,
    settings::TenantLimits,
};

/// The address at the other end of a connection.
#[derive(Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

/// Authentication and its rate limits.
#[derive(Clone)]
pub(crate) struct AccessControl {
    authenticator: Authenticator,
    requests: Arc<RateLimiter<CredentialHolder>>,
    /// Invalid credentials, by the address that sends them.
    bad_credentials: Arc<RateLimiter<IpAddr>>,
}

impl AccessControl {
    pub(crate) fn new(authenticator: Authenticator, limits: &TenantLimits) -> Self {
        Self {
            authenticator,
            requests: Arc::new(RateLimiter::new(limits.requests_per_key, RATE_LIMITED_MAX)),
            bad_credentials: Arc::new(RateLimiter::new(
                limits.bad_credentials_per_address,
                RATE_LIMITED_MAX,
            )),
        }
    }

    /// The principal of a credential that was sent from this address. The error is the same
    /// whatever is wrong with the credential.
    pub(crate) async fn principal(
        &self,
        credential: &Credential<'_>,
        at: &Extensions,
    ) -> Result<Principal, ApiError> {
        let address = at.get::<PeerAddress>().map(|PeerAddress(address)| network_of(*address));
        let count_bad = || {
            let spent =
                address.map_or(Ok(()), |who| self.bad_credentials.take(who, Instant::now()));
            spent.map_err(|wait| {
                ApiError::too_fast("too many bad credentials came from your address", wait)
            })
        };
        // An unknown key or login costs a query, so it is counted before it is looked up.
        let is_counted = !self.authenticator.knows(credential);
        if is_counted {
            count_bad()?;
        }
        let found = self.authenticator.principal(credential).await;
        let is_bad = found.as_ref().is_err_and(|error| error.code() == ErrorCode::Unauthorized);
        match (is_counted, is_bad) {
            (true, false) => {
                address.into_iter().for_each(|who| self.bad_credentials.give_back(who))
            }
            (false, true) => count_bad()?,
            (true, true) | (false, false) => {}
        }
        let principal = found?;
        if let Some(holder) = principal.holder() {
            self.requests.take(holder.clone(), Instant::now()).map_err(|wait| {
                ApiError::too_fast("too many requests came with this credential", wait)
            })?;
        }
        Ok(principal)
    }

    /// The principal of a request.
    pub(crate) async fn principal_of(
        &self,
        headers: &HeaderMap,
        at: &Extensions,
    ) -> Result<Principal, ApiError> {
        if !self.authenticator.is_on() {
            return Ok(Principal::anyone());
        }
        match Credential::of(headers) {
            Some(credential) => {
                if let Credential::Login(_) = credential {
                    check_origin(headers)?;
                }
                self.principal(&credential, at).await
            }
            None => Err(ApiError::unauthorized()),
        }
    }
}

/// An IPv6 customer has at least a /64 (RFC 6177): all of it counts as one address.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}
