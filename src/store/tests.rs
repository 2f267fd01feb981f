#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::Timestamp;

use super::{AudienceKey, Head, MemberFilter, ProfileKey, Snapshot, Store, StoreError};
use crate::profile::entity::Status;

fn store() -> (tempfile::TempDir, Store) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), 16 << 20).unwrap();
    (data, store)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Appends changes of so many bytes each, a second apart.
fn append(store: &Store, count: i64, bytes: usize) -> Head {
    let mut head = store.head().unwrap();
    let mut batch = store.batch();
    for _ in 0..count {
        let next = time(head.next.cast_signed());
        batch.append(&mut head, next, &vec![b'x'; bytes]);
    }
    batch.set_head(&head);
    batch.commit().unwrap();
    head
}

#[test]
fn no_two_lists_of_names_make_one_key() {
    assert_ne!(ProfileKey::new("a", "bc"), ProfileKey::new("ab", "c"));
    assert_ne!(AudienceKey::new("a", "b", "cd"), AudienceKey::new("a", "bc", "d"));
    assert_ne!(AudienceKey::new("", "ab", "c"), AudienceKey::new("ab", "", "c"));
    assert!(!AudienceKey::new("a", "b", "cd").as_bytes().starts_with(AudienceKey::new("a", "b", "c").as_bytes()));
}

#[test]
fn a_profile_is_kept_under_its_merge_policy() {
    let (_data, store) = store();
    let mut batch = store.batch();
    batch.put_profile(&ProfileKey::new("m1", "p"), 7, time(3), b"{\"a\":1}");
    batch.commit().unwrap();
    let stored = store.profile(&ProfileKey::new("m1", "p")).unwrap().unwrap();
    assert_eq!((stored.version, stored.time, stored.entity().unwrap()), (7, time(3), "{\"a\":1}"));
    assert!(store.profile(&ProfileKey::new("m2", "p")).unwrap().is_none());
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let (_data, store) = store();
    append(&store, 2, 10);
    let snapshot = store.snapshot();
    append(&store, 3, 10);
    let mut batch = store.batch();
    batch.put_profile(&ProfileKey::new("m", "p"), 5, time(3), b"{}");
    batch.commit().unwrap();
    assert_eq!(snapshot.head().unwrap().next, 3);
    assert!(snapshot.profile(&ProfileKey::new("m", "p")).unwrap().is_none());
    assert_eq!(store.head().unwrap(), Head { next: 6, time: time(5), bytes: 50 });
}

#[test]
fn a_damaged_value_is_named() {
    let (_data, store) = store();
    store.inner.profiles.insert(ProfileKey::new("m", "p").as_bytes(), b"short").unwrap();
    store.inner.meta.insert(super::keys::HEAD, b"short").unwrap();
    let error = store.profile(&ProfileKey::new("m", "p")).unwrap_err();
    assert_eq!(error.to_string(), "the store holds a damaged profile: restore it from a backup");
    assert!(matches!(store.head(), Err(StoreError::Value("log head"))));
}

fn filter(id: &str, exited: bool) -> MemberFilter {
    MemberFilter { audience: AudienceKey::new("m", "ups", id), exited, before: u64::MAX }
}

fn walk(snapshot: &Snapshot, exited: bool, after: Option<&str>) -> Vec<(String, Vec<usize>)> {
    let filters = ["a", "b"].map(|id| filter(id, exited)).to_vec();
    let mut cursor = snapshot.members(filters, after, &[]).unwrap();
    std::iter::from_fn(|| cursor.next().unwrap()).collect()
}

#[test]
fn members_of_several_audiences_come_by_profile_id_each_once() {
    let (_data, store) = store();
    let mut batch = store.batch();
    for (audience, profile, status) in [
        ("a", "p2", Some(Status::Realized)),
        ("a", "p1", Some(Status::Realized)),
        ("b", "p2", Some(Status::Realized)),
        ("b", "p3", Some(Status::Exited)),
        ("b", "p0", Some(Status::Realized)),
        ("b", "p0", None),
        // An audience whose id goes on where another's ends, and another merge policy.
        ("ab", "p8", Some(Status::Realized)),
    ] {
        batch.index_member(&AudienceKey::new("m", "ups", audience), profile, status, 7);
    }
    batch.index_member(&AudienceKey::new("n", "ups", "a"), "p9", Some(Status::Realized), 7);
    batch.commit().unwrap();
    let snapshot = store.snapshot();
    let named = |name: &str, audiences: &[usize]| (name.to_owned(), audiences.to_vec());
    assert_eq!(walk(&snapshot, false, None), [named("p1", &[0]), named("p2", &[0, 1])]);
    assert_eq!(walk(&snapshot, true, None), [named("p1", &[0]), named("p2", &[0, 1]), named("p3", &[1])]);
    assert_eq!(walk(&snapshot, true, Some("p1")), [named("p2", &[0, 1]), named("p3", &[1])]);
    assert_eq!(walk(&snapshot, true, Some("p3")), []);
    assert_eq!(snapshot.count_members(&filter("b", false)).unwrap(), 1);
    assert_eq!(snapshot.count_members(&filter("b", true)).unwrap(), 2);
    assert_eq!(snapshot.count_members(&MemberFilter { before: 7, ..filter("b", true) }).unwrap(), 0);
}

#[test]
fn an_audience_larger_than_what_is_read_ahead_is_walked_to_its_end() {
    let (_data, store) = store();
    let mut batch = store.batch();
    for number in 0..1000 {
        let status = if number % 400 < 300 { Status::Exited } else { Status::Realized };
        batch.index_member(&AudienceKey::new("m", "ups", "a"), &format!("p{number:04}"), Some(status), number);
    }
    batch.commit().unwrap();
    assert_eq!(walk(&store.snapshot(), true, None).len(), 1000);
    assert_eq!(walk(&store.snapshot(), false, None).len(), 200);
    assert_eq!(walk(&store.snapshot(), false, Some("p0350")).len(), 149);
    let early = vec![MemberFilter { before: 350, ..filter("a", false) }];
    assert_eq!(store.snapshot().count_members(&early[0]).unwrap(), 50);
    let snapshot = store.snapshot();
    let mut cursor = snapshot.members(early, None, &[]).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().0, "p0300");
}

#[test]
fn an_audience_of_few_members_among_many_is_read_once_however_often_it_is_walked_on() {
    const MANY: u64 = 20_000;
    let (_data, store) = store();
    let mut batch = store.batch();
    for number in 0..MANY {
        let id = format!("p{number:06}");
        batch.index_member(&AudienceKey::new("m", "ups", "a"), &id, Some(Status::Realized), 1);
        // Nearly all have left it, or came later.
        let status = if number % 5000 == 4999 { Status::Realized } else { Status::Exited };
        batch.index_member(&AudienceKey::new("m", "ups", "b"), &id, Some(status), 1);
        batch.index_member(&AudienceKey::new("m", "ups", "c"), &id, Some(Status::Realized), 100);
    }
    batch.commit().unwrap();
    let filters = ["a", "b", "c"].map(|id| MemberFilter { before: 50, ..filter(id, false) });
    let (mut found, mut scanned) = (Vec::new(), 0);
    let (mut after, mut places): (Option<String>, Vec<super::Place>) = (None, Vec::new());
    // As a backfill does: a chunk, from a snapshot of its own, then the next.
    loop {
        let snapshot = store.snapshot();
        let mut cursor = snapshot.members(filters.to_vec(), after.as_deref(), &places).unwrap();
        let before = found.len();
        found.extend(std::iter::from_fn(|| cursor.next().unwrap()).take(500));
        places = cursor.places();
        scanned += cursor.scanned();
        if found.len() == before {
            break;
        }
        after = found.last().map(|(id, _)| id.clone());
    }
    assert_eq!(found.len() as u64, MANY);
    assert!(found.iter().map(|(id, _)| id).is_sorted());
    assert_eq!(found.iter().filter(|(_, audiences)| *audiences == [0, 1]).count(), 4);
    // Each entry once, and what was read ahead again for each chunk.
    let chunks = MANY / 500 + 1;
    assert!(scanned <= 3 * MANY + 2 * chunks * 256, "{scanned} entries were read");
}

#[test]
fn the_log_is_read_within_its_bounds() {
    let (_data, store) = store();
    append(&store, 10, 100);
    let positions = |from, limit, bytes| -> Vec<u64> {
        store.read_log(from, limit, bytes).unwrap().iter().map(|entry| entry.position).collect()
    };
    assert_eq!(positions(1, 3, usize::MAX), [1, 2, 3]);
    assert_eq!(positions(9, 100, usize::MAX), [9, 10]);
    assert_eq!(positions(1, 100, 1), [1]);
    assert_eq!(positions(1, 100, 117), [1, 2]);
    assert!(positions(11, 100, usize::MAX).is_empty());
    assert_eq!(store.read_log(4, 1, 1).unwrap().remove(0).into_change().len(), 100);
}

#[test]
fn the_cut_of_retention_is_the_first_that_is_young_enough_and_fits() {
    let (_data, store) = store();
    let head = append(&store, 100, 10);
    let cut = |oldest, bytes| store.retention_cut(1, head, time(oldest), bytes).unwrap();
    assert_eq!(cut(0, u64::MAX), 1);
    assert_eq!(cut(40, u64::MAX), 40);
    assert_eq!(cut(1000, u64::MAX), 101);
    assert_eq!((cut(0, 1000), cut(0, 999)), (1, 2));
    assert_eq!(cut(0, 95), 92);
    assert_eq!(cut(0, 0), 101);
    assert_eq!(cut(97, 95), 97);
}

#[test]
fn dead_letters_and_dataflows_are_kept_by_name() {
    let (_data, store) = store();
    let mut batch = store.batch();
    for (dataflow, sequence) in [("n/a", 1), ("n/a", 300), ("n/ab", 2)] {
        batch.put_dead_letter(dataflow, sequence, dataflow.as_bytes());
    }
    batch.put_dataflow("n/a", b"1");
    batch.put_dataflow("n/ab", b"2");
    batch.commit().unwrap();
    assert_eq!(store.dead_letters("n/a", 0, 10).unwrap(), [(1, b"n/a".to_vec()), (300, b"n/a".to_vec())]);
    assert_eq!(store.dead_letters("n/a", 2, 10).unwrap().len(), 1);
    assert_eq!(store.dead_letters("n/a", 0, 1).unwrap().len(), 1);
    assert_eq!(store.dataflows().unwrap(), [("n/a".to_owned(), b"1".to_vec()), ("n/ab".to_owned(), b"2".to_vec())]);
    let mut batch = store.batch();
    batch.remove_dead_letter("n/a", 1);
    batch.remove_dataflow("n/a");
    batch.commit().unwrap();
    assert_eq!(store.dead_letters("n/a", 0, 10).unwrap().len(), 1);
    assert_eq!(store.dataflow("n/a").unwrap(), None);
}

#[test]
fn an_answer_is_found_by_its_key_and_by_its_age() {
    let (_data, store) = store();
    let mut batch = store.batch();
    // A key may look like an expiry's.
    batch.put_answer("k", time(10), b"1");
    batch.put_answer("E\0\0", time(20), b"2");
    batch.commit().unwrap();
    assert_eq!(store.answer("E\0\0").unwrap().unwrap(), b"2");
    assert_eq!(store.answers_before(time(10), 10).unwrap(), []);
    let old = store.answers_before(time(11), 10).unwrap();
    assert_eq!(old.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["k"]);
    let mut batch = store.batch();
    batch.remove_answer(&old[0].0, "k");
    batch.commit().unwrap();
    assert_eq!((store.answer("k").unwrap(), store.answers_before(time(11), 10).unwrap()), (None, Vec::new()));
}
