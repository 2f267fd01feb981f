//! Faults: of the processes themselves.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use kinesis_stub::{Config, KeySpec, LogMode, StreamSpec, Stub};

use crate::scene::{Run, Scene, Setting, WINDOW};
use crate::verdict::{Allowed, Tally};

/// Names the log of a stream that is to run in this process.
const STREAM_LOG: &str = "FAULTS_STREAM_LOG";

/// A stream in a process of its own: this program again, which then runs nothing else. It ends with its standard input.
struct StreamProcess {
    child: Child,
    url: String,
    /// What else it says.
    _output: ChildStdout,
}

impl StreamProcess {
    fn start(scene: &Scene) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "machine::the_stream_of_another_process";
        command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(STREAM_LOG, scene.log());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let url = output.by_ref().lines().find_map(|line| Some(line.unwrap().split_once("stream: ")?.1.to_owned()));
        Self { child, url: url.unwrap(), _output: output.into_inner() }
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// Lets it end with its log written.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for StreamProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_stream_of_another_process() {
    let Some(log) = std::env::var_os(STREAM_LOG) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config {
            streams: vec![StreamSpec::new("profiles", 4)],
            keys: vec![("life-0".to_owned(), KeySpec::new("secret"))],
            log: LogMode::Records { file: Some(log.into()) },
            memory_bytes: 0,
            retention_bytes: 0,
            ..Config::default()
        };
        let stub = Stub::start(config).await.unwrap();
        println!("stream: {}", stub.url());
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
        stub.shutdown().await.unwrap();
    });
}

/// Connections stay, nothing is answered; what the stream had taken in by then is written when it goes on, late.
pub(crate) fn stopped_stream(run: Run) -> Tally {
    let setting = Setting { per_second: 2000, ..Setting::default() };
    let mut scene = Scene::set(run, &setting);
    let stream = StreamProcess::start(&scene);
    scene.redirect(stream.url.clone());
    scene.begin_elsewhere(&setting);
    stream.signal("STOP");
    scene.until_told("Unreachable");
    scene.let_it_last(6);
    stream.signal("CONT");
    scene.until_told("Flowing");
    let history = scene.end();
    stream.end();
    // Whatever was on its way at the stop, and the probes since.
    scene.judge(&history, Allowed { repeats: WINDOW + 1000, ..Allowed::default() })
}

pub(crate) fn stopped_operator(run: Run) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    scene.operator().signal("STOP");
    scene.let_it_last(6);
    scene.operator().signal("CONT");
    scene.until_exported(1000);
    // What was answered while it stood still may have been too late for it.
    scene.finish(Allowed { repeats: WINDOW, ..Allowed::default() })
}

pub(crate) fn killed_operator(run: Run) -> Tally {
    let mut scene = Scene::start(run, &Setting::default());
    for _ in 0..if run.long { 20 } else { 3 } {
        scene.kill();
        scene.revive();
        scene.until_exported(500);
    }
    scene.finish(Allowed::default())
}
