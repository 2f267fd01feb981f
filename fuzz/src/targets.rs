//! What strangers can send or leave behind, each put through everything that reads it. A target panics where a promise is
//! broken; that it allocates and works in proportion to what it is given is judged by who runs it.
//!
//! Shared by libFuzzer (`fuzz/fuzz_targets`) and by the ordinary tests (`tests/hostile_input`).

use std::cell::Cell;
use std::io::Write as _;
use std::sync::LazyLock;

use activation_operator::dataflow::{dead_letters, state};
use activation_operator::export::Mapping;
use activation_operator::export::mapping::{MappedAttribute, MappedAudience, MappingSpec, Scope, TriggerSwitches};
use activation_operator::export::projection::{self, Projected, Stamp, State};
use activation_operator::hub::Hub;
use activation_operator::hub::ingest::lines;
use activation_operator::profile::MAX_PROFILE_BYTES;
use activation_operator::profile::apply;
use activation_operator::profile::change::Change;
use activation_operator::profile::entity::Entity;
use activation_operator::profile::update::Update;
use activation_operator::runtime::http::{self, Endpoints, Gate, Intake};
use activation_operator::standalone::manifests;
use activation_operator::store::{ProfileKey, Store};
use activation_operator::telemetry::metrics::Metrics;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower_service::Service as _;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, with the names of their corpora.
pub const TARGETS: [(&str, Target); 5] = [
    ("update_lines", update_lines),
    ("change_records", change_records),
    ("stored_values", stored_values),
    ("manifests", read_manifests),
    ("http_bodies", http_bodies),
];

/// When everything happens.
const NOW: Timestamp = Timestamp::constant(1_767_322_800, 0);

/// A mapping that asks for everything: sub-trees, escapes, all memberships with names and times, the key from an identity.
static MAPPING: LazyLock<Mapping> = LazyLock::new(|| {
    let audience = |id: &str| MappedAudience {
        namespace: "ups".to_owned(),
        id: id.to_owned(),
        merge_policy_id: "default".to_owned(),
        name: Some(format!("Audience {id}")),
        description: None,
        created_at: Some(NOW),
        updated_at: Some(NOW),
        mapping_created_at: Some(NOW),
        mapping_updated_at: Some(NOW),
    };
    let attribute = |path: &str, required| MappedAttribute { path: path.to_owned(), required };
    Mapping::compile(MappingSpec {
        activation: "fuzz/fuzz".to_owned(),
        audiences: vec![audience("a1"), audience("a2")],
        attributes: vec![attribute("person", false), attribute("n", false), attribute(r"a\.b.c", false)],
        triggers: TriggerSwitches { audiences: true, attributes: true, identities: true, suppress_unchanged: false },
        scope: Scope::SameMergePolicy,
        include_segment_names: true,
        include_segment_timestamps: true,
        metadata: true,
        exit_on_delete: true,
        partition_key_namespace: Some("email".to_owned()),
    })
    .expect("the mapping is good")
});

/// Updates of one profile, a line each, as the hub merges them one after the other; and the exports that come of it.
pub fn update_lines(input: &[u8]) {
    let mut before: Option<String> = None;
    for (number, line) in lines(input) {
        let update = match Update::parse(line) {
            Ok(update) => update,
            Err(error) => {
                assert!(error.to_string().len() < 2000, "a refusal that is no sentence: {}", error.to_string().len());
                continue;
            }
        };
        let applied = match apply::apply(before.as_deref(), update, number, NOW) {
            Ok(Some(applied)) => applied,
            Ok(None) | Err(apply::ApplyError::TooLarge(_)) => continue,
            Err(apply::ApplyError::Stored(error)) => panic!("what was written cannot be read: {error}"),
        };
        assert!(applied.entity.len() <= MAX_PROFILE_BYTES);
        let change = Change::parse(&applied.change).expect("a change that was written can be read");
        assert!(change.version == number && change.deleted == applied.deleted);
        serde_json::from_slice::<IgnoredAny>(&applied.change).expect("a change is JSON to others, too");
        export(&applied.change);
        let entity = String::from_utf8(applied.entity).expect("an entity is text");
        tell(&entity);
        before = (!applied.deleted).then_some(entity);
    }
}

/// A line of a feed of changes, as another publisher may write it.
pub fn change_records(input: &[u8]) {
    if let Ok(change) = Change::parse(input) {
        let mut written = Vec::new();
        change.write(&mut written);
        let again = Change::parse(&written).expect("a change that was written can be read");
        assert!(again == change, "a change is another after it was written and read");
    }
    export(input);
}

fn export(line: &[u8]) {
    let one_pass = projection::live_line(&MAPPING, line, NOW).map(|(projected, _)| projected);
    if let Ok(Projected::Export(export)) = &one_pass {
        serde_json::from_slice::<IgnoredAny>(&export.record).expect("a record is JSON");
        assert!(!export.partition_key.is_empty() && export.partition_key.chars().count() <= 256);
    }
    if let Ok(change) = Change::parse(line) {
        let two_passes = projection::live(&MAPPING, &change, NOW);
        assert_eq!(one_pass.is_ok(), two_passes.is_ok());
        assert!(one_pass.ok() == two_passes.ok(), "one pass over the line makes another record than two");
    }
}

/// An entity as a backfill tells it.
fn tell(entity: &str) {
    let state = State { profile_id: "p", merge_policy_id: "default", version: 1, time: NOW, entity };
    let exits = [("ups".to_owned(), "a1".to_owned())];
    if let Ok(Projected::Export(export)) =
        projection::state(&MAPPING, &state, &exits, &Stamp { run: "run", exported_at: NOW })
    {
        serde_json::from_slice::<IgnoredAny>(&export.record).expect("a record is JSON");
    }
}

/// What the targets of a thread write to. Dropped in this order.
struct Place {
    store: Store,
    router: Router,
    hub: Hub,
    runtime: Runtime,
    /// How many values were put.
    values: Cell<u64>,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let open = |name: &str| Store::open(&folder.path().join(name), 1 << 20).expect("a store can be opened");
        let (hub, _) = Hub::start(open("hub")).expect("a hub starts");
        let router = http::router(Endpoints {
            gate: Gate::Open,
            hub: Some(hub.clone()),
            intake: Intake::default(),
            dead_letters: None,
            metrics: Metrics::default(),
            log: None,
            probes: None,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        Self { store: open("values"), router, hub, runtime, values: Cell::new(0), folder }
    }
}

thread_local! {
    static PLACE: Place = Place::new();
}

/// Values of the store, as a damaged disk or another version may leave them.
pub fn stored_values(input: &[u8]) {
    PLACE.with(|place| {
        let number = place.values.get();
        place.values.set(number + 1);
        put_and_read(&place.store, &format!("fuzz/{number}"), input);
    });
}

/// Under a name that is used once: the store walks over all that a name ever held until it has tidied up.
fn put_and_read(store: &Store, name: &str, input: &[u8]) {
    let (kind, value) = input.split_first().map_or((0, input), |(kind, value)| (kind % 4, value));
    let mut batch = store.batch();
    let key = ProfileKey::new("default", name);
    match kind {
        0 => batch.put_profile(&key, 7, NOW, value),
        1 => batch.put_dataflow(name, value),
        2 => batch.put_dataflow(&format!("{name}@mapping"), value),
        _ => batch.put_dead_letter(name, 3, value),
    }
    batch.commit_lazily().expect("the store takes it");
    match kind {
        0 => {
            let stored = store.profile(&key).expect("its header is whole").expect("it is there");
            if let Ok(entity) = stored.entity() {
                if Entity::parse(entity).is_ok() {
                    let update = br#"{"header":{"profileId":"p"},"body":{"xdmEntity":{"person":{"n":1}}}}"#;
                    // It may have grown too large.
                    let _ = apply::apply(Some(entity), Update::parse(update).expect("a good update"), 8, NOW);
                }
                tell(entity);
            }
        }
        1 => {
            if let Ok(Some(mut checkpoint)) = state::load(store, name) {
                checkpoint.roll(NOW);
                checkpoint.adopt(Some(MAPPING.spec()), MAPPING.spec(), true, NOW);
                checkpoint.begin_backfill(NOW);
                checkpoint.end_backfill(NOW);
            }
        }
        2 => {
            if let Ok(Some(spec)) = state::load_mapping(store, name) {
                let _ = Mapping::compile(spec);
            }
        }
        _ => {
            let _ = dead_letters::list(store, name, 0, 10);
            let _ = dead_letters::count(store, name);
        }
    }
}

/// A file of manifests. The first byte says whether it is called YAML or JSON.
pub fn read_manifests(input: &[u8]) {
    let (kind, text) = input.split_first().map_or((0, input), |(kind, text)| (kind % 2, text));
    let set = PLACE.with(|place| {
        let file = place.folder.path().join(if kind == 0 { "m.yaml" } else { "m.json" });
        std::fs::write(&file, text).expect("the file can be written");
        manifests::read(&file)
    });
    for problem in &set.problems {
        assert!(!problem.message.is_empty());
    }
}

/// The body of a request to take up updates. Of the first byte, two bits say whether it is sent as it is, as gzip whatever it is,
/// or packed; the others how it is cut into frames.
pub fn http_bodies(input: &[u8]) {
    let (how, text) = input.split_first().map_or((0, input), |(how, text)| (*how, text));
    let packed = match how & 3 {
        2 => pack(text),
        _ => text.to_vec(),
    };
    let frame = 1 + usize::from(how >> 2) * 97;
    let frames: Vec<_> =
        packed.chunks(frame).map(|frame| Ok::<_, std::io::Error>(Bytes::copy_from_slice(frame))).collect();
    let mut request = Request::post("/v1/profiles");
    if how & 3 != 0 {
        request = request.header("Content-Encoding", "gzip");
    }
    let body = Body::from_stream(futures::stream::iter(frames));
    PLACE.with(|place| {
        let mut router = place.router.clone();
        let request = request.body(body).expect("a good head");
        let before = *place.hub.head().borrow();
        let (status, answer) = place.runtime.block_on(async {
            let Ok(answer) = router.call(request).await;
            let status = answer.status().as_u16();
            (status, axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("an answer of bounded length"))
        });
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        assert!(matches!(status, 200 | 400 | 413), "{status}: {answer}");
        assert_eq!(status != 200, answer["error"].is_string(), "{answer}");
        let written = *place.hub.head().borrow() - before;
        assert!(written <= answer["accepted"].as_u64().unwrap_or_default(), "{answer}");
        if how & 1 == 0 && status != 413 {
            let told =
                answer["accepted"].as_u64().unwrap_or_default() + answer["rejectedCount"].as_u64().unwrap_or_default();
            assert_eq!(told, lines(text).count() as u64, "every line is told of: {answer}");
        }
    });
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes every write")
}
