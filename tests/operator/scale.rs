//! Many of both kinds: they settle, cost little while nothing happens, and no more than their bucket while everything does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::operator::is_ready;
use crate::world::{KEY, Operator, World, entry, get, write};

const DESTINATIONS: usize = 20;
const ACTIVATIONS: usize = 300;
/// What is counted is counted for so long.
const MINUTE: Duration = Duration::from_mins(1);

/// The bucket of all status writes: so many at once, and so many a second.
const STATUS_BUCKET: (f64, f64) = (20.0, 2.0);
/// The bucket of all probes, which ask `ListStreams` once each: there are few streams.
const PROBE_BUCKET: (f64, f64) = (5.0, 2.0);

/// The most that a bucket lets through in that time.
fn most((burst, per_second): (f64, f64), time: Duration) -> u64 {
    (burst + per_second * time.as_secs_f64()).ceil() as u64
}

/// The sum of a metric over all its labels.
fn total(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    values.map(|rest| rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum::<f64>() as u64
}

fn status_writes(operator: &mut Operator<'_>) -> u64 {
    total(&operator.metrics(), "activation_status_writes_total")
}

fn items(world: &World<'_>, plural: &str) -> Vec<Value> {
    let list = world.cluster.client().get(world.path(plural, "").trim_end_matches('/')).good();
    list["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_activations_on_twenty_destinations_settle_and_cost_little() {
    let world = World::new().await;
    let mut objects = vec![world.secret(KEY)];
    for number in 0..DESTINATIONS {
        let mut destination = world.destination();
        destination["metadata"]["name"] = json!(format!("events-{number}"));
        objects.push(destination);
    }
    for number in 0..ACTIVATIONS {
        let mut activation = world.activation(&format!("vip-{number}"));
        activation["spec"]["destinationRef"]["name"] = json!(format!("events-{}", number % DESTINATIONS));
        objects.push(activation);
    }
    world.apply(&objects.iter().collect::<Vec<_>>());

    let began = Instant::now();
    let mut operator = world.start(&[]);
    operator.wait_longer("all to settle", || {
        let ready =
            |objects: Vec<Value>, count| objects.len() == count && objects.iter().all(|o| is_ready(&o["status"]));
        let users = |of: &Value| of["status"]["activations"] == ACTIVATIONS / DESTINATIONS;
        let destinations = items(&world, "kinesisdestinations");
        let settled = destinations.iter().all(users) && ready(destinations, DESTINATIONS);
        (settled && ready(items(&world, "audienceactivations"), ACTIVATIONS)).then_some(())
    });
    let (settled, writes) = (began.elapsed(), status_writes(&mut operator));
    let asked = world.stub.stats().requests_by_action["ListStreams"];
    assert!(writes >= (DESTINATIONS + ACTIVATIONS) as u64, "{writes} writes cannot have told of all");
    assert!(writes <= most(STATUS_BUCKET, settled), "{writes} status writes in {settled:?}");
    assert!(asked >= DESTINATIONS as u64 && asked <= most(PROBE_BUCKET, settled), "{asked} probes in {settled:?}");
    let url = operator.url("updates");
    operator.wait_longer("the last counters", || {
        (total(&get(&format!("{url}/metrics")).1, "activation_status_pending") == 0).then_some(())
    });

    let before = (status_writes(&mut operator), world.stub.stats().requests);
    std::thread::sleep(MINUTE);
    let idle = (status_writes(&mut operator) - before.0, world.stub.stats().requests - before.1);
    let idle_memory = operator.resident_mebibytes();
    assert!(idle.0 < 30, "{} status writes in an idle minute", idle.0);
    assert!(idle.1 < 30, "{} calls of AWS in an idle minute", idle.1);

    operator.send(&[entry("p", 0)]);
    operator.until_records(ACTIVATIONS);
    let (before, began) = (status_writes(&mut operator), Instant::now());
    for n in 1.. {
        if began.elapsed() >= MINUTE {
            break;
        }
        operator.send(&[write("p", n)]);
        std::thread::sleep(Duration::from_millis(500));
    }
    let flowing = status_writes(&mut operator) - before;
    assert!(flowing <= most(STATUS_BUCKET, began.elapsed()), "{flowing} status writes in {:?}", began.elapsed());
    println!(
        "{ACTIVATIONS} activations on {DESTINATIONS} destinations: settled in {settled:?} by {writes} status writes and \
         {asked} probes; {} status writes and {} calls of AWS in an idle minute, {flowing} status writes in a minute of \
         flow; {idle_memory} MiB resident idle, {} MiB flowing",
        idle.0,
        idle.1,
        operator.resident_mebibytes(),
    );
    let (code, said) = operator.terminate();
    assert_eq!(code, Some(0), "{said}");
}
