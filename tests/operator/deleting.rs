//! What is deleted drains, pauses or goes; nothing that is missing holds it up.

use serde_json::{Value, json};

use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, World, entry, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_activation_drains_and_goes() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    let object = world.get("audienceactivations", "vip");
    assert_eq!(object["metadata"]["finalizers"], json!(["activation.dev/drain"]));
    assert_eq!(world.get("kinesisdestinations", "events")["metadata"]["finalizers"], Value::Null);
    operator.send(&(0..200).map(|n| if n == 0 { entry("p", n) } else { write("p", n) }).collect::<Vec<_>>());
    operator.until_records(1);
    world.kubectl(&["delete", "aact/vip", "--timeout=55s"], "");
    let told = world.told("p");
    assert_eq!(told, (0..).take(told.len()).collect::<Vec<i64>>(), "in order, each once");
    operator.destination("no user", |status| status["activations"] == 0);

    // What comes back under the name goes on where it stopped.
    world.apply(&[&world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.until_records(200);
    assert_eq!(world.told("p"), (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_and_a_missing_destination_hold_up_no_deletion() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.activation("lonely"), &world.destination(), &world.activation("vip")]);
    operator.destination("the reason", |status| condition(status, "Ready").reason == "SecretNotFound");
    operator.activation("vip", "the reason", |status| condition(status, "Ready").reason == "DestinationNotReady");
    world.kubectl(&["delete", "aact/vip", "--timeout=55s"], "");
    world.kubectl(&["delete", "kdest/events", "--timeout=55s"], "");
    operator.activation("lonely", "the reason", |status| condition(status, "Ready").reason == "DestinationNotFound");
    world.kubectl(&["delete", "aact/lonely", "--timeout=55s"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_goes_pauses_its_dataflows_which_go_on_where_they_stopped() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    operator.until_records(1);
    world.kubectl(&["delete", "kdest/events", "--timeout=55s"], "");
    let status = operator.activation("vip", "the reason", |status| {
        condition(status, "DestinationReady").reason == "DestinationNotFound"
    });
    assert_eq!(condition(&status, "Delivering").reason, "DestinationNotFound", "{status}");
    operator.send(&[write("p", 1), write("p", 2)]);
    world.apply(&[&world.destination()]);
    operator.until_records(3);
    operator.activation("vip", "Ready", is_ready);
    assert_eq!(world.told("p"), [0, 1, 2]);
}
