//! Alerts of the running binary: provoked as they come about, and mended as a person would.

use std::time::Duration;

use kinesis_stub::{Fault, Kind};

use crate::receiver::{Receiver, SIGNING_KEY};
use crate::support::operator::{assert_no_secret, condition};
use crate::world::{KEY, ROTATED, World, entry, secret};

/// Those that have a webhook here: two that are told, two that fire.
const TYPES: [&str; 4] = ["DataflowRunStart", "DataflowRunSuccess", "DeadLettersPresent", "CredentialsInvalid"];

/// What the posts of that summary say.
fn messages(receiver: &Receiver, summary: &str) -> Vec<String> {
    let posts = receiver.posts();
    let of = posts.iter().filter(|post| post.summary() == summary);
    of.map(|post| post.event()["data"]["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_dataflow_is_posted_once_when_it_begins_and_once_when_it_is_over() {
    let receiver = Receiver::start().await;
    let world = World::new().await;
    let url = &receiver.url;
    world.place.declare(
        "hook.yaml",
        &format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: hook, namespace: marketing}}\nstringData: {{url: \"{url}\", signingKey: {SIGNING_KEY}}}\n"
        ),
    );
    let rules: String =
        TYPES.map(|name| format!("    - {{type: {name}, webhookSecretRef: {{name: hook}}}}\n")).concat();
    // Somebody else's audience, so that there is a member before `vip` maps its own.
    world.activate("first", &["other"], "");
    let mut operator = world.start("first");
    operator.send(&[entry("p", "a", 1)]);
    world.activate("vip", &["a"], &format!("  alerts:\n{rules}"));
    for (summary, words) in
        [("DataflowRunStart notice", " began."), ("DataflowRunSuccess notice", "The backfill is completed")]
    {
        receiver.until(summary, |receiver| messages(receiver, summary).iter().any(|told| told.contains(words))).await;
    }

    world.stub.set_faults(vec![Fault::new(Kind::PoisonEntry { partition_key: "bad".to_owned() })]);
    operator.send(&[entry("bad", "a", 2)]);
    receiver.until("the dead letter", |receiver| receiver.count("DeadLettersPresent firing") == 1).await;
    world.stub.clear_faults();
    // The keys of nobody.
    world.place.declare("secret.yaml", &secret(ROTATED));
    receiver.until("the refusal", |receiver| receiver.count("CredentialsInvalid firing") == 1).await;
    let both = operator.activation("vip", "both alerts", |status| {
        status["alerts"]
            .as_array()
            .is_some_and(|alerts| alerts.iter().filter(|one| one["state"] == "Firing").count() >= 2)
    });
    assert_eq!(condition(&both, "AlertsFiring").status, "True");
    let (_, metrics) = operator.get("/metrics");
    let fires = "activation_alert{namespace=\"marketing\",activation=\"vip\",type=\"CredentialsInvalid\"} 1";
    assert!(metrics.contains(fires), "{metrics}");

    world.place.declare("secret.yaml", &secret(KEY));
    assert!(operator.dead_letters(&["drop", "marketing/vip", "--all"]).status.success());
    for name in &TYPES[2..] {
        receiver.until(name, |receiver| receiver.count(&format!("{name} resolved")) == 1).await;
    }
    // Where an hour ends meanwhile, a run ends with what failed in it, which is another alert.
    let mended = operator.activation("vip", "no alert", |status| {
        let of = |name: &str| status["alerts"].as_array().unwrap().iter().find(|alert| alert["type"] == name).cloned();
        TYPES[2..].iter().all(|name| of(name).unwrap()["state"] == "Resolved")
    });
    assert!(mended["alerts"].as_array().unwrap().len() >= 2, "{mended}");
    // A few passes in which nothing comes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(operator.terminate().code, Some(0));
    for name in &TYPES[2..] {
        for kind in ["firing", "resolved"] {
            assert_eq!(receiver.count(&format!("{name} {kind}")), 1, "{name} {kind}");
        }
    }
    for name in &TYPES[..2] {
        let mut told = messages(&receiver, &format!("{name} notice"));
        told.sort_unstable();
        let count = told.len();
        told.dedup();
        assert_eq!(told.len(), count, "{name} was told twice of the same: {told:?}");
    }
    for post in receiver.posts() {
        assert_no_secret(&post.event().to_string());
        assert_eq!(post.event()["data"]["activation"], "vip");
    }
    receiver.verify();
}
