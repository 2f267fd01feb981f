//! Clients that mean no good, or do none: they get no more than their share, and honest ones are served meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::{connect, exchange, get, get_request, post, read_answer, request};
use crate::server::{Options, Server};
use crate::update;

/// More than the server has places.
const CROWD: usize = 1500;

/// Both ends of each connection are in this process.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    assert!(limit.maximum.is_none_or(|most| most > 4 * CROWD as u64), "let this user open {} files", 4 * CROWD);
}

/// That many connections that send this and then nothing more.
fn crowd(address: SocketAddr, bytes: &[u8]) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = connect(address);
        // It may be closed already in favour of a later one.
        let _ = stream.write_all(bytes);
        stream
    };
    // All together, so that none has been given up for its silence before the last one is there.
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..10).map(|_| scope.spawn(|| (0..CROWD / 10).map(one).collect::<Vec<_>>())).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// How many of them the server has closed.
fn closed(crowd: &mut [TcpStream]) -> usize {
    let ended = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    };
    crowd.iter_mut().filter_map(|stream| ended(stream).then_some(())).count()
}

#[test]
fn a_crowd_that_never_ends_its_heads_locks_nobody_out() {
    allow_many_files();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    // Somebody honest and slow, who came first.
    let whole = request("", update("slow", "x").as_bytes());
    let (sent, held_back) = whole.split_at(whole.len() - 10);
    let mut slow = connect(server.address);
    slow.write_all(sent).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    for head in ["", "POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\nX-"] {
        let mut crowd = crowd(server.address, head.as_bytes());
        for number in 0..20 {
            let answer = post(server.address, "", update(&format!("p-{number}"), head).replace("\r\n", "").as_bytes());
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(get(server.address, "/livez", "").status, 200);
        }
        assert!(closed(&mut crowd) >= CROWD - 1024);
    }
    slow.write_all(held_back).unwrap();
    assert_eq!(read_answer(slow).json()["accepted"], 1);
    server.stop().unwrap();
}

#[test]
fn a_crowd_without_a_token_that_never_ends_its_bodies_locks_nobody_out() {
    allow_many_files();
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "secret\n").unwrap();
    let server = Server::start_with(data.path(), Options { token_file: Some(&tokens), ..Options::default() });
    let head = "POST /v1/profiles HTTP/1.1\r\nHost: l\r\nAuthorization: Bearer wrong\r\nContent-Length: 9999\r\n\r\n{";
    let crowd = crowd(server.address, head.as_bytes());
    for _ in 0..20 {
        let answer = post(server.address, "Authorization: Bearer secret\r\n", update("p", "x").as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    drop(crowd);
    let metrics = server.metrics.encode().unwrap();
    assert!(
        metrics.contains("activation_refused_requests_total{right=\"ingest\",reason=\"unauthenticated\"}"),
        "{metrics}"
    );
    server.stop().unwrap();
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let mut ahead = Vec::new();
    for number in 0..200 {
        let body = update(&format!("p-{number}"), "x");
        let head = format!("POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        ahead.extend_from_slice((head + &body).as_bytes());
    }
    ahead.extend_from_slice(get_request("/v1/profiles/default/p-199", "").as_bytes());
    let answer = exchange(connect(server.address), &ahead);
    let all = answer.head + &answer.text;
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 201, "{all}");
    let positions: Vec<u64> = all
        .split("\"position\":")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(positions, (1..=200).collect::<Vec<_>>());
    server.stop().unwrap();
}

#[test]
fn who_sends_ahead_and_reads_nothing_is_read_no_further() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let mut stream = connect(server.address);
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let ahead = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    // What both kernels buffer for one connection, and some.
    let bound = 64 << 20;
    let mut sent = 0;
    while sent < bound && stream.write_all(ahead.as_bytes()).is_ok() {
        sent += ahead.len();
    }
    assert!(sent < bound, "all of it was read");
    assert_eq!(post(server.address, "", update("p", "x").as_bytes()).status, 200);
    drop(stream);
    server.stop().unwrap();
}

#[test]
fn what_stands_between_chunks_is_bounded_too() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let head =
        "POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let extension = format!("{head}1;{}", "x".repeat(2 << 20));
    let trailers = format!("{head}0\r\n{}", "x: y\r\n".repeat(400_000));
    let size = format!("{head}{}", "f".repeat(1 << 20));
    for (what, bytes) in [("extension", extension), ("trailers", trailers), ("size", size)] {
        let mut stream = connect(server.address);
        // It may close before all is sent; then the answer may be lost with the rest.
        let _ = stream.write_all(bytes.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    assert_eq!(server.changes(), 0);
    assert_eq!(post(server.address, "", update("p", "x").as_bytes()).status, 200);
    server.stop().unwrap();
}

#[test]
fn heads_of_many_lines_and_bodies_where_none_belongs_are_refused_or_passed_over() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let many = (0..300).map(|number| format!("X-{number}: y\r\n")).collect::<Vec<_>>().concat();
    assert_eq!(get(server.address, "/livez", &many).status, 431);
    // A body that never comes does not keep the answer.
    assert_eq!(get(server.address, "/livez", "Content-Length: 1000000\r\n").status, 200);
    for smuggled in ["Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: -1\r\n", "Transfer-Encoding: x\r\n"]
    {
        let bytes = format!("POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\n{smuggled}\r\n{{}}");
        let answer = exchange(connect(server.address), bytes.as_bytes());
        assert_eq!(answer.status, 400, "{smuggled}: {answer:?}");
    }
    assert_eq!(server.changes(), 0);
    server.stop().unwrap();
}
