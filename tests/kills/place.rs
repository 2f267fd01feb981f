//! Where the program finds what is declared: a folder, or a namespace of a real cluster.

use std::fs;
use std::path::{Path, PathBuf};

use crate::load::operator::Operator;
use crate::support::controlplane::ControlPlane;

/// A place of manifests.
pub(crate) trait Place {
    /// The namespace.
    fn namespace(&self) -> &str;

    /// Replaces a manifest as a whole.
    fn apply(&self, name: &str, manifest: &str);

    /// Starts the program there.
    fn start(&self, data: &Path) -> Operator;

    /// `namespace/name` of the activation.
    fn name(&self) -> String {
        format!("{}/vip", self.namespace())
    }

    /// The credentials from now on.
    fn give_key(&self, key: &str) {
        let manifest = format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: aws, namespace: {}}}
stringData: {{accessKeyId: {key}, secretAccessKey: secret}}
",
            self.namespace()
        );
        self.apply("secret.yaml", &manifest);
    }

    /// What is declared, with these audiences.
    fn declare(&self, stream: &str, audiences: &[&str]) {
        let audiences: Vec<_> =
            audiences.iter().map(|id| format!("    - id: {id}\n      name: Audience {id}\n")).collect();
        let audiences = audiences.concat();
        let namespace = self.namespace();
        let manifest = format!(
            "apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {{name: events, namespace: {namespace}}}
spec:
  region: us-east-1
  stream: {{name: profiles}}
  credentials: {{secretRef: {{name: aws}}}}
  endpoint: {{url: '{stream}'}}
  delivery: {{linger: 5ms, requestTimeout: 1s}}
  includeSegmentNames: true
  includeSegmentTimestamps: true
---
apiVersion: activation.dev/v1alpha1
kind: AudienceActivation
metadata: {{name: vip, namespace: {namespace}}}
spec:
  destinationRef: {{name: events}}
  audiences:
{audiences}  mappedAttributes: [{{path: 'n'}}, {{path: person.name}}]
  onDelete: Exit
  backfill: {{maxRecordsPerSecond: 1500}}
  record: {{metadata: true}}
"
        );
        self.apply("activation.yaml", &manifest);
    }
}

/// A folder of manifests, for `standalone`.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        Self { path: path.to_owned() }
    }
}

impl Place for Folder {
    fn namespace(&self) -> &'static str {
        "marketing"
    }

    fn apply(&self, name: &str, manifest: &str) {
        // As an editor does.
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, manifest).unwrap();
        fs::rename(&fresh, self.path.join(name)).unwrap();
    }

    fn start(&self, data: &Path) -> Operator {
        Operator::start(&self.path, data)
    }
}

/// A namespace of a real cluster, for `run`.
pub(crate) struct Cluster {
    cluster: &'static ControlPlane,
    namespace: String,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let cluster = ControlPlane::shared();
        cluster.install_definitions();
        Self { cluster, namespace: cluster.namespace("kills") }
    }
}

impl Place for Cluster {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn apply(&self, _: &str, manifest: &str) {
        self.cluster.kubectl_good(&["apply", "-f", "-"], manifest);
    }

    fn start(&self, data: &Path) -> Operator {
        Operator::start_in_cluster(self.cluster.kubeconfig(), &self.namespace, data)
    }
}
