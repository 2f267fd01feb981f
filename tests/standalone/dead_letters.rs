//! Records that cannot be delivered: told in the status, and in the hands of `activation-operator dead-letters`.

use std::process::Output;

use kinesis_stub::{Fault, Kind};
use serde_json::Value;

use crate::support::operator::{assert_no_secret, operator_command};
use crate::world::{World, entry};

/// Standard output as JSON lines, of a command that succeeded.
fn answered(output: &Output) -> Vec<Value> {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && error.is_empty(), "{out}{error}");
    assert_no_secret(&out);
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Standard error of a command that failed.
fn refused(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_no_secret(&error);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_told_listed_shown_sent_again_and_dropped() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = world.start("vip");
    let poison = |key: &str| Fault::new(Kind::PoisonEntry { partition_key: key.to_owned() });
    world.stub.set_faults(vec![poison("bad"), poison("worse")]);
    operator.send(&[entry("bad", "a", 1), entry("good", "a", 2)]);
    let status = operator.activation("vip", "the letter", |status| status["dataflow"]["deadLettered"] == 1);
    assert_eq!((status["dataflow"]["exported"].as_u64(), status["dataflow"]["failed"].as_u64()), (Some(1), Some(1)));
    operator.send(&[entry("worse", "a", 3)]);
    operator.activation("vip", "both letters", |status| status["dataflow"]["deadLettered"] == 2);

    let letters = answered(&operator.dead_letters(&["list", "marketing/vip"]));
    let [first, second] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((first["profileId"].as_str(), second["profileId"].as_str()), (Some("bad"), Some("worse")));
    assert_eq!((first["reason"].as_str(), first["attempts"].as_u64()), (Some("RetriesExhausted"), Some(3)));
    assert!(first.get("record").is_none());
    let [first, second] = [first, second].map(|letter| letter["sequence"].to_string());
    let shown = answered(&operator.dead_letters(&["show", "marketing/vip", &first]));
    assert_eq!(shown[0]["record"]["n"], 1);

    world.stub.clear_faults();
    let sent = answered(&operator.dead_letters(&["resend", "marketing/vip", &first, &first]));
    assert_eq!(sent[0]["resent"], 1);
    operator.activation("vip", "one letter", |status| status["dataflow"]["deadLettered"] == 1);
    assert_eq!(world.told("bad"), [1]);
    assert_eq!(answered(&operator.dead_letters(&["drop", "marketing/vip", "--all"]))[0]["dropped"], 1);
    operator.activation("vip", "no letter", |status| status["dataflow"]["deadLettered"] == 0);
    assert!(answered(&operator.dead_letters(&["list", "marketing/vip"])).is_empty());
    assert!(world.told("worse").is_empty());

    // What was done to a letter cannot be done again.
    for verb in ["show", "resend", "drop"] {
        let error = refused(&operator.dead_letters(&[verb, "marketing/vip", &second]));
        assert!(error.contains("list"), "{verb}: {error}");
    }
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_cannot_be_answered_says_why() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = world.start("vip");
    let error = refused(&operator.dead_letters(&["list", "marketing/vp"]));
    assert!(
        error.contains("there is no dataflow marketing/vp: give namespace and name of an AudienceActivation"),
        "{error}"
    );
    let error = refused(&operator.dead_letters(&["list", "vip"]));
    assert!(error.contains("\"vip\" names no activation: write NAMESPACE/NAME"), "{error}");
    let error = refused(&operator.dead_letters(&["show", "marketing/vip", "7"]));
    assert!(error.contains("marketing/vip has no dead letter 7: list them"), "{error}");
    let error = refused(&operator.dead_letters(&["drop", "marketing/vip", "7", "8"]));
    assert!(error.contains("dropped: 0 of 2: the others are not there"), "{error}");
    let usage = operator.dead_letters(&["drop", "marketing/vip"]);
    assert_eq!(usage.status.code(), Some(2));
    // Whoever asks without the command gets JSON too.
    for path in ["marketing/vip/seven", "marketing/vip?limit=many", "marketing/vip?form=1"] {
        let (code, answer) = operator.get(&format!("/v1/dead-letters/{path}"));
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"));
        assert!(code == 400 && answer["error"].is_string(), "{path}: {answer}");
    }

    world.activate("vip", &["a"], "  suspend: true\n");
    operator.activation("vip", "Suspended", |status| status["workers"]["desired"] == 0);
    let error = refused(&operator.dead_letters(&["resend", "marketing/vip", "--all"]));
    assert!(error.contains("the dataflow of marketing/vip does not run"), "{error}");
    let url = operator.url().to_owned();
    assert_eq!(operator.terminate().code, Some(0));
    let asked = operator_command().args(["dead-letters", "--url", &url, "list", "marketing/vip"]).output().unwrap();
    let error = refused(&asked);
    assert!(error.contains(&format!("{url} cannot be asked")) && error.contains("start the process"), "{error}");
}
