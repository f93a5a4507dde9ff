use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Access, Caller};
use pangaea_kernel::{Problem, ProblemKind};

use super::rate_limit::{Class, RateLimits};

/// Decides who may call what before any handler runs, from the API's own document. A route without a row is refused.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) access: Arc<BTreeMap<(String, String), Access>>,
    pub(crate) verifier: TokenVerifier,
    pub(crate) limits: Arc<RateLimits>,
}

pub(crate) async fn check(
    State(guard): State<Guard>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = guard.limits.client_name(peer(&request), request.headers());
    let caller = match guard.caller(request.headers()).await {
        Ok(caller) => caller,
        // A wrong token costs like an anonymous request, so that guessing is limited too.
        Err(problem) => {
            return guard.limits.limited(Class::Anonymous, &address, problem);
        }
    };
    let (class, name) = match &caller {
        Some(caller) if caller.is_staff() => (Class::Staff, caller.actor.subject.clone()),
        Some(caller) => (Class::Customer, caller.actor.subject.clone()),
        None => (Class::Anonymous, address),
    };
    let allowance = match guard.limits.take(class, &name) {
        Ok(allowance) => allowance,
        Err(refused) => return *refused,
    };
    if let Err(problem) = guard.allowed(matched.as_ref(), request.method().as_str(), caller.as_ref()) {
        return allowance.on(problem.into_response());
    }
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    allowance.on(next.run(request).await)
}

// === impl Guard ===

impl Guard {
    async fn caller(&self, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let malformed = || Problem::new(ProblemKind::Unauthenticated, "send Authorization: Bearer <access token>");
        let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(malformed());
        }
        let claims = self.verifier.verify(token.trim()).await?;
        Ok(Some(Caller { actor: claims.actor(), session_id: claims.sid }))
    }

    fn allowed(&self, matched: Option<&MatchedPath>, method: &str, caller: Option<&Caller>) -> Result<(), Problem> {
        let path = matched.map(MatchedPath::as_str).unwrap_or_default();
        // A HEAD is answered by the GET of its path.
        let method = if method == "HEAD" { "GET" } else { method };
        match self.access.get(&(method.to_owned(), path.to_owned())) {
            Some(access) => access.check(caller),
            None => Err(Problem::new(ProblemKind::Forbidden, "this operation does not say who may call it")),
        }
    }
}

fn peer(request: &Request) -> IpAddr {
    request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(address)| address.ip())
}
