//! Manifests that are edited while it runs.

use activation_operator::dataflow::state;
use activation_operator::store::Store;
use serde_json::Value;

use crate::support::operator::{condition, is_ready};
use crate::world::{World, activation, entry, write};

fn completed(audiences: usize) -> impl Fn(&Value) -> bool {
    move |status| {
        let found = status["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
        found.len() == audiences && found.iter().all(|audience| audience["backfill"]["state"] == "Completed")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_audience_is_backfilled_a_renamed_one_renamed_and_a_removed_one_exports_nothing() {
    let world = World::new().await;
    world.activate("vip", &["a=Early"], "");
    let mut operator = world.start("vip");
    operator.send(&[entry("p1", "b", 1), entry("p2", "b", 2), entry("p3", "a", 3)]);
    world.until_records(&mut operator, 1);

    world.activate("vip", &["a=Early", "b=Late"], "");
    let status = operator.activation("vip", "the backfill of b", completed(2));
    assert_eq!(status["audiences"][1]["backfill"]["exported"], 2);
    let records = world.until_records(&mut operator, 3);
    assert!(records[1..].iter().all(|record| record["segmentMembership"]["ups"]["b"]["name"] == "Late"), "{records:?}");

    world.activate("vip", &["a=Early", "b=Later"], "");
    let renamed =
        operator.activation("vip", "the new name", |status| status["observedGeneration"] == 3 && is_ready(status));
    assert_eq!(renamed["audiences"][1]["mappingCreatedAt"], status["audiences"][1]["mappingCreatedAt"]);
    assert_ne!(renamed["audiences"][1]["mappingUpdatedAt"], status["audiences"][1]["mappingUpdatedAt"]);
    operator.send(&[write("p1", 10)]);
    let records = world.until_records(&mut operator, 4);
    assert_eq!(records[3]["segmentMembership"]["ups"]["b"]["name"], "Later");

    world.activate("vip", &["a=Early"], "");
    operator.activation("vip", "one audience", |status| status["mappedAudiences"] == 1 && is_ready(status));
    operator.send(&[write("p1", 11), entry("p4", "b", 12), write("p3", 13)]);
    let records = world.until_records(&mut operator, 5);
    assert_eq!((records.len(), records[4]["n"].as_i64()), (5, Some(13)), "{records:?}");
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_activation_stops_and_put_back_goes_on_without_loss_or_another_backfill() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    world.activate("other", &["z"], "");
    let mut operator = world.start("vip");
    operator.send(&[entry("p", "a", 1)]);
    world.until_records(&mut operator, 1);

    world.place.withdraw("vip.yaml");
    let file = world.place.status_file("audienceactivation", "vip");
    operator.wait("the status to go", || (!file.exists()).then_some(()));
    let (_, metrics) = operator.get("/metrics");
    assert!(!metrics.contains(r#"activation="vip""#), "{metrics}");
    operator.send(&[write("p", 2), write("p", 3), entry("new", "a", 4), entry("q", "z", 5)]);
    let records = world.until_records(&mut operator, 2);
    assert_eq!((records.len(), records[1]["_activation"]["activation"].as_str()), (2, Some("marketing/other")));
    // Its dead letters and its position are kept for a day, also over a restart.
    assert_eq!(operator.get("/v1/dead-letters/marketing/vip").0, 200);
    assert_eq!(operator.terminate().code, Some(0));
    let store = Store::open(&world.place.path().join("data"), 1 << 20).unwrap();
    let checkpoint = |name: &str| state::load(&store, name).unwrap().unwrap();
    assert!(checkpoint("marketing/vip").deleted_at.is_some(), "its day has not begun");
    assert_eq!(checkpoint("marketing/other").deleted_at, None);
    drop(store);
    let mut operator = world.start("other");

    world.activate("vip", &["a"], "");
    let status = operator.activation("vip", "what came meanwhile", |status| status["dataflow"]["exported"] == 4);
    assert_eq!(status["dataflow"]["triggers"]["backfill"], 0);
    assert_eq!((world.told("p"), world.told("new")), (vec![1, 2, 3], vec![4]));
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_activation_stops_and_goes_on_where_it_stopped() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    world.activate("other", &["a"], "");
    let mut operator = world.start("vip");
    operator.activation("other", "Ready", is_ready);
    operator.send(&[entry("p", "a", 1)]);
    world.until_records(&mut operator, 2);

    world.activate("vip", &["a"], "  suspend: true\n");
    let status =
        operator.activation("vip", "Suspended", |status| condition(status, "Delivering").reason == "Suspended");
    assert_eq!(condition(&status, "Ready").reason, "Suspended");
    operator.send(&[write("p", 2), write("p", 3)]);
    let records = world.until_records(&mut operator, 4);
    assert!(records[2..].iter().all(|record| record["_activation"]["activation"] == "marketing/other"), "{records:?}");

    world.activate("vip", &["a"], "  suspend: false\n");
    let status = operator.activation("vip", "the rest", |status| status["dataflow"]["exported"] == 3);
    assert_eq!(status["dataflow"]["triggers"]["backfill"], 0);
    let records = world.until_records(&mut operator, 6);
    let vip = records.iter().filter(|record| record["_activation"]["activation"] == "marketing/vip");
    assert_eq!(vip.map(|record| record["n"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(operator.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_while_it_runs_removes_nothing_and_is_taken_up_once_it_is_mended() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = world.start("vip");
    world.place.declare("vip.yaml", &activation("vip", &["a", "b"], "  triggers: [\n"));
    operator.until_logged("vip.yaml, document 1: is not valid YAML");
    operator.send(&[entry("p", "a", 1)]);
    world.until_records(&mut operator, 1);

    // Gone for good as far as the folder tells, while another file is broken: it may have moved there.
    world.place.withdraw("vip.yaml");
    world.place.declare("moved.yaml", "kind: [\n");
    operator.until_logged("moved.yaml, document 1: is not valid YAML");
    operator.send(&[write("p", 2)]);
    world.until_records(&mut operator, 2);
    // A restart does not take it for removed either.
    let checked = operator.destination("Ready", is_ready);
    assert_eq!(operator.terminate().code, Some(0));
    let mut operator = crate::support::operator::Operator::start(&world.place, &[]);
    operator.destination("another check", |status| status["lastCheckedAt"] != checked["lastCheckedAt"]);
    assert!(world.place.status_file("audienceactivation", "vip").exists());

    operator.send(&[entry("q", "b", 3)]);
    world.place.declare("moved.yaml", &activation("vip", &["a", "b"], ""));
    operator.activation("vip", "both audiences", completed(2));
    let records = world.until_records(&mut operator, 3);
    assert_eq!((records.len(), world.told("q")), (3, vec![3]));
    assert_eq!(operator.terminate().code, Some(0));
}
