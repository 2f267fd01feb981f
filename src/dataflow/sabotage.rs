//! Promises that a test breaks on purpose, to show that it would see it. In builds with debug assertions only: a release has none
//! of it, whatever its environment says.

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// At most one record of a profile is on its way.
    Fence,
    /// The position moves over what is done with, and nothing else.
    CheckpointOrder,
    /// A dead letter is written with the position that moves over it.
    DeadLetterWrite,
}

/// Whether that one is broken.
#[cfg(debug_assertions)]
pub(super) fn breaks(promise: Promise) -> bool {
    use std::sync::LazyLock;
    static BROKEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("ACTIVATION_OPERATOR_SABOTAGE").ok());
    BROKEN.as_deref().is_some_and(|broken| {
        broken
            == match promise {
                Promise::Fence => "fence",
                Promise::CheckpointOrder => "checkpoint-order",
                Promise::DeadLetterWrite => "dead-letter-write",
            }
    })
}

/// None is.
#[cfg(not(debug_assertions))]
pub(super) const fn breaks(_promise: Promise) -> bool {
    false
}
