//! The table *Ready, Reconciling, Stalled*, row by row, as kstatus reads it.

use std::time::Duration;

use kinesis_stub::{Fault, Kind};
use serde_json::{Value, json};

use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, Operator, World, entry};

/// What kstatus makes of an object of a kind that it does not know, by its documentation: the generation first, then the two
/// conditions that it has given their names, then `Ready`.
fn kstatus(object: &Value) -> &'static str {
    let status = &object["status"];
    let is_true = |type_: &str| condition(status, type_).status == "True";
    if status["observedGeneration"] != object["metadata"]["generation"] || is_true("Reconciling") {
        "InProgress"
    } else if is_true("Stalled") {
        "Failed"
    } else if condition(status, "Ready").status == "False" {
        "InProgress"
    } else {
        "Current"
    }
}

/// A row, once it holds: Ready, Reconciling, Stalled, the reason of Ready, and what kstatus reads.
fn row(operator: &mut Operator<'_>, plural: &str, name: &str, expected: [&str; 3], reason: &str, read: &str) {
    let types = ["Ready", "Reconciling", "Stalled"];
    let told = |object: &Value| types.map(|type_| condition(&object["status"], type_).status);
    let object = operator.object(plural, name, &format!("{expected:?} {reason}"), |object| {
        told(object) == expected && condition(&object["status"], "Ready").reason == reason
    });
    assert_eq!(kstatus(&object), read, "{object:#}");
    for type_ in types {
        assert!(!condition(&object["status"], type_).message.is_empty(), "{type_} of {object:#}");
    }
}

const ACTIVATIONS: &str = "audienceactivations";
const DESTINATIONS: &str = "kinesisdestinations";
const WELL: [&str; 3] = ["True", "False", "False"];
const UNDER_WAY: [&str; 3] = ["False", "True", "False"];
const STALLED: [&str; 3] = ["False", "False", "True"];

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_activations_reads_as_it_should() {
    let world = World::new().await;
    let elsewhere = world.cluster.namespace("operator");
    let mut operator = world.start(&["--namespaces", &format!("{},{elsewhere}", world.namespace)]);
    let of = |name: &str, field: &str, value: Value| {
        let mut activation = world.activation(name);
        activation["spec"][field] = value;
        activation
    };
    let mut foreign = of("foreign", "destinationRef", json!({"name": "events", "namespace": world.namespace}));
    foreign["metadata"]["namespace"] = json!(elsewhere);
    let overlapping = of("overlapping", "mappedAttributes", json!([{"path": "person"}, {"path": "person.name"}]));
    let orphan = of("orphan", "destinationRef", json!({"name": "nowhere"}));
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    world.apply(&[&of("suspended", "suspend", json!(true)), &overlapping, &orphan]);
    world.cluster.kubectl_good(&["apply", "-f", "-"], &foreign.to_string());

    row(&mut operator, ACTIVATIONS, "vip", WELL, "Succeeded", "Current");
    row(&mut operator, ACTIVATIONS, "suspended", WELL, "Suspended", "Current");
    row(&mut operator, ACTIVATIONS, "orphan", UNDER_WAY, "DestinationNotFound", "InProgress");
    row(&mut operator, ACTIVATIONS, "overlapping", STALLED, "PathsOverlap", "Failed");
    let path = format!("/apis/activation.dev/v1alpha1/namespaces/{elsewhere}/audienceactivations/foreign");
    operator.wait("the refusal of the foreign one", || {
        let object = world.cluster.client().get(&path).body;
        let ready = condition(&object["status"], "Ready");
        (ready.reason == "NamespaceNotAllowed" && kstatus(&object) == "Failed").then_some(())
    });
    // Another namespace is let in and shut out again.
    let allow = |from: &str| {
        let edit = json!({"spec": {"allowedNamespaces": {"from": from}}}).to_string();
        world.kubectl(&["patch", "kdest/events", "--type=merge", "-p", &edit], "");
    };
    let ready_is = |wanted: &str| {
        let object = world.cluster.client().get(&path).body;
        (condition(&object["status"], "Ready").reason == wanted).then_some(())
    };
    allow("All");
    operator.wait("the foreign one to run", || ready_is("Succeeded"));
    allow("Same");
    operator.wait("the foreign one to stop", || ready_is("NamespaceNotAllowed"));

    // What has been missing for longer than the grace, by what the status says of since when.
    let (code, said) = operator.terminate();
    assert_eq!(code, Some(0), "{said}");
    let mut object = world.get(ACTIVATIONS, "orphan");
    for told in object["status"]["conditions"].as_array_mut().unwrap() {
        told["lastTransitionTime"] = json!("2026-01-02T03:04:05Z");
    }
    let told_long_ago = json!({"status": object["status"]}).to_string();
    let status_alone = ["patch", "aact/orphan", "--subresource=status", "--type=merge", "-p", &told_long_ago];
    world.kubectl(&status_alone, "");
    let mut operator = world.start(&[]);
    row(&mut operator, ACTIVATIONS, "orphan", STALLED, "DestinationNotFound", "Failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_destinations_reads_as_it_should() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    let mut unverified = world.destination();
    unverified["metadata"]["name"] = json!("unverified");
    unverified["spec"]["permissionCheck"] = json!({"method": "None"});
    world.apply(&[&world.destination(), &unverified, &world.activation("vip")]);
    row(&mut operator, DESTINATIONS, "events", UNDER_WAY, "SecretNotFound", "InProgress");
    row(&mut operator, ACTIVATIONS, "vip", UNDER_WAY, "DestinationNotReady", "InProgress");
    world.apply(&[&world.secret(KEY)]);
    row(&mut operator, DESTINATIONS, "events", WELL, "Succeeded", "Current");
    row(&mut operator, DESTINATIONS, "unverified", WELL, "PermissionsUnverified", "Current");
    row(&mut operator, ACTIVATIONS, "vip", WELL, "Succeeded", "Current");

    // AWS that cannot be reached changes no verdict: `Delivering` tells.
    world.stub.set_faults(vec![Fault::new(Kind::Status { status: 503 })]);
    operator.send(&[entry("p", 0)]);
    operator.activation("vip", "the outage", |status| condition(status, "Delivering").status == "False");
    world.kubectl(&["annotate", "kdest/events", "activation.dev/requested-at=now"], "");
    operator.destination("the look", |status| status["lastHandledRequestAt"] == "now");
    row(&mut operator, DESTINATIONS, "events", WELL, "Succeeded", "Current");
    row(&mut operator, ACTIVATIONS, "vip", WELL, "Succeeded", "Current");
    world.stub.clear_faults();
    operator.until_records(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_revoked_pauses_and_goes_on_where_it_was_once_it_is_granted_again() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    operator.until_records(1);
    assert!(world.stub.restrict_key(KEY.0, Some(&["kinesis:ListStreams"])));
    operator.send(&(1..100).map(|n| crate::world::write("p", n)).collect::<Vec<_>>());
    let status = operator.activation("vip", "the pause", |status| condition(status, "Delivering").status == "False");
    assert_eq!(condition(&status, "Delivering").reason, "AccessDenied", "{status}");
    row(&mut operator, DESTINATIONS, "events", STALLED, "AccessDenied", "Failed");
    row(&mut operator, ACTIVATIONS, "vip", STALLED, "DestinationNotReady", "Failed");
    assert_eq!(world.told("p"), [0]);

    assert!(world.stub.restrict_key(KEY.0, None));
    operator.until_records(100);
    row(&mut operator, DESTINATIONS, "events", WELL, "Succeeded", "Current");
    let status = operator.activation("vip", "the count", |status| status["dataflow"]["exported"] == 100);
    let dataflow = &status["dataflow"];
    assert_eq!((&dataflow["failed"], &dataflow["deadLettered"]), (&json!(0), &json!(0)), "{status}");
    assert_eq!(world.told("p"), (0..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_rotated_under_load_fails_no_record() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    let mut sent = 1;
    let mut key = KEY.0.to_owned();
    for rotation in 0..5 {
        let fresh = (format!("AKIAROTATED{rotation}"), format!("hunter2-rotated-{rotation}"));
        assert!(world.stub.put_key(&fresh.0, kinesis_stub::KeySpec::new(&fresh.1)));
        let before = world.get(DESTINATIONS, "events")["status"]["credentials"]["secretResourceVersion"].clone();
        world.apply(&[&world.secret((&fresh.0, &fresh.1))]);
        // As long as the old ones are in use, and a little longer, updates keep coming.
        for round in 0.. {
            operator.send(&(sent..sent + 50).map(|n| crate::world::write("p", n)).collect::<Vec<_>>());
            sent += 50;
            let now = world.get(DESTINATIONS, "events")["status"]["credentials"]["secretResourceVersion"].clone();
            if now != before && round > 3 {
                break;
            }
            assert!(round < 2_000, "the Secret is not taken up");
            std::thread::sleep(Duration::from_millis(50));
        }
        // The old ones are taken away, as a rotation does at last.
        assert!(world.stub.remove_key(&key));
        key = fresh.0;
    }
    let status = operator.activation("vip", "everything", |status| status["dataflow"]["exported"] == sent);
    let dataflow = &status["dataflow"];
    assert_eq!((&dataflow["failed"], &dataflow["deadLettered"]), (&json!(0), &json!(0)), "{status}");
    assert_eq!(status["workers"]["restarts"], 0, "{status}");
    assert_eq!(world.told("p"), (0..sent).collect::<Vec<_>>());
    let events = world.kubectl(&["get", "events", "-o", "json"], "");
    assert!(events.contains("CredentialsRotated"), "{events}");
}
