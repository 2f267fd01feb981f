//! Writes that fail.

use super::*;

#[test]
fn an_object_that_fails_waits_twice_as_long_each_time_and_holds_up_no_other() {
    let mut world = World::settled(2);
    world.offer(0, status(2, 0));
    world.offer(1, status(2, 0));
    world.run(world.now + 20 * MINUTE, |world, write| {
        if write.subject == subject(0) {
            assert!(world.queue.failed(write, Failure::Refused, world.now));
        } else {
            world.succeed(write);
        }
    });
    let tries: Vec<_> =
        world.log.iter().filter(|(_, write)| write.subject == subject(0)).map(|(at, _)| at.as_secs()).collect();
    let waits: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!(world.queue.pending(), 1);
    // The newest goes out with the next try.
    world.offer(0, status(3, 0));
    world.run_well(world.now + 5 * MINUTE);
    assert_eq!(world.log.last().unwrap().1.status, status(3, 0));
    assert_eq!(world.queue.pending(), 0);
}

#[test]
fn a_version_that_is_behind_is_mended_at_once_and_one_that_always_is_backs_off() {
    let mut world = World::settled(1);
    world.offer(0, status(2, 0));
    let version = |number: usize| (700 + number).to_string();
    let mut tries = 0;
    world.run(world.now + 10 * SECOND, |world, write| {
        if tries > 0 {
            assert_eq!(write.version, version(tries - 1));
        }
        assert!(world.queue.failed(write, Failure::Changed { version: version(tries) }, world.now));
        tries += 1;
    });
    let at: Vec<_> = world.log.iter().map(|(at, _)| at.as_secs() - 1_000).collect();
    assert_eq!(at, [0, 0, 1, 3, 7]);
}

#[test]
fn a_missing_role_is_told_once_a_namespace_and_tried_again_slowly() {
    let mut world = World::settled(3);
    (0..3).for_each(|number| assert!(world.offer(number, status(2, 0))));
    let mut told = 0;
    world.run(world.now + 30 * SECOND, |world, write| {
        told += usize::from(world.queue.failed(write, Failure::Forbidden, world.now));
    });
    assert_eq!((world.log.len(), told), (3, 1));
    world.run_well(world.now + MINUTE);
    assert_eq!((world.log.len(), world.queue.pending()), (6, 0));
    // Were it taken away again, it would be told again.
    world.offer(0, status(3, 0));
    let write = world.write_now().unwrap();
    assert!(world.queue.failed(&write, Failure::Forbidden, world.now));
}

#[test]
fn a_server_that_is_away_is_asked_now_and_then_and_gets_the_newest_of_all_when_it_is_back() {
    let mut world = World::settled(100);
    (0..100).for_each(|number| assert!(world.offer(number, status(2, 0))));
    let mut told = 0;
    world.run(world.now + 5 * MINUTE, |world, write| {
        told += usize::from(world.queue.failed(write, Failure::Unreachable, world.now));
    });
    assert_eq!(told, 1);
    assert!(world.queue.is_cut_off());
    assert!((30..40).contains(&world.log.len()), "{} tries in five minutes", world.log.len());
    (0..100).for_each(|number| assert!(!world.offer(number, status(3, 0))));
    world.log.clear();
    world.run_well(world.now + MINUTE);
    assert_eq!((world.log.len(), world.queue.pending()), (100, 0));
    assert!(world.log.iter().all(|(_, write)| write.status == status(3, 0)));
    world.assert_pace();
}

#[test]
fn an_object_that_is_gone_is_not_waited_for() {
    let mut world = World::settled(1);
    world.offer(0, status(2, 0));
    let write = world.write_now().unwrap();
    world.queue.failed(&write, Failure::Gone, world.now);
    world.offer(0, status(3, 0));
    assert_eq!(world.queue.pending(), 0);
    assert_eq!(world.write_now(), None);
}
