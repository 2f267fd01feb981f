//! What is taken up, what is refused with which words, and that what is refused changes nothing.

use std::io::Write as _;
use std::time::Duration;

use activation_operator::runtime::http::Intake;
use jiff::Timestamp;
use serde_json::json;

use crate::client::{connect, exchange, exchange_cut_off, get, post, read_answer, request};
use crate::server::{Options, Server};
use crate::{gzip, update};

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const BOUND: usize = 16 << 20;

#[test]
fn lines_are_taken_up_in_order_and_answered_with_their_position() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let body = update("p-1", "first") + "\r\n\n" + &update("p-2", "other") + &update("p-1", "last");
    let answer = post(server.address, NDJSON, body.as_bytes());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"accepted": 3, "rejected": [], "rejectedCount": 0, "position": 3}));
    let profile = get(server.address, "/v1/profiles/default/p-1", "").json();
    assert_eq!((&profile["version"], &profile["profile"]), (&json!(3), &json!({"name": "last"})));
    let log = server.hub.store().read_log(1, 10, 1 << 20).unwrap();
    let ids: Vec<_> = log
        .iter()
        .map(|entry| serde_json::from_slice::<serde_json::Value>(entry.change()).unwrap()["profileId"].clone())
        .collect();
    assert_eq!(ids, ["p-1", "p-2", "p-1"]);
    server.stop().unwrap();
}

#[test]
fn every_spelling_of_ndjson_is_read_and_any_other_type_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let body = update("p", "x");
    for headers in [
        "",
        "Content-Type: application/x-ndjson\r\n",
        "Content-Type: Application/NDJSON; charset=utf-8\r\n",
        "Content-Type: application/jsonl\r\n",
        "Content-Type: application/json\r\n",
        "Content-Encoding: identity\r\n",
    ] {
        assert_eq!(post(server.address, headers, body.as_bytes()).status, 200, "{headers}");
    }
    for (headers, words) in [
        ("Content-Type: text/csv\r\n", "Content-Type text/csv is not read: send one profile update a line"),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "as application/x-ndjson"),
        ("Content-Encoding: br\r\n", "Content-Encoding br is not read"),
        ("Content-Encoding: gzip, gzip\r\n", "packed with gzip"),
        ("Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", "Content-Encoding twice"),
    ] {
        let answer = post(server.address, headers, body.as_bytes());
        assert_eq!(answer.status, 415, "{headers}");
        assert!(answer.error().contains(words), "{}", answer.error());
    }
    assert_eq!(server.changes(), 6);
    server.stop().unwrap();
}

#[test]
fn gzip_is_unpacked_and_a_broken_one_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let packed = gzip((update("p-1", "x") + &update("p-2", "y")).as_bytes());
    let headers = "Content-Encoding: gzip\r\n";
    assert_eq!(post(server.address, headers, &packed).json()["accepted"], 2);
    let mut flipped = packed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for broken in [&packed[..packed.len() - 1], &packed[..packed.len() / 2], &flipped, b"no gzip at all", b""] {
        let answer = post(server.address, headers, broken);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.error().starts_with("the body is not valid gzip, or breaks off"), "{}", answer.error());
    }
    assert_eq!(server.changes(), 2);
    server.stop().unwrap();
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let lines = update("p-1", "x") + &update("p-2", "y");
    let whole = request(NDJSON, lines.as_bytes());
    // Cut behind a whole line, which would read well by itself.
    let by_length = &whole[..whole.len() - update("p-2", "y").len()];
    let chunked = format!(
        "POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n",
        lines.len()
    );
    for cut in [by_length, chunked.as_bytes()] {
        let answer = exchange_cut_off(server.address, cut);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.error().starts_with("the body breaks off ("), "{}", answer.error());
        assert!(answer.error().ends_with("nothing of it was taken up"), "{}", answer.error());
    }
    assert_eq!(server.changes(), 0);
    assert_eq!(exchange(connect(server.address), &whole).json()["accepted"], 2);
    server.stop().unwrap();
}

#[test]
fn a_body_longer_than_it_says_counts_as_far_as_it_says() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let whole = String::from_utf8(request("", b"")).unwrap();
    let line = update("p-1", "x");
    let said = whole.replace("Content-Length: 0", &format!("Content-Length: {}", line.len() - 5));
    let answer = exchange(connect(server.address), (said + &line).as_bytes());
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["rejected"][0]["line"], 1);
    assert_eq!(server.changes(), 0);
    server.stop().unwrap();
}

#[test]
fn a_body_over_the_bound_is_refused_however_it_comes() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let line = update("p", &"x".repeat(1000));
    let large = line.repeat(BOUND / line.len() + 1);
    let chunked = [
        b"POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        format!("{:x}\r\n", large.len()).as_bytes(),
        large.as_bytes(),
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let bomb = gzip(&vec![b'\n'; 300 << 20]);
    let said = format!(
        "POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        10_u64 << 40
    );
    // Who says so and asks first is not asked to send it.
    let asked = exchange_cut_off(server.address, said.as_bytes());
    assert_eq!((asked.status, server.changes()), (413, 0), "{asked:?}");
    for (what, bytes) in [
        ("by length", request("", large.as_bytes())),
        ("chunked", chunked),
        ("bomb", request("Content-Encoding: gzip\r\n", &bomb)),
    ] {
        let answer = exchange(connect(server.address), &bytes);
        assert_eq!(answer.status, 413, "{what}: {answer:?}");
        assert!(answer.error().contains("16 MiB") && answer.error().contains("send it in parts"), "{}", answer.error());
    }
    assert_eq!(server.changes(), 0);
    server.stop().unwrap();
}

#[test]
fn a_body_of_exactly_the_bound_is_taken_up() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let mut body = String::new();
    for number in 0..256 {
        let line = update(&format!("p-{number}"), "");
        let padding = (BOUND / 256).checked_sub(line.len()).unwrap();
        body += &update(&format!("p-{number}"), &"x".repeat(padding));
    }
    assert_eq!(body.len(), BOUND);
    let answer = post(server.address, "", body.as_bytes());
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(256)));
    server.stop().unwrap();
}

#[test]
fn a_rejected_line_is_told_by_its_number_and_stops_no_other() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let deep = format!(
        "{{\"header\":{{\"profileId\":\"d\"}},\"body\":{{\"xdmEntity\":{{\"a\":{}1{}}}}}}}\n",
        "[".repeat(200),
        "]".repeat(200)
    );
    let body = [
        &update("p-1", "x"),
        "\n",
        "{not json\n",
        &deep,
        &update("long", &"x".repeat(1 << 20)),
        "{\"header\":{\"profileId\":7},\"body\":{\"xdmEntity\":{}}}\n",
        "{\"name\":\"nobody's\"}\n",
        "[1]\n",
        "{\"header\":{\"profileId\":\"\u{fffd}\"\n",
        &update("p-2", "y"),
    ]
    .concat();
    let answer = post(server.address, NDJSON, body.as_bytes()).json();
    assert_eq!((&answer["accepted"], &answer["rejectedCount"]), (&json!(2), &json!(7)));
    let told: Vec<_> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rejected| (rejected["line"].as_u64().unwrap(), rejected["error"].as_str().unwrap()))
        .collect();
    let words = [
        (3, "not valid JSON: "),
        (4, "nested deeper than 128 levels"),
        (5, "at most 1048576 (1 MiB) are read"),
        (6, "header.profileId: must be a string, but is a number"),
        (7, "no profile: give header.profileId"),
        (8, "the line must be an object, but is an array"),
        (9, "not valid JSON: "),
    ];
    assert_eq!(told.len(), words.len());
    for ((line, error), (expected, words)) in told.iter().zip(words) {
        assert_eq!(*line, expected, "{error}");
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(server.changes(), 2);
    server.stop().unwrap();
}

#[test]
fn the_first_hundred_rejected_lines_are_listed_and_all_are_counted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let answer = post(server.address, NDJSON, ("[]\n".repeat(250) + &update("p", "x")).as_bytes()).json();
    assert_eq!((&answer["accepted"], &answer["rejectedCount"]), (&json!(1), &json!(250)));
    let listed = answer["rejected"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[99]["line"]), (100, &json!(100)));
    server.stop().unwrap();
}

#[test]
fn a_request_of_which_nothing_was_accepted_says_so() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let answer = post(server.address, NDJSON, b"[]\n{}\n");
    assert_eq!(answer.status, 400);
    assert!(answer.error().starts_with("no line was accepted"), "{}", answer.error());
    assert_eq!((&answer.json()["rejectedCount"], &answer.json()["position"]), (&json!(2), &json!(0)));
    for empty in ["", "\n \r\n"] {
        let answer = post(server.address, NDJSON, empty.as_bytes());
        assert_eq!(answer.status, 400);
        assert!(answer.error().starts_with("the body holds no update"), "{}", answer.error());
    }
    server.stop().unwrap();
}

#[test]
fn an_idempotency_key_repeats_the_first_answer_and_refuses_another_body() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let headers = "Idempotency-Key: order-7\r\n";
    let body = update("p", "x") + "[]\n";
    let first = post(server.address, headers, body.as_bytes());
    assert_eq!(first.status, 200);
    assert_eq!(post(server.address, "", update("p", "between").as_bytes()).json()["position"], 2);
    let again = post(server.address, headers, body.as_bytes());
    assert_eq!((again.status, &again.text), (200, &first.text));
    let other = post(server.address, headers, update("p", "other").as_bytes());
    assert_eq!(other.status, 422);
    assert!(other.error().starts_with("the Idempotency-Key was used with another body"), "{}", other.error());
    assert_eq!(server.changes(), 2);
    server.stop().unwrap();

    let server = Server::start(data.path());
    assert_eq!(post(server.address, headers, body.as_bytes()).text, first.text);
    assert_eq!(post(server.address, headers, b"{}").status, 422);
    assert_eq!(server.changes(), 2);
    server.stop().unwrap();
}

#[test]
fn a_key_of_a_request_that_was_refused_whole_is_free_again() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let headers = "Idempotency-Key: k\r\n";
    assert_eq!(post(server.address, headers, b"[]").status, 400);
    assert_eq!(post(server.address, headers, update("p", "x").as_bytes()).status, 200);
    let long = format!("Idempotency-Key: {}\r\n", "k".repeat(256));
    assert_eq!(post(server.address, &long, update("p", "x").as_bytes()).status, 200);
    for key in [String::new(), "k".repeat(257), "schl\u{fc}ssel".to_owned()] {
        let answer = post(server.address, &format!("Idempotency-Key: {key}\r\n"), update("p", "x").as_bytes());
        assert_eq!(answer.status, 400, "{key:?}");
        assert!(answer.error().contains("1 to 256"), "{}", answer.error());
    }
    assert_eq!(server.changes(), 2);
    server.stop().unwrap();
}

#[test]
fn many_at_once_with_one_key_are_one() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let address = server.address;
    let clients: Vec<_> = (0..16)
        .map(|_| std::thread::spawn(move || post(address, "Idempotency-Key: k\r\n", update("p", "x").as_bytes()).text))
        .collect();
    let answers: std::collections::BTreeSet<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert_eq!((answers.len(), server.changes()), (1, 1), "{answers:?}");
    server.stop().unwrap();
}

#[test]
fn bodies_that_have_no_room_together_are_told_to_come_again() {
    let data = tempfile::tempdir().unwrap();
    let options = Options { intake: Some(Intake::new(1 << 20)), ..Options::default() };
    let server = Server::start_with(data.path(), options);
    let body = update("p", &"x".repeat(700 << 10));
    let whole = request("", body.as_bytes());
    let (sent, held_back) = whole.split_at(whole.len() - 10);
    let mut slow = connect(server.address);
    slow.write_all(sent).unwrap();
    // The slow one holds its room once it is received that far, which takes a moment.
    let refused = std::iter::repeat_with(|| {
        std::thread::sleep(Duration::from_millis(20));
        post(server.address, "", body.as_bytes())
    })
    .take(100)
    .find(|answer| answer.status != 200)
    .unwrap();
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
    assert!(refused.error().contains("send this request again in a moment"), "{}", refused.error());
    slow.write_all(held_back).unwrap();
    assert_eq!(read_answer(slow).status, 200);
    assert_eq!(post(server.address, "", body.as_bytes()).status, 200);
    server.stop().unwrap();
}

#[test]
fn a_hub_that_stopped_answers_to_come_later_and_is_not_ready() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    assert_eq!(get(server.address, "/readyz", "").status, 200);
    let mut damage = server.hub.store().batch();
    damage.put_answer("k", Timestamp::UNIX_EPOCH, b"not an answer");
    damage.commit().unwrap();
    for headers in ["Idempotency-Key: k\r\n", ""] {
        let answer = post(server.address, headers, update("p", "x").as_bytes());
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")), "{answer:?}");
        assert!(answer.error().contains("send this request again later"), "{}", answer.error());
    }
    let ready = get(server.address, "/readyz", "");
    assert_eq!(ready.status, 503);
    assert!(ready.error().contains("hub: its writer has stopped"), "{}", ready.error());
    assert_eq!(get(server.address, "/livez", "").status, 200);
    let reason = server.stop().unwrap_err().to_string();
    assert!(reason.contains("damaged answer"), "{reason}");
}

#[test]
fn a_request_in_flight_is_finished_when_the_server_is_told_to_end() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let whole = request("", update("p", "x").as_bytes());
    let (sent, held_back) = whole.split_at(whole.len() - 10);
    let mut slow = connect(server.address);
    slow.write_all(sent).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.shutdown.cancel();
    std::thread::sleep(Duration::from_millis(300));
    slow.write_all(held_back).unwrap();
    assert_eq!(read_answer(slow).json()["accepted"], 1);
    server.stop().unwrap();
}
