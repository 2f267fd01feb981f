//! Statuses as the operator writes them: by server-side apply, the newest only, and only what differs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activation_operator::api::{
    AudienceActivation, AudienceActivationStatus, KinesisDestination, KinesisDestinationStatus,
};
use activation_operator::controller::publish::{Publisher, publisher};
use activation_operator::reconcile::{About, ObjectKey};
use activation_operator::telemetry::health::Heartbeats;
use activation_operator::telemetry::metrics::Metrics;
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::kube_client::{client, until};
use crate::support::controlplane::ControlPlane;
use crate::users::{list, smallest};
use crate::{cluster, place};

/// How long the last statuses may take: generous.
const FLUSH: Duration = Duration::from_mins(2);

/// A publisher that runs, and its ends.
struct Running {
    publisher: Publisher,
    metrics: Metrics,
    heartbeats: Heartbeats,
    _writer: AbortOnDropHandle<()>,
}

impl Running {
    fn start(client: Client) -> Self {
        let (metrics, heartbeats) = (Metrics::default(), Heartbeats::default());
        let (publisher, writer) = publisher(client, metrics.clone(), heartbeats.clone());
        let writer = AbortOnDropHandle::new(tokio::spawn(writer.run(CancellationToken::new())));
        Self { publisher, metrics, heartbeats, _writer: writer }
    }

    /// How many writes of a kind came to that.
    fn writes(&self, kind: &str, result: &str) -> u64 {
        let line = format!("activation_status_writes_total{{kind=\"{kind}\",result=\"{result}\"}} ");
        let told = self.metrics.encode().unwrap();
        told.lines().find_map(|told| told.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }

    fn written(&self) -> u64 {
        self.writes("KinesisDestination", "written") + self.writes("AudienceActivation", "written")
    }
}

/// The smallest of both, in a namespace of their own.
struct Objects<'a> {
    cluster: &'a ControlPlane,
    namespace: String,
    manifests: [Value; 2],
}

impl<'a> Objects<'a> {
    fn create(cluster: &'a ControlPlane, prefix: &str) -> Self {
        let namespace = cluster.namespace(prefix);
        let manifests = smallest().map(|mut manifest| {
            manifest["metadata"]["namespace"] = json!(namespace);
            manifest
        });
        let objects = Self { cluster, namespace, manifests };
        objects.apply("gitops");
        objects
    }

    fn apply(&self, manager: &str) {
        let manager = format!("--field-manager={manager}");
        let told = self.cluster.kubectl_good(&["apply", "--server-side", &manager, "-f", "-"], &list(&self.manifests));
        assert!(!told.contains("conflict"), "{told}");
    }

    fn path(&self, which: usize) -> String {
        format!("{}/{}", place(&self.manifests[which]), self.manifests[which]["metadata"]["name"].as_str().unwrap())
    }

    fn raw(&self, which: usize) -> Value {
        self.cluster.client().get(&self.path(which)).good()
    }

    fn read<K: DeserializeOwned>(&self, which: usize) -> K {
        serde_json::from_value(self.raw(which)).unwrap()
    }

    fn destination(&self) -> KinesisDestination {
        self.read(0)
    }

    fn activation(&self) -> AudienceActivation {
        self.read(1)
    }
}

fn destination_status() -> KinesisDestinationStatus {
    serde_json::from_value(json!({
        "observedGeneration": 1, "lastHandledRequestAt": "now", "activations": 3, "lastCheckedAt": "2026-01-02T03:04:05.678Z",
        "conditions": [condition("Ready", "Succeeded"), condition("Stalled", "Succeeded")],
        "stream": {"name": "s-1", "arn": "arn:aws:kinesis:eu-west-1:123456789012:stream/s-1", "status": "ACTIVE", "mode": "ON_DEMAND"},
        "permissions": [{"action": "kinesis:PutRecord", "granted": "True", "checkedAt": "2026-01-02T03:04:05Z"}],
        "credentials": {"source": "Secret", "secretResourceVersion": "17", "observedAt": "2026-01-02T03:04:05Z"},
        "requiredPolicy": "{}",
    }))
    .unwrap()
}

fn activation_status(exported: u64) -> AudienceActivationStatus {
    let audience = |id: &str| {
        json!({"namespace": "ups", "id": id, "mappingCreatedAt": "2026-01-02T03:04:05.001Z",
            "mappingUpdatedAt": "2026-01-02T03:04:05Z",
            "backfill": {"state": "Running", "exported": 5, "total": 10, "percent": 50, "message": "slow"}})
    };
    serde_json::from_value(json!({
        "observedGeneration": 1, "mappedAudiences": 2, "backfillPercent": 50,
        "conditions": [condition("Ready", "Succeeded"), condition("Delivering", "Flowing")],
        "audiences": [audience("a-1"), audience("a-2")],
        "dataflow": {"received": 60, "exported": exported, "excluded": 1, "retried": 0, "failed": 0, "deadLettered": 0,
            "triggers": {"audience": 40, "attribute": 0, "identity": 0, "backfill": 0}, "lagSeconds": 7},
        "runs": [{"start": "2026-01-02T03:00:00Z", "state": "Running", "received": 1, "exported": 1, "excluded": 0, "failed": 0}],
        "alerts": [{"type": "DeadLettersPresent", "state": "Firing", "since": "2026-01-02T03:04:05Z", "value": "3", "threshold": "1",
            "message": "3 dead letters wait"}],
        "workers": {"desired": 1, "ready": 1, "restarts": 2, "lastError": "it broke"},
    }))
    .unwrap()
}

fn condition(kind: &str, reason: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": reason, "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-02T03:04:05Z"})
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_read_back_equal_and_are_ours_alone() {
    let objects = Objects::create(cluster(), "statuses");
    let running = Running::start(client(cluster(), None).await);
    running.publisher.offer(&objects.destination(), destination_status());
    running.publisher.offer(&objects.activation(), activation_status(40));
    assert_eq!(running.publisher.flush(FLUSH).await, 0);
    assert_eq!(objects.destination().status, Some(destination_status()));
    assert_eq!(objects.activation().status, Some(activation_status(40)));
    for which in [0, 1] {
        let raw = objects.raw(which);
        // A null would be there, and a status changes nothing that is wanted.
        assert!(!raw["status"].to_string().contains("null"), "{raw}");
        assert_eq!(raw["metadata"]["generation"], 1);
        let managers = raw["metadata"]["managedFields"].as_array().unwrap();
        let of_status: Vec<_> = managers.iter().filter(|one| one["fieldsV1"]["f:status"].is_object()).collect();
        assert_eq!(of_status.len(), 1, "{raw}");
        assert_eq!(of_status[0]["manager"], "activation-operator");
        assert_eq!((&of_status[0]["operation"], &of_status[0]["subresource"]), (&json!("Apply"), &json!("status")));
        let owned = of_status[0]["fieldsV1"].as_object().unwrap();
        assert_eq!(owned.len(), 1, "more than the status: {owned:?}");
    }
    assert!(running.heartbeats.ages(Duration::MAX).iter().any(|(name, _)| name == "status writer"));

    // Whoever applies the manifests is in nobody's way.
    let before = [objects.raw(0), objects.raw(1)];
    objects.apply("gitops");
    objects.apply("somebody-else");
    cluster().kubectl_good(&["apply", "-f", "-"], &list(&objects.manifests));
    for arguments in [&["diff", "--server-side", "--field-manager=gitops", "-f", "-"][..], &["diff", "-f", "-"]] {
        let diff = cluster().kubectl(arguments, &list(&objects.manifests));
        assert!(diff.status.success() && diff.stdout.is_empty(), "{}", String::from_utf8_lossy(&diff.stdout));
    }
    for (which, before) in before.iter().enumerate() {
        let after = objects.raw(which);
        assert_eq!((&after["status"], &after["spec"]), (&before["status"], &before["spec"]));
        assert_eq!(after["metadata"]["generation"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_holds_is_not_written_and_what_it_should_no_longer_hold_goes() {
    let objects = Objects::create(cluster(), "quiet");
    let first = Running::start(client(cluster(), None).await);
    first.publisher.offer(&objects.activation(), activation_status(40));
    assert_eq!(first.publisher.flush(FLUSH).await, 0);
    for _ in 0..3 {
        first.publisher.offer(&objects.activation(), activation_status(40));
        assert_eq!(first.publisher.flush(FLUSH).await, 0);
    }
    assert_eq!(first.written(), 1);

    // A process that starts anew knows what is there.
    let second = Running::start(client(cluster(), None).await);
    second.publisher.offer(&objects.activation(), activation_status(40));
    assert_eq!(second.publisher.flush(FLUSH).await, 0);
    assert_eq!(second.written(), 0);

    let mut less = activation_status(40);
    less.audiences.truncate(1);
    (less.alerts, less.workers, less.backfill_percent) = (Vec::new(), None, None);
    second.publisher.offer(&objects.activation(), less.clone());
    assert_eq!(second.publisher.flush(FLUSH).await, 0);
    assert_eq!(objects.activation().status, Some(less.clone()));

    // Somebody else writes, and labels, which is nobody's business.
    let path = objects.path(1);
    cluster().client().merge(&format!("{path}/status"), &json!({"status": {"mappedAudiences": 9}})).good();
    cluster().client().merge(&path, &json!({"metadata": {"labels": {"a": "b"}}})).good();
    second.publisher.offer(&objects.activation(), less.clone());
    assert_eq!(second.publisher.flush(FLUSH).await, 0);
    assert_eq!(objects.activation().status, Some(less.clone()));
    let written = second.written();
    cluster().client().merge(&path, &json!({"metadata": {"labels": {"a": "c"}}})).good();
    second.publisher.offer(&objects.activation(), less);
    assert_eq!(second.publisher.flush(FLUSH).await, 0);
    assert_eq!(second.written(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_watch_has_not_shown_yet_is_no_obstacle() {
    let objects = Objects::create(cluster(), "behind");
    let running = Running::start(client(cluster(), None).await);
    let seen = objects.activation();
    cluster().client().merge(&objects.path(1), &json!({"metadata": {"labels": {"a": "b"}}})).good();
    running.publisher.offer(&seen, activation_status(40));
    until("the status", || objects.activation().status == Some(activation_status(40))).await;
    assert_eq!(running.writes("AudienceActivation", "changed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_made_anew_does_not_get_the_status_of_the_old_one() {
    let objects = Objects::create(cluster(), "anew");
    let running = Running::start(client(cluster(), None).await);
    let old = objects.activation();
    cluster().client().delete(&objects.path(1)).good();
    objects.apply("gitops");
    assert_ne!(objects.activation().metadata.uid, old.metadata.uid);
    running.publisher.offer(&old, activation_status(40));
    until("the write to end", || running.writes("AudienceActivation", "gone") == 1).await;
    assert_eq!(objects.raw(1)["status"], json!({"observedGeneration": -1}));
    // The new one gets its own.
    running.publisher.offer(&objects.activation(), activation_status(1));
    until("the status", || objects.activation().status == Some(activation_status(1))).await;

    let last = objects.activation();
    cluster().client().delete(&objects.path(1)).good();
    running.publisher.offer(&last, activation_status(2));
    until("the write to end", || running.writes("AudienceActivation", "gone") == 2).await;
    running.publisher.forget(About::Activation, &ObjectKey::of(&last));
    assert_eq!(running.publisher.flush(FLUSH).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_was_away_gets_the_newest_status() {
    let own = ControlPlane::start();
    own.install_definitions();
    let objects = Objects::create(&own, "away");
    let running = Running::start(client(&own, None).await);
    let seen = objects.activation();
    running.publisher.offer(&seen, activation_status(40));
    until("the first status", || objects.activation().status == Some(activation_status(40))).await;
    own.stop_api_server();
    let mut changed = activation_status(41);
    changed.mapped_audiences = Some(3);
    running.publisher.offer(&seen, changed.clone());
    until("a write to fail", || running.writes("AudienceActivation", "unreachable") > 1).await;
    changed.mapped_audiences = Some(4);
    running.publisher.offer(&seen, changed.clone());
    own.start_api_server();
    until("the newest status", || objects.activation().status == Some(changed.clone())).await;
    assert_eq!(running.publisher.flush(FLUSH).await, 0);
    assert_eq!(running.writes("AudienceActivation", "written"), 2);
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_missing_role_is_told_once_and_the_status_comes_when_it_is_mended() {
    let lines = Lines::default();
    let told = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || told.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let objects = Objects::create(cluster(), "forbidden");
    let user = format!("writer-{}", objects.namespace);
    let running = Running::start(client(cluster(), Some(&user)).await);
    running.publisher.offer(&objects.destination(), destination_status());
    running.publisher.offer(&objects.activation(), activation_status(40));
    until("both refusals", || {
        running.writes("KinesisDestination", "forbidden") == 1 && running.writes("AudienceActivation", "forbidden") == 1
    })
    .await;
    // Tried again, and refused again, and not told again.
    running.publisher.flush(Duration::ZERO).await;
    until("a second refusal", || running.writes("AudienceActivation", "forbidden") == 2).await;
    let log = || String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for plural in ["kinesisdestinations", "audienceactivations"] {
        let mend = format!(
            "let this service account `patch` `{plural}/status` of the API group `activation.dev` in the namespace {}",
            objects.namespace
        );
        assert_eq!(log().matches(&mend).count(), 1, "{}", log());
    }
    assert_eq!(running.metrics.encode().unwrap().matches("activation_status_pending 2").count(), 1);

    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "statuses"}, "rules": [
        {"apiGroups": ["activation.dev"], "verbs": ["patch"],
            "resources": ["kinesisdestinations/status", "audienceactivations/status"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "statuses"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "statuses"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", objects.namespace);
    cluster().client().post(&format!("{path}/roles"), &role).good();
    cluster().client().post(&format!("{path}/rolebindings"), &binding).good();
    // The authorizer learns of it a moment later.
    for _ in 0..100 {
        if running.publisher.flush(Duration::from_millis(500)).await == 0 {
            break;
        }
    }
    assert_eq!(objects.destination().status, Some(destination_status()));
    assert_eq!(objects.activation().status, Some(activation_status(40)));
}
