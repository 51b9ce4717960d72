//! Who is let in: a request whose credential is good, has the right that its route needs, and does
//! not come too fast. Whether a credential is good, `identity` knows.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{Extensions, HeaderMap, Method};
use protocol::{error::ErrorCode, key::Right};

use crate::{
    TenantLimits,
    identity::{Caller, Credential, Holder, Identity, check_origin},
    limits::PACES_MAX,
    pace::Pace,
    refusal::Refusal,
};

/// The address at the other end of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What every request passes.
#[derive(Clone)]
pub(crate) struct Gate {
    identity: Identity,
    requests: Arc<Pace<Holder>>,
    /// Credentials that are no good, by the address that shows them.
    guesses: Arc<Pace<IpAddr>>,
}

impl Gate {
    pub(crate) fn new(identity: Identity, limits: &TenantLimits) -> Self {
        Self {
            identity,
            requests: Arc::new(Pace::new(limits.requests_per_key, PACES_MAX)),
            guesses: Arc::new(Pace::new(limits.bad_credentials_per_address, PACES_MAX)),
        }
    }

    /// Who holds the credential that somebody at this address shows. Whatever is wrong with it, the
    /// refusal is the same.
    pub(crate) async fn caller(&self, text: &str, at: &Extensions) -> Result<Caller, Refusal> {
        let address = at.get::<Peer>().map(|Peer(address)| network_of(*address));
        let guess = || {
            let spent = address.map_or(Ok(()), |who| self.guesses.spend(who, Instant::now()));
            spent.map_err(|wait| {
                Refusal::too_fast("too many credentials from your address are no good", wait)
            })
        };
        // A key that nobody here knows costs the database a question, so that it is paid before.
        let is_paid = !self.identity.knows(text);
        if is_paid {
            guess()?;
        }
        let answer = self.identity.caller(text).await;
        let is_bad =
            answer.as_ref().is_err_and(|refusal| refusal.code() == ErrorCode::Unauthorized);
        match (is_paid, is_bad) {
            (true, false) => address.into_iter().for_each(|who| self.guesses.put_back(who)),
            (false, true) => guess()?,
            (true, true) | (false, false) => {}
        }
        let caller = answer?;
        if let Some(holder) = caller.holder() {
            self.requests.spend(holder.clone(), Instant::now()).map_err(|wait| {
                Refusal::too_fast("the requests of this credential come too fast", wait)
            })?;
        }
        Ok(caller)
    }

    async fn caller_of(
        &self,
        method: &Method,
        headers: &HeaderMap,
        at: &Extensions,
    ) -> Result<Caller, Refusal> {
        if !self.identity.is_on() {
            return Ok(Caller::anyone());
        }
        match Credential::of(headers) {
            Some(Credential::Header(text)) => self.caller(text, at).await,
            Some(Credential::Cookie(text)) => {
                let caller = self.caller(text, at).await?;
                let reads = matches!(*method, Method::GET | Method::HEAD);
                if reads { Ok(caller) } else { check_origin(headers).map(|()| caller) }
            }
            None => Err(Refusal::unauthorized()),
        }
    }
}

/// Lets a request in whose credential is good and has the right that its route needs; what comes
/// after finds the [`Caller`].
pub(crate) async fn check(
    State((gate, right)): State<(Gate, Right)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let caller = gate.caller_of(request.method(), request.headers(), request.extensions()).await?;
    if !caller.allows(right) {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            format!("the credential lacks the right `{right}`"),
        ));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// An IPv6 customer has at least a /64 for himself (RFC 6177): all of it counts as one address.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}
