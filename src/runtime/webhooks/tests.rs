//! Against a receiver of the tests' own.

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
async fn nothing_is_posted_where_no_user_may_reach() {
    let seen: Arc<Mutex<u32>> = Arc::default();
    let receiver = seen.clone();
    let app = Router::new().fallback(async move || {
        *receiver.lock().unwrap() += 1;
        StatusCode::OK
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let ask = async |allow_internal, url: String| {
        let agent = agent(None, allow_internal);
        let letter = letter(&notification(url));
        tokio::task::spawn_blocking(move || send(&agent, &letter)).await.unwrap()
    };
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}/hook");
        let told = ask(false, url.clone()).await;
        assert!(matches!(told, Err(PostError::NotAllowed(NotAllowed::Internal))), "{url}: {told:?}");
    }
    assert_eq!(*seen.lock().unwrap(), 0);
    assert!(ask(true, format!("http://localhost:{port}/hook")).await.is_ok());
    assert_eq!(*seen.lock().unwrap(), 1);
    for allow_internal in [false, true] {
        let told = ask(allow_internal, "http://169.254.169.254/latest/meta-data".to_owned()).await;
        assert!(matches!(told, Err(PostError::NotAllowed(NotAllowed::LinkLocal))), "{told:?}");
    }
    // The postman asks so, too.
    let (postbox, postman) = postbox(false);
    postbox.hand_in(notification(format!("http://localhost:{port}/hook")));
    drop(postbox);
    postman.run(CancellationToken::new()).await;
    assert_eq!(*seen.lock().unwrap(), 1);
    server.abort();
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
    let (postbox, postman) = postbox(true);
    postbox.hand_in(notification(url));
    drop(postbox);
    postman.run(CancellationToken::new()).await;
    server.abort();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].0["webhook-id"], seen[1].0["webhook-id"]);
    assert!(seen[1].0["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    let event: serde_json::Value = serde_json::from_str(&seen[1].1).unwrap();
    assert_eq!((&event["type"], &event["data"]["state"]), (&json!("dev.activation.alert.firing"), &json!("Firing")));
}
