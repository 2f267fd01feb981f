//! Holds the layers: a file names only modules of its own or of a lower layer, the lowest is pure, one module reads the clock,
//! and no file outgrows its subject. Judged by the paths that the files of `src/` write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each may name the ones above it, and its own.
const LAYERS: [&[&str]; 9] = [
    &["api", "profile", "export"],
    &["store", "telemetry"],
    &["hub", "kinesis"],
    &["feed"],
    &["dataflow"],
    &["reconcile"],
    &["fleet"],
    &["controller", "standalone"],
    &["cli", "runtime"],
];

/// What the lowest layer does without: it is given what it needs to know.
const EFFECTS: &[&[&str]] = &[
    &["kube", "Client"],
    &["kube", "client"],
    &["kube", "Api"],
    &["kube", "runtime"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "env"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["tokio"],
    &["tracing"],
];

/// Who reads the clock.
const CLOCK: &str = "telemetry/clock.rs";
const CLOCKS: &[&str] = &["Instant", "SystemTime", "Timestamp", "Zoned"];

const MOST_LINES: usize = 500;

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The words and signs of a file, without comments and literals.
fn tokens(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let (mut found, mut index) = (Vec::new(), 0);
    while index < characters.len() {
        let start = index;
        match (at(index), at(index + 1)) {
            ('/', '/') => index = next(&characters, index, |rest| rest[0] == '\n'),
            ('/', '*') => index = next(&characters, index + 2, |rest| rest.starts_with(&['*', '/'])) + 2,
            ('r', '"' | '#') if raw_string(&characters, index).is_some() => {
                index = raw_string(&characters, index).unwrap();
            }
            // Behind a quote without a backslash may stand a lifetime.
            ('"', _) | ('\'', '\\') => index = quoted(&characters, index),
            ('\'', _) if at(index + 2) == '\'' => index += 3,
            (':', ':') => {
                found.push("::".to_owned());
                index += 2;
            }
            (character, _) if is_word(character) => {
                index = next(&characters, index, |rest| !is_word(rest[0]));
                found.push(characters[start..index].iter().collect());
            }
            (character, _) => {
                if !character.is_whitespace() {
                    found.push(character.to_string());
                }
                index += 1;
            }
        }
    }
    found
}

/// Where `stop` first holds, or the end.
fn next(characters: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..characters.len()).find(|index| stop(&characters[*index..])).unwrap_or(characters.len())
}

/// The end of a literal that ends with the quote that it began with.
fn quoted(characters: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < characters.len() && characters[index] != characters[start] {
        index += if characters[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// The end of `r"…"` or `r#"…"#`, if one begins here.
fn raw_string(characters: &[char], start: usize) -> Option<usize> {
    let open = next(characters, start + 1, |rest| rest[0] != '#');
    if characters.get(open) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', open - start - 1)).collect();
    Some(next(characters, open + 1, |rest| rest.starts_with(&end)) + end.len())
}

/// Every path of two or more names in `tokens`, with `{}` groups written out and `super` resolved from `module`, the place of
/// the file (`["kinesis", "probe"]`). Paths within the crate begin with `crate`.
fn paths(tokens: &[String], module: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut place: Vec<String> = std::iter::once("crate").chain(module.iter().copied()).map(str::to_owned).collect();
    // How deep in braces each inline module began.
    let (mut depth, mut inline) = (0, Vec::new());
    let mut index = 0;
    while index < tokens.len() {
        let after = |step: usize| tokens.get(index + step).map(String::as_str);
        match tokens[index].as_str() {
            "mod" if after(2) == Some("{") => {
                place.push(tokens[index + 1].clone());
                inline.push(depth);
                depth += 1;
                index += 3;
            }
            "{" => {
                depth += 1;
                index += 1;
            }
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    place.pop();
                }
                index += 1;
            }
            word if is_name(word) && after(1) == Some("::") => {
                let mut written = Vec::new();
                index = tree(tokens, index, &[], &mut written);
                found.extend(written.into_iter().map(|path| resolved(path, &place)));
            }
            _ => index += 1,
        }
    }
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|character: char| character.is_alphabetic() || character == '_')
}

/// Reads a path that begins at `index`, with its groups; gives where it ends.
fn tree(tokens: &[String], mut index: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(index) {
        if token == "{" {
            index += 1;
            while tokens.get(index).is_some_and(|token| token != "}") {
                let end = tree(tokens, index, &path, found);
                // What cannot be read as a path, such as a comma or the name behind `as`, is passed over.
                index = end.max(index + 1);
                while tokens.get(index).is_some_and(|token| token != "," && token != "}") {
                    index += 1;
                }
                index += usize::from(tokens.get(index).is_some_and(|token| token == ","));
            }
            return index + 1;
        }
        if !is_name(token) && token != "*" {
            break;
        }
        path.push(token.clone());
        index += 1;
        if tokens.get(index).is_none_or(|token| token != "::") {
            break;
        }
        index += 1;
    }
    if path.len() > before.len() {
        found.push(path);
    }
    index
}

fn resolved(path: Vec<String>, place: &[String]) -> Vec<String> {
    let up = path.iter().take_while(|name| *name == "super").count();
    let here = usize::from(path.first().is_some_and(|name| name == "self"));
    if up + here == 0 {
        return path;
    }
    let kept = place.len().saturating_sub(up).max(1);
    place[..kept].iter().cloned().chain(path.into_iter().skip(up + here)).collect()
}

/// `tokens` without what stands behind the first `#[cfg(test)]`: tests may look at disks and clocks.
fn without_tests(tokens: &[String]) -> &[String] {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let end = tokens.windows(mark.len()).position(|window| window.iter().zip(mark).all(|(token, mark)| token == mark));
    &tokens[..end.unwrap_or(tokens.len())]
}

/// What is wrong with a file of `src/`, known by its path from there.
fn judge(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if lines > MOST_LINES {
        wrong.push(format!("{file} has {lines} lines, over {MOST_LINES}: split it by concept"));
    }
    let mut module: Vec<_> = file.trim_end_matches(".rs").split('/').collect();
    module.pop_if(|last| *last == "mod");
    if matches!(module[..], ["lib" | "main"]) {
        return wrong;
    }
    let Some(own) = layer_of(module[0]) else {
        wrong.push(format!("{file} belongs to no layer: add {} to the table", module[0]));
        return wrong;
    };
    let tokens = tokens(text);
    for path in paths(&tokens, &module).iter().filter(|path| path[0] == "crate") {
        let named = path.get(1).map_or("the whole crate", String::as_str);
        match layer_of(named) {
            Some(layer) if layer <= own => {}
            Some(layer) => wrong.push(format!("{file}, of layer {}, names {named}, of layer {}", own + 1, layer + 1)),
            None => wrong.push(format!("{file} names {named}, which belongs to no layer")),
        }
    }
    let is_test = module.last() == Some(&"tests");
    for path in paths(without_tests(&tokens), &module).iter().filter(|_| !is_test) {
        let shown = path.join("::");
        let effect = path[0].starts_with("aws_")
            || EFFECTS.iter().any(|effect| path.iter().zip(*effect).all(|(a, b)| a == b) && path.len() >= effect.len());
        if own == 0 && effect {
            wrong.push(format!("{file} must be pure, and names {shown}"));
        }
        if let [.., clock, now] = &path[..]
            && now == "now"
            && CLOCKS.contains(&clock.as_str())
            && file != CLOCK
        {
            wrong.push(format!("{file} reads the clock by {shown}: take `now`, or ask telemetry::clock"));
        }
    }
    wrong.dedup();
    wrong
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_file_keeps_to_its_layer() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files(&source);
    assert!(files.len() > 50, "only {} files were found", files.len());
    let (mut wrong, mut named) = (Vec::new(), 0);
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(&source).unwrap().to_str().unwrap().replace('\\', "/");
        named += paths(&tokens(&text), &[]).iter().filter(|path| path[0] == "crate").count();
        wrong.extend(judge(&name, &text));
    }
    assert!(named > 20, "only {named} paths within the crate were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_module_of_a_later_layer_is_found_however_it_is_named() {
    for text in [
        "use crate::store::Batch;",
        "use crate::{api::Moment, store::{Batch, log::Head}};",
        "use crate::{self as all, store as s};",
        "use super::super::store;",
        "use super::super::{api, store::Batch};",
        "fn f() { crate::store::open(); }",
        "mod inner { use super::super::super::store; }",
        "mod tests { fn f() { let x = 'a'; super::super::super::store::open(\"}\") } }",
        "fn f<'a>(x: &'a str) -> crate::store::Batch<'a> {}",
        "pub(in crate::store) fn f() {}",
    ] {
        let wrong = judge("export/projection.rs", text);
        assert!(wrong.iter().any(|one| one.contains("names store, of layer 2")), "{text}: {wrong:?}");
    }
    assert_eq!(judge("feed/mod.rs", "use super::dataflow;"), ["feed/mod.rs, of layer 4, names dataflow, of layer 5"]);
    assert_eq!(judge("hub/mod.rs", "use crate::*;"), ["hub/mod.rs names *, which belongs to no layer"]);
    assert_eq!(judge("hub/mod.rs", "use crate::helper::x;"), ["hub/mod.rs names helper, which belongs to no layer"]);
    assert_eq!(judge("extra/mod.rs", ""), ["extra/mod.rs belongs to no layer: add extra to the table"]);
}

#[test]
fn its_own_and_lower_layers_may_be_named_and_mere_mentions_are_none() {
    for text in [
        "use crate::{api, profile::entity::Entity, export::Mapping};",
        "use super::super::api;",
        "mod tests { use super::super::trigger; use super::*; }",
        "mod a { mod b {} } use super::trigger;",
        "// use crate::store;\n/* crate::store */ /// [`crate::store`]",
        "const TEXT: &str = \"crate::store\"; const RAW: &str = r#\"crate::store \"quoted\"\"#;",
        "pub(crate) fn f() {} pub(super) fn g() {}",
        "fn f() { x::store::y(); store::z() }",
    ] {
        assert_eq!(judge("export/projection.rs", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_lowest_layer_is_pure_but_for_its_tests() {
    for text in [
        "use kube::Client;",
        "use kube::{Client, CustomResource};",
        "use aws_sdk_kinesis::Client;",
        "use std::{collections::BTreeMap, fs};",
        "use std::time::{Duration, Instant};",
        "fn f() { tokio::spawn(async {}); }",
        "fn f() { std::net::TcpStream::connect(\"x\"); }",
    ] {
        let wrong = judge("api/mod.rs", text);
        assert!(wrong.iter().any(|one| one.contains("must be pure")), "{text}: {wrong:?}");
        let tested = format!("#[cfg(test)]\nmod tests {{ {text} }}");
        assert_eq!(judge("api/mod.rs", &tested), Vec::<String>::new());
        assert_eq!(judge("hub/mod.rs", text), Vec::<String>::new());
    }
    assert!(judge("api/mod.rs", "use std::time::Duration; use kube::CustomResource;").is_empty());
}

#[test]
fn one_module_reads_the_clock() {
    for text in [
        "fn f() { Instant::now(); }",
        "fn f() { std::time::SystemTime::now() }",
        "fn f() { jiff::Timestamp::now() }",
        "fn f() { tokio::time::Instant::now() }",
        "static S: LazyLock<Instant> = LazyLock::new(Instant::now);",
    ] {
        let wrong = judge("dataflow/worker.rs", text);
        assert!(wrong.iter().any(|one| one.contains("reads the clock")), "{text}: {wrong:?}");
        assert_eq!(judge(CLOCK, text), Vec::<String>::new());
        assert_eq!(judge("dataflow/worker.rs", &format!("#[cfg(test)] mod tests {{ {text} }}")), Vec::<String>::new());
    }
    assert!(judge("dataflow/worker.rs", "fn f() { clock::now(); telemetry::clock::now() }").is_empty());
}

#[test]
fn a_file_of_over_five_hundred_lines_is_split() {
    assert!(judge("hub/mod.rs", &"\n".repeat(500)).is_empty());
    assert_eq!(judge("hub/mod.rs", &"\n".repeat(501)).len(), 1);
    assert_eq!(judge("lib.rs", &"\n".repeat(501)).len(), 1);
}
