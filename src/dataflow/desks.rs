//! Types: the desks of the dataflows that run, for whoever has a question to one of them by its name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Desk;

/// The desks of the running dataflows, by `namespace/name`. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Desks {
    open: Arc<RwLock<BTreeMap<String, Desk>>>,
}

impl Desks {
    /// The dataflow runs, and this is where it is asked.
    pub fn open(&self, name: String, desk: Desk) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(name, desk);
    }

    /// The dataflow runs no longer.
    pub fn close(&self, name: &str) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Where the dataflow is asked, if it runs.
    pub fn of(&self, name: &str) -> Option<Desk> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}
