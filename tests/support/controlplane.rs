//! Effects: a real Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager as processes that end with the test.
//!
//! ```ignore
//! mod support;
//! use support::controlplane::ControlPlane;
//!
//! let cluster = ControlPlane::shared();                  // one for all tests of a binary, started when first asked for
//! cluster.install_definitions();                         // crds/*.yaml, until they are established
//! let mine = cluster.namespace("mine");                  // so that tests keep out of each other's way
//! cluster.kubectl(&["apply", "-n", &mine, "-f", "-"], manifest); // or cluster.client() for plain HTTP
//!
//! let own = ControlPlane::start();                       // one that may be stopped
//! own.stop_api_server();
//! own.start_api_server();
//! ```
//!
//! There is no kubelet, so pods stay Pending. Ports are chosen by the system.

pub(crate) mod client;
mod papers;
pub(crate) mod process;
mod programs;

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use client::Client;
use papers::{ADMIN_TOKEN, Papers};
use process::Guarded;
use programs::Programs;
use serde_json::json;

/// How long a start may take: generous, since a loaded machine is slow and waiting costs nothing.
const DEADLINE: Duration = Duration::from_mins(4);
/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// Starts until one finds its ports still free.
const ATTEMPTS: usize = 5;

/// Those that tests need. Pods are refused without service accounts, and aggregated roles stay empty without their aggregation.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,deployment-controller,replicaset-controller,\
    statefulset-controller,serviceaccount-controller,clusterrole-aggregation-controller,\
    validatingadmissionpolicy-status-controller";

/// A cluster of which the test is the administrator.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    client: Client,
    cluster: Cluster,
}

#[derive(Debug)]
enum Cluster {
    /// Of `TEST_KUBECONFIG`, behind `kubectl proxy`, which knows every way to authenticate; its guard removes the folder.
    Given {
        _proxy: Guarded,
        folder: PathBuf,
    },
    Own(Box<Own>),
}

/// Dropped in this order: who asks before who answers.
#[derive(Debug)]
struct Own {
    controller_manager: Guarded,
    api_server: Mutex<Option<Guarded>>,
    /// Removes the folder, too.
    _etcd: Guarded,
    papers: Papers,
    program: PathBuf,
    flags: Vec<String>,
}

impl ControlPlane {
    /// The one of this test binary. It ends with the process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<ControlPlane> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One of the caller's own, or the cluster of `TEST_KUBECONFIG`. Waits until it answers and service accounts come to be.
    pub(crate) fn start() -> Self {
        let programs = Programs::found();
        let started = match programs {
            Programs::Given { kubeconfig, kubectl } => Self::reach(kubeconfig, kubectl),
            Programs::Folder(folder) => (0..ATTEMPTS)
                .find_map(|_| Self::boot(folder, programs.kubectl()))
                .unwrap_or_else(|| panic!("the control plane found no free ports {ATTEMPTS} times")),
        };
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        started.wait_for("the service account of a namespace", || started.client.get(account).status == 200);
        started
    }

    /// Starts all three; `None` where somebody else was quicker to take a port.
    fn boot(programs: &Path, kubectl: PathBuf) -> Option<Self> {
        let [etcd_port, port] = free_ports();
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        // The guard of etcd removes it: a static is never dropped.
        let folder = tempfile::Builder::new().prefix("controlplane-").tempdir().unwrap().keep();
        let papers = Papers::write(&folder, &format!("https://127.0.0.1:{port}"));
        let etcd_flags = [
            format!("--data-dir={}", papers.path("etcd")),
            format!("--listen-client-urls={etcd_url}"),
            format!("--advertise-client-urls={etcd_url}"),
            "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let mut etcd = Guarded::spawn("etcd", &programs.join("etcd"), &etcd_flags, &folder, Some(&folder));
        let program = programs.join("kube-apiserver");
        let flags = api_server_flags(&papers, &etcd_url, port);
        let client = Client::new(&format!("https://127.0.0.1:{port}"), Some(&papers.certificate), Some(ADMIN_TOKEN));
        let mut api_server = Guarded::spawn("kube-apiserver", &program, &flags, &folder, None);
        if !answers(&client, &mut [&mut api_server, &mut etcd]) {
            return None;
        }
        let controller_flags = [
            format!("--kubeconfig={}", papers.path("controller-manager.kubeconfig")),
            format!("--controllers={CONTROLLERS}"),
            "--use-service-account-credentials=true".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        let controller_manager = Guarded::spawn(
            "kube-controller-manager",
            &programs.join("kube-controller-manager"),
            &controller_flags,
            &folder,
            None,
        );
        let kubeconfig = folder.join("kubeconfig");
        let own =
            Own { controller_manager, api_server: Mutex::new(Some(api_server)), _etcd: etcd, papers, program, flags };
        Some(Self { kubectl, kubeconfig, client, cluster: Cluster::Own(Box::new(own)) })
    }

    fn reach(kubeconfig: &Path, kubectl: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("controlplane-").tempdir().unwrap().keep();
        let flags = [format!("--kubeconfig={}", kubeconfig.display()), "proxy".to_owned(), "--port=0".to_owned()];
        let mut proxy = Guarded::spawn("kubectl-proxy", kubectl, &flags, &folder, Some(&folder));
        let until = Instant::now() + DEADLINE;
        let address = loop {
            let said = proxy.said();
            if let Some((_, address)) = said.trim_end().split_once("Starting to serve on ")
                && said.ends_with('\n')
            {
                break address.to_owned();
            }
            assert!(
                proxy.ended().is_none() && Instant::now() < until,
                "no proxy to the cluster: {}",
                proxy.last_words()
            );
            thread::sleep(EVERY);
        };
        let client = Client::new(&format!("http://{address}"), None, None);
        assert!(answers(&client, &mut [&mut proxy]), "the cluster of TEST_KUBECONFIG ends: {}", proxy.last_words());
        Self {
            kubectl: kubectl.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            client,
            cluster: Cluster::Given { _proxy: proxy, folder },
        }
    }

    /// Of an administrator.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Plain HTTP, as an administrator.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs kubectl as an administrator, with `input` on its standard input.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> Output {
        let folder = match &self.cluster {
            Cluster::Given { folder, .. } => folder,
            Cluster::Own(own) => &own.papers.folder,
        };
        let mut kubectl = Command::new(&self.kubectl)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            // Neither preferences nor what was learned of another cluster.
            .env("KUBECTL_KUBERC", "false")
            .env("KUBECACHEDIR", folder.join("kubectl-cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = kubectl.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = thread::spawn(move || {
            // One that refuses its arguments reads nothing.
            let _ = pipe.write_all(input.as_bytes());
        });
        let output = kubectl.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// What kubectl printed; panics with its words where it fails.
    pub(crate) fn kubectl_good(&self, arguments: &[&str], input: &str) -> String {
        let output = self.kubectl(arguments, input);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {told}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies `crds/*.yaml` and waits until both are established; panics where the server has any complaint, be it a warning.
    pub(crate) fn install_definitions(&self) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        let output = self.kubectl(&["apply", "--server-side", "-f", folder.to_str().unwrap()], "");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "the definitions are complained of: {told}");
        self.kubectl_good(
            &["wait", "--for=condition=Established", "--timeout=60s", "-f", folder.to_str().unwrap()],
            "",
        );
        // Established a moment before every path is served.
        for plural in ["kinesisdestinations", "audienceactivations"] {
            let path = format!("/apis/activation.dev/v1alpha1/{plural}");
            self.wait_for(plural, || self.client.get(&path).status == 200);
        }
    }

    /// A new namespace, whose name begins with `prefix`.
    pub(crate) fn namespace(&self, prefix: &str) -> String {
        let wanted =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": format!("{prefix}-")}});
        let made = self.client.post("/api/v1/namespaces", &wanted).good();
        made["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// The key that signs the tokens of service accounts, in PEM.
    pub(crate) fn service_account_key(&self) -> String {
        std::fs::read_to_string(self.own().papers.path("service-accounts.key")).unwrap()
    }

    /// The certificate that the API server shows, in PEM, where it is one of ours.
    pub(crate) fn certificate(&self) -> Option<&str> {
        match &self.cluster {
            Cluster::Own(own) => Some(&own.papers.certificate),
            Cluster::Given { .. } => None,
        }
    }

    /// Kills the API server; etcd and the controller manager go on.
    pub(crate) fn stop_api_server(&self) {
        *self.own().api_server.lock().unwrap() = None;
    }

    /// Starts the API server where it was, and waits until it answers.
    pub(crate) fn start_api_server(&self) {
        let own = self.own();
        let mut place = own.api_server.lock().unwrap();
        assert!(place.is_none(), "the API server was not stopped");
        // Its port may have served a passing connection of somebody else's meanwhile.
        for _ in 0..ATTEMPTS {
            let mut server = Guarded::spawn("kube-apiserver", &own.program, &own.flags, &own.papers.folder, None);
            if answers(&self.client, &mut [&mut server]) {
                *place = Some(server);
                return;
            }
        }
        panic!("the API server found its port taken {ATTEMPTS} times");
    }

    fn own(&self) -> &Own {
        match &self.cluster {
            Cluster::Own(own) => own,
            Cluster::Given { .. } => {
                panic!("the cluster of TEST_KUBECONFIG is not ours to stop; unset it for this test")
            }
        }
    }

    /// Waits until `condition` holds; panics with `what` where it does not.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let until = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < until, "still waiting for {what}{}", self.last_words());
            thread::sleep(EVERY);
        }
    }

    fn last_words(&self) -> String {
        match &self.cluster {
            Cluster::Own(own) => format!("; {}", own.controller_manager.last_words()),
            Cluster::Given { .. } => String::new(),
        }
    }
}

fn api_server_flags(papers: &Papers, etcd_url: &str, port: u16) -> Vec<String> {
    vec![
        format!("--etcd-servers={etcd_url}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", papers.path("server.crt")),
        format!("--tls-private-key-file={}", papers.path("server.key")),
        format!("--token-auth-file={}", papers.path("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", papers.path("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", papers.path("service-accounts.key")),
    ]
}

/// Waits until the API server is ready; false where one of the processes found its port taken, a panic where one ended otherwise.
fn answers(client: &Client, processes: &mut [&mut Guarded]) -> bool {
    let until = Instant::now() + DEADLINE;
    loop {
        let ready = client.ask("GET", "/readyz", "application/json", None);
        if ready.as_ref().is_ok_and(|answer| answer.status == 200) {
            return true;
        }
        for process in &mut *processes {
            if let Some(status) = process.ended() {
                let words = process.last_words();
                assert!(words.contains("address already in use"), "ended by itself ({status}): {words}");
                return false;
            }
        }
        let told: Vec<_> = processes.iter().map(|process| process.last_words()).collect();
        assert!(Instant::now() < until, "the API server is not ready ({ready:?})\n{}", told.join("\n"));
        thread::sleep(EVERY);
    }
}

/// Ports that were free a moment ago.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    // All held at once, or the system could give one twice.
    let held = [(); COUNT].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
