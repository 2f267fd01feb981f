//! The hub taking up updates, each answered once it is durable, beside the bare store doing the same writes as durably.

use std::time::Duration;

use activation_operator::hub::Hub;
use activation_operator::hub::ingest::Request;
use activation_operator::store::Store;
use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use tokio::task::JoinSet;

use crate::machine::Stopwatch;
use crate::report::{Mark, Report, Spread, thousands};
use crate::{Arguments, corpus, folder, runtime};

/// Updates per second that are to be reached.
const WANTED: f64 = 30_000.0;
/// Updates of one request.
pub(crate) const REQUEST: u64 = 500;
/// Requests that wait for their answer at the same time.
const IN_FLIGHT: usize = 8;
/// What a group of the hub holds where eight requests are in flight: half of them are merged while half are written.
const GROUP: u64 = REQUEST * IN_FLIGHT as u64 / 2;
/// As the program opens its store.
const CACHE_BYTES: u64 = 128 << 20;
/// Different values of the bare store.
const POOL: u64 = 2_000;
/// What the hub puts before an entity and a change.
const HEADER: usize = 16;

/// What one round took.
struct Round {
    updates: u64,
    wall: Duration,
    processor: Duration,
}

impl Round {
    fn per_second(&self) -> f64 {
        self.updates as f64 / self.wall.as_secs_f64()
    }

    fn per_core(&self) -> f64 {
        self.updates as f64 / self.processor.as_secs_f64()
    }
}

pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    let profiles = arguments.updates;
    let births = requests(profiles, corpus::birth);
    let updates = requests(profiles, |out, profile| corpus::update(out, profile, 1));
    let bytes: usize = updates.iter().map(Bytes::len).sum();
    let pool = Pool::new();

    let (mut hub, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..arguments.ingest_rounds {
        hub.push(runtime().block_on(ingest(&births, &updates, profiles)));
        bare.push(pool.write(profiles));
    }

    let rate = Spread::of(hub.iter().map(Round::per_second));
    let share = Spread::of(hub.iter().zip(&bare).map(|(hub, bare)| hub.per_second() / bare.per_second()));
    let row = |name: &str, rounds: &[Round]| {
        vec![
            name.to_owned(),
            Spread::of(rounds.iter().map(Round::per_second)).rate(),
            Spread::of(rounds.iter().map(Round::per_core)).rate(),
        ]
    };
    report.section(
        "Ingest",
        format!(
            "{} updates of {} bytes, each of another of as many profiles that are there ({} bytes afterwards), in requests of \
             {REQUEST}, {IN_FLIGHT} in flight; an answer comes after fdatasync. {} rounds, taking turns on fresh stores: median \
             (least–most). Bare store: fjall writing the same profiles and changes ({} bytes), {GROUP} a batch, as durably; it \
             reads, parses and merges nothing.",
            thousands(profiles as f64),
            thousands(bytes as f64 / profiles as f64),
            thousands(pool.mean(|applied| applied.0.len())),
            arguments.ingest_rounds,
            thousands(pool.mean(|applied| applied.1.len())),
        ),
        vec!["", "updates/s", "updates/s per core"],
        vec![row("hub", &hub), row("bare store", &bare), vec!["share".to_owned(), share.percent(), String::new()]],
    );
    report.mark(Mark {
        what: "ingest with fsync, updates/s",
        wanted: format!("≥ {}", thousands(WANTED)),
        found: rate.rate(),
        met: rate.median >= WANTED,
    });
}

/// Bodies of [`REQUEST`] lines, one of each profile, the profiles in an order that is not theirs.
pub(crate) fn requests(profiles: u64, line: impl Fn(&mut Vec<u8>, u64)) -> Vec<Bytes> {
    (0..profiles.div_ceil(REQUEST))
        .map(|request| {
            let mut body = Vec::new();
            for number in request * REQUEST..((request + 1) * REQUEST).min(profiles) {
                line(&mut body, scattered(number, profiles));
            }
            Bytes::from(body)
        })
        .collect()
}

/// Each number below `profiles` once, far from its neighbours.
fn scattered(number: u64, profiles: u64) -> u64 {
    // A prime that no sensible number of profiles is a multiple of.
    number * 7_368_787 % profiles
}

async fn ingest(births: &[Bytes], updates: &[Bytes], profiles: u64) -> Round {
    let folder = folder();
    let (hub, writer) = Hub::start(Store::open(folder.path(), CACHE_BYTES).unwrap()).unwrap();
    take_up(&hub, births).await;
    let watch = Stopwatch::start();
    take_up(&hub, updates).await;
    let round = Round { updates: profiles, wall: watch.wall(), processor: watch.processor() };
    assert_eq!(*hub.head().borrow(), 2 * profiles + 1, "every update is a change");
    drop(hub);
    tokio::task::spawn_blocking(move || writer.join()).await.unwrap().unwrap();
    round
}

/// Sends all bodies and waits for every answer.
pub(crate) async fn take_up(hub: &Hub, bodies: &[Bytes]) {
    let mut in_flight = JoinSet::new();
    let mut bodies = bodies.iter();
    loop {
        while in_flight.len() < IN_FLIGHT
            && let Some(body) = bodies.next()
        {
            let (hub, request) = (hub.clone(), Request { body: body.clone(), ..Request::default() });
            in_flight.spawn(async move { hub.ingest(request).await });
        }
        let Some(answer) = in_flight.join_next().await else { break };
        assert_eq!(answer.unwrap().unwrap().rejected_count, 0);
    }
}

/// Entities and changes as the hub makes them.
struct Pool(Vec<(Vec<u8>, Vec<u8>)>);

impl Pool {
    fn new() -> Self {
        let now = jiff::Timestamp::now();
        let applied = (0..POOL).map(|profile| {
            let applied = corpus::applied(profile, 1, profile, now);
            ([vec![0; HEADER], applied.entity].concat(), [vec![0; HEADER], applied.change].concat())
        });
        Self(applied.collect())
    }

    fn mean(&self, size: impl Fn(&(Vec<u8>, Vec<u8>)) -> usize) -> f64 {
        self.0.iter().map(size).sum::<usize>() as f64 / self.0.len() as f64
    }

    fn write(&self, profiles: u64) -> Round {
        let folder = folder();
        let db = Database::builder(folder.path()).cache_size(CACHE_BYTES).open().unwrap();
        let keyspace = |name: &str| db.keyspace(name, KeyspaceCreateOptions::default).unwrap();
        let (entities, log, meta) = (keyspace("profiles"), keyspace("log"), keyspace("meta"));
        let fill = |from: u64| {
            for group in 0..profiles.div_ceil(GROUP) {
                let mut batch = db.batch().durability(Some(PersistMode::SyncData));
                for number in group * GROUP..((group + 1) * GROUP).min(profiles) {
                    let profile = scattered(number, profiles);
                    let (entity, change) = &self.0[(profile % POOL) as usize];
                    let key = format!("\0\x07default{}", corpus::profile_id(profile));
                    batch.insert(&entities, key, entity.as_slice());
                    batch.insert(&log, (from + number).to_be_bytes(), change.as_slice());
                }
                batch.insert(&meta, "head", [0; 24]);
                batch.commit().unwrap();
            }
        };
        fill(0);
        let watch = Stopwatch::start();
        fill(profiles);
        Round { updates: profiles, wall: watch.wall(), processor: watch.processor() }
    }
}
