//! What the process itself needs: HTTP, webhooks, shutdown.

pub mod http;
pub mod shutdown;
pub mod webhooks;
