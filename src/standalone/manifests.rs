//! Effects: reads the manifests of a file or a folder into an [`Inventory`], and says of each that it refuses where it stands
//! and how to mend it.
//!
//! Two objects of one name are refused from the second on; everything else is judged document by document. A refused document
//! is left out as a whole. No message quotes a Secret: of one that can't be read only the place is told.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::offline::{self, Resource};
use crate::api::{API_VERSION, GROUP};
use crate::profile::json;
use crate::reconcile::inventory::{DEFAULT_NAMESPACE, Inventory, ObjectKey};

mod documents;
mod secret;

/// The longest file of manifests, in bytes (16 MiB).
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The most that is read of one folder, in bytes (256 MiB).
pub const MAX_FOLDER_BYTES: u64 = 256 << 20;

/// The label that every namespace carries by itself.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) const DESTINATION: &str = "KinesisDestination";
pub(super) const ACTIVATION: &str = "AudienceActivation";

/// What the manifests say.
///
/// Where there is a refusal, what the inventory lacks may have been meant to stay: whoever runs what is declared must not take
/// it for removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ManifestSet {
    /// Everything that was taken.
    pub inventory: Inventory,
    /// What was refused, and what was passed over.
    pub problems: Vec<ManifestProblem>,
    /// The activations in the order in which they were found: files by name, documents in order.
    pub order: Vec<ObjectKey>,
}

impl ManifestSet {
    /// Whether a manifest was refused; what was only passed over does not count.
    pub fn has_refusal(&self) -> bool {
        self.problems.iter().any(|problem| !problem.ignored)
    }
}

/// A document that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblem {
    /// The file, the document in it (from 1, empty ones not counted), and the object, as far as they are known.
    pub place: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// Whether it was passed over only because it is not one of ours.
    pub ignored: bool,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Reads a file, or every `*.yaml`, `*.yml` and `*.json` of a folder by name: not those of folders inside, nor hidden ones.
pub fn read(path: &Path) -> ManifestSet {
    let mut reader = Reader::default();
    match files(path) {
        Ok(None) => reader.file(path),
        Ok(Some(files)) => {
            if files.is_empty() {
                reader.pass_over(
                    &path.display().to_string(),
                    "no *.yaml, *.yml or *.json file in this folder".to_owned(),
                );
            }
            for file in &files {
                reader.file(file);
            }
        }
        Err(error) => reader.refuse(&path.display().to_string(), unreadable(&error)),
    }
    reader.set
}

/// The files of a folder, sorted; `None` where the path is no folder.
pub(super) fn files(path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let manifest = ["yaml", "yml", "json"].iter().any(|extension| has_extension(&file, extension));
        // A link that leads nowhere is kept: reading it says so.
        let folder = fs::metadata(&file).is_ok_and(|metadata| metadata.is_dir());
        if manifest && !hidden && !folder {
            files.push(file);
        }
    }
    files.sort();
    Ok(Some(files))
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}: give a file or a folder of manifests that this user may read")
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    set: ManifestSet,
    /// Where each object was found first, by kind and name.
    places: BTreeMap<(String, ObjectKey), String>,
    bytes: u64,
}

/// An object whose kind is one of ours and which has a name.
struct Named<'a> {
    kind: &'a str,
    key: ObjectKey,
    place: String,
}

impl Reader {
    fn refuse(&mut self, place: &str, message: String) {
        self.set.problems.push(ManifestProblem { place: place.to_owned(), message, ignored: false });
    }

    fn pass_over(&mut self, place: &str, message: String) {
        self.set.problems.push(ManifestProblem { place: place.to_owned(), message, ignored: true });
    }

    fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let opened = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = opened {
            return self.refuse(&name, unreadable(&error));
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return self.refuse(&name, "is over 16 MiB long: split it into several files".to_owned());
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_FOLDER_BYTES {
            return self.refuse(&name, "is not read: the files before it hold 256 MiB already".to_owned());
        }
        let text = match json::text(&bytes) {
            Ok(text) => text.trim_start_matches('\u{feff}'),
            Err(error) => return self.refuse(&name, format!("{error}: save it as UTF-8")),
        };
        let parsed = if has_extension(path, "json") { documents::of_json(text) } else { documents::of_yaml(text) };
        for (document, number) in parsed.into_iter().zip(1_usize..) {
            let place = format!("{name}, document {number}");
            match document {
                Ok(value) => self.document(&place, &value, true),
                Err(message) => self.refuse(&place, message),
            }
        }
    }

    fn document(&mut self, place: &str, manifest: &Value, may_be_list: bool) {
        if !manifest.is_object() {
            let found = json::type_name(&manifest.to_string());
            return self.refuse(place, format!("must be a mapping with apiVersion and kind, but is {found}"));
        }
        let text = |member| manifest.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return self.refuse(place, format!(
                "apiVersion or kind is missing or no text: write apiVersion: {API_VERSION} and kind: {DESTINATION} or {ACTIVATION}"
            ));
        };
        let ours = matches!(kind, DESTINATION | ACTIVATION);
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        match (api_version, kind) {
            ("v1", "List") | (API_VERSION, "KinesisDestinationList" | "AudienceActivationList") => {
                self.list(place, manifest, may_be_list);
            }
            ("v1", "Secret" | "Namespace") => self.object(place, manifest, kind),
            (API_VERSION, _) if ours => self.object(place, manifest, kind),
            _ if group == GROUP && !ours => self.refuse(
                place,
                format!("kind {kind:?} is not known in {GROUP}: it knows {DESTINATION} and {ACTIVATION}"),
            ),
            _ if group == GROUP || ours => self.refuse(
                place,
                format!("apiVersion {api_version:?} is not known for kind {kind}: write apiVersion: {API_VERSION}"),
            ),
            _ => self.pass_over(place, format!("{kind} of {api_version} is not one of ours: passed over")),
        }
    }

    fn list(&mut self, place: &str, manifest: &Value, may_be_list: bool) {
        if !may_be_list {
            return self.refuse(place, "a List inside a List is not read: put its items beside the others".to_owned());
        }
        match manifest.get("items") {
            Some(Value::Array(items)) => {
                for (item, number) in items.iter().zip(1_usize..) {
                    self.document(&format!("{place}, item {number}"), item, false);
                }
            }
            _ => self.refuse(place, "items is missing or no list: list the objects there".to_owned()),
        }
    }

    fn object(&mut self, place: &str, manifest: &Value, kind: &str) {
        let named = match name(place, manifest, kind) {
            Ok(named) => named,
            Err(message) => return self.refuse(&format!("{place}, {kind}"), message),
        };
        let identity = (kind.to_owned(), named.key.clone());
        if let Some(first) = self.places.get(&identity) {
            let message = format!("there is one of this name already in {first}: remove one of the two, or rename it");
            return self.refuse(&named.place, message);
        }
        // Taken or not, the name is used: its second object must not slip in for a first that was refused.
        self.places.insert(identity, place.to_owned());
        if let Err(messages) = self.take(&named, manifest) {
            for message in messages {
                self.refuse(&named.place, message);
            }
        }
    }

    fn take(&mut self, named: &Named<'_>, manifest: &Value) -> Result<(), Vec<String>> {
        let key = named.key.clone();
        let inventory = &mut self.set.inventory;
        match named.kind {
            "Secret" => {
                inventory.secrets.insert(key, secret::read(manifest)?);
            }
            "Namespace" => {
                inventory.namespaces.insert(key.name.clone(), labels(manifest, key.name)?);
            }
            _ => {
                let refusals =
                    |refusals: Vec<offline::Refusal>| refusals.iter().map(ToString::to_string).collect::<Vec<_>>();
                match offline::check(manifest).map_err(refusals)? {
                    Resource::Destination(mut destination) => {
                        destination.metadata.namespace = Some(key.namespace.clone());
                        inventory.destinations.insert(key, *destination);
                    }
                    Resource::Activation(mut activation) => {
                        activation.metadata.namespace = Some(key.namespace.clone());
                        self.set.order.push(key.clone());
                        inventory.activations.insert(key, *activation);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The name of an object, and how messages call it.
fn name<'a>(place: &str, manifest: &Value, kind: &'a str) -> Result<Named<'a>, String> {
    let metadata = |member: &str| manifest.get("metadata").and_then(|metadata| metadata.get(member));
    let name = metadata("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .ok_or("metadata.name is missing or no text: give the object a name")?;
    if kind == "Namespace" {
        return Ok(Named { kind, key: ObjectKey::new("", name), place: format!("{place}, {kind} {name}") });
    }
    let namespace = match metadata("namespace") {
        None | Some(Value::Null) => DEFAULT_NAMESPACE,
        Some(Value::String(namespace)) if !namespace.is_empty() => namespace,
        Some(_) => {
            return Err(format!(
                "metadata.namespace is empty or no text: name a namespace, or leave it out for {DEFAULT_NAMESPACE}"
            ));
        }
    };
    let key = ObjectKey::new(namespace, name);
    Ok(Named { kind, place: format!("{place}, {kind} {key}"), key })
}

fn labels(manifest: &Value, name: String) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut labels = match manifest.pointer("/metadata/labels") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(members)) => members
            .iter()
            .map(|(label, value)| match value {
                Value::String(value) => Ok((label.clone(), value.clone())),
                _ => Err(vec![format!("metadata.labels: the value of {label:?} is no text: put it in quotes")]),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(vec!["metadata.labels is no mapping: write label: value pairs".to_owned()]),
    };
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name);
    Ok(labels)
}

#[cfg(test)]
mod tests;
