//! Effects: what a control plane is started with: certificate, keys, tokens, kubeconfigs, in a folder that ends with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// Speaks for nobody outside this machine's loopback, for as long as a test runs.
pub(crate) const ADMIN_TOKEN: &str = "admin-of-the-tests";
const CONTROLLER_TOKEN: &str = "controller-manager-of-the-tests";

/// The files.
#[derive(Debug)]
pub(crate) struct Papers {
    /// The folder of them all.
    pub(crate) folder: PathBuf,
    /// The server's certificate, which is its own authority, in PEM.
    pub(crate) certificate: String,
}

impl Papers {
    /// Writes all of them for a server at `url`.
    pub(crate) fn write(folder: &Path, url: &str) -> Self {
        let names = ["localhost", "127.0.0.1", "kubernetes.default.svc"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = made.cert.pem();
        let papers = Self { folder: folder.to_owned(), certificate };
        let service_accounts = rcgen::KeyPair::generate().unwrap();
        papers.file("server.crt", &papers.certificate);
        papers.file("server.key", &made.signing_key.serialize_pem());
        papers.file("service-accounts.key", &service_accounts.serialize_pem());
        papers.file("service-accounts.pub", &service_accounts.public_key_pem());
        papers.file(
            "tokens.csv",
            &format!(
                "{ADMIN_TOKEN},admin,admin,system:masters\n\
                 {CONTROLLER_TOKEN},system:kube-controller-manager,system:kube-controller-manager\n"
            ),
        );
        papers.file("kubeconfig", &papers.kubeconfig(url, ADMIN_TOKEN).to_string());
        papers.file("controller-manager.kubeconfig", &papers.kubeconfig(url, CONTROLLER_TOKEN).to_string());
        papers
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).into_os_string().into_string().unwrap()
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn kubeconfig(&self, url: &str, token: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": {"server": url, "certificate-authority": self.path("server.crt")}}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        })
    }
}
