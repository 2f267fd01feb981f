//! `POST /v1/profiles` and what stands beside it, over real connections to the real server and store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod access;
mod client;
mod hostile;
mod requests;
mod server;

/// One small update.
pub(crate) fn update(profile: &str, name: &str) -> String {
    format!("{{\"header\":{{\"profileId\":\"{profile}\"}},\"body\":{{\"xdmEntity\":{{\"name\":\"{name}\"}}}}}}\n")
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
