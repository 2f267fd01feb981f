//! Effects: what surrounds every dereference: a deadline, a caught panic, the wait after a failure, and what is measured of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::backoff::Backoffs;
use super::dereference::{Context, DereferenceError, dereference, let_go};
use super::scope::{Kind, Named};
use crate::reconcile::{About, ObjectKey};
use crate::telemetry::clock;
use crate::telemetry::metrics::{Metrics, ReconcileResult};

/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// So many at once, of both kinds and all namespaces together.
pub const AT_ONCE: u16 = 16;

/// What attempts share.
pub struct Attempts {
    context: Arc<Context>,
    metrics: Metrics,
    room: Semaphore,
    backoffs: Mutex<Backoffs<Named>>,
}

impl Attempts {
    /// With nothing under way.
    pub fn new(context: Context, metrics: Metrics) -> Self {
        Self {
            context: Arc::new(context),
            metrics,
            room: Semaphore::new(usize::from(AT_ONCE)),
            backoffs: Mutex::default(),
        }
    }

    /// Forgets the failures of what is gone.
    pub fn retain(&self, there: impl Fn(&Named) -> bool) {
        self.backoffs().retain(there);
    }

    /// How long `named`, which has just failed, waits for its next try.
    pub fn wait_after_failure(&self, named: &Named) -> Duration {
        self.backoffs().failed(named)
    }

    fn backoffs(&self) -> MutexGuard<'_, Backoffs<Named>> {
        // What is guarded is whole after every statement, so a thread that panicked leaves nothing half-done.
        self.backoffs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the finalizer off an activation that is not ours any more. Where that fails it is handed back, to be tried again.
    pub async fn let_go(&self, key: ObjectKey, uid: String) {
        let _permit = self.room.acquire().await;
        let Context { client, shelf, .. } = &*self.context;
        match tokio::time::timeout(TIMEOUT, let_go(client, &key, &uid)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::warn!("AudienceActivation {key} carries the labels no more that are ours: {error}");
            }
            Err(_) => tracing::warn!("AudienceActivation {key}: {}", DereferenceError::Timeout(TIMEOUT)),
        }
        tokio::time::sleep(self.wait_after_failure(&(About::Activation, key.clone()))).await;
        shelf.stock().leave(key, uid);
    }

    /// One attempt at one resource.
    pub async fn attempt<K: Kind>(&self, guarded: Arc<DeserializeGuard<K>>) -> Result<Action, DereferenceError> {
        let key = ObjectKey::of(&*guarded);
        let span = tracing::info_span!("reconcile", kind = %K::kind(&()), namespace = key.namespace, name = key.name);
        self.bounded(guarded).instrument(span).await
    }

    async fn bounded<K: Kind>(&self, guarded: Arc<DeserializeGuard<K>>) -> Result<Action, DereferenceError> {
        // The semaphore is never closed; if it were, nothing would be bounded, and nothing lost.
        let _permit = self.room.acquire().await;
        let named = (K::ABOUT, ObjectKey::of(&*guarded));
        let began = clock::monotonic();
        self.metrics.reconcile_begins(K::CONTROLLER);
        let work = AssertUnwindSafe(dereference(guarded, Arc::clone(&self.context))).catch_unwind();
        let result = match tokio::time::timeout(TIMEOUT, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => {
                self.metrics.count_panic(K::CONTROLLER);
                Err(DereferenceError::Panicked(words(&*panic)))
            }
            Err(_) => Err(DereferenceError::Timeout(TIMEOUT)),
        };
        let told = match &result {
            Ok(action) if *action == Action::await_change() => ReconcileResult::Success,
            Ok(_) => ReconcileResult::RequeueAfter,
            Err(_) => ReconcileResult::Error,
        };
        self.metrics.reconcile_ends(K::CONTROLLER, told, clock::monotonic().saturating_sub(began));
        match &result {
            Ok(_) => self.backoffs().succeeded(&named),
            Err(error) => {
                tracing::warn!("{} {}: {error}", K::kind(&()), named.1);
                self.context.shelf.stock().fail(named);
                self.context.shelf.wake();
            }
        }
        result
    }
}

/// What a panic said.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it said nothing".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn what_a_panic_said_is_kept() {
        let said = |result: Result<(), Box<dyn Any + Send>>| words(&*result.unwrap_err());
        assert_eq!(said(AssertUnwindSafe(async { panic!("plain") }).catch_unwind().await), "plain");
        let made = 3;
        assert_eq!(said(AssertUnwindSafe(async move { panic!("made of {made}") }).catch_unwind().await), "made of 3");
        let other = AssertUnwindSafe(async { std::panic::panic_any(1_u8) }).catch_unwind().await;
        assert_eq!(said(other), "it said nothing");
    }
}
