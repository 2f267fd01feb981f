//! Effects: posts to webhooks what is to be told: one `CloudEvent` (structured JSON) a post, tried again a few times, signed as
//! Standard Webhooks describes where the Secret has a `signingKey`. An address is never logged: many carry a token. What a name
//! resolves to is looked at before it is connected to ([`guard`]).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::json;
use sha2::Sha256;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy};

use crate::api::alerts::AlertState;
use crate::export::partition_key::sha256_hex;
use crate::reconcile::Notification;
use crate::reconcile::validate::alert_rules::Webhook;

mod guard;

use guard::{GuardedResolver, NotAllowed};

/// Posts that wait.
const QUEUE: usize = 256;
/// Posts on their way at once.
const AT_ONCE: usize = 4;
/// Tries of one post, and the wait after the first; each further wait is twice as long.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long posts may take once the process is to end.
const DRAIN: Duration = Duration::from_secs(5);
/// What a signing key begins with that is written as Standard Webhooks writes them.
const KEY_PREFIX: &[u8] = b"whsec_";

/// Where notifications are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Postbox {
    queue: mpsc::Sender<Notification>,
}

/// Takes notifications out of the postbox and posts them: for its owner to run.
#[derive(Debug)]
pub struct Postman {
    queue: mpsc::Receiver<Notification>,
    allow_internal: bool,
}

/// One post, made ready.
struct Letter {
    id: String,
    body: String,
    timestamp: i64,
    webhook: Webhook,
}

/// Why a post did not get through. Names no address.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error("the receiver answered {0}")]
    Refused(u16),
    #[error("the receiver cannot be reached")]
    Unreachable,
    #[error("{0}")]
    NotAllowed(NotAllowed),
}

/// A postbox and who empties it; `allow_internal` says whether receivers may be loopback, private or cluster-internal addresses.
pub fn postbox(allow_internal: bool) -> (Postbox, Postman) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (Postbox { queue: sender }, Postman { queue, allow_internal })
}

impl Postbox {
    /// Hands a notification in. With too many waiting already it is dropped, and that is logged: the status holds it all the same.
    pub fn hand_in(&self, notification: Notification) {
        if let Err(error) = self.queue.try_send(notification) {
            let notification = error.into_inner();
            tracing::error!(
                activation = %notification.activation,
                alert = notification.alert.as_str(),
                "too many posts to webhooks wait: this one is dropped; see the activation's status"
            );
        }
    }
}

impl Postman {
    /// Posts until `stop` or until every postbox is gone; then what waits has five seconds.
    pub async fn run(mut self, stop: CancellationToken) {
        let agent = agent(Proxy::try_from_env(), self.allow_internal);
        let mut posts = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = posts.join_next() => {}
                notification = self.queue.recv(), if posts.len() < AT_ONCE => match notification {
                    Some(notification) => {
                        posts.spawn(post(agent.clone(), notification));
                    }
                    None => break,
                },
            }
        }
        while let Ok(notification) = self.queue.try_recv() {
            posts.spawn(post(agent.clone(), notification));
        }
        if tokio::time::timeout(DRAIN, async { while posts.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(posts = posts.len(), "posts to webhooks were given up, since the process ends");
        }
    }
}

fn agent(proxy: Option<Proxy>, allow_internal: bool) -> Agent {
    let config = Agent::config_builder()
        .proxy(proxy)
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), GuardedResolver::new(allow_internal))
}

async fn post(agent: Agent, notification: Notification) {
    let mut wait = FIRST_WAIT;
    for attempt in 1..=TRIES {
        let letter = letter(&notification);
        let agent = agent.clone();
        let error = match tokio::task::spawn_blocking(move || send(&agent, &letter)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => PostError::Unreachable,
        };
        // What a receiver refuses for good is not made better by another try.
        let for_good = match error {
            PostError::Refused(status) => (400..=499).contains(&status) && !matches!(status, 408 | 429),
            PostError::NotAllowed(_) => true,
            PostError::Unreachable => false,
        };
        if for_good || attempt == TRIES {
            tracing::error!(
                activation = %notification.activation,
                alert = notification.alert.as_str(),
                attempt,
                "a webhook was not told: {error}: check the url in the Secret that the alert names"
            );
            return;
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

fn letter(notification: &Notification) -> Letter {
    let Notification { activation, alert, state, value, threshold, message, at, webhook } = notification;
    let kind = match state {
        Some(AlertState::Firing) => "firing",
        Some(AlertState::Resolved) => "resolved",
        None => "notice",
    };
    let source = format!(
        "/apis/activation.dev/v1alpha1/namespaces/{}/audienceactivations/{}",
        activation.namespace, activation.name
    );
    // The same for every try, so that a receiver can tell a repeat.
    let id = sha256_hex(format!("{source} {} {kind} {at}", alert.as_str()).as_bytes(), 16);
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": format!("dev.activation.alert.{kind}"),
        "subject": alert.as_str(),
        "time": at.to_string(),
        "datacontenttype": "application/json",
        "data": {
            "namespace": activation.namespace,
            "activation": activation.name,
            "alert": alert.as_str(),
            "state": state,
            "value": value,
            "threshold": threshold,
            "message": message,
        },
    });
    Letter { id, body: body.to_string(), timestamp: seconds(*at), webhook: webhook.clone() }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}

fn send(agent: &Agent, letter: &Letter) -> Result<(), PostError> {
    let mut request = agent
        .post(&letter.webhook.url)
        .header("content-type", "application/cloudevents+json")
        .header("webhook-id", &letter.id)
        .header("webhook-timestamp", letter.timestamp.to_string());
    if let Some(key) = &letter.webhook.signing_key {
        request = request.header("webhook-signature", signature(key, letter));
    }
    // Any other cause may name the address, which may hold a token.
    let answer = request
        .send(letter.body.as_bytes())
        .map_err(|error| guard::refusal(&error).map_or(PostError::Unreachable, PostError::NotAllowed))?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        status => Err(PostError::Refused(status)),
    }
}

/// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
fn signature(key: &[u8], letter: &Letter) -> String {
    let encoded = key.strip_prefix(KEY_PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = encoded.as_deref().unwrap_or(key);
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{}.{}.{}", letter.id, letter.timestamp, letter.body).as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests;
