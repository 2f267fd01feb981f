//! What the process tells of itself, and the clock.

pub mod clock;
pub mod health;
pub mod logging;
pub mod metrics;
