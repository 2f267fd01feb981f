//! Every case of the shared folder, through the library and through the `preview` binary.
//!
//! The folder is `ACTIVATION_CASES`, else `../shared/cases` beside the repository, else the copy in `tests/cases`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use activation_operator::export::Mapping;
use activation_operator::export::projection::{self, Projected};
use activation_operator::profile::apply;
use activation_operator::profile::change::Change;
use activation_operator::profile::path::Path as AttributePath;
use activation_operator::profile::update::Update;
use activation_operator::reconcile::inventory::ObjectKey;
use activation_operator::reconcile::mapping::mapping_spec;
use activation_operator::standalone::manifests;
use jiff::Timestamp;
use tempfile::TempDir;

#[path = "support/json.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod json;

use json::Json;

const FILES: [&str; 3] = ["records.json", "triggers.json", "updates.json"];

struct Case {
    name: String,
    now: String,
    manifests: TempDir,
    /// The updates, one a line.
    updates: Vec<String>,
    /// The mapped paths of each activation.
    mapped: HashMap<String, Vec<String>>,
    expect: Vec<Json>,
    rejected: Vec<u64>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shared() -> Option<PathBuf> {
    let beside = root().join("../shared/cases");
    env::var_os("ACTIVATION_CASES").map(PathBuf::from).or_else(|| beside.is_dir().then_some(beside))
}

fn text(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        other => panic!("no text: {other}"),
    }
}

fn elements(value: &Json) -> &[Json] {
    match value {
        Json::Array(elements) => elements,
        other => panic!("no array: {other}"),
    }
}

/// The cases of one file; fails where there is none.
fn cases(file: &str) -> Vec<Case> {
    let path = shared().unwrap_or_else(|| root().join("tests/cases")).join(file);
    let whole = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<_> = elements(&Json::parse(&whole)).iter().map(case).collect();
    assert!(!cases.is_empty(), "{}: no case", path.display());
    cases
}

fn case(case: &Json) -> Case {
    let known =
        ["name", "rule", "now", "destination", "activations", "updates", "expect", "rejected"].map(str::to_owned);
    for name in case.names() {
        assert!(known.contains(&name.to_owned()), "a member that the runner does not know: {name}");
    }
    let get = |name: &str| case.get(name).unwrap_or_else(|| panic!("{name} is missing: {case}"));
    let manifests = TempDir::new().unwrap();
    fs::write(manifests.path().join("1-destination.json"), get("destination").to_string()).unwrap();
    let mut mapped = HashMap::new();
    let mut documents = String::new();
    for activation in elements(get("activations")) {
        documents.extend([activation.to_string(), "\n".to_owned()]);
        let metadata = activation.get("metadata").unwrap();
        let key = format!("{}/{}", text(metadata.get("namespace").unwrap()), text(metadata.get("name").unwrap()));
        let paths = activation.get("spec").unwrap().get("mappedAttributes").map_or(&[][..], elements);
        mapped.insert(key, paths.iter().map(|entry| text(entry.get("path").unwrap())).collect());
    }
    fs::write(manifests.path().join("2-activations.json"), documents).unwrap();
    Case {
        name: text(get("name")),
        now: text(get("now")),
        manifests,
        updates: elements(get("updates")).iter().map(ToString::to_string).collect(),
        mapped,
        expect: elements(get("expect")).to_vec(),
        rejected: elements(get("rejected")).iter().map(|line| line.to_string().parse().unwrap()).collect(),
    }
}

/// What came out: each export with the members that a case expects, and the numbers of the refused lines.
struct Outcome {
    exports: Vec<Json>,
    rejected: Vec<u64>,
}

fn through_the_library(case: &Case) -> Outcome {
    let set = manifests::read(case.manifests.path());
    assert_eq!(set.problems, [], "{}", case.name);
    let mappings: Vec<_> = set
        .order
        .iter()
        .map(|key| {
            let activation = &set.inventory.activations[key];
            let reference = &activation.spec.destination_ref;
            let wanted = ObjectKey::new(reference.namespace_or(&key.namespace), reference.name.as_str());
            let spec = mapping_spec(activation, &set.inventory.destinations[&wanted], None, None);
            (key.to_string(), Mapping::compile(spec).unwrap())
        })
        .collect();
    let now: Timestamp = case.now.parse().unwrap();
    let mut profiles: HashMap<(String, String), String> = HashMap::new();
    let mut outcome = Outcome { exports: Vec::new(), rejected: Vec::new() };
    for (line, number) in case.updates.iter().zip(1_u64..) {
        let Ok(update) = Update::parse(line.as_bytes()) else {
            outcome.rejected.push(number);
            continue;
        };
        let key = (update.merge_policy_id.to_string(), update.profile_id.to_string());
        let before = profiles.get(&key).map(String::as_str);
        let Some(applied) = apply::apply(before, update, number, now).unwrap() else { continue };
        let change = Change::parse(&applied.change).unwrap();
        for (activation, mapping) in &mappings {
            if let Projected::Export(export) = projection::live(mapping, &change, now).unwrap() {
                let triggers: Vec<_> = export.triggers.names().map(|name| Json::Text(name.to_owned())).collect();
                outcome.exports.push(Json::Object(vec![
                    ("line".to_owned(), Json::Literal(number.to_string())),
                    ("activation".to_owned(), Json::Text(activation.clone())),
                    ("partitionKey".to_owned(), Json::Text(export.partition_key)),
                    ("triggers".to_owned(), Json::Array(triggers)),
                    ("record".to_owned(), Json::parse(std::str::from_utf8(&export.record).unwrap())),
                ]));
            }
        }
        if applied.deleted {
            profiles.remove(&key);
        } else {
            profiles.insert(key, String::from_utf8(applied.entity).unwrap());
        }
    }
    outcome
}

fn through_the_binary(case: &Case) -> Outcome {
    let updates = case.manifests.path().join("updates.ndjson");
    fs::write(&updates, case.updates.join("\n")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_activation-operator"))
        .arg("preview")
        .arg("-f")
        .arg(case.manifests.path())
        .arg("--updates")
        .arg(&updates)
        .args(["--now", &case.now])
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let rejected: Vec<u64> =
        errors.lines().filter_map(|line| line.strip_prefix("line ")?.split_once(':')?.0.parse().ok()).collect();
    let code = i32::from(!rejected.is_empty());
    assert_eq!(output.status.code(), Some(code), "{}: {errors}", case.name);
    let exports = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let Json::Object(mut members) = Json::parse(line) else { panic!("{}: {line}", case.name) };
            let stream = members.iter().position(|(name, _)| name == "stream").expect("an export names its stream");
            assert_eq!(members.remove(stream).1, Json::Text("profiles".to_owned()));
            Json::Object(members)
        })
        .collect();
    Outcome { exports, rejected }
}

/// Fails with the case's name where the outcome is not the expected one.
fn judge(case: &Case, outcome: &Outcome, way: &str) {
    let place = format!("{} ({way})", case.name);
    assert_eq!(outcome.rejected, case.rejected, "{place}: the refused lines");
    let lines = |exports: &[Json]| exports.iter().map(|e| e.get("line").unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!(lines(&outcome.exports), lines(&case.expect), "{place}: the lines that export");
    for (found, expected) in outcome.exports.iter().zip(&case.expect) {
        let place = format!("{place}, line {}", expected.get("line").unwrap());
        if let Some(difference) = found.difference(expected, &place) {
            panic!("{difference}\nfound    {found}\nexpected {expected}");
        }
        let activation = text(expected.get("activation").unwrap());
        in_order(found.get("record").unwrap(), expected.get("record").unwrap(), &case.mapped[&activation], &place);
    }
}

/// `semantics 4.1` and `4.7` speak of order: mapped attributes as the mapping lists them, then `segmentMembership`, then
/// `identityMap`, its namespaces as they came.
fn in_order(record: &Json, expected: &Json, mapped: &[String], place: &str) {
    let names = record.names();
    let (attributes, reserved) = names.split_at(names.len() - 2);
    assert_eq!(reserved, ["segmentMembership", "identityMap"], "{place}");
    let paths: Vec<Vec<String>> =
        mapped.iter().map(|path| AttributePath::parse(path).unwrap().names().to_vec()).collect();
    let all: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
    let order = names_in_order(&all);
    let present: Vec<_> = order.iter().filter(|name| attributes.contains(&name.as_str())).collect();
    assert_eq!(attributes.iter().collect::<Vec<_>>(), present, "{place}: the order of the attributes");
    for name in attributes {
        members_in_order(record.get(name).unwrap(), &below(&all, name), place);
    }
    let identities = |record: &Json| record.get("identityMap").unwrap().names().join(" ");
    assert_eq!(identities(record), identities(expected), "{place}: the order of the identities");
}

fn members_in_order(value: &Json, paths: &[&[String]], place: &str) {
    if paths.iter().any(|path| path.is_empty()) {
        return;
    }
    let order = names_in_order(paths);
    let names = value.names();
    let present: Vec<_> = order.iter().filter(|name| names.contains(&name.as_str())).collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), present, "{place}: the order of the attributes");
    for name in names {
        members_in_order(value.get(name).unwrap(), &below(paths, name), place);
    }
}

/// The first names of the paths, each once, in the order of the mapping.
fn names_in_order(paths: &[&[String]]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for first in paths.iter().filter_map(|path| path.first()) {
        if !order.contains(first) {
            order.push(first.clone());
        }
    }
    order
}

fn below<'a>(paths: &[&'a [String]], name: &str) -> Vec<&'a [String]> {
    paths
        .iter()
        .filter_map(|path| path.split_first().filter(|(first, _)| *first == name).map(|(_, rest)| rest))
        .collect()
}

fn run(file: &str) {
    let cases = cases(file);
    for case in &cases {
        judge(case, &through_the_library(case), "library");
        judge(case, &through_the_binary(case), "preview");
        println!("{file}: {}", case.name);
    }
    println!("{file}: {} cases", cases.len());
}

#[test]
fn what_determines_an_export() {
    run("triggers.json");
}

#[test]
fn what_is_included_in_an_export() {
    run("records.json");
}

#[test]
fn what_an_update_does_to_a_profile() {
    run("updates.json");
}

#[test]
fn every_file_of_the_folder_is_run_and_no_name_stands_for_two_cases() {
    let folder = shared().unwrap_or_else(|| root().join("tests/cases"));
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert_eq!(files, FILES);
    let mut names: Vec<_> = FILES.iter().flat_map(|file| cases(file)).map(|case| case.name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn the_copy_of_the_cases_is_the_shared_folder() {
    let shared = root().join("../shared/cases");
    if !shared.is_dir() {
        // A clone by itself: its copy is the only one.
        return;
    }
    for file in FILES.iter().chain(&["README.md"]) {
        let (ours, theirs) = (root().join("tests/cases").join(file), shared.join(file));
        let same = fs::read(&ours).unwrap() == fs::read(&theirs).unwrap();
        assert!(same, "tests/cases/{file} is not what {} holds: copy it over", theirs.display());
    }
}
