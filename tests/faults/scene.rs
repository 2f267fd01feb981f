//! Effects: the scene of a fault: a stream, the program, a producer.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kinesis_stub::{Config, Fault, KeySpec, Kind, LogMode, Snapshot, StreamSpec, Stub};

use crate::load::operator::{Operator, until};
use crate::load::producer::{History, Pace, Producer};
use crate::verdict::{Allowed, Tally};

/// The window of a dataflow: what one crash, or one cut line, repeats at most.
pub(crate) const WINDOW: u64 = 5000;
/// What the stream holds before anything is broken: everything runs by then.
pub(crate) const WARM: u64 = 1000;

/// What makes a run the one it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// For every choice.
    pub(crate) seed: u64,
    /// Whether there is time for long strikes.
    pub(crate) long: bool,
}

impl Run {
    /// How long something lasts: a few seconds in a short run, so many times as long in a long one.
    pub(crate) fn lasting(self, seconds: u64) -> Duration {
        Duration::from_secs(if self.long { 10 * seconds } else { seconds })
    }
}

/// How the scene is set.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Updates a second.
    pub(crate) per_second: u64,
    /// Members of the audience `b` that are sent first.
    pub(crate) members: u64,
    pub(crate) shards: usize,
    /// Further fields of `spec.delivery` of the destination, in flow style.
    pub(crate) delivery: &'static str,
    /// Faults from the start.
    pub(crate) faults: Vec<Fault>,
}

impl Default for Setting {
    fn default() -> Self {
        Self { per_second: 3000, members: 0, shards: 4, delivery: "requestTimeout: 2s", faults: Vec::new() }
    }
}

/// An activation, its stream, and the mappings that it had.
#[derive(Debug, Clone)]
pub(crate) struct Activation {
    pub(crate) name: &'static str,
    pub(crate) stream: &'static str,
    /// The audiences that it maps, in the order in which they were added; each but the first is a mapping of its own.
    pub(crate) audiences: Vec<&'static str>,
    /// Further fields of `spec.delivery` of its destination.
    pub(crate) delivery: &'static str,
    pub(crate) suspended: bool,
}

/// A fault in the making. Whatever it started ends with it.
pub(crate) struct Scene {
    pub(crate) run: Run,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) data: PathBuf,
    stub: Stub,
    /// What the stream runs on.
    _runtime: tokio::runtime::Runtime,
    url: String,
    pub(crate) activations: Vec<Activation>,
    operator: Option<Operator>,
    producer: Option<Producer>,
    pub(crate) lives: Vec<Vec<String>>,
    /// What is added to the environment of each life.
    pub(crate) environment: Vec<(String, String)>,
    /// What is added to its arguments.
    pub(crate) arguments: Vec<&'static str>,
}

impl Scene {
    /// Everything runs, and records get through.
    pub(crate) fn start(run: Run, setting: &Setting) -> Self {
        let mut scene = Self::set(run, setting);
        scene.begin(setting);
        scene
    }

    /// The stream and the manifests alone.
    pub(crate) fn set(run: Run, setting: &Setting) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = Config {
            streams: vec![StreamSpec::new("profiles", setting.shards), StreamSpec::new("slow", setting.shards)],
            log: LogMode::Records { file: Some(folder.path().join("log.ndjson")) },
            // The file is what is read.
            memory_bytes: 0,
            retention_bytes: 0,
            ..Config::default()
        };
        let stub = runtime.block_on(Stub::start(config)).unwrap();
        let activation = Activation {
            name: "vip",
            stream: "profiles",
            audiences: vec!["a"],
            delivery: setting.delivery,
            suspended: false,
        };
        let (data, url) = (folder.path().join("data"), stub.url());
        Self {
            run,
            data,
            folder,
            stub,
            _runtime: runtime,
            url,
            activations: vec![activation],
            operator: None,
            producer: None,
            lives: Vec::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// The program and the producer.
    pub(crate) fn begin(&mut self, setting: &Setting) {
        self.begin_elsewhere(setting);
        self.until_exported(WARM);
    }

    /// The same, where records go to another stream than ours.
    pub(crate) fn begin_elsewhere(&mut self, setting: &Setting) {
        self.declare();
        self.revive();
        let seed = self.run.seed;
        if !setting.faults.is_empty() {
            self.strike(setting.faults.clone());
        }
        self.producer =
            Some(Producer::start(seed, setting.members, Pace::Steady(setting.per_second), self.operator().address()));
        self.until_accepted(2 * WARM);
    }

    pub(crate) fn stub(&self) -> &Stub {
        &self.stub
    }

    pub(crate) fn stats(&self) -> Snapshot {
        self.stub().stats()
    }

    pub(crate) fn operator(&self) -> &Operator {
        self.operator.as_ref().unwrap()
    }

    pub(crate) fn producer(&self) -> &Producer {
        self.producer.as_ref().unwrap()
    }

    /// Another server takes the place of the stream.
    pub(crate) fn redirect(&mut self, url: String) {
        self.url = url;
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log.ndjson")
    }

    /// The first keys of the life that runs.
    pub(crate) fn key(&self) -> &str {
        self.lives.last().unwrap().last().unwrap()
    }

    /// Replaces every fault.
    pub(crate) fn strike(&self, faults: Vec<Fault>) {
        self.stub().set_faults(kinesis_stub::FaultSet { seed: self.run.seed, faults });
    }

    /// Nothing is broken any more.
    pub(crate) fn heal(&self) {
        self.stub().clear_faults();
    }

    /// How often a kind of fault struck.
    pub(crate) fn struck(&self, kind: &str) -> u64 {
        self.stats().faults_by_kind.get(kind).copied().unwrap_or_default()
    }

    /// How many requests were refused by that name.
    pub(crate) fn struck_by(&self, error: &str) -> u64 {
        self.stats().refusals_by_error.get(error).copied().unwrap_or_default()
    }

    /// Lets it go on like this.
    pub(crate) fn let_it_last(&self, seconds: u64) {
        std::thread::sleep(self.run.lasting(seconds));
    }

    /// Waits until `more` records more are in the stream.
    pub(crate) fn until_exported(&self, more: u64) {
        let before = self.stats().records_committed;
        until("exports", || (self.stats().records_committed >= before + more).then_some(()));
    }

    /// Waits until `more` updates more are accepted.
    pub(crate) fn until_accepted(&self, more: u64) {
        let before = self.producer().accepted();
        until("updates", || (self.producer().accepted() >= before + more).then_some(()));
    }

    /// Waits until `Delivering` says so.
    pub(crate) fn until_told(&self, reason: &str) {
        let label = format!("reason=\"{reason}\"");
        let told = || self.operator().metric_of("activation_delivering", &label).filter(|told| *told == 1);
        until(reason, || told().map(drop));
    }

    /// A credential of its own for the life that runs.
    pub(crate) fn rotate(&mut self) {
        let key = format!("key-{}", self.lives.iter().map(Vec::len).sum::<usize>());
        self.lives.last_mut().unwrap().push(key);
        self.write_secret();
    }

    /// Writes a manifest as a whole, as an editor does.
    fn write(&self, name: &str, text: &str) {
        let fresh = self.folder.path().join(name);
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, self.folder.path().join("manifests").join(name)).unwrap();
    }

    fn write_secret(&self) {
        let key = self.key();
        assert!(self.stub.put_key(key, KeySpec::new("secret")));
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: aws, namespace: marketing}}\nstringData: {{accessKeyId: {key}, secretAccessKey: secret}}\n"
        );
        self.write("secret.yaml", &text);
    }

    /// Writes destinations and activations as they are now.
    pub(crate) fn declare(&self) {
        for Activation { name, stream, audiences, delivery, suspended } in &self.activations {
            let mut text = format!(
                "apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {{name: {name}, namespace: marketing}}
spec:
  region: us-east-1
  stream: {{name: {stream}}}
  credentials: {{secretRef: {{name: aws}}}}
  endpoint: {{url: '{}'}}
  delivery: {{linger: 5ms, {delivery}}}
  includeSegmentNames: true
  includeSegmentTimestamps: true
---
apiVersion: activation.dev/v1alpha1
kind: AudienceActivation
metadata: {{name: {name}, namespace: marketing}}
spec:
  destinationRef: {{name: {name}}}
  suspend: {suspended}
  mappedAttributes: [{{path: 'n'}}, {{path: person.name}}]
  onDelete: Exit
  backfill: {{maxRecordsPerSecond: 3000}}
  record: {{metadata: true}}
  audiences:
",
                self.url
            );
            for id in audiences {
                writeln!(text, "    - {{id: {id}, name: Audience {id}}}").unwrap();
            }
            self.write(&format!("{name}.yaml"), &text);
        }
    }

    /// Starts the program, as a life of its own.
    pub(crate) fn revive(&mut self) {
        self.lives.push(vec![format!("life-{}", self.lives.len())]);
        self.write_secret();
        let manifests = self.folder.path().join("manifests");
        let (environment, arguments) = (&self.environment, &self.arguments);
        let operator = Operator::start_with(&manifests, &self.data, |command: &mut Command| {
            command.envs(environment.iter().map(|(name, value)| (name, value))).args(arguments);
        });
        // A dataflow begins at the head of the log: updates that came before it has would be history.
        for activation in &self.activations {
            let label = format!("activation=\"{}\"", activation.name);
            until("a start", || operator.metric_of("activation_position", &label).map(drop));
        }
        if let Some(producer) = &self.producer {
            producer.send_to(operator.address());
        }
        self.operator = Some(operator);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.operator.take().unwrap().kill();
    }

    /// Lets it end in order; tells its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let code = self.operator.take().unwrap().terminate();
        self.stub.flush().unwrap();
        code
    }

    /// Every record of the log as it is: whose, which version, and all of it.
    pub(crate) fn records(&self) -> Vec<(String, u64, serde_json::Value)> {
        let text = std::fs::read_to_string(self.log()).unwrap();
        let record = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let bytes = aws_smithy_types::base64::decode(line["data"].as_str().unwrap()).unwrap();
            let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let about = &record["_activation"];
            (about["profileId"].as_str().unwrap().to_owned(), about["version"].as_u64().unwrap(), record)
        };
        text.lines().map(record).collect()
    }

    /// It ends by itself; tells its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.operator.take().unwrap().ended()
    }

    /// Lets everything come to its end, and lets the checker judge.
    pub(crate) fn finish(mut self, allowed: Allowed) -> Tally {
        let history = self.end();
        self.judge(&history, allowed)
    }

    /// The producer ends, everything is exported, and the program ends in order.
    pub(crate) fn end(&mut self) -> History {
        let history = self.producer.take().unwrap().stop();
        let operator = self.operator.take().unwrap();
        for activation in &self.activations {
            let label = format!("activation=\"{}\"", activation.name);
            until("everything to be through", || {
                let is = |name: &str| operator.metric_of(name, &label);
                let through = is("activation_position")? == history.head;
                (through && is("activation_backfill_done") == is("activation_backfill_members")).then_some(())
            });
        }
        self.operator = Some(operator);
        assert_eq!(self.terminate(), Some(0), "the exit code");
        history
    }
}

/// Something that befalls puts alone: what the operator asks besides is well.
pub(crate) fn on_puts(kind: Kind) -> Fault {
    Fault::new(kind).on_action("PutRecords")
}

/// A file of this folder of tests.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults").join(name)
}
