//! Edits of specs and annotations while it runs.

use serde_json::{Value, json};

use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, World, entry, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_activation_is_ready_and_resumes_where_it_stopped() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    operator.until_records(1);
    world.kubectl(&["patch", "aact/vip", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#], "");
    let status = operator.activation("vip", "the state", |status| condition(status, "Ready").reason == "Suspended");
    assert!(is_ready(&status) && status["observedGeneration"] == 2, "{status}");
    operator.send(&[write("p", 1)]);
    world.kubectl(&["patch", "aact/vip", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#], "");
    operator.until_records(2);
    operator.activation("vip", "Ready", |status| condition(status, "Ready").reason == "Succeeded");
    assert_eq!(world.told("p"), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_annotation_is_handled_and_echoed() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    operator.until_records(1);
    let asked = world.stub.stats();
    for object in ["kdest/events", "aact/vip"] {
        world.kubectl(&["annotate", object, "activation.dev/requested-at=now"], "");
    }
    operator.destination("the echo", |status| status["lastHandledRequestAt"] == "now");
    operator.activation("vip", "the echo", |status| status["lastHandledRequestAt"] == "now");
    assert_ne!(world.stub.stats(), asked, "AWS was asked again");
    world.kubectl(&["annotate", "aact/vip", "activation.dev/resync-requested-at=now"], "");
    operator.until_records(2);
    operator.activation("vip", "the echo", |status| status["lastHandledResyncAt"] == "now");
    assert_eq!(world.told("p"), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_manifests_of_another_manager_drift_nothing() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    let manifests = [world.destination(), world.activation("vip")];
    world.apply(&[&world.secret(KEY)]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests}).to_string();
    let apply = |manager: &str| {
        let manager = format!("--field-manager={manager}");
        world.kubectl(&["apply", "--server-side", &manager, "-f", "-"], &list)
    };
    apply("one");
    operator.activation("vip", "Ready", is_ready);
    let seen = || {
        let of = |plural, name| {
            let object = world.get(plural, name);
            let metadata = &object["metadata"];
            (object["spec"].clone(), metadata["generation"].clone(), metadata["finalizers"].clone())
        };
        [of("kinesisdestinations", "events"), of("audienceactivations", "vip")]
    };
    let before = seen();
    assert_eq!(before[1].2, json!(["activation.dev/drain"]));
    apply("other");
    apply("one");
    assert_eq!(seen(), before);
    let ours = ["diff", "--server-side", "--field-manager=one", "-f", "-"];
    let diff = world.cluster.kubectl(&[&["-n", &world.namespace][..], &ours].concat(), &list);
    assert!(diff.status.success() && diff.stdout.is_empty(), "{}", String::from_utf8_lossy(&diff.stdout));
    // Nobody but the operator owns a field of a status.
    let object = world.get("audienceactivations", "vip");
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let of_status: Vec<&Value> = managers.iter().filter(|entry| entry["subresource"] == "status").collect();
    assert!(of_status.iter().all(|entry| entry["manager"] == "activation-operator"), "{of_status:?}");
}
