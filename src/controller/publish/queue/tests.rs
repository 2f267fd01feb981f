//! The queue as the writer drives it, on a clock of the tests' own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::api::activation::DataflowStatus;
use crate::api::{AudienceActivationStatus, KinesisDestinationStatus};

mod failures;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Of an activation: `mapped` is what people wait for, `exported` a counter.
fn status(mapped: u32, exported: u64) -> Status {
    let dataflow = Some(DataflowStatus { exported, ..DataflowStatus::default() });
    AudienceActivationStatus { mapped_audiences: Some(mapped), dataflow, ..AudienceActivationStatus::default() }.into()
}

fn exported(status: &Status) -> u64 {
    let Status::Activation(status) = status else { panic!("{status:?}") };
    status.dataflow.as_ref().unwrap().exported
}

fn subject(number: usize) -> Subject {
    Subject {
        about: About::Activation,
        key: ObjectKey::new("shop", format!("a-{number:04}")),
        uid: format!("uid-{number}"),
    }
}

/// What an API server holds, and what it was asked to write.
#[derive(Default)]
struct World {
    queue: Queue,
    now: Duration,
    versions: u64,
    held: BTreeMap<String, (String, Status)>,
    log: Vec<(Duration, Write)>,
}

impl World {
    /// With so many activations that hold what is offered.
    fn settled(objects: usize) -> Self {
        let mut world = Self { now: 1_000 * SECOND, ..Self::default() };
        for number in 0..objects {
            world.hold(&subject(number), status(1, 0));
            world.offer(number, status(1, 0));
        }
        world
    }

    fn hold(&mut self, subject: &Subject, status: Status) {
        self.versions += 1;
        self.held.insert(subject.uid.clone(), (self.versions.to_string(), status));
    }

    fn offer(&mut self, number: usize, status: Status) -> bool {
        let subject = subject(number);
        let (version, held) = self
            .held
            .get(&subject.uid)
            .cloned()
            .map_or_else(|| ("0".to_owned(), None), |(version, held)| (version, Some(held)));
        let overwritten = self.queue.see(&subject, &version, || held, self.now);
        self.queue.offer(&subject, status, self.now) || overwritten
    }

    fn succeed(&mut self, write: &Write) {
        self.hold(&write.subject, write.status.clone());
        let version = self.held[&write.subject.uid].0.clone();
        self.queue.written(write, &version, Some(write.status.clone()), self.now);
    }

    /// Carries out what is due until `until`, each write answered by `answer`.
    fn run(&mut self, until: Duration, mut answer: impl FnMut(&mut Self, &Write)) {
        loop {
            match self.queue.next(self.now) {
                Next::Write(write) => {
                    self.log.push((self.now, write.clone()));
                    answer(self, &write);
                }
                Next::Wait(Some(at)) if at < until => {
                    assert!(at > self.now, "it waits for the past");
                    self.now = at;
                }
                Next::Wait(_) => {
                    self.now = until;
                    return;
                }
            }
        }
    }

    fn run_well(&mut self, until: Duration) {
        self.run(until, Self::succeed);
    }

    /// What is written at once.
    fn write_now(&mut self) -> Option<Write> {
        match self.queue.next(self.now) {
            Next::Write(write) => Some(write),
            Next::Wait(_) => None,
        }
    }

    fn assert_pace(&self) {
        let times: Vec<_> = self.log.iter().map(|(at, _)| *at).collect();
        for (first, begin) in times.iter().enumerate() {
            for (last, end) in times.iter().enumerate().skip(first) {
                let most = 20 + (*end - *begin).as_millis() / 500;
                assert!((last - first + 1) as u128 <= most, "{} writes from {begin:?} to {end:?}", last - first + 1);
            }
        }
    }

    /// How many writes the busiest minute had.
    fn busiest_minute(&self) -> usize {
        let of = |begin: Duration| self.log.iter().filter(|(at, _)| *at >= begin && *at < begin + MINUTE).count();
        self.log.iter().map(|(begin, _)| of(*begin)).max().unwrap_or(0)
    }
}

#[test]
fn a_thousand_objects_that_hold_their_status_cost_nothing() {
    let mut world = World::settled(1_000);
    let hour = world.now + 60 * MINUTE;
    while world.now < hour {
        (0..1_000).for_each(|number| assert!(!world.offer(number, status(1, 0))));
        world.run_well(world.now + MINUTE);
    }
    assert_eq!(world.log, []);
    assert_eq!(world.queue.pending(), 0);
}

#[test]
fn three_hundred_new_activations_settle_at_the_pace_of_the_bucket() {
    let mut world = World { now: 1_000 * SECOND, ..World::default() };
    (0..300).for_each(|number| assert!(world.offer(number, status(1, 0))));
    assert_eq!(world.queue.pending(), 300);
    world.run_well(world.now + 141 * SECOND);
    assert_eq!((world.log.len(), world.queue.pending()), (300, 0));
    world.assert_pace();
}

#[test]
fn counters_of_three_hundred_flowing_activations_slow_down_evenly() {
    let mut world = World::settled(300);
    let begin = world.now;
    for step in 1..=1_200 {
        (0..300).for_each(|number| {
            world.offer(number, status(1, step));
        });
        world.run_well(world.now + SECOND);
    }
    world.assert_pace();
    let mut written = vec![0; 300];
    for (_, write) in &world.log {
        let number = (0..300).find(|number| subject(*number) == write.subject).unwrap();
        written[number] += 1;
    }
    let (least, most) = (written.iter().min().unwrap(), written.iter().max().unwrap());
    assert!(most - least <= 1, "from {least} to {most} writes an object");
    assert!(world.log.len() > 2_200, "only {} writes in {:?}", world.log.len(), world.now - begin);
}

#[test]
fn an_hour_that_ends_on_three_hundred_idle_activations_costs_fewer_than_thirty_writes_a_minute() {
    let mut world = World::settled(300);
    world.now += 55 * MINUTE;
    (0..300).for_each(|number| assert!(world.offer(number, status(1, 1))));
    world.run_well(world.now + 20 * MINUTE);
    assert_eq!((world.log.len(), world.queue.pending()), (300, 0));
    assert!(world.busiest_minute() < 30, "{} writes in a minute", world.busiest_minute());
}

#[test]
fn counters_wait_thirty_seconds_and_conditions_do_not() {
    let mut world = World::settled(1);
    world.offer(0, status(1, 1));
    assert_eq!(world.queue.next(world.now), Next::Wait(Some(world.now + 30 * SECOND)));
    assert!(world.offer(0, status(2, 2)));
    let write = world.write_now().unwrap();
    assert_eq!(write.status, status(2, 2));
    world.now += SECOND;
    world.succeed(&write);
    assert!(world.offer(0, status(2, 3)));
    assert_eq!(world.queue.next(world.now), Next::Wait(Some(world.now + 30 * SECOND)));
}

#[test]
fn material_changes_go_first_and_the_one_that_waits_longest_before_the_others() {
    let mut world = World::settled(30);
    // The bucket is empty afterwards.
    (0..20).for_each(|number| assert!(world.offer(number, status(2, 0))));
    world.run_well(world.now + Duration::from_millis(1));
    world.now += 31 * SECOND;
    world.log.clear();
    for _ in 0..20 {
        assert!(world.queue.bucket.take(world.now));
    }
    (20..24).for_each(|number| assert!(world.offer(number, status(1, 1))));
    for number in [29, 28, 27] {
        world.now += Duration::from_millis(10);
        world.offer(number, status(2, 0));
    }
    // It changes once more, and keeps its place.
    world.offer(29, status(3, 0));
    world.run_well(world.now + 10 * SECOND);
    let order: Vec<_> = world.log.iter().map(|(_, write)| write.subject.clone()).collect();
    assert_eq!(order, [29, 28, 27, 20, 21, 22, 23].map(subject));
    assert_eq!(world.log[0].1.status, status(3, 0));
}

#[test]
fn counters_get_their_share_beside_objects_that_flap_all_the_time() {
    let mut world = World::settled(20);
    world.now += 31 * SECOND;
    for step in 1..1_200_u32 {
        (0..10).for_each(|number| {
            world.offer(number, status(step, 0));
        });
        (10..20).for_each(|number| {
            world.offer(number, status(1, step.into()));
        });
        world.run_well(world.now + Duration::from_millis(250));
    }
    world.assert_pace();
    for number in 0..20 {
        let times = world.log.iter().filter(|(_, write)| write.subject == subject(number)).count();
        assert!(times >= 4, "object {number} was written {times} times in 300 s");
    }
}

#[test]
fn what_is_offered_while_a_write_is_on_its_way_follows_it_even_if_it_is_what_was_there_before() {
    let mut world = World::settled(1);
    world.offer(0, status(2, 0));
    let write = world.write_now().unwrap();
    assert!(!world.offer(0, status(1, 0)), "it is what the object still holds");
    assert_eq!(world.write_now(), None, "one at a time");
    world.succeed(&write);
    let last = world.write_now().unwrap();
    assert_eq!(last.status, status(1, 0));
    world.succeed(&last);
    assert_eq!((world.write_now(), world.queue.pending()), (None, 0));
}

#[test]
fn a_status_that_somebody_else_overwrote_is_written_again_and_our_own_is_not() {
    let mut world = World::settled(1);
    world.offer(0, status(2, 0));
    let write = world.write_now().unwrap();
    // The watch still shows what was there before.
    let before = world.held[&write.subject.uid].clone();
    world.succeed(&write);
    let after = world.held.insert(write.subject.uid.clone(), before).unwrap();
    assert!(!world.offer(0, status(2, 0)));
    world.held.insert(write.subject.uid.clone(), after);
    assert!(!world.offer(0, status(2, 0)));
    // Somebody sets a label, then somebody overwrites.
    world.hold(&write.subject, status(2, 0));
    assert!(!world.offer(0, status(2, 0)));
    world.hold(&write.subject, status(7, 0));
    assert!(world.offer(0, status(2, 0)));
    let again = world.write_now().unwrap();
    assert_eq!(again.status, status(2, 0));
    assert_eq!(again.version, world.held[&write.subject.uid].0);
}

#[test]
fn a_server_that_drops_a_field_is_not_told_it_again_and_again() {
    let mut world = World::settled(1);
    world.offer(0, status(2, 5));
    let write = world.write_now().unwrap();
    world.hold(&write.subject, status(2, 0));
    let version = world.held[&write.subject.uid].0.clone();
    world.queue.written(&write, &version, Some(status(2, 0)), world.now);
    for _ in 0..10 {
        assert!(!world.offer(0, status(2, 5)));
        // Labels are set.
        world.hold(&write.subject, status(2, 0));
    }
    assert_eq!(world.queue.pending(), 0);
}

#[test]
fn an_object_that_was_made_anew_gets_nothing_of_the_old_one() {
    let mut world = World::settled(1);
    world.offer(0, status(2, 0));
    let old = world.write_now().unwrap();
    let new = Subject { uid: "another".to_owned(), ..old.subject.clone() };
    world.queue.see(&new, "900", || None, world.now);
    // The answer to the old write changes nothing about the new object.
    world.queue.failed(&old, Failure::Gone, world.now);
    world.queue.written(&old, "901", Some(old.status.clone()), world.now);
    assert!(!world.queue.offer(&old.subject, status(3, 0), world.now));
    assert_eq!((world.queue.pending(), world.write_now()), (0, None));
    assert!(world.queue.offer(&new, status(1, 0), world.now));
    let write = world.write_now().unwrap();
    assert_eq!((write.subject, write.version.as_str(), write.status), (new, "900", status(1, 0)));
}

#[test]
fn what_is_forgotten_takes_no_room() {
    let mut world = World::settled(3);
    world.offer(1, status(2, 0));
    world.queue.forget(About::Activation, &subject(1).key);
    assert_eq!((world.queue.objects.len(), world.queue.pending(), world.write_now()), (2, 0, None));
}

#[test]
fn the_last_statuses_wait_for_nothing_but_the_pace() {
    let mut world = World::settled(22);
    world.offer(0, status(2, 0));
    let write = world.write_now().unwrap();
    world.queue.failed(&write, Failure::Refused, world.now);
    (1..22).for_each(|number| assert!(world.offer(number, status(1, 1))));
    assert_eq!(world.write_now(), None);
    world.queue.flush();
    world.run_well(world.now + 2 * SECOND);
    assert_eq!((world.log.len(), world.queue.pending()), (22, 0));
    assert_eq!(world.log[0].1.subject, subject(0));
}

#[test]
fn both_kinds_of_one_name_are_two_objects() {
    let mut world = World::settled(1);
    let other = Subject { about: About::Destination, ..subject(0) };
    let theirs = Status::from(KinesisDestinationStatus { activations: Some(1), ..Default::default() });
    world.queue.see(&other, "5", || None, world.now);
    assert!(world.queue.offer(&other, theirs.clone(), world.now));
    let write = world.write_now().unwrap();
    assert_eq!((write.subject, write.status), (other, theirs));
    assert_eq!(world.write_now(), None);
}

/// What happens to an object, and how its writes fare.
#[derive(Debug, Clone)]
enum Act {
    Offer { object: usize, mapped: u32, exported: u64 },
    Pass { millis: u64, failure: Option<Failure> },
}

fn act() -> impl Strategy<Value = Act> {
    let failure = prop::sample::select(vec![
        None,
        None,
        None,
        Some(Failure::Refused),
        Some(Failure::Unreachable),
        Some(Failure::Forbidden),
        Some(Failure::Changed { version: "1".to_owned() }),
    ]);
    prop_oneof![
        4 => (0..40_usize, 0..3_u32, 0..50_u64).prop_map(|(object, mapped, exported)| Act::Offer { object, mapped, exported }),
        1 => (1..40_000_u64, failure).prop_map(|(millis, failure)| Act::Pass { millis, failure }),
    ]
}

proptest! {
    #[test]
    fn the_pace_is_kept_counters_wait_and_the_newest_wins(acts in prop::collection::vec(act(), 1..300)) {
        let mut world = World::settled(40);
        let begin = world.now;
        let mut newest = BTreeMap::new();
        // What each object was last told, and when.
        let mut told: BTreeMap<String, (Duration, Status)> =
            world.held.iter().map(|(uid, (_, status))| (uid.clone(), (begin, status.clone()))).collect();
        for act in acts {
            match act {
                Act::Offer { object, mapped, exported } => {
                    world.offer(object, status(mapped, exported));
                    newest.insert(subject(object).uid, status(mapped, exported));
                }
                Act::Pass { millis, failure } => {
                    let until = world.now + Duration::from_millis(millis);
                    world.run(until, |world, write| {
                        let before = &told[&write.subject.uid];
                        assert_eq!(Some(&write.status), newest.get(&write.subject.uid), "not the newest");
                        if write.status.news(Some(&before.1)) == Change::Counters {
                            assert!(world.now - before.0 >= 30 * SECOND, "counters of {:?} again", write.subject);
                        }
                        match &failure {
                            Some(failure) => {
                                world.queue.failed(write, failure.clone(), world.now);
                            }
                            None => {
                                told.insert(write.subject.uid.clone(), (world.now, write.status.clone()));
                                world.succeed(write);
                            }
                        }
                    });
                }
            }
        }
        world.run_well(world.now + 60 * MINUTE);
        world.assert_pace();
        prop_assert_eq!(world.queue.pending(), 0);
        for (uid, status) in newest {
            prop_assert_eq!(&world.held[&uid].1, &status);
        }
    }
}

#[test]
fn the_status_of_a_flowing_activation_tells_its_newest_counters() {
    let mut world = World::settled(1);
    for step in 1..=90 {
        world.offer(0, status(1, step));
        world.run_well(world.now + SECOND);
    }
    let told: Vec<_> = world.log.iter().map(|(_, write)| exported(&write.status)).collect();
    assert_eq!(told, [31, 61]);
}
