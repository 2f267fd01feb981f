//! The shell without a cluster: the same manifests from a folder, everything in one process.
