//! Pure decisions: the checker. From what producers were told is accepted, and what the stream holds, to what is wrong with it.
//!
//! It recomputes every export with the domain's own functions, which the cases hold, and knows nothing of how records were
//! delivered. Whoever tests delivery (kills, faults, outages) asks it at the end:
//!
//! ```ignore
//! #[path = "support/checker.rs"]
//! mod checker;
//!
//! let report = checker::check(&Given { history: &lines, phases: &phases, … });
//! assert!(report.findings.is_empty(), "{report}");
//! ```
//!
//! What it asks of a run: records hold `_activation`; nothing was resynced, and no dead letter sent again or dropped.

#![allow(dead_code, reason = "every test is a crate of its own and uses its part of this")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use activation_operator::export::MappingSpec;

#[path = "checker/expected.rs"]
mod expected;
#[path = "checker/exported.rs"]
mod exported;
#[cfg(test)]
#[path = "checker/tests.rs"]
mod tests;

pub(crate) use exported::{Exported, read_log};

use expected::Expected;

/// A profile: merge policy and profile id.
pub(crate) type Profile = (String, String);

/// What happened.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// Every accepted update, in the order of their positions.
    pub(crate) history: &'a [String],
    /// The mappings that were in force, the first one first.
    pub(crate) phases: &'a [Phase],
    /// What the stream holds, in the order of commits.
    pub(crate) log: &'a [Exported],
    /// The dead letters that are left.
    pub(crate) dead_letters: &'a [Letter],
    /// The lives of the program, in their order, by the access keys that each put its records with: a request can reach the
    /// stream after its sender was killed.
    pub(crate) lives: &'a [Vec<String>],
    /// How many records one crash may have exported again, in whichever life after it.
    pub(crate) repeats_per_crash: u64,
    /// How many records may have been exported again without a crash: those that the stream took, and whose requests it did not
    /// answer in time.
    pub(crate) unanswered: u64,
}

/// A mapping, and from which position on it is in force. Members of the audiences that it adds are to be told (a backfill).
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    pub(crate) from: u64,
    pub(crate) mapping: MappingSpec,
}

/// A dead letter, as far as it tells which export it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) profile: Profile,
    pub(crate) version: u64,
    pub(crate) backfill: bool,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A trigger with neither export nor dead letter.
    Lost { profile: Profile, version: u64 },
    /// A first-time export of an older version after that of a newer.
    Inverted { seq: u64, profile: Profile, version: u64, after: u64 },
    /// A live export of what triggers nothing.
    Unfounded { seq: u64, profile: Profile, version: u64 },
    /// A backfill export of what was no member, or no state of the profile.
    NotAMember { seq: u64, profile: Profile, version: u64 },
    /// An export whose bytes or partition key are others than they should be.
    Different { seq: u64, profile: Profile, version: u64 },
    /// A state that was told by more backfills than there are: one began anew instead of going on.
    BegunAnew { seq: u64, profile: Profile, version: u64 },
    /// A member of an added audience that was never told.
    NotBackfilled { profile: Profile },
    /// The last export of a profile is older than its last trigger.
    WrongEnd { profile: Profile, last: u64, due: u64 },
    /// More of what a life exported was exported again than the window allows; life 0 is the one before the first crash.
    TooManyRepeats { life: usize, repeats: u64, bound: u64 },
    /// Something was exported again though no crash lies between, and every request was answered.
    RepeatedWithoutCrash { seq: u64, profile: Profile, version: u64 },
    /// A dead letter that stands for no export.
    NoSuchLetter { profile: Profile, version: u64 },
}

/// What was found, and how much there was to find it in.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Accepted updates.
    pub(crate) updates: u64,
    /// The position behind the last change.
    pub(crate) head: u64,
    /// Changes that trigger.
    pub(crate) triggers: u64,
    /// Records in the stream.
    pub(crate) exports: u64,
    /// Records that were there before, the backfill's second telling of one profile included.
    pub(crate) repeats: u64,
    /// The most of them that one crash caused.
    pub(crate) most_repeats: u64,
    /// Members of added audiences that had to be told.
    pub(crate) members: u64,
    /// Everything that must not be.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of a kind.
    pub(crate) fn count(&self, of: impl Fn(&Finding) -> bool) -> usize {
        self.findings.iter().filter(|finding| of(finding)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} findings in {} exports; the first:", self.findings.len(), self.exports)?;
        self.findings.iter().take(20).try_for_each(|finding| writeln!(f, "  {finding:?}"))
    }
}

/// Judges a run.
pub(crate) fn check(given: &Given<'_>) -> Report {
    let states: HashSet<u64> = (given.log.iter().filter(|told| told.backfill).map(|told| told.version))
        .chain(given.dead_letters.iter().filter(|letter| letter.backfill).map(|letter| letter.version))
        .collect();
    let expected = expected::replay(given.history, given.phases, &states);
    let mut report = Report {
        updates: given.history.len() as u64,
        head: expected.head,
        triggers: expected.triggers.len() as u64,
        exports: given.log.len() as u64,
        members: expected.members.len() as u64,
        ..Report::default()
    };
    let told = read(given, &expected, &mut report);
    let dead = bury(given, &expected, &mut report);
    missing(&expected, &told, &dead, &mut report);
    report
}

/// What the stream tells, once through.
#[derive(Default)]
struct Told {
    /// By version: the life that told it last.
    live: HashMap<u64, usize>,
    backfill: HashMap<Profile, Tellings>,
    /// The version of the last first-time export.
    last: HashMap<Profile, u64>,
}

/// What backfills told of one profile.
#[derive(Default)]
struct Tellings {
    /// The versions, each with its export ids.
    versions: BTreeMap<u64, BTreeSet<String>>,
    /// The life that told it last.
    life: usize,
}

fn read(given: &Given<'_>, expected: &Expected, report: &mut Report) -> Told {
    let mut told = Told::default();
    let mut repeats = vec![0_u64; given.lives.len()];
    let mut unprompted = 0;
    let lives: HashMap<&str, usize> = (given.lives.iter().zip(0..))
        .flat_map(|(keys, life)| keys.iter().map(move |key| (key.as_str(), life)))
        .collect();
    for export in given.log {
        judge(export, expected, &mut report.findings);
        let Exported { seq, version, ref profile, .. } = *export;
        let life = lives[export.access_key.as_str()];
        let (known, before) = told.add(export, life, expected.backfills, &mut report.findings);
        if let Some(before) = before {
            // What a life exported and did not come to write down is exported again: by the next, or, where that comes to less,
            // by a later one.
            if before == life {
                unprompted += 1;
                if unprompted > given.unanswered {
                    report.findings.push(Finding::RepeatedWithoutCrash { seq, profile: profile.clone(), version });
                }
            } else {
                repeats[before.min(life)] += 1;
            }
        }
        if !known {
            let last = told.last.entry(profile.clone()).or_insert(version);
            if version < *last {
                let (profile, after) = (profile.clone(), *last);
                report.findings.push(Finding::Inverted { seq, profile, version, after });
            }
            *last = version;
        }
    }
    report.repeats = repeats.iter().sum::<u64>() + unprompted;
    report.most_repeats = repeats.iter().copied().max().unwrap_or_default();
    for (life, repeats) in repeats.into_iter().enumerate() {
        let bound = given.repeats_per_crash;
        if repeats > bound {
            report.findings.push(Finding::TooManyRepeats { life, repeats, bound });
        }
    }
    told
}

/// Whether that export should be, and be so.
fn judge(export: &Exported, expected: &Expected, findings: &mut Vec<Finding>) {
    let Exported { seq, version, ref profile, backfill, digest, .. } = *export;
    let place = profile.clone();
    if backfill {
        if !expected.is_member(profile, version) {
            findings.push(Finding::NotAMember { seq, profile: place, version });
        } else if !expected.may_backfill(profile, version, digest) {
            findings.push(Finding::Different { seq, profile: place, version });
        }
        return;
    }
    match expected.triggers.get(&version).filter(|trigger| trigger.profile == *profile) {
        None => findings.push(Finding::Unfounded { seq, profile: place, version }),
        Some(trigger) if trigger.digest != digest => findings.push(Finding::Different { seq, profile: place, version }),
        Some(_) => {}
    }
}

impl Told {
    /// Whether just this export was there before; and the life that told the same before, be it, by a backfill, as another
    /// version of the profile.
    fn add(
        &mut self,
        export: &Exported,
        life: usize,
        backfills: usize,
        findings: &mut Vec<Finding>,
    ) -> (bool, Option<usize>) {
        let Exported { seq, version, ref profile, backfill, ref export_id, .. } = *export;
        if !backfill {
            let before = self.live.insert(version, life);
            return (before.is_some(), before);
        }
        let tellings = self.backfill.entry(profile.clone()).or_default();
        let before = std::mem::replace(&mut tellings.life, life);
        let ids = tellings.versions.entry(version).or_default();
        let known = !ids.insert(export_id.clone());
        if ids.len() > backfills {
            findings.push(Finding::BegunAnew { seq, profile: profile.clone(), version });
        }
        let told: usize = tellings.versions.values().map(BTreeSet::len).sum();
        (known, (known || told > backfills).then_some(before))
    }
}

/// What the dead letters account for.
struct Dead {
    live: BTreeSet<u64>,
    members: HashSet<Profile>,
}

fn bury(given: &Given<'_>, expected: &Expected, report: &mut Report) -> Dead {
    let mut dead = Dead { live: BTreeSet::new(), members: HashSet::new() };
    for Letter { profile, version, backfill } in given.dead_letters {
        let stands = if *backfill {
            dead.members.insert(profile.clone());
            expected.is_member(profile, *version)
        } else {
            dead.live.insert(*version);
            expected.triggers.get(version).is_some_and(|trigger| trigger.profile == *profile)
        };
        if !stands {
            report.findings.push(Finding::NoSuchLetter { profile: profile.clone(), version: *version });
        }
    }
    dead
}

/// What should be there and is not.
fn missing(expected: &Expected, told: &Told, dead: &Dead, report: &mut Report) {
    let mut due: BTreeMap<&Profile, u64> = BTreeMap::new();
    for (version, trigger) in &expected.triggers {
        let buried = dead.live.contains(version);
        if !buried {
            due.insert(&trigger.profile, *version);
            if !told.live.contains_key(version) {
                report.findings.push(Finding::Lost { profile: trigger.profile.clone(), version: *version });
            }
        }
    }
    for (profile, due) in due {
        if let Some(last) = told.last.get(profile).copied().filter(|last| *last < due) {
            report.findings.push(Finding::WrongEnd { profile: profile.clone(), last, due });
        }
    }
    for profile in &expected.members {
        if !told.backfill.contains_key(profile) && !dead.members.contains(profile) {
            report.findings.push(Finding::NotBackfilled { profile: profile.clone() });
        }
    }
}
