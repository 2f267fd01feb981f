//! The two custom resources.
