//! Manifests are applied, and it runs.

use serde_json::Value;

use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, World, entry, write};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_gets_ready_shows_its_columns_and_delivers() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    for object in ["kdest/events", "aact/vip"] {
        world.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", object], "");
    }
    operator.send(&[entry("p", 0), write("p", 1), write("q", 2)]);
    operator.until_records(2);
    assert_eq!(world.told("p"), [0, 1]);

    operator.activation("vip", "the count", |status| status["dataflow"]["exported"] == 2);
    operator.destination("its user", |status| status["activations"] == 1);
    let shown = world.kubectl(&["get", "kdest,aact"], "");
    let rows: Vec<Vec<_>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][1..6], ["True", "Succeeded", "us-east-1", "profiles", "1"], "{shown}");
    assert_eq!((rows[4][1], &rows[4][3..5]), ("True", &["events", "1"][..]), "{shown}");

    let (code, ready) = operator.probe("/readyz");
    assert_eq!(code, 200, "{ready}");
    assert_eq!(operator.probe("/livez").0, 200);
    assert_eq!(operator.probe("/metrics").0, 404, "the probes tell nothing else");
    let metrics = operator.metrics();
    for name in ["controller_runtime_reconcile_total{controller=\"audienceactivation\"", "activation_exported_total"] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    let events = world.kubectl(&["get", "events", "-o", "json"], "");
    assert!(events.contains("\"Succeeded\""), "{events}");
    let (code, said) = operator.terminate();
    assert_eq!(code, Some(0), "{said}");
}

/// Every status that the objects of a kind ever had since `version`, by the server's own memory.
fn history(world: &World<'_>, plural: &str, version: &str) -> Vec<Value> {
    let path = world.path(plural, "").trim_end_matches('/').to_owned();
    let watched = world.cluster.client().get(&format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds=2"));
    let text = match watched.body {
        Value::String(text) => text,
        single => single.to_string(),
    };
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["object"]["status"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_applying_never_shows_stalled() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let world = World::new().await;
        let mut operator = world.start(&[]);
        operator.wait("a first look", || Some(()));
        let all = [world.secret(KEY), world.destination(), world.activation("vip")];
        let before = world.cluster.client().get(world.path("kinesisdestinations", "").trim_end_matches('/')).good();
        let version = before["metadata"]["resourceVersion"].as_str().unwrap();
        for (place, which) in order.into_iter().enumerate() {
            world.apply(&[&all[which]]);
            // What was applied alone is looked at alone.
            if place < 2 && which != 0 {
                let (plural, name) = [("kinesisdestinations", "events"), ("audienceactivations", "vip")][which - 1];
                operator.object(plural, name, "a first status", |object| {
                    !condition(&object["status"], "Ready").status.is_empty()
                });
            }
        }
        operator.activation("vip", "Ready", is_ready);
        operator.destination("Ready", is_ready);
        for plural in ["kinesisdestinations", "audienceactivations"] {
            let history = history(&world, plural, version);
            assert!(history.len() > 1, "{history:?}");
            for status in history {
                assert_ne!(condition(&status, "Stalled").status, "True", "{order:?} {status}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_installs_look_after_the_resources_of_their_own_labels_alone() {
    let world = World::new().await;
    let label = format!("install={}", world.namespace);
    let selector = format!("--selector={label}");
    let mut operator = world.start(&[&selector]);
    let [mut destination, mut activation] = [world.destination(), world.activation("vip")];
    for object in [&mut destination, &mut activation] {
        object["metadata"]["labels"] = serde_json::json!({"install": world.namespace});
    }
    let stranger = world.activation("stranger");
    world.apply(&[&world.secret(KEY), &destination, &stranger, &activation]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 1)]);
    operator.until_records(1);
    let seen = world.get("audienceactivations", "stranger");
    assert_eq!(seen["status"]["observedGeneration"], -1, "{seen}");
    assert_eq!(seen["metadata"]["finalizers"], Value::Null);
    // Once it carries the label, it is looked after; once it does not any more, it is gone for this install.
    world.kubectl(&["label", "aact/stranger", &label], "");
    operator.activation("stranger", "Ready", is_ready);
    world.kubectl(&["label", "aact/vip", "install-"], "");
    operator.object("audienceactivations", "vip", "no finalizer", |object| object["metadata"]["finalizers"].is_null());
    operator.destination("one user less", |status| status["activations"] == 1);
    world.kubectl(&["delete", "aact/vip", "--timeout=55s"], "");
}
