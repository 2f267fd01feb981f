//! Two hours of nine activations, each with a webhook for one type of alert. What their dataflows tell is scripted: well, then an
//! hour that is bad and noisy, then well again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use activation_operator::api::alerts::{AlertState, AlertType};
use activation_operator::api::conditions::Reason;
use activation_operator::api::{AudienceActivation, AudienceActivationStatus};
use activation_operator::dataflow::progress::{
    AudienceBackfill, BackfillState, Counters, Delivery, OutageCause, Progress, Run,
};
use activation_operator::export::MappingSpec;
use activation_operator::reconcile::inventory::{Inventory, Secret};
use activation_operator::reconcile::{self, Event, Memory, ObjectKey, ProcessPolicy, Step};
use activation_operator::runtime::webhooks::{Postbox, postbox};
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::receiver::{Post, Receiver, SIGNING_KEY};

/// When the bad hour begins and when it is over, in seconds; it lasts longer than an hour of the clock.
const BAD: i64 = 60;
const GOOD_AGAIN: i64 = 3_700;
const END: i64 = 7_000;
/// Between two passes: the noise of one and of the next differ.
const STEP: i64 = 5;
/// When the process is started anew, amid the bad hour.
const RESTART: i64 = 2_000;

/// A moment of a day; the first is a whole hour.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_322_800 + second).unwrap()
}

fn key(alert: AlertType) -> ObjectKey {
    ObjectKey::new("shop", alert.as_str().to_lowercase())
}

fn secret(entries: &[(&str, &str)]) -> Secret {
    let data = entries.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Secret { data, resource_version: "1".to_owned() }
}

fn inventory(url: &str) -> Inventory {
    let destination = json!({"apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination",
        "metadata": {"namespace": "shop", "name": "stream", "generation": 1},
        "spec": {"region": "eu-west-1", "stream": {"name": "profiles"}, "credentials": {"secretRef": {"name": "aws"}}}});
    let activation = |alert: AlertType| -> AudienceActivation {
        let threshold = match alert {
            AlertType::DeadLettersPresent => Some("10"),
            _ => None,
        };
        let mut rule = json!({"type": alert, "webhookSecretRef": {"name": "hook"}});
        if let Some(threshold) = threshold {
            rule["threshold"] = json!(threshold);
        }
        serde_json::from_value(json!({"apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation",
            "metadata": {"namespace": "shop", "name": key(alert).name, "generation": 1},
            "spec": {"destinationRef": {"name": "stream"}, "audiences": [{"namespace": "ups", "id": "a1"}], "alerts": [rule]}}))
        .unwrap()
    };
    Inventory {
        secrets: [
            (ObjectKey::new("shop", "aws"), secret(&[("accessKeyId", "AKID"), ("secretAccessKey", "hunter2")])),
            (ObjectKey::new("shop", "hook"), secret(&[("url", url), ("signingKey", SIGNING_KEY)])),
        ]
        .into(),
        destinations: [(ObjectKey::new("shop", "stream"), serde_json::from_value(destination).unwrap())].into(),
        activations: AlertType::ALL.into_iter().map(|alert| (key(alert), activation(alert))).collect(),
        ..Inventory::default()
    }
}

/// A dataflow that is well: a run goes on, and the one before ended well.
fn well(mapping: Arc<MappingSpec>, second: i64) -> Progress {
    let hours = second.div_euclid(3_600);
    let counters = Counters { received: 1_000, exported: 1_000, ..Counters::default() };
    let backfills = mapping.audiences.iter().map(|audience| AudienceBackfill {
        mapped_at: 1,
        namespace: audience.namespace.clone(),
        id: audience.id.clone(),
        merge_policy_id: audience.merge_policy_id.clone(),
        state: BackfillState::Completed,
        done: 0,
        total: Some(0),
        requested_at: at(-10_000),
        started_at: Some(at(-9_000)),
        completed_at: Some(at(-8_000)),
    });
    Progress {
        at: at(second),
        backfills: backfills.collect(),
        mapping,
        position: 10,
        head: 10,
        counters: Counters::default(),
        runs: (0..=hours).map(|hour| Run { start: at(hour * 3_600), counters }).collect(),
        delivery: Delivery::Idle,
        dead_letters: 0,
        oldest_dead_letter: None,
        last_export: None,
        lag: Duration::ZERO,
        latency_p95: None,
        rate: 0.0,
        byte_rate: 0.0,
        busy: false,
        resync: None,
        positions_lost: 0,
    }
}

/// From 0 up to `below`, without order, another one for each step.
fn noise(second: i64, below: u64) -> u64 {
    // SplitMix64.
    let mut mixed = second.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

/// What makes `alert` fire, and then lies now over, now under what it is judged by; at the first moment it is over.
fn spoil(alert: AlertType, progress: &mut Progress, second: i64) {
    let noise = |below| if second == BAD { below - 1 } else { noise(second, below) };
    match alert {
        AlertType::DataflowRunStart | AlertType::DataflowRunSuccess => {}
        // Something failed in the run that goes on, and in the one before; how much, wavers.
        AlertType::DataflowRunFailure => {
            let failed = Run {
                start: at(-3_600),
                counters: Counters { received: 20, exported: 10, failed: 1 + noise(9), ..Counters::default() },
            };
            progress.runs.insert(0, failed);
            for run in &mut progress.runs {
                run.counters.failed = 1 + noise(9);
            }
        }
        // From 400 to 799 seconds, about ten minutes.
        AlertType::DataflowRunDelay => progress.lag = Duration::from_secs(400 + noise(400)),
        // From 0.5 to 1.5 percent, about one.
        AlertType::ActivationSkippedRateExceeded => {
            for run in &mut progress.runs {
                let excluded = 50 + noise(101);
                run.counters = Counters { exported: 10_000 - excluded, excluded, ..Counters::default() };
            }
        }
        // From 5 to 14, about ten.
        AlertType::DeadLettersPresent => progress.dead_letters = 5 + noise(10),
        // With moments in which records get through.
        AlertType::SustainedThrottling => {
            let flows = noise(3) == 0;
            progress.delivery = if flows { Delivery::Flowing } else { Delivery::Throttled { since: at(BAD - 301) } };
        }
        AlertType::CredentialsInvalid => {
            let outage =
                Delivery::Outage { cause: OutageCause::Credentials, message: "ExpiredToken".to_owned(), since: at(-1) };
            progress.delivery = if noise(3) == 0 { Delivery::Flowing } else { outage };
        }
        AlertType::BackfillOverdue => {
            progress.backfills[0].state = BackfillState::Running;
            progress.backfills[0].requested_at = at(BAD - 3_601);
            progress.backfills[0].completed_at = None;
            progress.backfills[0].done = noise(100);
        }
    }
}

/// Everything that was told of one activation.
#[derive(Debug, Default)]
struct Told {
    alerts: Vec<(i64, AlertState)>,
    events: Vec<Event>,
    notices: usize,
}

struct Scene {
    inventory: Inventory,
    memory: Memory,
    mappings: BTreeMap<ObjectKey, Arc<MappingSpec>>,
    statuses: BTreeMap<ObjectKey, AudienceActivationStatus>,
    told: BTreeMap<ObjectKey, Told>,
    posted: usize,
}

impl Scene {
    fn pass(&mut self, second: i64, postbox: &Postbox) {
        let progress: BTreeMap<_, _> = AlertType::ALL
            .into_iter()
            .filter_map(|alert| {
                let mut progress = well(self.mappings.get(&key(alert))?.clone(), second);
                if (BAD..GOOD_AGAIN).contains(&second) {
                    spoil(alert, &mut progress, second);
                } else if alert == AlertType::DataflowRunFailure && second >= GOOD_AGAIN {
                    progress.runs.remove(0);
                    progress
                        .runs
                        .insert(0, Run { start: at(0), counters: Counters { exported: 9, ..Counters::default() } });
                }
                Some((key(alert), progress))
            })
            .collect();
        let policy = ProcessPolicy { allow_internal_endpoints: true, ..ProcessPolicy::default() };
        let outcome = reconcile::pass(&self.inventory, &mut self.memory, &progress, &policy, at(second));
        for (key, step) in &outcome.steps {
            if let Step::Start(desired) = step {
                self.mappings.insert(key.clone(), Arc::clone(&desired.mapping));
            }
        }
        for notification in outcome.notifications {
            let told = self.told.entry(notification.activation.clone()).or_default();
            match notification.state {
                Some(state) => told.alerts.push((second, state)),
                None => told.notices += 1,
            }
            self.posted += 1;
            postbox.hand_in(notification);
        }
        for event in outcome.events {
            self.told.entry(event.key.clone()).or_default().events.push(event);
        }
        self.statuses = outcome.activation_statuses;
    }

    /// As a process that starts anew: with the statuses that the objects hold, and the mappings of the checkpoints.
    fn restart(&mut self) {
        self.memory = Memory::default();
        for (key, status) in &self.statuses {
            self.inventory.activations.get_mut(key).unwrap().status = Some(status.clone());
            self.memory.recall(key.clone(), Arc::clone(&self.mappings[key]));
        }
    }

    fn firing(&self, alert: AlertType) -> bool {
        let conditions = &self.statuses[&key(alert)].conditions;
        conditions.iter().find(|condition| condition.type_ == "AlertsFiring").unwrap().status == "True"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_fires_once_and_resolves_once_and_reaches_its_webhook_through_an_hour_of_noise_and_a_restart() {
    let receiver = Receiver::start().await;
    let (postbox, postman) = postbox(true);
    let _postman = AbortOnDropHandle::new(tokio::spawn(postman.run(CancellationToken::new())));
    let mut scene = Scene {
        inventory: inventory(&receiver.url),
        memory: Memory::default(),
        mappings: BTreeMap::new(),
        statuses: BTreeMap::new(),
        told: BTreeMap::new(),
        posted: 0,
    };
    for second in (0..END).step_by(STEP as usize) {
        if second == RESTART {
            scene.restart();
        }
        scene.pass(second, &postbox);
        // Hours pass in a moment here; what came first is posted first.
        receiver.until("every post", |receiver| receiver.posts().len() == scene.posted).await;
        for alert in AlertType::ALL.into_iter().filter(|alert| !alert.is_notification()) {
            let fires = scene
                .told
                .get(&key(alert))
                .is_some_and(|told| told.alerts.last().is_some_and(|(_, state)| *state == AlertState::Firing));
            assert_eq!(scene.firing(alert), fires, "{alert:?} at {second}");
        }
    }
    for alert in AlertType::ALL {
        let told = &scene.told[&key(alert)];
        let name = alert.as_str();
        let of = |kind: &str| receiver.count(&format!("{name} {kind}"));
        if alert.is_notification() {
            // Two runs began within these hours, and one ended.
            let expected = if alert == AlertType::DataflowRunStart { 2 } else { 1 };
            assert_eq!(
                (told.notices, of("notice"), of("firing"), of("resolved")),
                (expected, expected, 0, 0),
                "{name}"
            );
            continue;
        }
        assert_eq!(
            (of("notice"), of("firing"), of("resolved")),
            (0, 1, 1),
            "{name}: {:?}",
            &told.alerts[..told.alerts.len().min(8)]
        );
        let [(fired, AlertState::Firing), (resolved, AlertState::Resolved)] = told.alerts[..] else {
            panic!("{name}: {:?}", told.alerts)
        };
        assert_eq!(fired, BAD, "{name}");
        assert!(resolved >= GOOD_AGAIN, "{name} resolved at {resolved}, in the bad hour");
        let alerts = |reason| told.events.iter().filter(|event| event.reason == reason && event.action == name).count();
        assert_eq!((alerts(Reason::AlertsFiring), alerts(Reason::NoAlerts)), (1, 1), "{name}: {:?}", told.events);
        let posts: Vec<_> = receiver.posts().iter().map(Post::event).filter(|event| event["subject"] == name).collect();
        for (post, state) in posts.iter().zip(["Firing", "Resolved"]) {
            assert_eq!((&post["specversion"], &post["data"]["state"]), (&json!("1.0"), &json!(state)), "{name}");
            assert_eq!(post["data"]["activation"], key(alert).name);
            assert!(post["data"]["message"].as_str().unwrap().len() > 20, "{post}");
        }
        assert_ne!(posts[0]["time"], posts[1]["time"]);
    }
    receiver.verify();
}
