//! Effects: a receiver of webhooks, which keeps what it got and has Python verify it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::support::independent::{command, installed};

/// How long a post may take: longer than any alert has to be quiet here.
const DEADLINE: Duration = Duration::from_mins(4);
/// With what posts are signed: base64 that holds the mark of every secret of the tests.
pub(crate) const SIGNING_KEY: &str = "whsec_aHVudGVyMi1zaWducy13ZWJob29rcw==";

/// One post, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    headers: HeaderMap,
    body: String,
}

impl Post {
    /// What it says.
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// `subject kind`, such as `DeadLettersPresent firing`.
    pub(crate) fn summary(&self) -> String {
        let event = self.event();
        let kind = event["type"].as_str().unwrap().strip_prefix("dev.activation.alert.").unwrap().to_owned();
        format!("{} {kind}", event["subject"].as_str().unwrap())
    }

    fn line(&self) -> Value {
        let header = |name: &str| self.headers[name].to_str().unwrap();
        json!({"id": header("webhook-id"), "timestamp": header("webhook-timestamp"), "signature": header("webhook-signature"),
            "body": self.body, "key": SIGNING_KEY})
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Where it is posted to. Holds a token, as many such addresses do.
    pub(crate) url: String,
    posts: Arc<Mutex<Vec<Post>>>,
    _server: AbortOnDropHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let posts: Arc<Mutex<Vec<Post>>> = Arc::default();
        let kept = Arc::clone(&posts);
        let take = async move |headers: HeaderMap, body: String| {
            kept.lock().unwrap().push(Post { headers, body });
            StatusCode::NO_CONTENT
        };
        let app = Router::new().route("/hook", post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hunter2-of-the-hook", listener.local_addr().unwrap());
        let server = async move { axum::serve(listener, app).await.unwrap() };
        Self { url, posts, _server: AbortOnDropHandle::new(tokio::spawn(server)) }
    }

    /// Everything that came, in the order in which it came.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// How often a post of that summary came.
    pub(crate) fn count(&self, summary: &str) -> usize {
        self.posts().iter().filter(|post| post.summary() == summary).count()
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            let came: Vec<_> = self.posts().iter().map(Post::summary).collect();
            assert!(Instant::now() < deadline, "{what} did not come, but {came:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Fails where a signature is not of the key, or an id came twice.
    pub(crate) fn verify(&self) {
        let lines: Vec<_> = self.posts().iter().map(Post::line).collect();
        let verified = verified(&lines);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        assert_eq!(String::from_utf8_lossy(&verified.stdout).trim(), lines.len().to_string());
        let mut ids: Vec<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), lines.len(), "an id came twice");
    }
}

/// What the independent verifier says of these posts.
fn verified(lines: &[Value]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/verify_webhooks.py");
    let mut python = command(&installed().python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = python.stdin.take().unwrap();
    for line in lines {
        // One that has found a fault reads no further.
        let _ = writeln!(pipe, "{line}");
    }
    drop(pipe);
    python.wait_with_output().unwrap()
}

#[test]
fn a_forged_post_is_noticed() {
    // Made with openssl: printf 'm.1.{}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:KEY -binary | base64
    let genuine = json!({"id": "m", "timestamp": "1", "body": "{}", "key": SIGNING_KEY, "signature": "v1,SzILligc3p1LSBnPiFH1tdug19mkomkk0oc3Azj1bpk="});
    assert!(verified(std::slice::from_ref(&genuine)).status.success());
    for (name, forged) in [("body", "{ }"), ("id", "n"), ("timestamp", "2"), ("signature", "v1,AAAA")] {
        let mut post = genuine.clone();
        post[name] = json!(forged);
        let told = verified(&[genuine.clone(), post]);
        assert_eq!(told.status.code(), Some(1), "{name}");
    }
}
