//! Effects: the statuses as files, one a resource: what `kubectl get -o yaml` would show of it.
//!
//! A file is replaced as a whole, so a reader never sees half of one, and only where it says something new. A process that starts
//! reads them back: transitions, mapping times and alerts go on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::API_VERSION;
use crate::reconcile::ObjectKey;

/// Why a status cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The folder or a file in it.
    #[error("status file {path}: {source}: check that this user may write there and that the disk has room")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The status is no YAML, which no status is.
    #[error("status file {path}: {source}")]
    Yaml {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_saphyr::SerializeError,
    },
}

/// A folder of statuses.
#[derive(Debug)]
pub struct StatusFolder {
    path: PathBuf,
    written: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, S> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    status: &'a S,
}

#[derive(Serialize)]
struct Metadata<'a> {
    namespace: &'a str,
    name: &'a str,
}

#[derive(Deserialize)]
struct Stored<S> {
    status: S,
}

impl StatusFolder {
    /// Makes the folder where it is missing.
    pub fn open(path: &Path) -> Result<Self, PublishError> {
        std::fs::create_dir_all(path).map_err(|source| PublishError::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), written: BTreeMap::new() })
    }

    /// The status that was written of a resource, by this process or an earlier one. One that cannot be read is as good as none.
    pub fn read<S: DeserializeOwned>(&self, kind: &str, key: &ObjectKey) -> Option<S> {
        let text = std::fs::read_to_string(self.path.join(file_name(kind, key))).ok()?;
        serde_saphyr::from_str::<Stored<S>>(&text).ok().map(|stored| stored.status)
    }

    /// Writes the status of a resource where it is another than the one that was written last.
    pub fn write<S: Serialize>(&mut self, kind: &'static str, key: &ObjectKey, status: &S) -> Result<(), PublishError> {
        let name = file_name(kind, key);
        let path = self.path.join(&name);
        let metadata = Metadata { namespace: &key.namespace, name: &key.name };
        let document = Document { api_version: API_VERSION, kind, metadata, status };
        let text =
            serde_saphyr::to_string(&document).map_err(|source| PublishError::Yaml { path: path.clone(), source })?;
        if self.written.get(&name) == Some(&text) {
            return Ok(());
        }
        let failed = |source| PublishError::Write { path: path.clone(), source };
        let fresh = self.path.join(format!(".{name}.new"));
        std::fs::write(&fresh, &text).map_err(failed)?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        self.written.insert(name, text);
        Ok(())
    }

    /// Removes the files of resources that are gone.
    pub fn retain<'a>(
        &mut self,
        there: impl Iterator<Item = (&'static str, &'a ObjectKey)>,
    ) -> Result<(), PublishError> {
        let there: BTreeSet<String> = there.map(|(kind, key)| file_name(kind, key)).collect();
        let failed = |path: &Path, source| PublishError::Write { path: path.to_owned(), source };
        for entry in std::fs::read_dir(&self.path).map_err(|source| failed(&self.path, source))? {
            let path = entry.map_err(|source| failed(&self.path, source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "yaml") && !there.contains(name) {
                std::fs::remove_file(&path).map_err(|source| failed(&path, source))?;
                self.written.remove(name);
            }
        }
        Ok(())
    }
}

/// Names of Kubernetes objects hold no underscore, so no two resources share a file.
fn file_name(kind: &str, key: &ObjectKey) -> String {
    format!("{}_{}_{}.yaml", kind.to_lowercase(), key.namespace, key.name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::KinesisDestinationStatus;

    #[test]
    fn a_status_reads_back_and_goes_with_its_resource() {
        let folder = tempfile::tempdir().unwrap();
        let key = ObjectKey::new("marketing", "events");
        let status = KinesisDestinationStatus { activations: Some(3), ..Default::default() };
        let mut statuses = StatusFolder::open(&folder.path().join("status")).unwrap();
        statuses.write("KinesisDestination", &key, &status).unwrap();
        let again = StatusFolder::open(&folder.path().join("status")).unwrap();
        assert_eq!(again.read("KinesisDestination", &key), Some(status));
        statuses.retain(std::iter::once(("KinesisDestination", &key))).unwrap();
        assert!(again.read::<KinesisDestinationStatus>("KinesisDestination", &key).is_some());
        statuses.retain(std::iter::empty()).unwrap();
        assert_eq!(again.read::<KinesisDestinationStatus>("KinesisDestination", &key), None);
    }
}
