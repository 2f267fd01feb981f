//! A namespace with a Kinesis of its own, and the operator that looks after it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kinesis_stub::{Config, KeySpec, StreamSpec, Stub};
use serde_json::{Value, json};

use crate::support::controlplane::ControlPlane;
use crate::support::operator::{assert_no_secret, ndjson, operator_command};
use crate::support::servers::Process;

/// How long a condition may take to come true: generous, since a loaded machine is slow and waiting costs nothing.
const DEADLINE: Duration = Duration::from_mins(2);
/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// The access key that the Secret holds at first, and its secret.
pub(crate) const KEY: (&str, &str) = ("AKIAFIRST", "hunter2-first-of-all");

/// With both definitions installed.
pub(crate) fn cluster() -> &'static ControlPlane {
    static INSTALLED: OnceLock<&'static ControlPlane> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let cluster = ControlPlane::shared();
        cluster.install_definitions();
        cluster
    })
}

/// A namespace, a Kinesis with the stream `profiles`, and a folder for the data.
pub(crate) struct World<'a> {
    pub(crate) cluster: &'a ControlPlane,
    pub(crate) namespace: String,
    pub(crate) stub: Stub,
    data: tempfile::TempDir,
}

impl World<'static> {
    /// In the control plane that all tests share.
    pub(crate) async fn new() -> Self {
        Self::of(cluster()).await
    }
}

impl<'a> World<'a> {
    /// In a control plane.
    pub(crate) async fn of(cluster: &'a ControlPlane) -> Self {
        let config = Config { keys: vec![(KEY.0.to_owned(), KeySpec::new(KEY.1))], ..Config::default() };
        let stub = Stub::start(config).await.unwrap();
        stub.create_stream(&StreamSpec::new("profiles", 2)).unwrap();
        let namespace = cluster.namespace("operator");
        Self { cluster, namespace, stub, data: tempfile::tempdir().unwrap() }
    }

    /// Starts the operator for this namespace alone, with the rights of an administrator.
    pub(crate) fn start(&self, arguments: &[&str]) -> Operator<'_> {
        let kubeconfig = self.cluster.kubeconfig().to_str().unwrap().to_owned();
        self.start_as(&kubeconfig, arguments)
    }

    /// The same with other rights, by a kubeconfig.
    pub(crate) fn start_as(&self, kubeconfig: &str, arguments: &[&str]) -> Operator<'_> {
        let mut command = operator_command();
        command
            .args(["run", "--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--log-format", "text"])
            .args(["--allow-internal-endpoints", "--operator-namespace", &self.namespace, "--data-dir"])
            .arg(self.data.path())
            .args(arguments)
            .env("KUBECONFIG", kubeconfig);
        if !arguments.iter().any(|argument| argument.starts_with("--selector") || *argument == "--namespaces") {
            command.args(["--namespaces", &self.namespace]);
        }
        let process = Process::spawn("activation-operator", command);
        Operator { world: self, process: Some(process) }
    }

    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let mut all = vec!["-n", &self.namespace];
        all.extend(arguments);
        self.cluster.kubectl_good(&all, input)
    }

    /// Applies manifests as a user would.
    pub(crate) fn apply(&self, manifests: &[&Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests}).to_string();
        self.kubectl(&["apply", "-f", "-"], &list);
    }

    /// Where an object of ours is: `kinesisdestinations` or `audienceactivations`.
    pub(crate) fn path(&self, plural: &str, name: &str) -> String {
        format!("/apis/activation.dev/v1alpha1/namespaces/{}/{plural}/{name}", self.namespace)
    }

    pub(crate) fn get(&self, plural: &str, name: &str) -> Value {
        self.cluster.client().get(&self.path(plural, name)).body
    }

    /// Every record of the stream, in its order.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.stub.records().iter().map(|record| serde_json::from_slice(&record.bytes()).unwrap()).collect()
    }

    /// The `n` of each record of a profile, in the order of the stream.
    pub(crate) fn told(&self, profile: &str) -> Vec<i64> {
        let of = |record: &&Value| record["_activation"]["profileId"] == profile;
        self.records().iter().filter(of).map(|record| record["n"].as_i64().unwrap()).collect()
    }

    pub(crate) fn secret(&self, (id, secret): (&str, &str)) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws", "namespace": self.namespace},
            "stringData": {"accessKeyId": id, "secretAccessKey": secret}})
    }

    pub(crate) fn destination(&self) -> Value {
        json!({"apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination",
            "metadata": {"name": "events", "namespace": self.namespace},
            "spec": {"region": "us-east-1", "stream": {"name": "profiles"}, "endpoint": {"url": self.stub.url()},
                "credentials": {"secretRef": {"name": "aws"}}}})
    }

    pub(crate) fn activation(&self, name: &str) -> Value {
        json!({"apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"destinationRef": {"name": "events"}, "audiences": [{"id": "a"}],
                "mappedAttributes": [{"path": "n"}], "record": {"metadata": true}}})
    }
}

/// The running operator.
pub(crate) struct Operator<'a> {
    world: &'a World<'a>,
    process: Option<Process>,
}

impl Operator<'_> {
    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// What it said.
    pub(crate) fn said(&mut self) -> String {
        self.process().said()
    }

    /// What `look` finds, as soon as it finds something. Fails where the process ends before.
    pub(crate) fn wait<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let runs = self.process().runs();
            assert!(runs && Instant::now() < until, "{what} did not come; it said:\n{}", self.said());
            std::thread::sleep(EVERY);
        }
    }

    /// Waits until it says so.
    pub(crate) fn until_said(&mut self, text: &str) {
        let until = Instant::now() + DEADLINE;
        while !self.said().contains(text) {
            let runs = self.process().runs();
            assert!(runs && Instant::now() < until, "{text:?} is not said:\n{}", self.said());
            std::thread::sleep(EVERY);
        }
    }

    /// The object, once it `holds`.
    pub(crate) fn object(&mut self, plural: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let world = self.world;
        let mut last = Value::Null;
        let until = Instant::now() + DEADLINE;
        loop {
            last = world
                .cluster
                .client()
                .ask("GET", &world.path(plural, name), "application/json", None)
                .map_or(last, |answer| answer.body);
            if holds(&last) {
                return last;
            }
            let runs = self.process().runs();
            assert!(runs && Instant::now() < until, "{what} did not come: {last:#}; it said:\n{}", self.said());
            std::thread::sleep(EVERY);
        }
    }

    /// The status of an activation, once it `holds`.
    pub(crate) fn activation(&mut self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.object("audienceactivations", name, what, |object| holds(&object["status"]))["status"].take()
    }

    /// The status of the destination, once it `holds`.
    pub(crate) fn destination(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.object("kinesisdestinations", "events", what, |object| holds(&object["status"]))["status"].take()
    }

    /// Waits until the stream holds so many records.
    pub(crate) fn until_records(&mut self, count: usize) {
        let world = self.world;
        self.wait(&format!("record {count}"), || (world.records().len() >= count).then_some(()));
    }

    /// Where it listens: for `updates` or for `probes`.
    pub(crate) fn url(&mut self, what: &str) -> String {
        let mark = format!("{what}: listening on ");
        self.until_said(&mark);
        let said = self.said();
        let (_, rest) = said.split_once(&mark).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    /// The status code and the text of an answer of the probes.
    pub(crate) fn probe(&mut self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.url("probes")))
    }

    /// The metrics.
    pub(crate) fn metrics(&mut self) -> String {
        get(&format!("{}/metrics", self.url("updates"))).1
    }

    /// Sends updates over HTTP; all must be taken up.
    pub(crate) fn send(&mut self, updates: &[Value]) {
        let url = format!("{}/v1/profiles", self.url("updates"));
        let request = ureq::post(url).header("content-type", "application/x-ndjson");
        let answer: Value = request.send(ndjson(updates)).unwrap().body_mut().read_json().unwrap();
        assert_eq!(answer["accepted"], updates.len(), "{answer}");
    }

    /// Waits until it has ended by itself: its exit code, and what it said.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        let ended = self.process().ended(DEADLINE);
        (ended, self.said())
    }

    /// Asks it to end, as a kubelet would: its exit code, and what it said.
    pub(crate) fn terminate(mut self) -> (Option<i32>, String) {
        let ended = self.process().terminate(DEADLINE);
        (ended, self.said())
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        let said = self.said();
        self.process = None;
        if !std::thread::panicking() {
            assert_no_secret(&said);
        }
    }
}

/// The status code and the text of an answer.
pub(crate) fn get(url: &str) -> (u16, String) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE)).build().into();
    let mut answer = agent.get(url).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

/// The profile becomes a member.
pub(crate) fn entry(profile: &str, n: i64) -> Value {
    json!({"header": {"profileId": profile}, "body": {"xdmEntity": {"n": n,
        "segmentMembership": {"ups": {"a": {"status": "realized", "lastQualificationTime": "2026-01-02T03:04:05Z"}}}}}})
}

/// A mapped attribute is written.
pub(crate) fn write(profile: &str, n: i64) -> Value {
    json!({"header": {"profileId": profile}, "body": {"xdmEntity": {"n": n}}})
}
