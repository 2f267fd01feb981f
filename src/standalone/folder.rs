//! Effects: the folder of manifests, looked at again and again: what an API server's watch is to the controller.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::manifests::{self, ManifestProblem};
use super::publish::StatusFolder;
use crate::reconcile::{Inventory, ObjectKey};

pub(super) const DESTINATION: &str = "KinesisDestination";
pub(super) const ACTIVATION: &str = "AudienceActivation";

/// A folder (or a file) of manifests.
pub(super) struct ManifestFolder {
    path: PathBuf,
    /// Which files there were, how large, and when written, at the last look.
    seen: Option<Vec<(PathBuf, u64, Option<SystemTime>)>>,
    inventory: Inventory,
    problems: Vec<ManifestProblem>,
    /// By kind and name: the hash of the spec, and its generation, as an API server would count it.
    generations: BTreeMap<(&'static str, ObjectKey), (u64, i64)>,
}

impl ManifestFolder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            seen: None,
            inventory: Inventory::default(),
            problems: Vec::new(),
            generations: BTreeMap::new(),
        }
    }

    /// Everything that was found at the last look.
    pub(super) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Looks again; true where something changed. New problems are logged.
    pub(super) fn look(&mut self, statuses: &StatusFolder) -> bool {
        let files = list(&self.path);
        if self.seen.as_ref() == Some(&files) {
            return false;
        }
        let first = self.seen.is_none();
        let set = manifests::read(&self.path);
        for problem in set.problems.iter().filter(|problem| !self.problems.contains(problem)) {
            if problem.ignored {
                tracing::info!("{problem}");
            } else {
                tracing::error!("{problem}");
            }
        }
        let refused = set.has_refusal();
        let mut found = set.inventory;
        if refused && !first {
            // A file that cannot be read now may hold what was in it before: nothing is taken for removed.
            keep(&mut found.secrets, &self.inventory.secrets);
            keep(&mut found.destinations, &self.inventory.destinations);
            keep(&mut found.activations, &self.inventory.activations);
            keep(&mut found.namespaces, &self.inventory.namespaces);
        }
        self.problems = set.problems;
        self.number(&mut found, statuses);
        // Listed before it was read: a file that changed between the two is read again.
        self.seen = Some(files);
        let changed = first || found != self.inventory;
        self.inventory = found;
        changed
    }

    /// Gives each resource its generation, and the status that was last written of it.
    fn number(&mut self, found: &mut Inventory, statuses: &StatusFolder) {
        for (key, destination) in &mut found.destinations {
            let kept: Option<crate::api::KinesisDestinationStatus> = statuses.read(DESTINATION, key);
            let observed = kept.as_ref().and_then(|status| status.observed_generation);
            destination.metadata.generation =
                Some(generation(&mut self.generations, (DESTINATION, key), &destination.spec, observed));
            destination.status = kept.or_else(|| destination.status.take());
        }
        for (key, activation) in &mut found.activations {
            let kept: Option<crate::api::AudienceActivationStatus> = statuses.read(ACTIVATION, key);
            let observed = kept.as_ref().and_then(|status| status.observed_generation);
            activation.metadata.generation =
                Some(generation(&mut self.generations, (ACTIVATION, key), &activation.spec, observed));
            activation.status = kept.or_else(|| activation.status.take());
        }
    }

    /// Whether a manifest was refused at the last look.
    pub(super) fn has_refusal(&self) -> bool {
        self.problems.iter().any(|problem| !problem.ignored)
    }
}

fn keep<V: Clone, K: Ord + Clone>(found: &mut BTreeMap<K, V>, known: &BTreeMap<K, V>) {
    for (key, value) in known {
        found.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn generation(
    known: &mut BTreeMap<(&'static str, ObjectKey), (u64, i64)>,
    (kind, key): (&'static str, &ObjectKey),
    spec: &impl Serialize,
    observed: Option<i64>,
) -> i64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(spec).unwrap_or_default().hash(&mut hasher);
    let hash = hasher.finish();
    let entry = known.entry((kind, key.clone())).or_insert((hash, observed.unwrap_or(1).max(1)));
    if entry.0 != hash {
        *entry = (hash, entry.1 + 1);
    }
    entry.1
}

/// What tells whether a file changed. A folder that cannot be listed is told of where it is read.
fn list(path: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let files: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.to_owned()],
    };
    let mut listed: Vec<_> = files
        .into_iter()
        .filter_map(|file| {
            let metadata = std::fs::metadata(&file).ok()?;
            Some((file, metadata.len(), metadata.modified().ok()))
        })
        .collect();
    listed.sort();
    listed
}
