//! Types: the two custom resources, what may stand in them, and how a manifest is checked without a server.
//!
//! [`destination`] and [`activation`] are the resources with their status; [`references`], [`alerts`] and [`quantities`]
//! are what both are made of; [`conditions`] lists every condition type and every reason. [`crd`] turns the types into
//! the two `CustomResourceDefinition`s, and [`offline`] checks a manifest against them as an API server would.
//! Nothing here asks a network, reads a file or looks at a clock.

#![allow(
    clippy::doc_markdown,
    reason = "`kubectl explain` shows these comments as they stand, where a backtick is only noise"
)]
#![allow(clippy::duplicated_attributes, reason = "each column says its own type")]

pub mod activation;
pub mod alerts;
pub mod conditions;
pub mod crd;
pub mod destination;
pub mod offline;
pub mod quantities;
pub mod references;

pub use activation::{AudienceActivation, AudienceActivationSpec, AudienceActivationStatus};
pub use crd::{crd_yaml, crds};
pub use destination::{KinesisDestination, KinesisDestinationSpec, KinesisDestinationStatus};
pub use offline::{Refusal, Resource};
pub use quantities::{ByteSize, DurationText, Moment};

/// The API group of both resources.
pub const GROUP: &str = "activation.dev";
/// What `apiVersion` says in a manifest.
pub const API_VERSION: &str = "activation.dev/v1alpha1";

/// Annotation: any new value asks for a pass now; it is echoed in `status.lastHandledRequestAt`.
pub const REQUESTED_AT: &str = "activation.dev/requested-at";
/// Annotation on an activation: any new value asks for a resync (`semantics 5.6`).
pub const RESYNC_REQUESTED_AT: &str = "activation.dev/resync-requested-at";
