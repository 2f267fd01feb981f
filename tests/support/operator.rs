//! Effects: the real binary as people run it: `activation-operator standalone` on a folder of manifests.
//!
//! Whatever such a process says, writes as a status or answers over HTTP is read once more when it ends: no [`SECRET_MARK`] may
//! be in it. Every secret of these tests carries that mark.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::independent::command;

/// How long a condition may take to come true: generous, since a loaded machine is slow and waiting costs nothing.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(25);
/// What every secret of a test holds, and nothing else does.
pub(crate) const SECRET_MARK: &str = "hunter2";
/// The same within base64, at each of its three offsets.
const SECRET_MARK_BASE64: [&str; 3] = ["aHVudGVyMi", "h1bnRlcjIt", "odW50ZXIyL"];

/// The folder that a process works in: `manifests/` and `data/`.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("manifests")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of manifests, as an editor would.
    pub(crate) fn declare(&self, file: &str, manifests: &str) {
        fs::write(self.path().join("manifests").join(file), manifests).unwrap();
    }

    /// Removes it.
    pub(crate) fn withdraw(&self, file: &str) {
        fs::remove_file(self.path().join("manifests").join(file)).unwrap();
    }

    /// Writes another file beside the manifests.
    pub(crate) fn write(&self, file: &str, text: &str) -> String {
        let path = self.path().join(file);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The file of a resource's status.
    pub(crate) fn status_file(&self, kind: &str, name: &str) -> PathBuf {
        self.path().join(format!("data/status/{kind}_marketing_{name}.yaml"))
    }
}

/// A running process, ended by its id where its owner leaves it.
#[derive(Debug)]
pub(crate) struct Operator<'a> {
    place: &'a Place,
    child: Child,
    output: tempfile::TempDir,
    url: String,
    /// Everything that it answered.
    heard: Mutex<String>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One condition of a status.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Condition {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// `activation-operator`, without whatever the environment says of AWS, proxies or itself.
pub(crate) fn operator_command() -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_activation-operator"));
    for name in ["ACTIVATION_OPERATOR_LOG", "ACTIVATION_OPERATOR_URL", "ACTIVATION_OPERATOR_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command
}

impl<'a> Operator<'a> {
    /// Starts it with further arguments and waits until it listens.
    pub(crate) fn start(place: &'a Place, arguments: &[&str]) -> Self {
        let mut operator = Self::spawn(place, arguments, Stdio::null());
        operator.wait_until_it_listens();
        operator
    }

    /// Starts it with further arguments and this standard input.
    pub(crate) fn spawn(place: &'a Place, arguments: &[&str], stdin: Stdio) -> Self {
        let output = tempfile::tempdir().unwrap();
        let writer = |name: &str| Stdio::from(File::create(output.path().join(name)).unwrap());
        let mut command = operator_command();
        command
            .arg("standalone")
            .current_dir(place.path())
            .args(["-f", "manifests", "--data-dir", "data", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(stdin)
            .stdout(writer("stdout"))
            .stderr(writer("stderr"));
        let child = command.spawn().unwrap();
        Self { place, child, output, url: String::new(), heard: Mutex::default() }
    }

    fn wait_until_it_listens(&mut self) {
        let until = Instant::now() + DEADLINE;
        loop {
            let told = self.said("stderr");
            if let Some((_, rest)) = told.split_once("listening on ")
                && let Some((url, _)) = rest.split_once(';')
            {
                url.clone_into(&mut self.url);
                return;
            }
            assert!(self.runs() && Instant::now() < until, "it does not listen:\n{told}");
            std::thread::sleep(EVERY);
        }
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn said(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.output.path().join(name)).unwrap()).into_owned()
    }

    /// Waits until its log holds `text`.
    pub(crate) fn until_logged(&mut self, text: &str) {
        let file = self.output.path().join("stderr");
        self.wait(&format!("{text:?} in the log"), || fs::read_to_string(&file).unwrap().contains(text).then_some(()));
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its standard input, where that is a pipe.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// The status code and the text of an answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE));
        let agent: ureq::Agent = config.build().into();
        let mut answer = agent.get(format!("{}{path}", self.url)).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        self.heard.lock().unwrap().push_str(&text);
        (answer.status().as_u16(), text)
    }

    /// Sends updates over HTTP; all must be taken up.
    pub(crate) fn send(&self, updates: &[Value]) {
        let body = ndjson(updates);
        let request = ureq::post(format!("{}/v1/profiles", self.url)).header("content-type", "application/x-ndjson");
        let answer: Value = request.send(body).unwrap().body_mut().read_json().unwrap();
        assert_eq!(answer["accepted"], updates.len(), "{answer}");
    }

    /// `activation-operator dead-letters` with these arguments, asking this process.
    pub(crate) fn dead_letters(&self, arguments: &[&str]) -> Output {
        operator_command().args(["dead-letters", "--url", &self.url]).args(arguments).output().unwrap()
    }

    /// The status of the activation `name`, once it `holds`.
    pub(crate) fn activation(&mut self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.status("audienceactivation", name, what, holds)
    }

    /// The status of the destination `events`, once it `holds`.
    pub(crate) fn destination(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.status("kinesisdestination", "events", what, holds)
    }

    fn status(&mut self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let file = self.place.status_file(kind, name);
        let mut last = Value::Null;
        self.wait(&format!("{what} in {}", file.display()), || {
            let Ok(text) = fs::read_to_string(&file) else { return None };
            last = serde_saphyr::from_str::<Value>(&text).unwrap()["status"].take();
            holds(&last).then(|| last.clone())
        })
    }

    /// What `look` finds, as soon as it finds something. Fails where the process ends before.
    pub(crate) fn wait<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(self.runs() && Instant::now() < until, "{what} did not come; {}", self.everything());
            std::thread::sleep(EVERY);
        }
    }

    /// Asks it to end, as a service manager would, and waits.
    pub(crate) fn terminate(self) -> Ended {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.ended()
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self) -> Ended {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end; {}", self.everything());
            std::thread::sleep(EVERY);
        };
        Ended { code: status.code(), stdout: self.said("stdout"), stderr: self.said("stderr") }
    }

    /// What it said, wrote and answered.
    fn everything(&self) -> String {
        let mut text = format!("stdout:\n{}\nstderr:\n{}\n", self.said("stdout"), self.said("stderr"));
        for entry in fs::read_dir(self.place.path().join("data/status")).into_iter().flatten().flatten() {
            text += &fs::read_to_string(entry.path()).unwrap_or_default();
        }
        text + &self.heard.lock().unwrap()
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert_no_secret(&self.everything());
        }
    }
}

/// One update a line.
pub(crate) fn ndjson(updates: &[Value]) -> String {
    let mut lines = updates.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    lines.push('\n');
    lines
}

/// Fails where a secret is in `text`, plain or as base64.
pub(crate) fn assert_no_secret(text: &str) {
    for mark in SECRET_MARK_BASE64.iter().chain([&SECRET_MARK]) {
        assert!(!text.contains(mark), "a secret was told:\n{text}");
    }
}

/// A condition of a status; an empty one where it is not there.
pub(crate) fn condition(status: &Value, type_: &str) -> Condition {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(found) = conditions.iter().find(|condition| condition["type"] == type_) else {
        return Condition::default();
    };
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    Condition { status: text("status"), reason: text("reason"), message: text("message") }
}

/// Whether `Ready` is True.
pub(crate) fn is_ready(status: &Value) -> bool {
    condition(status, "Ready").status == "True"
}
