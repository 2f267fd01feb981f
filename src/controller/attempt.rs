//! Effects: what surrounds every dereference: a deadline, a caught panic, the wait after a failure, and what is measured of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use tokio::sync::Semaphore;

use super::backoff::Backoffs;
use super::dereference::{Context, DereferenceError, dereference};
use super::scope::{Kind, Named};
use crate::reconcile::ObjectKey;
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

    /// One attempt at one resource.
    pub async fn attempt<K: Kind>(&self, guarded: Arc<DeserializeGuard<K>>) -> Result<Action, DereferenceError> {
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
