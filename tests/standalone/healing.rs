//! What goes wrong outside, is told with its mend, and heals without a restart.

use kinesis_stub::{KeySpec, StreamSpec};
use serde_json::Value;

use crate::support::operator::{Operator, condition, is_ready};
use crate::world::{KEY, ROTATED, World, destination, entry, secret, write};

/// Whether a condition of a status has this reason.
fn says<'a>(type_: &'a str, reason: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |status| condition(status, type_).reason == reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_taken_up_without_a_restart_and_nothing_is_lost() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = world.start("vip");
    operator.send(&[entry("p", "a", 0)]);
    world.until_records(&mut operator, 1);

    assert!(world.stub.set_expired(KEY.0, true));
    operator.send(&(1..200).map(|n| write("p", n)).collect::<Vec<_>>());
    let status = operator.activation("vip", "the outage", |status| condition(status, "Delivering").status == "False");
    let told = condition(&status, "Delivering");
    assert!(told.reason == "AccessDenied" || told.reason.starts_with("Credentials"), "{told:?}");
    assert_eq!(world.records().len(), 1);

    assert!(world.stub.put_key(ROTATED.0, KeySpec::new(ROTATED.1)));
    world.place.declare("secret.yaml", &secret(ROTATED));
    let status =
        operator.activation("vip", "everything", |status| status["dataflow"]["exported"] == 200 && is_ready(status));
    assert_eq!((status["dataflow"]["failed"].as_u64(), status["workers"]["restarts"].as_u64()), (Some(0), Some(0)));
    assert_eq!(world.told("p"), (0..200).collect::<Vec<_>>());
    operator.until_logged("CredentialsRotated");
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_comes_late_is_taken_up_and_a_wrong_one_is_told() {
    let world = World::new().await;
    world.place.withdraw("secret.yaml");
    world.activate("vip", &["a"], "");
    let mut operator = Operator::start(&world.place, &[]);
    let status = operator.destination("the missing Secret", says("Ready", "SecretNotFound"));
    let told = condition(&status, "Ready");
    assert!(
        told.message.contains("Secret marketing/aws does not exist; create it with the keys accessKeyId"),
        "{told:?}"
    );
    operator.activation("vip", "the reason", says("Ready", "DestinationNotReady"));
    operator.send(&[entry("p", "a", 1)]);

    world.place.declare("secret.yaml", &secret((KEY.0, "hunter2-mistyped")));
    let status = operator.destination("the refusal", |status| condition(status, "Stalled").status == "True");
    let told = condition(&status, "CredentialsValid");
    assert!(told.reason == "CredentialsRefused" && !told.message.is_empty(), "{told:?}");
    assert_eq!(condition(&status, "Ready").status, "False");

    world.place.declare("secret.yaml", &secret(KEY));
    operator.activation("vip", "the record", |status| status["dataflow"]["exported"] == 1 && is_ready(status));
    operator.destination("Ready", is_ready);
    assert_eq!(world.told("p"), [1]);
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_created_late_is_found_and_nothing_is_lost() {
    let world = World::without_a_stream().await;
    world.activate("vip", &["a"], "");
    let mut operator = Operator::start(&world.place, &[]);
    let status = operator.destination("the missing stream", says("StreamReachable", "StreamNotFound"));
    assert!(condition(&status, "StreamReachable").message.contains("profiles"), "{status}");
    operator.send(&[entry("p", "a", 1), write("p", 2)]);
    operator.activation("vip", "the reason", says("Delivering", "StreamNotFound"));

    world.stub.create_stream(&StreamSpec::new("profiles", 1)).unwrap();
    world.until_records(&mut operator, 2);
    assert_eq!(world.told("p"), [1, 2]);
    operator.destination("Ready", is_ready);
    let status = operator.activation("vip", "Ready", is_ready);
    assert_eq!((status["dataflow"]["exported"].as_u64(), status["dataflow"]["failed"].as_u64()), (Some(2), Some(0)));
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_action_is_named_until_it_is_granted() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    assert!(world.stub.restrict_key(KEY.0, Some(&["ListStreams", "PutRecord"])));
    let mut operator = Operator::start(&world.place, &[]);
    operator.send(&[entry("p", "a", 1)]);
    let status = operator.destination("the denial", says("PermissionsGranted", "AccessDenied"));
    let told = condition(&status, "PermissionsGranted");
    assert!(told.status == "False" && told.message.contains("kinesis:PutRecords"), "{told:?}");
    assert_eq!(condition(&status, "Ready").status, "False");
    for row in status["permissions"].as_array().unwrap() {
        let denied = row["action"] == "kinesis:PutRecords";
        assert_eq!(row["granted"], if denied { "False" } else { "True" }, "{row}");
        assert_eq!(row["message"].as_str().is_some_and(|message| message.contains("not authorized")), denied, "{row}");
    }
    operator.activation("vip", "the denial", says("Delivering", "AccessDenied"));
    assert!(world.records().is_empty());

    assert!(world.stub.restrict_key(KEY.0, None));
    // Whoever has mended it need not wait for the next check.
    world.place.declare("destination.yaml", &destination(&world.stub.url(), "now"));
    let status = operator.destination("Ready", is_ready);
    assert_eq!(status["lastHandledRequestAt"], "now");
    assert!(status["permissions"].as_array().unwrap().iter().all(|row| row["granted"] == "True"), "{status}");
    world.until_records(&mut operator, 1);
    operator.activation("vip", "Ready", is_ready);
    assert_eq!(operator.terminate().code, Some(0));
}
