//! From resources to running dataflows: the middle that both shells share.
//!
//! [`inventory`] is what a shell has found: a folder's manifests, or an API server's objects.

pub mod inventory;
