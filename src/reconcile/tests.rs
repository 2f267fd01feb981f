//! Whole passes: over time, over many resources, and over anything at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::samples::{self, activation_key, at, destination_key};
use super::status::conditions::{find, is_true};
use super::*;
use crate::api::alerts::AlertState;
use crate::api::conditions::ConditionType;
use crate::kinesis::probe::ProbeReport;

/// A shell that answers every probe in the same way, and whose dataflows do at once what they are told.
struct Shell {
    inventory: Inventory,
    memory: Memory,
    progress: BTreeMap<ObjectKey, Progress>,
    policy: ProcessPolicy,
    report: ProbeReport,
}

impl Shell {
    fn new(inventory: Inventory) -> Self {
        let (memory, progress, policy) = (Memory::default(), BTreeMap::new(), ProcessPolicy::default());
        Self { inventory, memory, progress, policy, report: samples::report() }
    }

    fn pass(&mut self, second: i64) -> Outcome {
        let outcome = pass(&self.inventory, &mut self.memory, &self.progress, &self.policy, at(second));
        for (key, step) in &outcome.steps {
            match step {
                Step::Start(desired) | Step::Restart { desired, .. } => {
                    self.progress.insert(key.clone(), samples::progress(Arc::clone(&desired.mapping), at(second)));
                }
                Step::Remap(mapping) => {
                    self.progress.insert(key.clone(), samples::progress(Arc::clone(mapping), at(second)));
                }
                Step::Stop { .. } => {
                    self.progress.remove(key);
                }
                Step::Resync { request } => self.progress.get_mut(key).unwrap().resync = Some(request.clone()),
                Step::Retarget(_) | Step::Resettle { .. } => {}
            }
        }
        for (_, destination) in &outcome.probes_due {
            self.memory.probed(destination, self.report.clone(), at(second));
        }
        outcome
    }

    /// Passes until everything that follows from the last change has followed.
    fn settle(&mut self, second: i64) -> Outcome {
        for _ in 0..3 {
            self.pass(second);
        }
        self.pass(second)
    }

    fn ready(&mut self, second: i64) -> (bool, String) {
        let outcome = self.settle(second);
        let conditions = &outcome.activation_statuses[&activation_key()].conditions;
        let ready = find(conditions, ConditionType::Ready).unwrap();
        (ready.status == "True", ready.reason.clone())
    }
}

fn steps(outcome: &Outcome) -> Vec<String> {
    outcome.steps.iter().map(|(_, step)| step.to_string()).collect()
}

#[test]
fn from_nothing_to_running() {
    let mut shell = Shell::new(samples::inventory());
    let first = shell.pass(0);
    assert_eq!(steps(&first), ["start"]);
    assert_eq!(first.probes_due.len(), 1);
    let conditions = &first.activation_statuses[&activation_key()].conditions;
    assert!(is_true(conditions, ConditionType::Reconciling));
    let settled = shell.settle(1);
    assert_eq!(steps(&settled), Vec::<String>::new());
    assert_eq!(settled.destination_statuses[&destination_key()].activations, Some(1));
    assert_eq!(shell.ready(2), (true, "Succeeded".to_owned()));
    let delivering = find(&settled.activation_statuses[&activation_key()].conditions, ConditionType::Delivering);
    assert_eq!(delivering.unwrap().reason, "Idle");
}

#[test]
fn applied_in_any_order_nothing_is_ever_stalled() {
    let whole = samples::inventory();
    let without = |parts: [bool; 3]| Inventory {
        secrets: if parts[0] { whole.secrets.clone() } else { BTreeMap::new() },
        destinations: if parts[1] { whole.destinations.clone() } else { BTreeMap::new() },
        activations: if parts[2] { whole.activations.clone() } else { BTreeMap::new() },
        ..Inventory::default()
    };
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut shell = Shell::new(Inventory::default());
        let mut there = [false; 3];
        for (minute, part) in (0..).zip(order) {
            there[part] = true;
            shell.inventory = without(there);
            let outcome = shell.settle(minute * 60);
            let all = outcome.activation_statuses.values().map(|status| &status.conditions);
            for conditions in all.chain(outcome.destination_statuses.values().map(|status| &status.conditions)) {
                assert!(!is_true(conditions, ConditionType::Stalled), "{order:?}: {conditions:?}");
            }
        }
        assert_eq!(shell.ready(200), (true, "Succeeded".to_owned()), "{order:?}");
    }
}

#[test]
fn what_stays_missing_is_stalled_after_five_minutes_also_across_a_restart() {
    let mut inventory = samples::inventory();
    inventory.destinations.clear();
    let mut shell = Shell::new(inventory);
    shell.pass(0);
    let told = shell.pass(200).activation_statuses.remove(&activation_key()).unwrap();
    assert!(is_true(&told.conditions, ConditionType::Reconciling));
    samples::activation_of(&mut shell.inventory).status = Some(told);
    shell.memory = Memory::default();
    let told = shell.pass(301).activation_statuses.remove(&activation_key()).unwrap();
    assert!(is_true(&told.conditions, ConditionType::Stalled));
}

#[test]
fn a_rotated_secret_swaps_the_credentials_and_nothing_else() {
    let mut shell = Shell::new(samples::inventory());
    shell.settle(0);
    let mut secret = samples::secret("2");
    secret.data.insert("secretAccessKey".to_owned(), b"another-one".to_vec());
    shell.inventory.secrets.insert(samples::secret_key(), secret);
    let outcome = shell.pass(1);
    assert_eq!(steps(&outcome), ["take up the changed credentials or address"]);
    assert_eq!(outcome.probes_due.len(), 1, "it is verified at once");
    assert!(outcome.events.iter().any(|event| event.reason == Reason::CredentialsRotated));
    assert!(is_true(&outcome.activation_statuses[&activation_key()].conditions, ConditionType::Ready));
    assert!(shell.settle(2).events.is_empty());
}

#[test]
fn wrong_keys_stall_and_right_keys_heal_without_a_restart() {
    let mut shell = Shell::new(samples::inventory());
    shell.report = samples::refused_report("UnrecognizedClientException");
    for second in [0, 3, 6, 12] {
        shell.pass(second);
    }
    assert_eq!(shell.ready(13), (false, "DestinationNotReady".to_owned()));
    assert!(shell.progress.contains_key(&activation_key()), "the dataflow holds its position, and its sender waits");
    let alerts = &shell.pass(14).activation_statuses[&activation_key()].alerts;
    assert_eq!(alerts[0].state, AlertState::Firing);
    shell.report = samples::report();
    shell.inventory.secrets.insert(samples::secret_key(), samples::secret("2"));
    let outcome = shell.pass(15);
    assert_eq!(outcome.probes_due.len(), 1);
    assert_eq!(shell.ready(16), (true, "Succeeded".to_owned()));
}

#[test]
fn a_destination_that_goes_pauses_its_dataflows_and_comes_back_where_they_were() {
    let mut shell = Shell::new(samples::inventory());
    shell.settle(0);
    let destinations = std::mem::take(&mut shell.inventory.destinations);
    let outcome = shell.pass(1);
    assert!(matches!(&outcome.steps[..], [(_, Step::Stop { why })] if why.reason == Reason::DestinationNotFound));
    let conditions = &outcome.activation_statuses[&activation_key()].conditions;
    assert_eq!(find(conditions, ConditionType::Delivering).unwrap().reason, "DestinationNotFound");
    shell.inventory.destinations = destinations;
    assert_eq!(steps(&shell.pass(2)), ["start"]);
}

#[test]
fn suspending_and_resuming_are_seen_and_stop_and_start() {
    let mut shell = Shell::new(samples::inventory());
    shell.settle(0);
    samples::activation_of(&mut shell.inventory).spec.suspend = true;
    let outcome = shell.pass(1);
    assert!(matches!(&outcome.steps[..], [(_, Step::Stop { why })] if why.reason == Reason::Suspended));
    assert_eq!(shell.ready(2), (true, "Suspended".to_owned()));
    samples::activation_of(&mut shell.inventory).spec.suspend = false;
    assert_eq!(steps(&shell.pass(3)), ["start"]);
    assert_eq!(shell.ready(4), (true, "Succeeded".to_owned()));
}

#[test]
fn mapping_times_survive_a_reapply_a_restart_and_a_re_creation() {
    let mut shell = Shell::new(samples::inventory());
    let times = |outcome: &Outcome| {
        let audience = &outcome.activation_statuses[&activation_key()].audiences[0];
        (audience.mapping_created_at, audience.mapping_updated_at)
    };
    let first = times(&shell.settle(0));
    assert_eq!(first.0, crate::api::Moment::from(at(0)));
    samples::activation_of(&mut shell.inventory).spec.record.metadata = true;
    let outcome = shell.settle(10);
    assert_eq!(times(&outcome), first, "a re-apply");
    samples::activation_of(&mut shell.inventory).status = Some(outcome.activation_statuses[&activation_key()].clone());
    shell.memory = Memory::default();
    assert_eq!(times(&shell.settle(20)), first, "a restart");
    let mapping = Arc::clone(&shell.progress[&activation_key()].mapping);
    shell.memory = Memory::default();
    shell.memory.recall(activation_key(), mapping);
    samples::activation_of(&mut shell.inventory).status = None;
    assert_eq!(times(&shell.settle(30)), first, "a restart without a status, from the checkpoint");
    let activations = std::mem::take(&mut shell.inventory.activations);
    assert!(matches!(&shell.pass(40).steps[..], [(_, Step::Stop { .. })]));
    shell.inventory.activations = activations;
    assert_eq!(times(&shell.settle(50)), first, "a re-creation within a day");
}

#[test]
fn an_audience_that_is_added_is_mapped_then_and_renamed_later() {
    let mut shell = Shell::new(samples::inventory());
    shell.settle(0);
    let spec = &mut samples::activation_of(&mut shell.inventory).spec;
    spec.audiences.push(crate::api::activation::Audience::named("ups", "a2"));
    assert_eq!(steps(&shell.pass(10)), ["take up the changed mapping"]);
    samples::activation_of(&mut shell.inventory).spec.audiences[1].name = Some("Two".to_owned());
    let outcome = shell.pass(20);
    assert_eq!(steps(&outcome), ["take up the changed mapping"]);
    let audience = &outcome.activation_statuses[&activation_key()].audiences[1];
    let moment = |second| crate::api::Moment::from(at(second));
    assert_eq!((audience.mapping_created_at, audience.mapping_updated_at), (moment(10), moment(20)));
}

#[test]
fn a_crashed_dataflow_is_started_again_and_said_to_fail_when_it_keeps_on() {
    let mut shell = Shell::new(samples::inventory());
    shell.settle(0);
    let mut second = 10;
    for crash in 1..=3 {
        shell.progress.remove(&activation_key());
        shell.memory.ended(&activation_key(), "the disk is full", at(second));
        let outcome = shell.pass(second);
        assert_eq!(steps(&outcome), Vec::<String>::new(), "not at once");
        let status = &outcome.activation_statuses[&activation_key()];
        let reason = &find(&status.conditions, ConditionType::Ready).unwrap().reason;
        assert_eq!(reason, if crash < 3 { "WorkersStarting" } else { "WorkersFailing" });
        assert_eq!(status.workers.as_ref().unwrap().restarts, crash);
        second += 10;
        assert_eq!(steps(&shell.pass(second)), ["start"]);
    }
}

#[test]
fn a_resync_is_handed_on_once_and_echoed() {
    let mut shell = Shell::new(samples::inventory());
    shell.settle(0);
    let annotations = [(crate::api::RESYNC_REQUESTED_AT.to_owned(), "today".to_owned())].into();
    samples::activation_of(&mut shell.inventory).metadata.annotations = Some(annotations);
    assert_eq!(steps(&shell.pass(1)), ["resync (today)"]);
    let outcome = shell.pass(2);
    assert!(outcome.events.iter().any(|event| event.reason == Reason::ResyncStarted));
    let handled = &outcome.activation_statuses[&activation_key()].last_handled_resync_at;
    assert_eq!(handled.as_deref(), Some("today"));
    assert!(shell.pass(3).steps.is_empty());
}

#[test]
fn a_dataflow_that_is_refused_has_its_destination_verified_soon() {
    let mut shell = Shell::new(samples::inventory());
    shell.settle(0);
    let message = "AccessDeniedException".to_owned();
    shell.progress.get_mut(&activation_key()).unwrap().delivery =
        Delivery::Outage { cause: OutageCause::AccessDenied, message, since: at(1) };
    assert!(shell.pass(2).probes_due.is_empty());
    shell.report = samples::denied_report();
    assert_eq!(shell.pass(31).probes_due.len(), 1);
}

#[test]
fn three_hundred_activations_on_twenty_destinations_settle_and_then_are_quiet() {
    let mut inventory = Inventory::default();
    inventory.secrets.insert(samples::secret_key(), samples::secret("1"));
    for index in 0..20 {
        let mut destination = samples::destination();
        destination.metadata.name = Some(format!("stream-{index}"));
        inventory.destinations.insert(ObjectKey::of(&destination), destination);
    }
    for index in 0..300 {
        let mut activation = samples::activation();
        activation.metadata.name = Some(format!("activation-{index}"));
        activation.spec.destination_ref.name = format!("stream-{}", index % 20);
        inventory.activations.insert(ObjectKey::of(&activation), activation);
    }
    let mut shell = Shell::new(inventory);
    let first = shell.pass(0);
    assert_eq!((first.probes_due.len(), first.steps.len()), (20, 300));
    let settled = shell.settle(1);
    for status in settled.activation_statuses.values() {
        assert!(is_true(&status.conditions, ConditionType::Ready));
    }
    // Printed and not asserted: it depends on the machine.
    let began = std::time::Instant::now();
    let (mut probes, mut writes) = (0, 0);
    let (mut activations, mut destinations) = (settled.activation_statuses, settled.destination_statuses);
    for second in 2..602 {
        let outcome = shell.pass(second);
        probes += outcome.probes_due.len();
        assert!(outcome.steps.is_empty() && outcome.events.is_empty());
        writes += news(&activations, &outcome.activation_statuses) + news(&destinations, &outcome.destination_statuses);
        (activations, destinations) = (outcome.activation_statuses, outcome.destination_statuses);
    }
    println!("a pass over 300 activations took {:?}", began.elapsed() / 600);
    assert!(probes <= 20, "{probes}");
    assert!(writes <= 20, "idle, only the time of the last check is new: {writes}");
}

fn news<S: status::Compared>(old: &BTreeMap<ObjectKey, S>, new: &BTreeMap<ObjectKey, S>) -> usize {
    new.iter().filter(|(key, status)| status::change(&old[*key], *status) != status::Change::None).count()
}

#[test]
fn an_alert_is_an_event_a_condition_and_a_post_once_when_it_fires_and_once_when_it_resolves() {
    let mut inventory = samples::inventory();
    let mut hook = samples::secret("7");
    hook.data.insert("url".to_owned(), b"https://hooks.example.com/x".to_vec());
    inventory.secrets.insert(ObjectKey::new("shop", "hook"), hook);
    samples::destination_of(&mut inventory).spec.alerts = serde_json::from_value(serde_json::json!([
        {"type": "DataflowRunDelay", "threshold": "1m", "webhookSecretRef": {"name": "hook"}},
    ]))
    .unwrap();
    let mut shell = Shell::new(inventory);
    shell.settle(0);
    let mut told = Vec::new();
    for second in 1..700 {
        let late = if second < 100 { 61 } else { 1 };
        shell.progress.get_mut(&activation_key()).unwrap().lag = std::time::Duration::from_secs(late);
        let outcome = shell.pass(second);
        assert_eq!(outcome.events.len(), outcome.notifications.len());
        told.extend(outcome.notifications.into_iter().map(|notification| (second, notification)));
        let conditions = &outcome.activation_statuses[&activation_key()].conditions;
        assert_eq!(is_true(conditions, ConditionType::AlertsFiring), second < 400, "at {second}");
    }
    let states: Vec<_> = told.iter().map(|(second, notification)| (*second, notification.state)).collect();
    assert_eq!(states, [(1, Some(AlertState::Firing)), (400, Some(AlertState::Resolved))]);
    assert_eq!(told[0].1.webhook.url, "https://hooks.example.com/x");
    assert_eq!(told[0].1.threshold.as_deref(), Some("1m"));
}

#[test]
fn a_namespace_that_is_no_longer_allowed_stops_and_learns_nothing_of_the_other() {
    let mut inventory = samples::inventory();
    let mut activation = inventory.activations.remove(&activation_key()).unwrap();
    activation.metadata.namespace = Some("crm".to_owned());
    activation.spec.destination_ref.namespace = Some("shop".to_owned());
    let key = ObjectKey::of(&activation);
    inventory.activations.insert(key.clone(), activation);
    let allowed = &mut samples::destination_of(&mut inventory).spec.allowed_namespaces;
    allowed.from = crate::api::destination::NamespacesFrom::All;
    let mut shell = Shell::new(inventory);
    assert_eq!(steps(&shell.pass(0)), ["start"]);
    shell.inventory.secrets.clear();
    let outcome = shell.pass(1);
    assert!(matches!(&outcome.steps[..], [(_, Step::Stop { why })] if why.reason == Reason::DestinationNotReady));
    let told = serde_json::to_string(&outcome.activation_statuses[&key]).unwrap();
    assert!(!told.contains("shop/aws"), "{told}");
    shell.inventory.secrets.insert(samples::secret_key(), samples::secret("1"));
    assert_eq!(steps(&shell.pass(2)), ["start"]);
    samples::destination_of(&mut shell.inventory).spec.allowed_namespaces =
        crate::api::destination::AllowedNamespaces::default();
    let outcome = shell.pass(3);
    assert!(matches!(&outcome.steps[..], [(_, Step::Stop { why })] if why.reason == Reason::NamespaceNotAllowed));
    assert!(is_true(&outcome.activation_statuses[&key].conditions, ConditionType::Stalled));
}

/// What may be the case; each number chooses.
#[derive(Debug, Clone)]
struct World {
    secret: String,
    token: String,
    hook: String,
    choices: [u8; 8],
}

fn worlds() -> impl Strategy<Value = World> {
    // Longer than what could stand in a status by chance.
    ("[a-zA-Z0-9]{24}", "[a-zA-Z0-9+/ \n]{24}", "[a-zA-Z0-9]{24}", any::<[u8; 8]>())
        .prop_map(|(secret, token, hook, choices)| World { secret, token, hook, choices })
}

fn shell_of(world: &World) -> Shell {
    let mut inventory = samples::inventory();
    let [destination_fault, threshold_fault, activation_fault, answer, delivery, dead, lag, failed] =
        world.choices.map(|choice| choice % 8);
    let secret = inventory.secrets.get_mut(&samples::secret_key()).unwrap();
    secret.data.insert("secretAccessKey".to_owned(), world.secret.clone().into_bytes());
    secret.data.insert("token".to_owned(), world.token.clone().into_bytes());
    let mut hook = samples::secret("7");
    hook.data.insert("url".to_owned(), format!("https://hooks.example.com/{}", world.hook).into_bytes());
    hook.data.insert("signingKey".to_owned(), world.hook.clone().into_bytes());
    inventory.secrets.insert(ObjectKey::new("shop", "hook"), hook);
    let destination = samples::destination_of(&mut inventory);
    let reference = destination.spec.credentials.secret_ref.as_mut().unwrap();
    match destination_fault {
        0 => reference.session_token_key = Some("token".to_owned()),
        1 => reference.name = "nowhere".to_owned(),
        2 => reference.access_key_id_key = "nothing".to_owned(),
        3 => destination.spec.stream.name = None,
        4 => destination.spec.suspend = true,
        _ => {}
    }
    destination.spec.alerts = serde_json::from_value(serde_json::json!([
        {"type": "DataflowRunDelay", "threshold": if threshold_fault == 0 { "soon" } else { "1m" }, "webhookSecretRef": {"name": "hook"}},
    ]))
    .unwrap();
    let activation = samples::activation_of(&mut inventory);
    match activation_fault {
        0 => activation.spec.suspend = true,
        1 => activation.spec.destination_ref.name = "nowhere".to_owned(),
        2 => activation.spec.audiences.clear(),
        _ => {}
    }
    let mut shell = Shell::new(inventory);
    shell.report = match answer {
        0 => samples::refused_report("ExpiredTokenException"),
        1 => samples::denied_report(),
        _ => samples::report(),
    };
    shell.pass(0);
    if let Some(progress) = shell.progress.get_mut(&activation_key()) {
        let message = "the service said so".to_owned();
        progress.delivery = match delivery {
            0 => Delivery::Flowing,
            1 => Delivery::Throttled { since: at(-1_000) },
            2 => Delivery::Retrying { message },
            3 => Delivery::Outage { cause: OutageCause::Credentials, message, since: at(-100) },
            4 => Delivery::PositionLost { message },
            _ => Delivery::Idle,
        };
        progress.dead_letters = u64::from(dead);
        progress.lag = std::time::Duration::from_secs(u64::from(lag) * 20);
        progress.runs[0].counters.failed = u64::from(failed);
        progress.runs[0].start = at(-4_000);
    }
    shell
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_status_and_no_event_ever_holds_a_secret(world in worlds()) {
        let mut shell = shell_of(&world);
        for second in [0, 3, 6, 12, 400] {
            let outcome = shell.pass(second);
            let told = format!(
                "{} {} {:?} {:?} {:?} {:?}",
                serde_json::to_string(&outcome.destination_statuses.values().collect::<Vec<_>>()).unwrap(),
                serde_json::to_string(&outcome.activation_statuses.values().collect::<Vec<_>>()).unwrap(),
                outcome.events, outcome.notifications, outcome.steps, outcome.probes_due,
            );
            for secret in [&world.secret, &world.token, &world.hook, &samples::KEY_ID.to_owned()] {
                prop_assert!(!told.contains(secret.as_str()), "{secret} in {told}");
            }
        }
    }

    #[test]
    fn a_second_look_at_the_same_world_asks_does_and_says_nothing_new(world in worlds()) {
        let mut shell = shell_of(&world);
        let first = shell.settle(500);
        let again = shell.pass(500);
        prop_assert!(again.steps.is_empty() && again.events.is_empty() && again.notifications.is_empty());
        prop_assert!(again.probes_due.is_empty());
        prop_assert_eq!(&first.destination_statuses, &again.destination_statuses);
        prop_assert_eq!(&first.activation_statuses, &again.activation_statuses);
        // A little later only counters and times may have moved.
        let later = shell.pass(501);
        prop_assert!(later.steps.is_empty() && later.events.is_empty());
        for (key, status) in &later.activation_statuses {
            prop_assert!(!status::material_change(&first.activation_statuses[key], status));
        }
        for (key, status) in &later.destination_statuses {
            prop_assert!(!status::material_change(&first.destination_statuses[key], status));
        }
    }

    #[test]
    fn every_condition_is_there_and_the_three_agree(world in worlds()) {
        let outcome = shell_of(&world).settle(500);
        let activation = &outcome.activation_statuses[&activation_key()].conditions;
        let destination = &outcome.destination_statuses[&destination_key()].conditions;
        prop_assert_eq!(activation.len(), ConditionType::ACTIVATION.len());
        prop_assert_eq!(destination.len(), ConditionType::DESTINATION.len());
        for conditions in [activation, destination] {
            let three = [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled];
            prop_assert_eq!(three.iter().filter(|kind| is_true(conditions, **kind)).count(), 1);
            for condition in conditions {
                prop_assert!(condition.reason.parse::<Reason>().is_ok() && !condition.message.is_empty());
            }
        }
    }
}
