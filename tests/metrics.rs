//! The committed reference of metrics is what the code says.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{fs, path::Path};

use activation_operator::telemetry::metrics;

/// `UPDATE_DOCS=1` writes the file instead of comparing it.
#[test]
fn the_committed_reference_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = metrics::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/metrics.md is stale: UPDATE_DOCS=1 cargo test --test metrics, and commit it");
}
