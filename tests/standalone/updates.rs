//! `--updates` and `--until-idle`: a file, a pipe, and a run that ends by itself.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::operator::{Ended, Operator, ndjson};
use crate::world::{World, activation, entry, write};

fn run(world: &World, updates: &str) -> Ended {
    Operator::spawn(&world.place, &["--updates", updates, "--until-idle"], Stdio::null()).ended()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_taken_up_once_and_the_run_ends_by_itself_with_a_summary() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let lines = ndjson(&[entry("p", "a", 1), write("p", 2)]) + "\nno update\n" + &ndjson(&[write("p", 3)]);
    world.place.write("updates.ndjson", &lines);
    let ended = run(&world, "updates.ndjson");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(world.told("p"), [1, 2, 3]);
    assert!(ended.stdout.contains("updates in: 3 taken up, 1 refused\n"), "{ended:?}");
    assert!(ended.stdout.contains("marketing/vip: 3 exported in all"), "{ended:?}");
    assert!(ended.stderr.contains("\nupdates.ndjson: line 4: not valid JSON"), "{ended:?}");

    let again = run(&world, "updates.ndjson");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("updates in: 0 taken up, 0 refused\n"), "{again:?}");
    // More lines at its end are taken up, by their own numbers.
    world.place.write("updates.ndjson", &(lines + "[]\n" + &ndjson(&[write("p", 4)])));
    let more = run(&world, "updates.ndjson");
    assert!(more.stdout.contains("updates in: 1 taken up, 1 refused\n"), "{more:?}");
    assert!(more.stderr.contains("updates.ndjson: line 6: "), "{more:?}");
    assert_eq!(world.told("p"), [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_exported_before_a_run_until_idle_ends() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let members: Vec<_> = (0..2000).map(|n| entry(&format!("p{n}"), "b", n)).collect();
    world.place.write("updates.ndjson", &ndjson(&members));
    assert_eq!(run(&world, "updates.ndjson").code, Some(0));
    assert_eq!(world.records().len(), 0);
    world.activate("vip", &["a", "b"], "");
    let ended = run(&world, "updates.ndjson");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("backfill 2000;") && ended.stdout.contains("backfill=100%"), "{ended:?}");
    assert_eq!(world.records().len(), 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_come_from_a_pipe_and_its_end_ends_the_run() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = Operator::spawn(&world.place, &["--updates", "-", "--until-idle"], Stdio::piped());
    let mut pipe = operator.stdin();
    pipe.write_all(ndjson(&[entry("p", "a", 1)]).as_bytes()).unwrap();
    world.until_records(&mut operator, 1);
    // Idle for now, but the pipe is open: it does not end.
    pipe.write_all((ndjson(&[write("p", 2)]) + "nonsense\n").as_bytes()).unwrap();
    world.until_records(&mut operator, 2);
    drop(pipe);
    let ended = operator.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("updates in: 2 taken up, 1 refused\n"), "{ended:?}");
    assert!(ended.stderr.contains("\nstandard input: line 3: not valid JSON"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_though_nobody_closes_standard_input() {
    let world = World::new().await;
    world.activate("vip", &["a"], "");
    let mut operator = Operator::spawn(&world.place, &["--updates", "-"], Stdio::piped());
    let mut pipe = operator.stdin();
    pipe.write_all(ndjson(&[entry("p", "a", 1)]).as_bytes()).unwrap();
    world.until_records(&mut operator, 1);
    let ended = operator.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("updates in: 1 taken up, 0 refused\n"), "{ended:?}");
    drop(pipe);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_did_not_do_what_was_declared_does_not_end_well() {
    let world = World::new().await;
    world.place.write("updates.ndjson", &ndjson(&[entry("p", "a", 1)]));
    // A manifest that is refused.
    world.activate("vip", &["a"], "");
    world.place.declare("typo.yaml", &activation("other", &["a"], "  supend: true\n"));
    let ended = run(&world, "updates.ndjson");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("manifests: 1 refused, see the log for what to mend\n"), "{ended:?}");
    assert!(ended.stderr.contains("AudienceActivation marketing/other: spec.supend: unknown field"), "{ended:?}");
    assert_eq!(world.told("p"), [1], "the others went on");
    // An activation without its destination.
    world.place.withdraw("typo.yaml");
    world.place.withdraw("destination.yaml");
    let ended = run(&world, "updates.ndjson");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("marketing/vip: not ready: DestinationNotFound: "), "{ended:?}");
    // Nothing to run at all is no failure, but is told.
    world.place.withdraw("vip.yaml");
    let ended = run(&world, "updates.ndjson");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("there is no AudienceActivation among the manifests"), "{ended:?}");
}
