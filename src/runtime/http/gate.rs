//! Effects: asks of every caller the right that a route needs, before the route sees the request.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;

use super::connections::Seat;
use super::exposure::Exposure;
use super::review::Reviews;
use super::right::Right;
use super::tokens::Tokens;
use super::verdict::Refusal;
use super::{body, later, problem};
use crate::telemetry::metrics::Metrics;

/// After how many seconds to come again where the API server could not be asked.
const AWAY_SECONDS: u16 = 5;

/// Who is let in. Cheap to clone.
#[derive(Clone)]
pub enum Gate {
    /// Everybody who can reach the server: for loopback alone.
    Open,
    /// Whoever has a token of a file, to everything.
    TokenFile {
        /// The tokens.
        tokens: Tokens,
        /// On loopback the metrics need none.
        exposure: Exposure,
    },
    /// Whoever the API server says may.
    Reviews(Reviews),
}

impl Gate {
    async fn admit(&self, right: &Right, headers: &HeaderMap) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
            Self::TokenFile { exposure: Exposure::Loopback, .. } if *right == Right::ReadMetrics => Ok(()),
            Self::TokenFile { tokens, .. } => match token(headers)? {
                Some(token) if tokens.allow(token) => Ok(()),
                Some(_) => Err(Refusal::NotInFile),
                None => Err(Refusal::NoToken { reviewed: false }),
            },
            Self::Reviews(reviews) => match token(headers)? {
                Some(token) => reviews.admit(token, right).await,
                None => Err(Refusal::NoToken { reviewed: true }),
            },
        }
    }
}

/// The bearer token of a request; `None` where it has none.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    // Of two it could not be said whose request it is.
    if given.next().is_some() {
        return Err(Refusal::Scheme);
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token.filter(|token| !token.is_empty()).map(Some).ok_or(Refusal::Scheme)
}

/// Puts routes behind the gate. Cheap to clone.
#[derive(Clone)]
pub(super) struct Guard {
    gate: Gate,
    metrics: Metrics,
}

/// The right that a request needs, by the parameters of its path.
type Needs = fn(&[(&str, &str)]) -> Right;

impl Guard {
    pub(super) fn new(gate: Gate, metrics: Metrics) -> Self {
        Self { gate, metrics }
    }

    /// These methods of a route, for whoever has the right.
    pub(super) fn behind<S: Clone + Send + Sync + 'static>(
        &self,
        needs: Needs,
        methods: MethodRouter<S>,
    ) -> MethodRouter<S> {
        methods.route_layer(middleware::from_fn_with_state((self.clone(), needs), admit))
    }
}

async fn admit(
    State((guard, needs)): State<(Guard, Needs)>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    // Parameters that cannot be read are the route's to refuse; until then they are no name, which asks for the right to all.
    let right = needs(&parameters.iter().flat_map(RawPathParams::iter).collect::<Vec<_>>());
    let (head, body) = request.into_parts();
    let refusal = match guard.gate.admit(&right, &head.headers).await {
        Ok(()) => {
            if let Some(seat) = head.extensions.get::<Seat>() {
                seat.hold();
            }
            return next.run(Request::from_parts(head, body)).await;
        }
        Err(refusal) => refusal,
    };
    guard.metrics.count_refused(right.label(), refusal.reason());
    // Else a client that is still sending never gets to read the answer.
    body::pass_over(&head.headers, body).await;
    answer(&refusal)
}

fn answer(refusal: &Refusal) -> Response {
    let error = refusal.to_string();
    let challenge = match refusal {
        Refusal::Forbidden { .. } => return problem(StatusCode::FORBIDDEN, error),
        Refusal::Unavailable(_) => return later(StatusCode::SERVICE_UNAVAILABLE, AWAY_SECONDS, error),
        Refusal::NoToken { .. } => "Bearer",
        Refusal::Scheme | Refusal::NotInFile | Refusal::Unauthenticated(_) => "Bearer error=\"invalid_token\"",
    };
    let mut response = problem(StatusCode::UNAUTHORIZED, error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_read_from_one_bearer_header_and_from_nothing_else() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            token(&headers).map(|token| token.map(str::to_owned)).map_err(|refusal| refusal.reason())
        };
        assert_eq!(with(&[]), Ok(None));
        assert_eq!(with(&["bearer  a.b.c "]), Ok(Some("a.b.c".to_owned())));
        for wrong in [&["Bearer "][..], &["Bearer"], &["Basic a"], &["Bearer a", "Bearer b"]] {
            assert_eq!(with(wrong), Err("unauthenticated"), "{wrong:?}");
        }
    }
}
