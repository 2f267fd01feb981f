//! The docs lead where they say: every link within the project goes to a file that there is, and to a heading in it.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    pages
}

/// The lines of a page that are prose: neither fenced nor indented code.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let outside = text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fence && !fenced && !line.starts_with("    ")
    });
    outside.collect()
}

/// The anchors of a page's headings, as forges make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let named = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
    named.map(|name| name.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "")).collect()
}

/// What is wrong with the links of a page.
fn judge(page: &Path, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let prose = prose(text).join("\n");
    for after in prose.split("](").skip(1) {
        let link = after.split(')').next().unwrap();
        if link.contains("://") {
            continue;
        }
        let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
        let target = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
        if !target.exists() {
            wrong.push(format!("{}: there is no {file}", page.display()));
        } else if let Some(anchor) = anchor
            && !anchors(&fs::read_to_string(target).unwrap()).iter().any(|one| one == anchor)
        {
            wrong.push(format!("{}: {link} is no heading", page.display()));
        }
    }
    wrong
}

#[test]
fn every_link_within_the_project_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 8, "{pages:?}");
    let wrong: Vec<_> = pages.iter().flat_map(|page| judge(page, &fs::read_to_string(page).unwrap())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    let page = root().join("docs/made-up.md");
    assert_eq!(
        judge(&page, "# A\n[a](gone.md) [b](runbook.md#gone) [c](runbook.md#deadletterspresent) [d](https://gone)")
            .len(),
        2
    );
}
