//! Effects: posts to webhooks what is to be told: one CloudEvent (structured JSON) a post, tried again a few times, signed as
//! Standard Webhooks describes where the Secret has a `signingKey`. An address is never logged: many carry a token.

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
use ureq::Agent;

use crate::api::alerts::AlertState;
use crate::export::partition_key::sha256_hex;
use crate::reconcile::Notification;
use crate::reconcile::validate::alert_rules::Webhook;

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
}

/// A postbox and who empties it.
pub fn postbox() -> (Postbox, Postman) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (Postbox { queue: sender }, Postman { queue })
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
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).http_status_as_error(false);
        let agent: Agent = config.build().into();
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
        let for_good =
            matches!(error, PostError::Refused(400..=499)) && !matches!(error, PostError::Refused(408 | 429));
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
    // The cause may name the address, which may hold a token.
    let answer = request.send(letter.body.as_bytes()).map_err(|_| PostError::Unreachable)?;
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;

    use super::*;
    use crate::api::alerts::AlertType;
    use crate::reconcile::ObjectKey;

    fn notification(url: String) -> Notification {
        Notification {
            activation: ObjectKey::new("marketing", "vip"),
            alert: AlertType::DeadLettersPresent,
            state: Some(AlertState::Firing),
            value: Some("3".to_owned()),
            threshold: Some("1".to_owned()),
            message: "3 dead letters wait".to_owned(),
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            webhook: Webhook { url, signing_key: Some(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec()) },
        }
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn a_signature_is_as_the_specification_has_it() {
        let letter = Letter {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            body: r#"{"test": 2432232314}"#.to_owned(),
            timestamp: 1_614_265_330,
            webhook: notification(String::new()).webhook,
        };
        let key = letter.webhook.signing_key.clone().unwrap();
        assert_eq!(signature(&key, &letter), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_post_is_tried_again_with_the_same_id_until_it_is_taken() {
        let seen: Arc<Mutex<Vec<(HeaderMap, String)>>> = Arc::default();
        let receiver = seen.clone();
        let app = Router::new().route(
            "/hook",
            post(async move |headers: HeaderMap, body: String| {
                let mut seen = receiver.lock().unwrap();
                seen.push((headers, body));
                if seen.len() < 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let (postbox, postman) = postbox();
        postbox.hand_in(notification(url));
        drop(postbox);
        postman.run(CancellationToken::new()).await;
        server.abort();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].0["webhook-id"], seen[1].0["webhook-id"]);
        assert!(seen[1].0["webhook-signature"].to_str().unwrap().starts_with("v1,"));
        let event: serde_json::Value = serde_json::from_str(&seen[1].1).unwrap();
        assert_eq!(
            (&event["type"], &event["data"]["state"]),
            (&json!("dev.activation.alert.firing"), &json!("Firing"))
        );
    }
}
