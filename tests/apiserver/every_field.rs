//! The server and the check without one, asked about manifests that nobody thought of: every field with every kind of value.

use activation_operator::api::offline;
use serde_json::{Value, json};

use crate::{cluster, manifest_table::cases, place, table::refusals};

/// Longer than what a refusal shows of a value.
const LONG: &str = "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll";

/// Values of every kind, to be put in the place of the field at `pointer`; texts of the forms that rules read where they read them.
fn strange_values(pointer: &str) -> Vec<Value> {
    const TEXTS: [&str; 8] = ["", "a", "A b", "ä", "-1s", "0", "null", "None"];
    const MOMENTS: [&str; 14] = [
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02t03:04:05z",
        "2026-02-30T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05.123456789123Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05+25:00",
        "2026-01-02T03:04:05+0100",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ];
    const DURATIONS: [&str; 14] =
        ["1h", "59s", "1m0.001s", "0.5s", "1.0001s", "1h1h", "01h", "99999h", "300s", "1d", "1us", "+1h", "1 h", "1.h"];
    const SIZES: [&str; 15] = [
        "1Mi",
        "1.5Mi",
        "1Gi",
        "1024",
        "1023",
        "1e3",
        "1E3",
        "1E",
        "2048m",
        "1000000000000m",
        "+1Mi",
        "1.Ki",
        ".5Mi",
        "1mi",
        "0x400",
    ];
    const URLS: [&str; 24] = [
        "https://u@h/",
        "https://h/?q",
        "https://h/#f",
        "https://[::1]",
        "https://[::1",
        "http://1",
        "http://0x7f.1",
        "http://a..b",
        "https://a:99999",
        "https://a:0",
        "https://a:",
        "https://a b",
        "HTTPS://EXAMPLE.com",
        "//host",
        "http:///x",
        "http://",
        "https://münchen.de",
        "http://169.254.1.1",
        "http://169.254.1.1.nip.io",
        "https://a/%zz",
        "http://[fe80::1%25eth0]/",
        "http://025177524776/",
        "http://169.254.43518/",
        "http://a_b/",
    ];
    const THRESHOLDS: [&str; 8] = ["0%", "100%", "100.5%", "0.001%", "-1%", "%", "1", "18446744073709551616"];
    let ends = |endings: &[&str]| endings.iter().any(|ending| pointer.ends_with(ending));
    let mut texts = TEXTS.to_vec();
    if ends(&["At"]) {
        texts.extend(MOMENTS);
    }
    if ends(&["Timeout", "linger", "interval", "deadline", "threshold"]) {
        texts.extend(DURATIONS);
    }
    if ends(&["Bytes"]) {
        texts.extend(SIZES);
    }
    if ends(&["url"]) {
        texts.extend(URLS);
    }
    if ends(&["threshold"]) {
        texts.extend(THRESHOLDS);
    }
    let mut values: Vec<_> = texts.iter().map(|text| json!(text)).collect();
    values.extend([
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(2),
        json!(100),
        json!(2.0),
        json!([]),
        json!({}),
    ]);
    values.extend([json!(LONG), json!([null]), json!([null, null]), json!(["a", "a"]), json!([{}])]);
    values
}

/// The JSON pointers of every value below `value`.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let children: Vec<_> = match value {
        Value::Object(members) => members.iter().map(|(name, child)| (name.clone(), child)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
        _ => return,
    };
    for (name, child) in children {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        pointers(child, &pointer, found);
    }
}

/// A server's refusals in the words of the check without one, where its own mislead or run on.
fn mended(told: &[(String, String)]) -> Vec<(String, String)> {
    let cut = format!("{:?}...", "l".repeat(256));
    let mend = |message: &str| {
        // It counts characters, and calls them bytes.
        let message = match message.strip_suffix(" bytes") {
            Some(start) if start.starts_with("Too long: ") => format!("{start} characters"),
            _ => message.to_owned(),
        };
        message.replace(&format!("{LONG:?}"), &cut)
    };
    told.iter().map(|(path, message)| (path.clone(), mend(message))).collect()
}

/// The table names what its authors thought of; this goes where nobody thought.
#[test]
fn a_server_and_the_check_without_one_agree_on_every_field_with_every_kind_of_value() {
    let client = cluster().client();
    let mut differences = Vec::new();
    let mut asked = 0;
    for case in cases().into_iter().filter(|case| case.name.starts_with("everything that ")) {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", place(&case.manifest));
        let mut places = Vec::new();
        pointers(&case.manifest["spec"], "/spec", &mut places);
        for (pointer, value) in
            places.iter().flat_map(|place| strange_values(place).into_iter().map(move |v| (place, v)))
        {
            let mut manifest = case.manifest.clone();
            *manifest.pointer_mut(pointer).unwrap() = value.clone();
            let answer = client.post(&path, &manifest);
            let mut server = if answer.status == 201 { Vec::new() } else { mended(&refusals(&answer)) };
            let mut ours: Vec<_> = match offline::check(&manifest) {
                Ok(_) => Vec::new(),
                Err(refusals) => refusals.into_iter().map(|refusal| (refusal.path, refusal.message)).collect(),
            };
            server.sort();
            ours.sort();
            if pointer.ends_with("At") {
                // Of what is no time a server tells what Go's parsers say, and what its rule then stumbles over; ours is clearer.
                for told in [&mut server, &mut ours] {
                    for (_, message) in told.iter_mut() {
                        message.clear();
                    }
                    told.dedup();
                }
            }
            asked += 1;
            if server != ours {
                differences.push(format!("{pointer} = {value}:\n  server {server:?}\n  ours   {ours:?}"));
            }
        }
    }
    assert!(asked > 1000, "only {asked} manifests were judged");
    assert!(differences.is_empty(), "{} of {asked}:\n{}", differences.len(), differences.join("\n"));
}
