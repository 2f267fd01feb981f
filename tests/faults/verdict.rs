//! Effects: what is found when a scene is over: the program's store and the stream's log are read, and the checker judges.

use activation_operator::dataflow::dead_letters::{self, DeadLetter};
use activation_operator::dataflow::state;
use activation_operator::export::MappingSpec;
use activation_operator::store::Store;

use crate::checker::{self, Exported, Finding, Given, Letter, Phase};
use crate::load::producer::History;
use crate::scene::{Activation, Scene, WARM, WINDOW};

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) updates: u64,
    pub(crate) per_second: u64,
    pub(crate) exports: u64,
    pub(crate) lost: u64,
    pub(crate) inverted: u64,
    pub(crate) repeated: u64,
    pub(crate) dead_letters: u64,
}

/// What a run is allowed to come to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowed {
    /// Records that may have been exported again without a crash, beside those that the stream says it did not answer.
    pub(crate) repeats: u64,
    /// Whether records may have become dead letters.
    pub(crate) dead_letters: bool,
}

impl Scene {
    /// What the checker says of each activation, all in all.
    pub(crate) fn judge(&self, history: &History, allowed: Allowed) -> Tally {
        let mut tally = Self::tally(history);
        for found in self.findings(history, allowed) {
            let letters = found.letters;
            assert!(found.report.findings.is_empty(), "{}", found.report);
            assert!(allowed.dead_letters || letters == 0, "{letters} dead letters");
            assert_eq!(letters, found.counted, "every dead letter that was counted is there");
            assert_eq!(
                found.report.head, history.head,
                "nothing was taken up twice, and nothing that was not answered"
            );
            found.add_to(&mut tally);
        }
        tally
    }

    /// What a run is told by, before anything is found.
    pub(crate) fn tally(history: &History) -> Tally {
        let updates = history.lines.len() as u64;
        Tally { updates, per_second: (updates as f64 / history.lasted.as_secs_f64()) as u64, ..Tally::default() }
    }

    /// What the checker finds of each activation.
    pub(crate) fn findings(&self, history: &History, allowed: Allowed) -> Vec<Found> {
        let store = Store::open(&self.data, 8 << 20).unwrap();
        assert_eq!(store.head().unwrap().next, history.head);
        let find = |activation: &Activation| {
            let exports = checker::read_log(&self.log(), activation.stream);
            let letters = left(&store, activation.name).into_iter().map(Letter::from).collect::<Vec<_>>();
            let found = self.find(&store, activation, history, (&exports, &letters), allowed);
            println!("{}: {found:?}", activation.name);
            found
        };
        self.activations.iter().map(find).collect()
    }

    /// What the checker finds of one activation, with these exports and dead letters.
    pub(crate) fn find(
        &self,
        store: &Store,
        activation: &Activation,
        history: &History,
        (log, dead_letters): (&[Exported], &[Letter]),
        allowed: Allowed,
    ) -> Found {
        let name = format!("marketing/{}", activation.name);
        let checkpoint = state::load(store, &name).unwrap().unwrap();
        let mapping = state::load_mapping(store, &name).unwrap().unwrap();
        // Each mapping begins where the audience that it adds does.
        let phase = |count: usize| {
            let known = &activation.audiences[..count];
            let audiences = mapping.audiences.iter().filter(|audience| known.contains(&audience.id.as_str()));
            let added = checkpoint.backfills.iter().find(|backfill| backfill.id == known[count - 1]).unwrap();
            Phase {
                from: added.mapped_at,
                mapping: MappingSpec { audiences: audiences.cloned().collect(), ..mapping.clone() },
            }
        };
        let phases: Vec<Phase> = (1..=activation.audiences.len()).map(phase).collect();
        let report = checker::check(&Given {
            history: &history.lines,
            phases: &phases,
            log,
            dead_letters,
            lives: &self.lives,
            repeats_per_crash: WINDOW,
            unanswered: self.stats().records_unanswered + allowed.repeats,
        });
        assert!(report.updates > 0 && report.exports > WARM, "the run was too tame: {report:?}");
        Found { report, letters: dead_letters.len() as u64, counted: checkpoint.next_dead_letter - 1 }
    }
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            backfill: letter.triggers.iter().any(|trigger| trigger == "backfill"),
            profile: (letter.merge_policy_id, letter.profile_id),
            version: letter.version,
        }
    }
}

/// The dead letters that are left of an activation.
pub(crate) fn left(store: &Store, activation: &str) -> Vec<DeadLetter> {
    dead_letters::list(store, &format!("marketing/{activation}"), 0, usize::MAX).unwrap()
}

/// What was found of one activation.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) report: checker::Report,
    pub(crate) letters: u64,
    /// Dead letters that there ever were.
    pub(crate) counted: u64,
}

impl Found {
    pub(crate) fn add_to(&self, tally: &mut Tally) {
        tally.exports += self.report.exports;
        tally.lost += self.report.count(|finding| {
            matches!(finding, Finding::Lost { .. } | Finding::NotBackfilled { .. } | Finding::WrongEnd { .. })
        }) as u64;
        tally.inverted += self.report.count(|finding| matches!(finding, Finding::Inverted { .. })) as u64;
        tally.repeated += self.report.repeats;
        tally.dead_letters += self.letters;
    }
}
