//! Effects: what happened once, as Kubernetes Events: by one task behind a bounded queue. Nobody waits for it, and where the API
//! server is away an Event is dropped and counted: the conditions hold the same.
//!
//! Kubernetes counts Events of one object, type, action and reason that come within six minutes as one, with the first's note; the
//! newest message is the condition's.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as Told, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::publish::{FIELD_MANAGER, resource};
use crate::reconcile::Event;
use crate::telemetry::metrics::Metrics;

/// Events that wait.
const QUEUE: usize = 512;
/// How long one may take; the client tries again within it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long what waits may take once the process is to end.
const DRAIN: Duration = Duration::from_secs(5);
/// The longest note that an API server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// What a note that was cut ends with.
const CUT: &str = "…";

/// Where Events are handed in. Cheap to clone.
#[derive(Clone)]
pub struct EventQueue {
    queue: mpsc::Sender<(Event, String)>,
    metrics: Metrics,
}

/// Records the Events that were handed in: for its owner to run.
pub struct EventRecorder {
    queue: mpsc::Receiver<(Event, String)>,
    client: Client,
    reporter: Reporter,
    recorder: Recorder,
    metrics: Metrics,
    /// What went wrong the last time, which is told once.
    trouble: Option<&'static str>,
}

/// A queue of Events and who records them; `instance` is the name of the pod.
pub fn recorder(client: Client, instance: Option<String>, metrics: Metrics) -> (EventQueue, EventRecorder) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance };
    let recorder = Recorder::new(client.clone(), reporter.clone());
    let handle = EventQueue { queue: sender, metrics: metrics.clone() };
    (handle, EventRecorder { queue, client, reporter, recorder, metrics, trouble: None })
}

impl EventQueue {
    /// Hands in an Event about the object that has this `uid`. With too many waiting already it is dropped and counted.
    pub fn hand_in(&self, event: Event, uid: impl Into<String>) {
        if self.queue.try_send((event, uid.into())).is_err() {
            self.metrics.count_event("dropped");
        }
    }
}

impl EventRecorder {
    /// Records until `stop` or until every queue is gone; then what waits has five seconds.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                waiting = self.queue.recv() => match waiting {
                    Some((event, uid)) => self.record(&event, &uid).await,
                    None => return,
                },
            }
        }
        let rest = async {
            while let Ok((event, uid)) = self.queue.try_recv() {
                self.record(&event, &uid).await;
            }
        };
        if timeout(DRAIN, rest).await.is_err() {
            tracing::warn!(events = self.queue.len() + 1, "Events were given up, since the process ends");
        }
    }

    async fn record(&mut self, event: &Event, uid: &str) {
        let (kind, key, reason) = (event.about.kind(), &event.key, event.reason);
        let (told, regarding) = (told(event), regarding(event, uid));
        let first = self.publish(&told, &regarding).await;
        let result = match first {
            // It counts on an Event that is there no more.
            Err(RecordError::Kube { source: kube::Error::Api(answer) }) if answer.code == 404 => {
                self.recorder = Recorder::new(self.client.clone(), self.reporter.clone());
                self.publish(&told, &regarding).await
            }
            result => result,
        };
        match result {
            Ok(()) => {
                self.metrics.count_event("written");
                self.trouble = None;
            }
            Err(error) => {
                let trouble = error.result();
                self.metrics.count_event(trouble);
                if self.trouble.replace(trouble) != Some(trouble) {
                    tracing::warn!(%reason, "{kind} {key}: an Event is lost, see the conditions: {error}");
                }
            }
        }
    }

    async fn publish(&self, told: &Told, regarding: &ObjectReference) -> Result<(), RecordError> {
        match timeout(TIMEOUT, self.recorder.publish(told, regarding)).await {
            Ok(result) => result.map_err(|source| RecordError::Kube { source }),
            Err(_) => Err(RecordError::TimedOut),
        }
    }
}

/// Why an Event was not recorded.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("the API server did not answer within {}s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("{source}{}", mend(source))]
    Kube { source: kube::Error },
}

impl RecordError {
    /// The name by which it is counted.
    fn result(&self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Kube { source: kube::Error::Api(answer) } if answer.code == 403 => "forbidden",
            Self::Kube { source: kube::Error::Api(_) | kube::Error::SerdeError(_) } => "refused",
            Self::Kube { .. } => "unreachable",
        }
    }
}

fn mend(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(answer) if answer.code == 403 => {
            ": let this service account `create` and `patch` `events` of the API group `events.k8s.io`, as the chart's role does"
        }
        _ => "",
    }
}

fn told(event: &Event) -> Told {
    Told {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.as_str().to_owned(),
        note: Some(cut(&event.message)),
        action: event.action.to_owned(),
        secondary: None,
    }
}

fn regarding(event: &Event, uid: &str) -> ObjectReference {
    let resource = resource(event.about);
    ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        namespace: Some(event.key.namespace.clone()),
        name: Some(event.key.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// As much of a message as an Event holds.
fn cut(message: &str) -> String {
    if message.len() <= MAX_NOTE {
        return message.to_owned();
    }
    let end = (0..=MAX_NOTE - CUT.len()).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{CUT}", &message[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::api::conditions::Reason;
    use crate::reconcile::{About, ObjectKey};

    fn event(message: String) -> Event {
        Event {
            about: About::Activation,
            key: ObjectKey::new("shop", "vip"),
            warning: true,
            action: "Reconcile",
            reason: Reason::SecretNotFound,
            message,
        }
    }

    #[test]
    fn a_note_is_cut_to_what_an_api_server_takes_between_two_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(MAX_NOTE)), "x".repeat(MAX_NOTE));
        for letter in ["x", "ü", "語", "🦀"] {
            let note = cut(&letter.repeat(MAX_NOTE + 1));
            assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - CUT.len() - letter.len(), "{}", note.len());
            assert!(note.ends_with(CUT));
        }
    }

    #[test]
    fn an_event_names_its_object_by_kind_name_and_uid() {
        let event = event("the Secret is not there".to_owned());
        let regarding = regarding(&event, "u-1");
        assert_eq!(regarding.api_version.as_deref(), Some("activation.dev/v1alpha1"));
        assert_eq!(regarding.kind.as_deref(), Some("AudienceActivation"));
        assert_eq!((regarding.namespace.as_deref(), regarding.name.as_deref()), (Some("shop"), Some("vip")));
        assert_eq!(regarding.uid.as_deref(), Some("u-1"));
        let told = told(&event);
        assert_eq!((told.reason.as_str(), told.action.as_str()), ("SecretNotFound", "Reconcile"));
        assert_eq!((told.type_, told.note.as_deref()), (EventType::Warning, Some("the Secret is not there")));
    }

    #[tokio::test]
    async fn with_too_many_waiting_an_event_is_dropped_and_counted() {
        // Nobody listens there.
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let metrics = Metrics::default();
        let (queue, recorder) = recorder(client, None, metrics.clone());
        (0..QUEUE + 3).for_each(|_| queue.hand_in(event("x".to_owned()), "u-1"));
        assert!(metrics.encode().unwrap().contains("activation_kubernetes_events_total{result=\"dropped\"} 3\n"));
        drop(queue);
        recorder.run(CancellationToken::new()).await;
        let told = metrics.encode().unwrap();
        assert!(
            told.contains(&format!("activation_kubernetes_events_total{{result=\"unreachable\"}} {QUEUE}\n")),
            "{told}"
        );
    }
}
