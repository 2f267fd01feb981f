//! Effects: helm, built by `tests/chart/helm/build.sh`, or given as `TEST_HELM`.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

use crate::support::controlplane::ControlPlane;

/// The chart's folder.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/activation-operator");

/// Helm, with or without a cluster.
pub(crate) struct Helm<'a> {
    kubeconfig: Option<&'a Path>,
    /// What helm keeps between two calls: nothing of the user's own.
    home: tempfile::TempDir,
}

impl<'a> Helm<'a> {
    /// Renders and judges, without a cluster.
    pub(crate) fn alone() -> Self {
        Self { kubeconfig: None, home: tempfile::tempdir().unwrap() }
    }

    /// Installs into a cluster.
    pub(crate) fn of(cluster: &'a ControlPlane) -> Self {
        Self { kubeconfig: Some(cluster.kubeconfig()), home: tempfile::tempdir().unwrap() }
    }

    /// Runs helm, with `values` as a file of values.
    pub(crate) fn run(&self, arguments: &[&str], values: &Value) -> Output {
        let mut file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        write!(file, "{values}").unwrap();
        let mut helm = Command::new(program());
        helm.args(arguments);
        if values.is_object() {
            helm.arg("--values").arg(file.path());
        }
        let nowhere = self.home.path().join("no-kubeconfig");
        helm.env("KUBECONFIG", self.kubeconfig.unwrap_or(&nowhere))
            .env("HELM_CACHE_HOME", self.home.path())
            .env("HELM_CONFIG_HOME", self.home.path())
            .env("HELM_DATA_HOME", self.home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What helm printed with its defaults; panics with its words where it fails.
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        self.good_with(arguments, &Value::Null)
    }

    /// What helm printed; panics with its words where it fails.
    pub(crate) fn good_with(&self, arguments: &[&str], values: &Value) -> String {
        let output = self.run(arguments, values);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {} with {values}: {told}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What the chart renders for release `matrix` in namespace `matrix`.
pub(crate) fn render(values: &Value) -> Vec<Value> {
    let text = Helm::alone().good_with(&["template", "matrix", CHART, "-n", "matrix"], values);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().filter(Value::is_object).collect()
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let build =
            Command::new("sh").arg(root.join("tests/chart/helm/build.sh")).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&build.stderr);
        assert!(build.status.success(), "there is no helm to test with; run `make helm` to see why:\n{told}");
        let given = env::var_os("TEST_HELM").filter(|given| !given.is_empty()).map(PathBuf::from);
        given.unwrap_or_else(|| root.join(".cache/helm/helm"))
    })
}
