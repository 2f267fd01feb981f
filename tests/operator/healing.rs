//! What a person mends is taken up without a restart.

use kinesis_stub::KeySpec;
use serde_json::json;

use crate::support::operator::{condition, is_ready};
use crate::world::{KEY, World, entry, write};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_that_are_mended_in_the_secret_heal_without_a_restart() {
    for arguments in [&[][..], &["--watch-secrets", "false"][..]] {
        let world = World::new().await;
        let mut operator = world.start(arguments);
        let wrong = world.secret((KEY.0, "hunter2-mistyped"));
        world.apply(&[&wrong, &world.destination(), &world.activation("vip")]);
        let status = operator.destination("the refusal", |status| condition(status, "Stalled").status == "True");
        assert_eq!(condition(&status, "CredentialsValid").reason, "CredentialsRefused", "{status}");
        operator.send(&[entry("p", 1)]);

        world.apply(&[&world.secret(KEY)]);
        operator.until_records(1);
        operator.destination("Ready", is_ready);
        let status = operator.activation("vip", "Ready", is_ready);
        assert_eq!(status["workers"]["restarts"], 0, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_taken_up_and_nothing_is_lost() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    operator.send(&[entry("p", 0)]);
    operator.until_records(1);
    assert!(world.stub.set_expired(KEY.0, true));
    operator.send(&(1..100).map(|n| write("p", n)).collect::<Vec<_>>());
    operator.activation("vip", "the outage", |status| condition(status, "Delivering").status == "False");
    let rotated = ("AKIASECOND", "hunter2-rotated");
    assert!(world.stub.put_key(rotated.0, KeySpec::new(rotated.1)));
    world.apply(&[&world.secret(rotated)]);
    let status = operator.activation("vip", "everything", |status| status["dataflow"]["exported"] == 100);
    assert_eq!((&status["dataflow"]["failed"], &status["workers"]["restarts"]), (&json!(0), &json!(0)), "{status}");
    assert_eq!(world.told("p"), (0..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_deleted_is_told_and_one_that_comes_back_is_found() {
    let world = World::new().await;
    let mut operator = world.start(&[]);
    world.apply(&[&world.secret(KEY), &world.destination(), &world.activation("vip")]);
    operator.activation("vip", "Ready", is_ready);
    world.kubectl(&["delete", "secret", "aws"], "");
    operator.destination("the reason", |status| condition(status, "Ready").reason == "SecretNotFound");
    operator.activation("vip", "the reason", |status| condition(status, "Ready").reason == "DestinationNotReady");
    operator.send(&[entry("p", 1)]);
    world.apply(&[&world.secret(KEY)]);
    operator.until_records(1);
    operator.activation("vip", "Ready", is_ready);
}
