//! The committed page of conditions and reasons is what the code says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, path::Path};

use activation_operator::api::conditions;

/// `UPDATE_DOCS=1` writes the file instead of comparing it.
#[test]
fn the_committed_page_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conditions.md");
    let text = conditions::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/conditions.md is stale: run UPDATE_DOCS=1 cargo test --test conditions_docs");
}
