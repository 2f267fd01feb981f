//! How long an update takes from its acceptance to the stream, at a steady rate that waits for nobody.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activation_operator::dataflow::{Dataflow, Source};
use activation_operator::feed::Embedded;
use activation_operator::hub::Hub;
use activation_operator::hub::ingest::Request;
use activation_operator::store::Store;
use activation_operator::telemetry::clock;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::flow::Flow;
use crate::report::{Mark, Report, thousands};
use crate::stub::Stub;
use crate::{Arguments, corpus, folder, ingest, runtime};

/// 99 of 100 updates are to be in the stream by then.
const WANTED: Duration = Duration::from_millis(500);
/// Between two requests.
const EVERY: Duration = Duration::from_millis(5);
const CACHE_BYTES: u64 = 128 << 20;
/// Bodies that are made ahead.
const AHEAD: usize = 64;

/// A request that was answered.
struct Accepted {
    /// Its changes in the log: the last, and how many.
    last: u64,
    count: u64,
    /// When it should have been sent, and when it was answered, since the start.
    due: Duration,
    answered: Duration,
}

/// A line of the stub's log, as far as it matters.
#[derive(Deserialize)]
struct Committed<'a> {
    time: u64,
    data: &'a str,
}

#[derive(Deserialize)]
struct Exported {
    #[serde(rename = "_activation")]
    activation: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    let stub = Stub::start(&["--retention-bytes", "0", "--memory-bytes", "8589934592"]);
    let (began, accepted) = runtime().block_on(run(&stub, arguments));
    let total: u64 = accepted.iter().map(|request| request.count).sum();
    let first = accepted.iter().map(|request| request.last + 1 - request.count).min().unwrap();

    // By position: when it was due and answered.
    let mut moments = vec![(Duration::ZERO, Duration::ZERO); total as usize];
    for request in &accepted {
        for position in request.last + 1 - request.count..=request.last {
            moments[(position - first) as usize] = (request.due, request.answered);
        }
    }
    let (mut from_due, mut from_answer) = (Vec::new(), Vec::new());
    stub.each_record(|line| {
        let committed: Committed<'_> = serde_json::from_str(line).unwrap();
        let record = aws_smithy_types::base64::decode(committed.data).unwrap();
        let exported: Exported = serde_json::from_slice(&record).unwrap();
        let at = Duration::from_micros(committed.time).saturating_sub(began);
        let (due, answered) = moments[(exported.activation.version - first) as usize];
        from_due.push(at.saturating_sub(due));
        from_answer.push(at.saturating_sub(answered));
    });
    assert_eq!(from_due.len() as u64, total, "every update is in the stream once");
    let answers = accepted.iter().map(|request| request.answered.saturating_sub(request.due)).collect();

    let whole = Percentiles::of(from_due);
    let mut update = Vec::new();
    corpus::update(&mut update, 0, 1);
    report.section(
        "Latency",
        format!(
            "{} updates/s of {} bytes of {} profiles for {} s, in requests of {} every {} ms, whatever the answers; hub and dataflow \
             in one process, the stream and its log in another on the same machine, which checks no signatures. A request that \
             is sent late counts from the moment that it was due. `linger` is {} ms, the default.",
            thousands(arguments.rate as f64),
            update.len(),
            thousands(arguments.profiles as f64),
            arguments.seconds,
            per_request(arguments),
            EVERY.as_millis(),
            Flow::new(stub.url(), true).plan.sender.linger.as_millis(),
        ),
        vec!["ms", "p50", "p95", "p99", "most"],
        vec![
            whole.row("from due to the stream's commit"),
            Percentiles::of(answers).row("of that: from due to the hub's answer (durable)"),
            Percentiles::of(from_answer).row("of that: from the hub's answer to the stream's commit"),
        ],
    );
    report.mark(Mark {
        what: "latency at that rate, p99",
        wanted: format!("< {} ms", WANTED.as_millis()),
        found: format!("{:.0} ms", millis(whole.p99)),
        met: whole.p99 < WANTED,
    });
}

fn per_request(arguments: &Arguments) -> u64 {
    arguments.rate * EVERY.as_millis() as u64 / 1000
}

async fn run(stub: &Stub, arguments: &Arguments) -> (Duration, Vec<Accepted>) {
    let folder = folder();
    let (hub, writer) = Hub::start(Store::open(folder.path(), CACHE_BYTES).unwrap()).unwrap();
    ingest::take_up(&hub, &ingest::requests(arguments.profiles, corpus::birth)).await;
    let flow = Flow::new(stub.url(), true);
    let head = hub.head();
    let start = *head.borrow();
    let source = Source { feed: Embedded::new(&hub), start, head: Some(head) };
    let dataflow =
        Dataflow::start(source, hub.store().clone(), flow.client().await, flow.plan, clock::now()).await.unwrap();
    // What the store still has to do for the profiles is none of the updates' business.
    tokio::time::sleep(Duration::from_secs(5)).await;

    let (began, accepted) = produce(&hub, arguments).await;
    let end = *hub.head().borrow();
    let mut progress = dataflow.progress();
    progress.wait_for(|progress| progress.position == end && !progress.busy).await.unwrap();
    dataflow.stop().await.unwrap();
    drop((hub, progress));
    tokio::task::spawn_blocking(move || writer.join()).await.unwrap().unwrap();
    (began, accepted)
}

/// Sends on schedule. When it began, since 1970.
async fn produce(hub: &Hub, arguments: &Arguments) -> (Duration, Vec<Accepted>) {
    let (count, profiles) = (per_request(arguments), arguments.profiles);
    let requests = (Duration::from_secs(arguments.seconds).as_millis() / EVERY.as_millis()) as u64;
    let (bodies, mut made) = mpsc::channel(AHEAD);
    let making = std::thread::spawn(move || {
        for request in 0..requests {
            let mut body = Vec::new();
            for number in request * count..(request + 1) * count {
                corpus::update(&mut body, number * 7_919 % profiles, 1 + number / profiles);
            }
            bodies.blocking_send(Bytes::from(body)).unwrap();
        }
    });
    let start = Instant::now() + Duration::from_millis(100);
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + (start - Instant::now());
    let mut under_way = JoinSet::new();
    let mut due = Duration::ZERO;
    while let Some(body) = made.recv().await {
        sleep_until(start + due).await;
        let hub = hub.clone();
        under_way.spawn(async move {
            let answer = hub.ingest_waiting(Request { body, ..Request::default() }).await.unwrap();
            assert_eq!(answer.accepted, count);
            Accepted { last: answer.position, count, due, answered: start.elapsed() }
        });
        due += EVERY;
    }
    making.join().unwrap();
    (began, under_way.join_all().await)
}

struct Percentiles {
    p50: Duration,
    p95: Duration,
    p99: Duration,
    most: Duration,
}

impl Percentiles {
    fn of(mut figures: Vec<Duration>) -> Self {
        figures.sort_unstable();
        let at = |hundredths: usize| figures[(figures.len() * hundredths).div_ceil(100).saturating_sub(1)];
        Self { p50: at(50), p95: at(95), p99: at(99), most: at(100) }
    }

    fn row(&self, what: &str) -> Vec<String> {
        let figures = [self.p50, self.p95, self.p99, self.most].map(|figure| format!("{:.1}", millis(figure)));
        [what.to_owned()].into_iter().chain(figures).collect()
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
