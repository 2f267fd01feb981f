//! Faults: what could not be delivered is sent again while everything runs, and a dataflow that slept too long.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use activation_operator::profile::apply;
use activation_operator::profile::update::Update;
use activation_operator::store::Store;
use jiff::Timestamp;
use kinesis_stub::Kind;
use serde_json::{Value, json};

use crate::checker::{self, Letter};
use crate::load::operator::{client, until};
use crate::load::producer::entry;
use crate::load::random::Random;
use crate::scene::{Run, Scene, Setting, on_puts};
use crate::verdict::{Allowed, Tally};

/// `activation-operator dead-letters` with these arguments; its lines.
fn dead_letters(scene: &Scene, arguments: &[&str]) -> Vec<Value> {
    let url = format!("http://{}", scene.operator().address());
    let mut command = Command::new(env!("CARGO_BIN_EXE_activation-operator"));
    let output = command.args(["dead-letters", "--url", &url]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each is told as the profile is by then, never before what it stood behind, and never after what is newer.
pub(crate) fn sent_again(run: Run) -> Tally {
    let poisoned: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let faults = poisoned.iter().map(|key| on_puts(Kind::PoisonEntry { partition_key: key.clone() })).collect();
    let mut scene = Scene::start(run, &Setting { faults, ..Setting::default() });
    let letters = |scene: &Scene| scene.operator().metric("activation_dead_letters");
    for n in 0..3 {
        scene.producer().slip_in(poisoned.iter().map(|profile| entry(profile, "a", "realized", n)));
        scene.until_accepted(1000);
    }
    until("letters", || letters(&scene).filter(|count| *count >= 40));
    until("their age", || scene.operator().metric("activation_oldest_dead_letter_seconds").filter(|age| *age > 0));
    scene.heal();
    // What was being tried by then has got through.
    scene.until_exported(2000);
    let listed = dead_letters(&scene, &["list", "marketing/vip"]);
    let resent = dead_letters(&scene, &["resend", "marketing/vip", "--all"])[0]["resent"].as_u64().unwrap();
    assert_eq!(resent, listed.len() as u64);
    until("no letter", || letters(&scene).filter(|count| *count == 0));
    until("no age", || scene.operator().metric("activation_oldest_dead_letter_seconds").filter(|age| *age == 0));
    scene.let_it_last(1);

    let history = scene.end();
    let store = Store::open(&scene.data, 8 << 20).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let letter = |told: &Value| Letter {
        profile: (text(&told["mergePolicyId"]), text(&told["profileId"])),
        version: told["version"].as_u64().unwrap(),
        backfill: false,
    };
    let letters: Vec<Letter> = listed.iter().map(letter).collect();
    let log = checker::read_log(&scene.log(), "profiles");
    let mut newest = BTreeMap::new();
    for export in &log {
        let newest = newest.entry(&export.profile).or_insert(export.version);
        assert!(*newest <= export.version, "{export:?} after version {newest}");
        *newest = export.version;
    }
    // Nothing else is told as a state.
    let (again, live): (Vec<_>, Vec<_>) = log.into_iter().partition(|export| export.backfill);
    let whose: BTreeSet<_> = letters.iter().map(|letter| &letter.profile).collect();
    assert!(again.iter().all(|export| whose.contains(&export.profile)), "one was sent again that was no letter");
    assert!(!again.is_empty() && again.len() <= letters.len(), "{} of {}", again.len(), letters.len());
    let found = scene.find(&store, &scene.activations[0], &history, (&live, &letters), Allowed::default());
    assert!(found.report.findings.is_empty(), "{}", found.report);
    let mut tally = Scene::tally(&history);
    found.add_to(&mut tally);
    tally
}

/// Suspended for longer than the log is kept, it finds its position gone, says so, and tells every member and every exit.
pub(crate) fn suspended_past_the_retention(run: Run) -> Tally {
    const PROFILES: u64 = 3000;
    let mut scene = Scene::set(run, &Setting::default());
    scene.arguments = vec!["--retention-max-bytes", "1Mi"];
    scene.declare();
    scene.revive();
    let (mut random, mut history, mut sending) = (Random::new(run.seed), Vec::new(), Duration::ZERO);
    let mut send = |scene: &Scene, exits: u64| {
        let update = |number: u64| {
            let status = if random.below(100) < exits { "exited" } else { "realized" };
            entry(&format!("p{}", number % PROFILES), "a", status, random.below(1 << 40))
        };
        let lines: Vec<String> = (0..PROFILES).map(update).collect();
        let began = Instant::now();
        let request = client().post(format!("http://{}/v1/profiles", scene.operator().address()));
        let answer = request.header("Content-Type", "application/x-ndjson").send(lines.join("\n")).unwrap();
        assert_eq!(answer.status(), 200);
        sending += began.elapsed();
        history.extend(lines);
    };
    send(&scene, 0);
    until("everything to be through", || {
        scene.operator().metric("activation_position").filter(|at| *at == PROFILES + 1)
    });
    scene.activations[0].suspended = true;
    scene.declare();
    until("the suspension", || scene.operator().get("/metrics").filter(|text| !text.contains("activation_position{")));
    let before = scene.stats().records_committed;
    for _ in 0..4 {
        send(&scene, 30);
    }
    until("the log to be trimmed", || {
        scene.operator().metric_of("activation_log_first", "").filter(|first| *first > PROFILES + 1)
    });
    assert_eq!(scene.stats().records_committed, before, "it was suspended");
    scene.activations[0].suspended = false;
    scene.declare();
    until("the loss to be told", || {
        scene.operator().metric("activation_positions_lost_total").filter(|lost| *lost == 1)
    });
    until("the resync", || scene.operator().metric("activation_backfill_done").filter(|done| *done == PROFILES));
    until("the loss to be made good", || {
        scene.operator().metric_of("activation_delivering", "reason=\"PositionLost\"").filter(|lost| *lost == 0)
    });
    // Live goes on behind it.
    send(&scene, 30);
    let head = history.len() as u64 + 1;
    until("everything to be through", || scene.operator().metric("activation_position").filter(|at| *at == head));
    assert_eq!(scene.terminate(), Some(0));

    let mut profiles: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for (line, version) in history.iter().zip(1..) {
        let update = Update::parse(line.as_bytes()).unwrap();
        let profile = update.profile_id.to_string();
        let before = profiles.get(&profile).map(|(_, entity)| entity.as_str());
        let applied = apply::apply(before, update, version, Timestamp::UNIX_EPOCH).unwrap().unwrap();
        profiles.insert(profile, (version, String::from_utf8(applied.entity).unwrap()));
    }
    let mut told: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    for (profile, version, record) in scene.records() {
        if let Some((before, _)) = told.get(&profile) {
            assert!(*before <= version, "version {version} of {profile} after {before}");
        }
        told.insert(profile, (version, record));
    }
    assert_eq!(told.len() as u64, PROFILES);
    let mut exits = 0;
    for (profile, (version, entity)) in &profiles {
        let entity: Value = serde_json::from_str(entity).unwrap();
        let status = |of: &Value| of["segmentMembership"]["ups"]["a"]["status"].clone();
        let (told_version, record) = &told[profile];
        // An exited member that is written to triggers nothing: its exit is the last that is told of it.
        assert_eq!(status(record), status(&entity), "{profile}");
        if status(&entity) == json!("realized") {
            assert_eq!((told_version, &record["n"]), (version, &entity["n"]), "{profile}");
        } else {
            exits += 1;
        }
    }
    assert!(exits > PROFILES / 10, "{exits} exits");
    let exports = scene.stats().records_committed;
    let per_second = (history.len() as f64 / sending.as_secs_f64()) as u64;
    Tally { updates: history.len() as u64, per_second, exports, ..Tally::default() }
}
