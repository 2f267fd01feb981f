//! Effects: asks the API server who a token speaks for (`TokenReview`) and whether that one may (`SubjectAccessReview`). What it
//! said is kept for a while, so that callers it knew lately are served while it is away; nobody else is then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cache::{Cache, Key};
use super::claims::Claims;
use super::right::{AUDIENCE, Permission, Right};
use super::verdict::{Doubt, Refusal, Verdict};
use crate::telemetry::clock;

/// How long both questions may take, the client's own retries and the wait for others included.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How many tokens are asked about at once.
const AT_ONCE: usize = 32;
/// The longest token that is asked about, in bytes.
const MAX_TOKEN_BYTES: usize = 16 << 10;
/// How much of a user's name is told.
const MAX_USER_BYTES: usize = 256;

/// Why the API server said nothing of use.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It did not answer in time.
    #[error("the API server did not answer within {} s", ANSWER_TIME.as_secs())]
    Slow,
    /// It cannot be reached, or answered with an error.
    #[error("the API server cannot be asked: {0}")]
    Away(#[source] Box<kube::Error>),
    /// It does not let this process ask.
    #[error(
        "the API server does not let the operator ask: bind the ClusterRole system:auth-delegator to its service account"
    )]
    NotAllowed,
    /// It left out the answer.
    #[error("the API server answered without a status")]
    NoStatus,
}

/// Asks the API server, and remembers. Cheap to clone; clones remember together.
#[derive(Clone)]
pub struct Reviews(Arc<Desk>);

struct Desk {
    client: Client,
    namespace: String,
    room: Semaphore,
    /// Whether the last review failed.
    failing: AtomicBool,
    cache: Mutex<Cache>,
    flights: Mutex<Flights>,
}

/// A question on its way, and everybody who waits for its answer.
type Flight = Shared<Answering>;
type Answering = BoxFuture<'static, Result<Verdict, Arc<ReviewError>>>;

#[derive(Default)]
struct Flights {
    begun: u64,
    in_flight: HashMap<Key, (u64, WeakShared<Answering>)>,
}

impl Reviews {
    /// By a client that may create both kinds of review; rights to profiles are asked for in the operator's namespace.
    pub fn new(client: Client, operator_namespace: &str) -> Self {
        Self(Arc::new(Desk {
            client,
            namespace: operator_namespace.to_owned(),
            room: Semaphore::new(AT_ONCE),
            failing: AtomicBool::new(false),
            cache: Mutex::default(),
            flights: Mutex::default(),
        }))
    }

    /// Lets the token's bearer in, or says why not.
    pub(super) async fn admit(&self, token: &str, right: &Right) -> Result<(), Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Unauthenticated(Doubt::Other));
        }
        let permission = right.permission(&self.0.namespace);
        let key = Key::new(token, &permission.to_string());
        let known = lock(&self.0.cache).get(key, clock::monotonic());
        let verdict = match known {
            Some(verdict) => verdict,
            None => self.ask(key, token, right).await.map_err(Refusal::Unavailable)?,
        };
        match verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Forbidden { user } => Err(Refusal::Forbidden {
                user,
                permission: permission.to_string(),
                role: right.role(),
                binding: permission.binding(),
            }),
            Verdict::Unauthenticated(doubt) => Err(Refusal::Unauthenticated(doubt)),
        }
    }

    /// Asks, or waits for the answer that somebody else has asked for already. Goes on as long as anybody waits.
    fn ask(&self, key: Key, token: &str, right: &Right) -> Flight {
        let mut flights = lock(&self.0.flights);
        if let Some(flight) = flights.in_flight.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        flights.begun += 1;
        let number = flights.begun;
        let landing = Landing { desk: Arc::clone(&self.0), key, number };
        let (token, right) = (token.to_owned(), right.clone());
        let flight = async move { landing.desk.review(key, token, &right).await.map_err(Arc::new) }.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.in_flight.insert(key, (number, weak));
        }
        flight
    }
}

/// Takes a flight off the list when it has ended, or everybody who waited has gone.
struct Landing {
    desk: Arc<Desk>,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = lock(&self.desk.flights);
        if flights.in_flight.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            flights.in_flight.remove(&self.key);
        }
    }
}

impl Desk {
    async fn review(&self, key: Key, token: String, right: &Right) -> Result<Verdict, ReviewError> {
        // One who waited for the flight before this one finds its answer here.
        if let Some(verdict) = lock(&self.cache).get(key, clock::monotonic()) {
            return Ok(verdict);
        }
        let claims = Claims::of(&token);
        let asked_at = clock::monotonic();
        let answered = timeout(ANSWER_TIME, async {
            let Ok(_room) = self.room.acquire().await else { return Err(ReviewError::Slow) };
            match self.authenticate(token).await? {
                None => Ok(Verdict::Unauthenticated(claims.doubt(clock::now()))),
                Some(user) => self.authorize(user, right).await,
            }
        });
        let verdict = answered.await.unwrap_or(Err(ReviewError::Slow));
        self.tell(verdict.as_ref().err());
        let verdict = verdict?;
        let left = claims.seconds_left(clock::now()).map(|left| Duration::try_from_secs_f64(left).unwrap_or_default());
        // It holds from when it was asked for: what was said is no younger.
        lock(&self.cache).put(key, verdict.clone(), asked_at, left);
        Ok(verdict)
    }

    /// Logs that callers cannot be reviewed, and that they can again: once, and not once a caller.
    fn tell(&self, error: Option<&ReviewError>) {
        match (self.failing.swap(error.is_some(), Ordering::Relaxed), error) {
            (false, Some(error)) => tracing::warn!(%error, "callers that are not known from lately are turned away"),
            (true, None) => tracing::info!("callers can be reviewed again"),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Who the token speaks for; `None` where it speaks for nobody, or was made for others.
    async fn authenticate(&self, token: String) -> Result<Option<UserInfo>, ReviewError> {
        let spec = TokenReviewSpec { token: Some(token), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await.map_err(refused)?;
        let status = answer.status.ok_or(ReviewError::NoStatus)?;
        // An authenticator that knows of no audiences leaves them out: such a token may be meant for anybody.
        let for_us = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
        Ok(status.user.filter(|_| status.authenticated == Some(true) && for_us))
    }

    async fn authorize(&self, user: UserInfo, right: &Right) -> Result<Verdict, ReviewError> {
        let name = user.username.clone().unwrap_or_default();
        let mut spec = SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            ..SubjectAccessReviewSpec::default()
        };
        match right.permission(&self.namespace) {
            Permission::Resource { verb, resource, namespace, name } => {
                spec.resource_attributes = Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    group: Some("activation.dev".to_owned()),
                    resource: Some(resource.to_owned()),
                    namespace: Some(namespace.to_owned()),
                    name: name.map(str::to_owned),
                    ..ResourceAttributes::default()
                });
            }
            Permission::Path { verb, path } => {
                spec.non_resource_attributes =
                    Some(NonResourceAttributes { verb: Some(verb.to_owned()), path: Some(path.to_owned()) });
            }
        }
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await.map_err(refused)?;
        let status = answer.status.ok_or(ReviewError::NoStatus)?;
        if status.allowed && status.denied != Some(true) {
            return Ok(Verdict::Allowed);
        }
        Ok(Verdict::Forbidden { user: name[..name.floor_char_boundary(MAX_USER_BYTES)].into() })
    }
}

fn refused(error: kube::Error) -> ReviewError {
    match error {
        kube::Error::Api(status) if status.code == 403 => ReviewError::NotAllowed,
        error => ReviewError::Away(Box::new(error)),
    }
}

/// What is guarded is whole after every statement.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}
