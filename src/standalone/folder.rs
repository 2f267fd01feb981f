//! Effects: the folder of manifests, looked at again and again: what an API server's watch is to the controller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::manifests::{self, ACTIVATION, DESTINATION, ManifestProblem};
use super::publish::{Identity, Kept, StatusFolder};
use crate::api::{AudienceActivationStatus, KinesisDestinationStatus};
use crate::export::partition_key::sha256_hex;
use crate::reconcile::{Inventory, ObjectKey};

/// Which files there are, how large, and when written.
type Listing = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// A folder (or a file) of manifests.
pub(super) struct ManifestFolder {
    path: PathBuf,
    /// The files as they were when they were last read.
    read: Option<Listing>,
    /// The files as they were at the last look.
    seen: Listing,
    inventory: Inventory,
    problems: Vec<ManifestProblem>,
    /// By kind and name: the hash of the spec, and its generation, as an API server would count it.
    generations: BTreeMap<(&'static str, ObjectKey), (String, i64)>,
}

impl ManifestFolder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: None,
            seen: Listing::new(),
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
        let first = self.read.is_none();
        // A file that is being written is cut off at any point, and may be valid all the same: it is read once it rests.
        let rests = files == self.seen;
        self.seen.clone_from(&files);
        if self.read.as_ref() == Some(&files) || !(rests || first) {
            return false;
        }
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
        self.read = Some(files);
        let changed = first || found != self.inventory;
        self.inventory = found;
        changed
    }

    /// Gives each resource its generation, and the status that was last written of it.
    fn number(&mut self, found: &mut Inventory, statuses: &StatusFolder) {
        for (key, destination) in &mut found.destinations {
            let kept = statuses.read::<KinesisDestinationStatus>(DESTINATION, key);
            let generation = self.generation(DESTINATION, key, &destination.spec, kept.as_ref());
            destination.metadata.generation = Some(generation);
            destination.status = kept.map(|kept| kept.status).or_else(|| destination.status.take());
        }
        for (key, activation) in &mut found.activations {
            let kept = statuses.read::<AudienceActivationStatus>(ACTIVATION, key);
            let generation = self.generation(ACTIVATION, key, &activation.spec, kept.as_ref());
            activation.metadata.generation = Some(generation);
            activation.status = kept.map(|kept| kept.status).or_else(|| activation.status.take());
        }
    }

    /// As an API server counts: one more with each change of the spec, also of one that was made while nobody ran.
    fn generation<S>(
        &mut self,
        kind: &'static str,
        key: &ObjectKey,
        spec: &impl Serialize,
        kept: Option<&Kept<S>>,
    ) -> i64 {
        // These types write themselves without fail.
        let hash = sha256_hex(serde_json::to_string(spec).unwrap_or_default().as_bytes(), 32);
        let first = || kept.map_or((hash.clone(), 1), |kept| (kept.hash.clone(), kept.generation.max(1)));
        let known = self.generations.entry((kind, key.clone())).or_insert_with(first);
        if known.0 != hash {
            *known = (hash, known.1 + 1);
        }
        known.1
    }

    /// Which spec of a resource its status speaks of.
    pub(super) fn identity(&self, kind: &'static str, key: &ObjectKey) -> Identity {
        let (hash, generation) = self.generations.get(&(kind, key.clone())).cloned().unwrap_or_default();
        Identity { kind, key: key.clone(), generation, hash }
    }

    /// How many refusals there were when the manifests were last read.
    pub(super) fn refused(&self) -> usize {
        self.problems.iter().filter(|problem| !problem.ignored).count()
    }
}

fn keep<V: Clone, K: Ord + Clone>(found: &mut BTreeMap<K, V>, known: &BTreeMap<K, V>) {
    for (key, value) in known {
        found.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// What tells whether a file changed. A folder that cannot be listed is told of where it is read.
fn list(path: &Path) -> Listing {
    let files = manifests::files(path).ok().flatten().unwrap_or_else(|| vec![path.to_owned()]);
    files
        .into_iter()
        .filter_map(|file| {
            let metadata = std::fs::metadata(&file).ok()?;
            Some((file, metadata.len(), metadata.modified().ok()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn activation(audiences: &str) -> String {
        format!(
            "apiVersion: activation.dev/v1alpha1\nkind: AudienceActivation\nmetadata: {{name: vip}}\nspec:\n  destinationRef: {{name: events}}\n  audiences:\n{audiences}"
        )
    }

    struct Looked {
        path: tempfile::TempDir,
        statuses: StatusFolder,
        folder: ManifestFolder,
    }

    impl Looked {
        fn at(text: &str) -> Self {
            let path = tempfile::tempdir().unwrap();
            std::fs::write(path.path().join("vip.yaml"), text).unwrap();
            let statuses = StatusFolder::open(&path.path().join("status")).unwrap();
            let mut folder = ManifestFolder::new(path.path());
            assert!(folder.look(&statuses));
            Self { path, statuses, folder }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.path.path().join("vip.yaml"), text).unwrap();
        }

        fn look(&mut self) -> bool {
            self.folder.look(&self.statuses)
        }

        fn audiences(&self) -> usize {
            self.folder.inventory().activations.values().map(|activation| activation.spec.audiences.len()).sum()
        }
    }

    #[test]
    fn a_file_that_is_being_written_is_read_once_it_rests() {
        let whole = activation("    - id: a\n    - id: b\n");
        let mut looked = Looked::at(&whole);
        assert!(!looked.look());
        // Cut off, and valid all the same.
        looked.write(&activation("    - id: a\n"));
        assert!(!looked.look());
        looked.write(&whole);
        assert!(!looked.look());
        assert!(!looked.look(), "it holds what it held before");
        assert_eq!(looked.audiences(), 2);
        looked.write(&activation("    - id: a\n"));
        assert!(!looked.look());
        assert!(looked.look());
        assert_eq!(looked.audiences(), 1);
    }

    #[test]
    fn what_else_is_written_into_the_folder_does_not_keep_it_from_resting() {
        let mut looked = Looked::at(&activation("    - id: a\n"));
        looked.write(&activation("    - id: a\n    - id: b\n"));
        for (name, expected) in [("notes.txt", false), (".hidden.yaml", true)] {
            std::fs::write(looked.path.path().join(name), name).unwrap();
            std::fs::write(looked.path.path().join("status").join(name), name).unwrap();
            assert_eq!(looked.look(), expected);
        }
        assert_eq!(looked.audiences(), 2);
    }

    #[test]
    fn while_a_file_is_broken_nothing_is_taken_for_removed() {
        let mut looked = Looked::at(&activation("    - id: a\n"));
        looked.write("kind: [\n");
        assert!(!looked.look() && !looked.look(), "nothing changed in what is declared");
        assert_eq!((looked.folder.refused(), looked.audiences()), (1, 1));
        std::fs::remove_file(looked.path.path().join("vip.yaml")).unwrap();
        assert!(!looked.look() && looked.look());
        assert_eq!((looked.folder.refused(), looked.audiences()), (0, 0));
    }
}
