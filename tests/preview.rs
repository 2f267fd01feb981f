//! The `preview` binary as people use it: pipes, refusals, exit codes. What it exports is judged by the cases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const MANIFESTS: &str = r"
apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {name: events, namespace: marketing}
spec:
  region: eu-west-1
  stream: {name: profiles}
  credentials: {secretRef: {name: a-secret-that-is-not-there}}
---
apiVersion: activation.dev/v1alpha1
kind: AudienceActivation
metadata: {name: vip, namespace: marketing}
spec:
  destinationRef: {name: events}
  audiences: [{id: a1}]
  mappedAttributes: [{path: tier}]
  record: {metadata: true}
";

fn entry(profile: &str) -> String {
    format!(
        r#"{{"header":{{"profileId":"{profile}"}},"body":{{"xdmEntity":{{"tier":1.50e+07,"segmentMembership":{{"ups":{{"a1":{{"status":"realized"}}}}}}}}}}}}"#
    )
}

fn folder(manifests: &str, updates: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("manifests.yaml"), manifests).unwrap();
    fs::write(folder.path().join("updates.ndjson"), updates).unwrap();
    folder
}

fn preview(folder: &Path, updates: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activation-operator"));
    // Nothing of the caller's surroundings is needed.
    command.env_clear().arg("preview").arg("-f").arg(folder).arg("--updates").arg(updates);
    command.args(["--now", "2026-02-01T00:00:00Z"]);
    command
}

fn run(manifests: &str, updates: &str) -> (Output, String, String) {
    let folder = folder(manifests, updates);
    let output = preview(folder.path(), &folder.path().join("updates.ndjson")).output().unwrap();
    let texts = (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap());
    (output, texts.0, texts.1)
}

#[test]
fn a_record_comes_out_byte_for_byte_and_stamped_with_the_given_moment() {
    let (output, records, errors) = run(MANIFESTS, &entry("p-1"));
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    assert!(records.starts_with(r#"{"line":1,"activation":"marketing/vip","stream":"profiles","partitionKey":"p-1","#));
    assert!(records.contains(r#""record":{"tier":1.50e+07,"#), "{records}");
    assert!(records.contains(r#""exportedAt":"2026-02-01T00:00:00Z"}"#), "{records}");
}

#[test]
fn a_refused_line_is_told_by_its_number_and_the_rest_goes_on() {
    let updates = format!("{}\n\nno json\n{}\n{{\"n\":1}}\n", entry("p-1"), entry("p-2"));
    let (output, records, errors) = run(MANIFESTS, &updates);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = records.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(lines, [r#"{"line":1"#, r#"{"line":4"#]);
    let told: Vec<_> = errors.lines().collect();
    assert!(told.len() == 2 && told[0].starts_with("line 3: not valid JSON"), "{errors}");
    assert!(told[1].starts_with("line 5: no profile: give header.profileId"), "{errors}");
}

#[test]
fn updates_come_from_standard_input_too() {
    let folder = folder(MANIFESTS, "");
    let mut child =
        preview(folder.path(), Path::new("-")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(entry("p-1").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(br#"{"line":1,"#));
}

#[test]
fn where_a_manifest_is_refused_nothing_is_previewed() {
    let broken = format!("{MANIFESTS}---\napiVersion: activation.dev/v1alpha1\nkind: AudienceActivation\n");
    let (output, records, errors) = run(&broken, &entry("p-1"));
    assert_eq!((output.status.code(), records.as_str()), (Some(1), ""));
    assert!(errors.contains("manifests.yaml, document 3, AudienceActivation: metadata.name is missing"), "{errors}");
}

#[test]
fn an_activation_whose_destination_is_not_there_is_refused() {
    let (_, activation) = MANIFESTS.split_once("---\n").unwrap();
    let (output, records, errors) = run(activation, &entry("p-1"));
    assert_eq!((output.status.code(), records.as_str()), (Some(1), ""));
    assert!(errors.contains("KinesisDestination marketing/events is not among the manifests"), "{errors}");
}

#[test]
fn a_foreign_kind_is_noted_and_does_not_stop_the_rest() {
    let (output, records, errors) = run(&format!("{MANIFESTS}---\napiVersion: v1\nkind: ConfigMap\n"), &entry("p-1"));
    assert_eq!((output.status.code(), records.lines().count()), (Some(0), 1));
    assert!(errors.starts_with("note: ") && errors.contains("not one of ours"), "{errors}");
}

#[test]
fn what_is_left_out_for_lack_of_a_required_attribute_is_noted() {
    let required = MANIFESTS.replace("{path: tier}", "{path: m, required: true}");
    let (output, records, errors) = run(&required, &entry("p-1"));
    assert_eq!((output.status.code(), records.as_str()), (Some(0), ""));
    assert_eq!(errors, "note: left out for lack of a required attribute: 1\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_preview_quietly() {
    let updates: String = (0..20_000).map(|number| entry(&format!("p-{number}")) + "\n").collect();
    let folder = folder(MANIFESTS, &updates);
    let mut child = preview(folder.path(), &folder.path().join("updates.ndjson"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with(r#"{"line":1,"#));
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = folder(MANIFESTS, "");
    let missing = preview(folder.path(), &folder.path().join("nothing")).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("nothing: the updates cannot be read"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_activation-operator"));
    let moment = command.args(["preview", "-f", ".", "--updates", "-", "--now", "soon"]).output().unwrap();
    assert_eq!(moment.status.code(), Some(2));
    assert!(String::from_utf8(moment.stderr).unwrap().contains("write it as 2026-01-02T03:04:05Z"));
}
