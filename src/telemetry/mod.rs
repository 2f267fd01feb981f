//! What the process tells of itself, and the clock.

pub mod clock;
