//! A dataflow from the hub to the stream: everything arrives, in order, once; and what cannot arrive is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use activation_operator::dataflow::dead_letters::{self, Selection};
use activation_operator::dataflow::progress::{BackfillState, Delivery, OutageCause, Progress};
use activation_operator::dataflow::{Dataflow, Plan, Source, state};
use activation_operator::export::MappingSpec;
use activation_operator::export::mapping::{MappedAttribute, MappedAudience, Scope, TriggerSwitches};
use activation_operator::feed::Embedded;
use activation_operator::hub::ingest::Request;
use activation_operator::hub::retention::{Retention, trim};
use activation_operator::hub::{Hub, Writer};
use activation_operator::kinesis::client::{HttpPool, Proxy, SharedClient, StreamClient};
use activation_operator::kinesis::sender::Settings;
use activation_operator::kinesis::target::{CredentialSource, Endpoint, StreamRef, Target};
use activation_operator::store::Store;
use activation_operator::telemetry::clock;
use bytes::Bytes;
use jiff::SignedDuration;
use kinesis_stub::{Config, Fault, Kind, StreamSpec, Stub};
use serde_json::{Value, json};

const NAME: &str = "marketing/vip";
/// How long a condition may take to come true on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

struct World {
    stub: Stub,
    folder: tempfile::TempDir,
    hub: Hub,
    writer: Writer,
    client: SharedClient,
    pool: HttpPool,
}

impl World {
    async fn new() -> Self {
        let stub =
            Stub::start(Config { streams: vec![StreamSpec::new("profiles", 4)], ..Config::default() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (hub, writer) = Hub::start(Store::open(folder.path(), 8 << 20).unwrap()).unwrap();
        let pool = HttpPool::new(Proxy::Direct).unwrap();
        let client = SharedClient::new(StreamClient::connect(&target(&stub, "test"), &pool).await);
        Self { stub, folder, hub, writer, client, pool }
    }

    async fn send(&self, updates: &[Value]) {
        let body: String = updates.iter().flat_map(|update| [update.to_string(), "\n".to_owned()]).collect();
        let request = Request { body: Bytes::from(body), ..Request::default() };
        let answer = self.hub.ingest_waiting(request).await.unwrap();
        assert_eq!((answer.accepted, answer.rejected), (updates.len() as u64, vec![]));
    }

    async fn start(&self, plan: Plan) -> Dataflow {
        let head = self.hub.head();
        let start = *head.borrow();
        let source = Source { feed: Embedded::new(&self.hub), start, head: Some(head) };
        Dataflow::start(source, self.hub.store().clone(), self.client.clone(), plan, clock::now()).await.unwrap()
    }

    fn records(&self) -> Vec<Value> {
        self.stub.records().iter().map(|record| serde_json::from_slice(&record.bytes()).unwrap()).collect()
    }

    /// The `n` of each record of a profile, in the order of the stream.
    fn told(&self, profile: &str) -> Vec<i64> {
        let of = |record: &&Value| record["_activation"]["profileId"] == profile;
        self.records().iter().filter(of).map(|record| record["n"].as_i64().unwrap_or(-1)).collect()
    }

    async fn end(self) {
        let Self { stub, folder, hub, writer, client, pool } = self;
        stub.shutdown().await.unwrap();
        drop((hub, client, pool));
        writer.join().unwrap();
        drop(folder);
    }
}

fn target(stub: &Stub, key: &str) -> Target {
    Target {
        region: "us-east-1".to_owned(),
        stream: StreamRef::Name("profiles".to_owned()),
        endpoint: Endpoint { url: Some(stub.url()), ..Endpoint::default() },
        request_timeout: Duration::from_secs(5),
        credentials: CredentialSource::Keys {
            access_key_id: key.to_owned(),
            secret_access_key: "test".to_owned(),
            session_token: None,
        },
        assume_role: None,
    }
}

fn audience(id: &str) -> MappedAudience {
    MappedAudience {
        namespace: "ups".to_owned(),
        id: id.to_owned(),
        merge_policy_id: "default".to_owned(),
        name: None,
        description: None,
        created_at: None,
        updated_at: None,
        mapping_created_at: None,
        mapping_updated_at: None,
    }
}

fn plan(audiences: &[&str]) -> Plan {
    Plan {
        name: NAME.to_owned(),
        mapping: MappingSpec {
            activation: NAME.to_owned(),
            audiences: audiences.iter().map(|id| audience(id)).collect(),
            attributes: vec![MappedAttribute { path: "n".to_owned(), required: false }],
            triggers: TriggerSwitches {
                audiences: true,
                attributes: true,
                identities: true,
                suppress_unchanged: false,
            },
            scope: Scope::Mapped,
            include_segment_names: false,
            include_segment_timestamps: false,
            metadata: true,
            exit_on_delete: false,
            partition_key_namespace: None,
        },
        backfill: true,
        backfill_records_per_second: None,
        sender: Settings {
            max_retries: 2,
            throttle_timeout: Duration::from_mins(10),
            linger: Duration::from_millis(5),
            max_records_per_second: None,
            max_record_bytes: 1 << 20,
            max_batch_bytes: 5 << 20,
            window_records: 5000,
            window_bytes: 32 << 20,
            max_in_flight: 8,
            seed: 1,
        },
        resync: None,
        resync_lost_position: true,
    }
}

fn entry(profile: &str, audience: &str, n: i64) -> Value {
    membership(profile, audience, "realized", n)
}

fn membership(profile: &str, audience: &str, status: &str, n: i64) -> Value {
    json!({"header": {"profileId": profile}, "body": {"xdmEntity": {"n": n,
        "segmentMembership": {"ups": {audience: {"status": status, "lastQualificationTime": "2026-01-02T03:04:05Z"}}}}}})
}

fn write(profile: &str, n: i64) -> Value {
    json!({"header": {"profileId": profile}, "body": {"xdmEntity": {"n": n}}})
}

async fn until(dataflow: &Dataflow, what: &str, mut holds: impl FnMut(&Progress) -> bool) -> Arc<Progress> {
    let mut progress = dataflow.progress();
    let found = tokio::time::timeout(DEADLINE, progress.wait_for(|progress| holds(progress))).await;
    match found {
        Ok(Ok(progress)) => Arc::clone(&progress),
        other => panic!("{what} did not come: {:?}, {:?}", other.is_ok(), dataflow.progress().borrow()),
    }
}

async fn until_idle(world: &World, dataflow: &Dataflow) -> Arc<Progress> {
    let head = *world.hub.head().borrow();
    until(dataflow, "idle", |progress| !progress.busy && progress.position == head).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_arrives_once_and_in_order_and_is_counted() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    for round in 0..20 {
        let updates: Vec<Value> = (0..100).map(|profile| entry(&format!("p{profile}"), "a", round)).collect();
        world.send(&updates).await;
    }
    world.send(&[json!({"header": {"profileId": "stranger"}, "body": {"xdmEntity": {"n": 1}}})]).await;
    let progress = until_idle(&world, &dataflow).await;
    assert_eq!(progress.counters.received, 2001);
    assert_eq!(progress.counters.exported, 2000);
    assert_eq!(progress.counters.triggers, [100, 2000, 0, 0]);
    assert_eq!(progress.runs.last().unwrap().counters, progress.counters);
    for profile in 0..100 {
        assert_eq!(world.told(&format!("p{profile}")), (0..20).collect::<Vec<_>>());
    }
    assert!(progress.latency_p95.is_some() && progress.last_export.is_some());
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_dataflow_goes_on_where_it_was_and_repeats_nothing() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    world.send(&[entry("p", "a", 0)]).await;
    until_idle(&world, &dataflow).await;
    dataflow.stop().await.unwrap();
    world.send(&[write("p", 1), write("p", 2)]).await;
    let dataflow = world.start(plan(&["a"])).await;
    let progress = until_idle(&world, &dataflow).await;
    assert_eq!(world.told("p"), [0, 1, 2]);
    assert_eq!(progress.counters.exported, 3);
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataflow_that_breaks_off_repeats_at_most_a_window_and_loses_nothing() {
    let world = World::new().await;
    for attempt in 0..5 {
        let dataflow = world.start(plan(&["a"])).await;
        let updates: Vec<Value> = (0..2000).map(|n| entry(&format!("p{}", n % 50), "a", attempt * 2000 + n)).collect();
        world.send(&updates).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        // As a crash would: nothing is drained, nothing written.
        drop(dataflow);
    }
    let dataflow = world.start(plan(&["a"])).await;
    let progress = until_idle(&world, &dataflow).await;
    assert_eq!(progress.counters.exported, 10_000);
    for profile in 0..50 {
        let told = world.told(&format!("p{profile}"));
        let mut first_time = Vec::new();
        for n in told {
            if !first_time.contains(&n) {
                first_time.push(n);
            }
        }
        assert_eq!(first_time, (0..200).map(|k| k * 50 + profile).collect::<Vec<i64>>(), "p{profile}");
    }
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_repeats_no_more_than_the_window_however_fast_it_went() {
    let world = World::new().await;
    let mut narrow = plan(&["a"]);
    narrow.sender.window_records = 400;
    narrow.sender.linger = Duration::ZERO;
    let dataflow = world.start(narrow.clone()).await;
    let updates: Vec<Value> = (0..6000).map(|n| entry(&format!("p{n}"), "a", n)).collect();
    world.send(&updates).await;
    while world.stub.stats().records_committed < 5000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(dataflow);
    let dataflow = world.start(narrow).await;
    until_idle(&world, &dataflow).await;
    let repeated = world.stub.stats().records_committed - 6000;
    assert!(repeated <= 400, "{repeated} records were exported again");
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_durable_before_the_profile_goes_on() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    // The first checkpoint is written at once, the next a second later.
    world.send(&[entry("first", "a", 0)]).await;
    until(&dataflow, "the first export", |progress| progress.counters.exported == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let poison = Fault::new(Kind::PoisonEntry { partition_key: "bad".to_owned() }).times(3);
    world.stub.set_faults(vec![poison]);
    world.send(&[entry("bad", "a", 1), entry("bad", "a", 2)]).await;
    while world.told("bad").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // As a crash would. What was given up before the second is not to come after it.
    drop(dataflow);
    let dataflow = world.start(plan(&["a"])).await;
    until_idle(&world, &dataflow).await;
    let told = world.told("bad");
    assert!(told.iter().all(|n| *n == 2), "{told:?}");
    assert_eq!(dead_letters::list(world.hub.store(), NAME, 0, 10).unwrap().len(), 1);
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_mapped_audience_are_told_once_and_an_added_one_later() {
    let world = World::new().await;
    let mut updates: Vec<Value> = (0..3000).map(|n| entry(&format!("p{n}"), "a", n)).collect();
    updates.extend((2500..4000).map(|n| entry(&format!("p{n}"), "b", n)));
    updates.push(membership("gone", "a", "realized", 7));
    updates.push(membership("gone", "a", "exited", 7));
    world.send(&updates).await;
    let dataflow = world.start(plan(&["a"])).await;
    let progress = until_idle(&world, &dataflow).await;
    assert_eq!(world.records().len(), 3000);
    let backfill = &progress.backfills[0];
    assert_eq!((backfill.state, backfill.done, backfill.total), (BackfillState::Completed, 3000, Some(3000)));
    assert_eq!(progress.counters.triggers, [0, 0, 0, 3000]);

    dataflow.follow(plan(&["a", "b"]));
    let progress = until(&dataflow, "the second backfill", |progress| {
        progress.backfills.len() == 2 && progress.backfills.iter().all(|b| b.state == BackfillState::Completed)
    })
    .await;
    assert_eq!(progress.counters.triggers[3], 4500);
    assert_eq!(world.told("p2600"), [2600, 2600]);
    assert_eq!(world.told("gone"), [] as [i64; 0]);
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_beside_live_never_tells_an_older_state_after_a_newer() {
    let world = World::new().await;
    let members: Vec<Value> = (0..5000).map(|n| entry(&format!("p{n}"), "a", 0)).collect();
    world.send(&members).await;
    let dataflow = world.start(plan(&["a"])).await;
    for round in 1..30 {
        let updates: Vec<Value> = (0..200).map(|n| write(&format!("p{}", n * 25), round)).collect();
        world.send(&updates).await;
    }
    let progress = until_idle(&world, &dataflow).await;
    assert_eq!(progress.backfills[0].done, 5000);
    for profile in (0..5000).step_by(25) {
        let told = world.told(&format!("p{profile}"));
        assert!(told.is_sorted() && told.last() == Some(&29), "p{profile}: {told:?}");
    }
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_breaks_off_goes_on_where_it_was() {
    let world = World::new().await;
    let members: Vec<Value> = (0..4000).map(|n| entry(&format!("p{n:05}"), "a", n)).collect();
    world.send(&members).await;
    let slow = Plan { backfill_records_per_second: Some(2000), ..plan(&["a"]) };
    let dataflow = world.start(slow).await;
    until(&dataflow, "a part", |progress| progress.backfills[0].done > 500).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(dataflow);
    let before = world.records().len();
    let dataflow = world.start(plan(&["a"])).await;
    until_idle(&world, &dataflow).await;
    let records = world.records();
    let ids: std::collections::BTreeSet<_> =
        records.iter().map(|r| r["_activation"]["profileId"].to_string()).collect();
    assert_eq!(ids.len(), 4000);
    assert!(records.len() < 4000 + before, "{} records after {before}: it began anew", records.len());
    let runs: std::collections::BTreeSet<_> = records
        .iter()
        .filter(|r| r["_activation"]["profileId"] == "p00001")
        .map(|r| r["_activation"]["exportId"].to_string())
        .collect();
    assert_eq!(runs.len(), 1, "a repeat is of the same run");
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_is_kept_sent_again_and_dropped() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    world.stub.set_faults(vec![
        Fault::new(Kind::PoisonEntry { partition_key: "bad".to_owned() }),
        Fault::new(Kind::PoisonEntry { partition_key: "worse".to_owned() }),
    ]);
    world
        .send(&[
            entry("bad", "a", 1),
            entry("good", "a", 1),
            entry("worse", "a", 1),
            membership("bad", "a", "exited", 2),
        ])
        .await;
    let progress = until(&dataflow, "three letters", |progress| progress.dead_letters == 3).await;
    assert_eq!((progress.counters.exported, progress.counters.failed), (1, 3));
    assert!(progress.oldest_dead_letter.is_some());
    let letters = dead_letters::list(world.hub.store(), NAME, 0, 10).unwrap();
    let bad: Vec<_> = letters.iter().filter(|letter| letter.profile_id == "bad").collect();
    assert_eq!((bad[0].version, bad[0].attempts, bad[0].reason.as_str()), (1, 3, "RetriesExhausted"));
    assert_eq!(bad[1].exits, [("ups".to_owned(), "a".to_owned())]);

    world.stub.clear_faults();
    assert_eq!(dataflow.desk().resend(Selection::Sequences(vec![bad[1].sequence, 99])).await.unwrap(), 1);
    until(&dataflow, "two letters", |progress| progress.dead_letters == 2).await;
    let records = world.records();
    assert_eq!(records.last().unwrap()["segmentMembership"]["ups"]["a"]["status"], "exited");
    assert_eq!(dataflow.desk().discard(Selection::All).await.unwrap(), 2);
    until(&dataflow, "no letter", |progress| progress.dead_letters == 0).await;
    assert!(dead_letters::list(world.hub.store(), NAME, 0, 10).unwrap().is_empty());
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_delivered_is_neither_sent_again_nor_dropped_before_that_is_written() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    let poison = |key: &str| Fault::new(Kind::PoisonEntry { partition_key: key.to_owned() });
    world.stub.set_faults(["p", "q", "r"].map(poison).to_vec());
    world.send(&["p", "q", "r"].map(|profile| entry(profile, "a", 1))).await;
    until(&dataflow, "three letters", |progress| progress.dead_letters == 3).await;
    world.stub.clear_faults();
    let desk = dataflow.desk();
    assert_eq!(desk.resend(Selection::Sequences(vec![1, 2])).await.unwrap(), 2);
    // They are delivered, and for up to a second nobody has written so.
    while world.told("p").is_empty() || world.told("q").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (dropped, sent) =
        (desk.discard(Selection::Sequences(vec![1])).await.unwrap(), desk.resend(Selection::All).await.unwrap());
    until(&dataflow, "all to be through", |progress| !progress.busy && progress.dead_letters == 0).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((dropped, sent), (0, 1), "only the third was left");
    assert_eq!((world.told("p").len(), world.told("q").len(), world.told("r").len()), (1, 1, 1));
    assert_eq!(dataflow.progress().borrow().dead_letters, 0);
    world.stub.set_faults(vec![poison("p")]);
    world.send(&[entry("p", "a", 2)]).await;
    until(&dataflow, "one letter", |progress| progress.dead_letters == 1).await;
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_took_over_without_a_clean_hand_over_waits_out_the_request_timeout() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    world.send(&[entry("p", "a", 0)]).await;
    until_idle(&world, &dataflow).await;
    // One record is on its way, and stays there for long, when its sender is gone.
    world.stub.set_faults(vec![Fault::new(Kind::Latency { fixed_ms: 3000, jitter_ms: 0 }).times(1)]);
    world.send(&[write("p", 1)]).await;
    while !world.stub.stats().faults_by_kind.contains_key("latency") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(dataflow);
    world.send(&[write("p", 2)]).await;
    let sent = world.stub.stats().requests;
    let dataflow = world.start(plan(&["a"])).await;
    until(&dataflow, "the changes to be taken", |progress| progress.head == 4).await;
    // Well within the five seconds that a request may take.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.stub.stats().requests, sent, "it has sent before the timeout of the other's request");
    until_idle(&world, &dataflow).await;
    assert_eq!(world.told("p").last(), Some(&2));
    dataflow.stop().await.unwrap();
    // A clean stop leaves nothing to wait for.
    world.send(&[write("p", 3)]).await;
    let dataflow = world.start(plan(&["a"])).await;
    until_idle(&world, &dataflow).await;
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_position_is_told_and_made_good_by_a_resync() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    world.send(&[entry("p", "a", 1), entry("q", "a", 1)]).await;
    until_idle(&world, &dataflow).await;
    dataflow.stop().await.unwrap();
    world.send(&[membership("p", "a", "exited", 2), entry("r", "a", 3), write("stranger", 1)]).await;
    let bounds = Retention { max_age: SignedDuration::from_hours(1), max_bytes: 1 };
    assert!(trim(world.hub.store(), state::slowest(world.hub.store()).unwrap(), bounds, clock::now()).unwrap() > 0);
    let dataflow = world.start(plan(&["a"])).await;
    let progress = until(&dataflow, "the resync", |progress| progress.positions_lost == 1 && !progress.busy).await;
    assert_eq!(progress.backfills[0].done, 3);
    let records = world.records();
    let last = |profile: &str| records.iter().rfind(|r| r["_activation"]["profileId"] == profile).unwrap().clone();
    assert_eq!(last("p")["segmentMembership"]["ups"]["a"]["status"], "exited");
    assert_eq!(last("q")["segmentMembership"]["ups"]["a"]["status"], "realized");
    assert_eq!(last("r")["n"], 3);
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_pause_and_new_ones_go_on_with_nothing_lost() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a"])).await;
    world.send(&[entry("p", "a", 0)]).await;
    until_idle(&world, &dataflow).await;
    world.stub.set_expired("test", true);
    let updates: Vec<Value> = (1..500).map(|n| write("p", n)).collect();
    world.send(&updates).await;
    let progress = until(&dataflow, "the pause", |progress| {
        matches!(progress.delivery, Delivery::Outage { cause: OutageCause::Credentials, .. })
    })
    .await;
    assert_eq!(progress.counters.failed, 0);
    world.stub.put_key("fresh", kinesis_stub::KeySpec::new("test"));
    world.client.replace(StreamClient::connect(&target(&world.stub, "fresh"), &world.pool).await);
    let progress = until_idle(&world, &dataflow).await;
    assert_eq!((progress.counters.failed, progress.counters.exported), (0, 500));
    assert_eq!(world.told("p"), (0..500).collect::<Vec<_>>());
    dataflow.stop().await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_deleted_profile_tells_its_exits_and_revives_nothing() {
    let world = World::new().await;
    let dataflow = world.start(plan(&["a", "b"])).await;
    world.send(&[entry("p", "a", 1), entry("p", "b", 1)]).await;
    until_idle(&world, &dataflow).await;
    world.stub.set_faults(vec![Fault::new(Kind::PoisonEntry { partition_key: "p".to_owned() })]);
    world
        .send(&[
            membership("p", "a", "exited", 2),
            json!({"header": {"profileId": "p", "operation": "delete"}, "body": {}}),
        ])
        .await;
    until(&dataflow, "a letter", |progress| progress.dead_letters == 1).await;
    world.stub.clear_faults();
    assert_eq!(dataflow.desk().resend(Selection::All).await.unwrap(), 1);
    until(&dataflow, "no letter", |progress| progress.dead_letters == 0).await;
    let record = world.records().pop().unwrap();
    assert_eq!(record["segmentMembership"]["ups"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(record["segmentMembership"]["ups"]["a"]["status"], "exited");
    assert_eq!(record["n"], Value::Null);
    dataflow.stop().await.unwrap();
    world.end().await;
}
