//! Effects: one life of the program, by its process id.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);
const EVERY: Duration = Duration::from_millis(10);
/// How many lines of its log a failure is told with.
const TAIL: usize = 40;

/// Waits for a condition.
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(EVERY);
    }
}

/// A client that takes every status for an answer.
pub(crate) fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(20)))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into()
}

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_activation-operator");

/// What it listens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// Updates, and everything else that has no listener of its own.
    Updates,
    Probes,
}

/// The running program; killed where it is dropped.
pub(crate) struct Operator {
    child: Child,
    address: SocketAddr,
    /// Where its probes are: at the same address, unless they have one of their own.
    probes: SocketAddr,
    client: ureq::Agent,
    log: Option<JoinHandle<()>>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Operator {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(manifests: &Path, data: &Path) -> Self {
        Self::start_with(manifests, data, |_| {})
    }

    /// The same, with what `more` adds to the command.
    pub(crate) fn start_with(manifests: &Path, data: &Path, more: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["standalone", "--listen", "127.0.0.1:0", "--log", "info", "-f"]).arg(manifests);
        command.arg("--data-dir").arg(data);
        more(&mut command);
        Self::launch(command, 1)
    }

    /// Starts it for a namespace of a cluster, and waits until it is ready.
    pub(crate) fn start_in_cluster(kubeconfig: &Path, namespace: &str, data: &Path) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .args(["run", "--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--log-format", "text"])
            .args(["--allow-internal-endpoints", "--operator-namespace", namespace, "--namespaces", namespace])
            .arg("--data-dir")
            .arg(data)
            .env("KUBECONFIG", kubeconfig);
        Self::launch(command, 2)
    }

    fn launch(command: Command, listeners: usize) -> Self {
        let mut operator = Self::spawn(command, listeners);
        until("/readyz", || {
            assert!(operator.runs(), "it ended by itself:\n{}", operator.said());
            operator.ask(operator.probes, "/readyz").map(drop)
        });
        operator
    }

    /// The same, until it listens at so many places.
    fn spawn(mut command: Command, listeners: usize) -> Self {
        command
            .env_remove("HTTP_PROXY")
            .env_remove("http_proxy")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (log, announced) = follow(child.stderr.take().unwrap(), Arc::clone(&tail));
        // Not known yet; dropped on a panic from here on, which kills it.
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut operator = Self { child, address: unknown, probes: unknown, client: client(), log: Some(log), tail };
        for _ in 0..listeners {
            match announced.recv_timeout(DEADLINE) {
                Ok((Listener::Probes, address)) => operator.probes = address,
                Ok((Listener::Updates, address)) => operator.address = address,
                Err(error) => panic!("it does not listen: {error}\n{}", operator.said()),
            }
        }
        if listeners == 1 {
            operator.probes = operator.address;
        }
        operator
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(told.success(), "kill -{name}");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The text of an answer with status 200.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        self.ask(self.address, path)
    }

    fn ask(&self, address: SocketAddr, path: &str) -> Option<String> {
        let mut response = self.client.get(format!("http://{address}{path}")).call().ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        (response.status() == 200).then_some(text)
    }

    /// The value of a metric of the dataflow, once it is told.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        self.metric_of(name, "")
    }

    /// The same of the first that has such a label, as `name="value"`.
    pub(crate) fn metric_of(&self, name: &str, label: &str) -> Option<u64> {
        let text = self.get("/metrics")?;
        let is_it = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        };
        // A count, or seconds with a fraction.
        Some(text.lines().find(is_it)?.rsplit_once(' ')?.1.parse::<f64>().ok()? as u64)
    }

    /// Waits for a condition, but not for ever: it may have nothing to do.
    pub(crate) fn patience(&mut self, patience: Duration, holds: impl Fn() -> bool) {
        let end = Instant::now() + patience;
        while !holds() && Instant::now() < end {
            assert!(self.runs(), "it ended by itself:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        assert!(self.runs(), "it ended by itself:\n{}", self.said());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself; tells its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        until("the end", || self.child.try_wait().unwrap()).code()
    }

    /// Lets it end in order; tells its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        let status = until("the end", || self.child.try_wait().unwrap());
        if !status.success() {
            println!("{}", self.said());
        }
        status.code()
    }

    /// The last lines of its log.
    pub(crate) fn said(&self) -> String {
        self.tail.lock().unwrap().iter().fold(String::new(), |said, line| said + "  " + line + "\n")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("its last words:\n{}", self.said());
        }
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

/// Reads its log to the end, keeps the last lines, and tells where it listens.
fn follow(
    log: std::process::ChildStderr,
    tail: Arc<Mutex<VecDeque<String>>>,
) -> (JoinHandle<()>, Receiver<(Listener, SocketAddr)>) {
    let (announce, announced) = channel();
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if let Some((before, rest)) = line.split_once("listening on http://") {
                let listener = if before.ends_with("probes: ") { Listener::Probes } else { Listener::Updates };
                let address = rest.split(';').next().unwrap();
                // Whoever waited may have given up.
                let _ = announce.send((listener, address.parse().unwrap()));
            }
            let mut tail = tail.lock().unwrap();
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    });
    (reading, announced)
}
