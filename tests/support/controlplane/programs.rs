//! Effects: where the programs of the control plane are: built by `tests/controlplane/build.sh`, or given by the environment.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// What is started.
#[derive(Debug)]
pub(crate) enum Programs {
    /// A cluster that runs already: `TEST_KUBECONFIG`.
    Given { kubeconfig: PathBuf, kubectl: PathBuf },
    /// The folder of the four programs: `KUBEBUILDER_ASSETS`, or what is built from their modules.
    Folder(PathBuf),
}

impl Programs {
    /// What the environment says, built now if need be. Panics with the script's words where it cannot be.
    pub(crate) fn found() -> &'static Self {
        static FOUND: OnceLock<Programs> = OnceLock::new();
        FOUND.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let build =
                Command::new("sh").arg(root.join("tests/controlplane/build.sh")).stdin(Stdio::null()).output().unwrap();
            assert!(
                build.status.success(),
                "there is no control plane to test with; run `make controlplane` to see why:\n{}",
                String::from_utf8_lossy(&build.stderr)
            );
            let assets = given("KUBEBUILDER_ASSETS");
            match given("TEST_KUBECONFIG") {
                Some(kubeconfig) => {
                    let kubectl = assets.map_or_else(|| PathBuf::from("kubectl"), |assets| assets.join("kubectl"));
                    Self::Given { kubeconfig, kubectl }
                }
                None => Self::Folder(assets.unwrap_or_else(|| root.join(".cache/controlplane"))),
            }
        })
    }

    /// The path of kubectl.
    pub(crate) fn kubectl(&self) -> PathBuf {
        match self {
            Self::Given { kubectl, .. } => kubectl.clone(),
            Self::Folder(folder) => folder.join("kubectl"),
        }
    }
}

fn given(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
