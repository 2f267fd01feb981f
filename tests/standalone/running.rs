//! A plain run: updates in, records out, and what is told of it; how it ends, and begins again.

use serde_json::Value;

use crate::support::operator::{Operator, condition, is_ready};
use crate::world::{World, entry, write};

#[tokio::test(flavor = "multi_thread")]
async fn updates_over_http_become_records_and_everything_tells_of_them() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = world.start("vip");
    operator.send(&[entry("p", "a", 1), write("p", 2), write("stranger", 3)]);
    world.until_records(&mut operator, 2);
    assert_eq!(world.told("p"), [1, 2]);

    let status = operator.activation("vip", "both exports", |status| status["dataflow"]["exported"] == 2);
    assert_eq!((status["dataflow"]["received"].as_u64(), status["dataflow"]["failed"].as_u64()), (Some(3), Some(0)));
    assert_eq!(status["dataflow"]["triggers"]["audience"], 1);
    let delivering = condition(&status, "Delivering");
    assert!(delivering.status == "True" && ["Flowing", "Idle"].contains(&&*delivering.reason), "{delivering:?}");
    let destination = operator.destination("Ready", is_ready);
    let permissions = destination["permissions"].as_array().unwrap();
    let granted: Vec<_> = permissions.iter().map(|row| (row["action"].as_str(), row["granted"].as_str())).collect();
    let actions = ["kinesis:ListStreams", "kinesis:PutRecord", "kinesis:PutRecords"];
    assert_eq!(granted, actions.map(|action| (Some(action), Some("True"))));
    let policy: Value = serde_json::from_str(destination["requiredPolicy"].as_str().unwrap()).unwrap();
    assert_eq!(policy["Statement"][0]["Resource"], "arn:aws:kinesis:us-east-1:000000000000:stream/profiles");

    for path in ["/livez", "/readyz"] {
        assert_eq!(operator.get(path).0, 200, "{path}");
    }
    let (_, metrics) = operator.get("/metrics");
    for line in [
        r#"activation_exported_total{namespace="marketing",activation="vip"} 2"#,
        r#"activation_received_total{namespace="marketing",activation="vip"} 3"#,
        r#"activation_triggered_total{namespace="marketing",activation="vip",trigger="audience"} 1"#,
        r#"activation_ingest_lines_total{outcome="accepted"} 3"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not among\n{metrics}");
    }
    let (code, profile) = operator.get("/v1/profiles/default/p");
    assert_eq!((code, serde_json::from_str::<Value>(&profile).unwrap()["profile"]["n"].as_i64()), (200, Some(2)));
    assert_eq!(operator.get("/v1/profiles/default/nobody").0, 404);

    let ended = operator.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("marketing/vip ready=True delivering="), "{ended:?}");
    assert!(ended.stdout.ends_with("marketing/vip: 2 exported in all (by trigger: audience 1, attribute 2, identity 0, backfill 0; one can count for several), 0 excluded, 0 dead letters\n"
    ) || ended.stdout.contains("0 dead letters, latency p95 "), "{ended:?}");
    // A log that people can read: nothing of the store's inside, nothing of our modules.
    assert!(!ended.stderr.contains("lsm_tree") && !ended.stderr.contains("activation_operator::"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_what_is_under_way_and_the_next_start_repeats_nothing() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let operator = world.start("vip");
    let updates: Vec<Value> = (0..3000).map(|n| entry(&format!("p{}", n % 100), "a", n)).collect();
    operator.send(&updates);
    // At once: some is exported, some under way, some not read yet.
    let ended = operator.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let before = world.records().len();

    let mut operator = world.start("vip");
    let status = operator.activation("vip", "everything", |status| status["dataflow"]["exported"] == 3000);
    assert_eq!(status["dataflow"]["received"], 3000);
    let ended = operator.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(world.records().len(), 3000, "of which {before} before the second start");
    for profile in 0..100 {
        assert_eq!(world.told(&format!("p{profile}")), (0..30).map(|k| k * 100 + profile).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_and_a_port_have_one_owner() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let operator = world.start("vip");
    let second = Operator::spawn(&world.place, &[], std::process::Stdio::null()).ended();
    assert_eq!(second.code, Some(1));
    assert!(
        second.stderr.contains("data directory data is in use by another process: stop that one first"),
        "{second:?}"
    );
    let address = operator.url().strip_prefix("http://").unwrap();
    let mut third = crate::support::operator::operator_command();
    third.args(["standalone", "-f", "manifests", "--data-dir", "other", "--listen", address]);
    let third = third.current_dir(world.place.path()).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    let told = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(told.contains("is in use by another process: stop that one, or give another --listen address"), "{told}");
    assert!(!world.place.path().join("other").exists(), "what could not start left something behind");
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_is_changed_while_it_runs() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = world.start("vip");
    let put = |filter: &str| {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        let mut answer =
            agent.put(format!("{}/v1/log", operator.url())).send_json(serde_json::json!({ "filter": filter })).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json::<Value>().unwrap())
    };
    assert_eq!(put("off"), (200, serde_json::json!({"filter": "off"})));
    let (status, refused) = put("hub=loudly");
    assert!(status == 400 && refused["error"].as_str().unwrap().contains("write it as info"), "{refused}");
    assert_eq!(operator.get("/v1/log"), (200, "{\"filter\":\"off\"}".to_owned()));
    assert_eq!(put("debug").0, 200);
    operator.until_logged("what is logged was changed filter=\"debug\"");
    let ended = operator.terminate();
    assert!(!ended.stderr.contains("filter=\"off\""), "{}", ended.stderr);
}
