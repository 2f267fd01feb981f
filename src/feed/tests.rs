#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use super::{ChangeFile, Embedded, Feed, FeedError};
use crate::hub::Hub;
use crate::hub::ingest::Request;
use crate::store::Store;

const MEBIBYTE: usize = 1 << 20;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes.ndjson");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

async fn texts(feed: &mut impl Feed, position: u64, limit: usize) -> Vec<(u64, String)> {
    let items = feed.read(position, limit, MEBIBYTE).await.unwrap();
    items.into_iter().map(|item| (item.next, String::from_utf8(item.change.to_vec()).unwrap())).collect()
}

#[tokio::test]
async fn a_file_is_read_line_by_line_from_any_position_to_its_end() {
    let (_folder, path) = file("{\"a\":1}\n\n{\"b\":2}\r\n{\"c\":3}");
    let mut feed = ChangeFile::open(&path).await.unwrap();
    assert_eq!(texts(&mut feed, 0, 2).await, [(8, "{\"a\":1}".to_owned()), (18, "{\"b\":2}".to_owned())]);
    assert!(!feed.ended());
    assert_eq!(texts(&mut feed, 18, 2).await, [(25, "{\"c\":3}".to_owned())]);
    assert!(feed.ended());
    assert_eq!((feed.head(), texts(&mut feed, 25, 2).await.len()), (25, 0));
    // A worker that starts again goes back to its checkpoint.
    assert_eq!(texts(&mut feed, 8, 1).await, [(18, "{\"b\":2}".to_owned())]);
    assert_eq!(texts(&mut feed, 18, 10).await, [(25, "{\"c\":3}".to_owned())]);
    assert!(tokio::time::timeout(Duration::from_millis(20), feed.wait(25)).await.is_err(), "nothing more will come");
}

#[tokio::test]
async fn a_last_line_that_breaks_off_is_told_and_is_no_change() {
    let (_folder, path) = file("{\"a\":1}\n{\"b\":");
    let mut feed = ChangeFile::open(&path).await.unwrap();
    assert_eq!(texts(&mut feed, 0, 10).await, [(8, "{\"a\":1}".to_owned())]);
    let error = feed.read(8, 10, MEBIBYTE).await.unwrap_err().to_string();
    assert_eq!(error, "the feed cannot be read: the last line, at byte 8, breaks off");
    // It is one as soon as the rest of it is there.
    std::fs::write(&path, "{\"a\":1}\n{\"b\":2}").unwrap();
    assert_eq!(texts(&mut feed, 8, 10).await, [(15, "{\"b\":2}".to_owned())]);
    assert!(feed.ended());
}

#[tokio::test]
async fn a_line_over_the_limit_is_told() {
    let (_folder, path) = file(&format!("\"{}\"\n", "x".repeat(5 * MEBIBYTE)));
    let mut feed = ChangeFile::open(&path).await.unwrap();
    let error = feed.read(0, 10, MEBIBYTE).await.unwrap_err().to_string();
    assert!(error.contains("the line at byte 0 is over"), "{error}");
}

#[tokio::test]
async fn a_read_stops_at_about_so_many_bytes() {
    let (_folder, path) = file(&"\"0123456789\"\n".repeat(100));
    let mut feed = ChangeFile::open(&path).await.unwrap();
    assert_eq!(feed.read(0, 100, 25).await.unwrap().len(), 3);
}

#[tokio::test]
async fn the_log_is_read_as_it_grows_and_a_waiting_reader_is_woken() {
    let data = tempfile::tempdir().unwrap();
    let (hub, writer) = Hub::start(Store::open(data.path(), 16 << 20).unwrap()).unwrap();
    let ingest = async |names: [&str; 2]| {
        let line =
            |name| format!("{{\"header\":{{\"profileId\":\"p\"}},\"body\":{{\"xdmEntity\":{{\"n\":\"{name}\"}}}}}}\n");
        let body = names.map(line).concat().into();
        hub.ingest(Request { body, ..Request::default() }).await.unwrap();
    };
    let mut feed = Embedded::new(&hub);
    assert!(feed.read(1, 10, MEBIBYTE).await.unwrap().is_empty());
    let (waited, ()) = tokio::join!(feed.wait(1), ingest(["a", "b"]));
    waited.unwrap();
    ingest(["c", "d"]).await;
    let read = texts(&mut feed, 1, 3).await;
    assert_eq!(read.iter().map(|(next, _)| *next).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(read[2].1.contains("\"version\":3") && read[2].1.contains("\"n\":\"c\""), "{read:?}");
    assert_eq!((feed.head(), texts(&mut feed, 4, 10).await.len(), texts(&mut feed, 5, 10).await.len()), (5, 1, 0));
    // One change larger than asked for is handed out all the same: else a reader would never get past it.
    assert_eq!(feed.read(1, 10, 1).await.unwrap().len(), 1);
    let lost = feed.read(0, 10, MEBIBYTE).await.unwrap_err();
    assert!(matches!(lost, FeedError::PositionLost { position: 0, first: 1 }), "{lost}");
    drop(hub);
    writer.join().unwrap();
    let stopped = feed.wait(5).await.unwrap_err().to_string();
    assert_eq!(stopped, "the feed cannot be read: the hub has stopped");
}
