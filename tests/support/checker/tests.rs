//! The checker on runs made by hand: a good one passes, and each kind of bad one is caught for what it is.

use activation_operator::export::mapping::{MappedAttribute, MappedAudience, Scope, TriggerSwitches};
use activation_operator::export::projection::{self, Projected, Stamp, State};
use activation_operator::export::{Mapping, MappingSpec};
use activation_operator::profile::apply;
use activation_operator::profile::change::Change;
use activation_operator::profile::update::Update;
use jiff::Timestamp;

use super::*;

fn audience(id: &str) -> MappedAudience {
    MappedAudience {
        namespace: "ups".to_owned(),
        id: id.to_owned(),
        merge_policy_id: "default".to_owned(),
        name: Some(format!("audience {id}")),
        description: None,
        created_at: None,
        updated_at: None,
        mapping_created_at: None,
        mapping_updated_at: None,
    }
}

fn spec(audiences: &[&str]) -> MappingSpec {
    MappingSpec {
        activation: "marketing/vip".to_owned(),
        audiences: audiences.iter().map(|id| audience(id)).collect(),
        attributes: vec![MappedAttribute { path: "n".to_owned(), required: false }],
        triggers: TriggerSwitches { audiences: true, attributes: true, identities: true, suppress_unchanged: false },
        scope: Scope::Mapped,
        include_segment_names: true,
        include_segment_timestamps: false,
        metadata: true,
        exit_on_delete: false,
        partition_key_namespace: None,
    }
}

fn update(profile: &str, audience: &str, status: &str, n: u64) -> String {
    format!(
        r#"{{"header":{{"profileId":"{profile}"}},"body":{{"xdmEntity":{{"n":{n},"segmentMembership":{{"ups":{{"{audience}":{{"status":"{status}","lastQualificationTime":"2026-01-02T03:04:05Z"}}}}}}}}}}}}"#
    )
}

/// A run: `b` is mapped at position 6, when q and r are in it; r leaves before it is told.
struct Run {
    history: Vec<String>,
    phases: Vec<Phase>,
    log: Vec<Exported>,
    letters: Vec<Letter>,
    lives: Vec<Vec<String>>,
    unanswered: u64,
}

/// Each ends with a crash but the last.
const LIVES: [&str; 3] = ["first", "second", "third"];

/// By position from 1.
const UPDATES: [(&str, &str, &str, u64); 8] = [
    ("p", "a", "realized", 1),
    ("p", "a", "realized", 2),
    ("q", "b", "realized", 3), // triggers nothing yet
    ("r", "b", "realized", 4), // triggers nothing yet
    ("p", "a", "realized", 5),
    // b is mapped here
    ("r", "b", "exited", 6),
    ("q", "b", "realized", 7),
    ("p", "a", "exited", 8),
];

fn export(seq: u64, version: u64, backfill: Option<&str>) -> Exported {
    let audiences: &[&str] = if version < 6 && backfill.is_none() { &["a"] } else { &["a", "b"] };
    let mapping = Mapping::compile(spec(audiences)).unwrap();
    let (profile, ..) = UPDATES[version as usize - 1];
    let mut entity: Option<String> = None;
    let mut change = Vec::new();
    for ((id, audience, status, n), position) in UPDATES.into_iter().zip(1..=version) {
        if id == profile {
            let line = update(id, audience, status, n);
            let applied = apply::apply(
                entity.as_deref(),
                Update::parse(line.as_bytes()).unwrap(),
                position,
                "2026-02-03T04:05:06Z".parse().unwrap(),
            );
            let applied = applied.unwrap().unwrap();
            (entity, change) = (Some(String::from_utf8(applied.entity).unwrap()), applied.change);
        }
    }
    let exported_at: Timestamp = format!("2026-02-03T04:06:{seq:02}.123Z").parse().unwrap();
    let change = Change::parse(&change).unwrap();
    let projected = match backfill {
        None => projection::live(&mapping, &change, exported_at),
        Some(run) => {
            let state = State {
                profile_id: profile,
                merge_policy_id: "default",
                version,
                time: change.time,
                entity: entity.as_deref().unwrap(),
            };
            projection::state(&mapping, &state, &[], &Stamp { run, exported_at })
        }
    };
    let Projected::Export(export) = projected.unwrap() else { panic!("version {version} exports nothing") };
    let life = if seq < 3 { 0 } else { usize::from(seq >= 8) + 1 };
    Exported::read(seq, LIVES[life], &export.partition_key, &export.record)
}

impl Run {
    fn good() -> Self {
        Self {
            history: UPDATES.map(|(id, audience, status, n)| update(id, audience, status, n)).to_vec(),
            phases: vec![Phase { from: 1, mapping: spec(&["a"]) }, Phase { from: 6, mapping: spec(&["a", "b"]) }],
            log: vec![
                export(1, 1, None),
                export(2, 2, None),
                export(3, 2, None), // again, after a crash
                export(4, 5, None),
                export(5, 6, None),
                export(6, 3, Some("one")),
                export(7, 7, None),
                export(8, 7, Some("one")), // again, after a crash, as it is by then
                export(9, 8, None),
            ],
            letters: Vec::new(),
            lives: LIVES.map(|key| vec![key.to_owned()]).to_vec(),
            unanswered: 0,
        }
    }

    fn check(&self, repeats_per_crash: u64) -> Report {
        check(&Given {
            history: &self.history,
            phases: &self.phases,
            log: &self.log,
            dead_letters: &self.letters,
            lives: &self.lives,
            repeats_per_crash,
            unanswered: self.unanswered,
        })
    }

    fn findings(&self) -> Vec<Finding> {
        self.check(1).findings
    }
}

fn profile(id: &str) -> Profile {
    ("default".to_owned(), id.to_owned())
}

#[test]
fn a_good_run_passes_and_is_counted() {
    let report = Run::good().check(1);
    assert_eq!(report.findings, []);
    assert_eq!((report.updates, report.head, report.triggers, report.exports), (8, 9, 6, 9));
    assert_eq!((report.repeats, report.most_repeats, report.members), (2, 1, 1));
}

#[test]
fn a_trigger_without_export_is_lost_unless_a_dead_letter_has_it() {
    let mut run = Run::good();
    run.log.remove(3);
    assert_eq!(run.findings(), [Finding::Lost { profile: profile("p"), version: 5 }]);
    run.letters.push(Letter { profile: profile("p"), version: 5, backfill: false });
    assert_eq!(run.findings(), []);
}

#[test]
fn a_lost_last_trigger_leaves_a_wrong_end() {
    let mut run = Run::good();
    run.log.pop();
    assert_eq!(
        run.findings(),
        [
            Finding::Lost { profile: profile("p"), version: 8 },
            Finding::WrongEnd { profile: profile("p"), last: 5, due: 8 }
        ]
    );
}

#[test]
fn an_older_version_first_told_after_a_newer_is_inverted() {
    let mut run = Run::good();
    run.log[0] = export(1, 2, None);
    run.log[1] = export(2, 1, None);
    assert_eq!(run.findings(), [Finding::Inverted { seq: 2, profile: profile("p"), version: 1, after: 2 }]);
}

#[test]
fn a_backfill_that_passes_a_live_export_is_inverted() {
    let mut run = Run::good();
    run.log[5] = export(6, 7, None);
    run.log[6] = export(7, 3, Some("one"));
    assert_eq!(run.findings(), [Finding::Inverted { seq: 7, profile: profile("q"), version: 3, after: 7 }]);
}

#[test]
fn an_export_of_what_triggers_nothing_is_unfounded() {
    let mut run = Run::good();
    run.log[5].backfill = false;
    assert!(run.findings().contains(&Finding::Unfounded { seq: 6, profile: profile("q"), version: 3 }));
    let mut run = Run::good();
    run.log[0].profile = profile("q");
    assert!(run.findings().contains(&Finding::Unfounded { seq: 1, profile: profile("q"), version: 1 }));
}

#[test]
fn an_export_of_other_bytes_or_under_the_mapping_that_was_not_in_force_is_different() {
    let mut run = Run::good();
    run.log[6].digest = export(7, 8, None).digest;
    run.phases[1].mapping.audiences[1].name = Some("renamed".to_owned());
    let different = |finding: &Finding| matches!(finding, Finding::Different { seq: 5..=8, .. });
    assert_eq!(run.check(1).count(different), 4, "{:?}", run.findings());
    let mut run = Run::good();
    run.log[8].digest = export(9, 5, None).digest;
    assert_eq!(run.findings(), [Finding::Different { seq: 9, profile: profile("p"), version: 8 }]);
}

#[test]
fn a_backfill_of_what_is_no_member_is_caught() {
    let mut run = Run::good();
    // r has left.
    run.log.push(export(10, 6, Some("one")));
    assert_eq!(run.findings(), [Finding::NotAMember { seq: 10, profile: profile("r"), version: 6 }]);
}

#[test]
fn a_member_that_was_never_told_is_caught_unless_a_dead_letter_has_it() {
    let mut run = Run::good();
    run.log.retain(|export| !export.backfill);
    assert_eq!(run.findings(), [Finding::NotBackfilled { profile: profile("q") }]);
    run.letters.push(Letter { profile: profile("q"), version: 3, backfill: true });
    assert_eq!(run.findings(), []);
}

#[test]
fn a_backfill_that_began_anew_is_caught() {
    let mut run = Run::good();
    run.log[7] = export(8, 7, Some("one"));
    run.log.push(export(10, 7, Some("two")));
    assert!(run.check(2).findings.contains(&Finding::BegunAnew { seq: 10, profile: profile("q"), version: 7 }));
}

#[test]
fn repeats_beyond_the_window_or_without_a_crash_are_caught() {
    let mut run = Run::good();
    let too_many = |life| Finding::TooManyRepeats { life, repeats: 1, bound: 0 };
    assert_eq!(run.check(0).findings, [too_many(0), too_many(1)]);
    run.log[2].access_key = LIVES[0].to_owned();
    assert_eq!(run.check(2).findings, [Finding::RepeatedWithoutCrash { seq: 3, profile: profile("p"), version: 2 }]);
    // Its credentials were rotated in between.
    run.log[2].access_key = "rotated".to_owned();
    run.lives[0].push("rotated".to_owned());
    assert_eq!(run.check(2).findings, [Finding::RepeatedWithoutCrash { seq: 3, profile: profile("p"), version: 2 }]);
    run.unanswered = 1;
    assert_eq!(run.check(2).findings, []);
}

#[test]
fn a_dead_letter_of_what_was_never_due_is_caught() {
    let mut run = Run::good();
    run.letters.push(Letter { profile: profile("q"), version: 3, backfill: false });
    run.letters.push(Letter { profile: profile("p"), version: 5, backfill: true });
    let none = |id: &str, version| Finding::NoSuchLetter { profile: profile(id), version };
    assert_eq!(run.findings(), [none("q", 3), none("p", 5)]);
}
