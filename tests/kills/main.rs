//! `kill -9`, again and again: the whole program, on a folder of manifests and in a cluster, beside a producer that repeats what was not answered
//! and a stream that is slow and refuses some. At the end the checker reads what was accepted and what the stream holds.
//!
//! `KILLS=1000` is the long form; `SEED` gives other choices (the moments are the machine's).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use activation_operator::dataflow::{dead_letters, state};
use activation_operator::export::MappingSpec;
use activation_operator::store::Store;
use kinesis_stub::{Config, Fault, FaultSet, KeySpec, Kind, LogMode, StreamSpec, Stub};

#[path = "../support/checker.rs"]
mod checker;
#[path = "../support/load.rs"]
mod load;
mod place;
#[path = "../support/mod.rs"]
mod support;

use checker::{Finding, Given, Letter, Phase};
use load::operator::until;
use load::producer::{History, Pace, Producer};
use load::random::Random;
use place::{Cluster, Folder, Place};

/// Members of the audience that is mapped while everything runs: a backfill of several lives.
const MEMBERS: u64 = 6000;
/// The window of a dataflow: what one crash repeats at most.
const WINDOW: u64 = 5000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

fn stub(log: PathBuf, seed: u64) -> Config {
    let faults = vec![
        Fault::new(Kind::Latency { fixed_ms: 1, jitter_ms: 25 }).on_action("PutRecords"),
        Fault::new(Kind::Scattered { rate: 0.2, error: kinesis_stub::EntryError::InternalFailure })
            .with_probability(0.3)
            .on_action("PutRecords"),
        Fault::new(Kind::Scattered { rate: 0.1, error: kinesis_stub::EntryError::Throttled })
            .with_probability(0.02)
            .on_action("PutRecords"),
    ];
    Config {
        streams: vec![StreamSpec::new("profiles", 8)],
        log: LogMode::Records { file: Some(log) },
        // The file is what is read.
        memory_bytes: 0,
        retention_bytes: 0,
        faults: FaultSet { seed, faults },
        ..Config::default()
    }
}

/// Each life has a key of its own, so that its records are known.
fn begin_life(place: &impl Place, stub: &Stub, lives: &mut Vec<Vec<String>>) {
    let key = format!("life-{}", lives.len());
    assert!(stub.put_key(&key, KeySpec::new("secret")));
    place.give_key(&key);
    lives.push(vec![key]);
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_keeps_the_order() {
    kill_again_and_again(|folder| Folder::new(&folder.join("manifests")));
}

#[test]
fn killed_at_any_moment_in_a_cluster_it_loses_nothing_and_keeps_the_order() {
    kill_again_and_again(|_| Cluster::new());
}

fn kill_again_and_again<P: Place>(place: impl FnOnce(&Path) -> P) {
    let (kills, seed) = (number("KILLS", 100), number("SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let [data, log] = ["data", "log.ndjson"].map(|name| folder.path().join(name));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stub = runtime.block_on(Stub::start(stub(log.clone(), seed))).unwrap();
    place.declare(&stub.url(), &["a"]);
    let committed = || stub.stats().records_committed;

    let mut lives = Vec::new();
    begin_life(&place, &stub, &mut lives);
    let mut operator = place.start(&data);
    // A dataflow begins at the head of the log: updates that came before it has would be history.
    until("a start", || operator.metric("activation_position").map(drop));
    let producer = Producer::start(seed, MEMBERS, Pace::Fitful, operator.address());
    let mut random = Random::new(seed);
    for kill in 1..=kills {
        if kill == kills.div_ceil(3) {
            until("members", || (producer.accepted() > MEMBERS).then_some(()));
            place.declare(&stub.url(), &["a", "b"]);
        }
        let before = committed();
        // Some die as soon as they serve, most while they deliver, a few after the first checkpoint and the next.
        let pause = match random.below(10) {
            0 | 1 => random.below(100),
            chosen => {
                operator.patience(Duration::from_secs(3), || committed() > before);
                if chosen == 9 {
                    // Large requests take a while: some lives last until one is answered, or none ever is on a slow machine.
                    let accepted = producer.accepted();
                    operator.patience(Duration::from_secs(30), || producer.accepted() > accepted);
                    500 + random.below(1500)
                } else {
                    random.below(500)
                }
            }
        };
        std::thread::sleep(Duration::from_millis(pause));
        operator.kill();
        begin_life(&place, &stub, &mut lives);
        operator = place.start(&data);
        producer.send_to(operator.address());
    }
    let history = producer.stop();
    until("everything to be through", || {
        let is = |name: &str| operator.metric(name);
        let through = is("activation_position")? == history.head && is("activation_backfill_done")? >= 1;
        (through && is("activation_backfill_done") == is("activation_backfill_members")).then_some(())
    });
    assert_eq!(operator.terminate(), Some(0), "the exit code");
    runtime.block_on(stub.shutdown()).unwrap();
    judge(&place.name(), &history, &data, &log, &lives);
}

/// Reads what the program left behind, and lets the checker judge.
fn judge(name: &str, history: &History, data: &Path, log: &Path, lives: &[Vec<String>]) {
    let store = Store::open(data, 8 << 20).unwrap();
    let checkpoint = state::load(&store, name).unwrap().unwrap();
    let mapping = state::load_mapping(&store, name).unwrap().unwrap();
    let mapped_at = |id: &str| checkpoint.backfills.iter().find(|backfill| backfill.id == id).unwrap().mapped_at;
    let first = MappingSpec {
        audiences: mapping.audiences.iter().filter(|audience| audience.id == "a").cloned().collect(),
        ..mapping.clone()
    };
    let phases = [Phase { from: mapped_at("a"), mapping: first }, Phase { from: mapped_at("b"), mapping }];
    let dead_letters: Vec<Letter> = dead_letters::list(&store, name, 0, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|letter| Letter {
            backfill: letter.triggers.iter().any(|trigger| trigger == "backfill"),
            profile: (letter.merge_policy_id, letter.profile_id),
            version: letter.version,
        })
        .collect();
    let log = checker::read_log(log, "profiles");
    let report = checker::check(&Given {
        history: &history.lines,
        phases: &phases,
        log: &log,
        dead_letters: &dead_letters,
        lives,
        repeats_per_crash: WINDOW,
        unanswered: 0,
    });
    println!(
        "{name}, {} kills: {} updates, {} triggers, {} members of the backfill, {} exports, {} of them again (at most {} for one kill), {} dead letters, {} lost, {} inverted",
        lives.len() - 1,
        report.updates,
        report.triggers,
        report.members,
        report.exports,
        report.repeats,
        report.most_repeats,
        dead_letters.len(),
        report.count(|finding| matches!(finding, Finding::Lost { .. })),
        report.count(|finding| matches!(finding, Finding::Inverted { .. })),
    );
    assert!(report.findings.is_empty(), "{report}");
    // Nothing was taken up twice, and nothing that was not answered.
    assert_eq!((report.head, store.head().unwrap().next), (history.head, history.head));
    assert!(report.members > MEMBERS / 2 && report.repeats > 0, "the run was too tame: {report:?}");
    assert_eq!(checkpoint.next_dead_letter - 1, dead_letters.len() as u64);
}
