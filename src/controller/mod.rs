//! The shell of an API server: objects in, statuses and Events out. It decides nothing: `reconcile` does.

pub mod events;
pub mod publish;
