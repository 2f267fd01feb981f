//! The data directory: one owner, one format, whole after a crash, and clear words where it cannot be used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use activation_operator::feed::{Embedded, Feed as _, FeedError};
use activation_operator::hub::ingest::Request;
use activation_operator::hub::retention::{self, Retention};
use activation_operator::hub::{Hub, Writer};
use activation_operator::store::{AudienceKey, FORMAT_VERSION, MemberFilter, ProfileKey, Store, StoreError};
use jiff::Timestamp;
use serde_json::Value;

const CACHE: u64 = 16 << 20;

fn update(profile: &str, number: u64) -> String {
    format!(
        "{{\"header\":{{\"profileId\":\"{profile}\"}},\"body\":{{\"xdmEntity\":{{\"n\":{number},\
         \"segmentMembership\":{{\"ups\":{{\"a\":{{\"status\":\"{}\"}}}}}}}}}}}}\n",
        if number.is_multiple_of(3) { "exited" } else { "realized" }
    )
}

fn start(data: &Path) -> (Hub, Writer) {
    Hub::start(Store::open(data, CACHE).unwrap()).unwrap()
}

fn ingest(hub: &Hub, body: String) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(hub.ingest(Request { body: body.into(), ..Request::default() })).unwrap().position
}

fn stop((hub, writer): (Hub, Writer)) {
    drop(hub);
    writer.join().unwrap();
}

const ROLE: &str = "STORE_TEST_ROLE";

/// What the other process does: `hold` opens the store and waits, `write` takes up updates until it is killed. Does nothing
/// as a test of its own.
#[test]
fn the_other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, path) = role.split_once(' ').unwrap();
    let (hub, _writer) = start(Path::new(path));
    println!("\nready");
    if role == "hold" {
        std::thread::sleep(Duration::from_mins(1));
    }
    let from = *hub.head().borrow();
    for number in from.. {
        let body: String =
            (0..10).map(|line| update(&format!("p-{}", (number + line) % 7), number * 10 + line)).collect();
        println!("{}", ingest(&hub, body));
        std::io::stdout().flush().unwrap();
    }
}

struct Other(Child);

impl Other {
    fn start(role: &str, path: &Path) -> (Self, impl Iterator<Item = String> + use<>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--nocapture"])
            .env(ROLE, format!("{role} {}", path.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "the other process did not start");
        (Self(child), lines)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn opening_error(path: &Path) -> StoreError {
    match Store::open(path, CACHE) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[test]
fn a_second_process_or_handle_on_the_directory_is_refused_with_the_mend() {
    let data = tempfile::tempdir().unwrap();
    let (other, _) = Other::start("hold", data.path());
    let error = opening_error(data.path());
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    let expected =
        format!("data directory {} is in use by another process: stop that one first", data.path().display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    drop(other);
    let first = Store::open(data.path(), CACHE).unwrap();
    assert!(matches!(opening_error(data.path()), StoreError::Locked(_)));
    drop(first);
    Store::open(data.path(), CACHE).unwrap();
}

#[test]
fn a_store_of_a_newer_release_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    drop(Store::open(data.path(), CACHE).unwrap());
    let newer = FORMAT_VERSION + 1;
    {
        let db = fjall::Database::builder(data.path()).open().unwrap();
        let meta = db.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
        meta.insert("format", newer.to_be_bytes()).unwrap();
        db.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    for _ in 0..2 {
        let error = opening_error(data.path());
        assert!(matches!(error, StoreError::TooNew { found, .. } if found == newer), "{error}");
        assert!(error.to_string().ends_with("use a newer release"), "{error}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "not ours").unwrap();
    // Not even the superuser makes folders there.
    for path in [file.as_path(), &file.join("below"), Path::new("/proc/no-such-folder")] {
        let error = opening_error(path);
        assert!(matches!(error, StoreError::Directory { .. }), "{error}");
        let words = format!("data directory {} cannot be used: ", path.display());
        assert!(error.to_string().starts_with(&words), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"not ours");
}

#[test]
fn a_batch_that_was_not_committed_never_was() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), CACHE).unwrap();
    let key = ProfileKey::new("default", "p");
    let mut head = store.head().unwrap();
    let mut batch = store.batch();
    batch.append(&mut head, Timestamp::UNIX_EPOCH, b"{}");
    batch.put_profile(&key, 1, Timestamp::UNIX_EPOCH, b"{}");
    batch.set_head(&head);
    drop(batch);
    for _ in 0..2 {
        assert!(store.profile(&key).unwrap().is_none());
        assert_eq!((store.head().unwrap().next, store.first_position().unwrap()), (1, 1));
    }
    drop(store);
    let store = Store::open(data.path(), CACHE).unwrap();
    assert!(store.profile(&key).unwrap().is_none() && store.read_log(0, 10, 1 << 20).unwrap().is_empty());
}

/// State, index and log say the same: what an atomic write means.
fn check_whole(store: &Store) -> u64 {
    let snapshot = store.snapshot();
    let head = snapshot.head().unwrap();
    let log = store.read_log(1, usize::MAX, usize::MAX).unwrap();
    assert_eq!(log.len() as u64, head.next - 1);
    let mut last = BTreeMap::new();
    for (entry, position) in log.iter().zip(1..) {
        assert_eq!(entry.position, position);
        let change: Value = serde_json::from_slice(entry.change()).unwrap();
        assert_eq!(change["version"], position);
        last.insert(change["profileId"].as_str().unwrap().to_owned(), change);
    }
    let audience = AudienceKey::new("default", "ups", "a");
    let mut members =
        snapshot.members(vec![MemberFilter { audience, exited: false, before: u64::MAX }], None, &[]).unwrap();
    let mut realized = Vec::new();
    while let Some((profile, _)) = members.next().unwrap() {
        realized.push(profile);
    }
    let mut expected = Vec::new();
    for (profile, change) in &last {
        let stored = snapshot.profile(&ProfileKey::new("default", profile)).unwrap().unwrap();
        assert_eq!(Value::from(stored.version), change["version"]);
        assert_eq!(serde_json::from_str::<Value>(stored.entity().unwrap()).unwrap(), change["profile"]);
        if change["profile"]["segmentMembership"]["ups"]["a"]["status"] == "realized" {
            expected.push(profile.clone());
        }
    }
    assert_eq!(realized, expected);
    head.next - 1
}

#[test]
fn a_process_killed_at_any_moment_leaves_all_that_it_answered_and_nothing_half_done() {
    let data = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for round in 0..8 {
        let (mut other, lines) = Other::start("write", data.path());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150 + 37 * round));
            other.0.kill().unwrap();
            other.0.wait().unwrap();
        });
        for line in lines {
            // The last line may be cut off by the kill: a shorter number is a lower bound all the same.
            if let Ok(position) = line.parse::<u64>() {
                answered = answered.max(position);
            }
        }
        killer.join().unwrap();
        let there = check_whole(&Store::open(data.path(), CACHE).unwrap());
        assert!(there >= answered, "answered {answered}, found {there}");
        assert_eq!(there % 10, 0, "a request of ten lines is one write");
    }
    assert!(answered > 0);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}

fn is_journal(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jnl")
}

fn used_bytes(content: &[u8]) -> usize {
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Opens and reads everything.
fn read_all(path: &Path) -> Result<u64, StoreError> {
    let store = Store::open(path, CACHE)?;
    let head = store.head()?;
    store.first_position()?;
    for entry in store.read_log(1, usize::MAX, usize::MAX)? {
        std::hint::black_box(entry.change().len());
    }
    let snapshot = store.snapshot();
    let audience = AudienceKey::new("default", "ups", "a");
    let mut members = snapshot.members(vec![MemberFilter { audience, exited: true, before: u64::MAX }], None, &[])?;
    while let Some((profile, _)) = members.next()? {
        if let Some(stored) = snapshot.profile(&ProfileKey::new("default", &profile))? {
            stored.entity()?;
        }
    }
    Ok(head.next)
}

/// A store with tables on disk as well as a journal.
fn store_of_tables_and_journal(path: &Path) {
    let hub = start(path);
    for number in 0..20 {
        ingest(&hub.0, (0..50).map(|line| update(&format!("p-{line}"), number * 50 + line)).collect());
    }
    stop(hub);
    {
        let db = fjall::Database::builder(path).open().unwrap();
        for name in ["profiles", "members", "log", "meta"] {
            let keyspace = db.keyspace(name, fjall::KeyspaceCreateOptions::default).unwrap();
            keyspace.rotate_memtable_and_wait().unwrap();
        }
    }
    let hub = start(path);
    ingest(&hub.0, (0..50).map(|line| update(&format!("p-{line}"), line)).collect());
    stop(hub);
}

#[test]
fn a_damaged_file_is_a_clear_error_or_does_no_harm_and_is_never_a_panic() {
    let data = tempfile::tempdir().unwrap();
    store_of_tables_and_journal(data.path());
    for file in files(data.path()).into_iter().filter(|file| is_journal(file)) {
        // It is made larger than it is used: copies need not be.
        let used = used_bytes(&std::fs::read(&file).unwrap());
        std::fs::File::options().write(true).open(file).unwrap().set_len(used as u64).unwrap();
    }
    let whole = read_all(data.path()).unwrap();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut told, mut harmless, mut wrong) = (BTreeMap::<String, u32>::new(), 0, Vec::new());
    for file in files(data.path()) {
        let name = file.strip_prefix(data.path()).unwrap().to_owned();
        let content = std::fs::read(&file).unwrap();
        let used = used_bytes(&content);
        let flips = if is_journal(&name) { 200 } else { 6 };
        let mut damages = vec![("emptied", Vec::new()), ("halved", content[..used / 2].to_vec())];
        for part in 0..flips {
            let mut flipped = content.clone();
            if let Some(byte) = flipped.get_mut(used * part / flips) {
                *byte ^= 0xff;
                damages.push(("flipped", flipped));
            }
        }
        for (what, damage) in damages {
            let copied = tempfile::tempdir().unwrap();
            copy(data.path(), copied.path());
            std::fs::write(copied.path().join(&name), damage).unwrap();
            let case = format!("{what} {}", name.display());
            match catch_unwind(AssertUnwindSafe(|| read_all(copied.path()))) {
                Err(_) => wrong.push(format!("panic: {case}")),
                Ok(Err(error)) => {
                    *told.entry(error.to_string().replace(&copied.path().display().to_string(), "DIR")).or_default() +=
                        1;
                }
                // The end of a journal that was cut off is what a crash leaves: it is dropped as a whole write.
                Ok(Ok(head)) if head <= whole => harmless += 1,
                Ok(Ok(head)) => wrong.push(format!("head {head}: {case}")),
            }
        }
    }
    std::panic::set_hook(hook);
    assert_eq!(wrong, [""; 0]);
    assert!(harmless > 0 && told.values().sum::<u32>() > 10, "{told:?}");
    for message in told.keys() {
        assert!(message.contains("damaged") && message.contains("from a backup"), "{message}");
    }
}

#[test]
fn a_dataflow_whose_position_was_trimmed_is_told_so_and_the_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let (hub, writer) = start(data.path());
    for number in 0..10 {
        ingest(&hub, (0..100).map(|line| update(&format!("p-{line}"), number * 100 + line)).collect());
    }
    let store = hub.store().clone();
    let now = Timestamp::now();
    let unbounded = Retention { max_age: jiff::SignedDuration::from_hours(1), max_bytes: u64::MAX };
    // Below the slowest dataflow only.
    assert_eq!(retention::trim(&store, Some(301), unbounded, now).unwrap(), 300);
    assert_eq!(store.first_position().unwrap(), 301);
    assert_eq!(retention::trim(&store, Some(301), unbounded, now).unwrap(), 0);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut feed = Embedded::new(&hub);
    let lost = runtime.block_on(feed.read(300, 10, 1 << 20)).unwrap_err();
    assert!(matches!(lost, FeedError::PositionLost { position: 300, first: 301 }), "{lost}");
    let next = runtime.block_on(feed.read(301, 10, 1 << 20)).unwrap();
    assert_eq!((next.len(), next[0].next), (10, 302));

    // Over the bound of bytes the slowest does not count.
    let small = Retention { max_bytes: store.head().unwrap().bytes / 10, ..unbounded };
    assert!(retention::trim(&store, Some(301), small, now).unwrap() > 500);
    let first = store.first_position().unwrap();
    assert!((880..=902).contains(&first), "{first}");
    // Nor over the age.
    let later = now.checked_add(jiff::SignedDuration::from_hours(2)).unwrap();
    assert_eq!(retention::trim(&store, Some(301), unbounded, later).unwrap(), 1001 - first);
    let lost = runtime.block_on(feed.read(1000, 10, 1 << 20)).unwrap_err();
    assert!(matches!(lost, FeedError::PositionLost { position: 1000, first: 1001 }), "{lost}");
    assert!(runtime.block_on(feed.read(1001, 10, 1 << 20)).unwrap().is_empty());

    // Positions go on where they were, after a restart too.
    drop((store, feed));
    stop((hub, writer));
    let (hub, writer) = start(data.path());
    assert_eq!(hub.store().first_position().unwrap(), 1001);
    assert_eq!(ingest(&hub, update("p", 1)), 1001);
    stop((hub, writer));
}
