//! The Kinesis client and the permission check against three servers: ours, `kinesis-local` and `moto`. One list of cases
//! says what Kinesis does; where a server is known to do something else, [`DIFFERENCES`] says what and why. A server that
//! changes, for better or worse, fails here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::pin::Pin;
use std::time::Duration;

use activation_operator::kinesis::client::{HttpPool, Proxy, StreamClient};
use activation_operator::kinesis::outcome::{Entry, EntryOutcome, RequestError, RequestOutcome};
use activation_operator::kinesis::probe::{CredentialFinding, Method, ProbeReport, probe};
use activation_operator::kinesis::target::{CredentialSource, Endpoint, StreamRef, Target};
use bytes::Bytes;
use kinesis_stub::{Config, KeySpec, Stub};
use support::independent::{ReadBack, read_back};
use support::servers::{self, KinesisLocal, Moto};

/// A case, and what Kinesis does in it. Each makes the streams that it needs, under names of its own.
struct Case {
    name: &'static str,
    kinesis: &'static str,
    observe: for<'a> fn(&'a Server) -> Pin<Box<dyn Future<Output = String> + 'a>>,
}

const CASES: &[Case] = &[
    Case {
        name: "a page tells of a stream",
        kinesis: "ACTIVE PROVISIONED with its ARN",
        observe: |server| Box::pin(a_page_tells_of_a_stream(server)),
    },
    Case {
        name: "pages follow each other to the end",
        kinesis: "each of 105 once, in order",
        observe: |server| Box::pin(pages_follow_each_other(server)),
    },
    Case {
        name: "a page starts behind a name that is no stream",
        kinesis: "the streams that follow it",
        observe: |server| Box::pin(a_page_starts_behind_no_stream(server)),
    },
    Case {
        name: "records are written, and boto3 reads them as JSON",
        kinesis: "200 accepted, the same 200 read, in order per key",
        observe: |server| Box::pin(records_are_read_back(server)),
    },
    Case {
        name: "a stream known by its ARN",
        kinesis: "1 accepted",
        observe: |server| Box::pin(a_stream_by_arn(server)),
    },
    Case {
        name: "500 entries",
        kinesis: "500 accepted",
        observe: |server| Box::pin(put(server, "five-hundred", || vec![entry("k", 10); 500])),
    },
    Case {
        name: "501 entries",
        kinesis: "invalid",
        observe: |server| Box::pin(put(server, "too-many", || vec![entry("k", 10); 501])),
    },
    Case {
        name: "a request of 4 MiB",
        kinesis: "4 accepted",
        observe: |server| Box::pin(put(server, "four", || vec![entry("k", (1 << 20) - 1); 4])),
    },
    Case {
        name: "a request of 6 MiB",
        kinesis: "6 accepted",
        observe: |server| Box::pin(put(server, "six", || vec![entry("k", (1 << 20) - 1); 6])),
    },
    Case {
        name: "a request of 11 MiB",
        kinesis: "invalid",
        observe: |server| Box::pin(put(server, "eleven", || vec![entry("k", (1 << 20) - 1); 11])),
    },
    Case {
        name: "a record of 1 MiB without its key",
        kinesis: "invalid",
        observe: |server| Box::pin(put(server, "too-large", || vec![entry("k", 1 << 20)])),
    },
    Case {
        name: "a record far over 1 MiB beside a small one",
        kinesis: "invalid",
        observe: |server| Box::pin(put(server, "far-too-large", || vec![entry("k", 1), entry("k", 2 << 20)])),
    },
    Case {
        name: "a partition key of 256 letters of two bytes",
        kinesis: "1 accepted",
        observe: |server| Box::pin(put(server, "longest-key", || vec![entry(&"é".repeat(256), 1)])),
    },
    Case {
        name: "a partition key of 257 letters",
        kinesis: "invalid",
        observe: |server| Box::pin(put(server, "longer-key", || vec![entry(&"k".repeat(257), 1)])),
    },
    Case {
        name: "a put to a stream that is not there",
        kinesis: "stream not found",
        observe: |server| Box::pin(a_missing_stream(server)),
    },
    Case {
        name: "a put with an unknown key",
        kinesis: "credentials refused",
        observe: |server| Box::pin(put_as(server, "stranger", STRANGER)),
    },
    Case {
        name: "a put with a wrong secret",
        kinesis: "credentials refused",
        observe: |server| Box::pin(put_as(server, "wrong-secret", WRONG_SECRET)),
    },
    Case {
        name: "the check with a key that may do everything",
        kinesis: ALL_GRANTED,
        observe: |server| Box::pin(check(server, "check-all", EVERYTHING)),
    },
    Case {
        name: "the check with a key that may only list and PutRecords",
        kinesis: "exists True, credentials Valid, ListStreams True, PutRecord False, PutRecords True; wrote 0",
        observe: |server| Box::pin(check(server, "check-narrow", NARROW)),
    },
    Case {
        name: "the check with a key that may nothing",
        kinesis: "exists Unknown, credentials Valid, ListStreams False, PutRecord False, PutRecords False; wrote 0",
        observe: |server| Box::pin(check(server, "check-nothing", NOTHING)),
    },
    Case {
        name: "the check with a wrong secret",
        kinesis: "exists Unknown, credentials Refused, ListStreams Unknown, PutRecord Unknown, PutRecords Unknown; wrote 0",
        observe: |server| Box::pin(check(server, "check-wrong-secret", WRONG_SECRET)),
    },
    Case {
        name: "the check of a stream that is not there",
        kinesis: "exists False, credentials Valid, ListStreams True, PutRecord Unknown, PutRecords Unknown",
        observe: |server| Box::pin(check_of_a_missing_stream(server)),
    },
];

/// What the check finds of a key that may do everything.
const ALL_GRANTED: &str = "exists True, credentials Valid, ListStreams True, PutRecord True, PutRecords True; wrote 0";

/// What servers do that Kinesis does not.
struct Difference {
    servers: &'static [&'static str],
    case: &'static str,
    observed: &'static str,
    /// Why, and what it means to the client.
    why: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        servers: &["kinesis-local"],
        case: "a page tells of a stream",
        observed: "only its name",
        why: "Its ListStreams has no StreamSummaries: the probe finds the stream by its name, without ARN, status and mode.",
    },
    Difference {
        servers: &["moto"],
        case: "a page starts behind a name that is no stream",
        observed: "unavailable",
        why: "It answers 500 and an HTML page, since it looks the name up: the probe pages from the start instead.",
    },
    Difference {
        servers: &["kinesis-local"],
        case: "501 entries",
        observed: "501 accepted",
        why: "It does not count entries: the sender must hold the limit by itself.",
    },
    Difference {
        servers: &["moto"],
        case: "a request of 6 MiB",
        observed: "invalid",
        why: "It has the limit of 5 MiB, which Kinesis has raised to 10 MiB: the default of `maxBatchBytes` fits both.",
    },
    Difference {
        servers: &["kinesis-local"],
        case: "a request of 11 MiB",
        observed: "11 accepted",
        why: "It does not sum sizes: the sender must hold the limit by itself.",
    },
    Difference {
        servers: &["kinesis-local"],
        case: "a record of 1 MiB without its key",
        observed: "1 accepted",
        why: "It does not count the partition key into a record's size.",
    },
    Difference {
        servers: &["kinesis-local"],
        case: "a record far over 1 MiB beside a small one",
        observed: "1 accepted, InvalidArgumentException",
        why: "It refuses the entry and takes the rest, where Kinesis refuses the request: the sender must bear both.",
    },
    Difference {
        servers: &["kinesis-local", "moto"],
        case: "a put with an unknown key",
        observed: "1 accepted",
        why: "They verify no signature: only the stub judges how credentials are refused.",
    },
    Difference {
        servers: &["kinesis-local", "moto"],
        case: "a put with a wrong secret",
        observed: "1 accepted",
        why: "They verify no signature: only the stub judges how credentials are refused.",
    },
    Difference {
        servers: &["kinesis-local", "moto"],
        case: "the check with a key that may only list and PutRecords",
        observed: ALL_GRANTED,
        why: "They know no keys and no policies: any key may do everything, so what the check says of it is true.",
    },
    Difference {
        servers: &["kinesis-local", "moto"],
        case: "the check with a key that may nothing",
        observed: ALL_GRANTED,
        why: "They know no keys and no policies: any key may do everything, so what the check says of it is true.",
    },
    Difference {
        servers: &["kinesis-local", "moto"],
        case: "the check with a wrong secret",
        observed: ALL_GRANTED,
        why: "They know no keys and no policies: any key may do everything, so what the check says of it is true.",
    },
    Difference {
        servers: &["moto"],
        case: "the check of a stream that is not there",
        observed: "exists False, credentials Valid, ListStreams Unknown, PutRecord Unknown, PutRecords Unknown",
        why: "Its ListStreams fails as above and the put then tells that the stream is missing: nothing proves that listing is granted.",
    },
];

/// Keys by id and secret. A server that knows no keys takes any.
type Key = (&'static str, &'static str);
const EVERYTHING: Key = ("test", "test");
const NARROW: Key = ("narrow", "narrow-secret");
const NOTHING: Key = ("nothing", "nothing-secret");
const STRANGER: Key = ("stranger", "test");
const WRONG_SECRET: Key = ("test", "wrong");

struct Server {
    name: &'static str,
    url: String,
    pool: HttpPool,
}

impl Server {
    fn new(name: &'static str, url: String) -> Self {
        Self { name, url, pool: HttpPool::new(Proxy::Direct).unwrap() }
    }

    async fn client(&self, stream: StreamRef, (id, secret): Key) -> StreamClient {
        let target = Target {
            region: "us-east-1".into(),
            stream,
            endpoint: Endpoint { url: Some(self.url.clone()), ..Endpoint::default() },
            // Far beyond what any answer takes: no case is about time.
            request_timeout: Duration::from_mins(1),
            credentials: CredentialSource::Keys {
                access_key_id: id.into(),
                secret_access_key: secret.into(),
                session_token: None,
            },
            assume_role: None,
        };
        StreamClient::connect(&target, &self.pool).await
    }

    /// A client that may do everything, of a stream made for it.
    async fn made(&self, stream: &str, shards: i32) -> StreamClient {
        servers::create_stream(&self.url, stream, shards).await;
        self.client(StreamRef::Name(stream.into()), EVERYTHING).await
    }

    /// Every case, and how it differs from what is expected.
    async fn judge(&self) {
        let mut wrong = String::new();
        for case in CASES {
            let difference = DIFFERENCES.iter().find(|it| it.servers.contains(&self.name) && it.case == case.name);
            let expected = difference.map_or(case.kinesis, |difference| difference.observed);
            let observed = (case.observe)(self).await;
            if observed != expected {
                let why = difference.map_or("as Kinesis does", |difference| difference.why);
                writeln!(wrong, "- {}\n    observed: {observed}\n    expected: {expected} ({why})", case.name).unwrap();
            }
        }
        assert!(wrong.is_empty(), "{} does not do what is written of it:\n{wrong}", self.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stub_does_what_kinesis_does() {
    let keys = vec![
        (EVERYTHING.0.into(), KeySpec::new(EVERYTHING.1)),
        (NARROW.0.into(), KeySpec::new(NARROW.1).allowing(&["kinesis:ListStreams", "kinesis:PutRecords"])),
        (NOTHING.0.into(), KeySpec::new(NOTHING.1).allowing(&[])),
    ];
    let stub = Stub::start(Config { keys, ..Config::default() }).await.unwrap();
    Server::new("the stub", stub.url()).judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinesis_local_does_what_is_written_of_it() {
    let running = KinesisLocal::start().await;
    Server::new("kinesis-local", running.url()).judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_does_what_is_written_of_it() {
    let running = Moto::start().await;
    Server::new("moto", running.url()).judge().await;
}

#[test]
fn every_difference_is_of_one_case_and_is_explained_and_differs() {
    let mut seen = BTreeSet::new();
    for Difference { servers, case, observed, why } in DIFFERENCES {
        let known = CASES.iter().find(|it| it.name == *case).unwrap_or_else(|| panic!("there is no case {case}"));
        assert_ne!(known.kinesis, *observed, "{case}");
        assert!(why.ends_with('.'), "{case}: a sentence says why");
        for server in *servers {
            assert!(["kinesis-local", "moto"].contains(server), "{server}: the stub has to do what Kinesis does");
            assert!(seen.insert((server, case)), "{server}, {case} stands twice");
        }
    }
}

async fn a_page_tells_of_a_stream(server: &Server) -> String {
    let client = server.made("told", 1).await;
    let page = client.list_streams(None).await.unwrap();
    assert!(page.names.contains(&"told".to_owned()), "{page:?}");
    let Some(facts) = page.summaries.iter().find(|facts| facts.name == "told") else { return "only its name".into() };
    let arn = facts.arn.as_deref().is_some_and(|arn| arn.ends_with(":stream/told"));
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
    format!("{} {} {}", text(&facts.status), text(&facts.mode), if arn { "with its ARN" } else { "without its ARN" })
}

async fn pages_follow_each_other(server: &Server) -> String {
    let names: Vec<String> = (0..105).map(|number| format!("page-{number:03}")).collect();
    for name in &names {
        servers::create_stream(&server.url, name, 1).await;
    }
    let client = server.client(StreamRef::Name("page-000".into()), EVERYTHING).await;
    let (mut read, mut pages, mut last) = (Vec::new(), 0, None::<String>);
    loop {
        let page = client.list_streams(last.as_deref()).await.unwrap();
        pages += 1;
        read.extend(page.names.iter().filter(|name| name.starts_with("page-")).cloned());
        if !page.has_more {
            break;
        }
        assert!(pages < 20, "the pages do not end");
        last = page.names.last().cloned();
    }
    assert!(pages > 1, "a page holds 100 names at most");
    if read == names {
        return "each of 105 once, in order".into();
    }
    read.sort();
    if read == names { "each of 105 once, in another order".into() } else { format!("{} names", read.len()) }
}

async fn a_page_starts_behind_no_stream(server: &Server) -> String {
    let client = server.made("behind-b", 1).await;
    match client.list_streams(Some("behind-a")).await {
        Err(error) => word(&error).into(),
        Ok(page) if page.names.first().is_some_and(|name| name == "behind-b") => "the streams that follow it".into(),
        Ok(page) => format!("{:?}", page.names),
    }
}

/// Records as an activation makes them, of ten keys in turn: numbers that no float holds, text that has to be escaped.
fn exports() -> Vec<Entry> {
    (0..200)
        .map(|number| {
            let data = format!(
                r#"{{"person":{{"name":{{"firstName":"Zoë \"Z\" \u4e2d\n{number}"}}}},"points":12345678901234567890.10,"segmentMembership":{{"ups":{{"a1":{{"lastQualificationTime":"2026-01-02T03:04:05Z","status":"realized"}}}}}},"identityMap":{{"ecid":[{{"id":"{number}"}}]}}}}"#
            );
            Entry { partition_key: format!("profil-é-{}", number % 10), data: Bytes::from(data) }
        })
        .collect()
}

async fn records_are_read_back(server: &Server) -> String {
    let client = server.made("read-back", 3).await;
    let written = exports();
    let accepted = told(&client.put_records(written.clone()).await);
    let read = read_back(&server.url, "read-back").await;
    assert!(read.iter().all(|record| record.json["person"]["name"]["firstName"].is_string()), "not JSON to others");
    let sent = written.iter().map(|entry| (entry.partition_key.as_str(), std::str::from_utf8(&entry.data).unwrap()));
    let came = read.iter().map(|record| (record.partition_key.as_str(), record.text.as_str()));
    assert!(sequence_numbers_grow(&read), "a shard's records come in their order");
    let shards: BTreeSet<_> = read.iter().map(|record| &record.shard).collect();
    assert!(shards.len() > 1, "ten keys fall on more than one shard");
    let same = if by_key(sent) == by_key(came) { "the same" } else { "not the same" };
    format!("{accepted}, {same} {} read, in order per key", read.len())
}

fn by_key<'a>(records: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut by_key = BTreeMap::<_, Vec<_>>::new();
    for (key, text) in records {
        by_key.entry(key).or_default().push(text);
    }
    by_key
}

fn sequence_numbers_grow(read: &[ReadBack]) -> bool {
    // Compared as numbers: longer is larger.
    let number = |record: &ReadBack| (record.sequence_number.len(), record.sequence_number.clone());
    read.windows(2).all(|pair| pair[0].shard != pair[1].shard || number(&pair[0]) < number(&pair[1]))
}

async fn a_stream_by_arn(server: &Server) -> String {
    let arn = servers::create_stream(&server.url, "by-arn", 1).await;
    let client = server.client(StreamRef::Arn(arn), EVERYTHING).await;
    told(&client.put_records(vec![entry("k", 1)]).await)
}

async fn put(server: &Server, stream: &str, entries: fn() -> Vec<Entry>) -> String {
    let client = server.made(stream, 1).await;
    told(&client.put_records(entries()).await)
}

async fn put_as(server: &Server, stream: &str, key: Key) -> String {
    servers::create_stream(&server.url, stream, 1).await;
    let client = server.client(StreamRef::Name(stream.into()), key).await;
    told(&client.put_records(vec![entry("k", 1)]).await)
}

async fn a_missing_stream(server: &Server) -> String {
    let client = server.client(StreamRef::Name("never-made".into()), EVERYTHING).await;
    told(&client.put_records(vec![entry("k", 1)]).await)
}

async fn check(server: &Server, stream: &str, key: Key) -> String {
    servers::create_stream(&server.url, stream, 2).await;
    let client = server.client(StreamRef::Name(stream.into()), key).await;
    let report = probe(&client, Method::InvalidHashKey).await;
    format!("{}; wrote {}", found(&report), read_back(&server.url, stream).await.len())
}

async fn check_of_a_missing_stream(server: &Server) -> String {
    let client = server.client(StreamRef::Name("never-made".into()), EVERYTHING).await;
    found(&probe(&client, Method::InvalidHashKey).await)
}

fn entry(key: &str, bytes: usize) -> Entry {
    Entry { partition_key: key.to_owned(), data: Bytes::from(vec![b'1'; bytes]) }
}

/// An outcome in a few words, without what differs from run to run.
fn told(outcome: &RequestOutcome) -> String {
    let entries = match outcome {
        Ok(entries) => entries,
        Err(error) => return word(error).into(),
    };
    let accepted = entries.iter().filter(|entry| **entry == EntryOutcome::Accepted).count();
    let mut text = format!("{accepted} accepted");
    for entry in entries {
        match entry {
            EntryOutcome::Accepted => {}
            EntryOutcome::Throttled => text += ", throttled",
            EntryOutcome::Failed { code, .. } => write!(text, ", {code}").unwrap(),
        }
    }
    text
}

fn word(error: &RequestError) -> &'static str {
    match error {
        RequestError::Throttled { .. } => "throttled",
        RequestError::Denied { .. } => "denied",
        RequestError::Credentials { .. } => "credentials refused",
        RequestError::StreamNotFound { .. } => "stream not found",
        RequestError::Encryption { .. } => "encryption",
        RequestError::Invalid { .. } => "invalid",
        RequestError::Unavailable { .. } => "unavailable",
    }
}

fn found(report: &ProbeReport) -> String {
    let credentials = match report.credentials {
        CredentialFinding::Valid => "Valid",
        CredentialFinding::Refused { .. } => "Refused",
        CredentialFinding::Unknown => "Unknown",
    };
    let mut text = format!("exists {}, credentials {credentials}", report.exists.as_str());
    for permission in &report.permissions {
        let action = permission.action.as_str().trim_start_matches("kinesis:");
        write!(text, ", {action} {}", permission.granted.as_str()).unwrap();
    }
    text
}
