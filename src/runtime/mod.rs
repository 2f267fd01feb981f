//! What the process itself needs: HTTP, shutdown.

pub mod http;
pub mod shutdown;
pub mod webhooks;
