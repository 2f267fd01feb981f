//! Effects: a producer as `docs` ask for one: request after request, each under an `Idempotency-Key`, repeated until it is
//! answered. So it knows the exact order of what was accepted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::operator::client;
use super::random::Random;

/// Profiles that updates are about, beside the members.
pub(crate) const PROFILES: u64 = 2000;
/// How long one request may go unanswered.
const PATIENCE: Duration = Duration::from_mins(2);

/// How it goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Small requests and large ones, with pauses.
    Fitful,
    /// So many updates a second, or as many as are taken.
    Steady(u64),
}

/// Updates of one request at a steady pace.
const STEADY: u64 = 200;

/// What was accepted.
pub(crate) struct History {
    pub(crate) lines: Vec<String>,
    /// How long it took.
    pub(crate) lasted: Duration,
    /// The position behind the last change.
    pub(crate) head: u64,
}

/// A producer in a thread of its own.
pub(crate) struct Producer {
    shared: Arc<Shared>,
    thread: JoinHandle<History>,
}

struct Shared {
    stop: AtomicBool,
    accepted: AtomicU64,
    address: Mutex<SocketAddr>,
    /// Updates that go in the middle of the next request.
    besides: Mutex<Vec<String>>,
}

impl Producer {
    /// Sends the members of audience `b` first, then whatever comes to its mind.
    pub(crate) fn start(seed: u64, members: u64, pace: Pace, address: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            address: Mutex::new(address),
            besides: Mutex::default(),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || produce(&shared, Random::new(seed ^ 0x5eed), members, pace)
        });
        Self { shared, thread }
    }

    /// The program is there now.
    pub(crate) fn send_to(&self, address: SocketAddr) {
        *self.shared.address.lock().unwrap() = address;
    }

    /// Puts these updates in the middle of the next request.
    pub(crate) fn slip_in(&self, updates: impl IntoIterator<Item = String>) {
        self.shared.besides.lock().unwrap().extend(updates);
    }

    pub(crate) fn accepted(&self) -> u64 {
        assert!(!self.thread.is_finished(), "the producer has ended by itself");
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Lets it end its last request.
    pub(crate) fn stop(self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn produce(shared: &Shared, mut random: Random, members: u64, pace: Pace) -> History {
    let client = client();
    let mut history = History { lines: Vec::new(), lasted: Duration::ZERO, head: 1 };
    let began = Instant::now();
    let mut due = began;
    let mut next_member = 0;
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) && next_member == members {
            break;
        }
        let mut batch: Vec<String> = if next_member < members {
            let end = members.min(next_member + 1000);
            let batch =
                (next_member..end).map(|member| entry(&format!("m{member}"), "b", "realized", member)).collect();
            next_member = end;
            batch
        } else {
            let count = match pace {
                Pace::Steady(_) => STEADY,
                // Now and then more than a dataflow takes at once.
                Pace::Fitful if random.below(50) == 0 => 8000,
                Pace::Fitful => 20 + random.below(200),
            };
            (0..count).map(|_| update(&mut random, members)).collect()
        };
        let middle = batch.len() / 2;
        batch.splice(middle..middle, shared.besides.lock().unwrap().drain(..));
        send(shared, &client, number, &batch, &mut history);
        shared.accepted.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let count = batch.len() as u64;
        history.lines.extend(batch);
        match pace {
            Pace::Fitful => std::thread::sleep(Duration::from_millis(20 + random.below(100))),
            Pace::Steady(per_second) => {
                due += Duration::from_secs(count) / per_second as u32;
                let now = Instant::now();
                std::thread::sleep(due.saturating_duration_since(now));
                // What could not be taken in time is not made up for.
                due = due.max(now);
            }
        }
    }
    history.lasted = began.elapsed();
    history
}

/// Sends one request until it is answered.
fn send(shared: &Shared, client: &ureq::Agent, number: u64, batch: &[String], history: &mut History) {
    let body: String = batch.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let end = Instant::now() + PATIENCE;
    loop {
        let address = *shared.address.lock().unwrap();
        let answer = client
            .post(format!("http://{address}/v1/profiles"))
            .header("Content-Type", "application/x-ndjson")
            .header("Idempotency-Key", format!("request-{number}"))
            .send(&body);
        if let Ok(mut answer) = answer
            && answer.status() == 200
            && let Ok(answer) = answer.body_mut().read_json::<Value>()
        {
            assert_eq!((&answer["accepted"], &answer["rejectedCount"]), (&json!(batch.len()), &json!(0)), "{answer}");
            history.head = answer["position"].as_u64().unwrap() + 1;
            return;
        }
        assert!(Instant::now() < end, "request {number} was not answered");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The profile enters or leaves an audience.
pub(crate) fn entry(profile: &str, audience: &str, status: &str, n: u64) -> String {
    let membership = json!({"status": status, "lastQualificationTime": "2026-01-02T03:04:05Z"});
    merge(profile, "default", &json!({"n": n, "segmentMembership": {"ups": {audience: membership}}}))
}

/// A part of the profile is written.
pub(crate) fn merge(profile: &str, policy: &str, entity: &Value) -> String {
    json!({"header": {"profileId": profile, "mergePolicyId": policy}, "body": {"xdmEntity": entity}}).to_string()
}

fn update(random: &mut Random, members: u64) -> String {
    let profile = if random.below(4) == 0 && members > 0 {
        format!("m{}", random.below(members))
    } else {
        format!("p{}", random.below(PROFILES))
    };
    let n = random.below(1 << 40);
    match random.below(100) {
        0..35 => merge(&profile, "default", &json!({"n": n})),
        35..45 => merge(&profile, "default", &json!({"person": {"name": {"firstName": format!("ü{n}"), "lastName": null}}})),
        45..65 => entry(&profile, "a", "realized", n),
        65..73 => entry(&profile, "a", "exited", n),
        73..79 => entry(&profile, "b", "realized", n),
        79..82 => entry(&profile, "b", "exited", n),
        82..87 => merge(&profile, "default", &json!({"identityMap": {"ECID": [{"id": format!("{}", n % 7)}]}})),
        87..92 => merge(&profile, "default", &json!({"unmapped": n})),
        92..96 => merge(&profile, "strict", &json!({"n": n, "segmentMembership": {"ups": {"a": {"status": "realized"}}},
            "identityMap": {"email": [{"id": profile}]}})),
        96..98 => json!({"header": {"profileId": profile, "operation": "delete"}, "body": {}}).to_string(),
        _ => json!({"header": {"profileId": profile, "operation": "replace"}, "body": {"xdmEntity": {"n": n,
            "segmentMembership": {"ups": {"a": {"status": "realized", "lastQualificationTime": "2026-01-03T00:00:00Z"}}}}}})
        .to_string(),
    }
}
