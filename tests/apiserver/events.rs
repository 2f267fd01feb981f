//! Kubernetes Events, as users see them.

use activation_operator::api::AudienceActivation;
use activation_operator::api::conditions::Reason;
use activation_operator::controller::events::{EventQueue, recorder};
use activation_operator::reconcile::{About, Event, ObjectKey};
use activation_operator::telemetry::metrics::Metrics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::kube_client::{client, until};
use crate::users::smallest;
use crate::{cluster, place};

/// An activation of its own namespace.
fn activation(prefix: &str) -> AudienceActivation {
    let mut manifest = smallest()[1].clone();
    manifest["metadata"]["namespace"] = json!(cluster().namespace(prefix));
    serde_json::from_value(cluster().client().post(&place(&manifest), &manifest).good()).unwrap()
}

fn event(about: &AudienceActivation, action: &'static str, reason: Reason, message: &str) -> Event {
    let (about, key) = (About::Activation, ObjectKey::of(about));
    Event { about, key, warning: reason == Reason::AlertsFiring, action, reason, message: message.to_owned() }
}

/// The Events of a namespace.
fn told(namespace: &str) -> Vec<Value> {
    let list = cluster().client().get(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")).good();
    list["items"].as_array().unwrap().clone()
}

async fn start(user: Option<&str>) -> (EventQueue, Metrics, AbortOnDropHandle<()>) {
    let metrics = Metrics::default();
    let (queue, recorder) = recorder(client(cluster(), user).await, Some("pod-1".to_owned()), metrics.clone());
    (queue, metrics, AbortOnDropHandle::new(tokio::spawn(recorder.run(CancellationToken::new()))))
}

fn count(metrics: &Metrics, result: &str) -> u64 {
    let line = format!("activation_kubernetes_events_total{{result=\"{result}\"}} ");
    let told = metrics.encode().unwrap();
    told.lines().find_map(|told| told.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_shown_with_its_object() {
    let about = activation("events");
    let (namespace, uid) = (about.metadata.namespace.clone().unwrap(), about.metadata.uid.clone().unwrap());
    let (queue, metrics, _recorder) = start(None).await;
    queue.hand_in(event(&about, "Reconcile", Reason::Succeeded, "The dataflow runs."), &uid);
    // Two alerts at once are two Events, though both have one reason; and the longest message is cut, not refused.
    queue.hand_in(event(&about, "DeadLettersPresent", Reason::AlertsFiring, "3 dead letters wait"), &uid);
    queue.hand_in(event(&about, "DataflowRunDelay", Reason::AlertsFiring, &"語".repeat(2_000)), &uid);
    until("three Events", || count(&metrics, "written") == 3).await;
    let all = told(&namespace);
    assert_eq!(all.len(), 3, "{all:?}");
    let of = |action: &str| all.iter().find(|event| event["action"] == action).unwrap();
    let first = of("Reconcile");
    assert_eq!(
        (&first["type"], &first["reason"], &first["note"]),
        (&json!("Normal"), &json!("Succeeded"), &json!("The dataflow runs."))
    );
    assert_eq!(first["regarding"]["uid"], json!(uid));
    assert_eq!(
        (&first["reportingController"], &first["reportingInstance"]),
        (&json!("activation-operator"), &json!("pod-1"))
    );
    assert_eq!(
        (&of("DeadLettersPresent")["type"], &of("DeadLettersPresent")["note"]),
        (&json!("Warning"), &json!("3 dead letters wait"))
    );
    assert!(of("DataflowRunDelay")["note"].as_str().unwrap().ends_with('…'));
    let shown = cluster().kubectl_good(&["describe", "aact", "-n", &namespace], "");
    for words in ["The dataflow runs.", "3 dead letters wait", "activation-operator"] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_again_is_counted_and_what_was_deleted_is_told_anew() {
    let about = activation("again");
    let (namespace, uid) = (about.metadata.namespace.clone().unwrap(), about.metadata.uid.clone().unwrap());
    let (queue, metrics, _recorder) = start(None).await;
    let said = || queue.hand_in(event(&about, "Reconcile", Reason::SecretNotFound, "create it"), &uid);
    said();
    said();
    until("two Events", || count(&metrics, "written") == 2).await;
    let all = told(&namespace);
    assert_eq!((all.len(), &all[0]["series"]["count"]), (1, &json!(2)), "{all:?}");
    cluster().kubectl_good(&["delete", "events.events.k8s.io", "--all", "-n", &namespace], "");
    said();
    until("three Events", || count(&metrics, "written") == 3).await;
    assert_eq!(told(&namespace).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_may_not_be_written_is_counted_and_holds_nothing_up() {
    let about = activation("mute");
    let (queue, metrics, _recorder) = start(Some("nobody-at-all")).await;
    for _ in 0..2 {
        queue.hand_in(
            event(&about, "Reconcile", Reason::Succeeded, "The dataflow runs."),
            about.metadata.uid.clone().unwrap(),
        );
    }
    until("two refusals", || count(&metrics, "forbidden") == 2).await;
}
