//! Power failures, as far as the store can tell them: of what was written behind the last sync, each sector is there, or is not.
//! What was answered is there all the same, what was not is there whole or not at all, and the store opens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use activation_operator::store::{ProfileKey, Store, StoreError, journal};
use jiff::Timestamp;

#[path = "support/load/random.rs"]
mod random;

use random::Random;

const SECTOR: usize = 512;
/// Profiles of one write, which belong together.
const TOGETHER: u64 = 40;

/// One write: the same number in many profiles.
fn write(store: &Store, number: u64) {
    let mut batch = store.batch();
    for profile in 0..TOGETHER {
        // Some are stored as they are, some compressed.
        let entity = format!("{{\"n\":{number},\"text\":\"{}\"}}", "0123456789".repeat((profile * 20) as usize));
        batch.put_profile(&key(profile), number, Timestamp::UNIX_EPOCH, entity.as_bytes());
    }
    batch.commit().unwrap();
}

fn key(profile: u64) -> ProfileKey {
    ProfileKey::new("default", &format!("p{profile}"))
}

/// The number of the last write, which must be in all profiles; 0 where there was none.
fn last(store: &Store) -> u64 {
    let numbers: Vec<u64> =
        (0..TOGETHER).map(|profile| store.profile(&key(profile)).unwrap().map_or(0, |stored| stored.version)).collect();
    assert!(numbers.iter().all(|number| *number == numbers[0]), "a write in part: {numbers:?}");
    numbers[0]
}

fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, 1 << 20)
}

/// A store with so many answered writes and `unanswered` more; how long its journal was when the last was answered, and its content.
fn written(folder: &Path, answered: u64, unanswered: u64) -> (journal::Journal, Vec<u8>) {
    let store = open(folder).unwrap();
    (1..=answered).for_each(|number| write(&store, number));
    let synced = journal::survey(folder).unwrap().unwrap();
    (answered + 1..=answered + unanswered).for_each(|number| write(&store, number));
    let mut content = std::fs::read(&synced.path).unwrap();
    assert_eq!(synced.tear, None);
    // Without what is allocated ahead.
    content.truncate(journal::survey(folder).unwrap().unwrap().whole_bytes as usize);
    (synced, content)
}

/// Takes away sectors behind `synced`: none of what was synced.
fn cut_power(content: &[u8], synced: usize, random: &mut Random) -> Vec<u8> {
    let mut left = content.to_vec();
    // The file may have grown without the disk having heard of it.
    if random.below(3) == 0 {
        left.truncate(synced + random.below((left.len() - synced) as u64 + 1) as usize);
    }
    // From all to hardly any.
    let one_in = 1 << random.below(12);
    let mut from = synced;
    while from < left.len() {
        let to = ((from / SECTOR + 1) * SECTOR).min(left.len());
        if random.below(one_in) == 0 {
            let garbage = random.below(4) == 0;
            left[from..to].iter_mut().for_each(|byte| *byte = if garbage { random.below(256) as u8 } else { 0 });
        }
        from = to;
    }
    left
}

#[test]
fn whatever_a_power_failure_leaves_of_an_unanswered_write_what_was_answered_is_there() {
    const ANSWERED: u64 = 3;
    let cuts = std::env::var("CUTS").map_or(80, |text| text.parse().unwrap());
    let (mut whole, mut dropped, mut random) = (0, 0, Random::new(7));
    let original = tempfile::tempdir().unwrap();
    let (synced, content) = written(original.path(), ANSWERED, 1);
    let name = synced.path.file_name().unwrap().to_owned();
    for cut in 0..cuts {
        let copied = tempfile::tempdir().unwrap();
        copy(original.path(), copied.path());
        let left = cut_power(&content, synced.whole_bytes as usize, &mut random);
        std::fs::write(copied.path().join(&name), &left).unwrap();
        let store = open(copied.path()).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
        match last(&store) {
            number if number == ANSWERED + 1 => whole += 1,
            number if number == ANSWERED => dropped += 1,
            number => panic!("cut {cut}: {number} is left of {ANSWERED}"),
        }
        // It goes on, and what is written now is there after the next start.
        write(&store, 100);
        drop(store);
        assert_eq!(last(&open(copied.path()).unwrap()), 100, "cut {cut}");
    }
    println!("{cuts} cuts: the unanswered write was whole {whole} times, dropped {dropped} times");
    assert!(whole > 0 && dropped > 0, "{whole} {dropped}");
}

#[test]
fn a_tear_before_whole_writes_is_refused_and_left_alone_until_somebody_says_so() {
    let data = tempfile::tempdir().unwrap();
    let (synced, mut content) = written(data.path(), 3, 2);
    // In the first of the two.
    content[synced.whole_bytes as usize + 2000] ^= 0xff;
    std::fs::write(&synced.path, &content).unwrap();
    let error = open(data.path()).map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Torn { behind: 1, .. }), "{error}");
    assert!(error.to_string().contains("activation-operator repair"), "{error}");
    assert_eq!(std::fs::read(&synced.path).unwrap(), content);

    let repair = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_activation-operator"));
        let output = command.args(["repair", "--data-dir"]).arg(data.path()).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), told)
    };
    let (code, told) = repair(&[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&format!("{} whole writes in {} bytes", synced.whole_writes, synced.whole_bytes)), "{told}");
    assert!(told.contains("and 1 whole write behind") && told.contains("--drop"), "{told}");
    assert_eq!(std::fs::read(&synced.path).unwrap(), content, "it has only looked");

    let (code, told) = repair(&["--drop"]);
    assert_eq!(code, Some(0), "{told}");
    let store = open(data.path()).unwrap();
    assert_eq!(last(&store), 3);
    // Not beneath a process that has it.
    let (code, told) = repair(&[]);
    assert!(code == Some(1) && told.contains("in use by another process"), "{told}");
    drop(store);
    let (code, told) = repair(&["--drop"]);
    assert!(code == Some(0) && told.contains("nothing is torn"), "{told}");
    assert_eq!(last(&open(data.path()).unwrap()), 3);
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.path().extension().is_none_or(|extension| extension != "jnl") {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
