//! The export path, from a file of changes to the stream, beside the plain SDK, which sends the same records ready-made.

use std::collections::VecDeque;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use activation_operator::dataflow::{Dataflow, Source};
use activation_operator::export::projection::{self, Projected};
use activation_operator::export::{Export, Mapping};
use activation_operator::feed::ChangeFile;
use activation_operator::profile::change::Change;
use activation_operator::store::Store;
use activation_operator::telemetry::clock;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Config, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_smithy_http_client::pool::{Client as PooledClient, ConnectionPool};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio::task::JoinSet;

use crate::flow::{Flow, KEY, REGION, STREAM};
use crate::machine::Stopwatch;
use crate::report::{Mark, Report, Spread, thousands};
use crate::stub::Stub;
use crate::{Arguments, corpus, folder, runtime};

/// What the export reaches of the plain SDK, per core.
const WANTED: f64 = 0.40;
/// Records of a ready-made request.
const BATCH: usize = 500;

/// What one round took.
struct Round {
    records: u64,
    wall: Duration,
    processor: Duration,
}

impl Round {
    fn per_core(&self) -> f64 {
        self.records as f64 / self.processor.as_secs_f64()
    }

    fn per_second(&self) -> f64 {
        self.records as f64 / self.wall.as_secs_f64()
    }
}

pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    let stub = Stub::start(&["--no-log"]);
    let flow = Flow::new(stub.url(), false);
    let folder = folder();
    let file = folder.path().join("changes.ndjson");
    let sizes = write_changes(&file, arguments.changes, arguments.profiles, &flow);

    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    // One more than is counted: the first round warms up.
    for round in 0..=arguments.rounds {
        let committed = stub.committed();
        let through = runtime().block_on(export(&file, &flow, arguments.changes));
        assert_eq!(stub.committed() - committed, arguments.changes, "every change is exported once");
        let requests = ready_made(&file, &flow);
        let sent = runtime().block_on(send(requests, stub.url(), &flow));
        assert_eq!(stub.committed() - committed, 2 * arguments.changes, "every record is sent once");
        if round > 0 {
            ours.push(through);
            plain.push(sent);
        }
    }

    let ratio = Spread::of(ours.iter().zip(&plain).map(|(ours, plain)| ours.per_core() / plain.per_core()));
    let row = |name: &str, rounds: &[Round]| {
        vec![
            name.to_owned(),
            Spread::of(rounds.iter().map(Round::per_core)).rate(),
            Spread::of(rounds.iter().map(Round::per_second)).rate(),
        ]
    };
    let mut share = vec!["share".to_owned(), ratio.percent()];
    share.push(Spread::of(ours.iter().zip(&plain).map(|(o, p)| o.per_second() / p.per_second())).percent());
    report.section(
        "Export",
        format!(
            "{} changes of {} bytes, of {} profiles, become records of {} bytes with {} mapped paths; {} rounds, taking turns: \
             median (least–most). A core is a second of processor time of the client. The stream is a process of its own on \
             the same machine, which checks no signatures and keeps nothing, so that it is not what is measured. Plain SDK: the \
             same records, ready-made in requests of {BATCH}, as many in flight, over the same HTTP settings.",
            thousands(arguments.changes as f64),
            thousands(sizes.0),
            thousands(arguments.profiles as f64),
            thousands(sizes.1),
            flow.plan.mapping.attributes.len(),
            arguments.rounds,
        ),
        vec!["", "records/s per core", "records/s"],
        vec![row("dataflow", &ours), row("plain SDK", &plain), share],
    );
    report.mark(Mark {
        what: "export, per core, of the plain SDK",
        wanted: format!("≥ {:.0} %", WANTED * 100.0),
        found: ratio.percent(),
        met: ratio.median >= WANTED,
    });
}

/// Writes the file of changes; the mean size of a change, and of its record.
fn write_changes(path: &Path, changes: u64, profiles: u64, flow: &Flow) -> (f64, f64) {
    let mapping = Mapping::compile(flow.plan.mapping.clone()).unwrap();
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    let now = clock::now();
    let (mut bytes, mut record_bytes) = (0, 0);
    for number in 0..changes {
        let line = corpus::applied(number % profiles, 1 + number / profiles, number + 1, now).change;
        record_bytes += exported(&mapping, &line).record.len();
        bytes += line.len();
        file.write_all(&line).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.flush().unwrap();
    (bytes as f64 / changes as f64, record_bytes as f64 / changes as f64)
}

fn exported(mapping: &Mapping, line: &[u8]) -> Export {
    match projection::live(mapping, &Change::parse(line).unwrap(), clock::now()).unwrap() {
        Projected::Export(export) => export,
        other => panic!("nothing is exported: {other:?}"),
    }
}

async fn export(file: &Path, flow: &Flow, changes: u64) -> Round {
    let folder = folder();
    let store = Store::open(folder.path(), 8 << 20).unwrap();
    let client = flow.client().await;
    let feed = ChangeFile::open(file).await.unwrap();
    let source = Source { feed, start: 0, head: None };
    let watch = Stopwatch::start();
    let began = clock::now();
    let dataflow = Dataflow::start(source, store, client, flow.plan.clone(), began).await.unwrap();
    let mut progress = dataflow.progress();
    let last = progress.wait_for(|progress| progress.counters.exported == changes).await.unwrap().last_export;
    let processor = watch.processor();
    // Progress is told five times a second; the last record's own time is exact.
    let wall = Duration::try_from(last.unwrap().duration_since(began)).unwrap();
    dataflow.stop().await.unwrap();
    Round { records: changes, wall, processor }
}

/// The same records as the SDK wants them.
fn ready_made(file: &Path, flow: &Flow) -> VecDeque<Vec<PutRecordsRequestEntry>> {
    let mapping = Mapping::compile(flow.plan.mapping.clone()).unwrap();
    let text = std::fs::read(PathBuf::from(file)).unwrap();
    let entries: Vec<PutRecordsRequestEntry> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let Export { partition_key, record, .. } = exported(&mapping, line);
            PutRecordsRequestEntry::builder().partition_key(partition_key).data(Blob::new(record)).build().unwrap()
        })
        .collect();
    entries.chunks(BATCH).map(<[_]>::to_vec).collect()
}

async fn send(mut requests: VecDeque<Vec<PutRecordsRequestEntry>>, url: &str, flow: &Flow) -> Round {
    let client = plain_client(url, flow);
    let records = requests.iter().map(|entries| entries.len() as u64).sum();
    let watch = Stopwatch::start();
    let mut in_flight = JoinSet::new();
    loop {
        while in_flight.len() < flow.plan.sender.max_in_flight
            && let Some(entries) = requests.pop_front()
        {
            let request = client.put_records().stream_name(STREAM).set_records(Some(entries));
            in_flight.spawn(request.send());
        }
        let Some(answer) = in_flight.join_next().await else { break };
        assert_eq!(answer.unwrap().unwrap().failed_record_count(), Some(0));
    }
    Round { records, wall: watch.wall(), processor: watch.processor() }
}

/// The SDK's own client, set up as the product's is.
fn plain_client(url: &str, flow: &Flow) -> Client {
    let pool = ConnectionPool::builder()
        .max_connections_per_host(256)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
        .unwrap();
    let timeout = flow.target.request_timeout;
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(KEY, KEY, None, None, "bench"))
        .endpoint_url(url)
        .http_client(PooledClient::new(&pool).unwrap())
        .timeout_config(TimeoutConfig::builder().read_timeout(timeout).operation_timeout(timeout).build())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}
